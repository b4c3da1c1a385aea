package store

import (
	"encoding/binary"
)

// A record is what one transaction leaves in the log: a stream of changes to
// the index and to the allocation, in order, and the block images that are
// to be put in place. The changes are physical, so running a record again
// gives the same result.
type recordOp byte

// The changes in a record's stream.
const (
	recPut        recordOp = 1 + iota // key, value
	recDelete                         // key
	recRange                          // first, end: delete first <= key < end
	recDropOmap                       // omap id: delete its rows; many of them in the background
	recCopyOmap                       // from, to: copy all rows of an omap
	recAlloc                          // unit, count: now in use
	recFree                           // unit, count: no longer in use
	recImage                          // unit: the next image belongs there
	recCheckpoint                     // put down the allocation as it is before this record
	recObjects                        // by how many objects there are more, zigzag
)

func (op recordOp) String() string {
	names := [...]string{"?", "put", "delete", "range", "dropomap", "copyomap", "alloc", "free", "image", "checkpoint", "objects"}
	if int(op) < len(names) {
		return names[op]
	}
	return names[0]
}

func appendPut(b []byte, key, value []byte) []byte {
	return appendBytes(appendBytes(append(b, byte(recPut)), key), value)
}

func appendDelete(b []byte, key []byte) []byte {
	return appendBytes(append(b, byte(recDelete)), key)
}

func appendRange(b []byte, first, end []byte) []byte {
	return appendBytes(appendBytes(append(b, byte(recRange)), first), end)
}

func appendNumbers(b []byte, op recordOp, v ...uint64) []byte {
	b = append(b, byte(op))
	for _, n := range v {
		b = binary.AppendUvarint(b, n)
	}
	return b
}

// change is one decoded step of a record's stream. Its slices point into the
// record.
type change struct {
	op         recordOp
	key, value []byte // recRange: first, end
	a, b       uint64 // ids, unit and count, as the op has them
}

// maxRun bounds the units of one run in a record.
const maxRun = MaxObject / unitSize

// nextChange takes one change off the stream. ok is false when the stream is
// damaged; rest is empty at its end.
func nextChange(stream []byte) (c change, rest []byte, ok bool) {
	r := reader{b: stream}
	c.op = recordOp(r.u8())
	switch c.op {
	case recPut, recRange:
		c.key, c.value = r.bytes(), r.bytes()
	case recDelete:
		c.key = r.bytes()
	case recDropOmap, recImage, recObjects:
		c.a = r.uvarint()
	case recCopyOmap, recAlloc, recFree:
		c.a, c.b = r.uvarint(), r.uvarint()
	case recCheckpoint:
	default:
		return c, nil, false
	}
	switch c.op {
	case recAlloc, recFree:
		ok = c.b > 0 && c.b <= maxRun && c.a < maxUnit
	case recImage:
		ok = c.a < maxUnit
	default:
		ok = true
	}
	return c, r.b, ok && !r.bad
}

// recordHead is the length of what precedes a record in a group:
//
//	u32 length of the stream, u32 number of images
const recordHead = 8

// cutRecord takes one record off a group's body. Image i is
// images[i*unitSize:][:unitSize].
func cutRecord(body []byte) (stream, images, rest []byte, ok bool) {
	if len(body) < recordHead {
		return nil, nil, nil, false
	}
	n := uint64(binary.LittleEndian.Uint32(body))
	m := uint64(binary.LittleEndian.Uint32(body[4:])) * unitSize
	body = body[recordHead:]
	if n+m > uint64(len(body)) {
		return nil, nil, nil, false
	}
	return body[:n:n], body[n : n+m : n+m], body[n+m:], true
}
