package s3

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gorilla/mux"

	"github.com/spirula/spirula/gateway/s3/internal/sig"
	"github.com/spirula/spirula/gateway/user"
)

// Users finds who holds an access key; *user.Store is one. ENOENT when
// nobody does.
type Users interface {
	ByAccessKey(ctx context.Context, access string) (*user.User, error)
}

// Options says how a Gateway works. FS and Users are required.
type Options struct {
	FS    FS
	Users Users
	// Region is the one that requests must be signed for, and the answer to
	// GetBucketLocation of buckets that were made without one. Empty: any
	// region is taken, and us-east-1 is told.
	Region string
	// Domain makes BUCKET.Domain in the host name address a bucket
	// (virtual-host style). Empty: path style only.
	Domain string
	Log    *slog.Logger     // default: nothing is logged
	Now    func() time.Time // default time.Now
	// MaxInflightBytes bounds the bytes of uploads admitted but not yet
	// stored. A request waits for room before a byte of its body is read,
	// and is answered SlowDown after AdmitTimeout. A quarter is kept for
	// bodies of up to 256 KiB. Default 32 MiB.
	MaxInflightBytes int64
	// MaxReadBytes bounds what downloads hold in memory. Default 32 MiB.
	MaxReadBytes int64
	// AdmitTimeout is the longest wait for either. Default 15 s.
	AdmitTimeout time.Duration
	// StallTimeout cuts a transfer of which not even 256 KiB, or the rest,
	// were done in so long. Default 60 s.
	StallTimeout time.Duration
}

func (o *Options) setDefaults() {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.MaxInflightBytes == 0 {
		o.MaxInflightBytes = 32 << 20
	}
	if o.MaxReadBytes == 0 {
		o.MaxReadBytes = 32 << 20
	}
	if o.AdmitTimeout == 0 {
		o.AdmitTimeout = 15 * time.Second
	}
	if o.StallTimeout == 0 {
		o.StallTimeout = time.Minute
	}
	o.Domain = strings.ToLower(strings.Trim(o.Domain, "."))
}

// Metrics counts what a Gateway did since it was made.
type Metrics struct {
	Requests      atomic.Int64 // begun
	Running       atomic.Int64 // being answered now
	ClientErrors  atomic.Int64 // answered 4xx
	ServerErrors  atomic.Int64 // answered 5xx, SlowDown not counted
	Throttled     atomic.Int64 // answered SlowDown
	BytesReceived atomic.Int64 // of objects and parts
	BytesSent     atomic.Int64 // of objects
}

// Gateway serves S3 over a namespace. It is an http.Handler, safe for
// concurrent use.
type Gateway struct {
	o       Options
	router  *mux.Router
	keys    sig.Keys
	small   *throttle // uploads of one piece: they don't queue behind slow large ones
	uploads *throttle // the others
	reads   *throttle
	hostID  string
	idBase  uint64
	idNext  atomic.Uint64

	// Metrics may be read at any time.
	Metrics Metrics

	mu struct {
		sync.Mutex
		running int
		closed  bool
		idle    chan struct{} // closed when closed and nothing runs
	}
}

// New makes a Gateway. It starts no goroutines of its own.
func New(o Options) *Gateway {
	if o.FS == nil || o.Users == nil {
		panic("s3: New needs FS and Users")
	}
	o.setDefaults()
	small := o.MaxInflightBytes / 4
	g := &Gateway{o: o, small: newThrottle(small), uploads: newThrottle(o.MaxInflightBytes - small), reads: newThrottle(o.MaxReadBytes)}
	g.mu.idle = make(chan struct{})
	var seed [16]byte
	rand.Read(seed[:])
	g.hostID = hex.EncodeToString(seed[8:])
	for _, b := range seed[:8] {
		g.idBase = g.idBase<<8 | uint64(b)
	}
	// One route: a route for each operation costs half a millisecond a
	// request. Paths are keys, so they are not cleaned.
	g.router = mux.NewRouter().SkipClean(true)
	g.router.MatcherFunc(func(*http.Request, *mux.RouteMatch) bool { return true }).HandlerFunc(g.serve)
	return g
}

// ServeHTTP implements http.Handler.
func (g *Gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) { g.router.ServeHTTP(w, r) }

// Close refuses new requests and waits for those that run. It may be called
// twice.
func (g *Gateway) Close() {
	g.mu.Lock()
	if !g.mu.closed {
		g.mu.closed = true
		if g.mu.running == 0 {
			close(g.mu.idle)
		}
	}
	g.mu.Unlock()
	<-g.mu.idle
}

func (g *Gateway) enter() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.mu.closed {
		return false
	}
	g.mu.running++
	return true
}

func (g *Gateway) leave() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.mu.running--
	if g.mu.closed && g.mu.running == 0 {
		close(g.mu.idle)
	}
}

// requestID is 16 hex digits: a counter, spread over the whole range from a
// random start, so that ids of two gateways and of two runs don't meet.
func (g *Gateway) requestID() string {
	n := g.idBase + g.idNext.Add(1)*0x9E3779B97F4A7C15
	const digits = "0123456789ABCDEF"
	var b [16]byte
	for i := range b {
		b[i] = digits[n>>60]
		n <<= 4
	}
	return string(b[:])
}

func (g *Gateway) region() string {
	if g.o.Region != "" {
		return g.o.Region
	}
	return "us-east-1"
}

func (g *Gateway) count(e *apiError) {
	switch {
	case e.code == "SlowDown":
		g.Metrics.Throttled.Add(1)
	case e.status >= 500:
		g.Metrics.ServerErrors.Add(1)
	case e.status >= 400:
		g.Metrics.ClientErrors.Add(1)
	}
}

// logError tells of failures that are ours; a client's mistakes are for those
// who debug.
func (rq *request) logError(e *apiError) {
	level := slog.LevelDebug
	if e.status >= 500 && e.code != "NotImplemented" {
		level = slog.LevelWarn
	}
	if !rq.g.o.Log.Enabled(rq.r.Context(), level) {
		return
	}
	rq.g.o.Log.Log(rq.r.Context(), level, "s3: request failed", "op", rq.op, "method", rq.r.Method,
		"path", rq.r.URL.Path, "code", e.code, "status", e.status, "err", e.Error(), "id", rq.id, "peer", rq.r.RemoteAddr)
}

var serverName = []string{"Spirula"}

func (g *Gateway) serve(w http.ResponseWriter, r *http.Request) {
	rq := &request{g: g, w: w, r: r, id: g.requestID()}
	g.Metrics.Requests.Add(1)
	h := w.Header()
	ids := [2]string{rq.id, g.hostID}
	h["X-Amz-Request-Id"] = ids[:1:1]
	h["X-Amz-Id-2"] = ids[1:2:2]
	h["Server"] = serverName
	if !g.enter() {
		h.Set("Connection", "close")
		rq.writeError(fault("ServiceUnavailable"))
		return
	}
	g.Metrics.Running.Add(1)
	defer func() {
		g.Metrics.Running.Add(-1)
		g.leave()
	}()
	if err := rq.run(); err != nil {
		rq.writeError(err)
	}
}

func contentLength(n int64) []string { return []string{strconv.FormatInt(n, 10)} }
