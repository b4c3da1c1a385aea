package clustermap

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spirula/spirula/rados/wire"
)

// TestForeign gives maps made here, after random histories, to Ceph's own
// osdmaptool, which verifies the checksum and must map every PG alike.
func TestForeign(t *testing.T) {
	tool, err := exec.LookPath("osdmaptool")
	if err != nil {
		t.Skip("osdmaptool (Debian: ceph-base) is not installed")
	}
	file := filepath.Join(t.TempDir(), "map")
	for seed := range uint64(8) {
		m := randomHistory(t, seed)
		if err := os.WriteFile(file, m.Encode(), 0o600); err != nil {
			t.Fatal(err)
		}
		out, err := exec.Command(tool, file, "--test-map-pgs-dump-all").CombinedOutput()
		if err != nil {
			t.Fatalf("seed %d: %v\n%s", seed, err, out)
		}
		dump, err := exec.Command(tool, file, "--dump", "json").Output()
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		compareJSON(t, fmt.Sprintf("seed %d", seed), m, dump)
		text, err := exec.Command(tool, file, "--print").Output()
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		compareDump(t, fmt.Sprintf("seed %d", seed), m, text)
		compared := 0
		for line := range strings.Lines(string(out)) {
			var pg wire.PGID
			if _, err := fmt.Sscanf(line, "%d.%x raw", &pg.Pool, &pg.Seed); err != nil {
				continue
			}
			compared++
			raw, mp := m.RawMap(pg), m.Map(pg)
			got := fmt.Sprintf("%s raw %s up %s acting %s", pg, setText(raw, firstOSD(raw)),
				setText(mp.Up, mp.UpPrimary), setText(mp.Acting, mp.ActingPrimary))
			if want := strings.TrimSpace(line); got != want {
				t.Errorf("seed %d:\n got %s\nwant %s", seed, got, want)
			}
		}
		want := 0
		for _, p := range m.Pools {
			want += int(p.PGNum)
		}
		if compared != want {
			t.Errorf("seed %d: %d PGs compared of %d\n%s", seed, compared, want, out)
		}
	}
}

func randomHistory(t *testing.T, seed uint64) *OSDMap {
	rng := rand.New(rand.NewPCG(seed, 5))
	const osds = 7
	m := cluster(t, osds)
	for range 20 {
		inc := m.NewIncremental(m.Modified + 1e9)
		osd := rng.Int32N(osds)
		pg := wire.PGID{Pool: 1, Seed: rng.Uint32N(32)}
		switch rng.IntN(10) {
		case 0:
			inc.NewState[osd] = StateUp
		case 1:
			inc.NewWeight[osd] = rng.Uint32N(3) * 0x8000
		case 2:
			inc.NewAffinity[osd] = rng.Uint32N(3) * 0x8000
		case 3:
			inc.NewPGTemp[pg] = []int32{osd, (osd + 1) % osds}
		case 4:
			inc.NewUpmapItems[pg] = []Pair{{osd, rng.Int32N(osds)}}
		case 5:
			inc.NewUpmap[pg] = []int32{osd, (osd + 3) % osds, (osd + 4) % osds}
		case 6:
			inc.AddPool(m, fmt.Sprintf("pool%d", m.PoolMax+1), NewPool(uint8(1+rng.IntN(4)), 1+rng.Uint32N(20), 0, now))
		case 7:
			inc.NewPrimTemp[pg] = osd
		}
		switch rng.IntN(4) {
		case 0:
			// One entry: the tool prints several in the order of a hash.
			inc.NewBlocklist[addrs(77)[0]] = m.Modified
		case 1:
			inc.NewRemovedSnaps[1] = SnapSet{{wire.SnapID(1 + rng.IntN(9)), 1}}
		case 2:
			inc.NewPurgedSnaps[1] = m.RemovedSnapsQueue[1]
			inc.NewFlags = int32(m.Flags | FlagNoOut | FlagPauseWrite)
		}
		m = next(t, m, inc)
	}
	return m
}
