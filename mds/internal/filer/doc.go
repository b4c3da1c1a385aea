// Package filer keeps the bytes of files in the objects of the data pool.
//
// # Objects
//
// Object N of stream SID is called SID.N, 16 and 8 hex digits, and holds
// 4 MiB from offset N·4 MiB on; what is missing reads as zeros. x.SID is the
// part list of a joined stream (see parts.go). An object of an overlay has
// the xattr b, eight bytes little-endian: bit i says that its i-th 64 KiB are
// its own; what isn't shows the base (see overlay.go). Only plain operations
// are used, no omap, so the pool may be erasure coded.
//
// # The ways of bytes
//
// A Stream takes the content of a PUT in order, sends it as it comes, and
// keeps no more than a few MiB in memory. Filer.Read gives ranges of any
// content. Both pass references on and copy nothing.
//
// A File is content that is written in place, over NFS. Writes go to memory
// and are written back in the background: when an object has gathered 1 MiB,
// when data is Options.WriteBack old, when memory is short, or when Flush
// asks. Each object has at most one write-back under way, of all that was
// unwritten when it began, in one vector. Data whose write-back fails is
// dropped, as in any kernel; the next Flush tells, and Verifier changes, so
// that NFS clients send it again.
//
// # Locks
//
// File.gate (an operation lock: Truncate and Switch against Read and Write)
// before File.mu before Filer.mu. The two mutexes are held for memory only.
// A Filer has a fixed number of goroutines that write back, and one that
// looks for what is due; Close waits for them.
package filer
