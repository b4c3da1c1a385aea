package store

// Sequencer orders transactions: those queued with one Sequencer become
// durable in the order of Queue, and their done functions are called in that
// order. A PG has one. The zero Sequencer is ready for use.
//
// An object, and every object that was cloned from it or that it was cloned
// from, must be changed through one Sequencer as long as changes to it are
// not done. So must the rows of a PG.
type Sequencer struct {
	q []*txn // not yet handed to the log, oldest first; guarded by Store.mu
}
