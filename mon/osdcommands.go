package mon

import (
	"encoding/hex"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/spirula/spirula/rados/clustermap"
	"github.com/spirula/spirula/rados/wire"
)

// clustermapIn is the weight of a whole OSD, for division.
const clustermapIn = float64(clustermap.WeightIn)

// addOSDCommands adds the commands that show OSDs and their map.
func addOSDCommands(t commands) {
	const epoch = " name=epoch,type=CephInt,range=0,req=false"
	t.add("osd dump"+epoch, "show the OSD map", "r", cmdOSDDump)
	t.add("osd stat", "show how many OSDs there are", "r", func(c *call) {
		text := c.m.osdStatText("; epoch: e"+strconv.Itoa(int(c.m.osd.cur.Epoch))) + "\n"
		if names := flagNames(c.m.osd.cur.Flags); len(names) > 0 {
			text += "flags " + strings.Join(names, ",") + "\n"
		}
		c.output(osdStat(c.m.osd.cur), text)
	})
	t.add("osd ls"+epoch, "list OSD ids", "r", cmdOSDList)
	t.add("osd getmap"+epoch, "give the encoded map", "r", func(c *call) {
		if m := c.m.osd.cur; c.epoch(m.Epoch) {
			c.finish(0, fmt.Sprintf("got osdmap epoch %d", m.Epoch), m.Encode())
		}
	})
	t.add("osd getcrushmap"+epoch, "give the encoded CRUSH map", "r", func(c *call) {
		if m := c.m.osd.cur; c.epoch(m.Epoch) {
			c.finish(0, strconv.Itoa(int(m.CrushVersion)), m.Crush.Encode())
		}
	})
	t.add("osd getmaxosd", "show max_osd", "r", func(c *call) {
		m := c.m.osd.cur
		c.output(obj{{"epoch", m.Epoch}, {"max_osd", m.MaxOSD()}}, fmt.Sprintf("max_osd = %d in epoch %d\n", m.MaxOSD(), m.Epoch))
	})
	t.add("osd find name=id,type=CephOsdName", "show where an OSD is", "r", cmdOSDFind)
	t.add("osd metadata name=id,type=CephOsdName,req=false", "show what is known of OSDs", "r", cmdOSDMetadata)
	t.add("osd info name=id,type=CephOsdName,req=false", "show the map's entries for OSDs", "r", cmdOSDInfo)
	t.add("osd versions", "show the versions of OSDs", "r", func(c *call) { c.show(versionCount(c.m.osd.cur.NumUp())) })
	t.add("osd count-metadata name=property,type=CephString", "count OSDs by a property", "r", func(c *call) {
		n, m := map[string]int{}, c.m.osd.cur
		for i := range m.OSDs {
			if m.Exists(int32(i)) {
				n[metadataValue(c.m.osd.metadata(int32(i)), c.args.str("property"))]++
			}
		}
		c.show(sortedObj(n))
	})
	t.add("osd map name=pool,type=CephPoolname name=object,type=CephObjectname name=nspace,type=CephString,req=false", "show where an object lies", "r", cmdOSDMapObject)
	t.add("osd get-require-min-compat-client", "show the oldest release that clients may be of", "r", func(c *call) {
		c.finish(0, "", []byte(clustermap.ReleaseName(c.m.osd.cur.RequireMinCompat)+"\n"))
	})
	t.add("osd blocked-by", "show which OSDs block others", "r", func(c *call) {
		c.output(obj{{"pg_ready", true}, {"osd_blocked_by", obj{{"osd_blocked_by_infos", []any{}}}}}, newTable("osd", "num_blocked").String())
	})
	t.add("osd numa-status", "show on which memory nodes OSDs are", "r", func(c *call) {
		t, list := newTable("OSD", "<HOST", "NETWORK", "STORAGE", "AFFINITY", "<CPUS"), []any{}
		for i := range c.m.osd.cur.OSDs {
			if id := int32(i); c.m.osd.cur.Exists(id) {
				t.row(id, hostOf(c.m.osd.cur.Crush, id), "-", "-", "-", "-")
				list = append(list, obj{{"osd", id}, {"host", hostOf(c.m.osd.cur.Crush, id)}})
			}
		}
		c.output(list, t.String())
	})
	t.add("osd last-stat-seq name=id,type=CephOsdName", "show how often an OSD has reported", "r", func(c *call) {
		if id, ok := c.osd("id"); ok {
			c.finish(0, "", []byte(strconv.FormatUint(c.m.osd.stats.osds[id].seq, 10)+"\n"))
		}
	})
}

// stateWords are the names of an OSD's state.
func stateWords(o *clustermap.OSD) []string { return append([]string{}, o.State.StateNames()...) }

func cmdOSDDump(c *call) {
	m := c.m.osd.cur
	if !c.epoch(m.Epoch) {
		return
	}
	if c.isJSON() {
		c.show(raw(m.JSON()))
		return
	}
	var b strings.Builder
	if err := m.Dump(&b); err != nil {
		c.fail(wire.EIO, "%v", err)
		return
	}
	// The mon prints no empty lines, which osdmaptool does.
	c.finish(0, "", []byte(strings.TrimSuffix(strings.ReplaceAll(b.String(), "\n\n", "\n"), "\n")+"\n"))
}

func osdStat(m *clustermap.OSDMap) obj {
	return obj{{"epoch", m.Epoch}, {"num_osds", numExisting(m)}, {"num_up_osds", m.NumUp()}, {"osd_up_since", sinceUnix(m.LastUpChange)},
		{"num_in_osds", m.NumIn()}, {"osd_in_since", sinceUnix(m.LastInChange)}, {"num_remapped_pgs", len(m.PGTemp)}}
}

func sinceUnix(t wire.Time) int64 { return int64(t) / 1e9 }

// osdStatText is the line about OSDs in short; tail says what comes after it,
// the remapped placement groups only if there are any.
func (m *Mon) osdStatText(tail string) string {
	om, now := m.osd.cur, wire.TimeOf(m.opts.Now())
	since := func(t wire.Time) string {
		if t == 0 {
			return ""
		}
		return " (since " + span((now - t).Std().Sub(wire.Time(0).Std())) + ")"
	}
	if strings.HasPrefix(tail, "; 0 ") {
		tail = ""
	}
	return fmt.Sprintf("%d osds: %d up%s, %d in%s%s", numExisting(om), om.NumUp(), since(om.LastUpChange), om.NumIn(), since(om.LastInChange), tail)
}

func cmdOSDList(c *call) {
	if !c.epoch(c.m.osd.cur.Epoch) {
		return
	}
	ids, text := []int{}, ""
	for i := range c.m.osd.cur.OSDs {
		if c.m.osd.cur.Exists(int32(i)) {
			ids = append(ids, i)
			text += strconv.Itoa(i) + "\n"
		}
	}
	c.output(ids, text)
}

// parseOSD reads 3 or osd.3.
func parseOSD(s string) (int32, bool) {
	n, err := strconv.ParseInt(strings.TrimPrefix(s, "osd."), 10, 32)
	return int32(n), err == nil && n >= 0
}

// osd reads the OSD that an argument names, or ends the command.
func (c *call) osd(key string) (int32, bool) {
	id, ok := parseOSD(c.args.str(key))
	switch {
	case !ok:
		c.fail(wire.EINVAL, "invalid osd id '%s'", c.args.str(key))
	case !c.m.osd.view().Exists(id):
		c.fail(wire.ENOENT, "osd.%d does not exist", id)
		ok = false
	}
	return id, ok
}

func locationObj(s *osdService, id int32) obj {
	o := obj{}
	for _, l := range s.cur.Crush.LocationOf(id) {
		o = append(o, member{l.Type, l.Name})
	}
	return o
}

func cmdOSDFind(c *call) {
	id, ok := c.osd("id")
	if !ok {
		return
	}
	s := c.m.osd
	if !s.cur.Exists(id) {
		c.fail(wire.EAGAIN, "osd.%d is about to be", id)
		return
	}
	o := &s.cur.OSDs[id]
	c.show(obj{{"osd", id}, {"addrs", obj{{"addrvec", addrVec(o.Client...)}}}, {"osd_fsid", o.UUID.String()},
		{"host", hostOf(s.cur.Crush, id)}, {"crush_location", locationObj(s, id)}})
}

// metadata is what is known of an OSD.
func (s *osdService) metadata(id int32) obj {
	o := &s.cur.OSDs[id]
	return obj{{"back_addr", addrsText(o.Cluster)}, {"ceph_release", releaseName}, {"ceph_version", release}, {"ceph_version_short", releaseNum},
		{"default_device_class", className(s.cur.Crush, id)}, {"front_addr", addrsText(o.Client)}, {"hb_back_addr", addrsText(o.HBBack)},
		{"hb_front_addr", addrsText(o.HBFront)}, {"hostname", hostOf(s.cur.Crush, id)}, {"osd_objectstore", "spirula"}}
}

func cmdOSDMetadata(c *call) {
	m := c.m.osd.cur
	if c.args["id"] != nil {
		if id, ok := c.osd("id"); ok && m.Exists(id) {
			c.show(append(obj{{"id", id}}, c.m.osd.metadata(id)...))
		} else if ok {
			c.fail(wire.EAGAIN, "osd.%d is about to be", id)
		}
		return
	}
	list := []any{}
	for i := range m.OSDs {
		if m.Exists(int32(i)) {
			list = append(list, append(obj{{"id", i}}, c.m.osd.metadata(int32(i))...))
		}
	}
	c.show(list)
}

func cmdOSDInfo(c *call) {
	m := c.m.osd.cur
	if c.args["id"] != nil {
		if id, ok := c.osd("id"); ok && m.Exists(id) {
			c.output(raw(m.OSDJSON(id)), m.OSDText(id))
		} else if ok {
			c.fail(wire.EAGAIN, "osd.%d is about to be", id)
		}
		return
	}
	list, text := []any{}, ""
	for i := range m.OSDs {
		if id := int32(i); m.Exists(id) {
			list = append(list, raw(m.OSDJSON(id)))
			text += m.OSDText(id)
		}
	}
	c.output(list, text)
}

func cmdOSDMapObject(c *call) {
	m := c.m.osd.cur
	name, object, space := c.args.str("pool"), c.args.str("object"), c.args.str("nspace")
	pool, ok := m.PoolByName(name)
	if !ok {
		c.fail(wire.ENOENT, "pool %s does not exist", name)
		return
	}
	pg, hash, err := m.ObjectPG(pool, space, "", object)
	if err != nil {
		c.fail(wire.ErrnoOf(err), "%v", err)
		return
	}
	full := object
	if space != "" {
		full = space + "/" + object
	}
	mp := m.Map(pg)
	rawPG := fmt.Sprintf("%d.%x", pool, hash)
	c.output(obj{{"epoch", m.Epoch}, {"pool", name}, {"pool_id", pool}, {"objname", full}, {"raw_pgid", rawPG}, {"pgid", pg.String()},
		{"up", ints(mp.Up)}, {"up_primary", mp.UpPrimary}, {"acting", ints(mp.Acting)}, {"acting_primary", mp.ActingPrimary}},
		fmt.Sprintf("osdmap e%d pool '%s' (%d) object '%s' -> pg %s (%s) -> up (%s, p%d) acting (%s, p%d)\n", m.Epoch, name, pool,
			full, rawPG, pg, osdList(mp.Up), mp.UpPrimary, osdList(mp.Acting), mp.ActingPrimary))
}

// ints is a list that is never null in JSON.
func ints(v []int32) []int32 { return append([]int32{}, v...) }

// ids reads the OSDs that a command names: 3, osd.3, or "all".
func (c *call) ids() (out []int32, ok bool) {
	m := c.m.osd.view()
	for _, word := range c.args.list("ids") {
		if word == "all" || word == "any" || word == "*" {
			for i := range m.OSDs {
				if m.Exists(int32(i)) {
					out = append(out, int32(i))
				}
			}
			continue
		}
		id, ok := parseOSD(word)
		if !ok {
			c.fail(wire.EINVAL, "Expected option value to be integer, got '%s'invalid osd id", word)
			return nil, false
		}
		out = append(out, id)
	}
	slices.Sort(out)
	return slices.Compact(out), true
}

// parseUUID reads a UUID with or without dashes.
func parseUUID(s string) (id wire.FSID, ok bool) {
	b, err := hex.DecodeString(strings.ReplaceAll(s, "-", ""))
	copy(id[:], b)
	return id, err == nil && len(b) == len(id) && id != (wire.FSID{})
}
