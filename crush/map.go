package crush

import "maps"

// None stands in a result where no device could be found for a position
// (indep rules), as Ceph's CRUSH_ITEM_NONE.
const None int32 = 0x7fffffff

// undef marks a position of an indep result that is still open.
const undef int32 = 0x7ffffffe

// Alg is a kind of bucket: how it picks one of its items.
type Alg uint8

// The kinds. Ceph's numbers.
const (
	Uniform Alg = 1 // equal weights; a permutation
	List    Alg = 2 // a chain, newest first; cheap to add to
	Tree    Alg = 3 // a binary tree of weights, at most 64 items
	Straw   Alg = 4 // longest straw, lengths computed when the bucket changes
	Straw2  Alg = 5 // longest straw, by weight alone; what is used today
)

// String gives the kind's name in map texts.
func (a Alg) String() string {
	switch a {
	case Uniform:
		return "uniform"
	case List:
		return "list"
	case Tree:
		return "tree"
	case Straw:
		return "straw"
	case Straw2:
		return "straw2"
	}
	return "unknown"
}

// Bucket is an inner node of the hierarchy. Which of the weight slices is
// used depends on the kind; those in use have one entry per item, except
// NodeWeights.
type Bucket struct {
	ID     int32  // negative
	Type   uint16 // a key of Map.Types; never 0, which is a device
	Alg    Alg
	Hash   uint8  // 0, rjenkins1; another number hashes everything to 0
	Weight uint32 // 16.16, the sum of the items'
	Items  []int32

	ItemWeight  uint32   // Uniform: of every item
	Weights     []uint32 // List, Straw, Straw2: of each item
	SumWeights  []uint32 // List: running sum, inclusive
	NodeWeights []uint32 // Tree: item i is node 2i+1; a power of two of them
	Straws      []uint32 // Straw: lengths, 16.16
}

// ItemWeightAt is the 16.16 weight of item i.
func (b *Bucket) ItemWeightAt(i int) uint32 {
	switch b.Alg {
	case Uniform:
		return b.ItemWeight
	case Tree:
		if n := 2*i + 1; n < len(b.NodeWeights) {
			return b.NodeWeights[n]
		}
		return 0
	}
	if i < len(b.Weights) {
		return b.Weights[i]
	}
	return 0
}

// StepOp is what one step of a rule does. Ceph's numbers.
type StepOp uint32

// The steps.
const (
	StepNoop                      StepOp = 0
	StepTake                      StepOp = 1 // Arg1: the bucket or device to start from
	StepChooseFirstN              StepOp = 2 // Arg1: how many (0: all wanted, <0: all but), Arg2: type
	StepChooseIndep               StepOp = 3
	StepEmit                      StepOp = 4
	StepChooseLeafFirstN          StepOp = 6
	StepChooseLeafIndep           StepOp = 7
	StepSetChooseTries            StepOp = 8
	StepSetChooseLeafTries        StepOp = 9
	StepSetChooseLocalTries       StepOp = 10
	StepSetChooseLocalFallbackTry StepOp = 11
	StepSetChooseLeafVaryR        StepOp = 12
	StepSetChooseLeafStable       StepOp = 13
)

// Step is one step of a rule.
type Step struct {
	Op         StepOp
	Arg1, Arg2 int32
}

// The kinds of pool a rule is for.
const (
	RuleReplicated uint8 = 1
	RuleErasure    uint8 = 3
)

// Rule is a placement rule: a small program over the hierarchy.
type Rule struct {
	ID      uint8 // the number pools name ("ruleset"); the slot in all maps of this decade
	Type    uint8 // RuleReplicated or RuleErasure
	MinSize uint8 // result sizes it may be used for
	MaxSize uint8
	Steps   []Step
}

// Tunables are the map's constants. Maps of different age have different
// ones; see TunablesJewel.
type Tunables struct {
	ChooseLocalTries         uint32 // collisions retried in the same bucket
	ChooseLocalFallbackTries uint32 // then by permutation
	ChooseTotalTries         uint32 // descents after the first
	ChooseLeafDescendOnce    uint32 // 0, 1: a leaf is tried once below a bucket
	ChooseLeafVaryR          uint8  // 0: off; n: the leaf's r is r >> (n-1)
	ChooseLeafStable         uint8  // 0, 1
	StrawCalcVersion         uint8  // 0, 1: how Straw lengths are computed
	AllowedBucketAlgs        uint32 // bits 1<<Alg; for editors only
}

// TunablesLegacy are those of the oldest release, and what a map that says
// nothing means.
func TunablesLegacy() Tunables {
	return Tunables{ChooseLocalTries: 2, ChooseLocalFallbackTries: 5, ChooseTotalTries: 19,
		AllowedBucketAlgs: 1<<Uniform | 1<<List | 1<<Straw}
}

// TunablesJewel are the optimal ones, default for new maps since 2016.
func TunablesJewel() Tunables {
	return Tunables{ChooseTotalTries: 50, ChooseLeafDescendOnce: 1, ChooseLeafVaryR: 1,
		ChooseLeafStable: 1, StrawCalcVersion: 1,
		AllowedBucketAlgs: 1<<Uniform | 1<<List | 1<<Straw | 1<<Straw2}
}

// DefaultChooseArgs is the key of the set used for pools without their own.
const DefaultChooseArgs int64 = -1

// ChooseArg replaces weights, and possibly the ids that are hashed, of one
// Straw2 bucket.
type ChooseArg struct {
	WeightSet [][]uint32 // by position of the result, the last for all further ones
	IDs       []int32    // nil: the items themselves
}

// ChooseArgs is one set of replacements, by slot (-1-id) of the bucket; nil
// where there is none. It may be shorter than the map has buckets.
type ChooseArgs []*ChooseArg

// Map is a CRUSH map. While mappings are computed from it nobody may change
// it; any number of goroutines may compute at once, each with its own Work.
type Map struct {
	Buckets    []*Bucket // by slot -1-id; nil: none
	Rules      []*Rule   // by number; nil: none
	MaxDevices int32     // device ids are below it
	Tunables   Tunables

	Types     map[int32]string // 0 is the device type
	Names     map[int32]string // of devices and buckets
	RuleNames map[int32]string

	ItemClass   map[int32]int32           // device or shadow bucket -> class
	ClassNames  map[int32]string          // class -> name
	ClassBucket map[int32]map[int32]int32 // bucket -> class -> shadow bucket

	ChooseArgs map[int64]ChooseArgs // by pool, or DefaultChooseArgs

	// MSR holds the two tunables that releases after 16.2 append; nil for a
	// map without them. Rules of the kinds they serve are not mapped.
	MSR *MSRTunables
}

// MSRTunables are carried, not used.
type MSRTunables struct{ Descents, CollisionTries uint32 }

// New gives an empty map with the optimal tunables and no types.
func New() *Map {
	return &Map{
		Tunables: TunablesJewel(),
		Types:    map[int32]string{}, Names: map[int32]string{}, RuleNames: map[int32]string{},
		ItemClass: map[int32]int32{}, ClassNames: map[int32]string{},
		ClassBucket: map[int32]map[int32]int32{}, ChooseArgs: map[int64]ChooseArgs{},
	}
}

// Bucket gives the bucket with this id, or nil.
func (m *Map) Bucket(id int32) *Bucket {
	if id >= 0 || int(-1-id) >= len(m.Buckets) {
		return nil
	}
	return m.Buckets[-1-id]
}

// Rule gives the rule with this number, or nil.
func (m *Map) Rule(n int) *Rule {
	if n < 0 || n >= len(m.Rules) {
		return nil
	}
	return m.Rules[n]
}

// FindRule gives the number of the first rule whose id, type and size range
// fit a pool, or -1.
func (m *Map) FindRule(id, kind uint8, size int) int {
	for i, r := range m.Rules {
		if r != nil && r.ID == id && r.Type == kind && int(r.MinSize) <= size && size <= int(r.MaxSize) {
			return i
		}
	}
	return -1
}

// ArgsFor gives the replacement weights for a pool: its own, else the default
// set, else nil.
func (m *Map) ArgsFor(pool int64) ChooseArgs {
	if a, ok := m.ChooseArgs[pool]; ok {
		return a
	}
	return m.ChooseArgs[DefaultChooseArgs]
}

// ItemByName gives the device or bucket of that name.
func (m *Map) ItemByName(name string) (int32, bool) { return keyOf(m.Names, name) }

// TypeByName gives the type number of that name.
func (m *Map) TypeByName(name string) (int32, bool) { return keyOf(m.Types, name) }

// RuleByName gives the number of the rule of that name.
func (m *Map) RuleByName(name string) (int32, bool) { return keyOf(m.RuleNames, name) }

// keyOf finds the lowest key with that value, so that an answer does not
// depend on the order of a map.
func keyOf(m map[int32]string, value string) (int32, bool) {
	var key int32
	found := false
	for k, v := range m {
		if v == value && (!found || k < key) {
			key, found = k, true
		}
	}
	return key, found
}

// Clone gives a map that shares nothing that editing changes.
func (m *Map) Clone() *Map {
	c := *m
	c.Buckets = make([]*Bucket, len(m.Buckets))
	for i, b := range m.Buckets {
		if b != nil {
			c.Buckets[i] = b.clone()
		}
	}
	c.Rules = make([]*Rule, len(m.Rules))
	for i, r := range m.Rules {
		if r != nil {
			n := *r
			n.Steps = append([]Step(nil), r.Steps...)
			c.Rules[i] = &n
		}
	}
	c.Types, c.Names, c.RuleNames = maps.Clone(m.Types), maps.Clone(m.Names), maps.Clone(m.RuleNames)
	c.ItemClass, c.ClassNames = maps.Clone(m.ItemClass), maps.Clone(m.ClassNames)
	c.ClassBucket = make(map[int32]map[int32]int32, len(m.ClassBucket))
	for k, v := range m.ClassBucket {
		c.ClassBucket[k] = maps.Clone(v)
	}
	c.ChooseArgs = make(map[int64]ChooseArgs, len(m.ChooseArgs))
	for k, v := range m.ChooseArgs {
		c.ChooseArgs[k] = v.clone()
	}
	return &c
}

func (b *Bucket) clone() *Bucket {
	c := *b
	c.Items = append([]int32(nil), b.Items...)
	for _, w := range []*[]uint32{&c.Weights, &c.SumWeights, &c.NodeWeights, &c.Straws} {
		*w = append([]uint32(nil), *w...)
	}
	return &c
}

func (a ChooseArgs) clone() ChooseArgs {
	c := make(ChooseArgs, len(a))
	for i, arg := range a {
		if arg == nil {
			continue
		}
		n := &ChooseArg{IDs: append([]int32(nil), arg.IDs...)}
		for _, ws := range arg.WeightSet {
			n.WeightSet = append(n.WeightSet, append([]uint32(nil), ws...))
		}
		c[i] = n
	}
	return c
}
