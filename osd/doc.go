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
// # Bounds
//
// Per PG: maxOps requests admitted, maxHeld waiting for admission; beyond
// that the connection is closed, and the client comes back and resends. Object
// contexts: maxObjects per PG beyond those in use. Requests that wait for a
// map: maxMapWait. Writes that one goroutine submits for others: submitTurn.
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
// across a call of the store, a Send, or a vector's execution.
//
// # Not here yet
//
// See package pg: recovery and backfill. A PG whose data may be on other OSDs
// is not served until then. WATCH, NOTIFY, CALL and COPY_FROM answer
// EOPNOTSUPP. Messages between OSDs (package pg) have no encoding yet, so they
// pass the in-process network only. There is no backoff message: what a PG
// can't admit is held.
package osd
