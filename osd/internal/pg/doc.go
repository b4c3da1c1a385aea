// Package pg decides what a placement group does: which requests it runs,
// which versions its writes get, what its log holds, when a write is
// answered, what a new map means to it, whose log counts, and which objects
// are to be copied where.
//
// # Contract
//
// Core is a state machine without clock, socket, disk or goroutine. The OSD
// calls its methods under the mutex of the PG, one at a time, and carries out
// what they append to Effects after unlocking. What must be on disk is rows
// of the PG in the store (store.Txn.MetaSet), in the same transaction as the
// objects they speak of, so that after a crash they agree.
//
// # Rows
//
//	i        when the PG was made, where its log begins
//	h        history: the current interval, past ones, epochs of activations,
//	         how far a backfill has come; written when an interval begins
//	l…       the log, an entry each; what changes with every write is read
//	         off the newest one
//	m…       objects that are not as the log has them (Missing)
//	s…       the index of snapshots
//
// # A write
//
// Admit (run it, answer a duplicate, let it join the same request under way,
// hold it, have it wait for its object, or drop it) → the OSD executes its
// vector → Submit gives the next version and adds the log rows → the OSD
// queues the transaction → Queued sends it to the replicas, or Abort takes
// the version back if the store refused → Committed and RepAck →
// Effects.Answer once every replica has it on stable storage. Between Submit
// and Queued or Abort there is no other Submit: versions have no holes, and
// the store gets them in order. A replica that does not answer is the mons'
// matter, never a quiet drop.
//
// # Intervals and peering
//
// A new interval (another up or acting set, primary, min_size or pg_num)
// forgets who waits for the writes under way: they come again, and find the
// result in the log, which is also the memory of finished requests. Then:
//
//  1. Everything under way comes to stable storage here, so that what is said
//     of this copy stays true. Other OSDs wait for the same before they
//     answer.
//  2. The primary asks (Query) the up and acting OSDs and those of every past
//     interval in which writes may have been answered since the last
//     activation that all are known to have stored. Of each such interval one
//     OSD must be heard, or the PG is down. Writes may have been answered if
//     there were min_size OSDs and the map had noted, in up_thru, that the
//     primary was about to serve; so a primary waits for that note (not in
//     pools of size 1, where nobody else can have the data).
//  3. The log is that of a whole copy that took part in the newest activation
//     (LastStarted), of those the one with the newest entry. The OSDs that
//     can go on from their logs become the acting set, by pg_temp if they are
//     not; the up OSDs that cannot will get a backfill.
//  4. The primary takes over the log's end (GetLog). Entries of its own that
//     the log does not have never were answered: their objects become
//     missing, at the version before. So do the objects of entries it lacked.
//  5. Activate does the same to every replica. When all have it on stable
//     storage the PG is active, or, with fewer than min_size OSDs, peered: it
//     recovers and does not serve.
//
// Messages carry the interval's first epoch and the sender's map (Head).
// What was lost is sent again: by Tick, and when a session broke (PeerReset).
//
// # Recovery
//
// Objects in a missing set are copied whole: pulled to the primary, pushed to
// the replicas; what was deleted is removed. A request to an object that the
// primary lacks, and a write to one that a replica lacks, waits and puts the
// object first. An object whose OSDs are all away is unfound, and waits for
// them.
//
// # Backfill
//
// A copy that the log does not reach is compared with the primary's range by
// range, by versions; what differs is pushed. Writes behind the cursor go to
// the target, beyond it only their log entries do. Objects written while a
// range is compared count as different; one written while it is copied is
// copied again. The cursor is stored by the target (Progress), and a backfill
// goes on from it if the log still reaches back to where the target stopped.
//
// # Clean
//
// When all up OSDs are acting, whole, and as many as the pool wants, past
// intervals are forgotten, and other copies are removed (Remove).
//
// # Splits
//
// A larger pg_num begins a new interval of the PGs whose objects it divides.
// Each OSD divides its own copy (Split) when all here is on stable storage,
// before it says anything of it. The new PGs have the old one's history and
// versions; what went to another PG is a result without a request in the log.
//
// # Not here yet
//
// Read leases: a primary that is cut off from the mons and its replicas, but
// not from a client, can answer a read with what was true before. They belong
// into Admit (may this primary read now), Query and Notify (how long was the
// former primary promised to), and step, before an activation. Scrub. Merges.
package pg
