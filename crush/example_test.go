package crush_test

import (
	"fmt"
	"log"
	"os"

	"github.com/spirula/spirula/crush"
)

// A map is made, and an input mapped to three devices on different hosts.
func Example() {
	var devices []crush.BootstrapDevice
	for i := range int32(6) {
		devices = append(devices, crush.BootstrapDevice{ID: i, Host: fmt.Sprintf("host%d", i/2), Weight: 0x10000})
	}
	m, err := crush.Bootstrap(devices)
	if err != nil {
		log.Fatal(err)
	}
	in := []uint32{0x10000, 0x10000, 0x10000, 0x10000, 0x10000, 0x10000}
	var w crush.Work
	fmt.Println(m.DoRule(crush.RuleByHost, 42, 3, in, nil, &w))
	in[0], in[1] = 0, 0 // host0 is out
	fmt.Println(m.DoRule(crush.RuleByHost, 42, 3, in, nil, &w))
	// Output:
	// [0 4 3]
	// [4 3]
}

// A device joins on a new host, and the weights above it follow.
func ExampleMap_AddDevice() {
	m, err := crush.Bootstrap([]crush.BootstrapDevice{{ID: 0, Host: "a", Weight: 0x10000}})
	if err != nil {
		log.Fatal(err)
	}
	err = m.AddDevice(1, "osd.1", 0x20000, []crush.Location{{Type: "host", Name: "b"}, {Type: "root", Name: "default"}})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%#x\n", m.Bucket(-1).Weight)
	// Output: 0x30000
}

// A map is read from its text, and its binary form read back.
func ExampleCompile() {
	m, err := crush.Compile([]byte(`
device 0 osd.0
device 1 osd.1
type 0 osd
type 1 root
root default {
	id -1
	alg straw2
	hash 0
	item osd.0 weight 1.000
	item osd.1 weight 2.000
}
`))
	if err != nil {
		log.Fatal(err)
	}
	again, err := crush.DecodeMap(m.Encode())
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(again.Names[-1], again.Bucket(-1).Items)
	// Output: default [0 1]
}

// A map in the binary form is read, and every input of a range mapped by its
// rules.
func ExampleDecodeMap() {
	data, err := os.ReadFile("testdata/datacenter.bin")
	if err != nil {
		log.Fatal(err)
	}
	m, err := crush.DecodeMap(data)
	if err != nil {
		log.Fatal(err)
	}
	t := crush.NewTester(m)
	t.MinX, t.MaxX = 0, 2
	t.MinRule, t.MaxRule = 0, 0
	t.MinRep, t.MaxRep = 3, 3
	t.Mappings = true
	if err := t.Run(os.Stdout); err != nil {
		log.Fatal(err)
	}
	// Output:
	// CRUSH rule 0 x 0 [60,57,14]
	// CRUSH rule 0 x 1 [59,7,26]
	// CRUSH rule 0 x 2 [12,61,47]
}

// A map is built from the levels of its hierarchy.
func ExampleBuildLayers() {
	m, err := crush.BuildLayers(4, []crush.Layer{
		{Name: "host", Alg: crush.Straw2, Size: 2},
		{Name: "root", Alg: crush.Straw2},
	})
	if err != nil {
		log.Fatal(err)
	}
	for i := range m.Tree(false) {
		fmt.Printf("%*s%s %d\n", 2*i.Depth, "", m.Names[i.ID], i.Weight>>16)
	}
	// Output:
	// root 4
	//   host0 2
	//     osd.0 1
	//     osd.1 1
	//   host1 2
	//     osd.2 1
	//     osd.3 1
}

// A device is to take half of what its size entitles it to, without a change
// of the size.
func ExampleMap_SetWeight() {
	m, err := crush.BuildLayers(4, []crush.Layer{
		{Name: "host", Alg: crush.Straw2, Size: 2},
		{Name: "root", Alg: crush.Straw2},
	})
	if err != nil {
		log.Fatal(err)
	}
	if err := m.AddWeightSet(crush.DefaultChooseArgs, 1); err != nil {
		log.Fatal(err)
	}
	if err := m.SetWeight(crush.DefaultChooseArgs, 3, 0x8000); err != nil {
		log.Fatal(err)
	}
	root, _ := m.ItemByName("root")
	set := m.ArgsFor(crush.DefaultChooseArgs)[-1-root].WeightSet[0]
	fmt.Printf("%#x of %#x\n", set[1], m.Bucket(root).Weights[1])
	// Output: 0x18000 of 0x20000
}
