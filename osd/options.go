package osd

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/spirula/spirula/osd/internal/objop"
	"github.com/spirula/spirula/osd/store"
	"github.com/spirula/spirula/rados/msgr"
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

// Mon is the daemon's session with the mons.
type Mon interface {
	// Send sends a report to the mon that leads: MOSDBoot, MOSDAlive,
	// MOSDStats, MOSDPurged, MOSDMarkDown. Reports may be lost; the daemon
	// repeats those that matter.
	Send(m wire.Message) error
	// SubscribeOSDMap has fn called with every map from epoch from on, one
	// call at a time, until ctx ends. fn does not block. A message brings
	// increments without a gap, or a whole map.
	SubscribeOSDMap(ctx context.Context, from wire.Epoch, fn func(*wire.MOSDMap))
}

// Options says what a daemon runs on. Store, Network and Mon are required.
type Options struct {
	ID      int32
	UUID    wire.FSID // of the store
	Store   ObjectStore
	Network msgr.Network
	Mon     Mon
	Addr    wire.Addr // where to listen; a zero port chooses one
	// Auth decides who may connect, PeerAuth proves to other OSDs who this
	// one is; nil lets everybody in, and proves nothing.
	Auth     msgr.ServerAuth
	PeerAuth msgr.ClientAuth
	Host     string // for the CRUSH map
	Weight   uint32 // TiB in 16.16, 0: as the CRUSH map has it
	Log      *slog.Logger
	// Now gives the time; nil is time.Now. It decides when an entry of the
	// blocklist has expired.
	Now func() time.Time
	// Workers is how many goroutines at most run requests that were parked;
	// 0 is twice the number of CPUs and two.
	Workers int
	// Report is the time between MOSDStats; 0 is 5 s.
	Report time.Duration
	// HeartbeatGrace is how long another OSD may be silent before the mon is
	// told; 0 is 20 s.
	HeartbeatGrace time.Duration
	// Fatal is called once when the store fails to make something durable.
	// nil panics.
	Fatal func(error)
}

// Metrics counts what a daemon did since it was made.
type Metrics struct {
	Reads, Writes         atomic.Int64 // requests executed
	ReadBytes, WriteBytes atomic.Int64 // data of READ answers, and of write operations
	Errors                atomic.Int64 // requests answered with an error
	Dups                  atomic.Int64 // resends answered without executing
	Dropped               atomic.Int64 // requests not answered: their clients resend
	Held                  atomic.Int64 // requests that waited for admission
	Overrun               atomic.Int64 // connections closed because too many waited
	Denied                atomic.Int64 // requests that the sender's caps do not allow
	Backoffs              atomic.Int64 // times that a peer was told to hold its requests
	Paced                 atomic.Int64 // times that large reads had to wait for their client to take answers
	Slow                  atomic.Int64 // requests older than 30 s, now
	WatchTimeouts         atomic.Int64 // watches that ended because their client was silent
	Sessions              atomic.Int64 // connections with requests on them, now
	Trimmed               atomic.Int64 // objects from which a removed snapshot was taken
}
