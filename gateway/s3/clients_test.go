package s3

import (
	"bytes"
	"context"
	"crypto/tls"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/minio/minio-go/v7"
	miniocreds "github.com/minio/minio-go/v7/pkg/credentials"
)

// tlsRig serves the same gateway over TLS, where SDKs send their checksums
// in trailers.
func tlsRig(t *testing.T) *rig {
	r := newRig(t, nil)
	srv := httptest.NewTLSServer(r.g)
	t.Cleanup(srv.Close)
	r.srv.Close()
	r.srv = srv
	return r
}

func TestSDKOverTLS(t *testing.T) {
	r := tlsRig(t)
	c, ctx := r.sdk("AKALICE"), context.Background()
	b := aws.String("box")
	if _, err := c.CreateBucket(ctx, &awss3.CreateBucketInput{Bucket: b}); err != nil {
		t.Fatal(err)
	}
	for _, alg := range []types.ChecksumAlgorithm{types.ChecksumAlgorithmCrc32, types.ChecksumAlgorithmCrc32c, types.ChecksumAlgorithmCrc64nvme, types.ChecksumAlgorithmSha1, types.ChecksumAlgorithmSha256} {
		for _, n := range []int{0, 1, 5000, 300_000, 2 << 20} {
			in := random(n)
			if _, err := c.PutObject(ctx, &awss3.PutObjectInput{Bucket: b, Key: aws.String("k"), Body: bytes.NewReader(in), ChecksumAlgorithm: alg, ContentEncoding: aws.String("gzip")}); err != nil {
				t.Fatalf("%s, %d bytes: %v", alg, n, err)
			}
			got, err := c.GetObject(ctx, &awss3.GetObjectInput{Bucket: b, Key: aws.String("k"), ChecksumMode: types.ChecksumModeEnabled})
			if err != nil {
				t.Fatal(err)
			}
			out, err := io.ReadAll(got.Body)
			if err != nil || !bytes.Equal(in, out) || aws.ToString(got.ContentEncoding) != "gzip" {
				t.Fatalf("%s, %d bytes: %d bytes back, encoding %q, %v", alg, n, len(out), aws.ToString(got.ContentEncoding), err)
			}
		}
	}
}

func minioClient(t *testing.T, r *rig, o minio.Options) *minio.Client {
	t.Helper()
	u, err := url.Parse(r.srv.URL)
	if err != nil {
		t.Fatal(err)
	}
	o.Secure, o.Region = u.Scheme == "https", "us-east-1"
	if o.Secure {
		o.Transport = &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
	}
	c, err := minio.New(u.Host, &o)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// minio-go streams signed chunks over plain HTTP, adds signed trailers when
// asked to, and still speaks Version 2.
func TestMinioClient(t *testing.T) {
	v4 := miniocreds.NewStaticV4("AKALICE", "alice-secret-1", "")
	for name, tc := range map[string]struct {
		tls bool
		o   minio.Options
		sum minio.ChecksumType
	}{
		"signed chunks":           {o: minio.Options{Creds: v4}},
		"signed chunks, trailers": {o: minio.Options{Creds: v4, TrailingHeaders: true}, sum: minio.ChecksumCRC32C},
		"over TLS":                {tls: true, o: minio.Options{Creds: v4}},
		"trailers over TLS":       {tls: true, o: minio.Options{Creds: v4, TrailingHeaders: true}, sum: minio.ChecksumSHA256},
		"full-object checksum":    {o: minio.Options{Creds: v4, TrailingHeaders: true}, sum: minio.ChecksumFullObjectCRC32C},
		"CRC64NVME":               {o: minio.Options{Creds: v4, TrailingHeaders: true}, sum: minio.ChecksumCRC64NVME},
		"version 2":               {o: minio.Options{Creds: miniocreds.NewStaticV2("AKALICE", "alice-secret-1", "")}},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, nil)
			if tc.tls {
				r = tlsRig(t)
			}
			c, ctx := minioClient(t, r, tc.o), context.Background()
			if err := c.MakeBucket(ctx, "box", minio.MakeBucketOptions{}); err != nil {
				t.Fatal(err)
			}
			for _, n := range []int{0, 1, 64 << 10, 65<<10 + 1, 5<<20 + 3} {
				in := random(n)
				info, err := c.PutObject(ctx, "box", "dir/a b+c", bytes.NewReader(in), int64(n),
					minio.PutObjectOptions{PartSize: 5 << 20, Checksum: tc.sum, UserMetadata: map[string]string{"x": "y"}})
				if err != nil {
					t.Fatalf("%d bytes: %v", n, err)
				}
				o, err := c.GetObject(ctx, "box", "dir/a b+c", minio.GetObjectOptions{Checksum: tc.sum.IsSet()})
				if err != nil {
					t.Fatal(err)
				}
				out, err := io.ReadAll(o)
				if err != nil || !bytes.Equal(in, out) {
					t.Fatalf("%d bytes: %d back, %v", n, len(out), err)
				}
				st, err := o.Stat()
				if err != nil || st.ETag != info.ETag || st.UserMetadata["X"] != "y" {
					t.Fatalf("%d bytes: stat %+v, %v", n, st, err)
				}
			}
			for o := range c.ListObjects(ctx, "box", minio.ListObjectsOptions{Recursive: true}) {
				if o.Err != nil || o.Key != "dir/a b+c" {
					t.Fatalf("list: %+v", o)
				}
			}
			u, err := c.PresignedGetObject(ctx, "box", "dir/a b+c", time.Minute, url.Values{"response-content-type": {"text/z"}})
			if err != nil {
				t.Fatal(err)
			}
			resp, err := (&http.Client{Transport: r.srv.Client().Transport}).Get(u.String())
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			if resp.StatusCode != 200 || resp.Header.Get("Content-Type") != "text/z" {
				t.Fatalf("presigned: %v", resp.Header)
			}
			if err := c.RemoveObject(ctx, "box", "dir/a b+c", minio.RemoveObjectOptions{}); err != nil {
				t.Fatal(err)
			}
		})
	}
}

func TestSDKPresignedPut(t *testing.T) {
	r := newRig(t, nil)
	r.must(200, "PUT", "/box", nil)
	p := awss3.NewPresignClient(r.sdk("AKALICE"))
	req, err := p.PresignPutObject(context.Background(), &awss3.PutObjectInput{Bucket: aws.String("box"), Key: aws.String("k")})
	if err != nil {
		t.Fatal(err)
	}
	hr, err := http.NewRequest("PUT", req.URL, bytes.NewReader([]byte("hello")))
	if err != nil {
		t.Fatal(err)
	}
	for k, v := range req.SignedHeader {
		hr.Header[k] = v
	}
	if a := r.do(hr); a.code != 200 {
		t.Fatalf("%d %s", a.code, a.body)
	}
	if a := r.must(200, "GET", "/box/k", nil); a.body != "hello" {
		t.Fatal(a.body)
	}
}
