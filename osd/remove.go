package osd

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spirula/spirula/osd/internal/pg"
	"github.com/spirula/spirula/osd/store"
	"github.com/spirula/spirula/rados/clustermap"
	"github.com/spirula/spirula/rados/wire"
)

// removeBatch is how many objects of a deleted pool go in one transaction.
const removeBatch = 64

// removePools deletes what is left of pools that the map no longer has. Pool
// ids are never given out again, so what is half removed at a crash is
// removed after it.
func (d *OSD) removePools(ctx context.Context, m *clustermap.OSDMap) {
	gone := map[int64][]*group{}
	for id, g := range *d.groups.Load() {
		// A PG may know a newer map than m.
		g.mu.Lock()
		if m.Pool(id.Pool) == nil && g.core.Gone() && !g.removing {
			gone[id.Pool] = append(gone[id.Pool], g)
		}
		g.mu.Unlock()
	}
	for pool, groups := range gone {
		idle := true
		for _, g := range groups {
			g.mu.Lock()
			idle = idle && g.core.InFlight() == 0 && g.ops == 0
			g.mu.Unlock()
		}
		if !idle {
			continue
		}
		if err := d.removePool(ctx, pool, groups); err != nil {
			d.log.Error("deleted pool can't be removed", "pool", pool, "err", err)
		}
	}
}

func (d *OSD) removePool(ctx context.Context, pool int64, groups []*group) error {
	first, end := wire.HObject{Pool: pool}, wire.HObject{Pool: pool + 1}
	for ctx.Err() == nil {
		ids, _, err := d.store.List(wire.NoShard, first, end, removeBatch)
		if err != nil {
			return err
		}
		if len(ids) == 0 {
			break
		}
		t := &store.Txn{}
		for _, id := range ids {
			t.Remove(id)
		}
		if err := d.queueAndWait(t); err != nil {
			return err
		}
		first = ids[len(ids)-1].HObject
	}
	if ctx.Err() != nil {
		return nil
	}
	t := &store.Txn{}
	for _, g := range groups {
		t.MetaRmRange(g.id, "", "\xff")
		t.MetaRm(metaPG, pgKey(g.id.PGID))
	}
	if err := d.queueAndWait(t); err != nil {
		return err
	}
	d.changeGroups(func(all map[wire.PGID]*group) {
		for _, g := range groups {
			delete(all, g.id.PGID)
		}
	})
	d.log.Info("pool removed", "pool", pool, "pgs", len(groups))
	return nil
}

// removeCopy removes a PG that is retired: others have it. First it becomes a
// copy of nothing, so that after a crash it is not taken for whole; then its
// objects go, then its rows.
func (g *group) removeCopy() {
	d := g.osd
	g.mu.Lock()
	if g.removing {
		g.mu.Unlock()
		return
	}
	g.removing = true
	t := &store.Txn{}
	g.core.Retiring(t)
	g.mu.Unlock()
	err := g.queueAndWait(t)
	if err == nil {
		err = g.removeObjects()
	}
	if err == nil && !d.closing.Load() {
		t = &store.Txn{}
		t.MetaRmRange(g.id, "", "\xff")
		err = g.queueAndWait(t)
	}
	if err == nil && !d.closing.Load() {
		t = &store.Txn{}
		t.MetaRm(metaPG, pgKey(g.id.PGID))
		err = d.queueAndWait(t)
	}
	switch {
	case errors.Is(err, wire.ENOENT): // removePools does it
		g.mu.Lock()
		g.removing = false
		g.mu.Unlock()
	case err != nil:
		d.log.Error("copy of a pg can't be removed", "pg", g.id, "err", err)
	case !d.closing.Load():
		d.changeGroups(func(all map[wire.PGID]*group) { delete(all, g.id.PGID) })
		select {
		case d.creates <- nil: // by now it may have to lead it
		case <-d.stop:
		}
		d.log.Info("copy of a pg removed: it is clean elsewhere", "pg", g.id)
	}
}

func (g *group) removeObjects() error {
	d := g.osd
	if d.current.Load().Pool(g.id.Pool) == nil {
		return wire.Errorf("remove pg", g.id.String(), wire.ENOENT)
	}
	first, stop := g.objectRange()
	for !d.closing.Load() {
		ids, _, err := d.store.List(g.id.Shard, first, stop, removeBatch)
		if err != nil || len(ids) == 0 {
			return err
		}
		t := &store.Txn{}
		for _, id := range ids {
			t.Remove(id)
		}
		if err := g.queueAndWait(t); err != nil {
			return err
		}
		first = ids[len(ids)-1].HObject
	}
	return nil
}

// changeGroups replaces the table of PGs by a changed copy.
func (d *OSD) changeGroups(change func(map[wire.PGID]*group)) {
	d.mapMu.Lock()
	defer d.mapMu.Unlock()
	groups := map[wire.PGID]*group{}
	for id, g := range *d.groups.Load() {
		groups[id] = g
	}
	change(groups)
	d.groups.Store(&groups)
}

// Dump prints, as text, every row of the PGs that a store holds.
func Dump(s ObjectStore, w io.Writer) error {
	rows := func(id wire.SPGID, fn func(wire.KV) error) error {
		for first := ""; ; {
			kvs, more, err := s.MetaList(id, first, "", 500)
			if err != nil {
				return err
			}
			for _, kv := range kvs {
				if err := fn(kv); err != nil {
					return err
				}
			}
			if !more || len(kvs) == 0 {
				return nil
			}
			first = kvs[len(kvs)-1].Key + "\x00"
		}
	}
	return rows(metaPG, func(kv wire.KV) error {
		id, ok := pgOfKey(kv.Key)
		if !ok {
			_, err := fmt.Fprintf(w, "osd row %q %d bytes\n", kv.Key, len(kv.Value))
			return err
		}
		if _, err := fmt.Fprintf(w, "pg %v\n", id); err != nil {
			return err
		}
		return rows(wire.SPGID{PGID: id, Shard: wire.NoShard}, func(kv wire.KV) error {
			return pg.DumpRow(w, kv.Key, kv.Value)
		})
	})
}
