package main

import (
	"context"
	"encoding/json"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestUpStopsCleanlyAndStartsAgain(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	d := upDaemon(t, nil, anyPorts(dir)...)
	for _, k := range []string{"S3 endpoint", "access key", "secret key", "mount", "status", "data"} {
		if d.banner[k] == "" {
			t.Errorf("the banner has no %s:\n%s", k, d.output())
		}
	}
	if d.banner["data"] != dir || !strings.Contains(d.banner["mount"], "vers=3") {
		t.Errorf("banner %v", d.banner)
	}
	if code, err := d.get("/healthz"); code != 200 || err != nil {
		t.Errorf("/healthz: %d %v", code, err)
	}
	if code, err := d.get("/metrics"); code != 200 || err != nil {
		t.Errorf("/metrics: %d %v", code, err)
	}
	for _, file := range []string{"keys.json", "admin.sock"} {
		if info, err := os.Stat(filepath.Join(dir, file)); err != nil || info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s: %v, mode %v is open to others", file, err, info.Mode().Perm())
		}
	}
	begin := time.Now()
	if code := d.stop(syscall.SIGINT); code != 0 || time.Since(begin) > 20*time.Second {
		t.Errorf("Ctrl-C: status %d after %v\n%s", code, time.Since(begin), d.output())
	}
	if out := d.output(); strings.Contains(out, "level=ERROR") {
		t.Errorf("a clean stop logs errors:\n%s", out)
	}
	again := upDaemon(t, nil, anyPorts(dir)...)
	if again.banner["access key"] != d.banner["access key"] || again.banner["secret key"] != d.banner["secret key"] {
		t.Error("the second start has other keys")
	}
	again.cmd.Process.Kill()
	again.cmd.Wait()
	third := upDaemon(t, nil, anyPorts(dir)...)
	if third.banner["access key"] != d.banner["access key"] {
		t.Error("after a kill there are other keys")
	}
	if code := third.stop(syscall.SIGTERM); code != 0 {
		t.Errorf("SIGTERM: status %d\n%s", code, third.output())
	}
}

func TestUpOnAUsedDirectory(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	d := upDaemon(t, nil, anyPorts(dir)...)
	o, e, code := spirula(t, nil, anyPorts(dir)...)
	wantFailure(t, "a second up", o, e, code, 1, dir, "in use", "stop that one")
	o, e, code = spirula(t, nil, "fsck", dir)
	wantFailure(t, "fsck of a running one", o, e, code, 1, dir, "in use")
	if code, err := d.get("/healthz"); code != 200 || err != nil {
		t.Errorf("the first one: %d %v", code, err)
	}
	if code := d.stop(syscall.SIGINT); code != 0 {
		t.Errorf("status %d", code)
	}
	if o, e, code = spirula(t, nil, "fsck", dir, "--deep"); code != 0 {
		t.Errorf("fsck --deep after a clean stop: %d %s %s", code, o, e)
	}
}

func TestUpErrors(t *testing.T) {
	tmp := t.TempDir()
	busy, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer busy.Close()
	port := busy.Addr().String()
	write := func(name, content string) string {
		name = filepath.Join(tmp, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
		return name
	}
	file := write("a-file", "x")
	newer := filepath.Dir(write("newer/spirula.json", `{"format": 99, "reader": 99, "fsid": "x", "osd": "y"}`))
	damaged := filepath.Dir(write("damaged/spirula.json", `{`))
	foreign := filepath.Dir(write("foreign/thesis.txt", "mine"))
	settings := write("settings.yaml", "no-such-setting: 1\n")
	notYAML := write("broken.yaml", "{{{")
	dir := filepath.Join(tmp, "data")
	for _, c := range []struct {
		what string
		args []string
		code int
		says []string
	}{
		{"S3's port in use", anyPorts(dir, "--s3", port), 1, []string{port, "in use", "--s3"}},
		{"NFS's port in use", anyPorts(dir, "--nfs", port), 1, []string{port, "in use", "--nfs"}},
		{"the status port in use", anyPorts(dir, "--status", port), 1, []string{port, "in use", "--status"}},
		{"a newer format", anyPorts(newer), 1, []string{"newer", "99", "upgrade"}},
		{"a damaged format file", anyPorts(damaged), 1, []string{"damaged"}},
		{"somebody's files", anyPorts(foreign), 1, []string{"thesis.txt", "choose"}},
		{"a file", anyPorts(file), 1, []string{"not a directory"}},
		{"no directory", []string{"up"}, 2, []string{"spirula up ./data"}},
		{"two directories", []string{"up", dir, dir}, 2, nil},
		{"an unknown flag", anyPorts(dir, "--no-such-flag"), 2, []string{"no-such-flag"}},
		{"an unknown command", []string{"down"}, 2, []string{"down"}},
		{"an argument too many", []string{"version", "x"}, 2, nil},
		{"an unknown user command", []string{"user", "paint"}, 2, []string{"paint"}},
		{"an unknown dump", []string{"dump", "moon", dir}, 2, []string{"moon"}},
		{"a dump of nothing", []string{"dump", "osd"}, 2, nil},
		{"an fsck of nothing", []string{"fsck"}, 2, nil},
		{"an address that is none", anyPorts(dir, "--s3", "nowhere"), 2, []string{"--s3", "nowhere"}},
		{"half a key", anyPorts(dir, "--access-key", "abc"), 2, []string{"--secret-key"}},
		{"a short secret", anyPorts(dir, "--access-key", "abc", "--secret-key", "x"), 2, []string{"secret"}},
		{"a budget that is none", anyPorts(dir, "--memory", "lots"), 2, []string{"--memory", "192MiB"}},
		{"a small budget", anyPorts(dir, "--memory", "1MiB"), 2, []string{"64MiB"}},
		{"a log level that is none", anyPorts(dir, "--log-level", "loud"), 2, []string{"loud"}},
		{"a squash that is none", anyPorts(dir, "--nfs-squash", "all"), 2, []string{"none or root"}},
		{"an unknown setting", anyPorts(dir, "--config", settings), 1, []string{"no-such-setting"}},
		{"settings that are no YAML", anyPorts(dir, "--config", notYAML), 1, []string{"broken.yaml"}},
		{"settings that are not there", anyPorts(dir, "--config", filepath.Join(tmp, "none.yaml")), 1, []string{"none.yaml"}},
		{"fsck of nothing", []string{"fsck", filepath.Join(tmp, "none")}, 1, []string{"does not exist"}},
		{"dump of somebody's files", []string{"dump", "osd", foreign}, 1, []string{"not a data directory"}},
	} {
		o, e, code := spirula(t, nil, c.args...)
		wantFailure(t, c.what, o, e, code, c.code, c.says...)
	}
	if b, err := os.ReadFile(filepath.Join(foreign, "thesis.txt")); err != nil || string(b) != "mine" {
		t.Error("somebody's file was touched")
	}
}

// program copies this test's binary to where another user can run it.
func program(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "spirula-nonroot-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	os.Chmod(dir, 0o755)
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(exe)
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(dir, "spirula")
	if err := os.WriteFile(name, b, 0o755); err != nil {
		t.Fatal(err)
	}
	return name
}

func TestUpWithoutPermission(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("becoming another user needs root")
	}
	exe := program(t)
	locked := filepath.Join(filepath.Dir(exe), "locked")
	if err := os.Mkdir(locked, 0o700); err != nil {
		t.Fatal(err)
	}
	for what, dir := range map[string]string{"another's directory": locked, "a directory in another's": filepath.Join(filepath.Dir(exe), "new")} {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		cmd := command(ctx, nil, anyPorts(dir)...)
		cmd.Path, cmd.Args[0] = exe, exe
		cmd.Dir = "/"
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
		o, e, code := finish(t, cmd)
		cancel()
		wantFailure(t, what, o, e, code, 1, "no permission", dir)
	}
}

// TestUpOnAFullDisk: a first start without room, and a later one that finds
// none left.
func TestUpOnAFullDisk(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("a small file system needs root")
	}
	mnt := t.TempDir()
	if out, err := exec.Command("mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", mnt).CombinedOutput(); err != nil {
		t.Skipf("can't mount a tmpfs: %v %s", err, out)
	}
	t.Cleanup(func() {
		if out, err := exec.Command("umount", "-l", mnt).CombinedOutput(); err != nil {
			t.Errorf("umount: %v %s", err, out)
		}
	})
	dir := filepath.Join(mnt, "data")
	o, e, code := spirula(t, nil, anyPorts(dir)...)
	wantFailure(t, "a disk of 1 MiB", o, e, code, 1, "full", "free some space")
	if out, err := exec.Command("mount", "-o", "remount,size=512m", mnt).CombinedOutput(); err != nil {
		t.Fatalf("remount: %v %s", err, out)
	}
	d := upDaemon(t, nil, anyPorts(dir)...)
	if code := d.stop(syscall.SIGINT); code != 0 {
		t.Errorf("with room: status %d\n%s", code, d.output())
	}
}

func TestSettingsPrecedence(t *testing.T) {
	file := filepath.Join(t.TempDir(), "settings.yaml")
	if err := os.WriteFile(file, []byte("s3: file:1\nnfs: file:2\nstatus: file:3\nmemory: 100MiB\nsecret-key: file-secret\naccess-key: file-key\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	env := []string{"SPIRULA_S3=env:1", "SPIRULA_NFS=env:2", "SPIRULA_NFS_SQUASH=root", "SPIRULA_CONFIG=" + file}
	out, stderr, code := spirula(t, env, "config", "--s3", "flag:1", "-o", "json")
	var got map[string]string
	if err := json.Unmarshal([]byte(out), &got); err != nil || code != 0 {
		t.Fatalf("config: %d %v %s %s", code, err, out, stderr)
	}
	for k, want := range map[string]string{"s3": "flag:1", "nfs": "env:2", "status": "file:3", "memory": "100MiB", "nfs-squash": "root",
		"log-level": "info", "access-key": "file-key", "secret-key": "********"} {
		if got[k] != want {
			t.Errorf("%s is %q, want %q", k, got[k], want)
		}
	}
	// What `config` prints is a settings file.
	out, _, code = spirula(t, env, "config", "--s3", "flag:1")
	if code != 0 || strings.Contains(out, "file-secret") {
		t.Fatalf("config: %d %s", code, out)
	}
	second := filepath.Join(t.TempDir(), "printed.yaml")
	if err := os.WriteFile(second, []byte(out), 0o600); err != nil {
		t.Fatal(err)
	}
	if again, stderr, code := spirula(t, nil, "config", "--config", second); code != 0 || again != out {
		t.Errorf("config of its own output: %d\n%s%s, want\n%s", code, again, stderr, out)
	}
}

func TestVersion(t *testing.T) {
	out, _, code := spirula(t, nil, "version")
	if code != 0 || !strings.HasPrefix(out, "spirula "+version+" ") {
		t.Errorf("version: %d %q", code, out)
	}
	out, _, code = spirula(t, nil, "version", "-o", "json")
	var v versionInfo
	if err := json.Unmarshal([]byte(out), &v); err != nil || code != 0 || v.Version != version || v.Format != dirFormat {
		t.Errorf("version -o json: %d %v %q", code, err, out)
	}
	o, e, code := spirula(t, nil, "version", "-o", "xml")
	wantFailure(t, "an unknown format", o, e, code, 2, "xml", "json")
}
