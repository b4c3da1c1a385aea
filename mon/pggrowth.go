package mon

import (
	"time"

	"github.com/spirula/spirula/rados/clustermap"
	"github.com/spirula/spirula/rados/wire"
)

// growthTimeout bounds the time that a pool is kept from being written while
// its placement groups become more.
const growthTimeout = 30 * time.Second

// growth is the raising of a pool's pg_num. OSDs do not split placement
// groups, so it is done only while there is nothing to be split. First all
// placement groups must report, after the request, that they are empty. Then
// min_size is raised over size, which stops writes without an error: clients
// wait. When all report that they are "peered", which is to say that they
// have taken note, and are still empty, pg_num and the former min_size go
// into one epoch.
//
// While it lasts min_size is size plus its former value. The mon that finds a
// pool like that without knowing why, after a restart, puts it back.
type growth struct {
	to     uint32
	since  time.Time // reports before it don't count
	fenced bool
	began  time.Time
	done   func(status string, e wire.Errno)
}

// grow begins to raise pg_num; done ends it.
func (s *osdService) grow(pool int64, to uint32, done func(string, wire.Errno)) {
	now := s.m.opts.Now()
	if s.growths[pool] != nil {
		done("pg_num is being changed", wire.EBUSY)
		return
	}
	s.growths[pool] = &growth{to: to, since: now, began: now, done: done}
}

// growSteps takes all growths forward.
func (s *osdService) growSteps(now time.Time) {
	for id, g := range s.growths {
		s.growStep(id, g, now)
	}
	for id, p := range s.view().Pools {
		if p.MinSize > p.Size && s.growths[id] == nil {
			s.editPool(id, endFence, nil)
		}
	}
}

// endFence gives a pool its former min_size.
func endFence(p *clustermap.Pool) wire.Errno {
	if p.MinSize > p.Size {
		p.MinSize -= p.Size
	}
	return 0
}

// growStep looks at one growth. A growth ends by leaving s.growths; the fence
// is taken away by whoever finds it without one.
func (s *osdService) growStep(id int64, g *growth, now time.Time) {
	end := func(status string, e wire.Errno) {
		delete(s.growths, id)
		g.done(status, e)
	}
	p := s.view().Pool(id)
	switch {
	case p == nil:
		end("the pool was deleted", wire.ENOENT)
		return
	case now.Sub(g.began) > growthTimeout:
		end("not all placement groups reported in time", wire.EAGAIN)
		return
	}
	for seed := range p.PGNum {
		r := s.stats.pgs[wire.PGID{Pool: id, Seed: seed}]
		if r == nil || !r.reported.After(g.since) || g.fenced && !hasState(r.State, "peered") {
			return
		}
		if r.Stat.Objects > 0 || r.Stat.Clones > 0 {
			end("pg_num can be raised only while a pool is empty: the OSDs do not split placement groups", wire.EOPNOTSUPP)
			return
		}
	}
	if !g.fenced {
		g.fenced = true
		g.since = now.Add(growthTimeout) // nothing counts before the fence is in an epoch
		s.editPool(id, func(p *clustermap.Pool) wire.Errno {
			p.MinSize += p.Size
			return 0
		}, func(wire.Errno, wire.Epoch) { g.since = s.m.opts.Now() })
		return
	}
	epoch := s.base().Epoch + 1
	s.editPool(id, func(p *clustermap.Pool) wire.Errno {
		p.PGNum, p.PGNumTarget, p.PGNumPending = g.to, g.to, g.to
		p.PGPNum, p.PGPNumTarget = g.to, g.to
		p.LastForceResendPreNautilus, p.LastForceResendPreLuminous = epoch, epoch
		return endFence(p)
	}, func(e wire.Errno, _ wire.Epoch) { g.done("", e) })
	delete(s.growths, id)
}

// endGrowths tells everybody that this mon does not lead any more.
func (s *osdService) endGrowths() {
	for id, g := range s.growths {
		delete(s.growths, id)
		g.done("", wire.EAGAIN)
	}
}
