package tree

import (
	"context"
	"errors"
	"log/slog"
	"sync"

	"github.com/spirula/spirula/mds/internal/inode"
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
