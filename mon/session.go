package mon

import (
	"os"

	"github.com/spirula/spirula/rados/msgr"
	"github.com/spirula/spirula/rados/wire"
)

// session is what the mon knows of one connection.
type session struct {
	c    msgr.Conn
	osd  int32 // the OSD whose life hangs on this session, -1 for none
	subs map[string]wire.Subscription
}

// entity is who the peer is: as it was authenticated, else as it says.
func (s *session) entity() string {
	if id := s.c.Identity(); id != nil && id.Name.Type != 0 {
		return id.Name.String()
	}
	return s.c.Peer().String()
}

func (m *Mon) sessionOf(c msgr.Conn) *session {
	s := m.sessions[c]
	if s == nil {
		s = &session{c: c, osd: -1, subs: make(map[string]wire.Subscription)}
		m.sessions[c] = s
		m.Metrics.Sessions.Add(1)
	}
	return s
}

func (m *Mon) dropSession(c msgr.Conn) {
	s := m.sessions[c]
	if s == nil {
		return
	}
	delete(m.sessions, c)
	m.Metrics.Sessions.Add(-1)
	if s.osd >= 0 {
		m.osd.sessionLost(s)
	}
}

// dispatch handles one message.
func (m *Mon) dispatch(s *session, msg wire.Message) {
	if !m.permitsMessage(s, msg) {
		return
	}
	switch msg := msg.(type) {
	case *wire.MAuth:
		m.auth.handle(s, msg)
	case *wire.MMonGetMap:
		s.c.Send(&wire.MMonMap{Map: m.monmap.encoded})
	case *wire.MMonSubscribe:
		m.subscribe(s, msg)
	case *wire.MMonGetVersion:
		s.c.Send(m.version(msg))
	case *wire.MMonCommand:
		m.command(s, msg, func(a *wire.MMonCommandAck) { s.c.Send(a) })
	case *wire.MCommand:
		m.tell(s, msg, func(r *wire.MCommandReply) { s.c.Send(r) })
	case *wire.MMgrCommand:
		// There is no mgr: the mon knows what one would.
		m.tell(s, (*wire.MCommand)(msg), func(r *wire.MCommandReply) { s.c.Send((*wire.MMgrCommandReply)(r)) })
	case *wire.MStatfs:
		s.c.Send(m.osd.statfs(msg))
	case *wire.MGetPoolStats:
		s.c.Send(m.osd.poolStats(msg))
	case *wire.MPoolOp:
		m.osd.poolOp(s, msg)
	case *wire.MRemoveSnaps:
		m.osd.removeSnaps(s, msg)
	case *wire.MLog:
		m.clog.take(s, msg)
	default:
		m.dispatchOSD(s, msg)
	}
}

// tell runs a command that was sent to this mon rather than to the cluster.
// Some have another answer then.
func (m *Mon) tell(s *session, msg *wire.MCommand, done func(*wire.MCommandReply)) {
	q := &wire.MMonCommand{FSID: msg.FSID, Cmd: msg.Cmd, Input: msg.Input}
	m.run(m.tells, s, q, func(a *wire.MMonCommandAck) {
		done(&wire.MCommandReply{TID: msg.TID, Result: a.Result, Status: a.Status, Output: a.Output})
	})
}

// dispatchOSD handles what only the OSD it speaks of may send.
func (m *Mon) dispatchOSD(s *session, msg wire.Message) {
	id := int32(-1)
	if p := s.c.Peer(); p.Type == wire.EntityOSD {
		id = int32(p.Num)
	}
	ours := func(osd int32) bool {
		if osd == id && osd >= 0 {
			return true
		}
		m.log.Warn("message of another OSD than its sender", "from", s.c.Peer().String(), "osd", osd)
		return false
	}
	switch msg := msg.(type) {
	case *wire.MOSDBoot:
		if ours(msg.OSD) {
			m.osd.boot(s, msg)
		}
	case *wire.MOSDAlive:
		if ours(msg.OSD) {
			m.osd.alive(s, msg)
		}
	case *wire.MOSDMarkDown:
		if ours(msg.OSD) {
			m.osd.goodbye(s, msg)
		}
	case *wire.MOSDFailure:
		if ours(msg.Reporter) {
			m.osd.failure(s, msg)
		}
	case *wire.MOSDPGTemp:
		if ours(msg.OSD) {
			m.osd.pgTemp(s, msg)
		}
	case *wire.MOSDStats:
		if ours(msg.OSD) {
			m.osd.attach(s, msg.OSD)
			m.osd.stats.report(msg, m.opts.Now())
		}
	case *wire.MOSDPurged:
		if ours(msg.OSD) {
			m.osd.purged(s, msg)
		}
	default:
		m.log.Debug("message ignored", "type", msg.MsgType(), "from", s.c.Peer().String())
	}
}

// hostname is used where a daemon gives none.
func hostname() string {
	if h, err := os.Hostname(); err == nil && h != "" {
		return h
	}
	return "localhost"
}
