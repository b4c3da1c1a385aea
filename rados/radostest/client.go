package radostest

import (
	"context"
	"sync"
	"time"

	"github.com/spirula/spirula/rados"
	"github.com/spirula/spirula/rados/wire"
)

// Client is one client of a Pool. Its hooks apply to it alone, so that one
// of two daemons can be cut off. Without hooks an operation is done when
// Start returns.
type Client struct {
	pool *Pool

	mu       sync.Mutex
	latency  func(*rados.Op) time.Duration
	inject   func(n int, op *rados.Op) error
	observe  func(n int, op *rados.Op, reply *rados.Reply)
	queues   map[objectKey][]*rados.Call // started, not yet run; by object
	ops      int                         // vectors run or refused
	writes   int                         // writing vectors applied
	budget   int                         // writes left before the freeze; counted when limited
	limited  bool
	dropLast bool
	frozen   bool
	fail     error
}

var _ rados.Doer = (*Client)(nil)

// Pool is the pool that the client is one of.
func (c *Client) Pool() *Pool { return c.pool }

// SetLatency makes every operation wait as long as fn says before it runs,
// on a goroutine of its own: operations on different objects overtake each
// other, those on one object don't. nil goes back to running inside Start.
func (c *Client) SetLatency(fn func(*rados.Op) time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.latency = fn
}

// SetInject has fn asked before each vector, n counting from 1. An error it
// returns becomes the vector's, which then has no effect.
func (c *Client) SetInject(fn func(n int, op *rados.Op) error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.inject = fn
}

// SetObserve has fn called after each vector that ran, before its answer.
func (c *Client) SetObserve(fn func(n int, op *rados.Op, reply *rados.Reply)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.observe = fn
}

// FreezeAfter cuts the client off once n more writing vectors were applied:
// later operations have no effect, and fail with err, or are never answered
// when err is nil. With dropLast the answer of the n-th is lost as well. A
// freeze after 0 is at once.
func (c *Client) FreezeAfter(n int, dropLast bool, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.limited, c.budget, c.dropLast, c.fail = true, n, dropLast, err
	c.frozen = n == 0
}

// Frozen reports whether the freeze has happened.
func (c *Client) Frozen() bool { return c.isFrozen() }

func (c *Client) isFrozen() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.frozen
}

func (c *Client) frozenError(op string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.fail != nil {
		return wire.Wrap("radostest."+op, "", c.fail)
	}
	return wire.Errorf("radostest."+op, "", wire.ESHUTDOWN)
}

// Writes is the number of writing vectors applied so far.
func (c *Client) Writes() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.writes
}

// Ops is the number of vectors so far, refused ones included.
func (c *Client) Ops() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.ops
}

// Do implements rados.Doer.
func (c *Client) Do(ctx context.Context, op *rados.Op) (*rados.Reply, error) {
	return c.Start(ctx, op).Wait(ctx)
}

// Start implements rados.Doer.
func (c *Client) Start(ctx context.Context, op *rados.Op) *rados.Call {
	call := rados.NewCall(op)
	if err := ctx.Err(); err != nil {
		call.Complete(nil, rados.ContextError("rados.start", op.Object, err))
		return call
	}
	c.mu.Lock()
	if c.latency == nil && len(c.queues[keyOf(op)]) == 0 {
		c.mu.Unlock()
		c.run(call)
		return call
	}
	for i := range op.Ops {
		op.Ops[i].Data.Retain()
	}
	k := keyOf(op)
	c.queues[k] = append(c.queues[k], call)
	first := len(c.queues[k]) == 1
	c.mu.Unlock()
	if first {
		go c.drain(k)
	}
	return call
}

// drain runs the queue of one object until it is empty.
func (c *Client) drain(k objectKey) {
	for {
		c.mu.Lock()
		call, latency := c.queues[k][0], c.latency
		c.mu.Unlock()
		if latency != nil {
			if d := latency(call.Op()); d > 0 {
				time.Sleep(d)
			}
		}
		var held []wire.Data // the caller may change the op once it is answered
		for i := range call.Op().Ops {
			held = append(held, call.Op().Ops[i].Data)
		}
		c.run(call)
		for _, d := range held {
			d.Release()
		}
		c.mu.Lock()
		rest := c.queues[k][1:]
		c.queues[k] = rest
		if len(rest) == 0 { // in the same step: a Start in between would begin a second drain
			delete(c.queues, k)
			c.mu.Unlock()
			return
		}
		c.mu.Unlock()
	}
}

// run executes one call now and answers it, unless the client is cut off.
func (c *Client) run(call *rados.Call) {
	op := call.Op()
	p := c.pool
	p.mu.Lock()
	n, inject, err, lost := c.admit()
	if lost {
		p.mu.Unlock()
		if err != nil {
			call.Complete(nil, wire.Wrap("rados.do", op.Object, err))
		}
		return
	}
	if inject != nil {
		if err := inject(n, op); err != nil {
			p.mu.Unlock()
			call.Complete(nil, wire.Wrap("rados.do", op.Object, err))
			return
		}
	}
	before := p.version
	reply := p.run(op)
	reply.TID = uint64(n)
	observe, err, lost := c.applied(p.version != before)
	p.mu.Unlock()
	if observe != nil {
		observe(n, op, reply)
	}
	if lost {
		reply.Release()
		if err != nil {
			call.Complete(nil, wire.Wrap("rados.do", op.Object, err))
		}
		return
	}
	if !call.Complete(reply, rados.ResultError(op, reply)) {
		reply.Release()
	}
}

// admit counts one vector; lost means that the client is cut off, and err
// is then the answer, nil for none.
func (c *Client) admit() (n int, inject func(int, *rados.Op) error, err error, lost bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ops++
	return c.ops, c.inject, c.fail, c.frozen
}

// applied counts one vector that ran, and freezes the client when its budget
// of writes is used up.
func (c *Client) applied(wrote bool) (observe func(int, *rados.Op, *rados.Reply), err error, lost bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !wrote {
		return c.observe, nil, false
	}
	c.writes++
	if c.limited && !c.frozen {
		c.budget--
		if c.budget == 0 {
			c.frozen = true
			return c.observe, c.fail, c.dropLast
		}
	}
	return c.observe, nil, false
}
