package journal

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/spirula/spirula/rados"
	"github.com/spirula/spirula/rados/radostest"
	"github.com/spirula/spirula/rados/wire"
)

// history runs a fixed history of appends, trims and header changes until
// it is done or the store stops answering, and says what was acknowledged.
type history struct {
	appended []logged
	acked    uint64
	trimmed  uint64 // a Trim up to here was started
	extra    string // acknowledged
}

func (h *history) run(j *Journal, seed uint64) error {
	r := rand.New(rand.NewPCG(seed, 1))
	for i := range 24 {
		for range 1 + r.IntN(3) {
			e := event(len(h.appended), 8+r.IntN(700_000))
			h.appended = append(h.appended, logged{j.Append(e), string(e)})
		}
		last := h.appended[len(h.appended)-1].pos
		if err := j.Wait(bg, last); err != nil {
			return err
		}
		h.acked = last
		if i%7 == 5 {
			h.trimmed = h.appended[len(h.appended)/2].pos
			if err := j.Trim(bg, h.trimmed); err != nil {
				return err
			}
		}
		if i%5 == 2 {
			x := fmt.Sprint("extra ", i)
			if err := j.SetExtra(bg, []byte(x)); err != nil {
				return err
			}
			h.extra = x
		}
	}
	return nil
}

// check compares what a takeover replays with the history.
func (h *history) check(t *testing.T, j *Journal) {
	t.Helper()
	got := replayed(t, j, 0)
	if j.Trimmed() > h.trimmed {
		t.Fatalf("trimmed %d, over what was asked, %d", j.Trimmed(), h.trimmed)
	}
	first := 0
	for first < len(h.appended) && h.appended[first].pos <= j.Trimmed() {
		first++
	}
	for i, g := range got {
		if first+i >= len(h.appended) || g != h.appended[first+i] {
			t.Fatalf("replayed event %d is not event %d of the history", i, first+i)
		}
	}
	if n := first + len(got); h.acked > 0 && (n == 0 || h.appended[n-1].pos < h.acked) {
		t.Fatalf("%d events are there, but those up to %d were acknowledged", n, h.acked)
	}
	if h.extra > "" && string(j.Extra()) < h.extra && len(j.Extra()) == len(h.extra) {
		t.Fatalf("extra %q is older than the acknowledged %q", j.Extra(), h.extra)
	}
}

// TestCrashAtEveryWrite cuts the holder off after each write, with and
// without the last answer, and takes over; then crashes the takeover at each
// of its writes as well.
func TestCrashAtEveryWrite(t *testing.T) {
	errCut := wire.Errorf("test", "", wire.ESHUTDOWN)
	for n := 0; ; n++ {
		pool := radostest.NewPool()
		var h history
		client := pool.NewClient()
		client.FreezeAfter(n, n%2 == 0, errCut)
		a, err := Open(bg, client, 0, Options{Exclusive: true})
		if err == nil {
			err = h.run(a, 42)
			a.Close(bg)
		}
		if err == nil && !client.Frozen() {
			if n < 40 {
				t.Fatalf("the history took only %d writes", n)
			}
			return
		}
		for m := n % 3; m < 24; m += 3 {
			again := pool.Clone()
			c := again.NewClient()
			c.FreezeAfter(m, m%2 == 0, errCut)
			if b, err := Open(bg, c, 0, Options{Exclusive: true}); err == nil {
				b.Append(event(1<<20, 10))
				b.Close(bg)
				if !c.Frozen() {
					break
				}
				continue // its own event may be there
			}
			b := mustOpen(t, again, Options{})
			h.check(t, b)
			b.Close(bg)
		}
		b := mustOpen(t, pool, Options{})
		h.check(t, b)
		before := len(replayed(t, b, 0))
		e := event(1<<20, 100)
		b.Append(e)
		if err := b.Close(bg); err != nil {
			t.Fatal(err)
		}
		c := mustOpen(t, pool, Options{})
		got := replayed(t, c, 0)
		if len(got) != before+1 || got[before].event != string(e) {
			t.Fatalf("cut after %d: an event appended after the takeover is not the last of %d", n, len(got))
		}
		c.Close(bg)
	}
}

// gate holds back every operation from the n-th on until it is let go: a
// process that was stopped, with what it had sent under way.
type gate struct {
	rados.Doer
	mu   sync.Mutex
	left int
	held []func()
	full chan struct{}
	gone bool
}

func (g *gate) Do(ctx context.Context, op *rados.Op) (*rados.Reply, error) {
	return g.Start(ctx, op).Wait(ctx)
}

func (g *gate) Start(ctx context.Context, op *rados.Op) *rados.Call {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.left--
	if g.left >= 0 || g.gone {
		return g.Doer.Start(ctx, op)
	}
	call := rados.NewCall(op)
	for i := range op.Ops {
		op.Ops[i].Data.Retain()
	}
	g.held = append(g.held, func() {
		// Its waiter may have given up: the operation happens all the same.
		call.Complete(g.Doer.Do(bg, op))
	})
	select {
	case <-g.full:
	default:
		close(g.full)
	}
	return call
}

func (g *gate) release() {
	g.mu.Lock()
	held := g.held
	g.gone = true
	g.mu.Unlock()
	for _, fn := range held {
		fn()
	}
}

// TestOldHolderResumed stops a holder before each of its operations, lets
// another take over, work and trim, and resumes the old one: it may change
// nothing.
func TestOldHolderResumed(t *testing.T) {
	for n := 0; ; n++ {
		pool := radostest.NewPool()
		g := &gate{Doer: pool.NewClient(), left: n, full: make(chan struct{})}
		var h history
		ended := make(chan struct{})
		ctx, cancel := context.WithCancel(bg)
		go func() {
			defer close(ended)
			a, err := Open(ctx, g, 0, Options{})
			if err != nil {
				return
			}
			h.run(a, 7)
			a.Close(ctx)
		}()
		select {
		case <-g.full:
		case <-ended:
			cancel()
			if n < 40 {
				t.Fatalf("the history took only %d operations", n)
			}
			return
		}
		b := mustOpen(t, pool, Options{})
		for i := range 3 {
			b.Wait(bg, b.Append(event(i, 300_000)))
		}
		if n%3 == 0 {
			b.Trim(bg, b.Durable())
		}
		b.SetExtra(bg, []byte("b"))
		settleLimit(b)
		before := pool.Clone()
		cancelSoon := time.AfterFunc(50*time.Millisecond, cancel) // the old one may stand by for the lease
		g.release()
		<-ended
		cancelSoon.Stop()
		cancel()
		if !pool.Equal(before) {
			t.Fatalf("resumed before operation %d, the old holder changed something", n)
		}
		b.Close(bg)
	}
}

// settleLimit waits until the goroutine that moves the limit has nothing to
// do.
func settleLimit(j *Journal) {
	for {
		j.mu.Lock()
		idle := j.ready >= j.head/objectSize+ahead && j.ready == j.hdr.limit
		j.mu.Unlock()
		if idle {
			return
		}
		time.Sleep(time.Millisecond)
	}
}

// TestRefusedWrites lets the store refuse writes, or do them and lose the
// answer, at random; order and completeness must hold.
func TestRefusedWrites(t *testing.T) {
	for seed := range uint64(12) {
		synctest.Test(t, func(t *testing.T) {
			pool := radostest.NewPool()
			r, sizes := rand.New(rand.NewPCG(seed, 3)), rand.New(rand.NewPCG(seed, 4))
			var mu sync.Mutex
			chance := func(n int) bool { mu.Lock(); defer mu.Unlock(); return r.IntN(n) == 0 }
			c := pool.NewClient()
			c.SetLatency(func(*rados.Op) time.Duration {
				mu.Lock()
				defer mu.Unlock()
				return time.Duration(r.IntN(1000)) * time.Microsecond
			})
			var on atomic.Bool
			c.SetInject(func(n int, op *rados.Op) error {
				if on.Load() && chance(4) {
					return wire.ENOSPC
				}
				return nil
			})
			j := mustOpen(t, &forgetful{Doer: c, lose: func() bool { return on.Load() && chance(6) }}, Options{})
			on.Store(true)
			var want []logged
			for i := range 80 {
				e := event(i, sizes.IntN(300_000))
				want = append(want, logged{j.Append(e), string(e)})
				if i%3 == 0 {
					if err := j.Wait(bg, want[i/2].pos); err != nil {
						t.Fatalf("seed %d: %v", seed, err)
					}
				}
			}
			if err := j.Wait(bg, j.Head()); err != nil {
				t.Fatalf("seed %d: %v", seed, err)
			}
			on.Store(false)
			if err := j.Close(bg); err != nil {
				t.Fatalf("seed %d: %v", seed, err)
			}
			k := mustOpen(t, pool, Options{})
			defer k.Close(bg)
			got := replayed(t, k, 0)
			if len(got) != len(want) {
				t.Fatalf("seed %d: %d events, want %d", seed, len(got), len(want))
			}
			for i := range got {
				if got[i] != want[i] {
					t.Fatalf("seed %d: event %d differs", seed, i)
				}
			}
		})
	}
}

// forgetful does operations and loses some answers of journal appends.
type forgetful struct {
	rados.Doer
	lose func() bool
}

func (f *forgetful) Do(ctx context.Context, op *rados.Op) (*rados.Reply, error) {
	return f.Start(ctx, op).Wait(ctx)
}

func (f *forgetful) Start(ctx context.Context, op *rados.Op) *rados.Call {
	call := f.Doer.Start(ctx, op)
	if !op.Ops[len(op.Ops)-1].Code.Writes() || !f.lose() {
		return call
	}
	lost := rados.NewCall(op)
	go func() {
		call.Wait(bg)
		lost.Complete(nil, wire.Errorf("test", op.Object, wire.ETIMEDOUT))
	}()
	return lost
}

// TestGroupsAreWhole has Seal end each group with an event of its own, and
// groups that take several vectors: whatever the crash, the last event
// replayed is such an end.
func TestGroupsAreWhole(t *testing.T) {
	const seal = 1 << 30
	for n := 0; ; n++ {
		pool := radostest.NewPool()
		client := pool.NewClient()
		client.FreezeAfter(n, n%2 == 1, wire.Errorf("test", "", wire.ESHUTDOWN))
		var mu sync.Mutex
		var j *Journal
		var ready = make(chan struct{})
		since := uint64(0)
		o := Options{Exclusive: true, Seal: func(cut func()) {
			<-ready
			mu.Lock()
			defer mu.Unlock()
			e := event(seal, 16)
			binary.LittleEndian.PutUint64(e[8:], since)
			since = 0
			j.Append(e)
			cut()
		}}
		j, err := Open(bg, client, 0, o)
		if err != nil {
			continue
		}
		close(ready)
		for i := range 4 {
			mu.Lock()
			for k := range 7 {
				j.Append(event(i*10+k, 800_000))
				since++
			}
			mu.Unlock()
			if err = j.Wait(bg, j.Head()); err != nil {
				break
			}
		}
		j.Close(bg)
		k := mustOpen(t, pool, Options{})
		got := replayed(t, k, 0)
		count := uint64(0)
		for i, g := range got {
			count++
			if id := binary.LittleEndian.Uint64([]byte(g.event)); id == seal {
				if want := binary.LittleEndian.Uint64([]byte(g.event[8:])); want != count-1 {
					t.Fatalf("cut after %d: a group of %d events was sealed as %d", n, count-1, want)
				}
				count = 0
			} else if i == len(got)-1 {
				t.Fatalf("cut after %d: the last event is %d, inside a group", n, id)
			}
		}
		k.Close(bg)
		if err == nil && !client.Frozen() {
			return
		}
	}
}

// TestLease follows a holder that is cut off from the store and its standby.
func TestLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pool := radostest.NewPool()
		var cut atomic.Bool
		a, err := Open(bg, &partition{pool, &cut}, 0, Options{Holder: "a"})
		if err != nil {
			t.Fatal(err)
		}
		opened := make(chan *Journal)
		go func() {
			b, err := Open(bg, pool, 0, Options{Holder: "b"})
			if err != nil {
				t.Error(err)
			}
			opened <- b
		}()
		time.Sleep(time.Minute)
		if !a.Alive() {
			t.Fatal("a holder that renews is not alive")
		}
		select {
		case <-opened:
			t.Fatal("the standby took over from a holder that renews")
		default:
		}
		cut.Store(true)
		lost := time.Now()
		for a.Alive() {
			time.Sleep(100 * time.Millisecond)
		}
		if d := time.Since(lost); d > 8*time.Second+100*time.Millisecond || d < 5*time.Second {
			t.Fatalf("not alive %v after the last renewal could be sent", d)
		}
		b := <-opened
		if d := time.Since(lost); d < 8*time.Second || d > 13*time.Second {
			t.Fatalf("taken over %v after the holder was lost", d)
		}
		if a.Alive() {
			t.Fatal("both are alive")
		}
		cut.Store(false)
		if err := a.AwaitAlive(bg); !errors.Is(err, ErrDeposed) {
			t.Fatalf("the old holder waits for its lease: %v", err)
		}
		if b.Epoch() != 2 || !b.Alive() {
			t.Fatalf("new holder: epoch %d, alive %v", b.Epoch(), b.Alive())
		}
		a.Close(bg)
		b.Close(bg)
		before := time.Now()
		c, err := Open(bg, pool, 0, Options{})
		if err != nil || time.Since(before) > time.Second {
			t.Fatalf("a lease given back took %v, %v", time.Since(before), err)
		}
		c.Close(bg)
	})
}

// partition answers nothing while it is cut.
type partition struct {
	rados.Doer
	cut *atomic.Bool
}

func (p *partition) Do(ctx context.Context, op *rados.Op) (*rados.Reply, error) {
	return p.Start(ctx, op).Wait(ctx)
}

func (p *partition) Start(ctx context.Context, op *rados.Op) *rados.Call {
	if p.cut.Load() {
		return rados.NewCall(op)
	}
	return p.Doer.Start(ctx, op)
}

// TestThrottle checks that pending bytes are bounded by it and that it lets
// go when the store answers.
func TestThrottle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pool := radostest.NewPool()
		var cut atomic.Bool
		j, err := Open(bg, &partition{pool, &cut}, 0, Options{Exclusive: true, MaxPending: 100_000})
		if err != nil {
			t.Fatal(err)
		}
		pool.SetLatency(func(*rados.Op) time.Duration { return 5 * time.Second })
		j.Append(event(1, 200_000))
		before := time.Now()
		if err := j.Throttle(bg); err != nil {
			t.Fatal(err)
		}
		if d := time.Since(before); d < 4*time.Second {
			t.Fatalf("Throttle let 200 000 bytes pass after %v", d)
		}
		ctx, cancel := context.WithTimeout(bg, time.Second)
		defer cancel()
		j.Append(event(2, 200_000))
		if err := j.Throttle(ctx); wire.ErrnoOf(err) != wire.ETIMEDOUT {
			t.Fatalf("Throttle with a context that ends: %v", err)
		}
		pool.SetLatency(nil)
		j.Close(bg)
	})
}

// TestNextObjectWaits has the store refuse writes to one journal object: the
// next one must stay empty until they are done, or a crash would leave a
// hole.
func TestNextObjectWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pool := radostest.NewPool()
		c := pool.NewClient()
		j := mustOpen(t, c, Options{})
		for i := range 4 {
			j.Wait(bg, j.Append(event(i, 1_000_000)))
		}
		c.SetInject(func(n int, op *rados.Op) error {
			if op.Object == j.names.object(0) {
				return wire.ENOSPC
			}
			return nil
		})
		j.Append(event(4, 100_000))
		time.Sleep(time.Minute)
		j.Append(event(5, 1_000_000))
		time.Sleep(time.Minute)
		if j.Durable() != j.replayPoint(4, 1_000_000) {
			t.Fatalf("durable up to %d though the store refuses", j.Durable())
		}
		k := mustOpen(t, pool, Options{})
		if got := replayed(t, k, 0); len(got) != 4 {
			t.Fatalf("%d events, want 4", len(got))
		}
		k.Close(bg)
		ctx, cancel := context.WithTimeout(bg, time.Second)
		defer cancel()
		j.Close(ctx)
	})
}

// replayPoint is the position after n events of a size, the first ones of
// the log.
func (j *Journal) replayPoint(n, size int) uint64 { return uint64(n * (recordHead + size)) }
