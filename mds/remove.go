package mds

import (
	"context"
	"fmt"
	"strings"

	"github.com/spirula/spirula/mds/internal/inode"
	"github.com/spirula/spirula/mds/internal/tree"
	"github.com/spirula/spirula/rados/wire"
)

// Remove unlinks a name that is not a directory. EISDIR, ENOENT, EACCES,
// EPERM (sticky).
func (fs *FS) Remove(ctx context.Context, cred Cred, dir Handle, name string) (w WCC, err error) {
	err = fs.update(ctx, func(t *txn) error {
		d, token, in, err := t.removable("remove", &cred, dir, name, &w)
		if err != nil {
			return err
		}
		if in.Type == inode.Dir {
			return wire.Errorf("remove", name, wire.EISDIR)
		}
		if err := t.unlink(d.Ino, token, in); err != nil {
			return err
		}
		if err := t.keepEmpty(d.Ino); err != nil {
			return err
		}
		return t.after(d.Ino, &w)
	})
	return w, err
}

// keepEmpty marks a directory that NFS took the last entry from as explicit:
// POSIX directories don't vanish.
func (t *txn) keepEmpty(dir Ino) error {
	in, err := t.inode(dir)
	if err != nil || in.Dir.Entries > 0 || in.Ino == RootIno {
		return err
	}
	return t.makeExplicit(dir)
}

// removable finds an entry that cred may take out of its directory.
func (t *txn) removable(op string, cred *Cred, dir Handle, name string, w *WCC) (d *inode.Inode, token string, in *inode.Inode, err error) {
	if d, err = t.dirHandle(op, dir); err != nil {
		return nil, "", nil, err
	}
	w.Before = attrOf(d)
	w.After = w.Before
	switch name {
	case ".":
		return nil, "", nil, wire.Errorf(op, name, wire.EINVAL)
	case "..":
		return nil, "", nil, wire.Errorf(op, name, wire.ENOTEMPTY)
	}
	if err := cred.need(op, d, permExec); err != nil {
		return nil, "", nil, err
	}
	if token, _, in, err = t.lookup(op, d, name); err != nil {
		return nil, "", nil, err
	}
	if err := cred.need(op, d, permWrite); err != nil {
		return nil, "", nil, err
	}
	if err := cred.needSticky(op, d, in); err != nil {
		return nil, "", nil, err
	}
	return d, token, in, nil
}

// unlink stages the end of one name of in, and of in itself when it was the
// last.
func (t *txn) unlink(dir Ino, token string, in *inode.Inode) error {
	row, err := t.row(in.Ino)
	if err != nil {
		return err
	}
	if row != nil && row.Kind == inode.RowHere {
		return t.unlinkShared(dir, token, row)
	}
	if err := t.dropEntry(dir, token, in); err != nil {
		return err
	}
	t.putRow(in.Ino, nil)
	return t.dropInode(in)
}

func (t *txn) unlinkShared(dir Ino, token string, row *inode.TableRow) error {
	in := t.current(row.Inode)
	var links []inode.Link
	for _, l := range row.Links {
		if l.Parent != dir || l.Token != token {
			links = append(links, l)
		}
	}
	if err := t.dropEntry(dir, token, nil); err != nil {
		return err
	}
	// The bytes of a file with several names count where its first name is.
	if row.Links[0] == (inode.Link{Parent: dir, Token: token}) {
		bytes := int64(t.fs.countedLocked(in))
		t.totalUp(dir, delta{bytes: -bytes})
		if len(links) > 0 {
			t.totalUp(links[0].Parent, delta{bytes: bytes})
		}
	}
	if len(links) > 0 {
		c := t.touched(in)
		c.Nlink = uint32(len(links))
		t.putRow(in.Ino, &inode.TableRow{Kind: inode.RowHere, Inode: c, Links: links})
		return nil
	}
	t.putRow(in.Ino, nil)
	return t.dropInode(in)
}

// dropInode stages what the end of a file's last name means: its content
// loses a holder, and writes to it that are still in memory are dropped.
func (t *txn) dropInode(in *inode.Inode) error {
	size := max(in.Size, in.Truncating)
	if of := t.fs.open[in.Ino]; of != nil {
		t.apply = append(t.apply, func(tree.Pos) { t.fs.abandonLocked(of) })
		if of.untouched() {
			return nil
		}
		size = max(size, of.high)
	} else if in.Data == 0 && in.OpenEpoch == 0 && !in.Content.Sealed {
		return nil // made over NFS and never written to
	}
	return t.dropHolder(&in.Content, size, in.OpenEpoch == deadOpen)
}

// strayToken names a stray: what kind of thing, and its number.
func strayToken(kind byte, n uint64) string {
	var b [17]byte
	b[0] = kind
	const digits = "0123456789abcdef"
	for i := range 16 {
		b[1+i] = digits[n>>(60-4*i)&15]
	}
	return string(b[:])
}

// The kinds of strays.
const (
	strayContent = 'c' // Inode.Content, with its size
	strayDir     = 'd' // Inode is the removed directory
	// A directory of parts, and one of a removed bucket's uploads, live on
	// here until they are emptied.
	strayUploadKind  = 'u'
	strayUploadsKind = 'w'
)

// dropContent stages that content has one holder less. The last holder's end
// makes a stray of it.
func (t *txn) dropContent(c *inode.Content, size uint64) error {
	return t.dropHolder(c, size, false)
}

// dropHolder is dropContent; beyond says that the stream may have objects
// beyond size.
func (t *txn) dropHolder(c *inode.Content, size uint64, beyond bool) error {
	switch c.Kind {
	case inode.Empty, inode.Inline:
		return nil
	}
	row, err := t.row(Ino(c.Stream))
	if err != nil {
		return err
	}
	if row != nil && row.Kind == inode.RowRefs {
		if row.Refs > 1 {
			t.putRow(Ino(c.Stream), &inode.TableRow{Kind: inode.RowRefs, Refs: row.Refs - 1})
			return nil
		}
		t.putRow(Ino(c.Stream), nil)
		beyond = true // what others held of it may have been longer
	}
	stray := &inode.Inode{Ino: Ino(c.Stream), Gen: 1, Type: inode.Reg, Content: *c, Size: size, Ctime: t.now}
	if beyond {
		stray.OpenEpoch = deadOpen
	}
	t.stray(strayContent, c.Stream, stray)
	return nil
}

// stray stages an entry of the stray directory and wakes the purge.
func (t *txn) stray(kind byte, n uint64, in *inode.Inode) {
	// No row: nothing finds a stray by number. The stream's row, if it has
	// one, is its reference count.
	c := *in
	c.Nlink = 0
	t.put(strayIno, strayToken(kind, n), &inode.Dentry{Inode: &c, Ino: in.Ino, Type: in.Type})
	t.apply = append(t.apply, func(tree.Pos) { wake(t.fs.strays) })
}

// addRef stages one more holder of a stream.
func (t *txn) addRef(stream uint64) error {
	row, err := t.row(Ino(stream))
	if err != nil {
		return err
	}
	refs := uint64(1)
	if row != nil {
		if row.Kind != inode.RowRefs {
			return wire.Wrap("mds", fmt.Sprintf("stream %x", stream), fmt.Errorf("its number is an inode's, too: %w", wire.EIO))
		}
		refs = row.Refs
	}
	t.putRow(Ino(stream), &inode.TableRow{Kind: inode.RowRefs, Refs: refs + 1})
	return nil
}

func wake(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// Rmdir removes an empty directory; in the root, an empty bucket. ENOTEMPTY,
// ENOTDIR.
func (fs *FS) Rmdir(ctx context.Context, cred Cred, dir Handle, name string) (w WCC, err error) {
	err = fs.update(ctx, func(t *txn) error {
		d, token, in, err := t.removable("rmdir", &cred, dir, name, &w)
		if err != nil {
			return err
		}
		if in.Type != inode.Dir {
			return wire.Errorf("rmdir", name, wire.ENOTDIR)
		}
		if err := t.dropDir(d.Ino, token, in); err != nil {
			return err
		}
		if err := t.keepEmpty(d.Ino); err != nil {
			return err
		}
		return t.after(d.Ino, &w)
	})
	return w, err
}

// dropDir stages the end of a directory that NFS sees as empty.
func (t *txn) dropDir(parent Ino, token string, in *inode.Inode) error {
	marker, err := t.emptyButMarker(in)
	if err != nil {
		return err
	}
	if in.Dir.Parent == RootIno {
		if err := t.dropUploads(in.Ino); err != nil {
			return err
		}
	}
	if marker != nil {
		mi, err := t.target(marker)
		if err != nil {
			return err
		}
		if err := t.unlink(in.Ino, "", mi); err != nil {
			return err
		}
		if in, err = t.inode(in.Ino); err != nil {
			return err
		}
	}
	if err := t.settleTotals(); err != nil {
		return err
	}
	if err := t.dropEntry(parent, token, in); err != nil {
		return err
	}
	t.putRow(in.Ino, nil)
	t.gone = append(t.gone, in.Ino)
	t.stray(strayDir, uint64(in.Ino), in)
	return nil
}

// emptyButMarker refuses with ENOTEMPTY a directory in which NFS shows
// something; S3's mark of an explicit directory is given back if there is one.
func (t *txn) emptyButMarker(in *inode.Inode) (marker *inode.Dentry, err error) {
	if in.Dir.Entries == 0 {
		return nil, nil
	}
	token, d, err := t.next(in, "", true)
	if err != nil {
		return nil, err
	}
	if d != nil && token == "" && hiddenMarker(d) {
		marker = d
		if _, d, err = t.next(in, "", false); err != nil {
			return nil, err
		}
	}
	if d != nil {
		return nil, wire.Errorf("rmdir", inoName(in.Ino), wire.ENOTEMPTY)
	}
	return marker, nil
}

// next gives the first entry from a token on that is there after what this
// transaction staged so far.
func (t *txn) next(dir *inode.Inode, from string, inclusive bool) (string, *inode.Dentry, error) {
	t.sawAll()
	for {
		token, d, err := t.fs.tree.Next(dir, from, inclusive)
		if err != nil {
			return "", nil, err
		}
		if d == nil {
			return "", nil, nil
		}
		if i, ok := t.staged(place{dir.Ino, token}); !ok || t.puts[i].d != nil {
			d, err = t.get(dir, token)
			return token, d, err
		}
		from, inclusive = token, false
	}
}

// dropImplicit stages the end of directories that S3 implied and that became
// empty, from dir upwards.
func (t *txn) dropImplicit(dir Ino) error {
	for dir != RootIno {
		if err := t.settleTotals(); err != nil {
			return err
		}
		in, err := t.inode(dir)
		if err != nil {
			return err
		}
		if in.Dir.Explicit || in.Dir.Parent == RootIno {
			return nil
		}
		if in.Dir.Entries > 0 {
			return nil
		}
		row, err := t.row(dir)
		if err != nil {
			return err
		}
		up := row.Parent
		if err := t.dropEntry(up, row.Token, in); err != nil {
			return err
		}
		t.putRow(dir, nil)
		t.gone = append(t.gone, dir)
		t.stray(strayDir, uint64(dir), in)
		dir = up
	}
	return nil
}

// Rename moves a name to another, in the same bucket, replacing what is there
// as POSIX says, in one step whatever the size of the tree. EXDEV across
// buckets, EINVAL into itself, ENOTEMPTY, EISDIR, ENOTDIR.
func (fs *FS) Rename(ctx context.Context, cred Cred, from Handle, fromName string, to Handle, toName string) (fw, tw WCC, err error) {
	err = fs.update(ctx, func(t *txn) error {
		if toName == "." || toName == ".." || fromName == "." || fromName == ".." {
			return wire.Errorf("rename", fromName, wire.EINVAL)
		}
		td, err := t.dirHandle("rename", to)
		if err != nil {
			return err
		}
		tw.Before = attrOf(td)
		tw.After = tw.Before
		fd, ftoken, in, err := t.removable("rename", &cred, from, fromName, &fw)
		if err != nil {
			return err
		}
		if err := t.renameAllowed(&cred, fd, td, in, fromName); err != nil {
			return err
		}
		ttoken, _, old, err := t.lookup("rename", td, toName)
		switch {
		case err == nil:
			if old.Ino == in.Ino {
				return nil // two names of one file: POSIX wants nothing done
			}
			if err := t.replace(&cred, td, ttoken, in, old, toName); err != nil {
				return err
			}
		case wire.ErrnoOf(err) == wire.ENOENT:
			if ttoken, err = t.newToken("rename", td, toName, in.Type == inode.Dir); err != nil {
				return err
			}
		default:
			return err
		}
		if err := t.move(fd.Ino, ftoken, td.Ino, ttoken, in); err != nil {
			return err
		}
		if err := t.keepEmpty(fd.Ino); err != nil {
			return err
		}
		if in.Type != inode.Reg && in.Type != inode.Dir {
			if err := t.makeExplicit(td.Ino); err != nil {
				return err
			}
		}
		if err := t.after(fd.Ino, &fw); err != nil {
			return err
		}
		return t.after(td.Ino, &tw)
	})
	return fw, tw, err
}

func (t *txn) renameAllowed(cred *Cred, fd, td, in *inode.Inode, name string) error {
	if fd.Ino == RootIno || td.Ino == RootIno {
		return wire.Errorf("rename", name, wire.EXDEV)
	}
	if err := cred.need("rename", td, permExec|permWrite); err != nil {
		return err
	}
	fb, err := t.bucketOf(fd.Ino)
	if err != nil {
		return err
	}
	tb, err := t.bucketOf(td.Ino)
	if err != nil {
		return err
	}
	if fb != tb {
		return wire.Errorf("rename", name, wire.EXDEV)
	}
	if in.Type != inode.Dir {
		return nil
	}
	for up := td; up.Ino != RootIno; {
		if up.Ino == in.Ino {
			return wire.Errorf("rename", name, wire.EINVAL)
		}
		if up, err = t.inode(up.Dir.Parent); err != nil {
			return err
		}
	}
	if fd.Ino != td.Ino && !cred.root() && cred.UID != in.UID {
		// Its .. changes, which takes write permission on it.
		return cred.need("rename", in, permWrite)
	}
	return nil
}

// replace stages the end of what a rename is about to cover.
func (t *txn) replace(cred *Cred, td *inode.Inode, token string, in, old *inode.Inode, name string) error {
	if err := cred.needSticky("rename", td, old); err != nil {
		return err
	}
	switch {
	case in.Type == inode.Dir && old.Type != inode.Dir:
		return wire.Errorf("rename", name, wire.ENOTDIR)
	case in.Type != inode.Dir && old.Type == inode.Dir:
		return wire.Errorf("rename", name, wire.EISDIR)
	case in.Type == inode.Dir:
		if _, err := t.emptyButMarker(old); err != nil {
			return err
		}
		return t.dropDir(td.Ino, token, old)
	}
	return t.unlink(td.Ino, token, old)
}

// move stages that the entry ftoken of fdir becomes ttoken of tdir, which is
// free after what was staged.
func (t *txn) move(fdir Ino, ftoken string, tdir Ino, ttoken string, in *inode.Inode) error {
	if err := t.settleTotals(); err != nil {
		return err
	}
	fd, err := t.inode(fdir)
	if err != nil {
		return err
	}
	d, err := t.get(fd, ftoken)
	if err != nil {
		return err
	}
	var c *inode.Inode
	if d.Inode != nil {
		c = t.touched(t.current(d.Inode))
		if c.Content.Kind == inode.Inline && c.Content.Inline == nil {
			if c.Content.Inline, err = t.inline(c); err != nil {
				return err
			}
		}
	}
	if err := t.dropEntry(fdir, ftoken, c); err != nil {
		return err
	}
	nd := &inode.Dentry{First: d.First, VSeq: d.VSeq, Inode: c, Ino: d.Ino, Type: d.Type}
	if fdir == tdir {
		nd.Seq = d.Seq
	}
	if c != nil && c.Dir != nil {
		c.Dir.Parent = tdir
	}
	if c == nil {
		row, err := t.row(d.Ino)
		if err != nil {
			return err
		}
		if row == nil || row.Kind != inode.RowHere {
			return wire.Errorf("rename", inoName(d.Ino), wire.ESTALE)
		}
		if err := t.moveLink(row, inode.Link{Parent: fdir, Token: ftoken}, inode.Link{Parent: tdir, Token: ttoken}); err != nil {
			return err
		}
	}
	return t.addEntry(tdir, ttoken, nd)
}

// moveLink stages that one of the names in a row is another from now on.
func (t *txn) moveLink(row *inode.TableRow, from, to inode.Link) error {
	in := t.touched(t.current(row.Inode))
	links := append([]inode.Link(nil), row.Links...)
	for i := range links {
		if links[i] != from {
			continue
		}
		links[i] = to
		if i > 0 {
			continue
		}
		bytes := int64(t.fs.countedLocked(in))
		t.totalUp(from.Parent, delta{bytes: -bytes})
		t.totalUp(to.Parent, delta{bytes: bytes})
	}
	t.putRow(in.Ino, &inode.TableRow{Kind: inode.RowHere, Inode: in, Links: links})
	return nil
}

// parentToken cuts a key into the tokens of its directories and its last
// token, which is empty when the key ends in a slash.
func parentToken(key string) (dirs []string, last string) {
	for {
		i := strings.IndexByte(key, '/')
		if i < 0 {
			return dirs, key
		}
		dirs, key = append(dirs, key[:i+1]), key[i+1:]
	}
}
