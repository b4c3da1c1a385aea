package msgr

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/spirula/spirula/rados/wire"
)

// TCPOptions are the bounds and surroundings of a TCP. The zero value is
// usable.
type TCPOptions struct {
	// Registry knows the codecs of messages beside those of package wire.
	Registry wire.Registry
	Log      *slog.Logger // nil discards
	// Arena gives the memory of received data; nil is one of its own.
	Arena *wire.Arena
	// RecvBytes bounds the data that clients have sent and that are not
	// released; beyond it, no more is read from clients. 0 is 256 MiB.
	RecvBytes int64
	// SendBytes bounds what waits to be sent on one session, or to be
	// acknowledged; beyond it the session is reset. 0 is 256 MiB.
	SendBytes int
	// HalfOpen bounds the connections accepted and not yet authenticated;
	// the oldest makes room. 0 is 1024.
	HalfOpen int
	// Sessions bounds those that one listener has; more are refused. 0 is
	// 20 000.
	Sessions int
	// Keepalive is how often a dialler asks whether the peer is there; it
	// resets the session after three times that without any sign. 0: never.
	Keepalive time.Duration
	// Idle is how long a session may carry nothing before its connection is
	// closed. 0 is 15 minutes.
	Idle time.Duration
}

// Defaults of TCPOptions, and what goes without an option.
const (
	defaultRecvBytes = 256 << 20
	defaultSendBytes = 256 << 20
	defaultHalfOpen  = 1024
	defaultSessions  = 20_000
	defaultIdle      = 15 * time.Minute

	maxLarge   = 512              // readers with a large buffer
	maxQueued  = 64 << 10         // messages waiting in one session
	flushTime  = 5 * time.Second  // Close waits so long for what was sent
	lingerTime = time.Second      // and so long for the peer to see its end
	stallTime  = 30 * time.Second // a write, or a frame begun, that makes no progress
)

var (
	errClosed = errors.New("closed")
	errSlow   = errors.New("the peer reads too slowly")
	errSilent = errors.New("the peer gives no sign")
	errIdle   = errors.New("idle")
)

// Metrics counts what a TCP did since it was made.
type Metrics struct {
	Accepted, Dialled   atomic.Int64 // sessions that stood
	Refused             atomic.Int64 // attempts at authentication refused
	HalfOpenDropped     atomic.Int64 // connections closed to make room for newer ones
	BadHandshakes       atomic.Int64 // connections closed before their session stood
	BadFrames           atomic.Int64 // sessions closed for what the peer sent
	SlowPeers           atomic.Int64 // sessions closed because too much waited
	AcceptErrors        atomic.Int64
	UnknownMessages     atomic.Int64 // of types without a codec: skipped
	FramesIn, FramesOut atomic.Int64 // messages
	BytesIn, BytesOut   atomic.Int64 // fronts and data
	Writes              atomic.Int64 // calls to write batches of messages
	Reconnects          atomic.Int64 // sessions that went on over a new connection
	Resent              atomic.Int64 // messages, over such a connection
	Duplicates          atomic.Int64 // messages dropped
	RemoteResets        atomic.Int64 // lossless sessions that the peer had given up
	RecvWaits           atomic.Int64 // reads that waited for memory
	IdleCloses          atomic.Int64 // connections closed because nobody used them
	Silent              atomic.Int64 // connections closed because keepalives had no answer
}

// TCP is a Network over TCP with messenger v2.1.
//
// Lock order: the mutexes of TCP and of a listener come before that of a
// session. None is held while a Dispatcher or the network is called.
type TCP struct {
	opts    TCPOptions
	log     *slog.Logger
	Metrics Metrics

	globalSeq atomic.Uint64
	frames    sync.Pool // of *outFrame
	budget    budget
	scratch   scratchPool
	large     atomic.Int64 // readers with a large buffer
	warned    sync.Map     // string -> *atomic.Int64, when a warning was last written

	// Replaced in tests.
	minRedial, maxRedial time.Duration
	dial                 func(ctx context.Context, addr string) (net.Conn, error)
	listen               func(addr string) (net.Listener, error)

	mu        sync.Mutex
	closed    bool
	listeners map[*tcpListener]struct{}
	dialled   map[*tcpConn]struct{}
	ticking   bool
	timer     *time.Timer
	work      sync.WaitGroup // goroutines of dialled sessions
}

var _ Network = (*TCP)(nil)

// NewTCP makes a network without listeners and sessions.
func NewTCP(o TCPOptions) *TCP {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Arena == nil {
		o.Arena = wire.NewArena(false)
	}
	setDefault(&o.RecvBytes, defaultRecvBytes)
	setDefault(&o.SendBytes, defaultSendBytes)
	setDefault(&o.HalfOpen, defaultHalfOpen)
	setDefault(&o.Sessions, defaultSessions)
	setDefault(&o.Idle, defaultIdle)
	t := &TCP{opts: o, log: o.Log, minRedial: minRedial, maxRedial: maxRedial,
		listeners: map[*tcpListener]struct{}{}, dialled: map[*tcpConn]struct{}{}}
	t.budget = budget{arena: o.Arena, limit: o.RecvBytes, turn: make(chan struct{}, 1), waits: &t.Metrics.RecvWaits}
	t.dial = func(ctx context.Context, addr string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "tcp", addr)
	}
	t.listen = func(addr string) (net.Listener, error) { return net.Listen("tcp", addr) }
	return t
}

func setDefault[T int | int64 | time.Duration](v *T, d T) {
	if *v <= 0 {
		*v = d
	}
}

// Listen implements Network. An address without a nonce is given a random
// one, but that of a mon stays 0. EBUSY: the port is in use.
func (t *TCP) Listen(me wire.EntityName, addr wire.Addr, d Dispatcher, auth ServerAuth) (Listener, error) {
	ip := addr.IP.Addr()
	if !ip.IsValid() {
		ip = netip.AddrFrom4([4]byte{127, 0, 0, 1})
	}
	at := netip.AddrPortFrom(ip, addr.IP.Port())
	if ip.IsUnspecified() {
		return nil, wire.Errorf("msgr.listen: peers must be told one address", at.String(), wire.EINVAL)
	}
	nl, err := t.listenAt(at)
	if err != nil {
		kind := wire.EIO
		switch {
		case errors.Is(err, syscall.EADDRINUSE):
			kind = wire.EBUSY
		case errors.Is(err, syscall.EACCES):
			kind = wire.EACCES
		}
		return nil, &wire.Error{Op: "msgr.listen", Subject: at.String(), Kind: kind, Cause: err}
	}
	addr.Type, addr.IP = wire.AddrMsgr2, addrOf(nl.Addr()).IP
	if addr.Nonce == 0 && me.Type != wire.EntityMon {
		addr.Nonce = randomNonce()
	}
	l := newListener(t, me, addr, d, auth, nl)
	t.mu.Lock()
	closed := t.closed
	t.listeners[l] = struct{}{}
	t.arm()
	t.mu.Unlock()
	if closed {
		l.Close()
		return nil, &wire.Error{Op: "msgr.listen", Subject: at.String(), Kind: wire.ESHUTDOWN, Cause: errClosed}
	}
	l.work.Go(l.acceptLoop)
	return l, nil
}

// Where daemons listen that were given no port, as Ceph's do: an
// administrator opens this range in a firewall.
const (
	lowPort  = 6800
	highPort = 7300
)

// listenAt binds an address; for port 0 the first of the range that is free,
// else any.
func (t *TCP) listenAt(at netip.AddrPort) (net.Listener, error) {
	if at.Port() == 0 {
		for port := uint16(lowPort); port <= highPort; port++ {
			nl, err := t.listen(netip.AddrPortFrom(at.Addr(), port).String())
			if err == nil || !errors.Is(err, syscall.EADDRINUSE) {
				return nl, err
			}
		}
	}
	return t.listen(at.String())
}

// Connect implements Network. A nonce of 0 in addr stands for whoever listens
// there. Until the session stands, Peer has the number -1.
//
// Sessions between OSDs, and between mons, survive their connections: what was
// sent arrives once and in order over the next one. For that myAddr must be
// where this network listens; the session belongs to the listener, then, and
// there is one for each peer: Connect gives the one that stands, also if the
// peer has opened it, and what comes goes to the Dispatcher that it has. Reset
// tells that the peer has given it up, or is another incarnation, or was not
// reached for long. Everything else gets a session that ends with its
// connection.
func (t *TCP) Connect(me wire.EntityName, myAddr wire.Addr, peer wire.EntityType, addr wire.Addr, d Dispatcher, auth ClientAuth) (Conn, error) {
	if !addr.IP.Addr().IsValid() || addr.IP.Port() == 0 || addr.Type == wire.AddrLegacy {
		return nil, wire.Errorf("msgr.connect", addr.String(), wire.ENOTCONN)
	}
	if addr.Type == wire.AddrNone {
		addr.Type = wire.AddrMsgr2
	}
	if myAddr.Nonce == 0 && myAddr.Type == wire.AddrNone {
		myAddr.Nonce = randomNonce()
	}
	if losslessBetween(me.Type, peer) && (addr.Nonce != 0 || peer == wire.EntityMon) {
		if l := t.listenerAt(myAddr); l != nil {
			c, err := l.connect(peer, addr, d, auth)
			if err != nil {
				return nil, err
			}
			return c, nil
		}
	}
	c := t.newConn(me, d, &peerInfo{name: wire.EntityName{Type: peer, Num: -1}, addr: addr, identity: &Identity{}})
	c.dialled, c.auth, c.target, c.myAddr, c.peerType = true, auth, addr, myAddr, peer
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return nil, wire.Errorf("msgr.connect", addr.String(), wire.ESHUTDOWN)
	}
	t.dialled[c] = struct{}{}
	t.arm()
	ctx, cancel := context.WithCancel(context.Background())
	c.cancel = cancel
	t.work.Go(func() { c.runDialled(ctx) })
	return c, nil
}

// listenerAt gives the listener that has exactly this address, or nil.
func (t *TCP) listenerAt(addr wire.Addr) *tcpListener {
	t.mu.Lock()
	defer t.mu.Unlock()
	for l := range t.listeners {
		if l.addr == addr {
			return l
		}
	}
	return nil
}

// Close closes all listeners and sessions, and waits for what they had sent
// to go out, within bounds. It may be called twice.
func (t *TCP) Close() {
	t.mu.Lock()
	t.closed = true
	var listeners []*tcpListener
	for l := range t.listeners {
		listeners = append(listeners, l)
	}
	var conns []*tcpConn
	for c := range t.dialled {
		conns = append(conns, c)
	}
	t.mu.Unlock()
	for _, c := range conns {
		c.Close()
	}
	for _, l := range listeners {
		l.Close()
	}
	t.work.Wait()
	t.mu.Lock()
	if t.timer != nil {
		t.timer.Stop()
	}
	t.mu.Unlock()
}

// warnEvery is the time between two lines about the same kind of trouble.
const warnEvery = 10 * time.Second

// warn writes a line about a peer's misbehaviour unless there was one of late.
func (t *TCP) warn(what string, args ...any) {
	v, _ := t.warned.LoadOrStore(what, new(atomic.Int64))
	last := v.(*atomic.Int64)
	now := time.Now().UnixNano()
	old := last.Load()
	if old != 0 && now-old < int64(warnEvery) || !last.CompareAndSwap(old, now) {
		return
	}
	t.log.Warn(what, args...)
}
