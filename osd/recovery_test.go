package osd

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/spirula/spirula/osd/store"
	"github.com/spirula/spirula/osd/store/storetest"
	"github.com/spirula/spirula/rados/clustermap"
	"github.com/spirula/spirula/rados/wire"
)

// kill ends an OSD as a crash does: what the store has queued stays, nobody is
// told. The mon notices.
func (c *cluster) kill(i int) {
	c.t.Helper()
	image := c.mods[i].(*storetest.Model).Clone()
	c.osds[i].Close()
	c.osds[i] = nil
	c.mods[i] = image
	c.mon.change(func(m *clustermap.OSDMap, inc *clustermap.Incremental) {
		if m.IsUp(int32(i)) {
			inc.NewState[int32(i)] ^= clustermap.StateUp
		}
	})
}

// waitClean waits until every PG of the pool is clean by the newest map.
func (c *cluster) waitClean() {
	c.t.Helper()
	var last string
	for range 4000 {
		m := c.mon.cur()
		ok := true
		last = ""
		for seed := range m.Pool(c.pool).PGNum {
			id := wire.PGID{Pool: c.pool, Seed: seed}
			p := m.Map(id).ActingPrimary
			if p < 0 || c.osds[p] == nil || c.osds[p].epoch() != m.Epoch || c.osds[p].group(id) == nil {
				ok = false
				continue
			}
			g := c.osds[p].group(id)
			g.mu.Lock()
			state := g.core.State()
			h := g.core.Health()
			g.mu.Unlock()
			if !strings.HasPrefix(state, "active+clean") {
				ok = false
				last += fmt.Sprintf("pg %v on osd.%d of %v: %s %+v; ", id, p, m.Map(id), state, h)
			}
		}
		if ok {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
	c.t.Fatalf("not clean: %s", last)
}

// wantEqual compares the acting OSDs' copies of every PG, byte for byte.
func (c *cluster) wantEqual() {
	c.t.Helper()
	m := c.mon.cur()
	for seed := range m.Pool(c.pool).PGNum {
		id := wire.PGID{Pool: c.pool, Seed: seed}
		acting := m.Map(id).Acting
		first, stop := listRange(m.Pool(c.pool), id)
		var want string
		for i, o := range acting {
			got := c.dumpPG(c.mods[o], id, first, stop)
			if i == 0 {
				want = got
			} else if got != want {
				c.t.Fatalf("pg %v: osd.%d has\n%s\nosd.%d has\n%s", id, acting[0], want, o, got)
			}
		}
	}
}

func (c *cluster) dumpPG(s ObjectStore, id wire.PGID, first, stop wire.HObject) string {
	var b strings.Builder
	ids, _, err := s.List(wire.NoShard, first, stop, 100000)
	if err != nil {
		c.t.Fatal(err)
	}
	for _, o := range ids {
		d, _ := s.Read(o, 0, store.MaxObject)
		x, _ := s.Xattrs(o)
		h, _ := s.OmapHeader(o)
		kvs, _, _ := s.OmapList(o, "", "", 100000, true)
		fmt.Fprintf(&b, "%v %d %x %v %x %v\n", o, d.Len(), d.CRC32C(), x, h, kvs)
		d.Release()
	}
	rows, _, err := s.MetaList(wire.SPGID{PGID: id, Shard: wire.NoShard}, "s", "t", 100000)
	if err != nil {
		c.t.Fatal(err)
	}
	for _, r := range rows {
		fmt.Fprintf(&b, "%x\n", r.Key)
	}
	return b.String()
}

// minSize sets the pool's min_size.
func (c *cluster) minSize(n uint8) {
	c.mon.change(func(m *clustermap.OSDMap, inc *clustermap.Incremental) {
		p := m.Pool(c.pool).Clone()
		p.MinSize = n
		inc.NewPools[c.pool] = p
	})
	c.waitActive()
}

// TestKillUnderLoad has clients append to objects, each its own, while OSDs
// are killed and come back. What was answered is there, once, and all copies
// are equal in the end.
func TestKillUnderLoad(t *testing.T) {
	c := newCluster(t, clusterOptions{osds: 3, size: 3, pgs: 4})
	c.minSize(2)
	stop := make(chan struct{})
	var wg sync.WaitGroup
	texts := make([]string, 6)
	for i := range texts {
		wg.Go(func() {
			cl := c.client(int64(5000 + i))
			rng := rand.New(rand.NewPCG(uint64(i), 9))
			for n := 0; ; n++ {
				select {
				case <-stop:
					return
				default:
				}
				token := fmt.Sprintf("%d.", n)
				m := cl.message(fmt.Sprint("o", i), wire.Op{Code: wire.OpAppend, Data: wire.DataOf([]byte(token))},
					wire.Op{Code: wire.OpOmapSetVals, KVs: []wire.KV{{Key: fmt.Sprint("k", n%50), Value: []byte(token)}}})
				if rng.IntN(20) == 0 {
					snap := wire.SnapID(n + 1)
					m.SnapC = wire.SnapContext{Seq: snap, Snaps: []wire.SnapID{snap}}
				}
				if r := cl.do(m); r.Result != 0 {
					t.Errorf("append: %d", r.Result)
					return
				}
				texts[i] += token
			}
		})
	}
	for round := range 4 {
		i := round % 3
		time.Sleep(100 * time.Millisecond)
		c.kill(i)
		time.Sleep(150 * time.Millisecond)
		c.start(i)
		c.waitFor("osd up", func() bool { return c.mon.cur().IsUp(int32(i)) })
		if round%2 == 0 {
			c.waitClean()
		}
	}
	close(stop)
	wg.Wait()
	c.waitClean()
	for i, s := range texts {
		if len(s) == 0 {
			t.Fatal("a client got nothing done")
		}
		wantData(t, c.cl.op(fmt.Sprint("o", i), read()), s)
	}
	c.wantEqual()
}

// TestBackfill: an OSD that was away for longer than the log remembers gets
// what differs, object by object, while clients write; and a PG that is
// placed elsewhere moves, and leaves nothing behind.
func TestBackfill(t *testing.T) {
	c := newCluster(t, clusterOptions{osds: 4, size: 2, pgs: 1})
	content := map[string]string{}
	put := func(i int, s string) {
		t.Helper()
		name := fmt.Sprint("o", i)
		want(t, c.cl.op(name, wire.Op{Code: wire.OpWriteFull, Data: wire.DataOf([]byte(s))}), 0)
		content[name] = s
	}
	for i := range 300 {
		put(i, fmt.Sprint("first", i))
	}
	victim := int(c.mon.cur().Map(wire.PGID{Pool: c.pool}).Acting[1])
	// It stays placed: down, not out.
	c.kill(victim)
	c.minSize(1)
	for i := range 2300 {
		put(i%400, fmt.Sprint("second", i))
	}
	want(t, c.cl.op("o7", wire.Op{Code: wire.OpDelete}), 0)
	delete(content, "o7")
	c.start(victim)
	c.waitFor("osd up", func() bool { return c.mon.cur().IsUp(int32(victim)) })
	for i := range 300 {
		put(100+i, fmt.Sprint("third", i))
	}
	c.waitClean()
	c.wantEqual()
	check := func() {
		t.Helper()
		for name, s := range content {
			wantData(t, c.cl.op(name, read()), s)
		}
		want(t, c.cl.op("o7", read()), -2)
	}
	check()
	// Out: its PGs move away from it.
	c.mon.change(func(m *clustermap.OSDMap, inc *clustermap.Incremental) { inc.NewWeight[int32(victim)] = 0 })
	for i := range 300 {
		put(i+8, fmt.Sprint("fourth", i))
	}
	c.waitClean()
	c.wantEqual()
	check()
	c.waitFor("copies removed", func() bool { return len(*c.osds[victim].groups.Load()) == 0 })
	if n := c.mods[victim].Statfs().Objects; n != 0 {
		t.Fatalf("osd.%d still has %d objects", victim, n)
	}
}

// TestLargeObject: an object of several pieces, with clones, a hole and a big
// omap, comes whole to an OSD that was away, and a client's write waits for
// it.
func TestLargeObject(t *testing.T) {
	c := newCluster(t, clusterOptions{osds: 3, size: 3, pgs: 1})
	c.minSize(2)
	cl := c.cl
	acting := c.mon.cur().Map(wire.PGID{Pool: c.pool}).Acting
	big := bytes.Repeat([]byte("0123456789abcdef"), 7<<20/16)
	want(t, cl.op("big", wire.Op{Code: wire.OpWriteFull, Data: wire.DataOf(big)}), 0)
	for _, victim := range []int{int(acting[2]), int(acting[0])} {
		c.kill(victim)
		c.waitActive()
		var kvs []wire.KV
		for i := range 3000 {
			kvs = append(kvs, wire.KV{Key: fmt.Sprint("key", i), Value: bytes.Repeat([]byte{byte(i)}, 200)})
		}
		m := cl.message("big", wire.Op{Code: wire.OpWrite, Off: 3 << 20, Data: wire.DataOf([]byte("new"))},
			wire.Op{Code: wire.OpOmapSetVals, KVs: kvs}, wire.Op{Code: wire.OpTruncate, Off: 9 << 20})
		m.SnapC = wire.SnapContext{Seq: wire.SnapID(4 + victim), Snaps: []wire.SnapID{wire.SnapID(4 + victim)}}
		want(t, cl.do(m), 0)
		want(t, cl.op("small", write(0, "x")), 0)
		c.start(victim)
		c.waitFor("osd up", func() bool { return c.mon.cur().IsUp(int32(victim)) })
		want(t, cl.op("big", write(5, "later")), 0)
		c.waitClean()
		c.wantEqual()
	}
	if r := cl.op("big", wire.Op{Code: wire.OpStat}); r.Results[0].Size != 9<<20 {
		t.Fatalf("size %d", r.Results[0].Size)
	}
}

// TestLatePool: a pool made before any OSD was there is served as they come.
func TestLatePool(t *testing.T) {
	c := &cluster{t: t, mon: newFakeMon(t, 3), net: newCluster(t, clusterOptions{}).net}
	c.pool = c.mon.addPool("early", 3, 8)
	for range 3 {
		m := storetest.NewModel(storetest.ModelOptions{})
		t.Cleanup(func() { m.Close() })
		c.mods, c.osds = append(c.mods, m), append(c.osds, nil)
	}
	for i := range 3 {
		c.start(i)
	}
	c.cl = c.client(4100)
	c.waitClean()
	want(t, c.cl.op("a", write(0, "x")), 0)
	c.wantEqual()
}

// TestMarkedDown: an OSD that is wrongly called down comes back by itself.
func TestMarkedDown(t *testing.T) {
	c := newCluster(t, clusterOptions{osds: 3, size: 3, pgs: 4})
	c.minSize(2)
	for i := range 20 {
		want(t, c.cl.op(fmt.Sprint("o", i), write(0, "x")), 0)
	}
	before := c.mon.cur().Epoch
	c.mon.change(func(m *clustermap.OSDMap, inc *clustermap.Incremental) { inc.NewState[1] ^= clustermap.StateUp })
	for i := range 20 {
		want(t, c.cl.op(fmt.Sprint("o", i), write(0, "y")), 0)
	}
	c.waitFor("osd.1 up", func() bool { m := c.mon.cur(); return m.IsUp(1) && m.Info(1).UpFrom > before })
	c.waitClean()
	c.wantEqual()
}

// TestSilentOSD: one that answers nobody is reported.
func TestSilentOSD(t *testing.T) {
	c := newCluster(t, clusterOptions{osds: 3, size: 3, pgs: 4, grace: 200 * time.Millisecond})
	c.osds[2].closing.Store(true) // it takes no message any more
	c.waitFor("reports", func() bool {
		c.mon.mu.Lock()
		defer c.mon.mu.Unlock()
		slices.Sort(c.mon.failed)
		return slices.Contains(c.mon.failed, 2)
	})
	c.osds[2].closing.Store(false)
	c.mon.mu.Lock()
	defer c.mon.mu.Unlock()
	if slices.Contains(c.mon.failed, 0) || slices.Contains(c.mon.failed, 1) {
		t.Fatalf("reported: %v", c.mon.failed)
	}
}
