package crush

// A weight set is a second opinion on the weights of a map's items: the
// mapper draws by it, while capacities stay as they are. It is the dial to
// shift load with, item by item, without moving more data than needed. Sets
// have names, their keys: of a pool, or DefaultChooseArgs.

// AddWeightSet adds the set of weights key, with what the items weigh now, for
// so many positions of the result (1: the same weights for all of them). Only
// straw2 buckets have a part in it.
func (m *Map) AddWeightSet(key int64, positions int) error {
	if _, ok := m.ChooseArgs[key]; ok {
		return badMap("weight set %d exists", key)
	}
	if key < DefaultChooseArgs || positions < 1 || positions > maxPositions {
		return badMap("weight set %d of %d positions", key, positions)
	}
	args := make(ChooseArgs, len(m.Buckets))
	for slot, b := range m.Buckets {
		if b == nil || b.Alg != Straw2 || len(b.Items) == 0 {
			continue
		}
		args[slot] = &ChooseArg{}
		for range positions {
			args[slot].WeightSet = append(args[slot].WeightSet, b.weightsOf())
		}
	}
	m.ChooseArgs[key] = args
	return nil
}

// maxPositions bounds the positions of a weight set that an editor makes.
const maxPositions = 256

// SetWeight gives an item, in the set of weights key, a weight for each of the
// set's positions, or one for all of them; the sums above it follow, those
// outside the set stay.
func (m *Map) SetWeight(key int64, item int32, weights ...uint32) error {
	return m.change(func(n *Map) error {
		args, ok := n.ChooseArgs[key]
		if !ok {
			return badMap("no weight set %d", key)
		}
		found := false
		for _, p := range n.parents(item) {
			a := args.at(p.ID)
			if a == nil || len(a.WeightSet) == 0 {
				continue
			}
			if len(weights) != 1 && len(weights) != len(a.WeightSet) {
				return badMap("%d weights for the %d positions of weight set %d", len(weights), len(a.WeightSet), key)
			}
			for pos, set := range a.WeightSet {
				set[indexOf(p.Items, item)] = weights[min(pos, len(weights)-1)]
			}
			found = true
			if err := n.update(p, p.weightsOf()); err != nil {
				return err
			}
		}
		if !found {
			return badMap("%s is in no bucket of weight set %d", n.itemName(item), key)
		}
		return nil
	})
}

// RemoveWeightSet removes a set of weights; pools that had it have the default
// set, or the items' own weights, from then on.
func (m *Map) RemoveWeightSet(key int64) error {
	if _, ok := m.ChooseArgs[key]; !ok {
		return badMap("no weight set %d", key)
	}
	delete(m.ChooseArgs, key)
	return nil
}

// setArgs sets the weight of item i of a bucket, by position, in every set.
func (m *Map) setArgs(b *Bucket, i int, weight func(pos int) uint32) {
	for _, args := range m.ChooseArgs {
		if a := args.at(b.ID); a != nil {
			for pos, set := range a.WeightSet {
				if i < len(set) {
					set[i] = weight(pos)
				}
			}
		}
	}
}

// carryArgs makes the weights of a bucket's changed children, in every set
// that says something of them, the sums of what is in them.
func (m *Map) carryArgs(b *Bucket, changed map[int32]bool) {
	for _, args := range m.ChooseArgs {
		a := args.at(b.ID)
		if a == nil {
			continue
		}
		for i, item := range b.Items {
			if !changed[item] {
				continue
			}
			if c := args.at(item); c == nil || len(c.WeightSet) == 0 {
				continue
			}
			for pos, set := range a.WeightSet {
				if i < len(set) {
					set[i] = args.sum(m.Bucket(item), pos)
				}
			}
		}
	}
}
