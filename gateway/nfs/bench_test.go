package nfs

import (
	"bufio"
	"context"
	"encoding/binary"
	"io"
	"net"
	"strings"
	"testing"

	"github.com/spirula/spirula/mds"
	"github.com/spirula/spirula/rados/wire"
)

// constant is a file system that costs nothing, so that only the gateway is
// measured.
type constant struct {
	stub
	data wire.Data
}

func (c *constant) GetAttr(context.Context, mds.Handle) (mds.Attr, error) { return stubAttr, nil }

func (c *constant) Read(_ context.Context, _ mds.Cred, _ mds.Handle, _ uint64, n int) (wire.Data, bool, mds.Attr, error) {
	return c.data.Retain(), false, stubAttr, nil
}

func (c *constant) Write(context.Context, mds.Cred, mds.Handle, uint64, wire.Data, bool) (mds.WCC, error) {
	return stubWCC, nil
}

// benchCall sends one request over and over, depth of them at a time, through
// a real socket.
func benchCall(b *testing.B, depth int, call []byte) {
	fs := &constant{data: wire.CopyData(make([]byte, 1<<20))}
	w := newWorld(b, Options{FS: fs})
	c, err := net.Dial("tcp", w.addr)
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	rec := mark(call)
	slots := make(chan struct{}, depth)
	b.ReportAllocs()
	b.ResetTimer()
	go func() {
		for range b.N {
			slots <- struct{}{}
			if _, err := c.Write(rec); err != nil {
				return
			}
		}
	}()
	r := bufio.NewReaderSize(c, 64<<10)
	for range b.N {
		var m [4]byte
		if _, err := io.ReadFull(r, m[:]); err != nil {
			b.Fatal(err)
		}
		if _, err := r.Discard(int(binary.BigEndian.Uint32(m[:]) &^ (1 << 31))); err != nil {
			b.Fatal(err)
		}
		<-slots
	}
}

func BenchmarkGetAttr(b *testing.B) {
	benchCall(b, 16, append(header(1, progNFS, 3, 1, 0, 0), args{}.bytes(fh(1, 1))...))
}

func BenchmarkRead1MiB(b *testing.B) {
	b.SetBytes(1 << 20)
	benchCall(b, 8, append(header(1, progNFS, 3, 6, 0, 0), args{}.bytes(fh(1, 1)).u64(0).u32(1<<20)...))
}

func BenchmarkWrite1MiB(b *testing.B) {
	b.SetBytes(1 << 20)
	benchCall(b, 8, append(header(1, progNFS, 3, 7, 0, 0), args{}.bytes(fh(1, 1)).u64(0).u32(1<<20, 0).bytes(strings.Repeat("x", 1<<20))...))
}

// BenchmarkGetAttrDirect is one request without a socket.
func BenchmarkGetAttrDirect(b *testing.B) {
	g := New(Options{FS: &constant{}, FSID: testFSID})
	call := append(header(1, progNFS, 3, 1, 0, 0), args{}.bytes(fh(1, 1))...)
	addr := &net.TCPAddr{}
	b.ReportAllocs()
	for b.Loop() {
		rec := record{head: call}
		g.answer(context.Background(), addr, &rec)
	}
}
