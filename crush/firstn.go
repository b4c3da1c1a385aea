package crush

// firstN is a choice of n distinct items of type kind where the order counts
// and a failed one is left out (replicated pools).
type firstN struct {
	w         *Work
	x         uint32
	n         int
	kind      int
	leafTries int
	tries     tries
	leaf      bool // also choose one device below each item, into sub
	done      bool // nothing is left that could be accepted
}

// verdict is what becomes of one candidate.
type verdict int

const (
	accept verdict = iota
	reject
	collide
	skip // this replica cannot be placed at all
)

// run fills out from position pos on and gives the new end. room is how many
// may be added. parentR shifts all attempts; 0 except in the inner choice.
func (c *firstN) run(b *Bucket, out, sub []int32, pos, room, parentR int) int {
	rep := pos
	if c.tries.stable {
		rep = 0
	}
	for ; rep < c.n && room > 0 && !c.done && c.w.budget >= 0; rep++ {
		if item, ok := c.place(b, rep, out, sub, pos, room, parentR); ok {
			out[pos] = item
			pos++
			room--
		}
	}
	return pos
}

// place finds an item for one replica: descents from b, and retries within a
// bucket, until one is accepted or the tries are used up.
func (c *firstN) place(b *Bucket, rep int, out, sub []int32, pos, room, parentR int) (int32, bool) {
	w, t := c.w, &c.tries
	for total := 0; ; {
		in, local := b, 0
		for w.budget >= 0 {
			item, v := None, reject
			r := rep + parentR + total
			if size := len(in.Items); size > 0 {
				if t.localFallback > 0 && local >= size/2 && local > t.localFallback {
					w.budget -= size
					item = w.pickPerm(in, c.x, r)
				} else {
					item = w.pick(in, c.x, r, pos)
				}
				next, ok := c.down(item)
				if next != nil {
					in = next
					continue
				}
				if !ok {
					return 0, false
				}
				v = c.judge(item, r, out, sub, pos, room)
			}
			if v == accept {
				w.count(total)
				return item, true
			}
			total++
			local++
			w.budget--
			if total == hopeAfter {
				s := c.search(out[:pos], sub)
				if c.done = s.hopeless(b, t.total-total); c.done {
					return 0, false
				}
			}
			again := v == collide && local <= t.local ||
				t.localFallback > 0 && local <= len(in.Items)+t.localFallback
			if again {
				continue
			}
			if total < t.total {
				break
			}
			return 0, false
		}
		if w.budget < 0 {
			return 0, false
		}
	}
}

// down gives the bucket to go on in when item is one of another type than
// wanted. Without one, ok says whether item itself is a candidate.
func (c *firstN) down(item int32) (next *Bucket, ok bool) {
	if item >= c.w.m.MaxDevices {
		return nil, false
	}
	if item >= 0 {
		return nil, c.kind == 0
	}
	b := c.w.m.Bucket(item)
	if b == nil {
		return nil, false
	}
	if int(b.Type) == c.kind {
		return nil, true
	}
	return b, true
}

// judge decides on an item of the wanted type; with leaf it also looks for
// the device below it.
func (c *firstN) judge(item int32, r int, out, sub []int32, pos, room int) verdict {
	w := c.w
	if contains(out[:pos], item) {
		return collide
	}
	if c.leaf {
		if item >= 0 {
			sub[pos] = item
		} else if !c.placeLeaf(item, r, sub, pos, room) {
			return reject
		}
	}
	if item >= 0 && w.isOut(item, c.x) {
		return reject
	}
	return accept
}

func (c *firstN) placeLeaf(item int32, r int, sub []int32, pos, room int) bool {
	inner := firstN{w: c.w, x: c.x, n: pos + 1, tries: c.tries}
	inner.tries.total = c.leafTries
	if c.tries.stable {
		inner.n = 1
	}
	parentR := 0
	if c.tries.varyR > 0 {
		parentR = r >> (c.tries.varyR - 1)
	}
	return inner.run(c.w.m.Bucket(item), sub, nil, pos, room, parentR) > pos
}

// search describes what could still be accepted.
func (c *firstN) search(taken, sub []int32) search {
	s := search{w: c.w, x: c.x, kind: c.kind, leaf: c.leaf, taken: taken}
	if c.leaf {
		s.takenLeaves = sub[:len(taken)]
	}
	return s
}
