package tree

import (
	"context"
	"errors"
	"log/slog"
	"sync"

	"github.com/spirula/spirula/mds/internal/inode"
	"github.com/spirula/spirula/rados"
	"github.com/spirula/spirula/rados/wire"
)

// Pos is a position in the journal: that of the event that made a change.
// 0 is no position.
type Pos uint64

// ErrDeposed is returned by whatever writes once an object was found with a
// newer epoch than ours: another mds holds the rank. Nothing of the vector
// was applied. It is final; the process must stop answering.
var ErrDeposed = &deposedError{}

type deposedError struct{}

func (*deposedError) Error() string { return "tree: another holder has this rank's epoch" }
func (*deposedError) Unwrap() error { return wire.ESHUTDOWN }

// Options are a Tree's settings. Mu, Epoch and Dir must be set.
type Options struct {
	// Mu is the FS's mutex.
	Mu sync.Locker
	// Epoch is the epoch this holder of the rank writes with.
	Epoch uint64
	// Dir gives a live directory's inode, or nil when there is none of that
	// number (its dirty entries are then dropped unwritten). It is called with Mu
	// held, from Flush; its error may be a *Miss.
	Dir func(ino inode.Ino) (*inode.Inode, error)
	// Durable waits until the event at pos, and all before it, are on stable
	// storage. Called without Mu. nil: everything put is durable already.
	Durable func(ctx context.Context, pos Pos) error
	// SplitBegin and SplitEnd journal a fragment split's two events; called
	// without Mu, each returns once its event is durable. What they have to do
	// under Mu is described at Split. nil: directories never split.
	SplitBegin func(ctx context.Context, s Split) error
	SplitEnd   func(ctx context.Context, s Split) error
	// BirthLogged journals that a directory's birth log exists: it puts the
	// directory's inode with DirPart.BirthLog set. Called without Mu; returns
	// once durable. nil: there are no birth logs, READDIR sorts in memory.
	BirthLogged func(ctx context.Context, dir inode.Ino) error

	// CacheBytes bounds what clean entries take, estimated; 0: 256 MiB.
	CacheBytes int64
	// DirtyBytes is where Pressure begins to ask for a Flush; 0: a quarter of
	// CacheBytes.
	DirtyBytes int64
	// SplitEntries and SplitBytes are a fragment's limits; 0: 20000 and 8 MiB.
	SplitEntries int
	SplitBytes   int
	// BirthLogEntries is the size from which a directory gets a birth log;
	// 0: 32768.
	BirthLogEntries int
	// Parallel bounds the operations in flight of one Load or Flush; 0: 16.
	Parallel int
	Log      *slog.Logger
}

// Split is one split of a fragment: From keeps the tokens below At, the new
// fragment To gets those from At up to From's old end.
//
// SplitBegin gets it with To taken from the directory's NextFrag. Under Mu it
// puts the directory's inode with NextFrag = To+1, and journals that together
// with the Split. SplitEnd gets it with InTable and Table filled. Under Mu it
// calls Tree.ApplySplit with its event's position and puts the directory's
// inode with the DirPart that gives back, and journals both. Replay of the
// end's event does the same: Put of the dentry, ApplySplit. A begin without an
// end is undone after replay by AbortSplit.
type Split struct {
	Dir      inode.Ino
	From, To uint32
	At       string
	// InTable: the list of fragments is in t.INO after this split.
	InTable bool
	// Table is the whole list when the directory goes over from the list in
	// its inode to t.INO by this split; nil otherwise.
	Table []inode.Frag
}

// Entry is one line of ReadDir.
type Entry struct {
	Seq   uint64
	Token string
	Ino   inode.Ino
	Type  inode.Type
	// Dentry is nil where the entry comes from the birth log and the dentry
	// isn't in memory; Want loads many in one go.
	Dentry *inode.Dentry
}

// Miss says what has to be loaded before a call can be answered. It is an
// error only so that it passes through the deciding code.
type Miss struct{ wants []want }

// Error is for logs.
func (m *Miss) Error() string { return "tree: not in memory" }

// AsMiss finds a *Miss in err through any wrapping.
func AsMiss(err error) (*Miss, bool) {
	var m *Miss
	ok := errors.As(err, &m)
	return m, ok
}

// Add makes one Load of two misses.
func (m *Miss) Add(o *Miss) { m.wants = append(m.wants, o.wants...) }

// NewDirPart is what a new, empty directory starts with.
func NewDirPart(parent inode.Ino, explicit bool) *inode.DirPart {
	return &inode.DirPart{Parent: parent, Explicit: explicit,
		Frags: []inode.Frag{{Num: 0, First: ""}}, NextFrag: 1, NextSeq: 3}
}

// New makes a tree over the metadata pool meta, with nothing in memory.
func New(meta rados.Doer, o Options) *Tree { panic("being written") }

// Tree is the cache. See the package comment for who calls what, when.
type Tree struct{}

// ---- Mutex held, no I/O ----

// SetReplaying tells that Puts come from the journal's replay: nothing may be
// assumed of what RADOS holds under their keys.
func (t *Tree) SetReplaying(on bool) {}

// Born tells that dir was made by the event being applied: it is known to be
// empty, so nothing of it is ever read. Call it before the first Put into it,
// in replay as well.
func (t *Tree) Born(dir inode.Ino) {}

// Forget drops all of dir from memory, changes not written included: the
// directory was removed, empty. Its objects are left for Purge.
func (t *Tree) Forget(dir inode.Ino) {}

// Get gives the dentry under token in dir, and the position of its last
// change (0 if it was only read). A nil dentry with a nil error: there is
// none. Content.Inline of the inode in it may or may not be filled: ask Inline.
// The error may be a *Miss.
func (t *Tree) Get(dir *inode.Inode, token string) (*inode.Dentry, Pos, error) { panic("") }

// Want asks for many tokens at once: nil if all of them can be answered by
// Get, else one *Miss for all that can't.
func (t *Tree) Want(dir *inode.Inode, tokens []string) error { panic("") }

// Put sets the dentry under token in dir; nil deletes it. It takes d as it is
// and never changes it. If d's inode has Content.Kind Inline (or is a symlink
// with it), non-nil Content.Inline is kept apart under class 'i'; nil
// Content.Inline means the bytes under this token stay as they were. So a
// rename has to take the bytes (Inline) along.
func (t *Tree) Put(pos Pos, dir inode.Ino, token string, d *inode.Dentry) {}

// Inline gives the inline bytes under token; nil if there are none. The error
// may be a *Miss. The caller doesn't change them.
func (t *Tree) Inline(dir *inode.Inode, token string) ([]byte, error) { panic("") }

// Next gives the first token > from, or >= from if inclusive, and its dentry;
// d is nil at the end. Changes in memory are merged over what the fragments
// hold. A Miss brings the following 1024 entries.
func (t *Tree) Next(dir *inode.Inode, from string, inclusive bool) (token string, d *inode.Dentry, err error) {
	panic("")
}

// Scan calls f with the tokens from from on, in order, until f returns false,
// the directory ends, or something isn't in memory (a *Miss; f may have been
// called before that: go on from the last token it saw).
func (t *Tree) Scan(dir *inode.Inode, from string, inclusive bool, f func(token string, d *inode.Dentry) bool) error {
	panic("")
}

// ReadDir gives up to max entries with Seq > afterSeq, in order of Seq; eof
// says that none come after them.
func (t *Tree) ReadDir(dir *inode.Inode, afterSeq uint64, max int) (page []Entry, eof bool, err error) {
	panic("")
}

// Lookup finds an entry by the name NFS shows (section names.go): its token
// and dentry. ENOENT; EINVAL for an escaped name that isn't canonical.
func (t *Tree) Lookup(dir *inode.Inode, name string) (token string, d *inode.Dentry, err error) {
	panic("")
}

// ShownName gives the name under which NFS shows token in dir.
func (t *Tree) ShownName(dir *inode.Inode, token string) (string, error) { panic("") }

// Row gives the inode table's row of number n, and the position of its last
// change. A nil row with a nil error: there is none.
func (t *Tree) Row(n inode.Ino) (*inode.TableRow, Pos, error) { panic("") }

// PutRow sets the row of number n; nil deletes it.
func (t *Tree) PutRow(pos Pos, n inode.Ino, row *inode.TableRow) {}

// MapGet gives the value under key in the plain omap object; nil: none.
// Plain omaps are not fragmented; keep them under some 100000 keys.
func (t *Tree) MapGet(object, key string) ([]byte, error) { panic("") }

// MapPut sets the value under key in a plain omap; nil deletes it.
func (t *Tree) MapPut(pos Pos, object, key string, value []byte) {}

// MapNext gives the first key > from, or >= from if inclusive, with its value
// (nil at the end), as Next does.
func (t *Tree) MapNext(object, from string, inclusive bool) (key string, value []byte, err error) {
	panic("")
}

// MapBorn and MapForget are Born and Forget of a plain omap.
func (t *Tree) MapBorn(object string)   {}
func (t *Tree) MapForget(object string) {}

// ApplySplit makes the split's end known: see Split. It gives the directory's
// DirPart after it, made from dir's.
func (t *Tree) ApplySplit(pos Pos, dir *inode.DirPart, s Split) *inode.DirPart { panic("") }

// OldestDirty is the position of the oldest change not yet written back; the
// journal may be trimmed up to it (exclusive). false: nothing is dirty.
func (t *Tree) OldestDirty() (Pos, bool) { panic("") }

// Pressure reports that changes take more memory than DirtyBytes: Flush.
func (t *Tree) Pressure() bool { panic("") }

// ---- Mutex not held ----

// Load reads what m asks for. After an error other than ctx's the same
// question may be asked again.
func (t *Tree) Load(ctx context.Context, m *Miss) error { panic("") }

// Flush writes back all changes made at positions up to upTo (and what else
// changed the same entries since), then splits fragments that grew over their
// limit. One Flush runs at a time; others wait. On an error what wasn't
// written stays dirty. ErrDeposed is final.
func (t *Tree) Flush(ctx context.Context, upTo Pos) error { panic("") }

// AbortSplit removes what a split without an end left: call it after replay.
func (t *Tree) AbortSplit(ctx context.Context, s Split) error { panic("") }

// PurgeDir deletes all objects of a removed directory. It may be repeated.
func (t *Tree) PurgeDir(ctx context.Context, dir *inode.Inode) error { panic("") }

// PurgeMap deletes a plain omap object. It may be repeated.
func (t *Tree) PurgeMap(ctx context.Context, object string) error { panic("") }

type want struct{}
