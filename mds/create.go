package mds

import (
	"context"

	"github.com/spirula/spirula/mds/internal/inode"
	"github.com/spirula/spirula/mds/internal/tree"
	"github.com/spirula/spirula/rados/wire"
)

// newInode makes the record of something new that belongs to cred; in a
// setgid directory it takes the directory's group.
func (t *txn) newInode(cred *Cred, dir *inode.Inode, typ inode.Type, mode uint32) *inode.Inode {
	in := &inode.Inode{
		Ino: Ino(t.number()), Gen: 1, Type: typ, Mode: mode & modeBits, UID: cred.UID, GID: cred.GID, Nlink: 1,
		Atime: t.now, Mtime: t.now, Ctime: t.now, Btime: t.now, Change: 1,
	}
	if dir.Mode&modeSetGID != 0 && !cred.Trusted {
		in.GID = dir.GID
		if typ == inode.Dir {
			in.Mode |= modeSetGID
		}
	}
	return in
}

// applySet changes in by those fields of set that a new inode may be given.
func (t *txn) applyNew(cred *Cred, in *inode.Inode, set *SetAttr) error {
	if set.Mode != nil {
		in.Mode = in.Mode&modeSetGID | *set.Mode&modeBits
	}
	if cred.root() {
		if set.UID != nil {
			in.UID = *set.UID
		}
		if set.GID != nil {
			in.GID = *set.GID
		}
	}
	t.applyTimes(in, set)
	return nil
}

func (t *txn) applyTimes(in *inode.Inode, set *SetAttr) {
	switch set.AtimeHow {
	case TimeNow:
		in.Atime = t.now
	case TimeClient:
		in.Atime = set.Atime
	}
	switch set.MtimeHow {
	case TimeNow:
		in.Mtime = t.now
	case TimeClient:
		in.Mtime = set.Mtime
	}
}

// Create makes a regular file. CreateUnchecked on an existing one gives that,
// its size set when args.Attr says one. EEXIST, ENOTDIR, EACCES.
func (fs *FS) Create(ctx context.Context, cred Cred, dir Handle, name string, args CreateArgs) (a Attr, w WCC, err error) {
	var existing *inode.Inode
	err = fs.update(ctx, func(t *txn) error {
		existing = nil
		d, err := t.dirHandle("create", dir)
		if err != nil {
			return err
		}
		w.Before = attrOf(d)
		w.After = w.Before
		if err := cred.need("create", d, permExec); err != nil {
			return err
		}
		_, _, in, err := t.lookup("create", d, name)
		if err == nil {
			existing = in
			a = attrOf(in)
			return createExisting(in, name, args)
		}
		if wire.ErrnoOf(err) != wire.ENOENT {
			return err
		}
		if err := cred.need("create", d, permWrite); err != nil {
			return err
		}
		token, err := t.newToken("create", d, name, false)
		if err != nil {
			return err
		}
		in = t.newInode(&cred, d, inode.Reg, 0o644)
		if args.Mode == CreateExclusive {
			in.Verifier = args.Verifier
		} else if err := t.applyNew(&cred, in, &args.Attr); err != nil {
			return err
		}
		t.openNew(in)
		if err := t.addEntry(d.Ino, token, &inode.Dentry{Inode: in, Ino: in.Ino, Type: in.Type}); err != nil {
			return err
		}
		a = attrOf(in)
		return t.after(d.Ino, &w)
	})
	if err == nil && args.Mode != CreateExclusive && args.Attr.Size != nil && *args.Attr.Size != a.Size {
		h := a.Handle()
		if existing != nil {
			// An existing file is cut only by who may write it.
			if _, err := fs.SetAttr(ctx, cred, h, SetAttr{Size: args.Attr.Size}); err != nil {
				return a, w, err
			}
		} else if _, err := fs.SetAttr(ctx, Cred{Trusted: true, UID: cred.UID, GID: cred.GID}, h, SetAttr{Size: args.Attr.Size}); err != nil {
			return a, w, err
		}
		a, err = fs.GetAttr(ctx, h)
	}
	return a, w, err
}

// createExisting decides what CREATE does about a name that is there.
func createExisting(in *inode.Inode, name string, args CreateArgs) error {
	switch args.Mode {
	case CreateExclusive:
		if in.Type == inode.Reg && in.Verifier == args.Verifier && args.Verifier != [8]byte{} {
			return nil
		}
		return wire.Errorf("create", name, wire.EEXIST)
	case CreateGuarded:
		return wire.Errorf("create", name, wire.EEXIST)
	}
	if in.Type == inode.Dir {
		return wire.Errorf("create", name, wire.EISDIR)
	}
	if in.Type != inode.Reg {
		return wire.Errorf("create", name, wire.EEXIST)
	}
	return nil
}

// after fills w.After with the directory as it is going to be.
func (t *txn) after(dir Ino, w *WCC) error {
	in, err := t.inode(dir)
	if err == nil {
		w.After = attrOf(in)
	}
	return err
}

// makeNode is what Mkdir, Symlink and Mknod share: a new entry in a directory
// that cred may write.
func (fs *FS) makeNode(ctx context.Context, op string, cred *Cred, dir Handle, name string, isDir bool, fill func(t *txn, d *inode.Inode) (*inode.Inode, error)) (a Attr, w WCC, err error) {
	err = fs.update(ctx, func(t *txn) error {
		d, err := t.dirHandle(op, dir)
		if err != nil {
			return err
		}
		w.Before = attrOf(d)
		w.After = w.Before
		if err := cred.need(op, d, permExec); err != nil {
			return err
		}
		token, err := t.free(op, d, name, isDir)
		if err != nil {
			return err
		}
		if err := cred.need(op, d, permWrite); err != nil {
			return err
		}
		in, err := fill(t, d)
		if err != nil {
			return err
		}
		if err := t.addEntry(d.Ino, token, &inode.Dentry{Inode: in, Ino: in.Ino, Type: in.Type}); err != nil {
			return err
		}
		if !isDir {
			if err := t.makeExplicit(d.Ino); err != nil {
				return err
			}
		}
		a = attrOf(in)
		return t.after(d.Ino, &w)
	})
	return a, w, err
}

// makeExplicit marks a directory that holds what S3 doesn't show: it must not
// vanish, and shows itself in listings.
func (t *txn) makeExplicit(dir Ino) error {
	in, err := t.inode(dir)
	if err != nil || in.Dir.Explicit {
		return err
	}
	c := clone(in)
	c.Dir.Explicit = true
	return t.putInode(c)
}

// newDir makes a directory's record.
func (t *txn) newDir(cred *Cred, parent *inode.Inode, mode uint32, explicit bool) *inode.Inode {
	in := t.newInode(cred, parent, inode.Dir, mode)
	in.Dir = tree.NewDirPart(parent.Ino, explicit)
	in.Dir.Totals.Mtime = t.now
	if parent.Ino == RootIno {
		in.Bucket = &inode.BucketPart{DirMode: implicitMode, NextVer: 1}
	}
	t.born = append(t.born, in.Ino)
	return in
}

// Mkdir makes a directory; in the root, a bucket. EEXIST, ENOTDIR, EACCES.
func (fs *FS) Mkdir(ctx context.Context, cred Cred, dir Handle, name string, set SetAttr) (Attr, WCC, error) {
	return fs.makeNode(ctx, "mkdir", &cred, dir, name, true, func(t *txn, d *inode.Inode) (*inode.Inode, error) {
		in := t.newDir(&cred, d, 0o755, true)
		return in, t.applyNew(&cred, in, &set)
	})
}

// maxShortTarget is the longest symlink target that lies in the record.
const maxShortTarget = 256

// Symlink makes a symbolic link. ENAMETOOLONG for a target over MaxSymlink.
func (fs *FS) Symlink(ctx context.Context, cred Cred, dir Handle, name, target string, set SetAttr) (Attr, WCC, error) {
	if len(target) > MaxSymlink {
		return Attr{}, WCC{}, wire.Errorf("symlink", name, wire.ENAMETOOLONG)
	}
	return fs.makeNode(ctx, "symlink", &cred, dir, name, false, func(t *txn, d *inode.Inode) (*inode.Inode, error) {
		in := t.newInode(&cred, d, inode.Symlink, 0o777)
		in.Size = uint64(len(target))
		if len(target) <= maxShortTarget {
			in.Target = target
		} else {
			in.Content = inode.Content{Kind: inode.Inline, Inline: []byte(target)}
		}
		return in, t.applyNew(&cred, in, &set)
	})
}

// Mknod makes a device, socket or FIFO. Devices need root.
func (fs *FS) Mknod(ctx context.Context, cred Cred, dir Handle, name string, args NodeArgs) (Attr, WCC, error) {
	switch args.Type {
	case TypeBlock, TypeChar:
		if !cred.root() {
			return Attr{}, WCC{}, wire.Errorf("mknod", name, wire.EPERM)
		}
	case TypeSocket, TypeFIFO:
	default:
		return Attr{}, WCC{}, wire.Errorf("mknod", name, wire.EINVAL)
	}
	return fs.makeNode(ctx, "mknod", &cred, dir, name, false, func(t *txn, d *inode.Inode) (*inode.Inode, error) {
		in := t.newInode(&cred, d, args.Type, 0o644)
		if args.Type == TypeBlock || args.Type == TypeChar {
			in.Major, in.Minor = args.Major, args.Minor
		}
		return in, t.applyNew(&cred, in, &args.Attr)
	})
}

// Link gives a file one more name, in the same bucket. EPERM for a directory,
// EXDEV across buckets, EMLINK over MaxLinks.
func (fs *FS) Link(ctx context.Context, cred Cred, h Handle, dir Handle, name string) (a Attr, w WCC, err error) {
	err = fs.update(ctx, func(t *txn) error {
		in, err := t.handle(h)
		if err != nil {
			return err
		}
		a = attrOf(in)
		d, err := t.dirHandle("link", dir)
		if err != nil {
			return err
		}
		w.Before = attrOf(d)
		w.After = w.Before
		if in.Type == inode.Dir {
			return wire.Errorf("link", name, wire.EPERM)
		}
		if err := cred.need("link", d, permExec); err != nil {
			return err
		}
		token, err := t.free("link", d, name, false)
		if err != nil {
			return err
		}
		if err := cred.need("link", d, permWrite); err != nil {
			return err
		}
		row, err := t.ownRow(in)
		if err != nil {
			return err
		}
		if len(row.Links) == 0 {
			return wire.Errorf("link", inoName(in.Ino), wire.ESTALE)
		}
		if len(row.Links) >= MaxLinks {
			return wire.Errorf("link", name, wire.EMLINK)
		}
		from, err := t.bucketOf(row.Links[0].Parent)
		if err != nil {
			return err
		}
		to, err := t.bucketOf(d.Ino)
		if err != nil {
			return err
		}
		if from != to {
			return wire.Errorf("link", name, wire.EXDEV)
		}
		c := t.touched(row.Inode)
		c.Nlink++
		links := append(append([]inode.Link(nil), row.Links...), inode.Link{Parent: d.Ino, Token: token})
		t.putRow(in.Ino, &inode.TableRow{Kind: inode.RowHere, Inode: c, Links: links})
		if err := t.addEntry(d.Ino, token, &inode.Dentry{Ino: in.Ino, Type: in.Type}); err != nil {
			return err
		}
		if in.Type != inode.Reg {
			if err := t.makeExplicit(d.Ino); err != nil {
				return err
			}
		}
		a = attrOf(c)
		return t.after(d.Ino, &w)
	})
	return a, w, err
}

// ownRow moves an inode out of its dentry into a row of its own, if it isn't
// there yet, and gives that row. The dentry only names the number from then
// on.
func (t *txn) ownRow(in *inode.Inode) (*inode.TableRow, error) {
	row, err := t.row(in.Ino)
	if err != nil {
		return nil, err
	}
	if row == nil {
		return nil, wire.Errorf("link", inoName(in.Ino), wire.ESTALE)
	}
	if row.Kind == inode.RowHere {
		r := *row
		r.Inode = t.current(row.Inode)
		return &r, nil
	}
	dir, err := t.inode(row.Parent)
	if err != nil {
		return nil, err
	}
	d, err := t.get(dir, row.Token)
	if err != nil {
		return nil, err
	}
	if d == nil || d.Inode == nil {
		return nil, wire.Errorf("link", inoName(in.Ino), wire.ESTALE)
	}
	c := clone(t.current(d.Inode))
	if c.Content.Kind == inode.Inline && c.Content.Inline == nil {
		b, err := t.inline(c)
		if err != nil {
			return nil, err
		}
		c.Content.Inline = b
	}
	nd := *d
	nd.Inode, nd.Ino, nd.Type = nil, c.Ino, c.Type
	t.put(row.Parent, row.Token, &nd)
	nr := &inode.TableRow{Kind: inode.RowHere, Inode: c, Links: []inode.Link{{Parent: row.Parent, Token: row.Token}}}
	t.putRow(c.Ino, nr)
	return nr, nil
}

// bucketOf gives the bucket that a directory lies in; RootIno for the root.
func (t *txn) bucketOf(dir Ino) (Ino, error) {
	for dir != RootIno {
		in, err := t.inode(dir)
		if err != nil {
			return 0, err
		}
		if in.Dir == nil || in.Dir.Parent == RootIno {
			return dir, nil
		}
		dir = in.Dir.Parent
	}
	return RootIno, nil
}
