package radostest

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"hash/crc32"
	"slices"
	"strings"

	"github.com/spirula/spirula/rados/wire"
)

const (
	ok        int32 = 0
	errENOENT       = -int32(wire.ENOENT)
	errINVAL        = -int32(wire.EINVAL)
	errNOTSUP       = -int32(wire.EOPNOTSUPP)
	errCANCEL       = -int32(wire.ECANCELED)
)

// exec runs one operation and gives its rval.
func (v *vector) exec(op *wire.Op, r *wire.OpResult) int32 {
	if op.Code.Writes() {
		return v.execWrite(op)
	}
	switch op.Code {
	case wire.OpStat:
		if v.cur == nil {
			return errENOENT
		}
		r.Size, r.MTime = v.cur.size, v.cur.mtime
		return ok
	case wire.OpListSnaps:
		return v.listSnaps(r)
	case wire.OpPGNLS:
		return v.list(op, r)
	case wire.OpAssertVer:
		return v.assertVer(op.Num)
	case wire.OpOmapCmp:
		return v.omapCmp(op)
	case wire.OpCmpXattr:
		return v.cmpXattr(op)
	}
	if v.old == nil || v.cur == nil {
		return errENOENT
	}
	return v.execRead(op, r)
}

// execRead runs what reads the state before the vector.
func (v *vector) execRead(op *wire.Op, r *wire.OpResult) int32 {
	switch op.Code {
	case wire.OpRead, wire.OpSyncRead:
		r.Data = wire.CopyData(v.old.read(op.Off, op.Len))
	case wire.OpSparseRead:
		r.Data = wire.CopyData(v.old.read(op.Off, op.Len))
		if n := r.Data.Len(); n > 0 {
			r.Extents = []wire.Extent{{Off: op.Off, Len: uint64(n)}}
		}
	case wire.OpCmpExt:
		return v.cmpExt(op)
	case wire.OpChecksum:
		return v.checksum(op, r)
	case wire.OpGetXattr:
		val, found := v.old.xattrs.Get(op.Name)
		if !found {
			return -int32(wire.ENODATA)
		}
		r.Value = slices.Clone(val)
	case wire.OpGetXattrs:
		v.old.xattrs.Scan(func(k string, val []byte) bool {
			r.KVs = append(r.KVs, wire.KV{Key: k, Value: slices.Clone(val)})
			return true
		})
	case wire.OpOmapGetHeader:
		r.Value = slices.Clone(v.old.header)
	case wire.OpOmapGetKeys, wire.OpOmapGetVals:
		v.omapRead(op, r)
	case wire.OpOmapGetValsByKeys:
		for _, k := range op.Keys {
			if val, found := v.old.omap.Get(k); found {
				r.KVs = append(r.KVs, wire.KV{Key: k, Value: slices.Clone(val)})
			}
		}
	default:
		return errNOTSUP
	}
	return ok
}

func (v *vector) omapRead(op *wire.Op, r *wire.OpResult) {
	limit := int(min(op.Num, maxOmapRead))
	prefix := op.Name2
	if op.Code == wire.OpOmapGetKeys {
		prefix = ""
	}
	n := 0
	v.old.omap.Ascend(max(op.Name, prefix), func(k string, val []byte) bool {
		if op.Name != "" && k <= op.Name {
			return true
		}
		if !strings.HasPrefix(k, prefix) {
			return false
		}
		if n == limit {
			r.More = true
			return false
		}
		n++
		if op.Code == wire.OpOmapGetKeys {
			r.Keys = append(r.Keys, k)
		} else {
			r.KVs = append(r.KVs, wire.KV{Key: k, Value: slices.Clone(val)})
		}
		return true
	})
}

func (v *vector) cmpExt(op *wire.Op) int32 {
	want := op.Data.Bytes()
	got := make([]byte, len(want))
	copy(got, v.old.read(op.Off, uint64(len(want))))
	for i := range want {
		if want[i] != got[i] {
			return -int32(cmpExtBase + i)
		}
	}
	return ok
}

// checksum knows CRC32C alone.
func (v *vector) checksum(op *wire.Op, r *wire.OpResult) int32 {
	if len(op.Value) != 5 || op.Value[0] != 2 || op.Num != 0 && (op.Len == 0 || op.Len%op.Num != 0) {
		return errINVAL
	}
	if op.Off >= v.old.size && op.Off+op.Len > 0 {
		return ok
	}
	data := v.old.read(op.Off, op.Len)
	chunk := int(op.Num)
	if chunk == 0 {
		chunk = len(data)
	}
	if len(data)%max(chunk, 1) != 0 {
		return errINVAL
	}
	var sums wire.Encoder
	n := 0
	for ; len(data) > 0; n++ {
		// Not inverted at either end.
		seed := ^binary.LittleEndian.Uint32(op.Value[1:])
		sums.U32(^crc32.Update(seed, crc32.MakeTable(crc32.Castagnoli), data[:chunk]))
		data = data[chunk:]
	}
	var e wire.Encoder
	e.Count(n)
	e.Raw(sums.B)
	r.Value = e.B
	return ok
}

// cmpXattr compares with the attribute before the vector, even behind a
// DELETE in it.
func (v *vector) cmpXattr(op *wire.Op) int32 {
	if v.old == nil && v.obj == nil {
		return errENOENT
	}
	var stored []byte
	if v.old != nil { // else as Ceph: of an object kept for its clones, empty
		stored, _ = v.old.xattrs.Get(op.Name)
	}
	var c int
	switch op.CmpMode {
	case wire.CmpString:
		c = bytes.Compare(op.Value, stored)
	case wire.CmpU64:
		c = cmp.Compare(op.Num, parseU64(stored))
	default:
		return errINVAL
	}
	var pass bool
	switch op.CmpOp {
	case wire.CmpEQ:
		pass = c == 0
	case wire.CmpNE:
		pass = c != 0
	case wire.CmpGT:
		pass = c > 0
	case wire.CmpGTE:
		pass = c >= 0
	case wire.CmpLT:
		pass = c < 0
	case wire.CmpLTE:
		pass = c <= 0
	default:
		return errINVAL
	}
	if !pass {
		return errCANCEL
	}
	v.matched = true
	return 1
}

// parseU64 reads decimal text as strtoull does: leading blanks, a sign,
// digits up to the first other byte, clamped.
func parseU64(b []byte) uint64 {
	i := 0
	for i < len(b) && (b[i] == ' ' || b[i] >= '\t' && b[i] <= '\r') {
		i++
	}
	neg := false
	if i < len(b) && (b[i] == '-' || b[i] == '+') {
		neg = b[i] == '-'
		i++
	}
	var n uint64
	for ; i < len(b) && b[i] >= '0' && b[i] <= '9'; i++ {
		d := uint64(b[i] - '0')
		if n > (1<<64-1-d)/10 {
			return 1<<64 - 1
		}
		n = n*10 + d
	}
	if neg {
		return -n
	}
	return n
}

func (v *vector) omapCmp(op *wire.Op) int32 {
	if v.cur == nil {
		return errENOENT
	}
	for _, a := range op.OmapCmps {
		var stored []byte
		if v.old != nil {
			stored, _ = v.old.omap.Get(a.Key)
		}
		c := bytes.Compare(stored, a.Value)
		var pass bool
		switch a.Op {
		case wire.CmpEQ:
			pass = c == 0
		case wire.CmpLT:
			pass = c < 0
		case wire.CmpGT:
			pass = c > 0
		default:
			return errINVAL
		}
		if !pass {
			return errCANCEL
		}
	}
	return ok
}

func (v *vector) assertVer(ver uint64) int32 {
	var have uint64
	if v.obj != nil {
		have = v.obj.version
	}
	switch {
	case ver == 0:
		return errINVAL
	case ver < have:
		return -int32(wire.ERANGE)
	case ver > have:
		return -int32(wire.EOVERFLOW)
	}
	return ok
}

func (v *vector) listSnaps(r *wire.OpResult) int32 {
	if v.obj == nil {
		return errENOENT
	}
	r.SnapSeq = v.obj.seq
	for _, c := range v.obj.clones {
		snaps := slices.Clone(c.snaps)
		slices.Reverse(snaps)
		r.Clones = append(r.Clones, wire.CloneSnap{Clone: c.id, Snaps: snaps,
			Overlap: slices.Clone(c.overlap), Size: c.content.size})
	}
	if v.obj.head != nil {
		r.Clones = append(r.Clones, wire.CloneSnap{Clone: wire.NoSnap, Size: v.obj.head.size})
	}
	return ok
}

// list answers PGNLS as a pool of one placement group would, in the order of
// namespace and name; cursors have hash 0.
func (v *vector) list(op *wire.Op, r *wire.OpResult) int32 {
	limit := int(min(op.Num, maxListObject))
	for _, k := range v.pool.sortedKeys() {
		if k.namespace != v.op.Namespace && v.op.Namespace != "\x01" || v.pool.objects[k].head == nil {
			continue
		}
		h := wire.HObject{Namespace: k.namespace, Key: k.locator, Name: k.name, Snap: wire.NoSnap}
		if op.Cursor != nil && op.Cursor.Pool >= 0 && h.Compare(*op.Cursor) < 0 {
			continue
		}
		if len(r.List) == limit {
			r.Cursor = &h
			return ok
		}
		r.List = append(r.List, wire.ListEntry{Namespace: k.namespace, Name: k.name, Key: k.locator})
	}
	end := wire.MaxHObject
	r.Cursor = &end
	return 1
}
