package radostest

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/spirula/spirula/rados"
	"github.com/spirula/spirula/rados/wire"
)

// objectKey is an object's identity in a pool.
type objectKey struct{ namespace, locator, name string }

func keyOf(op *rados.Op) objectKey {
	k := objectKey{op.Namespace, op.Key, op.Object}
	if k.locator == k.name {
		k.locator = ""
	}
	return k
}

// Pool is a pool in memory. The Client it embeds is its first client, so a
// Pool is itself a rados.Doer.
type Pool struct {
	*Client

	mu        sync.Mutex
	objects   map[objectKey]*object
	removed   map[wire.SnapID]bool
	version   uint64
	lateSnaps int
	nextSnap  wire.SnapID
	now       func() wire.Time
}

var _ rados.Doer = (*Pool)(nil)

// NewPool makes an empty pool.
func NewPool() *Pool {
	p := &Pool{
		objects: make(map[objectKey]*object),
		removed: make(map[wire.SnapID]bool),
		now:     func() wire.Time { return wire.TimeOf(time.Now()) },
	}
	p.Client = p.NewClient()
	return p
}

// NewClient gives another client of the same pool, with hooks of its own.
func (p *Pool) NewClient() *Client {
	return &Client{pool: p, queues: make(map[objectKey][]*rados.Call)}
}

// Clone copies the pool's whole state as it is between two vectors. The copy
// has one client without hooks.
func (p *Pool) Clone() *Pool {
	p.mu.Lock()
	defer p.mu.Unlock()
	q := NewPool()
	q.now, q.version, q.nextSnap = p.now, p.version, p.nextSnap
	for k, o := range p.objects {
		q.objects[k] = o.copy()
	}
	for s := range p.removed {
		q.removed[s] = true
	}
	return q
}

// SetNow sets the clock that gives objects their mtime.
func (p *Pool) SetNow(now func() time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.now = func() wire.Time { return wire.TimeOf(now()) }
}

// LateSnaps counts writes whose snap context made a clone for a snapshot
// that was removed before: a leak on a real cluster.
func (p *Pool) LateSnaps() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.lateSnaps
}

// Len is the number of objects that have a head.
func (p *Pool) Len() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := 0
	for _, o := range p.objects {
		if o.head != nil {
			n++
		}
	}
	return n
}

func (p *Pool) sortedKeys() []objectKey {
	keys := make([]objectKey, 0, len(p.objects))
	for k := range p.objects {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, func(a, b objectKey) int {
		ha := wire.HObject{Namespace: a.namespace, Key: a.locator, Name: a.name}
		return ha.Compare(wire.HObject{Namespace: b.namespace, Key: b.locator, Name: b.name})
	})
	return keys
}

// Equal reports whether two pools hold the same objects, clones included;
// mtimes and versions don't count.
func (p *Pool) Equal(q *Pool) bool {
	var a, b bytes.Buffer
	p.dump(&a, false)
	q.dump(&b, false)
	return bytes.Equal(a.Bytes(), b.Bytes())
}

// Dump prints every object, its clones, attributes and omap as text.
func (p *Pool) Dump(w io.Writer) { p.dump(w, true) }

func (p *Pool) dump(w io.Writer, versions bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, k := range p.sortedKeys() {
		o := p.objects[k]
		fmt.Fprintf(w, "%q/%q/%q seq=%d", k.namespace, k.locator, k.name, o.seq)
		if versions {
			fmt.Fprintf(w, " version=%d", o.version)
		}
		fmt.Fprintln(w)
		for _, c := range o.clones {
			fmt.Fprintf(w, " clone %d snaps=%v overlap=%v\n", c.id, c.snaps, c.overlap)
			c.content.dump(w)
		}
		if o.head != nil {
			fmt.Fprintln(w, " head")
			o.head.dump(w)
		}
	}
}

func (c *content) dump(w io.Writer) {
	fmt.Fprintf(w, "  size=%d crc=%08x header=%q\n", c.size, wire.CRC32C(c.read(0, 0)), c.header)
	c.xattrs.Scan(func(k string, v []byte) bool { fmt.Fprintf(w, "  xattr %q=%q\n", k, v); return true })
	c.omap.Scan(func(k string, v []byte) bool { fmt.Fprintf(w, "  omap %q=%q\n", k, v); return true })
}

// CreateSnap gives a snapshot id nobody had, as a self-managed snapshot of
// the pool.
func (c *Client) CreateSnap(ctx context.Context) (wire.SnapID, error) {
	p := c.pool
	p.mu.Lock()
	defer p.mu.Unlock()
	p.nextSnap = max(p.nextSnap, 1) + 1
	return p.nextSnap, nil
}

// RemoveSnaps drops snapshots; clones only they need are gone when it
// returns. Ids that were never created are fine, and so is a repetition.
func (c *Client) RemoveSnaps(ctx context.Context, ids []wire.SnapID) error {
	if err := ctx.Err(); err != nil {
		return rados.ContextError("radostest.removesnaps", "", err)
	}
	if c.isFrozen() {
		return c.frozenError("removesnaps")
	}
	p := c.pool
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, s := range ids {
		p.removed[s] = true
		p.nextSnap = max(p.nextSnap, s)
		for k, o := range p.objects {
			o.removeSnap(s)
			if o.head == nil && len(o.clones) == 0 {
				delete(p.objects, k)
			}
		}
	}
	return nil
}

// ListObjects calls fn for the objects of a namespace, in some fixed order.
// An error of fn ends it and is returned.
func (c *Client) ListObjects(ctx context.Context, namespace string, fn func(wire.ListEntry) error) error {
	p := c.pool
	p.mu.Lock()
	var list []wire.ListEntry
	for _, k := range p.sortedKeys() {
		if k.namespace == namespace && p.objects[k].head != nil {
			list = append(list, wire.ListEntry{Namespace: k.namespace, Name: k.name, Key: k.locator})
		}
	}
	p.mu.Unlock()
	slices.SortFunc(list, func(a, b wire.ListEntry) int { return cmp.Compare(a.Name, b.Name) })
	for _, e := range list {
		if err := ctx.Err(); err != nil {
			return rados.ContextError("radostest.list", namespace, err)
		}
		if err := fn(e); err != nil {
			return err
		}
	}
	return nil
}
