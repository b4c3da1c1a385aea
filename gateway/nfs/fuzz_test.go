package nfs

import (
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"net"
	"testing"
	"time"
)

// FuzzCall gives any bytes as one request: it is answered or dropped, with
// the same xid, in whole units of four bytes.
func FuzzCall(f *testing.F) {
	for i, c := range procedureCases() {
		f.Add([]byte(append(header(uint32(i), c.prog, 3, c.proc, 1, 2, 3), c.args...)))
	}
	f.Add([]byte(args{}.u32(1, 0, 2, progNFS, 3, 0, 6).bytes("x").u32(0, 0)))
	f.Fuzz(func(t *testing.T, call []byte) {
		g, _ := stubGateway()
		got := direct(g, bytes.Clone(call))
		if got == nil {
			return
		}
		if len(got) < 20 || len(got)%4 != 0 || !bytes.Equal(got[:4], call[:4]) || binary.BigEndian.Uint32(got[4:]) != msgReply {
			t.Fatalf("reply %x", got)
		}
		if len(got) > maxIO+4096 {
			t.Fatalf("a reply of %d bytes", len(got))
		}
	})
}

// fuzzConn is a connection whose client has sent all it will.
type fuzzConn struct {
	in  io.Reader
	out bytes.Buffer
}

func (c *fuzzConn) Read(p []byte) (int, error)       { return c.in.Read(p) }
func (c *fuzzConn) Write(p []byte) (int, error)      { return c.out.Write(p) }
func (c *fuzzConn) Close() error                     { return nil }
func (c *fuzzConn) LocalAddr() net.Addr              { return &net.TCPAddr{} }
func (c *fuzzConn) RemoteAddr() net.Addr             { return &net.TCPAddr{} }
func (c *fuzzConn) SetDeadline(time.Time) error      { return nil }
func (c *fuzzConn) SetReadDeadline(time.Time) error  { return nil }
func (c *fuzzConn) SetWriteDeadline(time.Time) error { return nil }

// FuzzConnection gives any bytes as a connection's stream: all that it holds
// is given back, and replies are whole records.
func FuzzConnection(f *testing.F) {
	big := append(header(1, progNFS, 3, 7, 0, 0), args{}.bytes(fh(1, 1)).u64(0).u32(5000, 1).bytes(string(make([]byte, 5000)))...)
	f.Add(mark(big))
	f.Add(append(append(binary.BigEndian.AppendUint32(nil, 100), big[:100]...), mark(big[100:])...))
	f.Add(mark(big)[:3000])
	var all []byte
	for i, c := range procedureCases() {
		all = append(all, mark(append(header(uint32(i), c.prog, 3, c.proc, 1, 2), c.args...))...)
	}
	f.Add(all)
	f.Fuzz(func(t *testing.T, stream []byte) {
		g, s := stubGateway()
		nc := &fuzzConn{in: bytes.NewReader(stream)}
		c := &conn{g: g, nc: nc, out: make(chan reply, maxRequests), slots: make(chan struct{}, maxRequests)}
		c.serve(context.Background())
		if g.bytes.free != g.bytes.size || g.reads.free != g.reads.size {
			t.Fatalf("bytes are missing: %d of %d, %d of %d", g.bytes.free, g.bytes.size, g.reads.free, g.reads.size)
		}
		if len(s.content) > 65<<20 {
			t.Fatal("more was written than was sent")
		}
		for out := nc.out.Bytes(); len(out) > 0; {
			n := int(binary.BigEndian.Uint32(out) &^ (1 << 31))
			if n%4 != 0 || n+4 > len(out) {
				t.Fatalf("a reply record of %d bytes, %d are there", n, len(out)-4)
			}
			out = out[n+4:]
		}
	})
}

// FuzzWriteData compares where a WRITE's data is found, from its head alone,
// with what parsing all of it says.
func FuzzWriteData(f *testing.F) {
	f.Add([]byte(append(header(1, progNFS, 3, 7, 1, 2, 3, 4), args{}.bytes(fh(1, 1)).u64(7).u32(9, 0).bytes("some data")...)))
	f.Fuzz(func(t *testing.T, b []byte) {
		at, size, ok := writeData(b[:min(len(b), headSize)], len(b))
		if !ok {
			return
		}
		if at < 0 || size < 0 || at+size > len(b) {
			t.Fatalf("data at %d, %d bytes, of %d", at, size, len(b))
		}
		c, refusal, ok := parseCall(b, false)
		if !ok || refusal != nil {
			return
		}
		c.args.opaque(64)
		c.args.u64()
		c.args.u32()
		c.args.u32()
		if data := c.args.opaque(maxIO); !c.args.ok() || !bytes.Equal(data, b[at:at+size]) {
			t.Fatalf("data is elsewhere than at %d", at)
		}
	})
}
