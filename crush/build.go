package crush

import "fmt"

// DefaultTypes are the levels of a new cluster's map, device first.
var DefaultTypes = []string{"osd", "host", "chassis", "rack", "row", "pdu", "pod",
	"room", "datacenter", "zone", "region", "root"}

// BootstrapDevice is one device of a new map.
type BootstrapDevice struct {
	ID     int32
	Host   string // "" is localhost
	Weight uint32 // 16.16; 1.0 = 0x10000 stands for 1 TiB by convention
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
// default, a straw2 bucket for each host in order of appearance, and the two
// rules RuleByHost and RuleByOSD. With no devices there is one empty host,
// localhost.
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
		m.bootstrapHost(root, "localhost")
	}
	places := map[string]int{} // of hosts in root
	for _, d := range devices {
		if d.ID < 0 || d.ID >= None-1 {
			return nil, badMap("device id %d", d.ID)
		}
		if _, ok := m.Names[d.ID]; ok {
			return nil, badMap("device %d twice", d.ID)
		}
		host := d.Host
		switch host {
		case "":
			host = "localhost"
		case "default":
			return nil, badMap("host name %q is the root's", host)
		}
		at, ok := places[host]
		if !ok {
			at = len(root.Items)
			places[host] = at
			m.bootstrapHost(root, host)
		}
		b := m.Bucket(root.Items[at])
		m.Names[d.ID] = fmt.Sprintf("osd.%d", d.ID)
		m.MaxDevices = max(m.MaxDevices, d.ID+1)
		b.Items = append(b.Items, d.ID)
		b.Weights = append(b.Weights, d.Weight)
		b.Weight += d.Weight
		root.Weights[at] = b.Weight
		root.Weight += d.Weight
	}
	m.AddSimpleRule("replicated_rule", -1, 1, RuleReplicated, true)
	m.AddSimpleRule("replicated_osd", -1, 0, RuleReplicated, true)
	if err := m.Validate(); err != nil {
		return nil, err
	}
	return m, nil
}

func (m *Map) bootstrapHost(root *Bucket, name string) {
	id := int32(-1 - len(m.Buckets))
	m.Buckets = append(m.Buckets, &Bucket{ID: id, Type: 1, Alg: Straw2})
	m.Names[id] = name
	root.Items = append(root.Items, id)
	root.Weights = append(root.Weights, 0)
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
