package cephx

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/spirula/spirula/rados/wire"
)

// maxCaps bounds the text of caps, in bytes.
const maxCaps = 64 << 10

// capsText reads the text of caps. Its methods consume what they find and say
// whether they did.
type capsText struct {
	s string
	i int
}

// parseGrants reads grants with commas or semicolons between them. The error
// says how far it came, in the words of Ceph's tools.
func parseGrants(service, text string, grant func(*capsText) bool) error {
	p := &capsText{s: text}
	if len(text) > maxCaps {
		return wire.Errorf(service+" capability too long", "", wire.EINVAL)
	}
	from := 0
	for {
		p.blanks()
		if !grant(p) {
			break
		}
		p.blanks()
		if p.i == len(p.s) {
			return nil
		}
		from = p.i
		if !p.byte(',') && !p.byte(';') {
			break
		}
	}
	return wire.Errorf(fmt.Sprintf("%s capability parse failed, stopped at '%s' of '%s'", service, text[from:], text), "", wire.EINVAL)
}

// CheckCaps reports whether text may be an entity's caps on service: "mon",
// "osd", "mgr" or "mds". Of the last two only the outline is looked at. The
// error is EINVAL; its Op is what Ceph's tools print.
func CheckCaps(service, text string) error {
	switch service {
	case "mon":
		_, err := ParseMonCaps(text)
		return err
	case "osd":
		_, err := ParseOSDCaps(text)
		return err
	case "mgr", "mds":
		return parseGrants(service, text, func(p *capsText) bool {
			if !p.keyword("allow") && !(service == "mgr" && p.keyword("profile")) {
				return false
			}
			for p.i < len(p.s) && p.s[p.i] != ',' && p.s[p.i] != ';' {
				p.i++
			}
			return true
		})
	}
	return wire.Errorf(fmt.Sprintf("unknown cap type '%s'", service), "", wire.EINVAL)
}

func (p *capsText) byte(c byte) bool {
	if p.i < len(p.s) && p.s[p.i] == c {
		p.i++
		return true
	}
	return false
}

// blanks consumes space, and says whether there was any.
func (p *capsText) blanks() bool {
	from := p.i
	for p.i < len(p.s) && strings.IndexByte(" \t\n\r", p.s[p.i]) >= 0 {
		p.i++
	}
	return p.i > from
}

func wordByte(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("_./-", c) >= 0
}

// keyword consumes k if it stands here as a whole word.
func (p *capsText) keyword(k string) bool {
	rest, ok := strings.CutPrefix(p.s[p.i:], k)
	if !ok || rest != "" && wordByte(rest[0]) {
		return false
	}
	p.i += len(k)
	return true
}

// next consumes space and the keyword k after it, or nothing.
func (p *capsText) next(k string) bool {
	from := p.i
	if p.blanks() && p.keyword(k) {
		return true
	}
	p.i = from
	return false
}

// value consumes what follows a keyword: "=" or space, then a word.
func (p *capsText) value() (string, bool) {
	if !p.byte('=') && !p.blanks() {
		return "", false
	}
	return p.word(false)
}

// word consumes a word, quoted or not; empty quotes only if they may be.
func (p *capsText) word(mayBeEmpty bool) (string, bool) {
	from := p.i
	if p.byte('"') || p.byte('\'') {
		end := strings.IndexByte(p.s[p.i:], p.s[from])
		if end < 0 || end == 0 && !mayBeEmpty {
			p.i = from
			return "", false
		}
		w := p.s[p.i : p.i+end]
		p.i += end + 1
		return w, true
	}
	for p.i < len(p.s) && wordByte(p.s[p.i]) {
		p.i++
	}
	return p.s[from:p.i], p.i > from
}

// rights are the letters of caps.
type rights uint8

const (
	mayRead rights = 1 << iota
	mayWrite
	mayExec       // mon only
	mayClassRead  // osd only
	mayClassWrite // osd only
	mayAll        // "*"

	mayRWX = mayRead | mayWrite | mayExec
)

// letters consumes "*", "all", or some of r, w, x in this order.
func (p *capsText) letters(x rights) (r rights, ok bool) {
	from := p.i
	if p.byte('*') || p.keyword("all") {
		return mayAll | mayRead | mayWrite | x, true
	}
	if p.byte('r') {
		r |= mayRead
	}
	if p.byte('w') {
		r |= mayWrite
	}
	if p.byte('x') {
		r |= x
	}
	if r == 0 || p.i < len(p.s) && wordByte(p.s[p.i]) {
		p.i = from
		return 0, false
	}
	return r, true
}

// network is where a grant's user must be; nowhere if it could not be read.
type network struct {
	set bool
	net netip.Prefix
}

// network consumes the restriction of a grant to a network, which may be
// missing.
func (p *capsText) network() (n network, ok bool) {
	if !p.next("network") {
		return n, true
	}
	if !p.blanks() {
		return n, false
	}
	from := p.i
	for p.i < len(p.s) && strings.IndexByte("/.:abcdefABCDEF0123456789][", p.s[p.i]) >= 0 {
		p.i++
	}
	text := strings.NewReplacer("[", "", "]", "").Replace(p.s[from:p.i])
	n.set = true
	if prefix, err := netip.ParsePrefix(text); err == nil {
		n.net = prefix.Masked()
	}
	return n, p.i > from
}

// has reports whether a is allowed; an address that is not known is only
// where there is no restriction.
func (n network) has(a netip.Addr) bool {
	return !n.set || n.net.Contains(a.Unmap())
}
