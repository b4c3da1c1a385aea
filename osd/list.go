package osd

import (
	"math/bits"

	"github.com/spirula/spirula/osd/internal/cls"
	"github.com/spirula/spirula/osd/internal/objop"
	"github.com/spirula/spirula/osd/store"
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
	if pool := cur.Pool(g.id.Pool); pool != nil && len(o.m.Ops) == 1 {
		results = o.inline[:1]
		result = g.list1(pool, &o.m.Ops[0], o.m.Locator.Namespace, &results[0])
	}
	g.mu.Lock()
	stale := g.core.Since() != o.since || !g.core.Active()
	if stale {
		g.sendAgain(o.session)
	}
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

// listing is what a PGNLS asks for.
type listing struct {
	namespace string
	want      int           // entries
	cursor    *wire.HObject // nil: from the beginning
	match     func(store.ObjectID) (bool, error)
}

// list1 fills res for a PGNLS and says 1 if it has the PG's last object, else
// 0; or a negative Errno.
func (g *group) list1(pool *clustermap.Pool, op *wire.Op, namespace string, res *wire.OpResult) int32 {
	l := listing{namespace: namespace, match: func(store.ObjectID) (bool, error) { return true, nil }}
	switch op.Code {
	case wire.OpPGNLS:
		l.want, l.cursor = int(min(max(op.Num, 1), maxList)), op.Cursor
		return g.listHeads(pool, &l, res)
	case wire.OpPGNLSFilter:
		if e := g.filter(op, &l); e != 0 {
			return -int32(e)
		}
		return g.listHeads(pool, &l, res)
	}
	return -int32(wire.EOPNOTSUPP)
}

// filter reads the input of a PGNLS_FILTER: the filter, and the cursor.
func (g *group) filter(op *wire.Op, l *listing) wire.Errno {
	f, rest, e := cls.ParseFilter(op.Value)
	if e != 0 {
		return e
	}
	d := wire.NewDecoder(rest)
	cursor := d.HObject()
	if d.Err() != nil {
		return wire.EINVAL
	}
	l.cursor = &cursor
	l.want = int(min(max(op.Num, 1), maxList))
	l.match = func(id store.ObjectID) (bool, error) {
		v, err := g.osd.store.Xattr(id, f.Xattr)
		if e := wire.ErrnoOf(err); e == wire.ENODATA || e == wire.ENOENT {
			return false, nil
		}
		return err == nil && f.Match(v), err
	}
	return 0
}

// listHeads fills res with heads from the cursor on and says 1 if these were the
// PG's last, else 0; or a negative Errno.
func (g *group) listHeads(pool *clustermap.Pool, l *listing, res *wire.OpResult) int32 {
	first, end := bounds(pool, g.id.PGID)
	stop := end
	if end.Max {
		stop = wire.HObject{Pool: g.id.Pool + 1} // a pool's objects end where the next one's begin
	} else {
		stop.Snap = 0
	}
	at := first
	if l.cursor != nil && l.cursor.Compare(first) > 0 {
		at = *l.cursor
	}
	if at.Compare(stop) > 0 {
		return -int32(wire.EAGAIN)
	}
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
			if len(res.List) == l.want {
				res.Cursor = &at
				return 0
			}
			if l.namespace != allNamespaces && id.Namespace != l.namespace {
				continue
			}
			// Only a head with clones can be a whiteout, and clones come first.
			if id.HObject == clone || scanned == 1 {
				if gone, err := objop.Whiteout(g.osd.store, id); err != nil || gone {
					continue
				}
			}
			if ok, err := l.match(id); err != nil {
				return -int32(wire.EIO)
			} else if !ok {
				continue
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
