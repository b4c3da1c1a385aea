package rados

import (
	"context"
	"encoding/json"
	"log/slog"
	"math/rand/v2"
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
	minMonBackoff = 10 * time.Millisecond // between attempts to connect
	maxMonBackoff = 3 * time.Second
)

// MonOptions say how to reach the mons and what to do with their messages.
type MonOptions struct {
	Net   msgr.Network
	Addrs []wire.Addr     // of the mons
	Name  wire.EntityName // an OSD's; a client has Num 0 and is given a number
	// MyAddr is what peers see. An OSD gives the address it listens at.
	MyAddr wire.Addr
	Auth   msgr.ClientAuth // who we are; nil is NoAuth by Name
	Log    *slog.Logger
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
// and sends unanswered requests again.
//
// Lock order: mu alone; it is not held while anything is sent or handled.
type MonSession struct {
	opts MonOptions
	log  *slog.Logger

	tid  atomic.Uint64
	quit chan struct{}
	done chan struct{}
	wake chan struct{}

	mu      sync.Mutex
	closed  bool
	conn    msgr.Conn // nil while hunting
	up      bool      // conn is authenticated
	ready   chan struct{}
	gid     int64
	fsid    wire.FSID
	subs    map[string]wire.Subscription
	calls   map[uint64]*monCall
	inbox   []wire.Message
	lost    bool // conn was reset
	follow  map[int]func(*wire.MOSDMap)
	nfollow int
	early   []wire.Message // sent before the first session
}

// monCall is a request under way.
type monCall struct {
	m     wire.Message
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
		wake: make(chan struct{}, 1), ready: make(chan struct{}), gid: opts.Name.Num,
		subs: make(map[string]wire.Subscription), calls: make(map[uint64]*monCall),
		follow: make(map[int]func(*wire.MOSDMap)),
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

// Ready waits until a session stands.
func (s *MonSession) Ready(ctx context.Context) error {
	s.mu.Lock()
	ready := s.ready
	s.mu.Unlock()
	select {
	case <-ready:
		return nil
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
// for the message that answers it. It is sent again when the mon changes, so
// it may be done twice.
func (s *MonSession) Call(ctx context.Context, make_ func(tid uint64) wire.Message) (wire.Message, error) {
	tid := s.tid.Add(1)
	c := &monCall{m: make_(tid), done: make(chan struct{})}
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
		conn.Send(c.m)
	}
	defer func() {
		s.mu.Lock()
		delete(s.calls, tid)
		s.mu.Unlock()
	}()
	select {
	case <-c.done:
		return c.reply, nil
	case <-s.done:
		return nil, wire.Errorf("rados.mon", "", wire.ESHUTDOWN)
	case <-ctx.Done():
		return nil, ContextError("rados.mon", "", ctx.Err())
	}
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
	if c != s.conn {
		return
	}
	if tid, ok := monTID(m); ok {
		if call := s.calls[tid]; call != nil {
			call.reply = m
			delete(s.calls, tid)
			close(call.done)
		}
		return
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

// run is the session's goroutine: find a mon, serve until it is lost, again.
func (s *MonSession) run() {
	defer close(s.done)
	backoff := minMonBackoff
	order := rand.Perm(len(s.opts.Addrs))
	for n := 0; ; n++ {
		if len(order) > 0 && s.connect(s.opts.Addrs[order[n%len(order)]]) {
			backoff = minMonBackoff
			s.serve()
		}
		s.disconnect()
		timer := time.NewTimer(backoff)
		backoff = min(2*backoff, maxMonBackoff)
		select {
		case <-s.quit:
			timer.Stop()
			return
		case <-timer.C:
		}
	}
}

// connect opens a session with one mon and sends everything anew.
func (s *MonSession) connect(addr wire.Addr) bool {
	s.mu.Lock()
	name := s.opts.Name
	name.Num = s.gid
	s.lost, s.inbox = false, nil
	s.mu.Unlock()
	conn, err := s.opts.Net.Connect(name, s.opts.MyAddr, wire.EntityMon, addr, s, s.opts.Auth)
	if err != nil {
		s.log.Debug("mon does not answer", "addr", addr.String(), "err", err)
		return false
	}
	s.mu.Lock()
	s.conn = conn
	s.mu.Unlock()
	if !s.authenticate(conn) {
		return false
	}
	s.mu.Lock()
	s.up = true
	msgs := make([]wire.Message, 0, len(s.calls)+1)
	if len(s.subs) > 0 {
		subs := make(map[string]wire.Subscription, len(s.subs))
		for k, v := range s.subs {
			subs[k] = v
		}
		msgs = append(msgs, &wire.MMonSubscribe{What: subs})
	}
	for _, c := range s.calls {
		msgs = append(msgs, c.m)
	}
	msgs = append(msgs, s.early...)
	s.early = nil
	select {
	case <-s.ready:
	default:
		close(s.ready)
	}
	s.mu.Unlock()
	for _, m := range msgs {
		conn.Send(m)
	}
	if s.opts.Connected != nil {
		s.opts.Connected(s)
	}
	return true
}

// authenticate says who we are; a client keeps the number of its first
// session.
func (s *MonSession) authenticate(conn msgr.Conn) bool {
	tid := s.tid.Add(1)
	call := &monCall{done: make(chan struct{})}
	s.mu.Lock()
	s.calls[tid] = call
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		delete(s.calls, tid)
		s.mu.Unlock()
	}()
	if conn.Send(&wire.MAuth{TID: tid, Name: s.opts.Name.String()}) != nil {
		return false
	}
	for {
		select {
		case <-s.quit:
			return false
		case <-s.wake:
			s.mu.Lock()
			lost := s.lost
			s.mu.Unlock()
			if lost {
				return false
			}
			continue
		case <-call.done:
		}
		break
	}
	r, ok := call.reply.(*wire.MAuthReply)
	if !ok || r.Result != 0 {
		s.log.Warn("mon refuses the session")
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.gid == 0 && s.opts.Name.Type == wire.EntityClient {
		s.gid = r.GlobalID
	}
	s.fsid = r.FSID
	s.signal()
	return true
}

// serve hands messages on until the session is lost or closed.
func (s *MonSession) serve() {
	for {
		select {
		case <-s.quit:
			return
		case <-s.wake:
		}
		s.mu.Lock()
		msgs, lost := s.inbox, s.lost
		s.inbox = nil
		for _, m := range msgs {
			if om, ok := m.(*wire.MOSDMap); ok {
				if sub, ok := s.subs[wire.SubOSDMap]; ok {
					sub.Start = max(sub.Start, uint64(newestOf(om))+1)
					s.subs[wire.SubOSDMap] = sub
				}
			}
		}
		s.mu.Unlock()
		for _, m := range msgs {
			if s.opts.Handle != nil {
				s.opts.Handle(m)
			}
			if om, ok := m.(*wire.MOSDMap); ok {
				for _, fn := range s.followers() {
					fn(om)
				}
			}
		}
		if lost {
			return
		}
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

func (s *MonSession) disconnect() {
	s.mu.Lock()
	conn := s.conn
	s.conn, s.up = nil, false
	s.mu.Unlock()
	if conn != nil {
		conn.Close()
	}
}
