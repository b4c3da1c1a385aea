package clustermap

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"
	"testing"

	"github.com/spirula/spirula/crush"
	"github.com/spirula/spirula/rados/wire"
)

const now = wire.Time(1_800_000_000e9)

func addrs(port uint16) []wire.Addr {
	return []wire.Addr{{Type: wire.AddrMsgr2, Nonce: 7, IP: netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), port)}}
}

// cluster makes the map of a new cluster: n OSDs on as many hosts, up and in,
// with one pool "data" of three replicas and 32 PGs.
func cluster(t testing.TB, n int32) *OSDMap {
	t.Helper()
	var devices []crush.BootstrapDevice
	for i := range n {
		devices = append(devices, crush.BootstrapDevice{ID: i, Host: "h" + string(rune('a'+i)), Weight: 0x10000})
	}
	c, err := crush.Bootstrap(devices)
	if err != nil {
		t.Fatal(err)
	}
	m := New(wire.FSID{1}, now, c, n)
	inc := m.NewIncremental(now)
	for i := range n {
		inc.BringUp(m, i, wire.FSID{2, byte(i)}, addrs(6800+uint16(i)), nil, nil, nil)
	}
	inc.AddPool(m, "data", NewPool(3, 32, crush.RuleByHost, now))
	return next(t, m, inc)
}

// next applies inc, through its encoding, and checks that the sealed checksum
// holds on the other side.
func next(t testing.TB, m *OSDMap, inc *Incremental) *OSDMap {
	t.Helper()
	leader, err := m.Seal(inc)
	if err != nil {
		t.Fatal(err)
	}
	got, err := DecodeIncremental(inc.Encode())
	if err != nil {
		t.Fatal(err)
	}
	n, err := m.Apply(got)
	if err != nil {
		t.Fatal(err)
	}
	if err := n.VerifyFull(got); err != nil {
		t.Fatal(err)
	}
	full, err := DecodeOSDMap(leader.Encode())
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(full.Encode(), n.Encode()) {
		t.Fatal("the full map and the applied increment differ")
	}
	return n
}

func TestBootstrap(t *testing.T) {
	m := cluster(t, 5)
	id, ok := m.PoolByName("data")
	if !ok || id != 1 || m.Pool(id).LastChange != m.Epoch || m.NumUp() != 5 || m.NumIn() != 5 {
		t.Fatalf("pool %d %v, %d up, %d in", id, ok, m.NumUp(), m.NumIn())
	}
	if a := m.Addr(2); a != addrs(6802)[0] || m.ClusterAddr(2) != a {
		t.Errorf("address of osd.2: %v", a)
	}
	for name, want := range map[string]wire.Errno{"data": 0, "none": wire.ENOENT} {
		pool, _ := m.PoolByName(name)
		pg, hash, err := m.ObjectPG(pool, "", "", "obj1")
		if wire.ErrnoOf(err) != want {
			t.Errorf("pool %q: %v", name, err)
		}
		if err == nil && (hash != 0x6cf8deff || pg.Seed != hash%32) {
			t.Errorf("obj1: hash %x, %v", hash, pg)
		}
	}
	for seed := range uint32(32) {
		mp := m.Map(wire.PGID{Pool: 1, Seed: seed})
		if len(mp.Up) != 3 || mp.UpPrimary != mp.Up[0] || mp.ActingPrimary != mp.UpPrimary {
			t.Errorf("pg 1.%x: %+v", seed, mp)
		}
	}
	for _, pg := range []wire.PGID{{Pool: 1, Seed: 32}, {Pool: 2, Seed: 0}, {Pool: -1, Seed: 0}} {
		if mp := m.Map(pg); mp.Up != nil || mp.UpPrimary != -1 || mp.ActingPrimary != -1 {
			t.Errorf("pg %v: %+v", pg, mp)
		}
	}
	pg, hash, err := m.LocatorPG(wire.ObjectLocator{Pool: 1, Hash: 0x123}, "any")
	if err != nil || hash != 0x123 || pg.Seed != 3 {
		t.Errorf("given hash: %v %x %v", pg, hash, err)
	}
}

// TestSingleHost checks the rule for clusters on one machine.
func TestSingleHost(t *testing.T) {
	c, err := crush.Bootstrap([]crush.BootstrapDevice{{ID: 0, Weight: 0x10000}, {ID: 1, Weight: 0x10000}, {ID: 2, Weight: 0x10000}})
	if err != nil {
		t.Fatal(err)
	}
	m := New(wire.FSID{1}, now, c, 3)
	inc := m.NewIncremental(now)
	for i := range int32(3) {
		inc.BringUp(m, i, wire.FSID{}, addrs(1), nil, nil, nil)
	}
	byOSD := inc.AddPool(m, "osd", NewPool(3, 8, crush.RuleByOSD, now))
	byHost := inc.AddPool(m, "host", NewPool(3, 8, crush.RuleByHost, now))
	m = next(t, m, inc)
	for seed := range uint32(8) {
		if mp := m.Map(wire.PGID{Pool: byOSD, Seed: seed}); len(mp.Up) != 3 {
			t.Errorf("by OSD: %+v", mp)
		}
		if mp := m.Map(wire.PGID{Pool: byHost, Seed: seed}); len(mp.Up) != 1 {
			t.Errorf("by host: %+v", mp)
		}
	}
}

// TestHistory walks one OSD and one PG through their states.
func TestHistory(t *testing.T) {
	m := cluster(t, 4)
	pg := wire.PGID{Pool: 1, Seed: 5}
	start := m.Map(pg)
	primary := start.UpPrimary

	inc := m.NewIncremental(now + 1e9)
	inc.MarkDown(m, primary)
	down := next(t, m, inc)
	if down.IsUp(primary) || !down.Exists(primary) || down.Info(primary).DownAt != down.Epoch {
		t.Errorf("after going down: %+v", down.OSDs[primary])
	}
	if mp := down.Map(pg); slices.Contains(mp.Up, primary) || len(mp.Up) != 2 {
		t.Errorf("mapping with the primary down: %+v", mp)
	}
	if mp := m.Map(pg); mp.UpPrimary != primary {
		t.Error("the old map changed")
	}

	inc = down.NewIncremental(now + 2e9)
	inc.NewWeight[primary] = 0
	inc.NewPGTemp[pg] = []int32{start.Up[2], start.Up[1]}
	out := next(t, down, inc)
	if mp := out.Map(pg); len(mp.Up) != 3 || !slices.Equal(mp.Acting, []int32{start.Up[2], start.Up[1]}) ||
		mp.ActingPrimary != start.Up[2] {
		t.Errorf("mapping with pg_temp: %+v", mp)
	}

	inc = out.NewIncremental(now + 3e9)
	inc.NewPGTemp[pg] = nil
	inc.NewPrimTemp[pg] = start.Up[1]
	inc.BringUp(out, primary, wire.FSID{}, addrs(1), nil, nil, nil)
	inc.NewWeight[primary] = WeightIn
	back := next(t, out, inc)
	if mp := back.Map(pg); !slices.Equal(mp.Up, start.Up) || mp.ActingPrimary != start.Up[1] || len(back.PGTemp) != 0 {
		t.Errorf("mapping after the return: %+v, want up %v", mp, start.Up)
	}
	if back.Info(primary).UpFrom != back.Epoch {
		t.Errorf("up_from %d", back.Info(primary).UpFrom)
	}

	inc = back.NewIncremental(now + 4e9)
	inc.NewState[primary] = StateExists
	gone := next(t, back, inc)
	if gone.Exists(primary) || gone.Addr(primary) != (wire.Addr{}) || gone.OSDs[primary].UUID != (wire.FSID{}) {
		t.Errorf("after removal: %+v", gone.OSDs[primary])
	}
}

// TestApplyRefuses lists increments that do not fit the map.
func TestApplyRefuses(t *testing.T) {
	m := cluster(t, 3)
	for name, spoil := range map[string]func(*Incremental){
		"cluster":   func(i *Incremental) { i.FSID[0]++ },
		"epoch":     func(i *Incremental) { i.Epoch++ },
		"osd":       func(i *Incremental) { i.NewWeight[3] = 1 },
		"negative":  func(i *Incremental) { i.NewState[-1] = 0 },
		"shrunk":    func(i *Incremental) { i.NewMaxOSD = 2; i.NewUpThru[2] = 1 },
		"huge":      func(i *Incremental) { i.NewMaxOSD = MaxOSDs + 1 },
		"crush":     func(i *Incremental) { i.Crush = []byte("no map") },
		"full":      func(i *Incremental) { i.FullMap = []byte("no map") },
		"up client": func(i *Incremental) { i.NewUpClient[9] = nil },
	} {
		inc := m.NewIncremental(now)
		spoil(inc)
		if n, err := m.Apply(inc); n != nil || wire.ErrnoOf(err) != wire.EINVAL {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestCacheKept compares remembered mappings after random increments with
// those of the same map decoded anew, which remembers nothing.
func TestCacheKept(t *testing.T) {
	const seed = 3
	rng := rand.New(rand.NewPCG(seed, seed))
	m := cluster(t, 6)
	inc := m.NewIncremental(now)
	inc.AddPool(m, "second", NewPool(2, 40, crush.RuleByHost, now))
	m = next(t, m, inc)
	kept := 0
	for step := range 150 {
		for id, p := range m.Pools {
			for s := range p.PGNum {
				m.Map(wire.PGID{Pool: id, Seed: s})
			}
		}
		inc := m.NewIncremental(now)
		osd := rng.Int32N(6)
		pg := wire.PGID{Pool: 1 + rng.Int64N(2), Seed: rng.Uint32N(32)}
		switch rng.IntN(9) {
		case 0:
			inc.NewState[osd] = StateUp
		case 1:
			inc.NewWeight[osd] = rng.Uint32N(3) * 0x8000
		case 2:
			inc.NewAffinity[osd] = rng.Uint32N(3) * 0x8000
		case 3:
			inc.NewPGTemp[pg] = []int32{osd}
		case 4:
			inc.NewUpmapItems[pg] = []Pair{{osd, rng.Int32N(6)}}
		case 5:
			p := m.Pools[pg.Pool].Clone()
			p.SnapSeq++
			inc.NewPools[pg.Pool] = p
		case 6:
			p := m.Pools[pg.Pool].Clone()
			p.PGNum += rng.Uint32N(2)
			p.PGPNum = p.PGNum
			inc.NewPools[pg.Pool] = p
		case 7:
			inc.NewUpThru[osd] = m.Epoch
		case 8:
			inc.OldUpmapItems = []wire.PGID{pg}
			inc.NewPrimTemp[pg] = osd
		}
		n := next(t, m, inc)
		fresh, err := DecodeOSDMap(n.Encode())
		if err != nil {
			t.Fatal(err)
		}
		for id, p := range n.Pools {
			if n.placement.pools[id] == m.placement.pools[id] {
				kept++
			}
			for s := range p.PGNum {
				pg := wire.PGID{Pool: id, Seed: s}
				a, b := n.Map(pg), fresh.Map(pg)
				if !slices.Equal(a.Up, b.Up) || !slices.Equal(a.Acting, b.Acting) ||
					a.UpPrimary != b.UpPrimary || a.ActingPrimary != b.ActingPrimary {
					t.Fatalf("seed %d step %d pg %v: %+v, anew %+v", seed, step, pg, a, b)
				}
			}
		}
		m = n
	}
	if kept < 50 {
		t.Errorf("only %d pools kept their mappings", kept)
	}
}

func TestMapConcurrently(t *testing.T) {
	m := loadOM(t, "om-temp-upmap")
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for id, p := range m.Pools {
				for s := range p.PGNum {
					m.Map(wire.PGID{Pool: id, Seed: s})
				}
			}
		})
	}
	wg.Wait()
}

func TestMapAllocatesNothing(t *testing.T) {
	m := cluster(t, 5)
	if n := testing.AllocsPerRun(100, func() {
		pg, _, _ := m.ObjectPG(1, "namespace", "", "an object of some length")
		if m.Map(pg).ActingPrimary < 0 {
			t.Error("no primary")
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkObjectToOSDs(b *testing.B) {
	m := cluster(b, 5)
	b.ReportAllocs()
	for b.Loop() {
		pg, _, _ := m.ObjectPG(1, "", "", "10000000abc.00000001")
		if m.Map(pg).ActingPrimary < 0 {
			b.Fatal("no primary")
		}
	}
}

func TestBlocklist(t *testing.T) {
	m := cluster(t, 3)
	inc := m.NewIncremental(now)
	one := addrs(5000)[0]
	host := wire.Addr{Type: wire.AddrAny, IP: netip.MustParseAddrPort("10.0.0.9:0")}
	inc.NewBlocklist[one] = now + 10
	inc.NewBlocklist[host] = now + 10
	for port := range uint16(20) {
		inc.NewBlocklist[addrs(1000 - 37*port)[0]] = now
	}
	m = next(t, m, inc)
	other := one
	other.Nonce++
	onHost := wire.Addr{Type: wire.AddrMsgr2, Nonce: 3, IP: netip.MustParseAddrPort("10.0.0.9:777")}
	for _, c := range []struct {
		a    wire.Addr
		at   wire.Time
		want bool
	}{{one, now, true}, {one, now + 10, false}, {other, now, false}, {onHost, now, true}, {onHost, now + 10, false}} {
		if got := m.IsBlocklisted(c.a, c.at); got != c.want {
			t.Errorf("%v at %d: %v", c.a, c.at-now, got)
		}
	}
	inc = m.NewIncremental(now)
	inc.OldBlocklist = []wire.Addr{one}
	if m = next(t, m, inc); m.IsBlocklisted(one, now) {
		t.Error("removed entry still counts")
	}
}

func TestRemovedSnapsQueue(t *testing.T) {
	m := cluster(t, 3)
	step := func(removed, purged SnapSet) {
		inc := m.NewIncremental(now)
		if removed != nil {
			inc.NewRemovedSnaps[1] = removed
		}
		if purged != nil {
			inc.NewPurgedSnaps[1] = purged
		}
		m = next(t, m, inc)
	}
	step(SnapSet{{3, 1}}, nil)
	step(SnapSet{{4, 2}}, nil)
	if q := m.RemovedSnapsQueue[1]; !slices.Equal(q, SnapSet{{3, 3}}) {
		t.Errorf("queue %v", q)
	}
	step(nil, SnapSet{{4, 1}})
	if q := m.RemovedSnapsQueue[1]; !slices.Equal(q, SnapSet{{3, 1}, {5, 1}}) {
		t.Errorf("queue %v", q)
	}
	step(nil, SnapSet{{1, 9}})
	if _, ok := m.RemovedSnapsQueue[1]; ok || len(m.NewRemovedSnaps) != 0 {
		t.Errorf("queue %v", m.RemovedSnapsQueue)
	}
}

// TestSnapSetTwin compares SnapSet with a set of numbers.
func TestSnapSetTwin(t *testing.T) {
	const seed, space = 11, 40
	rng := rand.New(rand.NewPCG(seed, seed))
	random := func() (SnapSet, [space]bool) {
		var s SnapSet
		var twin [space]bool
		for range rng.IntN(5) {
			r := SnapRange{wire.SnapID(rng.IntN(space - 8)), uint64(rng.IntN(8))}
			s = s.Union(SnapSet{r})
			for i := range r.Len {
				twin[uint64(r.Start)+i] = true
			}
		}
		return s, twin
	}
	for range 3000 {
		a, ta := random()
		b, tb := random()
		union, diff := a.Union(b), a.Subtract(b)
		for i := range space {
			id := wire.SnapID(i)
			if a.Contains(id) != ta[i] || union.Contains(id) != (ta[i] || tb[i]) || diff.Contains(id) != (ta[i] && !tb[i]) {
				t.Fatalf("seed %d: %v, %v: union %v, difference %v, at %d", seed, a, b, union, diff, i)
			}
		}
		for i := 1; i < len(union); i++ {
			if union[i-1].end() >= uint64(union[i].Start) {
				t.Fatalf("seed %d: ranges touch: %v", seed, union)
			}
		}
	}
	end := SnapSet{{wire.NoSnap, 1 << 63}}.Union(nil)
	if !end.Contains(wire.NoSnap) || end.Size() != 1 {
		t.Errorf("range past the end: %v", end)
	}
}

// TestSplitBits compares with the PG each hash falls into.
func TestSplitBits(t *testing.T) {
	for n := uint32(1); n < 70; n++ {
		p := NewPool(3, n, 0, now)
		for h := range uint32(1024) {
			seed := p.Seed(h)
			b := p.SplitBits(seed)
			mask := uint32(1)<<b - 1
			if h&mask != seed&mask {
				t.Fatalf("pg_num %d: hash %x is in %x, %d bits", n, h, seed, b)
			}
		}
	}
}

// TestTruncated decodes prefixes, and maps with one byte changed: always an
// error, for the checksum covers all.
func TestTruncated(t *testing.T) {
	full := cluster(t, 3).Encode()
	for n := range full {
		if _, err := DecodeOSDMap(full[:n]); wire.ErrnoOf(err) != wire.EINVAL {
			t.Fatalf("prefix of %d: %v", n, err)
		}
	}
	for i := range full {
		full[i] ^= 0x40
		if m, err := DecodeOSDMap(full); err == nil {
			t.Fatalf("byte %d changed: accepted, %v", i, m.Epoch)
		}
		full[i] ^= 0x40
	}
}

// reseal puts the right checksum into a map that was tampered with.
func reseal(b []byte, hole int) {
	binary.LittleEndian.PutUint32(b[hole:], mapCRC(b, hole))
}

func FuzzDecodeOSDMap(f *testing.F) {
	for _, name := range omVectors {
		f.Add(readFile(f, name+".osdmap"))
	}
	f.Add(wireVector(f, "OSDMap.full"))
	f.Add(cluster(f, 3).Encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) < 10 {
			return
		}
		b = bytes.Clone(b)
		binary.LittleEndian.PutUint32(b[2:], uint32(len(b)-6))
		reseal(b, len(b)-4)
		m, err := DecodeOSDMap(b)
		if err != nil {
			return
		}
		once := m.Encode()
		again, err := DecodeOSDMap(once)
		if err != nil {
			t.Fatalf("own encoding refused: %v", err)
		}
		if !bytes.Equal(again.Encode(), once) {
			t.Fatal("encoding is not stable")
		}
		// One mapping may take up to crush.MaxWork; the fuzzer has no time
		// for that.
		m.Crush.Tunables.ChooseTotalTries = min(m.Crush.Tunables.ChooseTotalTries, 3)
		for _, r := range m.Crush.Rules {
			for i := 0; r != nil && i < len(r.Steps); i++ {
				r.Steps[i].Arg1 = min(r.Steps[i].Arg1, 5)
			}
		}
		for id, p := range m.Pools {
			m.Map(wire.PGID{Pool: id, Seed: p.PGNum - 1})
		}
	})
}

func FuzzDecodeIncremental(f *testing.F) {
	f.Add(wireVector(f, "OSDMap.Incremental.e26"))
	f.Add(wireVector(f, "OSDMap.Incremental.e27"))
	m := cluster(f, 3)
	inc := m.NewIncremental(now)
	inc.NewState[1] = StateExists
	inc.NewPGTemp[wire.PGID{Pool: 1}] = []int32{2}
	inc.NewXInfo[2] = OSDXInfo{}
	f.Add(inc.Encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) < 14 {
			return
		}
		b = bytes.Clone(b)
		binary.LittleEndian.PutUint32(b[2:], uint32(len(b)-6))
		reseal(b, len(b)-8)
		inc, err := DecodeIncremental(b)
		if err != nil {
			return
		}
		once := inc.Encode()
		again, err := DecodeIncremental(once)
		if err != nil {
			t.Fatalf("own encoding refused: %v", err)
		}
		if !bytes.Equal(again.Encode(), once) {
			t.Fatal("encoding is not stable")
		}
		inc.FSID, inc.Epoch = m.FSID, m.Epoch+1
		if n, err := m.Apply(inc); err == nil {
			n.Map(wire.PGID{Pool: 1, Seed: 1})
			n.Encode()
		}
	})
}

func FuzzDecodeMonMap(f *testing.F) {
	f.Add(wireVector(f, "MonMap"))
	f.Add(NewMonMap(wire.FSID{1}, now, []MonInfo{{Name: "a", Addrs: addrs(3300)}, {Name: "b"}}).Encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := DecodeMonMap(b)
		if err != nil {
			return
		}
		if _, err := DecodeMonMap(m.Encode()); err != nil {
			t.Fatalf("own encoding refused: %v", err)
		}
	})
}
