package clustermap

import (
	"math"
	"slices"

	"github.com/spirula/spirula/crush"
	"github.com/spirula/spirula/rados/wire"
)

// BalanceOptions says how far Balance goes.
type BalanceOptions struct {
	Pools        []int64 // nil: all
	MaxDeviation float64 // PGs an OSD may be off its share; 0: 5, as Ceph
	MaxChanges   int     // PGs to move at most; 0: 10, as Ceph
}

// BalancePlan is what Balance proposes, and how far the fullest or emptiest
// OSD is from its share, in PGs, before and after.
type BalancePlan struct {
	Set           map[wire.PGID][]Pair // new pg_upmap_items
	Remove        []wire.PGID          // PGs whose pg_upmap_items go
	Changes       int
	Before, After float64
}

// AddTo puts the plan into an increment.
func (p *BalancePlan) AddTo(inc *Incremental) {
	for pg, items := range p.Set {
		inc.NewUpmapItems[pg] = items
	}
	inc.OldUpmapItems = append(inc.OldUpmapItems, p.Remove...)
}

// Balance proposes pg_upmap_items that even out the number of PGs on OSDs, by
// their weight and reweight below the root each pool's rule takes. Every move
// lowers the sum of the squared deviations, so the plan is never worse than
// the map and the search ends; replicas stay in different failure domains,
// and where a rule chooses in several steps, below the same bucket of the
// earlier ones. Pools whose rule has several takes, and PGs with a pg_upmap,
// stay as they are. The same map gives the same plan.
func (m *OSDMap) Balance(o BalanceOptions) *BalancePlan {
	if o.MaxDeviation <= 0 {
		o.MaxDeviation = 5
	}
	if o.MaxChanges <= 0 {
		o.MaxChanges = 10
	}
	b := &balancer{m: m, items: map[wire.PGID][]Pair{}, touched: map[wire.PGID]bool{},
		count: make([]float64, len(m.OSDs)), target: make([]float64, len(m.OSDs))}
	ids := o.Pools
	if ids == nil {
		ids = sortedKeys(m.Pools)
	}
	for _, id := range ids {
		b.addPool(id)
	}
	plan := &BalancePlan{Set: map[wire.PGID][]Pair{}, Before: b.worst()}
	for plan.Changes < o.MaxChanges && b.worst() > o.MaxDeviation && b.move() {
		plan.Changes++
	}
	plan.After = b.worst()
	b.report(plan)
	return plan
}

type balancer struct {
	m     *OSDMap
	pgs   []*balancedPG
	count []float64 // PGs on each OSD
	// target is each OSD's share of the PGs; an OSD that no pool uses has 0
	// and takes no part.
	target  []float64
	items   map[wire.PGID][]Pair // as they become
	touched map[wire.PGID]bool
}

// balancedPG is a PG that may be moved.
type balancedPG struct {
	pg   wire.PGID
	raw  []int32 // without upmaps
	osds []int32 // with them
	rule *balancedRule
}

// balancedRule is what a pool's rule demands of its result.
type balancedRule struct {
	// domains are each OSD's buckets of the types that the rule chooses, in
	// the order of its steps; the last is the one that replicas may not
	// share.
	domains map[int32][]int32
}

// addPool takes a pool's PGs in and adds the OSDs' shares of them.
func (b *balancer) addPool(id int64) {
	p := b.m.Pools[id]
	if p == nil {
		return
	}
	n := b.m.Crush.FindRule(p.CrushRule, p.Type, int(p.Size))
	rule, weights := b.rule(b.m.Crush.Rule(n))
	if rule == nil {
		return
	}
	var sum float64
	for _, w := range weights {
		sum += w
	}
	if sum == 0 {
		return
	}
	for osd, w := range weights {
		b.target[osd] += w / sum * float64(p.PGNum) * float64(p.Size)
	}
	for seed := range p.PGNum {
		pg := wire.PGID{Pool: id, Seed: seed}
		raw := b.m.RawMap(pg)
		osds := b.m.upmap(pg, slices.Clone(raw))
		for _, o := range osds {
			if o != None && o >= 0 && int(o) < len(b.count) {
				b.count[o]++
			}
		}
		if _, whole := b.m.Upmap[pg]; !whole {
			b.items[pg] = b.m.UpmapItems[pg]
			b.pgs = append(b.pgs, &balancedPG{pg: pg, raw: raw, osds: osds, rule: rule})
		}
	}
}

// rule reads a rule of one take; nil for another. weights are those of the
// OSDs below it that take data.
func (b *balancer) rule(r *crush.Rule) (*balancedRule, map[int32]float64) {
	if r == nil {
		return nil, nil
	}
	var root *crush.Bucket
	var types []int32
	takes := 0
	for _, s := range r.Steps {
		switch s.Op {
		case crush.StepTake:
			takes++
			root = b.m.Crush.Bucket(s.Arg1)
		case crush.StepChooseFirstN, crush.StepChooseIndep, crush.StepChooseLeafFirstN, crush.StepChooseLeafIndep:
			types = append(types, s.Arg2)
		}
	}
	if takes != 1 || root == nil || len(types) == 0 {
		return nil, nil
	}
	rule := &balancedRule{domains: map[int32][]int32{}}
	weights := map[int32]float64{}
	above := make([]int32, len(types))
	// A bucket may hang in several places, and so may what is below it: the
	// walk of a hostile map could take for ever.
	looks := crush.MaxWork
	var walk func(bucket *crush.Bucket)
	walk = func(bucket *crush.Bucket) {
		for i, item := range bucket.Items {
			if looks--; looks < 0 {
				return
			}
			if below := b.m.Crush.Bucket(item); below != nil {
				saved := slices.Clone(above)
				for k, t := range types {
					if int32(below.Type) == t {
						above[k] = item
					}
				}
				walk(below)
				above = saved
				continue
			}
			domains := slices.Clone(above)
			for k, t := range types {
				if t == 0 {
					domains[k] = item
				}
			}
			if b.m.IsIn(item) {
				rule.domains[item] = domains
				w := float64(bucket.ItemWeightAt(i)) * float64(b.m.OSDs[item].Weight)
				if w > 0 {
					weights[item] = w
				}
			}
		}
	}
	walk(root)
	if looks < 0 {
		return nil, nil
	}
	return rule, weights
}

func (b *balancer) deviation(osd int32) float64 { return b.count[osd] - b.target[osd] }

// worst is the largest deviation of an OSD that has a share.
func (b *balancer) worst() float64 {
	var w float64
	for i := range b.count {
		if b.target[i] > 0 {
			w = max(w, math.Abs(b.deviation(int32(i))))
		}
	}
	return w
}

// move makes the best single move it finds: from the fullest OSD that has one
// to the emptiest that can take it. It reports whether there was one.
func (b *balancer) move() bool {
	var order []int32
	for i := range b.count {
		if b.target[i] > 0 {
			order = append(order, int32(i))
		}
	}
	slices.SortStableFunc(order, func(x, y int32) int {
		switch dx, dy := b.deviation(x), b.deviation(y); {
		case dx > dy:
			return -1
		case dx < dy:
			return 1
		}
		return 0
	})
	on := map[int32][]*balancedPG{}
	for _, p := range b.pgs {
		for _, o := range p.osds {
			on[o] = append(on[o], p)
		}
	}
	for _, from := range order {
		for i := len(order) - 1; i >= 0; i-- {
			to := order[i]
			// The squares' sum falls by 2(difference-1).
			if b.deviation(from)-b.deviation(to) <= 1 {
				break
			}
			for _, p := range on[from] {
				if b.try(p, from, to) {
					return true
				}
			}
		}
	}
	return false
}

// try moves the PG from one OSD to another if the rule allows it and the
// items say so when they are applied.
func (b *balancer) try(p *balancedPG, from, to int32) bool {
	pos := slices.Index(p.osds, from)
	if pos < 0 || !p.rule.allows(p.osds, pos, to) {
		return false
	}
	want := slices.Clone(p.osds)
	want[pos] = to
	items := replaceItem(b.items[p.pg], from, to)
	if got := b.m.applyItems(slices.Clone(p.raw), items); !slices.Equal(got, want) {
		return false
	}
	b.items[p.pg] = items
	b.touched[p.pg] = true
	p.osds = want
	b.count[from]--
	b.count[to]++
	return true
}

// replaceItem adds from -> to: behind x -> from it becomes x -> to, and
// nothing when x is to.
func replaceItem(items []Pair, from, to int32) []Pair {
	items = slices.Clone(items)
	for i, it := range items {
		if it.To != from {
			continue
		}
		if it.From == to {
			return slices.Delete(items, i, i+1)
		}
		items[i].To = to
		return items
	}
	return append(items, Pair{from, to})
}

// allows reports whether to may take the place of osds[pos].
func (r *balancedRule) allows(osds []int32, pos int, to int32) bool {
	mine, ok := r.domains[to]
	theirs, known := r.domains[osds[pos]]
	if !ok || !known || slices.Contains(osds, to) {
		return false
	}
	last := len(mine) - 1
	if !slices.Equal(mine[:last], theirs[:last]) {
		return false
	}
	for i, o := range osds {
		if i == pos || o == None {
			continue
		}
		if d, ok := r.domains[o]; !ok || d[last] == mine[last] {
			return false
		}
	}
	return true
}

// report fills the plan with what differs from the map.
func (b *balancer) report(plan *BalancePlan) {
	for pg := range b.touched {
		if items := b.items[pg]; len(items) > 0 {
			plan.Set[pg] = items
		} else {
			plan.Remove = append(plan.Remove, pg)
		}
	}
	for pg := range b.m.UpmapItems {
		if p := b.m.Pools[pg.Pool]; p == nil || pg.Seed >= p.PGNum {
			plan.Remove = append(plan.Remove, pg)
		}
	}
	slices.SortFunc(plan.Remove, comparePG)
}
