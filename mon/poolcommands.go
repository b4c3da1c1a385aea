package mon

import (
	"fmt"
	"math"
	"strings"

	"github.com/spirula/spirula/rados/clustermap"
	"github.com/spirula/spirula/rados/wire"
)

// addPoolCommands adds the commands about pools.
func addPoolCommands(t commands) {
	const pool = " name=pool,type=CephPoolname"
	const limit = ",type=CephInt,range=0,req=false"
	t.add("osd pool create"+pool+" name=pg_num"+limit+" name=pgp_num"+limit+" name=pool_type,type=CephChoices,strings=replicated|erasure,req=false "+
		"name=erasure_code_profile,type=CephString,goodchars=[A-Za-z0-9-_.],req=false name=rule,type=CephString,req=false name=expected_num_objects"+limit+
		" name=size"+limit+" name=pg_num_min"+limit+" name=pg_num_max"+limit+" name=autoscale_mode,type=CephChoices,strings=on|off|warn,req=false "+
		"name=bulk,type=CephBool,req=false name=target_size_bytes"+limit+" name=target_size_ratio,type=CephFloat,range=0.0,req=false", "make a pool", "rw", cmdPoolCreate)
	del := pool + " name=pool2,type=CephPoolname,req=false name=yes_i_really_really_mean_it,type=CephBool,req=false name=yes_i_really_really_mean_it_not_faking,type=CephBool,req=false"
	for _, word := range []string{"delete", "rm"} {
		t.add("osd pool "+word+del, "delete a pool and all of its objects", "rw", cmdPoolDelete)
	}
	t.add("osd pool rename name=srcpool,type=CephPoolname name=destpool,type=CephPoolname", "rename a pool", "rw", cmdPoolRename)
	t.add("osd pool ls name=detail,type=CephChoices,strings=detail,req=false", "list pools", "r", cmdPoolLs)
	t.add("osd lspools", "list pools with their ids", "r", func(c *call) {
		m, text, list := c.m.osd.cur, "", []any{}
		for _, id := range poolIDs(m) {
			list = append(list, obj{{"poolnum", id}, {"poolname", m.PoolNames[id]}})
			text += fmt.Sprintf("%d %s\n", id, m.PoolNames[id])
		}
		c.output(list, text)
	})
	vars := strings.Join(settingNames(), "|")
	t.add("osd pool get"+pool+" name=var,type=CephChoices,strings="+vars+"|all", "show settings of a pool", "r", cmdPoolGet)
	t.add("osd pool set"+pool+" name=var,type=CephChoices,strings="+vars+" name=val,type=CephString name=yes_i_really_mean_it,type=CephBool,req=false",
		"change a setting of a pool", "rw", cmdPoolSet)
	t.add("osd pool set-quota"+pool+" name=field,type=CephChoices,strings=max_objects|max_bytes name=val,type=CephString", "limit a pool", "rw", cmdPoolSetQuota)
	t.add("osd pool get-quota"+pool, "show the limits of a pool", "r", cmdPoolGetQuota)
	t.add("osd pool stats name=pool_name,type=CephPoolname,req=false", "show what goes on in pools", "r", cmdPoolStats)
	t.add("osd pool mksnap"+pool+" name=snap,type=CephString", "make a snapshot of a pool", "rw", func(c *call) { cmdPoolSnap(c, true) })
	t.add("osd pool rmsnap"+pool+" name=snap,type=CephString", "remove a snapshot of a pool", "rw", func(c *call) { cmdPoolSnap(c, false) })
	t.add("osd pool autoscale-status name=format,type=CephString,req=false", "show what an autoscaler would do: nothing", "r", func(c *call) {
		c.output([]any{}, newTable("<POOL", "SIZE", "TARGET SIZE", "RATE", "RAW CAPACITY", "RATIO", "TARGET RATIO", "EFFECTIVE RATIO", "BIAS", "PG_NUM", "NEW PG_NUM", "<AUTOSCALE", "<BULK").String())
	})
}

func poolIDs(m *clustermap.OSDMap) []int64 { return sortedKeys(m.Pools) }

// pool finds the pool that a command names, or ends the command.
func (c *call) pool(key string) (int64, bool) {
	id, ok := c.m.osd.view().PoolByName(c.args.str(key))
	if !ok {
		c.fail(wire.ENOENT, "unrecognized pool '%s'", c.args.str(key))
	}
	return id, ok
}

func cmdPoolCreate(c *call) {
	name := c.args.str("pool")
	n := poolCreate{name: name, rule: -1, opts: map[int32]clustermap.PoolOpt{}}
	n.pgNum, _ = c.args.num("pg_num", 0)
	n.pgpNum, _ = c.args.num("pgp_num", 0)
	n.size, _ = c.args.num("size", 0)
	n.minSize, _ = c.args.num("min_size", 0)
	n.expected, _ = c.args.num("expected_num_objects", 0)
	view := c.m.osd.view()
	if _, exists := view.PoolByName(name); exists {
		c.ok("pool '%s' already exists", name)
		return
	}
	rule := c.args.str("rule")
	switch kind := c.args.str("pool_type"); kind {
	case "", "replicated":
		// In the place of the profile a replicated pool has the name of its
		// rule, and in that of the rule its expected number of objects.
		if named := c.args.str("erasure_code_profile"); named != "" {
			if expected, ok := c.args.num("rule", 0); ok && rule != "" {
				n.expected = max(expected, 0)
			}
			rule = named
		}
	case "erasure":
		c.fail(wire.EOPNOTSUPP, "pools with erasure codes are not supported: make a replicated one")
		return
	default:
		c.fail(wire.EINVAL, "unknown pool type '%s'", kind)
		return
	}
	if id, ok := view.Crush.RuleByName(rule); ok {
		n.rule = int64(id)
	} else if rule != "" {
		c.fail(wire.ENOENT, "specified rule %s doesn't exist", rule)
		return
	}
	most := min(clustermap.MaxPGs, c.m.optionInt("mon_max_pool_pg_num"))
	if n.pgNum < 0 || n.pgNum > most {
		c.fail(wire.ERANGE, "'pg_num' must be greater than 0 and less than or equal to %d (you may adjust 'mon max pool pg num' for higher values)", most)
		return
	}
	if n.pgNum != 0 && n.pgpNum > n.pgNum {
		c.fail(wire.ERANGE, "'pgp_num' must be greater than 0 and lower or equal than 'pg_num', which in this case is %d", n.pgNum)
		return
	}
	c.m.osd.createPool(n, func(e wire.Errno, epoch wire.Epoch) {
		c.seen = uint64(epoch)
		switch e {
		case 0:
			c.ok("pool '%s' created", name)
		case wire.EEXIST:
			c.ok("pool '%s' already exists", name)
		case wire.ERANGE:
			c.fail(e, "too many pools, or mon_max_pg_per_osd (%d) would be exceeded", c.m.optionInt("mon_max_pg_per_osd"))
		default:
			c.fail(e, "%v", e)
		}
	})
}

func cmdPoolDelete(c *call) {
	name := c.args.str("pool")
	view := c.m.osd.view()
	id, ok := view.PoolByName(name)
	switch {
	case !ok:
		c.ok("pool '%s' does not exist", name)
		return
	case c.args.truth("yes_i_really_really_mean_it_not_faking"):
	case c.args.str("pool2") != name || !c.args.truth("yes_i_really_really_mean_it") && c.args.str("sure") == "":
		c.fail(wire.EPERM, "WARNING: this will *PERMANENTLY DESTROY* all data stored in pool %s.  If you are *ABSOLUTELY CERTAIN* that is what you want, pass the pool name *twice*, followed by --yes-i-really-really-mean-it.", name)
		return
	}
	switch p := view.Pool(id); {
	case !c.m.optionTrue("mon_allow_pool_delete"):
		c.fail(wire.EPERM, "pool deletion is disabled; you must first set the mon_allow_pool_delete config option to true before you can destroy a pool")
		return
	case p.Flags&clustermap.PoolNoDelete != 0:
		c.fail(wire.EPERM, "pool deletion is disabled; you must unset nodelete flag for the pool first")
		return
	case p.TierOf >= 0:
		c.fail(wire.EBUSY, "pool '%s' is a tier of '%s'", name, view.PoolNames[p.TierOf])
		return
	case len(p.Tiers) > 0:
		c.fail(wire.EBUSY, "pool '%s' has tiers", name)
		return
	}
	c.m.osd.deletePool(id, c.committed("pool '%s' removed", name))
}

func cmdPoolRename(c *call) {
	from, to := c.args.str("srcpool"), c.args.str("destpool")
	view := c.m.osd.view()
	_, ok := view.PoolByName(from)
	_, taken := view.PoolByName(to)
	switch {
	case !ok && taken:
		c.ok("pool '%s' does not exist; pool '%s' does -- assuming successful rename", from, to)
	case !ok:
		c.fail(wire.ENOENT, "unrecognized pool '%s'", from)
	case taken:
		c.fail(wire.EEXIST, "pool '%s' already exists", to)
	default:
		c.m.osd.renamePool(from, to, c.committed("pool '%s' renamed to '%s'", from, to))
	}
}

func cmdPoolLs(c *call) {
	m := c.m.osd.cur
	detail := c.args.str("detail") == "detail"
	names, details, text := []string{}, []any{}, ""
	for _, id := range poolIDs(m) {
		names = append(names, m.PoolNames[id])
		if detail {
			details = append(details, raw(m.PoolJSON(id)))
			text += m.PoolText(id)
			if q := m.RemovedSnapsQueue[id]; len(q) > 0 {
				text += fmt.Sprintf("\tremoved_snaps_queue %s\n", q)
			}
		}
	}
	if detail {
		c.output(details, text+"\n")
		return
	}
	c.output(names, lines(names))
}

func cmdPoolSetQuota(c *call) {
	id, ok := c.pool("pool")
	if !ok {
		return
	}
	field, val := c.args.str("field"), c.args.str("val")
	base := uint64(1000)
	if field == "max_bytes" {
		base = 1024
	}
	n, ok := parseScaled(val, base)
	if !ok || field != "max_bytes" && field != "max_objects" {
		c.fail(wire.EINVAL, "error parsing value '%s'", val)
		return
	}
	c.m.osd.editPool(id, func(p *clustermap.Pool) wire.Errno {
		if field == "max_bytes" {
			p.QuotaMaxBytes = n
		} else {
			p.QuotaMaxObjects = n
		}
		return 0
	}, c.committed("set-quota %s = %d for pool %s", field, n, c.args.str("pool")))
}

// parseScaled reads a number with one of the units k, M, G, T, P, E; Ki and
// so on always are by 1024.
func parseScaled(s string, base uint64) (uint64, bool) {
	digits := strings.TrimRight(s, "BKMGTPEki")
	unit := strings.TrimSuffix(s[len(digits):], "B")
	if strings.HasSuffix(unit, "i") {
		unit, base = unit[:len(unit)-1], 1024
	}
	power := 0
	if unit != "" {
		i := strings.Index("KMGTPE", strings.ToUpper(unit))
		if i < 0 || len(unit) != 1 {
			return 0, false
		}
		power = i + 1
	}
	n, ok := args{"n": digits}.num("n", 0)
	v := uint64(n)
	for range power {
		if v > math.MaxInt64/base {
			return 0, false
		}
		v *= base
	}
	return v, ok && n >= 0 && digits != ""
}

func cmdPoolGetQuota(c *call) {
	id, ok := c.pool("pool")
	if !ok {
		return
	}
	p, st, name := c.m.osd.view().Pool(id), c.m.osd.poolSums()[id], c.args.str("pool")
	text := fmt.Sprintf("quotas for pool '%s':\n  max objects: ", name)
	if p.QuotaMaxObjects == 0 {
		text += "N/A"
	} else {
		text += fmt.Sprintf("%s objects  (current num objects: %d objects)", count(p.QuotaMaxObjects), st.Objects)
	}
	text += "\n  max bytes  : "
	if p.QuotaMaxBytes == 0 {
		text += "N/A"
	} else {
		text += fmt.Sprintf("%s  (current num bytes: %d bytes)", size(p.QuotaMaxBytes), st.Bytes)
	}
	c.output(obj{{"pool_name", name}, {"pool_id", id}, {"quota_max_objects", p.QuotaMaxObjects}, {"current_num_objects", st.Objects},
		{"quota_max_bytes", p.QuotaMaxBytes}, {"current_num_bytes", st.Bytes}}, text+"\n")
}

func cmdPoolStats(c *call) {
	s := c.m.osd
	ids := poolIDs(s.cur)
	if name := c.args.str("pool_name"); name != "" {
		id, ok := s.cur.PoolByName(name)
		if !ok {
			c.fail(wire.ENOENT, "unrecognized pool '%s'", name)
			return
		}
		ids = []int64{id}
	}
	list, text := []any{}, ""
	sums := s.poolSums()
	for _, id := range ids {
		r, d := s.stats.rates[id], &sums[id].Detail.Sums
		client := poolRate{reads: r.reads, readBytes: r.readBytes, writes: r.writes, writeBytes: r.writeBytes}
		recovery := obj{}
		body := ""
		if d.Degraded > 0 {
			recovery = append(recovery, member{"degraded_objects", d.Degraded}, member{"degraded_total", d.Copies})
			body += fmt.Sprintf("  %d/%d objects degraded (%.3f%%)\n", d.Degraded, d.Copies, 100*float64(d.Degraded)/float64(max(d.Copies, 1)))
		}
		if t := r.recoveryText(); t != "" {
			body += "  recovery io " + t + "\n"
		}
		if t := client.clientText(); t != "" {
			body += "  client io " + t + "\n"
		}
		if body == "" {
			body = "  nothing is going on\n"
		}
		text += fmt.Sprintf("pool %s id %d\n%s\n", s.cur.PoolNames[id], id, body)
		rate := poolRate{objects: r.objects, bytes: r.bytes}
		list = append(list, obj{{"pool_name", s.cur.PoolNames[id]}, {"pool_id", id}, {"recovery", recovery},
			{"recovery_rate", append(obj{}, rate.fields()...)}, {"client_io_rate", append(obj{}, client.fields()...)}})
	}
	c.output(list, text)
}

func cmdPoolSnap(c *call, create bool) {
	id, ok := c.pool("pool")
	if !ok {
		return
	}
	pool, snap := c.args.str("pool"), c.args.str("snap")
	s := c.m.osd
	exists := false
	for _, sn := range s.view().Pool(id).Snaps {
		exists = exists || sn.Name == snap
	}
	answer := func(done func(wire.Errno, wire.Epoch)) func(wire.Errno, wire.Epoch) {
		return func(e wire.Errno, epoch wire.Epoch) {
			if e == wire.EINVAL {
				c.fail(e, "pool %s is in unmanaged snaps mode", pool)
				return
			}
			done(e, epoch)
		}
	}
	switch {
	case create && exists:
		c.ok("pool %s snap %s already exists", pool, snap)
	case create:
		s.editPool(id, func(p *clustermap.Pool) wire.Errno { return s.createPoolSnap(p, snap) }, answer(c.committed("created pool %s snap %s", pool, snap)))
	case !exists && s.view().Pool(id).Flags&clustermap.PoolSelfManagedSnaps == 0:
		c.ok("pool %s snap %s does not exist", pool, snap)
	default:
		s.deletePoolSnap(id, snap, answer(c.committed("removed pool %s snap %s", pool, snap)))
	}
}
