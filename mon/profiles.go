package mon

import (
	"strings"

	"github.com/spirula/spirula/rados/wire"
)

// defaultProfile is there in every cluster, as in Ceph.
const defaultProfile = "default"

// maxProfiles bounds the profiles and the parameters of one.
const maxProfiles = 256

var defaultProfileValues = map[string]string{"k": "2", "m": "2", "plugin": "jerasure", "technique": "reed_sol_van"}

// addProfiles adds the commands about profiles of erasure codes. They are
// kept; pools can't be made of them.
func addProfiles(t commands) {
	const name = " name=name,type=CephString,goodchars=[A-Za-z0-9-_.]"
	t.add("osd erasure-code-profile ls", "list the profiles of erasure codes", "r", func(c *call) {
		names := sortedKeys(c.profiles())
		c.output(names, lines(names))
	})
	t.add("osd erasure-code-profile get"+name, "show a profile", "r", func(c *call) {
		p, ok := c.profiles()[c.args.str("name")]
		if !ok {
			c.fail(wire.ENOENT, "unknown erasure code profile '%s'", c.args.str("name"))
			return
		}
		c.output(sortedObj(p), profileText(p, "\n")+"\n")
	})
	t.add("osd erasure-code-profile set"+name+" name=profile,type=CephString,n=N,req=false name=force,type=CephBool,req=false", "keep a profile", "rw", cmdProfileSet)
	t.add("osd erasure-code-profile rm"+name, "remove a profile", "rw", func(c *call) {
		name := c.args.str("name")
		view := c.m.osd.view()
		if _, ok := view.ECProfiles[name]; !ok {
			c.ok("erasure-code-profile %s does not exist", name)
			return
		}
		for id, p := range view.Pools {
			if p.ECProfile == name {
				c.fail(wire.EBUSY, "%s: pool(s) '%s' are using the erasure code profile '%s'", "EBUSY", view.PoolNames[id], name)
				return
			}
		}
		inc := c.m.osd.change(true, c.committed(""))
		delete(inc.NewECProfile, name)
		inc.OldECProfile = append(inc.OldECProfile, name)
	})
}

// profiles are those kept and the default one.
func (c *call) profiles() map[string]map[string]string {
	out := map[string]map[string]string{defaultProfile: defaultProfileValues}
	for k, v := range c.m.osd.view().ECProfiles {
		out[k] = v
	}
	return out
}

func profileText(p map[string]string, between string) string {
	var parts []string
	for _, k := range sortedKeys(p) {
		parts = append(parts, k+"="+p[k])
	}
	return strings.Join(parts, between)
}

func cmdProfileSet(c *call) {
	name := c.args.str("name")
	p := map[string]string{}
	for k, v := range defaultProfileValues {
		p[k] = v
	}
	force := c.args.truth("force")
	for _, word := range c.args.list("profile") {
		if word == "--force" {
			force = true
			continue
		}
		k, v, ok := strings.Cut(word, "=")
		if !ok || k == "" || len(word) > maxPoolName {
			c.fail(wire.EINVAL, "'%s' is no parameter of a profile: KEY=VALUE", word)
			return
		}
		p[k] = v
	}
	for k, v := range map[string]string{"crush-device-class": "", "crush-failure-domain": "host", "crush-root": "default", "jerasure-per-chunk-alignment": "false", "w": "8"} {
		if _, set := p[k]; !set && p["plugin"] == "jerasure" {
			p[k] = v
		}
	}
	old, exists := c.profiles()[name]
	switch {
	case name == "" || len(p) > maxProfiles || len(c.profiles()) > maxProfiles:
		c.fail(wire.EINVAL, "no name, or too many parameters or profiles")
		return
	case exists && profileText(old, ",") == profileText(p, ","):
		c.ok("")
		return
	case exists && !force:
		c.fail(wire.EPERM, "will not override erasure code profile %s because the existing profile {%s} is different from the proposed profile {%s}",
			name, profileText(old, ","), profileText(p, ","))
		return
	}
	inc := c.m.osd.change(true, c.committed(""))
	inc.NewECProfile[name] = p
}
