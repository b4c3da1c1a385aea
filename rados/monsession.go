package rados

import (
	"context"
	"encoding/json"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/spirula/spirula/rados/msgr"
	"github.com/spirula/spirula/rados/wire"
)

// Bounds and periods of a mon session.
const (
	maxMonInbox   = 4096                  // messages not yet handled; beyond it the session starts anew
	maxMonCalls   = 4096                  // requests under way
	maxEarly      = 64                    // messages sent before the first session
	maxMons       = 64                    // addresses kept
	huntParallel  = 3                     // mons dialled at a time
	huntTime      = 3 * time.Second       // that they have to answer, times 1 to maxHuntFactor
	huntTurn      = time.Second           // after which one authenticates beside another
	maxHuntFactor = 10                    // reached by doubling
	minMonBackoff = 10 * time.Millisecond // between attempts to connect
	maxMonBackoff = 3 * time.Second
	monTick       = 5 * time.Second  // how often a session is looked after
	monQuiet      = 10 * time.Second // of silence, after which the mon is asked for a sign of life
	monDead       = 30 * time.Second // of silence, after which it is given up
)

// MonOptions say how to reach the mons and what to do with their messages.
type MonOptions struct {
	Net   msgr.Network
	Addrs []wire.Addr     // of the mons
	Name  wire.EntityName // an OSD's; a client has Num 0 and is given a number
	// MyAddr is what peers see. An OSD gives the address it listens at.
	MyAddr wire.Addr
	// Auth is who we are; nil is NoAuth by Name. If it is a Renewer, its
	// tickets, and a daemon's secrets, are fetched before they end.
	Auth msgr.ClientAuth
	FSID wire.FSID // the cluster that is meant; zero: whichever answers
	Log  *slog.Logger
	// Handle receives what is no answer to a request: MOSDMap, MMonMap,
	// MConfig. It runs on the session's goroutine, in the order of arrival.
	Handle func(wire.Message)
	// Connected is called on the session's goroutine each time a session
	// stands, after the subscriptions were renewed: who told the mon
	// something that the mon may not have got says it again.
	Connected func(*MonSession)
}

// MonSession is a session with one of the mons, whichever answers. It lives
// through the loss of a mon: it finds another one, renews the subscriptions
// and sends unanswered requests again. Where the mons are it learns from the
// first ones given, and then from the mons' map. A mon across a network that
// is silent for 30 seconds counts as lost.
//
// Lock order: mu alone; it is not held while anything is sent or handled.
type MonSession struct {
	opts MonOptions
	log  *slog.Logger

	tid  atomic.Uint64
	quit chan struct{}
	done chan struct{}
	wake chan struct{}

	mu       sync.Mutex
	closed   bool
	conn     msgr.Conn // nil while hunting
	up       bool      // requests can be sent on conn
	ready    chan struct{}
	refused  chan struct{} // closed when no mon wants us; then made anew
	refusal  error
	cands    map[msgr.Conn]context.CancelFunc // dialled, not chosen yet
	mons     []wire.Addr
	heard    time.Time  // when the mon last said something
	monEpoch wire.Epoch // of the mons' map
	net      bool       // the transport authenticates: the mon is of another process
	gid      int64
	fsid     wire.FSID
	subs     map[string]wire.Subscription
	calls    map[uint64]*monCall
	inbox    []wire.Message
	lost     bool // conn was reset
	follow   map[int]func(*wire.MOSDMap)
	nfollow  int
	early    []wire.Message // sent before the first session
}

// monCall is a request under way.
type monCall struct {
	make_ func(tid uint64) wire.Message // when it is sent: the cluster's id is known by then
	reply wire.Message
	done  chan struct{}
}

// DialMon starts a session; it returns at once. MonSession.Ready tells when a
// mon has answered.
func DialMon(opts MonOptions) *MonSession {
	if opts.Log == nil {
		opts.Log = slog.New(slog.DiscardHandler)
	}
	if opts.Auth == nil {
		opts.Auth = msgr.NoAuth{Name: opts.Name.AuthName()}
	}
	s := &MonSession{
		opts: opts, log: opts.Log, quit: make(chan struct{}), done: make(chan struct{}),
		wake: make(chan struct{}, 1), ready: make(chan struct{}), refused: make(chan struct{}), gid: opts.Name.Num,
		subs: map[string]wire.Subscription{wire.SubMonMap: {}}, calls: make(map[uint64]*monCall),
		follow: make(map[int]func(*wire.MOSDMap)), cands: make(map[msgr.Conn]context.CancelFunc), mons: opts.Addrs,
	}
	go s.run()
	return s
}

// Close ends the session and waits for its goroutine. Requests under way fail
// with ESHUTDOWN. It may be called twice, but not from Handle or Connected.
func (s *MonSession) Close() {
	s.mu.Lock()
	if !s.closed {
		s.closed = true
		close(s.quit)
	}
	s.mu.Unlock()
	<-s.done
}

// Ready waits until a session has stood. EACCES or EPERM: the mons do not
// believe who we are, or let nobody of that name in; EINVAL: they are of
// another cluster. The session goes on trying.
func (s *MonSession) Ready(ctx context.Context) error {
	s.mu.Lock()
	ready, refused := s.ready, s.refused
	s.mu.Unlock()
	select {
	case <-ready:
		return nil
	case <-refused:
		s.mu.Lock()
		defer s.mu.Unlock()
		return wire.Wrap("rados.mon", "", s.refusal)
	case <-s.done:
		return wire.Errorf("rados.mon", "", wire.ESHUTDOWN)
	case <-ctx.Done():
		return ContextError("rados.mon: no mon answers", "", ctx.Err())
	}
}

// GlobalID is the number that the mon gave, the same for the session's whole
// life; valid after Ready.
func (s *MonSession) GlobalID() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.gid
}

// FSID is the cluster's; valid after Ready.
func (s *MonSession) FSID() wire.FSID {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.fsid
}

// Subscribe asks for a map's versions from start on, and keeps asking when
// the mon changes. The session moves start forward by itself as OSD maps come.
func (s *MonSession) Subscribe(what string, start uint64) {
	s.mu.Lock()
	s.subs[what] = wire.Subscription{Start: start}
	conn := s.conn
	if !s.up {
		conn = nil
	}
	s.mu.Unlock()
	if conn != nil {
		conn.Send(&wire.MMonSubscribe{What: map[string]wire.Subscription{what: {Start: start}}})
	}
}

// SubscribeOSDMap has fn called with every message of OSD maps from an epoch
// on, on the session's goroutine, until ctx ends. A message brings increments
// without a gap, or a whole map; epochs before from may come as well. It
// returns at once, and may be called from Handle and from fn.
func (s *MonSession) SubscribeOSDMap(ctx context.Context, from wire.Epoch, fn func(*wire.MOSDMap)) {
	s.mu.Lock()
	id := s.nfollow
	s.nfollow++
	s.follow[id] = fn
	s.mu.Unlock()
	context.AfterFunc(ctx, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.follow, id)
	})
	s.Subscribe(wire.SubOSDMap, uint64(from))
}

// followers gives those who are to see OSD maps.
func (s *MonSession) followers() []func(*wire.MOSDMap) {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]func(*wire.MOSDMap), 0, len(s.follow))
	for _, fn := range s.follow {
		out = append(out, fn)
	}
	return out
}

// Send sends a message that has no answer. ENOTCONN means that it is lost;
// what was sent without an error may be lost as well. Before the first session
// stands, messages wait for it, up to maxEarly of them.
func (s *MonSession) Send(m wire.Message) error {
	s.mu.Lock()
	conn := s.conn
	if !s.up {
		conn = nil
	}
	select {
	case <-s.ready:
	default:
		if len(s.early) < maxEarly {
			s.early = append(s.early, m)
			s.mu.Unlock()
			return nil
		}
	}
	s.mu.Unlock()
	if conn == nil {
		return wire.Errorf("rados.mon", "send", wire.ENOTCONN)
	}
	return conn.Send(m)
}

// Call sends the request that make gives for a transaction number, and waits
// for the message that answers it. It is sent again, made anew, when the mon
// changes, so it may be done twice.
func (s *MonSession) Call(ctx context.Context, make_ func(tid uint64) wire.Message) (wire.Message, error) {
	tid := s.tid.Add(1)
	c := &monCall{make_: make_, done: make(chan struct{})}
	s.mu.Lock()
	if len(s.calls) >= maxMonCalls {
		s.mu.Unlock()
		return nil, wire.Errorf("rados.mon", "too many requests", wire.EAGAIN)
	}
	s.calls[tid] = c
	conn := s.conn
	if !s.up {
		conn = nil
	}
	s.mu.Unlock()
	if conn != nil {
		if err := conn.Send(make_(tid)); err != nil && wire.ErrnoOf(err) != wire.ENOTCONN {
			s.forget(tid)
			return nil, wire.Wrap("rados.mon", "", err)
		}
	}
	defer s.forget(tid)
	select {
	case <-c.done:
		return c.reply, nil
	case <-s.done:
		return nil, wire.Errorf("rados.mon", "", wire.ESHUTDOWN)
	case <-ctx.Done():
		return nil, ContextError("rados.mon", "", ctx.Err())
	}
}

func (s *MonSession) forget(tid uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.calls, tid)
}

// Command runs a mon command: cmd is encoded as JSON and has at least a
// "prefix". It gives the command's output.
func (s *MonSession) Command(ctx context.Context, cmd map[string]any, input []byte) ([]byte, error) {
	text, err := json.Marshal(cmd)
	if err != nil {
		return nil, wire.Wrap("rados.command", "", wire.EINVAL)
	}
	m, err := s.Call(ctx, func(tid uint64) wire.Message {
		return &wire.MMonCommand{TID: tid, FSID: s.FSID(), Cmd: []string{string(text)}, Input: input}
	})
	if err != nil {
		return nil, err
	}
	ack, ok := m.(*wire.MMonCommandAck)
	if !ok {
		return nil, wire.Errorf("rados.command: wrong answer", "", wire.EIO)
	}
	if ack.Result < 0 {
		return ack.Output, wire.Errorf("mon: "+ack.Status, string(text), wire.Errno(-ack.Result))
	}
	return ack.Output, nil
}

// NewestVersion asks for the newest version of a map that is committed.
func (s *MonSession) NewestVersion(ctx context.Context, what string) (uint64, error) {
	m, err := s.Call(ctx, func(tid uint64) wire.Message { return &wire.MMonGetVersion{TID: tid, What: what} })
	if err != nil {
		return 0, err
	}
	r, ok := m.(*wire.MMonGetVersionReply)
	if !ok {
		return 0, wire.Errorf("rados.mon: wrong answer", what, wire.EIO)
	}
	return r.Newest, nil
}

// monTID gives the transaction number that an answer carries.
func monTID(m wire.Message) (uint64, bool) {
	switch m := m.(type) {
	case *wire.MAuthReply:
		return m.TID, true
	case *wire.MMonCommandAck:
		return m.TID, true
	case *wire.MMonGetVersionReply:
		return m.TID, true
	case *wire.MPoolOpReply:
		return m.TID, true
	case *wire.MStatfsReply:
		return m.TID, true
	case *wire.MGetPoolStatsReply:
		return m.TID, true
	case *wire.MRemoveSnaps:
		return m.TID, true
	}
	return 0, false
}

// Dispatch implements msgr.Dispatcher.
func (s *MonSession) Dispatch(c msgr.Conn, m wire.Message) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c != s.conn && s.cands[c] == nil {
		return
	}
	s.heard = time.Now()
	if tid, ok := monTID(m); ok {
		if call := s.calls[tid]; call != nil {
			call.reply = m
			delete(s.calls, tid)
			close(call.done)
			return
		}
		if _, ok := m.(*wire.MAuthReply); !ok {
			return
		}
	}
	if len(s.inbox) >= maxMonInbox {
		s.lost = true
	} else {
		s.inbox = append(s.inbox, m)
	}
	s.signal()
}

// Reset implements msgr.Dispatcher.
func (s *MonSession) Reset(c msgr.Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if lost := s.cands[c]; lost != nil {
		lost()
	}
	if c == s.conn {
		s.lost = true
		s.signal()
	}
}

func (s *MonSession) signal() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// newestOf is the newest epoch that a message brings.
func newestOf(m *wire.MOSDMap) (e wire.Epoch) {
	for k := range m.Incrementals {
		e = max(e, k)
	}
	for k := range m.Fulls {
		e = max(e, k)
	}
	return e
}

// remote reports whether the mon is of another process.
func (s *MonSession) remote() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.net
}
