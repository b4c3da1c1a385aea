// Package msgrtest checks that a msgr.Network keeps the promises of package
// msgr. Every implementation runs the same suite.
package msgrtest

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/spirula/spirula/rados/msgr"
	"github.com/spirula/spirula/rados/wire"
)

// patience is how long a test waits for what must happen.
const patience = 10 * time.Second

// entity is a Dispatcher that records what it gets, and answers when told to.
type entity struct {
	mu      sync.Mutex
	changed chan struct{}
	got     []uint64
	conns   []msgr.Conn
	resets  []msgr.Conn
	answer  func(msgr.Conn, wire.Message)
}

func newEntity() *entity { return &entity{changed: make(chan struct{})} }

func (e *entity) Dispatch(c msgr.Conn, m wire.Message) {
	e.mu.Lock()
	e.got = append(e.got, m.(*wire.MMonGetVersion).TID)
	e.conns = append(e.conns, c)
	answer := e.answer
	close(e.changed)
	e.changed = make(chan struct{})
	e.mu.Unlock()
	if answer != nil {
		answer(c, m)
	}
}

func (e *entity) Reset(c msgr.Conn) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.resets = append(e.resets, c)
	close(e.changed)
	e.changed = make(chan struct{})
}

// answers has f called with every message.
func (e *entity) answers(f func(msgr.Conn, wire.Message)) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.answer = f
}

// until waits for cond, which runs under the entity's mutex.
func (e *entity) until(t *testing.T, what string, cond func() bool) {
	t.Helper()
	timeout := time.After(patience)
	for {
		e.mu.Lock()
		ok, changed := cond(), e.changed
		e.mu.Unlock()
		if ok {
			return
		}
		select {
		case <-changed:
		case <-timeout:
			t.Fatalf("no %s within %v", what, patience)
		}
	}
}

var (
	osd    = wire.EntityName{Type: wire.EntityOSD, Num: 3}
	client = wire.EntityName{Type: wire.EntityClient, Num: 4100}
)

// admin is how the client says who it is.
var admin = msgr.NoAuth{Name: wire.AuthName{Type: wire.EntityClient, ID: "admin"}}

func msg(n uint64) wire.Message { return &wire.MMonGetVersion{TID: n} }

// pair is a listening entity and one connected to it.
type pair struct {
	net          msgr.Network
	l            msgr.Listener
	server, user *entity
	conn         msgr.Conn
}

func newPair(t *testing.T, net msgr.Network) *pair {
	t.Helper()
	p := &pair{net: net, server: newEntity(), user: newEntity()}
	var err error
	if p.l, err = net.Listen(osd, wire.Addr{}, p.server, msgr.NoAuth{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.l.Close)
	p.conn = p.connect(t, p.user)
	return p
}

func (p *pair) connect(t *testing.T, d msgr.Dispatcher) msgr.Conn {
	t.Helper()
	c, err := p.net.Connect(client, wire.Addr{}, wire.EntityOSD, p.l.Addr(), d, admin)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// Run checks the networks that make gives: a new one for every test.
func Run(t *testing.T, make func(t *testing.T) msgr.Network) {
	tests := []struct {
		name string
		run  func(t *testing.T, p *pair)
	}{
		{"Names", testNames},
		{"Order", testOrder},
		{"Answer", testAnswer},
		{"PeerClose", testPeerClose},
		{"OwnClose", testOwnClose},
		{"ListenerClose", testListenerClose},
		{"CloseInsideDispatch", testCloseInside},
		{"NewIncarnation", testIncarnation},
		{"PortInUse", testPortInUse},
		{"CloseUnderLoad", testCloseUnderLoad},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) { tt.run(t, newPair(t, make(t))) })
	}
}

// wait waits until the session stands.
func wait(t *testing.T, c msgr.Conn) {
	t.Helper()
	if err := waitFor(t, c); err != nil {
		t.Fatal(err)
	}
}

func waitFor(t *testing.T, c msgr.Conn) error {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	return c.Wait(ctx)
}

// connects tries to open a session, and gives the error wherever it shows.
func connects(t *testing.T, net msgr.Network, addr wire.Addr) error {
	c, err := net.Connect(client, wire.Addr{}, wire.EntityOSD, addr, newEntity(), admin)
	if err != nil {
		return err
	}
	defer c.Close()
	return waitFor(t, c)
}

func testNames(t *testing.T, p *pair) {
	wait(t, p.conn)
	if got := p.conn.Peer(); got != osd {
		t.Errorf("peer %v, want %v", got, osd)
	}
	if got := p.conn.PeerAddr(); got != p.l.Addr() {
		t.Errorf("peer's address %v, want %v", got, p.l.Addr())
	}
	second := p.connect(t, newEntity())
	wait(t, second)
	p.conn.Send(msg(1))
	second.Send(msg(2))
	p.server.until(t, "two messages", func() bool { return len(p.server.got) == 2 })
	a, b := p.server.conns[0], p.server.conns[1]
	if p.server.got[0] == 2 {
		a, b = b, a
	}
	if a.PeerAddr() == b.PeerAddr() {
		t.Errorf("both peers are at %v: incarnations must differ", a.PeerAddr())
	}
	// Whoever is authenticated has the number that he was told.
	told := wire.EntityName{Type: client.Type, Num: int64(p.conn.GlobalID())}
	if a.Peer() != client && a.Peer() != told {
		t.Errorf("peer %v, want %v or %v", a.Peer(), client, told)
	}
}

func testOrder(t *testing.T, p *pair) {
	const n = 1000
	for i := range uint64(n) {
		if err := p.conn.Send(msg(i)); err != nil {
			t.Fatal(err)
		}
	}
	p.server.until(t, "1000 messages", func() bool { return len(p.server.got) == n })
	for i, got := range p.server.got {
		if got != uint64(i) {
			t.Fatalf("message %d came as number %d", got, i)
		}
	}
}

func testAnswer(t *testing.T, p *pair) {
	p.server.answers(func(c msgr.Conn, m wire.Message) { c.Send(msg(m.(*wire.MMonGetVersion).TID + 100)) })
	p.conn.Send(msg(7))
	p.user.until(t, "answer", func() bool { return len(p.user.got) == 1 && p.user.got[0] == 107 })
}

func testPeerClose(t *testing.T, p *pair) {
	p.conn.Send(msg(1))
	p.server.until(t, "message", func() bool { return len(p.server.got) == 1 })
	p.server.conns[0].Close()
	p.user.until(t, "reset", func() bool { return len(p.user.resets) == 1 && p.user.resets[0] == p.conn })
	if err := p.conn.Send(msg(2)); wire.ErrnoOf(err) != wire.ENOTCONN {
		t.Errorf("send after a reset: %v", err)
	}
	p.server.mu.Lock()
	defer p.server.mu.Unlock()
	if len(p.server.resets) != 0 {
		t.Error("who closes hears of no reset")
	}
}

func testOwnClose(t *testing.T, p *pair) {
	p.conn.Send(msg(1))
	p.conn.Close()
	p.conn.Close()
	p.server.until(t, "reset", func() bool { return len(p.server.resets) == 1 })
	if len(p.server.got) == 1 && p.server.resets[0] != p.server.conns[0] {
		t.Error("the reset is of another Conn than the message")
	}
	if err := p.conn.Send(msg(2)); wire.ErrnoOf(err) != wire.ENOTCONN {
		t.Errorf("send after Close: %v", err)
	}
}

func testListenerClose(t *testing.T, p *pair) {
	second := newEntity()
	p.connect(t, second)
	p.l.Close()
	p.l.Close()
	for _, e := range []*entity{p.user, second} {
		e.until(t, "reset", func() bool { return len(e.resets) == 1 })
	}
	if err := connects(t, p.net, p.l.Addr()); wire.ErrnoOf(err) != wire.ENOTCONN {
		t.Errorf("connect to a closed listener: %v", err)
	}
}

func testCloseInside(t *testing.T, p *pair) {
	p.server.answers(func(c msgr.Conn, m wire.Message) { c.Close() })
	p.conn.Send(msg(1))
	p.user.until(t, "reset", func() bool { return len(p.user.resets) == 1 })
}

func testIncarnation(t *testing.T, p *pair) {
	old := p.l.Addr()
	p.l.Close()
	again := old
	again.Nonce = old.Nonce + 1000
	l, err := p.net.Listen(osd, again, newEntity(), msgr.NoAuth{})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if l.Addr() != again {
		t.Errorf("listens at %v, want %v", l.Addr(), again)
	}
	if err := connects(t, p.net, old); wire.ErrnoOf(err) != wire.ENOTCONN {
		t.Errorf("connect to a former incarnation: %v", err)
	}
	if err := connects(t, p.net, again); err != nil {
		t.Error(err)
	}
}

func testPortInUse(t *testing.T, p *pair) {
	if _, err := p.net.Listen(osd, p.l.Addr(), newEntity(), msgr.NoAuth{}); wire.ErrnoOf(err) != wire.EBUSY {
		t.Errorf("second Listen: %v", err)
	}
}

// testCloseUnderLoad wants nothing to be dispatched after Close has returned,
// and every user to hear of it.
func testCloseUnderLoad(t *testing.T, p *pair) {
	var wg sync.WaitGroup
	users := []*entity{newEntity(), newEntity(), newEntity()}
	for _, u := range users {
		c := p.connect(t, u)
		wg.Go(func() {
			// A network may reset a session in which too much waits.
			for n := 1; c.Send(msg(1)) == nil; n++ {
				if n%16 == 0 {
					time.Sleep(100 * time.Microsecond)
				}
			}
		})
	}
	p.server.until(t, "traffic", func() bool { return len(p.server.got) > 100 })
	p.l.Close()
	p.server.mu.Lock()
	n := len(p.server.got)
	p.server.mu.Unlock()
	for _, u := range users {
		u.until(t, "reset", func() bool { return len(u.resets) == 1 })
	}
	wg.Wait()
	p.server.mu.Lock()
	defer p.server.mu.Unlock()
	if len(p.server.got) != n {
		t.Errorf("%d messages were dispatched after Close", len(p.server.got)-n)
	}
}
