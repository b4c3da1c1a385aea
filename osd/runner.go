package osd

import "sync"

// runner runs requests that were parked, on up to max goroutines that end
// when there is nothing to do. Its queue is bounded by the requests that PGs
// admit and hold.
type runner struct {
	max int

	mu      sync.Mutex
	queue   []func()
	running int
	closed  bool
	idle    sync.WaitGroup
}

func newRunner(max int) *runner { return &runner{max: max} }

// run has f called soon, unless the runner is closed.
func (r *runner) run(f func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return
	}
	r.queue = append(r.queue, f)
	if r.running < r.max {
		r.running++
		r.idle.Go(r.loop)
	}
}

func (r *runner) loop() {
	r.mu.Lock()
	for len(r.queue) > 0 && !r.closed {
		f := r.queue[0]
		r.queue[0] = nil
		r.queue = r.queue[1:]
		r.mu.Unlock()
		f()
		r.mu.Lock()
	}
	r.running--
	r.mu.Unlock()
}

// close drops what waits and returns when nothing runs.
func (r *runner) close() {
	r.mu.Lock()
	r.closed = true
	r.queue = nil
	r.mu.Unlock()
	r.idle.Wait()
}
