package crush

import "testing"

// largeMap is the map of the performance figures: racks x hosts x devices,
// straw2 all the way, chooseleaf firstn over hosts.
func largeMap(t testing.TB, racks, hosts, devices int) *Map {
	t.Helper()
	m := New()
	for i, n := range []string{"osd", "host", "rack", "root"} {
		m.Types[int32(i)] = n
	}
	add := func(typ uint16) *Bucket {
		b := &Bucket{ID: int32(-1 - len(m.Buckets)), Type: typ, Alg: Straw2}
		m.Buckets = append(m.Buckets, b)
		return b
	}
	hang := func(parent *Bucket, item int32, w uint32) {
		parent.Items = append(parent.Items, item)
		parent.Weights = append(parent.Weights, w)
		parent.Weight += w
	}
	root := add(3)
	for range racks {
		rack := add(2)
		for range hosts {
			host := add(1)
			for range devices {
				hang(host, m.MaxDevices, 0x10000)
				m.MaxDevices++
			}
			hang(rack, host.ID, host.Weight)
		}
		hang(root, rack.ID, rack.Weight)
	}
	m.AddSimpleRule("rep", root.ID, 1, RuleReplicated, true)
	if err := m.Validate(); err != nil {
		t.Fatal(err)
	}
	return m
}

func benchmarkMap(b *testing.B, m *Map) {
	weights := testerWeights(m, nil)
	var w Work
	b.ReportAllocs()
	b.ResetTimer()
	var x uint32
	for b.Loop() {
		if got := m.DoRule(0, x, 3, weights, nil, &w); len(got) != 3 {
			b.Fatal(got)
		}
		x++
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "mappings/s")
}

func BenchmarkMap10000(b *testing.B) { benchmarkMap(b, largeMap(b, 25, 20, 20)) }
func BenchmarkMap48(b *testing.B)    { benchmarkMap(b, largeMap(b, 1, 12, 4)) }

func BenchmarkHash3(b *testing.B) {
	var s uint32
	for i := uint32(0); b.Loop(); i++ {
		s += Hash3(i, 17, 3)
	}
	sink = s
}

var sink uint32

// TestNoAllocation holds the mapper to its word.
func TestNoAllocation(t *testing.T) {
	m := largeMap(t, 4, 4, 4)
	weights := testerWeights(m, nil)
	var w Work
	var x uint32
	m.DoRule(0, x, 3, weights, nil, &w)
	if n := testing.AllocsPerRun(1000, func() {
		x++
		m.DoRule(0, x, 3, weights, nil, &w)
	}); n != 0 {
		t.Errorf("%v allocations per mapping", n)
	}
}
