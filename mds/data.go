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

// Write writes d at off over what is there. stable waits until data and size
// are on stable storage; otherwise Commit does. EFBIG, EACCES, EISDIR,
// EINVAL, ENOSPC, EIO.
func (fs *FS) Write(ctx context.Context, cred Cred, h Handle, off uint64, d wire.Data, stable bool) (w WCC, err error) {
	n := uint64(d.Len())
	if off > MaxFile || n > MaxFile-off {
		return w, wire.Errorf("write", inoName(h.Ino), wire.EFBIG)
	}
	of, err := fs.openForWrite(ctx, h, func(t *txn, in *inode.Inode) error {
		if in.Type != inode.Reg {
			return wire.Errorf("write", inoName(in.Ino), wire.EINVAL)
		}
		return cred.needWrite("write", in)
	})
	if err != nil {
		return w, err
	}
	defer fs.doneWriting(of)
	if w, err = fs.writeData(ctx, of, &cred, off, d); err != nil || !stable {
		return w, err
	}
	if err := of.file.Flush(ctx, off, n); err != nil {
		return w, wire.Wrap("write", inoName(h.Ino), err)
	}
	return w, fs.commitAttr(ctx, of)
}

// writeData puts d into memory and makes it known. Once the bytes are in, so
// is the size: nothing in between ends early.
func (fs *FS) writeData(ctx context.Context, of *openFile, cred *Cred, off uint64, d wire.Data) (WCC, error) {
	of.io.RLock()
	defer of.io.RUnlock()
	n := uint64(d.Len())
	if n > 0 {
		fs.beginWrite(of, off+n)
		if err := of.file.Write(ctx, off, d, false); err != nil {
			return WCC{}, wire.Wrap("write", inoName(of.file.Ino()), err)
		}
	}
	return fs.wrote(of, cred, off, n)
}

// beginWrite moves the data version before the first byte changes, so that a
// reader who looks at it before and after never takes mixed bytes for one
// version.
func (fs *FS) beginWrite(of *openFile, end uint64) {
	fs.mu.Lock()
	of.high = max(of.high, end)
	c := *of.in
	c.Data++
	of.in = &c
	if p := fs.pins[c.Content.Stream]; p != nil {
		p.writes++
	}
	fs.mu.Unlock()
}

// wrote makes a write known: size, times and counters.
func (fs *FS) wrote(of *openFile, cred *Cred, off, n uint64) (w WCC, err error) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	if of.gone {
		return w, wire.Errorf("write", inoName(of.in.Ino), wire.ESTALE)
	}
	w.Before = attrOf(of.in)
	if n > 0 {
		c := *of.in
		c.Size = max(c.Size, off+n)
		c.Mtime = fs.now()
		c.Ctime = c.Mtime
		c.Change++
		c.Data++
		if !cred.root() && c.Mode&(modeSetUID|modeSetGID) != 0 {
			clearSetID(&c)
		}
		of.in = &c
		of.last = fs.o.Now()
	}
	w.After = attrOf(of.in)
	return w, nil
}

// commitAttr journals an open file's record when it is newer than the
// journal's, and waits for it.
func (fs *FS) commitAttr(ctx context.Context, of *openFile) error {
	return fs.update(ctx, func(t *txn) error { return t.putOpen(of, of.in.OpenEpoch) })
}

// putOpen stages an open file's current record, and the totals above it.
func (t *txn) putOpen(of *openFile, epoch uint64) error {
	if of.gone || (!of.dirtyLocked() && of.in.OpenEpoch == epoch) {
		t.sawAll()
		return nil
	}
	c := clone(of.in)
	c.OpenEpoch = epoch
	return t.putInode(c)
}

// Commit makes the file's unstable writes durable, with its size. EIO when a
// write-back failed: that data is lost and WriteVerifier has changed.
func (fs *FS) Commit(ctx context.Context, cred Cred, h Handle, off, n uint64) (w WCC, err error) {
	var of *openFile
	err = fs.view(ctx, func(t *txn) error {
		of = nil
		in, err := t.handle(h)
		if err != nil {
			return err
		}
		if in.Type != inode.Reg {
			return wire.Errorf("commit", inoName(in.Ino), wire.EINVAL)
		}
		w.Before = attrOf(in)
		w.After = w.Before
		if err := cred.needWrite("commit", in); err != nil {
			return err
		}
		if of = fs.open[in.Ino]; of != nil {
			of.writers++
		}
		return nil
	})
	if of == nil {
		return w, err
	}
	defer fs.doneWriting(of)
	if err != nil {
		return w, err
	}
	if err := of.file.Flush(ctx, off, n); err != nil {
		return w, wire.Wrap("commit", inoName(h.Ino), err)
	}
	if err := fs.commitAttr(ctx, of); err != nil {
		return w, err
	}
	fs.mu.Lock()
	w.After = attrOf(of.in)
	w.Before = w.After
	fs.mu.Unlock()
	return w, nil
}

// WriteVerifier changes exactly when unstable data could have been lost.
func (fs *FS) WriteVerifier() [8]byte { return fs.filer.Verifier() }

// readTries bounds how often a read that met a truncation is done again.
const readTries = 16

// Read gives up to n bytes from off; fewer only at the end, which eof tells.
func (fs *FS) Read(ctx context.Context, cred Cred, h Handle, off uint64, n int) (d wire.Data, eof bool, a Attr, err error) {
	for range readTries {
		if d, a, err = fs.readOnce(ctx, &cred, h, off, n); err != nil {
			return d, false, a, err
		}
		if d.Len() > 0 || off >= a.Size || n <= 0 {
			break
		}
	}
	return d, off+uint64(d.Len()) >= a.Size, a, nil
}

// readOnce is Read; it gives nothing where the file was cut meanwhile.
func (fs *FS) readOnce(ctx context.Context, cred *Cred, h Handle, off uint64, n int) (d wire.Data, a Attr, err error) {
	var src source
	err = fs.view(ctx, func(t *txn) error {
		src.unpin(fs)
		in, err := t.handle(h)
		if err != nil {
			return err
		}
		if in.Type == inode.Dir {
			return wire.Errorf("read", inoName(in.Ino), wire.EISDIR)
		}
		if in.Type != inode.Reg {
			return wire.Errorf("read", inoName(in.Ino), wire.EINVAL)
		}
		if err := cred.needRead("read", in); err != nil {
			return err
		}
		a = attrOf(in)
		return t.pin(in, &src)
	})
	defer src.release(fs)
	if err != nil || n <= 0 {
		return d, a, err
	}
	d, err = src.read(ctx, fs, off, n)
	return d, a, wire.Wrap("read", inoName(h.Ino), err)
}

// source is an inode's content, held so that it can't be purged while it is
// read.
type source struct {
	in     *inode.Inode
	file   *filer.File // open for write; nil otherwise
	inline []byte
	stream uint64 // pinned; 0: nothing is
	pinned *pin
	writes uint64 // pinned.writes when it was pinned
}

// pin holds in's content; FS.mu held.
func (t *txn) pin(in *inode.Inode, s *source) error {
	*s = source{in: in}
	switch in.Content.Kind {
	case inode.Empty:
		return nil
	case inode.Inline:
		b, err := t.inline(in)
		s.inline = b
		return err
	}
	if t.fs.open[in.Ino] != nil {
		s.file = t.fs.filer.Lookup(in.Ino)
	}
	s.stream = in.Content.Stream
	s.pinned = t.fs.pinLocked(s.stream)
	s.writes = s.pinned.writes
	return nil
}

func (fs *FS) pinLocked(stream uint64) *pin {
	p := fs.pins[stream]
	if p == nil {
		p = &pin{}
		fs.pins[stream] = p
	}
	p.holders++
	return p
}

func (fs *FS) unpinLocked(stream uint64, p *pin) {
	if p.holders--; p.holders == 0 {
		delete(fs.pins, stream)
		wake(fs.strays)
	}
}

// pin keeps a stream from being purged, and counts the writes in place to it
// meanwhile. Guarded by FS.mu.
type pin struct {
	holders int
	writes  uint64
}

// changedLocked reports that the content was written to since it was pinned.
func (s *source) changedLocked() bool { return s.pinned != nil && s.pinned.writes != s.writes }

// unpin is release with FS.mu held.
func (s *source) unpin(fs *FS) {
	if s.file != nil {
		s.file.Release()
	}
	if s.stream != 0 {
		fs.unpinLocked(s.stream, s.pinned)
	}
	*s = source{}
}

func (s *source) release(fs *FS) {
	if s.file == nil && s.stream == 0 {
		return
	}
	fs.mu.Lock()
	s.unpin(fs)
	fs.mu.Unlock()
}

// read gives up to n bytes from off.
func (s *source) read(ctx context.Context, fs *FS, off uint64, n int) (wire.Data, error) {
	if off >= s.in.Size {
		return wire.Data{}, nil
	}
	n = int(min(uint64(n), s.in.Size-off, filer.MaxRead))
	switch {
	case s.inline != nil:
		return wire.DataOf(s.inline[off : off+uint64(n)]), nil
	case s.file != nil:
		return s.file.Read(ctx, off, n)
	}
	return fs.filer.Read(ctx, &s.in.Content, s.in.Size, off, n)
}

// closeFiles closes files that were not written for idle: what is in memory
// goes to the journal, and the mark of being open away.
func (fs *FS) closeFiles(ctx context.Context, idle time.Duration) error {
	fs.mu.Lock()
	if len(fs.open) > maxOpenFiles {
		idle = 0
	}
	before := fs.o.Now().Add(-idle)
	var list []*openFile
	for _, of := range fs.open {
		if of.writers == 0 && !of.last.After(before) {
			list = append(list, of)
		}
	}
	fs.mu.Unlock()
	for _, of := range list {
		if err := of.file.Flush(ctx, 0, 0); err != nil {
			fs.log.Warn("data of a file could not be written back and is lost; its writer will be told", "inode", inoName(of.file.Ino()), "err", err)
		}
		_, err := fs.run(ctx, func(t *txn) error {
			if of.gone || of.writers > 0 || of.file.Dirty() || of.in.Truncating != 0 || of.dead || fs.open[of.in.Ino] != of {
				return nil
			}
			if err := t.putOpen(of, 0); err != nil {
				return err
			}
			t.apply = append(t.apply, func(tree.Pos) { fs.forgetLocked(of) })
			return nil
		})
		if err != nil && wire.ErrnoOf(err) != wire.ESTALE {
			return err
		}
	}
	return nil
}
