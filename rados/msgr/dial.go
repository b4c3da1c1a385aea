package msgr

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/spirula/spirula/rados/wire"
)

// errRefused is the cause when the peer is another one than was dialled: no
// later attempt will find it there.
var errRefused = errors.New("the peer is not the one dialled")

// opened is what a dialler knows when it is authenticated.
type opened struct {
	hello    wire.Hello
	globalID uint64
	mode     Mode
}

// authenticate runs the dialler's side up to the signatures.
func (c *tcpConn) authenticate(k *link) (o opened, err error) {
	if o.hello, err = k.hello(c.me.Type, c.target); err != nil {
		return o, err
	}
	if o.hello.Type != c.peerType {
		return o, fmt.Errorf("%w: it is a %s", errRefused, wire.EntityName{Type: o.hello.Type}.Kind())
	}
	c.mu.Lock()
	auth := c.auth
	c.mu.Unlock()
	hs, err := auth.Dial(c.peerType)
	if err != nil {
		return o, err
	}
	keys, err := k.prove(hs, &o)
	if err != nil {
		return o, err
	}
	mine := sign(keys.Key, k.r.record)
	if err := k.secure(o.mode, keys, false); err != nil {
		return o, err
	}
	if err := k.checkSignature(keys); err != nil {
		return o, err
	}
	return o, k.send(tagAuthSignature, mine)
}

// prove answers what the acceptor asks until it is done.
func (k *link) prove(hs ClientHandshake, o *opened) (SessionKeys, error) {
	var modes []Mode
	request := func() error {
		method, want, payload, err := hs.Request()
		if err != nil {
			return err
		}
		modes = want
		r := wire.AuthRequest{Method: uint32(method), Modes: numbers(want), Payload: payload}
		return k.send(tagAuthRequest, r.Append(nil))
	}
	if err := request(); err != nil {
		return SessionKeys{}, err
	}
	for range maxAuthRounds {
		var f inFrame
		if err := k.recv(&f, tagAuthBadMethod, tagAuthReplyMore, tagAuthDone); err != nil {
			return SessionKeys{}, err
		}
		var err error
		switch f.tag {
		case tagAuthBadMethod:
			if err = refused(hs, f.payload); err == nil {
				err = request()
			}
		case tagAuthReplyMore:
			d := wire.NewDecoder(f.payload)
			asked := d.Bytes()
			if err = d.Err(); err != nil {
				break
			}
			var answer []byte
			if answer, err = hs.More(slices.Clone(asked)); err == nil {
				e := wire.Encoder{}
				e.Bytes(answer)
				err = k.send(tagAuthRequestMore, e.B)
			}
		case tagAuthDone:
			return finishAuth(hs, f.payload, modes, o)
		}
		if err != nil {
			return SessionKeys{}, err
		}
	}
	return SessionKeys{}, protocolError("authentication takes more than %d rounds", maxAuthRounds)
}

func refused(hs ClientHandshake, payload []byte) error {
	b, err := wire.DecodeAuthBadMethod(payload)
	if err != nil {
		return err
	}
	kind := wire.Errno(-b.Result)
	if kind <= 0 {
		kind = wire.EACCES
	}
	methods := make([]Method, len(b.Methods))
	for i, m := range b.Methods {
		methods[i] = Method(m)
	}
	if err := hs.Refused(Method(b.Method), kind, methods, modesOf(b.Modes)); err != nil {
		if kind != wire.EPERM {
			kind = wire.EACCES
		}
		return &wire.Error{Op: "msgr.authenticate", Kind: kind, Cause: err}
	}
	return nil
}

func finishAuth(hs ClientHandshake, payload []byte, modes []Mode, o *opened) (SessionKeys, error) {
	done, err := wire.DecodeAuthDone(payload)
	if err != nil {
		return SessionKeys{}, err
	}
	o.globalID, o.mode = done.GlobalID, Mode(done.Mode)
	if !slices.Contains(modes, o.mode) {
		return SessionKeys{}, protocolError("connection mode %d was not offered", o.mode)
	}
	return hs.Done(done.GlobalID, o.mode, slices.Clone(done.Payload))
}

// ident makes CLIENT_IDENT.
func (c *tcpConn) ident(o *opened) (wire.Ident, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.adopting != nil {
		return wire.Ident{}, errOvertaken
	}
	if c.myAddr.Type == wire.AddrNone || !c.myAddr.IP.Addr().IsValid() {
		// Nobody listens there: the address tells incarnations apart. Its IP
		// is the one under which the peer sees us.
		c.myAddr.Type = wire.AddrAny
		c.myAddr.IP = withPort(o.hello.Peer.IP, 0)
	}
	id := wire.Ident{Addrs: []wire.Addr{c.myAddr}, Target: c.target, GlobalID: c.me.Num,
		Supported: wire.Features, Required: requiredFeature, GlobalSeq: c.net.globalSeq.Add(1), Cookie: c.clientCookie}
	if c.me.Type == wire.EntityClient && c.me.Num <= 0 {
		id.GlobalID = -1
		if o.globalID != 0 {
			id.GlobalID = int64(o.globalID)
		}
	}
	if !c.lossless {
		id.Flags = wire.IdentLossy
	}
	return id, nil
}

// introduce exchanges idents, and gives what the peer said.
func (c *tcpConn) introduce(k *link, o *opened) (wire.Ident, error) {
	mine, err := c.ident(o)
	if err != nil {
		return wire.Ident{}, err
	}
	if err := k.send(tagClientIdent, mine.AppendClient(nil)); err != nil {
		return wire.Ident{}, err
	}
	var f inFrame
	if err := k.recv(&f, tagServerIdent, tagMissingFeatures); err != nil {
		return wire.Ident{}, err
	}
	if f.tag == tagMissingFeatures {
		return wire.Ident{}, fmt.Errorf("%w: features are missing: %x", errRefused, f.payload)
	}
	return c.checkServer(f.payload)
}

// checkServer takes SERVER_IDENT, which must be from the one that we dialled.
func (c *tcpConn) checkServer(payload []byte) (wire.Ident, error) {
	id, err := wire.DecodeServerIdent(payload)
	if err != nil {
		return id, err
	}
	if missing := requiredFeature &^ id.Supported; missing != 0 {
		return id, fmt.Errorf("%w: it lacks features %#x", errRefused, missing)
	}
	if missing := id.Required &^ wire.Features; missing != 0 {
		return id, fmt.Errorf("%w: it wants features %#x", errRefused, missing)
	}
	i := slices.IndexFunc(id.Addrs, func(a wire.Addr) bool { return sameEntity(a, c.target) })
	if i < 0 {
		return id, fmt.Errorf("%w: it is at %v", errRefused, id.Addrs)
	}
	id.Addrs[0], id.Addrs[i] = id.Addrs[i], id.Addrs[0]
	return id, nil
}

// sameEntity reports whether an entity at address a is the one wanted; the
// nonce 0 stands for any.
func sameEntity(a, want wire.Addr) bool {
	return (a.Type == want.Type || want.Type == wire.AddrAny) && unmap(a.IP) == unmap(want.IP) &&
		(a.Nonce == want.Nonce || want.Nonce == 0)
}

// dial connects, authenticates and introduces; the link is the session's
// then.
func (c *tcpConn) dial(ctx context.Context) (*link, error) {
	ctx, cancel := context.WithTimeout(ctx, handshakeTime)
	defer cancel()
	nc, err := c.net.dial(ctx, c.target.IP.String())
	if err != nil {
		return nil, err
	}
	k := c.net.newLink(nc)
	stop := context.AfterFunc(ctx, func() { nc.SetDeadline(time.Unix(1, 0)) })
	err = c.open(k)
	if !stop() && err == nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		nc.Close()
		return nil, err
	}
	return k, nil
}

// open runs the dialler's handshake.
func (c *tcpConn) open(k *link) error {
	o, err := c.authenticate(k)
	if err != nil {
		return err
	}
	if c.lossless {
		return c.negotiate(k, &o)
	}
	id, err := c.introduce(k, &o)
	if err != nil {
		return err
	}
	c.standing(&o, &id)
	return nil
}

// standing notes who the peer is.
func (c *tcpConn) standing(o *opened, id *wire.Ident) {
	name := wire.EntityName{Type: c.peerType, Num: id.GlobalID}
	c.info.Store(&peerInfo{name: name, addr: id.Addrs[0], globalID: o.globalID,
		identity: &Identity{Name: name.AuthName(), Trusted: true, Mode: o.mode}})
}

// connectError is what a dialler is told.
func connectError(target wire.Addr, err error) error {
	if err == nil {
		return nil
	}
	kind := wire.ErrnoOf(err)
	if kind != wire.EACCES && kind != wire.EPERM {
		kind = wire.ENOTCONN
	}
	return &wire.Error{Op: "msgr.connect", Subject: target.String(), Kind: kind, Cause: err}
}
