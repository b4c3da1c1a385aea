package journal

import (
	"context"
	"io"
	"log/slog"
	"time"

	"github.com/spirula/spirula/rados"
)

// Options are what Open is told. Zero durations and sizes take the defaults.
type Options struct {
	// Holder names this process in the lease, for people; up to 128 bytes.
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

// MaxEvent is the largest event, in bytes.
const MaxEvent = 1 << 20

// MaxExtra is the largest small state kept in the header, in bytes.
const MaxExtra = 16 << 10

// Journal is one rank's event log, held. All methods may be called from many
// goroutines.
type Journal struct {
	_ rados.Doer
}

// Open takes the rank over: it raises the epoch on the lease, the header and
// every journal object that an older holder might write, and finds the true
// end. Unless Exclusive it first waits until the holder, if there is one,
// has not renewed its lease for Options.Takeover; ctx ends the wait.
//
// EIO: a record below the end is damaged; nothing was changed that matters.
func Open(ctx context.Context, meta rados.Doer, rank int, o Options) (*Journal, error) {
	panic("journal: not built yet")
}

// Epoch numbers the takings of the rank; this one's.
func (j *Journal) Epoch() uint64 { panic("journal: not built yet") }

// Replay calls fn for every event after position from (0: all that were not
// trimmed), in order, with the position that Append once gave. Events that
// this Journal appended are not among them: call it before the first Append.
// fn must not keep event.
func (j *Journal) Replay(ctx context.Context, from uint64, fn func(pos uint64, event []byte) error) error {
	panic("journal: not built yet")
}

// Append adds an event to what is sent next and gives its position.
// Positions grow. It copies the event, does no I/O and never blocks; its
// order is the order of replay, so call it under the lock that orders the
// changes. A bound on memory is kept by calling Throttle first, without that
// lock. It panics for an event over MaxEvent.
func (j *Journal) Append(event []byte) (pos uint64) { panic("journal: not built yet") }

// Wait returns nil once the event at pos is durable; every earlier one is
// then as well.
func (j *Journal) Wait(ctx context.Context, pos uint64) error { panic("journal: not built yet") }

// Durable is the position of the last durable event.
func (j *Journal) Durable() uint64 { panic("journal: not built yet") }

// Head is the position of the last event appended.
func (j *Journal) Head() uint64 { panic("journal: not built yet") }

// Trimmed is the position up to which Trim gave events up.
func (j *Journal) Trimmed() uint64 { panic("journal: not built yet") }

// Throttle waits while more than MaxPending bytes wait for the store.
func (j *Journal) Throttle(ctx context.Context) error { panic("journal: not built yet") }

// Alive reports whether the lease lets this holder answer, reads too.
func (j *Journal) Alive() bool { panic("journal: not built yet") }

// AwaitAlive waits until Alive, or gives the error that ended the journal.
func (j *Journal) AwaitAlive(ctx context.Context) error { panic("journal: not built yet") }

// Err is what ended the journal: deposed, closed, or damaged; nil while it
// goes on.
func (j *Journal) Err() error { panic("journal: not built yet") }

// Trim gives up the events up to and including the one at pos, which must be
// durable: their effects are stored elsewhere. The journal objects that only
// they lie in are deleted.
func (j *Journal) Trim(ctx context.Context, pos uint64) error { panic("journal: not built yet") }

// Extra is the small state in the header, as it was last set.
func (j *Journal) Extra() []byte { panic("journal: not built yet") }

// SetExtra replaces the small state, durable when it returns. At most
// MaxExtra bytes.
func (j *Journal) SetExtra(ctx context.Context, extra []byte) error {
	panic("journal: not built yet")
}

// Close makes what was appended durable, gives the lease back (so that a
// standby need not wait) and stops. It may be called twice.
func (j *Journal) Close(ctx context.Context) error { panic("journal: not built yet") }

// Dump prints a rank's lease, header and records as text, whoever holds it.
func Dump(ctx context.Context, meta rados.Doer, rank int, w io.Writer) error {
	panic("journal: not built yet")
}
