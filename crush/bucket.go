package crush

import (
	"math"
	"math/bits"
	"slices"
)

// Limits of weights, 16.16, as the original tool has them.
const (
	MaxDeviceWeight = 100 << 16
	MaxBucketWeight = 65535 << 16
)

// maxTreeItems is what fits the one byte that the binary form has for the
// number of a tree's nodes.
const maxTreeItems = 64

// NewBucket makes a bucket of these items and 16.16 weights, with everything
// that its kind derives from them. strawVersion is the map's StrawCalcVersion.
// The bucket belongs to no map yet and has id 0.
func NewBucket(alg Alg, typ uint16, items []int32, weights []uint32, strawVersion uint8) (*Bucket, error) {
	if len(items) != len(weights) {
		return nil, badMap("%d items with %d weights", len(items), len(weights))
	}
	b := &Bucket{Type: typ, Alg: alg, Items: slices.Clone(items)}
	return b, b.setWeights(slices.Clone(weights), strawVersion)
}

// weightsOf gives the weights of all items in a slice of their own.
func (b *Bucket) weightsOf() []uint32 {
	w := make([]uint32, len(b.Items))
	for i := range w {
		w[i] = b.ItemWeightAt(i)
	}
	return w
}

// setWeights derives the bucket's fields from the weights of its items. It
// takes weights over.
func (b *Bucket) setWeights(weights []uint32, strawVersion uint8) error {
	var sum uint64
	for _, w := range weights {
		sum += uint64(w)
	}
	if sum > math.MaxUint32 {
		return badMap("the weights of bucket %d overflow", b.ID)
	}
	b.Weight = uint32(sum)
	b.ItemWeight, b.Weights, b.SumWeights, b.NodeWeights, b.Straws = 0, nil, nil, nil, nil
	switch b.Alg {
	case Uniform:
		for i, w := range weights {
			if w != weights[0] {
				return badMap("item %d of uniform bucket %d differs in weight", b.Items[i], b.ID)
			}
			b.ItemWeight = w
		}
	case List:
		b.Weights = weights
		b.SumWeights = make([]uint32, len(weights))
		var s uint32
		for i, w := range weights {
			s += w
			b.SumWeights[i] = s
		}
	case Tree:
		if len(weights) > maxTreeItems {
			return badMap("tree bucket %d of %d items, at most %d", b.ID, len(weights), maxTreeItems)
		}
		b.NodeWeights = treeNodes(weights)
	case Straw:
		b.Weights = weights
		b.Straws = strawLengths(weights, strawVersion)
	case Straw2:
		b.Weights = weights
	default:
		return badMap("bucket %d of unknown kind %d", b.ID, b.Alg)
	}
	return nil
}

// treeNodes gives the weights of a tree's nodes: item i is leaf 2i+1, every
// node above weighs what is below it.
func treeNodes(weights []uint32) []uint32 {
	depth := 0
	if n := len(weights); n > 0 {
		depth = 1 + bits.Len(uint(n-1))
	}
	nodes := make([]uint32, 1<<depth)
	for i, w := range weights {
		n := 2*i + 1
		nodes[n] = w
		for range depth - 1 {
			half := n & -n
			if n&(half<<1) != 0 {
				n -= half
			} else {
				n += half
			}
			nodes[n] += w
		}
	}
	return nodes
}

// strawLengths computes the straws of a Straw bucket, 16.16, so that the
// longest draw falls on an item about as often as its weight demands. Version
// 0 has a known flaw with equal and zero weights that old maps depend on.
//
// Every product is rounded before it is used (float64 conversions), so that
// no machine fuses it with an addition: the result is part of the map.
func strawLengths(weights []uint32, version uint8) []uint32 {
	order := make([]int, len(weights))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int {
		switch {
		case weights[a] < weights[b]:
			return -1
		case weights[a] > weights[b]:
			return 1
		}
		return 0
	})
	straws := make([]uint32, len(weights))
	left := len(weights)
	straw, below, last := 1.0, 0.0, 0.0
	for i := 0; i < len(order); {
		w := weights[order[i]]
		if w == 0 {
			i++
			if version > 0 {
				left--
			}
			continue
		}
		straws[order[i]] = uint32(int64(float64(straw * 65536)))
		i++
		if i == len(order) {
			break
		}
		next := weights[order[i]]
		if version == 0 && next == w {
			continue
		}
		below += float64((float64(w) - last) * float64(left))
		if version == 0 {
			for j := i; j < len(order) && weights[order[j]] == next; j++ {
				left--
			}
		} else {
			left--
		}
		above := float64(uint32(left) * (next - w))
		straw *= math.Pow(1/(below/(below+above)), 1/float64(left))
		last = float64(w)
	}
	return straws
}

// addBucket puts b into the map under id; 0 stands for the highest free id
// not in avoid. The table of buckets grows by doubling from 8 slots, as the
// original's does, so that encodings agree.
func (m *Map) addBucket(b *Bucket, id int32, avoid map[int32]bool) error {
	if id == 0 {
		for id = -1; m.Bucket(id) != nil || avoid[id]; id-- {
		}
	}
	if id >= 0 || id < -maxBuckets {
		return badMap("bucket id %d", id)
	}
	if m.Bucket(id) != nil {
		return badMap("bucket id %d is taken", id)
	}
	if need := int(-id); need > len(m.Buckets) {
		size := max(len(m.Buckets), 8)
		for size < need {
			size *= 2
		}
		m.Buckets = append(m.Buckets, make([]*Bucket, size-len(m.Buckets))...)
	}
	b.ID = id
	m.Buckets[-1-id] = b
	return nil
}

// maxBuckets bounds bucket ids that texts and editors may use.
const maxBuckets = 1 << 20

// addRule puts r into slot n.
func (m *Map) addRule(r *Rule, n int, name string) error {
	if n < 0 || n > math.MaxUint8 {
		return badMap("rule id %d", n)
	}
	if m.Rule(n) != nil {
		return badMap("rule %d exists", n)
	}
	for len(m.Rules) <= n {
		m.Rules = append(m.Rules, nil)
	}
	r.ID = uint8(n)
	m.Rules[n] = r
	if name != "" {
		m.RuleNames[int32(n)] = name
	}
	return nil
}

// TrimDevices makes MaxDevices one above the highest device in a bucket, as
// crushtool does with every map it writes.
func (m *Map) TrimDevices() {
	m.MaxDevices = 0
	for _, b := range m.Buckets {
		if b == nil {
			continue
		}
		for _, i := range b.Items {
			m.MaxDevices = max(m.MaxDevices, i+1)
		}
	}
}
