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
)

// tcpConn is one end of a session. One goroutine runs it: it dials if it is
// the dialler's end, reads frames and dispatches. Another one writes, as long
// as there is a connection.
type tcpConn struct {
	net      *TCP
	listener *tcpListener // that accepted it, or nil
	me       wire.EntityName
	d        Dispatcher
	info     atomic.Pointer[peerInfo]
	lossless bool
	ready    chan struct{} // closed when the session stands, or is over
	stop     chan struct{} // closed when nothing more is to be received

	// Of a dialler.
	dialled  bool
	auth     ClientAuth
	target   wire.Addr
	peerType wire.EntityType
	cancel   context.CancelFunc

	inSeq  atomic.Uint64 // the last message received
	lastIn atomic.Int64  // when a frame was received; nanoseconds
	dead   atomic.Bool   // no more is accepted: a first look for Send

	mu       sync.Mutex
	wake     sync.Cond // there is something to write, or link has changed
	myAddr   wire.Addr
	link     *link
	closing  bool  // by Close
	flushed  bool  // everything sent has been written, and closing
	err      error // why the session is over
	out      []*outFrame
	outBytes int
	outSeq   uint64
	control  control
	stamp    [8]byte // of the keepalive to be answered

	clientCookie uint64
}

func (t *TCP) newConn(me wire.EntityName, d Dispatcher, info *peerInfo) *tcpConn {
	c := &tcpConn{net: t, me: me, d: d, ready: make(chan struct{}), stop: make(chan struct{})}
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
	if c.err != nil || c.closing {
		return connectError(c.PeerAddr(), c.reason())
	}
	return nil
}

// reason is why the session is over, or nearly.
func (c *tcpConn) reason() error {
	if c.err != nil {
		return c.err
	}
	return errClosed
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
	if len(c.out) >= maxQueued || c.outBytes+f.size() > c.net.opts.SendBytes {
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
	c.wake.Signal()
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

// run lives as long as the connection k, which is authenticated.
func (c *tcpConn) run(k *link) {
	c.mu.Lock()
	if err := c.err; err != nil {
		c.mu.Unlock()
		k.c.Close()
		c.finish(err)
		return
	}
	c.link = k
	if c.closing {
		k.c.SetWriteDeadline(time.Now().Add(flushTime))
	}
	c.mu.Unlock()
	if c.dialled {
		c.net.Metrics.Dialled.Add(1)
	} else {
		c.net.Metrics.Accepted.Add(1)
	}
	close(c.ready)
	go c.writeLoop(k)
	err := c.readLoop(k)
	c.mu.Lock()
	if !c.closing {
		c.fail(err)
	}
	c.mu.Unlock()
	<-k.gone
	k.c.Close()
	c.finish(err)
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
	c.mu.Unlock()
	select {
	case <-c.ready:
	default:
		close(c.ready)
	}
	if errors.Is(err, errProtocol) {
		c.net.Metrics.BadFrames.Add(1)
		c.net.warn("session closed for what the peer sent", "peer", c.Peer(), "addr", c.PeerAddr(), "err", err)
	}
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
}
