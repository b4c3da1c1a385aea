package crush

import (
	"slices"
	"strings"
)

// classID gives the number of a device class, making it if it is new.
func (m *Map) classID(name string) int32 {
	if id, ok := keyOf(m.ClassNames, name); ok {
		return id
	}
	id := int32(0)
	for m.ClassNames[id] != "" {
		id++
	}
	m.ClassNames[id] = name
	return id
}

// IsShadow reports whether the bucket is one class's copy of another bucket.
func (m *Map) IsShadow(id int32) bool { return strings.Contains(m.Names[id], "~") }

// roots gives the buckets that are in no other bucket and no shadows, lowest
// id first.
func (m *Map) roots() []int32 {
	child := map[int32]bool{}
	for _, b := range m.Buckets {
		if b == nil {
			continue
		}
		for _, i := range b.Items {
			child[i] = true
		}
	}
	var roots []int32
	for slot := len(m.Buckets) - 1; slot >= 0; slot-- {
		id := int32(-1 - slot)
		if m.Buckets[slot] != nil && !child[id] && !m.IsShadow(id) {
			roots = append(roots, id)
		}
	}
	return roots
}

// BuildShadows makes the shadow trees: for each root and each device class a
// copy of the hierarchy with the devices of that class only, which rules take
// ("take default class ssd"). Existing shadow trees are replaced; their
// buckets keep their ids, and rules and choose_args stay valid.
func (m *Map) BuildShadows() error {
	return m.buildShadows(m.dropShadows())
}

// dropDeadClasses forgets the classes that no device has and no rule takes.
func (m *Map) dropDeadClasses() {
	used := map[int32]bool{}
	for item, class := range m.ItemClass {
		if item >= 0 {
			used[class] = true
		}
	}
	for _, r := range m.Rules {
		for i := 0; r != nil && i < len(r.Steps); i++ {
			if s := r.Steps[i]; s.Op == StepTake && m.IsShadow(s.Arg1) {
				used[m.ItemClass[s.Arg1]] = true
			}
		}
	}
	for class := range m.ClassNames {
		if !used[class] {
			delete(m.ClassNames, class)
		}
	}
}

// dropShadows removes all shadow buckets and gives the ids they had.
func (m *Map) dropShadows() map[int32]map[int32]int32 {
	old := m.ClassBucket
	m.ClassBucket = map[int32]map[int32]int32{}
	for slot := range m.Buckets {
		if id := int32(-1 - slot); m.Buckets[slot] != nil && m.IsShadow(id) {
			m.Buckets[slot] = nil
			delete(m.Names, id)
			delete(m.ItemClass, id)
			for _, args := range m.ChooseArgs {
				if slot < len(args) {
					args[slot] = nil
				}
			}
		}
	}
	return old
}

func (m *Map) buildShadows(ids map[int32]map[int32]int32) error {
	taken := map[int32]bool{}
	for _, byClass := range ids {
		for _, id := range byClass {
			taken[id] = true
		}
	}
	for _, root := range m.roots() {
		for _, class := range sortedKeys(m.ClassNames) {
			if _, err := m.cloneForClass(root, class, ids, taken, 0); err != nil {
				return err
			}
		}
	}
	return nil
}

// cloneForClass copies the tree at id, children before parents, and gives the
// copy's id.
func (m *Map) cloneForClass(id, class int32, ids map[int32]map[int32]int32, taken map[int32]bool, depth int) (int32, error) {
	if depth > MaxDepth {
		return 0, badMap("more than %d levels above bucket %d", MaxDepth, id)
	}
	if done, ok := m.ClassBucket[id][class]; ok {
		return done, nil
	}
	from := m.Bucket(id)
	if from == nil {
		return 0, badMap("bucket %d does not exist", id)
	}
	var items []int32
	var weights []uint32
	var kept []int
	for i, item := range from.Items {
		weight := from.ItemWeightAt(i)
		if item < 0 {
			child, err := m.cloneForClass(item, class, ids, taken, depth+1)
			if err != nil {
				return 0, err
			}
			item, weight = child, m.Bucket(child).Weight
		} else if c, ok := m.ItemClass[item]; !ok || c != class {
			continue
		}
		items, weights, kept = append(items, item), append(weights, weight), append(kept, i)
	}
	alg := from.Alg
	if alg == Uniform && slices.ContainsFunc(weights, func(w uint32) bool { return w != weights[0] }) {
		// Copies of equal children need not be equal.
		alg = Straw2
	}
	b, err := NewBucket(alg, from.Type, items, weights, m.Tunables.StrawCalcVersion)
	if err != nil {
		return 0, err
	}
	b.Hash = from.Hash
	want := int32(0)
	if old, ok := ids[id][class]; ok {
		want = old
	}
	if err := m.addBucket(b, want, taken); err != nil {
		return 0, err
	}
	m.ItemClass[b.ID] = class
	m.Names[b.ID] = m.itemName(id) + "~" + m.ClassNames[class]
	if m.ClassBucket[id] == nil {
		m.ClassBucket[id] = map[int32]int32{}
	}
	m.ClassBucket[id][class] = b.ID
	m.cloneArgs(from, b, kept)
	return b.ID, nil
}

// cloneArgs gives a shadow bucket the weight sets of its original, cut to the
// items it kept: devices keep theirs, copies of buckets get the sum of what
// is below them. Replaced ids are not copied.
func (m *Map) cloneArgs(from, to *Bucket, kept []int) {
	for key, args := range m.ChooseArgs {
		slot := int(-1 - from.ID)
		if slot >= len(args) || args[slot] == nil || len(args[slot].WeightSet) == 0 || to.Alg != Straw2 {
			continue
		}
		var sets [][]uint32
		for pos, ws := range args[slot].WeightSet {
			set := make([]uint32, len(kept))
			for i, k := range kept {
				if k >= len(ws) {
					continue
				}
				set[i] = ws[k]
				if child := to.Items[i]; child < 0 {
					set[i] = args.sum(m.Bucket(child), pos)
				}
			}
			sets = append(sets, set)
		}
		for len(args) < len(m.Buckets) {
			args = append(args, nil)
		}
		args[-1-to.ID] = &ChooseArg{WeightSet: sets}
		m.ChooseArgs[key] = args
	}
}

// sum is the weight of a bucket at a position: of its weight set if it has
// one.
func (a ChooseArgs) sum(b *Bucket, pos int) uint32 {
	slot := int(-1 - b.ID)
	if slot >= len(a) || a[slot] == nil || len(a[slot].WeightSet) == 0 {
		return b.Weight
	}
	var s uint32
	for _, w := range a[slot].WeightSet[min(pos, len(a[slot].WeightSet)-1)] {
		s += w
	}
	return s
}

// itemName gives the name of a device or bucket, or the one the original tool
// makes up where there is none.
func (m *Map) itemName(id int32) string {
	if n, ok := m.Names[id]; ok {
		return n
	}
	if id >= 0 {
		return "device" + itoa(int64(id))
	}
	return "bucket" + itoa(int64(-1-id))
}

// HasClass reports whether the map knows a device class of that name.
func (m *Map) HasClass(name string) bool {
	_, ok := keyOf(m.ClassNames, name)
	return ok
}
