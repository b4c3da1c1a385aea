package store_test

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spirula/spirula/osd/disk"
	"github.com/spirula/spirula/osd/kv"
	"github.com/spirula/spirula/osd/store"
	"github.com/spirula/spirula/rados/wire"
)

// write queues a transaction and waits for it.
func write(t testing.TB, s *store.Store, f func(*store.Txn)) {
	t.Helper()
	ch := make(chan error, 1)
	tx := new(store.Txn)
	f(tx)
	if err := s.Queue(s.NewSequencer(), tx, func(err error) { ch <- err }); err != nil {
		t.Fatal(err)
	}
	if err := <-ch; err != nil {
		t.Fatal(err)
	}
}

func content(n int, seed byte) wire.Data {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i>>8)*3 + byte(i) + seed
	}
	return wire.CopyData(b)
}

// furnish gives the store one of everything.
func furnish(t testing.TB, s *store.Store) {
	write(t, s, func(tx *store.Txn) {
		a := benchObject(1)
		tx.Write(a, 0, content(600_000, 1))
		tx.SetXattrs(a, wire.KV{Key: "large", Value: make([]byte, 5000)}, wire.KV{Key: "small", Value: []byte("1")})
		tx.OmapSet(a, []wire.KV{{Key: "k", Value: []byte("v")}})
		tx.Write(benchObject(2), 0, content(20_000, 2))
		tx.Write(benchObject(3), 0, content(200, 3))
		tx.MetaSet(wire.SPGID{Shard: wire.NoShard}, wire.KV{Key: "info", Value: []byte("x")})
	})
	write(t, s, func(tx *store.Txn) {
		c := benchObject(1)
		c.Snap = 4
		tx.Clone(benchObject(1), c)
		tx.Write(benchObject(1), 4096, content(5000, 4))
	})
	s.Checkpoint()
}

// rows gives the rows with a prefix.
func rows(t testing.TB, s *store.Store, prefix byte) (kvs []wire.KV) {
	t.Helper()
	it := s.Index().NewIter([]byte{prefix}, []byte{prefix + 1})
	defer it.Close()
	for it.Next() {
		kvs = append(kvs, wire.KV{Key: string(it.Key()), Value: slices.Clone(it.Value())})
	}
	return kvs
}

// TestFsckFinds damages one structure after the other: Fsck must name it.
func TestFsckFinds(t *testing.T) {
	flip := func(at int) func(*kv.Batch, []wire.KV) {
		return func(b *kv.Batch, r []wire.KV) {
			v := slices.Clone(r[0].Value)
			v[(at+len(v))%len(v)] ^= 1
			b.Put([]byte(r[0].Key), v)
		}
	}
	remove := func(b *kv.Batch, r []wire.KV) { b.Delete([]byte(r[0].Key)) }
	// move puts the first row where nobody looks for it.
	move := func(b *kv.Batch, r []wire.KV) {
		k := []byte(r[0].Key)
		k[7] ^= 0x40
		b.Put(k, r[0].Value)
	}
	for _, tt := range []struct {
		name   string
		prefix byte
		damage func(*kv.Batch, []wire.KV)
		want   string
	}{
		{"onode flipped", 'O', flip(3), "onode is damaged"},
		{"onode removed", 'O', remove, "are counted"},
		{"object key", 'O', func(b *kv.Batch, r []wire.KV) { b.Put([]byte("O\x7fxx"), r[0].Value) }, "can't be read"},
		{"onode twice", 'O', func(b *kv.Batch, r []wire.KV) {
			b.Put(append([]byte(r[0].Key[:len(r[0].Key)-1]), 1), r[0].Value)
		}, "has another owner"},
		{"shard flipped", 'E', flip(-9), "extent shard"},
		{"shard removed", 'E', remove, "extent shard"},
		{"shard without owner", 'E', move, "have no owner"},
		{"shard too much", 'E', func(b *kv.Batch, r []wire.KV) {
			k := []byte(r[0].Key)
			k[len(k)-1] = 77
			b.Put(k, r[0].Value)
		}, "its onode says"},
		{"xattr without owner", 'a', move, "xattrs of nid"},
		{"xattr removed", 'a', remove, "large xattrs are missing"},
		{"omap without owner", 'M', move, "omap"},
		{"omap row of no kind", 'M', func(b *kv.Batch, r []wire.KV) { b.Put([]byte(r[0].Key[:9]+"q"), nil) }, "key"},
		{"counts flipped", 'X', flip(2), "reference counts"},
		{"counts removed", 'X', remove, "none are counted"},
		{"counts without owner", 'X', move, "has 0 owners"},
		{"region flipped", 'A', flip(10), "allocation region"},
		{"row of no kind", 'S', func(b *kv.Batch, _ []wire.KV) { b.Put([]byte("Zz"), nil) }, "no known kind"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := disk.NewMem()
			s := newStore(t, d, small())
			furnish(t, s)
			fsck(t, s, "before")
			r := rows(t, s, tt.prefix)
			if len(r) == 0 {
				t.Fatalf("no rows of %c", tt.prefix)
			}
			var b kv.Batch
			tt.damage(&b, r)
			if err := s.Index().Apply(&b, s.AppliedSeq()); err != nil {
				t.Fatal(err)
			}
			if tt.prefix == 'A' {
				// In memory all is well; the row counts after Open.
				if err := s.Close(); err != nil {
					t.Fatal(err)
				}
				s = openStore(t, d, small())
			}
			rep, err := s.Fsck(store.FsckOptions{Max: 10})
			if err != nil {
				t.Fatal(err)
			}
			if !slices.ContainsFunc(rep.Problems, func(p string) bool { return strings.Contains(p, tt.want) }) {
				t.Errorf("want %q, found %q", tt.want, rep.Problems)
			}
			s.Close()
		})
	}
}

// rot flips one bit of each of n bytes of a file, from off on.
func rot(t testing.TB, d disk.Disk, name string, off, n int64) {
	t.Helper()
	f, err := d.Open(name, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b := make([]byte, n)
	if _, err := f.ReadAt(b, off); err != nil {
		t.Fatal(err)
	}
	for i := range b {
		b[i] ^= 1
	}
	if _, err := f.WriteAt(b, off); err != nil {
		t.Fatal(err)
	}
}

// find gives where in the file a sector of data lies.
func find(t testing.TB, d disk.Disk, name string, want []byte) int64 {
	t.Helper()
	f, err := d.Open(name, disk.ReadOnly)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	size, _ := f.Size()
	b := make([]byte, size)
	if _, err := f.ReadAt(b, 0); err != nil {
		t.Fatal(err)
	}
	i := bytes.Index(b, want)
	if i < 0 {
		t.Fatalf("%s doesn't hold it", name)
	}
	return int64(i)
}

// TestRot flips a bit of data: reads of that block are EIO, others are not, a
// partial overwrite is refused, a whole one heals.
func TestRot(t *testing.T) {
	d := disk.NewMem()
	s := newStore(t, d, small())
	o := benchObject(1)
	data := content(600_000, 1)
	for i := range 4096 {
		data.Seg(0).Bytes()[8192+i] = byte(i * i >> 3) // a block like no other
	}
	write(t, s, func(tx *store.Txn) { tx.Write(o, 0, data) })
	rot(t, d, "block", find(t, d, "block", data.Seg(0).Bytes()[8192:12288])+100, 1)
	if _, err := s.Read(o, 0, 600_000); wire.ErrnoOf(err) != wire.EIO {
		t.Errorf("read gives %v", err)
	}
	if d, err := s.Read(o, 0, 8192); err != nil {
		t.Errorf("the blocks before: %v", err)
	} else {
		d.Release()
	}
	rep, err := s.Fsck(store.FsckOptions{Deep: true})
	if err != nil || len(rep.Problems) == 0 {
		t.Errorf("deep fsck finds %v, %v", rep.Problems, err)
	}
	if rep, err := s.Fsck(store.FsckOptions{}); err != nil || len(rep.Problems) > 0 {
		t.Errorf("shallow fsck finds %v, %v", rep.Problems, err)
	}
	var tx store.Txn
	tx.Touch(benchObject(2))
	tx.Write(o, 8200, content(10, 2))
	if err := s.Queue(s.NewSequencer(), &tx, nil); wire.ErrnoOf(err) != wire.EIO {
		t.Errorf("partial write gives %v", err)
	}
	if _, err := s.Stat(benchObject(2)); wire.ErrnoOf(err) != wire.ENOENT {
		t.Errorf("half of it was done: %v", err)
	}
	write(t, s, func(tx *store.Txn) { tx.Write(o, 8192, content(4096, 3)) })
	if d, err := s.Read(o, 0, 600_000); err != nil {
		t.Errorf("after a whole write: %v", err)
	} else {
		d.Release()
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

// TestLogRot damages the log behind what was acknowledged: Open refuses.
func TestLogRot(t *testing.T) {
	d := disk.NewMem()
	o := small()
	o.Fatal = func(error) {}
	s := newStore(t, d, o)
	marker := bytes.Repeat([]byte("acknowledged"), 50)
	write(t, s, func(tx *store.Txn) { tx.SetXattrs(benchObject(1), wire.KV{Key: "x", Value: marker}) })
	write(t, s, func(tx *store.Txn) { tx.Touch(benchObject(2)) })
	at := find(t, d, "wal", marker)
	d.PowerOff()
	s.Close()
	d = d.Crash(newRand(1))
	rot(t, d, "wal", at+50, 1)
	if _, err := store.Open(d, o); wire.ErrnoOf(err) != wire.EIO {
		t.Fatalf("Open gives %v", err)
	}
	// With the rot undone it is fine.
	rot(t, d, "wal", at+50, 1)
	s = openStore(t, d, o)
	if v, err := s.Xattr(benchObject(1), "x"); err != nil || !bytes.Equal(v, marker) {
		t.Errorf("xattr %q, %v", v, err)
	}
	s.Close()
}

// TestSuperblock loses one copy, then both, and opens what it shouldn't.
func TestSuperblock(t *testing.T) {
	d := disk.NewMem()
	s := newStore(t, d, small())
	write(t, s, func(tx *store.Txn) { tx.Touch(benchObject(1)) })
	s.Close()
	rot(t, d, "block", 40, 1)
	s = openStore(t, d, small())
	if _, err := s.Stat(benchObject(1)); err != nil {
		t.Error(err)
	}
	s.Close() // writes both copies anew, one at Open, one now
	rot(t, d, "block", 40, 1)
	rot(t, d, "block", 4096+40, 1)
	if _, err := store.Open(d, small()); wire.ErrnoOf(err) != wire.EIO {
		t.Errorf("without superblock: %v", err)
	}
	o := small()
	o.FSID = wire.FSID{9}
	if _, err := store.Open(disk.NewMem(), o); wire.ErrnoOf(err) != wire.ENOENT {
		t.Errorf("an empty disk: %v", err)
	}
	d = disk.NewMem()
	newStore(t, d, small()).Close()
	if _, err := store.Open(d, o); wire.ErrnoOf(err) != wire.EINVAL {
		t.Errorf("another cluster's: %v", err)
	}
	if err := store.Mkfs(d, small()); wire.ErrnoOf(err) != wire.EEXIST {
		t.Errorf("Mkfs over a store: %v", err)
	}
	s = openStore(t, d, small())
	if _, err := store.Open(d, small()); wire.ErrnoOf(err) != wire.EBUSY {
		t.Errorf("opened twice: %v", err)
	}
	s.Close()
}

// TestSyncFails lets a sync of each file fail: the daemon is told, nothing is
// acknowledged after.
func TestSyncFails(t *testing.T) {
	for _, file := range []string{"wal", "block"} {
		t.Run(file, func(t *testing.T) {
			m := disk.NewMem()
			o := small()
			fatal := make(chan error, 1)
			o.Fatal = func(err error) { fatal <- err }
			if err := store.Mkfs(m, o); err != nil {
				t.Fatal(err)
			}
			d, err := disk.NewFaulty(m, 1, "")
			if err != nil {
				t.Fatal(err)
			}
			s := openStore(t, d, o)
			write(t, s, func(tx *store.Txn) { tx.Write(benchObject(1), 0, content(100_000, 1)) })
			if err := d.SetRules(fmt.Sprintf("sync name=%s lose", file)); err != nil {
				t.Fatal(err)
			}
			var tx store.Txn
			tx.Write(benchObject(1), 0, content(100_000, 2))
			ch := make(chan error, 1)
			err = s.Queue(s.NewSequencer(), &tx, func(err error) { ch <- err })
			if err == nil {
				err = <-ch
			} // otherwise block was just growing, and that failed
			if wire.ErrnoOf(err) != wire.EIO {
				t.Errorf("acknowledged without a sync: %v", err)
			}
			if err := <-fatal; wire.ErrnoOf(err) != wire.EIO {
				t.Errorf("fatal: %v", err)
			}
			if err := s.Queue(s.NewSequencer(), &tx, nil); wire.ErrnoOf(err) != wire.EIO {
				t.Errorf("Queue after that: %v", err)
			}
			if err := s.Close(); err == nil {
				t.Error("Close says nothing")
			}
		})
	}
}

// TestFull fills the disk, looks that writes are refused whole and deletes
// work, and that what was deleted can be used again.
func TestFull(t *testing.T) {
	t.Parallel()
	d := disk.NewMem()
	d.SetCapacity(64 << 20)
	o := small()
	o.IndexBytes, o.ReserveBytes = 8<<20, 2<<20
	s := newStore(t, d, o)
	q := s.NewSequencer()
	fill := func() (n int) {
		for ; ; n++ {
			var tx store.Txn
			tx.Write(benchObject(n), 0, content(1<<20+100, byte(n)))
			ch := make(chan error, 1)
			err := s.Queue(q, &tx, func(err error) { ch <- err })
			if wire.ErrnoOf(err) == wire.ENOSPC {
				if _, err := s.Stat(benchObject(n)); wire.ErrnoOf(err) != wire.ENOENT {
					t.Errorf("refused, but there: %v", err)
				}
				return n
			} else if err != nil {
				t.Fatal(err)
			}
			if err := <-ch; err != nil {
				t.Fatal(err)
			}
		}
	}
	n := fill()
	if n < 20 || !s.Statfs().Full && s.Statfs().Free > 2<<20 {
		t.Fatalf("%d MiB fit, %+v", n, s.Statfs())
	}
	fsck(t, s, "full")
	// A delete and a truncate in the middle of a block go.
	write(t, s, func(tx *store.Txn) {
		tx.Remove(benchObject(0))
		tx.Truncate(benchObject(1), 5000)
		tx.MetaSet(wire.SPGID{Shard: wire.NoShard}, wire.KV{Key: "log", Value: []byte("x")})
	})
	for i := 2; i < n; i++ {
		write(t, s, func(tx *store.Txn) { tx.Remove(benchObject(i)) })
	}
	fsck(t, s, "emptied")
	if m := fill(); m < n-2 {
		t.Errorf("%d MiB fit, %d before", m, n)
	}
	fsck(t, s, "full again")
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	s = openStore(t, d, o)
	fsck(t, s, "opened full")
	write(t, s, func(tx *store.Txn) { tx.Remove(benchObject(3)) })
	s.Close()
}

// TestDump looks that every kind of row has its line.
func TestDump(t *testing.T) {
	s := newStore(t, disk.NewMem(), small())
	defer s.Close()
	furnish(t, s)
	write(t, s, func(tx *store.Txn) { tx.OmapRmRange(benchObject(1), "a", "b") })
	var b strings.Builder
	if err := s.Dump(&b); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"superblock fsid=", "state applied=", "group pos=", "  record ", "    put object 1:", "    range omap", "    alloc ", "    image ", "    objects +3",
		"\nobject 1:8d9eec79:::bench1:head: nid=", "size=600000", "\nE ", " 0+64@", "units ", "in use", "\nxattr ", "\nomap ", "\nrow 0.0 \"info\": 1 bytes",
	} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %q in\n%s", want, b.String())
		}
	}
	if strings.Contains(b.String(), "damaged") {
		t.Errorf("damaged:\n%s", b.String())
	}
}

// TestIndexFull fills the disk with omap entries: sets are refused, clearing
// works, and then there is room again.
func TestIndexFull(t *testing.T) {
	t.Parallel()
	d := disk.NewMem()
	d.SetCapacity(128 << 20)
	o := small()
	o.GrowBytes, o.IndexBytes, o.BallastBytes, o.Memory = 4<<20, 48<<20, 40<<20, 4<<20
	s := newStore(t, d, o)
	q := s.NewSequencer()
	set := func(obj, i int) error {
		var tx store.Txn
		var kvs []wire.KV
		for k := range 32 {
			kvs = append(kvs, wire.KV{Key: fmt.Sprintf("%06d/%d", i, k), Value: make([]byte, 1000)})
		}
		tx.OmapSet(benchObject(obj), kvs)
		return s.Queue(q, &tx, nil)
	}
	obj, i := 0, 0
	var err error
	for ; i < 8000; i++ {
		if err = set(obj, i); err != nil {
			break
		}
		obj = i / 100
	}
	if wire.ErrnoOf(err) != wire.ENOSPC {
		t.Fatalf("%d sets of 32 KB fit on 128 MiB, then %v", i, err)
	}
	if !s.Statfs().Full {
		t.Errorf("not full: %+v", s.Statfs())
	}
	for n := range obj + 1 {
		write(t, s, func(tx *store.Txn) { tx.Remove(benchObject(n)) })
	}
	deadline := time.Now().Add(20 * time.Second)
	for set(0, 0) != nil {
		if time.Now().After(deadline) {
			t.Fatalf("no room after everything was removed: %+v", s.Statfs())
		}
		time.Sleep(100 * time.Millisecond)
		s.Checkpoint()
	}
	fsck(t, s, "emptied")
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}
