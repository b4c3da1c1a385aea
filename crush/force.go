package crush

import "slices"

// DoRuleForced maps as DoRule does, with devices that must be part of the
// result: force[i] lists those that the rule's i-th take has to give, and
// they come first among what that take emits. The other places are filled by
// the rule, so the failure domains hold for all. With no devices named it is
// DoRule.
//
// It is an error, which says why, if a device is out, is not below the bucket
// taken, shares a failure domain with another one named, or finds no place.
// (The early CRUSH had this for one device, as "forcefeed".)
func (m *Map) DoRuleForced(rule int, x uint32, numRep int, weights []uint32, args ChooseArgs, force [][]int32, w *Work) ([]int32, error) {
	w.err = nil
	out := m.doRule(rule, x, numRep, weights, args, force, w)
	if w.err != nil {
		return nil, w.err
	}
	for i, list := range force {
		for _, d := range list {
			if !slices.Contains(out, d) {
				return nil, badMap("take %d of rule %d does not lead to %s, or has no room for it", i, rule, m.itemName(d))
			}
		}
	}
	return out, nil
}

// fix puts the forced devices below b, or what of type kind stands above
// them, at the front of out and gives their number. room is how many there
// may be.
func (w *Work) fix(b *Bucket, out, sub []int32, room, kind int, leaf bool, x uint32) int {
	n := 0
	for _, d := range w.forced {
		item, ok := w.above(b, kind, d)
		if !ok {
			continue
		}
		last := leaf || kind == 0
		switch {
		case w.isOut(d, x):
			w.failed("%s is out", w.m.itemName(d))
			return n
		case slices.Contains(out[:n], item):
			if last {
				w.failed("%s shares %s with another device that is to be used", w.m.itemName(d), w.m.itemName(item))
				return n
			}
			continue
		case n == room:
			w.failed("no room for %s among %d", w.m.itemName(d), room)
			return n
		}
		out[n], sub[n] = item, d
		n++
	}
	return n
}

func (w *Work) failed(format string, args ...any) {
	if w.err == nil {
		w.err = badMap(format, args...)
	}
}

// above gives the item of type kind on the way from b down to device; the
// device itself for kind 0. It counts as work, for buckets may hang in many
// places.
func (w *Work) above(b *Bucket, kind int, device int32) (int32, bool) {
	for _, item := range b.Items {
		if w.budget--; w.budget < 0 {
			return 0, false
		}
		if item >= 0 {
			if item == device && kind == 0 {
				return item, true
			}
			continue
		}
		below := w.m.Bucket(item)
		if below == nil {
			continue
		}
		if int(below.Type) == kind {
			if _, ok := w.above(below, 0, device); ok {
				return item, true
			}
		} else if found, ok := w.above(below, kind, device); ok {
			return found, true
		}
	}
	return 0, false
}
