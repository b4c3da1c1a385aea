package posix

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"sort"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// place gives a new directory on the file system under test, open to all.
func place(t *testing.T) string {
	t.Helper()
	root := os.Getenv("SPIRULA_MOUNT")
	if root == "" {
		t.Skip("SPIRULA_MOUNT names no file system to test")
	}
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	dir, err := os.MkdirTemp(root, "posix-")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Errorf("the end: %v", err)
		}
	})
	return dir
}

// as runs f as another user, on a thread that is thrown away after it.
func as(t *testing.T, uid, gid int, groups []uint32, f func()) {
	t.Helper()
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
		var err error
		defer func() { done <- err }()
		var list *uint32
		if len(groups) > 0 {
			list = &groups[0]
		}
		if _, _, e := syscall.RawSyscall(syscall.SYS_SETGROUPS, uintptr(len(groups)), uintptr(unsafe.Pointer(list)), 0); e != 0 {
			err = e
			return
		}
		if _, _, e := syscall.RawSyscall(syscall.SYS_SETRESGID, uintptr(gid), uintptr(gid), uintptr(gid)); e != 0 {
			err = e
			return
		}
		if _, _, e := syscall.RawSyscall(syscall.SYS_SETRESUID, uintptr(uid), uintptr(uid), uintptr(uid)); e != 0 {
			err = e
			return
		}
		f()
	}()
	if err := <-done; err != nil {
		t.Fatalf("become user %d: %v", uid, err)
	}
}

func wantErr(t *testing.T, what string, err error, want ...error) {
	t.Helper()
	for _, w := range want {
		if errors.Is(err, w) {
			return
		}
	}
	t.Errorf("%s: %v, want %v", what, err, want)
}

func must(t *testing.T, what string, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
}

func put(t *testing.T, name, content string, mode os.FileMode) {
	t.Helper()
	must(t, "write", os.WriteFile(name, []byte(content), mode))
	must(t, "chmod", os.Chmod(name, mode))
}

func stat(t *testing.T, name string) unix.Stat_t {
	t.Helper()
	var st unix.Stat_t
	must(t, "lstat "+name, unix.Lstat(name, &st))
	return st
}

func read(name string) error {
	_, err := os.ReadFile(name)
	return err
}

func appendTo(name, s string) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return err
	}
	if _, err = f.WriteString(s); err != nil {
		f.Close()
		return err
	}
	return f.Close()
}

func TestPermissions(t *testing.T) {
	d := place(t)
	f := filepath.Join(d, "f")
	put(t, f, "secret", 0o640)
	must(t, "chown", os.Chown(f, 1001, 2001))
	as(t, 1001, 1001, nil, func() {
		must(t, "owner reads", read(f))
		must(t, "owner appends", appendTo(f, "x"))
	})
	as(t, 1002, 2001, nil, func() {
		must(t, "group reads", read(f))
		wantErr(t, "group appends", appendTo(f, "x"), unix.EACCES)
	})
	as(t, 1002, 1002, []uint32{7, 2001}, func() {
		must(t, "a further group reads", read(f))
	})
	as(t, 1003, 1003, nil, func() {
		wantErr(t, "others read", read(f), unix.EACCES)
		wantErr(t, "others chmod", os.Chmod(f, 0o666), unix.EPERM)
		wantErr(t, "others truncate", os.Truncate(f, 0), unix.EACCES)
	})

	dir := filepath.Join(d, "dir")
	must(t, "mkdir", os.Mkdir(dir, 0o755))
	put(t, dir+"/x", "x", 0o644)
	as(t, 1001, 1001, nil, func() {
		wantErr(t, "create in another's directory", os.WriteFile(dir+"/y", nil, 0o644), unix.EACCES)
		wantErr(t, "unlink in another's directory", os.Remove(dir+"/x"), unix.EACCES)
		wantErr(t, "mkdir in another's directory", os.Mkdir(dir+"/z", 0o755), unix.EACCES)
	})
	must(t, "chmod", os.Chmod(dir, 0o744))
	as(t, 1001, 1001, nil, func() {
		wantErr(t, "search without x", read(dir+"/x"), unix.EACCES)
		_, err := os.ReadDir(dir)
		must(t, "list with r", err)
	})
	must(t, "chmod", os.Chmod(dir, 0o711))
	as(t, 1001, 1001, nil, func() {
		must(t, "search with x", read(dir+"/x"))
		_, err := os.ReadDir(dir)
		wantErr(t, "list without r", err, unix.EACCES)
	})
}

func TestOwnership(t *testing.T) {
	d := place(t)
	f := filepath.Join(d, "f")
	as(t, 1001, 2001, []uint32{2002}, func() {
		if err := os.WriteFile(f, []byte("x"), 0o644); err != nil {
			t.Errorf("create: %v", err)
			return
		}
		wantErr(t, "give away", os.Chown(f, 1002, -1), unix.EPERM)
		wantErr(t, "a foreign group", os.Chown(f, -1, 3000), unix.EPERM)
		if err := os.Chown(f, -1, 2002); err != nil {
			t.Errorf("a group of one's own: %v", err)
		}
		if err := os.Chmod(f, 0o600); err != nil {
			t.Errorf("chmod by the owner: %v", err)
		}
	})
	if st := stat(t, f); st.Uid != 1001 || st.Gid != 2002 || st.Mode&0o7777 != 0o600 {
		t.Errorf("uid %d gid %d mode %o, want 1001 2002 600", st.Uid, st.Gid, st.Mode&0o7777)
	}
}

func TestSetIDBits(t *testing.T) {
	d := place(t)
	f := filepath.Join(d, "f")
	put(t, f, "x", 0o777)
	must(t, "chmod", unix.Chmod(f, 0o6777))
	as(t, 1002, 1002, nil, func() {
		if err := appendTo(f, "y"); err != nil {
			t.Errorf("append: %v", err)
		}
	})
	if st := stat(t, f); st.Mode&0o6000 != 0 {
		t.Errorf("after a write by another user the mode is %o", st.Mode&0o7777)
	}
	must(t, "chown", os.Chown(f, 1001, 1001))
	must(t, "chmod", unix.Chmod(f, 0o6755))
	as(t, 1001, 1001, []uint32{1005}, func() {
		if err := os.Chown(f, -1, 1005); err != nil {
			t.Errorf("chgrp: %v", err)
		}
	})
	if st := stat(t, f); st.Mode&0o6000 != 0 {
		t.Errorf("after chgrp by its owner the mode is %o", st.Mode&0o7777)
	}
}

func TestSticky(t *testing.T) {
	d := place(t)
	must(t, "chmod", unix.Chmod(d, 0o1777))
	f := filepath.Join(d, "f")
	put(t, f, "x", 0o666)
	must(t, "chown", os.Chown(f, 1001, 1001))
	as(t, 1002, 1002, nil, func() {
		wantErr(t, "unlink another's", os.Remove(f), unix.EPERM, unix.EACCES)
		wantErr(t, "rename another's", os.Rename(f, f+"2"), unix.EPERM, unix.EACCES)
		if err := os.WriteFile(filepath.Join(d, "g"), nil, 0o644); err != nil {
			t.Errorf("create: %v", err)
		}
		wantErr(t, "rename over another's", os.Rename(filepath.Join(d, "g"), f), unix.EPERM, unix.EACCES)
	})
	as(t, 1001, 1001, nil, func() {
		if err := os.Remove(f); err != nil {
			t.Errorf("unlink one's own: %v", err)
		}
	})
}

func TestSetGIDDirectory(t *testing.T) {
	d := place(t)
	must(t, "chown", os.Chown(d, 0, 2005))
	must(t, "chmod", unix.Chmod(d, 0o2777))
	as(t, 1001, 1001, nil, func() {
		if err := os.WriteFile(filepath.Join(d, "f"), nil, 0o644); err != nil {
			t.Errorf("create: %v", err)
		}
		if err := os.Mkdir(filepath.Join(d, "sub"), 0o755); err != nil {
			t.Errorf("mkdir: %v", err)
		}
	})
	if st := stat(t, filepath.Join(d, "f")); st.Gid != 2005 || st.Uid != 1001 {
		t.Errorf("the file is %d:%d, want 1001:2005", st.Uid, st.Gid)
	}
	if st := stat(t, filepath.Join(d, "sub")); st.Gid != 2005 || st.Mode&0o2000 == 0 {
		t.Errorf("the directory has group %d mode %o, want 2005 and setgid", st.Gid, st.Mode&0o7777)
	}
}

func TestModeBits(t *testing.T) {
	d := place(t)
	f := filepath.Join(d, "f")
	put(t, f, "", 0o644)
	for _, mode := range []uint32{0, 0o400, 0o7777, 0o4711, 0o2755, 0o1644} {
		must(t, "chmod", unix.Chmod(f, mode))
		if st := stat(t, f); st.Mode&0o7777 != mode {
			t.Errorf("mode %o, want %o", st.Mode&0o7777, mode)
		}
	}
}

func TestHardLinks(t *testing.T) {
	d := place(t)
	a, b := filepath.Join(d, "a"), filepath.Join(d, "b")
	put(t, a, "one", 0o644)
	before := stat(t, a)
	time.Sleep(10 * time.Millisecond)
	must(t, "link", os.Link(a, b))
	sa, sb := stat(t, a), stat(t, b)
	if sa.Ino != sb.Ino || sa.Nlink != 2 || sb.Nlink != 2 {
		t.Errorf("inodes %d %d, links %d %d", sa.Ino, sb.Ino, sa.Nlink, sb.Nlink)
	}
	if sa.Ctim == before.Ctim {
		t.Error("link does not move ctime")
	}
	must(t, "write", os.WriteFile(b, []byte("two!"), 0o644))
	if got, err := os.ReadFile(a); err != nil || string(got) != "two!" {
		t.Errorf("by the other name: %q, %v", got, err)
	}
	wantErr(t, "link over a name", os.Link(a, b), unix.EEXIST)
	wantErr(t, "link to nothing", os.Link(filepath.Join(d, "none"), filepath.Join(d, "c")), unix.ENOENT)
	must(t, "mkdir", os.Mkdir(filepath.Join(d, "dir"), 0o755))
	wantErr(t, "link to a directory", os.Link(filepath.Join(d, "dir"), filepath.Join(d, "c")), unix.EPERM)
	must(t, "rename over another name of the same file", os.Rename(a, b))
	if _, err := os.Lstat(a); err != nil {
		t.Errorf("rename between two names of one file must do nothing: %v", err)
	}
	must(t, "unlink", os.Remove(a))
	if st := stat(t, b); st.Nlink != 1 {
		t.Errorf("links %d after unlink", st.Nlink)
	}
}

func TestRename(t *testing.T) {
	d := place(t)
	p := func(n string) string { return filepath.Join(d, n) }
	put(t, p("a"), "a", 0o644)
	put(t, p("b"), "b", 0o644)
	ino := stat(t, p("a")).Ino
	must(t, "rename over a file", os.Rename(p("a"), p("b")))
	if got, _ := os.ReadFile(p("b")); string(got) != "a" || stat(t, p("b")).Ino != ino {
		t.Errorf("after rename: %q", got)
	}
	wantErr(t, "the old name", read(p("a")), unix.ENOENT)
	wantErr(t, "rename of nothing", os.Rename(p("a"), p("c")), unix.ENOENT)
	must(t, "mkdir", os.MkdirAll(p("dir/sub"), 0o755))
	must(t, "mkdir", os.Mkdir(p("empty"), 0o755))
	must(t, "mkdir", os.Mkdir(p("other"), 0o755))
	put(t, p("dir/sub/f"), "f", 0o644)
	wantErr(t, "a file over a directory", unix.Rename(p("b"), p("empty")), unix.EISDIR)
	wantErr(t, "a directory over a file", unix.Rename(p("empty"), p("b")), unix.ENOTDIR)
	wantErr(t, "a directory over a full one", unix.Rename(p("empty"), p("dir")), unix.ENOTEMPTY, unix.EEXIST)
	wantErr(t, "a directory into itself", unix.Rename(p("dir"), p("dir/sub/x")), unix.EINVAL)
	must(t, "a directory over an empty one", unix.Rename(p("dir"), p("empty")))
	must(t, "read below", read(p("empty/sub/f")))
	links := stat(t, p("other")).Nlink
	must(t, "move a directory", os.Rename(p("empty/sub"), p("other/sub")))
	if got := stat(t, p("other")).Nlink; got != links+1 && links > 1 {
		t.Errorf("links of the new parent: %d, want %d", got, links+1)
	}
	must(t, "read below", read(p("other/sub/f")))
	up, err := os.Stat(p("other/sub/.."))
	must(t, "stat ..", err)
	if up.Sys().(*syscall.Stat_t).Ino != stat(t, p("other")).Ino {
		t.Error(".. of a moved directory is not its new parent")
	}
}

func TestExclusiveCreate(t *testing.T) {
	d := place(t)
	f := filepath.Join(d, "f")
	var wins, exist int
	var mu sync.Mutex
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			fd, err := os.OpenFile(f, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o640)
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				wins++
				fd.Close()
			} else if errors.Is(err, unix.EEXIST) {
				exist++
			}
		})
	}
	wg.Wait()
	if wins != 1 || exist != 7 {
		t.Errorf("%d made it, %d were told that it exists; want 1 and 7", wins, exist)
	}
	if st := stat(t, f); st.Mode&0o777 != 0o640&^uint32(umask()) {
		t.Errorf("mode %o", st.Mode&0o777)
	}
}

func umask() int {
	m := unix.Umask(0)
	unix.Umask(m)
	return m
}

func TestTruncateAndHoles(t *testing.T) {
	d := place(t)
	name := filepath.Join(d, "f")
	put(t, name, strings.Repeat("x", 10000), 0o644)
	must(t, "shrink", os.Truncate(name, 5000))
	must(t, "extend", os.Truncate(name, 8000))
	want := append(bytes.Repeat([]byte("x"), 5000), make([]byte, 3000)...)
	if got, err := os.ReadFile(name); err != nil || !bytes.Equal(got, want) {
		t.Errorf("after shrinking and extending: %d bytes, %v, equal %v", len(got), err, bytes.Equal(got, want))
	}
	f, err := os.OpenFile(name, os.O_RDWR|os.O_TRUNC, 0)
	must(t, "open", err)
	defer f.Close()
	const far = 64 << 20
	_, err = f.WriteAt([]byte("end"), far)
	must(t, "write far out", err)
	must(t, "fsync", f.Sync())
	if st := stat(t, name); st.Size != far+3 {
		t.Errorf("size %d", st.Size)
	}
	b := make([]byte, 5000)
	if _, err := f.ReadAt(b, far-4000); err != nil && err != io.EOF {
		t.Error(err)
	}
	if !bytes.Equal(b[:4000], make([]byte, 4000)) || string(b[4000:4003]) != "end" {
		t.Error("the hole is not zeros up to the data")
	}
}

func TestAppend(t *testing.T) {
	d := place(t)
	name := filepath.Join(d, "log")
	f, err := os.OpenFile(name, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	must(t, "open", err)
	var want bytes.Buffer
	for i := range 500 {
		line := fmt.Sprintf("line %d\n", i)
		want.WriteString(line)
		_, err := f.WriteString(line)
		must(t, "append", err)
		if i%100 == 0 {
			must(t, "fsync", f.Sync())
		}
	}
	must(t, "close", f.Close())
	if got, err := os.ReadFile(name); err != nil || !bytes.Equal(got, want.Bytes()) {
		t.Errorf("%d bytes of %d, %v", len(got), want.Len(), err)
	}
}

func TestTimes(t *testing.T) {
	d := place(t)
	name := filepath.Join(d, "f")
	put(t, name, "x", 0o644)
	pause := func() { time.Sleep(15 * time.Millisecond) }
	old := stat(t, name)
	pause()
	must(t, "write", appendTo(name, "y"))
	now := stat(t, name)
	if now.Mtim == old.Mtim || now.Ctim == old.Ctim {
		t.Error("a write must move mtime and ctime")
	}
	old = now
	pause()
	must(t, "chmod", os.Chmod(name, 0o600))
	if now = stat(t, name); now.Mtim != old.Mtim || now.Ctim == old.Ctim {
		t.Error("chmod must move ctime and leave mtime")
	}
	old = now
	pause()
	at, mt := time.Unix(1_000_000_000, 123_456_789), time.Unix(1_100_000_000, 987_654_321)
	must(t, "utimes", os.Chtimes(name, at, mt))
	if now = stat(t, name); now.Mtim.Nano() != mt.UnixNano() || now.Atim.Nano() != at.UnixNano() || now.Ctim == old.Ctim {
		t.Errorf("utimes: mtime %d, atime %d, ctime moved %v", now.Mtim.Nano(), now.Atim.Nano(), now.Ctim != old.Ctim)
	}
	parent := stat(t, d)
	pause()
	must(t, "rename", os.Rename(name, name+"2"))
	if p := stat(t, d); p.Mtim == parent.Mtim || p.Ctim == parent.Ctim {
		t.Error("rename must move its directory's times")
	}
	if now = stat(t, name+"2"); now.Mtim.Nano() != mt.UnixNano() {
		t.Error("rename moved the file's mtime")
	}
	parent = stat(t, d)
	pause()
	must(t, "unlink", os.Remove(name+"2"))
	if p := stat(t, d); p.Mtim == parent.Mtim {
		t.Error("unlink must move its directory's mtime")
	}
	parent = stat(t, d)
	pause()
	must(t, "mkdir", os.Mkdir(filepath.Join(d, "sub"), 0o755))
	if p := stat(t, d); p.Mtim == parent.Mtim || (parent.Nlink > 1 && p.Nlink != parent.Nlink+1) {
		t.Errorf("mkdir must move its directory's mtime and links: %d, %d", parent.Nlink, p.Nlink)
	}
}

func TestTimesOfOthers(t *testing.T) {
	d := place(t)
	name := filepath.Join(d, "f")
	put(t, name, "x", 0o666)
	as(t, 1002, 1002, nil, func() {
		wantErr(t, "set times of another's file", os.Chtimes(name, time.Unix(1, 0), time.Unix(1, 0)), unix.EPERM)
		now := []unix.Timespec{{Nsec: unix.UTIME_NOW}, {Nsec: unix.UTIME_NOW}}
		if err := unix.UtimesNanoAt(unix.AT_FDCWD, name, now, 0); err != nil {
			t.Errorf("touch a file that one may write: %v", err)
		}
	})
	must(t, "chmod", os.Chmod(name, 0o644))
	as(t, 1002, 1002, nil, func() {
		now := []unix.Timespec{{Nsec: unix.UTIME_NOW}, {Nsec: unix.UTIME_NOW}}
		wantErr(t, "touch a file that one may not write", unix.UtimesNanoAt(unix.AT_FDCWD, name, now, 0), unix.EACCES)
	})
}

func TestDirectories(t *testing.T) {
	d := place(t)
	p := func(n string) string { return filepath.Join(d, n) }
	must(t, "mkdir", os.Mkdir(p("a"), 0o755))
	wantErr(t, "mkdir over a name", os.Mkdir(p("a"), 0o755), unix.EEXIST)
	put(t, p("a/f"), "", 0o644)
	wantErr(t, "rmdir of a full one", unix.Rmdir(p("a")), unix.ENOTEMPTY, unix.EEXIST)
	wantErr(t, "rmdir of a file", unix.Rmdir(p("a/f")), unix.ENOTDIR)
	wantErr(t, "unlink of a directory", unix.Unlink(p("a")), unix.EISDIR, unix.EPERM)
	wantErr(t, "a file as a directory", read(p("a/f/x")), unix.ENOTDIR)
	must(t, "unlink", os.Remove(p("a/f")))
	must(t, "rmdir", os.Remove(p("a")))
	wantErr(t, "rmdir of nothing", unix.Rmdir(p("a")), unix.ENOENT)
}

func TestReadDirWhileRemoving(t *testing.T) {
	d := place(t)
	const n = 2000
	for i := range n {
		f, err := os.Create(filepath.Join(d, fmt.Sprintf("entry-with-a-name-of-some-length-%04d", i)))
		must(t, "create", err)
		f.Close()
	}
	f, err := os.Open(d)
	must(t, "open", err)
	defer f.Close()
	seen := map[string]bool{}
	for {
		names, err := f.Readdirnames(150)
		if err == io.EOF {
			break
		}
		must(t, "readdir", err)
		for _, name := range names {
			if seen[name] {
				t.Errorf("%s came twice", name)
			}
			seen[name] = true
			must(t, "unlink", os.Remove(filepath.Join(d, name)))
		}
	}
	if len(seen) != n {
		t.Errorf("%d names of %d while they were removed", len(seen), n)
	}
	if left, err := os.ReadDir(d); err != nil || len(left) != 0 {
		t.Errorf("%d names are left, %v", len(left), err)
	}
}

func TestNames(t *testing.T) {
	d := place(t)
	names := []string{strings.Repeat("n", 255), strings.Repeat("ß", 127), "with space", "new\nline", "back\\slash", "quote\"'",
		"colon:", "%41", ".hidden", "...", "ünï", "日本語", "-dash", "tab\t", "\x01", "trailing.", "*?[]", "~", "#", "&amp;"}
	for _, n := range names {
		if err := os.WriteFile(filepath.Join(d, n), []byte(n), 0o644); err != nil {
			t.Errorf("create %q: %v", n, err)
		}
	}
	var got []string
	entries, err := os.ReadDir(d)
	must(t, "readdir", err)
	for _, e := range entries {
		got = append(got, e.Name())
	}
	sort.Strings(got)
	sort.Strings(names)
	if strings.Join(got, "|") != strings.Join(names, "|") {
		t.Errorf("names %q, want %q", got, names)
	}
	for _, n := range names {
		if b, err := os.ReadFile(filepath.Join(d, n)); err != nil || string(b) != n {
			t.Errorf("read %q: %q, %v", n, b, err)
		}
	}
	wantErr(t, "a name of 256 bytes", os.WriteFile(filepath.Join(d, strings.Repeat("n", 256)), nil, 0o644), unix.ENAMETOOLONG)
}

func TestSymlinks(t *testing.T) {
	d := place(t)
	p := func(n string) string { return filepath.Join(d, n) }
	put(t, p("f"), "content", 0o644)
	for name, target := range map[string]string{"rel": "f", "abs": p("f"), "dangling": "none/such", "long": strings.Repeat("x/", 1000), "odd": "a b\n%"} {
		must(t, "symlink", os.Symlink(target, p(name)))
		if got, err := os.Readlink(p(name)); err != nil || got != target {
			t.Errorf("%s leads to %q, %v", name, got, err)
		}
		if st := stat(t, p(name)); st.Mode&unix.S_IFMT != unix.S_IFLNK || st.Size != int64(len(target)) {
			t.Errorf("%s: mode %o size %d", name, st.Mode, st.Size)
		}
	}
	if b, err := os.ReadFile(p("rel")); err != nil || string(b) != "content" {
		t.Errorf("through a link: %q %v", b, err)
	}
	wantErr(t, "through a dangling link", read(p("dangling")), unix.ENOENT)
	must(t, "symlink", os.Symlink("loop", p("loop")))
	wantErr(t, "through a loop", read(p("loop")), unix.ELOOP)
	wantErr(t, "over a name", os.Symlink("x", p("f")), unix.EEXIST)
	_, err := os.Readlink(p("f"))
	wantErr(t, "readlink of a file", err, unix.EINVAL)
}

func TestSpecialFiles(t *testing.T) {
	d := place(t)
	for name, want := range map[string]struct {
		mode uint32
		dev  uint64
	}{
		"fifo":   {unix.S_IFIFO | 0o644, 0},
		"socket": {unix.S_IFSOCK | 0o644, 0},
		"char":   {unix.S_IFCHR | 0o600, unix.Mkdev(1, 3)},
		"block":  {unix.S_IFBLK | 0o600, unix.Mkdev(253, 70000)},
	} {
		f := filepath.Join(d, name)
		must(t, "mknod "+name, unix.Mknod(f, want.mode, int(want.dev)))
		if st := stat(t, f); st.Mode&unix.S_IFMT != want.mode&unix.S_IFMT || st.Rdev != want.dev {
			t.Errorf("%s: mode %o device %d:%d", name, st.Mode, unix.Major(st.Rdev), unix.Minor(st.Rdev))
		}
	}
	f := filepath.Join(d, "fifo")
	go os.WriteFile(f, []byte("through the pipe"), 0)
	if b, err := os.ReadFile(f); err != nil || string(b) != "through the pipe" {
		t.Errorf("the pipe gave %q, %v", b, err)
	}
}

func TestUnlinkOpenFile(t *testing.T) {
	d := place(t)
	name := filepath.Join(d, "f")
	f, err := os.OpenFile(name, os.O_CREATE|os.O_RDWR, 0o644)
	must(t, "open", err)
	_, err = f.WriteString("still here")
	must(t, "write", err)
	must(t, "unlink", os.Remove(name))
	wantErr(t, "the name", read(name), unix.ENOENT)
	b := make([]byte, 10)
	if _, err := f.ReadAt(b, 0); err != nil || string(b) != "still here" {
		t.Errorf("read: %q, %v", b, err)
	}
	_, err = f.WriteAt([]byte("and more"), 10)
	must(t, "write after unlink", err)
	must(t, "fsync", f.Sync())
	must(t, "close", f.Close())
	for range 50 { // the client removes its hidden name after the close
		if left, _ := os.ReadDir(d); len(left) == 0 {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Error("something is left in the directory")
}

func TestOtherBucket(t *testing.T) {
	d := place(t)
	other := os.Getenv("SPIRULA_MOUNT2")
	if other == "" {
		t.Skip("SPIRULA_MOUNT2 names no other file system")
	}
	put(t, filepath.Join(d, "f"), "x", 0o644)
	wantErr(t, "rename to another bucket", unix.Rename(filepath.Join(d, "f"), filepath.Join(other, "f")), unix.EXDEV)
	wantErr(t, "link to another bucket", unix.Link(filepath.Join(d, "f"), filepath.Join(other, "f")), unix.EXDEV)
	must(t, "the file stays", read(filepath.Join(d, "f")))
}

func TestRandomWrites(t *testing.T) {
	d := place(t)
	name := filepath.Join(d, "f")
	f, err := os.OpenFile(name, os.O_CREATE|os.O_RDWR, 0o644)
	must(t, "open", err)
	defer f.Close()
	seed := uint64(time.Now().UnixNano())
	rnd := rand.New(rand.NewPCG(seed, 0))
	var want []byte
	for i := range 300 {
		switch rnd.IntN(12) {
		case 0:
			n := rnd.IntN(3 << 20)
			must(t, "truncate", f.Truncate(int64(n)))
			if n < len(want) {
				want = want[:n]
			} else {
				want = append(want, make([]byte, n-len(want))...)
			}
		case 1:
			must(t, "fsync", f.Sync())
		case 2:
			// Past the kernel's cache of pages.
			got := readDirect(t, f, name, len(want))
			if !bytes.Equal(got, want) {
				t.Fatalf("seed %d step %d: the file differs at %d", seed, i, firstDiff(got, want))
			}
		default:
			off, n := rnd.IntN(2<<20), 1+rnd.IntN(200_000)
			b := make([]byte, n)
			for j := range b {
				b[j] = byte(rnd.Uint32())
			}
			if off+n > len(want) {
				want = append(want, make([]byte, off+n-len(want))...)
			}
			copy(want[off:], b)
			_, err := f.WriteAt(b, int64(off))
			must(t, "write", err)
		}
	}
	if got := readDirect(t, f, name, len(want)); !bytes.Equal(got, want) {
		t.Fatalf("seed %d: at the end the file differs at %d", seed, firstDiff(got, want))
	}
}

// readDirect reads a file from the server, where the client has a way to.
func readDirect(t *testing.T, f *os.File, name string, size int) []byte {
	t.Helper()
	must(t, "fsync", f.Sync())
	unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED)
	b, err := os.ReadFile(name)
	must(t, "read", err)
	if len(b) != size {
		t.Errorf("%d bytes, want %d", len(b), size)
	}
	return b
}

func firstDiff(a, b []byte) int {
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return i
		}
	}
	return min(len(a), len(b))
}

func TestSharedMapping(t *testing.T) {
	d := place(t)
	name := filepath.Join(d, "f")
	put(t, name, strings.Repeat(".", 20000), 0o644)
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	must(t, "open", err)
	defer f.Close()
	m, err := unix.Mmap(int(f.Fd()), 0, 20000, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	must(t, "mmap", err)
	copy(m[9000:], "written through memory")
	must(t, "msync", unix.Msync(m, unix.MS_SYNC))
	must(t, "munmap", unix.Munmap(m))
	got, err := os.ReadFile(name)
	must(t, "read", err)
	if string(got[9000:9022]) != "written through memory" || len(got) != 20000 {
		t.Errorf("%q, %d bytes", got[9000:9022], len(got))
	}
}

func TestStatFS(t *testing.T) {
	d := place(t)
	var st unix.Statfs_t
	must(t, "statfs", unix.Statfs(d, &st))
	if st.Blocks == 0 || st.Bavail == 0 || st.Bfree > st.Blocks || st.Files == 0 || st.Namelen != 255 {
		t.Errorf("statfs: %+v", st)
	}
}
