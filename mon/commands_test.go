package mon

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/spirula/spirula/rados/wire"
)

// sampleArgs has an argument of every name that commands take.
func sampleArgs() map[string]any {
	return map[string]any{"pool": "p", "pool2": "p", "poolstr": "p", "srcpool": "p", "destpool": "r", "tierpool": "q", "overlaypool": "q", "ids": []string{"0"},
		"id": "0", "who": "osd.0", "name": "sample", "value": "v", "key": "noout", "val": "2", "var": "size", "uuid": "00112233-4455-6677-8899-aabbccddeeff",
		"blocklistop": "add", "blacklistop": "add", "addr": "1.2.3.4:5/6", "app": "rados", "snap": "s", "field": "max_bytes", "object": "o", "pgid": "1.0", "osd": "0",
		"weight": 1.0, "args": []string{"host=localhost", "root=default"}, "logtext": []string{"a", "b"}, "code": "OSD_DOWN", "ratio": 0.9, "class": "ssd",
		"newmax": 8, "weights": `{"0":65536}`, "flags": "noup", "release": "pacific", "version": "luminous", "property": "hostname", "srcname": "rack1", "dstname": "rack2",
		"type": "host", "root": "default", "node": "default", "bucket": "default", "module": "m", "profile": []string{"k=2"}, "mode": "writeback", "tunable": "straw_calc_version",
		"debugop": "degraded_pgs_exist", "entity": "client.x", "caps": []string{"mon", "allow r"}}
}

// loaded is a script of a cluster with OSDs, pools and statistics.
func loaded(t *testing.T) *script {
	s := newScript(t, 2)
	for id := range int64(2) {
		c := s.conn(id, 1)
		s.m.handle(event{c: c, m: &wire.MOSDBoot{OSD: int32(id), UUID: uuidOf(id), Public: c.addr, Cluster: c.addr, Host: "localhost"}})
		s.m.pump()
	}
	s.command("osd pool create pool=p pg_num=4 size=2")
	s.command("osd pool create pool=q pg_num=2 size=1")
	s.m.pump()
	for id := range int64(2) {
		m := &wire.MOSDStats{OSD: int32(id), Total: 100 << 30, Used: 10 << 30, Avail: 90 << 30, PGs: map[wire.PGID]wire.PGStat{}}
		for seed := range uint32(4) {
			pg := wire.PGID{Pool: 1, Seed: seed}
			if mp := s.m.osd.cur.Map(pg); mp.ActingPrimary == int32(id) && seed != 3 {
				m.PGs[pg] = wire.PGStat{State: "active+clean", Stat: wire.PoolStat{Objects: 10, Bytes: 10 << 20}, Up: mp.Up, Acting: mp.Acting, LastEpochClean: s.m.osd.cur.Epoch}
			}
		}
		s.m.handle(event{c: s.conn(id, 1), m: m})
	}
	return s
}

// ask runs a command and gives its only answer.
func (s *script) ask(table commands, cmd map[string]any) *wire.MMonCommandAck {
	s.t.Helper()
	text, err := json.Marshal(cmd)
	if err != nil {
		s.t.Fatal(err)
	}
	var answers []*wire.MMonCommandAck
	s.m.run(table, nil, &wire.MMonCommand{TID: 7, Cmd: []string{string(text)}}, func(a *wire.MMonCommandAck) { answers = append(answers, a) })
	s.m.pump()
	if len(answers) != 1 {
		s.t.Fatalf("%d answers to %s", len(answers), text)
	}
	return answers[0]
}

// TestEveryCommand runs every command there is, with and without its optional
// arguments, in each format: one answer, of the format asked for.
func TestEveryCommand(t *testing.T) {
	all := sampleArgs()
	unchanged := loaded(t) // for the commands that only read
	for which, table := range []commands{commandTable(), tellTable()} {
		for _, prefix := range sortedKeys(table) {
			if own := []string{"get_command_descriptions", "version", "config get", "config set", "config show", "sessions"}; which == 1 && !slices.Contains(own, prefix) {
				continue
			}
			for _, format := range []string{"", "json"} {
				for _, full := range []bool{false, true} {
					s := unchanged
					if strings.Contains(table[prefix].perm, "w") {
						s = loaded(t)
					}
					cmd := map[string]any{"prefix": prefix}
					for _, p := range table[prefix].params {
						v, ok := all[p.name]
						if p.required && !ok {
							t.Fatalf("%s: no sample of %s", prefix, p.name)
						}
						if ok && (p.required || full) {
							cmd[p.name] = v
						}
					}
					if full {
						cmd["yes_i_really_mean_it"], cmd["yes_i_really_really_mean_it"] = true, true
					}
					if format != "" {
						cmd["format"] = format
					}
					live := s.m.commands
					if which == 1 {
						live = s.m.tells
					}
					a := s.ask(live, cmd)
					if a.Result < 0 && a.Status == "" && len(a.Output) == 0 {
						t.Errorf("%v: %d without a word", cmd, a.Result)
					}
					if a.TID != 7 {
						t.Errorf("%v: tid %d", cmd, a.TID)
					}
					if out := strings.TrimSpace(string(a.Output)); format != "" && strings.HasPrefix(out, "{") && !json.Valid(a.Output) {
						t.Errorf("%v: not JSON: %.200s", cmd, out)
					}
				}
			}
		}
	}
}

// TestDescriptions checks what the ceph tool relies on in the descriptions.
func TestDescriptions(t *testing.T) {
	s := newScript(t, 1)
	a := s.ask(s.m.commands, map[string]any{"prefix": "get_command_descriptions"})
	var all map[string]struct {
		Sig    []any
		Help   string
		Module string
		Perm   string
		Flags  int
	}
	if err := json.Unmarshal(a.Output, &all); err != nil {
		t.Fatal(err)
	}
	kinds := []string{"CephInt", "CephFloat", "CephString", "CephChoices", "CephPoolname", "CephOsdName", "CephBool", "CephPgid", "CephEntityAddr", "CephUUID", "CephObjectname"}
	seen := map[string]bool{}
	for key, d := range all {
		var words []string
		optional := false
		for _, e := range d.Sig {
			switch e := e.(type) {
			case string:
				words = append(words, e)
			case map[string]any:
				kind, _ := e["type"].(string)
				if e["name"] == "" || !slices.Contains(kinds, kind) || (kind == "CephChoices") != (e["strings"] != nil) {
					t.Errorf("%s: parameter %v", key, e)
				}
				required := e["req"] == nil
				if required && optional && e["name"] != "addr" && !strings.HasSuffix(fmt.Sprint(e["name"]), "listop") && e["name"] != "bucket" && e["name"] != "name" {
					t.Errorf("%s: required %v after an optional one", key, e["name"])
				}
				optional = optional || !required
			}
		}
		prefix := strings.Join(words, " ")
		if seen[prefix] || s.m.commands[prefix] == nil {
			t.Errorf("%s: %q is twice, or has no runner", key, prefix)
		}
		seen[prefix] = true
		if d.Help == "" || d.Module == "" || d.Flags != 0 || strings.Trim(d.Perm, "rwx") != "" || d.Perm == "" {
			t.Errorf("%s: %+v", key, d)
		}
	}
	for prefix := range s.m.commands {
		if !seen[prefix] {
			t.Errorf("%s is not described", prefix)
		}
	}
}

// TestUnknown runs what is no command.
func TestUnknown(t *testing.T) {
	s := newScript(t, 1)
	for _, cmd := range []string{``, `{}`, `[]`, `"osd"`, `{"prefix":"osd"}`, `{"prefix":7}`, `{"prefix":"osd pool create"}`, `{"prefix":"osd pool create","pool":["a"],"pg_num":"x"}`} {
		var a *wire.MMonCommandAck
		s.m.command(nil, &wire.MMonCommand{Cmd: []string{cmd}}, func(x *wire.MMonCommandAck) { a = x })
		if a == nil || a.Result != -int32(wire.EINVAL) || a.Status == "" {
			t.Errorf("%s: %+v", cmd, a)
		}
	}
	for _, cmd := range [][]string{nil, {"a", "b"}, {strings.Repeat("x", maxCommand+1)}} {
		var a *wire.MMonCommandAck
		s.m.command(nil, &wire.MMonCommand{Cmd: cmd}, func(x *wire.MMonCommandAck) { a = x })
		if a == nil || a.Result != -int32(wire.EINVAL) {
			t.Errorf("%d parts: %+v", len(cmd), a)
		}
	}
}

// TestAdoptAddr moves a mon: its map follows.
func TestAdoptAddr(t *testing.T) {
	r := start(t, mkfs(t, MkfsOptions{}), nil)
	if e := r.mon.monmap.cur.Epoch; e != 1 {
		t.Fatalf("monmap epoch %d", e)
	}
	r.mon.Close()
	at := netip.MustParseAddrPort("127.0.0.1:4400")
	r.restart(func(o *Options) { o.Addr.IP = at })
	mm := r.mon.monmap.cur
	if mm.Epoch != 2 || mm.Mons[0].Addrs[0] != (wire.Addr{Type: wire.AddrMsgr2, IP: at}) {
		t.Errorf("monmap %+v", mm)
	}
	r.mon.Close()
	r.restart(func(o *Options) { o.Addr.IP = at })
	if e := r.mon.monmap.cur.Epoch; e != 2 {
		t.Errorf("monmap epoch %d after a start at the same address", e)
	}
}
