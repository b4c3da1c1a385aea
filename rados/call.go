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
		err := ContextError("rados.wait", c.op.Object, ctx.Err())
		if owner != nil {
			owner.cancelCall(c, err)
		} else {
			c.Complete(nil, err)
		}
		<-done
	}
	return c.reply, c.err
}

// ContextError is the error of an operation whose context ended, with the
// kind ETIMEDOUT whether its time was over or somebody gave up; errors.Is
// tells which. It is for those who implement Doer.
func ContextError(op, subject string, cause error) error {
	return wire.Wrap(op, subject, &ctxError{cause})
}

// ctxError gives a context's error a kind. Not ECANCELED: that means that a
// comparison failed. Not ESHUTDOWN: that means that the client is shut out.
type ctxError struct{ err error }

func (e *ctxError) Error() string { return e.err.Error() }

func (e *ctxError) Unwrap() []error { return []error{e.err, wire.ETIMEDOUT} }

// ResultError is the error that goes with a reply: nil when its Result is
// not negative. It is for those who implement Doer.
func ResultError(op *Op, reply *Reply) error {
	if reply.Result >= 0 {
		return nil
	}
	return wire.Errorf("rados.do", op.Object, wire.Errno(-reply.Result))
}
