package radostest

import (
	"bytes"
	"testing"
	"time"

	"github.com/spirula/spirula/rados"
	"github.com/spirula/spirula/rados/wire"
)

func (s *suite) lock(t *testing.T) {
	x, ctx := s.x, s.ctx
	s.ok(x.LockExclusive(ctx, "o", "l", "c1", rados.LockOptions{Description: "mine"}))
	s.fails(x.LockExclusive(ctx, "o", "l", "c1", rados.LockOptions{}), wire.EEXIST)
	s.ok(x.LockExclusive(ctx, "o", "l", "c1", rados.LockOptions{Flags: rados.LockMayRenew}))
	s.fails(x.LockExclusive(ctx, "o", "l", "c2", rados.LockOptions{}), wire.EBUSY)
	l, err := x.ListLockers(ctx, "o", "l")
	s.ok(err)
	if !l.Exclusive || len(l.List) != 1 || l.List[0].Cookie != "c1" || l.List[0].Client.Num != s.c.ID() {
		t.Errorf("lockers: %+v", l)
	}
	s.fails(x.Unlock(ctx, "o", "l", "c2"), wire.ENOENT)
	s.ok(x.Unlock(ctx, "o", "l", "c1"))
	shared := rados.LockOptions{Tag: "t"}
	s.ok(x.LockShared(ctx, "o", "l", "c1", shared))
	s.ok(x.LockShared(ctx, "o", "l", "c2", shared))
	s.fails(x.LockShared(ctx, "o", "l", "c3", rados.LockOptions{Tag: "u"}), wire.EBUSY)
	l, err = x.ListLockers(ctx, "o", "l")
	s.ok(err)
	if l.Exclusive || l.Tag != "t" || len(l.List) != 2 {
		t.Errorf("lockers: %+v", l)
	}
	names, err := x.ListLocks(ctx, "o")
	if err != nil || len(names) != 1 || names[0] != "l" {
		t.Errorf("locks: %q %v", names, err)
	}
	s.ok(x.BreakLock(ctx, "o", "l", l.List[0].Client, l.List[0].Cookie))
	s.ok(x.BreakLock(ctx, "o", "l", l.List[1].Client, l.List[1].Cookie))
	s.fails(x.BreakLock(ctx, "o", "l", l.List[1].Client, l.List[1].Cookie), wire.ENOENT)
	s.ok(x.LockExclusive(ctx, "o", "brief", "c1", rados.LockOptions{Duration: time.Second}))
	s.fails(x.LockExclusive(ctx, "o", "brief", "c2", rados.LockOptions{}), wire.EBUSY)
	for end := time.Now().Add(time.Minute); ; time.Sleep(100 * time.Millisecond) {
		if x.LockExclusive(ctx, "o", "brief", "c2", rados.LockOptions{}) == nil {
			break
		}
		if time.Now().After(end) {
			t.Fatal("a lock of one second does not end")
		}
	}
}

func (s *suite) ownSnap(t *testing.T) {
	x, ctx := s.x, s.ctx
	s.ok(x.WriteFull(ctx, "o", []byte("one")))
	first, err := x.CreateSnap(ctx)
	s.ok(err)
	w, err := x.WithSnapContext(wire.SnapContext{Seq: first, Snaps: []wire.SnapID{first}})
	s.ok(err)
	s.ok(w.WriteFull(ctx, "o", []byte("two")))
	second, err := x.CreateSnap(ctx)
	s.ok(err)
	if second <= first {
		t.Errorf("snapshots %d, %d", first, second)
	}
	_, err = x.WithSnapContext(wire.SnapContext{Seq: first, Snaps: []wire.SnapID{first, second}})
	s.fails(err, wire.EINVAL)
	w, err = x.WithSnapContext(wire.SnapContext{Seq: second, Snaps: []wire.SnapID{second, first}})
	s.ok(err)
	s.ok(w.Remove(ctx, "o"))
	s.holds(x.WithSnapRead(first), "o", "one")
	s.holds(x.WithSnapRead(second), "o", "two")
	_, err = x.ReadAll(ctx, "o")
	s.fails(err, wire.ENOENT)
	clones, seq, err := x.ListSnaps(ctx, "o")
	s.ok(err)
	if len(clones) != 2 || clones[0].Clone != first || clones[1].Clone != second || seq != second {
		t.Errorf("clones %+v of %d", clones, seq)
	}
	s.ok(w.Rollback(ctx, "o", first))
	s.holds(x, "o", "one")
	s.ok(x.RemoveSnaps(ctx, []wire.SnapID{first, second}))
	s.ok(x.RemoveSnaps(ctx, []wire.SnapID{first}))
	s.fails(x.SnapCreate(ctx, "p"), wire.EINVAL)
}

func (s *suite) poolSnap(t *testing.T) {
	x, ctx := s.x, s.ctx
	s.ok(x.WriteFull(ctx, "o", []byte("one")))
	s.ok(x.SnapCreate(ctx, "first"))
	s.fails(x.SnapCreate(ctx, "first"), wire.EEXIST)
	s.ok(x.WriteFull(ctx, "o", []byte("two")))
	s.ok(x.WriteFull(ctx, "later", []byte("x")))
	snap, err := x.SnapLookup("first")
	s.ok(err)
	_, err = x.SnapLookup("second")
	s.fails(err, wire.ENOENT)
	if l := x.SnapList(); len(l) != 1 || l[0] != snap || time.Since(snap.Stamp).Abs() > time.Hour {
		t.Errorf("snapshots: %+v", l)
	}
	s.holds(x.WithSnapRead(snap.ID), "o", "one")
	s.holds(x, "o", "two")
	s.ok(x.SnapRollback(ctx, "o", "first"))
	s.ok(x.SnapRollback(ctx, "later", "first"))
	s.holds(x, "o", "one")
	_, err = x.ReadAll(ctx, "later")
	s.fails(err, wire.ENOENT)
	s.ok(x.SnapRemove(ctx, "first"))
	s.fails(x.SnapRemove(ctx, "first"), wire.ENOENT)
	_, err = x.CreateSnap(ctx)
	s.fails(err, wire.EINVAL)
}

func (s *suite) watch(t *testing.T) {
	x, ctx := s.x, s.ctx
	_, err := x.Watch(ctx, "o", rados.WatchOptions{})
	s.fails(err, wire.ENOENT)
	s.ok(x.Create(ctx, "o", true))
	res, err := x.Notify(ctx, "o", []byte("nobody"), time.Second)
	if err != nil || len(res.Replies)+len(res.Missed) != 0 {
		t.Errorf("notify without watchers: %+v %v", res, err)
	}
	gone := make(chan error, 1)
	a, err := x.Watch(ctx, "o", rados.WatchOptions{OnNotify: func(n *rados.Notification) {
		if string(n.Payload) != "for one" {
			s.ok(n.Ack(ctx, append([]byte("a got "), n.Payload...)))
		}
	}, OnError: func(err error) { gone <- err }})
	s.ok(err)
	b, err := x.Watch(ctx, "o", rados.WatchOptions{Timeout: time.Minute, OnNotify: func(n *rados.Notification) {
		if n.Notifier != uint64(s.c.ID()) || n.Cookie == a.Cookie() {
			t.Errorf("notification %+v", n)
		}
		s.ok(n.Ack(ctx, []byte("b did")))
	}})
	s.ok(err)
	ws, err := x.ListWatchers(ctx, "o")
	if err != nil || len(ws) != 2 || ws[0].Client.Num != s.c.ID() {
		t.Errorf("watchers: %+v %v", ws, err)
	}
	res, err = x.Notify(ctx, "o", []byte("all"), 30*time.Second)
	s.ok(err)
	got := make(map[uint64]string)
	for _, r := range res.Replies {
		got[r.Cookie] = string(r.Payload)
	}
	if len(got) != 2 || got[a.Cookie()] != "a got all" || got[b.Cookie()] != "b did" || len(res.Missed) != 0 {
		t.Errorf("notify: %+v", res)
	}
	res, err = x.Notify(ctx, "o", []byte("for one"), time.Second)
	s.fails(err, wire.ETIMEDOUT)
	if len(res.Replies) != 1 || len(res.Missed) != 1 || res.Missed[0].Cookie != a.Cookie() || !bytes.Equal(res.Replies[0].Payload, []byte("b did")) {
		t.Errorf("notify that one does not answer: %+v", res)
	}
	s.ok(b.Close(ctx))
	s.ok(b.Close(ctx))
	if _, err := a.Check(); err != nil {
		t.Errorf("check: %v", err)
	}
	ws, err = x.ListWatchers(ctx, "o")
	if err != nil || len(ws) != 1 || ws[0].Cookie != a.Cookie() {
		t.Errorf("watchers: %+v %v", ws, err)
	}
	s.ok(x.Remove(ctx, "o"))
	select {
	case err := <-gone:
		s.fails(err, wire.ENOTCONN)
	case <-ctx.Done():
		t.Error("the watch of a deleted object goes on")
	}
	if _, err := a.Check(); err == nil {
		t.Error("the watch of a deleted object seems well")
	}
	if err := a.Close(ctx); err != nil && wire.ErrnoOf(err) != wire.ENOENT {
		t.Errorf("close: %v", err)
	}
}
