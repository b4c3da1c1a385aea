package osd

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/spirula/spirula/rados/msgr"
	"github.com/spirula/spirula/rados/wire"
)

// maxCommands bounds the commands that wait or run; beyond: EAGAIN.
const maxCommands = 64

// command is one of the daemon's commands ("ceph tell osd.0 ..."). Its
// signature is in Ceph's notation: the words of the prefix, then the
// parameters.
type command struct {
	sig, help string
	run       func(d *OSD, a args) (any, error)
}

// args are a command's arguments.
type args map[string]any

// commands are all there are.
func commands() []command {
	return []command{
		{"get_command_descriptions", "list available commands", nil},
		{"version", "get ceph version", (*OSD).cmdVersion},
		{"status", "high-level status of OSD", (*OSD).cmdStatus},
		{"dump_ops_in_flight name=filterstr,type=CephString,n=N,req=false", "show the ops currently in flight",
			func(d *OSD, _ args) (any, error) { return d.opsInFlight(0), nil }},
		{"ops name=filterstr,type=CephString,n=N,req=false", "show the ops currently in flight",
			func(d *OSD, _ args) (any, error) { return d.opsInFlight(0), nil }},
		{"dump_blocked_ops name=filterstr,type=CephString,n=N,req=false", "show the blocked ops currently in flight",
			func(d *OSD, _ args) (any, error) { return d.opsInFlight(slowOp), nil }},
		{"dump_watchers", "show clients which have active watches, and on which objects", (*OSD).cmdWatchers},
		{"perf dump name=logger,type=CephString,req=false name=counter,type=CephString,req=false", "dump perfcounters value",
			(*OSD).cmdPerf},
		{"bench name=count,type=CephInt,req=false name=size,type=CephInt,req=false name=object_size,type=CephInt,req=false " +
			"name=object_num,type=CephInt,req=false", "OSD benchmark: write <count> <size>-byte objects(with <obj_size> <obj_num>), " +
			"(default count=1G default size=4MB). Results in log.", (*OSD).cmdBench},
		{"flush_pg_stats", "flush pg stats", (*OSD).cmdFlush},
		{"config show", "dump current config settings", (*OSD).cmdConfigShow},
		{"config get name=var,type=CephString", "config get <field>: get the config value", (*OSD).cmdConfigGet},
		{"config set name=var,type=CephString name=val,type=CephString,n=N", "config set <field> <val> [<val> ...]: set a config variable",
			(*OSD).cmdConfigSet},
		{"injectargs name=injected_args,type=CephString,n=N", "inject configuration arguments into running daemon", (*OSD).cmdInject},
		{"query", "show details of a specific pg", (*OSD).cmdQuery},
		{"pg name=pgid,type=CephPgid name=cmd,type=CephChoices,strings=query", "", (*OSD).cmdQuery},
	}
}

// prefix gives the words before the parameters.
func (c *command) prefix() string {
	words := strings.Fields(c.sig)
	if i := slices.IndexFunc(words, func(w string) bool { return strings.Contains(w, "=") }); i >= 0 {
		words = words[:i]
	}
	return strings.Join(words, " ")
}

// describe gives the commands as "ceph" wants to know them.
func describe(cs []command) any {
	out := map[string]any{}
	for i := range cs {
		var sig []any
		for _, w := range strings.Fields(cs[i].sig) {
			if !strings.Contains(w, "=") {
				sig = append(sig, w)
				continue
			}
			p := map[string]any{}
			for _, f := range strings.Split(w, ",") {
				k, v, _ := strings.Cut(f, "=")
				if p[k] = v; k == "req" {
					p[k] = v != "false"
				}
			}
			sig = append(sig, p)
		}
		out[fmt.Sprintf("cmd%03d", i)] = map[string]any{"sig": sig, "help": cs[i].help, "module": "osd", "perm": "rw", "flags": 0}
	}
	return out
}

// handleCommand takes a command; it is answered by another goroutine.
func (d *OSD) handleCommand(c msgr.Conn, m *wire.MCommand) {
	s := d.session(c)
	reply := func(result int32, status string, out []byte) {
		r := &wire.MCommandReply{TID: m.TID, Result: result, Status: status, Output: out}
		if err := c.Send(r); err != nil {
			d.log.Debug("answer to a command not sent", "peer", c.Peer(), "err", err)
		}
	}
	if d.telling.Add(1) > maxCommands {
		d.telling.Add(-1)
		d.teller.run(func() { reply(-int32(wire.EAGAIN), "too many commands", nil) })
		return
	}
	d.teller.run(func() {
		defer d.telling.Add(-1)
		if !s.caps.all {
			reply(-int32(wire.EACCES), "access denied", nil)
			return
		}
		out, err := d.tell(m.Cmd)
		if err != nil {
			reply(-int32(wire.ErrnoOf(err)), err.Error(), nil)
			return
		}
		reply(0, "", out)
	})
}

var errNoCommand = &wire.Error{Op: "command", Kind: wire.EINVAL, Cause: errors.New("no valid command found")}

// tell runs a command and gives its output.
func (d *OSD) tell(cmd []string) ([]byte, error) {
	var a args
	if json.Unmarshal([]byte(strings.Join(cmd, "")), &a) != nil {
		return nil, errNoCommand
	}
	cs := commands()
	prefix := a.str("prefix")
	i := slices.IndexFunc(cs, func(c command) bool { return c.prefix() == prefix })
	if i < 0 {
		return nil, errNoCommand
	}
	var out any
	var err error
	if cs[i].run == nil {
		out = describe(cs)
	} else if out, err = cs[i].run(d, a); err != nil {
		return nil, err
	}
	if out == nil {
		return nil, nil
	}
	if s, ok := out.(string); ok {
		return []byte(s), nil
	}
	b, err := json.MarshalIndent(out, "", "    ")
	if err != nil {
		return nil, err
	}
	return append(b, '\n'), nil
}

func (a args) str(name string) string {
	switch v := a[name].(type) {
	case string:
		return v
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64)
	case []any:
		words := make([]string, len(v))
		for i := range v {
			words[i] = fmt.Sprint(v[i])
		}
		return strings.Join(words, " ")
	}
	return ""
}

// num gives a number, or the default where the argument is not given.
func (a args) num(name string, otherwise int64) (int64, error) {
	s := a.str(name)
	if s == "" {
		return otherwise, nil
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n < 0 {
		return 0, wire.Errorf("command argument "+name, s, wire.EINVAL)
	}
	return n, nil
}

// settings are the options that "config" shows. Those of this list are as
// Ceph names them; set values are remembered and change nothing, and the
// answer says so.
type settings struct {
	mu     sync.Mutex
	values map[string]string
}

func newSettings() *settings {
	return &settings{values: map[string]string{
		"osd_client_watch_timeout":         "30",
		"osd_default_notify_timeout":       strconv.Itoa(notifyTimeout),
		"osd_failsafe_full_ratio":          fmt.Sprintf("%.6f", failsafeFull/100.0),
		"osd_max_attr_name_len":            "100",
		"osd_max_object_name_len":          "2048",
		"osd_max_object_namespace_len":     "256",
		"osd_max_object_size":              strconv.Itoa(128 << 20),
		"osd_max_write_size":               "90",
		"osd_max_omap_entries_per_request": "1024",
		"osd_op_complaint_time":            fmt.Sprintf("%.6f", slowOp.Seconds()),
		"osd_objectstore":                  "spirula",
		"debug_osd":                        "1/5",
		"debug_ms":                         "0/0",
	}}
}

func (d *OSD) cmdConfigShow(args) (any, error) {
	d.settings.mu.Lock()
	defer d.settings.mu.Unlock()
	return maps.Clone(d.settings.values), nil
}

func (d *OSD) cmdConfigGet(a args) (any, error) {
	d.settings.mu.Lock()
	defer d.settings.mu.Unlock()
	name := strings.ReplaceAll(a.str("var"), "-", "_")
	v, ok := d.settings.values[name]
	if !ok {
		return nil, wire.Errorf("error getting option", name, wire.ENOENT)
	}
	return map[string]string{name: v}, nil
}

func (d *OSD) cmdConfigSet(a args) (any, error) {
	d.settings.mu.Lock()
	defer d.settings.mu.Unlock()
	name := strings.ReplaceAll(a.str("var"), "-", "_")
	if _, ok := d.settings.values[name]; !ok {
		return nil, wire.Errorf("error setting option", name, wire.ENOENT)
	}
	d.settings.values[name] = a.str("val")
	return map[string]string{"success": fmt.Sprintf("%s = '%s' (not observed, it has no effect) ", name, a.str("val"))}, nil
}

// cmdInject takes what test programs inject; nothing of it has an effect.
func (d *OSD) cmdInject(args) (any, error) { return nil, nil }

func (d *OSD) cmdFlush(args) (any, error) {
	d.report()
	return strconv.FormatUint(uint64(d.reports.Load()), 10), nil
}
