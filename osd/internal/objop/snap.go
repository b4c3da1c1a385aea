package objop

import (
	"slices"

	"github.com/spirula/spirula/rados/wire"
)

// modify is called before the first step that changes what clients see of the
// object: it clones the head when the snap context has a snapshot newer than
// the object's SnapSet, so that the snapshot keeps what the head was.
func (v *vector) modify() {
	if v.modified {
		return
	}
	v.modified, v.Changed, v.UserChange = true, true, true
	set := &v.Object.SnapSet
	if !v.live || len(v.snaps) == 0 || v.snaps[0] <= set.Seq {
		return
	}
	n := slices.IndexFunc(v.snaps, func(s wire.SnapID) bool { return s <= set.Seq })
	if n < 0 {
		n = len(v.snaps)
	}
	c := Clone{ID: v.seq, Snaps: slices.Clone(v.snaps[:n]), Size: v.was.Info.Size}
	if c.Size > 0 {
		c.Overlap = []wire.Extent{{Off: 0, Len: c.Size}}
	}
	head, clone := v.Object.id(wire.NoSnap), v.Object.id(c.ID)
	v.Txn.Clone(head, clone)
	if v.was.Info.HasSnapSet {
		v.Txn.RmXattr(clone, snapSetXattr)
	}
	if len(v.was.Info.Watches) > 0 { // they stay with the head
		info := v.was.Info
		info.Watches, info.HasSnapSet = nil, false
		v.Txn.SetXattrs(clone, wire.KV{Key: infoXattr, Value: info.Encode()})
	}
	set.Clones = append(slices.Clone(set.Clones), c)
	set.Seq = v.seq
	v.SnapsAdded = c.Snaps
	v.Clones++
	v.Bytes += int64(c.Size)
}

// dirty says that a range of the head no longer is what the newest clone
// has.
func (v *vector) dirty(off, n uint64) {
	clones := v.Object.SnapSet.Clones
	if len(clones) == 0 || n == 0 {
		return
	}
	last := clones[len(clones)-1]
	left := subtract(last.Overlap, wire.Extent{Off: off, Len: n})
	v.setOverlap(left)
}

// setOverlap replaces the newest clone's overlap with the head.
func (v *vector) setOverlap(x []wire.Extent) {
	set := &v.Object.SnapSet
	set.Clones = slices.Clone(set.Clones)
	set.Clones[len(set.Clones)-1].Overlap = x
}

// settle gives the object its state after the last operation of a vector
// that changed it.
func (v *vector) settle() {
	obj := &v.Object
	if v.modified {
		obj.SnapSet.Seq = max(obj.SnapSet.Seq, v.seq)
	}
	v.Bytes += int64(obj.Info.Size) - int64(v.was.Info.Size)
	switch {
	case v.live:
		obj.Stored, obj.Info.Whiteout = true, false
	case len(obj.SnapSet.Clones) > 0:
		obj.Stored, obj.Info.Whiteout = true, true
	default:
		obj.Stored, obj.Info, obj.SnapSet = false, Info{}, SnapSet{}
	}
}

// rollback makes the head what snap shows: a clone's copy, nothing, or what
// it is.
func (v *vector) rollback(snap wire.SnapID) wire.Errno {
	if snap == 0 {
		return wire.EINVAL
	}
	at, ok := v.was.resolve(snap)
	switch {
	case !ok && !v.live:
		return 0
	case !ok && len(v.Object.Info.Watches) > 0:
		return wire.EBUSY // a rollback does not take the object from its watchers
	case !ok:
		return v.remove()
	case at == wire.NoSnap:
		return 0
	}
	v.modify()
	clones := v.Object.SnapSet.Clones
	i := slices.IndexFunc(clones, func(c Clone) bool { return c.ID == at })
	// What all versions from the clone to the head share does not change.
	shared := clones[i].Overlap
	for _, c := range clones[i+1:] {
		shared = intersect(shared, c.Overlap)
	}
	info := &v.Object.Info
	changed := []wire.Extent{{Off: 0, Len: max(info.Size, clones[i].Size)}}
	for _, x := range shared {
		changed = subtract(changed, x)
	}
	for _, x := range changed {
		v.dirty(x.Off, x.Len)
	}
	v.Txn.Clone(v.Object.id(at), v.Object.id(wire.NoSnap))
	v.live = true
	info.Size = clones[i].Size
	return 0
}

func (v *vector) listSnaps(res *wire.OpResult) wire.Errno {
	if v.req.Snap != wire.SnapDir {
		return wire.EINVAL
	}
	set := &v.was.SnapSet
	res.SnapSeq = set.Seq
	for _, c := range set.Clones {
		snaps := slices.Clone(c.Snaps)
		slices.Reverse(snaps)
		res.Clones = append(res.Clones, wire.CloneSnap{Clone: c.ID, Snaps: snaps, Overlap: c.Overlap, Size: c.Size})
	}
	if v.was.Live() {
		res.Clones = append(res.Clones, wire.CloneSnap{Clone: wire.NoSnap, Size: v.was.Info.Size})
	}
	return 0
}

// Trim takes a removed snapshot out of an object: the clone that showed no
// other goes, and with the last clone a whiteout.
func Trim(was *Object, snap wire.SnapID) *Outcome {
	out := &Outcome{Object: *was}
	set := &out.Object.SnapSet
	i := slices.IndexFunc(set.Clones, func(c Clone) bool { return slices.Contains(c.Snaps, snap) })
	if i < 0 {
		return out
	}
	out.Changed = true
	out.SnapsGone = []wire.SnapID{snap}
	set.Clones = slices.Clone(set.Clones)
	c := &set.Clones[i]
	c.Snaps = slices.DeleteFunc(slices.Clone(c.Snaps), func(s wire.SnapID) bool { return s == snap })
	if len(c.Snaps) > 0 {
		return out
	}
	out.Clones--
	out.Bytes -= int64(c.Size)
	out.Txn.Remove(was.id(c.ID))
	if i > 0 {
		set.Clones[i-1].Overlap = intersect(set.Clones[i-1].Overlap, c.Overlap)
	}
	if set.Clones = slices.Delete(set.Clones, i, i+1); len(set.Clones) == 0 {
		set.Clones = nil
	}
	if set.Clones == nil && was.Info.Whiteout {
		out.Txn.Remove(was.id(wire.NoSnap))
		out.Object.Stored, out.Object.Info, out.Object.SnapSet = false, Info{}, SnapSet{}
	}
	return out
}

// subtract takes x out of ascending, disjoint extents, into new memory.
func subtract(from []wire.Extent, x wire.Extent) []wire.Extent {
	var out []wire.Extent
	end := x.Off + x.Len
	for _, f := range from {
		fend := f.Off + f.Len
		if f.Off < x.Off {
			out = append(out, wire.Extent{Off: f.Off, Len: min(fend, x.Off) - f.Off})
		}
		if fend > end {
			start := max(f.Off, end)
			out = append(out, wire.Extent{Off: start, Len: fend - start})
		}
	}
	return out
}

// intersect gives what two lists of ascending, disjoint extents have in
// common.
func intersect(a, b []wire.Extent) []wire.Extent {
	var out []wire.Extent
	for len(a) > 0 && len(b) > 0 {
		lo, aend, bend := max(a[0].Off, b[0].Off), a[0].Off+a[0].Len, b[0].Off+b[0].Len
		if hi := min(aend, bend); lo < hi {
			out = append(out, wire.Extent{Off: lo, Len: hi - lo})
		}
		if aend < bend {
			a = a[1:]
		} else {
			b = b[1:]
		}
	}
	return out
}
