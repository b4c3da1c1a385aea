package mon

import (
	"context"
	"log/slog"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"go.etcd.io/raft/v3"

	"github.com/spirula/spirula/rados/cephx"
	"github.com/spirula/spirula/rados/clustermap"
	"github.com/spirula/spirula/rados/msgr"
	"github.com/spirula/spirula/rados/wire"
)

// Bounds and periods.
const (
	maxInbox     = 16384                  // messages waiting for the mon; a session that would exceed it is reset
	raftTick     = 100 * time.Millisecond // raft's unit of time
	electionTick = 10                     // of them without a leader: election
	maxEntry     = 64 << 20               // bytes of one raft entry, and of all not yet committed
)

// Options say what a mon is to run with. All but Now, Log and the graces must
// be set.
type Options struct {
	Name string // "a"
	Addr wire.Addr
	Net  msgr.Network
	KV   KV // prepared by Mkfs; stays open until Close has returned
	// AuthMode says who may connect, and what they may do then.
	AuthMode AuthMode
	Auth     msgr.ServerAuth // decides in place of AuthMode if not nil
	Log      *slog.Logger
	// Now is the clock; time.Now by default. It is read on the leader only.
	Now func() time.Time
	// OSDGrace is how long an OSD that the map calls up may be without a
	// session before it is marked down, after the mon has started: 20 s by
	// default. A session that breaks later is the OSD's end at once.
	OSDGrace time.Duration
	// OutAfter is how long an OSD may be down before its data is placed
	// elsewhere; 10 minutes by default, never if negative.
	OutAfter time.Duration
	// Fatal is called when the KV fails: what is agreed upon can't be kept,
	// so the process must end. It panics by default.
	Fatal func(error)
}

func (o *Options) defaults() {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.OSDGrace == 0 {
		o.OSDGrace = 20 * time.Second
	}
	if o.OutAfter == 0 {
		o.OutAfter = 10 * time.Minute
	}
	if o.Fatal == nil {
		o.Fatal = func(err error) { panic(err) }
	}
}

// Metrics are counters of a running mon.
type Metrics struct {
	Messages  atomic.Uint64 // received
	Proposals atomic.Uint64 // made
	Rejected  atomic.Uint64 // proposals that came too late
	Applied   atomic.Uint64 // batches synced
	Overflows atomic.Uint64 // sessions reset because the inbox was full
	Sessions  atomic.Int64  // open now
}

// event is something for the mon's goroutine: a message, or with m nil the
// reset of c, or with c nil a function to run.
type event struct {
	c  msgr.Conn
	m  wire.Message
	fn func()
}

// Mon is one monitor. All of its state belongs to one goroutine; Dispatch and
// Reset only put events into its inbox.
type Mon struct {
	opts    Options
	log     *slog.Logger
	Metrics Metrics

	listener msgr.Listener

	inboxMu sync.Mutex
	inbox   []event
	closed  bool
	wake    chan struct{}
	stop    chan struct{}
	done    chan struct{}

	// The goroutine's own.
	raft     *raft.RawNode
	rlog     *raftLog
	applied  uint64
	leader   bool
	dead     bool // the KV failed
	fsid     wire.FSID
	sessions map[msgr.Conn]*session
	services map[string]service
	commands commands // to the cluster
	tells    commands // to this mon
	osd      *osdService
	auth     *authService
	cephx    *cephx.MonAuth
	conf     *configService
	keys     *valueService // config-key
	muted    *valueService // muted health checks
	clog     *logService
	monmap   *monmapService
	started  time.Time

	osdmap atomic.Pointer[clustermap.OSDMap] // the newest committed
}

// service is one part of the agreed state, a state machine of its own. It has
// at most one proposal under way.
type service interface {
	name() string
	// version is the number of the last step applied.
	version() uint64
	// load reads the committed state.
	load(kv KV, version uint64) error
	// lead starts work as leader, or ends it: whoever waits gets EAGAIN.
	lead(on bool)
	// propose gives the next step if one is due; nil otherwise.
	propose(now time.Time) *proposal
	// apply is the effect of a step: it adds to b what the step's own
	// changes don't say, and prepares the new state.
	apply(b *Batch, p *proposal) error
	// committed makes what apply prepared visible and answers who waited.
	committed(p *proposal, mine bool)
	// tick is called every raftTick on the leader.
	tick(now time.Time)
}

// New makes a mon over what Mkfs prepared; Start runs it.
func New(opts Options) (*Mon, error) {
	opts.defaults()
	m := &Mon{
		opts: opts, log: opts.Log.With("mon", opts.Name),
		wake: make(chan struct{}, 1), stop: make(chan struct{}), done: make(chan struct{}),
		sessions: make(map[msgr.Conn]*session), commands: commandTable(), tells: tellTable(),
	}
	if err := m.load(); err != nil {
		return nil, wire.Wrap("mon.new", opts.Name, err)
	}
	return m, nil
}

// load reads everything from the KV.
func (m *Mon) load() error {
	var err error
	kv := m.opts.KV
	if m.rlog, err = loadLog(kv); err != nil {
		return err
	}
	if m.applied, err = getNum(kv, keyApplied); err != nil {
		return err
	}
	m.services = make(map[string]service)
	for _, s := range m.makeServices() {
		m.services[s.name()] = s
		v, err := getNum(kv, keyVersion+s.name())
		if err != nil {
			return err
		}
		if err := s.load(kv, v); err != nil {
			return err
		}
	}
	m.fsid = m.monmap.cur.FSID
	if m.cephx = m.acceptor(m.opts.AuthMode); m.opts.Auth == nil {
		m.opts.Auth = m.cephx
	}
	m.osdmap.Store(m.osd.cur)
	m.raft, err = raft.NewRawNode(&raft.Config{
		ID: m.monmap.rank(m.opts.Name), ElectionTick: electionTick, HeartbeatTick: 1, Storage: m.rlog,
		Applied: m.applied, MaxSizePerMsg: maxEntry, MaxUncommittedEntriesSize: maxEntry,
		MaxInflightMsgs: 64, PreVote: true, CheckQuorum: true, Logger: raftLogger{m.log},
	})
	return wire.Wrap("mon.load", "raft", err)
}

// makeServices makes the services anew, without state.
func (m *Mon) makeServices() []service {
	m.osd, m.auth, m.conf, m.monmap = newOSDService(m), newAuthService(m), newConfigService(m), &monmapService{m: m}
	m.keys, m.muted, m.clog = newValueService(m, "config-key"), newValueService(m, "health"), &logService{m: m}
	return []service{m.monmap, m.osd, m.auth, m.conf, m.keys, m.muted, m.clog}
}

// Start listens and runs the mon. The only member of a cluster leads it when
// Start returns.
func (m *Mon) Start() error {
	m.started = m.opts.Now()
	if len(m.rlog.conf.GetVoters()) == 1 {
		if err := m.raft.Campaign(); err != nil {
			return wire.Wrap("mon.start", m.opts.Name, err)
		}
		m.pump()
		if m.dead || !m.leader {
			return wire.Errorf("mon.start: no leader", m.opts.Name, wire.EIO)
		}
	}
	l, err := m.opts.Net.Listen(wire.EntityName{Type: wire.EntityMon, Num: int64(m.monmap.rank(m.opts.Name)) - 1}, m.opts.Addr, m, m.opts.Auth)
	if err != nil {
		return wire.Wrap("mon.start", m.opts.Name, err)
	}
	m.listener = l
	m.adoptAddr(l.Addr())
	if m.dead {
		l.Close()
		return wire.Errorf("mon.start: the store failed", m.opts.Name, wire.EIO)
	}
	go m.loop()
	return nil
}

// adoptAddr makes the monmap name the address where the only mon of a cluster
// listens. Several mons are at the addresses that the map has for them. An
// address that stands for all of the host's can't be told to clients: then
// only the port is taken over.
func (m *Mon) adoptAddr(a wire.Addr) {
	self := m.monmap.cur.Mon(m.opts.Name)
	if !m.leader || len(m.monmap.cur.Mons) != 1 || self == nil {
		return
	}
	a.Type, a.Nonce = wire.AddrMsgr2, 0
	if a.IP.Addr().IsUnspecified() && len(self.Addrs) > 0 {
		a.IP = netip.AddrPortFrom(self.Addrs[0].IP.Addr(), a.IP.Port())
	}
	if len(self.Addrs) == 1 && self.Addrs[0] == a {
		return
	}
	m.log.Info("the monmap gets a new address", "addr", a.String())
	m.monmap.moveTo(m.opts.Name, a)
	m.pump()
}

// Close stops the mon and waits for it; it may be called twice.
func (m *Mon) Close() {
	m.inboxMu.Lock()
	if !m.closed {
		m.closed = true
		close(m.stop)
	}
	m.inboxMu.Unlock()
	if m.listener != nil { // it was started
		<-m.done
		m.listener.Close()
	}
}

// Addr is where the mon listens, after Start.
func (m *Mon) Addr() wire.Addr { return m.listener.Addr() }

// FSID is the cluster's.
func (m *Mon) FSID() wire.FSID { return m.fsid }

// OSDMap is the newest committed map.
func (m *Mon) OSDMap() *clustermap.OSDMap { return m.osdmap.Load() }

// Command runs a command as a client's would be run.
func (m *Mon) Command(ctx context.Context, cmd string, input []byte) (*wire.MMonCommandAck, error) {
	answer := make(chan *wire.MMonCommandAck, 1)
	m.post(event{fn: func() {
		m.command(nil, &wire.MMonCommand{FSID: m.fsid, Cmd: []string{cmd}, Input: input},
			func(a *wire.MMonCommandAck) { answer <- a })
	}})
	select {
	case a := <-answer:
		return a, nil
	case <-m.done:
		return nil, wire.Errorf("mon.command", cmd, wire.ESHUTDOWN)
	case <-ctx.Done():
		return nil, wire.Wrap("mon.command", cmd, ctx.Err())
	}
}

// Dispatch implements msgr.Dispatcher.
func (m *Mon) Dispatch(c msgr.Conn, msg wire.Message) {
	m.Metrics.Messages.Add(1)
	if !m.post(event{c: c, m: msg}) {
		m.Metrics.Overflows.Add(1)
		c.Close()
		m.Reset(c)
	}
}

// Reset implements msgr.Dispatcher.
func (m *Mon) Reset(c msgr.Conn) {
	m.inboxMu.Lock()
	m.inbox = append(m.inbox, event{c: c})
	m.inboxMu.Unlock()
	m.signal()
}

// post queues an event; false means that there is no room.
func (m *Mon) post(e event) bool {
	m.inboxMu.Lock()
	if len(m.inbox) >= maxInbox {
		m.inboxMu.Unlock()
		return false
	}
	m.inbox = append(m.inbox, e)
	m.inboxMu.Unlock()
	m.signal()
	return true
}

func (m *Mon) signal() {
	select {
	case m.wake <- struct{}{}:
	default:
	}
}

// loop is the mon's goroutine.
func (m *Mon) loop() {
	defer close(m.done)
	ticker := time.NewTicker(raftTick)
	defer ticker.Stop()
	for {
		select {
		case <-m.stop:
			return
		case <-ticker.C:
			m.raft.Tick()
			if m.leader {
				now := m.opts.Now()
				for _, s := range m.services {
					s.tick(now)
				}
			}
		case <-m.wake:
			m.inboxMu.Lock()
			events := m.inbox
			m.inbox = nil
			m.inboxMu.Unlock()
			for _, e := range events {
				m.handle(e)
			}
		}
		if m.dead {
			return
		}
		m.pump()
	}
}

func (m *Mon) handle(e event) {
	switch {
	case e.c == nil:
		e.fn()
	case e.m == nil:
		m.dropSession(e.c)
	default:
		m.dispatch(m.sessionOf(e.c), e.m)
	}
}

// pump proposes what is due and carries raft forward until nothing is left
// to do.
func (m *Mon) pump() {
	for !m.dead {
		if m.leader {
			now := m.opts.Now()
			for _, s := range m.services {
				m.propose(s, now)
			}
		}
		if !m.raft.HasReady() {
			return
		}
		m.ready()
	}
}

func (m *Mon) propose(s service, now time.Time) {
	p := s.propose(now)
	if p == nil {
		return
	}
	m.Metrics.Proposals.Add(1)
	if err := m.raft.Propose(p.encode()); err != nil {
		m.log.Warn("proposal refused", "service", s.name(), "err", err)
		s.lead(false)
		s.lead(m.leader)
	}
}

// ready does one round of what raft asks for: log, hard state and the effects
// of committed entries go out in one synced batch.
func (m *Mon) ready() {
	rd := m.raft.Ready()
	var b Batch
	if err := m.rlog.persist(&b, &rd); err != nil {
		m.fail(err)
		return
	}
	var steps []*proposal
	for _, e := range rd.CommittedEntries {
		if len(e.GetData()) > 0 {
			p, err := m.applyEntry(&b, e.GetData())
			if err != nil {
				m.fail(err)
				return
			}
			if p != nil {
				steps = append(steps, p)
			}
		}
		m.applied = e.GetIndex()
	}
	if len(rd.CommittedEntries) > 0 {
		b.Put([]byte(keyApplied), sealNum(m.applied))
		if err := m.rlog.trim(&b, m.applied); err != nil {
			m.fail(err)
			return
		}
	}
	if len(b.Changes) > 0 {
		if err := m.opts.KV.Apply(&b); err != nil {
			m.fail(err)
			return
		}
		m.Metrics.Applied.Add(1)
	}
	for _, p := range steps {
		m.services[p.service].committed(p, m.leader)
	}
	m.raft.Advance(rd)
	if rd.SoftState != nil {
		m.setLeader(rd.SoftState.RaftState == raft.StateLeader)
	}
}

// applyEntry adds the effects of one entry to b. The step is nil when it came
// too late.
func (m *Mon) applyEntry(b *Batch, data []byte) (*proposal, error) {
	p, err := decodeProposal(data)
	if err != nil {
		return nil, err
	}
	s := m.services[p.service]
	if s == nil {
		return nil, wire.Errorf("mon.apply: unknown service", p.service, wire.EIO)
	}
	if s.version() != p.prior {
		m.Metrics.Rejected.Add(1)
		return nil, nil
	}
	p.apply(b)
	return p, s.apply(b, p)
}

func (m *Mon) setLeader(on bool) {
	if m.leader == on {
		return
	}
	m.leader = on
	m.log.Info("leadership", "leader", on)
	for _, s := range m.services {
		s.lead(on)
	}
}

// fail ends the mon: its store can't be trusted any more.
func (m *Mon) fail(err error) {
	m.dead = true
	m.log.Error("mon stops", "err", err)
	m.opts.Fatal(wire.Wrap("mon", m.opts.Name, err))
}
