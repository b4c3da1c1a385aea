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

	mu         sync.Mutex
	core       *pg.Core
	objects    map[objectKey]*object
	lru        object // ring of contexts not in use; newer of it is the oldest
	listedN    int
	ops        int   // requests admitted and not finished
	first      op    // ring of them, in order of admission
	held       []*op // waiting for admission, in order of arrival
	submits    []*op // executed writes, for the submitter
	submitting bool
	turns      uint64               // writes that the submitter is done with
	trimmed    map[wire.SnapID]bool // removed snapshots known to have no clone here
	backoffs   map[*session]*backoff
	watched    map[objectKey]*watched // objects with watches or notifies

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
	g.counts.report(&out.Stat)
	out.Up, out.Acting = g.core.Sets()
	return out, true
}

// admit asks the core what is to happen to o. It is called with the mutex
// held; true: o.next is to be called after unlocking.
func (g *group) admit(o *op) bool {
	ask := pg.Ask{Epoch: o.m.Epoch}
	if o.write {
		ask.Write = &o.Write
	}
	verdict, dup := g.core.Admit(ask)
	switch verdict {
	case pg.Drop:
		if !o.write && o.m.Flags&anyReplica != 0 && o.m.Epoch >= g.core.Since() {
			o.next = (*op).again // the client asks the primary
			return true
		}
		g.osd.drop(o)
	case pg.Hold:
		g.hold(o)
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

// perform carries out effects; the mutex is not held.
func (g *group) perform(f *pg.Effects) {
	for _, s := range f.Send {
		g.osd.peers.send(g.osd, s.OSD, s.Msg)
	}
	for _, w := range f.Answer {
		w.Owner.(*op).answer()
	}
	f.Reset()
}

// settle does what effects ask for under the mutex: the locks of answered
// writes' objects, places, and requests to resume.
func (g *group) settle(f *pg.Effects) {
	for _, w := range f.Answer {
		op := w.Owner.(*op)
		op.object.unsettled--
		g.leave(op.object)
		g.finished(op)
	}
	for _, w := range f.Forgot {
		// A write that was not submitted ends where it stands; only what
		// waited for another's answer ends here.
		if op := w.Owner.(*op); op.joined {
			op.done()
		}
	}
	if f.Resume {
		g.osd.reportSoon()
		g.pump()
	}
}
