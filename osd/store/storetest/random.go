package storetest

import (
	"bytes"
	"fmt"
	"math/rand/v2"

	"github.com/spirula/spirula/osd/store"
	"github.com/spirula/spirula/rados/wire"
)

// Random makes transactions on a few objects and PG rows of one pool, such
// that every kind of step, offset and size meets every other soon. Two with
// the same seed and settings make the same.
type Random struct {
	rng *rand.Rand
	// Pool is that of the objects, and of the PG whose rows change.
	Pool int64
	// Objects is how many names there are.
	Objects int
	// MaxSize bounds the objects' size, in bytes.
	MaxSize int
}

// NewRandom makes a Random.
func NewRandom(seed uint64, pool int64) *Random {
	return &Random{rng: rand.New(rand.NewPCG(seed, uint64(pool))), Pool: pool, Objects: 6, MaxSize: 1 << 20}
}

// Object is object i of the pool: half of them heads, half clones.
func (r *Random) Object(i int) store.ObjectID {
	o := store.ObjectID{Shard: wire.NoShard, Gen: store.NoGen}
	o.Pool, o.Name, o.Snap = r.Pool, fmt.Sprintf("object%d", i/2), wire.NoSnap
	o.Hash = uint32(i/2) * 0x9E3779B1
	if i%2 == 1 {
		o.Snap = wire.SnapID(i)
	}
	return o
}

// PG is the one whose rows change.
func (r *Random) PG() wire.SPGID {
	return wire.SPGID{PGID: wire.PGID{Pool: r.Pool, Seed: 1}, Shard: wire.NoShard}
}

func (r *Random) object() store.ObjectID { return r.Object(r.rng.IntN(r.Objects)) }

// offset prefers the edges of blocks, shards and of what is inline.
func (r *Random) offset() uint64 {
	switch r.rng.IntN(4) {
	case 0:
		return uint64(r.rng.IntN(3000))
	case 1:
		return uint64(r.rng.IntN(r.MaxSize/4096+1)) * 4096
	case 2:
		return uint64(max(0, r.rng.IntN(r.MaxSize/262144+1)*262144+r.rng.IntN(200)-100))
	}
	return uint64(r.rng.IntN(r.MaxSize))
}

func (r *Random) length() int {
	switch r.rng.IntN(6) {
	case 0:
		return r.rng.IntN(200)
	case 1:
		return 4096
	case 2:
		return r.rng.IntN(8) * 4096
	case 3:
		return r.rng.IntN(3000)
	case 4:
		return r.rng.IntN(r.MaxSize / 3)
	}
	return r.rng.IntN(20000)
}

// Bytes gives n bytes in one to three segments.
func (r *Random) Bytes(n int) wire.Data {
	var d wire.Data
	for n > 0 {
		k := n
		if r.rng.IntN(3) == 0 {
			k = 1 + r.rng.IntN(n)
		}
		d.AppendData(wire.CopyData(r.bytes(k)))
		n -= k
	}
	return d
}

func (r *Random) bytes(n int) []byte {
	b := make([]byte, n)
	x := r.rng.Uint64()
	for i := range b {
		x = x*6364136223846793005 + 1442695040888963407
		b[i] = byte(x >> 56)
	}
	return b
}

func (r *Random) kvs(prefix string) []wire.KV {
	kvs := make([]wire.KV, 1+r.rng.IntN(4))
	for i := range kvs {
		size := r.rng.IntN(40)
		if r.rng.IntN(8) == 0 {
			size = r.rng.IntN(3000)
		}
		kvs[i] = wire.KV{Key: r.key(prefix), Value: r.bytes(size)}
	}
	return kvs
}

func (r *Random) key(prefix string) string { return fmt.Sprintf("%s%02d", prefix, r.rng.IntN(24)) }

// Txn makes a transaction of one to four steps.
func (r *Random) Txn() *store.Txn {
	t := new(store.Txn)
	for range 1 + r.rng.IntN(4) {
		r.step(t)
	}
	return t
}

func (r *Random) step(t *store.Txn) {
	o := r.object()
	switch r.rng.IntN(26) {
	case 0:
		t.Touch(o)
	case 1, 2, 3, 4, 5, 6, 7:
		off := r.offset()
		t.Write(o, off, r.Bytes(min(r.length(), max(0, r.MaxSize-int(off)))))
	case 8, 9:
		t.Zero(o, r.offset(), uint64(r.length()))
	case 10, 11:
		t.Truncate(o, r.offset())
	case 12:
		t.Remove(o)
	case 13, 14:
		if dst := r.object(); dst != o {
			// A clone's source has to be there.
			t.Touch(o)
			t.Clone(o, dst)
		}
	case 15, 16:
		t.SetXattrs(o, r.kvs("x")...)
	case 17:
		t.RmXattr(o, r.key("x"))
	case 18, 19:
		t.OmapSet(o, r.kvs("k"))
	case 20:
		t.OmapRm(o, []string{r.key("k"), r.key("k")})
	case 21:
		t.OmapRmRange(o, r.key("k"), r.key("k"))
	case 22:
		t.OmapHeader(o, r.bytes(r.rng.IntN(30)))
	case 23:
		if r.rng.IntN(3) == 0 {
			t.OmapClear(o)
		}
	case 24:
		t.MetaSet(r.PG(), r.kvs("m")...)
	case 25:
		if r.rng.IntN(2) == 0 {
			t.MetaRm(r.PG(), r.key("m"))
		} else {
			t.MetaRmRange(r.PG(), r.key("m"), r.key("m"))
		}
	}
}

// Release gives up the references on a transaction's data.
func Release(t *store.Txn) {
	for i := range t.Ops {
		t.Ops[i].Data.Release()
	}
}

// Compare says how the two differ in what r changes: "" if they don't.
func (r *Random) Compare(got, want Objects) string {
	for i := range r.Objects {
		if s := compareObject(got, want, r.Object(i)); s != "" {
			return fmt.Sprintf("object %v: %s", r.Object(i), s)
		}
	}
	a, _, err := got.MetaList(r.PG(), "", "", -1)
	if err != nil {
		return "rows: " + err.Error()
	}
	b, _, _ := want.MetaList(r.PG(), "", "", -1)
	if s := compareKVs(a, b); s != "" {
		return "rows: " + s
	}
	first, end := wire.HObject{Pool: r.Pool}, wire.HObject{Pool: r.Pool + 1}
	la, _, err := got.List(wire.NoShard, first, end, 1000)
	if err != nil {
		return "list: " + err.Error()
	}
	lb, _, _ := want.List(wire.NoShard, first, end, 1000)
	if fmt.Sprint(la) != fmt.Sprint(lb) {
		return fmt.Sprintf("list: %v, want %v", la, lb)
	}
	return ""
}

func compareObject(got, want Objects, o store.ObjectID) string {
	a, errA := got.Stat(o)
	b, errB := want.Stat(o)
	if wire.ErrnoOf(errA) != wire.ErrnoOf(errB) {
		return fmt.Sprintf("stat: %v, want %v", errA, errB)
	}
	if errB != nil {
		return ""
	}
	if a.Size != b.Size {
		return fmt.Sprintf("size %d, want %d", a.Size, b.Size)
	}
	if b.HasOmap && !a.HasOmap {
		return "has no omap"
	}
	if s := compareData(got, want, o, 0, b.Size+10); s != "" {
		return s
	}
	if s := compareData(got, want, o, b.Size/3, b.Size/3); s != "" {
		return s
	}
	xa, err := got.Xattrs(o)
	if err != nil {
		return err.Error()
	}
	xb, _ := want.Xattrs(o)
	if s := compareKVs(xa, xb); s != "" {
		return "xattrs: " + s
	}
	ha, err := got.OmapHeader(o)
	if err != nil {
		return err.Error()
	}
	if hb, _ := want.OmapHeader(o); !bytes.Equal(ha, hb) {
		return fmt.Sprintf("header %x, want %x", ha, hb)
	}
	ma, _, err := got.OmapList(o, "", "", -1, true)
	if err != nil {
		return err.Error()
	}
	mb, _, _ := want.OmapList(o, "", "", -1, true)
	if s := compareKVs(ma, mb); s != "" {
		return "omap: " + s
	}
	return ""
}

func compareData(got, want Objects, o store.ObjectID, off, n uint64) string {
	a, err := got.Read(o, off, n)
	if err != nil {
		return err.Error()
	}
	defer a.Release()
	b, err := want.Read(o, off, n)
	if err != nil {
		return "model: " + err.Error()
	}
	defer b.Release()
	x, y := a.Bytes(), b.Bytes()
	if len(x) != len(y) {
		return fmt.Sprintf("read [%d,+%d) gives %d bytes, want %d", off, n, len(x), len(y))
	}
	for i := range x {
		if x[i] != y[i] {
			return fmt.Sprintf("byte %d is %02x, want %02x", int(off)+i, x[i], y[i])
		}
	}
	return ""
}

func compareKVs(a, b []wire.KV) string {
	for i := range max(len(a), len(b)) {
		switch {
		case i >= len(a):
			return fmt.Sprintf("%q is missing", b[i].Key)
		case i >= len(b):
			return fmt.Sprintf("%q is too much", a[i].Key)
		case a[i].Key != b[i].Key:
			return fmt.Sprintf("key %q, want %q", a[i].Key, b[i].Key)
		case !bytes.Equal(a[i].Value, b[i].Value):
			return fmt.Sprintf("%q is %x, want %x", a[i].Key, a[i].Value, b[i].Value)
		}
	}
	return ""
}
