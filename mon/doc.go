// Package mon is the monitor: the few facts that all of a cluster must agree
// upon. Those are the OSD map (who is up, which pools there are, where data
// is placed, what snapshots were removed, who is shut out), the list of mons,
// the settings, the entities with their keys and caps, the secrets under which
// their tickets are made, and the numbers given to clients.
//
// # How it is agreed
//
// go.etcd.io/raft carries a log among the mons. An entry is one step of one
// service from a version to the next, as finished changes of its state: the
// leader computes it, members only store it (and verify, for the OSD map, the
// checksum of the map that results). A step counts only if the service is
// still at the version it starts from, so a step of a former leader does
// nothing. No clock and no chance enters the applying.
//
// # What is kept
//
// In a KV, by raft's r/ and the agreed s/ keys (see record.go): each value
// has a version byte and a CRC-32C. One round of raft is one synced Batch: new
// entries, hard state, the effects of what became committed, and s/applied,
// the index up to which effects are in. So every step takes effect exactly
// once, whenever the process dies. Reports of use and of placement groups'
// states, sessions and subscriptions are in the leader's memory only.
//
// # Who may do what
//
// With AuthCephx, a peer has proved to be an entity before it has a session
// (package rados/cephx), and its caps decide over each message and command
// (authpermit.go): a refused command is EACCES, other messages are dropped as
// Ceph does. With AuthNone, and within the process, everything is allowed.
//
// # Who runs it
//
// Mkfs makes the first state, New loads, Start runs: one goroutine owns all
// state and raft; Dispatch and Reset only fill its inbox, whose bound is
// maxInbox. The only lock is the inbox's, and nothing is called under it.
// Connections that begin read keys and secrets from an immutable copy, and
// ask the goroutine for a number.
// Clusters of one mon are supported; the log's format has room for more.
package mon
