package osd

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/spirula/spirula/osd/store"
	"github.com/spirula/spirula/osd/store/storetest"
	"github.com/spirula/spirula/rados/clustermap"
	"github.com/spirula/spirula/rados/msgr"
	"github.com/spirula/spirula/rados/wire"
)

func (c *cluster) copyOp(object string, snap wire.SnapID, version uint64) wire.Op {
	return wire.Op{Code: wire.OpCopyFrom, Source: &wire.CopySource{Object: object, Snap: snap, Version: version,
		Locator: wire.ObjectLocator{Pool: c.pool, Hash: -1}}}
}

func TestCopyFrom(t *testing.T) {
	for _, osds := range []int{1, 3} {
		c := newCluster(t, clusterOptions{osds: osds, size: uint8(osds), pgs: 8})
		cl := c.cl
		rng := rand.New(rand.NewPCG(7, 7))
		big := make([]byte, 11<<20+77)
		for i := range big {
			big[i] = byte(rng.Uint32())
		}
		var kvs []wire.KV
		for i := range 2500 {
			kvs = append(kvs, wire.KV{Key: fmt.Sprintf("k%05d", i), Value: []byte(fmt.Sprint(i))})
		}
		src := want(t, cl.op("src", wire.Op{Code: wire.OpWriteFull, Data: wire.DataOf(big)},
			wire.Op{Code: wire.OpSetXattr, Name: "a", Value: []byte("b")},
			wire.Op{Code: wire.OpOmapSetHeader, Value: []byte("head")}, wire.Op{Code: wire.OpOmapSetVals, KVs: kvs}), 0)
		for i := range 12 { // some of them in other PGs, on other OSDs
			name := fmt.Sprint("dst", i)
			want(t, cl.op(name, c.copyOp("src", wire.NoSnap, 0)), 0)
			r := want(t, cl.op(name, wire.Op{Code: wire.OpGetXattrs}, wire.Op{Code: wire.OpOmapGetHeader},
				wire.Op{Code: wire.OpOmapGetVals, Name: "k02499", Num: 10}, wire.Op{Code: wire.OpOmapGetVals, Name: "k02498", Num: 10}, read()), 0)
			if len(r.Results[0].KVs) != 1 || string(r.Results[1].Value) != "head" || len(r.Results[2].KVs) != 0 ||
				len(r.Results[3].KVs) != 1 || !bytes.Equal(r.Results[4].Data.Bytes(), big) {
				t.Fatalf("%s is no copy: %v %q %v %v %d bytes", name, r.Results[0].KVs, r.Results[1].Value, r.Results[2].KVs,
					r.Results[3].KVs, r.Results[4].Data.Len())
			}
			r.Release()
		}
		want(t, cl.op("d", c.copyOp("none", wire.NoSnap, 0)), -2)
		want(t, cl.op("d", c.copyOp("src", wire.NoSnap, src.UserVersion)), 0)
		want(t, cl.op("d", c.copyOp("src", wire.NoSnap, src.UserVersion+1)), -75)
		want(t, cl.op("src", wire.Op{Code: wire.OpSetXattr, Name: "a", Value: []byte("c")}), 0)
		want(t, cl.op("d", c.copyOp("src", wire.NoSnap, src.UserVersion)), -34)
		want(t, cl.op("src", c.copyOp("src", wire.NoSnap, 0)), -22)
		other := c.copyOp("src", wire.NoSnap, 0)
		other.Source.Locator.Pool = 99
		want(t, cl.op("d", other), -2)
		// From a snapshot, of another object and of itself.
		m := cl.message("src", wire.Op{Code: wire.OpWriteFull, Data: wire.DataOf([]byte("new"))})
		m.SnapC = wire.SnapContext{Seq: 5, Snaps: []wire.SnapID{5}}
		want(t, cl.do(m), 0)
		want(t, cl.op("d", c.copyOp("src", 5, 0)), 0)
		r := want(t, cl.op("d", wire.Op{Code: wire.OpStat}), 0)
		if r.Results[0].Size != uint64(len(big)) {
			t.Fatalf("size %d", r.Results[0].Size)
		}
		m = cl.message("src", c.copyOp("src", 5, 0))
		m.SnapC = wire.SnapContext{Seq: 5, Snaps: []wire.SnapID{5}}
		want(t, cl.do(m), 0)
		r = want(t, cl.op("src", wire.Op{Code: wire.OpStat}), 0)
		if r.Results[0].Size != uint64(len(big)) {
			t.Fatalf("size %d", r.Results[0].Size)
		}
	}
}

// TestCopyKeepsOrder: what follows a copy sees it, though its source takes
// time; two objects that are copied from each other do not stand for ever.
func TestCopyKeepsOrder(t *testing.T) {
	m := storetest.NewModel(storetest.ModelOptions{Inline: true})
	slow := &slowReads{Model: m, object: "src"}
	c := &cluster{t: t, mon: newFakeMon(t, 1), net: msgr.NewLocal(), mods: []ObjectStore{slow}, osds: []*OSD{nil}}
	c.start(0)
	c.waitFor("osd up", func() bool { return c.mon.cur().NumUp() == 1 })
	c.pool = c.mon.addPool("p", 1, 4)
	c.waitActive()
	c.cl = c.client(4100)
	want(t, c.cl.op("src", write(0, "source")), 0)
	want(t, c.cl.op("dst", write(0, "before")), 0)
	first := c.cl.start(c.cl.message("dst", c.copyOp("src", wire.NoSnap, 0)))
	second := c.cl.start(c.cl.message("dst", wire.Op{Code: wire.OpAppend, Data: wire.DataOf([]byte("+"))}))
	third := c.cl.start(c.cl.message("dst", read()))
	c.mon.change(func(*clustermap.OSDMap, *clustermap.Incremental) {}) // the fetch is sent again
	want(t, <-first, 0)
	want(t, <-second, 0)
	wantData(t, <-third, "source+")
}

// slowReads is a store in which reading one object takes a while.
type slowReads struct {
	*storetest.Model
	object string
}

func (s *slowReads) Read(o store.ObjectID, off, n uint64) (wire.Data, error) {
	if o.Name == s.object {
		time.Sleep(50 * time.Millisecond)
	}
	return s.Model.Read(o, off, n)
}

// TestHostile: messages that make no sense are answered, dropped or refused,
// and the daemon goes on.
func TestHostile(t *testing.T) {
	c := newCluster(t, clusterOptions{net: &remoteNet{Local: msgr.NewLocal()}})
	cl := c.cl
	want(t, cl.op("o", write(0, "x")), 0)
	rng := rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 1))
	codes := []wire.OpCode{wire.OpInvalid, wire.OpRead, wire.OpStat, wire.OpSparseRead, wire.OpNotify, wire.OpNotifyAck,
		wire.OpAssertVer, wire.OpListWatchers, wire.OpListSnaps, wire.OpOmapGetKeys, wire.OpOmapGetVals, wire.OpOmapCmp,
		wire.OpChecksum, wire.OpCmpExt, wire.OpGetXattr, wire.OpCmpXattr, wire.OpCall, wire.OpPGNLS, wire.OpPGNLSFilter, 0x1501, 0x1507,
		wire.OpWrite, wire.OpWriteFull, wire.OpTruncate, wire.OpZero, wire.OpDelete, wire.OpAppend, wire.OpCreate, wire.OpRollback,
		wire.OpWatch, wire.OpOmapSetVals, wire.OpOmapRmKeyRange, wire.OpCopyFrom, wire.OpCopyFrom2, wire.OpSetAllocHint,
		wire.OpWriteSame, wire.OpSetXattr, wire.OpRmXattr, 0x3222, 0x8001, 0xffff}
	num := func() uint64 {
		return []uint64{0, 1, 5, 4096, 1 << 27, 1 << 40, 1<<63 - 1, 1<<64 - 1, rng.Uint64()}[rng.IntN(9)]
	}
	raw := [28]byte{1}
	for i := range 4000 {
		var ops []wire.Op
		for range rng.IntN(4) {
			op := wire.Op{Code: codes[rng.IntN(len(codes))], Flags: wire.OpFlag(rng.Uint32N(4)), Off: num(), Len: num(), Num: num(),
				Gen: rng.Uint32(), Watch: wire.WatchOp(rng.IntN(9)), CmpOp: wire.CmpOp(rng.IntN(8)), CmpMode: wire.CmpMode(rng.IntN(4))}
			if rng.IntN(2) == 0 {
				op.Name, op.Name2, op.Value = "lock", "get_info", []byte{1, 2, 3}
				op.Data = wire.DataOf([]byte("abc"))
			}
			if rng.IntN(3) == 0 {
				op.Raw = &raw
				op.Cursor = &wire.HObject{Pool: int64(num()), Hash: rng.Uint32(), Snap: wire.SnapID(num())}
			}
			if rng.IntN(2) == 0 {
				op.Source = &wire.CopySource{Object: []string{"o", "p", ""}[rng.IntN(3)], Snap: wire.SnapID(num()), Version: num(),
					Locator: wire.ObjectLocator{Pool: c.pool * int64(rng.IntN(2)), Hash: -1}}
			}
			ops = append(ops, op)
		}
		m := cl.message([]string{"o", "", "q"}[rng.IntN(3)], ops...)
		m.Snap = wire.SnapID(num())
		if rng.IntN(2) == 0 {
			m.Snap = wire.NoSnap
		}
		m.Flags = wire.OSDFlag(rng.Uint32())
		if rng.IntN(20) == 0 {
			m.PG.Pool, m.PG.Seed, m.PG.Shard = int64(num()), rng.Uint32(), int8(rng.Uint32())
		}
		if rng.IntN(20) == 0 {
			m.SnapC = wire.SnapContext{Seq: wire.SnapID(num()), Snaps: []wire.SnapID{wire.SnapID(num()), wire.SnapID(num())}}
		}
		epoch := m.Epoch
		if rng.IntN(50) == 0 {
			epoch = wire.Epoch(num())
		}
		cl.start(m)
		_ = epoch
		if i%7 == 0 {
			b := &wire.MOSDBackoff{PG: m.PG, Op: wire.BackoffOp(rng.IntN(4)), ID: num(), Epoch: epoch}
			cl.say(b)
			cl.say(&wire.MPing{})
			cl.say(&wire.MOSDMap{})
		}
	}
	good := c.client(4500)
	want(t, good.op("fine", write(0, "x")), 0)
	wantData(t, good.op("fine", read()), "x")
}
