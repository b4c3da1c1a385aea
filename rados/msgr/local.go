package msgr

import (
	"context"
	"math/rand/v2"
	"net/netip"
	"sync"
	"sync/atomic"

	"github.com/spirula/spirula/rados/wire"
)

// Verdict is what a Filter decides about a message.
type Verdict int

// The verdicts.
const (
	Deliver Verdict = iota
	Break           // lose the message and reset the session
)

// Filter is asked about every message of a Local; for tests.
type Filter func(from, to wire.EntityName, m wire.Message) Verdict

// firstPort is where Local starts when it chooses ports.
const firstPort = 6800

// Local is a Network within one process: Send runs the peer's Dispatch.
// Two Locals know nothing of each other.
//
// Lock order: the mutex of Local is never held while anybody's Dispatch or
// Reset runs.
type Local struct {
	filter atomic.Pointer[Filter]
	nonce  atomic.Uint32

	mu        sync.Mutex
	listeners map[netip.AddrPort]*localListener
	nextPort  uint16
}

var _ Network = (*Local)(nil)

// NewLocal makes an empty network. The nonces it gives start at a random
// number: an address is not that of an entity of an earlier process.
func NewLocal() *Local {
	l := &Local{listeners: make(map[netip.AddrPort]*localListener), nextPort: firstPort}
	l.nonce.Store(rand.Uint32() | 1)
	return l
}

// SetFilter has f asked about every message from now on; nil ends it.
func (l *Local) SetFilter(f Filter) {
	if f == nil {
		l.filter.Store(nil)
		return
	}
	l.filter.Store(&f)
}

// Listen implements Network. An address without a nonce is given one that
// this Local has not used. Nobody needs to prove anything within a process.
func (l *Local) Listen(me wire.EntityName, addr wire.Addr, d Dispatcher, _ ServerAuth) (Listener, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	ip := addr.IP.Addr()
	if !ip.IsValid() {
		ip = netip.AddrFrom4([4]byte{127, 0, 0, 1})
	}
	port := addr.IP.Port()
	for tries := 0; port == 0; tries++ {
		if tries > 1<<16 {
			return nil, wire.Errorf("msgr.listen", addr.String(), wire.ENOMEM)
		}
		l.nextPort = max(l.nextPort+1, firstPort)
		if l.listeners[netip.AddrPortFrom(ip, l.nextPort)] == nil {
			port = l.nextPort
		}
	}
	addr.Type, addr.IP = wire.AddrMsgr2, netip.AddrPortFrom(ip, port)
	if addr.Nonce == 0 && me.Type != wire.EntityMon {
		addr.Nonce = l.nonce.Add(1)
	}
	if l.listeners[addr.IP] != nil {
		return nil, wire.Errorf("msgr.listen", addr.String(), wire.EBUSY)
	}
	s := &localListener{net: l, me: me, addr: addr, d: d, sessions: make(map[*session]struct{})}
	s.idle.L = &s.mu
	l.listeners[addr.IP] = s
	return s, nil
}

// Connect implements Network. The nonce of addr counts: a daemon that was
// started anew at the same port is not the one asked for. A nonce of 0
// stands for whoever listens there.
func (l *Local) Connect(me wire.EntityName, myAddr wire.Addr, _ wire.EntityType, addr wire.Addr, d Dispatcher, _ ClientAuth) (Conn, error) {
	l.mu.Lock()
	s := l.listeners[addr.IP]
	l.mu.Unlock()
	if s == nil || addr.Nonce != 0 && addr.Nonce != s.addr.Nonce {
		return nil, wire.Errorf("msgr.connect", addr.String(), wire.ENOTCONN)
	}
	if myAddr.Type == wire.AddrNone {
		myAddr = wire.Addr{Type: wire.AddrMsgr2, Nonce: l.nonce.Add(1),
			IP: netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), 0)}
	}
	c := &session{net: l, listener: s}
	c.ends[0] = localConn{s: c, peer: s.me, peerAddr: s.addr, d: d, other: &c.ends[1]}
	c.ends[1] = localConn{s: c, peer: me, peerAddr: myAddr, d: s.d, other: &c.ends[0]}
	if !s.add(c) {
		return nil, wire.Errorf("msgr.connect", addr.String(), wire.ENOTCONN)
	}
	return &c.ends[0], nil
}

type localListener struct {
	net  *Local
	me   wire.EntityName
	addr wire.Addr
	d    Dispatcher

	mu       sync.Mutex
	idle     sync.Cond // sessions became empty
	closed   bool
	sessions map[*session]struct{}
}

func (s *localListener) Addr() wire.Addr { return s.addr }

func (s *localListener) add(c *session) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	s.sessions[c] = struct{}{}
	return true
}

func (s *localListener) remove(c *session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.sessions, c)
	if len(s.sessions) == 0 {
		s.idle.Broadcast()
	}
}

func (s *localListener) Close() {
	s.net.mu.Lock()
	if s.net.listeners[s.addr.IP] == s {
		delete(s.net.listeners, s.addr.IP)
	}
	s.net.mu.Unlock()
	s.mu.Lock()
	s.closed = true
	open := make([]*session, 0, len(s.sessions))
	for c := range s.sessions {
		open = append(open, c)
	}
	s.mu.Unlock()
	for _, c := range open {
		c.ends[1].Close()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.sessions) > 0 {
		s.idle.Wait()
	}
}

// Bits of session.state; the rest counts the messages being delivered.
const (
	stateEnd0   = 1 << 62 // end 0 wants to hear of the reset
	stateEnd1   = 1 << 61 // end 1 does
	stateClosed = 1 << 60
	stateFlags  = stateEnd0 | stateEnd1 | stateClosed
)

// session is a pair of connected ends.
//
// A session that is closed while messages are being delivered ends when the
// last of them has been: only then is Reset called, on a goroutine of its
// own, so that whoever closes may hold locks, and be inside a Dispatch.
type session struct {
	net      *Local
	listener *localListener
	state    atomic.Int64
	over     atomic.Bool
	ends     [2]localConn
}

// localConn is one end.
type localConn struct {
	s        *session
	peer     wire.EntityName
	peerAddr wire.Addr
	d        Dispatcher // ours
	other    *localConn
}

func (c *localConn) Peer() wire.EntityName { return c.peer }

func (c *localConn) PeerAddr() wire.Addr { return c.peerAddr }

// ofThisProcess is the identity of every peer on a Local.
var ofThisProcess = &Identity{Trusted: true}

func (c *localConn) Identity() *Identity { return ofThisProcess }

func (c *localConn) GlobalID() uint64 { return 0 }

func (c *localConn) Wait(context.Context) error {
	if c.s.state.Load()&stateClosed != 0 {
		return wire.Errorf("msgr.connect", c.peerAddr.String(), wire.ENOTCONN)
	}
	return nil
}

func (c *localConn) Send(m wire.Message) error {
	s := c.s
	if s.state.Add(1)&stateClosed != 0 {
		s.leave()
		return wire.ENOTCONN
	}
	if f := s.net.filter.Load(); f != nil && (*f)(c.other.peer, c.peer, m) == Break {
		if r, ok := m.(*wire.MOSDOpReply); ok {
			r.Release()
		}
		s.close(stateEnd0 | stateEnd1)
		s.leave()
		return nil
	}
	c.other.d.Dispatch(c.other, m)
	s.leave()
	return nil
}

func (c *localConn) Close() {
	other := int64(stateEnd0)
	if c.other == &c.s.ends[1] {
		other = stateEnd1
	}
	c.s.close(other)
}

// close ends the session; tell has the ends that are to hear of it. The
// first one to close decides.
func (s *session) close(tell int64) {
	for {
		old := s.state.Load()
		if old&stateClosed != 0 {
			return
		}
		if s.state.CompareAndSwap(old, (old+1)|stateClosed|tell) {
			break
		}
	}
	s.leave()
}

// leave ends one delivery; the last one of a closed session ends it.
func (s *session) leave() {
	n := s.state.Add(-1)
	if n&stateClosed == 0 || n&^stateFlags != 0 || !s.over.CompareAndSwap(false, true) {
		return
	}
	s.listener.remove(s)
	go func() {
		if n&stateEnd0 != 0 {
			s.ends[0].d.Reset(&s.ends[0])
		}
		if n&stateEnd1 != 0 {
			s.ends[1].d.Reset(&s.ends[1])
		}
	}()
}
