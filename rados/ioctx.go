package rados

import (
	"context"
	"strconv"

	"github.com/spirula/spirula/rados/clustermap"
	"github.com/spirula/spirula/rados/wire"
)

// listPage is how many objects one request lists.
const listPage = 1024

// AllNamespaces stands for all namespaces of a pool in ListObjects.
const AllNamespaces = "\x01"

// IOCtx does operations on the objects of one pool. It is a value of little
// cost; any number of goroutines may use it. It does not change: the With
// methods give another one that differs in a namespace, a locator key or
// snapshots, which then count for every operation that does not name its own.
type IOCtx struct {
	c    *Client
	pool int64
	name string

	set       bool // one of the following is
	namespace string
	key       string
	snap      wire.SnapID
	snapc     wire.SnapContext
}

var _ Doer = (*IOCtx)(nil)

// IOCtx opens a pool by name. ENOENT, when there is none, is said only after
// asking the mon for its newest map.
func (c *Client) IOCtx(ctx context.Context, pool string) (*IOCtx, error) {
	id, ok := c.osdmap.Load().PoolByName(pool)
	if !ok {
		m, err := c.LatestMap(ctx)
		if err != nil {
			return nil, wire.Wrap("rados.ioctx", pool, err)
		}
		if id, ok = m.PoolByName(pool); !ok {
			return nil, wire.Errorf("rados.ioctx", pool, wire.ENOENT)
		}
	}
	return &IOCtx{c: c, pool: id, name: pool}, nil
}

// IOCtxByID opens a pool by its number; as IOCtx.
func (c *Client) IOCtxByID(ctx context.Context, pool int64) (*IOCtx, error) {
	m := c.osdmap.Load()
	if m.Pool(pool) == nil {
		var err error
		if m, err = c.LatestMap(ctx); err != nil {
			return nil, wire.Wrap("rados.ioctx", strconv.FormatInt(pool, 10), err)
		}
		if m.Pool(pool) == nil {
			return nil, wire.Errorf("rados.ioctx", strconv.FormatInt(pool, 10), wire.ENOENT)
		}
	}
	return &IOCtx{c: c, pool: pool, name: m.PoolNames[pool]}, nil
}

// WithNamespace gives an IOCtx for the objects of a namespace; "" is the
// default one. For ListObjects AllNamespaces stands for all.
func (x IOCtx) WithNamespace(namespace string) *IOCtx {
	x.set, x.namespace = true, namespace
	return &x
}

// WithLocatorKey gives an IOCtx for objects that are placed by key instead of
// their names, all together in one placement group.
func (x IOCtx) WithLocatorKey(key string) *IOCtx {
	x.set, x.key = true, key
	return &x
}

// WithSnapRead gives an IOCtx whose reads see the objects as they were at a
// snapshot; wire.NoSnap is the newest state.
func (x IOCtx) WithSnapRead(snap wire.SnapID) *IOCtx {
	x.set, x.snap = true, snap
	return &x
}

// WithSnapContext gives an IOCtx whose writes keep what the self-managed
// snapshots of sc need. EINVAL: sc.Snaps do not descend from sc.Seq.
func (x IOCtx) WithSnapContext(sc wire.SnapContext) (*IOCtx, error) {
	if !sc.Valid() {
		return nil, wire.Errorf("rados.snapcontext", x.name, wire.EINVAL)
	}
	x.set, x.snapc = true, sc
	return &x, nil
}

// Namespace is the namespace of WithNamespace.
func (x *IOCtx) Namespace() string { return x.namespace }

// fill completes an operation by what the IOCtx was made with.
func (x *IOCtx) fill(op *Op) {
	if op.Namespace == "" {
		op.Namespace = x.namespace
	}
	if op.Key == "" {
		op.Key = x.key
	}
	if op.Snap == 0 && x.snap != 0 && !writes(op) {
		op.Snap = x.snap
	}
	if op.SnapC.Seq == 0 {
		op.SnapC = x.snapc
	}
}

func writes(op *Op) bool {
	for i := range op.Ops {
		if op.Ops[i].Code.Writes() {
			return true
		}
	}
	return op.Flags&wire.FlagWrite != 0
}

// Client is the client that the IOCtx belongs to.
func (x *IOCtx) Client() *Client { return x.c }

// PoolID is the pool's number.
func (x *IOCtx) PoolID() int64 { return x.pool }

// PoolName is the name that the pool was opened by.
func (x *IOCtx) PoolName() string { return x.name }

// Do implements Doer.
func (x *IOCtx) Do(ctx context.Context, op *Op) (*Reply, error) {
	return x.Start(ctx, op).Wait(ctx)
}

// Start implements Doer.
func (x *IOCtx) Start(ctx context.Context, op *Op) *Call {
	p := x.c.osdmap.Load().Pool(x.pool)
	if p == nil {
		call := NewCall(op)
		call.Complete(nil, wire.Errorf("rados.start: the pool is gone", x.name, wire.ENOENT))
		return call
	}
	if x.set {
		x.fill(op)
	}
	return x.c.start(ctx, x.pool, p.HashName(op.Namespace, op.Key, op.Object), op, 0)
}

// ListObjects calls fn for every object of a namespace (AllNamespaces:
// of all of them; "": of the IOCtx's own), in no order that means anything. An object made or deleted meanwhile
// may be listed or not; any other is listed once. An error of fn ends it and
// is returned.
func (x *IOCtx) ListObjects(ctx context.Context, namespace string, fn func(wire.ListEntry) error) error {
	if namespace == "" {
		namespace = x.namespace
	}
	cursor := wire.MinHObject
	for !cursor.Max {
		at := cursor // the message keeps it
		op := &Op{Namespace: namespace, Ops: []wire.Op{{Code: wire.OpPGNLS, Num: listPage, Cursor: &at}}}
		reply, err := x.c.start(ctx, x.pool, cursor.Hash, op, wire.FlagPGOp).Wait(ctx)
		if err != nil {
			return wire.Wrap("rados.list", x.name, err)
		}
		if len(reply.Results) != 1 || reply.Results[0].Cursor == nil {
			return wire.Errorf("rados.list: answer without a cursor", x.name, wire.EIO)
		}
		for _, e := range reply.Results[0].List {
			if err := fn(e); err != nil {
				return err
			}
		}
		next := *reply.Results[0].Cursor
		if next.Compare(cursor) <= 0 {
			return wire.Errorf("rados.list: the listing does not advance", x.name, wire.EIO)
		}
		cursor = next
	}
	return nil
}

// Pool gives the settings of the pool in the client's map; nil if it is gone.
func (x *IOCtx) Pool() *clustermap.Pool { return x.c.osdmap.Load().Pool(x.pool) }
