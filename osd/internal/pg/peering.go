package pg

import (
	"slices"

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
	f.Split = f.Split || c.Splitting() && c.settled()
	if !c.stable() || c.retired {
		return
	}
	f.Self = append(f.Self, c.asked...)
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
