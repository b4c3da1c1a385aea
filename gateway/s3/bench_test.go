package s3

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/spirula/spirula/mds"
	"github.com/spirula/spirula/rados/wire"
)

// nopFS answers at once and keeps nothing: what is measured is the gateway.
type nopFS struct {
	*memFS
	object mds.Object
	data   wire.Data
	page   mds.ListPage
}

type nopWriter struct{ f *nopFS }

func (w nopWriter) Write(context.Context, wire.Data) error { return nil }
func (w nopWriter) Abort()                                 {}
func (w nopWriter) Publish(_ context.Context, _ string, p mds.Publish) (*mds.Object, error) {
	return &w.f.object, nil
}

func (f *nopFS) NewWriter(context.Context, mds.Cred, mds.Ino, int64) (mds.Writer, error) {
	return nopWriter{f}, nil
}
func (f *nopFS) Object() *mds.Object { return &f.object }
func (f *nopFS) Close()              {}
func (f *nopFS) ReadAt(_ context.Context, off uint64, n int) (wire.Data, error) {
	return f.data.Slice(int(off), n), nil
}
func (f *nopFS) OpenObject(context.Context, mds.Ino, string) (mds.Reader, error) { return f, nil }
func (f *nopFS) StatObject(context.Context, mds.Ino, string) (*mds.Object, error) {
	return &f.object, nil
}
func (f *nopFS) List(context.Context, mds.Ino, mds.ListRequest) (*mds.ListPage, error) {
	return &f.page, nil
}

func benchRig(b *testing.B, size int) *rig {
	f := &nopFS{memFS: newMemFS(), data: wire.DataOf(make([]byte, max(size, 1)))}
	f.object = mds.Object{Key: "k", ETag: "d41d8cd98f00b204e9800998ecf8427e", Attr: mds.Attr{Size: uint64(size), Mtime: 1_700_000_000e9}}
	if _, err := f.CreateBucket(context.Background(), mds.Cred{}, mds.Bucket{Name: "box", Owner: "alice"}); err != nil {
		b.Fatal(err)
	}
	for range 1000 {
		f.page.Entries = append(f.page.Entries, mds.ListEntry{Key: "some/where/in/the/bucket/object-0000001", Size: 4096, Mtime: 1_700_000_000e9, ETag: f.object.ETag, Owner: "alice"})
	}
	g := New(Options{FS: f, Users: testUsers, Region: "us-east-1"})
	r := &rig{t: b, fs: f.memFS, g: g, srv: httptest.NewServer(g)}
	b.Cleanup(r.srv.Close)
	return r
}

// sink is a ResponseWriter that keeps nothing.
type sink struct {
	head http.Header
	code int
}

func (s *sink) Header() http.Header              { return s.head }
func (s *sink) WriteHeader(code int)             { s.code = code }
func (s *sink) SetReadDeadline(time.Time) error  { return nil }
func (s *sink) SetWriteDeadline(time.Time) error { return nil }
func (s *sink) Write(p []byte) (int, error)      { return len(p), nil }

// bench runs one signed request again and again: by call, which shows the
// gateway's own work and allocations, and over a socket.
func bench(b *testing.B, method, target string, size int, headers ...string) {
	var body []byte
	if method == "PUT" {
		body = make([]byte, size)
	}
	b.Run("call", func(b *testing.B) {
		r := benchRig(b, size)
		req := r.signed(method, target, nil, headers...)
		b.SetBytes(int64(size))
		b.ReportAllocs()
		in := bytes.NewReader(nil)
		for b.Loop() {
			in.Reset(body)
			c := *req
			c.Body, c.ContentLength = io.NopCloser(in), int64(len(body))
			c.RequestURI = target
			w := &sink{head: make(http.Header, 8)}
			r.g.ServeHTTP(w, &c)
			if w.code != 200 {
				b.Fatal(w.code)
			}
		}
	})
	b.Run("socket", func(b *testing.B) {
		r := benchRig(b, size)
		req := r.signed(method, target, nil, headers...)
		b.SetBytes(int64(size))
		for b.Loop() {
			c := *req
			if method == "PUT" {
				c.Body, c.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
			}
			resp, err := r.srv.Client().Do(&c)
			if err != nil {
				b.Fatal(err)
			}
			if _, err := io.Copy(io.Discard, resp.Body); err != nil || resp.StatusCode != 200 {
				b.Fatal(resp.StatusCode, err)
			}
			resp.Body.Close()
		}
	})
}

func BenchmarkPut4K(b *testing.B)  { bench(b, "PUT", "/box/some/key", 4<<10) }
func BenchmarkPut1M(b *testing.B)  { bench(b, "PUT", "/box/some/key", 1<<20) }
func BenchmarkPut16M(b *testing.B) { bench(b, "PUT", "/box/some/key", 16<<20) }
func BenchmarkGet4K(b *testing.B)  { bench(b, "GET", "/box/some/key", 4<<10) }
func BenchmarkGet1M(b *testing.B)  { bench(b, "GET", "/box/some/key", 1<<20) }
func BenchmarkGet16M(b *testing.B) { bench(b, "GET", "/box/some/key", 16<<20) }
func BenchmarkHead(b *testing.B)   { bench(b, "HEAD", "/box/some/key", 0) }
func BenchmarkList1000(b *testing.B) {
	bench(b, "GET", "/box?list-type=2&prefix=&encoding-type=url", 0)
}
