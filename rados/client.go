package rados

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/spirula/spirula/rados/clustermap"
	"github.com/spirula/spirula/rados/msgr"
	"github.com/spirula/spirula/rados/wire"
)

// Bounds and periods.
const (
	defaultMaxOps   = 1024
	defaultMaxBytes = 64 << 20
	tickPeriod      = 500 * time.Millisecond
	stuckAfter      = 5 * time.Second // an operation this old has the map asked for
	minOSDBackoff   = 10 * time.Millisecond
	maxOSDBackoff   = time.Second
	maxMapInbox     = 256 // messages from OSDs not yet handled
	tableShards     = 64  // of the table of operations in flight; a power of two
)

// Options say how to reach a cluster. Net and MonAddrs must be set.
type Options struct {
	Net      msgr.Network
	MonAddrs []wire.Addr
	// Auth proves who the client is; nil is NoAuth as client.admin.
	Auth msgr.ClientAuth
	Log  *slog.Logger
	// MaxOps and MaxBytes bound what is in flight: operations, and their
	// data in bytes. Start waits for room. 1024 and 64 MiB by default. An
	// operation larger than MaxBytes goes alone.
	MaxOps, MaxBytes int
	// WaitWhenFull makes writes to a full pool wait until there is room, as
	// librados does. Otherwise they fail with ENOSPC or EDQUOT.
	WaitWhenFull bool
}

// Metrics are counters of a Client.
type Metrics struct {
	Started  atomic.Uint64 // operations
	Answered atomic.Uint64
	Canceled atomic.Uint64
	Resent   atomic.Uint64 // messages sent again
	Resets   atomic.Uint64 // OSD sessions lost
	Maps     atomic.Uint64 // epochs taken over
	Late     atomic.Uint64 // answers nobody waited for any more
}

// Client is a client of a cluster: it keeps the OSD map, finds the OSD that
// serves an object, and sends an operation again when the map or a session
// changes, until it is answered or given up.
//
// Lock order: mu, then one table shard or osdsMu or a Call's. Start holds mu
// for reading while it sends, so that the resending of older operations,
// which holds it for writing, never comes between the operations of one
// object. Dispatch never takes mu.
type Client struct {
	opts    Options
	log     *slog.Logger
	Metrics Metrics

	mon  *MonSession
	name wire.EntityName
	addr wire.Addr
	inc  uint32

	osdmap  atomic.Pointer[clustermap.OSDMap]
	barrier atomic.Uint32 // epoch below which nothing is sent
	blocked atomic.Bool   // the map shuts us out
	tid     atomic.Uint64

	mu     sync.RWMutex
	closed bool
	table  [tableShards]shard
	room   throttle

	osdsMu sync.Mutex
	osds   map[int32]*osdConn

	inboxMu sync.Mutex
	inbox   []any // *wire.MOSDMap, msgr.Conn
	wake    chan struct{}
	quit    chan struct{}
	done    chan struct{}

	mapMu   sync.Mutex
	newMap  chan struct{} // closed when osdmap changes
	closing sync.Once
}

type shard struct {
	mu sync.Mutex
	m  map[uint64]*flight
}

// osdConn is the session with an OSD. Its fields belong to osdsMu.
type osdConn struct {
	id      int32
	addr    wire.Addr
	conn    msgr.Conn // nil while there is none
	backoff time.Duration
	retry   time.Time
}

// Connect opens a session with the cluster and waits for its OSD map.
func Connect(ctx context.Context, opts Options) (*Client, error) {
	if opts.Log == nil {
		opts.Log = slog.New(slog.DiscardHandler)
	}
	if opts.Auth == nil {
		opts.Auth = msgr.NoAuth{Name: wire.AuthName{Type: wire.EntityClient, ID: "admin"}}
	}
	if opts.MaxOps == 0 {
		opts.MaxOps = defaultMaxOps
	}
	if opts.MaxBytes == 0 {
		opts.MaxBytes = defaultMaxBytes
	}
	var nonce [4]byte
	rand.Read(nonce[:])
	c := &Client{
		opts: opts, log: opts.Log, osds: make(map[int32]*osdConn),
		addr: wire.Addr{Type: wire.AddrMsgr2, Nonce: binary.LittleEndian.Uint32(nonce[:]) | 1,
			IP: netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), 0)},
		room: throttle{maxOps: opts.MaxOps, maxBytes: opts.MaxBytes},
		wake: make(chan struct{}, 1), quit: make(chan struct{}), done: make(chan struct{}),
		newMap: make(chan struct{}),
	}
	for i := range c.table {
		c.table[i].m = make(map[uint64]*flight)
	}
	c.mon = DialMon(MonOptions{Net: opts.Net, Addrs: opts.MonAddrs, Name: wire.EntityName{Type: wire.EntityClient}, Auth: opts.Auth,
		MyAddr: c.addr, Log: opts.Log, Handle: func(m wire.Message) { c.fromMon(m) }})
	c.mon.Subscribe(wire.SubOSDMap, 0)
	err := c.mon.Ready(ctx)
	if err == nil {
		c.name = wire.EntityName{Type: wire.EntityClient, Num: c.mon.GlobalID()}
		go c.run()
		if err = c.WaitForMap(ctx, 1); err != nil {
			c.Close()
		}
	} else {
		c.mon.Close()
	}
	if err != nil {
		return nil, wire.Wrap("rados.connect", "", err)
	}
	return c, nil
}

// Close ends the client: operations in flight fail with ESHUTDOWN, though
// their writes may happen. It may be called twice.
func (c *Client) Close() {
	c.closing.Do(func() {
		close(c.quit)
		<-c.done
		c.mon.Close()
		c.mu.Lock()
		c.closed = true
		c.mu.Unlock()
		c.osdsMu.Lock()
		for _, o := range c.osds {
			if o.conn != nil {
				o.conn.Close()
			}
		}
		c.osdsMu.Unlock()
		for _, f := range c.flights(nil) {
			c.finish(f, nil, wire.Errorf("rados.do", f.call.op.Object, wire.ESHUTDOWN))
		}
		c.room.close()
	})
}

// Mon is the session with the mons, for commands.
func (c *Client) Mon() *MonSession { return c.mon }

// FSID is the cluster's.
func (c *Client) FSID() wire.FSID { return c.mon.FSID() }

// Addr is what the cluster knows this client by; an entry of it in the
// blocklist shuts the client out.
func (c *Client) Addr() wire.Addr { return c.addr }

// ID is the number that the mon gave this client; no other client ever has it.
func (c *Client) ID() int64 { return c.name.Num }

// OSDMap is the newest map this client has.
func (c *Client) OSDMap() *clustermap.OSDMap { return c.osdmap.Load() }

// WaitForMap waits until the client has the map of an epoch or a newer one.
func (c *Client) WaitForMap(ctx context.Context, epoch wire.Epoch) error {
	for {
		c.mapMu.Lock()
		changed := c.newMap
		c.mapMu.Unlock()
		if m := c.osdmap.Load(); m != nil && m.Epoch >= epoch {
			return nil
		}
		select {
		case <-changed:
		case <-c.quit:
			return wire.Errorf("rados.waitformap", "", wire.ESHUTDOWN)
		case <-ctx.Done():
			return ContextError("rados.waitformap", "", ctx.Err())
		}
	}
}

// LatestMap asks the mon for the newest epoch and waits for it.
func (c *Client) LatestMap(ctx context.Context) (*clustermap.OSDMap, error) {
	v, err := c.mon.NewestVersion(ctx, wire.SubOSDMap)
	if err != nil {
		return nil, err
	}
	if err := c.WaitForMap(ctx, wire.Epoch(v)); err != nil {
		return nil, err
	}
	return c.osdmap.Load(), nil
}

// SetBarrier makes operations wait until the client has the map of an epoch:
// what was shut out in it can't come after them. It only ever rises.
func (c *Client) SetBarrier(epoch wire.Epoch) {
	for {
		old := c.barrier.Load()
		if old >= uint32(epoch) || c.barrier.CompareAndSwap(old, uint32(epoch)) {
			return
		}
	}
}

// fromMon takes what the mon sends by itself.
func (c *Client) fromMon(m wire.Message) {
	if om, ok := m.(*wire.MOSDMap); ok {
		c.post(om, true)
	}
}

// post gives the client's goroutine something to do. What may be dropped is
// dropped when there is much already.
func (c *Client) post(e any, must bool) {
	c.inboxMu.Lock()
	if must || len(c.inbox) < maxMapInbox {
		c.inbox = append(c.inbox, e)
	}
	c.inboxMu.Unlock()
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// Dispatch implements msgr.Dispatcher for sessions with OSDs.
func (c *Client) Dispatch(conn msgr.Conn, m wire.Message) {
	switch m := m.(type) {
	case *wire.MOSDOpReply:
		c.answer(m)
	case *wire.MOSDMap:
		c.post(m, false)
	}
}

// Reset implements msgr.Dispatcher for sessions with OSDs.
func (c *Client) Reset(conn msgr.Conn) { c.post(conn, true) }

// run is the client's goroutine: maps, lost sessions, time.
func (c *Client) run() {
	defer close(c.done)
	ticker := time.NewTicker(tickPeriod)
	defer ticker.Stop()
	retry := time.NewTimer(0)
	defer retry.Stop()
	for {
		select {
		case <-c.quit:
			return
		case <-ticker.C:
			c.checkStuck()
		case <-retry.C:
		case <-c.wake:
			c.inboxMu.Lock()
			work := c.inbox
			c.inbox = nil
			c.inboxMu.Unlock()
			for _, e := range work {
				switch e := e.(type) {
				case *wire.MOSDMap:
					c.takeMaps(e)
				case msgr.Conn:
					c.lostConn(e)
				}
			}
		}
		if d := c.reconnect(); d > 0 {
			retry.Reset(d)
		}
	}
}

// takeMaps applies what a message brings, epoch by epoch.
func (c *Client) takeMaps(m *wire.MOSDMap) {
	for {
		cur := c.osdmap.Load()
		var next *clustermap.OSDMap
		var err error
		switch {
		case cur == nil || len(m.Incrementals) == 0 || newestOf(m) > cur.Epoch && m.Incrementals[cur.Epoch+1] == nil:
			next, err = newestFull(m, cur)
		case m.Incrementals[cur.Epoch+1] != nil:
			var inc *clustermap.Incremental
			if inc, err = clustermap.DecodeIncremental(m.Incrementals[cur.Epoch+1]); err == nil {
				next, err = cur.Apply(inc)
			}
		}
		if err != nil {
			c.log.Error("osd map can't be used", "err", err)
			c.mon.Subscribe(wire.SubOSDMap, 0)
			return
		}
		if next == nil {
			if cur != nil && newestOf(m) > cur.Epoch {
				c.mon.Subscribe(wire.SubOSDMap, uint64(cur.Epoch)+1)
			}
			return
		}
		c.takeMap(cur, next)
	}
}

// newestFull gives the newest whole map of a message if it is news.
func newestFull(m *wire.MOSDMap, cur *clustermap.OSDMap) (*clustermap.OSDMap, error) {
	var best wire.Epoch
	for e := range m.Fulls {
		best = max(best, e)
	}
	if best == 0 || cur != nil && best <= cur.Epoch {
		return nil, nil
	}
	return clustermap.DecodeOSDMap(m.Fulls[best])
}

// takeMap makes a map the current one and sends again what it concerns.
func (c *Client) takeMap(old, next *clustermap.OSDMap) {
	c.Metrics.Maps.Add(1)
	c.mu.Lock()
	c.osdmap.Store(next)
	c.blocked.Store(next.IsBlocklisted(c.addr, wire.TimeOf(time.Now())))
	c.dropStaleConns(next)
	list := c.flights(nil)
	var again []*flight
	for _, f := range list {
		if c.affected(f, old, next) {
			again = append(again, f)
		}
	}
	c.resend(again)
	c.mu.Unlock()
	c.mapMu.Lock()
	close(c.newMap)
	c.newMap = make(chan struct{})
	c.mapMu.Unlock()
}

// dropStaleConns closes sessions with OSDs that are down or have moved.
func (c *Client) dropStaleConns(m *clustermap.OSDMap) {
	c.osdsMu.Lock()
	defer c.osdsMu.Unlock()
	for id, o := range c.osds {
		if m.IsUp(id) && m.Addr(id) == o.addr {
			continue
		}
		if o.conn != nil {
			o.conn.Close()
		}
		delete(c.osds, id)
	}
}

// affected reports whether an operation must be sent (again) because of a
// new map: the placement group is in a new interval, or it waited.
func (c *Client) affected(f *flight, old, next *clustermap.OSDMap) bool {
	if f.osd < 0 || old == nil || next.Epoch != old.Epoch+1 {
		return true
	}
	p, q := old.Pool(f.pool), next.Pool(f.pool)
	if p == nil || q == nil || p.PGNum != q.PGNum || p.Size != q.Size || p.MinSize != q.MinSize || q.LastForceResend == next.Epoch {
		return true
	}
	a, b := old.Map(f.pg), next.Map(f.pg)
	return a.ActingPrimary != b.ActingPrimary || a.UpPrimary != b.UpPrimary || !slices.Equal(a.Acting, b.Acting) ||
		!slices.Equal(a.Up, b.Up) || old.Addr(f.osd) != next.Addr(f.osd)
}

// flights gives the operations in flight that pass the filter, oldest first.
func (c *Client) flights(keep func(*flight) bool) []*flight {
	var list []*flight
	for i := range c.table {
		s := &c.table[i]
		s.mu.Lock()
		for _, f := range s.m {
			if keep == nil || keep(f) {
				list = append(list, f)
			}
		}
		s.mu.Unlock()
	}
	slices.SortFunc(list, func(a, b *flight) int {
		if a.tid < b.tid {
			return -1
		}
		return 1
	})
	return list
}

// lostConn handles the end of a session with an OSD: a new one, and all that
// was sent on it again.
func (c *Client) lostConn(conn msgr.Conn) {
	c.Metrics.Resets.Add(1)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.osdsMu.Lock()
	id := int32(-1)
	for _, o := range c.osds {
		if o.conn == conn {
			id = o.id
			o.conn = nil
		}
	}
	c.osdsMu.Unlock()
	if id >= 0 {
		c.resend(c.flights(func(f *flight) bool { return f.osd == id }))
	}
}

// reconnect tries the OSDs whose sessions are due, and gives the time until
// the next ones are.
func (c *Client) reconnect() time.Duration {
	now := time.Now()
	var due []int32
	next := time.Duration(0)
	c.osdsMu.Lock()
	for id, o := range c.osds {
		if o.conn != nil || o.retry.IsZero() {
			continue
		}
		if wait := o.retry.Sub(now); wait > 0 {
			if next == 0 || wait < next {
				next = wait
			}
			continue
		}
		due = append(due, id)
	}
	c.osdsMu.Unlock()
	for _, id := range due {
		c.mu.Lock()
		c.resend(c.flights(func(f *flight) bool { return f.osd == id }))
		c.osdsMu.Lock()
		if o := c.osds[id]; o != nil && o.conn == nil {
			if wait := max(time.Until(o.retry), time.Millisecond); next == 0 || wait < next {
				next = wait
			}
		}
		c.osdsMu.Unlock()
		c.mu.Unlock()
	}
	return next
}

// connTo gives the session with an OSD, opening one if it is due; nil when
// there is none now.
func (c *Client) connTo(id int32, addr wire.Addr) msgr.Conn {
	c.osdsMu.Lock()
	defer c.osdsMu.Unlock()
	o := c.osds[id]
	if o == nil {
		o = &osdConn{id: id, addr: addr}
		c.osds[id] = o
	}
	if o.conn != nil || time.Now().Before(o.retry) {
		return o.conn
	}
	conn, err := c.opts.Net.Connect(c.name, c.addr, wire.EntityOSD, addr, c, c.opts.Auth)
	if err != nil {
		o.backoff = min(max(2*o.backoff, minOSDBackoff), maxOSDBackoff)
		o.retry = time.Now().Add(o.backoff)
		select {
		case c.wake <- struct{}{}: // so that run sets its timer
		default:
		}
		return nil
	}
	o.conn, o.backoff, o.retry = conn, 0, time.Time{}
	return conn
}

// checkStuck asks for a newer map when an operation has waited for long.
func (c *Client) checkStuck() {
	limit := time.Now().Add(-stuckAfter)
	stuck := c.flights(func(f *flight) bool { return f.since.Before(limit) })
	if m := c.osdmap.Load(); len(stuck) > 0 && m != nil {
		c.mon.Subscribe(wire.SubOSDMap, uint64(m.Epoch)+1)
	}
}
