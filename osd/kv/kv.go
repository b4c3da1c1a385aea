package kv

import (
	"errors"
	"log/slog"
	"path"
	"sync"
	"sync/atomic"

	"github.com/syndtr/goleveldb/leveldb"
	"github.com/syndtr/goleveldb/leveldb/filter"
	"github.com/syndtr/goleveldb/leveldb/opt"
	"github.com/syndtr/goleveldb/leveldb/storage"
	"github.com/syndtr/goleveldb/leveldb/util"

	"github.com/spirula/spirula/osd/disk"
	"github.com/spirula/spirula/rados/wire"
)

// Options says how Open opens. The zero Options is an index with small caches.
type Options struct {
	// Journal keeps goleveldb's journal, so that ApplySync can be used.
	Journal bool
	// BlockCache is the memory for table blocks in bytes; 0 is 8 MiB.
	BlockCache int64
	// WriteBuffer is the size of the table in memory in bytes; 0 is 8 MiB.
	// There may be two at a time. Also the size of a table on disk.
	WriteBuffer int
	// OpenFiles is how many tables are kept open; 0 is 256.
	OpenFiles int
	// Ballast is how many bytes to hold back for a full disk.
	Ballast int64
	// Fatal is told, once, the error after which nothing can be written any
	// more, or the damage found. It is called from any goroutine and must
	// not call the DB. nil panics.
	Fatal func(error)
	// Log receives goleveldb's own log at debug level. nil drops it.
	Log *slog.Logger
}

func (o *Options) settle() {
	if o.BlockCache == 0 {
		o.BlockCache = 8 << 20
	}
	if o.WriteBuffer == 0 {
		o.WriteBuffer = 8 << 20
	}
	if o.OpenFiles == 0 {
		o.OpenFiles = 256
	}
	if o.Fatal == nil {
		o.Fatal = func(err error) { panic(err) }
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
}

// leveldb gives goleveldb's settings. Its compaction of level 0 may write up
// to 24 tables and level 1 at once, which the ballast has to cover.
func (o *Options) leveldb() *opt.Options {
	return &opt.Options{
		WriteBuffer:                  o.WriteBuffer,
		CompactionTableSize:          o.WriteBuffer,
		CompactionTotalSize:          8 * o.WriteBuffer,
		CompactionL0Trigger:          4,
		WriteL0SlowdownTrigger:       16,
		WriteL0PauseTrigger:          24,
		Compression:                  opt.NoCompression,
		Filter:                       filter.NewBloomFilter(10),
		BlockCacheCapacity:           int(o.BlockCache),
		BlockCacheEvictRemoved:       true,
		OpenFilesCacheCapacity:       o.OpenFiles,
		DisableSeeksCompaction:       true,
		Strict:                       opt.StrictAll,
		MaxManifestFileSize:          8 << 20,
		DisableLargeBatchTransaction: true, // it writes tables behind the tracker's back
		NoWriteMerge:                 true,
	}
}

// Metrics counts since Open.
type Metrics struct {
	Batches, BatchBytes atomic.Int64 // applied
	Gets, Iters         atomic.Int64
	Syncs               atomic.Int64 // of journal and manifest
	Flushes             atomic.Int64 // forced
	TableBytes          atomic.Int64 // written into tables
	ReadErrors          atomic.Int64 // of tables; repeated once each
}

// DB is an open key/value store. Get, Has and iterators may be used from
// several goroutines beside each other and beside writers.
type DB struct {
	ldb   *leveldb.DB
	files *files
	track *tracker
	m     Metrics

	turn    sync.Mutex // see the package comment: the order of writers
	scratch leveldb.Batch
	closed  atomic.Bool
	readers atomic.Int64  // reads and iterators under way
	idle    chan struct{} // told when readers comes to 0 after closed; holds one
}

// Open opens the store in directory dir of d ("." for the root), or makes one
// there. Errors: EIO for damage, EBUSY if it is open already, ENOSPC.
func Open(d disk.Disk, dir string, o Options) (*DB, error) {
	return open(d, dir, o, leveldb.Open)
}

// Recover opens a store whose manifest is lost or damaged: it takes every
// table it finds, as far as it can be read. Keys that were deleted or replaced
// may come back, and the prefix property is gone, so the content has to be
// checked by who knows it. Damaged tables are rewritten without the damage.
func Recover(d disk.Disk, dir string, o Options) (*DB, error) {
	return open(d, dir, o, func(s storage.Storage, lo *opt.Options) (*leveldb.DB, error) {
		lo.Strict &^= opt.StrictRecovery | opt.StrictJournal | opt.StrictJournalChecksum
		return leveldb.Recover(s, lo)
	})
}

func open(d disk.Disk, dir string, o Options, how func(storage.Storage, *opt.Options) (*leveldb.DB, error)) (*DB, error) {
	o.settle()
	if dir != "." {
		if err := d.Mkdir(dir); err != nil {
			return nil, wire.Wrap("kv.open", dir, err)
		}
		if err := d.SyncDir(path.Dir(dir)); err != nil {
			return nil, wire.Wrap("kv.open", dir, err)
		}
	}
	bal, err := openBallast(d, dir, o.Ballast)
	if err != nil {
		return nil, wire.Wrap("kv.open", dir, err)
	}
	db := &DB{idle: make(chan struct{}, 1), track: &tracker{after: map[int64]uint64{}}}
	db.files = &files{
		d: d, dir: dir, journal: o.Journal, log: o.Log, fatal: o.Fatal,
		ballast: bal, track: db.track, m: &db.m,
	}
	err = db.files.dropHalfMade()
	if err == nil {
		db.ldb, err = how(db.files, o.leveldb())
	}
	if err != nil {
		bal.close()
		return nil, wire.Wrap("kv.open", dir, err)
	}
	return db, nil
}

// Start says which batch the content found at open is that of: Durable begins
// there. Call it before the first Apply; without it Durable begins at 0.
func (db *DB) Start(seq uint64) { db.track.start(seq) }

// Durable is a sequence number up to which every batch survives a crash:
// without journal those in synced tables, with journal those up to the last
// ApplySync.
func (db *DB) Durable() uint64 {
	_, durable := db.track.points()
	return durable
}

// Applied is the sequence number of the last batch.
func (db *DB) Applied() uint64 {
	applied, _ := db.track.points()
	return applied
}

// Full says that the ballast isn't whole: the disk is full for all but
// deletes.
func (db *DB) Full() bool { return db.files.ballast.full.Load() }

// Metrics gives the counters; they go on counting.
func (db *DB) Metrics() *Metrics { return &db.m }

// Apply does the changes of b at once. seq numbers the batch for Durable and
// must not go down from call to call; the same number twice is allowed. One
// call may wait for compaction. Errors: ENOSPC (nothing is certain about the
// batch: apply the same one again), EMSGSIZE over MaxBatch, EINVAL for an
// empty key, ESHUTDOWN after Close; all else was reported as fatal.
func (db *DB) Apply(b *Batch, seq uint64) error { return db.apply(b, seq, false) }

// ApplySync is Apply that returns when the batch and all before it are on the
// disk. EINVAL in a DB without journal.
func (db *DB) ApplySync(b *Batch, seq uint64) error {
	if !db.files.journal {
		return wire.Errorf("kv.apply", "sync without a journal", wire.EINVAL)
	}
	return db.apply(b, seq, true)
}

func (db *DB) apply(b *Batch, seq uint64, sync bool) error {
	switch {
	case b.empty:
		return wire.Errorf("kv.apply", "empty key", wire.EINVAL)
	case b.size > MaxBatch:
		return wire.Errorf("kv.apply", "batch "+utoa(seq), wire.EMSGSIZE)
	}
	db.turn.Lock()
	defer db.turn.Unlock()
	if err := db.writable(); err != nil {
		return err
	}
	if db.files.journal {
		if err := db.files.admit(int64(b.size)); err != nil {
			return wire.Wrap("kv.apply", db.files.dir, err)
		}
	}
	db.track.apply(seq)
	changes := &b.b
	if sync && b.Len() == 0 {
		changes = db.nothing() // goleveldb wouldn't even sync for an empty one
	}
	if err := db.write(changes, sync); err != nil {
		return err
	}
	db.m.Batches.Add(1)
	db.m.BatchBytes.Add(int64(b.size))
	if sync {
		db.track.synced(seq)
	}
	return nil
}

// writable gives the reason why nothing can be written, if there is one.
func (db *DB) writable() error {
	if db.closed.Load() {
		return wire.Errorf("kv.apply", db.files.dir, wire.ESHUTDOWN)
	}
	return db.files.err()
}

// write hands a batch to goleveldb. db.turn is held.
func (db *DB) write(b *leveldb.Batch, sync bool) error {
	err := db.ldb.Write(b, &opt.WriteOptions{Sync: sync})
	if j := db.files.current; err == nil && j != nil && len(j.buf) > looseJournal {
		err = j.flush()
	}
	return db.writeError("kv.apply", err)
}

// writeError gives an error of goleveldb's write path its kind.
func (db *DB) writeError(op string, err error) error {
	switch {
	case err == nil:
		return nil
	case db.files.err() != nil:
		return db.files.err()
	case errors.Is(err, leveldb.ErrClosed):
		return wire.Errorf(op, db.files.dir, wire.ESHUTDOWN)
	case wire.ErrnoOf(err) == wire.ENOSPC:
		return wire.Wrap(op, db.files.dir, err)
	}
	return db.files.fail(err)
}

// readError gives an error of goleveldb's read path its kind, and reports
// damage.
func (db *DB) readError(op string, key []byte, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, leveldb.ErrNotFound):
		return wire.ENOENT
	case errors.Is(err, leveldb.ErrClosed):
		return wire.Errorf(op, db.files.dir, wire.ESHUTDOWN)
	case isCorrupt(err):
		return db.files.fail(wire.Wrap(op, string(key), err))
	}
	return wire.Wrap(op, string(key), err)
}

// enter begins a read. It is refused after Close: goleveldb's own Close can
// block for ever against a read.
func (db *DB) enter(op string) error {
	db.readers.Add(1)
	if db.closed.Load() {
		db.leave()
		return wire.Errorf(op, db.files.dir, wire.ESHUTDOWN)
	}
	return nil
}

// leave ends what enter allowed.
func (db *DB) leave() {
	if db.readers.Add(-1) == 0 && db.closed.Load() {
		select {
		case db.idle <- struct{}{}:
		default:
		}
	}
}

// Get appends the value of key to dst. When dst is nil the value has memory of
// its own. Errors: the bare ENOENT if the key is absent, EIO for damage.
func (db *DB) Get(key, dst []byte) ([]byte, error) {
	if err := db.enter("kv.get"); err != nil {
		return dst, err
	}
	defer db.leave()
	db.m.Gets.Add(1)
	v, err := db.ldb.Get(key, nil)
	if err != nil {
		return dst, db.readError("kv.get", key, err)
	}
	if dst == nil {
		return v, nil
	}
	return append(dst, v...), nil
}

// Has says whether key is there. Errors: EIO for damage.
func (db *DB) Has(key []byte) (bool, error) {
	if err := db.enter("kv.get"); err != nil {
		return false, err
	}
	defer db.leave()
	db.m.Gets.Add(1)
	ok, err := db.ldb.Has(key, nil)
	return ok, db.readError("kv.get", key, err)
}

// nothing is a batch that changes nothing visible: no key is empty. db.turn is
// held.
func (db *DB) nothing() *leveldb.Batch {
	db.scratch.Reset()
	db.scratch.Delete(nil)
	return &db.scratch
}

// flushTries is how often ForceFlush freezes the table in memory. Twice is
// enough: the first may find it just frozen and not wait for it.
const flushTries = 2

// ForceFlush makes all that was applied durable, by writing tables, and waits
// until Durable says so. Writers wait meanwhile. Errors as Apply's.
func (db *DB) ForceFlush() error {
	db.turn.Lock()
	defer db.turn.Unlock()
	if err := db.writable(); err != nil {
		return err
	}
	db.m.Flushes.Add(1)
	return db.flush()
}

// flush does ForceFlush's work. db.turn is held.
func (db *DB) flush() error {
	target, durable := db.track.points()
	for try := 0; durable < target; try++ {
		if try == flushTries {
			panic("kv: durable " + utoa(durable) + " after a flush of " + utoa(target))
		}
		// An empty table in memory would not be frozen, nor one that is
		// frozen already be waited for.
		if err := db.write(db.nothing(), false); err != nil {
			return err
		}
		tr, err := db.ldb.OpenTransaction()
		if err != nil {
			giveBackWriteLock(db.ldb)
			return db.writeError("kv.flush", err)
		}
		tr.Discard()
		if db.files.journal {
			db.track.synced(target)
		}
		_, durable = db.track.points()
	}
	return nil
}

// Compact merges all tables of a range, nil being no bound. It takes as long
// as rewriting them.
func (db *DB) Compact(first, end []byte) error {
	if err := db.enter("kv.compact"); err != nil {
		return err
	}
	defer db.leave()
	if err := db.writable(); err != nil {
		return err
	}
	return db.writeError("kv.compact", db.ldb.CompactRange(util.Range{Start: first, Limit: end}))
}

// Stats is the state of a DB.
type Stats struct {
	Bytes       int64   // of tables
	Tables      int     // number of tables
	Level0      int     // of these, in level 0: above 16 writes are slowed down, above 24 stopped
	LevelBytes  []int64 // by level
	CacheBytes  int     // of blocks in memory
	OpenFiles   int
	Iters       int // alive
	Delayed     int // writes that waited for compaction
	Paused      bool
	Ballast     int64 // held back now
	Full        bool
	Applied     uint64
	Durable     uint64
	Compactions int
}

// Stats looks at the state now. ESHUTDOWN after Close.
func (db *DB) Stats() (Stats, error) {
	if err := db.enter("kv.stats"); err != nil {
		return Stats{}, err
	}
	defer db.leave()
	var l leveldb.DBStats
	if err := db.ldb.Stats(&l); err != nil {
		return Stats{}, db.readError("kv.stats", nil, err)
	}
	s := Stats{
		CacheBytes: l.BlockCacheSize, OpenFiles: l.OpenedTablesCount, Iters: int(l.AliveIterators),
		Delayed: int(l.WriteDelayCount), Paused: l.WritePaused, Ballast: db.files.ballast.bytes(),
		Full: db.Full(), Compactions: int(l.MemComp + l.Level0Comp + l.NonLevel0Comp),
	}
	s.Applied, s.Durable = db.track.points()
	for i, n := range l.LevelSizes {
		s.Bytes += n
		s.LevelBytes = append(s.LevelBytes, n)
		s.Tables += l.LevelTablesCounts[i]
	}
	if len(l.LevelTablesCounts) > 0 {
		s.Level0 = l.LevelTablesCounts[0]
	}
	return s, nil
}

// Close flushes what was applied, waits for reads under way and for iterators
// to be closed, and ends goleveldb. The error is that of the flush; the second call does
// nothing. One goroutine of goleveldb's, which owns nothing, may end up to a
// second later.
func (db *DB) Close() error {
	db.turn.Lock()
	defer db.turn.Unlock()
	if db.closed.Load() {
		return nil
	}
	err := db.files.err()
	if err == nil {
		err = db.flush()
	}
	if err == nil {
		// Leaves a table in goleveldb's pool, for which the goroutine
		// that drains it would else wait.
		if tr, terr := db.ldb.OpenTransaction(); terr == nil {
			tr.Discard()
		} else {
			giveBackWriteLock(db.ldb)
		}
	}
	db.closed.Store(true)
	for db.readers.Load() != 0 {
		<-db.idle
	}
	if cerr := db.ldb.Close(); err == nil && cerr != nil {
		err = wire.Wrap("kv.close", db.files.dir, cerr)
	}
	db.files.ballast.close()
	if err != nil {
		db.files.log.Warn("closing", "dir", db.files.dir, "err", err)
	}
	return err
}
