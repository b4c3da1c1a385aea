package crush

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"testing"
)

// TestBootstrapRacks makes a cluster of racks and classes from its
// description: the hierarchy, its sums, and rules by rack and by class.
func TestBootstrapRacks(t *testing.T) {
	var devices []BootstrapDevice
	for i := range int32(24) {
		devices = append(devices, BootstrapDevice{ID: i, Host: fmt.Sprintf("h%d", i/2), Weight: 0x10000 * uint32(1+i%2),
			Class: []string{"hdd", "ssd"}[i%2],
			At:    []Location{{"rack", fmt.Sprintf("r%d", i/6)}, {"datacenter", fmt.Sprintf("d%d", i/12)}}})
	}
	m, err := Bootstrap(devices)
	if err != nil {
		t.Fatal(err)
	}
	want := []Location{{"datacenter", "d1"}, {"host", "h7"}, {"rack", "r2"}, {"root", "default"}}
	if got := m.LocationOf(15); !slices.Equal(got, want) {
		t.Errorf("device 15 is at %v, want %v", got, want)
	}
	if w := m.Bucket(-1).Weight; w != 36*0x10000 {
		t.Errorf("the root weighs %#x", w)
	}
	again, err := DecodeMap(m.Encode())
	if err != nil || !bytes.Equal(again.Encode(), m.Encode()) {
		t.Fatalf("decoded: %v", err)
	}
	byRack := m.AddSimpleRule("by_rack", -1, 3, RuleReplicated, true)
	ssd, err := m.AddClassRule("ssd", -1, 3, "ssd", RuleReplicated, true)
	if err != nil {
		t.Fatal(err)
	}
	in := NewTester(m).DeviceWeights()
	var w Work
	for x := range uint32(500) {
		for _, rule := range []int{byRack, ssd} {
			racks := map[int32]bool{}
			got := m.DoRule(rule, x, 3, in, nil, &w)
			for _, d := range got {
				racks[d/6] = true
				if rule == ssd && d%2 == 0 {
					t.Fatalf("x %d: device %d is no ssd", x, d)
				}
			}
			if len(got) != 3 || len(racks) != 3 {
				t.Fatalf("x %d rule %d: %v", x, rule, got)
			}
		}
	}
}

func TestBootstrapErrors(t *testing.T) {
	at := func(l ...Location) []Location { return l }
	for what, devices := range map[string][]BootstrapDevice{
		"device twice":      {{ID: 1}, {ID: 1}},
		"negative":          {{ID: -1}},
		"host as the root":  {{Host: "default"}},
		"no type":           {{Host: "a", At: at(Location{"shelf", "s"})}},
		"type of a host":    {{Host: "a", At: at(Location{"host", "s"})}},
		"type twice":        {{Host: "a", At: at(Location{"rack", "s"}, Location{"rack", "u"})}},
		"own name":          {{Host: "a", At: at(Location{"rack", "a"})}},
		"rack in two rows":  {{Host: "a", At: at(Location{"rack", "r"}, Location{"row", "x"})}, {ID: 1, Host: "b", At: at(Location{"rack", "r"}, Location{"row", "y"})}},
		"name with a blank": {{Host: "a", At: at(Location{"rack", "r 1"})}},
		"too heavy":         {{ID: 0, Host: "a", Weight: 1 << 31}, {ID: 1, Host: "a", Weight: 1 << 31}},
	} {
		if m, err := Bootstrap(devices); m != nil || !errors.Is(err, ErrMap) {
			t.Errorf("%s: %v", what, err)
		}
	}
}
