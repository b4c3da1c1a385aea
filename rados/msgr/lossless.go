package msgr

import (
	"errors"

	"github.com/spirula/spirula/rados/wire"
)

var errWait = errors.New("the peer dials us at the same time")

// losslessBetween reports whether sessions between entities of these kinds
// survive their connections.
func losslessBetween(a, b wire.EntityType) bool { return false }

func (l *tcpListener) reconnect(k *link, a *accepted, payload []byte) (*tcpConn, error) {
	k.send(tagSessionReset, []byte{1})
	return nil, protocolError("reconnect of a session that ended with its connection")
}

func (l *tcpListener) takeOver(k *link, info *peerInfo, id *wire.Ident) (*tcpConn, error) {
	return nil, errors.ErrUnsupported
}
