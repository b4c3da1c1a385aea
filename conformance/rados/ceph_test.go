package rados

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

func newCeph(t *testing.T) *shell {
	t.Helper()
	needs(t, "rados", "ceph")
	t.Parallel()
	return newShell(t, judged(t))
}

func (s *shell) ceph(args ...string) string {
	s.Helper()
	return s.run("ceph", args...)
}

// cephSays is `ceph args...` whose plain text has all the words; ceph prints
// some of it on standard error.
func (s *shell) cephSays(words []string, args ...string) string {
	s.Helper()
	r := s.try("ceph", args...)
	if r.status != 0 {
		s.Fatalf("ceph %s: status %d\n%s%s", strings.Join(args, " "), r.status, r.out, r.errs)
	}
	for _, w := range words {
		if !strings.Contains(r.out+r.errs, w) {
			s.Errorf("ceph %s: %q is not in\n%s%s", strings.Join(args, " "), w, r.out, r.errs)
		}
	}
	return r.out
}

// cephFails is `ceph args...` that ends with an errno and says it.
func (s *shell) cephFails(errno int, says string, args ...string) {
	s.Helper()
	s.fails(errno, says, "ceph", args...)
}

// cephJSON is `ceph args... -f json`, which must have every path of keys:
// "a.b" is key b of key a, and "a[].b" is key b in every element of list a,
// which has one at least.
func (s *shell) cephJSON(keys []string, args ...string) any {
	s.Helper()
	var v any
	s.decode(s.ceph(append(args, "-f", "json")...), &v)
	for _, k := range keys {
		if err := lookFor(v, k); err != nil {
			s.Errorf("ceph %s -f json: %s: %v", strings.Join(args, " "), k, err)
		}
	}
	return v
}

var pathElement = regexp.MustCompile(`^\.?([^.[\]]+)|^\[\]`)

func lookFor(v any, path string) error {
	if path == "" {
		return nil
	}
	m := pathElement.FindStringSubmatch(path)
	if m == nil {
		return fmt.Errorf("bad path %q", path)
	}
	rest := path[len(m[0]):]
	if m[1] == "" {
		list, ok := v.([]any)
		if !ok || len(list) == 0 {
			return fmt.Errorf("no list with elements before %q: %v", path, v)
		}
		for _, e := range list {
			if err := lookFor(e, rest); err != nil {
				return err
			}
		}
		return nil
	}
	e, ok := v.(map[string]any)[m[1]]
	if !ok {
		return fmt.Errorf("no %q in %.300v", m[1], v)
	}
	return lookFor(e, rest)
}

// at gives what is at a path of keys, or nil.
func at(v any, path ...string) any {
	for _, k := range path {
		m, _ := v.(map[string]any)
		v = m[k]
	}
	return v
}

func TestCephStatus(t *testing.T) {
	s := newCeph(t)
	p := &pooled{s, s.pool()}
	p.write("a", make([]byte, 1000))
	p.rados("put", "o", "a")
	s.eventually(time.Minute, "all placement groups are active+clean", func() bool {
		v := s.cephJSON([]string{"fsid", "health.status", "health.checks", "quorum", "quorum_names", "monmap.num_mons", "monmap.epoch", "osdmap.epoch",
			"osdmap.num_osds", "osdmap.num_up_osds", "osdmap.num_in_osds", "pgmap.num_pgs", "pgmap.num_pools", "pgmap.num_objects", "pgmap.data_bytes", "pgmap.bytes_used",
			"pgmap.bytes_avail", "pgmap.bytes_total", "pgmap.pgs_by_state[].state_name", "pgmap.pgs_by_state[].count", "fsmap.epoch", "mgrmap.available", "servicemap"}, "status")
		states := at(v, "pgmap", "pgs_by_state").([]any)
		return len(states) == 1 && at(states[0], "state_name") == "active+clean" && at(states[0], "count") == at(v, "pgmap", "num_pgs")
	})
	s.cephSays([]string{"cluster:", "id:", "health: HEALTH_", "services:", "mon: 1 daemons, quorum", "mgr:", "osd:", " up (since", " in (since", "data:", "pools:", "objects:", "usage:", "pgs:", "active+clean"}, "-s")
	s.cephSays([]string{"HEALTH_"}, "health")
	s.cephSays([]string{"HEALTH_"}, "health", "detail")
	s.cephJSON([]string{"status", "checks", "mutes"}, "health", "detail")
	if fsid := strings.TrimSpace(s.ceph("fsid")); fsid != at(s.cephJSON(nil, "-s"), "fsid") || len(fsid) != 36 {
		t.Errorf("fsid: %s", fsid)
	}
}

func TestCephHealthWarnsOfAFlag(t *testing.T) {
	s := newCeph(t)
	s.cephSays([]string{"noscrub is set"}, "osd", "set", "noscrub")
	s.eventually(30*time.Second, "health tells of noscrub", func() bool {
		return strings.Contains(s.ceph("health", "detail"), "noscrub flag(s) set")
	})
	if v := s.cephJSON([]string{"checks.OSDMAP_FLAGS.severity", "checks.OSDMAP_FLAGS.summary.message"}, "health"); at(v, "status") != "HEALTH_WARN" {
		t.Errorf("%v", v)
	}
	s.cephSays([]string{"noscrub"}, "osd", "dump")
	s.cephSays([]string{"noscrub is unset"}, "osd", "unset", "noscrub")
	s.eventually(30*time.Second, "health no longer tells of noscrub", func() bool {
		return !strings.Contains(s.ceph("health", "detail"), "noscrub")
	})
	s.cephFails(22, "EINVAL", "osd", "set", "nonsense")
}

func TestCephDf(t *testing.T) {
	s := newCeph(t)
	p := &pooled{s, s.pool()}
	p.write("a", make([]byte, 4<<20))
	p.rados("put", "o", "a")
	keys := []string{"stats.total_bytes", "stats.total_avail_bytes", "stats.total_used_bytes", "stats.total_used_raw_bytes", "stats.total_used_raw_ratio", "stats.num_osds",
		"stats_by_class", "pools[].name", "pools[].id", "pools[].stats.stored", "pools[].stats.objects", "pools[].stats.kb_used", "pools[].stats.bytes_used",
		"pools[].stats.percent_used", "pools[].stats.max_avail"}
	s.eventually(time.Minute, "df counts one object of 4 MiB", func() bool {
		for _, pool := range s.cephJSON(keys, "df").(map[string]any)["pools"].([]any) {
			if at(pool, "name") == p.name {
				return at(pool, "stats", "objects") == 1.0 && at(pool, "stats", "stored") == float64(4<<20)
			}
		}
		t.Fatalf("ceph df does not show %s", p.name)
		return false
	})
	s.cephSays([]string{"--- RAW STORAGE ---", "RAW USED", "%RAW USED", "TOTAL", "--- POOLS ---", "STORED", "OBJECTS", "MAX AVAIL", p.name, "4 MiB"}, "df")
	s.cephJSON(append(keys, "pools[].stats.quota_objects", "pools[].stats.quota_bytes", "pools[].stats.dirty", "pools[].stats.rd", "pools[].stats.wr", "pools[].stats.rd_bytes",
		"pools[].stats.wr_bytes", "pools[].stats.stored_raw"), "df", "detail")
	s.cephSays([]string{"QUOTA OBJECTS", "DIRTY", p.name}, "df", "detail")
}

func TestCephOSDs(t *testing.T) {
	s := newCeph(t)
	s.cephJSON([]string{"nodes[].id", "nodes[].name", "nodes[].type", "nodes[].type_id", "stray"}, "osd", "tree")
	s.cephSays([]string{"ID", "CLASS", "WEIGHT", "TYPE NAME", "STATUS", "REWEIGHT", "PRI-AFF", "root default", "host ", "osd.0", "up"}, "osd", "tree")
	s.cephJSON([]string{"nodes[].id", "nodes[].kb", "nodes[].kb_used", "nodes[].kb_avail", "nodes[].utilization", "nodes[].pgs", "nodes[].status", "nodes[].reweight", "summary.total_kb",
		"summary.total_kb_used", "summary.total_kb_avail", "summary.average_utilization"}, "osd", "df")
	s.cephSays([]string{"RAW USE", "AVAIL", "%USE", "PGS", "TOTAL", "MIN/MAX VAR"}, "osd", "df")
	s.cephJSON([]string{"epoch", "fsid", "created", "modified", "flags", "flags_set", "pool_max", "max_osd", "require_osd_release", "osds[].osd", "osds[].uuid", "osds[].up", "osds[].in",
		"osds[].weight", "osds[].up_from", "osds[].public_addrs.addrvec", "osds[].public_addr", "osds[].state", "pools", "pg_upmap", "pg_temp", "primary_temp", "blocklist", "erasure_code_profiles",
		"full_ratio", "backfillfull_ratio", "nearfull_ratio", "crush_version", "osd_xinfo", "removed_snaps_queue", "new_purged_snaps"}, "osd", "dump")
	s.cephSays([]string{"epoch ", "fsid ", "flags ", "crush_version ", "full_ratio ", "require_osd_release pacific", "max_osd ", "osd.0 up   in  weight 1"}, "osd", "dump")
	s.cephJSON([]string{"epoch", "num_osds", "num_up_osds", "num_in_osds", "num_remapped_pgs"}, "osd", "stat")
	s.cephSays([]string{"osds: ", " up (since ", " in (since ", "epoch: e"}, "osd", "stat")
	s.cephSays([]string{"0"}, "osd", "ls")
	s.cephSays([]string{"max_osd = "}, "osd", "getmaxosd")
	s.cephJSON([]string{"version", "release", "release_type"}, "tell", "osd.0", "version")
	s.cephJSON([]string{"osd", "addrs.addrvec", "host", "crush_location"}, "osd", "find", "0")
	s.cephJSON([]string{"id", "hostname", "ceph_version", "ceph_release"}, "osd", "metadata", "0")
	s.cephFails(2, "ENOENT", "osd", "find", "999")
	s.cephFails(2, "problem getting command descriptions from osd.999", "tell", "osd.999", "version")
	s.cephFails(22, "EINVAL", "tell", "osd.0", "nonsense")
}

func TestCephMarksAnOSDOutAndIn(t *testing.T) {
	s := newCeph(t)
	in := func() float64 { return at(s.cephJSON(nil, "osd", "stat"), "num_in_osds").(float64) }
	before := in()
	s.cephSays([]string{"marked out osd.0"}, "osd", "out", "0")
	if n := in(); n != before-1 {
		t.Errorf("%v in, want %v", n, before-1)
	}
	s.cephSays([]string{"osd.0 is already out"}, "osd", "out", "osd.0")
	s.cephSays([]string{"marked in osd.0"}, "osd", "in", "0")
	if n := in(); n != before {
		t.Errorf("%v in, want %v", n, before)
	}
	s.cephSays([]string{"reweighted osd.0 to 0.5"}, "osd", "reweight", "0", "0.5")
	s.cephSays([]string{"reweighted osd.0 to 1"}, "osd", "reweight", "0", "1")
}

func TestCephPools(t *testing.T) {
	s := newCeph(t)
	name := s.pool() + "-by-hand"
	s.cephSays([]string{"pool '" + name + "' created"}, "osd", "pool", "create", name, "4", "4", "replicated")
	s.cephSays([]string{"already exists"}, "osd", "pool", "create", name)
	if out := s.ceph("osd", "pool", "ls"); !slices.Contains(strings.Split(out, "\n"), name) {
		t.Errorf("pool ls: %s", out)
	}
	s.cephSays([]string{"'" + name + "' replicated size ", " min_size ", " crush_rule ", " object_hash rjenkins pg_num 4 pgp_num 4 "}, "osd", "pool", "ls", "detail")
	s.cephJSON([]string{"[].pool_id", "[].pool_name", "[].type", "[].size", "[].min_size", "[].crush_rule", "[].pg_num", "[].pg_placement_num", "[].application_metadata", "[].flags_names", "[].snap_seq"}, "osd", "pool", "ls", "detail")
	s.cephSays([]string{" " + name}, "osd", "lspools")
	s.cephJSON([]string{"[].poolnum", "[].poolname"}, "osd", "lspools")

	s.cephSays([]string{"pg_num: 4"}, "osd", "pool", "get", name, "pg_num")
	if v := s.cephJSON([]string{"pool", "pool_id"}, "osd", "pool", "get", name, "pg_num"); at(v, "pg_num") != 4.0 {
		t.Errorf("pool get: %v", v)
	}
	s.cephJSON([]string{"size", "min_size", "pg_num", "pgp_num", "crush_rule", "nodelete"}, "osd", "pool", "get", name, "all")
	s.cephFails(2, "unrecognized pool", "osd", "pool", "get", name+"x", "size")
	s.cephFails(22, "EINVAL", "osd", "pool", "get", name, "nonsense")
	s.cephSays([]string{" min_size to 1"}, "osd", "pool", "set", name, "min_size", "1")
	s.cephSays([]string{"min_size: 1"}, "osd", "pool", "get", name, "min_size")
	s.cephFails(22, "EINVAL", "osd", "pool", "set", name, "size", "nonsense")
	s.cephFails(22, "EINVAL", "osd", "pool", "set", name, "size", "0")
	s.cephFails(2, "unrecognized pool", "osd", "pool", "set", name+"x", "size", "1")
	s.cephSays([]string{"set-quota max_objects = 10 for pool " + name}, "osd", "pool", "set-quota", name, "max_objects", "10")
	if v := s.cephJSON([]string{"quota_max_bytes"}, "osd", "pool", "get-quota", name); at(v, "quota_max_objects") != 10.0 {
		t.Errorf("get-quota: %v", v)
	}

	s.cephSays([]string{"enabled application 'rbd' on pool '" + name + "'"}, "osd", "pool", "application", "enable", name, "rbd")
	s.cephFails(1, "EPERM", "osd", "pool", "application", "enable", name, "rgw")
	s.cephSays([]string{"set application 'rbd' key 'k' to 'v' on pool '" + name}, "osd", "pool", "application", "set", name, "rbd", "k", "v")
	if v := s.cephJSON(nil, "osd", "pool", "application", "get", name); at(v, "rbd", "k") != "v" {
		t.Errorf("application get: %v", v)
	}
	s.cephSays([]string{"renamed to '" + name + "2'"}, "osd", "pool", "rename", name, name+"2")
	s.cephFails(2, "unrecognized pool", "osd", "pool", "rename", name, name+"3")
	name += "2"
	s.cephFails(1, "WARNING: this will *PERMANENTLY DESTROY*", "osd", "pool", "rm", name)
	s.cephFails(1, "EPERM", "osd", "pool", "delete", name, name)
	s.cephSays([]string{"pool '" + name + "' removed"}, "osd", "pool", "delete", name, name, "--yes-i-really-really-mean-it")
	s.cephSays([]string{"does not exist"}, "osd", "pool", "rm", name, name, "--yes-i-really-really-mean-it")
	s.fails(1, "No such file", "rados", "-p", name, "ls")
}

func TestCephQuotaStopsWrites(t *testing.T) {
	s := newCeph(t)
	p := &pooled{s, s.pool()}
	s.ceph("osd", "pool", "set-quota", p.name, "max_objects", "2")
	p.write("a", []byte("data"))
	for _, n := range []string{"o1", "o2", "o3"} {
		p.rados("put", n, "a")
	}
	s.eventually(time.Minute, "the pool is full", func() bool {
		return strings.Contains(s.ceph("health", "detail"), "pool '"+p.name+"' is full")
	})
	s.ceph("osd", "pool", "set-quota", p.name, "max_objects", "0")
	s.eventually(time.Minute, "the pool is not full any more", func() bool {
		return !strings.Contains(s.ceph("health", "detail"), "pool '"+p.name+"' is full")
	})
	p.rados("put", "o4", "a")
}

func TestCephCrushRules(t *testing.T) {
	s := newCeph(t)
	if out := s.ceph("osd", "crush", "rule", "ls"); !slices.Contains(strings.Split(out, "\n"), "replicated_rule") {
		t.Errorf("rule ls: %s", out)
	}
	s.cephJSON([]string{"rule_id", "rule_name", "type", "steps[].op"}, "osd", "crush", "rule", "dump", "replicated_rule")
	s.cephJSON([]string{"[].rule_id", "[].rule_name", "[].steps[].op"}, "osd", "crush", "rule", "dump")
	rule := s.pool() + "-rule"
	s.ceph("osd", "crush", "rule", "create-simple", rule, "default", "osd")
	s.cephSays([]string{"already exists"}, "osd", "crush", "rule", "create-simple", rule, "default", "osd")
	if v := s.cephJSON([]string{"steps[].op"}, "osd", "crush", "rule", "dump", rule); at(v, "rule_name") != rule {
		t.Errorf("rule dump: %v", v)
	}
	p := &pooled{s, s.pool()}
	s.cephSays([]string{" crush_rule to " + rule}, "osd", "pool", "set", p.name, "crush_rule", rule)
	s.cephSays([]string{"crush_rule: " + rule}, "osd", "pool", "get", p.name, "crush_rule")
	s.cephFails(16, "EBUSY", "osd", "crush", "rule", "rm", rule)
	p.write("a", []byte("data"))
	p.rados("put", "o", "a")
	s.ceph("osd", "pool", "set", p.name, "crush_rule", "replicated_rule")
	s.ceph("osd", "crush", "rule", "rm", rule)
	s.cephFails(2, "ENOENT", "osd", "crush", "rule", "create-simple", rule, "no-such-root", "osd")
	s.cephFails(2, "ENOENT", "osd", "crush", "rule", "dump", rule)
	s.cephSays([]string{"default"}, "osd", "erasure-code-profile", "ls")
	s.cephSays([]string{"k=", "m=", "plugin="}, "osd", "erasure-code-profile", "get", "default")
	s.cephFails(2, "ENOENT", "osd", "erasure-code-profile", "get", "nonsense")
}

func TestCephPlacementGroups(t *testing.T) {
	s := newCeph(t)
	p := &pooled{s, s.pool()}
	p.write("a", []byte("data"))
	p.rados("put", "o", "a")
	id := at(s.cephJSON([]string{"pool_id"}, "osd", "pool", "get", p.name, "size"), "pool_id").(float64)
	pg := fmt.Sprintf("%.0f.3", id)
	s.cephSays([]string{"osdmap e", " pg " + pg + " (" + pg + ") -> up [", "] acting ["}, "pg", "map", pg)
	s.cephJSON([]string{"epoch", "raw_pgid", "pgid", "up[]", "acting[]"}, "pg", "map", pg)
	s.cephFails(22, "EINVAL", "pg", "map", "nonsense")
	v := s.cephJSON([]string{"epoch", "pool", "pool_id", "objname", "raw_pgid", "pgid", "up[]", "up_primary", "acting[]", "acting_primary"}, "osd", "map", p.name, "o")
	if at(v, "pgid") == nil || at(v, "objname") != "o" {
		t.Errorf("osd map: %v", v)
	}
	s.cephSays([]string{"pool '" + p.name + "' (", "object 'o' -> pg ", "acting (["}, "osd", "map", p.name, "o")
	s.cephSays([]string{" pgs: ", "active+clean", " data, ", " used, ", " avail"}, "pg", "stat")
	s.cephJSON([]string{"pg_summary.num_pg_by_state[].name", "pg_summary.num_pg_by_state[].num", "pg_summary.num_pgs", "pg_summary.num_bytes"}, "pg", "stat")
	s.eventually(time.Minute, "pg dump shows the pool's 8 groups, and its object", func() bool {
		dump := s.cephJSON([]string{"pg_map.pg_stats[].pgid", "pg_map.pg_stats[].version", "pg_map.pg_stats[].state", "pg_map.pg_stats[].up", "pg_map.pg_stats[].acting",
			"pg_map.pg_stats[].up_primary", "pg_map.pg_stats[].stat_sum.num_objects", "pg_map.pg_stats[].stat_sum.num_bytes", "pg_map.pg_stats_sum.stat_sum.num_objects", "pg_map.osd_stats[].osd",
			"pg_map.osd_stats[].kb", "pg_map.pool_stats[].poolid"}, "pg", "dump")
		groups, objects := 0, 0.0
		for _, g := range at(dump, "pg_map", "pg_stats").([]any) {
			if strings.HasPrefix(at(g, "pgid").(string), fmt.Sprintf("%.0f.", id)) {
				groups++
				objects += at(g, "stat_sum", "num_objects").(float64)
			}
		}
		return groups == 8 && objects == 1
	})
	s.cephSays([]string{"PG_STAT", "OBJECTS", "STATE", "UP_PRIMARY", "ACTING", pg, "OSD_STAT"}, "pg", "dump")
	s.cephSays([]string{"PG_STAT", pg}, "pg", "dump", "pgs_brief")
}

func TestCephMon(t *testing.T) {
	s := newCeph(t)
	s.cephJSON([]string{"epoch", "fsid", "modified", "created", "min_mon_release", "features.persistent", "mons[].rank", "mons[].name", "mons[].public_addrs.addrvec[].type",
		"mons[].public_addrs.addrvec[].addr", "mons[].addr", "quorum"}, "mon", "dump")
	s.cephSays([]string{"epoch ", "fsid ", "last_changed ", "created ", "min_mon_release 16 (pacific)", "0: ", " mon."}, "mon", "dump")
	s.cephSays([]string{"1 mons at {", "quorum 0 "}, "mon", "stat")
	v := s.cephJSON([]string{"election_epoch", "quorum", "quorum_names[]", "quorum_leader_name", "monmap.mons[].name", "monmap.fsid"}, "quorum_status")
	name := at(v, "quorum_leader_name").(string)
	s.cephJSON([]string{"version", "release", "release_type"}, "tell", "mon."+name, "version")
	s.cephSays([]string{"version"}, "tell", "mon.*", "version")
	s.cephJSON([]string{"mon", "mgr", "osd", "mds", "overall"}, "versions")
	s.cephJSON([]string{"mon[].features", "mon[].release", "mon[].num", "osd[].num", "client[].num"}, "features")
	s.cephSays([]string{"ceph version "}, "version")
	s.cephJSON([]string{"mon", "osd"}, "node", "ls")
	s.cephJSON([]string{"addrs", "hostname", "ceph_version"}, "mon", "metadata", name)
	s.cephSays([]string{"usage: ceph"}, "--help")
	s.cephFails(22, "EINVAL: invalid command", "nonsense")
	s.cephFails(22, "EINVAL: invalid command", "osd", "nonsense")
	s.cephFails(22, "EINVAL: invalid command", "osd", "pool", "create")
}

func TestCephConfig(t *testing.T) {
	s := newCeph(t)
	s.ceph("config", "set", "osd", "osd_max_backfills", "2")
	s.prints("2", "ceph", "config", "get", "osd", "osd_max_backfills")
	s.prints("2", "ceph", "config", "get", "osd.0", "osd_max_backfills")
	s.ceph("config", "set", "osd.0", "osd_max_backfills", "3")
	s.prints("3", "ceph", "config", "get", "osd.0", "osd_max_backfills")
	s.cephJSON([]string{"[].section", "[].name", "[].value", "[].level", "[].mask", "[].can_update_at_runtime"}, "config", "dump")
	s.cephSays([]string{"WHO", "MASK", "LEVEL", "OPTION", "VALUE", "RO", "osd_max_backfills"}, "config", "dump")
	s.cephSays([]string{"osd_max_backfills"}, "config", "get", "osd.0")
	s.ceph("config", "rm", "osd.0", "osd_max_backfills")
	s.ceph("config", "rm", "osd", "osd_max_backfills")
	s.prints("1", "ceph", "config", "get", "osd.0", "osd_max_backfills")
	s.cephFails(22, "EINVAL", "config", "set", "nonsense.section.x", "osd_max_backfills", "2")
	s.cephFails(22, "EINVAL", "config", "set", "osd", "no_such_option_at_all", "2")
	s.cephFails(22, "EINVAL", "config", "set", "osd", "osd_max_backfills", "many")
	s.cephFails(2, "ENOENT", "config", "get", "osd", "no_such_option_at_all")
	s.ceph("config-key", "set", "conformance/key", "value")
	s.prints("value", "ceph", "config-key", "get", "conformance/key")
	s.ceph("config-key", "rm", "conformance/key")
	s.cephFails(2, "ENOENT", "config-key", "get", "conformance/key")
}

func TestCephLog(t *testing.T) {
	s := newCeph(t)
	s.ceph("log", "a line of the conformance suite")
	s.eventually(30*time.Second, "the line is in the log", func() bool {
		return strings.Contains(s.ceph("log", "last", "50"), "a line of the conformance suite")
	})
	s.cephJSON([]string{"[].name", "[].rank", "[].stamp", "[].seq", "[].channel", "[].priority", "[].message"}, "log", "last", "5")
}

func TestCephBlocklist(t *testing.T) {
	s := newCeph(t)
	for _, word := range []string{"blocklist", "blacklist"} {
		addr := "192.0.2.7:0/" + fmt.Sprint(len(s.dir)+int(word[2]))
		s.cephSays([]string{"listing " + addr + " until 2", "(60 sec)"}, "osd", word, "add", addr, "60")
		s.cephSays([]string{addr + " 2", "listed "}, "osd", word, "ls")
		r := s.try("ceph", "osd", word, "ls", "-f", "json")
		if !strings.Contains(r.out, `"addr":"`+addr+`","until":"2`) {
			t.Errorf("%s ls: %s", word, r.out)
		}
		s.cephSays([]string{"un-blocklisting " + addr}, "osd", word, "rm", addr)
		s.cephSays([]string{addr + " isn't blocklisted"}, "osd", word, "rm", addr)
	}
	s.cephFails(22, "EINVAL", "osd", "blocklist", "add", "not an address")
}
