package rados

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/spirula/spirula/rados/clustermap"
	"github.com/spirula/spirula/rados/msgr"
	"github.com/spirula/spirula/rados/wire"
)

// run is the session's goroutine: find a mon, serve until it is lost, again.
func (s *MonSession) run() {
	defer close(s.done)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() {
		select {
		case <-s.quit:
			cancel()
		case <-ctx.Done():
		}
	}()
	backoff, factor := minMonBackoff, 1
	for {
		round, end := context.WithTimeout(ctx, time.Duration(factor)*huntTime)
		conn, err := s.hunt(round)
		if err == nil {
			err = s.begin(round, conn)
		}
		end()
		if err == nil {
			backoff, factor = minMonBackoff, 1
			s.serve()
		} else {
			factor = min(2*factor, maxHuntFactor)
			s.noMon(err)
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

// noMon notes why no session came about, and tells those who wait if there is
// no point in waiting.
func (s *MonSession) noMon(err error) {
	if kind := wire.ErrnoOf(err); !refused(err) && kind != wire.EINVAL {
		s.log.Debug("no mon answers", "err", err)
		return
	}
	s.log.Warn("the mons refuse the session", "err", err)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refusal = err
	close(s.refused)
	s.refused = make(chan struct{})
}

// candidate is a mon that is being dialled. It is the ClientAuth of its
// connection: candidates prove who we are one after the other, as long as a
// mon is not slow about it, because what one of them is given in return, a
// global id and tickets, is worth nothing beside what another was given.
type candidate struct {
	msgr.ClientAuth
	addr wire.Addr
	turn chan struct{} // full while one of them is at it
	over <-chan struct{}

	mu   sync.Mutex
	mine bool
}

// handshake is the candidate's.
type handshake struct {
	msgr.ClientHandshake
	c *candidate
}

// Dial implements msgr.ClientAuth.
func (c *candidate) Dial(peer wire.EntityType) (msgr.ClientHandshake, error) {
	h, err := c.ClientAuth.Dial(peer)
	if err != nil {
		return nil, err
	}
	return &handshake{h, c}, nil
}

// Request implements msgr.ClientHandshake.
func (h *handshake) Request() (msgr.Method, []msgr.Mode, []byte, error) {
	h.c.mu.Lock()
	mine := h.c.mine
	h.c.mu.Unlock()
	if !mine {
		slow := time.NewTimer(huntTurn)
		defer slow.Stop()
		select {
		case h.c.turn <- struct{}{}:
			h.c.mu.Lock()
			h.c.mine = true
			h.c.mu.Unlock()
		case <-slow.C:
		case <-h.c.over:
			return 0, nil, nil, wire.Errorf("rados.hunt", h.c.addr.String(), wire.ENOTCONN)
		}
	}
	return h.ClientHandshake.Request()
}

// pass gives the turn to the next.
func (c *candidate) pass() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.mine {
		c.mine = false
		<-c.turn
	}
}

// hunt dials a few mons and gives a session with the first that authenticates.
func (s *MonSession) hunt(ctx context.Context) (msgr.Conn, error) {
	s.mu.Lock()
	mons := append([]wire.Addr(nil), s.mons...)
	s.lost, s.inbox, s.heard = false, nil, time.Now()
	s.mu.Unlock()
	if len(mons) == 0 {
		return nil, wire.Errorf("rados.mon: no address", "", wire.EINVAL)
	}
	rand.Shuffle(len(mons), func(i, j int) { mons[i], mons[j] = mons[j], mons[i] })
	mons = mons[:min(len(mons), huntParallel)]
	type result struct {
		conn msgr.Conn
		err  error
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	turn, results := make(chan struct{}, 1), make(chan result, len(mons))
	for _, addr := range mons {
		c := &candidate{ClientAuth: s.opts.Auth, addr: addr, turn: turn, over: ctx.Done()}
		go func() {
			conn, err := s.try(ctx, c)
			results <- result{conn, err}
		}()
	}
	var won msgr.Conn
	var err error
	for range mons {
		r := <-results
		switch {
		case r.err == nil && won == nil:
			won = r.conn
			cancel()
		case r.conn != nil:
			r.conn.Close()
		}
		if r.err != nil && !refused(err) {
			err = r.err
		}
	}
	s.mu.Lock()
	clear(s.cands)
	s.conn = won
	s.mu.Unlock()
	if won != nil {
		return won, nil
	}
	return nil, err
}

// try dials one mon. A connection that failed is given as well, to be closed.
func (s *MonSession) try(ctx context.Context, c *candidate) (msgr.Conn, error) {
	s.mu.Lock()
	name := s.opts.Name
	name.Num = s.gid
	s.mu.Unlock()
	conn, err := s.opts.Net.Connect(name, s.opts.MyAddr, wire.EntityMon, c.addr, s, c)
	if err != nil {
		return nil, err
	}
	standing, lost := context.WithCancel(ctx)
	defer lost()
	s.mu.Lock()
	s.cands[conn] = lost
	s.mu.Unlock()
	err = conn.Wait(ctx)
	if err == nil {
		err = s.identify(standing, conn)
	}
	if err != nil || ctx.Err() != nil {
		c.pass()
	}
	if err == nil {
		err = ctx.Err()
	}
	return conn, err
}

// identify learns which number we have: from the transport, or, if it does
// not authenticate, from the mon. A client keeps the number of its first
// session.
func (s *MonSession) identify(ctx context.Context, conn msgr.Conn) error {
	if gid := conn.GlobalID(); gid != 0 {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.gid == 0 && s.opts.Name.Type == wire.EntityClient {
			s.gid = int64(gid)
		}
		s.net = true
		return nil
	}
	tid := s.tid.Add(1)
	call := &monCall{done: make(chan struct{})}
	s.mu.Lock()
	s.calls[tid] = call
	s.mu.Unlock()
	defer s.forget(tid)
	if err := conn.Send(&wire.MAuth{TID: tid, Name: s.opts.Name.String()}); err != nil {
		return err
	}
	select {
	case <-ctx.Done():
		return ContextError("rados.mon", "", ctx.Err())
	case <-call.done:
	}
	r, ok := call.reply.(*wire.MAuthReply)
	if !ok {
		return wire.Errorf("rados.mon: the session ended", "", wire.ENOTCONN)
	}
	if r.Result != 0 {
		return wire.Errorf("rados.mon: refused", r.Status, wire.Errno(max(-r.Result, 1)))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.gid == 0 && s.opts.Name.Type == wire.EntityClient {
		s.gid = r.GlobalID
	}
	s.fsid = r.FSID
	return nil
}

// begin makes a new session the one in use: it learns which cluster this is,
// renews the subscriptions, and sends what waits.
func (s *MonSession) begin(ctx context.Context, conn msgr.Conn) error {
	if s.FSID() == (wire.FSID{}) {
		conn.Send(&wire.MMonGetMap{})
	}
	for s.FSID() == (wire.FSID{}) {
		select {
		case <-ctx.Done():
			return ContextError("rados.mon", "", ctx.Err())
		case <-s.wake:
		}
		if !s.handle() {
			return wire.Errorf("rados.mon: the session ended", "", wire.ENOTCONN)
		}
	}
	if want := s.opts.FSID; want != (wire.FSID{}) && want != s.FSID() {
		return wire.Errorf("rados.mon: the cluster is another one, "+s.FSID().String(), want.String(), wire.EINVAL)
	}
	s.mu.Lock()
	s.up = true
	subs := make(map[string]wire.Subscription, len(s.subs))
	for k, v := range s.subs {
		subs[k] = v
	}
	msgs := []wire.Message{&wire.MMonSubscribe{What: subs}}
	calls := make(map[uint64]*monCall, len(s.calls))
	for tid, c := range s.calls {
		if c.make_ != nil {
			calls[tid] = c
		}
	}
	early := s.early
	s.early = nil
	select {
	case <-s.ready:
	default:
		close(s.ready)
	}
	s.signal() // something may have come already
	s.mu.Unlock()
	for tid, c := range calls {
		msgs = append(msgs, c.make_(tid))
	}
	for _, m := range append(msgs, early...) {
		conn.Send(m)
	}
	if s.opts.Connected != nil {
		s.opts.Connected(s)
	}
	return nil
}

// serve hands messages on until the session is lost or closed.
func (s *MonSession) serve() {
	ticker := time.NewTicker(monTick)
	defer ticker.Stop()
	for {
		s.renewDue()
		select {
		case <-s.quit:
			return
		case <-ticker.C:
			if !s.alive() {
				s.log.Info("the mon is silent")
				return
			}
		case <-s.wake:
			if !s.handle() {
				return
			}
		}
	}
}

// alive asks a mon that has been quiet for a sign of life, and reports
// whether it has not been so for too long. Within a process a mon can't die
// unnoticed.
func (s *MonSession) alive() bool {
	s.mu.Lock()
	conn, quiet := s.conn, time.Since(s.heard)
	s.mu.Unlock()
	switch {
	case conn.GlobalID() == 0 || quiet < monQuiet:
		return true
	case quiet >= monDead:
		return false
	}
	conn.Send(&wire.MMonGetVersion{TID: s.tid.Add(1), What: wire.SubOSDMap})
	return true
}

// handle hands on what has come; false: the session is lost.
func (s *MonSession) handle() bool {
	s.mu.Lock()
	msgs, lost := s.inbox, s.lost
	s.inbox = nil
	for _, m := range msgs {
		if om, ok := m.(*wire.MOSDMap); ok {
			s.seen(wire.SubOSDMap, newestOf(om))
		}
	}
	s.mu.Unlock()
	for _, m := range msgs {
		switch m := m.(type) {
		case *wire.MMonMap:
			s.takeMonMap(m)
		case *wire.MAuthReply:
			s.takeRenewal(m)
			continue
		}
		if s.opts.Handle != nil {
			s.opts.Handle(m)
		}
		if om, ok := m.(*wire.MOSDMap); ok {
			for _, fn := range s.followers() {
				fn(om)
			}
		}
	}
	return !lost
}

// seen moves a subscription forward.
func (s *MonSession) seen(what string, epoch wire.Epoch) {
	if sub, ok := s.subs[what]; ok {
		sub.Start = max(sub.Start, uint64(epoch)+1)
		s.subs[what] = sub
	}
}

// takeMonMap learns where the mons are. The addresses that the session began
// with stay, behind those of the map.
func (s *MonSession) takeMonMap(m *wire.MMonMap) {
	mm, err := clustermap.DecodeMonMap(m.Map)
	if err != nil {
		s.log.Error("mon map can't be used", "err", err)
		return
	}
	var mons []wire.Addr
	known := make(map[wire.Addr]bool)
	add := func(a wire.Addr) {
		if a.Type == wire.AddrMsgr2 && !known[a] && len(mons) < maxMons {
			known[a] = true
			mons = append(mons, a)
		}
	}
	for i := range mm.Mons {
		for _, a := range mm.Mons[i].Addrs {
			add(a)
		}
	}
	for _, a := range s.opts.Addrs {
		add(a)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fsid != (wire.FSID{}) && s.fsid != mm.FSID {
		s.log.Error("a mon of another cluster", "fsid", mm.FSID.String())
		s.lost = true
		s.signal()
		return
	}
	s.fsid, s.mons, s.monEpoch = mm.FSID, mons, mm.Epoch
	s.seen(wire.SubMonMap, mm.Epoch)
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
