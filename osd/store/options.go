package store

import (
	"fmt"
	"log/slog"
	"sync/atomic"

	"github.com/spirula/spirula/rados/wire"
)

// Bounds on the size of the log, in bytes.
const (
	minWal = 256 << 10
	maxWal = 4 << 30
)

// Options says how a store is made and opened. The zero Options is one for a
// disk that the store has to itself.
type Options struct {
	// FSID, UUID and OSD are written at Mkfs and checked at Open unless zero.
	FSID wire.FSID
	UUID [16]byte // of this store; Mkfs needs one
	OSD  int32

	// WalBytes is the size of the log, fixed at Mkfs; 0 is 128 MiB. The
	// log is filled with zeros once, so that a commit never changes the
	// file's metadata: 16 MiB of it in Mkfs, the rest after the first Open,
	// in the background, ahead of the writer.
	WalBytes int64
	// GrowBytes is the step in which the block file grows; 0 is 256 MiB.
	GrowBytes int64
	// MaxBytes bounds the block file; 0 leaves that to the disk.
	MaxBytes int64
	// ReserveBytes is kept for deletes when the store is full; 0 is 1 % of
	// the disk, at least 64 MiB, at most an eighth.
	ReserveBytes int64
	// IndexBytes is disk space that the block file leaves to the index; 0
	// is the larger of 256 MiB and 3 % of the disk, at most an eighth.
	IndexBytes int64
	// BallastBytes is held back by the index itself for the case that
	// others fill the disk; 0 is 256 MiB, at most a 16th of the disk, and a
	// negative number holds nothing back.
	BallastBytes int64

	// Memory bounds the caches in bytes; 0 is 80 MiB: three tenths each for
	// onodes and the index' blocks, two for images on their way, two for
	// the index' tables in memory.
	Memory int64

	// formatBytes is how much of the log Mkfs writes; 0 is 16 MiB. Tests
	// make it small.
	formatBytes int64
	// rowsAtOnce bounds the rows that one step deletes or copies before it
	// lets the index take them; 0 is 1000. Tests make it small.
	rowsAtOnce int

	// Fatal is told the error after which nothing can become durable any
	// more: a failed sync, a damaged index. nil panics.
	Fatal func(error)
	// Log receives what an operator may want to know. nil drops it.
	Log *slog.Logger
}

func (o *Options) settle() {
	if o.WalBytes == 0 {
		o.WalBytes = 128 << 20
	}
	if o.GrowBytes == 0 {
		o.GrowBytes = 256 << 20
	}
	if o.Memory == 0 {
		o.Memory = 80 << 20
	}
	if o.formatBytes == 0 {
		o.formatBytes = 16 << 20
	}
	if o.rowsAtOnce == 0 {
		o.rowsAtOnce = 1000
	}
	if o.Fatal == nil {
		o.Fatal = func(err error) { panic(err) }
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
}

func (o *Options) validate() error {
	if o.WalBytes < minWal || o.WalBytes > maxWal || o.WalBytes%unitSize != 0 {
		return wire.Errorf("store.options", fmt.Sprintf("WalBytes %d: %d to %d in whole 4 KiB", o.WalBytes, minWal, int64(maxWal)), wire.EINVAL)
	}
	if o.GrowBytes < 1<<20 || o.GrowBytes%unitSize != 0 {
		return wire.Errorf("store.options", fmt.Sprintf("GrowBytes %d: at least 1 MiB in whole 4 KiB", o.GrowBytes), wire.EINVAL)
	}
	return nil
}

// The shares of Options.Memory.
func (o *Options) onodeMem() int     { return int(o.Memory / 10 * 3) }
func (o *Options) blockCache() int64 { return o.Memory / 10 * 3 }
func (o *Options) imageMem() int     { return int(o.Memory / 10 * 2) }
func (o *Options) writeBuffer() int  { return int(min(8<<20, max(1<<20, o.Memory/10))) }

// String prints the settings on one line.
func (o Options) String() string {
	o.settle()
	return fmt.Sprintf("wal=%d grow=%d max=%d reserve=%d memory=%d", o.WalBytes, o.GrowBytes, o.MaxBytes, o.ReserveBytes, o.Memory)
}

// Metrics counts since Open.
type Metrics struct {
	Txns         atomic.Int64 // queued
	Groups       atomic.Int64 // log writes, one sync each
	GroupBytes   atomic.Int64 // written to the log
	DataSyncs    atomic.Int64 // syncs of block
	LargeBytes   atomic.Int64 // written straight to free units
	Images       atomic.Int64 // block images logged
	Flushed      atomic.Int64 // images put in place
	Reads        atomic.Int64
	ReadBytes    atomic.Int64
	ReadErrors   atomic.Int64 // checksums that failed, twice
	CacheHits    atomic.Int64
	CacheMisses  atomic.Int64
	Checkpoints  atomic.Int64
	AdmitWaits   atomic.Int64 // transactions that waited for room in log or memory
	OmapWaits    atomic.Int64 // reads that waited for the index
	NoSpace      atomic.Int64 // transactions refused
	OmapsDropped atomic.Int64 // omaps deleted in the background
}
