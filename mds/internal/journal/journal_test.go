package journal

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/spirula/spirula/rados"
	"github.com/spirula/spirula/rados/radostest"
	"github.com/spirula/spirula/rados/wire"
)

var bg = context.Background()

func mustOpen(t testing.TB, d rados.Doer, o Options) *Journal {
	t.Helper()
	o.Exclusive = true
	j, err := Open(bg, d, 0, o)
	if err != nil {
		t.Fatalf("Open: %v", err)
	}
	return j
}

type logged struct {
	pos   uint64
	event string
}

func replayed(t testing.TB, j *Journal, from uint64) []logged {
	t.Helper()
	var out []logged
	if err := j.Replay(bg, from, func(pos uint64, event []byte) error {
		out = append(out, logged{pos, string(event)})
		return nil
	}); err != nil {
		t.Fatalf("Replay: %v", err)
	}
	return out
}

// event makes a recognisable event of a size.
func event(i, size int) []byte {
	p := bytes.Repeat([]byte{byte(i)}, max(size, 8))
	binary.LittleEndian.PutUint64(p, uint64(i))
	return p
}

func TestAppendReplayTrim(t *testing.T) {
	pool := radostest.NewPool()
	j := mustOpen(t, pool, Options{})
	if got := replayed(t, j, 0); len(got) != 0 {
		t.Fatalf("a new journal replays %d events", len(got))
	}
	var want []logged
	r := rand.New(rand.NewPCG(1, 2))
	for i := range 300 {
		e := event(i, r.IntN(100_000))
		want = append(want, logged{j.Append(e), string(e)})
	}
	if err := j.Wait(bg, want[299].pos); err != nil {
		t.Fatal(err)
	}
	if d := j.Durable(); d != want[299].pos {
		t.Fatalf("Durable %d, want %d", d, want[299].pos)
	}
	if err := j.Wait(bg, want[299].pos+1); wire.ErrnoOf(err) != wire.EINVAL {
		t.Fatalf("Wait beyond the head: %v", err)
	}
	if err := j.SetExtra(bg, []byte("state")); err != nil {
		t.Fatal(err)
	}
	if err := j.Close(bg); err != nil {
		t.Fatal(err)
	}
	for _, cut := range []int{0, 77, 200, 300} {
		j = mustOpen(t, pool, Options{})
		if string(j.Extra()) != "state" {
			t.Fatalf("extra %q", j.Extra())
		}
		first := cut
		if cut > 0 {
			if err := j.Trim(bg, want[cut-1].pos); err != nil {
				t.Fatal(err)
			}
			j.Close(bg)
			j = mustOpen(t, pool, Options{})
		}
		got := replayed(t, j, 0)
		if len(got) != len(want)-first {
			t.Fatalf("cut %d: %d events, want %d", cut, len(got), len(want)-first)
		}
		for i, g := range got {
			if g != want[first+i] {
				t.Fatalf("cut %d: event %d differs: pos %d, want %d", cut, i, g.pos, want[first+i].pos)
			}
		}
		if cut == 77 {
			for _, from := range []int{77, 150, 299} {
				if got := replayed(t, j, want[from].pos); len(got) != 299-from {
					t.Fatalf("from %d: %d events, want %d", from, len(got), 299-from)
				}
			}
		}
		j.Close(bg)
	}
	names := 0
	pool.ListObjects(bg, "", func(e wire.ListEntry) error {
		if strings.HasPrefix(e.Name, "j.0000.") {
			names++
		}
		return nil
	})
	if names > 2*stride {
		t.Errorf("%d journal objects are left after everything was trimmed", names)
	}
}

func TestAppendAfterReopen(t *testing.T) {
	pool := radostest.NewPool()
	var want []string
	for round := range 8 {
		j := mustOpen(t, pool, Options{})
		if j.Epoch() != uint64(round+1) {
			t.Fatalf("epoch %d in round %d", j.Epoch(), round)
		}
		got := replayed(t, j, 0)
		if len(got) != len(want) {
			t.Fatalf("round %d: %d events, want %d", round, len(got), len(want))
		}
		for i := range got {
			if got[i].event != want[i] {
				t.Fatalf("round %d: event %d differs", round, i)
			}
		}
		for i := range 5 {
			e := event(round*10+i, 900_000)
			want = append(want, string(e))
			j.Append(e)
		}
		if err := j.Close(bg); err != nil {
			t.Fatal(err)
		}
	}
}

func TestConcurrentAppend(t *testing.T) {
	pool := radostest.NewPool()
	pool.SetLatency(func(*rados.Op) time.Duration { return time.Duration(rand.IntN(300)) * time.Microsecond })
	j := mustOpen(t, pool, Options{})
	var (
		mu  sync.Mutex
		all []logged
		wg  sync.WaitGroup
	)
	for g := range 8 {
		wg.Go(func() {
			for i := range 60 {
				if err := j.Throttle(bg); err != nil {
					t.Error(err)
				}
				e := event(g*1000+i, 10+rand.IntN(30_000))
				mu.Lock()
				pos := j.Append(e)
				all = append(all, logged{pos, string(e)})
				mu.Unlock()
				if err := j.Wait(bg, pos); err != nil || j.Durable() < pos {
					t.Errorf("Wait(%d): %v, durable %d", pos, err, j.Durable())
				}
			}
		})
	}
	wg.Wait()
	if v := j.Metrics.Vectors.Load(); v >= 480 {
		t.Errorf("%d vectors for 480 events: nothing was grouped", v)
	}
	if err := j.Close(bg); err != nil {
		t.Fatal(err)
	}
	pool.SetLatency(nil)
	j = mustOpen(t, pool, Options{})
	defer j.Close(bg)
	got := replayed(t, j, 0)
	if len(got) != len(all) {
		t.Fatalf("%d events, want %d", len(got), len(all))
	}
	for i := range got {
		if got[i] != all[i] {
			t.Fatalf("event %d differs", i)
		}
	}
}

// TestDamage checks that damage below the end is told, never taken for the
// end.
func TestDamage(t *testing.T) {
	build := func() *radostest.Pool {
		pool := radostest.NewPool()
		j := mustOpen(t, pool, Options{})
		for i := range 14 {
			j.Wait(bg, j.Append(event(i, 900_000)))
		}
		j.Close(bg)
		return pool
	}
	object := func(n uint64) string { return namesOf(0).object(n) }
	tests := []struct {
		name string
		op   *rados.Op
	}{
		{"flipped byte in the middle", &rados.Op{Object: object(1), Ops: []wire.Op{{Code: wire.OpWrite, Off: 1_000_000, Len: 1, Data: wire.DataOf([]byte{0xEE})}}}},
		{"flipped byte in the last record", &rados.Op{Object: object(3), Ops: []wire.Op{{Code: wire.OpWrite, Off: 1_800_000, Len: 1, Data: wire.DataOf([]byte{0xEE})}}}},
		{"an object short", &rados.Op{Object: object(1), Ops: []wire.Op{{Code: wire.OpTruncate, Off: 900_036}}}},
		{"an object gone", &rados.Op{Object: object(1), Ops: []wire.Op{{Code: wire.OpDelete}}}},
		{"an object emptied", &rados.Op{Object: object(0), Ops: []wire.Op{{Code: wire.OpTruncate}, setAttr(attrEnd, decimal(0)), setAttr(attrDone, decimal(0))}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			pool := build()
			if _, err := pool.Do(bg, tt.op); err != nil {
				t.Fatal(err)
			}
			j, err := Open(bg, pool, 0, Options{Exclusive: true})
			if err == nil {
				err = j.Replay(bg, 0, func(uint64, []byte) error { return nil })
				j.Close(bg)
			}
			if wire.ErrnoOf(err) != wire.EIO {
				t.Fatalf("got %v, want EIO", err)
			}
		})
	}
}

func TestDump(t *testing.T) {
	pool := radostest.NewPool()
	j := mustOpen(t, pool, Options{Holder: "mds.a"})
	j.Append(event(1, 100))
	j.Append(event(2, 200))
	j.Close(bg)
	var out strings.Builder
	if err := Dump(bg, pool, 0, &out); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`lease.0000 epoch=1 holder="" counter=`, "j.0000 trimmed=0 deleted=0 limit=8 extra=0 bytes",
		"j.0000.0000000000000000 epoch=1 end=372 done=372", "  136 after 0 epoch=1 100 bytes", "  372 after 136 epoch=1 200 bytes",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in:\n%s", want, out.String())
		}
	}
}

func TestWriteAndRemove(t *testing.T) {
	pool := radostest.NewPool()
	a := mustOpen(t, pool, Options{})
	put := func(j *Journal, v string) error {
		return j.Write(bg, "d.1.0", wire.Op{Code: wire.OpOmapSetVals, KVs: []wire.KV{{Key: "k", Value: []byte(v)}}})
	}
	if err := errors.Join(put(a, "a"), put(a, "a2")); err != nil {
		t.Fatal(err)
	}
	deposed := make(chan error, 1)
	a.Close(bg)
	a = mustOpen(t, pool, Options{Deposed: func(err error) { deposed <- err }})
	b := mustOpen(t, pool, Options{})
	defer b.Close(bg)
	if err := put(a, "late, before b touched it"); err != nil {
		t.Fatalf("a write to an object that the new holder has not touched: %v", err)
	}
	if err := put(b, "b"); err != nil {
		t.Fatal(err)
	}
	if err := put(a, "late"); !errors.Is(err, ErrDeposed) {
		t.Fatalf("got %v, want ErrDeposed", err)
	}
	if err := <-deposed; !errors.Is(err, ErrDeposed) {
		t.Fatalf("Deposed was told %v", err)
	}
	if err := a.Wait(bg, a.Append([]byte("x"))); !errors.Is(err, ErrDeposed) {
		t.Fatalf("Wait after the end: %v", err)
	}
	if err := a.Remove(bg, "d.1.0"); !errors.Is(err, ErrDeposed) {
		t.Fatalf("Remove by a deposed holder: %v", err)
	}
	if err := errors.Join(b.Remove(bg, "d.1.0"), b.Remove(bg, "d.1.0")); err != nil {
		t.Fatal(err)
	}
	a.Close(bg)
}

func TestGolden(t *testing.T) {
	head := make([]byte, recordHead)
	putHead(head, 0x1122, 0x1100, 7, []byte("event"))
	const want = "53504a31" + "05000000" + "2211000000000000" + "0011000000000000" + "0700000000000000"
	if got := fmt.Sprintf("%x", head[:32]); got != want {
		t.Errorf("record head\n got %s\nwant %s", got, want)
	}
	if crc := wire.CRC32C(append(head[:32:32], "event"...)); crc != binary.LittleEndian.Uint32(head[32:]) {
		t.Errorf("record checksum %08x, want %08x", binary.LittleEndian.Uint32(head[32:]), crc)
	}
	h := headerState{trimmed: 0x500001, limit: 9, deleted: 1, extra: []byte{0xAA}}
	const wantHeader = "53504a48" + "01010000" + "0100500000000000" + "0900000000000000" + "0100000000000000" + "01000000" + "aa"
	if got := fmt.Sprintf("%x", h.encode()); !strings.HasPrefix(got, wantHeader) {
		t.Errorf("header\n got %s\nwant %s", got, wantHeader)
	}
}

func FuzzRecord(f *testing.F) {
	p := make([]byte, recordHead, 64)
	putHead(p, 0, 0, 1, []byte("event"))
	f.Add(append(p, "event"...))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, p []byte) {
		r, n, err := parseRecord(p, 0, 0)
		if err == nil && (n != recordHead+len(r.event) || n > len(p)) {
			t.Fatalf("%d bytes of %d, event of %d", n, len(p), len(r.event))
		}
	})
}

func FuzzHeader(f *testing.F) {
	h := headerState{trimmed: 1, limit: 8, extra: []byte("x")}
	f.Add(h.encode())
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, p []byte) {
		h, err := decodeHeader(p)
		if err == nil && !bytes.Equal(h.encode()[8:36], p[8:36]) {
			t.Fatalf("decoded and encoded again it differs")
		}
	})
}

func BenchmarkAppendWait(b *testing.B) {
	j := mustOpen(b, radostest.NewPool(), Options{})
	defer j.Close(bg)
	e := event(1, 512)
	b.ReportAllocs()
	for b.Loop() {
		pos := j.Append(e)
		if err := j.Wait(bg, pos); err != nil {
			b.Fatal(err)
		}
		if pos>>25 != (pos-1000)>>25 {
			j.Trim(bg, pos)
		}
	}
}
