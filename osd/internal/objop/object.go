package objop

import (
	"errors"

	"github.com/spirula/spirula/osd/store"
	"github.com/spirula/spirula/rados/wire"
)

// View is the reading half of an object store: the state that every queued
// transaction has left. Methods give ENOENT for a missing object, ENODATA
// (or ENOENT) for a missing xattr.
type View interface {
	// Read gives up to n bytes from off, fewer at the end of the object.
	// The Data belong to the caller.
	Read(o store.ObjectID, off, n uint64) (wire.Data, error)
	// Extents gives the ranges that hold data, ascending.
	Extents(o store.ObjectID) ([]wire.Extent, error)
	Xattr(o store.ObjectID, name string) ([]byte, error)
	Xattrs(o store.ObjectID) ([]wire.KV, error)
	OmapHeader(o store.ObjectID) ([]byte, error)
	// OmapGet gives those of keys that exist, ascending.
	OmapGet(o store.ObjectID, keys []string) ([]wire.KV, error)
	// OmapList gives entries after the key after that have the prefix.
	OmapList(o store.ObjectID, after, prefix string, max int, withValues bool) (kvs []wire.KV, more bool, err error)
}

// Object is what a PG knows of one object before or after a vector: enough
// to decide most of what a vector does without reading the store.
type Object struct {
	Head    wire.HObject // Snap is NoSnap
	Shard   int8
	Stored  bool // the head is in the store, alive or as a whiteout
	Info    Info // of the head; zero unless Stored
	SnapSet SnapSet
}

// Live reports whether clients see the head.
func (o *Object) Live() bool { return o.Stored && !o.Info.Whiteout }

// id is the store's name of the head (NoSnap) or a clone.
func (o *Object) id(snap wire.SnapID) store.ObjectID {
	h := o.Head
	h.Snap = snap
	return store.ObjectID{HObject: h, Shard: o.Shard, Gen: store.NoGen}
}

// Load reads an Object from the store. A missing one is no error.
func Load(v View, head wire.HObject, shard int8) (Object, error) {
	o := Object{Head: head.Head(), Shard: shard}
	raw, err := v.Xattr(o.id(wire.NoSnap), infoXattr)
	if errors.Is(err, wire.ENOENT) {
		return o, nil
	}
	if err != nil {
		return o, wire.Wrap("load object info", head.String(), err)
	}
	if o.Info, err = DecodeInfo(raw); err != nil {
		return o, wire.Wrap("load object info", head.String(), err)
	}
	o.Stored = true
	if !o.Info.HasSnapSet {
		return o, nil
	}
	raw, err = v.Xattr(o.id(wire.NoSnap), snapSetXattr)
	if err == nil {
		o.SnapSet, err = DecodeSnapSet(raw)
	}
	if err != nil {
		return o, wire.Wrap("load snap set", head.String(), &wire.Error{Op: "read", Kind: wire.EIO, Cause: err})
	}
	return o, nil
}

// Whiteout reports whether the head o of the store is only kept for its
// SnapSet; listings leave it out.
func Whiteout(v View, o store.ObjectID) (bool, error) {
	raw, err := v.Xattr(o, infoXattr)
	if err != nil {
		return false, err
	}
	i, err := DecodeInfo(raw)
	return i.Whiteout, err
}

// resolve finds the state that a read at snap sees: the head (NoSnap), a
// clone's id, or nothing.
func (o *Object) resolve(snap wire.SnapID) (wire.SnapID, bool) {
	if snap == wire.NoSnap || snap > o.SnapSet.Seq {
		return wire.NoSnap, o.Live()
	}
	for _, c := range o.SnapSet.Clones {
		if c.ID < snap {
			continue
		}
		return c.ID, len(c.Snaps) > 0 && c.Snaps[len(c.Snaps)-1] <= snap
	}
	return 0, false
}
