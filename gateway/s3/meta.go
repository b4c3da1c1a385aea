package s3

import (
	"cmp"
	"mime"
	"net/http"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/spirula/spirula/mds"
	"github.com/spirula/spirula/rados/wire"
)

const (
	maxUserMeta   = 2 << 10 // bytes of names and values of x-amz-meta- headers together
	maxSystemMeta = 4 << 10 // bytes of all other stored headers together
	metaPrefix    = "X-Amz-Meta-"
	defaultType   = "binary/octet-stream"
)

var storageClasses = map[string]bool{
	"STANDARD": true, "REDUCED_REDUNDANCY": true, "STANDARD_IA": true, "ONEZONE_IA": true, "INTELLIGENT_TIERING": true,
	"GLACIER": true, "DEEP_ARCHIVE": true, "OUTPOSTS": true, "GLACIER_IR": true, "SNOW": true, "EXPRESS_ONEZONE": true,
}

// readMeta takes what S3 keeps of an upload's headers.
func (rq *request) readMeta() (mds.Meta, error) {
	m := mds.Meta{
		ContentType:        rq.header("Content-Type"),
		ContentEncoding:    stripAWSChunked(rq.r.Header["Content-Encoding"]),
		ContentDisposition: rq.header("Content-Disposition"),
		ContentLanguage:    rq.header("Content-Language"),
		CacheControl:       rq.header("Cache-Control"),
		Expires:            rq.header("Expires"),
		StorageClass:       rq.header("X-Amz-Storage-Class"),
		WebsiteRedirect:    rq.header("X-Amz-Website-Redirect-Location"),
		Owner:              rq.user.Name,
	}
	if rq.auth.Scheme.Presigned() && m.Expires != "" && m.Expires == rq.q.Value("Expires") {
		m.Expires = "" // the signature's own expiry, which some clients repeat
	}
	if m.StorageClass != "" && !storageClasses[m.StorageClass] {
		return m, fault("InvalidStorageClass").with("StorageClassRequested", m.StorageClass)
	}
	if v := m.WebsiteRedirect; v != "" && !strings.HasPrefix(v, "/") && !strings.HasPrefix(v, "http://") && !strings.HasPrefix(v, "https://") {
		return m, invalid("x-amz-website-redirect-location", v, "The website redirect location must have a prefix of 'http://' or 'https://' or '/'.")
	}
	system := 0
	for _, s := range [...]string{m.ContentType, m.ContentEncoding, m.ContentDisposition, m.ContentLanguage, m.CacheControl, m.Expires, m.WebsiteRedirect} {
		system += len(s)
	}
	if system > maxSystemMeta {
		return m, fault("MetadataTooLarge")
	}
	size := 0
	for name, values := range rq.r.Header {
		if !strings.HasPrefix(name, metaPrefix) || len(name) == len(metaPrefix) {
			continue
		}
		v := strings.Join(values, ",")
		if size += len(name) - len(metaPrefix) + len(v); size > maxUserMeta {
			return m, fault("MetadataTooLarge").with("Size", itoa(size)).with("MaxSizeAllowed", itoa(maxUserMeta))
		}
		m.User = append(m.User, wire.KV{Key: strings.ToLower(name[len(metaPrefix):]), Value: []byte(v)})
	}
	slices.SortFunc(m.User, func(a, b wire.KV) int { return cmp.Compare(a.Key, b.Key) })
	return m, nil
}

// stripAWSChunked takes the transfer's own coding out of Content-Encoding.
func stripAWSChunked(values []string) string {
	if len(values) == 0 || len(values) == 1 && !strings.Contains(values[0], "aws-chunked") {
		return strings.Join(values, ",")
	}
	var kept []string
	for _, v := range values {
		for item := range strings.SplitSeq(v, ",") {
			if item = strings.TrimSpace(item); item != "" && item != "aws-chunked" {
				kept = append(kept, item)
			}
		}
	}
	return strings.Join(kept, ",")
}

// writeMeta sets the headers of an object's answer.
func (rq *request) writeMeta(o *mds.Object) {
	h := rq.w.Header()
	m := &o.Meta
	set := func(name, value string) {
		if value != "" {
			h[name] = []string{value}
		}
	}
	set("Content-Type", cmp.Or(m.ContentType, defaultType))
	set("Content-Encoding", m.ContentEncoding)
	set("Content-Disposition", m.ContentDisposition)
	set("Content-Language", m.ContentLanguage)
	set("Cache-Control", m.CacheControl)
	set("Expires", m.Expires)
	set("X-Amz-Website-Redirect-Location", m.WebsiteRedirect)
	if m.StorageClass != "STANDARD" {
		set("X-Amz-Storage-Class", m.StorageClass)
	}
	missing := 0
	for _, kv := range m.User {
		if !token(kv.Key) {
			missing++ // no header can have this name
			continue
		}
		h[http.CanonicalHeaderKey(metaPrefix+kv.Key)] = []string{mailSafe(string(kv.Value))}
	}
	if missing > 0 {
		set("X-Amz-Missing-Meta", itoa(missing))
	}
}

func token(s string) bool {
	for i := 0; i < len(s); i++ {
		if c := s[i]; c <= ' ' || c >= 0x7F || strings.IndexByte("()<>@,;:\\\"/[]?={}", c) >= 0 {
			return false
		}
	}
	return s != ""
}

// mailSafe gives a value as it may stand in a header: as it is when it is
// ASCII, else encoded by RFC 2047, which is what S3 does.
func mailSafe(v string) string {
	for i := 0; i < len(v); i++ {
		if c := v[i]; c < ' ' && c != '\t' || c >= 0x7F {
			if !utf8.ValidString(v) {
				return mime.BEncoding.Encode("ISO-8859-1", v)
			}
			return mime.BEncoding.Encode("UTF-8", v)
		}
	}
	return v
}

// overrides are the response- parameters of GET and HEAD.
var overrides = [...]struct{ param, header string }{
	{"response-content-type", "Content-Type"},
	{"response-content-language", "Content-Language"},
	{"response-expires", "Expires"},
	{"response-cache-control", "Cache-Control"},
	{"response-content-disposition", "Content-Disposition"},
	{"response-content-encoding", "Content-Encoding"},
}

func (rq *request) writeOverrides() error {
	if len(rq.q) == 0 {
		return nil
	}
	for _, o := range overrides {
		v, ok := rq.q.Get(o.param)
		if !ok {
			continue
		}
		for i := 0; i < len(v); i++ {
			if v[i] < ' ' && v[i] != '\t' || v[i] == 0x7F {
				return invalid(o.param, "", "Header value cannot be represented")
			}
		}
		rq.w.Header()[o.header] = []string{v}
	}
	return nil
}
