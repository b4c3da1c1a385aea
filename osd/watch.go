package osd

import (
	"time"

	"github.com/spirula/spirula/osd/internal/objop"
	"github.com/spirula/spirula/rados/clustermap"
	"github.com/spirula/spirula/rados/wire"
)

// maxWatches bounds the watches that a daemon keeps time for.
const maxWatches = 1 << 16

// watchKey identifies a watch of an object.
type watchKey struct {
	client wire.EntityName
	cookie uint64
}

func (k watchKey) id() wire.WatcherID {
	return wire.WatcherID{GlobalID: uint64(k.client.Num), Cookie: k.cookie}
}

func keyOf(w *objop.Watch) watchKey { return watchKey{w.Client, w.Cookie} }

// watched is the living side of an object's watches: what its info says,
// with timers and connections. It is made when the object is looked at, and
// goes with the last watch and notify, or with the PG's interval. The PG's
// mutex guards it.
type watched struct {
	group    *group
	key      objectKey
	head     wire.HObject
	watches  map[watchKey]*watch
	notifies map[uint64]*notify
}

// watch is one watch. Its timer runs from the last sign of life of a client
// that pings, and from the end of the connection of one that does not.
type watch struct {
	in       *watched
	info     objop.Watch
	session  *session // nil: not connected
	pings    bool
	dead     bool // no longer in its object's table
	timer    *time.Timer
	deadline time.Time // zero: the timer does not count
	fires    time.Time // when the timer does; zero: it stands
}

// letter is a message to be sent once no lock is held.
type letter struct {
	to *session
	m  wire.Message
}

func (d *OSD) post(letters []letter) {
	for _, l := range letters {
		if err := l.to.conn.Send(l.m); err != nil {
			d.log.Debug("watch message not sent", "peer", l.to.conn.Peer(), "err", err)
		}
	}
}

// watchedOf finds or makes an object's table; the mutex is held.
func (g *group) watchedOf(b *object) *watched {
	t := g.watched[b.key]
	if t == nil {
		t = &watched{group: g, key: b.key, head: b.state.Head, watches: map[watchKey]*watch{}, notifies: map[uint64]*notify{}}
		if g.watched == nil {
			g.watched = map[objectKey]*watched{}
		}
		g.watched[b.key] = t
	}
	return t
}

func (t *watched) forgetIfEmpty() {
	if len(t.watches) == 0 && len(t.notifies) == 0 && t.group.watched[t.key] == t {
		delete(t.group.watched, t.key)
	}
}

// syncWatches brings an object's table in line with its info. quiet are the
// watches whose clients need not be told that they ended. The mutex is held.
func (g *group) syncWatches(b *object, quiet []objop.WatchEffect) []letter {
	have := b.state.Info.Watches
	if len(have) == 0 && g.watched[b.key] == nil {
		return nil
	}
	t := g.watchedOf(b)
	var letters []letter
	if len(t.watches) > 0 {
		left := make(map[watchKey]bool, len(have))
		for i := range have {
			left[keyOf(&have[i])] = true
		}
		for k, w := range t.watches {
			if !left[k] {
				letters = append(letters, w.end(!unwatched(quiet, k))...)
			}
		}
	}
	for i := range have {
		w := t.watches[keyOf(&have[i])]
		if w == nil {
			w = &watch{in: t}
			t.watches[keyOf(&have[i])] = w
			g.osd.watches.Add(1)
			w.info = have[i]
			w.arm()
		}
		w.info = have[i]
	}
	if len(t.watches)+len(t.notifies) > 0 {
		g.watched[b.key] = t
	} else {
		delete(g.watched, b.key)
	}
	return letters
}

func unwatched(effects []objop.WatchEffect, k watchKey) bool {
	for i := range effects {
		if effects[i].Op == wire.WatchUnwatch && keyOf(&effects[i].Watch) == k {
			return true
		}
	}
	return false
}

// arm has the watch end after its timeout from now on. The timer itself is
// left alone where it fires early enough to look at the deadline.
func (w *watch) arm() {
	after := time.Duration(w.info.Timeout) * time.Second
	w.deadline = time.Now().Add(after)
	switch {
	case w.timer == nil:
		w.timer = time.AfterFunc(after, w.expire)
	case w.fires.IsZero() || w.deadline.Before(w.fires):
		w.timer.Reset(after)
	default:
		return
	}
	w.fires = w.deadline
}

// connect ties the watch to a session and sends it the notifies that wait
// for it.
func (w *watch) connect(s *session, pings bool) (letters []letter) {
	w.unbind()
	s.mu.Lock()
	if !s.gone.Load() {
		if s.watches == nil {
			s.watches = map[*watch]struct{}{}
		}
		s.watches[w] = struct{}{}
		w.session = s
	}
	s.mu.Unlock()
	w.pings = pings
	if pings || w.session == nil {
		w.arm()
	} else {
		w.deadline = time.Time{}
	}
	for _, n := range w.in.notifies {
		if n.waiting[keyOf(&w.info)] && w.session != nil {
			letters = append(letters, letter{s, n.message(w)})
		}
	}
	return letters
}

func (w *watch) unbind() {
	if s := w.session; s != nil {
		w.session = nil
		s.mu.Lock()
		delete(s.watches, w)
		s.mu.Unlock()
	}
}

// disconnected follows the end of a session.
func (w *watch) disconnected(s *session) {
	g := w.in.group
	g.mu.Lock()
	defer g.mu.Unlock()
	if w.dead || w.session != s {
		return
	}
	w.session = nil
	if !w.pings {
		w.arm()
	}
}

// end takes the watch out of its table; nobody waits for it any more. tell:
// its client hears that the watch is gone.
func (w *watch) end(tell bool) (letters []letter) {
	k := keyOf(&w.info)
	w.dead = true
	w.timer.Stop()
	delete(w.in.watches, k)
	w.in.group.osd.watches.Add(-1)
	if s := w.session; s != nil {
		w.unbind()
		if tell {
			letters = append(letters, letter{s, &wire.MWatchNotify{Event: wire.EventDisconnect, Cookie: w.info.Cookie}})
		}
	}
	for _, n := range w.in.notifies {
		delete(n.waiting, k)
		letters = append(letters, n.completeIfDone()...)
	}
	return letters
}

// expire is the timer's: the watch is taken out of the object, by a write of
// our own, if its time is really over.
func (w *watch) expire() {
	g := w.in.group
	g.mu.Lock()
	defer g.mu.Unlock()
	w.fires = time.Time{}
	if w.dead || w.deadline.IsZero() {
		return
	}
	if left := time.Until(w.deadline); left > 0 {
		w.fires = w.deadline
		w.timer.Reset(left)
		return
	}
	w.drop()
}

// drop begins the write that ends the watch; the mutex is held. If it can't
// be done now it is tried again after the timeout.
func (w *watch) drop() {
	g, d := w.in.group, w.in.group.osd
	w.arm()
	if !g.core.Primary() || !g.core.Active() || d.closing.Load() {
		return
	}
	d.log.Debug("watch timed out", "pg", g.id, "object", w.in.head, "client", w.info.Client, "cookie", w.info.Cookie)
	d.Metrics.WatchTimeouts.Add(1)
	o := &op{osd: d, group: g, write: true, head: w.in.head}
	o.Owner = o
	o.own = func(e wire.Errno) {
		if e != 0 && e != wire.EAGAIN {
			d.log.Warn("watch can't be ended", "pg", g.id, "object", o.head, "err", e)
		}
	}
	o.req = objop.Request{Snap: wire.NoSnap, MTime: wire.TimeOf(d.opts.Now()),
		Ops:   []wire.Op{{Code: wire.OpWatch, Watch: wire.WatchUnwatch, Num: w.info.Cookie}},
		Asker: objop.Asker{Client: w.info.Client, Addr: w.info.Addr}}
	if g.admitOwn(o) {
		d.runner.run(o.execute)
	}
}

// applyEffects does what an executed vector asks for beyond the object; the
// mutex is held and the object has its new state. An errno takes the place of
// the vector's result.
func (o *op) applyEffects() (letters []letter, e wire.Errno) {
	eff := &o.out.Effects
	if o.out.Result < 0 {
		return nil, 0
	}
	quiet := eff.Watches
	if o.session == nil {
		quiet = nil
	}
	letters = o.group.syncWatches(o.object, quiet)
	if o.session == nil || len(eff.Watches)+len(eff.Acks) == 0 {
		return letters, 0
	}
	t := o.group.watched[o.object.key]
	for i := range eff.Watches {
		x := &eff.Watches[i]
		var w *watch
		if t != nil {
			w = t.watches[keyOf(&x.Watch)]
		}
		switch x.Op {
		case wire.WatchPing:
			if w == nil || w.session == nil {
				return letters, wire.ETIMEDOUT // the client reconnects
			}
			w.arm()
		case wire.WatchRegister, wire.WatchReconnect, wire.WatchLegacy:
			if w != nil {
				letters = append(letters, w.connect(o.session, x.Op != wire.WatchLegacy)...)
			}
		}
	}
	for _, i := range eff.Acks {
		more, err := t.ack(o.req.Asker.Client, o.req.Ops[i].Value)
		letters = append(letters, more...)
		if err != 0 {
			return letters, err
		}
	}
	return letters, 0
}

// dropWatches forgets the PG's watches and notifies without a word: clients
// come again in the new interval, and the objects' infos have the watches.
// The mutex is held.
func (g *group) dropWatches() {
	for _, t := range g.watched {
		for _, w := range t.watches {
			w.dead = true
			w.timer.Stop()
			w.unbind()
			g.osd.watches.Add(-1)
		}
		for _, n := range t.notifies {
			n.timer.Stop()
			g.osd.notifies.Add(-1)
		}
		clear(t.watches)
		clear(t.notifies)
	}
	g.watched = nil
}

// dropBlocklisted ends the watches of clients that the map shuts out. The
// mutex is held.
func (g *group) dropBlocklisted(m *clustermap.OSDMap) {
	now := wire.TimeOf(g.osd.opts.Now())
	for _, t := range g.watched {
		for _, w := range t.watches {
			if m.IsBlocklisted(w.info.Addr, now) || w.session != nil && m.IsBlocklisted(w.session.conn.PeerAddr(), now) {
				w.drop()
			}
		}
	}
}
