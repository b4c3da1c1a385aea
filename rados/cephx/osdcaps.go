package cephx

import (
	"net/netip"
	"strings"
)

// OSDCaps is what an entity may do on OSDs. The zero OSDCaps allow nothing.
// It is a value: nothing changes it.
type OSDCaps struct{ grants []osdGrant }

// osdGrant is one of the things that OSDCaps allow, on the objects that match.
type osdGrant struct {
	rights  rights
	class   string // a class that may be called, "" for none
	method  string // only this method of it, "" for all
	match   objectMatch
	profile []osdGrant // what a profile stands for; the rest does not count then
	isProf  bool
	network network
}

// objectMatch says which objects a grant is about.
type objectMatch struct {
	pool         string // "" for all
	hasNamespace bool
	namespace    string // a * at the end stands for anything
	app          string // an application of the pool; "" for any
	key, value   string // that it has tagged the pool with; * for any
	prefix       string // of the object's name
}

// ParseOSDCaps reads osd caps: grants, separated by commas or semicolons, of
//
//	allow r|w|x|*  MATCH          (any of r, w, x, in this order)
//	allow class-read|class-write MATCH
//	allow class NAME [METHOD] MATCH
//	profile rbd|rbd-read-only|read-only|read-write [pool=P] [namespace=N]
//
// where x is class-read and class-write, and MATCH any of
//
//	pool=P namespace=N object_prefix X
//	tag APP KEY=VALUE             (the pool's application metadata; * for any)
//
// Each may have "network ADDR/BITS" behind it. Caps that can't be read allow
// nothing, and are EINVAL.
func ParseOSDCaps(text string) (OSDCaps, error) {
	var c OSDCaps
	err := parseGrants("osd", text, func(p *capsText) bool {
		g, ok := parseOSDGrant(p)
		c.grants = append(c.grants, g)
		return ok
	})
	if err != nil {
		return OSDCaps{}, err
	}
	return c, nil
}

func parseOSDGrant(p *capsText) (g osdGrant, ok bool) {
	allow := p.keyword("allow")
	if allow && !p.blanks() {
		return g, false
	}
	switch {
	case p.keyword("profile"):
		name, found := p.value()
		if !found || !p.match(&g.match) {
			return g, false
		}
		g.isProf, g.profile = true, osdProfile(name, g.match)
	case !allow:
		return g, false
	case p.spec(&g):
		if !p.match(&g.match) {
			return g, false
		}
	default: // the old order: allow pool foo rwx
		p.i-- // match wants the space before it
		before := p.i
		if !p.match(&g.match) || p.i == before || !p.blanks() || !p.spec(&g) {
			return g, false
		}
	}
	g.network, ok = p.network()
	return g, ok
}

// spec consumes what is allowed.
func (p *capsText) spec(g *osdGrant) bool {
	if p.keyword("class") {
		ok := p.blanks()
		if ok {
			g.class, ok = p.word(false)
		}
		if !ok {
			return false
		}
		from := p.i
		if p.blanks() {
			if m, found := p.word(false); found && !matchWord(m) {
				g.method = m
			} else {
				p.i = from
			}
		}
		return true
	}
	found := false
	if r, ok := p.letters(mayClassRead | mayClassWrite); ok {
		g.rights, found = r, true
		if r&mayAll != 0 {
			return true
		}
	}
	for _, k := range []struct {
		word  string
		right rights
	}{{"class-read", mayClassRead}, {"class-write", mayClassWrite}} {
		if found && p.next(k.word) || !found && p.keyword(k.word) {
			g.rights, found = g.rights|k.right, true
		}
	}
	return found
}

func matchWord(w string) bool {
	switch w {
	case "pool", "namespace", "object_prefix", "tag", "network":
		return true
	}
	return false
}

// match consumes which objects are meant, which may be missing: all.
func (p *capsText) match(m *objectMatch) (ok bool) {
	if p.next("pool") {
		if m.pool, ok = p.value(); !ok {
			return false
		}
	}
	if !p.namespaceMatch(m) {
		return false
	}
	if m.pool == "" && p.next("tag") {
		if !p.tag(m) || !p.namespaceMatch(m) {
			return false
		}
	}
	if p.next("object_prefix") {
		if m.prefix, ok = p.value(); !ok {
			return false
		}
	}
	return true
}

func (p *capsText) namespaceMatch(m *objectMatch) (ok bool) {
	if m.hasNamespace || !p.next("namespace") {
		return true
	}
	m.hasNamespace = true
	if !p.byte('=') && !p.blanks() {
		return false
	}
	m.namespace, ok = p.word(true)
	if p.byte('*') {
		m.namespace, ok = m.namespace+"*", true
	}
	return ok
}

// tag consumes "app key=value".
func (p *capsText) tag(m *objectMatch) (ok bool) {
	star := func() (string, bool) {
		if p.byte('*') {
			return "*", true
		}
		return p.word(false)
	}
	if !p.blanks() {
		return false
	}
	if m.app, ok = p.word(false); !ok || !p.blanks() {
		return false
	}
	if m.key, ok = star(); !ok || !p.byte('=') {
		return false
	}
	m.value, ok = star()
	return ok
}

// osdProfile gives what Ceph's profiles stand for. An unknown one is nothing.
func osdProfile(name string, m objectMatch) []osdGrant {
	where := objectMatch{pool: m.pool, hasNamespace: m.hasNamespace, namespace: m.namespace}
	inPool := objectMatch{pool: m.pool}
	switch name {
	case "read-only":
		return []osdGrant{{match: where, rights: mayRead}}
	case "read-write":
		return []osdGrant{{match: where, rights: mayRead | mayWrite}}
	case "rbd":
		return []osdGrant{
			{match: objectMatch{prefix: "rbd_info"}, rights: mayRead},
			{match: objectMatch{prefix: "rbd_children"}, rights: mayClassRead},
			{match: objectMatch{prefix: "rbd_mirroring"}, rights: mayClassRead},
			{match: inPool, class: "rbd", method: "metadata_list"},
			{match: where, rights: mayRead | mayWrite | mayClassRead | mayClassWrite},
		}
	case "rbd-read-only":
		header := where
		header.prefix = "rbd_header."
		return []osdGrant{
			{match: objectMatch{prefix: "rbd_info"}, rights: mayRead},
			{match: inPool, class: "rbd", method: "metadata_list"},
			{match: where, rights: mayRead | mayClassRead},
			{match: header, class: "rbd", method: "child_attach"},
			{match: header, class: "rbd", method: "child_detach"},
		}
	}
	return nil
}

// ClassCall is one call of an object class.
type ClassCall struct {
	Class, Method string
	Read, Write   bool // what the method does with the object
}

// OSDRequest is what somebody wants of an OSD: one vector of operations on
// one object, or a listing.
type OSDRequest struct {
	Addr netip.Addr // from where; unknown if not valid
	Pool string     // the pool's name
	// Apps is the pool's application metadata: application to key to value.
	Apps      map[string]map[string]string
	Namespace string
	Object    string // the locator key if there is one
	// Read and Write: there are operations that read, or write. Calls of
	// classes don't count.
	Read, Write bool
	Calls       []ClassCall
}

// Allows reports whether the caps allow the request. Read and Write must be
// had by one grant; the calls may be covered by several.
func (c OSDCaps) Allows(q *OSDRequest) bool {
	var called []bool
	if len(q.Calls) > 0 {
		called = make([]bool, len(q.Calls))
	}
	return allows(c.grants, q, called)
}

func allows(grants []osdGrant, q *OSDRequest, called []bool) bool {
	for i := range grants {
		g := &grants[i]
		if !g.network.has(q.Addr) {
			continue
		}
		if g.isProf {
			if allows(g.profile, q, called) {
				return true
			}
			continue
		}
		if g.match.fits(q) && g.allows(q, called) {
			return true
		}
	}
	return false
}

// allows decides for a grant that matches; called has the calls that earlier
// grants allowed, and gets those that this one does.
func (g *osdGrant) allows(q *OSDRequest, called []bool) bool {
	if q.Read && g.rights&mayRead == 0 || q.Write && g.rights&mayWrite == 0 {
		return false
	}
	if g.rights&mayAll != 0 {
		return true
	}
	all := true
	for i := range q.Calls {
		call := &q.Calls[i]
		switch {
		case g.class != "" && g.class == call.Class && (g.method == "" || g.method == call.Method):
			called[i] = true
		case g.class == "" && (!call.Read || g.rights&mayClassRead != 0) && (!call.Write || g.rights&mayClassWrite != 0):
			called[i] = true
		}
		all = all && called[i]
	}
	return all
}

func (m *objectMatch) fits(q *OSDRequest) bool {
	if m.pool != "" && m.pool != q.Pool {
		return false
	}
	if m.hasNamespace && m.namespace != q.Namespace {
		prefix, wild := strings.CutSuffix(m.namespace, "*")
		if !wild || !strings.HasPrefix(q.Namespace, prefix) {
			return false
		}
	}
	return strings.HasPrefix(q.Object, m.prefix) && (m.app == "" || m.tagged(q.Apps))
}

func (m *objectMatch) tagged(apps map[string]map[string]string) bool {
	tags, ok := apps[m.app]
	switch {
	case !ok:
		return false
	case m.key == "*" && m.value == "*":
		return true
	case m.key == "*":
		for _, v := range tags {
			if v == m.value {
				return true
			}
		}
		return false
	}
	v, ok := tags[m.key]
	return ok && (m.value == "*" || m.value == v)
}

// AllowsAll reports whether the caps allow everything, on every object and
// from wherever.
func (c OSDCaps) AllowsAll() bool {
	for i := range c.grants {
		g := &c.grants[i]
		if g.rights&mayAll != 0 && !g.isProf && !g.network.set && g.match == (objectMatch{}) {
			return true
		}
	}
	return false
}

// WritesPool reports whether there is a grant to write all of pool, which is
// the right to make and remove snapshot ids of it.
func (c OSDCaps) WritesPool(pool string) bool { return writesPool(c.grants, pool) }

func writesPool(grants []osdGrant, pool string) bool {
	for i := range grants {
		g := &grants[i]
		if g.isProf {
			if writesPool(g.profile, pool) {
				return true
			}
			continue
		}
		if g.rights&mayWrite != 0 && (g.match == (objectMatch{}) || pool != "" && g.match.pool == pool) {
			return true
		}
	}
	return false
}
