package osd

import (
	"context"
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
		if m.Pool(id.Pool) == nil {
			gone[id.Pool] = append(gone[id.Pool], g)
		}
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
