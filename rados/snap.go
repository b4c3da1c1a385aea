package rados

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/spirula/spirula/rados/clustermap"
	"github.com/spirula/spirula/rados/wire"
)

// Bounds of the removal of snapshots.
const (
	maxRemoveSnaps = 512 // ids in one request to a mon of this process
	snapRemovals   = 16  // requests under way to other mons, one id each
)

// poolOp changes a pool and waits for the map that has it changed.
func (c *Client) poolOp(ctx context.Context, what, subject string, op wire.MPoolOp) (*wire.MPoolOpReply, error) {
	what = "rados." + what
	m, err := c.mon.Call(ctx, func(tid uint64) wire.Message {
		m := op
		m.TID, m.FSID = tid, c.FSID()
		return &m
	})
	if err != nil {
		return nil, wire.Wrap(what, subject, err)
	}
	r, ok := m.(*wire.MPoolOpReply)
	if !ok {
		return nil, wire.Errorf(what+": wrong answer", subject, wire.EIO)
	}
	if r.Result < 0 {
		return nil, wire.Errorf(what, subject, wire.Errno(-r.Result))
	}
	return r, wire.Wrap(what, subject, c.WaitForMap(ctx, r.Epoch))
}

// CreateSnap gives a self-managed snapshot id that nobody has had. EINVAL: the
// pool has pool snapshots.
func (x *IOCtx) CreateSnap(ctx context.Context) (wire.SnapID, error) {
	r, err := x.c.poolOp(ctx, "createsnap", x.name, wire.MPoolOp{Pool: x.pool, Op: wire.PoolCreateOwnSnap, CrushRule: -1})
	if err != nil {
		return 0, err
	}
	return r.Snap, nil
}

// RemoveSnaps lets the cluster drop what only these self-managed snapshots
// keep, in its own time. Ids may be unknown to the pool, and a repetition is
// harmless. No snap context anywhere may have an id by the time it is removed,
// or clones for it may stay for ever.
func (x *IOCtx) RemoveSnaps(ctx context.Context, ids []wire.SnapID) error {
	if x.c.mon.remote() {
		return x.removeEach(ctx, ids)
	}
	for part := range slices.Chunk(ids, maxRemoveSnaps) {
		_, err := x.c.mon.Call(ctx, func(tid uint64) wire.Message {
			return &wire.MRemoveSnaps{TID: tid, Snaps: map[int64][]wire.SnapID{x.pool: part}}
		})
		if err != nil {
			return wire.Wrap("rados.removesnaps", x.name, err)
		}
	}
	return nil
}

// removeEach removes one id with each request: what any client may ask any mon.
func (x *IOCtx) removeEach(ctx context.Context, ids []wire.SnapID) error {
	for part := range slices.Chunk(ids, snapRemovals) {
		errs := make(chan error, len(part))
		for _, id := range part {
			go func() {
				_, err := x.c.poolOp(ctx, "removesnaps", x.name, wire.MPoolOp{Pool: x.pool, Op: wire.PoolDeleteOwnSnap, Snap: id, CrushRule: -1})
				if errors.Is(err, wire.ENOENT) {
					err = nil
				}
				errs <- err
			}()
		}
		var err error
		for range part {
			err = errors.Join(err, <-errs)
		}
		if err != nil {
			return wire.Wrap("rados.removesnaps", x.name, err)
		}
	}
	return nil
}

// Snap is a snapshot of a whole pool.
type Snap struct {
	ID    wire.SnapID
	Name  string
	Stamp time.Time
}

// SnapCreate makes a snapshot of the pool. EEXIST: there is one of that name;
// EINVAL: the pool has self-managed ones.
func (x *IOCtx) SnapCreate(ctx context.Context, name string) error {
	if _, err := x.SnapLookup(name); err == nil { // the mon lets a repetition pass
		return wire.Errorf("rados.snapcreate", name, wire.EEXIST)
	}
	_, err := x.c.poolOp(ctx, "snapcreate", name, wire.MPoolOp{Pool: x.pool, Op: wire.PoolCreateSnap, Name: name, CrushRule: -1})
	return err
}

// SnapRemove removes a snapshot of the pool. ENOENT: there is none of that name.
func (x *IOCtx) SnapRemove(ctx context.Context, name string) error {
	if _, err := x.SnapLookup(name); err != nil {
		return err
	}
	_, err := x.c.poolOp(ctx, "snapremove", name, wire.MPoolOp{Pool: x.pool, Op: wire.PoolDeleteSnap, Name: name, CrushRule: -1})
	return err
}

// SnapList gives the snapshots of the pool in the client's map, oldest first.
func (x *IOCtx) SnapList() []Snap {
	p := x.Pool()
	if p == nil {
		return nil
	}
	list := make([]Snap, 0, len(p.Snaps))
	for id, s := range p.Snaps {
		list = append(list, snapOf(id, s))
	}
	slices.SortFunc(list, func(a, b Snap) int {
		if a.ID < b.ID {
			return -1
		}
		return 1
	})
	return list
}

func snapOf(id wire.SnapID, s clustermap.PoolSnap) Snap {
	return Snap{ID: id, Name: s.Name, Stamp: s.Stamp.Std()}
}

// SnapLookup finds a snapshot of the pool by name in the client's map. ENOENT:
// there is none.
func (x *IOCtx) SnapLookup(name string) (Snap, error) {
	for _, s := range x.SnapList() {
		if s.Name == name {
			return s, nil
		}
	}
	return Snap{}, wire.Errorf("rados.snaplookup", name, wire.ENOENT)
}

// SnapRollback makes an object what it was at a snapshot of the pool; one that
// did not exist then is removed. ENOENT: there is no such snapshot.
func (x *IOCtx) SnapRollback(ctx context.Context, object, snap string) error {
	s, err := x.SnapLookup(snap)
	if err != nil {
		return err
	}
	return x.Rollback(ctx, object, s.ID)
}

// Rollback makes an object what it was at a snapshot.
func (x *IOCtx) Rollback(ctx context.Context, object string, snap wire.SnapID) error {
	return x.write(ctx, "rollback", object, wire.Op{Code: wire.OpRollback, Num: uint64(snap)})
}

// ListSnaps gives an object's clones, oldest first, and its head, if it has
// one, as the last with ID wire.NoSnap; seq is the newest snapshot it knows.
func (x *IOCtx) ListSnaps(ctx context.Context, object string) (clones []wire.CloneSnap, seq wire.SnapID, err error) {
	r, err := x.Do(ctx, &Op{Object: object, Snap: wire.SnapDir, Ops: []wire.Op{{Code: wire.OpListSnaps}}})
	if err != nil {
		return nil, 0, wire.Wrap("rados.listsnaps", object, err)
	}
	if len(r.Results) != 1 {
		return nil, 0, wire.Errorf("rados.listsnaps: malformed answer", object, wire.EIO)
	}
	return r.Results[0].Clones, r.Results[0].SnapSeq, nil
}
