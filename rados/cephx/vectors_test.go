package cephx

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"os"
	"testing"
	"time"

	"github.com/spirula/spirula/rados/msgr"
	"github.com/spirula/spirula/rados/wire"
)

// vector is a handshake of a real 16.2 client, as it went over the wire.
type vector struct {
	Mode       msgr.Mode         `json:"mode"`
	Frames     []json.RawMessage `json:"frames"`
	SessionKey string            `json:"session_key"`
	Secret     string            `json:"connection_secret"`
	AdminKey   string            `json:"admin_key"`
	Services   map[string]string `json:"service_secrets"`
}

func readVector(t testing.TB, name string) *vector {
	t.Helper()
	b, err := os.ReadFile("testdata/cephx_" + name + ".json")
	if err != nil {
		t.Fatal(err)
	}
	v := new(vector)
	if err := json.Unmarshal(b, v); err != nil {
		t.Fatal(err)
	}
	return v
}

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// frame gives the payload of the first frame of who ("C", "S") with tag.
func (v *vector) frame(t testing.TB, who string, tag int) []byte {
	t.Helper()
	for _, raw := range v.Frames {
		var w string
		var n int
		var segs []string
		if err := json.Unmarshal(raw, &[]any{&w, &n, &segs}); err != nil {
			t.Fatal(err)
		}
		if w == who && n == tag {
			return unhex(t, segs[0])
		}
	}
	t.Fatalf("no frame %s %d", who, tag)
	return nil
}

func (v *vector) key(t testing.TB, hexkey string) CryptoKey {
	return CryptoKey{Type: KeyAES, Secret: unhex(t, hexkey)}
}

func mustBox(t testing.TB, k CryptoKey) box {
	t.Helper()
	b, err := k.box()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// authRequest takes an AUTH_REQUEST apart.
func authRequest(t testing.TB, frame []byte) (method msgr.Method, modes []msgr.Mode, payload []byte) {
	t.Helper()
	d := wire.NewDecoder(frame)
	method = msgr.Method(d.U32())
	for range d.Count(4) {
		modes = append(modes, msgr.Mode(d.U32()))
	}
	payload = d.Bytes()
	if d.Err() != nil || d.Len() != 0 {
		t.Fatal("request:", d.Err(), d.Len())
	}
	return method, modes, payload
}

func lengthed(t testing.TB, frame []byte) []byte {
	t.Helper()
	d := wire.NewDecoder(frame)
	b := d.Bytes()
	if d.Err() != nil || d.Len() != 0 {
		t.Fatal("frame:", d.Err(), d.Len())
	}
	return b
}

func authDone(t testing.TB, frame []byte) (gid uint64, mode msgr.Mode, payload []byte) {
	t.Helper()
	d := wire.NewDecoder(frame)
	gid, mode, payload = d.U64(), msgr.Mode(d.U32()), d.Bytes()
	if d.Err() != nil || d.Len() != 0 {
		t.Fatal("done:", d.Err(), d.Len())
	}
	return gid, mode, payload
}

func same(t *testing.T, what string, got, want []byte) {
	t.Helper()
	if !bytes.Equal(got, want) {
		t.Errorf("%s\ngot  %x\nwant %x", what, got, want)
	}
}

// checkTicket opens a ticket as its daemon, compares the session key, and
// seals it again to the same bytes.
func checkTicket(t *testing.T, v *vector, service wire.EntityType, b blob, session CryptoKey, gid uint64) *ServiceTicketInfo {
	t.Helper()
	number := map[wire.EntityType]string{1: "1", 2: "2", 4: "4", 16: "16", 32: "32"}[service]
	secret := v.key(t, v.Services[number])
	body, err := mustBox(t, secret).open(b.Sealed)
	if err != nil {
		t.Fatalf("ticket for %d: %v", service, err)
	}
	info, err := DecodeServiceTicketInfo(body)
	if err != nil {
		t.Fatalf("ticket for %d: %v", service, err)
	}
	if _, err := openTicket(b, secret, time.Unix(0, 0)); kindOf(err) != wire.EACCES {
		t.Errorf("a ticket without a MAC: %v", err)
	}
	if !info.SessionKey.Equal(session) || info.Ticket.GlobalID != gid || info.Ticket.Name.String() != "client.admin" {
		t.Errorf("ticket for %d: %+v", service, info)
	}
	same(t, "ticket", mustBox(t, secret).seal(info.Encode()), b.Sealed)
	return info
}

func TestMonVectors(t *testing.T) {
	for _, name := range []string{"mon_crc", "mon_secure"} {
		t.Run(name, func(t *testing.T) {
			v := readVector(t, name)
			admin := mustBox(t, v.key(t, v.AdminKey))

			method, modes, payload := authRequest(t, v.frame(t, "C", 2))
			c := NewClient(wire.AuthName{Type: wire.EntityClient, ID: "admin"}, v.key(t, v.AdminKey), ClientOptions{})
			h, err := c.Dial(wire.EntityMon)
			if err != nil {
				t.Fatal(err)
			}
			m2, modes2, p2, err := h.Request()
			if err != nil || m2 != method || modes2[0] != msgr.ModeSecure || len(modes) == 2 && modes2[1] != modes[1] {
				t.Fatal(m2, modes2, err)
			}
			same(t, "AUTH_REQUEST", p2, payload)

			more := lengthed(t, v.frame(t, "S", 4))
			server, err := decodeChallenge(more)
			if err != nil {
				t.Fatal(err)
			}
			same(t, "AUTH_REPLY_MORE", encodeChallenge(server), more)

			raw := lengthed(t, v.frame(t, "C", 5))
			d := wire.NewDecoder(raw)
			if d.U16() != askSession {
				t.Fatal("other request")
			}
			q := decodeSessionRequest(d)
			if d.Err() != nil || d.Len() != 0 || q.Services != 0x35 || !q.OldPromised || len(q.Old.Sealed) != 0 {
				t.Fatalf("%+v %v", q, d.Err())
			}
			if p := admin.proof(server, q.Challenge); p != q.Proof {
				t.Errorf("proof %x, want %x", p, q.Proof)
			}
			var e wire.Encoder
			q.append(&e)
			same(t, "AUTH_REQUEST_MORE", e.B, raw)
			checkMonDone(t, v, admin, &q)
		})
	}
}

// checkMonDone takes the AUTH_DONE apart and puts it together again.
func checkMonDone(t *testing.T, v *vector, admin box, q *sessionRequest) {
	gid, mode, payload := authDone(t, v.frame(t, "S", 6))
	d := wire.NewDecoder(payload)
	if d.U16() != askSession || d.I32() != 0 || mode != v.Mode {
		t.Fatal("answer to something else")
	}
	grants, secret, err := decodeSession(d, admin, nil)
	if err != nil || d.Len() != 0 {
		t.Fatal(err, d.Len())
	}
	same(t, "session key", grants[0].Key.Secret, unhex(t, v.SessionKey))
	same(t, "connection secret", secret, unhex(t, v.Secret))
	if len(grants) != 4 {
		t.Fatalf("%d tickets", len(grants))
	}
	for i, service := range []wire.EntityType{32, 1, 4, 16} {
		g := grants[i]
		if g.Service != service || g.Validity != time.Hour {
			t.Errorf("ticket %d: for %d, %v", i, g.Service, g.Validity)
		}
		info := checkTicket(t, v, service, g.Blob, g.Key, gid)
		if want := map[bool]string{true: "", false: "allow *"}[service == 32]; info.Ticket.Caps != want {
			t.Errorf("caps %q", info.Ticket.Caps)
		}
	}
	session := mustBox(t, grants[0].Key)
	var e, body, sealed, extra wire.Encoder
	e.U16(askSession)
	e.I32(0)
	appendGrants(&e, grants[:1], admin, nil)
	body.Bytes(secret)
	session.appendSealed(&sealed, body.B)
	e.Bytes(sealed.B)
	appendGrants(&extra, grants[1:], session, nil)
	e.Bytes(extra.B)
	same(t, "AUTH_DONE", e.B, payload)
}

func TestServiceVectors(t *testing.T) {
	for _, name := range []string{"osd_crc", "osd_secure"} {
		t.Run(name, func(t *testing.T) {
			v := readVector(t, name)
			key := v.key(t, v.SessionKey)
			session := mustBox(t, key)
			_, _, first := authRequest(t, v.frame(t, "C", 2))
			second := lengthed(t, v.frame(t, "C", 5))
			more := lengthed(t, v.frame(t, "S", 4))

			body, err := session.open(more)
			if err != nil {
				t.Fatal(err)
			}
			challenge, err := decodeChallenge(body)
			if err != nil {
				t.Fatal(err)
			}
			same(t, "AUTH_REPLY_MORE", session.seal(encodeChallenge(challenge)), more)

			var nonce uint64
			for i, raw := range [][]byte{first, second} {
				d := wire.NewDecoder(raw)
				a := decodeAuthorizer(d)
				if d.Err() != nil || d.Len() != 0 || a.Service != wire.EntityOSD {
					t.Fatalf("%+v %v", a, d.Err())
				}
				info := checkTicket(t, v, wire.EntityOSD, a.Ticket, key, a.GlobalID)
				same(t, "session key", info.SessionKey.Secret, key.Secret)
				body, err := session.open(a.Sealed)
				if err != nil {
					t.Fatal(err)
				}
				auth, err := decodeAuthorize(body)
				if err != nil || auth.HasChallenge != (i == 1) || i == 1 && (auth.Answer != challenge+1 || auth.Nonce != nonce) {
					t.Fatalf("%+v %v", auth, err)
				}
				nonce = auth.Nonce
				a.Sealed = session.seal(auth.encode())
				var e wire.Encoder
				a.append(&e)
				same(t, "authorizer", e.B, raw)
			}

			_, mode, payload := authDone(t, v.frame(t, "S", 6))
			if body, err = session.openNext(wire.NewDecoder(payload)); err != nil {
				t.Fatal(err)
			}
			n, secret, err := decodeAuthorizeReply(body)
			if err != nil || n != nonce+1 || mode != v.Mode {
				t.Fatal(n, nonce, mode, err)
			}
			same(t, "connection secret", secret, unhex(t, v.Secret))
			var e wire.Encoder
			session.appendSealed(&e, encodeAuthorizeReply(nonce, secret))
			same(t, "AUTH_DONE", e.B, payload)
		})
	}
}
