package pg

import (
	"slices"

	"github.com/spirula/spirula/osd/store"
	"github.com/spirula/spirula/rados/wire"
)

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
