package crush

import (
	"bytes"
	"encoding/json"
	"strconv"
)

// The JSON form is crushtool --dump's: for reading only.
type jsonMap struct {
	Devices    []jsonDevice `json:"devices"`
	Types      []jsonType   `json:"types"`
	Buckets    []jsonBucket `json:"buckets"`
	Rules      []jsonRule   `json:"rules"`
	Tunables   jsonTunables `json:"tunables"`
	ChooseArgs jsonAllArgs  `json:"choose_args"`
}

type jsonDevice struct {
	ID    int32  `json:"id"`
	Name  string `json:"name"`
	Class string `json:"class,omitempty"`
}

type jsonType struct {
	ID   int32  `json:"type_id"`
	Name string `json:"name"`
}

type jsonBucket struct {
	ID       int32      `json:"id"`
	Name     string     `json:"name"`
	TypeID   uint16     `json:"type_id"`
	TypeName string     `json:"type_name"`
	Weight   uint32     `json:"weight"`
	Alg      string     `json:"alg"`
	Hash     string     `json:"hash"`
	Items    []jsonItem `json:"items"`
}

type jsonItem struct {
	ID     int32  `json:"id"`
	Weight uint32 `json:"weight"`
	Pos    int    `json:"pos"`
}

type jsonRule struct {
	ID      int    `json:"rule_id"`
	Name    string `json:"rule_name"`
	Ruleset uint8  `json:"ruleset"`
	Type    uint8  `json:"type"`
	MinSize uint8  `json:"min_size"`
	MaxSize uint8  `json:"max_size"`
	Steps   []any  `json:"steps"`
}

type jsonOp struct {
	Op string `json:"op"`
}

type jsonTake struct {
	Op   string `json:"op"`
	Item int32  `json:"item"`
	Name string `json:"item_name"`
}

type jsonSet struct {
	Op  string `json:"op"`
	Num int32  `json:"num"`
}

type jsonChoose struct {
	Op   string `json:"op"`
	Num  int32  `json:"num"`
	Type string `json:"type"`
}

type jsonOpcode struct {
	Op   uint32 `json:"opcode"`
	Arg1 int32  `json:"arg1"`
	Arg2 int32  `json:"arg2"`
}

type jsonTunables struct {
	LocalTries    uint32 `json:"choose_local_tries"`
	LocalFallback uint32 `json:"choose_local_fallback_tries"`
	TotalTries    uint32 `json:"choose_total_tries"`
	DescendOnce   uint32 `json:"chooseleaf_descend_once"`
	VaryR         uint8  `json:"chooseleaf_vary_r"`
	Stable        uint8  `json:"chooseleaf_stable"`
	StrawCalc     uint8  `json:"straw_calc_version"`
	AllowedAlgs   uint32 `json:"allowed_bucket_algs"`
	Profile       string `json:"profile"`
	Optimal       int    `json:"optimal_tunables"`
	Legacy        int    `json:"legacy_tunables"`
	MinVersion    string `json:"minimum_required_version"`
	Tunables1     int    `json:"require_feature_tunables"`
	Tunables2     int    `json:"require_feature_tunables2"`
	V2Rules       int    `json:"has_v2_rules"`
	Tunables3     int    `json:"require_feature_tunables3"`
	V3Rules       int    `json:"has_v3_rules"`
	V4Buckets     int    `json:"has_v4_buckets"`
	Tunables5     int    `json:"require_feature_tunables5"`
	V5Rules       int    `json:"has_v5_rules"`
}

type jsonArg struct {
	Bucket    int32         `json:"bucket_id"`
	WeightSet [][]jsonFloat `json:"weight_set,omitempty"`
	IDs       []int32       `json:"ids,omitempty"`
}

// jsonFloat is a number with 17 digits, as the original prints it.
type jsonFloat float64

// MarshalJSON implements json.Marshaler.
func (f jsonFloat) MarshalJSON() ([]byte, error) {
	return strconv.AppendFloat(nil, float64(f), 'g', 17, 64), nil
}

// jsonAllArgs keeps the keys in numerical order.
type jsonAllArgs map[int64]ChooseArgs

// MarshalJSON implements json.Marshaler.
func (a jsonAllArgs) MarshalJSON() ([]byte, error) {
	b := []byte{'{'}
	for i, k := range sortedKeys(a) {
		if i > 0 {
			b = append(b, ',')
		}
		b = strconv.AppendQuote(b, itoa(k))
		b = append(b, ':')
		args := []jsonArg{}
		for slot, arg := range a[k] {
			if arg == nil {
				continue
			}
			x := jsonArg{Bucket: int32(-1 - slot), IDs: arg.IDs}
			for _, ws := range arg.WeightSet {
				set := []jsonFloat{}
				for _, w := range ws {
					set = append(set, jsonFloat(w)/65536)
				}
				x.WeightSet = append(x.WeightSet, set)
			}
			args = append(args, x)
		}
		v, err := json.Marshal(args)
		if err != nil {
			return nil, err
		}
		b = append(b, v...)
	}
	return append(b, '}'), nil
}

// JSON gives the map as crushtool --dump prints it, indented, without the
// line end.
func (m *Map) JSON() []byte {
	t := &textWriter{m: m}
	x := jsonMap{Devices: []jsonDevice{}, Types: []jsonType{}, Buckets: []jsonBucket{}, Rules: []jsonRule{},
		Tunables: m.jsonTunables(), ChooseArgs: m.ChooseArgs}
	for i := range m.MaxDevices {
		x.Devices = append(x.Devices, jsonDevice{i, m.itemName(i), m.className(i)})
	}
	if _, ok := m.Types[0]; !ok {
		x.Types = append(x.Types, jsonType{0, "device"})
	}
	for _, i := range sortedKeys(m.Types) {
		x.Types = append(x.Types, jsonType{i, m.Types[i]})
	}
	for _, b := range m.Buckets {
		if b == nil {
			continue
		}
		j := jsonBucket{b.ID, m.Names[b.ID], b.Type, t.typeName(int32(b.Type)), b.Weight, b.Alg.String(), "rjenkins1", []jsonItem{}}
		if b.Hash != 0 {
			j.Hash = "unknown"
		}
		for i, item := range b.Items {
			j.Items = append(j.Items, jsonItem{item, b.ItemWeightAt(i), i})
		}
		x.Buckets = append(x.Buckets, j)
	}
	for i, r := range m.Rules {
		if r == nil {
			continue
		}
		j := jsonRule{i, m.RuleNames[int32(i)], r.ID, r.Type, r.MinSize, r.MaxSize, []any{}}
		for _, s := range r.Steps {
			j.Steps = append(j.Steps, t.jsonStep(s))
		}
		x.Rules = append(x.Rules, j)
	}
	var out bytes.Buffer
	e := json.NewEncoder(&out)
	e.SetEscapeHTML(false)
	e.SetIndent("", "    ")
	if err := e.Encode(x); err != nil {
		panic("crush: a map has no JSON form: " + err.Error())
	}
	return bytes.TrimSpace(out.Bytes())
}

func (m *Map) className(item int32) string {
	if c, ok := m.ItemClass[item]; ok {
		return m.ClassNames[c]
	}
	return ""
}

func (t *textWriter) jsonStep(s Step) any {
	switch s.Op {
	case StepNoop:
		return jsonOp{"noop"}
	case StepEmit:
		return jsonOp{"emit"}
	case StepTake:
		return jsonTake{"take", s.Arg1, t.m.Names[s.Arg1]}
	case StepSetChooseTries, StepSetChooseLeafTries:
		return jsonSet{setSteps[s.Op], s.Arg1}
	case StepChooseFirstN:
		return jsonChoose{"choose_firstn", s.Arg1, t.typeName(s.Arg2)}
	case StepChooseIndep:
		return jsonChoose{"choose_indep", s.Arg1, t.typeName(s.Arg2)}
	case StepChooseLeafFirstN:
		return jsonChoose{"chooseleaf_firstn", s.Arg1, t.typeName(s.Arg2)}
	case StepChooseLeafIndep:
		return jsonChoose{"chooseleaf_indep", s.Arg1, t.typeName(s.Arg2)}
	}
	return jsonOpcode{uint32(s.Op), s.Arg1, s.Arg2}
}

func (m *Map) jsonTunables() jsonTunables {
	t := m.Tunables
	uses := map[StepOp]bool{}
	for _, r := range m.Rules {
		for i := 0; r != nil && i < len(r.Steps); i++ {
			uses[r.Steps[i].Op] = true
		}
	}
	straw2 := false
	for _, b := range m.Buckets {
		straw2 = straw2 || b != nil && b.Alg == Straw2
	}
	bit := func(b bool) int {
		if b {
			return 1
		}
		return 0
	}
	x := jsonTunables{
		LocalTries: t.ChooseLocalTries, LocalFallback: t.ChooseLocalFallbackTries, TotalTries: t.ChooseTotalTries,
		DescendOnce: t.ChooseLeafDescendOnce, VaryR: t.ChooseLeafVaryR, Stable: t.ChooseLeafStable,
		StrawCalc: t.StrawCalcVersion, AllowedAlgs: t.AllowedBucketAlgs, Profile: t.Profile(),
		Tunables1: bit(t.ChooseLocalTries != 2 || t.ChooseLocalFallbackTries != 5 || t.ChooseTotalTries != 19),
		Tunables2: bit(t.ChooseLeafDescendOnce != 0), Tunables3: bit(t.ChooseLeafVaryR != 0),
		Tunables5: bit(t.ChooseLeafStable != 0),
		V2Rules: bit(uses[StepChooseIndep] || uses[StepChooseLeafIndep] || uses[StepSetChooseTries] ||
			uses[StepSetChooseLeafTries]),
		V3Rules: bit(uses[StepSetChooseLeafVaryR]), V4Buckets: bit(straw2), V5Rules: bit(uses[StepSetChooseLeafStable]),
	}
	x.Optimal, x.Legacy = bit(x.Profile == "jewel"), bit(x.Profile == "argonaut")
	switch {
	case x.V5Rules+x.Tunables5 > 0:
		x.MinVersion = "jewel"
	case straw2:
		x.MinVersion = "hammer"
	case x.Tunables3 > 0:
		x.MinVersion = "firefly"
	case x.Tunables2+x.Tunables1 > 0:
		x.MinVersion = "bobtail"
	default:
		x.MinVersion = "argonaut"
	}
	return x
}

// Profile names the release whose tunables these are; "unknown" for a mix.
func (t Tunables) Profile() string {
	legacy := TunablesLegacy()
	bobtail := Tunables{ChooseTotalTries: 50, ChooseLeafDescendOnce: 1, AllowedBucketAlgs: legacy.AllowedBucketAlgs}
	firefly := bobtail
	firefly.ChooseLeafVaryR = 1
	hammer := TunablesJewel()
	hammer.ChooseLeafStable = 0
	for _, p := range [...]struct {
		name string
		t    Tunables
	}{{"jewel", TunablesJewel()}, {"hammer", hammer}, {"firefly", firefly}, {"bobtail", bobtail}, {"argonaut", legacy}} {
		// How straws are computed is no part of a profile.
		p.t.StrawCalcVersion = t.StrawCalcVersion
		if p.t == t {
			return p.name
		}
	}
	return "unknown"
}
