package osd

import (
	"math/bits"

	"github.com/spirula/spirula/osd/internal/objop"
	"github.com/spirula/spirula/rados/clustermap"
	"github.com/spirula/spirula/rados/wire"
)

// Bounds of one answer to PGNLS.
const (
	maxList     = 1024 // entries
	maxListScan = 8192 // store objects looked at, clones included
)

// allNamespaces in a locator's namespace lists them all (Ceph's value).
const allNamespaces = "\x01"

// listPG runs a request on the PG: PGNLS.
func (o *op) listPG() {
	g := o.group
	results := o.inline[:0]
	result := -int32(wire.EOPNOTSUPP)
	cur := o.osd.current.Load()
	if pool := cur.Pool(g.id.Pool); pool != nil && len(o.m.Ops) == 1 && o.m.Ops[0].Code == wire.OpPGNLS {
		results = o.inline[:1]
		result = g.list1(pool, &o.m.Ops[0], o.m.Locator.Namespace, &results[0])
	}
	g.mu.Lock()
	stale := g.core.Since() != o.since || !g.core.Active()
	user := g.core.LastUpdate().Version
	g.finished(o)
	g.mu.Unlock()
	if stale {
		o.osd.Metrics.Dropped.Add(1)
	} else {
		o.osd.Metrics.Reads.Add(1)
		o.send(o.reply(result, results, wire.EVersion{}, user))
	}
	o.done()
}

// bounds gives the first possible object of a PG and what comes after its
// last, in listing order.
func bounds(pool *clustermap.Pool, id wire.PGID) (first, end wire.HObject) {
	n := pool.SplitBits(id.Seed)
	rev := uint64(bits.Reverse32(id.Seed))
	first = wire.HObject{Pool: id.Pool, Hash: id.Seed}
	next := rev + 1<<(32-n)
	if next >= 1<<32 {
		return first, wire.MaxHObject
	}
	return first, wire.HObject{Pool: id.Pool, Hash: bits.Reverse32(uint32(next)), Snap: wire.NoSnap}
}

// list1 fills res with heads from the cursor on and says 1 if these were the
// PG's last, else 0; or a negative Errno.
func (g *group) list1(pool *clustermap.Pool, op *wire.Op, namespace string, res *wire.OpResult) int32 {
	first, end := bounds(pool, g.id.PGID)
	stop := end
	if end.Max {
		stop = wire.HObject{Pool: g.id.Pool + 1} // a pool's objects end where the next one's begin
	} else {
		stop.Snap = 0
	}
	at := first
	if op.Cursor != nil && op.Cursor.Compare(first) > 0 {
		at = *op.Cursor
	}
	if at.Compare(stop) > 0 {
		return -int32(wire.EAGAIN)
	}
	want := int(min(max(op.Num, 1), maxList))
	clone := wire.HObject{} // head of the last clone seen
	for scanned := 0; scanned < maxListScan; {
		ids, more, err := g.osd.store.List(g.id.Shard, at, stop, 512)
		if err != nil {
			return -int32(wire.EIO)
		}
		for _, id := range ids {
			scanned++
			at = id.HObject
			if id.Snap != wire.NoSnap {
				clone = id.Head()
				continue
			}
			if len(res.List) == want {
				res.Cursor = &at
				return 0
			}
			if namespace != allNamespaces && id.Namespace != namespace {
				continue
			}
			// Only a head with clones can be a whiteout, and clones come first.
			if id.HObject == clone || scanned == 1 {
				if gone, err := objop.Whiteout(g.osd.store, id); err != nil || gone {
					continue
				}
			}
			res.List = append(res.List, wire.ListEntry{Namespace: id.Namespace, Name: id.Name, Key: id.Key})
		}
		if !more {
			res.Cursor = &end
			return 1
		}
		at.Snap++ // no object has SnapDir, so this is above at and below what follows
	}
	res.Cursor = &at
	return 0
}
