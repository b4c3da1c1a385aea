package filer

import (
	"sort"
	"time"

	"github.com/spirula/spirula/rados/wire"
)

const (
	// smallWrite is up to which size written data is copied to memory of
	// its own rather than referred to.
	smallWrite = 32 << 10
	// maxRuns is how many ranges one vector writes back at most.
	maxRuns = 256
)

// run is a range of one object and its bytes.
type run struct {
	off int
	d   wire.Data
}

func appendWrites(ops []wire.Op, runs []run) []wire.Op {
	for _, r := range runs {
		ops = append(ops, wire.Op{Code: wire.OpWrite, Off: uint64(r.off), Len: uint64(r.d.Len()), Data: r.d, Flags: wire.OpWillNeed})
	}
	return ops
}

// extent is a range of unwritten bytes of one object.
type extent struct {
	run
	cost int64 // bytes of memory it may hold on to
	// tail, if set, is d's only Buf, with room after its end that nobody
	// else knows of: bytes that follow on are copied there.
	tail *wire.Buf
}

func (e *extent) end() int { return e.off + e.d.Len() }

// pinned is the memory that d keeps from being used again.
func pinned(d wire.Data) int64 {
	n := int64(64)
	for i := range d.NumSegs() {
		n += int64(d.Seg(i).Buf.Cap())
	}
	return n
}

// ownExtent makes an extent of d, whose references it takes. Small data, and
// such as pins far more memory than it has bytes, are copied. follows says
// that there is an extent which ends where this one begins.
func ownExtent(off int, d wire.Data, follows bool) extent {
	n := d.Len()
	if hold := pinned(d); n > smallWrite && hold <= 2*int64(n)+4096 {
		return extent{run: run{off, d}, cost: hold}
	}
	defer d.Release()
	if n <= smallWrite && follows || n < wire.BlockSize {
		size := wire.BlockSize
		if follows {
			size = 2 * smallWrite
		}
		b := wire.NewBuf(size)
		d.CopyTo(b.Bytes()[:n], 0)
		e := extent{run: run{off: off}, tail: b}
		e.d.Append(b, 0, n)
		e.cost = pinned(e.d)
		return e
	}
	var c wire.Data
	for at := 0; at < n; {
		size := wire.BlockSize
		if n-at > smallWrite {
			size = 2 * smallWrite
		}
		b := wire.NewBuf(size)
		k := d.CopyTo(b.Bytes()[:min(size, n-at)], at)
		c.Append(b, 0, k)
		at += k
	}
	return extent{run: run{off, c}, cost: pinned(c)}
}

// grow copies p after the extent's end, if there is room.
func (e *extent) grow(p wire.Data) bool {
	n := e.d.Len()
	if e.tail == nil || n+p.Len() > e.tail.Cap() {
		return false
	}
	p.CopyTo(e.tail.Bytes()[n:n+p.Len()], 0)
	var d wire.Data
	d.Append(e.tail, 0, n+p.Len())
	e.d = d
	return true
}

// cut gives the part [lo, hi) of the object that e covers, as an extent of
// its own; e stays.
func (e *extent) cut(lo, hi int) extent {
	return ownExtent(lo, e.d.Slice(lo-e.off, hi-lo), false)
}

// object is the unwritten data of one object of a File; File.mu guards it.
type object struct {
	n      uint64
	dirty  []extent // ascending, apart
	flying []extent // being written back; under dirty
	bytes  int      // in dirty
	since  time.Time
	// Writes are numbered through the file. Those up to done are written
	// back, those up to the flight's mark will be when it ends.
	last, done, mark uint64
	busy             bool // under way, or in the queue
	urgent           bool // somebody waits: go on after the flight
}

func after(es []extent, off int) int {
	return sort.Search(len(es), func(i int) bool { return es[i].end() > off })
}

// insert puts d, whose references it takes, at off, over what was there, and
// gives by how much the memory held has grown.
func (o *object) insert(off int, d wire.Data) (cost int64) {
	end := off + d.Len()
	o.bytes += d.Len()
	i := after(o.dirty, off)
	follows := i > 0 && o.dirty[i-1].end() == off
	free := i == len(o.dirty) || o.dirty[i].off >= end
	if follows && free && d.Len() <= smallWrite && o.dirty[i-1].grow(d) {
		d.Release()
		return 0
	}
	fresh := ownExtent(off, d, follows)
	if free {
		o.dirty = append(o.dirty, extent{})
		copy(o.dirty[i+1:], o.dirty[i:])
		o.dirty[i] = fresh
		return fresh.cost
	}
	j := i
	put := make([]extent, 0, 3)
	keep := func(c extent) {
		put = append(put, c)
		o.bytes += c.d.Len()
		cost += c.cost
	}
	if e := &o.dirty[i]; e.off < off {
		keep(e.cut(e.off, off))
	}
	put = append(put, fresh)
	cost += fresh.cost
	for ; j < len(o.dirty) && o.dirty[j].off < end; j++ {
		e := &o.dirty[j]
		if e.end() > end {
			keep(e.cut(end, e.end()))
		}
		o.bytes -= e.d.Len()
		cost -= e.cost
		e.d.Release()
	}
	o.dirty = append(o.dirty[:i], append(put, o.dirty[j:]...)...)
	return cost
}

// dropFrom drops unwritten bytes at and above off and gives the memory that
// came free.
func (o *object) dropFrom(off int) (cost int64) {
	i := after(o.dirty, off)
	keep := o.dirty[:i:i]
	for k := i; k < len(o.dirty); k++ {
		e := &o.dirty[k]
		cost += e.cost
		o.bytes -= e.d.Len()
		if e.off < off {
			c := e.cut(e.off, off)
			keep = append(keep, c)
			cost -= c.cost
			o.bytes += c.d.Len()
		}
		e.d.Release()
	}
	o.dirty = keep
	return cost
}

// runsOf joins extents that touch into runs with references of their own, at
// most maxRuns; taken is how many extents they cover.
func runsOf(es []extent) (runs []run, taken int) {
	for _, e := range es {
		if k := len(runs); k > 0 && runs[k-1].off+runs[k-1].d.Len() == e.off {
			runs[k-1].d.AppendData(e.d.Retain())
		} else if k == maxRuns {
			break
		} else {
			var d wire.Data // a chain of its own, to append to
			d.AppendData(e.d.Retain())
			runs = append(runs, run{e.off, d})
		}
		taken++
	}
	return runs, taken
}

// patches gives what of [lo, hi) is in memory, ascending, with references of
// its own.
func (o *object) patches(lo, hi int) (ps []run) {
	at := lo
	for _, e := range within(o.dirty, lo, hi) {
		ps = append(append(ps, within(o.flying, at, e.off)...), e)
		at = e.off + e.d.Len()
	}
	return append(ps, within(o.flying, at, hi)...)
}

func within(es []extent, lo, hi int) (ps []run) {
	if lo >= hi {
		return nil
	}
	for i := after(es, lo); i < len(es) && es[i].off < hi; i++ {
		a, b := max(lo, es[i].off), min(hi, es[i].end())
		ps = append(ps, run{a, es[i].d.Slice(a-es[i].off, b-a)})
	}
	return ps
}
