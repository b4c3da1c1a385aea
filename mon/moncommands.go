package mon

import (
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"

	"github.com/spirula/spirula/rados/clustermap"
	"github.com/spirula/spirula/rados/wire"
)

// monFeatures are the names of the monmap's feature bits.
var monFeatures = []string{"kraken", "luminous", "mimic", "osdmap-prune", "nautilus", "octopus", "pacific", "elector-pinging"}

// addMonCommands adds the commands about mons.
func addMonCommands(t commands) {
	t.add("mon dump name=epoch,type=CephInt,range=0,req=false", "show the monitors", "r", cmdMonDump)
	t.add("mon stat", "show the monitors in short", "r", cmdMonStat)
	t.add("mon getmap name=epoch,type=CephInt,range=0,req=false", "give the encoded map of monitors", "r", func(c *call) {
		if c.epoch(c.m.monmap.cur.Epoch) {
			c.finish(0, fmt.Sprintf("got monmap epoch %d", c.m.monmap.cur.Epoch), c.m.monmap.encoded)
		}
	})
	t.add("mon versions", "show the versions of monitors", "r", func(c *call) { c.show(versionCount(len(c.m.monmap.cur.Mons))) })
	t.add("mon metadata name=id,type=CephString,req=false", "show what is known of monitors", "r", cmdMonMetadata)
	t.add("mon count-metadata name=property,type=CephString", "count monitors by a property", "r", func(c *call) {
		n := map[string]int{}
		for _, mon := range c.m.monmap.cur.Mons {
			n[metadataValue(c.m.monMetadata(mon), c.args.str("property"))]++
		}
		c.show(sortedObj(n))
	})
	t.add("mon feature ls name=with_value,type=CephChoices,strings=--with-value,req=false", "list the features of monitors", "r", cmdMonFeatures)
	t.add("mon ok-to-stop name=ids,type=CephString,n=N", "say whether monitors may be stopped", "r", func(c *call) {
		c.fail(wire.EBUSY, "not enough monitors would be available () after stopping mons [%s]", strings.Join(c.args.list("ids"), ","))
	})
	t.add("quorum_status", "show the quorum", "r", cmdQuorum)
	t.add("mon_status", "show this monitor's state", "r", cmdMonState)
	t.add("time-sync-status", "show how far clocks are apart", "r", func(c *call) {
		c.show(obj{{"timechecks", obj{{"epoch", c.m.electionEpoch()}, {"round", 0}, {"round_status", "finished"}}}})
	})
	t.add("node ls name=type,type=CephChoices,strings=all|osd|mon|mds|mgr,req=false", "list hosts and what runs on them", "r", cmdNodes)
}

func (m *Mon) monNames() []string {
	names := []string{}
	for _, mon := range m.monmap.cur.Mons {
		names = append(names, mon.Name)
	}
	return names
}

// quorum gives the ranks of the monitors that take part.
func (m *Mon) quorum() []int {
	ranks := []int{}
	for i := range m.monmap.cur.Mons {
		ranks = append(ranks, i)
	}
	return ranks
}

func (m *Mon) electionEpoch() uint64 { return m.raft.BasicStatus().GetTerm() }

// age is how long the quorum has stood, in seconds.
func (m *Mon) age() int64 { return int64(m.opts.Now().Sub(m.started).Seconds()) }

// epoch looks at the argument of that name: only the newest map can be given.
func (c *call) epoch(newest wire.Epoch) bool {
	if n, _ := c.args.num("epoch", 0); n != 0 && n != int64(newest) {
		c.fail(wire.ENOENT, "there is no map for epoch %d", n)
		return false
	}
	return true
}

func addrVec(addrs ...wire.Addr) []any {
	out := []any{}
	for _, a := range addrs {
		kind, _, _ := strings.Cut(a.String(), ":")
		if a.Type == wire.AddrNone {
			kind = "none"
		}
		ip := "(unrecognized address family 0)"
		if a.IP.IsValid() {
			ip = a.IP.String()
		}
		out = append(out, obj{{"type", kind}, {"addr", ip}, {"nonce", a.Nonce}})
	}
	return out
}

// addrsText prints addresses as Ceph's tools do: with brackets and types.
func addrsText(addrs []wire.Addr) string {
	parts := make([]string, len(addrs))
	for i, a := range addrs {
		parts[i] = a.String()
	}
	return "[" + strings.Join(parts, ",") + "]"
}

// plainAddr prints an address without its type.
func plainAddr(a wire.Addr) string {
	if !a.IP.IsValid() {
		return "-"
	}
	return fmt.Sprintf("%s/%d", a.IP, a.Nonce)
}

// monDump is the map of monitors as JSON. Some of Ceph's keys end in a colon.
func (m *Mon) monDump() obj {
	mm := m.monmap.cur
	mons := []any{}
	for i, mon := range mm.Mons {
		first := "-"
		if len(mon.Addrs) > 0 {
			first = plainAddr(mon.Addrs[0])
		}
		mons = append(mons, obj{{"rank", i}, {"name", mon.Name}, {"public_addrs", obj{{"addrvec", addrVec(mon.Addrs...)}}},
			{"addr", first}, {"public_addr", first}, {"priority", mon.Priority}, {"weight", mon.Weight}, {"crush_location", "{}"}})
	}
	return obj{{"epoch", mm.Epoch}, {"fsid", mm.FSID.String()}, {"modified", zulu(mm.LastChange)}, {"created", zulu(mm.Created)},
		{"min_mon_release", mm.MinRelease}, {"min_mon_release_name", clustermap.ReleaseName(mm.MinRelease)}, {"election_strategy", mm.Strategy},
		{"disallowed_leaders: ", strings.Join(mm.DisallowedLeaders, ",")}, {"stretch_mode", mm.StretchMode}, {"tiebreaker_mon", mm.Tiebreaker},
		{"removed_ranks: ", ""}, {"features", obj{{"persistent", monFeatures}, {"optional", []any{}}}}, {"mons", mons}}
}

// zulu prints a time in the form that the map of monitors has.
func zulu(t wire.Time) string { return t.Std().UTC().Format("2006-01-02T15:04:05.000000Z") }

func cmdMonDump(c *call) {
	mm := c.m.monmap.cur
	if !c.epoch(mm.Epoch) {
		return
	}
	text := fmt.Sprintf("epoch %d\nfsid %s\nlast_changed %s\ncreated %s\nmin_mon_release %d (%s)\nelection_strategy: %d\n", mm.Epoch, mm.FSID,
		clustermap.Stamp(mm.LastChange), clustermap.Stamp(mm.Created), mm.MinRelease, clustermap.ReleaseName(mm.MinRelease), mm.Strategy)
	for i, mon := range mm.Mons {
		text += fmt.Sprintf("%d: %s mon.%s\n", i, addrsText(mon.Addrs), mon.Name)
	}
	out := []byte(text)
	if c.isJSON() {
		out = encodeJSON(append(c.m.monDump(), member{"quorum", c.m.quorum()}), c.args.str("format") != "json")
	}
	c.finish(0, fmt.Sprintf("dumped monmap epoch %d", mm.Epoch), out)
}

func cmdMonStat(c *call) {
	m, quorum := c.m, []any{}
	var at, ranks []string
	for i, mon := range m.monmap.cur.Mons {
		at = append(at, mon.Name+"="+addrsText(mon.Addrs))
		ranks = append(ranks, strconv.Itoa(i))
		quorum = append(quorum, obj{{"rank", i}, {"name", mon.Name}})
	}
	leader := int64(m.monmap.rank(m.opts.Name)) - 1
	c.output(obj{{"epoch", m.monmap.cur.Epoch}, {"min_mon_release_name", releaseName}, {"num_mons", len(at)}, {"leader", m.opts.Name}, {"quorum", quorum}},
		fmt.Sprintf("e%d: %d mons at {%s} removed_ranks: {}, election epoch %d, leader %d %s, quorum %s %s\n", m.monmap.cur.Epoch, len(at),
			strings.Join(at, ","), m.electionEpoch(), leader, m.opts.Name, strings.Join(ranks, ","), strings.Join(m.monNames(), ",")))
}

func cmdQuorum(c *call) {
	m := c.m
	v := obj{{"election_epoch", m.electionEpoch()}, {"quorum", m.quorum()}, {"quorum_names", m.monNames()}, {"quorum_leader_name", m.opts.Name},
		{"quorum_age", m.age()}, {"features", obj{{"quorum_con", strconv.FormatUint(features, 10)}, {"quorum_mon", monFeatures}}}, {"monmap", m.monDump()}}
	c.finish(0, "", encodeJSON(v, c.args.str("format") == "json-pretty"))
}

func cmdMonState(c *call) {
	m := c.m
	state := "peon"
	if m.leader {
		state = "leader"
	}
	con := strconv.FormatUint(features, 10)
	c.show(obj{{"name", m.opts.Name}, {"rank", int64(m.monmap.rank(m.opts.Name)) - 1}, {"state", state}, {"election_epoch", m.electionEpoch()},
		{"quorum", m.quorum()}, {"quorum_age", m.age()},
		{"features", obj{{"required_con", "0"}, {"required_mon", monFeatures}, {"quorum_con", con}, {"quorum_mon", monFeatures}}},
		{"outside_quorum", []any{}}, {"extra_probe_peers", []any{}}, {"sync_provider", []any{}}, {"monmap", m.monDump()},
		{"feature_map", m.featureMap()}, {"stretch_mode", false}})
}

// monMetadata is what is known of a monitor; of another one only its address.
func (m *Mon) monMetadata(mon clustermap.MonInfo) obj {
	o := obj{{"addrs", addrsText(mon.Addrs)}, {"ceph_release", releaseName}, {"ceph_version", release}, {"ceph_version_short", releaseNum}}
	if mon.Name == m.opts.Name {
		o = append(o, hostMetadata(hostname())...)
	}
	return o
}

// hostMetadata describes this host.
func hostMetadata(host string) obj {
	return obj{{"arch", runtime.GOARCH}, {"cpu_count", strconv.Itoa(runtime.NumCPU())}, {"hostname", host},
		{"os", runtime.GOOS}, {"pid", strconv.Itoa(os.Getpid())}}
}

// metadataValue finds a property.
func metadataValue(o obj, key string) string {
	for _, m := range o {
		if m.key == key {
			return fmt.Sprint(m.value)
		}
	}
	return "unknown"
}

func cmdMonMetadata(c *call) {
	list := []any{}
	for _, mon := range c.m.monmap.cur.Mons {
		o := c.m.monMetadata(mon)
		if mon.Name == c.args.str("id") {
			c.show(o)
			return
		}
		list = append(list, append(obj{{"name", mon.Name}}, o...))
	}
	if id := c.args.str("id"); id != "" {
		c.fail(wire.ENOENT, "mon.%s does not exist", id)
		return
	}
	c.show(list)
}

func cmdMonFeatures(c *call) {
	set := "[" + strings.Join(monFeatures, ",") + "]"
	c.output(obj{{"all", obj{{"supported", monFeatures}, {"persistent", monFeatures}}},
		{"monmap", obj{{"persistent", monFeatures}, {"optional", []any{}}, {"required", monFeatures}}}},
		fmt.Sprintf("all features\n\tsupported: %s\n\tpersistent: %s\non current monmap (epoch %d)\n\tpersistent: %s\n\trequired: %s\n",
			set, set, c.m.monmap.cur.Epoch, set, set))
}

func cmdNodes(c *call) {
	mons, osds := map[string][]string{}, map[string][]int{}
	for _, mon := range c.m.monmap.cur.Mons {
		mons[hostname()] = append(mons[hostname()], mon.Name)
	}
	om := c.m.osd.cur
	for i := range om.OSDs {
		if om.Exists(int32(i)) {
			host := hostOf(om.Crush, int32(i))
			osds[host] = append(osds[host], i)
		}
	}
	all := obj{{"mon", sortedObj(mons)}, {"osd", sortedObj(osds)}, {"mds", obj{}}, {"mgr", obj{}}}
	switch kind := c.args.str("type"); kind {
	case "", "all":
		c.show(append(all[:2:2], member{"mgr", obj{}}))
	default:
		for _, m := range all {
			if m.key == kind {
				c.show(m.value)
				return
			}
		}
		c.fail(wire.EINVAL, "no such kind of node: %s", kind)
	}
}
