package mon

import (
	"fmt"
	"time"

	"github.com/spirula/spirula/rados/clustermap"
	"github.com/spirula/spirula/rados/wire"
)

// setPGNum raises a pool's pg_num, in one step: the OSDs split their copies of
// placement groups when they get the map. The new ones are where the old ones
// are until pgp_num follows, if it was equal to pg_num (followPGNum).
func (c *call) setPGNum(view *clustermap.OSDMap, p *clustermap.Pool, n int64) (status string, e wire.Errno) {
	most := min(clustermap.MaxPGs, c.m.optionInt("mon_max_pool_pg_num"))
	perOSD := c.m.optionInt("mon_max_pg_per_osd")
	switch {
	case n <= 0 || n > most:
		return fmt.Sprintf("'pg_num' must be greater than 0 and less than or equal to %d (you may adjust 'mon max pool pg num' for higher values)", most), wire.ERANGE
	case p.Flags&clustermap.PoolNoPGChange != 0:
		return "pool pg_num change is disabled; you must unset nopgchange flag for the pool first", wire.EPERM
	case n == int64(p.PGNum):
		return "", 0
	case n < int64(p.PGNum):
		return fmt.Sprintf("pg_num can't be lowered from %d: the OSDs do not merge placement groups", p.PGNum), wire.EOPNOTSUPP
	case totalPGs(view)+(n-int64(p.PGNum))*int64(p.Size) > perOSD*int64(max(1, view.MaxOSD())):
		return fmt.Sprintf("mon_max_pg_per_osd (%d) would be exceeded", perOSD), wire.ERANGE
	}
	if p.PGPNumTarget == p.PGNum {
		p.PGPNumTarget = uint32(n)
	}
	p.PGNum, p.PGNumTarget, p.PGNumPending = uint32(n), uint32(n), uint32(n)
	epoch := c.m.osd.base().Epoch + 1
	p.LastForceResendPreNautilus, p.LastForceResendPreLuminous = epoch, epoch
	return "", 0
}

// followPGNum raises the pgp_num of pools that are to have a larger one, once
// all their placement groups are clean: only then do the new ones move.
func (s *osdService) followPGNum(now time.Time) {
	for id, p := range s.view().Pools {
		if p.PGPNum >= p.PGPNumTarget || !s.allClean(id, p, now) {
			continue
		}
		s.editPool(id, func(p *clustermap.Pool) wire.Errno {
			p.PGPNum = min(p.PGPNumTarget, p.PGNum)
			return 0
		}, nil)
	}
}

// allClean reports whether all placement groups of a pool were clean when they
// were heard last, which was not long ago.
func (s *osdService) allClean(id int64, p *clustermap.Pool, now time.Time) bool {
	for seed := range p.PGNum {
		r := s.stats.pgs[wire.PGID{Pool: id, Seed: seed}]
		if r == nil || now.Sub(r.reported) > cleanHeard || !isClean(r.State) {
			return false
		}
	}
	return true
}

// cleanHeard is how old a report may be by which a placement group is clean.
const cleanHeard = 30 * time.Second
