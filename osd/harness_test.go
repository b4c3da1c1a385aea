package osd

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/spirula/spirula/crush"
	"github.com/spirula/spirula/osd/store/storetest"
	"github.com/spirula/spirula/rados/clustermap"
	"github.com/spirula/spirula/rados/msgr"
	"github.com/spirula/spirula/rados/wire"
)

// fakeMon keeps one map and gives it to whoever subscribed.
type fakeMon struct {
	mu     sync.Mutex
	m      *clustermap.OSDMap
	incs   map[wire.Epoch][]byte
	subs   map[int]func(*wire.MOSDMap)
	nsub   int
	purged map[wire.PGID]map[wire.SnapID]bool
	failed []int32 // reported, but for what osd.2 says
}

func newFakeMon(t testing.TB, osds int) *fakeMon {
	t.Helper()
	var devices []crush.BootstrapDevice
	for i := range osds {
		devices = append(devices, crush.BootstrapDevice{ID: int32(i), Host: fmt.Sprintf("host%d", i), Weight: 0x10000})
	}
	c, err := crush.Bootstrap(devices)
	if err != nil {
		t.Fatal(err)
	}
	return &fakeMon{m: clustermap.New(wire.FSID{1}, 1, c, int32(osds)), incs: map[wire.Epoch][]byte{},
		subs: map[int]func(*wire.MOSDMap){}, purged: map[wire.PGID]map[wire.SnapID]bool{}}
}

// change makes the next epoch.
func (f *fakeMon) change(fn func(m *clustermap.OSDMap, inc *clustermap.Incremental)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	inc := f.m.NewIncremental(f.m.Modified + 1)
	fn(f.m, inc)
	next, err := f.m.Seal(inc)
	if err != nil {
		panic(err)
	}
	f.m = next
	b := inc.Encode()
	f.incs[next.Epoch] = b
	msg := &wire.MOSDMap{FSID: next.FSID, Oldest: next.Epoch, Newest: next.Epoch,
		Incrementals: map[wire.Epoch][]byte{next.Epoch: b}}
	for _, fn := range f.subs {
		fn(msg)
	}
}

func (f *fakeMon) SubscribeOSDMap(ctx context.Context, from wire.Epoch, fn func(*wire.MOSDMap)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	id := f.nsub
	f.nsub++
	f.subs[id] = fn
	context.AfterFunc(ctx, func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		delete(f.subs, id)
	})
	if from <= f.m.Epoch {
		fn(&wire.MOSDMap{FSID: f.m.FSID, Oldest: f.m.Epoch, Newest: f.m.Epoch,
			Fulls: map[wire.Epoch][]byte{f.m.Epoch: f.m.Encode()}})
	}
}

func (f *fakeMon) Send(m wire.Message) error {
	switch m := m.(type) {
	case *wire.MOSDBoot:
		go f.change(func(cur *clustermap.OSDMap, inc *clustermap.Incremental) {
			a := []wire.Addr{m.Public}
			if cur.IsUp(m.OSD) && cur.Addr(m.OSD) == m.Public {
				return
			}
			inc.BringUp(cur, m.OSD, m.UUID, a, a, a, a)
		})
	case *wire.MOSDAlive:
		go f.change(func(cur *clustermap.OSDMap, inc *clustermap.Incremental) {
			if thru := min(m.Want, cur.Epoch); cur.Info(m.OSD).UpThru < thru && cur.IsUp(m.OSD) {
				inc.NewUpThru[m.OSD] = thru
			}
		})
	case *wire.MOSDFailure:
		f.mu.Lock()
		defer f.mu.Unlock()
		if m.FailedFor > 0 && m.Reporter != 2 {
			f.failed = append(f.failed, m.Target)
		}
	case *wire.MOSDPGTemp:
		go f.change(func(cur *clustermap.OSDMap, inc *clustermap.Incremental) {
			for id, osds := range m.Temp {
				inc.NewPGTemp[id] = osds
			}
		})
	case *wire.MOSDPurged:
		f.mu.Lock()
		defer f.mu.Unlock()
		if f.purged[m.PG] == nil {
			f.purged[m.PG] = map[wire.SnapID]bool{}
		}
		for _, s := range m.Snaps {
			f.purged[m.PG][s] = true
		}
	}
	return nil
}

func (f *fakeMon) cur() *clustermap.OSDMap {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.m
}

func (f *fakeMon) addPool(name string, size uint8, pgs uint32) (id int64) {
	f.change(func(m *clustermap.OSDMap, inc *clustermap.Incremental) {
		id = inc.AddPool(m, name, clustermap.NewPool(size, pgs, 0, 1))
	})
	return id
}

// cluster is a mon, OSDs over models, and a client.
type cluster struct {
	t    testing.TB
	mon  *fakeMon
	net  msgr.Network
	osds []*OSD
	mods []ObjectStore
	pool int64
	cl   *client

	grace time.Duration
	fatal func(error) // what the daemons are given
}

type clusterOptions struct {
	osds  int // 0: 1
	size  uint8
	pgs   uint32
	model storetest.ModelOptions
	net   msgr.Network // nil: a Local
	grace time.Duration
}

func newCluster(t testing.TB, o clusterOptions) *cluster {
	t.Helper()
	o.osds = max(o.osds, 1)
	o.size = max(o.size, 1)
	if o.pgs == 0 {
		o.pgs = 8
	}
	if o.net == nil {
		o.net = msgr.NewLocal()
	}
	c := &cluster{t: t, mon: newFakeMon(t, o.osds), net: o.net, grace: o.grace}
	for i := range o.osds {
		m := storetest.NewModel(o.model)
		t.Cleanup(func() { m.Close() })
		c.mods = append(c.mods, m)
		c.osds = append(c.osds, nil)
		c.start(i)
	}
	c.waitFor("osds up", func() bool { return c.mon.cur().NumUp() == o.osds })
	c.pool = c.mon.addPool("p", o.size, o.pgs)
	c.waitActive()
	c.cl = c.client(4100)
	return c
}

func (c *cluster) start(i int) {
	c.t.Helper()
	d, err := New(Options{ID: int32(i), UUID: wire.FSID{2, byte(i)}, Store: c.mods[i], Network: c.net, Mon: c.mon,
		Report: 20 * time.Millisecond, Fatal: c.fatal, HeartbeatGrace: c.grace})
	if err != nil {
		c.t.Fatal(err)
	}
	if err := d.Start(); err != nil {
		c.t.Fatal(err)
	}
	c.osds[i] = d
	c.t.Cleanup(d.Close)
}

func (c *cluster) waitFor(what string, ok func() bool) {
	c.t.Helper()
	for range 2000 {
		if ok() {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
	c.t.Fatalf("%s: not in 10 s", what)
}

// waitActive waits until all PGs of the pool serve, by the newest map.
func (c *cluster) waitActive() {
	c.t.Helper()
	c.waitFor("pgs active", func() bool {
		m := c.mon.cur()
		for seed := range m.Pool(c.pool).PGNum {
			id := wire.PGID{Pool: c.pool, Seed: seed}
			p := m.Map(id).ActingPrimary
			if p < 0 || c.osds[p] == nil || c.osds[p].epoch() != m.Epoch {
				return false
			}
			g := c.osds[p].group(id)
			if g == nil {
				return false
			}
			g.mu.Lock()
			ok := g.core.Active()
			g.mu.Unlock()
			if !ok {
				return false
			}
		}
		return true
	})
}

// client sends requests by the newest map and waits for answers; it resends
// when told of a newer map.
type client struct {
	c    *cluster
	name wire.EntityName

	mu    sync.Mutex
	tid   uint64
	calls map[uint64]chan *wire.MOSDOpReply
	conns map[wire.Addr]msgr.Conn
	maps  int
	// what came without being asked for
	events   []*wire.MWatchNotify
	backoffs []*wire.MOSDBackoff
	commands chan *wire.MCommandReply
	onEvent  func(msgr.Conn, *wire.MWatchNotify) // on a goroutine of its own
}

func (c *cluster) client(id int64) *client {
	return &client{c: c, name: wire.EntityName{Type: wire.EntityClient, Num: id},
		calls: map[uint64]chan *wire.MOSDOpReply{}, conns: map[wire.Addr]msgr.Conn{}, commands: make(chan *wire.MCommandReply, 16)}
}

func (l *client) Dispatch(c msgr.Conn, m wire.Message) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch m := m.(type) {
	case *wire.MOSDOpReply:
		if ch := l.calls[m.TID]; ch != nil {
			delete(l.calls, m.TID)
			ch <- m
		} else {
			m.Release()
		}
	case *wire.MOSDMap:
		l.maps++
	case *wire.MWatchNotify:
		l.events = append(l.events, m)
		if l.onEvent != nil {
			go l.onEvent(c, m)
		}
	case *wire.MOSDBackoff:
		l.backoffs = append(l.backoffs, m)
	case *wire.MCommandReply:
		l.commands <- m
	}
}

// takeEvents gives the watch events since the last call.
func (l *client) takeEvents() []*wire.MWatchNotify {
	l.mu.Lock()
	defer l.mu.Unlock()
	e := l.events
	l.events = nil
	return e
}

func (l *client) Reset(c msgr.Conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for a, x := range l.conns {
		if x == c {
			delete(l.conns, a)
		}
	}
}

// message makes a request for an object by the newest map.
func (l *client) message(object string, ops ...wire.Op) *wire.MOSDOp {
	m := l.c.mon.cur()
	id, hash, err := m.ObjectPG(l.c.pool, "", "", object)
	if err != nil {
		panic(err)
	}
	l.mu.Lock()
	l.tid++
	tid := l.tid
	l.mu.Unlock()
	return &wire.MOSDOp{TID: tid, PG: wire.SPGID{PGID: id, Shard: wire.NoShard}, Hash: hash, Epoch: m.Epoch,
		ReqID: wire.ReqID{Client: l.name, TID: tid, Inc: 1}, MTime: wire.Time(tid), Object: object, Ops: ops,
		Locator: wire.ObjectLocator{Pool: l.c.pool, Hash: -1}, Snap: wire.NoSnap}
}

// start sends a request to the acting primary; nil if there is none.
func (l *client) start(m *wire.MOSDOp) <-chan *wire.MOSDOpReply {
	cur := l.c.mon.cur()
	m.Epoch = cur.Epoch
	primary := cur.Map(m.PG.PGID).ActingPrimary
	addr := cur.Addr(primary)
	ch := make(chan *wire.MOSDOpReply, 1)
	l.mu.Lock()
	l.calls[m.TID] = ch
	conn := l.conns[addr]
	l.mu.Unlock()
	if conn == nil {
		var err error
		auth := msgr.NoAuth{Name: l.name.AuthName()}
		if conn, err = l.c.net.Connect(l.name, wire.Addr{}, wire.EntityOSD, addr, l, auth); err != nil {
			return ch
		}
		l.mu.Lock()
		l.conns[addr] = conn
		l.mu.Unlock()
	}
	conn.Send(m)
	return ch
}

// do sends a request until it is answered.
func (l *client) do(m *wire.MOSDOp) *wire.MOSDOpReply {
	l.c.t.Helper()
	for range 400 {
		select {
		case r := <-l.start(m):
			return r
		case <-time.After(50 * time.Millisecond):
		}
		n := *m
		n.Attempt++
		n.Flags |= wire.FlagRetry
		m = &n
	}
	l.c.t.Fatalf("no answer for %s", m.Object)
	return nil
}

// drop ends the client's connections, as a network does.
func (l *client) drop() {
	l.mu.Lock()
	conns := l.conns
	l.conns = map[wire.Addr]msgr.Conn{}
	l.mu.Unlock()
	for _, c := range conns {
		c.Close()
	}
}

// op runs a vector and gives the reply.
func (l *client) op(object string, ops ...wire.Op) *wire.MOSDOpReply {
	l.c.t.Helper()
	return l.do(l.message(object, ops...))
}

func write(off uint64, s string) wire.Op {
	return wire.Op{Code: wire.OpWrite, Off: off, Data: wire.DataOf([]byte(s))}
}

func read() wire.Op { return wire.Op{Code: wire.OpRead} }
