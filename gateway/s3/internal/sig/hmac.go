package sig

import (
	"crypto/sha256"
	"encoding/hex"
	"sync"
)

// hmac256 is HMAC-SHA-256 (RFC 2104) of msg under key. crypto/hmac allocates
// its two states; here both blocks lie in an array of the caller's stack, as
// keys and messages are short.
func hmac256(key, msg []byte) [32]byte {
	var block [sha256.BlockSize]byte
	if len(key) > len(block) {
		k := sha256.Sum256(key)
		copy(block[:], k[:])
	} else {
		copy(block[:], key)
	}
	var scratch [768]byte
	inner := scratch[:sha256.BlockSize]
	for i, b := range block {
		inner[i] = b ^ 0x36
	}
	sum := sha256.Sum256(append(inner, msg...))
	var outer [sha256.BlockSize + sha256.Size]byte
	for i, b := range block {
		outer[i] = b ^ 0x5c
	}
	copy(outer[sha256.BlockSize:], sum[:])
	return sha256.Sum256(outer[:])
}

// maxKeys bounds Keys. One key a day is in use for each access key and
// region, so the bound is met only by strangers; then all are dropped.
const maxKeys = 1024

type keyID struct{ access, date, region, service string }

type derived struct {
	secret string
	key    [32]byte
}

// Keys keeps signing keys, which are four HMACs away from the secret and
// change once a day. Safe for concurrent use.
type Keys struct {
	mu   sync.RWMutex
	kept map[keyID]derived
}

func (k *Keys) signing(a *Auth, secret string) [32]byte {
	id := keyID{a.AccessKey, a.date, a.region, a.service}
	k.mu.RLock()
	d, ok := k.kept[id]
	k.mu.RUnlock()
	if ok && d.secret == secret {
		return d.key
	}
	key := SigningKey(secret, a.date, a.region, a.service)
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.kept == nil || len(k.kept) >= maxKeys {
		k.kept = make(map[keyID]derived)
	}
	k.kept[id] = derived{secret, key}
	return key
}

// SigningKey derives a Version 4 signing key; date is YYYYMMDD.
func SigningKey(secret, date, region, service string) [32]byte {
	k := hmac256([]byte("AWS4"+secret), []byte(date))
	k = hmac256(k[:], []byte(region))
	k = hmac256(k[:], []byte(service))
	return hmac256(k[:], []byte("aws4_request"))
}

func hexOf(sum [32]byte) (h [64]byte) {
	hex.Encode(h[:], sum[:])
	return h
}
