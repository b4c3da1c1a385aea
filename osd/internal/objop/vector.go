package objop

import (
	"github.com/spirula/spirula/osd/store"
	"github.com/spirula/spirula/rados/wire"
)

// Outcome is what a vector did, or would do: nothing has happened until its
// Txn is queued.
type Outcome struct {
	// Result is the vector's: negative Errno, or not.
	Result int32
	// Results has one element for each operation. Their Data belong to
	// whoever takes the Outcome.
	Results []wire.OpResult
	// Changed says that Object differs from what was given to Run, and that
	// Txn makes it so.
	Changed bool
	Object  Object
	Txn     store.Txn
	// SnapsAdded are the snapshots that clones made here show; SnapsGone
	// those that no clone of the object shows any more. They keep the PG's
	// index of what a removed snapshot's trimming must visit.
	SnapsAdded, SnapsGone []wire.SnapID
	// Clones and Bytes are by how much the number of clones, and of bytes
	// in heads and clones, changed.
	Clones, Bytes int64
	// UserChange says that the object's user version moves on (UserVersion):
	// false for a vector that changes watches alone.
	UserChange bool
	Effects    Effects

	copied *Copied     // COPY_FROM was the only change: the versions of its source are kept
	owned  []wire.Data // made here for Txn; released by Release
}

// UserVersion is the object's user version once the change has the PG's
// version: that, or more if the object had come further elsewhere before it
// was copied here; a copy's is its source's.
func (o *Outcome) UserVersion(version uint64) uint64 {
	switch {
	case !o.UserChange:
		return o.Object.Info.UserVersion
	case o.copied != nil:
		return o.copied.UserVersion
	}
	return max(version, o.Object.Info.UserVersion+1)
}

// Finish gives the change its version: it adds the object's records to the
// Txn. It is called once, before Txn is queued, and only if Changed. user is
// what UserVersion gave, 0 for changes that are not the client's (trimming,
// watches); then req and mtime don't count.
func (o *Outcome) Finish(version wire.EVersion, user uint64, req wire.ReqID, mtime wire.Time) {
	obj := &o.Object
	if !obj.Stored {
		return
	}
	obj.Info.Prior = obj.Info.Version
	obj.Info.Version = version
	if user != 0 && o.UserChange {
		obj.Info.UserVersion = o.UserVersion(user)
		obj.Info.LastReq = req
		if o.copied != nil {
			obj.Info.MTime = o.copied.MTime
		} else if mtime != 0 {
			obj.Info.MTime = mtime
		}
	}
	obj.Info.HasSnapSet = !obj.SnapSet.empty()
	kvs := make([]wire.KV, 1, 2)
	kvs[0] = wire.KV{Key: infoXattr, Value: obj.Info.Encode()}
	if obj.Info.HasSnapSet {
		kvs = append(kvs, wire.KV{Key: snapSetXattr, Value: obj.SnapSet.Encode()})
	}
	o.Txn.SetXattrs(obj.id(wire.NoSnap), kvs...)
}

// Release gives back the memory made for the Txn, once it was queued and
// sent, or dropped. Results are not touched.
func (o *Outcome) Release() {
	for _, d := range o.owned {
		d.Release()
	}
	o.owned = nil
}

// dropResults gives back the Data of results that nobody will see.
func (o *Outcome) dropResults() {
	for i := range o.Results {
		o.Results[i].Data.Release()
		o.Results[i] = wire.OpResult{Rval: o.Results[i].Rval}
	}
}

// vector is a Run under way.
type vector struct {
	view View
	req  *Request
	was  *Object // before the vector
	*Outcome

	write bool // the vector may change the object
	index int  // of the operation that runs
	steps int  // operations begun, those of class methods included

	// What reads see: the committed head, or the clone that Snap shows.
	src       store.ObjectID
	srcStored bool // it is there, if only as a whiteout

	live     bool          // whether the object exists as of the operations so far
	modified bool          // data, xattrs or omap changed, or whether it exists
	snaps    []wire.SnapID // of the effective snap context
	seq      wire.SnapID
}

// Run executes the vector of req on was. results, if it has room, is the
// memory for Outcome.Results. The error of a vector is in Result; an
// unreadable store shows there as EIO.
func Run(view View, was *Object, req *Request, results []wire.OpResult) *Outcome {
	v := &vector{view: view, req: req, was: was, Outcome: &Outcome{Object: *was}}
	if cap(results) < len(req.Ops) {
		results = make([]wire.OpResult, len(req.Ops))
	}
	v.Results = results[:len(req.Ops)]
	if v.write = Writes(req.Ops); v.write {
		// The usual write is one step, the object's records and a log row.
		v.Txn.Ops = make([]store.Op, 0, len(req.Ops)+3)
	}
	v.live = was.Live()
	if e := v.prepare(); e != 0 {
		v.Result = -int32(e) // of no operation: none has begun
		return v.Outcome
	}
	v.ops()
	if v.Result >= 0 {
		v.finish()
	}
	if v.Result < 0 {
		v.Changed, v.UserChange, v.copied = false, false, nil
		v.Object = *was
		v.Txn.Reset()
		v.SnapsAdded, v.SnapsGone, v.Clones, v.Bytes = nil, nil, 0, 0
		v.Effects = Effects{}
	}
	return v.Outcome
}

// prepare finds what the vector reads and the snap context it writes under.
func (v *vector) prepare() wire.Errno {
	v.src, v.srcStored = v.was.id(wire.NoSnap), v.was.Stored
	if v.write {
		return v.prepareSnapContext()
	}
	if v.req.Snap == wire.SnapDir {
		if !v.was.Stored {
			return wire.ENOENT
		}
		return 0
	}
	snap := v.req.Snap
	if snap == 0 {
		snap = wire.NoSnap
	}
	at, ok := v.was.resolve(snap)
	if !ok {
		return wire.ENOENT
	}
	if at != wire.NoSnap {
		v.src, v.srcStored, v.live = v.was.id(at), true, true
		raw, err := v.view.Xattr(v.src, infoXattr)
		if err == nil {
			v.Object.Info, err = DecodeInfo(raw)
		}
		if err != nil {
			return wire.EIO
		}
	}
	return 0
}

func (v *vector) prepareSnapContext() wire.Errno {
	set := &v.was.SnapSet
	v.seq, v.snaps = v.req.SnapC.Seq, v.req.SnapC.Snaps
	if v.seq < set.Seq {
		if v.req.Flags&wire.FlagOrderSnap != 0 {
			return wire.EOLDSNAPC
		}
		v.seq, v.snaps = set.Seq, nil
	}
	return 0
}

// ops runs the operations in their order and sets Result: the first error
// that counts, or what the last operation left that sets one.
func (v *vector) ops() {
	for i := range v.req.Ops {
		op, res := &v.req.Ops[i], &v.Results[i]
		v.index = i
		rval := v.run(op, res)
		switch {
		case rval < 0 && op.Flags&wire.OpFailOK != 0:
			v.Result = 0
		case rval < 0:
			v.Result = rval
			return
		case !silent(op.Code):
			v.Result = rval
		}
	}
}

// silent reports whether an operation that passes leaves the vector's result
// as it was: so do Ceph's.
func silent(c wire.OpCode) bool {
	switch c {
	case wire.OpStat, wire.OpOmapGetKeys, wire.OpOmapGetVals, wire.OpOmapGetHeader, wire.OpOmapGetValsByKeys:
		return true
	}
	return false
}

// run runs one operation of the vector or of a class method, and gives its
// value.
func (v *vector) run(op *wire.Op, res *wire.OpResult) int32 {
	v.steps++
	before := len(v.Txn.Ops)
	rval, e := v.do(op, res)
	if op.Flags&wire.OpWillNeed != 0 {
		for i := before; i < len(v.Txn.Ops); i++ {
			v.Txn.Ops[i].Cached = true
		}
	}
	if e != 0 {
		rval = -int32(e)
	}
	res.Rval = rval
	return rval
}

// finish completes a vector whose operations all passed.
func (v *vector) finish() {
	if !v.Changed {
		return
	}
	v.settle()
	if v.req.Flags&wire.FlagReturnVec == 0 {
		v.Result = 0
		v.dropResults()
		return
	}
	for i := range v.Results {
		if replySize(&v.req.Ops[i], &v.Results[i]) > MaxReplyVec {
			v.Result = -int32(wire.EOVERFLOW)
			v.Results[i].Data.Release()
			v.Results[i] = wire.OpResult{Rval: v.Result}
		}
	}
}

// replySize is the length of an operation's answer as Ceph encodes it, near
// enough for a limit.
func replySize(op *wire.Op, r *wire.OpResult) int {
	n := r.Data.Len() + len(r.Value)
	for _, kv := range r.KVs {
		n += 8 + len(kv.Key) + len(kv.Value)
	}
	for _, k := range r.Keys {
		n += 4 + len(k)
	}
	if op.Code == wire.OpStat && r.Rval == 0 {
		n += 16
	}
	return n
}

// do runs one operation. The first value counts when the errno is 0.
func (v *vector) do(op *wire.Op, res *wire.OpResult) (int32, wire.Errno) {
	switch op.Code {
	case wire.OpInvalid:
		return 0, wire.EINVAL
	case wire.OpCall:
		return v.call(op, res), 0
	case wire.OpWatch:
		return 0, v.watch(op)
	case wire.OpListWatchers:
		return 0, v.listWatchers(res)
	case wire.OpNotify, wire.OpNotifyAck:
		return 0, v.notify(op)
	case wire.OpRead, wire.OpSyncRead:
		return 0, v.read(op, res)
	case wire.OpStat:
		return 0, v.stat(res)
	case wire.OpSparseRead:
		return 0, v.sparseRead(op, res)
	case wire.OpChecksum:
		return 0, v.checksum(op, res)
	case wire.OpCmpExt:
		return v.cmpExt(op)
	case wire.OpAssertVer:
		return 0, v.assertVer(op)
	case wire.OpListSnaps:
		return 0, v.listSnaps(res)
	case wire.OpGetXattr:
		return 0, v.getXattr(op, res)
	case wire.OpGetXattrs:
		return 0, v.getXattrs(res)
	case wire.OpCmpXattr:
		return v.cmpXattr(op)
	case wire.OpOmapGetKeys, wire.OpOmapGetVals:
		return 0, v.omapList(op, res)
	case wire.OpOmapGetHeader:
		return 0, v.omapHeader(res)
	case wire.OpOmapGetValsByKeys:
		return 0, v.omapByKeys(op, res)
	case wire.OpOmapCmp:
		return 0, v.omapCmp(op)
	}
	if !v.write {
		return 0, wire.EOPNOTSUPP
	}
	return 0, v.change(op)
}

// change runs one operation that changes the object.
func (v *vector) change(op *wire.Op) wire.Errno {
	switch op.Code {
	case wire.OpWrite:
		return v.writeOp(op)
	case wire.OpAppend:
		return v.writeAt(v.Object.Info.Size, op.Data)
	case wire.OpWriteFull:
		return v.writeFull(op.Data)
	case wire.OpWriteSame:
		return v.writeSame(op)
	case wire.OpTruncate, wire.OpTrimTrunc:
		return v.truncateOp(op)
	case wire.OpZero:
		return v.zero(op.Off, op.Len)
	case wire.OpCreate:
		return v.create(op)
	case wire.OpDelete:
		return v.remove()
	case wire.OpRollback:
		return v.rollback(wire.SnapID(op.Num))
	case wire.OpCopyFrom, wire.OpCopyFrom2:
		return v.copyFrom(op)
	case wire.OpSetAllocHint:
		v.touch()
		return 0
	case wire.OpUndirty:
		if !v.live {
			return wire.ENOENT
		}
		return 0 // there is no cache above to be dirty in
	case wire.OpSetXattr:
		return v.setXattr(op)
	case wire.OpRmXattr:
		return v.removeXattr(op)
	case wire.OpOmapSetVals, wire.OpOmapSetHeader, wire.OpOmapClear, wire.OpOmapRmKeys, wire.OpOmapRmKeyRange:
		return v.changeOmap(op)
	}
	return wire.EOPNOTSUPP
}

// kind is the errno of a store's error: anything but what the operation can
// explain is EIO.
func kind(err error, explained ...wire.Errno) wire.Errno {
	if err == nil {
		return 0
	}
	got := wire.ErrnoOf(err)
	for _, e := range explained {
		if got == e {
			return e
		}
	}
	return wire.EIO
}
