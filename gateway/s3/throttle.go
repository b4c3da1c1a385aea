package s3

import (
	"context"
	"sync"
	"time"
)

// throttle admits bytes, first come, first served. A request asks once, for
// all that it will hold, before it reads or makes any of it: one that held
// some and waited for more could wait for another that does the same.
type throttle struct {
	mu   sync.Mutex
	free int64
	size int64
	wait []*waiter // in order; at most maxWaiters
}

type waiter struct {
	n     int64
	ready chan struct{}
}

// maxWaiters bounds the queue; who comes when it is full is refused at once.
const maxWaiters = 4096

func newThrottle(size int64) *throttle { return &throttle{free: size, size: size} }

// acquire waits for n bytes, at most as long as given. It gives what must be
// released: n, or the whole size for those who want more than there is; 0
// and a SlowDown error when the wait was too long.
func (t *throttle) acquire(ctx context.Context, n int64, limit time.Duration) (int64, error) {
	n = min(n, t.size)
	t.mu.Lock()
	if len(t.wait) == 0 && t.free >= n {
		t.free -= n
		t.mu.Unlock()
		return n, nil
	}
	if len(t.wait) >= maxWaiters {
		t.mu.Unlock()
		return 0, fault("SlowDown")
	}
	w := &waiter{n, make(chan struct{})}
	t.wait = append(t.wait, w)
	t.mu.Unlock()
	timer := time.NewTimer(limit)
	defer timer.Stop()
	var err error
	select {
	case <-w.ready:
		return n, nil
	case <-timer.C:
		err = fault("SlowDown")
	case <-ctx.Done():
		err = ctx.Err()
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for i, x := range t.wait {
		if x == w {
			t.wait = append(t.wait[:i], t.wait[i+1:]...)
			t.grantLocked() // it may have stood in smaller ones' way
			return 0, err
		}
	}
	return n, nil // granted in the meantime
}

// try is acquire without waiting.
func (t *throttle) try(n int64) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.wait) > 0 || t.free < n {
		return false
	}
	t.free -= n
	return true
}

func (t *throttle) release(n int64) {
	if n == 0 {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.free += n
	if t.free > t.size {
		panic("s3: throttle: more released than acquired")
	}
	t.grantLocked()
}

func (t *throttle) grantLocked() {
	for len(t.wait) > 0 && t.wait[0].n <= t.free {
		w := t.wait[0]
		t.wait[0] = nil
		t.wait = t.wait[1:]
		t.free -= w.n
		close(w.ready)
	}
	if len(t.wait) == 0 {
		t.wait = nil
	}
}
