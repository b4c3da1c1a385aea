package objop

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/spirula/spirula/rados/wire"
)

func call(class, method, in string) wire.Op {
	return wire.Op{Code: wire.OpCall, Name: class, Name2: method, Value: []byte(in)}
}

func TestCall(t *testing.T) {
	exists := []wire.Op{wr(0, "data"), setx("e", "5")}
	for _, c := range []struct {
		name  string
		init  []wire.Op
		ops   []wire.Op
		flags wire.OSDFlag
		want  int32
		rval  int32 // of the last operation
		out   string
		text  string // of the object afterwards
	}{
		{"unknown class", exists, []wire.Op{call("none", "m", "")}, 0, -95, 0, "", "data"},
		{"unknown method", exists, []wire.Op{call("hello", "m", "")}, 0, -95, 0, "", "data"},
		{"unknown on a missing object", nil, []wire.Op{call("none", "m", "")}, 0, -95, 0, "", "-"},
		{"unknown behind a failure", exists, []wire.Op{createExcl, call("none", "m", "")}, 0, -95, 0, "", "data"},
		{"reader", exists, []wire.Op{call("hello", "say_hello", "")}, 0, 0, 0, "Hello, world!", "data"},
		{"reader, missing", nil, []wire.Op{call("hello", "say_hello", "")}, 0, -2, 0, "", "-"},
		{"writer that reads", exists, []wire.Op{call("hello", "bad_reader", "")}, 0, -5, -5, "", "data"},
		{"reader that writes", exists, []wire.Op{call("hello", "bad_writer", "x")}, 0, -5, -5, "", "data"},
		{"reader that writes, fail ok", exists, []wire.Op{failOK(call("hello", "bad_writer", "x")), stat}, 0, 0, 0, "", "data"},
		{"writer", nil, []wire.Op{call("hello", "record_hello", "me")}, 0, 0, 0, "", "Hello, me!"},
		{"writer, with what was before", exists, []wire.Op{wr(0, "DATA"), call("hello", "turn_it_to_11", "")}, 0, 0, 0, "", "DATA"},
		{"on a missing object", nil, []wire.Op{call("hello", "turn_it_to_11", "")}, 0, 0, 0, "", ""},
		{"answer", exists, []wire.Op{call("hello", "write_return_data", "")}, 0, 0, 42, "", "data"},
		{"answer, RETURNVEC", exists, []wire.Op{call("hello", "write_return_data", "")}, wire.FlagReturnVec, 42, 42, "you might see this", "data"},
		{"too much, RETURNVEC", exists, []wire.Op{call("hello", "write_too_much_return_data", "")}, wire.FlagReturnVec, -75, -75, "", "data"},
		{"error with output", exists, []wire.Op{call("hello", "write_return_data", "x")}, 0, -22, -22, "too much input data!", "data"},
		{"writer without a change", exists, []wire.Op{call("refcount", "put", "\x01\x01\x06\x00\x00\x00\x01\x00\x00\x00a\x00")}, 0, -22, -22, "", "data"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			if c.init != nil {
				w.op("o", c.init...)
			}
			out := w.run("o", Request{Ops: c.ops, Snap: wire.NoSnap, Flags: c.flags})
			last := out.Results[len(c.ops)-1]
			if out.Result != c.want || last.Rval != c.rval || string(last.Value) != c.out {
				t.Errorf("%d, %d %q", out.Result, last.Rval, last.Value)
			}
			if got := w.text("o", wire.NoSnap); got != c.text {
				t.Errorf("the object afterwards: %q", got)
			}
		})
	}
}

func TestDemand(t *testing.T) {
	for _, c := range []struct {
		ops    []wire.Op
		writes bool
		want   Demand
	}{
		{[]wire.Op{rd, stat}, false, Demand{Read: true}},
		{[]wire.Op{create, wr(0, "x")}, true, Demand{Write: true}},
		{[]wire.Op{cmpU("e", wire.CmpEQ, 1), setx("e", "2")}, true, Demand{Read: true, Write: true}},
		{[]wire.Op{watchOp(wire.WatchPing, 1, 0)}, false, Demand{Read: true}},
		{[]wire.Op{watchOp(wire.WatchRegister, 1, 0)}, true, Demand{Read: true, Write: true}},
		{[]wire.Op{call("lock", "lock", "")}, true, Demand{Calls: []Call{{"lock", "lock", true, true}}}},
		{[]wire.Op{call("lock", "get_info", "")}, false, Demand{Calls: []Call{{"lock", "get_info", true, false}}}},
		{[]wire.Op{call("none", "x", "")}, false, Demand{}},
		{[]wire.Op{{Code: wire.OpInvalid, Num: uint64(wire.OpOmapSetVals)}}, true, Demand{Write: true}},
		{[]wire.Op{{Code: wire.OpInvalid, Num: uint64(wire.OpOmapGetVals)}}, false, Demand{Read: true}},
	} {
		if got := DemandOf(c.ops); cmp.Diff(got, c.want) != "" || Writes(c.ops) != c.writes {
			t.Errorf("%+v: %+v, writes %v", c.ops, got, Writes(c.ops))
		}
	}
}

// TestCallSame: the same request on the same object gives the same
// transaction, for replicas apply what the primary made.
func TestCallSame(t *testing.T) {
	w := newWorld(t)
	w.op("o", full("data"))
	was := w.load("o")
	req := Request{Snap: wire.NoSnap, MTime: 5, ReqID: wire.ReqID{TID: 9}, Asker: asker(1), Ops: []wire.Op{
		call("version", "inc", "\x01\x01\x16\x00\x00\x00\x01\x01\x0c\x00\x00\x00"+string(make([]byte, 16))),
		call("hello", "turn_it_to_11", "")}}
	a, b := Run(w.m, &was, &req, nil), Run(w.m, &was, &req, nil)
	if a.Result != 0 || len(a.Txn.Ops) < 3 {
		t.Fatalf("%d, %d steps", a.Result, len(a.Txn.Ops))
	}
	for i := range a.Txn.Ops {
		x, y := &a.Txn.Ops[i], &b.Txn.Ops[i]
		if x.Kind != y.Kind || x.Object != y.Object || cmp.Diff(x.KVs, y.KVs) != "" || string(x.Data.Bytes()) != string(y.Data.Bytes()) {
			t.Fatalf("step %d: %+v, %+v", i, x, y)
		}
	}
}
