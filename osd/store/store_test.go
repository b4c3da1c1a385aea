package store_test

import (
	"bytes"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/spirula/spirula/osd/disk"
	"github.com/spirula/spirula/osd/store"
	"github.com/spirula/spirula/osd/store/storetest"
	"github.com/spirula/spirula/rados/wire"
)

// small are options for a store that fits into memory and meets all its
// bounds soon.
func small() store.Options {
	return store.Options{UUID: [16]byte{1}, WalBytes: 4 << 20, GrowBytes: 8 << 20, IndexBytes: 1 << 20, BallastBytes: -1, Memory: 8 << 20}
}

func newStore(t testing.TB, d disk.Disk, o store.Options) *store.Store {
	t.Helper()
	if err := store.Mkfs(d, o); err != nil {
		t.Fatal(err)
	}
	return openStore(t, d, o)
}

func openStore(t testing.TB, d disk.Disk, o store.Options) *store.Store {
	t.Helper()
	s, err := store.Open(d, o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestRandom runs random transactions on store and model and compares, also
// after the store was closed and opened again.
func TestRandom(t *testing.T) {
	t.Parallel()
	for seed := range seeds(4) {
		d := disk.NewMem()
		o := small()
		if seed%2 == 1 {
			o.Memory = 64 << 10 // nothing stays in a cache, every image waits for room
		}
		s := newStore(t, d, o)
		m := storetest.NewModel(storetest.ModelOptions{Inline: true})
		r := storetest.NewRandom(seed, 1)
		r.MaxSize = 600_000
		for range 4 {
			q := s.NewSequencer()
			var wg sync.WaitGroup
			for i := range 100 {
				tx := r.Txn()
				errM := m.Queue(nil, tx, nil)
				wg.Add(1)
				errS := s.Queue(q, tx, func(err error) {
					if err != nil {
						t.Error(err)
					}
					wg.Done()
				})
				if errM != nil || errS != nil {
					t.Fatalf("seed %d: store %v, model %v", seed, errS, errM)
				}
				storetest.Release(tx)
				readLater(t, &wg, s, m, r.Object(i%r.Objects))
				if i%40 == 0 {
					if diff := r.Compare(s, m); diff != "" {
						t.Fatalf("seed %d: %s", seed, diff)
					}
				}
			}
			wg.Wait()
			if diff := r.Compare(s, m); diff != "" {
				t.Fatalf("seed %d: %s", seed, diff)
			}
			fsck(t, s, "before close")
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			s = openStore(t, d, o)
			if diff := r.Compare(s, m); diff != "" {
				t.Fatalf("seed %d, opened again: %s", seed, diff)
			}
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// readLater pins what an object holds now and reads it a moment later, when
// it may hold something else or be gone.
func readLater(t *testing.T, wg *sync.WaitGroup, s, m storetest.Objects, o store.ObjectID) {
	p, err := s.Pin(o, 0, store.MaxObject)
	want, errM := m.Read(o, 0, store.MaxObject)
	if wire.ErrnoOf(err) != wire.ErrnoOf(errM) {
		t.Errorf("%v: pin %v, model %v", o, err, errM)
	}
	if err != nil || errM != nil {
		return
	}
	wg.Add(1)
	go func() {
		defer wg.Done()
		defer p.Close()
		defer want.Release()
		time.Sleep(time.Millisecond)
		got, err := p.Read()
		if err != nil {
			t.Error(err)
		} else if !bytes.Equal(got.AppendTo(nil), want.Bytes()) {
			t.Errorf("%v: the pinned content changed", o)
		}
		got.Release()
	}()
}

// TestFormat lets the log be filled with zeros while it is written to, and
// looks that neither disturbs the other.
func TestFormat(t *testing.T) {
	t.Parallel()
	d := disk.NewMem()
	o := small().WithFormatBytes(256 << 10)
	o.Fatal = func(error) {} // the first one loses its disk
	o.WalBytes = 24 << 20
	s := newStore(t, d, o)
	m := storetest.NewModel(storetest.ModelOptions{Inline: true})
	r := storetest.NewRandom(5, 1)
	q := s.NewSequencer()
	for range 400 {
		tx := r.Txn()
		m.Queue(nil, tx, nil)
		done := make(chan error, 1)
		if err := s.Queue(q, tx, func(err error) { done <- err }); err != nil {
			t.Fatal(err)
		}
		<-done
		storetest.Release(tx)
	}
	// Leave it without a clean end: the log alone has the newest.
	time.Sleep(time.Second)
	d2 := d.Crash(newRand(3))
	s.Close()
	s = openStore(t, d2, o)
	if diff := r.Compare(s, m); diff != "" {
		t.Fatal(diff)
	}
	fsck(t, s, "after the crash")
	time.Sleep(time.Second)
	s.Close()
	s = openStore(t, d2, o)
	if !s.Formatted() {
		t.Error("the log is not formatted after two seconds")
	}
	s.Close()
}

func newRand(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, 1)) }
