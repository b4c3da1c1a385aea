package mds

import (
	"context"
	"net/netip"
	"strings"

	"github.com/spirula/spirula/mds/internal/inode"
	"github.com/spirula/spirula/rados/wire"
)

// implicitMode is the mode of directories that S3 implied, where the bucket
// says nothing else.
const implicitMode = 0o755

// ValidBucketName reports whether name may name a bucket (S3's rules: 3 to 63
// lower-case letters, digits, dots and hyphens, starting and ending with a
// letter or digit, no two dots in a row, not an IPv4 address, none of the
// reserved prefixes and suffixes).
func ValidBucketName(name string) bool {
	if len(name) < 3 || len(name) > 63 {
		return false
	}
	for i := range len(name) {
		c := name[i]
		alnum := c >= 'a' && c <= 'z' || c >= '0' && c <= '9'
		if !alnum && (c != '-' && c != '.' || i == 0 || i == len(name)-1) {
			return false
		}
	}
	if strings.Contains(name, "..") {
		return false
	}
	if a, err := netip.ParseAddr(name); err == nil && a.Is4() {
		return false
	}
	for _, p := range []string{"xn--", "sthree-", "amzn-s3-demo-"} {
		if strings.HasPrefix(name, p) {
			return false
		}
	}
	return !strings.HasSuffix(name, "-s3alias") && !strings.HasSuffix(name, "--ol-s3") &&
		!strings.HasSuffix(name, ".mrap") && !strings.HasSuffix(name, "--x-s3")
}

func bucketOfInode(name string, in *inode.Inode) Bucket {
	b := Bucket{Ino: in.Ino, Name: name, UID: in.UID, Created: in.Btime}
	if in.Bucket != nil {
		b.Owner, b.Region = in.Bucket.Owner, in.Bucket.Region
	}
	return b
}

// CreateBucket makes a top-level directory. EINVAL for a name that no bucket
// may have; EEXIST with the bucket that is there.
func (fs *FS) CreateBucket(ctx context.Context, cred Cred, b Bucket) (Bucket, error) {
	if !ValidBucketName(b.Name) {
		return Bucket{}, wire.Errorf("create bucket", b.Name, wire.EINVAL)
	}
	err := fs.update(ctx, func(t *txn) error {
		root, err := t.inode(RootIno)
		if err != nil {
			return err
		}
		d, err := t.get(root, b.Name+"/")
		if err != nil {
			return err
		}
		if d != nil {
			b = bucketOfInode(b.Name, d.Inode)
			return wire.Errorf("create bucket", b.Name, wire.EEXIST)
		}
		in := t.newDir(&cred, root, 0o755, true)
		in.Bucket.Owner, in.Bucket.Region = b.Owner, b.Region
		b = bucketOfInode(b.Name, in)
		return t.addEntry(RootIno, b.Name+"/", &inode.Dentry{Inode: in, Ino: in.Ino, Type: in.Type})
	})
	return b, err
}

// bucket finds a bucket's directory by name.
func (t *txn) bucket(name string) (*inode.Inode, error) {
	if !ValidBucketName(name) {
		return nil, wire.Wrap("bucket", name, ErrNoBucket)
	}
	root, err := t.inode(RootIno)
	if err != nil {
		return nil, err
	}
	d, err := t.get(root, name+"/")
	if err != nil {
		return nil, err
	}
	if d == nil {
		return nil, wire.Wrap("bucket", name, ErrNoBucket)
	}
	return d.Inode, nil
}

// Bucket finds a bucket by name; ErrNoBucket.
func (fs *FS) Bucket(ctx context.Context, name string) (b Bucket, err error) {
	return b, fs.view(ctx, func(t *txn) error {
		in, err := t.bucket(name)
		if err == nil {
			b = bucketOfInode(name, in)
		}
		return err
	})
}

// Buckets lists up to max buckets in order of name, after a name.
func (fs *FS) Buckets(ctx context.Context, after string, max int) (page []Bucket, more bool, err error) {
	from := ""
	if after != "" {
		from = after + "/"
	}
	err = fs.view(ctx, func(t *txn) error {
		page, more = nil, false
		root, err := t.inode(RootIno)
		if err != nil {
			return err
		}
		t.sawAll()
		return t.fs.tree.Scan(root, from, false, func(token string, d *inode.Dentry) bool {
			if d.Inode == nil {
				return true
			}
			if len(page) == max {
				more = true
				return false
			}
			page = append(page, bucketOfInode(strings.TrimSuffix(token, "/"), d.Inode))
			return true
		})
	})
	return page, more, err
}

// DeleteBucket removes an empty bucket and aborts its uploads; ENOTEMPTY,
// ErrNoBucket.
func (fs *FS) DeleteBucket(ctx context.Context, _ Cred, name string) error {
	return fs.update(ctx, func(t *txn) error {
		in, err := t.bucket(name)
		if err != nil {
			return err
		}
		if in.Dir.Entries > 0 {
			return wire.Errorf("delete bucket", name, wire.ENOTEMPTY)
		}
		return t.dropDir(RootIno, name+"/", in)
	})
}

// bucketInode finds a bucket by its number; ErrNoBucket when it is gone.
func (t *txn) bucketInode(ino Ino) (*inode.Inode, error) {
	in, err := t.inode(ino)
	if wire.ErrnoOf(err) == wire.ESTALE {
		return nil, wire.Wrap("bucket", inoName(ino), ErrNoBucket)
	}
	if err != nil {
		return nil, err
	}
	if in.Dir == nil || in.Dir.Parent != RootIno {
		return nil, wire.Wrap("bucket", inoName(ino), ErrNoBucket)
	}
	return in, nil
}
