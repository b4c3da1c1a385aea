package mds

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/spirula/spirula/mds/internal/inode"
	"github.com/spirula/spirula/mds/internal/tree"
	"github.com/spirula/spirula/rados/wire"
)

// maintain writes metadata back, trims the journal behind it, and closes
// files that are quiet, until Close.
func (fs *FS) maintain(ctx context.Context) {
	tick := time.NewTicker(fs.o.Flush)
	defer tick.Stop()
	expire := time.NewTicker(expireEvery)
	defer expire.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-fs.kick:
		case <-expire.C:
			if err := fs.expireAnswers(ctx); err != nil && ctx.Err() == nil {
				fs.log.Warn("could not drop the answers of completed uploads; trying again later", "err", err)
			}
			continue
		}
		err := fs.closeFiles(ctx, idleClose)
		if err == nil {
			err = fs.writeBack(ctx)
		}
		if err != nil && ctx.Err() == nil {
			fs.log.Error("metadata could not be written back; it stays in the journal", "err", err)
		}
	}
}

// writeBack flushes what is durable to the directories' objects, and trims
// the journal.
func (fs *FS) writeBack(ctx context.Context) error {
	durable := tree.Pos(fs.journal.Durable())
	if err := fs.tree.Flush(ctx, durable); err != nil {
		return err
	}
	trim := fs.trimTo(durable)
	if uint64(trim) <= fs.journal.Trimmed() {
		return nil
	}
	// What the journal gives up held the last account of the numbers: a new
	// one must be durable first.
	pos, err := fs.run(ctx, func(t *txn) error {
		t.extra = fs.appendNumbersLocked(t.extra)
		return nil
	})
	if err == nil {
		err = fs.settled(ctx, pos)
	}
	if err != nil {
		return err
	}
	return fs.journal.Trim(ctx, uint64(trim))
}

// maxMarks bounds FS.marks; over it every other one is given up.
const maxMarks = 256

// trimTo is how far the journal isn't needed any more: the end of an event
// before the oldest that is.
func (fs *FS) trimTo(durable tree.Pos) tree.Pos {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	if n := len(fs.marks); n == 0 || fs.marks[n-1] < durable {
		fs.marks = append(fs.marks, durable)
	}
	needed := durable + 1
	if oldest, dirty := fs.tree.OldestDirty(); dirty {
		needed = min(needed, oldest)
	}
	for _, p := range fs.pending {
		needed = min(needed, p.pos)
	}
	n, _ := slices.BinarySearch(fs.marks, needed)
	if n == 0 {
		return 0
	}
	trim := fs.marks[n-1]
	fs.marks = fs.marks[n-1:]
	if len(fs.marks) > maxMarks {
		kept := fs.marks[:0:0]
		for i := 0; i < len(fs.marks); i += 2 {
			kept = append(kept, fs.marks[i])
		}
		fs.marks = kept
	}
	return trim
}

const (
	// strayBatch is how many strays one look at their directory takes.
	strayBatch = 128
	// purging is how many strays are purged at a time.
	purging = 16
	// purgeAgain is how long what could not be purged waits.
	purgeAgain = 10 * time.Second
)

// purgeStrays removes the objects of strays, as their last readers leave,
// until Close.
func (fs *FS) purgeStrays(ctx context.Context) {
	again := time.NewTimer(0)
	defer again.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-fs.strays:
		case <-again.C:
		}
		if !fs.purgeAll(ctx) {
			again.Reset(purgeAgain)
		}
	}
}

// purgeAll goes once through the strays there are; false: some are left that
// no reader holds.
func (fs *FS) purgeAll(ctx context.Context) (done bool) {
	var failed atomic.Bool
	for from := ""; ctx.Err() == nil; {
		tokens, err := fs.someStrays(ctx, from)
		if err != nil {
			if ctx.Err() == nil {
				fs.log.Warn("could not look for what to purge; trying again later", "err", err)
			}
			return false
		}
		if len(tokens) == 0 {
			break
		}
		var wg sync.WaitGroup
		room := make(chan struct{}, purging)
		for _, token := range tokens {
			room <- struct{}{}
			wg.Go(func() {
				defer func() { <-room }()
				if err := fs.purgeStray(ctx, token); err != nil && ctx.Err() == nil {
					failed.Store(true)
					fs.log.Warn("could not purge removed content; trying again later", "stray", token, "err", err)
				}
			})
		}
		wg.Wait()
		from = tokens[len(tokens)-1]
	}
	return !failed.Load()
}

func (fs *FS) someStrays(ctx context.Context, from string) (tokens []string, err error) {
	err = fs.view(ctx, func(t *txn) error {
		tokens = tokens[:0]
		dir, err := t.inode(strayIno)
		if err != nil {
			return err
		}
		return fs.tree.Scan(dir, from, false, func(token string, d *inode.Dentry) bool {
			tokens = append(tokens, token)
			return len(tokens) < strayBatch
		})
	})
	return tokens, err
}

// purgeStray removes one stray's objects, then the stray. One that is still
// read is left for later: the last reader wakes the purge.
func (fs *FS) purgeStray(ctx context.Context, token string) error {
	var in *inode.Inode
	pinned := false
	err := fs.view(ctx, func(t *txn) error {
		in, pinned = nil, false
		dir, err := t.inode(strayIno)
		if err != nil {
			return err
		}
		d, err := t.get(dir, token)
		if err != nil || d == nil {
			return err
		}
		in = d.Inode
		_, pinned = fs.pins[in.Content.Stream]
		pinned = pinned && in.Content.Kind != inode.Empty
		return nil
	})
	if err != nil || in == nil || pinned {
		return err
	}
	switch token[0] {
	case strayContent:
		return fs.purgeContent(ctx, token, in)
	case strayDir:
		if err := fs.tree.PurgeDir(ctx, in); err != nil {
			return err
		}
		return fs.dropStray(ctx, token, nil)
	default:
		return fs.emptyUploads(ctx, token, in)
	}
}

// dropStray takes a stray's entry away, and does more in the same step.
func (fs *FS) dropStray(ctx context.Context, token string, more func(t *txn) error) error {
	if err := fs.admit(ctx); err != nil {
		return err
	}
	_, err := fs.run(ctx, func(t *txn) error {
		t.put(strayIno, token, nil)
		if more != nil {
			return more(t)
		}
		return nil
	})
	return err
}

// strayCut is the Change of a joined stray of which only the rows below its
// size are left to drop.
const strayCut = 1

// purgeContent removes content that nobody holds, and what it rests on loses
// a holder.
func (fs *FS) purgeContent(ctx context.Context, token string, in *inode.Inode) error {
	c := &in.Content
	var rows []inode.Row
	if c.Kind == inode.Joined {
		// All of them, however short the last holder was, but for those that
		// an earlier step has dropped.
		size := uint64(1) << 62
		if in.Change == strayCut {
			size = in.Size
		}
		var err error
		if rows, _, err = fs.filer.Rows(ctx, c, size, 0, size); err != nil && wire.ErrnoOf(err) != wire.ENOENT {
			return err
		}
	}
	if c.Kind != inode.Joined {
		size := in.Size
		if in.OpenEpoch != 0 && size > 0 {
			var err error
			if size, err = fs.filer.StoredSize(ctx, c.Stream, size); err != nil {
				return err
			}
		}
		if err := fs.filer.Purge(ctx, c.Stream, size, wire.SnapContext{}); err != nil {
			return err
		}
	}
	// The rows go over to strays of their own, some at a time, each step
	// leaving the rest of the list.
	const step = 256
	for c.Kind == inode.Joined && len(rows) > step {
		part := rows[len(rows)-step:]
		rows = rows[:len(rows)-step]
		left := *in
		left.Size, left.Change = rows[len(rows)-1].End, strayCut
		_, err := fs.run(ctx, func(t *txn) error {
			t.put(strayIno, token, &inode.Dentry{Inode: &left, Ino: left.Ino, Type: left.Type})
			return t.dropRows(part)
		})
		if err != nil {
			return err
		}
		in = &left
	}
	return fs.dropStray(ctx, token, func(t *txn) error {
		if c.Kind == inode.Joined && c.NumRow > inode.MaxRows {
			// The list itself goes last, as a stray without bytes.
			t.stray(strayContent, c.Stream, &inode.Inode{Ino: in.Ino, Gen: 1, Type: inode.Reg,
				Content: inode.Content{Kind: inode.Plain, Stream: c.Stream}, Ctime: t.now})
		}
		if c.Base != nil {
			if err := t.dropContent(c.Base, c.BaseLimit); err != nil {
				return err
			}
		}
		return t.dropRows(rows)
	})
}

func (t *txn) dropRows(rows []inode.Row) error {
	start := uint64(0)
	for i := range rows {
		size := rows[i].Start + rows[i].End - start
		start = rows[i].End
		if err := t.dropContent(&inode.Content{Kind: inode.Plain, Stream: rows[i].Stream, Sealed: true}, size); err != nil {
			return err
		}
	}
	return nil
}

// emptyUploads takes what is left in a dropped upload, or in a removed
// bucket's uploads, to the strays, some at a time, then removes its directory.
func (fs *FS) emptyUploads(ctx context.Context, token string, dir *inode.Inode) error {
	for {
		more := false
		err := fs.update(ctx, func(t *txn) error {
			more = false
			now, err := t.inode(dir.Ino)
			if err != nil {
				return err
			}
			var names []string
			if err := fs.tree.Scan(now, "", true, func(token string, d *inode.Dentry) bool {
				names = append(names, token)
				return len(names) < strayBatch
			}); err != nil {
				return err
			}
			for _, name := range names {
				if err := t.dropHidden(now, name); err != nil {
					return err
				}
			}
			if more = len(names) > 0; more {
				return nil
			}
			t.put(strayIno, token, nil)
			t.putRow(dir.Ino, nil)
			t.gone = append(t.gone, dir.Ino)
			t.stray(strayDir, uint64(dir.Ino), now)
			return nil
		})
		if err != nil || !more {
			return err
		}
	}
}

func (t *txn) dropHidden(dir *inode.Inode, name string) error {
	d, err := t.get(dir, name)
	if err != nil || d == nil {
		return err
	}
	t.put(dir.Ino, name, nil)
	if d.Inode.Dir != nil {
		t.strayUpload(d.Inode)
		return nil
	}
	return t.dropContent(&d.Inode.Content, d.Inode.Size)
}

const (
	// answerKept is how long the answer of a completed upload is kept.
	answerKept = 24 * time.Hour
	// expireEvery lies between looks for older ones.
	expireEvery = time.Hour
)

// expireAnswers drops what is kept of uploads completed long ago.
func (fs *FS) expireAnswers(ctx context.Context) error {
	for from, more := "", true; more; {
		var dir *inode.Inode
		err := fs.view(ctx, func(t *txn) error {
			dir = nil
			all, err := t.inode(uploadsIno)
			if err != nil {
				return err
			}
			token, d, err := t.next(all, from, false)
			if more = d != nil; more {
				from, dir = token, d.Inode
			}
			return err
		})
		if err == nil && dir != nil {
			err = fs.expireIn(ctx, dir.Ino)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// expireIn is expireAnswers of one bucket's uploads.
func (fs *FS) expireIn(ctx context.Context, ino Ino) error {
	for from, more := "", true; more; {
		before := wire.TimeOf(fs.o.Now().Add(-answerKept))
		err := fs.update(ctx, func(t *txn) error {
			dir, err := t.inode(ino)
			if wire.ErrnoOf(err) == wire.ESTALE {
				more = false
				return nil
			}
			if err != nil {
				return err
			}
			last, looked := from, 0
			err = fs.tree.Scan(dir, from, false, func(token string, d *inode.Dentry) bool {
				if d.Inode.Dir == nil && d.Inode.Btime < before {
					t.put(ino, token, nil)
				}
				last, looked = token, looked+1
				return looked < strayBatch
			})
			if err != nil {
				return err
			}
			t.apply = append(t.apply, func(tree.Pos) { from, more = last, looked == strayBatch })
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}
