package rados

import (
	"context"
	"net/netip"
	"testing"
	"time"

	"github.com/spirula/spirula/mon"
	"github.com/spirula/spirula/osd"
	"github.com/spirula/spirula/osd/disk"
	"github.com/spirula/spirula/osd/store"
	"github.com/spirula/spirula/rados"
	"github.com/spirula/spirula/rados/msgr"
	"github.com/spirula/spirula/rados/radostest"
	"github.com/spirula/spirula/rados/wire"
)

// TestTwin runs random operation vectors through a real client, monitor, OSD
// and store on a disk in memory, and on the naive pool that tests elsewhere
// trust: every answer must be the same.
func TestTwin(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	for seed := uint64(1); seed <= 4; seed++ {
		c := inProcess(ctx, t)
		io, err := c.IOCtx(ctx, "twin")
		if err != nil {
			t.Fatal(err)
		}
		if err := radostest.Compare(ctx, io, seed, 1500); err != nil {
			t.Errorf("seed %d: %v", seed, err)
		}
	}
}

func inProcess(ctx context.Context, t *testing.T) *rados.Client {
	t.Helper()
	net := msgr.NewLocal()
	fatal := func(err error) { t.Errorf("fatal: %v", err) }
	monAddr := wire.Addr{Type: wire.AddrMsgr2, IP: netip.MustParseAddrPort("127.0.0.1:3300")}
	osdAddr := wire.Addr{Type: wire.AddrMsgr2, Nonce: 7, IP: netip.MustParseAddrPort("127.0.0.1:6800")}
	kv := mon.NewMemKV()
	fsid, err := mon.Mkfs(kv, mon.MkfsOptions{Name: "a", Addr: monAddr, OSDs: []mon.MkfsOSD{{}}, PoolSize: 1, Pools: []mon.PoolSpec{{Name: "twin", PGNum: 8}}})
	if err != nil {
		t.Fatal(err)
	}
	m, err := mon.New(mon.Options{Name: "a", Addr: monAddr, Net: net, KV: kv, Fatal: fatal})
	if err != nil {
		t.Fatal(err)
	}
	if err := m.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.Close)
	opts := store.Options{FSID: fsid, UUID: [16]byte{1}, WalBytes: 16 << 20, GrowBytes: 16 << 20, Fatal: fatal}
	d := disk.NewMem()
	if err := store.Mkfs(d, opts); err != nil {
		t.Fatal(err)
	}
	s, err := store.Open(d, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	session := rados.DialMon(rados.MonOptions{Net: net, Addrs: []wire.Addr{monAddr}, Name: wire.EntityName{Type: wire.EntityOSD}, MyAddr: osdAddr})
	t.Cleanup(session.Close)
	o, err := osd.New(osd.Options{UUID: wire.FSID{1}, Store: s, Network: net, Mon: session, Addr: osdAddr, Host: "localhost", Fatal: fatal})
	if err != nil {
		t.Fatal(err)
	}
	if err := o.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(o.Close)
	c, err := rados.Connect(ctx, rados.Options{Net: net, MonAddrs: []wire.Addr{monAddr}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}
