package s3

import (
	"bufio"
	"bytes"
	"crypto/hmac"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/hex"
	"encoding/xml"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
)

const emptySum = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

// signed makes a request with the SDK's own signature over a payload hash.
func signed(t *testing.T, method, path, sum string, body io.Reader, header http.Header) *http.Request {
	t.Helper()
	req, err := http.NewRequest(method, *endpoint+path, body)
	ok(t, "request", err)
	for k, v := range header {
		if k == "Host" {
			req.Host = v[0]
			continue
		}
		req.Header[k] = v
	}
	req.Header.Set("X-Amz-Content-Sha256", sum)
	cred := aws.Credentials{AccessKeyID: *accessKey, SecretAccessKey: *secretKey}
	err = v4.NewSigner(func(o *v4.SignerOptions) { o.DisableURIPathEscaping = true }).SignHTTP(ctx, cred, req, sum, "s3", region, time.Now())
	ok(t, "sign", err)
	return req
}

// do sends a request and gives status, header and body.
func do(t *testing.T, req *http.Request) (*http.Response, []byte) {
	t.Helper()
	resp, err := httpClient.Do(req)
	ok(t, "request", err)
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	ok(t, "answer", err)
	return resp, b
}

// apiError is an error document.
type apiError struct {
	XMLName                            xml.Name `xml:"Error"`
	Code, Message, Resource, RequestId string
}

// wantXML checks that an answer is an error as S3 writes it.
func wantXML(t *testing.T, what string, resp *http.Response, body []byte, code string, status int) {
	t.Helper()
	var e apiError
	if err := xml.Unmarshal(body, &e); err != nil {
		t.Errorf("%s: status %d, %q is no error document: %v", what, resp.StatusCode, body, err)
		return
	}
	if e.Code != code || resp.StatusCode != status || e.Message == "" || e.Resource == "" || e.RequestId == "" ||
		resp.Header.Get("X-Amz-Request-Id") != e.RequestId || !strings.HasPrefix(resp.Header.Get("Content-Type"), "application/xml") {
		t.Errorf("%s: status %d, %+v, headers %v; want %s %d", what, resp.StatusCode, e, resp.Header, code, status)
	}
}

func TestErrorsAreXML(t *testing.T) {
	w := newWorld(t)
	w.put("k", []byte("x"))
	path := "/" + *w.b
	send := func(method, path, body string, edit func(*http.Request)) (*http.Response, []byte) {
		sum := sha256.Sum256([]byte(body))
		req := signed(t, method, path, hex.EncodeToString(sum[:]), strings.NewReader(body), nil)
		if edit != nil {
			edit(req)
		}
		return do(t, req)
	}
	set := func(k, v string) func(*http.Request) {
		return func(r *http.Request) { r.Header.Set(k, v) }
	}
	for _, c := range []struct {
		what, method, path, body string
		edit                     func(*http.Request)
		code                     string
		status                   int
	}{
		{"no key", "GET", path + "/none", "", nil, "NoSuchKey", 404},
		{"no bucket", "GET", "/" + bucketName() + "/k", "", nil, "NoSuchBucket", 404},
		{"a wrong signature", "GET", path + "/k", "", func(r *http.Request) {
			a := r.Header.Get("Authorization")
			r.Header.Set("Authorization", a[:len(a)-4]+"0000")
		}, "SignatureDoesNotMatch", 403},
		{"a header changed after signing", "GET", path + "/k", "", set("X-Amz-Date", time.Now().UTC().Add(time.Minute).Format("20060102T150405Z")), "SignatureDoesNotMatch", 403},
		{"an old date", "GET", path + "/k", "", set("X-Amz-Date", time.Now().UTC().Add(-time.Hour).Format("20060102T150405Z")), "RequestTimeTooSkewed", 403},
		{"an unknown access key", "GET", path + "/k", "", func(r *http.Request) {
			r.Header.Set("Authorization", strings.Replace(r.Header.Get("Authorization"), *accessKey, "NOSUCHKEYATALL", 1))
		}, "InvalidAccessKeyId", 403},
		{"no signature", "GET", path + "/k", "", func(r *http.Request) { r.Header.Del("Authorization") }, "AccessDenied", 403},
		{"a body that is not the signed one", "PUT", path + "/x", "body", func(r *http.Request) {
			r.Body, r.GetBody = io.NopCloser(strings.NewReader("ydob")), nil
		}, "XAmzContentSHA256Mismatch", 400},
		{"broken XML", "POST", path + "?delete", "<Delete><Object>", set("Content-MD5", ""), "MalformedXML", 400},
		{"a bad range of parts", "PUT", path + "/k?partNumber=x&uploadId=y", "", nil, "InvalidArgument", 400},
		{"no such upload", "GET", path + "/k?uploadId=y", "", nil, "NoSuchUpload", 404},
		{"a method that is none", "PATCH", path + "/k", "", nil, "MethodNotAllowed", 405},
		{"a failed condition", "GET", path + "/k", "", set("If-Match", `"x"`), "PreconditionFailed", 412},
		{"a range past the end", "GET", path + "/k", "", set("Range", "bytes=9-"), "InvalidRange", 416},
	} {
		resp, body := send(c.method, c.path, c.body, c.edit)
		wantXML(t, c.what, resp, body, c.code, c.status)
	}
	resp, body := send("HEAD", path+"/none", "", nil)
	if resp.StatusCode != 404 || len(body) != 0 || resp.Header.Get("X-Amz-Request-Id") == "" {
		t.Errorf("HEAD of nothing: %d, %q", resp.StatusCode, body)
	}
	if _, err := w.get("x"); err == nil {
		t.Error("a refused body was stored")
	}
}

func mac(key []byte, s string) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(s))
	return h.Sum(nil)
}

// chunks frames a body as signed chunks do, with the chain of signatures that
// starts at the request's; trailer is sent and signed when it is not empty.
func chunks(req *http.Request, body []byte, size int, trailer string) []byte {
	auth := req.Header.Get("Authorization")
	seed := auth[strings.Index(auth, "Signature=")+len("Signature="):]
	at := req.Header.Get("X-Amz-Date")
	scope := at[:8] + "/" + region + "/s3/aws4_request"
	key := mac(mac(mac(mac([]byte("AWS4"+*secretKey), at[:8]), region), "s3"), "aws4_request")
	var out bytes.Buffer
	for first := true; first || len(body) > 0; first = false {
		n := min(size, len(body))
		seed = signChunk(&out, key, at, scope, seed, body[:n])
		body = body[n:]
		if n == 0 {
			break
		}
		if len(body) == 0 {
			seed = signChunk(&out, key, at, scope, seed, nil)
		}
	}
	if trailer == "" {
		out.WriteString("\r\n")
		return out.Bytes()
	}
	sum := sha256.Sum256([]byte(trailer + "\n"))
	sig := mac(key, "AWS4-HMAC-SHA256-TRAILER\n"+at+"\n"+scope+"\n"+seed+"\n"+hex.EncodeToString(sum[:]))
	fmt.Fprintf(&out, "%s\r\nx-amz-trailer-signature:%x\r\n\r\n", trailer, sig)
	return out.Bytes()
}

func signChunk(out *bytes.Buffer, key []byte, at, scope, seed string, b []byte) string {
	sum := sha256.Sum256(b)
	sig := hex.EncodeToString(mac(key, "AWS4-HMAC-SHA256-PAYLOAD\n"+at+"\n"+scope+"\n"+seed+"\n"+emptySum+"\n"+hex.EncodeToString(sum[:])))
	fmt.Fprintf(out, "%x;chunk-signature=%s\r\n", len(b), sig)
	if len(b) > 0 {
		out.Write(b)
		out.WriteString("\r\n")
	}
	return sig
}

// TestSignedChunks sends bodies as minio-go and the older SDKs do.
func TestSignedChunks(t *testing.T) {
	w := newWorld(t)
	for _, trailer := range []bool{false, true} {
		for _, n := range []int{0, 5, 64 << 10, 200_001} {
			content := noise(n)
			h := http.Header{"Content-Encoding": {"aws-chunked"}, "X-Amz-Decoded-Content-Length": {fmt.Sprint(n)}}
			sum, line := "STREAMING-AWS4-HMAC-SHA256-PAYLOAD", ""
			if trailer {
				sum += "-TRAILER"
				line = "x-amz-checksum-crc32:" + b64(algorithms[types.ChecksumAlgorithmCrc32](content))
				h["X-Amz-Trailer"] = []string{"x-amz-checksum-crc32"}
			}
			req := signed(t, "PUT", "/"+*w.b+"/k", sum, nil, h)
			b := chunks(req, content, 64<<10, line)
			req.Body, req.ContentLength = io.NopCloser(bytes.NewReader(b)), int64(len(b))
			if resp, body := do(t, req); resp.StatusCode != 200 {
				t.Errorf("trailer %v, %d bytes: %d %s", trailer, n, resp.StatusCode, body)
				continue
			}
			w.wantContent("k", content)
			if g, err := w.c.HeadObject(ctx, &s3.HeadObjectInput{Bucket: w.b, Key: p("k")}); err != nil || aws.ToString(g.ContentEncoding) != "" {
				t.Errorf("aws-chunked was stored: %q, %v", aws.ToString(g.ContentEncoding), err)
			}
			if n == 0 {
				continue
			}
			req = signed(t, "PUT", "/"+*w.b+"/bad", sum, nil, h)
			b = chunks(req, content, 64<<10, line)
			b[bytes.IndexByte(b, '\n')+1] ^= 1
			req.Body, req.ContentLength = io.NopCloser(bytes.NewReader(b)), int64(len(b))
			resp, body := do(t, req)
			wantXML(t, "a changed chunk", resp, body, "SignatureDoesNotMatch", 403)
			_, err := w.get("bad")
			wantCode(t, "a changed chunk", err, "NoSuchKey", 404)
		}
	}
}

// TestUnsignedTrailers sends bodies as all SDKs do over https: unsigned
// chunks and a checksum behind them, with and without a length.
func TestUnsignedTrailers(t *testing.T) {
	w := newWorld(t)
	for alg, f := range algorithms {
		name := "x-amz-checksum-" + strings.ToLower(string(alg))
		for _, n := range []int{0, 10, 2<<20 + 1} {
			for _, length := range []bool{true, false} {
				for _, right := range []bool{true, false} {
					content := noise(n)
					var b bytes.Buffer
					for rest := content; len(rest) > 0; {
						k := min(len(rest), 1<<20)
						fmt.Fprintf(&b, "%x\r\n%s\r\n", k, rest[:k])
						rest = rest[k:]
					}
					sum := f(content)
					if !right {
						sum = f([]byte("another"))
					}
					fmt.Fprintf(&b, "0\r\n%s:%s\r\n\r\n", name, b64(sum))
					key := fmt.Sprintf("%s-%d-%v-%v", alg, n, length, right)
					req := signed(t, "PUT", "/"+*w.b+"/"+key, "STREAMING-UNSIGNED-PAYLOAD-TRAILER", nil, http.Header{
						"Content-Encoding": {"aws-chunked"}, "X-Amz-Trailer": {name}, "X-Amz-Decoded-Content-Length": {fmt.Sprint(n)}})
					req.Body, req.ContentLength = io.NopCloser(&b), -1
					if length {
						req.ContentLength = int64(b.Len())
					}
					resp, body := do(t, req)
					if !right {
						wantXML(t, key, resp, body, "BadDigest", 400)
						continue
					}
					if resp.StatusCode != 200 {
						t.Errorf("%s: %d %s", key, resp.StatusCode, body)
						continue
					}
					w.wantContent(key, content)
					if got, _ := w.headSum(key, alg); got != b64(sum) {
						t.Errorf("%s: checksum %q, want %q", key, got, b64(sum))
					}
				}
			}
		}
	}
}

func TestPresignedV4(t *testing.T) {
	w := newWorld(t)
	content := noise(3000)
	w.put("dir/a key+ä", content)
	pre := s3.NewPresignClient(w.c)
	get, err := pre.PresignGetObject(ctx, &s3.GetObjectInput{Bucket: w.b, Key: p("dir/a key+ä"), ResponseContentType: p("x/y")})
	ok(t, "presign", err)
	resp, err := http.Get(get.URL)
	ok(t, "get", err)
	b, _ := io.ReadAll(resp.Body)
	resp.Body.Close()
	if resp.StatusCode != 200 || !bytes.Equal(b, content) || resp.Header.Get("Content-Type") != "x/y" {
		t.Errorf("presigned GET: %d, %d bytes", resp.StatusCode, len(b))
	}
	put, err := pre.PresignPutObject(ctx, &s3.PutObjectInput{Bucket: w.b, Key: p("put")})
	ok(t, "presign", err)
	req, _ := http.NewRequest("PUT", put.URL, bytes.NewReader(content))
	if resp, body := do(t, req); resp.StatusCode != 200 {
		t.Errorf("presigned PUT: %d %s", resp.StatusCode, body)
	}
	w.wantContent("put", content)
	for what, edit := range map[string]func(url.Values){
		"another expiry": func(q url.Values) { q.Set("X-Amz-Expires", "1000") },
		"more query":     func(q url.Values) { q.Set("x", "y") },
	} {
		u, _ := url.Parse(get.URL)
		q := u.Query()
		edit(q)
		u.RawQuery = q.Encode()
		req, _ := http.NewRequest("GET", u.String(), nil)
		resp, body := do(t, req)
		wantXML(t, what, resp, body, "SignatureDoesNotMatch", 403)
	}
	short, err := pre.PresignGetObject(ctx, &s3.GetObjectInput{Bucket: w.b, Key: p("put")}, s3.WithPresignExpires(time.Second))
	ok(t, "presign", err)
	time.Sleep(2100 * time.Millisecond)
	req, _ = http.NewRequest("GET", short.URL, nil)
	resp, body := do(t, req)
	wantXML(t, "an expired URL", resp, body, "AccessDenied", 403)
}

// presignV2 is a SigV2 query signature, as `aws s3 presign` makes.
func presignV2(method, path, secret string, expires int64) string {
	h := hmac.New(sha1.New, []byte(secret))
	fmt.Fprintf(h, "%s\n\n\n%d\n%s", method, expires, path)
	return fmt.Sprintf("%s%s?AWSAccessKeyId=%s&Expires=%d&Signature=%s", *endpoint, path, *accessKey, expires, url.QueryEscape(b64(h.Sum(nil))))
}

func TestPresignedV2(t *testing.T) {
	w := newWorld(t)
	content := noise(100)
	w.put("k", content)
	path := "/" + *w.b + "/k"
	for _, c := range []struct {
		what, url string
		code      string
	}{
		{"right", presignV2("GET", path, *secretKey, time.Now().Add(time.Minute).Unix()), ""},
		{"expired", presignV2("GET", path, *secretKey, time.Now().Add(-time.Minute).Unix()), "AccessDenied"},
		{"another's secret", presignV2("GET", path, "wrong", time.Now().Add(time.Minute).Unix()), "SignatureDoesNotMatch"},
		{"another method", presignV2("PUT", path, *secretKey, time.Now().Add(time.Minute).Unix()), "SignatureDoesNotMatch"},
	} {
		req, _ := http.NewRequest("GET", c.url, nil)
		resp, body := do(t, req)
		if c.code != "" {
			wantXML(t, c.what, resp, body, c.code, 403)
		} else if resp.StatusCode != 200 || !bytes.Equal(body, content) {
			t.Errorf("%s: %d %s", c.what, resp.StatusCode, body)
		}
	}
}

func TestVirtualHosts(t *testing.T) {
	ok(t, "start", start())
	if *domain == "" {
		t.Skip("-s3.domain is not set")
	}
	w := newWorld(t)
	w.put("dir/k", []byte("content"))
	host := http.Header{"Host": {*w.b + "." + *domain}}
	if resp, body := do(t, signed(t, "GET", "/dir/k", emptySum, nil, host)); resp.StatusCode != 200 || string(body) != "content" {
		t.Errorf("GET: %d %s", resp.StatusCode, body)
	}
	if resp, body := do(t, signed(t, "GET", "/?list-type=2", emptySum, nil, host)); resp.StatusCode != 200 || !strings.Contains(string(body), "<Key>dir/k</Key>") {
		t.Errorf("list: %d %s", resp.StatusCode, body)
	}
}

// TestContinue: who asks for 100 Continue gets it only for what is accepted.
func TestContinue(t *testing.T) {
	w := newWorld(t)
	content := "content of the object"
	for _, c := range []struct {
		what, bucket string
		edit         func(http.Header)
		want         string
	}{
		{"accepted", *w.b, func(http.Header) {}, "100"},
		{"no bucket", bucketName(), func(http.Header) {}, "404"},
		{"a wrong signature", *w.b, func(h http.Header) { h.Set("Authorization", h.Get("Authorization")+"0") }, "403"},
		{"a failed condition", *w.b, func(h http.Header) { h.Set("If-Match", `"nothing has this"`) }, "4"},
	} {
		req := signed(t, "PUT", "/"+c.bucket+"/k", "UNSIGNED-PAYLOAD", nil, nil)
		c.edit(req.Header)
		conn, err := net.Dial("tcp", strings.TrimPrefix(*endpoint, "http://"))
		ok(t, "dial", err)
		conn.SetDeadline(time.Now().Add(20 * time.Second))
		fmt.Fprintf(conn, "PUT /%s/k HTTP/1.1\r\nHost: %s\r\nContent-Length: %d\r\nExpect: 100-continue\r\n", c.bucket, req.URL.Host, len(content))
		req.Header.Write(conn)
		io.WriteString(conn, "\r\n")
		r := bufio.NewReader(conn)
		line, err := r.ReadString('\n')
		if err != nil || !strings.HasPrefix(line, "HTTP/1.1 "+c.want) {
			t.Errorf("%s: %q, %v, want %s", c.what, line, err, c.want)
		} else if c.want == "100" {
			r.ReadString('\n')
			io.WriteString(conn, content)
			if resp, err := http.ReadResponse(r, req); err != nil || resp.StatusCode != 200 {
				t.Errorf("%s: %v %v", c.what, resp, err)
			}
			w.wantContent("k", []byte(content))
			w.c.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: w.b, Key: p("k")})
		}
		conn.Close()
	}
}
