package nfs

import (
	"context"
	"encoding/binary"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/spirula/spirula/mds"
	"github.com/spirula/spirula/rados/wire"
)

// stub is a file system of fixed answers. A hook, where set, comes first.
type stub struct {
	mu      sync.Mutex
	calls   map[string]int
	creds   []mds.Cred
	err     error // of every call but Root
	hook    func(ctx context.Context, name string) error
	entries []mds.DirEntry
	content []byte
	verf    [8]byte
}

var stubAttr = mds.Attr{
	Ino: 0x1122334455667788, Gen: 9, Type: mds.TypeReg, Mode: 0o640, UID: 1001, GID: 1002, Nlink: 3, Major: 4, Minor: 5,
	Size: 0x100000002, Used: 0x100000200, Atime: wire.Time(1*1e9 + 2), Mtime: wire.Time(3*1e9 + 4), Ctime: wire.Time(5*1e9 + 6),
}

var stubDir = mds.Attr{Ino: 1, Gen: 1, Type: mds.TypeDir, Mode: 0o755, Nlink: 2, Mtime: wire.Time(7 * 1e9)}

var stubWCC = mds.WCC{Before: mds.Attr{Ino: 1, Size: 10, Mtime: wire.Time(11*1e9 + 12), Ctime: wire.Time(13*1e9 + 14)}, After: stubDir}

func (s *stub) call(ctx context.Context, name string, cred ...mds.Cred) error {
	s.mu.Lock()
	if s.calls == nil {
		s.calls = map[string]int{}
	}
	s.calls[name]++
	s.creds = append(s.creds[max(0, len(s.creds)-7):], cred...)
	s.mu.Unlock()
	if s.hook != nil {
		if err := s.hook(ctx, name); err != nil {
			return err
		}
	}
	return s.err
}

func (s *stub) count(name string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.calls[name]
}

func (s *stub) Root(context.Context) (mds.Attr, error) { return stubDir, nil }

func (s *stub) GetAttr(ctx context.Context, h mds.Handle) (mds.Attr, error) {
	if h.Ino == 0 {
		return mds.Attr{}, wire.Errorf("getattr", "0", wire.ESTALE)
	}
	return stubAttr, s.call(ctx, "getattr")
}

func (s *stub) SetAttr(ctx context.Context, c mds.Cred, _ mds.Handle, _ mds.SetAttr) (mds.WCC, error) {
	return stubWCC, s.call(ctx, "setattr", c)
}

func (s *stub) Access(ctx context.Context, c mds.Cred, _ mds.Handle, bits uint32) (uint32, mds.Attr, error) {
	return bits & 0x15, stubAttr, s.call(ctx, "access", c)
}

func (s *stub) Lookup(ctx context.Context, c mds.Cred, _ mds.Handle, name string) (mds.Attr, mds.Attr, error) {
	child := stubAttr
	if name == "dir" {
		child = stubDir
	}
	return child, stubDir, s.call(ctx, "lookup", c)
}

func (s *stub) Readlink(ctx context.Context, c mds.Cred, _ mds.Handle) (string, mds.Attr, error) {
	return "target", stubAttr, s.call(ctx, "readlink", c)
}

func (s *stub) Create(ctx context.Context, c mds.Cred, _ mds.Handle, _ string, _ mds.CreateArgs) (mds.Attr, mds.WCC, error) {
	return stubAttr, stubWCC, s.call(ctx, "create", c)
}

func (s *stub) Mkdir(ctx context.Context, c mds.Cred, _ mds.Handle, _ string, _ mds.SetAttr) (mds.Attr, mds.WCC, error) {
	return stubAttr, stubWCC, s.call(ctx, "mkdir", c)
}

func (s *stub) Symlink(ctx context.Context, c mds.Cred, _ mds.Handle, _, _ string, _ mds.SetAttr) (mds.Attr, mds.WCC, error) {
	return stubAttr, stubWCC, s.call(ctx, "symlink", c)
}

func (s *stub) Mknod(ctx context.Context, c mds.Cred, _ mds.Handle, _ string, _ mds.NodeArgs) (mds.Attr, mds.WCC, error) {
	return stubAttr, stubWCC, s.call(ctx, "mknod", c)
}

func (s *stub) Remove(ctx context.Context, c mds.Cred, _ mds.Handle, _ string) (mds.WCC, error) {
	return stubWCC, s.call(ctx, "remove", c)
}

func (s *stub) Rmdir(ctx context.Context, c mds.Cred, _ mds.Handle, _ string) (mds.WCC, error) {
	return stubWCC, s.call(ctx, "rmdir", c)
}

func (s *stub) Rename(ctx context.Context, c mds.Cred, _ mds.Handle, _ string, _ mds.Handle, _ string) (mds.WCC, mds.WCC, error) {
	return stubWCC, stubWCC, s.call(ctx, "rename", c)
}

func (s *stub) Link(ctx context.Context, c mds.Cred, _, _ mds.Handle, _ string) (mds.Attr, mds.WCC, error) {
	return stubAttr, stubWCC, s.call(ctx, "link", c)
}

func (s *stub) ReadDir(ctx context.Context, c mds.Cred, _ mds.Handle, cookie uint64, _ bool, emit func(*mds.DirEntry) bool) (mds.Attr, bool, error) {
	if err := s.call(ctx, "readdir", c); err != nil {
		return mds.Attr{}, false, err
	}
	for i := range s.entries {
		if s.entries[i].Cookie > cookie && !emit(&s.entries[i]) {
			return stubDir, false, nil
		}
	}
	return stubDir, true, nil
}

func (s *stub) Read(ctx context.Context, c mds.Cred, _ mds.Handle, off uint64, n int) (wire.Data, bool, mds.Attr, error) {
	if err := s.call(ctx, "read", c); err != nil {
		return wire.Data{}, false, mds.Attr{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	b := s.content[min(off, uint64(len(s.content))):]
	eof := n >= len(b)
	return wire.CopyData(b[:min(n, len(b))]), eof, stubAttr, nil
}

func (s *stub) Write(ctx context.Context, c mds.Cred, _ mds.Handle, off uint64, d wire.Data, _ bool) (mds.WCC, error) {
	if err := s.call(ctx, "write", c); err != nil {
		return mds.WCC{}, err
	}
	if off < 64<<20 {
		s.mu.Lock()
		if end := int(off) + d.Len(); end > len(s.content) {
			s.content = append(s.content, make([]byte, end-len(s.content))...)
		}
		d.CopyTo(s.content[off:], 0)
		s.mu.Unlock()
	}
	return stubWCC, nil
}

func (s *stub) Commit(ctx context.Context, c mds.Cred, _ mds.Handle, _, _ uint64) (mds.WCC, error) {
	return stubWCC, s.call(ctx, "commit", c)
}

func (s *stub) WriteVerifier() [8]byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.verf
}

func (s *stub) StatFS(ctx context.Context) (mds.FSStat, error) {
	return mds.FSStat{TotalBytes: 1, FreeBytes: 2, AvailBytes: 3, TotalFiles: 4, FreeFiles: 5, AvailFiles: 6}, s.call(ctx, "statfs")
}

// args builds arguments, in other words than the gateway's own encoder.
type args []byte

func (a args) u32(vs ...uint32) args {
	for _, v := range vs {
		a = append(a, byte(v>>24), byte(v>>16), byte(v>>8), byte(v))
	}
	return a
}

func (a args) u64(v uint64) args { return a.u32(uint32(v>>32), uint32(v)) }

func (a args) bytes(b string) args {
	a = append(a.u32(uint32(len(b))), b...)
	for len(a)%4 != 0 {
		a = append(a, 0)
	}
	return a
}

// header is an RPC call header with AUTH_SYS.
func header(xid, prog, vers, proc, uid, gid uint32, gids ...uint32) args {
	cred := args{}.u32(77).bytes("machine").u32(uid, gid, uint32(len(gids))).u32(gids...)
	return args{}.u32(xid, 0, 2, prog, vers, proc, 1).bytes(string(cred)).u32(0, 0)
}

// mark makes a record of one fragment.
func mark(b []byte) []byte {
	return append(binary.BigEndian.AppendUint32(nil, uint32(len(b))|1<<31), b...)
}

const testFSID = 0xabcdef0123456789

// fh is the handle of an inode, as bytes.
func fh(ino uint64, gen uint32) string {
	return string(args{}.u32(1 << 24).u64(testFSID).u64(ino).u32(gen).u64(0))
}

// world is a gateway that serves, and how to talk to it.
type world struct {
	t    testing.TB
	g    *Gateway
	fs   *stub
	addr string
	stop func() error // ends Serve and gives its error
}

func newWorld(t testing.TB, o Options) *world {
	t.Helper()
	w := &world{t: t}
	if o.FS == nil {
		w.fs = &stub{}
		o.FS = w.fs
	}
	o.FSID = testFSID
	w.g = New(o)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w.addr = l.Addr().String()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- w.g.Serve(ctx, l) }()
	w.stop = sync.OnceValue(func() error {
		cancel()
		return <-done
	})
	t.Cleanup(func() {
		if err := w.stop(); err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	return w
}

func (w *world) dial() net.Conn {
	w.t.Helper()
	c, err := net.Dial("tcp", w.addr)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(20 * time.Second))
	return c
}

// recv reads one reply record.
func recv(t testing.TB, c io.Reader) []byte {
	t.Helper()
	var m [4]byte
	if _, err := io.ReadFull(c, m[:]); err != nil {
		t.Fatalf("read a reply: %v", err)
	}
	n := binary.BigEndian.Uint32(m[:])
	if n>>31 != 1 || n&^(1<<31) > 4<<20 {
		t.Fatalf("record mark %#x", n)
	}
	b := make([]byte, n&^(1<<31))
	if _, err := io.ReadFull(c, b); err != nil {
		t.Fatalf("read a reply: %v", err)
	}
	return b
}

// send writes a record of one fragment.
func send(t testing.TB, c io.Writer, b []byte) {
	t.Helper()
	if _, err := c.Write(mark(b)); err != nil {
		t.Fatal(err)
	}
}

// direct runs a call without a network and gives the reply's bytes after the
// record mark.
func direct(g *Gateway, call []byte) []byte {
	rec := record{head: call}
	r, ok := g.answer(context.Background(), &net.TCPAddr{IP: net.IPv4(10, 0, 0, 1), Port: 700}, &rec)
	rec.release(g)
	if !ok {
		return nil
	}
	defer r.data.Release()
	out := append([]byte(nil), r.head[4:]...)
	out = append(out, r.data.Bytes()...)
	for len(out)%4 != 0 {
		out = append(out, 0)
	}
	return out
}
