package nfs

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/spirula/spirula/conformance/launch"
)

func TestMain(m *testing.M) { os.Exit(launch.Main(m)) }

// need skips a test whose surroundings are missing, or fails it where
// SPIRULA_CLIENTS=1 says that they must be there.
func need(t *testing.T, missing error) {
	t.Helper()
	asked := os.Getenv("SPIRULA_CLIENTS") == "1"
	switch {
	case missing != nil && asked:
		t.Fatal(missing)
	case missing != nil:
		t.Skip(missing)
	case !asked:
		t.Skip("set SPIRULA_CLIENTS=1 to run this")
	}
}

func s3Client(s *launch.Server) *s3.Client {
	return s3.New(s3.Options{
		BaseEndpoint: aws.String("http://" + s.S3), UsePathStyle: true, Region: "us-east-1",
		Credentials: credentials.NewStaticCredentialsProvider(launch.AccessKey, launch.SecretKey, ""),
	})
}

func putObject(c *s3.Client, bucket, key string, content []byte) error {
	_, err := c.PutObject(context.Background(), &s3.PutObjectInput{Bucket: &bucket, Key: &key, Body: bytes.NewReader(content)})
	return err
}

func getObject(c *s3.Client, bucket, key string) ([]byte, error) {
	out, err := c.GetObject(context.Background(), &s3.GetObjectInput{Bucket: &bucket, Key: &key})
	if err != nil {
		return nil, err
	}
	defer out.Body.Close()
	return io.ReadAll(out.Body)
}

func makeBucket(t *testing.T, c *s3.Client, name string) {
	t.Helper()
	if _, err := c.CreateBucket(context.Background(), &s3.CreateBucketInput{Bucket: &name}); err != nil {
		t.Fatal(err)
	}
}

// hasObject compares an object with what it should be.
func hasObject(c *s3.Client, bucket, key, want string) error {
	got, err := getObject(c, bucket, key)
	if err != nil {
		return fmt.Errorf("get %s/%s: %w", bucket, key, err)
	}
	if string(got) != want {
		return fmt.Errorf("%s/%s holds %q, want %q", bucket, key, got, want)
	}
	return nil
}
