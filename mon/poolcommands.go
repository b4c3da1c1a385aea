package mon

import (
	"fmt"
	"sort"
	"strconv"
	"strings"

	"github.com/spirula/spirula/rados/clustermap"
	"github.com/spirula/spirula/rados/wire"
)

// addPoolCommands adds the commands about pools.
func addPoolCommands(t map[string]*spec) {
	pool := req("pool", "CephPoolname")
	add := func(prefix string, params []param, help, perm string, run func(*call)) {
		t[prefix] = &spec{params, help, perm, run}
	}
	add("osd pool create", []param{pool, opt("pg_num", "CephInt"), opt("pgp_num", "CephInt"), opt("pool_type", "CephString"),
		opt("rule", "CephString"), opt("size", "CephInt"), opt("min_size", "CephInt")}, "make a pool", "rw", cmdPoolCreate)
	del := []param{pool, opt("pool2", "CephPoolname"), opt("yes_i_really_really_mean_it", "CephBool"), opt("sure", "CephString")}
	add("osd pool delete", del, "delete a pool and all of its objects", "rw", cmdPoolDelete)
	add("osd pool rm", del, "delete a pool and all of its objects", "rw", cmdPoolDelete)
	add("osd pool rename", []param{req("srcpool", "CephPoolname"), req("destpool", "CephPoolname")}, "rename a pool", "rw", func(c *call) {
		from, to := c.args.str("srcpool"), c.args.str("destpool")
		c.m.osd.renamePool(from, to, c.committed("pool '%s' renamed to '%s'", from, to))
	})
	add("osd pool ls", []param{opt("detail", "CephString")}, "list pools", "r", cmdPoolLs)
	add("osd lspools", nil, "list pools with their ids", "r", func(c *call) {
		m, text := c.m.osd.cur, ""
		list := []map[string]any{}
		for _, id := range poolIDs(m) {
			list = append(list, map[string]any{"poolnum": id, "poolname": m.PoolNames[id]})
			text += fmt.Sprintf("%d %s\n", id, m.PoolNames[id])
		}
		c.output(list, text)
	})
	add("osd pool get", []param{pool, req("var", "CephString")}, "show a setting of a pool", "r", cmdPoolGet)
	add("osd pool set", []param{pool, req("var", "CephString"), req("val", "CephString")}, "change a setting of a pool", "rw", cmdPoolSet)
	add("osd pool set-quota", []param{pool, {name: "field", kind: "CephChoices", required: true, choices: "max_objects|max_bytes"}, req("val", "CephString")},
		"limit a pool", "rw", func(c *call) { setPool(c, "quota_"+c.args.str("field"), c.args.str("val")) })
	add("osd pool application enable", []param{pool, req("app", "CephString"), opt("yes_i_really_mean_it", "CephBool")}, "note what a pool is used for", "rw", cmdPoolApplication)
	add("osd pool mksnap", []param{pool, req("snap", "CephString")}, "make a snapshot of a pool", "rw", func(c *call) {
		if id, ok := c.pool(); ok {
			c.m.osd.editPool(id, func(p *clustermap.Pool) wire.Errno { return c.m.osd.createPoolSnap(p, c.args.str("snap")) },
				c.committed("created pool %s snap %s", c.args.str("pool"), c.args.str("snap")))
		}
	})
	add("osd pool rmsnap", []param{pool, req("snap", "CephString")}, "remove a snapshot of a pool", "rw", func(c *call) {
		if id, ok := c.pool(); ok {
			c.m.osd.deletePoolSnap(id, c.args.str("snap"), c.committed("removed pool %s snap %s", c.args.str("pool"), c.args.str("snap")))
		}
	})
}

func poolIDs(m *clustermap.OSDMap) []int64 {
	ids := make([]int64, 0, len(m.Pools))
	for id := range m.Pools {
		ids = append(ids, id)
	}
	sort.Slice(ids, func(i, j int) bool { return ids[i] < ids[j] })
	return ids
}

// pool finds the pool that a command names, or ends the command.
func (c *call) pool() (int64, bool) {
	id, ok := c.m.osd.view().PoolByName(c.args.str("pool"))
	if !ok {
		c.fail(wire.ENOENT, "unrecognized pool '%s'", c.args.str("pool"))
	}
	return id, ok
}

func cmdPoolCreate(c *call) {
	name := c.args.str("pool")
	n := poolCreate{name: name, rule: -1}
	n.pgNum, _ = c.args.num("pg_num", 0)
	n.size, _ = c.args.num("size", 0)
	n.minSize, _ = c.args.num("min_size", 0)
	if t := c.args.str("pool_type"); t != "" && t != "replicated" {
		c.fail(wire.EOPNOTSUPP, "only replicated pools")
		return
	}
	if rule := c.args.str("rule"); rule != "" {
		id, ok := c.m.osd.view().Crush.RuleByName(rule)
		if !ok {
			c.fail(wire.ENOENT, "specified rule %s doesn't exist", rule)
			return
		}
		n.rule = int64(id)
	}
	c.m.osd.createPool(n, func(e wire.Errno, _ wire.Epoch) {
		switch e {
		case 0:
			c.ok("pool '%s' created", name)
		case wire.EEXIST:
			c.ok("pool '%s' already exists", name)
		default:
			c.fail(e, "%v", e)
		}
	})
}

func cmdPoolDelete(c *call) {
	name := c.args.str("pool")
	if c.args.str("pool2") != name || !c.args.truth("yes_i_really_really_mean_it") && c.args.str("sure") == "" {
		c.fail(wire.EPERM, "WARNING: this will *PERMANENTLY DESTROY* all data stored in pool %s. If you are sure, give its name twice and --yes-i-really-really-mean-it.", name)
		return
	}
	id, ok := c.m.osd.view().PoolByName(name)
	if !ok {
		c.ok("pool '%s' does not exist", name)
		return
	}
	c.m.osd.deletePool(id, c.committed("pool '%s' removed", name))
}

func poolDetail(m *clustermap.OSDMap, id int64) map[string]any {
	p := m.Pools[id]
	return map[string]any{"pool": id, "pool_id": id, "pool_name": m.PoolNames[id], "type": p.Type, "size": p.Size, "min_size": p.MinSize,
		"crush_rule": p.CrushRule, "pg_num": p.PGNum, "pg_placement_num": p.PGPNum, "last_change": strconv.Itoa(int(p.LastChange)),
		"flags": uint64(p.Flags), "snap_seq": p.SnapSeq, "quota_max_bytes": p.QuotaMaxBytes, "quota_max_objects": p.QuotaMaxObjects,
		"application_metadata": p.Applications}
}

func cmdPoolLs(c *call) {
	m := c.m.osd.cur
	detail := c.args.str("detail") == "detail"
	names, details := []string{}, []map[string]any{}
	var b strings.Builder
	for _, id := range poolIDs(m) {
		p := m.Pools[id]
		names = append(names, m.PoolNames[id])
		details = append(details, poolDetail(m, id))
		if detail {
			fmt.Fprintf(&b, "pool %d '%s' replicated size %d min_size %d crush_rule %d pg_num %d pgp_num %d\n",
				id, m.PoolNames[id], p.Size, p.MinSize, p.CrushRule, p.PGNum, p.PGPNum)
		} else {
			fmt.Fprintln(&b, m.PoolNames[id])
		}
	}
	if detail {
		c.output(details, b.String())
		return
	}
	c.output(names, b.String())
}

func cmdPoolGet(c *call) {
	id, ok := c.pool()
	if !ok {
		return
	}
	p, key := c.m.osd.view().Pool(id), c.args.str("var")
	var v any
	switch key {
	case "size":
		v = p.Size
	case "min_size":
		v = p.MinSize
	case "pg_num":
		v = p.PGNum
	case "pgp_num":
		v = p.PGPNum
	case "crush_rule":
		v = c.m.osd.view().Crush.RuleNames[int32(p.CrushRule)]
	case "nodelete":
		v = p.Flags&clustermap.PoolNoDelete != 0
	default:
		c.fail(wire.EINVAL, "no such setting: %s", key)
		return
	}
	c.output(map[string]any{"pool": c.args.str("pool"), "pool_id": id, key: v}, fmt.Sprintf("%s: %v\n", key, v))
}

func cmdPoolSet(c *call) { setPool(c, c.args.str("var"), c.args.str("val")) }

func setPool(c *call, key, val string) {
	id, ok := c.pool()
	if !ok {
		return
	}
	n, err := strconv.ParseInt(val, 10, 64)
	if key == "crush_rule" && err != nil {
		rule, ok := c.m.osd.view().Crush.RuleByName(val)
		if !ok {
			c.fail(wire.ENOENT, "crush rule %s does not exist", val)
			return
		}
		n, err = int64(rule), nil
	}
	switch val {
	case "true", "on":
		n, err = 1, nil
	case "false", "off":
		n, err = 0, nil
	}
	if err != nil {
		c.fail(wire.EINVAL, "%s is no number", val)
		return
	}
	c.m.osd.setPool(id, key, n, c.committed("set pool %d %s to %s", id, key, val))
}

func cmdPoolApplication(c *call) {
	id, ok := c.pool()
	if !ok {
		return
	}
	app := c.args.str("app")
	c.m.osd.editPool(id, func(p *clustermap.Pool) wire.Errno {
		if app == "" || len(p.Applications) >= 32 {
			return wire.EINVAL
		}
		if p.Applications[app] == nil {
			p.Applications[app] = map[string]string{}
		}
		return 0
	}, c.committed("enabled application '%s' on pool '%s'", app, c.args.str("pool")))
}
