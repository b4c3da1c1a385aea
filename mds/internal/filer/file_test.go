package filer

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/spirula/spirula/mds/internal/inode"
	"github.com/spirula/spirula/rados"
	"github.com/spirula/spirula/rados/radostest"
	"github.com/spirula/spirula/rados/wire"
)

// world is one file beside its model in plain memory.
type world struct {
	t      *testing.T
	r      *rand.Rand
	f      *Filer
	fl     *File
	model  []byte
	c      *inode.Content
	snaps  wire.SnapContext
	depth  int
	next   uint64 // numbers for streams and snapshots
	frozen []frozen
	trace  []string
}

// frozen is content that must not change any more.
type frozen struct {
	c    *inode.Content
	want []byte
}

func (w *world) fail(format string, args ...any) {
	w.t.Helper()
	for _, s := range w.trace[max(0, len(w.trace)-40):] {
		w.t.Log(s)
	}
	w.t.Fatalf(format, args...)
}

func (w *world) note(format string, args ...any) {
	w.trace = append(w.trace, fmt.Sprintf(format, args...))
}

const worldMax = 10 << 20

// place picks an offset, often near a border that matters.
func (w *world) place() int {
	off := w.r.IntN(worldMax)
	switch w.r.IntN(4) {
	case 0:
		off = off / ObjectSize * ObjectSize
	case 1:
		off = off / blockSize * blockSize
	case 2:
		off = min(off, len(w.model))
	}
	return max(0, min(worldMax-1, off+w.r.IntN(5)-2))
}

func (w *world) length() int {
	return 1 + w.r.IntN([]int{10, 5000, 5000, 70_000, 300_000, 2 << 20}[w.r.IntN(6)])
}

func (w *world) write() {
	off, n := w.place(), w.length()
	n = min(n, worldMax-off)
	p := randomBytes(uint64(w.r.Uint32()), n)
	d := wire.CopyData(p)
	stable := w.r.IntN(8) == 0
	w.note("write %d+%d stable %v", off, n, stable)
	if err := w.fl.Write(bg, uint64(off), d, stable); err != nil {
		w.fail("Write: %v", err)
	}
	d.Release()
	if off+n > len(w.model) {
		w.model = append(w.model, make([]byte, off+n-len(w.model))...)
	}
	copy(w.model[off:], p)
}

func (w *world) read() {
	off, n := w.place(), w.length()
	w.note("read %d+%d", off, n)
	d, err := w.fl.Read(bg, uint64(off), n)
	if err != nil {
		w.fail("Read: %v", err)
	}
	lo, hi := min(off, len(w.model)), min(off+n, len(w.model))
	if got := d.AppendTo(nil); !bytes.Equal(got, w.model[lo:hi]) {
		w.fail("Read %d+%d: %d bytes, want %d; first difference at %d", off, n, len(got), hi-lo, lo+differs(got, w.model[lo:hi]))
	}
	d.Release()
}

func differs(a, b []byte) int {
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return i
		}
	}
	return min(len(a), len(b))
}

func (w *world) truncate() {
	size := w.place()
	c, ok := Truncated(w.c, uint64(size))
	if !ok {
		w.fail("Truncated: not ok")
	}
	w.note("truncate %d -> %d", len(w.model), size)
	if err := w.fl.Truncate(bg, uint64(size), c); err != nil {
		w.fail("Truncate: %v", err)
	}
	w.c = c
	if size > len(w.model) {
		w.model = append(w.model, make([]byte, size-len(w.model))...)
	}
	w.model = append([]byte(nil), w.model[:size]...)
}

// cut freezes the content at a new snapshot and goes on in the same stream.
func (w *world) cut() {
	w.next++
	s := wire.SnapID(w.next)
	snaps := wire.SnapContext{Seq: s, Snaps: append([]wire.SnapID{s}, w.snaps.Snaps...)}
	w.note("cut %d", s)
	if err := w.fl.Switch(bg, w.c, snaps); err != nil {
		w.fail("Switch: %v", err)
	}
	w.snaps = snaps
	old := *w.c
	old.Snap = s
	w.frozen = append(w.frozen, frozen{&old, append([]byte(nil), w.model...)})
}

// share seals the content, as a copy of the file does, and goes on in an
// overlay over it, or in a true copy when that would be too deep.
func (w *world) share() {
	w.next++
	sealed := *w.c
	sealed.Sealed = true
	c := &inode.Content{Kind: inode.Overlay, Stream: w.next, Base: &sealed, BaseLimit: uint64(len(w.model))}
	w.note("share: stream %d at depth %d", w.next, w.depth)
	if err := w.fl.Flush(bg, 0, 0); err != nil {
		w.fail("Flush: %v", err)
	}
	if w.depth++; w.depth > inode.MaxOverlay {
		w.depth = 0
		c = &inode.Content{Kind: inode.Plain, Stream: w.next}
		s := w.f.NewStream(w.next)
		if err := w.f.Copy(bg, &sealed, uint64(len(w.model)), 0, worldMax, s); err != nil {
			w.fail("Copy: %v", err)
		}
		if err := s.Finish(bg); err != nil {
			w.fail("Finish: %v", err)
		}
	}
	w.snaps = wire.SnapContext{}
	if err := w.fl.Switch(bg, c, w.snaps); err != nil {
		w.fail("Switch: %v", err)
	}
	w.c = c
	w.frozen = append(w.frozen, frozen{&sealed, append([]byte(nil), w.model...)})
}

func (w *world) checkFrozen() {
	for i, z := range w.frozen {
		for off := 0; off < len(z.want); off += MaxRead {
			want := z.want[off:min(len(z.want), off+MaxRead)]
			if got := mustRead(w.t, w.f, z.c, uint64(len(z.want)), uint64(off), MaxRead); !bytes.Equal(got, want) {
				w.fail("frozen content %d differs at %d", i, off+differs(got, want))
			}
		}
	}
}

func TestFileAgainstModel(t *testing.T) {
	before := wire.DefaultArena.InUse()
	for seed := range uint64(4) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			pool := radostest.NewPool()
			if seed%2 == 1 {
				pool.SetLatency(func(*rados.Op) time.Duration { return time.Duration(rand.IntN(500)) * time.Microsecond })
			}
			f := newFiler(t, pool, Options{DirtyBytes: 6 << 20, WriteBack: 20 * time.Millisecond})
			w := &world{t: t, r: rand.New(rand.NewPCG(seed, 9)), f: f, next: 100, c: &inode.Content{Kind: inode.Plain, Stream: 50}}
			var err error
			if w.fl, err = f.Open(1, w.c, 0, w.snaps); err != nil {
				t.Fatal(err)
			}
			for range 250 {
				switch k := w.r.IntN(40); {
				case k < 18:
					w.write()
				case k < 34:
					w.read()
				case k < 36:
					w.truncate()
				case k < 37:
					w.cut()
				case k < 38:
					w.share()
				default:
					w.note("flush")
					if err := w.fl.Flush(bg, uint64(w.place()), uint64(w.length())); err != nil {
						w.fail("Flush: %v", err)
					}
				}
				if got := w.fl.Size(); got != uint64(len(w.model)) {
					w.fail("Size %d, want %d", got, len(w.model))
				}
			}
			w.checkFrozen()
			if err := w.fl.Flush(bg, 0, 0); err != nil {
				t.Fatal(err)
			}
			if w.fl.Dirty() {
				t.Fatal("dirty after Flush")
			}
			w.fl.Release()
			if f.Lookup(1) != nil {
				t.Fatal("a clean file that nobody needs is still known")
			}
			w.frozen = append(w.frozen, frozen{w.c, w.model})
			w.checkFrozen()
			f.mu.Lock()
			if f.dirty != 0 || f.aged.Len() != 0 {
				t.Errorf("dirty memory %d, %d files after all is clean", f.dirty, f.aged.Len())
			}
			f.mu.Unlock()
		})
	}
	if n := wire.DefaultArena.InUse(); n != before {
		t.Errorf("%d bytes of buffers are not given back", n-before)
	}
}

// TestConcurrentWriters has many goroutines write records of their own,
// interleaved, while others read, flush and truncate upwards.
func TestConcurrentWriters(t *testing.T) {
	pool := radostest.NewPool()
	pool.SetLatency(func(*rados.Op) time.Duration { return time.Duration(rand.IntN(300)) * time.Microsecond })
	f := newFiler(t, pool, Options{DirtyBytes: 1 << 20, WriteBack: 10 * time.Millisecond})
	const writers, records, size = 8, 120, 5000
	c := &inode.Content{Kind: inode.Plain, Stream: 5}
	fl, err := f.Open(1, c, 0, wire.SnapContext{})
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	record := func(g, i int) []byte { return bytes.Repeat([]byte{byte(1 + g*31 + i)}, size) }
	for g := range writers {
		wg.Go(func() {
			for i := range records {
				off := uint64((i*writers + g) * size)
				d := wire.CopyData(record(g, i))
				if err := fl.Write(bg, off, d, i%50 == 0); err != nil {
					t.Error(err)
				}
				d.Release()
				if got, err := fl.Read(bg, off, size); err != nil || !bytes.Equal(got.Bytes(), record(g, i)) {
					t.Errorf("writer %d doesn't read what it wrote as record %d: %v", g, i, err)
				} else {
					got.Release()
				}
				if i%40 == 7 {
					if err := fl.Flush(bg, off, size); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	wg.Wait()
	fl.Release()
	if err := f.Close(bg); err != nil {
		t.Fatal(err)
	}
	g := newFiler(t, pool, Options{})
	for i := range writers * records {
		if got := mustRead(t, g, c, writers*records*size, uint64(i*size), size); !bytes.Equal(got, record(i%writers, i/writers)) {
			t.Fatalf("record %d is wrong after Close", i)
		}
	}
	if f.Metrics.Throttled.Load() == 0 {
		t.Error("no writer was throttled though the bound is small")
	}
}

// TestSmallFileIsOneWrite: create, write 4 KiB, COMMIT costs one vector; left
// alone it is written back in time, once.
func TestSmallFileIsOneWrite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pool := radostest.NewPool()
		var cleaned atomic.Int32
		f := New(Options{Data: pool, Cleaned: func(inode.Ino) { cleaned.Add(1) }})
		write := func(ino inode.Ino) *File {
			fl, err := f.Open(ino, &inode.Content{Kind: inode.Plain, Stream: uint64(ino)}, 0, wire.SnapContext{})
			if err != nil {
				t.Fatal(err)
			}
			d := wire.CopyData(randomBytes(1, 4096))
			if err := fl.Write(bg, 0, d, false); err != nil {
				t.Fatal(err)
			}
			d.Release()
			return fl
		}
		fl := write(10)
		if err := fl.Flush(bg, 0, 0); err != nil || pool.Ops() != 1 || pool.Writes() != 1 {
			t.Fatalf("%v, %d operations", err, pool.Ops())
		}
		if err := fl.Flush(bg, 0, 0); err != nil || pool.Ops() != 1 {
			t.Fatalf("a COMMIT of nothing: %v, %d operations", err, pool.Ops())
		}
		fl.Release()
		write(11).Release()
		time.Sleep(time.Second)
		if pool.Ops() != 1 || f.Lookup(11) == nil {
			t.Fatalf("written back too early: %d operations", pool.Ops())
		}
		time.Sleep(2 * time.Second)
		if pool.Ops() != 2 || cleaned.Load() != 1 {
			t.Fatalf("not written back once: %d operations, Cleaned called %d times", pool.Ops(), cleaned.Load())
		}
		f.Close(bg)
		f.Close(bg)
	})
}

// TestManySmallAppends must not keep a buffer, nor send an operation, for
// each of them.
func TestManySmallAppends(t *testing.T) {
	pool := radostest.NewPool()
	f := newFiler(t, pool, Options{WriteBack: time.Minute})
	c := &inode.Content{Kind: inode.Plain, Stream: 1}
	fl, _ := f.Open(1, c, 0, wire.SnapContext{})
	want := randomBytes(3, 500_000)
	for i := 0; i < len(want); i += 100 {
		if err := fl.Write(bg, uint64(i), wire.DataOf(want[i:i+100]), false); err != nil {
			t.Fatal(err)
		}
	}
	f.mu.Lock()
	held := f.dirty
	f.mu.Unlock()
	if held > 700_000 {
		t.Errorf("%d bytes are held for 500 000", held)
	}
	if err := fl.Flush(bg, 0, 0); err != nil || pool.Ops() != 1 {
		t.Errorf("%v, %d operations", err, pool.Ops())
	}
	fl.Release()
	if got := mustRead(t, f, c, 500_000, 0, 500_000); !bytes.Equal(got, want) {
		t.Error("other bytes")
	}
}

func TestWriteBackError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pool := radostest.NewPool()
		f := New(Options{Data: pool})
		var broken atomic.Bool
		pool.SetInject(func(int, *rados.Op) error {
			if broken.Load() {
				return wire.ENOSPC
			}
			return nil
		})
		c := &inode.Content{Kind: inode.Plain, Stream: 1}
		fl, _ := f.Open(1, c, 0, wire.SnapContext{})
		write := func(off uint64, stable bool) error {
			return fl.Write(bg, off, wire.DataOf([]byte("some bytes")), stable)
		}
		v0 := f.Verifier()
		if err := write(0, true); err != nil {
			t.Fatal(err)
		}
		if f.Verifier() != v0 {
			t.Fatal("the verifier changed though nothing was lost")
		}
		broken.Store(true)
		if err := write(100, true); wire.ErrnoOf(err) != wire.ENOSPC {
			t.Fatalf("a stable write that fails: %v", err)
		}
		v1 := f.Verifier()
		if v1 == v0 {
			t.Fatal("the verifier stayed though data was lost")
		}
		if err := write(200, false); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Second) // lost in the background
		broken.Store(false)
		if f.Verifier() == v1 {
			t.Fatal("the verifier stayed though data was lost in the background")
		}
		if err := write(300, false); err != nil {
			t.Fatal(err)
		}
		if err := fl.Flush(bg, 0, 0); wire.ErrnoOf(err) != wire.ENOSPC {
			t.Fatalf("the loss isn't told: %v", err)
		}
		if err := fl.Flush(bg, 0, 0); err != nil {
			t.Fatalf("the loss is told twice: %v", err)
		}
		broken.Store(true)
		write(400, false)
		if err := fl.Switch(bg, c, wire.SnapContext{}); wire.ErrnoOf(err) != wire.ENOSPC {
			t.Fatalf("Switch over a loss: %v", err)
		}
		write(500, false)
		if err := fl.Truncate(bg, 50, c); wire.ErrnoOf(err) != wire.ENOSPC {
			t.Fatalf("Truncate that the store refuses: %v", err)
		}
		fl.Discard(bg)
		if err := write(600, false); wire.ErrnoOf(err) != wire.ESTALE {
			t.Fatalf("Write after Discard: %v", err)
		}
		fl.Release()
		if f.Lookup(1) != nil {
			t.Fatal("a discarded file is still known")
		}
		if err := f.Close(bg); err != nil {
			t.Fatal(err)
		}
	})
}

// TestBoundedMemory writes much to a slow store.
func TestBoundedMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pool := radostest.NewPool()
		pool.SetLatency(func(*rados.Op) time.Duration { return 20 * time.Millisecond })
		const bound = 2 << 20
		f := New(Options{Data: pool, DirtyBytes: bound})
		most := int64(0)
		var wg sync.WaitGroup
		for g := range 4 {
			fl, err := f.Open(inode.Ino(g+1), &inode.Content{Kind: inode.Plain, Stream: uint64(g + 1)}, 0, wire.SnapContext{})
			if err != nil {
				t.Fatal(err)
			}
			r := rand.New(rand.NewPCG(uint64(g), 0))
			wg.Go(func() {
				defer fl.Release()
				for range 200 {
					n := 1 + r.IntN(90_000)
					d := wire.CopyData(make([]byte, n))
					if err := fl.Write(bg, uint64(r.IntN(8<<20)), d, false); err != nil {
						t.Error(err)
					}
					d.Release()
					f.mu.Lock()
					most = max(most, f.dirty)
					f.mu.Unlock()
				}
			})
		}
		wg.Wait()
		if most > bound*3/2 {
			t.Errorf("%d bytes were unwritten at a time, the bound is %d", most, bound)
		}
		if err := f.Close(bg); err != nil {
			t.Fatal(err)
		}
		if f.dirty != 0 {
			t.Errorf("%d bytes are counted after Close", f.dirty)
		}
	})
}

// TestWaitsEnd checks that waits end with their contexts and nothing is left
// locked.
func TestWaitsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pool := radostest.NewPool()
		pool.SetLatency(func(*rados.Op) time.Duration { return time.Hour })
		f := New(Options{Data: pool, DirtyBytes: 1 << 20})
		c := &inode.Content{Kind: inode.Plain, Stream: 1}
		fl, _ := f.Open(1, c, 0, wire.SnapContext{})
		big := wire.DataOf(make([]byte, 1<<20))
		if err := fl.Write(bg, 0, big, false); err != nil {
			t.Fatal(err)
		}
		for name, op := range map[string]func(ctx context.Context) error{
			"Write":    func(ctx context.Context) error { return fl.Write(ctx, 1<<20, big, false) },
			"Flush":    func(ctx context.Context) error { return fl.Flush(ctx, 0, 0) },
			"Truncate": func(ctx context.Context) error { return fl.Truncate(ctx, 5, c) },
			"Switch":   func(ctx context.Context) error { return fl.Switch(ctx, c, wire.SnapContext{}) },
			"Close":    func(ctx context.Context) error { return nil },
		} {
			ctx, cancel := context.WithTimeout(bg, time.Minute)
			if err := op(ctx); name != "Close" && wire.ErrnoOf(err) != wire.ETIMEDOUT {
				t.Errorf("%s: %v", name, err)
			}
			cancel()
		}
		pool.SetLatency(nil)
		time.Sleep(2 * time.Hour)
		if err := fl.Truncate(bg, 5, c); err != nil {
			t.Fatal(err)
		}
		if err := fl.Write(bg, 0, wire.DataOf([]byte("x")), true); err != nil {
			t.Fatal(err)
		}
		fl.Release()
		f.Close(bg)
	})
}

// TestOverlayMeetsOtherMap changes an object's block map behind the File's
// back, as a write-back whose answer was lost does.
func TestOverlayMeetsOtherMap(t *testing.T) {
	pool := radostest.NewPool()
	f := newFiler(t, pool, Options{})
	base := randomBytes(1, 300_000)
	s := f.NewStream(1)
	s.Write(bg, wire.DataOf(base))
	if err := s.Finish(bg); err != nil {
		t.Fatal(err)
	}
	c := &inode.Content{Kind: inode.Overlay, Stream: 2, BaseLimit: 300_000,
		Base: &inode.Content{Kind: inode.Plain, Stream: 1, Sealed: true}}
	fl, err := f.Open(1, c, 300_000, wire.SnapContext{})
	if err != nil {
		t.Fatal(err)
	}
	defer fl.Release()
	put := func(off int, p string) {
		t.Helper()
		if err := fl.Write(bg, uint64(off), wire.DataOf([]byte(p)), true); err != nil {
			t.Fatal(err)
		}
		copy(base[off:], p)
	}
	put(10, "first")
	other := newFiler(t, pool, Options{})
	if _, err := other.storeOverlay(bg, c, wire.SnapContext{}, 0, []run{{200_000, wire.DataOf([]byte("other"))}}, blockMap{}); err != nil {
		t.Fatal(err)
	}
	copy(base[200_000:], "other")
	put(100_000, "second")
	put(200_010, "third")
	if got := mustRead(t, f, c, 300_000, 0, 300_000); !bytes.Equal(got, base) {
		t.Fatalf("differs at %d", differs(got, base))
	}
}

func TestStoredSize(t *testing.T) {
	pool := radostest.NewPool()
	f := newFiler(t, pool, Options{})
	fl, _ := f.Open(1, &inode.Content{Kind: inode.Plain, Stream: 1}, 0, wire.SnapContext{})
	if err := fl.Write(bg, 9<<20, wire.DataOf([]byte("end")), true); err != nil {
		t.Fatal(err)
	}
	fl.Release()
	for _, atLeast := range []uint64{0, 5 << 20, 9<<20 + 3} {
		if size, err := f.StoredSize(bg, 1, atLeast); size != 9<<20+3 || err != nil {
			t.Errorf("StoredSize from %d: %d, %v", atLeast, size, err)
		}
	}
}

// TestManyRanges has more separate ranges in one object than one vector
// takes: Flush must wait for all of them.
func TestManyRanges(t *testing.T) {
	pool := radostest.NewPool()
	f := newFiler(t, pool, Options{WriteBack: time.Minute})
	c := &inode.Content{Kind: inode.Plain, Stream: 1}
	fl, _ := f.Open(1, c, 0, wire.SnapContext{})
	defer fl.Release()
	want := make([]byte, 3*maxRuns*200)
	for i := range 3 * maxRuns {
		want[i*200] = 'x'
		if err := fl.Write(bg, uint64(i*200), wire.DataOf([]byte("x")), false); err != nil {
			t.Fatal(err)
		}
	}
	if err := fl.Flush(bg, 0, 0); err != nil || pool.Ops() != 3 {
		t.Fatalf("%v, %d vectors, want 3", err, pool.Ops())
	}
	if got := mustRead(t, f, c, uint64(len(want)), 0, len(want)); !bytes.Equal(got, want) {
		t.Fatalf("differs at %d after Flush", differs(got, want))
	}
}
