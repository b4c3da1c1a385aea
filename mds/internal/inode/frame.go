package inode

import (
	"encoding/binary"

	"github.com/spirula/spirula/rados/wire"
)

const (
	frameHead = 6 // version, oldest reader, length of the body
	crcLen    = 4
	// maxRecord bounds what a decoder looks at. The longest records, rows
	// with 1023 links, are far below.
	maxRecord = 4 << 20
	// maxDepth bounds overlays nested in a decoded Content.
	maxDepth = 8
)

var le = binary.LittleEndian

// begin opens a frame at the end of b; end closes it.
func begin(b []byte, version, oldest byte) ([]byte, int) {
	at := len(b)
	return append(b, version, oldest, 0, 0, 0, 0), at
}

func end(b []byte, at int) []byte {
	le.PutUint32(b[at+2:], uint32(len(b)-at-frameHead))
	return b
}

// seal closes the outermost frame, with the checksum.
func seal(b []byte, at int) []byte {
	b = end(b, at)
	return le.AppendUint32(b, wire.CRC32C(b[at:]))
}

// RecordLen gives the length of the record at the start of b, checksum
// included, so that records can be kept one after the other. EINVAL if b
// holds no whole record; the checksum is not looked at.
func RecordLen(b []byte) (int, error) {
	if len(b) < frameHead+crcLen {
		return 0, bad("record", "shorter than any")
	}
	n := uint64(le.Uint32(b[2:])) + frameHead + crcLen
	if n > uint64(len(b)) {
		return 0, bad("record", "its length goes beyond the bytes at hand")
	}
	return int(n), nil
}

func bad(what, why string) error { return wire.Errorf("decode "+what, why, wire.EINVAL) }

func appendString(b []byte, s string) []byte {
	return append(le.AppendUint32(b, uint32(len(s))), s...)
}

func appendBytes(b, s []byte) []byte {
	return append(le.AppendUint32(b, uint32(len(s))), s...)
}

func appendBool(b []byte, v bool) []byte {
	if v {
		return append(b, 1)
	}
	return append(b, 0)
}

func appendKVs(b []byte, kvs []wire.KV) []byte {
	b = le.AppendUint32(b, uint32(len(kvs)))
	for i := range kvs {
		b = appendBytes(appendString(b, kvs[i].Key), kvs[i].Value)
	}
	return b
}

func appendSnaps(b []byte, s []wire.SnapID) []byte {
	b = le.AppendUint32(b, uint32(len(s)))
	for _, id := range s {
		b = le.AppendUint64(b, uint64(id))
	}
	return b
}

// decoder reads one record. It holds a private copy of the bytes as a string,
// of which the decoded strings are parts: one allocation for all of them. The
// first fault sticks; after it everything reads as zero.
type decoder struct {
	s    string
	off  int
	end  int // of the innermost open frame's body
	what string
	err  error
}

// open checks a whole record's frame and checksum and enters its body.
func open(b []byte, what string, version byte) (decoder, byte) {
	d := decoder{what: what}
	n, err := RecordLen(b)
	switch {
	case err != nil:
		d.err = bad(what, "cut short")
	case n != len(b):
		d.err = bad(what, "bytes after its end")
	case n > maxRecord:
		d.err = bad(what, "over the limit of its size")
	case wire.CRC32C(b[:n-crcLen]) != le.Uint32(b[n-crcLen:]):
		d.err = wire.Errorf("decode "+what, "checksum differs", wire.EIO)
	}
	if d.err != nil {
		return d, 0
	}
	d.s = string(b[:n-crcLen])
	d.end = len(d.s)
	v, _ := d.enter(version)
	return d, v
}

// enter opens a nested frame and gives its version and where the enclosing
// frame ends, for leave.
func (d *decoder) enter(version byte) (v byte, outer int) {
	outer = d.end
	if !d.need(frameHead) {
		return 0, outer
	}
	v, oldest := d.s[d.off], d.s[d.off+1]
	d.off += 2
	n := d.u32()
	if oldest > version || v == 0 {
		d.fail("written by a newer program that older ones can't follow")
		return 0, outer
	}
	if int64(n) > int64(d.end-d.off) {
		d.fail("a part goes beyond its whole")
		return 0, outer
	}
	d.end = d.off + int(n)
	return v, outer
}

// leave skips what is left of the frame and goes back to the enclosing one.
func (d *decoder) leave(outer int) {
	if d.err == nil {
		d.off, d.end = d.end, outer
	}
}

func (d *decoder) fail(why string) {
	if d.err == nil {
		d.err = bad(d.what, why)
	}
	d.off, d.end = 0, 0
}

func (d *decoder) need(n int) bool {
	if d.end-d.off >= n {
		return d.err == nil
	}
	d.fail("cut short")
	return false
}

func (d *decoder) u8() byte {
	if !d.need(1) {
		return 0
	}
	d.off++
	return d.s[d.off-1]
}

func (d *decoder) bool() bool { return d.u8() != 0 }

func (d *decoder) u32() uint32 {
	if !d.need(4) {
		return 0
	}
	s := d.s[d.off : d.off+4]
	d.off += 4
	return uint32(s[0]) | uint32(s[1])<<8 | uint32(s[2])<<16 | uint32(s[3])<<24
}

func (d *decoder) u64() uint64 {
	if !d.need(8) {
		return 0
	}
	s := d.s[d.off : d.off+8]
	d.off += 8
	return uint64(s[0]) | uint64(s[1])<<8 | uint64(s[2])<<16 | uint64(s[3])<<24 |
		uint64(s[4])<<32 | uint64(s[5])<<40 | uint64(s[6])<<48 | uint64(s[7])<<56
}

func (d *decoder) str() string {
	n := d.u32()
	if uint64(n) > uint64(d.end-d.off) {
		d.fail("a string goes beyond its record")
		return ""
	}
	s := d.s[d.off : d.off+int(n)]
	d.off += int(n)
	return s
}

// bytes gives nil for no bytes.
func (d *decoder) bytes() []byte {
	s := d.str()
	if s == "" {
		return nil
	}
	return []byte(s)
}

// count reads a list's count; each element takes at least size bytes.
func (d *decoder) count(size int) int {
	n := d.u32()
	if uint64(n)*uint64(size) > uint64(d.end-d.off) {
		d.fail("a list goes beyond its record")
		return 0
	}
	return int(n)
}

func (d *decoder) kvs() []wire.KV {
	n := d.count(8)
	if n == 0 {
		return nil
	}
	out := make([]wire.KV, n)
	for i := range out {
		out[i] = wire.KV{Key: d.str(), Value: d.bytes()}
	}
	return out
}

func (d *decoder) snaps() []wire.SnapID {
	n := d.count(8)
	if n == 0 {
		return nil
	}
	out := make([]wire.SnapID, n)
	for i := range out {
		out[i] = wire.SnapID(d.u64())
	}
	return out
}

func (d *decoder) time() wire.Time { return wire.Time(d.u64()) }
