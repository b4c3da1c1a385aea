package osd

import (
	"context"
	"fmt"
	"log/slog"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/spirula/spirula/osd/internal/pg"
	"github.com/spirula/spirula/osd/store"
	"github.com/spirula/spirula/rados/clustermap"
	"github.com/spirula/spirula/rados/msgr"
	"github.com/spirula/spirula/rados/wire"
)

// Bounds of a PG and of the daemon; see the package comment.
const (
	maxOps     = 256
	maxHeld    = 4096
	maxObjects = 256
	maxMapWait = 4096
	bootRetry  = 5 * time.Second

	reportDelay = 200 * time.Millisecond // after a PG changed its state, for others to do so too
)

// OSD is one daemon.
type OSD struct {
	opts  Options
	log   *slog.Logger
	store ObjectStore
	name  wire.EntityName

	Metrics Metrics

	current  atomic.Pointer[clustermap.OSDMap]    // nil before the first
	groups   atomic.Pointer[map[wire.PGID]*group] // replaced, never changed
	sessions sync.Map                             // msgr.Conn -> *session
	peers    peers

	mapMu        sync.Mutex
	incs         map[wire.Epoch][]byte // encoded increments of late, for clients
	waitingPeers []peerMsg             // messages of peers with a newer map

	seq       *store.Sequencer // of metaPG
	runner    *runner
	copier    *runner // fetches the sources of copies
	teller    *runner // runs commands
	recoverer *runner // copies objects between OSDs; its size bounds the bytes in flight
	settings  *settings
	requester *requester
	listener  msgr.Listener
	cancel    context.CancelFunc
	maps      chan *wire.MOSDMap
	mapsLost  atomic.Bool // a message found no room in maps
	// unsubscribe ends the subscription; takeMaps' alone once it runs.
	unsubscribe context.CancelFunc
	work        sync.WaitGroup // background goroutines
	txns        sync.WaitGroup // transactions queued and not done
	closing     atomic.Bool
	closed      sync.Once
	failed      atomic.Bool
	serving     atomic.Bool // the current map has this daemon, at this address, as up
	trimKick    chan struct{}
	reportKick  chan struct{}
	creates     chan pg.Message                   // of primaries, for PGs that we do not have
	stop        chan struct{}                     // closed by Close
	coming      atomic.Pointer[clustermap.OSDMap] // current, or the one that is being installed
	retrying    atomic.Bool                       // messages that waited for a map are being handled
	askedThru   atomic.Uint32                     // what the mon was asked for of late
	beats       beats

	parked      atomic.Int64 // requests that wait for a map
	heldBytes   atomic.Int64 // data of requests that are parked or held
	watches     atomic.Int64
	notifies    atomic.Int64 // under way
	telling     atomic.Int64 // commands that wait or run
	reports     atomic.Uint32
	nextNotify  atomic.Uint32
	nextBackoff atomic.Uint64
	nearEnd     atomic.Bool // the store is past failsafeFull
}

// New makes a daemon and loads its PGs from the store. EIO: rows of the store
// can't be read.
func New(o Options) (*OSD, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Auth == nil {
		o.Auth = msgr.NoAuth{}
	}
	if o.PeerAuth == nil {
		o.PeerAuth = msgr.NoAuth{Name: wire.AuthName{Type: wire.EntityOSD, ID: strconv.Itoa(int(o.ID))}}
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Workers <= 0 {
		o.Workers = 2*runtime.GOMAXPROCS(0) + 2
	}
	if o.Report <= 0 {
		o.Report = 5 * time.Second
	}
	if o.Fatal == nil {
		o.Fatal = func(err error) { panic(fmt.Sprintf("osd.%d: %v", o.ID, err)) }
	}
	d := &OSD{
		opts: o, log: o.Log, store: o.Store, name: wire.EntityName{Type: wire.EntityOSD, Num: int64(o.ID)},
		incs: map[wire.Epoch][]byte{}, maps: make(chan *wire.MOSDMap, mapInbox), trimKick: make(chan struct{}, 1),
		reportKick: make(chan struct{}, 1),
	}
	d.groups.Store(&map[wire.PGID]*group{})
	d.seq = o.Store.NewSequencer()
	d.runner = newRunner(o.Workers)
	d.copier = newRunner(maxCopies)
	d.teller = newRunner(1)
	d.recoverer = newRunner(recoverySlots)
	d.creates, d.stop = make(chan pg.Message, maxCreates), make(chan struct{})
	d.beats.peers = map[int32]*beat{}
	d.settings = newSettings()
	d.requester = newRequester(d)
	d.peers.conns = map[int32]*peer{}
	if err := d.load(); err != nil {
		return nil, wire.Wrap("osd open", d.name.String(), err)
	}
	return d, nil
}

// Start listens, subscribes to maps and reports to the mon.
func (d *OSD) Start() error {
	l, err := d.opts.Network.Listen(d.name, d.opts.Addr, d, d.opts.Auth)
	if err != nil {
		return wire.Wrap("osd start", d.name.String(), err)
	}
	d.listener = l
	d.checkServing(d.current.Load())
	ctx, cancel := context.WithCancel(context.Background())
	d.cancel = cancel
	d.subscribe(ctx)
	d.work.Go(func() { d.takeMaps(ctx) })
	d.work.Go(func() { d.trimLoop(ctx) })
	d.work.Go(func() { d.beatLoop(ctx) })
	d.work.Go(func() { d.reportLoop(ctx) })
	return nil
}

// subscribe asks for the maps that follow the current one, and ends the
// subscription before. Messages that the inbox has no room for are dropped:
// the gap is noticed, and asked for again.
func (d *OSD) subscribe(ctx context.Context) {
	if d.unsubscribe != nil {
		d.unsubscribe()
	}
	ctx, d.unsubscribe = context.WithCancel(ctx)
	d.opts.Mon.SubscribeOSDMap(ctx, d.epoch()+1, func(m *wire.MOSDMap) {
		select {
		case d.maps <- m:
		default:
			d.mapsLost.Store(true)
		}
	})
}

// Addr is where the daemon listens, once started.
func (d *OSD) Addr() wire.Addr { return d.listener.Addr() }

// Map is the newest cluster map the daemon has, or nil.
func (d *OSD) Map() *clustermap.OSDMap { return d.current.Load() }

// Close stops serving and waits for what was queued to the store. The store
// stays open: it is its owner's. Close may be called twice.
func (d *OSD) Close() { d.closed.Do(d.close) }

func (d *OSD) close() {
	d.closing.Store(true)
	if d.listener != nil {
		d.listener.Close()
		d.cancel()
		d.work.Wait()
	}
	for _, g := range *d.groups.Load() {
		g.mu.Lock()
		g.dropWatches()
		g.mu.Unlock()
	}
	d.requester.close()
	d.copier.close()
	d.teller.close()
	close(d.stop)
	d.recoverer.close()
	d.runner.close()
	d.txns.Wait()
	d.peers.close()
}

// fatal ends the daemon's life: what the store could not make durable must
// not be built upon.
func (d *OSD) fatal(err error) {
	if !d.failed.Swap(true) {
		d.opts.Fatal(err)
	}
}

// Dispatch implements msgr.Dispatcher.
func (d *OSD) Dispatch(c msgr.Conn, m wire.Message) {
	if d.closing.Load() || d.failed.Load() {
		return
	}
	switch m := m.(type) {
	case *wire.MOSDOp:
		d.handleOp(c, m)
	case *wire.MOSDBackoff:
		d.handleBackoff(d.session(c), m)
	case *wire.MCommand:
		d.handleCommand(c, m)
	case *wire.MPing:
	case *ping:
		d.handlePing(c, m)
	case pg.Message:
		d.handlePeer(c, m)
	default:
		d.log.Debug("message of a type that an osd does not take", "peer", c.Peer(), "type", m.MsgType())
	}
}

// Reset implements msgr.Dispatcher.
func (d *OSD) Reset(c msgr.Conn) {
	d.reset(c)
	d.peers.reset(d, c)
}

// reportLoop tells the mon that the daemon is there until the map says so,
// and then how it is.
func (d *OSD) reportLoop(ctx context.Context) {
	boot := time.NewTicker(bootRetry)
	defer boot.Stop()
	stats := time.NewTicker(d.opts.Report)
	defer stats.Stop()
	var soon <-chan time.Time
	d.boot()
	for {
		select {
		case <-ctx.Done():
			return
		case <-boot.C:
			d.boot()
		case <-d.reportKick:
			if soon == nil {
				soon = time.After(reportDelay)
			}
		case <-soon:
			soon = nil
			d.report()
		case <-stats.C:
			d.checkFull()
			d.report()
			d.countSlow()
			d.sweepSessions()
			d.tick()
		}
	}
}

// reportSoon has the mon hear before the next turn that a PG has changed its
// state.
func (d *OSD) reportSoon() {
	select {
	case d.reportKick <- struct{}{}:
	default:
	}
}

// checkServing notes whether m has this daemon, at this address, as up. Until
// then no client may be answered: another OSD could be the primary.
func (d *OSD) checkServing(m *clustermap.OSDMap) {
	d.serving.Store(m != nil && d.isUp(m))
}

// isUp reports whether a map has this daemon, at this address, as up.
func (d *OSD) isUp(m *clustermap.OSDMap) bool {
	return d.listener != nil && m.IsUp(d.opts.ID) && m.Addr(d.opts.ID) == d.Addr()
}

func (d *OSD) boot() {
	if d.serving.Load() {
		return
	}
	var epoch wire.Epoch
	if m := d.current.Load(); m != nil {
		epoch = m.Epoch
	}
	err := d.opts.Mon.Send(&wire.MOSDBoot{OSD: d.opts.ID, UUID: d.opts.UUID, Public: d.Addr(), Cluster: d.Addr(),
		Epoch: epoch, Host: d.opts.Host, Weight: d.opts.Weight})
	if err != nil {
		d.log.Warn("boot not sent", "err", err)
	}
}

// tick has the PGs repeat what may have been lost.
func (d *OSD) tick() {
	var f pg.Effects
	cur := d.current.Load()
	for _, g := range *d.groups.Load() {
		g.mu.Lock()
		g.core.Tick(&f)
		if cur != nil && len(cur.Blocklist) > 0 {
			g.dropBlocklisted(cur)
		}
		g.settle(&f)
		g.mu.Unlock()
		g.perform(&f)
	}
}

func (d *OSD) report() {
	if !d.serving.Load() {
		return
	}
	d.reports.Add(1)
	fs := d.store.Statfs()
	m := &wire.MOSDStats{OSD: d.opts.ID, Total: uint64(max(fs.Total, 0)), Avail: uint64(max(fs.Free, 0)),
		Used: uint64(max(fs.Total-fs.Free, 0)), PGs: map[wire.PGID]wire.PGStat{}}
	for id, g := range *d.groups.Load() {
		if s, ok := g.stat(); ok {
			m.PGs[id] = s
		}
	}
	if err := d.opts.Mon.Send(m); err != nil {
		d.log.Debug("stats not sent", "err", err)
	}
}
