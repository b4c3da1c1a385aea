package mon

import (
	"encoding/json"
	"fmt"
	"math"
	"strconv"

	"github.com/spirula/spirula/rados/wire"
)

// maxCommand bounds the text of a command, in bytes.
const maxCommand = 1 << 20

// args are the arguments of a command, as JSON has them.
type args map[string]any

func (a args) str(key string) string {
	switch v := a[key].(type) {
	case string:
		return v
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64)
	}
	return ""
}

// num reads a number, given as one or as text; def when it is missing, and
// ok is false when it is none.
func (a args) num(key string, def int64) (n int64, ok bool) {
	switch v := a[key].(type) {
	case nil:
		return def, true
	case float64:
		return int64(v), v == math.Trunc(v) && math.Abs(v) < 1<<53
	case string:
		n, err := strconv.ParseInt(v, 10, 64)
		return n, err == nil
	case bool:
		if v {
			return 1, true
		}
		return 0, true
	}
	return 0, false
}

func (a args) truth(key string) bool {
	v, _ := a[key].(bool)
	return v || a.str(key) == "true" || a.str(key) == "--yes-i-really-really-mean-it"
}

// list reads one string or a list of them.
func (a args) list(key string) (out []string) {
	switch v := a[key].(type) {
	case []any:
		for _, e := range v {
			out = append(out, args{"e": e}.str("e"))
		}
	case nil:
	default:
		out = append(out, a.str(key))
	}
	return out
}

// call is one command under way. Exactly one of its methods ok, fail or
// output ends it.
type call struct {
	m    *Mon
	args args
	in   []byte
	cmd  []string
	tid  uint64
	done func(*wire.MMonCommandAck)
}

func (c *call) finish(e wire.Errno, status string, out []byte) {
	c.done(&wire.MMonCommandAck{TID: c.tid, Result: -int32(e), Status: status, Cmd: c.cmd, Output: out})
}

// ok ends the command with words only.
func (c *call) ok(format string, a ...any) { c.finish(0, fmt.Sprintf(format, a...), nil) }

// fail ends it with an error.
func (c *call) fail(e wire.Errno, format string, a ...any) {
	c.finish(e, fmt.Sprintf(format, a...), nil)
}

// output ends it with v as JSON, or with text if the caller did not ask for
// JSON.
func (c *call) output(v any, text string) {
	if format := c.args.str("format"); format != "json" && format != "json-pretty" {
		c.finish(0, "", []byte(text))
		return
	}
	var b []byte
	var err error
	if c.args.str("format") == "json-pretty" {
		b, err = json.MarshalIndent(v, "", "    ")
	} else {
		b, err = json.Marshal(v)
	}
	if err != nil {
		c.fail(wire.EIO, "encoding: %v", err)
		return
	}
	c.finish(0, "", append(b, '\n'))
}

// committed gives a callback that ends the command when its change is in an
// epoch.
func (c *call) committed(format string, a ...any) func(wire.Errno, wire.Epoch) {
	return func(e wire.Errno, _ wire.Epoch) {
		if e != 0 {
			c.fail(e, "%v", e)
			return
		}
		c.ok(format, a...)
	}
}

// command parses one command and runs it.
func (m *Mon) command(msg *wire.MMonCommand, done func(*wire.MMonCommandAck)) {
	c := &call{m: m, in: msg.Input, cmd: msg.Cmd, tid: msg.TID, done: done}
	if len(msg.Cmd) != 1 || len(msg.Cmd[0]) > maxCommand || json.Unmarshal([]byte(msg.Cmd[0]), &c.args) != nil {
		c.fail(wire.EINVAL, "command is not a JSON object")
		return
	}
	spec := m.commands[c.args.str("prefix")]
	if spec == nil {
		c.fail(wire.EINVAL, "command not known")
		return
	}
	for _, p := range spec.params {
		if p.required && c.args[p.name] == nil {
			c.fail(wire.EINVAL, "missing required parameter %s", p.name)
			return
		}
		if p.kind == "CephInt" || p.kind == "CephOsdId" {
			if _, ok := c.args.num(p.name, 0); !ok {
				c.fail(wire.EINVAL, "%s is no number", p.name)
				return
			}
		}
	}
	spec.run(c)
}

// param is a parameter of a command, in the terms of Ceph's descriptions.
type param struct {
	name, kind string
	required   bool
	choices    string
}

func req(name, kind string) param { return param{name: name, kind: kind, required: true} }
func opt(name, kind string) param { return param{name: name, kind: kind} }

// spec is a command.
type spec struct {
	params []param
	help   string
	perm   string
	run    func(*call)
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return strconv.Itoa(n) + " " + what + "s"
}
