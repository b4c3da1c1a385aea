package mon

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"

	"github.com/spirula/spirula/rados/wire"
)

// furnished is a script of a cluster like the one whose answers are in
// testdata/ceph16.json: one OSD, pools foo and bar.
func furnished(t *testing.T) *script {
	s := newScript(t, 1)
	c := s.conn(0, 1)
	s.m.handle(event{c: c, m: &wire.MOSDBoot{OSD: 0, UUID: uuidOf(0), Public: c.addr, Cluster: c.addr, Host: "localhost"}})
	s.m.pump()
	for _, line := range []string{"osd pool create pool=one pg_num=1", "osd pool create pool=foo pg_num=8", "osd pool create pool=bar pg_num=4",
		"osd pool application enable pool=foo app=rados", "osd pool application enable pool=bar app=rbd", "osd pool application set pool=bar app=rbd key=k value=v",
		"osd pool set-quota pool=bar field=max_bytes val=1000000", "osd pool set-quota pool=bar field=max_objects val=10", "osd pool mksnap pool=bar snap=snap1",
		"osd blocklist blocklistop=add addr=1.2.3.4:5/6 expire=3600", "config set who=osd name=debug_osd value=1/5", "config-key set key=a/b val=hello", "osd set key=noout"} {
		s.command(line)
		s.m.pump()
	}
	m := &wire.MOSDStats{OSD: 0, Total: 4 << 30, Used: 305 << 20, Avail: 3791 << 20, PGs: map[wire.PGID]wire.PGStat{}}
	for _, r := range s.m.osd.pgRows(everyPG) {
		st := wire.PGStat{State: "active+clean", Up: r.at.Up, Acting: r.at.Acting, LastEpochClean: s.m.osd.cur.Epoch, ReportedVersion: wire.EVersion{Epoch: 4, Version: 2}}
		switch {
		case r.id.Pool == 2 && r.id.Seed < 3:
			st.Stat = wire.PoolStat{Objects: 1, Bytes: 5 << 20}
		case r.id == wire.PGID{Pool: 3}:
			st.Stat = wire.PoolStat{Objects: 1, Bytes: 3}
		}
		m.PGs[r.id] = st
	}
	s.m.handle(event{c: c, m: m})
	s.now = s.now.Add(5 * time.Second)
	s.m.osd.tick(s.now)
	s.m.pump()
	s.out.Reset()
	return s
}

// parseLine turns a command line of the ceph tool into what it sends, by the
// signatures.
func parseLine(t *testing.T, table commands, line string) map[string]any {
	t.Helper()
	words := strings.Fields(line)
	for n := len(words); n > 0; n-- {
		prefix := strings.Join(words[:n], " ")
		spec := table[prefix]
		if spec == nil {
			continue
		}
		cmd := map[string]any{"prefix": prefix}
		for i, w := range words[n:] {
			if i >= len(spec.params) {
				t.Fatalf("%s: too many words", line)
			}
			cmd[spec.params[i].name] = w
		}
		return cmd
	}
	t.Fatalf("%s: no such command", line)
	return nil
}

// keyPaths lists all keys of a value: .a.b[].c
func keyPaths(v any, at string) (out []string) {
	switch v := v.(type) {
	case map[string]any:
		for k, e := range v {
			out = append(out, at+"."+k)
			out = append(out, keyPaths(e, at+"."+k)...)
		}
	case []any:
		for _, e := range v {
			out = append(out, keyPaths(e, at+"[]")...)
		}
	}
	return out
}

// TestKeysOfCeph compares the keys of JSON answers with those that a Ceph
// 16.2 gave to the same commands: none may be missing.
func TestKeysOfCeph(t *testing.T) {
	b, err := os.ReadFile("testdata/ceph16.json")
	if err != nil {
		t.Fatal(err)
	}
	var want map[string][]string
	if err := json.Unmarshal(b, &want); err != nil {
		t.Fatal(err)
	}
	s := furnished(t)
	s.m.sessionOf(&fakeConn{s: s, name: wire.EntityName{Type: wire.EntityClient, Num: 4100}})
	for line, keys := range want {
		cmd := parseLine(t, s.m.commands, line)
		cmd["format"] = "json"
		a := s.ask(s.m.commands, cmd)
		var v any
		if err := json.Unmarshal(a.Output, &v); err != nil {
			t.Errorf("%s: %d %s: %v", line, a.Result, a.Status, err)
			continue
		}
		have := keyPaths(v, "")
		for _, k := range keys {
			if !slices.Contains(have, k) {
				t.Errorf("%s: no %s", line, k)
			}
		}
	}
}

// TestPlainText compares plain answers with testdata/plain.
func TestPlainText(t *testing.T) {
	s := furnished(t)
	datadriven.RunTest(t, "testdata/plain", func(t *testing.T, d *datadriven.TestData) string {
		out := ""
		for _, line := range strings.Split(d.Input, "\n") {
			a := s.ask(s.m.commands, parseLine(t, s.m.commands, line))
			if a.Result != 0 || a.Status != "" {
				out += fmt.Sprintf("%d %s\n", a.Result, a.Status)
			}
			out += string(a.Output)
		}
		return strings.ReplaceAll(strings.ReplaceAll(out, " \n", "$\n"), "\n\n", "\n$\n")
	})
}
