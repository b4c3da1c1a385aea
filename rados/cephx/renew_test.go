package cephx

import (
	"bytes"
	"context"
	"testing"
	"time"

	"github.com/spirula/spirula/rados/msgr"
	"github.com/spirula/spirula/rados/wire"
)

// A ticket is good for its whole life, however the secrets rotate meanwhile.
func TestTicketsOutliveRotation(t *testing.T) {
	w := newWorld()
	mon, osd := w.mon(), w.osd()
	for start := range 25 {
		c := w.client(admin, ClientOptions{})
		mustConnect(t, c, wire.EntityMon, mon)
		before := w.now
		w.pass(59 * time.Minute)
		mustConnect(t, c, wire.EntityOSD, osd)
		w.mu.Lock()
		w.now = before
		w.mu.Unlock()
		w.pass(time.Duration(start) * 7 * time.Minute)
	}
	r := w.Rotating(wire.EntityOSD)
	if len(r.Secrets) != rotateCount || r.MaxID < 10 {
		t.Errorf("%d secrets, newest %d", len(r.Secrets), r.MaxID)
	}
	back, err := DecodeRotating(r.Encode())
	if err != nil || len(back.Secrets) != 3 || back.MaxID != r.MaxID || back.Secrets[2].ID != r.Secrets[2].ID {
		t.Errorf("%+v %v", back, err)
	}
}

// renew asks for and takes renewals over an open session until none is due.
func renew(t *testing.T, w *world, mon *MonAuth, c *Client, id *msgr.Identity) (rounds int) {
	t.Helper()
	for {
		q, due := c.Renewal(w.clock())
		if !due {
			return rounds
		}
		rounds++
		if rounds > 5 {
			t.Fatal("renewals without end")
		}
		reply, err := mon.Renew(id, q)
		if err != nil {
			t.Fatal(err)
		}
		if err := c.TakeRenewal(reply); err != nil {
			t.Fatal(err)
		}
	}
}

func TestRenewal(t *testing.T) {
	w := newWorld()
	mon, osd := w.mon(), w.osd()
	c := w.client(admin, ClientOptions{})
	o := mustConnect(t, c, wire.EntityMon, mon)
	id := o.step.Identity
	if _, due := c.Renewal(w.clock()); due {
		t.Error("due at once")
	}
	// Four days, a look every ten minutes: the session never lacks a ticket.
	first := c.tickets[wire.EntityAuth].Key
	rounds := 0
	for range 4 * 24 * 6 {
		w.pass(10 * time.Minute)
		rounds += renew(t, w, mon, c, &id)
		mustConnect(t, c, wire.EntityOSD, osd)
	}
	if rounds < 95 || rounds > 130 {
		t.Errorf("%d renewals in four days", rounds)
	}
	if c.tickets[wire.EntityAuth].Key.Equal(first) || c.GlobalID() != id.GlobalID {
		t.Error("the auth ticket was not renewed")
	}
	// What is not answered is asked for again, not at once.
	w.pass(50 * time.Minute)
	if _, due := c.Renewal(w.clock()); !due {
		t.Fatal("not due")
	}
	if _, due := c.Renewal(w.clock()); due {
		t.Error("twice at once")
	}
	w.pass(time.Minute)
	q, due := c.Renewal(w.clock())
	if !due {
		t.Fatal("not due again")
	}
	reply, err := mon.Renew(&id, q)
	if err != nil {
		t.Fatal(err)
	}
	for i := range reply {
		bad := bytes.Clone(reply)
		bad[i] ^= 0x40
		other := w.client(admin, ClientOptions{})
		other.asked = &renewal{session: c.asked.session}
		_ = other.TakeRenewal(bad) // must not panic; what it gives is sealed with keys of daemons
	}
	other := id
	other.GlobalID++
	if _, err := mon.Renew(&other, q); kindOf(err) != wire.EPERM {
		t.Error("another's ticket:", err)
	}
	for i := range q {
		_, _ = mon.Renew(&id, q[:i])
		bad := bytes.Clone(q)
		bad[i] ^= 1
		_, _ = mon.Renew(&id, bad)
	}
	delete(w.ring, admin)
	if _, err := mon.Renew(&id, q); kindOf(err) != wire.EACCES {
		t.Error("a removed entity:", err)
	}
}

func TestRefusedTicketIsRenewed(t *testing.T) {
	w := newWorld()
	c := w.client(admin, ClientOptions{})
	o := mustConnect(t, c, wire.EntityMon, w.mon())
	w.rotating[wire.EntityOSD] = Rotating{}.Rotate(w.now, time.Hour) // all secrets were lost
	if o := connect(t, c, wire.EntityOSD, w.osd()); kindOf(o.clientErr) != wire.EACCES {
		t.Fatal(o.clientErr)
	}
	if n := renew(t, w, w.mon(), c, &o.step.Identity); n != 1 {
		t.Errorf("%d renewals", n)
	}
	mustConnect(t, c, wire.EntityOSD, w.osd())
}

func TestServiceSecrets(t *testing.T) {
	w := newWorld()
	mon := w.mon()
	daemon := w.client(osd0, ClientOptions{})
	o := mustConnect(t, daemon, wire.EntityMon, mon)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if daemon.ServiceKeys().Wait(ctx) == nil {
		t.Error("secrets before any came")
	}
	acceptor := NewServiceAuth(wire.EntityOSD, daemon.ServiceKeys(), AcceptOptions{Now: w.clock})
	c := w.client(admin, ClientOptions{})
	co := mustConnect(t, c, wire.EntityMon, mon)
	early := make(chan outcome)
	go func() { early <- connect(t, c, wire.EntityOSD, acceptor) }()
	renew(t, w, mon, daemon, &o.step.Identity)
	if o := <-early; !o.ok() {
		t.Error("a peer that came before the secrets:", o.serverErr)
	}
	if err := daemon.ServiceKeys().Wait(context.Background()); err != nil {
		t.Fatal(err)
	}
	for range 60 {
		w.pass(7 * time.Minute)
		renew(t, w, mon, daemon, &o.step.Identity)
		renew(t, w, mon, c, &co.step.Identity)
		mustConnect(t, c, wire.EntityOSD, acceptor)
	}
	// A peer of the same kind connects with the daemon's own tickets.
	mustConnect(t, daemon, wire.EntityOSD, acceptor)

	if w.client(admin, ClientOptions{}).ServiceKeys() != nil {
		t.Error("a client with service secrets")
	}
	ask := []byte{0, 4}
	if _, err := mon.Renew(&co.step.Identity, ask); kindOf(err) != wire.EACCES {
		t.Error("a client asked for service secrets:", err)
	}
	// They are sealed with the daemon's own key.
	reply, err := mon.Renew(&o.step.Identity, ask)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.client(osd1, ClientOptions{}).TakeRenewal(reply); kindOf(err) != wire.EACCES {
		t.Error("another daemon read them:", err)
	}
}
