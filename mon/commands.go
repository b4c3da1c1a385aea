package mon

import (
	"encoding/json"
	"fmt"
	"sort"
	"strings"

	"github.com/spirula/spirula/rados/clustermap"
	"github.com/spirula/spirula/rados/wire"
)

// release is what `versions` and `version` answer.
const release = "spirula (speaks RADOS of Ceph 16)"

// commandTable gives all commands by prefix.
func commandTable() map[string]*spec {
	t := map[string]*spec{
		"get_command_descriptions": {nil, "list the commands", "r", cmdDescriptions},
		"fsid":                     {nil, "show the cluster's FSID", "r", func(c *call) { c.output(map[string]any{"fsid": c.m.fsid.String()}, c.m.fsid.String()+"\n") }},
		"status":                   {nil, "show the cluster's state", "r", cmdStatus},
		"health":                   {[]param{opt("detail", "CephString")}, "show the cluster's health", "r", cmdHealth},
		"df":                       {[]param{opt("detail", "CephString")}, "show use by pool", "r", cmdDF},
		"mon dump":                 {nil, "show the monitors", "r", cmdMonDump},
		"quorum_status":            {nil, "show the quorum", "r", cmdQuorum},
		"version":                  {nil, "show the version", "r", func(c *call) { c.output(map[string]any{"version": release}, release+"\n") }},
		"versions":                 {nil, "show the versions", "r", func(c *call) { c.output(map[string]any{"overall": map[string]int{release: 1}}, release+"\n") }},
		"pg stat":                  {nil, "show placement groups by state", "r", cmdPGStat},
		"config set": {[]param{req("who", "CephString"), req("name", "CephString"), req("value", "CephString")}, "set a setting", "rw",
			func(c *call) { cmdConfigSet(c, c.args.str("value")) }},
		"config rm": {[]param{req("who", "CephString"), req("name", "CephString")}, "remove a setting", "rw",
			func(c *call) { cmdConfigSet(c, "") }},
		"config get":  {[]param{req("who", "CephString"), opt("key", "CephString")}, "show settings of an entity", "r", cmdConfigGet},
		"config dump": {nil, "show all settings", "r", cmdConfigDump},
	}
	addOSDCommands(t)
	addPoolCommands(t)
	return t
}

// cmdDescriptions gives the commands' signatures in the form that the ceph
// tool validates its input by.
func cmdDescriptions(c *call) {
	out := make(map[string]any)
	prefixes := make([]string, 0, len(c.m.commands))
	for p := range c.m.commands {
		prefixes = append(prefixes, p)
	}
	sort.Strings(prefixes)
	for i, p := range prefixes {
		var sig []any
		for _, word := range strings.Fields(p) {
			sig = append(sig, word)
		}
		for _, q := range c.m.commands[p].params {
			d := map[string]string{"name": q.name, "type": q.kind}
			if !q.required {
				d["req"] = "false"
			}
			if q.choices != "" {
				d["strings"] = q.choices
			}
			if q.name == "ids" || q.name == "val_list" {
				d["n"] = "N"
			}
			sig = append(sig, d)
		}
		out[fmt.Sprintf("cmd%03d", i)] = map[string]any{"sig": sig, "help": c.m.commands[p].help,
			"module": strings.Fields(p)[0], "perm": c.m.commands[p].perm, "flags": 0}
	}
	b, err := json.Marshal(out)
	if err != nil {
		c.fail(wire.EIO, "encoding: %v", err)
		return
	}
	c.finish(0, "", b)
}

func cmdStatus(c *call) {
	m := c.m
	status, checks := m.osd.health()
	u, pools := m.osd.stats.usage(), m.osd.stats.byPool()
	var objects, bytes uint64
	for _, p := range pools {
		objects, bytes = objects+p.Objects, bytes+p.Bytes
	}
	states := m.osd.pgStates()
	pgs := 0
	byState := []map[string]any{}
	for _, s := range sortedStates(states) {
		pgs += states[s]
		byState = append(byState, map[string]any{"state_name": s, "count": states[s]})
	}
	var names []string
	for _, mon := range m.monmap.cur.Mons {
		names = append(names, mon.Name)
	}
	om := m.osd.cur
	v := map[string]any{
		"fsid":           m.fsid.String(),
		"health":         map[string]any{"status": status, "checks": checkMap(checks), "mutes": []any{}},
		"election_epoch": m.raft.BasicStatus().GetTerm(),
		"quorum":         []int{0}, "quorum_names": names, "quorum_age": int(m.opts.Now().Sub(m.started).Seconds()),
		"monmap": map[string]any{"epoch": m.monmap.cur.Epoch, "min_mon_release_name": "pacific", "num_mons": len(names)},
		"osdmap": map[string]any{"epoch": om.Epoch, "num_osds": numExisting(om), "num_up_osds": om.NumUp(),
			"osd_up_since": om.LastUpChange.Std().Unix(), "num_in_osds": om.NumIn(),
			"osd_in_since": om.LastInChange.Std().Unix(), "num_remapped_pgs": len(om.PGTemp)},
		"pgmap": map[string]any{"pgs_by_state": byState, "num_pgs": pgs, "num_pools": len(om.Pools), "num_objects": objects,
			"data_bytes": bytes, "bytes_used": u.used, "bytes_avail": u.avail, "bytes_total": u.total},
		"fsmap":      map[string]any{"epoch": 1, "by_rank": []any{}, "up:standby": 0},
		"mgrmap":     map[string]any{"available": false, "num_standbys": 0, "modules": []any{}, "services": map[string]any{}},
		"servicemap": map[string]any{"epoch": 0, "modified": "", "services": map[string]any{}}, "progress_events": map[string]any{},
	}
	var b strings.Builder
	fmt.Fprintf(&b, "  cluster:\n    id:     %s\n    health: %s\n", m.fsid, status)
	for _, ck := range checks {
		fmt.Fprintf(&b, "            %s\n", ck.Message)
	}
	fmt.Fprintf(&b, "\n  services:\n    mon: %s, quorum %s\n    osd: %s: %d up, %d in\n",
		plural(len(names), "daemon"), strings.Join(names, ","), plural(numExisting(om), "osd"), om.NumUp(), om.NumIn())
	fmt.Fprintf(&b, "\n  data:\n    pools:   %s, %s\n    objects: %s, %s\n    usage:   %s used, %s / %s avail\n",
		plural(len(om.Pools), "pool"), plural(pgs, "pg"), plural(int(objects), "object"), size(bytes), size(u.used), size(u.avail), size(u.total))
	for _, s := range sortedStates(states) {
		fmt.Fprintf(&b, "    pgs:     %d %s\n", states[s], s)
	}
	c.output(v, b.String())
}

func cmdQuorum(c *call) {
	var names []string
	for _, mon := range c.m.monmap.cur.Mons {
		names = append(names, mon.Name)
	}
	v := map[string]any{"election_epoch": c.m.raft.BasicStatus().GetTerm(), "quorum": []int{0}, "quorum_names": names,
		"quorum_leader_name": c.m.opts.Name, "quorum_age": int(c.m.opts.Now().Sub(c.m.started).Seconds()), "monmap": monDump(c.m)}
	c.output(v, mustJSON(v))
}

func numExisting(m *clustermap.OSDMap) (n int) {
	for i := range m.OSDs {
		if m.Exists(int32(i)) {
			n++
		}
	}
	return n
}

func sortedStates(m map[string]int) []string {
	names := make([]string, 0, len(m))
	for s := range m {
		names = append(names, s)
	}
	sort.Strings(names)
	return names
}

func checkMap(checks []check) map[string]any {
	out := make(map[string]any)
	for _, ck := range checks {
		out[ck.Code] = map[string]any{"severity": ck.Severity, "muted": false,
			"summary": map[string]any{"message": ck.Message, "count": 1}}
	}
	return out
}

func cmdHealth(c *call) {
	status, checks := c.m.osd.health()
	text := status
	for _, ck := range checks {
		text += "\n[" + strings.TrimPrefix(ck.Severity, "HEALTH_") + "] " + ck.Code + ": " + ck.Message
	}
	c.output(map[string]any{"status": status, "checks": checkMap(checks), "mutes": []any{}}, text+"\n")
}

func cmdDF(c *call) {
	m := c.m.osd
	u, pools := m.stats.usage(), m.stats.byPool()
	list := []map[string]any{}
	var b strings.Builder
	fmt.Fprintf(&b, "--- RAW STORAGE ---\nSIZE %s  AVAIL %s  USED %s\n\n--- POOLS ---\nPOOL  ID  PGS  STORED  OBJECTS  MAX AVAIL\n",
		size(u.total), size(u.avail), size(u.used))
	for _, id := range poolIDs(m.cur) {
		p, st := m.cur.Pools[id], pools[id]
		avail := u.avail / uint64(max(1, p.Size))
		list = append(list, map[string]any{"name": m.cur.PoolNames[id], "id": id, "stats": map[string]any{
			"stored": st.Bytes, "objects": st.Objects, "kb_used": st.Bytes >> 10, "bytes_used": st.Bytes * uint64(p.Size), "max_avail": avail}})
		fmt.Fprintf(&b, "%s  %d  %d  %s  %d  %s\n", m.cur.PoolNames[id], id, p.PGNum, size(st.Bytes), st.Objects, size(avail))
	}
	c.output(map[string]any{"stats": map[string]any{"total_bytes": u.total, "total_avail_bytes": u.avail, "total_used_bytes": u.used,
		"total_used_raw_bytes": u.used, "num_osds": numExisting(m.cur)}, "pools": list}, b.String())
}

func monDump(m *Mon) map[string]any {
	mm := m.monmap.cur
	mons := []map[string]any{}
	for i, mon := range mm.Mons {
		addrs := []map[string]any{}
		for _, a := range mon.Addrs {
			addrs = append(addrs, map[string]any{"type": "v2", "addr": a.IP.String(), "nonce": a.Nonce})
		}
		mons = append(mons, map[string]any{"rank": i, "name": mon.Name, "public_addrs": map[string]any{"addrvec": addrs}})
	}
	return map[string]any{"epoch": mm.Epoch, "fsid": mm.FSID.String(), "mons": mons, "quorum": []int{0}}
}

func cmdMonDump(c *call) {
	mm := c.m.monmap.cur
	text := fmt.Sprintf("epoch %d\nfsid %s\n", mm.Epoch, mm.FSID)
	for i, mon := range mm.Mons {
		text += fmt.Sprintf("%d: %v mon.%s\n", i, mon.Addrs, mon.Name)
	}
	c.output(monDump(c.m), text)
}

func cmdPGStat(c *call) {
	states := c.m.osd.pgStates()
	var parts []string
	n := 0
	list := []map[string]any{}
	for _, s := range sortedStates(states) {
		n += states[s]
		parts = append(parts, fmt.Sprintf("%d %s", states[s], s))
		list = append(list, map[string]any{"name": s, "num": states[s]})
	}
	c.output(map[string]any{"pg_summary": map[string]any{"num_pgs": n, "num_pg_by_state": list}},
		fmt.Sprintf("%s: %s\n", plural(n, "pg"), strings.Join(parts, ", ")))
}

func cmdConfigSet(c *call, value string) {
	c.m.conf.set(c.args.str("who"), c.args.str("name"), value, func(e wire.Errno) {
		if e != 0 {
			c.fail(e, "%v", e)
			return
		}
		c.ok("")
	})
}

func cmdConfigGet(c *call) {
	who := parseEntity(c.args.str("who"))
	values := c.m.conf.effective(who)
	if key := c.args.str("key"); key != "" {
		v, ok := values[key]
		if !ok {
			c.fail(wire.ENOENT, "no such setting")
			return
		}
		c.output(map[string]string{key: v}, v+"\n")
		return
	}
	var b strings.Builder
	keys := make([]string, 0, len(values))
	for k := range values {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	for _, k := range keys {
		fmt.Fprintf(&b, "%s %s\n", k, values[k])
	}
	c.output(values, b.String())
}

// parseEntity reads "osd.3"; a name without a number has Num 0.
func parseEntity(s string) wire.EntityName {
	kind, num, _ := strings.Cut(s, ".")
	var n int64
	fmt.Sscanf(num, "%d", &n)
	kinds := map[string]wire.EntityType{"mon": wire.EntityMon, "mds": wire.EntityMDS, "osd": wire.EntityOSD,
		"client": wire.EntityClient, "mgr": wire.EntityMgr}
	return wire.EntityName{Type: kinds[kind], Num: n}
}

func cmdConfigDump(c *call) {
	var b strings.Builder
	list := []map[string]string{}
	for _, k := range c.m.conf.keys() {
		section, name, _ := strings.Cut(k, "/")
		list = append(list, map[string]string{"section": section, "name": name, "value": c.m.conf.values[k]})
		fmt.Fprintf(&b, "%s %s %s\n", section, name, c.m.conf.values[k])
	}
	c.output(list, b.String())
}

// size prints bytes for people.
func size(n uint64) string {
	units := []string{"B", "KiB", "MiB", "GiB", "TiB", "PiB"}
	f := float64(n)
	i := 0
	for ; f >= 1024 && i < len(units)-1; i++ {
		f /= 1024
	}
	if i == 0 {
		return fmt.Sprintf("%d B", n)
	}
	return fmt.Sprintf("%.1f %s", f, units[i])
}

func mustJSON(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic("mon: encoding of an answer: " + err.Error())
	}
	return string(b) + "\n"
}
