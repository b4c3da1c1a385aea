package wire

import (
	"bytes"
	"encoding/binary"
	"errors"
	"reflect"
	"strings"
	"testing"
)

// testOps has each operation the package knows, no field empty.
func testOps() []Op {
	data := func(s string) Data { return DataOf([]byte(s)) }
	h := HObject{Pool: 3, Hash: 9, Name: "o", Snap: NoSnap}
	return []Op{
		{Code: OpRead, Off: 1, Len: 2, Num: 3, Gen: 4, Flags: OpSequential},
		{Code: OpStat}, {Code: OpListWatchers}, {Code: OpListSnaps}, {Code: OpGetXattrs}, {Code: OpOmapGetHeader},
		{Code: OpSparseRead, Off: 5, Len: 6}, {Code: OpSyncRead, Off: 5, Len: 6},
		{Code: OpNotify, Num: 7, Value: []byte("in")}, {Code: OpNotifyAck, Value: []byte("ack")},
		{Code: OpAssertVer, Num: 8},
		{Code: OpOmapGetKeys, Name: "a", Num: 5}, {Code: OpOmapGetVals, Name: "a", Name2: "p", Num: 5},
		{Code: OpOmapGetValsByKeys, Keys: []string{"k1", "k2"}},
		{Code: OpOmapCmp, OmapCmps: []OmapCmp{{"k", []byte("v"), CmpLT}, {"l", []byte("w"), CmpEQ}}},
		{Code: OpChecksum, Off: 1, Len: 4096, Num: 512, Value: []byte{2, 255, 255, 255, 255}},
		{Code: OpCmpExt, Off: 3, Data: data("cmp")},
		{Code: OpGetXattr, Name: "n"}, {Code: OpRmXattr, Name: "n"}, {Code: OpSetXattr, Name: "n", Value: []byte("v")},
		{Code: OpCmpXattr, Name: "n", Value: []byte("v"), CmpOp: CmpNE, CmpMode: CmpString},
		{Code: OpCmpXattr, Name: "n", Num: 1 << 40, CmpOp: CmpGTE, CmpMode: CmpU64},
		{Code: OpCall, Name: "lock", Name2: "lock", Value: []byte("input")},
		{Code: OpPGNLS, Num: 1024, Gen: 5, Cursor: &h},
		{Code: OpPGNLSFilter, Num: 1024, Gen: 5, Name: "pg", Name2: "filter", Value: []byte("filter, cursor")},
		{Code: OpWrite, Off: 4096, Data: data("write"), Num: 1, Gen: 2},
		{Code: OpWriteFull, Data: data("full")}, {Code: OpAppend, Data: data("append")},
		{Code: OpTruncate, Off: 5}, {Code: OpTrimTrunc, Off: 5, Num: 6, Gen: 7}, {Code: OpUndirty},
		{Code: OpZero, Off: 5, Len: 6}, {Code: OpDelete},
		{Code: OpCreate, Flags: OpExcl}, {Code: OpRollback, Num: 6},
		{Code: OpWatch, Num: 77, Watch: WatchReconnect, Len: 30, Gen: 2},
		{Code: OpOmapSetVals, KVs: []KV{{"k1", []byte("v1")}, {"k2", []byte("v2")}}},
		{Code: OpOmapSetHeader, Value: []byte("h")}, {Code: OpOmapClear},
		{Code: OpOmapRmKeys, Keys: []string{"k"}}, {Code: OpOmapRmKeyRange, Name: "a", Name2: "c"},
		{Code: OpCopyFrom, Source: &CopySource{Object: "src", Locator: ObjectLocator{Pool: 1, Hash: -1}, Snap: NoSnap, Version: 5, Flags: 1, Advice: 32}},
		{Code: OpCopyFrom2, Source: &CopySource{Object: "src", Locator: ObjectLocator{Pool: 1, Hash: 3}, TruncateSeq: 4, TruncateSize: 5}},
		{Code: OpSetAllocHint, Off: 1, Len: 2, Num: 3},
		{Code: OpWriteSame, Off: 1, Len: 8, Data: data("same")},
		{Code: 0x220b, Raw: &[unionSize]byte{1, 2, 3}, Value: []byte("tmap")},
	}
}

func testOSDOp(ops ...Op) *MOSDOp {
	if ops == nil {
		ops = testOps()
	}
	return &MOSDOp{TID: 5, PG: SPGID{PGID{3, 7}, NoShard}, Hash: 0xdeadbeef, Epoch: 9, Flags: FlagWrite | FlagOnDisk,
		ReqID: ReqID{EntityName{EntityClient, 4121}, 5, 1}, MTime: 5e9 + 7, Object: "object",
		Locator: ObjectLocator{Pool: 3, Key: "key", Namespace: "ns", Hash: -1}, Ops: ops,
		Snap: NoSnap, SnapC: SnapContext{9, []SnapID{9, 4}}, Attempt: 2}
}

func recode(t testing.TB, m Message) Message {
	t.Helper()
	p, err := EncodeMessage(m)
	if err != nil {
		t.Fatal(err)
	}
	got, err := DecodeMessage(p)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// flat makes operations comparable: Data become equal when their bytes are.
func flat(ops []Op) []Op {
	out := append([]Op(nil), ops...)
	for i := range out {
		out[i].Data = DataOf(bytes.Clone(out[i].Data.Bytes()))
	}
	return out
}

// TestOps sends each operation alone and all in one vector.
func TestOps(t *testing.T) {
	known := make(map[OpCode]bool)
	for _, op := range testOps() {
		known[op.Code] = true
		m := testOSDOp(op)
		got := recode(t, m).(*MOSDOp)
		if !reflect.DeepEqual(flat(got.Ops), flat(m.Ops)) {
			t.Errorf("%#x\n got %+v\nwant %+v", op.Code, got.Ops, m.Ops)
		}
		if len(got.Records) != recordSize {
			t.Errorf("%#x: records of %d bytes", op.Code, len(got.Records))
		}
	}
	for c := range OpCode(0x3000) {
		if c.form() != formRaw && !known[c] {
			t.Errorf("no test of operation %#x", c)
		}
	}
	m := testOSDOp()
	got := recode(t, m).(*MOSDOp)
	if !reflect.DeepEqual(flat(got.Ops), flat(m.Ops)) {
		t.Errorf("vector\n got %+v\nwant %+v", got.Ops, m.Ops)
	}
	got.Ops, got.Records = m.Ops, nil
	if !reflect.DeepEqual(got, m) {
		t.Errorf("\n got %+v\nwant %+v", got, m)
	}
}

// TestOpsUnsorted checks that keys come in order and once, whatever the
// client sent.
func TestOpsUnsorted(t *testing.T) {
	m := testOSDOp(
		Op{Code: OpOmapSetVals, KVs: []KV{{"b", []byte("1")}, {"a", []byte("2")}, {"b", []byte("3")}}},
		Op{Code: OpOmapRmKeys, Keys: []string{"z", "a", "z"}},
		Op{Code: OpOmapCmp, OmapCmps: []OmapCmp{{Key: "y", Op: CmpEQ}, {Key: "x", Op: CmpGT}, {Key: "y", Op: CmpLT}}})
	got := recode(t, m).(*MOSDOp).Ops
	if want := []KV{{"a", []byte("2")}, {"b", []byte("3")}}; !reflect.DeepEqual(got[0].KVs, want) {
		t.Errorf("%+v", got[0].KVs)
	}
	if want := []string{"a", "z"}; !reflect.DeepEqual(got[1].Keys, want) {
		t.Errorf("%q", got[1].Keys)
	}
	if c := got[2].OmapCmps; len(c) != 2 || c[0].Key != "x" || c[1].Op != CmpLT {
		t.Errorf("%+v", c)
	}
}

// TestMalformedInput damages the input of each operation: the operation
// becomes invalid, its neighbours do not, and encoding gives the same bytes.
func TestMalformedInput(t *testing.T) {
	for _, op := range testOps() {
		p, err := EncodeMessage(testOSDOp(op, Op{Code: OpStat}))
		if err != nil {
			t.Fatal(err)
		}
		n := p.Data.Len()
		if n == 0 {
			continue
		}
		at := bytes.Index(p.Front, append([]byte("object"), 2, 0)) + 8
		binary.LittleEndian.PutUint32(p.Front[at+recordSize-4:], uint32(n-1))
		p.Data = p.Data.Slice(0, n-1)
		m, err := DecodeMessage(p)
		if err != nil {
			t.Fatalf("%#x: %v", op.Code, err)
		}
		got := m.(*MOSDOp).Ops
		if got[1].Code != OpStat {
			t.Errorf("%#x: its neighbour is %+v", op.Code, got[1])
		}
		switch op.Code {
		case OpNotify, OpNotifyAck, OpOmapSetHeader, OpChecksum, OpGetXattrs, OpPGNLSFilter, 0x220b: // any bytes will do
			if got[0].Code != op.Code {
				t.Errorf("%#x: %+v", op.Code, got[0])
			}
		default:
			if got[0].Code != OpInvalid || got[0].Num != uint64(op.Code) || got[0].Code.Writes() {
				t.Errorf("%#x: %+v", op.Code, got[0])
			}
			again, _ := EncodeMessage(m)
			if !bytes.Equal(again.Front, p.Front) || !bytes.Equal(again.Data.Bytes(), p.Data.Bytes()) {
				t.Errorf("%#x: not the same bytes again", op.Code)
			}
		}
	}
}

// TestPayloadByReference checks that payloads are not copied on either way,
// and that the references come out even.
func TestPayloadByReference(t *testing.T) {
	arena := NewArena(true)
	buf := arena.NewBuf(3 * BlockSize)
	var d Data
	d.Append(buf, BlockSize, BlockSize)
	m := testOSDOp(Op{Code: OpSetXattr, Name: "n", Value: []byte("v")}, Op{Code: OpWrite, Data: d},
		Op{Code: OpOmapSetHeader, Value: []byte("h")}, Op{Code: OpAppend, Data: d})
	p, err := EncodeMessage(m)
	if err != nil {
		t.Fatal(err)
	}
	if p.Data.NumSegs() != 4 || &p.Data.Seg(1).Bytes()[0] != &buf.Bytes()[BlockSize] {
		t.Fatalf("encoded to %d segments", p.Data.NumSegs())
	}
	got, err := DecodeMessage(p)
	if err != nil {
		t.Fatal(err)
	}
	op := got.(*MOSDOp)
	for _, i := range []int{1, 3} {
		if x := op.Ops[i].Data; x.Len() != BlockSize || &x.Seg(0).Bytes()[0] != &buf.Bytes()[BlockSize] {
			t.Errorf("operation %d copied its payload", i)
		}
	}
	p.Data.Release()
	op.Release()
	if arena.InUse() == 0 {
		t.Error("the sender's reference is gone")
	}
	d.Release()
	if n := arena.InUse(); n != 0 {
		t.Errorf("%d bytes in use at the end", n)
	}
}

// testReply answers one operation of each kind that has output.
func testReply() *MOSDOpReply {
	h := HObject{Pool: 3, Hash: 9, Snap: NoSnap}
	kvs := []KV{{"k1", []byte("v1")}, {"k2", nil}}
	cases := []struct {
		code OpCode
		r    OpResult
	}{
		{OpRead, OpResult{Data: DataOf([]byte("read"))}},
		{OpStat, OpResult{Size: 5, MTime: 6e9}},
		{OpSparseRead, OpResult{Extents: []Extent{{0, 2}, {8, 2}}, Data: DataOf([]byte("abcd"))}},
		{OpGetXattr, OpResult{Value: []byte("v")}},
		{OpGetXattrs, OpResult{KVs: kvs}},
		{OpOmapGetVals, OpResult{KVs: kvs, More: true}},
		{OpOmapGetValsByKeys, OpResult{KVs: kvs}},
		{OpOmapGetKeys, OpResult{Keys: []string{"a", "b"}, More: true}},
		{OpOmapGetHeader, OpResult{Value: []byte("h")}},
		{OpListSnaps, OpResult{Clones: []CloneSnap{{Clone: 3, Snaps: []SnapID{2, 3}, Overlap: []Extent{{0, 4}}, Size: 8},
			{Clone: NoSnap, Size: 9}}, SnapSeq: 4}},
		{OpListWatchers, OpResult{Watchers: []Watcher{{EntityName{EntityClient, 5}, 6, 30, testAddr(0)}}}},
		{OpPGNLS, OpResult{Cursor: &h, List: []ListEntry{{"ns", "o", "k"}, {"", "p", ""}}}},
		{OpChecksum, OpResult{Value: []byte{1, 0, 0, 0, 9, 9, 9, 9}}},
		{OpCall, OpResult{Rval: 5, Value: []byte("out")}},
	}
	m := &MOSDOpReply{TID: 5, Object: "o", PG: PGID{3, 7}, Flags: FlagOnDisk | FlagReturnVec, Epoch: 9, Attempt: 1,
		Version: EVersion{9, 8}, UserVersion: 7}
	var e Encoder
	for i := range cases {
		e.opRecord(&Op{Code: cases[i].code}, 0)
		m.Results = append(m.Results, cases[i].r)
	}
	m.Records = e.B
	return m
}

func flatResults(rs []OpResult) []OpResult {
	out := append([]OpResult(nil), rs...)
	for i := range out {
		out[i].Data = DataOf(bytes.Clone(out[i].Data.Bytes()))
		for k := range out[i].KVs {
			if len(out[i].KVs[k].Value) == 0 {
				out[i].KVs[k].Value = nil
			}
		}
	}
	return out
}

func TestReply(t *testing.T) {
	m := testReply()
	got := recode(t, m).(*MOSDOpReply)
	if g, w := flatResults(got.Results), flatResults(m.Results); !reflect.DeepEqual(g, w) {
		for i := range g {
			if !reflect.DeepEqual(g[i], w[i]) {
				t.Errorf("result %d\n got %+v\nwant %+v", i, g[i], w[i])
			}
		}
	}
	if len(got.Records) != len(m.Records) {
		t.Errorf("records of %d bytes", len(got.Records))
	}
	got.Results, got.Records = m.Results, m.Records
	if !reflect.DeepEqual(got, m) {
		t.Errorf("\n got %+v\nwant %+v", got, m)
	}
	m.Records = m.Records[recordSize:]
	if _, err := EncodeMessage(m); ErrnoOf(err) != EINVAL || !strings.Contains(err.Error(), "records") {
		t.Errorf("a reply that lacks a record: %v", err)
	}
}

// TestReplyOutput checks which operations of a vector have output at all.
func TestReplyOutput(t *testing.T) {
	stat, failing, written := OpResult{Size: 5}, OpResult{Rval: -2}, EVersion{3, 4}
	for _, c := range []struct {
		name string
		m    MOSDOpReply
		ops  []Op
		want int // bytes of data
	}{
		{"read", MOSDOpReply{Results: []OpResult{stat, stat}}, []Op{{Code: OpStat}, {Code: OpStat}}, 32},
		{"refused", MOSDOpReply{Result: -2, Results: []OpResult{{}, {}}}, []Op{{Code: OpStat}, {Code: OpOmapGetKeys}}, 0},
		{"no results", MOSDOpReply{Result: -2}, []Op{{Code: OpStat}}, 0},
		{"stopped", MOSDOpReply{Result: -2, Results: []OpResult{stat, failing, {}}},
			[]Op{{Code: OpStat}, {Code: OpStat}, {Code: OpStat}}, 16},
		{"failed and went on", MOSDOpReply{Results: []OpResult{failing, stat}},
			[]Op{{Code: OpStat, Flags: OpFailOK}, {Code: OpStat}}, 16},
		{"write", MOSDOpReply{Version: written, Results: []OpResult{stat, {}}}, []Op{{Code: OpStat}, {Code: OpCreate}}, 0},
		{"write with output", MOSDOpReply{Version: written, Flags: FlagReturnVec, Results: []OpResult{stat, {}}},
			[]Op{{Code: OpStat}, {Code: OpCreate}}, 16},
		{"write of nothing", MOSDOpReply{Results: []OpResult{stat, {}}}, []Op{{Code: OpStat}, {Code: OpCreate}}, 16},
	} {
		var e Encoder
		for i := range c.ops {
			e.opRecord(&c.ops[i], 0)
		}
		c.m.Records = e.B
		p, err := EncodeMessage(&c.m)
		if err != nil || p.Data.Len() != c.want {
			t.Errorf("%s: %d bytes of data, want %d (%v)", c.name, p.Data.Len(), c.want, err)
		}
		if got, err := DecodeMessage(p); err != nil || len(got.(*MOSDOpReply).Results) != len(c.ops) {
			t.Errorf("%s: %+v, %v", c.name, got, err)
		}
	}
}

// TestMalformedOutput damages the output of each operation: an I/O error.
func TestMalformedOutput(t *testing.T) {
	all := testReply()
	for i := range all.Results {
		m := *all
		m.Records = all.Records[i*recordSize : (i+1)*recordSize]
		m.Results = all.Results[i : i+1]
		p, err := EncodeMessage(&m)
		if err != nil {
			t.Fatal(err)
		}
		code, n := recordCode(m.Records), p.Data.Len()
		at := 4 + len(m.Object) + PGIDSize + 8 + 4 + 12 + 4 + 4
		binary.LittleEndian.PutUint32(p.Front[at+recordSize-4:], uint32(n-1))
		p.Data = p.Data.Slice(0, n-1)
		msg, err := DecodeMessage(p)
		if err != nil {
			t.Fatal(err)
		}
		got := msg.(*MOSDOpReply)
		switch code {
		case OpRead, OpGetXattr, OpOmapGetHeader, OpChecksum, OpCall: // any bytes will do
			if got.Result != 0 || got.Results[0].Rval < 0 {
				t.Errorf("%#x: %+v", code, got)
			}
		default:
			if got.Result != -int32(EIO) || got.Results[0].Rval != -int32(EIO) {
				t.Errorf("%#x: %+v", code, got)
			}
		}
	}
}

func TestRedirectRefused(t *testing.T) {
	p, _ := EncodeMessage(&MOSDOpReply{})
	p.Front[len(p.Front)-traceSize-1] = 1
	if _, err := DecodeMessage(p); !errors.Is(err, ErrFormat) {
		t.Errorf("%v", err)
	}
}
