package crush_test

import (
	"fmt"
	"log"

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
