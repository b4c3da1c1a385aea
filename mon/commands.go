package mon

import (
	"github.com/spirula/spirula/rados/clustermap"
	"github.com/spirula/spirula/rados/wire"
)

// The version that is told: the release of Ceph whose protocol is spoken, and
// who speaks it.
const (
	release     = "ceph version 16.2.15-spirula (spirula) pacific (stable)"
	releaseNum  = "16.2.15-spirula"
	releaseName = "pacific"
)

// features is the feature word that is listed for all daemons and clients:
// that of the release whose protocol is spoken.
const features = 0x3f01cfbdfffdffff

// commandTable gives the commands that the cluster answers.
func commandTable() commands {
	t := make(commands)
	t.add("get_command_descriptions", "list the commands", "r", func(c *call) { c.finish(0, "", encodeJSON(c.m.commands.describe(), false)) })
	addStatusCommands(t)
	addMonCommands(t)
	addMgrCommands(t)
	addConfigCommands(t)
	addLogCommands(t)
	addDFCommands(t)
	addTreeCommands(t)
	addOSDCommands(t)
	addOSDChanges(t)
	addOSDLife(t)
	addBlocklist(t)
	addCrushCommands(t)
	addCrushChanges(t)
	addCrushRules(t)
	addProfiles(t)
	addPoolCommands(t)
	addPoolApplications(t)
	addTiers(t)
	addPGCommands(t)
	addAuthCommands(t)
	return t
}

// tellTable gives the commands that one mon answers about itself: its own
// ones, and all others as if they had been sent to the cluster.
func tellTable() commands {
	t := commandTable()
	t["get_command_descriptions"].run = func(c *call) { c.finish(0, "", encodeJSON(c.m.tells.describe(), false)) }
	t["version"].run = func(c *call) {
		c.show(obj{{"version", releaseNum}, {"release", releaseName}, {"release_type", "stable"}})
	}
	delete(t, "config get")
	delete(t, "config set")
	delete(t, "config show")
	t.add("config get name=var,type=CephString", "show a setting of this daemon", "r", func(c *call) {
		name := optionName(c.args.str("var"))
		v, ok := c.m.settingsOf("mon." + c.m.opts.Name)[name]
		if !ok {
			c.fail(wire.ENOENT, "unrecognized key '%s'", name)
			return
		}
		c.show(obj{{name, v}})
	})
	t.add("config set name=var,type=CephString name=val,type=CephString,n=N", "change a setting of this daemon", "rw", func(c *call) {
		v := ""
		for i, s := range c.args.list("val") {
			if i > 0 {
				v += " "
			}
			v += s
		}
		c.setConfig("mon."+c.m.opts.Name, c.args.str("var"), v, false)
	})
	t.add("config show", "show the settings of this daemon", "r", func(c *call) { c.show(sortedObj(c.m.settingsOf("mon." + c.m.opts.Name))) })
	t.add("sessions", "list the sessions", "r", cmdSessions)
	return t
}

func cmdSessions(c *call) {
	list := []any{}
	for _, s := range c.m.sessions {
		id := s.c.Identity()
		caps, gid := "allow *", uint64(0)
		if id != nil {
			gid = id.GlobalID
			if !id.Trusted {
				caps = id.Caps
			}
		}
		list = append(list, obj{{"name", rankText(s.c.Peer())}, {"entity_name", s.entity()},
			{"addrs", obj{{"addrvec", addrVec(s.c.PeerAddr())}}}, {"con_type", s.c.Peer().Kind()}, {"open", true},
			{"caps", obj{{"text", caps}}}, {"authenticated", true}, {"global_id", gid}, {"osd_epoch", s.subs["osdmap"].Start}})
	}
	c.show(list)
}

// numExisting counts the OSDs of a map.
func numExisting(m *clustermap.OSDMap) (n int) {
	for i := range m.OSDs {
		if m.Exists(int32(i)) {
			n++
		}
	}
	return n
}
