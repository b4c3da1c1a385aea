package mon

import (
	"context"
	"encoding/json"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/spirula/spirula/rados/clustermap"
	"github.com/spirula/spirula/rados/msgr"
	"github.com/spirula/spirula/rados/wire"
)

var monAddr = wire.Addr{Type: wire.AddrMsgr2, IP: netip.MustParseAddrPort("127.0.0.1:3300")}

// rig is a mon on a network of its own.
type rig struct {
	t   *testing.T
	net *msgr.Local
	kv  *MemKV
	mon *Mon
}

func mkfs(t *testing.T, opts MkfsOptions) *MemKV {
	t.Helper()
	kv := NewMemKV()
	opts.Name, opts.Addr = "a", monAddr
	if _, err := Mkfs(kv, opts); err != nil {
		t.Fatal(err)
	}
	return kv
}

func start(t *testing.T, kv *MemKV, tweak func(*Options)) *rig {
	t.Helper()
	r := &rig{t: t, net: msgr.NewLocal(), kv: kv}
	r.restart(tweak)
	t.Cleanup(func() { r.mon.Close() })
	return r
}

func (r *rig) restart(tweak func(*Options)) {
	r.t.Helper()
	opts := Options{Name: "a", Addr: monAddr, Net: r.net, KV: r.kv}
	if tweak != nil {
		tweak(&opts)
	}
	m, err := New(opts)
	if err != nil {
		r.t.Fatal(err)
	}
	if err := m.Start(); err != nil {
		r.t.Fatal(err)
	}
	r.mon = m
}

// run runs a command given as its words: prefix, then key=value.
func (r *rig) run(prefix string, kvs ...string) *wire.MMonCommandAck {
	r.t.Helper()
	cmd := map[string]any{"prefix": prefix}
	for _, kv := range kvs {
		k, v, _ := strings.Cut(kv, "=")
		cmd[k] = v
	}
	text, err := json.Marshal(cmd)
	if err != nil {
		r.t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	a, err := r.mon.Command(ctx, string(text), nil)
	if err != nil {
		r.t.Fatalf("%s: %v", prefix, err)
	}
	return a
}

func (r *rig) must(prefix string, kvs ...string) string {
	r.t.Helper()
	a := r.run(prefix, kvs...)
	if a.Result != 0 {
		r.t.Fatalf("%s %v: %d %s", prefix, kvs, a.Result, a.Status)
	}
	return string(a.Output)
}

// peer is an entity with a session, and what it was sent.
type peer struct {
	t    *testing.T
	name wire.EntityName
	addr wire.Addr
	conn msgr.Conn

	mu     sync.Mutex
	got    []wire.Message
	resets int
	news   chan struct{}
}

func (r *rig) dial(name wire.EntityName, addr wire.Addr) *peer {
	r.t.Helper()
	p := &peer{t: r.t, name: name, addr: addr, news: make(chan struct{}, 1)}
	c, err := r.net.Connect(name, addr, wire.EntityMon, monAddr, p, msgr.NoAuth{Name: name.AuthName()})
	if err != nil {
		r.t.Fatal(err)
	}
	p.conn = c
	return p
}

func (r *rig) osd(id int64, nonce uint32) *peer {
	return r.dial(wire.EntityName{Type: wire.EntityOSD, Num: id},
		wire.Addr{Type: wire.AddrMsgr2, Nonce: nonce, IP: netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), uint16(6800+id))})
}

func (r *rig) client() *peer {
	return r.dial(wire.EntityName{Type: wire.EntityClient}, wire.Addr{})
}

func (p *peer) Dispatch(_ msgr.Conn, m wire.Message) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.got = append(p.got, m)
	select {
	case p.news <- struct{}{}:
	default:
	}
}

func (p *peer) Reset(msgr.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.resets++
}

// await gives the first message that match accepts, and forgets what came
// before it.
func (p *peer) await(what string, match func(wire.Message) bool) wire.Message {
	p.t.Helper()
	timeout := time.After(10 * time.Second)
	for {
		p.mu.Lock()
		for i, m := range p.got {
			if match(m) {
				p.got = p.got[i+1:]
				p.mu.Unlock()
				return m
			}
		}
		p.mu.Unlock()
		select {
		case <-p.news:
		case <-timeout:
			p.t.Fatalf("%v: no %s came", p.name, what)
		}
	}
}

func isMap(m wire.Message) bool { _, ok := m.(*wire.MOSDMap); return ok }

func uuidOf(id int64) (u wire.FSID) { u[0], u[15] = 0xee, byte(id); return u }

// boot boots the OSD and waits for the map that has it up.
func (r *rig) boot(p *peer) {
	r.t.Helper()
	p.conn.Send(&wire.MOSDBoot{OSD: int32(p.name.Num), UUID: uuidOf(p.name.Num), Public: p.addr, Cluster: p.addr, Host: "h"})
	r.until("osd up", func(m *clustermap.OSDMap) bool {
		return m.IsUp(int32(p.name.Num)) && m.Addr(int32(p.name.Num)) == p.addr
	})
}

// until waits for a committed map.
func (r *rig) until(what string, cond func(*clustermap.OSDMap) bool) *clustermap.OSDMap {
	r.t.Helper()
	for range 2000 {
		if m := r.mon.OSDMap(); cond(m) {
			return m
		}
		time.Sleep(5 * time.Millisecond)
	}
	r.t.Fatalf("no map with %s; newest is %d", what, r.mon.OSDMap().Epoch)
	return nil
}

func TestStart(t *testing.T) {
	kv := mkfs(t, MkfsOptions{OSDs: make([]MkfsOSD, 1), Pools: []PoolSpec{{Name: "meta"}, {Name: "data", PGNum: 8}}})
	if _, err := Mkfs(kv, MkfsOptions{Name: "a"}); wire.ErrnoOf(err) != wire.EEXIST {
		t.Errorf("second mkfs: %v", err)
	}
	r := start(t, kv, nil)
	if got := r.must("osd pool ls"); got != "meta\ndata\n" {
		t.Errorf("pools %q", got)
	}
	p := r.mon.OSDMap().Pools[2]
	if p.Size != 1 || p.PGNum != 8 {
		t.Errorf("pool: size %d, pg_num %d", p.Size, p.PGNum)
	}
	if got := strings.TrimSpace(r.must("fsid")); got != r.mon.FSID().String() {
		t.Errorf("fsid %s, want %s", got, r.mon.FSID())
	}
}

func TestEmptyStore(t *testing.T) {
	if _, err := New(Options{Name: "a", KV: NewMemKV()}); wire.ErrnoOf(err) != wire.ENOENT {
		t.Errorf("mon over an empty store: %v", err)
	}
}

func TestBootAndLoss(t *testing.T) {
	r := start(t, mkfs(t, MkfsOptions{OSDs: make([]MkfsOSD, 2), Pools: []PoolSpec{{Name: "p", PGNum: 4, Size: 2}}}), nil)
	a, b := r.osd(0, 1), r.osd(1, 1)
	a.conn.Send(&wire.MMonSubscribe{What: map[string]wire.Subscription{wire.SubOSDMap: {}}})
	a.await("map", isMap)
	r.boot(a)
	r.boot(b)
	up := r.mon.OSDMap()
	if mp := up.Map(wire.PGID{Pool: 1}); len(mp.Acting) != 2 {
		t.Errorf("acting %v with two osds up", mp.Acting)
	}
	a.await("increment with osd.1", func(m wire.Message) bool {
		om, ok := m.(*wire.MOSDMap)
		return ok && om.Incrementals[up.Epoch] != nil
	})
	b.conn.Close()
	down := r.until("osd.1 down", func(m *clustermap.OSDMap) bool { return !m.IsUp(1) })
	if down.Info(1).DownAt != down.Epoch {
		t.Errorf("down_at %d in epoch %d", down.Info(1).DownAt, down.Epoch)
	}
	// Another store may not take the number.
	thief := r.osd(1, 7)
	thief.conn.Send(&wire.MOSDBoot{OSD: 1, UUID: uuidOf(99), Public: thief.addr, Cluster: thief.addr})
	b2 := r.osd(1, 2)
	r.boot(b2)
	if got := r.mon.OSDMap().OSDs[1].UUID; got != uuidOf(1) {
		t.Errorf("osd.1 is %v", got)
	}
	// A restart that the mon did not notice: down first, then up.
	before := r.mon.OSDMap().Epoch
	b3 := r.osd(1, 3)
	r.boot(b3)
	if got := r.mon.OSDMap().Epoch; got != before+2 {
		t.Errorf("a silent restart took %d epochs, want 2", got-before)
	}
	// The session of the former self ends: nothing happens to the new one.
	b2.conn.Close()
	b3.conn.Send(&wire.MOSDAlive{OSD: 1, Want: r.mon.OSDMap().Epoch})
	m := r.until("up_thru", func(m *clustermap.OSDMap) bool { return m.Info(1).UpThru == before+2 })
	if !m.IsUp(1) {
		t.Error("the end of an old session marked the new osd down")
	}
	b3.conn.Send(&wire.MOSDMarkDown{OSD: 1})
	r.until("osd.1 gone", func(m *clustermap.OSDMap) bool { return !m.IsUp(1) })
}

func TestMonRestart(t *testing.T) {
	kv := mkfs(t, MkfsOptions{OSDs: make([]MkfsOSD, 2), Pools: []PoolSpec{{Name: "p", PGNum: 4, Size: 2}}})
	r := start(t, kv, nil)
	a, b := r.osd(0, 1), r.osd(1, 1)
	r.boot(a)
	r.boot(b)
	r.must("osd pool create", "pool=q", "pg_num=4")
	r.mon.Close()
	before := r.mon.OSDMap() // a change may have been on its way until then
	var ahead atomic.Int64   // of the clock
	r.restart(func(o *Options) {
		o.Now = func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
	})
	if got := r.mon.OSDMap(); got.Epoch != before.Epoch || string(got.Encode()) != string(before.Encode()) {
		t.Errorf("epoch %d after the restart, %d before", got.Epoch, before.Epoch)
	}
	// osd.0 comes back with the same address, osd.1 does not.
	a2 := r.osd(0, 1)
	a2.conn.Send(&wire.MOSDStats{OSD: 0, Total: 100, Used: 1, Avail: 99})
	r.must("health")
	time.Sleep(3 * raftTick)
	ahead.Store(int64(time.Minute))
	m := r.until("osd.1 down", func(m *clustermap.OSDMap) bool { return !m.IsUp(1) })
	if !m.IsUp(0) {
		t.Error("osd.0 was marked down although it is there")
	}
}

func TestSubscriptions(t *testing.T) {
	r := start(t, mkfs(t, MkfsOptions{OSDs: make([]MkfsOSD, 1)}), nil)
	for range 100 {
		r.must("osd set", "key=noout")
		r.must("osd unset", "key=noout")
	}
	cur := r.mon.OSDMap().Epoch
	c := r.client()
	c.conn.Send(&wire.MAuth{TID: 5, Name: "client.x"})
	auth := c.await("auth", func(m wire.Message) bool { _, ok := m.(*wire.MAuthReply); return ok }).(*wire.MAuthReply)
	if auth.TID != 5 || auth.GlobalID < firstGID || auth.FSID != r.mon.FSID() {
		t.Errorf("auth: %+v", auth)
	}
	c.conn.Send(&wire.MMonSubscribe{What: map[string]wire.Subscription{wire.SubOSDMap: {Start: 10}, wire.SubMonMap: {}, "fsmap": {}}})
	for e := wire.Epoch(10); e <= cur; {
		om := c.await("maps", isMap).(*wire.MOSDMap)
		if len(om.Incrementals) > mapsPerMsg || om.Incrementals[e] == nil {
			t.Fatalf("%d increments, epoch %d in it: %v", len(om.Incrementals), e, om.Incrementals[e] != nil)
		}
		for om.Incrementals[e] != nil {
			e++
		}
	}
	m, err := clustermap.DecodeOSDMap(r.mon.OSDMap().Encode())
	if err != nil {
		t.Fatal(err)
	}
	r.must("osd set", "key=noin")
	om := c.await("next map", isMap).(*wire.MOSDMap)
	inc, err := clustermap.DecodeIncremental(om.Incrementals[cur+1])
	if err != nil {
		t.Fatal(err)
	}
	next, err := m.Apply(inc)
	if err != nil {
		t.Fatal(err)
	}
	if err := next.VerifyFull(inc); err != nil {
		t.Error(err)
	}
	c.conn.Send(&wire.MMonGetVersion{TID: 9, What: wire.SubOSDMap})
	v := c.await("version", func(m wire.Message) bool { _, ok := m.(*wire.MMonGetVersionReply); return ok }).(*wire.MMonGetVersionReply)
	if v.TID != 9 || v.Newest != uint64(cur+1) {
		t.Errorf("version %+v", v)
	}
}

func TestGlobalIDsAcrossRestarts(t *testing.T) {
	seen := make(map[int64]bool)
	r := start(t, mkfs(t, MkfsOptions{}), nil)
	for range 3 {
		for range 5 {
			c := r.client()
			c.conn.Send(&wire.MAuth{TID: 1})
			id := c.await("auth", func(m wire.Message) bool { _, ok := m.(*wire.MAuthReply); return ok }).(*wire.MAuthReply).GlobalID
			if seen[id] {
				t.Errorf("number %d given out twice", id)
			}
			seen[id] = true
		}
		r.mon.Close()
		r.restart(nil)
	}
}

func TestLogTrim(t *testing.T) {
	kv := mkfs(t, MkfsOptions{})
	r := start(t, kv, nil)
	for i := range logMax + 200 {
		r.must("config set", "who=global", "name=log_file", "value="+string(rune('a'+i%26)))
	}
	r.mon.Close()
	n := 0
	kv.Range([]byte(keyEntries), prefixEnd([]byte(keyEntries)), func(_, _ []byte) error { n++; return nil })
	if n > logMax+10 || n < logKeep {
		t.Errorf("%d entries are kept", n)
	}
	r.restart(nil)
	if got := r.must("config get", "who=osd.1", "key=log_file"); got != string(rune('a'+(logMax+199)%26))+"\n" {
		t.Errorf("setting is %q", got)
	}
}
