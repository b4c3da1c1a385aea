package mon

import (
	"fmt"
	"io"
	"maps"
	"strings"
	"sync/atomic"
	"time"

	"github.com/spirula/spirula/rados/cephx"
	"github.com/spirula/spirula/rados/wire"
)

// gidBlock is how many client numbers one step of the auth service sets
// aside; firstGID is the first ever given out.
const (
	gidBlock = 1 << 12
	firstGID = 4096
)

// Bounds of the auth service.
const (
	maxAuthWaiting = 4096  // clients that wait for a block of numbers
	maxAuthOps     = 1024  // changes that wait for their step
	maxEntities    = 16384 // entities with a key
)

// Keys of the auth service's state.
const (
	keyLimit  = "limit" // numbers below it may have been given out
	keyEntity = "e/"    // + name: an entity's key and caps
	keySecret = "k/"    // + kind of daemon: the rotating secrets
)

// authService has the entities with their keys and caps, the rotating
// secrets under which tickets are made, and the clients' numbers. A leader
// starts with a new block of numbers, so none is given out twice, whatever
// crashes.
type authService struct {
	m      *Mon
	ver    uint64
	limit  uint64 // committed
	next   uint64 // next and end: what this leader may still give out
	end    uint64
	ring   cephx.Keyring // committed; replaced, never changed
	secret map[wire.EntityType]cephx.Rotating
	shared atomic.Pointer[authState] // the same, for connections that begin

	inFlight bool
	waiting  []func(gid uint64, e wire.Errno)
	ops      []authOp
	flying   []func(wire.Errno)
	caps     map[string]cephx.MonCaps // by text; for permits
}

// authState is what other goroutines see of the auth service.
type authState struct {
	ring   cephx.Keyring
	secret map[wire.EntityType]cephx.Rotating
}

// authOp is a change of entities. It looks at the state as the changes before
// it leave it, and gives what is to be called when its own are agreed upon,
// or with EAGAIN if they are not.
type authOp func(v *authView) func(wire.Errno)

// authView is the entities with what a step is going to change.
type authView struct {
	ring    cephx.Keyring
	staged  map[wire.AuthName]*cephx.Entity // nil: removed
	changes []Change
}

func newAuthService(m *Mon) *authService { return &authService{m: m} }

func (a *authService) name() string    { return "auth" }
func (a *authService) version() uint64 { return a.ver }

func (a *authService) load(kv KV, version uint64) error {
	a.ver = version
	a.limit, a.ring, a.secret = firstGID, make(cephx.Keyring), make(map[wire.EntityType]cephx.Rotating)
	prefix := stateKey(a.name(), nil)
	err := kv.Range(prefix, prefixEnd(prefix), func(k, v []byte) error {
		return a.take(Change{Key: k[len(prefix):], Value: v})
	})
	a.publish()
	return err
}

// take takes one change of state over into the maps, which must be the
// service's own.
func (a *authService) take(c Change) error {
	key := string(c.Key)
	var body []byte
	if !c.Delete {
		var err error
		if body, err = unseal("auth "+key, c.Value); err != nil {
			return err
		}
	}
	entity, isEntity := strings.CutPrefix(key, keyEntity)
	kind, isSecret := strings.CutPrefix(key, keySecret)
	switch {
	case key == keyLimit && len(body) == 8:
		a.limit = max(wire.NewDecoder(body).U64(), firstGID)
	case isEntity:
		name, err := cephx.ParseName(entity)
		if err != nil {
			return wire.Errorf("mon.load: auth entity", entity, wire.EIO)
		}
		if c.Delete {
			delete(a.ring, name)
			return nil
		}
		e, err := decodeEntity(body)
		if err != nil {
			return wire.Errorf("mon.load: auth entity", entity, wire.EIO)
		}
		a.ring[name] = e
	case isSecret:
		r, err := cephx.DecodeRotating(body)
		if err != nil || len(kind) != 1 {
			return wire.Errorf("mon.load: service secrets", key, wire.EIO)
		}
		a.secret[wire.EntityType(kind[0])] = r
	default:
		return wire.Errorf("mon.load: auth state", key, wire.EIO)
	}
	return nil
}

func (a *authService) publish() { a.shared.Store(&authState{ring: a.ring, secret: a.secret}) }

func (a *authService) lead(on bool) {
	a.next, a.end, a.inFlight = 0, 0, false
	waiting, answers, ops := a.waiting, a.flying, a.ops
	a.flying = nil
	if !on {
		a.waiting, a.ops = nil, nil
		for _, fn := range waiting {
			fn(0, wire.EAGAIN)
		}
		for _, op := range ops {
			if answer := op(a.view()); answer != nil {
				answer(wire.EAGAIN)
			}
		}
	}
	for _, fn := range answers {
		fn(wire.EAGAIN)
	}
}

func (a *authService) view() *authView {
	return &authView{ring: a.ring, staged: make(map[wire.AuthName]*cephx.Entity)}
}

// propose gathers all that is due into one step: a new block of numbers, new
// service secrets, changes of entities.
func (a *authService) propose(now time.Time) *proposal {
	if a.inFlight {
		return nil
	}
	v := a.view()
	if a.next >= a.end {
		v.changes = append(v.changes, Change{Key: []byte(keyLimit), Value: sealNum(a.limit + gidBlock)})
	}
	v.rotate(a.secret, now)
	if len(a.ring) == 0 { // a store from before there were keys
		v.first(nil, now)
	}
	ops := a.ops
	a.ops = nil
	var answers []func(wire.Errno)
	for _, op := range ops {
		if answer := op(v); answer != nil {
			answers = append(answers, answer)
		}
	}
	if len(v.changes) == 0 {
		for _, fn := range answers {
			fn(0)
		}
		return nil
	}
	a.inFlight, a.flying = true, answers
	return &proposal{service: a.name(), prior: a.ver, next: a.ver + 1, changes: v.changes}
}

func (a *authService) apply(_ *Batch, p *proposal) error {
	a.ring, a.secret = maps.Clone(a.ring), maps.Clone(a.secret)
	for _, c := range p.changes {
		if err := a.take(c); err != nil {
			return err
		}
	}
	a.ver = p.next
	return nil
}

func (a *authService) committed(p *proposal, mine bool) {
	a.publish()
	if !mine {
		return
	}
	a.inFlight = false
	if len(p.changes) > 0 && string(p.changes[0].Key) == keyLimit {
		a.next, a.end = a.limit-gidBlock, a.limit
	}
	waiting, answers := a.waiting, a.flying
	a.waiting, a.flying = nil, nil
	for _, fn := range waiting {
		a.allot(fn)
	}
	for _, fn := range answers {
		fn(0)
	}
}

func (a *authService) tick(time.Time) {}

// allot gives a number that nobody had, at once or after the next step. It is
// EAGAIN if too many wait, or this mon does not lead.
func (a *authService) allot(fn func(gid uint64, e wire.Errno)) {
	if a.next < a.end {
		gid := a.next
		a.next++
		fn(gid, 0)
		return
	}
	if len(a.waiting) >= maxAuthWaiting || !a.m.leader {
		fn(0, wire.EAGAIN)
		return
	}
	a.waiting = append(a.waiting, fn)
}

// change queues a change of entities.
func (a *authService) change(op authOp) {
	if len(a.ops) >= maxAuthOps || !a.m.leader {
		if answer := op(a.view()); answer != nil {
			answer(wire.EAGAIN)
		}
		return
	}
	a.ops = append(a.ops, op)
}

// get finds an entity as the step leaves it.
func (v *authView) get(n wire.AuthName) (cephx.Entity, bool) {
	if e, ok := v.staged[n]; ok {
		if e == nil {
			return cephx.Entity{}, false
		}
		return *e, true
	}
	e, ok := v.ring[n]
	return e, ok
}

// put adds or replaces an entity. ENOSPC: there are too many.
func (v *authView) put(n wire.AuthName, e cephx.Entity) wire.Errno {
	if _, old := v.get(n); !old && len(v.ring)+len(v.staged) >= maxEntities {
		return wire.ENOSPC
	}
	v.staged[n] = &e
	v.changes = append(v.changes, Change{Key: []byte(keyEntity + n.String()), Value: seal(encodeEntity(e))})
	return 0
}

func (v *authView) remove(n wire.AuthName) {
	v.staged[n] = nil
	v.changes = append(v.changes, Change{Key: []byte(keyEntity + n.String()), Delete: true})
}

// rotate adds the service secrets that are due.
func (v *authView) rotate(have map[wire.EntityType]cephx.Rotating, now time.Time) {
	for _, s := range cephx.Services() {
		if r := have[s]; r.Due(now) {
			v.changes = append(v.changes, Change{Key: append([]byte(keySecret), byte(s)),
				Value: seal(r.Rotate(now, cephx.TTL(s)).Encode())})
		}
	}
}

// monName is the mons' own entity; adminName may do everything.
var (
	monName   = wire.AuthName{Type: wire.EntityMon}
	adminName = wire.AuthName{Type: wire.EntityClient, ID: "admin"}
)

// first puts the entities of a new cluster: those of ring, which get keys if
// they have none, and the two that every cluster has.
func (v *authView) first(ring cephx.Keyring, now time.Time) {
	all := maps.Clone(ring)
	if all == nil {
		all = make(cephx.Keyring)
	}
	for n, caps := range map[wire.AuthName]map[string]string{
		monName:   {"mon": "allow *"},
		adminName: {"mon": "allow *", "osd": "allow *", "mgr": "allow *", "mds": "allow *"},
	} {
		if e := all[n]; e.Caps == nil {
			all[n] = cephx.Entity{Key: e.Key, Caps: caps}
		}
	}
	for _, n := range all.Names() {
		e := all[n]
		if e.Key.IsZero() {
			e.Key = cephx.GenerateKey(now)
		}
		v.put(n, e)
	}
}

// mkfsAuth adds the first state to b.
func mkfsAuth(b *Batch, ring cephx.Keyring, now time.Time) {
	v := &authView{staged: make(map[wire.AuthName]*cephx.Entity)}
	v.rotate(nil, now)
	v.first(ring, now)
	(&proposal{service: "auth", next: 1, changes: v.changes}).apply(b)
}

// encodeEntity gives an entity's key and caps as text behind lengths.
func encodeEntity(e cephx.Entity) []byte {
	var w wire.Encoder
	w.Str(e.Key.Text())
	w.Count(len(e.Caps))
	for _, s := range sortedKeys(e.Caps) {
		w.Str(s)
		w.Str(e.Caps[s])
	}
	return w.B
}

func decodeEntity(b []byte) (e cephx.Entity, err error) {
	d := wire.NewDecoder(b)
	key := d.Str()
	n := d.Count(8)
	e.Caps = make(map[string]string, n)
	for range n {
		s := d.Str()
		e.Caps[s] = d.Str()
	}
	if d.Err() != nil || d.Len() != 0 {
		return e, wire.EIO
	}
	e.Key, err = cephx.ParseKey(key)
	return e, err
}

// dump prints who there is and which secrets live, without any key.
func (a *authService) dump(w io.Writer) {
	fmt.Fprintf(w, "client numbers: below %d\n", a.limit)
	for _, s := range cephx.Services() {
		if r := a.secret[s]; len(r.Secrets) > 0 {
			fmt.Fprintf(w, "service secrets: %s %d..%d\n", wire.EntityName{Type: s}.Kind(), r.Secrets[0].ID, r.MaxID)
		}
	}
	for _, n := range a.ring.Names() {
		fmt.Fprintf(w, "entity %s", n)
		for _, s := range sortedKeys(a.ring[n].Caps) {
			fmt.Fprintf(w, " %s %q", s, a.ring[n].Caps[s])
		}
		fmt.Fprintln(w)
	}
}
