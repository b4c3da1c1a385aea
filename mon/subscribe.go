package mon

import (
	"strings"

	"github.com/spirula/spirula/rados/wire"
)

// maxSubscriptions bounds the names one session may subscribe to.
const maxSubscriptions = 64

// mgrEpoch is the epoch of the map of a cluster without a mgr; it never
// changes.
const mgrEpoch = 1

// version answers which epochs of a map there are. What has no history is at
// its first version.
func (m *Mon) version(q *wire.MMonGetVersion) *wire.MMonGetVersionReply {
	r := &wire.MMonGetVersionReply{TID: q.TID, Oldest: 1, Newest: 1}
	switch q.What {
	case wire.SubOSDMap:
		r.Newest, r.Oldest = uint64(m.osd.cur.Epoch), uint64(m.osd.oldest())
	case wire.SubMonMap:
		r.Newest = uint64(m.monmap.cur.Epoch)
		r.Oldest = r.Newest
	}
	return r
}

// subscribe takes subscriptions over and serves those that something is there
// for. Names we don't know are ignored, as Ceph does.
func (m *Mon) subscribe(s *session, msg *wire.MMonSubscribe) {
	for what, sub := range msg.What {
		if _, old := s.subs[what]; !old && len(s.subs) >= maxSubscriptions {
			break
		}
		if !m.permitsSubscription(s, what) {
			continue
		}
		switch what {
		case wire.SubOSDMap, wire.SubMonMap, wire.SubConfig, wire.SubMgrMap:
			s.subs[what] = sub
		default:
			if _, ok := logSubscription(what); ok {
				dropLogSubscriptions(s)
				s.subs[what] = sub
			}
		}
	}
	m.serveMonMap(s)
	m.serveConfig(s)
	m.serveMgrMap(s)
	m.serveOSDMap(s)
	m.clog.serve(s)
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

func (m *Mon) serveConfig(s *session) {
	if sub, ok := s.subs[wire.SubConfig]; ok && m.conf.version() >= sub.Start {
		s.c.Send(&wire.MConfig{Values: m.conf.effective(s.entity())})
		m.delivered(s, wire.SubConfig, m.conf.version())
	}
}

// serveMgrMap says that there is no mgr.
func (m *Mon) serveMgrMap(s *session) {
	if sub, ok := s.subs[wire.SubMgrMap]; ok && sub.Start <= mgrEpoch {
		s.c.Send(&wire.MMgrMap{Map: wire.MgrMap{Epoch: mgrEpoch}})
		m.delivered(s, wire.SubMgrMap, mgrEpoch)
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

// logSubscription gives the least level that a name of a subscription asks
// for: "log-info".
func logSubscription(what string) (level uint16, ok bool) {
	name, ok := strings.CutPrefix(what, "log-")
	if !ok {
		return 0, false
	}
	return logLevel(name)
}

// dropLogSubscriptions ends a session's subscription to the log: it has one
// level at a time.
func dropLogSubscriptions(s *session) {
	for what := range s.subs {
		if _, ok := logSubscription(what); ok {
			delete(s.subs, what)
		}
	}
}
