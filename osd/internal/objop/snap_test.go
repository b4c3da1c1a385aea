package objop

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/spirula/spirula/osd/internal/record"
	"github.com/spirula/spirula/rados/wire"
)

func ctx(seq wire.SnapID, snaps ...wire.SnapID) wire.SnapContext {
	return wire.SnapContext{Seq: seq, Snaps: snaps}
}

func (w *world) at(name string, c wire.SnapContext, ops ...wire.Op) *Outcome {
	w.t.Helper()
	return w.run(name, Request{Ops: ops, Snap: wire.NoSnap, SnapC: c})
}

func (w *world) trim(name string, s wire.SnapID) {
	w.t.Helper()
	was := w.load(name)
	w.apply(name, Trim(&was, s))
}

// TestSnapExample is the worked example of the rules.
func TestSnapExample(t *testing.T) {
	w := newWorld(t)
	w.at("o", ctx(0), full("A"))
	w.at("o", ctx(3, 3), full("B"))
	w.at("o", ctx(6, 6, 5, 3), full("C"))
	check := func(snap wire.SnapID, want string) {
		t.Helper()
		if got := w.text("o", snap); got != want {
			t.Fatalf("at %d: %q, want %q", snap, got, want)
		}
	}
	check(2, "-")
	check(3, "A")
	check(5, "B")
	check(6, "B")
	check(7, "C")
	w.at("o", ctx(8, 8, 6, 3), del)
	check(8, "C")
	check(wire.NoSnap, "-")
	list := w.run("o", Request{Ops: []wire.Op{code(wire.OpListSnaps)}, Snap: wire.SnapDir}).Results[0]
	if list.SnapSeq != 8 || len(list.Clones) != 3 || list.Clones[2].Clone != 8 || list.Clones[1].Snaps[0] != 5 {
		t.Fatalf("%+v", list)
	}
	w.trim("o", 5)
	check(6, "B")
	w.trim("o", 6)
	if o := w.load("o"); len(o.SnapSet.Clones) != 2 {
		t.Fatalf("%+v", o.SnapSet)
	}
	check(3, "A")
	w.trim("o", 3)
	w.trim("o", 8)
	if o := w.load("o"); o.Stored {
		t.Fatalf("the whiteout stays: %+v", o)
	}
}

func TestSnapFacts(t *testing.T) {
	w := newWorld(t)
	w.at("o", ctx(0), full("0"))
	w.at("o", ctx(1000, 1000), full("1"))
	w.at("o", ctx(1001, 1001, 1000), full("2"))
	for snap, want := range map[wire.SnapID]string{999: "-", 1000: "0", 1001: "1", 1002: "2", 1 << 40: "2"} {
		if got := w.text("o", snap); got != want {
			t.Errorf("at %d: %q, want %q", snap, got, want)
		}
	}
	if r := w.at("o", ctx(5, 5), setx("a", "b")).Result; r != 0 {
		t.Fatalf("an older context: %d", r)
	}
	if n := len(w.load("o").SnapSet.Clones); n != 2 {
		t.Fatalf("an older context made a clone: %d", n)
	}
	old := Request{Ops: []wire.Op{full("3")}, Snap: wire.NoSnap, SnapC: ctx(5, 5), Flags: wire.FlagOrderSnap}
	if r := w.run("o", old).Result; r != -85 {
		t.Fatalf("ORDERSNAP: %d", r)
	}
	for _, bad := range []wire.SnapContext{ctx(5, 6), ctx(6, 5, 6), ctx(6, 6, 6), ctx(wire.NoSnap, wire.NoSnap)} {
		if r := w.at("o", bad, full("x")).Result; r != -22 {
			t.Fatalf("%v: %d", bad, r)
		}
	}
	// An xattr alone makes a clone, and the clone keeps its own.
	w.at("o", ctx(2000, 2000), setx("a", "c"))
	r := w.run("o", Request{Ops: []wire.Op{getx("a")}, Snap: 2000})
	if r.Result != 0 || string(r.Results[0].Value) != "b" {
		t.Fatalf("clone's xattr: %d %q", r.Result, r.Results[0].Value)
	}
	// Writing to a snapshot is refused.
	if r := w.run("o", Request{Ops: []wire.Op{full("x")}, Snap: 1000}).Result; r != -22 {
		t.Fatalf("write at a snapshot: %d", r)
	}
	// Removing the head leaves the clone; CREATE exclusive comes over it.
	w.at("o", ctx(2000, 2000), del)
	if got := w.text("o", 1000); got != "0" {
		t.Fatalf("after the delete: %q", got)
	}
	if r := w.at("o", ctx(2000, 2000), code(wire.OpRmXattr)).Result; r != -22 {
		t.Fatalf("RMXATTR without a name: %d", r)
	}
	if r := w.at("o", ctx(2000, 2000), wire.Op{Code: wire.OpRmXattr, Name: "a"}).Result; r != -2 {
		t.Fatalf("RMXATTR on a whiteout: %d", r)
	}
	// A comparison sees an object without xattrs, and the vector makes it.
	if r := w.at("o", ctx(2000, 2000), cmpU("a", wire.CmpEQ, 1), setx("a", "1")).Result; r != -125 {
		t.Fatalf("a comparison that fails on a whiteout: %d", r)
	}
	if r := w.at("o", ctx(2000, 2000), cmpU("a", wire.CmpEQ, 0), setx("a", "1")).Result; r != 0 {
		t.Fatalf("a comparison on a whiteout: %d", r)
	}
	w.at("o", ctx(2000, 2000), del)
	if r := w.at("o", ctx(2000, 2000), createExcl, full("n")).Result; r != 0 {
		t.Fatalf("CREATE exclusive over a whiteout: %d", r)
	}
	if got := w.text("o", wire.NoSnap) + w.text("o", 1000); got != "n0" {
		t.Fatalf("after CREATE: %q", got)
	}
}

// TestOverlap: what a clone shares with the head is all that was not written.
func TestOverlap(t *testing.T) {
	w := newWorld(t)
	w.at("o", ctx(0), full("0123456789"))
	w.at("o", ctx(1, 1), wr(3, "xx"))
	w.at("o", ctx(1, 1), wire.Op{Code: wire.OpTruncate, Off: 8})
	list := w.run("o", Request{Ops: []wire.Op{code(wire.OpListSnaps)}, Snap: wire.SnapDir}).Results[0]
	want := []wire.CloneSnap{{Clone: 1, Snaps: []wire.SnapID{1}, Size: 10, Overlap: []wire.Extent{{Off: 0, Len: 3}, {Off: 5, Len: 3}}},
		{Clone: wire.NoSnap, Size: 8}}
	if d := cmp.Diff(list.Clones, want); d != "" {
		t.Fatal(d)
	}
	w.at("o", ctx(1, 1), wire.Op{Code: wire.OpRollback, Num: 1})
	if o := w.load("o"); cmp.Diff(o.SnapSet.Clones[0].Overlap, want[0].Overlap) != "" {
		t.Fatalf("after a rollback: %+v", o.SnapSet)
	}
}

func TestRollback(t *testing.T) {
	w := newWorld(t)
	back := func(s wire.SnapID) wire.Op { return wire.Op{Code: wire.OpRollback, Num: uint64(s)} }
	w.at("o", ctx(1, 1), full("A"), setx("x", "a"), omapSet("k", "a"))
	w.at("o", ctx(2, 2, 1), full("BB"), setx("x", "b"), omapSet("k", "b"))
	w.at("o", ctx(3, 3, 2, 1), back(2))
	r := w.op("o", rd, getx("x"), wire.Op{Code: wire.OpOmapGetValsByKeys, Keys: []string{"k"}}).Results
	if string(r[0].Data.Bytes())+string(r[1].Value)+string(r[2].KVs[0].Value) != "Aaa" {
		t.Fatalf("%+v", r)
	}
	if got := w.text("o", 3); got != "BB" {
		t.Fatalf("the head before the rollback: %q", got)
	}
	w.at("o", ctx(3, 3, 2, 1), back(9))
	if got := w.text("o", wire.NoSnap); got != "A" {
		t.Fatalf("back to the head: %q", got)
	}
	if out := w.at("o", ctx(3, 3, 2, 1), back(1)); out.Result != 0 || w.text("o", wire.NoSnap) != "-" {
		t.Fatalf("back to before the birth: %d", out.Result)
	}
}

// state is an object as the twin knows it: nil is not there.
type state struct {
	data  string
	xattr string
	omap  string
}

// twin keeps whole copies of the object for every snapshot that was taken.
type twin struct {
	head  *state
	snaps map[wire.SnapID]*state
}

func (s *state) String() string {
	if s == nil {
		return "-"
	}
	return fmt.Sprintf("%q x=%q k=%q", s.data, s.xattr, s.omap)
}

func (w *world) state(name string, snap wire.SnapID) *state {
	out := w.run(name, Request{Snap: snap, Ops: []wire.Op{rd, failOK(getx("x")),
		{Code: wire.OpOmapGetValsByKeys, Keys: []string{"k"}}, stat}})
	if out.Result == -2 {
		return nil
	}
	if out.Result != 0 {
		w.t.Fatalf("read at %d: %d", snap, out.Result)
	}
	s := &state{data: string(out.Results[0].Data.Bytes()), xattr: string(out.Results[1].Value)}
	if kvs := out.Results[2].KVs; len(kvs) == 1 {
		s.omap = string(kvs[0].Value)
	}
	if out.Results[3].Size != uint64(len(s.data)) {
		w.t.Fatalf("at %d: stat says %d, data %d", snap, out.Results[3].Size, len(s.data))
	}
	return s
}

// step does one random operation in the vector and in the twin.
func (s *state) step(rng *rand.Rand) (wire.Op, *state) {
	n := &state{}
	if s != nil {
		*n = *s
	}
	fill := func(off, n int) string { return strings.Repeat(string(rune('a'+rng.IntN(26))), n)[:n] }
	off, size := rng.IntN(40), 1+rng.IntN(20)
	put := func(off int, p string) {
		b := []byte(n.data)
		if len(b) < off+len(p) {
			b = append(b, make([]byte, off+len(p)-len(b))...)
		}
		copy(b[off:], p)
		n.data = string(b)
	}
	switch rng.IntN(8) {
	case 0, 1:
		p := fill(off, size)
		put(off, p)
		return wr(uint64(off), p), n
	case 2:
		p := fill(0, size)
		n.data = p
		return full(p), n
	case 3:
		if s != nil {
			b := append([]byte(n.data), make([]byte, 40)...)
			n.data = string(b[:off])
		} else {
			n = nil
		}
		return wire.Op{Code: wire.OpTruncate, Off: uint64(off)}, n
	case 4:
		if s == nil {
			return wire.Op{Code: wire.OpZero, Off: uint64(off), Len: uint64(size)}, nil
		}
		if off+size >= len(n.data) {
			n.data = n.data[:min(off, len(n.data))]
		} else {
			put(off, string(make([]byte, size)))
		}
		return wire.Op{Code: wire.OpZero, Off: uint64(off), Len: uint64(size)}, n
	case 5:
		n.xattr = fill(0, 3)
		return setx("x", n.xattr), n
	case 6:
		n.omap = fill(0, 3)
		return omapSet("k", n.omap), n
	}
	p := fill(0, size)
	put(len(n.data), p)
	return wire.Op{Code: wire.OpAppend, Data: str(p)}, n
}

// TestTwin compares random histories of vectors, snapshots, rollbacks,
// deletes and trims with whole copies, at every snapshot.
func TestTwin(t *testing.T) {
	for seed := range uint64(60) {
		rng := rand.New(rand.NewPCG(seed, 1))
		w := newWorld(t)
		tw := twin{snaps: map[wire.SnapID]*state{}}
		var c wire.SnapContext
		for range 80 {
			switch k := rng.IntN(20); {
			case k < 5: // a snapshot
				c.Seq += 1 + wire.SnapID(rng.IntN(3))
				c.Snaps = append([]wire.SnapID{c.Seq}, c.Snaps...)
				tw.snaps[c.Seq] = tw.head
			case k == 5 && len(c.Snaps) > 0: // a removed one
				i := rng.IntN(len(c.Snaps))
				s := c.Snaps[i]
				c.Snaps = slices.Delete(slices.Clone(c.Snaps), i, i+1)
				delete(tw.snaps, s)
				w.trim("o", s)
			case k == 6 && len(c.Snaps) > 0:
				s := c.Snaps[rng.IntN(len(c.Snaps))]
				if r := w.at("o", c, wire.Op{Code: wire.OpRollback, Num: uint64(s)}).Result; r != 0 {
					t.Fatalf("seed %d: rollback %d", seed, r)
				}
				tw.head = tw.snaps[s]
			case k == 7 && tw.head != nil:
				if r := w.at("o", c, del).Result; r != 0 {
					t.Fatalf("seed %d: delete %d", seed, r)
				}
				tw.head = nil
			default:
				var ops []wire.Op
				next := tw.head
				for range 1 + rng.IntN(3) {
					var op wire.Op
					op, next = next.step(rng)
					ops = append(ops, op)
				}
				if rng.IntN(6) == 0 { // fails as a whole
					ops = append(ops, createExcl, createExcl)
					if r := w.at("o", c, ops...).Result; r != -17 {
						t.Fatalf("seed %d: result %d", seed, r)
					}
					break
				}
				if r := w.at("o", c, ops...).Result; r != 0 {
					t.Fatalf("seed %d: result %d", seed, r)
				}
				tw.head = next
			}
			w.compare(seed, &tw, c)
		}
	}
}

func (w *world) compare(seed uint64, tw *twin, c wire.SnapContext) {
	w.t.Helper()
	if got := w.state("o", wire.NoSnap); got.String() != tw.head.String() {
		w.t.Fatalf("seed %d: head %v, want %v", seed, got, tw.head)
	}
	for s, want := range tw.snaps {
		if got := w.state("o", s); got.String() != want.String() {
			w.t.Fatalf("seed %d: at %d %v, want %v\n%+v", seed, s, got, want, w.load("o").SnapSet)
		}
	}
	// What the overlaps say is shared must be equal.
	o := w.load("o")
	data := func(id wire.SnapID) string {
		d, err := w.m.Read(o.id(id), 0, 1<<20)
		if err != nil {
			w.t.Fatalf("seed %d: %v", seed, err)
		}
		return string(d.Bytes())
	}
	for i, cl := range o.SnapSet.Clones {
		newer := wire.NoSnap
		if i+1 < len(o.SnapSet.Clones) {
			newer = o.SnapSet.Clones[i+1].ID
		}
		a, b := data(cl.ID), data(newer)
		if uint64(len(a)) != cl.Size {
			w.t.Fatalf("seed %d: clone %d has %d bytes, the snap set says %d", seed, cl.ID, len(a), cl.Size)
		}
		for _, x := range cl.Overlap {
			if x.Off+x.Len > uint64(len(a)) || x.Off+x.Len > uint64(len(b)) || a[x.Off:x.Off+x.Len] != b[x.Off:x.Off+x.Len] {
				w.t.Fatalf("seed %d: clone %d and %d do not share %v", seed, cl.ID, newer, x)
			}
		}
	}
}

func TestExtents(t *testing.T) {
	for seed := range uint64(500) {
		rng := rand.New(rand.NewPCG(seed, 2))
		var a, b [64]bool
		list := func(m *[64]bool) (x []wire.Extent) {
			for i := 0; i < 64; i++ {
				if m[i] {
					if n := len(x); n > 0 && x[n-1].Off+x[n-1].Len == uint64(i) {
						x[n-1].Len++
					} else {
						x = append(x, wire.Extent{Off: uint64(i), Len: 1})
					}
				}
			}
			return x
		}
		for i := range 64 {
			a[i], b[i] = rng.IntN(3) > 0, rng.IntN(3) > 0
		}
		cut := wire.Extent{Off: rng.Uint64N(60), Len: 1 + rng.Uint64N(10)}
		var both, left [64]bool
		for i := range 64 {
			both[i] = a[i] && b[i]
			left[i] = a[i] && (uint64(i) < cut.Off || uint64(i) >= cut.Off+cut.Len)
		}
		if d := cmp.Diff(intersect(list(&a), list(&b)), list(&both)); d != "" {
			t.Fatalf("seed %d: intersect\n%s", seed, d)
		}
		if d := cmp.Diff(subtract(list(&a), cut), list(&left)); d != "" {
			t.Fatalf("seed %d: subtract\n%s", seed, d)
		}
	}
}

// TestInfoVersions reads a record of the first version, which knew no
// truncations and watches.
func TestInfoVersions(t *testing.T) {
	want := Info{Version: wire.EVersion{Epoch: 3, Version: 4}, UserVersion: 5, MTime: 6, Size: 7, HasSnapSet: true}
	e := record.Begin(1, 64)
	e.U8(infoHasSnapSet)
	e.EVersion(want.Version)
	e.EVersion(want.Prior)
	e.U64(want.UserVersion)
	e.ReqID(want.LastReq)
	e.I64(int64(want.MTime))
	e.U64(want.Size)
	if got, err := DecodeInfo(e.Seal()); err != nil || !reflect.DeepEqual(got, want) {
		t.Fatalf("%+v, %v", got, err)
	}
	want.TruncateSeq, want.TruncateSize = 8, 9
	want.Watches = []Watch{{Client: asker(1).Client, Cookie: 2, Timeout: 30, Addr: asker(1).Addr}}
	if got, err := DecodeInfo(want.Encode()); err != nil || !reflect.DeepEqual(got, want) {
		t.Fatalf("%+v, %v", got, err)
	}
}

func FuzzDecode(f *testing.F) {
	i := Info{Version: wire.EVersion{Epoch: 3, Version: 9}, UserVersion: 9, MTime: 5, Size: 77, HasSnapSet: true,
		LastReq: wire.ReqID{Client: wire.EntityName{Type: 8, Num: 4100}, TID: 3, Inc: 1}}
	s := SnapSet{Seq: 6, Clones: []Clone{{ID: 3, Snaps: []wire.SnapID{3}, Size: 4, Overlap: []wire.Extent{{Off: 0, Len: 4}}}}}
	f.Add(i.Encode())
	f.Add(s.Encode())
	f.Add([]byte{1, 0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, p []byte) {
		if i, err := DecodeInfo(p); err == nil {
			if j, err := DecodeInfo(i.Encode()); err != nil || !reflect.DeepEqual(i, j) {
				t.Fatalf("%+v %+v %v", i, j, err)
			}
		} else if wire.ErrnoOf(err) != wire.EIO {
			t.Fatal(err)
		}
		if s, err := DecodeSnapSet(p); err == nil {
			if u, err := DecodeSnapSet(s.Encode()); err != nil || cmp.Diff(s, u) != "" {
				t.Fatalf("%+v %+v %v", s, u, err)
			}
		}
	})
}
