package clustermap

import (
	"fmt"
	"iter"
	"slices"
	"strings"
)

// optNames are the keys of Pool.Opts.
var optNames = []string{"scrub_min_interval", "scrub_max_interval", "deep_scrub_interval", "recovery_priority",
	"recovery_op_priority", "scrub_priority", "compression_mode", "compression_algorithm", "compression_required_ratio",
	"compression_max_blob_size", "compression_min_blob_size", "csum_type", "csum_max_block", "csum_min_block",
	"fingerprint_algorithm", "pg_num_min", "target_size_bytes", "target_size_ratio", "pg_autoscale_bias",
	"read_lease_interval", "dedup_tier", "dedup_chunk_algorithm", "dedup_cdc_chunk_size", "pg_num_max"}

var autoscaleNames = []string{"off", "warn", "on"}

var cacheModeNames = []string{"none", "writeback", "forward", "readonly", "readforward", "readproxy", "proxy"}

func nameOf(names []string, i uint8) string {
	if int(i) < len(names) {
		return names[i]
	}
	return "unknown"
}

// String is the mode's name.
func (m CacheMode) String() string { return nameOf(cacheModeNames, uint8(m)) }

// AutoscaleNames are the names of Pool.AutoscaleMode's values.
func AutoscaleNames() []string { return slices.Clone(autoscaleNames) }

// PoolOptName is the name of a key of Pool.Opts, "" for one that is not known.
func PoolOptName(key int32) string {
	if key < 0 || int(key) >= len(optNames) {
		return ""
	}
	return optNames[key]
}

// PoolJSON gives a pool as "osd pool ls detail" lists it, nil if there is no
// such pool.
func (m *OSDMap) PoolJSON(id int64) []byte {
	p := m.Pools[id]
	if p == nil {
		return nil
	}
	w := &jsonWriter{}
	w.object(func() { p.json(w, "pool_id", id, m.PoolNames[id]) })
	return w.b
}

// PoolText gives the lines about a pool as Dump writes them; "" if there is no
// such pool.
func (m *OSDMap) PoolText(id int64) string {
	var b []byte
	if p := m.Pools[id]; p != nil {
		p.dump(func(format string, args ...any) { b = fmt.Appendf(b, format, args...) }, id, m.PoolNames[id])
	}
	return string(b)
}

func (p *Pool) json(w *jsonWriter, key string, id int64, name string) {
	w.num(key, id)
	w.text("pool_name", name)
	w.text("create_time", stamp(p.CreateTime))
	w.uint("flags", uint64(p.Flags))
	w.text("flags_names", strings.Join(p.Flags.FlagNames(), ","))
	w.num("type", int64(p.Type))
	w.num("size", int64(p.Size))
	w.num("min_size", int64(p.MinSize))
	w.num("crush_rule", int64(p.CrushRule))
	w.num("peering_crush_bucket_count", 0)
	w.num("peering_crush_bucket_target", 0)
	w.num("peering_crush_bucket_barrier", 0)
	w.num("peering_crush_bucket_mandatory_member", int64(None))
	w.num("object_hash", int64(p.ObjectHash))
	w.text("pg_autoscale_mode", nameOf(autoscaleNames, p.AutoscaleMode))
	w.uint("pg_num", uint64(p.PGNum))
	w.uint("pg_placement_num", uint64(p.PGPNum))
	w.uint("pg_placement_num_target", uint64(p.PGPNumTarget))
	w.uint("pg_num_target", uint64(p.PGNumTarget))
	w.uint("pg_num_pending", uint64(p.PGNumPending))
	w.member("last_pg_merge_meta", func() {
		w.text("source_pgid", p.Merge.Source.String())
		w.uint("ready_epoch", uint64(p.Merge.ReadyEpoch))
		w.uint("last_epoch_started", uint64(p.Merge.LastEpochStarted))
		w.uint("last_epoch_clean", uint64(p.Merge.LastEpochClean))
		w.text("source_version", p.Merge.SourceVersion.String())
		w.text("target_version", p.Merge.TargetVersion.String())
	})
	w.text("last_change", fmt.Sprint(p.LastChange))
	w.text("last_force_op_resend", fmt.Sprint(p.LastForceResend))
	w.text("last_force_op_resend_prenautilus", fmt.Sprint(p.LastForceResendPreNautilus))
	w.text("last_force_op_resend_preluminous", fmt.Sprint(p.LastForceResendPreLuminous))
	p.jsonSnaps(w)
	p.jsonRest(w)
}

func (p *Pool) jsonSnaps(w *jsonWriter) {
	w.uint("auid", p.carried.auid)
	mode := "selfmanaged"
	if p.Flags&PoolPoolSnaps != 0 {
		mode = "pool"
	}
	w.text("snap_mode", mode)
	w.uint("snap_seq", uint64(p.SnapSeq))
	w.uint("snap_epoch", uint64(p.SnapEpoch))
	w.array("pool_snaps", func() {
		for _, id := range sortedKeys(p.Snaps) {
			s := p.Snaps[id]
			w.object(func() {
				w.uint("snapid", uint64(s.ID))
				w.text("stamp", stamp(s.Stamp))
				w.text("name", s.Name)
			})
		}
	})
	w.text("removed_snaps", p.RemovedSnaps.String())
}

func (p *Pool) jsonRest(w *jsonWriter) {
	c := &p.carried
	w.uint("quota_max_bytes", p.QuotaMaxBytes)
	w.uint("quota_max_objects", p.QuotaMaxObjects)
	w.array("tiers", func() {
		for _, t := range p.Tiers {
			w.number(int64(t))
		}
	})
	w.num("tier_of", p.TierOf)
	w.num("read_tier", p.ReadTier)
	w.num("write_tier", p.WriteTier)
	w.text("cache_mode", p.CacheMode.String())
	w.uint("target_max_bytes", c.targetBytes)
	w.uint("target_max_objects", c.targetObjs)
	w.uint("cache_target_dirty_ratio_micro", uint64(c.dirty))
	w.uint("cache_target_dirty_high_ratio_micro", uint64(c.dirtyHigh))
	w.uint("cache_target_full_ratio_micro", uint64(c.full))
	w.uint("cache_min_flush_age", uint64(c.minFlush))
	w.uint("cache_min_evict_age", uint64(c.minEvict))
	w.text("erasure_code_profile", p.ECProfile)
	w.member("hit_set_params", func() { w.text("type", "none") })
	w.uint("hit_set_period", uint64(c.hitSetPeriod))
	w.uint("hit_set_count", uint64(c.hitSetN))
	w.bool("use_gmt_hitset", c.useGMT)
	w.num("min_read_recency_for_promote", int64(c.minReadRec))
	w.num("min_write_recency_for_promote", int64(c.minWriteRec))
	w.num("hit_set_grade_decay_rate", int64(c.gradeDecay))
	w.num("hit_set_search_last_n", int64(c.searchLast))
	w.array("grade_table", func() {})
	w.uint("stripe_width", uint64(p.StripeWidth))
	w.uint("expected_num_objects", p.ExpectedObjects)
	w.bool("fast_read", p.FastRead)
	w.member("options", func() { p.jsonOpts(w) })
	w.member("application_metadata", func() {
		for _, app := range sortedKeys(p.Applications) {
			w.strings(app, p.Applications[app])
		}
	})
}

// sortedOpts gives the options by name, in the order of names.
func (p *Pool) sortedOpts() iter.Seq2[string, PoolOpt] {
	return func(yield func(string, PoolOpt) bool) {
		byName := map[string]PoolOpt{}
		for k, o := range p.Opts {
			if k >= 0 && int(k) < len(optNames) {
				byName[optNames[k]] = o
			}
		}
		for _, name := range sortedKeys(byName) {
			if !yield(name, byName[name]) {
				return
			}
		}
	}
}

func (p *Pool) jsonOpts(w *jsonWriter) {
	for name, o := range p.sortedOpts() {
		switch o.Kind {
		case 0:
			w.text(name, o.Str)
		case 1:
			w.num(name, o.Int)
		case 2:
			w.float(name, o.Float)
		}
	}
}
