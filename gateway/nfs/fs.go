package nfs

import (
	"context"

	"github.com/spirula/spirula/mds"
	"github.com/spirula/spirula/rados/wire"
)

// FS is what this gateway needs of the namespace; *mds.FS is one. Permission
// is checked inside, from cred against mode bits. Errors carry a kind
// (wire.ErrnoOf).
type FS interface {
	Root(ctx context.Context) (mds.Attr, error)
	GetAttr(ctx context.Context, h mds.Handle) (mds.Attr, error)
	SetAttr(ctx context.Context, cred mds.Cred, h mds.Handle, set mds.SetAttr) (mds.WCC, error)
	// Access gives those of the asked bits that cred has.
	Access(ctx context.Context, cred mds.Cred, h mds.Handle, bits uint32) (uint32, mds.Attr, error)
	Lookup(ctx context.Context, cred mds.Cred, dir mds.Handle, name string) (child, dirAttr mds.Attr, err error)
	Readlink(ctx context.Context, cred mds.Cred, h mds.Handle) (string, mds.Attr, error)

	Create(ctx context.Context, cred mds.Cred, dir mds.Handle, name string, args mds.CreateArgs) (mds.Attr, mds.WCC, error)
	Mkdir(ctx context.Context, cred mds.Cred, dir mds.Handle, name string, set mds.SetAttr) (mds.Attr, mds.WCC, error)
	Symlink(ctx context.Context, cred mds.Cred, dir mds.Handle, name, target string, set mds.SetAttr) (mds.Attr, mds.WCC, error)
	Mknod(ctx context.Context, cred mds.Cred, dir mds.Handle, name string, args mds.NodeArgs) (mds.Attr, mds.WCC, error)
	Remove(ctx context.Context, cred mds.Cred, dir mds.Handle, name string) (mds.WCC, error)
	Rmdir(ctx context.Context, cred mds.Cred, dir mds.Handle, name string) (mds.WCC, error)
	Rename(ctx context.Context, cred mds.Cred, from mds.Handle, fromName string, to mds.Handle, toName string) (fromWCC, toWCC mds.WCC, err error)
	Link(ctx context.Context, cred mds.Cred, h mds.Handle, dir mds.Handle, name string) (mds.Attr, mds.WCC, error)
	// ReadDir gives entries after the cookie, . and .. included, until emit
	// returns false or the directory ends (eof). ENOTDIR, and EINVAL for a
	// cookie that no entry ever had.
	ReadDir(ctx context.Context, cred mds.Cred, dir mds.Handle, cookie uint64, plus bool, emit func(*mds.DirEntry) bool) (dirAttr mds.Attr, eof bool, err error)

	// Read gives up to n bytes from off. The Data belongs to the caller.
	Read(ctx context.Context, cred mds.Cred, h mds.Handle, off uint64, n int) (d wire.Data, eof bool, a mds.Attr, err error)
	// Write writes d at off. stable waits until it is on stable storage;
	// otherwise Commit does. It takes references of its own.
	Write(ctx context.Context, cred mds.Cred, h mds.Handle, off uint64, d wire.Data, stable bool) (mds.WCC, error)
	// Commit makes unstable writes of the file durable (n 0: to the end).
	Commit(ctx context.Context, cred mds.Cred, h mds.Handle, off, n uint64) (mds.WCC, error)
	// WriteVerifier changes exactly when unstable data could have been lost.
	WriteVerifier() [8]byte

	StatFS(ctx context.Context) (mds.FSStat, error)
}
