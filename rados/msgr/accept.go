package msgr

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strconv"

	"github.com/spirula/spirula/rados/wire"
)

// accepted is what an acceptor knows when its peer is authenticated.
type accepted struct {
	peer     wire.EntityType
	method   Method
	identity Identity
}

// authenticate runs the acceptor's side up to the signatures.
func (l *tcpListener) authenticate(ctx context.Context, k *link) (*accepted, error) {
	hello, err := k.hello(l.me.Type, addrOf(k.c.RemoteAddr()))
	if err != nil {
		return nil, err
	}
	a := &accepted{peer: hello.Type}
	keys, err := l.examine(ctx, k, a)
	if err != nil {
		return nil, err
	}
	mine := sign(keys.Key, k.r.record)
	if err := k.secure(a.identity.Mode, keys, true); err != nil {
		return nil, err
	}
	if err := k.send(tagAuthSignature, mine); err != nil {
		return nil, err
	}
	if err := k.checkSignature(keys); err != nil {
		return nil, err
	}
	if name := a.identity.Name; a.method != MethodNone && name.Type != a.peer {
		return nil, protocolError("%s says that it is a %s", name, wire.EntityName{Type: a.peer}.Kind())
	}
	return a, nil
}

// examine has the ServerAuth judge what the dialler sends.
func (l *tcpListener) examine(ctx context.Context, k *link, a *accepted) (SessionKeys, error) {
	hs := l.auth.Accept(a.peer)
	want := tagAuthRequest
	for range maxAuthRounds {
		var f inFrame
		if err := k.recv(&f, want); err != nil {
			return SessionKeys{}, err
		}
		step, err := l.judge(ctx, hs, &f, a)
		switch {
		case err != nil:
			l.net.Metrics.Refused.Add(1)
			l.net.warn("authentication refused", "peer", k.c.RemoteAddr(), "err", err)
			methods, modes := hs.Offer()
			bad := wire.AuthBadMethod{Method: uint32(a.method), Result: -int32(wire.ErrnoOf(err)),
				Methods: numbers(methods), Modes: numbers(modes)}
			if err := k.send(tagAuthBadMethod, bad.Append(nil)); err != nil {
				return SessionKeys{}, err
			}
			want = tagAuthRequest
		case step.Done:
			a.identity = step.Identity
			if m := a.identity.Mode; m != ModeCRC && m != ModeSecure {
				panic(fmt.Sprintf("msgr: authentication gave connection mode %d", m))
			}
			done := wire.AuthDone{GlobalID: step.Identity.GlobalID, Mode: uint32(step.Identity.Mode), Payload: step.Payload}
			return step.Keys, k.send(tagAuthDone, done.Append(nil))
		default:
			e := wire.Encoder{}
			e.Bytes(step.Payload)
			if err := k.send(tagAuthReplyMore, e.B); err != nil {
				return SessionKeys{}, err
			}
			want = tagAuthRequestMore
		}
	}
	return SessionKeys{}, protocolError("authentication takes more than %d rounds", maxAuthRounds)
}

func (l *tcpListener) judge(ctx context.Context, hs ServerHandshake, f *inFrame, a *accepted) (Step, error) {
	if f.tag == tagAuthRequestMore {
		d := wire.NewDecoder(f.payload)
		p := d.Bytes()
		if d.Err() != nil {
			return Step{}, d.Err()
		}
		return hs.More(ctx, slices.Clone(p))
	}
	r, err := wire.DecodeAuthRequest(f.payload)
	if err != nil {
		return Step{}, err
	}
	a.method = Method(r.Method)
	return hs.Request(ctx, a.method, modesOf(r.Modes), slices.Clone(r.Payload))
}

// handshake brings one accepted connection to where its session begins, or
// goes on. A lossless session has the connection attached then.
func (l *tcpListener) handshake(ctx context.Context, k *link) (*tcpConn, error) {
	a, err := l.authenticate(ctx, k)
	if err != nil {
		return nil, err
	}
	for range maxNegotiations {
		var f inFrame
		if err := k.recv(&f, tagClientIdent, tagSessionReconnect); err != nil {
			return nil, err
		}
		if f.tag == tagClientIdent {
			return l.introduced(k, a, f.payload)
		}
		if c, err := l.reconnect(k, a, f.payload); c != nil || err != nil {
			return c, err
		}
	}
	return nil, protocolError("no agreement on a session after %d attempts", maxNegotiations)
}

// introduced answers CLIENT_IDENT.
func (l *tcpListener) introduced(k *link, a *accepted, payload []byte) (*tcpConn, error) {
	id, err := wire.DecodeClientIdent(payload)
	if err != nil {
		return nil, err
	}
	if len(id.Addrs) == 0 || id.Addrs[0].Type == wire.AddrNone {
		return nil, protocolError("CLIENT_IDENT without an address")
	}
	lossless := losslessBetween(l.me.Type, a.peer) && id.Flags&wire.IdentLossy == 0
	if !sameEntity(l.addr, id.Target) {
		if lossless {
			// Whom it wants is gone for good.
			k.send(tagSessionReset, []byte{1})
		}
		return nil, fmt.Errorf("%w: %s was dialled, this is %s", errRefused, id.Target, l.addr)
	}
	if missing := requiredFeature &^ id.Supported; missing != 0 {
		e := wire.Encoder{}
		e.U64(missing)
		k.send(tagMissingFeatures, e.B)
		return nil, fmt.Errorf("%w: it lacks features %#x", errRefused, missing)
	}
	if missing := id.Required &^ wire.Features; missing != 0 {
		return nil, fmt.Errorf("%w: it wants features %#x", errRefused, missing)
	}
	info, err := l.peerOf(k, a, &id)
	if err != nil {
		return nil, err
	}
	if lossless {
		return l.takeOver(k, info, &id)
	}
	c := l.net.newConn(l.me, l.d, info)
	c.listener = l
	if !l.add(c) {
		return nil, errClosed
	}
	if err := k.send(tagServerIdent, l.ident(wire.IdentLossy, 0)); err != nil {
		l.remove(c)
		return nil, err
	}
	return c, nil
}

// ident makes SERVER_IDENT. Its number is above that of every dial of ours
// that the peer may still find on its way.
func (l *tcpListener) ident(flags, cookie uint64) []byte {
	id := wire.Ident{Addrs: []wire.Addr{l.addr}, GlobalID: l.me.Num, GlobalSeq: l.net.globalSeq.Add(1),
		Supported: wire.Features, Required: requiredFeature, Flags: flags, Cookie: cookie}
	return id.AppendServer(nil)
}

// peerOf gives a dialler's name: a client's number is the one that the mons
// gave it, a daemon's the one it says, and if it proved a name, then that.
func (l *tcpListener) peerOf(k *link, a *accepted, id *wire.Ident) (*peerInfo, error) {
	info := &peerInfo{name: wire.EntityName{Type: a.peer, Num: id.GlobalID}, addr: id.Addrs[0], identity: &a.identity}
	if !info.addr.IP.Addr().IsValid() || info.addr.IP.Addr().IsUnspecified() {
		info.addr.IP = withPort(addrOf(k.c.RemoteAddr()).IP, info.addr.IP.Port())
	}
	proven := a.method != MethodNone
	switch a.peer {
	case wire.EntityOSD:
		if proven && a.identity.Name.ID != strconv.FormatInt(id.GlobalID, 10) {
			return nil, protocolError("%s says that it is osd.%d", a.identity.Name, id.GlobalID)
		}
	case wire.EntityMon:
		if proven && a.identity.Name.ID != "" {
			return nil, protocolError("%s says that it is a mon", a.identity.Name)
		}
	case wire.EntityClient, wire.EntityMDS, wire.EntityMgr:
		// Who has proved nothing may tell an OSD the number that it has
		// from the mons.
		if proven || l.me.Type == wire.EntityMon || id.GlobalID <= 0 {
			info.name.Num = int64(a.identity.GlobalID)
		}
	default:
		return nil, protocolError("peer of type %d", a.peer)
	}
	return info, nil
}

func unmap(a netip.AddrPort) netip.AddrPort { return netip.AddrPortFrom(a.Addr().Unmap(), a.Port()) }

func withPort(a netip.AddrPort, port uint16) netip.AddrPort {
	return netip.AddrPortFrom(a.Addr(), port)
}

// randomNonce is never 0, which stands for any.
func randomNonce() uint32 { return rand.Uint32() | 1 }
