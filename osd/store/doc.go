// Package store keeps the objects of one OSD on one disk: data, xattrs, omaps,
// and the PGs' own rows, changed by transactions that happen all or not at
// all. Package osd runs one Store per OSD; osd/store/storetest has a twin in
// memory with the same methods.
//
// # Contract
//
// After Queue returned nil the change is visible to every read, and done is
// called when it is durable. Transactions of one Sequencer become durable in
// the order of Queue. A Queue that fails has done nothing. What is read was
// either what was written, byte for byte and checked, or EIO.
//
// # Parts
//
//	block   the data, in units of 4 KiB, each with a CRC-32C in the index.
//	        Two copies of the superblock come first. Grows by steps.
//	wal     the log: the only thing that a commit waits for. A ring.
//	kv/     the index (package kv): everything else. It follows the log and
//	        after a crash has a prefix of it; Open brings it up to the end.
//
// See keys.go for the rows of the index, onode.go for objects and extents,
// wal.go and record.go for the log, alloc.go for the allocation,
// superblock.go. Integers are big-endian in keys, little-endian in values.
//
// # Ways of a write
//
//   - Content up to 2 KiB lies in the onode, in the index.
//   - Up to 32 KiB, and the ragged ends of anything: the whole blocks go into
//     the log as images, and from there in place later. A block nobody shares
//     is overwritten in place, which is safe since the log has it.
//   - Larger: Queue writes it to free units, block is synced once for all that
//     wait, then the record that points there goes into the log.
//
// A plan (plan.go) turns a transaction into a record under Store.mu, without
// I/O; what it lacks is fetched in between and it starts again. From there:
//
//	Queue → data (sync of block, large writes only) → log (group commit)
//	      → index, done
//
// each a goroutine. A large write holds back later ones of its Sequencer only.
//
// # Keeping readers and space apart
//
// An onode and its shards never change once they are published: a reader
// takes the pointer and needs no lock. Every transaction has an epoch; a
// reader's pin has the newest it has seen. Units freed, and images to be put
// over old content, wait until no older pin is left. So a pinned read sees one
// state, whatever happens meanwhile, and a checksum that fails is rot.
//
// Clones share units. The counts are kept per family (an object and all that
// was cloned from it or its clones) and logical 256 KiB, because a unit lies
// at the same logical place in each of them: they are found with the object
// and cached with it, and no search for neighbours is needed.
//
// # The log's tail
//
// A checkpoint puts the allocation down, makes the index durable and puts
// images in place; then the log before it may be reused, but only once a
// synced group says so. Its header has the tail, so the groups from there to
// the newest good one must all be there, or something acknowledged is lost
// and Open refuses.
//
// # Locks
//
// flushTurn, growTurn, regionTurn (turns at I/O), then mu. Never I/O or a
// done function under mu.
package store
