package msgr

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"math/rand/v2"

	"github.com/spirula/spirula/rados/wire"
)

// negotiate is the dialler's side of how a lossless session begins, or goes
// on. It leaves in k.peerReceived the last message that the peer has.
func (c *tcpConn) negotiate(k *link, o *opened) error {
	for range maxNegotiations {
		c.mu.Lock()
		again := c.serverCookie != 0
		c.mu.Unlock()
		var err error
		var f inFrame
		if again {
			err = c.askReconnect(k, &f)
		} else {
			err = c.askSession(k, o, &f)
		}
		if err != nil {
			return err
		}
		done, err := c.answered(k, o, &f, again)
		if done || err != nil {
			return err
		}
	}
	return protocolError("no agreement on a session after %d attempts", maxNegotiations)
}

func (c *tcpConn) askSession(k *link, o *opened, f *inFrame) error {
	mine, err := c.ident(o)
	if err != nil {
		return err
	}
	if err := k.send(tagClientIdent, mine.AppendClient(nil)); err != nil {
		return err
	}
	return k.recv(f, tagServerIdent, tagMissingFeatures, tagWait, tagSessionReset)
}

func (c *tcpConn) askReconnect(k *link, f *inFrame) error {
	c.mu.Lock()
	if c.adopting != nil {
		c.mu.Unlock()
		return errOvertaken
	}
	r := wire.SessionReconnect{Addrs: []wire.Addr{c.myAddr}, ClientCookie: c.clientCookie, ServerCookie: c.serverCookie,
		GlobalSeq: c.net.globalSeq.Add(1), ConnectSeq: c.connectSeq, Received: c.inSeq.Load()}
	c.mu.Unlock()
	if err := k.send(tagSessionReconnect, r.Append(nil)); err != nil {
		return err
	}
	return k.recv(f, tagSessionReset, tagSessionRetry, tagSessionRetryGlobal, tagReconnectOK, tagWait)
}

// answered takes the acceptor's answer. Neither done nor an error: to be
// asked once more.
func (c *tcpConn) answered(k *link, o *opened, f *inFrame, again bool) (done bool, err error) {
	if f.tag == tagServerIdent || f.tag == tagMissingFeatures {
		if f.tag == tagMissingFeatures {
			return false, fmt.Errorf("%w: features are missing: %x", errRefused, f.payload)
		}
		id, err := c.checkServer(f.payload)
		if err != nil {
			return false, err
		}
		if id.Flags&wire.IdentLossy != 0 || id.Cookie == 0 {
			return false, fmt.Errorf("%w: it wants a lossy session", errRefused)
		}
		c.mu.Lock()
		c.serverCookie, c.connectSeq = id.Cookie, 0
		c.peerGlobalSeq = max(c.peerGlobalSeq, id.GlobalSeq)
		c.mu.Unlock()
		c.standing(o, &id)
		return true, nil
	}
	d := wire.NewDecoder(f.payload)
	c.mu.Lock()
	defer c.mu.Unlock()
	switch f.tag {
	case tagWait:
		return false, errWait
	case tagSessionReset:
		if full := d.Bool(); full || !again {
			c.net.Metrics.RemoteResets.Add(1)
			return false, errRemoteReset
		}
		c.serverCookie, c.connectSeq = 0, 0
	case tagSessionRetry:
		c.connectSeq = d.U64() + 1
	case tagSessionRetryGlobal:
		c.net.raiseGlobalSeq(d.U64())
	case tagReconnectOK:
		k.peerReceived = d.U64()
		return d.Err() == nil, d.Err()
	}
	return false, d.Err()
}

// raiseGlobalSeq makes the number of the next dial larger than n.
func (t *TCP) raiseGlobalSeq(n uint64) {
	for {
		old := t.globalSeq.Load()
		if old >= n || t.globalSeq.CompareAndSwap(old, n) {
			return
		}
	}
}

// peerAt gives the lossless session with the entity at addr, or nil.
func (l *tcpListener) peerAt(addr wire.Addr) *tcpConn {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.peers[addr]
}

// takeOver answers the CLIENT_IDENT of a peer that wants a lossless session.
// Neither a session nor an error: the peer was told to wait for our dial.
func (l *tcpListener) takeOver(k *link, info *peerInfo, id *wire.Ident) (*tcpConn, error) {
	if id.Cookie == 0 {
		return nil, protocolError("CLIENT_IDENT of a lossless session without a cookie")
	}
	c, wait, err := l.sessionFor(k, info, id)
	if err != nil {
		return nil, err
	}
	if wait {
		return nil, l.tellWait(k)
	}
	c.info.Store(info)
	c.mu.Lock()
	cookie := c.serverCookie
	if cookie == 0 {
		cookie = rand.Uint64() | 1
	}
	c.mu.Unlock()
	err = k.send(tagServerIdent, l.ident(0, cookie))
	c.mu.Lock()
	defer c.mu.Unlock()
	c.adopting = nil
	defer c.kick()
	if err != nil {
		if !c.stood && !c.dialled {
			c.fail(err) // nobody knows it yet
		}
		return nil, err
	}
	c.clientCookie, c.serverCookie, c.connectSeq = id.Cookie, cookie, 0
	c.peerGlobalSeq = max(c.peerGlobalSeq, id.GlobalSeq)
	return c, c.resume(k, 0)
}

func (l *tcpListener) tellWait(k *link) error {
	if err := k.send(tagWait, nil); err != nil {
		return err
	}
	return errWait
}

// sessionFor finds or makes the session that a CLIENT_IDENT is about, and
// claims it for k.
func (l *tcpListener) sessionFor(k *link, info *peerInfo, id *wire.Ident) (c *tcpConn, wait bool, err error) {
	for range maxNegotiations {
		if c = l.peerAt(info.addr); c == nil {
			if c, err = l.newSession(k, info, id.Cookie); c != nil || err != nil {
				return c, false, err
			}
			continue // somebody else was faster
		}
		c.mu.Lock()
		switch {
		case c.err != nil || c.dead.Load():
		case id.GlobalSeq < c.peerGlobalSeq:
			c.mu.Unlock()
			return nil, false, errOvertaken
		case c.serverCookie == 0 && c.attempt != nil && lower(l.addr, info.addr):
			c.mu.Unlock()
			return nil, true, nil
		case c.serverCookie == 0 || c.clientCookie == id.Cookie:
			err = c.claim(k)
			c.mu.Unlock()
			return c, false, err
		default:
			c.net.Metrics.RemoteResets.Add(1)
			c.fail(errRemoteReset)
		}
		c.mu.Unlock()
		// Its end is told before the new session's first message comes.
		<-c.over
	}
	return nil, false, errClosed
}

// connect gives the lossless session with the peer at addr, and makes it if
// there is none.
func (l *tcpListener) connect(peer wire.EntityType, addr wire.Addr, d Dispatcher, auth ClientAuth) (*tcpConn, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.peerAuth = auth
	if c := l.peers[addr]; c != nil && !c.dead.Load() {
		c.mu.Lock()
		if c.auth == nil {
			c.auth = auth
			c.kick()
		}
		c.mu.Unlock()
		return c, nil
	}
	if l.closed || len(l.sessions) >= l.net.opts.Sessions {
		return nil, wire.Errorf("msgr.connect", addr.String(), wire.ENOTCONN)
	}
	c := l.net.newConn(l.me, d, &peerInfo{name: wire.EntityName{Type: peer, Num: -1}, addr: addr, identity: &Identity{}})
	c.makeLossless(l)
	c.dialled, c.auth, c.target, c.peerType = true, auth, addr, peer
	l.sessions[c] = struct{}{}
	l.peers[addr] = c
	l.work.Go(c.supervise)
	return c, nil
}

// newSession makes a session that k's peer has begun. Nil without an error:
// there is one by now.
func (l *tcpListener) newSession(k *link, info *peerInfo, cookie uint64) (*tcpConn, error) {
	c := l.net.newConn(l.me, l.d, info)
	c.makeLossless(l)
	c.target, c.peerType = info.addr, info.name.Type
	c.clientCookie, c.adopting = cookie, k
	l.mu.Lock()
	defer l.mu.Unlock()
	c.auth = l.peerAuth
	if l.peers[info.addr] != nil {
		return nil, nil
	}
	if l.closed || len(l.sessions) >= l.net.opts.Sessions {
		return nil, errClosed
	}
	l.sessions[c] = struct{}{}
	l.peers[info.addr] = c
	l.work.Go(c.supervise)
	return c, nil
}

// claim reserves the session for k, and waits until nothing runs that needs
// its former connection. Under c.mu, which it gives up meanwhile.
func (c *tcpConn) claim(k *link) error {
	if c.adopting != nil {
		c.adopting.c.Close()
		return errWait
	}
	c.adopting = k
	if c.attempt != nil {
		c.attempt()
	}
	if c.link != nil {
		c.link.c.Close()
	}
	for c.link != nil && c.err == nil {
		c.wake.Wait()
	}
	if c.err != nil {
		c.adopting = nil
		c.kick()
	}
	return c.err
}

// reconnect answers SESSION_RECONNECT. Neither a session nor an error: the
// peer was told to ask in another way.
func (l *tcpListener) reconnect(k *link, a *accepted, payload []byte) (*tcpConn, error) {
	r, err := wire.DecodeSessionReconnect(payload)
	if err != nil {
		return nil, err
	}
	if len(r.Addrs) == 0 {
		return nil, protocolError("SESSION_RECONNECT without an address")
	}
	c := l.peerAt(r.Addrs[0])
	if c == nil {
		return nil, k.send(tagSessionReset, []byte{1})
	}
	if _, err := l.peerOf(k, a, &wire.Ident{Addrs: r.Addrs, GlobalID: c.Peer().Num}); err != nil || c.peerType != a.peer {
		return nil, protocolError("%s wants to go on with a session of %s", a.identity.Name, c.Peer())
	}
	c.mu.Lock()
	t, arg, err := c.judgeReconnect(l, &r)
	if err == nil && t == tagReconnectOK {
		err = c.claim(k)
	}
	c.mu.Unlock()
	switch {
	case err != nil:
		return nil, err
	case t == tagWait:
		return nil, l.tellWait(k)
	case t != tagReconnectOK:
		return nil, k.send(t, arg)
	}
	err = k.send(tagReconnectOK, binary.LittleEndian.AppendUint64(nil, c.inSeq.Load()))
	c.mu.Lock()
	defer c.mu.Unlock()
	c.adopting = nil
	defer c.kick()
	if err != nil {
		return nil, err
	}
	c.serverCookie, c.connectSeq = r.ServerCookie, r.ConnectSeq
	c.peerGlobalSeq = max(c.peerGlobalSeq, r.GlobalSeq)
	return c, c.resume(k, r.Received)
}

// judgeReconnect decides how to answer, under c.mu.
func (c *tcpConn) judgeReconnect(l *tcpListener, r *wire.SessionReconnect) (tag, []byte, error) {
	number := func(n uint64) []byte { return binary.LittleEndian.AppendUint64(nil, n) }
	switch {
	case c.err != nil, r.ClientCookie != c.clientCookie, c.serverCookie != 0 && r.ServerCookie != c.serverCookie:
		return tagSessionReset, []byte{1}, nil
	case c.peerGlobalSeq > r.GlobalSeq:
		return tagSessionRetryGlobal, number(c.peerGlobalSeq), nil
	case c.connectSeq > r.ConnectSeq, c.connectSeq == r.ConnectSeq && c.link != nil:
		return tagSessionRetry, number(c.connectSeq), nil
	case c.connectSeq == r.ConnectSeq && c.attempt != nil && lower(l.addr, c.target):
		return tagWait, nil, nil
	}
	return tagReconnectOK, nil, nil
}

// lower orders addresses: of two entities that dial each other, the lower
// one's dial is the one that counts.
func lower(a, b wire.Addr) bool {
	return cmp.Or(a.IP.Compare(b.IP), cmp.Compare(a.Nonce, b.Nonce)) < 0
}
