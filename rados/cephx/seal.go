package cephx

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/subtle"
	"encoding/binary"

	"github.com/spirula/spirula/rados/wire"
)

// iv is the vector of every encryption (Ceph's).
const iv = "cephsageyudagreg"

// magic begins what is sealed, after a version byte; finding it again is the
// proof that the key was right.
const magic = 0xff009cad8826aa55

const sealVersion = 1

// box seals and opens with one key.
type box struct{ block cipher.Block }

// errRefused is all that a peer may know of why it was refused.
func errRefused(why string) error {
	return wire.Errorf("authenticate: "+why, "", wire.EACCES)
}

// box prepares the key for use. A key that is none, or of an unknown type, is
// EACCES.
func (k CryptoKey) box() (box, error) {
	if k.Type != KeyAES || len(k.Secret) != keySize {
		return box{}, errRefused("a key of an unknown type")
	}
	block, err := aes.NewCipher(k.Secret)
	if err != nil {
		return box{}, errRefused("a key that can't be used")
	}
	return box{block}, nil
}

// seal encrypts body in its envelope.
func (b box) seal(body []byte) []byte {
	p := make([]byte, 0, (9+len(body))/aes.BlockSize*aes.BlockSize+aes.BlockSize)
	p = append(p, sealVersion)
	p = binary.LittleEndian.AppendUint64(p, magic)
	p = append(p, body...)
	pad := cap(p) - len(p)
	for range pad {
		p = append(p, byte(pad))
	}
	cipher.NewCBCEncrypter(b.block, []byte(iv)).CryptBlocks(p, p)
	return p
}

// open gives what seal sealed, in memory of its own.
func (b box) open(sealed []byte) ([]byte, error) {
	if len(sealed) == 0 || len(sealed)%aes.BlockSize != 0 {
		return nil, errRefused("sealed bytes of a wrong length")
	}
	p := make([]byte, len(sealed))
	cipher.NewCBCDecrypter(b.block, []byte(iv)).CryptBlocks(p, sealed)
	pad := int(p[len(p)-1])
	if pad == 0 || pad > aes.BlockSize || !bytes.Equal(p[len(p)-pad:], bytes.Repeat([]byte{byte(pad)}, pad)) {
		return nil, errRefused("sealed with another key")
	}
	p = p[:len(p)-pad]
	if len(p) < 9 || p[0] != sealVersion || binary.LittleEndian.Uint64(p[1:]) != magic {
		return nil, errRefused("sealed with another key")
	}
	return p[9:], nil
}

// appendSealed appends seal(body) with its length.
func (b box) appendSealed(e *wire.Encoder, body []byte) { e.Bytes(b.seal(body)) }

// openNext reads what appendSealed wrote.
func (b box) openNext(d *wire.Decoder) ([]byte, error) {
	sealed := d.Bytes()
	if err := d.Err(); err != nil {
		return nil, err
	}
	return b.open(sealed)
}

// proof is what shows the knowledge of a secret: both challenges, sealed, and
// folded into 64 bits.
func (b box) proof(server, client uint64) uint64 {
	var body, e wire.Encoder
	body.U64(server)
	body.U64(client)
	b.appendSealed(&e, body.B)
	var sum uint64
	for p := e.B; len(p) >= 8; p = p[8:] {
		sum ^= binary.LittleEndian.Uint64(p)
	}
	return sum
}

// sameNumber compares in constant time.
func sameNumber(a, b uint64) bool {
	var x, y [8]byte
	binary.LittleEndian.PutUint64(x[:], a)
	binary.LittleEndian.PutUint64(y[:], b)
	return subtle.ConstantTimeCompare(x[:], y[:]) == 1
}

func randomNumber() uint64 {
	var b [8]byte
	rand.Read(b[:])
	return binary.LittleEndian.Uint64(b[:])
}
