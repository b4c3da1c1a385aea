package mon

import (
	"fmt"
	"strings"

	"github.com/spirula/spirula/rados/wire"
)

// param is a parameter of a command, in the terms of Ceph's descriptions.
type param struct {
	name, kind string
	required   bool
	choices    string // what CephChoices may be, with | between
	many       bool   // a list
	bounds     string // "0", "0.0|1.0"
	goodchars  string
}

// spec is a command. perm says what it does with its module: r reads, w
// changes, x is for secrets.
type spec struct {
	params []param
	help   string
	perm   string
	run    func(*call)
}

// commands are all commands by prefix.
type commands map[string]*spec

// add adds a command by its signature in Ceph's notation: the words of the
// prefix, then one word for each parameter, "name=pool,type=CephPoolname".
func (t commands) add(sig, help, perm string, run func(*call)) {
	prefix, params := parseSignature(sig)
	if t[prefix] != nil {
		panic("mon: command " + prefix + " twice")
	}
	t[prefix] = &spec{params, help, perm, run}
}

func parseSignature(sig string) (prefix string, params []param) {
	var words []string
	for _, w := range strings.Fields(sig) {
		if !strings.Contains(w, "=") {
			words = append(words, w)
			continue
		}
		p := param{required: true}
		for _, f := range strings.Split(w, ",") {
			k, v, _ := strings.Cut(f, "=")
			switch k {
			case "name":
				p.name = v
			case "type":
				p.kind = v
			case "strings":
				p.choices = v
			case "n":
				p.many = v == "N"
			case "range":
				p.bounds = v
			case "goodchars":
				p.goodchars = v
			case "req":
				p.required = v != "false"
			default:
				panic("mon: signature " + sig)
			}
		}
		params = append(params, p)
	}
	return strings.Join(words, " "), params
}

// check looks at what every command's arguments have in common. Choices and
// ranges are the caller's to check, or the command's, as they are in Ceph.
func (s *spec) check(a args) (status string, e wire.Errno) {
	for _, p := range s.params {
		if p.required && a[p.name] == nil {
			return "missing required parameter " + p.name, wire.EINVAL
		}
		ok := true
		switch p.kind {
		case "CephInt":
			_, ok = a.num(p.name, 0)
		case "CephFloat":
			if !p.many {
				_, ok = a.float(p.name, 0)
			}
		}
		if !ok {
			return p.name + " is no number", wire.EINVAL
		}
	}
	return "", 0
}

// module is the part of the system that a command belongs to, which is what
// capabilities name.
func module(prefix string) string {
	first, _, _ := strings.Cut(prefix, " ")
	switch first {
	case "osd", "pg", "auth", "config", "config-key", "mgr", "mds", "fs", "service":
		return first
	}
	return "mon"
}

// describe gives the signatures in the form that the ceph tool validates its
// input by.
func (t commands) describe() obj {
	out := make(obj, 0, len(t))
	for i, prefix := range sortedKeys(t) {
		var sig []any
		for _, word := range strings.Fields(prefix) {
			sig = append(sig, word)
		}
		for _, q := range t[prefix].params {
			d := obj{}
			for _, f := range [...][2]string{{"goodchars", q.goodchars}, {"name", q.name}, {"range", q.bounds}, {"strings", q.choices}, {"type", q.kind}} {
				if f[1] != "" {
					d = append(d, member{f[0], f[1]})
				}
			}
			if q.many {
				d = append(d, member{"n", "N"})
			}
			if !q.required {
				d = append(d, member{"req", "false"})
			}
			sig = append(sig, d)
		}
		out = append(out, member{fmt.Sprintf("cmd%03d", i), obj{{"sig", sig}, {"help", t[prefix].help},
			{"module", module(prefix)}, {"perm", t[prefix].perm}, {"flags", 0}}})
	}
	return out
}
