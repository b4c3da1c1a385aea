package rados

import (
	"context"
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spirula/spirula/rados/wire"
)

// PoolOptions are the choices of a new pool; zero values mean the mon's
// default.
type PoolOptions struct {
	PGNum   int
	Size    int
	MinSize int
}

// CreatePool makes a pool, if there is none of that name, and waits for the
// map that has it.
func (c *Client) CreatePool(ctx context.Context, name string, opts PoolOptions) error {
	cmd := map[string]any{"prefix": "osd pool create", "pool": name}
	for k, v := range map[string]int{"pg_num": opts.PGNum, "size": opts.Size, "min_size": opts.MinSize} {
		if v != 0 {
			cmd[k] = v
		}
	}
	return c.change(ctx, "rados.createpool", name, cmd)
}

// DeletePool deletes a pool with all of its objects.
func (c *Client) DeletePool(ctx context.Context, name string) error {
	return c.change(ctx, "rados.deletepool", name, map[string]any{"prefix": "osd pool delete", "pool": name,
		"pool2": name, "yes_i_really_really_mean_it": true})
}

// Blocklist shuts an address out for some time. When it returns, every
// operation that this client starts comes after the exclusion; the epoch it
// gives is a barrier (SetBarrier) that has the same effect for other clients.
func (c *Client) Blocklist(ctx context.Context, addr wire.Addr, expire time.Duration) (wire.Epoch, error) {
	cmd := map[string]any{"prefix": "osd blocklist", "blocklistop": "add",
		"addr": strings.TrimPrefix(addr.String(), "v2:"), "expire": json.RawMessage(strconv.FormatFloat(expire.Seconds(), 'f', 3, 64))} // a Ceph wants a point in it
	if err := c.change(ctx, "rados.blocklist", addr.String(), cmd); err != nil {
		return 0, err
	}
	return c.osdmap.Load().Epoch, nil
}

// change runs a command and waits for the map that has its effect.
func (c *Client) change(ctx context.Context, op, subject string, cmd map[string]any) error {
	if _, err := c.mon.Command(ctx, cmd, nil); err != nil {
		return wire.Wrap(op, subject, err)
	}
	_, err := c.LatestMap(ctx)
	return wire.Wrap(op, subject, err)
}

// ListPools gives the names of the pools in the client's map, sorted.
func (c *Client) ListPools() []string {
	m := c.osdmap.Load()
	names := make([]string, 0, len(m.PoolNames))
	for _, name := range m.PoolNames {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// Usage is how much of a cluster is used, in bytes.
type Usage struct {
	Total, Used, Avail uint64
	Objects            uint64
}

// StatFS asks for the use of the whole cluster.
func (c *Client) StatFS(ctx context.Context) (Usage, error) { return c.statFS(ctx, false, 0) }

// StatFS asks for the use of the pool: Avail is what may still be written to
// it, its replicas taken into account.
func (x *IOCtx) StatFS(ctx context.Context) (Usage, error) { return x.c.statFS(ctx, true, x.pool) }

// statFS asks the mon; its KiB become bytes.
func (c *Client) statFS(ctx context.Context, hasPool bool, pool int64) (Usage, error) {
	m, err := c.mon.Call(ctx, func(tid uint64) wire.Message {
		return &wire.MStatfs{TID: tid, FSID: c.FSID(), HasPool: hasPool, Pool: pool}
	})
	if err != nil {
		return Usage{}, wire.Wrap("rados.statfs", "", err)
	}
	r, ok := m.(*wire.MStatfsReply)
	if !ok {
		return Usage{}, wire.Errorf("rados.statfs: wrong answer", "", wire.EIO)
	}
	return Usage{Total: r.KB << 10, Used: r.KBUsed << 10, Avail: r.KBAvail << 10, Objects: r.Objects}, nil
}

// PoolLookup gives the number of a pool. ENOENT is said only after asking the
// mon for its newest map.
func (c *Client) PoolLookup(ctx context.Context, name string) (int64, error) {
	x, err := c.IOCtx(ctx, name)
	if err != nil {
		return 0, wire.Wrap("rados.poollookup", name, err)
	}
	return x.pool, nil
}

// PoolName gives the name of a pool in the client's map; ENOENT.
func (c *Client) PoolName(id int64) (string, error) {
	name, ok := c.osdmap.Load().PoolNames[id]
	if !ok {
		return "", wire.Errorf("rados.poolname", strconv.FormatInt(id, 10), wire.ENOENT)
	}
	return name, nil
}

// ClusterStat is StatFS by librados's name.
func (c *Client) ClusterStat(ctx context.Context) (Usage, error) { return c.StatFS(ctx) }

// PoolStats asks for the use of pools by name; names that the mon does not
// know are left out.
func (c *Client) PoolStats(ctx context.Context, pools ...string) (map[string]wire.PoolStat, error) {
	m, err := c.mon.Call(ctx, func(tid uint64) wire.Message {
		return &wire.MGetPoolStats{TID: tid, FSID: c.FSID(), Pools: pools}
	})
	if err != nil {
		return nil, wire.Wrap("rados.poolstats", "", err)
	}
	r, ok := m.(*wire.MGetPoolStatsReply)
	if !ok {
		return nil, wire.Errorf("rados.poolstats: wrong answer", "", wire.EIO)
	}
	return r.Pools, nil
}

// Stats asks for the use of the pool. ENOENT: it is gone.
func (x *IOCtx) Stats(ctx context.Context) (wire.PoolStat, error) {
	all, err := x.c.PoolStats(ctx, x.name)
	if err != nil {
		return wire.PoolStat{}, err
	}
	st, ok := all[x.name]
	if !ok {
		return wire.PoolStat{}, wire.Errorf("rados.poolstats", x.name, wire.ENOENT)
	}
	return st, nil
}
