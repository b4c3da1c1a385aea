package objop

import (
	"encoding/binary"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/spirula/spirula/osd/store/storetest"
	"github.com/spirula/spirula/rados/wire"
)

// world runs vectors on a model store.
type world struct {
	t   testing.TB
	m   *storetest.Model
	ver uint64
}

func newWorld(t testing.TB) *world {
	m := storetest.NewModel(storetest.ModelOptions{Inline: true})
	t.Cleanup(func() { m.Close() })
	return &world{t: t, m: m}
}

func head(name string) wire.HObject {
	return wire.HObject{Pool: 1, Hash: 7, Name: name, Snap: wire.NoSnap}
}

func (w *world) load(name string) Object {
	w.t.Helper()
	o, err := Load(w.m, head(name), wire.NoShard)
	if err != nil {
		w.t.Fatal(err)
	}
	return o
}

// sameAddr compares addresses, which cmp can't look into.
var sameAddr = cmp.Comparer(func(a, b wire.Addr) bool { return a == b })

// apply queues an outcome as the OSD does, and checks that what it says of
// the object is what a load finds.
func (w *world) apply(name string, out *Outcome) {
	w.t.Helper()
	if !out.Changed {
		return
	}
	w.ver++
	out.Finish(wire.EVersion{Epoch: 1, Version: w.ver}, w.ver, wire.ReqID{TID: w.ver}, wire.Time(w.ver))
	if err := w.m.Queue(nil, &out.Txn, nil); err != nil {
		w.t.Fatalf("queue: %v", err)
	}
	out.Release()
	if diff := cmp.Diff(w.load(name), out.Object, sameAddr); diff != "" {
		w.t.Fatalf("%s: stored (-), kept (+):\n%s", name, diff)
	}
}

func (w *world) run(name string, req Request) *Outcome {
	w.t.Helper()
	if e := Check(head(name), &req); e != 0 {
		return &Outcome{Result: -int32(e), Results: make([]wire.OpResult, len(req.Ops))}
	}
	was := w.load(name)
	out := Run(w.m, &was, &req, nil)
	if out.Result < 0 && out.Changed {
		w.t.Fatalf("%s: failed with %d and changed", name, out.Result)
	}
	w.apply(name, out)
	return out
}

func (w *world) op(name string, ops ...wire.Op) *Outcome {
	w.t.Helper()
	return w.run(name, Request{Ops: ops, Snap: wire.NoSnap})
}

func (w *world) vec(name string, ops ...wire.Op) *Outcome {
	w.t.Helper()
	return w.run(name, Request{Ops: ops, Snap: wire.NoSnap, Flags: wire.FlagReturnVec})
}

// text is the object's data, "-" if it is not there.
func (w *world) text(name string, snap wire.SnapID) string {
	w.t.Helper()
	out := w.run(name, Request{Ops: []wire.Op{{Code: wire.OpRead}}, Snap: snap})
	if out.Result == -2 {
		return "-"
	}
	if out.Result != 0 {
		w.t.Fatalf("read %s: %d", name, out.Result)
	}
	return string(out.Results[0].Data.Bytes())
}

func str(s string) wire.Data { return wire.DataOf([]byte(s)) }

func wr(off uint64, s string) wire.Op { return wire.Op{Code: wire.OpWrite, Off: off, Data: str(s)} }
func full(s string) wire.Op           { return wire.Op{Code: wire.OpWriteFull, Data: str(s)} }
func setx(n, v string) wire.Op        { return wire.Op{Code: wire.OpSetXattr, Name: n, Value: []byte(v)} }
func getx(n string) wire.Op           { return wire.Op{Code: wire.OpGetXattr, Name: n} }
func cmpU(n string, op wire.CmpOp, v uint64) wire.Op {
	return wire.Op{Code: wire.OpCmpXattr, Name: n, CmpOp: op, CmpMode: wire.CmpU64, Num: v}
}
func cmpS(n string, op wire.CmpOp, v string) wire.Op {
	return wire.Op{Code: wire.OpCmpXattr, Name: n, CmpOp: op, CmpMode: wire.CmpString, Value: []byte(v)}
}
func omapSet(k, v string) wire.Op {
	return wire.Op{Code: wire.OpOmapSetVals, KVs: []wire.KV{{Key: k, Value: []byte(v)}}}
}
func omapCmp(k string, op wire.CmpOp, v string) wire.Op {
	return wire.Op{Code: wire.OpOmapCmp, OmapCmps: []wire.OmapCmp{{Key: k, Value: []byte(v), Op: op}}}
}
func code(c wire.OpCode) wire.Op { return wire.Op{Code: c} }
func failOK(op wire.Op) wire.Op  { op.Flags |= wire.OpFailOK; return op }

var (
	create     = wire.Op{Code: wire.OpCreate}
	createExcl = wire.Op{Code: wire.OpCreate, Flags: wire.OpExcl}
	del        = wire.Op{Code: wire.OpDelete}
	rd         = wire.Op{Code: wire.OpRead}
	stat       = wire.Op{Code: wire.OpStat}
)

// TestFacts is what was seen of Ceph 16.2's answers: each vector on an object
// made by init, or a missing one.
func TestFacts(t *testing.T) {
	exists := []wire.Op{wr(0, "data"), setx("e", "5"), omapSet("k", "v")}
	for i, c := range []struct {
		init []wire.Op
		ops  []wire.Op
		want int32
	}{
		// Comparison is given OP stored.
		{exists, []wire.Op{cmpU("e", wire.CmpGT, 6)}, 1},
		{exists, []wire.Op{cmpU("e", wire.CmpGT, 5)}, -125},
		{exists, []wire.Op{cmpU("e", wire.CmpGT, 4)}, -125},
		{exists, []wire.Op{cmpU("e", wire.CmpGTE, 5)}, 1},
		{exists, []wire.Op{cmpU("e", wire.CmpGTE, 4)}, -125},
		{exists, []wire.Op{cmpU("e", wire.CmpLT, 4)}, 1},
		{exists, []wire.Op{cmpU("e", wire.CmpLTE, 5)}, 1},
		{exists, []wire.Op{cmpU("e", wire.CmpNE, 5)}, -125},
		{exists, []wire.Op{cmpS("e", wire.CmpEQ, "5")}, 1},
		{exists, []wire.Op{cmpS("e", wire.CmpGT, "6")}, 1},
		{exists, []wire.Op{cmpS("e", wire.CmpLT, "10")}, 1},
		{exists, []wire.Op{cmpU("none", wire.CmpEQ, 0)}, 1},
		{exists, []wire.Op{cmpS("none", wire.CmpEQ, "")}, 1},
		{exists, []wire.Op{{Code: wire.OpCmpXattr, Name: "e", CmpMode: wire.CmpU64, CmpOp: 9}}, -22},
		// A match is a result of 1, until an operation sets another one.
		{exists, []wire.Op{cmpU("e", wire.CmpEQ, 5), rd}, 0},
		{exists, []wire.Op{cmpU("e", wire.CmpEQ, 5), stat}, 1},
		{exists, []wire.Op{cmpU("e", wire.CmpEQ, 5), {Code: wire.OpOmapGetKeys, Num: 5}}, 1},
		{exists, []wire.Op{cmpU("e", wire.CmpEQ, 5), stat, rd}, 0},
		{exists, []wire.Op{rd, cmpU("e", wire.CmpEQ, 5)}, 1},
		{exists, []wire.Op{cmpU("e", wire.CmpEQ, 5), code(wire.OpGetXattrs)}, 0},
		{exists, []wire.Op{cmpU("e", wire.CmpEQ, 5), {Code: wire.OpCmpExt, Data: str("data")}}, 0},
		{exists, []wire.Op{cmpU("e", wire.CmpEQ, 5), setx("f", "1")}, 0},
		// A missing object is ENOENT, a CREATE before or after changes nothing.
		{nil, []wire.Op{cmpU("e", wire.CmpGTE, 9)}, -2},
		{nil, []wire.Op{create, cmpU("e", wire.CmpGTE, 9)}, -2},
		{nil, []wire.Op{cmpU("e", wire.CmpGTE, 9), create}, -2},
		{nil, []wire.Op{create, cmpS("e", wire.CmpEQ, ""), setx("e", "1")}, -2},
		// A comparison sees the state before the vector.
		{exists, []wire.Op{setx("e", "9"), cmpU("e", wire.CmpEQ, 5)}, 0},
		{exists, []wire.Op{setx("e", "9"), cmpU("e", wire.CmpEQ, 9)}, -125},
		{exists, []wire.Op{wr(0, "x"), setx("a", "b"), omapSet("k", "w"), cmpU("e", wire.CmpEQ, 6)}, -125},
		// Floors.
		{exists, []wire.Op{cmpU("e", wire.CmpGTE, 8), setx("e", "8"), omapSet("k", "w")}, 0},
		{exists, []wire.Op{createExcl, setx("e", "8")}, -17},
		{nil, []wire.Op{create, omapCmp("floor", wire.CmpLT, "09"), omapSet("floor", "08")}, 0},
		{exists, []wire.Op{create, omapCmp("floor", wire.CmpLT, "09"), omapSet("floor", "08")}, 0},
		{[]wire.Op{omapSet("floor", "08")}, []wire.Op{create, omapCmp("floor", wire.CmpLT, "07")}, -125},
		{nil, []wire.Op{omapCmp("floor", wire.CmpLT, "09"), omapSet("floor", "08")}, -2},
		{exists, []wire.Op{omapCmp("k", wire.CmpEQ, "v")}, 0},
		{exists, []wire.Op{omapCmp("k", wire.CmpGT, "u")}, 0},
		{exists, []wire.Op{omapCmp("k", wire.CmpGTE, "u")}, -22},
		// CREATE exclusive.
		{nil, []wire.Op{createExcl, wr(0, "x"), setx("a", "b")}, 0},
		{exists, []wire.Op{createExcl, wr(0, "x"), setx("a", "b")}, -17},
		{nil, []wire.Op{wr(0, "x"), createExcl}, -17},
		{exists, []wire.Op{del, createExcl, wr(0, "x")}, 0},
		// FAILOK.
		{exists, []wire.Op{getx("b"), rd}, -61},
		{exists, []wire.Op{failOK(getx("b")), rd}, 0},
		{nil, []wire.Op{failOK(getx("b")), rd}, -2},
		// Limits.
		{nil, []wire.Op{setx(string(make([]byte, 100)), "v")}, 0},
		{nil, []wire.Op{setx(string(make([]byte, 101)), "v")}, -36},
		{nil, []wire.Op{setx("a", string(make([]byte, 64<<10+1)))}, -7},
		{nil, []wire.Op{wr(128<<20, "x")}, -27},
		{exists, []wire.Op{{Code: wire.OpTruncate, Off: 128 << 20}}, -27},
		{exists, []wire.Op{{Code: wire.OpTruncate, Off: 128<<20 - 1}}, 0},
		{exists, []wire.Op{{Code: wire.OpZero, Off: 1, Len: 128 << 20}}, -27},
		{exists, []wire.Op{{Code: wire.OpZero, Off: 1<<64 - 1, Len: 1 << 63}}, -27},
		// The rest of the table of operations.
		{nil, []wire.Op{del}, -2},
		{nil, []wire.Op{code(wire.OpOmapClear)}, -2},
		{nil, []wire.Op{{Code: wire.OpOmapRmKeys, Keys: []string{"k"}}}, -2},
		{exists, []wire.Op{{Code: wire.OpOmapRmKeys, Keys: []string{"none"}}}, 0},
		{nil, []wire.Op{{Code: wire.OpTruncate, Off: 5}}, 0},
		{nil, []wire.Op{{Code: wire.OpZero, Off: 5, Len: 3}}, 0},
		{exists, []wire.Op{{Code: wire.OpRmXattr, Name: "none"}}, 0},
		{exists, []wire.Op{{Code: wire.OpRmXattr, Name: "e"}}, 0},
		{nil, []wire.Op{{Code: wire.OpRmXattr, Name: "e"}}, -2},
		{exists, []wire.Op{{Code: wire.OpAssertVer, Num: 0}}, -22},
		{exists, []wire.Op{{Code: wire.OpAssertVer, Num: 1}}, 0},
		{exists, []wire.Op{{Code: wire.OpAssertVer, Num: 2}}, -75},
		{exists, []wire.Op{{Code: wire.OpWriteSame, Len: 5, Data: str("ab")}}, -22},
		{exists, []wire.Op{{Code: wire.OpCmpExt, Data: str("data")}}, 0},
		{exists, []wire.Op{{Code: wire.OpCmpExt, Data: str("daxa")}}, -4097},
		{exists, []wire.Op{{Code: wire.OpCmpExt, Off: 2, Data: str("ta\x00\x01")}}, -4098},
		{exists, []wire.Op{code(wire.OpCall)}, -95},
		{exists, []wire.Op{{Code: wire.OpRollback}}, -22},
		{exists, []wire.Op{code(wire.OpCopyFrom)}, -22},
		{nil, []wire.Op{{Code: wire.OpSetAllocHint, Off: 1}}, 0},
		{nil, []wire.Op{stat}, -2},
		{exists, []wire.Op{{Code: wire.OpRead, Off: 100}}, 0},
	} {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			w := newWorld(t)
			if c.init != nil && w.op("o", c.init...).Result != 0 {
				t.Fatal("init failed")
			}
			before := w.m.Clone()
			out := w.op("o", c.ops...)
			if out.Result != c.want {
				t.Fatalf("result %d, want %d", out.Result, c.want)
			}
			if out.Result < 0 {
				if b, _ := Load(before, head("o"), wire.NoShard); cmp.Diff(b, w.load("o")) != "" {
					t.Fatal("a failed vector left something")
				}
			}
		})
	}
}

func TestParseU64(t *testing.T) {
	for in, want := range map[string]uint64{"5": 5, "005": 5, " 5": 5, "5\n": 5, "5abc": 5, "": 0, "abc": 0, "0x5": 0,
		"\x05\x00\x00\x00\x00\x00\x00\x00": 0, "-5": 1<<64 - 5, "99999999999999999999999": 1<<64 - 1,
		"18446744073709551615": 1<<64 - 1, "18446744073709551616": 1<<64 - 1, "+7": 7} {
		if got := parseU64([]byte(in)); got != want {
			t.Errorf("%q: %d, want %d", in, got, want)
		}
	}
}

func TestReturnVec(t *testing.T) {
	w := newWorld(t)
	w.op("o", wr(0, "old"), setx("e", "5"), omapSet("k", "v"))
	if out := w.op("o", setx("e", "6"), getx("e")); out.Result != 0 || out.Results[1].Value != nil {
		t.Fatalf("outputs without the flag: %d %+v", out.Result, out.Results)
	}
	out := w.vec("o", setx("e", "7"), getx("e"), wr(0, "newer"), rd, stat, omapSet("k", "w"),
		wire.Op{Code: wire.OpOmapGetVals, Num: 5})
	r := out.Results
	if out.Result != 0 || string(r[1].Value) != "6" || string(r[3].Data.Bytes()) != "old" || r[4].Size != 5 ||
		len(r[6].KVs) != 1 || string(r[6].KVs[0].Value) != "v" {
		t.Fatalf("%d %+v", out.Result, r)
	}
	if out := w.vec("o", setx("fresh", "7"), getx("fresh")); out.Result != -61 {
		t.Fatalf("xattr new in the vector: %d", out.Result)
	}
	if out := w.vec("n", setx("fresh", "7"), getx("fresh")); out.Result != -2 {
		t.Fatalf("object new in the vector: %d", out.Result)
	}
	if out := w.vec("o", setx("fresh", "7"), failOK(getx("fresh"))); out.Result != 0 {
		t.Fatalf("fail ok: %d", out.Result)
	}
	w.op("o", setx("a", string(make([]byte, 64))), setx("b", string(make([]byte, 65))))
	if out := w.vec("o", setx("z", "1"), getx("a"), getx("a"), getx("a")); out.Result != 0 {
		t.Fatalf("64 bytes each: %d", out.Result)
	}
	if out := w.vec("o", wr(0, "twenty bytes of data"), getx("b")); out.Result != -75 {
		t.Fatalf("65 bytes: %d", out.Result)
	}
	if got := w.text("o", wire.NoSnap); got != "newer" {
		t.Fatalf("after the refused vector: %q", got)
	}
	if out := w.op("o", stat); out.Results[0].Size != 5 {
		t.Fatalf("size after the refused vector: %d", out.Results[0].Size)
	}
	w.op("o", setx("floor", "5"))
	bad := w.op("o", getx("floor"), cmpU("floor", wire.CmpGT, 3), setx("floor", "3"))
	if bad.Result != -125 || string(bad.Results[0].Value) != "5" {
		t.Fatalf("an error keeps earlier outputs: %d %+v", bad.Result, bad.Results)
	}
}

func TestOmapLimit(t *testing.T) {
	w := newWorld(t)
	var kvs []wire.KV
	var keys []string
	for i := range 3000 {
		keys = append(keys, fmt.Sprintf("k%05d", i))
		kvs = append(kvs, wire.KV{Key: keys[i], Value: []byte("v")})
	}
	w.op("o", wire.Op{Code: wire.OpOmapSetVals, KVs: kvs})
	out := w.op("o", wire.Op{Code: wire.OpOmapGetKeys, Num: 5000}, wire.Op{Code: wire.OpOmapGetVals, Num: 5000, Name: "k01023"},
		wire.Op{Code: wire.OpOmapGetValsByKeys, Keys: keys}, wire.Op{Code: wire.OpOmapGetVals, Num: 9, Name2: "k0000"})
	r := out.Results
	if len(r[0].Keys) != 1024 || !r[0].More || len(r[1].KVs) != 1024 || r[1].KVs[0].Key != "k01024" || len(r[2].KVs) != 3000 {
		t.Fatalf("%d %v, %d, %d", len(r[0].Keys), r[0].More, len(r[1].KVs), len(r[2].KVs))
	}
	if len(r[3].KVs) != 9 || !r[3].More {
		t.Fatalf("prefix: %d %v", len(r[3].KVs), r[3].More)
	}
	w.op("o", wire.Op{Code: wire.OpOmapRmKeyRange, Name: "k00001", Name2: "k02999"})
	if got := w.op("o", wire.Op{Code: wire.OpOmapGetKeys, Num: 9}).Results[0].Keys; cmp.Diff(got, []string{"k00000", "k02999"}) != "" {
		t.Fatalf("after the range: %v", got)
	}
}

func TestZeroTruncates(t *testing.T) {
	w := newWorld(t)
	w.op("o", full("0123456789"))
	w.op("o", wire.Op{Code: wire.OpZero, Off: 2, Len: 2})
	w.op("o", wire.Op{Code: wire.OpZero, Off: 20, Len: 2})
	if got := w.text("o", wire.NoSnap); got != "01\x00\x00456789" {
		t.Fatalf("%q", got)
	}
	w.op("o", wire.Op{Code: wire.OpZero, Off: 6, Len: 100})
	if got := w.text("o", wire.NoSnap); got != "01\x00\x0045" {
		t.Fatalf("%q", got)
	}
}

func TestWriteSame(t *testing.T) {
	w := newWorld(t)
	for _, n := range []int{2, 4096, 3 << 19} {
		pattern := make([]byte, n)
		for i := range pattern {
			pattern[i] = byte(i * 7)
		}
		total := 4 * n
		if n == 2 {
			total = 3 << 20
		}
		if out := w.op("o", wire.Op{Code: wire.OpWriteSame, Off: 3, Len: uint64(total), Data: wire.DataOf(pattern)}); out.Result != 0 {
			t.Fatal(out.Result)
		}
		got := w.text("o", wire.NoSnap)[3:]
		for i := range total {
			if got[i] != pattern[i%n] {
				t.Fatalf("pattern of %d: byte %d", n, i)
			}
		}
	}
}

func TestChecksum(t *testing.T) {
	w := newWorld(t)
	w.op("o", full("123456789"))
	sum := func(typ byte, init []byte, off, n, chunk uint64) *wire.OpResult {
		return &w.op("o", wire.Op{Code: wire.OpChecksum, Off: off, Len: n, Num: chunk, Value: append([]byte{typ}, init...)}).Results[0]
	}
	// CRC-32C of "123456789" is e3069283 with both inversions; Ceph's has neither.
	r := sum(2, []byte{255, 255, 255, 255}, 0, 9, 0)
	if len(r.Value) != 8 || binary.LittleEndian.Uint32(r.Value) != 1 || binary.LittleEndian.Uint32(r.Value[4:]) != ^uint32(0xe3069283) {
		t.Fatalf("crc32c %x", r.Value)
	}
	if r := sum(2, make([]byte, 4), 0, 8, 4); binary.LittleEndian.Uint32(r.Value) != 2 || len(r.Value) != 12 {
		t.Fatalf("two chunks: %x", r.Value)
	}
	if r := sum(2, make([]byte, 4), 0, 9, 4); r.Rval != -22 {
		t.Fatalf("length not of whole chunks: %d", r.Rval)
	}
	if got := xxHash32(0, []byte("123456789")); got != 0x937bad67 {
		t.Errorf("xxh32 %x", got)
	}
	if got := xxHash64(0, []byte("123456789")); got != 0x8cb841db40e6ae83 {
		t.Errorf("xxh64 %x", got)
	}
	if got := xxHash32(0, nil); got != 0x02cc5d05 {
		t.Errorf("xxh32 of nothing %x", got)
	}
	if got := xxHash64(0, nil); got != 0xef46db3751d8e999 {
		t.Errorf("xxh64 of nothing %x", got)
	}
	long := "Nobody inspects the spammish repetition"
	if got := xxHash32(0, []byte(long)); got != 0xe2293b2f {
		t.Errorf("xxh32 long %x", got)
	}
	if got := xxHash64(0, []byte(long)); got != 0xfbcea83c8a378bf1 {
		t.Errorf("xxh64 long %x", got)
	}
}

func TestSparseRead(t *testing.T) {
	w := newWorld(t)
	w.op("o", full("0123456789"))
	r := w.op("o", wire.Op{Code: wire.OpSparseRead, Off: 3, Len: 4}).Results[0]
	if cmp.Diff(r.Extents, []wire.Extent{{Off: 3, Len: 4}}) != "" || string(r.Data.Bytes()) != "3456" {
		t.Fatalf("%+v", r)
	}
}

func TestXattrNames(t *testing.T) {
	w := newWorld(t)
	w.run("o", Request{Ops: []wire.Op{setx("b", "1"), setx("a", "2"), setx("s", "3"), setx("ss", "4")}, Snap: wire.NoSnap,
		SnapC: wire.SnapContext{Seq: 3, Snaps: []wire.SnapID{3}}})
	got := w.op("o", code(wire.OpGetXattrs)).Results[0].KVs
	want := []wire.KV{{Key: "a", Value: []byte("2")}, {Key: "b", Value: []byte("1")}, {Key: "s", Value: []byte("3")}, {Key: "ss", Value: []byte("4")}}
	if diff := cmp.Diff(got, want); diff != "" {
		t.Fatal(diff)
	}
}
