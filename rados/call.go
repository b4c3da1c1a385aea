package rados

import (
	"context"
	"sync"

	"github.com/spirula/spirula/rados/wire"
)

// canceller is who is told when a waiter gives a Call up.
type canceller interface {
	cancelCall(c *Call, err error)
}

// Call is an Op under way. Any number of goroutines may wait for it.
type Call struct {
	op *Op

	mu       sync.Mutex
	done     chan struct{} // made by the first who needs it
	finished bool
	reply    *Reply
	err      error
	owner    canceller
}

// NewCall is for those who implement Doer: a Call for op that Complete will
// finish.
func NewCall(op *Op) *Call { return &Call{op: op} }

// Op is what was started.
func (c *Call) Op() *Op { return c.op }

// Complete finishes the call; the first one counts. It reports whether it
// was the first: if not, the reply's Data are still the caller's to release.
// It is for those who implement Doer.
func (c *Call) Complete(reply *Reply, err error) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.finished {
		return false
	}
	c.reply, c.err, c.finished = reply, err, true
	if c.done != nil {
		close(c.done)
	}
	return true
}

// Done is closed when the answer is there.
func (c *Call) Done() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.done == nil {
		c.done = make(chan struct{})
		if c.finished {
			close(c.done)
		}
	}
	return c.done
}

// Wait gives the answer, as Doer describes it. When ctx ends first the call
// is given up for all its waiters: its error is ctx's, it is not resent any
// more, and a late answer is dropped. A write may then still happen.
func (c *Call) Wait(ctx context.Context) (*Reply, error) {
	c.mu.Lock()
	if c.finished {
		c.mu.Unlock()
		return c.reply, c.err
	}
	if c.done == nil {
		c.done = make(chan struct{})
	}
	done, owner := c.done, c.owner
	c.mu.Unlock()
	select {
	case <-done:
	case <-ctx.Done():
		err := wire.Wrap("rados.wait", c.op.Object, &ctxError{ctx.Err()})
		if owner != nil {
			owner.cancelCall(c, err)
		} else {
			c.Complete(nil, err)
		}
		<-done
	}
	return c.reply, c.err
}

// ctxError gives a context's error the kind ETIMEDOUT, or ECANCELED's
// stand-in ESHUTDOWN when somebody gave up: ECANCELED itself means that a
// comparison failed.
type ctxError struct{ err error }

func (e *ctxError) Error() string { return e.err.Error() }

func (e *ctxError) Unwrap() []error {
	if e.err == context.DeadlineExceeded {
		return []error{e.err, wire.ETIMEDOUT}
	}
	return []error{e.err, wire.ESHUTDOWN}
}

// ResultError is the error that goes with a reply: nil when its Result is
// not negative. It is for those who implement Doer.
func ResultError(op *Op, reply *Reply) error {
	if reply.Result >= 0 {
		return nil
	}
	return wire.Errorf("rados.do", op.Object, wire.Errno(-reply.Result))
}
