package store

import (
	"io"
	"sync"

	"github.com/spirula/spirula/osd/disk"
	"github.com/spirula/spirula/osd/kv"
	"github.com/spirula/spirula/rados/wire"
)

// idStep is how many ids are reserved at a time.
const idStep = 1 << 20

// Store is an open object store. Its methods may be called from several
// goroutines; see Sequencer for the order of transactions.
type Store struct {
	o     Options
	d     disk.Disk
	lock  io.Closer
	block disk.File
	// blockDirect is the same file past the page cache, where that can be.
	blockDirect disk.File
	super       superblock
	wal         wal // the log goroutine's
	db          *kv.DB
	m           Metrics
	wg          sync.WaitGroup

	// regionTurn is held by whoever loads a region; taken before mu.
	regionTurn sync.Mutex
	// flushTurn is held by whoever puts images in place; taken before mu.
	flushTurn sync.Mutex
	// growTurn is held by whoever grows the block file; taken before mu.
	growTurn sync.Mutex
	fatal    sync.Once
	stop     chan struct{} // closed when goroutines end

	mu sync.Mutex // all below; never held over I/O

	admit   sync.Cond // room in log or memory was made
	applied sync.Cond // a transaction reached the index
	dataGo  sync.Cond // work for the goroutine of that name; so the others
	logGo   sync.Cond
	applyGo sync.Cond
	doneGo  sync.Cond
	flushGo sync.Cond
	checkGo sync.Cond

	frozen  bool // Fsck is at work: new transactions wait
	closing bool // no new transactions
	stopped bool // goroutines end
	dead    error

	objects  map[ObjectID]*object
	lru      object // ring: next is the most recently used
	cacheMem int
	families map[uint64]*family
	meta     map[wire.SPGID]*txn // newest transaction not yet in the index

	alloc       *allocator
	growable    uint64 // units the block file may still gain, as last seen
	indexLow    bool   // the disk has too little left for the index
	reserve     uint64 // units kept for deletes
	leaving     []leaving
	nextID      uint64
	idLimit     uint64
	planID      uint64
	numObjects  int64
	overlay     map[uint64]*image
	overlayMem  int
	flushWanted bool

	epoch uint64 // of the newest published transaction
	pins  pin    // ring: next is the oldest

	inflight  []*txn   // published, not yet applied, in order of publishing
	dataQ     []*txn   // waiting for a sync of block
	logQ      []*txn   // waiting for the log
	applyQ    []*txn   // synced, waiting for the index
	doneQ     []*txn   // synced, done to be called
	streams   [][]byte // spare memory for records
	unapplied int      // bytes of the streams in flight

	logHead     uint64 // copies of the log's own, for admission
	logTail     uint64 // what the next group will say
	durableTail uint64 // what the last synced group says: blocks before it may be reused
	formatted   bool   // the log was filled with zeros to its end
	formatting  run    // bytes of the log that zeros are being written to
	logReserved uint64 // for records not yet written
	checkWanted bool
	checking    bool   // a checkpoint is under way
	checkDone   uint64 // checkpoints finished
	appliedSeq  uint64

	trimWanted bool // rows of dropped omaps are left
}

// txn is a planned transaction on its way to disk and index.
type txn struct {
	sq     *Sequencer
	done   func(error)
	stream []byte
	images []*image
	holds  []*image // freed before they were put in place: the log must keep them until this is synced
	allocs []run
	frees  []run
	objs   []*object
	omaps  []*object
	fams   []*family
	metas  []wire.SPGID
	epoch  uint64
	charge uint64 // reserved in the log

	ready   bool // its data is synced, or it has none
	synced  bool // in the log
	applied bool // in the index
	seq     uint64
	pos     uint64 // of its group in the log
}

// image is the content of a unit that is, or soon will be, in the log, and is
// to be put in place.
type image struct {
	unit   uint64
	crc    uint32
	buf    *wire.Buf
	epoch  uint64
	synced bool
	// pos is the position of the oldest group in the log that has content
	// of this unit which isn't in place: this image's group, or that of
	// one it replaced. 0: not in the log yet.
	pos  uint64
	next *image // what replaced it
}

// leaving is units that are free in the index but perhaps not for readers.
type leaving struct {
	epoch uint64
	runs  []run
}

// pin keeps what a reader may look at from being reused or overwritten.
type pin struct {
	epoch      uint64 // the newest transaction that the reader has seen
	prev, next *pin
}

// pinNow begins a pin. s.mu is held.
func (s *Store) pinNow() *pin {
	p := &pin{epoch: s.epoch}
	p.prev, p.next = s.pins.prev, &s.pins
	p.prev.next, p.next.prev = p, p
	return p
}

// unpin ends a pin. s.mu is held.
func (s *Store) unpin(p *pin) {
	oldest := s.pins.next == p
	p.prev.next, p.next.prev = p.next, p.prev
	if oldest {
		s.settle()
		if s.flushWanted {
			s.flushGo.Signal()
		}
	}
}

// seen reports whether no reader is left that pinned before the transaction
// of that epoch. s.mu is held.
func (s *Store) seen(epoch uint64) bool {
	return s.pins.next == &s.pins || s.pins.next.epoch >= epoch
}

// settle makes units free that no reader needs any more. s.mu is held.
func (s *Store) settle() {
	n := 0
	for ; n < len(s.leaving) && s.seen(s.leaving[n].epoch); n++ {
		s.alloc.giveBack(s.leaving[n].runs)
	}
	if n > 0 {
		m := copy(s.leaving, s.leaving[n:])
		clear(s.leaving[m:])
		s.leaving = s.leaving[:m]
	}
}

// newID gives an id that was never used. s.mu is held.
func (s *Store) newID() uint64 {
	s.nextID++
	return s.nextID - 1
}

// fail stops the store for good. Without s.mu.
func (s *Store) fail(err error) {
	s.mu.Lock()
	if s.dead == nil {
		s.dead = err
	}
	s.wakeAll()
	closing := s.closing
	s.mu.Unlock()
	if !closing { // else Close gives the error
		s.fatal.Do(func() { s.o.Fatal(err) })
	}
}

// wakeAll lets every goroutine look again. s.mu is held.
func (s *Store) wakeAll() {
	for _, c := range []*sync.Cond{&s.admit, &s.applied, &s.dataGo, &s.logGo, &s.applyGo, &s.doneGo, &s.flushGo, &s.checkGo} {
		c.Broadcast()
	}
}

// Metrics gives the counters; they go on counting.
func (s *Store) Metrics() *Metrics { return &s.m }

// NewSequencer gives a Sequencer.
func (s *Store) NewSequencer() *Sequencer { return new(Sequencer) }
