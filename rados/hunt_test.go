package rados_test

import (
	"context"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/spirula/spirula/rados"
	"github.com/spirula/spirula/rados/clustermap"
	"github.com/spirula/spirula/rados/msgr"
	"github.com/spirula/spirula/rados/wire"
)

// abroad is a Local whose sessions look as if they had been authenticated over
// a network: the mon's peer has a number, and may fall silent.
type abroad struct{ *msgr.Local }

type abroadConn struct {
	msgr.Conn
}

func (c *abroadConn) GlobalID() uint64 { return 4711 }

type abroadDispatcher struct {
	msgr.Dispatcher
	conn *abroadConn
}

func (d *abroadDispatcher) Dispatch(_ msgr.Conn, m wire.Message) { d.Dispatcher.Dispatch(d.conn, m) }
func (d *abroadDispatcher) Reset(msgr.Conn)                      { d.Dispatcher.Reset(d.conn) }

func (n *abroad) Connect(me wire.EntityName, myAddr wire.Addr, peer wire.EntityType, addr wire.Addr, d msgr.Dispatcher, auth msgr.ClientAuth) (msgr.Conn, error) {
	wrapped := &abroadDispatcher{Dispatcher: d, conn: &abroadConn{}}
	c, err := n.Local.Connect(me, myAddr, peer, addr, wrapped, auth)
	if err != nil {
		return nil, err
	}
	wrapped.conn.Conn = c
	return wrapped.conn, nil
}

// fakeMon answers as its functions say.
type fakeMon struct {
	mu    sync.Mutex
	l     msgr.Listener
	conns []msgr.Conn
	mute  bool
	got   []wire.Message
	reply func(wire.Message) wire.Message
}

func newFakeMon(t *testing.T, net *msgr.Local, addr wire.Addr, reply func(wire.Message) wire.Message) *fakeMon {
	t.Helper()
	m := &fakeMon{reply: reply}
	l, err := net.Listen(wire.EntityName{Type: wire.EntityMon}, addr, m, msgr.NoAuth{})
	if err != nil {
		t.Fatal(err)
	}
	m.l = l
	t.Cleanup(l.Close)
	return m
}

func (m *fakeMon) Dispatch(c msgr.Conn, msg wire.Message) {
	m.mu.Lock()
	if !slices.Contains(m.conns, c) {
		m.conns = append(m.conns, c)
	}
	m.got = append(m.got, msg)
	mute := m.mute
	m.mu.Unlock()
	if mute {
		return
	}
	if r := m.reply(msg); r != nil {
		c.Send(r)
	}
}

func (m *fakeMon) Reset(msgr.Conn) {}

func (m *fakeMon) sessions() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.conns)
}

// monAt is the address of mon n.
func monAt(n byte) wire.Addr {
	return wire.Addr{Type: wire.AddrMsgr2, IP: netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, n}), 3300)}
}

// answers is what a mon says that has no number to give: over a network.
func answers(mons ...byte) func(wire.Message) wire.Message {
	infos := make([]clustermap.MonInfo, len(mons))
	for i, n := range mons {
		infos[i] = clustermap.MonInfo{Name: string('a' + rune(n)), Addrs: []wire.Addr{monAt(n)}}
	}
	mm := clustermap.NewMonMap(wire.FSID{9}, 1, infos).Encode()
	return func(m wire.Message) wire.Message {
		switch m := m.(type) {
		case *wire.MMonGetMap:
			return &wire.MMonMap{Map: mm}
		case *wire.MMonGetVersion:
			return &wire.MMonGetVersionReply{TID: m.TID, Newest: 5}
		case *wire.MAuth:
			return &wire.MAuthReply{TID: m.TID, GlobalID: 77, FSID: wire.FSID{9}}
		}
		return nil
	}
}

func session(t *testing.T, net msgr.Network, tweak func(*rados.MonOptions), mons ...byte) *rados.MonSession {
	t.Helper()
	o := rados.MonOptions{Net: net, Name: wire.EntityName{Type: wire.EntityClient}}
	for _, n := range mons {
		o.Addrs = append(o.Addrs, monAt(n))
	}
	if tweak != nil {
		tweak(&o)
	}
	s := rados.DialMon(o)
	t.Cleanup(s.Close)
	return s
}

func within(t *testing.T, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(bg, d)
	t.Cleanup(cancel)
	return ctx
}

// TestHunt finds the one mon of five that is there, learns of another from its
// map, and goes on there.
func TestHunt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := &abroad{Local: msgr.NewLocal()}
		a := newFakeMon(t, net.Local, monAt(5), answers(5, 6))
		s := session(t, net, nil, 1, 2, 3, 4, 5)
		if err := s.Ready(within(t, time.Minute)); err != nil {
			t.Fatal(err)
		}
		if s.FSID() != (wire.FSID{9}) || s.GlobalID() != 4711 {
			t.Errorf("cluster %v, number %d", s.FSID(), s.GlobalID())
		}
		version := make(chan error, 1)
		a.mu.Lock()
		a.mute = true
		a.mu.Unlock()
		go func() {
			_, err := s.NewestVersion(bg, wire.SubOSDMap)
			version <- err
		}()
		synctest.Wait()
		b := newFakeMon(t, net.Local, monAt(6), answers(5, 6))
		a.l.Close()
		if err := <-version; err != nil {
			t.Fatal(err)
		}
		if b.sessions() != 1 {
			t.Errorf("%d sessions with the mon of the map", b.sessions())
		}
	})
}

// TestMonSilent gives a mon up that says nothing for 30 seconds, and keeps one
// that answers.
func TestMonSilent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := &abroad{Local: msgr.NewLocal()}
		m := newFakeMon(t, net.Local, monAt(1), answers(1))
		s := session(t, net, nil, 1)
		if err := s.Ready(within(t, time.Minute)); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Minute)
		if n := m.sessions(); n != 1 {
			t.Errorf("%d sessions with a mon that answers", n)
		}
		m.mu.Lock()
		m.mute = true
		m.mu.Unlock()
		time.Sleep(50 * time.Second)
		if n := m.sessions(); n < 2 {
			t.Errorf("%d sessions with a mon that is silent", n)
		}
	})
}

// TestMonRefuses is said to who waits, and tried again nevertheless.
func TestMonRefuses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := msgr.NewLocal()
		var mu sync.Mutex
		result := -int32(wire.EACCES)
		newFakeMon(t, net, monAt(1), func(m wire.Message) wire.Message {
			mu.Lock()
			defer mu.Unlock()
			if a, ok := m.(*wire.MAuth); ok {
				return &wire.MAuthReply{TID: a.TID, Result: result, GlobalID: 7, FSID: wire.FSID{9}}
			}
			return nil
		})
		s := session(t, net, nil, 1, 2)
		if err := s.Ready(within(t, time.Minute)); wire.ErrnoOf(err) != wire.EACCES {
			t.Errorf("refused: %v", err)
		}
		mu.Lock()
		result = 0
		mu.Unlock()
		for s.Ready(within(t, time.Minute)) != nil {
			time.Sleep(time.Second)
		}
		other := session(t, net, func(o *rados.MonOptions) { o.FSID = wire.FSID{1} }, 1)
		if err := other.Ready(within(t, time.Minute)); wire.ErrnoOf(err) != wire.EINVAL {
			t.Errorf("another cluster: %v", err)
		}
		none := session(t, net, nil)
		if err := none.Ready(within(t, time.Minute)); wire.ErrnoOf(err) != wire.EINVAL {
			t.Errorf("no address: %v", err)
		}
	})
}

// renewer is a ClientAuth with a ticket of ten seconds.
type renewer struct {
	msgr.NoAuth
	mu    sync.Mutex
	until time.Time
	asked int
	got   []string
}

func (r *renewer) Renewal(now time.Time) ([]byte, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if now.Before(r.until) {
		return nil, false
	}
	r.asked++
	return []byte("more"), true
}

func (r *renewer) TakeRenewal(p []byte) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.got = append(r.got, string(p))
	r.until = time.Now().Add(10 * time.Second)
	return nil
}

// TestRenewal keeps tickets fresh on the open session.
func TestRenewal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := &abroad{Local: msgr.NewLocal()}
		base := answers(1)
		newFakeMon(t, net.Local, monAt(1), func(m wire.Message) wire.Message {
			if a, ok := m.(*wire.MAuth); ok {
				return &wire.MAuthReply{Payload: append([]byte("here: "), a.Payload...)}
			}
			return base(m)
		})
		r := &renewer{}
		s := session(t, net, func(o *rados.MonOptions) { o.Auth = r }, 1)
		if err := s.Ready(within(t, time.Minute)); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		r.mu.Lock()
		defer r.mu.Unlock()
		if r.asked < 4 || r.asked > 8 || len(r.got) != r.asked || r.got[0] != "here: more" {
			t.Errorf("asked %d times, got %q", r.asked, r.got)
		}
	})
}
