package rados

import (
	"time"

	"github.com/spirula/spirula/rados/msgr"
	"github.com/spirula/spirula/rados/wire"
)

// Renewer is a ClientAuth with something that ends: tickets, and a daemon's
// secrets. Package cephx's Client is one.
type Renewer interface {
	msgr.ClientAuth
	// Renewal gives what to send to the mon, if anything is due. It is asked
	// every few seconds while a session stands.
	Renewal(now time.Time) (payload []byte, due bool)
	// TakeRenewal takes the mon's answer.
	TakeRenewal(payload []byte) error
}

// renewTickets has the session look at once whether a renewal is due: a
// daemon refused what we had.
func (s *MonSession) renewTickets() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.signal()
}

// renewDue asks the mon for what is due.
func (s *MonSession) renewDue() {
	r, ok := s.opts.Auth.(Renewer)
	if !ok {
		return
	}
	payload, due := r.Renewal(time.Now())
	if !due {
		return
	}
	s.mu.Lock()
	conn, epoch := s.conn, s.monEpoch
	s.mu.Unlock()
	if conn != nil && conn.GlobalID() != 0 {
		conn.Send(&wire.MAuth{TID: s.tid.Add(1), Name: s.opts.Name.String(), Protocol: uint32(msgr.MethodCephx), Payload: payload, MonMapEpoch: epoch})
	}
}

// takeRenewal takes the answer. It is told from others by having no request
// that waits for it: mons don't repeat its transaction number.
func (s *MonSession) takeRenewal(m *wire.MAuthReply) {
	r, ok := s.opts.Auth.(Renewer)
	if !ok {
		return
	}
	if err := r.TakeRenewal(m.Payload); err != nil {
		s.log.Warn("tickets could not be renewed", "err", err)
	}
}
