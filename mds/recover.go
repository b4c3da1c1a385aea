package mds

import (
	"context"
	"fmt"

	"github.com/spirula/spirula/mds/internal/inode"
	"github.com/spirula/spirula/mds/internal/tree"
	"github.com/spirula/spirula/rados/wire"
)

// replay is what reading the journal gathers beside the tree's own state.
type replay struct {
	fs      *FS
	events  int
	numbers bool // an item with the numbers was seen
	// used are the numbers that some event names, the whole journal through:
	// an account of the numbers may call one of them unused that an event
	// before it named.
	used    map[uint64]struct{}
	pending map[uint64]*pendingPublish
	splits  map[inode.Ino]tree.Split
	orphans map[uint64]struct{}
	dirs    map[inode.Ino]replayDir // of the event at hand
}

// replayDir is a directory's record as the event at hand has it, and how to
// put a newer one in its place.
type replayDir struct {
	in  *inode.Inode
	put func(pos tree.Pos, in *inode.Inode)
}

// recover brings memory to where the journal ends, makes a file system where
// there is none, and settles what was under way.
func (fs *FS) recover(ctx context.Context) error {
	r := &replay{fs: fs, used: map[uint64]struct{}{}, pending: map[uint64]*pendingPublish{},
		splits: map[inode.Ino]tree.Split{}, orphans: map[uint64]struct{}{}}
	fs.mu.Lock()
	fs.tree.SetReplaying(true)
	fs.mu.Unlock()
	err := fs.journal.Replay(ctx, 0, func(pos uint64, event []byte) error {
		fs.mu.Lock()
		defer fs.mu.Unlock()
		r.events++
		r.dirs = map[inode.Ino]replayDir{}
		return decodeEvent(event, func(it *eventItem) error { return r.apply(tree.Pos(pos), it) })
	})
	fs.mu.Lock()
	fs.tree.SetReplaying(false)
	fs.mu.Unlock()
	if err != nil {
		return err
	}
	if !r.numbers {
		return fs.makeNew(ctx)
	}
	for _, s := range r.splits {
		if err := fs.tree.AbortSplit(ctx, s); err != nil {
			return err
		}
	}
	if err := r.settle(ctx); err != nil {
		return err
	}
	fs.log.Info("journal replayed", "events", r.events, "orphans", len(r.orphans))
	return nil
}

func (r *replay) apply(pos tree.Pos, it *eventItem) error {
	fs := r.fs
	switch it.kind {
	case itemPut:
		fs.tree.Put(pos, it.at.dir, it.at.token, it.dentry)
		if in := it.dentry.Inode; in != nil {
			if !it.dentry.Unconfirmed {
				r.uses(in)
			}
			if in.Dir != nil {
				at, d := it.at, *it.dentry
				r.dirs[in.Ino] = replayDir{in, func(pos tree.Pos, c *inode.Inode) {
					d.Inode = c
					fs.tree.Put(pos, at.dir, at.token, &d)
				}}
			}
			if in.Nlink > 0 {
				fs.tree.PutRow(pos, in.Ino, &inode.TableRow{Kind: inode.RowAt, Parent: it.at.dir, Token: it.at.token})
			}
		}
	case itemDelete:
		fs.tree.Put(pos, it.at.dir, it.at.token, nil)
	case itemRow:
		fs.tree.PutRow(pos, it.ino, it.row)
		if in := it.row.Inode; in != nil {
			r.uses(in)
			if in.Dir != nil {
				r.dirs[in.Ino] = replayDir{in, func(pos tree.Pos, c *inode.Inode) {
					fs.tree.PutRow(pos, c.Ino, &inode.TableRow{Kind: inode.RowHere, Inode: c})
				}}
			}
		}
	case itemRowGone:
		fs.tree.PutRow(pos, it.ino, nil)
	case itemNumbers:
		r.setNumbers(it)
	case itemUnconfirmed:
		r.pending[it.stream] = &pendingPublish{at: it.at, stream: it.stream, old: it.dentry, pos: pos, done: make(chan struct{})}
	case itemConfirmed:
		delete(r.pending, it.stream)
		r.used[it.stream] = struct{}{}
	case itemUndone:
		delete(r.pending, it.stream)
	case itemBorn:
		fs.tree.Born(it.ino)
	case itemForgotten:
		fs.tree.Forget(it.ino)
	case itemSplit:
		return r.split(pos, it)
	}
	return nil
}

// uses notes that an event names a stream, so it is no orphan.
func (r *replay) uses(in *inode.Inode) {
	r.used[uint64(in.Ino)] = struct{}{}
	for c := &in.Content; c != nil; c = c.Base {
		r.used[c.Stream] = struct{}{}
	}
}

func (r *replay) setNumbers(it *eventItem) {
	r.numbers = true
	clear(r.orphans)
	for _, n := range it.inFlight {
		r.orphans[n] = struct{}{}
	}
	for n := it.next; n < it.limit; n++ {
		r.orphans[n] = struct{}{}
	}
	r.fs.next, r.fs.limit = it.limit, it.limit
}

func (r *replay) split(pos tree.Pos, it *eventItem) error {
	if !it.ended {
		r.splits[it.split.Dir] = it.split
		return nil
	}
	delete(r.splits, it.split.Dir)
	dir, ok := r.dirs[it.split.Dir]
	if !ok {
		return wire.Wrap("replay of a split", inoName(it.split.Dir), fmt.Errorf("its event has not the directory's record: %w", wire.EIO))
	}
	c := clone(dir.in)
	c.Dir = r.fs.tree.ApplySplit(pos, c.Dir, it.split)
	dir.put(pos, c)
	return nil
}

// settle decides the publishes whose data may not have come, and has the
// objects of unused numbers removed.
func (r *replay) settle(ctx context.Context) error {
	fs := r.fs
	for n := range r.used {
		delete(r.orphans, n)
	}
	fs.mu.Lock()
	for _, p := range r.pending {
		fs.pending[p.at] = p
		fs.inFlight[p.stream] = struct{}{}
	}
	for n := range r.orphans {
		fs.inFlight[n] = struct{}{}
	}
	fs.mu.Unlock()
	for _, p := range r.pending {
		present, err := fs.filer.Preclude(ctx, p.stream)
		if err != nil {
			return err
		}
		if err := fs.confirm(ctx, p.at, present); err != nil {
			return err
		}
		if present {
			delete(r.orphans, p.stream)
		} else {
			r.orphans[p.stream] = struct{}{}
		}
	}
	if len(r.orphans) > 0 {
		fs.background(func(ctx context.Context) { fs.purgeOrphans(ctx, r.orphans) })
	}
	return nil
}

// purgeOrphans removes what streams without a name may have left.
func (fs *FS) purgeOrphans(ctx context.Context, orphans map[uint64]struct{}) {
	for n := range orphans {
		if err := fs.filer.Purge(ctx, n, 0, wire.SnapContext{}); err != nil {
			if ctx.Err() == nil {
				fs.log.Warn("could not remove the objects of an unfinished write; the next start tries again", "stream", n, "err", err)
			}
			return
		}
		fs.settle(n)
	}
}

// makeNew makes the root and the hidden directories of a new file system.
func (fs *FS) makeNew(ctx context.Context) error {
	fs.next, fs.limit = uint64(firstNumber), uint64(firstNumber)
	return fs.update(ctx, func(t *txn) error {
		for _, ino := range []Ino{RootIno, strayIno, uploadsIno} {
			in := &inode.Inode{
				Ino: ino, Gen: 1, Type: inode.Dir, Mode: 0o755, UID: fs.o.UID, GID: fs.o.GID, Nlink: 1, Change: 1,
				Atime: t.now, Mtime: t.now, Ctime: t.now, Btime: t.now, Dir: tree.NewDirPart(RootIno, true),
			}
			t.born = append(t.born, ino)
			t.putRow(ino, &inode.TableRow{Kind: inode.RowHere, Inode: in})
		}
		t.number()
		return nil
	})
}

// splitBegin journals the first event of a fragment's split.
func (fs *FS) splitBegin(ctx context.Context, s tree.Split) error {
	return fs.update(ctx, func(t *txn) error {
		in, err := t.inode(s.Dir)
		if err != nil {
			return err
		}
		c := clone(in)
		c.Dir.NextFrag = s.To + 1
		t.extra = appendSplit(t.extra, false, s)
		return t.putInode(c)
	})
}

// splitEnd journals the second, with the directory's new list of fragments.
func (fs *FS) splitEnd(ctx context.Context, s tree.Split) error {
	return fs.update(ctx, func(t *txn) error {
		in, err := t.inode(s.Dir)
		if err != nil {
			return err
		}
		c := clone(in)
		if err := t.putInode(c); err != nil {
			return err
		}
		t.extra = appendSplit(t.extra, true, s)
		// The list is made with the event's position, which is known when
		// the event is in the journal's hands; what it holds is known now.
		t.splitDone = func(pos tree.Pos) { c.Dir = fs.tree.ApplySplit(pos, c.Dir, s) }
		return nil
	})
}

// birthLogged journals that a directory has a birth log.
func (fs *FS) birthLogged(ctx context.Context, dir inode.Ino) error {
	return fs.update(ctx, func(t *txn) error {
		in, err := t.inode(dir)
		if err != nil {
			return err
		}
		c := clone(in)
		c.Dir.BirthLog = true
		return t.putInode(c)
	})
}
