package crush

// MaxWork bounds the items looked at in one mapping. Real maps need some
// hundreds, a large cluster that is all out some hundred thousand; the bound
// is there for maps and rules made to burn time.
const MaxWork = 1 << 24

// Work is the scratch memory of a mapping. The zero Work is ready. It belongs
// to one goroutine at a time; keep it and the mappings need no allocation.
type Work struct {
	m       *Map
	args    ChooseArgs
	weights []uint32
	ln      *lnTable
	budget  int

	work, out, leaf, result []int32
	perm                    []uint32
	hashes                  [blockSize]uint32

	// forced are the devices that the current take must give; see
	// DoRuleForced.
	forced []int32
	err    error

	stubborn bool // use up all tries: for comparison in tests

	// profile counts choices by the tries they took; nil: not counted.
	profile []uint64
}

// tries are the settings of a choose step, from the tunables and from set
// steps.
type tries struct {
	total         int
	leaf          int // of the inner choice of chooseleaf
	local         int
	localFallback int
	varyR         int
	stable        bool
}

// DoRule maps x by rule number rule to numRep devices. weights are the
// reweights of the devices, 16.16: 0 is out, 0x10000 and above in, between
// them in for that part of all x; devices beyond the slice are out. args
// replaces bucket weights; nil for none.
//
// The result has at most numRep entries: fewer when a firstn rule finds no
// more, None in the places where an indep rule finds none. It is empty for a
// rule that does not exist. It lies in w's memory, until w's next use.
//
// A mapping that would take more than MaxWork looks at items gives an empty
// result.
func (m *Map) DoRule(rule int, x uint32, numRep int, weights []uint32, args ChooseArgs, w *Work) []int32 {
	return m.doRule(rule, x, numRep, weights, args, nil, w)
}

func (m *Map) doRule(rule int, x uint32, numRep int, weights []uint32, args ChooseArgs, force [][]int32, w *Work) []int32 {
	r := m.Rule(rule)
	if r == nil || numRep <= 0 {
		return nil
	}
	w.start(m, weights, args, numRep)
	t := tries{
		// The tunable counts the tries after the first.
		total:         clampInt(m.Tunables.ChooseTotalTries) + 1,
		local:         clampInt(m.Tunables.ChooseLocalTries),
		localFallback: clampInt(m.Tunables.ChooseLocalFallbackTries),
		varyR:         int(m.Tunables.ChooseLeafVaryR),
		stable:        m.Tunables.ChooseLeafStable != 0,
	}
	for _, s := range r.Steps {
		switch s.Op {
		case StepTake:
			if m.canTake(s.Arg1) {
				w.work = append(w.work[:0], s.Arg1)
			}
			if len(force) > 0 {
				w.forced, force = force[0], force[1:]
			}
		case StepChooseFirstN, StepChooseIndep, StepChooseLeafFirstN, StepChooseLeafIndep:
			w.choose(s, x, numRep, t)
		case StepEmit:
			n := min(len(w.work), numRep-len(w.result))
			w.result = append(w.result, w.work[:n]...)
			w.work = w.work[:0]
		default:
			t.set(s)
		}
		if w.budget < 0 {
			return nil
		}
	}
	return w.result
}

func (w *Work) start(m *Map, weights []uint32, args ChooseArgs, numRep int) {
	w.m, w.weights, w.args = m, weights, args
	w.ln = lnTables()
	w.budget = MaxWork
	w.forced, w.err = nil, nil
	if cap(w.result) < numRep {
		w.work = make([]int32, 0, numRep)
		w.result = make([]int32, 0, numRep)
		w.out = make([]int32, numRep)
		w.leaf = make([]int32, numRep)
	}
	w.work, w.result = w.work[:0], w.result[:0]
}

// count notes how many tries a choice took.
func (w *Work) count(tries int) {
	if tries < len(w.profile) {
		w.profile[tries]++
	}
}

func clampInt(v uint32) int { return int(min(v, 1<<30)) }

// set applies a set step; other steps do nothing.
func (t *tries) set(s Step) {
	v := int(s.Arg1)
	switch {
	case s.Op == StepSetChooseTries && v > 0:
		t.total = v
	case s.Op == StepSetChooseLeafTries && v > 0:
		t.leaf = v
	case v < 0:
	case s.Op == StepSetChooseLocalTries:
		t.local = v
	case s.Op == StepSetChooseLocalFallbackTry:
		t.localFallback = v
	case s.Op == StepSetChooseLeafVaryR:
		t.varyR = v
	case s.Op == StepSetChooseLeafStable:
		t.stable = v != 0
	}
}

func (m *Map) canTake(item int32) bool {
	if item >= 0 {
		return item < m.MaxDevices
	}
	return m.Bucket(item) != nil
}

// choose runs one choose or chooseleaf step from every item of the working
// set and makes what it finds the new working set.
func (w *Work) choose(s Step, x uint32, numRep int, t tries) {
	leaf := s.Op == StepChooseLeafFirstN || s.Op == StepChooseLeafIndep
	firstn := s.Op == StepChooseFirstN || s.Op == StepChooseLeafFirstN
	if len(w.work) == 0 {
		return
	}
	n := int(s.Arg1)
	if n <= 0 {
		n += numRep
	}
	if n <= 0 {
		w.work = w.work[:0]
		return
	}
	leafTries := t.leaf
	if leafTries == 0 {
		switch {
		case !firstn, w.m.Tunables.ChooseLeafDescendOnce != 0:
			leafTries = 1
		default:
			leafTries = t.total
		}
	}
	size := 0
	for _, id := range w.work {
		b := w.m.Bucket(id)
		if b == nil {
			continue
		}
		out, sub := w.out[size:numRep], w.leaf[size:numRep]
		if firstn {
			c := firstN{w: w, x: x, n: n, kind: int(s.Arg2), leafTries: leafTries, tries: t, leaf: leaf}
			room := len(out)
			fixed := 0
			if len(w.forced) > 0 {
				fixed = w.fix(b, out, sub, min(n, room), int(s.Arg2), leaf, x)
				room = min(n, room) - fixed
			}
			size += c.run(b, out, sub, fixed, room, 0)
		} else {
			c := indep{w: w, x: x, n: n, kind: int(s.Arg2), tries: t.total, leafTries: leafTries, leaf: leaf}
			left := min(n, len(out))
			if len(w.forced) > 0 {
				c.fixed = w.fix(b, out, sub, left, c.kind, leaf, x)
			}
			c.run(b, out, sub, 0, left, 0)
			size += left
		}
	}
	from := w.out
	if leaf {
		from = w.leaf
	}
	w.work = append(w.work[:0], from[:size]...)
}

// itemType is the type of a device, 0, or of a bucket; -1 for a bucket that
// does not exist.
func (w *Work) itemType(item int32) int {
	if item >= 0 {
		return 0
	}
	if b := w.m.Bucket(item); b != nil {
		return int(b.Type)
	}
	return -1
}

// isOut reports whether the device's reweight excludes it for x.
func (w *Work) isOut(item int32, x uint32) bool {
	if int(item) >= len(w.weights) {
		return true
	}
	wt := w.weights[item]
	switch {
	case wt >= 0x10000:
		return false
	case wt == 0:
		return true
	}
	return Hash2(x, uint32(item))&0xffff >= wt
}

func contains(items []int32, item int32) bool {
	for _, i := range items {
		if i == item {
			return true
		}
	}
	return false
}
