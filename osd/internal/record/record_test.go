package record

import (
	"testing"

	"github.com/spirula/spirula/rados/wire"
)

func TestRoundTrip(t *testing.T) {
	h := wire.HObject{Pool: -3, Hash: 0xdeadbeef, Namespace: "n\x00s", Key: "k", Name: "name", Snap: wire.NoSnap}
	r := wire.ReqID{Client: wire.EntityName{Type: 8, Num: 1 << 40}, TID: 1<<64 - 1, Inc: 7}
	v := wire.EVersion{Epoch: 1<<32 - 1, Version: 9}
	e := Begin(2, 8)
	e.HObject(h)
	e.ReqID(r)
	e.EVersion(v)
	e.I64(-5)
	e.Bytes([]byte("abc"))
	e.Bool(true)
	p := e.Seal()
	d, version := Open("test", p, 3)
	gh, gr, gv, gi, gb, gt := d.HObject(), d.ReqID(), d.EVersion(), d.I32(), d.Bytes(), d.Bool()
	if err := d.End(); err != nil || version != 2 || gh != h || gr != r || gv != v || gi != -5 || string(gb) != "abc" || !gt {
		t.Fatalf("%v %d %v %v %v %v %q %v", err, version, gh, gr, gv, gi, gb, gt)
	}
	for i := range p {
		bad := append([]byte(nil), p...)
		bad[i] ^= 0x10
		if d, _ := Open("test", bad, 3); d.Err() == nil {
			t.Fatalf("byte %d changed and not noticed", i)
		}
	}
	if d, _ := Open("test", p, 1); d.Err() == nil {
		t.Fatal("a newer version was taken")
	}
	for n := range p {
		if d, _ := Open("test", p[:n], 3); d.Err() == nil {
			t.Fatalf("%d of %d bytes were taken", n, len(p))
		}
	}
}

// TestLimits: fields that do not fit are an error, also once, and for ever.
func TestLimits(t *testing.T) {
	for name, c := range map[string]struct {
		put func(*Encoder)
		get func(*Decoder)
	}{
		"count over the rest":  {func(e *Encoder) { e.U64(1000) }, func(d *Decoder) { d.Count() }},
		"string over the rest": {func(e *Encoder) { e.U64(1 << 63) }, func(d *Decoder) { d.Str() }},
		"u32":                  {func(e *Encoder) { e.U64(1 << 32) }, func(d *Decoder) { d.U32() }},
		"i32":                  {func(e *Encoder) { e.I64(1 << 31) }, func(d *Decoder) { d.I32() }},
		"bool":                 {func(e *Encoder) { e.U8(2) }, func(d *Decoder) { d.Bool() }},
		"nothing left":         {func(*Encoder) {}, func(d *Decoder) { d.U8() }},
		"something left":       {func(e *Encoder) { e.U64(1) }, func(*Decoder) {}},
	} {
		e := Begin(1, 0)
		c.put(e)
		d, _ := Open(name, e.Seal(), 1)
		c.get(d)
		if err := d.End(); wire.ErrnoOf(err) != wire.EIO {
			t.Errorf("%s: %v", name, err)
		}
		if d.U64() != 0 || d.Str() != "" || d.Count() != 0 {
			t.Errorf("%s: values after a failure", name)
		}
	}
}

func FuzzDecoder(f *testing.F) {
	e := Begin(1, 0)
	e.HObject(wire.HObject{Name: "o"})
	e.ReqID(wire.ReqID{TID: 3})
	f.Add(e.Seal(), []byte{0, 1, 2, 3, 4, 5, 6, 7})
	f.Fuzz(func(t *testing.T, p, calls []byte) {
		d, _ := Open("fuzz", p, 255)
		// The checksum keeps most inputs out; read them all the same.
		if d.err != nil && len(p) > 5 {
			d = &Decoder{what: "fuzz", b: p}
		}
		for _, c := range calls {
			switch c % 8 {
			case 0:
				d.HObject()
			case 1:
				d.ReqID()
			case 2:
				d.EVersion()
			case 3:
				if len(d.Bytes()) > len(p) {
					t.Fatal("more bytes than there were")
				}
			case 4:
				if d.Count() > len(p) {
					t.Fatal("a count over the record")
				}
			case 5:
				d.I32()
			case 6:
				d.Bool()
			case 7:
				d.U32()
			}
		}
	})
}
