package cls

import (
	"encoding/base64"

	"github.com/spirula/spirula/rados/wire"
)

// The class version: a counter with a tag in an xattr, for clients that
// change an object only if it is as they know it.

const versionXattr = "ceph.objclass.version"

// versionTag is the length of a tag.
const versionTag = 24

type objVersion struct {
	ver uint64
	tag string
}

func (v *objVersion) append(e *wire.Encoder) {
	m := e.Begin(1, 1)
	e.U64(v.ver)
	e.Str(v.tag)
	e.End(m)
}

func (v *objVersion) read(d *wire.Decoder) {
	b := d.Begin(1)
	v.ver, v.tag = d.U64(), d.Str()
	d.End(b)
}

// versionCond is one condition of an inc_conds or check_conds (Ceph's
// values).
type versionCond struct {
	objVersion
	cond uint32
}

const (
	condEQ = 1 + iota
	condGT
	condGE
	condLT
	condLE
	condTagEQ
	condTagNE
)

// holds says whether have satisfies the condition; an unknown one always.
func (c *versionCond) holds(have objVersion) bool {
	switch c.cond {
	case condEQ:
		return have == c.objVersion
	case condGT:
		return have.ver > c.ver
	case condGE:
		return have.ver >= c.ver
	case condLT:
		return have.ver < c.ver
	case condLE:
		return have.ver <= c.ver
	case condTagEQ:
		return have.tag == c.tag
	case condTagNE:
		return have.tag != c.tag
	}
	return true
}

// decodeConds reads the input of inc and of the methods with conditions.
func decodeConds(in []byte) (conds []versionCond, ok bool) {
	ok = decode(in, 1, func(d *wire.Decoder, _ uint8) {
		var unused objVersion
		unused.read(d)
		for n := d.Count(6 + 6 + 8 + 4 + 4); n > 0 && d.Err() == nil; n-- {
			var c versionCond
			b := d.Begin(1)
			c.read(d)
			c.cond = d.U32()
			d.End(b)
			conds = append(conds, c)
		}
	})
	return conds, ok
}

func allHold(conds []versionCond, have objVersion) bool {
	for i := range conds {
		if !conds[i].holds(have) {
			return false
		}
	}
	return true
}

// readVersion gives the object's version, the zero version where there is
// none.
func readVersion(o object) (v objVersion, found bool, e wire.Errno) {
	p, e := o.xattr(versionXattr)
	switch {
	case e == wire.ENOENT || e == wire.ENODATA:
		return v, false, 0
	case e != 0:
		return v, false, e
	}
	d := wire.NewDecoder(p)
	if v.read(d); d.Err() != nil {
		return v, false, wire.EIO
	}
	return v, true, 0
}

func writeVersion(o object, v objVersion) wire.Errno {
	var e wire.Encoder
	v.append(&e)
	return o.setXattr(versionXattr, e.B)
}

func versionSet(o object, in []byte) ([]byte, int32) {
	var v objVersion
	if !decode(in, 1, func(d *wire.Decoder, _ uint8) { v.read(d) }) {
		return nil, fail(wire.EINVAL)
	}
	return nil, fail(writeVersion(o, v))
}

// versionInc counts from 1, with a tag of its own, where there is no version
// yet.
func versionInc(o object, in []byte) ([]byte, int32) {
	conds, ok := decodeConds(in)
	if !ok {
		return nil, fail(wire.EINVAL)
	}
	v, found, e := readVersion(o)
	if e != 0 {
		return nil, fail(e)
	}
	if !found {
		u := o.Unique()
		v = objVersion{ver: 1, tag: base64.URLEncoding.EncodeToString(u[:])[:versionTag]}
	}
	if !allHold(conds, v) {
		return nil, fail(wire.ECANCELED)
	}
	v.ver++
	return nil, fail(writeVersion(o, v))
}

func versionRead(o object, _ []byte) ([]byte, int32) {
	v, _, e := readVersion(o)
	if e != 0 {
		return nil, fail(e)
	}
	return encode(1, 1, v.append), 0
}

func versionCheck(o object, in []byte) ([]byte, int32) {
	conds, ok := decodeConds(in)
	if !ok {
		return nil, fail(wire.EINVAL)
	}
	v, _, e := readVersion(o)
	if e == 0 && !allHold(conds, v) {
		e = wire.ECANCELED
	}
	return nil, fail(e)
}

var versionMethods = []Method{
	{"set", true, true, versionSet},
	{"inc", true, true, versionInc},
	{"inc_conds", true, true, versionInc},
	{"read", true, false, versionRead},
	{"check_conds", true, false, versionCheck},
}
