package rados

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"log/slog"
	"net/netip"
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
	maxInbox        = 1024 // messages from OSDs not yet handled
	tableShards     = 64   // of the table of operations in flight; a power of two
)

// Options say how to reach a cluster. Net and MonAddrs must be set.
type Options struct {
	Net      msgr.Network
	MonAddrs []wire.Addr
	// Auth proves who the client is; nil is NoAuth as client.admin. If it is
	// a Renewer the session with the mons keeps its tickets fresh.
	Auth msgr.ClientAuth
	// FSID is the cluster that is meant; zero: whichever answers. Connect
	// fails with EINVAL at another one.
	FSID wire.FSID
	// Addr is the client's own address as the cluster sees it, with port 0
	// and a nonce of its own; what matters of it is whether the blocklist has
	// it. The zero Addr stands for one of this host.
	Addr wire.Addr
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
	Blocks   atomic.Uint64 // backoffs that OSDs asked for
	Notices  atomic.Uint64 // notifications received by watches
	Dropped  atomic.Uint64 // notifications dropped because a callback was too slow
}

// Client is a client of a cluster: it keeps the OSD map, finds the OSD that
// serves an object, and sends an operation again when the map or a session
// changes, until it is answered or given up.
//
// Lock order: mu, then one table shard or osdsMu or lingerMu or a Call's.
// Start holds mu for reading while it sends, so that the resending of older
// operations, which holds it for writing, never comes between the operations
// of one object. Dispatch never takes mu.
type Client struct {
	opts    Options
	log     *slog.Logger
	Metrics Metrics

	net  *msgr.TCP // the client's own, from Dial; or nil
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

	lingerMu sync.Mutex
	lingers  map[*linger]struct{}
	watches  map[uint64]*Watch  // by cookie
	notifies map[uint64]*notify // by cookie
	commands map[uint64]chan *wire.MCommandReply

	inboxMu sync.Mutex
	inbox   []func() // for the client's goroutine
	wake    chan struct{}
	ctx     context.Context // ends with Close
	stop    context.CancelFunc
	done    chan struct{}
	wg      sync.WaitGroup // of the sessions that are coming about

	mapMu   sync.Mutex
	newMap  chan struct{} // closed when osdmap changes
	closing sync.Once
}

type shard struct {
	mu sync.Mutex
	m  map[uint64]*flight
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
	if opts.Addr.Nonce == 0 {
		opts.Addr = localAddr(opts.Addr.IP.Addr())
	}
	c := &Client{
		opts: opts, log: opts.Log, osds: make(map[int32]*osdConn), addr: opts.Addr,
		lingers: make(map[*linger]struct{}), watches: make(map[uint64]*Watch),
		notifies: make(map[uint64]*notify), commands: make(map[uint64]chan *wire.MCommandReply),
		room: throttle{maxOps: opts.MaxOps, maxBytes: opts.MaxBytes},
		wake: make(chan struct{}, 1), done: make(chan struct{}), newMap: make(chan struct{}),
	}
	c.ctx, c.stop = context.WithCancel(context.Background())
	for i := range c.table {
		c.table[i].m = make(map[uint64]*flight)
	}
	c.mon = DialMon(MonOptions{Net: opts.Net, Addrs: opts.MonAddrs, Name: wire.EntityName{Type: wire.EntityClient}, Auth: opts.Auth,
		FSID: opts.FSID, MyAddr: c.addr, Log: opts.Log, Handle: func(m wire.Message) { c.fromMon(m) }})
	c.mon.Subscribe(wire.SubOSDMap, 0)
	err := c.mon.Ready(ctx)
	if err == nil {
		c.name = wire.EntityName{Type: wire.EntityClient, Num: c.mon.GlobalID()}
		go c.run()
		if err = c.WaitForMap(ctx, 1); err != nil {
			c.Close()
		}
	} else {
		c.stop()
		c.mon.Close()
	}
	if err != nil {
		return nil, wire.Wrap("rados.connect", "", err)
	}
	return c, nil
}

// localAddr makes the address of a client on this host: without a port, with
// a nonce that no other has.
func localAddr(ip netip.Addr) wire.Addr {
	var nonce [4]byte
	rand.Read(nonce[:])
	if !ip.IsValid() {
		ip = netip.AddrFrom4([4]byte{127, 0, 0, 1})
	}
	return wire.Addr{Type: wire.AddrMsgr2, Nonce: binary.LittleEndian.Uint32(nonce[:]) | 1, IP: netip.AddrPortFrom(ip, 0)}
}

// Close ends the client: operations in flight fail with ESHUTDOWN, though
// their writes may happen; watches end, and the cluster drops them when their
// time is over. It may be called twice, but not from a watch's callback.
func (c *Client) Close() {
	c.closing.Do(func() {
		c.stop()
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
		c.wg.Wait()
		for _, f := range c.flights(nil) {
			c.finish(f, nil, wire.Errorf("rados.do", f.call.op.Object, wire.ESHUTDOWN))
		}
		c.room.close()
		c.closeWatches()
		if c.net != nil {
			c.net.Close()
		}
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
		case <-c.ctx.Done():
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
		c.post(func() { c.takeMaps(om) }, true)
	}
}

// post gives the client's goroutine something to do. What may be dropped is
// dropped when there is much already; post says so.
func (c *Client) post(do func(), must bool) bool {
	c.inboxMu.Lock()
	ok := must || len(c.inbox) < maxInbox
	if ok {
		c.inbox = append(c.inbox, do)
	}
	c.inboxMu.Unlock()
	select {
	case c.wake <- struct{}{}:
	default:
	}
	return ok
}

// Dispatch implements msgr.Dispatcher for sessions with OSDs.
func (c *Client) Dispatch(conn msgr.Conn, m wire.Message) {
	switch m := m.(type) {
	case *wire.MOSDOpReply:
		c.answer(m)
	case *wire.MOSDMap:
		c.post(func() { c.takeMaps(m) }, false)
	case *wire.MOSDBackoff:
		if !c.post(func() { c.takeBackoff(conn, m) }, false) {
			c.Reset(conn) // a backoff must not be lost
		}
	case *wire.MWatchNotify:
		c.watchEvent(m)
	case *wire.MCommandReply:
		c.commandReply(m)
	}
}

// Reset implements msgr.Dispatcher for sessions with OSDs.
func (c *Client) Reset(conn msgr.Conn) { c.post(func() { c.lostConn(conn) }, true) }

// run is the client's goroutine: maps, lost sessions, time.
func (c *Client) run() {
	defer close(c.done)
	ticker := time.NewTicker(tickPeriod)
	defer ticker.Stop()
	retry := time.NewTimer(0)
	defer retry.Stop()
	for {
		select {
		case <-c.ctx.Done():
			return
		case <-ticker.C:
			c.checkStuck()
		case <-retry.C:
		case <-c.wake:
			c.inboxMu.Lock()
			work := c.inbox
			c.inbox = nil
			c.inboxMu.Unlock()
			for _, do := range work {
				do()
			}
		}
		if d := c.reconnect(); d > 0 {
			retry.Reset(d)
		}
	}
}
