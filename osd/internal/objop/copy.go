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
)

// Bounds of a Fetch.
const (
	fetchPiece    = 4 << 20  // bytes of data in one answer
	fetchOmap     = 64 << 20 // bytes of omap in all; more are EFBIG
	fetchRestarts = 8        // because the source changed meanwhile; then EBUSY
)

// Fetch reads the source of a COPY_FROM, in pieces, with vectors that any OSD
// answers. The one who runs it sends the vector of Ops to the primary of the
// source, at CopySource.Snap, and gives the answer to Take, until that says
// that Copied is complete or has an Err.
type Fetch struct {
	src      *wire.CopySource
	c        Copied
	version  uint64 // that every further piece must be of
	begun    bool
	after    string // the last omap key had
	more     bool   // the omap goes on
	omap     int    // bytes had
	restarts int
}

// NewFetch starts reading a source.
func NewFetch(src *wire.CopySource) *Fetch { return &Fetch{src: src, version: src.Version} }

// Ops gives the next vector.
func (f *Fetch) Ops() []wire.Op {
	var ops []wire.Op
	if f.version != 0 {
		ops = append(ops, wire.Op{Code: wire.OpAssertVer, Num: f.version})
	}
	if !f.begun {
		ops = append(ops, wire.Op{Code: wire.OpStat}, wire.Op{Code: wire.OpGetXattrs}, wire.Op{Code: wire.OpOmapGetHeader})
	}
	if !f.begun || uint64(f.c.Data.Len()) < f.c.Size {
		ops = append(ops, wire.Op{Code: wire.OpRead, Off: uint64(f.c.Data.Len()), Len: fetchPiece,
			Flags: wire.OpFlag(f.src.Advice) &^ (wire.OpExcl | wire.OpFailOK)})
	}
	if !f.begun || f.more {
		ops = append(ops, wire.Op{Code: wire.OpOmapGetVals, Name: f.after, Num: MaxOmapList})
	}
	return ops
}

// Take takes the answer to the vector of Ops: its result, the user version
// that came with it, and the operations' results, whose Data go over to it.
func (f *Fetch) Take(ops []wire.Op, result int32, user uint64, results []wire.OpResult) (done bool) {
	if result >= 0 && len(results) != len(ops) {
		result = -int32(wire.EIO)
	}
	if result < 0 {
		for i := range results {
			results[i].Data.Release()
		}
		e := wire.Errno(-result)
		if f.begun && f.src.Version == 0 && (e == wire.ERANGE || e == wire.EOVERFLOW) && f.restarts < fetchRestarts {
			f.c.Data.Release()
			*f = Fetch{src: f.src, restarts: f.restarts + 1}
			return false
		}
		return f.fail(e)
	}
	had := f.c.Data.Len()
	for i := range ops {
		r := &results[i]
		switch ops[i].Code {
		case wire.OpStat:
			f.c.Size, f.c.MTime = r.Size, r.MTime
		case wire.OpGetXattrs:
			f.c.Xattrs = r.KVs
		case wire.OpOmapGetHeader:
			f.c.OmapHeader = r.Value
		case wire.OpRead:
			f.c.Data.AppendData(r.Data)
		case wire.OpOmapGetVals:
			f.takeOmap(r)
		}
	}
	f.begun, f.version, f.c.UserVersion = true, user, user
	n := uint64(f.c.Data.Len())
	switch {
	case f.c.Size > MaxObjectSize || f.omap > fetchOmap:
		return f.fail(wire.EFBIG)
	case n > f.c.Size || n < f.c.Size && f.c.Data.Len() == had:
		return f.fail(wire.EIO)
	}
	return n == f.c.Size && !f.more
}

func (f *Fetch) takeOmap(r *wire.OpResult) {
	f.c.Omap = append(f.c.Omap, r.KVs...)
	for _, kv := range r.KVs {
		f.omap += len(kv.Key) + len(kv.Value)
		f.after = kv.Key
	}
	f.more = r.More && len(r.KVs) > 0
}

// fail ends the Fetch without a copy.
func (f *Fetch) fail(e wire.Errno) bool {
	if f.restarts == fetchRestarts && (e == wire.ERANGE || e == wire.EOVERFLOW) {
		e = wire.EBUSY
	}
	f.c.Data.Release()
	f.c = Copied{Err: e}
	return true
}

// Copied gives what was read; its Data go over to the caller.
func (f *Fetch) Copied() *Copied { return &f.c }

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
