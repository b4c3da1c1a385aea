// Package nfs is the NFSv3 gateway (RFC 1813): MOUNT and NFS, both on one TCP
// port, over the namespace.
//
// # Why not the library's server
//
// github.com/willscott/go-nfs gives this package its vocabulary: procedure
// and status numbers. Its server is not used: it runs the requests of a
// connection one after the other, finds files by path, drops credentials,
// and answers FILE_SYNC for writes that it never synced. The loop, the
// encodings and the meaning of every procedure are ours.
//
// # A request
//
// One goroutine per connection reads records. The first kilobyte of a record
// holds the RPC header and all arguments but a WRITE's data, which is read
// from the socket straight into buffers that go down to the disk. Each
// request runs on a goroutine of its own, at most maxRequests per connection;
// replies go out by xid in whatever order they are ready, from one writer
// per connection, headers and data in one system call.
//
// # Handles
//
// A file handle is 32 bytes: version, file system id, inode, generation,
// snapshot. There is no table behind it, so restarts and renames change
// nothing. READDIR cookies are the entries' birth numbers, with a verifier of
// zero, for the same reason.
//
// # Not idempotent
//
// Replies to procedures that must not run twice are kept, keyed by client,
// xid and a checksum of the arguments, the last dupEntries of them. A
// retransmission is answered from there, or waits for the first to finish.
//
// What says "try again" is not kept: nothing was done.
//
// # Bounds
//
// The data of WRITEs is admitted before it is read (Options.MaxInflightBytes),
// that of READs before it is fetched and until it is sent (MaxReadBytes). A
// client must send a request it has begun, and take its replies, within
// recordTime and replyTime; between requests it may be silent for ever.
//
// # Locks
//
// There is no lock manager. Its program, and any other, is refused at once
// with PROG_UNAVAIL, so that a client fails fast instead of hanging.
//
// Lock order: conn.mu inside Gateway.mu; dupCache.mu and mounts.mu are taken
// alone.
package nfs
