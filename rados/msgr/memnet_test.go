package msgr

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/spirula/spirula/rados/wire"
)

// memConn is one end of a connection in memory, which time in a synctest
// bubble understands.
type memConn struct {
	pipe
	in, out *memPipe
}

// memPipe carries bytes one way. It has room for as many as come.
type memPipe struct {
	mu       sync.Mutex
	change   sync.Cond
	b        []byte
	closed   bool
	deadline time.Time // of readers
	timer    *time.Timer
}

func newMemPipe() *memPipe {
	p := &memPipe{}
	p.change.L = &p.mu
	return p
}

// memPair makes a connection between two ports.
func memPair(from, to netip.AddrPort) (a, b *memConn) {
	x, y := newMemPipe(), newMemPipe()
	return &memConn{pipe{nil, from, to}, x, y}, &memConn{pipe{nil, to, from}, y, x}
}

func (c *memConn) Read(b []byte) (int, error) {
	p := c.in
	p.mu.Lock()
	defer p.mu.Unlock()
	for len(p.b) == 0 {
		switch {
		case p.closed:
			return 0, io.EOF
		case !p.deadline.IsZero() && !time.Now().Before(p.deadline):
			return 0, os.ErrDeadlineExceeded
		}
		p.change.Wait()
	}
	n := copy(b, p.b)
	p.b = p.b[n:]
	return n, nil
}

func (c *memConn) Write(b []byte) (int, error) {
	p := c.out
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return 0, net.ErrClosed
	}
	p.b = append(p.b, b...)
	p.change.Broadcast()
	return len(b), nil
}

func (p *memPipe) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	p.change.Broadcast()
}

func (c *memConn) CloseWrite() error { c.out.close(); return nil }

func (c *memConn) Close() error {
	c.in.close()
	c.out.close()
	return nil
}

func (c *memConn) SetDeadline(t time.Time) error { return c.SetReadDeadline(t) }

func (c *memConn) SetWriteDeadline(time.Time) error { return nil }

func (c *memConn) SetReadDeadline(t time.Time) error {
	p := c.in
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.timer != nil {
		p.timer.Stop()
	}
	p.deadline = t
	if !t.IsZero() {
		p.timer = time.AfterFunc(time.Until(t), func() {
			p.mu.Lock()
			defer p.mu.Unlock()
			p.change.Broadcast()
		})
	}
	p.change.Broadcast()
	return nil
}

// memNet is the ports that are listened at.
type memNet struct {
	mu    sync.Mutex
	ports map[string]*memListener
	next  uint16
	dials int
	fail  error // of dials
}

type memListener struct {
	n    *memNet
	addr netip.AddrPort
	ch   chan *memConn
	gone chan struct{}
	fail []error // of the next calls of Accept
}

func (l *memListener) Accept() (net.Conn, error) {
	if len(l.fail) > 0 {
		err := l.fail[0]
		l.fail = l.fail[1:]
		return nil, err
	}
	select {
	case c := <-l.ch:
		return c, nil
	case <-l.gone:
		return nil, net.ErrClosed
	}
}

func (l *memListener) Close() error {
	l.n.mu.Lock()
	defer l.n.mu.Unlock()
	if l.n.ports[l.addr.String()] == l {
		delete(l.n.ports, l.addr.String())
		close(l.gone)
	}
	return nil
}

func (l *memListener) Addr() net.Addr { return net.TCPAddrFromAddrPort(l.addr) }

// tcp makes a TCP whose connections are in memory.
func (n *memNet) tcp(o TCPOptions) *TCP {
	t := NewTCP(o)
	t.listen = func(string) (net.Listener, error) {
		n.mu.Lock()
		defer n.mu.Unlock()
		n.next++
		l := &memListener{n: n, addr: netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), n.next), ch: make(chan *memConn, 64), gone: make(chan struct{})}
		n.ports[l.addr.String()] = l
		return l, nil
	}
	t.dial = func(_ context.Context, addr string) (net.Conn, error) {
		n.mu.Lock()
		defer n.mu.Unlock()
		n.dials++
		l := n.ports[addr]
		if n.fail != nil || l == nil {
			return nil, errors.Join(n.fail, os.ErrNotExist)
		}
		a, b := memPair(netip.MustParseAddrPort("127.0.0.1:9"), l.addr)
		l.ch <- b
		return a, nil
	}
	return t
}

func newMemNet() *memNet { return &memNet{ports: map[string]*memListener{}, next: 6800} }

// counter counts what it gets.
type counter struct {
	mu          sync.Mutex
	got, resets int
}

func (c *counter) Dispatch(Conn, wire.Message) { c.mu.Lock(); defer c.mu.Unlock(); c.got++ }
func (c *counter) Reset(Conn)                  { c.mu.Lock(); defer c.mu.Unlock(); c.resets++ }

func (c *counter) counts() (got, resets int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.got, c.resets
}

var osdName = wire.EntityName{Type: wire.EntityOSD, Num: 1}

// TestHandshakeDeadline gives up a peer that says nothing, or not enough.
func TestHandshakeDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newMemNet()
		server := n.tcp(TCPOptions{})
		defer server.Close()
		l, err := server.Listen(osdName, wire.Addr{}, silent{}, NoAuth{})
		if err != nil {
			t.Fatal(err)
		}
		c, _ := server.dial(t.Context(), l.Addr().IP.String())
		c.Write([]byte(bannerText))
		start := time.Now()
		io.Copy(io.Discard, c)
		if d := time.Since(start); d != handshakeTime {
			t.Errorf("closed after %v", d)
		}
	})
}

// TestDialDeadline gives up a server that says nothing.
func TestDialDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newMemNet()
		user := n.tcp(TCPOptions{})
		defer user.Close()
		l, _ := user.listen("")
		defer l.Close()
		d := &counter{}
		start := time.Now()
		c, err := user.Connect(wire.EntityName{Type: wire.EntityClient}, wire.Addr{}, wire.EntityOSD, wire.Addr{IP: l.(*memListener).addr}, d, NoAuth{})
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Wait(t.Context()); wire.ErrnoOf(err) != wire.ENOTCONN || time.Since(start) != handshakeTime {
			t.Errorf("%v after %v", err, time.Since(start))
		}
		synctest.Wait()
		if _, resets := d.counts(); resets != 1 {
			t.Errorf("%d resets", resets)
		}
	})
}

// TestStalledFrame gives up a client that begins a message and does not go
// on with it, but not one that has nothing to say.
func TestStalledFrame(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newMemNet()
		server := n.tcp(TCPOptions{Arena: wire.NewArena(true)})
		defer server.Close()
		d := &counter{}
		l, err := server.Listen(osdName, wire.Addr{}, d, NoAuth{})
		if err != nil {
			t.Fatal(err)
		}
		user := n.tcp(TCPOptions{})
		c := user.newConn(wire.EntityName{Type: wire.EntityClient}, silent{}, &peerInfo{})
		c.dialled, c.auth, c.target, c.peerType = true, NoAuth{}, l.Addr(), wire.EntityOSD
		k, err := c.dial(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * stallTime)
		frame := messageFrame(opMessage(1, 1<<20), 1)
		k.c.Write(frame[:1000])
		start := time.Now()
		io.Copy(io.Discard, k.c)
		if d := time.Since(start); d < stallTime || d > stallTime+10*time.Second {
			t.Errorf("closed after %v", d)
		}
		synctest.Wait()
		if _, resets := d.counts(); resets != 1 || server.opts.Arena.InUse() != 0 {
			t.Errorf("%d resets, %d bytes held", resets, server.opts.Arena.InUse())
		}
	})
}

// TestRedialBackoff dials an unreachable peer less and less often, and gives
// up in the end.
func TestRedialBackoff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newMemNet()
		a := n.tcp(TCPOptions{})
		defer a.Close()
		d := &counter{}
		l, err := a.Listen(osdName, wire.Addr{}, d, NoAuth{})
		if err != nil {
			t.Fatal(err)
		}
		target := l.Addr()
		target.Nonce++
		target.IP = withPort(target.IP, 1)
		start := time.Now()
		c, err := a.Connect(osdName, l.Addr(), wire.EntityOSD, target, d, NoAuth{})
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Second)
		n.mu.Lock()
		if n.dials < 5 || n.dials > 7 {
			t.Errorf("%d dials in 10 s", n.dials)
		}
		n.mu.Unlock()
		if err := c.Wait(t.Context()); wire.ErrnoOf(err) != wire.ENOTCONN {
			t.Error(err)
		}
		if d := time.Since(start); d < giveUpAfter || d > giveUpAfter+maxRedial {
			t.Errorf("gave up after %v", d)
		}
		synctest.Wait()
		if _, resets := d.counts(); resets != 1 {
			t.Errorf("%d resets", resets)
		}
	})
}

// TestAckDelay has acknowledgements go alone only when no message takes them.
func TestAckDelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newMemNet()
		a, b := n.tcp(TCPOptions{}), n.tcp(TCPOptions{})
		defer a.Close()
		defer b.Close()
		d := &counter{}
		la, _ := a.Listen(osdName, wire.Addr{}, d, NoAuth{})
		lb, err := b.Listen(osdName, wire.Addr{}, d, NoAuth{})
		if err != nil {
			t.Fatal(err)
		}
		c, err := a.Connect(osdName, la.Addr(), wire.EntityOSD, lb.Addr(), d, NoAuth{})
		if err != nil || c.Wait(t.Context()) != nil {
			t.Fatal(err)
		}
		unacked := func() int {
			c := c.(*tcpConn)
			c.mu.Lock()
			defer c.mu.Unlock()
			return len(c.sent)
		}
		for i := range uint64(10) {
			c.Send(opMessage(i, 10))
		}
		synctest.Wait()
		if got, _ := d.counts(); got != 10 || unacked() != 10 {
			t.Errorf("%d messages came, %d are not acknowledged", got, unacked())
		}
		time.Sleep(ackDelay)
		synctest.Wait()
		if unacked() != 0 {
			t.Errorf("%d are not acknowledged in time", unacked())
		}
		for i := range uint64(ackMessages) {
			c.Send(opMessage(i, 10))
		}
		synctest.Wait()
		if unacked() >= ackMessages {
			t.Errorf("%d are not acknowledged", unacked())
		}
	})
}

// TestAcceptErrors goes on after errors of accept, and not in a tight loop.
func TestAcceptErrors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newMemNet()
		var log lines
		server := n.tcp(TCPOptions{Log: slog.New(slog.NewTextHandler(&log, nil))})
		defer server.Close()
		inner := server.listen
		server.listen = func(addr string) (net.Listener, error) {
			l, err := inner(addr)
			for range 20 {
				l.(*memListener).fail = append(l.(*memListener).fail, errors.New("too many open files"))
			}
			return l, err
		}
		l, err := server.Listen(osdName, wire.Addr{}, silent{}, NoAuth{})
		if err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		c, err := server.Connect(wire.EntityName{Type: wire.EntityClient}, wire.Addr{}, wire.EntityOSD, l.Addr(), silent{}, NoAuth{})
		if err != nil {
			t.Fatal(err)
		}
		for c.Wait(t.Context()) != nil {
			if c, err = server.Connect(wire.EntityName{Type: wire.EntityClient}, wire.Addr{}, wire.EntityOSD, l.Addr(), silent{}, NoAuth{}); err != nil {
				t.Fatal(err)
			}
		}
		if d := time.Since(start); d < 10*time.Second || d > 20*time.Second {
			t.Errorf("20 errors took %v", d)
		}
		if server.Metrics.AcceptErrors.Load() != 20 || log.n.Load() > 3 {
			t.Errorf("%d errors counted, %d lines", server.Metrics.AcceptErrors.Load(), log.n.Load())
		}
	})
}
