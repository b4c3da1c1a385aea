package crush

import (
	"cmp"
	"fmt"
	"slices"
)

// DefaultTypes are the levels of a new cluster's map, device first.
var DefaultTypes = []string{"osd", "host", "chassis", "rack", "row", "pdu", "pod",
	"room", "datacenter", "zone", "region", "root"}

// BootstrapDevice is one device of a new map.
type BootstrapDevice struct {
	ID     int32
	Host   string // "" is localhost
	Weight uint32 // 16.16; 1.0 = 0x10000 stands for 1 TiB by convention
	Class  string // "ssd"; "" for none
	// At names the buckets above the host, the lowest of a type first or in
	// any order: {"rack", "r1"}. What the first device of a host says counts.
	At []Location
}

// Rules of a bootstrap map.
const (
	// RuleByHost is replicated_rule: replicas on different hosts.
	RuleByHost = 0
	// RuleByOSD is replicated_osd: replicas on different devices, for a
	// cluster on a single host.
	RuleByOSD = 1
)

// Bootstrap makes the first map of a cluster: the default types, a root named
// default, a straw2 bucket for each host and for what is above it in order of
// appearance, shadow trees of the classes, and the two rules RuleByHost and
// RuleByOSD. With no devices there is one empty host, localhost.
func Bootstrap(devices []BootstrapDevice) (*Map, error) {
	m := New()
	for i, name := range DefaultTypes {
		m.Types[int32(i)] = name
	}
	rootType := uint16(len(DefaultTypes) - 1)
	root := &Bucket{ID: -1, Type: rootType, Alg: Straw2}
	m.Buckets = append(m.Buckets, root)
	m.Names[-1] = "default"
	if len(devices) == 0 {
		m.bootstrapBucket(root, 1, "localhost")
	}
	hosts := map[string]*Bucket{}
	for _, d := range devices {
		if d.ID < 0 || d.ID >= None-1 {
			return nil, badMap("device id %d", d.ID)
		}
		if _, ok := m.Names[d.ID]; ok {
			return nil, badMap("device %d twice", d.ID)
		}
		host := cmp.Or(d.Host, "localhost")
		b, ok := hosts[host]
		if !ok {
			parent, err := m.bootstrapPlace(root, host, d.At)
			if err != nil {
				return nil, err
			}
			b = m.bootstrapBucket(parent, 1, host)
			hosts[host] = b
		}
		m.Names[d.ID] = fmt.Sprintf("osd.%d", d.ID)
		m.MaxDevices = max(m.MaxDevices, d.ID+1)
		b.Items = append(b.Items, d.ID)
		b.Weights = append(b.Weights, d.Weight)
		b.Weight += d.Weight
		if d.Class != "" {
			m.ItemClass[d.ID] = m.classID(d.Class)
		}
	}
	if err := m.ReweightAll(); err != nil {
		return nil, err
	}
	if len(m.ClassNames) > 0 {
		if err := m.BuildShadows(); err != nil {
			return nil, err
		}
	}
	m.AddSimpleRule("replicated_rule", -1, 1, RuleReplicated, true)
	m.AddSimpleRule("replicated_osd", -1, 0, RuleReplicated, true)
	if err := m.Validate(); err != nil {
		return nil, err
	}
	return m, nil
}

// bootstrapPlace finds the bucket that a new host goes into, making those that
// are not there.
func (m *Map) bootstrapPlace(root *Bucket, host string, at []Location) (*Bucket, error) {
	parent := root
	if _, taken := m.ItemByName(host); taken {
		return nil, badMap("host name %q is taken", host)
	}
	order := slices.Clone(at)
	level := func(l Location) int { return slices.Index(DefaultTypes, l.Type) }
	slices.SortStableFunc(order, func(a, b Location) int { return cmp.Compare(level(b), level(a)) })
	for i, l := range order {
		kind := level(l)
		if kind <= 1 || kind >= int(root.Type) || i > 0 && l.Type == order[i-1].Type || l.Name == host {
			return nil, badMap("host %s in %s %q", host, l.Type, l.Name)
		}
		id, ok := m.ItemByName(l.Name)
		if !ok {
			if err := m.checkName(l.Name); err != nil {
				return nil, err
			}
			parent = m.bootstrapBucket(parent, uint16(kind), l.Name)
			continue
		}
		b := m.Bucket(id)
		if b == nil || int(b.Type) != kind || !slices.Contains(parent.Items, id) {
			return nil, badMap("host %s: %s %s is elsewhere", host, l.Type, l.Name)
		}
		parent = b
	}
	return parent, nil
}

func (m *Map) bootstrapBucket(parent *Bucket, kind uint16, name string) *Bucket {
	b := &Bucket{ID: int32(-1 - len(m.Buckets)), Type: kind, Alg: Straw2}
	m.Buckets = append(m.Buckets, b)
	m.Names[b.ID] = name
	parent.Items = append(parent.Items, b.ID)
	parent.Weights = append(parent.Weights, 0)
	return b
}

// AddSimpleRule adds a rule that takes root and spreads over buckets of type
// kind (0: over devices), and gives its number: the lowest free one. Rules
// that leave holes (firstn false) get the wider retries Ceph gives them.
func (m *Map) AddSimpleRule(name string, root int32, kind int32, pool uint8, firstn bool) int {
	n := 0
	for n < len(m.Rules) && m.Rules[n] != nil {
		n++
	}
	if n == len(m.Rules) {
		m.Rules = append(m.Rules, nil)
	}
	r := &Rule{ID: uint8(n), Type: pool, MinSize: 1, MaxSize: 10}
	op := StepChooseLeafFirstN
	if !firstn {
		op = StepChooseLeafIndep
	}
	if kind == 0 {
		op = StepChooseFirstN
		if !firstn {
			op = StepChooseIndep
		}
	}
	if !firstn {
		r.MinSize, r.MaxSize = 3, 20
		r.Steps = append(r.Steps, Step{Op: StepSetChooseLeafTries, Arg1: 5}, Step{Op: StepSetChooseTries, Arg1: 100})
	}
	r.Steps = append(r.Steps, Step{Op: StepTake, Arg1: root}, Step{Op: op, Arg1: 0, Arg2: kind}, Step{Op: StepEmit})
	m.Rules[n] = r
	m.RuleNames[int32(n)] = name
	return n
}

func indexOf(items []int32, item int32) int {
	for i, it := range items {
		if it == item {
			return i
		}
	}
	return -1
}
