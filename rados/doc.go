// Package rados is the client of a RADOS cluster, Spirula's or Ceph's.
//
// # Contract
//
// Connect opens a session with the mons and waits for the first OSD map.
// Client.IOCtx opens a pool; IOCtx.Do runs one vector of operations on one
// object, atomically, and returns when the answer is there. Start does the
// same without waiting. An operation is answered exactly once however often
// maps change and sessions break: it is sent again, under the same ReqID and
// the next attempt number, whenever the placement group is in a new interval,
// its OSD's session is lost, or it had to wait. OSDs recognise the second
// arrival of a write. Operations of one object keep the order in which one
// goroutine started them.
//
// What waits, without a bound of its own but the caller's context: operations
// while a placement group has no primary, while the map pauses reads or
// writes, and below the epoch barrier (SetBarrier). What does not wait, unless
// Options say so: writes to a full pool fail with ENOSPC or EDQUOT. An address
// on the blocklist fails everything with ESHUTDOWN.
//
// In flight are at most Options.MaxOps operations with MaxBytes of data;
// Start waits for room, in turn.
//
// # Who runs it
//
// A Client has two goroutines: its own, for maps, lost sessions and the
// retrying of connects, and its MonSession's. Answers complete on the
// goroutine of whoever delivers them and wake the waiter. MonSession is usable
// alone; an OSD has one.
//
// # Cost
//
// Start takes no lock that another operation holds for long: the map is read
// through an atomic pointer, the placement is remembered in the map, operations
// in flight are in 64 shards. It allocates the flight, with the message in it;
// the answer brings the reply.
//
// package radostest has what stands in for a cluster in tests.
package rados
