package store

import (
	"encoding/binary"
	"fmt"
	"math/bits"

	"github.com/spirula/spirula/rados/wire"
)

const (
	// regionUnits is the number of units of an allocation region: 128 MiB.
	regionUnits = 32768
	regionWords = regionUnits / 64
	// countsGroup is how many regions' free counts lie in one row.
	countsGroup = 1024
	// sparseFree is the free units below which a region is avoided.
	sparseFree = regionUnits / 8
	// maxLoadedRegions is how many clean regions stay in memory, 8 KiB each.
	maxLoadedRegions = 256
)

// run is a range of physical units.
type run struct{ unit, n uint64 }

// appendRun adds a run and joins it to the last one where they touch.
func appendRun(rs []run, r run) []run {
	if m := len(rs); m > 0 && rs[m-1].unit+rs[m-1].n == r.unit && rs[m-1].n+r.n <= maxRun {
		rs[m-1].n += r.n
		return rs
	}
	return append(rs, r)
}

type bitmap [regionWords]uint64

func (b *bitmap) get(i uint64) bool { return b[i/64]>>(i%64)&1 != 0 }

// eachWord calls f with word and mask for the bits [i, i+n).
func eachWord(i, n uint64, f func(w int, mask uint64)) {
	for n > 0 {
		take := min(64-i%64, n)
		f(int(i/64), (^uint64(0)>>(64-take))<<(i%64))
		i, n = i+take, n-take
	}
}

func (b *bitmap) used() int {
	n := 0
	for _, w := range b {
		n += bits.OnesCount64(w)
	}
	return n
}

// region is the allocation of 128 MiB. A unit goes through these states:
//
//	free      neither bit
//	reserved  busy: a transaction under way took it
//	used      busy, committed: the transaction is in the index
//	leaving   busy: a transaction freed it, but readers or the log need it
type region struct {
	committed bitmap // as the index has it after the last applied record
	busy      bitmap // not to be given out; a superset of committed
	seq       uint64 // the record up to which the stored row was true
	dirty     bool   // committed differs from the stored row
	holds     int    // units reserved or leaving: the region must stay loaded
}

// stream is a place where allocation goes forward.
type stream struct {
	region uint32
	next   uint64 // unit in the region from which to look on
	active bool
}

// allocator knows which units are free. It does no I/O: whoever needs a
// region that isn't loaded gets its number and loads it. Guarded by Store.mu.
type allocator struct {
	units  uint64   // of the block file
	free   uint64   // not busy
	counts []uint32 // by region: units not busy
	loaded map[uint32]*region
	// Large writes and small ones go forward in different regions, so that
	// what the log puts in place is written in sequence.
	large, small stream
}

func newAllocator() *allocator { return &allocator{loaded: map[uint32]*region{}} }

// grow adds units at the end; their region's new part is free.
func (a *allocator) grow(units uint64) {
	for r := a.units / regionUnits; r*regionUnits < units; r++ {
		if int(r) == len(a.counts) {
			a.counts = append(a.counts, 0)
		}
		first, end := max(a.units, r*regionUnits), min(units, (r+1)*regionUnits)
		n := end - first
		if r == 0 && first == 0 {
			n -= superUnits
		}
		a.counts[r] += uint32(n)
		a.free += n
	}
	a.units = max(a.units, units)
}

// load takes in a region; bits beyond the end of the file count as clear.
func (a *allocator) load(n uint32, r *region) {
	if a.loaded[n] != nil {
		return
	}
	if n == 0 {
		r.committed[0] |= 1<<superUnits - 1
	}
	r.busy = r.committed
	a.loaded[n] = r
	a.recount(n, r)
	a.evict(n)
}

func (a *allocator) recount(n uint32, r *region) {
	limit := min(regionUnits, a.units-min(a.units, uint64(n)*regionUnits))
	free := uint32(limit) - uint32(r.busy.used())
	a.free += uint64(free) - uint64(a.counts[n])
	a.counts[n] = free
}

// evict forgets a clean region when too many are loaded.
func (a *allocator) evict(keep uint32) {
	if len(a.loaded) <= maxLoadedRegions {
		return
	}
	for n, r := range a.loaded {
		if n != keep && !r.dirty && r.holds == 0 && !(a.large.active && a.large.region == n) &&
			!(a.small.active && a.small.region == n) {
			delete(a.loaded, n)
			return
		}
	}
}

// choose makes st go on in the next region that has room: one that isn't
// sparse if possible, nor the other stream's. It gives false when no unit is
// free.
func (a *allocator) choose(st, other *stream) bool {
	n := uint32(len(a.counts))
	best, bestScore := uint32(0), uint32(0)
	for i := range n {
		r := (st.region + 1 + i) % n
		score := a.counts[r]
		if score == 0 {
			continue
		}
		if score >= sparseFree {
			score = regionUnits
		}
		if other.active && other.region == r {
			score = (score + 1) / 2
		}
		if score > bestScore {
			best, bestScore = r, score
		}
		if bestScore == regionUnits {
			break
		}
	}
	*st = stream{region: best, active: bestScore > 0}
	return st.active
}

// take reserves n units and appends them to out as few runs. When it returns
// need it must be called again after that region was loaded; with neither
// need nor ok the units are not there. Only with ok is anything reserved.
func (a *allocator) take(st, other *stream, n uint64, out []run) (_ []run, need uint32, needs, ok bool) {
	if n > a.free {
		return out, 0, false, false
	}
	start := len(out)
	for n > 0 {
		if !st.active && !a.choose(st, other) {
			panic(fmt.Sprintf("store: %d units counted free but no region has one", a.free))
		}
		r := a.loaded[st.region]
		if r == nil {
			a.giveBack(out[start:])
			return out[:start], st.region, true, false
		}
		first, got := r.busy.find(st.next, n, min(regionUnits, a.units-uint64(st.region)*regionUnits))
		if got == 0 {
			st.active = false
			continue
		}
		eachWord(first, got, func(w int, m uint64) { r.busy[w] |= m })
		r.holds += int(got)
		a.counts[st.region] -= uint32(got)
		a.free -= got
		st.next = first + got
		n -= got
		// Runs already in out belong to others: don't join with those.
		if len(out) > start {
			out = appendRun(out, run{uint64(st.region)*regionUnits + first, got})
		} else {
			out = append(out, run{uint64(st.region)*regionUnits + first, got})
		}
	}
	return out, 0, false, true
}

// find gives the first run of clear bits in [from, limit), at most n long.
func (b *bitmap) find(from, n, limit uint64) (first, got uint64) {
	i := from
	for i < limit {
		w := ^b[i/64] >> (i % 64)
		if w == 0 {
			i = (i/64 + 1) * 64
			continue
		}
		i += uint64(bits.TrailingZeros64(w))
		break
	}
	if i >= limit {
		return 0, 0
	}
	first = i
	for i < limit && i-first < n {
		w := b[i/64] >> (i % 64)
		if w != 0 {
			i += uint64(bits.TrailingZeros64(w))
			break
		}
		i = (i/64 + 1) * 64
	}
	return first, min(i, limit, first+n) - first
}

// split calls f for each region's part of the runs.
func split(rs []run, f func(region uint32, first, n uint64)) {
	for _, r := range rs {
		for r.n > 0 {
			i := r.unit % regionUnits
			n := min(r.n, regionUnits-i)
			f(uint32(r.unit/regionUnits), i, n)
			r.unit, r.n = r.unit+n, r.n-n
		}
	}
}

// giveBack makes reserved or leaving units free.
func (a *allocator) giveBack(rs []run) {
	split(rs, func(n uint32, first, count uint64) {
		r := a.loaded[n]
		if r == nil {
			panic(fmt.Sprintf("store: region %d with units %d+%d under way is not loaded", n, first, count))
		}
		eachWord(first, count, func(w int, m uint64) {
			if r.busy[w]&m != m || r.committed[w]&m != 0 {
				panic(fmt.Sprintf("store: unit freed twice or in use: region %d word %d mask %x busy %x committed %x",
					n, w, m, r.busy[w], r.committed[w]))
			}
			r.busy[w] &^= m
		})
		r.holds -= int(count)
		a.counts[n] += uint32(count)
		a.free += count
	})
}

// commit notes what an applied record allocated and freed. All regions must
// be loaded. Freed units are leaving until giveBack.
func (a *allocator) commit(allocs, frees []run) {
	split(allocs, func(n uint32, first, count uint64) {
		r := a.loaded[n]
		eachWord(first, count, func(w int, m uint64) {
			if r.committed[w]&m != 0 || r.busy[w]&m != m {
				panic(fmt.Sprintf("store: unit allocated twice: region %d word %d mask %x", n, w, m))
			}
			r.committed[w] |= m
		})
		r.holds -= int(count)
		r.dirty = true
	})
	split(frees, func(n uint32, first, count uint64) {
		r := a.loaded[n]
		eachWord(first, count, func(w int, m uint64) {
			if r.committed[w]&m != m {
				panic(fmt.Sprintf("store: free unit freed: region %d word %d mask %x", n, w, m))
			}
			r.committed[w] &^= m
		})
		r.holds += int(count)
		r.dirty = true
	})
}

// missing appends to out the regions of the runs that are not loaded.
func (a *allocator) missing(rs []run, out []uint32) []uint32 {
	split(rs, func(n uint32, _, _ uint64) {
		if a.loaded[n] == nil && (len(out) == 0 || out[len(out)-1] != n) {
			out = append(out, n)
		}
	})
	return out
}

// replay repeats what a record did to the allocation of a loaded region,
// unless the region's row came later.
func (a *allocator) replay(rs []run, seq uint64, alloc bool) {
	split(rs, func(n uint32, first, count uint64) {
		r := a.loaded[n]
		if seq <= r.seq {
			return
		}
		eachWord(first, count, func(w int, m uint64) {
			if alloc {
				r.committed[w] |= m
			} else {
				r.committed[w] &^= m
			}
		})
		r.busy = r.committed
		r.dirty = true
	})
}

const regionVersion = 1

// appendRegion encodes a region's committed bits:
//
//	u8 version, u64 record up to which it is true, u8 form,
//	form 0: the bits, lowest first; form 1: {uvarint clear, uvarint set} until the end,
//	u32 CRC-32C of all before
func appendRegion(b []byte, r *region, seq uint64) []byte {
	start := len(b)
	b = append(b, regionVersion)
	b = binary.LittleEndian.AppendUint64(b, seq)
	b = append(b, 1)
	form := len(b) - 1
	for i := uint64(0); i < regionUnits; {
		first, end := r.committed.nextSet(i)
		if first == regionUnits {
			break
		}
		b = binary.AppendUvarint(b, first-i)
		b = binary.AppendUvarint(b, end-first)
		i = end
		if len(b)-form > regionUnits/8 {
			break
		}
	}
	if len(b)-form > regionUnits/8 {
		b = append(b[:form], 0)
		for _, w := range r.committed {
			b = binary.LittleEndian.AppendUint64(b, w)
		}
	}
	return binary.LittleEndian.AppendUint32(b, wire.CRC32C(b[start:]))
}

// nextSet gives the first run of set bits from i on.
func (b *bitmap) nextSet(i uint64) (first, end uint64) {
	for i < regionUnits && !b.get(i) {
		if b[i/64] == 0 {
			i = (i/64 + 1) * 64
		} else {
			i++
		}
	}
	for first = i; i < regionUnits && b.get(i); {
		if i%64 == 0 && b[i/64] == ^uint64(0) {
			i += 64
		} else {
			i++
		}
	}
	return first, i
}

func decodeRegion(b []byte) (*region, bool) {
	body, ok := checked(b, regionVersion)
	if !ok {
		return nil, false
	}
	rd := reader{b: body[1:]}
	r := &region{seq: rd.u64()}
	switch rd.u8() {
	case 0:
		for i := range r.committed {
			r.committed[i] = rd.u64()
		}
	case 1:
		for at := uint64(0); len(rd.b) > 0; {
			gap, n := rd.uvarint(), rd.uvarint()
			if gap > regionUnits || n > regionUnits || at+gap+n > regionUnits {
				return nil, false
			}
			at += gap
			eachWord(at, n, func(w int, m uint64) { r.committed[w] |= m })
			at += n
		}
	default:
		return nil, false
	}
	return r, rd.done()
}

// appendCounts encodes the committed units in use of a group of regions. Not
// the free ones: those change when the file grows.
// u8 version, {u32 used}, u32 CRC-32C.
func appendCounts(b []byte, counts []uint32) []byte {
	start := len(b)
	b = append(b, 1)
	for _, c := range counts {
		b = binary.LittleEndian.AppendUint32(b, c)
	}
	return binary.LittleEndian.AppendUint32(b, wire.CRC32C(b[start:]))
}

func decodeCounts(b []byte) ([]uint32, bool) {
	body, ok := checked(b, 1)
	if !ok || len(body)%4 != 1 || len(body) > 1+4*countsGroup {
		return nil, false
	}
	counts := make([]uint32, 0, countsGroup)
	for r := (reader{b: body[1:]}); len(r.b) > 0; {
		c := r.u32()
		if c > regionUnits {
			return nil, false
		}
		counts = append(counts, c)
	}
	return counts, true
}
