package pg

import (
	"slices"

	"github.com/spirula/spirula/rados/wire"
)

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
	if m.From != c.interval.Primary || c.Primary() || c.splitting {
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
