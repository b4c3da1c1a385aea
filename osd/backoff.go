package osd

import "github.com/spirula/spirula/rados/wire"

// backoff is a session's block on a whole PG: the peer holds its requests
// until it is told, and what it sent before it knew is dropped, so that the
// order of its requests stays.
type backoff struct {
	id       uint64
	acked    bool // the peer knows
	released bool // to be ended once the peer knows
}

// block has a session's requests on the PG held by the peer rather than here.
// The mutex is held.
func (g *group) block(s *session) {
	if g.backoffs[s] != nil {
		return
	}
	s.mu.Lock()
	gone := s.gone.Load()
	if !gone {
		if s.blocked == nil {
			s.blocked = map[*group]struct{}{}
		}
		s.blocked[g] = struct{}{}
	}
	s.mu.Unlock()
	if gone {
		return
	}
	if g.backoffs == nil {
		g.backoffs = map[*session]*backoff{}
	}
	b := &backoff{id: g.osd.nextBackoff.Add(1)}
	g.backoffs[s] = b
	g.osd.Metrics.Backoffs.Add(1)
	g.tell(s, b.id, wire.BackoffBlock)
}

// tell sends a session a word on its backoff. The mutex is held, so that the
// words keep their order: sessions with backoffs are on a network, where Send
// only queues.
func (g *group) tell(s *session, id uint64, what wire.BackoffOp) {
	d := g.osd
	m := &wire.MOSDBackoff{PG: g.id, Epoch: d.epoch(), Op: what, ID: id}
	cur := d.current.Load()
	if cur == nil || cur.Pool(g.id.Pool) == nil {
		m.Begin, m.End = wire.HObject{Pool: g.id.Pool, Hash: g.id.Seed}, wire.MaxHObject
	} else {
		m.Begin, m.End = bounds(cur.Pool(g.id.Pool), g.id.PGID)
	}
	if err := s.conn.Send(m); err != nil {
		d.log.Debug("backoff not sent", "peer", s.conn.Peer(), "err", err)
	}
}

// release ends all backoffs: those that are acknowledged now, the others when
// they are. The mutex is held.
func (g *group) release() {
	for s, b := range g.backoffs {
		if b.acked {
			g.unblock(s, b)
		} else {
			b.released = true
		}
	}
}

func (g *group) unblock(s *session, b *backoff) {
	delete(g.backoffs, s)
	s.mu.Lock()
	delete(s.blocked, g)
	s.mu.Unlock()
	g.tell(s, b.id, wire.BackoffUnblock)
}

// handleBackoff takes a peer's word that it holds its requests.
func (d *OSD) handleBackoff(s *session, m *wire.MOSDBackoff) {
	if m.Op != wire.BackoffAckBlock {
		return
	}
	s.mu.Lock()
	var g *group
	for b := range s.blocked {
		if b.id == m.PG {
			g = b
		}
	}
	s.mu.Unlock()
	if g == nil {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	b := g.backoffs[s]
	if b == nil || b.id != m.ID {
		return
	}
	b.acked = true
	if b.released {
		g.unblock(s, b)
	}
}
