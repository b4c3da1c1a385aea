package msgr

import (
	"log/slog"
	"testing"

	"github.com/spirula/spirula/rados/wire"
)

// echo answers every operation, a read with data.
type echo struct{ data wire.Data }

func (e *echo) Dispatch(c Conn, m wire.Message) {
	op := m.(*wire.MOSDOp)
	r := &wire.MOSDOpReply{TID: op.TID, Object: op.Object, PG: op.PG.PGID, Flags: op.Flags, Records: op.Records,
		Results: []wire.OpResult{{}}}
	if op.Ops[0].Code == wire.OpRead {
		r.Results[0].Data = e.data.Retain()
	} else {
		r.Version = wire.EVersion{Epoch: 1, Version: 1}
	}
	c.Send(r)
}

func (e *echo) Reset(Conn) {}

// window counts answers.
type window chan struct{}

func (w window) Dispatch(_ Conn, m wire.Message) {
	m.(*wire.MOSDOpReply).Release()
	w <- struct{}{}
}

func (w window) Reset(Conn) { close(w) }

// BenchmarkTCP sends operations with 16 in flight, and takes their answers.
func BenchmarkTCP(b *testing.B) {
	for _, bb := range []struct {
		name string
		code wire.OpCode
		size int
		seal bool
	}{
		{"write4K", wire.OpWriteFull, 4 << 10, false},
		{"read4K", wire.OpRead, 4 << 10, false},
		{"write4M", wire.OpWriteFull, 4 << 20, false},
		{"read4M", wire.OpRead, 4 << 20, false},
		{"secure/write4K", wire.OpWriteFull, 4 << 10, true},
		{"secure/write4M", wire.OpWriteFull, 4 << 20, true},
	} {
		b.Run(bb.name, func(b *testing.B) { benchmarkTCP(b, bb.code, bb.size, bb.seal) })
	}
}

func benchOptions(b *testing.B) TCPOptions {
	return TCPOptions{Log: slog.New(slog.NewTextHandler(b.Output(), &slog.HandlerOptions{Level: slog.LevelDebug}))}
}

func benchmarkTCP(b *testing.B, code wire.OpCode, size int, seal bool) {
	server, user := NewTCP(benchOptions(b)), NewTCP(benchOptions(b))
	defer server.Close()
	defer user.Close()
	data := wire.CopyData(make([]byte, size))
	var listening, dialling Network = server, user
	if seal {
		listening, dialling = Sealed{server}, Sealed{user}
	}
	l, err := listening.Listen(wire.EntityName{Type: wire.EntityOSD}, wire.Addr{}, &echo{data: data}, NoAuth{})
	if err != nil {
		b.Fatal(err)
	}
	const inFlight = 16
	w := make(window, inFlight)
	c, err := dialling.Connect(wire.EntityName{Type: wire.EntityClient, Num: 5}, wire.Addr{}, wire.EntityOSD, l.Addr(), w, NoAuth{Name: wire.AuthName{Type: wire.EntityClient, ID: "admin"}})
	if err != nil {
		b.Fatal(err)
	}
	if err := c.Wait(b.Context()); err != nil {
		b.Fatal(err)
	}
	op := wire.Op{Code: code}
	if code == wire.OpWriteFull {
		op.Data = data
	}
	b.SetBytes(int64(size))
	b.ReportAllocs()
	b.ResetTimer()
	for i := range b.N + inFlight {
		if i >= inFlight {
			if _, ok := <-w; !ok {
				b.Fatal("reset")
			}
		}
		if i < b.N {
			c.Send(&wire.MOSDOp{TID: uint64(i), Object: "benchmark_data_vm_1234_object17", Snap: wire.NoSnap, Ops: []wire.Op{op}})
		}
		if i == b.N-1 && b.N < inFlight {
			for range b.N {
				<-w
			}
			return
		}
	}
}
