package cephx

import (
	"errors"
	"net/netip"
	"strings"
	"testing"

	"github.com/spirula/spirula/rados/wire"
)

func TestParseMonCaps(t *testing.T) {
	for _, good := range []string{
		"allow *", "allow all", "allow r", "allow rwx", "allow wx", " allow rw ", "allow r, allow command \"osd pool create\"",
		"allow profile osd", "profile osd", "profile=osd", "allow service osd rw", "allow service=osd rw; allow r",
		"allow command foo with bar=baz", "allow command foo with bar=baz k prefix v, allow r", `allow command foo with a regex "^[0-9]+$" b='x y'`,
		"allow r network 10.0.0.0/8", "profile rbd network 10.0.0.0/8", "allow rw fsname cephfs", "allow r\nnetwork ::1/128",
		"allow command foo network 10.0.0.0/8",
	} {
		if _, err := ParseMonCaps(good); err != nil {
			t.Errorf("%q: %v", good, err)
		}
	}
	for _, bad := range []string{
		"", " ", "allow", "allow foo", "allow xr", "allow r,", "r", "allow command", "allow command foo with", "allow service osd",
		"allow r w", "allow rw x", "allow command foo with a", "allow command \"foo", "allow profile", "allowr", "allow r network",
		"allow command foo with a regex \"(\"", "allow r allow w", strings.Repeat("allow r, ", 10000) + "allow r",
	} {
		c, err := ParseMonCaps(bad)
		if wire.ErrnoOf(err) != wire.EINVAL || len(c.grants) != 0 {
			t.Errorf("%.40q: %v, %d grants", bad, err, len(c.grants))
		}
	}
}

func TestMonCaps(t *testing.T) {
	client := wire.AuthName{Type: wire.EntityClient, ID: "x"}
	here := netip.MustParseAddr("10.1.2.3")
	r := func(service string) MonRequest { return MonRequest{Service: service, Read: true} }
	rw := func(service string) MonRequest { return MonRequest{Service: service, Read: true, Write: true} }
	rwx := func(service string) MonRequest {
		return MonRequest{Service: service, Read: true, Write: true, Exec: true}
	}
	cmd := func(q MonRequest, command string, args ...string) MonRequest {
		q.Command = command
		q.Args = make(map[string]string)
		for i := 0; i < len(args); i += 2 {
			q.Args[args[i]] = args[i+1]
		}
		return q
	}
	for _, test := range []struct {
		caps string
		q    MonRequest
		want bool
	}{
		{"allow *", rwx("auth"), true},
		{"allow *", rw("config-key"), true},
		{"allow rwx", rwx("auth"), true},
		{"allow rwx", r("config-key"), false},
		{"allow r", r("osd"), true},
		{"allow r", rw("osd"), false},
		{"allow rw", rwx("auth"), false},
		{"allow r, allow w", rw("osd"), true},
		{"allow service osd rw", rw("osd"), true},
		{"allow service osd rw", r("mon"), false},
		{"allow service config-key r", r("config-key"), true},
		{`allow command "osd pool create"`, cmd(rwx("osd"), "osd pool create"), true},
		{`allow command "osd pool create"`, cmd(rwx("osd"), "osd pool delete"), false},
		{`allow command "osd pool create" with pool=a`, cmd(rw("osd"), "osd pool create", "pool", "a"), true},
		{`allow command "osd pool create" with pool=a`, cmd(rw("osd"), "osd pool create", "pool", "b"), false},
		{`allow command "osd pool create" with pool=a`, cmd(rw("osd"), "osd pool create"), false},
		{`allow command "osd pool create" with pool prefix a-`, cmd(rw("osd"), "osd pool create", "pool", "a-1"), true},
		{`allow command "osd pool create" with pool regex "^[a-c]+$"`, cmd(rw("osd"), "osd pool create", "pool", "abc"), true},
		{`allow command "osd pool create" with pool regex "[a-c]+"`, cmd(rw("osd"), "osd pool create", "pool", "abcd"), false},
		{"allow r, allow command \"osd blocklist\"", cmd(rw("osd"), "osd blocklist"), true},
		{"allow r", cmd(rw("osd"), "osd blocklist"), false},
		{"allow profile osd", rwx("osd"), true},
		{"allow profile osd", r("mon"), true},
		{"allow profile osd", rw("mon"), false},
		{"allow profile osd", rw("pg"), true},
		{"allow profile osd", r("auth"), false},
		{"profile rbd", r("osd"), true},
		{"profile rbd", rw("osd"), false},
		{"profile rbd", cmd(rw("osd"), "osd blocklist", "blocklistop", "add", "addr", "10.0.0.1:0/1234"), true},
		{"profile rbd", cmd(rw("osd"), "osd blocklist", "blocklistop", "add", "addr", "10.0.0.1"), false},
		{"profile rbd", cmd(rw("osd"), "osd blocklist", "blocklistop", "rm", "addr", "10.0.0.1:0/1234"), false},
		{"profile simple-rados-client", r("osd"), true},
		{"profile simple-rados-client", rw("osd"), false},
		{"profile bootstrap-osd", cmd(rwx("osd"), "osd new"), true},
		{"profile bootstrap-osd", rw("osd"), false},
		{"profile bootstrap-mgr", cmd(rwx("auth"), "auth get-or-create", "entity", "mgr.a", "caps_mon", "allow profile mgr"), true},
		{"profile bootstrap-mgr", cmd(rwx("auth"), "auth get-or-create", "entity", "osd.1", "caps_mon", "allow profile mgr"), false},
		{"profile role-definer", rwx("auth"), true},
		{"profile no-such", r("mon"), false},
		{"allow r network 10.0.0.0/8", MonRequest{Service: "osd", Read: true, Addr: here}, true},
		{"allow * network 11.0.0.0/8", MonRequest{Service: "osd", Read: true, Addr: here}, false},
		{"allow * network 10.0.0.0/8", r("osd"), false},
		{"allow r network nonsense", r("osd"), false},
	} {
		c, _ := ParseMonCaps(test.caps)
		test.q.Name = client
		if got := c.Allows(test.q); got != test.want {
			t.Errorf("%s: %+v: %v", test.caps, test.q, got)
		}
	}
	if c, _ := ParseMonCaps("allow r, allow *"); !c.AllowsAll() {
		t.Error("allow * does not allow all")
	}
	if c, _ := ParseMonCaps("allow rwx, allow * network 10.0.0.0/8"); c.AllowsAll() {
		t.Error("allow rwx allows all")
	}
	osd := MonRequest{Name: wire.AuthName{Type: wire.EntityOSD, ID: "3"}, Service: "config-key", Command: "config-key get",
		Args: map[string]string{"key": "daemon-private/osd.3/x"}, Read: true}
	c, _ := ParseMonCaps("allow profile osd")
	if !c.Allows(osd) {
		t.Error("a daemon's own key")
	}
	if osd.Args["key"] = "daemon-private/osd.30/x"; c.Allows(osd) {
		t.Error("another daemon's key")
	}
}

func TestParseOSDCaps(t *testing.T) {
	for _, good := range []string{
		"allow *", "allow r", "allow rwx", "allow r pool foo", "allow r pool=foo", "allow rw pool=foo namespace=bar",
		"allow rw pool=foo namespace bar", `allow rw pool="foo bar" namespace=""`, "allow rw namespace=bar*", "allow r pool foo object_prefix rbd_",
		"allow r object_prefix a", "allow pool foo rwx", "allow rwx pool=a, allow r pool=b; allow x", "allow class-read", "allow class-write",
		"allow rw class-read class-write pool=a", "allow class foo", "allow class foo bar", "allow class foo pool=p", "allow class \"foo\" \"bar\" pool p",
		"profile rbd", "profile rbd pool=p", "profile rbd pool=p namespace=n", "profile=rbd-read-only pool a", "allow rw tag cephfs data=a",
		"allow rw tag cephfs *=*", "allow rw namespace=n tag rgw *=*", "allow rw network 10.0.0.0/8", "allow r pool=a network 1.2.3.4/32",
		"allow all pool=x",
	} {
		if _, err := ParseOSDCaps(good); err != nil {
			t.Errorf("%q: %v", good, err)
		}
	}
	for _, bad := range []string{
		"", "allow", "allow foo", "allow r pool", "allow r pool=", "rwx", "allow xr", "allow r,", "allow class", "profile", "allow rw tag",
		"allow rw tag a", "allow rw tag a b", "allow r pool=a pool=b", " allow  r  pool = x ", "allow rwx foo bar", "allow poolfoo rwx", "allow pool foo",
	} {
		c, err := ParseOSDCaps(bad)
		if wire.ErrnoOf(err) != wire.EINVAL || len(c.grants) != 0 {
			t.Errorf("%q: %v, %+v", bad, err, c)
		}
	}
}

func TestOSDCaps(t *testing.T) {
	read := OSDRequest{Pool: "a", Object: "o", Read: true}
	write := OSDRequest{Pool: "a", Object: "o", Write: true}
	both := OSDRequest{Pool: "a", Object: "o", Read: true, Write: true}
	call := func(class, method string, r, w bool) OSDRequest {
		return OSDRequest{Pool: "a", Object: "o", Calls: []ClassCall{{class, method, r, w}}}
	}
	with := func(q OSDRequest, change func(*OSDRequest)) OSDRequest { change(&q); return q }
	ns := func(q OSDRequest, n string) OSDRequest { q.Namespace = n; return q }
	named := func(q OSDRequest, n string) OSDRequest { q.Object = n; return q }
	apps := map[string]map[string]string{"cephfs": {"data": "fs1"}, "rbd": {}}
	tagged := with(both, func(q *OSDRequest) { q.Apps = apps })
	for _, test := range []struct {
		caps string
		q    OSDRequest
		want bool
	}{
		{"allow *", both, true},
		{"allow *", call("lock", "lock", true, true), true},
		{"allow r", read, true},
		{"allow r", write, false},
		{"allow rw", both, true},
		{"allow r, allow w", both, false},
		{"allow rw", call("lock", "get_info", true, false), false},
		{"allow rwx", call("lock", "lock", true, true), true},
		{"allow x", call("lock", "lock", true, true), true},
		{"allow r class-read", call("lock", "get_info", true, false), true},
		{"allow r class-read", call("lock", "lock", true, true), false},
		{"allow class-read", read, false},
		{"allow class lock", call("lock", "lock", true, true), true},
		{"allow class lock", call("log", "add", false, true), false},
		{"allow class lock get_info", call("lock", "get_info", true, false), true},
		{"allow class lock get_info", call("lock", "lock", true, true), false},
		{"allow class lock get_info, allow class log add", with(call("lock", "get_info", true, false), func(q *OSDRequest) {
			q.Calls = append(q.Calls, ClassCall{"log", "add", false, true})
		}), true},
		{"allow rw, allow class lock", with(call("lock", "lock", true, true), func(q *OSDRequest) { q.Read = true }), false},
		{"allow rw pool=a", both, true},
		{"allow rw pool=b", both, false},
		{"allow pool a rw", both, true},
		{"allow pool b rw", both, false},
		{"allow rw pool=b, allow r pool=a", both, false},
		{"allow rw pool=b, allow r pool=a", read, true},
		{"allow rw pool=a namespace=n", ns(both, "n"), true},
		{"allow rw pool=a namespace=n", ns(both, "nn"), false},
		{"allow rw pool=a namespace=n", both, false},
		{`allow rw namespace=""`, both, true},
		{`allow rw namespace=""`, ns(both, "n"), false},
		{"allow rw namespace=n*", ns(both, "nn"), true},
		{"allow rw namespace=n*", ns(both, "m"), false},
		{"allow rw pool=a", ns(both, "any"), true},
		{"allow rw object_prefix rbd_", named(both, "rbd_data"), true},
		{"allow rw object_prefix rbd_", both, false},
		{"allow rw tag cephfs data=fs1", tagged, true},
		{"allow rw tag cephfs data=fs2", tagged, false},
		{"allow rw tag cephfs data=*", tagged, true},
		{"allow rw tag cephfs *=fs1", tagged, true},
		{"allow rw tag cephfs *=fs2", tagged, false},
		{"allow rw tag rbd *=*", tagged, true},
		{"allow rw tag rgw *=*", tagged, false},
		{"allow rw tag cephfs data=fs1", both, false},
		{"profile rbd", both, true},
		{"profile rbd", call("rbd", "create", true, true), true},
		{"profile rbd pool=a", both, true},
		{"profile rbd pool=b", both, false},
		{"profile rbd pool=b", named(read, "rbd_info"), true},
		{"profile rbd pool=a namespace=n", both, false},
		{"profile rbd pool=a namespace=n", ns(both, "n"), true},
		{"profile rbd-read-only pool=a", read, true},
		{"profile rbd-read-only pool=a", write, false},
		{"profile rbd-read-only pool=a", named(call("rbd", "child_attach", true, true), "rbd_header.1"), true},
		{"profile read-only pool=a", read, true},
		{"profile read-only pool=a", write, false},
		{"profile read-write", both, true},
		{"profile osd", read, false},
		{"allow rw network 10.0.0.0/8", with(both, func(q *OSDRequest) { q.Addr = netip.MustParseAddr("::ffff:10.9.9.9") }), true},
		{"allow rw network 10.0.0.0/8", both, false},
	} {
		c, err := ParseOSDCaps(test.caps)
		if err != nil {
			t.Errorf("%s: %v", test.caps, err)
		}
		if got := c.Allows(&test.q); got != test.want {
			t.Errorf("%s: %+v: %v", test.caps, test.q, got)
		}
	}
	for caps, want := range map[string]bool{"allow rwx pool=a": true, "allow r pool=a": false, "allow rw": true, "allow *": true, "profile rbd pool=a": true,
		"allow rw pool=b": false, "allow rw tag cephfs data=x": false, "profile rbd-read-only": false, "allow rw namespace=n": false} {
		if c, _ := ParseOSDCaps(caps); c.WritesPool("a") != want {
			t.Errorf("%s: writes the pool: %v", caps, !want)
		}
	}
	for caps, want := range map[string]bool{"allow *": true, "allow rwx": false, "allow * pool=a": false, "allow r, allow *": true} {
		if c, _ := ParseOSDCaps(caps); c.AllowsAll() != want {
			t.Errorf("%s: allows all: %v", caps, !want)
		}
	}
}

func BenchmarkOSDCaps(b *testing.B) {
	c, err := ParseOSDCaps("allow rwx pool=a, allow r tag rbd *=*")
	if err != nil {
		b.Fatal(err)
	}
	q := OSDRequest{Pool: "a", Object: "o", Read: true, Write: true}
	b.ReportAllocs()
	for b.Loop() {
		if !c.Allows(&q) {
			b.Fatal("refused")
		}
	}
}

func TestCheckCaps(t *testing.T) {
	for _, test := range []struct{ service, caps, want string }{
		{"mon", "allow r", ""},
		{"mon", "foo", "mon capability parse failed, stopped at 'foo' of 'foo'"},
		{"osd", "allow foo", "osd capability parse failed, stopped at 'allow foo' of 'allow foo'"},
		{"osd", "", "osd capability parse failed, stopped at '' of ''"},
		{"mgr", "allow *", ""},
		{"mgr", "profile rbd, allow r", ""},
		{"mgr", "bla", "mgr capability parse failed, stopped at 'bla' of 'bla'"},
		{"mds", "allow rw path=/a, allow r", ""},
		{"mds", "bla", "mds capability parse failed, stopped at 'bla' of 'bla'"},
		{"xyz", "allow *", "unknown cap type 'xyz'"},
	} {
		err := CheckCaps(test.service, test.caps)
		got := ""
		var e *wire.Error
		if errors.As(err, &e) {
			got = e.Op
		}
		if got != test.want || err != nil && e.Kind != wire.EINVAL {
			t.Errorf("%s %q: %v", test.service, test.caps, err)
		}
	}
}
