package rados_test

import (
	"context"
	"fmt"
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

// blocker is an OSD's hook that asks for a backoff at the first request, and
// drops what comes in the range until it is taken back.
type blocker struct {
	t    *testing.T
	mu   sync.Mutex
	conn msgr.Conn
	msg  wire.MOSDBackoff
	on   bool
	acks int
	seen []wire.MOSDOp // while it was on
}

func (b *blocker) hook(c msgr.Conn, m wire.Message) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch m := m.(type) {
	case *wire.MOSDBackoff:
		if m.Op != wire.BackoffAckBlock || m.ID != b.msg.ID {
			b.t.Errorf("%+v", m)
		}
		b.acks++
		return true
	case *wire.MOSDOp:
		if b.conn == nil {
			b.conn, b.on = c, true
			b.msg = wire.MOSDBackoff{PG: m.PG, Epoch: m.Epoch, Op: wire.BackoffBlock, ID: 7,
				Begin: wire.HObject{Pool: 1, Hash: m.PG.Seed}, End: wire.MaxHObject}
			msg := b.msg
			go c.Send(&msg)
		}
		if b.on {
			b.seen = append(b.seen, *m)
			return true
		}
	}
	return false
}

// lift ends the backoff.
func (b *blocker) lift() {
	b.mu.Lock()
	b.on = false
	msg, c := b.msg, b.conn
	b.mu.Unlock()
	msg.Op = wire.BackoffUnblock
	c.Send(&msg)
}

func (b *blocker) acked() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.acks == 1
}

func (b *blocker) count() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.seen)
}

func waitFor(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within 10 seconds: %s", what)
		}
	}
}

// TestBackoff holds operations back, and sends them again in order when the
// OSD lifts the backoff, when its session is lost, and in a new interval.
func TestBackoff(t *testing.T) {
	for _, end := range []string{"unblock", "reset", "interval"} {
		t.Run(end, func(t *testing.T) {
			w := newWorld(t, 3, true)
			x := w.pool(w.client(nil))
			id := w.primary("o")
			b := &blocker{t: t}
			w.osds[id].SetHook(b.hook)
			var calls []*rados.Call
			begin := func(i int) { calls = append(calls, x.Start(bg, appendOp("o", fmt.Sprint(i)))) }
			begin(0)
			waitFor(t, "the backoff acknowledged", b.acked)
			for i := range 3 {
				begin(i + 1)
			}
			time.Sleep(10 * time.Millisecond)
			if n := b.count(); n != 1 {
				t.Errorf("%d operations reached an OSD that had asked for none", n)
			}
			switch end {
			case "unblock":
				b.lift()
			case "reset":
				b.mu.Lock()
				b.on = false
				b.mu.Unlock()
				b.conn.Close()
			case "interval":
				b.mu.Lock()
				b.on = false
				b.mu.Unlock()
				w.change(func(inc *clustermap.Incremental) {
					p := w.cur.Pool(1).Clone()
					p.LastForceResend = inc.Epoch
					inc.NewPools[1] = p
				})
			}
			for _, c := range calls {
				ctx, cancel := context.WithTimeout(bg, 10*time.Second)
				if _, err := c.Wait(ctx); err != nil {
					t.Fatal(err)
				}
				cancel()
			}
			if got := content(t, x, "o"); got != "0123" {
				t.Errorf("content %q", got)
			}
			if n := x.Client().Metrics.Blocks.Load(); n != 1 {
				t.Errorf("%d backoffs counted", n)
			}
		})
	}
}

// TestBalancedRead asks any replica, and the primary when that one says so.
func TestBalancedRead(t *testing.T) {
	w := newWorld(t, 3, true)
	x := w.pool(w.client(nil))
	if _, err := x.Do(bg, appendOp("o", "x")); err != nil {
		t.Fatal(err)
	}
	id := w.primary("o")
	var replica atomic.Int32
	for i, o := range w.osds {
		if i == id {
			continue
		}
		o.SetHook(func(c msgr.Conn, m wire.Message) bool {
			op := m.(*wire.MOSDOp)
			if op.Flags&wire.FlagBalanceReads == 0 {
				t.Errorf("osd.%d was asked without the flag", i)
			}
			replica.Add(1)
			c.Send(&wire.MOSDOpReply{TID: op.TID, Attempt: op.Attempt, Result: -int32(wire.EAGAIN), Results: make([]wire.OpResult, 1)})
			return true
		})
	}
	for range 8 {
		op := readOp("o")
		op.Flags = wire.FlagBalanceReads
		ctx, cancel := context.WithTimeout(bg, 10*time.Second)
		r, err := x.Do(ctx, op)
		cancel()
		if err != nil || string(r.Results[0].Data.Bytes()) != "x" {
			t.Fatalf("%+v, %v", r, err)
		}
	}
	if n := replica.Load(); n != 4 {
		t.Errorf("the replica was asked %d times of 8", n)
	}
}

// TestFullMeanwhile pauses writes that are already under way.
func TestFullMeanwhile(t *testing.T) {
	w := newWorld(t, 1, true)
	x := w.pool(w.client(func(o *rados.Options) { o.WaitWhenFull = true }))
	var sent atomic.Int32
	w.osds[0].SetFate(func(op *wire.MOSDOp) radostest.Fate {
		if sent.Add(1) == 1 {
			return radostest.Ignore
		}
		return radostest.Serve
	})
	call := x.Start(bg, appendOp("o", "x"))
	waitFor(t, "the first attempt", func() bool { return sent.Load() == 1 })
	full := func(on bool) {
		w.change(func(inc *clustermap.Incremental) {
			p := w.cur.Pool(1).Clone()
			p.Flags &^= clustermap.PoolFull
			if on {
				p.Flags |= clustermap.PoolFull
			}
			inc.NewPools[1] = p
		})
	}
	full(true)
	time.Sleep(10 * time.Millisecond)
	if n := sent.Load(); n != 1 {
		t.Errorf("sent %d times although the pool is full", n)
	}
	full(false)
	ctx, cancel := context.WithTimeout(bg, 10*time.Second)
	defer cancel()
	if _, err := call.Wait(ctx); err != nil {
		t.Error(err)
	}
}

// flaky is a network on which an OSD can't be reached for a while.
type flaky struct {
	*msgr.Local
	down atomic.Bool
}

func (n *flaky) Connect(me wire.EntityName, myAddr wire.Addr, peer wire.EntityType, addr wire.Addr, d msgr.Dispatcher, auth msgr.ClientAuth) (msgr.Conn, error) {
	if peer == wire.EntityOSD && n.down.Load() {
		return nil, wire.Errorf("test", addr.String(), wire.ENOTCONN)
	}
	return n.Local.Connect(me, myAddr, peer, addr, d, auth)
}

// TestOrderOverReconnect starts operations all the while an OSD can't be
// reached: none overtakes those that wait, and none is forgotten.
func TestOrderOverReconnect(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, true)
		net := &flaky{Local: w.net}
		x := w.pool(w.client(func(o *rados.Options) { o.Net = net }))
		net.down.Store(true)
		var calls []*rados.Call
		want := ""
		for i := range 400 {
			calls = append(calls, x.Start(bg, appendOp("o", fmt.Sprint(i, ","))))
			want += fmt.Sprint(i, ",")
			time.Sleep(7 * time.Millisecond)
			net.down.Store(i%100 < 80)
			if i%100 == 99 {
				w.osds[0].SetHook(func(c msgr.Conn, m wire.Message) bool {
					w.osds[0].SetHook(nil)
					c.Close()
					return true
				})
			}
		}
		net.down.Store(false)
		for _, c := range calls {
			if _, err := c.Wait(bg); err != nil {
				t.Fatal(err)
			}
		}
		if got := content(t, x, "o"); got != want {
			t.Errorf("content %q, want %q", got, want)
		}
	})
}

// TestOSDCommand answers a command after the session was lost under it.
func TestOSDCommand(t *testing.T) {
	w := newWorld(t, 1, true)
	c := w.client(nil)
	var asked atomic.Int32
	w.osds[0].SetHook(func(conn msgr.Conn, m wire.Message) bool {
		if cmd, ok := m.(*wire.MCommand); ok {
			if asked.Add(1) == 1 {
				conn.Close()
				return true
			}
			conn.Send(&wire.MCommandReply{TID: cmd.TID, Output: []byte(cmd.Cmd[0])})
			return true
		}
		return false
	})
	ctx, cancel := context.WithTimeout(bg, 10*time.Second)
	defer cancel()
	out, err := c.OSDCommand(ctx, 0, map[string]any{"prefix": "version"}, nil)
	if err != nil || string(out) != `{"prefix":"version"}` || asked.Load() != 2 {
		t.Errorf("%q, %v; asked %d times", out, err, asked.Load())
	}
	out, err = c.PGCommand(ctx, wire.PGID{Pool: 1, Seed: 3}, map[string]any{"prefix": "query"}, nil)
	if err != nil || string(out) != `{"pgid":"1.3","prefix":"query"}` {
		t.Errorf("%q, %v", out, err)
	}
	if _, err := c.OSDCommand(ctx, 5, map[string]any{"prefix": "version"}, nil); wire.ErrnoOf(err) != wire.ENODEV {
		t.Errorf("no such osd: %v", err)
	}
}

// narrow is a network that carries no large message.
type narrow struct{ *msgr.Local }

type narrowConn struct{ msgr.Conn }

type narrowDispatcher struct{ msgr.Dispatcher }

func (d narrowDispatcher) Dispatch(c msgr.Conn, m wire.Message) {
	d.Dispatcher.Dispatch(narrowConn{c}, m)
}
func (d narrowDispatcher) Reset(c msgr.Conn) { d.Dispatcher.Reset(narrowConn{c}) }

func (n narrow) Connect(me wire.EntityName, myAddr wire.Addr, peer wire.EntityType, addr wire.Addr, d msgr.Dispatcher, auth msgr.ClientAuth) (msgr.Conn, error) {
	c, err := n.Local.Connect(me, myAddr, peer, addr, narrowDispatcher{d}, auth)
	if err != nil {
		return nil, err
	}
	return narrowConn{c}, nil
}

func (c narrowConn) Send(m wire.Message) error {
	n := 0
	switch m := m.(type) {
	case *wire.MOSDOp:
		n = m.Ops[0].Data.Len()
	case *wire.MMonCommand:
		n = len(m.Input)
	}
	if n > 1000 {
		return wire.Errorf("test", "", wire.EMSGSIZE)
	}
	return c.Conn.Send(m)
}

// TestTooLarge is an error at once, not a reason to connect anew.
func TestTooLarge(t *testing.T) {
	w := newWorld(t, 1, true)
	c := w.client(func(o *rados.Options) { o.Net = narrow{w.net} })
	x := w.pool(c)
	ctx := within(t, 10*time.Second)
	if err := x.WriteFull(ctx, "o", make([]byte, 2000)); wire.ErrnoOf(err) != wire.EMSGSIZE {
		t.Errorf("write: %v", err)
	}
	if _, err := c.MonCommand(ctx, map[string]any{"prefix": "x"}, make([]byte, 2000)); wire.ErrnoOf(err) != wire.EMSGSIZE {
		t.Errorf("command: %v", err)
	}
	if err := x.WriteFull(ctx, "o", make([]byte, 10)); err != nil {
		t.Error(err)
	}
	if n := c.Metrics.Resets.Load(); n != 0 {
		t.Errorf("%d sessions lost", n)
	}
}
