package mon

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/spirula/spirula/rados/clustermap"
	"github.com/spirula/spirula/rados/wire"
)

// addDFCommands adds the commands about the use of space.
func addDFCommands(t commands) {
	t.add("df name=detail,type=CephChoices,strings=detail,req=false", "show use by class and pool", "r", cmdDF)
	t.add("osd df name=output_method,type=CephChoices,strings=plain|tree,req=false name=filter_by,type=CephChoices,strings=class|name,req=false "+
		"name=filter,type=CephString,req=false", "show use by OSD", "r", cmdOSDDF)
	t.add("osd utilization", "show how evenly placement groups are spread", "r", cmdUtilization)
	t.add("osd perf", "show latencies of OSDs", "r", func(c *call) {
		t, list := newTable("osd", "commit_latency(ms)", "apply_latency(ms)"), []any{}
		for _, id := range sortedKeys(c.m.osd.stats.osds) {
			t.row(id, 0, 0)
			list = append(list, obj{{"id", id}, {"perf_stats", perfStat()}})
		}
		c.output(obj{{"pg_ready", true}, {"osdstats", obj{{"osd_perf_infos", list}}}}, t.String())
	})
}

func perfStat() obj {
	return obj{{"commit_latency_ms", 0}, {"apply_latency_ms", 0}, {"commit_latency_ns", 0}, {"apply_latency_ns", 0}}
}

// percent prints a share with two digits, 0 as such.
func percent(f float64) string {
	if f < 0.00005 {
		return "0"
	}
	return strconv.FormatFloat(100*f, 'f', 2, 64)
}

// poolUse is what df shows of a pool.
type poolUse struct {
	stat            wire.PoolStat
	used, omap, max uint64
	percent         float64
	size            uint64
}

func (s *osdService) poolUse(p *clustermap.Pool, st wire.PoolStat) poolUse {
	u := poolUse{stat: st, max: s.maxAvail(p), size: uint64(max(1, p.Size))}
	u.used, u.omap = uint64(max(st.Detail.Store.Allocated, 0)), uint64(max(st.Detail.Store.OmapAllocated, 0))
	if sum := float64(u.used+u.omap) + float64(u.max*u.size); sum > 0 {
		u.percent = float64(u.used+u.omap) / sum
	}
	return u
}

// classUsage sums the use of OSDs by their class.
func (s *osdService) classUsage() map[string]usage {
	out := map[string]usage{}
	for id, o := range s.stats.osds {
		if name := className(s.cur.Crush, id); name != "" {
			out[name] = out[name].plus(o.usage())
		}
	}
	return out
}

func (u usage) fields() obj {
	return obj{{"total_bytes", u.total}, {"total_avail_bytes", u.avail}, {"total_used_bytes", u.used}, {"total_used_raw_bytes", u.used}, {"total_used_raw_ratio", u.ratio()}}
}

func cmdDF(c *call) {
	s, detail := c.m.osd, c.args.str("detail") == "detail"
	sums := s.poolSums()
	total, classes := s.stats.usage(), s.classUsage()
	if c.isJSON() {
		byClass, pools := obj{}, []any{}
		for _, name := range sortedKeys(classes) {
			byClass = append(byClass, member{name, classes[name].fields()})
		}
		for _, id := range poolIDs(s.cur) {
			pools = append(pools, obj{{"name", s.cur.PoolNames[id]}, {"id", id}, {"stats", s.poolUse(s.cur.Pools[id], sums[id]).fields(s.cur.Pools[id], detail)}})
		}
		n := len(s.stats.osds)
		c.show(obj{{"stats", append(total.fields(), obj{{"num_osds", numExisting(s.cur)}, {"num_per_pool_osds", n}, {"num_per_pool_omap_osds", n}}...)},
			{"stats_by_class", byClass}, {"pools", pools}})
		return
	}
	t := newTable("<CLASS", ">SIZE", ">AVAIL", ">USED", ">RAW USED", ">%RAW USED")
	for _, name := range append(sortedKeys(classes), "TOTAL") {
		u := classes[name]
		if name == "TOTAL" {
			u = total
		}
		t.row(name, size(u.total), size(u.avail), size(u.used), size(u.used), percent(u.ratio()))
	}
	c.finish(0, "", []byte("--- RAW STORAGE ---\n"+t.String()+" \n--- POOLS ---\n"+s.poolTable(sums, detail)))
}

// fields are the numbers of a pool as JSON.
func (u poolUse) fields(p *clustermap.Pool, detail bool) obj {
	st := u.stat
	o := obj{{"stored", st.Bytes + st.OmapBytes}}
	if detail {
		o = append(o, obj{{"stored_data", st.Bytes}, {"stored_omap", st.OmapBytes}}...)
	}
	o = append(o, obj{{"objects", st.Objects}, {"kb_used", (u.used + u.omap + 1023) >> 10}, {"bytes_used", u.used + u.omap}}...)
	if detail {
		o = append(o, obj{{"data_bytes_used", u.used}, {"omap_bytes_used", u.omap}}...)
	}
	o = append(o, obj{{"percent_used", u.percent}, {"max_avail", u.max}}...)
	if detail {
		d := &st.Detail.Sums
		o = append(o, obj{{"quota_objects", p.QuotaMaxObjects}, {"quota_bytes", p.QuotaMaxBytes}, {"dirty", 0}, {"rd", d.Reads}, {"rd_bytes", d.ReadKiB << 10},
			{"wr", d.Writes}, {"wr_bytes", d.WriteKiB << 10}, {"compress_bytes_used", 0}, {"compress_under_bytes", 0},
			{"stored_raw", (st.Bytes + st.OmapBytes) * u.size}, {"avail_raw", u.max * u.size}}...)
	}
	return o
}

func (s *osdService) poolTable(sums map[int64]wire.PoolStat, detail bool) string {
	heads := []string{"<POOL", ">ID", ">PGS", ">STORED"}
	if detail {
		heads = append(heads, ">(DATA)", ">(OMAP)")
	}
	heads = append(heads, ">OBJECTS", ">USED")
	if detail {
		heads = append(heads, ">(DATA)", ">(OMAP)")
	}
	heads = append(heads, ">%USED", ">MAX AVAIL")
	if detail {
		heads = append(heads, ">QUOTA OBJECTS", ">QUOTA BYTES", ">DIRTY", ">USED COMPR", ">UNDER COMPR")
	}
	t := newTable(heads...)
	for _, id := range poolIDs(s.cur) {
		p := s.cur.Pools[id]
		u := s.poolUse(p, sums[id])
		st := u.stat
		row := []any{s.cur.PoolNames[id], id, p.PGNum, size(st.Bytes + st.OmapBytes)}
		if detail {
			row = append(row, size(st.Bytes), size(st.OmapBytes))
		}
		row = append(row, count(st.Objects), size(u.used+u.omap))
		if detail {
			row = append(row, size(u.used), size(u.omap))
		}
		row = append(row, percent(u.percent), size(u.max))
		if detail {
			row = append(row, limit(p.QuotaMaxObjects, count), limit(p.QuotaMaxBytes, size), "N/A", "0 B", "0 B")
		}
		t.row(row...)
	}
	return t.String()
}

// limit prints a quota, N/A for none.
func limit(n uint64, text func(uint64) string) string {
	if n == 0 {
		return "N/A"
	}
	return text(n)
}

// osdUse is a line of osd df.
type osdUse struct {
	usage
	data uint64 // of objects
	pgs  int
}

func (a osdUse) plus(b osdUse) osdUse {
	return osdUse{a.usage.plus(b.usage), a.data + b.data, a.pgs + b.pgs}
}

// meta is what is used besides data.
func (a osdUse) meta() uint64 { return a.used - min(a.data, a.used) }

// osdUses gives the use of each OSD. The bytes of objects are those of the
// placement groups that it serves.
func (s *osdService) osdUses() map[int32]osdUse {
	s.stats.prune(s.cur)
	out := map[int32]osdUse{}
	for id, o := range s.stats.osds {
		out[id] = osdUse{usage: o.usage()}
	}
	for id, p := range s.cur.Pools {
		for seed := range p.PGNum {
			pg := wire.PGID{Pool: id, Seed: seed}
			for _, o := range s.cur.Map(pg).Acting {
				u := out[o]
				u.pgs++
				if r := s.stats.pgs[pg]; r != nil {
					u.data += r.Stat.Bytes
				}
				out[o] = u
			}
		}
	}
	return out
}

// spread is how far the use of OSDs is from their average.
type spread struct{ average, least, most, dev float64 }

func (s *osdService) spread(uses map[int32]osdUse) (sp spread, total osdUse) {
	n := 0.0
	for _, u := range uses {
		total = total.plus(u)
	}
	sp.average = total.ratio()
	for _, u := range uses {
		if u.total == 0 {
			continue
		}
		v := u.variation(sp.average)
		if n == 0 || v < sp.least {
			sp.least = v
		}
		sp.most = max(sp.most, v)
		d := 100 * (u.ratio() - sp.average)
		sp.dev += d * d
		n++
	}
	sp.dev = math.Sqrt(sp.dev / max(n, 1))
	return sp, total
}

func (a osdUse) variation(average float64) float64 {
	if average == 0 {
		return 0
	}
	return a.ratio() / average
}

func cmdOSDDF(c *call) {
	s := c.m.osd
	uses := s.osdUses()
	sp, total := s.spread(uses)
	rows := s.treeRows(treeFilter{all: true})
	if rows == nil {
		rows = []treeRow{}
	}
	rows, ok := filterRows(c, s.cur, rows)
	if !ok {
		return
	}
	if c.isJSON() {
		c.show(s.osdDFObj(rows, uses, sp, total, c.args.str("output_method") == "tree"))
		return
	}
	tree := c.args.str("output_method") == "tree"
	heads := []string{"ID", "CLASS", "WEIGHT", "REWEIGHT", "SIZE", "RAW USE", "DATA", "OMAP", "META", "AVAIL", "%USE", "VAR", "PGS", "STATUS"}
	if tree {
		heads = append(heads, "<TYPE NAME")
	}
	t := newTable(heads...)
	for _, r := range rows {
		if r.id < 0 && !tree {
			continue
		}
		u, reweight, pgs, status := s.useOf(r.id, uses), "-", "-", ""
		if r.id >= 0 {
			reweight, pgs, status = strconv.FormatFloat(s.reweight(r.id), 'f', 5, 64), strconv.Itoa(u.pgs), s.upText(r.id)
		}
		cells := []any{r.id, className(s.cur.Crush, r.id), weightText(r.weight), reweight, size(u.total), size(u.used), size(u.data), size(0), size(u.meta()), size(u.avail),
			percent(u.ratio()), strconv.FormatFloat(u.variation(sp.average), 'f', 2, 64), pgs, status}
		if tree {
			cells = append(cells, r.label(s.cur))
		}
		t.row(cells...)
	}
	t.row("", "", "", "TOTAL", size(total.total), size(total.used), size(total.data), size(0), size(total.meta()), size(total.avail), percent(total.ratio()))
	c.finish(0, "", []byte(t.String()+fmt.Sprintf("MIN/MAX VAR: %.2f/%.2f  STDDEV: %s\n", sp.least, sp.most, percent(sp.dev/100))))
}

// filterRows keeps what filter_by and filter ask for.
func filterRows(c *call, m *clustermap.OSDMap, rows []treeRow) ([]treeRow, bool) {
	by, want := c.args.str("filter_by"), c.args.str("filter")
	var out []treeRow
	switch by {
	case "":
		return rows, true
	case "class":
		for _, r := range rows {
			if r.id >= 0 && className(m.Crush, r.id) == want {
				out = append(out, r)
			}
		}
		return out, true
	}
	if id, ok := m.Crush.ItemByName(want); ok {
		for _, r := range rows {
			if r.id == id || below(m.Crush, id, r.id) {
				out = append(out, r)
			}
		}
		return out, true
	}
	c.fail(wire.EINVAL, "'%s' not a pool, crush node or device class name", want)
	return nil, false
}

func (s *osdService) osdDFObj(rows []treeRow, uses map[int32]osdUse, sp spread, total osdUse, tree bool) obj {
	nodes, stray := []any{}, []any{}
	for _, r := range rows {
		if r.id < 0 && !tree {
			continue
		}
		u := s.useOf(r.id, uses)
		o := r.head(s.cur, r.id < 0)
		pgs := u.pgs
		if r.id >= 0 {
			o = append(o, member{"reweight", s.reweight(r.id)})
		} else {
			o, pgs = append(o, member{"reweight", -1}), 0
		}
		o = append(o, obj{{"kb", u.total >> 10}, {"kb_used", u.used >> 10}, {"kb_used_data", u.data >> 10}, {"kb_used_omap", 0}, {"kb_used_meta", u.meta() >> 10},
			{"kb_avail", u.avail >> 10}, {"utilization", 100 * u.ratio()}, {"var", u.variation(sp.average)}, {"pgs", pgs}}...)
		if r.id < 0 {
			o = append(o, member{"children", r.children})
		} else {
			o = append(o, member{"status", s.upText(r.id)})
		}
		if r.stray {
			stray = append(stray, o)
		} else {
			nodes = append(nodes, o)
		}
	}
	return obj{{"nodes", nodes}, {"stray", stray}, {"summary", obj{{"total_kb", total.total >> 10}, {"total_kb_used", total.used >> 10},
		{"total_kb_used_data", total.data >> 10}, {"total_kb_used_omap", 0}, {"total_kb_used_meta", total.meta() >> 10}, {"total_kb_avail", total.avail >> 10},
		{"average_utilization", 100 * sp.average}, {"min_var", sp.least}, {"max_var", sp.most}, {"dev", sp.dev}}}}
}

// useOf sums the use of the OSDs below an item.
func (s *osdService) useOf(item int32, uses map[int32]osdUse) osdUse {
	if item >= 0 {
		return uses[item]
	}
	var sum osdUse
	for _, id := range devicesBelow(s.cur.Crush, item) {
		sum = sum.plus(uses[id])
	}
	return sum
}

func cmdUtilization(c *call) {
	s := c.m.osd
	uses := s.osdUses()
	var ids []int32
	sum := 0.0
	for _, id := range sortedKeys(uses) {
		if s.cur.IsIn(id) {
			ids, sum = append(ids, id), sum+float64(uses[id].pgs)
		}
	}
	if len(ids) == 0 {
		c.fail(wire.ENOENT, "no osd is in")
		return
	}
	avg, dev := sum/float64(len(ids)), 0.0
	least, most := ids[0], ids[0]
	for _, id := range ids {
		d := float64(uses[id].pgs) - avg
		dev += d * d
		if uses[id].pgs < uses[least].pgs {
			least = id
		}
		if uses[id].pgs > uses[most].pgs {
			most = id
		}
	}
	dev = math.Sqrt(dev / float64(len(ids)))
	baseline := math.Sqrt(avg * (1 - 1/float64(len(ids))))
	var b strings.Builder
	fmt.Fprintf(&b, "avg %s\nstddev %s (expected baseline %s)\n", short(avg), short(dev), short(baseline))
	for _, e := range []struct {
		word string
		id   int32
	}{{"min", least}, {"max", most}} {
		fmt.Fprintf(&b, "%s osd.%d with %d pgs (%s * mean)\n", e.word, e.id, uses[e.id].pgs, short(float64(uses[e.id].pgs)/max(avg, 1e-9)))
	}
	c.output(obj{{"avg_pgs", avg}, {"std_dev", dev}, {"expected_baseline_std_dev", baseline}, {"min_osd", least}, {"min_osd_pgs", uses[least].pgs},
		{"max_osd", most}, {"max_osd_pgs", uses[most].pgs}}, b.String())
}
