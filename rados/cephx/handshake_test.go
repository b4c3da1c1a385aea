package cephx

import (
	"bytes"
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/spirula/spirula/rados/msgr"
	"github.com/spirula/spirula/rados/wire"
)

var (
	admin = wire.AuthName{Type: wire.EntityClient, ID: "admin"}
	osd0  = wire.AuthName{Type: wire.EntityOSD, ID: "0"}
	osd1  = wire.AuthName{Type: wire.EntityOSD, ID: "1"}
)

// world is a mon's knowledge and a clock.
type world struct {
	mu       sync.Mutex
	now      time.Time
	ring     Keyring
	rotating map[wire.EntityType]Rotating
	next     uint64
}

func newWorld() *world {
	w := &world{now: time.Unix(1_800_000_000, 0), next: 4100, ring: make(Keyring), rotating: make(map[wire.EntityType]Rotating)}
	w.ring[admin] = Entity{Key: GenerateKey(w.now), Caps: map[string]string{"mon": "allow *", "osd": "allow rwx pool=a"}}
	w.ring[osd0] = Entity{Key: GenerateKey(w.now), Caps: map[string]string{"mon": "allow profile osd", "osd": "allow *"}}
	w.ring[osd1] = Entity{Key: GenerateKey(w.now), Caps: map[string]string{"mon": "allow profile osd", "osd": "allow *"}}
	w.rotate()
	return w
}

func (w *world) Entity(n wire.AuthName) (Entity, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	e, ok := w.ring[n]
	return e, ok
}

func (w *world) NewGlobalID(context.Context) (uint64, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.next++
	return w.next, nil
}

func (w *world) Rotating(s wire.EntityType) Rotating {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.rotating[s]
}

func (w *world) ServiceSecret(s wire.EntityType, id uint64) (CryptoKey, bool) {
	return w.Rotating(s).Get(id)
}

func (w *world) rotate() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, s := range Services() {
		w.rotating[s] = w.rotating[s].Rotate(w.now, TTL(s))
	}
}

// pass lets time go by in steps of a minute, rotating as a mon does.
func (w *world) pass(d time.Duration) {
	for ; d > 0; d -= time.Minute {
		w.mu.Lock()
		w.now = w.now.Add(min(d, time.Minute))
		w.mu.Unlock()
		w.rotate()
	}
}

func (w *world) clock() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.now
}

func (w *world) client(n wire.AuthName, opts ClientOptions) *Client {
	opts.Now = w.clock
	return NewClient(n, w.ring[n].Key, opts)
}

func (w *world) mon() *MonAuth { return NewMonAuth(w, AcceptOptions{Now: w.clock}) }

func (w *world) osd() *ServiceAuth {
	return NewServiceAuth(wire.EntityOSD, w, AcceptOptions{Now: w.clock})
}

// outcome is what a handshake ended with.
type outcome struct {
	step       msgr.Step
	keys       msgr.SessionKeys
	serverErr  error
	clientErr  error
	clientDone bool
}

func (o *outcome) ok() bool { return o.clientDone && o.serverErr == nil && o.clientErr == nil }

// shake lets a dialler and an acceptor talk. tamper, if any, may change each
// payload on its way; n counts them.
func shake(dial msgr.ClientHandshake, accept msgr.ServerHandshake, tamper func(n int, p []byte) []byte) (o outcome) {
	n := 0
	way := func(p []byte) []byte {
		p = bytes.Clone(p)
		if tamper != nil {
			p = tamper(n, p)
		}
		n++
		return p
	}
	method, modes, p, err := dial.Request()
	if err != nil {
		o.clientErr = err
		return o
	}
	o.step, err = accept.Request(context.Background(), method, modes, way(p))
	for {
		if err != nil {
			o.serverErr = err
			ms, mo := accept.Offer()
			o.clientErr = dial.Refused(method, wire.ErrnoOf(err), ms, mo)
			return o
		}
		p = way(o.step.Payload)
		if o.step.Done {
			o.keys, o.clientErr = dial.Done(o.step.Identity.GlobalID, o.step.Identity.Mode, p)
			o.clientDone = o.clientErr == nil
			return o
		}
		if p, o.clientErr = dial.More(p); o.clientErr != nil {
			return o
		}
		o.step, err = accept.More(context.Background(), way(p))
	}
}

func connect(t *testing.T, c *Client, peer wire.EntityType, a msgr.ServerAuth) outcome {
	t.Helper()
	h, err := c.Dial(peer)
	if err != nil {
		return outcome{clientErr: err}
	}
	return shake(h, a.Accept(c.Name().Type), nil)
}

func mustConnect(t *testing.T, c *Client, peer wire.EntityType, a msgr.ServerAuth) outcome {
	t.Helper()
	o := connect(t, c, peer, a)
	if !o.ok() {
		t.Fatalf("%v with %d: %v, %v", c.Name(), peer, o.clientErr, o.serverErr)
	}
	if !bytes.Equal(o.keys.Key, o.step.Keys.Key) || !bytes.Equal(o.keys.Secret, o.step.Keys.Secret) || len(o.keys.Key) != keySize {
		t.Fatalf("keys differ: %x %x", o.keys, o.step.Keys)
	}
	return o
}

func kindOf(err error) wire.Errno { return wire.ErrnoOf(err) }

func TestBothSides(t *testing.T) {
	for _, test := range []struct {
		name         string
		modes        []msgr.Mode
		mon, service msgr.Mode
	}{
		{"preferred", nil, msgr.ModeSecure, msgr.ModeCRC},
		{"secure", []msgr.Mode{msgr.ModeSecure}, msgr.ModeSecure, msgr.ModeSecure},
		{"crc", []msgr.Mode{msgr.ModeCRC}, msgr.ModeCRC, msgr.ModeCRC},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld()
			c := w.client(admin, ClientOptions{MonModes: test.modes, ServiceModes: test.modes})
			if _, err := c.Dial(wire.EntityOSD); kindOf(err) != wire.EACCES {
				t.Error("a ticket before the mon gave one:", err)
			}
			o := mustConnect(t, c, wire.EntityMon, w.mon())
			id := o.step.Identity
			if id.Name != admin || id.Caps != "allow *" || id.Trusted || id.Mode != test.mon || id.GlobalID != 4101 || c.GlobalID() != 4101 || id.Challenge == 0 {
				t.Errorf("%+v", id)
			}
			o = mustConnect(t, c, wire.EntityOSD, w.osd())
			id = o.step.Identity
			if id.Name != admin || id.Caps != "allow rwx pool=a" || id.Trusted || id.Mode != test.service || id.GlobalID != 4101 {
				t.Errorf("%+v", id)
			}
			if (len(o.keys.Secret) == 64) != (test.service == msgr.ModeSecure) {
				t.Errorf("secret %x", o.keys.Secret)
			}
			if o := mustConnect(t, c, wire.EntityMgr, NewServiceAuth(wire.EntityMgr, w, AcceptOptions{Now: w.clock})); o.step.Identity.Caps != "" {
				t.Errorf("%+v", o.step.Identity)
			}
		})
	}
}

func TestRefusals(t *testing.T) {
	w := newWorld()
	stranger := NewClient(wire.AuthName{Type: wire.EntityClient, ID: "who"}, GenerateKey(w.now), ClientOptions{Now: w.clock})
	if o := connect(t, stranger, wire.EntityMon, w.mon()); kindOf(o.serverErr) != wire.EACCES || kindOf(o.clientErr) != wire.EACCES {
		t.Error("stranger:", o.serverErr, o.clientErr)
	}
	liar := NewClient(admin, GenerateKey(w.now), ClientOptions{Now: w.clock})
	if o := connect(t, liar, wire.EntityMon, w.mon()); kindOf(o.serverErr) != wire.EACCES {
		t.Error("wrong key:", o.serverErr)
	}
	nowhere := wire.AuthName{Type: wire.EntityClient, ID: "nowhere"}
	w.ring[nowhere] = Entity{Key: GenerateKey(w.now), Caps: map[string]string{"osd": "allow *"}}
	if o := connect(t, w.client(nowhere, ClientOptions{}), wire.EntityMon, w.mon()); kindOf(o.serverErr) != wire.EACCES {
		t.Error("no mon caps:", o.serverErr)
	}
	keyless := NewClient(admin, CryptoKey{}, ClientOptions{Now: w.clock})
	if o := connect(t, keyless, wire.EntityMon, w.mon()); kindOf(o.clientErr) != wire.EACCES {
		t.Error("no key:", o.clientErr)
	}
	none := msgr.NoAuth{Name: admin}
	h, err := none.Dial(wire.EntityMon)
	if err != nil {
		t.Fatal(err)
	}
	if o := shake(h, w.mon().Accept(8), nil); kindOf(o.serverErr) != wire.EOPNOTSUPP {
		t.Error("a name only:", o.serverErr)
	}
	both := NewMonAuth(w, AcceptOptions{Methods: []msgr.Method{msgr.MethodCephx, msgr.MethodNone}, Now: w.clock})
	if h, err = none.Dial(wire.EntityMon); err != nil {
		t.Fatal(err)
	}
	if o := shake(h, both.Accept(8), nil); !o.ok() || !o.step.Identity.Trusted || o.step.Identity.GlobalID == 0 {
		t.Error("a name only, allowed:", o.serverErr, o.step.Identity)
	}
	crcOnly := NewMonAuth(w, AcceptOptions{Modes: []msgr.Mode{msgr.ModeCRC}, Now: w.clock})
	secure := w.client(admin, ClientOptions{MonModes: []msgr.Mode{msgr.ModeSecure}})
	if o := connect(t, secure, wire.EntityMon, crcOnly); kindOf(o.serverErr) != wire.EOPNOTSUPP {
		t.Error("no mode in common:", o.serverErr)
	}
	if o := mustConnect(t, w.client(admin, ClientOptions{}), wire.EntityMon, crcOnly); o.step.Identity.Mode != msgr.ModeCRC {
		t.Error("mode:", o.step.Identity.Mode)
	}
	// A ticket for OSDs is none for the mgr.
	c := w.client(admin, ClientOptions{})
	mustConnect(t, c, wire.EntityMon, w.mon())
	if o := connect(t, c, wire.EntityOSD, NewServiceAuth(wire.EntityMgr, w, AcceptOptions{Now: w.clock})); kindOf(o.serverErr) != wire.EACCES {
		t.Error("another service:", o.serverErr)
	}
	if err := w.mon().Accept(8).(*monAccept).mustNotStart(); err != nil {
		t.Error(err)
	}
}

// What an entity calls itself has to be what it is, or a client.
func TestKinds(t *testing.T) {
	w := newWorld()
	namesake := wire.AuthName{Type: wire.EntityClient, ID: "0"}
	w.ring[namesake] = Entity{Key: GenerateKey(w.now), Caps: map[string]string{"mon": "allow *", "osd": "allow *"}}
	for _, test := range []struct {
		name wire.AuthName
		says wire.EntityType
		want wire.Errno
	}{
		{namesake, wire.EntityOSD, wire.EACCES}, {namesake, wire.EntityMon, wire.EACCES}, {namesake, wire.EntityMDS, wire.EACCES},
		{namesake, wire.EntityClient, 0}, {osd0, wire.EntityOSD, 0}, {osd0, wire.EntityClient, 0}, {osd0, wire.EntityMgr, wire.EACCES},
	} {
		c := w.client(test.name, ClientOptions{})
		h, err := c.Dial(wire.EntityMon)
		if err != nil {
			t.Fatal(err)
		}
		if o := shake(h, w.mon().Accept(test.says), nil); kindOf(o.serverErr) != test.want {
			t.Errorf("%v as %d at the mon: %v", test.name, test.says, o.serverErr)
		}
		if c.GlobalID() == 0 {
			mustConnect(t, c, wire.EntityMon, w.mon())
		}
		if h, err = c.Dial(wire.EntityOSD); err != nil {
			t.Fatal(err)
		}
		if o := shake(h, w.osd().Accept(test.says), nil); kindOf(o.serverErr) != test.want {
			t.Errorf("%v as %d at the OSD: %v", test.name, test.says, o.serverErr)
		}
	}
}

// mustNotStart tries the second message without the first.
func (h *monAccept) mustNotStart() error {
	if _, err := h.More(context.Background(), []byte{0, 1, 3}); kindOf(err) != wire.EINVAL {
		return errors.New("a second message without the first was not refused")
	}
	return nil
}

// Every byte of every payload, changed in every one of some ways, ends in a
// refusal: there is no byte that does not count, but for those listed.
func TestTamper(t *testing.T) {
	w := newWorld()
	for _, peer := range []wire.EntityType{wire.EntityMon, wire.EntityOSD} {
		for _, mode := range []msgr.Mode{msgr.ModeCRC, msgr.ModeSecure} {
			modes := []msgr.Mode{mode}
			fresh := func() *Client {
				c := w.client(admin, ClientOptions{MonModes: modes, ServiceModes: modes})
				if peer != wire.EntityMon {
					mustConnect(t, c, wire.EntityMon, w.mon())
				}
				return c
			}
			var acceptor msgr.ServerAuth = w.mon()
			if peer == wire.EntityOSD {
				acceptor = w.osd()
			}
			run := func(tamper func(int, []byte) []byte) outcome {
				h, err := fresh().Dial(peer)
				if err != nil {
					t.Fatal(err)
				}
				return shake(h, acceptor.Accept(8), tamper)
			}
			var sizes []int
			if o := run(func(_ int, p []byte) []byte { sizes = append(sizes, len(p)); return p }); !o.ok() {
				t.Fatal(o.clientErr, o.serverErr)
			}
			for n, size := range sizes {
				for at := range size {
					for _, flip := range []byte{1, 0x80} {
						o := run(func(k int, p []byte) []byte {
							if k == n {
								p[at] ^= flip
							}
							return p
						})
						if o.ok() && bytes.Equal(o.keys.Key, o.step.Keys.Key) && bytes.Equal(o.keys.Secret, o.step.Keys.Secret) &&
							o.step.Identity.Name == admin && !harmless(peer, n, at, sizes) {
							t.Errorf("peer %d mode %d: payload %d of %d, byte %d of %d, ^%#x: accepted", peer, mode, n, len(sizes), at, size, flip)
						}
					}
					o := run(func(k int, p []byte) []byte {
						if k == n {
							p = p[:at]
						}
						return p
					})
					if o.ok() && !(n == 3 && at > 0) {
						t.Errorf("peer %d: payload %d cut at %d: accepted", peer, n, at)
					}
				}
			}
		}
	}
}

// harmless names the bytes that the proof does not cover; the signatures that
// both ends give of what went over the wire (package msgr) cover them.
func harmless(peer wire.EntityType, n, at int, sizes []int) bool {
	switch {
	case peer == wire.EntityMon && n == 0:
		return true // mode byte, name, number: the number is checked against the ticket
	case peer == wire.EntityMon && n == 1:
		return at == 0 // version of the challenge
	case peer == wire.EntityMon && n == 2:
		return at == 2 || at >= 19 // version; the old ticket's blob; the services asked for
	case n == 3 && peer == wire.EntityMon:
		return true // tickets for daemons, sealed with keys that are not ours
	case peer == wire.EntityOSD && n == 0:
		return at == 0 || at > sizes[0]-36 || at == 13 // versions; the nonce, not used yet
	case peer == wire.EntityOSD && n == 2:
		return at == 0 || at == 13
	}
	return false
}

func TestReplay(t *testing.T) {
	w := newWorld()
	c := w.client(admin, ClientOptions{})
	mustConnect(t, c, wire.EntityMon, w.mon())
	h, err := c.Dial(wire.EntityOSD)
	if err != nil {
		t.Fatal(err)
	}
	var sent [][]byte
	if o := shake(h, w.osd().Accept(8), func(n int, p []byte) []byte { sent = append(sent, p); return p }); !o.ok() {
		t.Fatal(o.serverErr)
	}
	again := w.osd().Accept(8)
	if _, err := again.Request(context.Background(), msgr.MethodCephx, []msgr.Mode{msgr.ModeCRC}, sent[0]); err != nil {
		t.Fatal(err)
	}
	if _, err := again.More(context.Background(), sent[2]); kindOf(err) != wire.EACCES {
		t.Error("a replayed authorizer:", err)
	}
	if _, err := again.More(context.Background(), sent[2]); kindOf(err) != wire.EINVAL {
		t.Error("a second try on the same challenge:", err)
	}
}

func TestExpiry(t *testing.T) {
	w := newWorld()
	c := w.client(admin, ClientOptions{})
	mustConnect(t, c, wire.EntityMon, w.mon())
	h, err := c.Dial(wire.EntityOSD)
	if err != nil {
		t.Fatal(err)
	}
	w.pass(61 * time.Minute)
	if o := shake(h, w.osd().Accept(8), nil); kindOf(o.serverErr) != wire.EACCES || kindOf(o.clientErr) != wire.EACCES {
		t.Error("an expired ticket:", o.serverErr)
	}
	if _, err := c.Dial(wire.EntityOSD); kindOf(err) != wire.EACCES {
		t.Error("dialling with it:", err)
	}
}

func TestReclaim(t *testing.T) {
	w := newWorld()
	mon := w.mon()
	c := w.client(admin, ClientOptions{})
	o := mustConnect(t, c, wire.EntityMon, mon)
	gid := o.step.Identity.GlobalID
	if o = mustConnect(t, c, wire.EntityMon, mon); o.step.Identity.GlobalID != gid {
		t.Error("another number after a reconnect:", o.step.Identity.GlobalID)
	}
	w.pass(100 * time.Minute)
	if o = mustConnect(t, c, wire.EntityMon, mon); o.step.Identity.GlobalID != gid {
		t.Error("another number later:", o.step.Identity.GlobalID)
	}

	thief := w.client(admin, ClientOptions{})
	thief.globalID = gid // without a ticket
	if o := connect(t, thief, wire.EntityMon, mon); kindOf(o.serverErr) != wire.EACCES || kindOf(o.clientErr) != wire.EAGAIN {
		t.Error("without a ticket:", o.serverErr, o.clientErr)
	}
	second := w.client(admin, ClientOptions{})
	mustConnect(t, second, wire.EntityMon, mon)
	second.globalID = gid
	if o := connect(t, second, wire.EntityMon, mon); kindOf(o.serverErr) != wire.EACCES {
		t.Error("with the ticket of another number:", o.serverErr)
	}
	if second.GlobalID() != 0 {
		t.Error("the number was not given up")
	}
	mustConnect(t, second, wire.EntityMon, mon)

	other := w.client(osd0, ClientOptions{})
	other.globalID, other.tickets[wire.EntityAuth] = gid, c.tickets[wire.EntityAuth]
	if o := connect(t, other, wire.EntityMon, mon); kindOf(o.serverErr) != wire.EACCES {
		t.Error("with the ticket of another entity:", o.serverErr)
	}
	w.pass(73 * time.Hour)
	if o := connect(t, c, wire.EntityMon, mon); kindOf(o.serverErr) != wire.EACCES || kindOf(o.clientErr) != wire.EAGAIN {
		t.Error("with an expired ticket:", o.serverErr, o.clientErr)
	}
	if o := mustConnect(t, c, wire.EntityMon, mon); o.step.Identity.GlobalID == gid {
		t.Error("the number came back")
	}
}

// Two first sessions at once: one number stays.
func TestTwoFirstSessions(t *testing.T) {
	w := newWorld()
	mon := w.mon()
	c := w.client(admin, ClientOptions{})
	a, err := c.Dial(wire.EntityMon)
	if err != nil {
		t.Fatal(err)
	}
	b, err := c.Dial(wire.EntityMon)
	if err != nil {
		t.Fatal(err)
	}
	var inner outcome
	o := shake(a, mon.Accept(8), func(n int, p []byte) []byte {
		if n == 2 {
			inner = shake(b, mon.Accept(8), nil)
		}
		return p
	})
	if !inner.ok() || kindOf(o.clientErr) != wire.EAGAIN {
		t.Fatal(inner.clientErr, o.clientErr)
	}
	if o := mustConnect(t, c, wire.EntityMon, mon); o.step.Identity.GlobalID != inner.step.Identity.GlobalID {
		t.Error("numbers differ")
	}
}

func TestConcurrentUse(t *testing.T) {
	w := newWorld()
	mon, osd := w.mon(), w.osd()
	c := w.client(osd0, ClientOptions{})
	id := mustConnect(t, c, wire.EntityMon, mon).step.Identity
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for range 50 {
				switch i % 4 {
				case 0:
					if o := connect(t, c, wire.EntityMon, mon); !o.ok() {
						t.Error(o.clientErr)
					}
				case 1, 2:
					if o := connect(t, c, wire.EntityOSD, osd); !o.ok() {
						t.Error(o.clientErr)
					}
				case 3:
					if q, due := c.Renewal(w.clock().Add(50 * time.Minute)); due {
						if reply, err := mon.Renew(&id, q); err == nil {
							_ = c.TakeRenewal(reply)
						}
					}
				}
			}
		})
	}
	wg.Wait()
}
