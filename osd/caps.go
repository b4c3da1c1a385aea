package osd

import (
	"log/slog"

	"github.com/spirula/spirula/osd/internal/objop"
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
	want := objop.DemandOf(o.m.Ops)
	q.Read, q.Write = want.Read, want.Write
	for _, call := range want.Calls {
		q.Calls = append(q.Calls, cephx.ClassCall{Class: call.Class, Method: call.Method, Read: call.Reads, Write: call.Writes})
	}
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
