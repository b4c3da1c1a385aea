package objop

import (
	"github.com/spirula/spirula/rados/wire"
)

// Copied is what COPY_FROM and COPY_FROM2 put into their object: the source
// as it was at one moment. The daemon fetches it before Run.
type Copied struct {
	Err         wire.Errno // the source could not be had; the operation fails with it
	Size        uint64
	MTime       wire.Time
	UserVersion uint64
	// Data are Size bytes in order; they belong to the request's owner.
	Data       wire.Data
	Xattrs     []wire.KV
	OmapHeader []byte
	Omap       []wire.KV
}

// Flags of COPY_FROM (Ceph's values).
const (
	copyTruncateSeq = 1 << 5   // COPY_FROM2: the request has the truncation
	copyFlags       = 1<<6 - 1 // all there are
	copyMaxOmap     = 64 << 20 // bytes of omap that are copied; more are EFBIG
)

// Self reports whether a COPY_FROM's source is its own object's head.
func (o *Object) self(src *wire.CopySource) bool {
	h := wire.HObject{Pool: src.Locator.Pool, Namespace: src.Locator.Namespace, Key: src.Locator.Key, Name: src.Object}
	if h.Key == h.Name {
		h.Key = ""
	}
	return h.Pool == o.Head.Pool && h.Namespace == o.Head.Namespace && h.Key == o.Head.Key && h.Name == o.Head.Name &&
		src.Snap == wire.NoSnap
}

// copyFrom makes the object what its source was, but for its watches.
func (v *vector) copyFrom(op *wire.Op) wire.Errno {
	src := op.Source
	if src == nil || src.Flags&^copyFlags != 0 || v.was.self(src) {
		return wire.EINVAL
	}
	if v.index >= len(v.req.Copies) || v.req.Copies[v.index] == nil {
		return wire.EIO
	}
	c := v.req.Copies[v.index]
	switch {
	case c.Err != 0:
		return c.Err
	case c.Size > MaxObjectSize || uint64(c.Data.Len()) != c.Size:
		return wire.EFBIG
	}
	first := !v.modified
	v.modify()
	id := v.Object.id(wire.NoSnap)
	v.dirty(0, max(v.Object.Info.Size, c.Size))
	v.Txn.Remove(id)
	v.Txn.Touch(id)
	if c.Size > 0 {
		v.Txn.Write(id, 0, c.Data)
	}
	kvs := make([]wire.KV, len(c.Xattrs))
	for i, kv := range c.Xattrs {
		kvs[i] = wire.KV{Key: userPrefix + kv.Key, Value: kv.Value}
	}
	if len(kvs) > 0 {
		v.Txn.SetXattrs(id, kvs...)
	}
	if len(c.OmapHeader) > 0 {
		v.Txn.OmapHeader(id, c.OmapHeader)
	}
	if len(c.Omap) > 0 {
		v.Txn.OmapSet(id, c.Omap)
	}
	v.live = true
	info := &v.Object.Info
	info.Size, info.TruncateSeq, info.TruncateSize = c.Size, 0, 0
	if op.Code == wire.OpCopyFrom2 && src.Flags&copyTruncateSeq != 0 {
		info.TruncateSeq, info.TruncateSize = src.TruncateSeq, src.TruncateSize
	}
	if first && onlyCopies(v.req.Ops) {
		v.copied = c
	}
	return 0
}

// onlyCopies reports whether no operation but COPY_FROM changes what a client
// sees: the copy then keeps its source's version and time.
func onlyCopies(ops []wire.Op) bool {
	for i := range ops {
		switch ops[i].Code {
		case wire.OpCopyFrom, wire.OpCopyFrom2, wire.OpWatch:
		default:
			if writes(&ops[i]) {
				return false
			}
		}
	}
	return true
}
