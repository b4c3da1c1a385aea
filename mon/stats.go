package mon

import (
	"strings"

	"github.com/spirula/spirula/rados/clustermap"
	"github.com/spirula/spirula/rados/wire"
)

// statTable is what OSDs have reported: memory of the leader only, whole again
// seconds after a change of leader.
type statTable struct {
	osds map[int32]*wire.MOSDStats
	pgs  map[wire.PGID]wire.PGStat
}

func newStatTable() *statTable {
	return &statTable{osds: make(map[int32]*wire.MOSDStats), pgs: make(map[wire.PGID]wire.PGStat)}
}

func (t *statTable) report(m *wire.MOSDStats) {
	t.osds[m.OSD] = m
	for pg, st := range m.PGs {
		t.pgs[pg] = st
	}
}

// prune forgets placement groups that no longer exist and OSDs that are gone.
func (t *statTable) prune(m *clustermap.OSDMap) {
	for pg := range t.pgs {
		if p := m.Pool(pg.Pool); p == nil || pg.Seed >= p.PGNum {
			delete(t.pgs, pg)
		}
	}
	for id := range t.osds {
		if !m.Exists(id) {
			delete(t.osds, id)
		}
	}
}

// usage is the cluster's use in bytes.
type usage struct{ total, used, avail uint64 }

func (t *statTable) usage() (u usage) {
	for _, o := range t.osds {
		u.total, u.used, u.avail = u.total+o.Total, u.used+o.Used, u.avail+o.Avail
	}
	return u
}

// byPool sums the reports of placement groups.
func (t *statTable) byPool() map[int64]wire.PoolStat {
	out := make(map[int64]wire.PoolStat)
	for pg, st := range t.pgs {
		s := out[pg.Pool]
		s.Objects += st.Stat.Objects
		s.Clones += st.Stat.Clones
		s.Bytes += st.Stat.Bytes
		s.OmapBytes += st.Stat.OmapBytes
		out[pg.Pool] = s
	}
	return out
}

func (s *osdService) statfs(q *wire.MStatfs) *wire.MStatfsReply {
	s.stats.prune(s.cur)
	r := &wire.MStatfsReply{TID: q.TID, FSID: s.m.fsid, Version: uint64(s.cur.Epoch)}
	u, pools := s.stats.usage(), s.stats.byPool()
	r.KB, r.KBUsed, r.KBAvail = u.total>>10, u.used>>10, u.avail>>10
	for id, p := range pools {
		if !q.HasPool || id == q.Pool {
			r.Objects += p.Objects
		}
	}
	if p := s.cur.Pool(q.Pool); q.HasPool && p != nil {
		r.KBUsed = pools[q.Pool].Bytes >> 10
		r.KBAvail = u.avail >> 10 / uint64(max(1, p.Size))
		r.KB = r.KBUsed + r.KBAvail
	}
	return r
}

func (s *osdService) poolStats(q *wire.MGetPoolStats) *wire.MGetPoolStatsReply {
	s.stats.prune(s.cur)
	r := &wire.MGetPoolStatsReply{TID: q.TID, FSID: s.m.fsid, Pools: make(map[string]wire.PoolStat)}
	pools := s.stats.byPool()
	for _, name := range q.Pools {
		if id, ok := s.cur.PoolByName(name); ok {
			r.Pools[name] = pools[id]
		}
	}
	return r
}

// checkFull keeps the full flags of OSDs, of the map and of pools in step
// with what is reported.
func (s *osdService) checkFull() {
	view := s.view()
	anyFull, anyNear := false, false
	for id, o := range s.stats.osds {
		if !view.IsUp(id) || o.Total == 0 {
			continue
		}
		ratio := float32(o.Used) / float32(o.Total)
		var want clustermap.State
		switch {
		case ratio >= view.FullRatio:
			want, anyFull = clustermap.StateFull, true
		case ratio >= view.BackfillFullRatio:
			want, anyNear = clustermap.StateBackfillFull, true
		case ratio >= view.NearFullRatio:
			want, anyNear = clustermap.StateNearFull, true
		}
		const mask = clustermap.StateFull | clustermap.StateBackfillFull | clustermap.StateNearFull
		if diff := (view.OSDs[id].State & mask) ^ want; diff != 0 {
			s.change(true, nil).NewState[id] ^= diff
		}
	}
	flags := view.Flags &^ (clustermap.FlagFull | clustermap.FlagNearFull)
	if anyFull {
		flags |= clustermap.FlagFull
	} else if anyNear {
		flags |= clustermap.FlagNearFull
	}
	if flags != view.Flags {
		s.change(true, nil).NewFlags = int32(flags)
	}
	s.checkQuotas()
}

func (s *osdService) checkQuotas() {
	view := s.view()
	var use map[int64]wire.PoolStat
	for id, p := range view.Pools {
		limited := p.QuotaMaxBytes != 0 || p.QuotaMaxObjects != 0
		if !limited && p.Flags&clustermap.PoolFullQuota == 0 {
			continue
		}
		if use == nil {
			use = s.stats.byPool()
		}
		over := p.QuotaMaxBytes != 0 && use[id].Bytes >= p.QuotaMaxBytes ||
			p.QuotaMaxObjects != 0 && use[id].Objects >= p.QuotaMaxObjects
		if over == (p.Flags&clustermap.PoolFullQuota != 0) {
			continue
		}
		s.editPool(id, func(p *clustermap.Pool) wire.Errno {
			p.Flags ^= clustermap.PoolFullQuota | clustermap.PoolFull
			return 0
		}, nil)
	}
}

// pgStates counts placement groups by state; those nobody has reported are
// "unknown".
func (s *osdService) pgStates() map[string]int {
	s.stats.prune(s.cur)
	out := make(map[string]int)
	for id, p := range s.cur.Pools {
		for seed := range p.PGNum {
			st, ok := s.stats.pgs[wire.PGID{Pool: id, Seed: seed}]
			switch {
			case s.cur.Map(wire.PGID{Pool: id, Seed: seed}).ActingPrimary < 0:
				out["stale"]++
			case ok:
				out[st.State]++
			default:
				out["unknown"]++
			}
		}
	}
	return out
}

// check is one entry of the health report.
type check struct{ Code, Severity, Message string }

// health looks at the map and the reports.
func (s *osdService) health() (status string, checks []check) {
	add := func(severity, code, msg string) { checks = append(checks, check{code, severity, msg}) }
	m := s.cur
	exist, up := 0, m.NumUp()
	for i := range m.OSDs {
		if m.Exists(int32(i)) {
			exist++
		}
	}
	switch {
	case up == 0:
		add("HEALTH_ERR", "OSD_DOWN", "no osd is up")
	case up < exist:
		add("HEALTH_WARN", "OSD_DOWN", plural(exist-up, "osd")+" down")
	}
	if m.Flags&clustermap.FlagFull != 0 {
		add("HEALTH_ERR", "OSD_FULL", "an osd is full: writes are refused")
	} else if m.Flags&clustermap.FlagNearFull != 0 {
		add("HEALTH_WARN", "OSD_NEARFULL", "an osd is nearly full")
	}
	if names := flagNames(m.Flags); len(names) > 0 {
		add("HEALTH_WARN", "OSDMAP_FLAGS", strings.Join(names, ",")+" flag(s) set")
	}
	notClean, inactive := 0, 0
	for state, n := range s.pgStates() {
		if !strings.Contains(state, "active") {
			inactive += n
		} else if !strings.Contains(state, "clean") {
			notClean += n
		}
	}
	if inactive > 0 && up > 0 {
		add("HEALTH_WARN", "PG_AVAILABILITY", plural(inactive, "placement group")+" not active")
	}
	if notClean > 0 {
		add("HEALTH_WARN", "PG_DEGRADED", plural(notClean, "placement group")+" not clean")
	}
	for id, p := range m.Pools {
		if p.Flags&clustermap.PoolFullQuota != 0 {
			add("HEALTH_WARN", "POOL_FULL", "pool "+m.PoolNames[id]+" is over its quota")
		}
	}
	status = "HEALTH_OK"
	for _, c := range checks {
		if c.Severity == "HEALTH_ERR" || status == "HEALTH_OK" {
			status = c.Severity
		}
	}
	return status, checks
}

// mapFlags are the flags a person sets, by their names.
var mapFlags = []struct {
	name string
	flag clustermap.Flag
}{
	{"pauserd", clustermap.FlagPauseRead}, {"pausewr", clustermap.FlagPauseWrite},
	{"noup", clustermap.FlagNoUp}, {"nodown", clustermap.FlagNoDown}, {"noout", clustermap.FlagNoOut}, {"noin", clustermap.FlagNoIn},
	{"nobackfill", clustermap.FlagNoBackfill}, {"norecover", clustermap.FlagNoRecover}, {"noscrub", clustermap.FlagNoScrub},
	{"nodeep-scrub", clustermap.FlagNoDeepScrub}, {"norebalance", clustermap.FlagNoRebalance}, {"nosnaptrim", clustermap.FlagNoSnapTrim},
}

func flagNames(f clustermap.Flag) (names []string) {
	for _, n := range mapFlags {
		if f&n.flag != 0 {
			names = append(names, n.name)
		}
	}
	return names
}
