package objop

import (
	"github.com/spirula/spirula/osd/store"
	"github.com/spirula/spirula/rados/wire"
)

// Limits of requests and objects; Ceph's defaults.
const (
	MaxObjectName = 2048      // bytes
	MaxNamespace  = 256       // bytes
	MaxObjectSize = 128 << 20 // bytes
	MaxWriteSize  = 90 << 20  // bytes of data in one vector
	MaxXattrName  = 100       // bytes
	MaxXattrValue = 64 << 10  // bytes
	MaxOmapList   = 1024      // entries in one answer
	MaxReplyVec   = 64        // bytes each operation of a write vector may answer under FlagReturnVec
	MaxOps        = 20000     // operations of a vector
)

const e2big = wire.Errno(7) // a value over its limit

// Request is one vector and what came with it.
type Request struct {
	Ops   []wire.Op
	Snap  wire.SnapID // reads: which state
	SnapC wire.SnapContext
	Flags wire.OSDFlag
	MTime wire.Time
	ReqID wire.ReqID
	Asker Asker // whose watches WATCH means
	// Copies has, at the index of each COPY_FROM and COPY_FROM2, what it is
	// to copy; nil if there is no such operation.
	Copies []*Copied
}

// Writes reports whether the vector may change its object: whether it needs
// exclusion, a version and a transaction.
func Writes(ops []wire.Op) bool {
	for i := range ops {
		if ops[i].Code.Writes() {
			return true
		}
	}
	return false
}

// Frees reports whether a vector needs no space that it does not give back:
// such run on a full OSD too.
func Frees(ops []wire.Op) bool {
	for i := range ops {
		switch ops[i].Code {
		case wire.OpDelete, wire.OpTruncate, wire.OpZero, wire.OpOmapClear, wire.OpOmapRmKeys,
			wire.OpOmapRmKeyRange, wire.OpRmXattr:
		default:
			if ops[i].Code.Writes() {
				return false
			}
		}
	}
	return true
}

// Check refuses a vector that is wrong whatever the object holds. It reads
// nothing but the request.
func Check(name, namespace string, req *Request) wire.Errno {
	switch {
	case len(name) > MaxObjectName || len(namespace) > MaxNamespace:
		return wire.ENAMETOOLONG
	case len(req.Ops) > MaxOps:
		return wire.EINVAL
	case !Writes(req.Ops):
		return 0
	case req.Snap != wire.NoSnap && req.Snap != 0:
		return wire.EINVAL
	case !req.SnapC.Valid() || req.SnapC.Seq > wire.MaxSnap:
		return wire.EINVAL
	}
	total := 0
	for i := range req.Ops {
		if op := &req.Ops[i]; op.Code.Writes() {
			total += op.Data.Len()
		}
	}
	if total > MaxWriteSize {
		return wire.EMSGSIZE
	}
	return 0
}

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
	// UserChange says that the object's user version moves on: false for a
	// vector that changes watches alone.
	UserChange bool
	Effects    Effects

	owned []wire.Data // made here for Txn; released by Release
}

// Finish gives the change its version: it adds the object's records to the
// Txn. It is called once, before Txn is queued, and only if Changed.
func (o *Outcome) Finish(version wire.EVersion, user uint64, req wire.ReqID, mtime wire.Time) {
	obj := &o.Object
	if !obj.Stored {
		return
	}
	obj.Info.Prior = obj.Info.Version
	obj.Info.Version = version
	if user != 0 {
		obj.Info.UserVersion = user
		obj.Info.LastReq = req
		obj.Info.MTime = mtime
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

	// What reads see: the committed head, or the clone that Snap shows.
	src     store.ObjectID
	srcLive bool
	srcInfo Info

	live     bool          // whether the object exists as of the operations so far
	snaps    []wire.SnapID // of the effective snap context
	seq      wire.SnapID
	newXattr []string // set or removed earlier in this vector
	rmXattr  []string
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
		v.Result = -int32(e)
		if len(v.Results) > 0 {
			v.Results[0].Rval = v.Result
		}
		return v.Outcome
	}
	v.ops()
	if v.Result >= 0 {
		v.finish()
	}
	if v.Result < 0 {
		v.Changed = false
		v.Object = *was
		v.Txn.Reset()
		v.SnapsAdded, v.SnapsGone, v.Clones, v.Bytes = nil, nil, 0, 0
	}
	return v.Outcome
}

// prepare finds what the vector reads and the snap context it writes under.
func (v *vector) prepare() wire.Errno {
	v.src, v.srcLive, v.srcInfo = v.was.id(wire.NoSnap), v.live, v.was.Info
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
		v.src, v.srcLive, v.live = v.was.id(at), true, true
		raw, err := v.view.Xattr(v.src, infoXattr)
		if err == nil {
			v.srcInfo, err = DecodeInfo(raw)
		}
		if err != nil {
			return wire.EIO
		}
		v.Object.Info = v.srcInfo
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

// ops runs the operations in their order and sets Result.
func (v *vector) ops() {
	for i := range v.req.Ops {
		op, res := &v.req.Ops[i], &v.Results[i]
		rval, err := v.do(op, res)
		if err != 0 {
			rval = -int32(err)
		}
		res.Rval = rval
		switch {
		case rval < 0 && op.Flags&wire.OpFailOK != 0:
		case rval < 0:
			v.Result = rval
			return
		case rval > 0:
			v.Result = rval
		}
	}
}

// finish completes a vector whose operations all passed.
func (v *vector) finish() {
	if !v.Changed {
		return
	}
	v.UserChange = true
	v.settle()
	if v.req.Flags&wire.FlagReturnVec == 0 {
		v.Result = 0
		v.dropResults()
		return
	}
	for i := range v.Results {
		if replySize(&v.req.Ops[i], &v.Results[i]) > MaxReplyVec {
			v.Result = -int32(wire.EOVERFLOW)
			v.dropResults()
			return
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
		return v.writeAt(op.Off, op.Data)
	case wire.OpAppend:
		return v.writeAt(v.Object.Info.Size, op.Data)
	case wire.OpWriteFull:
		return v.writeFull(op.Data)
	case wire.OpWriteSame:
		return v.writeSame(op)
	case wire.OpTruncate:
		return v.truncate(op.Off)
	case wire.OpZero:
		return v.zero(op.Off, op.Len)
	case wire.OpCreate:
		return v.create(op)
	case wire.OpDelete:
		return v.remove()
	case wire.OpRollback:
		return v.rollback(wire.SnapID(op.Num))
	case wire.OpSetAllocHint:
		v.touch()
		return 0
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
