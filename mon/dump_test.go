package mon

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/spirula/spirula/rados/wire"
)

var updateGolden = os.Getenv("UPDATE_GOLDEN") != ""

// TestDump compares the dump of a store with some history with a golden text.
func TestDump(t *testing.T) {
	s := newScript(t, 2)
	c := s.conn(0, 1)
	s.m.handle(event{c: c, m: &wire.MOSDBoot{OSD: 0, UUID: uuidOf(0), Public: c.addr, Cluster: c.addr}})
	s.m.pump()
	for _, cmd := range []string{"osd pool create pool=p pg_num=4", "config set who=osd name=debug_osd value=1",
		"osd blocklist blocklistop=add addr=10.0.0.9:0/77 expire=60", "osd set key=noout"} {
		s.command(cmd)
		s.m.pump()
		s.now = s.now.Add(time.Second)
	}
	s.m.handle(event{c: c, m: &wire.MRemoveSnaps{Snaps: map[int64][]wire.SnapID{1: {7, 8}}}})
	s.m.pump()
	var out strings.Builder
	if err := Dump(s.m.opts.KV, &out); err != nil {
		t.Fatal(err)
	}
	const golden = "testdata/dump.txt"
	if updateGolden {
		if err := os.WriteFile(golden, []byte(out.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if out.String() != string(want) {
		t.Errorf("dump:\n%swant:\n%s", out.String(), want)
	}
	if err := Dump(NewMemKV(), &out); wire.ErrnoOf(err) != wire.ENOENT {
		t.Errorf("dump of an empty store: %v", err)
	}
}
