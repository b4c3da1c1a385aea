package tree

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/spirula/spirula/mds/internal/inode"
	"github.com/spirula/spirula/rados"
	"github.com/spirula/spirula/rados/radostest"
)

// successor is the model's Next.
func (w *world) successor(ino inode.Ino, from string, incl bool) string {
	best, found := "", false
	for k := range w.model[ino] {
		if (k > from || incl && k == from) && (!found || k < best) {
			best, found = k, true
		}
	}
	if !found {
		return "(end)"
	}
	return best
}

// look asks one random question and compares the answer with the model of
// that instant.
func (a *actor) look(ino inode.Ino) error {
	w, token, incl, kind := a.w, a.token(), a.IntN(2) == 0, a.IntN(4)
	after := a.Uint64N(60)
	return w.ask(func() error {
		dir := w.dirs[ino]
		switch kind {
		case 0:
			d, _, err := w.tree.Get(dir, token)
			if err == nil && !sameDentry(d, w.model[ino][token]) {
				err = fmt.Errorf("dir %d %q is %+v, want %+v", ino, token, d, w.model[ino][token])
			}
			return err
		case 1:
			data, err := w.tree.Inline(dir, token)
			if err == nil && string(data) != string(w.data[ino][token]) {
				err = fmt.Errorf("dir %d %q: inline data %q, want %q", ino, token, data, w.data[ino][token])
			}
			return err
		case 2:
			got, d, err := w.tree.Next(dir, token, incl)
			if err == nil && d == nil {
				got = "(end)"
			}
			if want := w.successor(ino, token, incl); err == nil && got != want {
				err = fmt.Errorf("dir %d: after %q (%v) comes %q, want %q", ino, token, incl, got, want)
			}
			return err
		}
		page, eof, err := w.tree.ReadDir(dir, after, 5)
		if err != nil {
			return err
		}
		var want []uint64
		for _, d := range w.model[ino] {
			if d.Seq > after {
				want = append(want, d.Seq)
			}
		}
		slices.Sort(want)
		for i, e := range page {
			if i >= len(want) || want[i] != e.Seq {
				return fmt.Errorf("dir %d: READDIR after %d gives %+v, want %v", ino, after, page, want)
			}
		}
		if eof && len(page) != len(want) || !eof && len(page) == 0 {
			return fmt.Errorf("dir %d: READDIR after %d gives %d entries, eof %v, want %d", ino, after, len(page), eof, len(want))
		}
		return nil
	})
}

// change makes one random change; what is there is decided under the mutex.
func (a *actor) change(ino inode.Ino) error {
	w, token, kind := a.w, a.token(), a.IntN(10)
	return w.ask(func() error {
		old, _, err := w.tree.Get(w.dirs[ino], token)
		if err != nil {
			return err
		}
		var d *inode.Dentry
		switch {
		case old == nil:
			d = a.dentry(w.dirs[ino].Dir.NextSeq)
		case kind < 4:
		case kind < 7:
			d = a.dentry(old.Seq)
		default:
			c, in := *old, *old.Inode
			in.Mode, in.Content.Inline = a.Uint32(), nil
			c.Inode, d = &in, &c
		}
		ev := func(w *world, pos Pos) { w.apply(pos, ino, token, d) }
		w.journal = append(w.journal, ev)
		ev(w, Pos(len(w.journal)))
		return nil
	})
}

// TestConcurrent: readers, writers and write-back at the same time, answers
// coming late and out of order, a cache that holds almost nothing.
func TestConcurrent(t *testing.T) {
	w := newWorld(t, small)
	inos := []inode.Ino{10, 11, 12}
	for _, ino := range inos {
		w.mkdir(ino)
	}
	first := &actor{rand.New(rand.NewPCG(1, 1)), w, 100}
	for range 200 {
		first.step()
	}
	w.must(w.flush(w.end()))
	w.trim()
	w.crash(2, 0)
	lat := rand.New(rand.NewPCG(9, 9))
	var latMu sync.Mutex
	w.client.(*radostest.Client).SetLatency(func(*rados.Op) time.Duration {
		latMu.Lock()
		defer latMu.Unlock()
		return time.Duration(lat.IntN(300)) * time.Microsecond
	})
	stop := make(chan struct{})
	var flusher, workers sync.WaitGroup
	flusher.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			if err := w.tree.Flush(context.Background(), w.end()); err != nil {
				t.Errorf("flush: %v", err)
				return
			}
			w.trim()
		}
	})
	for n := range uint64(6) {
		workers.Go(func() {
			a := &actor{rand.New(rand.NewPCG(n, 71)), w, 100}
			for i := range 400 {
				f := a.look
				if a.IntN(2) == 0 {
					f = a.change
				}
				if err := f(inos[a.IntN(len(inos))]); err != nil {
					t.Errorf("actor %d step %d: %v", n, i, err)
					return
				}
			}
		})
	}
	workers.Wait()
	close(stop)
	flusher.Wait()
	w.client.(*radostest.Client).SetLatency(nil)
	m := w.tree.Metrics()
	if m.Splits.Load() == 0 || !w.dirs[10].Dir.BirthLog || m.Evicted.Load() == 0 || m.Misses.Load() < 100 {
		t.Errorf("%d splits, birth log %v, %d entries dropped, %d misses: the test reached too little", m.Splits.Load(),
			w.dirs[10].Dir.BirthLog, m.Evicted.Load(), m.Misses.Load())
	}
	w.check()
	w.must(w.flush(w.end()))
	w.crash(3, 0)
	w.check()
	w.auditHeaders()
}
