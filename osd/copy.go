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
	maxCopies = 4 // sources fetched at a time
	copyTime  = time.Minute
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

// fetchOne reads one source: from its primary, or, if it is a snapshot of our
// own object, whose lock nobody else gets now, from the store.
func (o *op) fetchOne(ctx context.Context, src *wire.CopySource) *objop.Copied {
	snap := src.Snap
	if snap == 0 {
		snap = wire.NoSnap
	}
	l, own := src.Locator, false
	if l.Pool == o.head.Pool && src.Object == o.head.Name && l.Namespace == o.head.Namespace &&
		(l.Key == o.head.Key || o.head.Key == "" && l.Key == src.Object) {
		if snap == wire.NoSnap {
			return &objop.Copied{Err: wire.EINVAL}
		}
		own = true
	}
	f := objop.NewFetch(src)
	for {
		ops := f.Ops()
		if own {
			out := objop.Run(o.osd.store, &o.object.state, &objop.Request{Ops: ops, Snap: snap}, nil)
			if f.Take(ops, out.Result, out.Object.Info.UserVersion, out.Results) {
				return f.Copied()
			}
			continue
		}
		r, err := o.osd.requester.do(ctx, l, src.Object, snap, ops)
		if err != nil {
			f.Copied().Data.Release()
			return &objop.Copied{Err: wire.ErrnoOf(err)}
		}
		if f.Take(ops, r.Result, r.UserVersion, r.Results) {
			return f.Copied()
		}
	}
}

// unreachable is the answer to a request that could not be brought to its
// object in time.
func unreachable(err error) error {
	if errors.Is(err, context.DeadlineExceeded) {
		return wire.ETIMEDOUT
	}
	return wire.ESHUTDOWN
}
