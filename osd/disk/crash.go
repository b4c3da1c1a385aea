package disk

import (
	"math/rand/v2"
	"slices"
)

// Crash gives the disk as it may be found after a cut of power at this moment:
// all that was synced, and of the rest any subset, chosen by rng; the same
// calls and the same rng give the same disk. m itself is off from then on.
// The new disk has no locks, no hook and m's capacity.
func (m *Mem) Crash(rng *rand.Rand) *Mem {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.powerOff()
	views := map[*memNode]map[string]*memNode{}
	view := func(d *memNode) map[string]*memNode {
		v, ok := views[d]
		if !ok {
			v = make(map[string]*memNode, len(d.durable))
			for name, n := range d.durable {
				v[name] = n
			}
			views[d] = v
		}
		return v
	}
	for _, op := range m.ops {
		if rng.IntN(2) == 0 {
			op.applyTo(view)
		}
	}
	after := NewMem()
	after.cap, after.next = m.cap, m.next
	files := map[*memInode]*memNode{}
	var build func(from *memNode, to *memNode)
	build = func(from, to *memNode) {
		entries := view(from)
		for _, name := range sortedNames(entries) {
			n := entries[name]
			var copied *memNode
			switch {
			case n.file == nil:
				copied = newDir(n.id)
				build(n, copied)
			case files[n.file] != nil:
				copied = files[n.file]
			default:
				copied = &memNode{id: n.id, file: n.file.crash(rng)}
				after.charge(copied.file)
				files[n.file] = copied
			}
			if copied.file != nil {
				copied.file.links++
			}
			to.entries[name], to.durable[name] = copied, copied
		}
	}
	build(m.root, after.root)
	return after
}

// crash is the file as a power cut may leave it, everything durable.
func (in *memInode) crash(rng *rand.Rand) *memInode {
	in.mu.RLock()
	defer in.mu.RUnlock()
	out := newInode()
	out.grown = in.grown
	for n, p := range in.pages {
		out.pages[n] = p
	}
	for n, p := range in.lost {
		out.put(n, p)
	}
	numbers := make([]int64, 0, len(in.dirty))
	for n := range in.dirty {
		numbers = append(numbers, n)
	}
	slices.Sort(numbers)
	for _, n := range numbers {
		out.put(n, mixSectors(rng, append(slices.Clone(in.dirty[n]), in.pages[n])))
	}
	if in.lostSize >= 0 {
		out.size = in.lostSize
	} else {
		choices := append(slices.Clone(in.sizes), in.size)
		out.size = choices[rng.IntN(len(choices))]
	}
	for n, p := range out.pages {
		switch start := n * pageSize; {
		case start >= out.size:
			delete(out.pages, n)
		case start+pageSize > out.size:
			cut := slices.Clone(p)
			clear(cut[out.size-start:])
			out.pages[n] = cut
		}
	}
	out.grown = min(out.grown, (out.size+pageSize-1)/pageSize)
	out.sizes = []int64{out.size}
	return out
}

// put sets a page without remembering the old one.
func (in *memInode) put(n int64, p page) {
	if p == nil {
		delete(in.pages, n)
	} else {
		in.pages[n] = p
	}
}

// mixSectors makes a page of which every sector is that of one of versions. A
// third of all pages come out whole, or a large write would never survive and
// never be lost as a whole.
func mixSectors(rng *rand.Rand, versions []page) page {
	if rng.IntN(3) == 0 {
		return versions[rng.IntN(len(versions))]
	}
	out := make(page, pageSize)
	for s := 0; s < pageSize; s += sectorSize {
		if v := versions[rng.IntN(len(versions))]; v != nil {
			copy(out[s:s+sectorSize], v[s:])
		}
	}
	return out
}
