package mon

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/spirula/spirula/rados/clustermap"
	"github.com/spirula/spirula/rados/wire"
)

// addPGCommands adds the commands about placement groups.
func addPGCommands(t commands) {
	const pgid, states = " name=pgid,type=CephPgid", " name=states,type=CephString,n=N,req=false"
	t.add("pg stat", "show placement groups by state", "r", cmdPGStat)
	t.add("pg dump name=dumpcontents,type=CephChoices,strings=all|summary|sum|delta|pools|osds|pgs|pgs_brief,n=N,req=false", "show all about placement groups", "r",
		func(c *call) { cmdPGDump(c, c.args.list("dumpcontents"), c.isJSON()) })
	t.add("pg dump_json name=dumpcontents,type=CephChoices,strings=all|summary|sum|pools|osds|pgs,n=N,req=false", "show all about placement groups as JSON", "r",
		func(c *call) { cmdPGDump(c, c.args.list("dumpcontents"), true) })
	t.add("pg dump_pools_json", "show all about pools as JSON", "r", func(c *call) { cmdPGDump(c, []string{"pools"}, true) })
	t.add("pg dump_stuck name=stuckops,type=CephChoices,strings=inactive|unclean|stale|undersized|degraded,n=N,req=false name=threshold,type=CephInt,req=false",
		"show placement groups that are not well", "r", cmdPGStuck)
	t.add("pg ls name=pool,type=CephInt,req=false"+states, "list placement groups", "r", func(c *call) { cmdPGList(c, everyPG) })
	t.add("pg ls-by-pool name=poolstr,type=CephString"+states, "list the placement groups of a pool", "r", func(c *call) {
		id, ok := c.pool("poolstr")
		if ok {
			cmdPGList(c, func(pg wire.PGID, _ clustermap.Mapping) bool { return pg.Pool == id })
		}
	})
	t.add("pg ls-by-osd name=osd,type=CephOsdName name=pool,type=CephInt,req=false"+states, "list the placement groups on an OSD", "r", func(c *call) {
		if id, ok := c.osd("osd"); ok {
			cmdPGList(c, func(_ wire.PGID, m clustermap.Mapping) bool {
				return slices.Contains(m.Acting, id) || slices.Contains(m.Up, id)
			})
		}
	})
	t.add("pg ls-by-primary name=osd,type=CephOsdName name=pool,type=CephInt,req=false"+states, "list the placement groups that an OSD leads", "r", func(c *call) {
		if id, ok := c.osd("osd"); ok {
			cmdPGList(c, func(_ wire.PGID, m clustermap.Mapping) bool { return m.ActingPrimary == id })
		}
	})
	t.add("pg map"+pgid, "show where a placement group is", "r", cmdPGMap)
	t.add("pg getmap", "give the encoded map of placement groups", "r", func(c *call) { c.fail(wire.EOPNOTSUPP, "there is no such encoding here: use pg dump") })
	t.add("pg debug name=debugop,type=CephChoices,strings=unfound_objects_exist|degraded_pgs_exist", "ask whether there is anything wrong", "r", func(c *call) {
		sums := c.m.osd.totals()
		found := sums.unfound > 0
		if c.args.str("debugop") == "degraded_pgs_exist" {
			found = sums.degraded > 0
		}
		c.finish(0, "", []byte(map[bool]string{true: "TRUE\n", false: "FALSE\n"}[found]))
	})
	for _, word := range []string{"scrub", "deep-scrub", "repair"} {
		t.add("pg "+word+pgid, "have a placement group checked", "rw", func(c *call) {
			if pg, ok := c.pg(); ok {
				c.notYet(fmt.Sprintf("pg %s", pg), c.m.osd.cur.Map(pg).ActingPrimary, word)
			}
		})
		t.add("osd "+word+" name=who,type=CephString", "have an OSD's placement groups checked", "rw", func(c *call) {
			if w := c.args.str("who"); w == "all" || w == "any" || w == "*" {
				c.notYet("all osds", 0, word)
			} else if id, ok := c.osd("who"); ok {
				c.notYet("osd."+itoa(id), id, word)
			}
		})
	}
}

// notYet answers a request for a scrub. OSDs here check what they read and
// have no scrub of their own, which the words say; it is no error, because
// there is nothing that the caller should do about it.
func (c *call) notYet(what string, primary int32, word string) {
	if primary < 0 {
		c.fail(wire.EAGAIN, "%s has no primary osd", what)
		return
	}
	c.ok("%s is not scheduled for %s: these OSDs check data when it is read", what, word)
}

// parsePG reads 2.1f.
func parsePG(s string) (pg wire.PGID, ok bool) {
	pool, seed, found := strings.Cut(s, ".")
	p, err1 := strconv.ParseInt(pool, 10, 64)
	n, err2 := strconv.ParseUint(seed, 16, 32)
	return wire.PGID{Pool: p, Seed: uint32(n)}, found && err1 == nil && err2 == nil && p >= 0
}

// pg reads the placement group that a command names, or ends the command.
func (c *call) pg() (wire.PGID, bool) {
	s := c.args.str("pgid")
	pg, ok := parsePG(s)
	if !ok {
		c.fail(wire.EINVAL, "invalid pgid '%s'", s)
		return pg, false
	}
	if p := c.m.osd.cur.Pool(pg.Pool); p == nil || pg.Seed >= p.PGNum {
		c.fail(wire.ENOENT, "pg '%s' does not exist", s)
		return pg, false
	}
	return pg, true
}

func cmdPGMap(c *call) {
	pg, ok := c.pg()
	if !ok {
		return
	}
	m := c.m.osd.cur
	mp := m.Map(pg)
	c.output(obj{{"epoch", m.Epoch}, {"raw_pgid", pg.String()}, {"pgid", pg.String()}, {"up", ints(mp.Up)}, {"acting", ints(mp.Acting)}},
		fmt.Sprintf("osdmap e%d pg %s (%s) -> up %s acting %s\n", m.Epoch, pg, pg, osdList(mp.Up), osdList(mp.Acting)))
}

func cmdPGStat(c *call) {
	s := c.m.osd
	counts, pgs := s.pgCounts()
	u, sums := s.stats.usage(), s.totals()
	var parts []string
	list := []any{}
	for _, n := range counts {
		parts = append(parts, fmt.Sprintf("%d %s", n.n, n.state))
		list = append(list, obj{{"name", n.state}, {"num", n.n}})
	}
	o := obj{{"num_pg_by_state", list}, {"num_pgs", pgs}, {"num_bytes", sums.bytes}, {"total_bytes", u.total}, {"total_avail_bytes", u.avail},
		{"total_used_bytes", u.used}, {"total_used_raw_bytes", u.used}}
	text := fmt.Sprintf("%d pgs: %s; %s data, %s used, %s / %s avail", pgs, strings.Join(parts, ", "), size(sums.bytes), size(u.used), size(u.avail), size(u.total))
	if t := sums.rate.clientText(); t != "" {
		text += "; " + t
	}
	if sums.degraded > 0 {
		text += fmt.Sprintf("; %d/%d objects degraded (%.3f%%)", sums.degraded, sums.copies, 100*float64(sums.degraded)/float64(max(sums.copies, 1)))
		o = append(o, member{"degraded_objects", sums.degraded}, member{"degraded_total", sums.copies})
	}
	o = append(o, sums.rate.fields()...)
	c.output(obj{{"pg_ready", true}, {"pg_summary", o}}, text+"\n")
}

// pgRow is a placement group with what is known of it; r is never nil.
type pgRow struct {
	id    wire.PGID
	state string
	at    clustermap.Mapping
	r     *pgRecord
}

// everyPG keeps all rows.
func everyPG(wire.PGID, clustermap.Mapping) bool { return true }

// pgRows lists the placement groups in their order.
func (s *osdService) pgRows(keep func(wire.PGID, clustermap.Mapping) bool) (out []pgRow) {
	s.stats.prune(s.cur)
	for _, id := range poolIDs(s.cur) {
		for seed := range s.cur.Pools[id].PGNum {
			pg := wire.PGID{Pool: id, Seed: seed}
			row := pgRow{id: pg, state: s.pgState(pg), at: s.cur.Map(pg), r: s.stats.pgs[pg]}
			if row.r == nil {
				row.r = &pgRecord{}
			}
			if keep(pg, row.at) {
				out = append(out, row)
			}
		}
	}
	return out
}

// inStates reports whether a state has any of the words, none meaning all.
func inStates(state string, words []string) bool {
	return len(words) == 0 || slices.Contains(words, "all") || slices.ContainsFunc(words, func(w string) bool { return hasState(state, w) })
}

func cmdPGList(c *call, keep func(wire.PGID, clustermap.Mapping) bool) {
	words := c.args.list("states")
	pool, _ := c.args.num("pool", -1)
	if s := c.args.str("pool"); s != "" && c.m.osd.cur.Pool(pool) == nil {
		c.fail(wire.ENOENT, "pool %s does not exist", s)
		return
	}
	rows := c.m.osd.pgRows(func(pg wire.PGID, m clustermap.Mapping) bool { return (pool < 0 || pg.Pool == pool) && keep(pg, m) })
	rows = slices.DeleteFunc(rows, func(r pgRow) bool { return !inStates(r.state, words) })
	if c.isJSON() {
		list := []any{}
		for _, r := range rows {
			list = append(list, c.m.osd.pgObj(r))
		}
		c.show(obj{{"pg_ready", true}, {"pg_stats", list}})
		return
	}
	t := newTable("<PG", "OBJECTS", "DEGRADED", "MISPLACED", "UNFOUND", "BYTES", "OMAP_BYTES*", "OMAP_KEYS*", "LOG", "STATE", "SINCE", "VERSION", "REPORTED", "<UP", "<ACTING", "<SCRUB_STAMP", "<DEEP_SCRUB_STAMP")
	for _, r := range rows {
		d := r.r.detail()
		since := "-"
		if !r.r.changed.IsZero() {
			since = span(c.m.opts.Now().Sub(r.r.changed))
		}
		scrub := clustermap.Stamp(r.r.LastDeepScrub)
		t.row(r.id, r.r.Stat.Objects, d.Sums.Degraded, d.Sums.Misplaced, d.Sums.Unfound, r.r.Stat.Bytes, r.r.Stat.OmapBytes, d.Sums.OmapKeys, d.LogSize, r.state, since,
			r.r.ReportedVersion, fmt.Sprintf("%d:%d", r.r.ReportedVersion.Epoch, r.r.seq), primaryList(r.at.Up, r.at.UpPrimary), primaryList(r.at.Acting, r.at.ActingPrimary), scrub, scrub)
	}
	c.finish(0, "", []byte(t.String()+omapNote))
}

// omapNote says what the starred columns are.
const omapNote = "\n* NOTE: these are the figures that OSDs report with their statistics.\n"

func primaryList(v []int32, primary int32) string { return osdList(v) + "p" + itoa(primary) }

func cmdPGStuck(c *call) {
	words := c.args.list("stuckops")
	if len(words) == 0 {
		words = []string{"unclean"}
	}
	threshold, _ := c.args.num("threshold", 60)
	now := c.m.opts.Now()
	rows := c.m.osd.pgRows(everyPG)
	rows = slices.DeleteFunc(rows, func(r pgRow) bool {
		stuck := false
		for _, w := range words {
			switch w {
			case "inactive":
				stuck = stuck || !isActive(r.state)
			case "unclean":
				stuck = stuck || !isClean(r.state)
			default:
				stuck = stuck || hasState(r.state, w)
			}
		}
		return !stuck || !r.r.changed.IsZero() && now.Sub(r.r.changed).Seconds() < float64(threshold)
	})
	if c.isJSON() {
		list := []any{}
		for _, r := range rows {
			list = append(list, c.m.osd.pgObj(r))
		}
		c.show(obj{{"pg_ready", true}, {"stuck_pg_stats", list}})
		return
	}
	text := ""
	if len(rows) > 0 {
		text = briefTable(rows).String()
	}
	c.finish(0, "ok", []byte(text))
}

func briefTable(rows []pgRow) *table {
	t := newTable("<PG_STAT", "STATE", "<UP", "UP_PRIMARY", "<ACTING", "ACTING_PRIMARY")
	for _, r := range rows {
		t.row(r.id, r.state, osdList(r.at.Up), r.at.UpPrimary, osdList(r.at.Acting), r.at.ActingPrimary)
	}
	return t
}
