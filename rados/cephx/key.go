package cephx

import (
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"strings"
	"time"

	"github.com/spirula/spirula/rados/wire"
)

// KeyAES is the only key type in use: AES-128 (Ceph's value).
const KeyAES uint16 = 1

// keySize is the length of an AES-128 key in bytes.
const keySize = 16

// CryptoKey is a secret key. The zero CryptoKey is none.
type CryptoKey struct {
	Type    uint16 // KeyAES; others are kept and printed, but can't be used
	Created wire.Time
	Secret  []byte // never written to once set
}

// GenerateKey makes a random key.
func GenerateKey(now time.Time) CryptoKey {
	k := CryptoKey{Type: KeyAES, Created: wire.TimeOf(now), Secret: make([]byte, keySize)}
	rand.Read(k.Secret)
	return k
}

// ParseKey reads a key's text as keyrings have it, the base64 of its
// encoding. What is no key is EINVAL.
func ParseKey(text string) (CryptoKey, error) {
	b, err := base64.StdEncoding.DecodeString(strings.TrimSpace(text))
	if err != nil {
		return CryptoKey{}, &wire.Error{Op: "cephx.parse key", Kind: wire.EINVAL, Cause: err}
	}
	d := wire.NewDecoder(b)
	k := decodeKey(d)
	switch {
	case d.Err() != nil:
		return CryptoKey{}, wire.Wrap("cephx.parse key", "", d.Err())
	case d.Len() != 0 || k.Type == KeyAES && len(k.Secret) != keySize:
		return CryptoKey{}, wire.Errorf("cephx.parse key: bad length", "", wire.EINVAL)
	}
	return k, nil
}

// Text is the key as keyrings have it.
func (k CryptoKey) Text() string {
	var e wire.Encoder
	k.append(&e)
	return base64.StdEncoding.EncodeToString(e.B)
}

// String keeps the secret out of logs; Text tells it.
func (k CryptoKey) String() string {
	if k.IsZero() {
		return "no key"
	}
	return "(secret key)"
}

// GoString is String.
func (k CryptoKey) GoString() string { return k.String() }

// IsZero reports whether there is no key.
func (k CryptoKey) IsZero() bool { return len(k.Secret) == 0 }

// Equal compares type and secret, in a time that tells nothing of either.
func (k CryptoKey) Equal(o CryptoKey) bool {
	return k.Type == o.Type && subtle.ConstantTimeCompare(k.Secret, o.Secret) == 1
}

func (k CryptoKey) append(e *wire.Encoder) {
	e.U16(k.Type)
	e.Time(k.Created)
	e.U16(uint16(len(k.Secret)))
	e.Raw(k.Secret)
}

// decodeKey reads a key into memory of its own.
func decodeKey(d *wire.Decoder) CryptoKey {
	k := CryptoKey{Type: d.U16(), Created: d.Time()}
	k.Secret = append([]byte(nil), d.Raw(int(d.U16()))...)
	return k
}
