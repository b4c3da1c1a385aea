package nfs

import (
	"bytes"
	"context"
	"encoding/hex"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/spirula/spirula/mds"
	"github.com/spirula/spirula/rados/wire"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// fattr is stubAttr as RFC 1813 says it.
func fattr(a args) args {
	a = a.u32(1, 0o640, 3, 1001, 1002).u64(0x100000002).u64(0x100000200).u32(4, 5).u64(testFSID).u64(0x1122334455667788)
	return a.u32(1, 2, 3, 4, 5, 6)
}

// dirFattr is stubDir.
func dirFattr(a args) args {
	a = a.u32(2, 0o755, 2, 0, 0).u64(0).u64(0).u32(0, 0).u64(testFSID).u64(1)
	return a.u32(0, 0, 7, 0, 0, 0)
}

// wcc is stubWCC.
func wcc(a args) args { return dirFattr(a.u32(1).u64(10).u32(11, 12, 13, 14).u32(1)) }

// sattr is a sattr3 that sets everything: times by the client.
func sattr(a args) args { return a.u32(1, 0o600, 1, 5, 1, 6, 1).u64(99).u32(2, 1, 2, 2, 3, 4) }

const file, dir = 0x1122334455667788, 1

// procedureCase is a call and the reply that RFC 1813 gives it, as bytes.
type procedureCase struct {
	name       string
	prog, proc uint32
	args       args
	want       args // after the accept status
}

func procedureCases() []procedureCase {
	f, d := fh(file, 9), fh(dir, 1)
	made := func() args { return wcc(fattr(args{}.u32(0, 1).bytes(f).u32(1))) }
	cases := []procedureCase{
		{"null", progNFS, 0, nil, nil},
		{"getattr", progNFS, 1, args{}.bytes(f), fattr(args{}.u32(0))},
		{"setattr", progNFS, 2, sattr(args{}.bytes(f)).u32(1, 5, 6), wcc(args{}.u32(0))},
		{"lookup", progNFS, 3, args{}.bytes(d).bytes("name"), dirFattr(fattr(args{}.u32(0).bytes(f).u32(1)).u32(1))},
		{"access", progNFS, 4, args{}.bytes(f).u32(0x3f), fattr(args{}.u32(0, 1)).u32(0x15)},
		{"readlink", progNFS, 5, args{}.bytes(f), fattr(args{}.u32(0, 1)).bytes("target")},
		{"read", progNFS, 6, args{}.bytes(f).u64(1).u32(3), fattr(args{}.u32(0, 1)).u32(3, 0).bytes("ont")},
		{"read to the end", progNFS, 6, args{}.bytes(f).u64(4).u32(100), fattr(args{}.u32(0, 1)).u32(3, 1).bytes("ent")},
		{"write unstable", progNFS, 7, args{}.bytes(f).u64(0).u32(3, 0).bytes("abc"), wcc(args{}.u32(0)).u32(3, 0, 0x01020304, 0x05060708)},
		{"write data sync", progNFS, 7, args{}.bytes(f).u64(0).u32(3, 1).bytes("abc"), wcc(args{}.u32(0)).u32(3, 2, 0x01020304, 0x05060708)},
		{"create unchecked", progNFS, 8, sattr(args{}.bytes(d).bytes("n").u32(0)), made()},
		{"create exclusive", progNFS, 8, args{}.bytes(d).bytes("n").u32(2, 1, 2), made()},
		{"mkdir", progNFS, 9, sattr(args{}.bytes(d).bytes("n")), made()},
		{"symlink", progNFS, 10, sattr(args{}.bytes(d).bytes("n")).bytes("to"), made()},
		{"mknod char", progNFS, 11, sattr(args{}.bytes(d).bytes("n").u32(4)).u32(1, 3), made()},
		{"mknod fifo", progNFS, 11, sattr(args{}.bytes(d).bytes("n").u32(7)), made()},
		{"mknod regular", progNFS, 11, args{}.bytes(d).bytes("n").u32(1), fattr(args{}.u32(10007, 0, 1))},
		{"remove", progNFS, 12, args{}.bytes(d).bytes("n"), wcc(args{}.u32(0))},
		{"rmdir", progNFS, 13, args{}.bytes(d).bytes("n"), wcc(args{}.u32(0))},
		{"rename", progNFS, 14, args{}.bytes(d).bytes("n").bytes(d).bytes("m"), wcc(wcc(args{}.u32(0)))},
		{"link", progNFS, 15, args{}.bytes(f).bytes(d).bytes("n"), wcc(fattr(args{}.u32(0, 1)))},
		{"readdir", progNFS, 16, args{}.bytes(d).u64(0).u64(0).u32(4096),
			dirFattr(args{}.u32(0, 1)).u64(0).u32(1).u64(1).bytes(".").u64(1).u32(1).u64(file).bytes("names").u64(20).u32(0, 1)},
		{"readdirplus", progNFS, 17, args{}.bytes(d).u64(1).u64(0).u32(4096, 4096),
			fattr(dirFattr(args{}.u32(0, 1)).u64(0).u32(1).u64(file).bytes("names").u64(20).u32(1)).u32(1).bytes(f).u32(0, 1)},
		{"fsstat", progNFS, 18, args{}.bytes(f), fattr(args{}.u32(0, 1)).u64(1).u64(2).u64(3).u64(4).u64(5).u64(6).u32(0)},
		{"fsinfo", progNFS, 19, args{}.bytes(f),
			fattr(args{}.u32(0, 1)).u32(1<<20, 1<<20, 4096, 1<<20, 1<<20, 4096, 65536).u64(1<<43-1).u32(0, 1, 0x1b)},
		{"pathconf", progNFS, 20, args{}.bytes(f), fattr(args{}.u32(0, 1)).u32(1023, 255, 1, 1, 0, 1)},
		{"commit", progNFS, 21, args{}.bytes(f).u64(0).u32(0), wcc(args{}.u32(0)).u32(0x01020304, 0x05060708)},
		{"a handle of another store", progNFS, 1, args{}.bytes(strings.Repeat("\x01", 32)), args{}.u32(10001)},
		{"a short handle", progNFS, 3, args{}.bytes("1234").bytes("n"), args{}.u32(10001, 0)},
		{"mount null", progMount, 0, nil, nil},
		{"mnt", progMount, 1, args{}.bytes("/dir"), args{}.u32(0).bytes(d).u32(2, 1, 0)},
		{"mnt of a file", progMount, 1, args{}.bytes("/file"), args{}.u32(20)},
		{"mnt of a long path", progMount, 1, args{}.bytes(strings.Repeat("x", 1025)), args{}.u32(63)},
		{"dump", progMount, 2, nil, args{}.u32(1).bytes("machine").bytes("/dir").u32(0)},
		{"umnt", progMount, 3, args{}.bytes("/dir"), nil},
		{"dump of nothing", progMount, 2, nil, args{}.u32(0)},
		{"umntall", progMount, 4, nil, nil},
		{"export", progMount, 5, nil, args{}.u32(1).bytes("/").u32(0, 0)},
	}
	return cases
}

func stubGateway() (*Gateway, *stub) {
	s := &stub{content: []byte("content"), verf: [8]byte{1, 2, 3, 4, 5, 6, 7, 8}, entries: []mds.DirEntry{
		{Name: ".", Ino: 1, Cookie: 1, Attr: stubDir, HasAttr: true},
		{Name: "names", Ino: file, Cookie: 20, Attr: stubAttr, HasAttr: true},
	}}
	return New(Options{FS: s, FSID: testFSID}), s
}

// TestProcedures compares replies with bytes that are built from the RFC, and
// both with a golden file.
func TestProcedures(t *testing.T) {
	g, s := stubGateway()
	var golden bytes.Buffer
	for i, c := range procedureCases() {
		s.content = []byte("content")
		xid := uint32(100 + i)
		got := direct(g, append(header(xid, c.prog, 3, c.proc, 1001, 1001), c.args...))
		want := append(args{}.u32(xid, 1, 0, 0, 0, 0), c.want...)
		if !bytes.Equal(got, want) {
			t.Errorf("%s:\n got %x\nwant %x", c.name, got, []byte(want))
		}
		fmt.Fprintf(&golden, "%s\n%s", c.name, hex.Dump(got))
	}
	if *update {
		if err := os.WriteFile("testdata/replies.golden", golden.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile("testdata/replies.golden")
	if err != nil || !bytes.Equal(want, golden.Bytes()) {
		t.Errorf("the replies differ from testdata/replies.golden (%v); -update rewrites it", err)
	}
}

// TestArgumentsReachTheNamespace: what is asked is what is called, as whom.
func TestArgumentsReachTheNamespace(t *testing.T) {
	g, s := stubGateway()
	direct(g, append(header(1, progNFS, 3, 9, 1001, 1002, 7, 8), sattr(args{}.bytes(fh(1, 1)).bytes("n"))...))
	c := s.creds[len(s.creds)-1]
	if c.UID != 1001 || c.GID != 1002 || fmt.Sprint(c.Groups) != "[7 8]" || c.Trusted {
		t.Errorf("called as %+v", c)
	}
	r := reader{b: sattr(nil)}
	set := r.setAttr()
	if !r.ok() || len(r.b) != 0 || *set.Mode != 0o600 || *set.UID != 5 || *set.GID != 6 || *set.Size != 99 ||
		set.AtimeHow != mds.TimeClient || set.Atime != wire.Time(1e9+2) || set.Mtime != wire.Time(3e9+4) {
		t.Errorf("sattr3 is read as %+v, ok %v", set, r.ok())
	}
	r = reader{b: args{}.u32(0, 0, 0, 0, 1, 0)}
	if set = r.setAttr(); !r.ok() || set.Mode != nil || set.Size != nil || set.AtimeHow != mds.TimeNow || set.MtimeHow != mds.TimeKeep {
		t.Errorf("sattr3 is read as %+v, ok %v", set, r.ok())
	}
}

// TestGarbageArgs: arguments that are cut short at any byte are refused as
// such, and never reach the namespace.
func TestGarbageArgs(t *testing.T) {
	for _, c := range procedureCases() {
		if c.args == nil {
			continue
		}
		for cut := 0; cut < len(c.args); cut += 4 {
			if c.name == "mknod regular" && cut == len(c.args) {
				continue
			}
			g, s := stubGateway()
			got := direct(g, append(header(5, c.prog, 3, c.proc, 0, 0), c.args[:cut]...))
			if want := []byte(args{}.u32(5, 1, 0, 0, 0, 4)); !bytes.Equal(got, want) {
				t.Errorf("%s cut at %d: %x, want GARBAGE_ARGS", c.name, cut, got)
			}
			if len(s.calls) != 0 {
				t.Errorf("%s cut at %d: called %v", c.name, cut, s.calls)
			}
		}
	}
}

func TestGarbageValues(t *testing.T) {
	g, _ := stubGateway()
	f := fh(file, 9)
	for name, c := range map[string]struct {
		proc uint32
		args args
	}{
		"a boolean of 2":          {2, args{}.bytes(f).u32(2, 0, 0, 0, 0, 0, 0)},
		"a time how of 3":         {2, args{}.bytes(f).u32(0, 0, 0, 0, 3, 0, 0)},
		"a create mode of 3":      {8, args{}.bytes(f).bytes("n").u32(3)},
		"a stable_how of 3":       {7, args{}.bytes(f).u64(0).u32(1, 3).bytes("x")},
		"a handle over 64 bytes":  {1, args{}.bytes(strings.Repeat("h", 68))},
		"a name over every limit": {3, args{}.bytes(f).bytes(strings.Repeat("n", 9000))},
		"data that is not there":  {7, args{}.bytes(f).u64(0).u32(8, 0, 0xfffffff0)},
	} {
		got := direct(g, append(header(6, progNFS, 3, c.proc, 0, 0), c.args...))
		if want := []byte(args{}.u32(6, 1, 0, 0, 0, 4)); !bytes.Equal(got, want) {
			t.Errorf("%s: %x, want GARBAGE_ARGS", name, got)
		}
	}
}

// TestStatuses holds the table of error kinds against RFC 1813, 2.6.
func TestStatuses(t *testing.T) {
	for err, want := range map[error]uint32{
		nil: 0, wire.EPERM: 1, wire.ENOENT: 2, wire.EIO: 5, wire.EACCES: 13, wire.EEXIST: 17, wire.EXDEV: 18, wire.ENODEV: 19,
		wire.ENOTDIR: 20, wire.EISDIR: 21, wire.EINVAL: 22, wire.EFBIG: 27, wire.ENOSPC: 28, wire.EROFS: 30, wire.EMLINK: 31,
		wire.ENAMETOOLONG: 63, wire.ENOTEMPTY: 66, wire.EDQUOT: 69, wire.ESTALE: 70, errHandle: 10001, mds.ErrGuard: 10002,
		errCookie: 10003, wire.EOPNOTSUPP: 10004, wire.ENOSYS: 10004, errTooSmall: 10005, wire.EOVERFLOW: 10006, errBadType: 10007,
		wire.EAGAIN: 10008, wire.ESHUTDOWN: 10008, fmt.Errorf("no kind"): 5,
	} {
		if got := statusFor(err); uint32(got) != want {
			t.Errorf("%v is status %d, want %d", err, got, want)
		}
		if err != nil {
			if got := statusFor(fmt.Errorf("around: %w", err)); uint32(got) != want {
				t.Errorf("%v, wrapped, is status %d, want %d", err, got, want)
			}
		}
	}
}

// TestFailures: every procedure answers an error with the parts that the RFC
// has in its resfail.
func TestFailures(t *testing.T) {
	post := func(a args) args { return fattr(a.u32(1)) }
	wccPost := func(a args) args { return post(a.u32(0)) }
	shapes := map[uint32]func(args) args{
		1: func(a args) args { return a }, 2: wccPost, 3: post, 4: post, 5: post, 6: post, 7: wccPost, 8: wccPost, 9: wccPost, 10: wccPost,
		11: wccPost, 12: wccPost, 13: wccPost, 14: func(a args) args { return wccPost(wccPost(a)) }, 15: func(a args) args { return wccPost(post(a)) },
		16: post, 17: post, 21: wccPost,
	}
	for _, c := range procedureCases() {
		shape := shapes[c.proc]
		if c.prog != progNFS || shape == nil || c.want[3] != 0 || len(c.want) > 2 && c.want[2] != 0 {
			continue
		}
		g, s := stubGateway()
		// The first call fails, GETATTR for the attributes does not.
		s.hook = func(_ context.Context, name string) error {
			if name == "getattr" && c.name != "getattr" {
				return nil
			}
			return wire.EACCES
		}
		got := direct(g, append(header(7, c.prog, 3, c.proc, 0, 0), c.args...))
		if want := []byte(shape(args{}.u32(7, 1, 0, 0, 0, 0, 13))); !bytes.Equal(got, want) {
			t.Errorf("%s:\n got %x\nwant %x", c.name, got, want)
		}
	}
}
