package pg

import (
	"slices"

	"github.com/spirula/spirula/osd/store"
	"github.com/spirula/spirula/rados/wire"
)

// Bounds of recovery, by PG; the OSD bounds the bytes of all its PGs.
const (
	maxRunning = 4    // objects under way, but for those that requests wait for
	scanHeads  = 64   // heads compared at a time by a backfill
	maxDirty   = 4096 // objects written while a backfill compares
	stuckTicks = 6    // after so many without progress an object is begun again
	strayTicks = 4    // between two requests to a stray to go

)

// recovery is what the primary of an active PG does so that all copies are
// whole.
type recovery struct {
	lacking int // objects that we or a replica lack
	todo    []wire.HObject
	running map[wire.HObject]*recovering
	unfound map[wire.HObject]bool // nobody who can be asked has them
	target  *backfilling
	ticks   int
	// front is the oldest write under way at the last tick, and how many
	// ticks it has been.
	front      wire.EVersion
	frontTicks int
}

// recovering is an object under way.
type recovering struct {
	from   int32 // whom we asked for it; -1: it is here
	tried  map[int32]bool
	pushes uint64 // replicas that have not confirmed it, by position
	again  bool   // it was written meanwhile
	idle   int    // ticks without progress
}

// backfilling is the comparison with one backfill target.
type backfilling struct {
	i        int // position among the replicas
	scanning bool
	end      wire.HObject
	own      []Missing // our heads in the range, with their versions
	dirty    map[wire.HObject]bool
	telling  bool // the target is to note how far it is
}

// resetRecovery ends what is under way. Who waits for an object asks again.
func (c *Core) resetRecovery(f *Effects) {
	for o := range c.running {
		f.Freed = append(f.Freed, o)
	}
	for o := range c.unfound {
		f.Freed = append(f.Freed, o)
	}
	slices.SortFunc(f.Freed, wire.HObject.Compare)
	c.recovery = recovery{running: map[wire.HObject]*recovering{}, unfound: map[wire.HObject]bool{}}
}

// lacks reports whether we or a replica lack an object.
func (c *Core) lacks(o wire.HObject) bool {
	if _, ok := c.missing[o]; ok {
		return true
	}
	for i := range c.replicas {
		if _, ok := c.replicas[i].missing[o]; ok {
			return true
		}
	}
	return false
}

// Lacks reports whether an object is to be recovered before it can be
// written: we or a replica of the acting set lack it. Requests learn it from
// Admit; changes of our own ask here.
func (c *Core) Lacks(o wire.HObject) bool {
	if c.lacking == 0 {
		return false
	}
	if _, ok := c.missing[o]; ok {
		return true
	}
	for i := range c.replicas {
		if _, ok := c.replicas[i].missing[o]; ok && !c.replicas[i].target {
			return true
		}
	}
	return false
}

func (c *Core) count() {
	c.lacking = len(c.missing)
	for i := range c.replicas {
		c.lacking += len(c.replicas[i].missing)
	}
}

// mustWait reports whether a request has to wait for recovery, which then
// begins with its object. A write waits until all have the object: a replica
// can't apply a change to what it does not have.
func (c *Core) mustWait(a Ask, f *Effects) bool {
	if a.Object == (wire.HObject{}) {
		return len(c.missing) > 0
	}
	if a.Write == nil {
		if _, ok := c.missing[a.Object]; !ok {
			return false
		}
	} else if !c.lacks(a.Object) {
		return false
	}
	if c.running[a.Object] == nil && !c.unfound[a.Object] {
		c.start(a.Object, f)
	}
	return true
}

// beginRecovery is called when the PG has become active.
func (c *Core) beginRecovery(f *Effects) {
	all := map[wire.HObject]Missing{}
	for i := range c.replicas {
		for o, m := range c.replicas[i].missing {
			all[o] = m
		}
	}
	for o, m := range c.missing {
		all[o] = m
	}
	c.count()
	for _, m := range missingSet(all).list() {
		c.todo = append(c.todo, m.Object)
	}
	c.goOn(f)
}

// goOn starts what there is room for, and does what follows when nothing is
// left.
func (c *Core) goOn(f *Effects) {
	for len(c.running) < maxRunning && len(c.todo) > 0 {
		o := c.todo[0]
		c.todo = c.todo[1:]
		if c.running[o] == nil && c.lacks(o) && !c.unfound[o] {
			c.start(o, f)
		}
	}
	if len(c.running) > 0 || len(c.todo) > 0 || c.phase != phaseActive {
		return
	}
	if c.target != nil {
		c.rangeDone(f)
		return
	}
	if c.lacking == 0 {
		c.nextTarget(f)
	}
}

func (c *Core) start(o wire.HObject, f *Effects) {
	r := &recovering{from: -1, tried: map[int32]bool{}}
	c.running[o] = r
	m, here := c.missing[o]
	switch {
	case !here:
		c.push(o, r, f)
	case m.Need == wire.EVersion{}:
		r.from = c.me
		f.Work = append(f.Work, Work{Kind: WorkErase, Epoch: c.since, Object: o})
	default:
		c.pull(o, r, f)
	}
}

// source finds an OSD that should have an object.
func (c *Core) source(m Missing, r *recovering) int32 {
	for i := range c.replicas {
		p := &c.replicas[i]
		if _, lacks := p.missing[m.Object]; !lacks && !p.beyond(m.Object) && !r.tried[p.osd] {
			return p.osd
		}
	}
	for _, o := range append([]int32{c.best}, sortedKeys(c.infos)...) {
		i := c.infos[o]
		if o != c.me && o >= 0 && c.replicaOf(o) < 0 && i.Held && !i.LastUpdate.Less(m.Need) &&
			m.Object.Compare(i.Backfilled) <= 0 && c.view.IsUp(o) && !r.tried[o] {
			return o
		}
	}
	return -1
}

// pull asks for an object that we lack.
func (c *Core) pull(o wire.HObject, r *recovering, f *Effects) {
	m := c.missing[o]
	r.from, r.idle = c.source(m, r), 0
	if r.from < 0 {
		delete(c.running, o)
		c.unfound[o] = true
		return
	}
	r.tried[r.from] = true
	f.Send = append(f.Send, PeerMsg{r.from, &Pull{Head: c.head(), Object: o, Need: m.Need}})
}

// push sends an object to the replicas that lack it.
func (c *Core) push(o wire.HObject, r *recovering, f *Effects) {
	r.from, r.idle, r.pushes = -1, 0, 0
	r.again = c.submitted != nil && c.submitted.Entry.Object == o
	for i := range c.replicas {
		if _, ok := c.replicas[i].missing[o]; ok {
			r.pushes |= 1 << i
			f.Work = append(f.Work, Work{Kind: WorkPush, OSD: c.replicas[i].osd, Epoch: c.since, Object: o})
		}
	}
	if r.pushes == 0 {
		c.whole(o, f)
	}
}

// whole ends an object's recovery.
func (c *Core) whole(o wire.HObject, f *Effects) {
	delete(c.running, o)
	delete(c.unfound, o)
	c.count()
	f.Freed = append(f.Freed, o)
	if len(c.missing) == 0 {
		f.Freed = append(f.Freed, wire.HObject{})
	}
	c.goOn(f)
}

// handleRecovery takes the messages of recovery.
func (c *Core) handleRecovery(m Message, f *Effects) {
	switch m := m.(type) {
	case *Pull:
		if _, lacks := c.missing[m.Object]; lacks || m.Object.Compare(c.backfilled) > 0 || m.From != c.interval.Primary {
			f.Send = append(f.Send, PeerMsg{m.From, &Push{Head: c.head(), Object: m.Object, Pull: true, Failed: true, Last: true}})
			return
		}
		f.Work = append(f.Work, Work{Kind: WorkPush, OSD: m.From, Epoch: c.since, Object: m.Object,
			Need: m.Need, Pull: true, Knows: c.log.has(m.Need) || !c.log.tail.Less(m.Need)})
	case *PushAck:
		c.handlePushAck(m, f)
	case *Scan:
		if m.From == c.interval.Primary && c.selfActive {
			f.Work = append(f.Work, Work{Kind: WorkScanPeer, OSD: m.From, Epoch: c.since, First: m.First, End: m.End})
		}
	case *Scanned:
		c.handleScanned(m, f)
	case *Progress:
		c.handleProgress(m, f)
	case *Progressed:
		c.handleProgressed(m, f)
	}
}

// Wants reports whether the pieces of an object that another OSD sends are
// to be taken.
func (c *Core) Wants(m *Push) bool {
	if !c.current(&m.Head) {
		return false
	}
	if !m.Pull {
		return m.From == c.interval.Primary && !c.Primary() && c.selfActive
	}
	r := c.running[m.Object]
	if r == nil || r.from != m.From || c.phase != phaseActive {
		return false
	}
	r.idle = 0
	return true
}

// HandlePush takes the last piece of an object: object is the transaction that
// makes it what the sender has. It, with the PG's own rows, goes to Effects.
func (c *Core) HandlePush(m *Push, object *store.Txn, f *Effects) {
	if !c.Wants(m) {
		return
	}
	var then durable
	if m.Pull {
		need := c.missing[m.Object]
		gone := len(m.Parts) == 0 && need.Gone && m.Knows
		if m.Failed || m.Version != need.Need && !gone {
			c.pull(m.Object, c.running[m.Object], f)
			c.goOn(f)
			return
		}
	} else {
		then.send = []PeerMsg{{m.From, &PushAck{Head: c.head(), Object: m.Object, Piece: m.Piece, Last: true}}}
	}
	c.got(m.Object, object, then, f)
}

// got makes an object's new state durable.
func (c *Core) got(o wire.HObject, object *store.Txn, then durable, f *Effects) {
	f.Txn.Append(object)
	f.Txn.MetaRm(c.id, missingRow(o))
	then.got = []wire.HObject{o}
	c.persist(f, then)
}

// Erased is the end of WorkErase: object is the transaction that removes the
// object.
func (c *Core) Erased(w Work, object *store.Txn, f *Effects) {
	if w.Epoch == c.since && c.running[w.Object] != nil && c.phase == phaseActive {
		c.got(w.Object, object, durable{}, f)
	}
}

// gotObject is called when an object that was missing here is on stable
// storage.
func (c *Core) gotObject(o wire.HObject, now bool, f *Effects) {
	delete(c.missing, o)
	if !now || c.phase != phaseActive {
		return
	}
	c.count()
	if r := c.running[o]; r != nil && r.from >= 0 {
		c.push(o, r, f)
	}
}

func (c *Core) handlePushAck(m *PushAck, f *Effects) {
	i := c.replicaOf(m.From)
	r := c.running[m.Object]
	if i < 0 || r == nil || r.pushes&(1<<i) == 0 || !m.Last {
		return
	}
	if r.again {
		c.push(m.Object, r, f)
		return
	}
	r.pushes &^= 1 << i
	r.idle = 0
	delete(c.replicas[i].missing, m.Object)
	c.count()
	if r.pushes == 0 {
		c.whole(m.Object, f)
	}
}

// PushProgress notes that a piece of an object has arrived somewhere.
func (c *Core) PushProgress(o wire.HObject) {
	if r := c.running[o]; r != nil {
		r.idle = 0
	}
}

// foundCopy looks whether an OSD that turned up has what was not found.
func (c *Core) foundCopy(osd int32, f *Effects) {
	if c.Clean() {
		f.Send = append(f.Send, PeerMsg{osd, &Remove{c.head()}})
		return
	}
	c.retryUnfound(f)
}

func (c *Core) retryUnfound(f *Effects) {
	if len(c.unfound) == 0 {
		return
	}
	lost := make([]wire.HObject, 0, len(c.unfound))
	for o := range c.unfound {
		lost = append(lost, o)
	}
	slices.SortFunc(lost, wire.HObject.Compare)
	clear(c.unfound)
	for _, o := range lost {
		if c.running[o] == nil && c.lacks(o) {
			c.start(o, f)
		}
	}
	c.goOn(f)
}

// tickRecovery begins again what seems stuck.
func (c *Core) tickRecovery(f *Effects) {
	if c.phase != phaseActive || !c.Primary() {
		return
	}
	c.ticks++
	c.retryUnfound(f)
	c.repeatWrites(f)
	var stuck []wire.HObject
	for o, r := range c.running {
		if r.idle++; r.idle > stuckTicks {
			stuck = append(stuck, o)
		}
	}
	slices.SortFunc(stuck, wire.HObject.Compare)
	for _, o := range stuck {
		c.start(o, f)
	}
	if c.target != nil && c.ticks%stuckTicks == 0 {
		c.repeatTarget(f)
	}
	c.finish(f)
	if c.Clean() && c.ticks%strayTicks == 0 {
		c.removeStrays(f)
	}
}

// repeatWrites sends the writes again that replicas have not confirmed for
// long: what goes again after a lost session may have been overtaken.
func (c *Core) repeatWrites(f *Effects) {
	if c.InFlight() == 0 || c.inflight[c.first].Entry.Version != c.front {
		c.front, c.frontTicks = wire.EVersion{}, 0
		if c.InFlight() > 0 {
			c.front = c.inflight[c.first].Entry.Version
		}
		return
	}
	if c.frontTicks++; c.frontTicks%2 == 0 {
		for i := range c.replicas {
			c.resendWrites(i, f)
		}
	}
}

func (c *Core) resendWrites(i int, f *Effects) {
	for _, w := range c.inflight[c.first:] {
		if w != c.submitted {
			c.sendRepOp(w, i, f)
		}
	}
}

// resendRecovery repeats what was under way with an OSD.
func (c *Core) resendRecovery(osd int32, f *Effects) {
	i := c.replicaOf(osd)
	var objects []wire.HObject
	for o, r := range c.running {
		if r.from == osd || r.pushes&(1<<i) != 0 {
			objects = append(objects, o)
		}
	}
	slices.SortFunc(objects, wire.HObject.Compare)
	for _, o := range objects {
		c.start(o, f)
	}
	if c.target != nil && c.target.i == i {
		c.repeatTarget(f)
	}
}
