package rados

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

// entity makes a key with the given capabilities, and a command line that uses
// it. It goes when the test ends.
func (s *shell) entity(caps ...string) []string {
	s.Helper()
	name := fmt.Sprintf("client.conf%d-%d", os.Getpid(), poolNumber.Add(1))
	keyring := name + ".keyring"
	s.write(keyring, []byte(s.ceph(append([]string{"auth", "get-or-create", name}, caps...)...)))
	s.Cleanup(func() {
		if out, err := s.command(s.outlive(), "ceph", "auth", "del", name).CombinedOutput(); err != nil {
			s.Errorf("auth del: %v\n%s", err, out)
		}
	})
	return []string{"-n", name, "--keyring", s.dir + "/" + keyring}
}

func TestCephAuthKeepsKeys(t *testing.T) {
	s := newCeph(t)
	as := s.entity("mon", "allow r", "osd", "allow rw pool=x")
	name := as[1]
	made := string(s.read(name + ".keyring"))
	if !strings.HasPrefix(made, "["+name+"]\n\tkey = AQ") {
		t.Fatalf("get-or-create gave %q", made)
	}
	key := strings.TrimSpace(strings.TrimPrefix(made, "["+name+"]\n\tkey = "))
	s.prints(key, "ceph", "auth", "get-key", name)
	s.prints(key, "ceph", "auth", "print-key", name)
	s.prints(strings.TrimSpace(made), "ceph", "auth", "get-or-create", name, "mon", "allow r", "osd", "allow rw pool=x")
	s.cephFails(22, "exists but cap", "auth", "get-or-create", name, "mon", "allow rw", "osd", "allow rw pool=x")
	s.cephFails(22, "exists but cap", "auth", "add", name, "mon", "allow rw")
	s.cephSays([]string{"[" + name + "]", "key = " + key, `caps mon = "allow r"`, `caps osd = "allow rw pool=x"`}, "auth", "get", name)
	s.cephJSON([]string{"[].entity", "[].key", "[].caps.mon", "[].caps.osd"}, "auth", "get", name)
	s.cephJSON([]string{"auth_dump[].entity", "auth_dump[].key", "auth_dump[].caps"}, "auth", "ls")
	s.cephSays([]string{name + "\n\tkey: " + key + "\n", "\tcaps: [mon] allow r\n\tcaps: [osd] allow rw pool=x\n", "client.admin"}, "auth", "ls")
	s.cephSays([]string{"updated caps for " + name}, "auth", "caps", name, "mon", "allow rw")
	if out := s.ceph("auth", "get", name); strings.Contains(out, "caps osd") || !strings.Contains(out, `caps mon = "allow rw"`) {
		t.Errorf("after auth caps: %s", out)
	}
	s.cephFails(22, "EINVAL", "auth", "caps", name, "mon", "nonsense grant")
	s.cephFails(22, "EINVAL", "auth", "add", "no type", "mon", "allow r")
	s.cephFails(2, "failed to find client.none in keyring", "auth", "get", "client.none")
	s.cephFails(2, "ENOENT", "auth", "caps", "client.none", "mon", "allow r")

	added := name + "-added"
	s.write("in", []byte("["+added+"]\n\tkey = "+key+"\n\tcaps mon = \"allow r\"\n"))
	s.cephSays([]string{"added key for " + added}, "auth", "add", added, "-i", "in")
	s.prints(key, "ceph", "auth", "get-key", added)
	s.cephSays([]string{"updated"}, "auth", "del", added)
	s.cephFails(2, "ENOENT", "auth", "get", added)
	s.cephSays([]string{"imported keyring"}, "auth", "import", "-i", "in")
	s.cephSays([]string{"[" + added + "]"}, "auth", "export", added)
	s.ceph("auth", "rm", added)
}

// as runs rados as somebody.
func (p *pooled) as(who []string, args ...string) []string {
	return append(append([]string{"-p", p.name}, who...), args...)
}

func TestCapsAreEnforced(t *testing.T) {
	p := newPooled(t)
	other := &pooled{p.shell, p.pool()}
	p.write("a", []byte("data"))
	for _, in := range []*pooled{p, other} {
		in.rados("put", "o", "a")
		in.rados("-N", "ns", "put", "o", "a")
		in.rados("put", "pre-o", "a")
	}
	const denied = "Operation not permitted"
	cases := []struct {
		what           string
		caps           []string
		allowed, fails [][]string
	}{
		{"read only", []string{"mon", "allow r", "osd", "allow r"},
			[][]string{{"get", "o", "out"}, {"ls"}, {"stat", "o"}, {"listomapkeys", "o"}},
			[][]string{{"put", "o", "a"}, {"rm", "o"}, {"setxattr", "o", "k", "v"}, {"lock", "get", "o", "l", "--lock-cookie", "c"}}},
		{"write only", []string{"mon", "allow r", "osd", "allow w"},
			[][]string{{"put", "w", "a"}},
			[][]string{{"get", "o", "out"}, {"ls"}}},
		{"one pool", []string{"mon", "allow r", "osd", "allow rw pool=" + p.name},
			[][]string{{"put", "new", "a"}, {"get", "new", "out"}, {"-N", "ns", "get", "o", "out"}},
			nil},
		{"one namespace", []string{"mon", "allow r", "osd", fmt.Sprintf("allow rw pool=%s namespace=ns", p.name)},
			[][]string{{"-N", "ns", "put", "o", "a"}, {"-N", "ns", "ls"}},
			[][]string{{"get", "o", "out"}, {"-N", "ns2", "put", "o", "a"}, {"ls"}}},
		{"names that begin so", []string{"mon", "allow r", "osd", "allow rw object_prefix pre-"},
			[][]string{{"put", "pre-x", "a"}, {"get", "pre-o", "out"}},
			[][]string{{"get", "o", "out"}}},
		{"classes", []string{"mon", "allow r", "osd", "allow rwx"},
			[][]string{{"lock", "get", "o", "l", "--lock-cookie", "c"}, {"lock", "list", "o"}},
			nil},
		{"nothing at osds", []string{"mon", "allow r"}, nil, [][]string{{"get", "o", "out"}, {"put", "o", "a"}}},
		{"a profile", []string{"mon", "profile rbd", "osd", "profile rbd pool=" + p.name},
			[][]string{{"put", "rbd", "a"}, {"get", "rbd", "out"}}, nil},
		{"a profile to read", []string{"mon", "profile rbd", "osd", "profile rbd-read-only"},
			[][]string{{"get", "o", "out"}}, [][]string{{"put", "o", "a"}}},
	}
	for _, c := range cases {
		who := p.entity(c.caps...)
		for _, args := range c.allowed {
			if r := p.try("rados", p.as(who, args...)...); r.status != 0 {
				t.Errorf("%s: %v is refused: %s", c.what, args, r.errs)
			}
		}
		for _, args := range c.fails {
			if r := p.try("rados", p.as(who, args...)...); r.status == 0 || !strings.Contains(r.errs, denied) {
				t.Errorf("%s: %v is allowed: status %d %s", c.what, args, r.status, r.errs)
			}
		}
		if strings.Contains(strings.Join(c.caps, " "), "pool=") {
			if r := p.try("rados", other.as(who, "put", "new", "a")...); r.status == 0 || !strings.Contains(r.errs, denied) {
				t.Errorf("%s: another pool is written: status %d %s", c.what, r.status, r.errs)
			}
		}
	}
}

func TestMonCapsAreEnforced(t *testing.T) {
	s := newCeph(t)
	readOnly := s.entity("mon", "allow r")
	some := s.entity("mon", `allow r, allow command "osd blocklist"`)
	nothing := s.entity("osd", "allow *")
	as := func(who []string, args ...string) result {
		t.Helper()
		return s.try("ceph", append(append([]string{}, who...), args...)...)
	}
	if r := as(readOnly, "-s"); r.status != 0 {
		t.Errorf("status with allow r: %s", r.errs)
	}
	for _, args := range [][]string{{"osd", "pool", "create", "denied"}, {"auth", "ls"}, {"osd", "set", "noout"}, {"auth", "get-or-create", "client.evil", "mon", "allow *"}, {"osd", "blocklist", "add", "192.0.2.1:0/1"}} {
		if r := as(readOnly, args...); r.status != 13 || !strings.Contains(r.errs, "EACCES") {
			t.Errorf("%v with allow r: status %d %s", args, r.status, r.errs)
		}
	}
	if r := as(some, "osd", "blocklist", "add", "192.0.2.1:0/1", "5"); r.status != 0 {
		t.Errorf("blocklist with its command allowed: status %d %s", r.status, r.errs)
	}
	if r := as(some, "osd", "set", "noout"); r.status != 13 {
		t.Errorf("osd set with only blocklist allowed: status %d %s", r.status, r.errs)
	}
	if r := as(nothing, "-s"); r.status == 0 {
		t.Errorf("status without a capability at the mon: %s", r.out)
	}
}

// TestADeletedKeyIsRefused also takes a key of another for a name.
func TestADeletedKeyIsRefused(t *testing.T) {
	s := newCeph(t)
	one, two := s.entity("mon", "allow r"), s.entity("mon", "allow r")
	s.run("rados", append(one, "lspools")...)
	s.write("mixed", []byte(strings.Replace(string(s.read(two[1]+".keyring")), two[1], one[1], 1)))
	if r := s.try("rados", "-n", one[1], "--keyring", "mixed", "lspools"); r.status == 0 {
		t.Errorf("a wrong key is taken: %s", r.out)
	}
	s.ceph("auth", "del", one[1])
	if r := s.try("rados", append(one, "lspools")...); r.status == 0 {
		t.Errorf("a deleted key is taken: %s", r.out)
	}
}
