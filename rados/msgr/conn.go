package msgr

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/spirula/spirula/rados/wire"
)

// peerInfo is what a session knows of its peer. It is replaced, not changed.
type peerInfo struct {
	name     wire.EntityName
	addr     wire.Addr
	identity *Identity
	globalID uint64 // ours, as the acceptor told it
}

// control says which control frames are to be sent.
type control uint8

const (
	wantKeepalive control = 1 << iota
	wantKeepaliveAck
	wantAck
	wantGoodbye // the session is closed: SESSION_RESET
)

// tcpConn is one end of a session.
//
// Of a lossy session one goroutine dials, if it is the dialler's end, then
// reads frames and dispatches, and ends with the connection; another one
// writes. A lossless session has a goroutine of its own that dials when that
// is needed, and serves what it has dialled; a connection that the peer dialled
// is served by its own.
type tcpConn struct {
	net      *TCP
	listener *tcpListener // that accepted it, or whose lossless session it is; or nil
	me       wire.EntityName
	d        Dispatcher
	info     atomic.Pointer[peerInfo]
	ready    chan struct{} // closed when the session stands, or is over
	stop     chan struct{} // closed when nothing more is to be received
	over     chan struct{} // closed when Reset has returned, or was not due

	// Of a dialler.
	dialled  bool
	auth     ClientAuth
	target   wire.Addr
	peerType wire.EntityType
	cancel   context.CancelFunc // of a lossy session's dialling

	inSeq   atomic.Uint64 // the last message received
	lastIn  atomic.Int64  // when a frame was received; nanoseconds
	lastOut atomic.Int64  // when something was written
	dead    atomic.Bool   // no more is accepted: a first look for Send

	mu       sync.Mutex
	wake     sync.Cond // there is something to write, or link has changed
	myAddr   wire.Addr
	link     *link // nil between connections, and once the last one is no more served
	closing  bool  // by Close
	flushed  bool  // everything sent has been written, and closing
	stood    bool  // the session was open once
	err      error // why the session is over
	out      []*outFrame
	outBytes int
	outSeq   uint64
	control  control
	stamp    [8]byte // of the keepalive to be answered

	lossless bool // never changed
	endurance
}

func (t *TCP) newConn(me wire.EntityName, d Dispatcher, info *peerInfo) *tcpConn {
	c := &tcpConn{net: t, me: me, d: d, ready: make(chan struct{}), stop: make(chan struct{}), over: make(chan struct{})}
	c.wake.L = &c.mu
	c.info.Store(info)
	return c
}

// Peer implements Conn.
func (c *tcpConn) Peer() wire.EntityName { return c.info.Load().name }

// PeerAddr implements Conn.
func (c *tcpConn) PeerAddr() wire.Addr { return c.info.Load().addr }

// Identity implements Conn.
func (c *tcpConn) Identity() *Identity { return c.info.Load().identity }

// GlobalID implements Conn.
func (c *tcpConn) GlobalID() uint64 { return c.info.Load().globalID }

// Wait implements Conn.
func (c *tcpConn) Wait(ctx context.Context) error {
	select {
	case <-c.ready:
	case <-ctx.Done():
		return wire.Wrap("msgr.connect", c.PeerAddr().String(), ctx.Err())
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.err != nil && !c.stood:
		return c.err
	case c.err != nil:
		return connectError(c.PeerAddr(), c.err)
	case c.closing:
		return connectError(c.PeerAddr(), errClosed)
	}
	return nil
}

// Send implements Conn.
func (c *tcpConn) Send(m wire.Message) error {
	if c.dead.Load() {
		return wire.ENOTCONN
	}
	f, err := c.net.encode(m)
	if err != nil {
		return err
	}
	c.mu.Lock()
	if c.closing || c.err != nil {
		c.mu.Unlock()
		c.net.free(f)
		return wire.ENOTCONN
	}
	if len(c.out)+len(c.sent) >= maxQueued || c.outBytes+c.sentBytes+f.size() > c.net.opts.SendBytes {
		c.fail(errSlow)
		c.mu.Unlock()
		c.net.free(f)
		c.net.Metrics.SlowPeers.Add(1)
		c.net.warn("session reset: too much waits to be sent", "peer", c.Peer(), "addr", c.PeerAddr())
		return wire.ENOTCONN
	}
	c.outSeq++
	f.header.Seq = c.outSeq
	c.out = append(c.out, f)
	c.outBytes += f.size()
	if c.link != nil {
		c.wake.Signal()
	} else if c.lossless {
		c.kick()
	}
	c.mu.Unlock()
	if r, ok := m.(*wire.MOSDOpReply); ok {
		r.Release()
	}
	return nil
}

// encode makes a frame of a message.
func (t *TCP) encode(m wire.Message) (*outFrame, error) {
	f, _ := t.frames.Get().(*outFrame)
	if f == nil {
		f = &outFrame{buf: make([]byte, frontOffset, 512)}
	}
	parts, err := t.opts.Registry.Encode(f.buf[:frontOffset], m)
	switch {
	case err != nil:
	case len(parts.Middle) > 0:
		panic("msgr: a message has a middle")
	case len(parts.Front)-frontOffset > maxFront || parts.Data.Len() > maxData:
		parts.Data.Release()
		err = wire.Errorf("msgr.send", "", wire.EMSGSIZE)
	}
	if err != nil {
		t.frames.Put(f)
		return nil, err
	}
	f.buf, f.front, f.data = parts.Front, len(parts.Front), parts.Data
	f.header = wire.FrameHeader{Header: parts.Header, Flags: wire.FrameComplete | wire.FrameNoDataCRC}
	f.refs = 1
	return f, nil
}

// keepFrame is the largest buffer that a frame keeps for the next one.
const keepFrame = 16 << 10

// free takes a frame back that nobody will send again.
func (t *TCP) free(f *outFrame) {
	f.data.Release()
	f.data = wire.Data{}
	if cap(f.buf) <= keepFrame {
		t.frames.Put(f)
	}
}

// Close implements Conn. What was sent goes out in the background, within a
// bound.
func (c *tcpConn) Close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closing || c.err != nil {
		return
	}
	c.closing = true
	c.halt()
	switch {
	case c.lossless:
		c.closeLossless()
	case c.link != nil:
		c.link.c.SetWriteDeadline(time.Now().Add(flushTime))
	case c.cancel != nil && len(c.out) == 0:
		c.cancel()
	}
}

// halt has nothing more accepted or received, under c.mu.
func (c *tcpConn) halt() {
	c.wake.Broadcast()
	if !c.dead.Swap(true) {
		close(c.stop)
	}
}

// fail ends the session, as far as can be done under c.mu: its goroutine
// does the rest.
func (c *tcpConn) fail(err error) {
	if c.err != nil {
		return
	}
	c.err = err
	c.halt()
	if c.link != nil {
		c.link.c.Close()
	}
	if c.cancel != nil {
		c.cancel()
	}
	c.abandon()
}

// runDialled is the goroutine of a dialler's session.
func (c *tcpConn) runDialled(ctx context.Context) {
	defer c.cancel()
	k, err := c.dial(ctx)
	if err != nil {
		c.finish(connectError(c.target, err))
		return
	}
	c.run(k)
}

// run lives as long as the connection k of a lossy session, which stands.
func (c *tcpConn) run(k *link) {
	c.mu.Lock()
	err := c.err
	if err == nil {
		c.attach(k)
	}
	c.mu.Unlock()
	if err != nil {
		k.c.Close()
	} else {
		err = c.serveLink(k)
	}
	c.finish(err)
}

// attach makes k the session's connection, under c.mu.
func (c *tcpConn) attach(k *link) {
	c.link = k
	k.c.SetDeadline(time.Time{})
	now := time.Now()
	c.lastIn.Store(now.UnixNano())
	c.lastOut.Store(now.UnixNano())
	if c.closing {
		k.c.SetWriteDeadline(now.Add(flushTime))
	}
	if c.stood {
		return
	}
	c.stood = true
	close(c.ready)
	if c.dialled {
		c.net.Metrics.Dialled.Add(1)
	} else {
		c.net.Metrics.Accepted.Add(1)
	}
}

// serveLink reads from k, which is attached, until it ends. The session has
// no connection then, and nothing runs that k needed.
func (c *tcpConn) serveLink(k *link) error {
	go c.writeLoop(k)
	err := c.readLoop(k)
	c.mu.Lock()
	switch {
	case c.closing && c.err == nil:
		// What was sent is still being written.
	case c.lossless && !errors.Is(err, errProtocol) && !errors.Is(err, errRemoteReset):
		k.over = true
		c.wake.Broadcast()
		k.c.Close()
	default:
		c.fail(err)
	}
	c.mu.Unlock()
	<-k.gone
	k.c.Close()
	k.r.close()
	c.mu.Lock()
	c.link = nil
	c.wake.Broadcast()
	if c.lossless {
		c.kick()
	}
	c.mu.Unlock()
	return err
}

// finish is the last thing that happens to a session.
func (c *tcpConn) finish(err error) {
	c.mu.Lock()
	c.fail(err)
	closing := c.closing
	for _, f := range c.out {
		c.net.free(f)
	}
	c.out = nil
	c.dropSent()
	if !c.stood {
		close(c.ready)
	}
	err = c.err
	c.mu.Unlock()
	if errors.Is(err, errProtocol) {
		c.net.Metrics.BadFrames.Add(1)
		c.net.warn("session closed for what the peer sent", "peer", c.Peer(), "addr", c.PeerAddr(), "err", err)
	}
	c.net.log.Debug("session over", "me", c.me, "peer", c.Peer(), "addr", c.PeerAddr(), "reason", err)
	if l := c.listener; l != nil {
		l.remove(c)
	} else {
		c.net.mu.Lock()
		delete(c.net.dialled, c)
		c.net.mu.Unlock()
	}
	if !closing {
		c.d.Reset(c)
	}
	close(c.over)
}
