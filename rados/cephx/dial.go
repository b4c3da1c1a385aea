package cephx

import (
	"github.com/spirula/spirula/rados/msgr"
	"github.com/spirula/spirula/rados/wire"
)

// monDial is the authentication of one connection to a mon, the dialler's
// side.
type monDial struct {
	c         *Client
	globalID  uint64 // shown
	old       ticket // shown, if globalID is not 0
	challenge uint64
}

// Request implements msgr.ClientHandshake.
func (h *monDial) Request() (msgr.Method, []msgr.Mode, []byte, error) {
	h.c.mu.Lock()
	h.globalID, h.old = h.c.globalID, h.c.tickets[wire.EntityAuth]
	h.c.mu.Unlock()
	var e wire.Encoder
	e.U8(authModeMon)
	appendName(&e, h.c.name)
	e.U64(h.globalID)
	return msgr.MethodCephx, h.c.opts.MonModes, e.B, nil
}

// Refused implements msgr.ClientHandshake. If an old number was to be
// reclaimed, that is given up, and the error is EAGAIN: the next connection
// starts anew.
func (h *monDial) Refused(_ msgr.Method, kind wire.Errno, _ []msgr.Method, _ []msgr.Mode) error {
	if h.globalID != 0 {
		h.c.forget(wire.EntityAuth, h.old.Blob)
		return wire.Errorf("authenticate: the mon does not know our old ticket", h.c.name.String(), wire.EAGAIN)
	}
	return wire.Errorf("authenticate: refused by the mon", h.c.name.String(), kind)
}

// More implements msgr.ClientHandshake.
func (h *monDial) More(payload []byte) ([]byte, error) {
	n, err := decodeChallenge(payload)
	if err != nil {
		return nil, wire.Wrap("authenticate", h.c.name.String(), err)
	}
	h.challenge = n
	var e wire.Encoder
	if err := h.c.askSession(&e, n, h.old.Blob); err != nil {
		return nil, err
	}
	return e.B, nil
}

// Done implements msgr.ClientHandshake. The mon has shown that it knows our
// key if what it sealed with it opens.
func (h *monDial) Done(globalID uint64, mode msgr.Mode, payload []byte) (msgr.SessionKeys, error) {
	fail := func(err error) (msgr.SessionKeys, error) {
		return msgr.SessionKeys{}, wire.Wrap("authenticate with the mon", h.c.name.String(), err)
	}
	if h.challenge == 0 {
		return fail(errRefused("done without a proof"))
	}
	key, err := h.c.key.box()
	if err != nil {
		return fail(err)
	}
	d := wire.NewDecoder(payload)
	kind, status := d.U16(), d.I32()
	if kind != askSession || d.Err() != nil {
		return fail(errRefused("an answer to something else"))
	}
	if status != 0 {
		return fail(statusKind(status))
	}
	var old *box
	if h.globalID != 0 {
		if b, err := h.old.Key.box(); err == nil {
			old = &b
		}
	}
	grants, secret, err := decodeSession(d, key, old)
	if err != nil {
		return fail(err)
	}
	keys, err := sessionKeys(grants[0].Key, mode, secret, h.c.opts.MonModes)
	if err != nil {
		return fail(err)
	}
	return keys, h.c.begin(h, globalID, grants)
}

// begin takes over what a new session with a mon brought.
func (c *Client) begin(h *monDial, globalID uint64, grants []grant) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if globalID == 0 {
		return wire.Errorf("authenticate: no global id", c.name.String(), wire.EINVAL)
	}
	if c.globalID != 0 && c.globalID != globalID {
		if c.globalID != h.globalID {
			return wire.Errorf("authenticate: another session came first", c.name.String(), wire.EAGAIN)
		}
		clear(c.tickets)
	}
	c.globalID, c.challenge, c.asked = globalID, h.challenge, nil
	c.take(grants)
	return nil
}

// decodeSession reads the answer to a sessionRequest: the auth ticket, which
// comes first in what is returned, then the connection's secret, then more
// tickets.
func decodeSession(d *wire.Decoder, principal box, old *box) ([]grant, []byte, error) {
	grants, err := decodeGrants(d, principal, old)
	if err != nil {
		return nil, nil, err
	}
	if len(grants) != 1 || grants[0].Service != wire.EntityAuth {
		return nil, nil, errRefused("no auth ticket")
	}
	session, err := grants[0].Key.box()
	if err != nil {
		return nil, nil, err
	}
	if d.Len() == 0 {
		return grants, nil, nil
	}
	var secret []byte
	if sealed := d.Bytes(); len(sealed) > 0 {
		body, err := session.openNext(wire.NewDecoder(sealed))
		if err != nil {
			return nil, nil, err
		}
		b := wire.NewDecoder(body)
		secret = b.Bytes()
		if b.Err() != nil {
			return nil, nil, b.Err()
		}
	}
	if extra := d.Bytes(); len(extra) > 0 {
		more, err := decodeGrants(wire.NewDecoder(extra), session, nil)
		if err != nil {
			return nil, nil, err
		}
		grants = append(grants, more...)
	}
	return grants, secret, d.Err()
}

// sessionKeys checks that mode is one that was offered, and has what it needs.
func sessionKeys(key CryptoKey, mode msgr.Mode, secret []byte, offered []msgr.Mode) (msgr.SessionKeys, error) {
	if _, err := chooseMode([]msgr.Mode{mode}, offered); err != nil {
		return msgr.SessionKeys{}, err
	}
	if mode != msgr.ModeSecure {
		return msgr.SessionKeys{Key: key.Secret}, nil
	}
	if len(secret) != secretSize {
		return msgr.SessionKeys{}, errRefused("a secret of a wrong length")
	}
	return msgr.SessionKeys{Key: key.Secret, Secret: secret}, nil
}

// serviceDial is the authentication of one connection to another daemon, the
// dialler's side.
type serviceDial struct {
	c        *Client
	peer     wire.EntityType
	globalID uint64
	ticket   ticket
	key      box
	nonce    uint64
	answered bool
}

// Request implements msgr.ClientHandshake.
func (h *serviceDial) Request() (msgr.Method, []msgr.Mode, []byte, error) {
	var err error
	if h.key, err = h.ticket.Key.box(); err != nil {
		return 0, nil, nil, err
	}
	h.nonce = randomNumber()
	return msgr.MethodCephx, h.c.opts.ServiceModes, h.authorizer(authorize{Nonce: h.nonce}), nil
}

func (h *serviceDial) authorizer(a authorize) []byte {
	var e wire.Encoder
	(&authorizer{GlobalID: h.globalID, Service: h.peer, Ticket: h.ticket.Blob, Sealed: h.key.seal(a.encode())}).append(&e)
	return e.B
}

// Refused implements msgr.ClientHandshake. The ticket is given up: a new one
// is due (Client.Renewal), with which the next connection may succeed.
func (h *serviceDial) Refused(_ msgr.Method, kind wire.Errno, _ []msgr.Method, _ []msgr.Mode) error {
	h.c.forget(h.peer, h.ticket.Blob)
	return wire.Errorf("authenticate: ticket refused by the daemon", wire.EntityName{Type: h.peer}.Kind(), kind)
}

// More implements msgr.ClientHandshake.
func (h *serviceDial) More(payload []byte) ([]byte, error) {
	if h.answered {
		return nil, errRefused("a second challenge")
	}
	body, err := h.key.open(payload)
	if err != nil {
		return nil, err
	}
	n, err := decodeChallenge(body)
	if err != nil {
		return nil, wire.Wrap("authenticate", h.c.name.String(), err)
	}
	h.answered = true
	return h.authorizer(authorize{Nonce: h.nonce, HasChallenge: true, Answer: n + 1}), nil
}

// Done implements msgr.ClientHandshake. The daemon has shown that it knows
// the session key, which it can only have from the ticket, if it knows our
// nonce.
func (h *serviceDial) Done(_ uint64, mode msgr.Mode, payload []byte) (msgr.SessionKeys, error) {
	if !h.answered {
		return msgr.SessionKeys{}, errRefused("done without a challenge")
	}
	d := wire.NewDecoder(payload)
	body, err := h.key.openNext(d)
	if err != nil {
		return msgr.SessionKeys{}, wire.Wrap("authenticate with the daemon", h.c.name.String(), err)
	}
	nonce, secret, err := decodeAuthorizeReply(body)
	if err != nil || !sameNumber(nonce, h.nonce+1) {
		return msgr.SessionKeys{}, errRefused("the daemon does not know our ticket")
	}
	return sessionKeys(h.ticket.Key, mode, secret, h.c.opts.ServiceModes)
}
