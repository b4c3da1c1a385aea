package osd

import (
	"github.com/spirula/spirula/osd/internal/objop"
	"github.com/spirula/spirula/rados/clustermap"
	"github.com/spirula/spirula/rados/wire"
)

// failsafeFull is the share of the store, in percent, from which on writes
// that may need space are not taken, whatever the map says (Ceph's
// osd_failsafe_full_ratio): the store needs the rest to give space back.
const failsafeFull = 97

// checkFull notes whether the store is past failsafeFull.
func (d *OSD) checkFull() {
	fs := d.store.Statfs()
	full := fs.Total > 0 && fs.Free < fs.Total/100*(100-failsafeFull)
	if d.nearEnd.Swap(full) != full {
		d.log.Warn("the store's failsafe", "full", full, "free", fs.Free, "total", fs.Total)
	}
}

// fullness is the error of a write that needs space, 0 if it may go on.
func fullness(cur *clustermap.OSDMap, pool *clustermap.Pool) wire.Errno {
	switch {
	case pool.Flags&clustermap.PoolFullQuota != 0:
		return wire.EDQUOT
	case cur.Flags&clustermap.FlagFull != 0 || pool.Flags&clustermap.PoolFull != 0:
		return wire.ENOSPC
	}
	return 0
}

// paused reports whether a request is not to be answered because the map
// tells clients to wait, or the store is at its end: they will resend.
func (o *op) paused(cur *clustermap.OSDMap) bool {
	if !o.write {
		return cur.Flags&clustermap.FlagPauseRead != 0
	}
	return cur.Flags&clustermap.FlagPauseWrite != 0 ||
		o.osd.nearEnd.Load() && o.m.Flags&(wire.FlagFullTry|wire.FlagFullForce) == 0 && !objop.Frees(o.m.Ops)
}

// overfull decides about an executed write that makes its pool larger when
// the map says that the pool is full: with FULL_TRY it fails, and without it
// its client is to wait. What makes nothing larger goes on.
func (o *op) overfull() (e wire.Errno, wait bool) {
	if o.m == nil || !o.out.Changed || o.m.Flags&wire.FlagFullForce != 0 {
		return 0, false
	}
	if o.out.Bytes <= 0 && (!o.out.Object.Live() || o.object.state.Live()) {
		return 0, false
	}
	cur := o.osd.current.Load()
	pool := cur.Pool(o.group.id.Pool)
	if pool == nil {
		return 0, false
	}
	full := fullness(cur, pool)
	if full == 0 {
		return 0, false
	}
	return full, o.m.Flags&wire.FlagFullTry == 0
}
