package rados_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/spirula/spirula/rados"
	"github.com/spirula/spirula/rados/cephx"
	"github.com/spirula/spirula/rados/clustermap"
	"github.com/spirula/spirula/rados/msgr"
	"github.com/spirula/spirula/rados/radostest"
	"github.com/spirula/spirula/rados/wire"
)

// dialReal connects to the cluster whose ceph.conf SPIRULA_CEPH_CONF names,
// Ceph's or another.
func dialReal(t *testing.T) *rados.Client {
	t.Helper()
	path := os.Getenv("SPIRULA_CEPH_CONF")
	if path == "" {
		t.Skip("set SPIRULA_CEPH_CONF to a ceph.conf to run this")
	}
	conf, err := rados.ReadConfig(path)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	c, err := rados.Dial(ctx, conf, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func TestSuiteReal(t *testing.T) { radostest.Suite(t, dialReal(t), 400) }

// TestFaultsReal appends numbers to a few objects while sessions break and
// daemons die, and reads them back: each is there once, in order.
// SPIRULA_CEPH_RUN names a program that is run with "down" or "up" and a daemon
// ("osd.0", "mon.a") to stop and start it; without it only sessions break, if
// the cluster can inject that.
func TestFaultsReal(t *testing.T) {
	c := dialReal(t)
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	name := fmt.Sprint("faults-", c.ID())
	if err := c.CreatePool(ctx, name, rados.PoolOptions{PGNum: 8}); err != nil {
		t.Fatal(err)
	}
	defer c.DeletePool(ctx, name)
	x, err := c.IOCtx(ctx, name)
	if err != nil {
		t.Fatal(err)
	}
	set := func(cmd map[string]any) {
		if _, err := c.MonCommand(ctx, cmd, nil); err != nil {
			t.Log(err) // not every cluster can
		}
	}
	set(map[string]any{"prefix": "config set", "who": "osd", "name": "ms_inject_socket_failures", "value": "300"})
	defer set(map[string]any{"prefix": "config rm", "who": "osd", "name": "ms_inject_socket_failures"})
	if x.Pool().Size > 1 { // so that placement groups stop when two OSDs are down
		set(map[string]any{"prefix": "osd pool set", "pool": name, "var": "min_size", "val": "2"})
	}
	if err := x.Create(ctx, "watched", true); err != nil {
		t.Fatal(err)
	}
	var heard atomic.Int64
	w, err := x.Watch(ctx, "watched", rados.WatchOptions{OnNotify: func(n *rados.Notification) {
		heard.Add(1)
		n.Ack(ctx, nil)
	}, OnError: func(err error) { t.Error("watch:", err) }})
	if err != nil {
		t.Fatal(err)
	}
	stop := make(chan struct{})
	var faults sync.WaitGroup
	faults.Go(func() {
		killDaemons(t)
		close(stop)
	})
	split := time.AfterFunc(5*time.Second, func() {
		for _, v := range []string{"pg_num", "pgp_num"} {
			set(map[string]any{"prefix": "osd pool set", "pool": name, "var": v, "val": "16"})
		}
	})
	defer split.Stop()
	const objects, window = 4, 16
	var writers sync.WaitGroup
	var total atomic.Int64
	for o := range objects {
		writers.Go(func() { total.Add(int64(appendUntil(ctx, t, x, fmt.Sprint("o", o), window, stop))) })
	}
	writers.Wait()
	faults.Wait()
	before := heard.Load()
	res, err := x.Notify(ctx, "watched", []byte("x"), 20*time.Second)
	if err != nil || len(res.Replies) != 1 || heard.Load() == before {
		t.Errorf("notify: %+v, %v; heard %d", res, err, heard.Load())
	}
	if err := w.Close(ctx); err != nil {
		t.Error(err)
	}
	m := &c.Metrics
	t.Logf("%d appends, %d resets, %d resent, %d maps, %d backoffs, %d late", total.Load(), m.Resets.Load(), m.Resent.Load(), m.Maps.Load(), m.Blocks.Load(), m.Late.Load())
}

// killDaemons stops and starts daemons, or waits a while if it can't.
func killDaemons(t *testing.T) {
	run := os.Getenv("SPIRULA_CEPH_RUN")
	if run == "" {
		time.Sleep(15 * time.Second)
		return
	}
	for _, step := range []string{"down osd.0", "up osd.0", "down mon.a", "up mon.a", "down osd.1", "down osd.2", "up osd.1", "up osd.2"} {
		if out, err := exec.Command(run, strings.Fields(step)...).CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", step, err, out)
		}
		time.Sleep(4 * time.Second)
	}
}

// appendUntil appends numbers to an object, some under way at a time, until
// stop, and reads them back. It gives how many there were.
func appendUntil(ctx context.Context, t *testing.T, x *rados.IOCtx, object string, window int, stop <-chan struct{}) (n int) {
	var calls []*rados.Call
	for running := true; running || len(calls) > 0; {
		select {
		case <-stop:
			running = false
		default:
		}
		if running && len(calls) < window {
			calls = append(calls, x.Start(ctx, appendOp(object, fmt.Sprintf("%d,", n))))
			n++
			continue
		}
		if len(calls) == 0 {
			break
		}
		if _, err := calls[0].Wait(ctx); err != nil {
			t.Errorf("%s: append: %v", object, err)
			return n
		}
		calls = calls[1:]
	}
	var want strings.Builder
	for i := range n {
		fmt.Fprintf(&want, "%d,", i)
	}
	got, err := x.ReadAll(ctx, object)
	if err != nil || string(got) != want.String() {
		t.Errorf("%s: %d bytes, %v, want %d", object, len(got), err, want.Len())
	}
	return n
}

// TestModesReal connects in each protection.
func TestModesReal(t *testing.T) {
	admin := dialReal(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	name := fmt.Sprint("modes-", admin.ID())
	if err := admin.CreatePool(ctx, name, rados.PoolOptions{PGNum: 4}); err != nil {
		t.Fatal(err)
	}
	defer admin.DeletePool(ctx, name)
	for _, mode := range []msgr.Mode{msgr.ModeCRC, msgr.ModeSecure} {
		conf, err := rados.ReadConfig(os.Getenv("SPIRULA_CEPH_CONF"))
		if err != nil {
			t.Fatal(err)
		}
		if conf.Auth != rados.AuthCephx {
			t.Skip("without keys nothing is encrypted")
		}
		conf.MonModes, conf.OSDModes = []msgr.Mode{mode}, []msgr.Mode{mode}
		c, err := rados.Dial(ctx, conf, nil)
		if err != nil {
			t.Fatalf("mode %d: %v", mode, err)
		}
		x, err := c.IOCtx(ctx, name)
		if err != nil {
			t.Fatal(err)
		}
		b := make([]byte, 3<<20+5)
		if err := x.WriteFull(ctx, "o", b); err != nil {
			t.Errorf("mode %d: %v", mode, err)
		}
		if got, err := x.ReadAll(ctx, "o"); err != nil || len(got) != len(b) {
			t.Errorf("mode %d: %d bytes, %v", mode, len(got), err)
		}
		c.Close()
	}
}

// TestRefusedReal wants a wrong key to be said at once.
func TestRefusedReal(t *testing.T) {
	dialReal(t)
	conf, err := rados.ReadConfig(os.Getenv("SPIRULA_CEPH_CONF"))
	if err != nil {
		t.Fatal(err)
	}
	if conf.Auth != rados.AuthCephx {
		t.Skip("everybody is believed")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	conf.Key = cephx.GenerateKey(time.Now())
	if _, err = rados.Dial(ctx, conf, nil); !errors.Is(err, wire.EACCES) && !errors.Is(err, wire.EPERM) || ctx.Err() != nil {
		t.Errorf("wrong key: %v", err)
	}
	conf.Name.ID = "nobody"
	if _, err = rados.Dial(ctx, conf, nil); !errors.Is(err, wire.EACCES) && !errors.Is(err, wire.EPERM) || ctx.Err() != nil {
		t.Errorf("unknown name: %v", err)
	}
}

// TestTicketsReal lives through several lifetimes of its tickets, with sessions
// that break all the while. It takes minutes: SPIRULA_CEPH_LONG=1 asks for it.
func TestTicketsReal(t *testing.T) {
	if os.Getenv("SPIRULA_CEPH_LONG") != "1" {
		t.Skip("set SPIRULA_CEPH_LONG=1 to run this")
	}
	admin := dialReal(t)
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	for _, cmd := range []map[string]any{
		{"prefix": "config set", "who": "mon", "name": "auth_service_ticket_ttl", "value": "20"},
		{"prefix": "config set", "who": "osd", "name": "ms_inject_socket_failures", "value": "100"},
	} {
		if _, err := admin.MonCommand(ctx, cmd, nil); err != nil {
			t.Skip(err)
		}
		defer admin.MonCommand(ctx, map[string]any{"prefix": "config rm", "who": cmd["who"], "name": cmd["name"]}, nil)
	}
	name := fmt.Sprint("tickets-", admin.ID())
	if err := admin.CreatePool(ctx, name, rados.PoolOptions{PGNum: 4}); err != nil {
		t.Fatal(err)
	}
	defer admin.DeletePool(ctx, name)
	c := dialReal(t)
	x, err := c.IOCtx(ctx, name)
	if err != nil {
		t.Fatal(err)
	}
	slowest := time.Duration(0)
	for end := time.Now().Add(2 * time.Minute); time.Now().Before(end); {
		began := time.Now()
		if err := x.Append(ctx, "o", []byte("x")); err != nil {
			t.Fatal(err)
		}
		slowest = max(slowest, time.Since(began))
		time.Sleep(10 * time.Millisecond)
	}
	t.Logf("the slowest of %d appends took %v; %d resets", c.Metrics.Answered.Load(), slowest, c.Metrics.Resets.Load())
	if slowest > 30*time.Second {
		t.Errorf("an append took %v", slowest)
	}
}

// TestBlocklistReal shuts a client out by the address that it calls its own.
func TestBlocklistReal(t *testing.T) {
	c, victim := dialReal(t), dialReal(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	name := fmt.Sprint("blocklist-", c.ID())
	if err := c.CreatePool(ctx, name, rados.PoolOptions{PGNum: 4}); err != nil {
		t.Fatal(err)
	}
	defer c.DeletePool(ctx, name)
	x, err := victim.IOCtx(ctx, name)
	if err != nil {
		t.Fatal(err)
	}
	if err := x.Create(ctx, "o", true); err != nil {
		t.Fatal(err)
	}
	gone := make(chan error, 1)
	w, err := x.Watch(ctx, "o", rados.WatchOptions{OnError: func(err error) { gone <- err }})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close(ctx)
	ws, err := x.ListWatchers(ctx, "o")
	if err != nil || len(ws) != 1 || ws[0].Addr.Nonce != victim.Addr().Nonce || ws[0].Addr.IP != victim.Addr().IP {
		t.Errorf("the cluster sees %+v, %v; want %v", ws, err, victim.Addr())
	}
	epoch, err := c.Blocklist(ctx, victim.Addr(), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	if err := victim.WaitForMap(ctx, epoch); err != nil {
		t.Fatal(err)
	}
	if err := x.WriteFull(ctx, "o", []byte("x")); wire.ErrnoOf(err) != wire.ESHUTDOWN {
		t.Errorf("a write of a blocklisted client: %v", err)
	}
	select {
	case err := <-gone:
		if kind := wire.ErrnoOf(err); kind != wire.ESHUTDOWN && kind != wire.ENOTCONN {
			t.Error(err)
		}
	case <-ctx.Done():
		t.Error("the watch of a blocklisted client goes on")
	}
}

// TestSecretsReal fetches an OSD's service secrets as the OSD would. The
// keyring has to have the key of osd.0.
func TestSecretsReal(t *testing.T) {
	dialReal(t)
	osd := wire.AuthName{Type: wire.EntityOSD, ID: "0"}
	conf, err := rados.ReadConfigAs(os.Getenv("SPIRULA_CEPH_CONF"), osd)
	if err != nil || conf.Auth != rados.AuthCephx {
		t.Skip("no keys", err)
	}
	text, err := os.ReadFile(conf.Values["keyring"])
	if err != nil {
		t.Skip(err)
	}
	keys, err := cephx.ParseKeyring(text)
	if err != nil || keys[osd].Key.IsZero() {
		t.Skip("no key of osd.0", err)
	}
	auth := cephx.NewClient(osd, keys[osd].Key, cephx.ClientOptions{})
	net := msgr.NewTCP(msgr.TCPOptions{})
	defer net.Close()
	s := rados.DialMon(rados.MonOptions{Net: net, Addrs: conf.MonAddrs, Name: wire.EntityName{Type: wire.EntityOSD}, Auth: auth})
	defer s.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := s.Ready(ctx); err != nil {
		t.Fatal(err)
	}
	if err := auth.ServiceKeys().Wait(ctx); err != nil {
		t.Error(err)
	}
}

// TestQuotaReal writes to a pool over its quota: an error at once, or, as
// librados has it, later success.
func TestQuotaReal(t *testing.T) {
	c := dialReal(t)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	name := fmt.Sprint("quota-", c.ID())
	if err := c.CreatePool(ctx, name, rados.PoolOptions{PGNum: 4}); err != nil {
		t.Fatal(err)
	}
	defer c.DeletePool(ctx, name)
	x, err := c.IOCtx(ctx, name)
	if err != nil {
		t.Fatal(err)
	}
	quota := func(n string) {
		t.Helper()
		cmd := map[string]any{"prefix": "osd pool set-quota", "pool": name, "field": "max_objects", "val": n}
		if _, err := c.MonCommand(ctx, cmd, nil); err != nil {
			t.Fatal(err)
		}
	}
	quota("2")
	for i := range 3 {
		if err := x.Create(ctx, fmt.Sprint(i), true); err != nil {
			t.Fatal(err)
		}
	}
	for x.Pool().Flags&clustermap.PoolFull == 0 {
		if ctx.Err() != nil {
			t.Fatal("the pool does not become full")
		}
		time.Sleep(50 * time.Millisecond)
	}
	if err := x.WriteFull(ctx, "0", []byte("x")); wire.ErrnoOf(err) != wire.EDQUOT {
		t.Errorf("write: %v", err)
	}
	if err := x.Remove(ctx, "0"); err != nil {
		t.Errorf("remove: %v", err)
	}
	forced := &rados.Op{Object: "1", Flags: wire.FlagFullForce, Ops: []wire.Op{{Code: wire.OpWriteFull, Data: wire.DataOf([]byte("y"))}}}
	if _, err := x.Do(ctx, forced); err != nil {
		t.Errorf("forced: %v", err)
	}
	quota("0")
	for x.WriteFull(ctx, "2", []byte("x")) != nil {
		if ctx.Err() != nil {
			t.Fatal("the pool stays full")
		}
		time.Sleep(50 * time.Millisecond)
	}
}
