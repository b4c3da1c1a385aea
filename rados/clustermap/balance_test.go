package clustermap

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"

	"github.com/spirula/spirula/crush"
	"github.com/spirula/spirula/rados/wire"
)

// uneven makes a cluster of racks, hosts and OSDs of uneven weights with
// three pools, one of them in two steps.
func uneven(t *testing.T, seed uint64) *OSDMap {
	t.Helper()
	rng := rand.New(rand.NewPCG(seed, 8))
	c, err := crush.Bootstrap(nil)
	if err != nil {
		t.Fatal(err)
	}
	const osds = 30
	for i := range int32(osds) {
		err := c.AddDevice(i, fmt.Sprintf("osd.%d", i), uint32(1+rng.IntN(3))<<16, []crush.Location{
			{Type: "host", Name: fmt.Sprintf("h%d", i/2)}, {Type: "rack", Name: fmt.Sprintf("r%d", i/10)}, {Type: "root", Name: "default"}})
		if err != nil {
			t.Fatal(err)
		}
	}
	two := c.AddSimpleRule("two steps", -1, 1, crush.RuleReplicated, true)
	c.Rules[two].Steps = []crush.Step{{Op: crush.StepTake, Arg1: -1}, {Op: crush.StepChooseFirstN, Arg1: 2, Arg2: 3},
		{Op: crush.StepChooseLeafFirstN, Arg1: 2, Arg2: 1}, {Op: crush.StepEmit}}
	m := New(wire.FSID{1}, now, c, osds)
	inc := m.NewIncremental(now)
	for i := range int32(osds) {
		inc.BringUp(m, i, wire.FSID{}, addrs(1), nil, nil, nil)
	}
	inc.NewWeight[rng.Int32N(osds)] = 0
	inc.NewWeight[rng.Int32N(osds)] = 0x8000
	inc.AddPool(m, "a", NewPool(3, 128, crush.RuleByHost, now))
	inc.AddPool(m, "b", NewPool(2, 64, crush.RuleByOSD, now))
	inc.AddPool(m, "c", NewPool(4, 64, uint8(two), now))
	return next(t, m, inc)
}

// TestBalance checks the properties of plans: they reach the deviation asked
// for, make nothing worse, keep failure domains, and end.
func TestBalance(t *testing.T) {
	for seed := range uint64(6) {
		m := uneven(t, seed)
		plan := m.Balance(BalanceOptions{MaxDeviation: 2, MaxChanges: 1000})
		if !reflect.DeepEqual(plan, m.Balance(BalanceOptions{MaxDeviation: 2, MaxChanges: 1000})) {
			t.Errorf("seed %d: two plans for one map", seed)
		}
		if plan.Changes == 0 || plan.After > plan.Before || plan.After > 2.5 {
			t.Errorf("seed %d: %d changes, deviation %.1f, was %.1f", seed, plan.Changes, plan.After, plan.Before)
		}
		inc := m.NewIncremental(now)
		plan.AddTo(inc)
		n := next(t, m, inc)
		if got := n.Balance(BalanceOptions{MaxDeviation: 2}); got.Before != plan.After {
			t.Errorf("seed %d: deviation %v after the plan, promised %v", seed, got.Before, plan.After)
		}
		checkDomains(t, m, n)

		few := m.Balance(BalanceOptions{MaxDeviation: 1, MaxChanges: 7})
		if few.Changes != 7 || len(few.Set)+len(few.Remove) > 7 {
			t.Errorf("seed %d: %d changes, at most 7 wanted", seed, few.Changes)
		}

		// A device leaves; the items of before are taken back where that helps.
		inc = n.NewIncremental(now)
		inc.NewWeight[3] = 0
		gone := next(t, n, inc)
		again := gone.Balance(BalanceOptions{MaxDeviation: 2, MaxChanges: 1000})
		if again.After > again.Before {
			t.Errorf("seed %d: worse after a device left: %v, was %v", seed, again.After, again.Before)
		}
		inc = gone.NewIncremental(now)
		again.AddTo(inc)
		checkDomains(t, gone, next(t, gone, inc))
	}
}

// checkDomains verifies for every PG that it has as many OSDs as before, on
// different hosts or OSDs as its rule wants, and in the same racks where the
// rule chose racks first.
func checkDomains(t *testing.T, before, m *OSDMap) {
	t.Helper()
	rack := func(o int32) int32 { return o / 10 }
	for id, p := range m.Pools {
		for s := range p.PGNum {
			pg := wire.PGID{Pool: id, Seed: s}
			was, up := before.Map(pg).Up, m.Map(pg).Up
			if len(was) != len(up) {
				t.Errorf("pg %v: %v, was %v", pg, up, was)
			}
			seen := map[int32]bool{}
			for i, o := range up {
				domain := o / 2
				if p.CrushRule == crush.RuleByOSD {
					domain = o
				}
				if seen[domain] {
					t.Errorf("pg %v: %v, was %v", pg, up, was)
				}
				seen[domain] = true
				if p.CrushRule > crush.RuleByOSD && rack(o) != rack(was[i]) {
					t.Errorf("pg %v changed racks: %v, was %v", pg, up, was)
				}
			}
		}
	}
}

// TestBalanceCleans removes items of PGs that no longer exist.
func TestBalanceCleans(t *testing.T) {
	m := uneven(t, 1)
	inc := m.NewIncremental(now)
	gone := []wire.PGID{{Pool: 1, Seed: 500}, {Pool: 9, Seed: 1}}
	for _, pg := range gone {
		inc.NewUpmapItems[pg] = []Pair{{1, 2}}
	}
	m = next(t, m, inc)
	if plan := m.Balance(BalanceOptions{MaxDeviation: 1000}); !slices.Equal(plan.Remove, gone) || plan.Changes != 0 {
		t.Errorf("plan %+v", plan)
	}
}
