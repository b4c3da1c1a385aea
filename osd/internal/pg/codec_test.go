package pg

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/spirula/spirula/osd/store"
	"github.com/spirula/spirula/rados/wire"
)

// examples has a message of every type, all of its fields set.
func examples() []Message {
	h := Head{PG: testPG, From: 2, Epoch: 7, At: 9}
	o := wire.HObject{Pool: 3, Hash: 77, Namespace: "ns", Key: "k", Name: "name", Snap: wire.NoSnap}
	v, u := wire.EVersion{Epoch: 6, Version: 40}, wire.EVersion{Epoch: 5, Version: 3}
	e := Entry{Kind: KindModify, Object: o, Version: v, Prior: u, UserVersion: 8, ReqID: req(4), MTime: 99, Result: -2,
		Rvals: []int32{1}, Stats: Stats{1, 2, 3}}
	i := Info{History: History{Created: 1, Started: 2, Clean: 3, PastFrom: 4, Past: []Past{{5, 6, []int32{0, 1}}}},
		Held: true, LogTail: u, LastUpdate: v, LastStarted: 6, Backfilled: o, Missing: 3}
	t := store.Txn{}
	t.Write(simID(o), 5, wire.DataOf([]byte("data")))
	t.SetXattrs(simID(o), wire.KV{Key: "_", Value: []byte("x")})
	lack := []Missing{{o, v, true}}
	return []Message{
		&RepOp{Head: h, Entry: e, Txn: t, Trim: 200}, &RepAck{Head: h, Version: v}, &Query{h}, &Notify{h, i}, &GetLog{h, v},
		&Log{h, i, u, []Entry{e}}, &Activate{h, i, u, true, []Entry{e, e}}, &Activated{h, lack, o, true}, &Pull{h, o, v},
		&Push{Head: h, Object: o, Version: v, Piece: 3, Last: true, Parts: []wire.SnapID{4, wire.NoSnap}, Snaps: []wire.SnapID{4, 3},
			Txn: t, Pull: true, Failed: true, Knows: true},
		&PushAck{h, o, 4, true}, &Scan{h, wire.MinHObject, o}, &Scanned{h, o, wire.MaxHObject, lack}, &Progress{h, o},
		&Progressed{h, o}, &Update{h, i.History}, &Remove{h},
	}
}

func TestCodecs(t *testing.T) {
	reg := wire.NewRegistry(Codecs())
	seen := map[wire.MsgType]bool{}
	for _, m := range examples() {
		seen[m.MsgType()] = true
		parts, err := reg.Encode(nil, m)
		if err != nil {
			t.Fatalf("%T: %v", m, err)
		}
		got, err := reg.Decode(parts)
		if err != nil {
			t.Fatalf("%T: %v", m, err)
		}
		same := cmp.Comparer(func(a, b wire.Data) bool { return string(a.Bytes()) == string(b.Bytes()) })
		if d := cmp.Diff(m, got, same); d != "" {
			t.Errorf("%T: %s", m, d)
		}
		for n := range parts.Front {
			short := parts
			short.Front = parts.Front[:n]
			if _, err := reg.Decode(short); err == nil {
				t.Fatalf("%T: %d of %d bytes are enough", m, n, len(parts.Front))
			}
		}
	}
	if len(seen) != len(Codecs()) {
		t.Fatalf("%d types tried of %d", len(seen), len(Codecs()))
	}
}

func FuzzCodecs(f *testing.F) {
	reg := wire.NewRegistry(Codecs())
	for _, m := range examples() {
		p, _ := reg.Encode(nil, m)
		f.Add(uint16(p.Type), p.Front, p.Data.Bytes())
	}
	f.Fuzz(func(t *testing.T, typ uint16, front, data []byte) {
		in := wire.Parts{Header: wire.Header{Type: wire.MsgType(typ), Version: 1, Compat: 1}, Front: front, Data: wire.DataOf(data)}
		if _, own := Codecs()[in.Type]; !own {
			return
		}
		if m, err := reg.Decode(in); err == nil {
			if _, err := reg.Encode(nil, m); err != nil {
				t.Fatal(err)
			}
		}
	})
}
