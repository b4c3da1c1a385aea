package cephx

import (
	"context"
	"crypto/rand"
	"slices"
	"time"

	"github.com/spirula/spirula/rados/msgr"
	"github.com/spirula/spirula/rados/wire"
)

// ServiceAuth is the side of authentication of a daemon that is no mon: peers
// show it tickets. It implements msgr.ServerAuth and is safe for concurrent
// use.
type ServiceAuth struct {
	service wire.EntityType
	secrets SecretSource
	opts    AcceptOptions
}

var _ msgr.ServerAuth = (*ServiceAuth)(nil)

// NewServiceAuth makes the acceptor of a daemon of the kind service, which
// reads tickets with secrets.
func NewServiceAuth(service wire.EntityType, secrets SecretSource, opts AcceptOptions) *ServiceAuth {
	opts.defaults()
	return &ServiceAuth{service: service, secrets: secrets, opts: opts}
}

// Accept implements msgr.ServerAuth.
func (a *ServiceAuth) Accept(peer wire.EntityType) msgr.ServerHandshake {
	return &serviceAccept{a: a, peer: peer}
}

// serviceAccept is the authentication of one connection to a daemon, the
// acceptor's side.
type serviceAccept struct {
	a         *ServiceAuth
	peer      wire.EntityType // as it calls itself
	begun     bool
	mode      msgr.Mode
	challenge uint64
}

// Offer implements msgr.ServerHandshake.
func (h *serviceAccept) Offer() ([]msgr.Method, []msgr.Mode) {
	return h.a.opts.Methods, h.a.opts.Modes
}

// Request implements msgr.ServerHandshake. A daemon that starts has no secrets
// yet; peers that come so early wait for them.
func (h *serviceAccept) Request(ctx context.Context, method msgr.Method, modes []msgr.Mode, payload []byte) (msgr.Step, error) {
	*h = serviceAccept{a: h.a, peer: h.peer}
	if !slices.Contains(h.a.opts.Methods, method) {
		return msgr.Step{}, wire.Errorf("authenticate: method not allowed", "", wire.EOPNOTSUPP)
	}
	if method == msgr.MethodNone {
		return h.believe(modes, payload)
	}
	var err error
	if h.mode, err = chooseMode(modes, h.a.opts.Modes); err != nil {
		return msgr.Step{}, err
	}
	if keys, ok := h.a.secrets.(*ServiceKeys); ok {
		if err := keys.Wait(ctx); err != nil {
			return msgr.Step{}, err
		}
	}
	_, key, _, err := h.open(payload)
	if err != nil {
		return msgr.Step{}, err
	}
	h.challenge = randomNumber()
	h.begun = true
	return msgr.Step{Payload: key.seal(encodeChallenge(h.challenge))}, nil
}

// believe lets in a peer that gives no more than a name and a number.
func (h *serviceAccept) believe(modes []msgr.Mode, payload []byte) (msgr.Step, error) {
	if _, err := chooseMode(modes, []msgr.Mode{msgr.ModeCRC}); err != nil {
		return msgr.Step{}, err
	}
	d := wire.NewDecoder(payload)
	d.U8()
	id := msgr.Identity{Name: decodeName(d), GlobalID: d.U64(), Trusted: true, Mode: msgr.ModeCRC}
	if err := d.Err(); err != nil {
		return msgr.Step{}, wire.Wrap("authenticate", "", err)
	}
	return msgr.Step{Done: true, Identity: id}, nil
}

// open reads an authorizer and what is sealed in it.
func (h *serviceAccept) open(payload []byte) (*ServiceTicketInfo, box, authorize, error) {
	if len(payload) > maxPayload {
		return nil, box{}, authorize{}, wire.Errorf("authenticate: authorizer too long", "", wire.EINVAL)
	}
	d := wire.NewDecoder(payload)
	a := decodeAuthorizer(d)
	if err := d.Err(); err != nil {
		return nil, box{}, authorize{}, wire.Wrap("authenticate", "", err)
	}
	t, key, auth, err := openAuthorizer(&a, h.a.service, h.a.secrets, h.a.opts.Now())
	if err == nil {
		err = checkKind(h.peer, t.Ticket.Name)
	}
	return t, key, auth, err
}

// openAuthorizer checks the ticket of an authorizer for service and opens
// what its owner sealed. Whatever does not fit is EACCES.
func openAuthorizer(a *authorizer, service wire.EntityType, secrets SecretSource, now time.Time) (*ServiceTicketInfo, box, authorize, error) {
	fail := func(err error) (*ServiceTicketInfo, box, authorize, error) { return nil, box{}, authorize{}, err }
	if a.Service != service {
		return fail(errRefused("a ticket for another kind of daemon"))
	}
	secret, ok := secrets.ServiceSecret(service, a.Ticket.SecretID)
	if !ok {
		return fail(errRefused("a ticket of an unknown secret"))
	}
	t, err := openTicket(a.Ticket, secret, now)
	if err != nil {
		return fail(err)
	}
	if !sameNumber(t.Ticket.GlobalID, a.GlobalID) {
		return fail(errRefused("another's ticket"))
	}
	key, err := t.SessionKey.box()
	if err != nil {
		return fail(err)
	}
	body, err := key.open(a.Sealed)
	if err != nil {
		return fail(err)
	}
	auth, err := decodeAuthorize(body)
	if err != nil {
		return fail(errRefused("an authorizer that can't be read"))
	}
	return t, key, auth, nil
}

// More implements msgr.ServerHandshake.
func (h *serviceAccept) More(_ context.Context, payload []byte) (msgr.Step, error) {
	if !h.begun {
		return msgr.Step{}, wire.Errorf("authenticate: nothing was asked", "", wire.EINVAL)
	}
	h.begun = false // a second try needs another challenge
	t, key, auth, err := h.open(payload)
	if err != nil {
		return msgr.Step{}, err
	}
	if !auth.HasChallenge || !sameNumber(auth.Answer, h.challenge+1) {
		return msgr.Step{}, errRefused("the challenge was not met")
	}
	step := msgr.Step{Done: true, Keys: msgr.SessionKeys{Key: t.SessionKey.Secret},
		Identity: msgr.Identity{Name: t.Ticket.Name, GlobalID: t.Ticket.GlobalID, Caps: t.Ticket.Caps, Mode: h.mode}}
	if t.Ticket.AllowAll {
		step.Identity.Caps = "allow *"
	}
	if h.mode == msgr.ModeSecure {
		step.Keys.Secret = make([]byte, secretSize)
		rand.Read(step.Keys.Secret)
	}
	var e wire.Encoder
	key.appendSealed(&e, encodeAuthorizeReply(auth.Nonce, step.Keys.Secret))
	step.Payload = e.B
	return step, nil
}
