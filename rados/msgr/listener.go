package msgr

import (
	"container/list"
	"context"
	"errors"
	"net"
	"sync"
	"time"

	"github.com/spirula/spirula/rados/wire"
)

// tcpListener is a bound address, the connections that are being
// authenticated, and the sessions accepted.
type tcpListener struct {
	net  *TCP
	me   wire.EntityName
	addr wire.Addr
	d    Dispatcher
	auth ServerAuth
	nl   net.Listener

	ctx    context.Context // of handshakes
	cancel context.CancelFunc
	work   sync.WaitGroup

	mu       sync.Mutex
	closed   bool
	halfOpen list.List // of *halfOpen, the oldest first
	sessions map[*tcpConn]struct{}
	peers    map[wire.Addr]*tcpConn // lossless sessions, by the peer's address
	peerAuth ClientAuth             // as Connect last had it; nil: peers must dial
}

// halfOpen is a connection whose handshake is under way.
type halfOpen struct {
	c      net.Conn
	ctx    context.Context
	cancel context.CancelFunc
}

func (h *halfOpen) drop() {
	h.cancel()
	h.c.Close()
}

func newListener(t *TCP, me wire.EntityName, addr wire.Addr, d Dispatcher, auth ServerAuth, nl net.Listener) *tcpListener {
	l := &tcpListener{net: t, me: me, addr: addr, d: d, auth: auth, nl: nl, sessions: map[*tcpConn]struct{}{},
		peers: map[wire.Addr]*tcpConn{}}
	l.ctx, l.cancel = context.WithCancel(context.Background())
	return l
}

// Addr implements Listener.
func (l *tcpListener) Addr() wire.Addr { return l.addr }

// Bounds of the pause after an error of accept, such as too many open files.
const (
	minAcceptPause = 5 * time.Millisecond
	maxAcceptPause = time.Second
)

func (l *tcpListener) acceptLoop() {
	pause := minAcceptPause
	for {
		nc, err := l.nl.Accept()
		if err == nil {
			pause = minAcceptPause
			l.begin(nc)
			continue
		}
		if errors.Is(err, net.ErrClosed) || l.ctx.Err() != nil {
			return
		}
		l.net.Metrics.AcceptErrors.Add(1)
		l.net.warn("connections can't be accepted", "addr", l.addr, "err", err)
		select {
		case <-time.After(pause):
		case <-l.ctx.Done():
			return
		}
		pause = min(2*pause, maxAcceptPause)
	}
}

// begin starts the handshake on a new connection. When too many are under
// way, the oldest is given up.
func (l *tcpListener) begin(nc net.Conn) {
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		nc.Close()
		return
	}
	var oldest *halfOpen
	if l.halfOpen.Len() >= l.net.opts.HalfOpen {
		oldest = l.halfOpen.Remove(l.halfOpen.Front()).(*halfOpen)
		l.net.Metrics.HalfOpenDropped.Add(1)
	}
	h := &halfOpen{c: nc}
	h.ctx, h.cancel = context.WithTimeout(l.ctx, handshakeTime)
	place := l.halfOpen.PushBack(h)
	l.work.Go(func() { l.serve(h, place) })
	l.mu.Unlock()
	if oldest != nil {
		l.net.warn("too many connections are not authenticated: the oldest is closed", "addr", l.addr)
		oldest.drop()
	}
}

// serve is a connection's goroutine.
func (l *tcpListener) serve(h *halfOpen, place *list.Element) {
	nc := h.c
	nc.SetDeadline(time.Now().Add(handshakeTime))
	k := l.net.newLink(nc)
	c, err := l.handshake(h.ctx, k)
	h.cancel()
	l.mu.Lock()
	l.halfOpen.Remove(place)
	l.mu.Unlock()
	if errors.Is(err, errWait) || errors.Is(err, errOvertaken) {
		nc.Close()
		return
	}
	if err != nil {
		nc.Close()
		l.net.Metrics.BadHandshakes.Add(1)
		l.net.warn("connection refused", "addr", l.addr, "peer", nc.RemoteAddr(), "err", err)
		return
	}
	if c.lossless {
		c.serveLink(k)
	} else {
		c.run(k)
	}
}

// add enters a session. False: the listener is closed, or has too many.
func (l *tcpListener) add(c *tcpConn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed || len(l.sessions) >= l.net.opts.Sessions {
		return false
	}
	l.sessions[c] = struct{}{}
	return true
}

func (l *tcpListener) remove(c *tcpConn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.sessions, c)
	if c.lossless && l.peers[c.target] == c {
		delete(l.peers, c.target)
	}
}

// Close implements Listener.
func (l *tcpListener) Close() {
	l.nl.Close()
	l.mu.Lock()
	l.closed = true
	l.cancel()
	for e := l.halfOpen.Front(); e != nil; e = e.Next() {
		e.Value.(*halfOpen).drop()
	}
	open := make([]*tcpConn, 0, len(l.sessions))
	for c := range l.sessions {
		open = append(open, c)
	}
	l.mu.Unlock()
	for _, c := range open {
		c.Close()
	}
	l.work.Wait()
	l.net.mu.Lock()
	delete(l.net.listeners, l)
	l.net.mu.Unlock()
}
