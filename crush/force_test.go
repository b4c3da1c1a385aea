package crush

import (
	"errors"
	"slices"
	"strings"
	"testing"
)

// TestForced pins devices in replicated, erasure-coded and two-step rules,
// and checks that they come first, nothing repeats, and hosts stay distinct.
func TestForced(t *testing.T) {
	var w, plain Work
	host := func(d int32) int32 { return d / 3 } // 3 devices on each host
	rack := func(d int32) int32 { return d / 9 } // 3 hosts in each rack
	m := loadMap(t, "tunables-jewel")
	weights := testerWeights(m, nil)
	for _, c := range []struct {
		name   string
		rule   int
		n      int
		force  []int32
		domain func(int32) int32
	}{
		{"one", 0, 3, []int32{35}, rack},
		{"all", 0, 3, []int32{1, 12, 30}, rack},
		{"devices", 1, 4, []int32{8, 7, 6}, func(d int32) int32 { return d }},
		{"erasure", 2, 4, []int32{20, 2}, rack},
		{"two steps", 3, 4, []int32{20, 2}, host},
		{"two steps, one rack", 3, 4, []int32{0, 3}, host},
	} {
		for x := range uint32(200) {
			got, err := m.DoRuleForced(c.rule, x, c.n, weights, nil, [][]int32{c.force}, &w)
			if err != nil {
				t.Fatalf("%s x %d: %v", c.name, x, err)
			}
			seen := map[int32]bool{}
			for _, d := range got {
				if d == None || seen[c.domain(d)] {
					t.Fatalf("%s x %d: %v", c.name, x, got)
				}
				seen[c.domain(d)] = true
			}
			for _, d := range c.force {
				if !slices.Contains(got, d) {
					t.Fatalf("%s x %d: %v without %d", c.name, x, got, d)
				}
			}
			if got[0] != c.force[0] {
				t.Fatalf("%s x %d: %v does not start with %d", c.name, x, got, c.force[0])
			}
			none, err := m.DoRuleForced(c.rule, x, c.n, weights, nil, nil, &w)
			if err != nil || !slices.Equal(none, m.DoRule(c.rule, x, c.n, weights, nil, &plain)) {
				t.Fatalf("%s x %d: without devices %v, %v", c.name, x, none, err)
			}
		}
	}
	weights[5] = 0
	for _, c := range []struct {
		name  string
		n     int
		force [][]int32
		want  string
	}{
		{"out", 3, [][]int32{{5}}, "is out"},
		{"same rack", 3, [][]int32{{0, 8}}, "shares"},
		{"too many", 2, [][]int32{{0, 10, 20}}, "no room"},
		{"unknown", 3, [][]int32{{77}}, "does not lead"},
		{"no such take", 3, [][]int32{nil, {1}}, "does not lead"},
	} {
		if got, err := m.DoRuleForced(0, 1, c.n, weights, nil, c.force, &w); got != nil || !errors.Is(err, ErrMap) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, %v; want %q", c.name, got, err, c.want)
		}
	}
}

// TestForcedTakes pins a device for each take of a rule with two.
func TestForcedTakes(t *testing.T) {
	m := loadMap(t, "classes")
	weights := testerWeights(m, nil)
	var w Work
	for x := range uint32(100) {
		got, err := m.DoRuleForced(3, x, 3, weights, nil, [][]int32{{2}, {5}}, &w)
		if err != nil {
			t.Fatal(err)
		}
		if len(got) != 3 || got[0] != 2 || got[1] != 5 {
			t.Fatalf("x %d: %v", x, got)
		}
	}
}
