package wire

import (
	"encoding/hex"
	"strings"
	"testing"
)

// Bytes put together by hand from the format's description, for what the
// captured messages don't have.
const (
	goldenPG     = "01" + "0300000000000000" + "07000000" + "ffffffff"
	goldenPrefix = "0200000000000000" + "ffff" + "0000000000000000"
	goldenFSID   = "01020300000000000000000000000000"
	goldenObject = "0403" + "23000000" + "01000000" + "6b" + "01000000" + "6f" + "feffffffffffffff" +
		"34120000" + "00" + "00000000" + "0300000000000000"
	goldenAddr = "01" + "0101" + "1c000000" + "02000000" + "07000000" + "10000000" + "0200" + "1a90" + "0a010203" + "0000000000000000"
)

func TestGoldenMessages(t *testing.T) {
	fsid := FSID{1, 2, 3}
	h := HObject{Pool: 3, Hash: 0x1234, Key: "k", Name: "o", Snap: NoSnap}
	for _, c := range []struct {
		m               Message
		version, compat uint16
		front, data     string
	}{
		{&MOSDBackoff{PG: SPGID{PGID{3, 7}, NoShard}, Epoch: 5, Op: BackoffUnblock, ID: 77, Begin: h, End: h}, 1, 1,
			"0101" + "12000000" + goldenPG + "ff" + "05000000" + "03" + "4d00000000000000" + goldenObject + goldenObject, ""},
		{&MAuth{Seen: 2, Protocol: 2, Payload: []byte("p"), MonMapEpoch: 3}, 1, 1,
			goldenPrefix + "02000000" + "01000000" + "70" + "03000000", ""},
		{&MAuthReply{Protocol: 2, Result: -13, GlobalID: 4121, Payload: []byte("p"), Status: "s"}, 1, 1,
			"02000000" + "f3ffffff" + "1910000000000000" + "01000000" + "70" + "01000000" + "73", ""},
		{&MLog{Seen: 2, FSID: fsid, Entries: []LogEntry{{Name: AuthName{EntityClient, "a"}, Rank: EntityName{EntityClient, 5},
			Addrs: []Addr{testAddr(6800)}, Time: 1e9 + 2, Seq: 6, Level: 3, Text: "t", Channel: "c"}}}, 1, 1,
			goldenPrefix + goldenFSID + "01000000" + "0505" + "56000000" + "08000000" + "01000000" + "61" + "08" + "0500000000000000" +
				"02" + "01000000" + goldenAddr + "01000000" + "02000000" + "0600000000000000" + "0300" + "01000000" + "74" + "01000000" + "63", ""},
		{&MLogAck{FSID: fsid, Last: 6, Channel: "c"}, 1, 1, goldenFSID + "0600000000000000" + "01000000" + "63", ""},
		{&MRemoveSnaps{Seen: 2, Snaps: map[int64][]SnapID{3: {4}}}, 1, 1,
			goldenPrefix + "01000000" + "03000000" + "01000000" + "0400000000000000", ""},
		{&MStatfs{Seen: 2, FSID: fsid, HasPool: true, Pool: 3}, 2, 1, goldenPrefix + goldenFSID + "01" + "0300000000000000", ""},
		{&MCommand{FSID: fsid, Cmd: []string{"x"}, Input: []byte("in")}, 1, 1, goldenFSID + "01000000" + "01000000" + "78", "696e"},
		{&MOSDMap{FSID: fsid, Oldest: 1, Newest: 5, GapRemovedSnaps: map[int64][]SnapInterval{3: {{4, 2}}}}, 4, 3,
			goldenFSID + "00000000" + "00000000" + "01000000" + "05000000" + "01000000" + "0300000000000000" + "01000000" +
				"0400000000000000" + "0200000000000000", ""},
	} {
		p, err := EncodeMessage(c.m)
		if err != nil {
			t.Fatal(err)
		}
		if got := hex.EncodeToString(p.Front); got != c.front {
			t.Errorf("%T\n got %s\nwant %s", c.m, got, c.front)
		}
		if got := hex.EncodeToString(p.Data.Bytes()); got != c.data || p.Version != c.version || p.Compat != c.compat {
			t.Errorf("%T: data %s, version %d/%d", c.m, got, p.Version, p.Compat)
		}
	}
}

func TestGoldenOps(t *testing.T) {
	for _, c := range []struct {
		op           Op
		union, input string // the union's end of zeros is left out
	}{
		{Op{Code: OpCopyFrom, Source: &CopySource{Object: "s", Locator: ObjectLocator{Pool: 3, Hash: -1}, Snap: NoSnap, Version: 5, Flags: 1, Advice: 32}},
			"feffffffffffffff" + "0500000000000000" + "01" + "20000000",
			"01000000" + "73" + "0603" + "1c000000" + "0300000000000000" + "ffffffff" + "00000000" + "00000000" + "ffffffffffffffff"},
		{Op{Code: OpWatch, Num: 7, Watch: WatchPing, Gen: 2, Len: 30},
			"0700000000000000" + "0000000000000000" + "07" + "02000000" + "1e", ""},
		{Op{Code: OpRead, Off: 1, Len: 2, Num: 3, Gen: 4},
			"0100000000000000" + "0200000000000000" + "0300000000000000" + "04", ""},
		{Op{Code: OpCmpXattr, Name: "n", Num: 258, CmpOp: CmpGTE, CmpMode: CmpU64},
			"01000000" + "08000000" + "0402", "6e" + "0201000000000000"},
		{Op{Code: OpCall, Name: "lock", Name2: "get", Value: []byte("i")}, "0403" + "00" + "01", "6c6f636b" + "676574" + "69"},
		{Op{Code: OpOmapGetVals, Name: "a", Name2: "p", Num: 5}, "0000000000000000" + "12",
			"01000000" + "61" + "0500000000000000" + "01000000" + "70"},
	} {
		var in, rec Encoder
		in.opInput(&c.op)
		rec.opRecord(&c.op, len(in.B))
		union := c.union + strings.Repeat("0", 2*unionSize-len(c.union))
		if got := hex.EncodeToString(rec.B[6 : 6+unionSize]); got != union {
			t.Errorf("%#x: union\n got %s\nwant %s", c.op.Code, got, union)
		}
		if got := hex.EncodeToString(in.B); got != c.input {
			t.Errorf("%#x: input\n got %s\nwant %s", c.op.Code, got, c.input)
		}
	}
}

func TestGoldenOutput(t *testing.T) {
	h := HObject{Pool: 3, Hash: 0x1234, Key: "k", Name: "o", Snap: NoSnap}
	for _, c := range []struct {
		code OpCode
		r    OpResult
		want string // without Data
	}{
		{OpListWatchers, OpResult{}, "0101" + "04000000" + "00000000"},
		{OpListWatchers, OpResult{Watchers: []Watcher{{EntityName{EntityClient, 5}, 6, 30, testAddr(6800)}}},
			"0101" + "42000000" + "01000000" + "0201" + "38000000" + "08" + "0500000000000000" + "0600000000000000" + "1e000000" + goldenAddr},
		{OpListSnaps, OpResult{Clones: []CloneSnap{{Clone: NoSnap, Size: 9}}, SnapSeq: 4},
			"0201" + "2a000000" + "01000000" + "0101" + "18000000" + "feffffffffffffff" + "00000000" + "00000000" + "0900000000000000" +
				"0400000000000000"},
		{OpSparseRead, OpResult{Extents: []Extent{{8, 2}}, Data: DataOf([]byte("ab"))},
			"01000000" + "0800000000000000" + "0200000000000000" + "02000000"},
		{OpPGNLS, OpResult{Cursor: &h, List: []ListEntry{{"n", "o", ""}}},
			"0101" + "3b000000" + goldenObject + "01000000" + "01000000" + "6e" + "01000000" + "6f" + "00000000"},
	} {
		var e Encoder
		e.opOutput(c.code, &c.r)
		if got := hex.EncodeToString(e.B); got != c.want {
			t.Errorf("%#x\n got %s\nwant %s", c.code, got, c.want)
		}
	}
}

func TestFrameCRC(t *testing.T) {
	p := []byte("123456789")
	if c := FrameCRC(0, p); c != 0x58e3fa20 {
		t.Errorf("seed 0: %08x", c)
	}
	if c := FrameCRC(0xffffffff, p); c != 0x1cf96d7c {
		t.Errorf("seed ffffffff: %08x", c)
	}
	if c := FrameCRC(FrameCRC(0xffffffff, p[:4]), p[4:]); c != 0x1cf96d7c {
		t.Errorf("in two pieces: %08x", c)
	}
	if c := FrameCRC(0xffffffff, nil); c != 0xffffffff {
		t.Errorf("of nothing: %08x", c)
	}
}
