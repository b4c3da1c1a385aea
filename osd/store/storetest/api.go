package storetest

import (
	"github.com/spirula/spirula/osd/store"
	"github.com/spirula/spirula/rados/wire"
)

// Objects is what Run tests: the methods that store.Store and Model share.
type Objects interface {
	NewSequencer() *store.Sequencer
	Queue(seq *store.Sequencer, t *store.Txn, done func(error)) error
	Read(o store.ObjectID, off, n uint64) (wire.Data, error)
	Pin(o store.ObjectID, off, n uint64) (*store.Pinned, error)
	Stat(o store.ObjectID) (store.Stat, error)
	Xattr(o store.ObjectID, name string) ([]byte, error)
	Xattrs(o store.ObjectID) ([]wire.KV, error)
	OmapHeader(o store.ObjectID) ([]byte, error)
	OmapGet(o store.ObjectID, keys []string) ([]wire.KV, error)
	OmapList(o store.ObjectID, after, prefix string, max int, withValues bool) ([]wire.KV, bool, error)
	MetaGet(pg wire.SPGID, key string) ([]byte, error)
	MetaList(pg wire.SPGID, first, end string, max int) ([]wire.KV, bool, error)
	List(shard int8, first, end wire.HObject, max int) ([]store.ObjectID, bool, error)
	Extents(o store.ObjectID) ([]wire.Extent, error)
	Statfs() store.Statfs
	Fsck(store.FsckOptions) (store.FsckReport, error)
	Close() error
}

var (
	_ Objects = (*Model)(nil)
	_ Objects = (*store.Store)(nil)
)
