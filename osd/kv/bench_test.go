package kv

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/spirula/spirula/osd/disk"
)

const benchKeys = 100_000

// benchDB is a DB in a folder with benchKeys keys of 300 bytes.
func benchDB(b *testing.B) *DB {
	b.Helper()
	d, err := disk.OpenDir(b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	db, err := Open(d, "kv", Options{})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := db.Close(); err != nil {
			b.Error(err)
		}
	})
	var batch Batch
	value := make([]byte, 300)
	for i := range benchKeys {
		batch.Put(benchKey(i), value)
		if batch.Len() == 100 {
			if err := db.Apply(&batch, uint64(i)); err != nil {
				b.Fatal(err)
			}
			batch.Reset()
		}
	}
	if err := db.ForceFlush(); err != nil {
		b.Fatal(err)
	}
	return db
}

func benchKey(i int) []byte { return fmt.Appendf(nil, "key%09d", i) }

func BenchmarkGet(b *testing.B) {
	db := benchDB(b)
	rng := rand.New(rand.NewPCG(1, 1))
	b.ReportAllocs()
	var dst []byte
	for b.Loop() {
		var err error
		if dst, err = db.Get(benchKey(rng.IntN(benchKeys)), dst[:0]); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkApply(b *testing.B) {
	db := benchDB(b)
	rng := rand.New(rand.NewPCG(1, 1))
	b.ReportAllocs()
	var batch Batch
	value := make([]byte, 300)
	seq := uint64(benchKeys)
	for b.Loop() {
		seq++
		batch.Reset()
		for range 4 { // an onode, two shards, a log entry
			batch.Put(benchKey(rng.IntN(benchKeys)), value)
		}
		b.SetBytes(int64(batch.Size()))
		if err := db.Apply(&batch, seq); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkIter takes 100 keys from a random place.
func BenchmarkIter(b *testing.B) {
	db := benchDB(b)
	rng := rand.New(rand.NewPCG(1, 1))
	b.ReportAllocs()
	for b.Loop() {
		it := db.NewIter(benchKey(rng.IntN(benchKeys-100)), nil)
		n := 0
		for n < 100 && it.Next() {
			n++
		}
		if err := it.Close(); err != nil || n != 100 {
			b.Fatalf("%d keys, %v", n, err)
		}
	}
}
