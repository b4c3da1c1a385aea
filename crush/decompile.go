package crush

import (
	"fmt"
	"strconv"
)

func itoa(v int64) string { return strconv.FormatInt(v, 10) }

// Text gives the map in the text form of crushtool -d, byte for byte. Weights
// have three decimals there: compiling the text again gives the same map only
// if its weights came from such numbers.
func (m *Map) Text() []byte {
	t := &textWriter{m: m, done: map[int32]bool{}}
	t.f("# begin crush map\n")
	t.tunables()
	t.f("\n# devices\n")
	for i := range m.MaxDevices {
		name, ok := m.Names[i]
		if !ok {
			continue
		}
		t.f("device %d %s", i, name)
		if c, ok := m.ItemClass[i]; ok {
			t.f(" class %s", m.ClassNames[c])
		}
		t.f("\n")
	}
	t.f("\n# types\n")
	if _, ok := m.Types[0]; !ok {
		t.f("type 0 osd\n")
	}
	for _, i := range sortedKeys(m.Types) {
		t.f("type %d %s\n", i, m.Types[i])
	}
	t.f("\n# buckets\n")
	for slot := range m.Buckets {
		t.bucket(int32(-1-slot), 0)
	}
	t.f("\n# rules\n")
	for i, r := range m.Rules {
		if r != nil {
			t.rule(i, r)
		}
	}
	if len(m.ChooseArgs) > 0 {
		t.f("\n# choose_args\n")
		for _, k := range t.argKeys() {
			t.chooseArgs(k, m.ChooseArgs[k])
		}
	}
	t.f("\n# end crush map\n")
	return t.b
}

type textWriter struct {
	m    *Map
	b    []byte
	done map[int32]bool
}

func (t *textWriter) f(format string, args ...any) { t.b = fmt.Appendf(t.b, format, args...) }

// tunables writes those that differ from the oldest release's.
func (t *textWriter) tunables() {
	was := TunablesLegacy()
	now := t.m.Tunables
	for _, v := range [...]struct {
		name     string
		was, now uint32
	}{
		{"choose_local_tries", was.ChooseLocalTries, now.ChooseLocalTries},
		{"choose_local_fallback_tries", was.ChooseLocalFallbackTries, now.ChooseLocalFallbackTries},
		{"choose_total_tries", was.ChooseTotalTries, now.ChooseTotalTries},
		{"chooseleaf_descend_once", was.ChooseLeafDescendOnce, now.ChooseLeafDescendOnce},
		{"chooseleaf_vary_r", uint32(was.ChooseLeafVaryR), uint32(now.ChooseLeafVaryR)},
		{"chooseleaf_stable", uint32(was.ChooseLeafStable), uint32(now.ChooseLeafStable)},
		{"straw_calc_version", uint32(was.StrawCalcVersion), uint32(now.StrawCalcVersion)},
		{"allowed_bucket_algs", was.AllowedBucketAlgs, now.AllowedBucketAlgs},
	} {
		if v.was != v.now {
			t.f("tunable %s %d\n", v.name, v.now)
		}
	}
}

// fixed is a 16.16 weight in decimal, as the original prints it: from a
// float32.
func fixed(w uint32) string {
	return strconv.FormatFloat(float64(float32(int32(w))/0x10000), 'f', 3, 64)
}

func (t *textWriter) typeName(n int32) string {
	if s, ok := t.m.Types[n]; ok {
		return s
	}
	if n == 0 {
		return "device"
	}
	return "type" + itoa(int64(n))
}

// bucket writes the buckets below id, then id, each once.
func (t *textWriter) bucket(id int32, depth int) {
	b := t.m.Bucket(id)
	if b == nil || t.done[id] || t.m.IsShadow(id) || depth > MaxDepth {
		return
	}
	t.done[id] = true
	for _, i := range b.Items {
		if i < 0 {
			t.bucket(i, depth+1)
		}
	}
	t.f("%s %s {\n", t.typeName(int32(b.Type)), t.m.itemName(id))
	t.f("\tid %d\t\t# do not change unnecessarily\n", id)
	shadows := t.m.ClassBucket[id]
	for _, c := range sortedKeys(shadows) {
		t.f("\tid %d class %s\t\t# do not change unnecessarily\n", shadows[c], t.m.ClassNames[c])
	}
	t.f("\t# weight %s\n\talg %s", fixed(b.Weight), b.Alg)
	switch b.Alg {
	case Uniform:
		t.f("\t# do not change bucket size (%d) unnecessarily", len(b.Items))
	case List:
		t.f("\t# add new items at the end; do not change order unnecessarily")
	case Tree:
		t.f("\t# do not change pos for existing items unnecessarily")
	}
	hash := "rjenkins1"
	if b.Hash != 0 {
		hash = "unknown"
	}
	t.f("\n\thash %d\t# %s\n", b.Hash, hash)
	for i, item := range b.Items {
		t.f("\titem %s weight %s", t.m.itemName(item), fixed(b.ItemWeightAt(i)))
		if b.Alg == Uniform || b.Alg == Tree {
			t.f(" pos %d", i)
		}
		t.f("\n")
	}
	t.f("}\n")
}

func (t *textWriter) rule(n int, r *Rule) {
	name, ok := t.m.RuleNames[int32(n)]
	if !ok {
		name = "rule" + itoa(int64(n))
	}
	t.f("rule %s {\n\tid %d\n", name, n)
	if int(r.ID) != n {
		t.f("\t# WARNING: ruleset %d != id %d; this will not recompile to the same map\n", r.ID, n)
	}
	switch r.Type {
	case RuleReplicated:
		t.f("\ttype replicated\n")
	case RuleErasure:
		t.f("\ttype erasure\n")
	default:
		t.f("\ttype %d\n", r.Type)
	}
	t.f("\tmin_size %d\n\tmax_size %d\n", r.MinSize, r.MaxSize)
	for _, s := range r.Steps {
		t.step(s)
	}
	t.f("}\n")
}

// setSteps are the steps with one number, by their name in texts.
var setSteps = map[StepOp]string{
	StepSetChooseTries:            "set_choose_tries",
	StepSetChooseLeafTries:        "set_chooseleaf_tries",
	StepSetChooseLocalTries:       "set_choose_local_tries",
	StepSetChooseLocalFallbackTry: "set_choose_local_fallback_tries",
	StepSetChooseLeafVaryR:        "set_chooseleaf_vary_r",
	StepSetChooseLeafStable:       "set_chooseleaf_stable",
}

// chooseSteps are the choosing steps, by their words in texts.
var chooseSteps = map[StepOp]string{
	StepChooseFirstN:     "choose firstn",
	StepChooseIndep:      "choose indep",
	StepChooseLeafFirstN: "chooseleaf firstn",
	StepChooseLeafIndep:  "chooseleaf indep",
}

func (t *textWriter) step(s Step) {
	switch {
	case s.Op == StepNoop:
		t.f("\tstep noop\n")
	case s.Op == StepEmit:
		t.f("\tstep emit\n")
	case s.Op == StepTake:
		item, class := t.m.original(s.Arg1)
		t.f("\tstep take %s", t.m.itemName(item))
		if class != "" {
			t.f(" class %s", class)
		}
		t.f("\n")
	case setSteps[s.Op] != "":
		t.f("\tstep %s %d\n", setSteps[s.Op], s.Arg1)
	case chooseSteps[s.Op] != "":
		t.f("\tstep %s %d type %s\n", chooseSteps[s.Op], s.Arg1, t.typeName(s.Arg2))
	default:
		t.f("\t# unknown step %d %d %d\n", s.Op, s.Arg1, s.Arg2)
	}
}

// original gives what a shadow bucket was made from, and its class; an item
// that is no shadow comes back as it is.
func (m *Map) original(id int32) (int32, string) {
	if id < 0 && m.IsShadow(id) {
		for _, from := range sortedKeys(m.ClassBucket) {
			for class, shadow := range m.ClassBucket[from] {
				if shadow == id {
					return from, m.ClassNames[class]
				}
			}
		}
	}
	return id, ""
}

// argKeys gives the keys of the choose_args in the order of the text.
func (t *textWriter) argKeys() []int64 { return sortedKeys(t.m.ChooseArgs) }

func (t *textWriter) chooseArgs(key int64, args ChooseArgs) {
	t.f("choose_args %d {\n", uint64(key))
	for slot, a := range args {
		if a == nil {
			continue
		}
		t.f("  {\n    bucket_id %d\n", -1-slot)
		if len(a.WeightSet) > 0 {
			t.f("    weight_set [\n")
			for _, ws := range a.WeightSet {
				t.f("      [ ")
				for _, w := range ws {
					t.f("%s ", fixed(w))
				}
				t.f("]\n")
			}
			t.f("    ]\n")
		}
		if len(a.IDs) > 0 {
			t.f("    ids [ ")
			for _, id := range a.IDs {
				t.f("%d ", id)
			}
			t.f("]\n")
		}
		t.f("  }\n")
	}
	t.f("}\n")
}
