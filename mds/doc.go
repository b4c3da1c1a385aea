// Package mds is the namespace: directories, files, S3 objects and their
// metadata, kept in RADOS, offered to gateways as one type, FS.
//
// # How a change happens
//
// Every operation is decided under one mutex, purely from memory, by a
// transaction: a function that reads dentries, inodes and rows, and stages
// new ones. Three outcomes:
//
//   - Something it needs is not in memory. What it staged is dropped, the
//     mutex released, the thing loaded, and the function run again.
//   - It fails: nothing was changed.
//   - It succeeds: the staged values become one event, the event is given to
//     the journal, and the values to the tree (mds/internal/tree), all
//     before the mutex is released. The caller is answered when the journal
//     says that the event is durable.
//
// Events hold new values, not differences, so replay is idempotent. The tree
// writes changed values back to the directories' own objects later, and the
// journal is trimmed behind it. A reader that saw a value whose event isn't
// durable yet waits for it before answering.
//
// # What is where
//
// The root directory has inode 1 and holds the buckets. Three hidden
// directories lie beside it and use the same machinery: strays (2), content
// and directories waiting to be purged; uploads (3), one directory for each
// bucket with uploads in progress, which holds one directory for each upload,
// which holds the parts; and orphans are found through the numbers that the
// journal says were in flight.
//
// # Content
//
// Bytes don't pass through here but for content of up to 2 KiB, which lies
// beside the dentry: readers and writers go to the data pool through
// mds/internal/filer. What S3 writes is gathered in a stream that nobody can
// see and published by one event. Content of up to 1 MiB is written while
// its event is on the way to the journal: the dentry is marked unconfirmed,
// and whoever meets it waits until both are durable. After a crash a CREATE
// EXCL of the data object decides: if it succeeds the data never came and
// never can, and the publish is undone.
//
// A file written over NFS is open (FS.open) from its first write until it
// was quiet for a while. Its current size, times and counters are in memory
// then, and in the journal at each COMMIT.
//
// # Locks
//
// FS.mu guards the tree, the open files' attributes, pins, and numbers. No
// I/O happens under it, and nothing that could wait; the journal's and the
// filer's own mutexes are inner to it. openFile.io is outer to it: writes to
// one file share it, whoever sets the size holds it alone, I/O included.
//
// # Numbers and streams
//
// A stream is in flight from the step that gives its number out until the
// step that names it, or until it was purged. An account of the numbers in
// the journal, and the records before and after it, tell a restart which
// numbers may have left objects that nothing names. A stream never has an
// inode's number: both have rows in the inode table. Its row counts holders;
// a row of one holder says that there were more, so that the purge looks past
// the size it knows.
//
// Scrub compares all of this with what is there.
//
// # Gateways elsewhere
//
// Today the gateways live in the mds's process, so the capabilities of the
// design are FS.mu, the open files and the pins. A gateway in another process
// would hold a session that these three are granted to.
package mds
