package mon

import (
	"strconv"
	"strings"

	"github.com/spirula/spirula/rados/wire"
)

// configService keeps settings. A key is "section/name" or, for part of the
// section's daemons only, "section/mask/name"; the section is global, mon,
// osd, client, or an entity's name; the mask "class:ssd" or "host:a". Names
// may have slashes of their own.
type configService struct{ *valueService }

func newConfigService(m *Mon) *configService {
	c := &configService{newValueService(m, "config")}
	c.changed = func() {
		for _, s := range m.sessions {
			m.serveConfig(s)
		}
	}
	return c
}

// setting is one entry of the config store.
type setting struct{ section, mask, name, value string }

func (c *configService) setting(key string) setting {
	section, rest, _ := strings.Cut(key, "/")
	s := setting{section: section, name: rest, value: c.values[key]}
	if mask, name, ok := strings.Cut(rest, "/"); ok && isMask(mask) {
		s.mask, s.name = mask, name
	}
	return s
}

func isMask(s string) bool { return strings.HasPrefix(s, "class:") || strings.HasPrefix(s, "host:") }

// validWho checks a section with its mask.
func validWho(who string) bool {
	section, mask, masked := strings.Cut(who, "/")
	kind, id, named := strings.Cut(section, ".")
	switch kind {
	case "global":
		if named {
			return false
		}
	case "mon", "mgr", "osd", "mds", "client":
		if named && id == "" {
			return false
		}
	default:
		return false
	}
	return !strings.ContainsAny(who, "\x00\n") && (!masked || isMask(mask) && !strings.Contains(mask, "/"))
}

// set changes a setting; an empty value removes it.
func (c *configService) set(who, name, value string, done func(wire.Errno)) {
	switch {
	case !validWho(who) || name == "" || strings.ContainsAny(name, "\x00\n") || isMask(name):
		done(wire.EINVAL)
	case value == "":
		c.remove(who+"/"+name, done)
	default:
		c.put(who+"/"+name, value, done)
	}
}

// matching gives the settings that hold for an entity, the more special ones
// last: global, then its kind's, then its own; masked ones after those of
// the same section.
func (c *configService) matching(who string) (out []setting) {
	kind, id, _ := strings.Cut(who, ".")
	for _, section := range []string{"global", kind, who} {
		for _, masked := range []bool{false, true} {
			for _, k := range c.keys() {
				s := c.setting(k)
				if s.section == section && (s.mask != "") == masked && (!masked || c.m.osd.inMask(kind, id, s.mask)) {
					out = append(out, s)
				}
			}
		}
		if section == who {
			break
		}
	}
	return out
}

// inMask reports whether a daemon is an OSD of the mask's class or host.
func (s *osdService) inMask(kind, id, mask string) bool {
	n, err := strconv.ParseInt(id, 10, 32)
	if err != nil || kind != "osd" {
		return false
	}
	what, want, _ := strings.Cut(mask, ":")
	if what == "class" {
		return className(s.cur.Crush, int32(n)) == want
	}
	return hostOf(s.cur.Crush, int32(n)) == want
}

// effective gives the values that hold for an entity.
func (c *configService) effective(who string) map[string]string {
	out := make(map[string]string)
	for _, s := range c.matching(who) {
		out[s.name] = s.value
	}
	return out
}

// option gives a setting of this mon.
func (m *Mon) option(name string) string {
	if v, ok := m.conf.effective("mon." + m.opts.Name)[name]; ok {
		return v
	}
	return ownOptions[name].value
}

// optionInt gives a setting as a number; its default if it is none.
func (m *Mon) optionInt(name string) int64 {
	n, err := strconv.ParseInt(m.option(name), 10, 64)
	if err != nil {
		n, _ = strconv.ParseInt(ownOptions[name].value, 10, 64)
	}
	return n
}

// optionFloat gives a setting as a number; its default if it is none.
func (m *Mon) optionFloat(name string) float64 {
	f, err := strconv.ParseFloat(m.option(name), 64)
	if err != nil {
		f, _ = strconv.ParseFloat(ownOptions[name].value, 64)
	}
	return f
}

func (m *Mon) optionTrue(name string) bool {
	v := m.option(name)
	return v == "true" || v == "1" || v == "yes" || v == "on"
}
