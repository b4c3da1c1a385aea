package osd

import (
	"context"
	"encoding/binary"
	"errors"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/spirula/spirula/osd/internal/pg"
	"github.com/spirula/spirula/osd/store"
	"github.com/spirula/spirula/rados/clustermap"
	"github.com/spirula/spirula/rados/wire"
)

const (
	mapInbox    = 64 // map messages that wait to be taken
	keepIncs    = 64 // increments kept for clients and for the next start
	resubscribe = 100 * time.Millisecond

	fullRow = "full"
	incRow  = "inc/"
	incEnd  = "inc0" // above every incRow
)

func incKey(e wire.Epoch) string {
	return string(binary.BigEndian.AppendUint32([]byte(incRow), uint32(e)))
}

// load reads the newest map and the PGs from the store.
func (d *OSD) load() error {
	raw, err := d.store.MetaGet(metaPG, fullRow)
	switch {
	case errors.Is(err, wire.ENOENT), errors.Is(err, wire.ENODATA):
	case err != nil:
		return err
	case len(raw) > 0:
		m, err := clustermap.DecodeOSDMap(raw)
		if err != nil {
			return err
		}
		d.current.Store(m)
	}
	incs, _, err := d.store.MetaList(metaPG, incRow, incEnd, 2*keepIncs)
	if err != nil {
		return err
	}
	for _, kv := range incs {
		if len(kv.Key) == len(incRow)+4 {
			d.incs[wire.Epoch(binary.BigEndian.Uint32([]byte(kv.Key[len(incRow):])))] = kv.Value
		}
	}
	return d.loadGroups()
}

// loadGroups reads the PGs, several at a time.
func (d *OSD) loadGroups() error {
	var ids []wire.PGID
	for first := pgRow; ; {
		kvs, more, err := d.store.MetaList(metaPG, first, pgRowEnd, 500)
		if err != nil {
			return err
		}
		for _, kv := range kvs {
			id, ok := pgOfKey(kv.Key)
			if !ok {
				return wire.Errorf("load pgs", kv.Key, wire.EIO)
			}
			ids = append(ids, id)
		}
		if !more || len(kvs) == 0 {
			break
		}
		first = kvs[len(kvs)-1].Key + "\x00"
	}
	loaded := make([]*group, len(ids))
	errs := make([]error, len(ids))
	var next atomic.Int64
	var wg sync.WaitGroup
	for range min(runtime.GOMAXPROCS(0), len(ids)) {
		wg.Go(func() {
			for i := int(next.Add(1)) - 1; i < len(ids); i = int(next.Add(1)) - 1 {
				spg := wire.SPGID{PGID: ids[i], Shard: wire.NoShard}
				var core *pg.Core
				if core, errs[i] = pg.Load(d.store, spg, d.opts.ID); errs[i] == nil {
					loaded[i] = d.newGroup(spg, core)
				}
			}
		})
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		return err
	}
	groups := map[wire.PGID]*group{}
	for _, g := range loaded {
		groups[g.id.PGID] = g
		if m := d.current.Load(); m != nil {
			g.advance(m)
		}
	}
	d.groups.Store(&groups)
	return nil
}

// takeMaps is the goroutine that applies maps, one message at a time.
func (d *OSD) takeMaps(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case m := <-d.maps:
			d.takeMap(m)
			lost := d.mapsLost.Swap(false)
			if lost || m.Newest > d.epoch() && ctx.Err() == nil {
				d.log.Info("maps missing, asking again", "have", d.epoch(), "newest", m.Newest)
				select {
				case <-ctx.Done():
				case <-time.After(resubscribe):
				}
				d.subscribe(ctx)
			}
		}
	}
}

// takeMap applies what a message brings beyond the current map: increments
// that follow it, else the newest whole map.
func (d *OSD) takeMap(msg *wire.MOSDMap) {
	cur := d.current.Load()
	var err error
	for err == nil {
		at := wire.Epoch(0)
		if cur != nil {
			at = cur.Epoch
		}
		next, inc := cur, []byte(nil)
		if b, ok := msg.Incrementals[at+1]; ok && cur != nil {
			var i *clustermap.Incremental
			if i, err = clustermap.DecodeIncremental(b); err == nil {
				next, err = cur.Apply(i)
			}
			inc = b
		} else if e, ok := newestFull(msg, at); ok {
			next, err = clustermap.DecodeOSDMap(msg.Fulls[e])
		} else {
			return
		}
		if err == nil {
			err = d.install(cur, next, inc)
			cur = next
		}
	}
	d.log.Error("map not taken", "oldest", msg.Oldest, "newest", msg.Newest, "err", err)
}

func newestFull(msg *wire.MOSDMap, after wire.Epoch) (wire.Epoch, bool) {
	best := after
	for e := range msg.Fulls {
		best = max(best, e)
	}
	return best, best > after
}

// install makes next the current map: on disk first, then in every PG, then
// for requests.
func (d *OSD) install(prev, next *clustermap.OSDMap, inc []byte) error {
	t := &store.Txn{}
	t.MetaSet(metaPG, wire.KV{Key: fullRow, Value: next.Encode()})
	if inc != nil {
		t.MetaSet(metaPG, wire.KV{Key: incKey(next.Epoch), Value: inc})
	}
	if next.Epoch > keepIncs {
		t.MetaRmRange(metaPG, incRow, incKey(next.Epoch-keepIncs))
	}
	fresh := d.createGroups(prev, next, t)
	if err := d.queueAndWait(t); err != nil {
		return err
	}
	if len(fresh) > 0 {
		d.changeGroups(func(all map[wire.PGID]*group) {
			for _, g := range fresh {
				all[g.id.PGID] = g
			}
		})
	}
	for _, g := range *d.groups.Load() {
		g.advance(next)
	}
	d.mapMu.Lock()
	if inc != nil {
		d.incs[next.Epoch] = inc
	}
	delete(d.incs, next.Epoch-keepIncs)
	d.current.Store(next)
	d.checkServing(next)
	d.mapMu.Unlock()
	d.retryPeers()
	d.wakeSessions()
	d.requester.kick()
	d.log.Debug("map", "epoch", next.Epoch)
	if d.listener != nil {
		d.boot()
	}
	d.kickTrim()
	return nil
}

// queueAndWait makes a change of the daemon's own rows durable.
func (d *OSD) queueAndWait(t *store.Txn) error {
	done := make(chan error, 1)
	if err := d.store.Queue(d.seq, t, func(err error) { done <- err }); err != nil {
		return err
	}
	err := <-done
	if err != nil {
		d.fatal(wire.Wrap("commit map", d.name.String(), err))
	}
	return err
}

// createGroups makes the PGs that the map gives this OSD and that it does not
// hold.
func (d *OSD) createGroups(prev, next *clustermap.OSDMap, t *store.Txn) []*group {
	var fresh []*group
	have := *d.groups.Load()
	for pool, p := range next.Pools {
		if !p.IsReplicated() {
			continue
		}
		for seed := range p.PGNum {
			id := wire.PGID{Pool: pool, Seed: seed}
			if have[id] != nil {
				continue
			}
			m := next.Map(id)
			if !slices.Contains(m.Acting, d.opts.ID) {
				continue
			}
			if !d.neverServed(prev, next, pool) {
				d.log.Warn("pg is not served: its objects may be on other osds", "pg", id, "epoch", next.Epoch)
				continue
			}
			spg := wire.SPGID{PGID: id, Shard: wire.NoShard}
			core := pg.New(spg, d.opts.ID, next.Epoch)
			t.MetaSet(metaPG, wire.KV{Key: pgKey(id)})
			t.MetaSet(spg, wire.KV{Key: pg.RowInfo, Value: core.InfoRow()})
			fresh = append(fresh, d.newGroup(spg, core))
		}
	}
	return fresh
}

// neverServed reports whether a PG of the pool that this OSD does not hold is
// known to be empty: nobody can have written to it. That is so if the pool is
// new in this map, or if no OSD but this one ever was up.
func (d *OSD) neverServed(prev, next *clustermap.OSDMap, pool int64) bool {
	if prev != nil && prev.Pool(pool) == nil {
		return true
	}
	for id := range next.OSDs {
		if int32(id) != d.opts.ID && next.OSDs[id].Info.UpFrom != 0 {
			return false
		}
	}
	return true
}

// advance brings the PG a newer map.
func (g *group) advance(m *clustermap.OSDMap) {
	to := pg.Interval{Primary: -1}
	if p := m.Pool(g.id.Pool); p != nil {
		w := m.Map(g.id.PGID)
		to = pg.Interval{Up: w.Up, Acting: w.Acting, Primary: w.ActingPrimary, MinSize: int(p.MinSize),
			Size: int(p.Size), PGNum: p.PGNum, Exists: true}
	}
	var f pg.Effects
	g.mu.Lock()
	was := g.core.Since()
	g.core.MapAdvance(m.Epoch, to, &f)
	g.settle(&f)
	if g.core.Since() != was {
		g.newInterval()
		g.pump()
	}
	g.mu.Unlock()
	g.perform(&f)
}
