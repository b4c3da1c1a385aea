package mon

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spirula/spirula/rados/clustermap"
	"github.com/spirula/spirula/rados/wire"
)

// The states of health, from good to bad.
const (
	healthOK   = "HEALTH_OK"
	healthWarn = "HEALTH_WARN"
	healthErr  = "HEALTH_ERR"
)

// maxHealthDetail bounds the lines of detail of one check.
const maxHealthDetail = 50

// check is one entry of the health report. Count is how much of it there is.
type check struct {
	Code, Severity, Message string
	Count                   int
	Detail                  []string
}

// report collects checks.
type report struct{ checks []check }

func (r *report) add(severity, code string, count int, message string, detail ...string) {
	slices.Sort(detail)
	if n := len(detail) - maxHealthDetail; n > 0 {
		detail = append(detail[:maxHealthDetail:maxHealthDetail], fmt.Sprintf("%d more", n))
	}
	r.checks = append(r.checks, check{code, severity, message, count, detail})
}

// health looks at the map and the reports. Muted checks are among the checks
// and do not count for the status.
func (s *osdService) health() (status string, checks []check) {
	s.stats.prune(s.cur)
	var r report
	s.osdChecks(&r)
	s.pgChecks(&r)
	s.poolChecks(&r)
	slices.SortFunc(r.checks, func(a, b check) int { return strings.Compare(a.Code, b.Code) })
	mutes := s.m.mutes()
	status = healthOK
	for _, c := range r.checks {
		if _, muted := mutes[c.Code]; muted {
			continue
		}
		if c.Severity == healthErr || status == healthOK {
			status = c.Severity
		}
	}
	return status, r.checks
}

func (s *osdService) osdChecks(r *report) {
	m := s.cur
	var down, full, backfill, near, flagged []string
	exist := 0
	for i := range m.OSDs {
		id := int32(i)
		if !m.Exists(id) {
			continue
		}
		exist++
		if !m.IsUp(id) && m.IsIn(id) {
			var at []string
			for _, l := range m.Crush.LocationOf(id) {
				at = append(at, l.Type+"="+l.Name)
			}
			down = append(down, fmt.Sprintf("osd.%d (%s) is down", id, strings.Join(at, ",")))
		}
		switch st := m.OSDs[i].State; {
		case st&clustermap.StateFull != 0:
			full = append(full, fmt.Sprintf("osd.%d is full", id))
		case st&clustermap.StateBackfillFull != 0:
			backfill = append(backfill, fmt.Sprintf("osd.%d is backfill full", id))
		case st&clustermap.StateNearFull != 0:
			near = append(near, fmt.Sprintf("osd.%d is near full", id))
		}
		if names := (m.OSDs[i].State & osdFlagMask).StateNames(); len(names) > 0 {
			flagged = append(flagged, fmt.Sprintf("osd.%d has flags %s", id, strings.Join(names, ",")))
		}
	}
	switch up := m.NumUp(); {
	case exist == 0:
		r.add(healthWarn, "TOO_FEW_OSDS", 1, "OSD count 0: nothing can be stored")
	case up == 0:
		r.add(healthErr, "OSD_DOWN", exist, "no osd is up", down...)
	case len(down) > 0:
		r.add(healthWarn, "OSD_DOWN", len(down), plural(len(down), "osd")+" down", down...)
	}
	for _, c := range []struct {
		severity, code, what string
		osds                 []string
	}{{healthErr, "OSD_FULL", "full osd(s)", full}, {healthWarn, "OSD_BACKFILLFULL", "backfillfull osd(s)", backfill},
		{healthWarn, "OSD_NEARFULL", "nearfull osd(s)", near}, {healthWarn, "OSD_FLAGS", "OSDs or CRUSH {nodes, device-classes} have {NOUP,NODOWN,NOIN,NOOUT} flags set", flagged}} {
		if len(c.osds) > 0 {
			r.add(c.severity, c.code, len(c.osds), fmt.Sprintf("%d %s", len(c.osds), c.what), c.osds...)
		}
	}
	if names := flagNames(m.Flags); len(names) > 0 {
		r.add(healthWarn, "OSDMAP_FLAGS", len(names), strings.Join(names, ",")+" flag(s) set")
	}
}

func (s *osdService) poolChecks(r *report) {
	m := s.cur
	var full, single, nameless []string
	use := s.stats.byPool()
	for id, p := range m.Pools {
		name := m.PoolNames[id]
		if p.Flags&(clustermap.PoolFull|clustermap.PoolFullQuota) != 0 {
			why := "no space"
			if p.Flags&clustermap.PoolFullQuota != 0 {
				why = "running out of quota"
			}
			full = append(full, fmt.Sprintf("pool '%s' is full (%s)", name, why))
		}
		if p.IsReplicated() && p.Size == 1 {
			single = append(single, fmt.Sprintf("pool '%s' has no replicas configured", name))
		}
		if len(p.Applications) == 0 && p.TierOf < 0 && use[id].Objects > 0 {
			nameless = append(nameless, fmt.Sprintf("application not enabled on pool '%s'", name))
		}
	}
	if n := len(full); n > 0 {
		r.add(healthWarn, "POOL_FULL", n, fmt.Sprintf("%d pool(s) full", n), full...)
	}
	if n := len(single); n > 0 && s.m.optionTrue("mon_warn_on_pool_no_redundancy") {
		r.add(healthWarn, "POOL_NO_REDUNDANCY", n, fmt.Sprintf("%d pool(s) have no replicas configured", n), single...)
	}
	if n := len(nameless); n > 0 && s.m.optionTrue("mon_warn_on_pool_no_app") {
		r.add(healthWarn, "POOL_APP_NOT_ENABLED", n, fmt.Sprintf("%d pool(s) do not have an application enabled", n), nameless...)
	}
}

// isActive and isClean look at the name of a placement group's state.
func isActive(state string) bool { return hasState(state, "active") }
func isClean(state string) bool  { return hasState(state, "clean") }

func hasState(state, word string) bool { return slices.Contains(strings.Split(state, "+"), word) }

// pgState is the state of a placement group as the mon sees it: what was
// reported last, unless nobody serves it now.
func (s *osdService) pgState(pg wire.PGID) string {
	r, primary := s.stats.pgs[pg], s.cur.Map(pg).ActingPrimary
	switch {
	case r == nil:
		return "unknown"
	case primary < 0 && !hasState(r.State, "stale"):
		return "stale+" + r.State
	}
	return r.State
}

// pgStates counts placement groups by state; those nobody has reported are
// "unknown".
func (s *osdService) pgStates() map[string]int {
	s.stats.prune(s.cur)
	out := make(map[string]int)
	for id, p := range s.cur.Pools {
		for seed := range p.PGNum {
			out[s.pgState(wire.PGID{Pool: id, Seed: seed})]++
		}
	}
	return out
}

// pgWords are the states that the report about availability, and that about
// redundancy, counts by name.
var pgWords = [2][]string{{"inactive", "down", "incomplete", "peering", "stale", "unknown"}, {"degraded", "undersized", "recovering", "backfilling"}}

func (s *osdService) pgChecks(r *report) {
	var objects, degraded, copies, misplaced, unfound int64
	for _, p := range s.stats.byPool() {
		objects += int64(p.Objects)
		copies += p.Detail.Sums.Copies
		degraded += p.Detail.Sums.Degraded
		misplaced += p.Detail.Sums.Misplaced
		unfound += p.Detail.Sums.Unfound
	}
	counts := [2]map[string]int{{}, {}}
	var detail [2][]string
	for id, p := range s.cur.Pools {
		for seed := range p.PGNum {
			pg := wire.PGID{Pool: id, Seed: seed}
			state := s.pgState(pg)
			if state == "active+clean" {
				continue
			}
			s.countPG(pg, state, &counts, &detail)
		}
	}
	if n := counts[0]["inactive"] + counts[0]["stale"]; n > 0 && s.cur.NumUp() > 0 {
		r.add(healthWarn, "PG_AVAILABILITY", n, "Reduced data availability: "+countWords(pgWords[0], counts[0]), detail[0]...)
	}
	words := countWords(pgWords[1], counts[1])
	if degraded > 0 {
		part := fmt.Sprintf("%d/%d objects degraded (%.3f%%)", degraded, copies, 100*float64(degraded)/float64(max(copies, 1)))
		words = strings.TrimSuffix(part+", "+words, ", ")
	}
	if words != "" {
		r.add(healthWarn, "PG_DEGRADED", max(len(detail[1]), 1), "Degraded data redundancy: "+words, detail[1]...)
	}
	if misplaced > 0 {
		r.add(healthWarn, "OBJECT_MISPLACED", 1, fmt.Sprintf("%d/%d objects misplaced (%.3f%%)", misplaced, copies, 100*float64(misplaced)/float64(max(copies, 1))))
	}
	if unfound > 0 {
		r.add(healthWarn, "OBJECT_UNFOUND", 1, fmt.Sprintf("%d/%d objects unfound (%.3f%%)", unfound, objects, 100*float64(unfound)/float64(max(objects, 1))))
	}
}

// countPG counts one placement group that is not well.
func (s *osdService) countPG(pg wire.PGID, state string, counts *[2]map[string]int, detail *[2][]string) {
	line := fmt.Sprintf("pg %s is %s, acting %s", pg, state, osdList(s.cur.Map(pg).Acting))
	in := [2]bool{}
	words := strings.Split(state, "+")
	if !isActive(state) {
		words = append(words, "inactive")
	}
	for i, list := range pgWords {
		for _, w := range words {
			if slices.Contains(list, w) {
				counts[i][w]++
				in[i] = true
			}
		}
		if in[i] {
			detail[i] = append(detail[i], line)
		}
	}
}

func countWords(order []string, counts map[string]int) string {
	var parts []string
	for _, w := range order {
		if n := counts[w]; n > 0 {
			parts = append(parts, plural(n, "pg")+" "+w)
		}
	}
	return strings.Join(parts, ", ")
}

// watchHealth writes into the cluster log what has changed.
func (s *osdService) watchHealth() {
	status, checks := s.health()
	was := s.healthSeen
	s.healthSeen = make(map[string]string, len(checks))
	for _, c := range checks {
		s.healthSeen[c.Code] = c.Message
		level := uint16(logWarning)
		if c.Severity == healthErr {
			level = logError
		}
		switch old, known := was[c.Code]; {
		case !known:
			s.m.clog.write(level, "Health check failed: %s (%s)", c.Message, c.Code)
		case old != c.Message:
			s.m.clog.write(level, "Health check update: %s (%s)", c.Message, c.Code)
		}
	}
	for _, code := range sortedKeys(was) {
		if _, still := s.healthSeen[code]; !still {
			s.m.clog.write(logInfo, "Health check cleared: %s (was: %s)", code, was[code])
		}
	}
	if len(was) > 0 && status == healthOK {
		s.m.clog.write(logInfo, "Cluster is now healthy")
	}
	s.m.expireMutes(checks)
}

// mute silences a health check until a time, zero being for ever, or until it
// gets worse.
type mute struct {
	until  time.Time
	sticky bool
	count  int
	text   string
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
