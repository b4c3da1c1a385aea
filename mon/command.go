package mon

import (
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"

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
	case bool:
		return strconv.FormatBool(v)
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

// float reads a finite number, given as one or as text.
func (a args) float(key string, def float64) (f float64, ok bool) {
	switch v := a[key].(type) {
	case nil:
		return def, true
	case float64:
		return v, true
	case string:
		f, err := strconv.ParseFloat(v, 64)
		return f, err == nil && !math.IsNaN(f) && !math.IsInf(f, 0)
	}
	return 0, false
}

// truth reads a switch: a bool, or what older tools send in its place, the
// word itself.
func (a args) truth(key string) bool {
	switch v := a[key].(type) {
	case bool:
		return v
	case string:
		return v == "true" || strings.HasPrefix(v, "--")
	}
	return false
}

// sure reports whether the caller insists.
func (a args) sure() bool { return a.truth("yes_i_really_mean_it") || a.truth("force") }

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

// call is one command under way. Exactly one of its methods ok, fail, show,
// output, text or finish ends it.
type call struct {
	m    *Mon
	sess *session // nil for a command of this process
	args args
	in   []byte
	cmd  []string
	tid  uint64
	seen uint64 // version of the state that the answer is about
	done func(*wire.MMonCommandAck)
}

func (c *call) finish(e wire.Errno, status string, out []byte) {
	c.done(&wire.MMonCommandAck{TID: c.tid, Seen: c.seen, Result: -int32(e), Status: status, Cmd: c.cmd, Output: out})
}

// ok ends the command with words only.
func (c *call) ok(format string, a ...any) { c.finish(0, fmt.Sprintf(format, a...), nil) }

// fail ends it with an error.
func (c *call) fail(e wire.Errno, format string, a ...any) {
	c.finish(e, fmt.Sprintf(format, a...), nil)
}

// isJSON reports whether the caller asked for JSON.
func (c *call) isJSON() bool { return strings.HasPrefix(c.args.str("format"), "json") }

// show ends it with v as JSON, for people on many lines.
func (c *call) show(v any) { c.finish(0, "", encodeJSON(v, c.args.str("format") != "json")) }

// output ends it with v as JSON, or with text if the caller did not ask for
// JSON.
func (c *call) output(v any, text string) {
	if !c.isJSON() {
		c.finish(0, "", []byte(text))
		return
	}
	c.show(v)
}

// committed gives a callback that ends the command when its change is in an
// epoch.
func (c *call) committed(format string, a ...any) func(wire.Errno, wire.Epoch) {
	return func(e wire.Errno, epoch wire.Epoch) {
		if e != 0 {
			c.fail(e, "%v", e)
			return
		}
		c.seen = uint64(epoch)
		c.ok(format, a...)
	}
}

// told is committed for services without epochs.
func (c *call) told(format string, a ...any) func(wire.Errno) {
	return func(e wire.Errno) {
		if e != 0 {
			c.fail(e, "%v", e)
			return
		}
		c.ok(format, a...)
	}
}

// command parses one command and runs it. sess is nil for a command of this
// process.
func (m *Mon) command(sess *session, msg *wire.MMonCommand, done func(*wire.MMonCommandAck)) {
	m.run(m.commands, sess, msg, done)
}

func (m *Mon) run(table commands, sess *session, msg *wire.MMonCommand, done func(*wire.MMonCommandAck)) {
	c := &call{m: m, sess: sess, in: msg.Input, cmd: msg.Cmd, tid: msg.TID, done: done}
	if len(msg.Cmd) != 1 || len(msg.Cmd[0]) > maxCommand || json.Unmarshal([]byte(msg.Cmd[0]), &c.args) != nil {
		c.fail(wire.EINVAL, "command is not a JSON object")
		return
	}
	prefix := c.args.str("prefix")
	spec := table[prefix]
	if spec == nil {
		c.fail(wire.EINVAL, "command not known")
		return
	}
	if status, e := spec.check(c.args); e != 0 {
		c.fail(e, "%s", status)
		return
	}
	if status, e := m.permits(c, prefix, spec); e != 0 {
		c.fail(e, "%s", status)
		return
	}
	c.seen = m.versionOf(module(prefix))
	spec.run(c)
}

// versionOf is the version of the state that a module's answers are about.
func (m *Mon) versionOf(module string) uint64 {
	switch module {
	case "osd", "pg":
		return uint64(m.osd.cur.Epoch)
	case "mon":
		return uint64(m.monmap.cur.Epoch)
	case "config", "config-key":
		return m.services[module].version()
	}
	return 0
}
