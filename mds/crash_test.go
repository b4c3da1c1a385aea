package mds

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/spirula/spirula/rados"
	"github.com/spirula/spirula/rados/radostest"
	"github.com/spirula/spirula/rados/wire"
)

// cutter fails every vector, of both pools, from the n-th write on: the
// pools then hold what a power cut would have left.
type cutter struct {
	left atomic.Int64
	off  atomic.Bool
}

func (c *cutter) inject(_ int, op *rados.Op) error {
	if c.off.Load() {
		return wire.Errorf("cut", "", wire.ESHUTDOWN)
	}
	for i := range op.Ops {
		switch op.Ops[i].Code {
		case wire.OpWrite, wire.OpWriteFull, wire.OpCreate, wire.OpDelete, wire.OpTruncate, wire.OpSetXattr, wire.OpOmapSetVals, wire.OpOmapRmKeys:
			if c.left.Add(-1) < 0 {
				c.off.Store(true)
				return wire.Errorf("cut", "", wire.ESHUTDOWN)
			}
			return nil
		}
	}
	return nil
}

// crashStep is one acknowledged change, and what it does to the keys.
type crashStep struct {
	name string
	run  func(r *crashRun) error
	next func(keys map[string]string)
}

type crashRun struct {
	*testFS
	b       Ino
	dir     Handle            // of the bucket
	handles map[string]Handle // of files, by key
	cookies map[string]uint64 // in the bucket
}

func body(n int) string { return string(randomBytes(uint64(n), n)) }

func putStep(key string, n int) crashStep {
	return crashStep{"put " + key, func(r *crashRun) error {
		_, err := r.tryPut(r.b, key, []byte(body(n)), Conditions{})
		return err
	}, func(k map[string]string) { k[key] = body(n) }}
}

func deleteStep(key string) crashStep {
	return crashStep{"delete " + key, func(r *crashRun) error {
		return r.DeleteObject(context.Background(), owner, r.b, key, Conditions{})
	}, func(k map[string]string) { delete(k, key) }}
}

func copyStep(from, to string) crashStep {
	return crashStep{"copy", func(r *crashRun) error {
		src, err := r.OpenObject(context.Background(), r.b, from)
		if err != nil {
			return err
		}
		defer src.Close()
		_, err = r.Copy(context.Background(), owner, src, r.b, to, CopySpec{})
		return err
	}, func(k map[string]string) { k[to] = k[from] }}
}

func multipartStep(key string) crashStep {
	return crashStep{"multipart", func(r *crashRun) error {
		ctx := context.Background()
		id, err := r.CreateUpload(ctx, owner, r.b, key, UploadSpec{})
		var c Complete
		c.Finish = func(UploadSpec, []Part) (string, Checksum, error) { return "e-2", Checksum{}, nil }
		for n := 1; err == nil && n <= 3; n++ {
			var w Writer
			if w, err = r.NewWriter(ctx, owner, r.b, 3000); err != nil {
				break
			}
			d := wire.CopyData([]byte(body(3000 + n)))
			err = w.Write(ctx, d)
			d.Release()
			if err == nil {
				_, err = r.PutPart(ctx, r.b, key, id, w, Part{Number: n, ETag: "p"})
			}
			if n < 3 {
				c.Parts = append(c.Parts, CompletedPart{Number: n, ETag: "p"})
			}
		}
		if err == nil {
			_, err = r.CompleteUpload(ctx, owner, r.b, key, id, c)
		}
		return err
	}, func(k map[string]string) { k[key] = body(3001) + body(3002) }}
}

func createStep(name string) crashStep {
	return crashStep{"create " + name, func(r *crashRun) error {
		a, _, err := r.Create(context.Background(), owner, r.dir, name, CreateArgs{Mode: CreateGuarded})
		if err == nil {
			r.handles[name] = a.Handle()
		}
		return err
	}, func(k map[string]string) { k[name] = "" }}
}

// writeStep writes and commits; before the commit nothing is promised but
// that the size is the old or the new one.
func writeStep(name string, n int) crashStep {
	return crashStep{"write " + name, func(r *crashRun) error {
		d := wire.CopyData([]byte(body(n)))
		defer d.Release()
		if _, err := r.Write(context.Background(), owner, r.handles[name], 0, d, false); err != nil {
			return err
		}
		_, err := r.Commit(context.Background(), owner, r.handles[name], 0, 0)
		return err
	}, func(k map[string]string) { k[name] = body(n) + k[name][min(n, len(k[name])):] }}
}

func truncateStep(name string, n int) crashStep {
	return crashStep{"truncate " + name, func(r *crashRun) error {
		size := uint64(n)
		_, err := r.SetAttr(context.Background(), owner, r.handles[name], SetAttr{Size: &size})
		return err
	}, func(k map[string]string) {
		b := make([]byte, n)
		copy(b, k[name])
		k[name] = string(b)
	}}
}

func renameStep(from, to string) crashStep {
	return crashStep{"rename", func(r *crashRun) error {
		_, _, err := r.Rename(context.Background(), owner, r.dir, from, r.dir, to)
		if err == nil {
			r.handles[to] = r.handles[from]
			delete(r.handles, from)
		}
		return err
	}, func(k map[string]string) { k[to] = k[from]; delete(k, from) }}
}

func crashScript() []crashStep {
	steps := []crashStep{
		putStep("inline", 100), putStep("small", 5000), putStep("small", 6000), putStep("d/e/f", 5001), putStep("inline", 7000),
		deleteStep("d/e/f"), copyStep("small", "copy"), multipartStep("joined"), copyStep("joined", "d/joined"), deleteStep("joined"),
		createStep("nfs"), writeStep("nfs", 9000), truncateStep("nfs", 4000), truncateStep("nfs", 6000), copyStep("nfs", "nfscopy"),
		writeStep("nfs", 5500), renameStep("nfs", "small"), putStep("big", 5<<20),
		{"link", func(r *crashRun) error {
			_, _, err := r.Link(context.Background(), owner, r.handles["small"], r.dir, "link")
			return err
		}, func(k map[string]string) { k["link"] = k["small"] }},
		{"remove", func(r *crashRun) error {
			_, err := r.Remove(context.Background(), owner, r.dir, "small")
			delete(r.handles, "small")
			return err
		}, func(k map[string]string) { delete(k, "small") }},
		{"mkdir", func(r *crashRun) error {
			_, _, err := r.Mkdir(context.Background(), owner, r.dir, "dir", SetAttr{})
			return err
		}, func(k map[string]string) { k["dir/"] = "" }},
		{"rmdir", func(r *crashRun) error {
			_, err := r.Rmdir(context.Background(), owner, r.dir, "dir")
			return err
		}, func(k map[string]string) { delete(k, "dir/") }},
	}
	for i := range 8 {
		steps = append(steps, putStep(fmt.Sprintf("s%d", i), 10+i))
		if i%3 == 2 {
			steps = append(steps, crashStep{"write back", func(r *crashRun) error { return r.writeBack(context.Background()) }, func(map[string]string) {}})
		}
	}
	return append(steps, deleteStep("big"), deleteStep("s3"), deleteStep("link"), copyStep("inline", "inline"))
}

func (r *crashRun) contents() (map[string]string, error) {
	keys := map[string]string{}
	for _, k := range r.keys(r.b, "", "") {
		got, _, err := r.tryGet(r.b, k)
		if err != nil {
			return nil, fmt.Errorf("get %q: %w", k, err)
		}
		keys[k] = string(got)
	}
	return keys, nil
}

// readCookies gives the cookies in the bucket by name.
func (r *crashRun) readCookies() map[string]uint64 {
	out := map[string]uint64{}
	r.ReadDir(context.Background(), owner, r.dir, 2, false, func(e *DirEntry) bool { out[e.Name] = e.Cookie; return true })
	return out
}

// TestCutAtEveryWrite runs a history that is cut off at its n-th write, for
// every n, and opens what is left.
func TestCutAtEveryWrite(t *testing.T) {
	steps := crashScript()
	stride := 2
	if raceEnabled {
		stride = 7
	}
	for n := 1; ; n += stride {
		if cutAt(t, steps, int64(n)) || t.Failed() {
			return
		}
	}
}

// cutAt reports whether the history ran to its end.
func cutAt(t *testing.T, steps []crashStep, n int64) (ended bool) {
	c := &cutter{}
	c.left.Store(1 << 40)
	r := &crashRun{testFS: &testFS{t: t, meta: radostest.NewPool(), data: radostest.NewPool()}, handles: map[string]Handle{}}
	r.o.splitEntries, r.o.birthLog, r.o.CacheBytes = 4, 6, 64<<10
	r.mortal = true
	r.meta.SetInject(c.inject)
	r.data.SetInject(c.inject)
	r.open()
	b := r.bucket("bucket")
	r.b = b.Ino
	a, _, err := r.Lookup(context.Background(), owner, Handle{Ino: RootIno, Gen: 1}, "bucket")
	if err != nil {
		t.Fatal(err)
	}
	r.dir = a.Handle()
	c.left.Store(n)
	before := map[string]string{}
	after, failed := before, "nothing"
	for _, s := range steps {
		after = maps.Clone(before)
		s.next(after)
		if err := s.run(r); err != nil {
			failed = s.name
			break
		}
		before = after
		r.cookies = r.readCookies()
	}
	ended = !c.off.Load()
	r.meta, r.data = r.meta.Clone(), r.data.Clone()
	old := r.FS
	defer old.Close(context.Background())
	c.off.Store(true)
	handles, cookies := r.handles, r.cookies
	r.open()
	defer func() { r.FS.Close(context.Background()) }()
	got, err := r.contents()
	if err != nil {
		t.Errorf("cut at write %d, in %s: %v", n, failed, err)
		return ended
	}
	have := maps.Clone(got)
	if name, ok := strings.CutPrefix(failed, "write "); ok && len(got[name]) > 0 {
		have[name] = after[name] // between its first write and its COMMIT all of them may be there or not
	}
	if !maps.Equal(have, before) && !maps.Equal(have, after) {
		t.Errorf("cut at write %d, in %s: %s", n, failed, differences(have, before, after))
	}
	for k, h := range handles {
		if a, err := r.GetAttr(context.Background(), h); err != nil || got[k] != "" && a.Size != uint64(len(got[k])) {
			if _, there := got[k]; there {
				t.Errorf("cut at write %d, in %s: handle of %q: %+v, %v", n, failed, k, a, err)
			}
		}
	}
	for name, c := range r.readCookies() {
		if was, ok := cookies[name]; ok && was != c && failed != "rename" {
			t.Errorf("cut at write %d, in %s: cookie of %q was %d, is %d", n, failed, name, was, c)
		}
	}
	r.scrub()
	if t.Failed() {
		t.Logf("cut at write %d, in %s", n, failed)
	}
	return ended
}

func differences(got, before, after map[string]string) string {
	var b bytes.Buffer
	for k := range got {
		if got[k] != before[k] && got[k] != after[k] {
			fmt.Fprintf(&b, "%q has %d bytes, had %d or %d; ", k, len(got[k]), len(before[k]), len(after[k]))
		}
		if _, ok := after[k]; !ok {
			if _, ok := before[k]; !ok {
				fmt.Fprintf(&b, "%q is new; ", k)
			}
		}
	}
	for k := range before {
		if _, ok := got[k]; !ok {
			if _, ok := after[k]; ok {
				fmt.Fprintf(&b, "%q is gone; ", k)
			}
		}
	}
	return b.String()
}
