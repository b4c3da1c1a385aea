// Package disktest holds what every disk.Disk must do, as tests: disk runs
// them on a folder and on memory, another implementation runs them on itself.
package disktest

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"github.com/spirula/spirula/osd/disk"
	"github.com/spirula/spirula/rados/wire"
)

// Run runs the suite. open gives an empty disk each time.
func Run(t *testing.T, open func(t *testing.T) disk.Disk) {
	for _, c := range []struct {
		name string
		run  func(*testing.T, disk.Disk)
	}{
		{"open", testOpen}, {"names", testNames}, {"content", testContent}, {"grow", testGrow},
		{"discard", testDiscard}, {"rename", testRename}, {"link", testLink}, {"list", testList},
		{"lock", testLock}, {"direct", testDirect}, {"removed", testRemoved},
		{"parallel", testParallel}, {"space", testSpace}, {"model", testModel},
	} {
		t.Run(c.name, func(t *testing.T) { c.run(t, open(t)) })
	}
}

// want checks the kind of an error; 0 is none.
func want(t *testing.T, what string, err error, kind wire.Errno) {
	t.Helper()
	if got := wire.ErrnoOf(err); got != kind {
		t.Fatalf("%s: error %v, want kind %v", what, err, kind)
	}
}

func must(t *testing.T, what string, err error) {
	t.Helper()
	want(t, what, err, 0)
}

func create(t *testing.T, d disk.Disk, name string, content string) disk.File {
	t.Helper()
	f, err := d.Open(name, disk.Create|disk.Excl)
	must(t, "create "+name, err)
	if content != "" {
		_, err = f.WriteAt([]byte(content), 0)
		must(t, "write "+name, err)
	}
	t.Cleanup(func() { _ = f.Close() }) // a test may have closed it
	return f
}

// read gives a file's content.
func read(t *testing.T, d disk.Disk, name string) string {
	t.Helper()
	f, err := d.Open(name, disk.ReadOnly)
	must(t, "open "+name, err)
	defer f.Close()
	n, err := f.Size()
	must(t, "size of "+name, err)
	b := make([]byte, n+1)
	k, err := f.ReadAt(b, 0)
	if err != io.EOF || int64(k) != n {
		t.Fatalf("read of %s: %d bytes, %v; want %d and io.EOF", name, k, err, n)
	}
	return string(b[:k])
}

func testOpen(t *testing.T, d disk.Disk) {
	_, err := d.Open("a", 0)
	want(t, "open of nothing", err, wire.ENOENT)
	_, err = d.Open("no/a", disk.Create)
	want(t, "create without directory", err, wire.ENOENT)
	create(t, d, "a", "hello")
	_, err = d.Open("a", disk.Create|disk.Excl)
	want(t, "exclusive create", err, wire.EEXIST)
	f, err := d.Open("a", disk.Create)
	must(t, "open what is there", err)
	if n, err := f.Size(); n != 5 || err != nil {
		t.Fatalf("size %d, %v", n, err)
	}
	must(t, "close", f.Close())
	f, err = d.Open("a", disk.Trunc)
	must(t, "truncating open", err)
	must(t, "close", f.Close())
	if n, err := d.Size("a"); n != 0 || err != nil {
		t.Fatalf("size after truncating open %d, %v", n, err)
	}
	ro, err := d.Open("a", disk.ReadOnly)
	must(t, "open to read", err)
	defer ro.Close()
	if _, err := ro.WriteAt([]byte("x"), 0); err == nil {
		t.Fatal("write to a file opened for reading succeeded")
	}
	must(t, "mkdir", d.Mkdir("dir"))
	_, err = d.Open("dir", 0)
	want(t, "open of a directory", err, wire.EISDIR)
	_, err = d.Open("a/b", disk.Create)
	want(t, "create in a file", err, wire.ENOTDIR)
}

func testNames(t *testing.T, d disk.Disk) {
	for _, name := range []string{"", "/a", "../a", "a/../../b", "a//b", "a/"} {
		_, err := d.Open(name, disk.Create)
		want(t, fmt.Sprintf("open %q", name), err, wire.EINVAL)
		want(t, fmt.Sprintf("remove %q", name), d.Remove(name), wire.EINVAL)
		want(t, fmt.Sprintf("mkdir %q", name), d.Mkdir(name), wire.EINVAL)
	}
	want(t, "rename of nothing", d.Rename("a", "b"), wire.ENOENT)
	want(t, "remove of nothing", d.Remove("a"), wire.ENOENT)
	want(t, "syncdir of nothing", d.SyncDir("a"), wire.ENOENT)
	_, err := d.Size("a")
	want(t, "size of nothing", err, wire.ENOENT)
}

func testContent(t *testing.T, d disk.Disk) {
	f := create(t, d, "a", "")
	_, err := f.WriteAt([]byte("end"), 10000)
	must(t, "write after a hole", err)
	must(t, "sync", f.Sync())
	if got := read(t, d, "a"); got != string(make([]byte, 10000))+"end" {
		t.Fatal("a hole doesn't read as zeros")
	}
	must(t, "cut", f.Truncate(10001))
	must(t, "lengthen", f.Truncate(10003))
	if got := read(t, d, "a"); got != string(make([]byte, 10000))+"e\x00\x00" {
		t.Fatalf("after cutting and lengthening it ends with %q", got[9999:])
	}
	if n, err := f.ReadAt(make([]byte, 4), 20000); n != 0 || err != io.EOF {
		t.Fatalf("read behind the end: %d, %v", n, err)
	}
	if _, err := f.ReadAt(make([]byte, 4), -1); err == nil {
		t.Fatal("read before the start succeeded")
	}
	must(t, "close", f.Close())
	if _, err := f.WriteAt([]byte("x"), 0); err == nil {
		t.Fatal("write to a closed file succeeded")
	}
}

func testGrow(t *testing.T, d disk.Disk) {
	f := create(t, d, "a", "abc")
	must(t, "grow", f.Grow(1<<20))
	if got := read(t, d, "a"); got != "abc"+string(make([]byte, 1<<20-3)) {
		t.Fatal("the grown part isn't zeros")
	}
	must(t, "grow to less", f.Grow(10))
	if n, err := f.Size(); n != 1<<20 || err != nil {
		t.Fatalf("size %d, %v after growing to less", n, err)
	}
}

func testDiscard(t *testing.T, d disk.Disk) {
	f := create(t, d, "a", "")
	_, err := f.WriteAt(bytes.Repeat([]byte("x"), 3*disk.Align), 0)
	must(t, "write", err)
	must(t, "discard", f.Discard(disk.Align, disk.Align))
	got := read(t, d, "a")
	if len(got) != 3*disk.Align {
		t.Fatalf("size %d after a discard", len(got))
	}
	edge := bytes.Repeat([]byte("x"), disk.Align)
	if got[:disk.Align] != string(edge) || got[2*disk.Align:] != string(edge) {
		t.Fatal("discard went beyond its range")
	}
}

func testRename(t *testing.T, d disk.Disk) {
	must(t, "mkdir", d.Mkdir("dir"))
	create(t, d, "a", "1")
	create(t, d, "b", "2")
	must(t, "rename over", d.Rename("a", "b"))
	if got := read(t, d, "b"); got != "1" {
		t.Fatalf("b holds %q", got)
	}
	must(t, "rename into a directory", d.Rename("b", "dir/c"))
	if got := read(t, d, "dir/c"); got != "1" {
		t.Fatalf("dir/c holds %q", got)
	}
	want(t, "removing a directory with entries", d.Remove("dir"), wire.ENOTEMPTY)
	must(t, "remove", d.Remove("dir/c"))
	must(t, "remove directory", d.Remove("dir"))
}

func testLink(t *testing.T, d disk.Disk) {
	f := create(t, d, "a", "1")
	must(t, "link", d.Link("a", "b"))
	want(t, "link over", d.Link("a", "b"), wire.EEXIST)
	want(t, "link of nothing", d.Link("no", "c"), wire.ENOENT)
	_, err := f.WriteAt([]byte("2"), 0)
	must(t, "write", err)
	must(t, "remove", d.Remove("a"))
	if got := read(t, d, "b"); got != "2" {
		t.Fatalf("b holds %q", got)
	}
}

func testList(t *testing.T, d disk.Disk) {
	must(t, "mkdir", d.Mkdir("m"))
	must(t, "mkdir again", d.Mkdir("m"))
	for _, n := range []string{"b", "a", "m/x"} {
		create(t, d, n, "")
	}
	want(t, "mkdir over a file", d.Mkdir("a"), wire.EEXIST)
	got, err := d.List(".")
	must(t, "list", err)
	if !slices.Equal(got, []string{"a", "b", "m"}) {
		t.Fatalf("list of the root: %q", got)
	}
	got, err = d.List("m")
	must(t, "list", err)
	if !slices.Equal(got, []string{"x"}) {
		t.Fatalf("list of m: %q", got)
	}
	_, err = d.List("no")
	want(t, "list of nothing", err, wire.ENOENT)
	must(t, "syncdir", d.SyncDir("."))
	must(t, "syncdir", d.SyncDir("m"))
}

func testLock(t *testing.T, d disk.Disk) {
	l, err := d.Lock("lock")
	must(t, "lock", err)
	_, err = d.Lock("lock")
	want(t, "second lock", err, wire.EBUSY)
	must(t, "unlock", l.Close())
	l, err = d.Lock("lock")
	must(t, "lock again", err)
	must(t, "unlock", l.Close())
}

func testDirect(t *testing.T, d disk.Disk) {
	f, err := d.Open("a", disk.Create|disk.Direct)
	must(t, "open", err)
	defer f.Close()
	p := disk.Aligned(2 * disk.Align)
	for i := range p {
		p[i] = byte(i / 7)
	}
	_, err = f.WriteAt(p, disk.Align)
	must(t, "aligned write", err)
	must(t, "sync", f.Sync())
	got := disk.Aligned(2 * disk.Align)
	_, err = f.ReadAt(got, disk.Align)
	must(t, "aligned read", err)
	if !bytes.Equal(got, p) {
		t.Fatal("read back something else")
	}
	if !f.Direct() {
		t.Logf("%s: direct I/O isn't taken", d.Describe())
		return
	}
	if _, err := f.WriteAt(p[:100], 0); err == nil {
		t.Fatal("a direct write of 100 bytes succeeded")
	}
}

func testRemoved(t *testing.T, d disk.Disk) {
	f := create(t, d, "a", "still here")
	must(t, "remove", d.Remove("a"))
	b := make([]byte, 10)
	_, err := f.ReadAt(b, 0)
	must(t, "read of a removed file", err)
	if string(b) != "still here" {
		t.Fatalf("a removed file reads %q", b)
	}
	create(t, d, "a", "new")
	if got := read(t, d, "a"); got != "new" {
		t.Fatalf("the new file reads %q", got)
	}
}

func testParallel(t *testing.T, d disk.Disk) {
	f := create(t, d, "a", "")
	const workers, piece = 8, 5000
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			p := bytes.Repeat([]byte{byte('a' + w)}, piece)
			for i := range 10 {
				at := int64((i*workers + w) * piece)
				if _, err := f.WriteAt(p, at); err != nil {
					t.Errorf("write: %v", err)
				}
				got := make([]byte, piece)
				if _, err := f.ReadAt(got, at); err != nil || !bytes.Equal(got, p) {
					t.Errorf("read at %d: %v, or other bytes", at, err)
				}
			}
		})
	}
	wg.Wait()
}

func testSpace(t *testing.T, d disk.Disk) {
	total, free, err := d.Space()
	must(t, "space", err)
	if total <= 0 || free < 0 || free > total {
		t.Fatalf("space: %d of %d free", free, total)
	}
	if d.Describe() == "" {
		t.Fatal("Describe says nothing")
	}
}

// testModel does random changes to one file and to a slice.
func testModel(t *testing.T, d disk.Disk) {
	seed := rand.Uint64()
	rng := rand.New(rand.NewPCG(seed, 3))
	f := create(t, d, "a", "")
	var model []byte
	const limit = 100000
	for step := range 400 {
		off, n := rng.IntN(limit), rng.IntN(9000)
		switch rng.IntN(8) {
		case 0:
			must(t, "truncate", f.Truncate(int64(off)))
			model = resize(model, off)
		case 1:
			must(t, "grow", f.Grow(int64(off)))
			model = resize(model, max(off, len(model)))
		case 2:
			must(t, "sync", f.Sync())
		default:
			p := make([]byte, n)
			for i := range p {
				p[i] = byte(rng.Uint32())
			}
			_, err := f.WriteAt(p, int64(off))
			must(t, "write", err)
			if n > 0 {
				model = resize(model, max(off+n, len(model)))
				copy(model[off:], p)
			}
		}
		if got := read(t, d, "a"); got != string(model) {
			t.Fatalf("seed %d step %d: content differs (%d bytes, want %d)", seed, step, len(got), len(model))
		}
	}
}

// resize cuts or lengthens with zeros.
func resize(b []byte, n int) []byte {
	if n <= len(b) {
		return b[:n:n]
	}
	return append(b, make([]byte, n-len(b))...)
}
