package clustermap

import (
	"bytes"
	"cmp"
	"fmt"
	"hash/crc32"
	"maps"
	"net/netip"
	"slices"

	"github.com/spirula/spirula/rados/wire"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// mapCRC is Ceph's checksum of a map: CRC-32C from 0xffffffff without the
// final inversion, over all bytes but those of the checksum itself, which lie
// from hole to hole+4.
func mapCRC(b []byte, hole int) uint32 {
	c := crc32.Update(0, castagnoli, b[:hole])
	return ^crc32.Update(c, castagnoli, b[hole+4:])
}

// errChecksum is the cause of a decode error when a map's checksum does not
// agree with its bytes.
func errChecksum(got, want uint32) error {
	return fmt.Errorf("%w: checksum %08x, computed %08x", wire.ErrFormat, got, want)
}

func sortedKeys[K cmp.Ordered, V any](m map[K]V) []K { return slices.Sorted(maps.Keys(m)) }

func comparePG(a, b wire.PGID) int {
	if c := cmp.Compare(a.Pool, b.Pool); c != 0 {
		return c
	}
	return cmp.Compare(a.Seed, b.Seed)
}

func sortedPGs[V any](m map[wire.PGID]V) []wire.PGID {
	return slices.SortedFunc(maps.Keys(m), comparePG)
}

// sortedAddrs gives addresses in the order of Ceph's set: that of the bytes
// of its struct in memory, type and nonce little-endian, then the sockaddr.
func sortedAddrs(addrs []wire.Addr) []wire.Addr {
	key := func(a wire.Addr) []byte {
		var e wire.Encoder
		e.Addr(a)
		b := e.B[7:] // behind marker and block header
		return append(slices.Clone(b[:8]), b[12:]...)
	}
	return slices.SortedFunc(slices.Values(addrs), func(a, b wire.Addr) int {
		return bytes.Compare(key(a), key(b))
	})
}

// hostOnly is the address without its port.
func hostOnly(a netip.AddrPort) netip.AddrPort { return netip.AddrPortFrom(a.Addr(), 0) }

// encodeMap writes a map with ordered keys.
func encodeMap[K cmp.Ordered, V any](e *wire.Encoder, m map[K]V, key func(K), value func(V)) {
	e.Count(len(m))
	for _, k := range sortedKeys(m) {
		key(k)
		value(m[k])
	}
}

// encodePGMap writes a map by PG.
func encodePGMap[V any](e *wire.Encoder, m map[wire.PGID]V, value func(V)) {
	e.Count(len(m))
	for _, pg := range sortedPGs(m) {
		e.PGID(pg)
		value(m[pg])
	}
}

// decodeMap reads a map whose entries take at least size bytes. It is never
// nil.
func decodeMap[K comparable, V any](d *wire.Decoder, size int, key func() K, value func() V) map[K]V {
	m := make(map[K]V)
	for range d.Count(size) {
		k := key()
		m[k] = value()
		if d.Err() != nil {
			break
		}
	}
	return m
}

func decodePGMap[V any](d *wire.Decoder, valueSize int, value func() V) map[wire.PGID]V {
	return decodeMap(d, wire.PGIDSize+valueSize, d.PGID, value)
}

// decodeSlice reads a vector whose elements take at least size bytes; nil
// when it is empty.
func decodeSlice[V any](d *wire.Decoder, size int, value func() V) []V {
	n := d.Count(size)
	if n == 0 {
		return nil
	}
	v := make([]V, n)
	for i := range v {
		v[i] = value()
	}
	return v
}

func encodeSlice[V any](e *wire.Encoder, v []V, value func(V)) {
	e.Count(len(v))
	for _, x := range v {
		value(x)
	}
}

func encodeStrings(e *wire.Encoder, m map[string]string) { encodeMap(e, m, e.Str, e.Str) }

func decodeStrings(d *wire.Decoder) map[string]string { return decodeMap(d, 8, d.Str, d.Str) }

func encodeNested(e *wire.Encoder, m map[string]map[string]string) {
	encodeMap(e, m, e.Str, func(v map[string]string) { encodeStrings(e, v) })
}

func decodeNested(d *wire.Decoder) map[string]map[string]string {
	return decodeMap(d, 8, d.Str, func() map[string]string { return decodeStrings(d) })
}

func encodeItems(e *wire.Encoder, v []int32) { encodeSlice(e, v, e.I32) }

func decodeItems(d *wire.Decoder) []int32 { return decodeSlice(d, 4, d.I32) }

func encodePairs(e *wire.Encoder, v []Pair) {
	encodeSlice(e, v, func(p Pair) { e.I32(p.From); e.I32(p.To) })
}

func decodePairs(d *wire.Decoder) []Pair {
	return decodeSlice(d, 8, func() Pair { return Pair{d.I32(), d.I32()} })
}

func encodeSnapSets(e *wire.Encoder, m map[int64]SnapSet) {
	encodeMap(e, m, e.I64, func(s SnapSet) { encodeSnapSet(e, s) })
}

func decodeSnapSets(d *wire.Decoder) map[int64]SnapSet {
	return decodeMap(d, 12, d.I64, func() SnapSet { return decodeSnapSet(d) })
}

func encodeXInfo(e *wire.Encoder, x OSDXInfo) {
	b := e.Begin(4, 1)
	e.Time(x.DownStamp)
	e.U32(x.LaggyProb)
	e.U32(x.LaggyInterval)
	e.U64(x.Features)
	e.U32(x.OldWeight)
	e.Time(x.LastPurgedSnaps)
	e.U32(uint32(x.DeadEpoch))
	e.End(b)
}

func decodeXInfo(d *wire.Decoder) (x OSDXInfo) {
	b := d.Begin(4)
	x.DownStamp = d.Time()
	x.LaggyProb = d.U32()
	x.LaggyInterval = d.U32()
	if b.Version >= 2 {
		x.Features = d.U64()
	}
	if b.Version >= 3 {
		x.OldWeight = d.U32()
	}
	if b.Version >= 4 {
		x.LastPurgedSnaps = d.Time()
		x.DeadEpoch = wire.Epoch(d.U32())
	}
	d.End(b)
	return x
}

func encodeInfo(e *wire.Encoder, i OSDInfo) {
	e.U8(1)
	for _, v := range [...]wire.Epoch{i.LastCleanBegin, i.LastCleanEnd, i.UpFrom, i.UpThru, i.DownAt, i.LostAt} {
		e.U32(uint32(v))
	}
}

func decodeInfo(d *wire.Decoder) (i OSDInfo) {
	d.Skip(1)
	for _, v := range [...]*wire.Epoch{&i.LastCleanBegin, &i.LastCleanEnd, &i.UpFrom, &i.UpThru, &i.DownAt, &i.LostAt} {
		*v = wire.Epoch(d.U32())
	}
	return i
}
