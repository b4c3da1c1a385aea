package osd

import (
	"github.com/spirula/spirula/osd/internal/objop"
	"github.com/spirula/spirula/rados/wire"
)

// objectKey names an object within its PG.
type objectKey struct{ namespace, key, name string }

// object is the context of one object: what the PG knows of it, and its
// lock. It is guarded by the PG's mutex, but for state, which whoever holds
// the lock reads, and its one writer replaces.
type object struct {
	key    objectKey
	state  objop.Object
	loaded bool

	writer    bool  // one request has it exclusively
	readers   int   // requests that have it shared
	unsettled int   // writes queued to the store and not committed everywhere
	queue     []*op // waiting for the lock, in order of arrival

	newer, older *object // in the list of those not in use
	listed       bool
}

// free reports whether op can have the lock now. Whoever loads the object
// has it exclusively.
func (b *object) free(op *op) bool {
	switch {
	case b.writer:
		return false
	case !b.loaded || op.write:
		return b.readers == 0
	}
	return b.unsettled == 0
}

func (b *object) take(op *op) {
	if !b.loaded || op.write {
		b.writer = true
	} else {
		b.readers++
	}
}

// idle reports whether nothing needs the context.
func (b *object) idle() bool {
	return !b.writer && b.readers == 0 && b.unsettled == 0 && len(b.queue) == 0
}

// object finds or makes a context.
func (g *group) object(head wire.HObject) *object {
	k := objectKey{head.Namespace, head.Key, head.Name}
	b := g.objects[k]
	if b == nil {
		b = &object{key: k, state: objop.Object{Head: head, Shard: g.id.Shard}}
		g.objects[k] = b
	} else if b.listed {
		g.unlist(b)
	}
	return b
}

// enter gives op the lock of its object, or has it wait. True: op has it and
// is to be executed.
func (g *group) enter(op *op) bool {
	b := g.object(op.head)
	op.object = b
	if len(b.queue) > 0 || !b.free(op) {
		op.keep()
		b.queue = append(b.queue, op)
		return false
	}
	b.take(op)
	return true
}

// leave follows any change of an object's lock: it lets in who can come next,
// and puts an idle context into the list.
func (g *group) leave(b *object) {
	for len(b.queue) > 0 && b.free(b.queue[0]) {
		op := b.queue[0]
		b.queue[0] = nil
		b.queue = b.queue[1:]
		b.take(op)
		g.osd.runner.run(op.execute)
	}
	if len(b.queue) == 0 {
		b.queue = nil
	}
	if b.idle() && !b.listed && g.objects[b.key] == b {
		if !b.loaded {
			delete(g.objects, b.key)
			return
		}
		g.list(b)
		if g.listedN > maxObjects {
			old := g.lru.newer
			g.unlist(old)
			delete(g.objects, old.key)
		}
	}
}

// list puts a context at the newest end of the ring that begins at g.lru.
func (g *group) list(b *object) {
	b.listed = true
	b.older, b.newer = g.lru.older, &g.lru
	b.older.newer, b.newer.older = b, b
	g.listedN++
}

func (g *group) unlist(b *object) {
	b.listed = false
	b.older.newer, b.newer.older = b.newer, b.older
	b.older, b.newer = nil, nil
	g.listedN--
}
