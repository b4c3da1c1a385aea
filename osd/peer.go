package osd

import (
	"sync"

	"github.com/spirula/spirula/osd/internal/pg"
	"github.com/spirula/spirula/osd/store"
	"github.com/spirula/spirula/rados/msgr"
	"github.com/spirula/spirula/rados/wire"
)

// peers are the sessions with other OSDs. A session that breaks is opened
// again by the next message; what was lost on it is a matter of the mon, who
// will learn that the OSD is gone and begin a new interval.
type peers struct {
	mu     sync.Mutex
	conns  map[int32]*peer
	closed bool
}

type peer struct {
	mu   sync.Mutex // orders Connect and Send
	addr wire.Addr
	conn msgr.Conn
}

func (p *peers) send(d *OSD, osd int32, m wire.Message) {
	cur := d.current.Load()
	if cur == nil {
		return
	}
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return
	}
	q := p.conns[osd]
	if q == nil {
		q = &peer{}
		p.conns[osd] = q
	}
	p.mu.Unlock()
	q.mu.Lock()
	addr := cur.ClusterAddr(osd)
	if q.conn != nil && q.addr != addr {
		q.conn.Close()
		q.conn = nil
	}
	var err error
	if q.conn == nil {
		q.addr = addr
		q.conn, err = d.opts.Network.Connect(d.name, d.Addr(), wire.EntityOSD, addr, d, d.opts.PeerAuth)
		if err != nil {
			q.conn = nil
		}
	}
	conn := q.conn
	q.mu.Unlock()
	if err == nil {
		err = conn.Send(m)
	}
	if err != nil {
		d.log.Warn("message to osd lost", "osd", osd, "type", m.MsgType(), "err", err)
	}
}

// reset forgets a broken session.
func (p *peers) reset(c msgr.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for id, q := range p.conns {
		q.mu.Lock()
		if q.conn == c {
			delete(p.conns, id)
		}
		q.mu.Unlock()
	}
}

func (p *peers) close() {
	p.mu.Lock()
	p.closed = true
	conns := p.conns
	p.conns = map[int32]*peer{}
	p.mu.Unlock()
	for _, q := range conns {
		q.mu.Lock()
		if q.conn != nil {
			q.conn.Close()
		}
		q.mu.Unlock()
	}
}

// handlePeer takes a message from another OSD of a PG.
func (d *OSD) handlePeer(m wire.Message) {
	var id wire.SPGID
	var epoch wire.Epoch
	switch m := m.(type) {
	case *pg.RepOp:
		id, epoch = m.PG, m.Epoch
	case *pg.RepAck:
		id = m.PG
	case *pg.Query:
		id, epoch = m.PG, m.Epoch
	case *pg.Notify:
		id = m.PG
	}
	if epoch > d.epoch() && d.awaitMapPeer(m, epoch) {
		return
	}
	g := d.group(id.PGID)
	if g == nil {
		return
	}
	if r, ok := m.(*pg.RepOp); ok {
		g.replicate(r)
		return
	}
	var f pg.Effects
	g.mu.Lock()
	switch m := m.(type) {
	case *pg.RepAck:
		g.core.HandleRepAck(m, &f)
	case *pg.Query:
		g.core.HandleQuery(m, &f)
	case *pg.Notify:
		g.core.HandleNotify(m, &f)
	}
	g.settle(&f)
	g.mu.Unlock()
	g.perform(&f)
}

// peerMsg is a message of a peer whose map is newer than ours.
type peerMsg struct {
	m     wire.Message
	epoch wire.Epoch
	kept  []wire.Data
}

// awaitMapPeer parks a message until its epoch's map is here. False: it is
// here already.
func (d *OSD) awaitMapPeer(m wire.Message, epoch wire.Epoch) bool {
	d.mapMu.Lock()
	defer d.mapMu.Unlock()
	if epoch <= d.epoch() {
		return false
	}
	if len(d.waitingPeers) >= maxMapWait {
		d.log.Warn("message of a peer lost: too many wait for a map", "type", m.MsgType())
		return true
	}
	w := peerMsg{m: m, epoch: epoch}
	if r, ok := m.(*pg.RepOp); ok {
		for i := range r.Txn.Ops {
			if data := r.Txn.Ops[i].Data; data.Len() > 0 {
				w.kept = append(w.kept, data.Retain())
			}
		}
	}
	d.waitingPeers = append(d.waitingPeers, w)
	return true
}

// retryPeers handles, in their order, the messages that waited for a map.
func (d *OSD) retryPeers() {
	d.mapMu.Lock()
	waiting := d.waitingPeers
	d.waitingPeers = nil
	d.mapMu.Unlock()
	for _, w := range waiting {
		d.handlePeer(w.m)
		for _, data := range w.kept {
			data.Release()
		}
	}
}

// replicate applies a primary's write here. Messages of one primary come one
// at a time and in order, so Queue is called in the order of the log.
func (g *group) replicate(m *pg.RepOp) {
	t := &store.Txn{}
	g.mu.Lock()
	ok := g.core.HandleRepOp(m, t)
	if ok {
		clear(g.objects) // nothing uses a replica's contexts
		g.lru.newer, g.lru.older, g.listedN = &g.lru, &g.lru, 0
	}
	g.mu.Unlock()
	if !ok {
		return
	}
	d := g.osd
	d.txns.Add(1)
	err := d.store.Queue(g.seq, t, func(err error) {
		defer d.txns.Done()
		if err != nil {
			d.fatal(wire.Wrap("commit", g.id.String(), err))
			return
		}
		var f pg.Effects
		g.mu.Lock()
		g.core.ReplicaCommitted(m, &f)
		g.mu.Unlock()
		g.perform(&f)
	})
	if err != nil {
		d.txns.Done()
		d.fatal(wire.Wrap("apply a primary's write", g.id.String(), err))
	}
}
