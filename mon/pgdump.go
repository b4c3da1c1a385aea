package mon

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spirula/spirula/rados/clustermap"
	"github.com/spirula/spirula/rados/wire"
)

// cmdPGDump shows what is known of placement groups, pools and OSDs, or
// those of the parts that are asked for.
func cmdPGDump(c *call, what []string, asJSON bool) {
	if len(what) == 0 {
		what = []string{"all"}
	}
	has := func(w string) bool { return slices.Contains(what, w) }
	if asJSON {
		c.show(c.m.osd.pgDump(has))
		return
	}
	s := c.m.osd
	var b strings.Builder
	all, sum := has("all"), has("summary") || has("sum")
	if all || sum || has("delta") {
		fmt.Fprintf(&b, "version %d\nstamp %s\nlast_osdmap_epoch %d\nlast_pg_scan 0\n", s.stats.version, stampOf(c.m.opts.Now()), s.cur.Epoch)
	}
	rows := s.pgRows(everyPG)
	switch {
	case all || has("pgs"):
		b.WriteString(pgTable(rows).String())
	case has("pgs_brief"):
		b.WriteString(briefTable(rows).String())
	}
	head := []string{"OBJECTS", "MISSING_ON_PRIMARY", "DEGRADED", "MISPLACED", "UNFOUND", "BYTES", "OMAP_BYTES*", "OMAP_KEYS*", "LOG", "DISK_LOG"}
	sums := s.poolSums()
	if all || has("pools") {
		t := newTable(append([]string{"<POOLID"}, head...)...)
		for _, id := range poolIDs(s.cur) {
			t.row(append([]any{id}, statCells(sums[id])...)...)
		}
		b.WriteString("\n"[:boolInt(all)] + t.String())
	}
	if all || sum {
		var total wire.PoolStat
		for _, r := range rows {
			r.r.add(&total)
		}
		if total.Detail == nil {
			total.Detail = &wire.PoolDetail{}
		}
		t := newTable(append([]string{"<PG_STAT"}, head...)...)
		t.row(append([]any{"sum"}, statCells(total)...)...)
		b.WriteString("\n"[:boolInt(all)] + t.String())
	}
	switch {
	case all || has("osds"):
		b.WriteString(s.osdTable().String())
	case sum:
		u := s.stats.usage()
		t := newTable("<OSD_STAT", "USED", "AVAIL", "USED_RAW", "TOTAL")
		t.row("sum", size(u.used), size(u.avail), size(u.used), size(u.total))
		b.WriteString(t.String())
	}
	if !has("osds") && !has("pgs_brief") {
		b.WriteString(omapNote)
	}
	c.finish(0, "dumped "+strings.Join(what, ","), []byte(b.String()))
}

func boolInt(b bool) int {
	if b {
		return 1
	}
	return 0
}

func statCells(p wire.PoolStat) []any {
	d := &p.Detail.Sums
	return []any{p.Objects, d.MissingOnPrimary, d.Degraded, d.Misplaced, d.Unfound, p.Bytes, p.OmapBytes, d.OmapKeys, p.Detail.LogSize, p.Detail.OnDiskLogSize}
}

func pgTable(rows []pgRow) *table {
	t := newTable("<PG_STAT", "OBJECTS", "MISSING_ON_PRIMARY", "DEGRADED", "MISPLACED", "UNFOUND", "BYTES", "OMAP_BYTES*", "OMAP_KEYS*", "LOG", "DISK_LOG", "STATE",
		"<STATE_STAMP", "VERSION", "REPORTED", "<UP", "UP_PRIMARY", "<ACTING", "ACTING_PRIMARY", "LAST_SCRUB", "<SCRUB_STAMP", "LAST_DEEP_SCRUB", "<DEEP_SCRUB_STAMP", "SNAPTRIMQ_LEN")
	for _, r := range rows {
		var st wire.PoolStat
		r.r.add(&st)
		scrub := clustermap.Stamp(r.r.LastDeepScrub)
		cells := append([]any{r.id}, statCells(st)...)
		t.row(append(cells, r.state, timeText(r.r.changed), r.r.ReportedVersion, fmt.Sprintf("%d:%d", r.r.ReportedVersion.Epoch, r.r.seq), osdList(r.at.Up), r.at.UpPrimary,
			osdList(r.at.Acting), r.at.ActingPrimary, wire.EVersion{}, scrub, wire.EVersion{}, scrub, 0)...)
	}
	return t
}

// timeText prints a time, that of never as Ceph does.
func timeText(t time.Time) string {
	if t.IsZero() {
		return clustermap.Stamp(0)
	}
	return stampOf(t)
}

func (s *osdService) osdTable() *table {
	t := newTable("<OSD_STAT", "USED", "AVAIL", "USED_RAW", "TOTAL", "HB_PEERS", "PG_SUM", "PRIMARY_PG_SUM")
	counts, primaries := s.pgPlaces()
	for _, id := range sortedKeys(s.stats.osds) {
		u := s.stats.osds[id].usage()
		t.row(id, size(u.used), size(u.avail), size(u.used), size(u.total), osdList(s.peersOf(id)), counts[id], primaries[id])
	}
	u := s.stats.usage()
	t.row("sum", size(u.used), size(u.avail), size(u.used), size(u.total))
	return t
}

// peersOf are the OSDs that one watches: all others that are up.
func (s *osdService) peersOf(id int32) (out []int32) {
	for i := range s.cur.OSDs {
		if o := int32(i); o != id && s.cur.IsUp(o) {
			out = append(out, o)
		}
	}
	return out
}

// pgPlaces counts the placement groups on OSDs, and those that they lead.
func (s *osdService) pgPlaces() (all, primary map[int32]int) {
	all, primary = map[int32]int{}, map[int32]int{}
	for id, p := range s.cur.Pools {
		for seed := range p.PGNum {
			m := s.cur.Map(wire.PGID{Pool: id, Seed: seed})
			for _, o := range m.Acting {
				all[o]++
			}
			primary[m.ActingPrimary]++
		}
	}
	return all, primary
}

// pgDump is the dump as JSON.
func (s *osdService) pgDump(has func(string) bool) obj {
	if !has("all") && !has("summary") && !has("sum") && !has("delta") {
		o := obj{{"pg_ready", true}}
		rows := s.pgRows(everyPG)
		if has("pgs") {
			o = append(o, member{"pg_stats", s.pgList(rows)})
		} else if has("pgs_brief") {
			list := []any{}
			for _, r := range rows {
				list = append(list, obj{{"pgid", r.id.String()}, {"state", r.state}, {"up", ints(r.at.Up)}, {"acting", ints(r.at.Acting)},
					{"up_primary", r.at.UpPrimary}, {"acting_primary", r.at.ActingPrimary}})
			}
			o = append(o, member{"pg_stats", list})
		}
		if has("pools") {
			o = append(o, member{"pool_stats", s.poolStatsJSON()})
		}
		if has("osds") {
			o = append(o, member{"osd_stats", s.osdStatsJSON()}, member{"pool_statfs", s.poolStatfs()})
		}
		return o
	}
	rows := s.pgRows(everyPG)
	var total wire.PoolStat
	for _, r := range rows {
		r.r.add(&total)
	}
	u := s.stats.usage()
	o := obj{{"version", s.stats.version}, {"stamp", stampOf(s.m.opts.Now())}, {"last_osdmap_epoch", s.cur.Epoch}, {"last_pg_scan", 0},
		{"pg_stats_sum", statObj(total)}, {"osd_stats_sum", s.osdObj(-1, u, len(rows))},
		{"pg_stats_delta", append(statObj(wire.PoolStat{}), member{"stamp_delta", "0.000000"})}}
	if has("all") {
		o = append(o, obj{{"pg_stats", s.pgList(rows)}, {"pool_stats", s.poolStatsJSON()}, {"osd_stats", s.osdStatsJSON()}, {"pool_statfs", s.poolStatfs()}}...)
	}
	return obj{{"pg_ready", true}, {"pg_map", o}}
}

func (s *osdService) pgList(rows []pgRow) []any {
	list := []any{}
	for _, r := range rows {
		list = append(list, s.pgObj(r))
	}
	return list
}

// sumsObj are the counters of objects.
func sumsObj(p wire.PoolStat) obj {
	var d wire.ObjectSums
	if p.Detail != nil {
		d = p.Detail.Sums
	}
	return obj{{"num_bytes", p.Bytes}, {"num_objects", p.Objects}, {"num_object_clones", p.Clones}, {"num_object_copies", d.Copies},
		{"num_objects_missing_on_primary", d.MissingOnPrimary}, {"num_objects_missing", d.Missing}, {"num_objects_degraded", d.Degraded},
		{"num_objects_misplaced", d.Misplaced}, {"num_objects_unfound", d.Unfound}, {"num_objects_dirty", d.Dirty}, {"num_whiteouts", d.Whiteouts},
		{"num_read", d.Reads}, {"num_read_kb", d.ReadKiB}, {"num_write", d.Writes}, {"num_write_kb", d.WriteKiB}, {"num_scrub_errors", d.ScrubErrors},
		{"num_shallow_scrub_errors", d.ShallowScrubErrors}, {"num_deep_scrub_errors", d.DeepScrubErrors}, {"num_objects_recovered", d.ObjectsRecovered},
		{"num_bytes_recovered", d.BytesRecovered}, {"num_keys_recovered", d.KeysRecovered}, {"num_objects_omap", d.WithOmap},
		{"num_objects_hit_set_archive", d.HitSetArchive}, {"num_bytes_hit_set_archive", d.HitSetBytes}, {"num_flush", d.Flushes}, {"num_flush_kb", d.FlushKiB},
		{"num_evict", d.Evictions}, {"num_evict_kb", d.EvictKiB}, {"num_promote", d.Promotions}, {"num_flush_mode_high", d.FlushHigh},
		{"num_flush_mode_low", d.FlushLow}, {"num_evict_mode_some", d.EvictSome}, {"num_evict_mode_full", d.EvictFull}, {"num_objects_pinned", d.Pinned},
		{"num_legacy_snapsets", d.LegacySnapSets}, {"num_large_omap_objects", d.LargeOmap}, {"num_objects_manifest", d.Manifests},
		{"num_omap_bytes", p.OmapBytes}, {"num_omap_keys", d.OmapKeys}, {"num_objects_repaired", d.Repaired}}
}

func storeObj(st wire.StoreSums) obj {
	return obj{{"total", st.Total}, {"available", st.Available}, {"internally_reserved", st.Reserved}, {"allocated", st.Allocated}, {"data_stored", st.Stored},
		{"data_compressed", st.Compressed}, {"data_compressed_allocated", st.CompressedAllocated}, {"data_compressed_original", st.CompressedOriginal},
		{"omap_allocated", st.OmapAllocated}, {"internal_metadata", st.InternalMetadata}}
}

// statObj are a pool's counters.
func statObj(p wire.PoolStat) obj {
	var d wire.PoolDetail
	if p.Detail != nil {
		d = *p.Detail
	}
	return obj{{"stat_sum", sumsObj(p)}, {"store_stats", storeObj(d.Store)}, {"log_size", d.LogSize}, {"ondisk_log_size", d.OnDiskLogSize},
		{"up", d.Up}, {"acting", d.Acting}, {"num_store_stats", d.StoresCounted}}
}

func (s *osdService) poolStatsJSON() []any {
	list, sums := []any{}, s.poolSums()
	for _, id := range poolIDs(s.cur) {
		list = append(list, append(obj{{"poolid", id}, {"num_pg", s.cur.Pools[id].PGNum}}, statObj(sums[id])...))
	}
	return list
}

// poolStatfs is each pool's share of the OSDs; who reports no more than sums
// has it all on the first.
func (s *osdService) poolStatfs() []any {
	list, sums := []any{}, s.poolSums()
	for _, id := range poolIDs(s.cur) {
		for _, o := range sortedKeys(s.stats.osds) {
			list = append(list, append(obj{{"poolid", id}, {"osd", o}}, storeObj(sums[id].Detail.Store)...))
			break
		}
	}
	return list
}

// osdObj is what an OSD reports about itself, or the sum with id -1.
func (s *osdService) osdObj(id int32, u usage, pgs int) obj {
	uses := s.osdUses()
	use, n := uses[id], 1
	o, peers, seq := obj{}, []int32{}, s.stats.osds[id].seq
	if id < 0 {
		n = len(s.stats.osds)
		_, use = s.spread(uses)
	} else {
		o, peers = obj{{"osd", id}}, ints(s.peersOf(id))
	}
	meta := use.meta()
	return append(o, obj{{"up_from", s.cur.Info(id).UpFrom}, {"seq", seq}, {"num_pgs", pgs}, {"num_osds", n}, {"num_per_pool_osds", n}, {"num_per_pool_omap_osds", n},
		{"kb", u.total >> 10}, {"kb_used", u.used >> 10}, {"kb_used_data", use.data >> 10}, {"kb_used_omap", 0}, {"kb_used_meta", meta >> 10}, {"kb_avail", u.avail >> 10},
		{"statfs", storeObj(wire.StoreSums{Total: int64(u.total), Available: int64(u.avail), Allocated: int64(use.data), Stored: int64(use.data), InternalMetadata: int64(meta)})},
		{"hb_peers", peers}, {"snap_trim_queue_len", 0}, {"num_snap_trimming", 0}, {"num_shards_repaired", 0},
		{"op_queue_age_hist", obj{{"histogram", []any{}}, {"upper_bound", 1}}}, {"perf_stat", perfStat()}, {"alerts", []any{}}, {"network_ping_times", []any{}}}...)
}

func (s *osdService) osdStatsJSON() []any {
	list := []any{}
	counts, _ := s.pgPlaces()
	for _, id := range sortedKeys(s.stats.osds) {
		list = append(list, s.osdObj(id, s.stats.osds[id].usage(), counts[id]))
	}
	return list
}

// pgObj is all about one placement group.
func (s *osdService) pgObj(r pgRow) obj {
	zero := wire.EVersion{}.String()
	fresh, changed, active, clean := timeText(r.r.reported), timeText(r.r.changed), timeText(r.r.active), timeText(r.r.clean)
	scrub := clustermap.Stamp(r.r.LastDeepScrub)
	d := r.r.detail()
	st := r.r.Stat
	st.Detail = &d
	return obj{{"pgid", r.id.String()}, {"version", r.r.ReportedVersion.String()}, {"reported_seq", r.r.seq}, {"reported_epoch", r.r.ReportedVersion.Epoch},
		{"state", r.state}, {"last_fresh", fresh}, {"last_change", changed}, {"last_active", active}, {"last_peered", active}, {"last_clean", clean},
		{"last_became_active", changed}, {"last_became_peered", changed}, {"last_unstale", fresh}, {"last_undegraded", fresh}, {"last_fullsized", fresh},
		{"mapping_epoch", 0}, {"log_start", zero}, {"ondisk_log_start", zero}, {"created", 0}, {"last_epoch_clean", r.r.LastEpochClean}, {"parent", "0.0"},
		{"parent_split_bits", 0}, {"last_scrub", zero}, {"last_scrub_stamp", scrub}, {"last_deep_scrub", zero}, {"last_deep_scrub_stamp", scrub},
		{"last_clean_scrub_stamp", scrub}, {"log_size", d.LogSize}, {"ondisk_log_size", d.OnDiskLogSize}, {"stats_invalid", false}, {"dirty_stats_invalid", false},
		{"omap_stats_invalid", false}, {"hitset_stats_invalid", false}, {"hitset_bytes_stats_invalid", false}, {"pin_stats_invalid", false},
		{"manifest_stats_invalid", false}, {"snaptrimq_len", 0}, {"stat_sum", sumsObj(st)}, {"up", ints(r.at.Up)}, {"acting", ints(r.at.Acting)},
		{"avail_no_missing", []any{}}, {"object_location_counts", []any{}}, {"blocked_by", []any{}}, {"up_primary", r.at.UpPrimary},
		{"acting_primary", r.at.ActingPrimary}, {"purged_snaps", []any{}}}
}
