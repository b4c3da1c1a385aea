package crush

import (
	"math"
	"strconv"
)

// Compile reads a map from the text form of crushtool -c, and gives the map
// whose encoding equals the original compiler's. Its errors are *TextError
// with the line, or ErrMap for what is wrong with the map as a whole.
//
// Order of the text: tunables, devices, types; then buckets, then rules (a
// bucket may be named before it is defined); then choose_args. Tunables that
// are not named have the values of the oldest release. The first rule fixes
// the device classes' shadow trees.
func Compile(text []byte) (*Map, error) {
	c := &compiler{lexer: newLexer(text), m: New(), items: map[string]int32{}, pending: map[string]*bucketText{},
		given: map[int32]bool{}, shadowIDs: map[int32]map[int32]int32{}, sums: map[int32]uint32{}}
	c.m.Tunables = TunablesLegacy()
	for c.word != "" {
		if err := c.statement(); err != nil {
			return nil, err
		}
	}
	if err := c.defineBuckets(); err != nil {
		return nil, err
	}
	c.m.TrimDevices()
	if err := c.m.Validate(); err != nil {
		return nil, err
	}
	return c.m, nil
}

type compiler struct {
	*lexer
	m       *Map
	items   map[string]int32 // ids of devices and of defined buckets, by name
	sums    map[int32]uint32 // weights of defined buckets
	pending map[string]*bucketText
	order   []*bucketText

	given     map[int32]bool // bucket ids that the text names
	shadowIDs map[int32]map[int32]int32
	sawRule   bool
}

// bucketText is a bucket as the text has it.
type bucketText struct {
	name     string
	line     int
	typ      uint16
	id       int32 // 0: not given
	classIDs map[int32]int32
	alg      Alg
	hash     uint8
	items    []itemText
	state    int // 0 read, 1 being defined, 2 defined
}

type itemText struct {
	name   string
	line   int
	weight uint32
	given  bool // weight
	pos    int  // -1: the next free
}

func (c *compiler) statement() error {
	switch {
	case c.accept("tunable"):
		return c.tunable()
	case c.accept("device"):
		return c.device()
	case c.accept("type"):
		return c.typ()
	case c.accept("rule"):
		return c.rule()
	case c.accept("choose_args"):
		return c.chooseArgs()
	}
	for n, name := range c.m.Types {
		if name == c.word && n != 0 {
			if c.sawRule {
				return c.errorf("bucket behind the first rule")
			}
			c.next()
			return c.bucket(uint16(n))
		}
	}
	return c.expected("a tunable, device, type, bucket, rule, or choose_args")
}

func (c *compiler) tunable() error {
	line := c.wordLine
	name, err := c.name("the name of a tunable")
	if err != nil {
		return err
	}
	limit := int64(math.MaxInt32)
	if name == "chooseleaf_vary_r" || name == "chooseleaf_stable" || name == "straw_calc_version" {
		limit = math.MaxUint8
	}
	v, err := c.number("a number", 0, limit)
	if err != nil {
		return err
	}
	t := &c.m.Tunables
	switch name {
	case "choose_local_tries":
		t.ChooseLocalTries = uint32(v)
	case "choose_local_fallback_tries":
		t.ChooseLocalFallbackTries = uint32(v)
	case "choose_total_tries":
		t.ChooseTotalTries = uint32(v)
	case "chooseleaf_descend_once":
		t.ChooseLeafDescendOnce = uint32(v)
	case "chooseleaf_vary_r":
		t.ChooseLeafVaryR = uint8(v)
	case "chooseleaf_stable":
		t.ChooseLeafStable = uint8(v)
	case "straw_calc_version":
		t.StrawCalcVersion = uint8(v)
	case "allowed_bucket_algs":
		t.AllowedBucketAlgs = uint32(v)
	default:
		return &TextError{Line: line, Msg: "unknown tunable " + strconv.Quote(name)}
	}
	return nil
}

func (c *compiler) device() error {
	id, err := c.number("a device id", 0, int64(undef)-1)
	if err != nil {
		return err
	}
	line := c.wordLine
	name, err := c.name("a device name")
	if err != nil {
		return err
	}
	if _, ok := c.items[name]; ok {
		return &TextError{Line: line, Msg: "name " + strconv.Quote(name) + " is taken"}
	}
	if _, ok := c.m.Names[int32(id)]; ok {
		return &TextError{Line: line, Msg: "device " + itoa(id) + " is defined already"}
	}
	c.items[name] = int32(id)
	c.m.Names[int32(id)] = name
	if c.accept("class") {
		class, err := c.name("a device class")
		if err != nil {
			return err
		}
		c.m.ItemClass[int32(id)] = c.m.classID(class)
	}
	return nil
}

func (c *compiler) typ() error {
	id, err := c.number("a type number", 0, math.MaxUint16)
	if err != nil {
		return err
	}
	name, err := c.name("a type name")
	if err != nil {
		return err
	}
	c.m.Types[int32(id)] = name
	return nil
}

var algByName = map[string]Alg{"uniform": Uniform, "list": List, "tree": Tree, "straw": Straw, "straw2": Straw2}

// bucket reads a bucket; it is defined later, when all are known.
func (c *compiler) bucket(typ uint16) error {
	b := &bucketText{typ: typ, line: c.wordLine, classIDs: map[int32]int32{}}
	var err error
	if b.name, err = c.name("a bucket name"); err != nil {
		return err
	}
	if _, ok := c.items[b.name]; ok || c.pending[b.name] != nil {
		return &TextError{Line: b.line, Msg: "name " + strconv.Quote(b.name) + " is taken"}
	}
	if err := c.expect("{"); err != nil {
		return err
	}
	for !c.accept("}") {
		if err := c.bucketLine(b); err != nil {
			return err
		}
	}
	if b.alg == 0 {
		return &TextError{Line: b.line, Msg: "bucket " + strconv.Quote(b.name) + " has no alg"}
	}
	c.pending[b.name] = b
	c.order = append(c.order, b)
	return nil
}

func (c *compiler) bucketLine(b *bucketText) error {
	switch {
	case c.accept("id"):
		return c.bucketID(b)
	case c.accept("alg"):
		alg, ok := algByName[c.word]
		if !ok {
			return c.expected("uniform, list, tree, straw or straw2")
		}
		b.alg = alg
		c.next()
		return nil
	case c.accept("hash"):
		if c.accept("rjenkins1") {
			return nil
		}
		v, err := c.number("a hash number", 0, math.MaxUint8)
		b.hash = uint8(v)
		return err
	case c.accept("item"):
		return c.item(b)
	}
	return c.expected("id, alg, hash, item or }")
}

func (c *compiler) bucketID(b *bucketText) error {
	line := c.wordLine
	v, err := c.number("a bucket id", -maxBuckets, -1)
	if err != nil {
		return err
	}
	id := int32(v)
	if c.given[id] {
		return &TextError{Line: line, Msg: "bucket id " + itoa(v) + " is taken"}
	}
	c.given[id] = true
	if !c.accept("class") {
		b.id = id
		return nil
	}
	class, err := c.name("a device class")
	if err != nil {
		return err
	}
	b.classIDs[c.m.classID(class)] = id
	return nil
}

func (c *compiler) item(b *bucketText) error {
	it := itemText{line: c.wordLine, pos: -1}
	var err error
	if it.name, err = c.name("an item name"); err != nil {
		return err
	}
	for {
		switch {
		case c.accept("weight"):
			limit := uint32(MaxBucketWeight)
			if _, device := c.items[it.name]; device {
				limit = MaxDeviceWeight
			}
			if it.weight, err = c.weight(limit); err != nil {
				return err
			}
			it.given = true
		case c.accept("pos"):
			v, err := c.number("a position", 0, maxBuckets)
			if err != nil {
				return err
			}
			it.pos = int(v)
		default:
			b.items = append(b.items, it)
			return nil
		}
	}
}

// defineBuckets makes the buckets in the order of the text, those they hold
// first.
func (c *compiler) defineBuckets() error {
	order := c.order
	c.order = nil
	for _, b := range order {
		if err := c.define(b, 0); err != nil {
			return err
		}
	}
	return nil
}

func (c *compiler) define(b *bucketText, depth int) error {
	bad := func(line int, msg string) error {
		return &TextError{Line: line, Msg: msg + " in bucket " + strconv.Quote(b.name)}
	}
	if b.state == 2 {
		return nil
	}
	if b.state == 1 || depth > MaxDepth {
		return bad(b.line, "a cycle or too many levels")
	}
	b.state = 1
	for _, it := range b.items {
		if child := c.pending[it.name]; child != nil {
			if err := c.define(child, depth+1); err != nil {
				return err
			}
		} else if _, ok := c.items[it.name]; !ok {
			return bad(it.line, "item "+strconv.Quote(it.name)+" is not defined")
		}
	}
	items, weights, err := c.place(b, bad)
	if err != nil {
		return err
	}
	made, err := NewBucket(b.alg, b.typ, items, weights, c.m.Tunables.StrawCalcVersion)
	if err != nil {
		return bad(b.line, err.Error())
	}
	if made.Weight > MaxBucketWeight {
		return bad(b.line, "weight over "+itoa(MaxBucketWeight>>16)+".0")
	}
	made.Hash = b.hash
	if err := c.m.addBucket(made, b.id, c.given); err != nil {
		return bad(b.line, err.Error())
	}
	if len(b.classIDs) > 0 {
		c.shadowIDs[made.ID] = b.classIDs
	}
	c.items[b.name] = made.ID
	c.m.Names[made.ID] = b.name
	c.sums[made.ID] = made.Weight
	b.state = 2
	return nil
}

// place puts the items of a bucket at their positions, those without one into
// the free places in order.
func (c *compiler) place(b *bucketText, bad func(int, string) error) ([]int32, []uint32, error) {
	size := len(b.items)
	used := map[int]bool{}
	for _, it := range b.items {
		if it.pos < 0 {
			continue
		}
		if used[it.pos] {
			return nil, nil, bad(it.line, "position "+itoa(int64(it.pos))+" is occupied")
		}
		used[it.pos] = true
	}
	for pos := range used {
		if pos >= size {
			return nil, nil, bad(b.line, "position "+itoa(int64(pos))+" leaves a gap")
		}
	}
	items, weights := make([]int32, size), make([]uint32, size)
	free := 0
	for _, it := range b.items {
		pos := it.pos
		if pos < 0 {
			for used[free] {
				free++
			}
			pos = free
			free++
		}
		id := c.items[it.name]
		w := it.weight
		if !it.given {
			w = 0x10000
			if bw, ok := c.sums[id]; ok {
				w = bw
			}
		}
		items[pos], weights[pos] = id, w
	}
	return items, weights, nil
}

// finishBuckets defines what was read so far and makes the shadow trees; the
// first rule needs them.
func (c *compiler) finishBuckets() error {
	if c.sawRule {
		return nil
	}
	c.sawRule = true
	if err := c.defineBuckets(); err != nil {
		return err
	}
	if err := c.m.buildShadows(c.shadowIDs); err != nil {
		return c.errorf("device classes: %v", err)
	}
	return nil
}

func (c *compiler) rule() error {
	line := c.wordLine
	if err := c.finishBuckets(); err != nil {
		return err
	}
	name := ""
	if c.word != "{" {
		var err error
		if name, err = c.name("a rule name"); err != nil {
			return err
		}
	}
	if err := c.expect("{"); err != nil {
		return err
	}
	r := &Rule{Type: RuleReplicated, MinSize: 1, MaxSize: 100}
	id := int64(-1)
	for !c.accept("}") {
		if err := c.ruleLine(r, &id); err != nil {
			return err
		}
	}
	if id < 0 {
		return &TextError{Line: line, Msg: "rule without id"}
	}
	if _, ok := c.m.RuleByName(name); ok && name != "" {
		return &TextError{Line: line, Msg: "rule name " + strconv.Quote(name) + " is taken"}
	}
	if err := c.m.addRule(r, int(id), name); err != nil {
		return &TextError{Line: line, Msg: err.Error()}
	}
	return nil
}

func (c *compiler) ruleLine(r *Rule, id *int64) (err error) {
	var v int64
	switch {
	case c.accept("id"), c.accept("ruleset"):
		*id, err = c.number("a rule id", 0, math.MaxUint8)
		return err
	case c.accept("type"):
		switch {
		case c.accept("replicated"):
			r.Type = RuleReplicated
		case c.accept("erasure"):
			r.Type = RuleErasure
		default:
			v, err = c.number("replicated or erasure", 0, math.MaxUint8)
			r.Type = uint8(v)
		}
		return err
	case c.accept("min_size"):
		v, err = c.number("a size", 0, math.MaxUint8)
		r.MinSize = uint8(v)
		return err
	case c.accept("max_size"):
		v, err = c.number("a size", 0, math.MaxUint8)
		r.MaxSize = uint8(v)
		return err
	case c.accept("step"):
		s, err := c.step()
		r.Steps = append(r.Steps, s)
		return err
	}
	return c.expected("id, type, min_size, max_size, step or }")
}

func (c *compiler) step() (Step, error) {
	switch {
	case c.accept("noop"):
		return Step{Op: StepNoop}, nil
	case c.accept("emit"):
		return Step{Op: StepEmit}, nil
	case c.accept("take"):
		return c.take()
	}
	for op, name := range setSteps {
		if c.accept(name) {
			v, err := c.number("a number", 0, math.MaxInt32)
			return Step{Op: op, Arg1: int32(v)}, err
		}
	}
	word := c.word
	if word != "choose" && word != "chooseleaf" {
		return Step{}, c.expected("a step")
	}
	c.next()
	mode := c.word
	if mode != "firstn" && mode != "indep" {
		return Step{}, c.expected("firstn or indep")
	}
	c.next()
	n, err := c.number("a number", math.MinInt32, math.MaxInt32)
	if err != nil {
		return Step{}, err
	}
	if err := c.expect("type"); err != nil {
		return Step{}, err
	}
	typ, ok := c.m.TypeByName(c.word)
	if !ok {
		return Step{}, c.expected("a type")
	}
	c.next()
	for op, words := range chooseSteps {
		if words == word+" "+mode {
			return Step{Op: op, Arg1: int32(n), Arg2: typ}, nil
		}
	}
	panic("crush: no step for " + word + " " + mode)
}

func (c *compiler) take() (Step, error) {
	id, ok := c.items[c.word]
	if !ok {
		return Step{}, c.expected("a device or bucket")
	}
	c.next()
	if c.accept("class") {
		class, ok := keyOf(c.m.ClassNames, c.word)
		shadow := c.m.ClassBucket[id][class]
		if !ok || shadow == 0 {
			return Step{}, c.expected("a class of devices below " + c.m.itemName(id))
		}
		id = shadow
		c.next()
	}
	return Step{Op: StepTake, Arg1: id}, nil
}
