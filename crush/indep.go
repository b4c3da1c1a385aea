package crush

// indep is a choice of n distinct items of type kind where each position is
// for itself and one that fails leaves a hole (erasure-coded pools).
type indep struct {
	w                *Work
	x                uint32
	n                int
	kind             int
	tries, leafTries int
	leaf             bool
	fixed            int // positions at the front that are settled already
}

// run fills out[pos:pos+left], and sub likewise when leaf is set. parentR
// shifts all attempts; 0 except in the inner choice.
func (c *indep) run(b *Bucket, out, sub []int32, pos, left, parentR int) {
	end := pos + left
	left -= c.fixed
	for i := pos + c.fixed; i < end; i++ {
		out[i] = undef
		if c.leaf {
			sub[i] = undef
		}
	}
	total := 0
	for ; left > 0 && total < c.tries && c.w.budget >= 0; total++ {
		c.w.budget--
		if total >= hopeAfterRounds && total&(total-1) == 0 && c.hopeless(b, out[pos:end], total) {
			break
		}
		for rep := pos; rep < end; rep++ {
			if out[rep] == undef && c.place(b, rep, total, out, sub, pos, end, parentR) {
				left--
			}
		}
	}
	c.w.count(total)
	for i := pos; i < end; i++ {
		if out[i] == undef {
			out[i] = None
		}
		if c.leaf && sub[i] == undef {
			sub[i] = None
		}
	}
}

// place makes one attempt for position rep and reports whether the position
// is settled: filled, or a hole for good.
func (c *indep) place(b *Bucket, rep, total int, out, sub []int32, pos, end, parentR int) bool {
	w := c.w
	for in := b; w.budget >= 0; {
		r := rep + parentR
		if in.Alg == Uniform && len(in.Items)%c.n == 0 {
			r += (c.n + 1) * total
		} else {
			r += c.n * total
		}
		if len(in.Items) == 0 {
			return false
		}
		item := w.pick(in, c.x, r, pos)
		kind := w.itemType(item)
		if item >= w.m.MaxDevices || kind != c.kind && kind <= 0 {
			out[rep] = None
			if c.leaf {
				sub[rep] = None
			}
			return true
		}
		if kind != c.kind {
			in = w.m.Bucket(item)
			continue
		}
		if contains(out[pos:end], item) {
			return false
		}
		if c.leaf {
			if item >= 0 {
				sub[rep] = item
			} else {
				inner := indep{w: w, x: c.x, n: c.n, tries: c.leafTries}
				inner.run(w.m.Bucket(item), sub, nil, rep, 1, r)
				if sub[rep] == None {
					return false
				}
			}
		}
		if item >= 0 && w.isOut(item, c.x) {
			return false
		}
		out[rep] = item
		return true
	}
	return false
}

// hopeless reports whether the open positions will stay holes whatever is
// tried. It leaves chooseleaf over devices alone: there a device that is out
// stays in sub when the tries end.
func (c *indep) hopeless(b *Bucket, taken []int32, total int) bool {
	if c.leaf && c.kind == 0 {
		return false
	}
	s := search{w: c.w, x: c.x, kind: c.kind, leaf: c.leaf, taken: taken}
	return s.hopeless(b, c.tries-total)
}
