package cephx

import (
	"context"
	"crypto/rand"
	"slices"
	"time"

	"github.com/spirula/spirula/rados/msgr"
	"github.com/spirula/spirula/rados/wire"
)

// MonSource is what a mon knows for authentication. Its methods are called
// from many goroutines; only NewGlobalID may wait.
type MonSource interface {
	// Entity finds an entity; false when there is none.
	Entity(name wire.AuthName) (Entity, bool)
	// NewGlobalID gives a number that nothing in the cluster ever had.
	NewGlobalID(ctx context.Context) (uint64, error)
	// Rotating gives the secrets for tickets for service; none while there
	// are none.
	Rotating(service wire.EntityType) Rotating
}

// AcceptOptions say whom a daemon lets in, and how.
type AcceptOptions struct {
	// Methods that are allowed; nil: cephx. With MethodNone, everybody who
	// asks by that is let in, and may do everything.
	Methods []msgr.Method
	// Modes that are allowed; nil: secure and crc. The peer's preference
	// decides between them.
	Modes []msgr.Mode
	// Now is the clock; time.Now by default.
	Now func() time.Time
}

func (o *AcceptOptions) defaults() {
	if o.Methods == nil {
		o.Methods = []msgr.Method{msgr.MethodCephx}
	}
	if o.Modes == nil {
		o.Modes = []msgr.Mode{msgr.ModeSecure, msgr.ModeCRC}
	}
	if o.Now == nil {
		o.Now = time.Now
	}
}

// MonAuth is a mon's side of authentication. It implements msgr.ServerAuth
// and is safe for concurrent use. An entity without mon caps is refused, as
// Ceph does.
type MonAuth struct {
	src  MonSource
	opts AcceptOptions
}

var _ msgr.ServerAuth = (*MonAuth)(nil)

// NewMonAuth makes the acceptor of a mon.
func NewMonAuth(src MonSource, opts AcceptOptions) *MonAuth {
	opts.defaults()
	return &MonAuth{src: src, opts: opts}
}

// Accept implements msgr.ServerAuth.
func (a *MonAuth) Accept(peer wire.EntityType) msgr.ServerHandshake {
	return &monAccept{a: a, peer: peer}
}

// monAccept is the authentication of one connection to a mon, the acceptor's
// side.
type monAccept struct {
	a         *MonAuth
	peer      wire.EntityType // as it calls itself
	begun     bool
	name      wire.AuthName
	globalID  uint64
	reclaim   bool // the peer says globalID was its own before
	mode      msgr.Mode
	challenge uint64
}

// Offer implements msgr.ServerHandshake.
func (h *monAccept) Offer() ([]msgr.Method, []msgr.Mode) { return h.a.opts.Methods, h.a.opts.Modes }

// Request implements msgr.ServerHandshake.
func (h *monAccept) Request(ctx context.Context, method msgr.Method, modes []msgr.Mode, payload []byte) (msgr.Step, error) {
	*h = monAccept{a: h.a, peer: h.peer}
	if !slices.Contains(h.a.opts.Methods, method) {
		return msgr.Step{}, wire.Errorf("authenticate: method not allowed", "", wire.EOPNOTSUPP)
	}
	d := wire.NewDecoder(payload)
	if kind := d.U8(); d.Err() == nil && kind != authModeMon || len(payload) > maxPayload {
		return msgr.Step{}, wire.Errorf("authenticate: not a request to a mon", "", wire.EOPNOTSUPP)
	}
	h.name = decodeName(d)
	h.globalID = d.U64()
	if err := d.Err(); err != nil {
		return msgr.Step{}, wire.Wrap("authenticate", "", err)
	}
	h.reclaim = h.globalID != 0
	if method == msgr.MethodNone {
		return h.believe(ctx, modes)
	}
	err := checkKind(h.peer, h.name)
	if err != nil {
		return msgr.Step{}, err
	}
	if h.mode, err = chooseMode(modes, h.a.opts.Modes); err != nil {
		return msgr.Step{}, err
	}
	h.challenge = randomNumber() | 1
	h.begun = true
	return msgr.Step{Payload: encodeChallenge(h.challenge)}, nil
}

// believe lets in a peer that gives no more than a name.
func (h *monAccept) believe(ctx context.Context, modes []msgr.Mode) (msgr.Step, error) {
	if _, err := chooseMode(modes, []msgr.Mode{msgr.ModeCRC}); err != nil {
		return msgr.Step{}, err
	}
	if err := h.allot(ctx); err != nil {
		return msgr.Step{}, err
	}
	return msgr.Step{Done: true, Identity: msgr.Identity{Name: h.name, GlobalID: h.globalID, Trusted: true, Mode: msgr.ModeCRC}}, nil
}

// allot gives the peer a number unless it has one.
func (h *monAccept) allot(ctx context.Context) (err error) {
	if !h.reclaim {
		h.globalID, err = h.a.src.NewGlobalID(ctx)
	}
	return wire.Wrap("authenticate", h.name.String(), err)
}

// More implements msgr.ServerHandshake.
func (h *monAccept) More(ctx context.Context, payload []byte) (msgr.Step, error) {
	if !h.begun {
		return msgr.Step{}, wire.Errorf("authenticate: nothing was asked", "", wire.EINVAL)
	}
	h.begun = false // a second try needs another challenge
	d := wire.NewDecoder(payload)
	if kind := d.U16(); d.Err() == nil && kind != askSession || len(payload) > maxPayload {
		return msgr.Step{}, wire.Errorf("authenticate: another request than for a session", "", wire.EOPNOTSUPP)
	}
	q := decodeSessionRequest(d)
	if err := d.Err(); err != nil {
		return msgr.Step{}, wire.Wrap("authenticate", h.name.String(), err)
	}
	var secret []byte
	if h.mode == msgr.ModeSecure {
		secret = make([]byte, secretSize)
		rand.Read(secret)
	}
	id := msgr.Identity{Name: h.name, GlobalID: h.globalID, Mode: h.mode, Challenge: h.challenge}
	ent, old, err := h.a.check(&id, h.reclaim, &q)
	if err != nil {
		return msgr.Step{}, wire.Wrap("authenticate", h.name.String(), err)
	}
	if err := h.allot(ctx); err != nil {
		return msgr.Step{}, err
	}
	id.GlobalID, id.Caps = h.globalID, ent.Caps["mon"]
	reply, key, err := h.a.session(&id, ent, old, &q, secret)
	if err != nil {
		return msgr.Step{}, wire.Wrap("authenticate", h.name.String(), err)
	}
	return msgr.Step{Done: true, Payload: reply, Identity: id,
		Keys: msgr.SessionKeys{Key: key.Secret, Secret: secret}}, nil
}

// check checks the proof of a sessionRequest, and the right to a number that
// is reclaimed. old is the session key of the ticket that was shown for it.
func (a *MonAuth) check(id *msgr.Identity, reclaim bool, q *sessionRequest) (ent Entity, old *box, err error) {
	ent, ok := a.src.Entity(id.Name)
	if !ok {
		return ent, nil, errRefused("no such entity")
	}
	key, err := ent.Key.box()
	if err != nil {
		return ent, nil, err
	}
	if !sameNumber(q.Proof, key.proof(id.Challenge, q.Challenge)) {
		return ent, nil, errRefused("wrong key")
	}
	if ent.Caps["mon"] == "" {
		return ent, nil, errRefused("no mon caps")
	}
	if !reclaim {
		if len(q.Old.Sealed) > 0 {
			return ent, nil, wire.Errorf("a ticket without its number", "", wire.EINVAL)
		}
		return ent, nil, nil
	}
	secret, ok := a.src.Rotating(wire.EntityAuth).Get(q.Old.SecretID)
	if !ok || len(q.Old.Sealed) == 0 {
		return ent, nil, errRefused("a number reclaimed without a ticket")
	}
	t, err := openTicket(q.Old, secret, a.opts.Now())
	if err != nil {
		return ent, nil, err
	}
	if !sameNumber(t.Ticket.GlobalID, id.GlobalID) || t.Ticket.Name != id.Name {
		return ent, nil, errRefused("a number reclaimed with another's ticket")
	}
	b, err := t.SessionKey.box()
	return ent, &b, err
}

// session answers a sessionRequest that was checked. key is the new session
// key; secret goes to the peer with it, and may be nil.
func (a *MonAuth) session(id *msgr.Identity, ent Entity, old *box, q *sessionRequest, secret []byte) (reply []byte, key CryptoKey, err error) {
	principal, err := ent.Key.box()
	if err != nil {
		return nil, key, err
	}
	now := a.opts.Now()
	auth, err := a.grant(wire.EntityAuth, id, ent, now)
	if err != nil {
		return nil, key, err
	}
	session, err := auth.Key.box()
	if err != nil {
		return nil, key, err
	}
	var e wire.Encoder
	e.U16(askSession)
	e.I32(0)
	appendGrants(&e, []grant{auth}, principal, old)
	if q.Services == 0 {
		return e.B, auth.Key, nil
	}
	var body, sealed, extra wire.Encoder
	body.Bytes(secret)
	session.appendSealed(&sealed, body.B)
	e.Bytes(sealed.B)
	grants, err := a.grants(q.Services, id, ent, now)
	if err != nil {
		return nil, key, err
	}
	if len(grants) > 0 {
		appendGrants(&extra, grants, session, nil)
	}
	e.Bytes(extra.B)
	return e.B, auth.Key, nil
}

// grants makes the tickets of a mask, except the auth ticket, which has to be
// asked for by a proof.
func (a *MonAuth) grants(mask uint32, id *msgr.Identity, ent Entity, now time.Time) (out []grant, err error) {
	for _, s := range Services() {
		if s == wire.EntityAuth || mask&uint32(s) == 0 {
			continue
		}
		g, err := a.grant(s, id, ent, now)
		if err != nil {
			return nil, err
		}
		out = append(out, g)
	}
	return out, nil
}

// grant makes one ticket. EAGAIN: there are no secrets for it yet.
func (a *MonAuth) grant(service wire.EntityType, id *msgr.Identity, ent Entity, now time.Time) (grant, error) {
	secret, ok := a.src.Rotating(service).Current(now)
	if !ok {
		return grant{}, wire.Errorf("no service secrets yet", wire.EntityName{Type: service}.Kind(), wire.EAGAIN)
	}
	ttl := TTL(service)
	key := GenerateKey(now)
	t := ServiceTicketInfo{SessionKey: key, Ticket: AuthTicket{Name: id.Name, GlobalID: id.GlobalID,
		Created: wire.TimeOf(now), Expires: wire.TimeOf(now.Add(ttl))}}
	if service != wire.EntityAuth {
		t.Ticket.Caps = ent.Caps[wire.EntityName{Type: service}.Kind()]
	}
	b, err := sealTicket(&t, secret)
	return grant{Service: service, Key: key, Validity: ttl, Blob: b}, err
}
