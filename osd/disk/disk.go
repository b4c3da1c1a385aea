// Package disk is the seam between an OSD and its disk: a folder of files, or
// raw devices beside a folder. Everything an OSD or mon keeps goes through it
// (goleveldb's files too), so a test can put in its place a disk in memory
// that forgets what was not synced, or one that fails.
//
// # What survives a loss of power
//
//   - Bytes of a file: only once Sync of that file returned nil. Until then
//     any subset of the 512-byte sectors written since may have reached the
//     disk, in any order. Size likewise.
//   - A name (create, rename, link, remove): only once SyncDir of its
//     directory returned nil.
//   - After a failed Sync what was not synced is lost, although the next
//     Sync may succeed. So a failed Sync is fatal to whoever needed it.
package disk

import "io"

// Flag says how Open opens.
type Flag int

// The flags; combine them with |.
const (
	ReadOnly Flag = 1 << iota // otherwise read and write
	Create                    // make the file if it isn't there
	Excl                      // with Create: EEXIST if it is there
	Trunc                     // start empty
	// Direct asks that reads and writes bypass the page cache: offsets,
	// lengths and memory are then multiples of 4 KiB. Where the file
	// system refuses, the file is buffered and File.Direct says so.
	Direct
)

// Disk is one folder and what lies in it. Names are relative, with slashes.
// Errors have a kind (wire.Errno): ENOENT, EEXIST, ENOSPC, EACCES, EIO.
// All methods may be called from several goroutines.
type Disk interface {
	Open(name string, flags Flag) (File, error)
	Remove(name string) error
	Rename(from, to string) error
	Link(from, to string) error
	Mkdir(name string) error // no error if it is there; parents are not made
	List(dir string) ([]string, error)
	Size(name string) (int64, error)
	SyncDir(dir string) error
	// Lock takes an exclusive lock on a file, made if needed; EBUSY when
	// another process, or this one, holds it. Close gives it up; so does
	// the end of the process.
	Lock(name string) (io.Closer, error)
	// Space is the file system's size and what an unprivileged user may
	// still write, in bytes.
	Space() (total, free int64, err error)
	// Describe is one line for the log at start: what kind, direct I/O or
	// not, which flush.
	Describe() string
}

// File is an open file. ReadAt and WriteAt are io.ReaderAt's and
// io.WriterAt's; they may run side by side on ranges that don't overlap.
type File interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
	// Resident reports whether all of a range is in the page cache. known
	// is false where the system can't tell.
	Resident(off, n int64) (all, known bool)
	// Sync makes all written bytes and the size durable (fdatasync, or the
	// strongest flush the system has).
	Sync() error
	// StartWrite begins to write a range out without waiting
	// (sync_file_range); it makes nothing durable.
	StartWrite(off, n int64)
	// Grow makes the file at least n bytes long with the new range
	// allocated, so that writing into it can't meet ENOSPC. Reads of the
	// range give zeros.
	Grow(n int64) error
	Truncate(n int64) error
	// Discard tells the device that a range's content is no longer needed.
	// Its content is then undefined; the space stays reserved where it can.
	Discard(off, n int64) error
	Size() (int64, error)
	Direct() bool // whether Flag Direct is in force
}
