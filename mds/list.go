package mds

import (
	"context"
	"slices"

	"github.com/spirula/spirula/mds/internal/inode"
	"github.com/spirula/spirula/mds/internal/tree"
	"github.com/spirula/spirula/rados/wire"
)

// s3View is the tree as S3 sees it: directories and regular files.
type s3View struct{ t *txn }

// Next implements tree.ListSource.
func (v s3View) Next(dir *inode.Inode, from string, inclusive bool) (string, *inode.Dentry, error) {
	for {
		token, d, err := v.t.fs.tree.Next(dir, from, inclusive)
		if err != nil || d == nil {
			return token, d, err
		}
		if d.Unconfirmed {
			return "", nil, v.t.fs.unconfirmedLocked(place{dir.Ino, token}, d)
		}
		if d.Type == inode.Reg || d.Type == inode.Dir {
			return token, d, nil
		}
		from, inclusive = token, false
	}
}

// Child implements tree.ListSource.
func (v s3View) Child(d *inode.Dentry) (*inode.Inode, error) { return v.t.target(d) }

// List gives a page of keys in byte order. A key that is there throughout is
// on exactly one page.
func (fs *FS) List(ctx context.Context, bucket Ino, req ListRequest) (*ListPage, error) {
	l := &tree.Lister{Prefix: req.Prefix, Delimiter: req.Delimiter, After: req.After, Max: req.Max}
	page := &ListPage{}
	err := fs.view(ctx, func(t *txn) error {
		b, err := t.bucketInode(bucket)
		if err != nil {
			return err
		}
		t.sawAll()
		if err := l.Run(s3View{t}, b); err != nil {
			return err
		}
		if page.Entries == nil {
			page.Entries = make([]ListEntry, 0, len(l.Items))
		}
		for _, it := range l.Items[len(page.Entries):] {
			e, err := t.listEntry(&it)
			if wire.ErrnoOf(err) == wire.ESTALE {
				e, err = ListEntry{}, nil // went away since the walk met it
			}
			if err != nil {
				return err
			}
			page.Entries = append(page.Entries, e)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	page.Next, page.Truncated = l.Next, l.Truncated
	page.Entries = slices.DeleteFunc(page.Entries, func(e ListEntry) bool { return e.Key == "" })
	return page, nil
}

func (t *txn) listEntry(it *tree.ListItem) (ListEntry, error) {
	e := ListEntry{Key: it.Key, Prefix: it.Prefix}
	if it.Prefix {
		return e, nil
	}
	if it.Dir != nil {
		e.Mtime, e.UID, e.ETag = it.Dir.Mtime, it.Dir.UID, emptyETag
		return e, nil
	}
	in, err := t.target(it.Dentry)
	if err != nil {
		return e, err
	}
	e.Size, e.Mtime, e.UID, e.ETag = in.Size, in.Mtime, in.UID, etagOf(in)
	if in.S3 != nil {
		e.Owner = in.S3.Meta.Owner
		if in.S3.Data == in.Data {
			e.Checksum = in.S3.Checksum.Algorithm
			e.FullObject = !in.S3.Checksum.Composite
		}
	}
	return e, nil
}
