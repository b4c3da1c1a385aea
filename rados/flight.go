package rados

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/spirula/spirula/rados/clustermap"
	"github.com/spirula/spirula/rados/msgr"
	"github.com/spirula/spirula/rados/wire"
)

// flight is an operation on its way. What decides where it goes belongs to
// Client.mu; attempt and its place in the table belong to the table's shard.
type flight struct {
	call  Call
	c     *Client
	tid   uint64
	pool  int64
	hash  uint32
	write bool
	bytes int
	since time.Time

	pg      wire.PGID
	osd     int32 // -1: waits for a map
	sent    bool
	attempt atomic.Int32
	// primary: a replica said that the primary has to be asked.
	primary atomic.Bool
	msg     wire.MOSDOp // the first one sent; a resend is a message of its own
}

// start puts an operation on its way. hash is the object's, or for a PG
// operation anything in the group.
func (c *Client) start(ctx context.Context, pool int64, hash uint32, op *Op, flags wire.OSDFlag) *Call {
	f := &flight{c: c, pool: pool, hash: hash, osd: -1}
	f.call.op, f.call.owner = op, f
	for i := range op.Ops {
		f.bytes += op.Ops[i].Data.Len()
		f.write = f.write || op.Ops[i].Code.Writes()
	}
	f.write = f.write || op.Flags&wire.FlagWrite != 0
	if err := c.room.enter(ctx, f.bytes); err != nil {
		f.call.Complete(nil, wire.Wrap("rados.start", op.Object, err))
		return &f.call
	}
	for i := range op.Ops {
		op.Ops[i].Data.Retain()
	}
	f.since = time.Now()
	f.fill(flags)
	c.Metrics.Started.Add(1)

	c.mu.RLock()
	if c.closed {
		c.mu.RUnlock()
		c.release(f)
		f.call.Complete(nil, wire.Errorf("rados.start", op.Object, wire.ESHUTDOWN))
		return &f.call
	}
	f.tid = c.tid.Add(1)
	f.msg.TID, f.msg.ReqID = f.tid, wire.ReqID{Client: c.name, TID: f.tid, Inc: c.inc}
	s := c.shardOf(f.tid)
	s.mu.Lock()
	s.m[f.tid] = f
	s.mu.Unlock()
	err := c.send(f, false)
	c.mu.RUnlock()
	if err != nil {
		c.finish(f, nil, err)
	}
	return &f.call
}

// fill makes the parts of the message that don't depend on the map.
func (f *flight) fill(flags wire.OSDFlag) {
	op := f.call.op
	flags |= op.Flags | wire.FlagOnDisk | wire.FlagKnownRedir
	f.msg = wire.MOSDOp{
		Hash: f.hash, Locator: wire.ObjectLocator{Pool: f.pool, Key: op.Key, Namespace: op.Namespace, Hash: -1},
		Object: op.Object, Ops: op.Ops, Snap: op.Snap, SnapC: op.SnapC, MTime: op.MTime,
	}
	if f.msg.Snap == 0 {
		f.msg.Snap = wire.NoSnap
	}
	if f.write {
		flags |= wire.FlagWrite
		if !f.c.opts.WaitWhenFull {
			flags |= wire.FlagFullTry
		}
		if f.msg.MTime == 0 {
			f.msg.MTime = wire.TimeOf(f.since)
		}
	}
	for i := range op.Ops {
		if !op.Ops[i].Code.Writes() {
			flags |= wire.FlagRead
		}
		if op.Ops[i].Code == wire.OpCall && f.msg.MTime == 0 {
			f.msg.MTime = wire.TimeOf(f.since) // the method may write
		}
	}
	f.msg.Flags = flags
}

func (c *Client) shardOf(tid uint64) *shard { return &c.table[tid%tableShards] }

// target finds out where an operation goes now; osd -1 means that it has to
// wait for another map.
func (c *Client) target(f *flight, m *clustermap.OSDMap) (pg wire.PGID, osd int32, err error) {
	if c.blocked.Load() {
		return pg, -1, wire.Errorf("rados.do: this client is blocklisted", f.call.op.Object, wire.ESHUTDOWN)
	}
	if uint32(m.Epoch) < c.barrier.Load() {
		return pg, -1, nil
	}
	p := m.Pool(f.pool)
	if p == nil {
		return pg, -1, wire.Errorf("rados.do: no such pool", f.call.op.Object, wire.ENOENT)
	}
	if p.Flags&clustermap.PoolEIO != 0 {
		return pg, -1, wire.Errorf("rados.do: the pool is set to fail", f.call.op.Object, wire.EIO)
	}
	pg = wire.PGID{Pool: f.pool, Seed: p.Seed(f.hash)}
	if f.paused(m) {
		return pg, -1, nil
	}
	where := m.Map(pg)
	if f.msg.Flags&anyReplica != 0 && !f.write && !f.primary.Load() && len(where.Acting) > 1 {
		return pg, where.Acting[f.tid%uint64(len(where.Acting))], nil
	}
	return pg, where.ActingPrimary, nil
}

// anyReplica are the flags of reads that a replica may serve. (Which one is
// near is not known here.)
const anyReplica = wire.FlagBalanceReads | wire.FlagLocalizeReads

// paused reports whether a map keeps an operation from being sent.
func (f *flight) paused(m *clustermap.OSDMap) bool {
	if !f.write {
		return m.Flags&clustermap.FlagPauseRead != 0
	}
	if m.Flags&clustermap.FlagPauseWrite != 0 {
		return true
	}
	if f.msg.Flags&(wire.FlagFullTry|wire.FlagFullForce) != 0 {
		return false
	}
	p := m.Pool(f.pool)
	return m.Flags&clustermap.FlagFull != 0 || p != nil && p.Flags&clustermap.PoolFull != 0
}

// send sends an operation for the first time, or notes that it has to wait.
// The caller holds mu.
func (c *Client) send(f *flight, again bool) error {
	m := c.osdmap.Load()
	var err error
	if f.pg, f.osd, err = c.target(f, m); err != nil || f.osd < 0 {
		return err
	}
	conn := c.connFor(f, m.Addr(f.osd), again)
	if conn == nil {
		return nil // reconnect sends it, or the end of a backoff
	}
	f.sent = true
	f.msg.PG, f.msg.Epoch = wire.SPGID{PGID: f.pg, Shard: wire.NoShard}, m.Epoch
	return c.sent(conn, conn.Send(&f.msg))
}

// sent looks at what sending gave: a session that is over is replaced, and what
// no session would carry is the operation's error.
func (c *Client) sent(conn msgr.Conn, err error) error {
	if err == nil || wire.ErrnoOf(err) != wire.ENOTCONN {
		return wire.Wrap("rados.send", "", err)
	}
	c.Reset(conn)
	return nil
}

// resend sends operations again, in the order of the list. The caller holds
// mu for writing.
func (c *Client) resend(list []*flight) {
	m := c.osdmap.Load()
	for _, f := range list {
		if !f.sent {
			if f.hold() {
				if err := c.send(f, true); err != nil {
					c.finish(f, nil, err)
				}
				f.dropData(f.msg.Ops)
			}
			continue
		}
		var err error
		if f.pg, f.osd, err = c.target(f, m); err != nil {
			c.finish(f, nil, err)
			continue
		}
		if f.osd < 0 {
			continue
		}
		if conn := c.connFor(f, m.Addr(f.osd), true); conn != nil {
			if msg := f.again(m.Epoch); msg != nil {
				c.Metrics.Resent.Add(1)
				if err := c.sent(conn, conn.Send(msg)); err != nil {
					c.finish(f, nil, err)
				}
				f.dropData(msg.Ops)
			}
		}
	}
}

// again makes the next message of an operation, with references of its own
// to the data; nil if the operation is over.
func (f *flight) again(epoch wire.Epoch) *wire.MOSDOp {
	s := f.c.shardOf(f.tid)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.m[f.tid] != f {
		return nil
	}
	msg := f.msg
	msg.Attempt = f.attempt.Add(1)
	msg.Flags |= wire.FlagRetry
	if f.primary.Load() {
		msg.Flags &^= anyReplica
	}
	msg.PG.PGID, msg.Epoch = f.pg, epoch
	for i := range msg.Ops {
		msg.Ops[i].Data.Retain()
	}
	return &msg
}

// hold takes references to the data if the operation is not over, so that
// giving it up while it is being sent frees nothing.
func (f *flight) hold() bool {
	s := f.c.shardOf(f.tid)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.m[f.tid] != f {
		return false
	}
	for i := range f.msg.Ops {
		f.msg.Ops[i].Data.Retain()
	}
	return true
}

func (f *flight) dropData(ops []wire.Op) {
	for i := range ops {
		ops[i].Data.Release()
	}
}

// answer takes a reply. One to an earlier attempt is dropped: the later one
// will be answered.
func (c *Client) answer(r *wire.MOSDOpReply) {
	s := c.shardOf(r.TID)
	s.mu.Lock()
	f := s.m[r.TID]
	if f == nil || f.attempt.Load() != r.Attempt {
		s.mu.Unlock()
		c.Metrics.Late.Add(1)
		r.Release()
		return
	}
	if r.Result == -int32(wire.EAGAIN) && f.msg.Flags&anyReplica != 0 && f.primary.CompareAndSwap(false, true) {
		s.mu.Unlock()
		r.Release()
		c.post(func() {
			c.mu.Lock()
			defer c.mu.Unlock()
			c.resend([]*flight{f})
		}, true)
		return
	}
	delete(s.m, r.TID)
	s.mu.Unlock()
	c.Metrics.Answered.Add(1)
	c.release(f)
	if !f.call.Complete(r, ResultError(f.call.op, r)) {
		r.Release()
	}
}

// finish ends an operation without a reply from an OSD, if it is not over.
func (c *Client) finish(f *flight, r *wire.MOSDOpReply, err error) {
	s := c.shardOf(f.tid)
	s.mu.Lock()
	if s.m[f.tid] != f {
		s.mu.Unlock()
		return
	}
	delete(s.m, f.tid)
	s.mu.Unlock()
	c.release(f)
	f.call.Complete(r, err)
}

// release gives back what an operation in flight holds.
func (c *Client) release(f *flight) {
	f.dropData(f.call.op.Ops)
	c.room.leave(f.bytes)
}

// cancelCall implements canceller.
func (f *flight) cancelCall(call *Call, err error) {
	f.c.Metrics.Canceled.Add(1)
	f.c.finish(f, nil, err)
}
