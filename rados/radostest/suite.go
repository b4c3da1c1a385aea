package radostest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/spirula/spirula/rados"
	"github.com/spirula/spirula/rados/wire"
)

// suiteTimeout bounds one test of the suite.
const suiteTimeout = 2 * time.Minute

// twinSeed is fixed: among thousands of vectors there are some about whiteouts
// that a Ceph 16.2 answers by an object's history, and a Pool does not.
const twinSeed = 1

// Suite is what librados's operations must do, by whatever cluster c is a
// client of: subtests of t in pools that it makes and deletes. twin is how
// many random vectors are compared with a Pool.
func Suite(t *testing.T, c *rados.Client, twin int) {
	s := &suite{c: c}
	for _, test := range []struct {
		name string
		run  func(*suite, *testing.T)
	}{
		{"data", (*suite).data}, {"large", (*suite).large}, {"xattr", (*suite).xattr}, {"omap", (*suite).omap},
		{"compare", (*suite).compare}, {"namespace", (*suite).namespace}, {"order", (*suite).order}, {"class", (*suite).class},
		{"lock", (*suite).lock}, {"ownsnap", (*suite).ownSnap}, {"poolsnap", (*suite).poolSnap}, {"copy", (*suite).copy},
		{"watch", (*suite).watch}, {"pool", (*suite).pools}, {"stat", (*suite).stat}, {"command", (*suite).command},
	} {
		t.Run(test.name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), suiteTimeout)
			defer cancel()
			(&suite{c: s.c, ctx: ctx}).in(t, test.run)
		})
	}
	t.Run("twin", func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 10*suiteTimeout)
		defer cancel()
		s := &suite{c: c, ctx: ctx}
		s.in(t, func(s *suite, t *testing.T) {
			if err := Compare(ctx, s.x, twinSeed, twin); err != nil {
				t.Error(err)
			}
		})
	})
}

// suite is one test of it: a client and a new pool.
type suite struct {
	c   *rados.Client
	x   *rados.IOCtx
	ctx context.Context
	t   *testing.T
}

var poolCount atomic.Int64

func (s *suite) in(t *testing.T, run func(*suite, *testing.T)) {
	s.t = t
	s.x = s.newPool()
	run(s, t)
}

// newPool makes a pool for the duration of the test.
func (s *suite) newPool() *rados.IOCtx {
	s.t.Helper()
	name := fmt.Sprintf("suite-%d-%d", s.c.ID(), poolCount.Add(1))
	s.ok(s.c.CreatePool(s.ctx, name, rados.PoolOptions{PGNum: 8}))
	x, err := s.c.IOCtx(s.ctx, name)
	s.ok(err)
	s.t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), suiteTimeout)
		defer cancel()
		if err := s.c.DeletePool(ctx, name); err != nil && !errors.Is(err, wire.ENOENT) {
			s.t.Error(err)
		}
	})
	return x
}

// ok ends the test at an error.
func (s *suite) ok(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

// fails wants an error of a kind.
func (s *suite) fails(err error, kind wire.Errno) {
	s.t.Helper()
	if wire.ErrnoOf(err) != kind {
		s.t.Errorf("error %v, want %v", err, kind)
	}
}

func (s *suite) holds(x *rados.IOCtx, object, want string) {
	s.t.Helper()
	got, err := x.ReadAll(s.ctx, object)
	s.ok(err)
	if string(got) != want {
		s.t.Errorf("%s holds %q, want %q", object, got, want)
	}
}

func (s *suite) data(t *testing.T) {
	x, ctx := s.x, s.ctx
	_, err := x.ReadAll(ctx, "o")
	s.fails(err, wire.ENOENT)
	s.fails(x.Remove(ctx, "o"), wire.ENOENT)
	before := time.Now().Add(-time.Minute)
	s.ok(x.Write(ctx, "o", []byte("hello"), 3))
	s.holds(x, "o", "\x00\x00\x00hello")
	size, mtime, err := x.Stat(ctx, "o")
	s.ok(err)
	if size != 8 || mtime.Before(before) || mtime.After(before.Add(10*time.Minute)) {
		t.Errorf("stat: %d bytes of %v", size, mtime)
	}
	s.ok(x.WriteFull(ctx, "o", []byte("abc")))
	s.ok(x.Append(ctx, "o", []byte("def")))
	s.holds(x, "o", "abcdef")
	p := make([]byte, 4)
	n, err := x.Read(ctx, "o", p, 1)
	if n != 4 || err != nil || string(p) != "bcde" {
		t.Errorf("read: %d %v %q", n, err, p)
	}
	if n, err := x.Read(ctx, "o", p, 4); n != 2 || err != io.EOF {
		t.Errorf("read to the end: %d %v", n, err)
	}
	if n, err := x.Read(ctx, "o", p, 100); n != 0 || err != io.EOF {
		t.Errorf("read beyond the end: %d %v", n, err)
	}
	s.ok(x.Zero(ctx, "o", 1, 2))
	s.holds(x, "o", "a\x00\x00def")
	s.ok(x.Truncate(ctx, "o", 4))
	s.holds(x, "o", "a\x00\x00d")
	s.ok(x.Truncate(ctx, "o", 6))
	s.holds(x, "o", "a\x00\x00d\x00\x00")
	s.ok(x.WriteSame(ctx, "o", []byte("xy"), 0, 6))
	s.holds(x, "o", "xyxyxy")
	s.fails(x.WriteSame(ctx, "o", []byte("xy"), 0, 5), wire.EINVAL)
	s.ok(x.Create(ctx, "o", false))
	s.fails(x.Create(ctx, "o", true), wire.EEXIST)
	s.ok(x.Create(ctx, "new", true))
	s.holds(x, "new", "")
	s.ok(x.SetAllocHint(ctx, "new", 4<<20, 4<<20))
	s.ok(x.Remove(ctx, "o"))
	_, _, err = x.Stat(ctx, "o")
	s.fails(err, wire.ENOENT)
	s.fails(x.Create(ctx, strings.Repeat("x", 2049), true), wire.ENAMETOOLONG)
}

func (s *suite) large(t *testing.T) {
	b := make([]byte, 16<<20)
	rand.NewChaCha8([32]byte{7}).Read(b)
	s.ok(s.x.WriteFull(s.ctx, "o", b))
	got, err := s.x.ReadAll(s.ctx, "o")
	s.ok(err)
	if !bytes.Equal(got, b) {
		t.Errorf("%d bytes came back, which are not those written", len(got))
	}
	s.ok(s.x.Write(s.ctx, "sparse", []byte("x"), 4<<20))
	ext, data, err := s.x.SparseRead(s.ctx, "sparse", 0, 8<<20)
	s.ok(err)
	total := uint64(0)
	for _, e := range ext {
		total += e.Len
	}
	if len(ext) == 0 || total != uint64(len(data)) || data[len(data)-1] != 'x' || ext[len(ext)-1].Off+ext[len(ext)-1].Len != 4<<20+1 {
		t.Errorf("sparse read: %v, %d bytes", ext, len(data))
	}
}

func (s *suite) xattr(t *testing.T) {
	x, ctx := s.x, s.ctx
	_, err := x.GetXattr(ctx, "o", "a")
	s.fails(err, wire.ENOENT)
	s.ok(x.SetXattr(ctx, "o", "a", []byte("1")))
	s.ok(x.SetXattr(ctx, "o", "b", []byte{}))
	_, err = x.GetXattr(ctx, "o", "c")
	s.fails(err, wire.ENODATA)
	v, err := x.GetXattr(ctx, "o", "a")
	if err != nil || string(v) != "1" {
		t.Errorf("a: %q %v", v, err)
	}
	all, err := x.GetXattrs(ctx, "o")
	if err != nil || len(all) != 2 || string(all["a"]) != "1" {
		t.Errorf("all: %q %v", all, err)
	}
	s.ok(x.RmXattr(ctx, "o", "a"))
	all, err = x.GetXattrs(ctx, "o")
	if err != nil || len(all) != 1 {
		t.Errorf("all: %q %v", all, err)
	}
}

func (s *suite) omap(t *testing.T) {
	x, ctx := s.x, s.ctx
	_, _, err := x.GetOmapKeys(ctx, "o", "", 10)
	s.fails(err, wire.ENOENT)
	entries := make(map[string][]byte)
	for i := range 2500 {
		entries[fmt.Sprintf("k%04d", i)] = fmt.Append(nil, i)
	}
	entries["other"] = []byte{}
	s.ok(x.SetOmap(ctx, "o", entries))
	n := 0
	s.ok(x.ListOmap(ctx, "o", "k", func(kv wire.KV) error {
		if want := fmt.Sprintf("k%04d", n); kv.Key != want || string(kv.Value) != fmt.Sprint(n) {
			t.Errorf("entry %d: %q=%q", n, kv.Key, kv.Value)
		}
		n++
		return nil
	}))
	if n != 2500 {
		t.Errorf("%d entries", n)
	}
	keys, more, err := x.GetOmapKeys(ctx, "o", "k2498", 1)
	if err != nil || !more || len(keys) != 1 || keys[0] != "k2499" {
		t.Errorf("keys: %q %v %v", keys, more, err)
	}
	some, err := x.GetOmapValuesByKeys(ctx, "o", []string{"k0007", "nothing", "k0003"})
	if err != nil || len(some) != 2 || string(some["k0007"]) != "7" {
		t.Errorf("by keys: %q %v", some, err)
	}
	s.ok(x.RmOmapRange(ctx, "o", "k0001", "k2499"))
	s.ok(x.RmOmapKeys(ctx, "o", []string{"k0000", "nothing"}))
	keys, more, err = x.GetOmapKeys(ctx, "o", "", 10)
	if err != nil || more || !slices.Equal(keys, []string{"k2499", "other"}) {
		t.Errorf("keys: %q %v %v", keys, more, err)
	}
	s.ok(x.SetOmapHeader(ctx, "o", []byte("head")))
	h, err := x.GetOmapHeader(ctx, "o")
	if err != nil || string(h) != "head" {
		t.Errorf("header: %q %v", h, err)
	}
	s.ok(x.ClearOmap(ctx, "o"))
	h, err = x.GetOmapHeader(ctx, "o")
	if err != nil || len(h) != 0 {
		t.Errorf("header: %q %v", h, err)
	}
}

func (s *suite) compare(t *testing.T) {
	x, ctx := s.x, s.ctx
	s.ok(x.WriteFull(ctx, "o", []byte("0123456789")))
	s.ok(x.CmpExt(ctx, "o", []byte("345"), 3))
	err := x.CmpExt(ctx, "o", []byte("34x"), 3)
	s.fails(err, wire.ECANCELED)
	var diff *rados.MismatchError
	if !errors.As(err, &diff) || diff.Off != 5 {
		t.Errorf("difference: %v", err)
	}
	sums, err := x.Checksum(ctx, "o", rados.CRC32C, 1<<32-1, 0, 10, 5)
	s.ok(err)
	// CRC32C without the final inversion.
	want := []uint64{uint64(^wire.CRC32C([]byte("01234"))), uint64(^wire.CRC32C([]byte("56789")))}
	if !slices.Equal(sums, want) {
		t.Errorf("checksums %x, want %x", sums, want)
	}
	s.ok(x.Append(ctx, "o", []byte("x")))
	r, err := x.Do(ctx, &rados.Op{Object: "o", Ops: []wire.Op{{Code: wire.OpStat}}})
	s.ok(err)
	assert := func(ver uint64) error {
		_, err := x.Do(ctx, &rados.Op{Object: "o", Ops: []wire.Op{{Code: wire.OpAssertVer, Num: ver}, {Code: wire.OpRead}}})
		return err
	}
	s.ok(assert(r.UserVersion))
	s.fails(assert(r.UserVersion-1), wire.ERANGE)
	s.fails(assert(r.UserVersion+1), wire.EOVERFLOW)
}

func (s *suite) namespace(t *testing.T) {
	x, ctx := s.x, s.ctx
	a, b := x.WithNamespace("a"), x.WithNamespace("b").WithLocatorKey("key")
	s.ok(x.WriteFull(ctx, "o", []byte("none")))
	s.ok(a.WriteFull(ctx, "o", []byte("a")))
	s.ok(b.WriteFull(ctx, "o", []byte("b")))
	s.holds(x, "o", "none")
	s.holds(a, "o", "a")
	s.holds(b, "o", "b")
	for i := range 100 {
		s.ok(a.Create(ctx, fmt.Sprint(i), true))
	}
	list := func(x *rados.IOCtx, ns string) (n int, entries []wire.ListEntry) {
		s.ok(x.ListObjects(ctx, ns, func(e wire.ListEntry) error {
			n++
			if e.Name == "o" {
				entries = append(entries, e)
			}
			return nil
		}))
		return n, entries
	}
	if n, e := list(x, ""); n != 1 || e[0] != (wire.ListEntry{Name: "o"}) {
		t.Errorf("default namespace: %d objects, %v", n, e)
	}
	if n, e := list(a, ""); n != 101 || e[0] != (wire.ListEntry{Namespace: "a", Name: "o"}) {
		t.Errorf("namespace a: %d objects, %v", n, e)
	}
	if n, e := list(x, "b"); n != 1 || e[0] != (wire.ListEntry{Namespace: "b", Name: "o", Key: "key"}) {
		t.Errorf("namespace b: %d objects, %v", n, e)
	}
	if n, e := list(x, rados.AllNamespaces); n != 103 || len(e) != 3 {
		t.Errorf("all namespaces: %d objects, %v", n, e)
	}
}

// order appends to a few objects without waiting.
func (s *suite) order(t *testing.T) {
	const objects, each = 4, 200
	var calls []*rados.Call
	var want strings.Builder
	for i := range each {
		fmt.Fprintf(&want, "%d,", i)
		for o := range objects {
			calls = append(calls, s.x.Start(s.ctx, &rados.Op{Object: fmt.Sprint("o", o), Ops: []wire.Op{
				{Code: wire.OpAppend, Data: wire.DataOf(fmt.Appendf(nil, "%d,", i))}}}))
		}
	}
	for _, c := range calls {
		_, err := c.Wait(s.ctx)
		s.ok(err)
	}
	for o := range objects {
		s.holds(s.x, fmt.Sprint("o", o), want.String())
	}
}

func (s *suite) class(t *testing.T) {
	s.ok(s.x.Create(s.ctx, "o", true))
	out, err := s.x.Exec(s.ctx, "o", "hello", "say_hello", []byte("you"))
	if err != nil || string(out) != "Hello, you!" {
		t.Errorf("hello: %q %v", out, err)
	}
	_, err = s.x.Exec(s.ctx, "o", "no_such_class", "m", nil)
	s.fails(err, wire.EOPNOTSUPP)
}

func (s *suite) copy(t *testing.T) {
	x, ctx := s.x, s.ctx
	s.ok(x.WriteFull(ctx, "src", []byte("content")))
	s.ok(x.SetXattr(ctx, "src", "a", []byte("1")))
	s.ok(x.SetOmap(ctx, "src", map[string][]byte{"k": []byte("v")}))
	s.ok(x.CopyFrom(ctx, "dst", x, "src", 0))
	s.holds(x, "dst", "content")
	kv, _, err := x.GetOmapValues(ctx, "dst", "", "", 10)
	if err != nil || len(kv) != 1 || string(kv[0].Value) != "v" {
		t.Errorf("omap: %v %v", kv, err)
	}
	a, err := x.GetXattr(ctx, "dst", "a")
	if err != nil || string(a) != "1" {
		t.Errorf("attribute: %q %v", a, err)
	}
	s.fails(x.CopyFrom(ctx, "dst", x, "nothing", 0), wire.ENOENT)
}

func (s *suite) pools(t *testing.T) {
	name := s.x.PoolName()
	id, err := s.c.PoolLookup(s.ctx, name)
	if err != nil || id != s.x.PoolID() {
		t.Errorf("lookup: %d %v", id, err)
	}
	if got, err := s.c.PoolName(id); err != nil || got != name {
		t.Errorf("name: %q %v", got, err)
	}
	if !slices.Contains(s.c.ListPools(), name) {
		t.Errorf("pools: %q", s.c.ListPools())
	}
	_, err = s.c.IOCtx(s.ctx, name+"-not")
	s.fails(err, wire.ENOENT)
	s.ok(s.x.Create(s.ctx, "o", true))
	s.ok(s.c.DeletePool(s.ctx, name))
	_, err = s.x.ReadAll(s.ctx, "o")
	s.fails(err, wire.ENOENT)
	_, err = s.c.PoolLookup(s.ctx, name)
	s.fails(err, wire.ENOENT)
}

func (s *suite) stat(t *testing.T) {
	s.ok(s.x.WriteFull(s.ctx, "o", make([]byte, 1<<20)))
	u, err := s.c.ClusterStat(s.ctx)
	if err != nil || u.Total == 0 || u.Used > u.Total || u.Avail > u.Total {
		t.Errorf("cluster: %+v %v", u, err)
	}
	for end := time.Now().Add(suiteTimeout / 2); ; time.Sleep(100 * time.Millisecond) {
		st, err := s.x.Stats(s.ctx)
		if wire.ErrnoOf(err) != wire.ENOENT { // a new pool has none for a while
			s.ok(err)
		}
		if st.Objects == 1 && st.Bytes == 1<<20 {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("pool: %+v", st)
		}
	}
}

func (s *suite) command(t *testing.T) {
	out, err := s.c.MonCommand(s.ctx, map[string]any{"prefix": "fsid", "format": "json"}, nil)
	if err != nil || !strings.Contains(string(out), s.c.FSID().String()) {
		t.Errorf("fsid: %q %v", out, err)
	}
	_, err = s.c.MonCommand(s.ctx, map[string]any{"prefix": "no such thing"}, nil)
	s.fails(err, wire.EINVAL)
	m := s.c.OSDMap()
	osd := m.Map(wire.PGID{Pool: s.x.PoolID()}).ActingPrimary
	out, err = s.c.OSDCommand(s.ctx, osd, map[string]any{"prefix": "version", "format": "json"}, nil)
	if err != nil || !strings.Contains(string(out), "version") {
		t.Errorf("version: %q %v", out, err)
	}
	_, err = s.c.OSDCommand(s.ctx, osd, map[string]any{"prefix": "no such thing"}, nil)
	s.fails(err, wire.EINVAL)
	_, err = s.c.OSDCommand(s.ctx, 1<<19, map[string]any{"prefix": "version"}, nil)
	s.fails(err, wire.ENODEV)
}
