package mon

import (
	"context"
	"maps"

	"github.com/spirula/spirula/rados/cephx"
	"github.com/spirula/spirula/rados/msgr"
	"github.com/spirula/spirula/rados/wire"
)

// AuthMode says whom a mon lets in.
type AuthMode uint8

// The modes.
const (
	AuthNone  AuthMode = iota // everybody, who may do everything
	AuthCephx                 // entities that prove to have their key, and may do what their caps allow
)

// acceptor makes the ServerAuth of the mode.
func (m *Mon) acceptor(mode AuthMode) *cephx.MonAuth {
	method := msgr.MethodNone
	if mode == AuthCephx {
		method = msgr.MethodCephx
	}
	return cephx.NewMonAuth(authSource{m}, cephx.AcceptOptions{Methods: []msgr.Method{method}, Now: m.opts.Now})
}

// ServiceSecrets has the secrets with which daemons of this process read the
// tickets that are shown to them; other daemons get theirs by message. It may
// be used as long as the mon exists, and by many goroutines.
func (m *Mon) ServiceSecrets() cephx.SecretSource { return authSource{m} }

// Keyring gives all entities as of now.
func (m *Mon) Keyring() cephx.Keyring { return maps.Clone(m.auth.shared.Load().ring) }

// authSource is what connections that begin ask the mon.
type authSource struct{ m *Mon }

var (
	_ cephx.MonSource    = authSource{}
	_ cephx.SecretSource = authSource{}
)

// Entity implements cephx.MonSource.
func (s authSource) Entity(n wire.AuthName) (cephx.Entity, bool) {
	e, ok := s.m.auth.shared.Load().ring[n]
	return e, ok
}

// Rotating implements cephx.MonSource.
func (s authSource) Rotating(service wire.EntityType) cephx.Rotating {
	return s.m.auth.shared.Load().secret[service]
}

// ServiceSecret implements cephx.SecretSource.
func (s authSource) ServiceSecret(service wire.EntityType, id uint64) (cephx.CryptoKey, bool) {
	return s.Rotating(service).Get(id)
}

// NewGlobalID implements cephx.MonSource.
func (s authSource) NewGlobalID(ctx context.Context) (uint64, error) {
	type answer struct {
		gid uint64
		e   wire.Errno
	}
	answers := make(chan answer, 1)
	if !s.m.post(event{fn: func() {
		s.m.auth.allot(func(gid uint64, e wire.Errno) { answers <- answer{gid, e} })
	}}) {
		return 0, wire.Errorf("mon: a number for a client", "", wire.EAGAIN)
	}
	select {
	case a := <-answers:
		if a.e != 0 {
			return 0, wire.Errorf("mon: a number for a client", "", a.e)
		}
		return a.gid, nil
	case <-s.m.done:
		return 0, wire.Errorf("mon: a number for a client", "", wire.ESHUTDOWN)
	case <-ctx.Done():
		return 0, wire.Wrap("mon: a number for a client", "", ctx.Err())
	}
}

// handle answers MAuth. On an authenticated session it renews tickets. Where
// the transport does not authenticate, or believes everybody, it tells the
// peer its number.
func (a *authService) handle(s *session, q *wire.MAuth) {
	id := s.c.Identity()
	r := &wire.MAuthReply{TID: q.TID, FSID: a.m.fsid}
	if id != nil && !id.Trusted {
		payload, err := a.m.renew(id, q)
		if err != nil {
			a.m.log.Info("renewal refused", "from", id.Name.String(), "err", err)
		}
		r.Protocol, r.GlobalID = uint32(msgr.MethodCephx), int64(id.GlobalID)
		r.Payload, r.Result = payload, -int32(wire.ErrnoOf(err))
		s.c.Send(r)
		return
	}
	if id != nil && id.GlobalID != 0 {
		r.GlobalID = int64(id.GlobalID)
		s.c.Send(r)
		return
	}
	a.allot(func(gid uint64, e wire.Errno) {
		r.GlobalID, r.Result = int64(gid), -int32(e)
		s.c.Send(r)
	})
}

// renew answers what a peer asks on a session that cephx began.
func (m *Mon) renew(id *msgr.Identity, q *wire.MAuth) ([]byte, error) {
	if m.cephx == nil {
		return nil, wire.Errorf("mon: renewal", id.Name.String(), wire.EOPNOTSUPP)
	}
	return m.cephx.Renew(id, q.Payload)
}
