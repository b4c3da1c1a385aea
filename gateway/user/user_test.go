package user

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/spirula/spirula/rados"
	"github.com/spirula/spirula/rados/radostest"
	"github.com/spirula/spirula/rados/wire"
)

type clock struct{ t time.Time }

func (c *clock) now() time.Time { return c.t }

func open(t *testing.T, pool rados.Doer, c *clock) *Store {
	t.Helper()
	s, err := Open(context.Background(), Options{Pool: pool, Now: c.now})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func kind(err error) wire.Errno { return wire.ErrnoOf(err) }

func TestUsersAreSeenByEveryGateway(t *testing.T) {
	pool, ctx := radostest.NewPool(), context.Background()
	c := &clock{time.Unix(1_700_000_000, 0)}
	a, b := open(t, pool.NewClient(), c), open(t, pool.NewClient(), c)
	alice, err := a.Add(ctx, User{Name: "alice", UID: 1000, GID: 100, Admin: true})
	if err != nil {
		t.Fatal(err)
	}
	if len(alice.Keys) != 1 || len(alice.Keys[0].Access) != 20 || len(alice.Keys[0].Secret) != 40 {
		t.Fatalf("generated keys: %d and %d characters", len(alice.Keys[0].Access), len(alice.Keys[0].Secret))
	}
	got, err := b.ByAccessKey(ctx, alice.Keys[0].Access)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(alice, got); d != "" {
		t.Fatal(d)
	}
	for name, u := range map[string]User{
		"the name is taken": {Name: "alice"},
		"the key is taken":  {Name: "bob", Keys: []Key{{Access: alice.Keys[0].Access, Secret: "12345678"}}},
	} {
		if _, err := b.Add(ctx, u); kind(err) != wire.EEXIST {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := b.ByName(ctx, "bob"); kind(err) != wire.ENOENT {
		t.Errorf("refused user: %v", err)
	}
	if _, err := b.Add(ctx, User{Name: "bob", UID: 7}); err != nil {
		t.Fatal(err)
	}
	users, err := a.List(ctx)
	if err != nil || len(users) != 2 || users[0].Name != "alice" || users[1].UID != 7 {
		t.Fatalf("%v, %v", users, err)
	}
}

func TestKeysComeAndGo(t *testing.T) {
	pool, ctx := radostest.NewPool(), context.Background()
	c := &clock{time.Unix(1_700_000_000, 0)}
	a, b := open(t, pool.NewClient(), c), open(t, pool.NewClient(), c)
	u, err := a.Add(ctx, User{Name: "alice"})
	if err != nil {
		t.Fatal(err)
	}
	old := u.Keys[0].Access
	if _, err := b.ByAccessKey(ctx, old); err != nil {
		t.Fatal(err)
	}
	if _, err := b.ByAccessKey(ctx, "FRESHKEY"); kind(err) != wire.ENOENT {
		t.Fatal(err)
	}
	if _, err := a.AddKey(ctx, "alice", Key{Access: "FRESHKEY", Secret: "12345678"}); err != nil {
		t.Fatal(err)
	}
	if _, err := b.ByAccessKey(ctx, "FRESHKEY"); kind(err) != wire.ENOENT {
		t.Fatalf("an unknown key is remembered for a second: %v", err)
	}
	c.t = c.t.Add(2 * time.Second)
	if _, err := b.ByAccessKey(ctx, "FRESHKEY"); err != nil {
		t.Fatalf("and then looked for again: %v", err)
	}
	k, err := a.Rotate(ctx, "alice", Key{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := a.ByAccessKey(ctx, old); kind(err) != wire.ENOENT {
		t.Fatalf("the gateway that rotated knows at once: %v", err)
	}
	c.t = c.t.Add(6 * time.Second)
	for _, gone := range []string{old, "FRESHKEY"} {
		if _, err := b.ByAccessKey(ctx, gone); kind(err) != wire.ENOENT {
			t.Fatalf("another one after a few seconds: %v", err)
		}
	}
	if got, err := b.ByAccessKey(ctx, k.Access); err != nil || got.Name != "alice" {
		t.Fatal(err)
	}
	if err := a.RemoveKey(ctx, "alice", k.Access); err != nil {
		t.Fatal(err)
	}
	if err := a.RemoveKey(ctx, "alice", k.Access); kind(err) != wire.ENOENT {
		t.Fatalf("twice: %v", err)
	}
	for i := range MaxKeys {
		if _, err := a.AddKey(ctx, "alice", Key{}); err != nil {
			t.Fatalf("key %d: %v", i, err)
		}
	}
	if _, err := a.AddKey(ctx, "alice", Key{}); kind(err) != wire.EINVAL {
		t.Fatalf("one key too many: %v", err)
	}
	if err := a.Remove(ctx, "alice"); err != nil {
		t.Fatal(err)
	}
	if err := a.Remove(ctx, "alice"); kind(err) != wire.ENOENT {
		t.Fatalf("twice: %v", err)
	}
	if _, err := a.Add(ctx, User{Name: "carol", Keys: []Key{{Access: "FRESHKEY", Secret: "12345678"}}}); err != nil {
		t.Fatalf("a key that was removed can be used again: %v", err)
	}
}

func TestWritersDoNotOverwriteEachOther(t *testing.T) {
	pool, ctx := radostest.NewPool(), context.Background()
	c := &clock{time.Unix(1_700_000_000, 0)}
	first := open(t, pool.NewClient(), c)
	if _, err := first.Add(ctx, User{Name: "alice", Keys: []Key{{Access: "K0K", Secret: "12345678"}}}); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for i := 1; i < 4; i++ {
		s := open(t, pool.NewClient(), c)
		wg.Go(func() {
			if _, err := s.AddKey(ctx, "alice", Key{Access: fmt.Sprintf("K%dK", i), Secret: "12345678"}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	u, err := first.ByName(ctx, "alice")
	if err != nil || len(u.Keys) != 4 {
		t.Fatalf("%v, %v", u, err)
	}
}

func TestCacheOutlivesAnOutage(t *testing.T) {
	pool, ctx := radostest.NewPool(), context.Background()
	c := &clock{time.Unix(1_700_000_000, 0)}
	client := pool.NewClient()
	s := open(t, client, c)
	u, err := s.Add(ctx, User{Name: "alice"})
	if err != nil {
		t.Fatal(err)
	}
	k := u.Keys[0].Access
	if _, err := s.ByAccessKey(ctx, k); err != nil {
		t.Fatal(err)
	}
	n := client.Ops()
	for range 100 {
		if _, err := s.ByAccessKey(ctx, k); err != nil {
			t.Fatal(err)
		}
	}
	if client.Ops() != n {
		t.Fatalf("%d operations for fresh answers", client.Ops()-n)
	}
	down := errors.New("down")
	client.SetInject(func(int, *rados.Op) error { return down })
	c.t = c.t.Add(30 * time.Second)
	if _, err := s.ByAccessKey(ctx, k); err != nil {
		t.Fatalf("half a minute into an outage: %v", err)
	}
	c.t = c.t.Add(time.Minute)
	if _, err := s.ByAccessKey(ctx, k); !errors.Is(err, down) {
		t.Fatalf("too long into it: %v", err)
	}
}

func TestSecretsAreNotShown(t *testing.T) {
	u := User{Name: "alice", Keys: []Key{{Access: "AKX", Secret: "hush-hush"}}}
	var log bytes.Buffer
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "user", u, "secret", u.Keys[0].Secret)
	for _, text := range []string{fmt.Sprint(u), fmt.Sprintf("%+v %#v %s %q", u, u, u.Keys[0].Secret, u.Keys[0].Secret), log.String()} {
		if strings.Contains(text, "hush") {
			t.Errorf("shown in %s", text)
		}
	}
	if u.Keys[0].Secret.Reveal() != "hush-hush" {
		t.Error("Reveal does not tell")
	}
}

func TestNamesAndKeys(t *testing.T) {
	for name, ok := range map[string]bool{"a": true, "alice.b-c_d@e+f": true, "9": true, "": false, "-a": false, "a b": false,
		"a/b": false, "ä": false, strings.Repeat("a", 64): true, strings.Repeat("a", 65): false} {
		if ValidName(name) != ok {
			t.Errorf("name %q: %v", name, !ok)
		}
	}
	for key, ok := range map[string]bool{"abc": true, "AK_a-9": true, "ab": false, "a/b": false, "a:b": false, "a b": false, strings.Repeat("a", 129): false} {
		if ValidAccess(key) != ok {
			t.Errorf("access key %q: %v", key, !ok)
		}
	}
	for key, ok := range map[Secret]bool{"12345678": true, "1234567": false, "1234 678": false, "1234/+678": true, "1234567\n": false} {
		if ValidSecret(key) != ok {
			t.Errorf("secret %q: %v", key.Reveal(), !ok)
		}
	}
	a, b := GenerateKey(1), GenerateKey(1)
	if a.Access == b.Access || a.Secret == b.Secret || !ValidAccess(a.Access) || !ValidSecret(a.Secret) {
		t.Errorf("generated %s and %s", a.Access, b.Access)
	}
}

var golden = User{Name: "al", UID: 1000, GID: 100, Admin: true, Created: 5, Keys: []Key{{Access: "AKX", Secret: "12345678", Created: 6}}}

// The bytes of a record never change: they are in people's clusters.
func TestGoldenRecord(t *testing.T) {
	const user = "010139000000" + "02000000616c" + "e8030000" + "64000000" + "01000000" + "0500000000000000" + "01000000" +
		"03000000414b58" + "080000003132333435363738" + "0600000000000000"
	raw := encodeUser(&golden)
	if got := fmt.Sprintf("%x", raw[:len(raw)-4]); got != user {
		t.Errorf("user\n%s\nwant\n%s", got, user)
	}
	u, err := decodeUser(raw)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(&golden, u); d != "" {
		t.Error(d)
	}
	for i := range raw {
		bad := bytes.Clone(raw)
		bad[i] ^= 1
		if _, err := decodeUser(bad); err == nil {
			t.Errorf("byte %d flipped: accepted", i)
		}
		if _, err := decodeUser(raw[:i]); err == nil {
			t.Errorf("cut at %d: accepted", i)
		}
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(encodeUser(&golden))
	f.Add(encodeKey("alice"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if u, err := decodeUser(seal(b)); err == nil {
			again, err := decodeUser(encodeUser(u))
			if err != nil || !cmp.Equal(u, again) {
				t.Fatalf("%v became %v: %v", u, again, err)
			}
		}
		if name, err := decodeKey(seal(b)); err == nil && !ValidName(name) {
			t.Fatalf("accepted name %q", name)
		}
		decodeUser(b)
		decodeKey(b)
	})
}

func TestDump(t *testing.T) {
	ctx := context.Background()
	s := open(t, radostest.NewPool(), &clock{time.Unix(0, 0)})
	if _, err := s.Add(ctx, golden); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := s.Dump(ctx, &out); err != nil {
		t.Fatal(err)
	}
	if want := "admin al uid=1000 gid=100 created=1970-01-01T00:00:00Z key=AKX\n"; out.String() != want {
		t.Errorf("%q, want %q", out.String(), want)
	}
}
