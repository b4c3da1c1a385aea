package sig

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"net/http"
	"slices"
	"strings"
	"sync"
)

// canonicalPool holds the buffers in which canonical requests are written.
var canonicalPool = sync.Pool{New: func() any { b := make([]byte, 0, 2048); return &b }}

// Verify checks a against the secret of its access key. bucket is the bucket
// that the host name gave (virtual-host style), or empty; Version 2 puts it
// before the path.
func (a *Auth) Verify(r *http.Request, q Query, bucket, secret string, keys *Keys) error {
	switch a.Scheme {
	case HeaderV4, QueryV4:
		return a.verify4(r, q, secret, keys)
	case HeaderV2, QueryV2:
		return a.verify2(r, q, bucket, secret)
	}
	return fail("AccessDenied", "Anonymous requests are not signed")
}

func mismatch() *Error {
	return fail("SignatureDoesNotMatch", "The request signature we calculated does not match the signature you provided. Check your key and signing method.")
}

func (a *Auth) verify4(r *http.Request, q Query, secret string, keys *Keys) error {
	var got [32]byte
	if len(a.signature) != 64 {
		return mismatch()
	}
	if _, err := hex.Decode(got[:], []byte(a.signature)); err != nil {
		return mismatch()
	}
	a.key = keys.signing(a, secret)
	want := a.sign(r, q, r.URL.Path, false)
	if subtle.ConstantTimeCompare(want[:], got[:]) == 1 {
		return nil
	}
	// Some clients sign the path just as they escaped it.
	want = a.sign(r, q, r.URL.EscapedPath(), true)
	if subtle.ConstantTimeCompare(want[:], got[:]) == 1 {
		return nil
	}
	return mismatch()
}

// sign computes the signature of r. path is decoded, or verbatim when raw.
func (a *Auth) sign(r *http.Request, q Query, path string, raw bool) [32]byte {
	bp := canonicalPool.Get().(*[]byte)
	b := (*bp)[:0]
	b = append(b, r.Method...)
	b = append(b, '\n')
	if path == "" {
		path = "/"
	}
	if raw {
		b = append(b, path...)
	} else {
		b = AppendEscaped(b, path, true)
	}
	b = append(b, '\n')
	b = appendQuery(b, q)
	b = append(b, '\n')
	for _, name := range a.signed {
		b = append(b, name...)
		b = append(b, ':')
		b = appendHeader(b, r, name)
		b = append(b, '\n')
	}
	b = append(b, '\n')
	for i, name := range a.signed {
		if i > 0 {
			b = append(b, ';')
		}
		b = append(b, name...)
	}
	b = append(b, '\n')
	b = append(b, a.Payload...)
	sum := hexOf(sha256.Sum256(b))

	b = append(b[:0], algorithm4...)
	b = append(b, '\n')
	b = append(b, a.time...)
	b = append(b, '\n')
	b = a.appendScope(b)
	b = append(b, '\n')
	b = append(b, sum[:]...)
	out := hmac256(a.key[:], b)
	*bp = b
	canonicalPool.Put(bp)
	return out
}

func (a *Auth) appendScope(b []byte) []byte {
	b = append(b, a.date...)
	b = append(b, '/')
	b = append(b, a.region...)
	b = append(b, '/')
	b = append(b, a.service...)
	return append(b, "/aws4_request"...)
}

// appendQuery writes the parameters but the signature, sorted by encoded key
// and then by encoded value.
func appendQuery(b []byte, q Query) []byte {
	switch len(q) {
	case 0:
		return b
	case 1:
		if q[0].Key == "X-Amz-Signature" {
			return b
		}
		b = AppendEscaped(b, q[0].Key, false)
		b = append(b, '=')
		return AppendEscaped(b, q[0].Value, false)
	}
	items := make([]string, 0, len(q))
	var scratch []byte
	for _, p := range q {
		if p.Key == "X-Amz-Signature" {
			continue
		}
		scratch = AppendEscaped(scratch[:0], p.Key, false)
		// NUL stands for '=' while sorting: a shorter key comes first, and
		// neither keys nor values have one once encoded.
		scratch = append(scratch, 0)
		scratch = AppendEscaped(scratch, p.Value, false)
		items = append(items, string(scratch))
	}
	slices.Sort(items)
	for i, s := range items {
		if i > 0 {
			b = append(b, '&')
		}
		k, v, _ := strings.Cut(s, "\x00")
		b = append(b, k...)
		b = append(b, '=')
		b = append(b, v...)
	}
	return b
}

// appendHeader writes a header's values as they are signed: trimmed, runs of
// spaces made one, several joined by commas. net/http takes some headers out
// of the map; they are put back here.
func appendHeader(b []byte, r *http.Request, name string) []byte {
	switch name {
	case "host":
		return append(b, r.Host...)
	case "transfer-encoding":
		return append(b, strings.Join(r.TransferEncoding, ",")...)
	}
	values := r.Header[canonicalName(name)]
	if len(values) == 0 && name == "content-length" && r.ContentLength >= 0 {
		return appendInt(b, r.ContentLength)
	}
	for i, v := range values {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendTrimmed(b, v)
	}
	return b
}

func appendInt(b []byte, n int64) []byte {
	var digits [20]byte
	i := len(digits)
	for {
		i--
		digits[i] = byte('0' + n%10)
		if n /= 10; n == 0 {
			return append(b, digits[i:]...)
		}
	}
}

func appendTrimmed(b []byte, v string) []byte {
	v = strings.Trim(v, " \t")
	if !strings.Contains(v, "  ") {
		return append(b, v...)
	}
	space := false
	for i := 0; i < len(v); i++ {
		if v[i] == ' ' && space {
			continue
		}
		space = v[i] == ' '
		b = append(b, v[i])
	}
	return b
}

// canonicalNames spares http.CanonicalHeaderKey's allocation for the headers
// that today's clients sign.
var canonicalNames = map[string]string{
	"accept-encoding":              "Accept-Encoding",
	"amz-sdk-invocation-id":        "Amz-Sdk-Invocation-Id",
	"amz-sdk-request":              "Amz-Sdk-Request",
	"cache-control":                "Cache-Control",
	"content-encoding":             "Content-Encoding",
	"content-length":               "Content-Length",
	"content-md5":                  "Content-Md5",
	"content-type":                 "Content-Type",
	"date":                         "Date",
	"expect":                       "Expect",
	"if-match":                     "If-Match",
	"if-none-match":                "If-None-Match",
	"range":                        "Range",
	"user-agent":                   "User-Agent",
	"x-amz-acl":                    "X-Amz-Acl",
	"x-amz-checksum-algorithm":     "X-Amz-Checksum-Algorithm",
	"x-amz-checksum-crc32":         "X-Amz-Checksum-Crc32",
	"x-amz-checksum-crc32c":        "X-Amz-Checksum-Crc32c",
	"x-amz-checksum-crc64nvme":     "X-Amz-Checksum-Crc64nvme",
	"x-amz-checksum-mode":          "X-Amz-Checksum-Mode",
	"x-amz-checksum-sha1":          "X-Amz-Checksum-Sha1",
	"x-amz-checksum-sha256":        "X-Amz-Checksum-Sha256",
	"x-amz-content-sha256":         "X-Amz-Content-Sha256",
	"x-amz-copy-source":            "X-Amz-Copy-Source",
	"x-amz-date":                   "X-Amz-Date",
	"x-amz-decoded-content-length": "X-Amz-Decoded-Content-Length",
	"x-amz-sdk-checksum-algorithm": "X-Amz-Sdk-Checksum-Algorithm",
	"x-amz-storage-class":          "X-Amz-Storage-Class",
	"x-amz-trailer":                "X-Amz-Trailer",
	"x-amz-user-agent":             "X-Amz-User-Agent",
}

func canonicalName(name string) string {
	if c, ok := canonicalNames[name]; ok {
		return c
	}
	return http.CanonicalHeaderKey(name)
}
