package s3

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// raw sends a request's head by hand, so that the test sees when 100
// Continue comes.
func (r *rig) raw(req *http.Request, length int) (net.Conn, *bufio.Reader) {
	r.t.Helper()
	conn, err := net.Dial("tcp", r.srv.Listener.Addr().String())
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { conn.Close() })
	var head bytes.Buffer
	fmt.Fprintf(&head, "%s %s HTTP/1.1\r\nHost: %s\r\nContent-Length: %d\r\n", req.Method, req.URL.RequestURI(), req.URL.Host, length)
	req.Header.Write(&head)
	head.WriteString("\r\n")
	if _, err := conn.Write(head.Bytes()); err != nil {
		r.t.Fatal(err)
	}
	conn.SetReadDeadline(time.Now().Add(10 * time.Second))
	return conn, bufio.NewReader(conn)
}

func TestContinueOnlyForWhatIsAccepted(t *testing.T) {
	r := newRig(t, nil)
	r.must(200, "PUT", "/box", nil)
	r.must(200, "PUT", "/box/k", []byte("x"))
	for _, tc := range []struct {
		name, target string
		headers      []string
		status       string
	}{
		{"accepted", "/box/new", nil, "100"},
		{"no bucket", "/nobox/new", nil, "404"},
		{"condition", "/box/k", []string{"If-None-Match", "*"}, "412"},
		{"no upload", "/box/k?uploadId=x&partNumber=1", nil, "404"},
		{"bad header", "/box/k", []string{"Content-Md5", "x"}, "400"},
	} {
		req := r.signed("PUT", tc.target, []byte("hello"), append(tc.headers, "Expect", "100-continue")...)
		conn, in := r.raw(req, 5)
		line, err := in.ReadString('\n')
		if err != nil || !strings.Contains(line, " "+tc.status+" ") {
			t.Errorf("%s: %q, %v", tc.name, line, err)
		}
		if tc.status == "100" {
			in.ReadString('\n')
			conn.Write([]byte("hello"))
			if line, err = in.ReadString('\n'); err != nil || !strings.Contains(line, " 200 ") {
				t.Errorf("%s: then %q, %v", tc.name, line, err)
			}
		}
	}
}

// An upload of no bytes is told to continue as well, and a refusal ends the
// connection: clients that ask take both for granted.
func TestContinueOfAnEmptyUpload(t *testing.T) {
	r := newRig(t, nil)
	r.must(200, "PUT", "/box", nil)
	_, in := r.raw(r.signed("PUT", "/box/k", nil, "Expect", "100-continue"), 0)
	if line, err := in.ReadString('\n'); err != nil || !strings.Contains(line, " 100 ") {
		t.Errorf("accepted: %q, %v", line, err)
	}
	if line, err := in.ReadString('\n'); err != nil || line != "\r\n" {
		t.Errorf("100 Continue has a header: %q, %v", line, err)
	}
	resp, err := http.ReadResponse(in, nil)
	if err != nil || resp.StatusCode != 200 || resp.Close || resp.Header.Get("Etag") == "" {
		t.Errorf("then %+v, %v", resp, err)
	}
	_, in = r.raw(r.signed("PUT", "/nobox/k", nil, "Expect", "100-continue"), 0)
	if resp, err = http.ReadResponse(in, nil); err != nil || resp.StatusCode != 404 || !resp.Close {
		t.Errorf("refused: %+v, %v", resp, err)
	}
}

// A body cut at any byte leaves nothing behind.
func TestCutUploads(t *testing.T) {
	r := newRig(t, nil)
	r.must(200, "PUT", "/box", nil)
	body := "3\r\nabc\r\n0\r\nx-amz-checksum-crc32:NSRBwg==\r\n\r\n"
	for n := range len(body) {
		req := r.signed("PUT", "/box/cut", nil, "X-Amz-Content-Sha256", "STREAMING-UNSIGNED-PAYLOAD-TRAILER", "X-Amz-Decoded-Content-Length", "3",
			"X-Amz-Trailer", "x-amz-checksum-crc32")
		conn, in := r.raw(req, len(body))
		conn.Write([]byte(body[:n]))
		conn.(*net.TCPConn).CloseWrite()
		line, _ := in.ReadString('\n')
		if strings.Contains(line, " 200 ") && n < len(body)-4 {
			t.Errorf("cut at %d: %q", n, line)
		}
		conn.Close()
		if n < len(body)-4 {
			r.must(404, "GET", "/box/cut", nil)
		}
	}
	r.must(200, "PUT", "/box/cut", []byte(body), "X-Amz-Content-Sha256", "STREAMING-UNSIGNED-PAYLOAD-TRAILER", "X-Amz-Decoded-Content-Length", "3",
		"X-Amz-Trailer", "x-amz-checksum-crc32")
}

func TestChunkedTransferWithTrailer(t *testing.T) {
	r := newRig(t, nil)
	r.must(200, "PUT", "/box", nil)
	data := random(2<<20 + 1)
	var body bytes.Buffer
	for rest := data; len(rest) > 0; {
		n := min(len(rest), 1<<20)
		fmt.Fprintf(&body, "%x\r\n%s\r\n", n, rest[:n])
		rest = rest[n:]
	}
	body.WriteString("0\r\n\r\n")
	req := r.signed("PUT", "/box/k", nil, "X-Amz-Content-Sha256", "STREAMING-UNSIGNED-PAYLOAD-TRAILER", "X-Amz-Decoded-Content-Length", fmt.Sprint(len(data)), "Content-Encoding", "aws-chunked")
	req.Body, req.ContentLength = io.NopCloser(&body), -1
	if a := r.do(req); a.code != 200 {
		t.Fatalf("%d %s", a.code, a.body)
	}
	got := r.must(200, "GET", "/box/k", nil)
	if got.body != string(data) || got.head.Get("Content-Encoding") != "" {
		t.Errorf("%d bytes, %v", len(got.body), got.head)
	}
	req = r.signed("PUT", "/box/k", nil)
	req.Body, req.ContentLength = io.NopCloser(strings.NewReader("x")), -1
	wantError(t, "plain and chunked", r.do(req), 411, "MissingContentLength")
}

func TestThrottleRefusesWhoWaitsTooLong(t *testing.T) {
	r := newRig(t, func(o *Options) { o.MaxInflightBytes, o.AdmitTimeout = 256<<10, 50*time.Millisecond })
	r.must(200, "PUT", "/box", nil)
	conn, _ := r.raw(r.signed("PUT", "/box/slow", nil), 64<<10)
	for deadline := time.Now().Add(5 * time.Second); ; {
		if !r.g.small.try(1) {
			break
		}
		r.g.small.release(1)
		if time.Now().After(deadline) {
			t.Fatal("the slow upload was never admitted")
		}
		time.Sleep(time.Millisecond)
	}
	wantError(t, "no room", r.do(r.signed("PUT", "/box/k", []byte("x"))), 503, "SlowDown")
	conn.Close()
	for deadline := time.Now().Add(5 * time.Second); r.do(r.signed("PUT", "/box/k", []byte("x"))).code != 200; {
		if time.Now().After(deadline) {
			t.Fatal("its room was not given back")
		}
	}
}

// Large uploads that fill their share don't hold up small ones.
func TestSmallUploadsHaveRoomOfTheirOwn(t *testing.T) {
	r := newRig(t, func(o *Options) { o.AdmitTimeout = 50 * time.Millisecond })
	r.must(200, "PUT", "/box", nil)
	n, err := r.g.uploads.acquire(context.Background(), 1<<40, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer r.g.uploads.release(n)
	r.must(200, "PUT", "/box/k", random(256<<10))
	wantError(t, "a large one", r.do(r.signed("PUT", "/box/k", random(256<<10+1))), 503, "SlowDown")
}

// A body that is announced too long is refused before a byte of it comes.
func TestTooLarge(t *testing.T) {
	r := newRig(t, nil)
	r.must(200, "PUT", "/box", nil)
	_, in := r.raw(r.signed("PUT", "/box/k", nil), MaxPut+1)
	if line, err := in.ReadString('\n'); err != nil || !strings.Contains(line, " 400 ") {
		t.Errorf("%q, %v", line, err)
	}
}

func TestThrottleIsFair(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		th, ctx := newThrottle(10), context.Background()
		if n, err := th.acquire(ctx, 99, time.Second); n != 10 || err != nil {
			t.Fatalf("more than there is: %d, %v", n, err)
		}
		var mu sync.Mutex
		var order []int
		for i, n := range []int64{8, 1, 1} {
			go func() {
				if _, err := th.acquire(ctx, n, time.Minute); err == nil {
					mu.Lock()
					order = append(order, i)
					mu.Unlock()
				}
			}()
			synctest.Wait()
		}
		th.release(2)
		synctest.Wait()
		if len(order) != 0 || th.try(1) {
			t.Fatalf("a small one overtook: %v", order)
		}
		th.release(8)
		synctest.Wait()
		if len(order) != 3 {
			t.Fatalf("admitted %v", order)
		}
		start := time.Now()
		if _, err := th.acquire(ctx, 1, time.Second); toAPI(err).code != "SlowDown" || time.Since(start) != time.Second {
			t.Fatalf("%v after %v", err, time.Since(start))
		}
		cancelled, cancel := context.WithCancel(ctx)
		cancel()
		if _, err := th.acquire(cancelled, 1, time.Second); err == nil {
			t.Fatal("admitted though cancelled")
		}
		th.release(10)
		if th.free != 10 || len(th.wait) != 0 {
			t.Fatalf("%+v", th)
		}
	})
}

func TestServeDrains(t *testing.T) {
	g := New(Options{FS: newMemFS(), Users: testUsers})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- Serve(ctx, l, g) }()
	r := &rig{t: t, g: g}
	r.srv = newLocal(l)
	r.must(200, "PUT", "/box", nil)
	conn, in := r.raw(r.signed("PUT", "/box/k", nil), 5)
	conn.Write([]byte("he"))
	for g.Metrics.Running.Load() == 0 {
		time.Sleep(time.Millisecond)
	}
	cancel()
	time.Sleep(20 * time.Millisecond)
	if _, err := net.DialTimeout("tcp", l.Addr().String(), time.Second); err == nil {
		t.Error("still listens")
	}
	conn.Write([]byte("llo"))
	if line, err := in.ReadString('\n'); err != nil || !strings.Contains(line, " 200 ") {
		t.Errorf("the running upload: %q, %v", line, err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
	g.Close()
	g.Close()
}
