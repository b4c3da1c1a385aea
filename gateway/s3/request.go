package s3

import (
	"context"
	"errors"
	"maps"
	"net"
	"net/http"
	"strings"
	"unicode/utf8"

	"github.com/spirula/spirula/gateway/s3/internal/sig"
	"github.com/spirula/spirula/gateway/user"
	"github.com/spirula/spirula/mds"
	"github.com/spirula/spirula/rados/wire"
)

// request is one request on its way: parsed, then authenticated, then with
// its bucket found, then given to a handler of the route table.
type request struct {
	g  *Gateway
	w  http.ResponseWriter
	r  *http.Request
	id string
	op string // the operation's name in S3's documentation

	q      sig.Query
	auth   sig.Auth
	user   *user.User
	bucket string
	vhost  string // the bucket again, when the host name gave it
	key    string
	b      mds.Bucket // found before the handler runs
	sent   bool       // the answer's head is out
}

func (rq *request) ctx() context.Context { return rq.r.Context() }

func (rq *request) header(name string) string {
	if v := rq.r.Header[name]; len(v) > 0 {
		return v[0]
	}
	return ""
}

func (rq *request) cred() mds.Cred {
	return mds.Cred{UID: rq.user.UID, GID: rq.user.GID, Trusted: true}
}

// status sends the answer's head.
func (rq *request) status(code int) {
	rq.sent = true
	if rq.r.ContentLength == 0 && rq.header("Expect") != "" {
		rq.continueEmpty(code)
	}
	rq.w.WriteHeader(code)
}

// continueEmpty does for a body of no bytes what net/http does for others:
// 100 Continue for what is accepted, and the connection's end for what is
// not. The aws command line asks for it with empty files too, and misreads
// the next answer on a connection that went on after a refusal.
func (rq *request) continueEmpty(code int) {
	if !strings.EqualFold(rq.header("Expect"), "100-continue") || !rq.r.ProtoAtLeast(1, 1) {
		return
	}
	h := rq.w.Header()
	if code >= 300 {
		h["Connection"] = []string{"close"}
		return
	}
	held := maps.Clone(h)
	clear(h) // they belong to the answer
	rq.w.WriteHeader(http.StatusContinue)
	maps.Copy(h, held)
}

// run takes the request through its stations. Nothing here reads the body,
// so net/http has not sent 100 Continue when any of it refuses.
func (rq *request) run() error {
	q, err := sig.ParseQuery(rq.r.URL.RawQuery)
	if err != nil {
		return err
	}
	rq.q = q
	rq.address()
	rt, err := rq.route()
	if err != nil {
		return err
	}
	rq.op = rt.name
	if err := rq.authenticate(); err != nil {
		return err
	}
	if err := rq.checkNames(); err != nil {
		return err
	}
	if rq.bucket != "" && !rt.makesBucket {
		if err := rq.openBucket(); err != nil {
			return err
		}
	}
	return rt.handle(rq)
}

// address splits the path, as it came, into bucket and key; in virtual-host
// style the bucket is in the host name. A key is everything after the first
// slash: it is never cleaned.
func (rq *request) address() {
	path := strings.TrimPrefix(rq.r.URL.Path, "/")
	if d := rq.g.o.Domain; d != "" {
		host := rq.r.Host
		if h, _, err := net.SplitHostPort(host); err == nil {
			host = h
		}
		host = strings.ToLower(host)
		if b, ok := strings.CutSuffix(host, "."+d); ok && b != "" {
			rq.bucket, rq.vhost, rq.key = b, b, path
			return
		}
	}
	rq.bucket, rq.key, _ = strings.Cut(path, "/")
}

func (rq *request) authenticate() error {
	a, err := sig.Parse(rq.r, rq.q, sig.Options{Region: rq.g.o.Region, Now: rq.g.o.Now()})
	if err != nil {
		return err
	}
	rq.auth = a
	if a.Scheme == sig.Anonymous {
		return fault("AccessDenied")
	}
	if rq.r.Header["X-Amz-Security-Token"] != nil || rq.q.Has("X-Amz-Security-Token") {
		return fault("InvalidToken")
	}
	u, err := rq.g.o.Users.ByAccessKey(rq.ctx(), a.AccessKey)
	if wire.ErrnoOf(err) == wire.ENOENT {
		return fault("InvalidAccessKeyId").with("AWSAccessKeyId", a.AccessKey)
	}
	if err != nil {
		e := fault("ServiceUnavailable")
		e.cause = err
		return e
	}
	secret, ok := u.Secret(a.AccessKey)
	if !ok {
		return fault("InvalidAccessKeyId").with("AWSAccessKeyId", a.AccessKey)
	}
	if err := rq.auth.Verify(rq.r, rq.q, rq.vhost, secret.Reveal(), &rq.g.keys); err != nil {
		return toAPI(err).with("AWSAccessKeyId", a.AccessKey)
	}
	rq.user = u
	return nil
}

// checkNames refuses keys and version ids that nothing can have.
func (rq *request) checkNames() error {
	switch {
	case len(rq.key) > mds.MaxKey:
		return fault("KeyTooLongError").with("Size", itoa(len(rq.key))).with("MaxSizeAllowed", itoa(mds.MaxKey))
	case !utf8.ValidString(rq.key):
		return faultf("InvalidURI", "The key is not valid UTF-8.")
	}
	if v, ok := rq.q.Get("versionId"); ok && rq.key != "" && v != "null" {
		if v == "" {
			return invalid("versionId", v, "Version id cannot be the empty string")
		}
		return fault("NoSuchVersion").with("VersionId", v)
	}
	return nil
}

// openBucket finds the request's bucket and checks that it is the sender's.
func (rq *request) openBucket() error {
	b, err := rq.g.bucket(rq.ctx(), rq.bucket)
	if err != nil {
		return err
	}
	if !owns(rq.user, &b) {
		return fault("AccessDenied")
	}
	if want := rq.header("X-Amz-Expected-Bucket-Owner"); want != "" && want != b.Owner {
		return fault("AccessDenied")
	}
	rq.b = b
	return nil
}

// bucket finds a bucket; a name that none can have is simply not there.
func (g *Gateway) bucket(ctx context.Context, name string) (mds.Bucket, error) {
	if !addressable(name) {
		return mds.Bucket{}, fault("NoSuchBucket")
	}
	b, err := g.o.FS.Bucket(ctx, name)
	if err != nil && wire.ErrnoOf(err) == wire.ENOENT && !errors.Is(err, mds.ErrNoBucket) {
		return b, fault("NoSuchBucket")
	}
	return b, err
}

// owns reports whether u may use b. A bucket that was made over NFS belongs
// to the user with its directory's uid.
func owns(u *user.User, b *mds.Bucket) bool {
	if u.Admin {
		return true
	}
	if b.Owner == "" {
		return b.UID == u.UID
	}
	return b.Owner == u.Name
}

// ownerName is who is shown as the owner of something.
func (rq *request) ownerName(owner string) string {
	if owner != "" {
		return owner
	}
	if rq.b.Owner != "" {
		return rq.b.Owner
	}
	return rq.user.Name
}
