package kv

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"path"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/spirula/spirula/osd/disk"
	"github.com/spirula/spirula/rados/wire"
)

// put applies one key.
func put(t testing.TB, db *DB, seq uint64, key, value string) error {
	t.Helper()
	var b Batch
	b.Put([]byte(key), []byte(value))
	return db.Apply(&b, seq)
}

// fill applies n batches of about a kilobyte.
func fill(t testing.TB, db *DB, from, n uint64) {
	t.Helper()
	for seq := from; seq < from+n; seq++ {
		if err := put(t, db, seq, fmt.Sprintf("k%05d", seq), strings.Repeat("v", 1000)); err != nil {
			t.Fatalf("batch %d: %v", seq, err)
		}
	}
}

// TestFailedSyncIsFinal: the first failed sync is reported once, later writes
// fail, Durable stays, and Close ends.
func TestFailedSyncIsFinal(t *testing.T) {
	for _, rule := range []string{
		"sync name=kv/*.ldb lose", "syncdir error", "write name=kv/*.ldb error",
		"sync name=kv/MANIFEST-* lose", "write name=kv/MANIFEST-* short",
	} {
		t.Run(rule, func(t *testing.T) {
			m := disk.NewMem()
			d, err := disk.NewFaulty(m, 1, "")
			if err != nil {
				t.Fatal(err)
			}
			var fatal atomic.Int32
			o := testOptions(t, false)
			o.Fatal = func(err error) {
				if wire.ErrnoOf(err) != wire.EIO {
					t.Errorf("fatal error %v", err)
				}
				fatal.Add(1)
			}
			db := mustOpen(t, d, o)
			fill(t, db, 1, 5)
			if err := db.ForceFlush(); err != nil {
				t.Fatal(err)
			}
			if err := d.SetRules(rule); err != nil {
				t.Fatal(err)
			}
			fill(t, db, 6, 2)
			if err := db.ForceFlush(); wire.ErrnoOf(err) != wire.EIO {
				t.Fatalf("flush: %v", err)
			}
			if err := d.SetRules(""); err != nil {
				t.Fatal(err)
			}
			if err := put(t, db, 8, "a", "b"); wire.ErrnoOf(err) != wire.EIO {
				t.Fatalf("write after a failure: %v", err)
			}
			if n := db.Durable(); n != 5 {
				t.Fatalf("durable %d", n)
			}
			if db.Close() == nil {
				t.Fatal("Close knows of no failure")
			}
			if n := fatal.Load(); n != 1 {
				t.Fatalf("reported %d times", n)
			}
			db = mustOpen(t, m.Crash(rand.New(rand.NewPCG(1, 1))), testOptions(t, false))
			defer db.Close()
			if n := len(content(t, db)); n != 5 && n != 7 {
				t.Fatalf("%d keys after reopening", n)
			}
		})
	}
}

// TestJournalSyncFails: a batch whose sync failed is not durable, and the DB
// stops.
func TestJournalSyncFails(t *testing.T) {
	d, err := disk.NewFaulty(disk.NewMem(), 1, "")
	if err != nil {
		t.Fatal(err)
	}
	fatal := 0
	o := testOptions(t, true)
	o.Fatal = func(error) { fatal++ }
	db := mustOpen(t, d, o)
	var b Batch
	b.Put([]byte("a"), []byte("1"))
	if err := db.ApplySync(&b, 1); err != nil {
		t.Fatal(err)
	}
	if err := d.SetRules("sync name=kv/*.log lose"); err != nil {
		t.Fatal(err)
	}
	if err := db.ApplySync(&b, 2); wire.ErrnoOf(err) != wire.EIO {
		t.Fatalf("sync: %v", err)
	}
	if db.Durable() != 1 || fatal != 1 {
		t.Fatalf("durable %d, reported %d times", db.Durable(), fatal)
	}
	_ = db.Close() // it has failed
}

// TestTableReads: a read that fails once is repeated; one that fails twice and
// a damaged block are final.
func TestTableReads(t *testing.T) {
	for _, c := range []struct {
		rule  string
		fatal int
		kind  wire.Errno
	}{
		{"read name=kv/*.ldb n=1 error", 0, 0},
		{"read name=kv/*.ldb error", 1, wire.EIO},
		{"read name=kv/*.ldb n=1- flip", 1, wire.EIO},
	} {
		t.Run(c.rule, func(t *testing.T) {
			m := disk.NewMem()
			db := mustOpen(t, m, testOptions(t, false))
			fill(t, db, 1, 8)
			if err := db.Close(); err != nil {
				t.Fatal(err)
			}
			d, err := disk.NewFaulty(m, 1, "")
			if err != nil {
				t.Fatal(err)
			}
			fatal := 0
			o := testOptions(t, false)
			o.Fatal = func(error) { fatal++ }
			db = mustOpen(t, d, o)
			defer db.Close()
			if err := d.SetRules(c.rule); err != nil {
				t.Fatal(err)
			}
			v, err := db.Get([]byte("k00003"), nil)
			if wire.ErrnoOf(err) != c.kind || fatal != c.fatal {
				t.Fatalf("Get: %v, reported %d times; want %v, %d", err, fatal, c.kind, c.fatal)
			}
			if c.kind == 0 && len(v) != 1000 {
				t.Fatalf("%d bytes", len(v))
			}
		})
	}
}

// TestFullDisk: table writes eat the ballast, then writes get ENOSPC; with
// space back, all goes on and the ballast is whole again.
func TestFullDisk(t *testing.T) {
	skipRace(t)
	synctest.Test(t, func(t *testing.T) {
		d := disk.NewMem()
		const ballast = 2 * minPiece
		d.SetCapacity(ballast + minPiece + 2<<20)
		o := testOptions(t, false)
		o.WriteBuffer, o.Ballast = 256<<10, ballast
		db := mustOpen(t, d, o)
		if s, err := db.Stats(); err != nil || s.Ballast != ballast || db.Full() {
			t.Fatalf("ballast %d, full %v, %v", s.Ballast, db.Full(), err)
		}
		seq, full, refused := uint64(0), uint64(0), false
		value := make([]byte, 10000)
		for !refused {
			seq++
			var b Batch
			b.Put(fmt.Appendf(nil, "k%05d", seq), value)
			switch err := db.Apply(&b, seq); wire.ErrnoOf(err) {
			case 0:
			case wire.ENOSPC:
				refused = true
			default:
				t.Fatal(err)
			}
			if full == 0 && db.Full() {
				full = seq
			}
		}
		if full == 0 || full >= seq {
			t.Fatalf("full at batch %d, refused at %d", full, seq)
		}
		if got := db.files.ballast.bytes(); got != 0 {
			t.Fatalf("refused with %d bytes of ballast", got)
		}
		d.SetCapacity(ballast + 200<<20)
		time.Sleep(time.Minute)
		if db.Full() {
			t.Fatal("full with space back")
		}
		if got := db.files.ballast.bytes(); got != ballast {
			t.Fatalf("ballast is %d", got)
		}
		var b Batch
		b.Put(fmt.Appendf(nil, "k%05d", seq), value)
		if err := db.Apply(&b, seq); err != nil {
			t.Fatal(err)
		}
		if err := db.ForceFlush(); err != nil || db.Durable() != seq {
			t.Fatalf("flush: %v, durable %d of %d", err, db.Durable(), seq)
		}
		if n := len(content(t, db)); uint64(n) != seq {
			t.Fatalf("%d keys of %d", n, seq)
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Second) // goleveldb's last goroutine
	})
}

// TestFullDiskWithJournal: a batch that the journal has no room for is refused
// before anything of it is written.
func TestFullDiskWithJournal(t *testing.T) {
	skipRace(t)
	synctest.Test(t, func(t *testing.T) {
		d := disk.NewMem()
		d.SetCapacity(8 << 20)
		var off atomic.Bool
		o := testOptions(t, true)
		o.Fatal = func(err error) {
			if !off.Load() {
				t.Errorf("fatal: %v", err)
			}
		}
		db := mustOpen(t, d, o)
		var b Batch
		seq := uint64(1)
		for ; ; seq++ {
			b.Reset()
			b.Put(fmt.Appendf(nil, "k%05d", seq), make([]byte, 30000))
			err := db.ApplySync(&b, seq)
			if wire.ErrnoOf(err) == wire.ENOSPC {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			if seq == 1000 {
				t.Fatal("30 MB fit on 8 MiB")
			}
		}
		if db.Durable() != seq-1 {
			t.Fatalf("durable %d, batch %d was refused", db.Durable(), seq)
		}
		d.SetCapacity(0)
		time.Sleep(time.Minute) // compactions that failed are tried again
		if err := db.ApplySync(&b, seq); err != nil {
			t.Fatalf("with space back: %v", err)
		}
		off.Store(true)
		d.PowerOff()
		_ = db.Close() // its disk is gone
		db = mustOpen(t, d.Crash(rand.New(rand.NewPCG(1, 1))), testOptions(t, true))
		if n := len(content(t, db)); uint64(n) != seq {
			t.Fatalf("%d keys of %d", n, seq)
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Second) // goleveldb's last goroutine
	})
}

// change turns a byte of a file.
func change(t *testing.T, d disk.Disk, name string, at int64) {
	t.Helper()
	f, err := d.Open(name, 0)
	if err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 1)
	if _, err := f.ReadAt(b, at); err != nil {
		t.Fatal(err)
	}
	b[0] ^= 0x20
	if _, err := f.WriteAt(b, at); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

// manifest finds the manifest's name.
func manifest(t *testing.T, d disk.Disk) string {
	t.Helper()
	names, err := d.List("kv")
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range names {
		if strings.HasPrefix(n, "MANIFEST-") {
			return path.Join("kv", n)
		}
	}
	t.Fatalf("no manifest among %q", names)
	return ""
}

// TestDamageAndRecover: damage of what was synced is found at open, and
// Recover gets the tables' content back.
func TestDamageAndRecover(t *testing.T) {
	for name, damage := range map[string]func(*testing.T, disk.Disk){
		"manifest rots": func(t *testing.T, d disk.Disk) { change(t, d, manifest(t, d), fileHeader+40) },
		"CURRENT rots":  func(t *testing.T, d disk.Disk) { change(t, d, "kv/CURRENT", 10) },
		"CURRENT lost":  func(t *testing.T, d disk.Disk) { mustRemove(t, d, "kv/CURRENT") },
		"manifest lost": func(t *testing.T, d disk.Disk) { mustRemove(t, d, manifest(t, d)) },
	} {
		t.Run(name, func(t *testing.T) {
			d := disk.NewMem()
			db := mustOpen(t, d, testOptions(t, false))
			fill(t, db, 1, 40)
			if err := db.Close(); err != nil {
				t.Fatal(err)
			}
			damage(t, d)
			o := testOptions(t, false)
			if _, err := Open(d, "kv", o); wire.ErrnoOf(err) != wire.EIO {
				t.Fatalf("Open of the damaged store: %v", err)
			}
			db, err := Recover(d, "kv", o)
			if err != nil {
				t.Fatalf("Recover: %v", err)
			}
			if n := len(content(t, db)); n != 40 {
				t.Fatalf("%d keys recovered", n)
			}
			fill(t, db, 41, 5)
			if err := db.Close(); err != nil {
				t.Fatal(err)
			}
			db = mustOpen(t, d, o)
			defer db.Close()
			if n := len(content(t, db)); n != 45 {
				t.Fatalf("%d keys after reopening", n)
			}
		})
	}
}

func mustRemove(t *testing.T, d disk.Disk, name string) {
	t.Helper()
	if err := d.Remove(name); err != nil {
		t.Fatal(err)
	}
}

// TestHalfMade: a crash within the first Open leaves something that opens.
func TestHalfMade(t *testing.T) {
	for n := int64(1); ; n++ {
		d := disk.NewMem()
		d.PowerOffAt(n)
		o := testOptions(t, false)
		o.Fatal = func(error) {}
		db, err := Open(d, "kv", o)
		if err == nil {
			_ = db.Close() // the power may go off here
			if _, _, err := d.Space(); err == nil {
				return
			}
		}
		for seed := range uint64(8) {
			d := d.Crash(rand.New(rand.NewPCG(seed, uint64(n))))
			db := mustOpen(t, d, testOptions(t, false))
			if got := content(t, db); len(got) != 0 {
				t.Fatalf("a new store holds %q", got)
			}
			if err := db.Close(); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func TestRefusals(t *testing.T) {
	d := disk.NewMem()
	db := mustOpen(t, d, testOptions(t, false))
	if _, err := Open(d, "kv", testOptions(t, false)); wire.ErrnoOf(err) != wire.EBUSY {
		t.Fatalf("second Open: %v", err)
	}
	if err := put(t, db, 1, "", "x"); wire.ErrnoOf(err) != wire.EINVAL {
		t.Fatalf("empty key: %v", err)
	}
	var b Batch
	b.Put([]byte("k"), make([]byte, MaxBatch))
	if err := db.Apply(&b, 1); wire.ErrnoOf(err) != wire.EMSGSIZE {
		t.Fatalf("huge batch: %v", err)
	}
	if err := db.ApplySync(&Batch{}, 1); wire.ErrnoOf(err) != wire.EINVAL {
		t.Fatalf("ApplySync of an index: %v", err)
	}
	func() {
		defer func() {
			if recover() == nil {
				t.Error("a number that goes down was taken")
			}
		}()
		db.Start(7)
		_ = put(t, db, 6, "a", "b")
	}()
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if err := put(t, db, 8, "a", "b"); wire.ErrnoOf(err) != wire.ESHUTDOWN {
		t.Fatalf("Apply after Close: %v", err)
	}
	if _, err := db.Get([]byte("a"), nil); wire.ErrnoOf(err) != wire.ESHUTDOWN {
		t.Fatalf("Get after Close: %v", err)
	}
	it := db.NewIter(nil, nil)
	if it.Next() || wire.ErrnoOf(it.Err()) != wire.ESHUTDOWN || wire.ErrnoOf(it.Close()) != wire.ESHUTDOWN {
		t.Fatalf("iterator after Close: %v", it.Err())
	}
	if err := db.ForceFlush(); wire.ErrnoOf(err) != wire.ESHUTDOWN {
		t.Fatalf("ForceFlush after Close: %v", err)
	}
}

// TestCloseUnderReaders: reads beside Close answer truly or not at all, and
// nothing is reported as fatal.
func TestCloseUnderReaders(t *testing.T) {
	for range 3 {
		dir := t.TempDir()
		d, err := disk.OpenDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		o := testOptions(t, false)
		o.BlockCache, o.OpenFiles = 1, 2
		db := mustOpen(t, d, o)
		fill(t, db, 1, 100)
		var wg sync.WaitGroup
		var reads atomic.Int64
		for w := range 4 {
			wg.Go(func() {
				for i := w; ; i++ {
					v, err := db.Get(fmt.Appendf(nil, "k%05d", 1+i%100), nil)
					if wire.ErrnoOf(err) == wire.ESHUTDOWN {
						return
					}
					if err != nil || len(v) != 1000 {
						t.Errorf("Get: %d bytes, %v", len(v), err)
						return
					}
					reads.Add(1)
				}
			})
		}
		it := db.NewIter(nil, nil)
		for reads.Load() < 100 && !t.Failed() {
			time.Sleep(time.Millisecond)
		}
		wg.Go(func() {
			n := 0
			for it.Next() {
				n++
			}
			if err := it.Close(); err != nil || n != 100 {
				t.Errorf("%d keys, %v", n, err)
			}
		})
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
		wg.Wait()
	}
}

func TestDump(t *testing.T) {
	d := disk.NewMem()
	db := mustOpen(t, d, testOptions(t, true))
	var b Batch
	for i := range 2500 {
		b.Put(fmt.Appendf(nil, "k%04d", i), fmt.Appendf(nil, "v%d", i))
	}
	if err := db.ApplySync(&b, 1); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := db.Dump(&out, []byte("k0100"), []byte("k2400"), nil); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	if len(lines) != 2300 || lines[0] != `"k0100" = "v100"` || lines[2299] != `"k2399" = "v2399"` {
		t.Fatalf("%d lines, %s to %s", len(lines), lines[0], lines[len(lines)-1])
	}
	out.Reset()
	short := func(key, _ []byte) string { return string(key) }
	if err := db.Dump(&out, nil, []byte("k0002"), short); err != nil || out.String() != "k0000\nk0001\n" {
		t.Fatalf("%q, %v", out.String(), err)
	}
	if err := db.Compact(nil, nil); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	out.Reset()
	if err := DumpFiles(d, "kv", &out); err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{"CURRENT", "reads \"MANIFEST-", "frame at 16,", ".ldb ", "ends at "} {
		if !strings.Contains(out.String(), part) {
			t.Fatalf("no %q in\n%s", part, out.String())
		}
	}
}

func TestBatchEncoding(t *testing.T) {
	var b, c Batch
	b.Put([]byte("a"), []byte("1"))
	b.Delete([]byte("b"))
	b.Put([]byte("c"), nil)
	if err := c.Decode(bytes.Clone(b.Encode())); err != nil {
		t.Fatal(err)
	}
	if c.Len() != 3 || c.Size() != b.Size() {
		t.Fatalf("%d changes of %d bytes, want %d of %d", c.Len(), c.Size(), b.Len(), b.Size())
	}
	var log []string
	c.Replay(func(k, v []byte) { log = append(log, string(k)+"="+string(v)) },
		func(k []byte) { log = append(log, "-"+string(k)) })
	if got := strings.Join(log, " "); got != "a=1 -b c=" {
		t.Fatalf("replayed %s", got)
	}
}

func FuzzBatchDecode(f *testing.F) {
	var b Batch
	b.Put([]byte("a"), []byte("1"))
	b.Delete([]byte("b"))
	f.Add(bytes.Clone(b.Encode()))
	f.Add([]byte{1, 0xff, 0xff, 0xff, 0xff, 0x0f})
	f.Fuzz(func(t *testing.T, p []byte) {
		var b Batch
		if err := b.Decode(bytes.Clone(p)); err != nil {
			if b.Len() != 0 || b.Size() != 0 {
				t.Fatalf("a refused batch has %d changes", b.Len())
			}
			return
		}
		n := 0
		b.Replay(func(k, v []byte) { n++ }, func(k []byte) { n++ })
		if n != b.Len() {
			t.Fatalf("%d changes replayed of %d", n, b.Len())
		}
	})
}
