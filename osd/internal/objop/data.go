package objop

import (
	"encoding/binary"
	"hash/crc32"
	"math"

	"github.com/spirula/spirula/rados/wire"
)

// truncation gives an operation's truncate_size and truncate_seq. 1 and the
// largest size come from clients that never truncated.
func truncation(op *wire.Op) (seq uint32, size uint64) {
	if op.Gen == 1 && op.Num == math.MaxUint64 {
		return 0, 0
	}
	return op.Gen, op.Num
}

// window cuts the range of a READ to the size that the reader may see: the
// object's as of the operations so far, or what a truncation left that the
// reader knows of and the object does not.
func (v *vector) window(op *wire.Op, n uint64) (uint64, uint64) {
	size, off := v.Object.Info.Size, op.Off
	if seq, at := truncation(op); seq > v.Object.Info.TruncateSeq && size > at && (off > at || n > at-off) {
		size = at
	}
	if off >= size {
		return off, 0
	}
	return off, min(n, size-off)
}

// readRange reads committed data, less than n bytes where they end.
func (v *vector) readRange(off, n uint64) (wire.Data, wire.Errno) {
	if n == 0 {
		return wire.Data{}, 0
	}
	if !v.srcStored {
		return wire.Data{}, wire.ENOENT
	}
	d, err := v.view.Read(v.src, off, n)
	return d, kind(err)
}

// read gives what is committed within the size as of the operations so far.
func (v *vector) read(op *wire.Op, res *wire.OpResult) (e wire.Errno) {
	n := op.Len
	if n == 0 {
		n = v.Object.Info.Size
	}
	off, n := v.window(op, n)
	res.Data, e = v.readRange(off, n)
	return e
}

func (v *vector) stat(res *wire.OpResult) wire.Errno {
	if !v.live {
		return wire.ENOENT
	}
	res.Size, res.MTime = v.Object.Info.Size, v.Object.Info.MTime
	return 0
}

// sparseRead gives the pieces of the range that hold data, and the data.
func (v *vector) sparseRead(op *wire.Op, res *wire.OpResult) wire.Errno {
	off, n := v.window(op, op.Len)
	if n == 0 {
		return 0
	}
	if !v.srcStored {
		return wire.ENOENT
	}
	all, err := v.view.Extents(v.src)
	if err != nil {
		return wire.EIO
	}
	for _, x := range intersect(all, []wire.Extent{{Off: off, Len: n}}) {
		d, err := v.view.Read(v.src, x.Off, x.Len)
		if err != nil {
			res.Data.Release()
			res.Data, res.Extents = wire.Data{}, nil
			return wire.EIO
		}
		if x.Len = uint64(d.Len()); x.Len == 0 {
			continue
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

// maxChecksums bounds the values of one CHECKSUM.
const maxChecksums = 1 << 18

// summer gives the function that appends a chunk's checksum; nil for a type
// that does not exist, or without its initial value. Ceph's CRC-32C is
// neither inverted before nor after.
func summer(kind uint8, init []byte) func(out, p []byte) []byte {
	switch {
	case kind == csumCRC32C && len(init) >= 4:
		seed := binary.LittleEndian.Uint32(init)
		return func(out, p []byte) []byte {
			return binary.LittleEndian.AppendUint32(out, ^crc32.Update(^seed, castagnoli, p))
		}
	case kind == csumXXHash32 && len(init) >= 4:
		seed := binary.LittleEndian.Uint32(init)
		return func(out, p []byte) []byte { return binary.LittleEndian.AppendUint32(out, xxHash32(seed, p)) }
	case kind == csumXXHash64 && len(init) >= 8:
		seed := binary.LittleEndian.Uint64(init)
		return func(out, p []byte) []byte { return binary.LittleEndian.AppendUint64(out, xxHash64(seed, p)) }
	}
	return nil
}

// checksum answers u32 count and one value for each chunk; nothing at all for
// a range behind the end.
func (v *vector) checksum(op *wire.Op, res *wire.OpResult) wire.Errno {
	off, n, chunk, size := op.Off, op.Len, op.Num, v.Object.Info.Size
	switch {
	case len(op.Value) == 0, chunk > 0 && (n == 0 || n%chunk != 0):
		return wire.EINVAL
	case off == 0 && n == 0:
		n = size
	case off >= size:
		return 0
	}
	n = min(n, size-off)
	sum := summer(op.Value[0], op.Value[1:])
	if sum == nil || chunk > 0 && n%chunk != 0 {
		return wire.EINVAL
	}
	d, e := v.readRange(off, n)
	if e != 0 {
		return e
	}
	defer d.Release()
	if chunk == 0 {
		chunk = uint64(d.Len())
	}
	count := 0
	if chunk > 0 {
		count = d.Len() / int(chunk)
	}
	if count > maxChecksums {
		return wire.EOVERFLOW
	}
	res.Value = binary.LittleEndian.AppendUint32(nil, uint32(count))
	p := make([]byte, chunk)
	for i := range count {
		d.CopyTo(p, i*len(p))
		res.Value = sum(res.Value, p)
	}
	return 0
}

// cmpExt gives -(4095 + offset of the first difference). What is not there
// compares as zeros.
func (v *vector) cmpExt(op *wire.Op) (int32, wire.Errno) {
	var d wire.Data
	if v.live && v.srcStored {
		off, n := v.window(op, uint64(op.Data.Len()))
		var e wire.Errno
		if d, e = v.readRange(off, n); e != 0 {
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
	have := v.Object.Info.UserVersion
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

// checkRange refuses what lies outside the largest object there can be.
func checkRange(off, n uint64) wire.Errno {
	if off >= MaxObjectSize || n > MaxObjectSize-off {
		return wire.EFBIG
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

// writeOp is WRITE: a write that comes after a truncation which its sender
// did not know of is cut to what that left; one whose sender knows of a later
// truncation than the object does brings it along.
func (v *vector) writeOp(op *wire.Op) wire.Errno {
	info, d := &v.Object.Info, op.Data
	if e := checkRange(op.Off, uint64(d.Len())); e != 0 {
		return e
	}
	seq, size := truncation(op)
	switch {
	case seq < info.TruncateSeq && op.Off+uint64(d.Len()) > info.Size:
		if op.Off >= info.Size {
			v.touch()
			return 0
		}
		d = d.Slice(0, int(info.Size-op.Off))
		v.owned = append(v.owned, d)
	case seq > info.TruncateSeq:
		if e := v.truncate(size); e != 0 {
			return e
		}
		info.TruncateSeq, info.TruncateSize = seq, size
	}
	return v.writeAt(op.Off, d)
}

// writeAt writes d; one of no bytes makes the object, and makes it as long as
// its place is far.
func (v *vector) writeAt(off uint64, d wire.Data) wire.Errno {
	n := uint64(d.Len())
	if e := checkRange(off, n); e != 0 {
		return e
	}
	if n == 0 {
		v.touch()
		if off > v.Object.Info.Size {
			v.Txn.Truncate(v.Object.id(wire.NoSnap), off)
			v.Object.Info.Size = off
		}
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
	if e := checkRange(0, n); e != 0 {
		return e
	}
	v.modify()
	v.dirty(0, max(n, v.Object.Info.Size))
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
	switch {
	case op.Len == 0:
		return 0
	case n == 0 || op.Len%n != 0:
		return wire.EINVAL
	case op.Len == n:
		return v.writeAt(op.Off, op.Data)
	}
	if e := checkRange(op.Off, op.Len); e != 0 {
		return e
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

// truncateOp is TRUNCATE. A numbered one (CephFS's clients send them) counts
// only if it is newer than the object's last.
func (v *vector) truncateOp(op *wire.Op) wire.Errno {
	seq, size := truncation(op)
	info := &v.Object.Info
	switch {
	case !v.live:
		return 0
	case op.Code == wire.OpTruncate && seq != 0 && op.Off != size:
		return wire.EINVAL
	case op.Code == wire.OpTruncate:
		size = op.Off
	}
	if e := checkRange(size, 0); e != 0 {
		return e
	}
	if seq != 0 {
		if seq <= info.TruncateSeq {
			return 0
		}
		info.TruncateSeq, info.TruncateSize = seq, size
	}
	return v.truncate(size)
}

// truncate does nothing to a missing object, as Ceph.
func (v *vector) truncate(size uint64) wire.Errno {
	if e := checkRange(size, 0); e != 0 || !v.live {
		return e
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
	if e := checkRange(off, n); e != 0 {
		return e
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
	v.Object.Info.Size, v.Object.Info.TruncateSeq, v.Object.Info.TruncateSize = 0, 0, 0
	v.dropWatches()
	return 0
}
