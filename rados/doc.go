// Package rados is the client of a RADOS cluster, Spirula's or Ceph's, with
// librados's operations.
//
// # Connecting
//
// ReadConfig reads a ceph.conf, Dial connects to its cluster over TCP: it dials
// mons until one believes it, proves itself by cephx or not at all, and learns
// the maps. Connect does the same over a Network of the caller's choice, such
// as one within the process. MonSession, the session with the mons, is usable
// alone; an OSD has one.
//
// # Operations
//
// Client.IOCtx opens a pool. Its methods are librados's operations, by its
// names: Read, WriteFull, Append, Stat, GetXattr, SetOmap, Exec, LockExclusive,
// SnapCreate, Watch, Notify and so on. IOCtx.Do runs a vector of operations on
// one object, atomically, and returns when the answer is there; Start does not
// wait. Namespace, locator key and snapshots are part of an IOCtx, which the
// With methods copy, and do not change.
//
// Errors have a kind, wire.ErrnoOf, which is the errno that librados gives.
//
// # Contract
//
// An operation is answered exactly once however often maps change and sessions
// break: it is sent again, under the same ReqID and the next attempt number,
// whenever the placement group is in a new interval, its OSD's session is lost,
// or it had to wait. OSDs recognise the second arrival of a write. Operations
// of one object keep the order in which one goroutine started them.
//
// What waits, without a bound of its own but the caller's context: operations
// while a placement group has no primary, while an OSD can't be reached or asks
// for a backoff, while the map pauses reads or writes, and below the epoch
// barrier (SetBarrier). What does not wait, unless Options say so: writes to a
// full pool fail with ENOSPC or EDQUOT. An address on the blocklist fails
// everything with ESHUTDOWN.
//
// In flight are at most Options.MaxOps operations with MaxBytes of data;
// Start waits for room, in turn.
//
// A watch is registered again wherever the cluster may have forgotten it. If it
// had, the watch's callback says so, and notifications may have been missed.
// Commands, notifies and requests to the mons are sent again when a session is
// lost, and may then be done twice.
//
// # Who runs it
//
// A Client has a goroutine for maps, lost sessions and the retrying of
// connects, one of its MonSession, one for each session that is coming about,
// and two for each watch. Answers complete on the goroutine of whoever delivers
// them and wake the waiter. No callback runs on a session's reader.
//
// # Cost
//
// Start takes no lock that another operation holds for long: the map is read
// through an atomic pointer, the placement is remembered in the map, operations
// in flight are in 64 shards. It allocates the flight, with the message in it;
// the answer brings the reply. The methods of IOCtx that take or give bytes
// copy them; Do and Start do not.
//
// # What was seen
//
// With SPIRULA_CEPH_CONF set, the tests in real_test.go run on the cluster of
// that ceph.conf: radostest.Suite, both protections, wrong keys, quotas,
// blocklisting, tickets of 20 seconds under way, and appends from several
// goroutines that are each there once and in order while sessions break, OSDs
// and the mon are killed and placement groups split. They pass on a Ceph 16.2
// with cephx and three OSDs, which asks for backoffs when two of them are down,
// and on Spirula; likewise without cephx. Commands went on while each of three
// mons of a Ceph was killed in turn. Not seen: erasure-coded pools.
//
// package radostest has what stands in for a cluster in tests.
package rados
