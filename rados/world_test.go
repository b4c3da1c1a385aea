package rados_test

import (
	"context"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/spirula/spirula/crush"
	"github.com/spirula/spirula/rados"
	"github.com/spirula/spirula/rados/clustermap"
	"github.com/spirula/spirula/rados/msgr"
	"github.com/spirula/spirula/rados/radostest"
	"github.com/spirula/spirula/rados/wire"
)

var (
	bg      = context.Background()
	monAddr = wire.Addr{Type: wire.AddrMsgr2, IP: netip.MustParseAddrPort("127.0.0.1:3300")}
)

// world is a cluster whose every step the test decides: a mon that hands out
// the maps it is told to, and fake OSDs.
type world struct {
	t      testing.TB
	net    *msgr.Local
	stores *radostest.Stores
	osds   map[int32]*radostest.OSD
	async  bool

	mon  msgr.Listener
	mu   sync.Mutex
	cur  *clustermap.OSDMap
	incs map[wire.Epoch][]byte
	subs map[msgr.Conn]uint64 // next epoch wanted
	gid  int64
	mute bool // the mon sends no maps
}

// newWorld makes n OSDs, all up, and a pool of 16 placement groups.
func newWorld(t testing.TB, n int, async bool) *world {
	t.Helper()
	w := &world{t: t, net: msgr.NewLocal(), stores: radostest.NewStores(), osds: make(map[int32]*radostest.OSD), async: async,
		incs: make(map[wire.Epoch][]byte), subs: make(map[msgr.Conn]uint64), gid: 4096}
	var devices []crush.BootstrapDevice
	for i := range n {
		devices = append(devices, crush.BootstrapDevice{ID: int32(i), Weight: clustermap.WeightIn})
	}
	c, err := crush.Bootstrap(devices)
	if err != nil {
		t.Fatal(err)
	}
	w.cur = clustermap.New(wire.FSID{1}, 1, c, int32(n))
	w.listenMon()
	t.Cleanup(func() {
		for _, o := range w.osds {
			o.Close()
		}
		w.mon.Close()
	})
	w.change(func(inc *clustermap.Incremental) {
		for i := range int32(n) {
			w.startOSD(i, inc)
		}
		inc.AddPool(w.cur, "p", clustermap.NewPool(uint8(min(n, 2)), 16, crush.RuleByOSD, 1))
	})
	return w
}

func (w *world) listenMon() {
	w.t.Helper()
	l, err := w.net.Listen(wire.EntityName{Type: wire.EntityMon}, monAddr, w, msgr.NoAuth{})
	if err != nil {
		w.t.Fatal(err)
	}
	w.mon = l
}

// startOSD starts an OSD and adds to inc that it is up.
func (w *world) startOSD(id int32, inc *clustermap.Incremental) {
	w.t.Helper()
	o, err := radostest.NewOSD(w.net, id, w.stores, w.async)
	if err != nil {
		w.t.Fatal(err)
	}
	if old := w.osds[id]; old != nil {
		old.Close()
	}
	w.osds[id] = o
	a := []wire.Addr{o.Addr()}
	inc.BringUp(w.cur, id, wire.FSID{byte(id + 1)}, a, a, a, a)
}

// change makes the next epoch; OSDs get it at once, and so do clients unless
// the mon is mute.
func (w *world) change(edit func(*clustermap.Incremental)) {
	w.t.Helper()
	inc := w.cur.NewIncremental(wire.Time(w.cur.Epoch) + 1)
	edit(inc)
	next, err := w.cur.Seal(inc)
	if err != nil {
		w.t.Fatal(err)
	}
	w.mu.Lock()
	w.cur = next
	w.incs[next.Epoch] = inc.Encode()
	w.mu.Unlock()
	for _, o := range w.osds {
		o.SetMap(next)
	}
	w.publish()
}

func (w *world) publish() {
	w.mu.Lock()
	if w.mute {
		w.mu.Unlock()
		return
	}
	out := make(map[msgr.Conn]*wire.MOSDMap)
	for c, next := range w.subs {
		if uint64(w.cur.Epoch) < next {
			continue
		}
		m := &wire.MOSDMap{Incrementals: make(map[wire.Epoch][]byte), Fulls: make(map[wire.Epoch][]byte)}
		if next == 0 {
			m.Fulls[w.cur.Epoch] = w.cur.Encode()
		}
		for e := wire.Epoch(next); next != 0 && e <= w.cur.Epoch; e++ {
			m.Incrementals[e] = w.incs[e]
		}
		w.subs[c] = uint64(w.cur.Epoch) + 1
		out[c] = m
	}
	w.mu.Unlock()
	for c, m := range out {
		c.Send(m)
	}
}

func (w *world) setMute(on bool) {
	w.mu.Lock()
	w.mute = on
	w.mu.Unlock()
	w.publish()
}

// Dispatch is the mon's.
func (w *world) Dispatch(c msgr.Conn, m wire.Message) {
	switch m := m.(type) {
	case *wire.MAuth:
		w.mu.Lock()
		w.gid++
		id := w.gid
		w.mu.Unlock()
		c.Send(&wire.MAuthReply{TID: m.TID, GlobalID: id, FSID: wire.FSID{1}})
	case *wire.MMonSubscribe:
		w.mu.Lock()
		if sub, ok := m.What[wire.SubOSDMap]; ok {
			w.subs[c] = sub.Start
		}
		w.mu.Unlock()
		w.publish()
	case *wire.MMonGetVersion:
		w.mu.Lock()
		e := w.cur.Epoch
		w.mu.Unlock()
		c.Send(&wire.MMonGetVersionReply{TID: m.TID, Newest: uint64(e)})
	}
}

// Reset is the mon's.
func (w *world) Reset(c msgr.Conn) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.subs, c)
}

func (w *world) client(tweak func(*rados.Options)) *rados.Client {
	w.t.Helper()
	opts := rados.Options{Net: w.net, MonAddrs: []wire.Addr{monAddr}}
	if tweak != nil {
		tweak(&opts)
	}
	ctx, cancel := context.WithTimeout(bg, 10*time.Second)
	defer cancel()
	c, err := rados.Connect(ctx, opts)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(c.Close)
	return c
}

func (w *world) pool(c *rados.Client) *rados.IOCtx {
	w.t.Helper()
	x, err := c.IOCtx(bg, "p")
	if err != nil {
		w.t.Fatal(err)
	}
	return x
}

// primary is the OSD that serves an object.
func (w *world) primary(name string) int32 {
	pg, _, err := w.cur.ObjectPG(1, "", "", name)
	if err != nil {
		w.t.Fatal(err)
	}
	return w.cur.Map(pg).ActingPrimary
}

func appendOp(name, s string) *rados.Op {
	return &rados.Op{Object: name, Ops: []wire.Op{{Code: wire.OpAppend, Data: wire.DataOf([]byte(s))}}}
}

func readOp(name string) *rados.Op {
	return &rados.Op{Object: name, Ops: []wire.Op{{Code: wire.OpRead}}}
}

func content(t testing.TB, d rados.Doer, name string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(bg, 10*time.Second)
	defer cancel()
	r, err := d.Do(ctx, readOp(name))
	if err != nil {
		t.Fatalf("read of %s: %v", name, err)
	}
	defer r.Release()
	return string(r.Results[0].Data.AppendTo(nil))
}
