package crush

import (
	"fmt"
	"strconv"
	"strings"
)

// maxRuleSlots bounds max_rules in XML, where it costs no data.
const maxRuleSlots = 1 << 16

func (x *xmlMap) build() (*Map, error) {
	if x.MaxBuckets < 0 || x.MaxBuckets > maxBuckets || x.MaxRules < 0 || x.MaxRules > maxRuleSlots {
		return nil, badMap("XML: max_buckets %d, max_rules %d", x.MaxBuckets, x.MaxRules)
	}
	m := New()
	t := x.Tunables
	m.Tunables = Tunables{t.LocalTries, t.LocalFallback, t.TotalTries, t.DescendOnce, t.VaryR, t.Stable, t.StrawCalc, t.AllowedAlgs}
	if t.MSRDescents != nil && t.MSRCollisions != nil {
		m.MSR = &MSRTunables{*t.MSRDescents, *t.MSRCollisions}
	}
	m.MaxDevices = x.MaxDevices
	m.Buckets = make([]*Bucket, x.MaxBuckets)
	m.Rules = make([]*Rule, x.MaxRules)
	for _, f := range [...]struct {
		to   map[int32]string
		from []xmlName
	}{{m.Types, x.Types}, {m.ClassNames, x.Classes}, {m.Names, x.Names}, {m.RuleNames, x.RuleNames}} {
		for _, n := range f.from {
			f.to[n.ID] = n.Name
		}
	}
	for _, c := range x.ItemClass {
		m.ItemClass[c.ID] = c.Class
	}
	for i := range x.Buckets {
		if err := x.Buckets[i].build(m); err != nil {
			return nil, err
		}
	}
	for _, s := range x.Shadows {
		m.addShadow(s.Of, s)
	}
	for _, r := range x.Rules {
		if r.Slot < 0 || r.Slot >= len(m.Rules) || m.Rules[r.Slot] != nil {
			return nil, &TextError{Line: r.line, Msg: fmt.Sprintf("expected a free slot of %d for the rule, found %d", len(m.Rules), r.Slot)}
		}
		rule := &Rule{ID: r.ID, Type: r.Type, MinSize: r.MinSize, MaxSize: r.MaxSize}
		for _, s := range r.Steps {
			rule.Steps = append(rule.Steps, Step{StepOp(s.Op), s.Arg1, s.Arg2})
		}
		m.Rules[r.Slot] = rule
	}
	for _, a := range x.ChooseArgs {
		args, err := a.build(m)
		if err != nil {
			return nil, &TextError{Line: a.line, Msg: err.Error()}
		}
		m.ChooseArgs[a.Key] = args
	}
	return m, nil
}

// addShadow notes a shadow; class -1 only makes the list.
func (m *Map) addShadow(of int32, s xmlShadow) {
	if m.ClassBucket[of] == nil {
		m.ClassBucket[of] = map[int32]int32{}
	}
	if s.Class >= 0 {
		m.ClassBucket[of][s.Class] = s.ID
	}
}

func (x *xmlBucket) build(m *Map) error {
	bad := func(format string, args ...any) error {
		return &TextError{Line: x.line, Msg: fmt.Sprintf("bucket %d: ", x.ID) + fmt.Sprintf(format, args...)}
	}
	slot := -1 - int64(x.ID)
	if slot < 0 || slot >= int64(len(m.Buckets)) || m.Buckets[slot] != nil {
		return bad("expected a free id of %d", len(m.Buckets))
	}
	alg, ok := algByName[x.Alg]
	if !ok {
		return bad("expected uniform, list, tree, straw or straw2, found %q", x.Alg)
	}
	b := &Bucket{ID: x.ID, Type: x.Type, Alg: alg, Hash: x.Hash}
	var weights []uint32
	for _, i := range x.Items {
		b.Items, weights = append(b.Items, i.ID), append(weights, i.Raw)
	}
	if err := b.setWeights(weights, m.Tunables.StrawCalcVersion); err != nil && x.Weight == nil {
		return bad("%v", err)
	}
	if x.Weight != nil {
		b.Weight = *x.Weight
	}
	if x.ItemWeight != nil {
		b.ItemWeight = *x.ItemWeight
	}
	if alg != Uniform && alg != Tree {
		b.Weights = weights
	}
	for _, f := range [...]struct {
		name, from string
		to         *[]uint32
	}{{"sums", x.Sums, &b.SumWeights}, {"nodes", x.Nodes, &b.NodeWeights}, {"straws", x.Straws, &b.Straws}} {
		if f.from == "" {
			continue
		}
		v, err := splitNumbers[uint32](f.from)
		if err != nil {
			return bad("%s: %v", f.name, err)
		}
		*f.to = v
	}
	for _, s := range x.Shadows {
		m.addShadow(x.ID, s)
	}
	m.Buckets[slot] = b
	return nil
}

func (x *xmlArgs) build(m *Map) (ChooseArgs, error) {
	args := make(ChooseArgs, len(m.Buckets))
	for _, a := range x.Args {
		b := m.Bucket(a.Bucket)
		if b == nil || b.Alg != Straw2 {
			return nil, fmt.Errorf("choose_args %d: expected a straw2 bucket, found %d", x.Key, a.Bucket)
		}
		arg := &ChooseArg{}
		for _, ws := range a.WeightSets {
			v, err := splitNumbers[uint32](ws)
			if err != nil {
				return nil, fmt.Errorf("weight set of bucket %d: %v", a.Bucket, err)
			}
			arg.WeightSet = append(arg.WeightSet, v)
		}
		ids, err := splitNumbers[int32](a.IDs)
		if err != nil {
			return nil, fmt.Errorf("ids of bucket %d: %v", a.Bucket, err)
		}
		arg.IDs = ids
		if len(arg.WeightSet) > 0 || len(ids) > 0 {
			args[-1-a.Bucket] = arg
		}
	}
	return args, nil
}

func joinNumbers[T int32 | uint32](v []T) string {
	var b []byte
	for i, n := range v {
		if i > 0 {
			b = append(b, ' ')
		}
		b = strconv.AppendInt(b, int64(n), 10)
	}
	return string(b)
}

func splitNumbers[T int32 | uint32](s string) ([]T, error) {
	var v []T
	for f := range strings.FieldsSeq(s) {
		n, err := strconv.ParseInt(f, 10, 64)
		if err != nil || int64(T(n)) != n {
			return nil, fmt.Errorf("expected a number of 32 bits, found %q", f)
		}
		v = append(v, T(n))
	}
	return v, nil
}
