package cephx

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/spirula/spirula/rados/wire"
)

// Lifetimes (Ceph's defaults).
const (
	// ServiceTTL is how long a ticket for a kind of daemon holds, and the
	// period in which the secrets of that kind change.
	ServiceTTL = time.Hour
	// AuthTTL is the same of auth tickets.
	AuthTTL = 72 * time.Hour
)

// TTL is the lifetime of tickets for service.
func TTL(service wire.EntityType) time.Duration {
	if service == wire.EntityAuth {
		return AuthTTL
	}
	return ServiceTTL
}

// Services are the kinds of daemons for which tickets exist.
func Services() []wire.EntityType {
	return []wire.EntityType{wire.EntityMon, wire.EntityMDS, wire.EntityOSD, wire.EntityMgr, wire.EntityAuth}
}

// rotateCount is how many secrets of a kind live at once: the previous, under
// which there are tickets still; the current, under which they are made; and
// the next, so that daemons know it before it is used.
const rotateCount = 3

// ServiceSecret is one secret of a kind of daemon.
type ServiceSecret struct {
	ID      uint64
	Key     CryptoKey
	Expires wire.Time // when it is no longer the current one
}

// Rotating are the live secrets of one kind of daemon, ids ascending. It is a
// value: nothing changes it.
type Rotating struct {
	Secrets []ServiceSecret
	MaxID   uint64 // the largest id ever given
}

// Get finds a secret.
func (r Rotating) Get(id uint64) (CryptoKey, bool) {
	for _, s := range r.Secrets {
		if s.ID == id {
			return s.Key, true
		}
	}
	return CryptoKey{}, false
}

// Current is the secret under which tickets are to be made. ok is false while
// there is none.
func (r Rotating) Current(now time.Time) (s ServiceSecret, ok bool) {
	if len(r.Secrets) == 0 {
		return s, false
	}
	i := min(1, len(r.Secrets)-1)
	for i < len(r.Secrets)-1 && r.Secrets[i].Expires <= wire.TimeOf(now) {
		i++
	}
	return r.Secrets[i], true
}

// Due reports whether it is time for Rotate.
func (r Rotating) Due(now time.Time) bool {
	return len(r.Secrets) < rotateCount || r.Secrets[1].Expires <= wire.TimeOf(now)
}

// Rotate gives the secrets as they are to be from now on: with new ones of
// random content behind, and the oldest gone.
func (r Rotating) Rotate(now time.Time, ttl time.Duration) Rotating {
	out := Rotating{Secrets: slices.Clone(r.Secrets), MaxID: r.MaxID}
	for out.Due(now) {
		last := wire.TimeOf(now)
		if n := len(out.Secrets); n > 0 {
			last = max(last+wire.Time(ttl), out.Secrets[n-1].Expires)
		}
		out.MaxID++
		out.Secrets = append(out.Secrets, ServiceSecret{ID: out.MaxID, Key: GenerateKey(now), Expires: last + wire.Time(ttl)})
		if len(out.Secrets) > rotateCount {
			out.Secrets = slices.Delete(out.Secrets, 0, len(out.Secrets)-rotateCount)
		}
	}
	return out
}

// Encode gives the secrets in Ceph's encoding.
func (r Rotating) Encode() []byte {
	var e wire.Encoder
	e.U8(1)
	e.Count(len(r.Secrets))
	for _, s := range r.Secrets {
		e.U64(s.ID)
		e.U8(1)
		s.Key.append(&e)
		e.Time(s.Expires)
	}
	e.U64(r.MaxID)
	return e.B
}

// DecodeRotating reads what Encode wrote. The error's kind is EINVAL.
func DecodeRotating(b []byte) (Rotating, error) {
	d := wire.NewDecoder(b)
	version(d, 1)
	var r Rotating
	for range d.Count(29) {
		s := ServiceSecret{ID: d.U64()}
		version(d, 1)
		s.Key = decodeKey(d)
		s.Expires = d.Time()
		r.Secrets = append(r.Secrets, s)
	}
	r.MaxID = d.U64()
	if d.Err() != nil {
		return Rotating{}, wire.Wrap("cephx.decode secrets", "", d.Err())
	}
	slices.SortFunc(r.Secrets, func(a, b ServiceSecret) int {
		if a.ID < b.ID {
			return -1
		}
		return 1
	})
	return r, nil
}

// SecretSource knows the secrets that tickets are sealed with. Its method is
// called from many goroutines.
type SecretSource interface {
	// ServiceSecret finds a secret by its id; false when it was rotated
	// away, or never was.
	ServiceSecret(service wire.EntityType, id uint64) (CryptoKey, bool)
}

// ServiceKeys holds the secrets of a daemon's kind, as the mons told them
// last. It is safe for concurrent use.
type ServiceKeys struct {
	service wire.EntityType
	mu      sync.Mutex
	r       Rotating
	arrived chan struct{} // closed with the first secrets
}

var _ SecretSource = (*ServiceKeys)(nil)

func newServiceKeys(service wire.EntityType) *ServiceKeys {
	return &ServiceKeys{service: service, arrived: make(chan struct{})}
}

// ServiceSecret implements SecretSource.
func (k *ServiceKeys) ServiceSecret(service wire.EntityType, id uint64) (CryptoKey, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if service != k.service {
		return CryptoKey{}, false
	}
	return k.r.Get(id)
}

// Wait waits until there are secrets at all: before, a daemon can let nobody
// in.
func (k *ServiceKeys) Wait(ctx context.Context) error {
	select {
	case <-k.arrived:
		return nil
	case <-ctx.Done():
		return wire.Wrap("cephx: waiting for service secrets", "", ctx.Err())
	}
}

func (k *ServiceKeys) set(r Rotating) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(k.r.Secrets) == 0 && len(r.Secrets) > 0 {
		close(k.arrived)
	}
	k.r = r
}

// due reports whether newer secrets should be asked for.
func (k *ServiceKeys) due(now time.Time) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.r.Due(now)
}
