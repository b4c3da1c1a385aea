package store

import (
	"sync/atomic"

	"github.com/spirula/spirula/osd/disk"
)

// Large data go past the page cache. A page that is not in it yet costs the
// kernel 0.5 to 2.5 us, and up to 10 us in a virtual machine that never
// touched it before: 1 to 3 ms of CPU for a MiB, against 0.1 ms without. What
// is read again finds its way into the page cache; see rereads.
//
// The same file is open twice, buffered and direct. The kernel keeps both
// views equal: a direct transfer first writes out what the page cache has of
// its range, and a direct write then drops it. Nobody writes a unit's pages by
// one way while it is written by the other: units are written directly only
// before they are published, and by their one writer.

// directMin is the least length of a direct transfer, in bytes: shorter ones
// cost more by their latency than they save.
const directMin = 128 << 10

// directly says whether a transfer of b is to go past the page cache.
func (s *Store) directly(b []byte, off int64) bool {
	return len(b) >= directMin && s.blockDirect.Direct() && disk.IsAligned(b, off)
}

// readBlock reads from the block file: from the page cache what is there,
// else past it, unless it was read several times of late. fresh reads what the
// disk itself has. Where the system does not tell what is in the page cache,
// all goes through it.
func (s *Store) readBlock(b []byte, off int64, fresh bool) error {
	f := s.block
	if s.directly(b, off) {
		all, known := s.block.Resident(off, int64(len(b)))
		if fresh || known && !all && !s.rereads.often(off) {
			f = s.blockDirect
		}
	}
	_, err := f.ReadAt(b, off)
	return err
}

// rereads counts how often stretches of the block file were read past the page
// cache of late: what is read again and again is worth a place in it. A scan,
// which reads each stretch once, leaves the cache as it is. A slot has the
// number of a stretch and, in its low bits, the count.
type rereads [rereadSlots]atomic.Uint32

const (
	rereadSlots  = 1 << 15 // each is the last one's of the stretches that fall on it
	rereadStripe = directMin
	rereadBits   = 2
	rereadMax    = 1<<rereadBits - 1 // the next read is to fill the page cache
)

// often notes a read of the stretch at off, and reports whether it had been
// read rereadMax times before.
func (r *rereads) often(off int64) bool {
	n := uint32(off / rereadStripe)
	slot := &r[n%rereadSlots]
	old := slot.Load()
	if old>>rereadBits != n&(1<<(32-rereadBits)-1) {
		slot.Store(n<<rereadBits | 1)
		return false
	}
	if old&rereadMax == rereadMax {
		return true
	}
	slot.Store(old + 1) // a count lost to another reader does no harm
	return false
}
