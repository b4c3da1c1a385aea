package store

import (
	"github.com/spirula/spirula/rados/wire"
)

// ObjectID is an object as the store knows it: which PG shard's pool, the
// hobject, and a generation (NoGen for all but erasure-coded rollback).
// Objects with Temp lie beside their pool and are never listed with it.
type ObjectID struct {
	wire.HObject
	Shard int8
	Gen   uint64
}

// NoGen is the generation of an object that isn't kept for a rollback.
const NoGen uint64 = 1<<64 - 1

// OpKind is the kind of one step of a transaction.
type OpKind uint8

// The steps. Each works on the state that the steps before it left.
const (
	// OpTouch makes the object if it isn't there.
	OpTouch OpKind = 1 + iota
	// OpWrite writes Data at Off; makes the object; a hole before Off reads
	// as zeros.
	OpWrite
	// OpZero makes [Off, Off+Len) read as zeros; doesn't change the size.
	OpZero
	// OpTruncate sets the size to Off.
	OpTruncate
	// OpRemove removes the object with all it has. No error if absent.
	OpRemove
	// OpClone makes Dst a copy of Object: data (shared), xattrs, omap.
	// What Dst was is gone. ENOENT if Object is absent.
	OpClone
	// OpSetXattrs sets KVs; makes the object.
	OpSetXattrs
	// OpRmXattr removes Name. No error if absent.
	OpRmXattr
	// OpOmapSet sets KVs; makes the object.
	OpOmapSet
	// OpOmapRm removes Keys.
	OpOmapRm
	// OpOmapRmRange removes keys k with Name <= k < Name2.
	OpOmapRmRange
	// OpOmapClear removes all keys and the header.
	OpOmapClear
	// OpOmapHeader sets the header to Value; makes the object.
	OpOmapHeader
	// OpMetaSet sets KVs among the PG's own rows (log entries, info), see
	// Txn.PG. Keys are the caller's; they sort bytewise.
	OpMetaSet
	// OpMetaRm removes Keys of the PG's own rows.
	OpMetaRm
	// OpMetaRmRange removes PG rows with Name <= k < Name2.
	OpMetaRmRange
)

// Op is one step of a transaction. Which fields count is said at its kind.
type Op struct {
	Kind   OpKind
	Object ObjectID
	Dst    ObjectID // OpClone
	PG     wire.SPGID
	Off    uint64
	Len    uint64
	Data   wire.Data
	Name   string
	Name2  string
	Value  []byte
	KVs    []wire.KV
	Keys   []string
	// Cached is a hint on OpWrite: the data will be read soon, so they are
	// worth a place in the page cache. Not told to replicas.
	Cached bool
}

// Txn is a list of steps that happen all or not at all. It is logical: it
// says nothing of blocks, so it can be sent to a replica, replayed on another
// kind of store, or compared with a model. The zero Txn is empty.
//
// The Txn keeps the Data it is given without a reference of its own; Queue
// takes one for as long as the store needs it. Slices (KVs, Keys, Value) must
// not change until the transaction's done was called.
type Txn struct {
	Ops []Op
}

// Touch makes o if it isn't there.
func (t *Txn) Touch(o ObjectID) { t.Ops = append(t.Ops, Op{Kind: OpTouch, Object: o}) }

// Write writes d at off.
func (t *Txn) Write(o ObjectID, off uint64, d wire.Data) {
	t.Ops = append(t.Ops, Op{Kind: OpWrite, Object: o, Off: off, Len: uint64(d.Len()), Data: d})
}

// Zero makes a range read as zeros.
func (t *Txn) Zero(o ObjectID, off, n uint64) {
	t.Ops = append(t.Ops, Op{Kind: OpZero, Object: o, Off: off, Len: n})
}

// Truncate sets the size.
func (t *Txn) Truncate(o ObjectID, size uint64) {
	t.Ops = append(t.Ops, Op{Kind: OpTruncate, Object: o, Off: size})
}

// Remove removes o.
func (t *Txn) Remove(o ObjectID) { t.Ops = append(t.Ops, Op{Kind: OpRemove, Object: o}) }

// Clone makes dst a copy of src that shares its extents.
func (t *Txn) Clone(src, dst ObjectID) {
	t.Ops = append(t.Ops, Op{Kind: OpClone, Object: src, Dst: dst})
}

// SetXattrs sets xattrs of o.
func (t *Txn) SetXattrs(o ObjectID, kvs ...wire.KV) {
	t.Ops = append(t.Ops, Op{Kind: OpSetXattrs, Object: o, KVs: kvs})
}

// RmXattr removes an xattr of o.
func (t *Txn) RmXattr(o ObjectID, name string) {
	t.Ops = append(t.Ops, Op{Kind: OpRmXattr, Object: o, Name: name})
}

// OmapSet sets omap entries of o.
func (t *Txn) OmapSet(o ObjectID, kvs []wire.KV) {
	t.Ops = append(t.Ops, Op{Kind: OpOmapSet, Object: o, KVs: kvs})
}

// OmapRm removes omap entries of o.
func (t *Txn) OmapRm(o ObjectID, keys []string) {
	t.Ops = append(t.Ops, Op{Kind: OpOmapRm, Object: o, Keys: keys})
}

// OmapRmRange removes the omap entries of o from first to before end.
func (t *Txn) OmapRmRange(o ObjectID, first, end string) {
	t.Ops = append(t.Ops, Op{Kind: OpOmapRmRange, Object: o, Name: first, Name2: end})
}

// OmapClear removes the whole omap of o and its header.
func (t *Txn) OmapClear(o ObjectID) { t.Ops = append(t.Ops, Op{Kind: OpOmapClear, Object: o}) }

// OmapHeader sets the omap header of o.
func (t *Txn) OmapHeader(o ObjectID, v []byte) {
	t.Ops = append(t.Ops, Op{Kind: OpOmapHeader, Object: o, Value: v})
}

// MetaSet sets rows of a PG's own: its log and info. They live in the same
// transaction as the objects they speak of.
func (t *Txn) MetaSet(pg wire.SPGID, kvs ...wire.KV) {
	t.Ops = append(t.Ops, Op{Kind: OpMetaSet, PG: pg, KVs: kvs})
}

// MetaRm removes rows of a PG's own.
func (t *Txn) MetaRm(pg wire.SPGID, keys ...string) {
	t.Ops = append(t.Ops, Op{Kind: OpMetaRm, PG: pg, Keys: keys})
}

// MetaRmRange removes a PG's own rows from first to before end.
func (t *Txn) MetaRmRange(pg wire.SPGID, first, end string) {
	t.Ops = append(t.Ops, Op{Kind: OpMetaRmRange, PG: pg, Name: first, Name2: end})
}

// Append adds u's steps after t's.
func (t *Txn) Append(u *Txn) { t.Ops = append(t.Ops, u.Ops...) }

// Reset empties t and keeps its memory.
func (t *Txn) Reset() { clear(t.Ops); t.Ops = t.Ops[:0] }

// Stat is what the store knows of an object.
type Stat struct {
	Size uint64 // bytes
	// HasOmap is false only if there is no omap entry and no header; it may
	// stay true when all were removed one by one.
	HasOmap bool
}

// Statfs is the store's size and use, in bytes.
type Statfs struct {
	Total, Free   int64 // Free: what a write may still take
	Data          int64 // allocated to data
	Objects       int64
	Full          bool // writes that need space are refused
	KVBytes, Wal  int64
	DeferredBytes int64
}
