package s3

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/credentials"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/spirula/spirula/gateway/user"
	"github.com/spirula/spirula/rados/wire"
)

// userMap is a fixed set of users by access key.
type userMap map[string]*user.User

func (m userMap) ByAccessKey(_ context.Context, access string) (*user.User, error) {
	if u, ok := m[access]; ok {
		return u, nil
	}
	return nil, wire.Errorf("test.user", access, wire.ENOENT)
}

var testUsers = userMap{
	"AKALICE": {Name: "alice", UID: 1000, GID: 100, Keys: []user.Key{{Access: "AKALICE", Secret: "alice-secret-1"}}},
	"AKBOB":   {Name: "bob", UID: 1001, GID: 100, Keys: []user.Key{{Access: "AKBOB", Secret: "bob-secret-123"}}},
	"AKROOT":  {Name: "root", UID: 0, GID: 0, Admin: true, Keys: []user.Key{{Access: "AKROOT", Secret: "root-secret-12"}}},
}

// overMDS makes rigs stand on the real namespace.
var overMDS bool

// rig is a gateway over a memFS behind a real socket.
type rig struct {
	t   testing.TB
	fs  *memFS
	g   *Gateway
	srv *httptest.Server
}

func newRig(t testing.TB, edit func(*Options)) *rig {
	t.Helper()
	mem := newMemFS()
	var fs FS = mem
	if overMDS {
		fs = newMDS(t)
	}
	o := Options{FS: fs, Users: testUsers, Region: "us-east-1", Domain: "s3.test"}
	if edit != nil {
		edit(&o)
	}
	g := New(o)
	r := &rig{t, mem, g, httptest.NewServer(g)}
	t.Cleanup(func() {
		r.srv.Close()
		g.Close()
		g.Close()
		if mem.writers != 0 {
			t.Errorf("%d writers were neither published nor aborted", mem.writers)
		}
		for name, th := range map[string]*throttle{"small": g.small, "uploads": g.uploads, "reads": g.reads} {
			if th.free != th.size {
				t.Errorf("throttle %s: %d of %d bytes free after all", name, th.free, th.size)
			}
		}
	})
	return r
}

func (r *rig) sdk(access string) *awss3.Client {
	u := testUsers[access]
	return awss3.New(awss3.Options{
		BaseEndpoint: aws.String(r.srv.URL), UsePathStyle: true, Region: "us-east-1",
		Credentials:      credentials.NewStaticCredentialsProvider(access, u.Keys[0].Secret.Reveal(), ""),
		RetryMaxAttempts: 1, HTTPClient: r.srv.Client(),
		RequestChecksumCalculation: aws.RequestChecksumCalculationWhenSupported,
		ResponseChecksumValidation: aws.ResponseChecksumValidationWhenSupported,
	})
}

// signed makes a request of alice's, signed by header. headers are pairs.
func (r *rig) signed(method, target string, body []byte, headers ...string) *http.Request {
	r.t.Helper()
	return r.signedAs("AKALICE", method, target, body, headers...)
}

func (r *rig) signedAs(access, method, target string, body []byte, headers ...string) *http.Request {
	r.t.Helper()
	req, err := http.NewRequest(method, r.srv.URL+target, bytes.NewReader(body))
	if err != nil {
		r.t.Fatal(err)
	}
	payload := "UNSIGNED-PAYLOAD"
	for i := 0; i < len(headers); i += 2 {
		if strings.EqualFold(headers[i], "x-amz-content-sha256") {
			payload = headers[i+1]
		}
		if strings.EqualFold(headers[i], "host") {
			req.Host = headers[i+1]
			continue
		}
		req.Header[http.CanonicalHeaderKey(headers[i])] = append(req.Header[http.CanonicalHeaderKey(headers[i])], headers[i+1])
	}
	req.Header.Set("X-Amz-Content-Sha256", payload)
	r.sign(req, access, payload)
	return req
}

func (r *rig) sign(req *http.Request, access, payload string) {
	r.t.Helper()
	cred := aws.Credentials{AccessKeyID: access, SecretAccessKey: testUsers[access].Keys[0].Secret.Reveal()}
	err := v4.NewSigner(func(o *v4.SignerOptions) { o.DisableURIPathEscaping = true }).
		SignHTTP(context.Background(), cred, req, payload, "s3", "us-east-1", time.Now())
	if err != nil {
		r.t.Fatal(err)
	}
}

type answer struct {
	code int
	head http.Header
	body string
}

func (r *rig) do(req *http.Request) answer {
	r.t.Helper()
	client := r.srv.Client()
	if client == nil {
		client = http.DefaultClient
	}
	resp, err := client.Do(req)
	if err != nil {
		r.t.Fatalf("%s %s: %v", req.Method, req.URL, err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		r.t.Fatalf("%s %s: body: %v", req.Method, req.URL, err)
	}
	return answer{resp.StatusCode, resp.Header, string(b)}
}

// must does a request of alice's and insists on the status.
func (r *rig) must(code int, method, target string, body []byte, headers ...string) answer {
	r.t.Helper()
	a := r.do(r.signed(method, target, body, headers...))
	if a.code != code {
		r.t.Fatalf("%s %s: %d, want %d: %s", method, target, a.code, code, a.body)
	}
	return a
}

// newLocal stands for a server that somebody else runs on l.
func newLocal(l net.Listener) *httptest.Server {
	return &httptest.Server{URL: "http://" + l.Addr().String(), Listener: l}
}
