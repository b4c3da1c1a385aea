package mds

import (
	"context"
	"fmt"
	"testing"

	"github.com/spirula/spirula/rados/radostest"
	"github.com/spirula/spirula/rados/wire"
)

func benchFS(b *testing.B) (*FS, Bucket, Handle) {
	fs, err := Open(context.Background(), Options{Meta: radostest.NewPool(), Data: radostest.NewPool(), Exclusive: true})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { fs.Close(context.Background()) })
	bucket, err := fs.CreateBucket(context.Background(), owner, Bucket{Name: "bucket"})
	if err != nil {
		b.Fatal(err)
	}
	a, _, err := fs.Lookup(context.Background(), modelRoot, Handle{Ino: RootIno, Gen: 1}, "bucket")
	if err != nil {
		b.Fatal(err)
	}
	return fs, bucket, a.Handle()
}

func benchPut(b *testing.B, fs *FS, bucket Ino, key string, d wire.Data) {
	ctx := context.Background()
	w, err := fs.NewWriter(ctx, owner, bucket, int64(d.Len()))
	if err == nil {
		err = w.Write(ctx, d)
	}
	if err == nil {
		_, err = w.Publish(ctx, key, Publish{ETag: emptyETag})
	}
	if err != nil {
		b.Fatal(err)
	}
}

func benchmarkPut(b *testing.B, size int) {
	fs, bucket, _ := benchFS(b)
	d := wire.CopyData(make([]byte, size))
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		benchPut(b, fs, bucket.Ino, fmt.Sprintf("dir/%d/%d", i%100, i), d)
		i++
	}
}

func BenchmarkPut4K(b *testing.B)     { benchmarkPut(b, 4096) }
func BenchmarkPutInline(b *testing.B) { benchmarkPut(b, 1024) }

func BenchmarkStat(b *testing.B) {
	fs, bucket, _ := benchFS(b)
	d := wire.CopyData(make([]byte, 100))
	benchPut(b, fs, bucket.Ino, "dir/sub/key", d)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := fs.StatObject(context.Background(), bucket.Ino, "dir/sub/key"); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkList1000(b *testing.B) {
	fs, bucket, _ := benchFS(b)
	d := wire.CopyData(make([]byte, 100))
	for i := range 5000 {
		benchPut(b, fs, bucket.Ino, fmt.Sprintf("dir/%05d", i), d)
	}
	b.ReportAllocs()
	for b.Loop() {
		p, err := fs.List(context.Background(), bucket.Ino, ListRequest{Prefix: "dir/", After: "dir/01000", Max: 1000})
		if err != nil || len(p.Entries) != 1000 {
			b.Fatal(len(p.Entries), err)
		}
	}
}

func BenchmarkWrite4K(b *testing.B) {
	fs, _, dir := benchFS(b)
	a, _, err := fs.Create(context.Background(), modelRoot, dir, "f", CreateArgs{})
	if err != nil {
		b.Fatal(err)
	}
	d := wire.CopyData(make([]byte, 4096))
	b.ReportAllocs()
	i := uint64(0)
	for b.Loop() {
		if _, err := fs.Write(context.Background(), modelRoot, a.Handle(), i%4096*4096, d, false); err != nil {
			b.Fatal(err)
		}
		i++
	}
}

func BenchmarkCreateRemove(b *testing.B) {
	fs, _, dir := benchFS(b)
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := fs.Create(context.Background(), modelRoot, dir, "f", CreateArgs{}); err != nil {
			b.Fatal(err)
		}
		if _, err := fs.Remove(context.Background(), modelRoot, dir, "f"); err != nil {
			b.Fatal(err)
		}
	}
}
