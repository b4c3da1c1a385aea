// Package store keeps the objects of one OSD on one disk.
//
// The methods of Store, as the OSD and a test's model have them:
//
//	Open(disk.Disk, Options) (*Store, error)
//	Mkfs(disk.Disk, Options) error
//	(*Store) NewSequencer() *Sequencer
//	(*Store) Queue(seq *Sequencer, t *Txn, done func(error)) error
//	(*Store) Read(o ObjectID, off, n uint64) (wire.Data, error)
//	(*Store) Pin(o ObjectID, off, n uint64) (*Pinned, error); (*Pinned) Read(); (*Pinned) Close()
//	(*Store) Stat(o ObjectID) (Stat, error)
//	(*Store) Xattr(o ObjectID, name string) ([]byte, error); Xattrs(o) ([]wire.KV, error)
//	(*Store) OmapHeader(o) ([]byte, error)
//	(*Store) OmapGet(o, keys []string) ([]wire.KV, error)
//	(*Store) OmapList(o, after string, prefix string, max int, withValues bool) (kvs []wire.KV, more bool, err error)
//	(*Store) MetaGet(pg, key) ([]byte, error); MetaList(pg, first, end string, max int) ([]wire.KV, more bool, error)
//	(*Store) List(shard int8, first, end wire.HObject, max int) ([]ObjectID, more bool, error)
//	(*Store) Extents(o) ([]wire.Extent, error)
//	(*Store) Statfs() Statfs; Fsck(...); Close()
//
// Queue's error means that nothing happened (ENOSPC, EFBIG, ENOENT of a
// clone's source, EIO of a block to be filled). After Queue returned nil the
// change is visible to reads at once, and done is called when it is durable;
// done's error is fatal to the daemon.
package store
