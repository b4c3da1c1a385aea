package pg

import "strings"

// State names the PG's state as Ceph's tools do.
func (c *Core) State() string {
	switch {
	case !c.interval.Exists || c.retired:
		return "gone"
	case !c.Primary():
		return "stray or replica"
	}
	var s []string
	add := func(when bool, name string) {
		if when {
			s = append(s, name)
		}
	}
	undersized := len(c.interval.Acting) < c.interval.Size
	remapped := !equalOSDs(c.interval.Acting, c.interval.Up)
	switch c.phase {
	case phaseActive:
		add(c.interval.writeable(), "active")
		backfill := false
		for i := range c.replicas {
			backfill = backfill || c.replicas[i].target
		}
		log := c.lacking > 0 && c.target == nil
		add(c.Clean(), "clean")
		add(len(c.unfound) > 0, "recovery_unfound")
		add(log && len(c.running) > 0, "recovering")
		add(log && len(c.running) == 0 && len(c.unfound) == 0, "recovery_wait")
		add(undersized, "undersized")
		add(undersized || log, "degraded")
		add(remapped, "remapped")
		add(c.target != nil, "backfilling")
		add(backfill && c.target == nil, "backfill_wait")
		add(!c.interval.writeable(), "peered")
	case phaseDown:
		s = append(s, "down")
		add(undersized, "undersized")
		add(remapped, "remapped")
	case phaseIncomplete:
		s = append(s, "incomplete")
		add(remapped, "remapped")
	case phaseActivating:
		s = append(s, "activating")
		add(undersized, "undersized")
		add(undersized, "degraded")
		add(remapped, "remapped")
	default:
		add(c.history.Created == 0, "creating")
		s = append(s, "peering")
		add(remapped, "remapped")
	}
	return strings.Join(s, "+")
}

// Health counts, in copies of objects: those that should be there and are
// not, those that are where they should not stay, and objects that nobody
// has.
type Health struct {
	Missing, Degraded, Misplaced, Unfound int64
}

// Health counts what is not as it should be; it means something at an active
// primary only.
func (c *Core) Health() Health {
	objects := max(c.Stats().Objects, 0)
	h := Health{Missing: int64(c.lacking), Unfound: int64(len(c.unfound))}
	if c.target != nil {
		h.Missing = 0
	}
	h.Degraded = h.Missing + int64(max(0, c.interval.Size-len(c.interval.Acting)))*objects
	for i := range c.replicas {
		if c.replicas[i].target {
			h.Misplaced += objects
		}
	}
	return h
}

// BlockedBy gives the OSDs one of which must come up before the PG can serve.
func (c *Core) BlockedBy() []int32 {
	if c.phase != phaseDown {
		return nil
	}
	return c.blockedBy
}

// CleanEpoch is the newest epoch known to have found the PG clean.
func (c *Core) CleanEpoch() uint32 { return uint32(c.history.Clean) }
