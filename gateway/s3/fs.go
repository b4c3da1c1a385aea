package s3

import (
	"context"

	"github.com/spirula/spirula/mds"
)

// FS is what this gateway needs of the namespace; *mds.FS is one.
//
// Errors carry a kind (wire.ErrnoOf) and, where S3 tells more apart, one of
// package mds's Err values.
type FS interface {
	// CreateBucket makes a top-level directory. EEXIST: the Bucket that is
	// there is returned beside the error.
	CreateBucket(ctx context.Context, cred mds.Cred, b mds.Bucket) (mds.Bucket, error)
	// Bucket finds a bucket by name; mds.ErrNoBucket.
	Bucket(ctx context.Context, name string) (mds.Bucket, error)
	// Buckets lists buckets in name order, after the given name.
	Buckets(ctx context.Context, after string, max int) (page []mds.Bucket, more bool, err error)
	// DeleteBucket removes an empty bucket; ENOTEMPTY otherwise. Uploads in
	// progress are aborted with it.
	DeleteBucket(ctx context.Context, cred mds.Cred, name string) error

	// NewWriter starts content that nobody can see yet. sizeHint is the
	// number of bytes to come, or -1.
	NewWriter(ctx context.Context, cred mds.Cred, bucket mds.Ino, sizeHint int64) (mds.Writer, error)
	// OpenObject finds and pins an object: its content stays readable until
	// Close, whatever happens to its name. ENOENT when there is none (an
	// implicit directory is none).
	OpenObject(ctx context.Context, bucket mds.Ino, key string) (mds.Reader, error)
	// StatObject is OpenObject without the pin.
	StatObject(ctx context.Context, bucket mds.Ino, key string) (*mds.Object, error)
	// DeleteObject removes an object. Absent: ENOENT (which S3 answers as
	// success, unless there are conditions).
	DeleteObject(ctx context.Context, cred mds.Cred, bucket mds.Ino, key string, cond mds.Conditions) error
	// Copy makes the pinned source's content an object too: no bytes move.
	Copy(ctx context.Context, cred mds.Cred, src mds.Reader, bucket mds.Ino, key string, spec mds.CopySpec) (*mds.Object, error)
	// List gives a page of keys.
	List(ctx context.Context, bucket mds.Ino, req mds.ListRequest) (*mds.ListPage, error)

	// CreateUpload starts a multipart upload and gives its id.
	CreateUpload(ctx context.Context, cred mds.Cred, bucket mds.Ino, key string, spec mds.UploadSpec) (id string, err error)
	// StatUpload gives an upload's settings; mds.ErrNoUpload.
	StatUpload(ctx context.Context, bucket mds.Ino, key, id string) (*mds.Upload, error)
	// PutPart makes w's content part p.Number, in place of an earlier one.
	PutPart(ctx context.Context, bucket mds.Ino, key, id string, w mds.Writer, p mds.Part) (mds.Part, error)
	// CopyPart makes [off, off+n) of the pinned source a part.
	CopyPart(ctx context.Context, src mds.Reader, off, n uint64, bucket mds.Ino, key, id string, p mds.Part) (mds.Part, error)
	// ListParts gives parts in order of number, after the given number.
	ListParts(ctx context.Context, bucket mds.Ino, key, id string, after, max int) (parts []mds.Part, more bool, err error)
	// ListUploads gives uploads in order of key, then id, after (key, id);
	// an empty afterID means after all uploads of afterKey.
	ListUploads(ctx context.Context, bucket mds.Ino, prefix, afterKey, afterID string, max int) (ups []mds.Upload, more bool, err error)
	// CompleteUpload makes the parts one object. Asked twice with the same
	// id, the second answer is the first's.
	CompleteUpload(ctx context.Context, cred mds.Cred, bucket mds.Ino, key, id string, c mds.Complete) (*mds.Object, error)
	// AbortUpload drops an upload and its parts.
	AbortUpload(ctx context.Context, bucket mds.Ino, key, id string) error
}
