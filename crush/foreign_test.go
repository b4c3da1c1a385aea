package crush

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"sync/atomic"
	"testing"
)

// foreignMaps is how many random maps TestForeign tries; the variable
// SPIRULA_CRUSH_MAPS sets another number.
const foreignMaps = 200

// TestForeign compares with Ceph's own crushtool on random maps: the bytes of
// the compiled map, what it shows of it as text, tree, JSON and tests with
// devices out, and the bytes of the map after a random edit.
func TestForeign(t *testing.T) {
	tool := foreignTool(t)
	n := foreignMaps
	if s := os.Getenv("SPIRULA_CRUSH_MAPS"); s != "" {
		var err error
		if n, err = strconv.Atoi(s); err != nil {
			t.Fatal(err)
		}
	}
	var edits atomic.Int32
	t.Run("maps", func(t *testing.T) {
		const parts = 4
		for part := range parts {
			t.Run(strconv.Itoa(part), func(t *testing.T) {
				t.Parallel()
				f := foreign{t: t, tool: tool, dir: t.TempDir()}
				for seed := part; seed < n && !t.Failed(); seed += parts {
					f.compare(uint64(seed))
				}
				edits.Add(int32(f.edits))
			})
		}
	})
	t.Logf("%d maps compared, %d of them edited", n, edits.Load())
	if n >= foreignMaps && int(edits.Load()) < n/8 {
		t.Errorf("only %d edits compared", edits.Load())
	}
}

func foreignTool(t testing.TB) string {
	tool, err := exec.LookPath("crushtool")
	if err != nil {
		t.Skip("crushtool (Debian: ceph-base) is not installed")
	}
	return tool
}

type foreign struct {
	t         *testing.T
	tool, dir string
	edits     int
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

func (f *foreign) read(name string) []byte {
	b, err := os.ReadFile(filepath.Join(f.dir, name))
	if err != nil {
		f.t.Fatal(err)
	}
	return b
}

func (f *foreign) compare(seed uint64) {
	t := f.t
	g := &mapGenerator{rng: rand.New(rand.NewPCG(seed, 42))}
	text := g.text()
	if err := os.WriteFile(filepath.Join(f.dir, "m.txt"), text, 0o600); err != nil {
		t.Fatal(err)
	}
	f.run("-c", "m.txt", "-o", "m.bin")
	want := f.read("m.bin")
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
	f.compareShown(seed, m, g.rng)
	f.compareEdit(seed, m, g)
}

// compareShown compares everything the tool prints of a map, in one run.
func (f *foreign) compareShown(seed uint64, m *Map, rng *rand.Rand) {
	t := f.t
	rep := 1 + rng.IntN(6)
	args := []string{"-d", "m.bin", "--tree", "--dump", "--test", "--show-mappings", "--show-bad-mappings",
		"--show-statistics", "--show-choose-tries", "--min-x", "0", "--max-x", "99", "--num-rep", strconv.Itoa(rep)}
	tester := NewTester(m)
	tester.MinX, tester.MaxX, tester.MinRep, tester.MaxRep = 0, 99, rep, rep
	tester.Mappings, tester.BadMappings, tester.Statistics, tester.ChooseTries = true, true, true, true
	switch rng.IntN(3) {
	case 0:
		tester.Utilization = true
		args = append(args, "--show-utilization")
	case 1:
		tester.UtilizationAll = true
		args = append(args, "--show-utilization-all")
	}
	if rng.IntN(3) == 0 {
		tester.Pool = int64(rng.IntN(20))
		args = append(args, "--pool-id", strconv.Itoa(int(tester.Pool)))
	}
	for d := range m.MaxDevices {
		if rng.IntN(3) == 0 {
			w := float32(rng.IntN(5)) / 5
			args = append(args, "--weight", strconv.Itoa(int(d)), fmt.Sprint(w))
			tester.Weights[d] = uint32(w * 65536)
		}
	}
	var got bytes.Buffer
	if err := m.WriteTree(&got); err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(&got, "%s\n\n%s", m.JSON(), m.Text())
	if err := tester.Run(&got); err != nil {
		t.Fatal(err)
	}
	if want := f.run(args...); !bytes.Equal(got.Bytes(), want) {
		g, w := firstDifference(got.Bytes(), want)
		t.Fatalf("seed %d: crushtool %v:\n  got %q\n want %q\n%s", seed, args, g, w, m.Text())
	}
}

// compareEdit changes the map in one way and compares the result. Left out is
// what the original does wrong: trees lose weights, uniform buckets take
// unequal ones, sets of weights are brought up to date in part.
func (f *foreign) compareEdit(seed uint64, m *Map, g *mapGenerator) {
	if len(m.ChooseArgs) > 0 || slices.Contains(g.algs, "tree") || slices.Contains(g.algs, "uniform") {
		return
	}
	rng := g.rng
	device := int32(rng.IntN(g.devices))
	host, kind := fmt.Sprintf("b%d", 1+rng.IntN(len(g.algs))), ""
	at, _ := m.ItemByName(host)
	kind = m.Types[int32(m.Bucket(at).Type)]
	where := []Location{{kind, host}}
	var args []string
	var err error
	n := m.Clone()
	switch rng.IntN(6) {
	case 0:
		args = []string{"--add-item", "90", "1.5", "osd.90", "--loc", kind, host}
		err = n.AddDevice(90, "osd.90", 0x18000, where)
	case 1:
		args = []string{"--add-item", "70", "2.5", "osd.70", "--loc", "level1", "new", "--loc", kind, host}
		if kind == "level1" {
			args = args[:7]
			args[6] = host
		} else {
			where = append(where, Location{"level1", "new"})
		}
		err = n.AddDevice(70, "osd.70", 0x28000, where)
	case 2:
		args = []string{"--reweight-item", m.Names[device], "3.25"}
		err = n.Reweight(device, 0x34000)
	case 3:
		args = []string{"--remove-item", m.Names[device]}
		err = n.Remove(device)
	case 4:
		args = []string{"--move", m.Names[device], "--loc", kind, host}
		if m.isAt(device, where) {
			return
		}
		err = n.Move(device, where)
	case 5:
		args = []string{"--create-simple-rule", "made", "b1", "level1", "indep"}
		root, _ := m.ItemByName("b1")
		n.AddSimpleRule("made", root, 1, RuleReplicated, false)
	}
	if err != nil {
		f.t.Fatalf("seed %d: %v: %v", seed, args, err)
	}
	n.TrimDevices()
	cmd := exec.Command(f.tool, append(args, "-i", "m.bin", "-o", "edited.bin")...)
	cmd.Dir = f.dir
	if err := cmd.Run(); cmd.ProcessState != nil && cmd.ProcessState.ExitCode() == -1 {
		f.t.Logf("seed %d: crushtool %v fails of itself: %v", seed, args, err)
		return
	} else if err != nil {
		f.t.Fatalf("seed %d: crushtool %v: %v", seed, args, err)
	}
	f.edits++
	want := f.read("edited.bin")
	if got := n.Encode(); !bytes.Equal(got, want) {
		theirs, err := DecodeMap(want)
		if err != nil {
			f.t.Fatal(err)
		}
		g, w := firstDifference(n.Text(), theirs.Text())
		f.t.Fatalf("seed %d: after %v: %q, theirs %q\n%s", seed, args, g, w, m.Text())
	}
}

// TestForeignBuild compares maps of random layers.
func TestForeignBuild(t *testing.T) {
	f := foreign{t: t, tool: foreignTool(t), dir: t.TempDir()}
	for seed := range uint64(40) {
		rng := rand.New(rand.NewPCG(seed, 7))
		devices := 1 + rng.IntN(60)
		args := []string{"-o", "m.bin", "--build", "--num_osds", strconv.Itoa(devices)}
		var layers []Layer
		for n := range 1 + rng.IntN(4) {
			l := Layer{fmt.Sprintf("layer%c", 'a'+n), []Alg{List, Tree, Straw, Straw2, Uniform}[rng.IntN(5)], rng.IntN(6)}
			layers = append(layers, l)
			args = append(args, l.Name, l.Alg.String(), strconv.Itoa(l.Size))
		}
		m, err := BuildLayers(devices, layers)
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		f.run(args...)
		if !bytes.Equal(m.Encode(), f.read("m.bin")) {
			t.Errorf("seed %d: crushtool %v gives another map than\n%s", seed, args, m.Text())
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
