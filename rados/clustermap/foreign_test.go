package clustermap

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/spirula/spirula/crush"
	"github.com/spirula/spirula/rados/wire"
)

// TestForeign gives maps made here, of random CRUSH hierarchies and after
// random histories, to Ceph's own osdmaptool, which verifies the checksum and
// must map every PG alike; of every fifth it must print the same, too.
func TestForeign(t *testing.T) {
	tool, err := exec.LookPath("osdmaptool")
	if err != nil {
		t.Skip("osdmaptool (Debian: ceph-base) is not installed")
	}
	const seeds, parts = 200, 4
	for part := range parts {
		t.Run(fmt.Sprint(part), func(t *testing.T) {
			t.Parallel()
			file := filepath.Join(t.TempDir(), "map")
			for seed := uint64(part); seed < seeds && !t.Failed(); seed += parts {
				compareForeign(t, tool, file, seed)
			}
		})
	}
}

func compareForeign(t *testing.T, tool, file string, seed uint64) {
	run := func(args ...string) []byte {
		t.Helper()
		out, err := exec.Command(tool, append([]string{file}, args...)...).Output()
		if err != nil {
			t.Fatalf("seed %d %v: %v\n%s", seed, args, err, out)
		}
		return out
	}
	m := randomHistory(t, seed)
	if err := os.WriteFile(file, m.Encode(), 0o600); err != nil {
		t.Fatal(err)
	}
	var got bytes.Buffer
	if err := m.TestPGs(&got, nil, 0, DumpAll); err != nil {
		t.Fatal(err)
	}
	want := run("--test-map-pgs-dump-all")
	if at := diffAt(got.Bytes(), want); !bytes.Equal(got.Bytes(), want) {
		t.Errorf("seed %d, PGs:\n got %s\nwant %s", seed, around(got.Bytes(), at), around(want, at))
	}
	if seed%5 == 0 {
		name := fmt.Sprintf("seed %d", seed)
		compareJSON(t, name, m, run("--dump", "json"))
		compareDump(t, name, m, run("--print"))
	}
}

// randomCrush replaces the CRUSH map by one of random layers, classes left
// out, with some devices heavier than others.
func randomCrush(t *testing.T, rng *rand.Rand, m *OSDMap) *OSDMap {
	var layers []crush.Layer
	for _, name := range []string{"host", "rack", "root"}[rng.IntN(2):] {
		layers = append(layers, crush.Layer{Name: name, Alg: []crush.Alg{crush.List, crush.Straw, crush.Straw2}[rng.IntN(3)],
			Size: 1 + rng.IntN(3)})
	}
	layers[len(layers)-1].Size = 0
	c, err := crush.BuildLayers(len(m.OSDs), layers)
	if err != nil {
		t.Fatal(err)
	}
	for range rng.IntN(4) {
		if err := c.Reweight(rng.Int32N(m.MaxOSD()), rng.Uint32N(4<<16)); err != nil {
			t.Fatal(err)
		}
	}
	root, _ := c.ItemByName("root")
	c.AddSimpleRule("by_osd", root, 0, crush.RuleReplicated, rng.IntN(2) == 0)
	inc := m.NewIncremental(m.Modified + 1e9)
	inc.Crush = c.Encode()
	return next(t, m, inc)
}

func randomHistory(t *testing.T, seed uint64) *OSDMap {
	rng := rand.New(rand.NewPCG(seed, 5))
	const osds = 7
	m := cluster(t, osds)
	if rng.IntN(4) > 0 {
		m = randomCrush(t, rng, m)
	}
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
			inc.AddPool(m, fmt.Sprintf("pool%d", m.PoolMax+1), NewPool(uint8(1+rng.IntN(4)), 1+rng.Uint32N(20), uint8(rng.IntN(2)), now))
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
