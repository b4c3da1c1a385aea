package tree

import (
	"fmt"
	"testing"

	"github.com/spirula/spirula/mds/internal/inode"
)

func benchDentry(n int) *inode.Dentry {
	return &inode.Dentry{Seq: uint64(n + 3), Type: inode.Reg, Ino: inode.Ino(1000 + n), Inode: &inode.Inode{
		Ino: inode.Ino(1000 + n), Type: inode.Reg, Mode: 0o644, Size: uint64(n),
		Content: inode.Content{Kind: inode.Plain, Stream: uint64(n)},
		S3:      &inode.S3Part{ETag: "d41d8cd98f00b204e9800998ecf8427e", Meta: inode.Meta{ContentType: "text/plain"}}}}
}

func benchToken(n int) string { return fmt.Sprintf("file-%08d.dat", n*7) }

// fill puts n entries into directory 10 and writes them back now and then.
func (w *world) fill(n int) {
	w.mkdir(10)
	for i := range n {
		w.do(func(w *world, pos Pos) {
			dir := *w.dirs[10].Dir
			dir.Entries++
			dir.NextSeq++
			w.setDir(w.dirs[10], &dir)
			w.tree.Put(pos, 10, benchToken(i), benchDentry(i))
		})
		w.mu.Lock()
		pressure := w.tree.Pressure()
		w.mu.Unlock()
		if pressure {
			w.must(w.flush(w.end()))
		}
	}
	w.must(w.flush(w.end()))
}

func BenchmarkGetHit(b *testing.B) {
	w := newWorld(b, Options{})
	w.fill(10000)
	w.must(w.ask(func() error { _, _, err := w.tree.ReadDir(w.dirs[10], 0, 1); return err }))
	dir := w.dirs[10]
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if d, _, err := w.tree.Get(dir, "file-00034993.dat"); err != nil || d == nil {
			b.Fatal(d, err)
		}
	}
}

func BenchmarkGetNegative(b *testing.B) {
	w := newWorld(b, Options{})
	w.fill(10000)
	w.must(w.ask(func() error { _, _, err := w.tree.ReadDir(w.dirs[10], 0, 1); return err }))
	dir := w.dirs[10]
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if d, _, err := w.tree.Get(dir, "file-00034994.dat"); err != nil || d != nil {
			b.Fatal(d, err)
		}
	}
}

func BenchmarkGetMiss(b *testing.B) {
	w := newWorld(b, Options{CacheBytes: 1 << 20})
	w.fill(20000)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		w.must(w.ask(func() error { _, _, err := w.tree.Get(w.dirs[10], benchToken(i*7919%20000)); return err }))
	}
}

func BenchmarkPut(b *testing.B) {
	w := newWorld(b, Options{CacheBytes: 1 << 40})
	w.mkdir(10)
	d := benchDentry(1)
	tokens := make([]string, 1<<16)
	for i := range tokens {
		tokens[i] = benchToken(i)
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		w.tree.Put(Pos(i+2), 10, tokens[i%len(tokens)], d)
	}
}

// BenchmarkNextPage steps through 1000 entries that are in memory.
func BenchmarkNextPage(b *testing.B) {
	w := newWorld(b, Options{})
	w.fill(10000)
	w.must(w.ask(func() error { _, _, err := w.tree.ReadDir(w.dirs[10], 0, 1); return err }))
	dir := w.dirs[10]
	b.ReportAllocs()
	for b.Loop() {
		from := "file-0002"
		for range 1000 {
			token, d, err := w.tree.Next(dir, from, false)
			if err != nil || d == nil {
				b.Fatal(d, err)
			}
			from = token
		}
	}
}

// BenchmarkListColdPage lists 1000 keys that have to be loaded.
func BenchmarkListColdPage(b *testing.B) {
	w := newWorld(b, Options{CacheBytes: 1 << 20})
	w.fill(20000)
	dir := w.dirs[10]
	b.ReportAllocs()
	after := ""
	for b.Loop() {
		l := &Lister{After: after, Max: 1000}
		w.must(w.ask(func() error { return l.Run(dirSource{w.tree}, dir) }))
		if after = l.Next; !l.Truncated {
			after = ""
		}
	}
}

// dirSource is a tree without subdirectories as a ListSource.
type dirSource struct{ *Tree }

func (dirSource) Child(d *inode.Dentry) (*inode.Inode, error) { panic("no directories here") }

func BenchmarkFlush1000(b *testing.B) {
	w := newWorld(b, Options{CacheBytes: 1 << 30})
	w.mkdir(10)
	pos := Pos(1)
	b.ReportAllocs()
	for n := 0; b.Loop(); n++ {
		for i := range 1000 {
			pos++
			w.tree.Put(pos, 10, benchToken(n%10*1000+i), benchDentry(i))
		}
		w.must(w.flush(pos))
	}
}

// TestLargeDirectory: 60 000 entries take no more memory than the cache may,
// lookups and pages take single reads.
func TestLargeDirectory(t *testing.T) {
	const n = 60000
	w := newWorld(t, Options{CacheBytes: 4 << 20})
	w.fill(n)
	m := w.tree.Metrics()
	if !w.dirs[10].Dir.BirthLog || m.Splits.Load() < 3 {
		t.Fatalf("%+v, %d splits", w.dirs[10].Dir, m.Splits.Load())
	}
	w.must(w.ask(func() error { _, _, err := w.tree.Get(w.dirs[10], "a"); return err }))
	if got := w.tree.bytes; got > 5<<20+2<<20 {
		t.Errorf("%d bytes of cache, the bound is %d", got, 4<<20)
	}
	loads := m.Loads.Load()
	for i := range 100 {
		k := benchToken(i * (n / 100))
		w.must(w.ask(func() error {
			d, _, err := w.tree.Get(w.dirs[10], k)
			if err == nil && d == nil {
				err = fmt.Errorf("%q is missing", k)
			}
			return err
		}))
		w.must(w.ask(func() error { _, _, err := w.tree.Get(w.dirs[10], k+"x"); return err }))
	}
	if got := m.Loads.Load() - loads; got > 200 {
		t.Errorf("%d reads for 200 lookups", got)
	}
	loads = m.Loads.Load()
	l := &Lister{After: benchToken(n / 3), Max: 1000}
	w.must(w.ask(func() error { return l.Run(dirSource{w.tree}, w.dirs[10]) }))
	if len(l.Items) != 1000 || l.Items[999].Key != benchToken(n/3+1000) {
		t.Fatalf("%d items, the last is %q", len(l.Items), l.Items[len(l.Items)-1].Key)
	}
	if got := m.Loads.Load() - loads; got > 3 {
		t.Errorf("%d reads for a page of 1000", got)
	}
	loads = m.Loads.Load()
	got, after := 0, uint64(0)
	for eof := false; !eof; {
		var page []Entry
		w.must(w.ask(func() (err error) { page, eof, err = w.tree.ReadDir(w.dirs[10], after, 1000); return err }))
		for _, e := range page {
			if e.Seq <= after || e.Token != benchToken(int(e.Seq-3)) {
				t.Fatalf("%+v after %d", e, after)
			}
			after = e.Seq
			got++
		}
	}
	if got != n {
		t.Errorf("READDIR gives %d of %d", got, n)
	}
	if got := m.Loads.Load() - loads; got > 2*n/1000 {
		t.Errorf("%d reads for READDIR of %d", got, n)
	}
}
