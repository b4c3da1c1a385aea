package wire

import (
	"cmp"
	"maps"
	"slices"
)

// The messages of our own are one versioned block each, so that a later
// version can append to them.

func encodeMOSDBoot(e *Encoder, _ *Parts, m *MOSDBoot) {
	b := e.Begin(1, 1)
	e.I32(m.OSD)
	e.FSID(m.UUID)
	e.Addr(m.Public)
	e.Addr(m.Cluster)
	e.U32(uint32(m.Epoch))
	e.Str(m.Host)
	e.U32(m.Weight)
	e.End(b)
}

func decodeMOSDBoot(d *Decoder, _ *Parts, m *MOSDBoot) {
	b := d.Begin(1)
	m.OSD = d.I32()
	m.UUID = d.FSID()
	m.Public = d.Addr()
	m.Cluster = d.Addr()
	m.Epoch = Epoch(d.U32())
	m.Host = d.Str()
	m.Weight = d.U32()
	d.End(b)
}

func encodeMOSDAlive(e *Encoder, _ *Parts, m *MOSDAlive) {
	b := e.Begin(1, 1)
	e.I32(m.OSD)
	e.U32(uint32(m.Want))
	e.End(b)
}

func decodeMOSDAlive(d *Decoder, _ *Parts, m *MOSDAlive) {
	b := d.Begin(1)
	m.OSD = d.I32()
	m.Want = Epoch(d.U32())
	d.End(b)
}

func encodeMOSDMarkDown(e *Encoder, _ *Parts, m *MOSDMarkDown) {
	b := e.Begin(1, 1)
	e.I32(m.OSD)
	e.End(b)
}

func decodeMOSDMarkDown(d *Decoder, _ *Parts, m *MOSDMarkDown) {
	b := d.Begin(1)
	m.OSD = d.I32()
	d.End(b)
}

func encodeMOSDFailure(e *Encoder, _ *Parts, m *MOSDFailure) {
	b := e.Begin(1, 1)
	e.I32(m.Reporter)
	e.I32(m.Target)
	e.Addr(m.TargetAddr)
	e.I64(int64(m.FailedFor))
	e.U32(uint32(m.Epoch))
	e.End(b)
}

func decodeMOSDFailure(d *Decoder, _ *Parts, m *MOSDFailure) {
	b := d.Begin(1)
	m.Reporter = d.I32()
	m.Target = d.I32()
	m.TargetAddr = d.Addr()
	m.FailedFor = Time(d.I64())
	m.Epoch = Epoch(d.U32())
	d.End(b)
}

func encodeMOSDPGTemp(e *Encoder, _ *Parts, m *MOSDPGTemp) {
	b := e.Begin(1, 1)
	e.I32(m.OSD)
	e.U32(uint32(m.Epoch))
	e.Count(len(m.Temp))
	for _, pg := range slices.SortedFunc(maps.Keys(m.Temp), comparePGID) {
		e.PGID(pg)
		e.i32s(m.Temp[pg])
	}
	e.End(b)
}

func decodeMOSDPGTemp(d *Decoder, _ *Parts, m *MOSDPGTemp) {
	b := d.Begin(1)
	m.OSD = d.I32()
	m.Epoch = Epoch(d.U32())
	m.Temp = make(map[PGID][]int32)
	for n := d.Count(PGIDSize + 4); n > 0 && d.err == nil; n-- {
		pg := d.PGID()
		m.Temp[pg] = d.i32s()
	}
	d.End(b)
}

func comparePGID(a, b PGID) int {
	return cmp.Or(cmp.Compare(a.Pool, b.Pool), cmp.Compare(a.Seed, b.Seed))
}

func (e *Encoder) i32s(v []int32) {
	e.Count(len(v))
	for _, n := range v {
		e.I32(n)
	}
}

func (d *Decoder) i32s() []int32 {
	n := d.Count(4)
	if n == 0 {
		return nil
	}
	v := make([]int32, n)
	for i := range v {
		v[i] = d.I32()
	}
	return v
}

func encodeMOSDStats(e *Encoder, _ *Parts, m *MOSDStats) {
	b := e.Begin(1, 1)
	e.I32(m.OSD)
	e.U64(m.Total)
	e.U64(m.Used)
	e.U64(m.Avail)
	e.Count(len(m.PGs))
	for _, pg := range slices.SortedFunc(maps.Keys(m.PGs), comparePGID) {
		e.PGID(pg)
		s := m.PGs[pg]
		e.pgStat(&s)
	}
	e.End(b)
}

func decodeMOSDStats(d *Decoder, _ *Parts, m *MOSDStats) {
	b := d.Begin(1)
	m.OSD = d.I32()
	m.Total = d.U64()
	m.Used = d.U64()
	m.Avail = d.U64()
	m.PGs = make(map[PGID]PGStat)
	for n := d.Count(PGIDSize + 6); n > 0 && d.err == nil; n-- {
		pg := d.PGID()
		m.PGs[pg] = d.pgStat()
	}
	d.End(b)
}

// pgStat appends a block of our own; of the pool's use it has the numbers
// that a placement group knows, since version 2 its traffic among them.
func (e *Encoder) pgStat(s *PGStat) {
	b := e.Begin(2, 1)
	e.Str(s.State)
	e.U64(s.Stat.Objects)
	e.U64(s.Stat.Clones)
	e.U64(s.Stat.Bytes)
	e.U64(s.Stat.OmapBytes)
	e.U32(uint32(s.LastEpochClean))
	e.U64(s.Missing)
	e.i32s(s.Up)
	e.i32s(s.Acting)
	e.I64(int64(s.LastDeepScrub))
	e.EVersion(s.ReportedVersion)
	var sums ObjectSums
	if s.Stat.Detail != nil {
		sums = s.Stat.Detail.Sums
	}
	e.I64(sums.Reads)
	e.I64(sums.ReadKiB)
	e.I64(sums.Writes)
	e.I64(sums.WriteKiB)
	e.End(b)
}

func (d *Decoder) pgStat() (s PGStat) {
	b := d.Begin(2)
	s.State = d.Str()
	s.Stat.Objects = d.U64()
	s.Stat.Clones = d.U64()
	s.Stat.Bytes = d.U64()
	s.Stat.OmapBytes = d.U64()
	s.LastEpochClean = Epoch(d.U32())
	s.Missing = d.U64()
	s.Up = d.i32s()
	s.Acting = d.i32s()
	s.LastDeepScrub = Time(d.I64())
	s.ReportedVersion = d.EVersion()
	if b.Version >= 2 {
		sums := ObjectSums{Reads: d.I64(), ReadKiB: d.I64(), Writes: d.I64(), WriteKiB: d.I64()}
		if sums != (ObjectSums{}) {
			s.Stat.Detail = &PoolDetail{Sums: sums}
		}
	}
	d.End(b)
	return s
}

func encodeMOSDPurged(e *Encoder, _ *Parts, m *MOSDPurged) {
	b := e.Begin(1, 1)
	e.I32(m.OSD)
	e.PGID(m.PG)
	e.snaps(m.Snaps)
	e.End(b)
}

func decodeMOSDPurged(d *Decoder, _ *Parts, m *MOSDPurged) {
	b := d.Begin(1)
	m.OSD = d.I32()
	m.PG = d.PGID()
	m.Snaps = d.snaps()
	d.End(b)
}
