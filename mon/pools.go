package mon

import (
	"math"

	"github.com/spirula/spirula/rados/clustermap"
	"github.com/spirula/spirula/rados/wire"
)

// Bounds of pools.
const (
	maxPools      = 1024
	maxPoolName   = 256
	maxPoolSize   = 10      // replicas
	maxPoolSnaps  = 4096    // snapshots of one pool
	maxSnapRemove = 4096    // ids in one request
	maxPurges     = 1 << 16 // snapshots whose purging is watched
)

// poolCreate are the choices of a new pool; zero values mean the default.
type poolCreate struct {
	name          string
	pgNum, pgpNum int64
	size, minSize int64
	rule          int64 // -1: the default
	expected      int64 // objects
	opts          map[int32]clustermap.PoolOpt
}

// defaults fills in what was not chosen.
func (c *poolCreate) defaults(m *Mon, view *clustermap.OSDMap) {
	if c.pgNum == 0 {
		c.pgNum = m.optionInt("osd_pool_default_pg_num")
	}
	if c.pgNum == 0 {
		c.pgNum = int64(8 * max(1, min(4, view.NumIn())))
	}
	if c.pgpNum == 0 {
		c.pgpNum = c.pgNum
	}
	if c.size == 0 {
		c.size = m.optionInt("osd_pool_default_size")
	}
	if c.size == 0 {
		c.size = int64(max(1, min(3, view.NumIn())))
	}
	if c.minSize == 0 {
		c.minSize = min(m.optionInt("osd_pool_default_min_size"), c.size)
	}
	if c.rule < 0 {
		c.rule = int64(defaultRule(view))
	}
}

// createPool adds a pool. done gets EEXIST for a name in use, ERANGE for too
// many pools or placement groups.
func (s *osdService) createPool(c poolCreate, done func(wire.Errno, wire.Epoch)) {
	view := s.view()
	c.defaults(s.m, view)
	if _, taken := view.PoolByName(c.name); taken {
		done(wire.EEXIST, s.cur.Epoch)
		return
	}
	switch {
	case c.name == "" || len(c.name) > maxPoolName || c.pgNum < 1 || c.pgpNum < 1 || c.pgpNum > c.pgNum ||
		c.size < 1 || c.size > maxPoolSize || c.minSize < 0 || c.minSize > c.size || c.rule > math.MaxUint8 || view.Crush.Rule(int(c.rule)) == nil:
		done(wire.EINVAL, 0)
		return
	case c.pgNum > min(clustermap.MaxPGs, s.m.optionInt("mon_max_pool_pg_num")), len(view.Pools) >= maxPools,
		totalPGs(view)+c.pgNum*c.size > s.m.optionInt("mon_max_pg_per_osd")*int64(max(1, view.MaxOSD())):
		done(wire.ERANGE, 0)
		return
	}
	inc := s.change(true, done)
	p := clustermap.NewPool(uint8(c.size), uint32(c.pgNum), uint8(c.rule), inc.Modified)
	p.PGPNum, p.PGPNumTarget = uint32(c.pgpNum), uint32(c.pgpNum)
	p.Applications = map[string]map[string]string{}
	p.ExpectedObjects = uint64(c.expected)
	p.Opts = c.opts
	if c.minSize != 0 {
		p.MinSize = uint8(c.minSize)
	}
	inc.AddPool(view, c.name, p)
}

func totalPGs(m *clustermap.OSDMap) (n int64) {
	for _, p := range m.Pools {
		n += int64(p.PGNum) * int64(p.Size)
	}
	return n
}

func (s *osdService) deletePool(id int64, done func(wire.Errno, wire.Epoch)) {
	p := s.view().Pool(id)
	switch {
	case p == nil:
		done(wire.ENOENT, 0)
		return
	case p.Flags&clustermap.PoolNoDelete != 0 || !s.m.optionTrue("mon_allow_pool_delete"):
		done(wire.EPERM, 0)
		return
	case p.TierOf >= 0 || len(p.Tiers) > 0:
		done(wire.EBUSY, 0)
		return
	}
	inc := s.change(true, done)
	delete(inc.NewPools, id)
	delete(inc.NewPoolNames, id)
	if s.base().Pool(id) != nil {
		inc.OldPools = append(inc.OldPools, id)
		for pg := range s.base().PGTemp {
			if pg.Pool == id {
				inc.NewPGTemp[pg] = nil
			}
		}
		if q := s.base().RemovedSnapsQueue[id]; len(q) > 0 {
			inc.NewPurgedSnaps[id] = q
		}
		delete(inc.NewRemovedSnaps, id)
	}
}

func (s *osdService) renamePool(from, to string, done func(wire.Errno, wire.Epoch)) {
	view := s.view()
	id, ok := view.PoolByName(from)
	_, taken := view.PoolByName(to)
	switch {
	case !ok:
		done(wire.ENOENT, 0)
	case taken:
		done(wire.EEXIST, 0)
	case to == "" || len(to) > maxPoolName:
		done(wire.EINVAL, 0)
	default:
		s.change(true, done).NewPoolNames[id] = to
	}
}

// editPool changes the settings of a pool; edit works on a copy.
func (s *osdService) editPool(id int64, edit func(*clustermap.Pool) wire.Errno, done func(wire.Errno, wire.Epoch)) {
	p := s.view().Pool(id)
	if p == nil {
		done(wire.ENOENT, 0)
		return
	}
	p = p.Clone()
	if e := edit(p); e != 0 {
		done(e, 0)
		return
	}
	s.change(true, done).NewPools[id] = p
}

// poolOp handles librados' pool and snapshot operations. What is as asked
// already is no error, except for the name of a new pool.
func (s *osdService) poolOp(sess *session, msg *wire.MPoolOp) {
	var snap wire.SnapID
	done := func(e wire.Errno, epoch wire.Epoch) {
		if e == 0 && epoch == 0 {
			epoch = s.cur.Epoch
		}
		sess.c.Send(&wire.MPoolOpReply{TID: msg.TID, Seen: uint64(s.cur.Epoch), FSID: s.m.fsid, Result: -int32(e), Epoch: epoch, Snap: snap})
	}
	if !s.m.permitsPoolOp(sess, msg) {
		done(wire.EPERM, 0)
		return
	}
	switch msg.Op {
	case wire.PoolCreate:
		s.createPool(poolCreate{name: msg.Name, rule: int64(msg.CrushRule)}, done)
	case wire.PoolDelete:
		if s.view().Pool(msg.Pool) == nil {
			s.change(true, done)
			return
		}
		s.deletePool(msg.Pool, done)
	case wire.PoolCreateSnap:
		s.editPool(msg.Pool, func(p *clustermap.Pool) wire.Errno {
			if e := s.createPoolSnap(p, msg.Name); e != wire.EEXIST {
				return e
			}
			return 0
		}, done)
	case wire.PoolDeleteSnap:
		s.deletePoolSnap(msg.Pool, msg.Name, func(e wire.Errno, epoch wire.Epoch) {
			if e == wire.ENOENT && s.view().Pool(msg.Pool) != nil {
				e = 0
			}
			done(e, epoch)
		})
	case wire.PoolCreateOwnSnap:
		s.editPool(msg.Pool, func(p *clustermap.Pool) wire.Errno {
			if p.Flags&clustermap.PoolPoolSnaps != 0 {
				return wire.EINVAL
			}
			p.Flags |= clustermap.PoolSelfManagedSnaps
			p.SnapSeq = max(p.SnapSeq, 1) + 1 // the first id given out is 2
			p.SnapEpoch = s.base().Epoch + 1
			snap = p.SnapSeq
			return 0
		}, done)
	case wire.PoolDeleteOwnSnap:
		s.deleteOwnSnap(msg.Pool, msg.Snap, done)
	default:
		done(wire.EINVAL, 0)
	}
}

// deleteOwnSnap removes one self-managed snapshot in librados' way: the id
// must have been given out.
func (s *osdService) deleteOwnSnap(pool int64, id wire.SnapID, done func(wire.Errno, wire.Epoch)) {
	p := s.view().Pool(pool)
	switch {
	case p == nil:
		done(wire.ENOENT, 0)
	case p.Flags&clustermap.PoolPoolSnaps != 0:
		done(wire.EINVAL, 0)
	case p.Flags&clustermap.PoolSelfManagedSnaps == 0:
		done(wire.EOPNOTSUPP, 0)
	case id > p.SnapSeq || id == 0:
		done(wire.ENOENT, 0)
	case s.view().RemovedSnapsQueue[pool].Contains(id):
		s.change(true, done)
	default:
		s.editPool(pool, func(p *clustermap.Pool) wire.Errno {
			p.SnapSeq++ // as Ceph: each removal uses up an id
			p.SnapEpoch = s.base().Epoch + 1
			return 0
		}, done)
		s.queueRemoval(pool, id)
	}
}

func (s *osdService) createPoolSnap(p *clustermap.Pool, name string) wire.Errno {
	if p.Flags&clustermap.PoolSelfManagedSnaps != 0 || name == "" || len(name) > maxPoolName {
		return wire.EINVAL
	}
	for _, sn := range p.Snaps {
		if sn.Name == name {
			return wire.EEXIST
		}
	}
	if len(p.Snaps) >= maxPoolSnaps {
		return wire.ERANGE
	}
	p.Flags |= clustermap.PoolPoolSnaps
	p.SnapSeq++
	p.SnapEpoch = s.base().Epoch + 1
	p.Snaps[p.SnapSeq] = clustermap.PoolSnap{ID: p.SnapSeq, Name: name, Stamp: wire.TimeOf(s.m.opts.Now())}
	return 0
}

func (s *osdService) deletePoolSnap(pool int64, name string, done func(wire.Errno, wire.Epoch)) {
	var id wire.SnapID
	s.editPool(pool, func(p *clustermap.Pool) wire.Errno {
		if p.Flags&clustermap.PoolSelfManagedSnaps != 0 {
			return wire.EINVAL
		}
		for i, sn := range p.Snaps {
			if sn.Name == name {
				id = i
			}
		}
		if id == 0 {
			return wire.ENOENT
		}
		delete(p.Snaps, id)
		p.SnapSeq++
		p.SnapEpoch = s.base().Epoch + 1
		return 0
	}, done)
	if id != 0 {
		s.queueRemoval(pool, id)
	}
}

// removeSnaps handles MRemoveSnaps: ids are removed whether or not they were
// ever given out, and a repetition is harmless.
func (s *osdService) removeSnaps(sess *session, msg *wire.MRemoveSnaps) {
	if !s.m.permitsRemoveSnaps(sess) {
		return
	}
	s.deleteOwnSnaps(msg.Snaps, func(e wire.Errno, _ wire.Epoch) {
		if e == 0 {
			sess.c.Send(&wire.MRemoveSnaps{TID: msg.TID, Snaps: msg.Snaps})
		}
	})
}

// deleteOwnSnaps removes self-managed snapshots, given out or not. Unknown
// pools are passed over.
func (s *osdService) deleteOwnSnaps(snaps map[int64][]wire.SnapID, done func(wire.Errno, wire.Epoch)) {
	total := 0
	for pool, ids := range snaps {
		total += len(ids)
		if p := s.view().Pool(pool); p != nil && p.Flags&clustermap.PoolPoolSnaps != 0 {
			done(wire.EINVAL, 0)
			return
		}
	}
	if total > maxSnapRemove {
		done(wire.EMSGSIZE, 0)
		return
	}
	for pool, ids := range snaps {
		if s.view().Pool(pool) == nil {
			continue
		}
		s.editPool(pool, func(p *clustermap.Pool) wire.Errno {
			p.Flags |= clustermap.PoolSelfManagedSnaps
			for _, id := range ids {
				p.SnapSeq = max(p.SnapSeq, id)
			}
			p.SnapEpoch = s.base().Epoch + 1
			return 0
		}, nil)
		for _, id := range ids {
			s.queueRemoval(pool, id)
		}
	}
	s.change(true, done)
}

// queueRemoval adds an id to the snapshots that OSDs have to trim.
func (s *osdService) queueRemoval(pool int64, id wire.SnapID) {
	if id == 0 || id > wire.MaxSnap || s.view().RemovedSnapsQueue[pool].Contains(id) {
		return
	}
	inc := s.change(true, nil)
	inc.NewRemovedSnaps[pool] = inc.NewRemovedSnaps[pool].Add(id)
}

// poolSnap names a snapshot of a pool.
type poolSnap struct {
	pool int64
	snap wire.SnapID
}

// purged counts the placement groups that have trimmed a snapshot; when all
// have, it leaves the queue. The count is in memory only: OSDs report again
// to a new mon.
func (s *osdService) purged(sess *session, msg *wire.MOSDPurged) {
	s.attach(sess, msg.OSD)
	view := s.view()
	p := view.Pool(msg.PG.Pool)
	if p == nil || msg.PG.Seed >= p.PGNum || view.Map(msg.PG).ActingPrimary != msg.OSD || len(msg.Snaps) > maxSnapRemove {
		return
	}
	for _, id := range msg.Snaps {
		key := poolSnap{msg.PG.Pool, id}
		if !view.RemovedSnapsQueue[key.pool].Contains(id) {
			continue
		}
		if s.purges[key] == nil {
			if len(s.purges) >= maxPurges {
				continue
			}
			s.purges[key] = make(map[uint32]bool)
		}
		s.purges[key][msg.PG.Seed] = true
		if len(s.purges[key]) >= int(p.PGNum) {
			delete(s.purges, key)
			inc := s.change(false, nil)
			inc.NewPurgedSnaps[key.pool] = inc.NewPurgedSnaps[key.pool].Add(id)
		}
	}
}

// forgetPurged drops counts of snapshots that are no longer in the queue.
func (s *osdService) forgetPurged() {
	for key := range s.purges {
		if !s.cur.RemovedSnapsQueue[key.pool].Contains(key.snap) {
			delete(s.purges, key)
		}
	}
}
