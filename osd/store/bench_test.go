package store_test

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/spirula/spirula/osd/disk"
	"github.com/spirula/spirula/osd/store"
	"github.com/spirula/spirula/rados/wire"
)

func benchStore(b *testing.B) *store.Store {
	d, err := disk.OpenDir(b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	o := store.Options{UUID: [16]byte{1}}
	s := newStore(b, d, o)
	b.Cleanup(func() { s.Close() })
	return s
}

func benchObject(i int) store.ObjectID {
	o := store.ObjectID{Shard: wire.NoShard, Gen: store.NoGen}
	o.Pool, o.Name, o.Hash, o.Snap = 1, fmt.Sprint("bench", i), uint32(i)*0x9E3779B1, wire.NoSnap
	return o
}

// BenchmarkWrite overwrites objects of 4 MiB in pieces and waits for each to
// be durable, from some goroutines with a Sequencer each.
func BenchmarkWrite(b *testing.B) {
	for _, size := range []int{4 << 10, 64 << 10, 1 << 20, 4 << 20} {
		for _, writers := range []int{1, 8} {
			b.Run(fmt.Sprintf("%dKiB/%d", size>>10, writers), func(b *testing.B) {
				s := benchStore(b)
				data := wire.CopyData(make([]byte, size))
				b.SetBytes(int64(size))
				b.ReportAllocs()
				var next atomic.Int64
				var wg sync.WaitGroup
				b.ResetTimer()
				for w := range writers {
					wg.Add(1)
					go func() {
						defer wg.Done()
						q := s.NewSequencer()
						o := benchObject(w)
						ch := make(chan error, 1)
						done := func(err error) { ch <- err }
						var t store.Txn
						for {
							i := next.Add(1)
							if i > int64(b.N) {
								return
							}
							t.Reset()
							t.Write(o, uint64(i)*uint64(size)%(4<<20), data)
							t.MetaSet(wire.SPGID{PGID: wire.PGID{Pool: 1, Seed: uint32(w)}}, wire.KV{Key: fmt.Sprintf("%016x", i), Value: make([]byte, 150)})
							if err := s.Queue(q, &t, done); err != nil {
								b.Error(err)
								return
							}
							if err := <-ch; err != nil {
								b.Error(err)
							}
						}
					}()
				}
				wg.Wait()
				b.ReportMetric(float64(s.Metrics().Groups.Load())/float64(b.N), "groups/op")
			})
		}
	}
}

// BenchmarkRead reads what is in the page cache.
func BenchmarkRead(b *testing.B) {
	for _, size := range []int{4 << 10, 256 << 10, 1 << 20} {
		b.Run(fmt.Sprintf("%dKiB", size>>10), func(b *testing.B) {
			s := benchStore(b)
			o := benchObject(1)
			ch := make(chan error, 1)
			var t store.Txn
			t.Write(o, 0, wire.CopyData(make([]byte, 4<<20)))
			if err := s.Queue(s.NewSequencer(), &t, func(err error) { ch <- err }); err != nil {
				b.Fatal(err)
			}
			<-ch
			b.SetBytes(int64(size))
			b.ReportAllocs()
			b.ResetTimer()
			for i := range b.N {
				d, err := s.Read(o, uint64(i)*uint64(size)%(4<<20), uint64(size))
				if err != nil || d.Len() != size {
					b.Fatal(err, d.Len())
				}
				d.Release()
			}
		})
	}
}

// BenchmarkOmapSet sets one key of 100 bytes, and waits.
func BenchmarkOmapSet(b *testing.B) {
	s := benchStore(b)
	q := s.NewSequencer()
	ch := make(chan error, 1)
	value := make([]byte, 100)
	b.ReportAllocs()
	b.ResetTimer()
	for i := range b.N {
		var t store.Txn
		t.OmapSet(benchObject(1), []wire.KV{{Key: fmt.Sprint(i % 10000), Value: value}})
		if err := s.Queue(q, &t, func(err error) { ch <- err }); err != nil {
			b.Fatal(err)
		}
		<-ch
	}
}

// BenchmarkMkfs makes a store of the default size.
func BenchmarkMkfs(b *testing.B) {
	for range b.N {
		d, err := disk.OpenDir(b.TempDir())
		if err != nil {
			b.Fatal(err)
		}
		if err := store.Mkfs(d, store.Options{UUID: [16]byte{1}}); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkOpen opens and closes a store that has nothing to replay.
func BenchmarkOpen(b *testing.B) {
	d, err := disk.OpenDir(b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	newStore(b, d, store.Options{UUID: [16]byte{1}}).Close()
	b.ResetTimer()
	for range b.N {
		openStore(b, d, store.Options{}).Close()
	}
}
