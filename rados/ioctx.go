package rados

import (
	"context"
	"strings"
	"time"

	"github.com/spirula/spirula/rados/clustermap"
	"github.com/spirula/spirula/rados/wire"
)

// listPage is how many objects one request lists.
const listPage = 1024

// IOCtx does operations on the objects of one pool. It is a value of little
// cost; any number of goroutines may use it.
type IOCtx struct {
	c    *Client
	pool int64
	name string
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
	return x.c.start(ctx, x.pool, p.HashName(op.Namespace, op.Key, op.Object), op, 0)
}

// ListObjects calls fn for every object of a namespace ("\x01" is all of
// them), in no order that means anything. An object made or deleted meanwhile
// may be listed or not; any other is listed once. An error of fn ends it and
// is returned.
func (x *IOCtx) ListObjects(ctx context.Context, namespace string, fn func(wire.ListEntry) error) error {
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

// CreateSnap gives a self-managed snapshot id that nobody has had.
func (x *IOCtx) CreateSnap(ctx context.Context) (wire.SnapID, error) {
	m, err := x.c.mon.Call(ctx, func(tid uint64) wire.Message {
		return &wire.MPoolOp{TID: tid, FSID: x.c.FSID(), Pool: x.pool, Op: wire.PoolCreateOwnSnap}
	})
	if err != nil {
		return 0, wire.Wrap("rados.createsnap", x.name, err)
	}
	r, ok := m.(*wire.MPoolOpReply)
	if !ok {
		return 0, wire.Errorf("rados.createsnap: wrong answer", x.name, wire.EIO)
	}
	if r.Result < 0 {
		return 0, wire.Errorf("rados.createsnap", x.name, wire.Errno(-r.Result))
	}
	return r.Snap, wire.Wrap("rados.createsnap", x.name, x.c.WaitForMap(ctx, r.Epoch))
}

// maxRemoveSnaps is how many ids one request removes.
const maxRemoveSnaps = 512

// RemoveSnaps lets the cluster drop what only these snapshots keep, in its
// own time. Ids may be unknown to the pool, and a repetition is harmless. No
// snap context anywhere may have an id by the time it is removed, or clones
// for it may stay for ever.
func (x *IOCtx) RemoveSnaps(ctx context.Context, ids []wire.SnapID) error {
	for len(ids) > 0 {
		n := min(len(ids), maxRemoveSnaps)
		part := map[int64][]wire.SnapID{x.pool: ids[:n]}
		_, err := x.c.mon.Call(ctx, func(tid uint64) wire.Message {
			return &wire.MRemoveSnaps{TID: tid, Snaps: part}
		})
		if err != nil {
			return wire.Wrap("rados.removesnaps", x.name, err)
		}
		ids = ids[n:]
	}
	return nil
}

// PoolOptions are the choices of a new pool; zero values mean the mon's
// default.
type PoolOptions struct {
	PGNum   int
	Size    int
	MinSize int
}

// CreatePool makes a pool, if there is none of that name, and waits for the
// map that has it.
func (c *Client) CreatePool(ctx context.Context, name string, opts PoolOptions) error {
	cmd := map[string]any{"prefix": "osd pool create", "pool": name}
	for k, v := range map[string]int{"pg_num": opts.PGNum, "size": opts.Size, "min_size": opts.MinSize} {
		if v != 0 {
			cmd[k] = v
		}
	}
	return c.change(ctx, "rados.createpool", name, cmd)
}

// DeletePool deletes a pool with all of its objects.
func (c *Client) DeletePool(ctx context.Context, name string) error {
	return c.change(ctx, "rados.deletepool", name, map[string]any{"prefix": "osd pool delete", "pool": name,
		"pool2": name, "yes_i_really_really_mean_it": true})
}

// Blocklist shuts an address out for some time. When it returns, every
// operation that this client starts comes after the exclusion; the epoch it
// gives is a barrier (SetBarrier) that has the same effect for other clients.
func (c *Client) Blocklist(ctx context.Context, addr wire.Addr, expire time.Duration) (wire.Epoch, error) {
	cmd := map[string]any{"prefix": "osd blocklist", "blocklistop": "add",
		"addr": strings.TrimPrefix(addr.String(), "v2:"), "expire": expire.Seconds()}
	if err := c.change(ctx, "rados.blocklist", addr.String(), cmd); err != nil {
		return 0, err
	}
	return c.osdmap.Load().Epoch, nil
}

// change runs a command and waits for the map that has its effect.
func (c *Client) change(ctx context.Context, op, subject string, cmd map[string]any) error {
	if _, err := c.mon.Command(ctx, cmd, nil); err != nil {
		return wire.Wrap(op, subject, err)
	}
	_, err := c.LatestMap(ctx)
	return wire.Wrap(op, subject, err)
}

// ListPools gives the names of the pools in the client's map.
func (c *Client) ListPools() []string {
	m := c.osdmap.Load()
	names := make([]string, 0, len(m.PoolNames))
	for _, name := range m.PoolNames {
		names = append(names, name)
	}
	return names
}

// Usage is how much of a cluster is used, in bytes.
type Usage struct {
	Total, Used, Avail uint64
	Objects            uint64
}

// StatFS asks for the use of the whole cluster.
func (c *Client) StatFS(ctx context.Context) (Usage, error) { return c.statFS(ctx, false, 0) }

// StatFS asks for the use of the pool: Avail is what may still be written to
// it, its replicas taken into account.
func (x *IOCtx) StatFS(ctx context.Context) (Usage, error) { return x.c.statFS(ctx, true, x.pool) }

func (c *Client) statFS(ctx context.Context, hasPool bool, pool int64) (Usage, error) {
	m, err := c.mon.Call(ctx, func(tid uint64) wire.Message {
		return &wire.MStatfs{TID: tid, FSID: c.FSID(), HasPool: hasPool, Pool: pool}
	})
	if err != nil {
		return Usage{}, wire.Wrap("rados.statfs", "", err)
	}
	r, ok := m.(*wire.MStatfsReply)
	if !ok {
		return Usage{}, wire.Errorf("rados.statfs: wrong answer", "", wire.EIO)
	}
	return Usage{Total: r.KB << 10, Used: r.KBUsed << 10, Avail: r.KBAvail << 10, Objects: r.Objects}, nil
}

// Pool gives the settings of the pool in the client's map; nil if it is gone.
func (x *IOCtx) Pool() *clustermap.Pool { return x.c.osdmap.Load().Pool(x.pool) }
