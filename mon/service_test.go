package mon

import (
	"strings"
	"testing"
	"time"

	"github.com/spirula/spirula/rados/clustermap"
	"github.com/spirula/spirula/rados/wire"
)

// TestFromNothing starts a cluster that has no OSDs: they join with a number
// from "osd new", and are placed under their hosts by their size.
func TestFromNothing(t *testing.T) {
	r := start(t, mkfs(t, MkfsOptions{}), nil)
	if h := r.must("health"); !strings.Contains(h, "OSD count 0") {
		t.Errorf("health of an empty cluster: %s", h)
	}
	for id := range int64(2) {
		if got := r.must("osd new", "uuid="+uuidOf(id).String()); got != itoa(int32(id))+"\n" {
			t.Fatalf("osd new: %q", got)
		}
		p := r.osd(id, 1)
		p.conn.Send(&wire.MOSDBoot{OSD: int32(id), UUID: uuidOf(id), Public: p.addr, Cluster: p.addr, Host: "h" + itoa(int32(id)), Weight: 3 << 15})
		r.until("osd up", func(m *clustermap.OSDMap) bool { return m.IsUp(int32(id)) })
	}
	m := r.mon.OSDMap()
	for id := range int32(2) {
		if w := crushWeights(m.Crush)[id]; w != 3<<15 || hostOf(m.Crush, id) != "h"+itoa(id) || placeOf(m.Crush, id, "root") != "default" {
			t.Errorf("osd.%d: weight %d at %v", id, w, m.Crush.LocationOf(id))
		}
	}
	r.must("osd pool create", "pool=p", "pg_num=4", "size=2")
	m = r.mon.OSDMap()
	for seed := range uint32(4) {
		if a := m.Map(wire.PGID{Pool: 1, Seed: seed}).Acting; len(a) != 2 {
			t.Errorf("pg 1.%d acts on %v", seed, a)
		}
	}
}

// TestTrim keeps the increments that OSDs may need: those since all placement
// groups were clean, and the last ones in any case.
func TestTrim(t *testing.T) {
	s := newScript(t, 1)
	c := s.conn(0, 1)
	s.m.handle(event{c: c, m: &wire.MOSDBoot{OSD: 0, UUID: uuidOf(0), Public: c.addr, Cluster: c.addr, Host: "localhost"}})
	s.m.pump()
	s.command("osd pool create pool=p pg_num=1 size=1")
	s.m.pump()
	report := func(clean wire.Epoch) {
		pg := wire.PGID{Pool: 1}
		s.m.handle(event{c: c, m: &wire.MOSDStats{OSD: 0, Total: 100, Avail: 100, PGs: map[wire.PGID]wire.PGStat{pg: {State: "active+clean", LastEpochClean: clean}}}})
	}
	churn := func(n int) {
		for i := range n {
			s.command([]string{"osd set key=noout", "osd unset key=noout"}[i%2])
			s.m.pump()
		}
	}
	churn(keepIncs + 100)
	if s.m.osd.oldest() != 2 {
		t.Errorf("the oldest increment is %d, though no placement group was clean", s.m.osd.oldest())
	}
	report(50)
	churn(4)
	if got := s.m.osd.oldest(); got != 50 {
		t.Errorf("the oldest increment is %d, want 50", got)
	}
	report(s.m.osd.cur.Epoch)
	churn(4)
	if got, want := s.m.osd.oldest(), s.m.osd.cur.Epoch-keepIncs+1; got != want {
		t.Errorf("the oldest increment is %d, want %d", got, want)
	}
	m, err := New(s.m.opts)
	if err != nil {
		t.Fatal(err)
	}
	if m.osd.oldest() != s.m.osd.oldest() || m.osd.increment(m.osd.oldest()) == nil || m.osd.increment(m.osd.oldest()-1) != nil {
		t.Errorf("after a restart the oldest increment is %d, was %d", m.osd.oldest(), s.m.osd.oldest())
	}
}

// TestLogSubscription watches the cluster log as "ceph -w" and librados do.
func TestLogSubscription(t *testing.T) {
	r := start(t, mkfs(t, MkfsOptions{}), nil)
	c := r.client()
	r.must("log", "logtext=before")
	c.conn.Send(&wire.MMonSubscribe{What: map[string]wire.Subscription{"log-info": {}, wire.SubMgrMap: {}}})
	line := func(text string) *wire.MLog {
		return c.await("line "+text, func(m wire.Message) bool {
			l, ok := m.(*wire.MLog)
			return ok && len(l.Entries) > 0 && l.Entries[len(l.Entries)-1].Text == text
		}).(*wire.MLog)
	}
	mm := c.await("mgrmap", func(m wire.Message) bool { _, ok := m.(*wire.MMgrMap); return ok }).(*wire.MMgrMap)
	if mm.Map.Epoch != mgrEpoch || mm.Map.Available || len(mm.Map.Active) != 0 {
		t.Errorf("mgrmap %+v", mm.Map)
	}
	first := line("before")
	r.must("log", "logtext=one")
	if second := line("one"); second.Seen <= first.Seen {
		t.Errorf("version %d after %d: the client would pass it over", second.Seen, first.Seen)
	}
	// Another level takes the place of the first: information is not sent.
	c.conn.Send(&wire.MMonSubscribe{What: map[string]wire.Subscription{"log-error": {}, "log-nosuch": {}}})
	r.must("log", "logtext=two")
	c.conn.Send(&wire.MLog{Entries: []wire.LogEntry{{Seq: 8, Level: logError, Text: "bad", Channel: channelMain, Time: wire.TimeOf(time.Now())}}})
	ack := c.await("ack", func(m wire.Message) bool { _, ok := m.(*wire.MLogAck); return ok }).(*wire.MLogAck)
	if ack.Last != 8 || ack.Channel != channelMain {
		t.Errorf("ack %+v", ack)
	}
	r.mon.Close()
	r.restart(nil)
	if got := r.must("log last", "num=2"); !strings.Contains(got, "two") || !strings.Contains(got, "[ERR] bad") {
		t.Errorf("log after a restart: %s", got)
	}
}

// TestHostileLog sends more and longer lines than are kept.
func TestHostileLog(t *testing.T) {
	r := start(t, mkfs(t, MkfsOptions{}), nil)
	c := r.client()
	long := strings.Repeat("\xff", 10_000)
	for range 4 {
		m := &wire.MLog{}
		for i := range maxLogWait / 2 {
			m.Entries = append(m.Entries, wire.LogEntry{Seq: uint64(i), Level: 0xffff, Text: long, Channel: long})
		}
		c.conn.Send(m)
	}
	c.conn.Send(&wire.MLog{})
	out := r.must("log last", "num=100000", "channel=*")
	if n := strings.Count(out, "\n"); n > logLines || n == 0 || len(out) > logLines*(maxLogLine+1000) {
		t.Errorf("%d lines of %d bytes", n, len(out))
	}
	r.mon.Close()
	if n := len(r.mon.clog.lines); n > logLines {
		t.Errorf("%d lines are kept", n)
	}
}

// TestPoolQuota fills a pool up to its quota and empties it again.
func TestPoolQuota(t *testing.T) {
	s := loaded(t)
	full := func() bool { return s.m.osd.cur.Pools[1].Flags&clustermap.PoolFull != 0 }
	s.command("osd pool set-quota pool=p field=max_bytes val=5M")
	s.m.pump()
	s.now = s.now.Add(time.Second)
	s.m.osd.tick(s.now)
	s.m.pump()
	if a := s.ask(s.m.commands, map[string]any{"prefix": "health"}); !full() || !strings.Contains(string(a.Output), "1 pool(s) full") {
		t.Errorf("full %v, health %s", full(), a.Output)
	}
	s.command("osd pool set-quota pool=p field=max_bytes val=0")
	s.m.pump()
	s.m.osd.tick(s.now)
	s.m.pump()
	if full() {
		t.Error("a pool without a quota is full")
	}
}

func TestScaled(t *testing.T) {
	for n, want := range map[uint64]string{0: "0 B", 1023: "1023 B", 1024: "1 KiB", 1536: "1.5 KiB", 1000000: "977 KiB", 3 << 30: "3 GiB", 3974844416: "3.7 GiB", 319815680: "305 MiB"} {
		if got := size(n); got != want {
			t.Errorf("size(%d) = %q, want %q", n, got, want)
		}
	}
	if got := count(1024); got != "1.02k" {
		t.Errorf("count(1024) = %q", got)
	}
	for in, want := range map[string]uint64{"10Ki": 10240, "10K": 10240, "5M": 5 << 20, "7": 7, "2G": 2 << 30} {
		if got, ok := parseScaled(in, 1024); !ok || got != want {
			t.Errorf("parseScaled(%q) = %d, %v", in, got, ok)
		}
	}
	for _, in := range []string{"", "x", "K", "-1", "1Q", "99999999E", "1.5K"} {
		if got, ok := parseScaled(in, 1024); ok {
			t.Errorf("parseScaled(%q) = %d", in, got)
		}
	}
}
