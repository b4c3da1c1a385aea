package s3

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"io"
	mrand "math/rand/v2"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go"

	"github.com/spirula/spirula/conformance/launch"
)

var (
	endpoint  = flag.String("s3.endpoint", os.Getenv("SPIRULA_TEST_S3_ENDPOINT"), "URL of the server to test; empty: start one")
	accessKey = flag.String("s3.access-key", os.Getenv("SPIRULA_TEST_S3_ACCESS_KEY"), "access key")
	secretKey = flag.String("s3.secret-key", os.Getenv("SPIRULA_TEST_S3_SECRET_KEY"), "secret key")
	domain    = flag.String("s3.domain", "", "domain of virtual-host style requests; empty: not tested on a foreign server")
)

const region = "us-east-1"

// own is the server that was started for the suite; nil for a foreign one.
var own *launch.Server

var ownDir string // its files

func TestMain(m *testing.M) { os.Exit(testMain(m)) }

func testMain(m *testing.M) int {
	code := launch.Main(m)
	if own != nil {
		own.Kill()
		if code != 0 {
			fmt.Fprintf(os.Stderr, "the end of the server's log:\n%s\n", own.Tail())
		}
		os.RemoveAll(ownDir)
	}
	return code
}

// start makes sure that there is a server, before a test's first request. It
// is not for TestMain: what go test's cache of results depends on must be
// asked for in a test.
var start = sync.OnceValue(func() (err error) {
	if *endpoint != "" {
		return nil
	}
	if ownDir, err = os.MkdirTemp("", "spirula-s3-"); err != nil {
		return err
	}
	*domain = "s3.test"
	s, err := launch.New(ownDir, "--domain", *domain)
	if err != nil {
		return err
	}
	own = s
	*endpoint, *accessKey, *secretKey = "http://"+s.S3, launch.AccessKey, launch.SecretKey
	return s.Up()
})

var ctx = context.Background()

func client(access, secret string) *s3.Client {
	return s3.New(s3.Options{
		BaseEndpoint: endpoint, UsePathStyle: true, Region: region, RetryMaxAttempts: 1,
		Credentials:                credentials.NewStaticCredentialsProvider(access, secret, ""),
		RequestChecksumCalculation: aws.RequestChecksumCalculationWhenRequired,
		ResponseChecksumValidation: aws.ResponseChecksumValidationWhenRequired,
	})
}

func bucketName() string {
	b := make([]byte, 8)
	rand.Read(b)
	return "conf-" + hex.EncodeToString(b)
}

// world is a client and a bucket for one test.
type world struct {
	*testing.T
	c *s3.Client
	b *string
}

func newWorld(t *testing.T) *world {
	t.Helper()
	ok(t, "start", start())
	w := &world{t, client(*accessKey, *secretKey), aws.String(bucketName())}
	if _, err := w.c.CreateBucket(ctx, &s3.CreateBucketInput{Bucket: w.b}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.empty(*w.b) })
	return w
}

// empty removes a bucket with all that is in it.
func (w *world) empty(bucket string) {
	ups, err := w.c.ListMultipartUploads(ctx, &s3.ListMultipartUploadsInput{Bucket: &bucket})
	if err == nil {
		for _, u := range ups.Uploads {
			w.c.AbortMultipartUpload(ctx, &s3.AbortMultipartUploadInput{Bucket: &bucket, Key: u.Key, UploadId: u.UploadId})
		}
	}
	for {
		// Keys that XML can't carry come encoded.
		out, err := w.c.ListObjectsV2(ctx, &s3.ListObjectsV2Input{Bucket: &bucket, EncodingType: types.EncodingTypeUrl})
		if err != nil || len(out.Contents) == 0 {
			break
		}
		for _, o := range out.Contents {
			key := unescape(w.T, *o.Key)
			if _, err := w.c.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: &bucket, Key: &key}); err != nil {
				w.Errorf("remove %q: %v", key, err)
				return
			}
		}
	}
	if _, err := w.c.DeleteBucket(ctx, &s3.DeleteBucketInput{Bucket: &bucket}); err != nil {
		w.Errorf("remove the bucket: %v", err)
	}
}

func (w *world) put(key string, content []byte) *s3.PutObjectOutput {
	w.Helper()
	out, err := w.c.PutObject(ctx, &s3.PutObjectInput{Bucket: w.b, Key: &key, Body: bytes.NewReader(content)})
	if err != nil {
		w.Fatalf("put %q: %v", key, err)
	}
	return out
}

func (w *world) get(key string) ([]byte, error) {
	out, err := w.c.GetObject(ctx, &s3.GetObjectInput{Bucket: w.b, Key: &key})
	if err != nil {
		return nil, err
	}
	defer out.Body.Close()
	return io.ReadAll(out.Body)
}

func (w *world) wantContent(key string, want []byte) {
	w.Helper()
	got, err := w.get(key)
	if err != nil || !bytes.Equal(got, want) {
		w.Errorf("get %q: %d bytes, %v; want %d", key, len(got), err, len(want))
	}
}

// wantCode checks an error's S3 code and HTTP status.
func wantCode(t *testing.T, what string, err error, code string, status int) {
	t.Helper()
	var api smithy.APIError
	var resp interface{ HTTPStatusCode() int }
	if err == nil {
		t.Errorf("%s: done, want %s", what, code)
		return
	}
	if !errors.As(err, &api) || api.ErrorCode() != code {
		t.Errorf("%s: %v, want %s", what, err, code)
	}
	if !errors.As(err, &resp) || resp.HTTPStatusCode() != status {
		t.Errorf("%s: %v, want status %d", what, err, status)
	}
}

func ok(t *testing.T, what string, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
}

// noise is n bytes that nothing shrinks; the same for the same n.
func noise(n int) []byte {
	b := make([]byte, n)
	mrand.NewChaCha8([32]byte{byte(n), byte(n >> 8), byte(n >> 16)}).Read(b)
	return b
}

func unescape(t *testing.T, s string) string {
	t.Helper()
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '+':
			b.WriteByte(' ')
		case s[i] == '%' && i+2 < len(s):
			x, err := hex.DecodeString(s[i+1 : i+3])
			if err != nil {
				t.Fatalf("bad escape in %q", s)
			}
			b.Write(x)
			i += 2
		default:
			b.WriteByte(s[i])
		}
	}
	return b.String()
}

func p[T any](v T) *T { return &v }

var httpClient = &http.Client{Transport: &http.Transport{DisableCompression: true}}
