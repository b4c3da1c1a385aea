package mds

import (
	"context"

	"github.com/spirula/spirula/rados/wire"
)

// Writer takes content in order. Exactly one of Publish, PutPart (with it)
// and Abort ends it.
type Writer interface {
	// Write appends d, taking references of its own. It blocks while too
	// much is in flight.
	Write(ctx context.Context, d wire.Data) error
	// Publish makes the content the object key.
	Publish(ctx context.Context, key string, p Publish) (*Object, error)
	// Abort drops the content. After Publish or PutPart it does nothing.
	Abort()
}

// Reader is a pinned object.
type Reader interface {
	Object() *Object
	// ReadAt gives up to n bytes from off; fewer only at the end. The Data
	// belongs to the caller.
	ReadAt(ctx context.Context, off uint64, n int) (wire.Data, error)
	Close()
}
