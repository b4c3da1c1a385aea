package crush

import (
	"cmp"
	"slices"
)

// Location names one of the buckets an item is to be below: {"host", "a"}.
type Location struct{ Type, Name string }

// change runs f on a copy and takes the copy over when f succeeded and the
// result is valid: an edit that fails leaves the map as it was. Shadow trees
// are made anew afterwards; while f runs the old ones hold their ids.
func (m *Map) change(f func(n *Map) error) error {
	n := m.Clone()
	if err := f(n); err != nil {
		return err
	}
	n.dropDeadClasses()
	if shadows := n.dropShadows(); len(shadows) > 0 {
		if err := n.buildShadows(shadows); err != nil {
			return err
		}
	}
	for i, r := range n.Rules {
		if r == nil {
			continue
		}
		for _, s := range r.Steps {
			if s.Op == StepTake && s.Arg1 < 0 && n.Bucket(s.Arg1) == nil && m.Bucket(s.Arg1) != nil {
				return badMap("rule %d takes %s", i, m.itemName(s.Arg1))
			}
		}
	}
	if err := n.Validate(); err != nil {
		return err
	}
	*m = *n
	return nil
}

// AddBucket adds an empty bucket that is in no other, and gives its id. It is
// of the best kind that the tunables allow, straw2 today.
func (m *Map) AddBucket(name, typ string) (id int32, err error) {
	err = m.change(func(n *Map) error {
		id, err = n.newBucket(name, typ)
		return err
	})
	return id, err
}

func (m *Map) newBucket(name, typ string) (int32, error) {
	if err := m.checkName(name); err != nil {
		return 0, err
	}
	t, ok := m.TypeByName(typ)
	if !ok || t <= 0 {
		return 0, badMap("no bucket type %q", typ)
	}
	b := &Bucket{Type: uint16(t), Alg: m.Tunables.newAlg()}
	if err := m.addBucket(b, 0, nil); err != nil {
		return 0, err
	}
	m.Names[b.ID] = name
	return b.ID, nil
}

// newAlg is the kind of a bucket that an editor makes.
func (t Tunables) newAlg() Alg {
	for _, a := range [...]Alg{Straw2, Straw, Tree, List, Uniform} {
		if t.AllowedBucketAlgs&(1<<a) != 0 {
			return a
		}
	}
	return Straw2
}

// checkName refuses names that are taken or that a text could not hold.
func (m *Map) checkName(name string) error {
	for i := range len(name) {
		if !isWord(name[i]) || name[i] == '~' {
			return badMap("name %q", name)
		}
	}
	if _, ok := m.ItemByName(name); ok || name == "" {
		return badMap("name %q is empty or taken", name)
	}
	return nil
}

// AddDevice adds a device of 16.16 weight under its name below a location.
// The lowest bucket of the location receives it; buckets of the location that
// do not exist are made and hung one below the other.
func (m *Map) AddDevice(id int32, name string, weight uint32, at []Location) error {
	return m.change(func(n *Map) error {
		if id < 0 || id >= undef || weight > MaxDeviceWeight {
			return badMap("device %d of weight %d", id, weight)
		}
		if len(n.parents(id)) > 0 {
			return badMap("device %d is in the map", id)
		}
		if n.Names[id] != name {
			if err := n.checkName(name); err != nil {
				return err
			}
		}
		n.Names[id] = name
		n.MaxDevices = max(n.MaxDevices, id+1)
		return n.hang(id, weight, 0, at)
	})
}

// Move takes a device or bucket, with everything below it, from where it is
// to a location as AddDevice takes it.
func (m *Map) Move(id int32, at []Location) error {
	return m.change(func(n *Map) error {
		weight, level := uint32(0), int32(0)
		if id < 0 {
			b := n.Bucket(id)
			if b == nil {
				return badMap("no bucket %d", id)
			}
			weight, level = b.Weight, int32(b.Type)
		}
		for _, p := range n.parents(id) {
			if id >= 0 {
				weight = p.ItemWeightAt(indexOf(p.Items, id))
			}
			if err := n.unhang(p, id); err != nil {
				return err
			}
		}
		return n.hang(id, weight, level, at)
	})
}

// Remove takes a device or an empty bucket out of the map.
func (m *Map) Remove(id int32) error {
	return m.change(func(n *Map) error {
		b := n.Bucket(id)
		if _, named := n.Names[id]; b == nil && (id < 0 || !named) {
			return badMap("no item %d", id)
		}
		if b != nil && len(b.Items) > 0 {
			return badMap("bucket %s is not empty", n.itemName(id))
		}
		for _, p := range n.parents(id) {
			if err := n.unhang(p, id); err != nil {
				return err
			}
		}
		delete(n.Names, id)
		delete(n.ItemClass, id)
		if b != nil {
			n.Buckets[-1-id] = nil
			for _, args := range n.ChooseArgs {
				if int(-1-id) < len(args) {
					args[-1-id] = nil
				}
			}
		}
		return nil
	})
}

// Reweight sets the 16.16 weight of a device wherever it is, in weight sets
// too, and the weights of all buckets above it.
func (m *Map) Reweight(id int32, weight uint32) error {
	return m.change(func(n *Map) error {
		parents := n.parents(id)
		if id < 0 || len(parents) == 0 || weight > MaxDeviceWeight {
			return badMap("device %d to weight %d", id, weight)
		}
		for _, p := range parents {
			w := p.weightsOf()
			i := indexOf(p.Items, id)
			w[i] = weight
			n.setArgs(p, i, func(int) uint32 { return weight })
			if err := n.update(p, w); err != nil {
				return err
			}
		}
		return nil
	})
}

// SetClass puts a device into a class; "" takes it out of its class. Rules
// for a new class need BuildShadows first, which AddClassRule does.
func (m *Map) SetClass(id int32, class string) error {
	return m.change(func(n *Map) error {
		if _, ok := n.Names[id]; id < 0 || !ok {
			return badMap("no device %d", id)
		}
		if class == "" {
			delete(n.ItemClass, id)
			return nil
		}
		n.ItemClass[id] = n.classID(class)
		return nil
	})
}

// AddClassRule adds a rule as AddSimpleRule that uses only devices of a
// class, and gives its number.
func (m *Map) AddClassRule(name string, root, kind int32, class string, pool uint8, firstn bool) (rule int, err error) {
	c, ok := keyOf(m.ClassNames, class)
	if !ok {
		return 0, badMap("no device class %q", class)
	}
	n := m.Clone()
	if err := n.BuildShadows(); err != nil {
		return 0, err
	}
	shadow, ok := n.ClassBucket[root][c]
	if !ok {
		return 0, badMap("no tree of class %s below %s", class, n.itemName(root))
	}
	rule = n.AddSimpleRule(name, shadow, kind, pool, firstn)
	if err := n.Validate(); err != nil {
		return 0, err
	}
	*m = *n
	return rule, nil
}

// parents gives the buckets that hold an item, shadows excepted.
func (m *Map) parents(id int32) []*Bucket {
	var p []*Bucket
	for _, b := range m.Buckets {
		if b != nil && !m.IsShadow(b.ID) && slices.Contains(b.Items, id) {
			p = append(p, b)
		}
	}
	return p
}

// hang adds an item of type level to the lowest bucket of a location above
// it, making the buckets that do not exist.
func (m *Map) hang(id int32, weight uint32, level int32, at []Location) error {
	type place struct {
		Location
		level int32
	}
	var places []place
	for _, l := range at {
		t, ok := m.TypeByName(l.Type)
		if !ok || t <= 0 {
			return badMap("no bucket type %q", l.Type)
		}
		if t > level {
			places = append(places, place{l, t})
		}
	}
	slices.SortFunc(places, func(a, b place) int { return cmp.Compare(a.level, b.level) })
	for i, p := range places {
		if i > 0 && p.level == places[i-1].level {
			return badMap("two places of type %s", p.Type)
		}
		parent, exists := m.ItemByName(p.Name)
		if !exists {
			made, err := m.newBucket(p.Name, p.Type)
			if err != nil {
				return err
			}
			parent = made
		}
		b := m.Bucket(parent)
		if b == nil || int32(b.Type) != p.level {
			return badMap("%s is no %s", p.Name, p.Type)
		}
		if err := m.append(b, id, weight); err != nil {
			return err
		}
		if exists {
			return nil
		}
		id, weight = b.ID, b.Weight
	}
	if len(places) == 0 {
		return badMap("no place for %s", m.itemName(id))
	}
	return nil
}

// append adds an item at a bucket's end, in weight sets too.
func (m *Map) append(b *Bucket, id int32, weight uint32) error {
	weights := append(b.weightsOf(), weight)
	b.Items = append(b.Items, id)
	for _, args := range m.ChooseArgs {
		if a := args.at(b.ID); a != nil {
			for i := range a.WeightSet {
				a.WeightSet[i] = append(a.WeightSet[i], weight)
			}
			if len(a.IDs) > 0 {
				a.IDs = append(a.IDs, id)
			}
		}
	}
	return m.update(b, weights)
}

// unhang takes an item out of a bucket, and of its weight sets.
func (m *Map) unhang(b *Bucket, id int32) error {
	i := indexOf(b.Items, id)
	weights := slices.Delete(b.weightsOf(), i, i+1)
	b.Items = slices.Delete(b.Items, i, i+1)
	for _, args := range m.ChooseArgs {
		if a := args.at(b.ID); a != nil {
			for p, ws := range a.WeightSet {
				if i < len(ws) {
					a.WeightSet[p] = slices.Delete(ws, i, i+1)
				}
			}
			if i < len(a.IDs) {
				a.IDs = slices.Delete(a.IDs, i, i+1)
			}
		}
	}
	return m.update(b, weights)
}

func (a ChooseArgs) at(id int32) *ChooseArg {
	if slot := int(-1 - id); slot < len(a) {
		return a[slot]
	}
	return nil
}

// update gives a bucket new weights and carries the sums up to the roots,
// lowest buckets first, so that each is computed once.
func (m *Map) update(b *Bucket, weights []uint32) error {
	if err := m.weigh(b, weights); err != nil {
		return err
	}
	height, err := m.heights()
	if err != nil {
		return err
	}
	order := make([]int, 0, len(m.Buckets))
	for slot, above := range m.Buckets {
		if above != nil && height[slot] > height[-1-b.ID] && !m.IsShadow(above.ID) {
			order = append(order, slot)
		}
	}
	slices.SortStableFunc(order, func(x, y int) int { return cmp.Compare(height[x], height[y]) })
	changed := map[int32]bool{b.ID: true}
	for _, slot := range order {
		p := m.Buckets[slot]
		if !slices.ContainsFunc(p.Items, func(i int32) bool { return changed[i] }) {
			continue
		}
		w := p.weightsOf()
		for i, item := range p.Items {
			if changed[item] {
				w[i] = m.Bucket(item).Weight
			}
		}
		if err := m.weigh(p, w); err != nil {
			return err
		}
		m.carryArgs(p, changed)
		changed[p.ID] = true
	}
	return nil
}

// weigh gives one bucket new weights.
func (m *Map) weigh(b *Bucket, weights []uint32) error {
	if err := b.setWeights(weights, m.Tunables.StrawCalcVersion); err != nil {
		return err
	}
	if b.Weight > MaxBucketWeight {
		return badMap("bucket %s would weigh more than %d.0", m.itemName(b.ID), MaxBucketWeight>>16)
	}
	return nil
}
