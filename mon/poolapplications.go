package mon

import (
	"github.com/spirula/spirula/rados/clustermap"
	"github.com/spirula/spirula/rados/wire"
)

// Bounds of what pools are used for.
const (
	maxApplications    = 4   // of one pool, as in Ceph
	maxApplicationKeys = 128 // of one application
	maxApplicationText = 128 // bytes of a name, a key and a value
)

// addPoolApplications adds the commands about what pools are used for.
func addPoolApplications(t commands) {
	const pool, app = " name=pool,type=CephPoolname", " name=app,type=CephString"
	const sure = " name=yes_i_really_mean_it,type=CephBool,req=false"
	t.add("osd pool application enable"+pool+app+",goodchars=[A-Za-z0-9-_.]"+sure, "note what a pool is used for", "rw", cmdAppEnable)
	t.add("osd pool application disable"+pool+app+sure, "note that a pool is not used for something any more", "rw", cmdAppDisable)
	t.add("osd pool application set"+pool+app+" name=key,type=CephString,goodchars=[A-Za-z0-9-_.] name=value,type=CephString,goodchars=[A-Za-z0-9-_.=]",
		"set a key of an application", "rw", cmdAppSet)
	t.add("osd pool application rm"+pool+app+" name=key,type=CephString", "remove a key of an application", "rw", cmdAppRemove)
	t.add("osd pool application get"+pool+",req=false"+app+",req=false name=key,type=CephString,req=false", "show what pools are used for", "r", cmdAppGet)
}

func cmdAppEnable(c *call) {
	id, ok := c.pool("pool")
	if !ok {
		return
	}
	app, name := c.args.str("app"), c.args.str("pool")
	apps := c.m.osd.view().Pool(id).Applications
	_, enabled := apps[app]
	switch {
	case app == "":
		c.fail(wire.EINVAL, "application name must be provided")
	case !enabled && len(apps) > 0 && !c.args.sure():
		c.fail(wire.EPERM, "Are you SURE? Pool '%s' already has an enabled application; pass --yes-i-really-mean-it to proceed anyway", name)
	case !enabled && len(apps) >= maxApplications:
		c.fail(wire.EINVAL, "too many enabled applications on pool '%s'; max %d", name, maxApplications)
	case len(app) > maxApplicationText:
		c.fail(wire.EINVAL, "application name '%s' too long; max length %d", app, maxApplicationText)
	default:
		c.m.osd.editPool(id, func(p *clustermap.Pool) wire.Errno {
			if p.Applications[app] == nil {
				p.Applications[app] = map[string]string{}
			}
			return 0
		}, c.committed("enabled application '%s' on pool '%s'", app, name))
	}
}

func cmdAppDisable(c *call) {
	id, ok := c.pool("pool")
	if !ok {
		return
	}
	app, name := c.args.str("app"), c.args.str("pool")
	_, enabled := c.m.osd.view().Pool(id).Applications[app]
	switch {
	case !c.args.sure():
		c.fail(wire.EPERM, "Are you SURE? Disabling an application within a pool might result in loss of application functionality; pass --yes-i-really-mean-it to proceed anyway")
	case !enabled:
		c.ok("application '%s' is not enabled on pool '%s'", app, name)
	default:
		c.m.osd.editPool(id, func(p *clustermap.Pool) wire.Errno {
			delete(p.Applications, app)
			return 0
		}, c.committed("disable application '%s' on pool '%s'", app, name))
	}
}

func cmdAppSet(c *call) {
	id, ok := c.pool("pool")
	if !ok {
		return
	}
	app, key, value, name := c.args.str("app"), c.args.str("key"), c.args.str("value"), c.args.str("pool")
	keys, enabled := c.m.osd.view().Pool(id).Applications[app]
	_, set := keys[key]
	switch {
	case !enabled:
		c.fail(wire.ENOENT, "application '%s' is not enabled on pool '%s'", app, name)
	case key == "" || !set && len(keys) >= maxApplicationKeys || len(key) > maxApplicationText || len(value) > maxApplicationText:
		c.fail(wire.EINVAL, "no key, too many keys (max %d), or key or value over %d bytes", maxApplicationKeys, maxApplicationText)
	default:
		c.m.osd.editPool(id, func(p *clustermap.Pool) wire.Errno {
			p.Applications[app][key] = value
			return 0
		}, c.committed("set application '%s' key '%s' to '%s' on pool '%s'", app, key, value, name))
	}
}

func cmdAppRemove(c *call) {
	id, ok := c.pool("pool")
	if !ok {
		return
	}
	app, key, name := c.args.str("app"), c.args.str("key"), c.args.str("pool")
	keys, enabled := c.m.osd.view().Pool(id).Applications[app]
	_, set := keys[key]
	switch {
	case !enabled:
		c.fail(wire.ENOENT, "application '%s' is not enabled on pool '%s'", app, name)
	case !set:
		c.ok("application '%s' on pool '%s' does not have key '%s'", app, name, key)
	default:
		c.m.osd.editPool(id, func(p *clustermap.Pool) wire.Errno {
			delete(p.Applications[app], key)
			return 0
		}, c.committed("removed application '%s' key '%s' on pool '%s'", app, key, name))
	}
}

func cmdAppGet(c *call) {
	m, app, key := c.m.osd.view(), c.args.str("app"), c.args.str("key")
	appsObj := func(p *clustermap.Pool) obj {
		o := obj{}
		for _, a := range sortedKeys(p.Applications) {
			o = append(o, member{a, sortedObj(p.Applications[a])})
		}
		return o
	}
	if c.args.str("pool") == "" {
		all := obj{}
		for _, id := range poolIDs(m) {
			all = append(all, member{m.PoolNames[id], appsObj(m.Pools[id])})
		}
		c.show(all)
		return
	}
	id, ok := c.pool("pool")
	if !ok {
		return
	}
	if app == "" {
		c.show(appsObj(m.Pool(id)))
		return
	}
	keys, ok := m.Pool(id).Applications[app]
	if !ok {
		c.fail(wire.ENOENT, "pool '%s' has no application '%s'", c.args.str("pool"), app)
		return
	}
	if key == "" {
		c.show(sortedObj(keys))
		return
	}
	v, ok := keys[key]
	if !ok {
		c.fail(wire.ENOENT, "application '%s' on pool '%s' does not have key '%s'", app, c.args.str("pool"), key)
		return
	}
	c.finish(0, "", []byte(v+"\n"))
}
