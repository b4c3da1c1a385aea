package mds

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/spirula/spirula/rados"
	"github.com/spirula/spirula/rados/wire"
)

// hold makes data vectors that carry bytes wait until the returned function
// is called.
func (f *testFS) hold() (release func()) {
	gate := make(chan struct{})
	f.data.SetLatency(func(op *rados.Op) time.Duration {
		for i := range op.Ops {
			if op.Ops[i].Code == wire.OpWrite {
				<-gate
			}
		}
		return 0
	})
	return func() {
		f.data.SetLatency(nil)
		close(gate)
	}
}

// putLater starts a put and gives the channel its error comes on.
func (f *testFS) putLater(b Ino, key string, body []byte) chan error {
	fs, done := f.FS, make(chan error, 1)
	g := &testFS{FS: fs, t: f.t}
	go func() {
		_, err := g.tryPut(b, key, body, Conditions{})
		done <- err
	}()
	return done
}

func (f *testFS) awaitPending(n int) {
	f.t.Helper()
	for range 2000 {
		f.mu.Lock()
		have := len(f.pending)
		f.mu.Unlock()
		if have == n {
			return
		}
		time.Sleep(time.Millisecond)
	}
	f.t.Fatalf("%d publishes never became pending", n)
}

// A journal trimmed behind an unconfirmed publish must end at a record.
func TestTrimKeepsToRecords(t *testing.T) {
	f := newFS(t)
	b := f.bucket("bucket")
	f.put(b.Ino, "before", []byte("x"))
	release := f.hold()
	done := f.putLater(b.Ino, "pending", randomBytes(1, 5000))
	f.awaitPending(1)
	f.put(b.Ino, "after", []byte("y"))
	for range 3 {
		if err := f.writeBack(context.Background()); err != nil {
			t.Fatal(err)
		}
		f.put(b.Ino, "more", []byte("z"))
	}
	old, data := f.FS, f.data
	f.crash()
	f.want(b.Ino, "before", []byte("x"))
	f.want(b.Ino, "after", []byte("y"))
	if _, _, err := f.tryGet(b.Ino, "pending"); wire.ErrnoOf(err) != wire.ENOENT {
		t.Errorf("get of what never arrived: %v", err)
	}
	_, _ = old, data
	release()
	<-done
}

// An account of the numbers between a publish and its confirmation must not
// make an orphan of the published stream.
func TestNumbersDontOrphanPublished(t *testing.T) {
	f := newFS(t)
	b := f.bucket("bucket")
	body := randomBytes(2, 5000)
	account := func() {
		t.Helper()
		err := f.update(context.Background(), func(tx *txn) error {
			tx.extra = f.appendNumbersLocked(tx.extra)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	release := f.hold()
	done := f.putLater(b.Ino, "a", body)
	f.awaitPending(1)
	account()
	release()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	f.crash()
	f.want(b.Ino, "a", body)
	f.settleBackground()
	f.want(b.Ino, "a", body)
}

// settleBackground waits until the purges that Open began are done.
func (f *testFS) settleBackground() {
	f.t.Helper()
	for range 5000 {
		f.mu.Lock()
		n := len(f.inFlight)
		f.mu.Unlock()
		if n == 0 {
			return
		}
		time.Sleep(time.Millisecond)
	}
	f.t.Fatal("orphans are never purged")
}

// A caller that gives up while its event is on the way doesn't take the data
// of what is published then.
func TestGivingUpAfterPublish(t *testing.T) {
	for _, size := range []int{5000, 3 << 20} {
		f := newFS(t)
		b := f.bucket("bucket")
		body := randomBytes(3, size)
		w, err := f.NewWriter(context.Background(), owner, b.Ino, int64(size))
		if err != nil {
			t.Fatal(err)
		}
		d := wire.CopyData(body)
		w.Write(context.Background(), d)
		d.Release()
		ctx, cancel := context.WithCancel(context.Background())
		gate := make(chan struct{})
		f.meta.SetLatency(func(op *rados.Op) time.Duration {
			cancel()
			<-gate
			return 0
		})
		done := make(chan error, 1)
		go func() {
			_, err := w.Publish(ctx, "k", Publish{ETag: "e"})
			done <- err
		}()
		time.Sleep(20 * time.Millisecond)
		f.meta.SetLatency(nil)
		close(gate)
		err = <-done
		for range 50 {
			_, o, gerr := f.tryGet(b.Ino, "k")
			if wire.ErrnoOf(gerr) == wire.ENOENT && err != nil {
				break
			}
			if gerr != nil || o.Attr.Size != uint64(size) {
				t.Fatalf("size %d: publish said %v, then get: %v", size, err, gerr)
			}
			f.want(b.Ino, "k", body)
			time.Sleep(time.Millisecond)
		}
	}
}

// What an unconfirmed publish covers comes back whole when its data never
// arrives, inline bytes that only RADOS had included.
func TestUndoBringsInlineBack(t *testing.T) {
	f := newFS(t)
	b := f.bucket("bucket")
	f.put(b.Ino, "d/k", []byte("inline"))
	f.reopen()
	if err := f.tryFailingPut(b.Ino, "d/k", randomBytes(4, 9000)); err == nil {
		t.Fatal("the put should have failed")
	}
	f.want(b.Ino, "d/k", []byte("inline"))
	f.reopen()
	f.want(b.Ino, "d/k", []byte("inline"))
	if err := f.tryFailingPut(b.Ino, "new/dir/k", randomBytes(4, 9000)); err == nil {
		t.Fatal("the put should have failed")
	}
	if got := f.keys(b.Ino, "", ""); fmt.Sprint(got) != "[d/k]" {
		t.Errorf("keys: %q", got)
	}
}

func (f *testFS) tryFailingPut(b Ino, key string, body []byte) error {
	f.data.SetInject(func(_ int, op *rados.Op) error {
		for i := range op.Ops {
			if op.Ops[i].Code == wire.OpWrite {
				return wire.Errorf("test", "", wire.EIO)
			}
		}
		return nil
	})
	release := f.hold()
	done := f.putLater(b, key, body)
	f.awaitPending(1)
	if err := f.writeBack(context.Background()); err != nil {
		f.t.Fatal(err)
	}
	release()
	err := <-done
	f.data.SetInject(nil)
	return err
}
