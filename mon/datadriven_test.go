package mon

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"sort"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"

	"github.com/spirula/spirula/rados/clustermap"
	"github.com/spirula/spirula/rados/msgr"
	"github.com/spirula/spirula/rados/wire"
)

// script drives a mon without its goroutine: every directive is one event,
// handled to its end.
type script struct {
	t     *testing.T
	m     *Mon
	now   time.Time
	conns map[string]*fakeConn
	out   strings.Builder
}

// fakeConn is the mon's end of a session with an OSD or a client.
type fakeConn struct {
	s    *script
	name wire.EntityName
	addr wire.Addr
}

func (c *fakeConn) Peer() wire.EntityName    { return c.name }
func (c *fakeConn) PeerAddr() wire.Addr      { return c.addr }
func (c *fakeConn) Identity() *msgr.Identity { return &msgr.Identity{Trusted: true} }

func (c *fakeConn) GlobalID() uint64 { return 0 }

func (c *fakeConn) Wait(context.Context) error { return nil }

func (c *fakeConn) Close() {}

func (c *fakeConn) Send(m wire.Message) error {
	switch m := m.(type) {
	case *wire.MOSDMap:
		var epochs []string
		for e := range m.Fulls {
			epochs = append(epochs, fmt.Sprintf("full %d", e))
		}
		for e := range m.Incrementals {
			epochs = append(epochs, fmt.Sprintf("inc %d", e))
		}
		sort.Strings(epochs)
		fmt.Fprintf(&c.s.out, "-> %v: %s\n", c.name, strings.Join(epochs, ", "))
	case *wire.MPoolOpReply:
		fmt.Fprintf(&c.s.out, "-> %v: pool op %d, epoch %d, snap %d\n", c.name, m.Result, m.Epoch, m.Snap)
	case *wire.MRemoveSnaps:
		fmt.Fprintf(&c.s.out, "-> %v: snaps removed %v\n", c.name, m.Snaps)
	default:
		fmt.Fprintf(&c.s.out, "-> %v: %T\n", c.name, m)
	}
	return nil
}

func newScript(t *testing.T, osds int) *script {
	s := &script{t: t, now: time.Unix(1_800_000_000, 0).UTC(), conns: make(map[string]*fakeConn)}
	kv := NewMemKV()
	_, err := Mkfs(kv, MkfsOptions{FSID: wire.FSID{1}, Name: "a", Addr: monAddr, Now: s.now, OSDs: make([]MkfsOSD, osds)})
	if err != nil {
		t.Fatal(err)
	}
	s.m, err = New(Options{Name: "a", Addr: monAddr, Net: msgr.NewLocal(), KV: kv, Now: func() time.Time { return s.now }})
	if err != nil {
		t.Fatal(err)
	}
	s.m.started = s.now
	if err := s.m.raft.Campaign(); err != nil {
		t.Fatal(err)
	}
	s.m.pump()
	return s
}

func (s *script) conn(id int64, nonce int) *fakeConn {
	name := fmt.Sprintf("%d/%d", id, nonce)
	if s.conns[name] == nil {
		s.conns[name] = &fakeConn{s: s, name: wire.EntityName{Type: wire.EntityOSD, Num: id},
			addr: wire.Addr{Type: wire.AddrMsgr2, Nonce: uint32(nonce), IP: netip.AddrPortFrom(netip.MustParseAddr("10.0.0.1"), uint16(6800+id))}}
	}
	return s.conns[name]
}

// state prints what matters of the committed map.
func (s *script) state() {
	m := s.m.osd.cur
	fmt.Fprintf(&s.out, "epoch %d", m.Epoch)
	if f := flagNames(m.Flags); len(f) > 0 {
		fmt.Fprintf(&s.out, " flags %s", strings.Join(f, ","))
	}
	if m.Flags&clustermap.FlagFull != 0 {
		fmt.Fprint(&s.out, " FULL")
	}
	fmt.Fprintln(&s.out)
	for i := range m.OSDs {
		o := &m.OSDs[i]
		if o.State == 0 {
			continue
		}
		fmt.Fprintf(&s.out, " osd.%d %s weight %g up_from %d up_thru %d down_at %d\n", i, strings.Join(stateWords(o), ","),
			float64(o.Weight)/clustermapIn, o.Info.UpFrom, o.Info.UpThru, o.Info.DownAt)
	}
	for _, id := range poolIDs(m) {
		p := m.Pools[id]
		fmt.Fprintf(&s.out, " pool %d %q size %d/%d pg_num %d changed %d", id, m.PoolNames[id], p.Size, p.MinSize, p.PGNum, p.LastChange)
		if p.PGPNum != p.PGNum {
			fmt.Fprintf(&s.out, " pgp_num %d", p.PGPNum)
		}
		if p.SnapSeq != 0 {
			fmt.Fprintf(&s.out, " snap_seq %d", p.SnapSeq)
		}
		if q := m.RemovedSnapsQueue[id]; len(q) > 0 {
			fmt.Fprintf(&s.out, " removed %v", q)
		}
		fmt.Fprintln(&s.out)
	}
	for pg, osds := range m.PGTemp {
		fmt.Fprintf(&s.out, " pg_temp %v %v\n", pg, osds)
	}
	for _, a := range blocked(m) {
		fmt.Fprintf(&s.out, " blocklist %v until +%v\n", a, m.Blocklist[a].Std().Sub(s.now))
	}
}

func (s *script) run(d *datadriven.TestData) string {
	s.out.Reset()
	var id, nonce, a, b int
	scan := func(key string, p *int) {
		if d.HasArg(key) {
			d.ScanArgs(s.t, key, p)
		}
	}
	scan("osd", &id)
	nonce = 1
	scan("nonce", &nonce)
	c := s.conn(int64(id), nonce)
	send := func(m wire.Message) { s.m.handle(event{c: c, m: m}) }
	switch d.Cmd {
	case "cmd":
		s.command(d.Input)
	case "boot":
		send(&wire.MOSDBoot{OSD: int32(id), UUID: uuidOf(int64(id)), Public: c.addr, Cluster: c.addr, Host: "localhost"})
	case "drop":
		s.m.handle(event{c: c})
	case "goodbye":
		send(&wire.MOSDMarkDown{OSD: int32(id)})
	case "alive":
		scan("want", &a)
		send(&wire.MOSDAlive{OSD: int32(id), Want: wire.Epoch(a)})
	case "failure":
		scan("target", &a)
		b = 60
		scan("for", &b)
		send(&wire.MOSDFailure{Reporter: int32(id), Target: int32(a), TargetAddr: s.m.osd.cur.Addr(int32(a)), FailedFor: wire.Time(time.Duration(b) * time.Second)})
	case "pgtemp":
		scan("seed", &a)
		scan("to", &b)
		temp := []int32{int32(b)}
		if d.HasArg("none") {
			temp = nil
		}
		send(&wire.MOSDPGTemp{OSD: int32(id), Temp: map[wire.PGID][]int32{{Pool: 1, Seed: uint32(a)}: temp}})
	case "stats":
		scan("used", &a)
		m := &wire.MOSDStats{OSD: int32(id), Total: 100, Used: uint64(a), Avail: uint64(100 - a), PGs: map[wire.PGID]wire.PGStat{}}
		if d.HasArg("state") {
			s.pgReports(d, m)
		}
		send(m)
	case "subscribe":
		scan("start", &a)
		send(&wire.MMonSubscribe{What: map[string]wire.Subscription{wire.SubOSDMap: {Start: uint64(a), Once: d.HasArg("once")}}})
	case "snap":
		send(&wire.MPoolOp{Pool: 1, Op: wire.PoolCreateOwnSnap})
	case "rmsnaps":
		scan("id", &a)
		send(&wire.MRemoveSnaps{Snaps: map[int64][]wire.SnapID{1: {wire.SnapID(a)}}})
	case "purged":
		scan("id", &a)
		scan("seed", &b)
		send(&wire.MOSDPurged{OSD: int32(id), PG: wire.PGID{Pool: 1, Seed: uint32(b)}, Snaps: []wire.SnapID{wire.SnapID(a)}})
	case "wait":
		d, err := time.ParseDuration(d.CmdArgs[0].Key)
		if err != nil {
			s.t.Fatal(err)
		}
		s.now = s.now.Add(d)
		s.m.osd.tick(s.now)
	default:
		s.t.Fatalf("%s: unknown directive %s", d.Pos, d.Cmd)
	}
	s.m.pump()
	sent := strings.SplitAfter(s.out.String(), "\n")
	sort.SliceStable(sent, func(i, j int) bool { // sessions are served in no order
		return strings.HasPrefix(sent[i], "->") && strings.HasPrefix(sent[j], "->") && sent[i] < sent[j]
	})
	s.out.Reset()
	s.state()
	return strings.Join(sent, "") + s.out.String()
}

// pgReports adds what an OSD says of the placement groups it leads: state=S,
// objects=N each, clean=E.
func (s *script) pgReports(d *datadriven.TestData, m *wire.MOSDStats) {
	var state string
	var objects, clean int
	d.ScanArgs(s.t, "state", &state)
	d.MaybeScanArgs(s.t, "objects", &objects)
	d.MaybeScanArgs(s.t, "clean", &clean)
	for id, p := range s.m.osd.cur.Pools {
		for seed := range p.PGNum {
			pg := wire.PGID{Pool: id, Seed: seed}
			if mp := s.m.osd.cur.Map(pg); mp.ActingPrimary == m.OSD {
				m.PGs[pg] = wire.PGStat{State: state, Stat: wire.PoolStat{Objects: uint64(objects), Bytes: uint64(objects) * 10}, Up: mp.Up, Acting: mp.Acting,
					LastEpochClean: wire.Epoch(clean)}
			}
		}
	}
}

// command runs "prefix words k=v …".
func (s *script) command(line string) {
	cmd := make(map[string]any)
	var prefix []string
	for _, w := range strings.Fields(line) {
		if k, v, ok := strings.Cut(w, "="); ok {
			cmd[k] = v
		} else {
			prefix = append(prefix, w)
		}
	}
	cmd["prefix"] = strings.Join(prefix, " ")
	text, err := json.Marshal(cmd)
	if err != nil {
		s.t.Fatal(err)
	}
	s.m.command(nil, &wire.MMonCommand{Cmd: []string{string(text)}}, func(a *wire.MMonCommandAck) {
		fmt.Fprintf(&s.out, "%d %s\n", a.Result, a.Status)
		if len(a.Output) > 0 {
			fmt.Fprintf(&s.out, "%s\n", strings.TrimSpace(string(a.Output)))
		}
	})
}

// TestOSDMapService runs the histories in testdata/osdmap.
func TestOSDMapService(t *testing.T) {
	datadriven.Walk(t, "testdata/osdmap", func(t *testing.T, path string) {
		s := newScript(t, 3)
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			s.t = t
			return s.run(d)
		})
	})
}
