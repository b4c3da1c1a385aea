// Package tree is the part of the metadata that lies in RADOS, as a cache in
// memory with write-back: directories (omaps of dentries, split into
// fragments by token range), their fragment tables and birth logs, the inode
// table, and plain omaps (uploads, parts, history). Package mds decides every
// operation on it under one mutex and journals what it decided; tree never
// journals anything itself.
//
// # Contract
//
// The FS has one mutex, handed in as Options.Mu. Get, Put, Next and all other
// methods without a context are called with it held and never do I/O. What
// they need and don't have they ask for by returning a *Miss as the error:
// the caller unlocks, calls Load with it, locks, and decides again from the
// start. Load, Flush, Split and Purge take a context, do I/O, are called
// WITHOUT the mutex, and take it themselves for short whiles.
//
// Put, PutRow and MapPut never need a load. Every change carries the journal
// position (Pos) of its event. Positions must not decrease from one change to
// the next. Changes stay in memory, dirty, until Flush wrote them; OldestDirty
// is what the journal must keep. Before Flush writes anything it calls
// Options.Durable with the newest position among it, so only durable events
// ever reach RADOS.
//
// Replay is calling the same methods with the events' positions between
// SetReplaying(true) and SetReplaying(false), without reading anything.
//
// The order of locks: the right to write (Flush, AbortSplit and the purges
// have it one at a time), then Mu. Nothing waits for RADOS or the journal under
// Mu. A Tree has no goroutines of its own; Load and Flush run theirs and wait
// for them.
//
// # Objects
//
//	d.INO.F   fragment: 'd' token -> dentry, 'i' token -> inline bytes
//	t.INO     fragment table of a directory with more than 32 fragments
//	c.INO.N   birth log, segment N: seq -> (ino, type, token)
//	i.B       inode table, rows of numbers B<<12 up to (B+1)<<12
//
// A fragment's omap header has the position of a change it was last written
// for, and counts of entries and bytes that may be too large, never too small.
// Records are those of package inode, each with version and checksum.
//
// Numbers in object names and numeric keys are hex of fixed width (16 digits;
// fragments 8). Every object carries the xattr "epoch" in decimal, and each
// write is a raise of it with the omap operations in the same vector
// ({CMPXATTR epoch <= E, SETXATTR epoch = E, ...}; where the object is missing
// {CREATE exclusive, SETXATTR, ...}). ECANCELED means that a newer holder was
// there: ErrDeposed.
package tree
