package objop

import (
	"encoding/binary"
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/spirula/spirula/osd/store"
	"github.com/spirula/spirula/rados/wire"
)

// TestZeroLength has the two writes that end badly on Ceph 16.2's OSDs, and
// their relatives.
func TestZeroLength(t *testing.T) {
	for _, c := range []struct {
		init string
		op   wire.Op
		want int32
		text string
	}{
		{"", wire.Op{Code: wire.OpWrite}, 0, ""},
		{"", wire.Op{Code: wire.OpWrite, Off: 5}, 0, "\x00\x00\x00\x00\x00"},
		{"data", wire.Op{Code: wire.OpWrite, Off: 2}, 0, "data"},
		{"data", wire.Op{Code: wire.OpWrite, Off: 6}, 0, "data\x00\x00"},
		{"", wire.Op{Code: wire.OpWrite, Off: MaxObjectSize}, -27, "-"},
		{"", wire.Op{Code: wire.OpZero, Off: 5}, 0, "-"},
		{"data", wire.Op{Code: wire.OpZero}, 0, "data"},
		{"data", wire.Op{Code: wire.OpZero, Off: 2}, 0, "data"},
		{"data", wire.Op{Code: wire.OpZero, Off: 9}, 0, "data"},
		{"", wire.Op{Code: wire.OpAppend}, 0, ""},
		{"", wire.Op{Code: wire.OpWriteFull}, 0, ""},
		{"data", wire.Op{Code: wire.OpWriteFull}, 0, ""},
		{"data", wire.Op{Code: wire.OpWriteSame, Data: str("x")}, 0, "data"},
		{"data", wire.Op{Code: wire.OpWriteSame, Len: 4}, -22, "data"},
		{"data", wire.Op{Code: wire.OpCmpExt}, 0, "data"},
		{"data", wire.Op{Code: wire.OpUndirty}, 0, "data"},
	} {
		w := newWorld(t)
		if c.init != "" {
			w.op("o", full(c.init))
		}
		if out := w.op("o", c.op); out.Result != c.want {
			t.Errorf("%+v on %q: %d", c.op, c.init, out.Result)
		}
		if got := w.text("o", wire.NoSnap); got != c.text {
			t.Errorf("%+v on %q: leaves %q", c.op, c.init, got)
		}
	}
}

// TestReadsInVectors: data come from before the vector, the size from the
// operations so far, and where a vector may go on without an object, so may a
// read.
func TestReadsInVectors(t *testing.T) {
	keys := wire.Op{Code: wire.OpOmapGetKeys, Num: 5}
	for i, c := range []struct {
		init []wire.Op
		ops  []wire.Op
		want int32
		data string // of the last operation
	}{
		{nil, []wire.Op{rd}, -2, ""},
		{nil, []wire.Op{create, rd}, 0, ""},
		{nil, []wire.Op{wr(0, "abc"), rd}, -2, ""},
		{nil, []wire.Op{create, keys}, 0, ""},
		{nil, []wire.Op{create, code(wire.OpOmapGetHeader)}, 0, ""},
		{nil, []wire.Op{create, stat}, 0, ""},
		{nil, []wire.Op{create, getx("a")}, -2, ""},
		{[]wire.Op{full("old")}, []wire.Op{full("newer"), rd}, 0, "old"},
		{[]wire.Op{full("old")}, []wire.Op{{Code: wire.OpTruncate, Off: 2}, rd}, 0, "ol"},
		{[]wire.Op{full("old")}, []wire.Op{del, rd}, 0, ""},
		{[]wire.Op{full("old"), setx("a", "1")}, []wire.Op{del, cmpU("a", wire.CmpEQ, 1)}, 1, ""},
		{[]wire.Op{full("old"), omapSet("k", "v")}, []wire.Op{del, create, keys}, 0, ""},
		{[]wire.Op{full("old")}, []wire.Op{del, stat}, -2, ""},
		{[]wire.Op{full("old")}, []wire.Op{{Code: wire.OpInvalid, Num: uint64(wire.OpRead)}}, -22, ""},
		{[]wire.Op{full("old")}, []wire.Op{{Code: wire.OpInvalid, Num: uint64(wire.OpOmapSetVals)}}, -22, ""},
		{[]wire.Op{full("old")}, []wire.Op{{Code: 0x220b}}, -95, ""},
		{[]wire.Op{full("old")}, []wire.Op{{Code: 0x121d}}, -95, ""},
	} {
		w := newWorld(t)
		if c.init != nil {
			w.op("o", c.init...)
		}
		out := w.vec("o", c.ops...)
		if got := string(out.Results[len(c.ops)-1].Data.Bytes()); out.Result != c.want || got != c.data {
			t.Errorf("%d: %d %q", i, out.Result, got)
		}
	}
	w := newWorld(t)
	if out := w.op("o", rd, stat); out.Result != -2 || out.Results[0].Rval != 0 || out.Results[1].Rval != 0 {
		t.Errorf("a vector that is not begun: %+v", out.Results)
	}
}

// TestTruncateSeq follows CephFS's clients: each truncation has a number, and
// reads and writes say which they know of.
func TestTruncateSeq(t *testing.T) {
	w := newWorld(t)
	seq := func(op wire.Op, seq uint32, size uint64) wire.Op { op.Gen, op.Num = seq, size; return op }
	is := func(want string) {
		t.Helper()
		if got := w.text("o", wire.NoSnap); got != want {
			t.Fatalf("%q, want %q", got, want)
		}
	}
	w.op("o", seq(wr(0, "0123456789"), 1, math.MaxUint64)) // from a client that knows of none
	w.op("o", seq(wire.Op{Code: wire.OpTruncate, Off: 5}, 3, 5))
	is("01234")
	if r := w.op("o", seq(wire.Op{Code: wire.OpTruncate, Off: 5}, 4, 6)).Result; r != -22 {
		t.Fatalf("a truncation of two sizes: %d", r)
	}
	w.op("o", seq(wire.Op{Code: wire.OpTruncate, Off: 2}, 2, 2))
	is("01234") // an older one
	w.op("o", seq(wr(3, "xxxx"), 2, 0))
	is("012xx") // late: no further than the truncation left it
	w.op("o", seq(wr(8, "yy"), 2, 0))
	is("012xx")
	w.op("o", seq(wr(6, "z"), 4, 3))
	is("012\x00\x00\x00z") // early: brings the truncation along
	if i := w.load("o").Info; i.TruncateSeq != 4 || i.TruncateSize != 3 {
		t.Fatalf("%+v", i)
	}
	read := func(off, n uint64, sq uint32, size uint64) string {
		return string(w.op("o", seq(wire.Op{Code: wire.OpRead, Off: off, Len: n}, sq, size)).Results[0].Data.Bytes())
	}
	if a, b, c := read(0, 99, 4, 3), read(0, 99, 5, 3), read(0, 2, 5, 3); len(a) != 7 || b != "012" || c != "01" {
		t.Fatalf("%q %q %q", a, b, c)
	}
	sparse := w.op("o", seq(wire.Op{Code: wire.OpSparseRead, Len: 99}, 5, 3)).Results[0]
	if string(sparse.Data.Bytes()) != "012" {
		t.Fatalf("sparse: %+v", sparse)
	}
	w.op("o", seq(wire.Op{Code: wire.OpTrimTrunc}, 6, 1))
	is("0")
	w.op("o", del)
	w.op("o", seq(wr(0, "new"), 2, 0))
	if i := w.load("o").Info; i.TruncateSeq != 2 {
		t.Fatalf("a new object: %+v", i)
	}
	is("new")
}

// holes is a View that knows where an object has data.
type holes struct {
	View
	data []wire.Extent
}

func (h holes) Extents(store.ObjectID) ([]wire.Extent, error) { return h.data, nil }

func TestSparse(t *testing.T) {
	w := newWorld(t)
	w.op("o", wr(0, strings.Repeat("a", 8192)), wr(1<<20, "tail"))
	was := w.load("o")
	view := holes{w.m, []wire.Extent{{Off: 0, Len: 8192}, {Off: 1 << 20, Len: 4}}}
	sparse := func(off, n uint64) ([]wire.Extent, string) {
		out := Run(view, &was, &Request{Ops: []wire.Op{{Code: wire.OpSparseRead, Off: off, Len: n}}, Snap: wire.NoSnap}, nil)
		if out.Result != 0 {
			t.Fatalf("%d~%d: %d", off, n, out.Result)
		}
		return out.Results[0].Extents, string(out.Results[0].Data.Bytes())
	}
	for _, c := range []struct {
		off, n uint64
		want   []wire.Extent
	}{
		{0, 0, nil},
		{0, 2 << 20, []wire.Extent{{Off: 0, Len: 8192}, {Off: 1 << 20, Len: 4}}},
		{100, 50, []wire.Extent{{Off: 100, Len: 50}}},
		{8000, 1 << 20, []wire.Extent{{Off: 8000, Len: 192}, {Off: 1 << 20, Len: 4}}},
		{100 << 10, 100 << 10, nil},
		{2 << 20, 5, nil},
		{1<<20 + 1, math.MaxUint64, []wire.Extent{{Off: 1<<20 + 1, Len: 3}}},
	} {
		got, data := sparse(c.off, c.n)
		if diff := cmp.Diff(got, c.want); diff != "" {
			t.Errorf("%d~%d: %s", c.off, c.n, diff)
		}
		n := 0
		for _, x := range got {
			n += int(x.Len)
		}
		if n != len(data) {
			t.Errorf("%d~%d: %d bytes for %v", c.off, c.n, len(data), got)
		}
	}
}

func TestChecksumErrors(t *testing.T) {
	w := newWorld(t)
	w.op("o", full("0123456789"))
	seed4, seed8 := "\x00\x00\x00\x00", "\x00\x00\x00\x00\x00\x00\x00\x00"
	for _, c := range []struct {
		value          string
		off, n, chunk  uint64
		rval           int32
		count, lengths int
	}{
		{"\x00" + seed4, 0, 0, 0, 0, 1, 8}, {"\x01" + seed8, 0, 0, 0, 0, 1, 12}, {"\x02" + seed4, 0, 8, 4, 0, 2, 12},
		{"\x03" + seed8, 0, 0, 0, -22, 0, 0}, {"\x02\x00", 0, 0, 0, -22, 0, 0}, {"\x01" + seed4, 0, 0, 0, -22, 0, 0}, {"", 0, 0, 0, -22, 0, 0},
		{"\x02" + seed4, 0, 0, 4, -22, 0, 0}, {"\x02" + seed4, 0, 9, 4, -22, 0, 0},
		{"\x02" + seed4, 0, 12, 4, -22, 0, 0}, // cut to ten bytes
		{"\x02" + seed4, 2, 12, 4, 0, 2, 12},  // cut to eight
		{"\x02" + seed4, 10, 4, 4, 0, -1, 0}, {"\x02" + seed4, 5, 0, 0, 0, 0, 4},
	} {
		out := w.op("o", wire.Op{Code: wire.OpChecksum, Off: c.off, Len: c.n, Num: c.chunk, Value: []byte(c.value)})
		r := out.Results[0]
		if r.Rval != c.rval || len(r.Value) != c.lengths || c.count > 0 && int(binary.LittleEndian.Uint32(r.Value)) != c.count {
			t.Errorf("%x %d~%d by %d: %d %x", c.value, c.off, c.n, c.chunk, r.Rval, r.Value)
		}
	}
}

func TestLimits(t *testing.T) {
	long := func(n int) string { return strings.Repeat("n", n) }
	big := wire.Op{Code: wire.OpWriteFull, Data: wire.DataOf(make([]byte, 60<<20))}
	for i, c := range []struct {
		head wire.HObject
		req  Request
		want wire.Errno
	}{
		{head(long(MaxObjectName)), Request{}, 0},
		{head(long(MaxObjectName + 1)), Request{}, wire.ENAMETOOLONG},
		{wire.HObject{Name: "o", Key: long(MaxObjectName + 1)}, Request{}, wire.ENAMETOOLONG},
		{wire.HObject{Name: "o", Namespace: long(MaxNamespace + 1)}, Request{}, wire.ENAMETOOLONG},
		{head("o"), Request{Ops: make([]wire.Op, MaxOps)}, 0},
		{head("o"), Request{Ops: make([]wire.Op, MaxOps+1)}, wire.EINVAL},
		{head("o"), Request{Flags: flagParallelExec}, wire.EINVAL},
		{head("o"), Request{Ops: []wire.Op{big}}, 0},
		{head("o"), Request{Ops: []wire.Op{big, big}}, wire.EMSGSIZE},
		{head("o"), Request{Ops: []wire.Op{big, setx("a", long(31<<20))}}, wire.EMSGSIZE},
	} {
		if got := Check(c.head, &c.req); got != c.want {
			t.Errorf("%d: %v", i, got)
		}
	}
}

// TestUserVersion: the version that a client sees goes up with its changes,
// whatever the PG's is.
func TestUserVersion(t *testing.T) {
	w := newWorld(t)
	w.op("src", create)
	c := w.fetch(source("src"), nil)
	c.UserVersion = 1000 // of a pool that has seen more
	w.run("o", Request{Ops: []wire.Op{{Code: wire.OpCopyFrom, Source: source("src")}}, Snap: wire.NoSnap, Copies: []*Copied{c}})
	for i, op := range []wire.Op{setx("a", "b"), wr(0, "x"), {Code: wire.OpOmapClear}} {
		w.op("o", op)
		if got := w.load("o").Info.UserVersion; got != 1001+uint64(i) {
			t.Fatal(fmt.Sprint(i, ": ", got))
		}
		if out := w.op("o", wire.Op{Code: wire.OpAssertVer, Num: 1001 + uint64(i)}, rd); out.Result != 0 {
			t.Fatal(out.Result)
		}
	}
}
