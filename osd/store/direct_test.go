package store

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"github.com/spirula/spirula/osd/disk"
	"github.com/spirula/spirula/rados/wire"
)

// TestDirectAndBufferedAgree writes and reads one store on a real disk by both
// ways, large and small, aligned and not, over what the other way has left in
// the page cache, and compares with a plain copy.
func TestDirectAndBufferedAgree(t *testing.T) {
	d, err := disk.OpenDir(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	opts := Options{UUID: wire.FSID{1}, WalBytes: 16 << 20, GrowBytes: 16 << 20, Fatal: func(err error) { t.Error(err) }}
	if err := Mkfs(d, opts); err != nil {
		t.Fatal(err)
	}
	s, err := Open(d, opts)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if !s.blockDirect.Direct() {
		t.Skip("the file system of the temporary directory takes no direct I/O")
	}
	seed := rand.Uint64()
	r := rand.New(rand.NewPCG(seed, 0))
	seq, twins := s.NewSequencer(), map[string][]byte{}
	for i := range 300 {
		name := string(rune('a' + r.IntN(4)))
		o := ObjectID{HObject: wire.HObject{Pool: 1, Name: name, Snap: wire.NoSnap}, Shard: wire.NoShard, Gen: NoGen}
		off, n := r.IntN(2<<20), 1+r.IntN(1<<20)
		if r.IntN(2) == 0 {
			off, n = off&^(unitSize-1), (n+unitSize-1)&^(unitSize-1)
		}
		if r.IntN(4) == 0 {
			n = 1 + n%(8*unitSize) // small: into the log, and in place later
		}
		data := make([]byte, n)
		for j := range data {
			data[j] = byte(r.Uint32())
		}
		twin := twins[name]
		if len(twin) < off+n {
			twin = append(twin, make([]byte, off+n-len(twin))...)
		}
		copy(twin[off:], data)
		twins[name] = twin
		var txn Txn
		txn.Write(o, uint64(off), wire.CopyData(data))
		txn.Ops[0].Cached = r.IntN(2) == 0
		done := make(chan error, 1)
		if err := s.Queue(seq, &txn, func(err error) { done <- err }); err != nil {
			t.Fatal(err)
		}
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		txn.Ops[0].Data.Release()
		at := r.IntN(len(twin))
		got, err := s.Read(o, uint64(at), uint64(r.IntN(1<<20)))
		if err != nil || !bytes.Equal(got.Bytes(), twin[at:at+got.Len()]) {
			t.Fatalf("seed %d, step %d: %d bytes of %s at %d differ: %v", seed, i, got.Len(), name, at, err)
		}
		got.Release()
	}
	report, err := s.Fsck(FsckOptions{Deep: true})
	if err != nil || len(report.Problems) > 0 {
		t.Errorf("seed %d: fsck: %v, %v", seed, report.Problems, err)
	}
}
