package mon

import (
	"os"

	"github.com/spirula/spirula/rados/msgr"
	"github.com/spirula/spirula/rados/wire"
)

// maxSubscriptions bounds the names one session may subscribe to.
const maxSubscriptions = 64

// session is what the mon knows of one connection.
type session struct {
	c    msgr.Conn
	osd  int32 // the OSD whose life hangs on this session, -1 for none
	subs map[string]wire.Subscription
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
		m.command(msg, func(a *wire.MMonCommandAck) { s.c.Send(a) })
	case *wire.MStatfs:
		s.c.Send(m.osd.statfs(msg))
	case *wire.MGetPoolStats:
		s.c.Send(m.osd.poolStats(msg))
	case *wire.MPoolOp:
		m.osd.poolOp(s, msg)
	case *wire.MRemoveSnaps:
		m.osd.removeSnaps(s, msg)
	default:
		m.dispatchOSD(s, msg)
	}
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
			m.osd.stats.report(msg)
		}
	case *wire.MOSDPurged:
		if ours(msg.OSD) {
			m.osd.purged(s, msg)
		}
	default:
		m.log.Debug("message ignored", "type", msg.MsgType(), "from", s.c.Peer().String())
	}
}

func (m *Mon) version(q *wire.MMonGetVersion) *wire.MMonGetVersionReply {
	r := &wire.MMonGetVersionReply{TID: q.TID, Oldest: 1, Newest: 1}
	switch q.What {
	case wire.SubOSDMap:
		r.Newest, r.Oldest = uint64(m.osd.cur.Epoch), uint64(m.osd.oldest())
	case wire.SubMonMap:
		r.Newest = uint64(m.monmap.cur.Epoch)
	}
	return r
}

// subscribe takes subscriptions over and serves those that something is there
// for. Names we don't know are ignored, as Ceph does.
func (m *Mon) subscribe(s *session, msg *wire.MMonSubscribe) {
	for what, sub := range msg.What {
		if len(s.subs) >= maxSubscriptions {
			break
		}
		switch what {
		case wire.SubOSDMap, wire.SubMonMap, wire.SubConfig:
			s.subs[what] = sub
		}
	}
	m.serveOSDMap(s)
	m.serveMonMap(s)
	if sub, ok := s.subs[wire.SubConfig]; ok && sub.Start <= m.conf.version() {
		m.conf.send(s)
		m.delivered(s, wire.SubConfig, m.conf.version())
	}
}

// delivered notes that version v was sent.
func (m *Mon) delivered(s *session, what string, v uint64) {
	if sub := s.subs[what]; sub.Once {
		delete(s.subs, what)
	} else {
		s.subs[what] = wire.Subscription{Start: v + 1}
	}
}

func (m *Mon) serveMonMap(s *session) {
	if sub, ok := s.subs[wire.SubMonMap]; ok && uint64(m.monmap.cur.Epoch) >= sub.Start {
		s.c.Send(&wire.MMonMap{Map: m.monmap.encoded})
		m.delivered(s, wire.SubMonMap, uint64(m.monmap.cur.Epoch))
	}
}

// serveOSDMap sends the maps that a subscriber waits for: the increments if
// all of them are kept, else the newest map as a whole.
func (m *Mon) serveOSDMap(s *session) {
	sub, ok := s.subs[wire.SubOSDMap]
	cur := m.osd.cur.Epoch
	if !ok || uint64(cur) < sub.Start {
		return
	}
	for _, msg := range m.osd.maps(wire.Epoch(sub.Start)) {
		s.c.Send(msg)
	}
	m.delivered(s, wire.SubOSDMap, uint64(cur))
}

// publishOSDMap serves everybody after a new epoch was committed.
func (m *Mon) publishOSDMap() {
	for _, s := range m.sessions {
		m.serveOSDMap(s)
	}
}

// hostname is used where a daemon gives none.
func hostname() string {
	if h, err := os.Hostname(); err == nil && h != "" {
		return h
	}
	return "localhost"
}
