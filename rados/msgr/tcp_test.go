package msgr_test

import (
	"log/slog"
	"testing"

	"github.com/spirula/spirula/rados/msgr"
	"github.com/spirula/spirula/rados/msgr/msgrtest"
	"github.com/spirula/spirula/rados/wire"
)

// newTCP makes a network that is closed with the test, and checks that it
// has given back all memory then.
func newTCP(t *testing.T, o msgr.TCPOptions) *msgr.TCP {
	o.Arena = wire.NewArena(true)
	o.Log = slog.New(slog.NewTextHandler(t.Output(), nil))
	n := msgr.NewTCP(o)
	t.Cleanup(func() {
		n.Close()
		if used := o.Arena.InUse(); used != 0 {
			t.Errorf("%d bytes of received data are not released", used)
		}
	})
	return n
}

func TestTCP(t *testing.T) {
	msgrtest.Run(t, func(t *testing.T) msgr.Network { return newTCP(t, msgr.TCPOptions{}) })
}

func TestTCPSecure(t *testing.T) {
	msgrtest.Run(t, func(t *testing.T) msgr.Network { return msgr.Sealed{Network: newTCP(t, msgr.TCPOptions{})} })
}

func TestJoin(t *testing.T) {
	msgrtest.Run(t, func(t *testing.T) msgr.Network {
		return msgr.Join(msgr.NewLocal(), newTCP(t, msgr.TCPOptions{}))
	})
}

// outside listens on a joined network, and connects past it, through TCP.
type outside struct{ msgr.Network }

func (o outside) Listen(me wire.EntityName, addr wire.Addr, d msgr.Dispatcher, auth msgr.ServerAuth) (msgr.Listener, error) {
	return msgr.Join(msgr.NewLocal(), o.Network).Listen(me, addr, d, auth)
}

func TestJoinFromOutside(t *testing.T) {
	msgrtest.Run(t, func(t *testing.T) msgr.Network { return outside{newTCP(t, msgr.TCPOptions{})} })
}
