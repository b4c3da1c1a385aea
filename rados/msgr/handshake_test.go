package msgr

import (
	"bytes"
	"context"
	"encoding/hex"
	"io"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/spirula/spirula/rados/wire"
)

// capture is a handshake of a foreign client with a foreign server.
type capture struct {
	kind   wire.EntityType
	mode   Mode
	frames []captured
	keys   SessionKeys
}

type captured struct {
	who       string // S the acceptor, C the dialler
	tag       tag
	payload   []byte
	encrypted []byte // the whole frame, where it is known
}

func readCapture(t testing.TB, name string) *capture {
	t.Helper()
	b, err := os.ReadFile("testdata/" + name + ".txt")
	if err != nil {
		t.Fatal(err)
	}
	c := &capture{}
	for line := range strings.Lines(string(b)) {
		f := strings.Fields(line)
		last, _ := hex.DecodeString(f[len(f)-1])
		n, _ := strconv.Atoi(f[1])
		switch f[0] {
		case "S", "C":
			c.frames = append(c.frames, captured{who: f[0], tag: tag(n), payload: last})
		case "R":
			c.frames[len(c.frames)-1].encrypted = last
		case "kind":
			c.kind = wire.EntityType(n)
		case "mode":
			c.mode = Mode(n)
		case "key":
			c.keys.Key = last
		case "secret":
			c.keys.Secret = last
		}
	}
	return c
}

// find gives the first frame with a tag of one side.
func (c *capture) find(who string, t tag) captured {
	for _, f := range c.frames {
		if f.who == who && f.tag == t {
			return f
		}
	}
	panic("no such frame")
}

// pipe is an end of an in-memory connection with addresses.
type pipe struct {
	net.Conn
	local, remote netip.AddrPort
}

func (p pipe) LocalAddr() net.Addr  { return net.TCPAddrFromAddrPort(p.local) }
func (p pipe) RemoteAddr() net.Addr { return net.TCPAddrFromAddrPort(p.remote) }

// player plays one side of a capture against ours.
type player struct {
	t   *testing.T
	c   net.Conn
	out *gcmStream // of what the player sends
	in  *gcmStream
	c2  *capture
}

func (p *player) send(f captured) {
	b := []byte(nil)
	if p.out != nil {
		b = p.out.sealControl(nil, f.tag, f.payload)
	} else {
		b = appendControl(nil, f.tag, f.payload)
	}
	if _, err := p.c.Write(b); err != nil {
		p.t.Errorf("tag %d: %v", f.tag, err)
	}
}

// expect reads a frame from ours, which must be as captured to the byte.
func (p *player) expect(f captured) {
	p.t.Helper()
	want := appendControl(nil, f.tag, f.payload)
	if p.in != nil {
		if want = p.in.sealControl(nil, f.tag, f.payload); f.encrypted != nil && !bytes.Equal(want, f.encrypted) {
			p.t.Errorf("tag %d: encrypted\n got %x\nwant %x", f.tag, want, f.encrypted)
		}
	}
	got := make([]byte, len(want))
	if _, err := io.ReadFull(p.c, got); err != nil {
		p.t.Errorf("tag %d: %v", f.tag, err)
	} else if !bytes.Equal(got, want) {
		p.t.Errorf("tag %d\n got %x\nwant %x", f.tag, got, want)
	}
}

// banners exchanges banners; both sides send at once.
func (p *player) banners() {
	b := append([]byte(bannerText), 16, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
	go p.c.Write(b)
	got := make([]byte, len(b))
	if io.ReadFull(p.c, got); !bytes.Equal(got, b) {
		p.t.Errorf("banner %x, want %x", got, b)
	}
}

// scripted is both sides of authentication, as captured.
type scripted struct {
	t       *testing.T
	c       *capture
	lenient bool // takes anything
}

func (s *scripted) errorf(format string, args ...any) {
	if !s.lenient {
		s.t.Errorf(format, args...)
	}
}

func (s *scripted) Accept(wire.EntityType) ServerHandshake { return s }

func (s *scripted) Offer() ([]Method, []Mode) { return []Method{MethodCephx}, []Mode{s.c.mode} }

func (s *scripted) Request(_ context.Context, method Method, modes []Mode, payload []byte) (Step, error) {
	want, _ := wire.DecodeAuthRequest(s.c.find("C", tagAuthRequest).payload)
	if method != MethodCephx || !bytes.Equal(payload, want.Payload) || len(modes) != len(want.Modes) {
		s.errorf("method %d, modes %d, payload %x", method, modes, payload)
	}
	return Step{Payload: s.c.find("S", tagAuthReplyMore).payload[4:]}, nil
}

func (s *scripted) More(_ context.Context, payload []byte) (Step, error) {
	if want := s.c.find("C", tagAuthRequestMore).payload[4:]; !bytes.Equal(payload, want) {
		s.errorf("more: %x, want %x", payload, want)
	}
	done, _ := wire.DecodeAuthDone(s.c.find("S", tagAuthDone).payload)
	return Step{Done: true, Payload: done.Payload, Keys: s.c.keys, Identity: Identity{
		Name: wire.AuthName{Type: wire.EntityClient, ID: "admin"}, GlobalID: done.GlobalID, Mode: s.c.mode}}, nil
}

type scriptedClient struct{ *scripted }

func (s scriptedClient) Dial(wire.EntityType) (ClientHandshake, error) { return s, nil }

func (s scriptedClient) Request() (Method, []Mode, []byte, error) {
	r, _ := wire.DecodeAuthRequest(s.c.find("C", tagAuthRequest).payload)
	return Method(r.Method), modesOf(r.Modes), r.Payload, nil
}

func (s scriptedClient) Refused(Method, wire.Errno, []Method, []Mode) error {
	s.errorf("refused")
	return wire.EACCES
}

func (s scriptedClient) More(payload []byte) ([]byte, error) {
	if want := s.c.find("S", tagAuthReplyMore).payload[4:]; !bytes.Equal(payload, want) {
		s.errorf("more: %x, want %x", payload, want)
	}
	return s.c.find("C", tagAuthRequestMore).payload[4:], nil
}

func (s scriptedClient) Done(globalID uint64, mode Mode, payload []byte) (SessionKeys, error) {
	want, _ := wire.DecodeAuthDone(s.c.find("S", tagAuthDone).payload)
	if globalID != want.GlobalID || mode != s.c.mode || !bytes.Equal(payload, want.Payload) {
		s.errorf("done: %d, mode %d, %x", globalID, mode, payload)
	}
	return s.c.keys, nil
}

type silent struct{}

func (silent) Dispatch(Conn, wire.Message) {}
func (silent) Reset(Conn)                  {}

var captures = []string{"cephx_mon_crc", "cephx_mon_secure", "cephx_osd_crc", "cephx_osd_secure"}

// TestAcceptCapture plays a real client's side, and wants what the server
// answered, to the byte.
func TestAcceptCapture(t *testing.T) {
	for _, name := range captures {
		t.Run(name, func(t *testing.T) {
			c := readCapture(t, name)
			n := NewTCP(TCPOptions{})
			defer n.Close()
			ident, err := wire.DecodeClientIdent(c.find("C", tagClientIdent).payload)
			if err != nil {
				t.Fatal(err)
			}
			seen, _ := wire.DecodeHello(c.find("S", tagHello).payload)
			a, b := net.Pipe()
			me := wire.EntityName{Type: c.kind}
			l := newListener(n, me, ident.Target, silent{}, &scripted{t: t, c: c}, &neverListener{make(chan struct{})})
			l.begin(pipe{Conn: a, remote: seen.Peer.IP})
			playClient(&player{t: t, c: b, c2: c})
			l.mu.Lock()
			defer l.mu.Unlock()
			for s := range l.sessions {
				if s.Peer().Type != wire.EntityClient || s.Identity().Mode != c.mode || s.PeerAddr() != ident.Addrs[0] {
					t.Errorf("peer %v at %v, %+v", s.Peer(), s.PeerAddr(), s.Identity())
				}
			}
			if len(l.sessions) != 1 {
				t.Errorf("%d sessions", len(l.sessions))
			}
			b.Close()
		})
	}
}

func playClient(p *player) {
	p.banners()
	for _, f := range p.c2.frames {
		if f.who == "C" {
			p.send(f)
		} else {
			p.expect(f)
		}
		if f.who == "S" && f.tag == tagAuthDone && p.c2.mode == ModeSecure {
			p.in, p.out, _ = gcmStreams(p.c2.keys.Secret)
		}
	}
}

// neverListener accepts nothing.
type neverListener struct{ closed chan struct{} }

func (n *neverListener) Accept() (net.Conn, error) { <-n.closed; return nil, net.ErrClosed }
func (n *neverListener) Close() error              { return nil }
func (n *neverListener) Addr() net.Addr            { return nil }

// TestDialCapture plays the server's side of what a real client took.
func TestDialCapture(t *testing.T) {
	for _, name := range captures {
		t.Run(name, func(t *testing.T) {
			c := readCapture(t, name)
			n := NewTCP(TCPOptions{})
			defer n.Close()
			a, b := net.Pipe()
			ident, _ := wire.DecodeClientIdent(c.find("C", tagClientIdent).payload)
			n.dial = func(context.Context, string) (net.Conn, error) {
				return pipe{Conn: a, remote: ident.Target.IP}, nil
			}
			me := wire.EntityName{Type: wire.EntityClient, Num: -1}
			myAddr := ident.Addrs[0]
			conn, err := n.Connect(me, myAddr, c.kind, ident.Target, silent{}, scriptedClient{&scripted{t: t, c: c}})
			if err != nil {
				t.Fatal(err)
			}
			playServer(t, &player{t: t, c: b, c2: c}, conn, &ident)
			b.Close()
		})
	}
}

func playServer(t *testing.T, p *player, conn Conn, ident *wire.Ident) {
	p.banners()
	// Both HELLOs are sent at once, and a pipe holds none: ours is read first.
	p.c2.frames[0], p.c2.frames[1] = p.c2.frames[1], p.c2.frames[0]
	for _, f := range p.c2.frames {
		switch {
		case f.who == "S":
			p.send(f)
			if f.tag == tagAuthDone && p.c2.mode == ModeSecure {
				p.out, p.in, _ = gcmStreams(p.c2.keys.Secret)
			}
		case f.tag == tagClientIdent:
			// We ask for one feature less, and offer no cookie.
			done, _ := wire.DecodeAuthDone(p.c2.find("S", tagAuthDone).payload)
			want := *ident
			want.Required, want.GlobalSeq, want.Cookie, want.Flags = requiredFeature, 1, 0, wire.IdentLossy
			want.GlobalID = int64(done.GlobalID)
			f.payload = want.AppendClient(nil)
			p.expect(f)
		default:
			p.expect(f)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := conn.Wait(ctx); err != nil {
		t.Fatal(err)
	}
	if conn.GlobalID() == 0 || conn.PeerAddr() != ident.Target || conn.Identity().Mode != p.c2.mode {
		t.Errorf("global id %d, peer at %v, %+v", conn.GlobalID(), conn.PeerAddr(), conn.Identity())
	}
}
