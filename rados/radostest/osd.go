package radostest

import (
	"context"
	"math/bits"
	"slices"
	"sync"

	"github.com/spirula/spirula/rados"
	"github.com/spirula/spirula/rados/clustermap"
	"github.com/spirula/spirula/rados/msgr"
	"github.com/spirula/spirula/rados/wire"
)

// Stores is what a set of fake OSDs stores: one Pool for each pool of the
// map, shared by all OSDs, as if replication took no time.
type Stores struct {
	mu    sync.Mutex
	pools map[int64]*Pool
	done  map[wire.ReqID]*wire.MOSDOpReply // writes that were run
	runs  int

	// execMu makes the check of who serves and the execution one step, as
	// peering does among real OSDs.
	execMu sync.Mutex
	cur    *clustermap.OSDMap       // the newest that any OSD has
	since  map[wire.PGID]wire.Epoch // when the group's interval began
}

// NewStores makes empty stores.
func NewStores() *Stores {
	return &Stores{pools: make(map[int64]*Pool), done: make(map[wire.ReqID]*wire.MOSDOpReply),
		since: make(map[wire.PGID]wire.Epoch)}
}

// Pool gives the content of a pool.
func (s *Stores) Pool(id int64) *Pool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.pools[id] == nil {
		s.pools[id] = NewPool()
	}
	return s.pools[id]
}

// Runs is the number of vectors that were executed, resent writes that were
// recognised not counted.
func (s *Stores) Runs() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.runs
}

// advance takes a map over, and notes which placement groups it puts into a
// new interval.
func (s *Stores) advance(m *clustermap.OSDMap) {
	s.execMu.Lock()
	defer s.execMu.Unlock()
	if s.cur != nil && m.Epoch <= s.cur.Epoch {
		return
	}
	for id, p := range m.Pools {
		for seed := range p.PGNum {
			pg := wire.PGID{Pool: id, Seed: seed}
			if s.cur != nil && s.cur.Pool(id) != nil && s.cur.Pool(id).PGNum == p.PGNum {
				a, b := s.cur.Map(pg), m.Map(pg)
				if a.ActingPrimary == b.ActingPrimary && slices.Equal(a.Acting, b.Acting) && slices.Equal(a.Up, b.Up) &&
					s.cur.Addr(a.ActingPrimary) == m.Addr(b.ActingPrimary) {
					continue
				}
			}
			s.since[pg] = m.Epoch
		}
	}
	s.cur = m
}

// admits reports whether OSD id is to run a request now.
func (s *Stores) admits(id int32, op *wire.MOSDOp) bool {
	p := s.cur.Pool(op.PG.Pool)
	return p != nil && p.Seed(op.Hash) == op.PG.Seed && s.cur.Map(op.PG.PGID).ActingPrimary == id && op.Epoch >= s.since[op.PG.PGID]
}

// Fate is what becomes of a request.
type Fate int

// The fates.
const (
	Serve     Fate = iota
	Ignore         // drop it: no effect, no answer
	ServeMute      // run it, but lose the answer
	Break          // drop it and reset the session
)

// OSD is a fake OSD over Stores: it serves requests for placement groups that
// it leads in its map, drops others, answers a resent write as it did the
// first time, and tells clients of newer maps.
type OSD struct {
	id     int32
	stores *Stores
	l      msgr.Listener
	mon    *rados.MonSession

	mu     sync.Mutex
	cur    *clustermap.OSDMap
	held   []heldOp // of epochs that we don't have yet
	fate   func(*wire.MOSDOp) Fate
	hook   func(msgr.Conn, wire.Message) bool
	queue  chan heldOp        // nil: requests are run inline
	broken map[msgr.Conn]bool // whose further requests are lost
	closed bool
	wg     sync.WaitGroup
}

type heldOp struct {
	c  msgr.Conn
	op *wire.MOSDOp
}

// maxHeld bounds the requests that wait for a map, and the queue.
const maxHeld = 4096

// NewOSD starts an OSD. With async, requests are run one after the other on
// a goroutine of the OSD; otherwise on the sender's.
func NewOSD(net msgr.Network, id int32, stores *Stores, async bool) (*OSD, error) {
	o := &OSD{id: id, stores: stores, broken: make(map[msgr.Conn]bool)}
	l, err := net.Listen(wire.EntityName{Type: wire.EntityOSD, Num: int64(id)}, wire.Addr{}, o, msgr.NoAuth{})
	if err != nil {
		return nil, err
	}
	o.l = l
	if async {
		o.queue = make(chan heldOp, maxHeld)
		o.wg.Go(func() {
			for h := range o.queue {
				o.serve(h.c, h.op)
			}
		})
	}
	return o, nil
}

// Addr is where the OSD listens.
func (o *OSD) Addr() wire.Addr { return o.l.Addr() }

// SetFate has fn decide about every request; nil serves all.
func (o *OSD) SetFate(fn func(*wire.MOSDOp) Fate) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.fate = fn
}

// SetHook has fn called with every message before anything else; what it
// returns true for is done with. Requests reach it in the order in which they
// are served. nil ends it.
func (o *OSD) SetHook(fn func(c msgr.Conn, m wire.Message) bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.hook = fn
}

// Join boots the OSD at a mon and follows the mon's maps from then on.
func (o *OSD) Join(net msgr.Network, mons []wire.Addr) {
	boot := &wire.MOSDBoot{OSD: o.id, UUID: wire.FSID{0xfa, 15: byte(o.id)}, Public: o.Addr(), Cluster: o.Addr(), Host: "localhost"}
	o.mon = rados.DialMon(rados.MonOptions{
		Net: net, Addrs: mons, Name: wire.EntityName{Type: wire.EntityOSD, Num: int64(o.id)}, MyAddr: o.Addr(),
		Handle:    o.fromMon,
		Connected: func(s *rados.MonSession) { s.Send(boot) },
	})
	o.mon.Subscribe(wire.SubOSDMap, 0)
}

func (o *OSD) fromMon(m wire.Message) {
	om, ok := m.(*wire.MOSDMap)
	if !ok {
		return
	}
	for {
		o.mu.Lock()
		cur := o.cur
		o.mu.Unlock()
		var next *clustermap.OSDMap
		if cur != nil && om.Incrementals[cur.Epoch+1] != nil {
			if inc, err := clustermap.DecodeIncremental(om.Incrementals[cur.Epoch+1]); err == nil {
				next, _ = cur.Apply(inc)
			}
		} else {
			for e, b := range om.Fulls {
				if cur == nil || e > cur.Epoch {
					next, _ = clustermap.DecodeOSDMap(b)
				}
			}
		}
		if next == nil {
			return
		}
		o.SetMap(next)
	}
}

// SetMap gives the OSD its map, and runs what waited for it.
func (o *OSD) SetMap(m *clustermap.OSDMap) {
	o.stores.advance(m)
	o.mu.Lock()
	o.cur = m
	held := o.held
	o.held = nil
	o.mu.Unlock()
	for _, h := range held {
		o.Dispatch(h.c, h.op)
	}
}

// Close ends the OSD and waits for what it is doing. It may be called twice.
func (o *OSD) Close() {
	if o.mon != nil {
		o.mon.Close()
	}
	o.l.Close()
	o.mu.Lock()
	if !o.closed && o.queue != nil {
		close(o.queue)
	}
	o.closed = true
	o.mu.Unlock()
	o.wg.Wait()
}

// Reset implements msgr.Dispatcher.
func (o *OSD) Reset(msgr.Conn) {}

// Dispatch implements msgr.Dispatcher.
func (o *OSD) Dispatch(c msgr.Conn, m wire.Message) {
	op, ok := m.(*wire.MOSDOp)
	if !ok {
		o.mu.Lock()
		hook := o.hook
		o.mu.Unlock()
		if hook != nil {
			hook(c, m)
		}
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed {
		return
	}
	if o.cur == nil || op.Epoch > o.cur.Epoch {
		if len(o.held) < maxHeld {
			o.held = append(o.held, heldOp{c, op})
		}
		return
	}
	if o.queue != nil {
		select {
		case o.queue <- heldOp{c, op}:
		default:
		}
		return
	}
	o.mu.Unlock()
	o.serve(c, op)
	o.mu.Lock()
}

// serve runs one request and answers it.
func (o *OSD) serve(c msgr.Conn, op *wire.MOSDOp) {
	o.mu.Lock()
	fate, hook, broken := o.fate, o.hook, o.broken[c]
	o.mu.Unlock()
	if hook != nil && hook(c, op) {
		return
	}
	f := Serve
	if fate != nil {
		f = fate(op)
	}
	if f == Break && !broken {
		o.mu.Lock()
		o.broken[c] = true
		o.mu.Unlock()
		c.Close()
	}
	if f == Break || f == Ignore || broken {
		return
	}
	o.stores.execMu.Lock()
	if !o.stores.admits(o.id, op) {
		o.stores.execMu.Unlock()
		return
	}
	reply := o.stores.run(op, o.stores.cur.Pool(op.PG.Pool))
	reply.Epoch = o.stores.cur.Epoch
	o.stores.execMu.Unlock()
	if f == ServeMute || c.Send(reply) != nil {
		reply.Release()
	}
}

// run executes a request, or finds the answer of its first execution.
func (s *Stores) run(op *wire.MOSDOp, p *clustermap.Pool) *wire.MOSDOpReply {
	if len(op.Ops) == 1 && op.Ops[0].Code == wire.OpPGNLS {
		return s.list(op, p)
	}
	write := false
	for i := range op.Ops {
		write = write || op.Ops[i].Code.Writes()
	}
	s.mu.Lock()
	if old := s.done[op.ReqID]; old != nil {
		s.mu.Unlock()
		r := *old
		r.Attempt = op.Attempt
		return &r
	}
	s.runs++
	s.mu.Unlock()
	v := &rados.Op{Object: op.Object, Key: op.Locator.Key, Namespace: op.Locator.Namespace, Ops: op.Ops,
		Snap: op.Snap, SnapC: op.SnapC, Flags: op.Flags, MTime: op.MTime}
	reply, err := s.Pool(op.PG.Pool).Do(context.Background(), v)
	if reply == nil {
		reply = &wire.MOSDOpReply{Object: op.Object, Result: -int32(wire.ErrnoOf(err)), Results: make([]wire.OpResult, len(op.Ops))}
	}
	reply.TID, reply.PG, reply.Attempt = op.TID, op.PG.PGID, op.Attempt
	if write {
		keep := *reply
		keep.Results = make([]wire.OpResult, len(op.Ops))
		s.mu.Lock()
		s.done[op.ReqID] = &keep
		s.mu.Unlock()
	}
	return reply
}

// list answers PGNLS for one placement group.
func (s *Stores) list(op *wire.MOSDOp, p *clustermap.Pool) *wire.MOSDOpReply {
	pool := s.Pool(op.PG.Pool)
	ns := op.Locator.Namespace
	var all []wire.HObject
	pool.mu.Lock()
	for k, obj := range pool.objects {
		h := p.HashName(k.namespace, k.locator, k.name)
		if obj.head != nil && p.Seed(h) == op.PG.Seed && (ns == k.namespace || ns == "\x01") {
			all = append(all, wire.HObject{Pool: op.PG.Pool, Hash: h, Namespace: k.namespace, Key: k.locator, Name: k.name, Snap: wire.NoSnap})
		}
	}
	pool.mu.Unlock()
	slices.SortFunc(all, wire.HObject.Compare)
	reply := &wire.MOSDOpReply{TID: op.TID, PG: op.PG.PGID, Attempt: op.Attempt, Result: 1, Results: make([]wire.OpResult, 1)}
	r := &reply.Results[0]
	end := pgEnd(op.PG.PGID, p)
	r.Cursor = &end
	for i := range all {
		if op.Ops[0].Cursor != nil && all[i].Compare(*op.Ops[0].Cursor) < 0 {
			continue
		}
		if uint64(len(r.List)) == op.Ops[0].Num {
			reply.Result, r.Cursor = 0, &all[i]
			break
		}
		r.List = append(r.List, wire.ListEntry{Namespace: all[i].Namespace, Name: all[i].Name, Key: all[i].Key})
	}
	return reply
}

// pgEnd is the first position after a placement group in listing order.
func pgEnd(pg wire.PGID, p *clustermap.Pool) wire.HObject {
	next := uint64(bits.Reverse32(pg.Seed)) + 1<<(32-p.SplitBits(pg.Seed))
	if next > 1<<32-1 {
		return wire.MaxHObject
	}
	return wire.HObject{Pool: pg.Pool, Hash: bits.Reverse32(uint32(next)), Snap: wire.NoSnap}
}
