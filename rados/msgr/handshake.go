package msgr

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"net"
	"time"

	"github.com/spirula/spirula/rados/wire"
)

// Bounds of a handshake.
const (
	handshakeTime = 10 * time.Second
	maxHandshake  = 64 << 10 // bytes received until authentication is done
	maxAuthRounds = 8        // messages of authentication
	maxBanner     = 1 << 10  // bytes after a banner's length
)

// Features of messenger v2 in the banner, and those of sessions.
const (
	bannerText      = "ceph v2\n"
	bannerRevision1 = 1 << 0
	requiredFeature = 1 << 59 // addresses in their form since Nautilus
)

// link is one TCP connection: of its session, for some time.
type link struct {
	c   net.Conn
	r   reader
	enc *gcmStream // nil in ModeCRC
	out []byte     // scratch of frames sent

	recording bool
	record    []byte        // what was sent, while recording
	gone      chan struct{} // closed when nobody writes any more
	// Under the session's mutex: nothing is to be written any more; its last
	// word was.
	over, goodbye bool
	peerReceived  uint64 // of a lossless session's messages, as the handshake told
}

func (t *TCP) newLink(c net.Conn) *link {
	k := &link{c: c, recording: true, gone: make(chan struct{})}
	k.r = reader{src: c, arena: t.opts.Arena, recording: true, large: &t.large, pool: &t.scratch, slow: func(int) {}}
	return k
}

// write sends bytes of the handshake.
func (k *link) write(b []byte) error {
	if k.recording {
		k.record = append(k.record, b...)
	}
	_, err := k.c.Write(b)
	return err
}

// send sends one control frame.
func (k *link) send(t tag, payload []byte) error {
	k.out = k.appendControl(k.out[:0], t, payload)
	return k.write(k.out)
}

func (k *link) appendControl(b []byte, t tag, payload []byte) []byte {
	if k.enc != nil {
		return k.enc.sealControl(b, t, payload)
	}
	return appendControl(b, t, payload)
}

// recv waits for a control frame that has one of these tags.
func (k *link) recv(f *inFrame, tags ...tag) error {
	err := k.r.frame(f, func(t tag) bool {
		for _, want := range tags {
			if t == want {
				return true
			}
		}
		return false
	})
	return unexpected(err)
}

// hello exchanges banners and HELLOs. peer is the other end's address as we
// know it.
func (k *link) hello(me wire.EntityType, peer wire.Addr) (wire.Hello, error) {
	b := append([]byte(bannerText), 16, 0)
	b = binary.LittleEndian.AppendUint64(b, bannerRevision1)
	b = binary.LittleEndian.AppendUint64(b, 0)
	if err := k.write(b); err != nil {
		return wire.Hello{}, err
	}
	if err := k.peerBanner(); err != nil {
		return wire.Hello{}, unexpected(err)
	}
	mine := wire.Hello{Type: me, Peer: peer}
	if err := k.send(tagHello, mine.Append(nil)); err != nil {
		return wire.Hello{}, err
	}
	var f inFrame
	if err := k.recv(&f, tagHello); err != nil {
		return wire.Hello{}, err
	}
	return wire.DecodeHello(f.payload)
}

func (k *link) peerBanner() error {
	p, err := k.r.next(len(bannerText) + 2)
	if err != nil {
		return err
	}
	n := int(binary.LittleEndian.Uint16(p[len(bannerText):]))
	if string(p[:len(bannerText)]) != bannerText || n < 16 || n > maxBanner {
		return protocolError("banner %q", p)
	}
	if p, err = k.r.next(n); err != nil {
		return err
	}
	supported, required := binary.LittleEndian.Uint64(p), binary.LittleEndian.Uint64(p[8:])
	if supported&bannerRevision1 == 0 || required&^bannerRevision1 != 0 {
		return protocolError("messenger features %#x, required %#x", supported, required)
	}
	return nil
}

// addrOf is a socket's address as HELLO tells it.
func addrOf(a net.Addr) wire.Addr {
	t, ok := a.(*net.TCPAddr)
	if !ok {
		return wire.Addr{}
	}
	return wire.Addr{Type: wire.AddrMsgr2, IP: unmap(t.AddrPort())}
}

// sign is the signature of bytes that were received.
func sign(key, received []byte) []byte {
	if len(key) == 0 {
		return make([]byte, signatureSize)
	}
	h := hmac.New(sha256.New, key)
	h.Write(received)
	return h.Sum(nil)
}

// secure ends the recording and switches to the connection's mode. The
// signatures are about what was recorded.
func (k *link) secure(mode Mode, keys SessionKeys, acceptor bool) error {
	k.recording, k.r.recording = false, false
	if mode != ModeSecure {
		return nil
	}
	fromAcceptor, fromDialler, err := gcmStreams(keys.Secret)
	if err != nil {
		return err
	}
	if acceptor {
		k.enc, k.r.gcm = fromAcceptor, fromDialler
	} else {
		k.enc, k.r.gcm = fromDialler, fromAcceptor
	}
	return nil
}

// checkSignature takes the peer's signature of what we have sent.
func (k *link) checkSignature(keys SessionKeys) error {
	var f inFrame
	if err := k.recv(&f, tagAuthSignature); err != nil {
		return err
	}
	if !hmac.Equal(f.payload, sign(keys.Key, k.record)) {
		return protocolError("wrong signature")
	}
	k.record, k.r.record = nil, nil
	return nil
}

func modesOf(v []uint32) []Mode {
	modes := make([]Mode, len(v))
	for i, m := range v {
		modes[i] = Mode(m)
	}
	return modes
}

func numbers[T ~uint32](v []T) []uint32 {
	n := make([]uint32, len(v))
	for i, m := range v {
		n[i] = uint32(m)
	}
	return n
}
