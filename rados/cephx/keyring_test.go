package cephx

import (
	"bytes"
	"encoding/base64"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spirula/spirula/rados/wire"
)

const someKey = "AQB0RiRhAAAAABAAGkGxPE3FWBOAhZyfdKNVOQ=="

func TestParseKeyring(t *testing.T) {
	text := `# a comment
[mon.]
	key = ` + someKey + `
	caps mon = "allow *"
; another
[ client.admin ] # behind
key=` + someKey + `
auid = 0
caps_osd = allow rwx pool=x ; behind
  caps   mon = 'allow r, allow command \"osd pool ls\"'
caps mds = "allow \
r"
[osd.12]
`
	k, err := ParseKeyring([]byte(strings.ReplaceAll(text, "\n", "\r\n")))
	if err != nil {
		t.Fatal(err)
	}
	want, err := ParseKey(someKey)
	if err != nil {
		t.Fatal(err)
	}
	a := k[admin]
	if len(k) != 3 || !a.Key.Equal(want) || a.Caps["osd"] != "allow rwx pool=x" || a.Caps["mon"] != `allow r, allow command "osd pool ls"` ||
		a.Caps["mds"] != "allow r" || len(a.Caps) != 3 {
		t.Errorf("%+v", k)
	}
	if m := k[wire.AuthName{Type: wire.EntityMon}]; !m.Key.Equal(want) || m.Caps["mon"] != "allow *" {
		t.Errorf("%+v", m)
	}
	if _, ok := k[wire.AuthName{Type: wire.EntityOSD, ID: "12"}]; !ok {
		t.Error("the section without a key")
	}
	again, err := ParseKeyring(k.Format())
	if err != nil || len(again) != len(k) {
		t.Fatal(err)
	}
	for n, e := range k {
		if !again[n].Equal(e) {
			t.Errorf("%v: %+v, was %+v", n, again[n], e)
		}
	}
	for _, bad := range []string{"key = " + someKey, "[client.admin", "[nobody]", "[client.a]\nkey = xyz", "[client.a]\nkey",
		"[client.a]\nkey = AAAA", "[client.a]\ncaps mon = \"allow", "[client.a] x", "[client.a]\ncaps mon = \"a\" b",
		"[client.a]\nkey = " + base64.StdEncoding.EncodeToString(make([]byte, 28))[:36] + "=="} {
		if k, err := ParseKeyring([]byte(bad)); wire.ErrnoOf(err) != wire.EINVAL {
			t.Errorf("%q: %v %v", bad, k, err)
		}
	}
	if _, err := ParseKeyring(bytes.Repeat([]byte("#"), maxKeyring+1)); wire.ErrnoOf(err) != wire.EINVAL {
		t.Error("too long:", err)
	}
}

func TestKeyText(t *testing.T) {
	k, err := ParseKey(someKey)
	if err != nil || k.Text() != someKey || k.Type != KeyAES || len(k.Secret) != keySize {
		t.Fatal(k, err)
	}
	g := GenerateKey(time.Unix(1_800_000_000, 5))
	back, err := ParseKey(g.Text())
	if err != nil || !back.Equal(g) || back.Created != g.Created {
		t.Error(back, err)
	}
	if s := g.String() + (Entity{Key: g}).Key.GoString(); strings.Contains(s, g.Text()) {
		t.Error("the secret is printed")
	}
	// A key of a type to come is kept, but can't be used.
	var e wire.Encoder
	CryptoKey{Type: 2, Secret: make([]byte, 32)}.append(&e)
	k, err = ParseKey(base64.StdEncoding.EncodeToString(e.B))
	if err != nil || k.Type != 2 {
		t.Fatal(k, err)
	}
	if _, err := k.box(); wire.ErrnoOf(err) != wire.EACCES {
		t.Error("used:", err)
	}
}

// Ceph's own tool reads what Format gives, and ours reads what it writes.
func TestAgainstCephAuthtool(t *testing.T) {
	tool, err := exec.LookPath("ceph-authtool")
	if err != nil {
		t.Skip("no ceph-authtool")
	}
	dir := t.TempDir()
	run := func(args ...string) string {
		out, err := exec.Command(tool, args...).CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %v\n%s", args, err, out)
		}
		return string(out)
	}
	ours := Keyring{
		admin:                  {Key: GenerateKey(time.Now()), Caps: map[string]string{"mon": "allow *", "osd": `allow rw pool="a b"`, "mds": "allow", "mgr": "allow *"}},
		osd0:                   {Key: GenerateKey(time.Now()), Caps: map[string]string{"mon": "allow profile osd"}},
		{Type: wire.EntityMon}: {Key: GenerateKey(time.Now())},
	}
	path := filepath.Join(dir, "ours")
	if err := os.WriteFile(path, ours.Format(), 0o600); err != nil {
		t.Fatal(err)
	}
	listed, err := ParseKeyring([]byte(run("-l", path)))
	if err != nil {
		t.Fatal(err)
	}
	for n, e := range ours {
		if !listed[n].Equal(e) {
			t.Errorf("%v: Ceph read %v, was %v", n, listed[n], e)
		}
	}
	if got := run("-l", path); got != string(ours.Format()) {
		t.Errorf("Ceph writes\n%swe\n%s", got, ours.Format())
	}
	theirs := filepath.Join(dir, "theirs")
	run("-C", theirs, "-g", "-n", "client.x", "--cap", "mon", "allow r", "--cap", "osd", "allow rw pool=a")
	run(theirs, "-g", "-n", "osd.7")
	b, err := os.ReadFile(theirs)
	if err != nil {
		t.Fatal(err)
	}
	k, err := ParseKeyring(b)
	if err != nil {
		t.Fatal(err)
	}
	x := k[wire.AuthName{Type: wire.EntityClient, ID: "x"}]
	if len(k) != 2 || x.Caps["osd"] != "allow rw pool=a" || x.Key.Text() != strings.TrimSpace(run("-p", "-n", "client.x", theirs)) {
		t.Errorf("%+v", k)
	}
}
