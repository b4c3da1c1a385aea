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
// map, [BuildLayers] a regular one; AddDevice, Move, Reweight, Remove and the
// others edit one, AddWeightSet and SetWeight shift load within one.
// [Map.WriteTree] and a [Tester] show what a map is and does.
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
//
// # XML
//
// The XML form of a map holds everything the binary form does, exactly:
// binary, XML, binary gives the same bytes. Numbers decide; what is there to
// be read by people is marked (info) and ignored when it is read back.
//
//	<crushmap max_devices max_buckets max_rules>
//	  <tunables choose_local_tries ... allowed_bucket_algs [msr_descents msr_collision_tries]/>
//	  <types><type id name/></types>
//	  <classes><class id name/></classes>
//	  <names><name id name/></names>                devices and buckets
//	  <rule_names><name id name/></rule_names>
//	  <item_classes><item id class/></item_classes> class: its id
//	  <buckets>
//	    <bucket id name(info) type alg hash [weight_raw item_weight sums nodes straws]>
//	      <shadow class id/>
//	      <item id name(info) weight(info) raw/>    raw: 16.16
//	    </bucket>
//	  </buckets>
//	  <rules><rule slot id type min_size max_size><step op name(info) arg1 arg2/></rule></rules>
//	  <choose_args key><arg bucket><weight_set>N N ...</weight_set><ids>N N ...</ids></arg></choose_args>
//	</crushmap>
//
// The bracketed attributes of a bucket, lists of numbers, stand there only
// where they differ from what its kind derives from the items' weights. A
// shadow of a bucket that does not exist stands in <shadows of>.
package crush
