package osd

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/spirula/spirula/osd/disk"
	"github.com/spirula/spirula/osd/store"
	"github.com/spirula/spirula/rados/msgr"
	"github.com/spirula/spirula/rados/wire"
)

// TestStoreCrash is the daemon over the real store on a disk that forgets
// what was not synced: after each power cut what was answered is there, and a
// request without an answer is done once.
func TestStoreCrash(t *testing.T) {
	for seed := range uint64(2) {
		rng := rand.New(rand.NewPCG(seed, 5))
		opts := store.Options{UUID: [16]byte{9}, WalBytes: 16 << 20, GrowBytes: 16 << 20, MaxBytes: 256 << 20,
			ReserveBytes: 4 << 20, IndexBytes: 32 << 20, Memory: 16 << 20,
			Fatal: func(error) {}} // the power that is cut
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
		c := &cluster{t: t, mon: newFakeMon(t, 1), net: msgr.NewLocal(), mods: []ObjectStore{s}, osds: []*OSD{nil},
			fatal: func(error) {}}
		c.start(0)
		c.waitFor("osd up", func() bool { return c.mon.cur().NumUp() == 1 })
		c.pool = c.mon.addPool("p", 1, 4)
		c.waitActive()
		c.cl = c.client(4100)
		text := map[string]string{}
		var snapc wire.SnapContext
		atSnap := map[wire.SnapID]map[string]string{}
		for range 4 {
			for i := range 40 {
				name := fmt.Sprint("o", rng.IntN(5))
				if i%20 == 7 {
					snapc.Seq++
					snapc.Snaps = append([]wire.SnapID{snapc.Seq}, snapc.Snaps...)
					was := map[string]string{}
					for k, v := range text {
						was[k] = v
					}
					atSnap[snapc.Seq] = was
				}
				p := make([]byte, 1+rng.IntN(6000))
				for j := range p {
					p[j] = byte('a' + rng.IntN(26))
				}
				m := c.cl.message(name, wire.Op{Code: wire.OpAppend, Data: wire.DataOf(p)},
					wire.Op{Code: wire.OpOmapSetVals, KVs: []wire.KV{{Key: fmt.Sprint(i), Value: p[:1]}}})
				m.SnapC = snapc
				want(t, c.cl.do(m), 0)
				text[name] += string(p)
			}
			last := c.cl.message("o0", wire.Op{Code: wire.OpAppend, Data: wire.DataOf([]byte("!"))})
			last.SnapC = snapc
			c.cl.start(last)
			image := d.Crash(rng)
			c.osds[0].Close()
			s.Close()
			d = image
			s = open()
			if r, err := s.Fsck(store.FsckOptions{}); err != nil {
				t.Fatalf("seed %d: fsck %+v %v", seed, r, err)
			}
			c.mods[0] = s
			c.start(0)
			c.waitActive()
			n := *last
			n.Attempt, n.Flags = 1, n.Flags|wire.FlagRetry
			want(t, c.cl.do(&n), 0)
			text["o0"] += "!"
			for name, want := range text {
				wantData(t, c.cl.op(name, read()), want)
			}
			for id, was := range atSnap {
				for name, want := range was {
					m := c.cl.message(name, read())
					m.Snap = id
					wantData(t, c.cl.do(m), want)
				}
			}
		}
		c.osds[0].Close()
		s.Close()
	}
}

// BenchmarkOpen opens a daemon over the real store with the logs of 48 PGs
// full.
func BenchmarkOpen(b *testing.B) {
	opts := store.Options{UUID: [16]byte{9}, MaxBytes: 1 << 30, GrowBytes: 16 << 20, IndexBytes: 64 << 20, WalBytes: 64 << 20}
	d := disk.NewMem()
	if err := store.Mkfs(d, opts); err != nil {
		b.Fatal(err)
	}
	s, err := store.Open(d, opts)
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	c := &cluster{t: b, mon: newFakeMon(b, 1), net: msgr.NewLocal(), mods: []ObjectStore{s}, osds: []*OSD{nil}}
	c.start(0)
	c.waitFor("osd up", func() bool { return c.mon.cur().NumUp() == 1 })
	c.pool = c.mon.addPool("p", 1, 48)
	c.waitActive()
	c.cl = c.client(4100)
	const parallel = 64
	var chs []<-chan *wire.MOSDOpReply
	for i := range 48 * 1700 {
		chs = append(chs, c.cl.start(c.cl.message(fmt.Sprint("object-with-a-usual-name.", i%4000), wire.Op{Code: wire.OpWrite, Data: wire.DataOf([]byte("x"))})))
		if len(chs) == parallel {
			<-chs[0]
			chs = chs[1:]
		}
	}
	for _, ch := range chs {
		<-ch
	}
	c.osds[0].Close()
	b.ResetTimer()
	for range b.N {
		if _, err := New(Options{ID: 0, Store: s, Network: c.net, Mon: c.mon}); err != nil {
			b.Fatal(err)
		}
	}
}
