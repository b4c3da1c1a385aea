package mds

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"sync"
	"testing"
)

// TestLargeDirectory fills a directory far past what the cache holds, reads
// it both ways, and removes it while reading it. SPIRULA_MDS_LARGE sets the
// number of entries.
func TestLargeDirectory(t *testing.T) {
	n := 12000
	if s := os.Getenv("SPIRULA_MDS_LARGE"); s != "" {
		n, _ = strconv.Atoi(s)
	} else if raceEnabled {
		n = 3000
	}
	f := newFS(t)
	f.o.CacheBytes, f.o.splitEntries, f.o.birthLog = 1<<20, n/10, n/4
	f.reopen()
	b := f.bucket("bucket")
	fillLarge(f, b.Ino, n)
	if err := f.writeBack(context.Background()); err != nil {
		t.Fatal(err)
	}
	m := f.tree.Metrics()
	if m.Splits.Load() < 5 || m.BirthLogs.Load() != 1 || m.Evicted.Load() < int64(n/2) {
		t.Errorf("%d splits, %d birth logs, %d evicted", m.Splits.Load(), m.BirthLogs.Load(), m.Evicted.Load())
	}
	checkLargeList(f, b.Ino, n)
	f.reopen()
	checkLargeList(f, b.Ino, n)
	top, _, err := f.Lookup(context.Background(), modelRoot, Handle{Ino: RootIno, Gen: 1}, "bucket")
	if err != nil {
		t.Fatal(err)
	}
	dir, _, err := f.Lookup(context.Background(), modelRoot, top.Handle(), "dir")
	if err != nil || dir.Size != uint64(n) {
		t.Fatalf("%d entries, want %d: %v", dir.Size, n, err)
	}
	removeLarge(f, dir.Handle(), n)
	if _, err := f.Rmdir(context.Background(), modelRoot, top.Handle(), "dir"); err != nil {
		t.Error(err)
	}
	f.scrub()
}

func fillLarge(f *testFS, b Ino, n int) {
	var wg sync.WaitGroup
	const clients = 4
	for c := range clients {
		wg.Go(func() {
			for i := c; i < n; i += clients {
				if _, err := f.tryPut(b, fmt.Sprintf("dir/%07d", i*7919%n), []byte("x"), Conditions{}); err != nil {
					f.t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
}

func checkLargeList(f *testFS, b Ino, n int) {
	f.t.Helper()
	after, at := "", 0
	for {
		p, err := f.List(context.Background(), b, ListRequest{Prefix: "dir/", After: after, Max: 1000})
		if err != nil {
			f.t.Fatal(err)
		}
		for _, e := range p.Entries {
			if want := fmt.Sprintf("dir/%07d", at); e.Key != want {
				f.t.Fatalf("listed %q, want %q", e.Key, want)
			}
			at++
		}
		if !p.Truncated {
			break
		}
		after = p.Next
	}
	if at != n {
		f.t.Fatalf("%d keys listed, want %d", at, n)
	}
}

// removeLarge removes entries as READDIR gives them, page by page by cookie.
func removeLarge(f *testFS, dir Handle, n int) {
	f.t.Helper()
	ctx, cookie, removed := context.Background(), uint64(2), 0
	for eof := false; !eof; {
		var names []string
		var err error
		last := cookie
		_, eof, err = f.ReadDir(ctx, modelRoot, dir, cookie, false, func(e *DirEntry) bool {
			if len(names) == 300 {
				return false
			}
			if e.Cookie <= last {
				f.t.Errorf("cookie %d after %d", e.Cookie, last)
			}
			names, last = append(names, e.Name), e.Cookie
			return true
		})
		if err != nil {
			f.t.Fatal(err)
		}
		for _, name := range names {
			if _, err := f.Remove(ctx, modelRoot, dir, name); err != nil {
				f.t.Fatal(err)
			}
		}
		cookie, removed = last, removed+len(names)
	}
	if removed != n {
		f.t.Errorf("%d entries removed, want %d", removed, n)
	}
}
