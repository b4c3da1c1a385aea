package tree

import (
	"bytes"
	"context"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/spirula/spirula/mds/internal/inode"
	"github.com/spirula/spirula/rados"
	"github.com/spirula/spirula/rados/wire"
)

func TestDump(t *testing.T) {
	w := newWorld(t, small)
	a := &actor{rand.New(rand.NewPCG(1, 94)), w, 100}
	w.mkdir(10)
	w.put(10, "x", a.dentry(3))
	w.put(10, "y", &inode.Dentry{Seq: 4, Type: inode.Reg, Ino: 77, Inode: &inode.Inode{Ino: 77, Type: inode.Reg,
		Content: inode.Content{Kind: inode.Inline, Inline: []byte("hello")}}})
	w.do(func(w *world, pos Pos) {
		w.tree.PutRow(pos, 77, &inode.TableRow{Kind: inode.RowAt, Parent: 10, Token: "y"})
	})
	w.must(w.flush(w.end()))
	_, err := w.client.Do(context.Background(), &rados.Op{Object: fragObject(10, 0), Ops: []wire.Op{
		{Code: wire.OpOmapSetVals, KVs: []wire.KV{{Key: "dz", Value: []byte("rubbish")}}}}})
	w.must(err)
	var b bytes.Buffer
	w.must(Dump(context.Background(), w.client, fragObject(10, 0), &b))
	w.must(Dump(context.Background(), w.client, rowObject(77), &b))
	for _, want := range []string{"epoch=1 pos=4 entries<=2", `"dx" seq=3`, `"iy" "hello"`, `"dz" damaged`, "Parent:10 Token:y"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("%q is not in the dump:\n%s", want, b.String())
		}
	}
	if err := Dump(context.Background(), w.client, "none", &b); wire.ErrnoOf(err) != wire.ENOENT {
		t.Errorf("a missing object: %v", err)
	}
	// The rubbish is found, and named, by whoever reads it.
	w.crash(2, 0)
	err = w.ask(func() error { _, _, err := w.tree.Get(w.dirs[10], "z"); return err })
	if err == nil || !strings.Contains(err.Error(), `"dz"`) {
		t.Errorf("reading a damaged dentry: %v", err)
	}
}

func FuzzHeader(f *testing.F) {
	f.Add((&objectInfo{entries: 3, bytes: 4}).header(5))
	f.Fuzz(func(t *testing.T, b []byte) {
		if _, entries, bytes, err := decodeHeader(b); err == nil && (entries < 0 || bytes < 0) {
			t.Errorf("%d entries, %d bytes", entries, bytes)
		}
		if _, entries, bytes, err := decodeHeader(inode.AppendInline(nil, b)); err == nil && (entries < 0 || bytes < 0) {
			t.Errorf("%d entries, %d bytes", entries, bytes)
		}
	})
}
