package crush

import (
	"math"
	"math/rand/v2"
	"testing"
)

// naiveStraw2 is straw2 as the standard words it: signed division, strictly
// larger draws win.
func naiveStraw2(ids []int32, weights []uint32, x, r uint32) int {
	ln := lnTables()
	best, high := 0, int64(0)
	for i, id := range ids {
		draw := int64(math.MinInt64)
		if weights[i] > 0 {
			u := Hash3(x, uint32(id), r) & 0xffff
			draw = -int64(ln.lnDistance(u)) / int64(weights[i])
		}
		if i == 0 || draw > high {
			best, high = i, draw
		}
	}
	return best
}

func TestStraw2Twin(t *testing.T) {
	const seed = 7
	rng := rand.New(rand.NewPCG(seed, seed))
	w := &Work{ln: lnTables()}
	weightOf := []func() uint32{
		func() uint32 { return 0x10000 },
		func() uint32 { return uint32(rng.IntN(3)) << 16 },
		func() uint32 { return 1 + uint32(rng.IntN(3)) },
		func() uint32 { return rng.Uint32() },
		func() uint32 { return uint32(rng.IntN(200)) * 0x1999 },
		func() uint32 { return math.MaxUint32 - uint32(rng.IntN(2)) },
	}
	for round := range 40000 {
		n := 1 + rng.IntN(30)
		if round%100 == 0 {
			n = 1 + rng.IntN(300)
		}
		gen := weightOf[round%len(weightOf)]
		ids, weights := make([]int32, n), make([]uint32, n)
		for i := range ids {
			ids[i], weights[i] = int32(rng.IntN(1<<20))-1<<19, gen()
		}
		x, r := rng.Uint32(), uint32(rng.IntN(100))
		if got, want := w.straw2(ids, weights, x, r), naiveStraw2(ids, weights, x, r); got != want {
			t.Fatalf("seed %d round %d: ids %v weights %v x %d r %d: got %d, want %d", seed, round, ids, weights, x, r, got, want)
		}
	}
}
