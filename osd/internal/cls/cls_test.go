package cls

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/spirula/spirula/rados/wire"
)

// thing is an object that a Context changes at once.
type thing struct {
	there  bool
	data   []byte
	xattrs map[string][]byte
	omap   map[string][]byte
	header []byte

	client wire.EntityName
	now    wire.Time
	calls  int
}

func newThing() *thing {
	return &thing{xattrs: map[string][]byte{}, omap: map[string][]byte{}, client: wire.EntityName{Type: wire.EntityClient, Num: 14344},
		now: 1e9}
}

func (o *thing) Asker() (wire.EntityName, wire.Addr) {
	return o.client, wire.Addr{Type: wire.AddrMsgr2, Nonce: 0x04ef4276, IP: netip.MustParseAddrPort("127.0.0.1:0")}
}
func (o *thing) Now() wire.Time { return o.now }
func (o *thing) Serial() string {
	o.calls++
	return fmt.Sprintf("%d.1", o.calls-1)
}
func (o *thing) Unique() [32]byte { return [32]byte{1, 2, 3} }

func (o *thing) Do(op *wire.Op) (res wire.OpResult, rval int32) {
	res, e := o.do(op)
	return res, -int32(e)
}

func (o *thing) do(op *wire.Op) (res wire.OpResult, e wire.Errno) {
	if op.Code.Writes() && op.Code != wire.OpDelete {
		o.there = true
	}
	switch op.Code {
	case wire.OpStat, wire.OpDelete, wire.OpGetXattr, wire.OpGetXattrs, wire.OpOmapRmKeys, wire.OpOmapRmKeyRange:
		if !o.there {
			return res, wire.ENOENT
		}
	}
	switch op.Code {
	case wire.OpStat:
	case wire.OpDelete:
		*o = thing{xattrs: map[string][]byte{}, omap: map[string][]byte{}, client: o.client, now: o.now}
	case wire.OpRead:
		res.Data = wire.CopyData(o.data)
	case wire.OpWriteFull:
		o.data = bytes.Clone(op.Data.Bytes())
	case wire.OpGetXattr:
		v, ok := o.xattrs[op.Name]
		if !ok {
			return res, wire.ENODATA
		}
		res.Value = v
	case wire.OpGetXattrs:
		for _, k := range slices.Sorted(maps.Keys(o.xattrs)) {
			res.KVs = append(res.KVs, wire.KV{Key: k, Value: o.xattrs[k]})
		}
	case wire.OpSetXattr:
		o.xattrs[op.Name] = op.Value
	case wire.OpOmapGetHeader:
		res.Value = o.header
	case wire.OpOmapSetHeader:
		o.header = op.Value
	case wire.OpOmapGetValsByKeys:
		for _, k := range op.Keys {
			if v, ok := o.omap[k]; ok {
				res.KVs = append(res.KVs, wire.KV{Key: k, Value: v})
			}
		}
	case wire.OpOmapGetVals, wire.OpOmapGetKeys:
		for _, k := range slices.Sorted(maps.Keys(o.omap)) {
			switch {
			case k <= op.Name || !strings.HasPrefix(k, op.Name2):
			case len(res.Keys) == int(op.Num):
				res.More = true
				return res, 0
			default:
				res.Keys = append(res.Keys, k)
				res.KVs = append(res.KVs, wire.KV{Key: k, Value: o.omap[k]})
			}
		}
	case wire.OpOmapSetVals:
		for _, kv := range op.KVs {
			o.omap[kv.Key] = kv.Value
		}
	case wire.OpOmapRmKeys:
		delete(o.omap, op.Keys[0])
	case wire.OpOmapRmKeyRange:
		maps.DeleteFunc(o.omap, func(k string, _ []byte) bool { return op.Name <= k && k < op.Name2 })
	default:
		return res, wire.EOPNOTSUPP
	}
	return res, 0
}

func call(t testing.TB, o *thing, class, method string, in []byte) ([]byte, int32) {
	t.Helper()
	m := Lookup(class, method)
	if m == nil {
		t.Fatalf("no method %s.%s", class, method)
	}
	return m.Run(o, in)
}

// is calls a method and compares its value.
func is(t testing.TB, o *thing, want int32, class, method string, in []byte) []byte {
	t.Helper()
	out, rval := call(t, o, class, method, in)
	if rval != want {
		t.Fatalf("%s.%s: %d, want %d", class, method, rval, want)
	}
	return out
}

// enc makes an input: a block, version 1, of strings, byte strings, numbers
// and what else comes.
func enc(parts ...any) []byte {
	return encode(1, 1, func(e *wire.Encoder) { put(e, parts) })
}

func put(e *wire.Encoder, parts []any) {
	for _, p := range parts {
		switch p := p.(type) {
		case string:
			e.Str(p)
		case []byte:
			e.Raw(p)
		case []string:
			e.Strs(p)
		case bool:
			e.Bool(p)
		case uint8:
			e.U8(p)
		case uint32:
			e.U32(p)
		case uint64:
			e.U64(p)
		case wire.Time:
			e.Time(p)
		case wire.EntityName:
			e.EntityName(p)
		case wire.HObject:
			e.HObject(p)
		default:
			panic(fmt.Sprintf("%T", p))
		}
	}
}

func bare(parts ...any) []byte {
	var e wire.Encoder
	put(&e, parts)
	return e.B
}

func golden(t testing.TB, what string, got []byte, want string) {
	t.Helper()
	if hex.EncodeToString(got) != strings.ReplaceAll(want, " ", "") {
		t.Fatalf("%s:\n got %x\nwant %s", what, got, want)
	}
}

func TestVersion(t *testing.T) {
	o := newThing()
	get := func() string { return hex.EncodeToString(is(t, o, 0, "version", "read", nil)) }
	ver := func(n uint64, tag string) []byte { return enc(n, tag) }
	conds := func(cs ...[]byte) []byte {
		parts := []any{ver(0, ""), uint32(len(cs))}
		for _, c := range cs {
			parts = append(parts, c)
		}
		return enc(parts...)
	}
	cond := func(n uint64, tag string, kind uint32) []byte { return enc(ver(n, tag), kind) }
	if want := hex.EncodeToString(enc(ver(0, ""))); get() != want {
		t.Fatalf("of an object without: %s", get())
	}
	is(t, o, 0, "version", "inc", conds())
	if n := len(o.xattrs[versionXattr]); n != 6+8+4+versionTag {
		t.Fatalf("stored %d bytes, a Ceph 42: %x", n, o.xattrs[versionXattr])
	}
	is(t, o, 0, "version", "set", enc(ver(7, "tag")))
	is(t, o, -22, "version", "set", nil)
	for _, c := range []struct {
		n    uint64
		tag  string
		kind uint32
		ok   bool
	}{{7, "tag", condEQ, true}, {7, "x", condEQ, false}, {6, "", condGT, true}, {7, "", condGT, false}, {7, "", condGE, true},
		{8, "", condGE, false}, {8, "", condLT, true}, {7, "", condLT, false}, {7, "", condLE, true}, {6, "", condLE, false},
		{0, "tag", condTagEQ, true}, {0, "x", condTagEQ, false}, {0, "x", condTagNE, true}, {0, "tag", condTagNE, false},
		{0, "", 0, true}} {
		want := int32(-125)
		if c.ok {
			want = 0
		}
		is(t, o, want, "version", "check_conds", conds(cond(c.n, c.tag, c.kind)))
	}
	is(t, o, -125, "version", "inc_conds", conds(cond(7, "tag", condEQ), cond(8, "tag", condEQ)))
	is(t, o, 0, "version", "inc_conds", conds(cond(7, "tag", condEQ)))
	if want := hex.EncodeToString(enc(ver(8, "tag"))); get() != want {
		t.Fatalf("after inc: %s", get())
	}
	o.xattrs[versionXattr] = []byte("?")
	is(t, o, -5, "version", "read", nil)
}

func TestRefcount(t *testing.T) {
	o := newThing()
	read := func(want ...string) {
		t.Helper()
		golden(t, "refs", is(t, o, 0, "refcount", "read", enc(true)), hex.EncodeToString(enc(want)))
	}
	is(t, o, -2, "refcount", "get", enc("a", true))
	o.there = true
	is(t, o, -22, "refcount", "put", enc("a", false))
	read("")
	is(t, o, 0, "refcount", "get", enc("a", true))
	is(t, o, 0, "refcount", "get", enc("b", false))
	golden(t, "stored", o.xattrs[refcountXattr],
		"020119000000 03000000 00000000 01 01000000 61 01 01000000 62 01 00000000")
	read("", "a", "b")
	is(t, o, 0, "refcount", "put", enc("x", false)) // nobody's
	is(t, o, 0, "refcount", "put", enc("x", true))  // takes the wildcard
	is(t, o, 0, "refcount", "put", enc("x", true))
	is(t, o, 0, "refcount", "put", enc("a", false))
	is(t, o, 0, "refcount", "put", enc("a", false))
	read("b")
	is(t, o, 0, "refcount", "set", enc([]string{"d", "c", "d"}))
	read("c", "d")
	is(t, o, 0, "refcount", "put", enc("c", false))
	is(t, o, 0, "refcount", "put", enc("d", false))
	if o.there {
		t.Fatal("the object outlives its references")
	}
	o.there = true
	is(t, o, 0, "refcount", "set", enc([]string{}))
	if o.there {
		t.Fatal("the object outlives a set of none")
	}
	is(t, o, -2, "refcount", "set", enc([]string{}))
}

// TestLogGolden has what a Ceph 16.2 answered after the same requests.
func TestLogGolden(t *testing.T) {
	o := newThing()
	entry := encode(2, 1, func(e *wire.Encoder) { put(e, []any{"sec", "name", wire.Time(100e9 + 5000), "dd", ""}) })
	add := encode(2, 1, func(e *wire.Encoder) { put(e, []any{uint32(1), entry, true}) })
	is(t, o, 0, "log", "add", add)
	is(t, o, 0, "log", "add", add)
	golden(t, "list", is(t, o, 0, "log", "list", enc(wire.Time(0), "", wire.Time(0), uint32(0))),
		"01019c0000000200000002013800000003000000736563040000006e616d65640000008813000002000000646417000000315f303030303030303130302e3030303030355f302e3102013800000003000000736563040000006e616d65640000008813000002000000646417000000315f303030303030303130302e3030303030355f312e3117000000315f303030303030303130302e3030303030355f312e3100")
	golden(t, "info", is(t, o, 0, "log", "info", enc()),
		"01012900000001012300000017000000315f303030303030303130302e3030303030355f312e316400000088130000")
}

func TestLog(t *testing.T) {
	o := newThing()
	add := func(at wire.Time, name string, grow bool) {
		entry := encode(2, 1, func(e *wire.Encoder) { put(e, []any{"s", name, at, "", ""}) })
		is(t, o, 0, "log", "add", encode(2, 1, func(e *wire.Encoder) { put(e, []any{uint32(1), entry, grow}) }))
	}
	for i := range 10 {
		add(wire.Time(10+i)*1e9, fmt.Sprint(i), true)
	}
	// list gives the names, the marker and whether there is more.
	list := func(from wire.Time, marker string, to wire.Time, limit uint32) (names []string, last string, more bool) {
		t.Helper()
		out := is(t, o, 0, "log", "list", enc(from, marker, to, limit))
		if !decode(out, 1, func(d *wire.Decoder, _ uint8) {
			for range d.Count(1) {
				var l logEntry
				l.read(d)
				names = append(names, l.name)
			}
			last, more = d.Str(), d.Bool()
		}) {
			t.Fatal("the answer can't be read")
		}
		return names, last, more
	}
	names, last, more := list(0, "", 0, 4)
	if strings.Join(names, "") != "0123" || !more {
		t.Fatal(names, more)
	}
	if names, _, more = list(0, last, 0, 0); strings.Join(names, "") != "456789" || more {
		t.Fatal(names, more)
	}
	if names, _, more = list(12e9, "", 15e9, 0); strings.Join(names, "") != "234" || more {
		t.Fatal(names, more)
	}
	add(5e9, "late", true)
	if names, _, _ = list(19e9, "", 0, 0); len(names) != 2 || !slices.Contains(names, "late") {
		t.Fatal(names)
	}
	add(5e9, "early", false)
	if names, _, _ = list(0, "", 0, 1); names[0] != "early" {
		t.Fatal(names)
	}
	trim := func(want int32, from, to wire.Time, a, b string) {
		t.Helper()
		is(t, o, want, "log", "trim", encode(2, 1, func(e *wire.Encoder) { put(e, []any{from, to, a, b}) }))
	}
	trim(0, 0, 12e9, "", "")
	if names, _, _ = list(0, "", 0, 1); names[0] != "3" {
		t.Fatal(names)
	}
	trim(-61, 0, 12e9, "", "")
	trim(0, 0, 0, "", last)
	if names, _, _ = list(0, "", 0, 1); names[0] != "4" {
		t.Fatal(names)
	}
	trim(0, 0, maxExpiry, "", "")
	trim(-61, 0, maxExpiry, "", "")
	o.header = []byte("?")
	is(t, o, -5, "log", "info", enc())
}

func TestNumops(t *testing.T) {
	o := newThing()
	val := func(want string) {
		t.Helper()
		if got := string(o.omap["k"]); got != want {
			t.Fatalf("%q, want %q", got, want)
		}
	}
	is(t, o, -22, "numops", "add", bare("k"))
	is(t, o, -22, "numops", "add", bare("k", "x"))
	is(t, o, -22, "numops", "add", bare("k", "2x"))
	is(t, o, 0, "numops", "mul", bare("k", "3"))
	val("0")
	for _, s := range []struct{ method, operand, want string }{
		{"add", "3.5", "3.5"}, {"add", "", "3.5"}, {"add", " 2", "5.5"}, {"add", "0x10", "21.5"}, {"mul", "-2", "-43"},
		{"add", "1e12", "1e+12"}, {"mul", "0.1", "1e+11"}, {"add", "1", "1e+11"},
		{"mul", "1e-7", "10000"}, {"add", "0.123456789", "10000.12346"}, {"mul", "1e400", "inf"}, {"mul", "-1", "-inf"},
		{"mul", "0", "nan"},
	} {
		is(t, o, 0, "numops", s.method, bare("k", s.operand))
		val(s.want)
	}
	o.omap["k"] = []byte("no number")
	is(t, o, -74, "numops", "add", bare("k", "1"))
	if Lookup("numops", "sub") != nil {
		t.Fatal("there is no such method")
	}
}

// TestCasGolden has what a Ceph 16.2 stored after the same requests.
func TestCasGolden(t *testing.T) {
	o := newThing()
	foo := wire.HObject{Name: "foo1", Pool: -1 << 63}
	in := enc(foo, uint64(0), "data")
	is(t, o, 0, "cas", "chunk_create_or_get_ref", in)
	is(t, o, 0, "cas", "chunk_create_or_get_ref", in)
	is(t, o, 0, "cas", "chunk_put_ref", enc(foo))
	golden(t, "refs", o.xattrs[chunkRefsXattr],
		"010136000000 01 01012f000000 01000000 040325000000 00000000 04000000666f6f31 0000000000000000 00000000 00 00000000 0000000000000080")
	if string(o.data) != "data" {
		t.Fatalf("%q", o.data)
	}
}

func TestCas(t *testing.T) {
	o := newThing()
	ref := func(s string) wire.HObject { return wire.HObject{Name: s, Pool: 1} }
	is(t, o, -2, "cas", "chunk_get_ref", enc(ref("a")))
	is(t, o, -2, "cas", "chunk_put_ref", enc(ref("a")))
	is(t, o, 0, "cas", "chunk_create_or_get_ref", enc(ref("a"), uint64(flagVerify), "data"))
	is(t, o, -42, "cas", "chunk_create_or_get_ref", enc(ref("b"), uint64(flagVerify), "other"))
	is(t, o, 0, "cas", "chunk_create_or_get_ref", enc(ref("b"), uint64(flagVerify), "data"))
	is(t, o, 0, "cas", "chunk_get_ref", enc(ref("c")))
	is(t, o, -67, "cas", "chunk_put_ref", enc(ref("d")))
	is(t, o, -67, "cas", "references_chunk", bare("x"))
	is(t, o, -22, "cas", "references_chunk", nil)
	for _, s := range []string{"a", "b", "c"} {
		if !o.there {
			t.Fatal("the chunk is gone before its references")
		}
		is(t, o, 0, "cas", "chunk_put_ref", enc(ref(s)))
	}
	if o.there {
		t.Fatal("the chunk outlives its references")
	}
}

func TestHello(t *testing.T) {
	o := newThing()
	if out := is(t, o, 0, "hello", "say_hello", nil); string(out) != "Hello, world!" {
		t.Fatalf("%q", out)
	}
	is(t, o, -22, "hello", "say_hello", make([]byte, 101))
	is(t, o, 0, "hello", "record_hello", []byte("Tester"))
	is(t, o, -17, "hello", "record_hello", nil)
	is(t, o, 0, "hello", "turn_it_to_11", nil)
	is(t, o, -22, "hello", "turn_it_to_11", []byte("x"))
	if out := is(t, o, 0, "hello", "replay", nil); string(out) != "HELLO, TESTER!" {
		t.Fatalf("%q", out)
	}
	if got := string(o.xattrs["said_by"]); got != "client.14344 127.0.0.1:0/82788982" {
		t.Fatalf("%q", got)
	}
	if out := is(t, o, 42, "hello", "write_return_data", nil); len(out) != 18 {
		t.Fatalf("%q", out)
	}
	if out := is(t, o, -22, "hello", "write_return_data", []byte("x")); string(out) != "too much input data!" {
		t.Fatalf("%q", out)
	}
}

func TestCmpOmap(t *testing.T) {
	num := func(n uint64) string { return string(bare(n)) }
	in := func(mode, op uint8, def any, kvs ...string) []byte {
		parts := []any{mode, op, uint32(len(kvs) / 2)}
		for _, s := range kvs {
			parts = append(parts, s)
		}
		switch def := def.(type) {
		case nil:
			parts = append(parts, false)
		case string:
			parts = append(parts, true, def)
		}
		return enc(parts...)
	}
	const str, u64 = uint8(wire.CmpString), uint8(wire.CmpU64)
	const eq, ne, gt, gte, lt, lte = 1, 2, 3, 4, 5, 6
	stored := map[string]string{"a": num(5), "s": "5", "bad": "12", "empty": ""}
	for i, c := range []struct {
		method string
		in     []byte
		want   int32
		change map[string]string // "-" removed
	}{
		{"cmp_vals", in(u64, eq, nil, "a", num(5)), 0, nil},
		{"cmp_vals", in(u64, gt, nil, "a", num(6)), 0, nil},
		{"cmp_vals", in(u64, gt, nil, "a", num(5)), -125, nil},
		{"cmp_vals", in(u64, lt, nil, "a", num(4)), 0, nil},
		{"cmp_vals", in(u64, lte, nil, "a", num(6)), -125, nil},
		{"cmp_vals", in(u64, ne, nil, "empty", num(1)), 0, nil},
		{"cmp_vals", in(u64, eq, nil, "none", num(5)), -125, nil},
		{"cmp_vals", in(u64, eq, num(5), "none", num(5)), 0, nil},
		{"cmp_vals", in(u64, eq, nil, "bad", num(5)), -5, nil},
		{"cmp_vals", in(u64, eq, nil, "a", "12"), -22, nil},
		{"cmp_vals", in(u64, 9, nil, "a", num(5)), -22, nil},
		{"cmp_vals", in(7, eq, nil, "a", num(5)), -22, nil},
		{"cmp_vals", in(str, gte, nil, "s", "5"), 0, nil},
		{"cmp_vals", in(str, lt, nil, "s", "10"), 0, nil},
		{"cmp_vals", in(str, eq, nil, "s", "5", "a", num(5)), 0, nil},
		{"cmp_vals", []byte("x"), -22, nil},
		{"cmp_set_vals", in(u64, gt, nil, "a", num(6), "none", num(9)), 0, map[string]string{"a": num(6)}},
		{"cmp_set_vals", in(u64, gt, num(0), "a", num(4), "none", num(9)), 0, map[string]string{"none": num(9)}},
		{"cmp_set_vals", in(u64, gt, nil, "bad", num(4)), 0, nil},
		{"cmp_set_vals", in(u64, gt, nil, "a", "12"), -22, nil},
		{"cmp_rm_keys", in(u64, eq, 0, "a", num(5), "none", num(5), "bad", num(5)), 0, map[string]string{"a": "-"}},
		{"cmp_rm_keys", in(u64, eq, 0, "a", "12"), -22, nil},
	} {
		o := newThing()
		o.there = true
		want := map[string]string{}
		for k, v := range stored {
			o.omap[k], want[k] = []byte(v), v
		}
		for k, v := range c.change {
			if want[k] = v; v == "-" {
				delete(want, k)
			}
		}
		if _, rval := call(t, o, "cmpomap", c.method, c.in); rval != c.want {
			t.Errorf("%d: %d, want %d", i, rval, c.want)
		}
		got := map[string]string{}
		for k, v := range o.omap {
			got[k] = string(v)
		}
		if !maps.Equal(got, want) {
			t.Errorf("%d: %q, want %q", i, got, want)
		}
	}
}

func TestFilter(t *testing.T) {
	in := append(bare("hello.hello", "_theattr", "content"), 1, 2, 3)
	f, rest, e := ParseFilter(in)
	if e != 0 || f.Xattr != "_theattr" || len(rest) != 3 || !f.Match([]byte("content")) || f.Match([]byte("rhubarb")) {
		t.Fatalf("%+v %x %v", f, rest, e)
	}
	for _, p := range [][]byte{nil, bare("hello"), bare("hello.bye", "a", "b"), bare("plain", "a")} {
		if _, _, e := ParseFilter(p); e != wire.EINVAL {
			t.Errorf("%x: %v", p, e)
		}
	}
}

func TestRBD(t *testing.T) {
	o := newThing()
	golden(t, "features", is(t, o, 0, "rbd", "get_all_features", nil), "ff0f000000000000")
	is(t, o, -2, "rbd", "get_id", nil)
	o.data = []byte("data")
	is(t, o, -5, "rbd", "get_id", nil)
	o.data = bare("abc")
	golden(t, "id", is(t, o, 0, "rbd", "get_id", nil), "03000000616263")
}

// FuzzMethods feeds any method any input, over an object that has garbage
// where classes look.
func FuzzMethods(f *testing.F) {
	f.Add("lock", "lock", lockIn("L", lockExclusive, "c", "t", "d", 0, 0), []byte{})
	f.Add("lock", "get_info", enc("L"), []byte{1, 1, 255, 255, 255, 127})
	f.Add("log", "list", enc(wire.Time(0), "", wire.Time(0), uint32(0)), []byte("?"))
	f.Add("cas", "chunk_put_ref", enc(wire.HObject{}), enc(uint8(1), enc(uint32(1<<31))))
	f.Fuzz(func(t *testing.T, class, method string, in, stored []byte) {
		m := Lookup(class, method)
		if m == nil {
			return
		}
		o := newThing()
		o.there = true
		for _, k := range []string{"lock.L", "lock.", versionXattr, refcountXattr, chunkRefsXattr} {
			o.xattrs[k] = stored
		}
		o.omap["k"], o.omap["1_1"], o.header = stored, stored, stored
		m.Run(o, in)
	})
}
