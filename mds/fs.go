package mds

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/spirula/spirula/mds/internal/filer"
	"github.com/spirula/spirula/mds/internal/inode"
	"github.com/spirula/spirula/mds/internal/journal"
	"github.com/spirula/spirula/mds/internal/tree"
	"github.com/spirula/spirula/rados"
	"github.com/spirula/spirula/rados/wire"
)

// The hidden directories, and the first number that is given out.
const (
	strayIno    Ino = 2
	uploadsIno  Ino = 3
	firstNumber Ino = 16
)

// Options are what Open is told. Meta and Data must be set; zeros elsewhere
// take the defaults.
type Options struct {
	Meta rados.Doer // the metadata pool: needs omap
	Data rados.Doer // the data pool
	Rank int
	// Holder names this process in the lease, for people.
	Holder string
	// Exclusive says that a lock elsewhere proves that nobody else holds the
	// rank, so taking it over need not wait.
	Exclusive bool
	// UID and GID own the root directory of a new file system.
	UID, GID uint32
	// Space gives the cluster's size and free space in bytes, for StatFS.
	Space func(ctx context.Context) (total, free uint64, err error)
	// CacheBytes bounds clean metadata in memory; 32 MiB.
	CacheBytes int64
	// DirtyBytes bounds file data written over NFS and not yet written back;
	// 24 MiB.
	DirtyBytes int64
	// Flush is the time between write-backs of metadata; 1 s.
	Flush time.Duration
	Now   func() time.Time
	Log   *slog.Logger
	// splitEntries and birthLog are the tree's limits, small ones in tests.
	splitEntries, birthLog int
	// Fatal is called, once, when this process must stop answering: it was
	// deposed, or the journal can't go on.
	Fatal func(error)
}

// FS is the namespace, and the one holder of its rank. Its methods may be
// called from many goroutines. They return errors with a kind (wire.ErrnoOf).
type FS struct {
	o       Options
	log     *slog.Logger
	journal *journal.Journal
	filer   *filer.Filer
	tree    *tree.Tree

	mu sync.Mutex
	// numbers next..limit-1 were granted by a durable event and not given
	// out; inFlight are those given to streams whose fate is open.
	next, limit uint64
	grantedAt   tree.Pos
	inFlight    map[uint64]struct{}
	open        map[Ino]*openFile
	pins        map[uint64]*pin // by stream
	pending     map[place]*pendingPublish
	closed      bool
	spare       *txn   // memory for the next transaction
	event       []byte // and for its event

	// marks are ends of events that were durable at former write-backs,
	// ascending: where the journal may be trimmed.
	marks []tree.Pos

	// ctx ends when Close begins: what runs in the background stops then.
	ctx    context.Context
	stop   context.CancelFunc
	kick   chan struct{} // wakes the write-back early
	strays chan struct{} // wakes the purge
	wg     sync.WaitGroup
}

// Open takes the rank over, replays its journal, and starts the background
// work. A pool without a file system gets one.
func Open(ctx context.Context, o Options) (*FS, error) {
	o = o.withDefaults()
	fs := &FS{
		o: o, log: o.Log,
		inFlight: map[uint64]struct{}{}, open: map[Ino]*openFile{}, pins: map[uint64]*pin{},
		pending: map[place]*pendingPublish{},
		kick:    make(chan struct{}, 1), strays: make(chan struct{}, 1),
	}
	fs.ctx, fs.stop = context.WithCancel(context.Background())
	j, err := journal.Open(ctx, o.Meta, o.Rank, journal.Options{
		Holder: o.Holder, Exclusive: o.Exclusive, Logger: o.Log, Deposed: o.Fatal,
	})
	if err != nil {
		return nil, wire.Wrap("mds open", fmt.Sprintf("rank %d", o.Rank), err)
	}
	fs.journal = j
	fs.filer = filer.New(filer.Options{Data: o.Data, Logger: o.Log, DirtyBytes: o.DirtyBytes})
	fs.tree = tree.New(o.Meta, tree.Options{
		Mu: &fs.mu, Epoch: j.Epoch(), Dir: fs.treeDir, CacheBytes: o.CacheBytes, Log: o.Log,
		Durable:      func(ctx context.Context, pos tree.Pos) error { return j.Wait(ctx, uint64(pos)) },
		SplitEntries: o.splitEntries, BirthLogEntries: o.birthLog,
		SplitBegin: fs.splitBegin, SplitEnd: fs.splitEnd, BirthLogged: fs.birthLogged,
	})
	if err := fs.recover(ctx); err != nil {
		fs.mu.Lock()
		fs.closed = true
		fs.mu.Unlock()
		fs.stop()
		fs.wg.Wait()
		j.Close(ctx)
		fs.filer.Close(ctx)
		return nil, wire.Wrap("mds open", fmt.Sprintf("rank %d", o.Rank), err)
	}
	fs.background(fs.maintain)
	fs.background(fs.purgeStrays)
	return fs, nil
}

func (o Options) withDefaults() Options {
	if o.CacheBytes == 0 {
		o.CacheBytes = 32 << 20
	}
	if o.DirtyBytes == 0 {
		o.DirtyBytes = 24 << 20
	}
	if o.Flush == 0 {
		o.Flush = time.Second
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Fatal == nil {
		o.Fatal = func(err error) { panic(err) }
	}
	if o.Holder == "" {
		o.Holder = "spirula"
	}
	return o
}

func (fs *FS) now() wire.Time { return wire.TimeOf(fs.o.Now()) }

// usable refuses once this mds may no longer answer.
func (fs *FS) usable() error {
	if fs.journal.Alive() {
		return nil
	}
	if err := fs.journal.Err(); err != nil {
		return wire.Wrap("mds", "", err)
	}
	return wire.Errorf("mds", "lease", wire.ETIMEDOUT)
}

// admit bounds what changes may wait for the journal.
func (fs *FS) admit(ctx context.Context) error { return fs.journal.Throttle(ctx) }

// Close writes back all data and metadata, so that the next Open has nothing
// to replay, gives the rank up, and waits for the background work. It may be
// called twice.
func (fs *FS) Close(ctx context.Context) error {
	fs.mu.Lock()
	if fs.closed {
		fs.mu.Unlock()
		return nil
	}
	fs.closed = true
	fs.mu.Unlock()
	fs.stop()
	fs.wg.Wait()
	err := fs.closeFiles(ctx, 0)
	if e := fs.filer.Close(ctx); err == nil {
		err = e
	}
	// Numbers granted and not used are given back: the next start need not
	// look for objects of them.
	fs.mu.Lock()
	fs.limit = fs.next
	fs.mu.Unlock()
	if e := fs.writeBack(ctx); err == nil {
		err = e
	}
	if e := fs.journal.Close(ctx); err == nil {
		err = e
	}
	return wire.Wrap("mds close", "", err)
}

// grantSize is how many numbers one event grants; a restart looks for the
// objects of those that were not used.
const grantSize = 256

// number takes the next number for something that this transaction makes.
func (t *txn) number() uint64 {
	t.taken++
	return t.fs.next + t.taken - 1
}

// stream is number for a stream to be written before any event names it.
func (t *txn) stream() uint64 {
	n := t.number()
	t.streams = append(t.streams, n)
	return n
}

// takeNumbersLocked makes the numbers taken final, and adds an item to the
// event when they need a new grant.
func (t *txn) takeNumbersLocked() {
	fs := t.fs
	if t.taken == 0 {
		return
	}
	for _, n := range t.streams {
		fs.inFlight[n] = struct{}{}
	}
	fs.next += t.taken
	if fs.next > fs.limit {
		fs.limit = fs.next + grantSize
		t.extra = fs.appendNumbersLocked(t.extra)
		t.apply = append(t.apply, func(pos tree.Pos) { fs.grantedAt = pos })
	} else {
		t.saw(fs.grantedAt)
	}
}

func (fs *FS) appendNumbersLocked(b []byte) []byte {
	list := make([]uint64, 0, len(fs.inFlight))
	for n := range fs.inFlight {
		list = append(list, n)
	}
	return appendNumbers(b, fs.next, fs.limit, list)
}

// newStream gives the number of a stream to be written before any event names
// it. It is among those in flight until an event does, or dropStream purged
// it.
func (fs *FS) newStream(ctx context.Context) (uint64, error) {
	var n uint64
	pos, err := fs.run(ctx, func(t *txn) error {
		n = t.stream()
		return nil
	})
	if err != nil {
		return 0, err
	}
	if err := fs.settled(ctx, pos); err != nil {
		fs.settle(n)
		return 0, err
	}
	return n, nil
}

// namedLocked takes the streams that a record names off those in flight, in
// the step that makes them belong to it: an account of the numbers appended
// later must not call them unused.
func (fs *FS) namedLocked(in *inode.Inode) {
	if len(fs.inFlight) == 0 {
		return
	}
	for c := &in.Content; c != nil; c = c.Base {
		delete(fs.inFlight, c.Stream)
	}
}

// settle takes a stream off those in flight: it has no objects.
func (fs *FS) settle(n uint64) {
	fs.mu.Lock()
	delete(fs.inFlight, n)
	fs.mu.Unlock()
}

// dropStream has a stream purged that nothing names, in the background. One
// that an event names stays: its publisher may have been told nothing but
// that the wait for the journal was cut short.
func (fs *FS) dropStream(sid, size uint64) {
	fs.mu.Lock()
	_, unnamed := fs.inFlight[sid]
	fs.mu.Unlock()
	if !unnamed {
		return
	}
	fs.background(func(ctx context.Context) {
		if err := fs.filer.Purge(ctx, sid, size, wire.SnapContext{}); err != nil {
			// The number stays in flight, so the next start tries again.
			fs.log.Warn("could not remove the objects of an unfinished upload; the next start tries again", "stream", sid, "err", err)
			return
		}
		fs.settle(sid)
	})
}

// background runs f beside the caller; Close waits for it. Once Close has
// begun to wait, f is left out: what it was to do is in the journal.
func (fs *FS) background(f func(ctx context.Context)) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	fs.backgroundLocked(f)
}

func (fs *FS) backgroundLocked(f func(ctx context.Context)) {
	if fs.closed {
		return
	}
	fs.wg.Add(1)
	go func() {
		defer fs.wg.Done()
		f(fs.ctx)
	}()
}

// treeDir is the tree's way to a live directory's record.
func (fs *FS) treeDir(ino Ino) (*inode.Inode, error) {
	t := &txn{fs: fs}
	in, err := t.inode(ino)
	if wire.ErrnoOf(err) == wire.ESTALE {
		return nil, nil
	}
	return in, err
}

// attr is what stat shows of in.
func attrOf(in *inode.Inode) Attr {
	a := Attr{
		Ino: in.Ino, Gen: in.Gen, Type: in.Type, Mode: in.Mode, UID: in.UID, GID: in.GID,
		Nlink: in.Nlink, Major: in.Major, Minor: in.Minor, Size: in.Size, Used: (in.Size + 511) &^ 511,
		Atime: in.Atime, Mtime: in.Mtime, Ctime: in.Ctime, Btime: in.Btime,
		Change: in.Change, Data: in.Data,
	}
	if in.Type == inode.Dir {
		a.Nlink = 2 + in.Dir.Subdirs
		a.Size = in.Dir.Entries
		a.Used = wire.BlockSize
	}
	return a
}
