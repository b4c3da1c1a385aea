package msgr

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/spirula/spirula/rados/wire"
)

// keeper holds the data of every message until told otherwise.
type keeper struct {
	limit int
	arena *wire.Arena
	kept  atomic.Int64

	mu   sync.Mutex
	data []wire.Data
}

func (k *keeper) Dispatch(_ Conn, m wire.Message) {
	k.mu.Lock()
	defer k.mu.Unlock()
	d := m.(*wire.MOSDOp).Ops[0].Data
	if d.Len() < 1<<10 {
		return
	}
	k.data = append(k.data, d.Retain())
	k.kept.Add(1)
}

func (k *keeper) Reset(Conn) {}

func (k *keeper) releaseOne() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(k.data) == 0 {
		return 0
	}
	k.data[0].Release()
	k.data = k.data[1:]
	k.kept.Add(-1)
	return 1
}

// rawClient is a client that has introduced itself; what follows is up to the
// test.
func rawClient(t testing.TB, addr wire.Addr) *link {
	t.Helper()
	n := NewTCP(TCPOptions{})
	c := n.newConn(wire.EntityName{Type: wire.EntityClient}, silent{}, &peerInfo{})
	c.dialled, c.auth, c.target, c.peerType = true, NoAuth{}, addr, wire.EntityOSD
	k, err := c.dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { k.c.Close() })
	k.c.SetDeadline(time.Now().Add(10 * time.Second))
	return k
}

// messageFrame is a frame of a message as the writer makes it.
func messageFrame(m wire.Message, seq uint64) []byte {
	n := NewTCP(TCPOptions{})
	f, err := n.encode(m)
	if err != nil {
		panic(err)
	}
	f.header.Seq = seq
	f.finish(0)
	var b []byte
	for _, p := range f.appendTo(nil) {
		b = append(b, p...)
	}
	return b
}

// closed wants the other end to hang up.
func closed(t *testing.T, c net.Conn) {
	t.Helper()
	c.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := io.Copy(io.Discard, c); errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error("the connection was not closed")
	}
}

// lines counts what a log says.
type lines struct{ n atomic.Int64 }

func (l *lines) Write(p []byte) (int, error) {
	l.n.Add(1)
	return len(p), nil
}

// victim is a server with one well-behaved session.
type victim struct {
	*node
	log  lines
	good Conn
	sent uint64
}

func newVictim(t *testing.T, o TCPOptions) *victim {
	v := &victim{node: newNode(t, 1, o)}
	v.net.log = slog.New(slog.NewTextHandler(&v.log, nil))
	user := newNode(t, 2, TCPOptions{})
	var err error
	if v.good, err = user.net.Connect(wire.EntityName{Type: wire.EntityClient}, wire.Addr{}, wire.EntityOSD, v.l.Addr(), user, NoAuth{}); err != nil {
		t.Fatal(err)
	}
	v.works()
	return v
}

// works checks that the well-behaved session does.
func (v *victim) works() {
	v.t.Helper()
	v.sent++
	if err := v.good.Send(opMessage(v.sent-1, 10)); err != nil {
		v.t.Errorf("the session of another peer: %v", err)
	}
	v.until("message of another peer", func() bool { return slices.Contains(v.got, v.sent-1) })
}

func badCRC(b []byte, at int) []byte {
	b = slices.Clone(b)
	b[at] ^= 1
	return b
}

// rawPreamble is a head with a right checksum, whatever it says.
func rawPreamble(t tag, nseg, flags byte, lens ...uint32) []byte {
	b := make([]byte, preambleSize)
	b[0], b[1], b[26] = byte(t), nseg, flags
	for i, n := range lens {
		binary.LittleEndian.PutUint32(b[2+6*i:], n)
	}
	binary.LittleEndian.PutUint32(b[28:], wire.FrameCRC(0, b[:28]))
	return b
}

// TestHostileSession sends what nobody may send once a session stands.
func TestHostileSession(t *testing.T) {
	v := newVictim(t, TCPOptions{})
	good := messageFrame(opMessage(5, 1000), 1)
	late := slices.Clone(good)
	late[len(late)-epilogueSize] = 7
	tests := []struct {
		name  string
		bytes []byte
	}{
		{"garbage", bytes.Repeat([]byte("garbage "), 100)},
		{"preamble checksum", badCRC(good, 29)},
		{"header checksum", badCRC(good, preambleSize+wire.FrameHeaderSize)},
		{"front checksum", badCRC(good, frontOffset+5)},
		{"data checksum", badCRC(good, len(good)-epilogueSize-1)},
		{"late status", late},
		{"tag 0", rawPreamble(0, 1, 0, 8)},
		{"tag beyond", rawPreamble(tagEnd, 1, 0, 8)},
		{"no segments", rawPreamble(tagMessage, 0, 0)},
		{"five segments", rawPreamble(tagMessage, 5, 0, 41, 1, 1, 1)},
		{"flags", rawPreamble(tagMessage, 1, 1, 41)},
		{"empty last segment", rawPreamble(tagMessage, 2, 0, 41, 0)},
		{"short header", rawPreamble(tagMessage, 1, 0, 40)},
		{"long front", rawPreamble(tagMessage, 2, 0, 41, maxFront+1)},
		{"long data", rawPreamble(tagMessage, 4, 0, 41, 1, 0, maxData+1)},
		{"all of 4 GiB", rawPreamble(tagMessage, 4, 0, 41, 1, 0, 0xffffffff)},
		{"long control", rawPreamble(tagKeepalive, 1, 0, maxControl+1)},
		{"control of two segments", rawPreamble(tagAck, 2, 0, 8, 8)},
		{"hello again", appendControl(nil, tagHello, (&wire.Hello{Type: wire.EntityClient}).Append(nil))},
		{"reset of a lossy session", appendControl(nil, tagSessionReset, []byte{1})},
		{"short keepalive", appendControl(nil, tagKeepalive, []byte{1})},
		{"short ack", appendControl(nil, tagAck, []byte{1})},
		{"malformed message", messageOf(wire.TypeMOSDOp, 8, []byte("not an operation"))},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			before := v.net.Metrics.BadFrames.Load()
			k := rawClient(t, v.l.Addr())
			k.c.Write(tt.bytes)
			closed(t, k.c)
			waitUntil(t, "count", func() bool { return v.net.Metrics.BadFrames.Load() == before+1 })
			v.works()
		})
	}
	if n := v.log.n.Load(); n != 1 {
		t.Errorf("%d lines in the log for the same kind of trouble", n)
	}
}

func messageOf(typ wire.MsgType, version uint16, front []byte) []byte {
	f := &outFrame{header: wire.FrameHeader{Header: wire.Header{Type: typ, Version: version, Compat: 1}, Seq: 1}}
	f.buf = append(make([]byte, frontOffset), front...)
	f.front = len(f.buf)
	f.finish(0)
	return f.buf
}

// TestTolerated sends what is strange, and allowed.
func TestTolerated(t *testing.T) {
	v := newVictim(t, TCPOptions{})
	k := rawClient(t, v.l.Addr())
	aborted := messageFrame(opMessage(7, 100), 2)
	aborted[len(aborted)-epilogueSize] = lateAborted
	for _, b := range [][]byte{
		messageOf(0x7777, 1, []byte("of a type that is not known")),
		aborted,
		appendControl(nil, tagAck, make([]byte, 8)),
		appendControl(nil, tagKeepaliveAck, make([]byte, 8)),
		messageFrame(opMessage(100, 100), 3),
		messageFrame(opMessage(101, 100), 3), // a duplicate
		messageFrame(opMessage(102, 100), 4),
		appendControl(nil, tagKeepalive, []byte("12345678")),
	} {
		k.c.Write(b)
	}
	want := appendControl(nil, tagKeepaliveAck, []byte("12345678"))
	got := make([]byte, len(want))
	if _, err := io.ReadFull(k.c, got); err != nil || !bytes.Equal(got, want) {
		t.Errorf("answer to a keepalive %x, %v", got, err)
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if want := []uint64{0, 100, 102}; !slices.Equal(v.got, want) {
		t.Errorf("messages %d, want %d", v.got, want)
	}
	if n := v.net.Metrics.UnknownMessages.Load(); n != 1 {
		t.Errorf("%d unknown messages", n)
	}
}

// TestHostileHandshake sends what nobody may send before a session stands.
func TestHostileHandshake(t *testing.T) {
	v := newVictim(t, TCPOptions{})
	banner := func(n uint16, supported, required uint64) []byte {
		b := binary.LittleEndian.AppendUint16([]byte(bannerText), n)
		b = binary.LittleEndian.AppendUint64(b, supported)
		return binary.LittleEndian.AppendUint64(b, required)
	}
	hello := append(banner(16, 1, 0), appendControl(nil, tagHello, (&wire.Hello{Type: wire.EntityClient}).Append(nil))...)
	request := func(method uint32) []byte {
		_, _, p, _ := (&noAuthClient{peer: wire.EntityOSD}).Request()
		return appendControl(nil, tagAuthRequest, (&wire.AuthRequest{Method: method, Modes: []uint32{1}, Payload: p}).Append(nil))
	}
	signed := slices.Concat(hello, request(1), appendControl(nil, tagAuthSignature, make([]byte, signatureSize)))
	ident := func(change func(*wire.Ident)) []byte {
		id := wire.Ident{Addrs: []wire.Addr{{Type: wire.AddrAny, Nonce: 7}}, Target: v.l.Addr(), GlobalID: -1,
			Supported: wire.Features, Required: requiredFeature, Flags: wire.IdentLossy}
		change(&id)
		return slices.Concat(signed, appendControl(nil, tagClientIdent, id.AppendClient(nil)))
	}
	reconnect := (&wire.SessionReconnect{Addrs: []wire.Addr{{Type: wire.AddrMsgr2, Nonce: 9}}, ClientCookie: 1, ServerCookie: 2}).Append(nil)
	tests := []struct {
		name  string
		bytes []byte
	}{
		{"nothing", nil},
		{"HTTP", []byte("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")},
		{"short banner", banner(15, 1, 0)},
		{"long banner", banner(maxBanner+1, 1, 0)},
		{"no revision 1", banner(16, 0, 0)},
		{"unknown demand", banner(16, 3, 2)},
		{"frame before HELLO", append(banner(16, 1, 0), request(1)...)},
		{"hello twice", append(slices.Clone(hello), appendControl(nil, tagHello, make([]byte, 60))...)},
		{"long control", append(slices.Clone(hello), rawPreamble(tagAuthRequest, 1, 0, maxControl+1)...)},
		{"message", append(slices.Clone(hello), messageFrame(opMessage(1, 1), 1)...)},
		{"ident before authentication", append(slices.Clone(hello), appendControl(nil, tagClientIdent, make([]byte, 100))...)},
		{"wrong methods", slices.Concat(hello, bytes.Repeat(request(2), maxAuthRounds+1))},
		{"malformed request", slices.Concat(hello, appendControl(nil, tagAuthRequest, []byte{1}))},
		{"wrong signature", slices.Concat(hello, request(1), appendControl(nil, tagAuthSignature, bytes.Repeat([]byte{1}, signatureSize)))},
		{"no address", ident(func(id *wire.Ident) { id.Addrs = nil })},
		{"blank address", ident(func(id *wire.Ident) { id.Addrs = []wire.Addr{{}} })},
		{"other target", ident(func(id *wire.Ident) { id.Target.Nonce += 2 })},
		{"few features", ident(func(id *wire.Ident) { id.Supported = 1 })},
		{"many demands", ident(func(id *wire.Ident) { id.Required = 1<<59 | 1<<63 })},
		{"malformed ident", append(slices.Clone(signed), appendControl(nil, tagClientIdent, make([]byte, 10))...)},
		{"reconnect of nothing", append(slices.Clone(signed), bytes.Repeat(appendControl(nil, tagSessionReconnect, reconnect), maxNegotiations+1)...)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			before := v.net.Metrics.BadHandshakes.Load()
			c, err := net.Dial("tcp", v.l.Addr().IP.String())
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			c.Write(tt.bytes)
			c.(*net.TCPConn).CloseWrite()
			closed(t, c)
			waitUntil(t, "count", func() bool { return v.net.Metrics.BadHandshakes.Load() == before+1 })
			v.works()
		})
	}
	if n := v.log.n.Load(); n > 3 {
		t.Errorf("%d lines in the log", n)
	}
}

// TestHalfOpen opens many connections that say nothing; 10 000 when
// SPIRULA_SOAK is set.
func TestHalfOpen(t *testing.T) {
	const bound = 16
	many := int64(200)
	if os.Getenv("SPIRULA_SOAK") != "" {
		many = 10_000
	}
	v := newVictim(t, TCPOptions{HalfOpen: bound})
	before := runtime.NumGoroutine()
	for range many {
		c, err := net.Dial("tcp", v.l.Addr().IP.String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
	}
	waitUntil(t, "drop", func() bool { return v.net.Metrics.HalfOpenDropped.Load() == many-bound })
	waitUntil(t, "end of goroutines", func() bool { return runtime.NumGoroutine() < before+2*bound+10 })
	v.works()
	rawClient(t, v.l.Addr())
}
