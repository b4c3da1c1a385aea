package mon

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/spirula/spirula/rados/cephx"
	"github.com/spirula/spirula/rados/msgr"
	"github.com/spirula/spirula/rados/wire"
)

const givenKey = "AQB0RiRhAAAAABAAGkGxPE3FWBOAhZyfdKNVOQ=="

var keyText = regexp.MustCompile(`AQ[A-Za-z0-9+/]{36}==`)

// masked replaces keys by KEY, but for the one that tests give.
func masked(s string) string {
	return keyText.ReplaceAllStringFunc(s, func(k string) string {
		if k == givenKey {
			return "GIVEN"
		}
		return "KEY"
	})
}

// ask runs a command with arguments of any kind.
func (r *rig) ask(input string, cmd map[string]any) *wire.MMonCommandAck {
	r.t.Helper()
	text, err := json.Marshal(cmd)
	if err != nil {
		r.t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	a, err := r.mon.Command(ctx, string(text), []byte(input))
	if err != nil {
		r.t.Fatal(err)
	}
	return a
}

// What the commands answer, as a real mon of 16.2 answered.
func TestAuthCommands(t *testing.T) {
	r := start(t, mkfs(t, MkfsOptions{Keyring: cephx.Keyring{{Type: wire.EntityOSD, ID: "0"}: {Caps: osdCaps}}}), nil)
	const ring = "[client.t9]\n\tkey = " + givenKey + "\n\tcaps mon = \"allow r\"\n"
	for i, step := range []struct {
		prefix, entity string
		caps           []string
		format, input  string
		result         wire.Errno
		status, output string
	}{
		{"auth ls", "", nil, "", "", 0, "installed auth entries:",
			"osd.0\n\tkey: KEY\n\tcaps: [mgr] allow profile osd\n\tcaps: [mon] allow profile osd\n\tcaps: [osd] allow *\n" +
				"client.admin\n\tkey: KEY\n\tcaps: [mds] allow *\n\tcaps: [mgr] allow *\n\tcaps: [mon] allow *\n\tcaps: [osd] allow *\n"},
		{"auth list", "", nil, "json", "", 0, "", `{"auth_dump":[{"entity":"osd.0","key":"KEY","caps":{"mgr":"allow profile osd","mon":"allow profile osd","osd":"allow *"}},` +
			`{"entity":"client.admin","key":"KEY","caps":{"mds":"allow *","mgr":"allow *","mon":"allow *","osd":"allow *"}}]}` + "\n"},
		{"auth get", "client.admin", nil, "", "", 0, "exported keyring for client.admin",
			"[client.admin]\n\tkey = KEY\n\tcaps mds = \"allow *\"\n\tcaps mgr = \"allow *\"\n\tcaps mon = \"allow *\"\n\tcaps osd = \"allow *\"\n"},
		{"auth get", "mon.", nil, "json", "", 0, "exported keyring for mon.", `[{"entity":"mon.","key":"KEY","caps":{"mon":"allow *"}}]` + "\n"},
		{"auth get", "client.no", nil, "", "", wire.ENOENT, "failed to find client.no in keyring", ""},
		{"auth get", "foo", nil, "", "", wire.EINVAL, "invalid entity_auth foo", ""},
		{"auth print-key", "client.admin", nil, "", "", 0, "", "KEY"},
		{"auth get-key", "client.admin", nil, "json", "", 0, "", `{"key":"KEY"}` + "\n"},
		{"auth print-key", "client.no", nil, "", "", wire.ENOENT, "don't have client.no", ""},
		{"auth get-or-create", "client.t1", []string{"mon", "allow r", "osd", "allow rw pool=a"}, "", "", 0, "", "[client.t1]\n\tkey = KEY\n"},
		{"auth get-or-create", "client.t1", []string{"mon", "allow r"}, "", "", 0, "", "[client.t1]\n\tkey = KEY\n"},
		{"auth get-or-create", "client.t1", []string{"mon", "allow rw"}, "", "", wire.EINVAL, "key for client.t1 exists but cap mon does not match", ""},
		{"auth get-or-create", "client.t1", nil, "json", "", 0, "", `[{"entity":"client.t1","key":"KEY","caps":{"mon":"allow r","osd":"allow rw pool=a"}}]` + "\n"},
		{"auth get-or-create-key", "client.t1", nil, "", "", 0, "", "KEY\n"},
		{"auth get-or-create-key", "client.t1", nil, "json", "", 0, "", `{"key":"KEY"}` + "\n"},
		{"auth get-or-create", "client.t2", []string{"mon", "foo"}, "", "", wire.EINVAL, "mon capability parse failed, stopped at 'foo' of 'foo'", ""},
		{"auth get-or-create", "client.t2", []string{"xyz", "allow foo"}, "", "", wire.EINVAL, "unknown cap type 'xyz'", ""},
		{"auth get-or-create", "client.t2", []string{"mon"}, "", "", wire.EINVAL, "bad capabilities request; odd number of arguments", ""},
		{"auth add", "client.t1", []string{"mon", "allow r", "osd", "allow rw pool=a"}, "", "", 0, "", ""},
		{"auth add", "client.t1", []string{"mon", "allow r"}, "", "", wire.EINVAL, "entity client.t1 exists but caps do not match", ""},
		{"auth add", "client.t3", []string{"mon", "allow r"}, "", "", 0, "added key for client.t3", ""},
		{"auth caps", "client.t1", []string{"mon", "allow rw"}, "", "", 0, "updated caps for client.t1", ""},
		{"auth caps", "client.no", []string{"mon", "allow r"}, "", "", wire.ENOENT, "couldn't find entry client.no", ""},
		{"auth export", "client.t1", nil, "", "", 0, "exported keyring for client.t1", "[client.t1]\n\tkey = KEY\n\tcaps mon = \"allow rw\"\n"},
		{"auth export", "client.no", nil, "", "", wire.ENOENT, "no key for client.no", ""},
		{"auth rm", "client.t1", nil, "", "", 0, "updated", ""},
		{"auth del", "client.t1", nil, "", "", 0, "entity client.t1 does not exist", ""},
		{"auth rm", "mon.", nil, "", "", 0, "entity mon. does not exist", ""},
		{"auth import", "", nil, "", ring, 0, "imported keyring", ""},
		{"auth import", "", nil, "", "", wire.EINVAL, "auth import: no data supplied", ""},
		{"auth get", "client.t9", nil, "", "", 0, "exported keyring for client.t9", "[client.t9]\n\tkey = GIVEN\n\tcaps mon = \"allow r\"\n"},
		{"auth add", "client.t9", nil, "", ring, 0, "", ""},
		{"auth add", "client.t9", []string{"mon", "allow r"}, "", ring, wire.EINVAL, "caps cannot be specified both in keyring and in command", ""},
		{"auth add", "client.t8", nil, "", ring, wire.EINVAL, "key for client.t8 not found in provided keyring", ""},
		{"auth rm", "client.t9", nil, "", "", 0, "updated", ""},
		{"auth add", "client.t9", nil, "", ring, 0, "added key for client.t9", ""},
		{"auth rotate", "client.t9", nil, "", "", 0, "", "[client.t9]\n\tkey = KEY\n\tcaps mon = \"allow r\"\n"},
		{"auth add", "client.t9", nil, "", ring, wire.EEXIST, "entity client.t9 exists but key does not match", ""},
		{"auth export", "", nil, "", "", 0, "exported master keyring", "[osd.0]\n\tkey = KEY\n\tcaps mgr = \"allow profile osd\"\n\tcaps mon = \"allow profile osd\"\n\tcaps osd = \"allow *\"\n" +
			"[client.admin]\n\tkey = KEY\n\tcaps mds = \"allow *\"\n\tcaps mgr = \"allow *\"\n\tcaps mon = \"allow *\"\n\tcaps osd = \"allow *\"\n" +
			"[client.t3]\n\tkey = KEY\n\tcaps mon = \"allow r\"\n[client.t9]\n\tkey = KEY\n\tcaps mon = \"allow r\"\n"},
	} {
		cmd := map[string]any{"prefix": step.prefix}
		if step.entity != "" {
			cmd["entity"] = step.entity
		}
		if step.caps != nil {
			cmd["caps"] = step.caps
		}
		if step.format != "" {
			cmd["format"] = step.format
		}
		a := r.ask(step.input, cmd)
		if a.Result != -int32(step.result) || a.Status != step.status || masked(string(a.Output)) != step.output {
			t.Errorf("%d: %v\ngot  %d %q %q\nwant %d %q %q", i, cmd, a.Result, a.Status, masked(string(a.Output)), -int32(step.result), step.status, step.output)
		}
	}
}

// A random history of changes, with restarts in between, against a map.
func TestAuthHistory(t *testing.T) {
	seed := rand.Uint64()
	rng := rand.New(rand.NewPCG(seed, 0))
	t.Logf("seed %d", seed)
	r := start(t, mkfs(t, MkfsOptions{}), nil)
	first := r.mon.Keyring()
	twin := make(map[string]map[string]string)
	keys := make(map[string]string)
	capsText := []string{"allow r", "allow rw", "allow *"}
	check := func() {
		t.Helper()
		var dump struct {
			Entries []struct {
				Entity, Key string
				Caps        map[string]string
			} `json:"auth_dump"`
		}
		if err := json.Unmarshal([]byte(r.must("auth ls", "format=json")), &dump); err != nil {
			t.Fatal(err)
		}
		if len(dump.Entries) != len(twin)+1 {
			t.Fatalf("%d entities, want %d", len(dump.Entries), len(twin)+1)
		}
		for _, e := range dump.Entries {
			if e.Entity == adminName.String() {
				continue
			}
			if e.Caps["mon"] != twin[e.Entity]["mon"] || e.Key != keys[e.Entity] || len(e.Caps) != 1 {
				t.Fatalf("%+v, want %v %s", e, twin[e.Entity], keys[e.Entity])
			}
		}
		if got := r.mon.Keyring(); !got[monName].Equal(first[monName]) || !got[adminName].Equal(first[adminName]) {
			t.Fatal("the first keys changed")
		}
	}
	for range 200 {
		n := fmt.Sprintf("client.%d", rng.IntN(8))
		caps := capsText[rng.IntN(len(capsText))]
		have, exists := twin[n]
		switch rng.IntN(6) {
		case 0, 1:
			a := r.ask("", map[string]any{"prefix": "auth get-or-create-key", "entity": n, "caps": []string{"mon", caps}})
			if ok := !exists || have["mon"] == caps; ok != (a.Result == 0) {
				t.Fatalf("get-or-create of %s: %d", n, a.Result)
			}
			if a.Result == 0 && !exists {
				twin[n], keys[n] = map[string]string{"mon": caps}, strings.TrimSpace(string(a.Output))
			} else if a.Result == 0 && keys[n] != strings.TrimSpace(string(a.Output)) {
				t.Fatalf("another key of %s", n)
			}
		case 2:
			a := r.ask("", map[string]any{"prefix": "auth caps", "entity": n, "caps": []string{"mon", caps}})
			if exists != (a.Result == 0) {
				t.Fatalf("caps of %s: %d", n, a.Result)
			}
			if exists {
				twin[n] = map[string]string{"mon": caps}
			}
		case 3:
			if a := r.ask("", map[string]any{"prefix": "auth rm", "entity": n}); a.Result != 0 {
				t.Fatalf("rm of %s: %d", n, a.Result)
			}
			delete(twin, n)
			delete(keys, n)
		case 4:
			if a := r.ask("", map[string]any{"prefix": "auth rotate", "entity": n, "format": "json"}); a.Result == 0 {
				var list []struct{ Key string }
				if err := json.Unmarshal(a.Output, &list); err != nil || !exists || list[0].Key == keys[n] {
					t.Fatalf("rotate of %s: %v", n, err)
				}
				keys[n] = list[0].Key
			}
		case 5:
			if rng.IntN(4) == 0 {
				r.mon.Close()
				r.restart(nil)
			}
			check()
		}
	}
	check()
}

// Many changes of the same entity at once: one makes the key, all get it.
func TestAuthTogether(t *testing.T) {
	r := start(t, mkfs(t, MkfsOptions{}), nil)
	keys := make(chan string)
	for range 20 {
		go func() { keys <- r.must("auth get-or-create-key", "entity=client.x") }()
	}
	first := <-keys
	for range 19 {
		if k := <-keys; k != first || first == "" {
			t.Errorf("%q and %q", first, k)
		}
	}
}

// shake authenticates a client with the mon, without a network between.
func shake(auth msgr.ServerAuth, c *cephx.Client) (*msgr.Identity, error) {
	dial, err := c.Dial(wire.EntityMon)
	if err != nil {
		return nil, err
	}
	accept := auth.Accept(c.Name().Type)
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	method, modes, p, err := dial.Request()
	if err != nil {
		return nil, err
	}
	step, err := accept.Request(ctx, method, modes, p)
	for err == nil {
		if step.Done {
			_, err = dial.Done(step.Identity.GlobalID, step.Identity.Mode, step.Payload)
			return &step.Identity, err
		}
		if p, err = dial.More(step.Payload); err == nil {
			step, err = accept.More(ctx, p)
		}
	}
	return nil, err
}

func TestMonAuthenticates(t *testing.T) {
	r := start(t, mkfs(t, MkfsOptions{}), func(o *Options) { o.AuthMode = AuthCephx })
	admin := cephx.NewClient(adminName, r.mon.Keyring()[adminName].Key, cephx.ClientOptions{})
	id, err := shake(r.mon.opts.Auth, admin)
	if err != nil {
		t.Fatal(err)
	}
	if id.Trusted || id.Caps != "allow *" || id.GlobalID < firstGID || id.GlobalID != admin.GlobalID() {
		t.Errorf("%+v", id)
	}
	name := wire.AuthName{Type: wire.EntityClient, ID: "x"}
	key, err := cephx.ParseKey(r.must("auth get-or-create-key", "entity=client.x"))
	if err != nil {
		t.Fatal(err)
	}
	x := cephx.NewClient(name, key, cephx.ClientOptions{})
	if _, err := shake(r.mon.opts.Auth, x); wire.ErrnoOf(err) != wire.EACCES {
		t.Error("without mon caps:", err)
	}
	if a := r.ask("", map[string]any{"prefix": "auth caps", "entity": "client.x", "caps": []string{"mon", "allow r"}}); a.Result != 0 {
		t.Fatal(a.Status)
	}
	xid, err := shake(r.mon.opts.Auth, x)
	if err != nil || xid.GlobalID == id.GlobalID {
		t.Fatal(xid, err)
	}
	r.must("auth rm", "entity=client.x")
	if _, err := shake(r.mon.opts.Auth, cephx.NewClient(name, key, cephx.ClientOptions{})); wire.ErrnoOf(err) != wire.EACCES {
		t.Error("after its removal:", err)
	}

	// Restarted, the mon still reads the tickets it gave.
	r.mon.Close()
	r.restart(func(o *Options) { o.AuthMode = AuthCephx })
	again, err := shake(r.mon.opts.Auth, admin)
	if err != nil || again.GlobalID != id.GlobalID {
		t.Errorf("%+v %v", again, err)
	}
	if _, ok := r.mon.ServiceSecrets().ServiceSecret(wire.EntityOSD, 2); !ok {
		t.Error("no service secrets")
	}
	other := cephx.NewClient(adminName, r.mon.Keyring()[adminName].Key, cephx.ClientOptions{})
	if oid, err := shake(r.mon.opts.Auth, other); err != nil || oid.GlobalID == id.GlobalID || oid.GlobalID == xid.GlobalID {
		t.Errorf("a number was given twice: %+v %v", oid, err)
	}
}

// The mon's other mode: a name is enough, numbers are still unique.
func TestMonBelieves(t *testing.T) {
	r := start(t, mkfs(t, MkfsOptions{}), nil)
	seen := make(map[uint64]bool)
	for range 5 {
		h, err := msgr.NoAuth{Name: adminName}.Dial(wire.EntityMon)
		if err != nil {
			t.Fatal(err)
		}
		method, modes, p, err := h.Request()
		if err != nil {
			t.Fatal(err)
		}
		step, err := r.mon.opts.Auth.Accept(wire.EntityClient).Request(context.Background(), method, modes, p)
		if err != nil || !step.Done || !step.Identity.Trusted || seen[step.Identity.GlobalID] || step.Identity.GlobalID < firstGID {
			t.Errorf("%+v %v", step.Identity, err)
		}
		seen[step.Identity.GlobalID] = true
	}
}

// A leader rotates the secrets in time, and daemons get them.
func TestSecretsRotate(t *testing.T) {
	s := newScript(t, 1)
	secrets := func() cephx.Rotating { return s.m.auth.shared.Load().secret[wire.EntityOSD] }
	first := secrets()
	if len(first.Secrets) != 3 {
		t.Fatalf("%d secrets", len(first.Secrets))
	}
	cur, _ := first.Current(s.now)
	for range 30 {
		s.now = s.now.Add(10 * time.Minute)
		s.m.pump()
		if now := secrets(); now.Due(s.now) {
			t.Fatal("late")
		}
	}
	now, _ := secrets().Current(s.now)
	if now.ID <= cur.ID+2 {
		t.Errorf("secret %d after five hours, was %d", now.ID, cur.ID)
	}
	n := wire.AuthName{Type: wire.EntityOSD, ID: "0"}
	key := cephx.GenerateKey(s.now)
	s.m.auth.change(func(v *authView) func(wire.Errno) {
		if e := v.put(n, cephx.Entity{Key: key, Caps: osdCaps}); e != 0 {
			t.Error(e)
		}
		return nil
	})
	s.m.pump()
	s.m.cephx = s.m.acceptor(AuthCephx)
	daemon := cephx.NewClient(n, key, cephx.ClientOptions{Now: func() time.Time { return s.now }})
	c := &identified{name: n, sent: make(map[string]int)}
	c.id = &msgr.Identity{Name: n, GlobalID: 5, Caps: "allow profile osd"}
	s.m.handle(event{c: c, m: &wire.MAuth{TID: 3, Protocol: 2, Payload: []byte{0, 4}}})
	r, ok := c.last.(*wire.MAuthReply)
	if !ok || r.TID != 3 || r.Result != 0 || r.GlobalID != 5 {
		t.Fatalf("%+v", c.last)
	}
	if err := daemon.TakeRenewal(r.Payload); err != nil {
		t.Fatal(err)
	}
	if k, ok := daemon.ServiceKeys().ServiceSecret(wire.EntityOSD, now.ID); !ok || !k.Equal(now.Key) {
		t.Error("the daemon has not the secret in use")
	}
	s.m.handle(event{c: c, m: &wire.MAuth{TID: 4, Protocol: 2, Payload: []byte{9, 9, 9}}})
	if r := c.last.(*wire.MAuthReply); r.Result != -int32(wire.EOPNOTSUPP) {
		t.Errorf("%+v", r)
	}
}

// The mon is cut off at each of its syncs in turn: a key that was told is
// there afterwards, one that was removed is not, and numbers go on.
func TestAuthCrash(t *testing.T) {
	base := mkfs(t, MkfsOptions{})
	for n := 0; ; n++ {
		kv := base.Clone()
		kv.CrashAfter(n)
		dead := make(chan struct{})
		m, err := New(Options{Name: "a", Addr: monAddr, Net: msgr.NewLocal(), KV: kv, Fatal: func(error) { close(dead) }})
		if err != nil {
			t.Fatal(err)
		}
		told := make(map[string]string)
		removed, gid, failed := false, uint64(0), m.Start() != nil
		for i := range 4 {
			if failed {
				break
			}
			cmd := fmt.Sprintf(`{"prefix": "auth get-or-create-key", "entity": "client.%d"}`, i)
			if i == 3 {
				cmd = `{"prefix": "auth rm", "entity": "client.0"}`
			}
			a, err := m.Command(t.Context(), cmd, nil)
			switch {
			case err != nil:
				failed = true
			case i == 3:
				removed = true
			default:
				told[fmt.Sprintf("client.%d", i)] = strings.TrimSpace(string(a.Output))
			}
			if g, err := (authSource{m}).NewGlobalID(t.Context()); err == nil {
				gid = g
			}
		}
		m.Close()
		if !failed && n > 0 {
			select {
			case <-dead:
			default:
				return // it did not crash any more
			}
		}
		r := start(t, kv.Clone(), nil)
		ring := r.mon.Keyring()
		for name, key := range told {
			p, err := cephx.ParseName(name)
			if err != nil {
				t.Fatal(err)
			}
			if e, ok := ring[p]; name != "client.0" && (!ok || e.Key.Text() != key) {
				t.Errorf("cut at %d: the key of %s is lost", n, name)
			} else if name == "client.0" && ok && removed {
				t.Errorf("cut at %d: %s came back", n, name)
			}
		}
		if g, err := (authSource{r.mon}).NewGlobalID(t.Context()); err != nil || g <= gid {
			t.Errorf("cut at %d: number %d after %d, %v", n, g, gid, err)
		}
		r.mon.Close()
	}
}

// Keys are not in the dump, and damage of the state is found.
func TestAuthState(t *testing.T) {
	kv := mkfs(t, MkfsOptions{})
	var out strings.Builder
	if err := Dump(kv, &out); err != nil {
		t.Fatal(err)
	}
	if keyText.MatchString(out.String()) || !strings.Contains(out.String(), "entity client.admin") || !strings.Contains(out.String(), "service secrets: osd 1..3") {
		t.Error(out.String())
	}
	prefix := stateKey("auth", nil)
	err := kv.Range(prefix, prefixEnd(prefix), func(k, v []byte) error {
		for _, at := range []int{0, 1, len(v) / 2, len(v) - 1} {
			bad := kv.Clone()
			v2 := append([]byte{}, v...)
			v2[at] ^= 4
			var b Batch
			b.Put(k, v2)
			if err := bad.Apply(&b); err != nil {
				return err
			}
			if _, err := New(Options{Name: "a", Addr: monAddr, Net: msgr.NewLocal(), KV: bad}); wire.ErrnoOf(err) != wire.EIO {
				t.Errorf("%s, byte %d damaged: %v", k, at, err)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// A store from before there were keys gets them when the mon leads.
func TestOldStoreGetsKeys(t *testing.T) {
	kv := mkfs(t, MkfsOptions{})
	var b Batch
	prefix := stateKey("auth", nil)
	if err := kv.Range(prefix, prefixEnd(prefix), func(k, _ []byte) error { b.Delete(k); return nil }); err != nil {
		t.Fatal(err)
	}
	b.Delete([]byte(keyVersion + "auth"))
	if err := kv.Apply(&b); err != nil {
		t.Fatal(err)
	}
	r := start(t, kv, func(o *Options) { o.AuthMode = AuthCephx })
	key, err := cephx.ParseKey(r.must("auth print-key", "entity=client.admin"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := shake(r.mon.opts.Auth, cephx.NewClient(adminName, key, cephx.ClientOptions{})); err != nil {
		t.Error(err)
	}
}

func FuzzAuthEntity(f *testing.F) {
	f.Add(encodeEntity(cephx.Entity{Key: cephx.GenerateKey(time.Unix(0, 0)), Caps: osdCaps}))
	f.Fuzz(func(t *testing.T, b []byte) {
		e, err := decodeEntity(b)
		if err != nil {
			return
		}
		if again, err := decodeEntity(encodeEntity(e)); err != nil || !again.Equal(e) {
			t.Fatal(e, again, err)
		}
	})
}
