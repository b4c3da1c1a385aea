package msgr

import (
	"bytes"
	"context"
	"testing"

	"github.com/spirula/spirula/rados/wire"
)

// sealed is authentication by a method of its own: it believes everybody, and
// everybody has the same keys.
type sealed struct{ NoAuth }

const methodSealed Method = 77

var sealedKeys = SessionKeys{Key: []byte("0123456789abcdef"), Secret: bytes.Repeat([]byte("secret!!"), 8)}

func (s sealed) Accept(wire.EntityType) ServerHandshake { return sealedServer{} }

func (s sealed) Dial(peer wire.EntityType) (ClientHandshake, error) {
	return sealedClient{&noAuthClient{name: s.Name, peer: peer}}, nil
}

type sealedServer struct{ noAuthServer }

func (s sealedServer) Request(ctx context.Context, method Method, modes []Mode, payload []byte) (Step, error) {
	if method != methodSealed {
		return Step{}, wire.Errorf("authenticate", "", wire.EOPNOTSUPP)
	}
	step, err := s.noAuthServer.Request(ctx, MethodNone, modes, payload)
	step.Keys, step.Identity.Mode = sealedKeys, ModeSecure
	return step, err
}

func (sealedServer) Offer() ([]Method, []Mode) { return []Method{methodSealed}, []Mode{ModeSecure} }

type sealedClient struct{ *noAuthClient }

// Request asks for the wrong method first if it may choose.
func (s sealedClient) Request() (Method, []Mode, []byte, error) {
	_, _, payload, err := s.noAuthClient.Request()
	return methodSealed, []Mode{ModeSecure, ModeCRC}, payload, err
}

func (s sealedClient) Done(uint64, Mode, []byte) (SessionKeys, error) { return sealedKeys, nil }

// Sealed makes every session of a network encrypted.
type Sealed struct{ Network }

// Listen implements Network.
func (s Sealed) Listen(me wire.EntityName, addr wire.Addr, d Dispatcher, _ ServerAuth) (Listener, error) {
	return s.Network.Listen(me, addr, d, sealed{})
}

// Connect implements Network.
func (s Sealed) Connect(me wire.EntityName, myAddr wire.Addr, peer wire.EntityType, addr wire.Addr, d Dispatcher, auth ClientAuth) (Conn, error) {
	return s.Network.Connect(me, myAddr, peer, addr, d, sealed{auth.(NoAuth)})
}

// TestSealedDamage wants every changed byte of an encrypted frame to be found.
func TestSealedDamage(t *testing.T) {
	n := NewTCP(TCPOptions{Arena: wire.NewArena(true)})
	f, err := n.encode(opMessage(3, 100))
	if err != nil {
		t.Fatal(err)
	}
	secret := sealedKeys.Secret
	out, _, _ := gcmStreams(secret)
	frame := out.sealMessage(nil, f, 0)
	if len(frame) > sealedSize(f) {
		t.Errorf("%d bytes, expected %d at most", len(frame), sealedSize(f))
	}
	read := func(b []byte) error {
		k := n.newLink(&tape{Reader: bytes.NewReader(b)})
		k.r.recording = false
		k.r.gcm, _, _ = gcmStreams(secret)
		var f inFrame
		defer f.drop()
		return k.r.frame(&f, anyTag)
	}
	if err := read(frame); err != nil {
		t.Fatal(err)
	}
	for i := range frame {
		if read(badCRC(frame, i)) == nil {
			t.Fatalf("byte %d changed, and nobody noticed", i)
		}
	}
	if n.opts.Arena.InUse() != 0 {
		t.Error("memory is lost")
	}
}

// TestSecureNeedsSecret refuses a secure connection without keys.
func TestSecureNeedsSecret(t *testing.T) {
	if _, _, err := gcmStreams(make([]byte, secureSecret-1)); wire.ErrnoOf(err) != wire.EACCES {
		t.Errorf("short secret: %v", err)
	}
}
