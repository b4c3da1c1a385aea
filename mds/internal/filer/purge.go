package filer

import (
	"context"

	"github.com/spirula/spirula/mds/internal/inode"
	"github.com/spirula/spirula/rados"
	"github.com/spirula/spirula/rados/wire"
)

// missesInRow is how many objects in a row must be missing for a stream of
// unknown length to have ended: a Stream never has an object in flight that
// is window or more after one that isn't acknowledged.
const missesInRow = window + 1

func deleteOp(sid, n uint64, snaps wire.SnapContext) *rados.Op {
	return &rados.Op{Object: objectName(sid, n), SnapC: snaps, Ops: []wire.Op{{Code: wire.OpDelete}}}
}

// deleteObjects deletes the objects first to last of a stream, those that
// are there.
func (f *Filer) deleteObjects(ctx context.Context, sid, first, last uint64, snaps wire.SnapContext) error {
	return f.each(ctx, first, last,
		func(n uint64) *rados.Op { return deleteOp(sid, n, snaps) },
		func(n uint64, _ *rados.Reply, err error) (bool, error) {
			if err != nil && !kindIs(err, wire.ENOENT) {
				return false, wire.Wrap("filer.delete", objectName(sid, n), err)
			}
			if err == nil {
				f.Metrics.Purged.Add(1)
			}
			return true, nil
		})
}

// Purge deletes the objects of stream sid below size. A size of 0 says that
// it isn't known: it looks for objects 0, 1, … until so many in a row are
// missing that a Stream can't have written more, deletes those found, and the part list x.SID if
// there is one. snaps is the context of the deletes: what a snapshot in it
// shows stays readable. The stream's writer must have ended. Repeating it is
// harmless.
func (f *Filer) Purge(ctx context.Context, sid, size uint64, snaps wire.SnapContext) error {
	if size > 0 {
		return f.deleteObjects(ctx, sid, 0, (size-1)/ObjectSize, snaps)
	}
	// Looking first costs a read for each object that isn't there; deleting
	// it would cost an entry in a placement group's log.
	_, objects, err := f.stored(ctx, sid, 0)
	if err == nil && objects > 0 {
		err = f.deleteObjects(ctx, sid, 0, objects-1, snaps)
	}
	if err != nil {
		return err
	}
	return f.removeParts(ctx, sid)
}

// StoredSize finds where the objects of stream sid, written in place, end:
// it looks from the object of atLeast on until missesInRow are missing. For
// a file that was open for write when its mds died.
func (f *Filer) StoredSize(ctx context.Context, sid, atLeast uint64) (size uint64, err error) {
	size, _, err = f.stored(ctx, sid, atLeast)
	return size, err
}

// stored is StoredSize that also gives the number of the last object that is
// there, plus one.
func (f *Filer) stored(ctx context.Context, sid, atLeast uint64) (size, objects uint64, err error) {
	size = atLeast
	misses := 0
	err = f.each(ctx, atLeast/ObjectSize, MaxFile/ObjectSize,
		func(n uint64) *rados.Op {
			return &rados.Op{Object: objectName(sid, n), Ops: []wire.Op{{Code: wire.OpStat}}}
		},
		func(n uint64, reply *rados.Reply, err error) (bool, error) {
			switch {
			case err == nil:
				misses = 0
				size = max(size, n*ObjectSize+min(reply.Results[0].Size, ObjectSize))
				objects = n + 1
			case kindIs(err, wire.ENOENT):
				misses++
			default:
				return false, wire.Wrap("filer.stat", objectName(sid, n), err)
			}
			return misses < missesInRow, nil
		})
	return size, objects, err
}

// Truncated is c cut to size: the content to publish with the new size. ok
// is false for kinds that can't be cut in place (joined, inline, or sealed)
// unless size is 0, which gives Empty: the caller purges or gives up its
// reference.
func Truncated(c *inode.Content, size uint64) (cut *inode.Content, ok bool) {
	if size == 0 && (c.Kind == inode.Joined || c.Kind == inode.Inline || c.Sealed) {
		return &inode.Content{}, true
	}
	switch {
	case c.Sealed || c.Kind == inode.Joined || c.Kind == inode.Inline:
		return nil, false
	case c.Kind == inode.Overlay && c.BaseLimit > size:
		d := *c
		d.BaseLimit = size
		return &d, true
	}
	return c, true
}

// Truncate cuts the objects of c, Plain or Overlay, which reached up to old,
// to size: those beyond are deleted, the one that size lies in is cut. It may
// be repeated; replay does.
func (f *Filer) Truncate(ctx context.Context, c *inode.Content, snaps wire.SnapContext, old, size uint64) error {
	if c.Kind != inode.Plain && c.Kind != inode.Overlay || old <= size {
		return nil
	}
	first := size / ObjectSize
	if at := size % ObjectSize; at > 0 {
		_, err := f.data.Do(ctx, &rados.Op{Object: objectName(c.Stream, first), SnapC: snaps, Ops: []wire.Op{{Code: wire.OpTruncate, Off: at}}})
		if err != nil && !kindIs(err, wire.ENOENT) {
			return wire.Wrap("filer.truncate", objectName(c.Stream, first), err)
		}
		first++
	}
	if last := (old - 1) / ObjectSize; first <= last {
		return f.deleteObjects(ctx, c.Stream, first, last, snaps)
	}
	return nil
}
