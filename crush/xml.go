package crush

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"unicode/utf8"
)

// xmlMap is the XML form, which the package's comment describes.
type xmlMap struct {
	XMLName    xml.Name    `xml:"crushmap"`
	MaxDevices int32       `xml:"max_devices,attr"`
	MaxBuckets int         `xml:"max_buckets,attr"`
	MaxRules   int         `xml:"max_rules,attr"`
	Tunables   xmlTunables `xml:"tunables"`
	Types      []xmlName   `xml:"types>type"`
	Classes    []xmlName   `xml:"classes>class"`
	Names      []xmlName   `xml:"names>name"`
	RuleNames  []xmlName   `xml:"rule_names>name"`
	ItemClass  []xmlClass  `xml:"item_classes>item"`
	Buckets    []xmlBucket `xml:"buckets>bucket"`
	Shadows    []xmlShadow `xml:"shadows"`
	Rules      []xmlRule   `xml:"rules>rule"`
	ChooseArgs []xmlArgs   `xml:"choose_args"`
}

type xmlTunables struct {
	LocalTries    uint32  `xml:"choose_local_tries,attr"`
	LocalFallback uint32  `xml:"choose_local_fallback_tries,attr"`
	TotalTries    uint32  `xml:"choose_total_tries,attr"`
	DescendOnce   uint32  `xml:"chooseleaf_descend_once,attr"`
	VaryR         uint8   `xml:"chooseleaf_vary_r,attr"`
	Stable        uint8   `xml:"chooseleaf_stable,attr"`
	StrawCalc     uint8   `xml:"straw_calc_version,attr"`
	AllowedAlgs   uint32  `xml:"allowed_bucket_algs,attr"`
	MSRDescents   *uint32 `xml:"msr_descents,attr"`
	MSRCollisions *uint32 `xml:"msr_collision_tries,attr"`
}

type xmlName struct {
	ID   int32  `xml:"id,attr"`
	Name string `xml:"name,attr"`
}

type xmlClass struct {
	ID    int32 `xml:"id,attr"`
	Class int32 `xml:"class,attr"`
}

type xmlBucket struct {
	ID         int32       `xml:"id,attr"`
	Name       string      `xml:"name,attr,omitempty"`
	Type       uint16      `xml:"type,attr"`
	Alg        string      `xml:"alg,attr"`
	Hash       uint8       `xml:"hash,attr"`
	Weight     *uint32     `xml:"weight_raw,attr"`
	ItemWeight *uint32     `xml:"item_weight,attr"`
	Sums       string      `xml:"sums,attr,omitempty"`
	Nodes      string      `xml:"nodes,attr,omitempty"`
	Straws     string      `xml:"straws,attr,omitempty"`
	Shadows    []xmlShadow `xml:"shadow"`
	Items      []xmlItem   `xml:"item"`

	line int
}

type xmlShadow struct {
	Of    int32 `xml:"of,attr,omitempty"`
	Class int32 `xml:"class,attr"`
	ID    int32 `xml:"id,attr"`
}

type xmlItem struct {
	ID     int32  `xml:"id,attr"`
	Name   string `xml:"name,attr,omitempty"`
	Weight string `xml:"weight,attr,omitempty"`
	Raw    uint32 `xml:"raw,attr"`
}

type xmlRule struct {
	Slot    int       `xml:"slot,attr"`
	ID      uint8     `xml:"id,attr"`
	Type    uint8     `xml:"type,attr"`
	MinSize uint8     `xml:"min_size,attr"`
	MaxSize uint8     `xml:"max_size,attr"`
	Steps   []xmlStep `xml:"step"`

	line int
}

type xmlStep struct {
	Op   uint32 `xml:"op,attr"`
	Name string `xml:"name,attr,omitempty"`
	Arg1 int32  `xml:"arg1,attr"`
	Arg2 int32  `xml:"arg2,attr"`
}

type xmlArgs struct {
	Key  int64    `xml:"key,attr"`
	Args []xmlArg `xml:"arg"`

	line int
}

type xmlArg struct {
	Bucket     int32    `xml:"bucket,attr"`
	WeightSets []string `xml:"weight_set"`
	IDs        string   `xml:"ids,omitempty"`
}

// UnmarshalXML notes the line for messages.
func (b *xmlBucket) UnmarshalXML(d *xml.Decoder, start xml.StartElement) error {
	type plain xmlBucket
	line, _ := d.InputPos()
	err := d.DecodeElement((*plain)(b), &start)
	b.line = line
	return err
}

// UnmarshalXML notes the line for messages.
func (r *xmlRule) UnmarshalXML(d *xml.Decoder, start xml.StartElement) error {
	type plain xmlRule
	line, _ := d.InputPos()
	err := d.DecodeElement((*plain)(r), &start)
	r.line = line
	return err
}

// UnmarshalXML notes the line for messages.
func (a *xmlArgs) UnmarshalXML(d *xml.Decoder, start xml.StartElement) error {
	type plain xmlArgs
	line, _ := d.InputPos()
	err := d.DecodeElement((*plain)(a), &start)
	a.line = line
	return err
}

// WriteXML writes the map's XML form, which the package's comment describes.
// It fails for names that XML cannot hold.
func (m *Map) WriteXML(w io.Writer) error {
	for _, names := range [...]map[int32]string{m.Types, m.ClassNames, m.Names, m.RuleNames} {
		for _, n := range names {
			if !xmlHolds(n) {
				return badMap("name %q has no XML form", n)
			}
		}
	}
	x := &xmlMap{MaxDevices: m.MaxDevices, MaxBuckets: len(m.Buckets), MaxRules: len(m.Rules),
		Types: xmlNames(m.Types), Classes: xmlNames(m.ClassNames), Names: xmlNames(m.Names),
		RuleNames: xmlNames(m.RuleNames), Tunables: m.xmlTunables()}
	for _, id := range sortedKeys(m.ItemClass) {
		x.ItemClass = append(x.ItemClass, xmlClass{id, m.ItemClass[id]})
	}
	for _, b := range m.Buckets {
		if b != nil {
			x.Buckets = append(x.Buckets, m.xmlBucket(b))
		}
	}
	for _, of := range sortedKeys(m.ClassBucket) {
		// An empty list of shadows has a form of its own: class -1.
		if m.Bucket(of) == nil || len(m.ClassBucket[of]) == 0 {
			x.Shadows = append(x.Shadows, xmlShadow{Of: of, Class: -1})
			for _, c := range sortedKeys(m.ClassBucket[of]) {
				x.Shadows = append(x.Shadows, xmlShadow{Of: of, Class: c, ID: m.ClassBucket[of][c]})
			}
		}
	}
	for i, r := range m.Rules {
		if r != nil {
			x.Rules = append(x.Rules, m.xmlRule(i, r))
		}
	}
	for _, k := range sortedKeys(m.ChooseArgs) {
		x.ChooseArgs = append(x.ChooseArgs, xmlArgsOf(k, m.ChooseArgs[k]))
	}
	e := xml.NewEncoder(w)
	e.Indent("", "  ")
	if err := e.Encode(x); err != nil {
		return fmt.Errorf("crush: write XML: %w", err)
	}
	_, err := io.WriteString(w, "\n")
	return err
}

// xmlHolds reports whether XML can hold s as it is.
func xmlHolds(s string) bool {
	for _, r := range s {
		if r < 0x20 || r == utf8.RuneError || r == 0xfffe || r == 0xffff {
			return false
		}
	}
	return utf8.ValidString(s)
}

func xmlNames(m map[int32]string) (v []xmlName) {
	for _, k := range sortedKeys(m) {
		v = append(v, xmlName{k, m[k]})
	}
	return v
}

func (m *Map) xmlTunables() xmlTunables {
	t := m.Tunables
	x := xmlTunables{t.ChooseLocalTries, t.ChooseLocalFallbackTries, t.ChooseTotalTries, t.ChooseLeafDescendOnce,
		t.ChooseLeafVaryR, t.ChooseLeafStable, t.StrawCalcVersion, t.AllowedBucketAlgs, nil, nil}
	if m.MSR != nil {
		x.MSRDescents, x.MSRCollisions = &m.MSR.Descents, &m.MSR.CollisionTries
	}
	return x
}

func (m *Map) xmlBucket(b *Bucket) xmlBucket {
	x := xmlBucket{ID: b.ID, Name: m.Names[b.ID], Type: b.Type, Alg: b.Alg.String(), Hash: b.Hash}
	for _, c := range sortedKeys(m.ClassBucket[b.ID]) {
		x.Shadows = append(x.Shadows, xmlShadow{Class: c, ID: m.ClassBucket[b.ID][c]})
	}
	for i, id := range b.Items {
		w := b.ItemWeightAt(i)
		x.Items = append(x.Items, xmlItem{id, m.Names[id], fixed(w), w})
	}
	d, err := NewBucket(b.Alg, b.Type, b.Items, b.weightsOf(), m.Tunables.StrawCalcVersion)
	if err != nil {
		d = &Bucket{} // everything is given
	}
	if d.Weight != b.Weight {
		x.Weight = &b.Weight
	}
	if d.ItemWeight != b.ItemWeight {
		x.ItemWeight = &b.ItemWeight
	}
	for _, f := range [...]struct {
		to   *string
		a, b []uint32
	}{{&x.Sums, b.SumWeights, d.SumWeights}, {&x.Nodes, b.NodeWeights, d.NodeWeights}, {&x.Straws, b.Straws, d.Straws}} {
		if !slices.Equal(f.a, f.b) {
			*f.to = joinNumbers(f.a)
		}
	}
	return x
}

func (m *Map) xmlRule(slot int, r *Rule) xmlRule {
	x := xmlRule{Slot: slot, ID: r.ID, Type: r.Type, MinSize: r.MinSize, MaxSize: r.MaxSize}
	for _, s := range r.Steps {
		t := &textWriter{m: m}
		t.step(s)
		name := string(t.b)
		if len(name) > 7 && xmlHolds(name[6:len(name)-1]) {
			name = name[6 : len(name)-1] // without "\tstep " and "\n"
		} else {
			name = ""
		}
		x.Steps = append(x.Steps, xmlStep{uint32(s.Op), name, s.Arg1, s.Arg2})
	}
	return x
}

func xmlArgsOf(key int64, args ChooseArgs) xmlArgs {
	x := xmlArgs{Key: key}
	for slot, a := range args {
		if a == nil {
			continue
		}
		arg := xmlArg{Bucket: int32(-1 - slot), IDs: joinNumbers(a.IDs)}
		for _, ws := range a.WeightSet {
			arg.WeightSets = append(arg.WeightSets, joinNumbers(ws))
		}
		x.Args = append(x.Args, arg)
	}
	return x
}

// ReadXML reads the XML form that WriteXML writes. Errors name the line; the
// map is checked as Validate does.
func ReadXML(r io.Reader) (*Map, error) {
	var x xmlMap
	d := xml.NewDecoder(r)
	if err := d.Decode(&x); err != nil {
		line, _ := d.InputPos()
		msg := err.Error()
		var syntax *xml.SyntaxError
		var number *strconv.NumError
		switch {
		case errors.As(err, &syntax):
			line, msg = syntax.Line, syntax.Msg
		case errors.As(err, &number):
			msg = fmt.Sprintf("expected a number in range, found %q", number.Num)
		case errors.Is(err, io.EOF):
			msg = "expected <crushmap>, found no XML"
		}
		return nil, &TextError{Line: line, Msg: msg}
	}
	m, err := x.build()
	if err != nil {
		return nil, err
	}
	if err := m.Validate(); err != nil {
		return nil, err
	}
	return m, nil
}
