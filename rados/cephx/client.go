package cephx

import (
	"sync"
	"time"

	"github.com/spirula/spirula/rados/msgr"
	"github.com/spirula/spirula/rados/wire"
)

// renewRetry is how long an answer to a renewal is waited for before it is
// asked for again.
const renewRetry = 10 * time.Second

// ClientOptions qualify a Client. The zero value is what Ceph's clients do.
type ClientOptions struct {
	// Services are the kinds of daemons to get tickets for, or'ed; 0: mon,
	// osd and mgr.
	Services wire.EntityType
	// MonModes and ServiceModes are the allowed protections of connections
	// to mons and to other daemons, preferred first. nil: secure then crc
	// to mons, crc then secure to others.
	MonModes, ServiceModes []msgr.Mode
	// Now is the clock; time.Now by default.
	Now func() time.Time
}

// Client is an entity that has a key: it proves itself to mons, keeps the
// tickets they give, and shows these to other daemons. It implements
// msgr.ClientAuth and is safe for concurrent use.
//
// All connections of one Client are of one global id. Two first sessions with
// mons, begun at the same time, therefore end with one of them refused,
// EAGAIN; whoever repeats it reclaims the other's id.
type Client struct {
	name wire.AuthName
	key  CryptoKey
	opts ClientOptions
	keys *ServiceKeys // nil for a client

	mu        sync.Mutex
	globalID  uint64
	tickets   map[wire.EntityType]ticket
	challenge uint64 // the mon's, of the newest session; 0 for none
	asked     *renewal
	rotating  time.Time // when secrets were asked for last
}

// ticket is one as its owner has it.
type ticket struct {
	Key     CryptoKey
	Blob    blob
	Renew   time.Time
	Expires time.Time
}

// renewal is one under way.
type renewal struct {
	at      time.Time
	session box  // the auth ticket's session key
	first   bool // a new auth ticket was asked for
}

var _ msgr.ClientAuth = (*Client)(nil)

// NewClient makes a Client of the entity name, which has key.
func NewClient(name wire.AuthName, key CryptoKey, opts ClientOptions) *Client {
	if opts.Services == 0 {
		opts.Services = wire.EntityMon | wire.EntityOSD | wire.EntityMgr
	}
	opts.Services |= wire.EntityAuth
	if opts.MonModes == nil {
		opts.MonModes = []msgr.Mode{msgr.ModeSecure, msgr.ModeCRC}
	}
	if opts.ServiceModes == nil {
		opts.ServiceModes = []msgr.Mode{msgr.ModeCRC, msgr.ModeSecure}
	}
	if opts.Now == nil {
		opts.Now = time.Now
	}
	c := &Client{name: name, key: key, opts: opts, tickets: make(map[wire.EntityType]ticket)}
	if name.Type != wire.EntityClient {
		c.keys = newServiceKeys(name.Type)
	}
	return c
}

// Name is the entity.
func (c *Client) Name() wire.AuthName { return c.name }

// GlobalID is the number that the mons gave this run of the entity; 0 before
// the first session with one.
func (c *Client) GlobalID() uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.globalID
}

// ServiceKeys has the secrets with which a daemon, which this Client is then,
// reads the tickets that are shown to it; they come by Renewal. It is nil for
// a client.
func (c *Client) ServiceKeys() *ServiceKeys { return c.keys }

// Dial implements msgr.ClientAuth.
func (c *Client) Dial(peer wire.EntityType) (msgr.ClientHandshake, error) {
	if peer == wire.EntityMon {
		return &monDial{c: c}, nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	t, ok := c.tickets[peer]
	if !ok || t.Expires.Before(c.opts.Now()) {
		return nil, wire.Errorf("authenticate: no ticket for this kind of daemon", wire.EntityName{Type: peer}.Kind(), wire.EACCES)
	}
	return &serviceDial{c: c, peer: peer, globalID: c.globalID, ticket: t}, nil
}

// take keeps tickets. The caller holds the lock.
func (c *Client) take(grants []grant) {
	now := c.opts.Now()
	for _, g := range grants {
		c.tickets[g.Service] = ticket{Key: g.Key, Blob: g.Blob,
			Renew: now.Add(g.Validity / 4 * 3), Expires: now.Add(g.Validity)}
	}
}

// forget drops a ticket that was refused, if it is still that one; without
// its auth ticket an entity has lost its number too.
func (c *Client) forget(service wire.EntityType, refused blob) {
	c.mu.Lock()
	defer c.mu.Unlock()
	t, ok := c.tickets[service]
	if !ok || t.Blob.SecretID != refused.SecretID || string(t.Blob.Sealed) != string(refused.Sealed) {
		return
	}
	delete(c.tickets, service)
	if service == wire.EntityAuth {
		c.globalID = 0
		clear(c.tickets)
	}
}

// Renewal gives the payload of an MAuth to send on the open session with a
// mon, if one is due: new tickets when three quarters of the validity of one
// have passed or a daemon refused one, and a daemon's service secrets. It
// is to be asked every few seconds; what is not answered is due again
// after a while. The answer goes to TakeRenewal.
func (c *Client) Renewal(now time.Time) (payload []byte, due bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	auth, ok := c.tickets[wire.EntityAuth]
	if !ok || c.asked != nil && now.Sub(c.asked.at) < renewRetry {
		return nil, false
	}
	if c.keys != nil && c.keys.due(now) && now.Sub(c.rotating) >= renewRetry {
		c.rotating = now
		var e wire.Encoder
		e.U16(askRotating)
		return e.B, true
	}
	session, err := auth.Key.box()
	if err != nil {
		return nil, false
	}
	var e wire.Encoder
	switch need := c.need(now); {
	case !now.Before(auth.Renew) && c.challenge != 0:
		if err := c.askSession(&e, c.challenge, auth.Blob); err != nil {
			return nil, false
		}
		c.asked = &renewal{at: now, session: session, first: true}
	case need != 0 && now.Before(auth.Expires):
		e.U16(askTickets)
		sealed := session.seal((&authorize{Nonce: randomNumber()}).encode())
		(&authorizer{GlobalID: c.globalID, Service: wire.EntityAuth, Ticket: auth.Blob, Sealed: sealed}).append(&e)
		e.U8(1)
		e.U32(uint32(need))
		c.asked = &renewal{at: now, session: session}
	default:
		return nil, false
	}
	return e.B, true
}

// need gives the services whose ticket is missing or of age.
func (c *Client) need(now time.Time) (need wire.EntityType) {
	for _, s := range Services() {
		if s == wire.EntityAuth || c.opts.Services&s == 0 {
			continue
		}
		if t, ok := c.tickets[s]; !ok || !now.Before(t.Renew) {
			need |= s
		}
	}
	return need
}

// askSession appends the request for an auth ticket and all others.
func (c *Client) askSession(e *wire.Encoder, challenge uint64, old blob) error {
	key, err := c.key.box()
	if err != nil {
		return err
	}
	q := sessionRequest{Challenge: randomNumber(), Old: old, OldPromised: true, Services: uint32(c.opts.Services)}
	q.Proof = key.proof(challenge, q.Challenge)
	q.append(e)
	return nil
}

// TakeRenewal takes the payload of the MAuthReply to what Renewal gave. An
// error has the kind that the mon told, or EINVAL for an answer that makes no
// sense; the tickets held so far stay.
func (c *Client) TakeRenewal(payload []byte) error {
	d := wire.NewDecoder(payload)
	kind, status := d.U16(), d.I32()
	if d.Err() != nil {
		return wire.Wrap("cephx.renew", c.name.String(), d.Err())
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if kind == askRotating {
		return wire.Wrap("cephx.service secrets", c.name.String(), c.takeRotating(d, status))
	}
	asked := c.asked
	c.asked = nil
	if status != 0 {
		return wire.Errorf("cephx.renew: refused", c.name.String(), statusKind(status))
	}
	if asked == nil || asked.first != (kind == askSession) || kind != askSession && kind != askTickets {
		return wire.Errorf("cephx.renew: nothing like this was asked for", c.name.String(), wire.EINVAL)
	}
	var grants []grant
	var err error
	if kind == askTickets {
		grants, err = decodeGrants(d, asked.session, nil)
	} else {
		var key box
		if key, err = c.key.box(); err == nil {
			grants, _, err = decodeSession(d, key, &asked.session)
		}
	}
	if err != nil {
		return wire.Wrap("cephx.renew", c.name.String(), err)
	}
	c.take(grants)
	return nil
}

// takeRotating takes a daemon's secrets. The caller holds the lock.
func (c *Client) takeRotating(d *wire.Decoder, status int32) error {
	if status != 0 {
		return statusKind(status)
	}
	key, err := c.key.box()
	if err != nil {
		return err
	}
	body, err := key.openNext(d)
	if err != nil {
		return err
	}
	r, err := DecodeRotating(body)
	if err != nil {
		return err
	}
	if c.keys == nil {
		return wire.EINVAL
	}
	c.keys.set(r)
	return nil
}

// statusKind is the kind of a negative errno on the wire.
func statusKind(status int32) wire.Errno {
	if status < 0 && status > -4096 {
		return wire.Errno(-status)
	}
	return wire.EINVAL
}
