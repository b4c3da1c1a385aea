package osd

import (
	"encoding/binary"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/spirula/spirula/osd/store/storetest"
	"github.com/spirula/spirula/rados/clustermap"
	"github.com/spirula/spirula/rados/msgr"
	"github.com/spirula/spirula/rados/wire"
)

func watchOp(what wire.WatchOp, cookie uint64, timeout uint64) wire.Op {
	return wire.Op{Code: wire.OpWatch, Watch: what, Num: cookie, Len: timeout}
}

func notifyOp(cookie uint64, timeout uint32, payload string) wire.Op {
	return wire.Op{Code: wire.OpNotify, Num: cookie, Value: wire.NotifyInput{Timeout: timeout, Payload: []byte(payload)}.Append(nil)}
}

// acker has a client answer notifies on an object with a text.
func (l *client) acker(object, text string) {
	l.onEvent = func(_ msgr.Conn, m *wire.MWatchNotify) {
		if m.Event == wire.EventNotify {
			l.op(object, wire.Op{Code: wire.OpNotifyAck,
				Value: wire.NotifyAckInput{NotifyID: m.NotifyID, Cookie: m.Cookie, Payload: []byte(text)}.Append(nil)})
		}
	}
}

// watchers gives client and cookie of an object's watches.
func watchers(l *client, object string) (out []string) {
	r := l.op(object, wire.Op{Code: wire.OpListWatchers})
	if r.Result < 0 {
		return []string{fmt.Sprint(r.Result)}
	}
	for _, w := range r.Results[0].Watchers {
		out = append(out, fmt.Sprintf("%v/%d/%d", w.Client, w.Cookie, w.Timeout))
	}
	slices.Sort(out)
	return out
}

func wantWatchers(t *testing.T, l *client, object string, names ...string) {
	t.Helper()
	if got := watchers(l, object); !slices.Equal(got, names) {
		t.Fatalf("watchers of %s: %q, want %q", object, got, names)
	}
}

// result decodes a notify's end.
func result(t *testing.T, m *wire.MWatchNotify) (replies map[string]string, missed []string) {
	t.Helper()
	r, err := wire.DecodeNotifyResult(m.Payload)
	if err != nil {
		t.Fatal(err)
	}
	replies = map[string]string{}
	for _, a := range r.Replies {
		replies[fmt.Sprintf("%d/%d", a.GlobalID, a.Cookie)] = string(a.Payload)
	}
	for _, a := range r.Missed {
		missed = append(missed, fmt.Sprintf("%d/%d", a.GlobalID, a.Cookie))
	}
	return replies, missed
}

func TestNotify(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, clusterOptions{model: storetest.ModelOptions{Inline: true}})
		a, b, cl := c.client(4201), c.client(4202), c.cl
		want(t, a.op("o", watchOp(wire.WatchRegister, 1, 0)), -2)
		want(t, cl.op("o", notifyOp(1, 5, "nobody")), -2)
		w := want(t, cl.op("o", write(0, "x")), 0)
		// Nobody watches: it is complete at once, after the answer.
		r := want(t, cl.op("o", notifyOp(77, 5, "nobody")), 0)
		id := binary.LittleEndian.Uint64(r.Results[0].Value)
		synctest.Wait()
		if e := cl.takeEvents(); len(e) != 1 || e[0].Event != wire.EventNotifyComplete || e[0].NotifyID != id ||
			e[0].Cookie != 77 || e[0].Result != 0 {
			t.Fatalf("%d %+v", id, e)
		}
		a.acker("o", "from a")
		b.acker("o", "from b")
		cl.acker("o", "from me")
		want(t, a.op("o", watchOp(wire.WatchRegister, 1, 0)), 0)
		want(t, b.op("o", watchOp(wire.WatchRegister, 1, 60)), 0)
		want(t, cl.op("o", watchOp(wire.WatchRegister, 9, 60)), 0)
		wantWatchers(t, cl, "o", "client.4100/9/60", "client.4201/1/30", "client.4202/1/60")
		if r := cl.op("o", wire.Op{Code: wire.OpStat}); r.UserVersion != w.UserVersion {
			t.Fatalf("watches moved the user version from %d to %d", w.UserVersion, r.UserVersion)
		}
		want(t, cl.op("o", notifyOp(5, 5, "hello")), 0)
		synctest.Wait()
		e := a.takeEvents()
		if len(e) != 1 || e[0].Event != wire.EventNotify || string(e[0].Payload) != "hello" || e[0].Cookie != 1 || e[0].Notifier != 4100 {
			t.Fatalf("%+v", e)
		}
		e = cl.takeEvents()
		if len(e) != 2 || e[0].Event != wire.EventNotify || e[1].Event != wire.EventNotifyComplete || e[1].Result != 0 || e[1].Cookie != 5 {
			t.Fatalf("%+v", e)
		}
		replies, missed := result(t, e[1])
		if fmt.Sprint(replies) != "map[4100/9:from me 4201/1:from a 4202/1:from b]" || missed != nil {
			t.Fatalf("%v %v", replies, missed)
		}
		// One does not answer; another goes away meanwhile.
		a.onEvent = nil
		b.onEvent = nil
		start := time.Now()
		want(t, cl.op("o", notifyOp(6, 7, "again")), 0)
		want(t, b.op("o", watchOp(wire.WatchUnwatch, 1, 0)), 0)
		want(t, b.op("o", watchOp(wire.WatchUnwatch, 1, 0)), 0)
		for range 100 {
			if e = cl.takeEvents(); len(e) > 0 && e[len(e)-1].Event == wire.EventNotifyComplete {
				break
			}
			time.Sleep(100 * time.Millisecond)
		}
		if took := time.Since(start); took < 6*time.Second || took > 8*time.Second {
			t.Fatalf("complete after %v", took)
		}
		last := e[len(e)-1]
		replies, missed = result(t, last)
		if last.Result != -110 || len(replies) != 1 || !slices.Equal(missed, []string{"4201/1"}) {
			t.Fatalf("%d %v %v", last.Result, replies, missed)
		}
		// Late answers are nothing.
		want(t, a.op("o", wire.Op{Code: wire.OpNotifyAck, Value: wire.NotifyAckInput{NotifyID: last.NotifyID, Cookie: 1}.Append(nil)}), 0)
		// Who deletes the object ends the watches, and the notifies wait for nobody.
		want(t, cl.op("o", notifyOp(8, 7, "to nobody soon")), 0)
		a.takeEvents()
		want(t, cl.op("o", wire.Op{Code: wire.OpDelete}), 0)
		synctest.Wait()
		if e := a.takeEvents(); len(e) != 1 || e[0].Event != wire.EventDisconnect || e[0].Cookie != 1 {
			t.Fatalf("%+v", e)
		}
		if e := cl.takeEvents(); len(e) == 0 || e[len(e)-1].Event != wire.EventNotifyComplete && e[len(e)-2].Event != wire.EventNotifyComplete {
			t.Fatalf("%+v", e)
		}
		want(t, a.op("o", watchOp(wire.WatchPing, 1, 0)), -2)
		if n, w := c.osds[0].notifies.Load(), c.osds[0].watches.Load(); n != 0 || w != 0 {
			t.Fatalf("%d notifies and %d watches are left", n, w)
		}
	})
}

func TestWatchTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, clusterOptions{osds: 1, model: storetest.ModelOptions{Inline: true}})
		a, cl := c.client(4201), c.cl
		want(t, cl.op("o", write(0, "x")), 0)
		want(t, a.op("o", watchOp(wire.WatchPing, 1, 0)), -107)
		want(t, a.op("o", watchOp(wire.WatchReconnect, 1, 0)), -107)
		want(t, a.op("o", watchOp(wire.WatchRegister, 1, 10)), 0)
		for range 5 { // pings keep it
			time.Sleep(8 * time.Second)
			want(t, a.op("o", watchOp(wire.WatchPing, 1, 0)), 0)
		}
		wantWatchers(t, cl, "o", "client.4201/1/10")
		time.Sleep(11 * time.Second)
		synctest.Wait()
		wantWatchers(t, cl, "o")
		if e := a.takeEvents(); len(e) != 1 || e[0].Event != wire.EventDisconnect {
			t.Fatalf("%+v", e)
		}
		want(t, a.op("o", watchOp(wire.WatchPing, 1, 0)), -107)

		// A broken connection alone does not end it; a reconnect goes on.
		want(t, a.op("o", watchOp(wire.WatchRegister, 2, 10)), 0)
		a.drop()
		time.Sleep(5 * time.Second)
		want(t, cl.op("o", notifyOp(5, 20, "while away")), 0)
		want(t, a.op("o", watchOp(wire.WatchPing, 2, 0)), -110)
		a.acker("o", "back")
		want(t, a.op("o", watchOp(wire.WatchReconnect, 2, 10)), 0)
		synctest.Wait()
		if e := a.takeEvents(); len(e) != 1 || string(e[0].Payload) != "while away" {
			t.Fatalf("%+v", e)
		}
		if e := cl.takeEvents(); len(e) != 1 || e[0].Event != wire.EventNotifyComplete || e[0].Result != 0 {
			t.Fatalf("%+v", e)
		}
		time.Sleep(8 * time.Second)
		want(t, a.op("o", watchOp(wire.WatchPing, 2, 0)), 0)
		a.drop()
		time.Sleep(11 * time.Second)
		synctest.Wait()
		wantWatchers(t, cl, "o")

		// A legacy watch lives as long as its connection, and its timeout more.
		want(t, a.op("o", watchOp(wire.WatchLegacy, 3, 10)), 0)
		time.Sleep(60 * time.Second)
		wantWatchers(t, cl, "o", "client.4201/3/10")
		a.drop()
		time.Sleep(11 * time.Second)
		synctest.Wait()
		wantWatchers(t, cl, "o")
	})
}

// TestWatchRestart: watches survive the daemon, and so do their timeouts.
func TestWatchRestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, clusterOptions{model: storetest.ModelOptions{Inline: true}})
		a, b, cl := c.client(4201), c.client(4202), c.cl
		want(t, cl.op("o", write(0, "x")), 0)
		want(t, a.op("o", watchOp(wire.WatchRegister, 1, 10)), 0)
		want(t, b.op("o", watchOp(wire.WatchRegister, 1, 10)), 0)
		c.osds[0].Close()
		time.Sleep(time.Minute) // nobody's time runs while nobody could ping
		c.start(0)
		c.waitActive()
		wantWatchers(t, cl, "o", "client.4201/1/10", "client.4202/1/10")
		want(t, a.op("o", watchOp(wire.WatchReconnect, 1, 10)), 0)
		time.Sleep(7 * time.Second)
		want(t, a.op("o", watchOp(wire.WatchPing, 1, 0)), 0)
		time.Sleep(7 * time.Second)
		synctest.Wait()
		wantWatchers(t, cl, "o", "client.4201/1/10")
		// A new interval is the same.
		c.mon.change(func(m *clustermap.OSDMap, inc *clustermap.Incremental) {
			p := m.Pool(c.pool).Clone()
			p.Size = 2
			p.MinSize = 1
			inc.NewPools[c.pool] = p
		})
		c.waitActive()
		wantWatchers(t, cl, "o", "client.4201/1/10")
		want(t, a.op("o", watchOp(wire.WatchPing, 1, 0)), -110)
		want(t, a.op("o", watchOp(wire.WatchReconnect, 1, 10)), 0)
		// A client that is shut out loses its watches.
		var addr wire.Addr
		c.osds[0].sessions.Range(func(k, _ any) bool {
			if conn := k.(msgr.Conn); conn.Peer() == a.name {
				addr = conn.PeerAddr()
			}
			return true
		})
		c.mon.change(func(m *clustermap.OSDMap, inc *clustermap.Incremental) {
			inc.NewBlocklist[addr] = wire.TimeOf(time.Now().Add(time.Hour))
		})
		time.Sleep(time.Second)
		synctest.Wait()
		wantWatchers(t, cl, "o")
	})
}
