package msgr

import (
	"context"
	"net"
	"runtime"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/spirula/spirula/rados/wire"
)

// sendAll sends messages from to to-1.
func sendAll(t *testing.T, c Conn, from, to uint64) {
	t.Helper()
	for i := from; i < to; i++ {
		if err := c.Send(opMessage(i, 100)); err != nil {
			t.Fatalf("send %d: %v", i, err)
		}
	}
}

// firstConn gives the Conn of the first message to come.
func (n *node) firstConn() <-chan Conn {
	ch := make(chan Conn, 1)
	n.mu.Lock()
	defer n.mu.Unlock()
	n.inside = func(c Conn, _ uint64) {
		select {
		case ch <- c:
		default:
		}
	}
	return ch
}

func stands(t *testing.T, c Conn) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := c.Wait(ctx); err != nil {
		t.Fatal(err)
	}
}

// TestLosslessOneSession wants one session for both directions.
func TestLosslessOneSession(t *testing.T) {
	a, b := newNode(t, 1, TCPOptions{}), newNode(t, 2, TCPOptions{})
	c := a.connect(b)
	stands(t, c)
	if c2 := a.connect(b); c2 != c {
		t.Error("a second session with the same peer")
	}
	if c.Peer().Num != 2 || c.PeerAddr() != b.l.Addr() {
		t.Errorf("peer %v at %v", c.Peer(), c.PeerAddr())
	}
	from := b.firstConn()
	sendAll(t, c, 0, 1)
	back := b.connect(a)
	if back != <-from || back.Peer().Num != 1 || back.PeerAddr() != a.l.Addr() {
		t.Errorf("the answer would go to %v at %v", back.Peer(), back.PeerAddr())
	}
	sendAll(t, back, 0, 50)
	a.inOrder(50)
}

// TestLosslessClose wants what was sent to arrive, and then the reset.
func TestLosslessClose(t *testing.T) {
	a, b := newNode(t, 1, TCPOptions{}), newNode(t, 2, TCPOptions{})
	c := a.connect(b)
	sendAll(t, c, 0, 1000)
	c.Close()
	c.Close()
	if err := c.Send(opMessage(1, 1)); wire.ErrnoOf(err) != wire.ENOTCONN {
		t.Errorf("send after Close: %v", err)
	}
	b.until("reset", func() bool { return len(b.resets) == 1 })
	if len(b.got) != 1000 || len(a.resets) != 0 {
		t.Errorf("%d of 1000 messages came; %d resets where Close was called", len(b.got), len(a.resets))
	}
	if c2 := a.connect(b); c2 == c {
		t.Error("a closed session is given again")
	} else {
		stands(t, c2)
	}
}

// giveUp ends a node's sessions without a word to the peer.
func (n *node) giveUp() {
	for _, c := range n.sessions() {
		c.mu.Lock()
		c.fail(errForgotten)
		c.mu.Unlock()
		<-c.over
	}
}

func (n *node) sessions() []*tcpConn {
	l := n.l.(*tcpListener)
	l.mu.Lock()
	defer l.mu.Unlock()
	var all []*tcpConn
	for c := range l.sessions {
		all = append(all, c)
	}
	return all
}

// cutAll breaks a node's connections.
func (n *node) cutAll() {
	for _, c := range n.sessions() {
		c.mu.Lock()
		if c.link != nil {
			c.link.c.Close()
		}
		c.mu.Unlock()
	}
}

// TestLosslessRemoteReset wants both ends to learn that a session is lost.
func TestLosslessRemoteReset(t *testing.T) {
	for _, who := range []string{"dialler", "acceptor"} {
		t.Run(who, func(t *testing.T) {
			a, b := newNode(t, 1, TCPOptions{}), newNode(t, 2, TCPOptions{})
			c := a.connect(b)
			sendAll(t, c, 0, 10)
			b.inOrder(10)
			back := b.connect(a)
			loser, other, otherConn := a, b, back
			if who == "acceptor" {
				loser, other, otherConn = b, a, c
			}
			loser.giveUp()
			loser.until("reset", func() bool { return len(loser.resets) == 1 })
			// The other one finds out when it has something to say.
			otherConn.Send(opMessage(0, 1))
			other.until("reset", func() bool { return len(other.resets) == 1 && other.resets[0] == otherConn })
			if err := otherConn.Send(opMessage(1, 1)); wire.ErrnoOf(err) != wire.ENOTCONN {
				t.Errorf("send after a reset: %v", err)
			}
			stands(t, a.connect(b))
		})
	}
}

// TestLosslessNewSession has a peer begin anew, which ends the old session
// before the new one's messages come.
func TestLosslessNewSession(t *testing.T) {
	a, b := newNode(t, 1, TCPOptions{}), newNode(t, 2, TCPOptions{})
	sendAll(t, a.connect(b), 0, 10)
	b.inOrder(10)
	a.giveUp()
	var resets int
	b.inside = func(Conn, uint64) {
		b.mu.Lock()
		defer b.mu.Unlock()
		resets = len(b.resets)
		b.changed()
	}
	sendAll(t, a.connect(b), 0, 1)
	b.until("message of the new session", func() bool { return len(b.got) == 11 })
	b.until("reset", func() bool { return resets == 1 })
}

// TestLosslessIncarnation dials one that was there before.
func TestLosslessIncarnation(t *testing.T) {
	a, b := newNode(t, 1, TCPOptions{}), newNode(t, 2, TCPOptions{})
	c := a.connect(b)
	stands(t, c)
	old := b.l.Addr()
	b.giveUp()
	b.l.Close()
	again := old
	again.Nonce++
	l, err := b.net.Listen(wire.EntityName{Type: wire.EntityOSD, Num: 2}, again, b, NoAuth{})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c.Send(opMessage(0, 1))
	a.until("reset", func() bool { return len(a.resets) == 1 })
	c2, err := a.net.Connect(wire.EntityName{Type: wire.EntityOSD, Num: 1}, a.l.Addr(), wire.EntityOSD, old, a, NoAuth{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := c2.Wait(ctx); wire.ErrnoOf(err) != wire.ENOTCONN {
		t.Errorf("waiting for a former incarnation: %v", err)
	}
	a.until("reset", func() bool { return len(a.resets) == 2 })
}

// TestLosslessStandby closes idle connections and goes on over new ones,
// from either end.
func TestLosslessStandby(t *testing.T) {
	o := TCPOptions{Idle: 50 * time.Millisecond}
	a, b := newNode(t, 1, o), newNode(t, 2, TCPOptions{})
	c := a.connect(b)
	back := Conn(nil)
	var sent uint64
	for round := range 3 {
		sendAll(t, c, sent, sent+10)
		b.inOrder(int(sent) + 10)
		if back == nil {
			back = b.connect(a)
		}
		closed := a.net.Metrics.IdleCloses.Load()
		if round < 2 {
			waitUntil(t, "idle close", func() bool { return a.net.Metrics.IdleCloses.Load() > closed })
		}
		sendAll(t, back, sent, sent+10)
		sent += 10
		a.inOrder(int(sent))
	}
	if a.net.Metrics.Reconnects.Load() < 2 {
		t.Errorf("%d reconnects", a.net.Metrics.Reconnects.Load())
	}
}

// TestLosslessForgotten drops the record of a session that nobody uses.
func TestLosslessForgotten(t *testing.T) {
	a, b := newNode(t, 1, TCPOptions{Idle: 20 * time.Millisecond}), newNode(t, 2, TCPOptions{})
	c := a.connect(b)
	stands(t, c)
	a.until("reset", func() bool { return len(a.resets) == 1 })
	stands(t, a.connect(b))
	b.until("reset", func() bool { return len(b.resets) == 1 })
}

func waitUntil(t *testing.T, what string, cond func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !cond(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("no %s", what)
		}
	}
}

// TestLosslessQueueBound resets a session when too much waits for a peer that
// can't be reached.
func TestLosslessQueueBound(t *testing.T) {
	a, b := newNode(t, 1, TCPOptions{SendBytes: 64 << 10}), newNode(t, 2, TCPOptions{})
	c := a.connect(b)
	sendAll(t, c, 0, 10)
	b.inOrder(10)
	a.net.dial = func(context.Context, string) (net.Conn, error) { return nil, net.ErrClosed }
	a.cutAll()
	waitUntil(t, "bound", func() bool { return c.Send(opMessage(0, 1000)) != nil })
	a.until("reset", func() bool { return len(a.resets) == 1 })
	if n := a.net.Metrics.SlowPeers.Load(); n != 1 {
		t.Errorf("%d slow peers", n)
	}
}

// hole is a connection that swallows what is written once it is deaf.
type hole struct {
	net.Conn
	deaf *atomic.Bool
}

func (h hole) Write(p []byte) (int, error) {
	if h.deaf.Load() {
		return len(p), nil
	}
	return h.Conn.Write(p)
}

// TestKeepalive resets a session whose peer gives no sign, and no other.
func TestKeepalive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newMemNet()
		server, user := n.tcp(TCPOptions{}), n.tcp(TCPOptions{Keepalive: 10 * time.Second})
		defer server.Close()
		defer user.Close()
		l, err := server.Listen(osdName, wire.Addr{}, silent{}, NoAuth{})
		if err != nil {
			t.Fatal(err)
		}
		var deaf atomic.Bool
		inner := user.dial
		user.dial = func(ctx context.Context, addr string) (net.Conn, error) {
			c, err := inner(ctx, addr)
			return hole{c, &deaf}, err
		}
		d := &counter{}
		c, err := user.Connect(wire.EntityName{Type: wire.EntityClient}, wire.Addr{}, wire.EntityOSD, l.Addr(), d, NoAuth{})
		if err != nil {
			t.Fatal(err)
		}
		stands(t, c)
		time.Sleep(10 * time.Minute)
		if _, resets := d.counts(); resets != 0 {
			t.Error("reset though the peer answers")
		}
		deaf.Store(true)
		start := time.Now()
		<-c.(*tcpConn).over
		if d := time.Since(start); d < 20*time.Second || d > 50*time.Second {
			t.Errorf("noticed after %v", d)
		}
		if _, resets := d.counts(); resets != 1 || user.Metrics.Silent.Load() != 1 {
			t.Errorf("%d resets, %d counted", resets, user.Metrics.Silent.Load())
		}
	})
}

// TestLossyIdle closes a client's session that nobody uses.
func TestLossyIdle(t *testing.T) {
	server, user := newNode(t, 1, TCPOptions{Idle: 50 * time.Millisecond}), newNode(t, 2, TCPOptions{})
	c, err := user.net.Connect(wire.EntityName{Type: wire.EntityClient}, wire.Addr{}, wire.EntityOSD, server.l.Addr(), user, NoAuth{})
	if err != nil {
		t.Fatal(err)
	}
	stands(t, c)
	user.until("reset", func() bool { return len(user.resets) == 1 })
	server.until("reset", func() bool { return len(server.resets) == 1 })
}

// TestSlowReader resets a client that does not read its answers.
func TestSlowReader(t *testing.T) {
	server := newNode(t, 1, TCPOptions{SendBytes: 1 << 20})
	user := newNode(t, 2, TCPOptions{})
	stop := make(chan struct{})
	user.inside = func(Conn, uint64) { <-stop }
	c, err := user.net.Connect(wire.EntityName{Type: wire.EntityClient}, wire.Addr{}, wire.EntityOSD, server.l.Addr(), user, NoAuth{})
	if err != nil {
		t.Fatal(err)
	}
	conns := server.firstConn()
	sendAll(t, c, 0, 1)
	from := <-conns
	waitUntil(t, "bound", func() bool { return from.Send(opMessage(0, 64<<10)) != nil })
	server.until("reset", func() bool { return len(server.resets) == 1 })
	close(stop)
	user.until("reset", func() bool { return len(user.resets) == 1 })
	if n := server.net.Metrics.SlowPeers.Load(); n != 1 {
		t.Errorf("%d slow peers", n)
	}
}

// TestRecvBudget reads no more from clients than may be held.
func TestRecvBudget(t *testing.T) {
	const limit, size = 256 << 10, 32 << 10
	server := &keeper{limit: limit, arena: wire.NewArena(true)}
	n := NewTCP(TCPOptions{RecvBytes: limit, Arena: server.arena})
	defer n.Close()
	l, err := n.Listen(wire.EntityName{Type: wire.EntityOSD}, wire.Addr{}, server, NoAuth{})
	if err != nil {
		t.Fatal(err)
	}
	user := NewTCP(TCPOptions{})
	defer user.Close()
	const clients, count = 4, 50
	for range clients {
		c, err := user.Connect(wire.EntityName{Type: wire.EntityClient}, wire.Addr{}, wire.EntityOSD, l.Addr(), silent{}, NoAuth{})
		if err != nil {
			t.Fatal(err)
		}
		for i := range uint64(count) {
			c.Send(opMessage(i, size))
		}
	}
	for done := 0; done < clients*count; {
		waitUntil(t, "message", func() bool { return server.kept.Load() > 0 })
		if used := server.arena.InUse(); used > limit+clients*(64<<10) {
			t.Fatalf("%d bytes are held, %d allowed", used, limit)
		}
		done += server.releaseOne()
	}
	waitUntil(t, "wait", func() bool { return n.Metrics.RecvWaits.Load() > 0 })
}

// TestNoGoroutineLeft closes networks in all kinds of states, and wants their
// goroutines to end.
func TestNoGoroutineLeft(t *testing.T) {
	before := runtime.NumGoroutine()
	for range 5 {
		a, b := NewTCP(TCPOptions{}), NewTCP(TCPOptions{})
		l, err := a.Listen(wire.EntityName{Type: wire.EntityOSD, Num: 1}, wire.Addr{}, silent{}, NoAuth{})
		if err != nil {
			t.Fatal(err)
		}
		lb, err := b.Listen(wire.EntityName{Type: wire.EntityOSD, Num: 2}, wire.Addr{}, silent{}, NoAuth{})
		if err != nil {
			t.Fatal(err)
		}
		var raw []net.Conn
		for i := range 4 {
			c, err := b.Connect(wire.EntityName{Type: wire.EntityClient}, wire.Addr{}, wire.EntityOSD, l.Addr(), silent{}, NoAuth{})
			if err != nil {
				t.Fatal(err)
			}
			c.Send(opMessage(1, 1000))
			if i%2 == 0 {
				stands(t, c)
			}
			r, err := net.Dial("tcp", l.Addr().IP.String())
			if err != nil {
				t.Fatal(err)
			}
			raw = append(raw, r)
		}
		nobody := wire.Addr{Type: wire.AddrMsgr2, Nonce: 5, IP: withPort(l.Addr().IP, 1)}
		for _, target := range []wire.Addr{l.Addr(), nobody} {
			c, err := b.Connect(wire.EntityName{Type: wire.EntityOSD, Num: 2}, lb.Addr(), wire.EntityOSD, target, silent{}, NoAuth{})
			if err != nil {
				t.Fatal(err)
			}
			c.Send(opMessage(1, 1000))
		}
		go a.Close()
		b.Close()
		a.Close()
		for _, r := range raw {
			r.Close()
		}
	}
	waitUntil(t, "end of goroutines", func() bool { return runtime.NumGoroutine() <= before })
}
