package rados_test

import (
	"testing"

	"github.com/spirula/spirula/rados"
	"github.com/spirula/spirula/rados/clustermap"
	"github.com/spirula/spirula/rados/msgr"
	"github.com/spirula/spirula/rados/wire"
)

// nullOSD answers every request at once and does nothing.
type nullOSD struct{}

func (nullOSD) Reset(msgr.Conn) {}

func (nullOSD) Dispatch(c msgr.Conn, m wire.Message) {
	if op, ok := m.(*wire.MOSDOp); ok {
		c.Send(&wire.MOSDOpReply{TID: op.TID, PG: op.PG.PGID, Attempt: op.Attempt})
	}
}

// benchWorld is a world whose OSD does nothing.
func benchWorld(tb testing.TB) *rados.IOCtx {
	w := newWorld(tb, 1, false)
	l, err := w.net.Listen(wire.EntityName{Type: wire.EntityOSD}, wire.Addr{}, nullOSD{}, msgr.NoAuth{})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(l.Close)
	w.change(func(inc *clustermap.Incremental) {
		a := []wire.Addr{l.Addr()}
		inc.BringUp(w.cur, 0, wire.FSID{1}, a, a, a, a)
	})
	x := w.pool(w.client(nil))
	return x
}

func BenchmarkDo(b *testing.B) {
	x := benchWorld(b)
	d := wire.CopyData(make([]byte, 4096))
	b.ReportAllocs()
	for b.Loop() {
		op := rados.Op{Object: "object", Ops: []wire.Op{{Code: wire.OpWrite, Data: d}}}
		if _, err := x.Do(bg, &op); err != nil {
			b.Fatal(err)
		}
	}
}

// TestDoAllocations holds the hot path to its budget: the flight with its
// message, the reply, and the growth of the table now and then. The op and
// its vector are the caller's.
func TestDoAllocations(t *testing.T) {
	x := benchWorld(t)
	op := rados.Op{Object: "object", Ops: []wire.Op{{Code: wire.OpStat}}}
	n := testing.AllocsPerRun(2000, func() {
		if _, err := x.Do(bg, &op); err != nil {
			t.Fatal(err)
		}
	})
	if n > 3 {
		t.Errorf("%v allocations for an operation, budget 3", n)
	}
}
