package wire

import "testing"

func benchOp() (*MOSDOp, Data) {
	var d Data
	d.Append(NewBuf(BlockSize), 0, BlockSize)
	return testOSDOp(Op{Code: OpWrite, Off: 4096, Data: d}), d
}

func benchReply() *MOSDOpReply {
	var e Encoder
	e.opRecord(&Op{Code: OpRead}, 0)
	var d Data
	d.Append(NewBuf(BlockSize), 0, BlockSize)
	return &MOSDOpReply{TID: 5, Object: "object", Records: e.B, Results: []OpResult{{Data: d}}}
}

// TestHotAllocations bounds what a 4 KiB write and the reply to a 4 KiB read
// allocate, with the front's buffer used again.
func TestHotAllocations(t *testing.T) {
	op, _ := benchOp()
	op.SnapC.Snaps = nil
	front := make([]byte, 0, 1024)
	for _, c := range []struct {
		name           string
		m              Message
		encode, decode float64
	}{
		{"MOSDOp", op, 0, 4}, // the message; object, key, namespace
		{"MOSDOpReply", benchReply(), 0, 2},
	} {
		var p Parts
		if n := testing.AllocsPerRun(100, func() {
			p, _ = Registry{}.Encode(front, c.m)
			p.Data.Release()
		}); n > c.encode {
			t.Errorf("encoding an %s allocates %v times", c.name, n)
		}
		if n := testing.AllocsPerRun(100, func() {
			m, err := DecodeMessage(p)
			if err != nil {
				t.Fatal(err)
			}
			m.(interface{ Release() }).Release()
		}); n > c.decode {
			t.Errorf("decoding an %s allocates %v times", c.name, n)
		}
	}
}

func BenchmarkEncodeMOSDOp4K(b *testing.B) {
	m, _ := benchOp()
	front := make([]byte, 0, 1024)
	b.SetBytes(BlockSize)
	b.ReportAllocs()
	for b.Loop() {
		p, err := Registry{}.Encode(front, m)
		if err != nil {
			b.Fatal(err)
		}
		p.Data.Release()
	}
}

func BenchmarkDecodeMOSDOp4K(b *testing.B) {
	m, _ := benchOp()
	p, err := EncodeMessage(m)
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(BlockSize)
	b.ReportAllocs()
	for b.Loop() {
		m, err := DecodeMessage(p)
		if err != nil {
			b.Fatal(err)
		}
		m.(*MOSDOp).Release()
	}
}

func BenchmarkEncodeMOSDOpReply4K(b *testing.B) {
	m := benchReply()
	front := make([]byte, 0, 1024)
	b.SetBytes(BlockSize)
	b.ReportAllocs()
	for b.Loop() {
		p, err := Registry{}.Encode(front, m)
		if err != nil {
			b.Fatal(err)
		}
		p.Data.Release()
	}
}

func BenchmarkDecodeMOSDOpReply4K(b *testing.B) {
	p, err := EncodeMessage(benchReply())
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(BlockSize)
	b.ReportAllocs()
	for b.Loop() {
		m, err := DecodeMessage(p)
		if err != nil {
			b.Fatal(err)
		}
		m.(*MOSDOpReply).Release()
	}
}
