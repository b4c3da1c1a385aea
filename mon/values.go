package mon

import (
	"time"

	"github.com/spirula/spirula/rados/wire"
)

// Bounds of a valueService.
const (
	maxValues = 16384
	maxValue  = 64 << 10 // bytes of a key and of a value
)

// valueService keeps texts under keys. State: one key each. Values may be
// empty.
type valueService struct {
	m       *Mon
	label   string
	ver     uint64
	values  map[string]string
	changed func() // called after a step was committed; may be nil

	inFlight bool
	pending  []Change
	answers  []func(wire.Errno)
	flying   []func(wire.Errno)
}

func newValueService(m *Mon, label string) *valueService {
	return &valueService{m: m, label: label, values: make(map[string]string)}
}

func (c *valueService) name() string    { return c.label }
func (c *valueService) version() uint64 { return c.ver }

func (c *valueService) load(kv KV, version uint64) error {
	c.ver, c.values = version, make(map[string]string)
	prefix := stateKey(c.label, nil)
	return kv.Range(prefix, prefixEnd(prefix), func(k, v []byte) error {
		b, err := unseal(c.label, v)
		c.values[string(k[len(prefix):])] = string(b)
		return err
	})
}

func (c *valueService) lead(bool) {
	c.inFlight, c.pending = false, nil
	answers := append(c.flying, c.answers...)
	c.flying, c.answers = nil, nil
	for _, fn := range answers {
		fn(wire.EAGAIN)
	}
}

func (c *valueService) propose(time.Time) *proposal {
	if c.inFlight || len(c.pending) == 0 {
		return nil
	}
	p := &proposal{service: c.label, prior: c.ver, next: c.ver + 1, changes: c.pending}
	c.inFlight, c.pending = true, nil
	c.flying, c.answers = c.answers, nil
	return p
}

func (c *valueService) apply(_ *Batch, p *proposal) error {
	for _, ch := range p.changes {
		if ch.Delete {
			delete(c.values, string(ch.Key))
			continue
		}
		b, err := unseal(c.label, ch.Value)
		if err != nil {
			return err
		}
		c.values[string(ch.Key)] = string(b)
	}
	c.ver = p.next
	return nil
}

func (c *valueService) committed(_ *proposal, mine bool) {
	if mine {
		c.inFlight = false
		answers := c.flying
		c.flying = nil
		for _, fn := range answers {
			fn(0)
		}
	}
	if c.changed != nil {
		c.changed()
	}
}

func (c *valueService) tick(time.Time) {}

// put sets a value. EMSGSIZE: key or value is over maxValue. ENOSPC: there
// are maxValues already.
func (c *valueService) put(key, value string, done func(wire.Errno)) {
	switch {
	case key == "":
		done(wire.EINVAL)
	case len(value) > maxValue || len(key) > maxValue:
		done(wire.EMSGSIZE)
	case len(c.values)+len(c.pending) >= maxValues:
		done(wire.ENOSPC)
	default:
		c.pending = append(c.pending, Change{Key: []byte(key), Value: seal([]byte(value))})
		c.answers = append(c.answers, done)
	}
}

// remove deletes a value, which need not be there.
func (c *valueService) remove(key string, done func(wire.Errno)) {
	if key == "" || len(c.pending) >= maxValues {
		done(wire.EINVAL)
		return
	}
	c.pending = append(c.pending, Change{Key: []byte(key), Delete: true})
	c.answers = append(c.answers, done)
}

// keys gives all keys in order.
func (c *valueService) keys() []string { return sortedKeys(c.values) }
