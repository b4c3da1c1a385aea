package s3

import (
	"bytes"
	"crypto/md5"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
)

const minPart = 5 << 20

func (w *world) create(key string) *string {
	w.Helper()
	out, err := w.c.CreateMultipartUpload(ctx, &s3.CreateMultipartUploadInput{Bucket: w.b, Key: &key, ContentType: p("a/b"), Metadata: map[string]string{"m": "1"}})
	ok(w.T, "CreateMultipartUpload", err)
	return out.UploadId
}

func (w *world) part(key string, id *string, n int32, content []byte) types.CompletedPart {
	w.Helper()
	out, err := w.c.UploadPart(ctx, &s3.UploadPartInput{Bucket: w.b, Key: &key, UploadId: id, PartNumber: &n, Body: bytes.NewReader(content)})
	ok(w.T, "UploadPart", err)
	return types.CompletedPart{PartNumber: &n, ETag: out.ETag}
}

func (w *world) complete(key string, id *string, parts ...types.CompletedPart) (*s3.CompleteMultipartUploadOutput, error) {
	return w.c.CompleteMultipartUpload(ctx, &s3.CompleteMultipartUploadInput{Bucket: w.b, Key: &key, UploadId: id,
		MultipartUpload: &types.CompletedMultipartUpload{Parts: parts}})
}

func TestMultipart(t *testing.T) {
	w := newWorld(t)
	id := w.create("k")
	contents := [][]byte{noise(minPart), noise(minPart + 4097), noise(77)}
	parts := make([]types.CompletedPart, 3)
	for _, i := range []int{2, 0, 1} { // numbers with holes, in any order
		parts[i] = w.part("k", id, int32(1+3*i), contents[i])
	}
	w.part("k", id, 4, noise(5)) // replaced by the next
	parts[1] = w.part("k", id, 4, contents[1])
	if _, err := w.get("k"); err == nil {
		t.Error("the object is there before it is complete")
	}
	out, err := w.complete("k", id, parts...)
	ok(t, "complete", err)
	var sums []byte
	for _, c := range contents {
		s := md5.Sum(c)
		sums = append(sums, s[:]...)
	}
	all := md5.Sum(sums)
	if want := `"` + hex.EncodeToString(all[:]) + `-3"`; *out.ETag != want {
		t.Errorf("ETag %s, want %s", *out.ETag, want)
	}
	if !strings.Contains(aws.ToString(out.Location), *w.b) || *out.Bucket != *w.b || *out.Key != "k" {
		t.Errorf("answer %+v", out)
	}
	w.wantContent("k", slices.Concat(contents...))
	h, err := w.c.HeadObject(ctx, &s3.HeadObjectInput{Bucket: w.b, Key: p("k")})
	if err != nil || *h.ContentType != "a/b" || h.Metadata["m"] != "1" || *h.ETag != *out.ETag {
		t.Errorf("head %+v %v", h, err)
	}
	for i, c := range contents {
		g, err := w.c.GetObject(ctx, &s3.GetObjectInput{Bucket: w.b, Key: p("k"), PartNumber: p(int32(i + 1))})
		if err != nil {
			// Numbers with holes are not positions.
			continue
		}
		g.Body.Close()
		if i == 0 && (*g.ContentLength != int64(len(c)) || aws.ToInt32(g.PartsCount) != 3) {
			t.Errorf("part %d: %d bytes of %d, parts %d", i+1, *g.ContentLength, len(c), aws.ToInt32(g.PartsCount))
		}
	}
	// Completing again is the same answer or no upload, never a second object.
	if again, err := w.complete("k", id, parts...); err == nil && *again.ETag != *out.ETag {
		t.Errorf("completed again: %s", *again.ETag)
	} else if err != nil {
		wantCode(t, "completed again", err, "NoSuchUpload", 404)
	}
	w.wantContent("k", slices.Concat(contents...))
}

func TestMultipartErrors(t *testing.T) {
	w := newWorld(t)
	id := w.create("k")
	big := w.part("k", id, 1, noise(minPart))
	small := w.part("k", id, 2, noise(100))
	last := w.part("k", id, 3, noise(100))
	_, err := w.complete("k", id, big, small, last)
	wantCode(t, "a small part in the middle", err, "EntityTooSmall", 400)
	_, err = w.complete("k", id, last, big)
	wantCode(t, "parts out of order", err, "InvalidPartOrder", 400)
	_, err = w.complete("k", id, big, big)
	wantCode(t, "a part twice", err, "InvalidPartOrder", 400)
	_, err = w.complete("k", id, types.CompletedPart{PartNumber: p(int32(1)), ETag: small.ETag})
	wantCode(t, "a wrong ETag", err, "InvalidPart", 400)
	_, err = w.complete("k", id, big, types.CompletedPart{PartNumber: p(int32(9)), ETag: small.ETag})
	wantCode(t, "a part that is not there", err, "InvalidPart", 400)
	_, err = w.complete("k", id)
	wantCode(t, "no parts", err, "MalformedXML", 400)
	_, err = w.complete("k", p("no-such-upload"), big)
	wantCode(t, "no such upload", err, "NoSuchUpload", 404)
	_, err = w.complete("other", id, big)
	wantCode(t, "the upload of another key", err, "NoSuchUpload", 404)
	for _, n := range []int32{0, -1, 10001} {
		_, err = w.c.UploadPart(ctx, &s3.UploadPartInput{Bucket: w.b, Key: p("k"), UploadId: id, PartNumber: &n})
		wantCode(t, fmt.Sprint("part number ", n), err, "InvalidArgument", 400)
	}
	_, err = w.c.UploadPart(ctx, &s3.UploadPartInput{Bucket: w.b, Key: p("k"), UploadId: p("none"), PartNumber: p(int32(1))})
	wantCode(t, "a part of no upload", err, "NoSuchUpload", 404)
	// After all that it can still be completed, with some of the parts.
	_, err = w.complete("k", id, big, last)
	ok(t, "complete", err)
	w.wantContent("k", slices.Concat(noise(minPart), noise(100)))
	id = w.create("k2")
	w.part("k2", id, 1, noise(10))
	_, err = w.c.AbortMultipartUpload(ctx, &s3.AbortMultipartUploadInput{Bucket: w.b, Key: p("k2"), UploadId: id})
	ok(t, "abort", err)
	_, err = w.c.AbortMultipartUpload(ctx, &s3.AbortMultipartUploadInput{Bucket: w.b, Key: p("k2"), UploadId: id})
	if err != nil {
		wantCode(t, "abort again", err, "NoSuchUpload", 404)
	}
	_, err = w.c.ListParts(ctx, &s3.ListPartsInput{Bucket: w.b, Key: p("k2"), UploadId: id})
	wantCode(t, "parts of an aborted upload", err, "NoSuchUpload", 404)
	_, err = w.get("k2")
	wantCode(t, "an aborted object", err, "NoSuchKey", 404)
}

func TestCompleteConditions(t *testing.T) {
	w := newWorld(t)
	complete := func(match, none *string) error {
		id := w.create("k")
		part := w.part("k", id, 1, noise(10))
		_, err := w.c.CompleteMultipartUpload(ctx, &s3.CompleteMultipartUploadInput{Bucket: w.b, Key: p("k"), UploadId: id, IfMatch: match, IfNoneMatch: none,
			MultipartUpload: &types.CompletedMultipartUpload{Parts: []types.CompletedPart{part}}})
		return err
	}
	ok(t, "If-None-Match * on nothing", complete(nil, p("*")))
	wantCode(t, "If-None-Match * on a key", complete(nil, p("*")), "PreconditionFailed", 412)
	etag := w.put("k", []byte("x")).ETag
	wantCode(t, "If-Match another", complete(p(`"00000000000000000000000000000000"`), nil), "PreconditionFailed", 412)
	ok(t, "If-Match", complete(etag, nil))
	w.wantContent("k", noise(10))
}

func TestListPartsAndUploads(t *testing.T) {
	w := newWorld(t)
	id := w.create("dir/k")
	for n := int32(1); n <= 7; n++ {
		w.part("dir/k", id, n*2, noise(int(n)))
	}
	var numbers []int32
	in := &s3.ListPartsInput{Bucket: w.b, Key: p("dir/k"), UploadId: id, MaxParts: p(int32(3))}
	for {
		out, err := w.c.ListParts(ctx, in)
		ok(t, "ListParts", err)
		for _, part := range out.Parts {
			numbers = append(numbers, *part.PartNumber)
			if *part.Size != int64(*part.PartNumber/2) || part.ETag == nil || part.LastModified == nil {
				t.Errorf("part %+v", part)
			}
		}
		if !aws.ToBool(out.IsTruncated) {
			break
		}
		in.PartNumberMarker = out.NextPartNumberMarker
	}
	if fmt.Sprint(numbers) != "[2 4 6 8 10 12 14]" {
		t.Errorf("parts %v", numbers)
	}
	want := []string{"dir/k"}
	for _, k := range []string{"a", "b/1", "b/2", "c"} {
		w.create(k)
		want = append(want, k)
	}
	w.create("a")
	want = append(want, "a")
	slices.Sort(want)
	var got []string
	uin := &s3.ListMultipartUploadsInput{Bucket: w.b, MaxUploads: p(int32(2))}
	for range 20 {
		out, err := w.c.ListMultipartUploads(ctx, uin)
		ok(t, "ListMultipartUploads", err)
		for _, u := range out.Uploads {
			got = append(got, *u.Key)
		}
		if !aws.ToBool(out.IsTruncated) {
			break
		}
		uin.KeyMarker, uin.UploadIdMarker = out.NextKeyMarker, out.NextUploadIdMarker
	}
	if !slices.Equal(got, want) {
		t.Errorf("uploads of %v, want %v", got, want)
	}
	out, err := w.c.ListMultipartUploads(ctx, &s3.ListMultipartUploadsInput{Bucket: w.b, Delimiter: p("/"), Prefix: p("")})
	ok(t, "ListMultipartUploads", err)
	if len(out.Uploads) != 3 || len(out.CommonPrefixes) != 2 || *out.CommonPrefixes[0].Prefix != "b/" {
		t.Errorf("with a delimiter: %d uploads, prefixes %v", len(out.Uploads), out.CommonPrefixes)
	}
}

func TestUploadPartCopy(t *testing.T) {
	w := newWorld(t)
	src := noise(12 << 20)
	etag := w.put("src", src).ETag
	id := w.create("k")
	in := func(n int32, r string) *s3.UploadPartCopyInput {
		c := &s3.UploadPartCopyInput{Bucket: w.b, Key: p("k"), UploadId: id, PartNumber: &n, CopySource: p(*w.b + "/src")}
		if r != "" {
			c.CopySourceRange = &r
		}
		return c
	}
	var parts []types.CompletedPart
	var want []byte
	for i, r := range []string{"bytes=0-5242879", "bytes=1000001-7000000", ""} {
		out, err := w.c.UploadPartCopy(ctx, in(int32(i+1), r))
		ok(t, "UploadPartCopy "+r, err)
		parts = append(parts, types.CompletedPart{PartNumber: p(int32(i + 1)), ETag: out.CopyPartResult.ETag})
	}
	want = slices.Concat(src[:5242880], src[1000001:7000001], src)
	_, err := w.complete("k", id, parts...)
	ok(t, "complete", err)
	_, err = w.c.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: w.b, Key: p("src")})
	ok(t, "delete the source", err)
	w.wantContent("k", want)

	w.put("src", src[:100])
	id = w.create("k")
	for _, r := range []string{"bytes=0-100", "bytes=200-300"} {
		_, err = w.c.UploadPartCopy(ctx, in(1, r))
		// S3 says 400 InvalidArgument or 416 InvalidRange, by how far off it is.
		if err == nil {
			t.Errorf("a copy of %s of 100 bytes was done", r)
		}
	}
	_, err = w.c.UploadPartCopy(ctx, in(1, "0-5"))
	wantCode(t, "a copy range that is none", err, "InvalidArgument", 400)
	c := in(1, "")
	c.CopySourceIfMatch = etag
	_, err = w.c.UploadPartCopy(ctx, c)
	wantCode(t, "If-Match another", err, "PreconditionFailed", 412)
	c = in(1, "")
	c.CopySource = p(*w.b + "/none")
	_, err = w.c.UploadPartCopy(ctx, c)
	wantCode(t, "a copy of nothing", err, "NoSuchKey", 404)
}
