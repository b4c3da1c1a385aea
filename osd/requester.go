package osd

import (
	"context"
	"sync"
	"time"

	"github.com/spirula/spirula/rados/clustermap"
	"github.com/spirula/spirula/rados/msgr"
	"github.com/spirula/spirula/rados/wire"
)

// requestRetry is after how long a request without an answer is sent again,
// and how long one waits that can't be sent.
const requestRetry = 2 * time.Second

// requester is the daemon as a client of other OSDs, or of itself: it reads
// the sources of copies. Requests go to the acting primary and are sent again
// by a newer map, on a new connection, and after requestRetry; there are only
// reads, so that a second execution is harmless.
type requester struct {
	osd    *OSD
	ctx    context.Context // the daemon's life
	cancel context.CancelFunc

	mu    sync.Mutex
	tid   uint64
	calls map[uint64]chan *wire.MOSDOpReply
	conns map[wire.Addr]msgr.Conn
	moved chan struct{} // closed when a map or the end of a connection asks for a resend
}

func newRequester(d *OSD) *requester {
	r := &requester{osd: d, calls: map[uint64]chan *wire.MOSDOpReply{}, conns: map[wire.Addr]msgr.Conn{},
		moved: make(chan struct{})}
	r.ctx, r.cancel = context.WithCancel(context.Background())
	return r
}

// do runs a vector of reads on an object. ENOENT: there is no such pool.
func (r *requester) do(ctx context.Context, l wire.ObjectLocator, object string, snap wire.SnapID, ops []wire.Op) (*wire.MOSDOpReply, error) {
	answer := make(chan *wire.MOSDOpReply, 1)
	r.mu.Lock()
	r.tid++
	tid := r.tid
	r.calls[tid] = answer
	r.mu.Unlock()
	defer r.forget(tid, answer)
	retry := time.NewTicker(requestRetry)
	defer retry.Stop()
	for attempt := int32(0); ; attempt++ {
		r.mu.Lock()
		moved := r.moved
		r.mu.Unlock()
		cur := r.osd.current.Load()
		pg, hash, err := cur.LocatorPG(l, object)
		if err != nil {
			return nil, err
		}
		m := &wire.MOSDOp{TID: tid, PG: wire.SPGID{PGID: pg, Shard: wire.NoShard}, Hash: hash, Epoch: cur.Epoch,
			Flags: wire.FlagRead | wire.FlagKnownRedir | wire.FlagOnDisk, ReqID: wire.ReqID{Client: r.osd.name, TID: tid},
			Locator: l, Object: object, Ops: ops, Snap: snap, Attempt: attempt}
		if attempt > 0 {
			m.Flags |= wire.FlagRetry
		}
		r.send(cur, m)
		select {
		case a := <-answer:
			return a, nil
		case <-ctx.Done():
			return nil, unreachable(ctx.Err())
		case <-moved:
		case <-retry.C:
		}
	}
}

func (r *requester) forget(tid uint64, answer chan *wire.MOSDOpReply) {
	r.mu.Lock()
	delete(r.calls, tid)
	r.mu.Unlock()
	select {
	case late := <-answer:
		late.Release()
	default:
	}
}

// send sends a request to its primary; if it does not arrive it is sent again
// later.
func (r *requester) send(cur *clustermap.OSDMap, m *wire.MOSDOp) {
	primary := cur.Map(m.PG.PGID).ActingPrimary
	if primary < 0 {
		return
	}
	addr := cur.Addr(primary)
	r.mu.Lock()
	conn := r.conns[addr]
	if conn == nil && r.ctx.Err() == nil {
		var err error
		// Without our address: a session apart from that of peers, and one
		// that ends with its connection.
		conn, err = r.osd.opts.Network.Connect(r.osd.name, wire.Addr{}, wire.EntityOSD, addr, r, r.osd.opts.PeerAuth)
		if err != nil {
			conn = nil
		} else {
			r.conns[addr] = conn
		}
	}
	r.mu.Unlock()
	if conn != nil {
		conn.Send(m) // an error comes as a Reset, too
	}
}

// Dispatch implements msgr.Dispatcher.
func (r *requester) Dispatch(c msgr.Conn, m wire.Message) {
	switch m := m.(type) {
	case *wire.MOSDOpReply:
		r.mu.Lock()
		answer := r.calls[m.TID]
		delete(r.calls, m.TID)
		r.mu.Unlock()
		if answer == nil {
			m.Release()
			return
		}
		answer <- m
	case *wire.MOSDBackoff:
		// What we sent is dropped; it is sent again in a while.
		if m.Op == wire.BackoffBlock {
			ack := *m
			ack.Op = wire.BackoffAckBlock
			r.osd.runner.run(func() { c.Send(&ack) })
		}
	}
}

// Reset implements msgr.Dispatcher.
func (r *requester) Reset(c msgr.Conn) {
	r.mu.Lock()
	for a, x := range r.conns {
		if x == c {
			delete(r.conns, a)
		}
	}
	r.mu.Unlock()
	r.kick()
}

// kick has every request sent again.
func (r *requester) kick() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.calls) > 0 {
		close(r.moved)
		r.moved = make(chan struct{})
	}
}

// close ends what is under way.
func (r *requester) close() {
	r.cancel()
	r.mu.Lock()
	conns := r.conns
	r.conns = map[wire.Addr]msgr.Conn{}
	r.mu.Unlock()
	for _, c := range conns {
		c.Close()
	}
}
