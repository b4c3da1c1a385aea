package mon

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/spirula/spirula/rados/clustermap"
	"github.com/spirula/spirula/rados/wire"
)

// poolFlags are the settings that are bits of the pool's flags.
var poolFlags = map[string]clustermap.PoolFlag{
	"hashpspool": clustermap.PoolHashPSPool, "nodelete": clustermap.PoolNoDelete, "nopgchange": clustermap.PoolNoPGChange,
	"nosizechange": clustermap.PoolNoSizeChange, "write_fadvise_dontneed": clustermap.PoolFadviseDontNeed, "noscrub": clustermap.PoolNoScrub,
	"nodeep-scrub": clustermap.PoolNoDeepScrub, "bulk": clustermap.PoolBulk, "eio": clustermap.PoolEIO}

// poolOpts are the settings that lie in the pool's list of options: their
// keys, and what values they take.
var poolOpts = func() map[string]poolOpt {
	kinds := map[string]poolOpt{
		"compression_mode":      {kind: 0, values: []string{"none", "passive", "aggressive", "force", "unset"}},
		"compression_algorithm": {kind: 0, values: []string{"none", "snappy", "zlib", "zstd", "lz4", "unset"}},
		"csum_type":             {kind: 1, numbered: map[string]int64{"none": 1, "xxhash32": 2, "xxhash64": 3, "crc32c": 4, "crc32c_16": 5, "crc32c_8": 6}},
		"fingerprint_algorithm": {kind: 0, values: []string{"sha1", "sha256", "sha512", "none", "unset"}},
		"dedup_chunk_algorithm": {kind: 0, values: []string{"fastcdc", "fixed", "unset"}},
		"dedup_tier":            {kind: 1},
	}
	for _, n := range []string{"scrub_min_interval", "scrub_max_interval", "deep_scrub_interval", "compression_required_ratio", "target_size_ratio", "pg_autoscale_bias", "read_lease_interval"} {
		kinds[n] = poolOpt{kind: 2}
	}
	for key := int32(0); clustermap.PoolOptName(key) != ""; key++ {
		name := clustermap.PoolOptName(key)
		o, ok := kinds[name]
		if !ok {
			o.kind = 1
		}
		o.key = key
		kinds[name] = o
	}
	return kinds
}()

// poolOpt is a setting of the list: kind as in clustermap.PoolOpt.
type poolOpt struct {
	key      int32
	kind     int32
	values   []string         // that a text may be
	numbered map[string]int64 // names of numbers
}

// Settings of features that pools here do not have.
var (
	tierSettings = []string{"hit_set_type", "hit_set_period", "hit_set_count", "hit_set_fpp", "use_gmt_hitset", "target_max_objects", "target_max_bytes",
		"cache_target_dirty_ratio", "cache_target_dirty_high_ratio", "cache_target_full_ratio", "cache_min_flush_age", "cache_min_evict_age",
		"min_read_recency_for_promote", "min_write_recency_for_promote", "hit_set_grade_decay_rate", "hit_set_search_last_n"}
	erasureSettings = []string{"erasure_code_profile", "allow_ec_overwrites"}
	numberSettings  = []string{"size", "min_size", "pg_num", "pgp_num", "pgp_num_actual", "crush_rule", "fast_read", "pg_autoscale_mode"}
)

// settingNames lists all settings of pools.
func settingNames() []string {
	names := slices.Concat(numberSettings, sortedKeys(poolFlags), sortedKeys(poolOpts), tierSettings, erasureSettings)
	return slices.Compact(names)
}

// settingValue gives a setting: a value for JSON, and as text. known is false
// for one that is not set.
func settingValue(m *clustermap.OSDMap, p *clustermap.Pool, name string) (v any, text string, known bool) {
	if f, ok := poolFlags[name]; ok {
		on := p.Flags&f != 0
		return on, strconv.FormatBool(on), true
	}
	if o, ok := poolOpts[name]; ok {
		val, set := p.Opts[o.key]
		switch {
		case !set:
			return nil, "", false
		case o.numbered != nil:
			for n, i := range o.numbered {
				if i == val.Int {
					return n, n, true
				}
			}
			return val.Int, strconv.FormatInt(val.Int, 10), true
		case o.kind == 0:
			return val.Str, val.Str, true
		case o.kind == 2:
			return val.Float, short(val.Float), true
		}
		return val.Int, strconv.FormatInt(val.Int, 10), true
	}
	n := int64(-1)
	switch name {
	case "size":
		n = int64(p.Size)
	case "min_size":
		n = int64(p.MinSize)
	case "pg_num":
		n = int64(p.PGNum)
	case "pgp_num", "pgp_num_actual":
		n = int64(p.PGPNum)
	case "fast_read":
		n = 0
		if p.FastRead {
			n = 1
		}
	case "use_gmt_hitset":
		return true, "1", true
	case "crush_rule":
		rule := m.Crush.RuleNames[int32(p.CrushRule)]
		return rule, rule, true
	case "pg_autoscale_mode":
		names := clustermap.AutoscaleNames()
		mode := names[min(int(p.AutoscaleMode), len(names)-1)]
		return mode, mode, true
	default:
		return nil, "", false
	}
	return n, strconv.FormatInt(n, 10), true
}

func cmdPoolGet(c *call) {
	id, ok := c.pool("pool")
	if !ok {
		return
	}
	m, name, key := c.m.osd.view(), c.args.str("pool"), c.args.str("var")
	p := m.Pool(id)
	out, text := obj{{"pool", name}, {"pool_id", id}}, ""
	if key == "all" {
		order := slices.Concat([]string{"size", "min_size", "pg_num", "pgp_num", "crush_rule", "hashpspool", "nodelete", "nopgchange", "nosizechange",
			"write_fadvise_dontneed", "noscrub", "nodeep-scrub", "use_gmt_hitset", "fast_read"}, sortedKeys(poolOpts), []string{"pg_autoscale_mode", "bulk"})
		for _, k := range order {
			if v, t, known := settingValue(m, p, k); known {
				out = append(out, member{k, v})
				text += k + ": " + t + "\n"
			}
		}
		c.output(out, text)
		return
	}
	v, t, known := settingValue(m, p, key)
	switch {
	case known:
		c.output(append(out, member{key, v}), key+": "+t+"\n")
	case poolOpts[key].key != 0 || key == clustermap.PoolOptName(0):
		c.fail(wire.ENOENT, "option '%s' is not set on pool '%s'", key, name)
	case slices.Contains(tierSettings, key):
		c.fail(wire.EACCES, "pool '%s' is not a tier pool: variable not applicable", name)
	case slices.Contains(erasureSettings, key):
		c.fail(wire.EACCES, "pool '%s' is not a erasure pool: variable not applicable", name)
	default:
		c.fail(wire.EINVAL, "no such setting: %s", key)
	}
}

func cmdPoolSet(c *call) {
	id, ok := c.pool("pool")
	if !ok {
		return
	}
	key, val := c.args.str("var"), c.args.str("val")
	view := c.m.osd.view()
	p := view.Pool(id).Clone()
	if status, e := c.setSetting(view, p, key, val); e != 0 {
		c.fail(e, "%s", status)
		return
	}
	c.m.osd.change(true, c.committed("set pool %d %s to %s", id, key, val)).NewPools[id] = p
}

// setSetting changes a setting of p.
func (c *call) setSetting(view *clustermap.OSDMap, p *clustermap.Pool, key, val string) (status string, e wire.Errno) {
	if f, ok := poolFlags[key]; ok {
		return c.setPoolFlag(p, key, f, val)
	}
	if o, ok := poolOpts[key]; ok {
		return setPoolOpt(view, p, key, o, val)
	}
	if slices.Contains(tierSettings, key) {
		return fmt.Sprintf("%s: cache tiers neither flush nor evict here", key), wire.EOPNOTSUPP
	}
	if slices.Contains(erasureSettings, key) {
		return key + ": pools with erasure codes are not supported", wire.EINVAL
	}
	switch key {
	case "crush_rule":
		rule, ok := view.Crush.RuleByName(val)
		if !ok || rule > math.MaxUint8 {
			return fmt.Sprintf("crush rule %s does not exist", val), wire.ENOENT
		}
		p.CrushRule = uint8(rule)
		return "", 0
	case "pg_autoscale_mode":
		i := slices.Index(clustermap.AutoscaleNames(), val)
		if i < 0 {
			return "specified invalid mode " + val, wire.EINVAL
		}
		p.AutoscaleMode = uint8(i)
		return "", 0
	}
	n, err := strconv.ParseInt(val, 10, 64)
	if err != nil {
		return fmt.Sprintf("error parsing integer value '%s': Expected option value to be integer, got '%s'", val, val), wire.EINVAL
	}
	switch key {
	case "size":
		return c.setSize(p, n)
	case "min_size":
		if n < 1 || n > int64(p.Size) {
			return fmt.Sprintf("pool min_size must be between 1 and size, which is set to %d", p.Size), wire.EINVAL
		}
		p.MinSize = uint8(n)
	case "pg_num":
		return c.setPGNum(view, p, n)
	case "pgp_num", "pgp_num_actual":
		switch {
		case p.Flags&clustermap.PoolNoPGChange != 0:
			return "pool pgp_num change is disabled; you must unset nopgchange flag for the pool first", wire.EPERM
		case n <= 0:
			return fmt.Sprintf("specified pgp_num must > 0, but you set to %d", n), wire.EINVAL
		case n > int64(p.PGNum):
			return fmt.Sprintf("specified pgp_num %d > pg_num %d", n, p.PGNum), wire.EINVAL
		}
		p.PGPNum, p.PGPNumTarget = uint32(n), uint32(n)
	case "fast_read":
		return "fast read is not supported in replication pools", wire.EINVAL
	default:
		return "unrecognized variable '" + key + "'", wire.EINVAL
	}
	return "", 0
}

func (c *call) setSize(p *clustermap.Pool, n int64) (status string, e wire.Errno) {
	switch {
	case p.Flags&clustermap.PoolNoSizeChange != 0:
		return "pool size change is disabled; you must unset nosizechange flag for the pool first", wire.EPERM
	case n < 1 || n > maxPoolSize:
		return fmt.Sprintf("pool size must be between 1 and %d", maxPoolSize), wire.EINVAL
	case n == 1 && p.Size != 1 && !c.m.optionTrue("mon_allow_pool_size_one"):
		return "configuring pool size as 1 is disabled by default.", wire.EPERM
	case n == 1 && p.Size != 1 && !c.args.sure():
		return "WARNING: setting pool size 1 could lead to data loss without recovery. If you are *ABSOLUTELY CERTAIN* that is what you want, pass the flag --yes-i-really-mean-it.", wire.EPERM
	case uint8(n) != p.Size:
		p.Size = uint8(n)
		p.MinSize = uint8(max(1, n-n/2))
	}
	return "", 0
}

func (c *call) setPoolFlag(p *clustermap.Pool, key string, f clustermap.PoolFlag, val string) (status string, e wire.Errno) {
	on := val == "true" || val == "1"
	switch {
	case !on && val != "false" && val != "0":
		return "expecting value 'true', 'false', '0', or '1'", wire.EINVAL
	case key == "hashpspool" && !c.args.sure():
		return "are you SURE?  this will remap all placement groups in this pool, this triggers large data movement, pass --yes-i-really-mean-it if you really do.", wire.EPERM
	case on:
		p.Flags |= f
	default:
		p.Flags &^= f
	}
	return "", 0
}

func setPoolOpt(view *clustermap.OSDMap, p *clustermap.Pool, key string, o poolOpt, val string) (status string, e wire.Errno) {
	v := clustermap.PoolOpt{Kind: o.kind}
	unset := val == "unset" || val == "" || val == "0" && o.kind != 0 && o.numbered == nil
	switch {
	case o.values != nil && !slices.Contains(o.values, val):
		return fmt.Sprintf("unrecognized %s '%s'", strings.ReplaceAll(key, "_", " "), val), wire.EINVAL
	case o.numbered != nil:
		n, ok := o.numbered[val]
		if !ok {
			return fmt.Sprintf("unrecognized %s '%s'", key, val), wire.EINVAL
		}
		v.Int = n
	case key == "dedup_tier":
		id, ok := view.PoolByName(val)
		if !ok {
			return fmt.Sprintf("unrecognized pool '%s'", val), wire.ENOENT
		}
		v.Int = id
	case o.kind == 0:
		v.Str = val
	case o.kind == 2:
		f, ok := args{"v": val}.float("v", 0)
		if !ok || f < 0 {
			return fmt.Sprintf("error parsing floating point value '%s'", val), wire.EINVAL
		}
		v.Float = f
	default:
		n, err := strconv.ParseInt(val, 10, 64)
		if err != nil {
			return fmt.Sprintf("error parsing int value '%s'", val), wire.EINVAL
		}
		v.Int = n
	}
	if p.Opts == nil {
		p.Opts = map[int32]clustermap.PoolOpt{}
	}
	p.Opts[o.key] = v
	if unset {
		delete(p.Opts, o.key)
	}
	return "", 0
}
