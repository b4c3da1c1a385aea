package wire

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"net/netip"
)

// ErrTruncated is the cause of a decode error when a field, a count or a
// block reaches beyond the bytes at hand.
var ErrTruncated = errors.New("truncated")

// ErrFormat is the cause of a decode error when the bytes contradict the
// format: an unknown marker, a block newer than we can read.
var ErrFormat = errors.New("malformed")

// Decoder reads Ceph's encoding from a byte slice. It remembers its first
// error; every read after that gives zero values and moves nothing, so a
// decoder of a struct checks Err once, at the end, and before each loop over
// a count it can rely on Count, which is 0 after an error.
//
// No read looks beyond the slice, or beyond the innermost open block. No
// allocation is larger than a small multiple of the bytes at hand.
type Decoder struct {
	b   []byte // up to the innermost block's end
	all []byte // everything, to widen b again at a block's end
	off int
	err error
}

// NewDecoder reads from b, which must not change meanwhile.
func NewDecoder(b []byte) *Decoder { return &Decoder{b: b, all: b} }

// Err is the first error, or nil. Its kind is EINVAL, its cause ErrTruncated
// or ErrFormat.
func (d *Decoder) Err() error { return d.err }

// Off is the number of bytes consumed so far.
func (d *Decoder) Off() int { return d.off }

// Len is the number of bytes left in the innermost block, 0 after an error.
func (d *Decoder) Len() int { return len(d.b) - d.off }

// Fail records err as the decoder's error if it is the first one. Decoders of
// structs use it for rules of their own.
func (d *Decoder) Fail(err error) {
	if d.err != nil {
		return
	}
	d.err = &Error{Op: "decode", Subject: fmt.Sprintf("at byte %d", d.off), Kind: EINVAL, Cause: err}
	d.b = d.b[:d.off]
}

// take consumes n bytes, or fails and gives nil.
func (d *Decoder) take(n int) []byte {
	if n < 0 || n > len(d.b)-d.off {
		d.Fail(ErrTruncated)
		return nil
	}
	p := d.b[d.off : d.off+n : d.off+n]
	d.off += n
	return p
}

// Skip consumes n bytes.
func (d *Decoder) Skip(n int) { d.take(n) }

// Raw consumes n bytes and gives them without copying.
func (d *Decoder) Raw(n int) []byte { return d.take(n) }

// U8 reads one byte.
func (d *Decoder) U8() uint8 {
	p := d.take(1)
	if p == nil {
		return 0
	}
	return p[0]
}

// Bool reads one byte; anything but 0 is true.
func (d *Decoder) Bool() bool { return d.U8() != 0 }

// U16 reads two bytes.
func (d *Decoder) U16() uint16 {
	p := d.take(2)
	if p == nil {
		return 0
	}
	return binary.LittleEndian.Uint16(p)
}

// U32 reads four bytes.
func (d *Decoder) U32() uint32 {
	p := d.take(4)
	if p == nil {
		return 0
	}
	return binary.LittleEndian.Uint32(p)
}

// U64 reads eight bytes.
func (d *Decoder) U64() uint64 {
	p := d.take(8)
	if p == nil {
		return 0
	}
	return binary.LittleEndian.Uint64(p)
}

// I32 reads a signed number of four bytes.
func (d *Decoder) I32() int32 { return int32(d.U32()) }

// I64 reads a signed number of eight bytes.
func (d *Decoder) I64() int64 { return int64(d.U64()) }

// F32 reads an IEEE-754 single.
func (d *Decoder) F32() float32 { return math.Float32frombits(d.U32()) }

// F64 reads an IEEE-754 double.
func (d *Decoder) F64() float64 { return math.Float64frombits(d.U64()) }

// Count reads the u32 before the elements of a container. elemSize is the
// least number of bytes one element takes (at least 1): a count that the
// bytes at hand cannot hold is an error, and 0 is returned.
func (d *Decoder) Count(elemSize int) int {
	n := d.U32()
	if uint64(n)*uint64(elemSize) > uint64(d.Len()) {
		d.Fail(ErrTruncated)
		return 0
	}
	return int(n)
}

// Bytes reads a u32 length and that many bytes, without copying.
func (d *Decoder) Bytes() []byte { return d.take(d.Count(1)) }

// Str reads a u32 length and that many bytes as a string of its own.
func (d *Decoder) Str() string { return string(d.Bytes()) }

// Strs reads a vector or set of strings; nil when it is empty.
func (d *Decoder) Strs() []string {
	n := d.Count(4)
	if n == 0 {
		return nil
	}
	v := make([]string, 0, n)
	for i := 0; i < n && d.err == nil; i++ {
		v = append(v, d.Str())
	}
	return v
}

// Time reads u32 seconds and u32 nanoseconds.
func (d *Decoder) Time() Time {
	sec := int64(d.U32())
	return Time(sec*1e9 + int64(d.U32()))
}

// FSID reads 16 bytes.
func (d *Decoder) FSID() (f FSID) {
	copy(f[:], d.take(len(f)))
	return f
}

// Block is an open versioned block: what Begin gives and End takes.
type Block struct {
	Version uint8 // the writer's struct version
	end     int   // where the block ends
	outer   int   // where the block around it ends
}

// Begin opens a versioned block. known is the newest version the caller
// understands: a block whose writer demands more is an error. Until End, no
// read goes beyond the block.
func (d *Decoder) Begin(known uint8) Block {
	v, compat := d.U8(), d.U8()
	n := d.Count(1)
	if d.err == nil && compat > known {
		d.Fail(fmt.Errorf("%w: block of version %d needs a reader of version %d, this one has %d",
			ErrFormat, v, compat, known))
	}
	if d.err != nil {
		return Block{}
	}
	b := Block{Version: v, end: d.off + n, outer: len(d.b)}
	d.b = d.all[:b.end]
	return b
}

// End leaves the block and skips what a newer writer put behind the fields
// that were read.
func (d *Decoder) End(b Block) {
	if d.err != nil {
		return
	}
	d.off = b.end
	d.b = d.all[:b.outer]
}

// EntityName reads u8 type and i64 number.
func (d *Decoder) EntityName() EntityName {
	t := EntityType(d.U8())
	return EntityName{Type: t, Num: d.I64()}
}

// EVersion reads u64 version and u32 epoch.
func (d *Decoder) EVersion() EVersion {
	v := d.U64()
	return EVersion{Version: v, Epoch: Epoch(d.U32())}
}

// PGIDSize is the length of a pg_t in bytes.
const PGIDSize = 17

// PGID reads a pg_t.
func (d *Decoder) PGID() PGID {
	if v := d.U8(); v != 1 && d.err == nil {
		d.Fail(fmt.Errorf("%w: pg_t of version %d", ErrFormat, v))
	}
	p := PGID{Pool: d.I64(), Seed: d.U32()}
	d.Skip(4)
	return p
}

// SPGID reads an spg_t.
func (d *Decoder) SPGID() SPGID {
	b := d.Begin(1)
	p := SPGID{PGID: d.PGID(), Shard: int8(d.U8())}
	d.End(b)
	return p
}

// ReqID reads an osd_reqid_t.
func (d *Decoder) ReqID() ReqID {
	b := d.Begin(2)
	r := ReqID{Client: d.EntityName(), TID: d.U64(), Inc: d.U32()}
	d.End(b)
	return r
}

// HObject reads an hobject_t.
func (d *Decoder) HObject() HObject {
	b := d.Begin(4)
	var h HObject
	h.Key = d.Str()
	h.Name = d.Str()
	h.Snap = SnapID(d.U64())
	h.Hash = d.U32()
	h.Max = d.Bool()
	h.Namespace = d.Str()
	h.Pool = d.I64()
	d.End(b)
	return h
}

// Locator reads an object_locator_t.
func (d *Decoder) Locator() ObjectLocator {
	b := d.Begin(6)
	var l ObjectLocator
	l.Pool = d.I64()
	d.Skip(4)
	l.Key = d.Str()
	l.Namespace = d.Str()
	l.Hash = d.I64()
	d.End(b)
	return l
}

// SnapContext reads seq and the snaps.
func (d *Decoder) SnapContext() SnapContext {
	return SnapContext{Seq: SnapID(d.U64()), Snaps: d.snaps()}
}

// Addr reads an entity_addr_t: marker 1, or the form before Nautilus.
func (d *Decoder) Addr() Addr {
	marker := d.U8()
	if d.err != nil {
		return Addr{}
	}
	return d.addrAfter(marker)
}

func (d *Decoder) addrAfter(marker uint8) (a Addr) {
	switch marker {
	case 0:
		d.Skip(3)
		a.Nonce = d.U32()
		sa := d.take(128)
		if sa == nil {
			return Addr{}
		}
		a.IP = d.sockaddr(binary.BigEndian.Uint16(sa), sa)
		if a.IP.IsValid() {
			a.Type = AddrLegacy
		}
	case 1:
		b := d.Begin(1)
		a.Type = AddrType(d.U32())
		a.Nonce = d.U32()
		if sa := d.Bytes(); len(sa) >= 2 {
			a.IP = d.sockaddr(binary.LittleEndian.Uint16(sa), sa)
		}
		d.End(b)
	default:
		d.Fail(fmt.Errorf("%w: address marker %d", ErrFormat, marker))
	}
	return a
}

// sockaddr takes an address out of Linux's sockaddr. A family it does not
// know gives an address that is not set.
func (d *Decoder) sockaddr(family uint16, sa []byte) netip.AddrPort {
	switch {
	case family == familyIPv4 && len(sa) >= 8:
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte(sa[4:8])), binary.BigEndian.Uint16(sa[2:]))
	case family == familyIPv6 && len(sa) >= 24:
		return netip.AddrPortFrom(netip.AddrFrom16([16]byte(sa[8:24])), binary.BigEndian.Uint16(sa[2:]))
	case family == familyIPv4 || family == familyIPv6:
		d.Fail(fmt.Errorf("%w: socket address of %d bytes", ErrFormat, len(sa)))
	}
	return netip.AddrPort{}
}

// addrSize is the least length of an encoded address: marker, block header,
// type, nonce, length.
const addrSize = 19

// AddrVec reads an entity_addrvec_t; a single address in either of its own
// forms is taken as a vector of one.
func (d *Decoder) AddrVec() []Addr {
	marker := d.U8()
	if d.err != nil {
		return nil
	}
	if marker != 2 {
		return []Addr{d.addrAfter(marker)}
	}
	n := d.Count(addrSize)
	if n == 0 {
		return nil
	}
	v := make([]Addr, n)
	for i := range v {
		v[i] = d.Addr()
	}
	return v
}
