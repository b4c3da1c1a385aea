// Package mon is the monitor: the few facts that all of a cluster must agree
// upon. Those are the OSD map (who is up, which pools there are, where data
// is placed, what snapshots were removed, who is shut out), the list of mons,
// entities with their keys, the settings, the numbers given to clients, keys
// that others keep here, and the last lines of the cluster log.
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
// Increments of the OSD map are kept as long as OSDs may ask for them: from
// the epoch on in which all placement groups were clean, the last keepIncs in
// any case, never more than keepMost.
//
// # Commands
//
// They are Ceph 16's, in their signatures, their JSON and their plain text
// (see commands.add). All of them are answered here, with flags 0: there is
// no mgr, and its empty map says so. What this cluster does not have (erasure
// codes, splitting of placement groups, scrubs, flushing of cache tiers) is
// refused in words. The settings that the mon itself goes by are in options.
//
// # Who runs it
//
// Mkfs makes the first state, New loads, Start runs: one goroutine owns all
// state and raft; Dispatch and Reset only fill its inbox, whose bound is
// maxInbox. The only lock is the inbox's, and nothing is called under it.
// Clusters of one mon are supported; the log's format has room for more. The
// only mon of a cluster may be started at another address: its map follows.
package mon
