package osd

import (
	"context"
	"errors"
	"math/bits"
	"runtime"
	"sync"
	"time"

	"github.com/spirula/spirula/osd/internal/objop"
	"github.com/spirula/spirula/osd/internal/pg"
	"github.com/spirula/spirula/osd/store"
	"github.com/spirula/spirula/rados/clustermap"
	"github.com/spirula/spirula/rados/wire"
)

// bringTo brings PGs a newer map, divides those of which it has made several,
// and waits until their rows know of it. The new PGs are among the daemon's
// then, and know of the map too.
func (d *OSD) bringTo(m *clustermap.OSDMap, groups []*group) error {
	for len(groups) > 0 {
		var durable []chan struct{}
		for _, g := range groups {
			durable = append(durable, g.advance(m))
		}
		for _, ch := range durable {
			if ch != nil && !d.await(ch) {
				return errFailed
			}
		}
		fresh, err := d.splitAll(groups)
		if err != nil {
			return err
		}
		if groups = fresh; len(fresh) > 0 {
			d.putGroups(fresh)
		}
	}
	return nil
}

// errFailed ends what waited for a store that failed.
var errFailed = wire.Errorf("install map", "the store has failed", wire.ESHUTDOWN)

// failedPoll is how often a wait looks whether the store has failed.
const failedPoll = 100 * time.Millisecond

// await waits for what follows from transactions that are queued. False: the
// daemon ends.
func (d *OSD) await(ch chan struct{}) bool {
	for {
		select {
		case <-ch:
			return true
		case <-time.After(failedPoll):
			if d.failed.Load() {
				return false
			}
		}
	}
}

// splitAll divides the PGs that are to be, several at a time, and gives the
// new ones.
func (d *OSD) splitAll(groups []*group) ([]*group, error) {
	var todo []*group
	for _, g := range groups {
		g.mu.Lock()
		if g.core.Splitting() {
			todo = append(todo, g)
		}
		g.mu.Unlock()
	}
	if len(todo) == 0 {
		return nil, nil
	}
	fresh := make([][]*group, len(todo))
	errs := make([]error, len(todo))
	slots := make(chan struct{}, runtime.GOMAXPROCS(0))
	var wg sync.WaitGroup
	for i, g := range todo {
		slots <- struct{}{}
		wg.Go(func() {
			fresh[i], errs[i] = g.split()
			<-slots
		})
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		if !errors.Is(err, wire.ESHUTDOWN) {
			d.fatal(err)
		}
		return nil, err
	}
	var all []*group
	for _, f := range fresh {
		all = append(all, f...)
	}
	return all, nil
}

// split divides the PG's rows once all its transactions are durable, and
// gives the new PGs.
func (g *group) split() ([]*group, error) {
	d := g.osd
	g.mu.Lock()
	ready := g.splitReady
	g.mu.Unlock()
	if ready != nil && !d.await(ready) {
		return nil, errFailed
	}
	g.mu.Lock()
	s := g.core.Split()
	g.mu.Unlock()
	if s == nil {
		return nil, wire.Errorf("split pg", g.id.String(), wire.EIO)
	}
	err := s.Run(pg.SplitIO{Rows: d.store, Commit: g.queueAndWait,
		Count: func() (map[uint32]pg.Stats, error) { return g.countParts(s.To()) },
		Began: func(child wire.SPGID, t *store.Txn) { t.MetaSet(metaPG, wire.KV{Key: pgKey(child.PGID)}) }})
	if err != nil {
		return nil, err
	}
	var fresh []*group
	for _, id := range s.Children() {
		core, err := pg.Load(d.store, id, d.opts.ID)
		if err != nil {
			return nil, err
		}
		fresh = append(fresh, d.newGroup(id, core))
	}
	g.with(func(f *pg.Effects) { g.core.Finish(s, f) })
	d.log.Info("pg split", "pg", g.id, "pg_num", s.To(), "new", len(fresh))
	return fresh, nil
}

// objectRange is the range of the PG's objects for List, as its rows have it.
func (g *group) objectRange() (first, stop wire.HObject) {
	g.mu.Lock()
	n := g.core.Divided()
	g.mu.Unlock()
	return listRange(&clustermap.Pool{PGNum: n}, g.id.PGID)
}

// countParts counts the PG's objects by the PGs that they will be in. An
// object that can't be read counts as empty.
func (g *group) countParts(pgNum uint32) (map[uint32]pg.Stats, error) {
	first, stop := g.objectRange()
	pool := clustermap.Pool{PGNum: pgNum}
	out := map[uint32]pg.Stats{}
	var last wire.HObject
	for {
		ids, more, err := g.osd.store.List(g.id.Shard, first, stop, 512)
		if err != nil {
			return nil, err
		}
		for _, id := range ids {
			first = id.HObject
			first.Snap++
			head := id.Head()
			if head == last {
				continue
			}
			last = head
			n := pg.Stats{}
			o, err := objop.Load(g.osd.store, head, g.id.Shard)
			if err != nil && !errors.Is(err, wire.EIO) {
				return nil, err
			}
			if o.Live() {
				n.Objects++
			}
			n.Bytes = int64(o.Info.Size)
			for _, c := range o.SnapSet.Clones {
				n.Clones++
				n.Bytes += int64(c.Size)
			}
			seed := pool.Seed(head.Hash)
			out[seed] = out[seed].Add(n)
		}
		if !more || len(ids) == 0 {
			return out, nil
		}
	}
}

// recount counts the objects of PGs whose counts a split left inexact.
func (d *OSD) recount(ctx context.Context) {
	for _, g := range *d.groups.Load() {
		g.mu.Lock()
		v, inexact := g.core.Inexact()
		seed, n := g.id.Seed, g.core.Divided()
		g.mu.Unlock()
		if !inexact || ctx.Err() != nil {
			continue
		}
		newest, err := pg.ReadLog(d.store, g.id, v)
		var counted map[uint32]pg.Stats
		if err == nil {
			counted, err = g.countParts(n)
		}
		if err != nil {
			d.log.Error("objects can't be counted", "pg", g.id, "err", err)
		} else if len(newest) > 0 {
			g.with(func(f *pg.Effects) { g.core.Recount(newest[0], counted[seed], f) })
		}
	}
}

// leaving reports whether objects of a PG that is to be made are still being
// removed here, with a copy of the PG that it was split off. Once they are
// gone the PG is looked at again (createFor).
func leaving(have map[wire.PGID]*group, id wire.PGID) bool {
	for id.Seed != 0 {
		id.Seed &^= 1 << (bits.Len32(id.Seed) - 1)
		if g := have[id]; g != nil {
			g.mu.Lock()
			retired := g.core.Retired()
			g.mu.Unlock()
			if retired {
				return true
			}
		}
	}
	return false
}
