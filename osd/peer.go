package osd

import (
	"slices"
	"sync"

	"github.com/spirula/spirula/osd/internal/pg"
	"github.com/spirula/spirula/osd/store"
	"github.com/spirula/spirula/rados/clustermap"
	"github.com/spirula/spirula/rados/msgr"
	"github.com/spirula/spirula/rados/wire"
)

// Codecs are the messages between OSDs, for the transport's registry
// (wire.NewRegistry).
func Codecs() map[wire.MsgType]wire.Codec {
	all := pg.Codecs()
	all[typePing] = pingCodec
	return all
}

// peers are the sessions with other OSDs. A session that breaks is opened
// again by the next message. What was lost on it is sent again: each PG is
// told (Core.PeerReset).
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

// send sends a message to an OSD, if the map says that both of us are up: a
// former self's peers must not take us for it.
func (p *peers) send(d *OSD, osd int32, m wire.Message) {
	cur := d.coming.Load()
	if cur == nil || !d.isUp(cur) || !cur.IsUp(osd) {
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
		d.log.Debug("message to osd lost", "osd", osd, "type", m.MsgType(), "err", err)
	}
}

// reset forgets a broken session, ours or the peer's, and has the PGs repeat
// what may have been lost on it.
func (p *peers) reset(d *OSD, c msgr.Conn) {
	who := c.Peer()
	if who.Type != wire.EntityOSD || d.closing.Load() {
		return
	}
	p.mu.Lock()
	for id, q := range p.conns {
		q.mu.Lock()
		if q.conn == c {
			delete(p.conns, id)
		}
		q.mu.Unlock()
	}
	p.mu.Unlock()
	d.runner.run(func() {
		for _, g := range *d.groups.Load() {
			g.with(func(f *pg.Effects) { g.core.PeerReset(int32(who.Num), f) })
		}
	})
}

// prune ends the sessions with OSDs that are down, or up at another address.
func (p *peers) prune(m *clustermap.OSDMap) {
	var old []*peer
	p.mu.Lock()
	for id, q := range p.conns {
		q.mu.Lock()
		if q.conn != nil && (!m.IsUp(id) || m.ClusterAddr(id) != q.addr) {
			old = append(old, q)
			delete(p.conns, id)
		}
		q.mu.Unlock()
	}
	p.mu.Unlock()
	for _, q := range old {
		q.mu.Lock()
		if q.conn != nil {
			q.conn.Close()
			q.conn = nil
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
func (d *OSD) handlePeer(c msgr.Conn, m pg.Message) {
	h := m.About()
	if who := c.Peer(); who.Type != wire.EntityOSD || who.Num != int64(h.From) {
		d.log.Warn("message of an osd from somebody else", "peer", who, "type", m.MsgType(), "from", h.From)
		return
	}
	d.routePeer(m)
}

func (d *OSD) routePeer(m pg.Message) {
	h := m.About()
	if (h.At > d.epoch() || d.retrying.Load()) && d.awaitMapPeer(m, h.At) {
		return
	}
	d.bring(m)
}

// bring takes a message whose map is here to its PG.
func (d *OSD) bring(m pg.Message) {
	h := m.About()
	if g := d.group(h.PG.PGID); g != nil {
		g.deliver(m)
		return
	}
	switch m.(type) {
	case *pg.Query:
		d.peers.send(d, h.From, &pg.Notify{Head: pg.Head{PG: h.PG, From: d.opts.ID, Epoch: h.Epoch, At: d.epoch()}})
	case *pg.Activate:
		select {
		case d.creates <- m:
		default: // it comes again
		}
	}
}

// peerMsg is a message of a peer whose map is newer than ours.
type peerMsg struct {
	m     pg.Message
	epoch wire.Epoch
}

// keepMessage takes references to a message's data for the time after
// Dispatch; dropMessage gives them back.
func keepMessage(m pg.Message) {
	switch m := m.(type) {
	case *pg.RepOp:
		m.Txn.Retain()
	case *pg.Push:
		m.Txn.Retain()
	}
}

func dropMessage(m pg.Message) {
	switch m := m.(type) {
	case *pg.RepOp:
		m.Txn.Release()
	case *pg.Push:
		m.Txn.Release()
	}
}

// awaitMapPeer parks a message until its epoch's map is here, and those that
// came before it have been handled. False: there is nothing to wait for.
func (d *OSD) awaitMapPeer(m pg.Message, epoch wire.Epoch) bool {
	d.mapMu.Lock()
	defer d.mapMu.Unlock()
	if epoch <= d.epoch() && !d.retrying.Load() {
		return false
	}
	if len(d.waitingPeers) >= maxMapWait {
		d.log.Warn("message of a peer lost: too many wait for a map", "type", m.MsgType())
		return true
	}
	keepMessage(m)
	d.waitingPeers = append(d.waitingPeers, peerMsg{m: m, epoch: epoch})
	return true
}

// retryPeers handles, in their order, the messages that waited for a map.
// retrying is set: what comes meanwhile goes behind them.
func (d *OSD) retryPeers() {
	for {
		d.mapMu.Lock()
		var ready, later []peerMsg
		for _, w := range d.waitingPeers {
			if w.epoch <= d.epoch() {
				ready = append(ready, w)
			} else {
				later = append(later, w)
			}
		}
		d.waitingPeers = later
		if len(ready) == 0 {
			d.retrying.Store(false)
			d.mapMu.Unlock()
			return
		}
		d.mapMu.Unlock()
		for _, w := range ready {
			d.bring(w.m)
			dropMessage(w.m)
		}
	}
}

// maxInbox bounds the messages of peers that wait for a PG. A primary has no
// more than maxOps writes under way.
const maxInbox = 8 * maxOps

// deliver takes a message of a peer, or of ourselves, to the PG. They are
// handled one at a time and in order; what reads the store is not done on the
// goroutine that brought it.
func (g *group) deliver(m pg.Message) {
	g.mu.Lock()
	if g.handling || slow(m) {
		if len(g.inbox) >= maxInbox {
			g.mu.Unlock()
			g.osd.log.Warn("message of a peer lost: too many wait", "pg", g.id, "type", m.MsgType())
			return
		}
		keepMessage(m)
		g.inbox = append(g.inbox, m)
		run := !g.handling
		g.handling = true
		g.mu.Unlock()
		if run {
			g.osd.runner.run(g.handleInbox)
		}
		return
	}
	g.handling = true
	g.mu.Unlock()
	g.handle(m)
	g.mu.Lock()
	more := len(g.inbox) > 0
	g.handling = more
	g.mu.Unlock()
	if more {
		g.osd.runner.run(g.handleInbox)
	}
}

// slow reports whether a message's handling reads the store.
func slow(m pg.Message) bool {
	switch m.(type) {
	case *pg.RepOp, *pg.RepAck, *pg.Query, *pg.Notify, *pg.PushAck, *pg.Update, *pg.Scan, *pg.Progressed:
		return false
	}
	return true
}

// inboxTurn is how many messages are handled before others get the goroutine.
const inboxTurn = 64

func (g *group) handleInbox() {
	g.mu.Lock()
	for n := 0; len(g.inbox) > 0; n++ {
		if n == inboxTurn {
			g.mu.Unlock()
			g.osd.runner.run(g.handleInbox)
			return
		}
		m := g.inbox[0]
		g.inbox[0] = nil
		g.inbox = g.inbox[1:]
		g.mu.Unlock()
		g.handle(m)
		dropMessage(m)
		g.mu.Lock()
	}
	g.inbox = nil
	g.handling = false
	g.mu.Unlock()
}

// handle handles one message.
func (g *group) handle(m pg.Message) {
	switch m := m.(type) {
	case *pg.RepOp:
		g.replicate(m)
		return
	case *pg.Push:
		g.takePush(m)
		return
	case *pg.PushAck:
		if g.pieceTaken(m) {
			return
		}
	}
	var from wire.EVersion
	var needs bool
	g.with(func(f *pg.Effects) {
		// What does not need the log now must not be handled as if it had it:
		// the answer holds only while the mutex is.
		if from, needs = g.core.Needs(m); !needs {
			g.core.Handle(m, nil, f)
		}
	})
	if !needs {
		return
	}
	own, err := pg.ReadLog(g.osd.store, g.id, from)
	if err != nil {
		g.osd.log.Error("pg log can't be read", "pg", g.id, "err", err)
		return
	}
	g.with(func(f *pg.Effects) { g.core.Handle(m, own, f) })
}

// with calls the core and carries out what it wants.
func (g *group) with(call func(f *pg.Effects)) {
	var f pg.Effects
	g.mu.Lock()
	call(&f)
	g.settle(&f)
	g.mu.Unlock()
	g.perform(&f)
}

// replicate applies a primary's write here.
func (g *group) replicate(m *pg.RepOp) {
	t := &txn{group: g, rep: m}
	var f pg.Effects
	g.mu.Lock()
	if g.core.HandleRepOp(m, &t.Txn, &f) {
		g.pushTxn(t)
	}
	g.settle(&f)
	g.mu.Unlock()
	g.perform(&f)
}

// txn is a transaction of the PG on its way to stable storage: of a primary's
// write, or of the core's own rows.
type txn struct {
	store.Txn
	group  *group
	rep    *pg.RepOp
	notify chan struct{} // closed when it is durable; may be nil
}

// pushTxn puts a transaction at the end of those to be queued; runTxns does
// so. The mutex is held, so that their order is that of the core's decisions.
func (g *group) pushTxn(t *txn) {
	t.Retain()
	g.txns = append(g.txns, t)
}

// runTxns queues what pushTxn left, unless somebody is about it.
func (g *group) runTxns() {
	g.mu.Lock()
	if g.queueing {
		g.mu.Unlock()
		return
	}
	g.queueing = true
	d := g.osd
	for len(g.txns) > 0 {
		t := g.txns[0]
		g.txns[0] = nil
		g.txns = g.txns[1:]
		g.mu.Unlock()
		d.txns.Add(1)
		if err := d.store.Queue(g.seq, &t.Txn, t.done); err != nil {
			d.txns.Done()
			d.fatal(wire.Wrap("queue a change of", g.id.String(), err))
		}
		t.Release()
		g.mu.Lock()
	}
	g.txns = nil
	g.queueing = false
	g.mu.Unlock()
}

func (t *txn) done(err error) {
	g := t.group
	defer g.osd.txns.Done()
	if err != nil {
		g.osd.fatal(wire.Wrap("commit", g.id.String(), err))
		return
	}
	g.with(func(f *pg.Effects) {
		if t.rep != nil {
			g.core.ReplicaCommitted(t.rep, f)
		} else {
			g.core.Persisted(f)
		}
	})
	if t.notify != nil {
		close(t.notify)
	}
}

// sortedPeers gives the OSDs that share PGs with us by the newest map.
func (d *OSD) sortedPeers() []int32 {
	seen := map[int32]bool{}
	for _, g := range *d.groups.Load() {
		g.mu.Lock()
		up, acting := g.core.Sets()
		g.mu.Unlock()
		for _, o := range up {
			seen[o] = true
		}
		for _, o := range acting {
			seen[o] = true
		}
	}
	delete(seen, d.opts.ID)
	out := make([]int32, 0, len(seen))
	for o := range seen {
		out = append(out, o)
	}
	slices.Sort(out)
	return out
}
