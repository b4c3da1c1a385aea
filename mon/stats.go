package mon

import (
	"time"

	"github.com/spirula/spirula/rados/clustermap"
	"github.com/spirula/spirula/rados/wire"
)

// rateGap is the time over which rates are taken.
const rateGap = 2 * time.Second

// pgRecord is the last report about a placement group.
type pgRecord struct {
	wire.PGStat
	reported, changed, active, clean time.Time // of the report, and since when or until when
	seq                              uint64
}

// osdRecord is the last report of an OSD about itself.
type osdRecord struct {
	total, used, avail uint64
	reported           time.Time
	seq                uint64
}

// statTable is what OSDs have reported: memory of the leader only, whole again
// seconds after a change of leader.
type statTable struct {
	osds    map[int32]osdRecord
	pgs     map[wire.PGID]*pgRecord
	version uint64 // grows with each report
	samples map[int64]poolSample
	rates   map[int64]poolRate
	sampled time.Time
}

// poolSample is a pool's counters at a time; poolRate what they grow by in a
// second.
type poolSample struct{ reads, readBytes, writes, writeBytes, objects, bytes int64 }
type poolRate poolSample

func newStatTable() *statTable {
	return &statTable{osds: make(map[int32]osdRecord), pgs: make(map[wire.PGID]*pgRecord), samples: map[int64]poolSample{}, rates: map[int64]poolRate{}}
}

func (t *statTable) report(m *wire.MOSDStats, now time.Time) {
	t.version++
	t.osds[m.OSD] = osdRecord{m.Total, m.Used, m.Avail, now, t.osds[m.OSD].seq + 1}
	for pg, st := range m.PGs {
		r := t.pgs[pg]
		if r == nil {
			r = &pgRecord{}
			t.pgs[pg] = r
		}
		if r.State != st.State {
			r.changed = now
		}
		r.PGStat, r.reported = st, now
		r.seq++
		if isActive(st.State) {
			r.active = now
		}
		if isClean(st.State) {
			r.clean = now
		}
	}
}

// prune forgets placement groups that no longer exist and OSDs that are gone.
func (t *statTable) prune(m *clustermap.OSDMap) {
	for pg := range t.pgs {
		if p := m.Pool(pg.Pool); p == nil || pg.Seed >= p.PGNum {
			delete(t.pgs, pg)
		}
	}
	for id := range t.osds {
		if !m.Exists(id) {
			delete(t.osds, id)
		}
	}
}

// usage is the use of stores in bytes.
type usage struct{ total, used, avail uint64 }

func (u usage) plus(v usage) usage {
	return usage{u.total + v.total, u.used + v.used, u.avail + v.avail}
}

// ratio is what part is used; 0 of nothing.
func (u usage) ratio() float64 {
	if u.total == 0 {
		return 0
	}
	return float64(u.used) / float64(u.total)
}

func (o osdRecord) usage() usage { return usage{o.total, o.used, o.avail} }

func (t *statTable) usage() (u usage) {
	for _, o := range t.osds {
		u = u.plus(o.usage())
	}
	return u
}

// detail gives the counters of a placement group; what its OSD does not
// report is worked out from the size of the pool.
func (r *pgRecord) detail() wire.PoolDetail {
	var d wire.PoolDetail
	if r.Stat.Detail != nil {
		d = *r.Stat.Detail
	}
	n := int64(len(r.Acting))
	if d.Sums.Copies == 0 {
		d.Sums.Copies = int64(r.Stat.Objects) * n
	}
	if d.Sums.Degraded == 0 {
		d.Sums.Degraded = int64(r.Missing)
	}
	if d.Store.Allocated == 0 {
		d.Store.Allocated = int64(r.Stat.Bytes) * n
	}
	if d.Store.Stored == 0 {
		d.Store.Stored = int64(r.Stat.Bytes) * n
	}
	if d.Store.OmapAllocated == 0 {
		d.Store.OmapAllocated = int64(r.Stat.OmapBytes) * n
	}
	d.Up, d.Acting = int32(len(r.Up)), int32(n)
	return d
}

// addDetail adds the counters that anything here shows.
func addDetail(a *wire.PoolDetail, b wire.PoolDetail) {
	pairs := [...][2]*int64{{&a.Sums.Copies, &b.Sums.Copies}, {&a.Sums.MissingOnPrimary, &b.Sums.MissingOnPrimary}, {&a.Sums.Missing, &b.Sums.Missing},
		{&a.Sums.Degraded, &b.Sums.Degraded}, {&a.Sums.Misplaced, &b.Sums.Misplaced}, {&a.Sums.Unfound, &b.Sums.Unfound},
		{&a.Sums.Dirty, &b.Sums.Dirty}, {&a.Sums.Whiteouts, &b.Sums.Whiteouts}, {&a.Sums.WithOmap, &b.Sums.WithOmap}, {&a.Sums.OmapKeys, &b.Sums.OmapKeys},
		{&a.Sums.Reads, &b.Sums.Reads}, {&a.Sums.ReadKiB, &b.Sums.ReadKiB}, {&a.Sums.Writes, &b.Sums.Writes}, {&a.Sums.WriteKiB, &b.Sums.WriteKiB},
		{&a.Sums.ScrubErrors, &b.Sums.ScrubErrors}, {&a.Sums.ShallowScrubErrors, &b.Sums.ShallowScrubErrors}, {&a.Sums.DeepScrubErrors, &b.Sums.DeepScrubErrors},
		{&a.Sums.ObjectsRecovered, &b.Sums.ObjectsRecovered}, {&a.Sums.BytesRecovered, &b.Sums.BytesRecovered}, {&a.Sums.KeysRecovered, &b.Sums.KeysRecovered},
		{&a.Store.Allocated, &b.Store.Allocated}, {&a.Store.Stored, &b.Store.Stored}, {&a.Store.OmapAllocated, &b.Store.OmapAllocated},
		{&a.LogSize, &b.LogSize}, {&a.OnDiskLogSize, &b.OnDiskLogSize}}
	for _, p := range pairs {
		*p[0] += *p[1]
	}
	a.Up, a.Acting = a.Up+b.Up, a.Acting+b.Acting
}

// add adds a placement group to a pool's sums, whose Detail is made if it is
// not there.
func (r *pgRecord) add(s *wire.PoolStat) {
	if s.Detail == nil {
		s.Detail = &wire.PoolDetail{}
	}
	s.Objects += r.Stat.Objects
	s.Clones += r.Stat.Clones
	s.Bytes += r.Stat.Bytes
	s.OmapBytes += r.Stat.OmapBytes
	addDetail(s.Detail, r.detail())
}

// byPool sums the reports of placement groups. Every entry has a Detail.
func (t *statTable) byPool() map[int64]wire.PoolStat {
	out := make(map[int64]wire.PoolStat)
	for pg, r := range t.pgs {
		s := out[pg.Pool]
		r.add(&s)
		out[pg.Pool] = s
	}
	return out
}

// poolSum is byPool with an entry for each pool there is.
func (s *osdService) poolSums() map[int64]wire.PoolStat {
	s.stats.prune(s.cur)
	pools := s.stats.byPool()
	for id := range s.cur.Pools {
		p := pools[id]
		if p.Detail == nil {
			p.Detail = &wire.PoolDetail{}
		}
		p.Detail.StoresCounted = uint32(len(s.stats.osds))
		pools[id] = p
	}
	return pools
}

// sample takes the counters for the rates.
func (t *statTable) sample(now time.Time) {
	if gap := now.Sub(t.sampled); gap >= rateGap || gap < 0 {
		seconds := max(int64(gap/time.Second), 1)
		next := map[int64]poolSample{}
		t.rates = map[int64]poolRate{}
		for id, p := range t.byPool() {
			c := &p.Detail.Sums
			n := poolSample{c.Reads, c.ReadKiB << 10, c.Writes, c.WriteKiB << 10, c.ObjectsRecovered, c.BytesRecovered}
			if old, ok := t.samples[id]; ok {
				per := func(a, b int64) int64 { return max(a-b, 0) / seconds }
				t.rates[id] = poolRate{per(n.reads, old.reads), per(n.readBytes, old.readBytes), per(n.writes, old.writes),
					per(n.writeBytes, old.writeBytes), per(n.objects, old.objects), per(n.bytes, old.bytes)}
			}
			next[id] = n
		}
		t.samples, t.sampled = next, now
	}
}

func (s *osdService) statfs(q *wire.MStatfs) *wire.MStatfsReply {
	r := &wire.MStatfsReply{TID: q.TID, FSID: s.m.fsid, Version: s.stats.version}
	u, pools := s.stats.usage(), s.poolSums()
	r.KB, r.KBUsed, r.KBAvail = u.total>>10, u.used>>10, u.avail>>10
	for id, p := range pools {
		if !q.HasPool || id == q.Pool {
			r.Objects += p.Objects
		}
	}
	if p := s.cur.Pool(q.Pool); q.HasPool && p != nil {
		r.KBUsed = pools[q.Pool].Bytes >> 10
		r.KBAvail = s.maxAvail(p) >> 10
		r.KB = r.KBUsed + r.KBAvail
	}
	return r
}

func (s *osdService) poolStats(q *wire.MGetPoolStats) *wire.MGetPoolStatsReply {
	r := &wire.MGetPoolStatsReply{TID: q.TID, Seen: s.stats.version, FSID: s.m.fsid, Pools: make(map[string]wire.PoolStat), PerPool: true}
	pools := s.poolSums()
	for _, name := range q.Pools {
		if id, ok := s.cur.PoolByName(name); ok {
			r.Pools[name] = pools[id]
		}
	}
	return r
}

// maxAvail is how many bytes a pool may still take: the OSD that will be full
// first sets the limit, as data is spread by weight.
func (s *osdService) maxAvail(p *clustermap.Pool) uint64 {
	weights, sum := map[int32]float64{}, 0.0
	for id, w := range crushWeights(s.cur.Crush) {
		if s.cur.IsIn(id) && s.stats.osds[id].total > 0 {
			weights[id] = float64(w) * float64(s.cur.OSDs[id].Weight) / clustermapIn
			sum += weights[id]
		}
	}
	least := -1.0
	for id, w := range weights {
		if w == 0 {
			continue
		}
		o := s.stats.osds[id]
		room := max(float64(o.avail)-(1-float64(s.cur.FullRatio))*float64(o.total), 0) / (w / sum)
		if least < 0 || room < least {
			least = room
		}
	}
	return uint64(max(least, 0)) / uint64(max(1, p.Size))
}

// checkFull keeps the full flags of OSDs, of the map and of pools in step
// with what is reported.
func (s *osdService) checkFull() {
	view := s.view()
	anyFull, anyNear := false, false
	for id, o := range s.stats.osds {
		if !view.IsUp(id) || o.total == 0 {
			continue
		}
		ratio := float32(o.used) / float32(o.total)
		var want clustermap.State
		switch {
		case ratio >= view.FullRatio:
			want, anyFull = clustermap.StateFull, true
		case ratio >= view.BackfillFullRatio:
			want, anyNear = clustermap.StateBackfillFull, true
		case ratio >= view.NearFullRatio:
			want, anyNear = clustermap.StateNearFull, true
		}
		const mask = clustermap.StateFull | clustermap.StateBackfillFull | clustermap.StateNearFull
		if diff := (view.OSDs[id].State & mask) ^ want; diff != 0 {
			s.change(true, nil).NewState[id] ^= diff
		}
	}
	flags := view.Flags &^ (clustermap.FlagFull | clustermap.FlagNearFull)
	if anyFull {
		flags |= clustermap.FlagFull
	} else if anyNear {
		flags |= clustermap.FlagNearFull
	}
	if flags != view.Flags {
		s.change(true, nil).NewFlags = int32(flags)
	}
	s.checkQuotas()
}

func (s *osdService) checkQuotas() {
	view := s.view()
	var use map[int64]wire.PoolStat
	for id, p := range view.Pools {
		limited := p.QuotaMaxBytes != 0 || p.QuotaMaxObjects != 0
		if !limited && p.Flags&clustermap.PoolFullQuota == 0 {
			continue
		}
		if use == nil {
			use = s.stats.byPool()
		}
		over := p.QuotaMaxBytes != 0 && use[id].Bytes >= p.QuotaMaxBytes ||
			p.QuotaMaxObjects != 0 && use[id].Objects >= p.QuotaMaxObjects
		if over == (p.Flags&clustermap.PoolFullQuota != 0) {
			continue
		}
		const mask = clustermap.PoolFullQuota | clustermap.PoolFull
		s.editPool(id, func(p *clustermap.Pool) wire.Errno {
			p.Flags &^= mask
			if over {
				p.Flags |= mask
			}
			return 0
		}, nil)
		if over {
			s.m.clog.write(logWarning, "pool '%s' is full (reached quota's max_bytes: %s, max_objects: %d)", view.PoolNames[id], size(p.QuotaMaxBytes), p.QuotaMaxObjects)
		} else {
			s.m.clog.write(logInfo, "pool '%s' no longer out of quota; removing NO_QUOTA flag", view.PoolNames[id])
		}
	}
}
