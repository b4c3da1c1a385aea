package radostest

import (
	"github.com/spirula/spirula/rados"
	"github.com/spirula/spirula/rados/wire"
)

// Limits, as Ceph has them by default.
const (
	maxName       = 2048      // bytes of an object's name
	maxXattrName  = 100       // bytes
	maxWrite      = 90 << 20  // bytes of data in one vector
	maxObject     = 128 << 20 // bytes of an object
	maxOmapRead   = 1024      // entries per operation
	maxReturnVec  = 64        // bytes per operation of a RETURNVEC vector
	cmpExtBase    = 4095      // CMPEXT answers -(4095 + offset)
	maxListObject = 1024      // entries of one PGNLS
)

// vector is one operation vector being run.
type vector struct {
	pool *Pool
	op   *rados.Op
	obj  *object  // as stored; nil when the name is unknown
	old  *content // what reads see: the state before the vector
	cur  *content // the state with the vector's changes; nil when absent

	writes   bool // it has a writing operation: cur is a copy of its own
	modified bool // something changed
	dirty    []wire.Extent
	matched  bool // a CMPXATTR passed
}

// run executes op and returns its reply; effects happen all or not at all.
func (p *Pool) run(op *rados.Op) *rados.Reply {
	reply := &rados.Reply{Object: op.Object, Flags: op.Flags, Results: make([]wire.OpResult, len(op.Ops))}
	v := vector{pool: p, op: op, obj: p.objects[keyOf(op)]}
	var data int
	for i := range op.Ops {
		v.writes = v.writes || op.Ops[i].Code.Writes()
		data += op.Ops[i].Data.Len()
	}
	if e := v.check(data); e != 0 {
		reply.Result = -int32(e)
		return reply
	}
	if v.writes {
		v.old = v.obj.at(wire.NoSnap)
		v.cur = v.old.copy()
	} else {
		v.old = v.obj.at(op.Snap)
		v.cur = v.old
		if v.old == nil && len(op.Ops) > 0 && op.Ops[0].Code != wire.OpListSnaps && op.Ops[0].Code != wire.OpPGNLS {
			// A vector that only reads is not even started.
			reply.Result, reply.Results[0].Rval = errENOENT, errENOENT
			return v.finish(reply)
		}
	}
	for i := range op.Ops {
		r := &reply.Results[i]
		r.Rval = v.exec(&op.Ops[i], r)
		if r.Rval < 0 && op.Ops[i].Flags&wire.OpFailOK == 0 {
			reply.Result = r.Rval
			return v.finish(reply)
		}
		if r.Rval > 0 {
			reply.Result = r.Rval
		} else if v.writes {
			reply.Result = 0
		}
	}
	if !v.writes && v.matched {
		reply.Result = 1
	}
	if v.writes {
		if e := v.returns(reply); e != 0 {
			reply.Result = -int32(e)
			return v.finish(reply)
		}
		if v.modified {
			v.commit()
		}
	}
	return v.finish(reply)
}

// check refuses what no operation needs to look at.
func (v *vector) check(data int) wire.Errno {
	switch {
	case len(v.op.Object) > maxName:
		return wire.ENAMETOOLONG
	case data > maxWrite:
		return wire.EMSGSIZE
	case v.writes && (v.op.Snap != 0 && v.op.Snap != wire.NoSnap || !v.op.SnapC.Valid()):
		return wire.EINVAL
	case v.writes && v.op.Flags&wire.FlagOrderSnap != 0 && v.obj != nil && v.op.SnapC.Seq < v.obj.seq:
		return wire.EOLDSNAPC
	}
	return 0
}

// returns applies the RETURNVEC rules to the outputs of a writing vector
// that succeeded.
func (v *vector) returns(reply *rados.Reply) wire.Errno {
	for i := range reply.Results {
		r := &reply.Results[i]
		if v.op.Flags&wire.FlagReturnVec == 0 {
			r.Data.Release()
			*r = wire.OpResult{Rval: r.Rval}
			continue
		}
		n := r.Data.Len() + len(r.Value)
		for _, kv := range r.KVs {
			n += len(kv.Key) + len(kv.Value) + 8
		}
		for _, k := range r.Keys {
			n += len(k) + 4
		}
		if n > maxReturnVec {
			return wire.EOVERFLOW
		}
	}
	return 0
}

// commit makes the vector's changes the object's head.
func (v *vector) commit() {
	o := v.obj
	if o == nil {
		o = &object{}
		v.obj = o
		v.pool.objects[keyOf(v.op)] = o
	}
	for _, s := range v.op.SnapC.Snaps {
		if s > o.seq && v.pool.removed[s] && v.old != nil {
			v.pool.lateSnaps++
		}
	}
	o.makeClone(v.old, v.op.SnapC)
	if n := len(o.clones); n > 0 {
		c := &o.clones[n-1]
		for _, e := range v.dirty {
			c.overlap = subtract(c.overlap, e.Off, e.Len)
		}
	}
	o.seq = max(o.seq, v.op.SnapC.Seq)
	o.head = v.cur
	v.pool.version++
	o.version = v.pool.version
	if o.head != nil {
		o.head.mtime = v.op.MTime
		if v.op.MTime == 0 {
			o.head.mtime = v.pool.now()
		}
	} else if len(o.clones) == 0 {
		delete(v.pool.objects, keyOf(v.op))
	}
}

// finish fills in the versions.
func (v *vector) finish(reply *rados.Reply) *rados.Reply {
	if v.obj != nil {
		reply.UserVersion = v.obj.version
	} else {
		reply.UserVersion = v.pool.version
	}
	if v.writes && reply.Result >= 0 {
		reply.Version = wire.EVersion{Epoch: 1, Version: v.pool.version}
	}
	return reply
}

// create makes the object if the vector's state has none.
func (v *vector) create() *content {
	if v.cur == nil {
		v.cur = newContent()
	}
	v.modified = true
	return v.cur
}

// touch notes that a range of data changes.
func (v *vector) touch(off, n uint64) {
	if n > 0 {
		v.dirty = append(v.dirty, wire.Extent{Off: off, Len: n})
	}
}
