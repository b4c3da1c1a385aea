package osd

import (
	"context"
	"errors"
	"time"

	"github.com/spirula/spirula/osd/internal/objop"
	"github.com/spirula/spirula/rados/wire"
)

// Bounds of COPY_FROM.
const (
	maxCopies    = 4       // sources fetched at a time
	copyPiece    = 8 << 20 // bytes read at a time
	copyRestarts = 5       // times that a source may change while it is read
	copyTime     = time.Minute
)

// isCopy reports whether an operation needs another object's content.
func isCopy(op *wire.Op) bool { return op.Code == wire.OpCopyFrom || op.Code == wire.OpCopyFrom2 }

// copies reports whether the vector has sources that are yet to be fetched.
func (o *op) copies() bool {
	if o.req.Copies != nil || !o.write {
		return false
	}
	for i := range o.req.Ops {
		if isCopy(&o.req.Ops[i]) && o.req.Ops[i].Source != nil {
			return true
		}
	}
	return false
}

// fetch reads the sources of a vector's copies, and then executes it. The
// object's lock is held all the time: what follows sees the copy.
func (o *op) fetch() {
	o.keep()
	o.osd.copier.run(func() {
		ctx, cancel := context.WithTimeout(o.osd.requester.ctx, copyTime)
		defer cancel()
		copies := make([]*objop.Copied, len(o.req.Ops))
		for i := range o.req.Ops {
			if op := &o.req.Ops[i]; isCopy(op) && op.Source != nil {
				copies[i] = o.fetchOne(ctx, op.Source)
			}
		}
		o.req.Copies = copies
		o.osd.runner.run(o.execute)
	})
}

func (o *op) fetchOne(ctx context.Context, src *wire.CopySource) *objop.Copied {
	l := src.Locator
	if l.Pool == o.head.Pool && src.Object == o.head.Name && l.Namespace == o.head.Namespace &&
		(l.Key == o.head.Key || o.head.Key == "" && l.Key == src.Object) {
		if src.Snap == wire.NoSnap || src.Snap == 0 {
			return &objop.Copied{Err: wire.EINVAL}
		}
		// Our own object, whose lock we have: nobody else would answer.
		return fetch(src, func(ops []wire.Op) (*wire.MOSDOpReply, error) {
			out := objop.Run(o.osd.store, &o.object.state, &objop.Request{Ops: ops, Snap: src.Snap}, nil)
			return &wire.MOSDOpReply{Result: out.Result, Results: out.Results, UserVersion: out.Object.Info.UserVersion}, nil
		})
	}
	return fetch(src, func(ops []wire.Op) (*wire.MOSDOpReply, error) {
		snap := src.Snap
		if snap == 0 {
			snap = wire.NoSnap
		}
		return o.osd.requester.do(ctx, src.Locator, src.Object, snap, ops)
	})
}

// fetch reads an object as it is at one moment: in pieces, each of which
// fails if the object has another version than the first. read runs a vector
// on the source.
func fetch(src *wire.CopySource, read func([]wire.Op) (*wire.MOSDOpReply, error)) *objop.Copied {
	for range copyRestarts {
		c := &objop.Copied{}
		again := fetchPieces(src, read, c)
		if c.Err == 0 {
			return c
		}
		c.Data.Release()
		c.Data = wire.Data{}
		if !again {
			return c
		}
	}
	return &objop.Copied{Err: wire.EAGAIN}
}

// fetchPieces fills c. It reports whether another try may succeed after a
// failure.
func fetchPieces(src *wire.CopySource, read func([]wire.Op) (*wire.MOSDOpReply, error), c *objop.Copied) (again bool) {
	version := src.Version
	after := ""
	moreOmap := true
	for first := true; first || moreOmap || uint64(c.Data.Len()) < c.Size; first = false {
		var ops []wire.Op
		if version != 0 {
			ops = append(ops, wire.Op{Code: wire.OpAssertVer, Num: version})
		}
		at := len(ops)
		if first {
			ops = append(ops, wire.Op{Code: wire.OpStat}, wire.Op{Code: wire.OpGetXattrs}, wire.Op{Code: wire.OpOmapGetHeader})
		}
		ops = append(ops, wire.Op{Code: wire.OpRead, Off: uint64(c.Data.Len()), Len: copyPiece})
		if moreOmap {
			ops = append(ops, wire.Op{Code: wire.OpOmapGetVals, Name: after, Num: objop.MaxOmapList})
		}
		r, err := read(ops)
		if err != nil {
			c.Err = wire.ErrnoOf(err)
			return false
		}
		if r.Result < 0 || len(r.Results) != len(ops) {
			if c.Err = wire.Errno(-r.Result); r.Result >= 0 {
				c.Err = wire.EIO
			}
			r.Release()
			return src.Version == 0 && !first && (c.Err == wire.ERANGE || c.Err == wire.EOVERFLOW)
		}
		res := r.Results[at:]
		if first {
			c.Size, c.MTime, c.UserVersion = res[0].Size, res[0].MTime, r.UserVersion
			c.Xattrs, c.OmapHeader = res[1].KVs, res[2].Value
			version = r.UserVersion
			res = res[3:]
		}
		got := res[0].Data.Len()
		c.Data.AppendData(res[0].Data)
		if moreOmap {
			kvs := res[1].KVs
			c.Omap = append(c.Omap, kvs...)
			if moreOmap = res[1].More && len(kvs) > 0; moreOmap {
				after = kvs[len(kvs)-1].Key
			}
		}
		if got == 0 && uint64(c.Data.Len()) < c.Size {
			c.Err = wire.EIO // an object of one version has one size
			return false
		}
	}
	return false
}

// unreachable is the answer to a request that could not be brought to its
// object in time.
func unreachable(err error) error {
	if errors.Is(err, context.DeadlineExceeded) {
		return wire.ETIMEDOUT
	}
	return wire.ESHUTDOWN
}
