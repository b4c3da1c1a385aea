package wire

import (
	"maps"
	"slices"
)

// ObjectSums are counters over the objects of a pool, besides those in
// PoolStat (Ceph's object_stat_sum_t).
type ObjectSums struct {
	Copies, MissingOnPrimary, Degraded, Unfound           int64
	Reads, ReadKiB, Writes, WriteKiB                      int64
	ScrubErrors                                           int64
	ObjectsRecovered, BytesRecovered, KeysRecovered       int64
	ShallowScrubErrors, DeepScrubErrors                   int64
	Dirty, Whiteouts, WithOmap, HitSetArchive             int64
	Misplaced, HitSetBytes                                int64
	Flushes, FlushKiB, Evictions, EvictKiB, Promotions    int64
	FlushHigh, FlushLow, EvictSome, EvictFull             int32
	Pinned, Missing, LegacySnapSets, LargeOmap, Manifests int64
	OmapKeys, Repaired                                    int64
}

// StoreSums is the space of a pool in the OSDs' stores, in bytes (Ceph's
// store_statfs_t).
type StoreSums struct {
	Total, Available, Reserved, Allocated, Stored       int64
	Compressed, CompressedAllocated, CompressedOriginal int64
	OmapAllocated, InternalMetadata                     int64
}

// PoolDetail is what Ceph reports of a pool besides PoolStat.
type PoolDetail struct {
	Sums          ObjectSums
	LogSize       int64 // entries of all PG logs
	OnDiskLogSize int64
	Up, Acting    int32 // PG replicas
	Store         StoreSums
	StoresCounted uint32 // OSDs that Store is the sum over
}

// allSums are the counters of object_stat_sum_t.
type allSums struct {
	ObjectSums
	bytes, objects, clones, omapBytes int64
}

// The counters come in this order: words, halves, tail.

func (s *allSums) words() [28]*int64 {
	return [...]*int64{&s.bytes, &s.objects, &s.clones, &s.Copies, &s.MissingOnPrimary, &s.Degraded, &s.Unfound,
		&s.Reads, &s.ReadKiB, &s.Writes, &s.WriteKiB, &s.ScrubErrors,
		&s.ObjectsRecovered, &s.BytesRecovered, &s.KeysRecovered, &s.ShallowScrubErrors, &s.DeepScrubErrors,
		&s.Dirty, &s.Whiteouts, &s.WithOmap, &s.HitSetArchive, &s.Misplaced, &s.HitSetBytes,
		&s.Flushes, &s.FlushKiB, &s.Evictions, &s.EvictKiB, &s.Promotions}
}

func (s *allSums) halves() [4]*int32 {
	return [...]*int32{&s.FlushHigh, &s.FlushLow, &s.EvictSome, &s.EvictFull}
}

func (s *allSums) tail() [8]*int64 {
	return [...]*int64{&s.Pinned, &s.Missing, &s.LegacySnapSets, &s.LargeOmap, &s.Manifests,
		&s.omapBytes, &s.OmapKeys, &s.Repaired}
}

func (s *StoreSums) words() [10]*int64 {
	return [...]*int64{&s.Total, &s.Available, &s.Reserved, &s.Allocated, &s.Stored, &s.Compressed,
		&s.CompressedAllocated, &s.CompressedOriginal, &s.OmapAllocated, &s.InternalMetadata}
}

// poolStat appends a pool_stat_t.
func (e *Encoder) poolStat(p PoolStat) {
	var d PoolDetail
	if p.Detail != nil {
		d = *p.Detail
	}
	sums := allSums{ObjectSums: d.Sums, bytes: int64(p.Bytes), objects: int64(p.Objects),
		clones: int64(p.Clones), omapBytes: int64(p.OmapBytes)}
	m := e.Begin(7, 5)
	collection := e.Begin(2, 2)
	sum := e.Begin(20, 14)
	for _, w := range sums.words() {
		e.I64(*w)
	}
	for _, w := range sums.halves() {
		e.I32(*w)
	}
	for _, w := range sums.tail() {
		e.I64(*w)
	}
	e.End(sum)
	e.Count(0) // sums by category: nobody has any
	e.End(collection)
	e.I64(d.LogSize)
	e.I64(d.OnDiskLogSize)
	e.I32(d.Up)
	e.I32(d.Acting)
	store := e.Begin(1, 1)
	for _, w := range d.Store.words() {
		e.I64(*w)
	}
	e.End(store)
	e.U32(d.StoresCounted)
	e.End(m)
}

func (d *Decoder) poolStat() PoolStat {
	var det PoolDetail
	var sums allSums
	m := d.Begin(7)
	collection := d.Begin(2)
	sum := d.Begin(20)
	for _, w := range sums.words() {
		*w = d.I64()
	}
	for _, w := range sums.halves() {
		*w = d.I32()
	}
	for _, w := range sums.tail() {
		*w = d.I64()
	}
	d.End(sum)
	d.End(collection)
	det.LogSize = d.I64()
	det.OnDiskLogSize = d.I64()
	det.Up = d.I32()
	det.Acting = d.I32()
	if m.Version >= 7 {
		store := d.Begin(1)
		for _, w := range det.Store.words() {
			*w = d.I64()
		}
		d.End(store)
		det.StoresCounted = d.U32()
	}
	d.End(m)
	det.Sums = sums.ObjectSums
	return PoolStat{Objects: uint64(sums.objects), Clones: uint64(sums.clones), Bytes: uint64(sums.bytes),
		OmapBytes: uint64(sums.omapBytes), Detail: &det}
}

func encodeMStatfs(e *Encoder, out *Parts, m *MStatfs) {
	out.TID = m.TID
	e.paxosPrefix(m.Seen)
	e.FSID(m.FSID)
	e.Bool(m.HasPool)
	if m.HasPool {
		e.I64(m.Pool)
	}
}

func decodeMStatfs(d *Decoder, in *Parts, m *MStatfs) {
	m.TID = in.TID
	m.Seen = d.paxosPrefix()
	m.FSID = d.FSID()
	if in.Version >= 2 {
		m.HasPool = d.Bool()
		if m.HasPool {
			m.Pool = d.I64()
		}
	}
}

func encodeMStatfsReply(e *Encoder, out *Parts, m *MStatfsReply) {
	out.TID = m.TID
	e.FSID(m.FSID)
	e.U64(m.Version)
	e.U64(m.KB)
	e.U64(m.KBUsed)
	e.U64(m.KBAvail)
	e.U64(m.Objects)
}

func decodeMStatfsReply(d *Decoder, in *Parts, m *MStatfsReply) {
	m.TID = in.TID
	m.FSID = d.FSID()
	m.Version = d.U64()
	m.KB = d.U64()
	m.KBUsed = d.U64()
	m.KBAvail = d.U64()
	m.Objects = d.U64()
}

func encodeMGetPoolStats(e *Encoder, out *Parts, m *MGetPoolStats) {
	out.TID = m.TID
	e.paxosPrefix(m.Seen)
	e.FSID(m.FSID)
	e.Strs(m.Pools)
}

func decodeMGetPoolStats(d *Decoder, in *Parts, m *MGetPoolStats) {
	m.TID = in.TID
	m.Seen = d.paxosPrefix()
	m.FSID = d.FSID()
	m.Pools = d.Strs()
}

func encodeMGetPoolStatsReply(e *Encoder, out *Parts, m *MGetPoolStatsReply) {
	out.TID = m.TID
	e.paxosPrefix(m.Seen)
	e.FSID(m.FSID)
	e.Count(len(m.Pools))
	for _, name := range slices.Sorted(maps.Keys(m.Pools)) {
		e.Str(name)
		e.poolStat(m.Pools[name])
	}
	e.Bool(m.PerPool)
}

// poolStatSize is the least length of an encoded pool_stat_t.
const poolStatSize = 6 + 6 + 6 + 304

func decodeMGetPoolStatsReply(d *Decoder, in *Parts, m *MGetPoolStatsReply) {
	m.TID = in.TID
	m.Seen = d.paxosPrefix()
	m.FSID = d.FSID()
	m.Pools = make(map[string]PoolStat)
	for n := d.Count(4 + poolStatSize); n > 0 && d.err == nil; n-- {
		name := d.Str()
		m.Pools[name] = d.poolStat()
	}
	if in.Version >= 2 {
		m.PerPool = d.Bool()
	}
}
