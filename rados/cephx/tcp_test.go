package cephx

import (
	"context"
	"net/netip"
	"testing"
	"time"

	"github.com/spirula/spirula/rados/msgr"
	"github.com/spirula/spirula/rados/wire"
)

// echo answers what it gets, on whichever side.
type echo struct{ got chan wire.Message }

func (e echo) Dispatch(c msgr.Conn, m wire.Message) {
	select {
	case e.got <- m:
	default:
	}
	if v, ok := m.(*wire.MMonGetVersion); ok {
		c.Send(&wire.MMonGetVersionReply{TID: v.TID, Newest: c.Identity().GlobalID})
	}
}

func (e echo) Reset(msgr.Conn) {}

// Both sides over real connections, where every byte before the session is
// signed: mon first, then an OSD with the mon's ticket.
func TestOverTCP(t *testing.T) {
	w := newWorld()
	loopback := wire.Addr{Type: wire.AddrMsgr2, IP: netip.MustParseAddrPort("127.0.0.1:0")}
	for _, mode := range []msgr.Mode{msgr.ModeCRC, msgr.ModeSecure} {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		net := msgr.NewTCP(msgr.TCPOptions{})
		listen := func(n wire.EntityName, auth msgr.ServerAuth) msgr.Listener {
			l, err := net.Listen(n, loopback, echo{make(chan wire.Message, 1)}, auth)
			if err != nil {
				t.Fatal(err)
			}
			return l
		}
		mon, osd := listen(wire.EntityName{Type: wire.EntityMon}, w.mon()), listen(wire.EntityName{Type: wire.EntityOSD, Num: 0}, w.osd())
		c := w.client(admin, ClientOptions{MonModes: []msgr.Mode{mode}, ServiceModes: []msgr.Mode{mode}})
		for _, peer := range []struct {
			kind wire.EntityType
			l    msgr.Listener
		}{{wire.EntityMon, mon}, {wire.EntityOSD, osd}, {wire.EntityMon, mon}} {
			e := echo{make(chan wire.Message, 1)}
			conn, err := net.Connect(wire.EntityName{Type: wire.EntityClient}, wire.Addr{}, peer.kind, peer.l.Addr(), e, c)
			if err != nil {
				t.Fatal(err)
			}
			if err := conn.Wait(ctx); err != nil {
				t.Fatalf("mode %d, %d: %v", mode, peer.kind, err)
			}
			if err := conn.Send(&wire.MMonGetVersion{TID: 1, What: "osdmap"}); err != nil {
				t.Fatal(err)
			}
			select {
			case m := <-e.got:
				if r, ok := m.(*wire.MMonGetVersionReply); !ok || r.Newest != c.GlobalID() || conn.GlobalID() != c.GlobalID() {
					t.Errorf("%+v, we are %d", m, c.GlobalID())
				}
			case <-ctx.Done():
				t.Fatal("no answer")
			}
			conn.Close()
		}
		liar := NewClient(admin, GenerateKey(w.now), ClientOptions{Now: w.clock})
		conn, err := net.Connect(wire.EntityName{Type: wire.EntityClient}, wire.Addr{}, wire.EntityMon, mon.Addr(), echo{make(chan wire.Message, 1)}, liar)
		if err != nil {
			t.Fatal(err)
		}
		if err := conn.Wait(ctx); kindOf(err) != wire.EACCES {
			t.Error("wrong key:", err)
		}
		conn.Close()
		mon.Close()
		osd.Close()
	}
}
