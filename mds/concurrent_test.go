package mds

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/spirula/spirula/rados"
	"github.com/spirula/spirula/rados/wire"
)

// keyOp is one call on one key: its input and what came back.
type keyOp struct {
	kind  string // put, putnew, putmatch, get, delete
	value string // put: written; get: seen, "" is absent
	match string // putmatch: the ETag asked for
	ok    bool
}

// keyModel is a register that may be absent, with conditions. A state is the
// value's ETag.
var keyModel = porcupine.Model{
	Init: func() any { return "" },
	Step: func(state, input, output any) (bool, any) {
		s, op := state.(string), output.(keyOp)
		switch op.kind {
		case "put":
			return op.ok, op.value
		case "putnew":
			if s == "" {
				return op.ok, op.value
			}
			return !op.ok, s
		case "putmatch":
			if s != "" && s == op.match {
				return op.ok, op.value
			}
			return !op.ok, s
		case "get":
			return op.value == s, s
		}
		return op.ok == (s != ""), ""
	},
	DescribeOperation: func(_, output any) string { return fmt.Sprintf("%+v", output.(keyOp)) },
}

func jitter(op *rados.Op) time.Duration { return time.Duration(rand.IntN(300)) * time.Microsecond }

// TestKeysAreLinearizable runs puts with and without conditions, deletes and
// gets of few keys at the same time.
func TestKeysAreLinearizable(t *testing.T) {
	f := newFS(t)
	b := f.bucket("bucket")
	f.meta.SetLatency(jitter)
	f.data.SetLatency(jitter)
	defer f.meta.SetLatency(nil)
	defer f.data.SetLatency(nil)
	keys := []string{"k", "d/k", "d/e/k"}
	var mu sync.Mutex
	history := map[string][]porcupine.Operation{}
	var wg sync.WaitGroup
	var next atomic.Uint64
	start := time.Now()
	for client := range 8 {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(uint64(client), 3))
			last := map[string]string{}
			for range 60 {
				key := keys[r.IntN(len(keys))]
				op := keyOp{kind: []string{"put", "putnew", "putmatch", "get", "get", "delete"}[r.IntN(6)], match: last[key]}
				call := time.Since(start)
				f.keyOp(b.Ino, key, &op, next.Add(1), []int{50, 5000, 3000}[r.IntN(3)])
				if op.value != "" && op.ok {
					last[key] = op.value
				}
				mu.Lock()
				history[key] = append(history[key], porcupine.Operation{ClientId: client, Input: op, Output: op, Call: int64(call), Return: int64(time.Since(start))})
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	for key, ops := range history {
		if !porcupine.CheckOperations(keyModel, ops) {
			t.Errorf("the history of %q fits no order", key)
		}
	}
	f.meta.SetLatency(nil)
	f.data.SetLatency(nil)
	f.scrub()
}

func (f *testFS) keyOp(b Ino, key string, op *keyOp, n uint64, size int) {
	body := randomBytes(n, size)
	etag := etagFor(body)
	kind := wire.ECANCELED
	var err error
	switch op.kind {
	case "get":
		var o *Object
		var got []byte
		if got, o, err = f.tryGet(b, key); err == nil {
			op.value = o.ETag
			if etagFor(got) != o.ETag {
				f.t.Errorf("get %q: body and ETag differ", key)
			}
		}
		kind = wire.ENOENT
	case "delete":
		err, kind = f.DeleteObject(context.Background(), owner, b, key, Conditions{}), wire.ENOENT
	case "put":
		op.value = etag
		_, err = f.tryPut(b, key, body, Conditions{})
		kind = 0
	case "putnew":
		op.value = etag
		_, err = f.tryPut(b, key, body, Conditions{IfNoneMatch: "*"})
	case "putmatch":
		op.value = etag
		if op.match == "" {
			op.match = "none"
		}
		_, err = f.tryPut(b, key, body, Conditions{IfMatch: op.match})
		if wire.ErrnoOf(err) == wire.ENOENT {
			kind = wire.ENOENT
		}
	}
	op.ok = err == nil
	if err != nil && wire.ErrnoOf(err) != kind {
		f.t.Errorf("%s of %q: %v", op.kind, key, err)
	}
}

// TestSizesWereTrue appends to a file while others stat it: sizes only grow,
// are never ahead of what was begun or behind what was answered.
func TestSizesWereTrue(t *testing.T) {
	f := newFS(t)
	f.bucket("bucket")
	dir, _, err := f.Lookup(context.Background(), modelRoot, Handle{Ino: RootIno, Gen: 1}, "bucket")
	if err != nil {
		t.Fatal(err)
	}
	a, _, err := f.Create(context.Background(), modelRoot, dir.Handle(), "f", CreateArgs{})
	if err != nil {
		t.Fatal(err)
	}
	var begun, answered atomic.Uint64
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			last := uint64(0)
			for answered.Load() < 200*1000 {
				low := answered.Load()
				at, err := f.GetAttr(context.Background(), a.Handle())
				if high := begun.Load(); err != nil || at.Size < max(low, last) || at.Size > high {
					t.Errorf("size %d, between %d and %d: %v", at.Size, max(low, last), high, err)
					return
				}
				last = at.Size
				d, _, _, err := f.Read(context.Background(), modelRoot, a.Handle(), last-min(last, 10), 10)
				// It may have grown beyond last meanwhile.
				if err != nil || uint64(d.Len()) < min(last, 10) || d.Len() > 10 {
					t.Errorf("read at the end of %d: %d bytes, %v", last, d.Len(), err)
				}
				d.Release()
			}
		})
	}
	for i := range uint64(200) {
		d := wire.CopyData(make([]byte, 1000))
		begun.Add(1000)
		if _, err := f.Write(context.Background(), modelRoot, a.Handle(), i*1000, d, i%50 == 0); err != nil {
			t.Fatal(err)
		}
		d.Release()
		answered.Add(1000)
	}
	wg.Wait()
}

// TestManyAtOnce mixes everything on names that overlap, and scrubs.
func TestManyAtOnce(t *testing.T) {
	f := newFS(t)
	f.tiny()
	b := f.bucket("bucket")
	dir, _, _ := f.Lookup(context.Background(), modelRoot, Handle{Ino: RootIno, Gen: 1}, "bucket")
	f.meta.SetLatency(jitter)
	f.data.SetLatency(jitter)
	var wg sync.WaitGroup
	for client := range 8 {
		wg.Go(func() {
			m := &model{testFS: f, r: rand.New(rand.NewPCG(uint64(client), 9)), b: b}
			for range 80 {
				m.anything(dir.Handle())
			}
		})
	}
	stop := make(chan struct{})
	go func() {
		for {
			select {
			case <-stop:
				return
			default:
				f.writeBack(context.Background())
				f.closeFiles(context.Background(), 0)
			}
		}
	}()
	wg.Wait()
	close(stop)
	f.meta.SetLatency(nil)
	f.data.SetLatency(nil)
	f.scrub()
	f.reopen()
	f.scrub()
}

// anything does one operation, whatever comes of it but errors that mean a
// fault.
func (m *model) anything(top Handle) {
	ctx, size := context.Background(), uint64(m.r.IntN(20000))
	dir := top
	if a, _, err := m.Lookup(ctx, modelRoot, top, m.name()); err == nil && a.Type == TypeDir {
		dir = a.Handle()
	}
	var file Handle
	if a, _, err := m.Lookup(ctx, modelRoot, dir, m.name()); err == nil {
		file = a.Handle()
	}
	var err error
	switch m.r.IntN(14) {
	case 0, 1, 2:
		_, err = m.tryPut(m.b.Ino, m.key(), randomBytes(size, int(size)), Conditions{})
	case 3, 4:
		err = m.DeleteObject(ctx, owner, m.b.Ino, m.key(), Conditions{})
	case 5:
		var r Reader
		if r, err = m.OpenObject(ctx, m.b.Ino, m.key()); err == nil {
			_, err = m.Copy(ctx, owner, r, m.b.Ino, m.key(), CopySpec{})
			r.Close()
		}
	case 6:
		_, _, err = m.Create(ctx, modelRoot, dir, m.name(), CreateArgs{})
	case 7, 8:
		d := wire.CopyData(randomBytes(size, 3000))
		_, err = m.Write(ctx, modelRoot, file, size, d, m.r.IntN(4) == 0)
		d.Release()
	case 9:
		_, err = m.SetAttr(ctx, modelRoot, file, SetAttr{Size: &size})
	case 10:
		_, _, err = m.Rename(ctx, modelRoot, dir, m.name(), top, m.name())
	case 11:
		_, _, err = m.Link(ctx, modelRoot, file, dir, m.name())
	case 12:
		_, err = m.Remove(ctx, modelRoot, dir, m.name())
	case 13:
		_, err = m.List(ctx, m.b.Ino, ListRequest{Max: 50})
	}
	switch wire.ErrnoOf(err) {
	case 0, wire.ENOENT, wire.EEXIST, wire.ESTALE, wire.EISDIR, wire.ENOTDIR, wire.ENOTEMPTY, wire.EINVAL, wire.EPERM:
	default:
		m.t.Errorf("%v", err)
	}
}
