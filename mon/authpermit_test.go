package mon

import (
	"context"
	"fmt"
	"testing"

	"github.com/spirula/spirula/rados/cephx"
	"github.com/spirula/spirula/rados/msgr"
	"github.com/spirula/spirula/rados/wire"
)

// identified is the mon's end of a session whose peer proved who it is.
type identified struct {
	id   *msgr.Identity
	name wire.AuthName
	as   wire.EntityName
	sent map[string]int
	last wire.Message
}

func (c *identified) Peer() wire.EntityName      { return c.as }
func (c *identified) PeerAddr() wire.Addr        { return monAddr }
func (c *identified) Identity() *msgr.Identity   { return c.id }
func (c *identified) GlobalID() uint64           { return 0 }
func (c *identified) Wait(context.Context) error { return nil }
func (c *identified) Close()                     {}
func (c *identified) Send(m wire.Message) error {
	c.last = m
	c.sent[fmt.Sprintf("%T", m)]++
	return nil
}

// What sessions may do by their caps.
func TestSessionCaps(t *testing.T) {
	s := newScript(t, 1)
	client := wire.AuthName{Type: wire.EntityClient, ID: "x"}
	put := func(osdCaps string) {
		s.m.auth.change(func(v *authView) func(wire.Errno) {
			v.put(client, cephx.Entity{Key: cephx.GenerateKey(s.now), Caps: map[string]string{"osd": osdCaps}})
			return nil
		})
		s.m.pump()
	}
	s.command("osd pool create pool=p pg_num=4")
	s.m.pump()
	pool, ok := s.m.osd.cur.PoolByName("p")
	if !ok {
		t.Fatal("no pool")
	}
	conn := func(caps string) *identified {
		return &identified{id: &msgr.Identity{Name: client, GlobalID: 9, Caps: caps}, as: wire.EntityName{Type: wire.EntityClient, Num: 9}, sent: make(map[string]int)}
	}
	cmd := func(text string) wire.Message { return &wire.MMonCommand{TID: 1, FSID: s.m.fsid, Cmd: []string{text}} }
	result := func(m wire.Message) wire.Errno {
		switch m := m.(type) {
		case *wire.MMonCommandAck:
			return wire.Errno(-m.Result)
		case *wire.MPoolOpReply:
			return wire.Errno(-m.Result)
		case nil:
			return -1 // no answer
		}
		return 0
	}
	sub := func(what string) wire.Message {
		return &wire.MMonSubscribe{What: map[string]wire.Subscription{what: {}}}
	}
	for _, test := range []struct {
		mon, osd string
		msg      wire.Message
		want     wire.Errno
	}{
		{"allow r", "", cmd(`{"prefix":"osd pool ls"}`), 0},
		{"allow r", "", cmd(`{"prefix":"auth ls"}`), wire.EACCES},
		{"allow *", "", cmd(`{"prefix":"auth ls"}`), 0},
		{"allow rwx", "", cmd(`{"prefix":"auth ls"}`), 0},
		{"allow service osd r", "", cmd(`{"prefix":"auth ls"}`), wire.EACCES},
		{"allow nonsense", "", cmd(`{"prefix":"osd pool ls"}`), wire.EACCES},
		{"allow r", "", cmd(`{"prefix":"osd set","key":"noout"}`), wire.EACCES},
		{"allow rw", "", cmd(`{"prefix":"osd set","key":"noout"}`), 0},
		{`allow command "osd unset" with key=noout`, "", cmd(`{"prefix":"osd unset","key":"noup"}`), wire.EACCES},
		{`allow command "osd unset" with key=noout`, "", cmd(`{"prefix":"osd unset","key":"noout"}`), 0},
		{"allow r", "", cmd(`{"prefix":"get_command_descriptions"}`), 0},
		{"profile bootstrap-mgr", "", cmd(`{"prefix":"auth get-or-create","entity":"mgr.x","caps":["mon","allow profile mgr"]}`), 0},
		{"profile bootstrap-mgr", "", cmd(`{"prefix":"auth get-or-create","entity":"mgr.y","caps":["mon","allow *"]}`), wire.EACCES},
		{"allow r", "", sub(wire.SubOSDMap), 0},
		{"allow service mon r", "", sub(wire.SubOSDMap), -1},
		{"allow service mon r", "", sub(wire.SubMonMap), 0},
		{"allow service osd r", "", &wire.MMonGetVersion{What: wire.SubOSDMap}, -1},
		{"allow r", "", &wire.MMonGetVersion{What: wire.SubOSDMap}, 0},
		{"allow r", "", &wire.MStatfs{}, 0},
		{"allow service mon r", "", &wire.MStatfs{}, -1},
		{"allow r", "allow rwx", &wire.MPoolOp{Op: wire.PoolCreate, Name: "q"}, wire.EPERM},
		{"allow r", "allow rwx pool=p", &wire.MPoolOp{Op: wire.PoolCreateOwnSnap, Pool: pool}, 0},
		{"allow r", "allow r pool=p", &wire.MPoolOp{Op: wire.PoolCreateOwnSnap, Pool: pool}, wire.EPERM},
		{"allow r", "profile rbd pool=p", &wire.MPoolOp{Op: wire.PoolCreateOwnSnap, Pool: pool}, 0},
		{"allow r", "allow rwx pool=other", &wire.MPoolOp{Op: wire.PoolCreateOwnSnap, Pool: pool}, wire.EPERM},
		{"allow rw", "", &wire.MPoolOp{Op: wire.PoolCreateOwnSnap, Pool: pool}, 0},
		{"allow rw", "", &wire.MPoolOp{Op: wire.PoolCreate, Name: "q", CrushRule: -1}, 0},
		{"allow r", "allow rwx", &wire.MRemoveSnaps{Snaps: map[int64][]wire.SnapID{pool: {77}}}, -1},
		{`allow r, allow command "osd pool rmsnap"`, "", &wire.MRemoveSnaps{Snaps: map[int64][]wire.SnapID{pool: {77}}}, 0},
	} {
		put(test.osd)
		c := conn(test.mon)
		s.m.handle(event{c: c, m: test.msg})
		s.m.pump()
		if got := result(c.last); got != test.want {
			t.Errorf("%s / %s: %T %+v: %d, want %d", test.mon, test.osd, test.msg, test.msg, got, test.want)
		}
		if a, ok := c.last.(*wire.MMonCommandAck); ok && test.want == wire.EACCES && a.Status != "access denied" {
			t.Errorf("status %q", a.Status)
		}
	}
	// An OSD speaks for itself only, and only with an OSD's caps.
	boot := func(name string, caps string, as int64) bool {
		n, err := cephx.ParseName(name)
		if err != nil {
			t.Fatal(err)
		}
		c := &identified{id: &msgr.Identity{Name: n, Caps: caps}, as: wire.EntityName{Type: wire.EntityOSD, Num: as}, sent: make(map[string]int)}
		return s.m.permitsMessage(s.m.sessionOf(c), &wire.MOSDBoot{OSD: int32(as)})
	}
	if !boot("osd.3", "allow profile osd", 3) || boot("osd.3", "allow profile osd", 4) || boot("osd.3", "allow r", 3) || boot("client.x", "allow *", 3) {
		t.Error("who may boot as an OSD")
	}
}

// An OSD's key comes with "osd new" and goes with the OSD.
func TestOSDKeys(t *testing.T) {
	r := start(t, mkfs(t, MkfsOptions{}), nil)
	n := wire.AuthName{Type: wire.EntityOSD, ID: "0"}
	const uuid = "00112233-4455-6677-8899-aabbccddeeff"
	input := `{"cephx_secret": "` + givenKey + `"}`
	for range 2 {
		if a := r.ask(input, map[string]any{"prefix": "osd new", "uuid": uuid}); a.Result != 0 {
			t.Fatal(a.Status)
		}
		if e := r.mon.Keyring()[n]; e.Key.Text() != givenKey || e.Caps["mon"] != "allow profile osd" || e.Caps["osd"] != "allow *" {
			t.Errorf("%+v", e)
		}
	}
	other := `{"cephx_secret": "` + r.must("auth print-key", "entity=client.admin") + `"}`
	if a := r.ask(other, map[string]any{"prefix": "osd new", "uuid": uuid}); a.Result != -int32(wire.EEXIST) {
		t.Errorf("another key: %d %s", a.Result, a.Status)
	}
	if a := r.ask(`{"cephx_secret": "x"}`, map[string]any{"prefix": "osd new", "uuid": uuid}); a.Result != -int32(wire.EINVAL) {
		t.Errorf("no key: %d %s", a.Result, a.Status)
	}
	if a := r.ask("", map[string]any{"prefix": "osd purge", "id": 0, "yes_i_really_mean_it": true}); a.Result != 0 {
		t.Fatal(a.Status)
	}
	if e, ok := r.mon.Keyring()[n]; ok {
		t.Errorf("after the purge: %+v", e)
	}
}

// Whoever waits when the mon ceases to lead is told so, and nothing of what
// was asked happens.
func TestAuthWithoutLead(t *testing.T) {
	s := newScript(t, 0)
	a := s.m.auth
	n := wire.AuthName{Type: wire.EntityClient, ID: "x"}
	var got []wire.Errno
	put := func(v *authView) func(wire.Errno) {
		if e := v.put(n, cephx.Entity{Key: cephx.GenerateKey(s.now)}); e != 0 {
			t.Error(e)
		}
		return func(e wire.Errno) { got = append(got, e) }
	}
	number := func(_ uint64, e wire.Errno) { got = append(got, e) }
	a.next = a.end
	a.allot(number)
	a.change(put)
	if p := a.propose(s.now); p == nil || len(p.changes) != 2 || a.propose(s.now) != nil {
		t.Fatalf("%+v", p)
	}
	a.change(put) // waits for the step under way
	if len(got) != 0 {
		t.Fatal("answered before it was agreed upon:", got)
	}
	s.m.leader = false
	a.lead(false)
	a.allot(number)
	a.change(put)
	if len(got) != 5 {
		t.Errorf("%d answers", len(got))
	}
	for _, e := range got {
		if e != wire.EAGAIN {
			t.Errorf("answers %v", got)
		}
	}
	if _, ok := a.ring[n]; ok || len(a.shared.Load().ring) != 2 {
		t.Error("it happened nevertheless")
	}
	s.m.leader = true
	for range maxAuthWaiting + 1 {
		a.next = a.end
		a.allot(number)
	}
	for range maxAuthOps + 1 {
		a.change(put)
	}
	if len(a.waiting) != maxAuthWaiting || len(a.ops) != maxAuthOps || len(got) != 7 {
		t.Errorf("%d and %d wait, %d answers", len(a.waiting), len(a.ops), len(got))
	}
}
