package crush

import (
	"encoding/binary"
	"hash/fnv"
	"math/rand/v2"
	"testing"
)

// TestHashBlock compares the block forms with Hash3, one by one, for all
// lengths.
func TestHashBlock(t *testing.T) {
	const seed = 1
	rng := rand.New(rand.NewPCG(seed, seed))
	for range 50 {
		for n := 0; n <= blockSize; n++ {
			ids := make([]int32, n)
			for i := range ids {
				ids[i] = int32(rng.Uint32())
			}
			x, r := rng.Uint32(), rng.Uint32()
			var block, plain [blockSize]uint32
			hash3Block(&block, ids, x, r)
			hash3BlockGo(&plain, ids, x, r)
			for i, id := range ids {
				want := Hash3(x, uint32(id), r)
				if block[i] != want || plain[i] != want {
					t.Fatalf("seed %d: Hash3(%d,%d,%d) = %d, block %d, plain %d", seed, x, id, r, want, block[i], plain[i])
				}
			}
		}
	}
}

// TestLnMonotone proves lnSlack over the whole domain: the least distance of
// all hashes more than lnSlack below v is not below v's own.
func TestLnMonotone(t *testing.T) {
	ln := lnTables()
	least := ln.lnDistance(0)
	for v := uint32(lnSlack + 1); v < 1<<16; v++ {
		least = min(least, ln.lnDistance(v-lnSlack-1))
		if d := ln.lnDistance(v); d > least {
			t.Errorf("distance of %d is %d, %d below it", v, d, least)
		}
	}
}

// TestLnKnown checks the ends of the range, and holds the tables to the values
// with which every recorded mapping came out right.
func TestLnKnown(t *testing.T) {
	ln := lnTables()
	for u, want := range map[uint32]uint64{0: 0, 0xffff: 0xfffff0000000} {
		if got := lnOne - ln.lnDistance(u); got != want {
			t.Errorf("ln(%#x) = %#x, want %#x", u, got, want)
		}
	}
	h := fnv.New64a()
	var b [8]byte
	for _, table := range [][]uint64{ln.recip[:], ln.high[:], ln.low[:]} {
		for _, v := range table {
			binary.LittleEndian.PutUint64(b[:], v)
			h.Write(b[:])
		}
	}
	const want = 0xcdf9422638f830d3
	if got := h.Sum64(); got != want {
		t.Errorf("checksum of the tables %#x, want %#x", got, uint64(want))
	}
}
