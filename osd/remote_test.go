package osd

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/spirula/spirula/rados/clustermap"
	"github.com/spirula/spirula/rados/msgr"
	"github.com/spirula/spirula/rados/wire"
)

// remoteNet is a Local whose daemons take their clients for remote ones with
// the caps that stand here.
type remoteNet struct {
	*msgr.Local
	caps map[int64]string // by client; others are trusted
}

func (n *remoteNet) Listen(me wire.EntityName, addr wire.Addr, d msgr.Dispatcher, a msgr.ServerAuth) (msgr.Listener, error) {
	return n.Local.Listen(me, addr, &remoteEnd{net: n, d: d}, a)
}

type remoteEnd struct {
	net   *remoteNet
	d     msgr.Dispatcher
	conns sync.Map
}

type remoteConn struct {
	msgr.Conn
	id msgr.Identity
}

func (c *remoteConn) Identity() *msgr.Identity { return &c.id }

func (e *remoteEnd) conn(c msgr.Conn) msgr.Conn {
	if r, ok := e.conns.Load(c); ok {
		return r.(*remoteConn)
	}
	text, limited := e.net.caps[c.Peer().Num]
	r := &remoteConn{Conn: c, id: msgr.Identity{Name: c.Peer().AuthName(), Mode: msgr.ModeCRC, Trusted: !limited, Caps: text}}
	e.conns.Store(c, r)
	return r
}

func (e *remoteEnd) Dispatch(c msgr.Conn, m wire.Message) { e.d.Dispatch(e.conn(c), m) }
func (e *remoteEnd) Reset(c msgr.Conn)                    { e.d.Reset(e.conn(c)) }

// takeBackoffs gives the backoff messages since the last call.
func (l *client) takeBackoffs() []*wire.MOSDBackoff {
	l.mu.Lock()
	defer l.mu.Unlock()
	b := l.backoffs
	l.backoffs = nil
	return b
}

// say sends a message to the first OSD.
func (l *client) say(m wire.Message) {
	l.mu.Lock()
	conn := l.conns[l.c.osds[0].Addr()]
	l.mu.Unlock()
	conn.Send(m)
}

func setMinSize(c *cluster, n uint8) {
	c.mon.change(func(m *clustermap.OSDMap, inc *clustermap.Incremental) {
		p := m.Pool(c.pool).Clone()
		p.Size, p.MinSize = max(n, 1), n
		inc.NewPools[c.pool] = p
	})
}

// TestBackoff: a PG that can't serve has remote clients hold their requests,
// and says when it can.
func TestBackoff(t *testing.T) {
	c := newCluster(t, clusterOptions{net: &remoteNet{Local: msgr.NewLocal()}, pgs: 1})
	cl := c.cl
	want(t, cl.op("o", write(0, "x")), 0)
	setMinSize(c, 2) // there is one OSD
	c.waitFor("map", func() bool { return c.osds[0].epoch() == c.mon.cur().Epoch })
	answer := cl.start(cl.message("o", read()))
	c.waitFor("backoff", func() bool { cl.mu.Lock(); defer cl.mu.Unlock(); return len(cl.backoffs) > 0 })
	b := cl.takeBackoffs()
	_, end := bounds(c.mon.cur().Pool(c.pool), b[0].PG.PGID)
	if len(b) != 1 || b[0].Op != wire.BackoffBlock || b[0].Begin.Hash != 0 || b[0].End.Compare(end) != 0 {
		t.Fatalf("%+v", b)
	}
	second := cl.start(cl.message("o", read())) // sent before the block was seen
	if !pending(answer) || len(second) != 0 || len(cl.takeBackoffs()) != 0 {
		t.Fatal("more than one block, or an answer")
	}
	// It serves again before the block was acknowledged: what comes is still
	// dropped, or it would overtake what was dropped before.
	setMinSize(c, 1)
	c.waitActive()
	third := cl.start(cl.message("o", read()))
	if !pending(third) || len(cl.takeBackoffs()) != 0 {
		t.Fatal("an unblock before the block was acknowledged")
	}
	wrong := *b[0]
	wrong.Op, wrong.ID = wire.BackoffAckBlock, b[0].ID+1
	cl.say(&wrong)
	if len(cl.takeBackoffs()) != 0 {
		t.Fatal("an acknowledgement of nothing was taken")
	}
	ack := *b[0]
	ack.Op = wire.BackoffAckBlock
	cl.say(&ack)
	if u := cl.takeBackoffs(); len(u) != 1 || u[0].Op != wire.BackoffUnblock || u[0].ID != b[0].ID {
		t.Fatalf("%+v", u)
	}
	wantData(t, cl.op("o", read()), "x")
	if len(answer)+len(second)+len(third) != 0 {
		t.Fatal("a dropped request was answered")
	}

	// One that is acknowledged ends with the interval, and with the session.
	setMinSize(c, 2)
	c.waitFor("map", func() bool { return c.osds[0].epoch() == c.mon.cur().Epoch })
	cl.start(cl.message("o", read()))
	b = cl.takeBackoffs()
	ack = *b[0]
	ack.Op = wire.BackoffAckBlock
	cl.say(&ack)
	setMinSize(c, 3)
	c.waitFor("map", func() bool { return c.osds[0].epoch() == c.mon.cur().Epoch })
	if u := cl.takeBackoffs(); len(u) != 1 || u[0].Op != wire.BackoffUnblock {
		t.Fatalf("%+v", u)
	}
	cl.start(cl.message("o", read()))
	if b = cl.takeBackoffs(); len(b) != 1 || b[0].Op != wire.BackoffBlock {
		t.Fatalf("%+v", b)
	}
	g := c.osds[0].group(b[0].PG.PGID)
	cl.drop()
	c.waitFor("backoff forgotten", func() bool { g.mu.Lock(); defer g.mu.Unlock(); return len(g.backoffs) == 0 })
}

// TestResetDrops: requests of a connection that is gone are not executed,
// unless they have begun.
func TestResetDrops(t *testing.T) {
	c, g := gatedCluster(t)
	want(t, c.cl.op("o", write(0, "x")), 0)
	g.set(true)
	first := c.cl.start(c.cl.message("o", wire.Op{Code: wire.OpAppend, Data: wire.DataOf([]byte("1"))}))
	other := c.client(4200)
	other.start(other.message("o", read())) // waits for the write
	second := c.cl.message("o", wire.Op{Code: wire.OpAppend, Data: wire.DataOf([]byte("2"))})
	c.cl.start(second)
	c.cl.drop()
	c.waitFor("reset", func() bool { return c.osds[0].Metrics.Sessions.Load() == 1 })
	g.set(false)
	wantData(t, other.op("o", read()), "x1")
	if len(first) != 0 {
		t.Fatal("answered on a closed connection")
	}
	again := *second
	again.Attempt, again.Flags = 1, again.Flags|wire.FlagRetry
	want(t, c.cl.do(&again), 0)
	wantData(t, other.op("o", read()), "x12")
}

func TestCaps(t *testing.T) {
	net := &remoteNet{Local: msgr.NewLocal(), caps: map[int64]string{
		1: "allow r", 2: "allow rw namespace=mine", 3: "allow rwx pool=p", 4: "allow rwx pool=other", 5: "",
		6: "allow class-read, allow r", 7: "allow *", 8: "no such caps",
	}}
	c := newCluster(t, clusterOptions{net: net})
	c.mon.addPool("other", 1, 4)
	want(t, c.cl.op("o", write(0, "x")), 0)
	get := wire.Op{Code: wire.OpCall, Name: "lock", Name2: "get_info", Value: []byte{1, 1, 4, 0, 0, 0, 0, 0, 0, 0}}
	hello := wire.Op{Code: wire.OpCall, Name: "hello", Name2: "record_hello", Value: nil}
	ping := watchOp(wire.WatchPing, 1, 0)
	const no = -1
	clients := map[int64]*client{}
	for _, x := range []struct {
		client int64
		ops    []wire.Op
		want   int32 // -1: not permitted; others: permitted
	}{
		{1, []wire.Op{read()}, 0}, {1, []wire.Op{write(0, "y")}, no}, {1, []wire.Op{get}, no}, {1, []wire.Op{ping}, -107},
		{1, []wire.Op{watchOp(wire.WatchRegister, 1, 0)}, no}, {1, []wire.Op{notifyOp(1, 1, "")}, 0},
		{2, []wire.Op{read()}, no}, {2, []wire.Op{write(0, "y")}, no},
		{3, []wire.Op{read()}, 0}, {3, []wire.Op{write(0, "y")}, 0}, {3, []wire.Op{get}, 0}, {3, []wire.Op{hello}, -17},
		{4, []wire.Op{read()}, no}, {4, []wire.Op{hello}, no}, {5, []wire.Op{read()}, no}, {8, []wire.Op{read()}, no},
		{6, []wire.Op{get}, 0}, {6, []wire.Op{hello}, no}, {6, []wire.Op{get, read()}, no},
		{7, []wire.Op{hello}, -17}, {7, []wire.Op{write(0, "z")}, 0},
	} {
		if clients[x.client] == nil {
			clients[x.client] = c.client(x.client)
		}
		r := clients[x.client].op("o", x.ops...)
		if (r.Result == no) != (x.want == no) || x.want == 0 && r.Result < 0 {
			t.Errorf("client.%d %#x: %d, want %d", x.client, x.ops[0].Code, r.Result, x.want)
		}
		r.Release()
	}
	mine := clients[2]
	m := mine.message("o", write(0, "m"))
	m.Locator.Namespace = "mine"
	m.Hash = c.mon.cur().Pool(c.pool).HashName("mine", "", "o")
	m.PG.Seed = c.mon.cur().Pool(c.pool).Seed(m.Hash)
	want(t, mine.do(m), 0)
	// A copy needs its source to be readable.
	copyOp := wire.Op{Code: wire.OpCopyFrom, Source: &wire.CopySource{Object: "o", Snap: wire.NoSnap,
		Locator: wire.ObjectLocator{Pool: c.pool, Hash: -1}}}
	m = mine.message("copy", copyOp)
	m.Locator.Namespace = "mine"
	m.Hash = c.mon.cur().Pool(c.pool).HashName("mine", "", "copy")
	m.PG.Seed = c.mon.cur().Pool(c.pool).Seed(m.Hash)
	want(t, mine.do(m), no)
	want(t, clients[3].op("copy", copyOp), 0)
	if c.osds[0].Metrics.Denied.Load() == 0 {
		t.Error("nothing was counted")
	}
	// Commands are for those who may do everything.
	for client, result := range map[int64]int32{3: -13, 7: 0} {
		cl := clients[client]
		cl.op("o", read()).Release()
		cl.say(&wire.MCommand{TID: 5, Cmd: []string{`{"prefix":"version"}`}})
		if r := <-cl.commands; r.Result != result || r.TID != 5 {
			t.Errorf("client.%d: %+v", client, r)
		}
	}
}

func TestCommands(t *testing.T) {
	c := newCluster(t, clusterOptions{})
	want(t, c.cl.op("o", write(0, "x")), 0)
	tell := func(cmd string) (int32, string) {
		c.cl.say(&wire.MCommand{Cmd: []string{cmd}})
		r := <-c.cl.commands
		return r.Result, string(r.Output)
	}
	pg := c.cl.message("o").PG.PGID.String()
	for _, x := range []struct {
		cmd    string
		result int32
		has    string
	}{
		{`asdf`, -22, ""}, {``, -22, ""}, {`[1]`, -22, ""}, {`{"prefix":"nope"}`, -22, ""}, {`{"prefix":5}`, -22, ""},
		{`{"prefix":"version"}`, 0, "pacific"}, {`{"prefix":"status"}`, 0, `"state": "active"`},
		{`{"prefix":"get_command_descriptions"}`, 0, `"sig"`},
		{`{"prefix":"dump_ops_in_flight"}`, 0, `"num_ops": 0`}, {`{"prefix":"dump_watchers"}`, 0, "watchers"},
		{`{"prefix":"perf dump"}`, 0, `"op_w": 1`}, {`{"prefix":"flush_pg_stats"}`, 0, ""},
		{`{"prefix":"config get","var":"osd_max_write_size"}`, 0, `"90"`}, {`{"prefix":"config get","var":"x"}`, -2, ""},
		{`{"prefix":"config set","var":"debug_osd","val":["20"]}`, 0, "no effect"}, {`{"prefix":"config set","var":"x","val":["20"]}`, -2, ""},
		{`{"prefix":"config show"}`, 0, `"debug_osd": "20"`}, {`{"prefix":"injectargs","injected_args":["--x 1"]}`, 0, ""},
		{`{"prefix":"bench","count":65536,"size":4096}`, 0, `"bytes_written": 65536`},
		{`{"prefix":"bench","count":-1}`, -22, ""}, {`{"prefix":"bench","size":1073741824}`, -22, ""},
		{`{"prefix":"pg","cmd":"query","pgid":"` + pg + `"}`, 0, "active"}, {`{"prefix":"query","pgid":"` + pg + `"}`, 0, "active"},
		{`{"prefix":"query","pgid":"99.0"}`, -2, ""}, {`{"prefix":"query","pgid":"x"}`, -22, ""},
	} {
		result, out := tell(x.cmd)
		if result != x.result || !strings.Contains(out, x.has) {
			t.Errorf("%s: %d %s", x.cmd, result, out)
		}
	}
	ids, _, err := c.mods[0].List(wire.NoShard, wire.MinHObject, wire.MaxHObject, 100)
	if err != nil || len(ids) != 1 {
		t.Fatalf("bench left %v %v", ids, err)
	}
}

// TestMapWaitOrder: requests that wait for a map, and those behind them, are
// executed in their order.
func TestMapWaitOrder(t *testing.T) {
	c := newCluster(t, clusterOptions{pgs: 1})
	want(t, c.cl.op("o", write(0, "x")), 0)
	cur := c.mon.cur()
	var last <-chan *wire.MOSDOpReply
	for i := range 200 {
		m := c.cl.message("o", wire.Op{Code: wire.OpWriteFull, Data: wire.DataOf(fmt.Append(nil, i))})
		m.Epoch = cur.Epoch + 1
		if i%3 == 2 {
			m.Epoch = cur.Epoch // behind others: waits too
		}
		ch := make(chan *wire.MOSDOpReply, 1)
		c.cl.mu.Lock()
		c.cl.calls[m.TID] = ch
		conn := c.cl.conns[c.osds[0].Addr()]
		c.cl.mu.Unlock()
		conn.Send(m)
		last = ch
		if i == 150 {
			c.mon.change(func(*clustermap.OSDMap, *clustermap.Incremental) {})
		}
	}
	want(t, <-last, 0)
	wantData(t, c.cl.op("o", read()), "199")
	if n := c.osds[0].heldBytes.Load(); n != 0 {
		t.Fatalf("%d bytes count as held", n)
	}
}

// TestTooMuchWaits: what waits for a map is bounded by number and by bytes;
// beyond, the connection goes.
func TestTooMuchWaits(t *testing.T) {
	c := newCluster(t, clusterOptions{pgs: 1})
	want(t, c.cl.op("o", write(0, "x")), 0)
	big := wire.DataOf(make([]byte, 32<<20))
	var closed atomic.Bool
	for range 4 {
		m := c.cl.message("o", wire.Op{Code: wire.OpWrite, Data: big})
		m.Epoch += 10
		c.cl.mu.Lock()
		conn := c.cl.conns[c.osds[0].Addr()]
		c.cl.mu.Unlock()
		if conn == nil || conn.Send(m) != nil {
			closed.Store(true)
		}
		time.Sleep(5 * time.Millisecond)
	}
	c.waitFor("connection closed", func() bool { return c.osds[0].Metrics.Overrun.Load() > 0 && c.osds[0].Metrics.Sessions.Load() == 0 })
	if n, p := c.osds[0].heldBytes.Load(), c.osds[0].parked.Load(); n != 0 || p != 0 {
		t.Fatalf("%d bytes and %d requests count as held", n, p)
	}
	wantData(t, c.cl.op("o", read()), "x")
}
