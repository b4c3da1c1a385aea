package mds

import (
	"context"
	"time"

	"github.com/spirula/spirula/mds/internal/filer"
	"github.com/spirula/spirula/mds/internal/inode"
	"github.com/spirula/spirula/mds/internal/tree"
	"github.com/spirula/spirula/rados/wire"
)

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
