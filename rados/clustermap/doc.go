// Package clustermap holds the maps that every party of a cluster shares: the
// OSD map (pools, OSDs, placement), its incrementals, and the monitors' map.
//
// # Contract
//
// An [OSDMap] is immutable from the moment it was decoded, made or applied:
// any number of goroutines read it without locks. A change is an
// [Incremental]; Apply gives the next map, which shares with the old one
// everything the increment does not touch. Placement, [OSDMap.Map], is a pure
// function of the map; each map remembers what it has computed, and a PG asked
// for again costs two atomic loads and no allocation. Where an increment
// cannot move a pool's PGs the remembered answers go over to the next map.
//
// # Format
//
// The encodings are Ceph's, in the versions Pacific (16.2) writes, byte for
// byte: a decoded map encodes to the bytes it came from, and both sides of
// the full map's checksum agree with Ceph's own daemons. Appended fields of
// newer releases are skipped; a block that demands a newer reader is an error.
//
// Input from the network may be hostile: every count is bounded by the bytes
// at hand, the CRUSH map is validated, and a pool may have at most MaxPGs
// PGs. Errors have kind wire.EINVAL and their cause.
//
// # Who runs it
//
// The mon's leader makes increments and encodes; members, OSDs, clients and
// gateways decode and apply. The package starts no goroutine and has no locks
// beyond the atomics of its cache.
package clustermap
