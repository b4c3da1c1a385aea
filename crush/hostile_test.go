package crush

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func bucketOf(id int32, items ...int32) *Bucket {
	b := &Bucket{ID: id, Type: 1, Alg: Straw2, Items: items}
	for range items {
		b.Weights = append(b.Weights, 0x10000)
		b.Weight += 0x10000
	}
	return b
}

// TestRefused lists maps that decode but must not be accepted.
func TestRefused(t *testing.T) {
	chain := New()
	for i := range MaxDepth + 1 {
		b := bucketOf(int32(-1-i), int32(-2-i))
		if i == MaxDepth {
			b = bucketOf(int32(-1 - i))
		}
		chain.Buckets = append(chain.Buckets, b)
	}
	long := New()
	for i := range 100000 {
		long.Buckets = append(long.Buckets, bucketOf(int32(-1-i), int32(-2-i)))
	}
	long.Buckets = append(long.Buckets, bucketOf(-100001))
	tree := &Bucket{ID: -1, Type: 1, Alg: Tree, Items: []int32{0, 0, 0}, NodeWeights: make([]uint32, 4)}
	odd := &Bucket{ID: -1, Type: 1, Alg: Tree, Items: []int32{0}, NodeWeights: make([]uint32, 3)}
	list := &Bucket{ID: -1, Type: 1, Alg: List, Items: []int32{0}, Weights: []uint32{1}}
	for _, c := range []struct {
		name, want string
		m          *Map
	}{
		{"self", "below itself", &Map{Buckets: []*Bucket{bucketOf(-1, -1)}}},
		{"cycle", "below itself", &Map{Buckets: []*Bucket{bucketOf(-1, -2), bucketOf(-2, -3), bucketOf(-3, -1)}}},
		{"dangling", "does not exist", &Map{Buckets: []*Bucket{bucketOf(-1, -7)}}},
		{"hole", "does not exist", &Map{Buckets: []*Bucket{bucketOf(-1, -2), nil}}},
		{"device", "max_devices", &Map{Buckets: []*Bucket{bucketOf(-1, 3)}, MaxDevices: 3}},
		{"slot", "in slot", &Map{Buckets: []*Bucket{bucketOf(-2)}}},
		{"deep", "levels", chain},
		{"very deep", "levels", long},
		{"small tree", "weights", &Map{Buckets: []*Bucket{tree}, MaxDevices: 1}},
		{"odd tree", "weights", &Map{Buckets: []*Bucket{odd}, MaxDevices: 1}},
		{"list", "weights", &Map{Buckets: []*Bucket{list}, MaxDevices: 1}},
		{"type", "type of devices", &Map{Buckets: []*Bucket{{ID: -1, Alg: Straw2}}}},
		{"kind", "unknown kind", &Map{Buckets: []*Bucket{{ID: -1, Type: 1, Alg: 9}}}},
		{"devices", "max_devices", &Map{MaxDevices: -1}},
	} {
		err := c.m.Validate()
		if !errors.Is(err, ErrMap) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
		if c.name == "list" {
			continue // its encoding is not a list's
		}
		if _, err := DecodeMap(c.m.Encode()); !errors.Is(err, ErrMap) {
			t.Errorf("%s: decoded: %v", c.name, err)
		}
	}
}

// TestTruncated decodes every prefix of a map: an error, or the end of one of
// the groups that old maps lack, never a panic.
func TestTruncated(t *testing.T) {
	b := loadMap(t, "choose-args-ids").Encode()
	accepted := 0
	for n := range len(b) {
		if _, err := DecodeMap(b[:n]); err == nil {
			accepted++
		} else if !errors.Is(err, ErrMap) {
			t.Errorf("prefix %d: %v", n, err)
		}
	}
	if accepted != 8 {
		t.Errorf("%d prefixes accepted, want one for each of 8 groups", accepted)
	}
}

// TestHugeCounts overwrites each count with one the data cannot hold.
func TestHugeCounts(t *testing.T) {
	b := loadMap(t, "mixed").Encode()
	for _, off := range []int{4, 8, 32} {
		c := bytes.Clone(b)
		binary.LittleEndian.PutUint32(c[off:], 0x7fffffff)
		if n := testing.AllocsPerRun(1, func() {
			if _, err := DecodeMap(c); err == nil {
				t.Errorf("count at %d accepted", off)
			}
		}); n > 1e4 {
			t.Errorf("count at %d: %v allocations", off, n)
		}
	}
}

// TestWorkIsBounded maps by rules made to burn time.
func TestWorkIsBounded(t *testing.T) {
	m := largeMap(t, 4, 10, 10)
	m.Tunables = Tunables{ChooseTotalTries: 1<<32 - 1, ChooseLocalTries: 1<<32 - 1, ChooseLocalFallbackTries: 1<<32 - 1}
	steps := [][]Step{
		{{Op: StepTake, Arg1: -1}, {Op: StepChooseLeafFirstN, Arg1: 1<<31 - 1, Arg2: 1}, {Op: StepEmit}},
		{{Op: StepTake, Arg1: -1}, {Op: StepSetChooseTries, Arg1: 1<<31 - 1}, {Op: StepSetChooseLeafTries, Arg1: 1<<31 - 1},
			{Op: StepChooseLeafIndep, Arg1: 0, Arg2: 1}, {Op: StepEmit}},
		{{Op: StepTake, Arg1: -1}, {Op: StepChooseIndep, Arg1: 0, Arg2: 77}, {Op: StepEmit}},
	}
	for i, s := range steps {
		m.Rules[0].Steps = s
		var w Work
		start := time.Now()
		got := m.DoRule(0, 1, 10, nil, nil, &w)
		for _, o := range got {
			if o != None {
				t.Errorf("rule %d: %v without any device in", i, got)
			}
		}
		if d := time.Since(start); d > 20*time.Second {
			t.Errorf("rule %d took %v", i, d)
		}
	}
}

// TestDiamonds maps in a hierarchy where every bucket holds the next one
// twice: its paths are beyond counting.
func TestDiamonds(t *testing.T) {
	m := New()
	for i := range int32(MaxDepth - 1) {
		m.Buckets = append(m.Buckets, bucketOf(-1-i, -2-i, -2-i))
	}
	m.Buckets = append(m.Buckets, bucketOf(-MaxDepth, 0))
	for _, b := range m.Buckets {
		b.Type = 2
	}
	m.MaxDevices = 2
	m.AddSimpleRule("r", -1, 1, RuleReplicated, true)
	m, err := DecodeMap(m.Encode())
	if err != nil {
		t.Fatal(err)
	}
	var w Work
	if got := m.DoRule(0, 1, 3, []uint32{0x10000}, nil, &w); len(got) != 0 {
		t.Errorf("no host, but %v", got)
	}
	if _, err := m.DoRuleForced(0, 1, 3, []uint32{0x10000, 0x10000}, nil, [][]int32{{1}}, &w); !errors.Is(err, ErrMap) {
		t.Errorf("device in no bucket: %v", err)
	}
	if _, err := Compile(m.Text()); err == nil {
		t.Error("a text without types compiled")
	}
	m.ClassNames[0], m.ItemClass[0] = "ssd", 0
	if err := m.BuildShadows(); !errors.Is(err, ErrMap) {
		t.Errorf("weights of 2^31 devices: %v", err)
	}
	if err := m.Reweight(0, 1); err != nil || m.Bucket(-1).Weight != 1<<(MaxDepth-1) {
		t.Errorf("reweight: %v, the root weighs %#x", err, m.Bucket(-1).Weight)
	}
}

func FuzzDecodeMap(f *testing.F) {
	files, _ := filepath.Glob("testdata/*.bin")
	for _, name := range files {
		b, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := DecodeMap(b)
		if err != nil {
			return
		}
		once := m.Encode()
		again, err := DecodeMap(once)
		if err != nil {
			t.Fatalf("own encoding refused: %v", err)
		}
		if !bytes.Equal(again.Encode(), once) {
			t.Fatal("encoding is not stable")
		}
		// The mapper relies on what Validate checks; tries are cut so that
		// one input does not take the whole time.
		m.Tunables.ChooseTotalTries = min(m.Tunables.ChooseTotalTries, 5)
		var w Work
		weights := []uint32{0x10000, 0x8000, 0, 0x10000}
		for r := range min(len(m.Rules), 4) {
			for i := range m.Rules[max(r, 0)].stepsForTest() {
				m.Rules[r].Steps[i].Arg1 = min(m.Rules[r].Steps[i].Arg1, 20)
			}
			for x := range uint32(4) {
				if got := m.DoRule(r, x, 5, weights, m.ArgsFor(0), &w); len(got) > 5 {
					t.Fatalf("%d items", len(got))
				}
			}
		}
	})
}

func (r *Rule) stepsForTest() []Step {
	if r == nil {
		return nil
	}
	return r.Steps
}
