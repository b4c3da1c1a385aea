package clustermap

import (
	"slices"
	"sync"
	"sync/atomic"

	"github.com/spirula/spirula/crush"
	"github.com/spirula/spirula/rados/wire"
)

// Mapping says who serves a PG. Up is what placement wants, Acting who does
// it meanwhile (pg_temp); clients talk to ActingPrimary. In an erasure-coded
// pool the index is the shard and None a shard without an OSD. The primaries
// are -1 when there is none. The slices are shared: read only.
type Mapping struct {
	Up, Acting               []int32
	UpPrimary, ActingPrimary int32
}

// ObjectPG gives the PG an object belongs to, and the object's hash. key is
// the locator key, "" for none. The error is ENOENT for an unknown pool.
func (m *OSDMap) ObjectPG(pool int64, namespace, key, name string) (wire.PGID, uint32, error) {
	p := m.Pools[pool]
	if p == nil {
		return wire.PGID{}, 0, errNoPool
	}
	h := p.HashName(namespace, key, name)
	return wire.PGID{Pool: pool, Seed: p.Seed(h)}, h, nil
}

// LocatorPG is ObjectPG for a locator, whose hash, if set, is used as it is.
func (m *OSDMap) LocatorPG(l wire.ObjectLocator, name string) (wire.PGID, uint32, error) {
	if l.Hash < 0 {
		return m.ObjectPG(l.Pool, l.Namespace, l.Key, name)
	}
	p := m.Pools[l.Pool]
	if p == nil {
		return wire.PGID{}, 0, errNoPool
	}
	return wire.PGID{Pool: l.Pool, Seed: p.Seed(uint32(l.Hash))}, uint32(l.Hash), nil
}

var errNoPool = wire.Errorf("osdmap", "pool", wire.ENOENT)

// noMapping is the answer for a PG that does not exist.
var noMapping = Mapping{UpPrimary: -1, ActingPrimary: -1}

// Map gives the PG's mapping; an empty one for a PG that does not exist. It is
// safe for any number of goroutines, and takes two atomic loads for a PG that
// was asked for before.
func (m *OSDMap) Map(pg wire.PGID) Mapping {
	p := m.Pools[pg.Pool]
	if p == nil || pg.Seed >= p.PGNum {
		return noMapping
	}
	slot := m.placement.pools[pg.Pool].slot(pg.Seed)
	if got := slot.Load(); got != nil {
		return *got
	}
	got := m.compute(pg, p)
	slot.Store(got)
	return *got
}

// placement remembers mappings, by pool; each pool's are allocated in pages
// at first use. It is never locked: two goroutines that compute the same PG
// store equal answers.
type placement struct {
	pools map[int64]*poolPlacement
	work  *sync.Pool // of *crush.Work
}

const placementPage = 256

type poolPlacement struct {
	pages []atomic.Pointer[[placementPage]atomic.Pointer[Mapping]]
}

func (p *poolPlacement) slot(seed uint32) *atomic.Pointer[Mapping] {
	page := &p.pages[seed/placementPage]
	slots := page.Load()
	if slots == nil {
		page.CompareAndSwap(nil, new([placementPage]atomic.Pointer[Mapping]))
		slots = page.Load()
	}
	return &slots[seed%placementPage]
}

// newPlacement makes m's memory. Pools whose placement inc cannot have
// changed keep what old has computed.
func newPlacement(m, old *OSDMap, inc *Incremental) *placement {
	p := &placement{pools: make(map[int64]*poolPlacement, len(m.Pools))}
	if old != nil {
		p.work = old.placement.work
	} else {
		p.work = &sync.Pool{New: func() any { return new(crush.Work) }}
	}
	keep := map[int64]bool{}
	if old != nil && !inc.movesAll() {
		for id, pool := range m.Pools {
			keep[id] = old.Pools[id].placedAs(pool)
		}
		inc.movedPools(func(id int64) { keep[id] = false })
	}
	for id, pool := range m.Pools {
		if keep[id] {
			p.pools[id] = old.placement.pools[id]
			continue
		}
		pages := (pool.PGNum + placementPage - 1) / placementPage
		p.pools[id] = &poolPlacement{pages: make([]atomic.Pointer[[placementPage]atomic.Pointer[Mapping]], pages)}
	}
	return p
}

// placedAs reports whether both settings place all PGs alike.
func (p *Pool) placedAs(q *Pool) bool {
	return p != nil && p.Type == q.Type && p.Size == q.Size && p.CrushRule == q.CrushRule &&
		p.PGNum == q.PGNum && p.PGPNum == q.PGPNum &&
		p.Flags&PoolHashPSPool == q.Flags&PoolHashPSPool
}

// compute maps one PG from nothing.
func (m *OSDMap) compute(pg wire.PGID, p *Pool) *Mapping {
	pps := p.placementSeed(pg)
	up := m.upmap(pg, m.rawOSDs(pg, p, pps))
	up = m.dropAbsent(up, p, m.IsUp)
	upPrimary := firstOSD(up)
	if m.affinityBelowDefault {
		upPrimary = m.applyAffinity(up, pps, p)
	}
	out := &Mapping{Up: up, Acting: up, UpPrimary: upPrimary, ActingPrimary: upPrimary}
	if temp, ok := m.PGTemp[pg]; ok {
		if acting := m.dropAbsent(slices.Clone(temp), p, m.IsUp); len(acting) > 0 {
			out.Acting, out.ActingPrimary = acting, firstOSD(acting)
		}
	}
	if prim, ok := m.PrimaryTemp[pg]; ok {
		out.ActingPrimary = prim
	}
	return out
}

// RawMap is what CRUSH alone gives for a PG, without the OSDs that do not
// exist: before upmaps, states, and temporary mappings.
func (m *OSDMap) RawMap(pg wire.PGID) []int32 {
	p := m.Pools[pg.Pool]
	if p == nil || pg.Seed >= p.PGNum {
		return nil
	}
	return m.rawOSDs(pg, p, p.placementSeed(pg))
}

func (m *OSDMap) rawOSDs(pg wire.PGID, p *Pool, pps uint32) []int32 {
	rule := m.Crush.FindRule(p.CrushRule, p.Type, int(p.Size))
	if rule < 0 {
		return nil
	}
	w := m.placement.work.Get().(*crush.Work)
	raw := slices.Clone(m.Crush.DoRule(rule, pps, int(p.Size), m.weights, m.Crush.ArgsFor(pg.Pool), w))
	m.placement.work.Put(w)
	return m.dropAbsent(raw, p, m.Exists)
}

// dropAbsent removes, in place, the OSDs that ok refuses: replicated pools
// close up, erasure-coded ones get a hole.
func (m *OSDMap) dropAbsent(osds []int32, p *Pool, ok func(int32) bool) []int32 {
	if p.IsReplicated() {
		return slices.DeleteFunc(osds, func(o int32) bool { return !ok(o) })
	}
	for i, o := range osds {
		if !ok(o) {
			osds[i] = None
		}
	}
	return osds
}

// isOutWeight reports whether an OSD of the map has reweight 0. One outside
// the map counts as not out here, as in Ceph.
func (m *OSDMap) isOutWeight(osd int32) bool {
	return osd != None && osd >= 0 && int(osd) < len(m.OSDs) && m.OSDs[osd].Weight == 0
}

// upmap applies the exceptions to placement that an administrator or the
// balancer entered.
func (m *OSDMap) upmap(pg wire.PGID, raw []int32) []int32 {
	if whole, ok := m.Upmap[pg]; ok {
		if slices.ContainsFunc(whole, m.isOutWeight) {
			return raw
		}
		raw = slices.Clone(whole)
	}
	return m.applyItems(raw, m.UpmapItems[pg])
}

// applyItems makes the replacements in raw, in place.
func (m *OSDMap) applyItems(raw []int32, items []Pair) []int32 {
	for _, pair := range items {
		pos := -1
		exists := false
		for i, o := range raw {
			if o == pair.To {
				exists = true
				break
			}
			if o == pair.From && pos < 0 && !m.isOutWeight(pair.To) {
				pos = i
			}
		}
		if !exists && pos >= 0 {
			raw[pos] = pair.To
		}
	}
	return raw
}

func firstOSD(osds []int32) int32 {
	for _, o := range osds {
		if o != None {
			return o
		}
	}
	return -1
}

// applyAffinity chooses the primary where an OSD's affinity keeps it from
// being one for part of its PGs, and moves it to the front of a replicated
// pool's list.
func (m *OSDMap) applyAffinity(osds []int32, pps uint32, p *Pool) int32 {
	below := func(o int32) bool { return o != None && m.OSDs[o].Affinity != WeightIn }
	if !slices.ContainsFunc(osds, below) {
		return firstOSD(osds)
	}
	pos := -1
	for i, o := range osds {
		if o == None {
			continue
		}
		a := m.OSDs[o].Affinity
		if a < WeightIn && crush.Hash2(pps, uint32(o))>>16 >= a {
			if pos < 0 {
				pos = i
			}
			continue
		}
		pos = i
		break
	}
	if pos < 0 {
		return -1
	}
	primary := osds[pos]
	if p.IsReplicated() {
		copy(osds[1:pos+1], osds[:pos])
		osds[0] = primary
	}
	return primary
}
