package objop

import (
	"bytes"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/spirula/spirula/rados/wire"
)

// fetch reads an object of the world as a Fetch says. changed, if set, is
// called between pieces.
func (w *world) fetch(src *wire.CopySource, changed func(piece int)) *Copied {
	w.t.Helper()
	f := NewFetch(src)
	for i := range 1000 {
		ops := f.Ops()
		out := w.run(src.Object, Request{Ops: ops, Snap: src.Snap})
		if f.Take(ops, out.Result, out.Object.Info.UserVersion, out.Results) {
			return f.Copied()
		}
		if changed != nil {
			changed(i)
		}
	}
	w.t.Fatal("the fetch does not end")
	return nil
}

func source(name string) *wire.CopySource {
	return &wire.CopySource{Object: name, Locator: wire.ObjectLocator{Pool: 1, Hash: -1}, Snap: wire.NoSnap}
}

// copy copies an object to another as the daemon does.
func (w *world) copy(to string, c wire.SnapContext, src *wire.CopySource, ops ...wire.Op) *Outcome {
	w.t.Helper()
	req := Request{Ops: append([]wire.Op{{Code: wire.OpCopyFrom, Source: src}}, ops...), Snap: wire.NoSnap, SnapC: c,
		Copies: []*Copied{w.fetch(src, nil)}}
	return w.run(to, req)
}

func TestCopy(t *testing.T) {
	w := newWorld(t)
	data := bytes.Repeat([]byte("0123456789abcdef"), 600<<10) // three pieces
	w.op("src", wire.Op{Code: wire.OpWriteFull, Data: wire.DataOf(data)}, setx("x", "1"), setx("y", "2"),
		wire.Op{Code: wire.OpOmapSetHeader, Value: []byte("head")})
	var kvs []wire.KV
	for i := range 2500 {
		kvs = append(kvs, wire.KV{Key: string([]byte{'k', byte(i >> 8), byte(i)}), Value: []byte{byte(i)}})
	}
	w.op("src", wire.Op{Code: wire.OpOmapSetVals, KVs: kvs})
	w.op("dst", full("old"), setx("z", "3"), omapSet("old", "v"))
	w.run("dst", Request{Ops: []wire.Op{watchOp(wire.WatchRegister, 7, 0)}, Snap: wire.NoSnap, Asker: asker(1)})
	if out := w.copy("dst", ctx(3, 3), source("src")); out.Result != 0 || !out.UserChange {
		t.Fatalf("%d", out.Result)
	}
	s, d := w.load("src").Info, w.load("dst").Info
	if d.UserVersion != s.UserVersion || d.MTime != s.MTime || d.Size != uint64(len(data)) || len(d.Watches) != 1 {
		t.Fatalf("%+v, from %+v", d, s)
	}
	r := w.op("dst", rd, code(wire.OpGetXattrs), code(wire.OpOmapGetHeader), wire.Op{Code: wire.OpOmapGetVals, Num: 1024}).Results
	if !bytes.Equal(r[0].Data.Bytes(), data) || len(r[1].KVs) != 2 || string(r[2].Value) != "head" ||
		cmp.Diff(r[3].KVs, kvs[:1024]) != "" {
		t.Fatalf("%d %+v %q %d", r[0].Data.Len(), r[1].KVs, r[2].Value, len(r[3].KVs))
	}
	if got := w.text("dst", 3); got != "old" {
		t.Fatalf("the snapshot before the copy: %q", got)
	}
	// A client's change on top has a version above the source's.
	if out := w.copy("other", ctx(0), source("src"), setx("a", "b")); out.Result != 0 {
		t.Fatal(out.Result)
	}
	if o := w.load("other").Info; o.UserVersion <= s.UserVersion {
		t.Fatalf("%+v", o)
	}
	// The empty, and what a snapshot shows.
	w.op("none", create)
	if out := w.copy("dst", ctx(3, 3), source("none")); out.Result != 0 || w.text("dst", wire.NoSnap) != "" {
		t.Fatalf("copy of an empty object: %d", out.Result)
	}
	at3 := source("dst")
	at3.Snap = 3
	if out := w.copy("dst", ctx(3, 3), at3); out.Result != 0 || w.text("dst", wire.NoSnap) != "old" {
		t.Fatalf("copy from its own snapshot: %d", out.Result)
	}
}

func TestCopyErrors(t *testing.T) {
	w := newWorld(t)
	w.op("src", full("data"))
	w.op("dst", full("old"))
	if out := w.copy("dst", ctx(0), source("missing")); out.Result != -2 {
		t.Fatalf("of nothing: %d", out.Result)
	}
	if out := w.copy("dst", ctx(0), source("dst")); out.Result != -22 {
		t.Fatalf("of itself: %d", out.Result)
	}
	for v, want := range map[uint64]int32{w.load("src").Info.UserVersion: 0, 77: -75} {
		src := source("src")
		src.Version = v
		if out := w.copy("new", ctx(0), src); out.Result != want {
			t.Fatalf("of version %d: %d", v, out.Result)
		}
	}
	bad := source("src")
	bad.Flags = 1 << 6
	if out := w.copy("dst", ctx(0), bad); out.Result != -22 {
		t.Fatalf("unknown flags: %d", out.Result)
	}
	if r := w.op("dst", wire.Op{Code: wire.OpCopyFrom, Source: source("src")}).Result; r != -5 {
		t.Fatalf("a daemon that brought nothing: %d", r)
	}
	if got := w.text("dst", wire.NoSnap); got != "old" {
		t.Fatalf("%q", got)
	}
	trunc := source("src")
	trunc.Flags, trunc.TruncateSeq, trunc.TruncateSize = copyTruncateSeq, 5, 99
	w.run("dst", Request{Ops: []wire.Op{{Code: wire.OpCopyFrom2, Source: trunc}}, Snap: wire.NoSnap, Copies: []*Copied{w.fetch(trunc, nil)}})
	if i := w.load("dst").Info; i.TruncateSeq != 5 || i.TruncateSize != 99 {
		t.Fatalf("%+v", i)
	}
}

// TestFetchRestarts: a source that changes is read again, and not for ever.
func TestFetchRestarts(t *testing.T) {
	w := newWorld(t)
	big := func(b byte) wire.Op {
		return wire.Op{Code: wire.OpWriteFull, Data: wire.DataOf(bytes.Repeat([]byte{b}, 3*fetchPiece/2))}
	}
	w.op("src", big('a'))
	c := w.fetch(source("src"), func(piece int) {
		if piece == 0 {
			w.op("src", big('b'))
		}
	})
	if c.Err != 0 || bytes.ContainsRune(c.Data.Bytes(), 'a') || c.Data.Len() != 3*fetchPiece/2 {
		t.Fatalf("%v, %d bytes", c.Err, c.Data.Len())
	}
	c = w.fetch(source("src"), func(int) { w.op("src", big('c')) })
	if c.Err != wire.EBUSY {
		t.Fatalf("a source that never rests: %v", c.Err)
	}
}
