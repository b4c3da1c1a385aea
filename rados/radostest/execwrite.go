package radostest

import (
	"slices"

	"github.com/spirula/spirula/rados/wire"
)

// execWrite runs one operation that changes the object.
func (v *vector) execWrite(op *wire.Op) int32 {
	switch op.Code {
	case wire.OpCreate:
		if op.Flags&wire.OpExcl != 0 && v.cur != nil {
			return -int32(wire.EEXIST)
		}
		v.create()
		return ok
	case wire.OpSetAllocHint:
		v.create()
		return ok
	case wire.OpDelete:
		if v.cur == nil {
			return errENOENT
		}
		v.touch(0, v.cur.size)
		v.cur, v.modified = nil, true
		return ok
	case wire.OpRollback:
		return v.rollback(wire.SnapID(op.Num))
	case wire.OpWrite, wire.OpWriteFull, wire.OpAppend, wire.OpWriteSame, wire.OpTruncate, wire.OpZero:
		return v.writeData(op)
	case wire.OpSetXattr:
		if len(op.Name) > maxXattrName {
			return -int32(wire.ENAMETOOLONG)
		}
		v.create().xattrs.Set(op.Name, slices.Clone(op.Value))
		return ok
	case wire.OpRmXattr:
		if v.cur == nil {
			return errENOENT
		}
		v.cur.xattrs.Delete(op.Name) // as Ceph: an absent one does not matter
		v.modified = true
		return ok
	case wire.OpOmapSetVals, wire.OpOmapSetHeader, wire.OpOmapClear, wire.OpOmapRmKeys, wire.OpOmapRmKeyRange:
		return v.writeOmap(op)
	}
	return errNOTSUP
}

func (v *vector) writeData(op *wire.Op) int32 {
	n := uint64(op.Data.Len())
	off := op.Off
	switch op.Code {
	case wire.OpWriteFull:
		off = 0
	case wire.OpAppend:
		off = 0
		if v.cur != nil {
			off = v.cur.size
		}
	case wire.OpWriteSame:
		if n == 0 || op.Len == 0 || op.Len%n != 0 {
			return errINVAL
		}
		n = op.Len
	case wire.OpTruncate:
		if off >= maxObject {
			return -int32(wire.EFBIG)
		}
		n = 0
	case wire.OpZero:
		n = op.Len
	}
	if off > maxObject || n > maxObject-off {
		return -int32(wire.EFBIG)
	}
	switch op.Code {
	case wire.OpTruncate:
		if v.cur != nil {
			v.modified = true
			if off < v.cur.size {
				v.touch(off, v.cur.size-off)
			}
			v.cur.truncate(off)
		}
		return ok
	case wire.OpZero:
		switch {
		case v.cur == nil || n == 0 || off >= v.cur.size:
		case off+n >= v.cur.size: // as Ceph: up to the end is a truncation
			v.modified = true
			v.touch(off, v.cur.size-off)
			v.cur.truncate(off)
		default:
			v.modified = true
			v.touch(off, n)
			v.cur.zero(off, n)
		}
		return ok
	}
	c := v.create()
	switch op.Code {
	case wire.OpWriteFull:
		v.touch(0, max(c.size, n))
		c.truncate(0)
		v.put(c, op.Data, 0)
	case wire.OpWriteSame:
		v.touch(off, n)
		for at := uint64(0); at < n; at += uint64(op.Data.Len()) {
			v.put(c, op.Data, off+at)
		}
	default:
		v.touch(off, n)
		if n == 0 && off > c.size { // as Ceph: as long as its place is far
			c.truncate(off)
		}
		v.put(c, op.Data, off)
	}
	return ok
}

func (v *vector) put(c *content, d wire.Data, off uint64) {
	for i := range d.NumSegs() {
		b := d.Seg(i).Bytes()
		c.write(b, off)
		off += uint64(len(b))
	}
}

func (v *vector) writeOmap(op *wire.Op) int32 {
	if v.cur == nil && op.Code != wire.OpOmapSetVals && op.Code != wire.OpOmapSetHeader {
		return errENOENT
	}
	c := v.create()
	switch op.Code {
	case wire.OpOmapSetVals:
		for _, kv := range op.KVs {
			c.omap.Set(kv.Key, slices.Clone(kv.Value))
		}
	case wire.OpOmapSetHeader:
		c.header = slices.Clone(op.Value)
	case wire.OpOmapClear:
		c.omap.Clear()
		c.header = nil
	case wire.OpOmapRmKeys:
		for _, k := range op.Keys {
			c.omap.Delete(k)
		}
	case wire.OpOmapRmKeyRange:
		var drop []string
		c.omap.Ascend(op.Name, func(k string, _ []byte) bool {
			if k >= op.Name2 {
				return false
			}
			drop = append(drop, k)
			return true
		})
		for _, k := range drop {
			c.omap.Delete(k)
		}
	}
	return ok
}

func (v *vector) rollback(s wire.SnapID) int32 {
	if v.obj == nil && v.cur == nil {
		return ok
	}
	if v.obj != nil && s > v.obj.seq {
		return ok
	}
	v.modified = true
	if v.cur != nil {
		v.touch(0, v.cur.size)
	}
	c := v.obj.at(s)
	if c == nil {
		v.cur = nil
		return ok
	}
	v.touch(0, c.size)
	v.cur = c.copy()
	return ok
}
