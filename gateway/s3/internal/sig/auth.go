package sig

import (
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Skew is how far a request's time may be from ours, either way.
const Skew = 15 * time.Minute

// MaxExpires is the longest life of a Version 4 presigned URL.
const MaxExpires = 7 * 24 * time.Hour

// The special values of x-amz-content-sha256.
const (
	Unsigned               = "UNSIGNED-PAYLOAD"
	StreamUnsignedTrailer  = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"
	StreamSigned           = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"
	StreamSignedTrailer    = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER"
	algorithm4             = "AWS4-HMAC-SHA256"
	timeFormat             = "20060102T150405Z"
	emptySHA256            = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
	maxSignedHeaders       = 100
	contentSHA256Canonical = "X-Amz-Content-Sha256"
)

// Error refuses a request; Code and Message are S3's.
type Error struct {
	Code, Message string
	// Region is set where the scope names another region than ours.
	Region string
}

// Error implements error.
func (e *Error) Error() string { return e.Code + ": " + e.Message }

func fail(code, message string) *Error { return &Error{Code: code, Message: message} }

// Scheme is the way in which a request is signed.
type Scheme uint8

// The schemes.
const (
	Anonymous Scheme = iota
	HeaderV4
	QueryV4
	HeaderV2
	QueryV2
)

// Presigned reports whether the signature travels in the query.
func (s Scheme) Presigned() bool { return s == QueryV4 || s == QueryV2 }

// Auth is what a request claims about its sender, and after Verify what is
// known.
type Auth struct {
	Scheme    Scheme
	AccessKey string
	// Payload is x-amz-content-sha256 as it counts: a hex SHA-256, or one of
	// the special values. Version 2 and anonymous requests have Unsigned
	// unless they gave one.
	Payload string

	date, time      string // YYYYMMDD; with the time of day
	region, service string
	signed          []string // names of signed headers, as given
	signature       string
	expires         string // Version 2: as it stands in the query
	key             [32]byte
}

// Options says what a request must fit.
type Options struct {
	Region string // the only region; empty: any is taken
	Now    time.Time
}

// Parse reads the claim of a request and checks what needs no secret.
func Parse(r *http.Request, q Query, o Options) (Auth, error) {
	h := r.Header.Get("Authorization")
	switch {
	case h != "" && (q.Has("X-Amz-Signature") || q.Has("Signature") && q.Has("AWSAccessKeyId")):
		return Auth{}, fail("InvalidArgument", "Only one auth mechanism allowed; only the X-Amz-Algorithm query parameter, Signature query string parameter or the Authorization header should be specified")
	case strings.HasPrefix(h, algorithm4):
		return parseHeader4(r, h, o)
	case strings.HasPrefix(h, "AWS "):
		return parseHeader2(r, h, o)
	case h != "":
		return Auth{}, fail("InvalidArgument", "Unsupported Authorization Type")
	case q.Has("X-Amz-Algorithm") || q.Has("X-Amz-Signature"):
		return parseQuery4(r, q, o)
	case q.Has("AWSAccessKeyId") && q.Has("Signature"):
		return parseQuery2(r, q, o)
	}
	return Auth{Scheme: Anonymous, Payload: payloadOr(r, Unsigned)}, nil
}

func payloadOr(r *http.Request, otherwise string) string {
	if v := r.Header[contentSHA256Canonical]; len(v) > 0 && v[0] != "" {
		return v[0]
	}
	return otherwise
}

func malformed(message string) *Error { return fail("AuthorizationHeaderMalformed", message) }

func parseHeader4(r *http.Request, h string, o Options) (Auth, error) {
	a := Auth{Scheme: HeaderV4}
	rest := h[len(algorithm4):]
	if rest == "" || rest[0] != ' ' {
		return a, fail("InvalidArgument", "Unsupported Authorization Type")
	}
	var credential, signed string
	for rest != "" {
		var item string
		item, rest, _ = strings.Cut(rest, ",")
		k, v, ok := strings.Cut(strings.TrimSpace(item), "=")
		if !ok {
			return a, malformed("The authorization header is malformed; the authorization component \"" + clip(item) + "\" is malformed.")
		}
		switch k {
		case "Credential":
			credential = v
		case "SignedHeaders":
			signed = v
		case "Signature":
			a.signature = v
		}
	}
	if credential == "" || signed == "" || a.signature == "" {
		return a, malformed("The authorization header is malformed; the authorization header requires three components: Credential, SignedHeaders, and Signature.")
	}
	a.time = r.Header.Get("X-Amz-Date")
	when, err := time.Parse(timeFormat, a.time)
	if err != nil {
		when, err = http.ParseTime(r.Header.Get("Date"))
		a.time = when.UTC().Format(timeFormat)
	}
	if err != nil {
		return a, fail("AccessDenied", "AWS authentication requires a valid Date or x-amz-date header")
	}
	if err := a.scope(credential, o.Region, malformed); err != nil {
		return a, err
	}
	if err := a.names(r, signed); err != nil {
		return a, err
	}
	if d := o.Now.Sub(when); d > Skew || d < -Skew {
		return a, fail("RequestTimeTooSkewed", "The difference between the request time and the current time is too large.")
	}
	a.Payload = payloadOr(r, "")
	if a.Payload == "" {
		return a, fail("InvalidRequest", "Missing required header for this request: x-amz-content-sha256")
	}
	return a, nil
}

func badQuery(message string) *Error { return fail("AuthorizationQueryParametersError", message) }

func parseQuery4(r *http.Request, q Query, o Options) (Auth, error) {
	a := Auth{Scheme: QueryV4}
	if q.Value("X-Amz-Algorithm") != algorithm4 {
		return a, badQuery("X-Amz-Algorithm only supports \"AWS4-HMAC-SHA256\"")
	}
	credential, signed := q.Value("X-Amz-Credential"), q.Value("X-Amz-SignedHeaders")
	a.signature, a.time = q.Value("X-Amz-Signature"), q.Value("X-Amz-Date")
	seconds, err := strconv.ParseInt(q.Value("X-Amz-Expires"), 10, 64)
	if credential == "" || signed == "" || a.signature == "" || a.time == "" || q.Value("X-Amz-Expires") == "" {
		return a, badQuery("Query-string authentication version 4 requires the X-Amz-Algorithm, X-Amz-Credential, X-Amz-Signature, X-Amz-Date, X-Amz-SignedHeaders, and X-Amz-Expires parameters.")
	}
	switch {
	case err != nil:
		return a, badQuery("X-Amz-Expires should be a number")
	case seconds < 0:
		return a, badQuery("X-Amz-Expires must be non-negative")
	case seconds > int64(MaxExpires/time.Second):
		return a, badQuery("X-Amz-Expires must be less than a week (in seconds) that is 604800")
	}
	when, err := time.Parse(timeFormat, a.time)
	if err != nil {
		return a, badQuery("X-Amz-Date must be in the ISO8601 Long Format \"yyyyMMdd'T'HHmmss'Z'\"")
	}
	if err := a.scope(credential, o.Region, badQuery); err != nil {
		return a, err
	}
	if err := a.names(r, signed); err != nil {
		return a, err
	}
	if o.Now.Before(when.Add(-Skew)) {
		return a, fail("AccessDenied", "Request is not yet valid")
	}
	if o.Now.After(when.Add(time.Duration(seconds) * time.Second)) {
		return a, fail("AccessDenied", "Request has expired")
	}
	a.Payload = q.Value(contentSHA256Canonical)
	if a.Payload == "" {
		a.Payload = payloadOr(r, Unsigned)
	}
	return a, nil
}

// scope takes the credential apart: access key, date, region, service and
// the constant aws4_request. An access key may have slashes, the rest not.
func (a *Auth) scope(credential, region string, bad func(string) *Error) error {
	rest, end, ok := cutLast(credential)
	if !ok || end != "aws4_request" {
		return bad("The Credential is mal-formed; expecting \"<YOUR-AKID>/YYYYMMDD/REGION/SERVICE/aws4_request\".")
	}
	if rest, a.service, ok = cutLast(rest); !ok || a.service != "s3" {
		return bad("The Credential's service must be \"s3\".")
	}
	if rest, a.region, ok = cutLast(rest); !ok || a.region == "" || len(a.region) > 64 {
		return bad("The Credential's region is missing.")
	}
	if rest, a.date, ok = cutLast(rest); !ok || len(a.time) < 8 || a.date != a.time[:8] {
		return bad("Invalid credential date. It must be the same date as X-Amz-Date.")
	}
	if rest == "" || len(rest) > 128 {
		return bad("The Credential's access key is missing.")
	}
	a.AccessKey = rest
	if region != "" && a.region != region {
		e := bad("The region '" + clip(a.region) + "' is wrong; expecting '" + region + "'")
		e.Region = region
		return e
	}
	return nil
}

func cutLast(s string) (before, after string, ok bool) {
	i := strings.LastIndexByte(s, '/')
	if i < 0 {
		return "", "", false
	}
	return s[:i], s[i+1:], true
}

// names reads the list of signed headers. Host must be among them, and every
// x-amz- header that came: otherwise whoever relays a request could add one.
// The hash of the payload may be left out by presigned requests, as it is
// then only checked, and can't change what is asked for.
func (a *Auth) names(r *http.Request, list string) error {
	n := strings.Count(list, ";") + 1
	if n > maxSignedHeaders {
		return fail("InvalidArgument", "Too many signed headers")
	}
	a.signed = make([]string, 0, n)
	host := false
	for list != "" {
		var name string
		name, list, _ = strings.Cut(list, ";")
		host = host || name == "host"
		a.signed = append(a.signed, name)
	}
	if !host {
		return fail("AccessDenied", "The host header must be signed")
	}
	for name := range r.Header {
		if len(name) < 6 || name[:6] != "X-Amz-" {
			continue
		}
		if name == contentSHA256Canonical && a.Scheme == QueryV4 {
			continue
		}
		if !a.signs(name) {
			return fail("AccessDenied", "There were headers present in the request which were not signed: "+clip(strings.ToLower(name)))
		}
	}
	return nil
}

func (a *Auth) signs(name string) bool {
	for _, s := range a.signed {
		if len(s) == len(name) && strings.EqualFold(s, name) {
			return true
		}
	}
	return false
}

// clip bounds what of the request is repeated in a message.
func clip(s string) string {
	if len(s) > 100 {
		return s[:100]
	}
	return s
}
