package objop

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/spirula/spirula/rados/wire"
)

func asker(n int64) Asker {
	return Asker{Client: wire.EntityName{Type: wire.EntityClient, Num: n},
		Addr: wire.Addr{Type: wire.AddrMsgr2, Nonce: uint32(n), IP: netip.MustParseAddrPort("127.0.0.1:0")}}
}

func watchOp(kind wire.WatchOp, cookie uint64, timeout uint32) wire.Op {
	return wire.Op{Code: wire.OpWatch, Watch: kind, Num: cookie, Len: uint64(timeout)}
}

func (w *world) ask(who Asker, ops ...wire.Op) *Outcome {
	w.t.Helper()
	return w.run("o", Request{Ops: ops, Snap: wire.NoSnap, Asker: who})
}

// cookies gives the cookies of the object's watches, by LIST_WATCHERS.
func (w *world) cookies() (got []uint64) {
	w.t.Helper()
	for _, x := range w.op("o", code(wire.OpListWatchers)).Results[0].Watchers {
		got = append(got, x.Cookie)
	}
	return got
}

func TestWatch(t *testing.T) {
	w := newWorld(t)
	a, b := asker(1), asker(2)
	for _, kind := range []wire.WatchOp{wire.WatchRegister, wire.WatchReconnect, wire.WatchPing, wire.WatchUnwatch} {
		if r := w.ask(a, watchOp(kind, 7, 0)).Result; r != -2 {
			t.Fatalf("kind %d without an object: %d", kind, r)
		}
	}
	w.op("o", full("data"))
	before := w.load("o").Info
	out := w.ask(a, watchOp(wire.WatchRegister, 7, 0))
	want := Watch{Client: a.Client, Cookie: 7, Timeout: WatchTimeout, Addr: a.Addr}
	if out.Result != 0 || out.UserChange || len(out.Effects.Watches) != 1 || out.Effects.Watches[0] != (WatchEffect{wire.WatchRegister, want}) {
		t.Fatalf("register: %d %+v", out.Result, out.Effects)
	}
	if now := w.load("o").Info; now.UserVersion != before.UserVersion || now.MTime != before.MTime || now.Version == before.Version {
		t.Fatalf("a watch is a version of the PG's, not of the client's: %+v, %+v", before, now)
	}
	w.ask(b, watchOp(wire.WatchRegister, 7, 9), watchOp(wire.WatchRegister, 3, 9))
	if got := w.cookies(); cmp.Diff(got, []uint64{3, 7, 7}) != "" {
		t.Fatalf("cookies %v", got)
	}
	if out := w.ask(a, watchOp(wire.WatchRegister, 7, 0)); out.Changed || len(out.Effects.Watches) != 1 {
		t.Fatalf("the same watch again: %+v", out.Effects)
	}
	if out := w.ask(a, watchOp(wire.WatchRegister, 7, 5)); !out.Changed || out.Effects.Watches[0].Watch.Timeout != 5 {
		t.Fatalf("another timeout: %+v", out.Effects)
	}
	for _, c := range []struct {
		who  Asker
		op   wire.Op
		want int32
	}{{a, watchOp(wire.WatchReconnect, 7, 0), 0}, {a, watchOp(wire.WatchPing, 7, 0), 0}, {a, watchOp(wire.WatchPing, 3, 0), -107},
		{a, watchOp(wire.WatchReconnect, 3, 0), -107}, {a, watchOp(wire.WatchUnwatch, 3, 0), 0}, {a, watchOp(4, 7, 0), -22}} {
		if out := w.ask(c.who, c.op); out.Result != c.want || out.Changed {
			t.Fatalf("%+v: %d, changed %v", c.op, out.Result, out.Changed)
		}
	}
	if out := w.ask(a, watchOp(wire.WatchUnwatch, 7, 0)); out.Result != 0 || len(out.Effects.Watches) != 1 {
		t.Fatalf("unwatch: %+v", out)
	}
	if got := w.cookies(); cmp.Diff(got, []uint64{3, 7}) != "" {
		t.Fatalf("after unwatch: %v", got)
	}
	if out := w.ask(a, watchOp(wire.WatchRegister, 1, 0), createExcl); out.Result != -17 || len(out.Effects.Watches) != 0 {
		t.Fatalf("a failed vector: %+v", out)
	}
	if Writes([]wire.Op{watchOp(wire.WatchPing, 1, 0)}) || !Writes([]wire.Op{watchOp(wire.WatchUnwatch, 1, 0)}) {
		t.Fatal("a ping is a read, other watch operations write")
	}
}

// TestWatchBound: an object has a bounded number of watches, and their record
// fits.
func TestWatchBound(t *testing.T) {
	w := newWorld(t)
	w.op("o", create)
	var ops []wire.Op
	for i := range MaxWatches {
		ops = append(ops, watchOp(wire.WatchRegister, 1<<63+uint64(i), 1<<31))
	}
	if r := w.ask(asker(1<<40), ops...).Result; r != 0 {
		t.Fatalf("%d watches: %d", len(ops), r)
	}
	if r := w.ask(asker(1), watchOp(wire.WatchRegister, 5, 0)).Result; r != -12 {
		t.Fatalf("one more: %d", r)
	}
	info := w.load("o").Info
	if n := len(info.Encode()); n > MaxXattrValue {
		t.Fatalf("a record of %d bytes", n)
	}
}

// TestWatchesAndSnapshots: watches are the head's alone, and no reason for a
// clone.
func TestWatchesAndSnapshots(t *testing.T) {
	w := newWorld(t)
	w.at("o", ctx(0), full("A"))
	req := Request{Ops: []wire.Op{watchOp(wire.WatchRegister, 7, 0)}, Snap: wire.NoSnap, SnapC: ctx(3, 3), Asker: asker(1)}
	w.run("o", req)
	if o := w.load("o"); len(o.SnapSet.Clones) != 0 || o.SnapSet.Seq != 0 {
		t.Fatalf("a watch made a clone: %+v", o.SnapSet)
	}
	w.at("o", ctx(3, 3), full("B"))
	if got := w.text("o", 3) + w.text("o", wire.NoSnap); got != "AB" {
		t.Fatalf("%q", got)
	}
	at3 := w.run("o", Request{Ops: []wire.Op{code(wire.OpListWatchers)}, Snap: 3}).Results[0]
	if len(at3.Watchers) != 0 || len(w.cookies()) != 1 {
		t.Fatalf("watches at the clone: %+v", at3.Watchers)
	}
	w.at("o", ctx(3, 3), wire.Op{Code: wire.OpRollback, Num: 3})
	if len(w.cookies()) != 1 {
		t.Fatal("a rollback ended the watch")
	}
	w.at("o", ctx(4, 4, 3), full("C"))
	if r := w.at("o", ctx(4, 4, 3), wire.Op{Code: wire.OpRollback, Num: 2}).Result; r != -16 {
		t.Fatalf("a rollback to before the birth of a watched object: %d", r)
	}
	out := w.at("o", ctx(4, 4, 3), del)
	if out.Result != 0 || len(out.Effects.Disconnect) != 1 || out.Effects.Disconnect[0].Cookie != 7 {
		t.Fatalf("delete: %+v", out.Effects)
	}
	w.at("o", ctx(4, 4, 3), create)
	if len(w.cookies()) != 0 {
		t.Fatal("the watch outlives its object")
	}
}

func TestNotify(t *testing.T) {
	w := newWorld(t)
	note := wire.Op{Code: wire.OpNotify, Num: 5, Value: wire.NotifyInput{Timeout: 3}.Append(nil)}
	ack := wire.Op{Code: wire.OpNotifyAck, Value: wire.NotifyAckInput{NotifyID: 9, Cookie: 7}.Append(nil)}
	if r := w.op("o", note).Result; r != -2 {
		t.Fatalf("without an object: %d", r)
	}
	w.op("o", create)
	out := w.op("o", stat, note, ack)
	if out.Result != 0 || cmp.Diff(out.Effects.Notifies, []int{1}) != "" || cmp.Diff(out.Effects.Acks, []int{2}) != "" {
		t.Fatalf("%d %+v", out.Result, out.Effects)
	}
	if out := w.op("o", note, getx("none")); out.Result != -61 || len(out.Effects.Notifies) != 0 {
		t.Fatalf("a failed vector notifies: %+v", out.Effects)
	}
	if r := w.op("o", wire.Op{Code: wire.OpNotifyAck, Value: []byte("x")}).Result; r != -22 {
		t.Fatalf("a malformed ack: %d", r)
	}
}
