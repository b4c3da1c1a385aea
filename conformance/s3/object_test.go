package s3

import (
	"bytes"
	"crypto/md5"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
)

func TestBuckets(t *testing.T) {
	w := newWorld(t)
	_, err := w.c.HeadBucket(ctx, &s3.HeadBucketInput{Bucket: w.b})
	ok(t, "HeadBucket", err)
	loc, err := w.c.GetBucketLocation(ctx, &s3.GetBucketLocationInput{Bucket: w.b})
	ok(t, "GetBucketLocation", err)
	if loc.LocationConstraint != "" && loc.LocationConstraint != region {
		t.Errorf("location %q", loc.LocationConstraint)
	}
	list, err := w.c.ListBuckets(ctx, &s3.ListBucketsInput{})
	ok(t, "ListBuckets", err)
	found := false
	for _, b := range list.Buckets {
		found = found || *b.Name == *w.b && time.Since(*b.CreationDate).Abs() < time.Hour
	}
	if !found || list.Owner == nil || aws.ToString(list.Owner.ID) == "" {
		t.Errorf("found %v, owner %v", found, list.Owner)
	}
	none := bucketName()
	_, err = w.c.HeadBucket(ctx, &s3.HeadBucketInput{Bucket: &none})
	wantCode(t, "HeadBucket of none", err, "NotFound", 404)
	_, err = w.c.ListObjectsV2(ctx, &s3.ListObjectsV2Input{Bucket: &none})
	wantCode(t, "list of no bucket", err, "NoSuchBucket", 404)
	_, err = w.c.DeleteBucket(ctx, &s3.DeleteBucketInput{Bucket: &none})
	wantCode(t, "DeleteBucket of none", err, "NoSuchBucket", 404)
	_, err = w.c.PutObject(ctx, &s3.PutObjectInput{Bucket: &none, Key: p("k")})
	wantCode(t, "PutObject into no bucket", err, "NoSuchBucket", 404)
	w.put("full", nil)
	_, err = w.c.DeleteBucket(ctx, &s3.DeleteBucketInput{Bucket: w.b})
	wantCode(t, "DeleteBucket of a full one", err, "BucketNotEmpty", 409)
	_, err = w.c.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: w.b, Key: p("full")})
	ok(t, "delete", err)
	for _, bad := range []string{"UPPER", "a.", "-a-bucket", "a..b", "192.168.1.1", strings.Repeat("x", 64), "under_score", "xn--bucket"} {
		_, err := w.c.CreateBucket(ctx, &s3.CreateBucketInput{Bucket: &bad})
		wantCode(t, "CreateBucket "+bad, err, "InvalidBucketName", 400)
	}
}

var sizes = []int{0, 1, 2047, 2048, 2049, 4095, 4096, 4097, 65535, 65536, 65537, 1<<20 - 1, 1 << 20, 1<<20 + 1, 4<<20 - 1, 4 << 20, 4<<20 + 1, 9<<20 + 5}

func TestSizes(t *testing.T) {
	w := newWorld(t)
	for _, n := range sizes {
		key, content := fmt.Sprintf("size-%d", n), noise(n)
		out := w.put(key, content)
		sum := md5.Sum(content)
		want := `"` + hex.EncodeToString(sum[:]) + `"`
		if *out.ETag != want {
			t.Errorf("size %d: ETag %s, want the MD5 %s", n, *out.ETag, want)
		}
		got, err := w.c.GetObject(ctx, &s3.GetObjectInput{Bucket: w.b, Key: &key})
		ok(t, key, err)
		b, err := io.ReadAll(got.Body)
		if err != nil || !bytes.Equal(b, content) || *got.ContentLength != int64(n) || *got.ETag != want {
			t.Errorf("size %d: %d bytes, %v, length %d, ETag %s", n, len(b), err, *got.ContentLength, *got.ETag)
		}
		head, err := w.c.HeadObject(ctx, &s3.HeadObjectInput{Bucket: w.b, Key: &key})
		ok(t, key, err)
		if *head.ContentLength != int64(n) || *head.ETag != want || *head.AcceptRanges != "bytes" || time.Since(*head.LastModified).Abs() > time.Hour {
			t.Errorf("size %d: HEAD says %d %s %v", n, *head.ContentLength, *head.ETag, head.LastModified)
		}
	}
}

func TestOverwriteAndDelete(t *testing.T) {
	w := newWorld(t)
	for i, n := range []int{10, 3 << 20, 0, 5000, 10} {
		content := noise(n + i)
		w.put("k", content)
		w.wantContent("k", content)
	}
	for range 2 { // deleting what is not there is done, too
		_, err := w.c.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: w.b, Key: p("k")})
		ok(t, "delete", err)
	}
	_, err := w.get("k")
	wantCode(t, "get after delete", err, "NoSuchKey", 404)
	_, err = w.c.HeadObject(ctx, &s3.HeadObjectInput{Bucket: w.b, Key: p("k")})
	wantCode(t, "head after delete", err, "NotFound", 404)
}

func TestHeadersAndMetadata(t *testing.T) {
	w := newWorld(t)
	expires := time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)
	_, err := w.c.PutObject(ctx, &s3.PutObjectInput{Bucket: w.b, Key: p("k"), Body: strings.NewReader("x"),
		ContentType: p("text/x-test; charset=utf-8"), ContentEncoding: p("gzip"), ContentLanguage: p("de, en"), ContentDisposition: p(`attachment; filename="a b"`),
		CacheControl: p("max-age=7"), Expires: &expires, Metadata: map[string]string{"plain": "value", "with-dash": "two words", "number": "0"}})
	ok(t, "put", err)
	h, err := w.c.HeadObject(ctx, &s3.HeadObjectInput{Bucket: w.b, Key: p("k")})
	ok(t, "head", err)
	if *h.ContentType != "text/x-test; charset=utf-8" || *h.ContentEncoding != "gzip" || *h.ContentLanguage != "de, en" || *h.CacheControl != "max-age=7" ||
		*h.ContentDisposition != `attachment; filename="a b"` || aws.ToString(h.ExpiresString) != expires.Format("Mon, 02 Jan 2006 15:04:05 GMT") {
		t.Errorf("headers %+v", h)
	}
	if len(h.Metadata) != 3 || h.Metadata["plain"] != "value" || h.Metadata["with-dash"] != "two words" || h.Metadata["number"] != "0" {
		t.Errorf("metadata %v", h.Metadata)
	}
	g, err := w.c.GetObject(ctx, &s3.GetObjectInput{Bucket: w.b, Key: p("k"), ResponseContentType: p("a/b"), ResponseCacheControl: p("no-store"),
		ResponseContentDisposition: p("inline"), ResponseContentEncoding: p("br"), ResponseContentLanguage: p("fr")})
	ok(t, "get", err)
	g.Body.Close()
	if *g.ContentType != "a/b" || *g.CacheControl != "no-store" || *g.ContentDisposition != "inline" || *g.ContentEncoding != "br" || *g.ContentLanguage != "fr" {
		t.Errorf("overridden headers %+v", g)
	}
	_, err = w.c.PutObject(ctx, &s3.PutObjectInput{Bucket: w.b, Key: p("big"), Metadata: map[string]string{"m": strings.Repeat("x", 2100)}})
	wantCode(t, "metadata over 2 KiB", err, "MetadataTooLarge", 400)
}

func TestContentMD5(t *testing.T) {
	w := newWorld(t)
	content := []byte("content")
	sum := md5.Sum(content)
	put := func(v string) error {
		_, err := w.c.PutObject(ctx, &s3.PutObjectInput{Bucket: w.b, Key: p("k"), Body: bytes.NewReader(content), ContentMD5: &v})
		return err
	}
	ok(t, "the right MD5", put(base64.StdEncoding.EncodeToString(sum[:])))
	sum[0] ^= 1
	wantCode(t, "a wrong MD5", put(base64.StdEncoding.EncodeToString(sum[:])), "BadDigest", 400)
	wantCode(t, "no MD5", put("what?"), "InvalidDigest", 400)
	w.wantContent("k", content)
}

func TestRanges(t *testing.T) {
	w := newWorld(t)
	for _, n := range []int{10, 2049, 5<<20 + 3} {
		content := noise(n)
		w.put("k", content)
		last := n - 1
		for r, want := range map[string][2]int{
			"bytes=0-0": {0, 1}, "bytes=0-": {0, n}, fmt.Sprintf("bytes=%d-", last): {last, n}, "bytes=-1": {last, n}, "bytes=-5": {n - 5, n},
			"bytes=3-7": {3, 8}, fmt.Sprintf("bytes=5-%d", n+100): {5, n}, fmt.Sprintf("bytes=-%d", n+100): {0, n}, fmt.Sprintf("bytes=%d-%d", n/2, n/2+3): {n / 2, n/2 + 4},
		} {
			out, err := w.c.GetObject(ctx, &s3.GetObjectInput{Bucket: w.b, Key: p("k"), Range: p(r)})
			if err != nil {
				t.Errorf("size %d, %s: %v", n, r, err)
				continue
			}
			b, err := io.ReadAll(out.Body)
			cr := fmt.Sprintf("bytes %d-%d/%d", want[0], want[1]-1, n)
			if err != nil || !bytes.Equal(b, content[want[0]:want[1]]) || aws.ToString(out.ContentRange) != cr {
				t.Errorf("size %d, %s: %d bytes, %v, Content-Range %s, want %s", n, r, len(b), err, aws.ToString(out.ContentRange), cr)
			}
		}
		for _, r := range []string{fmt.Sprintf("bytes=%d-", n), fmt.Sprintf("bytes=%d-%d", n+5, n+10), "bytes=-0"} {
			_, err := w.c.GetObject(ctx, &s3.GetObjectInput{Bucket: w.b, Key: p("k"), Range: p(r)})
			wantCode(t, r, err, "InvalidRange", 416)
		}
		for _, r := range []string{"bytes=7-3", "lines=1-2", "bytes=a-b", "bytes="} {
			out, err := w.c.GetObject(ctx, &s3.GetObjectInput{Bucket: w.b, Key: p("k"), Range: p(r)})
			if err != nil {
				t.Errorf("a range that makes no sense is to be ignored, %s: %v", r, err)
				continue
			}
			b, _ := io.ReadAll(out.Body)
			if len(b) != n {
				t.Errorf("%s: %d bytes", r, len(b))
			}
		}
	}
	w.put("empty", nil)
	_, err := w.c.GetObject(ctx, &s3.GetObjectInput{Bucket: w.b, Key: p("empty"), Range: p("bytes=0-0")})
	wantCode(t, "range of an empty object", err, "InvalidRange", 416)
}

func TestReadConditions(t *testing.T) {
	w := newWorld(t)
	etag := w.put("k", []byte("content")).ETag
	head, err := w.c.HeadObject(ctx, &s3.HeadObjectInput{Bucket: w.b, Key: p("k")})
	ok(t, "head", err)
	at := *head.LastModified
	before, after := at.Add(-time.Minute), at.Add(time.Second)
	other := p(`"00000000000000000000000000000000"`)
	for _, c := range []struct {
		what   string
		in     s3.GetObjectInput
		status int
	}{
		{"If-Match", s3.GetObjectInput{IfMatch: etag}, 200},
		{"If-Match without quotes", s3.GetObjectInput{IfMatch: p(strings.Trim(*etag, `"`))}, 200},
		{"If-Match *", s3.GetObjectInput{IfMatch: p("*")}, 200},
		{"If-Match another", s3.GetObjectInput{IfMatch: other}, 412},
		{"If-None-Match", s3.GetObjectInput{IfNoneMatch: etag}, 304},
		{"If-None-Match another", s3.GetObjectInput{IfNoneMatch: other}, 200},
		{"If-Modified-Since before", s3.GetObjectInput{IfModifiedSince: &before}, 200},
		{"If-Modified-Since now", s3.GetObjectInput{IfModifiedSince: &at}, 304},
		{"If-Unmodified-Since before", s3.GetObjectInput{IfUnmodifiedSince: &before}, 412},
		{"If-Unmodified-Since after", s3.GetObjectInput{IfUnmodifiedSince: &after}, 200},
		{"If-Match beats If-Unmodified-Since", s3.GetObjectInput{IfMatch: etag, IfUnmodifiedSince: &before}, 200},
		{"If-None-Match beats If-Modified-Since", s3.GetObjectInput{IfNoneMatch: etag, IfModifiedSince: &before}, 304},
	} {
		c.in.Bucket, c.in.Key = w.b, p("k")
		out, err := w.c.GetObject(ctx, &c.in)
		status := 200
		var resp interface{ HTTPStatusCode() int }
		if errors.As(err, &resp) {
			status = resp.HTTPStatusCode()
		} else if err != nil {
			t.Errorf("%s: %v", c.what, err)
		} else {
			out.Body.Close()
		}
		if status != c.status {
			t.Errorf("%s: status %d, want %d (%v)", c.what, status, c.status, err)
		}
	}
}

func TestWriteConditions(t *testing.T) {
	w := newWorld(t)
	put := func(key, match, noneMatch string) error {
		in := &s3.PutObjectInput{Bucket: w.b, Key: &key, Body: strings.NewReader("new" + match + noneMatch)}
		if match != "" {
			in.IfMatch = &match
		}
		if noneMatch != "" {
			in.IfNoneMatch = &noneMatch
		}
		_, err := w.c.PutObject(ctx, in)
		return err
	}
	ok(t, "If-None-Match * on nothing", put("k", "", "*"))
	wantCode(t, "If-None-Match * on a key", put("k", "", "*"), "PreconditionFailed", 412)
	etag := *w.put("k", []byte("now")).ETag
	wantCode(t, "If-Match another", put("k", `"00000000000000000000000000000000"`, ""), "PreconditionFailed", 412)
	w.wantContent("k", []byte("now"))
	ok(t, "If-Match", put("k", etag, ""))
	wantCode(t, "If-Match again", put("k", etag, ""), "PreconditionFailed", 412)
	wantCode(t, "If-Match on nothing", put("none", etag, ""), "NoSuchKey", 404)

	del := func(key, match string) error {
		_, err := w.c.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: w.b, Key: &key, IfMatch: &match})
		return err
	}
	wantCode(t, "delete If-Match another", del("k", etag), "PreconditionFailed", 412)
	etag = *w.put("k", []byte("last")).ETag
	ok(t, "delete If-Match", del("k", etag))
	_, err := w.get("k")
	wantCode(t, "get", err, "NoSuchKey", 404)

	// Of many who want to be first, one is.
	errs := make(chan error)
	for range 8 {
		go func() { errs <- put("race", "", "*") }()
	}
	won := 0
	for range 8 {
		if err := <-errs; err == nil {
			won++
		} else {
			var api interface{ ErrorCode() string }
			if !errors.As(err, &api) || api.ErrorCode() != "PreconditionFailed" && api.ErrorCode() != "ConditionalRequestConflict" {
				t.Errorf("a loser of the race: %v", err)
			}
		}
	}
	if won != 1 {
		t.Errorf("%d requests were the first", won)
	}
}

func TestCopy(t *testing.T) {
	w := newWorld(t)
	second := newWorld(t)
	for _, n := range []int{0, 100, 2049, 3 << 20} {
		content := noise(n)
		_, err := w.c.PutObject(ctx, &s3.PutObjectInput{Bucket: w.b, Key: p("src dir/ä+%"), Body: bytes.NewReader(content), ContentType: p("a/b"), Metadata: map[string]string{"m": "1"}})
		ok(t, "put", err)
		src := p(*w.b + "/src%20dir/%C3%A4%2B%25")
		out, err := w.c.CopyObject(ctx, &s3.CopyObjectInput{Bucket: second.b, Key: p("copy"), CopySource: src})
		ok(t, "copy", err)
		second.wantContent("copy", content)
		h, err := w.c.HeadObject(ctx, &s3.HeadObjectInput{Bucket: second.b, Key: p("copy")})
		ok(t, "head", err)
		if *h.ContentType != "a/b" || h.Metadata["m"] != "1" || *h.ETag != *out.CopyObjectResult.ETag {
			t.Errorf("the copy has type %s, metadata %v, ETag %s; the answer had %s", *h.ContentType, h.Metadata, *h.ETag, *out.CopyObjectResult.ETag)
		}
		_, err = w.c.CopyObject(ctx, &s3.CopyObjectInput{Bucket: second.b, Key: p("copy"), CopySource: src, MetadataDirective: types.MetadataDirectiveReplace,
			ContentType: p("c/d"), Metadata: map[string]string{"n": "2"}})
		ok(t, "copy with REPLACE", err)
		if h, err = w.c.HeadObject(ctx, &s3.HeadObjectInput{Bucket: second.b, Key: p("copy")}); err != nil || *h.ContentType != "c/d" || h.Metadata["n"] != "2" || h.Metadata["m"] != "" {
			t.Errorf("replaced: %v %v", h, err)
		}
		// The source may go, the copy stays.
		_, err = w.c.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: w.b, Key: p("src dir/ä+%")})
		ok(t, "delete", err)
		second.wantContent("copy", content)
	}
	etag := w.put("k", []byte("content")).ETag
	past, future := time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	_ = future
	other := p(`"00000000000000000000000000000000"`)
	src := p("/" + *w.b + "/k")
	for what, c := range map[string]struct {
		in   s3.CopyObjectInput
		code string
	}{
		"If-Match":                   {s3.CopyObjectInput{CopySourceIfMatch: etag}, ""},
		"If-Match another":           {s3.CopyObjectInput{CopySourceIfMatch: other}, "PreconditionFailed"},
		"If-None-Match":              {s3.CopyObjectInput{CopySourceIfNoneMatch: etag}, "PreconditionFailed"},
		"If-None-Match another":      {s3.CopyObjectInput{CopySourceIfNoneMatch: other}, ""},
		"If-Modified-Since":          {s3.CopyObjectInput{CopySourceIfModifiedSince: &past}, ""},
		"If-Unmodified-Since":        {s3.CopyObjectInput{CopySourceIfUnmodifiedSince: &past}, "PreconditionFailed"},
		"Match beats Unmodified":     {s3.CopyObjectInput{CopySourceIfMatch: etag, CopySourceIfUnmodifiedSince: &past}, ""},
		"None-Match beats Modified":  {s3.CopyObjectInput{CopySourceIfNoneMatch: etag, CopySourceIfModifiedSince: &past}, "PreconditionFailed"},
		"If-None-Match * on nothing": {s3.CopyObjectInput{IfNoneMatch: p("*")}, ""},
	} {
		key := "copy of " + what
		c.in.Bucket, c.in.Key, c.in.CopySource = w.b, &key, src
		_, err := w.c.CopyObject(ctx, &c.in)
		if c.code == "" {
			if err != nil {
				t.Errorf("copy with %s: %v", what, err)
			}
			continue
		}
		wantCode(t, "copy with "+what, err, c.code, 412)
	}
	_, err := w.c.CopyObject(ctx, &s3.CopyObjectInput{Bucket: w.b, Key: p("k"), CopySource: src})
	wantCode(t, "a copy onto itself", err, "InvalidRequest", 400)
	_, err = w.c.CopyObject(ctx, &s3.CopyObjectInput{Bucket: w.b, Key: p("k"), CopySource: src, MetadataDirective: types.MetadataDirectiveReplace, Metadata: map[string]string{"new": "1"}})
	ok(t, "a copy onto itself with REPLACE", err)
	if h, err := w.c.HeadObject(ctx, &s3.HeadObjectInput{Bucket: w.b, Key: p("k")}); err != nil || h.Metadata["new"] != "1" {
		t.Errorf("metadata %v, %v", h.Metadata, err)
	}
	w.wantContent("k", []byte("content"))
	_, err = w.c.CopyObject(ctx, &s3.CopyObjectInput{Bucket: w.b, Key: p("x"), CopySource: p(*w.b + "/none")})
	wantCode(t, "a copy of nothing", err, "NoSuchKey", 404)
	_, err = w.c.CopyObject(ctx, &s3.CopyObjectInput{Bucket: w.b, Key: p("x"), CopySource: p(bucketName() + "/none")})
	wantCode(t, "a copy from no bucket", err, "NoSuchBucket", 404)
}

func TestDeleteObjects(t *testing.T) {
	w := newWorld(t)
	var ids []types.ObjectIdentifier
	for i := range 30 {
		key := fmt.Sprintf("dir/%d <&>'\"", i)
		w.put(key, []byte("x"))
		ids = append(ids, types.ObjectIdentifier{Key: &key})
	}
	ids = append(ids, types.ObjectIdentifier{Key: p("none")})
	out, err := w.c.DeleteObjects(ctx, &s3.DeleteObjectsInput{Bucket: w.b, Delete: &types.Delete{Objects: ids[:10]}})
	ok(t, "delete", err)
	if len(out.Deleted) != 10 || len(out.Errors) != 0 || *out.Deleted[3].Key != *ids[3].Key {
		t.Errorf("deleted %d, errors %v", len(out.Deleted), out.Errors)
	}
	out, err = w.c.DeleteObjects(ctx, &s3.DeleteObjectsInput{Bucket: w.b, Delete: &types.Delete{Objects: ids[10:], Quiet: p(true)}})
	ok(t, "delete quietly", err)
	if len(out.Deleted) != 0 || len(out.Errors) != 0 {
		t.Errorf("quiet: deleted %v, errors %v", out.Deleted, out.Errors)
	}
	list, err := w.c.ListObjectsV2(ctx, &s3.ListObjectsV2Input{Bucket: w.b})
	if err != nil || len(list.Contents) != 0 {
		t.Errorf("%d are left, %v", len(list.Contents), err)
	}
	_, err = w.c.DeleteObjects(ctx, &s3.DeleteObjectsInput{Bucket: w.b, Delete: &types.Delete{Objects: make([]types.ObjectIdentifier, 0)}})
	wantCode(t, "a list of nothing", err, "MalformedXML", 400)
	many := make([]types.ObjectIdentifier, 1001)
	for i := range many {
		many[i].Key = p(fmt.Sprint(i))
	}
	_, err = w.c.DeleteObjects(ctx, &s3.DeleteObjectsInput{Bucket: w.b, Delete: &types.Delete{Objects: many}})
	wantCode(t, "1001 keys", err, "MalformedXML", 400)
	_, err = w.c.DeleteObjects(ctx, &s3.DeleteObjectsInput{Bucket: w.b, Delete: &types.Delete{Objects: many[:1000]}})
	ok(t, "1000 keys", err)
}
