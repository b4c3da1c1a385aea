package user

import (
	"crypto/rand"
	"log/slog"

	"github.com/spirula/spirula/rados/wire"
)

// Secret is a secret access key. Its String, GoString and LogValue hide it;
// Reveal gives it.
type Secret string

// String implements fmt.Stringer without telling the secret.
func (Secret) String() string { return "(secret)" }

// GoString implements fmt.GoStringer without telling the secret.
func (Secret) GoString() string { return "(secret)" }

// LogValue implements slog.LogValuer without telling the secret.
func (Secret) LogValue() slog.Value { return slog.StringValue("(secret)") }

// Reveal is the secret itself.
func (s Secret) Reveal() string { return string(s) }

// Key is a pair of access key and secret.
type Key struct {
	Access  string
	Secret  Secret
	Created wire.Time
}

// User is an S3 user. One that Store gave out is shared: don't change it.
type User struct {
	Name    string
	UID     uint32 // owns what the user makes, over NFS
	GID     uint32
	Admin   bool // may use every bucket
	Created wire.Time
	Keys    []Key // at most MaxKeys, oldest first
}

// Secret gives the secret of one of the user's access keys.
func (u *User) Secret(access string) (Secret, bool) {
	for i := range u.Keys {
		if u.Keys[i].Access == access {
			return u.Keys[i].Secret, true
		}
	}
	return "", false
}

// The limits.
const (
	MaxName   = 64   // bytes of a user's name
	MaxKeys   = 8    // key pairs of one user
	MaxUsers  = 4096 // users of a cluster
	minAccess = 3    // bytes of an access key
	maxAccess = 128
	minSecret = 8 // bytes of a secret
	maxSecret = 128
)

// ValidName reports whether a user may be called s: letters, digits and
// _ . - @ +, beginning with a letter or digit.
func ValidName(s string) bool {
	if len(s) == 0 || len(s) > MaxName || !alnum(s[0]) {
		return false
	}
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case alnum(c), c == '_', c == '.', c == '-', c == '@', c == '+':
		default:
			return false
		}
	}
	return true
}

// ValidAccess reports whether s can be an access key: 3 to 128 letters,
// digits, _ and -. (No slash, colon or comma: they divide credentials.)
func ValidAccess(s string) bool {
	if len(s) < minAccess || len(s) > maxAccess {
		return false
	}
	for i := 0; i < len(s); i++ {
		if c := s[i]; !alnum(c) && c != '_' && c != '-' {
			return false
		}
	}
	return true
}

// ValidSecret reports whether s can be a secret: 8 to 128 visible ASCII
// characters.
func ValidSecret(s Secret) bool {
	if len(s) < minSecret || len(s) > maxSecret {
		return false
	}
	for i := 0; i < len(s); i++ {
		if s[i] <= ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}

func alnum(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
}

const (
	accessLetters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
	secretLetters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
)

// GenerateKey makes a random key pair: 20 characters A-Z0-9 (103 bits), and
// 40 letters and digits (238 bits).
func GenerateKey(now wire.Time) Key {
	return Key{Access: random(accessLetters, 20), Secret: Secret(random(secretLetters, 40)), Created: now}
}

// random draws n letters evenly: bytes at or above the largest multiple of
// the alphabet's size are drawn again.
func random(letters string, n int) string {
	limit := byte(256 / len(letters) * len(letters))
	out := make([]byte, 0, n)
	var b [64]byte
	for len(out) < n {
		rand.Read(b[:])
		for _, c := range b {
			if c < limit && len(out) < n {
				out = append(out, letters[int(c)%len(letters)])
			}
		}
	}
	return string(out)
}
