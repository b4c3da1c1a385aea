package cls

import (
	"bytes"
	"cmp"
	"slices"
	"strings"

	"github.com/spirula/spirula/rados/wire"
)

// The class cmpomap: assertions on omap values, and changes of those of the
// values that satisfy one. A comparison is given OP stored, of bytes or of
// numbers of eight bytes, little-endian.

type omapCompare struct {
	mode   wire.CmpMode
	op     wire.CmpOp
	given  []wire.KV // ascending by key
	absent *[]byte   // stands for a value that is not there; nil: such a key is not compared
}

func (c *omapCompare) decode(in []byte, withDefault bool) bool {
	return decode(in, 1, func(d *wire.Decoder, _ uint8) {
		c.mode, c.op = wire.CmpMode(d.U8()), wire.CmpOp(d.U8())
		for n := d.Count(8); n > 0 && d.Err() == nil; n-- {
			c.given = append(c.given, wire.KV{Key: d.Str(), Value: d.Bytes()})
		}
		byKey := func(a, b wire.KV) int { return strings.Compare(a.Key, b.Key) }
		slices.SortStableFunc(c.given, byKey)
		c.given = slices.CompactFunc(c.given, func(a, b wire.KV) bool { return a.Key == b.Key })
		if withDefault && d.Bool() {
			v := d.Bytes()
			c.absent = &v
		}
	})
}

// holds compares one value; EINVAL for what is given and makes no sense, EIO
// for what is stored and is no number.
func (c *omapCompare) holds(given, stored []byte) (bool, wire.Errno) {
	switch c.mode {
	case wire.CmpString:
		return ordered(bytes.Compare(given, stored), c.op)
	case wire.CmpU64:
		g, s := wire.NewDecoder(given), wire.NewDecoder(stored)
		a, b := g.U64(), uint64(0)
		if g.Err() != nil {
			return false, wire.EINVAL
		}
		if len(stored) > 0 {
			b = s.U64()
		}
		if s.Err() != nil {
			return false, wire.EIO
		}
		return ordered(cmp.Compare(a, b), c.op)
	}
	return false, wire.EINVAL
}

// ordered says whether an order (negative, 0, positive) satisfies op.
func ordered(order int, op wire.CmpOp) (bool, wire.Errno) {
	switch op {
	case wire.CmpEQ:
		return order == 0, 0
	case wire.CmpNE:
		return order != 0, 0
	case wire.CmpGT:
		return order > 0, 0
	case wire.CmpGTE:
		return order >= 0, 0
	case wire.CmpLT:
		return order < 0, 0
	case wire.CmpLTE:
		return order <= 0, 0
	}
	return false, wire.EINVAL
}

// each calls f for every given entry with what is stored under its key, or
// stands for it, and whether there is either.
func (c *omapCompare) each(o object, f func(given wire.KV, stored []byte, found bool) wire.Errno) wire.Errno {
	keys := make([]string, len(c.given))
	for i := range c.given {
		keys[i] = c.given[i].Key
	}
	kvs, e := o.omapGet(keys)
	if e != 0 {
		return e
	}
	for _, g := range c.given {
		stored, found := []byte(nil), false
		if len(kvs) > 0 && kvs[0].Key == g.Key {
			stored, found = kvs[0].Value, true
			kvs = kvs[1:]
		} else if c.absent != nil {
			stored, found = *c.absent, true
		}
		if e := f(g, stored, found); e != 0 {
			return e
		}
	}
	return 0
}

// passing is each for the entries whose comparison holds. Stored values that
// are no numbers don't satisfy any.
func (c *omapCompare) passing(o object, f func(given wire.KV)) wire.Errno {
	return c.each(o, func(given wire.KV, stored []byte, found bool) wire.Errno {
		if !found {
			return 0
		}
		ok, e := c.holds(given.Value, stored)
		if ok && e == 0 {
			f(given)
		}
		if e == wire.EIO {
			e = 0
		}
		return e
	})
}

// cmpVals is ECANCELED unless all comparisons hold.
func cmpVals(o object, in []byte) ([]byte, int32) {
	var c omapCompare
	if !c.decode(in, true) {
		return nil, fail(wire.EINVAL)
	}
	return nil, fail(c.each(o, func(given wire.KV, stored []byte, found bool) wire.Errno {
		ok, e := false, wire.Errno(0)
		if found {
			ok, e = c.holds(given.Value, stored)
		}
		if e == 0 && !ok {
			e = wire.ECANCELED
		}
		return e
	}))
}

// cmpSetVals sets the given values whose comparison holds.
func cmpSetVals(o object, in []byte) ([]byte, int32) {
	var c omapCompare
	if !c.decode(in, true) {
		return nil, fail(wire.EINVAL)
	}
	var set []wire.KV
	if e := c.passing(o, func(given wire.KV) { set = append(set, given) }); e != 0 || len(set) == 0 {
		return nil, fail(e)
	}
	return nil, fail(o.omapSet(set...))
}

// cmpRmKeys removes the keys whose comparison holds.
func cmpRmKeys(o object, in []byte) ([]byte, int32) {
	var c omapCompare
	if !c.decode(in, false) {
		return nil, fail(wire.EINVAL)
	}
	var keys []string
	if e := c.passing(o, func(given wire.KV) { keys = append(keys, given.Key) }); e != 0 {
		return nil, fail(e)
	}
	for _, k := range keys {
		if e := o.omapRm(k); e != 0 {
			return nil, fail(e)
		}
	}
	return nil, 0
}

var cmpomapMethods = []Method{
	{"cmp_vals", true, false, cmpVals},
	{"cmp_set_vals", true, true, cmpSetVals},
	{"cmp_rm_keys", true, true, cmpRmKeys},
}
