package mds

import (
	"context"
	"errors"
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

// nfsFile makes a file over NFS with that content, in the bucket.
func (f *testFS) nfsFile(name string, body []byte) Handle {
	f.t.Helper()
	ctx := context.Background()
	dir, _, err := f.Lookup(ctx, modelRoot, Handle{Ino: RootIno, Gen: 1}, "bucket")
	if err != nil {
		f.t.Fatal(err)
	}
	a, _, err := f.Create(ctx, modelRoot, dir.Handle(), name, CreateArgs{Mode: CreateGuarded})
	if err != nil {
		f.t.Fatal(err)
	}
	f.nfsWrite(a.Handle(), 0, body)
	return a.Handle()
}

func (f *testFS) nfsWrite(h Handle, off uint64, body []byte) {
	f.t.Helper()
	d := wire.CopyData(body)
	defer d.Release()
	if _, err := f.Write(context.Background(), modelRoot, h, off, d, true); err != nil {
		f.t.Fatal(err)
	}
}

func (f *testFS) copy(b Ino, from, to string) {
	f.t.Helper()
	r, err := f.OpenObject(context.Background(), b, from)
	if err != nil {
		f.t.Fatal(err)
	}
	defer r.Close()
	if _, err := f.Copy(context.Background(), owner, r, b, to, CopySpec{}); err != nil {
		f.t.Fatal(err)
	}
}

// A copy of a file made over NFS shares its stream: the file keeps its handle,
// and writing to it, even while a reader holds it, leaves the copy alone.
func TestCopyOfOpenFile(t *testing.T) {
	f := newFS(t)
	b := f.bucket("bucket")
	body := randomBytes(5, 9000)
	h := f.nfsFile("f", body)
	f.copy(b.Ino, "f", "copy")
	if a, err := f.GetAttr(context.Background(), h); err != nil || a.Size != 9000 {
		t.Fatalf("the handle after the copy: %+v, %v", a, err)
	}
	reader, err := f.OpenObject(context.Background(), b.Ino, "f")
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	f.nfsWrite(h, 100, []byte("changed"))
	f.want(b.Ino, "copy", body)
	f.crash()
	f.want(b.Ino, "copy", body)
	f.want(b.Ino, "f", append(append(append([]byte(nil), body[:100]...), "changed"...), body[107:]...))
	f.scrub()
}

// What was written and not committed when the mds died doesn't show behind
// the size once the file grows.
func TestGrowAfterCrashShowsZeros(t *testing.T) {
	f := newFS(t)
	b := f.bucket("bucket")
	h := f.nfsFile("f", []byte("start"))
	d := wire.CopyData(randomBytes(6, 50000))
	if _, err := f.Write(context.Background(), modelRoot, h, 5, d, false); err != nil {
		t.Fatal(err)
	}
	d.Release()
	if err := f.filer.Flush(context.Background()); err != nil {
		t.Fatal(err)
	}
	f.crash()
	f.want(b.Ino, "f", []byte("start"))
	f.nfsWrite(h, 99999, []byte("x"))
	want := make([]byte, 100000)
	copy(want, "start")
	want[99999] = 'x'
	f.want(b.Ino, "f", want)
}

// An object whose record would be too large is refused; nothing is left.
func TestRecordTooLarge(t *testing.T) {
	f := newFS(t)
	b := f.bucket("bucket")
	for _, size := range []int{10, 5000} {
		w, err := f.NewWriter(context.Background(), owner, b.Ino, int64(size))
		if err != nil {
			t.Fatal(err)
		}
		d := wire.CopyData(make([]byte, size))
		w.Write(context.Background(), d)
		d.Release()
		_, err = w.Publish(context.Background(), "k", Publish{ETag: "e", Meta: Meta{User: []wire.KV{{Key: "k", Value: make([]byte, MaxRecord)}}}})
		if wire.ErrnoOf(err) != wire.EFBIG {
			t.Errorf("publish of %d bytes: %v", size, err)
		}
	}
	if got := f.keys(b.Ino, "", ""); len(got) != 0 {
		t.Errorf("keys: %q", got)
	}
	f.scrub()
}

// Ten thousand parts make one object in one event, and answers are dropped
// after a day.
func TestManyPartsAndTheirAnswer(t *testing.T) {
	f := newFS(t)
	now := time.Now()
	f.o.Now = func() time.Time { return now }
	f.reopen()
	b := f.bucket("bucket")
	ctx := context.Background()
	id, err := f.CreateUpload(ctx, owner, b.Ino, "k", UploadSpec{})
	if err != nil {
		t.Fatal(err)
	}
	c := Complete{Finish: func(_ UploadSpec, p []Part) (string, Checksum, error) { return "e", Checksum{}, nil }}
	for n := 1; n <= maxPart; n++ {
		w, err := f.NewWriter(ctx, owner, b.Ino, 1)
		if err != nil {
			t.Fatal(err)
		}
		d := wire.CopyData([]byte{byte(n)})
		w.Write(ctx, d)
		d.Release()
		if _, err := f.PutPart(ctx, b.Ino, "k", id, w, Part{Number: n, ETag: "p"}); err != nil {
			t.Fatal(err)
		}
		c.Parts = append(c.Parts, CompletedPart{Number: n, ETag: "p"})
	}
	for range 2 {
		if o, err := f.CompleteUpload(ctx, owner, b.Ino, "k", id, c); err != nil || o.Attr.Size != maxPart {
			t.Fatalf("complete: %+v, %v", o, err)
		}
	}
	if _, _, err := f.tryGet(b.Ino, "k"); err != nil {
		t.Fatal(err)
	}
	now = now.Add(answerKept + time.Hour)
	if err := f.expireAnswers(ctx); err != nil {
		t.Fatal(err)
	}
	if _, err := f.CompleteUpload(ctx, owner, b.Ino, "k", id, c); !errors.Is(err, ErrNoUpload) {
		t.Errorf("complete after a day: %v", err)
	}
	f.scrub()
	if err := f.DeleteObject(ctx, owner, b.Ino, "k", Conditions{}); err != nil {
		t.Fatal(err)
	}
	f.scrub()
	if n := f.data.Len(); n != 0 {
		t.Errorf("%d data objects are left", n)
	}
}

// After a clean end there are no unused numbers to look for; numbers are not
// given out twice all the same.
func TestCleanCloseGivesNumbersBack(t *testing.T) {
	f := newFS(t)
	b := f.bucket("bucket")
	first := f.put(b.Ino, "a", []byte("x")).Attr.Ino
	f.reopen()
	if n := len(f.inFlight); n != 0 {
		t.Errorf("%d numbers to look for after a clean end", n)
	}
	if second := f.put(b.Ino, "b", []byte("x")).Attr.Ino; second <= first {
		t.Errorf("inode %x after %x", second, first)
	}
	f.scrub()
}
