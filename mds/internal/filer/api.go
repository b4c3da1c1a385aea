package filer

import (
	"context"
	"log/slog"
	"time"

	"github.com/spirula/spirula/mds/internal/inode"
	"github.com/spirula/spirula/rados"
	"github.com/spirula/spirula/rados/wire"
)

// ObjectSize is the bytes of a stream in one RADOS object.
const ObjectSize = 4 << 20

// SingleMax is the largest content that a Stream holds back to be sent as
// one vector, beside the journal event that publishes it. Longer content is
// sent in pieces as it comes.
const SingleMax = 1 << 20

// Options are what New is told. Zeros take the defaults.
type Options struct {
	Data   rados.Doer
	Logger *slog.Logger
	// DirtyBytes bounds the memory of unwritten data of all Files; 24 MiB.
	DirtyBytes int64
	// WriteBack is how long data stays unwritten at most; 2 s.
	WriteBack time.Duration
	// Cleaned is called, with no lock held, when the last unwritten byte of
	// a file was written back (or lost: see File.Flush) in the background.
	Cleaned func(ino inode.Ino)
}

// Filer moves the bytes of files between memory and the data pool.
type Filer struct{}

// New makes a Filer; Close ends it.
func New(o Options) *Filer { panic("filer: not built yet") }

// Close writes back what is unwritten and stops. It may be called twice.
func (f *Filer) Close(ctx context.Context) error { panic("filer: not built yet") }

// Verifier changes exactly when unwritten data may have been lost: it is
// random at each start and after each write-back that failed.
func (f *Filer) Verifier() [8]byte { panic("filer: not built yet") }

// Stream writes content in order into a new stream.
type Stream struct{}

// NewStream starts the stream with number sid, which nobody has written.
func (f *Filer) NewStream(sid uint64) *Stream { panic("filer: not built yet") }

// Write appends d, taking references of its own. It waits while too much is
// in flight: a Stream holds at most 5 MiB.
func (s *Stream) Write(ctx context.Context, d wire.Data) error { panic("filer: not built yet") }

// Size is the number of bytes so far.
func (s *Stream) Size() uint64 { panic("filer: not built yet") }

// Held gives the whole content while nothing of it was sent (at most
// SingleMax bytes), for keeping it inline; it belongs to the Stream.
func (s *Stream) Held() (d wire.Data, ok bool) { panic("filer: not built yet") }

// StartSingle sends the content held as one vector that creates the object
// exclusively. The caller waits for the call; its EEXIST means that somebody
// decided that this content never arrives. Only when Held says ok, and
// not for empty content.
func (s *Stream) StartSingle(ctx context.Context) *rados.Call { panic("filer: not built yet") }

// Finish sends the rest and waits until all of it is durable.
func (s *Stream) Finish(ctx context.Context) error { panic("filer: not built yet") }

// Abort drops what is held and waits for what is in flight; the objects
// written are the caller's to purge. After Finish it does nothing.
func (s *Stream) Abort() { panic("filer: not built yet") }

// Preclude makes sure that the single vector of stream sid either has
// arrived or never can (namespace.md, "Transactions"): present tells which.
func (f *Filer) Preclude(ctx context.Context, sid uint64) (present bool, err error) {
	panic("filer: not built yet")
}

// Read gives the bytes [off, off+n) of content c, fewer only where size ends
// them; at most MaxRead. The Data belongs to the caller. For a file that is
// written in place, File.Read instead.
func (f *Filer) Read(ctx context.Context, c *inode.Content, size, off uint64, n int) (wire.Data, error) {
	panic("filer: not built yet")
}

// MaxRead is the most bytes of one Read.
const MaxRead = 8 << 20

// WriteParts stores the part list of joined stream sid, as x.SID.
func (f *Filer) WriteParts(ctx context.Context, sid uint64, rows []inode.Row) error {
	panic("filer: not built yet")
}

// Rows gives the range [off, off+n) of c as rows of plain streams, their
// Ends counted from 0. ok is false for content that has none (inline,
// overlay): it is copied instead.
func (f *Filer) Rows(ctx context.Context, c *inode.Content, size, off, n uint64) (rows []inode.Row, ok bool, err error) {
	panic("filer: not built yet")
}

// Copy appends the range [off, off+n) of c to dst.
func (f *Filer) Copy(ctx context.Context, c *inode.Content, size, off, n uint64, dst *Stream) error {
	panic("filer: not built yet")
}

// Purge deletes the objects of stream sid: those below size, and on until 17
// in a row are not there. snaps is the context of the deletes: what is still
// in it stays readable. The part list x.SID goes too.
func (f *Filer) Purge(ctx context.Context, sid uint64, size uint64, snaps wire.SnapContext) error {
	panic("filer: not built yet")
}

// Truncated is c cut to size: the content to publish with the new size.
// Kinds other than Plain and Overlay can't be cut in place (joined, inline):
// ok is false, unless size is 0, which gives Empty: the caller purges.
func Truncated(c *inode.Content, size uint64) (cut *inode.Content, ok bool) {
	panic("filer: not built yet")
}

// Truncate cuts the objects of c, Plain or Overlay, which reached up to old,
// to size. It may be repeated; replay does.
func (f *Filer) Truncate(ctx context.Context, c *inode.Content, snaps wire.SnapContext, old, size uint64) error {
	panic("filer: not built yet")
}

// File is the content of one inode that is written in place, with the data
// not yet written back. Its methods may be called from many goroutines.
type File struct{}

// Open gives the File of an inode; the first Open makes it of content c
// (Plain or Overlay, head, not sealed), size, and the snap context of its
// writes; later ones find it and ignore those. Each Open needs one Release;
// the File stays known until it is released and clean.
func (f *Filer) Open(ino inode.Ino, c *inode.Content, size uint64, snaps wire.SnapContext) (*File, error) {
	panic("filer: not built yet")
}

// Lookup is Open for an inode whose File is known; nil otherwise.
func (f *Filer) Lookup(ino inode.Ino) *File { panic("filer: not built yet") }

// Release gives one Open or Lookup back.
func (fl *File) Release() { panic("filer: not built yet") }

// Size is the file's size in bytes, unwritten data included.
func (fl *File) Size() uint64 { panic("filer: not built yet") }

// Dirty reports whether there is data not yet written back.
func (fl *File) Dirty() bool { panic("filer: not built yet") }

// Write puts d at off, taking references of its own; it waits for room while
// too much is unwritten. stable waits until it is durable; otherwise Flush
// does. EFBIG: it would end over MaxFile.
func (fl *File) Write(ctx context.Context, off uint64, d wire.Data, stable bool) error {
	panic("filer: not built yet")
}

// Read gives the bytes [off, off+n), fewer only at the end of the file.
func (fl *File) Read(ctx context.Context, off uint64, n int) (wire.Data, error) {
	panic("filer: not built yet")
}

// Flush makes writes to [off, off+n) durable (n 0: to the end) that were
// there when it was called. Its error is the first write-back that failed
// since the last Flush told of one, its own included: that data is lost, and
// the Verifier has changed.
func (fl *File) Flush(ctx context.Context, off, n uint64) error { panic("filer: not built yet") }

// Truncate sets the size: data beyond is dropped and its objects cut, so
// that it reads as zeros when the file grows again. c is the content from
// now on: Truncated of the old one, or the same when the file grows.
func (fl *File) Truncate(ctx context.Context, size uint64, c *inode.Content) error {
	panic("filer: not built yet")
}

// Switch writes everything back under the old content and snap context and
// goes on with the new ones: a cut, a new bucket snapshot, a new overlay.
// Writes wait meanwhile. On an error (a write-back failed) nothing changes.
func (fl *File) Switch(ctx context.Context, c *inode.Content, snaps wire.SnapContext) error {
	panic("filer: not built yet")
}

// Discard drops unwritten data, waits for what is in flight, and writes
// nothing more: the inode is gone and its stream will be purged.
func (fl *File) Discard(ctx context.Context) { panic("filer: not built yet") }
