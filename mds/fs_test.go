package mds

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/spirula/spirula/rados/radostest"
	"github.com/spirula/spirula/rados/wire"
)

// testFS is a file system over pools in memory.
type testFS struct {
	*FS
	t          *testing.T
	meta, data *radostest.Pool
	o          Options // what open is told besides
	mortal     bool    // it is to be cut off
}

// tiny makes caches and fragments small from the next open on.
func (f *testFS) tiny() {
	f.o.CacheBytes, f.o.splitEntries, f.o.birthLog = 64<<10, 4, 6
	f.reopen()
}

func newFS(t *testing.T) *testFS {
	f := &testFS{t: t, meta: radostest.NewPool(), data: radostest.NewPool()}
	f.open()
	t.Cleanup(func() { f.FS.Close(context.Background()) })
	return f
}

func (f *testFS) open() {
	f.t.Helper()
	o := f.o
	o.Meta, o.Data, o.Exclusive = f.meta, f.data, true
	o.Fatal = func(err error) {
		if !f.mortal {
			f.t.Errorf("fatal: %v", err)
		}
	}
	fs, err := Open(context.Background(), o)
	if err != nil {
		f.t.Fatal(err)
	}
	f.FS = fs
}

func (f *testFS) bucket(name string) Bucket {
	f.t.Helper()
	b, err := f.CreateBucket(context.Background(), owner, Bucket{Name: name, Owner: "o"})
	if err != nil {
		f.t.Fatal(err)
	}
	return b
}

var owner = Cred{UID: 1000, GID: 1000, Trusted: true}

func (f *testFS) tryPut(b Ino, key string, body []byte, c Conditions) (*Object, error) {
	ctx := context.Background()
	w, err := f.NewWriter(ctx, owner, b, int64(len(body)))
	if err != nil {
		return nil, err
	}
	d := wire.CopyData(body)
	err = w.Write(ctx, d)
	d.Release()
	if err != nil {
		w.Abort()
		return nil, err
	}
	return w.Publish(ctx, key, Publish{ETag: fmt.Sprintf("%x", wire.CRC32C(body)), Cond: c})
}

func (f *testFS) put(b Ino, key string, body []byte) *Object {
	f.t.Helper()
	o, err := f.tryPut(b, key, body, Conditions{})
	if err != nil {
		f.t.Fatalf("put %q of %d bytes: %v", key, len(body), err)
	}
	return o
}

func (f *testFS) tryGet(b Ino, key string) ([]byte, *Object, error) {
	ctx := context.Background()
	r, err := f.OpenObject(ctx, b, key)
	if err != nil {
		return nil, nil, err
	}
	defer r.Close()
	var body []byte
	for uint64(len(body)) < r.Object().Attr.Size {
		d, err := r.ReadAt(ctx, uint64(len(body)), 1<<20)
		if err != nil {
			return nil, nil, err
		}
		if d.Len() == 0 {
			return nil, nil, fmt.Errorf("read of %q ends at %d of %d", key, len(body), r.Object().Attr.Size)
		}
		body = d.AppendTo(body)
		d.Release()
	}
	return body, r.Object(), nil
}

func (f *testFS) want(b Ino, key string, body []byte) {
	f.t.Helper()
	got, _, err := f.tryGet(b, key)
	if err != nil {
		f.t.Fatalf("get %q: %v", key, err)
	}
	if !bytes.Equal(got, body) {
		f.t.Fatalf("get %q: %d bytes differ from the %d put", key, len(got), len(body))
	}
}

func (f *testFS) keys(b Ino, prefix, delimiter string) []string {
	f.t.Helper()
	var keys []string
	after := ""
	for {
		p, err := f.List(context.Background(), b, ListRequest{Prefix: prefix, Delimiter: delimiter, After: after, Max: 3})
		if err != nil {
			f.t.Fatal(err)
		}
		for _, e := range p.Entries {
			keys = append(keys, e.Key)
		}
		if !p.Truncated {
			return keys
		}
		after = p.Next
	}
}

func (f *testFS) reopen() {
	f.t.Helper()
	if err := f.FS.Close(context.Background()); err != nil {
		f.t.Fatal(err)
	}
	f.open()
}

// crash gives a second file system on what the pools hold now, as after the
// death of the process.
func (f *testFS) crash() {
	f.t.Helper()
	old := f.FS
	f.meta, f.data = f.meta.Clone(), f.data.Clone()
	f.open()
	f.t.Cleanup(func() { old.Close(context.Background()) })
}

func randomBytes(seed uint64, n int) []byte {
	r := rand.New(rand.NewPCG(seed, 1))
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

func TestObjectsSurviveRestartAndCrash(t *testing.T) {
	f := newFS(t)
	b := f.bucket("bucket")
	sizes := []int{0, 1, 2048, 2049, 70000, 1 << 20, 1<<20 + 1, 9 << 20}
	check := func(round int) {
		t.Helper()
		for i, n := range sizes {
			f.want(b.Ino, fmt.Sprintf("dir/%d", i), randomBytes(uint64(round*100+i), n))
		}
	}
	write := func(round int) {
		for i, n := range sizes {
			f.put(b.Ino, fmt.Sprintf("dir/%d", i), randomBytes(uint64(round*100+i), n))
		}
	}
	write(1)
	check(1)
	f.crash()
	check(1)
	write(2)
	check(2)
	f.reopen()
	check(2)
	f.crash()
	check(2)
}

func TestKeysOfAllKinds(t *testing.T) {
	f := newFS(t)
	b := f.bucket("bucket")
	keys := []string{"a", "a!", "a/b", "a//b", "a//", "../x", "./y", "a/c/d", "ab/x", "b", "dir/", "\x01", "\xff\xfe"}
	for i, k := range keys {
		f.put(b.Ino, k, []byte{byte(i)})
	}
	for range 2 {
		for i, k := range keys {
			f.want(b.Ino, k, []byte{byte(i)})
		}
		if got := f.keys(b.Ino, "a", "/"); fmt.Sprint(got) != "[a a! a/ ab/]" {
			t.Errorf("list a with /: %q", got)
		}
		if got := f.keys(b.Ino, "", ""); len(got) != len(keys) {
			t.Errorf("list of all: %q", got)
		}
		f.reopen()
	}
	for _, k := range keys {
		if err := f.DeleteObject(context.Background(), owner, b.Ino, k, Conditions{}); err != nil {
			t.Errorf("delete %q: %v", k, err)
		}
	}
	if got := f.keys(b.Ino, "", ""); len(got) != 0 {
		t.Errorf("after deleting all: %q", got)
	}
	if err := f.DeleteBucket(context.Background(), owner, "bucket"); err != nil {
		t.Errorf("delete bucket: %v", err)
	}
}
