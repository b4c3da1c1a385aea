// Package osd is the daemon around one object store: it serves the placement
// groups that the cluster map gives it.
//
// # Layers
//
// osd/internal/pg decides (pure), osd/internal/objop executes operation
// vectors (a function of what it reads), and this package owns what they
// must not: mutexes, the store, connections, maps from the mon, goroutines.
//
// # A request
//
// Dispatch runs on the sender's goroutine: checks against the map, admission
// by the PG's core, then the object's lock. A vector executes without the
// PG's mutex, under its object's lock: shared for reads, exclusive for
// writes. A write is then queued to the PG's submit list; whoever finds the
// list unattended becomes its one submitter, who gives out versions and calls
// Store.Queue, one write after the other, without the mutex. The store's done
// answers the client. Nothing waits inside Dispatch but for short mutexes and
// for reads of the store: a request that must wait is parked and goes on
// later on one of a bounded number of goroutines (runner).
//
// Writes to an object take effect in the order in which they got its lock,
// which is the order of arrival. A read behind a write that is not yet
// committed on every acting OSD waits for it, so that nothing is shown that
// could still be undone.
//
// Answers about an object go out in the order of its requests, reads among
// them. Requests with much data from a network are executed by the runner, so
// that their connection's next request is read meanwhile; they have their
// object's lock, and so their place, already.
//
// # Who may, and when
//
// A connection's caps are those of its ticket, read when it is first heard
// of. A request by a newer map than ours waits for it, and what the same
// connection sends after it waits behind it; one from before this OSD led the
// PG, for another OSD's PG or a deleted pool is dropped, and the client
// is sent the map that tells it why, each epoch once. Requests of a
// connection that was reset are not executed, if they have not begun.
//
// A PG that can't serve has peers over a network hold their requests (Ceph's
// MOSDBackoff, always for the whole PG) and drops what comes until the peer
// says that it knows; when it serves again, or its interval ends, they are
// told. Peers of the same process have their requests held here. Clients
// resend by themselves only when a PG's primary changes: what an interval's
// end finds under way at a primary that stays one is had again in this way.
//
// When the map says that a pool is full, writes that make it larger fail
// (FULL_TRY) or are dropped; near the store's own end, failsafeFull, so are
// all that do not free space.
//
// # Watches and notifies
//
// The watches of an object are in its info (package objop); timers and
// connections are here, made when the object is looked at, and end with the
// PG's interval: clients come again. A watch whose client pings ends when it
// is silent for its timeout, whatever its connection does; others when their
// connection has been gone for so long. It is taken out by a write as any
// other. A notify is sent to all watches that there are after it was
// answered, again to those that connect later, and is complete when all have
// answered or are gone, or its time is over.
//
// # Other OSDs
//
// Messages of a PG's other OSDs are handled one at a time and in order
// (group.deliver); those whose handling reads the store, on the runner. What
// the core wants made durable takes its place among the PG's transactions
// under the mutex (pushTxn) and is queued in that order (runTxns). Objects are
// copied by the goroutines of the recoverer, in pieces, each acknowledged
// before the next; an object of several pieces lies in pool -2-p until it is
// whole. A PG is made when a pool is, when this OSD is to lead one, and when a
// primary wants a copy of one here.
//
// A new map goes to all PGs, which store what it means to them, then to disk,
// then to requests: PGs may be ahead of the stored map, never behind.
//
// OSDs that share PGs ask each other whether they are there; one that is
// silent for Options.HeartbeatGrace is reported to the mon. An OSD that the
// map calls down, wrongly, or at another address, sends nothing to others and
// answers no client until it has booted again.
//
// # Bounds
//
// Per PG: maxOps requests admitted, maxHeld waiting for admission; beyond
// that remote peers hold theirs, and others' connections are closed: they come
// back and resend. Object contexts: maxObjects per PG beyond those in use.
// Requests that wait for a map: maxMapWait. Data of all that wait:
// maxHeldBytes. Writes that one goroutine submits for others: submitTurn.
// Answers that wait to be sent: sessionAnswers, allAnswers. Watches:
// maxWatches, and objop.MaxWatches of one object; notifies: maxNotifies, and
// maxNotifyReplies of answers to each. Sources of copies fetched at a time:
// maxCopies. Commands: maxCommands. Messages of other OSDs per PG: maxInbox;
// that wait for a map: maxMapWait. Bytes of objects being copied:
// recoverySlots*pieceBytes. PGs that others want made: maxCreates.
//
// # Rows
//
// Under the row space of the PG metaPG: "full" (the newest map, encoded),
// "inc/"+epoch (increments, the last keepIncs), "pg/"+pool+seed (each PG held
// here). Everything else of a PG lies in its own rows (package pg).
//
// # Lock order
//
// OSD.mapMu, then group.mu, then runner.mu or session.mu. None is held
// across a call of the store or a vector's execution, nor across a Send, but
// for backoffs: those go to remote peers only, where Send just queues, and
// must keep their order.
package osd
