package cephx

import (
	"net/netip"
	"regexp"
	"strings"

	"github.com/spirula/spirula/rados/wire"
)

// MonCaps is what an entity may do on mons. The zero MonCaps allow nothing.
// It is a value: nothing changes it.
type MonCaps struct{ grants []monGrant }

// monGrant is one of the things that MonCaps allow: rights on one service or
// all, a command, or what a profile says.
type monGrant struct {
	rights  rights
	service string
	command string
	with    map[string]argument // the command's arguments must be so
	profile string
	network network
}

// argument is what a command's argument has to be.
type argument struct {
	equal  string
	prefix string
	regex  *regexp.Regexp // nil: equal or prefix
}

func (a argument) fits(value string) bool {
	switch {
	case a.regex != nil:
		return a.regex.MatchString(value)
	case a.prefix != "":
		return strings.HasPrefix(value, a.prefix)
	}
	return value == a.equal
}

// ParseMonCaps reads mon caps: grants, separated by commas or semicolons, of
//
//	allow r|w|x|*                  (any of r, w, x, in this order)
//	allow service NAME rwx
//	allow command NAME [with ARG=VALUE | ARG prefix VALUE | ARG regex VALUE ...]
//	[allow] profile NAME
//
// each with "network ADDR/BITS" behind it if it is to hold only from there.
// Caps that can't be read allow nothing, and are EINVAL.
func ParseMonCaps(text string) (MonCaps, error) {
	var c MonCaps
	err := parseGrants("mon", text, func(p *capsText) bool {
		g, ok := parseMonGrant(p)
		c.grants = append(c.grants, g)
		return ok
	})
	if err != nil {
		return MonCaps{}, err
	}
	return c, nil
}

func parseMonGrant(p *capsText) (g monGrant, ok bool) {
	allow := p.keyword("allow")
	if allow && !p.blanks() {
		return g, false
	}
	switch {
	case p.keyword("profile"):
		g.profile, ok = p.value()
		ok = ok && p.with(&g)
	case !allow:
		return g, false
	case p.keyword("service"):
		if g.service, ok = p.value(); ok && p.blanks() {
			g.rights, ok = p.letters(mayExec)
		} else {
			ok = false
		}
	case p.keyword("command"):
		g.command, ok = p.value()
		ok = ok && p.with(&g)
	default:
		if g.rights, ok = p.letters(mayExec); ok && p.next("fsname") {
			_, ok = p.value()
		}
	}
	if ok {
		g.network, ok = p.network()
	}
	return g, ok
}

// with consumes what a command's arguments have to be, which may be missing.
func (p *capsText) with(g *monGrant) bool {
	if !p.next("with") {
		return true
	}
	g.with = make(map[string]argument)
	for {
		from := p.i
		if !p.blanks() {
			break
		}
		key, ok := p.word(false)
		if !ok || key == "network" {
			p.i = from
			break
		}
		var a argument
		switch {
		case p.byte('='):
			a.equal, ok = p.word(false)
		case p.next("prefix"):
			ok = p.blanks()
			if ok {
				a.prefix, ok = p.word(false)
			}
		case p.next("regex"):
			var text string
			if ok = p.blanks(); ok {
				text, ok = p.word(false)
			}
			var err error
			if a.regex, err = regexp.CompilePOSIX("^(" + text + ")$"); err != nil {
				ok = false
			}
		default:
			ok = false
		}
		if !ok {
			return false
		}
		g.with[key] = a
	}
	return len(g.with) > 0
}

// MonRequest is what somebody wants of a mon.
type MonRequest struct {
	Name    wire.AuthName     // who
	Addr    netip.Addr        // from where; unknown if not valid
	Service string            // the part of the mon: "mon", "osd", "auth", "config-key"
	Command string            // the command's prefix, "" for other messages
	Args    map[string]string // the command's arguments as text
	// Read, Write, Exec are the rights that it takes.
	Read, Write, Exec bool
}

// Allows reports whether the caps allow the request. Rights add up over
// grants; a grant of the command itself has all of them.
func (c MonCaps) Allows(q MonRequest) bool {
	var have rights
	for i := range c.grants {
		g := &c.grants[i]
		if !g.network.has(q.Addr) {
			continue
		}
		if g.everything() {
			return true
		}
		have |= g.allowed(&q)
		if (!q.Read || have&mayRead != 0) && (!q.Write || have&mayWrite != 0) && (!q.Exec || have&mayExec != 0) {
			return true
		}
	}
	return false
}

// AllowsAll reports whether they allow everything, from wherever.
func (c MonCaps) AllowsAll() bool {
	for i := range c.grants {
		if c.grants[i].everything() && !c.grants[i].network.set {
			return true
		}
	}
	return false
}

func (g *monGrant) everything() bool {
	return g.rights&mayAll != 0 && g.service == "" && g.command == "" && g.profile == ""
}

// allowed gives the rights that the grant has for the request's part of the
// mon.
func (g *monGrant) allowed(q *MonRequest) (r rights) {
	switch {
	case g.profile != "":
		for _, p := range profileGrants(g.profile, q.Name) {
			r |= p.allowed(q)
		}
		return r
	case g.service != "":
		if g.service != q.Service {
			return 0
		}
	case g.command != "":
		if g.command != q.Command {
			return 0
		}
		for key, want := range g.with {
			if have, ok := q.Args[key]; !ok || !want.fits(have) {
				return 0
			}
		}
		return mayRWX
	case q.Service == "config-key":
		return 0 // secrets lie there: only "allow *" and grants that name it
	}
	return g.rights
}

func onService(name string, r rights) monGrant             { return monGrant{service: name, rights: r} }
func onCommand(name string) monGrant                       { return monGrant{command: name} }
func onCommandIf(n string, w map[string]argument) monGrant { return monGrant{command: n, with: w} }

// blocklistAddr is an address with its nonce: a client that shuts out another
// may do so for one of its runs, not for a machine.
var blocklistAddr = regexp.MustCompilePOSIX("^[^/]+/[0-9a-fA-F]+$")

// addToBlocklist is the right to shut out one client.
func addToBlocklist(addr argument) []monGrant {
	return []monGrant{
		onCommandIf("osd blocklist", map[string]argument{"blocklistop": {equal: "add"}, "addr": addr}),
		onCommandIf("osd blacklist", map[string]argument{"blacklistop": {equal: "add"}, "addr": addr}),
	}
}

// readers is what every client of objects needs.
func readers() []monGrant {
	return []monGrant{onService("mon", mayRead), onService("osd", mayRead), onService("pg", mayRead)}
}

// profileGrants gives what Ceph's profiles stand for. An unknown one is
// nothing.
func profileGrants(profile string, who wire.AuthName) (out []monGrant) {
	switch profile {
	case "mon":
		out = []monGrant{onService("mon", mayRWX), onService("log", mayRWX)}
	case "osd":
		out = []monGrant{onService("osd", mayRWX), onService("mon", mayRead), onService("pg", mayRead|mayWrite), onService("log", mayWrite)}
	case "mds":
		out = []monGrant{onService("mds", mayRWX), onService("mon", mayRead), onService("osd", mayRead), onService("log", mayWrite),
			onCommand("osd pool rmsnap"), onCommand("osd blocklist"), onCommand("osd blacklist")}
	case "mgr":
		out = []monGrant{onService("mgr", mayRWX), onService("auth", mayRWX), onCommand("auth get-or-create"), onCommand("auth caps"), onCommand("auth rm")}
		for _, s := range []string{"log", "mon", "mds", "fs", "osd", "config-key", "config"} {
			out = append(out, onService(s, mayRead|mayWrite))
		}
	case "bootstrap-osd":
		out = []monGrant{onService("mon", mayRead), onService("osd", mayRead), onCommand("mon getmap"), onCommand("osd new"), onCommand("osd purge-new")}
	case "bootstrap-mds", "bootstrap-mgr", "bootstrap-rgw":
		out = append(bootstrapGrants(strings.TrimPrefix(profile, "bootstrap-")),
			onService("mon", mayRead), onService("osd", mayRead), onCommand("mon getmap"))
	case "simple-rados-client":
		return readers()
	case "simple-rados-client-with-blocklist":
		return append(readers(), addToBlocklist(argument{regex: blocklistAddr})...)
	case "fs-client":
		return append(readers(), onService("mds", mayRead))
	case "rbd", "rbd-mirror", "rbd-read-only":
		out = append(readers(), addToBlocklist(argument{regex: blocklistAddr})...)
		if profile == "rbd-mirror" {
			out = append(out, onCommandIf("config-key get", map[string]argument{"key": {prefix: "rbd/mirror/"}}))
		}
		return out
	case "role-definer":
		return []monGrant{onService("mon", mayRead), onService("auth", mayRWX)}
	case "crash":
		return []monGrant{onService("mon", mayRead)}
	}
	switch profile {
	case "mon", "osd", "mds", "mgr":
		own := map[string]argument{"key": {prefix: "daemon-private/" + who.String() + "/"}}
		for _, verb := range []string{"get", "put", "set", "exists", "delete"} {
			out = append(out, onCommandIf("config-key "+verb, own))
		}
	}
	return out
}

// bootstrapGrants is the right to make the key of a new daemon of a kind, with
// the caps that such a daemon has.
func bootstrapGrants(kind string) []monGrant {
	caps := map[string]map[string]string{
		"mds": {"caps_mon": "allow profile mds", "caps_osd": "allow rwx", "caps_mds": "allow"},
		"mgr": {"caps_mon": "allow profile mgr"},
		"rgw": {"caps_mon": "allow rw", "caps_osd": "allow rwx"},
	}
	entity := argument{prefix: kind + "."}
	if kind == "rgw" {
		entity.prefix = "client.rgw."
	}
	with := map[string]argument{"entity": entity}
	for k, v := range caps[kind] {
		with[k] = argument{equal: v}
	}
	return []monGrant{onCommandIf("auth get-or-create", with)}
}
