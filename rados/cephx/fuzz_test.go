package cephx

import (
	"context"
	"testing"
	"time"

	"github.com/spirula/spirula/rados/msgr"
	"github.com/spirula/spirula/rados/wire"
)

func FuzzKeyring(f *testing.F) {
	f.Add([]byte("[client.admin]\n\tkey = " + someKey + "\n\tcaps mon = \"allow *\"\n"))
	f.Add([]byte("[mon.]\ncaps_osd = 'a' \\\n# x"))
	f.Fuzz(func(t *testing.T, text []byte) {
		k, err := ParseKeyring(text)
		if err != nil {
			if wire.ErrnoOf(err) != wire.EINVAL {
				t.Fatal(err)
			}
			return
		}
		_ = k.Format()
	})
}

func FuzzCaps(f *testing.F) {
	for _, s := range []string{"allow rwx pool=a namespace=b* object_prefix p", "allow class foo bar, profile rbd", "allow rw tag a b=c",
		"allow command \"a b\" with k=v p prefix q r regex s", "allow service osd rw network ::/0", "allow pool a rwx"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		q := OSDRequest{Pool: "a", Object: "p", Read: true, Calls: []ClassCall{{"foo", "bar", true, true}}}
		if c, err := ParseOSDCaps(text); err != nil && (c.Allows(&q) || c.Allows(&OSDRequest{})) {
			t.Fatal("caps that can't be read allow something")
		}
		if c, err := ParseMonCaps(text); err != nil && c.Allows(MonRequest{Service: "osd", Command: "a b"}) {
			t.Fatal("caps that can't be read allow something")
		}
	})
}

// FuzzMon gives a mon anything as requests, in and after the handshake.
func FuzzMon(f *testing.F) {
	w := newWorld()
	mon := w.mon()
	v := readVector(f, "mon_secure")
	_, _, first := authRequest(f, v.frame(f, "C", 2))
	second := lengthed(f, v.frame(f, "C", 5))
	f.Add(first, second)
	f.Add(first, []byte{0, 2, 1})
	f.Fuzz(func(t *testing.T, first, second []byte) {
		h := mon.Accept(8)
		if s, err := h.Request(context.Background(), msgr.MethodCephx, []msgr.Mode{msgr.ModeCRC}, first); err == nil {
			if s.Done {
				t.Fatal("let in for nothing")
			}
			if s, err := h.More(context.Background(), second); err == nil {
				t.Fatalf("let in: %+v", s)
			}
		}
		id := msgr.Identity{Name: admin, GlobalID: 5, Challenge: 7}
		if _, err := mon.Renew(&id, second); err == nil {
			t.Fatal("a ticket for nothing")
		}
	})
}

func FuzzService(f *testing.F) {
	osd := newWorld().osd()
	for _, name := range []string{"osd_crc", "osd_secure"} {
		v := readVector(f, name)
		_, _, first := authRequest(f, v.frame(f, "C", 2))
		f.Add(first)
	}
	f.Fuzz(func(t *testing.T, p []byte) {
		h := osd.Accept(8)
		if _, err := h.Request(context.Background(), msgr.MethodCephx, []msgr.Mode{msgr.ModeCRC}, p); err == nil {
			t.Fatal("an authorizer from nowhere was taken")
		}
	})
}

// FuzzClient gives a client anything as answers, sealed as they would be: a
// mon or a daemon may be broken.
func FuzzClient(f *testing.F) {
	w := newWorld()
	principal := w.ring[admin].Key
	key, err := principal.box()
	if err != nil {
		f.Fatal(err)
	}
	v := readVector(f, "mon_secure")
	_, _, done := authDone(f, v.frame(f, "S", 6))
	f.Add(done, []byte{1})
	f.Add([]byte{0, 4, 0, 0, 0, 0}, (Rotating{}).Rotate(w.now, time.Hour).Encode())
	f.Fuzz(func(t *testing.T, payload, inner []byte) {
		c := w.client(admin, ClientOptions{})
		h := &monDial{c: c, challenge: 1}
		_, _ = h.Done(5, msgr.ModeSecure, payload)
		var e wire.Encoder
		e.Raw(payload[:min(6, len(payload))])
		key.appendSealed(&e, inner)
		_, _ = h.Done(5, msgr.ModeSecure, e.B)
		_, _ = h.More(inner)
		_ = c.TakeRenewal(payload)
		_ = w.client(osd0, ClientOptions{}).TakeRenewal(e.B)
		_, _ = DecodeServiceTicketInfo(inner)
		_, _ = DecodeRotating(inner)
		s := &serviceDial{c: c, key: key}
		_, _ = s.More(key.seal(inner))
		s.answered = true
		_, _ = s.Done(0, msgr.ModeCRC, e.B)
	})
}
