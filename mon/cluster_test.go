package mon_test

import (
	"context"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/spirula/spirula/mon"
	"github.com/spirula/spirula/rados"
	"github.com/spirula/spirula/rados/msgr"
	"github.com/spirula/spirula/rados/radostest"
	"github.com/spirula/spirula/rados/wire"
)

var addr = wire.Addr{Type: wire.AddrMsgr2, IP: netip.MustParseAddrPort("127.0.0.1:3300")}

// cluster is a real mon, a real client, and fake OSDs.
type cluster struct {
	t      *testing.T
	net    *msgr.Local
	kv     *mon.MemKV
	mon    *mon.Mon
	stores *radostest.Stores
	client *rados.Client
	osds   map[int32]*radostest.OSD
}

func newCluster(t *testing.T, osds int) *cluster {
	t.Helper()
	c := &cluster{t: t, net: msgr.NewLocal(), kv: mon.NewMemKV(), stores: radostest.NewStores(), osds: make(map[int32]*radostest.OSD)}
	_, err := mon.Mkfs(c.kv, mon.MkfsOptions{Name: "a", Addr: addr, OSDs: make([]mon.MkfsOSD, osds), Pools: []mon.PoolSpec{{Name: "p", PGNum: 8}}})
	if err != nil {
		t.Fatal(err)
	}
	c.start()
	t.Cleanup(func() { c.mon.Close() })
	for i := range osds {
		c.startOSD(int32(i))
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	c.client, err = rados.Connect(ctx, rados.Options{Net: c.net, MonAddrs: []wire.Addr{addr}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.client.Close)
	return c
}

func (c *cluster) start() {
	c.t.Helper()
	m, err := mon.New(mon.Options{Name: "a", Addr: addr, Net: c.net, KV: c.kv})
	if err == nil {
		err = m.Start()
	}
	if err != nil {
		c.t.Fatal(err)
	}
	c.mon = m
}

// startOSD starts an OSD in the place of a former one, which ends then. After a
// restart of the mon the former one may come back to it after the new one has
// booted, and wins: then another one tries.
func (c *cluster) startOSD(id int32) *radostest.OSD {
	c.t.Helper()
	for range 5 {
		if o := c.tryOSD(id); o != nil {
			return o
		}
	}
	c.t.Fatalf("osd.%d does not come up", id)
	return nil
}

func (c *cluster) tryOSD(id int32) *radostest.OSD {
	c.t.Helper()
	o, err := radostest.NewOSD(c.net, id, c.stores, true)
	if err != nil {
		c.t.Fatal(err)
	}
	o.Join(c.net, []wire.Addr{addr})
	c.t.Cleanup(o.Close)
	for range 600 {
		if m := c.mon.OSDMap(); m.IsUp(id) && m.Addr(id) == o.Addr() {
			if old := c.osds[id]; old != nil {
				old.Close()
			}
			c.osds[id] = o
			return o
		}
		time.Sleep(5 * time.Millisecond)
	}
	o.Close()
	return nil
}

func (c *cluster) pool(name string) *rados.IOCtx {
	c.t.Helper()
	x, err := c.client.IOCtx(context.Background(), name)
	if err != nil {
		c.t.Fatal(err)
	}
	return x
}

func write(t *testing.T, x *rados.IOCtx, name, data string, sc wire.SnapContext) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	op := &rados.Op{Object: name, SnapC: sc, Ops: []wire.Op{{Code: wire.OpWriteFull, Data: wire.DataOf([]byte(data))}}}
	if _, err := x.Do(ctx, op); err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, x *rados.IOCtx, name string, snap wire.SnapID) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	r, err := x.Do(ctx, &rados.Op{Object: name, Snap: snap, Ops: []wire.Op{{Code: wire.OpRead}}})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Release()
	return string(r.Results[0].Data.AppendTo(nil))
}

func TestCluster(t *testing.T) {
	c := newCluster(t, 3)
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if err := c.client.CreatePool(ctx, "new", rados.PoolOptions{PGNum: 4, Size: 2}); err != nil {
		t.Fatal(err)
	}
	x := c.pool("new")
	write(t, x, "o", "one", wire.SnapContext{})
	id, err := x.CreateSnap(ctx)
	if err != nil {
		t.Fatal(err)
	}
	write(t, x, "o", "two", wire.SnapContext{Seq: id, Snaps: []wire.SnapID{id}})
	if got := read(t, x, "o", id) + read(t, x, "o", wire.NoSnap); got != "onetwo" {
		t.Errorf("snapshot and head: %q", got)
	}
	if err := x.RemoveSnaps(ctx, []wire.SnapID{id}); err != nil {
		t.Fatal(err)
	}
	m, err := c.client.LatestMap(ctx)
	if err != nil || !m.RemovedSnapsQueue[x.PoolID()].Contains(id) {
		t.Errorf("snapshot %d is not queued for removal: %v", id, err)
	}
	if u, err := c.client.StatFS(ctx); err != nil || u.Used > u.Total {
		t.Errorf("statfs: %+v, %v", u, err)
	}
	if _, err := c.client.Mon().Command(ctx, map[string]any{"prefix": "nonsense"}, nil); wire.ErrnoOf(err) != wire.EINVAL {
		t.Errorf("unknown command: %v", err)
	}
	if out, err := c.client.Mon().Command(ctx, map[string]any{"prefix": "status", "format": "json"}, nil); err != nil || len(out) == 0 || out[0] != '{' {
		t.Errorf("status: %q, %v", out, err)
	}
	if err := c.client.DeletePool(ctx, "new"); err != nil {
		t.Fatal(err)
	}
	if _, err := x.Do(ctx, &rados.Op{Object: "o", Ops: []wire.Op{{Code: wire.OpStat}}}); wire.ErrnoOf(err) != wire.ENOENT {
		t.Errorf("object of a deleted pool: %v", err)
	}
}

// TestMonAndOSDRestart restarts everything but the client, which goes on as
// if nothing had been.
func TestMonAndOSDRestart(t *testing.T) {
	c := newCluster(t, 3)
	x := c.pool("p")
	for i := range 3 {
		write(t, x, fmt.Sprint("o", i), "v", wire.SnapContext{})
		o := c.startOSD(int32(i)) // while the former one is still there
		write(t, x, fmt.Sprint("p", i), "v", wire.SnapContext{})
		o.Close()
		write(t, x, fmt.Sprint("q", i), "v", wire.SnapContext{})
		c.startOSD(int32(i))
		c.mon.Close()
		write(t, x, fmt.Sprint("r", i), "v", wire.SnapContext{})
		c.start()
	}
	n := 0
	if err := x.ListObjects(context.Background(), "", func(wire.ListEntry) error { n++; return nil }); err != nil || n != 12 {
		t.Errorf("%d objects, want 12; %v", n, err)
	}
}

// TestBlocklist shuts a client out and lets another one wait for that.
func TestBlocklist(t *testing.T) {
	c := newCluster(t, 1)
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	victim, err := rados.Connect(ctx, rados.Options{Net: c.net, MonAddrs: []wire.Addr{addr}})
	if err != nil {
		t.Fatal(err)
	}
	defer victim.Close()
	if victim.ID() == c.client.ID() {
		t.Errorf("two clients have number %d", victim.ID())
	}
	epoch, err := c.client.Blocklist(ctx, victim.Addr(), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	if err := victim.WaitForMap(ctx, epoch); err != nil {
		t.Fatal(err)
	}
	vx, err := victim.IOCtx(ctx, "p")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := vx.Do(ctx, &rados.Op{Object: "o", Ops: []wire.Op{{Code: wire.OpCreate}}}); wire.ErrnoOf(err) != wire.ESHUTDOWN {
		t.Errorf("write of the excluded client: %v", err)
	}
	write(t, c.pool("p"), "o", "x", wire.SnapContext{})
}
