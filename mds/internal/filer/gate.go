package filer

import (
	"context"
	"sync"
)

// gate lets many pass, or one alone. Unlike a mutex it may be held during
// I/O, and waiting for it ends with a context. Whoever wants to be alone
// holds newcomers back.
type gate struct {
	mu      sync.Mutex
	inside  int
	alone   bool
	waiting int           // who want to be alone
	changed chan struct{} // nil: nobody waits
}

// await waits until ok, called with mu held, and returns with mu held; on an
// error, without it.
func (g *gate) await(ctx context.Context, ok func() bool) error {
	g.mu.Lock()
	for !ok() {
		if g.changed == nil {
			g.changed = make(chan struct{})
		}
		c := g.changed
		g.mu.Unlock()
		select {
		case <-c:
		case <-ctx.Done():
			return gaveUp("filer.wait", "", ctx)
		}
		g.mu.Lock()
	}
	return nil
}

func (g *gate) enter(ctx context.Context) error {
	if err := g.await(ctx, func() bool { return !g.alone && g.waiting == 0 }); err != nil {
		return err
	}
	g.inside++
	g.mu.Unlock()
	return nil
}

func (g *gate) leave() {
	g.mu.Lock()
	g.inside--
	g.wake()
	g.mu.Unlock()
}

func (g *gate) enterAlone(ctx context.Context) error {
	g.mu.Lock()
	g.waiting++
	g.mu.Unlock()
	err := g.await(ctx, func() bool { return !g.alone && g.inside == 0 })
	if err != nil {
		g.mu.Lock()
	}
	g.waiting--
	g.alone = g.alone || err == nil
	g.wake()
	g.mu.Unlock()
	return err
}

func (g *gate) leaveAlone() {
	g.mu.Lock()
	g.alone = false
	g.wake()
	g.mu.Unlock()
}

// wake wakes the waiters; with mu held.
func (g *gate) wake() {
	if g.changed != nil {
		close(g.changed)
		g.changed = nil
	}
}
