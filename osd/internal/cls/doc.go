// Package cls has the object classes: methods that a client calls on an
// object (the operation CALL) and that run at the object, in the middle of a
// vector, reading and changing it as the vector's own operations would.
//
// The classes are those that Ceph's clients expect everywhere: lock (also
// behind librados's lock calls and `rados lock`), version, refcount, log,
// numops, cas, cmpomap and hello, and a word of rbd. Inputs, outputs and what they store are
// encoded as Ceph's classes of the same name encode them, so that clients,
// and objects copied from one cluster to the other, don't see a difference.
//
// # Contract
//
// A method is a function of its Context and its input. It holds nothing
// between calls, takes the time from the Context, and reaches the object only
// through Context.Do: the same rules, limits and visibility hold as for the
// vector's operations (what was written earlier in the vector is not read
// back). Given the same Context and input it does the same. A method that is
// not declared as a reader and reads, or not declared as a writer and writes,
// fails with EIO; who runs it (package objop) watches that.
//
// The output comes back with a negative value too. After a change it reaches
// the client only if the vector asked for that.
//
// Input is hostile: it is decoded with bounds, and anything malformed is
// EINVAL. What a class finds stored and can't decode is EIO.
package cls
