package rados

import (
	"context"
	"sync"

	"github.com/spirula/spirula/rados/wire"
)

// throttle bounds what is in flight. Who waits is let in in turn.
type throttle struct {
	maxOps, maxBytes int

	mu         sync.Mutex
	ops, bytes int
	closed     bool
	queue      []*waiter
}

type waiter struct {
	bytes int
	ready chan struct{} // closed when let in, or when the throttle closes
	in    bool
}

func (t *throttle) fits(bytes int) bool {
	return t.ops == 0 || t.ops < t.maxOps && t.bytes+bytes <= t.maxBytes
}

// enter waits for room.
func (t *throttle) enter(ctx context.Context, bytes int) error {
	t.mu.Lock()
	if t.closed {
		t.mu.Unlock()
		return wire.ESHUTDOWN
	}
	if len(t.queue) == 0 && t.fits(bytes) {
		t.ops++
		t.bytes += bytes
		t.mu.Unlock()
		return nil
	}
	w := &waiter{bytes: bytes, ready: make(chan struct{})}
	t.queue = append(t.queue, w)
	t.mu.Unlock()
	select {
	case <-w.ready:
		if w.in {
			return nil
		}
		return wire.ESHUTDOWN
	case <-ctx.Done():
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if w.in {
		return nil
	}
	for i, q := range t.queue {
		if q == w {
			t.queue = append(t.queue[:i], t.queue[i+1:]...)
			break
		}
	}
	t.admit()
	return &ctxError{ctx.Err()}
}

// leave gives room back.
func (t *throttle) leave(bytes int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.ops--
	t.bytes -= bytes
	t.admit()
}

func (t *throttle) admit() {
	for len(t.queue) > 0 && t.fits(t.queue[0].bytes) {
		w := t.queue[0]
		t.queue = t.queue[1:]
		t.ops++
		t.bytes += w.bytes
		w.in = true
		close(w.ready)
	}
}

// close turns everybody away who waits.
func (t *throttle) close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.closed = true
	for _, w := range t.queue {
		close(w.ready)
	}
	t.queue = nil
}
