package osd

import (
	"slices"

	"github.com/spirula/spirula/osd/internal/objop"
	"github.com/spirula/spirula/rados/clustermap"
	"github.com/spirula/spirula/rados/msgr"
	"github.com/spirula/spirula/rados/wire"
)

// epoch is the newest map's, 0 before the first.
func (d *OSD) epoch() wire.Epoch {
	if m := d.current.Load(); m != nil {
		return m.Epoch
	}
	return 0
}

// handleOp takes a client's request.
func (d *OSD) handleOp(c msgr.Conn, m *wire.MOSDOp) {
	o := &op{osd: d, conn: c, m: m, write: objop.Writes(m.Ops)}
	o.Owner = o
	o.ReqID = m.ReqID
	if o.ReqID.Client.Num == 0 && o.ReqID.TID == 0 {
		o.ReqID = wire.ReqID{Client: c.Peer(), TID: m.TID, Inc: m.ReqID.Inc}
	}
	if o.write {
		o.keep()
	}
	d.route(o)
}

// route checks a request against the map and brings it to its PG. Requests
// that are not answered come again: the client sees the map that it is sent.
func (d *OSD) route(o *op) {
	m := o.m
	cur := d.current.Load()
	if cur == nil || m.Epoch > cur.Epoch {
		d.awaitMap(o)
		return
	}
	d.session(o.conn).pushMap(d, cur, m.Epoch)
	if !d.serving.Load() {
		d.drop(o)
		return
	}
	if len(cur.Blocklist) > 0 && cur.IsBlocklisted(o.conn.PeerAddr(), wire.TimeOf(d.opts.Now())) {
		o.refuse(wire.ESHUTDOWN)
		return
	}
	pool := cur.Pool(m.PG.Pool)
	if pool == nil {
		d.drop(o)
		return
	}
	if e := d.check(o, cur, pool); e != 0 {
		o.refuse(e)
		return
	}
	if o.paused(cur, pool) {
		d.drop(o)
		return
	}
	g := d.group(m.PG.PGID)
	if g == nil || pool.Seed(m.Hash) != m.PG.Seed {
		d.drop(o)
		return
	}
	o.group = g
	g.mu.Lock()
	run := false
	if len(g.held) > 0 || g.ops >= maxOps {
		g.hold(o)
	} else {
		run = g.admit(o)
	}
	g.mu.Unlock()
	if run {
		o.next(o)
	}
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
	for i := range m.Ops {
		if m.Ops[i].Code == wire.OpInvalid {
			return wire.EINVAL
		}
	}
	if m.Object == "" {
		if o.write {
			return wire.EINVAL
		}
		return 0
	}
	o.head = wire.HObject{Pool: m.PG.Pool, Hash: m.Hash, Namespace: m.Locator.Namespace, Key: m.Locator.Key,
		Name: m.Object, Snap: wire.NoSnap}
	if o.head.Key == o.head.Name {
		o.head.Key = ""
	}
	if m.Locator.Hash < 0 && pool.HashName(o.head.Namespace, o.head.Key, o.head.Name) != m.Hash {
		return wire.EINVAL
	}
	o.req = objop.Request{Ops: m.Ops, Snap: m.Snap, SnapC: m.SnapC, Flags: m.Flags, MTime: m.MTime, ReqID: o.ReqID}
	if e := objop.Check(m.Object, m.Locator.Namespace, &o.req); e != 0 {
		return e
	}
	if !o.write {
		return 0
	}
	o.req.SnapC = effectiveContext(&o.req, cur, pool, m.PG.Pool)
	if full := fullness(cur, pool); full != 0 && m.Flags&wire.FlagFullTry != 0 && m.Flags&wire.FlagFullForce == 0 &&
		!objop.Frees(m.Ops) {
		return full
	}
	return 0
}

// fullness is the error of a write that needs space, 0 if it may go on.
func fullness(cur *clustermap.OSDMap, pool *clustermap.Pool) wire.Errno {
	switch {
	case pool.Flags&clustermap.PoolFullQuota != 0:
		return wire.EDQUOT
	case cur.Flags&clustermap.FlagFull != 0 || pool.Flags&clustermap.PoolFull != 0:
		return wire.ENOSPC
	}
	return 0
}

// paused reports whether the map tells clients to wait: they will resend.
func (o *op) paused(cur *clustermap.OSDMap, pool *clustermap.Pool) bool {
	if !o.write {
		return cur.Flags&clustermap.FlagPauseRead != 0
	}
	if cur.Flags&clustermap.FlagPauseWrite != 0 {
		return true
	}
	return fullness(cur, pool) != 0 && o.m.Flags&(wire.FlagFullTry|wire.FlagFullForce) == 0 && !objop.Frees(o.m.Ops)
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

// awaitMap parks a request whose client has a newer map than we do.
func (d *OSD) awaitMap(o *op) {
	d.mapMu.Lock()
	if o.m.Epoch <= d.epoch() {
		d.mapMu.Unlock()
		d.route(o)
		return
	}
	if len(d.waiting) >= maxMapWait {
		d.mapMu.Unlock()
		d.Metrics.Overrun.Add(1)
		o.done()
		d.runner.run(o.conn.Close)
		return
	}
	o.keep()
	d.waiting = append(d.waiting, o)
	d.mapMu.Unlock()
}
