package osd

import (
	"github.com/spirula/spirula/osd/internal/objop"
	"github.com/spirula/spirula/osd/store"
	"github.com/spirula/spirula/rados/wire"
)

// ObjectStore is what the daemon needs of its store; *store.Store is one. The
// methods are described in package store.
type ObjectStore interface {
	objop.View
	NewSequencer() *store.Sequencer
	Queue(seq *store.Sequencer, t *store.Txn, done func(error)) error
	MetaGet(pg wire.SPGID, key string) ([]byte, error)
	MetaList(pg wire.SPGID, first, end string, max int) ([]wire.KV, bool, error)
	List(shard int8, first, end wire.HObject, max int) ([]store.ObjectID, bool, error)
	Statfs() store.Statfs
}
