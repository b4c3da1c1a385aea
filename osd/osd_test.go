package osd

import (
	"testing"

	"github.com/spirula/spirula/osd/store/storetest"
	"github.com/spirula/spirula/rados/wire"
)

func want(t *testing.T, r *wire.MOSDOpReply, result int32) *wire.MOSDOpReply {
	t.Helper()
	if r.Result != result {
		t.Fatalf("result %d, want %d", r.Result, result)
	}
	return r
}

func wantData(t *testing.T, r *wire.MOSDOpReply, s string) {
	t.Helper()
	want(t, r, 0)
	last := len(r.Results) - 1
	if got := string(r.Results[last].Data.Bytes()); got != s {
		t.Fatalf("read %q, want %q", got, s)
	}
	r.Release()
}

func TestServe(t *testing.T) {
	for _, inline := range []bool{false, true} {
		c := newCluster(t, clusterOptions{model: storetest.ModelOptions{Inline: inline}})
		cl := c.cl
		want(t, cl.op("a", read()), -2)
		w := want(t, cl.op("a", write(0, "hello")), 0)
		if w.Version.Version == 0 || w.UserVersion != w.Version.Version || w.Flags&wire.FlagOnDisk == 0 {
			t.Fatalf("reply %+v", w)
		}
		r := cl.op("a", read())
		if r.UserVersion != w.UserVersion {
			t.Fatalf("read's user version %d, write's %d", r.UserVersion, w.UserVersion)
		}
		wantData(t, r, "hello")
		want(t, cl.op("a", wire.Op{Code: wire.OpCreate, Flags: wire.OpExcl}), -17)
		want(t, cl.op("a", wire.Op{Code: wire.OpSetXattr, Name: "x", Value: []byte("y")},
			wire.Op{Code: wire.OpOmapSetVals, KVs: []wire.KV{{Key: "k", Value: []byte("v")}}}), 0)
		x := want(t, cl.op("a", wire.Op{Code: wire.OpGetXattr, Name: "x"},
			wire.Op{Code: wire.OpOmapGetVals, Num: 10}), 0)
		if string(x.Results[0].Value) != "y" || len(x.Results[1].KVs) != 1 {
			t.Fatalf("xattr, omap: %+v", x.Results)
		}
		want(t, cl.op("a", wire.Op{Code: wire.OpDelete}), 0)
		want(t, cl.op("a", read()), -2)
		want(t, cl.op("a", wire.Op{Code: wire.OpDelete}), -2)
	}
}
