package osd

import (
	"context"
	"slices"
	"time"

	"github.com/spirula/spirula/osd/internal/pg"
	"github.com/spirula/spirula/rados/clustermap"
	"github.com/spirula/spirula/rados/wire"
)

const (
	trimBatch = 16               // objects trimmed at a time
	trimRetry = 10 * time.Second // after a failure, and to say again what is purged
)

// kickTrim has the trimmer look at the PGs.
func (d *OSD) kickTrim() {
	select {
	case d.trimKick <- struct{}{}:
	default:
	}
}

// trimLoop takes removed snapshots out of the objects of the PGs that this
// OSD leads.
func (d *OSD) trimLoop(ctx context.Context) {
	again := time.NewTicker(trimRetry)
	defer again.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-d.trimKick:
		case <-again.C:
		}
		m := d.current.Load()
		if m == nil {
			continue
		}
		d.removePools(ctx, m)
		d.recount(ctx)
		if m.Flags&clustermap.FlagNoSnapTrim == 0 {
			for pool, gone := range m.RemovedSnapsQueue {
				for seed := uint32(0); m.Pool(pool) != nil && seed < m.Pool(pool).PGNum && ctx.Err() == nil; seed++ {
					if g := d.group(wire.PGID{Pool: pool, Seed: seed}); g != nil {
						g.trimSnaps(ctx, gone)
					}
				}
			}
		}
	}
}

// maxReport bounds the snapshots of one MOSDPurged.
const maxReport = 512

// trimSnaps trims a PG of the removed snapshots and reports those that no
// clone shows any more.
func (g *group) trimSnaps(ctx context.Context, gone clustermap.SnapSet) {
	// An object that is not here yet is not in the index of snapshots.
	g.mu.Lock()
	lead := g.core.Active() && g.core.Recovered()
	since := g.core.Since()
	g.mu.Unlock()
	if g.trimmedSince != since {
		clear(g.trimmed)
		g.trimmedSince = since
	}
	if !lead {
		return
	}
	g.barrier(ctx)
	var purged []wire.SnapID
	for _, r := range gone {
		for i := range min(r.Len, maxReport) {
			s := r.Start + wire.SnapID(i)
			if !g.trimmed[s] {
				if ctx.Err() != nil || !g.trimSnap(ctx, s) {
					return
				}
				if len(g.trimmed) > 4*maxReport {
					clear(g.trimmed)
				}
				g.trimmed[s] = true
			}
			if len(purged) < maxReport {
				purged = append(purged, s)
			}
		}
	}
	if len(purged) == 0 {
		return
	}
	if err := g.osd.opts.Mon.Send(&wire.MOSDPurged{OSD: g.osd.opts.ID, PG: g.id.PGID, Snaps: purged}); err != nil {
		g.osd.log.Debug("purged snapshots not sent", "pg", g.id, "err", err)
	}
}

// barrier waits until no write is being submitted that was checked against an
// older map than the one that is current now; see refresh.
func (g *group) barrier(ctx context.Context) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for turn := g.turns; g.submitting && g.turns == turn && ctx.Err() == nil; {
		g.mu.Unlock()
		time.Sleep(time.Millisecond)
		g.mu.Lock()
	}
}

// trimSnap takes one snapshot out of every object of the PG. False: not all
// of it could be done.
func (g *group) trimSnap(ctx context.Context, s wire.SnapID) bool {
	prefix := pg.SnapRowPrefix(s)
	end := pg.SnapRowPrefix(s + 1)
	var last []string
	for {
		rows, more, err := g.osd.store.MetaList(g.id, prefix, end, trimBatch)
		if err != nil {
			g.osd.log.Error("snap index can't be read", "pg", g.id, "snap", s, "err", err)
			return false
		}
		if len(rows) == 0 {
			return true
		}
		keys := make([]string, len(rows))
		for i := range rows {
			keys[i] = rows[i].Key
		}
		if slices.Equal(keys, last) {
			g.osd.log.Error("snap index rows stay after trimming", "pg", g.id, "snap", s, "rows", len(rows))
			return false
		}
		if last = keys; !g.trimRows(ctx, s, rows) {
			return false
		}
		if !more && len(rows) < trimBatch {
			return true
		}
	}
}

func (g *group) trimRows(ctx context.Context, s wire.SnapID, rows []wire.KV) bool {
	done := make(chan wire.Errno, len(rows))
	started := 0
	ok := true
	for _, kv := range rows {
		head, err := pg.DecodeSnapRow(kv.Value)
		if err != nil {
			g.osd.log.Error("snap index row can't be read", "pg", g.id, "snap", s, "err", err)
			ok = false
			continue
		}
		o := &op{osd: g.osd, group: g, write: true, head: head, trim: s, own: func(e wire.Errno) { done <- e }}
		o.Owner = o
		g.mu.Lock()
		if !g.core.Active() {
			g.mu.Unlock()
			ok = false
			break
		}
		run := g.admitOwn(o)
		g.mu.Unlock()
		started++
		if run {
			o.execute()
		}
	}
	for range started {
		select {
		case <-ctx.Done():
			return false
		case e := <-done:
			if e != 0 {
				ok = false
			} else {
				g.osd.Metrics.Trimmed.Add(1)
			}
		}
	}
	return ok
}
