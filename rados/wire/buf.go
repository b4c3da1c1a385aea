package wire

import (
	"hash/crc32"
	"sync"
	"sync/atomic"
	"unsafe"
)

// BlockSize is the unit of alignment and of checksums: 4 KiB.
const BlockSize = 4096

// The size classes of pooled buffers, in bytes.
var bufClasses = [...]int{4 << 10, 64 << 10, 256 << 10, 1 << 20}

// MaxBuf is the largest size a single Buf has, in bytes.
const MaxBuf = 1 << 20

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// CRC32C is the checksum used for data: Castagnoli, as crc32.Update has it,
// starting from 0.
func CRC32C(p []byte) uint32 { return crc32.Checksum(p, castagnoli) }

// Arena hands out Bufs and takes them back. Free memory it keeps is bounded;
// what is in use is bounded by whoever admits the bytes before they are read
// (the gateways' throttle), not here, so that no inner layer ever waits for
// memory that an outer one holds.
type Arena struct {
	pools [len(bufClasses)]sync.Pool
	// poison makes a released Buf fill itself with 0xDB, so that a reader
	// who kept no reference is found by a checksum.
	poison bool
	inUse  atomic.Int64
}

// NewArena makes an arena. poison is for tests.
func NewArena(poison bool) *Arena { return &Arena{poison: poison} }

// DefaultArena serves NewBuf.
var DefaultArena = NewArena(false)

// InUse is the memory of all Bufs not yet released, in bytes.
func (a *Arena) InUse() int64 { return a.inUse.Load() }

// Buf is a piece of memory with a reference count. Pooled ones start at a
// multiple of 4 KiB, so they can go to a file opened with O_DIRECT.
type Buf struct {
	mem   []byte // whole capacity
	refs  atomic.Int32
	class int8 // index into bufClasses, -1 not pooled
	arena *Arena
	sums  []uint32 // of the first blocks
}

// NewBuf gives a Buf of at least size bytes, at most MaxBuf, with one
// reference that belongs to the caller. Its content is undefined.
func NewBuf(size int) *Buf { return DefaultArena.NewBuf(size) }

// NewBuf is as the function of that name, from this arena. It panics for a
// size over MaxBuf: that is a mistake in the program, not of its input.
func (a *Arena) NewBuf(size int) *Buf {
	for i, c := range bufClasses {
		if size > c {
			continue
		}
		b, _ := a.pools[i].Get().(*Buf)
		if b == nil {
			b = &Buf{mem: alignedBytes(c), class: int8(i), arena: a}
		}
		b.refs.Store(1)
		b.sums = b.sums[:0]
		a.inUse.Add(int64(c))
		return b
	}
	panic("wire: NewBuf: size over MaxBuf")
}

func alignedBytes(n int) []byte {
	raw := make([]byte, n+BlockSize)
	skip := int(-uintptr(unsafe.Pointer(&raw[0])) & (BlockSize - 1))
	return raw[skip : skip+n : skip+n]
}

// Bytes is the Buf's whole memory, for its creator to fill.
func (b *Buf) Bytes() []byte { return b.mem }

// AddBlockCRC notes the CRC32C of the block of BlockSize bytes behind those
// whose checksums were noted before. Only the Buf's creator may call it, once
// the block is there and before the Buf is handed on. It saves those who come
// later from computing it again.
func (b *Buf) AddBlockCRC(crc uint32) {
	if b.sums == nil {
		b.sums = make([]uint32, 0, len(b.mem)/BlockSize)
	}
	b.sums = append(b.sums, crc)
}

// BlockCRC is the CRC32C of the Buf's block i, if its creator noted it.
func (b *Buf) BlockCRC(i int) (crc uint32, ok bool) {
	if i >= len(b.sums) {
		return 0, false
	}
	return b.sums[i], true
}

// Cap is the Buf's size in bytes.
func (b *Buf) Cap() int { return len(b.mem) }

// Retain takes one more reference.
func (b *Buf) Retain() {
	if b.refs.Add(1) <= 1 {
		panic("wire: Retain of a released Buf")
	}
}

// Release gives one reference back. The last one returns the memory to its
// arena.
func (b *Buf) Release() {
	n := b.refs.Add(-1)
	if n > 0 {
		return
	}
	if n < 0 {
		panic("wire: Release of a released Buf")
	}
	if b.class < 0 {
		return
	}
	if b.arena.poison {
		for i := range b.mem {
			b.mem[i] = 0xDB
		}
	}
	b.arena.inUse.Add(-int64(len(b.mem)))
	b.arena.pools[b.class].Put(b)
}

// Seg is a range of one Buf.
type Seg struct {
	Buf *Buf
	Off int
	Len int
}

// Bytes is the segment's memory; read only once the Data was handed on.
func (s Seg) Bytes() []byte { return s.Buf.mem[s.Off : s.Off+s.Len] }

// Data is a chain of segments: the bytes of a read or a write. It is a small
// value; copying it copies no bytes and takes no reference. The zero Data is
// empty.
//
// One segment, the usual case, needs no allocation.
type Data struct {
	one  Seg
	more []Seg // segments after the first; never changed once shared
	n    int
}

// DataOf wraps b in a Data without copying. The memory is not pooled;
// the caller must not write to it afterwards.
func DataOf(b []byte) Data {
	if len(b) == 0 {
		return Data{}
	}
	buf := &Buf{mem: b, class: -1}
	buf.refs.Store(1)
	return Data{one: Seg{buf, 0, len(b)}, n: len(b)}
}

// CopyData makes a Data of its own pooled memory that holds a copy of b.
func CopyData(b []byte) Data {
	var d Data
	for len(b) > 0 {
		buf := NewBuf(min(len(b), MaxBuf))
		n := copy(buf.mem, b)
		d.Append(buf, 0, n)
		b = b[n:]
	}
	return d
}

// Append adds a range of buf at the end. The caller's reference goes over to
// the Data. Only the Data's creator may call it, before handing it on.
func (d *Data) Append(buf *Buf, off, n int) {
	if n == 0 {
		buf.Release()
		return
	}
	if d.one.Buf == nil {
		d.one = Seg{buf, off, n}
	} else {
		d.more = append(d.more, Seg{buf, off, n})
	}
	d.n += n
}

// AppendData adds e at the end; e's references go over to d.
func (d *Data) AppendData(e Data) {
	for i := range e.NumSegs() {
		s := e.Seg(i)
		d.Append(s.Buf, s.Off, s.Len)
	}
}

// Len is the number of bytes.
func (d Data) Len() int { return d.n }

// NumSegs is the number of segments.
func (d Data) NumSegs() int {
	if d.one.Buf == nil {
		return 0
	}
	return 1 + len(d.more)
}

// Seg gives segment i.
func (d Data) Seg(i int) Seg {
	if i == 0 {
		return d.one
	}
	return d.more[i-1]
}

// Retain takes a reference on every segment and returns d, for chaining.
func (d Data) Retain() Data {
	for i := range d.NumSegs() {
		d.Seg(i).Buf.Retain()
	}
	return d
}

// Release gives one reference on every segment back.
func (d Data) Release() {
	for i := range d.NumSegs() {
		d.Seg(i).Buf.Release()
	}
}

// Slice is the range [off, off+n) with references of its own. The range must
// lie within the Data.
func (d Data) Slice(off, n int) Data {
	if off < 0 || n < 0 || off+n > d.n {
		panic("wire: Data.Slice out of range")
	}
	var out Data
	for i := 0; i < d.NumSegs() && n > 0; i++ {
		s := d.Seg(i)
		if off >= s.Len {
			off -= s.Len
			continue
		}
		take := min(s.Len-off, n)
		s.Buf.Retain()
		out.Append(s.Buf, s.Off+off, take)
		n -= take
		off = 0
	}
	return out
}

// CopyTo copies bytes from offset off of the Data into p and returns how
// many there were.
func (d Data) CopyTo(p []byte, off int) int {
	total := 0
	for i := 0; i < d.NumSegs() && len(p) > 0; i++ {
		b := d.Seg(i).Bytes()
		if off >= len(b) {
			off -= len(b)
			continue
		}
		n := copy(p, b[off:])
		p, total, off = p[n:], total+n, 0
	}
	return total
}

// AppendTo appends all bytes to p.
func (d Data) AppendTo(p []byte) []byte {
	for i := range d.NumSegs() {
		p = append(p, d.Seg(i).Bytes()...)
	}
	return p
}

// Bytes gives all bytes in one slice: the memory itself when there is one
// segment, a copy otherwise. Not for the data path.
func (d Data) Bytes() []byte {
	switch d.NumSegs() {
	case 0:
		return nil
	case 1:
		return d.one.Bytes()
	}
	return d.AppendTo(make([]byte, 0, d.n))
}

// CRC32C is the checksum of all bytes.
func (d Data) CRC32C() uint32 {
	var c uint32
	for i := range d.NumSegs() {
		c = crc32.Update(c, castagnoli, d.Seg(i).Bytes())
	}
	return c
}
