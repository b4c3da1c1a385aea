package rados_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spirula/spirula/rados"
	"github.com/spirula/spirula/rados/cephx"
	"github.com/spirula/spirula/rados/msgr"
	"github.com/spirula/spirula/rados/wire"
)

var admin = wire.AuthName{Type: wire.EntityClient, ID: "admin"}

func TestParseConfig(t *testing.T) {
	text := `
# a comment
fsid = 00010203-0405-0607-0809-0a0b0c0d0e0f
[global]
	mon host = [v2:10.0.0.1:3300/0,v1:10.0.0.1:6789/0] v2:[fd00::1]:4444, 10.0.0.3 ; the last of them
auth_client required = cephx, none
Keyring = /data/$cluster/\
$name.keyring,$run_dir/keys
run-dir = "/var/run/$type#1"
ms client mode = secure crc
[client]
objecter inflight ops = 24
log file = /x/$id
[client.admin]
log_file = /y/$id
[client.other]
log_file = /z
[osd]
keyring = /osd
`
	c, err := rados.ParseConfig([]byte(text), "/etc/ceph/prod.conf", admin)
	if err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(c.MonAddrs); got != "[v2:10.0.0.1:3300/0 v2:[fd00::1]:4444/0 v2:10.0.0.3:3300/0]" {
		t.Errorf("mons %s", got)
	}
	if c.FSID.String() != "00010203-0405-0607-0809-0a0b0c0d0e0f" || c.Auth != rados.AuthCephx || c.MaxOps != 24 || c.MonModes != nil ||
		fmt.Sprint(c.OSDModes) != fmt.Sprint([]msgr.Mode{msgr.ModeSecure, msgr.ModeCRC}) {
		t.Errorf("%+v", c)
	}
	if got := strings.Join(c.Keyrings, " "); got != "/data/prod/client.admin.keyring /var/run/client#1/keys" {
		t.Errorf("keyrings %s", got)
	}
	if c.Values["log_file"] != "/y/admin" {
		t.Errorf("values %q", c.Values)
	}
	other, err := rados.ParseConfig([]byte(text), "", wire.AuthName{Type: wire.EntityClient, ID: "other"})
	if err != nil || other.Values["log_file"] != "/z" || other.Values["run_dir"] != "/var/run/client#1" {
		t.Errorf("%+v, %v", other, err)
	}
}

func TestMonHost(t *testing.T) {
	for in, want := range map[string]string{
		"127.0.0.1":                         "[v2:127.0.0.1:3300/0]",
		"127.0.0.1:6789":                    "[v2:127.0.0.1:3300/0]",
		"127.0.0.1:4000":                    "[v2:127.0.0.1:4000/0]",
		"v2:127.0.0.1:6789":                 "[v2:127.0.0.1:6789/0]",
		"[::1]:3300":                        "[v2:[::1]:3300/0]",
		"[::1]":                             "[v2:[::1]:3300/0]",
		"::1":                               "[v2:[::1]:3300/0]",
		"[v2:[::1]:3300/0,v1:[::1]:6789/0]": "[v2:[::1]:3300/0]",
		"[v1:1.1.1.1:6789,v2:1.1.1.1:3300],[v2:2.2.2.2:3300,v1:2.2.2.2:6789]": "[v2:1.1.1.1:3300/0 v2:2.2.2.2:3300/0]",
		"1.1.1.1,2.2.2.2 any:3.3.3.3:3300":                                    "[v2:1.1.1.1:3300/0 v2:2.2.2.2:3300/0 v2:3.3.3.3:3300/0]",
		"v1:1.1.1.1:6789":                                                     "",
		"1.1.1.1:port":                                                        "",
		"1.1.1.1:0":                                                           "",
		"[::1":                                                                "",
		":3300":                                                               "",
		",":                                                                   "",
	} {
		c, err := rados.ParseConfig([]byte("mon_host = "+in), "c.conf", admin)
		if want == "" {
			if wire.ErrnoOf(err) != wire.EINVAL {
				t.Errorf("%q: %v", in, err)
			}
			continue
		}
		if err != nil || fmt.Sprint(c.MonAddrs) != want {
			t.Errorf("%q: %v, %v, want %s", in, c.MonAddrs, err, want)
		}
	}
}

func TestBadConfig(t *testing.T) {
	for _, text := range []string{"[global", "[a] b", "nothing", "fsid = 12", "fsid = " + strings.Repeat("g", 32), "key = x", "auth_client_required = gss",
		"ms_mon_client_mode = open", "objecter_inflight_ops = -1"} {
		if _, err := rados.ParseConfig([]byte(text), "", admin); wire.ErrnoOf(err) != wire.EINVAL {
			t.Errorf("%q: %v", text, err)
		}
	}
	if _, err := rados.ReadConfig(filepath.Join(t.TempDir(), "ceph.conf")); wire.ErrnoOf(err) != wire.ENOENT {
		t.Errorf("no file: %v", err)
	}
	if _, err := rados.Dial(bg, &rados.Config{}, nil); wire.ErrnoOf(err) != wire.EINVAL {
		t.Errorf("no mon: %v", err)
	}
}

// TestVariables within variables end.
func TestVariables(t *testing.T) {
	c, err := rados.ParseConfig([]byte("a = $b$b\nb = $a$a\nkeyring = $a"), "", admin)
	if err != nil || len(c.Values["a"]) > 1<<20 {
		t.Errorf("%d bytes, %v", len(c.Values["a"]), err)
	}
}

func TestKeyring(t *testing.T) {
	dir := t.TempDir()
	key := cephx.GenerateKey(time.Now())
	keyring := filepath.Join(dir, "keyring")
	k := cephx.Keyring{admin: cephx.Entity{Key: key}}
	if err := os.WriteFile(keyring, k.Format(), 0o600); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "ceph.conf")
	conf := fmt.Sprintf("mon_host = 127.0.0.1:1\nkeyring = %s/none,%s\n", dir, keyring)
	if err := os.WriteFile(path, []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := rados.ReadConfig(path)
	if err != nil {
		t.Fatal(err)
	}
	ctx := within(t, 50*time.Millisecond)
	if _, err := rados.Dial(ctx, c, nil); wire.ErrnoOf(err) != wire.ETIMEDOUT {
		t.Errorf("no mon listens: %v", err)
	}
	c.Name.ID = "nobody"
	if _, err := rados.Dial(bg, c, nil); wire.ErrnoOf(err) != wire.EACCES {
		t.Errorf("no key: %v", err)
	}
}

func FuzzParseConfig(f *testing.F) {
	f.Add([]byte("[global]\nmon host = [v2:1.1.1.1:3300/0,v1:1.1.1.1:6789/0]\nkeyring = $cluster \\\n$name # x\n"))
	f.Add([]byte("fsid=0\n[client.admin]\nms_client_mode=crc\nkey = \"AQ==\""))
	f.Fuzz(func(t *testing.T, text []byte) {
		if strings.Contains(string(text), "mon") {
			return // names would be looked up
		}
		c, err := rados.ParseConfig(text, "/etc/ceph/ceph.conf", admin)
		if err == nil && c.Values == nil {
			t.Error("no values")
		}
	})
}
