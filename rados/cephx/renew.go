package cephx

import (
	"github.com/spirula/spirula/rados/msgr"
	"github.com/spirula/spirula/rados/wire"
)

// Renew answers the payload of an MAuth on an open session of the peer id: a
// new auth ticket, new tickets for daemons, or a daemon's service secrets.
// The reply goes into the MAuthReply, whose result is the error's kind;
// where it is an error, the reply may still have something.
func (a *MonAuth) Renew(id *msgr.Identity, payload []byte) (reply []byte, err error) {
	if len(payload) > maxPayload {
		return nil, wire.Errorf("cephx.renew: request too long", id.Name.String(), wire.EINVAL)
	}
	d := wire.NewDecoder(payload)
	kind := d.U16()
	if err := d.Err(); err != nil {
		return nil, wire.Wrap("cephx.renew", id.Name.String(), err)
	}
	switch kind {
	case askSession:
		reply, err = a.renewSession(id, d)
	case askTickets:
		reply, err = a.renewTickets(id, d)
	case askRotating:
		reply, err = a.rotating(id)
	default:
		err = wire.EOPNOTSUPP
	}
	if err != nil {
		var e wire.Encoder
		e.U16(kind)
		e.I32(-int32(wire.ErrnoOf(err)))
		return e.B, wire.Wrap("cephx.renew", id.Name.String(), err)
	}
	return reply, nil
}

// renewSession gives a new auth ticket for the one that is shown, against the
// challenge of when the session began.
func (a *MonAuth) renewSession(id *msgr.Identity, d *wire.Decoder) ([]byte, error) {
	if id.Challenge == 0 {
		return nil, errRefused("the session did not begin with a challenge")
	}
	q := decodeSessionRequest(d)
	if err := d.Err(); err != nil {
		return nil, err
	}
	ent, old, err := a.check(id, true, &q)
	if err != nil {
		return nil, err
	}
	reply, _, err := a.session(id, ent, old, &q, nil)
	return reply, err
}

// renewTickets gives tickets to the owner of an auth ticket.
func (a *MonAuth) renewTickets(id *msgr.Identity, d *wire.Decoder) ([]byte, error) {
	shown := decodeAuthorizer(d)
	version(d, 1)
	mask := d.U32()
	if err := d.Err(); err != nil {
		return nil, err
	}
	now := a.opts.Now()
	t, key, _, err := openAuthorizer(&shown, wire.EntityAuth, monSecrets{a.src}, now)
	if err != nil {
		return nil, wire.EPERM
	}
	if t.Ticket.Name != id.Name || !sameNumber(t.Ticket.GlobalID, id.GlobalID) {
		return nil, wire.EPERM
	}
	ent, ok := a.src.Entity(id.Name)
	if !ok {
		return nil, errRefused("no such entity")
	}
	grants, err := a.grants(mask, id, ent, now)
	if err != nil {
		return nil, err
	}
	var e wire.Encoder
	e.U16(askTickets)
	e.I32(0)
	appendGrants(&e, grants, key, nil)
	return e.B, nil
}

// rotating gives a daemon the secrets of its kind, sealed with its own key.
func (a *MonAuth) rotating(id *msgr.Identity) ([]byte, error) {
	ent, ok := a.src.Entity(id.Name)
	if !ok {
		return nil, errRefused("no such entity")
	}
	key, err := ent.Key.box()
	if err != nil {
		return nil, err
	}
	if id.Name.Type == wire.EntityClient || id.Name.Type == wire.EntityAuth {
		return nil, wire.EACCES
	}
	r := a.src.Rotating(id.Name.Type)
	if len(r.Secrets) == 0 {
		return nil, wire.EACCES
	}
	var e wire.Encoder
	e.U16(askRotating)
	e.I32(0)
	key.appendSealed(&e, r.Encode())
	return e.B, nil
}

// monSecrets is a MonSource as a SecretSource.
type monSecrets struct{ src MonSource }

// ServiceSecret implements SecretSource.
func (s monSecrets) ServiceSecret(service wire.EntityType, id uint64) (CryptoKey, bool) {
	return s.src.Rotating(service).Get(id)
}
