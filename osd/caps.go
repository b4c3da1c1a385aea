package osd

import (
	"log/slog"

	"github.com/spirula/spirula/rados/cephx"
	"github.com/spirula/spirula/rados/clustermap"
	"github.com/spirula/spirula/rados/msgr"
	"github.com/spirula/spirula/rados/wire"
)

// caps is what a session may do. It is read once, when the session begins:
// a change of a key's caps counts from the next connection on.
type caps struct {
	all    bool
	grants cephx.OSDCaps
}

// capsOf gives the caps of a peer. Text that can't be read allows nothing.
func capsOf(id *msgr.Identity, log *slog.Logger) caps {
	if id.Trusted {
		return caps{all: true}
	}
	grants, err := cephx.ParseOSDCaps(id.Caps)
	if err != nil {
		log.Warn("caps of a peer allow nothing", "name", id.Name, "err", err)
	}
	return caps{all: err == nil && grants.AllowsAll(), grants: grants}
}

// permit refuses what the sender's caps do not allow. The source of a copy
// must be readable to the sender.
func (d *OSD) permit(o *op, cur *clustermap.OSDMap, pool *clustermap.Pool) wire.Errno {
	c := &o.session.caps
	if c.all {
		return 0
	}
	q := cephx.OSDRequest{Addr: o.session.conn.PeerAddr().IP.Addr(), Pool: cur.PoolNames[o.m.PG.Pool],
		Apps: pool.Applications, Namespace: o.m.Locator.Namespace, Object: capsName(&o.m.Locator, o.m.Object)}
	demand(o.m.Ops, &q)
	ok := c.grants.Allows(&q)
	for i := range o.m.Ops {
		src := o.m.Ops[i].Source
		if src == nil || !ok {
			continue
		}
		p := cur.Pool(src.Locator.Pool)
		ok = p != nil && c.grants.Allows(&cephx.OSDRequest{Addr: q.Addr, Pool: cur.PoolNames[src.Locator.Pool],
			Apps: p.Applications, Namespace: src.Locator.Namespace, Object: capsName(&src.Locator, src.Object), Read: true})
	}
	if !ok {
		d.Metrics.Denied.Add(1)
		return wire.EPERM
	}
	return 0
}

// capsName is what an object's name is to caps.
func capsName(l *wire.ObjectLocator, name string) string {
	if l.Key != "" {
		return l.Key
	}
	return name
}

// demand adds to q what a vector does.
func demand(ops []wire.Op, q *cephx.OSDRequest) {
	for i := range ops {
		op := &ops[i]
		switch {
		case op.Code == wire.OpCall:
			q.Calls = append(q.Calls, cephx.ClassCall{Class: op.Name, Method: op.Name2, Read: true, Write: true})
		case op.Code == wire.OpWatch:
			q.Read = true
			q.Write = q.Write || op.Watch != wire.WatchPing
		case op.Code.Writes():
			q.Write = true
		default:
			q.Read = true
		}
	}
}
