package osd

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spirula/spirula/osd/store"
	"github.com/spirula/spirula/rados/wire"
)

// slowOp is the age from which on a request counts as slow (Ceph's
// osd_op_complaint_time).
const slowOp = 30 * time.Second

// reportedVersion is what clients are told that the daemon is: it behaves as
// that release.
const reportedVersion = "ceph version 16.2.15-spirula pacific (stable)"

func (d *OSD) cmdVersion(args) (any, error) {
	return map[string]string{"version": reportedVersion, "release": "pacific", "release_type": "stable"}, nil
}

func (d *OSD) cmdStatus(args) (any, error) {
	state := "booting"
	if d.serving.Load() {
		state = "active"
	}
	out := map[string]any{"osd_fsid": d.opts.UUID.String(), "whoami": d.opts.ID, "state": state,
		"num_pgs": len(*d.groups.Load()), "oldest_map": 0, "newest_map": d.epoch()}
	if m := d.current.Load(); m != nil {
		out["cluster_fsid"] = m.FSID.String()
		d.mapMu.Lock()
		oldest := m.Epoch
		for e := range d.incs {
			oldest = min(oldest, e)
		}
		d.mapMu.Unlock()
		out["oldest_map"] = oldest
	}
	return out, nil
}

// opInFlight is one request in dump_ops_in_flight.
type opInFlight struct {
	Description string            `json:"description"`
	Initiated   string            `json:"initiated_at"`
	Age         float64           `json:"age"`
	Duration    float64           `json:"duration"`
	TypeData    map[string]string `json:"type_data"`
}

// maxDump bounds the requests that one dump shows.
const maxDump = 10_000

// opsInFlight lists the requests that PGs have admitted or hold and that are
// at least so old.
func (d *OSD) opsInFlight(age time.Duration) any {
	now := d.opts.Now()
	ops := []opInFlight{}
	show := func(o *op, where string) {
		if a := now.Sub(o.at); a >= age && len(ops) < maxDump {
			ops = append(ops, opInFlight{o.describe(), o.at.UTC().Format("2006-01-02T15:04:05.000000-0700"),
				a.Seconds(), a.Seconds(), map[string]string{"flag_point": where}})
		}
	}
	for _, g := range *d.groups.Load() {
		g.mu.Lock()
		for o := g.first.after; o != &g.first; o = o.after {
			show(o, "started")
		}
		for _, o := range g.held {
			show(o, "delayed")
		}
		g.mu.Unlock()
	}
	return map[string]any{"ops": ops, "num_ops": len(ops)}
}

// describe is the request in a few words.
func (o *op) describe() string {
	if o.m == nil {
		return fmt.Sprintf("own(%v %v)", o.group.id, o.head)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "osd_op(%v %v %v [", o.ReqID, o.m.PG, o.head)
	for i := range o.m.Ops {
		if i == 8 {
			b.WriteString(" ...")
			break
		}
		fmt.Fprintf(&b, " %#x", uint16(o.m.Ops[i].Code))
	}
	fmt.Fprintf(&b, " ] e%d)", o.m.Epoch)
	return b.String()
}

// countSlow counts the requests that are older than slowOp, and says so in
// the log when there are more than before.
func (d *OSD) countSlow() {
	n := int64(0)
	oldest := time.Duration(0)
	now := d.opts.Now()
	for _, g := range *d.groups.Load() {
		g.mu.Lock()
		for o := g.first.after; o != &g.first; o = o.after {
			if age := now.Sub(o.at); age >= slowOp {
				n++
				oldest = max(oldest, age)
			}
		}
		for _, o := range g.held {
			if age := now.Sub(o.at); age >= slowOp {
				n++
				oldest = max(oldest, age)
			}
		}
		g.mu.Unlock()
	}
	if was := d.Metrics.Slow.Swap(n); n > was {
		d.log.Warn("slow requests", "count", n, "oldest", oldest)
	}
}

func (d *OSD) cmdWatchers(args) (any, error) {
	watchers := []map[string]any{}
	for _, g := range *d.groups.Load() {
		g.mu.Lock()
		for _, t := range g.watched {
			for _, w := range t.watches {
				if len(watchers) < maxDump {
					watchers = append(watchers, map[string]any{"namespace": t.key.namespace, "object": t.key.name,
						"entity_name": map[string]any{"type": w.info.Client.Kind(), "num": w.info.Client.Num},
						"cookie":      w.info.Cookie, "timeout": w.info.Timeout, "connected": w.session != nil})
				}
			}
		}
		g.mu.Unlock()
	}
	return map[string]any{"watchers": watchers}, nil
}

func (d *OSD) cmdPerf(args) (any, error) {
	m := &d.Metrics
	r, w := m.Reads.Load(), m.Writes.Load()
	fs := d.store.Statfs()
	return map[string]any{"osd": map[string]int64{
		"op": r + w, "op_r": r, "op_w": w, "op_in_bytes": m.WriteBytes.Load(), "op_out_bytes": m.ReadBytes.Load(),
		"op_r_out_bytes": m.ReadBytes.Load(), "op_w_in_bytes": m.WriteBytes.Load(), "numpg": int64(len(*d.groups.Load())),
		"stat_bytes": fs.Total, "stat_bytes_avail": fs.Free, "stat_bytes_used": fs.Total - fs.Free,
		"watch_timeouts": m.WatchTimeouts.Load(), "osd_backoffs": m.Backoffs.Load(), "op_errors": m.Errors.Load(),
		"op_dropped": m.Dropped.Load(), "op_slow": m.Slow.Load(), "op_denied": m.Denied.Load()}}, nil
}

// cmdQuery shows a PG.
func (d *OSD) cmdQuery(a args) (any, error) {
	if c := a.str("cmd"); c != "" && c != "query" {
		return nil, errNoCommand
	}
	id, err := parsePG(a.str("pgid"))
	if err != nil {
		return nil, err
	}
	g := d.group(id)
	if g == nil {
		return nil, wire.Errorf("i don't have pgid", id.String(), wire.ENOENT)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	up, acting := g.core.Sets()
	s := g.core.Stats()
	sums := map[string]int64{"num_objects": s.Objects + s.Clones, "num_object_clones": s.Clones, "num_bytes": s.Bytes,
		"num_read": int64(g.counts.reads.Load()), "num_write": int64(g.counts.writes.Load())}
	backoffs := []map[string]any{}
	for s, b := range g.backoffs {
		backoffs = append(backoffs, map[string]any{"peer": s.conn.Peer().String(), "id": b.id, "acked": b.acked, "released": b.released})
	}
	return map[string]any{"backoffs": backoffs, "held": len(g.held), "snap_trimq": "[]", "snap_trimq_len": 0, "state": g.core.State(), "epoch": d.epoch(),
		"up": up, "acting": acting, "info": map[string]any{
			"pgid": id.String(), "last_update": g.core.LastUpdate().String(),
			"stats": map[string]any{"state": g.core.State(), "up": up, "acting": acting, "log_size": g.core.LogLen(),
				"mapping_epoch": g.core.Since(), "stat_sum": sums}},
	}, nil
}

// parsePG reads a PG's name: the pool's number, a dot, the seed in hex.
func parsePG(s string) (id wire.PGID, err error) {
	if n, err := fmt.Sscanf(s, "%d.%x", &id.Pool, &id.Seed); n != 2 || err != nil || id.String() != s {
		return wire.PGID{}, wire.Errorf("pgid", s, wire.EINVAL)
	}
	return id, nil
}

// Bounds of "bench", and what it does when it is not told.
const (
	benchTime     = 30 * time.Second
	benchCount    = 1 << 30
	benchBlock    = 4 << 20
	benchMaxBlock = 64 << 20
	benchInFlight = 8
)

// cmdBench writes count bytes into objects of the daemon's own, size bytes at
// a time, and removes them.
func (d *OSD) cmdBench(a args) (any, error) {
	count, err := a.num("count", benchCount)
	if err != nil {
		return nil, err
	}
	size, err := a.num("size", benchBlock)
	if err != nil {
		return nil, err
	}
	if size < 1 || size > benchMaxBlock || count < size {
		return nil, wire.Errorf("bench", fmt.Sprintf("%d bytes in blocks of %d", count, size), wire.EINVAL)
	}
	objects := int(count / size)
	ctx, cancel := context.WithTimeout(d.requester.ctx, benchTime)
	defer cancel()
	start := time.Now()
	written, err := d.bench(ctx, objects, wire.CopyData(make([]byte, size)))
	took := time.Since(start).Seconds()
	if err != nil {
		return nil, err
	}
	bytes := int64(written) * size
	return map[string]any{"bytes_written": bytes, "blocksize": size, "elapsed_sec": took,
		"bytes_per_sec": float64(bytes) / took, "iops": float64(written) / took}, nil
}

// benchObject is the n-th object that bench writes.
func (d *OSD) benchObject(n int) store.ObjectID {
	return store.ObjectID{HObject: wire.HObject{Pool: metaPG.Pool, Hash: uint32(n), Name: fmt.Sprint("bench.", n), Snap: wire.NoSnap},
		Shard: wire.NoShard, Gen: store.NoGen}
}

// bench writes objects until there are enough or ctx ends, and says how many
// it wrote. What it wrote is removed.
func (d *OSD) bench(ctx context.Context, objects int, data wire.Data) (written int, err error) {
	seq := d.store.NewSequencer()
	results := make(chan error, benchInFlight)
	queue := func(t *store.Txn) error {
		d.txns.Add(1)
		e := d.store.Queue(seq, t, func(err error) {
			results <- err
			d.txns.Done()
		})
		if e != nil {
			d.txns.Done()
		}
		return e
	}
	wait := func(n int) {
		for range n {
			if e := <-results; e != nil && err == nil {
				err = e
			}
		}
	}
	under := 0
	for written < objects && ctx.Err() == nil && err == nil {
		t := &store.Txn{}
		t.Write(d.benchObject(written), 0, data)
		if under == benchInFlight {
			wait(1)
			under--
		}
		if e := queue(t); e != nil {
			err = e
			break
		}
		written++
		under++
	}
	wait(under)
	data.Release()
	for i := 0; i < written; i += removeBatch {
		t := &store.Txn{}
		for n := i; n < min(i+removeBatch, written); n++ {
			t.Remove(d.benchObject(n))
		}
		if e := queue(t); e != nil {
			return written, e
		}
		wait(1)
	}
	return written, err
}
