package mds

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/spirula/spirula/mds/internal/filer"
	"github.com/spirula/spirula/mds/internal/inode"
	"github.com/spirula/spirula/mds/internal/tree"
	"github.com/spirula/spirula/rados/wire"
)

// maxOpenFiles bounds the files open for write; over it the quiet ones are
// closed at once.
const maxOpenFiles = 4096

// idleClose is how long a file stays open after its last write.
const idleClose = 5 * time.Second

// reopened is by how much the counters of a file move that was open for write
// when an mds died: past anything that was given out of memory.
const reopened = 1 << 32

// deadOpen is the OpenEpoch of a file that was open for write when an mds
// died and was not opened since: its counters are moved, and its stream may
// have bytes beyond its size.
const deadOpen = ^uint64(0)

// openFile is a file open for write. Its fields but file and io are guarded
// by FS.mu.
type openFile struct {
	file *filer.File
	// io is held by a write from its decision until its size is known, and
	// alone while the size is set. Outer to FS.mu.
	io sync.RWMutex

	in       *inode.Inode // the record as it is now; newer than the tree's when dirty
	base     *inode.Inode // the record as the tree has it
	counted  uint64       // the size that the totals above it count
	writers  int          // calls between openForWrite and doneWriting
	quiet    chan struct{}
	last     time.Time // of the last write
	high     uint64    // where the furthest write ends, finished or not
	dead     bool      // bytes beyond the size are still to be cut
	gone     bool      // unlinked
	released bool
}

func (of *openFile) dirtyLocked() bool { return of.in != of.base || of.in.Size != of.counted }

// countedLocked is the size of a file that the totals above it count.
func (fs *FS) countedLocked(in *inode.Inode) uint64 {
	if of := fs.open[in.Ino]; of != nil {
		return of.counted
	}
	return in.Size
}

// untouched reports that nothing was ever written to a new file, so that it
// has no objects.
func (of *openFile) untouched() bool {
	return of.in.Data == 0 && of.in.Truncating == 0 && of.writers == 0 && !of.in.Content.Sealed
}

// currentLocked gives the newest record of an inode that the tree has as in.
func (fs *FS) currentLocked(in *inode.Inode) *inode.Inode {
	if of := fs.open[in.Ino]; of != nil {
		return of.in
	}
	if in.OpenEpoch != 0 && in.OpenEpoch != deadOpen && in.OpenEpoch != fs.journal.Epoch() {
		c := *in
		c.OpenEpoch = deadOpen
		c.Change += reopened
		c.Data += reopened
		return &c
	}
	return in
}

// inodeChangedLocked tells an open file that its record was journaled.
func (fs *FS) inodeChangedLocked(in *inode.Inode) {
	if of := fs.open[in.Ino]; of != nil {
		of.in, of.base = in, in
	}
}

// openNew marks a file made by this transaction as open for write: it has a
// stream, so its first write needs no event. (Of a number of its own: rows of
// the inode table are by number, and streams have some, too.)
func (t *txn) openNew(in *inode.Inode) {
	in.Content = inode.Content{Kind: inode.Plain, Stream: t.number()}
	in.OpenEpoch = t.fs.journal.Epoch()
	t.apply = append(t.apply, func(tree.Pos) { t.fs.openLocked(in) })
}

// openLocked puts a file among those open for write.
func (fs *FS) openLocked(in *inode.Inode) *openFile {
	of := &openFile{in: in, base: in, counted: in.Size, last: fs.o.Now()}
	f, err := fs.filer.Open(in.Ino, &in.Content, in.Size, wire.SnapContext{})
	if err != nil {
		panic(fmt.Sprintf("mds: open of inode %x with content kind %d: %v", in.Ino, in.Content.Kind, err))
	}
	of.file = f
	fs.open[in.Ino] = of
	if len(fs.open) > maxOpenFiles {
		wake(fs.kick)
	}
	return of
}

// openForWrite makes the file writable in place and counts a writer, which
// doneWriting ends. check is run on the record first. When it returns, the
// event that says so is durable.
func (fs *FS) openForWrite(ctx context.Context, h Handle, check func(t *txn, in *inode.Inode) error) (of *openFile, err error) {
	for {
		var copyFrom *inode.Inode
		err = fs.update(ctx, func(t *txn) error {
			of, copyFrom = nil, nil
			in, err := t.handle(h)
			if err != nil {
				return err
			}
			if err := check(t, in); err != nil {
				return err
			}
			if have := fs.open[in.Ino]; have != nil && !in.Content.Sealed {
				of = have
				of.writers++
				return nil
			}
			if needsCopy(&in.Content) {
				copyFrom = in
				return nil
			}
			return t.openExisting(in, &of)
		})
		if err != nil {
			if of != nil { // counted, but the wait for the journal was cut short
				fs.doneWriting(of)
			}
			return nil, err
		}
		if copyFrom == nil {
			return of, fs.finishOpen(ctx, of)
		}
		if err := fs.ownContent(ctx, copyFrom); err != nil {
			return nil, err
		}
	}
}

// needsCopy reports content that can't be written in place nor lie under an
// overlay: its bytes are copied first.
func needsCopy(c *inode.Content) bool {
	switch c.Kind {
	case inode.Inline:
		return true
	case inode.Overlay:
		depth := 0
		for b := c; b != nil && b.Kind == inode.Overlay; b = b.Base {
			depth++
		}
		return c.Sealed && depth >= inode.MaxOverlay
	}
	return false
}

// openExisting stages that a file is open for write, its content made
// writable: a stream of its own, or an overlay over what others hold too.
func (t *txn) openExisting(in *inode.Inode, of **openFile) error {
	fs := t.fs
	c := clone(in)
	c.OpenEpoch = fs.journal.Epoch()
	switch in.Content.Kind {
	case inode.Empty:
		c.Content = inode.Content{Kind: inode.Plain, Stream: t.number()}
	case inode.Joined:
		base := in.Content
		c.Content = inode.Content{Kind: inode.Overlay, Stream: t.number(), Base: &base, BaseLimit: in.Size}
	case inode.Plain, inode.Overlay:
		if !in.Content.Sealed {
			break
		}
		row, err := t.row(Ino(in.Content.Stream))
		if err != nil {
			return err
		}
		if row == nil || row.Kind != inode.RowRefs || row.Refs < 2 {
			c.Content.Sealed = false // the other holders are gone
			break
		}
		base := in.Content
		c.Content = inode.Content{Kind: inode.Overlay, Stream: t.number(), Base: &base, BaseLimit: in.Size}
	}
	if have := fs.open[in.Ino]; have != nil {
		return t.reopen(have, c, of)
	}
	if err := t.putInode(c); err != nil {
		return err
	}
	dead := in.OpenEpoch == deadOpen
	t.apply = append(t.apply, func(tree.Pos) {
		*of = fs.openLocked(c)
		(*of).writers++
		(*of).dead = dead
	})
	return nil
}

// reopen is openExisting for a file that is open and was sealed since: a
// copy of it was made. Its old File must be clean and go first.
func (t *txn) reopen(have *openFile, c *inode.Inode, of **openFile) error {
	if have.writers > 0 {
		return have.wait()
	}
	if err := t.putInode(c); err != nil {
		return err
	}
	t.apply = append(t.apply, func(tree.Pos) {
		t.fs.forgetLocked(have)
		*of = t.fs.openLocked(c)
		(*of).writers++
	})
	return nil
}

// wait makes the transaction run again when the file has no writer.
func (of *openFile) wait() error {
	if of.quiet == nil {
		of.quiet = make(chan struct{})
	}
	return &waitFor{of.quiet}
}

// finishOpen cuts what the stream of a just opened file has beyond its size:
// the rest of a truncation that was cut short, or what was written and never
// committed when an mds died.
func (fs *FS) finishOpen(ctx context.Context, of *openFile) error {
	if fs.cutDone(of) {
		return nil
	}
	of.io.Lock()
	defer of.io.Unlock()
	if fs.cutDone(of) {
		return nil
	}
	err := fs.cutBeyond(context.WithoutCancel(ctx), of)
	if err != nil {
		fs.doneWriting(of)
		return wire.Wrap("truncate", inoName(of.file.Ino()), err)
	}
	return nil
}

func (fs *FS) cutDone(of *openFile) bool {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	return of.gone || of.in.Truncating == 0 && !of.dead
}

// cutBeyond cuts an open file's objects to its size, with of.io held alone.
func (fs *FS) cutBeyond(ctx context.Context, of *openFile) error {
	fs.mu.Lock()
	in, dead := of.in, of.dead
	fs.mu.Unlock()
	old := in.Truncating
	if dead {
		stored, err := fs.filer.StoredSize(ctx, in.Content.Stream, in.Size)
		if err != nil {
			return err
		}
		old = max(old, stored)
	}
	if err := of.file.Truncate(ctx, in.Size, &in.Content); err != nil {
		return err
	}
	if err := fs.filer.Truncate(ctx, &in.Content, wire.SnapContext{}, old, in.Size); err != nil {
		return err
	}
	// The mark goes with the next event; nobody waits for it.
	_, err := fs.run(ctx, func(t *txn) error {
		if of.gone {
			return nil
		}
		t.apply = append(t.apply, func(tree.Pos) { of.dead = false })
		if of.in.Truncating == 0 {
			return nil
		}
		c := clone(of.in)
		c.Truncating = 0
		return t.putInode(c)
	})
	return err
}

// ownContent copies a file's bytes into a stream of its own and makes that
// its content, unless the file changed meanwhile.
func (fs *FS) ownContent(ctx context.Context, in *inode.Inode) error {
	sid, err := fs.newStream(ctx)
	if err != nil {
		return err
	}
	s := fs.filer.NewStream(sid)
	err = fs.copyInto(ctx, in, s)
	if err == nil {
		err = s.Finish(ctx)
	} else {
		s.Abort()
	}
	if err == nil {
		err = fs.update(ctx, func(t *txn) error {
			now, err := t.inode(in.Ino)
			if err != nil {
				return err
			}
			if now.Data != in.Data || now.Content.Stream != in.Content.Stream || now.Content.Kind != in.Content.Kind {
				return nil
			}
			c := clone(now)
			c.Content = inode.Content{Kind: inode.Plain, Stream: sid}
			if err := t.dropContent(&now.Content, now.Size); err != nil {
				return err
			}
			return t.putInode(c)
		})
	}
	fs.dropStream(sid, in.Size) // unless the file has it now
	return err
}

func (fs *FS) copyInto(ctx context.Context, in *inode.Inode, s *filer.Stream) error {
	if in.Content.Kind != inode.Inline {
		return fs.filer.Copy(ctx, &in.Content, in.Size, 0, in.Size, s)
	}
	var b []byte
	err := fs.view(ctx, func(t *txn) (err error) {
		now, err := t.inode(in.Ino)
		if err != nil {
			return err
		}
		if now.Data != in.Data || now.Content.Kind != inode.Inline {
			return nil // changed: the caller finds out
		}
		b, err = t.inline(now)
		return err
	})
	if err != nil {
		return err
	}
	return s.Write(ctx, wire.DataOf(append([]byte(nil), b...)))
}

// doneWriting ends one writer of openForWrite.
func (fs *FS) doneWriting(of *openFile) {
	fs.mu.Lock()
	of.writers--
	if of.writers == 0 && of.quiet != nil {
		close(of.quiet)
		of.quiet = nil
	}
	fs.mu.Unlock()
}

// forgetLocked takes a file from those open for write.
func (fs *FS) forgetLocked(of *openFile) {
	if fs.open[of.in.Ino] == of {
		delete(fs.open, of.in.Ino)
	}
	if !of.released {
		of.released = true
		of.file.Detach()
		of.file.Release()
	}
}

// abandonLocked drops the unwritten data of a file that was unlinked. Its
// stream isn't purged before nothing more can be written to it.
func (fs *FS) abandonLocked(of *openFile) {
	of.gone = true
	if fs.open[of.in.Ino] == of {
		delete(fs.open, of.in.Ino)
	}
	held := fs.pinLocked(of.in.Content.Stream)
	fs.backgroundLocked(func(ctx context.Context) {
		of.file.Discard(ctx)
		fs.mu.Lock()
		if !of.released {
			of.released = true
			of.file.Release()
		}
		fs.unpinLocked(of.in.Content.Stream, held)
		fs.mu.Unlock()
	})
}
