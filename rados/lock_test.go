package rados

import (
	"net/netip"
	"reflect"
	"testing"
	"time"

	"github.com/spirula/spirula/rados/wire"
)

// encodeLockers writes what decodeLockers reads.
func encodeLockers(l Lockers) []byte {
	var e wire.Encoder
	outer := e.Begin(1, 1)
	e.Count(len(l.List))
	for _, k := range l.List {
		m := e.Begin(1, 1)
		e.EntityName(k.Client)
		e.Str(k.Cookie)
		e.End(m)
		m = e.Begin(1, 1)
		if k.Expires.IsZero() {
			e.Time(0)
		} else {
			e.Time(wire.TimeOf(k.Expires))
		}
		e.Addr(k.Addr)
		e.Str(k.Description)
		e.End(m)
	}
	if l.Exclusive {
		e.U8(lockExclusive)
	} else {
		e.U8(lockShared)
	}
	e.Str(l.Tag)
	e.End(outer)
	return e.B
}

func someLockers() Lockers {
	addr := wire.Addr{Type: wire.AddrAny, Nonce: 9, IP: netip.MustParseAddrPort("10.1.2.3:0")}
	return Lockers{Tag: "t", List: []Locker{
		{Client: wire.EntityName{Type: wire.EntityClient, Num: 4100}, Cookie: "c", Addr: addr, Description: "mine"},
		{Client: wire.EntityName{Type: wire.EntityClient, Num: 4101}, Cookie: "", Addr: addr, Expires: time.Unix(2_000_000_000, 5).UTC()},
	}}
}

func TestDecodeLockers(t *testing.T) {
	want := someLockers()
	b := encodeLockers(want)
	got, err := decodeLockers(b)
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, %v\nwant %+v", got, err, want)
	}
	for n := range b {
		if _, err := decodeLockers(b[:n]); wire.ErrnoOf(err) != wire.EINVAL {
			t.Errorf("cut to %d bytes: %v", n, err)
		}
	}
	if got, err := decodeLockers(encodeLockers(Lockers{Exclusive: true})); err != nil || got.Exclusive || got.List != nil {
		t.Errorf("nobody's: %+v, %v", got, err)
	}
}

func FuzzDecodeLockers(f *testing.F) {
	f.Add(encodeLockers(someLockers()))
	f.Fuzz(func(t *testing.T, b []byte) {
		l, err := decodeLockers(b)
		if err == nil && len(l.List)*30 > len(b) {
			t.Errorf("%d lockers of %d bytes", len(l.List), len(b))
		}
	})
}
