package sig

import (
	"crypto/sha256"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// The known answers are the worked examples of Amazon's signing guides.
const (
	access = "AKIAIOSFODNN7EXAMPLE"
	secret = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
	empty  = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
)

var may24 = time.Date(2013, 5, 24, 0, 0, 0, 0, time.UTC)

func newRequest(method, url string, headers ...string) *http.Request {
	r := httptest.NewRequest(method, url, nil)
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	return r
}

func authorization(signed, signature string) string {
	return "AWS4-HMAC-SHA256 Credential=" + access + "/20130524/us-east-1/s3/aws4_request, SignedHeaders=" + signed + ", Signature=" + signature
}

// verify runs the three steps as the gateway does.
func verify(r *http.Request, bucket, secret string, o Options) (*Auth, error) {
	q, err := ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, err
	}
	a, err := Parse(r, q, o)
	if err != nil {
		return nil, err
	}
	return &a, a.Verify(r, q, bucket, secret, new(Keys))
}

func code(err error) string {
	var e *Error
	if errors.As(err, &e) {
		return e.Code
	}
	if err != nil {
		return err.Error()
	}
	return ""
}

func example(name string) *http.Request {
	const host = "http://examplebucket.s3.amazonaws.com"
	switch name {
	case "GET object":
		return newRequest("GET", host+"/test.txt", "Range", "bytes=0-9", "X-Amz-Content-Sha256", empty, "X-Amz-Date", "20130524T000000Z",
			"Authorization", authorization("host;range;x-amz-content-sha256;x-amz-date", "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"))
	case "PUT object":
		return newRequest("PUT", host+"/test$file.text", "Date", "Fri, 24 May 2013 00:00:00 GMT", "X-Amz-Date", "20130524T000000Z",
			"X-Amz-Storage-Class", "REDUCED_REDUNDANCY", "X-Amz-Content-Sha256", "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072",
			"Authorization", authorization("date;host;x-amz-content-sha256;x-amz-date;x-amz-storage-class", "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd"))
	case "GET lifecycle":
		return newRequest("GET", host+"/?lifecycle", "X-Amz-Content-Sha256", empty, "X-Amz-Date", "20130524T000000Z",
			"Authorization", authorization("host;x-amz-content-sha256;x-amz-date", "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"))
	case "list":
		return newRequest("GET", host+"/?max-keys=2&prefix=J", "X-Amz-Content-Sha256", empty, "X-Amz-Date", "20130524T000000Z",
			"Authorization", authorization("host;x-amz-content-sha256;x-amz-date", "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"))
	case "presigned":
		return newRequest("GET", host+"/test.txt?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential="+access+
			"%2F20130524%2Fus-east-1%2Fs3%2Faws4_request&X-Amz-Date=20130524T000000Z&X-Amz-Expires=86400&X-Amz-SignedHeaders=host"+
			"&X-Amz-Signature=aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404")
	}
	panic(name)
}

var examples = []string{"GET object", "PUT object", "GET lifecycle", "list", "presigned"}

func TestKnownAnswersV4(t *testing.T) {
	o := Options{Region: "us-east-1", Now: may24}
	for _, name := range examples {
		if _, err := verify(example(name), "examplebucket", secret, o); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := verify(example(name), "examplebucket", secret+"x", o); code(err) != "SignatureDoesNotMatch" {
			t.Errorf("%s with another secret: %v", name, err)
		}
	}
}

// Whatever of a signed request is changed, it is refused.
func TestEveryChangeIsSeen(t *testing.T) {
	o := Options{Region: "us-east-1", Now: may24}
	for name, change := range map[string]func(*http.Request){
		"method": func(r *http.Request) { r.Method = "DELETE" },
		"path":   func(r *http.Request) { r.URL.Path += "x" },
		"host":   func(r *http.Request) { r.Host = "other" },
		"query":  func(r *http.Request) { r.URL.RawQuery += "&acl" },
	} {
		for _, ex := range examples {
			r := example(ex)
			change(r)
			if _, err := verify(r, "examplebucket", secret, o); code(err) != "SignatureDoesNotMatch" {
				t.Errorf("%s, %s changed: %v", ex, name, err)
			}
		}
	}
	r := example("GET object")
	r.Header.Set("Range", "bytes=0-99")
	if _, err := verify(r, "", secret, o); code(err) != "SignatureDoesNotMatch" {
		t.Errorf("signed header changed: %v", err)
	}
	r = example("GET object")
	r.Header.Set("X-Amz-Acl", "public-read")
	if _, err := verify(r, "", secret, o); code(err) != "AccessDenied" {
		t.Errorf("x-amz- header added: %v", err)
	}
}

func TestChunkChain(t *testing.T) {
	r := newRequest("PUT", "http://s3.amazonaws.com/examplebucket/chunkObject.txt", "X-Amz-Date", "20130524T000000Z",
		"X-Amz-Storage-Class", "REDUCED_REDUNDANCY", "X-Amz-Content-Sha256", StreamSigned, "Content-Encoding", "aws-chunked",
		"X-Amz-Decoded-Content-Length", "66560", "Content-Length", "66824",
		"Authorization", authorization("content-encoding;content-length;host;x-amz-content-sha256;x-amz-date;x-amz-decoded-content-length;x-amz-storage-class",
			"4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9"))
	a, err := verify(r, "", secret, Options{Region: "us-east-1", Now: may24})
	if err != nil {
		t.Fatal(err)
	}
	c := a.Chunks()
	for i, step := range []struct {
		n   int
		sig string
	}{
		{65536, "ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648"},
		{1024, "0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497"},
		{0, "b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9"},
	} {
		if err := c.Chunk(sha256.Sum256([]byte(strings.Repeat("a", step.n))), []byte(step.sig)); err != nil {
			t.Fatalf("chunk %d: %v", i, err)
		}
	}
	if err := a.Chunks().Chunk(sha256.Sum256([]byte("b")), []byte("ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648")); code(err) != "SignatureDoesNotMatch" {
		t.Fatalf("another chunk's bytes: %v", err)
	}
}

func TestTrailerChain(t *testing.T) {
	r := newRequest("PUT", "http://s3.amazonaws.com/examplebucket/chunkObject.txt", "X-Amz-Date", "20130524T000000Z",
		"X-Amz-Storage-Class", "REDUCED_REDUNDANCY", "X-Amz-Content-Sha256", StreamSignedTrailer, "Content-Encoding", "aws-chunked",
		"X-Amz-Decoded-Content-Length", "66560", "X-Amz-Trailer", "x-amz-checksum-crc32c",
		"Authorization", authorization("content-encoding;host;x-amz-content-sha256;x-amz-date;x-amz-decoded-content-length;x-amz-storage-class;x-amz-trailer",
			"106e2a8a18243abcf37539882f36619c00e2dfc72633413f02d3b74544bfeb8e"))
	a, err := verify(r, "", secret, Options{Region: "us-east-1", Now: may24})
	if err != nil {
		t.Fatal(err)
	}
	c := a.Chunks()
	for i, step := range []struct {
		n   int
		sig string
	}{
		{65536, "b474d8862b1487a5145d686f57f013e54db672cee1c953b3010fb58501ef5aa2"},
		{1024, "1c1344b170168f8e65b41376b44b20fe354e373826ccbbe2c1d40a8cae51e5c7"},
		{0, "2ca2aba2005185cf7159c6277faf83795951dd77a3a99e6e65d5c9f85863f992"},
	} {
		if err := c.Chunk(sha256.Sum256([]byte(strings.Repeat("a", step.n))), []byte(step.sig)); err != nil {
			t.Fatalf("chunk %d: %v", i, err)
		}
	}
	if err := c.Trailer(sha256.Sum256([]byte("x-amz-checksum-crc32c:sOO8/Q==\n")), []byte("d81f82fc3505edab99d459891051a732e8730629a2e4a59689829ca17fe2e435")); err != nil {
		t.Fatal(err)
	}
}

func TestKnownAnswersV2(t *testing.T) {
	const base = "http://johnsmith.s3.amazonaws.com/photos/puppy.jpg"
	at := time.Date(2007, 3, 27, 19, 40, 0, 0, time.UTC)
	get := newRequest("GET", base, "Date", "Tue, 27 Mar 2007 19:36:42 +0000", "Authorization", "AWS "+access+":bWq2s1WEIj+Ydj0vQ697zp+IXMU=")
	if _, err := verify(get, "johnsmith", secret, Options{Now: at}); err != nil {
		t.Errorf("GET: %v", err)
	}
	put := newRequest("PUT", base, "Date", "Tue, 27 Mar 2007 21:15:45 +0000", "Content-Type", "image/jpeg", "Authorization", "AWS "+access+":MyyxeRY7whkBe+bq8fHCL/2kKUg=")
	if _, err := verify(put, "johnsmith", secret, Options{Now: at.Add(95 * time.Minute)}); err != nil {
		t.Errorf("PUT: %v", err)
	}
	signed := newRequest("GET", base+"?AWSAccessKeyId="+access+"&Signature=NpgCjnDzrM%2BWFzoENXmpNDUsSn8%3D&Expires=1175139620")
	if _, err := verify(signed, "johnsmith", secret, Options{Now: at}); err != nil {
		t.Errorf("presigned: %v", err)
	}
	if _, err := verify(signed, "johnsmith", secret, Options{Now: time.Unix(1175139621, 0)}); code(err) != "AccessDenied" {
		t.Errorf("presigned, expired: %v", err)
	}
	get.Header.Set("X-Amz-Acl", "private")
	if _, err := verify(get, "johnsmith", secret, Options{Now: at}); code(err) != "SignatureDoesNotMatch" {
		t.Errorf("header added: %v", err)
	}
}

func TestRefusals(t *testing.T) {
	good := "AWS4-HMAC-SHA256 Credential=AK/20130524/us-east-1/s3/aws4_request,SignedHeaders=host;x-amz-date,Signature=" + strings.Repeat("0", 64)
	edit := func(old, with string) string { return strings.Replace(good, old, with, 1) }
	for _, tc := range []struct{ name, header, date, code string }{
		{"well formed", good, "20130524T000000Z", ""},
		{"other region", edit("us-east-1", "mars"), "20130524T000000Z", "AuthorizationHeaderMalformed"},
		{"other service", edit("/s3/", "/ec2/"), "20130524T000000Z", "AuthorizationHeaderMalformed"},
		{"other day", edit("20130524", "20130525"), "20130524T000000Z", "AuthorizationHeaderMalformed"},
		{"no terminator", edit("aws4_request", "x"), "20130524T000000Z", "AuthorizationHeaderMalformed"},
		{"no credential", edit("Credential=", "X="), "20130524T000000Z", "AuthorizationHeaderMalformed"},
		{"no equals", "AWS4-HMAC-SHA256 nonsense", "20130524T000000Z", "AuthorizationHeaderMalformed"},
		{"nothing", "AWS4-HMAC-SHA256", "20130524T000000Z", "InvalidArgument"},
		{"basic", "Basic abc", "20130524T000000Z", "InvalidArgument"},
		{"version 4A", "AWS4-ECDSA-P256-SHA256 x=y", "20130524T000000Z", "InvalidArgument"},
		{"host not signed", edit("host;", ""), "20130524T000000Z", "AccessDenied"},
		{"no date", good, "", "AccessDenied"},
		{"bad date", good, "yesterday", "AccessDenied"},
		{"16 minutes behind", edit("20130524", "20130523"), "20130523T234400Z", "RequestTimeTooSkewed"},
		{"14 minutes behind", edit("20130524", "20130523"), "20130523T234600Z", ""},
		{"16 minutes ahead", good, "20130524T001600Z", "RequestTimeTooSkewed"},
		{"V2 without signature", "AWS AK", "20130524T000000Z", "InvalidArgument"},
	} {
		r := newRequest("GET", "http://h/b/k", "Authorization", tc.header, "X-Amz-Date", tc.date)
		r.Header.Set("X-Amz-Content-Sha256", Unsigned)
		if strings.Contains(tc.header, "x-amz-date,") {
			r.Header.Set("Authorization", strings.Replace(tc.header, "x-amz-date,", "x-amz-content-sha256;x-amz-date,", 1))
		}
		_, err := Parse(r, nil, Options{Region: "us-east-1", Now: may24})
		if code(err) != tc.code {
			t.Errorf("%s: %v, want %q", tc.name, err, tc.code)
		}
	}
}

func TestPresignedRefusals(t *testing.T) {
	good := "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AK/20130524/us-east-1/s3/aws4_request&X-Amz-Date=20130524T000000Z&X-Amz-Expires=60&X-Amz-SignedHeaders=host&X-Amz-Signature=00"
	for _, tc := range []struct {
		name, old, with string
		after           time.Duration
		code            string
	}{
		{"good", "", "", 0, ""},
		{"at its end", "", "", time.Minute, ""},
		{"expired", "", "", 61 * time.Second, "AccessDenied"},
		{"far ahead", "", "", -16 * time.Minute, "AccessDenied"},
		{"a week", "Expires=60", "Expires=604800", 0, ""},
		{"over a week", "Expires=60", "Expires=604801", 0, "AuthorizationQueryParametersError"},
		{"negative", "Expires=60", "Expires=-1", 0, "AuthorizationQueryParametersError"},
		{"no number", "Expires=60", "Expires=x", 0, "AuthorizationQueryParametersError"},
		{"algorithm", "SHA256&", "MD5&", 0, "AuthorizationQueryParametersError"},
		{"no date", "X-Amz-Date=20130524T000000Z&", "", 0, "AuthorizationQueryParametersError"},
		{"bad date", "Date=20130524T000000Z", "Date=x", 0, "AuthorizationQueryParametersError"},
	} {
		q, err := ParseQuery(strings.Replace(good, tc.old, tc.with, 1))
		if err != nil {
			t.Fatal(err)
		}
		_, err = Parse(newRequest("GET", "http://h/b/k"), q, Options{Now: may24.Add(tc.after)})
		if code(err) != tc.code {
			t.Errorf("%s: %v, want %q", tc.name, err, tc.code)
		}
	}
}

func TestQuery(t *testing.T) {
	q, err := ParseQuery("prefix=a%2Fb+c&uploads&&empty=&prefix=second")
	if err != nil || q.Value("prefix") != "a/b c" || !q.Has("uploads") || !q.Has("empty") || q.Has("second") {
		t.Fatalf("%v, %v", q, err)
	}
	for _, bad := range []string{"a=%", "a=%1", "a=%zz", strings.Repeat("a&", MaxParams+1)} {
		if _, err := ParseQuery(bad); err == nil {
			t.Errorf("%.20q was accepted", bad)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, name := range examples {
		r := example(name)
		f.Add(r.Header.Get("Authorization"), r.URL.RawQuery, "20130524T000000Z")
	}
	f.Add("AWS a:b", "AWSAccessKeyId=x&Signature=y&Expires=99999999999999999999", "")
	f.Fuzz(func(t *testing.T, header, query, date string) {
		q, err := ParseQuery(query)
		if err != nil {
			return
		}
		r := newRequest("GET", "http://h/b/k")
		r.Header["Authorization"] = []string{header}
		r.Header["X-Amz-Date"] = []string{date}
		r.URL.RawQuery = query
		a, err := Parse(r, q, Options{Now: may24})
		if err != nil || a.Scheme == Anonymous {
			return
		}
		if a.AccessKey == "" || len(a.AccessKey) > 128 {
			t.Fatalf("accepted access key %q", a.AccessKey)
		}
		if a.Verify(r, q, "", secret, new(Keys)) == nil && a.Scheme == HeaderV4 && !strings.Contains(header, a.signature) {
			t.Fatal("verified without its signature")
		}
	})
}

func FuzzParseQuery(f *testing.F) {
	f.Add("a=b&c=%20+d")
	f.Add("%=&=")
	f.Fuzz(func(t *testing.T, raw string) {
		q, err := ParseQuery(raw)
		if err != nil {
			return
		}
		var b []byte
		for i, p := range q {
			if i > 0 {
				b = append(b, '&')
			}
			b = AppendEscaped(b, p.Key, false)
			if p.Eq {
				b = AppendEscaped(append(b, '='), p.Value, false)
			}
		}
		again, err := ParseQuery(string(b))
		if err != nil || len(again) > len(q) {
			t.Fatalf("%q became %q: %v", raw, b, err)
		}
	})
}

func BenchmarkVerify(b *testing.B) {
	r := example("GET object")
	var keys Keys
	o := Options{Region: "us-east-1", Now: may24}
	b.ReportAllocs()
	for b.Loop() {
		a, err := Parse(r, nil, o)
		if err == nil {
			err = a.Verify(r, nil, "", secret, &keys)
		}
		if err != nil {
			b.Fatal(err)
		}
	}
}
