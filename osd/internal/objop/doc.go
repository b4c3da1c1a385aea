// Package objop runs operation vectors on objects. It is a function: from
// the committed state of an object (a View), what the PG knows of it (an
// Object) and a Request it makes a transaction, the results of the
// operations and the object's new state. It holds nothing, starts nothing
// and writes nothing itself.
//
// # What a vector sees
//
// A vector is atomic: the first operation that fails without OpFailOK ends
// it, and nothing of it happens. Existence, size and version show what
// earlier operations of the vector did; data, xattrs and omap are read from
// the state before the vector, as Ceph's OSDs do. Hence {CREATE, CMPXATTR}
// on a missing object is ENOENT, and {SETXATTR a, GETXATTR a} with
// FlagReturnVec gives the old value. A vector that only reads is refused
// before its first operation where there is no object; in one that writes, a
// READ of what has no bytes, and any omap, reads as empty.
//
// The vector's result is what its last operation gave that gives one: STAT
// and the readers of omaps leave it alone. A change makes it 0, and drops the
// outputs, without FlagReturnVec; with it, an output over MaxReplyVec fails
// the vector. Outputs of the operations before a failure stay.
//
// # Objects in the store
//
// The head of an object is the store object with snap NoSnap; a clone is one
// whose snap is the clone's id. Both carry the xattr "_" (Info); the head
// also "ss" (SnapSet) once it has seen a snapshot. A client's xattr "name"
// is the store's "_name". A head that was deleted while clones remain stays
// as a whiteout: it exists in the store, empty, and to clients it does not,
// but that a comparison of its xattrs finds none where it finds no object
// elsewhere.
//
// # Who calls
//
// The OSD runs Run for one write, or for any number of reads, of an object
// at a time; clones change only through their head, so the same exclusion
// covers them. Then Outcome.Finish puts the version that the PG gave into
// the transaction. Run is called without any lock of the PG, because it
// reads the store.
//
// # Watches, notifies, copies
//
// The watches of an object are in its Info, so they are as durable as it is:
// WATCH register adds the asker's, or renews its timeout and address, unwatch
// takes it away (0 if there is none), reconnect and ping are ENOTCONN for an
// unknown one; all are ENOENT where there is no object, and change no user
// version. A vector whose only changes would be pings is a read: Writes says
// no. Deleting the head ends its watches. NOTIFY and NOTIFY_ACK need the
// object and do nothing here. Timers, connections and messages are the
// daemon's, who learns by Outcome.Effects what it has to do.
//
// COPY_FROM finds its source, already read by the daemon, in Request.Copies.
// A Fetch says with which vectors it is read from its primary, and gathers
// the answers; it holds no lock meanwhile, and a source that changes under it
// is read again. The copy has data, xattrs, omap, time and user version of
// its source, and keeps its own watches.
//
// # Versions
//
// The user version of an object is Outcome.UserVersion of the PG's version;
// the log entry and the answer must have the same.
//
// # Classes
//
// CALL runs a method of package cls on the object of the vector, by the rules
// of its other operations. Whether a vector writes depends on its methods, so
// does what caps it needs (DemandOf). Unknown classes and methods are
// EOPNOTSUPP for the whole vector, whatever else is in it.
package objop
