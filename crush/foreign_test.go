package crush

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// foreignMaps is how many random maps TestForeign tries; the variable
// SPIRULA_CRUSH_MAPS sets another number.
const foreignMaps = 40

// TestForeign compares with Ceph's own crushtool on random maps: the bytes of
// the compiled map, the decompiled text, and mappings with devices out.
func TestForeign(t *testing.T) {
	tool, err := exec.LookPath("crushtool")
	if err != nil {
		t.Skip("crushtool (Debian: ceph-base) is not installed")
	}
	n := foreignMaps
	if s := os.Getenv("SPIRULA_CRUSH_MAPS"); s != "" {
		if n, err = strconv.Atoi(s); err != nil {
			t.Fatal(err)
		}
	}
	f := foreign{t: t, tool: tool, dir: t.TempDir()}
	for seed := range uint64(n) {
		f.compare(seed)
	}
	t.Logf("%d maps, %d mappings compared", n, f.mappings)
}

type foreign struct {
	t         *testing.T
	tool, dir string
	mappings  int
}

func (f *foreign) run(args ...string) []byte {
	f.t.Helper()
	cmd := exec.Command(f.tool, args...)
	cmd.Dir = f.dir
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		f.t.Fatalf("crushtool %v: %v\n%s", args, err, stderr.Bytes())
	}
	return out
}

func (f *foreign) compare(seed uint64) {
	t := f.t
	g := &mapGenerator{rng: rand.New(rand.NewPCG(seed, 42))}
	text := g.text()
	if err := os.WriteFile(filepath.Join(f.dir, "m.txt"), text, 0o600); err != nil {
		t.Fatal(err)
	}
	f.run("-c", "m.txt", "-o", "m.bin")
	want, err := os.ReadFile(filepath.Join(f.dir, "m.bin"))
	if err != nil {
		t.Fatal(err)
	}
	m, err := Compile(text)
	if err != nil {
		t.Fatalf("seed %d: %v\n%s", seed, err, text)
	}
	theirs, err := DecodeMap(want)
	if err != nil {
		t.Fatalf("seed %d: %v", seed, err)
	}
	if !bytes.Equal(m.Encode(), want) {
		g, w := firstDifference(m.Text(), theirs.Text())
		t.Fatalf("seed %d: compiled bytes differ: %q, theirs %q\n%s", seed, g, w, text)
	}
	decompiled := f.run("-d", "m.bin")
	if got := m.Text(); !bytes.Equal(got, decompiled) {
		g, w := firstDifference(got, decompiled)
		t.Fatalf("seed %d: decompiled %q, theirs %q", seed, g, w)
	}
	dump := bytes.TrimSpace(f.run("-i", "m.bin", "--dump"))
	if got := m.JSON(); !bytes.Equal(got, dump) {
		g, w := firstDifference(got, dump)
		t.Fatalf("seed %d: dumped %q, theirs %q", seed, g, w)
	}
	f.compareMappings(seed, m, g.rng)
}

func (f *foreign) compareMappings(seed uint64, m *Map, rng *rand.Rand) {
	const inputs = 100
	t := f.t
	rep := 1 + rng.IntN(6)
	args := []string{"-i", "m.bin", "--test", "--show-mappings", "--min-x", "0", "--max-x", strconv.Itoa(inputs - 1),
		"--num-rep", strconv.Itoa(rep)}
	weights := testerWeights(m, nil)
	if rng.IntN(3) > 0 {
		for i := range weights {
			if rng.IntN(3) == 0 && weights[i] != 0 {
				w := float32(rng.IntN(5)) / 5
				args = append(args, "--weight", strconv.Itoa(i), fmt.Sprint(w))
				weights[i] = uint32(w * 65536)
			}
		}
	}
	var w Work
	sets := m.ChooseArgs[DefaultChooseArgs]
	for _, line := range strings.Split(string(f.run(args...)), "\n") {
		if !strings.HasPrefix(line, "CRUSH rule ") {
			continue
		}
		var rule, x int
		list := line[strings.IndexByte(line, '[')+1 : len(line)-1]
		if _, err := fmt.Sscanf(line, "CRUSH rule %d x %d", &rule, &x); err != nil {
			t.Fatal(err)
		}
		f.mappings++
		if got := joinItems(m.DoRule(rule, uint32(x), rep, weights, sets, &w)); got != list {
			t.Fatalf("seed %d rule %d x %d of %d: [%s], theirs [%s]\n%s", seed, rule, x, rep, got, list, m.Text())
		}
	}
}

// mapGenerator writes random maps as texts.
type mapGenerator struct {
	rng     *rand.Rand
	b       bytes.Buffer
	devices int
	buckets int
	classes bool
	used    []string // classes that devices have
	sizes   []int    // items of bucket -1-i
	algs    []string
}

func (g *mapGenerator) f(format string, args ...any) { fmt.Fprintf(&g.b, format, args...) }

func (g *mapGenerator) pick(words ...string) string { return words[g.rng.IntN(len(words))] }

func (g *mapGenerator) weight() string {
	switch g.rng.IntN(6) {
	case 0:
		return "0.000"
	case 1:
		return "1.000"
	}
	return fmt.Sprintf("%.3f", g.rng.Float64()*float64(1+g.rng.IntN(15)))
}

func (g *mapGenerator) text() []byte {
	for _, t := range []struct {
		name string
		max  int
	}{{"choose_local_tries", 4}, {"choose_local_fallback_tries", 6}, {"choose_total_tries", 60},
		{"chooseleaf_descend_once", 2}, {"chooseleaf_vary_r", 4}, {"chooseleaf_stable", 2}, {"straw_calc_version", 2}} {
		if g.rng.IntN(2) == 0 {
			g.f("tunable %s %d\n", t.name, g.rng.IntN(t.max))
		}
	}
	g.classes = g.rng.IntN(3) == 0
	levels := 1 + g.rng.IntN(3)
	devices := 4 + g.rng.IntN(40)
	for d := range devices {
		g.f("device %d osd.%d", d, d)
		if g.classes && g.rng.IntN(5) > 0 {
			class := g.pick("hdd", "ssd", "nvme")
			g.used = append(g.used, class)
			g.f(" class %s", class)
		}
		g.f("\n")
	}
	g.devices = devices
	g.f("type 0 osd\n")
	for l := range levels + 1 {
		g.f("type %d level%d\n", l+1, l+1)
	}
	var below []string
	for d := range devices {
		below = append(below, fmt.Sprintf("osd.%d", d))
	}
	for l := range levels {
		var next []string
		for len(below) > 0 {
			n := min(1+g.rng.IntN(6), len(below))
			next = append(next, g.bucket(l+1, below[:n]))
			below = below[n:]
		}
		below = next
	}
	root := g.bucket(levels+1, below)
	g.rules(root, levels)
	g.chooseArgs()
	return g.b.Bytes()
}

func (g *mapGenerator) bucket(level int, items []string) string {
	g.buckets++
	name := fmt.Sprintf("b%d", g.buckets)
	alg := g.pick("uniform", "list", "tree", "straw", "straw2", "straw2")
	if g.classes {
		// The original's shadow copies of trees hold uninitialised memory,
		// those of uniform buckets fail.
		alg = g.pick("list", "straw", "straw2")
	}
	g.algs = append(g.algs, alg)
	g.sizes = append(g.sizes, len(items))
	g.f("level%d %s {\n", level, name)
	// choose_args name buckets by id; without them ids may be left open.
	if !g.classes || g.rng.IntN(3) > 0 {
		g.f("\tid %d\n", -g.buckets)
	}
	if g.classes && len(g.used) > 0 && g.rng.IntN(4) == 0 {
		g.f("\tid %d class %s\n", -100-g.buckets, g.pick(g.used...))
	}
	g.f("\talg %s\n\thash 0\n", alg)
	same := fmt.Sprintf("%.3f", 0.5+g.rng.Float64())
	for _, i := range items {
		switch {
		case alg == "uniform":
			g.f("\titem %s weight %s\n", i, same)
		case level > 1 && g.rng.IntN(2) == 0:
			g.f("\titem %s\n", i)
		default:
			g.f("\titem %s weight %s\n", i, g.weight())
		}
	}
	g.f("}\n")
	return name
}

func (g *mapGenerator) rules(root string, levels int) {
	for r := range 4 {
		g.f("rule r%d {\n\tid %d\n\ttype %s\n\tmin_size 1\n\tmax_size 10\n", r, r, g.pick("replicated", "erasure"))
		for _, s := range []string{"set_choose_tries", "set_chooseleaf_tries", "set_choose_local_tries",
			"set_choose_local_fallback_tries", "set_chooseleaf_vary_r", "set_chooseleaf_stable"} {
			if g.rng.IntN(5) == 0 {
				g.f("\tstep %s %d\n", s, g.rng.IntN(6))
			}
		}
		mode := g.pick("firstn", "indep")
		for range 1 + g.rng.IntN(2) {
			g.f("\tstep take %s", root)
			if len(g.used) > 0 && g.rng.IntN(3) > 0 {
				g.f(" class %s", g.pick(g.used...))
			}
			g.f("\n")
			switch level := 1 + g.rng.IntN(levels); g.rng.IntN(4) {
			case 0:
				g.f("\tstep choose %s %d type osd\n", mode, g.rng.IntN(4)-1)
			case 1:
				g.f("\tstep choose %s %d type level%d\n\tstep chooseleaf %s %d type level%d\n",
					mode, 1+g.rng.IntN(3), level, mode, g.rng.IntN(3), max(1, level-1))
			default:
				g.f("\tstep chooseleaf %s %d type level%d\n", mode, g.rng.IntN(4)-1, level)
			}
			g.f("\tstep emit\n")
		}
		g.f("}\n")
	}
}

func (g *mapGenerator) chooseArgs() {
	if g.classes || g.rng.IntN(3) > 0 {
		return
	}
	for _, key := range []string{"18446744073709551615", "3"} {
		g.f("choose_args %s {\n", key)
		for i, size := range g.sizes {
			if g.algs[i] != "straw2" || g.rng.IntN(3) == 0 {
				continue
			}
			g.f("  {\n    bucket_id %d\n    weight_set [\n", -1-i)
			for range 1 + g.rng.IntN(3) {
				g.f("      [ ")
				for range size {
					g.f("%s ", g.weight())
				}
				g.f("]\n")
			}
			g.f("    ]\n")
			if g.rng.IntN(2) == 0 {
				g.f("    ids [ ")
				for range size {
					g.f("%d ", g.rng.IntN(1000)-500)
				}
				g.f("]\n")
			}
			g.f("  }\n")
		}
		g.f("}\n")
	}
}
