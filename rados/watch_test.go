package rados_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/spirula/spirula/rados"
	"github.com/spirula/spirula/rados/clustermap"
	"github.com/spirula/spirula/rados/msgr"
	"github.com/spirula/spirula/rados/wire"
)

// watchers is an OSD's memory of the watches of its objects, for hooks of all
// OSDs of a world.
type watchers struct {
	mu    sync.Mutex
	conns map[uint64]msgr.Conn // by cookie
	gens  map[uint64]uint32
	log   []string
	lose  bool // forget watches: PING and RECONNECT are ENOTCONN
	slow  bool // no answer to PING
	last  uint64
}

func (s *watchers) hook(c msgr.Conn, m wire.Message) bool {
	op, ok := m.(*wire.MOSDOp)
	if !ok || len(op.Ops) != 1 {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	o := &op.Ops[0]
	r := &wire.MOSDOpReply{TID: op.TID, Attempt: op.Attempt, Results: make([]wire.OpResult, 1)}
	var after []wire.Message
	to := c
	switch o.Code {
	case wire.OpWatch:
		s.log = append(s.log, fmt.Sprint(o.Watch, o.Gen))
		switch {
		case o.Watch == wire.WatchPing && s.slow:
			return true
		case o.Watch == wire.WatchUnwatch:
			delete(s.conns, o.Num)
		case o.Watch == wire.WatchRegister || o.Watch == wire.WatchReconnect && !s.lose:
			s.conns[o.Num] = c
		case s.lose || s.conns[o.Num] != c:
			r.Result = -int32(wire.ENOTCONN)
		}
	case wire.OpNotify:
		in, err := wire.DecodeNotifyInput(o.Value)
		if err != nil {
			r.Result = -int32(wire.EINVAL)
			break
		}
		s.last++
		r.Results[0].Value = binary.LittleEndian.AppendUint64(nil, s.last)
		for cookie, conn := range s.conns {
			to = conn
			after = append(after, &wire.MWatchNotify{Event: wire.EventNotify, Cookie: cookie, NotifyID: s.last, Payload: in.Payload, Notifier: 5})
		}
		res := wire.NotifyResult{Replies: []wire.NotifyReply{{Payload: in.Payload}}}
		after = append(after, &wire.MWatchNotify{Event: wire.EventNotifyComplete, Cookie: o.Num, NotifyID: s.last, Payload: res.Append(nil)})
	default:
		return false
	}
	c.Send(r)
	for _, m := range after {
		to.Send(m)
	}
	return true
}

func (s *watchers) take() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := fmt.Sprint(s.log)
	s.log = nil
	return out
}

func watchWorld(t *testing.T) (*world, *watchers, *rados.IOCtx) {
	w := newWorld(t, 3, true)
	s := &watchers{conns: make(map[uint64]msgr.Conn), gens: make(map[uint64]uint32)}
	for _, o := range w.osds {
		o.SetHook(s.hook)
	}
	return w, s, w.pool(w.client(nil))
}

// TestWatch registers, pings, registers anew where it may be forgotten, and
// takes the watch back.
func TestWatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, s, x := watchWorld(t)
		var got []string
		watch, err := x.Watch(bg, "o", rados.WatchOptions{OnNotify: func(n *rados.Notification) {
			got = append(got, fmt.Sprintf("%d %s of %d", n.ID, n.Payload, n.Notifier))
		}, OnError: func(err error) { t.Error(err) }})
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(11 * time.Second)
		if log := s.take(); log != "[3 0 7 0 7 0]" {
			t.Errorf("register and two pings: %s", log)
		}
		if age, err := watch.Check(); err != nil || age > 5*time.Second {
			t.Errorf("check: %v, %v", age, err)
		}
		s.mu.Lock()
		s.conns[watch.Cookie()].Close()
		s.mu.Unlock()
		time.Sleep(time.Second)
		if log := s.take(); log != "[5 1]" {
			t.Errorf("after a reset: %s", log)
		}
		w.change(func(inc *clustermap.Incremental) { inc.MarkDown(w.cur, w.primary("o")) })
		time.Sleep(time.Second)
		if log := s.take(); log != "[5 2]" {
			t.Errorf("after a change of the map: %s", log)
		}
		res, err := x.Notify(bg, "o", []byte("hello"), time.Second)
		if err != nil || len(res.Replies) != 1 || string(res.Replies[0].Payload) != "hello" {
			t.Errorf("notify: %+v, %v", res, err)
		}
		synctest.Wait()
		if fmt.Sprint(got) != "[1 hello of 5]" {
			t.Errorf("notified: %q", got)
		}
		s.take()
		if err := watch.Close(bg); err != nil {
			t.Error(err)
		}
		if log := s.take(); log != "[0 2]" {
			t.Errorf("close: %s", log)
		}
		time.Sleep(time.Minute)
		if log := s.take(); log != "[]" {
			t.Errorf("after close: %s", log)
		}
	})
}

// TestWatchLost says once that a watch is gone.
func TestWatchLost(t *testing.T) {
	for _, how := range []string{"ping", "reconnect", "disconnect"} {
		t.Run(how, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				_, s, x := watchWorld(t)
				errs := make(chan error, 4)
				watch, err := x.Watch(bg, "o", rados.WatchOptions{Timeout: 6 * time.Second, OnError: func(err error) { errs <- err }})
				if err != nil {
					t.Fatal(err)
				}
				s.mu.Lock()
				s.lose = true
				conn := s.conns[watch.Cookie()]
				s.mu.Unlock()
				switch how {
				case "reconnect":
					conn.Close()
				case "disconnect":
					conn.Send(&wire.MWatchNotify{Event: wire.EventDisconnect, Cookie: watch.Cookie()})
				}
				time.Sleep(time.Minute)
				if len(errs) != 1 {
					t.Fatalf("%d errors", len(errs))
				}
				if err := <-errs; wire.ErrnoOf(err) != wire.ENOTCONN {
					t.Error(err)
				}
				if _, err := watch.Check(); wire.ErrnoOf(err) != wire.ENOTCONN {
					t.Error(err)
				}
				watch.Close(bg)
			})
		})
	}
}

// TestWatchSlow neither blocks the session nor grows when a callback hangs.
func TestWatchSlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, s, x := watchWorld(t)
		hold := make(chan struct{})
		n := 0
		watch, err := x.Watch(bg, "o", rados.WatchOptions{OnNotify: func(*rados.Notification) {
			<-hold
			n++
		}})
		if err != nil {
			t.Fatal(err)
		}
		s.mu.Lock()
		conn := s.conns[watch.Cookie()]
		s.mu.Unlock()
		for i := range 300 {
			conn.Send(&wire.MWatchNotify{Event: wire.EventNotify, Cookie: watch.Cookie(), NotifyID: uint64(i)})
		}
		conn.Send(&wire.MWatchNotify{Event: wire.EventNotify, Cookie: 12345}) // nobody's
		m := &x.Client().Metrics
		if m.Notices.Load() != 300 || m.Dropped.Load() == 0 {
			t.Errorf("%d notices, %d dropped", m.Notices.Load(), m.Dropped.Load())
		}
		close(hold)
		synctest.Wait()
		if n+int(m.Dropped.Load()) != 300 {
			t.Errorf("%d handled, %d dropped", n, m.Dropped.Load())
		}
		// Close of the client ends the watch too.
	})
}

// TestNotifyTimes ends a notify with its context.
func TestNotifyTimes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, _, x := watchWorld(t)
		for _, o := range w.osds {
			o.SetHook(func(c msgr.Conn, m wire.Message) bool {
				op := m.(*wire.MOSDOp)
				c.Send(&wire.MOSDOpReply{TID: op.TID, Attempt: op.Attempt, Results: []wire.OpResult{{Value: make([]byte, 8)}}})
				return true
			})
		}
		ctx, cancel := context.WithTimeout(bg, time.Minute)
		defer cancel()
		if _, err := x.Notify(ctx, "o", nil, time.Second); wire.ErrnoOf(err) != wire.ETIMEDOUT {
			t.Error(err)
		}
	})
}
