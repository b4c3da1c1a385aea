package tree

import (
	"bytes"
	"context"
	"errors"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"github.com/spirula/spirula/mds/internal/inode"
	"github.com/spirula/spirula/rados"
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

// TestReplayOfNewDirectory: what replay makes and removes again may be in
// RADOS all the same.
func TestReplayOfNewDirectory(t *testing.T) {
	w := newWorld(t, small)
	a := &actor{rand.New(rand.NewPCG(1, 91)), w, 100}
	w.mkdir(10)
	w.put(10, "x", a.dentry(3))
	w.put(10, "y", a.dentry(4))
	w.must(w.tree.Flush(context.Background(), w.end()))
	w.put(10, "x", nil)
	w.trimmed = 0
	w.crash(2, 0)
	w.check()
	w.must(w.flush(w.end()))
	w.trim()
	w.crash(3, 0)
	w.check()
}

// TestLoadOvertaken: what a Load read before an entry was removed, and its
// removal written back and forgotten, doesn't bring the entry back.
func TestLoadOvertaken(t *testing.T) {
	for _, how := range []string{"get", "next"} {
		w := newWorld(t, Options{})
		a := &actor{rand.New(rand.NewPCG(1, 92)), w, 100}
		w.mkdir(10)
		w.put(10, "x", a.dentry(3))
		w.put(10, "y", a.dentry(4))
		w.must(w.flush(w.end()))
		w.trim()
		w.crash(2, 0)

		reading, goOn := make(chan struct{}), make(chan struct{})
		var once sync.Once
		w.client.(*radostest.Client).SetObserve(func(_ int, op *rados.Op, _ *rados.Reply) {
			if op.Ops[0].Code == wire.OpOmapGetValsByKeys {
				once.Do(func() {
					close(reading)
					<-goOn
				})
			}
		})
		question := func() error {
			if how == "get" {
				_, _, err := w.tree.Get(w.dirs[10], "x")
				return err
			}
			_, _, err := w.tree.Next(w.dirs[10], "x", true)
			return err
		}
		done := make(chan error)
		go func() { done <- w.ask(question) }()
		<-reading
		w.put(10, "x", nil)
		w.must(w.flush(w.end()))
		close(goOn)
		w.must(<-done)
		w.check()
	}
}

// TestLogGoesAhead: a dentry's end is written back because of an older change
// of it; the birth log, changed only by the end, has to go with it, or replay
// never learns which number went away.
func TestLogGoesAhead(t *testing.T) {
	w := newWorld(t, Options{BirthLogEntries: 4})
	a := &actor{rand.New(rand.NewPCG(1, 93)), w, 100}
	w.mkdir(10)
	for i := range 6 {
		w.put(10, benchToken(i), a.dentry(uint64(3+i)))
	}
	w.must(w.flush(w.end()))
	w.put(10, "more", a.dentry(9)) // a flush that finds it large
	w.must(w.flush(w.end()))
	w.trim()
	if !w.dirs[10].Dir.BirthLog {
		t.Fatal("no birth log")
	}
	old := w.model[10][benchToken(2)]
	c, in := *old, *old.Inode
	in.Mode, in.Content.Inline = 0o600, nil
	c.Inode = &in
	w.put(10, benchToken(2), &c)
	upTo := w.end()
	w.put(10, benchToken(2), nil)
	w.must(w.flush(upTo))
	w.trim()
	w.crash(2, 0)
	w.check()
	w.must(w.flush(w.end()))
	w.trim()
	w.crash(3, 0)
	w.check()
}
