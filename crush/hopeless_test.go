package crush

import (
	"math/rand/v2"
	"slices"
	"testing"
)

// TestHopelessTwin compares the mapper with itself using up all its tries, on
// random maps with most devices out.
func TestHopelessTwin(t *testing.T) {
	compared, short := 0, 0
	for seed := range uint64(120) {
		g := &mapGenerator{rng: rand.New(rand.NewPCG(seed, 99))}
		m, err := Compile(g.text())
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		weights := testerWeights(m, nil)
		in := g.rng.IntN(5) // chance in 4 to be in
		for i := range weights {
			switch {
			case g.rng.IntN(4) >= in:
				weights[i] = 0
			case g.rng.IntN(4) == 0:
				weights[i] = g.rng.Uint32N(0x10000)
			}
		}
		plain := Work{stubborn: true}
		var w Work
		for rule := range m.Rules {
			for x := range uint32(25) {
				n := 1 + g.rng.IntN(7)
				args := m.ChooseArgs[DefaultChooseArgs]
				want := m.DoRule(rule, x, n, weights, args, &plain)
				got := m.DoRule(rule, x, n, weights, args, &w)
				compared++
				if w.budget > plain.budget {
					short++
				}
				if !slices.Equal(got, want) {
					t.Fatalf("seed %d rule %d x %d of %d: %v, with all tries %v\nweights %v\n%s", seed, rule, x, n, got, want, weights, m.Text())
				}
			}
		}
	}
	if short < compared/10 {
		t.Errorf("only %d of %d mappings were cut short", short, compared)
	}
	t.Logf("%d of %d mappings were cut short", short, compared)
}

// BenchmarkAllOut maps with every device out.
func BenchmarkAllOut(b *testing.B) {
	m := largeMap(b, 5, 10, 10)
	weights := make([]uint32, m.MaxDevices)
	for _, c := range []struct {
		name string
		w    Work
	}{{"early", Work{}}, {"stubborn", Work{stubborn: true}}} {
		b.Run(c.name, func(b *testing.B) {
			var x uint32
			for b.Loop() {
				if got := m.DoRule(0, x, 3, weights, nil, &c.w); len(got) != 0 {
					b.Fatal(got)
				}
				x++
			}
		})
	}
}
