package storetest

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/spirula/spirula/osd/store"
	"github.com/spirula/spirula/rados/wire"
)

func testXattrs(t *testing.T, f *fixture) {
	o := obj("xattrs")
	big := fill(60_000, 1)
	value := []byte("small")
	f.do(func(t *store.Txn) {
		t.SetXattrs(o, wire.KV{Key: "b", Value: big}, wire.KV{Key: "a", Value: value}, wire.KV{Key: "empty"})
	})
	f.wait()
	value[0] = 'S' // the caller's own again
	kvs, err := f.Xattrs(o)
	if err != nil || len(kvs) != 3 || kvs[0].Key != "a" || string(kvs[0].Value) != "small" || !bytes.Equal(kvs[1].Value, big) {
		t.Fatalf("xattrs %v, %v", kvs, err)
	}
	f.do(func(t *store.Txn) {
		t.SetXattrs(o, wire.KV{Key: "b", Value: []byte("now small")})
		t.RmXattr(o, "a")
		t.RmXattr(o, "never")
	})
	_, err = f.Xattr(o, "a")
	f.fails(wire.ENODATA, err)
	if v, err := f.Xattr(o, "b"); err != nil || string(v) != "now small" {
		t.Errorf("b is %q, %v", v, err)
	}
	// Many: some stay in the onode, some don't.
	for i := range 30 {
		f.do(func(t *store.Txn) { t.SetXattrs(o, wire.KV{Key: fmt.Sprint("n", i), Value: fill(300, byte(i))}) })
	}
	for i := range 30 {
		if v, err := f.Xattr(o, fmt.Sprint("n", i)); err != nil || !bytes.Equal(v, fill(300, byte(i))) {
			t.Errorf("n%d: %v", i, err)
		}
	}
	f.do(func(t *store.Txn) { t.Remove(o) })
}

func testOmap(t *testing.T, f *fixture) {
	o := obj("omap")
	set := func(keys ...string) {
		var kvs []wire.KV
		for _, k := range keys {
			kvs = append(kvs, wire.KV{Key: k, Value: []byte("v" + k)})
		}
		f.do(func(t *store.Txn) { t.OmapSet(o, kvs) })
	}
	set("b", "a", "c/1", "c/2", "c/3", "d", "", "e\x00f", "e")
	wantRows(t, f, o, "=v a=va b=vb c/1=vc/1 c/2=vc/2 c/3=vc/3 d=vd e=ve e\x00f=ve\x00f")
	kvs, more, err := f.OmapList(o, "a", "", 2, false)
	if err != nil || !more || len(kvs) != 2 || kvs[0].Key != "b" || kvs[1].Key != "c/1" || kvs[0].Value != nil {
		t.Errorf("after a: %v %v %v", kvs, more, err)
	}
	kvs, more, err = f.OmapList(o, "c/1", "c/", 10, true)
	if err != nil || more || len(kvs) != 2 || kvs[1].Key != "c/3" {
		t.Errorf("c/ after c/1: %v %v %v", kvs, more, err)
	}
	kvs, _, err = f.OmapList(o, "z", "c/", 10, true)
	if err != nil || len(kvs) != 0 {
		t.Errorf("c/ after z: %v %v", kvs, err)
	}
	kvs, err = f.OmapGet(o, []string{"d", "none", "a"})
	if err != nil || len(kvs) != 2 || kvs[0].Key != "d" || string(kvs[1].Value) != "va" {
		t.Errorf("get: %v %v", kvs, err)
	}
	f.do(func(t *store.Txn) {
		t.OmapSet(o, []wire.KV{{Key: "c/4"}, {Key: "b", Value: []byte("new")}})
		t.OmapRmRange(o, "c/", "d")
		t.OmapRm(o, []string{"a", "e", "e\x00f", "", "none"})
		t.OmapSet(o, []wire.KV{{Key: "c/9", Value: []byte("late")}})
	})
	wantRows(t, f, o, "b=new c/9=late d=vd")
	f.do(func(t *store.Txn) { t.OmapHeader(o, []byte("h")) })
	if h, err := f.OmapHeader(o); err != nil || string(h) != "h" {
		t.Errorf("header %q, %v", h, err)
	}
	f.do(func(t *store.Txn) {
		t.OmapClear(o)
		t.OmapSet(o, []wire.KV{{Key: "n", Value: []byte("1")}})
	})
	wantRows(t, f, o, "n=1")
	if h, err := f.OmapHeader(o); err != nil || len(h) != 0 {
		t.Errorf("header after clear %q, %v", h, err)
	}
	f.do(func(t *store.Txn) {
		t.Remove(o)
		t.Touch(o)
	})
	wantRows(t, f, o, "")
}

// testOmapMany goes over the bounds up to which rows are handled at once.
func testOmapMany(t *testing.T, f *fixture) {
	a, b := obj("many"), obj("copy")
	key := func(i int) string { return fmt.Sprintf("%06d", i) }
	const n = 3500
	for i := 0; i < n; i += 500 {
		var kvs []wire.KV
		for j := range 500 {
			kvs = append(kvs, wire.KV{Key: key(i + j), Value: []byte(key(j))})
		}
		f.do(func(t *store.Txn) { t.OmapSet(a, kvs) })
	}
	count := func(o store.ObjectID) int {
		t.Helper()
		kvs, _, err := f.OmapList(o, "", "", -1, false)
		if err != nil {
			t.Fatal(err)
		}
		return len(kvs)
	}
	f.do(func(t *store.Txn) {
		t.Clone(a, b)
		t.OmapRmRange(a, key(100), key(3400))
	})
	if got := count(a); got != 200 {
		t.Errorf("%d rows left, want 200", got)
	}
	if got := count(b); got != n {
		t.Errorf("%d rows copied, want %d", got, n)
	}
	f.do(func(t *store.Txn) { t.OmapClear(b) })
	if got := count(b); got != 0 {
		t.Errorf("%d rows after clear", got)
	}
	f.do(func(t *store.Txn) { t.Remove(a) })
}

func testMeta(t *testing.T, f *fixture) {
	p := wire.SPGID{PGID: wire.PGID{Pool: 1, Seed: 0xFFFFFFFF}, Shard: wire.NoShard}
	q := wire.SPGID{PGID: wire.PGID{Pool: 2}, Shard: wire.NoShard}
	f.do(func(t *store.Txn) {
		t.MetaSet(p, wire.KV{Key: "a", Value: []byte("1")}, wire.KV{Key: "b\xff", Value: []byte("2")}, wire.KV{Key: "c"})
		t.MetaSet(q, wire.KV{Key: "a", Value: []byte("other")})
	})
	if v, err := f.MetaGet(p, "a"); err != nil || string(v) != "1" {
		t.Errorf("a is %q, %v", v, err)
	}
	_, err := f.MetaGet(p, "none")
	f.fails(wire.ENOENT, err)
	kvs, more, err := f.MetaList(p, "a", "c", 1)
	if err != nil || !more || len(kvs) != 1 || kvs[0].Key != "a" {
		t.Errorf("list: %v %v %v", kvs, more, err)
	}
	kvs, more, err = f.MetaList(p, "b", "", -1)
	if err != nil || more || len(kvs) != 2 || kvs[0].Key != "b\xff" || kvs[1].Key != "c" {
		t.Errorf("list: %v %v %v", kvs, more, err)
	}
	f.do(func(t *store.Txn) {
		t.MetaSet(p, wire.KV{Key: "b1"})
		t.MetaRmRange(p, "b", "c")
		t.MetaRm(p, "a", "none")
	})
	kvs, _, err = f.MetaList(p, "", "", -1)
	if err != nil || len(kvs) != 1 || kvs[0].Key != "c" {
		t.Errorf("left: %v %v", kvs, err)
	}
	if v, err := f.MetaGet(q, "a"); err != nil || string(v) != "other" {
		t.Errorf("the other PG's a is %q, %v", v, err)
	}
}

func testList(t *testing.T, f *fixture) {
	var want []store.ObjectID
	add := func(change func(*store.ObjectID)) {
		o := obj("x")
		o.Hash = 0x10
		change(&o)
		want = append(want, o)
		f.do(func(t *store.Txn) { t.Touch(o) })
	}
	// In listing order: by bit-reversed hash, namespace, key, name, snap, gen.
	add(func(o *store.ObjectID) { o.Pool = -5 })
	add(func(o *store.ObjectID) { o.Hash = 0 })
	add(func(o *store.ObjectID) { o.Name = ""; o.Key = "" })
	add(func(o *store.ObjectID) { o.Name = "\x00" })
	add(func(o *store.ObjectID) { o.Name = "\x00\x01" })
	add(func(o *store.ObjectID) { o.Name = "a"; o.Snap = 4 })
	add(func(o *store.ObjectID) { o.Name = "a"; o.Snap = 5 })
	add(func(o *store.ObjectID) { o.Name = "a"; o.Gen = 9 })
	add(func(o *store.ObjectID) { o.Name = "a" })
	add(func(o *store.ObjectID) { o.Name = "z"; o.Key = "b" })
	add(func(o *store.ObjectID) { o.Name = "c" })
	add(func(o *store.ObjectID) { o.Name = "a"; o.Namespace = "n" })
	add(func(o *store.ObjectID) { o.Hash = 0x1 })
	add(func(o *store.ObjectID) { o.Pool = 1 << 40 })
	got, more, err := f.List(wire.NoShard, wire.MinHObject, wire.MaxHObject, 1000)
	if err != nil || more || fmt.Sprint(got) != fmt.Sprint(want) {
		t.Fatalf("list is\n%v, want\n%v (%v)", got, want, err)
	}
	// From and to any of them, whole and the first few.
	for i := range want {
		for j := i; j < len(want); j++ {
			first, end := want[i].HObject, want[j].HObject
			var part []store.ObjectID
			for _, o := range want {
				if o.HObject.Compare(first) >= 0 && o.HObject.Compare(end) < 0 {
					part = append(part, o)
				}
			}
			for _, max := range []int{3, 100} {
				got, more, err := f.List(wire.NoShard, first, end, max)
				n := min(max, len(part))
				if err != nil || more != (n < len(part)) || fmt.Sprint(got) != fmt.Sprint(part[:n]) {
					t.Fatalf("list of %d from %d to %d is %v %v, want %v (%v)", max, i, j, got, more, part[:n], err)
				}
			}
		}
	}
	if ids, _, err := f.List(2, wire.MinHObject, wire.MaxHObject, 10); err != nil || len(ids) != 0 {
		t.Errorf("another shard has %v, %v", ids, err)
	}
}
