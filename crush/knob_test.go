package crush

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"testing"
)

// TestWeightSets edits sets of weights of a map with classes at random, and
// edits the map under them: every sum in a set stays that of what is below,
// the items' own weights stay.
func TestWeightSets(t *testing.T) {
	for seed := range uint64(20) {
		rng := rand.New(rand.NewPCG(seed, 3))
		m := loadMap(t, "classes")
		// Weights from a text are rounded, sums too.
		if err := m.ReweightAll(); err != nil {
			t.Fatal(err)
		}
		own := m.Clone()
		keys := []int64{DefaultChooseArgs, 7}
		for i, key := range keys {
			if err := m.AddWeightSet(key, 1+2*i); err != nil {
				t.Fatal(err)
			}
		}
		for range 30 {
			i := rng.IntN(2)
			weights := []uint32{rng.Uint32N(5 << 16)}
			if i == 1 && rng.IntN(2) == 0 {
				weights = append(weights, rng.Uint32N(5<<16), rng.Uint32N(5<<16))
			}
			device := rng.Int32N(30)
			if err := m.SetWeight(keys[i], device, weights...); err != nil {
				t.Fatalf("seed %d: %v", seed, err)
			}
			checkSetSums(t, m)
		}
		for slot, b := range own.Buckets {
			if b != nil && b.Weight != m.Buckets[slot].Weight {
				t.Errorf("seed %d: bucket %d weighs %d, was %d", seed, b.ID, m.Buckets[slot].Weight, b.Weight)
			}
		}
		if err := m.Reweight(3, 0x23456); err != nil {
			t.Fatal(err)
		}
		if err := m.Remove(9); err != nil {
			t.Fatal(err)
		}
		checkSetSums(t, m)
		for _, key := range keys {
			if err := m.RemoveWeightSet(key); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func checkSetSums(t *testing.T, m *Map) {
	t.Helper()
	for key, args := range m.ChooseArgs {
		for slot, a := range args {
			if a == nil {
				continue
			}
			for pos, set := range a.WeightSet {
				for i, item := range m.Buckets[slot].Items {
					if b := m.Bucket(item); b != nil && args.sum(b, pos) != set[i] {
						t.Fatalf("set %d: bucket %d has %d for %d at position %d, below are %d", key, -1-slot, set[i],
							item, pos, args.sum(b, pos))
					}
				}
			}
		}
	}
}

func TestWeightSetErrors(t *testing.T) {
	m := loadMap(t, "alg-straw2")
	before := m.Encode()
	for what, err := range map[string]error{
		"no set":        m.SetWeight(3, 0, 1),
		"no positions":  m.AddWeightSet(3, 0),
		"odd key":       m.AddWeightSet(-2, 1),
		"remove no set": m.RemoveWeightSet(3),
	} {
		if !errors.Is(err, ErrMap) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if !bytes.Equal(m.Encode(), before) {
		t.Error("an edit that failed changed the map")
	}
	if err := m.AddWeightSet(3, 2); err != nil {
		t.Fatal(err)
	}
	for what, err := range map[string]error{
		"twice":             m.AddWeightSet(3, 2),
		"number of weights": m.SetWeight(3, 0, 1, 2, 3),
		"no weights":        m.SetWeight(3, 0),
		"unknown item":      m.SetWeight(3, 4000, 1),
	} {
		if !errors.Is(err, ErrMap) {
			t.Errorf("%s: %v", what, err)
		}
	}
}
