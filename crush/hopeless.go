package crush

// A choice that cannot succeed is given up before its tries are used up:
// a cluster with fewer hosts than replicas, or a subtree that is out, would
// otherwise burn tens of descents for every mapping. The result is the same,
// because whether an item may ever be accepted does not depend on the
// attempt: the out test is a function of x and the device, collisions one of
// what was chosen before, and a failed attempt leaves nothing behind.

// After hopeAfter failed attempts for one replica (firstn), or hopeAfterRounds
// rounds and their doublings (indep), the mapper looks whether there is hope.
const (
	hopeAfter       = 6
	hopeAfterRounds = 2
)

// looksPerTry bounds the look by what the remaining tries would cost.
const looksPerTry = 256

// search looks for an item that a choice could still accept.
type search struct {
	w           *Work
	x           uint32
	kind        int
	leaf        bool    // an item needs a device that is in below it
	taken       []int32 // collide
	takenLeaves []int32 // devices that collide in the inner choice
	left        int     // items still to be looked at
}

// hopeless reports whether nothing below b could be accepted. False may also
// mean that the look was broken off.
func (s *search) hopeless(b *Bucket, triesLeft int) bool {
	if s.w.stubborn || triesLeft <= 0 {
		return false
	}
	limit := min(triesLeft, MaxWork/looksPerTry) * looksPerTry
	s.left = limit
	found := s.item(b)
	s.w.budget -= limit - max(s.left, 0)
	return !found
}

// item reports whether there is an acceptable item of the wanted kind below
// b.
func (s *search) item(b *Bucket) bool {
	for _, item := range b.Items {
		if s.left--; s.left < 0 {
			return true
		}
		if item >= 0 {
			if s.kind == 0 && s.device(item, s.taken) {
				return true
			}
			continue
		}
		below := s.w.m.Bucket(item)
		switch {
		case below == nil:
		case int(below.Type) != s.kind:
			if s.item(below) {
				return true
			}
		case contains(s.taken, item):
		case !s.leaf || s.leafBelow(below):
			return true
		}
	}
	return false
}

// leafBelow reports whether there is an acceptable device below b.
func (s *search) leafBelow(b *Bucket) bool {
	for _, item := range b.Items {
		if s.left--; s.left < 0 {
			return true
		}
		if item >= 0 {
			if s.device(item, s.takenLeaves) {
				return true
			}
		} else if below := s.w.m.Bucket(item); below != nil && s.leafBelow(below) {
			return true
		}
	}
	return false
}

func (s *search) device(item int32, taken []int32) bool {
	return item < s.w.m.MaxDevices && !s.w.isOut(item, s.x) && !contains(taken, item)
}
