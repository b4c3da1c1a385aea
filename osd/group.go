package osd

import (
	"encoding/binary"
	"sync"

	"github.com/spirula/spirula/osd/internal/pg"
	"github.com/spirula/spirula/osd/store"
	"github.com/spirula/spirula/rados/wire"
)

// group is a placement group on this OSD.
type group struct {
	osd *OSD
	id  wire.SPGID
	seq *store.Sequencer

	mu           sync.Mutex
	core         *pg.Core
	objects      map[objectKey]*object
	lru          object // ring of contexts not in use; newer of it is the oldest
	listedN      int
	ops          int   // requests admitted and not finished
	first        op    // ring of them, in order of admission
	held         []*op // waiting for admission, in order of arrival
	submits      []*op // executed writes, for the submitter
	submitting   bool
	answers      []*op        // committed writes, in order, whose answers are to be sent
	answering    bool         // somebody sends them
	spare        []*op        // memory for answers
	turns        uint64       // writes that the submitter is done with
	admission    pg.Effects   // of Admit; empty in between
	handling     bool         // a peer's message is being handled
	inbox        []pg.Message // those that wait for it
	queueing     bool         // somebody queues txns
	txns         []*txn
	notify       chan struct{}           // for the next of txns
	waiting      map[wire.HObject][]*op  // for recovery of their objects
	waitingN     int                     // how many
	staged       map[wire.HObject]*stage // objects that come in pieces
	pushing      map[pushKey]chan uint32 // pieces that are to be acknowledged
	removing     bool
	splitReady   chan struct{}        // closed when the rows can be divided; nil: they can, or need not
	trimmedSince wire.Epoch           // the interval that trimmed is of; both are trimLoop's
	trimmed      map[wire.SnapID]bool // removed snapshots known to have no clone here
	backoffs     map[*session]*backoff
	watched      map[objectKey]*watched // objects with watches or notifies

	counts counters
}

func (d *OSD) newGroup(id wire.SPGID, core *pg.Core) *group {
	g := &group{osd: d, id: id, seq: d.store.NewSequencer(), core: core, objects: map[objectKey]*object{},
		trimmed: map[wire.SnapID]bool{}}
	g.lru.newer, g.lru.older = &g.lru, &g.lru
	g.first.before, g.first.after = &g.first, &g.first
	return g
}

// metaPG holds the rows of the daemon itself.
var metaPG = wire.SPGID{PGID: wire.PGID{Pool: -1}, Shard: wire.NoShard}

const (
	pgRow    = "pg/"
	pgRowEnd = "pg0" // above every pgRow
)

// pgKey is the row of metaPG that says this OSD holds a PG.
func pgKey(id wire.PGID) string {
	b := binary.BigEndian.AppendUint64([]byte(pgRow), uint64(id.Pool))
	return string(binary.BigEndian.AppendUint32(b, id.Seed))
}

func pgOfKey(k string) (wire.PGID, bool) {
	if len(k) != len(pgRow)+12 {
		return wire.PGID{}, false
	}
	b := []byte(k[len(pgRow):])
	return wire.PGID{Pool: int64(binary.BigEndian.Uint64(b)), Seed: binary.BigEndian.Uint32(b[8:])}, true
}

// putGroups adds PGs to the daemon's.
func (d *OSD) putGroups(fresh []*group) {
	d.changeGroups(func(all map[wire.PGID]*group) {
		for _, g := range fresh {
			all[g.id.PGID] = g
		}
	})
}

// group finds a PG by its id; nil if this OSD has none.
func (d *OSD) group(id wire.PGID) *group { return (*d.groups.Load())[id] }

// stat is what the primary reports of the PG; false if this OSD is not it.
func (g *group) stat() (wire.PGStat, bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.core.Primary() {
		return wire.PGStat{}, false
	}
	s := g.core.Stats()
	out := wire.PGStat{
		State:           g.core.State(),
		Stat:            wire.PoolStat{Objects: uint64(max(s.Objects+s.Clones, 0)), Clones: uint64(max(s.Clones, 0)), Bytes: uint64(max(s.Bytes, 0))},
		ReportedVersion: g.core.LastUpdate(),
	}
	out.LastEpochClean = wire.Epoch(g.core.CleanEpoch())
	h := g.core.Health()
	out.Missing = uint64(h.Missing)
	g.counts.report(&out.Stat)
	out.Up, out.Acting = g.core.Sets()
	return out, true
}

// admit asks the core what is to happen to o. It is called with the mutex
// held; true: o.next is to be called after unlocking.
func (g *group) admit(o *op) bool {
	ask := pg.Ask{Epoch: o.m.Epoch, Object: o.head}
	if o.write {
		ask.Write = &o.Write
	}
	f := &g.admission
	verdict, dup := g.core.Admit(ask, f)
	switch verdict {
	case pg.Drop:
		if !o.write && o.m.Flags&anyReplica != 0 && o.m.Epoch >= g.core.Since() {
			o.next = (*op).again // the client asks the primary
			return true
		}
		if g.core.Retired() {
			o.session.stray(g.osd, g.id.PGID, g)
		}
		o.session.behind(g.osd)
		g.osd.drop(o)
	case pg.Hold:
		g.hold(o)
	case pg.Wait:
		g.wait(o)
		if len(f.Send)+len(f.Work)+len(f.Freed) > 0 {
			g.later(f)
		}
	case pg.Join:
		o.joined = true
	case pg.Answer:
		g.osd.Metrics.Dups.Add(1)
		o.dup, o.next = dup, (*op).answerDup
		return true
	case pg.Run:
		g.enlist(o)
		o.next = (*op).execute
		return o.pgOp() || g.enter(o)
	}
	return false
}

// wait parks a request until its object is recovered. The mutex is held.
func (g *group) wait(o *op) {
	if g.waitingN >= maxHeld || !g.osd.hold(o) {
		g.osd.overrun(o)
		return
	}
	g.osd.Metrics.Held.Add(1)
	o.keep()
	if g.waiting == nil {
		g.waiting = map[wire.HObject][]*op{}
	}
	g.waiting[o.head] = append(g.waiting[o.head], o)
	g.waitingN++
}

// freed admits the requests that waited for an object. The mutex is held.
func (g *group) freed(head wire.HObject) {
	ops := g.waiting[head]
	delete(g.waiting, head)
	g.waitingN -= len(ops)
	for _, o := range ops {
		g.osd.unhold(o)
		switch {
		case o.session.gone.Load():
			g.osd.drop(o)
		case g.ops >= maxOps:
			g.hold(o)
		case g.admit(o):
			g.osd.runner.run(func() { o.next(o) })
		}
	}
}

// later has effects carried out by the runner: they came up where the mutex
// is held for something else.
func (g *group) later(f *pg.Effects) {
	rest := *f
	*f = pg.Effects{}
	g.settle(&rest)
	g.osd.runner.run(func() { g.perform(&rest) })
}

// perform carries out effects; the mutex is not held.
func (g *group) perform(f *pg.Effects) {
	d := g.osd
	for _, s := range f.Send {
		d.peers.send(d, s.OSD, s.Msg)
	}
	if len(f.Answer) > 0 {
		g.answer()
	}
	for _, w := range f.Work {
		d.recoverer.run(func() { g.work(w) })
	}
	for _, m := range f.Self {
		g.deliver(m)
	}
	if f.UpThru != 0 {
		d.askUpThru(f.UpThru)
	}
	if f.AskTemp {
		d.askTemp(g, f.Temp)
	}
	if f.Retire {
		d.recoverer.run(g.removeCopy)
	}
	if f.Clean {
		d.kickTrim()
	}
	f.Reset()
	g.mu.Lock()
	run := len(g.txns) > 0 && !g.queueing
	g.mu.Unlock()
	if run {
		g.runTxns()
	}
}

// answer sends the answers of committed writes in their order, and only then
// lets in who waited for them: a client gets the answers about an object in
// the order of its requests. The mutex is not held.
func (g *group) answer() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.answering {
		return
	}
	g.answering = true
	for len(g.answers) > 0 {
		batch := g.answers
		g.answers, g.spare = g.spare[:0], nil
		g.mu.Unlock()
		for _, o := range batch {
			o.answer()
		}
		g.mu.Lock()
		for _, o := range batch {
			o.object.unsettled--
			g.leave(o.object)
			g.finished(o)
		}
		clear(batch)
		g.spare = batch
	}
	g.answering = false
}

// settle does what effects ask for under the mutex: transactions take their
// place, writes are to be answered, requests resume. Who calls it calls perform afterwards.
func (g *group) settle(f *pg.Effects) {
	if t, ok := f.TakeTxn(); ok {
		g.pushTxn(&txn{Txn: *t, group: g, notify: g.notify})
		g.notify = nil
	}
	if f.NewInterval {
		g.forgetObjects()
	}
	if f.Split && g.splitReady != nil {
		close(g.splitReady)
		g.splitReady = nil
	}
	for _, w := range f.Answer {
		g.answers = append(g.answers, w.Owner.(*op))
	}
	for _, w := range f.Forgot {
		// A write that was not submitted ends where it stands; only what
		// waited for another's answer ends here.
		op := w.Owner.(*op)
		if op.session != nil {
			g.sendAgain(op.session)
		}
		if op.joined {
			op.done()
		}
	}
	if f.NewInterval {
		for head := range g.waiting {
			g.freed(head)
		}
	}
	for _, o := range f.Freed {
		g.freed(o)
	}
	if f.Resume {
		g.osd.reportSoon()
		g.pump()
	}
}

// sendAgain has a peer send its requests on the PG again, which are gone with
// the interval: clients on a network do so by themselves only when another
// OSD has become the primary. The mutex is held.
func (g *group) sendAgain(s *session) {
	if !s.remote || !g.core.Primary() {
		return
	}
	g.block(s)
	if g.core.Active() && len(g.held) == 0 {
		g.release()
	}
}

// forgetObjects drops what is known of objects. Who has a context in use
// keeps it, but nobody else will find it.
func (g *group) forgetObjects() {
	for g.listedN > 0 {
		g.unlist(g.lru.newer)
	}
	g.objects = map[objectKey]*object{}
}
