package store

import (
	"math/rand/v2"
	"testing"
)

// TestAllocator compares the allocator with a map of units, over several
// regions of which the last is cut, with loading, growing and full disks.
func TestAllocator(t *testing.T) {
	for seed := range uint64(6) {
		rng := rand.New(rand.NewPCG(seed, 7))
		a := newAllocator()
		a.grow(regionUnits*2 + 1000)
		owned := map[uint64]bool{0: true, 1: true} // the superblock
		var live, leaving [][]run
		take := func(n uint64) {
			st, other := &a.small, &a.large
			if n > maxSmall {
				st, other = other, st
			}
			before := a.free
			for {
				rs, need, needs, ok := a.take(st, other, n, nil)
				if needs {
					a.load(need, &region{})
					continue
				}
				if ok != (n <= before) {
					t.Fatalf("seed %d: %d units of %d free: %v", seed, n, before, ok)
				}
				if !ok {
					return
				}
				total := uint64(0)
				for _, r := range rs {
					total += r.n
					for u := r.unit; u < r.unit+r.n; u++ {
						if owned[u] || u >= a.units {
							t.Fatalf("seed %d: unit %d given out twice or beyond %d", seed, u, a.units)
						}
						owned[u] = true
					}
				}
				if total != n {
					t.Fatalf("seed %d: %d units for %d", seed, total, n)
				}
				if rng.IntN(5) == 0 { // the transaction fails
					a.giveBack(rs)
					disown(owned, rs)
					return
				}
				a.commit(rs, nil)
				live = append(live, rs)
				return
			}
		}
		for step := range 3000 {
			switch rng.IntN(6) {
			case 0, 1:
				take(1 + rng.Uint64N(maxSmall))
			case 2:
				take(1 + rng.Uint64N(2000))
			case 3, 4:
				if len(live) > 0 {
					i := rng.IntN(len(live))
					a.commit(nil, live[i])
					leaving = append(leaving, live[i])
					live[i] = live[len(live)-1]
					live = live[:len(live)-1]
				}
			case 5:
				for _, rs := range leaving {
					a.giveBack(rs)
					disown(owned, rs)
				}
				leaving = nil
			}
			if step == 1500 {
				a.grow(regionUnits*3 + 77)
			}
			if a.free+uint64(len(owned)) != a.units {
				t.Fatalf("seed %d step %d: %d free and %d in use of %d", seed, step, a.free, len(owned), a.units)
			}
		}
	}
}

func disown(owned map[uint64]bool, rs []run) {
	for _, r := range rs {
		for u := r.unit; u < r.unit+r.n; u++ {
			delete(owned, u)
		}
	}
}
