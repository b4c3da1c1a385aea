package main

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/xml"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"
)

// client speaks as much S3 as the load needs, signed with SigV4 and an
// unsigned payload.
type client struct {
	http   *http.Client
	base   *url.URL
	o      *options
	mu     sync.Mutex
	day    string
	dayKey []byte
}

func newClient(o *options) (*client, error) {
	base, err := url.Parse(strings.TrimSuffix(o.endpoint, "/"))
	if err != nil || base.Host == "" {
		return nil, fmt.Errorf("--endpoint %q: want http://HOST:PORT", o.endpoint)
	}
	return &client{base: base, o: o, http: &http.Client{Transport: &http.Transport{
		MaxIdleConnsPerHost: o.concurrency, MaxConnsPerHost: o.concurrency, DisableCompression: true,
		WriteBufferSize: 256 << 10, ReadBufferSize: 64 << 10,
		DialContext: (&net.Dialer{Timeout: 10 * time.Second}).DialContext,
	}}}, nil
}

func mac(key []byte, s string) []byte {
	h := hmac.New(sha256.New, key)
	io.WriteString(h, s)
	return h.Sum(nil)
}

// signingKey is that of a day; it is made once.
func (c *client) signingKey(day string) []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.day != day {
		c.day = day
		c.dayKey = mac(mac(mac(mac([]byte("AWS4"+c.o.secretKey), day), c.o.region), "s3"), "aws4_request")
	}
	return c.dayKey
}

const unsigned = "UNSIGNED-PAYLOAD"

// escape writes a path as SigV4 wants it.
func escape(path string) string {
	var b strings.Builder
	for i := range len(path) {
		ch := path[i]
		if ch >= 'a' && ch <= 'z' || ch >= 'A' && ch <= 'Z' || ch >= '0' && ch <= '9' || strings.IndexByte("-._~/", ch) >= 0 {
			b.WriteByte(ch)
		} else {
			fmt.Fprintf(&b, "%%%02X", ch)
		}
	}
	return b.String()
}

// request makes a signed request. query must be in canonical form.
func (c *client) request(ctx context.Context, method, path, query string, body []byte) (*http.Request, error) {
	esc := escape(path)
	u := *c.base
	u.Path, u.RawPath, u.RawQuery = path, esc, query
	var r io.Reader
	if body != nil {
		r = bytes.NewReader(body)
	}
	req, err := http.NewRequestWithContext(ctx, method, "", r)
	if err != nil {
		return nil, err
	}
	req.URL, req.Host = &u, u.Host
	now := time.Now().UTC()
	stamp, day := now.Format("20060102T150405Z"), now.Format("20060102")
	req.Header.Set("X-Amz-Date", stamp)
	req.Header.Set("X-Amz-Content-Sha256", unsigned)
	canonical := method + "\n" + esc + "\n" + query + "\nhost:" + u.Host + "\nx-amz-content-sha256:" + unsigned +
		"\nx-amz-date:" + stamp + "\n\nhost;x-amz-content-sha256;x-amz-date\n" + unsigned
	sum := sha256.Sum256([]byte(canonical))
	scope := day + "/" + c.o.region + "/s3/aws4_request"
	sig := mac(c.signingKey(day), "AWS4-HMAC-SHA256\n"+stamp+"\n"+scope+"\n"+hex.EncodeToString(sum[:]))
	req.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential="+c.o.accessKey+"/"+scope+
		", SignedHeaders=host;x-amz-content-sha256;x-amz-date, Signature="+hex.EncodeToString(sig))
	return req, nil
}

// do runs a request and gives its body to read, which may be nil.
func (c *client) do(ctx context.Context, method, path, query string, body []byte, read func(io.Reader) error) error {
	req, err := c.request(ctx, method, path, query, body)
	if err != nil {
		return err
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode >= 300 {
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 4<<10))
		return &statusError{resp.StatusCode, fmt.Sprintf("%s %s: %s %s", method, path, resp.Status, text)}
	}
	if read != nil {
		err = read(resp.Body)
	}
	if _, e := io.Copy(io.Discard, resp.Body); err == nil {
		err = e
	}
	return err
}

type statusError struct {
	code int
	text string
}

func (e *statusError) Error() string { return e.text }

func (c *client) makeBucket(ctx context.Context) error {
	err := c.do(ctx, "PUT", "/"+c.o.bucket, "", nil, nil)
	if s, ok := err.(*statusError); ok && s.code == http.StatusConflict {
		return nil
	}
	return err
}

func (c *client) path(key string) string { return "/" + c.o.bucket + "/" + key }

func (c *client) put(ctx context.Context, key string, body []byte) error {
	return c.do(ctx, "PUT", c.path(key), "", body, nil)
}

func (c *client) stat(ctx context.Context, key string) error {
	return c.do(ctx, "HEAD", c.path(key), "", nil, nil)
}

func (c *client) remove(ctx context.Context, key string) error {
	return c.do(ctx, "DELETE", c.path(key), "", nil, nil)
}

// get reads an object and compares it with want: its length, and its bytes
// when verify is set. buf is scratch.
func (c *client) get(ctx context.Context, key string, want, buf []byte, verify bool) error {
	return c.do(ctx, "GET", c.path(key), "", nil, func(r io.Reader) error {
		off := 0
		for {
			n, err := r.Read(buf)
			if off+n > len(want) || verify && !bytes.Equal(buf[:n], want[off:off+n]) {
				return fmt.Errorf("GET %s: the content differs from what was written, near byte %d", key, off)
			}
			off += n
			if err == io.EOF {
				break
			}
			if err != nil {
				return err
			}
		}
		if off != len(want) {
			return fmt.Errorf("GET %s: %d bytes of %d", key, off, len(want))
		}
		return nil
	})
}

type listPage struct {
	Contents              []struct{ Key string }
	IsTruncated           bool
	NextContinuationToken string
}

// list gives one page of keys under the prefix.
func (c *client) list(ctx context.Context, prefix, token string, max int) (*listPage, error) {
	q := ""
	if token != "" {
		q = "continuation-token=" + strings.ReplaceAll(url.QueryEscape(token), "+", "%20") + "&"
	}
	q += "list-type=2&max-keys=" + strconv.Itoa(max) + "&prefix=" + strings.ReplaceAll(url.QueryEscape(prefix), "+", "%20")
	var p listPage
	err := c.do(ctx, "GET", "/"+c.o.bucket, q, nil, func(r io.Reader) error { return xml.NewDecoder(r).Decode(&p) })
	return &p, err
}

// scanList is list for measuring: it counts keys and finds the token without
// an XML decoder, which would cost more than the server's work.
func (c *client) scanList(ctx context.Context, prefix, token string, buf *bytes.Buffer) (keys int, next string, err error) {
	q := ""
	if token != "" {
		q = "continuation-token=" + strings.ReplaceAll(url.QueryEscape(token), "+", "%20") + "&"
	}
	q += "list-type=2&max-keys=1000&prefix=" + strings.ReplaceAll(url.QueryEscape(prefix), "+", "%20")
	buf.Reset()
	err = c.do(ctx, "GET", "/"+c.o.bucket, q, nil, func(r io.Reader) error { _, err := buf.ReadFrom(r); return err })
	if err != nil {
		return 0, "", err
	}
	b := buf.Bytes()
	keys = bytes.Count(b, []byte("<Contents>"))
	if _, rest, ok := bytes.Cut(b, []byte("<NextContinuationToken>")); ok {
		t, _, _ := bytes.Cut(rest, []byte("<"))
		next = string(t)
	}
	return keys, next, nil
}
