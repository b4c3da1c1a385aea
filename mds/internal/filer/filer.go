package filer

import (
	"container/list"
	"context"
	crand "crypto/rand"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/spirula/spirula/mds/internal/inode"
	"github.com/spirula/spirula/rados"
	"github.com/spirula/spirula/rados/wire"
)

const (
	// ObjectSize is the bytes of a stream in one RADOS object.
	ObjectSize = 4 << 20
	// SingleMax is the largest content that a Stream holds back to be sent
	// as one vector, beside the journal event that publishes it. Longer
	// content is sent in pieces as it comes.
	SingleMax = 1 << 20
	// MaxRead is the most bytes of one Read.
	MaxRead = 8 << 20
	// MaxFile is the most bytes of a file written in place: 8 TiB less one.
	MaxFile = 1<<43 - 1

	// window is how many operations one call has in flight at most.
	window = 16
	// writers is how many objects are written back at a time in the
	// background.
	writers = 8
)

// Options are what New is told. Zeros take the defaults.
type Options struct {
	Data   rados.Doer
	Logger *slog.Logger
	// DirtyBytes bounds the memory of unwritten data of all Files; 24 MiB.
	DirtyBytes int64
	// WriteBack is how long data stays unwritten at most; 2 s.
	WriteBack time.Duration
	// Cleaned is called, with no lock held, when the last unwritten byte of
	// a file was written back (or lost: see File.Flush) in the background.
	Cleaned func(ino inode.Ino)
}

// Metrics are counters since New.
type Metrics struct {
	StreamBytes atomic.Uint64 // sent by Streams
	ReadBytes   atomic.Uint64 // given by reads, from memory or the store
	WriteBytes  atomic.Uint64 // taken by File.Write
	BackBytes   atomic.Uint64 // written back
	BackOps     atomic.Uint64 // vectors that wrote back
	BackErrors  atomic.Uint64 // of them failed
	Throttled   atomic.Uint64 // writes that waited for memory
	Purged      atomic.Uint64 // objects deleted
}

// Filer moves the bytes of files between memory and the data pool.
type Filer struct {
	Metrics Metrics

	data  rados.Doer
	o     Options
	log   *slog.Logger
	parts partCache

	ctx      context.Context // ends with Close
	stop     context.CancelFunc
	done     sync.WaitGroup
	pressure chan struct{} // tells the scan that memory is short
	verifier atomic.Pointer[[8]byte]

	mu     sync.Mutex
	work   sync.Cond
	closed bool
	files  map[inode.Ino]*File
	queue  []backTask    // objects to be written back
	dirty  int64         // memory of unwritten data, reservations included
	aged   list.List     // *File with unwritten data, the longest so first
	room   chan struct{} // closed when dirty went down; nil: nobody waits
}

// New makes a Filer; Close ends it.
func New(o Options) *Filer {
	if o.DirtyBytes == 0 {
		o.DirtyBytes = 24 << 20
	}
	if o.WriteBack == 0 {
		o.WriteBack = 2 * time.Second
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	f := &Filer{
		data: o.Data, o: o, log: o.Logger, pressure: make(chan struct{}, 1),
		files: make(map[inode.Ino]*File),
	}
	f.work.L = &f.mu
	f.ctx, f.stop = context.WithCancel(context.Background())
	f.newVerifier()
	f.done.Add(writers + 1)
	for range writers {
		go f.writeBack()
	}
	go f.scan()
	return f
}

// Close writes back what is unwritten and stops; when ctx ends first, what is
// left is lost. It gives the errors of write-backs. It may be called twice.
func (f *Filer) Close(ctx context.Context) error {
	err := f.Flush(ctx)
	f.mu.Lock()
	f.closed = true
	f.work.Broadcast()
	f.mu.Unlock()
	f.stop()
	f.done.Wait()
	return err
}

// Verifier changes exactly when unwritten data may have been lost: it is
// random at each start and after each write-back that failed.
func (f *Filer) Verifier() [8]byte { return *f.verifier.Load() }

func (f *Filer) newVerifier() {
	v := new([8]byte)
	crand.Read(v[:])
	f.verifier.Store(v)
}

const hexDigits = "0123456789abcdef"

// objectName is SID.N.
func objectName(sid, n uint64) string {
	var p [25]byte
	for i := range 16 {
		p[i] = hexDigits[sid>>(60-4*i)&15]
	}
	p[16] = '.'
	for i := range 8 {
		p[17+i] = hexDigits[n>>(28-4*i)&15]
	}
	return string(p[:])
}

// zeroRun is memory that every hole shows. Its first reference is never
// given back.
var zeroRun = wire.DataOf(make([]byte, 256<<10))

// appendZeros adds n bytes of zeros to d.
func appendZeros(d *wire.Data, n int) {
	for n > 0 {
		k := min(n, zeroRun.Len())
		d.AppendData(zeroRun.Slice(0, k))
		n -= k
	}
}

// kindIs reports whether err is of a kind.
func kindIs(err error, kind wire.Errno) bool { return err != nil && wire.ErrnoOf(err) == kind }

// gaveUp is the error of a wait that ctx ended.
func gaveUp(op, subject string, ctx context.Context) error {
	return &wire.Error{Op: op, Subject: subject, Kind: wire.ETIMEDOUT, Cause: ctx.Err()}
}

// each runs op(i) for i from first to last, window of them in flight, in
// order of starts, and gives every answer to done until one returns false or
// an error. Replies are released.
func (f *Filer) each(ctx context.Context, first, last uint64, op func(i uint64) *rados.Op, done func(i uint64, reply *rados.Reply, err error) (bool, error)) error {
	var calls [window]*rados.Call
	head, tail := first, first // calls [tail, head) are in flight
	goOn, fails := true, error(nil)
	for {
		for goOn && head <= last && head-tail < window {
			calls[head%window] = f.data.Start(ctx, op(head))
			head++
		}
		if tail == head {
			return fails
		}
		reply, err := calls[tail%window].Wait(ctx)
		if goOn {
			goOn, fails = done(tail, reply, err)
			goOn = goOn && fails == nil
		}
		if reply != nil {
			reply.Release()
		}
		tail++
	}
}
