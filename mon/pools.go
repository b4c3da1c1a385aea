package mon

import (
	"math"
	"slices"

	"github.com/spirula/spirula/rados/clustermap"
	"github.com/spirula/spirula/rados/wire"
)

// Bounds of pools.
const (
	maxPools      = 1024
	maxPoolName   = 256
	maxPGsPerOSD  = 4096    // placement groups, replicas counted, on average
	maxSnapRemove = 4096    // ids in one request
	maxPurges     = 1 << 16 // snapshots whose purging is watched
)

// poolCreate are the choices of a new pool; zero values mean the default.
type poolCreate struct {
	name          string
	pgNum         int64
	size, minSize int64
	rule          int64 // -1: the default
}

// createPool adds a pool. done gets EEXIST for a name in use.
func (s *osdService) createPool(c poolCreate, done func(wire.Errno, wire.Epoch)) {
	view := s.view()
	if c.pgNum == 0 {
		c.pgNum = DefaultPGNum
	}
	if c.size == 0 {
		c.size = int64(max(1, min(3, view.NumIn())))
	}
	if c.rule < 0 {
		c.rule = int64(defaultRule(view))
	}
	if _, taken := view.PoolByName(c.name); taken {
		done(wire.EEXIST, s.cur.Epoch)
		return
	}
	switch {
	case c.name == "" || len(c.name) > maxPoolName || c.pgNum < 1 || c.pgNum > clustermap.MaxPGs ||
		c.size < 1 || c.size > 10 || c.minSize < 0 || c.minSize > c.size || c.rule > math.MaxUint8 || view.Crush.Rule(int(c.rule)) == nil:
		done(wire.EINVAL, 0)
		return
	case len(view.Pools) >= maxPools || totalPGs(view)+c.pgNum*c.size > maxPGsPerOSD*int64(max(1, view.MaxOSD())):
		done(wire.ERANGE, 0)
		return
	}
	inc := s.change(true, done)
	p := clustermap.NewPool(uint8(c.size), uint32(c.pgNum), uint8(c.rule), inc.Modified)
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
	case p.Flags&clustermap.PoolNoDelete != 0:
		done(wire.EPERM, 0)
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

// setPool is `osd pool set`.
func (s *osdService) setPool(id int64, key string, value int64, done func(wire.Errno, wire.Epoch)) {
	view := s.view()
	flags := map[string]clustermap.PoolFlag{"nodelete": clustermap.PoolNoDelete, "nopgchange": clustermap.PoolNoPGChange,
		"nosizechange": clustermap.PoolNoSizeChange, "noscrub": clustermap.PoolNoScrub, "nodeep-scrub": clustermap.PoolNoDeepScrub}
	s.editPool(id, func(p *clustermap.Pool) wire.Errno {
		flag, isFlag := flags[key]
		switch {
		case isFlag && value != 0:
			p.Flags |= flag
		case isFlag:
			p.Flags &^= flag
		case key == "size" && value >= 1 && value <= 10 && p.Flags&clustermap.PoolNoSizeChange == 0:
			p.Size = uint8(value)
			p.MinSize = min(p.MinSize, p.Size)
		case key == "min_size" && value >= 1 && value <= int64(p.Size):
			p.MinSize = uint8(value)
		case (key == "pg_num" || key == "pgp_num") && value >= int64(p.PGNum) && value <= clustermap.MaxPGs && p.Flags&clustermap.PoolNoPGChange == 0:
			if key == "pg_num" {
				p.PGNum, p.PGNumTarget, p.PGNumPending = uint32(value), uint32(value), uint32(value)
			}
			p.PGPNum, p.PGPNumTarget = p.PGNum, p.PGNum
		case key == "crush_rule" && value >= 0 && value <= math.MaxUint8 && view.Crush.Rule(int(value)) != nil:
			p.CrushRule = uint8(value)
		case key == "quota_max_bytes" && value >= 0:
			p.QuotaMaxBytes = uint64(value)
		case key == "quota_max_objects" && value >= 0:
			p.QuotaMaxObjects = uint64(value)
		default:
			return wire.EINVAL
		}
		return 0
	}, done)
}

// poolOp handles librados' pool and snapshot operations.
func (s *osdService) poolOp(sess *session, msg *wire.MPoolOp) {
	var snap wire.SnapID
	done := func(e wire.Errno, epoch wire.Epoch) {
		sess.c.Send(&wire.MPoolOpReply{TID: msg.TID, FSID: s.m.fsid, Result: -int32(e), Epoch: epoch, Snap: snap})
	}
	switch msg.Op {
	case wire.PoolCreate:
		s.createPool(poolCreate{name: msg.Name, rule: int64(msg.CrushRule)}, done)
	case wire.PoolDelete:
		s.deletePool(msg.Pool, done)
	case wire.PoolCreateSnap:
		s.editPool(msg.Pool, func(p *clustermap.Pool) wire.Errno { return s.createPoolSnap(p, msg.Name) }, done)
	case wire.PoolDeleteSnap:
		s.deletePoolSnap(msg.Pool, msg.Name, done)
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
		s.deleteOwnSnaps(map[int64][]wire.SnapID{msg.Pool: {msg.Snap}}, true, done)
	default:
		done(wire.EINVAL, 0)
	}
}

func (s *osdService) createPoolSnap(p *clustermap.Pool, name string) wire.Errno {
	if p.Flags&clustermap.PoolSelfManagedSnaps != 0 || name == "" {
		return wire.EINVAL
	}
	for _, sn := range p.Snaps {
		if sn.Name == name {
			return wire.EEXIST
		}
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
	s.deleteOwnSnaps(msg.Snaps, false, func(e wire.Errno, _ wire.Epoch) {
		if e == 0 {
			sess.c.Send(&wire.MRemoveSnaps{TID: msg.TID, Snaps: msg.Snaps})
		}
	})
}

// deleteOwnSnaps removes self-managed snapshots. strict is librados' way: the
// id must have been given out. Otherwise unknown pools are passed over.
func (s *osdService) deleteOwnSnaps(snaps map[int64][]wire.SnapID, strict bool, done func(wire.Errno, wire.Epoch)) {
	total := 0
	for pool, ids := range snaps {
		total += len(ids)
		p := s.view().Pool(pool)
		switch {
		case p == nil && !strict:
			continue
		case p == nil || strict && slices.ContainsFunc(ids, func(id wire.SnapID) bool { return id > p.SnapSeq }):
			done(wire.ENOENT, 0)
			return
		case p.Flags&clustermap.PoolPoolSnaps != 0:
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
			if strict {
				p.SnapSeq++ // as Ceph: each removal uses up an id
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
