package msgr

import (
	"math/bits"
	"sync"
	"sync/atomic"
	"time"

	"github.com/spirula/spirula/rados/wire"
)

// budget bounds the memory of what clients send: data that are not released
// yet, and what was promised to messages that are being read. A message is
// promised all that it needs before it is read, so that no two of them wait
// for each other. Whoever waits does so in line, and only the first looks.
type budget struct {
	arena    *wire.Arena
	limit    int64
	promised atomic.Int64
	turn     chan struct{}
	waits    *atomic.Int64
}

// budgetPoll is how often the first in line looks for memory.
const budgetPoll = time.Millisecond

// reserve promises n bytes. It waits until they are there, or nothing at all
// is in use.
func (b *budget) reserve(n int, stop <-chan struct{}) error {
	if b.take(int64(n)) {
		return nil
	}
	b.waits.Add(1)
	select {
	case b.turn <- struct{}{}:
		defer func() { <-b.turn }()
	case <-stop:
		return errClosed
	}
	tick := time.NewTicker(budgetPoll)
	defer tick.Stop()
	for !b.take(int64(n)) {
		select {
		case <-tick.C:
		case <-stop:
			return errClosed
		}
	}
	return nil
}

func (b *budget) take(n int64) bool {
	promised := b.promised.Add(n)
	used := b.arena.InUse()
	if used+promised <= b.limit || used == 0 && promised == n {
		return true
	}
	b.promised.Add(-n)
	return false
}

// unreserve takes a promise back: what came of it counts itself now.
func (b *budget) unreserve(n int) { b.promised.Add(-int64(n)) }

// scratchPool has memory for encrypted messages, by powers of two from
// keepScratch on.
type scratchPool [10]sync.Pool

// get gives memory for at least n bytes.
func (s *scratchPool) get(n int) []byte {
	class := bits.Len(uint(max(n-1, 0) / keepScratch))
	if class == 0 || class >= len(s) {
		return make([]byte, n, n+n/4)
	}
	if p, ok := s[class].Get().(*[]byte); ok {
		return *p
	}
	return make([]byte, keepScratch<<class)
}

// put takes it back.
func (s *scratchPool) put(b []byte) {
	class := bits.Len(uint(cap(b)-1) / keepScratch)
	if class > 0 && class < len(s) && cap(b) == keepScratch<<class {
		s[class].Put(&b)
	}
}
