package osd

import (
	"context"
	"encoding/binary"
	"errors"
	"maps"
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
				core, err := pg.Load(d.store, spg, d.opts.ID)
				switch e := wire.ErrnoOf(err); {
				case err == nil:
					loaded[i] = d.newGroup(spg, core)
					errs[i] = loaded[i].dropStaged()
				case e != wire.ENOENT && e != wire.ENODATA: // those are of a PG that was being removed
					errs[i] = err
				}
			}
		})
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		return err
	}
	groups := map[wire.PGID]*group{}
	m := d.current.Load()
	if m == nil {
		return nil // no map was ever installed, so no PG was used
	}
	d.coming.Store(m)
	for _, g := range loaded {
		if g != nil {
			groups[g.id.PGID] = g
		}
	}
	d.groups.Store(&groups)
	return d.bringTo(m, slices.Collect(maps.Values(groups)))
}

// takeMaps is the goroutine that applies maps, one message at a time.
func (d *OSD) takeMaps(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case m := <-d.creates:
			d.createFor(m)
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

// install makes next the current map: in every PG, whose rows then know of
// it, on disk, then for requests. After a crash between the two, PGs are ahead
// of the map, and wait for it.
func (d *OSD) install(prev, next *clustermap.OSDMap, inc []byte) error {
	d.coming.Store(next)
	if err := d.bringTo(next, slices.Collect(maps.Values(*d.groups.Load()))); err != nil {
		return err
	}
	fresh, err := d.createGroups(prev, next)
	if err == nil {
		err = d.bringTo(next, fresh)
	}
	if err != nil {
		return err
	}
	t := &store.Txn{}
	t.MetaSet(metaPG, wire.KV{Key: fullRow, Value: next.Encode()})
	if inc != nil {
		t.MetaSet(metaPG, wire.KV{Key: incKey(next.Epoch), Value: inc})
	}
	if next.Epoch > keepIncs {
		t.MetaRmRange(metaPG, incRow, incKey(next.Epoch-keepIncs))
	}
	if err := d.queueAndWait(t); err != nil {
		return err
	}
	d.mapMu.Lock()
	if inc != nil {
		d.incs[next.Epoch] = inc
	}
	delete(d.incs, next.Epoch-keepIncs)
	d.retrying.Store(true)
	d.checkServing(next) // first: a request by next must not be dropped
	d.current.Store(next)
	d.mapMu.Unlock()
	d.peers.prune(next)
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
// hold: those of pools that are new in this map, which are empty, and those
// that it leads, of which it has to ask the others. What it does not lead is
// made when the primary says so (createFor).
func (d *OSD) createGroups(prev, next *clustermap.OSDMap) ([]*group, error) {
	t := &store.Txn{}
	var fresh []*group
	have := *d.groups.Load()
	for pool, p := range next.Pools {
		if !p.IsReplicated() {
			continue
		}
		created := wire.Epoch(0)
		if prev != nil && prev.Pool(pool) == nil {
			created = next.Epoch
		}
		for seed := range p.PGNum {
			id := wire.PGID{Pool: pool, Seed: seed}
			if have[id] != nil {
				continue
			}
			m := next.Map(id)
			if m.ActingPrimary != d.opts.ID && (created == 0 || !slices.Contains(m.Acting, d.opts.ID)) || leaving(have, id) {
				continue
			}
			fresh = append(fresh, d.makeGroup(id, created, t))
		}
	}
	return fresh, d.addGroups(fresh, t)
}

// makeGroup makes a PG, and adds its rows to t.
func (d *OSD) makeGroup(id wire.PGID, created wire.Epoch, t *store.Txn) *group {
	spg := wire.SPGID{PGID: id, Shard: wire.NoShard}
	core := pg.New(spg, d.opts.ID, created)
	t.MetaSet(metaPG, wire.KV{Key: pgKey(id)})
	core.Rows(t)
	return d.newGroup(spg, core)
}

func (d *OSD) addGroups(fresh []*group, t *store.Txn) error {
	if len(fresh) == 0 {
		return nil
	}
	if err := d.queueAndWait(t); err != nil {
		return err
	}
	d.putGroups(fresh)
	return nil
}

// maxCreates bounds the PGs that primaries want us to make and that are not
// made yet; primaries ask again.
const maxCreates = 256

// createFor makes a PG that a primary wants us to have a copy of; nil: what we
// are to lead. It runs
// where maps are installed, so that the PG sees every map from now on.
func (d *OSD) createFor(m pg.Message) {
	cur := d.current.Load()
	if m == nil { // a PG was removed here, and may be needed again
		fresh, err := d.createGroups(cur, cur)
		if err != nil {
			return
		}
		for _, g := range fresh {
			g.advance(cur)
		}
		d.hangUpStrays()
		return
	}
	id := m.About().PG.PGID
	if cur == nil || cur.Pool(id.Pool) == nil || id.Seed >= cur.Pool(id.Pool).PGNum {
		return
	}
	if w := cur.Map(id); d.group(id) == nil && !leaving(*d.groups.Load(), id) && (slices.Contains(w.Acting, d.opts.ID) || slices.Contains(w.Up, d.opts.ID)) {
		t := &store.Txn{}
		g := d.makeGroup(id, 0, t)
		if err := d.addGroups([]*group{g}, t); err != nil {
			return
		}
		g.advance(cur)
	}
	if g := d.group(id); g != nil {
		g.deliver(m)
	}
}

// mapView is what a PG asks the map.
type mapView struct{ *clustermap.OSDMap }

func (v mapView) UpFrom(osd int32) wire.Epoch { return v.Info(osd).UpFrom }
func (v mapView) UpThru(osd int32) wire.Epoch { return v.Info(osd).UpThru }
func (v mapView) LostAt(osd int32) wire.Epoch { return v.Info(osd).LostAt }

// advance brings the PG a newer map. The channel, if not nil, is closed when
// the PG's rows know of it.
func (g *group) advance(m *clustermap.OSDMap) chan struct{} {
	to := pg.Interval{Primary: -1}
	if p := m.Pool(g.id.Pool); p != nil {
		w := m.Map(g.id.PGID)
		to = pg.Interval{Up: w.Up, Acting: w.Acting, Primary: w.ActingPrimary, MinSize: int(p.MinSize),
			Size: int(p.Size), PGNum: p.PGNum, Exists: true}
		_, to.Temp = m.PGTemp[g.id.PGID]
	}
	var f pg.Effects
	g.mu.Lock()
	was := g.core.Since()
	g.core.MapAdvance(m.Epoch, to, mapView{m}, &f)
	var durable chan struct{}
	if f.HasTxn() {
		durable = make(chan struct{})
		g.notify = durable
	}
	if f.NewInterval {
		g.newInterval()
	}
	if g.core.Splitting() && g.splitReady == nil {
		g.splitReady = make(chan struct{})
	}
	g.settle(&f)
	if g.core.Since() != was {
		g.pump()
	}
	g.mu.Unlock()
	g.perform(&f)
	return durable
}

// askUpThru asks the mon to note that we may serve as of an epoch.
func (d *OSD) askUpThru(epoch wire.Epoch) {
	if old := d.askedThru.Load(); old >= uint32(epoch) || !d.askedThru.CompareAndSwap(old, uint32(epoch)) {
		return
	}
	if err := d.opts.Mon.Send(&wire.MOSDAlive{OSD: d.opts.ID, Want: epoch}); err != nil {
		d.askedThru.Store(0)
		d.log.Debug("up_thru not asked for", "err", err)
	}
}

// askTemp asks the mon that other OSDs serve a PG for a while; nobody ends it.
func (d *OSD) askTemp(g *group, temp []int32) {
	err := d.opts.Mon.Send(&wire.MOSDPGTemp{OSD: d.opts.ID, Epoch: d.epoch(), Temp: map[wire.PGID][]int32{g.id.PGID: temp}})
	if err != nil {
		d.log.Debug("pg_temp not asked for", "pg", g.id, "err", err)
	}
}
