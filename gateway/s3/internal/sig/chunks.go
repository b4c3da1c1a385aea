package sig

import (
	"crypto/subtle"
)

// Chunks is the chain of signatures over a streamed body: each covers its
// chunk and the signature before it, the first the request's own. Not safe
// for concurrent use.
type Chunks struct {
	key   [32]byte
	head  []byte // time and scope, as they stand in each string to sign
	prior [64]byte
	buf   []byte
}

// Chunks starts the chain of a request that Verify has accepted. It is nil
// for schemes other than Version 4, which have no such chain.
func (a *Auth) Chunks() *Chunks {
	if a.Scheme != HeaderV4 && a.Scheme != QueryV4 {
		return nil
	}
	c := &Chunks{key: a.key}
	copy(c.prior[:], a.signature)
	c.head = append(c.head, a.time...)
	c.head = append(c.head, '\n')
	c.head = a.appendScope(c.head)
	c.head = append(c.head, '\n')
	return c
}

// Chunk checks a chunk's signature, given the SHA-256 of its bytes, and goes
// on from it.
func (c *Chunks) Chunk(sum [32]byte, signature []byte) error {
	return c.next("AWS4-HMAC-SHA256-PAYLOAD\n", true, sum, signature)
}

// Trailer checks the signature over the trailing headers, given the SHA-256
// of their lines (name:value and a newline each).
func (c *Chunks) Trailer(sum [32]byte, signature []byte) error {
	return c.next("AWS4-HMAC-SHA256-TRAILER\n", false, sum, signature)
}

func (c *Chunks) next(algorithm string, empty bool, sum [32]byte, signature []byte) error {
	b := append(c.buf[:0], algorithm...)
	b = append(b, c.head...)
	b = append(b, c.prior[:]...)
	b = append(b, '\n')
	if empty {
		b = append(b, emptySHA256...)
		b = append(b, '\n')
	}
	h := hexOf(sum)
	b = append(b, h[:]...)
	c.buf = b
	c.prior = hexOf(hmac256(c.key[:], b))
	if subtle.ConstantTimeCompare(c.prior[:], signature) != 1 {
		return mismatch()
	}
	return nil
}
