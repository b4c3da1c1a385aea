// Package crush computes where data lives: a function from a number to an
// ordered list of devices, over a weighted hierarchy of buckets, by rules.
// It gives the same devices, bit for bit, as Ceph's CRUSH for every kind of
// bucket, rule step and tunable up to release 16.2, and reads and writes the
// same binary maps.
//
// # Model
//
// A [Map] holds buckets (ids below 0) and devices (ids from 0), a type for
// each level (0 is the device), rules, and tunables. A bucket of one of five
// kinds picks one of its items for an input x and an attempt r, in proportion
// to 16.16 weights. A rule takes a bucket, chooses from it items of a type,
// descending and retrying after collisions and devices that are out, and
// emits them. firstn rules close up, indep rules leave holes ([None]).
//
// # Forms
//
// [DecodeMap] and [Map.Encode] are the binary form, [Compile] and [Map.Text]
// crushtool's text (weights with three decimals), [ReadXML] and
// [Map.WriteXML] a text that loses nothing. [Bootstrap] makes a new cluster's
// map; AddDevice, Move, Reweight, Remove and the others edit one.
//
// # Use
//
//	m, err := crush.DecodeMap(data)
//	var w crush.Work // kept, one per goroutine
//	osds := m.DoRule(rule, x, 3, reweights, nil, &w)
//
// Mapping is a pure function: no state, clock or randomness, no allocation
// once the Work has grown. A Map is read-only while it is in use; editing
// means Clone, change, Validate.
//
// # Bounds
//
// Maps come from the network. DecodeMap refuses cycles, dangling ids,
// hierarchies deeper than MaxDepth and counts beyond the data; a mapping
// looks at no more than MaxWork items. Arithmetic is 32-bit unsigned with
// wrap where the standard's is.
//
// The package imports nothing of Spirula.
package crush
