package osd

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/spirula/spirula/osd/disk"
	"github.com/spirula/spirula/osd/internal/objop"
	"github.com/spirula/spirula/osd/internal/pg"
	"github.com/spirula/spirula/osd/store"
	"github.com/spirula/spirula/rados/clustermap"
	"github.com/spirula/spirula/rados/msgr"
	"github.com/spirula/spirula/rados/wire"
)

// grow sets a pool's pg_num and pgp_num; pgp 0 leaves the latter.
func (c *cluster) grow(pgs, pgp uint32) {
	c.mon.change(func(m *clustermap.OSDMap, inc *clustermap.Incremental) {
		p := m.Pool(c.pool).Clone()
		p.PGNum = pgs
		if pgp != 0 {
			p.PGPNum = pgp
		}
		inc.NewPools[c.pool] = p
	})
}

// wantCounts compares what every primary says its PG holds with what it holds,
// and looks for rows that belong to another PG.
func (c *cluster) wantCounts() {
	c.t.Helper()
	m := c.mon.cur()
	pool := m.Pool(c.pool)
	for seed := range pool.PGNum {
		id := wire.PGID{Pool: c.pool, Seed: seed}
		w := m.Map(id)
		for _, o := range w.Acting {
			g := c.osds[o].group(id)
			g.mu.Lock()
			stats := g.core.Stats()
			g.mu.Unlock()
			found, err := g.countParts(pool.PGNum)
			if err != nil {
				c.t.Fatal(err)
			}
			if len(found) > 1 || len(found) == 1 && found[seed] == (pg.Stats{}) {
				c.t.Fatalf("pg %v on osd.%d has objects of others: %v", id, o, found)
			}
			if o == w.ActingPrimary && found[seed] != stats {
				c.t.Fatalf("pg %v on osd.%d says %+v and has %+v", id, o, stats, found[seed])
			}
			rows, _, err := c.mods[o].MetaList(g.id, "s", "t", 100000)
			if err != nil {
				c.t.Fatal(err)
			}
			for _, r := range rows {
				if h, err := pg.DecodeSnapRow(r.Value); err != nil || pool.Seed(h.Hash) != seed {
					c.t.Fatalf("pg %v on osd.%d has the snap index row of %v", id, o, h)
				}
			}
			entries, err := pg.ReadLog(c.mods[o], g.id, wire.EVersion{})
			if err != nil {
				c.t.Fatal(err)
			}
			for _, e := range entries {
				if e.Object != (wire.HObject{}) && pool.Seed(e.Object.Hash) != seed {
					c.t.Fatalf("pg %v on osd.%d has the log entry of %v", id, o, e.Object)
				}
			}
		}
	}
}

// clonesIndexed counts the rows of the snap index of all PGs that lead.
func (c *cluster) clonesIndexed(snap wire.SnapID) (n int) {
	m := c.mon.cur()
	for seed := range m.Pool(c.pool).PGNum {
		id := wire.PGID{Pool: c.pool, Seed: seed}
		rows, _, err := c.mods[m.Map(id).ActingPrimary].MetaList(wire.SPGID{PGID: id, Shard: wire.NoShard},
			pg.SnapRowPrefix(snap), pg.SnapRowPrefix(snap+1), 100000)
		if err != nil {
			c.t.Fatal(err)
		}
		n += len(rows)
	}
	return n
}

// TestSplit: after each growth objects, listings, clones, the memory of
// requests and the counts are what they were, also across restarts.
func TestSplit(t *testing.T) {
	c := newCluster(t, clusterOptions{pgs: 8})
	text := map[string]string{}
	var sent []*wire.MOSDOp
	put := func(i int) {
		name := fmt.Sprint("obj", i%300)
		m := c.cl.message(name, wire.Op{Code: wire.OpAppend, Data: wire.DataOf([]byte(fmt.Sprint(i, ".")))})
		if i >= 300 && i%3 == 0 {
			m.SnapC = wire.SnapContext{Seq: 1, Snaps: []wire.SnapID{1}}
		}
		want(t, c.cl.do(m), 0)
		text[name] += fmt.Sprint(i, ".")
		sent = append(sent, m)
	}
	for i := range 600 {
		put(i)
	}
	indexed := c.clonesIndexed(1)
	if indexed == 0 {
		t.Fatal("no clones")
	}
	for n, pgs := range []uint32{11, 32, 33, 100} {
		if n%2 == 1 { // it finds the map when it starts, epochs later
			c.kill(0)
			c.grow(pgs-1, 0)
			c.grow(pgs, pgs)
			c.start(0)
			c.waitFor("osd up", func() bool { return c.mon.cur().IsUp(0) })
		} else {
			c.grow(pgs, 0)
		}
		c.waitClean()
		c.wantCounts()
		if got := len(listAll(t, c, "", 7)); got != len(text) {
			t.Fatalf("pg_num %d: %d objects listed of %d", pgs, got, len(text))
		}
		if got := c.clonesIndexed(1); got != indexed {
			t.Fatalf("pg_num %d: %d rows of the snap index, were %d", pgs, got, indexed)
		}
		for name, want := range text {
			wantData(t, c.cl.op(name, read()), want)
		}
		for _, m := range sent[len(sent)-50:] { // finished requests come again
			again := *m
			again.Attempt, again.Flags = 1, m.Flags|wire.FlagRetry
			again.PG.PGID = c.cl.message(m.Object).PG.PGID
			want(t, c.cl.do(&again), 0)
			wantData(t, c.cl.op(m.Object, read()), text[m.Object])
		}
		for i := range 60 {
			put(1000*n + i)
		}
		if n == 2 {
			c.kill(0)
			c.start(0)
			c.waitFor("osd up", func() bool { return c.mon.cur().IsUp(0) })
			c.waitActive()
			c.wantCounts()
		}
	}
	c.mon.change(func(m *clustermap.OSDMap, inc *clustermap.Incremental) {
		inc.NewRemovedSnaps[c.pool] = clustermap.SnapSet{{Start: 1, Len: 1}}
	})
	c.waitFor("snapshot trimmed", func() bool { return c.clonesIndexed(1) == 0 })
	c.wantCounts()
}

// TestSplitUnderLoad has clients append to objects while PGs split, move and
// OSDs are killed. What was answered is there, once.
func TestSplitUnderLoad(t *testing.T) {
	splitUnderLoad(t, []uint32{3, 8, 11, 24, 32}, true)
}

// TestSplitUnclean: PGs split that are not whole, and split again.
func TestSplitUnclean(t *testing.T) {
	splitUnderLoad(t, []uint32{5, 6, 9, 13, 30}, false)
}

func splitUnderLoad(t *testing.T, steps []uint32, clean bool) {
	c := newCluster(t, clusterOptions{osds: 3, size: 2, pgs: 2})
	c.minSize(1)
	stop := make(chan struct{})
	var wg sync.WaitGroup
	texts := make([][]string, 6)
	for i := range texts {
		texts[i] = make([]string, 8)
		wg.Go(func() {
			cl := c.client(int64(5000 + i))
			rng := rand.New(rand.NewPCG(uint64(i), 11))
			for n := 0; ; n++ {
				select {
				case <-stop:
					return
				default:
				}
				k := rng.IntN(len(texts[i]))
				token := fmt.Sprintf("%d.", n)
				m := cl.message(fmt.Sprint("o", i, "_", k), wire.Op{Code: wire.OpAppend, Data: wire.DataOf([]byte(token))})
				if rng.IntN(20) == 0 {
					snap := wire.SnapID(n + 1)
					m.SnapC = wire.SnapContext{Seq: snap, Snaps: []wire.SnapID{snap}}
				}
				if r := cl.retarget(m); r.Result != 0 {
					t.Errorf("append: %d", r.Result)
					return
				}
				texts[i][k] += token
			}
		})
	}
	for round, pgs := range steps {
		time.Sleep(100 * time.Millisecond)
		pgp := uint32(0)
		if round%2 == 1 {
			pgp = pgs
		}
		if round%2 == 0 {
			c.grow(pgs, pgp)
			time.Sleep(20 * time.Millisecond)
			c.kill(round % 3)
		} else {
			c.kill(round % 3)
			c.grow(pgs, pgp)
		}
		time.Sleep(100 * time.Millisecond)
		c.start(round % 3)
		c.waitFor("osd up", func() bool { return c.mon.cur().IsUp(int32(round % 3)) })
		if !clean { // in the midst of peering and recovery
			c.grow(pgs+1, pgp)
		}
		c.waitClean()
	}
	close(stop)
	wg.Wait()
	c.waitClean()
	for i := range texts {
		for k, s := range texts[i] {
			if s != "" {
				wantData(t, c.cl.op(fmt.Sprint("o", i, "_", k), read()), s)
			}
		}
	}
	c.wantEqual()
	for _, d := range c.osds {
		d.recount(t.Context())
	}
	c.wantCounts()
}

// retarget is do for a client that sends to the PG of the newest map.
func (l *client) retarget(m *wire.MOSDOp) *wire.MOSDOpReply {
	l.c.t.Helper()
	for range 400 {
		id, _, err := l.c.mon.cur().ObjectPG(l.c.pool, "", "", m.Object)
		if err != nil {
			panic(err)
		}
		n := *m
		n.PG.PGID = id
		select {
		case r := <-l.start(&n):
			return r
		case <-time.After(50 * time.Millisecond):
		}
		m.Attempt++
		m.Flags |= wire.FlagRetry
	}
	l.c.t.Fatalf("no answer for %s", m.Object)
	return nil
}

// cutStore stops taking transactions after some: the daemon sees a store that
// fails, the disk a power cut.
type cutStore struct {
	ObjectStore
	mu   sync.Mutex
	left int // -1: no limit
}

func (s *cutStore) Queue(seq *store.Sequencer, t *store.Txn, done func(error)) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.left == 0 {
		return wire.Errorf("queue", "power cut", wire.EIO)
	}
	if s.left > 0 {
		s.left--
	}
	return s.ObjectStore.Queue(seq, t, done)
}

// TestSplitCrash cuts the power at each transaction of a split, over the real
// store on a disk that forgets what was not synced.
func TestSplitCrash(t *testing.T) {
	opts := store.Options{UUID: [16]byte{9}, WalBytes: 16 << 20, GrowBytes: 16 << 20, MaxBytes: 256 << 20,
		ReserveBytes: 4 << 20, IndexBytes: 32 << 20, Memory: 16 << 20, Fatal: func(error) {}}
	rng := rand.New(rand.NewPCG(3, 5))
	d := disk.NewMem()
	if err := store.Mkfs(d, opts); err != nil {
		t.Fatal(err)
	}
	open := func() *store.Store {
		s, err := store.Open(d, opts)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	s := open()
	cut := &cutStore{ObjectStore: s, left: -1}
	c := &cluster{t: t, mon: newFakeMon(t, 1), net: msgr.NewLocal(), mods: []ObjectStore{cut}, osds: []*OSD{nil}, fatal: func(error) {}}
	c.start(0)
	c.waitFor("osd up", func() bool { return c.mon.cur().NumUp() == 1 })
	c.pool = c.mon.addPool("p", 1, 1)
	c.waitActive()
	c.cl = c.client(4100)
	text := map[string]string{}
	pgs := uint32(1)
	for round := range 14 {
		for i := range 30 {
			name := fmt.Sprint("o", rng.IntN(40))
			m := c.cl.message(name, wire.Op{Code: wire.OpAppend, Data: wire.DataOf([]byte(fmt.Sprint(round, i, ".")))})
			m.SnapC = wire.SnapContext{Seq: wire.SnapID(round + 1), Snaps: []wire.SnapID{wire.SnapID(round + 1)}}
			want(t, c.cl.do(m), 0)
			text[name] += fmt.Sprint(round, i, ".")
		}
		cut.mu.Lock()
		cut.left = int(pgs)*(round%3) + rng.IntN(int(pgs)+1) // maps in every PG, splits, the rest of them
		cut.mu.Unlock()
		pgs += 1 + uint32(rng.IntN(4))
		c.grow(pgs, pgs)
		time.Sleep(30 * time.Millisecond)
		image := d.Crash(rng)
		c.osds[0].Close()
		s.Close()
		d = image
		s = open()
		if r, err := s.Fsck(store.FsckOptions{}); err != nil {
			t.Fatalf("round %d: fsck %+v %v", round, r, err)
		}
		cut = &cutStore{ObjectStore: s, left: -1}
		c.mods[0] = cut
		c.start(0)
		c.waitActive()
		for name, want := range text {
			wantData(t, c.cl.op(name, read()), want)
		}
		c.wantCounts()
		names := listAll(t, c, "", 5)
		slices.Sort(names)
		if len(slices.Compact(names)) != len(text) {
			t.Fatalf("round %d: %d names listed of %d", round, len(names), len(text))
		}
		rows := 0
		for snap := range wire.SnapID(round + 2) {
			rows += c.clonesIndexed(snap)
		}
		clones := 0
		for name := range text {
			o, err := objop.Load(s, c.head(name), wire.NoShard)
			if err != nil {
				t.Fatal(err)
			}
			for _, x := range o.SnapSet.Clones {
				clones += len(x.Snaps)
			}
		}
		if rows != clones {
			t.Fatalf("round %d: %d rows of the snap index for %d clones", round, rows, clones)
		}
	}
	c.osds[0].Close()
	s.Close()
}
