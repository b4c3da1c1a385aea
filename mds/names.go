package mds

import (
	"context"
	"strings"

	"github.com/spirula/spirula/mds/internal/inode"
	"github.com/spirula/spirula/mds/internal/tree"
	"github.com/spirula/spirula/rados/wire"
)

// Root gives the attributes of the root directory.
func (fs *FS) Root(ctx context.Context) (a Attr, err error) {
	return a, fs.view(ctx, func(t *txn) error {
		in, err := t.inode(RootIno)
		if err == nil {
			a = attrOf(in)
		}
		return err
	})
}

// GetAttr gives an inode's attributes; ESTALE when it is gone.
func (fs *FS) GetAttr(ctx context.Context, h Handle) (a Attr, err error) {
	return a, fs.view(ctx, func(t *txn) error {
		in, err := t.handle(h)
		if err == nil {
			a = attrOf(in)
		}
		return err
	})
}

// Access gives those of the asked bits that cred has on the inode.
func (fs *FS) Access(ctx context.Context, cred Cred, h Handle, bits uint32) (granted uint32, a Attr, err error) {
	return granted, a, fs.view(ctx, func(t *txn) error {
		in, err := t.handle(h)
		if err == nil {
			granted, a = cred.accessBits(in)&bits, attrOf(in)
		}
		return err
	})
}

// Lookup finds a name in a directory: the shown name of an entry, `.`, or
// `..`. ENOENT, ENOTDIR, EACCES, ENAMETOOLONG.
func (fs *FS) Lookup(ctx context.Context, cred Cred, dir Handle, name string) (child, dirAttr Attr, err error) {
	return child, dirAttr, fs.view(ctx, func(t *txn) error {
		d, err := t.dirHandle("lookup", dir)
		if err != nil {
			return err
		}
		dirAttr = attrOf(d)
		if err := cred.need("lookup", d, permExec); err != nil {
			return err
		}
		in := d
		switch name {
		case ".":
		case "..":
			in, err = t.inode(d.Dir.Parent)
		default:
			_, _, in, err = t.lookup("lookup", d, name)
		}
		if err == nil {
			child = attrOf(in)
		}
		return err
	})
}

// lookup finds the entry that NFS shows as name.
func (t *txn) lookup(op string, dir *inode.Inode, name string) (token string, d *inode.Dentry, in *inode.Inode, err error) {
	if len(name) > MaxName {
		return "", nil, nil, wire.Errorf(op, name[:32]+"...", wire.ENAMETOOLONG)
	}
	if token, _, err = t.fs.tree.Lookup(dir, name); err != nil {
		t.sawAll() // the entry's end may be on its way to the journal
		return "", nil, nil, err
	}
	if d, err = t.get(dir, token); err != nil {
		return "", nil, nil, err
	}
	if d == nil {
		return "", nil, nil, wire.Errorf(op, name, wire.ENOENT)
	}
	in, err = t.target(d)
	return token, d, in, err
}

// free gives the token a new entry gets that NFS will show as name; EEXIST
// when there is one.
func (t *txn) free(op string, dir *inode.Inode, name string, isDir bool) (token string, err error) {
	switch name {
	case "", ".", "..":
		return "", wire.Errorf(op, name, wire.EEXIST)
	}
	_, _, _, err = t.lookup(op, dir, name)
	if err == nil {
		return "", wire.Errorf(op, name, wire.EEXIST)
	}
	if wire.ErrnoOf(err) != wire.ENOENT {
		return "", err
	}
	return t.newToken(op, dir, name, isDir)
}

// newToken gives the token under which a new entry shown as name is kept.
func (t *txn) newToken(op string, dir *inode.Inode, name string, isDir bool) (string, error) {
	if strings.Contains(name, "/") || strings.IndexByte(name, 0) >= 0 {
		return "", wire.Errorf(op, name, wire.EINVAL)
	}
	if dir.Ino == RootIno {
		if !isDir || !ValidBucketName(name) {
			return "", wire.Errorf(op, name, wire.EACCES)
		}
		return name + "/", nil
	}
	return tree.TokenFor(name, isDir)
}

// Readlink gives a symbolic link's target; EINVAL for anything else.
func (fs *FS) Readlink(ctx context.Context, cred Cred, h Handle) (target string, a Attr, err error) {
	return target, a, fs.view(ctx, func(t *txn) error {
		in, err := t.handle(h)
		if err != nil {
			return err
		}
		if in.Type != inode.Symlink {
			return wire.Errorf("readlink", inoName(h.Ino), wire.EINVAL)
		}
		a, target = attrOf(in), in.Target
		if in.Content.Kind == inode.Inline {
			b, err := t.inline(in)
			if err != nil {
				return err
			}
			target = string(b)
		}
		return nil
	})
}

// inline gives the bytes of inline content.
func (t *txn) inline(in *inode.Inode) ([]byte, error) {
	if in.Content.Inline != nil {
		return in.Content.Inline, nil
	}
	row, err := t.row(in.Ino)
	if err != nil {
		return nil, err
	}
	if row == nil || row.Kind != inode.RowAt {
		return nil, wire.Errorf("mds", inoName(in.Ino), wire.EIO)
	}
	dir, err := t.inode(row.Parent)
	if err != nil {
		return nil, err
	}
	b, err := t.fs.tree.Inline(dir, row.Token)
	if err != nil {
		return nil, err
	}
	if uint64(len(b)) != in.Size {
		return nil, wire.Errorf("mds inline content of", inoName(in.Ino), wire.EIO)
	}
	return b, nil
}

// readDirPage is how many entries one step of ReadDir looks at under the
// mutex.
const readDirPage = 256

// ReadDir gives the entries after cookie until emit returns false (the entry
// it refused is not consumed) or the directory ends. Cookies 1 and 2 are `.`
// and `..`; others are birth numbers, so they stay true under inserts,
// deletes and restarts.
func (fs *FS) ReadDir(ctx context.Context, cred Cred, dir Handle, cookie uint64, plus bool, emit func(*DirEntry) bool) (dirAttr Attr, eof bool, err error) {
	for {
		var page []DirEntry
		var last bool
		err := fs.view(ctx, func(t *txn) error {
			page = page[:0]
			d, err := t.dirHandle("readdir", dir)
			if err != nil {
				return err
			}
			dirAttr = attrOf(d)
			if err := cred.need("readdir", d, permRead); err != nil {
				return err
			}
			page, last, err = t.dirPage(page, d, cookie, plus)
			return err
		})
		if err != nil {
			return dirAttr, false, err
		}
		for i := range page {
			cookie = page[i].Cookie
			if page[i].Name != "" && !emit(&page[i]) {
				return dirAttr, false, nil
			}
		}
		if last {
			return dirAttr, true, nil
		}
	}
}

// dirPage appends the next entries after cookie. An entry with an empty name
// only moves the cookie: NFS doesn't show it.
func (t *txn) dirPage(page []DirEntry, d *inode.Inode, cookie uint64, plus bool) ([]DirEntry, bool, error) {
	if cookie < 1 {
		page = append(page, DirEntry{Name: ".", Ino: d.Ino, Cookie: 1, Attr: attrOf(d), HasAttr: true})
	}
	if cookie < 2 {
		up, err := t.inode(d.Dir.Parent)
		if err != nil {
			return nil, false, err
		}
		page = append(page, DirEntry{Name: "..", Ino: up.Ino, Cookie: 2, Attr: attrOf(up), HasAttr: true})
	}
	t.sawAll()
	entries, last, err := t.fs.tree.ReadDir(d, max(cookie, 2), readDirPage)
	if err != nil {
		return nil, false, err
	}
	if plus || d.Dir.Subdirs > 0 {
		if err := t.wantDentries(d, entries, plus); err != nil {
			return nil, false, err
		}
	}
	for i := range entries {
		e := DirEntry{Ino: entries[i].Ino, Cookie: entries[i].Seq}
		if err := t.fillEntry(&e, d, &entries[i], plus); err != nil {
			return nil, false, err
		}
		page = append(page, e)
	}
	return page, last, nil
}

// wantDentries loads in one step what showing the entries needs.
func (t *txn) wantDentries(d *inode.Inode, entries []tree.Entry, plus bool) error {
	var tokens []string
	for i := range entries {
		if plus && entries[i].Dentry == nil {
			tokens = append(tokens, entries[i].Token)
		}
		if d.Dir.Subdirs > 0 && !tree.IsDirToken(entries[i].Token) {
			tokens = append(tokens, entries[i].Token+"/")
		}
	}
	if len(tokens) == 0 {
		return nil
	}
	return t.fs.tree.Want(d, tokens)
}

func (t *txn) fillEntry(e *DirEntry, d *inode.Inode, te *tree.Entry, plus bool) error {
	dentry, err := te.Dentry, error(nil)
	if plus || te.Token == "" || (dentry != nil && dentry.Unconfirmed) {
		if dentry, err = t.get(d, te.Token); err != nil || dentry == nil {
			return err
		}
	}
	if te.Token == "" && hiddenMarker(dentry) {
		return nil
	}
	if e.Name, err = t.fs.tree.ShownName(d, te.Token); err != nil {
		return err
	}
	if !plus {
		return nil
	}
	in, err := t.target(dentry)
	if err != nil {
		return err
	}
	e.Ino, e.Attr, e.HasAttr = in.Ino, attrOf(in), true
	return nil
}

// hiddenMarker reports whether the entry for the key `dir/` is only S3's mark
// of an explicit directory, which NFS doesn't show.
func hiddenMarker(d *inode.Dentry) bool {
	return d.Inode != nil && d.Inode.Size == 0
}

// StatFS gives the use of the file system.
func (fs *FS) StatFS(ctx context.Context) (FSStat, error) {
	const files = 1 << 40 // no table of fixed size bounds their number
	s := FSStat{TotalFiles: files, FreeFiles: files, AvailFiles: files}
	if fs.o.Space == nil {
		return s, nil
	}
	total, free, err := fs.o.Space(ctx)
	if err != nil {
		return FSStat{}, wire.Wrap("statfs", "", err)
	}
	s.TotalBytes, s.FreeBytes, s.AvailBytes = total, free, free
	return s, nil
}
