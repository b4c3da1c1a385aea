package tree

import (
	"bytes"
	"context"
	"errors"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/spirula/spirula/mds/internal/inode"
	"github.com/spirula/spirula/rados/radostest"
	"github.com/spirula/spirula/rados/wire"
)

// TestCrashAtEveryWrite cuts write-back off after each of its writes, with
// and without the answer, replays, and looks at everything.
func TestCrashAtEveryWrite(t *testing.T) {
	for seed := range uint64(3) {
		cuts := 0
		for n := 0; ; n++ {
			w := newWorld(t, small)
			a := &actor{rand.New(rand.NewPCG(seed, 31)), w, 60}
			w.mkdir(10)
			w.mkdir(11)
			for range 60 + 60*int(seed) {
				a.step()
			}
			w.must(w.flush(w.end()))
			w.trim()
			for range 60 {
				a.step()
			}
			c := w.client.(*radostest.Client)
			if n == 0 {
				c.FreezeAfter(0, false, wire.ESHUTDOWN)
			} else {
				c.FreezeAfter(n, n%2 == 0, wire.ESHUTDOWN)
			}
			err := w.flush(w.end())
			w.trim()
			w.crash(2, a.IntN(20))
			w.check()
			w.must(w.flush(w.end()))
			w.trim()
			w.crash(3, 0)
			w.check()
			w.auditHeaders()
			if t.Failed() {
				t.Fatalf("seed %d, cut off after %d writes", seed, n)
			}
			if err == nil && !c.Frozen() {
				cuts = n
				break
			}
		}
		if cuts < 10 {
			t.Fatalf("seed %d: only %d writes to cut at", seed, cuts)
		}
	}
}

// TestDeposed: once a newer holder has written an object, nothing of an older
// one's write-back takes effect on it, and what reached objects before was in
// the journal.
func TestDeposed(t *testing.T) {
	for seed := range uint64(20) {
		w := newWorld(t, small)
		a := &actor{rand.New(rand.NewPCG(seed, 41)), w, 60}
		w.mkdir(10)
		w.mkdir(11)
		for range 150 {
			a.step()
		}
		w.must(w.flush(w.end()))
		w.trim()
		for range 80 {
			a.step()
		}
		old, oldDirs := w.tree, maps.Clone(w.dirs)
		end := w.end()
		w.waited = end // the new holder has found all of it
		// The old holder's tree stands still, but for what it writes.
		old.o.Dir = func(ino inode.Ino) (*inode.Inode, error) { return oldDirs[ino], nil }
		fenced := errors.New("the journal is fenced")
		old.o.Durable = func(_ context.Context, pos Pos) error {
			if pos > end {
				return fenced
			}
			return nil
		}
		old.o.SplitBegin = func(context.Context, Split) error { return fenced }
		old.o.BirthLogged = func(context.Context, inode.Ino) error { return fenced }

		w.crash(2, 0)
		if seed%2 == 0 {
			// Late, but before the new holder writes: no harm.
			_ = old.Flush(context.Background(), end)
		}
		for range 30 {
			a.step()
		}
		w.must(w.flush(w.end()))
		before := w.pool.Clone()
		if seed%2 == 1 {
			err := old.Flush(context.Background(), end)
			if !errors.Is(err, ErrDeposed) {
				t.Fatalf("seed %d: write-back of a deposed holder: %v", seed, err)
			}
			if err := old.Flush(context.Background(), end); !errors.Is(err, ErrDeposed) {
				t.Fatalf("seed %d: and once more: %v", seed, err)
			}
			if !before.Equal(w.pool) {
				t.Fatalf("seed %d: a deposed holder changed something", seed)
			}
		}
		w.check()
		w.trim()
		w.crash(3, 0)
		w.check()
	}
}

// TestPurge: nothing of a directory is left, however far its splits and its
// birth log had come.
func TestPurge(t *testing.T) {
	w := newWorld(t, small)
	a := &actor{rand.New(rand.NewPCG(1, 51)), w, 500}
	w.mkdir(10)
	for range 800 {
		a.step()
	}
	w.must(w.flush(w.end()))
	for _, token := range slices.Sorted(maps.Keys(w.model[10])) {
		w.put(10, token, nil)
	}
	in := w.dirs[10]
	if len(in.Dir.Frags) == 1 || !in.Dir.BirthLog {
		t.Fatalf("the directory stayed small: %+v", in.Dir)
	}
	w.mu.Lock()
	w.tree.Forget(10)
	p, dirty := w.tree.OldestDirty()
	w.mu.Unlock()
	if !dirty || p == 0 {
		t.Error("changes of a directory whose removal isn't durable may be trimmed")
	}
	for range 2 {
		w.must(w.tree.PurgeDir(context.Background(), in))
		w.must(w.tree.PurgeMap(context.Background(), mapName))
	}
	var left bytes.Buffer
	w.pool.Dump(&left)
	for _, name := range []string{"\"d.", "\"c.", "\"t.", mapName} {
		if bytes.Contains(left.Bytes(), []byte(name)) {
			t.Fatalf("objects are left:\n%s", left.String())
		}
	}
}

// TestManyFragments: the list of fragments goes over from the inode to t.INO
// and back into memory after a restart.
func TestManyFragments(t *testing.T) {
	o := small
	o.CacheBytes = 200 << 10
	w := newWorld(t, o)
	a := &actor{rand.New(rand.NewPCG(1, 61)), w, 1000}
	w.mkdir(10)
	for range 40 {
		for range 50 {
			a.step()
		}
		w.must(w.flush(w.end()))
		w.trim()
	}
	if in := w.dirs[10]; !in.Dir.FragTable || in.Dir.Frags != nil {
		t.Fatalf("no fragment table: %+v", in.Dir)
	}
	w.check()
	w.crash(2, 0)
	for range 100 {
		a.step()
	}
	w.check()
	w.crash(3, 0)
	w.must(w.flush(w.end()))
	w.check()
	w.auditHeaders()
}
