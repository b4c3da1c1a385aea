package osd

import (
	"bytes"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/spirula/spirula/osd/store/storetest"
	"github.com/spirula/spirula/rados/msgr"
	"github.com/spirula/spirula/rados/wire"
)

// TestTCP: the same over sockets.
func TestTCP(t *testing.T) {
	tcp := msgr.NewTCP(msgr.TCPOptions{})
	defer tcp.Close()
	c := newCluster(t, clusterOptions{net: tcp, model: storetest.ModelOptions{Inline: true}})
	cl := c.cl
	data := bytes.Repeat([]byte("0123456789abcdef"), 1<<18) // 4 MiB
	want(t, cl.op("o", wire.Op{Code: wire.OpWriteFull, Data: wire.DataOf(data)}, wire.Op{Code: wire.OpSetXattr, Name: "a", Value: []byte("b")}), 0)
	r := want(t, cl.op("o", wire.Op{Code: wire.OpStat}, wire.Op{Code: wire.OpGetXattr, Name: "a"}, read()), 0)
	if r.Results[0].Size != 4<<20 || string(r.Results[1].Value) != "b" || !bytes.Equal(r.Results[2].Data.Bytes(), data) {
		t.Fatal("what was read is not what was written")
	}
	r.Release()
	want(t, cl.op("none", read()), -2)
	if names := listAll(t, c, "", 100); len(names) != 1 || names[0] != "/o" {
		t.Fatalf("%q", names)
	}
	cl.acker("o", "yes")
	want(t, cl.op("o", watchOp(wire.WatchRegister, 7, 10)), 0)
	want(t, cl.op("o", notifyOp(9, 10, "hello")), 0)
	c.waitFor("notify complete", func() bool {
		cl.mu.Lock()
		defer cl.mu.Unlock()
		return len(cl.events) == 2 && cl.events[1].Event == wire.EventNotifyComplete && cl.events[1].Result == 0
	})
	cl.say(&wire.MCommand{TID: 1, Cmd: []string{`{"prefix":"version"}`}})
	if r := <-cl.commands; r.Result != 0 || len(r.Output) == 0 {
		t.Fatalf("%+v", r)
	}
	// A daemon that stops and comes again elsewhere.
	c.osds[0].Close()
	c.start(0)
	c.waitActive()
	r = want(t, cl.op("o", wire.Op{Code: wire.OpGetXattr, Name: "a"}), 0)
	if string(r.Results[0].Value) != "b" {
		t.Fatal("the xattr is gone")
	}
	// An operation that can't be read spoils its request only.
	bad := cl.message("o", wire.Op{Code: 0x120c, Value: []byte("x")})
	want(t, cl.do(bad), -95)
}

// TestCopyTCP: sources are had from other OSDs over sockets.
func TestCopyTCP(t *testing.T) {
	tcp := msgr.NewTCP(msgr.TCPOptions{Registry: wire.NewRegistry(Codecs())})
	defer tcp.Close()
	c := newCluster(t, clusterOptions{osds: 3, size: 2, pgs: 16, net: tcp, model: storetest.ModelOptions{Inline: true}})
	data := bytes.Repeat([]byte("0123456789abcdef"), 1<<18) // 4 MiB
	want(t, c.cl.op("src", wire.Op{Code: wire.OpWriteFull, Data: wire.DataOf(data)}), 0)
	for i := range 10 {
		name := fmt.Sprint("dst", i)
		want(t, c.cl.op(name, c.copyOp("src", wire.NoSnap, 0)), 0)
		wantData(t, c.cl.op(name, read()), string(data))
	}
}

// sloth is a client that takes nothing for a while.
type sloth struct {
	*client
	turn sync.Mutex
}

func (s *sloth) Dispatch(c msgr.Conn, m wire.Message) {
	s.turn.Lock()
	defer s.turn.Unlock()
	s.client.Dispatch(c, m)
}

// TestSlowReader: large answers are made as the client takes them.
func TestSlowReader(t *testing.T) {
	tcp := msgr.NewTCP(msgr.TCPOptions{})
	defer tcp.Close()
	c := newCluster(t, clusterOptions{net: tcp, model: storetest.ModelOptions{Inline: true}})
	data := bytes.Repeat([]byte("0123456789abcdef"), 1<<18) // 4 MiB
	want(t, c.cl.op("o", wire.Op{Code: wire.OpWriteFull, Data: wire.DataOf(data)}), 0)
	s := &sloth{client: c.client(4700)}
	conn, err := tcp.Connect(s.name, wire.Addr{}, wire.EntityOSD, c.osds[0].Addr(), s, msgr.NoAuth{Name: s.name.AuthName()})
	if err != nil {
		t.Fatal(err)
	}
	s.turn.Lock()
	var answers []chan *wire.MOSDOpReply
	for range 48 {
		m := s.message("o", wire.Op{Code: wire.OpRead, Len: 4 << 20})
		ch := make(chan *wire.MOSDOpReply, 1)
		s.mu.Lock()
		s.calls[m.TID] = ch
		s.mu.Unlock()
		answers = append(answers, ch)
		if err := conn.Send(m); err != nil {
			t.Fatal(err)
		}
	}
	c.waitFor("reads to wait", func() bool { return c.osds[0].Metrics.Paced.Load() > 0 })
	time.Sleep(100 * time.Millisecond)
	if n := c.osds[0].Metrics.Reads.Load(); n > 40 {
		t.Errorf("%d reads were executed for a client that takes nothing", n)
	}
	wantData(t, c.cl.op("o", wire.Op{Code: wire.OpRead, Len: 10}), "0123456789") // others go on
	s.turn.Unlock()
	for _, ch := range answers {
		r := want(t, <-ch, 0)
		if r.Results[0].Data.Len() != 4<<20 {
			t.Fatalf("%d bytes", r.Results[0].Data.Len())
		}
		r.Release()
	}
}
