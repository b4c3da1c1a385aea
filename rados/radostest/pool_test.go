package radostest

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/spirula/spirula/rados"
	"github.com/spirula/spirula/rados/wire"
)

var ctx = context.Background()

func do(t *testing.T, d rados.Doer, op *rados.Op, want int32) *rados.Reply {
	t.Helper()
	reply, err := d.Do(ctx, op)
	if reply == nil {
		t.Fatalf("no reply: %v", err)
	}
	if reply.Result != want {
		t.Fatalf("result %d, want %d (%v)", reply.Result, want, err)
	}
	if (err != nil) != (want < 0) || want < 0 && wire.ErrnoOf(err) != wire.Errno(-want) {
		t.Fatalf("result %d with error %v", want, err)
	}
	return reply
}

func vec(name string, ops ...wire.Op) *rados.Op { return &rados.Op{Object: name, Ops: ops} }

func create(f wire.OpFlag) wire.Op { return wire.Op{Code: wire.OpCreate, Flags: f} }

func write(off uint64, s string) wire.Op {
	return wire.Op{Code: wire.OpWrite, Off: off, Data: wire.DataOf([]byte(s))}
}

func setx(n, v string) wire.Op {
	return wire.Op{Code: wire.OpSetXattr, Name: n, Value: []byte(v)}
}

func cmpx(n string, o wire.CmpOp, v uint64) wire.Op {
	return wire.Op{Code: wire.OpCmpXattr, Name: n, CmpOp: o, CmpMode: wire.CmpU64, Num: v}
}

func read(t *testing.T, d rados.Doer, name string, snap wire.SnapID) string {
	t.Helper()
	op := vec(name, wire.Op{Code: wire.OpRead})
	op.Snap = snap
	r, err := d.Do(ctx, op)
	if wire.ErrnoOf(err) == wire.ENOENT {
		return "-"
	}
	if err != nil {
		t.Fatal(err)
	}
	defer r.Release()
	return string(r.Results[0].Data.AppendTo(nil))
}

func TestVectors(t *testing.T) {
	const noent, exist, cancel = -2, -17, -125
	type step struct {
		ops  []wire.Op
		want int32
	}
	tests := []struct {
		name  string
		steps []step
		data  string
	}{
		{"create exclusive", []step{
			{[]wire.Op{create(wire.OpExcl), write(0, "a"), setx("e", "1")}, 0},
			{[]wire.Op{create(wire.OpExcl), write(0, "b")}, exist}}, "a"},
		{"write then create exclusive", []step{{[]wire.Op{write(0, "a"), create(wire.OpExcl)}, exist}}, "-"},
		{"remove, create exclusive, write", []step{{[]wire.Op{write(0, "abc")}, 0},
			{[]wire.Op{{Code: wire.OpDelete}, create(wire.OpExcl), write(0, "n")}, 0}}, "n"},
		{"compare on a missing object", []step{{[]wire.Op{create(0), cmpx("e", wire.CmpGTE, 5)}, noent},
			{[]wire.Op{cmpx("e", wire.CmpGTE, 5), create(0)}, noent}}, "-"},
		{"missing attribute counts 0", []step{{[]wire.Op{create(0)}, 0},
			{[]wire.Op{cmpx("e", wire.CmpGTE, 0), write(0, "x")}, 0}}, "x"},
		{"direction", []step{{[]wire.Op{setx("e", "5"), write(0, "o")}, 0},
			{[]wire.Op{cmpx("e", wire.CmpGT, 5), write(0, "n")}, cancel},
			{[]wire.Op{cmpx("e", wire.CmpLT, 4)}, 1},
			{[]wire.Op{cmpx("e", wire.CmpGTE, 4)}, cancel},
			{[]wire.Op{cmpx("e", wire.CmpGTE, 5), setx("e", "6")}, 0},
			{[]wire.Op{setx("e", "9"), cmpx("e", wire.CmpEQ, 6)}, 1}}, "o"},
		{"atomic", []step{{[]wire.Op{write(0, "o"), setx("e", "5")}, 0},
			{[]wire.Op{write(0, "n"), setx("e", "7"), cmpx("e", wire.CmpGT, 5)}, cancel},
			{[]wire.Op{cmpx("e", wire.CmpEQ, 5)}, 1}}, "o"},
		{"failok", []step{{[]wire.Op{write(0, "o")}, 0},
			{[]wire.Op{{Code: wire.OpGetXattr, Name: "b"}, {Code: wire.OpRead}}, -61},
			{[]wire.Op{{Code: wire.OpGetXattr, Name: "b", Flags: wire.OpFailOK}, {Code: wire.OpStat}}, 0}}, "o"},
		{"truncate and zero", []step{{[]wire.Op{{Code: wire.OpTruncate, Off: 9}, {Code: wire.OpZero, Off: 0, Len: 4}}, 0},
			{[]wire.Op{{Code: wire.OpStat}}, noent},
			{[]wire.Op{write(0, "abcdef"), {Code: wire.OpTruncate, Off: 3}, {Code: wire.OpTruncate, Off: 5}}, 0}}, "abc\x00\x00"},
		{"zero", []step{{[]wire.Op{write(0, "abcdef"), {Code: wire.OpZero, Off: 1, Len: 2}, {Code: wire.OpZero, Off: 6, Len: 2}}, 0}}, "a\x00\x00def"},
		{"zero to the end truncates", []step{{[]wire.Op{write(0, "abcdef"), {Code: wire.OpZero, Off: 2, Len: 4}}, 0}}, "ab"},
		{"append", []step{{[]wire.Op{{Code: wire.OpAppend, Data: wire.DataOf([]byte("ab"))}, {Code: wire.OpAppend, Data: wire.DataOf([]byte("cd"))}}, 0}}, "abcd"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := NewPool()
			for i, s := range tt.steps {
				t.Logf("step %d", i)
				do(t, p, vec("o", s.ops...), s.want).Release()
			}
			if got := read(t, p, "o", 0); got != tt.data {
				t.Errorf("data %q, want %q", got, tt.data)
			}
		})
	}
}

func TestParseU64(t *testing.T) {
	for in, want := range map[string]uint64{"5": 5, "005": 5, " 5": 5, "5\n": 5, "5abc": 5, "": 0, "abc": 0,
		"0x5": 0, "\x05\x00\x00\x00": 0, "-5": 1<<64 - 5, "99999999999999999999": 1<<64 - 1, "18446744073709551615": 1<<64 - 1} {
		if got := parseU64([]byte(in)); got != want {
			t.Errorf("%q: %d, want %d", in, got, want)
		}
	}
}

func TestOmap(t *testing.T) {
	p := NewPool()
	var kvs []wire.KV
	for i := range 2000 {
		kvs = append(kvs, wire.KV{Key: fmt.Sprintf("k%05d", i), Value: []byte{byte(i)}})
	}
	do(t, p, vec("o", wire.Op{Code: wire.OpOmapSetVals, KVs: kvs}), 0)
	get := wire.Op{Code: wire.OpOmapGetVals, Num: 1 << 40}
	r := do(t, p, vec("o", get), 0).Results[0]
	if len(r.KVs) != 1024 || !r.More {
		t.Fatalf("%d entries, more %v", len(r.KVs), r.More)
	}
	get.Name = r.KVs[1023].Key
	r = do(t, p, vec("o", get), 0).Results[0]
	if len(r.KVs) != 976 || r.More || r.KVs[0].Key != "k01024" {
		t.Fatalf("%d entries from %q, more %v", len(r.KVs), r.KVs[0].Key, r.More)
	}
	r = do(t, p, vec("o", wire.Op{Code: wire.OpOmapGetVals, Num: 3, Name2: "k0012"}), 0).Results[0]
	if len(r.KVs) != 3 || r.KVs[0].Key != "k00120" || !r.More {
		t.Fatalf("prefix: %v", r.KVs)
	}
	do(t, p, vec("o", wire.Op{Code: wire.OpOmapRmKeyRange, Name: "k00001", Name2: "k01999"}), 0)
	r = do(t, p, vec("o", wire.Op{Code: wire.OpOmapGetKeys, Num: 10}), 0).Results[0]
	if fmt.Sprint(r.Keys) != "[k00000 k01999]" {
		t.Fatalf("left: %v", r.Keys)
	}
	one := func(o wire.CmpOp, v string) wire.Op {
		return wire.Op{Code: wire.OpOmapCmp, OmapCmps: []wire.OmapCmp{{Key: "f", Value: []byte(v), Op: o}}}
	}
	do(t, p, vec("x", one(wire.CmpLT, "5")), -2)
	do(t, p, vec("x", create(0), one(wire.CmpLT, "5"), wire.Op{Code: wire.OpOmapSetVals, KVs: []wire.KV{{Key: "f", Value: []byte("5")}}}), 0)
	do(t, p, vec("x", create(0), one(wire.CmpLT, "5")), -125)
	do(t, p, vec("x", one(wire.CmpGTE, "5")), -22)
}

func TestReturnVec(t *testing.T) {
	p := NewPool()
	do(t, p, vec("o", write(0, "old"), setx("a", "1")), 0)
	op := vec("o", write(0, "newer"), setx("a", "2"), wire.Op{Code: wire.OpGetXattr, Name: "a"}, wire.Op{Code: wire.OpRead}, wire.Op{Code: wire.OpStat})
	op.Flags = wire.FlagReturnVec
	r := do(t, p, op, 0)
	if string(r.Results[2].Value) != "1" || string(r.Results[3].Data.Bytes()) != "old" || r.Results[4].Size != 5 {
		t.Errorf("got %q %q %d", r.Results[2].Value, r.Results[3].Data.Bytes(), r.Results[4].Size)
	}
	r.Release()
	big := vec("o", setx("a", string(make([]byte, 65))))
	do(t, p, big, 0)
	op = vec("o", write(0, "x"), wire.Op{Code: wire.OpGetXattr, Name: "a"})
	op.Flags = wire.FlagReturnVec
	do(t, p, op, -75)
	if got := read(t, p, "o", 0); got != "newer" {
		t.Errorf("data %q", got)
	}
}

// TestSnapshots follows the worked example of the snap context rule.
func TestSnapshots(t *testing.T) {
	p := NewPool()
	w := func(data string, seq wire.SnapID, snaps ...wire.SnapID) {
		op := vec("o", wire.Op{Code: wire.OpWriteFull, Data: wire.DataOf([]byte(data))})
		if data == "" {
			op.Ops[0] = wire.Op{Code: wire.OpDelete}
		}
		op.SnapC = wire.SnapContext{Seq: seq, Snaps: snaps}
		do(t, p, op, 0)
	}
	w("A", 0)
	w("B", 3, 3)
	w("C", 6, 6, 5, 3)
	for s, want := range map[wire.SnapID]string{2: "-", 3: "A", 5: "B", 6: "B", 7: "C"} {
		if got := read(t, p, "o", s); got != want {
			t.Errorf("at %d: %q, want %q", s, got, want)
		}
	}
	w("", 8, 8, 6, 3)
	if got := read(t, p, "o", 8) + read(t, p, "o", wire.NoSnap); got != "C-" {
		t.Errorf("after delete: %q", got)
	}
	if err := p.RemoveSnaps(ctx, []wire.SnapID{5}); err != nil {
		t.Fatal(err)
	}
	if got := read(t, p, "o", 6); got != "B" {
		t.Errorf("6 after removal of 5: %q", got)
	}
	p.RemoveSnaps(ctx, []wire.SnapID{6, 3, 8})
	if got := len(p.objects); got != 0 {
		t.Errorf("%d objects left", got)
	}
	op := vec("o", write(0, "x"))
	op.SnapC = wire.SnapContext{Seq: 2, Snaps: []wire.SnapID{1, 2}}
	do(t, p, op, -22)
}

func TestOverlap(t *testing.T) {
	got := subtract([]wire.Extent{{Off: 0, Len: 10}, {Off: 20, Len: 5}}, 5, 17)
	if fmt.Sprint(got) != "[{0 5} {22 3}]" {
		t.Errorf("subtract: %v", got)
	}
	got = intersect(got, []wire.Extent{{Off: 3, Len: 20}})
	if fmt.Sprint(got) != "[{3 2} {22 1}]" {
		t.Errorf("intersect: %v", got)
	}
}

// TestData compares the paged data with a plain slice.
func TestData(t *testing.T) {
	seed := rand.Uint64()
	rng := rand.New(rand.NewPCG(seed, 1))
	c, plain := newContent(), []byte{}
	for i := range 2000 {
		off, n := rng.IntN(4*pageSize), rng.IntN(2*pageSize)
		switch rng.IntN(3) {
		case 0:
			b := make([]byte, n)
			for j := range b {
				b[j] = byte(rng.Uint32())
			}
			c.write(b, uint64(off))
			if len(plain) < off+n {
				plain = append(plain, make([]byte, off+n-len(plain))...)
			}
			copy(plain[off:], b)
		case 1:
			c.zero(uint64(off), uint64(n))
			if off < len(plain) {
				clear(plain[off:min(len(plain), off+n)])
			}
		case 2:
			c.truncate(uint64(off))
			plain = append(plain, make([]byte, max(0, off-len(plain)))...)[:off]
			plain = append([]byte(nil), plain...)
		}
		if got := c.read(0, 0); string(got) != string(plain) {
			t.Fatalf("seed %d step %d: contents differ (%d, %d bytes)", seed, i, len(got), len(plain))
		}
	}
}

func TestFreeze(t *testing.T) {
	for _, drop := range []bool{false, true} {
		p := NewPool()
		a, b := p.NewClient(), p.NewClient()
		a.FreezeAfter(2, drop, wire.ESHUTDOWN)
		do(t, a, vec("o", write(0, "1")), 0)
		if r := a.Start(ctx, vec("o", write(0, "2"))); drop != isErr(r) {
			t.Errorf("drop %v: the last answer: %v", drop, isErr(r))
		}
		if _, err := a.Do(ctx, vec("o", write(0, "3"))); wire.ErrnoOf(err) != wire.ESHUTDOWN {
			t.Errorf("frozen: %v", err)
		}
		if !a.Frozen() || read(t, b, "o", 0) != "2" {
			t.Errorf("frozen %v, data %q", a.Frozen(), read(t, b, "o", 0))
		}
		a.FreezeAfter(0, false, nil)
		short, cancel := context.WithTimeout(ctx, time.Millisecond)
		if _, err := a.Do(short, vec("o", write(0, "4"))); wire.ErrnoOf(err) != wire.ETIMEDOUT {
			t.Errorf("lost: %v", err)
		}
		cancel()
	}
}

func isErr(c *rados.Call) bool {
	_, err := c.Wait(ctx)
	return err != nil
}

func TestClone(t *testing.T) {
	p := NewPool()
	do(t, p, vec("o", write(0, "before"), setx("a", "1")), 0)
	q := p.Clone()
	if !p.Equal(q) {
		t.Error("a copy differs from its original")
	}
	do(t, p, vec("o", write(0, "after!"), setx("a", "2")), 0)
	if p.Equal(q) || read(t, q, "o", 0) != "before" {
		t.Errorf("the copy changed with the original: %q", read(t, q, "o", 0))
	}
}

func TestOrderUnderLatency(t *testing.T) {
	p := NewPool()
	var mu sync.Mutex
	rng := rand.New(rand.NewPCG(1, 2))
	p.SetLatency(func(*rados.Op) time.Duration {
		mu.Lock()
		defer mu.Unlock()
		return time.Duration(rng.IntN(100)) * time.Microsecond
	})
	var calls []*rados.Call
	for i := range 100 {
		d := wire.CopyData([]byte{byte(i)})
		calls = append(calls, p.Start(ctx, vec(fmt.Sprint("o", i%3), wire.Op{Code: wire.OpAppend, Data: d})))
		d.Release()
	}
	for _, c := range calls {
		if _, err := c.Wait(ctx); err != nil {
			t.Fatal(err)
		}
	}
	for o := range 3 {
		got := read(t, p, fmt.Sprint("o", o), 0)
		for j := range got {
			if int(got[j]) != o+3*j {
				t.Fatalf("object %d at %d: %d", o, j, got[j])
			}
		}
	}
}

func TestList(t *testing.T) {
	p := NewPool()
	for i := range 5 {
		op := vec(fmt.Sprint("o", i), create(0))
		op.Namespace = []string{"", "n"}[i%2]
		do(t, p, op, 0)
	}
	var names string
	if err := p.ListObjects(ctx, "", func(e wire.ListEntry) error { names += e.Name; return nil }); err != nil || names != "o0o2o4" {
		t.Errorf("%q, %v", names, err)
	}
	op := vec("", wire.Op{Code: wire.OpPGNLS, Num: 2})
	r := do(t, p, op, 0).Results[0]
	op.Ops[0].Cursor = r.Cursor
	r2 := do(t, p, op, 1).Results[0]
	if len(r.List) != 2 || len(r2.List) != 1 || r2.List[0].Name != "o4" || !r2.Cursor.Max {
		t.Errorf("pages %v, %v", r.List, r2.List)
	}
}

func TestInject(t *testing.T) {
	p := NewPool()
	p.SetInject(func(n int, op *rados.Op) error {
		if n == 2 {
			return wire.ENOSPC
		}
		return nil
	})
	do(t, p, vec("o", write(0, "1")), 0)
	if _, err := p.Do(ctx, vec("o", write(0, "2"))); wire.ErrnoOf(err) != wire.ENOSPC {
		t.Errorf("injected: %v", err)
	}
	if got := read(t, p, "o", 0); got != "1" {
		t.Errorf("data %q", got)
	}
}

// liar is a pool that answers one vector wrongly.
type liar struct {
	*Pool
	n int
}

func (l *liar) Do(ctx context.Context, op *rados.Op) (*rados.Reply, error) {
	r, err := l.Pool.Do(ctx, op)
	if l.n--; l.n == 0 {
		r.Result--
	}
	return r, err
}

func TestCompare(t *testing.T) {
	if err := Compare(ctx, NewPool(), 1, 3000); err != nil {
		t.Error(err)
	}
	if err := Compare(ctx, &liar{NewPool(), 1000}, 1, 3000); err == nil {
		t.Error("a wrong answer is not found")
	}
}
