package mon

import (
	"sort"
	"strings"
	"time"

	"github.com/spirula/spirula/rados/wire"
)

// Bounds of the config store.
const (
	maxConfigKeys  = 4096
	maxConfigValue = 64 << 10
)

// configService keeps settings: "section/name" to value, the section being
// global, mon, osd, client, or a daemon's name. State: one key each.
type configService struct {
	m        *Mon
	ver      uint64
	values   map[string]string
	inFlight bool
	pending  []Change
	answers  []func(wire.Errno)
	flying   []func(wire.Errno)
}

func (c *configService) name() string    { return "config" }
func (c *configService) version() uint64 { return c.ver }

func (c *configService) load(kv KV, version uint64) error {
	c.ver, c.values = version, make(map[string]string)
	prefix := stateKey(c.name(), nil)
	return kv.Range(prefix, prefixEnd(prefix), func(k, v []byte) error {
		b, err := unseal("config", v)
		c.values[string(k[len(prefix):])] = string(b)
		return err
	})
}

func (c *configService) lead(bool) {
	c.inFlight, c.pending = false, nil
	for _, fn := range append(c.flying, c.answers...) {
		fn(wire.EAGAIN)
	}
	c.flying, c.answers = nil, nil
}

func (c *configService) propose(time.Time) *proposal {
	if c.inFlight || len(c.pending) == 0 {
		return nil
	}
	p := &proposal{service: c.name(), prior: c.ver, next: c.ver + 1, changes: c.pending}
	c.inFlight, c.pending = true, nil
	c.flying, c.answers = c.answers, nil
	return p
}

func (c *configService) apply(_ *Batch, p *proposal) error {
	for _, ch := range p.changes {
		if ch.Delete {
			delete(c.values, string(ch.Key))
			continue
		}
		b, err := unseal("config", ch.Value)
		if err != nil {
			return err
		}
		c.values[string(ch.Key)] = string(b)
	}
	c.ver = p.next
	return nil
}

func (c *configService) committed(_ *proposal, mine bool) {
	if mine {
		c.inFlight = false
		for _, fn := range c.flying {
			fn(0)
		}
		c.flying = nil
	}
	for _, s := range c.m.sessions {
		if sub, ok := s.subs[wire.SubConfig]; ok && sub.Start <= c.ver {
			c.send(s)
			c.m.delivered(s, wire.SubConfig, c.ver)
		}
	}
}

func (c *configService) tick(time.Time) {}

// set changes a setting; an empty value removes it.
func (c *configService) set(section, key, value string, done func(wire.Errno)) {
	full := section + "/" + key
	switch {
	case section == "" || key == "" || strings.ContainsAny(full, "\x00\n") || strings.Count(full, "/") != 1:
		done(wire.EINVAL)
		return
	case len(value) > maxConfigValue || len(full) > maxConfigValue:
		done(wire.EMSGSIZE)
		return
	case len(c.values)+len(c.pending) >= maxConfigKeys:
		done(wire.ENOSPC)
		return
	}
	ch := Change{Key: []byte(full), Delete: true}
	if value != "" {
		ch = Change{Key: []byte(full), Value: seal([]byte(value))}
	}
	c.pending = append(c.pending, ch)
	c.answers = append(c.answers, done)
}

// effective gives the settings that hold for an entity: global, then its
// kind's, then its own.
func (c *configService) effective(who wire.EntityName) map[string]string {
	out := make(map[string]string)
	kind, _, _ := strings.Cut(who.String(), ".")
	for _, section := range []string{"global", kind, who.String()} {
		for k, v := range c.values {
			if name, ok := strings.CutPrefix(k, section+"/"); ok {
				out[name] = v
			}
		}
	}
	return out
}

// keys gives all settings in order.
func (c *configService) keys() []string {
	keys := make([]string, 0, len(c.values))
	for k := range c.values {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	return keys
}

func (c *configService) send(s *session) {
	s.c.Send(&wire.MConfig{Values: c.effective(s.c.Peer())})
}
