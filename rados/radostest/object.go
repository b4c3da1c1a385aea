package radostest

import (
	"slices"

	"github.com/spirula/spirula/rados/wire"
	"github.com/tidwall/btree"
)

// pageSize is the unit in which data is kept and copied on write, in bytes.
const pageSize = 16 << 10

// content is one state of an object. Contents share their pages and trees;
// whatever is in them is replaced, never changed.
type content struct {
	size   uint64
	pages  *btree.Map[uint64, []byte] // by page number; a missing page is zeros
	xattrs *btree.Map[string, []byte]
	omap   *btree.Map[string, []byte]
	header []byte
	mtime  wire.Time
}

func newContent() *content {
	return &content{
		pages:  btree.NewMap[uint64, []byte](0),
		xattrs: btree.NewMap[string, []byte](0),
		omap:   btree.NewMap[string, []byte](0),
	}
}

// copy makes a second content of the same state; either may change after.
func (c *content) copy() *content {
	if c == nil {
		return nil
	}
	d := *c
	d.pages, d.xattrs, d.omap = c.pages.Copy(), c.xattrs.Copy(), c.omap.Copy()
	return &d
}

// write puts p at off and extends the size.
func (c *content) write(p []byte, off uint64) {
	if end := off + uint64(len(p)); end > c.size {
		c.size = end
	}
	for len(p) > 0 {
		no, in := off/pageSize, int(off%pageSize)
		page := make([]byte, pageSize)
		if old, ok := c.pages.Get(no); ok {
			copy(page, old)
		}
		n := copy(page[in:], p)
		c.pages.Set(no, page)
		p, off = p[n:], off+uint64(n)
	}
}

// zero clears a range without extending.
func (c *content) zero(off, n uint64) {
	if off >= c.size {
		return
	}
	end := min(c.size, off+n)
	for off < end {
		no, in := off/pageSize, off%pageSize
		step := min(pageSize-in, end-off)
		if old, ok := c.pages.Get(no); ok {
			page := slices.Clone(old)
			clear(page[in : in+step])
			c.pages.Set(no, page)
		}
		off += step
	}
}

// truncate sets the size; what is added is zeros.
func (c *content) truncate(size uint64) {
	if size < c.size {
		c.zero(size, c.size-size)
		var drop []uint64
		c.pages.Ascend((size+pageSize-1)/pageSize, func(no uint64, _ []byte) bool {
			drop = append(drop, no)
			return true
		})
		for _, no := range drop {
			c.pages.Delete(no)
		}
	}
	c.size = size
}

// read gives the bytes of a range, cut at the end of the object; n 0 means
// all.
func (c *content) read(off, n uint64) []byte {
	if off >= c.size {
		return nil
	}
	if n == 0 || n > c.size-off {
		n = c.size - off
	}
	out := make([]byte, n)
	for done := uint64(0); done < n; {
		no, in := (off+done)/pageSize, (off+done)%pageSize
		step := min(pageSize-in, n-done)
		if page, ok := c.pages.Get(no); ok {
			copy(out[done:done+step], page[in:])
		}
		done += step
	}
	return out
}

// clone is an older state kept for snapshots.
type clone struct {
	id      wire.SnapID
	snaps   []wire.SnapID // descending
	overlap []wire.Extent // shared with the next newer state
	content *content
}

// object is a name's head and clones.
type object struct {
	head    *content    // nil: only clones are left
	seq     wire.SnapID // of the newest snap context it saw
	version uint64
	clones  []clone // ascending by id
}

func (o *object) copy() *object {
	d := *o
	d.head = o.head.copy()
	d.clones = slices.Clone(o.clones)
	for i := range d.clones {
		d.clones[i].snaps = slices.Clone(d.clones[i].snaps)
		d.clones[i].content = d.clones[i].content.copy()
	}
	return &d
}

// at finds the state that a read at snap s sees; nil when there was none.
func (o *object) at(s wire.SnapID) *content {
	if o == nil {
		return nil
	}
	if s == 0 || s == wire.NoSnap || s > o.seq {
		return o.head
	}
	for _, c := range o.clones {
		if c.id < s {
			continue
		}
		if c.snaps[len(c.snaps)-1] <= s {
			return c.content
		}
		return nil
	}
	return nil
}

// makeClone keeps old as a clone if the context knows a snapshot the object
// has not seen.
func (o *object) makeClone(old *content, sc wire.SnapContext) {
	if old == nil || len(sc.Snaps) == 0 || sc.Snaps[0] <= o.seq {
		return
	}
	c := clone{id: sc.Seq, content: old}
	for _, s := range sc.Snaps {
		if s > o.seq {
			c.snaps = append(c.snaps, s)
		}
	}
	if old.size > 0 {
		c.overlap = []wire.Extent{{Off: 0, Len: old.size}}
	}
	o.clones = append(o.clones, c)
}

// removeSnap takes s out of every clone and drops clones that no snapshot
// needs any more.
func (o *object) removeSnap(s wire.SnapID) {
	for i := 0; i < len(o.clones); i++ {
		c := &o.clones[i]
		c.snaps = slices.DeleteFunc(c.snaps, func(t wire.SnapID) bool { return t == s })
		if len(c.snaps) > 0 {
			continue
		}
		if i > 0 {
			o.clones[i-1].overlap = intersect(o.clones[i-1].overlap, c.overlap)
		}
		o.clones = slices.Delete(o.clones, i, i+1)
		i--
	}
}

// subtract takes [off, off+n) out of a list of extents.
func subtract(list []wire.Extent, off, n uint64) []wire.Extent {
	var out []wire.Extent
	for _, e := range list {
		if lo := min(e.Off+e.Len, off); lo > e.Off {
			out = append(out, wire.Extent{Off: e.Off, Len: lo - e.Off})
		}
		if hi := max(e.Off, off+n); hi < e.Off+e.Len {
			out = append(out, wire.Extent{Off: hi, Len: e.Off + e.Len - hi})
		}
	}
	return out
}

// intersect gives what both lists cover.
func intersect(a, b []wire.Extent) []wire.Extent {
	var out []wire.Extent
	for _, x := range a {
		for _, y := range b {
			lo, hi := max(x.Off, y.Off), min(x.Off+x.Len, y.Off+y.Len)
			if lo < hi {
				out = append(out, wire.Extent{Off: lo, Len: hi - lo})
			}
		}
	}
	return out
}
