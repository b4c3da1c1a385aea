package sig

import (
	"crypto/hmac"
	"crypto/sha1"
	"crypto/subtle"
	"encoding/base64"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

func parseHeader2(r *http.Request, h string, o Options) (Auth, error) {
	a := Auth{Scheme: HeaderV2}
	access, signature, ok := strings.Cut(strings.TrimSpace(h[len("AWS "):]), ":")
	if !ok || access == "" || signature == "" || len(access) > 128 {
		return a, fail("InvalidArgument", "AWS authorization header is invalid. Expected AwsAccessKeyId:signature")
	}
	a.AccessKey, a.signature = access, signature
	text := r.Header.Get("X-Amz-Date")
	if text == "" {
		text = r.Header.Get("Date")
	}
	when, err := http.ParseTime(text)
	if err != nil {
		when, err = time.Parse(time.RFC1123Z, text)
	}
	if err != nil {
		when, err = time.Parse(timeFormat, text)
	}
	if err != nil {
		return a, fail("AccessDenied", "AWS authentication requires a valid Date or x-amz-date header")
	}
	if d := o.Now.Sub(when); d > Skew || d < -Skew {
		return a, fail("RequestTimeTooSkewed", "The difference between the request time and the current time is too large.")
	}
	a.Payload = payloadOr(r, Unsigned)
	return a, nil
}

func parseQuery2(r *http.Request, q Query, o Options) (Auth, error) {
	a := Auth{Scheme: QueryV2, AccessKey: q.Value("AWSAccessKeyId"), signature: q.Value("Signature")}
	if a.AccessKey == "" || a.signature == "" || len(a.AccessKey) > 128 {
		return a, fail("AccessDenied", "Query-string authentication requires the Signature, Expires and AWSAccessKeyId parameters")
	}
	a.expires = q.Value("Expires")
	seconds, err := strconv.ParseInt(a.expires, 10, 64)
	if err != nil {
		return a, fail("AccessDenied", "Invalid date (should be seconds since epoch): "+clip(a.expires))
	}
	if o.Now.Unix() > seconds {
		return a, fail("AccessDenied", "Request has expired")
	}
	a.Payload = payloadOr(r, Unsigned)
	return a, nil
}

// signed2 names the query parameters that Version 2 covers, sorted.
var signed2 = []string{
	"accelerate", "acl", "analytics", "cors", "delete", "encryption", "inventory",
	"legal-hold", "lifecycle", "location", "logging", "metrics", "notification",
	"object-lock", "ownershipControls", "partNumber", "policy", "policyStatus",
	"publicAccessBlock", "replication", "requestPayment",
	"response-cache-control", "response-content-disposition",
	"response-content-encoding", "response-content-language",
	"response-content-type", "response-expires", "restore", "retention",
	"select", "select-type", "storageClass", "tagging", "torrent", "uploadId",
	"uploads", "versionId", "versioning", "versions", "website",
}

func (a *Auth) verify2(r *http.Request, q Query, bucket, secret string) error {
	got, err := base64.StdEncoding.DecodeString(a.signature)
	if err != nil {
		return mismatch()
	}
	// Clients differ in whether "uploads=" is signed with its '='.
	for _, eq := range []bool{false, true} {
		mac := hmac.New(sha1.New, []byte(secret))
		mac.Write(a.text2(r, q, bucket, eq))
		if subtle.ConstantTimeCompare(mac.Sum(nil), got) == 1 {
			return nil
		}
	}
	return mismatch()
}

// text2 is what Version 2 signs: method, Content-MD5, Content-Type, date (the
// expiry in presigned requests), the x-amz- headers, and the resource.
func (a *Auth) text2(r *http.Request, q Query, bucket string, eq bool) []byte {
	date := r.Header.Get("Date")
	if r.Header.Get("X-Amz-Date") != "" {
		date = ""
	}
	if a.Scheme == QueryV2 {
		date = a.expires
	}
	b := make([]byte, 0, 512)
	for _, s := range [...]string{r.Method, r.Header.Get("Content-Md5"), r.Header.Get("Content-Type"), date} {
		b = append(append(b, s...), '\n')
	}
	names := make([]string, 0, 8)
	for name := range r.Header {
		if strings.HasPrefix(name, "X-Amz-") {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	for _, name := range names {
		b = append(append(b, strings.ToLower(name)...), ':')
		for i, v := range r.Header[name] {
			if i > 0 {
				b = append(b, ',')
			}
			b = append(b, strings.TrimSpace(v)...)
		}
		b = append(b, '\n')
	}
	if bucket != "" {
		b = append(append(b, '/'), bucket...)
	}
	b = append(b, r.URL.EscapedPath()...)
	sep := byte('?')
	for _, name := range signed2 {
		for _, p := range q {
			if p.Key != name {
				continue
			}
			b = append(append(b, sep), name...)
			if p.Value != "" || eq && p.Eq {
				b = append(append(b, '='), p.Value...)
			}
			sep = '&'
			break
		}
	}
	return b
}
