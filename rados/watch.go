package rados

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"sync"
	"time"

	"github.com/spirula/spirula/rados/wire"
)

// Bounds and periods of watches and notifies.
const (
	defaultWatchTimeout  = 30 * time.Second
	defaultNotifyTimeout = 10 * time.Second
	maxWatchPing         = 5 * time.Second // a shorter timeout has it pinged three times
	maxWatchQueue        = 256             // events that wait for a slow callback; more are dropped
)

// Notification is what a watch receives from Notify.
type Notification struct {
	ID       uint64 // of the notify
	Cookie   uint64 // of the watch
	Notifier uint64 // the notifying client's ID
	Payload  []byte

	w *Watch
}

// Ack answers a notification; the notifier receives payload. It may be called
// from the callback or later, in its time or without effect.
func (n *Notification) Ack(ctx context.Context, payload []byte) error {
	return n.w.x.NotifyAck(ctx, n.w.object, n.ID, n.Cookie, payload)
}

// WatchOptions say what a watch does. OnNotify and OnError are called on a
// goroutine of the watch, one after the other. One that takes long makes later
// notifications wait, and beyond 256 they are dropped; it must not call Close
// of the watch or of the client.
type WatchOptions struct {
	// Timeout is how long the cluster keeps the watch of a client that does
	// not show up; 30 s if zero. Seconds count.
	Timeout time.Duration
	// OnNotify answers with Notification.Ack; who does not answer in the
	// notifier's time is among the missed ones.
	OnNotify func(*Notification)
	// OnError says that the watch is gone: ENOTCONN if it was dropped, so that
	// notifications may have been missed, ENOENT if the object was deleted.
	// It is called once; a new Watch is the caller's to make.
	OnError func(error)
}

// Watch is the interest of this client in the notifications of an object. It
// lives through lost sessions and changes of the map; Close ends it.
type Watch struct {
	x      *IOCtx
	c      *Client
	object string
	opts   WatchOptions
	cookie uint64
	place  linger

	ctx   context.Context
	stop  context.CancelFunc
	wg    sync.WaitGroup
	queue chan *wire.MWatchNotify
	end   func()

	mu        sync.Mutex
	gen       uint32
	confirmed time.Time // when the OSD last said that the watch stands
	err       error
	closed    bool
}

// Watch registers a watch on an object, which has to exist.
func (x *IOCtx) Watch(ctx context.Context, object string, opts WatchOptions) (*Watch, error) {
	p := x.Pool()
	if p == nil {
		return nil, wire.Errorf("rados.watch: the pool is gone", x.name, wire.ENOENT)
	}
	if opts.Timeout <= 0 {
		opts.Timeout = defaultWatchTimeout
	}
	c := x.c
	w := &Watch{x: x, c: c, object: object, opts: opts, queue: make(chan *wire.MWatchNotify, maxWatchQueue), cookie: newCookie(),
		place: linger{pool: x.pool, hash: p.HashName(x.namespace, x.key, object)}}
	w.ctx, w.stop = context.WithCancel(c.ctx)
	c.lingerMu.Lock()
	c.watches[w.cookie] = w
	c.lingerMu.Unlock()
	w.end = c.follow(&w.place)
	if err := w.tell(ctx, wire.WatchRegister); err != nil {
		w.stop()
		w.forget()
		return nil, wire.Wrap("rados.watch", object, err)
	}
	w.wg.Go(w.keep)
	w.wg.Go(w.dispatch)
	return w, nil
}

// newCookie gives a number that no other watch or notify of this client has.
func newCookie() uint64 {
	var b [8]byte
	rand.Read(b[:])
	return binary.LittleEndian.Uint64(b[:])&^(1<<63) | 1
}

// tell sends one WATCH operation.
func (w *Watch) tell(ctx context.Context, what wire.WatchOp) error {
	w.mu.Lock()
	if what == wire.WatchReconnect {
		w.gen++
	}
	gen, began := w.gen, time.Now()
	w.mu.Unlock()
	op := &Op{Object: w.object, Flags: wire.FlagWrite, Ops: []wire.Op{{Code: wire.OpWatch, Watch: what, Num: w.cookie, Gen: gen,
		Len: uint64((w.opts.Timeout + time.Second - 1) / time.Second)}}}
	_, err := w.x.Do(ctx, op)
	if err == nil {
		w.mu.Lock()
		w.confirmed = began
		w.mu.Unlock()
	}
	return err
}

// keep pings the watch, and registers it anew where it may be forgotten.
func (w *Watch) keep() {
	ticker := time.NewTicker(min(maxWatchPing, w.opts.Timeout/3))
	defer ticker.Stop()
	for {
		what := wire.WatchPing
		select {
		case <-w.ctx.Done():
			return
		case <-w.place.lost:
			what = wire.WatchReconnect
		case <-ticker.C:
		}
		ctx, cancel := context.WithTimeout(w.ctx, w.opts.Timeout)
		err := w.tell(ctx, what)
		cancel()
		switch kind := wire.ErrnoOf(err); {
		case err == nil || w.ctx.Err() != nil:
		case kind == wire.ETIMEDOUT:
			w.mu.Lock()
			late := time.Since(w.confirmed) > w.opts.Timeout
			w.mu.Unlock()
			if what == wire.WatchReconnect || late {
				select { // it is tried until it is known what became of it
				case w.place.lost <- struct{}{}:
				default:
				}
			}
		default:
			w.fail(err)
			return
		}
	}
}

// fail ends the watch for good.
func (w *Watch) fail(err error) {
	w.mu.Lock()
	first := w.err == nil
	if first {
		w.err = wire.Wrap("rados.watch", w.object, err)
	}
	w.mu.Unlock()
	if first {
		select {
		case w.queue <- nil: // for dispatch, in turn
		case <-w.ctx.Done():
		}
	}
}

// dispatch calls the callbacks.
func (w *Watch) dispatch() {
	for {
		var m *wire.MWatchNotify
		select {
		case <-w.ctx.Done():
			return
		case m = <-w.queue:
		}
		switch {
		case m == nil:
			if w.opts.OnError != nil {
				w.opts.OnError(w.error())
			}
		case m.Event == wire.EventDisconnect:
			w.mu.Lock()
			first := w.err == nil
			if first {
				w.err = wire.Errorf("rados.watch: dropped by the cluster", w.object, wire.ENOTCONN)
			}
			w.mu.Unlock()
			if first && w.opts.OnError != nil {
				w.opts.OnError(w.error())
			}
		case w.opts.OnNotify != nil:
			w.opts.OnNotify(&Notification{ID: m.NotifyID, Cookie: m.Cookie, Notifier: m.Notifier, Payload: m.Payload, w: w})
		}
	}
}

func (w *Watch) error() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.err
}

// Cookie identifies the watch among those of this client.
func (w *Watch) Cookie() uint64 { return w.cookie }

// Check gives the time since the cluster last confirmed the watch:
// notifications sent before that were received. The error is the watch's end.
func (w *Watch) Check() (time.Duration, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return time.Since(w.confirmed), w.err
}

// Close ends the watch (librados: unwatch) and waits for its callbacks; not to
// be called from one. It may be called twice. An error means that the cluster
// may keep the watch until its time is over.
func (w *Watch) Close(ctx context.Context) error {
	w.mu.Lock()
	closed := w.closed
	w.closed = true
	w.mu.Unlock()
	w.stop()
	w.wg.Wait()
	if closed {
		return nil
	}
	defer w.forget()
	return wire.Wrap("rados.unwatch", w.object, w.tell(ctx, wire.WatchUnwatch))
}

func (w *Watch) forget() {
	w.end()
	w.c.lingerMu.Lock()
	defer w.c.lingerMu.Unlock()
	delete(w.c.watches, w.cookie)
}

// closeWatches waits for the watches' goroutines, when the client has ended.
func (c *Client) closeWatches() {
	c.lingerMu.Lock()
	list := make([]*Watch, 0, len(c.watches))
	for _, w := range c.watches {
		list = append(list, w)
	}
	c.lingerMu.Unlock()
	for _, w := range list {
		w.wg.Wait()
	}
}

// watchEvent takes what an OSD says to a watch or a notifier. It does not wait.
func (c *Client) watchEvent(m *wire.MWatchNotify) {
	c.lingerMu.Lock()
	w, n := c.watches[m.Cookie], c.notifies[m.Cookie]
	c.lingerMu.Unlock()
	switch {
	case m.Event == wire.EventNotifyComplete && n != nil:
		select {
		case n.complete <- m:
		default:
		}
	case m.Event != wire.EventNotifyComplete && w != nil:
		c.Metrics.Notices.Add(1)
		select {
		case w.queue <- m:
		default:
			c.Metrics.Dropped.Add(1)
		}
	}
}
