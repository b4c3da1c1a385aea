package osd

import (
	"slices"

	"github.com/spirula/spirula/osd/internal/objop"
	"github.com/spirula/spirula/rados/clustermap"
	"github.com/spirula/spirula/rados/msgr"
	"github.com/spirula/spirula/rados/wire"
)

// flagParallelExec asks for what Ceph never did (its PARALLELEXEC).
const flagParallelExec wire.OSDFlag = 0x200

// epoch is the newest map's, 0 before the first.
func (d *OSD) epoch() wire.Epoch {
	if m := d.current.Load(); m != nil {
		return m.Epoch
	}
	return 0
}

// handleOp takes a client's request.
func (d *OSD) handleOp(c msgr.Conn, m *wire.MOSDOp) {
	s := d.session(c)
	o := &op{osd: d, session: s, m: m, write: objop.Writes(m.Ops), at: d.opts.Now()}
	o.Owner = o
	o.ReqID = m.ReqID
	if o.ReqID.Client.Num == 0 && o.ReqID.TID == 0 {
		o.ReqID = wire.ReqID{Client: c.Peer(), TID: m.TID, Inc: m.ReqID.Inc}
	}
	o.measure()
	if o.write {
		o.keep()
	}
	cur := d.current.Load()
	if from, ok := s.arrive(d, o, cur); ok {
		d.route(o, cur, from)
	}
}

// route checks a request against the map and brings it to its PG. Requests
// that are not answered come again: the client sees the map that it is sent,
// which follows from.
func (d *OSD) route(o *op, cur *clustermap.OSDMap, from wire.Epoch) {
	o.session.pushMap(d, cur, from)
	if o.session.gone.Load() || !d.serving.Load() {
		d.drop(o)
		return
	}
	if len(cur.Blocklist) > 0 && cur.IsBlocklisted(o.session.conn.PeerAddr(), wire.TimeOf(d.opts.Now())) {
		o.refuse(wire.ESHUTDOWN)
		return
	}
	pool := cur.Pool(o.m.PG.Pool)
	if pool == nil {
		d.drop(o)
		return
	}
	if e := d.check(o, cur, pool); e != 0 {
		o.refuse(e)
		return
	}
	g := d.group(o.m.PG.PGID)
	if g == nil || pool.Seed(o.m.Hash) != o.m.PG.Seed || o.paused(cur) {
		if g == nil && o.m.PG.Seed < pool.PGNum {
			o.session.stray(d, o.m.PG.PGID, nil)
		}
		d.drop(o)
		return
	}
	o.group = g
	if g.take(o) {
		o.begin()
	}
}

// begin goes on with an admitted request on the goroutine that brought it.
// One with much data goes to another, so that its connection's next request
// is read meanwhile; it has its object's lock, and so its place, already.
func (o *op) begin() {
	if o.session.remote && o.work >= heavy {
		o.keep()
		if o.write {
			o.osd.runner.run(func() { o.next(o) })
		} else {
			o.osd.runner.run(o.paced)
		}
		return
	}
	o.next(o)
}

// measure notes how much data the request brought, and how much it is about.
func (o *op) measure() {
	for i := range o.m.Ops {
		p := &o.m.Ops[i]
		o.input += p.Data.Len() + len(p.Value)
		if p.Code == wire.OpRead || p.Code == wire.OpSyncRead || p.Code == wire.OpSparseRead {
			o.work += int(min(p.Len, heavy))
			if p.Len == 0 {
				o.work = heavy
			}
		}
	}
	o.work += o.input
}

func (d *OSD) drop(o *op) {
	d.Metrics.Dropped.Add(1)
	o.done()
}

// check refuses what is wrong whatever the PG holds, and prepares what the
// vector needs.
func (d *OSD) check(o *op, cur *clustermap.OSDMap, pool *clustermap.Pool) wire.Errno {
	m := o.m
	if pool.Flags&clustermap.PoolEIO != 0 {
		return wire.EIO
	}
	if m.Flags&flagParallelExec != 0 {
		return wire.EINVAL
	}
	for i := range m.Ops {
		if m.Ops[i].Code == wire.OpInvalid {
			return wire.EINVAL
		}
		if m.Ops[i].Code == wire.OpWatch && m.Ops[i].Watch == wire.WatchRegister && d.watches.Load() >= maxWatches {
			return wire.ENOMEM
		}
	}
	if m.Object == "" {
		if o.write {
			return wire.EINVAL
		}
		return d.permit(o, cur, pool)
	}
	o.head = wire.HObject{Pool: m.PG.Pool, Hash: m.Hash, Namespace: m.Locator.Namespace, Key: m.Locator.Key,
		Name: m.Object, Snap: wire.NoSnap}
	if o.head.Key == o.head.Name {
		o.head.Key = ""
	}
	if m.Locator.Hash < 0 && pool.HashName(o.head.Namespace, o.head.Key, o.head.Name) != m.Hash {
		return wire.EINVAL
	}
	if e := d.permit(o, cur, pool); e != 0 {
		return e
	}
	o.req = objop.Request{Ops: m.Ops, Snap: m.Snap, SnapC: m.SnapC, Flags: m.Flags, MTime: m.MTime, ReqID: o.ReqID,
		Now:   wire.TimeOf(o.at),
		Asker: objop.Asker{Client: o.session.conn.Peer(), Addr: o.session.conn.PeerAddr()}}
	if e := objop.Check(o.head, &o.req); e != 0 {
		return e
	}
	if !o.write {
		return 0
	}
	o.req.SnapC = effectiveContext(&o.req, cur, pool, m.PG.Pool)
	return 0
}

// effectiveContext is the snap context of a write: the pool's if it is in
// pool-snap mode and newer, and without snapshots that are being removed,
// whose clones would never be trimmed.
func effectiveContext(req *objop.Request, cur *clustermap.OSDMap, pool *clustermap.Pool, id int64) wire.SnapContext {
	c := req.SnapC
	if pool.Flags&clustermap.PoolPoolSnaps != 0 && req.Flags&wire.FlagEnforceSnapC == 0 && pool.SnapSeq > c.Seq {
		c = pool.SnapContext()
	}
	gone := cur.RemovedSnapsQueue[id]
	if len(gone) == 0 || !slices.ContainsFunc(c.Snaps, gone.Contains) {
		return c
	}
	left := make([]wire.SnapID, 0, len(c.Snaps))
	for _, s := range c.Snaps {
		if !gone.Contains(s) {
			left = append(left, s)
		}
	}
	c.Snaps = left
	return c
}
