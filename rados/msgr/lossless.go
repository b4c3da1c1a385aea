package msgr

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/spirula/spirula/rados/wire"
)

// Bounds of lossless sessions.
const (
	minRedial       = 200 * time.Millisecond
	maxRedial       = 15 * time.Second
	giveUpAfter     = 10 * time.Minute      // without reaching a peer for which something waits
	forgetAfter     = 4                     // times Idle, without a connection and a use for one
	ackDelay        = 20 * time.Millisecond // an acknowledgement waits for a message to go with
	ackMessages     = 64                    // unacknowledged, and it waits no more
	maxNegotiations = 6                     // frames about how a session begins or goes on
)

var (
	errWait        = errors.New("the peer dials us at the same time")
	errOvertaken   = errors.New("the peer's connection came first")
	errRemoteReset = errors.New("the peer has given up the session")
	errUnreachable = errors.New("the peer can't be reached")
	errForgotten   = errors.New("idle for too long")
)

// losslessBetween reports whether sessions between entities of these kinds
// survive their connections.
func losslessBetween(a, b wire.EntityType) bool {
	return a == b && (a == wire.EntityOSD || a == wire.EntityMon)
}

// endurance is what a session needs to outlive its connections. All of it is
// under the session's mutex.
//
// Both cookies name the session at both ends; serverCookie is 0 until it
// stands. connectSeq counts the connections. Messages wait in out until a
// writer takes them, and in sent until they are acknowledged; a new connection
// puts those back that the peer has not received.
type endurance struct {
	clientCookie, serverCookie uint64
	connectSeq                 uint64
	peerGlobalSeq              uint64 // the newest dial of the peer's process that we know

	sent      []*outFrame
	sentBytes int
	lastTaken uint64 // the last message that a writer took

	adopting *link              // the peer's dial, with which the session is about to go on
	attempt  context.CancelFunc // of our own dial, while it lasts
	kicked   chan struct{}      // wakes supervise
	since    time.Time          // when the session began to need a connection

	ackSent  uint64 // the last acknowledgement on its way
	ackTimer *time.Timer
}

// makeLossless prepares a new session.
func (c *tcpConn) makeLossless(l *tcpListener) {
	c.lossless, c.listener, c.myAddr = true, l, l.addr
	c.kicked = make(chan struct{}, 1)
	c.clientCookie = rand.Uint64() | 1
}

// kick has supervise look at the session again.
func (c *tcpConn) kick() {
	select {
	case c.kicked <- struct{}{}:
	default:
	}
}

// abandon ends what is under way for a session that is over, under c.mu.
func (c *tcpConn) abandon() {
	if !c.lossless {
		return
	}
	if c.attempt != nil {
		c.attempt()
	}
	if c.adopting != nil {
		c.adopting.c.Close()
	}
	if c.ackTimer != nil {
		c.ackTimer.Stop()
	}
	c.kick()
}

// closeLossless is Close's part for lossless sessions, under c.mu.
func (c *tcpConn) closeLossless() {
	if c.link != nil {
		c.link.c.SetWriteDeadline(time.Now().Add(flushTime))
	}
	time.AfterFunc(flushTime, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		if !c.flushed {
			c.fail(errClosed)
		}
	})
	c.kick()
}

// keep moves a batch to where it waits for its acknowledgement, under c.mu.
func (c *tcpConn) keep(batch []*outFrame, bytes int) {
	for _, f := range batch {
		f.refs++
	}
	c.sent = append(c.sent, batch...)
	c.sentBytes += bytes
	if n := len(batch); n > 0 {
		c.lastTaken = max(c.lastTaken, batch[n-1].header.Seq)
	}
}

// unpin gives up the writer's hold of a batch.
func (c *tcpConn) unpin(batch []*outFrame) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, f := range batch {
		c.unref(f)
	}
}

func (c *tcpConn) unref(f *outFrame) {
	if f.refs--; f.refs == 0 {
		c.net.free(f)
	}
}

// forgetSent drops what the peer has received, up to message n, under c.mu.
func (c *tcpConn) forgetSent(n uint64) error {
	if n > c.lastTaken {
		return protocolError("message %d is acknowledged, %d was the last one sent", n, c.lastTaken)
	}
	i := 0
	for i < len(c.sent) && c.sent[i].header.Seq <= n {
		c.sentBytes -= c.sent[i].size()
		c.unref(c.sent[i])
		c.sent[i] = nil
		i++
	}
	if c.sent = c.sent[i:]; len(c.sent) == 0 {
		c.sent = nil
	}
	return nil
}

// dropSent drops everything, under c.mu.
func (c *tcpConn) dropSent() {
	for _, f := range c.sent {
		c.unref(f)
	}
	c.sent, c.sentBytes = nil, 0
}

// acked takes an acknowledgement.
func (c *tcpConn) acked(n uint64) error {
	if !c.lossless {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.forgetSent(n)
}

// acknowledged notes that ack is on its way.
func (c *tcpConn) acknowledged(ack uint64) {
	if !c.lossless {
		return
	}
	c.mu.Lock()
	c.ackSent = ack
	c.mu.Unlock()
}

// sequence checks a message's number, and takes the acknowledgement that came
// with it.
func (c *tcpConn) sequence(h *wire.FrameHeader) (dup bool, err error) {
	last := c.inSeq.Load()
	if h.Seq <= last {
		c.net.Metrics.Duplicates.Add(1)
		if c.lossless {
			c.mu.Lock()
			c.want(wantAck)
			c.mu.Unlock()
		}
		return true, nil
	}
	if !c.lossless {
		c.inSeq.Store(h.Seq)
		return false, nil
	}
	if h.Seq != last+1 {
		return false, protocolError("message %d follows %d", h.Seq, last)
	}
	c.inSeq.Store(h.Seq)
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case h.Seq-c.ackSent >= ackMessages:
		c.want(wantAck)
	case c.ackTimer == nil:
		c.ackTimer = time.AfterFunc(ackDelay, c.ackLate)
	case h.Seq == c.ackSent+1:
		c.ackTimer.Reset(ackDelay)
	}
	return false, c.forgetSent(h.Ack)
}

// ackLate sends the acknowledgement that no message took along.
func (c *tcpConn) ackLate() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err == nil && c.link != nil && c.inSeq.Load() > c.ackSent {
		c.want(wantAck)
	}
}

// resume makes k the connection of a session whose peer has received our
// messages up to n, under c.mu.
func (c *tcpConn) resume(k *link, n uint64) error {
	if c.err != nil {
		return c.err
	}
	if err := c.forgetSent(n); err != nil {
		c.fail(err)
		return err
	}
	c.net.Metrics.Resent.Add(int64(len(c.sent)))
	if len(c.sent) > 0 {
		c.out = append(c.sent, c.out...)
		c.outBytes += c.sentBytes
		c.sent, c.sentBytes = nil, 0
	}
	if c.stood {
		c.net.Metrics.Reconnects.Add(1)
	}
	// What we have received is acknowledged by the handshake.
	c.ackSent = c.inSeq.Load()
	c.control &^= wantAck
	c.attach(k)
	return nil
}

// supervise is the goroutine of a lossless session.
func (c *tcpConn) supervise() {
	var pause time.Duration
	notBefore := time.Now()
	for {
		need, over, last := c.state()
		if over {
			break
		}
		if !need || time.Now().Before(notBefore) && !last {
			c.rest(need, time.Until(notBefore))
			continue
		}
		k, err := c.redial()
		switch {
		case err == nil:
			pause = 0
			c.serveLink(k)
			// A peer that accepts and hangs up at once must not be asked in
			// a tight loop.
			notBefore = time.Now().Add(c.net.minRedial / 10)
		case errors.Is(err, errOvertaken):
			pause = 0
		case final(err):
			c.mu.Lock()
			c.fail(connectError(c.target, err))
			c.mu.Unlock()
		default:
			pause = min(max(2*pause, c.net.minRedial), c.net.maxRedial)
			notBefore = time.Now().Add(pause)
			c.mu.Lock()
			switch {
			case last:
				c.fail(errClosed)
			case time.Since(c.since) > giveUpAfter:
				c.fail(connectError(c.target, errUnreachable))
			}
			c.mu.Unlock()
		}
	}
	c.finish(errClosed)
}

// final reports whether another attempt to dial makes no sense.
func final(err error) bool {
	kind := wire.ErrnoOf(err)
	return errors.Is(err, errRefused) || errors.Is(err, errRemoteReset) || kind == wire.EACCES || kind == wire.EPERM
}

// state says whether the session needs to be dialled, and whether it is over.
// One that was closed is dialled once more, for what waits.
func (c *tcpConn) state() (need, over, last bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.link != nil || c.adopting != nil {
		c.since = time.Time{}
		return false, false, false
	}
	waiting := len(c.out)+len(c.sent) > 0
	if c.err != nil || c.closing && (c.flushed || !waiting || c.auth == nil) {
		return false, true, false
	}
	if need = (waiting || !c.stood) && c.auth != nil; need && c.since.IsZero() {
		c.since = time.Now()
	}
	return need, false, c.closing
}

// rest waits until something has changed, or the pause between dials is over.
func (c *tcpConn) rest(need bool, pause time.Duration) {
	var after <-chan time.Time
	if need {
		timer := time.NewTimer(pause)
		defer timer.Stop()
		after = timer.C
	}
	select {
	case <-c.kicked:
	case <-after:
	}
}

// redial brings the session onto a connection that we dial.
func (c *tcpConn) redial() (*link, error) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	c.mu.Lock()
	if c.link != nil || c.adopting != nil || c.err != nil {
		c.mu.Unlock()
		return nil, errOvertaken
	}
	c.attempt = cancel
	if c.serverCookie != 0 {
		c.connectSeq++
	}
	c.mu.Unlock()
	k, err := c.dial(ctx)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.attempt = nil
	switch {
	case c.adopting != nil || c.link != nil || ctx.Err() != nil:
		if err == nil {
			k.c.Close()
		}
		return nil, errOvertaken
	case err != nil:
		return nil, err
	}
	if err := c.resume(k, k.peerReceived); err != nil {
		k.c.Close()
		return nil, err
	}
	return k, nil
}
