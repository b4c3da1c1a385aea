package rados

import (
	"context"

	"github.com/spirula/spirula/rados/wire"
)

// Op is one operation vector on one object: all of its operations happen, or
// none, in one step. Fill it, give it to IOCtx.Do or IOCtx.Start, and make a
// new one for the next operation: the vector, and the bytes that its fields
// point at, have become a message, which nobody may change, not even when it
// was answered. Do and Start take references of their own to Data, so the
// caller may release its own as soon as they return.
type Op struct {
	Object    string
	Key       string // locator key: placed by this instead of the name
	Namespace string
	Ops       []wire.Op
	Snap      wire.SnapID      // reads: 0 and wire.NoSnap both mean the head
	SnapC     wire.SnapContext // writes
	Flags     wire.OSDFlag     // only such as RETURNVEC, ORDERSNAP, FULL_TRY
	MTime     wire.Time        // writes: 0 means now
}

// Reply is the answer to an Op. Its Data belong to the receiver, who calls
// Release once; a Reply of nothing but errors and small values may be left
// to the garbage collector.
type Reply = wire.MOSDOpReply

// Doer is the part of IOCtx that most users need. It exists here so that an
// in-memory twin (radostest.Pool) can stand in for a cluster in tests.
//
// The error of both is nil exactly when Result >= 0; otherwise its kind
// (wire.ErrnoOf) is -Result, and the Reply, when the OSD answered at all, is
// returned beside it, for the per-operation results.
type Doer interface {
	// Do runs op and waits for the answer. A write's answer means it is on
	// stable storage on every acting OSD. When ctx ends first the error is
	// ctx's; a write may then still happen.
	Do(ctx context.Context, op *Op) (*Reply, error)
	// Start sends op and returns; Call.Wait gives the answer. ctx bounds
	// the wait for room among the operations in flight, nothing more.
	// Operations on the same object started from one goroutine run in the
	// order of the Starts.
	Start(ctx context.Context, op *Op) *Call
}
