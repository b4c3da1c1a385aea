package osd

import (
	"log/slog"

	"github.com/spirula/spirula/rados/clustermap"
	"github.com/spirula/spirula/rados/msgr"
	"github.com/spirula/spirula/rados/wire"
)

// caps is what a session may do.
type caps interface {
	// allows decides on one request for objects of a pool.
	allows(n *need) bool
	// allowsAll reports whether everything is allowed, commands to the
	// daemon included.
	allowsAll() bool
}

// need is what a request asks of its sender's caps.
type need struct {
	pool        *clustermap.Pool
	poolName    string
	namespace   string
	object      string
	read, write bool
	calls       []wire.Op // its CALLs
}

// needOf gathers what the operations of a vector need.
func needOf(ops []wire.Op) need {
	n := need{}
	for i := range ops {
		op := &ops[i]
		switch {
		case op.Code == wire.OpCall:
			n.calls = append(n.calls, *op)
		case op.Code == wire.OpWatch:
			n.read = true
			n.write = n.write || op.Watch != wire.WatchPing
		case op.Code.Writes():
			n.write = true
		default:
			n.read = true
		}
	}
	return n
}

type everything struct{}

func (everything) allows(*need) bool { return true }
func (everything) allowsAll() bool   { return true }

type nothing struct{}

func (nothing) allows(*need) bool { return false }
func (nothing) allowsAll() bool   { return false }

// capsOf gives the caps of a peer. Text that can't be read allows nothing.
func capsOf(id *msgr.Identity, log *slog.Logger) caps {
	if id.Trusted {
		return everything{}
	}
	return nothing{}
}
