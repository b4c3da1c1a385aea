package mds

import (
	"context"

	"github.com/spirula/spirula/mds/internal/filer"
	"github.com/spirula/spirula/mds/internal/inode"
	"github.com/spirula/spirula/rados/wire"
)

// SetAttr changes attributes, as POSIX's chmod, chown, utimes and truncate
// allow it to cred. ErrGuard, EPERM, EACCES, EISDIR (size of a directory),
// EINVAL (size of what has none), EFBIG.
func (fs *FS) SetAttr(ctx context.Context, cred Cred, h Handle, set SetAttr) (w WCC, err error) {
	if set.Size != nil {
		if *set.Size > MaxFile {
			return WCC{}, wire.Errorf("setattr", inoName(h.Ino), wire.EFBIG)
		}
		return fs.setSize(ctx, cred, h, set)
	}
	err = fs.update(ctx, func(t *txn) error {
		in, err := t.handle(h)
		if err != nil {
			return err
		}
		w.Before = attrOf(in)
		w.After = w.Before
		if err := guard(in, &set); err != nil {
			return err
		}
		c := t.touched(in)
		if err := t.changeAttr(&cred, in, c, &set); err != nil {
			return err
		}
		w.After = attrOf(c)
		return t.putInode(c)
	})
	return w, err
}

func guard(in *inode.Inode, set *SetAttr) error {
	if set.Guard != nil && *set.Guard != in.Ctime {
		return wire.Wrap("setattr", inoName(in.Ino), ErrGuard)
	}
	return nil
}

// changeAttr applies all of set but the size to c, a copy of in.
func (t *txn) changeAttr(cred *Cred, in, c *inode.Inode, set *SetAttr) error {
	owner := cred.root() || cred.UID == in.UID
	if set.Mode != nil {
		if !owner {
			return wire.Errorf("setattr", inoName(in.Ino), wire.EPERM)
		}
		c.Mode = *set.Mode & modeBits
		if !cred.root() && !cred.inGroup(in.GID) && in.Type != inode.Dir {
			c.Mode &^= modeSetGID
		}
	}
	if err := chown(cred, in, c, set); err != nil {
		return err
	}
	explicit := set.AtimeHow == TimeClient || set.MtimeHow == TimeClient
	now := set.AtimeHow == TimeNow || set.MtimeHow == TimeNow
	if explicit && !owner {
		return wire.Errorf("setattr", inoName(in.Ino), wire.EPERM)
	}
	if now && !owner {
		if err := cred.need("setattr", in, permWrite); err != nil {
			return err
		}
	}
	t.applyTimes(c, set)
	return nil
}

// chown applies a change of owner or group: owners may give a file to a group
// they are in; only root gives files away. It clears setuid and setgid.
func chown(cred *Cred, in, c *inode.Inode, set *SetAttr) error {
	if set.UID == nil && set.GID == nil {
		return nil
	}
	if !cred.root() {
		if cred.UID != in.UID ||
			(set.UID != nil && *set.UID != in.UID) ||
			(set.GID != nil && *set.GID != in.GID && !cred.inGroup(*set.GID)) {
			return wire.Errorf("setattr", inoName(in.Ino), wire.EPERM)
		}
	}
	if set.UID != nil {
		c.UID = *set.UID
	}
	if set.GID != nil {
		c.GID = *set.GID
	}
	if in.Type != inode.Dir && set.Mode == nil && (!cred.root() || in.Mode&0o111 != 0) {
		clearSetID(c)
	}
	return nil
}

// clearSetID drops setuid, and setgid where it means one (with group
// execution; without it is a lock mark).
func clearSetID(c *inode.Inode) {
	c.Mode &^= modeSetUID
	if c.Mode&0o010 != 0 {
		c.Mode &^= modeSetGID
	}
}

// setSize is SetAttr with a size: the file is opened for write, the new size
// journaled, its objects cut, and the cut journaled as finished. In between a
// crash leaves Truncating set, and whoever opens the file next cuts again.
func (fs *FS) setSize(ctx context.Context, cred Cred, h Handle, set SetAttr) (w WCC, err error) {
	size := *set.Size
	of, err := fs.openForWrite(ctx, h, func(t *txn, in *inode.Inode) error {
		w.Before = attrOf(in)
		w.After = w.Before
		switch {
		case in.Type == inode.Dir:
			return wire.Errorf("setattr", inoName(in.Ino), wire.EISDIR)
		case in.Type != inode.Reg:
			return wire.Errorf("setattr", inoName(in.Ino), wire.EINVAL)
		}
		if err := guard(in, &set); err != nil {
			return err
		}
		if err := t.changeAttr(&cred, in, clone(in), &set); err != nil {
			return err
		}
		return cred.needWrite("setattr", in)
	})
	if err != nil {
		return w, err
	}
	defer fs.doneWriting(of)
	of.io.Lock()
	defer of.io.Unlock()
	// From here on it is seen to its end, whoever gave up waiting.
	ctx = context.WithoutCancel(ctx)
	fs.beginWrite(of, 0)
	if err := fs.growFile(ctx, of, size); err != nil {
		return w, wire.Wrap("truncate", inoName(h.Ino), err)
	}
	cut := false
	err = fs.update(ctx, func(t *txn) error {
		in, err := t.handle(h)
		if err != nil {
			return err
		}
		w.Before = attrOf(in)
		c := t.touched(in)
		if err := t.changeAttr(&cred, in, c, &set); err != nil {
			return err
		}
		if size != in.Size {
			c.Data++
			if set.MtimeHow == TimeKeep {
				c.Mtime = t.now
			}
			clearSetID(c)
		}
		if cut = size < in.Size; cut {
			n, ok := filer.Truncated(&in.Content, size)
			if !ok {
				return wire.Errorf("truncate", inoName(in.Ino), wire.EIO)
			}
			c.Content, c.Truncating = *n, max(in.Size, in.Truncating)
		}
		c.Size = size
		w.After = attrOf(c)
		return t.putInode(c)
	})
	if err != nil || !cut {
		return w, err
	}
	if err := fs.cutBeyond(ctx, of); err != nil {
		return w, wire.Wrap("truncate", inoName(h.Ino), err)
	}
	return w, nil
}

// growFile has the File of an open file give zeros up to size, before anybody
// is told that they are there.
func (fs *FS) growFile(ctx context.Context, of *openFile, size uint64) error {
	fs.mu.Lock()
	in := of.in
	fs.mu.Unlock()
	if size <= in.Size {
		return nil
	}
	return of.file.Truncate(ctx, size, &in.Content)
}

// needWrite is need(permWrite); the owner may always write over NFS, where
// the client has checked the mode when the file was opened (RFC 1813, 4.4).
func (c *Cred) needWrite(op string, in *inode.Inode) error {
	if c.UID == in.UID {
		return nil
	}
	return c.need(op, in, permWrite)
}

// needRead is as needWrite; executing a file over NFS reads it, too.
func (c *Cred) needRead(op string, in *inode.Inode) error {
	if c.UID == in.UID || c.granted(in)&(permRead|permExec) != 0 {
		return nil
	}
	return wire.Errorf(op, inoName(in.Ino), wire.EACCES)
}
