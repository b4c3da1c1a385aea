package mon

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spirula/spirula/rados/wire"
)

// addStatusCommands adds the commands about the cluster as a whole.
func addStatusCommands(t commands) {
	t.add("fsid", "show the cluster's FSID", "r", func(c *call) { c.output(obj{{"fsid", c.m.fsid.String()}}, c.m.fsid.String()+"\n") })
	t.add("status", "show the cluster's state", "r", cmdStatus)
	t.add("health name=detail,type=CephChoices,strings=detail,req=false", "show the cluster's health", "r", cmdHealth)
	t.add("health mute name=code,type=CephString name=ttl,type=CephString,req=false name=sticky,type=CephBool,req=false",
		"silence a health check", "w", cmdHealthMute)
	t.add("health unmute name=code,type=CephString,req=false", "listen to a health check again", "w", cmdHealthUnmute)
	t.add("version", "show the version", "r", func(c *call) { c.output(obj{{"version", release}}, release+"\n") })
	t.add("versions", "show the versions of all daemons", "r", func(c *call) {
		mons, osds := len(c.m.monmap.cur.Mons), c.m.osd.cur.NumUp()
		c.show(obj{{"mon", versionCount(mons)}, {"mgr", obj{}}, {"osd", versionCount(osds)}, {"mds", obj{}}, {"overall", versionCount(mons + osds)}})
	})
	t.add("features", "show the features of daemons and clients", "r", func(c *call) { c.show(c.m.featureMap()) })
	t.add("report name=tags,type=CephString,n=N,req=false", "show all that is known", "r", cmdReport)
}

// versionCount says how many daemons run the one version there is.
func versionCount(n int) obj {
	if n == 0 {
		return obj{}
	}
	return obj{{release, n}}
}

func (m *Mon) featureMap() obj {
	clients := 0
	for c := range m.sessions {
		if c.Peer().Type == wire.EntityClient {
			clients++
		}
	}
	out := obj{}
	for _, g := range []struct {
		kind string
		n    int
	}{{"mon", len(m.monmap.cur.Mons)}, {"osd", m.osd.cur.NumUp()}, {"client", clients}} {
		if g.n > 0 {
			out = append(out, member{g.kind, []any{obj{{"features", fmt.Sprintf("%#x", uint64(features))}, {"release", "luminous"}, {"num", g.n}}}})
		}
	}
	return out
}

// pgCount is how many placement groups are in a state.
type pgCount struct {
	state string
	n     int
}

// pgCounts lists the states, the most frequent first.
func (s *osdService) pgCounts() (list []pgCount, total int) {
	for state, n := range s.pgStates() {
		list = append(list, pgCount{state, n})
		total += n
	}
	slices.SortFunc(list, func(a, b pgCount) int { return cmp.Or(b.n-a.n, strings.Compare(a.state, b.state)) })
	return list, total
}

// totals are sums over all pools.
type totals struct {
	objects, bytes                       uint64
	copies, degraded, misplaced, unfound int64
	rate                                 poolRate
}

func (s *osdService) totals() (t totals) {
	for _, p := range s.poolSums() {
		d := &p.Detail.Sums
		t.objects, t.bytes = t.objects+p.Objects, t.bytes+p.Bytes
		t.copies, t.degraded, t.misplaced, t.unfound = t.copies+d.Copies, t.degraded+d.Degraded, t.misplaced+d.Misplaced, t.unfound+d.Unfound
	}
	for _, r := range s.stats.rates {
		t.rate.reads, t.rate.readBytes = t.rate.reads+r.reads, t.rate.readBytes+r.readBytes
		t.rate.writes, t.rate.writeBytes = t.rate.writes+r.writes, t.rate.writeBytes+r.writeBytes
		t.rate.objects, t.rate.bytes = t.rate.objects+r.objects, t.rate.bytes+r.bytes
	}
	return t
}

func cmdStatus(c *call) {
	m := c.m
	if !c.isJSON() {
		c.finish(0, "", []byte(m.statusText()))
		return
	}
	status, checks := m.osd.health()
	om, u, sums := m.osd.cur, m.osd.stats.usage(), m.osd.totals()
	counts, pgs := m.osd.pgCounts()
	byState := []any{}
	for _, s := range counts {
		byState = append(byState, obj{{"state_name", s.state}, {"count", s.n}})
	}
	pgmap := obj{{"pgs_by_state", byState}, {"num_pgs", pgs}, {"num_pools", len(om.Pools)}, {"num_objects", sums.objects},
		{"data_bytes", sums.bytes}, {"bytes_used", u.used}, {"bytes_avail", u.avail}, {"bytes_total", u.total}}
	if sums.degraded > 0 {
		pgmap = append(pgmap, member{"degraded_objects", sums.degraded}, member{"degraded_total", sums.copies},
			member{"degraded_ratio", float64(sums.degraded) / float64(max(sums.copies, 1))})
	}
	pgmap = append(pgmap, sums.rate.fields()...)
	names := m.monNames()
	c.show(obj{{"fsid", m.fsid.String()}, {"health", healthObj(status, checks, m.mutes(), false)},
		{"election_epoch", m.electionEpoch()}, {"quorum", m.quorum()}, {"quorum_names", names}, {"quorum_age", m.age()},
		{"monmap", obj{{"epoch", m.monmap.cur.Epoch}, {"min_mon_release_name", releaseName}, {"num_mons", len(names)}}},
		{"osdmap", osdStat(om)}, {"pgmap", pgmap},
		{"fsmap", obj{{"epoch", 1}, {"by_rank", []any{}}, {"up:standby", 0}}},
		{"mgrmap", obj{{"available", false}, {"num_standbys", 0}, {"modules", []any{}}, {"services", obj{}}}},
		{"servicemap", obj{{"epoch", 1}, {"modified", "0.000000"}, {"services", obj{}}}}, {"progress_events", obj{}}})
}

func (r poolRate) fields() (o obj) {
	for _, f := range []struct {
		name string
		v    int64
	}{{"recovering_objects_per_sec", r.objects}, {"recovering_bytes_per_sec", r.bytes}, {"read_bytes_sec", r.readBytes},
		{"write_bytes_sec", r.writeBytes}, {"read_op_per_sec", r.reads}, {"write_op_per_sec", r.writes}} {
		if f.v > 0 {
			o = append(o, member{f.name, f.v})
		}
	}
	return o
}

// clientText prints what clients do; "" if nothing.
func (r poolRate) clientText() string {
	var parts []string
	for _, f := range []struct {
		v    int64
		text string
	}{{r.readBytes, size(uint64(r.readBytes)) + "/s rd"}, {r.writeBytes, size(uint64(r.writeBytes)) + "/s wr"},
		{r.reads, count(uint64(r.reads)) + " op/s rd"}, {r.writes, count(uint64(r.writes)) + " op/s wr"}} {
		if f.v > 0 {
			parts = append(parts, f.text)
		}
	}
	return strings.Join(parts, ", ")
}

// recoveryText prints what recovery does; "" if nothing.
func (r poolRate) recoveryText() string {
	if r.objects == 0 && r.bytes == 0 {
		return ""
	}
	return fmt.Sprintf("%s/s, %s objects/s", size(uint64(r.bytes)), count(uint64(r.objects)))
}

func (m *Mon) statusText() string {
	status, checks := m.osd.health()
	om, u, sums := m.osd.cur, m.osd.stats.usage(), m.osd.totals()
	counts, pgs := m.osd.pgCounts()
	mutes := m.mutes()
	var b strings.Builder
	f := func(format string, a ...any) { fmt.Fprintf(&b, format, a...) }
	f("  cluster:\n    id:     %s\n    health: %s\n", m.fsid, status)
	for _, ck := range checks {
		if _, muted := mutes[ck.Code]; !muted {
			f("            %s\n", ck.Message)
		}
	}
	if text := mutedText(checks, mutes, m.opts.Now()); text != "" {
		f("            %s\n", text)
	}
	names := m.monNames()
	f(" \n  services:\n    mon: %d daemons, quorum %s (age %s)\n    mgr: no daemons active\n", len(names), strings.Join(names, ","), span(time.Duration(m.age())*time.Second))
	f("    osd: %s\n", m.osdStatText("; "+plural(len(om.PGTemp), "remapped pg")))
	if names := flagNames(om.Flags); len(names) > 0 {
		f("         flags %s\n", strings.Join(names, ","))
	}
	f(" \n  data:\n    pools:   %d pools, %d pgs\n    objects: %s objects, %s\n    usage:   %s used, %s / %s avail\n",
		len(om.Pools), pgs, count(sums.objects), size(sums.bytes), size(u.used), size(u.avail), size(u.total))
	f("    pgs:     %s\n ", strings.Join(pgLines(counts, pgs, sums), "\n             "))
	if cl, rec := sums.rate.clientText(), sums.rate.recoveryText(); cl+rec != "" {
		f("\n  io:\n")
		if cl != "" {
			f("    client:   %s\n", cl)
		}
		if rec != "" {
			f("    recovery: %s\n", rec)
		}
		f(" ")
	}
	f("\n")
	return b.String()
}

// pgLines are the lines about placement groups: what is wrong, then the
// states with their numbers, in a column.
func pgLines(counts []pgCount, pgs int, sums totals) (out []string) {
	inactive, unknown := 0, 0
	width := 0
	for _, c := range counts {
		switch {
		case c.state == "unknown":
			unknown += c.n
		case !isActive(c.state):
			inactive += c.n
		}
		width = max(width, len(strconv.Itoa(c.n)))
	}
	for _, w := range []struct {
		n    int
		what string
	}{{unknown, "unknown"}, {inactive, "not active"}} {
		if w.n > 0 {
			out = append(out, fmt.Sprintf("%.3f%% pgs %s", 100*float64(w.n)/float64(pgs), w.what))
		}
	}
	for _, w := range []struct {
		n    int64
		what string
	}{{sums.degraded, "degraded"}, {sums.misplaced, "misplaced"}} {
		if w.n > 0 {
			out = append(out, fmt.Sprintf("%d/%d objects %s (%.3f%%)", w.n, sums.copies, w.what, 100*float64(w.n)/float64(max(sums.copies, 1))))
		}
	}
	if sums.unfound > 0 {
		out = append(out, fmt.Sprintf("%d/%d objects unfound (%.3f%%)", sums.unfound, sums.objects, 100*float64(sums.unfound)/float64(max(sums.objects, 1))))
	}
	for _, c := range counts {
		out = append(out, fmt.Sprintf("%-*d %s", width, c.n, c.state))
	}
	return out
}

// healthObj is the report as JSON.
func healthObj(status string, checks []check, mutes map[string]mute, detail bool) obj {
	list, silent := obj{}, []any{}
	for _, ck := range checks {
		_, muted := mutes[ck.Code]
		o := obj{{"severity", ck.Severity}, {"summary", obj{{"message", ck.Message}, {"count", ck.Count}}}}
		if detail {
			lines := []any{}
			for _, d := range ck.Detail {
				lines = append(lines, obj{{"message", d}})
			}
			o = append(o, member{"detail", lines})
		}
		list = append(list, member{ck.Code, append(o, member{"muted", muted})})
	}
	for _, code := range sortedKeys(mutes) {
		mu := mutes[code]
		o := obj{{"code", code}}
		if !mu.until.IsZero() {
			o = append(o, member{"ttl", stampOf(mu.until)})
		}
		silent = append(silent, append(o, member{"sticky", mu.sticky}, member{"summary", mu.text}, member{"count", mu.count}))
	}
	return obj{{"status", status}, {"checks", list}, {"mutes", silent}}
}

// mutedText lists the checks that are muted; "" if none is.
func mutedText(checks []check, mutes map[string]mute, now time.Time) string {
	var parts []string
	for _, ck := range checks {
		if mu, ok := mutes[ck.Code]; ok && mu.until.IsZero() {
			parts = append(parts, ck.Code)
		} else if ok {
			parts = append(parts, ck.Code+"("+span(mu.until.Sub(now))+")")
		}
	}
	if len(parts) == 0 {
		return ""
	}
	return "(muted: " + strings.Join(parts, " ") + ")"
}

func cmdHealth(c *call) {
	status, checks := c.m.osd.health()
	mutes := c.m.mutes()
	detail := c.args.str("detail") == "detail"
	if c.isJSON() {
		c.show(healthObj(status, checks, mutes, detail))
		return
	}
	var heads []string
	body := ""
	for _, ck := range checks {
		tag := "[WRN] "
		if ck.Severity == healthErr {
			tag = "[ERR] "
		}
		if _, muted := mutes[ck.Code]; muted {
			tag = "(MUTED) " + tag
		} else {
			heads = append(heads, ck.Message)
		}
		body += tag + ck.Code + ": " + ck.Message + "\n"
		for _, d := range ck.Detail {
			body += "    " + d + "\n"
		}
	}
	text := strings.TrimRight(status+" "+strings.Join(heads, "; "), " ")
	if m := mutedText(checks, mutes, c.m.opts.Now()); m != "" {
		text += "; " + m
	}
	if detail {
		text += "\n" + strings.TrimSuffix(body, "\n")
	}
	c.finish(0, "", []byte(strings.TrimSuffix(text, "\n")+"\n"))
}

func cmdReport(c *call) {
	status, checks := c.m.osd.health()
	om := c.m.osd.cur
	counts, pgs := c.m.osd.pgCounts()
	byState := []any{}
	for _, s := range counts {
		byState = append(byState, obj{{"name", s.state}, {"num", s.n}})
	}
	c.show(obj{{"version", releaseNum}, {"commit", "spirula"}, {"timestamp", stampOf(c.m.opts.Now())}, {"tag", strings.Join(c.args.list("tags"), " ")},
		{"health", healthObj(status, checks, c.m.mutes(), true)}, {"monmap", c.m.monDump()}, {"quorum", c.m.quorum()},
		{"osdmap", raw(om.JSON())}, {"osdmap_first_committed", c.m.osd.oldest()}, {"osdmap_last_committed", om.Epoch},
		{"crushmap", raw(om.Crush.JSON())}, {"num_pg", pgs}, {"num_osd", numExisting(om)}, {"num_pg_by_state", byState},
		{"pool_stats", c.m.osd.poolStatsJSON()}, {"osd_stats", c.m.osd.osdStatsJSON()}})
}
