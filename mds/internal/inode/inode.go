// Package inode holds the records of the namespace and their encoding: the
// inode with its content reference, the dentry, the inode table's row, the
// upload and its parts. Package mds gives the public ones their names there.
//
// Every encoded record is: struct version and its oldest reader (1 byte
// each), length of the body (u32, little-endian), body, CRC-32C of all before
// it (u32). Records inside a record have the same frame without a checksum of
// their own. Integers in bodies are little-endian of fixed width; strings and
// lists are a u32 count and their elements. A decoder reads the fields it
// knows and skips what a newer version appended within the length; it refuses
// a record whose oldest reader is newer than itself, and bounds every count by
// the bytes at hand. The newer reader sees an older record by its version: it
// must not read on past what that version had.
//
// Nothing here has state; all functions may be called from anywhere.
package inode

import (
	"github.com/spirula/spirula/rados/wire"
)

// Ino is an inode number. Inode, stream, upload and history numbers come from
// one counter and are never used twice.
type Ino uint64

// Type is an inode's type, with NFSv3's numbers (RFC 1813, ftype3).
type Type uint8

// The types.
const (
	Reg     Type = 1
	Dir     Type = 2
	Block   Type = 3
	Char    Type = 4
	Symlink Type = 5
	Socket  Type = 6
	FIFO    Type = 7
)

// ContentKind is how an inode's bytes are kept.
type ContentKind uint8

// The kinds (namespace.md's "Content: one mechanism").
const (
	Empty   ContentKind = iota // no bytes, whatever the size: all zeros
	Inline                     // beside the dentry; up to 2 KiB
	Plain                      // objects SID.N of one stream
	Joined                     // a list of ranges of plain streams
	Overlay                    // an own stream over a sealed base
)

// Row is one range of a joined stream: up to End (exclusive, in the joined
// stream) the bytes are those of (Stream, Snap) from Start on.
type Row struct {
	End    uint64
	Stream uint64
	Snap   wire.SnapID // 0: the head
	Start  uint64
}

// MaxRows is how many rows of a joined stream lie in the record itself; more
// are in the object x.SID.
const MaxRows = 16

// MaxOverlay is how deep overlays may rest on overlays; one deeper copies.
const MaxOverlay = 4

// Content refers to an inode's bytes. A Content is never changed once it was
// published in an inode: a change makes a new one.
type Content struct {
	Kind   ContentKind
	Stream uint64      // Plain, Joined, Overlay
	Snap   wire.SnapID // 0: the head
	Inline []byte      // Inline; kept under class 'i', not in the record
	Rows   []Row       // Joined: all of them when there are at most MaxRows, else nil
	NumRow uint32      // Joined
	Base   *Content    // Overlay: what shows through; sealed
	// BaseLimit: at and above this offset the base does not show through.
	BaseLimit uint64
	// Sealed content has, or may have, other holders: it is not written in
	// place. (The count itself is the refs row of Stream.)
	Sealed bool
}

// Frag is one fragment of a directory: the tokens from First (inclusive) up
// to the next fragment's First.
type Frag struct {
	Num   uint32
	First string
}

// Totals are recursive figures of a directory, itself not counted.
type Totals struct {
	Bytes, Files, Dirs uint64
	Mtime              wire.Time
}

// DirPart is what only directories have.
type DirPart struct {
	Parent   Ino
	Explicit bool // made by mkdir or by PUT of a key ending in /
	// Frags are the fragments in order of First, at most 32. FragTable:
	// there are more, all listed in the object t.INO instead, and Frags is
	// nil.
	Frags     []Frag
	FragTable bool
	NextFrag  uint32
	NextSeq   uint64 // the birth number the next entry gets; 3 at first
	Entries   uint64 // dentries that NFS shows, . and .. not counted
	Subdirs   uint32
	// BirthLog tells that c.INO.N objects exist and are kept up.
	BirthLog  bool
	Histories []uint64 // history containers, newest first
	Totals    Totals
}

// BucketPart is what only top-level directories have: a bucket's settings.
type BucketPart struct {
	Owner   string // S3 user; empty: made over NFS
	Region  string
	DirMode uint32 // of implicit directories
	NextVer uint64 // vseq of the next version
}

// ChecksumAlgorithm is an S3 checksum's kind.
type ChecksumAlgorithm uint8

// The algorithms.
const (
	NoChecksum ChecksumAlgorithm = iota
	CRC32
	CRC32C
	SHA1
	SHA256
	CRC64NVME
)

// Checksum is an object's or a part's stored checksum.
type Checksum struct {
	Algorithm ChecksumAlgorithm
	Composite bool   // a checksum of the parts' checksums, shown with -N
	Value     []byte // raw, not base64
}

// PartSize is one part of an object that was uploaded in parts.
type PartSize struct {
	Number   int
	Size     uint64
	Checksum []byte // raw; of the object's algorithm
}

// Meta is what S3 keeps of an object besides its bytes. All strings are as
// the client sent them. Together at most 8 KiB.
type Meta struct {
	ContentType        string
	ContentEncoding    string // without aws-chunked
	ContentDisposition string
	ContentLanguage    string
	CacheControl       string
	Expires            string
	StorageClass       string
	WebsiteRedirect    string
	User               []wire.KV // x-amz-meta-*, names in lower case without the prefix
	Owner              string    // S3 user; empty: made over NFS
}

// S3Part is what only S3 objects have: files that S3 wrote.
type S3Part struct {
	ETag     string
	Data     uint64 // the data version ETag is true of; another means: written since
	Checksum Checksum
	Parts    []PartSize
	Meta     Meta
}

// Inode is the whole record. A published *Inode is never changed: whoever
// changes an inode copies it first.
type Inode struct {
	Ino   Ino
	Gen   uint32
	Type  Type
	Mode  uint32 // 12 bits
	UID   uint32
	GID   uint32
	Nlink uint32 // files: number of links; directories: computed from Subdirs
	Major uint32
	Minor uint32
	Size  uint64
	Atime wire.Time
	Mtime wire.Time
	Ctime wire.Time
	Btime wire.Time

	Change   uint64  // moved by every change
	Data     uint64  // moved by changes of content only
	Verifier [8]byte // of an exclusive CREATE; all zero: none
	VSeq     uint64  // the version's place in its history; 0: none

	// OpenEpoch is the journal epoch in which the file was opened for
	// write and not closed; 0: closed. When that epoch has passed, size and
	// times are what was last committed and the content may be newer:
	// whoever finds it so moves Data and Change on before anything else.
	OpenEpoch uint64
	// Truncating is the size before a truncation whose objects may not be
	// cut yet; 0: none.
	Truncating uint64

	Content Content
	Target  string // symbolic links up to 256 bytes; longer ones are Inline
	Snaps   []wire.SnapID
	Xattrs  []wire.KV

	Dir    *DirPart
	Bucket *BucketPart
	S3     *S3Part
}

// Dentry is one entry of a directory: a token and what it leads to. Never
// changed once published.
type Dentry struct {
	Seq   uint64      // birth number: the READDIR cookie
	First wire.SnapID // the newest bucket snapshot when it came to be, plus one
	VSeq  uint64
	// Inode is the record when the inode sits in this dentry; nil when it
	// has a row of its own (several links), which Ino then names.
	Inode *Inode
	Ino   Ino
	Type  Type // repeated so that READDIR needs no row
	// Unconfirmed content was published before its data was known to be
	// stored; cleared once it is.
	Unconfirmed bool
}

// RowKind says what an inode table row tells.
type RowKind uint8

// The kinds of rows.
const (
	RowAt   RowKind = 1 // the inode sits in the dentry (Parent, Token)
	RowHere RowKind = 2 // the row has the inode itself
	RowRefs RowKind = 3 // a stream's number of holders, two or more
)

// Link is one name of an inode that has a row of its own.
type Link struct {
	Parent Ino
	Token  string
}

// TableRow is a row of the inode table, i.(number>>12), keyed by number.
type TableRow struct {
	Kind   RowKind
	Parent Ino    // RowAt
	Token  string // RowAt
	Inode  *Inode // RowHere
	Links  []Link // RowHere: at most 1023; none: a stray
	Refs   uint64 // RowRefs
}

// UploadSpec is what CreateMultipartUpload fixes.
type UploadSpec struct {
	Meta       Meta
	Algorithm  ChecksumAlgorithm
	FullObject bool // checksum type FULL_OBJECT; otherwise COMPOSITE
}

// Upload is an upload in progress: the value in u.BUCKET.
type Upload struct {
	Num     uint64 // names p.UPLOAD
	Key     string
	ID      string
	Spec    UploadSpec
	Started wire.Time
	Owner   string
	UID     uint32
	GID     uint32
	// Done is set for a day after completion, with the answer.
	Done     bool
	DoneETag string
	DoneAt   wire.Time
	DoneSum  Checksum
	DoneSize uint64
}

// Part is one uploaded part: the value in p.UPLOAD.
type Part struct {
	Number   int
	Size     uint64
	ETag     string
	Checksum Checksum
	Mtime    wire.Time
	Content  Content
}
