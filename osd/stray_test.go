package osd

import (
	"testing"
	"time"

	"github.com/spirula/spirula/osd/store"
	"github.com/spirula/spirula/osd/store/storetest"
	"github.com/spirula/spirula/rados/clustermap"
	"github.com/spirula/spirula/rados/msgr"
	"github.com/spirula/spirula/rados/wire"
)

// slowRemoval keeps copies of PGs from being removed until the gate is open.
type slowRemoval struct {
	ObjectStore
	gate chan struct{}
}

func (s *slowRemoval) List(shard int8, first, stop wire.HObject, limit int) ([]store.ObjectID, bool, error) {
	if limit == removeBatch {
		<-s.gate
	}
	return s.ObjectStore.List(shard, first, stop, limit)
}

// patient sends a request, and again only when Ceph's clients do: if another
// OSD leads the PG, the connection is reset, or a backoff ends.
func (l *client) patient(m *wire.MOSDOp) *wire.MOSDOpReply {
	l.c.t.Helper()
	l.takeBackoffs()
	sent := int32(-1)
	var conn msgr.Conn
	var answer <-chan *wire.MOSDOpReply
	for range 2000 {
		cur := l.c.mon.cur()
		primary := cur.Map(m.PG.PGID).ActingPrimary
		l.mu.Lock()
		again := primary != sent || l.conns[cur.Addr(primary)] != conn
		l.mu.Unlock()
		for _, b := range l.takeBackoffs() {
			if b.Op == wire.BackoffBlock {
				b.Op = wire.BackoffAckBlock
				conn.Send(b)
			} else {
				again = true
			}
		}
		if again {
			n := *m
			answer = l.start(&n)
			m.Attempt++
			m.Flags |= wire.FlagRetry
			l.mu.Lock()
			sent, conn = primary, l.conns[cur.Addr(primary)]
			l.mu.Unlock()
		}
		select {
		case r := <-answer:
			return r
		case <-time.After(5 * time.Millisecond):
		}
	}
	l.c.t.Fatalf("no answer for %s", m.Object)
	return nil
}

// TestLeadAfterRemoval: an OSD is to lead a PG of which it is removing an
// older copy. What clients send meanwhile is answered afterwards.
func TestLeadAfterRemoval(t *testing.T) {
	for _, net := range []msgr.Network{msgr.NewLocal(), &remoteNet{Local: msgr.NewLocal()}} {
		gate := make(chan struct{})
		c := &cluster{t: t, mon: newFakeMon(t, 2), net: net, osds: make([]*OSD, 2)}
		for i := range c.osds {
			m := storetest.NewModel(storetest.ModelOptions{})
			t.Cleanup(func() { m.Close() })
			c.mods = append(c.mods, &slowRemoval{m, gate})
			c.start(i)
		}
		c.waitFor("osds up", func() bool { return c.mon.cur().NumUp() == 2 })
		c.pool = c.mon.addPool("p", 1, 1)
		c.waitActive()
		c.cl = c.client(4100)
		want(t, c.cl.op("o", write(0, "x")), 0)
		id := c.cl.message("o").PG.PGID
		p := c.mon.cur().Map(id).ActingPrimary
		weigh := func(w uint32) {
			c.mon.change(func(_ *clustermap.OSDMap, inc *clustermap.Incremental) { inc.NewWeight[p] = w })
		}
		weigh(0)
		c.waitFor("copy retired", func() bool {
			g := c.osds[p].group(id)
			g.mu.Lock()
			defer g.mu.Unlock()
			return g.core.Retired()
		})
		weigh(0x10000)
		c.waitFor("map", func() bool { return c.osds[p].epoch() == c.mon.cur().Epoch })
		if c.mon.cur().Map(id).ActingPrimary != p {
			t.Fatal("another OSD leads")
		}
		dropped := c.osds[p].Metrics.Dropped.Load()
		go func() {
			for c.osds[p].Metrics.Dropped.Load() == dropped {
				time.Sleep(time.Millisecond)
			}
			close(gate)
		}()
		want(t, c.cl.patient(c.cl.message("o", write(1, "y"))), 0)
		c.waitClean()
		wantData(t, c.cl.op("o", read()), "xy")
	}
}
