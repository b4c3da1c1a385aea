package crush

// MaxDepth is the deepest hierarchy a map may have, in buckets from a root to
// a device. Real ones have four to six levels.
const MaxDepth = 32

// Validate checks what the mapper relies on: bucket ids and slots, weights
// for every item, no dangling bucket, no cycle, no more than MaxDepth levels.
// DecodeMap calls it; whoever edits a map by hand should.
func (m *Map) Validate() error {
	if m.MaxDevices < 0 {
		return badMap("max_devices %d", m.MaxDevices)
	}
	for slot, b := range m.Buckets {
		if b == nil {
			continue
		}
		if int64(b.ID) != -1-int64(slot) {
			return badMap("bucket %d in slot %d", b.ID, slot)
		}
		if err := b.validate(); err != nil {
			return err
		}
		for _, i := range b.Items {
			if i < 0 && m.Bucket(i) == nil {
				return badMap("bucket %d holds %d, which does not exist", b.ID, i)
			}
			if i >= m.MaxDevices {
				return badMap("bucket %d holds device %d, max_devices is %d", b.ID, i, m.MaxDevices)
			}
		}
	}
	_, err := m.heights()
	return err
}

func (b *Bucket) validate() error {
	n := len(b.Items)
	ok := true
	switch b.Alg {
	case Uniform:
	case List:
		ok = len(b.Weights) == n && len(b.SumWeights) == n
	case Tree:
		nodes := len(b.NodeWeights)
		ok = nodes&(nodes-1) == 0 && (n == 0 || nodes >= 2*n)
	case Straw:
		ok = len(b.Weights) == n && len(b.Straws) == n
	case Straw2:
		ok = len(b.Weights) == n
	default:
		return badMap("bucket %d of unknown kind %d", b.ID, b.Alg)
	}
	if !ok {
		return badMap("%s bucket %d of %d items has weights for another number", b.Alg, b.ID, n)
	}
	if b.Type == 0 {
		return badMap("bucket %d has the type of devices, 0", b.ID)
	}
	return nil
}

// heights finds the number of levels from every bucket, by slot, down to its
// devices, each once; a bucket met again while its own height is being found
// closes a cycle.
func (m *Map) heights() ([]int, error) {
	const open = -1
	height := make([]int, len(m.Buckets))
	var visit func(slot, above int) error
	visit = func(slot, above int) error {
		if above >= MaxDepth {
			return badMap("more than %d levels above bucket %d", MaxDepth, -1-slot)
		}
		height[slot] = open
		h := 1
		for _, i := range m.Buckets[slot].Items {
			if i >= 0 {
				continue
			}
			below := int(-1 - i)
			switch height[below] {
			case open:
				return badMap("bucket %d is below itself", i)
			case 0:
				if err := visit(below, above+1); err != nil {
					return err
				}
			}
			h = max(h, height[below]+1)
		}
		if h > MaxDepth {
			return badMap("more than %d levels below bucket %d", MaxDepth, -1-slot)
		}
		height[slot] = h
		return nil
	}
	for slot, b := range m.Buckets {
		if b != nil && height[slot] == 0 {
			if err := visit(slot, 0); err != nil {
				return nil, err
			}
		}
	}
	return height, nil
}
