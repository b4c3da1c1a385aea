// Package kv is the ordered key/value store of a store and of a mon: goleveldb
// with all its files on a disk.Disk.
//
// # Two modes
//
// With Options.Journal (the mon's) it is a store by itself: ApplySync returns
// when the batch, and every batch before it, is on the disk. Without (the
// object store's index) nothing is durable when Apply returns: goleveldb's
// journal is dropped, and the caller has a log of its own, from which it
// applies again after a crash what is missing. Each batch has a sequence
// number; Durable says up to which number everything is in synced tables, so
// that the caller may forget its log so far. In both modes what is found after
// a crash is a prefix of the batches applied.
//
// goleveldb is taken because its point reads and its binary size beat the
// alternatives; all its threads, retries and settings are fenced in here.
//
// # Files
//
// In one directory of the disk: tables (NNNNNN.ldb) as goleveldb writes them;
// manifest (MANIFEST-NNNNNN) and journal (NNNNNN.log) wrapped in frames of
// ours, see frame.go, because goleveldb alone can't tell a torn end from rot;
// CURRENT, which names the manifest; LOCK; and ballast files.
// A table's and a manifest's directory entry is synced before anything on the
// disk refers to it.
//
// # Errors
//
// A failed write or sync is final: it is given to Options.Fatal once, and no
// later write succeeds. So is corruption, and a table that can't be read. A
// full disk is neither: table writes eat up the ballast, Full turns true, and
// when that is gone too Apply returns ENOSPC and may be repeated.
//
// # Locks
//
// DB.turn is held by the one goroutine that writes, through goleveldb's calls
// and the I/O they make: it is the order of writers. Below it come goleveldb's
// own locks, then tracker.mu, ballast.mu, files.mu, which are never held over
// I/O or over each other. Readers take no lock; they are counted, and Close
// waits for them.
package kv
