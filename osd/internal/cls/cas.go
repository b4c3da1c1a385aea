package cls

import (
	"bytes"
	"slices"

	"github.com/spirula/spirula/rados/wire"
)

// The class cas: chunks of content, named by it, that live as long as objects
// refer to them. The references are in the xattr "chunk_refs"; an object may
// have several.

const chunkRefsXattr = "chunk_refs"

// refsByObject says that the references are listed (Ceph's value). Ceph has
// coarser forms too, for more references than an xattr takes; nothing here
// writes them.
const refsByObject = 1

// flagVerify of a create_or_get_ref asks for a comparison with what is there.
const flagVerify = 1

// chunkRefs is who refers to a chunk, in the order of objects.
type chunkRefs []wire.HObject

func (r *chunkRefs) get(h wire.HObject) {
	i, _ := slices.BinarySearchFunc(*r, h, wire.HObject.Compare)
	*r = slices.Insert(*r, i, h)
}

func (r *chunkRefs) put(h wire.HObject) bool {
	i, found := slices.BinarySearchFunc(*r, h, wire.HObject.Compare)
	if found {
		*r = slices.Delete(*r, i, i+1)
	}
	return found
}

func (r chunkRefs) encode() []byte {
	return encode(1, 1, func(e *wire.Encoder) {
		e.U8(refsByObject)
		m := e.Begin(1, 1)
		e.Count(len(r))
		for _, h := range r {
			e.HObject(h)
		}
		e.End(m)
	})
}

func readChunkRefs(o object) (r chunkRefs, e wire.Errno) {
	p, e := o.xattr(chunkRefsXattr)
	switch {
	case e == wire.ENODATA:
		return nil, 0
	case e != 0:
		return nil, e
	}
	kind := uint8(0)
	ok := decode(p, 1, func(d *wire.Decoder, _ uint8) {
		if kind = d.U8(); kind != refsByObject {
			return
		}
		b := d.Begin(1)
		for n := d.Count(6 + 4 + 4 + 8 + 4 + 1 + 4 + 8); n > 0 && d.Err() == nil; n-- {
			r.get(d.HObject())
		}
		d.End(b)
	})
	if !ok || kind != refsByObject {
		return nil, wire.EIO
	}
	return r, 0
}

func writeChunkRefs(o object, r chunkRefs) wire.Errno { return o.setXattr(chunkRefsXattr, r.encode()) }

func casCreateOrGet(o object, in []byte) ([]byte, int32) {
	var source wire.HObject
	var flags uint64
	var data []byte
	if !decode(in, 1, func(d *wire.Decoder, _ uint8) { source, flags, data = d.HObject(), d.U64(), d.Bytes() }) {
		return nil, fail(wire.EINVAL)
	}
	r, e := readChunkRefs(o)
	switch {
	case e == wire.ENOENT:
		if e := o.writeFull(data); e != 0 {
			return nil, fail(e)
		}
	case e != 0:
		return nil, fail(e)
	case flags&flagVerify != 0:
		have, e := o.read(0, 0)
		if e != 0 {
			return nil, fail(e)
		}
		if !bytes.Equal(have, data) {
			return nil, fail(eNoMsg)
		}
	}
	r.get(source)
	return nil, fail(writeChunkRefs(o, r))
}

func decodeSource(in []byte) (source wire.HObject, ok bool) {
	ok = decode(in, 1, func(d *wire.Decoder, _ uint8) { source = d.HObject() })
	return source, ok
}

func casGet(o object, in []byte) ([]byte, int32) {
	source, ok := decodeSource(in)
	if !ok {
		return nil, fail(wire.EINVAL)
	}
	r, e := readChunkRefs(o)
	if e != 0 {
		return nil, fail(e)
	}
	r.get(source)
	return nil, fail(writeChunkRefs(o, r))
}

func casPut(o object, in []byte) ([]byte, int32) {
	source, ok := decodeSource(in)
	if !ok {
		return nil, fail(wire.EINVAL)
	}
	r, e := readChunkRefs(o)
	switch {
	case e != 0:
		return nil, fail(e)
	case !r.put(source):
		return nil, fail(eNoLink)
	case len(r) == 0:
		return nil, fail(o.remove())
	}
	return nil, fail(writeChunkRefs(o, r))
}

// casReferences says whether the object is made of a chunk: none here is.
func casReferences(_ object, in []byte) ([]byte, int32) {
	d := wire.NewDecoder(in)
	if d.Str(); d.Err() != nil {
		return nil, fail(wire.EINVAL)
	}
	return nil, fail(eNoLink)
}

var casMethods = []Method{
	{"chunk_create_or_get_ref", true, true, casCreateOrGet},
	{"chunk_get_ref", true, true, casGet},
	{"chunk_put_ref", true, true, casPut},
	{"references_chunk", true, false, casReferences},
}
