package mon

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spirula/spirula/rados/wire"
)

// addConfigCommands adds the commands about settings.
func addConfigCommands(t commands) {
	t.add("config set name=who,type=CephString name=name,type=CephString name=value,type=CephString name=force,type=CephBool,req=false",
		"set a setting", "rw", func(c *call) {
			c.setConfig(c.args.str("who"), c.args.str("name"), c.args.str("value"), c.args.truth("force"))
		})
	t.add("config rm name=who,type=CephString name=name,type=CephString", "remove a setting", "rw", func(c *call) {
		c.m.conf.set(c.args.str("who"), optionName(c.args.str("name")), "", c.told(""))
	})
	t.add("config get name=who,type=CephString name=key,type=CephString,req=false", "show settings of an entity", "r", cmdConfigGet)
	t.add("config dump", "show all settings", "r", cmdConfigDump)
	t.add("config ls", "list the names of settings", "r", func(c *call) {
		names := append(sortedKeys(ownOptions), sortedKeys(knownOptions)...)
		slices.Sort(names)
		c.output(names, lines(names))
	})
	t.add("config show name=who,type=CephString name=key,type=CephString,req=false", "show the settings in force", "r", cmdConfigShow)
	t.add("config show-with-defaults name=who,type=CephString", "show the settings in force", "r", cmdConfigShow)
	t.add("config generate-minimal-conf", "give a ceph.conf for clients", "r", func(c *call) {
		var at []string
		for _, mon := range c.m.monmap.cur.Mons {
			at = append(at, addrsText(mon.Addrs))
		}
		c.finish(0, "", []byte(fmt.Sprintf("# minimal ceph.conf for %s\n[global]\n\tfsid = %s\n\tmon_host = %s\n", c.m.fsid, c.m.fsid, strings.Join(at, " "))))
	})
	addKeyCommands(t)
}

// addKeyCommands adds the commands about keys that others keep here.
func addKeyCommands(t commands) {
	for _, word := range []string{"set", "put"} {
		t.add("config-key "+word+" name=key,type=CephString name=val,type=CephString,req=false", "keep a value under a key", "rw", func(c *call) {
			val := c.args.str("val")
			if c.args["val"] == nil {
				val = string(c.in)
			}
			c.m.keys.put(c.args.str("key"), val, c.told("set %s", c.args.str("key")))
		})
	}
	for _, word := range []string{"rm", "del"} {
		t.add("config-key "+word+" name=key,type=CephString", "remove a key", "rw", func(c *call) {
			c.m.keys.remove(c.args.str("key"), c.told("key deleted"))
		})
	}
	t.add("config-key get name=key,type=CephString", "give the value under a key", "r", func(c *call) {
		v, ok := c.m.keys.values[c.args.str("key")]
		if !ok {
			c.fail(wire.ENOENT, "no such key")
			return
		}
		c.finish(0, "", []byte(v))
	})
	t.add("config-key exists name=key,type=CephString", "say whether there is a key", "r", func(c *call) {
		if _, ok := c.m.keys.values[c.args.str("key")]; !ok {
			c.fail(wire.ENOENT, "key '%s' doesn't exist", c.args.str("key"))
			return
		}
		c.ok("key '%s' exists", c.args.str("key"))
	})
	for _, word := range []string{"ls", "list"} {
		t.add("config-key "+word, "list the keys", "r", func(c *call) { c.show(append([]string{}, c.m.keys.keys()...)) })
	}
	t.add("config-key dump name=key,type=CephString,req=false", "show keys and values", "r", func(c *call) {
		out := obj{}
		for _, k := range c.m.keys.keys() {
			if strings.HasPrefix(k, c.args.str("key")) {
				out = append(out, member{k, c.m.keys.values[k]})
			}
		}
		c.show(out)
	})
}

// optionName makes one spelling of a setting's name: spaces and dashes are
// underscores, except in the names of modules' options.
func optionName(s string) string {
	if strings.Contains(s, "/") {
		return s
	}
	return strings.NewReplacer(" ", "_", "-", "_").Replace(s)
}

// settingsOf gives the settings in force for an entity that the mon knows of:
// those set, and the mon's own with their defaults.
func (m *Mon) settingsOf(who string) map[string]string {
	out := m.conf.effective(who)
	for k := range ownOptions {
		if _, set := out[k]; !set && strings.HasPrefix(who, "mon") {
			out[k], _ = defaultOf(k)
		}
	}
	return out
}

// setConfig changes a setting for a command.
func (c *call) setConfig(who, name, value string, force bool) {
	name = optionName(name)
	switch parsed, err := parseSetting(name, value, force); {
	case value == "":
		c.fail(wire.EINVAL, "a setting without a value: use config rm")
	case !validWho(who):
		c.fail(wire.EINVAL, "unrecognized config target '%s'", who)
	case err != nil:
		c.fail(wire.EINVAL, "%v", err)
	default:
		note := ""
		if _, own := ownOptions[name]; !own && who != "global" && !strings.HasPrefix(who, "client") {
			note = name + " is kept, and no daemon here goes by it"
		}
		c.m.conf.set(who, name, parsed, c.told("%s", note))
	}
}

// configColumns are those of a list of settings.
func configColumns() *table { return newTable("<WHO", "<MASK", "<LEVEL", "<OPTION", "<VALUE", "<RO") }

func cmdConfigGet(c *call) {
	who := c.args.str("who")
	if !validWho(who) {
		c.fail(wire.EINVAL, "unrecognized entity '%s'", who)
		return
	}
	if key := optionName(c.args.str("key")); key != "" {
		v, ok := c.m.conf.effective(who)[key]
		if !ok {
			v, ok = defaultOf(key)
		}
		if !ok {
			c.fail(wire.ENOENT, "unrecognized key '%s'", key)
			return
		}
		c.finish(0, "", []byte(v+"\n"))
		return
	}
	t, byName := configColumns(), map[string]setting{}
	for _, s := range c.m.conf.matching(who) {
		byName[s.name] = s
	}
	out := obj{}
	for _, name := range sortedKeys(byName) {
		s := byName[name]
		mask := obj{}
		if kind, v, ok := strings.Cut(s.mask, ":"); ok && kind == "class" {
			mask = obj{{"device_class", v}}
		} else if ok {
			mask = obj{{"location_type", kind}, {"location_value", v}}
		}
		out = append(out, member{name, obj{{"value", s.value}, {"section", s.section}, {"mask", mask}, {"can_update_at_runtime", true}}})
		t.row(s.section, s.mask, "advanced", s.name, s.value)
	}
	c.output(out, t.String())
}

func cmdConfigShow(c *call) {
	values := c.m.settingsOf(c.args.str("who"))
	if key := optionName(c.args.str("key")); key != "" {
		v, ok := values[key]
		if !ok {
			c.fail(wire.ENOENT, "unrecognized key '%s'", key)
			return
		}
		c.finish(0, "", []byte(v+"\n"))
		return
	}
	t, list := newTable("<NAME", "<VALUE", "<SOURCE", "<OVERRIDES", "<IGNORES"), []any{}
	set := c.m.conf.effective(c.args.str("who"))
	for _, k := range sortedKeys(values) {
		source := "default"
		if _, ok := set[k]; ok {
			source = "mon"
		}
		t.row(k, values[k], source)
		list = append(list, obj{{"name", k}, {"value", values[k]}, {"source", source}})
	}
	c.output(list, t.String())
}

func cmdConfigDump(c *call) {
	t, list := configColumns(), []any{}
	for _, k := range c.m.conf.keys() {
		s := c.m.conf.setting(k)
		indent := "  "
		switch {
		case s.section == "global":
			indent = ""
		case strings.Contains(s.section, "."):
			indent = "    "
		}
		t.row(indent+s.section, s.mask, "advanced", s.name, s.value)
		o := obj{{"section", s.section}, {"name", s.name}, {"value", s.value}, {"level", "advanced"}, {"can_update_at_runtime", true}, {"mask", s.mask}}
		if kind, v, ok := strings.Cut(s.mask, ":"); ok && kind == "class" {
			o = append(o, member{"device_class", v})
		} else if ok {
			o = append(o, member{"location_type", kind}, member{"location_value", v})
		}
		list = append(list, o)
	}
	c.output(list, t.String())
}
