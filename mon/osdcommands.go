package mon

import (
	"encoding/hex"
	"fmt"
	"net/netip"
	"sort"
	"strconv"
	"strings"
	"time"

	"github.com/spirula/spirula/rados/clustermap"
	"github.com/spirula/spirula/rados/wire"
)

// defaultBlock is how long an address is blocklisted, in seconds; maxBlock
// bounds it.
const (
	defaultBlock = 3600
	maxBlock     = 10 * 365 * 86400
)

// addOSDCommands adds the commands about OSDs and the map.
func addOSDCommands(t map[string]*spec) {
	ids := []param{req("ids", "CephString")}
	add := func(prefix string, params []param, help, perm string, run func(*call)) {
		t[prefix] = &spec{params, help, perm, run}
	}
	add("osd dump", nil, "show the OSD map", "r", cmdOSDDump)
	add("osd stat", nil, "show how many OSDs there are", "r", cmdOSDStat)
	add("osd ls", nil, "list OSD ids", "r", cmdOSDList)
	add("osd tree", nil, "show the OSDs under their hosts", "r", cmdOSDTree)
	add("osd getmap", nil, "give the encoded map", "r", func(c *call) {
		c.finish(0, fmt.Sprintf("got osdmap epoch %d", c.m.osd.cur.Epoch), c.m.osd.cur.Encode())
	})
	add("osd getcrushmap", nil, "give the encoded CRUSH map", "r", func(c *call) {
		c.finish(0, strconv.Itoa(int(c.m.osd.cur.CrushVersion)), c.m.osd.cur.Crush.Encode())
	})
	add("osd getmaxosd", nil, "show max_osd", "r", func(c *call) {
		m := c.m.osd.cur
		c.output(map[string]any{"epoch": m.Epoch, "max_osd": m.MaxOSD()}, fmt.Sprintf("max_osd = %d in epoch %d\n", m.MaxOSD(), m.Epoch))
	})
	add("osd new", []param{req("uuid", "CephUUID")}, "give a store a number", "rw", cmdOSDNew)
	add("osd down", ids, "mark OSDs down", "rw", cmdOSDDown)
	add("osd in", ids, "let OSDs take data", "rw", func(c *call) { cmdOSDWeight(c, clustermap.WeightIn) })
	add("osd out", ids, "take data away from OSDs", "rw", func(c *call) { cmdOSDWeight(c, 0) })
	add("osd set", []param{req("key", "CephString")}, "set a flag of the map", "rw", func(c *call) { cmdOSDFlag(c, true) })
	add("osd unset", []param{req("key", "CephString")}, "clear a flag of the map", "rw", func(c *call) { cmdOSDFlag(c, false) })
	add("osd lost", []param{req("id", "CephOsdId"), opt("yes_i_really_mean_it", "CephBool")}, "give up the data of an OSD", "rw", cmdOSDLost)
	add("osd blocklist", []param{{name: "blocklistop", kind: "CephChoices", required: true, choices: "add|rm"},
		req("addr", "CephEntityAddr"), opt("expire", "CephFloat")}, "shut an address out, or let it in again", "rw", cmdBlocklist)
	add("osd blocklist ls", nil, "show who is shut out", "r", cmdBlocklistLs)
	add("osd map", []param{req("pool", "CephPoolname"), req("object", "CephObjectname"), opt("nspace", "CephString")}, "show where an object lies", "r", cmdOSDMapObject)
}

func stateWords(o *clustermap.OSD) []string {
	out := []string{}
	for _, w := range []struct {
		s    clustermap.State
		name string
	}{{clustermap.StateExists, "exists"}, {clustermap.StateUp, "up"}, {clustermap.StateAutoOut, "autoout"},
		{clustermap.StateNew, "new"}, {clustermap.StateFull, "full"}, {clustermap.StateNearFull, "nearfull"}} {
		if o.State&w.s != 0 {
			out = append(out, w.name)
		}
	}
	return out
}

func cmdOSDDump(c *call) {
	m := c.m.osd.cur
	osds, pools := []map[string]any{}, []map[string]any{}
	var b strings.Builder
	fmt.Fprintf(&b, "epoch %d\nfsid %s\ncreated %s\nmodified %s\nflags %s\n", m.Epoch, m.FSID,
		m.Created.Std().Format(time.RFC3339), m.Modified.Std().Format(time.RFC3339), strings.Join(flagNames(m.Flags), ","))
	for _, id := range poolIDs(m) {
		p := m.Pools[id]
		pools = append(pools, poolDetail(m, id))
		fmt.Fprintf(&b, "pool %d '%s' replicated size %d min_size %d crush_rule %d pg_num %d pgp_num %d last_change %d snap_seq %d removed_snaps_queue %v\n",
			id, m.PoolNames[id], p.Size, p.MinSize, p.CrushRule, p.PGNum, p.PGPNum, p.LastChange, p.SnapSeq, m.RemovedSnapsQueue[id])
	}
	fmt.Fprintf(&b, "max_osd %d\n", m.MaxOSD())
	for i := range m.OSDs {
		o := &m.OSDs[i]
		if !m.Exists(int32(i)) {
			continue
		}
		up, in := 0, 0
		if m.IsUp(int32(i)) {
			up = 1
		}
		if m.IsIn(int32(i)) {
			in = 1
		}
		osds = append(osds, map[string]any{"osd": i, "uuid": o.UUID.String(), "up": up, "in": in,
			"weight": float64(o.Weight) / clustermapIn, "up_from": o.Info.UpFrom, "up_thru": o.Info.UpThru, "down_at": o.Info.DownAt,
			"lost_at": o.Info.LostAt, "public_addr": m.Addr(int32(i)).String(), "state": stateWords(o)})
		fmt.Fprintf(&b, "osd.%d %s weight %g up_from %d up_thru %d down_at %d %s %s\n", i, strings.Join(stateWords(o), ","),
			float64(o.Weight)/clustermapIn, o.Info.UpFrom, o.Info.UpThru, o.Info.DownAt, m.Addr(int32(i)), o.UUID)
	}
	block := map[string]string{}
	for _, a := range blocked(m) {
		block[a.String()] = m.Blocklist[a].Std().Format(time.RFC3339)
		fmt.Fprintf(&b, "blocklist %s expires %s\n", a, block[a.String()])
	}
	c.output(map[string]any{"epoch": m.Epoch, "fsid": m.FSID.String(), "flags": strings.Join(flagNames(m.Flags), ","), "max_osd": m.MaxOSD(),
		"pools": pools, "osds": osds, "blocklist": block, "full_ratio": m.FullRatio, "nearfull_ratio": m.NearFullRatio}, b.String())
}

// clustermapIn is the weight of a whole OSD, for division.
const clustermapIn = float64(clustermap.WeightIn)

func cmdOSDStat(c *call) {
	m := c.m.osd.cur
	c.output(map[string]any{"epoch": m.Epoch, "num_osds": numExisting(m), "num_up_osds": m.NumUp(), "num_in_osds": m.NumIn()},
		fmt.Sprintf("%s: %d up, %d in; epoch: e%d\n", plural(numExisting(m), "osd"), m.NumUp(), m.NumIn(), m.Epoch))
}

func cmdOSDList(c *call) {
	ids, text := []int{}, ""
	for i := range c.m.osd.cur.OSDs {
		if c.m.osd.cur.Exists(int32(i)) {
			ids = append(ids, i)
			text += strconv.Itoa(i) + "\n"
		}
	}
	c.output(ids, text)
}

func cmdOSDTree(c *call) {
	m := c.m.osd.cur
	nodes := []map[string]any{}
	var b strings.Builder
	b.WriteString("ID  WEIGHT  TYPE NAME  STATUS  REWEIGHT\n")
	for _, bucket := range m.Crush.Buckets {
		if bucket == nil {
			continue
		}
		nodes = append(nodes, map[string]any{"id": bucket.ID, "name": m.Crush.Names[bucket.ID],
			"type": m.Crush.Types[int32(bucket.Type)], "type_id": bucket.Type, "children": bucket.Items})
		fmt.Fprintf(&b, "%d  %g  %s %s\n", bucket.ID, float64(bucket.Weight)/clustermapIn, m.Crush.Types[int32(bucket.Type)], m.Crush.Names[bucket.ID])
		for i, id := range bucket.Items {
			if id < 0 {
				continue
			}
			status, exists, reweight := "down", 0, 0.0
			if m.IsUp(id) {
				status = "up"
			}
			if m.Exists(id) {
				exists, reweight = 1, float64(m.OSDs[id].Weight)/clustermapIn
			}
			w := float64(bucket.ItemWeightAt(i)) / clustermapIn
			nodes = append(nodes, map[string]any{"id": id, "name": fmt.Sprintf("osd.%d", id), "type": "osd", "type_id": 0,
				"crush_weight": w, "exists": exists, "status": status, "reweight": reweight, "primary_affinity": 1})
			fmt.Fprintf(&b, "%d  %g      osd.%d  %s  %g\n", id, w, id, status, reweight)
		}
	}
	c.output(map[string]any{"nodes": nodes, "stray": []any{}}, b.String())
}

// cmdOSDNew gives a store the lowest free number; asking again for the same
// uuid gives the same one.
func cmdOSDNew(c *call) {
	var uuid wire.FSID
	raw, err := hex.DecodeString(strings.ReplaceAll(c.args.str("uuid"), "-", ""))
	if err != nil || len(raw) != len(uuid) {
		c.fail(wire.EINVAL, "not a uuid")
		return
	}
	copy(uuid[:], raw)
	s := c.m.osd
	view := s.view()
	id := view.MaxOSD()
	for i := range view.OSDs {
		if view.Exists(int32(i)) && view.OSDs[i].UUID == uuid {
			c.output(map[string]any{"osdid": i}, strconv.Itoa(i)+"\n")
			return
		}
	}
	for i := range view.OSDs {
		if !view.Exists(int32(i)) {
			id = int32(i)
			break
		}
	}
	if id >= clustermap.MaxOSDs {
		c.fail(wire.ERANGE, "too many osds")
		return
	}
	inc := s.change(true, func(e wire.Errno, _ wire.Epoch) {
		if e != 0 {
			c.fail(e, "%v", e)
			return
		}
		c.output(map[string]any{"osdid": id}, strconv.Itoa(int(id))+"\n")
	})
	if id >= view.MaxOSD() {
		inc.NewMaxOSD = id + 1
	}
	inc.NewState[id] ^= clustermap.StateExists | clustermap.StateNew
	inc.NewWeight[id] = clustermap.WeightIn
	inc.NewUUID[id] = uuid
}

// ids reads the OSDs that a command names: 3, osd.3, or "all".
func (c *call) ids() (out []int32, ok bool) {
	m := c.m.osd.view()
	for _, word := range c.args.list("ids") {
		if word == "all" || word == "any" || word == "*" {
			for i := range m.OSDs {
				out = append(out, int32(i))
			}
			continue
		}
		n, err := strconv.ParseInt(strings.TrimPrefix(word, "osd."), 10, 32)
		if err != nil || n < 0 {
			c.fail(wire.EINVAL, "%s is no osd", word)
			return nil, false
		}
		if !m.Exists(int32(n)) {
			c.fail(wire.ENOENT, "osd.%d does not exist", n)
			return nil, false
		}
		out = append(out, int32(n))
	}
	return out, true
}

func cmdOSDDown(c *call) {
	ids, ok := c.ids()
	if !ok {
		return
	}
	n := 0
	for _, id := range ids {
		if c.m.osd.view().IsUp(id) {
			c.m.osd.markDown(id)
			n++
		}
	}
	if n == 0 {
		c.ok("already down")
		return
	}
	c.m.osd.change(true, c.committed("marked down %s", plural(n, "osd")))
}

func cmdOSDWeight(c *call, weight uint32) {
	ids, ok := c.ids()
	if !ok {
		return
	}
	view := c.m.osd.view()
	n := 0
	for _, id := range ids {
		if view.Exists(id) && view.OSDs[id].Weight != weight {
			inc := c.m.osd.change(true, nil)
			inc.NewWeight[id] = weight
			inc.NewLastIn = inc.Modified
			n++
		}
	}
	if n == 0 {
		c.ok("nothing to change")
		return
	}
	c.m.osd.change(true, c.committed("changed %s", plural(n, "osd")))
}

func cmdOSDFlag(c *call, on bool) {
	flag := clustermap.Flag(0)
	key := c.args.str("key")
	for _, f := range mapFlags {
		if f.name == key || key == "pause" && strings.HasPrefix(f.name, "pause") {
			flag |= f.flag
		}
	}
	if flag == 0 {
		c.fail(wire.EINVAL, "no such flag")
		return
	}
	flags := c.m.osd.view().Flags
	word := "set"
	if on {
		flags |= flag
	} else {
		flags &^= flag
		word = "unset"
	}
	c.m.osd.change(true, c.committed("%s is %s", key, word)).NewFlags = int32(flags)
}

func cmdOSDLost(c *call) {
	id64, _ := c.args.num("id", -1)
	view, id := c.m.osd.view(), int32(id64)
	switch {
	case !c.args.truth("yes_i_really_mean_it"):
		c.fail(wire.EPERM, "are you SURE? this might mean real, permanent data loss")
	case !view.Exists(id):
		c.fail(wire.ENOENT, "osd.%d does not exist", id)
	case view.IsUp(id):
		c.fail(wire.EBUSY, "osd.%d is not down", id)
	default:
		inc := c.m.osd.change(true, c.committed("marked osd lost in epoch %d", c.m.osd.base().Epoch+1))
		inc.NewLost[id] = max(view.Info(id).DownAt, 1)
	}
}

// parseAddr reads "[v2:]ip:port/nonce", or "ip" for a whole host.
func parseAddr(s string) (wire.Addr, bool) {
	s = strings.TrimPrefix(strings.TrimPrefix(s, "v2:"), "any:")
	host, nonce, _ := strings.Cut(s, "/")
	a := wire.Addr{Type: wire.AddrMsgr2}
	if nonce != "" {
		n, err := strconv.ParseUint(nonce, 10, 32)
		if err != nil {
			return a, false
		}
		a.Nonce = uint32(n)
	}
	if ap, err := netip.ParseAddrPort(host); err == nil {
		a.IP = ap
		return a, true
	}
	ip, err := netip.ParseAddr(host)
	a.IP = netip.AddrPortFrom(ip, 0)
	return a, err == nil
}

func cmdBlocklist(c *call) {
	a, ok := parseAddr(c.args.str("addr"))
	if !ok {
		c.fail(wire.EINVAL, "not an address: %s", c.args.str("addr"))
		return
	}
	view := c.m.osd.view()
	_, listed := view.Blocklist[a]
	switch c.args.str("blocklistop") {
	case "add":
		secs := float64(defaultBlock)
		if f, ok := c.args["expire"].(float64); ok {
			secs = f
		} else if f, err := strconv.ParseFloat(c.args.str("expire"), 64); err == nil {
			secs = f
		}
		if secs <= 0 || secs > maxBlock || len(view.Blocklist) >= maxBlocklist {
			c.fail(wire.EINVAL, "not a time, or the list is full")
			return
		}
		until := c.m.opts.Now().Add(time.Duration(secs * float64(time.Second)))
		inc := c.m.osd.change(true, c.committed("blocklisting %s until %s (%g sec)", a, until.Format(time.RFC3339), secs))
		inc.NewBlocklist[a] = wire.TimeOf(until)
	case "rm":
		if !listed {
			c.ok("%s isn't blocklisted", a)
			return
		}
		inc := c.m.osd.change(true, c.committed("un-blocklisting %s", a))
		delete(inc.NewBlocklist, a)
		if _, old := c.m.osd.base().Blocklist[a]; old {
			inc.OldBlocklist = append(inc.OldBlocklist, a)
		}
	default:
		c.fail(wire.EINVAL, "add or rm")
	}
}

func blocked(m *clustermap.OSDMap) []wire.Addr {
	out := make([]wire.Addr, 0, len(m.Blocklist))
	for a := range m.Blocklist {
		out = append(out, a)
	}
	sort.Slice(out, func(i, j int) bool { return out[i].String() < out[j].String() })
	return out
}

func cmdBlocklistLs(c *call) {
	m := c.m.osd.cur
	list, text := []map[string]string{}, ""
	for _, a := range blocked(m) {
		until := m.Blocklist[a].Std().Format(time.RFC3339)
		list = append(list, map[string]string{"addr": a.String(), "until": until})
		text += a.String() + " " + until + "\n"
	}
	c.output(list, text)
}

func cmdOSDMapObject(c *call) {
	m := c.m.osd.cur
	pool, ok := m.PoolByName(c.args.str("pool"))
	if !ok {
		c.fail(wire.ENOENT, "pool %s does not exist", c.args.str("pool"))
		return
	}
	pg, hash, err := m.ObjectPG(pool, c.args.str("nspace"), "", c.args.str("object"))
	if err != nil {
		c.fail(wire.ErrnoOf(err), "%v", err)
		return
	}
	mp := m.Map(pg)
	c.output(map[string]any{"epoch": m.Epoch, "pool": c.args.str("pool"), "pool_id": pool, "objname": c.args.str("object"),
		"raw_pgid": fmt.Sprintf("%d.%x", pool, hash), "pgid": pg.String(), "up": mp.Up, "up_primary": mp.UpPrimary, "acting": mp.Acting, "acting_primary": mp.ActingPrimary},
		fmt.Sprintf("osdmap e%d pool '%s' (%d) object '%s' -> pg %d.%x (%s) -> up (%v, p%d) acting (%v, p%d)\n", m.Epoch, c.args.str("pool"), pool,
			c.args.str("object"), pool, hash, pg, mp.Up, mp.UpPrimary, mp.Acting, mp.ActingPrimary))
}
