package storetest

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/spirula/spirula/osd/store"
	"github.com/spirula/spirula/rados/wire"
)

// Run puts an implementation through the contract of package store. open
// gives an empty one, which Run closes.
func Run(t *testing.T, open func(t *testing.T) Objects) {
	tests := []struct {
		name string
		f    func(*testing.T, *fixture)
	}{
		{"Absent", testAbsent},
		{"Sizes", testSizes},
		{"Overwrite", testOverwrite},
		{"Holes", testHoles},
		{"Truncate", testTruncate},
		{"Clone", testClone},
		{"CloneOmap", testCloneOmap},
		{"Xattrs", testXattrs},
		{"Omap", testOmap},
		{"OmapMany", testOmapMany},
		{"Meta", testMeta},
		{"List", testList},
		{"AllOrNothing", testAllOrNothing},
		{"Bounds", testBounds},
		{"Order", testOrder},
		{"Pinned", testPinned},
		{"Statfs", testStatfs},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := open(t)
			f := &fixture{t: t, Objects: s, seq: s.NewSequencer()}
			tt.f(t, f)
			f.wait()
			rep, err := s.Fsck(store.FsckOptions{Deep: true})
			if err != nil || len(rep.Problems) > 0 {
				t.Errorf("fsck: %v %v", err, rep.Problems)
			}
			for range 2 {
				if err := s.Close(); err != nil {
					t.Error(err)
				}
			}
			if err := s.Queue(f.seq, new(store.Txn), nil); wire.ErrnoOf(err) != wire.ESHUTDOWN {
				t.Errorf("Queue after Close gives %v", err)
			}
		})
	}
}

// fixture is a store under test with the usual moves.
type fixture struct {
	Objects
	t   *testing.T
	seq *store.Sequencer
	wg  sync.WaitGroup
}

// do queues a transaction made by f.
func (f *fixture) do(make func(*store.Txn)) {
	f.t.Helper()
	if err := f.try(make); err != nil {
		f.t.Fatal(err)
	}
}

func (f *fixture) try(make func(*store.Txn)) error {
	t := new(store.Txn)
	make(t)
	f.wg.Add(1)
	err := f.Queue(f.seq, t, func(err error) {
		if err != nil {
			f.t.Error(err)
		}
		f.wg.Done()
	})
	if err != nil {
		f.wg.Done()
	}
	return err
}

// wait waits until all is durable.
func (f *fixture) wait() { f.wg.Wait() }

// read gives a range as bytes.
func (f *fixture) read(o store.ObjectID, off, n uint64) []byte {
	f.t.Helper()
	d, err := f.Read(o, off, n)
	if err != nil {
		f.t.Fatal(err)
	}
	defer d.Release()
	return d.AppendTo(nil)
}

// holds fails the test unless the object's content is want.
func (f *fixture) holds(o store.ObjectID, want []byte) {
	f.t.Helper()
	got := f.read(o, 0, store.MaxObject)
	if !bytes.Equal(got, want) {
		i := 0
		for i < min(len(got), len(want)) && got[i] == want[i] {
			i++
		}
		f.t.Fatalf("%v: %d bytes, want %d; they differ from %d on", o, len(got), len(want), i)
	}
}

func (f *fixture) fails(want wire.Errno, err error) {
	f.t.Helper()
	if wire.ErrnoOf(err) != want {
		f.t.Errorf("got %v, want %v", err, want)
	}
}

func obj(name string) store.ObjectID {
	o := store.ObjectID{Shard: wire.NoShard, Gen: store.NoGen}
	o.Pool, o.Name, o.Snap = 3, name, wire.NoSnap
	for _, c := range name {
		o.Hash = o.Hash*31 + uint32(c)
	}
	return o
}

func snapOf(name string, id wire.SnapID) store.ObjectID {
	o := obj(name)
	o.Snap = id
	return o
}

// fill gives n bytes that differ by seed and place.
func fill(n int, seed byte) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i>>12) ^ byte(i)*7 ^ seed
	}
	return b
}

func testAbsent(t *testing.T, f *fixture) {
	o := obj("absent")
	_, err := f.Read(o, 0, 10)
	f.fails(wire.ENOENT, err)
	_, err = f.Pin(o, 0, 10)
	f.fails(wire.ENOENT, err)
	_, err = f.Stat(o)
	f.fails(wire.ENOENT, err)
	_, err = f.Xattr(o, "x")
	f.fails(wire.ENOENT, err)
	_, err = f.Xattrs(o)
	f.fails(wire.ENOENT, err)
	_, err = f.OmapHeader(o)
	f.fails(wire.ENOENT, err)
	_, err = f.OmapGet(o, []string{"k"})
	f.fails(wire.ENOENT, err)
	_, _, err = f.OmapList(o, "", "", 1, true)
	f.fails(wire.ENOENT, err)
	_, err = f.Extents(o)
	f.fails(wire.ENOENT, err)
	f.fails(wire.ENOENT, f.try(func(t *store.Txn) { t.Clone(o, obj("copy")) }))
	// These need no object and make none.
	f.do(func(t *store.Txn) {
		t.Remove(o)
		t.Zero(o, 0, 100)
		t.RmXattr(o, "x")
		t.OmapRm(o, []string{"k"})
		t.OmapRmRange(o, "a", "z")
		t.OmapClear(o)
	})
	_, err = f.Stat(o)
	f.fails(wire.ENOENT, err)
	f.do(func(t *store.Txn) { t.Touch(o) })
	f.holds(o, nil)
	f.do(func(t *store.Txn) { t.Remove(o) })
	_, err = f.Stat(o)
	f.fails(wire.ENOENT, err)
}

// testSizes writes objects of all sizes around the bounds between the ways
// of a write.
func testSizes(t *testing.T, f *fixture) {
	for _, n := range []int{1, 2047, 2048, 2049, 4095, 4096, 4097, 32767, 32768, 32769, 36864, 36865, 40000, 262143, 262144, 262145, 1 << 20, 3<<20 + 17} {
		o, want := obj(fmt.Sprint("size", n)), fill(n, byte(n))
		f.do(func(t *store.Txn) { t.Write(o, 0, wire.CopyData(want)) })
		f.holds(o, want)
		if st, err := f.Stat(o); err != nil || st.Size != uint64(n) {
			t.Errorf("size is %d, %v, want %d", st.Size, err, n)
		}
		if got := f.read(o, uint64(n), 1); len(got) != 0 {
			t.Errorf("%d bytes behind the end", len(got))
		}
		if got := f.read(o, uint64(n)-1, 100); !bytes.Equal(got, want[n-1:]) {
			t.Errorf("last byte of %d is %x", n, got)
		}
	}
}

func testOverwrite(t *testing.T, f *fixture) {
	o, want := obj("over"), fill(700_000, 1)
	f.do(func(t *store.Txn) { t.Write(o, 0, wire.CopyData(want)) })
	for i, w := range []struct{ off, n int }{{0, 1}, {4095, 2}, {8192, 4096}, {262100, 100}, {300_000, 200_000}, {699_990, 500}, {1, 700_000}, {12288, 32768}} {
		b := fill(w.n, byte(i+10))
		f.do(func(t *store.Txn) { t.Write(o, uint64(w.off), wire.CopyData(b)) })
		if w.off+w.n > len(want) {
			want = append(want, make([]byte, w.off+w.n-len(want))...)
		}
		copy(want[w.off:], b)
		f.holds(o, want)
	}
	// Several steps of one transaction over the same blocks.
	f.do(func(t *store.Txn) {
		t.Write(o, 100, wire.CopyData([]byte("first")))
		t.Write(o, 102, wire.CopyData([]byte("second")))
		t.Zero(o, 104, 2)
		t.Write(o, 0, wire.CopyData(fill(50, 3)))
	})
	copy(want[100:], "first")
	copy(want[102:], "second")
	clear(want[104:106])
	copy(want, fill(50, 3))
	f.holds(o, want)
}

func testHoles(t *testing.T, f *fixture) {
	o := obj("holes")
	f.do(func(t *store.Txn) { t.Write(o, 1_000_000, wire.CopyData([]byte("end"))) })
	want := append(make([]byte, 1_000_000), "end"...)
	f.holds(o, want)
	full := fill(600_000, 5)
	f.do(func(t *store.Txn) { t.Write(o, 100_000, wire.CopyData(full)) })
	copy(want[100_000:], full)
	f.holds(o, want)
	f.do(func(t *store.Txn) { t.Zero(o, 150_001, 300_000) })
	clear(want[150_001:450_001])
	f.holds(o, want)
	f.do(func(t *store.Txn) { t.Zero(o, 999_000, 1<<40) }) // keeps the size
	clear(want[999_000:])
	f.holds(o, want)
}

func testTruncate(t *testing.T, f *fixture) {
	o, want := obj("trunc"), fill(500_000, 7)
	f.do(func(t *store.Txn) { t.Write(o, 0, wire.CopyData(want)) })
	for _, n := range []int{499_999, 300_001, 600_000, 262_144, 262_145, 5000, 4096, 1000, 3000, 0, 100_000, 7} {
		f.do(func(t *store.Txn) { t.Truncate(o, uint64(n)) })
		if n <= len(want) {
			want = want[:n]
		} else {
			// What was cut off must not come back.
			want = append(want[:len(want):len(want)], make([]byte, n-len(want))...)
		}
		f.holds(o, want)
	}
	f.do(func(t *store.Txn) { t.Truncate(obj("fresh"), 5000) })
	f.holds(obj("fresh"), make([]byte, 5000))
}

func testClone(t *testing.T, f *fixture) {
	head, want := obj("head"), fill(300_000, 9)
	f.do(func(t *store.Txn) {
		t.Write(head, 0, wire.CopyData(want))
		t.SetXattrs(head, wire.KV{Key: "v", Value: []byte("1")})
	})
	var olds [][]byte
	for i := range 5 {
		olds = append(olds, bytes.Clone(want))
		b := fill(50_000, byte(20+i))
		f.do(func(t *store.Txn) {
			t.Clone(head, snapOf("head", wire.SnapID(i+1)))
			t.Write(head, uint64(i*30_000), wire.CopyData(b))
			t.Write(head, 290_000, wire.CopyData([]byte{byte(i)}))
			t.SetXattrs(head, wire.KV{Key: "v", Value: []byte(fmt.Sprint(i + 2))})
		})
		copy(want[i*30_000:], b)
		want[290_000] = byte(i)
	}
	f.holds(head, want)
	check := func() {
		t.Helper()
		for i, old := range olds {
			if old == nil {
				continue
			}
			f.holds(snapOf("head", wire.SnapID(i+1)), old)
			if v, err := f.Xattr(snapOf("head", wire.SnapID(i+1)), "v"); err != nil || string(v) != fmt.Sprint(i+1) {
				t.Errorf("clone %d has v=%q, %v", i+1, v, err)
			}
		}
	}
	check()
	f.do(func(t *store.Txn) { t.Remove(snapOf("head", 3)) })
	olds[2] = nil
	check()
	f.do(func(t *store.Txn) { t.Remove(head) })
	check()
	// A clone over something that is there, and written to while shared.
	f.do(func(t *store.Txn) {
		t.Clone(snapOf("head", 1), snapOf("head", 2))
		t.Write(snapOf("head", 2), 5000, wire.CopyData([]byte("mine")))
		t.SetXattrs(snapOf("head", 2), wire.KV{Key: "v", Value: []byte("2")})
	})
	olds[1] = bytes.Clone(olds[0])
	copy(olds[1][5000:], "mine")
	check()
	for i := range olds {
		f.do(func(t *store.Txn) { t.Remove(snapOf("head", wire.SnapID(i+1))) })
	}
}

func testCloneOmap(t *testing.T, f *fixture) {
	a, b := obj("a"), obj("b")
	f.do(func(t *store.Txn) {
		t.OmapSet(a, []wire.KV{{Key: "x", Value: []byte("1")}, {Key: "y", Value: []byte("2")}})
		t.OmapHeader(a, []byte("head"))
		t.OmapSet(b, []wire.KV{{Key: "old"}})
	})
	// The change after the clone is the source's alone.
	f.do(func(t *store.Txn) {
		t.Clone(a, b)
		t.OmapSet(a, []wire.KV{{Key: "z", Value: []byte("3")}})
		t.OmapRm(a, []string{"x"})
	})
	wantRows(t, f, a, "y=2 z=3")
	wantRows(t, f, b, "x=1 y=2")
	if h, err := f.OmapHeader(b); err != nil || string(h) != "head" {
		t.Errorf("header of the clone is %q, %v", h, err)
	}
}

// wantRows compares an omap with "key=value key=value".
func wantRows(t *testing.T, f *fixture, o store.ObjectID, want string) {
	t.Helper()
	kvs, more, err := f.OmapList(o, "", "", -1, true)
	if err != nil || more {
		t.Fatal(more, err)
	}
	var got []string
	for _, kv := range kvs {
		got = append(got, kv.Key+"="+string(kv.Value))
	}
	if s := strings.Join(got, " "); s != want {
		t.Errorf("%v: omap is %q, want %q", o, s, want)
	}
}

func testAllOrNothing(t *testing.T, f *fixture) {
	o := obj("kept")
	f.do(func(t *store.Txn) { t.Write(o, 0, wire.CopyData(fill(100_000, 1))) })
	err := f.try(func(t *store.Txn) {
		t.Write(o, 0, wire.CopyData(fill(100_000, 2)))
		t.SetXattrs(o, wire.KV{Key: "x"})
		t.Clone(o, obj("clone"))
		t.OmapSet(o, []wire.KV{{Key: "k"}})
		t.Clone(obj("absent"), obj("copy"))
	})
	f.fails(wire.ENOENT, err)
	f.holds(o, fill(100_000, 1))
	if kvs, err := f.Xattrs(o); err != nil || len(kvs) != 0 {
		t.Errorf("xattrs %v, %v", kvs, err)
	}
	_, err = f.Stat(obj("clone"))
	f.fails(wire.ENOENT, err)
	wantRows(t, f, o, "")
}

func testBounds(t *testing.T, f *fixture) {
	o := obj("bounds")
	f.fails(wire.EFBIG, f.try(func(t *store.Txn) { t.Write(o, store.MaxObject, wire.CopyData([]byte("x"))) }))
	f.fails(wire.EFBIG, f.try(func(t *store.Txn) { t.Write(o, 1<<63, wire.CopyData([]byte("x"))) }))
	f.fails(wire.EFBIG, f.try(func(t *store.Txn) { t.Truncate(o, store.MaxObject+1) }))
	f.fails(wire.EINVAL, f.try(func(t *store.Txn) { t.Zero(o, 10, 1<<64-5) }))
	f.fails(wire.EINVAL, f.try(func(t *store.Txn) { t.Clone(o, o) }))
	f.fails(wire.EFBIG, f.try(func(t *store.Txn) { t.SetXattrs(o, wire.KV{Key: "x", Value: make([]byte, store.MaxXattr+1)}) }))
	f.fails(wire.ENAMETOOLONG, f.try(func(t *store.Txn) { t.Touch(obj(strings.Repeat("n", store.MaxName+1))) }))
	f.fails(wire.ENAMETOOLONG, f.try(func(t *store.Txn) { t.OmapSet(o, []wire.KV{{Key: strings.Repeat("k", store.MaxRowKey+1)}}) }))
	f.fails(wire.EINVAL, f.try(func(t *store.Txn) { t.Ops = append(t.Ops, store.Op{Kind: 99}) }))
	_, err := f.Stat(o)
	f.fails(wire.ENOENT, err)
	f.do(func(t *store.Txn) {
		t.Truncate(o, store.MaxObject)
		t.Write(o, store.MaxObject-3, wire.CopyData([]byte("end")))
		t.Touch(obj(strings.Repeat("\x00", store.MaxName)))
	})
	if got := f.read(o, store.MaxObject-4, 10); string(got) != "\x00end" {
		t.Errorf("the last bytes are %q", got)
	}
	if d, err := f.Read(o, 1<<63, 1<<63); err != nil || d.Len() != 0 {
		t.Errorf("far behind the end: %d bytes, %v", d.Len(), err)
	}
	f.do(func(t *store.Txn) { t.Remove(o) })
}

// testOrder looks that done functions come in the order of Queue, large and
// small transactions mixed, from several sequencers at once.
func testOrder(t *testing.T, f *fixture) {
	var wg sync.WaitGroup
	errs := make([]error, 4)
	for w := range 4 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			q := f.NewSequencer()
			o := obj(fmt.Sprint("order", w))
			var mu sync.Mutex
			next := 0
			var done sync.WaitGroup
			for i := range 40 {
				tx := new(store.Txn)
				tx.Write(o, 0, wire.CopyData(fill(1+i%3*40_000, byte(i))))
				done.Add(1)
				err := f.Queue(q, tx, func(err error) {
					mu.Lock()
					defer mu.Unlock()
					if err != nil || next != i {
						errs[w] = errors.Join(errs[w], fmt.Errorf("done of %d came as number %d: %v", i, next, err))
					}
					next++
					done.Done()
				})
				if err != nil {
					errs[w] = err
					return
				}
				// Visible at once.
				d, err := f.Read(o, 0, 1)
				if err != nil || d.Bytes()[0] != fill(1, byte(i))[0] {
					errs[w] = errors.Join(errs[w], fmt.Errorf("transaction %d can't be seen: %v", i, err))
				}
				d.Release()
			}
			done.Wait()
		}()
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			t.Error(err)
		}
	}
}

// testPinned changes and removes what a pinned read is to give.
func testPinned(t *testing.T, f *fixture) {
	o, want := obj("pinned"), fill(400_000, 1)
	f.do(func(t *store.Txn) { t.Write(o, 0, wire.CopyData(want)) })
	p, err := f.Pin(o, 1000, 1<<30)
	if err != nil {
		t.Fatal(err)
	}
	if p.Len() != len(want)-1000 {
		t.Errorf("%d bytes pinned, want %d", p.Len(), len(want)-1000)
	}
	f.do(func(t *store.Txn) { t.Write(o, 5000, wire.CopyData(fill(100, 2))) })
	f.do(func(t *store.Txn) { t.Write(o, 100_000, wire.CopyData(fill(200_000, 3))) })
	f.do(func(t *store.Txn) { t.Remove(o) })
	for i := range 20 {
		f.do(func(t *store.Txn) { t.Write(obj(fmt.Sprint("other", i)), 0, wire.CopyData(fill(100_000, 4))) })
	}
	f.wait()
	d, err := p.Read()
	if err != nil || !bytes.Equal(d.AppendTo(nil), want[1000:]) {
		t.Errorf("the pinned bytes changed: %v", err)
	}
	d.Release()
	p.Close()
	p.Close()
	if p, err := f.Pin(obj("other1"), 0, 10); err != nil {
		t.Error(err)
	} else {
		p.Close() // never read
	}
}

func testStatfs(t *testing.T, f *fixture) {
	before := f.Statfs()
	f.do(func(t *store.Txn) { t.Write(obj("a"), 0, wire.CopyData(fill(1<<20, 1))) })
	f.do(func(t *store.Txn) { t.Clone(obj("a"), obj("b")) })
	f.wait()
	st := f.Statfs()
	if st.Objects != before.Objects+2 || st.Data < before.Data+1<<20 || st.Total <= 0 || st.Free <= 0 || st.Full {
		t.Errorf("before %+v, after %+v", before, st)
	}
	ext, err := f.Extents(obj("b"))
	if err != nil || len(ext) != 1 || ext[0] != (wire.Extent{Len: 1 << 20}) {
		t.Errorf("extents %v, %v", ext, err)
	}
}
