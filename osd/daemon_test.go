package osd

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/spirula/spirula/osd/store"
	"github.com/spirula/spirula/osd/store/storetest"
	"github.com/spirula/spirula/rados/clustermap"
	"github.com/spirula/spirula/rados/msgr"
	"github.com/spirula/spirula/rados/wire"
)

// gated is a model whose commits wait while the gate is shut.
type gated struct {
	*storetest.Model
	mu   sync.Mutex
	shut bool
	held []func()
}

func (g *gated) Queue(s *store.Sequencer, t *store.Txn, done func(error)) error {
	return g.Model.Queue(s, t, func(err error) {
		g.mu.Lock()
		if g.shut {
			g.held = append(g.held, func() { done(err) })
			g.mu.Unlock()
			return
		}
		g.mu.Unlock()
		done(err)
	})
}

func (g *gated) set(shut bool) {
	g.mu.Lock()
	g.shut = shut
	held := g.held
	if !shut {
		g.held = nil
	}
	g.mu.Unlock()
	if !shut {
		for _, f := range held {
			f()
		}
	}
}

// gatedCluster is a cluster of one OSD over a gated store.
func gatedCluster(t *testing.T) (*cluster, *gated) {
	t.Helper()
	m := storetest.NewModel(storetest.ModelOptions{Inline: true})
	t.Cleanup(func() { m.Close() })
	g := &gated{Model: m}
	c := &cluster{t: t, mon: newFakeMon(t, 1), net: newCluster(t, clusterOptions{}).net}
	c.mods, c.osds = []ObjectStore{g}, []*OSD{nil}
	c.start(0)
	t.Cleanup(func() { g.set(false) })
	c.waitFor("osd up", func() bool { return c.mon.cur().NumUp() == 1 })
	c.pool = c.mon.addPool("p", 1, 8)
	c.waitActive()
	c.cl = c.client(4100)
	return c, g
}

func pending(ch <-chan *wire.MOSDOpReply) bool {
	time.Sleep(20 * time.Millisecond)
	return len(ch) == 0
}

func TestReadWaitsForCommit(t *testing.T) {
	c, g := gatedCluster(t)
	cl := c.cl
	want(t, cl.op("a", write(0, "one")), 0)
	g.set(true)
	w := cl.start(cl.message("a", write(0, "two")))
	r := cl.start(cl.message("a", read()))
	w2 := cl.start(cl.message("a", write(0, "six")))
	bad := cl.start(cl.message("a", wire.Op{Code: wire.OpCreate, Flags: wire.OpExcl}))
	if !pending(w) || !pending(r) || !pending(w2) || !pending(bad) {
		t.Fatal("answered before the commit")
	}
	g.set(false)
	want(t, <-w, 0)
	wantData(t, <-r, "two")
	want(t, <-w2, 0)
	want(t, <-bad, -17)
	wantData(t, cl.op("a", read()), "six")
}

// TestResend: a request that comes again is done once, whether it was under
// way, done, or done before a restart.
func TestResend(t *testing.T) {
	c, g := gatedCluster(t)
	cl := c.cl
	again := func(m *wire.MOSDOp) *wire.MOSDOp {
		n := *m
		n.Attempt++
		n.Flags |= wire.FlagRetry
		return &n
	}
	app := cl.message("a", wire.Op{Code: wire.OpAppend, Data: wire.DataOf([]byte("x"))})
	g.set(true)
	first := cl.start(app)
	second := cl.start(again(app))
	if !pending(first) || !pending(second) {
		t.Fatal("answered before the commit")
	}
	g.set(false)
	r := <-second // the same tid: the client listens for the last
	want(t, r, 0)
	want(t, cl.do(again(app)), 0)
	excl := cl.message("b", wire.Op{Code: wire.OpCreate, Flags: wire.OpExcl})
	want(t, cl.do(excl), 0)
	want(t, cl.do(again(excl)), 0)
	fails := cl.message("b", wire.Op{Code: wire.OpCreate, Flags: wire.OpExcl})
	want(t, cl.do(fails), -17)
	want(t, cl.op("b", wire.Op{Code: wire.OpDelete}), 0)
	want(t, cl.do(again(fails)), -17)
	vec := cl.message("a", wire.Op{Code: wire.OpSetXattr, Name: "n", Value: []byte("1")}, wire.Op{Code: wire.OpStat})
	vec.Flags |= wire.FlagReturnVec
	v1 := want(t, cl.do(vec), 0)
	c.osds[0].Close()
	c.start(0)
	c.waitActive()
	want(t, cl.do(again(app)), 0)
	want(t, cl.do(again(fails)), -17)
	v2 := want(t, cl.do(again(vec)), 0)
	if v1.Version != v2.Version || v1.Results[1].Size != 1 || v2.Results[1].Size != 1 {
		t.Fatalf("%+v, then %+v", v1, v2)
	}
	wantData(t, cl.op("a", read()), "x")
}

// TestCrash kills the daemon between writes: what was answered is there, and
// requests that were not answered are done once.
func TestCrash(t *testing.T) {
	for seed := range uint64(3) {
		c := newCluster(t, clusterOptions{pgs: 2})
		rng := rand.New(rand.NewPCG(seed, 4))
		text := map[string]string{}
		for range 4 {
			for range 30 {
				name := fmt.Sprint("o", rng.IntN(3))
				s := string(rune('a' + rng.IntN(26)))
				want(t, c.cl.op(name, wire.Op{Code: wire.OpAppend, Data: wire.DataOf([]byte(s))}), 0)
				text[name] += s
			}
			last := c.cl.message("o0", wire.Op{Code: wire.OpAppend, Data: wire.DataOf([]byte("!"))})
			c.cl.start(last)
			// What the store holds now is what a crash leaves.
			image := c.mods[0].(*storetest.Model).Clone()
			c.osds[0].Close()
			c.mods[0] = image
			c.start(0)
			c.waitActive()
			n := *last
			n.Attempt, n.Flags = 1, n.Flags|wire.FlagRetry
			want(t, c.cl.do(&n), 0)
			text["o0"] += "!"
			for name, s := range text {
				wantData(t, c.cl.op(name, read()), s)
			}
		}
	}
}

func TestFull(t *testing.T) {
	var full atomic.Bool
	c := newCluster(t, clusterOptions{model: storetest.ModelOptions{Fail: func(tx *store.Txn) error {
		for i := range tx.Ops {
			if full.Load() && tx.Ops[i].Kind == store.OpWrite {
				return wire.ENOSPC
			}
		}
		return nil
	}}})
	cl := c.cl
	want(t, cl.op("a", write(0, "one")), 0)
	full.Store(true)
	want(t, cl.op("a", write(0, "two")), -28)
	want(t, cl.op("n", write(0, "two")), -28)
	wantData(t, cl.op("a", read()), "one")
	want(t, cl.op("n", read()), -2)
	want(t, cl.op("a", wire.Op{Code: wire.OpDelete}), 0)
	full.Store(false)
	want(t, cl.op("a", write(0, "six")), 0)
	c.mon.change(func(m *clustermap.OSDMap, inc *clustermap.Incremental) {
		inc.NewFlags = int32(m.Flags | clustermap.FlagFull)
	})
	c.waitActive()
	try := cl.message("a", write(0, "more"))
	try.Flags |= wire.FlagFullTry
	want(t, cl.do(try), -28)
	if !pending(cl.start(cl.message("a", write(0, "more")))) {
		t.Fatal("a write that needs space on a full cluster was answered")
	}
	force := cl.message("a", write(0, "much"))
	force.Flags |= wire.FlagFullForce
	want(t, cl.do(force), 0)
	want(t, cl.op("a", write(0, "less")), 0) // needs nothing
	want(t, cl.op("a", wire.Op{Code: wire.OpDelete}), 0)
}

// tightStore says what it likes of its space.
type tightStore struct {
	*storetest.Model
	free atomic.Int64
}

func (s *tightStore) Statfs() store.Statfs {
	return store.Statfs{Total: 1000 << 20, Free: s.free.Load() << 20}
}

// TestFailsafe: a store that is nearly full takes no writes but those that
// free space, or that would rather fail.
func TestFailsafe(t *testing.T) {
	s := &tightStore{Model: storetest.NewModel(storetest.ModelOptions{Inline: true})}
	s.free.Store(500)
	c := &cluster{t: t, mon: newFakeMon(t, 1), net: msgr.NewLocal(), mods: []ObjectStore{s}, osds: []*OSD{nil}}
	c.start(0)
	c.waitFor("osd up", func() bool { return c.mon.cur().NumUp() == 1 })
	c.pool = c.mon.addPool("p", 1, 4)
	c.waitActive()
	c.cl = c.client(4100)
	want(t, c.cl.op("o", write(0, "x")), 0)
	s.free.Store(20)
	c.waitFor("failsafe", func() bool { return c.osds[0].nearEnd.Load() })
	if !pending(c.cl.start(c.cl.message("o", write(0, "y")))) {
		t.Fatal("a write was answered")
	}
	wantData(t, c.cl.op("o", read()), "x")
	try := c.cl.message("o", write(0, "z"))
	try.Flags |= wire.FlagFullTry
	want(t, c.cl.do(try), 0)
	want(t, c.cl.op("o", wire.Op{Code: wire.OpDelete}), 0)
	s.free.Store(500)
	c.waitFor("space", func() bool { return !c.osds[0].nearEnd.Load() })
	want(t, c.cl.op("o", write(0, "again")), 0)
}

func TestBlocklist(t *testing.T) {
	c := newCluster(t, clusterOptions{})
	want(t, c.cl.op("a", write(0, "one")), 0)
	var addr wire.Addr
	c.osds[0].sessions.Range(func(k, _ any) bool {
		addr = k.(interface{ PeerAddr() wire.Addr }).PeerAddr()
		return true
	})
	c.mon.change(func(m *clustermap.OSDMap, inc *clustermap.Incremental) {
		inc.NewBlocklist[addr] = wire.TimeOf(time.Now().Add(time.Hour))
	})
	c.waitActive()
	want(t, c.cl.op("a", write(0, "two")), -108)
	other := c.client(4200)
	wantData(t, other.op("a", read()), "one")
}

func TestWrongPlaces(t *testing.T) {
	c := newCluster(t, clusterOptions{})
	cl := c.cl
	m := cl.message("a", read())
	m.Hash++
	if r := cl.do(m); r.Result != -22 {
		t.Fatalf("a wrong hash: %d", r.Result)
	}
	m = cl.message("a", read())
	m.PG.Seed ^= 1
	if !pending(cl.start(m)) {
		t.Fatal("the wrong pg answered")
	}
	want(t, cl.op(strings.Repeat("n", 2049), write(0, "x")), -36)
	want(t, cl.op("", write(0, "x")), -22)
	big := wire.DataOf(make([]byte, 60<<20))
	want(t, cl.op("big", wire.Op{Code: wire.OpWrite, Data: big}, wire.Op{Code: wire.OpWrite, Data: big}), -90)
}

// TestNewerMap: a request by a map that the OSD does not have yet waits for
// it; a client with an old map is sent what it lacks.
func TestNewerMap(t *testing.T) {
	c := newCluster(t, clusterOptions{})
	cl := c.cl
	want(t, cl.op("a", write(0, "one")), 0)
	old := cl.message("a", read())
	for range 3 {
		c.mon.change(func(*clustermap.OSDMap, *clustermap.Incremental) {})
	}
	c.waitActive()
	wantData(t, cl.op("a", read()), "one")
	late := c.client(4300)
	conn, err := c.net.Connect(late.name, wire.Addr{}, wire.EntityOSD, c.osds[0].Addr(), late, nil)
	if err != nil {
		t.Fatal(err)
	}
	ch := make(chan *wire.MOSDOpReply, 1)
	late.calls[old.TID] = ch
	conn.Send(old)
	wantData(t, <-ch, "one")
	late.mu.Lock()
	if late.maps != 1 {
		t.Errorf("%d maps sent to a client behind", late.maps)
	}
	late.mu.Unlock()
	future := *old
	future.TID, future.Epoch = 77, old.Epoch+4
	late.mu.Lock()
	late.calls[77] = ch
	late.mu.Unlock()
	conn.Send(&future)
	if !pending(ch) {
		t.Fatal("a request of the future was answered")
	}
	c.mon.change(func(*clustermap.OSDMap, *clustermap.Incremental) {})
	wantData(t, <-ch, "one")
}

func listAll(t *testing.T, c *cluster, namespace string, step uint64) []string {
	t.Helper()
	var names []string
	cur := c.mon.cur()
	for seed := range cur.Pool(c.pool).PGNum {
		cursor := wire.MinHObject
		for {
			m := c.cl.message("x", wire.Op{Code: wire.OpPGNLS, Num: step, Cursor: &cursor})
			m.Object, m.Locator.Namespace = "", namespace
			m.PG.Seed, m.Hash = seed, seed
			r := c.cl.do(m)
			if r.Result < 0 {
				t.Fatalf("list: %d", r.Result)
			}
			for _, e := range r.Results[0].List {
				names = append(names, e.Namespace+"/"+e.Name)
			}
			cursor = *r.Results[0].Cursor
			if r.Result == 1 {
				break
			}
		}
		first, end := bounds(cur.Pool(c.pool), wire.PGID{Pool: c.pool, Seed: seed})
		if cursor.Compare(end) != 0 || first.Compare(end) >= 0 {
			t.Fatalf("pg %d ends at %v, want %v", seed, cursor, end)
		}
	}
	return names
}

func TestList(t *testing.T) {
	c := newCluster(t, clusterOptions{pgs: 6})
	var names []string
	for i := range 200 {
		name := fmt.Sprint("obj", i)
		m := c.cl.message(name, write(0, "x"))
		want(t, c.cl.do(m), 0)
		names = append(names, "/"+name)
	}
	snapc := wire.SnapContext{Seq: 4, Snaps: []wire.SnapID{4}}
	for i := range 50 { // clones, and whiteouts for every other one
		ops := []wire.Op{write(0, "y")}
		if i%2 == 0 {
			ops = []wire.Op{{Code: wire.OpDelete}}
		}
		m := c.cl.message(fmt.Sprint("obj", i), ops...)
		m.SnapC = snapc
		want(t, c.cl.do(m), 0)
		if i%2 == 0 {
			names = slices.DeleteFunc(names, func(s string) bool { return s == fmt.Sprint("/obj", i) })
		}
	}
	slices.Sort(names)
	for _, step := range []uint64{1, 7, 1000} {
		got := listAll(t, c, "", step)
		slices.Sort(got)
		if !slices.Equal(got, names) {
			t.Fatalf("step %d: %d names, want %d", step, len(got), len(names))
		}
	}
	if got := listAll(t, c, "other", 100); len(got) != 0 {
		t.Fatalf("another namespace: %v", got)
	}
	if got := listAll(t, c, allNamespaces, 100); len(got) != len(names) {
		t.Fatalf("all namespaces: %d", len(got))
	}
}

// TestSnapTrim: a snapshot removed by the map goes from the objects, and the
// mon is told.
func TestSnapTrim(t *testing.T) {
	c := newCluster(t, clusterOptions{pgs: 4})
	for i := range 60 {
		name := fmt.Sprint("o", i)
		want(t, c.cl.op(name, write(0, "old")), 0)
		m := c.cl.message(name, write(0, "new"))
		m.SnapC = wire.SnapContext{Seq: 2, Snaps: []wire.SnapID{2}}
		want(t, c.cl.do(m), 0)
	}
	at := func(i int, s wire.SnapID) *wire.MOSDOpReply {
		m := c.cl.message(fmt.Sprint("o", i), read())
		m.Snap = s
		return c.cl.do(m)
	}
	wantData(t, at(3, 2), "old")
	c.mon.change(func(m *clustermap.OSDMap, inc *clustermap.Incremental) {
		inc.NewRemovedSnaps[c.pool] = clustermap.SnapSet{{Start: 2, Len: 1}}
	})
	c.waitFor("purged", func() bool {
		c.mon.mu.Lock()
		defer c.mon.mu.Unlock()
		n := 0
		for _, s := range c.mon.purged {
			if s[2] {
				n++
			}
		}
		return n == 4
	})
	for i := range 60 {
		want(t, at(i, 2), -2)
		wantData(t, at(i, wire.NoSnap), "new")
	}
	// A late writer that still names the snapshot makes no clone of it.
	m := c.cl.message("o1", write(0, "late"))
	m.SnapC = wire.SnapContext{Seq: 2, Snaps: []wire.SnapID{2}}
	want(t, c.cl.do(m), 0)
	if n := c.osds[0].Metrics.Trimmed.Load(); n != 60 {
		t.Fatalf("%d objects trimmed", n)
	}
	ids, _, err := c.mods[0].List(wire.NoShard, wire.MinHObject, wire.MaxHObject, 1000)
	if err != nil || len(ids) != 60 {
		t.Fatalf("%d objects in the store, %v", len(ids), err)
	}
	rows, _, err := c.mods[0].MetaList(wire.SPGID{PGID: wire.PGID{Pool: c.pool}, Shard: wire.NoShard}, "s", "t", 10)
	if err != nil || len(rows) != 0 {
		t.Fatalf("index rows %v, %v", rows, err)
	}
}

// TestLateClone: a write that was checked before its snapshot was removed, and
// runs after the trimmer passed, leaves no clone.
func TestLateClone(t *testing.T) {
	c, g := gatedCluster(t)
	want(t, c.cl.op("o", write(0, "old")), 0)
	g.set(true)
	first := c.cl.start(c.cl.message("o", write(0, "mid")))
	between := c.cl.start(c.cl.message("o", read())) // waits, and the next write behind it
	m := c.cl.message("o", write(0, "new"))
	m.SnapC = wire.SnapContext{Seq: 5, Snaps: []wire.SnapID{5}}
	late := c.cl.start(m)
	// Maps are rows of the same store: they must commit.
	pass := make(chan bool)
	go func() {
		for {
			select {
			case <-pass:
				return
			case <-time.After(time.Millisecond):
				g.mu.Lock()
				if n := len(g.held); n > 1 { // all but the write
					f := g.held[n-1]
					g.held = g.held[:n-1]
					g.mu.Unlock()
					f()
				} else {
					g.mu.Unlock()
				}
			}
		}
	}()
	c.mon.change(func(_ *clustermap.OSDMap, inc *clustermap.Incremental) {
		inc.NewRemovedSnaps[c.pool] = clustermap.SnapSet{{Start: 5, Len: 1}}
	})
	c.waitFor("purged", func() bool {
		c.mon.mu.Lock()
		defer c.mon.mu.Unlock()
		return len(c.mon.purged) == 8
	})
	close(pass)
	if len(first)+len(between)+len(late) != 0 {
		t.Fatal("answered before the commit")
	}
	g.set(false)
	want(t, <-first, 0)
	wantData(t, <-between, "mid")
	want(t, <-late, 0)
	wantData(t, c.cl.op("o", read()), "new")
	ids, _, err := c.mods[0].List(wire.NoShard, wire.MinHObject, wire.MaxHObject, 10)
	if err != nil || len(ids) != 1 {
		t.Fatalf("objects %v, %v", ids, err)
	}
}

// TestPoolRemoved: the objects and rows of a deleted pool go, those of others
// stay.
func TestPoolRemoved(t *testing.T) {
	c := newCluster(t, clusterOptions{pgs: 4})
	for i := range 200 {
		want(t, c.cl.op(fmt.Sprint("o", i), write(0, "x")), 0)
	}
	old := c.pool
	c.pool = c.mon.addPool("q", 1, 4)
	c.waitActive()
	want(t, c.cl.op("kept", write(0, "y")), 0)
	c.mon.change(func(_ *clustermap.OSDMap, inc *clustermap.Incremental) { inc.OldPools = append(inc.OldPools, old) })
	c.waitFor("pgs gone", func() bool { return len(*c.osds[0].groups.Load()) == 4 })
	ids, _, err := c.mods[0].List(wire.NoShard, wire.MinHObject, wire.MaxHObject, 1000)
	if err != nil || len(ids) != 1 || ids[0].Name != "kept" {
		t.Fatalf("objects %v, %v", ids, err)
	}
	wantData(t, c.cl.op("kept", read()), "y")
	var b strings.Builder
	if err := Dump(c.mods[0], &b); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(b.String(), fmt.Sprintf("pg %d.", old)) || !strings.Contains(b.String(), "modify") {
		t.Fatalf("dump:\n%s", b.String())
	}
}

// TestThreeOSDs: what one answers all three hold.
func TestThreeOSDs(t *testing.T) {
	c := newCluster(t, clusterOptions{osds: 3, size: 3, pgs: 8})
	for i := range 100 {
		want(t, c.cl.op(fmt.Sprint("o", i%20), write(uint64(i), fmt.Sprint(i))), 0)
	}
	for i := range 20 {
		r := c.cl.op(fmt.Sprint("o", i), read())
		data := string(r.Results[0].Data.Bytes())
		id := store.ObjectID{HObject: c.head(fmt.Sprint("o", i)), Shard: wire.NoShard, Gen: store.NoGen}
		for n, m := range c.mods {
			d, err := m.Read(id, 0, 1<<20)
			if err != nil || string(d.Bytes()) != data {
				t.Fatalf("o%d on osd.%d: %q, %v; the primary has %q", i, n, d.Bytes(), err, data)
			}
		}
	}
}

func (c *cluster) head(name string) wire.HObject {
	_, hash, err := c.mon.cur().ObjectPG(c.pool, "", "", name)
	if err != nil {
		c.t.Fatal(err)
	}
	return wire.HObject{Pool: c.pool, Hash: hash, Name: name, Snap: wire.NoSnap}
}

// TestConcurrent has many clients append to and read a few objects; every
// append that was answered is there once, and reads see prefixes.
func TestConcurrent(t *testing.T) {
	for _, inline := range []bool{false, true} {
		c := newCluster(t, clusterOptions{pgs: 2, model: storetest.ModelOptions{Inline: inline}})
		var wg sync.WaitGroup
		for k := range 8 {
			cl := c.client(int64(5000 + k))
			wg.Go(func() {
				seen := map[string]string{}
				for i := range 100 {
					name := fmt.Sprint("o", i%3)
					r := cl.op(name, wire.Op{Code: wire.OpAppend, Data: wire.CopyData([]byte(fmt.Sprintf("%d.%d ", k, i)))})
					if r.Result != 0 {
						t.Errorf("append: %d", r.Result)
					}
					r = cl.op(name, read())
					s := string(r.Results[0].Data.Bytes())
					r.Release()
					if !strings.HasPrefix(s, seen[name]) || !strings.Contains(s, fmt.Sprintf("%d.%d ", k, i)) {
						t.Errorf("%s went from %q to %q", name, seen[name], s)
						return
					}
					seen[name] = s
				}
			})
		}
		wg.Wait()
		total := 0
		for i := range 3 {
			r := c.cl.op(fmt.Sprint("o", i), read())
			total += strings.Count(string(r.Results[0].Data.Bytes()), " ")
		}
		if total != 800 {
			t.Fatalf("%d appends, want 800", total)
		}
	}
}

// TestManyHeld: more requests than a PG admits at a time are all answered.
func TestManyHeld(t *testing.T) {
	c, g := gatedCluster(t)
	g.set(true)
	var chs []<-chan *wire.MOSDOpReply
	for range 3 * maxOps {
		chs = append(chs, c.cl.start(c.cl.message("a", wire.Op{Code: wire.OpAppend, Data: wire.DataOf([]byte("x"))})))
	}
	done := make(chan bool)
	go func() {
		for {
			select {
			case <-done:
				return
			default:
				g.set(false)
				time.Sleep(time.Millisecond)
			}
		}
	}()
	for _, ch := range chs {
		want(t, <-ch, 0)
	}
	close(done)
	if c.osds[0].Metrics.Held.Load() == 0 {
		t.Fatal("nothing was held")
	}
	wantData(t, c.cl.op("a", read()), strings.Repeat("x", 3*maxOps))
}
