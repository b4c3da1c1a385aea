package nfs

import "sync"

// throttle bounds the bytes in flight. A taker waits until its share is free;
// nobody who holds one ever asks for more, so waiting ends.
type throttle struct {
	mu   sync.Mutex
	cond sync.Cond
	free int64
	size int64
}

func (t *throttle) init(n int64) {
	t.free, t.size = n, n
	t.cond.L = &t.mu
}

func (t *throttle) take(n int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for t.free < n && t.free < t.size {
		t.cond.Wait()
	}
	t.free -= n
}

func (t *throttle) release(n int64) {
	if n == 0 {
		return
	}
	t.mu.Lock()
	t.free += n
	t.mu.Unlock()
	t.cond.Broadcast()
}
