package rados

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/spirula/spirula/rados/wire"
)

func TestThrottleInTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		th := throttle{maxOps: 3, maxBytes: 100}
		ctx := context.Background()
		if err := th.enter(ctx, 500); err != nil { // larger than all: alone
			t.Fatal(err)
		}
		var mu sync.Mutex
		var order []int
		enter := func(n, bytes int) {
			go func() {
				if err := th.enter(ctx, bytes); err != nil {
					t.Errorf("%d: %v", n, err)
				}
				mu.Lock()
				defer mu.Unlock()
				order = append(order, n)
			}()
			synctest.Wait()
		}
		enter(1, 60)
		enter(2, 60) // does not fit beside 1
		enter(3, 1)  // would, but it is not its turn
		short, cancel := context.WithTimeout(ctx, time.Second)
		if err := th.enter(short, 1); wire.ErrnoOf(err) != wire.ETIMEDOUT {
			t.Errorf("waiting too long: %v", err)
		}
		cancel()
		th.leave(500)
		synctest.Wait()
		if got := fmt.Sprint(order); got != "[1]" {
			t.Errorf("in: %s", got)
		}
		th.leave(60)
		synctest.Wait()
		mu.Lock()
		if len(order) != 3 || order[0] != 1 {
			t.Errorf("in: %v", order)
		}
		mu.Unlock()
		if th.ops != 2 || th.bytes != 61 {
			t.Errorf("%d ops, %d bytes", th.ops, th.bytes)
		}
		th.close()
		if err := th.enter(ctx, 1); wire.ErrnoOf(err) != wire.ESHUTDOWN {
			t.Errorf("after close: %v", err)
		}
	})
}

func TestCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := NewCall(&Op{Object: "o"})
		done := c.Done()
		waiters := make(chan error, 2)
		for range 2 {
			go func() {
				_, err := c.Wait(context.Background())
				waiters <- err
			}()
		}
		synctest.Wait()
		select {
		case <-done:
			t.Error("done before it was completed")
		default:
		}
		r := &Reply{}
		if !c.Complete(r, nil) || c.Complete(nil, wire.EIO) {
			t.Error("the first completion counts, no other")
		}
		<-done
		<-c.Done()
		for range 2 {
			if err := <-waiters; err != nil {
				t.Error(err)
			}
		}
		if got, err := c.Wait(context.Background()); got != r || err != nil {
			t.Errorf("%v, %v", got, err)
		}
		d := NewCall(&Op{Object: "o"})
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if _, err := d.Wait(ctx); wire.ErrnoOf(err) != wire.ETIMEDOUT {
			t.Errorf("after a minute: %v", err)
		}
	})
}

func TestResultError(t *testing.T) {
	op := &Op{Object: "o"}
	for result, want := range map[int32]wire.Errno{0: 0, 1: 0, 42: 0, -2: wire.ENOENT, -125: wire.ECANCELED} {
		if got := wire.ErrnoOf(ResultError(op, &Reply{Result: result})); got != want {
			t.Errorf("result %d: kind %d, want %d", result, got, want)
		}
	}
}
