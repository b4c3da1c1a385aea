// Package radostest is a RADOS pool in memory: the naive twin of a cluster,
// for tests of whatever stands on rados.Doer.
//
// A Pool runs operation vectors one after the other, atomically, on plain
// maps: data, xattrs, omap, snapshots by snap context. Its answers are those
// of Ceph 16.2 where that was observed, odd corners included: reads inside a
// vector see the state before the vector (STAT excepted), a comparison with
// an attribute of a missing object is ENOENT even behind a CREATE, a matching
// CMPXATTR makes the result 1.
//
// What a test can do to it: let answers come late and in any order across
// objects (Client.SetLatency), inject errors (Client.SetInject), cut a client
// off after its n-th write as a crash would (Client.FreezeAfter), give several
// clients the same pool (Pool.NewClient), and copy the whole state in O(objects)
// (Pool.Clone).
//
// Lock order: Pool, then Client. Vectors and inject hooks run under the
// Pool's lock; observers run without any.
package radostest
