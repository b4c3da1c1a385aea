package filer

import (
	"testing"

	"github.com/spirula/spirula/mds/internal/inode"
	"github.com/spirula/spirula/rados/radostest"
	"github.com/spirula/spirula/rados/wire"
)

func benchFiler(b *testing.B) (*Filer, *radostest.Pool) {
	pool := radostest.NewPool()
	b.ReportAllocs()
	return newFiler(b, pool, Options{}), pool
}

func BenchmarkPut4K(b *testing.B) {
	f, _ := benchFiler(b)
	d := wire.CopyData(make([]byte, 4096))
	b.SetBytes(4096)
	for sid := uint64(1); b.Loop(); sid++ {
		s := f.NewStream(sid)
		s.Write(bg, d)
		if _, err := s.StartSingle(bg).Wait(bg); err != nil {
			b.Fatal(err)
		}
		if err := f.Purge(bg, sid, 4096, wire.SnapContext{}); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkPut4M(b *testing.B) {
	f, _ := benchFiler(b)
	d := wire.CopyData(make([]byte, 256<<10))
	b.SetBytes(4 << 20)
	for sid := uint64(1); b.Loop(); sid++ {
		s := f.NewStream(sid)
		for range 16 {
			s.Write(bg, d)
		}
		if err := s.Finish(bg); err != nil {
			b.Fatal(err)
		}
		if err := f.Purge(bg, sid, 4<<20, wire.SnapContext{}); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkRead1M(b *testing.B) {
	f, _ := benchFiler(b)
	s := f.NewStream(1)
	s.Write(bg, wire.DataOf(make([]byte, 4<<20)))
	s.Finish(bg)
	c := &inode.Content{Kind: inode.Plain, Stream: 1}
	b.SetBytes(1 << 20)
	for i := uint64(0); b.Loop(); i++ {
		d, err := f.Read(bg, c, 4<<20, i%4<<20, 1<<20)
		if err != nil {
			b.Fatal(err)
		}
		d.Release()
	}
}

func BenchmarkSequentialWrite(b *testing.B) {
	f, _ := benchFiler(b)
	fl, _ := f.Open(1, &inode.Content{Kind: inode.Plain, Stream: 1}, 0, wire.SnapContext{})
	defer fl.Release()
	d := wire.CopyData(make([]byte, 1<<20))
	b.SetBytes(1 << 20)
	for i := uint64(0); b.Loop(); i++ {
		if err := fl.Write(bg, i%64<<20, d, false); err != nil {
			b.Fatal(err)
		}
	}
	if err := fl.Flush(bg, 0, 0); err != nil {
		b.Fatal(err)
	}
}

func BenchmarkSmallFile(b *testing.B) {
	f, _ := benchFiler(b)
	d := wire.CopyData(make([]byte, 4096))
	for i := uint64(1); b.Loop(); i++ {
		fl, _ := f.Open(inode.Ino(i), &inode.Content{Kind: inode.Plain, Stream: i % 1000}, 0, wire.SnapContext{})
		fl.Write(bg, 0, d, false)
		if err := fl.Flush(bg, 0, 0); err != nil {
			b.Fatal(err)
		}
		fl.Release()
	}
}
