package s3

import (
	"encoding/base64"
	"net/http"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/spirula/spirula/gateway/s3/internal/checksum"
	"github.com/spirula/spirula/gateway/s3/internal/sig"
	"github.com/spirula/spirula/mds"
)

const (
	maxListKeys = 1000
	// maxShortPages bounds how often an empty but truncated page of the
	// namespace is followed before it is given to the client as it is.
	maxShortPages = 16
	tokenFormat   = '1' // first byte of a continuation token
)

// listing is what the listing operations have in common.
type listing struct {
	req  mds.ListRequest
	max  int
	url  bool // encoding-type=url
	page mds.ListPage
}

// parseListing reads the parameters that all listings share.
func (rq *request) parseListing(maxName string) (*listing, error) {
	l := &listing{max: maxListKeys}
	if v, ok := rq.q.Get(maxName); ok && v != "" {
		n, err := strconv.ParseInt(v, 10, 32)
		if err != nil || n < 0 {
			return nil, invalid(maxName, v, "Provided "+maxName+" not an integer or within integer range")
		}
		l.max = min(int(n), maxListKeys)
	}
	switch v, ok := rq.q.Get("encoding-type"); {
	case !ok || v == "":
	case v == "url":
		l.url = true
	default:
		return nil, invalid("encoding-type", v, "Invalid Encoding Method specified in Request")
	}
	l.req.Prefix, l.req.Delimiter = rq.q.Value("prefix"), rq.q.Value("delimiter")
	for name, v := range map[string]string{"prefix": l.req.Prefix, "delimiter": l.req.Delimiter} {
		if len(v) > mds.MaxKey || !utf8.ValidString(v) {
			return nil, invalid(name, v, "")
		}
	}
	l.req.Max = l.max
	return l, nil
}

// fetch gets the page. The namespace may give up early, with nothing to
// show, in a stretch of entries that don't count; clients take an empty page
// for the end, so a few are followed here.
func (l *listing) fetch(rq *request) error {
	if l.max == 0 {
		return nil
	}
	for range maxShortPages {
		page, err := rq.g.o.FS.List(rq.ctx(), rq.b.Ino, l.req)
		if err != nil {
			return err
		}
		l.page = *page
		if len(page.Entries) > 0 || !page.Truncated || page.Next <= l.req.After {
			break
		}
		l.req.After = page.Next
	}
	return nil
}

// name writes a key, prefix or delimiter under the listing's encoding.
func (l *listing) name(x *xmlBuf, tag, s string) {
	x.open(tag)
	if l.url {
		x.b = sig.AppendEscaped(x.b, s, true)
	} else {
		x.b = appendText(x.b, s)
	}
	x.close(tag)
}

func (l *listing) optional(x *xmlBuf, tag, s string) {
	if s != "" {
		l.name(x, tag, s)
	}
}

// entries writes the objects and then the common prefixes.
func (l *listing) entries(rq *request, x *xmlBuf, owner bool) {
	for i := range l.page.Entries {
		e := &l.page.Entries[i]
		if e.Prefix {
			continue
		}
		x.open("Contents")
		l.name(x, "Key", e.Key)
		x.time("LastModified", e.Mtime)
		x.etag(e.ETag)
		l.checksum(x, e)
		x.number("Size", int64(e.Size))
		if owner {
			x.owner(rq.ownerName(e.Owner))
		}
		x.elem("StorageClass", "STANDARD")
		x.close("Contents")
	}
	l.prefixes(x)
}

func (l *listing) checksum(x *xmlBuf, e *mds.ListEntry) {
	if e.Checksum == mds.ChecksumNone {
		return
	}
	x.elem("ChecksumAlgorithm", checksum.Name(e.Checksum))
	x.elem("ChecksumType", checksumType(!e.FullObject))
}

func (l *listing) prefixes(x *xmlBuf) {
	for i := range l.page.Entries {
		if e := &l.page.Entries[i]; e.Prefix {
			x.open("CommonPrefixes")
			l.name(x, "Prefix", e.Key)
			x.close("CommonPrefixes")
		}
	}
}

// goOn makes a listing go on behind marker. A marker inside a common prefix
// stands for all of it: that was listed before.
func (l *listing) goOn(marker string) {
	l.req.After = marker
	rest, below := strings.CutPrefix(marker, l.req.Prefix)
	if i := strings.Index(rest, l.req.Delimiter); below && l.req.Delimiter != "" && i >= 0 {
		// Behind every key with the prefix: UTF-8 has no byte 0xff.
		l.req.After = l.req.Prefix + rest[:i+len(l.req.Delimiter)] + "\xff"
	}
}

// listFrom reads the parameters of a listing that goes on from a key, named by
// param, and fetches its page. marker is the key as given.
func (rq *request) listFrom(param string) (l *listing, marker string, err error) {
	if l, err = rq.parseListing("max-keys"); err != nil {
		return nil, "", err
	}
	marker = rq.q.Value(param)
	if len(marker) > mds.MaxKey {
		return nil, "", invalid(param, marker, "")
	}
	l.goOn(marker)
	return l, marker, l.fetch(rq)
}

// listObjects is ListObjects version 1: it goes on from a key.
func (rq *request) listObjects() error {
	l, marker, err := rq.listFrom("marker")
	if err != nil {
		return err
	}
	x := newXML()
	defer x.free()
	x.root("ListBucketResult")
	x.elem("Name", rq.bucket)
	l.name(x, "Prefix", l.req.Prefix)
	l.name(x, "Marker", marker)
	if l.page.Truncated {
		l.name(x, "NextMarker", l.page.Next)
	}
	x.number("MaxKeys", int64(l.max))
	l.optional(x, "Delimiter", l.req.Delimiter)
	if l.url {
		x.elem("EncodingType", "url")
	}
	x.boolean("IsTruncated", l.page.Truncated)
	l.entries(rq, x, true)
	x.close("ListBucketResult")
	rq.sendXML(http.StatusOK, x)
	return nil
}

// listObjectsV2 goes on from a token, which says where the page before ended
// and nothing else: any gateway can take it.
func (rq *request) listObjectsV2() error {
	if v := rq.q.Value("list-type"); v != "2" {
		return invalid("list-type", v, "Invalid List Type specified in Request")
	}
	l, err := rq.parseListing("max-keys")
	if err != nil {
		return err
	}
	startAfter := rq.q.Value("start-after")
	if len(startAfter) > mds.MaxKey {
		return invalid("start-after", startAfter, "")
	}
	l.req.After = startAfter
	token, hasToken := rq.q.Get("continuation-token")
	if hasToken {
		if l.req.After, err = decodeToken(token); err != nil {
			return err
		}
	}
	if err := l.fetch(rq); err != nil {
		return err
	}
	x := newXML()
	defer x.free()
	x.root("ListBucketResult")
	x.elem("Name", rq.bucket)
	l.name(x, "Prefix", l.req.Prefix)
	l.optional(x, "Delimiter", l.req.Delimiter)
	x.number("MaxKeys", int64(l.max))
	if l.url {
		x.elem("EncodingType", "url")
	}
	x.number("KeyCount", int64(len(l.page.Entries)))
	x.boolean("IsTruncated", l.page.Truncated)
	if hasToken {
		x.elem("ContinuationToken", token)
	}
	if l.page.Truncated {
		x.elem("NextContinuationToken", encodeToken(l.page.Next))
	}
	l.optional(x, "StartAfter", startAfter)
	l.entries(rq, x, rq.q.Value("fetch-owner") == "true")
	x.close("ListBucketResult")
	rq.sendXML(http.StatusOK, x)
	return nil
}

func encodeToken(next string) string {
	return base64.RawURLEncoding.EncodeToString(append([]byte{tokenFormat}, next...))
}

func decodeToken(token string) (string, error) {
	raw, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(token, "="))
	if err != nil || len(raw) < 2 || raw[0] != tokenFormat || len(raw) > mds.MaxKey+1 {
		return "", invalid("continuation-token", token, "The continuation token provided is incorrect")
	}
	return string(raw[1:]), nil
}

// listVersions shows the current objects as their only versions, which they
// are until buckets can be versioned.
func (rq *request) listVersions() error {
	l, marker, err := rq.listFrom("key-marker")
	if err != nil {
		return err
	}
	x := newXML()
	defer x.free()
	x.root("ListVersionsResult")
	x.elem("Name", rq.bucket)
	l.name(x, "Prefix", l.req.Prefix)
	l.name(x, "KeyMarker", marker)
	x.elem("VersionIdMarker", rq.q.Value("version-id-marker"))
	if l.page.Truncated {
		l.name(x, "NextKeyMarker", l.page.Next)
		x.elem("NextVersionIdMarker", "null")
	}
	x.number("MaxKeys", int64(l.max))
	l.optional(x, "Delimiter", l.req.Delimiter)
	if l.url {
		x.elem("EncodingType", "url")
	}
	x.boolean("IsTruncated", l.page.Truncated)
	for i := range l.page.Entries {
		e := &l.page.Entries[i]
		if e.Prefix {
			continue
		}
		x.open("Version")
		l.name(x, "Key", e.Key)
		x.elem("VersionId", "null")
		x.boolean("IsLatest", true)
		x.time("LastModified", e.Mtime)
		x.etag(e.ETag)
		l.checksum(x, e)
		x.number("Size", int64(e.Size))
		x.owner(rq.ownerName(e.Owner))
		x.elem("StorageClass", "STANDARD")
		x.close("Version")
	}
	l.prefixes(x)
	x.close("ListVersionsResult")
	rq.sendXML(http.StatusOK, x)
	return nil
}
