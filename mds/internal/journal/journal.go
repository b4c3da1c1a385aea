package journal

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/spirula/spirula/rados"
	"github.com/spirula/spirula/rados/wire"
)

// Options are what Open is told. Zero durations and sizes take the defaults.
type Options struct {
	// Holder names this process in the lease, for people; up to 128 bytes.
	// Empty counts as "mds".
	Holder string
	// Exclusive says that no other process can hold the rank (a lock on the
	// data directory proves it): the lease is taken without waiting.
	Exclusive bool
	// Logger gets takeovers, stalls and the deposition; nil: none.
	Logger *slog.Logger
	// Deposed is called once, from a goroutine of its own, when another
	// holder was found to have taken the rank, or when the journal can't go
	// on. Nothing may be answered any more; the process should end.
	Deposed func(error)
	// Seal, when set, is called just before what was appended so far is
	// sent, with no lock held, from one goroutine at a time. It may Append
	// more (the totals of what was touched), under the lock that its caller
	// holds for Append, and calls cut before it lets go of that lock: all
	// events before cut become durable together or not at all. Without a
	// cut it is done when Seal returns.
	Seal func(cut func())

	Renew    time.Duration // between renewals of the lease; 2 s
	Alive    time.Duration // how long a renewal lets its holder answer; 8 s
	Takeover time.Duration // how long a standby sees no renewal; 10 s
	// MaxPending is how many bytes may wait or be in flight before Throttle
	// waits; 8 MiB.
	MaxPending int
}

func (o *Options) fill() {
	setDefault(&o.Renew, 2*time.Second)
	setDefault(&o.Alive, 8*time.Second)
	setDefault(&o.Takeover, 10*time.Second)
	if o.MaxPending == 0 {
		o.MaxPending = 8 << 20
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Holder == "" {
		o.Holder = "mds"
	}
	if len(o.Holder) > 128 {
		o.Holder = o.Holder[:128]
	}
}

func setDefault(d *time.Duration, v time.Duration) {
	if *d == 0 {
		*d = v
	}
}

const (
	// MaxEvent is the largest event, in bytes.
	MaxEvent = 1 << 20
	// MaxExtra is the largest small state kept in the header, in bytes.
	MaxExtra = 16 << 10

	objectSize = 4 << 20
	// maxVector is about how many bytes of records one vector carries.
	maxVector = 1 << 20
	// lanes is how many vectors are in flight at most.
	lanes = 2
	// ahead is how many objects past the head the limit is kept at least.
	ahead = 4
	// stride is how far past the head the limit is moved then.
	stride = 8
	// raising is how many objects are raised, made or deleted at a time.
	raising = 16
	// retryPause lies between attempts to write while the store refuses.
	retryPause = time.Second
)

// kindError is an error of this package with a kind.
type kindError struct {
	text string
	kind wire.Errno
}

func (e *kindError) Error() string { return e.text }
func (e *kindError) Unwrap() error { return e.kind }

// Errors that end a Journal, found with errors.Is.
var (
	ErrDeposed error = &kindError{"another holder has taken the rank", wire.ESHUTDOWN}
	ErrClosed  error = &kindError{"the journal is closed", wire.ESHUTDOWN}
)

// Metrics are counters since Open.
type Metrics struct {
	Events  atomic.Uint64 // appended
	Bytes   atomic.Uint64 // of records made durable
	Vectors atomic.Uint64 // sent
	Retries atomic.Uint64 // vectors sent again because the store refused them
	Renewed atomic.Uint64 // lease renewals that succeeded
}

// Journal is one rank's event log, held. All methods may be called from many
// goroutines.
type Journal struct {
	Metrics Metrics

	meta  rados.Doer
	names names
	o     Options
	epoch uint64
	log   *slog.Logger

	ctx  context.Context // ends with Close, or when the journal has failed
	stop context.CancelFunc
	done sync.WaitGroup

	turn   chan struct{} // held by the lane that takes and starts the next vector
	header chan struct{} // held while the header is written

	start    time.Time    // what goodMono counts from
	goodMono atomic.Int64 // send time of the last successful renewal
	goodWall atomic.Int64 // the same by the wall clock: it moves on while the machine sleeps
	durable  atomic.Uint64
	tail     []extent // what Replay reads, as Open found it

	mu      sync.Mutex
	work    sync.Cond // something to send, room to send it, or the end
	grow    sync.Cond // the head has come to another object, or the end
	err     error
	closing bool
	head    uint64   // position of the last event appended
	open    *group   // takes the next event
	groups  []*group // cut, not durable, oldest first
	queue   []*batch // of groups that were cut, not sent yet
	flight  []*batch // sent, oldest first
	pending int      // bytes appended and not durable
	room    chan struct{}
	renewed chan struct{}
	hdr     headerState
	ready   uint64 // the last journal object that was made or raised
}

// extent is what is used of one journal object.
type extent struct {
	n        uint64
	from, to int
}

// Epoch numbers the takings of the rank; this one's.
func (j *Journal) Epoch() uint64 { return j.epoch }

// Durable is the position of the last durable event.
func (j *Journal) Durable() uint64 { return j.durable.Load() }

// Head is the position of the last event appended.
func (j *Journal) Head() uint64 {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.head
}

// Trimmed is the position up to which Trim gave events up.
func (j *Journal) Trimmed() uint64 {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.hdr.trimmed
}

// Err is what ended the journal: ErrDeposed, ErrClosed, or the damage; nil
// while it goes on.
func (j *Journal) Err() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.err
}

// fail ends the journal for err; the first one counts.
func (j *Journal) fail(err error) {
	j.mu.Lock()
	if j.err != nil {
		j.mu.Unlock()
		return
	}
	j.err = err
	for _, g := range j.groups {
		close(g.done)
	}
	for _, b := range append(j.queue, j.open.batches...) {
		b.drop()
	}
	j.groups, j.queue = nil, nil
	close(j.open.done)
	j.open = newGroup()
	j.wakeAll()
	j.mu.Unlock()
	j.stop()
	if err == ErrClosed {
		return
	}
	j.log.Error("journal ended", "rank", j.names.rank, "epoch", j.epoch, "err", err)
	if j.o.Deposed != nil {
		go j.o.Deposed(err)
	}
}

// gaveUp is the error of a wait that ctx ended.
func gaveUp(op, subject string, ctx context.Context) error {
	return &wire.Error{Op: op, Subject: subject, Kind: wire.ETIMEDOUT, Cause: ctx.Err()}
}

// wakeAll wakes whoever waits for anything; with mu held.
func (j *Journal) wakeAll() {
	j.work.Broadcast()
	j.grow.Broadcast()
	wake(&j.room)
	wake(&j.renewed)
}

// wake closes a channel that waiters made, if any did; with mu held.
func wake(ch *chan struct{}) {
	if *ch != nil {
		close(*ch)
		*ch = nil
	}
}

// waitFor waits until ok, called with mu held, is true or the journal has
// ended. ch is where its waiters are woken.
func (j *Journal) waitFor(ctx context.Context, ch *chan struct{}, ok func() bool) error {
	for {
		j.mu.Lock()
		if j.err != nil {
			err := j.err
			j.mu.Unlock()
			return err
		}
		if ok() {
			j.mu.Unlock()
			return nil
		}
		if *ch == nil {
			*ch = make(chan struct{})
		}
		c := *ch
		j.mu.Unlock()
		select {
		case <-c:
		case <-ctx.Done():
			return gaveUp("journal.wait", j.names.header, ctx)
		}
	}
}

// Close makes what was appended durable, gives the lease back (so that a
// standby need not wait) and stops. When ctx ends first it stops as it is.
// It may be called twice.
func (j *Journal) Close(ctx context.Context) error {
	j.mu.Lock()
	if j.closing {
		j.mu.Unlock()
		j.done.Wait()
		return nil
	}
	j.closing = true
	head := j.head
	j.mu.Unlock()
	err := j.Wait(ctx, head)
	if err == nil {
		err = j.giveBack(ctx)
	}
	j.fail(ErrClosed)
	j.done.Wait()
	return err
}
