package s3

import (
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/spirula/spirula/mds"
	"github.com/spirula/spirula/rados/wire"
)

// reading is the conditions of a GET, HEAD or copy source.
type reading struct {
	match, noneMatch          string
	modifiedSince, unmodified string
	refuse                    string // code when If-None-Match or If-Modified-Since fail: 304 or 412
}

func (rq *request) reading() reading {
	return reading{rq.header("If-Match"), rq.header("If-None-Match"), rq.header("If-Modified-Since"), rq.header("If-Unmodified-Since"), "NotModified"}
}

func (rq *request) sourceReading() reading {
	return reading{rq.header("X-Amz-Copy-Source-If-Match"), rq.header("X-Amz-Copy-Source-If-None-Match"),
		rq.header("X-Amz-Copy-Source-If-Modified-Since"), rq.header("X-Amz-Copy-Source-If-Unmodified-Since"), "PreconditionFailed"}
}

// check applies the conditions in RFC 9110's order: an If-Match that is
// there takes the place of If-Unmodified-Since, an If-None-Match that of
// If-Modified-Since. Times have whole seconds.
func (c reading) check(etag string, mtime wire.Time) error {
	if c == (reading{refuse: c.refuse}) {
		return nil
	}
	modified := mtime.Std().Truncate(time.Second)
	if c.match != "" {
		if !matchETag(c.match, etag) {
			return fault("PreconditionFailed").with("Condition", "If-Match")
		}
	} else if t, ok := parseHTTPTime(c.unmodified); ok && modified.After(t) {
		return fault("PreconditionFailed").with("Condition", "If-Unmodified-Since")
	}
	if c.noneMatch != "" {
		if matchETag(c.noneMatch, etag) {
			return fault(c.refuse).with("Condition", "If-None-Match")
		}
	} else if t, ok := parseHTTPTime(c.modifiedSince); ok && !modified.After(t) {
		return fault(c.refuse).with("Condition", "If-Modified-Since")
	}
	return nil
}

// matchETag looks etag up in a list of entity tags. S3's clients leave the
// quotes out at times.
func matchETag(list, etag string) bool {
	for item := range strings.SplitSeq(list, ",") {
		if item = bareETag(item); item == "*" || item == etag {
			return true
		}
	}
	return false
}

func bareETag(s string) string {
	s = strings.TrimPrefix(strings.TrimSpace(s), "W/")
	if len(s) >= 2 && s[0] == '"' && s[len(s)-1] == '"' {
		s = s[1 : len(s)-1]
	}
	return s
}

// writing reads the conditions of a PUT, copy or completion. They are looked
// at by the namespace, in the same step as the change.
func (rq *request) writing() (c mds.Conditions, err error) {
	if c.IfMatch, err = rq.oneETag("If-Match"); err != nil {
		return c, err
	}
	if c.IfNoneMatch, err = rq.oneETag("If-None-Match"); err != nil {
		return c, err
	}
	if rq.r.Header["If-Modified-Since"] != nil || rq.r.Header["If-Unmodified-Since"] != nil {
		return c, fault("NotImplemented").with("Header", "If-Modified-Since")
	}
	return c, nil
}

// oneETag reads a header that must hold one entity tag, or *.
func (rq *request) oneETag(name string) (string, error) {
	v := rq.header(name)
	if v == "" {
		return "", nil
	}
	if strings.IndexByte(v, ',') >= 0 {
		return "", fault("NotImplemented").with("Header", name)
	}
	etag := bareETag(v)
	if etag == "" {
		return "", invalid(name, v, "")
	}
	return etag, nil
}

// refuseEarly looks at write conditions before the body is asked for, so
// that a PUT that cannot succeed costs nothing. That it can is decided later.
func (rq *request) refuseEarly(c mds.Conditions) error {
	if c == (mds.Conditions{}) {
		return nil
	}
	o, err := rq.g.o.FS.StatObject(rq.ctx(), rq.b.Ino, rq.key)
	if wire.ErrnoOf(err) == wire.ENOENT {
		if c.IfMatch != "" {
			return err
		}
		return nil
	}
	if err != nil {
		return err
	}
	if c.IfMatch != "" && c.IfMatch != "*" && c.IfMatch != o.ETag {
		return fault("PreconditionFailed").with("Condition", "If-Match")
	}
	if c.IfNoneMatch == "*" || c.IfNoneMatch != "" && c.IfNoneMatch == o.ETag {
		return fault("PreconditionFailed").with("Condition", "If-None-Match")
	}
	return nil
}

// deleting reads the conditions of DeleteObject.
func (rq *request) deleting() (c mds.Conditions, err error) {
	if v := rq.header("If-Match"); v != "" {
		c.IfMatch = bareETag(v)
	}
	if v := rq.header("X-Amz-If-Match-Size"); v != "" {
		n, err := strconv.ParseUint(v, 10, 63)
		if err != nil {
			return c, invalid("x-amz-if-match-size", v, "")
		}
		c.IfSize = &n
	}
	if v := rq.header("X-Amz-If-Match-Last-Modified-Time"); v != "" {
		if c.IfModified, err = conditionTime(v); err != nil {
			return c, invalid("x-amz-if-match-last-modified-time", v, "")
		}
	}
	return c, nil
}

// conditionTime reads a time as a header or an XML element has it.
func conditionTime(v string) (*wire.Time, error) {
	t, err := http.ParseTime(v)
	if err != nil {
		if t, err = time.Parse(time.RFC3339Nano, v); err != nil {
			return nil, err
		}
	}
	w := wire.TimeOf(t.Truncate(time.Second))
	return &w, nil
}
