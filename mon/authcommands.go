package mon

import (
	"bytes"
	"errors"
	"maps"
	"strings"

	"github.com/spirula/spirula/rados/cephx"
	"github.com/spirula/spirula/rados/wire"
)

// addAuthCommands adds the commands about entities, their keys and caps.
func addAuthCommands(t commands) {
	const entity, caps = " name=entity,type=CephString", " name=caps,type=CephString,n=N,req=false"
	t.add("auth ls", "list authentication state", "rx", cmdAuthList)
	t.add("auth list", "list authentication state", "rx", cmdAuthList)
	t.add("auth get"+entity, "write keyring file with requested key", "rx", cmdAuthGet)
	for _, verb := range []string{"get-key", "print-key", "print_key"} {
		t.add("auth "+verb+entity, "display requested key", "rx", cmdAuthKey)
	}
	t.add("auth export"+entity+",req=false", "write keyring for requested entity, or master keyring if none given", "rx", cmdAuthExport)
	t.add("auth import", "auth import: read keyring file from -i <file>", "rwx", cmdAuthImport)
	t.add("auth add"+entity+caps, "add auth info for <entity> from input file, or random key if no input is given, and/or any caps specified in the command",
		"rwx", cmdAuthAdd)
	t.add("auth get-or-create"+entity+caps, "get, or add, an entity and its key; if it exists, any given caps must match", "rwx", cmdAuthGetOrCreate)
	t.add("auth get-or-create-key"+entity+caps, "get, or add, key for <name> from system/caps pairs specified in the command.  If key already exists, any given caps must match the existing caps for that key.",
		"rwx", cmdAuthGetOrCreate)
	t.add("auth caps"+entity+strings.TrimSuffix(caps, ",req=false"), "update caps for <name> from caps specified in the command", "rwx", cmdAuthCaps)
	t.add("auth rotate"+entity, "rotate entity key", "rwx", cmdAuthRotate)
	for _, verb := range []string{"rm", "del"} {
		t.add("auth "+verb+entity, "remove all caps for <name>", "rwx", cmdAuthRemove)
	}
}

// entity reads the argument that names an entity, or ends the command.
func (c *call) entity() (n wire.AuthName, ok bool) {
	n, err := cephx.ParseName(c.args.str("entity"))
	if err != nil {
		c.fail(wire.EINVAL, "invalid entity_auth %s", c.args.str("entity"))
		return n, false
	}
	return n, true
}

// caps reads the argument that has pairs of service and caps, or ends the
// command.
func (c *call) caps() (caps map[string]string, ok bool) {
	list := c.args.list("caps")
	if len(list)%2 != 0 {
		c.fail(wire.EINVAL, "bad capabilities request; odd number of arguments")
		return nil, false
	}
	caps = make(map[string]string)
	for i := 0; i < len(list); i += 2 {
		caps[list[i]] = list[i+1]
	}
	if e, status := checkCaps(caps); e != 0 {
		c.fail(e, "%s", status)
		return nil, false
	}
	return caps, true
}

// entityAndCaps reads both, or ends the command.
func (c *call) entityAndCaps() (n wire.AuthName, caps map[string]string, ok bool) {
	if n, ok = c.entity(); ok {
		caps, ok = c.caps()
	}
	return n, caps, ok
}

// checkCaps reports what is wrong with an entity's caps.
func checkCaps(caps map[string]string) (wire.Errno, string) {
	for _, s := range sortedKeys(caps) {
		if err := cephx.CheckCaps(s, caps[s]); err != nil {
			var e *wire.Error
			if errors.As(err, &e) {
				return e.Kind, e.Op
			}
			return wire.EINVAL, err.Error()
		}
	}
	return 0, ""
}

// entityJSON is an entity in Ceph's form.
func entityJSON(n wire.AuthName, e cephx.Entity) obj {
	return obj{{"entity", n.String()}, {"key", e.Key.Text()}, {"caps", sortedObj(e.Caps)}}
}

// keyringOut ends the command with entities: as a keyring file, or as JSON.
func (c *call) keyringOut(ring cephx.Keyring, status string) {
	if !c.isJSON() {
		c.finish(0, status, ring.Format())
		return
	}
	list := []obj{}
	for _, n := range ring.Names() {
		list = append(list, entityJSON(n, ring[n]))
	}
	c.finish(0, status, encodeJSON(list, c.args.str("format") != "json"))
}

// keyOut ends the command with a key alone. Plain text has no newline behind
// it: scripts put it into files.
func (c *call) keyOut(k cephx.CryptoKey, newline string) {
	c.output(obj{{"key", k.Text()}}, k.Text()+newline)
}

// listed are the entities that lists show: all but the mons' own.
func (a *authService) listed() cephx.Keyring {
	ring := maps.Clone(a.ring)
	delete(ring, monName)
	return ring
}

func cmdAuthList(c *call) {
	ring := c.m.auth.listed()
	list := []obj{}
	var b strings.Builder
	for _, n := range ring.Names() {
		e := ring[n]
		list = append(list, entityJSON(n, e))
		b.WriteString(n.String() + "\n\tkey: " + e.Key.Text() + "\n")
		for _, s := range sortedKeys(e.Caps) {
			b.WriteString("\tcaps: [" + s + "] " + e.Caps[s] + "\n")
		}
	}
	if c.isJSON() {
		c.show(obj{{"auth_dump", list}})
		return
	}
	status := "installed auth entries:"
	if len(ring) == 0 {
		status = "no installed auth entries!"
	}
	c.finish(0, status, []byte(b.String()))
}

func cmdAuthGet(c *call) {
	n, ok := c.entity()
	if !ok {
		return
	}
	e, ok := c.m.auth.ring[n]
	if !ok {
		c.fail(wire.ENOENT, "failed to find %s in keyring", n)
		return
	}
	c.keyringOut(cephx.Keyring{n: e}, "exported keyring for "+n.String())
}

func cmdAuthKey(c *call) {
	n, ok := c.entity()
	if !ok {
		return
	}
	e, ok := c.m.auth.ring[n]
	if !ok {
		c.fail(wire.ENOENT, "don't have %s", n)
		return
	}
	c.keyOut(e.Key, "")
}

func cmdAuthExport(c *call) {
	if c.args["entity"] == nil {
		c.keyringOut(c.m.auth.listed(), "exported master keyring")
		return
	}
	n, ok := c.entity()
	if !ok {
		return
	}
	e, ok := c.m.auth.ring[n]
	if !ok {
		c.fail(wire.ENOENT, "no key for %s", n)
		return
	}
	c.keyringOut(cephx.Keyring{n: e}, "exported keyring for "+n.String())
}

// outcome is what a change answers once it is agreed upon.
func (c *call) outcome(e wire.Errno, status string) func(wire.Errno) {
	return func(lost wire.Errno) {
		switch {
		case lost != 0:
			c.fail(lost, "%v", lost)
		default:
			c.finish(e, status, nil)
		}
	}
}

func cmdAuthImport(c *call) {
	if len(c.in) == 0 {
		c.fail(wire.EINVAL, "auth import: no data supplied")
		return
	}
	ring, err := cephx.ParseKeyring(c.in)
	if err != nil {
		c.fail(wire.EINVAL, "error decoding keyring %v", err)
		return
	}
	for _, n := range ring.Names() {
		if e, status := checkCaps(ring[n].Caps); e != 0 {
			c.fail(e, "%s: %s", n, status)
			return
		}
		if ring[n].Key.IsZero() {
			c.fail(wire.EINVAL, "no key for %s", n)
			return
		}
	}
	c.m.auth.change(func(v *authView) func(wire.Errno) {
		for _, n := range ring.Names() {
			if e := v.put(n, ring[n]); e != 0 {
				return c.outcome(e, "too many entities")
			}
		}
		return c.outcome(0, "imported keyring")
	})
}

// cmdAuthAdd adds an entity. What is there already and just so is no error.
func cmdAuthAdd(c *call) {
	n, caps, ok := c.entityAndCaps()
	if !ok {
		return
	}
	want := cephx.Entity{Caps: caps}
	if len(c.in) > 0 {
		ring, err := cephx.ParseKeyring(c.in)
		if err != nil {
			c.fail(wire.EINVAL, "error decoding keyring %v", err)
			return
		}
		given, ok := ring[n]
		switch {
		case !ok || given.Key.IsZero():
			c.fail(wire.EINVAL, "key for %s not found in provided keyring", n)
			return
		case len(given.Caps) > 0 && len(caps) > 0:
			c.fail(wire.EINVAL, "caps cannot be specified both in keyring and in command")
			return
		}
		want.Key = given.Key
		if len(given.Caps) > 0 {
			want.Caps = given.Caps
		}
		if e, status := checkCaps(want.Caps); e != 0 {
			c.fail(e, "%s", status)
			return
		}
	}
	c.m.auth.change(func(v *authView) func(wire.Errno) {
		if have, ok := v.get(n); ok {
			switch {
			case !want.Key.IsZero() && !want.Key.Equal(have.Key):
				return c.outcome(wire.EEXIST, "entity "+n.String()+" exists but key does not match")
			case !maps.Equal(have.Caps, want.Caps):
				return c.outcome(wire.EINVAL, "entity "+n.String()+" exists but caps do not match")
			}
			return c.outcome(0, "")
		}
		if want.Key.IsZero() {
			want.Key = cephx.GenerateKey(c.m.opts.Now())
		}
		return c.outcome(v.put(n, want), "added key for "+n.String())
	})
}

// cmdAuthGetOrCreate serves both forms: the keyring and the key alone.
func cmdAuthGetOrCreate(c *call) {
	n, caps, ok := c.entityAndCaps()
	if !ok {
		return
	}
	c.m.auth.change(func(v *authView) func(wire.Errno) {
		ent, ok := v.get(n)
		if ok {
			for _, s := range sortedKeys(caps) {
				if ent.Caps[s] != caps[s] {
					return c.outcome(wire.EINVAL, "key for "+n.String()+" exists but cap "+s+" does not match")
				}
			}
		} else {
			ent = cephx.Entity{Key: cephx.GenerateKey(c.m.opts.Now()), Caps: caps}
			if e := v.put(n, ent); e != 0 {
				return c.outcome(e, "too many entities")
			}
		}
		return func(lost wire.Errno) {
			switch {
			case lost != 0:
				c.fail(lost, "%v", lost)
			case strings.HasSuffix(c.args.str("prefix"), "-key"):
				c.keyOut(ent.Key, "\n")
			case c.isJSON():
				c.keyringOut(cephx.Keyring{n: ent}, "")
			default:
				var b bytes.Buffer
				cephx.FormatEntity(&b, n, cephx.Entity{Key: ent.Key})
				c.finish(0, "", b.Bytes())
			}
		}
	})
}

func cmdAuthCaps(c *call) {
	n, caps, ok := c.entityAndCaps()
	if !ok {
		return
	}
	c.m.auth.change(func(v *authView) func(wire.Errno) {
		have, ok := v.get(n)
		if !ok {
			return c.outcome(wire.ENOENT, "couldn't find entry "+n.String())
		}
		return c.outcome(v.put(n, cephx.Entity{Key: have.Key, Caps: caps}), "updated caps for "+n.String())
	})
}

// cmdAuthRotate gives an entity another key. Sessions and tickets that it has
// stay as they are until they end.
func cmdAuthRotate(c *call) {
	n, ok := c.entity()
	if !ok {
		return
	}
	c.m.auth.change(func(v *authView) func(wire.Errno) {
		ent, ok := v.get(n)
		if !ok {
			return c.outcome(wire.ENOENT, "entity does not exist")
		}
		ent.Key = cephx.GenerateKey(c.m.opts.Now())
		if e := v.put(n, ent); e != 0 {
			return c.outcome(e, "")
		}
		return func(lost wire.Errno) {
			if lost != 0 {
				c.fail(lost, "%v", lost)
				return
			}
			c.keyringOut(cephx.Keyring{n: ent}, "")
		}
	})
}

func cmdAuthRemove(c *call) {
	n, ok := c.entity()
	if !ok {
		return
	}
	c.m.auth.change(func(v *authView) func(wire.Errno) {
		if _, ok := v.get(n); !ok || n == monName {
			return c.outcome(0, "entity "+n.String()+" does not exist")
		}
		v.remove(n)
		return c.outcome(0, "updated")
	})
}
