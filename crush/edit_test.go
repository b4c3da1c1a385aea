package crush

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
)

func bootstrap(t testing.TB, hosts, each int) *Map {
	t.Helper()
	var devices []BootstrapDevice
	for h := range hosts {
		for range each {
			devices = append(devices, BootstrapDevice{ID: int32(len(devices)), Host: fmt.Sprintf("host%d", h), Weight: 0x10000})
		}
	}
	m, err := Bootstrap(devices)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// checkSums verifies that every bucket weighs what its items do, and that its
// place in the bucket above says so.
func checkSums(t *testing.T, m *Map) {
	t.Helper()
	for _, b := range m.Buckets {
		if b == nil {
			continue
		}
		var sum uint32
		for i, item := range b.Items {
			w := b.ItemWeightAt(i)
			sum += w
			if item < 0 && m.Bucket(item).Weight != w {
				t.Fatalf("%s in %s weighs %#x there, itself %#x", m.itemName(item), m.itemName(b.ID), w, m.Bucket(item).Weight)
			}
		}
		if sum != b.Weight {
			t.Fatalf("%s weighs %#x, its items %#x", m.itemName(b.ID), b.Weight, sum)
		}
	}
}

func TestBootstrapMap(t *testing.T) {
	m := bootstrap(t, 3, 2)
	checkSums(t, m)
	weights := testerWeights(m, nil)
	var w Work
	for x := range uint32(200) {
		got := m.DoRule(RuleByHost, x, 3, weights, nil, &w)
		hosts := map[int32]bool{}
		for _, o := range got {
			hosts[o/2] = true
		}
		if len(got) != 3 || len(hosts) != 3 {
			t.Fatalf("x %d: %v", x, got)
		}
		if got := m.DoRule(RuleByOSD, x, 6, weights, nil, &w); len(got) != 6 {
			t.Fatalf("x %d over devices: %v", x, got)
		}
	}
	again, err := Compile(m.Text())
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(again.Text(), m.Text()) {
		t.Error("text of the compiled text differs")
	}
	if _, err := Bootstrap([]BootstrapDevice{{ID: 1}, {ID: 1}}); !errors.Is(err, ErrMap) {
		t.Errorf("device twice: %v", err)
	}
	if m, err := Bootstrap(nil); err != nil || len(m.Bucket(-1).Items) != 1 {
		t.Errorf("no devices: %v", err)
	}
}

func TestEditing(t *testing.T) {
	m := bootstrap(t, 2, 2)
	steps := []struct {
		name string
		do   func() error
		want string // devices below the root, depth first, by host
	}{
		{"add to a host", func() error {
			return m.AddDevice(4, "osd.4", 0x20000, []Location{{"root", "default"}, {"host", "host1"}})
		}, "host0[0 1] host1[2 3 4]"},
		{"add with a new host and rack", func() error {
			return m.AddDevice(5, "osd.5", 0x8000, []Location{{"host", "new"}, {"rack", "r"}, {"root", "default"}})
		}, "host0[0 1] host1[2 3 4] r[new[5]]"},
		{"move a host into the rack", func() error {
			id, _ := m.ItemByName("host0")
			return m.Move(id, []Location{{"rack", "r"}})
		}, "host1[2 3 4] r[new[5] host0[0 1]]"},
		{"move a device", func() error { return m.Move(3, []Location{{"host", "new"}}) },
			"host1[2 4] r[new[5 3] host0[0 1]]"},
		{"reweight", func() error { return m.Reweight(3, 0) }, "host1[2 4] r[new[5 3] host0[0 1]]"},
		{"remove", func() error { return errors.Join(m.Remove(2), m.Remove(4)) }, "host1[] r[new[5 3] host0[0 1]]"},
		{"remove a bucket", func() error {
			id, _ := m.ItemByName("host1")
			return m.Remove(id)
		}, "r[new[5 3] host0[0 1]]"},
	}
	for _, s := range steps {
		if err := s.do(); err != nil {
			t.Fatalf("%s: %v", s.name, err)
		}
		checkSums(t, m)
		if got := tree(m, -1); got != "default["+s.want+"]" {
			t.Fatalf("%s: %s, want %s", s.name, got, s.want)
		}
	}
	before := m.Encode()
	rack, _ := m.ItemByName("r")
	for name, do := range map[string]func() error{
		"cycle":         func() error { return m.Move(-1, []Location{{"root", "default"}}) },
		"full bucket":   func() error { return m.Remove(rack) },
		"taken root":    func() error { return m.Remove(-1) },
		"name taken":    func() error { return m.AddDevice(9, "osd.0", 1, []Location{{"rack", "r"}}) },
		"device twice":  func() error { return m.AddDevice(0, "osd.0", 1, []Location{{"rack", "r"}}) },
		"no place":      func() error { return m.AddDevice(9, "osd.9", 1, nil) },
		"no type":       func() error { return m.AddDevice(9, "osd.9", 1, []Location{{"shelf", "s"}}) },
		"wrong type":    func() error { return m.AddDevice(9, "osd.9", 1, []Location{{"host", "r"}}) },
		"bad name":      func() error { _, err := m.AddBucket("a b", "host"); return err },
		"too heavy":     func() error { return m.Reweight(0, MaxDeviceWeight+1) },
		"unknown":       func() error { return m.Reweight(77, 1) },
		"no such class": func() error { _, err := m.AddClassRule("x", -1, 1, "ssd", RuleReplicated, true); return err },
	} {
		if err := do(); !errors.Is(err, ErrMap) {
			t.Errorf("%s: %v", name, err)
		}
		if !bytes.Equal(m.Encode(), before) {
			t.Fatalf("%s: the refused edit changed the map", name)
		}
	}
}

// tree writes the hierarchy below id.
func tree(m *Map, id int32) string {
	if id >= 0 {
		return fmt.Sprint(id)
	}
	s := m.itemName(id) + "["
	for i, item := range m.Bucket(id).Items {
		if i > 0 {
			s += " "
		}
		s += tree(m, item)
	}
	return s + "]"
}

// TestEditingClasses keeps a rule over a class right while devices come, go
// and change class.
func TestEditingClasses(t *testing.T) {
	const seed = 5
	rng := rand.New(rand.NewPCG(seed, seed))
	m := bootstrap(t, 4, 3)
	for i := range int32(12) {
		if err := m.SetClass(i, []string{"hdd", "ssd"}[i%2]); err != nil {
			t.Fatal(err)
		}
	}
	rule, err := m.AddClassRule("fast", -1, 1, "ssd", RuleReplicated, true)
	if err != nil {
		t.Fatal(err)
	}
	ssd, _ := keyOf(m.ClassNames, "ssd")
	var w Work
	for step := range 60 {
		id := rng.Int32N(12)
		switch rng.IntN(3) {
		case 0:
			err = m.SetClass(id, []string{"hdd", "ssd", ""}[rng.IntN(3)])
		case 1:
			err = m.Reweight(id, uint32(1+rng.IntN(4))<<15)
		case 2:
			err = m.Move(id, []Location{{"host", fmt.Sprintf("host%d", rng.IntN(4))}})
		}
		if err != nil {
			t.Fatalf("seed %d step %d: %v", seed, step, err)
		}
		checkSums(t, m)
		weights := testerWeights(m, nil)
		for x := range uint32(30) {
			for _, o := range m.DoRule(rule, x, 3, weights, nil, &w) {
				if m.ItemClass[o] != ssd {
					t.Fatalf("seed %d step %d x %d: device %d is of class %d", seed, step, x, o, m.ItemClass[o])
				}
			}
		}
	}
}

// TestEditingArgs keeps weight sets as long as their buckets.
func TestEditingArgs(t *testing.T) {
	m := loadMap(t, "choose-args-ids")
	if err := m.AddDevice(36, "osd.36", 0x10000, []Location{{"host", "host2"}}); err != nil {
		t.Fatal(err)
	}
	if err := m.Remove(1); err != nil {
		t.Fatal(err)
	}
	for _, args := range m.ChooseArgs {
		for slot, a := range args {
			if a == nil {
				continue
			}
			n := len(m.Buckets[slot].Items)
			for _, ws := range a.WeightSet {
				if len(ws) != n {
					t.Errorf("slot %d: %d weights for %d items", slot, len(ws), n)
				}
			}
			if len(a.IDs) != 0 && len(a.IDs) != n {
				t.Errorf("slot %d: %d ids for %d items", slot, len(a.IDs), n)
			}
		}
	}
}

// TestCompileErrors checks that messages name line and fault.
func TestCompileErrors(t *testing.T) {
	const head = "type 0 osd\ntype 1 host\ndevice 0 osd.0\n"
	for _, c := range []struct {
		text string
		line int
	}{
		{"tunable nothing 1", 1},
		{"# a comment\ndevice x osd.0", 2},
		{"device 0 a\ndevice 1 a", 2},
		{"device 0 a\ndevice 0 b", 2},
		{head + "host h {\n id -1\n alg straw9\n}", 6},
		{head + "host h {\n id -1\n}", 4},
		{head + "host h {\n id 1\n alg list\n}", 5},
		{head + "host h {\n alg list\n item osd.7\n}", 6},
		{head + "host h {\n alg list\n item osd.0 weight 101\n}", 6},
		{head + "host h {\n alg list\n item osd.0 weight nan\n}", 6},
		{head + "host h {\n alg list\n item osd.0 pos 3\n}", 4},
		{head + "host h {\n alg list\n item h\n}", 4},
		{head + "host h {\n alg list\n", 6},
		{head + "rule r {\n id 0\n step take nowhere\n}", 6},
		{head + "rule r {\n id 0\n step choose firstn 0 type shelf\n}", 6},
		{head + "rule r {\n step emit\n}", 4},
		{head + "host h {\n id -1\n alg straw2\n item osd.0\n}\nchoose_args 0 {\n { bucket_id -1\n weight_set [ [ 1 2 ] ]\n } }", 11},
		{"}", 1},
	} {
		m, err := Compile([]byte(c.text))
		var te *TextError
		if m != nil || !errors.As(err, &te) || te.Line != c.line || !errors.Is(err, ErrMap) {
			t.Errorf("%q: %v, want an error on line %d", c.text, err, c.line)
		}
	}
}

func FuzzCompile(f *testing.F) {
	for _, name := range []string{"classes", "choose-args", "mixed", "ec"} {
		f.Add(textFile(f, name+".txt"))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		m, err := Compile(text)
		if err != nil {
			return
		}
		if _, err := DecodeMap(m.Encode()); err != nil {
			t.Fatalf("own encoding refused: %v", err)
		}
		m.Text()
	})
}
