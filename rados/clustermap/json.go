package clustermap

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spirula/spirula/crush"
	"github.com/spirula/spirula/rados/wire"
)

// jsonWriter writes objects whose members keep their order, in the form of
// Ceph's own formatter.
type jsonWriter struct{ b []byte }

func (w *jsonWriter) comma() {
	if n := len(w.b); n > 0 && w.b[n-1] != '{' && w.b[n-1] != '[' && w.b[n-1] != ':' {
		w.b = append(w.b, ',')
	}
}

func (w *jsonWriter) key(name string) {
	w.comma()
	w.str(name)
	w.b = append(w.b, ':')
}

func (w *jsonWriter) str(s string) {
	var q bytes.Buffer
	e := json.NewEncoder(&q)
	e.SetEscapeHTML(false)
	if err := e.Encode(s); err != nil {
		panic("clustermap: a string has no JSON form: " + err.Error())
	}
	w.b = append(w.b, bytes.TrimSuffix(q.Bytes(), []byte("\n"))...)
}

func (w *jsonWriter) object(f func()) {
	w.comma()
	w.b = append(w.b, '{')
	f()
	w.b = append(w.b, '}')
}

func (w *jsonWriter) array(name string, f func()) {
	w.key(name)
	w.b = append(w.b, '[')
	f()
	w.b = append(w.b, ']')
}

func (w *jsonWriter) member(name string, f func()) { w.key(name); w.object(f) }

func (w *jsonWriter) text(name, v string) { w.key(name); w.str(v) }

func (w *jsonWriter) num(name string, v int64) {
	w.key(name)
	w.b = strconv.AppendInt(w.b, v, 10)
}

func (w *jsonWriter) uint(name string, v uint64) {
	w.key(name)
	w.b = strconv.AppendUint(w.b, v, 10)
}

func (w *jsonWriter) float(name string, v float64) {
	w.key(name)
	w.b = strconv.AppendFloat(w.b, v, 'g', 17, 64)
}

func (w *jsonWriter) bool(name string, v bool) {
	w.key(name)
	w.b = strconv.AppendBool(w.b, v)
}

// element writes a string of an array.
func (w *jsonWriter) element(s string) { w.comma(); w.str(s) }

func (w *jsonWriter) number(v int64) {
	w.comma()
	w.b = strconv.AppendInt(w.b, v, 10)
}

// stamp is a time as Ceph prints it: one of the first ten years is a length
// of time, not a date.
func stamp(t wire.Time) string {
	if t.Std().Unix() < 10*365*24*3600 {
		return fmt.Sprintf("%d.%06d", int64(t)/1e9, int64(t)%1e9/1000)
	}
	return t.Std().Truncate(time.Microsecond).Format("2006-01-02T15:04:05.000000-0700")
}

var flagNames = []string{0: "nearfull", 1: "full", 2: "pauserd", 3: "pausewr", 4: "pauserec", 5: "noup", 6: "nodown",
	7: "noout", 8: "noin", 9: "nobackfill", 10: "norecover", 11: "noscrub", 12: "nodeep-scrub", 13: "notieragent",
	14: "norebalance", 15: "sortbitwise", 16: "require_jewel_osds", 17: "require_kraken_osds", 18: "require_luminous_osds",
	19: "recovery_deletes", 20: "purged_snapdirs", 21: "nosnaptrim", 22: "pglog_hardlimit"}

var stateNames = []string{"exists", "up", "autoout", "new", "full", "nearfull", "backfillfull", "destroyed",
	"noup", "nodown", "noin", "noout", "stop"}

var poolFlagNames = []string{"hashpspool", "full", "ec_overwrites", "incomplete_clones", "nodelete", "nopgchange",
	"nosizechange", "write_fadvise_dontneed", "noscrub", "nodeep-scrub", "full_quota", "nearfull", "backfillfull",
	"selfmanaged_snaps", "pool_snaps", "creating", "eio", "bulk"}

func bitNames(names []string, v uint64) (out []string) {
	for i, n := range names {
		if v>>i&1 != 0 && n != "" {
			out = append(out, n)
		}
	}
	return out
}

// FlagNames gives the names of the flags that are set, in Ceph's order.
func (f Flag) FlagNames() []string { return bitNames(flagNames, uint64(f)) }

// StateNames gives the names of the state's bits.
func (s State) StateNames() []string { return bitNames(stateNames, uint64(s)) }

// FlagNames gives the names of the pool flags that are set.
func (f PoolFlag) FlagNames() []string { return bitNames(poolFlagNames, uint64(f)) }

var releaseNames = []string{"unknown", "argonaut", "bobtail", "cuttlefish", "dumpling", "emperor", "firefly", "giant",
	"hammer", "infernalis", "jewel", "kraken", "luminous", "mimic", "nautilus", "octopus", "pacific", "quincy", "reef",
	"squid"}

// ReleaseName is the name of a release by its number; 16 is pacific.
func ReleaseName(r uint8) string {
	if int(r) < len(releaseNames) {
		return releaseNames[r]
	}
	return releaseNames[0]
}

// JSON gives the map as Ceph's tools dump it ("osd dump", osdmaptool --dump
// json), on one line.
func (m *OSDMap) JSON() []byte {
	w := &jsonWriter{}
	w.object(func() {
		m.jsonHead(w)
		w.array("pools", func() {
			for _, id := range sortedKeys(m.Pools) {
				w.object(func() { m.Pools[id].json(w, "pool", id, m.PoolNames[id]) })
			}
		})
		m.jsonOSDs(w)
		m.jsonPGs(w)
		m.jsonTail(w)
	})
	return w.b
}

func (m *OSDMap) jsonHead(w *jsonWriter) {
	w.uint("epoch", uint64(m.Epoch))
	w.text("fsid", m.FSID.String())
	w.text("created", stamp(m.Created))
	w.text("modified", stamp(m.Modified))
	w.text("last_up_change", stamp(m.LastUpChange))
	w.text("last_in_change", stamp(m.LastInChange))
	names := m.Flags.FlagNames()
	w.text("flags", strings.Join(names, ","))
	w.uint("flags_num", uint64(m.Flags))
	slices.Sort(names)
	w.array("flags_set", func() {
		for _, n := range names {
			w.element(n)
		}
	})
	w.uint("crush_version", uint64(m.CrushVersion))
	w.float("full_ratio", float64(m.FullRatio))
	w.float("backfillfull_ratio", float64(m.BackfillFullRatio))
	w.float("nearfull_ratio", float64(m.NearFullRatio))
	w.text("cluster_snapshot", m.Snapshot)
	w.num("pool_max", int64(m.PoolMax))
	w.num("max_osd", int64(m.MaxOSD()))
	w.text("require_min_compat_client", ReleaseName(m.RequireMinCompat))
	w.text("min_compat_client", ReleaseName(m.MinCompatClient()))
	w.text("require_osd_release", ReleaseName(m.RequireRelease))
}

// MinCompatClient is the oldest release whose clients understand the map's
// placement.
func (m *OSDMap) MinCompatClient() uint8 {
	t := m.Crush.Tunables
	straw2, steps := false, map[crush.StepOp]bool{}
	for _, b := range m.Crush.Buckets {
		straw2 = straw2 || b != nil && b.Alg == crush.Straw2
	}
	for _, r := range m.Crush.Rules {
		for i := 0; r != nil && i < len(r.Steps); i++ {
			steps[r.Steps[i].Op] = true
		}
	}
	legacy := crush.TunablesLegacy()
	switch {
	case len(m.Upmap)+len(m.UpmapItems) > 0 || m.needsChooseArgs():
		return releaseLuminous
	case t.ChooseLeafStable != 0 || steps[crush.StepSetChooseLeafStable]:
		return 10
	case straw2:
		return 8
	case t.ChooseLeafVaryR != 0 || steps[crush.StepSetChooseLeafVaryR]:
		return 6
	case t.ChooseLocalTries != legacy.ChooseLocalTries || t.ChooseTotalTries != legacy.ChooseTotalTries ||
		t.ChooseLocalFallbackTries != legacy.ChooseLocalFallbackTries || t.ChooseLeafDescendOnce != 0:
		return 2
	}
	return 1
}

// needsChooseArgs reports whether the weight sets are more than the default
// one of a single position, which old clients get as bucket weights.
func (m *OSDMap) needsChooseArgs() bool {
	sets := m.Crush.ChooseArgs
	def, ok := sets[crush.DefaultChooseArgs]
	if len(sets) == 0 {
		return false
	}
	if len(sets) > 1 || !ok {
		return true
	}
	for _, a := range def {
		if a != nil && (len(a.WeightSet) != 1 || len(a.IDs) > 0) {
			return true
		}
	}
	return false
}

func (m *OSDMap) jsonOSDs(w *jsonWriter) {
	w.array("osds", func() {
		for i := range m.OSDs {
			if m.Exists(int32(i)) {
				w.object(func() { m.OSDs[i].json(w, i) })
			}
		}
	})
	w.array("osd_xinfo", func() {
		for i := range m.OSDs {
			if !m.Exists(int32(i)) {
				continue
			}
			x := m.OSDs[i].XInfo
			w.object(func() {
				w.num("osd", int64(i))
				w.text("down_stamp", stamp(x.DownStamp))
				w.float("laggy_probability", float64(float32(x.LaggyProbability())))
				w.uint("laggy_interval", uint64(x.LaggyInterval))
				w.uint("features", x.Features)
				w.uint("old_weight", uint64(x.OldWeight))
				w.text("last_purged_snaps_scrub", stamp(x.LastPurgedSnaps))
				w.uint("dead_epoch", uint64(x.DeadEpoch))
			})
		}
	})
}

// OSDJSON gives one OSD as JSON lists it, nil if it does not exist.
func (m *OSDMap) OSDJSON(osd int32) []byte {
	if !m.Exists(osd) {
		return nil
	}
	w := &jsonWriter{}
	w.object(func() { m.OSDs[osd].json(w, int(osd)) })
	return w.b
}

// OSDText gives the line about one OSD as Dump writes it, "" if it does not
// exist.
func (m *OSDMap) OSDText(osd int32) string {
	var b []byte
	if m.Exists(osd) {
		m.OSDs[osd].dump(func(format string, args ...any) { b = fmt.Appendf(b, format, args...) }, int(osd))
	}
	return string(b)
}

// Stamp prints a time as Ceph's tools do: with microseconds and zone.
func Stamp(t wire.Time) string { return stamp(t) }

func (o *OSD) json(w *jsonWriter, id int) {
	bit := func(b bool) int64 {
		if b {
			return 1
		}
		return 0
	}
	w.num("osd", int64(id))
	w.text("uuid", o.UUID.String())
	w.num("up", bit(o.State&StateUp != 0))
	w.num("in", bit(o.Weight > 0))
	w.float("weight", float64(o.Weight)/65536)
	w.float("primary_affinity", float64(o.Affinity)/65536)
	w.uint("last_clean_begin", uint64(o.Info.LastCleanBegin))
	w.uint("last_clean_end", uint64(o.Info.LastCleanEnd))
	w.uint("up_from", uint64(o.Info.UpFrom))
	w.uint("up_thru", uint64(o.Info.UpThru))
	w.uint("down_at", uint64(o.Info.DownAt))
	w.uint("lost_at", uint64(o.Info.LostAt))
	lists := [...]struct {
		name string
		v    []wire.Addr
	}{{"public_addr", o.Client}, {"cluster_addr", o.Cluster}, {"heartbeat_back_addr", o.HBBack}, {"heartbeat_front_addr", o.HBFront}}
	for _, l := range lists {
		w.member(l.name+"s", func() {
			w.array("addrvec", func() {
				for _, a := range l.v {
					w.object(func() {
						w.text("type", addrTypeName(a.Type))
						w.text("addr", a.IP.String())
						w.uint("nonce", uint64(a.Nonce))
					})
				}
			})
		})
	}
	for _, l := range lists {
		w.text(l.name, legacyAddr(l.v))
	}
	w.array("state", func() {
		names := o.State.StateNames()
		slices.Sort(names)
		for _, n := range names {
			w.element(n)
		}
	})
}

func addrTypeName(t wire.AddrType) string {
	switch t {
	case wire.AddrNone:
		return "none"
	case wire.AddrLegacy:
		return "v1"
	case wire.AddrMsgr2:
		return "v2"
	}
	return "any"
}

// legacyAddr is the one address that tools from before Nautilus look for: the
// old messenger's, else the first.
func legacyAddr(v []wire.Addr) string {
	for _, a := range v {
		if a.Type == wire.AddrLegacy {
			return fmt.Sprintf("%s/%d", a.IP, a.Nonce)
		}
	}
	if len(v) > 0 && v[0].IP.IsValid() {
		return fmt.Sprintf("%s/%d", v[0].IP, v[0].Nonce)
	}
	return "(unrecognized address family 0)/0"
}

func (m *OSDMap) jsonPGs(w *jsonWriter) {
	lists := func(name string, pgs map[wire.PGID][]int32) {
		w.array(name, func() {
			for _, pg := range sortedPGs(pgs) {
				w.object(func() {
					w.text("pgid", pg.String())
					w.array("osds", func() {
						for _, o := range pgs[pg] {
							w.number(int64(o))
						}
					})
				})
			}
		})
	}
	lists("pg_upmap", m.Upmap)
	w.array("pg_upmap_items", func() {
		for _, pg := range sortedPGs(m.UpmapItems) {
			w.object(func() {
				w.text("pgid", pg.String())
				w.array("mappings", func() {
					for _, p := range m.UpmapItems[pg] {
						w.object(func() { w.num("from", int64(p.From)); w.num("to", int64(p.To)) })
					}
				})
			})
		}
	})
	lists("pg_temp", m.PGTemp)
	w.array("primary_temp", func() {
		for _, pg := range sortedPGs(m.PrimaryTemp) {
			w.element(pg.String())
			w.number(int64(m.PrimaryTemp[pg]))
		}
	})
}

func (m *OSDMap) jsonTail(w *jsonWriter) {
	w.member("blocklist", func() {
		addrs := make([]wire.Addr, 0, len(m.Blocklist))
		for a := range m.Blocklist {
			addrs = append(addrs, a)
		}
		for _, a := range sortedAddrs(addrs) {
			w.text(strings.TrimPrefix(a.String(), "any:"), stamp(m.Blocklist[a]))
		}
	})
	w.member("range_blocklist", func() {})
	w.member("erasure_code_profiles", func() {
		for _, name := range sortedKeys(m.ECProfiles) {
			w.strings(name, m.ECProfiles[name])
		}
	})
	for _, s := range [...]struct {
		name string
		sets map[int64]SnapSet
	}{{"removed_snaps_queue", m.RemovedSnapsQueue}, {"new_removed_snaps", m.NewRemovedSnaps}, {"new_purged_snaps", m.NewPurgedSnaps}} {
		w.array(s.name, func() { w.snapSets(s.sets) })
	}
	w.member("crush_node_flags", func() {
		for _, id := range sortedKeys(m.CrushNodeFlags) {
			name, ok := m.Crush.Names[id]
			if !ok {
				name = strconv.Itoa(int(id))
			}
			w.stateList(name, m.CrushNodeFlags[id])
		}
	})
	w.member("device_class_flags", func() {
		for _, id := range sortedKeys(m.DeviceClassFlags) {
			name, ok := m.Crush.ClassNames[id]
			if !ok {
				name = strconv.Itoa(int(id))
			}
			w.stateList(name, m.DeviceClassFlags[id])
		}
	})
	w.member("stretch_mode", func() {
		w.bool("stretch_mode_enabled", false)
		for _, n := range []string{"stretch_bucket_count", "degraded_stretch_mode", "recovering_stretch_mode", "stretch_mode_bucket"} {
			w.num(n, 0)
		}
	})
}

func (w *jsonWriter) strings(name string, m map[string]string) {
	w.member(name, func() {
		for _, k := range sortedKeys(m) {
			w.text(k, m[k])
		}
	})
}

func (w *jsonWriter) stateList(name string, bits uint32) {
	names := State(bits).StateNames()
	slices.Sort(names)
	w.array(name, func() {
		for _, n := range names {
			w.element(n)
		}
	})
}

func (w *jsonWriter) snapSets(sets map[int64]SnapSet) {
	for _, pool := range sortedKeys(sets) {
		w.object(func() {
			w.num("pool", pool)
			w.array("snaps", func() {
				for _, r := range sets[pool] {
					w.object(func() { w.uint("begin", uint64(r.Start)); w.uint("length", r.Len) })
				}
			})
		})
	}
}
