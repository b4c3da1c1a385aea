package objop

import (
	"encoding/binary"
	"hash/crc32"

	"github.com/spirula/spirula/rados/wire"
)

// clip cuts [off, off+n) to the committed size; n 0 means to the end.
func (v *vector) clip(off, n uint64) (uint64, uint64) {
	size := v.srcInfo.Size
	if off >= size {
		return off, 0
	}
	if n == 0 || n > size-off {
		n = size - off
	}
	return off, n
}

// readable says whether the state before the vector can be read.
func (v *vector) readable() wire.Errno {
	if !v.live || !v.srcLive {
		return wire.ENOENT
	}
	return 0
}

func (v *vector) readRange(off, n uint64) (wire.Data, wire.Errno) {
	off, n = v.clip(off, n)
	if n == 0 {
		return wire.Data{}, 0
	}
	d, err := v.view.Read(v.src, off, n)
	return d, kind(err)
}

func (v *vector) read(op *wire.Op, res *wire.OpResult) (e wire.Errno) {
	if e = v.readable(); e == 0 {
		res.Data, e = v.readRange(op.Off, op.Len)
	}
	return e
}

func (v *vector) stat(res *wire.OpResult) wire.Errno {
	if !v.live {
		return wire.ENOENT
	}
	res.Size, res.MTime = v.Object.Info.Size, v.Object.Info.MTime
	return 0
}

func (v *vector) sparseRead(op *wire.Op, res *wire.OpResult) wire.Errno {
	if e := v.readable(); e != 0 {
		return e
	}
	off, n := v.clip(op.Off, op.Len)
	if n == 0 {
		return 0
	}
	all, err := v.view.Extents(v.src)
	if err != nil {
		return wire.EIO
	}
	for _, x := range intersect(all, []wire.Extent{{Off: off, Len: n}}) {
		d, err := v.view.Read(v.src, x.Off, x.Len)
		if err != nil {
			return wire.EIO
		}
		res.Extents = append(res.Extents, x)
		res.Data.AppendData(d)
	}
	return 0
}

// The checksum types of CHECKSUM (Ceph's values).
const (
	csumXXHash32 = 0
	csumXXHash64 = 1
	csumCRC32C   = 2
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// checksum answers u32 count and one value for each chunk. Ceph's CRC-32C is
// neither inverted before nor after.
func (v *vector) checksum(op *wire.Op, res *wire.OpResult) wire.Errno {
	if e := v.readable(); e != 0 {
		return e
	}
	if len(op.Value) < 1 || (op.Num != 0 && op.Len%op.Num != 0) {
		return wire.EINVAL
	}
	var sum func(out, p []byte) []byte
	init := op.Value[1:]
	switch {
	case op.Value[0] == csumCRC32C && len(init) == 4:
		seed := binary.LittleEndian.Uint32(init)
		sum = func(out, p []byte) []byte {
			return binary.LittleEndian.AppendUint32(out, ^crc32.Update(^seed, castagnoli, p))
		}
	case op.Value[0] == csumXXHash32 && len(init) == 4:
		seed := binary.LittleEndian.Uint32(init)
		sum = func(out, p []byte) []byte { return binary.LittleEndian.AppendUint32(out, xxHash32(seed, p)) }
	case op.Value[0] == csumXXHash64 && len(init) == 8:
		seed := binary.LittleEndian.Uint64(init)
		sum = func(out, p []byte) []byte { return binary.LittleEndian.AppendUint64(out, xxHash64(seed, p)) }
	default:
		return wire.EINVAL
	}
	d, e := v.readRange(op.Off, op.Len)
	if e != 0 {
		return e
	}
	defer d.Release()
	p := d.Bytes()
	chunk := len(p)
	if op.Num != 0 && op.Num < uint64(chunk) {
		chunk = int(op.Num)
	}
	res.Value = []byte{0, 0, 0, 0}
	count := uint32(0)
	for ; chunk > 0 && len(p) >= chunk; p = p[chunk:] {
		res.Value = sum(res.Value, p[:chunk])
		count++
	}
	binary.LittleEndian.PutUint32(res.Value, count)
	return 0
}

// cmpExt gives -(4095 + offset of the first difference). What is not there
// compares as zeros.
func (v *vector) cmpExt(op *wire.Op) (int32, wire.Errno) {
	var d wire.Data
	if v.live && v.srcLive && op.Data.Len() > 0 {
		var e wire.Errno
		if d, e = v.readRange(op.Off, uint64(op.Data.Len())); e != 0 {
			return 0, e
		}
	}
	defer d.Release()
	var a, b [wire.BlockSize]byte
	for at := 0; at < op.Data.Len(); {
		n := op.Data.CopyTo(a[:], at)
		clear(b[d.CopyTo(b[:n], min(at, d.Len())):n])
		for i := range n {
			if a[i] != b[i] {
				return -(4095 + int32(at+i)), 0
			}
		}
		at += n
	}
	return 0, 0
}

func (v *vector) assertVer(op *wire.Op) wire.Errno {
	have := uint64(0)
	if v.live {
		have = v.Object.Info.UserVersion
	}
	switch {
	case op.Num == 0:
		return wire.EINVAL
	case op.Num < have:
		return wire.ERANGE
	case op.Num > have:
		return wire.EOVERFLOW
	}
	return 0
}

// touch makes the object exist.
func (v *vector) touch() {
	v.modify()
	if !v.live {
		v.live = true
		v.Txn.Touch(v.Object.id(wire.NoSnap))
	}
}

func (v *vector) writeAt(off uint64, d wire.Data) wire.Errno {
	n := uint64(d.Len())
	if off > MaxObjectSize || n > MaxObjectSize-off {
		return wire.EFBIG
	}
	if n == 0 {
		v.touch()
		return 0
	}
	v.modify()
	v.live = true
	v.dirty(off, n)
	v.Txn.Write(v.Object.id(wire.NoSnap), off, d)
	v.Object.Info.Size = max(v.Object.Info.Size, off+n)
	return 0
}

func (v *vector) writeFull(d wire.Data) wire.Errno {
	n := uint64(d.Len())
	v.modify()
	v.dirty(0, v.Object.Info.Size)
	if n == 0 && !v.live {
		v.Txn.Touch(v.Object.id(wire.NoSnap))
	}
	v.live = true
	if v.Object.Info.Size > n {
		v.Txn.Truncate(v.Object.id(wire.NoSnap), n)
	}
	if n > 0 {
		v.Txn.Write(v.Object.id(wire.NoSnap), 0, d)
	}
	v.Object.Info.Size = n
	return 0
}

// patternBuf is how much memory WRITESAME spends on repeating its pattern.
const patternBuf = wire.MaxBuf

func (v *vector) writeSame(op *wire.Op) wire.Errno {
	n := uint64(op.Data.Len())
	if n == 0 || op.Len%n != 0 {
		return wire.EINVAL
	}
	if op.Off > MaxObjectSize || op.Len > MaxObjectSize-op.Off {
		return wire.EFBIG
	}
	switch op.Len {
	case 0:
		return v.writeAt(op.Off, wire.Data{})
	case n:
		return v.writeAt(op.Off, op.Data)
	}
	d := repeat(op.Data, int(op.Len))
	v.owned = append(v.owned, d)
	return v.writeAt(op.Off, d)
}

// repeat gives total bytes of the pattern over and over; total is a multiple
// of the pattern's length. The memory is one Buf, or the pattern's own.
func repeat(pattern wire.Data, total int) wire.Data {
	unit := pattern
	if n := pattern.Len(); n <= patternBuf/2 {
		times := min(patternBuf/n, total/n)
		buf := wire.NewBuf(times * n)
		for i := range times {
			pattern.CopyTo(buf.Bytes()[i*n:(i+1)*n], 0)
		}
		unit = wire.Data{}
		unit.Append(buf, 0, times*n)
		defer unit.Release()
	}
	var d wire.Data
	for d.Len() < total {
		d.AppendData(unit.Slice(0, min(unit.Len(), total-d.Len())))
	}
	return d
}

// truncate does nothing to a missing object, as Ceph.
func (v *vector) truncate(size uint64) wire.Errno {
	if size >= MaxObjectSize {
		return wire.EFBIG
	}
	if !v.live {
		return 0
	}
	v.modify()
	if size < v.Object.Info.Size {
		v.dirty(size, v.Object.Info.Size-size)
	}
	v.Txn.Truncate(v.Object.id(wire.NoSnap), size)
	v.Object.Info.Size = size
	return 0
}

// zero of a range that reaches the end truncates, as Ceph's does; one behind
// the end does nothing.
func (v *vector) zero(off, n uint64) wire.Errno {
	if off > MaxObjectSize || n > MaxObjectSize-off {
		return wire.EFBIG
	}
	size := v.Object.Info.Size
	switch {
	case !v.live || n == 0 || off >= size:
		return 0
	case off+n >= size:
		return v.truncate(off)
	}
	v.modify()
	v.dirty(off, n)
	v.Txn.Zero(v.Object.id(wire.NoSnap), off, n)
	return 0
}

func (v *vector) create(op *wire.Op) wire.Errno {
	if v.live && op.Flags&wire.OpExcl != 0 {
		return wire.EEXIST
	}
	v.touch()
	return 0
}

func (v *vector) remove() wire.Errno {
	if !v.live {
		return wire.ENOENT
	}
	v.modify()
	v.dirty(0, v.Object.Info.Size)
	v.Txn.Remove(v.Object.id(wire.NoSnap))
	v.live = false
	v.Object.Info.Size = 0
	v.newXattr, v.rmXattr = nil, nil
	return 0
}
