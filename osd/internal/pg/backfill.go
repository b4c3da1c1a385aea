package pg

import (
	"github.com/spirula/spirula/rados/wire"
)

// nextTarget takes up the next backfill target; when there is none the PG is
// as whole as it gets in this interval.
func (c *Core) nextTarget(f *Effects) {
	for i := range c.replicas {
		if c.replicas[i].target {
			c.target = &backfilling{i: i}
			c.scan(f)
			return
		}
	}
	c.finish(f)
}

// scan begins the next range. Objects written from now on until it is
// compared count as different.
func (c *Core) scan(f *Effects) {
	b := c.target
	b.scanning, b.telling, b.own, b.dirty = true, false, nil, map[wire.HObject]bool{}
	if c.submitted != nil {
		b.dirty[c.submitted.Entry.Object] = true
	}
	f.Work = append(f.Work, Work{Kind: WorkScan, Epoch: c.since, First: c.replicas[b.i].upTo})
}

// noteDirty notes a write while a range is compared, or an object copied.
func (c *Core) noteDirty(o wire.HObject) {
	b := c.target
	r := &c.replicas[b.i]
	if b.scanning && o.Compare(r.upTo) > 0 && len(b.dirty) <= maxDirty {
		b.dirty[o] = true
	}
	if run := c.running[o]; run != nil {
		run.again = true
	}
}

// HaveScanned is the end of WorkScan: our heads after First up to end, which
// is the last of them, or wire.MaxHObject.
func (c *Core) HaveScanned(w Work, objects []Missing, end wire.HObject, f *Effects) {
	b := c.target
	if w.Epoch != c.since || b == nil || !b.scanning || b.own != nil || w.First != c.replicas[b.i].upTo {
		return
	}
	b.own, b.end = append([]Missing{}, objects...), end
	f.Send = append(f.Send, PeerMsg{c.replicas[b.i].osd, &Scan{Head: c.head(), First: w.First, End: end}})
}

// handleScanned compares, and copies what differs.
func (c *Core) handleScanned(m *Scanned, f *Effects) {
	b := c.target
	if b == nil || c.replicas[b.i].osd != m.From || !b.scanning || b.own == nil || m.First != c.replicas[b.i].upTo ||
		m.End.Compare(m.First) <= 0 || m.End.Compare(b.end) > 0 {
		return
	}
	if len(b.dirty) > maxDirty {
		c.scan(f)
		return
	}
	r := &c.replicas[b.i]
	b.end = m.End
	theirs := make(map[wire.HObject]wire.EVersion, len(m.Objects))
	for _, o := range m.Objects {
		theirs[o.Object] = o.Need
	}
	var differ []wire.HObject
	add := func(o wire.HObject) {
		if _, ok := r.missing[o]; !ok {
			r.missing[o] = Missing{Object: o}
			differ = append(differ, o)
		}
	}
	for _, o := range b.own {
		if o.Object.Compare(b.end) > 0 {
			continue
		}
		if v, ok := theirs[o.Object]; !ok || v != o.Need || b.dirty[o.Object] {
			add(o.Object)
		}
		delete(theirs, o.Object)
	}
	for _, o := range m.Objects {
		if _, left := theirs[o.Object]; left {
			add(o.Object)
		}
	}
	for _, o := range sortedObjects(b.dirty) {
		if o.Compare(b.end) <= 0 {
			add(o)
		}
	}
	r.upTo = b.end
	b.scanning, b.own, b.dirty = false, nil, nil
	c.count()
	c.todo = append(c.todo, differ...)
	c.goOn(f)
}

// rangeDone has the target note that it is whole up to the range's end.
func (c *Core) rangeDone(f *Effects) {
	b := c.target
	if b.scanning || b.telling || len(c.replicas[b.i].missing) > 0 {
		return
	}
	b.telling = true
	f.Send = append(f.Send, PeerMsg{c.replicas[b.i].osd, &Progress{Head: c.head(), Backfilled: b.end}})
}

// handleProgress notes how far our copy is whole.
func (c *Core) handleProgress(m *Progress, f *Effects) {
	if m.From != c.interval.Primary || !c.selfActive {
		return
	}
	c.backfilled = m.Backfilled
	c.putStanding(&f.Txn)
	c.persist(f, durable{send: []PeerMsg{{m.From, &Progressed{Head: c.head(), Backfilled: m.Backfilled}}}})
}

func (c *Core) handleProgressed(m *Progressed, f *Effects) {
	b := c.target
	if b == nil || c.replicas[b.i].osd != m.From || !b.telling || m.Backfilled != b.end {
		return
	}
	if !b.end.Max {
		c.scan(f)
		return
	}
	c.replicas[b.i].target = false
	c.target = nil
	c.goOn(f)
}

// repeatTarget says again what the target may not have heard.
func (c *Core) repeatTarget(f *Effects) {
	switch b := c.target; {
	case b.scanning && len(b.dirty) <= maxDirty && b.own != nil:
		f.Send = append(f.Send, PeerMsg{c.replicas[b.i].osd, &Scan{Head: c.head(), First: c.replicas[b.i].upTo, End: b.end}})
	case b.scanning:
		c.scan(f)
	case b.telling:
		f.Send = append(f.Send, PeerMsg{c.replicas[b.i].osd, &Progress{Head: c.head(), Backfilled: b.end}})
	}
}

// finish makes the PG clean if it is, or asks that those who should serve
// may.
func (c *Core) finish(f *Effects) {
	if !c.Recovered() {
		return
	}
	if !equalOSDs(c.interval.Acting, c.interval.Up) {
		for _, o := range c.interval.Up {
			if o != c.me && c.replicaOf(o) < 0 {
				return
			}
		}
		if len(c.interval.Up) > 0 {
			f.AskTemp, f.Temp = true, nil
		}
		return
	}
	if c.interval.Temp { // it says what would be so without it
		f.AskTemp, f.Temp = true, nil
	}
	if c.updated || len(c.interval.Acting) < c.interval.Size {
		return
	}
	c.updated = true
	c.history.Clean = c.epoch
	c.history.prune()
	c.tellHistory(f)
	f.Clean = true
	c.removeStrays(f)
}

func (c *Core) removeStrays(f *Effects) {
	for _, o := range sortedKeys(c.strays) {
		if c.view.IsUp(o) {
			f.Send = append(f.Send, PeerMsg{o, &Remove{c.head()}})
		}
	}
	clear(c.strays) // those that stay will say so
}

// Recovered reports whether all copies of the acting set are whole, and no
// other is to be made.
func (c *Core) Recovered() bool {
	if c.phase != phaseActive || !c.Primary() || c.lacking > 0 || c.target != nil {
		return false
	}
	for i := range c.replicas {
		if c.replicas[i].target {
			return false
		}
	}
	return true
}

// Clean reports whether the PG has as many whole copies as it should, where
// they should be.
func (c *Core) Clean() bool {
	return c.Recovered() && c.updated
}

func sortedObjects(m map[wire.HObject]bool) []wire.HObject {
	set := missingSet{}
	for o := range m {
		set[o] = Missing{Object: o}
	}
	var out []wire.HObject
	for _, x := range set.list() {
		out = append(out, x.Object)
	}
	return out
}
