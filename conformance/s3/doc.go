// Package s3 holds a suite for any S3 endpoint, on aws-sdk-go-v2, with raw
// requests where the SDK can't or won't say what is to be tested.
//
//	go test ./conformance/s3                            a spirula of its own
//	go test ./conformance/s3 -s3.endpoint http://HOST:9000 -s3.access-key K -s3.secret-key S
//
// SPIRULA_TEST_S3_ENDPOINT, _ACCESS_KEY and _SECRET_KEY set the same. Each test
// makes buckets of its own and removes them.
package s3
