package rados

import (
	"context"
	"time"

	"github.com/spirula/spirula/rados/clustermap"
	"github.com/spirula/spirula/rados/msgr"
	"github.com/spirula/spirula/rados/wire"
)

// maxBlocks bounds the backoffs of one OSD's session; one more ends it.
const maxBlocks = 4096

// osdConn is the session with an OSD. Its fields belong to osdsMu.
type osdConn struct {
	id      int32
	addr    wire.Addr
	conn    msgr.Conn // nil while there is none
	stood   bool      // conn was authenticated
	backoff time.Duration
	// retry is when to connect anew; until it was tried, by reconnect alone,
	// everything for the OSD waits, so that nothing overtakes. Zero: nothing
	// waits.
	retry  time.Time
	blocks map[uint64]block // by the OSD's id for it
}

// block is a range of objects for which the OSD does not want operations now.
type block struct {
	pg         wire.PGID
	begin, end wire.HObject
}

func (b *block) covers(f *flight) bool {
	if b.pg != f.pg {
		return false
	}
	h := f.hobject()
	n := h.Compare(b.begin)
	return n == 0 || n > 0 && h.Compare(b.end) < 0
}

// hobject is what a backoff's range is compared with.
func (f *flight) hobject() wire.HObject {
	h := wire.HObject{Pool: f.pool, Hash: f.hash, Namespace: f.msg.Locator.Namespace, Key: f.msg.Locator.Key, Name: f.msg.Object, Snap: wire.NoSnap}
	if h.Key == h.Name {
		h.Key = ""
	}
	return h
}

func (o *osdConn) holds(f *flight) bool {
	for _, b := range o.blocks {
		if b.covers(f) {
			return true
		}
	}
	return false
}

func (o *osdConn) fail() {
	o.conn, o.blocks = nil, nil
	o.backoff = min(max(2*o.backoff, minOSDBackoff), maxOSDBackoff)
	o.retry = time.Now().Add(o.backoff)
}

// connFor gives the session for an operation, opening one if need be; nil when
// the operation has to wait. again says that the caller holds mu for writing
// and sends older operations first.
func (c *Client) connFor(f *flight, addr wire.Addr, again bool) msgr.Conn {
	c.osdsMu.Lock()
	defer c.osdsMu.Unlock()
	o := c.open(f.osd, addr, again)
	if len(o.blocks) > 0 && o.holds(f) {
		return nil
	}
	return o.conn
}

// open makes sure that there is a session with an OSD, if it is time for it.
// The caller holds osdsMu.
func (c *Client) open(id int32, addr wire.Addr, again bool) *osdConn {
	o := c.osds[id]
	if o == nil {
		o = &osdConn{id: id, addr: addr}
		c.osds[id] = o
	}
	if o.conn != nil || c.ctx.Err() != nil || !o.retry.IsZero() && (!again || time.Now().Before(o.retry)) {
		return o
	}
	conn, err := c.opts.Net.Connect(c.name, c.addr, wire.EntityOSD, addr, c, c.opts.Auth)
	if err != nil {
		o.fail()
		select {
		case c.wake <- struct{}{}: // so that run sets its timer
		default:
		}
		return o
	}
	o.conn, o.stood, o.retry = conn, false, time.Time{}
	c.wg.Go(func() { c.await(o, conn) })
	return o
}

// await learns whether a session came about. Reset tells if it did not.
func (c *Client) await(o *osdConn, conn msgr.Conn) {
	err := conn.Wait(c.ctx)
	if err == nil {
		c.osdsMu.Lock()
		if o.conn == conn {
			o.stood, o.backoff = true, 0
		}
		c.osdsMu.Unlock()
		return
	}
	if refused(err) {
		c.log.Info("osd refuses the session", "osd", o.id, "err", err)
		c.mon.renewTickets()
	}
}

// refused reports whether an error says that the peer does not believe us.
func refused(err error) bool {
	kind := wire.ErrnoOf(err)
	return kind == wire.EACCES || kind == wire.EPERM
}

// dropStaleConns closes sessions with OSDs that are down or have moved, and
// forgets the backoffs of placement groups in a new interval.
func (c *Client) dropStaleConns(old, m *clustermap.OSDMap) {
	c.osdsMu.Lock()
	defer c.osdsMu.Unlock()
	for id, o := range c.osds {
		if m.IsUp(id) && m.Addr(id) == o.addr {
			for k, b := range o.blocks {
				if newInterval(b.pg.Pool, b.pg.Seed, old, m) {
					delete(o.blocks, k)
				}
			}
			continue
		}
		if o.conn != nil {
			o.conn.Close()
		}
		delete(c.osds, id)
	}
}

// lostConn handles the end of a session with an OSD: a new one, and all that
// was sent on it again.
func (c *Client) lostConn(conn msgr.Conn) {
	c.Metrics.Resets.Add(1)
	c.mu.Lock()
	defer c.mu.Unlock()
	id, stood := int32(-1), false
	c.osdsMu.Lock()
	for _, o := range c.osds {
		if o.conn == conn {
			id, stood = o.id, o.stood
			if o.conn, o.blocks = nil, nil; !stood {
				o.fail()
			}
		}
	}
	c.osdsMu.Unlock()
	if id < 0 {
		return
	}
	conn.Close()
	if stood {
		c.resend(c.flights(func(f *flight) bool { return f.osd == id }))
	}
	c.kick(func(l *linger) bool { return l.target(c.osdmap.Load()) == id })
}

// reconnect tries the OSDs whose sessions are due, and gives the time until
// the next ones are; 0: there are none.
func (c *Client) reconnect() time.Duration {
	now := time.Now()
	var due []*osdConn
	next := time.Duration(0)
	sooner := func(wait time.Duration) {
		if wait = max(wait, time.Millisecond); next == 0 || wait < next {
			next = wait
		}
	}
	c.osdsMu.Lock()
	for _, o := range c.osds {
		switch {
		case o.conn != nil || o.retry.IsZero():
		case o.retry.After(now):
			sooner(o.retry.Sub(now))
		default:
			due = append(due, o)
		}
	}
	c.osdsMu.Unlock()
	for _, o := range due {
		c.mu.Lock()
		c.resend(c.flights(func(f *flight) bool { return f.osd == o.id }))
		c.osdsMu.Lock()
		if o.conn == nil && o.retry.After(now) {
			sooner(time.Until(o.retry))
		} else {
			o.retry = time.Time{}
		}
		c.osdsMu.Unlock()
		c.mu.Unlock()
	}
	return next
}

// takeBackoff handles an OSD's wish that operations be held, or sent again.
// It is acknowledged only once nothing of the range is sent any more, so that
// the OSD drops all of what came before and nothing of what comes after.
func (c *Client) takeBackoff(conn msgr.Conn, m *wire.MOSDBackoff) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.osdsMu.Lock()
	var o *osdConn
	for _, x := range c.osds {
		if x.conn == conn {
			o = x
		}
	}
	if o == nil {
		c.osdsMu.Unlock()
		return
	}
	b := block{pg: m.PG.PGID, begin: m.Begin, end: m.End}
	full := false
	switch m.Op {
	case wire.BackoffBlock:
		if full = len(o.blocks) >= maxBlocks; !full {
			if o.blocks == nil {
				o.blocks = make(map[uint64]block)
			}
			o.blocks[m.ID] = b
		}
	case wire.BackoffUnblock:
		delete(o.blocks, m.ID)
	}
	c.osdsMu.Unlock()
	switch {
	case full:
		c.log.Error("too many backoffs", "osd", o.id)
		c.post(func() { c.lostConn(conn) }, true)
	case m.Op == wire.BackoffBlock:
		c.Metrics.Blocks.Add(1)
		ack := *m
		ack.Op, ack.Epoch = wire.BackoffAckBlock, c.osdmap.Load().Epoch
		conn.Send(&ack)
	case m.Op == wire.BackoffUnblock:
		c.resend(c.flights(func(f *flight) bool { return f.osd == o.id && b.covers(f) }))
	}
}

// linger is the interest of a watch, a notify or a command in the place where
// it is registered: it is told when that place may have forgotten it.
type linger struct {
	pool int64 // -1: the OSD itself
	hash uint32
	osd  int32
	lost chan struct{} // one entry is enough
}

func (l *linger) target(m *clustermap.OSDMap) int32 {
	if l.pool < 0 {
		return l.osd
	}
	p := m.Pool(l.pool)
	if p == nil {
		return -1
	}
	return m.Map(wire.PGID{Pool: l.pool, Seed: p.Seed(l.hash)}).ActingPrimary
}

// kick tells those lingers that pass the filter.
func (c *Client) kick(which func(*linger) bool) {
	c.lingerMu.Lock()
	defer c.lingerMu.Unlock()
	for l := range c.lingers {
		if which(l) {
			select {
			case l.lost <- struct{}{}:
			default:
			}
		}
	}
}

// follow begins telling a linger; the result ends it.
func (c *Client) follow(l *linger) (end func()) {
	l.lost = make(chan struct{}, 1)
	c.lingerMu.Lock()
	c.lingers[l] = struct{}{}
	c.lingerMu.Unlock()
	return func() {
		c.lingerMu.Lock()
		delete(c.lingers, l)
		c.lingerMu.Unlock()
	}
}

// clientContext is a context that ends with the client too.
func (c *Client) clientContext(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(c.ctx, cancel)
	return ctx, func() { stop(); cancel() }
}
