package osd

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/spirula/spirula/rados/clustermap"
	"github.com/spirula/spirula/rados/msgr"
	"github.com/spirula/spirula/rados/wire"
)

// sweepAfter is how long a session is remembered whose end nobody tells.
const sweepAfter = time.Minute

// session is what the daemon remembers of a connection.
type session struct {
	conn   msgr.Conn
	remote bool // over a network: the peer keeps to MOSDBackoff
	caps   caps
	gone   atomic.Bool // the connection was reset: nobody waits for answers

	mu       sync.Mutex
	ended    time.Time  // when gone was set
	has      wire.Epoch // the newest map that the peer is known to have, or was sent
	parked   []*op      // requests that wait for a map, and those behind them
	draining bool       // parked is being routed
	lost     bool       // a request was dropped, and the peer may not know why
	strayed  bool       // a request was dropped for a PG of ours that is yet to be made
	paced    []*op      // large reads that wait for the client to take answers
	blocked  map[*group]struct{}
	watches  map[*watch]struct{}
}

// session finds or makes what belongs to a connection. It is called from
// Dispatch only: once the connection is reset, none is made any more.
func (d *OSD) session(c msgr.Conn) *session {
	if s, ok := d.sessions.Load(c); ok {
		return s.(*session)
	}
	id := c.Identity()
	s, loaded := d.sessions.LoadOrStore(c, &session{conn: c, remote: id.Mode != 0, caps: capsOf(id, d.log)})
	if !loaded {
		d.Metrics.Sessions.Add(1)
	}
	return s.(*session)
}

// reset follows the end of a connection.
func (d *OSD) reset(c msgr.Conn) {
	if s, ok := d.sessions.LoadAndDelete(c); ok {
		d.end(s.(*session))
	}
}

// hangUp ends a connection ourselves. The session stays for a while, so that
// what is just being dispatched finds it, and is dropped.
func (d *OSD) hangUp(s *session) {
	s.conn.Close()
	d.end(s)
}

// sweepSessions forgets the sessions that hangUp ended a while ago.
func (d *OSD) sweepSessions() {
	d.sessions.Range(func(c, v any) bool {
		s := v.(*session)
		s.mu.Lock()
		old := s.gone.Load() && time.Since(s.ended) > sweepAfter
		s.mu.Unlock()
		if old {
			d.sessions.Delete(c)
		}
		return true
	})
}

// end ends a session: its requests that have not begun are not executed, its
// watches go on until they time out.
func (d *OSD) end(s *session) {
	s.mu.Lock()
	if s.gone.Swap(true) {
		s.mu.Unlock()
		return
	}
	d.Metrics.Sessions.Add(-1)
	s.ended = time.Now()
	parked, blocked, watches := s.parked, s.blocked, s.watches
	s.parked, s.blocked, s.watches = nil, nil, nil
	s.mu.Unlock()
	for _, o := range parked {
		d.unparked(o)
		d.drop(o)
	}
	for g := range blocked {
		g.mu.Lock()
		delete(g.backoffs, s)
		g.mu.Unlock()
	}
	for w := range watches {
		w.disconnected(s)
	}
}

// arrive says whether a request may be routed now. It is not if it, or an
// earlier one of its session, waits for a map that we do not have: then it is
// parked. from is the newest map that the peer has, and is now being sent.
func (s *session) arrive(d *OSD, o *op, cur *clustermap.OSDMap) (from wire.Epoch, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.gone.Load() {
		d.drop(o)
		return 0, false
	}
	if cur == nil || o.m.Epoch > cur.Epoch || s.draining || len(s.parked) > 0 {
		s.park(d, o)
		return 0, false
	}
	from = max(s.has, o.m.Epoch)
	s.has = max(from, cur.Epoch)
	return from, true
}

// park has a request wait for a map; the mutex is held.
func (s *session) park(d *OSD, o *op) {
	if d.parked.Add(1) > maxMapWait || !d.hold(o) {
		d.parked.Add(-1)
		d.overrun(o)
		return
	}
	o.keep()
	s.parked = append(s.parked, o)
	// The map may have come since it was looked at.
	s.kick(d)
}

// kick has the parked requests routed, if the first of them can be; the mutex
// is held.
func (s *session) kick(d *OSD) {
	if !s.draining && len(s.parked) > 0 && s.parked[0].m.Epoch <= d.epoch() && d.epoch() > 0 {
		s.draining = true
		d.runner.run(func() { s.drain(d) })
	}
}

// drain routes parked requests in their order.
func (s *session) drain(d *OSD) {
	for {
		s.mu.Lock()
		cur := d.current.Load()
		if len(s.parked) == 0 || s.parked[0].m.Epoch > cur.Epoch {
			s.draining = false
			s.mu.Unlock()
			return
		}
		o := s.parked[0]
		s.parked[0] = nil
		s.parked = s.parked[1:]
		from := max(s.has, o.m.Epoch)
		s.has = max(from, cur.Epoch)
		s.mu.Unlock()
		d.unparked(o)
		d.route(o, cur, from)
	}
}

func (d *OSD) unparked(o *op) {
	d.parked.Add(-1)
	d.unhold(o)
}

// wakeSessions has requests routed that waited for the map that is current
// now, and sends the map to peers that lost a request for want of it.
func (d *OSD) wakeSessions() {
	d.sessions.Range(func(_, v any) bool {
		s := v.(*session)
		s.mu.Lock()
		lost := s.lost
		s.lost = false
		s.kick(d)
		s.mu.Unlock()
		if lost {
			s.catchUp(d)
		}
		return true
	})
}

// behind notes that a request of the session was dropped because the PG has
// another primary: the peer will send it there once it has the map, which may
// not be the current one here yet.
func (s *session) behind(d *OSD) {
	s.mu.Lock()
	s.lost = true
	s.mu.Unlock()
	d.runner.run(func() { s.catchUp(d) })
}

// stray notes that a request of the session was dropped because the PG that
// it is for, which we are to lead, can't be made before an older copy is
// removed. No map tells the peer when that is over: its connection ends then.
// was is the older copy, if it is the PG's own.
func (s *session) stray(d *OSD, id wire.PGID, was *group) {
	if d.current.Load().Map(id).ActingPrimary != d.opts.ID {
		return // the peer will see that
	}
	s.mu.Lock()
	s.strayed = true
	s.mu.Unlock()
	if d.group(id) != was { // it was made meanwhile
		d.runner.run(func() { d.hangUp(s) })
	}
}

// hangUpStrays ends the connections of which requests were dropped for PGs
// that were to be made, so that they come again.
func (d *OSD) hangUpStrays() {
	d.sessions.Range(func(_, v any) bool {
		s := v.(*session)
		s.mu.Lock()
		strayed := s.strayed
		s.strayed = false
		s.mu.Unlock()
		if strayed {
			d.hangUp(s)
		}
		return true
	})
}

// catchUp sends the peer the maps that it is not known to have.
func (s *session) catchUp(d *OSD) {
	cur := d.current.Load()
	s.mu.Lock()
	from := s.has
	s.has = max(from, cur.Epoch)
	s.mu.Unlock()
	s.pushMap(d, cur, from)
}

// pushMap sends the peer the maps that follow from.
func (s *session) pushMap(d *OSD, cur *clustermap.OSDMap, from wire.Epoch) {
	if from >= cur.Epoch {
		return
	}
	if err := s.conn.Send(d.mapMessage(from, cur)); err != nil {
		d.log.Debug("map not sent", "peer", s.conn.Peer(), "err", err)
	}
}

// mapMessage brings a peer from an epoch to cur: by increments if there are
// all of them, else by the whole map.
func (d *OSD) mapMessage(from wire.Epoch, cur *clustermap.OSDMap) *wire.MOSDMap {
	m := &wire.MOSDMap{FSID: cur.FSID, Oldest: cur.Epoch, Newest: cur.Epoch}
	d.mapMu.Lock()
	defer d.mapMu.Unlock()
	if from > 0 && cur.Epoch-from <= keepIncs {
		incs := make(map[wire.Epoch][]byte, cur.Epoch-from)
		for e := from + 1; e <= cur.Epoch; e++ {
			b, ok := d.incs[e]
			if !ok {
				incs = nil
				break
			}
			incs[e] = b
		}
		if incs != nil {
			m.Incrementals, m.Oldest = incs, from+1
			return m
		}
	}
	m.Fulls = map[wire.Epoch][]byte{cur.Epoch: cur.Encode()}
	return m
}
