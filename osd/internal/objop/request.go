package objop

import (
	"github.com/spirula/spirula/osd/internal/cls"
	"github.com/spirula/spirula/rados/wire"
)

// Limits of requests and objects; Ceph's defaults.
const (
	MaxObjectName = 2048      // bytes; of a locator key too
	MaxNamespace  = 256       // bytes
	MaxObjectSize = 128 << 20 // bytes
	MaxWriteSize  = 90 << 20  // bytes of input of one vector that writes
	MaxXattrName  = 100       // bytes
	MaxXattrValue = 64 << 10  // bytes
	MaxOmapList   = 1024      // entries in one answer
	MaxReplyVec   = 64        // bytes each operation of a write vector may answer under FlagReturnVec
	MaxOps        = 20000     // operations of a vector
	MaxWatches    = 512       // watches of an object; more are ENOMEM
)

// flagParallelExec asks for what no OSD does.
const flagParallelExec wire.OSDFlag = 0x200

const e2big = wire.Errno(7) // a value over its limit

// Request is one vector and what came with it.
type Request struct {
	Ops   []wire.Op
	Snap  wire.SnapID // reads: which state
	SnapC wire.SnapContext
	Flags wire.OSDFlag
	MTime wire.Time
	ReqID wire.ReqID
	Asker Asker // whose watches WATCH means, and who calls a class
	// Now is the time by the OSD's clock, for what expires (locks). 0 stands
	// for MTime.
	Now wire.Time
	// Copies has, at the index of each COPY_FROM and COPY_FROM2, what it is
	// to copy; nil if there is no such operation.
	Copies []*Copied
}

// writes reports whether one operation may change its object. An operation
// whose input is malformed counts as what it was meant to be; a ping is a
// read; a call is what the method is declared as.
func writes(op *wire.Op) bool {
	switch op.Code {
	case wire.OpInvalid:
		return wire.OpCode(op.Num).Writes()
	case wire.OpWatch:
		return op.Watch != wire.WatchPing
	case wire.OpCall:
		m := cls.Lookup(op.Name, op.Name2)
		return m != nil && m.Writes
	}
	return op.Code.Writes()
}

// Writes reports whether the vector may change its object: whether it needs
// exclusion, a version and a transaction.
func Writes(ops []wire.Op) bool {
	for i := range ops {
		if writes(&ops[i]) {
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
			if writes(&ops[i]) {
				return false
			}
		}
	}
	return true
}

// Check refuses a vector that is wrong whatever the object holds. It reads
// nothing but the request.
func Check(head wire.HObject, req *Request) wire.Errno {
	switch {
	case len(head.Name) > MaxObjectName || len(head.Key) > MaxObjectName || len(head.Namespace) > MaxNamespace:
		return wire.ENAMETOOLONG
	case len(req.Ops) > MaxOps, req.Flags&flagParallelExec != 0:
		return wire.EINVAL
	}
	total, write := 0, false
	for i := range req.Ops {
		op := &req.Ops[i]
		if op.Code == wire.OpCall && cls.Lookup(op.Name, op.Name2) == nil {
			return wire.EOPNOTSUPP
		}
		write = write || writes(op)
		total += inputSize(op)
	}
	switch {
	case !write:
		return 0
	case req.Snap != wire.NoSnap && req.Snap != 0:
		return wire.EINVAL
	case !req.SnapC.Valid() || req.SnapC.Seq > wire.MaxSnap:
		return wire.EINVAL
	case total > MaxWriteSize:
		return wire.EMSGSIZE
	}
	return 0
}

// inputSize is the length of an operation's input as it came over the wire,
// near enough for a limit.
func inputSize(op *wire.Op) int {
	n := op.Data.Len() + len(op.Value)
	for i := range op.KVs {
		n += 8 + len(op.KVs[i].Key) + len(op.KVs[i].Value)
	}
	return n
}
