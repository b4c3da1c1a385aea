package rados

import (
	"slices"
	"time"

	"github.com/spirula/spirula/rados/clustermap"
	"github.com/spirula/spirula/rados/wire"
)

// takeMaps applies what a message brings, epoch by epoch.
func (c *Client) takeMaps(m *wire.MOSDMap) {
	for {
		cur := c.osdmap.Load()
		var next *clustermap.OSDMap
		var err error
		switch {
		case cur == nil || len(m.Incrementals) == 0 || newestOf(m) > cur.Epoch && m.Incrementals[cur.Epoch+1] == nil:
			next, err = newestFull(m, cur)
		case m.Incrementals[cur.Epoch+1] != nil:
			var inc *clustermap.Incremental
			if inc, err = clustermap.DecodeIncremental(m.Incrementals[cur.Epoch+1]); err == nil {
				next, err = cur.Apply(inc)
			}
		}
		if err != nil {
			c.log.Error("osd map can't be used", "err", err)
			c.mon.Subscribe(wire.SubOSDMap, 0)
			return
		}
		if next == nil {
			if cur != nil && newestOf(m) > cur.Epoch {
				c.mon.Subscribe(wire.SubOSDMap, uint64(cur.Epoch)+1)
			}
			return
		}
		c.takeMap(cur, next)
	}
}

// newestFull gives the newest whole map of a message if it is news.
func newestFull(m *wire.MOSDMap, cur *clustermap.OSDMap) (*clustermap.OSDMap, error) {
	var best wire.Epoch
	for e := range m.Fulls {
		best = max(best, e)
	}
	if best == 0 || cur != nil && best <= cur.Epoch {
		return nil, nil
	}
	return clustermap.DecodeOSDMap(m.Fulls[best])
}

// takeMap makes a map the current one and sends again what it concerns.
func (c *Client) takeMap(old, next *clustermap.OSDMap) {
	c.Metrics.Maps.Add(1)
	c.mu.Lock()
	c.osdmap.Store(next)
	blocked := next.IsBlocklisted(c.addr, wire.TimeOf(time.Now()))
	c.blocked.Store(blocked)
	c.dropStaleConns(old, next)
	c.resend(c.flights(func(f *flight) bool { return blocked || c.affected(f, old, next) }))
	c.mu.Unlock()
	c.kick(func(l *linger) bool { return blocked || l.pool < 0 || newInterval(l.pool, l.hash, old, next) })
	c.mapMu.Lock()
	close(c.newMap)
	c.newMap = make(chan struct{})
	c.mapMu.Unlock()
}

// affected reports whether an operation must be sent (again) because of a
// new map: it waited or has to wait now, or its placement group is in a new
// interval.
func (c *Client) affected(f *flight, old, next *clustermap.OSDMap) bool {
	return f.osd < 0 || newInterval(f.pool, f.hash, old, next) || f.paused(next) ||
		old.Addr(f.osd) != next.Addr(f.osd)
}

// newInterval reports whether requests for a hash that were sent by the old
// map may have been dropped by the next one's OSDs.
func newInterval(pool int64, hash uint32, old, next *clustermap.OSDMap) bool {
	if old == nil || next.Epoch != old.Epoch+1 {
		return true
	}
	p, q := old.Pool(pool), next.Pool(pool)
	if p == nil || q == nil || p.PGNum != q.PGNum || p.Size != q.Size || p.MinSize != q.MinSize || q.LastForceResend == next.Epoch {
		return true
	}
	pg := wire.PGID{Pool: pool, Seed: q.Seed(hash)}
	a, b := old.Map(pg), next.Map(pg)
	return a.ActingPrimary != b.ActingPrimary || a.UpPrimary != b.UpPrimary || !slices.Equal(a.Acting, b.Acting) ||
		!slices.Equal(a.Up, b.Up) || a.ActingPrimary >= 0 && old.Addr(a.ActingPrimary) != next.Addr(a.ActingPrimary)
}

// flights gives the operations in flight that pass the filter, oldest first.
func (c *Client) flights(keep func(*flight) bool) []*flight {
	var list []*flight
	for i := range c.table {
		s := &c.table[i]
		s.mu.Lock()
		for _, f := range s.m {
			if keep == nil || keep(f) {
				list = append(list, f)
			}
		}
		s.mu.Unlock()
	}
	slices.SortFunc(list, func(a, b *flight) int {
		if a.tid < b.tid {
			return -1
		}
		return 1
	})
	return list
}

// checkStuck asks for a newer map when an operation has waited for long.
func (c *Client) checkStuck() {
	limit := time.Now().Add(-stuckAfter)
	m := c.osdmap.Load()
	if m != nil && len(c.flights(func(f *flight) bool { return f.since.Before(limit) })) > 0 {
		c.mon.Subscribe(wire.SubOSDMap, uint64(m.Epoch)+1)
	}
}
