package osd

import (
	"time"

	"github.com/spirula/spirula/rados/wire"
)

// Bounds of the answers to large reads that wait to be sent. A session that
// has so many waiting, because its client asks for more than it takes, has
// its further large reads executed when there are fewer.
const (
	sessionAnswers = 48 << 20  // bytes of one session
	allAnswers     = 128 << 20 // bytes in buffers of all; beyond, each session has one large answer at a time
	paceTime       = 2 * time.Millisecond
)

// queued is a connection that knows how much waits to be sent on it; those of
// a network do.
type queued interface{ Queued() int }

// choked reports whether the session's client has to take answers first.
func (s *session) choked() bool {
	q, ok := s.conn.(queued)
	if !ok {
		return false
	}
	n := q.Queued()
	return n >= sessionAnswers || n > 0 && wire.DefaultArena.InUse() > allAnswers
}

// paced executes a large read, or has it wait for the session's client.
func (o *op) paced() {
	s := o.session
	s.mu.Lock()
	if !s.gone.Load() && (len(s.paced) > 0 || s.choked()) {
		s.paced = append(s.paced, o)
		if len(s.paced) == 1 {
			time.AfterFunc(paceTime, func() { o.osd.unpace(s) })
			o.osd.Metrics.Paced.Add(1)
		}
		s.mu.Unlock()
		return
	}
	s.mu.Unlock()
	o.next(o)
}

// unpace executes what waits for a session's client, one at a time. It is a
// timer's, and sets the next.
func (d *OSD) unpace(s *session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.gone.Load() && s.choked() {
		time.AfterFunc(paceTime, func() { d.unpace(s) })
		return
	}
	o := s.paced[0]
	s.paced[0] = nil
	if s.paced = s.paced[1:]; len(s.paced) == 0 {
		s.paced = nil
		d.runner.run(func() { o.next(o) })
		return
	}
	d.runner.run(func() {
		o.next(o)
		d.unpace(s)
	})
}
