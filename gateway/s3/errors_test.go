package s3

import (
	"bytes"
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/spirula/spirula/gateway/s3/internal/body"
	"github.com/spirula/spirula/mds"
	"github.com/spirula/spirula/rados/wire"
)

type errorDoc struct {
	Code, Message, Resource, RequestId, HostId, Key, BucketName string
}

// wantError insists on a complete error document.
func wantError(t *testing.T, name string, a answer, status int, code string) {
	t.Helper()
	var d errorDoc
	if err := xml.Unmarshal([]byte(a.body), &d); err != nil {
		t.Errorf("%s: %d %q is no error document: %v", name, a.code, a.body, err)
		return
	}
	if a.code != status || d.Code != code {
		t.Errorf("%s: %d %s (%s), want %d %s", name, a.code, d.Code, d.Message, status, code)
	}
	if d.Message == "" || d.Resource == "" || d.RequestId == "" || d.RequestId != a.head.Get("X-Amz-Request-Id") || d.HostId != a.head.Get("X-Amz-Id-2") {
		t.Errorf("%s: incomplete: %s", name, a.body)
	}
	if a.head.Get("Content-Type") != "application/xml" {
		t.Errorf("%s: content type %q", name, a.head.Get("Content-Type"))
	}
}

const deleteDoc = `<Delete><Object><Key>a</Key></Object></Delete>`

func TestErrorsOfRequests(t *testing.T) {
	r := newRig(t, func(o *Options) { o.Region = "us-east-1" })
	r.must(200, "PUT", "/box", nil)
	r.must(200, "PUT", "/box/k", []byte("hello"))
	up := uploadID(t, r.must(200, "POST", "/box/up?uploads", nil))
	crcUp := uploadID(t, r.must(200, "POST", "/box/up?uploads", nil, "x-amz-checksum-algorithm", "CRC32"))
	r.must(200, "PUT", "/box/up?uploadId="+up+"&partNumber=1", []byte("small"))
	r.must(200, "PUT", "/box/up?uploadId="+up+"&partNumber=2", []byte("small"))
	part := func(n int, etag string) string {
		return fmt.Sprintf("<Part><PartNumber>%d</PartNumber><ETag>%s</ETag></Part>", n, etag)
	}
	const small = "eb5c1399a871211c7e7ed732d15e3a8b" // MD5 of "small"
	complete := func(parts ...string) []byte {
		return []byte("<CompleteMultipartUpload>" + strings.Join(parts, "") + "</CompleteMultipartUpload>")
	}
	long := strings.Repeat("k", 1025)
	for _, tc := range []struct {
		name, method, target string
		body                 string
		headers              []string
		status               int
		code                 string
	}{
		{"bucket that isn't there", "GET", "/nobox", "", nil, 404, "NoSuchBucket"},
		{"object in it", "GET", "/nobox/k", "", nil, 404, "NoSuchBucket"},
		{"upload into it", "PUT", "/nobox/k", "x", nil, 404, "NoSuchBucket"},
		{"key that isn't there", "GET", "/box/none", "", nil, 404, "NoSuchKey"},
		{"version", "GET", "/box/k?versionId=abc", "", nil, 404, "NoSuchVersion"},
		{"empty version", "GET", "/box/k?versionId=", "", nil, 400, "InvalidArgument"},
		{"key of 1025 bytes", "PUT", "/box/" + long, "", nil, 400, "KeyTooLongError"},
		{"key of bad UTF-8", "PUT", "/box/%ff", "", nil, 400, "InvalidURI"},
		{"method", "PATCH", "/box/k", "", nil, 405, "MethodNotAllowed"},
		{"POST without purpose", "POST", "/box/k", "", nil, 405, "MethodNotAllowed"},
		{"PUT on nothing", "PUT", "/", "", nil, 405, "MethodNotAllowed"},
		{"empty bucket name", "GET", "//k", "", nil, 400, "InvalidBucketName"},
		{"upper-case bucket", "PUT", "/Box", "", nil, 400, "InvalidBucketName"},
		{"bucket like an address", "PUT", "/1.2.3.4", "", nil, 400, "InvalidBucketName"},
		{"own bucket again", "PUT", "/box", "", nil, 409, "BucketAlreadyOwnedByYou"},
		{"location that is none", "PUT", "/box2", "<CreateBucketConfiguration><LocationConstraint>a b</LocationConstraint></CreateBucketConfiguration>", nil, 400, "IllegalLocationConstraintException"},
		{"bucket document that is none", "PUT", "/box2", "<x/>", nil, 400, "MalformedXML"},
		{"full bucket", "DELETE", "/box", "", nil, 409, "BucketNotEmpty"},
		{"max-keys", "GET", "/box?max-keys=x", "", nil, 400, "InvalidArgument"},
		{"max-keys below zero", "GET", "/box?list-type=2&max-keys=-1", "", nil, 400, "InvalidArgument"},
		{"encoding-type", "GET", "/box?encoding-type=x", "", nil, 400, "InvalidArgument"},
		{"list-type", "GET", "/box?list-type=3", "", nil, 400, "InvalidArgument"},
		{"token", "GET", "/box?list-type=2&continuation-token=!", "", nil, 400, "InvalidArgument"},
		{"empty token", "GET", "/box?list-type=2&continuation-token=", "", nil, 400, "InvalidArgument"},
		{"max-buckets", "GET", "/?max-buckets=0", "", nil, 400, "InvalidArgument"},
		{"MD5 that is none", "PUT", "/box/x", "a", []string{"Content-MD5", "abc"}, 400, "InvalidDigest"},
		{"MD5 of something else", "PUT", "/box/x", "a", []string{"Content-MD5", "1B2M2Y8AsgTpgAmY7PhCfg=="}, 400, "BadDigest"},
		{"SHA-256 of something else", "PUT", "/box/x", "a", []string{"X-Amz-Content-Sha256", strings.Repeat("0", 64)}, 400, "XAmzContentSHA256Mismatch"},
		{"SHA-256 that is none", "PUT", "/box/x", "a", []string{"X-Amz-Content-Sha256", "abc"}, 400, "InvalidArgument"},
		{"checksum of something else", "PUT", "/box/x", "a", []string{"X-Amz-Checksum-Crc32", "AAAAAA=="}, 400, "BadDigest"},
		{"checksum that is none", "PUT", "/box/x", "a", []string{"X-Amz-Checksum-Crc32", "AAAA"}, 400, "InvalidRequest"},
		{"two checksums", "PUT", "/box/x", "a", []string{"X-Amz-Checksum-Crc32", "AAAAAA==", "X-Amz-Checksum-Crc32c", "AAAAAA=="}, 400, "InvalidRequest"},
		{"unknown checksum", "PUT", "/box/x", "a", []string{"X-Amz-Checksum-Md4", "AAAAAA=="}, 400, "InvalidRequest"},
		{"checksum promised and not sent", "PUT", "/box/x", "a", []string{"X-Amz-Sdk-Checksum-Algorithm", "CRC32"}, 400, "InvalidRequest"},
		{"trailer of a plain body", "PUT", "/box/x", "a", []string{"X-Amz-Trailer", "x-amz-checksum-crc32"}, 400, "InvalidRequest"},
		{"streamed without length", "PUT", "/box/x", "0\r\n\r\n", []string{"X-Amz-Content-Sha256", "STREAMING-UNSIGNED-PAYLOAD-TRAILER"}, 411, "MissingContentLength"},
		{"streamed, too long", "PUT", "/box/x", "1\r\na\r\n0\r\n\r\n", []string{"X-Amz-Content-Sha256", "STREAMING-UNSIGNED-PAYLOAD-TRAILER", "X-Amz-Decoded-Content-Length", "5368709121"}, 400, "EntityTooLarge"},
		{"streamed, framing", "PUT", "/box/x", "zz\r\na\r\n0\r\n\r\n", []string{"X-Amz-Content-Sha256", "STREAMING-UNSIGNED-PAYLOAD-TRAILER", "X-Amz-Decoded-Content-Length", "1"}, 400, "InvalidRequest"},
		{"streamed, short", "PUT", "/box/x", "1\r\na\r\n0\r\n\r\n", []string{"X-Amz-Content-Sha256", "STREAMING-UNSIGNED-PAYLOAD-TRAILER", "X-Amz-Decoded-Content-Length", "2"}, 400, "IncompleteBody"},
		{"streamed, trailer missing", "PUT", "/box/x", "1\r\na\r\n0\r\n\r\n", []string{"X-Amz-Content-Sha256", "STREAMING-UNSIGNED-PAYLOAD-TRAILER", "X-Amz-Decoded-Content-Length", "1", "X-Amz-Trailer", "x-amz-checksum-crc32"}, 400, "MalformedTrailerError"},
		{"streamed, trailer wrong", "PUT", "/box/x", "1\r\na\r\n0\r\nx-amz-checksum-crc32:AAAAAA==\r\n\r\n", []string{"X-Amz-Content-Sha256", "STREAMING-UNSIGNED-PAYLOAD-TRAILER", "X-Amz-Decoded-Content-Length", "1", "X-Amz-Trailer", "x-amz-checksum-crc32"}, 400, "BadDigest"},
		{"streamed, chunk signature", "PUT", "/box/x", "1;chunk-signature=" + strings.Repeat("0", 64) + "\r\na\r\n", []string{"X-Amz-Content-Sha256", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD", "X-Amz-Decoded-Content-Length", "1"}, 403, "SignatureDoesNotMatch"},
		{"too much metadata", "PUT", "/box/x", "a", []string{"X-Amz-Meta-A", strings.Repeat("v", 2048)}, 400, "MetadataTooLarge"},
		{"storage class", "PUT", "/box/x", "a", []string{"X-Amz-Storage-Class", "FAST"}, 400, "InvalidStorageClass"},
		{"public ACL", "PUT", "/box/x", "a", []string{"X-Amz-Acl", "public-read"}, 400, "AccessControlListNotSupported"},
		{"encryption", "PUT", "/box/x", "a", []string{"X-Amz-Server-Side-Encryption", "AES256"}, 501, "NotImplemented"},
		{"lock", "PUT", "/box/x", "a", []string{"X-Amz-Object-Lock-Mode", "GOVERNANCE"}, 400, "InvalidRequest"},
		{"If-None-Match: *", "PUT", "/box/k", "a", []string{"If-None-Match", "*"}, 412, "PreconditionFailed"},
		{"If-Match, other", "PUT", "/box/k", "a", []string{"If-Match", `"x"`}, 412, "PreconditionFailed"},
		{"If-Match, nothing there", "PUT", "/box/none", "a", []string{"If-Match", `"x"`}, 404, "NoSuchKey"},
		{"delete If-Match, other", "DELETE", "/box/k", "", []string{"If-Match", `"x"`}, 412, "PreconditionFailed"},
		{"delete If-Match, nothing there", "DELETE", "/box/none", "", []string{"If-Match", "*"}, 404, "NoSuchKey"},
		{"delete by size", "DELETE", "/box/k", "", []string{"X-Amz-If-Match-Size", "9"}, 412, "PreconditionFailed"},
		{"range behind the end", "GET", "/box/k", "", []string{"Range", "bytes=5-"}, 416, "InvalidRange"},
		{"suffix of nothing", "GET", "/box/k", "", []string{"Range", "bytes=-0"}, 416, "InvalidRange"},
		{"part 2 of one", "GET", "/box/k?partNumber=2", "", nil, 416, "InvalidPartNumber"},
		{"part 0", "GET", "/box/k?partNumber=0", "", nil, 400, "InvalidArgument"},
		{"part and range", "GET", "/box/k?partNumber=1", "", []string{"Range", "bytes=0-1"}, 400, "InvalidRequest"},
		{"override with a line break", "GET", "/box/k?response-content-type=a%0d%0ab", "", nil, 400, "InvalidArgument"},
		{"attributes of nothing", "GET", "/box/k?attributes", "", nil, 400, "InvalidRequest"},
		{"delete without digest", "POST", "/box?delete", deleteDoc, nil, 400, "InvalidRequest"},
		{"delete, no XML", "POST", "/box?delete", "<Delete>", []string{"Content-MD5", md5Of("<Delete>")}, 400, "MalformedXML"},
		{"delete, nothing", "POST", "/box?delete", "<Delete></Delete>", []string{"Content-MD5", md5Of("<Delete></Delete>")}, 400, "MalformedXML"},
		{"copy of nothing", "PUT", "/box/c", "", []string{"X-Amz-Copy-Source", "/box/none"}, 404, "NoSuchKey"},
		{"copy from nowhere", "PUT", "/box/c", "", []string{"X-Amz-Copy-Source", "/nobox/k"}, 404, "NoSuchBucket"},
		{"copy source without key", "PUT", "/box/c", "", []string{"X-Amz-Copy-Source", "box"}, 400, "InvalidArgument"},
		{"copy source escape", "PUT", "/box/c", "", []string{"X-Amz-Copy-Source", "box/%zz"}, 400, "InvalidArgument"},
		{"copy onto itself", "PUT", "/box/k", "", []string{"X-Amz-Copy-Source", "box/k"}, 400, "InvalidRequest"},
		{"copy directive", "PUT", "/box/c", "", []string{"X-Amz-Copy-Source", "box/k", "X-Amz-Metadata-Directive", "X"}, 400, "InvalidArgument"},
		{"copy if none match", "PUT", "/box/c", "", []string{"X-Amz-Copy-Source", "box/k", "X-Amz-Copy-Source-If-None-Match", "*"}, 412, "PreconditionFailed"},
		{"upload that isn't there", "PUT", "/box/up?uploadId=x&partNumber=1", "a", nil, 404, "NoSuchUpload"},
		{"its parts", "GET", "/box/up?uploadId=x", "", nil, 404, "NoSuchUpload"},
		{"its end", "DELETE", "/box/up?uploadId=x", "", nil, 404, "NoSuchUpload"},
		{"part number 0", "PUT", "/box/up?uploadId=" + up + "&partNumber=0", "a", nil, 400, "InvalidArgument"},
		{"part number 10001", "PUT", "/box/up?uploadId=" + up + "&partNumber=10001", "a", nil, 400, "InvalidArgument"},
		{"no part number", "PUT", "/box/up?uploadId=" + up, "a", nil, 400, "InvalidRequest"},
		{"part of another algorithm", "PUT", "/box/up?uploadId=" + crcUp + "&partNumber=1", "a", []string{"X-Amz-Checksum-Sha1", "AAAAAAAAAAAAAAAAAAAAAAAAAAA="}, 400, "InvalidRequest"},
		{"complete with nothing", "POST", "/box/up?uploadId=" + up, string(complete()), nil, 400, "MalformedXML"},
		{"complete out of order", "POST", "/box/up?uploadId=" + up, string(complete(part(2, small), part(1, small))), nil, 400, "InvalidPartOrder"},
		{"complete with another ETag", "POST", "/box/up?uploadId=" + up, string(complete(part(1, "x"))), nil, 400, "InvalidPart"},
		{"complete with a part too many", "POST", "/box/up?uploadId=" + up, string(complete(part(3, small))), nil, 400, "InvalidPart"},
		{"complete with small parts", "POST", "/box/up?uploadId=" + up, string(complete(part(1, small), part(2, small))), nil, 400, "EntityTooSmall"},
		{"complete to another size", "POST", "/box/up?uploadId=" + up, string(complete(part(1, small))), []string{"X-Amz-Mp-Object-Size", "6"}, 400, "InvalidRequest"},
		{"checksum type without algorithm", "POST", "/box/up?uploads", "", []string{"X-Amz-Checksum-Type", "FULL_OBJECT"}, 400, "InvalidRequest"},
		{"full-object SHA", "POST", "/box/up?uploads", "", []string{"X-Amz-Checksum-Algorithm", "SHA1", "X-Amz-Checksum-Type", "FULL_OBJECT"}, 400, "InvalidRequest"},
		{"composite CRC64", "POST", "/box/up?uploads", "", []string{"X-Amz-Checksum-Algorithm", "CRC64NVME", "X-Amz-Checksum-Type", "COMPOSITE"}, 400, "InvalidRequest"},
		{"token of a session", "GET", "/box", "", []string{"X-Amz-Security-Token", "x"}, 400, "InvalidToken"},
		{"other owner expected", "GET", "/box", "", []string{"X-Amz-Expected-Bucket-Owner", "bob"}, 403, "AccessDenied"},
		{"tags", "GET", "/box?tagging", "", nil, 404, "NoSuchTagSet"},
		{"policy", "GET", "/box?policy", "", nil, 404, "NoSuchBucketPolicy"},
		{"lifecycle", "GET", "/box?lifecycle", "", nil, 404, "NoSuchLifecycleConfiguration"},
		{"CORS", "GET", "/box?cors", "", nil, 404, "NoSuchCORSConfiguration"},
		{"encryption configuration", "GET", "/box?encryption", "", nil, 404, "ServerSideEncryptionConfigurationNotFoundError"},
		{"lock configuration", "GET", "/box?object-lock", "", nil, 404, "ObjectLockConfigurationNotFoundError"},
		{"setting versioning", "PUT", "/box?versioning", "<x/>", nil, 501, "NotImplemented"},
		{"preflight", "OPTIONS", "/box/k", "", nil, 403, "AccessForbidden"},
	} {
		wantError(t, tc.name, r.do(r.signed(tc.method, tc.target, []byte(tc.body), tc.headers...)), tc.status, tc.code)
	}
}

// Every kind of error has a row, and every row a status and a message.
func TestErrorTables(t *testing.T) {
	for code, info := range codes {
		if info.status < 300 || info.status > 599 || info.message == "" {
			t.Errorf("%s: %+v", code, info)
		}
	}
	for kind, code := range kinds {
		if _, ok := codes[code]; !ok {
			t.Errorf("%v leads to %s, which is no code", kind, code)
		}
	}
	for _, tc := range []struct {
		err  error
		code string
	}{
		{mds.ErrPrecondition, "PreconditionFailed"}, {mds.ErrNoBucket, "NoSuchBucket"}, {mds.ErrNoUpload, "NoSuchUpload"},
		{mds.ErrInvalidPart, "InvalidPart"}, {mds.ErrPartOrder, "InvalidPartOrder"}, {mds.ErrPartTooSmall, "EntityTooSmall"}, {mds.ErrBadChecksum, "BadDigest"},
		{wire.Wrap("x", "y", mds.ErrNoUpload), "NoSuchUpload"}, {wire.Errorf("x", "y", wire.ENOENT), "NoSuchKey"}, {wire.Errorf("x", "y", wire.ENOSPC), "InsufficientStorage"},
		{wire.Errorf("x", "y", wire.EIO), "InternalError"}, {errors.New("unheard of"), "InternalError"}, {io.ErrUnexpectedEOF, "IncompleteBody"},
		{bodyError(body.ErrLength), "IncompleteBody"}, {bodyError(io.EOF), "IncompleteBody"}, {bodyError(timeoutError{}), "RequestTimeout"}, {context.DeadlineExceeded, "ServiceUnavailable"},
	} {
		if got := toAPI(tc.err); got.code != tc.code {
			t.Errorf("%v: %s, want %s", tc.err, got.code, tc.code)
		}
	}
}

type timeoutError struct{}

func (timeoutError) Error() string   { return "timeout" }
func (timeoutError) Timeout() bool   { return true }
func (timeoutError) Temporary() bool { return true }

func TestHeadErrorsHaveNoBody(t *testing.T) {
	r := newRig(t, nil)
	r.must(200, "PUT", "/box", nil)
	for target, status := range map[string]int{"/box/none": 404, "/nobox": 404, "/nobox/k": 404} {
		a := r.do(r.signed("HEAD", target, nil))
		if a.code != status || a.body != "" || a.head.Get("X-Amz-Request-Id") == "" {
			t.Errorf("HEAD %s: %d %q", target, a.code, a.body)
		}
	}
}

func TestAccess(t *testing.T) {
	r := newRig(t, nil)
	r.must(200, "PUT", "/alices", nil)
	r.must(200, "PUT", "/alices/k", []byte("x"))
	if _, err := r.fs.CreateBucket(context.Background(), mds.Cred{}, mds.Bucket{Name: "bynfs", UID: 1001}); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		who, method, target string
		status              int
		code                string
	}{
		{"AKBOB", "GET", "/alices", 403, "AccessDenied"},
		{"AKBOB", "GET", "/alices/k", 403, "AccessDenied"},
		{"AKBOB", "PUT", "/alices/k", 403, "AccessDenied"},
		{"AKBOB", "DELETE", "/alices", 403, "AccessDenied"},
		{"AKBOB", "PUT", "/alices", 409, "BucketAlreadyExists"},
		{"AKROOT", "GET", "/alices/k", 200, ""},
		{"AKBOB", "GET", "/bynfs", 200, ""},
		{"AKALICE", "GET", "/bynfs", 403, "AccessDenied"},
	} {
		a := r.do(r.signedAs(tc.who, tc.method, tc.target, nil))
		if tc.code != "" {
			wantError(t, tc.who+" "+tc.method+" "+tc.target, a, tc.status, tc.code)
		} else if a.code != tc.status {
			t.Errorf("%s %s %s: %d", tc.who, tc.method, tc.target, a.code)
		}
	}
	for who, want := range map[string]string{"AKALICE": "alices", "AKBOB": "bynfs", "AKROOT": ""} {
		a := r.do(r.signedAs(who, "GET", "/", nil))
		for _, b := range []string{"alices", "bynfs"} {
			if strings.Contains(a.body, "<Name>"+b+"</Name>") != (b == want) {
				t.Errorf("%s lists %s", who, a.body)
			}
		}
	}
	copyReq := r.signedAs("AKBOB", "PUT", "/bynfs/c", nil, "X-Amz-Copy-Source", "alices/k")
	wantError(t, "copy of another's", r.do(copyReq), 403, "AccessDenied")
	anon, _ := http.NewRequest("GET", r.srv.URL+"/alices/k", nil)
	broken, _ := http.NewRequest("GET", r.srv.URL+"/alices?prefix=%zz", nil)
	wantError(t, "query with a bad escape", r.do(broken), 400, "InvalidArgument")
	wantError(t, "anonymous", r.do(anon), 403, "AccessDenied")
	stranger := r.signed("GET", "/alices/k", nil)
	stranger.Header.Set("Authorization", strings.Replace(stranger.Header.Get("Authorization"), "AKALICE", "AKNOBODY", 1))
	wantError(t, "unknown key", r.do(stranger), 403, "InvalidAccessKeyId")
	forged := r.signed("GET", "/alices/k", nil)
	forged.URL.Path = "/alices/other"
	wantError(t, "forged", r.do(forged), 403, "SignatureDoesNotMatch")
}

func TestSkewedClock(t *testing.T) {
	now := time.Now()
	r := newRig(t, func(o *Options) { o.Now = func() time.Time { return now } })
	req := r.signed("GET", "/", nil)
	now = now.Add(16 * time.Minute)
	wantError(t, "16 minutes old", r.do(req), 403, "RequestTimeTooSkewed")
}

// A read that fails half way must not look like a short object.
func TestFailedReadCutsTheConnection(t *testing.T) {
	r := newRig(t, nil)
	r.must(200, "PUT", "/box", nil)
	r.must(200, "PUT", "/box/k", random(4<<20))
	r.fs.failFrom(2<<20, wire.Errorf("mem.read", "k", wire.EIO))
	resp, err := r.srv.Client().Do(r.signed("GET", "/box/k", nil))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	n, err := io.Copy(io.Discard, resp.Body)
	if err == nil || n >= 4<<20 || resp.ContentLength != 4<<20 {
		t.Fatalf("%d of %d bytes, then %v", n, resp.ContentLength, err)
	}
	r.fs.failFrom(0, wire.Errorf("mem.read", "k", wire.EIO))
	wantError(t, "fails at once", r.do(r.signed("GET", "/box/k", nil)), 500, "InternalError")
}

func FuzzXMLBodies(f *testing.F) {
	f.Add([]byte(deleteDoc))
	f.Add([]byte(`<?xml version="1.0"?><CompleteMultipartUpload xmlns="x"><Part><PartNumber>1</PartNumber><ETag>"a"</ETag></Part></CompleteMultipartUpload>`))
	f.Add([]byte(`<CreateBucketConfiguration><LocationConstraint>eu</LocationConstraint></CreateBucketConfiguration>`))
	f.Fuzz(func(t *testing.T, doc []byte) {
		var d deleteXML
		var c completeXML
		for root, v := range map[string]any{"Delete": &d, "CompleteMultipartUpload": &c} {
			if err := decodeXML(doc, root, v); err == nil && !bytes.Contains(doc, []byte(root)) {
				t.Fatalf("%q was taken for a %s", doc, root)
			} else if err != nil && toAPI(err).code != "MalformedXML" {
				t.Fatalf("%v", err)
			}
		}
	})
}
