package pg

import (
	"slices"

	"github.com/spirula/spirula/osd/store"
	"github.com/spirula/spirula/rados/wire"
)

// phase is how far a PG is on the way from a new interval to service.
type phase uint8

const (
	phaseNone       phase = iota // no map yet since the start
	phaseSettling                // until what was under way is on stable storage
	phaseStray                   // another OSD leads
	phaseInfo                    // asks everybody who may have the PG what they have
	phaseDown                    // nobody can be asked of an interval that counts
	phaseIncomplete              // no copy reaches as far as is known to be needed
	phaseTemp                    // another acting set is asked for
	phaseLog                     // asks the OSD with the best log for it
	phaseUpThru                  // the mon is to note that we may serve
	phaseActivating              // the others take over our log
	phaseActive                  // serves, if there are enough of them
)

// peering is a primary's knowledge of its interval.
type peering struct {
	infos      map[int32]Info // what OSDs have, ourselves included
	waitInfo   map[int32]bool // asked and not heard
	blockedBy  []int32        // phaseDown: who should come up
	best       int32          // whose log it is, from phaseLog on
	bestInfo   Info
	unusable   bool // our log has nothing in common with the best one
	temp       []int32
	askedTemp  bool
	backfill   []int32 // who gets the whole PG, object by object
	selfActive bool    // our part of the activation is on stable storage
	replicas   []replica
	strays     map[int32]bool // OSDs that have a copy and don't serve
	idleTicks  int
	updated    bool // Clean was told to all
}

// replica is an OSD that gets our writes: of the acting set, or a backfill
// target.
type replica struct {
	osd       int32
	activated bool
	missing   missingSet
	target    bool // of a backfill that is not done
	// upTo is how far a target's objects are, or are being made, equal to
	// ours: writes go to it up to there.
	upTo wire.HObject
}

// beyond reports whether a write to an object is none of the replica's
// matter yet.
func (r *replica) beyond(o wire.HObject) bool {
	if !r.target {
		return false
	}
	_, coming := r.missing[o]
	return coming || o.Compare(r.upTo) > 0
}

// resetPeering begins a new interval.
func (c *Core) resetPeering() {
	c.peering = peering{infos: map[int32]Info{}, waitInfo: map[int32]bool{}, strays: map[int32]bool{}, best: -1}
	c.asked = nil
}

// replicaOf gives an OSD's position among the replicas, -1 if it is none.
func (c *Core) replicaOf(osd int32) int {
	for i := range c.replicas {
		if c.replicas[i].osd == osd {
			return i
		}
	}
	return -1
}

// step goes on where something waited for stable storage.
func (c *Core) step(f *Effects) {
	if !c.stable() || c.retired {
		return
	}
	for _, m := range c.asked {
		f.Self = append(f.Self, m)
	}
	c.asked = nil
	switch c.phase {
	case phaseSettling:
		switch {
		case !c.interval.Exists:
			c.phase = phaseStray
		case c.Primary():
			c.phase = phaseInfo
			c.askInfos(f)
		default:
			c.phase = phaseStray
			c.notifyPrimary(f)
		}
	case phaseUpThru:
		c.tryActivate(f)
	}
}

// notifyPrimary tells the primary unasked that we have a copy: it may not
// know of us. A copy that nobody ever used goes at once.
func (c *Core) notifyPrimary(f *Effects) {
	outside := !slices.Contains(c.interval.Acting, c.me) && !slices.Contains(c.interval.Up, c.me)
	if outside && c.history.Created == 0 {
		c.retire(f)
		return
	}
	if c.interval.Primary >= 0 && c.interval.Exists {
		f.Send = append(f.Send, PeerMsg{c.interval.Primary, &Notify{Head: c.head(), Info: c.Info()}})
	}
}

func (c *Core) retire(f *Effects) {
	c.retired = true
	f.Retire = true
}

// counts reports whether the answer of an OSD of a past interval may matter.
func (c *Core) counts(p *Past) bool { return p.Last >= c.history.Started }

// probe gives the OSDs that are to be asked: who is up and serves, or served
// when writes may have been answered. If the past is not known: everybody who
// ever was up.
func (c *Core) probe() []int32 {
	var out []int32
	add := func(osd int32) {
		if osd >= 0 && osd != c.me && c.view.IsUp(osd) && !slices.Contains(out, osd) {
			out = append(out, osd)
		}
	}
	for _, o := range c.interval.Acting {
		add(o)
	}
	for _, o := range c.interval.Up {
		add(o)
	}
	for i := range c.history.Past {
		if c.counts(&c.history.Past[i]) {
			for _, o := range c.history.Past[i].Acting {
				add(o)
			}
		}
	}
	if !c.history.known() {
		for o := range c.view.MaxOSD() {
			if c.view.UpFrom(o) != 0 {
				add(o)
			}
		}
	}
	return out
}

// askInfos asks whom it has not asked, and goes on when all are heard.
func (c *Core) askInfos(f *Effects) {
	c.infos[c.me] = c.Info()
	for _, o := range c.probe() {
		if _, heard := c.infos[o]; !heard && !c.waitInfo[o] {
			c.waitInfo[o] = true
			f.Send = append(f.Send, PeerMsg{o, &Query{c.head()}})
		}
	}
	if len(c.waitInfo) == 0 {
		c.haveInfos(f)
	}
}

// down gives the OSDs one of which must come up before the PG can serve.
func (c *Core) down() []int32 {
	var blocked []int32
	for i := range c.history.Past {
		p := &c.history.Past[i]
		if !c.counts(p) || len(p.Acting) == 0 {
			continue
		}
		if !slices.ContainsFunc(p.Acting, func(o int32) bool {
			return o == c.me || c.view.IsUp(o) || c.view.LostAt(o) > p.First
		}) {
			blocked = append(blocked, p.Acting...)
		}
	}
	if !c.history.known() {
		for o := range c.view.MaxOSD() {
			if o != c.me && c.view.UpFrom(o) != 0 && !c.view.IsUp(o) && c.view.LostAt(o) < c.view.UpFrom(o) {
				blocked = append(blocked, o)
			}
		}
	}
	slices.Sort(blocked)
	return slices.Compact(blocked)
}

// mapChanged looks again at what waits for OSDs, in the same interval.
func (c *Core) mapChanged(f *Effects) {
	switch c.phase {
	case phaseInfo, phaseDown, phaseIncomplete:
		for o := range c.waitInfo {
			if !c.view.IsUp(o) {
				delete(c.waitInfo, o)
			}
		}
		for o := range c.infos {
			if o != c.me && !c.view.IsUp(o) {
				delete(c.infos, o)
			}
		}
		c.phase = phaseInfo
		c.askInfos(f)
	case phaseLog, phaseTemp:
		if c.best != c.me && c.best >= 0 && !c.view.IsUp(c.best) {
			delete(c.infos, c.best)
			c.phase = phaseInfo
			c.askInfos(f)
		}
	case phaseUpThru:
		c.step(f)
	case phaseActive:
		for o := range c.strays {
			if !c.view.IsUp(o) {
				delete(c.strays, o)
			}
		}
	}
}

// haveInfos decides once everybody is heard: is there enough, whose log is
// it, and can this acting set serve.
func (c *Core) haveInfos(f *Effects) {
	asked := len(c.infos)
	for _, o := range sortedKeys(c.infos) {
		i := c.infos[o]
		c.history.merge(&i.History)
	}
	for _, o := range c.probe() {
		if _, ok := c.infos[o]; !ok {
			c.askInfos(f) // the past that others know names more of them
			return
		}
	}
	if c.blockedBy = c.down(); len(c.blockedBy) > 0 {
		c.phase = phaseDown
		return
	}
	if c.history.Created == 0 && asked > 0 {
		// Nobody who ever was up has it: it is new.
		c.history.Created, c.history.PastFrom = c.since, c.since
	}
	c.infos[c.me] = c.Info()
	c.best = c.chooseLog()
	if c.best < 0 {
		c.phase = phaseIncomplete
		return
	}
	c.bestInfo = c.infos[c.best]
	want, backfill := c.chooseActing()
	if !equalOSDs(want, c.interval.Acting) {
		c.temp = want
		if equalOSDs(want, c.interval.Up) {
			c.temp = nil
		}
		c.phase = phaseTemp
		c.askTemp(f)
		return
	}
	c.backfill = backfill
	c.phase = phaseLog
	c.getLog(f)
}

func (c *Core) askTemp(f *Effects) {
	f.AskTemp, f.Temp = true, c.temp
}

func sortedKeys[V any](m map[int32]V) []int32 {
	out := make([]int32, 0, len(m))
	for o := range m {
		out = append(out, o)
	}
	slices.Sort(out)
	return out
}

// chooseLog gives the OSD whose log is the PG's: of the whole copies that took
// part in the newest activation the one with the newest entry, then the
// longest log, then our own. -1: there is none.
func (c *Core) chooseLog() int32 {
	started := wire.Epoch(0)
	for _, i := range c.infos {
		started = max(started, i.Started)
		if i.Held && i.Complete() {
			started = max(started, i.LastStarted)
		}
	}
	best := int32(-1)
	better := func(a, b *Info, o int32) bool {
		if n := a.LastUpdate.Compare(b.LastUpdate); n != 0 {
			return n > 0
		}
		if n := a.LogTail.Compare(b.LogTail); n != 0 {
			return n < 0
		}
		return o == c.me
	}
	for _, o := range sortedKeys(c.infos) {
		i := c.infos[o]
		if !i.Held || !i.Complete() || i.LastStarted < started {
			continue
		}
		if b := c.infos[best]; best < 0 || better(&i, &b, o) {
			best = o
		}
	}
	return best
}

// chooseActing gives the acting set that can serve now, and who of the up set
// is to get the PG's objects one by one.
func (c *Core) chooseActing() (want, backfill []int32) {
	tail := c.bestInfo.LogTail
	usable := func(o int32) bool {
		i, ok := c.infos[o]
		if !ok || o == c.me && c.unusable {
			return false
		}
		if !i.Held {
			return tail == wire.EVersion{}
		}
		return i.Complete() && !i.LastUpdate.Less(tail)
	}
	first := c.best
	if up := c.interval.Up; len(up) > 0 && usable(up[0]) {
		first = up[0]
	} else if usable(c.me) {
		first = c.me
	}
	if i, ok := c.infos[first]; ok && i.Held && first != c.best {
		// Its own log, brought up to date, is what the others will get.
		tail = i.LogTail
	}
	want = []int32{first}
	add := func(o int32) {
		if len(want) < c.interval.Size && !slices.Contains(want, o) && c.view.IsUp(o) && usable(o) {
			want = append(want, o)
		}
	}
	for _, o := range c.interval.Up {
		add(o)
	}
	for _, o := range c.interval.Acting {
		add(o)
	}
	for _, o := range sortedKeys(c.infos) {
		if i := c.infos[o]; i.Held {
			add(o)
		}
	}
	for _, o := range c.interval.Up {
		if !slices.Contains(want, o) {
			backfill = append(backfill, o)
		}
	}
	return want, backfill
}

// getLog asks the best OSD for what our log lacks.
func (c *Core) getLog(f *Effects) {
	if c.best == c.me || c.bestInfo.LastUpdate == c.log.head() {
		c.upToDate(f)
		return
	}
	f.Send = append(f.Send, PeerMsg{c.best, &GetLog{Head: c.head(), Last: c.log.head()}})
}

// handleGetLog answers with what our log has beyond where the other's can have
// been the same; own are its entries from there on.
func (c *Core) handleGetLog(m *GetLog, own []Entry, f *Effects) {
	out := &Log{Head: c.head(), Info: c.Info(), Since: c.log.upTo(m.Last)}
	if len(own) > 0 && own[0].Version == out.Since {
		own = own[1:]
	}
	out.Entries = own
	f.Send = append(f.Send, PeerMsg{m.From, out})
}

// handleLog takes over the best log; own are our entries from its Since on.
func (c *Core) handleLog(m *Log, own []Entry, f *Effects) {
	if c.phase != phaseLog || m.From != c.best || !c.stable() {
		return
	}
	if !c.follows(m.Since, m.Entries) {
		c.unusable = true
		c.phase = phaseInfo
		c.haveInfos(f)
		return
	}
	if len(m.Entries) == 0 && !c.log.head().Less(m.Since) && c.log.head() == m.Since {
		c.upToDate(f)
		return
	}
	c.mergeLog(m.Since, own, m.Entries, &f.Txn)
	f.NewInterval = true
	c.phase = phaseUpThru
	c.putStanding(&f.Txn)
	c.persist(f, durable{})
}

// follows reports whether entries go on from a version that our log has.
func (c *Core) follows(since wire.EVersion, entries []Entry) bool {
	if !c.log.has(since) {
		return false
	}
	for i := range entries {
		if !since.Less(entries[i].Version) || entries[i].Version.Version != since.Version+1 {
			return false
		}
		since = entries[i].Version
	}
	return true
}

func (c *Core) upToDate(f *Effects) {
	c.phase = phaseUpThru
	c.step(f)
}

// tryActivate waits for the mon's note, if clients are to be served.
func (c *Core) tryActivate(f *Effects) {
	if c.interval.writeable() && c.interval.Size > 1 && c.view.UpThru(c.me) < c.since {
		f.UpThru = max(c.epoch, c.since)
		return
	}
	c.activate(f)
}

// activate makes our log everybody's. It is sent once it has been read
// (sendActivate).
func (c *Core) activate(f *Effects) {
	c.phase = phaseActivating
	c.replicas = nil
	for _, o := range c.interval.Acting {
		if o != c.me {
			c.replicas = append(c.replicas, replica{osd: o})
		}
	}
	for _, o := range c.backfill {
		if o != c.me && c.view.IsUp(o) {
			c.replicas = append(c.replicas, replica{osd: o, target: true})
		}
	}
	if c.interval.writeable() {
		c.lastStarted = c.since
	}
	c.putInfo(&f.Txn)
	c.putStanding(&f.Txn)
	c.persist(f, durable{activated: true})
	if len(c.replicas) > 0 {
		f.Self = append(f.Self, &sendLog{Head: c.head()})
	}
}

// sendLog is a message to ourselves: the log is to be read and sent to the
// replicas that have not activated.
type sendLog struct{ Head }

// MsgType implements wire.Message; it is never sent.
func (*sendLog) MsgType() wire.MsgType { return 0 }

// handleSendLog sends each replica what its log lacks. own is our log.
func (c *Core) handleSendLog(own []Entry, f *Effects) {
	if c.phase != phaseActivating {
		return
	}
	for i := range c.replicas {
		r := &c.replicas[i]
		if r.activated {
			continue
		}
		m := c.activation(r)
		n, _ := slices.BinarySearchFunc(own, m.Since, func(e Entry, v wire.EVersion) int { return e.Version.Compare(v) })
		if n < len(own) && own[n].Version == m.Since {
			n++
		}
		m.Entries = own[n:]
		f.Send = append(f.Send, PeerMsg{r.osd, m})
	}
}

// oldestSince is from where on our log is to be sent to any replica.
func (c *Core) oldestSince() wire.EVersion {
	oldest := c.log.head()
	for i := range c.replicas {
		if m := c.activation(&c.replicas[i]); m.Since.Less(oldest) {
			oldest = m.Since
		}
	}
	return oldest
}

// activation is the message for a replica, but for the entries.
func (c *Core) activation(r *replica) *Activate {
	m := &Activate{Head: c.head(), Info: c.Info()}
	has := c.infos[r.osd]
	m.Since = c.log.upTo(has.LastUpdate)
	if !r.target {
		return m
	}
	// A backfill goes on only on a log that has nothing ours has not.
	if !has.Held || has.Complete() || m.Since != has.LastUpdate || has.LastUpdate.Less(c.log.tail) ||
		has.Backfilled.Compare(wire.MinHObject) <= 0 {
		m.Reset, m.Since = true, c.log.tail
	}
	return m
}

// handleActivate makes our log that of the primary; own are our entries from
// Since on.
func (c *Core) handleActivate(m *Activate, own []Entry, f *Effects) {
	if m.From != c.interval.Primary || c.Primary() || c.phase != phaseStray || !c.stable() {
		return
	}
	reply := &Activated{Head: c.head()}
	if c.selfActive { // it came again
		reply.Missing, reply.Backfilled = c.missing.list(), c.backfilled
		f.Send = append(f.Send, PeerMsg{m.From, reply})
		return
	}
	if !m.Reset && !c.follows(m.Since, m.Entries) {
		reply.Refused = true
		f.Send = append(f.Send, PeerMsg{m.From, reply})
		return
	}
	t := &f.Txn
	c.history.merge(&m.Info.History)
	if m.Reset {
		c.reset(m.Since, t)
		own = nil
	}
	c.mergeLog(m.Since, own, m.Entries, t)
	if slices.Contains(c.interval.Acting, c.me) {
		c.lastStarted = max(c.lastStarted, m.Info.LastStarted)
	}
	c.selfActive = true
	f.NewInterval = true
	c.putInfo(t)
	c.putStanding(t)
	reply.Missing, reply.Backfilled = c.missing.list(), c.backfilled
	c.persist(f, durable{send: []PeerMsg{{m.From, reply}}})
}

// reset begins a copy anew: an empty log after tail, no object known to be
// right.
func (c *Core) reset(tail wire.EVersion, t *store.Txn) {
	t.MetaRmRange(c.id, rowLog, rowEnd(rowLog))
	t.MetaRmRange(c.id, rowMissing, rowEnd(rowMissing))
	c.log.restart(tail)
	clear(c.missing)
	c.backfilled = wire.MinHObject
	c.lastStarted = 0
	c.committed = tail
}

// handleActivated notes that a replica has our log.
func (c *Core) handleActivated(m *Activated, f *Effects) {
	i := c.replicaOf(m.From)
	if c.phase != phaseActivating || i < 0 || c.replicas[i].activated {
		return
	}
	r := &c.replicas[i]
	if m.Refused {
		// Its log is not what it said. Whatever it has is to be compared.
		has := c.infos[r.osd]
		has.Backfilled, has.LastUpdate, has.LastStarted = wire.MinHObject, wire.EVersion{}, 0
		has.Held = true
		c.infos[r.osd] = has
		c.phase = phaseInfo
		c.haveInfos(f)
		return
	}
	r.activated = true
	r.missing = missingSet{}
	for _, x := range m.Missing {
		r.missing[x.Object] = x
	}
	r.upTo = m.Backfilled
	c.checkActive(f)
}

// checkActive begins to serve when everybody has the log on stable storage.
func (c *Core) checkActive(f *Effects) {
	if c.phase != phaseActivating || !c.selfActive {
		return
	}
	for i := range c.replicas {
		if !c.replicas[i].activated {
			return
		}
	}
	c.phase = phaseActive
	c.committed = c.log.head()
	if c.interval.writeable() {
		c.history.Started = c.since
		c.history.prune()
		c.tellHistory(f)
	}
	for _, o := range sortedKeys(c.infos) {
		if i := c.infos[o]; i.Held && o != c.me && c.replicaOf(o) < 0 {
			c.strays[o] = true
		}
	}
	f.Resume = true
	c.advance(f)
	c.beginRecovery(f)
}

// tellHistory puts down what the primary knows of the past, and then tells
// the others.
func (c *Core) tellHistory(f *Effects) {
	c.putStanding(&f.Txn)
	var then durable
	for i := range c.replicas {
		then.send = append(then.send, PeerMsg{c.replicas[i].osd, &Update{c.head(), c.history}})
	}
	c.persist(f, then)
}

// Needs reports whether Handle wants our log's entries from a version on, and
// from which. It may be asked, and Handle called, only if nothing else
// happens to the log in between.
func (c *Core) Needs(m Message) (from wire.EVersion, needs bool) {
	if !c.stable() {
		return wire.EVersion{}, false
	}
	switch m := m.(type) {
	case *GetLog:
		return c.log.upTo(m.Last), true
	case *Log:
		return m.Since, true
	case *Activate:
		return m.Since, !c.selfActive
	case *sendLog:
		return c.oldestSince(), c.phase == phaseActivating
	}
	return wire.EVersion{}, false
}

// Handle takes a message of another OSD, or one of Effects.Self; own is what
// Needs asked for. RepOps go to HandleRepOp, and Push, whose object must be
// applied, to Recovered or PullFailed.
func (c *Core) Handle(m Message, own []Entry, f *Effects) {
	if n, ok := m.(*Notify); ok && c.view != nil && c.Primary() && n.Head.PG == c.id && n.At >= c.since {
		c.handleNotify(n, f)
		return
	}
	if !c.current(m.About()) {
		return
	}
	switch m := m.(type) {
	case *RepAck:
		c.handleRepAck(m, f)
	case *Query, *GetLog, *Log, *Activate, *sendLog:
		if !c.stable() {
			c.postpone(m)
			return
		}
		c.handleStable(m, own, f)
	case *Activated:
		c.handleActivated(m, f)
	case *Update:
		c.handleUpdate(m, f)
	case *Remove:
		c.handleRemove(m, f)
	default:
		c.handleRecovery(m, f)
	}
}

// handleStable takes the messages that want all here on stable storage.
func (c *Core) handleStable(m Message, own []Entry, f *Effects) {
	switch m := m.(type) {
	case *Query:
		f.Send = append(f.Send, PeerMsg{m.From, &Notify{Head: c.head(), Info: c.Info()}})
	case *GetLog:
		c.handleGetLog(m, own, f)
	case *Log:
		c.handleLog(m, own, f)
	case *sendLog:
		c.handleSendLog(own, f)
	case *Activate:
		c.handleActivate(m, own, f)
	}
}

// maxAsked bounds the messages that wait for stable storage: each OSD sends
// one at a time, and again.
const maxAsked = 16

func (c *Core) postpone(m Message) {
	for i, a := range c.asked {
		if a.About().From == m.About().From {
			c.asked[i] = m
			return
		}
	}
	if len(c.asked) < maxAsked {
		c.asked = append(c.asked, m)
	}
}

// handleNotify takes what an OSD says it has.
func (c *Core) handleNotify(m *Notify, f *Effects) {
	delete(c.waitInfo, m.From)
	switch c.phase {
	case phaseInfo, phaseDown, phaseIncomplete:
		c.infos[m.From] = m.Info
		if c.phase != phaseInfo {
			c.phase = phaseInfo
		}
		if len(c.waitInfo) == 0 {
			c.askInfos(f)
		}
	default:
		if _, known := c.infos[m.From]; !known {
			c.infos[m.From] = m.Info
		}
	}
	if m.Info.Held && c.phase == phaseActive && c.replicaOf(m.From) < 0 {
		c.strays[m.From] = true
		c.foundCopy(m.From, f)
	}
}

// handleUpdate takes over what the primary knows of the past.
func (c *Core) handleUpdate(m *Update, f *Effects) {
	if m.From != c.interval.Primary || c.Primary() {
		return
	}
	c.history.Started = max(c.history.Started, m.History.Started)
	c.history.Clean = max(c.history.Clean, m.History.Clean)
	c.history.prune()
	c.putStanding(&f.Txn)
	c.persist(f, durable{})
}

// handleRemove gives up a copy that nobody needs.
func (c *Core) handleRemove(m *Remove, f *Effects) {
	if m.From != c.interval.Primary || slices.Contains(c.interval.Acting, c.me) || slices.Contains(c.interval.Up, c.me) ||
		!c.stable() {
		return
	}
	c.retire(f)
}

// tickPeering asks again.
func (c *Core) tickPeering(f *Effects) {
	c.step(f)
	switch c.phase {
	case phaseStray:
		if c.idleTicks++; c.idleTicks%4 == 0 && !c.selfActive {
			c.notifyPrimary(f)
		}
	case phaseInfo:
		for _, o := range sortedKeys(c.waitInfo) {
			f.Send = append(f.Send, PeerMsg{o, &Query{c.head()}})
		}
	case phaseTemp:
		c.askTemp(f)
	case phaseLog:
		c.getLog(f)
	case phaseActivating:
		if c.stable() && len(c.replicas) > 0 {
			f.Self = append(f.Self, &sendLog{Head: c.head()})
		}
	}
}

// PeerReset says that messages between us and an OSD may have been lost.
func (c *Core) PeerReset(osd int32, f *Effects) {
	if c.view == nil || c.retired || !c.Primary() {
		return
	}
	c.tickPeering(f)
	i := c.replicaOf(osd)
	if c.phase != phaseActive || i < 0 {
		return
	}
	c.resendWrites(i, f)
	c.resendRecovery(osd, f)
}
