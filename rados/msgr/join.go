package msgr

import "github.com/spirula/spirula/rados/wire"

// Join makes one network of two: who listens on it is reached within the
// process by handing messages over, and from elsewhere through tcp, at the
// same address. Connect goes within the process where it can.
func Join(local *Local, tcp Network) Network { return &joined{local, tcp} }

type joined struct {
	local *Local
	tcp   Network
}

// Listen implements Network. The address is the one that tcp gives.
func (j *joined) Listen(me wire.EntityName, addr wire.Addr, d Dispatcher, auth ServerAuth) (Listener, error) {
	outer, err := j.tcp.Listen(me, addr, d, auth)
	if err != nil {
		return nil, err
	}
	inner, err := j.local.Listen(me, outer.Addr(), d, auth)
	if err != nil {
		outer.Close()
		return nil, err
	}
	return &joinedListener{inner, outer}, nil
}

// Connect implements Network.
func (j *joined) Connect(me wire.EntityName, myAddr wire.Addr, peer wire.EntityType, addr wire.Addr, d Dispatcher, auth ClientAuth) (Conn, error) {
	c, err := j.local.Connect(me, myAddr, peer, addr, d, auth)
	if err == nil {
		return c, nil
	}
	return j.tcp.Connect(me, myAddr, peer, addr, d, auth)
}

type joinedListener struct{ inner, outer Listener }

// Addr implements Listener.
func (l *joinedListener) Addr() wire.Addr { return l.outer.Addr() }

// Close implements Listener. Whoever is within the process hears of it first.
func (l *joinedListener) Close() {
	l.inner.Close()
	l.outer.Close()
}
