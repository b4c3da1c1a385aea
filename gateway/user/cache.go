package user

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"time"

	"github.com/spirula/spirula/rados/wire"
)

// maxCached bounds the cache, unknown keys included; when it is met all are
// forgotten.
const maxCached = 4096

type cached struct {
	user *User // nil: there is no such key
	at   time.Time
}

type cache struct {
	mu   sync.RWMutex
	kept map[string]cached
	gen  uint64 // moved by drop: what was read before is not kept after
}

func (c *cache) drop() {
	c.mu.Lock()
	c.kept = nil
	c.gen++
	c.mu.Unlock()
}

func (c *cache) put(access string, u *User, at time.Time, gen uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.gen != gen {
		return
	}
	if c.kept == nil || len(c.kept) >= maxCached {
		c.kept = make(map[string]cached)
	}
	c.kept[access] = cached{u, at}
}

// ByAccessKey gives the user whose access key it is; ENOENT when there is
// none. The answer was true at most Options.Fresh ago, or Options.Stale if the
// cluster does not answer. Two askers may both read; neither waits for the
// other.
func (s *Store) ByAccessKey(ctx context.Context, access string) (*User, error) {
	now := s.o.Now()
	s.cache.mu.RLock()
	c, ok := s.cache.kept[access]
	gen := s.cache.gen
	s.cache.mu.RUnlock()
	age := now.Sub(c.at)
	switch {
	case ok && c.user != nil && age < s.o.Fresh:
		return c.user, nil
	case ok && c.user == nil && age < s.o.Unknown:
		return nil, unknown()
	}
	if !ValidAccess(access) {
		return nil, unknown()
	}
	u, err := s.read(ctx, access)
	switch {
	case err == nil || wire.ErrnoOf(err) == wire.ENOENT:
		s.cache.put(access, u, now, gen)
	case ok && c.user != nil && age < s.o.Stale:
		return c.user, nil
	}
	return u, err
}

func unknown() error { return wire.Errorf("user.key", "no such access key", wire.ENOENT) }

func (s *Store) read(ctx context.Context, access string) (*User, error) {
	raw, err := s.get(ctx, keyPrefix+access)
	if err != nil {
		return nil, wire.Wrap("user.key", "read", err)
	}
	if raw == nil {
		return nil, unknown()
	}
	name, err := decodeKey(raw)
	if err != nil {
		return nil, err
	}
	u, _, err := s.lookup(ctx, name)
	if err != nil {
		return nil, err
	}
	if _, has := u.Secret(access); !has {
		return nil, unknown() // taken away between the two reads
	}
	return u, nil
}

func sortKVs(kvs []wire.KV) {
	slices.SortFunc(kvs, func(a, b wire.KV) int { return cmp.Compare(a.Key, b.Key) })
}

func sortKeys(keys []string) { slices.Sort(keys) }
