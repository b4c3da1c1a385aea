package rados_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/spirula/spirula/rados"
	"github.com/spirula/spirula/rados/clustermap"
	"github.com/spirula/spirula/rados/msgr"
	"github.com/spirula/spirula/rados/radostest"
	"github.com/spirula/spirula/rados/wire"
)

func TestDo(t *testing.T) {
	w := newWorld(t, 3, true)
	x := w.pool(w.client(nil))
	for i := range 50 {
		name := fmt.Sprint("o", i)
		if _, err := x.Do(bg, appendOp(name, name)); err != nil {
			t.Fatal(err)
		}
		if got := content(t, x, name); got != name {
			t.Fatalf("%s has %q", name, got)
		}
	}
	reply, err := x.Do(bg, readOp("absent"))
	if wire.ErrnoOf(err) != wire.ENOENT || reply == nil || reply.Result != -2 {
		t.Errorf("absent object: %v, %+v", err, reply)
	}
	ioctx, err := x.Client().IOCtx(bg, "nopool")
	if wire.ErrnoOf(err) != wire.ENOENT {
		t.Errorf("absent pool: %v, %v", ioctx, err)
	}
	names := make(map[string]int)
	if err := x.ListObjects(bg, "", func(e wire.ListEntry) error { names[e.Name]++; return nil }); err != nil {
		t.Fatal(err)
	}
	for i := range 50 {
		if n := names[fmt.Sprint("o", i)]; n != 1 {
			t.Errorf("o%d is listed %d times", i, n)
		}
	}
	stop := wire.Errorf("test", "", wire.EBUSY)
	if err := x.ListObjects(bg, "", func(wire.ListEntry) error { return stop }); err != stop {
		t.Errorf("error of the callback: %v", err)
	}
}

// TestResendOnce loses requests and answers in all the ways there are; every
// append must still happen once, and in order.
func TestResendOnce(t *testing.T) {
	tests := []struct {
		name string
		fate radostest.Fate
		fix  func(w *world, id int32) // what makes the client send again
	}{
		{"request lost with the session", radostest.Break, func(*world, int32) {}},
		{"request ignored, osd moves", radostest.Ignore, func(w *world, id int32) {
			w.change(func(inc *clustermap.Incremental) { w.startOSD(id, inc) })
		}},
		{"answer lost, osd moves", radostest.ServeMute, func(w *world, id int32) {
			w.change(func(inc *clustermap.Incremental) { w.startOSD(id, inc) })
		}},
		{"answer lost, osd down", radostest.ServeMute, func(w *world, id int32) {
			w.change(func(inc *clustermap.Incremental) { inc.MarkDown(w.cur, id) })
		}},
		{"answer lost, osd restarts unnoticed", radostest.ServeMute, func(w *world, id int32) {
			w.osds[id].Close()
			w.change(func(inc *clustermap.Incremental) { inc.MarkDown(w.cur, id) })
			w.change(func(inc *clustermap.Incremental) { w.startOSD(id, inc) })
		}},
		{"answer lost, split", radostest.ServeMute, func(w *world, id int32) {
			w.osds[id].SetFate(nil)
			w.change(func(inc *clustermap.Incremental) {
				p := w.cur.Pool(1).Clone()
				p.PGNum, p.PGPNum = 64, 64
				inc.NewPools[1] = p
			})
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t, 3, true)
			x := w.pool(w.client(nil))
			id := w.primary("o")
			var seen atomic.Int32
			w.osds[id].SetFate(func(op *wire.MOSDOp) radostest.Fate {
				if op.Object == "o" && op.Attempt == 0 {
					seen.Add(1)
					return tt.fate
				}
				return radostest.Serve
			})
			var calls []*rados.Call
			for i := range 5 {
				calls = append(calls, x.Start(bg, appendOp("o", fmt.Sprint(i))))
			}
			for seen.Load() == 0 {
				time.Sleep(time.Millisecond)
			}
			if tt.fate != radostest.Break {
				for seen.Load() < 5 {
					time.Sleep(time.Millisecond)
				}
			}
			tt.fix(w, id)
			for _, c := range calls {
				ctx, cancel := context.WithTimeout(bg, 10*time.Second)
				if _, err := c.Wait(ctx); err != nil {
					t.Fatal(err)
				}
				cancel()
			}
			if got := content(t, x, "o"); got != "01234" {
				t.Errorf("content %q", got)
			}
			if n := x.Client().Metrics.Resent.Load(); n == 0 {
				t.Error("nothing was sent again")
			}
		})
	}
}

// TestOrderUnderChange appends numbers to a few objects from several
// goroutines while OSDs come and go, and reads them back in order.
func TestOrderUnderChange(t *testing.T) {
	seed := rand.Uint64()
	rng := rand.New(rand.NewPCG(seed, 0))
	t.Logf("seed %d", seed)
	w := newWorld(t, 4, true)
	x := w.pool(w.client(func(o *rados.Options) { o.MaxOps = 32 }))
	var wg sync.WaitGroup
	const writers, each = 4, 250
	for g := range writers {
		wg.Go(func() {
			name := fmt.Sprint("obj", g)
			var calls []*rados.Call
			for i := range each {
				calls = append(calls, x.Start(bg, appendOp(name, fmt.Sprintf("%04d", i))))
			}
			for _, c := range calls {
				if _, err := c.Wait(bg); err != nil {
					t.Error(err)
				}
			}
		})
	}
	finished := make(chan struct{})
	go func() { wg.Wait(); close(finished) }()
	for {
		select {
		case <-finished:
			// The last change may have left no OSD to read from.
			for id := range int32(4) {
				if !w.cur.IsUp(id) {
					w.change(func(inc *clustermap.Incremental) { w.startOSD(id, inc) })
				}
			}
			for g := range writers {
				got := content(t, x, fmt.Sprint("obj", g))
				for i := range each {
					if got[4*i:4*i+4] != fmt.Sprintf("%04d", i) {
						t.Fatalf("seed %d: object %d has %q at %d", seed, g, got[4*i:4*i+4], i)
					}
				}
				if len(got) != 4*each {
					t.Fatalf("seed %d: object %d has %d bytes", seed, g, len(got))
				}
			}
			return
		case <-time.After(time.Duration(rng.IntN(3)) * time.Millisecond):
		}
		id := int32(rng.IntN(4))
		switch rng.IntN(4) {
		case 0:
			w.change(func(inc *clustermap.Incremental) { inc.MarkDown(w.cur, id) })
		case 1:
			w.change(func(inc *clustermap.Incremental) { w.startOSD(id, inc) })
		case 2:
			w.change(func(inc *clustermap.Incremental) {
				pg := wire.PGID{Pool: 1, Seed: uint32(rng.IntN(16))}
				inc.NewPGTemp[pg] = []int32{id}
				if !w.cur.IsUp(id) {
					inc.NewPGTemp[pg] = nil
				}
			})
		case 3:
			n := 0
			w.osds[id].SetFate(func(*wire.MOSDOp) radostest.Fate {
				if n++; n == 3 {
					return radostest.Break
				}
				return radostest.Serve
			})
		}
		if w.cur.NumUp() == 0 {
			w.change(func(inc *clustermap.Incremental) { w.startOSD(id, inc) })
		}
	}
}

func TestNoPrimaryWaits(t *testing.T) {
	w := newWorld(t, 1, false)
	x := w.pool(w.client(nil))
	w.change(func(inc *clustermap.Incremental) { inc.MarkDown(w.cur, 0) })
	if err := x.Client().WaitForMap(bg, w.cur.Epoch); err != nil {
		t.Fatal(err)
	}
	call := x.Start(bg, appendOp("o", "x"))
	select {
	case <-call.Done():
		t.Fatal("answered without an osd")
	case <-time.After(20 * time.Millisecond):
	}
	w.change(func(inc *clustermap.Incremental) { w.startOSD(0, inc) })
	if _, err := call.Wait(bg); err != nil {
		t.Fatal(err)
	}
}

func TestPauseAndFull(t *testing.T) {
	w := newWorld(t, 1, false)
	patient := w.pool(w.client(func(o *rados.Options) { o.WaitWhenFull = true }))
	hasty := w.pool(w.client(nil))
	flags := func(f clustermap.Flag) {
		w.change(func(inc *clustermap.Incremental) { inc.NewFlags = int32(w.cur.Flags&clustermap.FlagsAlways | f) })
		for _, x := range []*rados.IOCtx{patient, hasty} {
			if err := x.Client().WaitForMap(bg, w.cur.Epoch); err != nil {
				t.Fatal(err)
			}
		}
	}
	waits := func(c *rados.Call) bool {
		select {
		case <-c.Done():
			return false
		case <-time.After(10 * time.Millisecond):
			return true
		}
	}
	flags(clustermap.FlagFull)
	a, b := patient.Start(bg, appendOp("o", "1")), hasty.Start(bg, appendOp("q", "1"))
	if !waits(a) || waits(b) {
		t.Errorf("full: the patient client waits %v, the other %v", waits(a), waits(b))
	}
	flags(clustermap.FlagPauseWrite)
	c := hasty.Start(bg, appendOp("q", "2"))
	if !waits(c) || content(t, hasty, "q") != "1" {
		t.Error("a paused write went on, or a read did not")
	}
	flags(0)
	for _, call := range []*rados.Call{a, c} {
		if _, err := call.Wait(bg); err != nil {
			t.Error(err)
		}
	}
}

func TestCancel(t *testing.T) {
	w := newWorld(t, 2, true)
	c := w.client(func(o *rados.Options) { o.MaxOps = 2 })
	x := w.pool(c)
	before := wire.DefaultArena.InUse()
	w.osds[w.primary("o")].SetFate(func(*wire.MOSDOp) radostest.Fate { return radostest.Ignore })
	var calls []*rados.Call
	for range 2 {
		d := wire.CopyData(make([]byte, 5000))
		calls = append(calls, x.Start(bg, &rados.Op{Object: "o", Ops: []wire.Op{{Code: wire.OpWrite, Data: d}}}))
		d.Release()
	}
	// There is no room for a third one.
	short, cancel := context.WithTimeout(bg, 5*time.Millisecond)
	if _, err := x.Do(short, appendOp("o", "x")); wire.ErrnoOf(err) != wire.ETIMEDOUT {
		t.Errorf("without room: %v", err)
	}
	cancel()
	for _, call := range calls {
		ctx, cancel := context.WithCancel(bg)
		time.AfterFunc(time.Millisecond, cancel)
		if _, err := call.Wait(ctx); wire.ErrnoOf(err) != wire.ETIMEDOUT || !isCanceled(err) {
			t.Errorf("given up: %v", err)
		}
		if _, err := call.Wait(bg); !isCanceled(err) {
			t.Errorf("second wait: %v", err)
		}
	}
	if got := wire.DefaultArena.InUse(); got != before {
		t.Errorf("%d bytes of buffers are still held", got-before)
	}
	// What was given up is not sent again.
	w.change(func(inc *clustermap.Incremental) { w.startOSD(w.primary("o"), inc) })
	if _, err := x.Do(bg, appendOp("o", "y")); err != nil {
		t.Fatal(err)
	}
	if got := content(t, x, "o"); got != "y" {
		t.Errorf("content is %d bytes, want y", len(got))
	}
}

func isCanceled(err error) bool { return errors.Is(err, context.Canceled) }

func TestBarrier(t *testing.T) {
	w := newWorld(t, 1, false)
	x := w.pool(w.client(nil))
	w.setMute(true)
	w.change(func(inc *clustermap.Incremental) {
		inc.NewBlocklist[wire.Addr{Type: wire.AddrMsgr2, Nonce: 77}] = 1 << 62
	})
	x.Client().SetBarrier(w.cur.Epoch)
	x.Client().SetBarrier(1)
	call := x.Start(bg, appendOp("o", "x"))
	select {
	case <-call.Done():
		t.Fatal("sent below the barrier")
	case <-time.After(10 * time.Millisecond):
	}
	if w.stores.Runs() != 0 {
		t.Error("an operation ran below the barrier")
	}
	w.setMute(false)
	if r, err := call.Wait(bg); err != nil || r.Epoch < w.cur.Epoch {
		t.Errorf("after the map: %v, %+v", err, r)
	}
}

func TestBlocklisted(t *testing.T) {
	w := newWorld(t, 1, false)
	x := w.pool(w.client(nil))
	w.osds[0].SetFate(func(*wire.MOSDOp) radostest.Fate { return radostest.Ignore })
	call := x.Start(bg, appendOp("o", "x"))
	w.change(func(inc *clustermap.Incremental) {
		inc.NewBlocklist[x.Client().Addr()] = wire.TimeOf(time.Now().Add(time.Hour))
		p := w.cur.Pool(1).Clone()
		p.LastForceResend = inc.Epoch
		inc.NewPools[1] = p
	})
	if _, err := call.Wait(bg); wire.ErrnoOf(err) != wire.ESHUTDOWN {
		t.Errorf("in flight: %v", err)
	}
	if _, err := x.Do(bg, readOp("o")); wire.ErrnoOf(err) != wire.ESHUTDOWN {
		t.Errorf("later: %v", err)
	}
}

func TestPoolDeleted(t *testing.T) {
	w := newWorld(t, 1, false)
	x := w.pool(w.client(nil))
	w.osds[0].SetFate(func(*wire.MOSDOp) radostest.Fate { return radostest.Ignore })
	call := x.Start(bg, appendOp("o", "x"))
	w.change(func(inc *clustermap.Incremental) { inc.OldPools = []int64{1} })
	if _, err := call.Wait(bg); wire.ErrnoOf(err) != wire.ENOENT {
		t.Errorf("in flight: %v", err)
	}
	if _, err := x.Do(bg, readOp("o")); wire.ErrnoOf(err) != wire.ENOENT {
		t.Errorf("later: %v", err)
	}
}

func TestMonLost(t *testing.T) {
	w := newWorld(t, 2, false)
	c := w.client(nil)
	x := w.pool(c)
	id := c.ID()
	w.mon.Close()
	w.change(func(inc *clustermap.Incremental) { inc.NewFlags = int32(w.cur.Flags | clustermap.FlagNoOut) })
	if _, err := x.Do(bg, appendOp("o", "x")); err != nil {
		t.Errorf("without a mon: %v", err)
	}
	version := make(chan error, 1)
	go func() {
		_, err := c.LatestMap(bg)
		version <- err
	}()
	time.Sleep(20 * time.Millisecond)
	w.listenMon()
	if err := <-version; err != nil {
		t.Fatal(err)
	}
	if c.OSDMap().Epoch != w.cur.Epoch || c.ID() != id {
		t.Errorf("epoch %d of %d; number %d, was %d", c.OSDMap().Epoch, w.cur.Epoch, c.ID(), id)
	}
}

func TestNoMon(t *testing.T) {
	ctx, cancel := context.WithTimeout(bg, 30*time.Millisecond)
	defer cancel()
	_, err := rados.Connect(ctx, rados.Options{Net: msgr.NewLocal(), MonAddrs: []wire.Addr{monAddr}})
	if wire.ErrnoOf(err) != wire.ETIMEDOUT {
		t.Errorf("connect: %v", err)
	}
}

func TestClose(t *testing.T) {
	w := newWorld(t, 1, true)
	c := w.client(func(o *rados.Options) { o.MaxOps = 1 })
	x := w.pool(c)
	w.osds[0].SetFate(func(*wire.MOSDOp) radostest.Fate { return radostest.Ignore })
	call := x.Start(bg, appendOp("o", "x"))
	waiting := make(chan error, 1)
	go func() {
		_, err := x.Do(bg, appendOp("o", "y"))
		waiting <- err
	}()
	time.Sleep(5 * time.Millisecond)
	c.Close()
	c.Close()
	if _, err := call.Wait(bg); wire.ErrnoOf(err) != wire.ESHUTDOWN {
		t.Errorf("in flight: %v", err)
	}
	if err := <-waiting; wire.ErrnoOf(err) != wire.ESHUTDOWN {
		t.Errorf("waiting for room: %v", err)
	}
	if _, err := x.Do(bg, readOp("o")); wire.ErrnoOf(err) != wire.ESHUTDOWN {
		t.Errorf("after Close: %v", err)
	}
}

// TestNothingIsLeft runs a client's life in a bubble, which fails if a
// goroutine is left at the end, and counts the buffers.
func TestNothingIsLeft(t *testing.T) {
	before := wire.DefaultArena.InUse()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 2, true)
		x := w.pool(w.client(nil))
		for i := range 20 {
			name := fmt.Sprint("o", i)
			d := wire.CopyData(make([]byte, 10_000))
			call := x.Start(bg, &rados.Op{Object: name, Ops: []wire.Op{{Code: wire.OpWriteFull, Data: d}}})
			d.Release()
			switch i {
			case 5:
				w.change(func(inc *clustermap.Incremental) { inc.MarkDown(w.cur, 0) })
			case 9:
				w.change(func(inc *clustermap.Incremental) { w.startOSD(0, inc) })
			case 13:
				w.mon.Close()
				w.listenMon()
			}
			if _, err := call.Wait(bg); err != nil {
				t.Fatal(err)
			}
			if got := content(t, x, name); len(got) != 10_000 {
				t.Errorf("%s has %d bytes", name, len(got))
			}
		}
		w.osds[0].SetFate(func(*wire.MOSDOp) radostest.Fate { return radostest.ServeMute })
		w.osds[1].SetFate(func(*wire.MOSDOp) radostest.Fate { return radostest.ServeMute })
		short, cancel := context.WithTimeout(bg, time.Hour)
		defer cancel()
		if _, err := x.Do(short, readOp("o1")); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("never answered: %v", err)
		}
	})
	if got := wire.DefaultArena.InUse(); got != before {
		t.Errorf("%d bytes of buffers are still held", got-before)
	}
}
