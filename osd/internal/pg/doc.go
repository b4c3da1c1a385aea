// Package pg decides what a placement group does: which requests it runs,
// which versions its writes get, what its log holds, when a write is
// answered, and what a new map means to it.
//
// # Contract
//
// Core is a state machine without clock, socket, disk or goroutine. The OSD
// calls its methods under the mutex of the PG, one at a time, and carries out
// what they append to Effects after unlocking. Log entries and the PG's
// info are rows of the PG in the store (store.Txn.MetaSet), written in the
// same transaction as the objects they speak of, so that after a crash log
// and objects agree.
//
// # A write
//
// Admit (run it, answer a duplicate, let it join the same request under way,
// hold it, or drop it) → the OSD executes its vector → Submit gives the next
// version and adds the log rows → the OSD queues the transaction → Queued
// sends it to the acting replicas, or Abort takes the version back if the
// store refused → Committed and RepAck → Effects.Answer once every acting
// OSD has it on stable storage. Between Submit and Queued or Abort there is
// no other Submit: versions have no holes, and the store gets them in order.
//
// # Intervals
//
// A new interval (another acting set, primary, min_size or pg_num) forgets
// who waits for the writes under way: their clients resend, and find the
// result in the log, which is also the memory of finished requests. A PG is active when this OSD is its acting
// primary and every acting OSD has confirmed the same log (Activate). With
// one acting OSD that is so at once.
//
// # Not here yet
//
// Peering beyond the comparison of equal logs, missing sets, recovery,
// backfill, read leases and scrub. Their inputs belong beside Activate: a
// primary whose replicas hold other logs stays inactive, and holds requests,
// until they exist.
package pg
