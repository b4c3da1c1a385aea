package crush

import (
	"math/rand/v2"
	"testing"
)

// TestHashLanes runs the hashing of processors without AVX2 on every machine.
func TestHashLanes(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	var dst [blockSize]uint32
	for n := range blockSize + 1 {
		ids := make([]int32, n)
		for i := range ids {
			ids[i] = int32(rng.Uint32())
		}
		x, r := rng.Uint32(), rng.Uint32N(100)
		hash3Lanes(&dst, ids, x, r, false)
		for i, id := range ids {
			if want := Hash3(x, uint32(id), r); dst[i] != want {
				t.Fatalf("hash %d of %d is %#x, want %#x", i, n, dst[i], want)
			}
		}
	}
}
