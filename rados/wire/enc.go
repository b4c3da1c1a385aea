package wire

import (
	"encoding/binary"
	"math"
	"net/netip"
)

// Encoder appends Ceph's encoding of values to B: little-endian, unaligned,
// untagged. The zero Encoder is ready; give B a capacity to save the growing.
// Nothing here can fail: whoever fills an Encoder owns the values.
type Encoder struct {
	B []byte
}

// U8 appends one byte.
func (e *Encoder) U8(v uint8) { e.B = append(e.B, v) }

// Bool appends one byte, 0 or 1.
func (e *Encoder) Bool(v bool) {
	if v {
		e.U8(1)
	} else {
		e.U8(0)
	}
}

// U16 appends two bytes.
func (e *Encoder) U16(v uint16) { e.B = binary.LittleEndian.AppendUint16(e.B, v) }

// U32 appends four bytes.
func (e *Encoder) U32(v uint32) { e.B = binary.LittleEndian.AppendUint32(e.B, v) }

// U64 appends eight bytes.
func (e *Encoder) U64(v uint64) { e.B = binary.LittleEndian.AppendUint64(e.B, v) }

// I32 appends a signed number in four bytes.
func (e *Encoder) I32(v int32) { e.U32(uint32(v)) }

// I64 appends a signed number in eight bytes.
func (e *Encoder) I64(v int64) { e.U64(uint64(v)) }

// F32 appends an IEEE-754 single.
func (e *Encoder) F32(v float32) { e.U32(math.Float32bits(v)) }

// F64 appends an IEEE-754 double.
func (e *Encoder) F64(v float64) { e.U64(math.Float64bits(v)) }

// Count appends the u32 that precedes the elements of a container.
func (e *Encoder) Count(n int) { e.U32(uint32(n)) }

// Str appends a u32 length and the bytes.
func (e *Encoder) Str(s string) {
	e.Count(len(s))
	e.B = append(e.B, s...)
}

// Bytes appends a u32 length and the bytes (a "bufferlist").
func (e *Encoder) Bytes(p []byte) {
	e.Count(len(p))
	e.B = append(e.B, p...)
}

// Strs appends a vector of strings, or a set whose elements are sorted.
func (e *Encoder) Strs(v []string) {
	e.Count(len(v))
	for _, s := range v {
		e.Str(s)
	}
}

// Raw appends the bytes alone.
func (e *Encoder) Raw(p []byte) { e.B = append(e.B, p...) }

// Time appends u32 seconds and u32 nanoseconds.
func (e *Encoder) Time(t Time) {
	e.U32(uint32(int64(t) / 1e9))
	e.U32(uint32(int64(t) % 1e9))
}

// FSID appends the 16 bytes.
func (e *Encoder) FSID(f FSID) { e.B = append(e.B, f[:]...) }

// Begin opens a versioned block and gives the mark that End wants: struct
// version, oldest version a decoder must know to read it, and room for the
// length.
func (e *Encoder) Begin(version, compat uint8) int {
	e.B = append(e.B, version, compat, 0, 0, 0, 0)
	return len(e.B)
}

// End closes the block that Begin opened. Blocks nest.
func (e *Encoder) End(mark int) {
	binary.LittleEndian.PutUint32(e.B[mark-4:], uint32(len(e.B)-mark))
}

// EntityName appends u8 type and i64 number.
func (e *Encoder) EntityName(n EntityName) {
	e.U8(uint8(n.Type))
	e.I64(n.Num)
}

// EVersion appends u64 version and u32 epoch, in this order.
func (e *Encoder) EVersion(v EVersion) {
	e.U64(v.Version)
	e.U32(uint32(v.Epoch))
}

// PGID appends a pg_t, 17 bytes.
func (e *Encoder) PGID(p PGID) {
	e.U8(1)
	e.I64(p.Pool)
	e.U32(p.Seed)
	e.I32(-1)
}

// SPGID appends an spg_t, 24 bytes.
func (e *Encoder) SPGID(p SPGID) {
	m := e.Begin(1, 1)
	e.PGID(p.PGID)
	e.U8(uint8(p.Shard))
	e.End(m)
}

// ReqID appends an osd_reqid_t, 27 bytes.
func (e *Encoder) ReqID(r ReqID) {
	m := e.Begin(2, 2)
	e.EntityName(r.Client)
	e.U64(r.TID)
	e.U32(r.Inc)
	e.End(m)
}

// HObject appends an hobject_t.
func (e *Encoder) HObject(h HObject) {
	m := e.Begin(4, 3)
	e.Str(h.Key)
	e.Str(h.Name)
	e.U64(uint64(h.Snap))
	e.U32(h.Hash)
	e.Bool(h.Max)
	e.Str(h.Namespace)
	e.I64(h.Pool)
	e.End(m)
}

// Locator appends an object_locator_t. Readers that don't know a given hash
// must not misplace the object, so that one raises the compat version.
func (e *Encoder) Locator(l ObjectLocator) {
	compat := uint8(3)
	if l.Hash != -1 {
		compat = 6
	}
	m := e.Begin(6, compat)
	e.I64(l.Pool)
	e.I32(-1)
	e.Str(l.Key)
	e.Str(l.Namespace)
	e.I64(l.Hash)
	e.End(m)
}

// SnapContext appends seq and the snaps.
func (e *Encoder) SnapContext(c SnapContext) {
	e.U64(uint64(c.Seq))
	e.snaps(c.Snaps)
}

// Addr appends an entity_addr_t in its form since Nautilus.
func (e *Encoder) Addr(a Addr) {
	e.U8(1)
	m := e.Begin(1, 1)
	e.U32(uint32(a.Type))
	e.U32(a.Nonce)
	size := len(e.B)
	e.U32(0)
	e.sockaddr(a.IP)
	binary.LittleEndian.PutUint32(e.B[size:], uint32(len(e.B)-size-4))
	e.End(m)
}

// sockaddr appends Linux's sockaddr_in or sockaddr_in6, family as LE u16;
// nothing for an address that is not set.
func (e *Encoder) sockaddr(ap netip.AddrPort) {
	ip := ap.Addr().Unmap()
	switch {
	case ip.Is4():
		b := ip.As4()
		e.U16(familyIPv4)
		e.B = binary.BigEndian.AppendUint16(e.B, ap.Port())
		e.Raw(b[:])
		e.U64(0)
	case ip.Is6():
		b := ip.As16()
		e.U16(familyIPv6)
		e.B = binary.BigEndian.AppendUint16(e.B, ap.Port())
		e.U32(0) // flow info
		e.Raw(b[:])
		e.U32(0) // scope: a link's number means nothing on another machine
	}
}

// AddrVec appends an entity_addrvec_t.
func (e *Encoder) AddrVec(v []Addr) {
	e.U8(2)
	e.Count(len(v))
	for _, a := range v {
		e.Addr(a)
	}
}

// Address families as Linux numbers them, on every system.
const (
	familyIPv4 = 2
	familyIPv6 = 10
)
