package s3

import (
	"bytes"
	"encoding/json"
	"io"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/minio/minio-go/v7"
	mcred "github.com/minio/minio-go/v7/pkg/credentials"
)

// TestUsers: what one user has is closed to another.
func TestUsers(t *testing.T) {
	ok(t, "start", start())
	if own == nil {
		t.Skip("users are made by spirula's own commands")
	}
	type user struct {
		Keys []struct {
			AccessKey string `json:"access_key"`
			SecretKey string `json:"secret_key"`
		} `json:"keys"`
	}
	add := func(name string) *s3.Client {
		out, stderr, err := own.Run(nil, "user", "add", name, "--uid", "1234", "--dir", own.Dir, "-o", "json")
		var u user
		if err != nil || json.Unmarshal([]byte(out), &u) != nil || len(u.Keys) != 1 {
			t.Fatalf("user add: %v %s %s", err, out, stderr)
		}
		return client(u.Keys[0].AccessKey, u.Keys[0].SecretKey)
	}
	ann, bob := add("ann"), add("bob")
	b := bucketName()
	_, err := ann.CreateBucket(ctx, &s3.CreateBucketInput{Bucket: &b})
	ok(t, "ann's bucket", err)
	_, err = ann.PutObject(ctx, &s3.PutObjectInput{Bucket: &b, Key: p("k"), Body: bytes.NewReader([]byte("x"))})
	ok(t, "ann's object", err)
	_, err = bob.GetObject(ctx, &s3.GetObjectInput{Bucket: &b, Key: p("k")})
	wantCode(t, "bob reads", err, "AccessDenied", 403)
	_, err = bob.PutObject(ctx, &s3.PutObjectInput{Bucket: &b, Key: p("k2")})
	wantCode(t, "bob writes", err, "AccessDenied", 403)
	_, err = bob.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: &b, Key: p("k")})
	wantCode(t, "bob deletes", err, "AccessDenied", 403)
	_, err = bob.ListObjectsV2(ctx, &s3.ListObjectsV2Input{Bucket: &b})
	wantCode(t, "bob lists", err, "AccessDenied", 403)
	_, err = bob.DeleteBucket(ctx, &s3.DeleteBucketInput{Bucket: &b})
	wantCode(t, "bob removes the bucket", err, "AccessDenied", 403)
	_, err = bob.CreateBucket(ctx, &s3.CreateBucketInput{Bucket: &b})
	wantCode(t, "bob makes it again", err, "BucketAlreadyExists", 409)
	list, err := bob.ListBuckets(ctx, &s3.ListBucketsInput{})
	if err != nil || len(list.Buckets) != 0 {
		t.Errorf("bob sees %d buckets, %v", len(list.Buckets), err)
	}
	mine := bucketName()
	_, err = bob.CreateBucket(ctx, &s3.CreateBucketInput{Bucket: &mine})
	ok(t, "bob's bucket", err)
	_, err = bob.CopyObject(ctx, &s3.CopyObjectInput{Bucket: &mine, Key: p("stolen"), CopySource: p(b + "/k")})
	wantCode(t, "bob copies", err, "AccessDenied", 403)
	for _, x := range []struct {
		c      *s3.Client
		bucket string
	}{{ann, b}, {bob, mine}} {
		(&world{t, x.c, &x.bucket}).empty(x.bucket)
	}
	for _, name := range []string{"ann", "bob"} {
		if _, stderr, err := own.Run(nil, "user", "rm", name, "--dir", own.Dir); err != nil {
			t.Errorf("user rm: %v %s", err, stderr)
		}
	}
	_, err = ann.ListBuckets(ctx, &s3.ListBucketsInput{})
	wantCode(t, "a removed user", err, "InvalidAccessKeyId", 403)
}

// TestMinioClient does a round with another library: signed chunks, its own
// multipart, listings of version 1.
func TestMinioClient(t *testing.T) {
	w := newWorld(t)
	c, err := minio.New((*endpoint)[len("http://"):], &minio.Options{Creds: mcred.NewStaticV4(*accessKey, *secretKey, "")})
	ok(t, "minio", err)
	for _, n := range []int{0, 1000, 1 << 20, 70 << 20} {
		content := noise(n)
		if _, err := c.PutObject(ctx, *w.b, "dir/k", bytes.NewReader(content), int64(n), minio.PutObjectOptions{UserMetadata: map[string]string{"m": "1"}}); err != nil {
			t.Fatalf("put of %d: %v", n, err)
		}
		o, err := c.GetObject(ctx, *w.b, "dir/k", minio.GetObjectOptions{})
		ok(t, "get", err)
		b, err := io.ReadAll(o)
		if err != nil || !bytes.Equal(b, content) {
			t.Errorf("%d bytes of %d, %v", len(b), n, err)
		}
	}
	info, err := c.StatObject(ctx, *w.b, "dir/k", minio.StatObjectOptions{})
	if err != nil || info.Size != 70<<20 || info.UserMetadata["M"] != "1" {
		t.Errorf("stat %+v, %v", info, err)
	}
	var keys []string
	for o := range c.ListObjects(ctx, *w.b, minio.ListObjectsOptions{Recursive: true, UseV1: true}) {
		ok(t, "list", o.Err)
		keys = append(keys, o.Key)
	}
	if len(keys) != 1 || keys[0] != "dir/k" {
		t.Errorf("listed %q", keys)
	}
	ok(t, "remove", c.RemoveObject(ctx, *w.b, "dir/k", minio.RemoveObjectOptions{}))
}
