package clustermap

import (
	"slices"

	"github.com/spirula/spirula/rados/wire"
)

// SnapRange is the snaps Start to Start+Len-1.
type SnapRange struct {
	Start wire.SnapID
	Len   uint64
}

// SnapSet is a set of snap ids: ranges in ascending order that neither touch
// nor overlap. The zero SnapSet is empty. Its methods give new sets.
type SnapSet []SnapRange

// Contains reports whether id is in the set.
func (s SnapSet) Contains(id wire.SnapID) bool {
	i, _ := slices.BinarySearchFunc(s, id, func(r SnapRange, id wire.SnapID) int {
		switch {
		case uint64(id)-uint64(r.Start) < r.Len && id >= r.Start:
			return 0
		case r.Start < id:
			return -1
		}
		return 1
	})
	return i < len(s) && id >= s[i].Start && uint64(id-s[i].Start) < s[i].Len
}

// Size is the number of ids in the set.
func (s SnapSet) Size() (n uint64) {
	for _, r := range s {
		n += r.Len
	}
	return n
}

// end is one past the range's last id. Ids end at 2^64-1, so it does not
// wrap for a set that was normalised.
func (r SnapRange) end() uint64 { return uint64(r.Start) + r.Len }

// Union gives the ids in either set.
func (s SnapSet) Union(t SnapSet) SnapSet {
	return normalise(append(slices.Clone(s), t...))
}

// Add gives the set with id.
func (s SnapSet) Add(id wire.SnapID) SnapSet { return s.Union(SnapSet{{id, 1}}) }

// Subtract gives the ids of s that are not in t.
func (s SnapSet) Subtract(t SnapSet) SnapSet {
	var out SnapSet
	j := 0
	for _, r := range s {
		start, end := uint64(r.Start), r.end()
		for j < len(t) && t[j].end() <= start {
			j++
		}
		for k := j; k < len(t) && uint64(t[k].Start) < end; k++ {
			if cut := uint64(t[k].Start); cut > start {
				out = append(out, SnapRange{wire.SnapID(start), cut - start})
			}
			start = max(start, t[k].end())
			if start >= end {
				break
			}
		}
		if start < end {
			out = append(out, SnapRange{wire.SnapID(start), end - start})
		}
	}
	return out
}

// normalise sorts ranges, drops empty ones and joins those that touch. Ranges
// that reach past the last id are cut.
func normalise(s SnapSet) SnapSet {
	slices.SortFunc(s, func(a, b SnapRange) int {
		switch {
		case a.Start < b.Start:
			return -1
		case a.Start > b.Start:
			return 1
		}
		return 0
	})
	out := s[:0]
	for _, r := range s {
		r.Len = min(r.Len, ^uint64(0)-uint64(r.Start))
		if r.Len == 0 {
			continue
		}
		if n := len(out); n > 0 && uint64(r.Start) <= out[n-1].end() {
			out[n-1].Len = max(out[n-1].end(), r.end()) - uint64(out[n-1].Start)
			continue
		}
		out = append(out, r)
	}
	return out
}

func encodeSnapSet(e *wire.Encoder, s SnapSet) {
	e.Count(len(s))
	for _, r := range s {
		e.U64(uint64(r.Start))
		e.U64(r.Len)
	}
}

// decodeSnapSet reads a set and brings it in order: a set from the network
// need not obey the type's rule.
func decodeSnapSet(d *wire.Decoder) SnapSet {
	n := d.Count(16)
	if n == 0 {
		return nil
	}
	s := make(SnapSet, n)
	for i := range s {
		s[i] = SnapRange{wire.SnapID(d.U64()), d.U64()}
	}
	return normalise(s)
}
