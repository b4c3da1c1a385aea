package mds

import (
	"github.com/spirula/spirula/mds/internal/inode"
	"github.com/spirula/spirula/rados/wire"
)

// Errors that S3 needs to tell apart though their kinds are ordinary. Each is
// found with errors.Is; wire.ErrnoOf gives the kind.
var (
	ErrPrecondition = &kindError{"a condition of the request does not hold", wire.ECANCELED}
	ErrGuard        = &kindError{"the inode's ctime is not the one given", wire.ECANCELED}
	ErrNoUpload     = &kindError{"no such multipart upload", wire.ENOENT}
	ErrNoBucket     = &kindError{"no such bucket", wire.ENOENT}
	ErrInvalidPart  = &kindError{"a listed part is not there or has another ETag", wire.EINVAL}
	ErrPartOrder    = &kindError{"parts are not in ascending order", wire.EINVAL}
	ErrPartTooSmall = &kindError{"a part other than the last is under 5 MiB", wire.EINVAL}
	ErrBadChecksum  = &kindError{"the checksum given does not fit the parts", wire.EINVAL}
)

type kindError struct {
	text string
	kind wire.Errno
}

func (e *kindError) Error() string { return e.text }
func (e *kindError) Unwrap() error { return e.kind }

// Bucket is a top-level directory with its settings.
type Bucket struct {
	Ino     Ino
	Name    string
	Owner   string    // the S3 user who made it; empty: made over NFS
	UID     uint32    // the directory's owner over NFS
	Created wire.Time // btime
	Region  string    // LocationConstraint as given; may be empty
}

// ChecksumAlgorithm is an S3 checksum's kind.
type ChecksumAlgorithm = inode.ChecksumAlgorithm

// The algorithms.
const (
	ChecksumNone      = inode.NoChecksum
	ChecksumCRC32     = inode.CRC32
	ChecksumCRC32C    = inode.CRC32C
	ChecksumSHA1      = inode.SHA1
	ChecksumSHA256    = inode.SHA256
	ChecksumCRC64NVME = inode.CRC64NVME
)

// Checksum is an object's or a part's stored checksum.
type Checksum = inode.Checksum

// PartSize is one part of an object that was uploaded in parts.
type PartSize = inode.PartSize

// Meta is what S3 keeps of an object besides its bytes. All strings are as
// the client sent them. Together at most 8 KiB.
type Meta = inode.Meta

// Object is an S3 object as it was found.
type Object struct {
	Key      string
	Attr     Attr
	ETag     string // without quotes
	Checksum Checksum
	Parts    []PartSize // nil unless uploaded in parts
	Meta     Meta
}

// Conditions must hold for a change, looked at in the same step as the
// change. Empty fields ask nothing. ETags are without quotes; "*" is any.
type Conditions struct {
	IfMatch     string // the current object has this ETag (absent: ENOENT); "*": exists
	IfNoneMatch string // "*": there is no current object; otherwise its ETag differs
	IfSize      *uint64
	IfModified  *wire.Time // the current object's mtime, to the second, is this one
}

// Publish says how a Writer's content becomes an object.
type Publish struct {
	Cond     Conditions
	Meta     Meta
	ETag     string
	Checksum Checksum
	// Mtime is when it was written; 0: now.
	Mtime wire.Time
}

// CopySpec says how Copy makes the destination.
type CopySpec struct {
	Cond Conditions // on the destination
	// Replace takes Meta from here instead of the source.
	Replace bool
	Meta    Meta
	// ETag and Checksum, where set, replace the source's.
	ETag     string
	Checksum *Checksum
}

// UploadSpec is what CreateMultipartUpload fixes.
type UploadSpec = inode.UploadSpec

// Upload is an upload in progress.
type Upload struct {
	Key     string
	ID      string
	Spec    UploadSpec
	Started wire.Time
	Owner   string
}

// Part is one uploaded part.
type Part struct {
	Number   int
	Size     uint64
	ETag     string
	Checksum Checksum
	Mtime    wire.Time
}

// CompletedPart is a part as CompleteMultipartUpload lists it.
type CompletedPart struct {
	Number   int
	ETag     string
	Checksum []byte // raw; nil: not given
}

// Complete says how CompleteUpload ends an upload.
type Complete struct {
	Cond  Conditions
	Parts []CompletedPart
	// Finish is called with the parts as stored, in order, before anything
	// is changed. It gives the object's ETag and checksum, or an error that
	// refuses the request.
	Finish func(spec UploadSpec, parts []Part) (etag string, sum Checksum, err error)
	// MinPart is the least size of all parts but the last, in bytes.
	MinPart uint64
}

// ListRequest asks for a page of keys in byte order.
type ListRequest struct {
	Prefix    string
	Delimiter string
	After     string // exclusive; a key, or a common prefix already given
	Max       int    // keys and common prefixes together
}

// ListEntry is one line of a listing: an object, or a common prefix, whose
// Prefix is true and which has only Key.
type ListEntry struct {
	Key      string
	Prefix   bool
	Size     uint64
	Mtime    wire.Time
	ETag     string
	Owner    string
	UID      uint32
	Checksum ChecksumAlgorithm
	// FullObject tells the checksum's type.
	FullObject bool
}

// ListPage is one page. When Truncated, Next as the next request's After
// goes on.
type ListPage struct {
	Entries   []ListEntry
	Next      string
	Truncated bool
}
