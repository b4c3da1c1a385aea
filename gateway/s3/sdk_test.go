package s3

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go"
)

func random(n int) []byte {
	b := make([]byte, n)
	rand.New(rand.NewSource(int64(n))).Read(b)
	return b
}

// code is the S3 code of an SDK error.
func code(err error) string {
	var e smithy.APIError
	if errors.As(err, &e) {
		return e.ErrorCode()
	}
	return fmt.Sprint(err)
}

func TestSDKPutGetListDelete(t *testing.T) {
	r := newRig(t, nil)
	c, ctx := r.sdk("AKALICE"), context.Background()
	if _, err := c.CreateBucket(ctx, &awss3.CreateBucketInput{Bucket: aws.String("box")}); err != nil {
		t.Fatal(err)
	}
	keys := []string{"a", "a/b", "a//b", ".", "..", "../x", "dir/", "/lead", "sp ace+plus", "%2F%zz", "ünï/☃", "q?x=1&y#z", "it's (a) *!~"}
	sizes := []int{0, 1, 4096, 70_000, 256 << 10, 256<<10 + 1, 1 << 20, 3<<20 + 17, 0, 5, 6, 7, 8}
	for i, k := range keys {
		in := random(sizes[i])
		put, err := c.PutObject(ctx, &awss3.PutObjectInput{Bucket: aws.String("box"), Key: aws.String(k), Body: bytes.NewReader(in),
			ContentType: aws.String("text/x"), Metadata: map[string]string{"Colour": "blue"}})
		if err != nil {
			t.Fatalf("put %q: %v", k, err)
		}
		got, err := c.GetObject(ctx, &awss3.GetObjectInput{Bucket: aws.String("box"), Key: aws.String(k), ChecksumMode: types.ChecksumModeEnabled})
		if err != nil {
			t.Fatalf("get %q: %v", k, err)
		}
		out, err := io.ReadAll(got.Body)
		if err != nil || !bytes.Equal(in, out) {
			t.Fatalf("get %q: %d bytes, %v; put %d", k, len(out), err, len(in))
		}
		if *got.ETag != *put.ETag || *got.ContentType != "text/x" || got.Metadata["colour"] != "blue" || got.ChecksumCRC32 == nil {
			t.Fatalf("get %q: %+v", k, got)
		}
	}
	var listed []string
	p := awss3.NewListObjectsV2Paginator(c, &awss3.ListObjectsV2Input{Bucket: aws.String("box"), MaxKeys: aws.Int32(3)})
	for p.HasMorePages() {
		page, err := p.NextPage(ctx)
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range page.Contents {
			listed = append(listed, *o.Key)
		}
	}
	if len(listed) != len(keys) {
		t.Fatalf("listed %q", listed)
	}
	if _, err := c.DeleteBucket(ctx, &awss3.DeleteBucketInput{Bucket: aws.String("box")}); code(err) != "BucketNotEmpty" {
		t.Fatalf("delete of a full bucket: %v", err)
	}
	var ids []types.ObjectIdentifier
	for _, k := range listed[1:] {
		ids = append(ids, types.ObjectIdentifier{Key: aws.String(k)})
	}
	del, err := c.DeleteObjects(ctx, &awss3.DeleteObjectsInput{Bucket: aws.String("box"), Delete: &types.Delete{Objects: ids}})
	if err != nil || len(del.Deleted) != len(ids) || len(del.Errors) != 0 {
		t.Fatalf("delete objects: %+v, %v", del, err)
	}
	if _, err := c.DeleteObject(ctx, &awss3.DeleteObjectInput{Bucket: aws.String("box"), Key: &listed[0]}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.GetObject(ctx, &awss3.GetObjectInput{Bucket: aws.String("box"), Key: &listed[0]}); code(err) != "NoSuchKey" {
		t.Fatalf("get of a deleted key: %v", err)
	}
	if _, err := c.DeleteBucket(ctx, &awss3.DeleteBucketInput{Bucket: aws.String("box")}); err != nil {
		t.Fatal(err)
	}
}

func TestSDKMultipart(t *testing.T) {
	for _, alg := range []types.ChecksumAlgorithm{"", types.ChecksumAlgorithmCrc32, types.ChecksumAlgorithmCrc32c, types.ChecksumAlgorithmSha1, types.ChecksumAlgorithmSha256, types.ChecksumAlgorithmCrc64nvme} {
		for _, kind := range []types.ChecksumType{"", types.ChecksumTypeFullObject} {
			if kind == types.ChecksumTypeFullObject && (alg == "" || alg[0] == 'S') {
				continue
			}
			t.Run(string(alg)+" "+string(kind), func(t *testing.T) { multipart(t, alg, kind) })
		}
	}
}

func multipart(t *testing.T, alg types.ChecksumAlgorithm, kind types.ChecksumType) {
	r := newRig(t, nil)
	c, ctx := r.sdk("AKALICE"), context.Background()
	b, k := aws.String("box"), aws.String("big/file")
	if _, err := c.CreateBucket(ctx, &awss3.CreateBucketInput{Bucket: b}); err != nil {
		t.Fatal(err)
	}
	up, err := c.CreateMultipartUpload(ctx, &awss3.CreateMultipartUploadInput{Bucket: b, Key: k, ChecksumAlgorithm: alg, ChecksumType: kind})
	if err != nil {
		t.Fatal(err)
	}
	whole := random(11 << 20)
	var parts []types.CompletedPart
	for i, piece := range [][]byte{whole[:5<<20], whole[5<<20 : 10<<20], whole[10<<20:]} {
		n := aws.Int32(int32(2*i + 1))
		p, err := c.UploadPart(ctx, &awss3.UploadPartInput{Bucket: b, Key: k, UploadId: up.UploadId, PartNumber: n, Body: bytes.NewReader(piece), ChecksumAlgorithm: alg})
		if err != nil {
			t.Fatal(err)
		}
		parts = append(parts, types.CompletedPart{PartNumber: n, ETag: p.ETag, ChecksumCRC32: p.ChecksumCRC32, ChecksumCRC32C: p.ChecksumCRC32C,
			ChecksumSHA1: p.ChecksumSHA1, ChecksumSHA256: p.ChecksumSHA256, ChecksumCRC64NVME: p.ChecksumCRC64NVME})
	}
	list, err := c.ListParts(ctx, &awss3.ListPartsInput{Bucket: b, Key: k, UploadId: up.UploadId})
	if err != nil || len(list.Parts) != 3 {
		t.Fatalf("list parts: %+v, %v", list, err)
	}
	ups, err := c.ListMultipartUploads(ctx, &awss3.ListMultipartUploadsInput{Bucket: b})
	if err != nil || len(ups.Uploads) != 1 {
		t.Fatalf("list uploads: %+v, %v", ups, err)
	}
	done, err := c.CompleteMultipartUpload(ctx, &awss3.CompleteMultipartUploadInput{Bucket: b, Key: k, UploadId: up.UploadId, MultipartUpload: &types.CompletedMultipartUpload{Parts: parts}})
	if err != nil {
		t.Fatal(err)
	}
	// The SDK checks full-object values against the bytes as it reads.
	got, err := c.GetObject(ctx, &awss3.GetObjectInput{Bucket: b, Key: k, ChecksumMode: types.ChecksumModeEnabled})
	if err != nil {
		t.Fatal(err)
	}
	out, err := io.ReadAll(got.Body)
	if err != nil || !bytes.Equal(out, whole) || *got.ETag != *done.ETag {
		t.Fatalf("%d bytes, %v", len(out), err)
	}
	part, err := c.GetObject(ctx, &awss3.GetObjectInput{Bucket: b, Key: k, PartNumber: aws.Int32(2)})
	if err != nil {
		t.Fatal(err)
	}
	out, err = io.ReadAll(part.Body)
	if err != nil || !bytes.Equal(out, whole[5<<20:10<<20]) || *part.PartsCount != 3 {
		t.Fatalf("part 2: %d bytes, %v", len(out), err)
	}
}
