package cephx

import (
	"fmt"

	"github.com/spirula/spirula/rados/msgr"
	"github.com/spirula/spirula/rados/wire"
)

// First bytes of an AUTH_REQUEST's payload (Ceph's values).
const (
	authModeAuthorizer = 1  // to an OSD, mgr or mds
	authModeMon        = 10 // to a mon
)

// Requests to a mon (Ceph's values).
const (
	askSession  = 0x0100 // prove the key, get the auth ticket and others
	askTickets  = 0x0200 // with an auth ticket, get others
	askRotating = 0x0400 // a daemon: the secrets of its kind
)

// secretSize is the length of the random secret of secure mode.
const secretSize = 64

// maxPayload bounds what is looked at of a peer that proved nothing yet.
const maxPayload = 64 << 10

// sessionRequest asks for an auth ticket.
type sessionRequest struct {
	Challenge uint64 // the client's
	Proof     uint64
	Old       blob // the auth ticket held so far, empty for none
	// OldPromised: a client that reconnects shows its old ticket. Clients
	// before Ceph 16.2.1 did not always.
	OldPromised bool
	Services    uint32 // kinds of daemons for which tickets are wanted
}

func (r *sessionRequest) append(e *wire.Encoder) {
	e.U16(askSession)
	if r.OldPromised {
		e.U8(3)
	} else {
		e.U8(2)
	}
	e.U64(r.Challenge)
	e.U64(r.Proof)
	r.Old.append(e)
	e.U32(r.Services)
}

// decodeSessionRequest reads what follows the request's number.
func decodeSessionRequest(d *wire.Decoder) (r sessionRequest) {
	v := version(d, 1)
	r.OldPromised = v >= 3
	r.Challenge, r.Proof = d.U64(), d.U64()
	r.Old = decodeBlob(d)
	if v >= 2 {
		r.Services = d.U32()
	}
	return r
}

// authorizer shows a ticket to a daemon, and that its owner knows the session
// key.
type authorizer struct {
	GlobalID uint64
	Service  wire.EntityType
	Ticket   blob
	Sealed   []byte // of an authorize
}

// authorize is the sealed part of an authorizer.
type authorize struct {
	Nonce        uint64
	HasChallenge bool
	Answer       uint64 // the challenge, plus one
}

func (a *authorizer) append(e *wire.Encoder) {
	e.U8(1)
	e.U64(a.GlobalID)
	e.U32(uint32(a.Service))
	a.Ticket.append(e)
	e.Bytes(a.Sealed)
}

func decodeAuthorizer(d *wire.Decoder) (a authorizer) {
	version(d, 1)
	a.GlobalID = d.U64()
	t := d.U32()
	if t > 255 {
		d.Fail(fmt.Errorf("%w: service %d", wire.ErrFormat, t))
	}
	a.Service = wire.EntityType(t)
	a.Ticket = decodeBlob(d)
	a.Sealed = append([]byte(nil), d.Bytes()...)
	return a
}

func (a *authorize) encode() []byte {
	var e wire.Encoder
	e.U8(2)
	e.U64(a.Nonce)
	e.Bool(a.HasChallenge)
	e.U64(a.Answer)
	return e.B
}

func decodeAuthorize(b []byte) (a authorize, err error) {
	d := wire.NewDecoder(b)
	v := version(d, 1)
	a.Nonce = d.U64()
	if v >= 2 {
		a.HasChallenge, a.Answer = d.Bool(), d.U64()
	}
	return a, d.Err()
}

// challenge is u8 1, u64: in the clear from a mon, sealed from a daemon.
func encodeChallenge(n uint64) []byte {
	var e wire.Encoder
	e.U8(1)
	e.U64(n)
	return e.B
}

func decodeChallenge(b []byte) (uint64, error) {
	d := wire.NewDecoder(b)
	version(d, 1)
	n := d.U64()
	return n, d.Err()
}

// authorizeReply is the daemon's proof: the nonce plus one, and in secure
// mode the connection's secret.
func encodeAuthorizeReply(nonce uint64, secret []byte) []byte {
	var e wire.Encoder
	if len(secret) == 0 {
		e.U8(1)
	} else {
		e.U8(2)
	}
	e.U64(nonce + 1)
	if len(secret) > 0 {
		e.Bytes(secret)
	}
	return e.B
}

func decodeAuthorizeReply(b []byte) (noncePlusOne uint64, secret []byte, err error) {
	d := wire.NewDecoder(b)
	v := version(d, 1)
	noncePlusOne = d.U64()
	if v >= 2 {
		secret = d.Bytes()
	}
	return noncePlusOne, secret, d.Err()
}

// chooseMode picks the first of what the client prefers that is allowed.
func chooseMode(wanted, allowed []msgr.Mode) (msgr.Mode, error) {
	for _, w := range wanted {
		for _, a := range allowed {
			if w == a {
				return w, nil
			}
		}
	}
	return 0, wire.Errorf("authenticate: no mode in common", "", wire.EOPNOTSUPP)
}

// checkKind refuses a peer that calls itself a daemon and has not the name of
// one: client.3 is not osd.3. As a client, every entity may come; Ceph's tools
// do with a daemon's key.
func checkKind(says wire.EntityType, name wire.AuthName) error {
	if says != wire.EntityClient && says != name.Type {
		return errRefused(name.String() + " says that it is a " + wire.EntityName{Type: says}.Kind())
	}
	return nil
}
