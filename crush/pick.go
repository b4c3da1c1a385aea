package crush

import (
	"math"
	"math/bits"
)

// pick lets bucket b choose an item for input x, attempt r and position pos
// of the result. The bucket is not empty.
func (w *Work) pick(b *Bucket, x uint32, r int, pos int) int32 {
	w.budget -= len(b.Items)
	if b.Hash != 0 {
		return w.pickUnhashed(b, x, r, pos)
	}
	switch b.Alg {
	case Uniform:
		return w.pickPerm(b, x, r)
	case List:
		return pickList(b, x, uint32(r))
	case Tree:
		return pickTree(b, x, uint32(r))
	case Straw:
		return w.pickStraw(b, x, uint32(r))
	case Straw2:
		weights, ids := b.Weights, b.Items
		if slot := int(-1 - b.ID); slot < len(w.args) {
			if arg := w.args[slot]; arg != nil {
				weights, ids = arg.apply(b, pos)
			}
		}
		return b.Items[w.straw2(ids, weights, x, uint32(r))]
	}
	return b.Items[0]
}

// apply gives the weights and ids that replace b's at position pos. What does
// not fit the bucket is not used.
func (a *ChooseArg) apply(b *Bucket, pos int) ([]uint32, []int32) {
	weights, ids := b.Weights, b.Items
	if n := len(a.WeightSet); n > 0 {
		if ws := a.WeightSet[min(pos, n-1)]; len(ws) == len(b.Items) {
			weights = ws
		}
	}
	if len(a.IDs) == len(b.Items) {
		ids = a.IDs
	}
	return weights, ids
}

// pickUnhashed serves buckets whose hash number is not known: every hash is
// 0 in them. No map has any.
func (w *Work) pickUnhashed(b *Bucket, x uint32, r int, pos int) int32 {
	switch b.Alg {
	case Uniform:
		return w.pickPerm(b, x, r)
	case List:
		for i := len(b.Items) - 1; i >= 0; i-- {
			if b.Weights[i] > 0 {
				return b.Items[i]
			}
		}
	case Tree:
		return treeWalk(b, func(uint32) uint32 { return 0 })
	case Straw2:
		weights := b.Weights
		if slot := int(-1 - b.ID); slot < len(w.args) && w.args[slot] != nil {
			weights, _ = w.args[slot].apply(b, pos)
		}
		best, most := 0, uint32(0)
		top := w.ln.lnDistance(0)
		for i, wt := range weights {
			if wt > 0 && (most == 0 || top/uint64(wt) < top/uint64(most)) {
				best, most = i, wt
			}
		}
		return b.Items[best]
	}
	return b.Items[0]
}

// pickPerm takes the r-th item of a permutation of the bucket's items that
// depends on x. Uniform buckets use it, and every kind after too many
// collisions.
func (w *Work) pickPerm(b *Bucket, x uint32, r int) int32 {
	size := uint32(len(b.Items))
	last := uint32(r) % size
	hash := func(q uint32) uint32 {
		if b.Hash != 0 {
			return 0
		}
		return Hash3(x, uint32(b.ID), q)
	}
	if last == 0 {
		return b.Items[hash(0)%size]
	}
	if cap(w.perm) < int(size) {
		w.perm = make([]uint32, size)
	}
	p := w.perm[:size]
	for i := range p {
		p[i] = uint32(i)
	}
	for q := uint32(0); q <= last && q < size-1; q++ {
		i := q + hash(q)%(size-q)
		p[q], p[i] = p[i], p[q]
	}
	return b.Items[p[last]]
}

func pickList(b *Bucket, x, r uint32) int32 {
	for i := len(b.Items) - 1; i >= 0; i-- {
		h := Hash4(x, uint32(b.Items[i]), r, uint32(b.ID)) & 0xffff
		if uint64(h)*uint64(b.SumWeights[i])>>16 < uint64(b.Weights[i]) {
			return b.Items[i]
		}
	}
	return b.Items[0]
}

func pickTree(b *Bucket, x, r uint32) int32 {
	return treeWalk(b, func(n uint32) uint32 { return Hash4(x, n, r, uint32(b.ID)) })
}

// treeWalk goes from the root (half of the nodes) to a leaf, an odd node.
func treeWalk(b *Bucket, hash func(node uint32) uint32) int32 {
	n := uint32(len(b.NodeWeights)) / 2
	for n != 0 && n&1 == 0 {
		t := uint32(uint64(hash(n)) * uint64(b.NodeWeights[n]) >> 32)
		half := n & -n / 2
		if t < b.NodeWeights[n-half] {
			n -= half
		} else {
			n += half
		}
	}
	// Leaves beyond the items weigh nothing; one is met only where all
	// siblings weigh nothing as well.
	if int(n/2) >= len(b.Items) {
		return b.Items[0]
	}
	return b.Items[n/2]
}

func (w *Work) pickStraw(b *Bucket, x, r uint32) int32 {
	best, longest := 0, uint64(0)
	for from := 0; from < len(b.Items); from += blockSize {
		ids := b.Items[from:min(from+blockSize, len(b.Items))]
		hash3Block(&w.hashes, ids, x, r)
		for i := range ids {
			draw := uint64(w.hashes[i&(blockSize-1)]&0xffff) * uint64(b.Straws[from+i])
			if draw > longest {
				best, longest = from+i, draw
			}
		}
	}
	return b.Items[best]
}

// straw2 gives the index of the item whose draw, -distance/weight, is the
// largest, the first of equal ones.
//
// The draw of the standard is (ln - 2^48)/weight, a signed division that
// truncates toward zero, so the largest draw is the smallest quotient
// q = floor(distance/weight). A candidate beats the best one only if
// floor(distance/weight) < q, which for whole numbers is
// distance < q*weight: a multiplication. The division is left to those that
// win, about the logarithm of the bucket's size.
//
// Most candidates need neither: where neither the weight nor the hash is
// above the best one's, the distance is not below the best one's, and
// distance(best) >= q*weight(best) >= q*weight. The logarithm is monotone but
// for one step of one, hence lnSlack.
func (w *Work) straw2(ids []int32, weights []uint32, x, r uint32) int {
	ln := w.ln
	best := 0
	q := uint64(math.MaxUint64)
	var bestWeight, bestHash uint32
	weights = weights[:len(ids)]
	for from := 0; from < len(ids); from += blockSize {
		block := weights[from:min(from+blockSize, len(ids))]
		hash3Block(&w.hashes, ids[from:from+len(block)], x, r)
		for i, wt := range block {
			u := w.hashes[i&(blockSize-1)] & 0xffff
			if wt <= bestWeight && u+lnSlack < bestHash || wt == 0 {
				continue
			}
			d := ln.lnDistance(u)
			if hi, lo := bits.Mul64(q, uint64(wt)); hi != 0 || d < lo {
				q = d / uint64(wt)
				best, bestWeight, bestHash = from+i, wt, u
			}
		}
	}
	return best
}
