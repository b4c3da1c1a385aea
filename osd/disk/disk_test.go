package disk_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spirula/spirula/osd/disk"
	"github.com/spirula/spirula/osd/disk/disktest"
	"github.com/spirula/spirula/rados/wire"
)

func TestSuite(t *testing.T) {
	t.Run("folder", func(t *testing.T) {
		disktest.Run(t, func(t *testing.T) disk.Disk {
			d, err := disk.OpenDir(t.TempDir())
			if err != nil {
				t.Fatal(err)
			}
			return d
		})
	})
	t.Run("memory", func(t *testing.T) {
		disktest.Run(t, func(t *testing.T) disk.Disk { return disk.NewMem() })
	})
	t.Run("faultless", func(t *testing.T) {
		disktest.Run(t, func(t *testing.T) disk.Disk { return faulty(t, disk.NewMem(), "") })
	})
	t.Run("crashed", func(t *testing.T) {
		disktest.Run(t, func(t *testing.T) disk.Disk {
			return disk.NewMem().Crash(rand.New(rand.NewPCG(1, 1)))
		})
	})
}

func TestOpenDirErrors(t *testing.T) {
	if _, err := disk.OpenDir(t.TempDir() + "/no"); wire.ErrnoOf(err) != wire.ENOENT {
		t.Fatalf("folder that isn't there: %v", err)
	}
}

func faulty(t *testing.T, d disk.Disk, script string) *disk.Faulty {
	t.Helper()
	f, err := disk.NewFaulty(d, 1, script)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func open(t *testing.T, d disk.Disk, name string) disk.File {
	t.Helper()
	f, err := d.Open(name, disk.Create)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func write(t *testing.T, f disk.File, off int64, b []byte) {
	t.Helper()
	if _, err := f.WriteAt(b, off); err != nil {
		t.Fatal(err)
	}
}

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// content is a file's bytes, or "absent".
func content(t *testing.T, d disk.Disk, name string) string {
	t.Helper()
	f, err := d.Open(name, disk.ReadOnly)
	if wire.ErrnoOf(err) == wire.ENOENT {
		return "absent"
	}
	ok(t, err)
	n, err := f.Size()
	ok(t, err)
	b := make([]byte, n)
	if n > 0 {
		_, err = f.ReadAt(b, 0)
		ok(t, err)
	}
	return string(b)
}

// outcomes crashes the disk that history leaves under many seeds and gives
// what is found, each outcome once.
func outcomes(t *testing.T, history func(*disk.Mem), look func(disk.Disk) string) []string {
	t.Helper()
	seen := map[string]bool{}
	for seed := range uint64(300) {
		d := disk.NewMem()
		history(d)
		seen[look(d.Crash(rand.New(rand.NewPCG(seed, 7))))] = true
	}
	var out []string
	for s := range seen {
		out = append(out, s)
	}
	slices.Sort(out)
	return out
}

// TestLossModel: which outcomes of a crash are possible, by history.
func TestLossModel(t *testing.T) {
	two := func(names ...string) func(disk.Disk) string {
		return func(d disk.Disk) string {
			var got []string
			for _, n := range names {
				got = append(got, content(t, d, n))
			}
			return strings.Join(got, " ")
		}
	}
	for _, c := range []struct {
		name    string
		history func(*disk.Mem)
		look    func(disk.Disk) string
		want    []string
	}{
		{"file synced, name not", func(d *disk.Mem) {
			f := open(t, d, "a")
			write(t, f, 0, []byte("1"))
			ok(t, f.Sync())
		}, two("a"), []string{"1", "absent"}},
		{"both synced", func(d *disk.Mem) {
			f := open(t, d, "a")
			write(t, f, 0, []byte("1"))
			ok(t, f.Sync())
			ok(t, d.SyncDir("."))
		}, two("a"), []string{"1"}},
		{"name synced, file not", func(d *disk.Mem) {
			f := open(t, d, "a")
			ok(t, d.SyncDir("."))
			write(t, f, 0, []byte("1"))
		}, two("a"), []string{"", "\x00", "1"}},
		{"overwritten", func(d *disk.Mem) {
			f := open(t, d, "a")
			write(t, f, 0, []byte("1"))
			ok(t, f.Sync())
			ok(t, d.SyncDir("."))
			write(t, f, 0, []byte("2"))
			write(t, f, 0, []byte("3"))
		}, two("a"), []string{"1", "2", "3"}},
		{"removed", func(d *disk.Mem) {
			open(t, d, "a")
			ok(t, d.SyncDir("."))
			ok(t, d.Remove("a"))
		}, two("a"), []string{"", "absent"}},
		{"renamed over", func(d *disk.Mem) {
			for _, n := range []string{"a", "b"} {
				f := open(t, d, n)
				write(t, f, 0, []byte(n))
				ok(t, f.Sync())
			}
			ok(t, d.SyncDir("."))
			ok(t, d.Rename("a", "b"))
		}, two("a", "b"), []string{"a b", "absent a"}},
		{"renamed to another directory, one synced", func(d *disk.Mem) {
			ok(t, d.Mkdir("x"))
			ok(t, d.Mkdir("y"))
			f := open(t, d, "x/a")
			write(t, f, 0, []byte("1"))
			ok(t, f.Sync())
			ok(t, d.SyncDir("."))
			open(t, d, "y/a")
			ok(t, d.Rename("x/a", "y/a"))
			ok(t, d.SyncDir("x"))
		}, two("x/a", "y/a"), []string{"absent 1"}},
		{"cut short", func(d *disk.Mem) {
			f := open(t, d, "a")
			write(t, f, 0, []byte("12"))
			ok(t, f.Sync())
			ok(t, d.SyncDir("."))
			ok(t, f.Truncate(1))
		}, two("a"), []string{"1", "1\x00", "12"}},
		{"sync failed, then succeeded", func(d *disk.Mem) {
			open(t, d, "a")
			ok(t, d.SyncDir("."))
			g := faulty(t, d, "sync n=1 lose")
			f := open(t, g, "a")
			write(t, f, 0, []byte("1"))
			if f.Sync() == nil {
				t.Fatal("the sync didn't fail")
			}
			ok(t, f.Sync())
		}, two("a"), []string{""}},
		{"rewritten after a failed sync", func(d *disk.Mem) {
			open(t, d, "a")
			ok(t, d.SyncDir("."))
			g := faulty(t, d, "sync n=1 lose")
			f := open(t, g, "a")
			write(t, f, 0, []byte("1"))
			if f.Sync() == nil {
				t.Fatal("the sync didn't fail")
			}
			write(t, f, 0, []byte("22"))
			ok(t, f.Sync())
		}, two("a"), []string{"22"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := outcomes(t, c.history, c.look)
			if !slices.Equal(got, c.want) {
				t.Fatalf("outcomes %q, want %q", got, c.want)
			}
		})
	}
}

// TestTornSectors: unsynced sectors survive one by one, and synced ones always.
func TestTornSectors(t *testing.T) {
	const sectors = 16
	sawTorn := false
	for seed := range uint64(100) {
		d := disk.NewMem()
		f := open(t, d, "a")
		write(t, f, 0, bytes.Repeat([]byte("o"), sectors*512))
		ok(t, f.Sync())
		ok(t, d.SyncDir("."))
		write(t, f, 512, bytes.Repeat([]byte("n"), (sectors-2)*512))
		got := content(t, d.Crash(rand.New(rand.NewPCG(seed, 1))), "a")
		kinds := map[byte]bool{}
		for i := range sectors {
			s := got[i*512 : (i+1)*512]
			if s != strings.Repeat(s[:1], 512) {
				t.Fatalf("sector %d is torn in itself", i)
			}
			if (i == 0 || i == sectors-1) && s[0] != 'o' {
				t.Fatalf("sector %d, never overwritten, holds %c", i, s[0])
			}
			kinds[s[0]] = true
		}
		sawTorn = sawTorn || len(kinds) == 2 && strings.Count(got, "n") < (sectors-2)*512
	}
	if !sawTorn {
		t.Fatal("no crash of 100 tore the write")
	}
}

// TestCrashIsDeterministic: the same seed gives the same disk.
func TestCrashIsDeterministic(t *testing.T) {
	run := func() string {
		d := disk.NewMem()
		rng := rand.New(rand.NewPCG(5, 5))
		for i := range 20 {
			f := open(t, d, fmt.Sprint("f", i%7))
			p := make([]byte, 3000)
			for j := range p {
				p[j] = byte(rng.Uint32())
			}
			write(t, f, int64(rng.IntN(20000)), p)
			if i%5 == 0 {
				ok(t, f.Sync())
				ok(t, d.SyncDir("."))
			}
		}
		after := d.Crash(rng)
		names, err := after.List(".")
		ok(t, err)
		var all []string
		for _, n := range names {
			all = append(all, n, content(t, after, n))
		}
		return strings.Join(all, "|")
	}
	if first, second := run(), run(); first != second {
		t.Fatal("two runs differ")
	}
}

func TestPowerOff(t *testing.T) {
	d := disk.NewMem()
	f := open(t, d, "a")
	d.PowerOffAt(2, "sync", "syncdir")
	write(t, f, 0, []byte("1"))
	ok(t, f.Sync())
	if err := d.SyncDir("."); wire.ErrnoOf(err) != wire.EIO {
		t.Fatalf("the second sync: %v", err)
	}
	if _, err := f.WriteAt([]byte("2"), 0); wire.ErrnoOf(err) != wire.EIO {
		t.Fatalf("write without power: %v", err)
	}
	if n := d.Calls("sync"); n != 1 {
		t.Fatalf("%d syncs counted", n)
	}
	got := outcomes(t, func(d *disk.Mem) {
		f := open(t, d, "a")
		d.PowerOffAt(1, "syncdir")
		write(t, f, 0, []byte("1"))
		ok(t, f.Sync())
		_ = d.SyncDir(".") // cut
	}, func(d disk.Disk) string { return content(t, d, "a") })
	if !slices.Equal(got, []string{"1", "absent"}) {
		t.Fatalf("outcomes %q", got)
	}
}

func TestCapacity(t *testing.T) {
	d := disk.NewMem()
	d.SetCapacity(10 * 4096)
	f := open(t, d, "a")
	ok(t, f.Grow(4*4096))
	write(t, f, 0, make([]byte, 4*4096)) // reserved already
	g := open(t, d, "b")
	write(t, g, 0, make([]byte, 6*4096))
	if _, err := g.WriteAt([]byte("x"), 6*4096); wire.ErrnoOf(err) != wire.ENOSPC {
		t.Fatalf("write to a full disk: %v", err)
	}
	write(t, g, 100, []byte("in place"))
	if err := f.Grow(5 * 4096); wire.ErrnoOf(err) != wire.ENOSPC {
		t.Fatalf("grow on a full disk: %v", err)
	}
	if _, free, err := d.Space(); free != 0 || err != nil {
		t.Fatalf("free %d, %v", free, err)
	}
	ok(t, d.Remove("a"))
	if _, free, _ := d.Space(); free != 0 {
		t.Fatalf("free %d while a removed file is open", free)
	}
	ok(t, f.Close())
	if _, free, _ := d.Space(); free != 4*4096 {
		t.Fatalf("free %d after removal", free)
	}
	ok(t, g.Truncate(0))
	if _, free, _ := d.Space(); free != 10*4096 {
		t.Fatalf("free %d after truncation", free)
	}
}

func TestFaults(t *testing.T) {
	m := disk.NewMem()
	d := faulty(t, m, `
		write name=full* n=2 error=ENOSPC   # the second write
		read name=bad every=2 error
		read name=flip flip; write name=short short
		write name=astray n=1 misdirect=4096
		remove error=EACCES`)
	f := open(t, d, "full1")
	write(t, f, 0, []byte("1"))
	if _, err := f.WriteAt([]byte("2"), 1); wire.ErrnoOf(err) != wire.ENOSPC {
		t.Fatalf("second write: %v", err)
	}
	write(t, f, 1, []byte("3"))
	if got := content(t, d, "full1"); got != "13" {
		t.Fatalf("content %q", got)
	}
	f = open(t, d, "bad")
	write(t, f, 0, []byte("1234"))
	b := make([]byte, 4)
	for i, kind := range []wire.Errno{0, wire.EIO, 0, wire.EIO} {
		if _, err := f.ReadAt(b, 0); wire.ErrnoOf(err) != kind {
			t.Fatalf("read %d: %v", i, err)
		}
	}
	f = open(t, d, "flip")
	write(t, f, 0, []byte{0, 0, 0, 0})
	_, err := f.ReadAt(b, 0)
	ok(t, err)
	if n := bytes.Count(b, []byte{0}); n != 3 {
		t.Fatalf("a flipped read gave % x", b)
	}
	f = open(t, d, "short")
	if n, err := f.WriteAt([]byte("1234"), 0); n != 2 || wire.ErrnoOf(err) != wire.EIO {
		t.Fatalf("short write: %d, %v", n, err)
	}
	f = open(t, d, "astray")
	write(t, f, 0, []byte("x"))
	if got := content(t, d, "astray"); len(got) != 4097 || got[4096] != 'x' {
		t.Fatalf("misdirected write made %d bytes", len(got))
	}
	if err := d.Remove("bad"); wire.ErrnoOf(err) != wire.EACCES {
		t.Fatalf("remove: %v", err)
	}
	if n := d.Hits()["remove error=EACCES"]; n != 1 {
		t.Fatalf("%d hits of the remove rule", n)
	}
	ok(t, d.SetRules("any slow=1ms"))
	start := time.Now()
	ok(t, d.Remove("bad"))
	if time.Since(start) < time.Millisecond {
		t.Fatal("a slow call wasn't slow")
	}
}

func TestRuleErrors(t *testing.T) {
	for _, script := range []string{
		"fly error", "read", "read lose", "write n=x error", "read error=EWHAT", "read p=x flip",
		"read name=[ flip", "read flip flip", "write slow=1", "write every=0 error", "sync misdirect=1",
	} {
		if _, err := disk.NewFaulty(disk.NewMem(), 1, script); wire.ErrnoOf(err) == 0 {
			t.Errorf("script %q was taken", script)
		}
	}
}

func FuzzRules(f *testing.F) {
	f.Add("sync name=wal n=3 lose; read name=kv/*.ldb p=0.01 flip")
	f.Add("any n=2- every=3 slow=1ms\n# nothing\nwrite misdirect=-4096")
	f.Fuzz(func(t *testing.T, script string) {
		d, err := disk.NewFaulty(disk.NewMem(), 1, script)
		if (d == nil) == (err == nil) {
			t.Fatalf("disk %v with error %v", d, err)
		}
	})
}
