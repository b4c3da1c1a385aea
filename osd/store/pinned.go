package store

import (
	"sync/atomic"

	"github.com/spirula/spirula/rados/wire"
)

// Pinned is a read that was admitted: it answers from the state its object
// had when Pin was called, however long Read is put off and whatever is
// written meanwhile. It holds disk space that may be free already, so it is
// to be closed soon. Read is called at most once.
type Pinned struct {
	n      int // bytes that Read gives
	ready  wire.Data
	closed atomic.Bool
}

// PinnedData makes a Pinned that gives d; d's references go over to it. It is
// for implementations that hold the bytes in memory.
func PinnedData(d wire.Data) *Pinned { return &Pinned{n: d.Len(), ready: d} }

// Len is the number of bytes Read will give: less than asked for at the end
// of the object.
func (p *Pinned) Len() int { return p.n }

// Read gives the bytes; the caller releases them. EIO: what is stored there
// is not what was written.
func (p *Pinned) Read() (wire.Data, error) {
	d := p.ready
	p.ready = wire.Data{}
	return d, nil
}

// Close gives up what Pin held. It may be called twice.
func (p *Pinned) Close() {
	if p.closed.Swap(true) {
		return
	}
	p.ready.Release()
	p.ready = wire.Data{}
}

// Sequencer orders transactions: those queued with one Sequencer become
// durable in the order of Queue, and their done functions are called in that
// order. A PG has one. The zero Sequencer is ready for use.
//
// An object, and every object that was cloned from it or that it was cloned
// from, must be changed through one Sequencer as long as changes to it are
// not done. So must the rows of a PG.
type Sequencer struct{}
