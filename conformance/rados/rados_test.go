package rados

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// pooled is a shell with a pool, for `rados -p POOL`.
type pooled struct {
	*shell
	name string
}

func newPooled(t *testing.T) *pooled {
	t.Helper()
	needs(t, "rados", "ceph")
	t.Parallel()
	s := newShell(t, judged(t))
	return &pooled{s, s.pool()}
}

func (p *pooled) args(args []string) []string { return append([]string{"-p", p.name}, args...) }

func (p *pooled) rados(args ...string) string {
	p.Helper()
	return p.run("rados", p.args(args)...)
}

// want is `rados args...` that prints exactly want.
func (p *pooled) want(want string, args ...string) {
	p.Helper()
	p.prints(want, "rados", p.args(args)...)
}

// refused is `rados args...` that ends with status 1 and says the words.
func (p *pooled) refused(says string, args ...string) {
	p.Helper()
	p.fails(1, says, "rados", p.args(args)...)
}

// lines are the lines of the answer, sorted.
func (p *pooled) lines(args ...string) []string {
	p.Helper()
	l := strings.FieldsFunc(p.rados(args...), func(r rune) bool { return r == '\n' })
	slices.Sort(l)
	return l
}

func (p *pooled) wantLines(want []string, args ...string) {
	p.Helper()
	if got := p.lines(args...); !slices.Equal(got, want) {
		p.Errorf("rados %s: %q, want %q", strings.Join(args, " "), got, want)
	}
}

func TestRadosListsPools(t *testing.T) {
	p := newPooled(t)
	if out := p.run("rados", "lspools"); !slices.Contains(strings.Split(out, "\n"), p.name) {
		t.Errorf("%s is not in\n%s", p.name, out)
	}
	p.fails(1, "No such file", "rados", "-p", p.name+"-missing", "ls")
}

func TestRadosPutAndGet(t *testing.T) {
	p := newPooled(t)
	for _, n := range []int{0, 1, 4096, 5<<20 + 3, 128 << 20} {
		b := p.file("in", n)
		name := fmt.Sprintf("o%d", n)
		p.rados("put", name, "in")
		p.rados("get", name, "out")
		p.same("out", b)
		if out := p.rados("stat", name); !strings.Contains(out, fmt.Sprintf("%s/%s mtime 2", p.name, name)) || !strings.HasSuffix(out, fmt.Sprintf(", size %d\n", n)) {
			t.Errorf("stat: %s", out)
		}
	}
	p.refused("No such file", "stat", "missing")
	p.refused("No such file", "get", "missing", "out")
	p.refused("No such file", "rm", "missing")
}

// TestRadosPutAndGetOf200MB stripes, as an object holds 128 MiB at most.
func TestRadosPutAndGetOf200MB(t *testing.T) {
	p := newPooled(t)
	b := p.file("in", 200e6)
	p.refused("File too large", "put", "big", "in")
	p.rados("--striper", "put", "big", "in")
	p.rados("--striper", "get", "big", "out")
	p.same("out", b)
	p.want("big", "--striper", "ls")
	p.rados("--striper", "rm", "big")
	if got := p.lines("ls"); slices.ContainsFunc(got, func(n string) bool { return strings.HasPrefix(n, "big.") }) {
		t.Errorf("left by rm: %q", got)
	}
}

func TestRadosListsObjectsAndNamespaces(t *testing.T) {
	p := newPooled(t)
	p.wantLines([]string{}, "ls")
	var names []string
	for i := range 40 {
		names = append(names, fmt.Sprintf("object-%02d", i))
	}
	names = append(names, "with space", "ünïcode")
	slices.Sort(names)
	p.write("empty", nil)
	for _, n := range names {
		p.rados("create", n)
	}
	p.rados("-N", "other", "create", "object-00")
	p.rados("-N", "other", "create", "only there")
	p.wantLines(names, "ls")
	p.wantLines([]string{"object-00", "only there"}, "-N", "other", "ls")
	all := []string{"other\tobject-00", "other\tonly there"}
	for _, n := range names {
		all = append(all, "\t"+n)
	}
	slices.Sort(all)
	p.wantLines(all, "ls", "--all")

	var listed []struct{ Namespace, Name string }
	p.decode(p.rados("ls", "--all", "--format", "json"), &listed)
	if len(listed) != len(all) {
		t.Errorf("%d objects in JSON, want %d", len(listed), len(all))
	}
	p.rados("-N", "other", "rm", "object-00")
	p.rados("stat", "object-00")
	p.wantLines([]string{"only there"}, "-N", "other", "ls")
	p.refused("File exists", "create", "object-01")
}

func TestRadosChangesData(t *testing.T) {
	p := newPooled(t)
	p.write("a", []byte("first "))
	p.write("b", []byte("second"))
	holds := func(name, want string) {
		t.Helper()
		p.rados("get", name, "out")
		p.same("out", []byte(want))
	}
	p.rados("append", "o", "a")
	p.rados("append", "o", "b")
	holds("o", "first second")
	p.rados("truncate", "o", "3")
	holds("o", "fir")
	p.rados("truncate", "o", "5")
	holds("o", "fir\x00\x00")
	p.rados("put", "--offset", "8", "o", "b")
	holds("o", "fir\x00\x00\x00\x00\x00second")
	p.rados("setxattr", "o", "attr", "value")
	p.rados("setomapval", "o", "key", "value")
	p.rados("cp", "o", "copy")
	p.rados("rm", "o")
	p.refused("No such file", "stat", "o")
	holds("copy", "fir\x00\x00\x00\x00\x00second")
	p.want("value", "getxattr", "copy", "attr")
	p.want("key", "listomapkeys", "copy")
	p.rados("touch", "copy", "1700000000")
	if out := p.rados("stat", "copy"); !strings.Contains(out, "mtime 2023-11-14T") {
		t.Errorf("after touch: %s", out)
	}
	p.rados("set-alloc-hint", "copy", "4194304", "4096")
	p.rados("put", "other", "a")
	p.rados("rm", "copy", "other")
	p.wantLines([]string{}, "ls")
	p.rados("put", "again", "a")
	p.run("rados", "purge", p.name, "--yes-i-really-really-mean-it")
	p.wantLines([]string{}, "ls")
}

func TestRadosAttributes(t *testing.T) {
	p := newPooled(t)
	p.refused("No such file", "getxattr", "o", "a")
	p.rados("setxattr", "o", "a", "1") // makes the object
	p.rados("setxattr", "o", "b", "two words")
	p.rados("setxattr", "o", "a", "3")
	p.wantLines([]string{"a", "b"}, "listxattr", "o")
	p.want("two words", "getxattr", "o", "b")
	p.want("3", "getxattr", "o", "a")
	p.rados("rmxattr", "o", "b")
	p.want("a", "listxattr", "o")
	p.refused("No data available", "getxattr", "o", "b")
	p.refused("File name too long", "setxattr", "o", strings.Repeat("n", 101), "v")
}

func TestRadosOmap(t *testing.T) {
	p := newPooled(t)
	p.rados("setomapval", "o", "k2", "second")
	p.rados("setomapval", "o", "k1", "first")
	big := p.file("big", 100_000)
	p.rados("setomapval", "o", "k3", "--input-file", "big")
	p.want("k1\nk2\nk3", "listomapkeys", "o")
	p.rados("getomapval", "o", "k3", "out")
	p.same("out", big)
	p.says([]string{"value (5 bytes)", "|first|"}, "rados", "-p", p.name, "getomapval", "o", "k1")
	p.rados("rmomapkey", "o", "k3")
	p.says([]string{"k1\nvalue (5 bytes)", "k2\nvalue (6 bytes)"}, "rados", "-p", p.name, "listomapvals", "o")
	p.refused("No such key", "getomapval", "o", "k3")
	p.rados("setomapheader", "o", "the header")
	p.says([]string{"header (10 bytes)", "the header"}, "rados", "-p", p.name, "getomapheader", "o")
	p.rados("clearomap", "o")
	p.wantLines([]string{}, "listomapkeys", "o")
	p.says([]string{"header (0 bytes)"}, "rados", "-p", p.name, "getomapheader", "o")
	p.refused("No such file", "listomapkeys", "missing")
}

func TestRadosPoolSnapshots(t *testing.T) {
	p := newPooled(t)
	p.write("v1", []byte("one"))
	p.write("v2", []byte("version two"))
	p.rados("put", "o", "v1")
	p.rados("put", "gone", "v1")
	p.says([]string{"created pool " + p.name + " snap s1"}, "rados", "-p", p.name, "mksnap", "s1")
	p.refused("File exists", "mksnap", "s1")
	p.rados("put", "o", "v2")
	p.rados("rm", "gone")
	p.rados("put", "born", "v2")
	p.says([]string{"1\ts1\t20", "1 snaps"}, "rados", "-p", p.name, "lssnap")

	got := func(want string, args ...string) {
		t.Helper()
		p.rados(append(args, "out")...)
		p.same("out", []byte(want))
	}
	got("one", "-s", "s1", "get", "o")
	got("version two", "get", "o")
	got("one", "-s", "s1", "get", "gone")
	p.refused("No such file", "get", "gone", "out")
	p.refused("No such file", "-s", "s1", "get", "born", "out")
	p.refused("No such file", "-s", "nosuch", "get", "o", "out")

	var snaps struct {
		Name   string
		Clones []struct {
			ID        any
			Snapshots []struct {
				ID   int
				Name string
			}
			Size     int
			Overlaps []struct{ Start, Length int }
		}
	}
	p.decode(p.rados("listsnaps", "o", "--format", "json"), &snaps)
	if c := snaps.Clones; len(c) != 2 || c[0].Size != 3 || len(c[0].Snapshots) != 1 || c[0].Snapshots[0].Name != "s1" || c[1].ID != "head" || c[1].Size != 11 {
		t.Errorf("listsnaps: %+v", snaps)
	}
	p.says([]string{"cloneid\tsnaps\tsize\toverlap", "head\t-\t11"}, "rados", "-p", p.name, "listsnaps", "o")

	p.rados("rollback", "o", "s1")
	got("one", "get", "o")
	p.rados("rollback", "gone", "s1")
	got("one", "get", "gone")
	p.rados("mksnap", "s2")
	p.rados("append", "o", "v2")
	got("one", "-s", "s2", "get", "o")
	p.says([]string{"removed pool " + p.name + " snap s1"}, "rados", "-p", p.name, "rmsnap", "s1")
	p.refused("No such file", "rmsnap", "s1")
	p.refused("No such file", "-s", "s1", "get", "o", "out")
	got("one", "-s", "s2", "get", "o")
	p.eventually(time.Minute, "the clones of s1 are trimmed", func() bool { return !strings.Contains(p.rados("listsnaps", "o"), "\n1\t") })
	got("oneversion two", "get", "o")
}

func TestRadosLocks(t *testing.T) {
	p := newPooled(t)
	p.rados("create", "o")
	lock := func(name, cookie, kind string) []string {
		return []string{"lock", "get", "o", name, "--lock-cookie", cookie, "--lock-tag", "tag", "--lock-type", kind, "--lock-description", "for " + cookie}
	}
	p.rados(lock("x", "c1", "exclusive")...)
	p.refused("busy", lock("x", "c2", "exclusive")...)
	p.refused("busy", lock("x", "c2", "shared")...)
	p.rados(lock("s", "c1", "shared")...)
	p.rados(lock("s", "c2", "shared")...)
	var list struct {
		Objname string
		Locks   []struct{ Name string }
	}
	p.decode(p.rados("lock", "list", "o"), &list)
	if list.Objname != "o" || len(list.Locks) != 2 {
		t.Errorf("lock list: %+v", list)
	}
	var info struct {
		Name, Type, Tag string
		Lockers         []struct{ Name, Cookie, Description, Expiration, Addr string }
	}
	p.decode(p.rados("lock", "info", "o", "s"), &info)
	if info.Type != "shared" || info.Tag != "tag" || len(info.Lockers) != 2 || info.Lockers[0].Description != "for "+info.Lockers[0].Cookie || !strings.HasPrefix(info.Lockers[0].Addr, "127.0.0.1:0/") {
		t.Errorf("lock info: %+v", info)
	}
	for _, l := range info.Lockers {
		p.rados("lock", "break", "o", "s", l.Name, "--lock-cookie", l.Cookie)
	}
	p.refused("No such file", "lock", "break", "o", "s", "client.1", "--lock-cookie", "c1")
	p.rados("lock", "get", "o", "brief", "--lock-cookie", "c", "--lock-duration", "1")
	p.eventually(30*time.Second, "the lock of one second ends", func() bool {
		return p.try("rados", p.args([]string{"lock", "get", "o", "brief", "--lock-cookie", "d"})...).status == 0
	})
}

func TestRadosWatchAndNotify(t *testing.T) {
	p := newPooled(t)
	p.rados("create", "o")
	p.want("", "listwatchers", "o")
	ctx, cancel := context.WithTimeout(t.Context(), commandTimeout)
	defer cancel()
	watch := p.command(ctx, "rados", "-p", p.name, "watch", "o")
	in, err := watch.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	var seen bytes.Buffer
	watch.Stdout = &seen
	if err := watch.Start(); err != nil {
		t.Fatal(err)
	}
	p.eventually(20*time.Second, "the watcher is listed", func() bool {
		return strings.HasPrefix(p.rados("listwatchers", "o"), "watcher=127.0.0.1:0/")
	})
	p.says([]string{"reply client."}, "rados", "-p", p.name, "notify", "o", "a message")
	io.WriteString(in, "\n")
	in.Close()
	if err := watch.Wait(); err != nil {
		t.Errorf("watch: %v", err)
	}
	if !strings.Contains(seen.String(), "NOTIFY cookie") || !strings.Contains(seen.String(), "a message|") {
		t.Errorf("the watcher saw\n%s", seen.String())
	}
	p.eventually(60*time.Second, "the watcher is gone", func() bool { return p.rados("listwatchers", "o") == "" })
}

func TestRadosDf(t *testing.T) {
	p := newPooled(t)
	p.write("a", make([]byte, 100_000))
	p.rados("put", "o1", "a")
	p.rados("put", "o2", "a")
	type df struct {
		Pools []struct {
			Name                               string
			ID                                 int
			SizeBytes                          int64 `json:"size_bytes"`
			Objects                            int   `json:"num_objects"`
			WriteOps                           int   `json:"write_ops"`
			Copies                             int   `json:"num_object_copies"`
			Clones                             int   `json:"num_object_clones"`
			MissingOnPrimary, Unfound, Degrade int
		}
		TotalObjects int `json:"total_objects"`
		TotalUsed    int `json:"total_used"`
		TotalAvail   int `json:"total_avail"`
		TotalSpace   int `json:"total_space"`
	}
	p.eventually(time.Minute, "rados df counts two objects", func() bool {
		var d df
		p.decode(p.run("rados", "df", "--format", "json"), &d)
		for _, pool := range d.Pools {
			if pool.Name == p.name {
				return pool.Objects == 2 && pool.SizeBytes >= 200_000 && pool.WriteOps >= 2 && pool.Copies%2 == 0 && d.TotalObjects >= 2 && d.TotalAvail > 0 && d.TotalSpace >= d.TotalAvail
			}
		}
		t.Fatalf("%s is not in %+v", p.name, d)
		return false
	})
	p.says([]string{"POOL_NAME", "WR_OPS", p.name, "total_objects", "total_used", "total_avail", "total_space"}, "rados", "df")
}

func TestRadosExportAndImport(t *testing.T) {
	p := newPooled(t)
	a, b := p.file("a", 3<<20+1), p.file("bb", 10)
	p.rados("put", "a", "a")
	p.rados("-N", "ns", "put", "b", "bb")
	p.rados("setxattr", "a", "attr", "value")
	for i := range 20 {
		p.rados("setomapval", "a", fmt.Sprintf("key%02d", i), strconv.Itoa(i))
	}
	p.rados("setomapheader", "a", "the header")
	p.rados("export", "dump")
	to := &pooled{p.shell, p.pool()}
	to.rados("import", "--dry-run", "dump")
	to.wantLines([]string{}, "ls", "--all")
	to.rados("import", "dump")
	to.wantLines([]string{"\ta", "ns\tb"}, "ls", "--all")
	to.rados("get", "a", "out")
	p.same("out", a)
	to.rados("-N", "ns", "get", "b", "out")
	p.same("out", b)
	to.want("value", "getxattr", "a", "attr")
	if got, want := to.rados("listomapvals", "a"), p.rados("listomapvals", "a"); got != want || strings.Count(got, "value (") != 20 {
		t.Errorf("omap of the copy:\n%s\nwant\n%s", got, want)
	}
	if got, want := to.rados("getomapheader", "a"), p.rados("getomapheader", "a"); got != want {
		t.Errorf("header of the copy: %s, want %s", got, want)
	}
	copied := &pooled{p.shell, p.pool()}
	p.run("rados", "cppool", to.name, copied.name)
	copied.wantLines([]string{"\ta", "ns\tb"}, "ls", "--all")
}

func TestRadosBench(t *testing.T) {
	p := newPooled(t)
	seconds := "2"
	if fullRun {
		seconds = "10"
	}
	for _, size := range []string{"4096", "4194304"} {
		bench := func(kind string, args ...string) {
			t.Helper()
			out := p.rados(append([]string{"bench", seconds, kind, "-t", "16", "--run-name", "run" + size, "--format", "json"}, args...)...)
			var r map[string]json.RawMessage
			p.decode(out[strings.Index(out, "{"):], &r)
			ops := string(r["total_writes_made"]) + string(r["total_reads_made"])
			if n, err := strconv.Atoi(strings.Trim(ops, `"`)); err != nil || n < 1 {
				t.Errorf("bench %s of %s: %s operations in\n%s", kind, size, ops, out)
			} else {
				t.Logf("%7s bytes, %5s: %6d in %s s, %s MB/s", size, kind, n, seconds, r["bandwidth"])
			}
		}
		bench("write", "-b", size, "--no-cleanup")
		bench("seq")
		bench("rand")
		p.says([]string{"Removed "}, "rados", "-p", p.name, "cleanup", "--run-name", "run"+size)
		p.wantLines([]string{}, "ls")
	}
}

func TestRadosWithAWrongKey(t *testing.T) {
	p := newPooled(t)
	p.write("wrong", []byte("[client.admin]\n\tkey = AQBSdFhmAAAAABAAqKnTcZ9o3DGPXqKC9e3Kzw==\n"))
	r := p.try("rados", "--keyring", "wrong", "lspools")
	if r.status == 0 || !strings.Contains(r.errs, "failed to fetch mon config") {
		t.Errorf("status %d\n%s%s", r.status, r.out, r.errs)
	}
	p.write("nobody", []byte("[client.nobody]\n\tkey = AQBSdFhmAAAAABAAqKnTcZ9o3DGPXqKC9e3Kzw==\n"))
	if r := p.try("rados", "--keyring", "nobody", "-n", "client.nobody", "lspools"); r.status == 0 || !strings.Contains(r.errs, "failed to fetch mon config") {
		t.Errorf("status %d\n%s%s", r.status, r.out, r.errs)
	}
}
