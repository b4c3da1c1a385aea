package msgr

import (
	"bytes"
	"encoding/binary"
	"io"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/spirula/spirula/rados/wire"
)

// tape is a connection whose other end has said everything already.
type tape struct {
	io.Reader
	wrote int
}

func (t *tape) Write(p []byte) (int, error) { t.wrote += len(p); return len(p), nil }

func (t *tape) Close() error                     { return nil }
func (t *tape) SetDeadline(time.Time) error      { return nil }
func (t *tape) SetReadDeadline(time.Time) error  { return nil }
func (t *tape) SetWriteDeadline(time.Time) error { return nil }
func (t *tape) LocalAddr() net.Addr              { return net.TCPAddrFromAddrPort(netip.AddrPort{}) }
func (t *tape) RemoteAddr() net.Addr {
	return net.TCPAddrFromAddrPort(netip.MustParseAddrPort("127.0.0.1:1234"))
}

func anyTag(tag) bool { return true }

// readAll reads frames until an error, and wants all memory back.
func readAll(t *testing.T, k *link, arena *wire.Arena) (frames int) {
	for {
		var f inFrame
		if err := k.r.frame(&f, anyTag); err != nil {
			break
		}
		if n := f.lens[1] + f.lens[3]; len(f.front)+f.data.Len() != n {
			t.Errorf("%d bytes of front and data, %d announced", len(f.front)+f.data.Len(), n)
		}
		frames++
		f.data.Release()
	}
	if arena.InUse() != 0 {
		t.Errorf("%d bytes are lost", arena.InUse())
	}
	return frames
}

func FuzzFrames(f *testing.F) {
	long := messageFrame(opMessage(2, 10<<10), 2)
	f.Add(messageFrame(opMessage(1, 1000), 1), uint16(0))
	f.Add(append(messageFrame(&wire.MMonGetMap{}, 1), long...), uint16(100))
	f.Add(appendControl(nil, tagWait, nil), uint16(3))
	f.Add(appendControl(messageOf(wire.TypeMPing, 1, nil), tagAck, make([]byte, 8)), uint16(1))
	f.Fuzz(func(t *testing.T, b []byte, piece uint16) {
		b = rightPreamble(b)
		arena := wire.NewArena(true)
		n := NewTCP(TCPOptions{Arena: arena})
		whole := n.newLink(&tape{Reader: bytes.NewReader(b)})
		whole.r.recording = false
		count := readAll(t, whole, arena)
		// In small pieces it must be the same.
		parts := n.newLink(&tape{Reader: &pieces{b, int(piece)%5000 + 1}})
		parts.r.recording = false
		if c := readAll(t, parts, arena); c != count {
			t.Errorf("%d frames in one piece, %d in several", count, c)
		}
	})
}

// rightPreamble gives what starts like a frame the checksum of its preamble.
func rightPreamble(b []byte) []byte {
	if len(b) < preambleSize {
		return b
	}
	b = bytes.Clone(b)
	binary.LittleEndian.PutUint32(b[28:], wire.FrameCRC(0, b[:28]))
	return b
}

// pieces gives at most n bytes at a time.
type pieces struct {
	b []byte
	n int
}

func (p *pieces) Read(to []byte) (int, error) {
	if len(p.b) == 0 {
		return 0, io.EOF
	}
	n := copy(to[:min(len(to), p.n)], p.b)
	p.b = p.b[n:]
	return n, nil
}

// FuzzSecureFrames encrypts what the fuzzer makes up, so that it is looked
// at.
func FuzzSecureFrames(f *testing.F) {
	plain := func(h preamble, segs ...[]byte) []byte {
		b := make([]byte, preambleSize)
		h.put(b)
		return append(b, bytes.Join(segs, nil)...)
	}
	f.Add(plain(preamble{tag: tagAck, nseg: 1, lens: [4]int{8}}, make([]byte, 48)), []byte(nil), []byte(nil))
	f.Add(plain(preamble{tag: tagMessage, nseg: 4, lens: [4]int{41, 5, 0, 20}}, make([]byte, 48)), []byte(nil),
		append(make([]byte, 48), append([]byte{lateComplete}, make([]byte, 15)...)...))
	f.Add(plain(preamble{tag: tagAuthDone, nseg: 1, lens: [4]int{60}}, make([]byte, 48)), make([]byte, 16), []byte(nil))
	f.Fuzz(func(t *testing.T, head, rest, body []byte) {
		secret := make([]byte, secureSecret)
		out, _, _ := gcmStreams(secret)
		var b []byte
		for _, p := range [][]byte{rightPreamble(head), rest, body} {
			if len(p) > 0 {
				at := len(b)
				b = out.seal(append(b, p...), at)
			}
		}
		arena := wire.NewArena(true)
		k := NewTCP(TCPOptions{Arena: arena}).newLink(&tape{Reader: bytes.NewReader(b)})
		k.r.recording = false
		k.r.gcm, _, _ = gcmStreams(secret)
		readAll(t, k, arena)
	})
}

// FuzzAccept lets the fuzzer go on after so many frames of a real client.
func FuzzAccept(f *testing.F) {
	c := readCapture(f, "cephx_mon_crc")
	start := append([]byte(bannerText), 16, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
	prefixes := [][]byte{nil, start}
	for _, fr := range c.frames {
		if fr.who == "C" {
			f.Add(uint8(len(prefixes)-1), appendControl(nil, fr.tag, fr.payload))
			prefixes = append(prefixes, appendControl(prefixes[len(prefixes)-1], fr.tag, fr.payload))
		}
	}
	f.Add(uint8(0), start)
	f.Add(uint8(5), appendControl(nil, tagSessionReconnect, (&wire.SessionReconnect{Addrs: []wire.Addr{{}}}).Append(nil)))
	f.Fuzz(func(t *testing.T, state uint8, b []byte) {
		prefix := prefixes[int(state)%len(prefixes)]
		in := &tape{Reader: io.MultiReader(bytes.NewReader(prefix), bytes.NewReader(b))}
		n := NewTCP(TCPOptions{})
		ident, _ := wire.DecodeClientIdent(c.find("C", tagClientIdent).payload)
		for _, kind := range []wire.EntityType{wire.EntityMon, wire.EntityOSD} {
			auth := &scripted{t: t, c: c, lenient: true}
			l := newListener(n, wire.EntityName{Type: kind}, ident.Target, silent{}, auth, &neverListener{make(chan struct{})})
			if s, err := l.handshake(t.Context(), n.newLink(in)); err == nil && (s == nil || s.Peer().Type == 0) {
				t.Errorf("session %v without an error", s)
			}
			for s := range l.sessions {
				s.mu.Lock()
				s.adopting, s.link = nil, nil
				s.fail(errClosed)
				s.mu.Unlock()
			}
			l.work.Wait()
			in.Reader = io.MultiReader(bytes.NewReader(prefix), bytes.NewReader(b))
			in.wrote = 0
		}
	})
}

// FuzzDial lets the fuzzer go on after so many frames of a real server.
func FuzzDial(f *testing.F) {
	c := readCapture(f, "cephx_mon_crc")
	start := append([]byte(bannerText), 16, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
	prefixes := [][]byte{nil, start}
	for _, fr := range c.frames {
		if fr.who == "S" {
			f.Add(uint8(len(prefixes)-1), appendControl(nil, fr.tag, fr.payload))
			prefixes = append(prefixes, appendControl(prefixes[len(prefixes)-1], fr.tag, fr.payload))
		}
	}
	for _, tag := range []tag{tagSessionReset, tagSessionRetry, tagSessionRetryGlobal, tagReconnectOK, tagWait} {
		f.Add(uint8(4), appendControl(nil, tag, make([]byte, 8)))
	}
	ident, _ := wire.DecodeClientIdent(c.find("C", tagClientIdent).payload)
	f.Fuzz(func(t *testing.T, state uint8, b []byte) {
		for _, lossless := range []bool{false, true} {
			prefix := prefixes[int(state)%len(prefixes)]
			n := NewTCP(TCPOptions{})
			conn := n.newConn(wire.EntityName{Type: wire.EntityClient, Num: -1}, silent{}, &peerInfo{})
			conn.dialled, conn.auth, conn.target, conn.peerType = true, scriptedClient{&scripted{t: t, c: c, lenient: true}}, ident.Target, c.kind
			conn.myAddr = ident.Addrs[0]
			if conn.lossless = lossless; state&0x80 != 0 {
				conn.serverCookie = 5
			}
			in := &tape{Reader: io.MultiReader(bytes.NewReader(prefix), bytes.NewReader(b))}
			if err := conn.open(n.newLink(in)); err == nil && !lossless && conn.PeerAddr() != ident.Target {
				t.Errorf("talks to %v", conn.PeerAddr())
			}
		}
	})
}
