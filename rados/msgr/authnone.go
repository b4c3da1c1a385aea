package msgr

import (
	"context"
	"math/rand/v2"

	"github.com/spirula/spirula/rados/wire"
)

// First bytes of an AUTH_REQUEST's payload (Ceph's values): whom it is for.
const (
	authModeAuthorizer = 1  // an OSD, mgr or mds
	authModeMon        = 10 // a mon
)

// Accept implements ServerAuth.
func (NoAuth) Accept(wire.EntityType) ServerHandshake { return noAuthServer{} }

type noAuthServer struct{}

// Request lets everybody in. A peer without a global id gets a random one:
// daemons that need it to be the cluster's only one have a ServerAuth of
// their own.
func (noAuthServer) Request(_ context.Context, method Method, _ []Mode, payload []byte) (Step, error) {
	if method != MethodNone {
		return Step{}, wire.Errorf("authenticate", "", wire.EOPNOTSUPP)
	}
	d := wire.NewDecoder(payload)
	d.U8()
	kind := wire.EntityType(d.U32())
	id := d.Str()
	gid := d.U64()
	if err := d.Err(); err != nil {
		return Step{}, wire.Wrap("authenticate", "", err)
	}
	if gid == 0 {
		gid = rand.Uint64()>>1 | 1<<62
	}
	return Step{Done: true, Identity: Identity{Name: wire.AuthName{Type: kind, ID: id}, GlobalID: gid, Trusted: true, Mode: ModeCRC}}, nil
}

func (noAuthServer) More(context.Context, []byte) (Step, error) {
	return Step{}, wire.Errorf("authenticate: nothing was asked", "", wire.EINVAL)
}

func (noAuthServer) Offer() ([]Method, []Mode) { return []Method{MethodNone}, []Mode{ModeCRC} }

// Dial implements ClientAuth.
func (a NoAuth) Dial(peer wire.EntityType) (ClientHandshake, error) {
	return &noAuthClient{name: a.Name, peer: peer}, nil
}

type noAuthClient struct {
	name wire.AuthName
	peer wire.EntityType
}

func (c *noAuthClient) Request() (Method, []Mode, []byte, error) {
	e := wire.Encoder{}
	if c.peer == wire.EntityMon {
		e.U8(authModeMon)
	} else {
		e.U8(authModeAuthorizer)
	}
	e.U32(uint32(c.name.Type))
	e.Str(c.name.ID)
	e.U64(0)
	return MethodNone, []Mode{ModeCRC}, e.B, nil
}

func (c *noAuthClient) Refused(_ Method, kind wire.Errno, _ []Method, _ []Mode) error {
	return wire.Errorf("authenticate: the peer wants more than a name", c.name.String(), kind)
}

func (c *noAuthClient) More([]byte) ([]byte, error) {
	return nil, wire.Errorf("authenticate: nothing to add", c.name.String(), wire.EINVAL)
}

func (c *noAuthClient) Done(uint64, Mode, []byte) (SessionKeys, error) { return SessionKeys{}, nil }
