// Package record is the form of an OSD's small durable records: object info,
// snap sets, PG log entries, PG info.
//
// A record is a version byte, the fields in an order that its owner fixes,
// and CRC-32C (little-endian) over everything before it. Unsigned numbers
// are varints, strings and byte strings have their length before them. A
// record is written whole and never patched. Owners (packages objop and pg)
// state their fields beside the struct; this package knows only the letters.
//
// Reading never panics and never allocates more than the input's own length
// allows: a Decoder remembers its first failure, gives zero values after it,
// and says so once, in Err.
package record

import (
	"encoding/binary"
	"hash/crc32"

	"github.com/spirula/spirula/rados/wire"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Encoder appends fields to a record.
type Encoder struct{ b []byte }

// Begin starts a record of the given version in memory of its own, with room
// for about sizeHint bytes.
func Begin(version uint8, sizeHint int) *Encoder {
	e := &Encoder{b: make([]byte, 0, sizeHint+5)}
	e.b = append(e.b, version)
	return e
}

// Seal adds the checksum and gives the record.
func (e *Encoder) Seal() []byte {
	return binary.LittleEndian.AppendUint32(e.b, crc32.Checksum(e.b, castagnoli))
}

// U8 appends one byte.
func (e *Encoder) U8(v uint8) { e.b = append(e.b, v) }

// Bool appends 1 or 0.
func (e *Encoder) Bool(v bool) {
	if v {
		e.U8(1)
	} else {
		e.U8(0)
	}
}

// U64 appends an unsigned number of any width.
func (e *Encoder) U64(v uint64) { e.b = binary.AppendUvarint(e.b, v) }

// I64 appends a signed number of any width.
func (e *Encoder) I64(v int64) { e.b = binary.AppendVarint(e.b, v) }

// Str appends a string of any bytes.
func (e *Encoder) Str(s string) {
	e.U64(uint64(len(s)))
	e.b = append(e.b, s...)
}

// Bytes appends a byte string.
func (e *Encoder) Bytes(p []byte) {
	e.U64(uint64(len(p)))
	e.b = append(e.b, p...)
}

// EVersion appends a PG version.
func (e *Encoder) EVersion(v wire.EVersion) {
	e.U64(uint64(v.Epoch))
	e.U64(v.Version)
}

// ReqID appends a request's identity.
func (e *Encoder) ReqID(r wire.ReqID) {
	e.U8(uint8(r.Client.Type))
	e.I64(r.Client.Num)
	e.U64(r.TID)
	e.U64(uint64(r.Inc))
}

// HObject appends an object's identity.
func (e *Encoder) HObject(h wire.HObject) {
	e.Bool(h.Max)
	e.I64(h.Pool)
	e.U64(uint64(h.Hash))
	e.Str(h.Namespace)
	e.Str(h.Key)
	e.Str(h.Name)
	e.U64(uint64(h.Snap))
}

// Decoder reads the fields of a record in their order.
type Decoder struct {
	what string
	b    []byte
	err  error
}

// Open checks a record's checksum and that its version is between 1 and
// newest. what names the record in errors. A failure, of kind EIO, shows in
// Err.
func Open(what string, p []byte, newest uint8) (d *Decoder, version uint8) {
	d = &Decoder{what: what}
	if len(p) < 5 {
		d.fail()
		return d, 0
	}
	body, sum := p[:len(p)-4], binary.LittleEndian.Uint32(p[len(p)-4:])
	if crc32.Checksum(body, castagnoli) != sum || body[0] == 0 || body[0] > newest {
		d.fail()
		return d, 0
	}
	d.b = body[1:]
	return d, body[0]
}

func (d *Decoder) fail() {
	if d.err == nil {
		d.err = wire.Errorf("decode", d.what, wire.EIO)
	}
	d.b = nil
}

// Err is the first failure, nil if there was none.
func (d *Decoder) Err() error { return d.err }

// End is Err, or an error if fields are left over.
func (d *Decoder) End() error {
	if len(d.b) != 0 {
		d.fail()
	}
	return d.err
}

// U8 reads one byte.
func (d *Decoder) U8() uint8 {
	if len(d.b) == 0 {
		d.fail()
		return 0
	}
	v := d.b[0]
	d.b = d.b[1:]
	return v
}

// Bool reads a byte that must be 0 or 1.
func (d *Decoder) Bool() bool {
	v := d.U8()
	if v > 1 {
		d.fail()
	}
	return v == 1
}

// U64 reads an unsigned number.
func (d *Decoder) U64() uint64 {
	v, n := binary.Uvarint(d.b)
	if n <= 0 {
		d.fail()
		return 0
	}
	d.b = d.b[n:]
	return v
}

// U32 reads an unsigned number that must fit 32 bits.
func (d *Decoder) U32() uint32 {
	v := d.U64()
	if v > 1<<32-1 {
		d.fail()
		return 0
	}
	return uint32(v)
}

// I64 reads a signed number.
func (d *Decoder) I64() int64 {
	v, n := binary.Varint(d.b)
	if n <= 0 {
		d.fail()
		return 0
	}
	d.b = d.b[n:]
	return v
}

// I32 reads a signed number that must fit 32 bits.
func (d *Decoder) I32() int32 {
	v := d.I64()
	if v != int64(int32(v)) {
		d.fail()
		return 0
	}
	return int32(v)
}

// Count reads the number of elements that follow, each of at least one byte,
// so that it never exceeds what is left of the record.
func (d *Decoder) Count() int {
	n := d.U64()
	if n > uint64(len(d.b)) {
		d.fail()
		return 0
	}
	return int(n)
}

func (d *Decoder) take() []byte {
	n := d.Count()
	p := d.b[:n]
	d.b = d.b[n:]
	return p
}

// Str reads a string.
func (d *Decoder) Str() string { return string(d.take()) }

// Bytes reads a byte string into memory of its own; nil if empty.
func (d *Decoder) Bytes() []byte { return append([]byte(nil), d.take()...) }

// EVersion reads a PG version.
func (d *Decoder) EVersion() wire.EVersion {
	e := wire.Epoch(d.U32())
	return wire.EVersion{Epoch: e, Version: d.U64()}
}

// ReqID reads a request's identity.
func (d *Decoder) ReqID() wire.ReqID {
	var r wire.ReqID
	r.Client.Type = wire.EntityType(d.U8())
	r.Client.Num = d.I64()
	r.TID = d.U64()
	r.Inc = d.U32()
	return r
}

// HObject reads an object's identity.
func (d *Decoder) HObject() wire.HObject {
	var h wire.HObject
	h.Max = d.Bool()
	h.Pool = d.I64()
	h.Hash = d.U32()
	h.Namespace = d.Str()
	h.Key = d.Str()
	h.Name = d.Str()
	h.Snap = wire.SnapID(d.U64())
	return h
}
