package cls

import (
	"slices"

	"github.com/spirula/spirula/rados/wire"
)

// The class refcount: an object that lives as long as somebody refers to it.
// References are tags, in the xattr "refcount". A tag that was put once is
// remembered, so that putting it again does nothing. With the implicit flag
// an object without the xattr has one reference, the wildcard, that any tag
// can put.

const refcountXattr = "refcount"

const wildcardTag = ""

type refcounts struct {
	refs    []string // ascending
	retired []string // ascending
}

// add puts tag into an ascending list without repeating it.
func add(list []string, tag string) []string {
	i, found := slices.BinarySearch(list, tag)
	if found {
		return list
	}
	return slices.Insert(list, i, tag)
}

// remove takes tag out of an ascending list, if it is there.
func remove(list []string, tag string) ([]string, bool) {
	i, found := slices.BinarySearch(list, tag)
	if !found {
		return list, false
	}
	return slices.Delete(list, i, i+1), true
}

func (r *refcounts) encode() []byte {
	return encode(2, 1, func(e *wire.Encoder) {
		e.Count(len(r.refs))
		for _, t := range r.refs {
			e.Str(t)
			e.Bool(true)
		}
		e.Strs(r.retired)
	})
}

func (r *refcounts) decode(p []byte) bool {
	return decode(p, 2, func(d *wire.Decoder, version uint8) {
		for n := d.Count(5); n > 0 && d.Err() == nil; n-- {
			r.refs = append(r.refs, d.Str())
			d.Bool()
		}
		if version >= 2 {
			r.retired = d.Strs()
		}
		slices.Sort(r.refs)
		slices.Sort(r.retired)
	})
}

func readRefcounts(o object, implicit bool) (r refcounts, e wire.Errno) {
	p, e := o.xattr(refcountXattr)
	switch {
	case e == wire.ENODATA:
		if implicit {
			r.refs = []string{wildcardTag}
		}
		return r, 0
	case e != 0:
		return r, e
	case !r.decode(p):
		return r, wire.EIO
	}
	return r, 0
}

func decodeTag(in []byte) (tag string, implicit, ok bool) {
	ok = decode(in, 1, func(d *wire.Decoder, _ uint8) { tag, implicit = d.Str(), d.Bool() })
	return tag, implicit, ok
}

func refcountGet(o object, in []byte) ([]byte, int32) {
	tag, implicit, ok := decodeTag(in)
	if !ok {
		return nil, fail(wire.EINVAL)
	}
	r, e := readRefcounts(o, implicit)
	if e != 0 {
		return nil, fail(e)
	}
	r.refs = add(r.refs, tag)
	return nil, fail(o.setXattr(refcountXattr, r.encode()))
}

func refcountPut(o object, in []byte) ([]byte, int32) {
	tag, implicit, ok := decodeTag(in)
	if !ok {
		return nil, fail(wire.EINVAL)
	}
	r, e := readRefcounts(o, implicit)
	if e != 0 {
		return nil, fail(e)
	}
	if len(r.refs) == 0 {
		return nil, fail(wire.EINVAL)
	}
	if _, before := slices.BinarySearch(r.retired, tag); before {
		return nil, 0
	}
	refs, found := remove(r.refs, tag)
	if !found && implicit {
		refs, found = remove(r.refs, wildcardTag)
	}
	if !found {
		return nil, 0
	}
	if len(refs) == 0 {
		return nil, fail(o.remove())
	}
	r.refs, r.retired = refs, add(r.retired, tag)
	return nil, fail(o.setXattr(refcountXattr, r.encode()))
}

func refcountSet(o object, in []byte) ([]byte, int32) {
	var tags []string
	if !decode(in, 1, func(d *wire.Decoder, _ uint8) { tags = d.Strs() }) {
		return nil, fail(wire.EINVAL)
	}
	if len(tags) == 0 {
		return nil, fail(o.remove())
	}
	slices.Sort(tags)
	r := refcounts{refs: slices.Compact(tags)}
	return nil, fail(o.setXattr(refcountXattr, r.encode()))
}

func refcountRead(o object, in []byte) ([]byte, int32) {
	var implicit bool
	if !decode(in, 1, func(d *wire.Decoder, _ uint8) { implicit = d.Bool() }) {
		return nil, fail(wire.EINVAL)
	}
	r, e := readRefcounts(o, implicit)
	if e != 0 {
		return nil, fail(e)
	}
	return encode(1, 1, func(e *wire.Encoder) { e.Strs(r.refs) }), 0
}

var refcountMethods = []Method{
	{"get", true, true, refcountGet},
	{"put", true, true, refcountPut},
	{"set", true, true, refcountSet},
	{"read", true, false, refcountRead},
}
