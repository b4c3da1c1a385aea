// Package journal keeps the event log of one mds rank in the metadata pool
// and proves, by epochs compared in the same vector as each write, that only
// one holder of the rank can write it.
//
// # Objects
//
// Numbers in names are hex, rank four digits, N sixteen. All integers in
// records are little-endian; numbers in xattrs are decimal text, because
// that is what RADOS compares.
//
//	lease.R   xattrs epoch, holder (empty: given back), counter
//	j.R       xattr epoch; data: the header (see header.go)
//	j.R.N     xattrs epoch, end, done; data: records, 4 MiB at most
//
// A position is a byte offset in the log that all j.R.N make together;
// j.R.N holds positions N·4 MiB and up. The position of an event is where its
// record ends. A record lies in one object; what is too short at an object's
// end for the next record stays unused.
//
// # Appending
//
// Events gather in memory into a group. A group becomes durable as a whole:
// it is one vector, or several where it crosses an object's end or is larger
// than a vector should be. A vector is
//
//	CMPXATTR epoch = E, CMPXATTR end = offset, WRITE, SETXATTR end, SETXATTR done
//
// with done moved only by a group's last vector. The comparison of end makes
// the durable log a prefix whatever fails: two vectors may be in flight, and
// when the first is refused the second is too. A vector that goes to the
// next object waits for all before it. So end is exact, done says up to where
// groups are whole, and there are no torn tails to guess at: a bad record
// below done is damage and is reported as such.
//
// # Taking over
//
// The epoch E is raised on lease.R, then on j.R, then on every journal object
// from the trimmed position to the header's limit, the last one a holder may
// write (it moves the limit, several objects ahead, before it makes them).
// After that no vector of an older holder can pass its comparison. Then ends
// are read and a group without its last vector is cut off.
//
// A renewed lease is only needed against stale reads: a holder answers while
// its last successful renewal was sent less than Options.Alive ago, and a
// standby waits longer than that.
//
// # Who runs it
//
// Each Journal has four goroutines: two lanes that send groups, one that
// moves the limit, one that renews the lease. Its mutex is a leaf: no other
// lock is taken and no I/O done under it, so Append may be called under any
// lock. Options.Seal and Options.Deposed are called with no lock held.
package journal
