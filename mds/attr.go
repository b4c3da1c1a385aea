package mds

import (
	"github.com/spirula/spirula/mds/internal/inode"
	"github.com/spirula/spirula/rados/wire"
)

// Ino is an inode number; never used twice.
type Ino = inode.Ino

// RootIno is the root directory: its entries are the buckets.
const RootIno Ino = 1

// Handle names an inode for ever: it needs no table in memory, and survives
// restarts and renames. An inode that is gone, or whose generation differs,
// is ESTALE.
type Handle struct {
	Ino  Ino
	Gen  uint32
	Snap wire.SnapID // 0 or wire.NoSnap: live
}

// FileType is an inode's type, with NFSv3's numbers (RFC 1813, ftype3).
type FileType = inode.Type

// The types.
const (
	TypeReg     = inode.Reg
	TypeDir     = inode.Dir
	TypeBlock   = inode.Block
	TypeChar    = inode.Char
	TypeSymlink = inode.Symlink
	TypeSocket  = inode.Socket
	TypeFIFO    = inode.FIFO
)

// Attr is what stat shows of an inode.
type Attr struct {
	Ino    Ino
	Gen    uint32
	Type   FileType
	Mode   uint32 // permission, setuid, setgid, sticky: 12 bits
	UID    uint32
	GID    uint32
	Nlink  uint32 // directories: 2 + subdirectories
	Major  uint32 // devices
	Minor  uint32
	Size   uint64 // bytes; directories: entries
	Used   uint64 // bytes of storage, an estimate
	Atime  wire.Time
	Mtime  wire.Time
	Ctime  wire.Time
	Btime  wire.Time
	Change uint64 // moved by every change
	Data   uint64 // moved by changes of content only
}

// Handle gives the attribute's inode as a handle of the live tree.
func (a *Attr) Handle() Handle { return Handle{Ino: a.Ino, Gen: a.Gen} }

// WCC is an inode's attributes just before and just after an operation, from
// one transaction (RFC 1813, weak cache consistency).
type WCC struct {
	Before Attr // Size, Mtime and Ctime are what counts
	After  Attr
}

// Cred says on whose behalf a call is made.
type Cred struct {
	UID    uint32
	GID    uint32
	Groups []uint32
	// Trusted callers have decided the permission by rules of their own
	// (S3: the bucket's owner); mode bits are not consulted. UID and GID
	// still own what is made.
	Trusted bool
}

// The bits of Access, as in NFSv3's ACCESS (RFC 1813).
const (
	AccessRead    uint32 = 0x01
	AccessLookup  uint32 = 0x02
	AccessModify  uint32 = 0x04
	AccessExtend  uint32 = 0x08
	AccessDelete  uint32 = 0x10
	AccessExecute uint32 = 0x20
)

// TimeSet is one of the three ways to set a time.
type TimeSet uint8

// The ways (RFC 1813, time_how).
const (
	TimeKeep   TimeSet = 0
	TimeNow    TimeSet = 1
	TimeClient TimeSet = 2
)

// SetAttr says which attributes to change; nil fields stay.
type SetAttr struct {
	Mode     *uint32
	UID      *uint32
	GID      *uint32
	Size     *uint64
	AtimeHow TimeSet
	Atime    wire.Time
	MtimeHow TimeSet
	Mtime    wire.Time
	// Guard, when set, is compared with the inode's ctime first;
	// a difference is ErrGuard.
	Guard *wire.Time
}

// CreateMode is how Create treats a name that exists (RFC 1813,
// createmode3).
type CreateMode uint8

// The modes.
const (
	CreateUnchecked CreateMode = 0 // take the existing file; its size is set if SetAttr says one
	CreateGuarded   CreateMode = 1 // EEXIST
	CreateExclusive CreateMode = 2 // EEXIST unless the verifier is the one it was made with
)

// CreateArgs says how Create makes a file.
type CreateArgs struct {
	Mode     CreateMode
	Attr     SetAttr // not with CreateExclusive
	Verifier [8]byte // CreateExclusive
}

// NodeArgs says what Mknod makes.
type NodeArgs struct {
	Type         FileType // TypeBlock, TypeChar, TypeSocket, TypeFIFO
	Major, Minor uint32
	Attr         SetAttr
}

// DirEntry is one entry of a directory as NFS sees it.
type DirEntry struct {
	Name   string // the shown name: awkward keys are escaped
	Ino    Ino
	Cookie uint64 // where READDIR goes on after this entry
	Attr   Attr   // READDIRPLUS: HasAttr says whether it is filled
	// HasAttr is false where the inode's row could not be read cheaply.
	HasAttr bool
}

// FSStat is the use of the file system, in bytes and files.
type FSStat struct {
	TotalBytes, FreeBytes, AvailBytes uint64
	TotalFiles, FreeFiles, AvailFiles uint64
}

// The limits of names and files.
const (
	MaxName    = 255       // bytes of a name over NFS
	MaxKey     = 1024      // bytes of an S3 key
	MaxSymlink = 4096      // bytes of a symbolic link's target
	MaxLinks   = 1023      // hard links of one inode
	MaxFile    = 1<<43 - 1 // bytes of a file written over NFS: 8 TiB
	MaxInline  = 2048      // bytes of content that lie beside the dentry
	ObjectSize = 4 << 20   // bytes of a stream in one RADOS object
	MaxRecord  = 16 << 10  // bytes of an encoded inode record
)
