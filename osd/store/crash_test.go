package store_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"testing"

	"github.com/spirula/spirula/osd/disk"
	"github.com/spirula/spirula/osd/store"
	"github.com/spirula/spirula/osd/store/storetest"
	"github.com/spirula/spirula/rados/wire"
)

// soakEnv multiplies the number of seeds of the crash tests.
const soakEnv = "SPIRULA_SOAK"

func seeds(n uint64) uint64 {
	if k, err := strconv.ParseUint(os.Getenv(soakEnv), 10, 32); err == nil {
		return n * k
	}
	return n
}

// history is what one sequencer was asked to do and what it acknowledged.
type history struct {
	r     *storetest.Random
	model *storetest.Model
	txns  []*store.Txn // since model

	mu    sync.Mutex
	acked int
}

// run queues transactions until the store refuses, at most n.
func (h *history) run(s *store.Store, n int) error {
	q := s.NewSequencer()
	slots := make(chan struct{}, 6)
	var lost error
	for i := range n {
		t := h.r.Txn()
		slots <- struct{}{}
		err := s.Queue(q, t, func(err error) {
			h.mu.Lock()
			defer h.mu.Unlock()
			if err == nil && lost == nil {
				if h.acked != i {
					lost = fmt.Errorf("transaction %d done after %d", i, h.acked)
				}
				h.acked = i + 1
			}
			<-slots
		})
		if err != nil {
			// The power is off. What was large may be there or not; it is
			// not in the log, or Queue would not have failed.
			break
		}
		h.txns = append(h.txns, t)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	return lost
}

// check finds out how many transactions survived: at least those
// acknowledged, and no later one without the earlier.
func (h *history) check(s *store.Store) error {
	diff := ""
	for k := 0; k <= len(h.txns); k++ {
		if k > 0 {
			if err := h.model.Queue(nil, h.txns[k-1], nil); err != nil {
				return err
			}
		}
		if k < h.acked {
			continue
		}
		if diff = h.r.Compare(s, h.model); diff == "" {
			for _, t := range h.txns {
				storetest.Release(t)
			}
			h.txns, h.acked = nil, 0
			return nil
		}
	}
	return fmt.Errorf("no state from %d acknowledged to %d queued fits: %s", h.acked, len(h.txns), diff)
}

// TestPowerCuts cuts the power at random syncs and writes of a running load,
// opens what is left, looks that it is a state that may be, checks it with
// Fsck, and goes on with it; also while it is being opened.
func TestPowerCuts(t *testing.T) {
	t.Parallel()
	for seed := range seeds(6) {
		t.Run(fmt.Sprint("seed", seed), func(t *testing.T) { powerCuts(t, seed) })
	}
}

func powerCuts(t *testing.T, seed uint64) {
	rng := rand.New(rand.NewPCG(seed, 99))
	o := small()
	if seed%2 == 1 {
		o.WalBytes = 1 << 20
	}
	if seed%3 == 1 {
		o.Memory = 64 << 10
	}
	o = o.WithRowsAtOnce(3)
	o.Fatal = func(error) {}
	d := disk.NewMem()
	if err := store.Mkfs(d, o); err != nil {
		t.Fatal(err)
	}
	var hs []*history
	for pool := range int64(2) {
		r := storetest.NewRandom(seed, pool+1)
		r.MaxSize = 256 << 10
		hs = append(hs, &history{r: r, model: storetest.NewModel(storetest.ModelOptions{Inline: true})})
	}
	for round := range 12 {
		var s *store.Store
		for {
			if rng.IntN(2) == 0 {
				d.PowerOffAt(1+rng.Int64N(60), "sync", "write")
			}
			var err error
			if s, err = store.Open(d, o); err == nil {
				d.PowerOffAt(0)
				if _, err = d.Size("wal"); err == nil {
					break
				}
				s.Close() // the power went right after Open
			}
			if wire.ErrnoOf(err) != wire.EIO {
				t.Fatalf("round %d: %v", round, err)
			}
			d2 := d.Crash(rng)
			if s, err := store.Open(d2, o); err != nil {
				t.Fatalf("round %d: after a crash in Open: %v", round, err)
			} else if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			d = d2
		}
		for _, h := range hs {
			if err := h.check(s); err != nil {
				t.Fatalf("round %d: %v", round, err)
			}
		}
		fsck(t, s, fmt.Sprint("round ", round))
		if op := rng.IntN(3); op > 0 {
			d.PowerOffAt(1+rng.Int64N(150), []string{"sync", "write"}[op-1])
		} else {
			d.PowerOffAt(1+rng.Int64N(40), "sync", "syncdir", "rename", "open", "remove")
		}
		var wg sync.WaitGroup
		errs := make([]error, len(hs))
		for i, h := range hs {
			wg.Add(1)
			go func() {
				defer wg.Done()
				errs[i] = h.run(s, 60)
			}()
		}
		wg.Wait()
		for _, err := range errs {
			if err != nil {
				t.Fatalf("round %d: %v", round, err)
			}
		}
		if rng.IntN(4) > 0 {
			d.PowerOff()
		}
		s.Close() // the error is the power's
		d = d.Crash(rng)
	}
}

func fsck(t *testing.T, s *store.Store, when string) {
	t.Helper()
	rep, err := s.Fsck(store.FsckOptions{Deep: true})
	if err != nil {
		t.Fatalf("%s: fsck: %v", when, err)
	}
	for _, p := range rep.Problems {
		t.Errorf("%s: fsck: %s", when, p)
	}
	if t.Failed() {
		t.FailNow()
	}
}
