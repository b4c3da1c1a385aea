package wire

import (
	"encoding/hex"
	"errors"
	"net/netip"
	"reflect"
	"testing"
)

// TestGoldenBytes compares encodings with bytes seen from Ceph 16.2.15, and
// decodes them again.
func TestGoldenBytes(t *testing.T) {
	addr := func(s string, typ AddrType, nonce uint32) Addr {
		return Addr{Type: typ, Nonce: nonce, IP: netip.MustParseAddrPort(s)}
	}
	for _, c := range []struct {
		name, hex string
		value     any
		encode    func(*Encoder)
		decode    func(*Decoder) any
	}{
		{"addr v2", "0101011c00000002000000070000001000000002000ce47f0000010000000000000000",
			addr("127.0.0.1:3300", AddrMsgr2, 7),
			func(e *Encoder) { e.Addr(addr("127.0.0.1:3300", AddrMsgr2, 7)) },
			func(d *Decoder) any { return d.Addr() }},
		{"addr none", "0101010c000000000000000000000000000000", Addr{},
			func(e *Encoder) { e.Addr(Addr{}) }, func(d *Decoder) any { return d.Addr() }},
		{"addr old", "00000000" + "05000000" + "00021a8f7f000001" + zeros(120), addr("127.0.0.1:6799", AddrLegacy, 5),
			nil, func(d *Decoder) any { return d.Addr() }},
		{"addrvec", "02020000000101011c00000002000000ab0100001000000002001a927f00000100000000000000000101011c00000001000000ab0100001000000002001a937f0000010000000000000000",
			[]Addr{addr("127.0.0.1:6802", AddrMsgr2, 427), addr("127.0.0.1:6803", AddrLegacy, 427)},
			func(e *Encoder) {
				e.AddrVec([]Addr{addr("127.0.0.1:6802", AddrMsgr2, 427), addr("127.0.0.1:6803", AddrLegacy, 427)})
			}, func(d *Decoder) any { return d.AddrVec() }},
		{"addrvec of one", "01010" + "10c000000000000000000000000000000", []Addr{{}},
			nil, func(d *Decoder) any { return d.AddrVec() }},
		{"addr v6", "0101012800000002000000000000001c0000000a000ce4000000000000000000000000000000000000000100000000",
			addr("[::1]:3300", AddrMsgr2, 0),
			func(e *Encoder) { e.Addr(addr("[::1]:3300", AddrMsgr2, 0)) },
			func(d *Decoder) any { return d.Addr() }},
		{"pg", "01010000000000000007000000ffffffff", PGID{1, 7},
			func(e *Encoder) { e.PGID(PGID{1, 7}) }, func(d *Decoder) any { return d.PGID() }},
		{"spg", "010112000000" + "01010000000000000007000000ffffffff" + "ff", SPGID{PGID{1, 7}, NoShard},
			func(e *Encoder) { e.SPGID(SPGID{PGID{1, 7}, NoShard}) }, func(d *Decoder) any { return d.SPGID() }},
		{"eversion", "0900000000000000" + "05000000", EVersion{5, 9},
			func(e *Encoder) { e.EVersion(EVersion{5, 9}) }, func(d *Decoder) any { return d.EVersion() }},
		{"time", "0500000007000000", Time(5e9 + 7),
			func(e *Encoder) { e.Time(5e9 + 7) }, func(d *Decoder) any { return d.Time() }},
	} {
		want, err := hex.DecodeString(c.hex)
		if err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		if c.encode != nil {
			var e Encoder
			c.encode(&e)
			if got := hex.EncodeToString(e.B); got != c.hex {
				t.Errorf("%s: encoded\n got %s\nwant %s", c.name, got, c.hex)
			}
		}
		d := NewDecoder(want)
		if got := c.decode(d); d.Err() != nil || d.Len() != 0 || !reflect.DeepEqual(got, c.value) {
			t.Errorf("%s: decoded %+v, %d bytes left, error %v; want %+v", c.name, got, d.Len(), d.Err(), c.value)
		}
		for n := range want {
			d := NewDecoder(want[:n])
			c.decode(d)
			if !errors.Is(d.Err(), ErrTruncated) || ErrnoOf(d.Err()) != EINVAL {
				t.Errorf("%s cut to %d bytes: error %v", c.name, n, d.Err())
			}
		}
	}
}

func zeros(n int) string { return hex.EncodeToString(make([]byte, n)) }

func TestRoundTripIDs(t *testing.T) {
	h := HObject{Pool: -3, Hash: 0xdeadbeef, Namespace: "ns", Key: "k", Name: "n", Snap: NoSnap, Max: true}
	l := ObjectLocator{Pool: 4, Key: "key", Namespace: "ns", Hash: -1}
	r := ReqID{Client: EntityName{EntityClient, 4121}, TID: 9, Inc: 2}
	s := SnapContext{Seq: 9, Snaps: []SnapID{9, 4}}
	var e Encoder
	e.HObject(h)
	e.Locator(l)
	at := len(e.B)
	e.ReqID(r)
	if n := len(e.B) - at; n != 27 {
		t.Errorf("osd_reqid_t of %d bytes, want 27", n)
	}
	e.SnapContext(s)
	e.F32(1.5)
	e.F64(-2.25)
	e.Bool(true)
	d := NewDecoder(e.B)
	if g := d.HObject(); g != h {
		t.Errorf("%+v", g)
	}
	if g := d.Locator(); g != l {
		t.Errorf("%+v", g)
	}
	if g := d.ReqID(); g != r {
		t.Errorf("%+v", g)
	}
	if g := d.SnapContext(); !reflect.DeepEqual(g, s) {
		t.Errorf("%+v", g)
	}
	if d.F32() != 1.5 || d.F64() != -2.25 || !d.Bool() || d.Err() != nil || d.Len() != 0 {
		t.Errorf("rest: %v, %d left", d.Err(), d.Len())
	}
}

// TestBlocks checks nesting, skipping of what is not known, and that no read
// leaves its block.
func TestBlocks(t *testing.T) {
	var e Encoder
	outer := e.Begin(7, 3)
	e.U32(1)
	inner := e.Begin(2, 1)
	e.U16(5)
	e.U64(99) // of a newer version
	e.End(inner)
	e.U32(2)
	e.End(outer)
	e.U8(0xaa)

	d := NewDecoder(e.B)
	a := d.Begin(3)
	if a.Version != 7 || d.U32() != 1 {
		t.Fatal("outer block")
	}
	b := d.Begin(1)
	if v := d.U16(); v != 5 {
		t.Fatalf("inner field %d", v)
	}
	d.End(b)
	if v := d.U32(); v != 2 {
		t.Fatalf("behind the inner block: %d", v)
	}
	if d.Len() != 0 {
		t.Fatalf("%d bytes left in the block", d.Len())
	}
	d.End(a)
	if v := d.U8(); v != 0xaa || d.Err() != nil {
		t.Fatalf("behind the block: %x, %v", v, d.Err())
	}

	d = NewDecoder(e.B)
	if d.Begin(2); !errors.Is(d.Err(), ErrFormat) {
		t.Errorf("a block that needs a newer reader: %v", d.Err())
	}
	d = NewDecoder(e.B)
	d.Begin(3)
	d.Skip(4)
	d.Begin(1)
	d.Skip(10)
	if d.U8(); !errors.Is(d.Err(), ErrTruncated) {
		t.Errorf("read out of a block: %v", d.Err())
	}
	if d.U64() != 0 || d.Str() != "" || d.Count(1) != 0 || d.Len() != 0 || d.Raw(1) != nil {
		t.Error("reads after an error give something")
	}
}

// TestCountIsBounded gives counts that promise more than there is.
func TestCountIsBounded(t *testing.T) {
	for _, c := range []struct {
		b    []byte
		size int
		want int
	}{
		{[]byte{2, 0, 0, 0, 1, 2}, 1, 2},
		{[]byte{2, 0, 0, 0, 1}, 1, 0},
		{[]byte{1, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7}, 8, 0},
		{[]byte{255, 255, 255, 255, 1}, 1 << 30, 0},
	} {
		d := NewDecoder(c.b)
		if got := d.Count(c.size); got != c.want || (d.Err() != nil) != (c.want == 0) {
			t.Errorf("%v by %d: %d, %v", c.b, c.size, got, d.Err())
		}
	}
}
