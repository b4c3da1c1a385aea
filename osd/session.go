package osd

import (
	"sync"

	"github.com/spirula/spirula/rados/clustermap"
	"github.com/spirula/spirula/rados/msgr"
	"github.com/spirula/spirula/rados/wire"
)

// session is what the daemon remembers of a connection.
type session struct {
	conn msgr.Conn

	mu  sync.Mutex
	has wire.Epoch // the newest map that the peer is known to have, or was sent
}

func (d *OSD) session(c msgr.Conn) *session {
	if s, ok := d.sessions.Load(c); ok {
		return s.(*session)
	}
	s, _ := d.sessions.LoadOrStore(c, &session{conn: c})
	return s.(*session)
}

// pushMap sends the peer the maps that it lacks, once for each epoch.
func (s *session) pushMap(d *OSD, cur *clustermap.OSDMap, has wire.Epoch) {
	s.mu.Lock()
	s.has = max(s.has, has)
	from := s.has
	s.has = max(s.has, cur.Epoch)
	s.mu.Unlock()
	if from >= cur.Epoch {
		return
	}
	if err := s.conn.Send(d.mapMessage(from, cur)); err != nil {
		d.sessions.Delete(s.conn)
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
