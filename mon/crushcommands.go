package mon

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"github.com/spirula/spirula/crush"
	"github.com/spirula/spirula/rados/wire"
)

// addCrushCommands adds the commands that show the CRUSH map.
func addCrushCommands(t commands) {
	const name = ",type=CephString,goodchars=[A-Za-z0-9-_.]"
	t.add("osd crush dump", "show the CRUSH map", "r", func(c *call) { c.show(raw(c.m.osd.cur.Crush.JSON())) })
	for _, word := range []string{"ls", "list"} {
		t.add("osd crush rule "+word, "list the rules", "r", func(c *call) {
			names := []string{}
			for _, id := range sortedKeys(c.m.osd.cur.Crush.RuleNames) {
				names = append(names, c.m.osd.cur.Crush.RuleNames[id])
			}
			c.output(names, lines(names))
		})
	}
	t.add("osd crush rule dump name=name"+name+",req=false", "show rules", "r", cmdRuleDump)
	t.add("osd crush rule ls-by-class name=class,type=CephString,goodchars=[A-Za-z0-9-_]", "list the rules that use a class", "r", cmdRulesByClass)
	t.add("osd crush ls name=node"+name, "list what is in a bucket", "r", func(c *call) {
		m := c.m.osd.cur.Crush
		id, ok := m.ItemByName(c.args.str("node"))
		b := m.Bucket(id)
		if !ok || b == nil {
			c.fail(wire.ENOENT, "node '%s' does not exist", c.args.str("node"))
			return
		}
		names := []string{}
		for _, i := range b.Items {
			names = append(names, m.Names[i])
		}
		c.output(names, lines(names))
	})
	addCrushClasses(t)
}

// addCrushClasses adds the commands that show device classes, tunables and
// weight sets.
func addCrushClasses(t commands) {
	t.add("osd crush class ls", "list the device classes", "r", func(c *call) {
		names := []string{}
		for _, id := range sortedKeys(c.m.osd.cur.Crush.ClassNames) {
			names = append(names, c.m.osd.cur.Crush.ClassNames[id])
		}
		c.show(names)
	})
	t.add("osd crush class ls-osd name=class,type=CephString,goodchars=[A-Za-z0-9-_]", "list the OSDs of a class", "r", func(c *call) {
		m, ids, text := c.m.osd.cur, []int32{}, ""
		for i := range m.OSDs {
			if id := int32(i); m.Exists(id) && className(m.Crush, id) == c.args.str("class") {
				ids, text = append(ids, id), text+itoa(id)+"\n"
			}
		}
		c.output(ids, text)
	})
	t.add("osd crush get-device-class name=ids,type=CephString,n=N", "show the classes of OSDs", "r", func(c *call) {
		ids, ok := c.ids()
		if !ok {
			return
		}
		list, text := []any{}, ""
		for _, id := range ids {
			class := className(c.m.osd.cur.Crush, id)
			list, text = append(list, obj{{"osd", id}, {"device_class", class}}), text+class+"\n"
		}
		c.output(list, text)
	})
	t.add("osd crush show-tunables", "show the tunables", "r", func(c *call) { c.show(tunables(c.m.osd.cur.Crush)) })
	t.add("osd crush get-tunable name=tunable,type=CephChoices,strings=straw_calc_version", "show a tunable", "r", func(c *call) {
		v := c.m.osd.cur.Crush.Tunables.StrawCalcVersion
		c.output(obj{{"straw_calc_version", v}}, strconv.Itoa(int(v))+"\n")
	})
	t.add("osd crush weight-set ls", "list the weight sets", "r", func(c *call) {
		names := []string{}
		for _, k := range sortedKeys(c.m.osd.cur.Crush.ChooseArgs) {
			if k == crush.DefaultChooseArgs {
				names = append(names, "(compat)")
			} else {
				names = append(names, c.m.osd.cur.PoolNames[k])
			}
		}
		c.output(names, lines(names))
	})
	t.add("osd crush weight-set dump", "show the weight sets", "r", func(c *call) { c.show(crushPart(c.m.osd.cur.Crush, "choose_args")) })
}

// crushPart gives one member of the map's JSON form.
func crushPart(m *crush.Map, key string) json.RawMessage {
	var parts map[string]json.RawMessage
	if err := json.Unmarshal(m.JSON(), &parts); err != nil {
		panic("mon: the CRUSH map's own JSON: " + err.Error())
	}
	return parts[key]
}

func tunables(m *crush.Map) json.RawMessage { return crushPart(m, "tunables") }

func cmdRuleDump(c *call) {
	m := c.m.osd.cur.Crush
	name := c.args.str("name")
	if name == "" {
		c.show(crushPart(m, "rules"))
		return
	}
	var rules []json.RawMessage
	if err := json.Unmarshal(crushPart(m, "rules"), &rules); err != nil {
		panic("mon: the CRUSH map's own JSON: " + err.Error())
	}
	for _, r := range rules {
		var head struct {
			Name string `json:"rule_name"`
		}
		if json.Unmarshal(r, &head) == nil && head.Name == name {
			c.show(r)
			return
		}
	}
	c.fail(wire.ENOENT, "unknown crush rule '%s'", name)
}

func cmdRulesByClass(c *call) {
	m, class := c.m.osd.cur.Crush, c.args.str("class")
	if !m.HasClass(class) {
		c.fail(wire.ENOENT, "failed to get rules by class '%s'", class)
		return
	}
	names := []string{}
	for id, r := range m.Rules {
		if r == nil {
			continue
		}
		for _, s := range r.Steps {
			if s.Op == crush.StepTake && strings.HasSuffix(m.Names[s.Arg1], "~"+class) {
				names = append(names, m.RuleNames[int32(id)])
			}
		}
	}
	c.output(names, lines(names))
}

// addCrushRules adds the commands that make and remove rules.
func addCrushRules(t commands) {
	const name = ",type=CephString,goodchars=[A-Za-z0-9-_.]"
	t.add("osd crush rule create-simple name=name"+name+" name=root"+name+" name=type"+name+" name=mode,type=CephChoices,strings=firstn|indep,req=false",
		"make a rule", "rw", func(c *call) { cmdRuleCreate(c, c.args.str("mode") != "indep") })
	t.add("osd crush rule create-replicated name=name"+name+" name=root"+name+" name=type"+name+" name=class"+name+",req=false",
		"make a rule for replicas", "rw", func(c *call) { cmdRuleCreate(c, true) })
	t.add("osd crush rule rm name=name"+name, "remove a rule", "rw", cmdRuleRemove)
	t.add("osd crush rule rename name=srcname"+name+" name=dstname"+name, "rename a rule", "rw", cmdRuleRename)
}

// setCrush makes m the next CRUSH map.
func (s *osdService) setCrush(m *crush.Map) { s.change(true, nil).Crush = m.Encode() }

// crushChange makes m the next CRUSH map and ends the command when it is.
func (c *call) crushChange(m *crush.Map, format string, a ...any) {
	c.m.osd.setCrush(m)
	c.m.osd.change(true, c.committed(format, a...))
}

func cmdRuleCreate(c *call, firstn bool) {
	m := c.m.osd.view().Crush.Clone()
	name, class := c.args.str("name"), c.args.str("class")
	root, okRoot := m.ItemByName(c.args.str("root"))
	kind, okKind := m.TypeByName(c.args.str("type"))
	_, exists := m.RuleByName(name)
	switch {
	case exists:
		c.ok("rule %s already exists", name)
		return
	case !okRoot:
		c.fail(wire.ENOENT, "root item %s does not exist", c.args.str("root"))
		return
	case !okKind:
		c.fail(wire.EINVAL, "unknown type %s", c.args.str("type"))
		return
	case name == "" || len(name) > maxPoolName || len(m.Rules) >= 256:
		c.fail(wire.EINVAL, "no name for a rule, or too many rules")
		return
	}
	const replicated = 1
	if class == "" {
		m.AddSimpleRule(name, root, kind, replicated, firstn)
	} else if _, err := m.AddClassRule(name, root, kind, class, replicated, firstn); err != nil {
		c.fail(wire.ENOENT, "device class %s: %v", class, err)
		return
	}
	if err := m.Validate(); err != nil {
		c.fail(wire.EINVAL, "%v", err)
		return
	}
	c.crushChange(m, "")
}

func cmdRuleRemove(c *call) {
	view := c.m.osd.view()
	name := c.args.str("name")
	n, ok := view.Crush.RuleByName(name)
	if !ok {
		c.ok("rule %s does not exist", name)
		return
	}
	for _, p := range view.Pools {
		if int32(p.CrushRule) == n {
			c.fail(wire.EBUSY, "crush ruleset %s %d is in use", name, n)
			return
		}
	}
	m := view.Crush.Clone()
	if err := m.RemoveRule(int(n)); err != nil {
		c.fail(wire.EINVAL, "%v", err)
		return
	}
	c.crushChange(m, "")
}

func cmdRuleRename(c *call) {
	m := c.m.osd.view().Crush.Clone()
	from, to := c.args.str("srcname"), c.args.str("dstname")
	n, ok := m.RuleByName(from)
	_, taken := m.RuleByName(to)
	switch {
	case !ok && taken:
		c.ok("")
	case !ok:
		c.fail(wire.ENOENT, "rule %s does not exist", from)
	case taken:
		c.fail(wire.EEXIST, "rule %s already exists", to)
	case to == "" || len(to) > maxPoolName:
		c.fail(wire.EINVAL, "no name for a rule")
	default:
		m.RuleNames[n] = to
		c.crushChange(m, "")
	}
}

// places reads a location: words of the form type=name.
func (c *call) places(key string) (at []crush.Location, text string, ok bool) {
	words := c.args.list(key)
	for _, w := range words {
		kind, name, found := strings.Cut(w, "=")
		if _, known := c.m.osd.view().Crush.TypeByName(kind); !found || !known || name == "" {
			c.fail(wire.EINVAL, "'%s' is no place in the CRUSH map: TYPE=NAME", w)
			return nil, "", false
		}
		at = append(at, crush.Location{Type: kind, Name: name})
	}
	return at, fmt.Sprintf("{%s}", strings.Join(words, ",")), true
}
