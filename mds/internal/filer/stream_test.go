package filer

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/spirula/spirula/mds/internal/inode"
	"github.com/spirula/spirula/rados"
	"github.com/spirula/spirula/rados/radostest"
	"github.com/spirula/spirula/rados/wire"
)

var bg = context.Background()

func newFiler(t testing.TB, d rados.Doer, o Options) *Filer {
	t.Helper()
	o.Data = d
	f := New(o)
	t.Cleanup(func() { f.Close(bg) })
	return f
}

// randomBytes are n bytes that tell where they belong.
func randomBytes(seed uint64, n int) []byte {
	r := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8), byte(seed >> 16), byte(seed >> 24)})
	p := make([]byte, n)
	r.Read(p)
	return p
}

func mustRead(t testing.TB, f *Filer, c *inode.Content, size, off uint64, n int) []byte {
	t.Helper()
	d, err := f.Read(bg, c, size, off, n)
	if err != nil {
		t.Fatalf("Read %d+%d: %v", off, n, err)
	}
	defer d.Release()
	return d.AppendTo(nil)
}

// writeStream puts p into a stream in pieces of random size.
func writeStream(t testing.TB, f *Filer, sid uint64, p []byte, r *rand.Rand) *Stream {
	t.Helper()
	s := f.NewStream(sid)
	for len(p) > 0 {
		n := min(len(p), 1+r.IntN(700_000))
		d := wire.CopyData(p[:n])
		if err := s.Write(bg, d); err != nil {
			t.Fatal(err)
		}
		d.Release()
		p = p[n:]
	}
	return s
}

func TestStreamAndRead(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	before := wire.DefaultArena.InUse()
	for i, size := range []int{1, 4096, SingleMax - 1, SingleMax, SingleMax + 1, ObjectSize - 1, ObjectSize, ObjectSize + 1, 9<<20 + 12345} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			pool := radostest.NewPool()
			if i%2 == 0 {
				pool.SetLatency(func(*rados.Op) time.Duration { return time.Duration(rand.IntN(200)) * time.Microsecond })
			}
			f := newFiler(t, pool, Options{})
			p := randomBytes(uint64(i), size)
			s := writeStream(t, f, 7, p, r)
			if held, ok := s.Held(); ok != (size <= SingleMax) || ok && held.Len() != size || s.Size() != uint64(size) {
				t.Fatalf("Held: %d bytes, %v; Size %d", held.Len(), ok, s.Size())
			}
			if err := s.Finish(bg); err != nil {
				t.Fatal(err)
			}
			s.Abort()
			if want := (size + ObjectSize - 1) / ObjectSize; pool.Len() != want {
				t.Fatalf("%d objects, want %d", pool.Len(), want)
			}
			c := &inode.Content{Kind: inode.Plain, Stream: 7}
			for range 30 {
				off, n := r.IntN(size+10), r.IntN(size+10)
				want := p[min(off, size):min(off+min(n, MaxRead), size)]
				if got := mustRead(t, f, c, uint64(size), uint64(off), n); !bytes.Equal(got, want) {
					t.Fatalf("Read %d+%d gives %d bytes, want %d, or others", off, n, len(got), len(want))
				}
			}
			if err := f.Purge(bg, 7, uint64(size), wire.SnapContext{}); err != nil || pool.Len() != 0 {
				t.Fatalf("Purge: %v, %d objects left", err, pool.Len())
			}
		})
	}
	if n := wire.DefaultArena.InUse(); n != before {
		t.Errorf("%d bytes of buffers are not given back", n-before)
	}
}

func TestStartSingleAndPreclude(t *testing.T) {
	pool := radostest.NewPool()
	f := newFiler(t, pool, Options{})
	put := func(sid uint64) error {
		s := f.NewStream(sid)
		if err := s.Write(bg, wire.DataOf([]byte("content"))); err != nil {
			t.Fatal(err)
		}
		_, err := s.StartSingle(bg).Wait(bg)
		return err
	}
	if err := put(1); err != nil {
		t.Fatal(err)
	}
	if present, err := f.Preclude(bg, 1); !present || err != nil {
		t.Fatalf("content that arrived: %v, %v", present, err)
	}
	if present, err := f.Preclude(bg, 2); present || err != nil {
		t.Fatalf("content that didn't: %v, %v", present, err)
	}
	if err := put(2); wire.ErrnoOf(err) != wire.EEXIST {
		t.Fatalf("content that was precluded: %v", err)
	}
	if pool.Len() != 2 {
		t.Fatalf("%d objects", pool.Len())
	}
}

func TestPurgeOfUnknownSize(t *testing.T) {
	pool := radostest.NewPool()
	f := newFiler(t, pool, Options{})
	for _, n := range []uint64{0, 1, 2, 15, 30, 31} {
		pool.Do(bg, &rados.Op{Object: objectName(5, n), Ops: []wire.Op{{Code: wire.OpCreate}}})
	}
	if err := f.WriteParts(bg, 5, []inode.Row{{End: 1, Stream: 2}}); err != nil {
		t.Fatal(err)
	}
	pool.Do(bg, &rados.Op{Object: objectName(6, 0), Ops: []wire.Op{{Code: wire.OpCreate}}})
	if err := f.Purge(bg, 5, 0, wire.SnapContext{}); err != nil || pool.Len() != 1 {
		t.Fatalf("%v, %d objects left, want the other stream's one", err, pool.Len())
	}
}

// TestStreamError has one of the writes fail.
func TestStreamError(t *testing.T) {
	for n := 1; n <= 9; n++ {
		pool := radostest.NewPool()
		f := newFiler(t, pool, Options{})
		pool.SetInject(func(i int, op *rados.Op) error {
			if i == n {
				return wire.ENOSPC
			}
			return nil
		})
		s := f.NewStream(1)
		var err error
		for i := 0; i < 9 && err == nil; i++ {
			d := wire.CopyData(randomBytes(uint64(i), 1<<20))
			err = s.Write(bg, d)
			d.Release()
		}
		if err == nil {
			err = s.Finish(bg)
		}
		if wire.ErrnoOf(err) != wire.ENOSPC {
			t.Fatalf("write %d failed: %v", n, err)
		}
		s.Abort()
		if err := s.Write(bg, wire.DataOf([]byte("x"))); err == nil {
			t.Fatal("an aborted stream takes more")
		}
	}
}

// TestStreamMemory has a store that answers nothing: a Stream must stop
// taking data.
func TestStreamMemory(t *testing.T) {
	pool := radostest.NewPool()
	pool.FreezeAfter(0, true, nil)
	f := newFiler(t, pool, Options{})
	ctx, cancel := context.WithTimeout(bg, 100*time.Millisecond)
	defer cancel()
	s := f.NewStream(1)
	var err error
	for err == nil && s.Size() < 100<<20 {
		d := wire.CopyData(make([]byte, 1<<20))
		err = s.Write(ctx, d)
		d.Release()
	}
	if s.Size() > 7<<20 {
		t.Fatalf("%d bytes were taken", s.Size())
	}
}

func TestJoined(t *testing.T) {
	pool := radostest.NewPool()
	f := newFiler(t, pool, Options{})
	r := rand.New(rand.NewPCG(3, 3))
	var (
		model []byte
		rows  []inode.Row
	)
	for i := range 40 {
		p := randomBytes(uint64(i), 1+r.IntN(300_000))
		if i == 7 {
			p = randomBytes(7, 6<<20)
		}
		sid := uint64(100 + i)
		if err := writeStream(t, f, sid, p, r).Finish(bg); err != nil {
			t.Fatal(err)
		}
		start := r.IntN(len(p))
		n := 1 + r.IntN(len(p)-start)
		model = append(model, p[start:start+n]...)
		rows = append(rows, inode.Row{End: uint64(len(model)), Stream: sid, Start: uint64(start)})
	}
	size := uint64(len(model))
	if err := f.WriteParts(bg, 9, rows); err != nil {
		t.Fatal(err)
	}
	listed := &inode.Content{Kind: inode.Joined, Stream: 9, NumRow: uint32(len(rows))}
	for range 200 {
		off, n := r.IntN(len(model)), r.IntN(len(model))
		want := model[off:min(off+n, len(model))]
		if got := mustRead(t, f, listed, size, uint64(off), n); !bytes.Equal(got, want) {
			t.Fatalf("Read %d+%d differs", off, n)
		}
		part, ok, err := f.Rows(bg, listed, size, uint64(off), uint64(n))
		if err != nil || !ok {
			t.Fatalf("Rows: %v, %v", ok, err)
		}
		if n == 0 {
			continue
		}
		inRecord := &inode.Content{Kind: inode.Joined, Rows: part, NumRow: uint32(len(part))}
		if got := mustRead(t, f, inRecord, uint64(len(want)), 0, len(want)); !bytes.Equal(got, want) {
			t.Fatalf("rows of %d+%d: other bytes", off, n)
		}
	}
	dst := f.NewStream(10)
	if err := f.Copy(bg, listed, size, 1000, size, dst); err != nil {
		t.Fatal(err)
	}
	if err := dst.Finish(bg); err != nil || dst.Size() != size-1000 {
		t.Fatalf("Copy: %v, %d bytes", err, dst.Size())
	}
	if got := mustRead(t, f, &inode.Content{Kind: inode.Plain, Stream: 10}, dst.Size(), 5000, 100_000); !bytes.Equal(got, model[6000:106_000]) {
		t.Fatal("the copy differs")
	}
	wrong := &inode.Content{Kind: inode.Joined, Stream: 9, NumRow: 3}
	g := newFiler(t, pool, Options{})
	if _, err := g.Read(bg, wrong, size, 0, 1); wire.ErrnoOf(err) != wire.EIO {
		t.Fatalf("a list of another length: %v", err)
	}
	if _, err := g.Read(bg, &inode.Content{Kind: inode.Joined, Stream: 77, NumRow: 3}, size, 0, 1); wire.ErrnoOf(err) != wire.EIO {
		t.Fatalf("a list that is gone: %v", err)
	}
}

func TestSmallKinds(t *testing.T) {
	f := newFiler(t, radostest.NewPool(), Options{})
	inline := &inode.Content{Kind: inode.Inline, Inline: []byte("hello")}
	if got := mustRead(t, f, inline, 8, 3, 10); string(got) != "lo\x00\x00\x00" {
		t.Errorf("inline: %q", got)
	}
	if got := mustRead(t, f, &inode.Content{}, 700_000, 5, 600_000); !bytes.Equal(got, make([]byte, 600_000)) {
		t.Error("empty content isn't zeros")
	}
	if got := mustRead(t, f, &inode.Content{Kind: inode.Plain, Stream: 404}, 20<<20, 3<<20, 6<<20); !bytes.Equal(got, make([]byte, 6<<20)) {
		t.Error("a hole isn't zeros")
	}
}

func TestNamesAndParts(t *testing.T) {
	if got := objectName(0xabc, 0x12); got != "0000000000000abc.00000012" {
		t.Errorf("object name %s", got)
	}
	if got := partsName(0xabc); got != "x.0000000000000abc" {
		t.Errorf("part list name %s", got)
	}
	const want = "5350504c" + "01010000" + "01000000" + "e676905a" + "00000000000000000000000000000000" +
		"0a00000000000000" + "0200000000000000" + "0300000000000000" + "0400000000000000"
	if got := fmt.Sprintf("%x", encodeParts([]inode.Row{{End: 10, Stream: 2, Snap: 3, Start: 4}})); got != want {
		t.Errorf("part list\n got %s\nwant %s", got, want)
	}
}

func FuzzParts(f *testing.F) {
	f.Add(encodeParts([]inode.Row{{End: 10, Stream: 2, Snap: 3, Start: 4}, {End: 11, Stream: 5}}))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, p []byte) {
		rows, err := decodeParts(p)
		if err == nil && !bytes.Equal(encodeParts(rows)[partsHead:], p[partsHead:]) {
			t.Fatal("decoded and encoded again it differs")
		}
	})
}

func TestDump(t *testing.T) {
	pool := radostest.NewPool()
	f := newFiler(t, pool, Options{})
	r := rand.New(rand.NewPCG(1, 1))
	if err := writeStream(t, f, 1, randomBytes(1, 5<<20), r).Finish(bg); err != nil {
		t.Fatal(err)
	}
	base := &inode.Content{Kind: inode.Joined, Stream: 3, NumRow: 1, Sealed: true, Rows: []inode.Row{{End: 4 << 20, Stream: 1, Start: 100}}}
	c := &inode.Content{Kind: inode.Overlay, Stream: 2, Base: base, BaseLimit: 4 << 20}
	fl, err := f.Open(1, c, 4<<20, wire.SnapContext{})
	if err != nil {
		t.Fatal(err)
	}
	defer fl.Release()
	if err := fl.Write(bg, 70_000, wire.DataOf([]byte("x")), true); err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	if err := f.Dump(bg, c, 4<<20, &out); err != nil {
		t.Fatal(err)
	}
	want := "kind=4 stream=2 snap=0 sealed=false size=4194304\n" +
		"  0000000000000002.00000000 size=131072 .o" + strings.Repeat(".", 62) + "\n" +
		"  base up to 4194304:\n" +
		"    kind=3 stream=3 snap=0 sealed=true size=4194304\n" +
		"      up to 4194304: stream=1 snap=0 from 100\n"
	if out.String() != want {
		t.Errorf("got:\n%swant:\n%s", out.String(), want)
	}
	out.Reset()
	if err := f.Dump(bg, &inode.Content{Kind: inode.Plain, Stream: 1}, 5<<20, &out); err != nil || !strings.Contains(out.String(), "0000000000000001.00000001 size=1048576\n") {
		t.Errorf("%v:\n%s", err, out.String())
	}
}
