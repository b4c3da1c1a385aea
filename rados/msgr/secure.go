package msgr

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"

	"github.com/spirula/spirula/rados/wire"
)

// Sizes of ModeSecure, in bytes.
const (
	gcmTag       = 16
	gcmBlock     = 16
	gcmNonce     = 12
	secureInline = 48 // of segment 0, in the first operation
	secureFirst  = preambleSize + secureInline + gcmTag
	secureSecret = 64
)

// gcmStream encrypts or decrypts one direction of a connection.
type gcmStream struct {
	aead  cipher.AEAD
	nonce [gcmNonce]byte
}

// gcmStreams makes both directions from a connection's secret: what the
// acceptor sends, and what the dialler sends.
func gcmStreams(secret []byte) (fromAcceptor, fromDialler *gcmStream, err error) {
	if len(secret) < secureSecret {
		return nil, nil, wire.Errorf("msgr secure mode: no secret", "", wire.EACCES)
	}
	block, err := aes.NewCipher(secret[:16])
	if err != nil {
		return nil, nil, wire.Wrap("msgr secure mode", "", err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		return nil, nil, wire.Wrap("msgr secure mode", "", err)
	}
	a, d := &gcmStream{aead: aead}, &gcmStream{aead: aead}
	copy(a.nonce[:], secret[16:])
	copy(d.nonce[:], secret[16+gcmNonce:])
	return a, d, nil
}

// step counts one operation.
func (s *gcmStream) step() {
	n := binary.LittleEndian.Uint64(s.nonce[4:])
	binary.LittleEndian.PutUint64(s.nonce[4:], n+1)
}

// seal encrypts b[at:] in place and appends the tag.
func (s *gcmStream) seal(b []byte, at int) []byte {
	out := s.aead.Seal(b[:at], s.nonce[:], b[at:], nil)
	s.step()
	return out
}

// open decrypts b in place and gives it without the tag.
func (s *gcmStream) open(b []byte) ([]byte, error) {
	out, err := s.aead.Open(b[:0], s.nonce[:], b, nil)
	if err != nil {
		return nil, protocolError("a frame was forged or damaged")
	}
	s.step()
	return out, nil
}

func padded(n int) int { return (n + gcmBlock - 1) &^ (gcmBlock - 1) }

// pad appends zeros to b until b[at:] has n bytes.
func pad(b []byte, at, n int) []byte {
	var zeros [secureInline]byte
	return append(b, zeros[:n-(len(b)-at)]...)
}

// sealHead appends preamble and segment 0, encrypted.
func (s *gcmStream) sealHead(b []byte, h preamble, seg0 []byte) []byte {
	at := len(b)
	b = pad(b, at, preambleSize)
	h.put(b[at:])
	inline := min(len(seg0), secureInline)
	b = append(b, seg0[:inline]...)
	b = s.seal(pad(b, at, preambleSize+secureInline), at)
	if rest := seg0[inline:]; len(rest) > 0 {
		at = len(b)
		b = append(b, rest...)
		b = s.seal(pad(b, at, padded(len(rest))), at)
	}
	return b
}

// sealControl appends a control frame.
func (s *gcmStream) sealControl(b []byte, t tag, payload []byte) []byte {
	return s.sealHead(b, preamble{tag: t, nseg: 1, lens: [maxSegments]int{len(payload)}}, payload)
}

// sealedSize is the length of a message's frame at most.
func sealedSize(f *outFrame) int {
	return secureFirst + padded(f.front-frontOffset) + padded(f.data.Len()) + gcmBlock + gcmTag
}

// sealMessage appends a message's frame.
func (s *gcmStream) sealMessage(b []byte, f *outFrame, ack uint64) []byte {
	h := f.preamble()
	f.header.Ack = ack
	var header [wire.FrameHeaderSize]byte
	b = s.sealHead(b, h, f.header.Append(header[:0]))
	if h.nseg == 1 {
		return b
	}
	at := len(b)
	front := f.buf[frontOffset:f.front]
	b = append(b, front...)
	b = pad(b, at, padded(len(front)))
	mark := len(b)
	b = f.data.AppendTo(b)
	b = pad(b, mark, padded(f.data.Len()))
	b = append(b, lateComplete)
	b = pad(b, len(b)-1, gcmBlock)
	return s.seal(b, at)
}
