package crush

import (
	"cmp"
	"slices"
	"strconv"
)

// Layer is one level of a regular hierarchy.
type Layer struct {
	Name string // of the type; buckets are Name0, Name1, ...
	Alg  Alg
	Size int // items of each bucket; 0: all, in one bucket called Name
}

// BuildLayers makes the map of a regular hierarchy, lowest layer first: devices
// 0 to devices-1 of weight 1.0, as crushtool --build does. Its one rule,
// replicated_rule, takes the first bucket of the last layer and spreads over
// the first layer's.
func BuildLayers(devices int, layers []Layer) (*Map, error) {
	if devices < 1 || devices > maxBuckets || len(layers) < 1 || len(layers) >= MaxDepth {
		return nil, badMap("%d devices in %d layers", devices, len(layers))
	}
	m := New()
	m.Types[0] = "osd"
	m.MaxDevices = int32(devices)
	items, weights := make([]int32, devices), make([]uint32, devices)
	for i := range items {
		items[i], weights[i] = int32(i), 0x10000
		m.Names[int32(i)] = "osd." + strconv.Itoa(i)
	}
	for n, l := range layers {
		m.Types[int32(n+1)] = l.Name
		var err error
		if items, weights, err = m.addLayer(uint16(n+1), l, items, weights); err != nil {
			return nil, err
		}
	}
	m.AddSimpleRule("replicated_rule", items[0], 1, RuleReplicated, true)
	return m, m.Validate()
}

func (m *Map) addLayer(kind uint16, l Layer, items []int32, weights []uint32) (ids []int32, sums []uint32, err error) {
	size := l.Size
	if size <= 0 {
		size = len(items)
	}
	for n := 0; len(items) > 0; n++ {
		k := min(size, len(items))
		own := slices.Clone(weights[:k])
		var sum uint32
		for i, w := range own {
			sum += w
			if l.Alg == Uniform {
				own[i] = weights[0]
			}
		}
		b, err := NewBucket(l.Alg, kind, items[:k], own, m.Tunables.StrawCalcVersion)
		if err != nil {
			return nil, nil, err
		}
		if err := m.addBucket(b, 0, nil); err != nil {
			return nil, nil, err
		}
		name := l.Name
		if l.Size > 0 {
			name += strconv.Itoa(n)
		}
		if _, taken := m.ItemByName(name); taken {
			return nil, nil, badMap("two buckets would be called %s", name)
		}
		m.Names[b.ID] = name
		ids, sums = append(ids, b.ID), append(sums, sum)
		items, weights = items[k:], weights[k:]
	}
	return ids, sums, nil
}

// Place puts a device where at says, with that weight and name, wherever it
// was before; AddDevice does it for one that is nowhere.
func (m *Map) Place(id int32, name string, weight uint32, at []Location) error {
	n := m.Clone()
	if len(n.parents(id)) == 0 {
		return m.AddDevice(id, name, weight, at)
	}
	if n.Names[id] != name {
		if err := n.checkName(name); err != nil {
			return err
		}
		n.Names[id] = name
	}
	if !n.isAt(id, at) {
		if err := n.Move(id, at); err != nil {
			return err
		}
	}
	if err := n.Reweight(id, weight); err != nil {
		return err
	}
	*m = *n
	return nil
}

// isAt reports whether a device is where a location says: in its lowest
// bucket.
func (m *Map) isAt(id int32, at []Location) bool {
	lowest, place := int32(0), ""
	for _, l := range at {
		if t, ok := m.TypeByName(l.Type); ok && t > 0 && (lowest == 0 || t < lowest) {
			lowest, place = t, l.Name
		}
	}
	bucket, ok := m.ItemByName(place)
	b := m.Bucket(bucket)
	return ok && b != nil && int32(b.Type) == lowest && slices.Contains(b.Items, id)
}

// ReweightAll computes the weight of every bucket from the devices up: what
// repairs a map whose sums were edited by hand.
func (m *Map) ReweightAll() error {
	return m.change(func(n *Map) error {
		height, err := n.heights()
		if err != nil {
			return err
		}
		var slots []int
		for slot, b := range n.Buckets {
			if b != nil && !n.IsShadow(b.ID) {
				slots = append(slots, slot)
			}
		}
		slices.SortStableFunc(slots, func(a, b int) int { return cmp.Compare(height[a], height[b]) })
		all := map[int32]bool{}
		for _, slot := range slots {
			b := n.Buckets[slot]
			w := b.weightsOf()
			for i, item := range b.Items {
				if below := n.Bucket(item); below != nil {
					w[i] = below.Weight
				}
			}
			if err := n.weigh(b, w); err != nil {
				return err
			}
			n.carryArgs(b, all)
			all[b.ID] = true
		}
		return nil
	})
}

// RemoveRule removes a rule; the numbers of others stay.
func (m *Map) RemoveRule(n int) error {
	if m.Rule(n) == nil {
		return badMap("no rule %d", n)
	}
	m.Rules[n] = nil
	delete(m.RuleNames, int32(n))
	return nil
}
