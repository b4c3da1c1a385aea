package s3

import (
	"bytes"
	"crypto/md5"
	"encoding/base64"
	"encoding/xml"
	"fmt"
	"net/url"
	"regexp"
	"sort"
	"strings"
	"testing"

	"github.com/spirula/spirula/gateway/s3/internal/checksum"
	"github.com/spirula/spirula/mds"
)

func md5Of(s string) string {
	sum := md5.Sum([]byte(s))
	return base64.StdEncoding.EncodeToString(sum[:])
}

func uploadID(t *testing.T, a answer) string {
	t.Helper()
	m := regexp.MustCompile("<UploadId>(.*)</UploadId>").FindStringSubmatch(a.body)
	if m == nil {
		t.Fatalf("no upload id in %s", a.body)
	}
	return m[1]
}

func TestReadConditions(t *testing.T) {
	r := newRig(t, nil)
	r.must(200, "PUT", "/box", nil)
	put := r.must(200, "PUT", "/box/k", []byte("hello"))
	etag := put.head.Get("Etag")
	mtime := r.must(200, "HEAD", "/box/k", nil).head.Get("Last-Modified")
	const before, later = "Mon, 01 Jan 2001 00:00:00 GMT", "Fri, 01 Jan 2100 00:00:00 GMT"
	for _, tc := range []struct {
		headers []string
		status  int
	}{
		{[]string{"If-Match", etag}, 200},
		{[]string{"If-Match", strings.Trim(etag, `"`)}, 200},
		{[]string{"If-Match", `"x", ` + etag}, 200},
		{[]string{"If-Match", "*"}, 200},
		{[]string{"If-Match", `"x"`}, 412},
		{[]string{"If-None-Match", etag}, 304},
		{[]string{"If-None-Match", "W/" + etag}, 304},
		{[]string{"If-None-Match", "*"}, 304},
		{[]string{"If-None-Match", `"x"`}, 200},
		{[]string{"If-Modified-Since", before}, 200},
		{[]string{"If-Modified-Since", mtime}, 304},
		{[]string{"If-Modified-Since", "nonsense"}, 200},
		{[]string{"If-Unmodified-Since", before}, 412},
		{[]string{"If-Unmodified-Since", mtime}, 200},
		{[]string{"If-Match", etag, "If-Unmodified-Since", before}, 200},
		{[]string{"If-None-Match", `"x"`, "If-Modified-Since", later}, 200},
		{[]string{"If-None-Match", etag, "If-Modified-Since", before}, 304},
		{[]string{"Range", "bytes=1-2", "If-Range", etag}, 206},
		{[]string{"Range", "bytes=1-2", "If-Range", `"x"`}, 200},
		{[]string{"Range", "bytes=1-2", "If-Range", mtime}, 206},
		{[]string{"Range", "bytes=1-2", "If-Range", before}, 200},
	} {
		for _, method := range []string{"GET", "HEAD"} {
			a := r.do(r.signed(method, "/box/k", nil, tc.headers...))
			if a.code != tc.status {
				t.Errorf("%s %q: %d, want %d", method, tc.headers, a.code, tc.status)
			}
			if a.code == 304 && (a.head.Get("Etag") != etag || a.body != "") {
				t.Errorf("%s %q: 304 with %v %q", method, tc.headers, a.head, a.body)
			}
		}
	}
}

func TestWriteAndDeleteConditions(t *testing.T) {
	r := newRig(t, nil)
	r.must(200, "PUT", "/box", nil)
	etag := r.must(200, "PUT", "/box/k", []byte("1"), "If-None-Match", "*").head.Get("Etag")
	r.must(412, "PUT", "/box/k", []byte("2"), "If-None-Match", "*")
	etag = r.must(200, "PUT", "/box/k", []byte("3"), "If-Match", etag).head.Get("Etag")
	mtime := r.must(200, "HEAD", "/box/k", nil).head.Get("Last-Modified")
	r.must(412, "DELETE", "/box/k", nil, "X-Amz-If-Match-Size", "2")
	r.must(412, "DELETE", "/box/k", nil, "X-Amz-If-Match-Last-Modified-Time", "Mon, 01 Jan 2001 00:00:00 GMT")
	r.must(204, "DELETE", "/box/k", nil, "If-Match", etag, "X-Amz-If-Match-Size", "1", "X-Amz-If-Match-Last-Modified-Time", mtime)
	r.must(204, "DELETE", "/box/k", nil)
	doc := `<Delete xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Quiet>true</Quiet><Object><Key>gone</Key></Object>` +
		`<Object><Key>there</Key><ETag>"no"</ETag></Object><Object><Key>a&amp;b</Key></Object></Delete>`
	r.must(200, "PUT", "/box/there", []byte("x"))
	r.must(200, "PUT", "/box/a&b", []byte("x"))
	a := r.must(200, "POST", "/box?delete", []byte(doc), "Content-MD5", md5Of(doc))
	if strings.Contains(a.body, "<Deleted>") || strings.Count(a.body, "<Error>") != 1 || !strings.Contains(a.body, "PreconditionFailed") {
		t.Error(a.body)
	}
	r.must(404, "GET", "/box/a&b", nil)
}

func TestRangesOfAnswers(t *testing.T) {
	r := newRig(t, nil)
	r.must(200, "PUT", "/box", nil)
	data := random(3<<20 + 5)
	size := len(data)
	r.must(200, "PUT", "/box/k", data)
	for _, tc := range []struct {
		header   string
		from, to int // exclusive; -1: whole
	}{
		{"bytes=0-0", 0, 1}, {"bytes=5-", 5, size}, {"bytes=-7", size - 7, size}, {"bytes=1-99999999999999999999", 1, size},
		{fmt.Sprintf("bytes=-%d", size+1), 0, size}, {"bytes=1000000-2000000", 1000000, 2000001}, {"bytes=0-1,3-4", -1, 0}, {"bytes=2-1", -1, 0},
		{"bytes=x", -1, 0}, {"lines=1-2", -1, 0}, {"bytes=--1", -1, 0},
	} {
		a := r.do(r.signed("GET", "/box/k", nil, "Range", tc.header))
		want, code, cr := data, 200, ""
		if tc.from >= 0 {
			want, code = data[tc.from:tc.to], 206
			cr = fmt.Sprintf("bytes %d-%d/%d", tc.from, tc.to-1, size)
		}
		if a.code != code || a.body != string(want) || a.head.Get("Content-Range") != cr {
			t.Errorf("%s: %d, %d bytes, %q", tc.header, a.code, len(a.body), a.head.Get("Content-Range"))
		}
	}
	a := r.do(r.signed("GET", "/box/k", nil, "Range", fmt.Sprintf("bytes=%d-", size)))
	if a.code != 416 || a.head.Get("Content-Range") != fmt.Sprintf("bytes */%d", size) {
		t.Errorf("behind the end: %d %q", a.code, a.head.Get("Content-Range"))
	}
}

func FuzzRange(f *testing.F) {
	f.Add("bytes=0-1", uint64(10))
	f.Add("bytes=-5", uint64(3))
	f.Add("bytes=9-", uint64(9))
	f.Fuzz(func(t *testing.T, header string, size uint64) {
		size %= 1 << 62
		s, ok, err := parseRange(header, size)
		if ok && (err != nil || s.n == 0 || s.off+s.n > size) {
			t.Fatalf("%q of %d: %+v", header, size, s)
		}
		if c, err := parseCopyRange(header, size); err == nil && (c.n == 0 || c.off+c.n > size) {
			t.Fatalf("copy %q of %d: %+v", header, size, c)
		}
	})
}

func TestHeadersComeBack(t *testing.T) {
	r := newRig(t, nil)
	r.must(200, "PUT", "/box", nil)
	sent := []string{"Content-Type", "text/x", "Content-Encoding", "gzip, aws-chunked", "Content-Disposition", "inline", "Content-Language", "de",
		"Cache-Control", "no-cache", "Expires", "Fri, 01 Jan 2100 00:00:00 GMT", "X-Amz-Meta-Ascii", "=?UTF-8?Q?x?=", "X-Amz-Meta-Utf", "grün", "X-Amz-Storage-Class", "STANDARD_IA"}
	r.must(200, "PUT", "/box/k", []byte("x"), sent...)
	h := r.must(200, "HEAD", "/box/k", nil).head
	for name, want := range map[string]string{"Content-Type": "text/x", "Content-Encoding": "gzip", "Content-Disposition": "inline", "Content-Language": "de",
		"Cache-Control": "no-cache", "Expires": "Fri, 01 Jan 2100 00:00:00 GMT", "X-Amz-Meta-Ascii": "=?UTF-8?Q?x?=", "X-Amz-Meta-Utf": "=?UTF-8?b?Z3LDvG4=?=",
		"X-Amz-Storage-Class": "STANDARD_IA", "Content-Length": "1", "Accept-Ranges": "bytes"} {
		if h.Get(name) != want {
			t.Errorf("%s: %q, want %q", name, h.Get(name), want)
		}
	}
	h = r.must(200, "GET", "/box/k?response-content-type=a/b&response-cache-control=c&response-expires=d&response-content-language=e&response-content-disposition=f&response-content-encoding=g", nil).head
	for name, want := range map[string]string{"Content-Type": "a/b", "Cache-Control": "c", "Expires": "d", "Content-Language": "e", "Content-Disposition": "f", "Content-Encoding": "g"} {
		if h.Get(name) != want {
			t.Errorf("override of %s: %q, want %q", name, h.Get(name), want)
		}
	}
	if got := r.must(200, "PUT", "/box/bare", []byte("x")); got.head.Get("X-Amz-Checksum-Crc64nvme") != "" {
		t.Error("a checksum nobody sent")
	}
	if h := r.must(200, "HEAD", "/box/bare", nil).head; h.Get("Content-Type") != "binary/octet-stream" {
		t.Errorf("default type %q", h.Get("Content-Type"))
	}
}

type listXML struct {
	Prefix, Marker, NextMarker, Delimiter, EncodingType, NextContinuationToken, StartAfter string
	MaxKeys, KeyCount                                                                      int
	IsTruncated                                                                            bool
	Contents                                                                               []struct {
		Key, ETag, LastModified, StorageClass string
		Size                                  int
		Owner                                 struct{ ID string }
	}
	CommonPrefixes []struct{ Prefix string }
}

func (r *rig) list(query string) (l listXML) {
	r.t.Helper()
	a := r.must(200, "GET", "/box?"+query, nil)
	if err := xml.Unmarshal([]byte(a.body), &l); err != nil {
		r.t.Fatalf("%s: %v", a.body, err)
	}
	return l
}

func (l listXML) names() (out []string) {
	for _, c := range l.Contents {
		out = append(out, c.Key)
	}
	for _, c := range l.CommonPrefixes {
		out = append(out, c.Prefix)
	}
	sort.Strings(out)
	return out
}

func TestListings(t *testing.T) {
	r := newRig(t, nil)
	r.must(200, "PUT", "/box", nil)
	for _, k := range []string{"a", "a!", "a/b", "a/c/d", "ab/x", "b"} {
		r.must(200, "PUT", "/box/"+k, []byte(k))
	}
	for _, tc := range []struct {
		query string
		want  string
	}{
		{"", "a a! a/b a/c/d ab/x b"},
		{"delimiter=/", "a a! a/ ab/ b"},
		{"prefix=a/&delimiter=/", "a/b a/c/"},
		{"prefix=a", "a a! a/b a/c/d ab/x"},
		{"delimiter=b", "a a! a/b a/c/d ab b"},
		{"prefix=zz", ""},
		{"max-keys=0", ""},
		{"max-keys=2", "a a!"},
	} {
		for _, v := range []string{"", "list-type=2&"} {
			if got := strings.Join(r.list(v+tc.query).names(), " "); got != tc.want {
				t.Errorf("%s%s: %s, want %s", v, tc.query, got, tc.want)
			}
		}
	}
	if got := r.list("marker=a/").names(); strings.Join(got, " ") != "a/b a/c/d ab/x b" {
		t.Errorf("marker: %s", got)
	}
	for marker, want := range map[string]string{"a/": "ab/ b", "a/b": "ab/ b", "a/zz": "ab/ b", "a": "a! a/ ab/ b"} {
		if got := strings.Join(r.list("delimiter=/&marker="+marker).names(), " "); got != want {
			t.Errorf("marker %s with a delimiter: %s, want %s", marker, got, want)
		}
	}
	l := r.list("list-type=2&start-after=a/b&fetch-owner=true")
	if strings.Join(l.names(), " ") != "a/c/d ab/x b" || l.KeyCount != 3 || l.Contents[0].Owner.ID != "alice" || l.StartAfter != "a/b" {
		t.Errorf("start-after: %+v", l)
	}
	for _, delimiter := range []string{"", "/", "b"} {
		var v1, v2 []string
		marker, token := "", ""
		for n := 0; n < 20; n++ {
			l := r.list("max-keys=1&delimiter=" + delimiter + "&marker=" + url.QueryEscape(marker))
			v1 = append(v1, l.names()...)
			if !l.IsTruncated {
				break
			}
			marker = l.NextMarker
		}
		for n := 0; n < 20; n++ {
			l := r.list("list-type=2&max-keys=1&delimiter=" + delimiter + token)
			v2 = append(v2, l.names()...)
			if !l.IsTruncated {
				break
			}
			token = "&continuation-token=" + url.QueryEscape(l.NextContinuationToken)
		}
		want := r.list("delimiter=" + delimiter).names()
		if fmt.Sprint(v1) != fmt.Sprint(want) || fmt.Sprint(v2) != fmt.Sprint(want) {
			t.Errorf("one by one, delimiter %q: %v and %v, want %v", delimiter, v1, v2, want)
		}
	}
}

// Keys that XML can't carry are exact with encoding-type=url.
func TestListingOfAwkwardKeys(t *testing.T) {
	r := newRig(t, nil)
	r.must(200, "PUT", "/box", nil)
	for _, k := range []string{"nul%00byte", "bell%07", "a%3Cb%3E%26%22%27", "cr%0Dlf%0A", "sp ce+plus%25", "%EF%BF%BE"} {
		r.must(200, "PUT", "/box/"+strings.ReplaceAll(k, " ", "%20"), []byte("x"))
	}
	l := r.list("encoding-type=url")
	var got []string
	for _, c := range l.Contents {
		k, err := url.PathUnescape(c.Key)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, k)
	}
	want := []string{"a<b>&\"'", "bell\x07", "cr\rlf\n", "nul\x00byte", "sp ce+plus%", "\uFFFE"}
	sort.Strings(want)
	if fmt.Sprintf("%q", got) != fmt.Sprintf("%q", want) {
		t.Errorf("%q, want %q", got, want)
	}
	plain := r.list("").names()
	if plain[1] != "bell\uFFFD" || plain[2] != "cr\rlf\n" || plain[0] != "a<b>&\"'" {
		t.Errorf("without encoding: %q", plain)
	}
}

func TestVirtualHostStyle(t *testing.T) {
	r := newRig(t, nil)
	r.must(200, "PUT", "/", nil, "Host", "box.s3.test")
	r.must(200, "PUT", "//a//b", []byte("x"), "Host", "box.s3.test:80")
	if a := r.must(200, "GET", "/box//a//b", nil); a.body != "x" {
		t.Error(a.body)
	}
	r.must(200, "GET", "/", nil, "Host", "s3.test")
}

func TestCopies(t *testing.T) {
	r := newRig(t, nil)
	r.must(200, "PUT", "/box", nil)
	r.must(200, "PUT", "/box/a b+c", []byte("hello"), "X-Amz-Meta-A", "1", "X-Amz-Checksum-Crc32", "NhCmhg==", "Content-Type", "text/a")
	r.must(200, "PUT", "/box/same", nil, "X-Amz-Copy-Source", "/box/a%20b%2Bc")
	r.must(200, "PUT", "/box/plus", nil, "X-Amz-Copy-Source", "box/a%20b+c")
	a := r.must(200, "PUT", "/box/new", nil, "X-Amz-Copy-Source", "box/same?versionId=null", "X-Amz-Metadata-Directive", "REPLACE", "X-Amz-Meta-B", "2", "X-Amz-Checksum-Algorithm", "SHA256")
	if !strings.Contains(a.body, "<ChecksumSHA256>LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ=</ChecksumSHA256>") {
		t.Error(a.body)
	}
	for key, want := range map[string][3]string{"same": {"1", "", "text/a"}, "plus": {"1", "", "text/a"}, "new": {"", "2", "binary/octet-stream"}} {
		g := r.must(200, "GET", "/box/"+key, nil, "X-Amz-Checksum-Mode", "ENABLED")
		if got := [3]string{g.head.Get("X-Amz-Meta-A"), g.head.Get("X-Amz-Meta-B"), g.head.Get("Content-Type")}; got != want || g.body != "hello" {
			t.Errorf("%s: %q %q", key, got, g.body)
		}
	}
	r.must(200, "PUT", "/box/same", nil, "X-Amz-Copy-Source", "box/same", "X-Amz-Metadata-Directive", "REPLACE")
	r.must(412, "PUT", "/box/same", nil, "X-Amz-Copy-Source", "box/new", "If-None-Match", "*")
	r.must(412, "PUT", "/box/x", nil, "X-Amz-Copy-Source", "box/new", "X-Amz-Copy-Source-If-Match", "x")
}

func TestUploadPartCopy(t *testing.T) {
	r := newRig(t, nil)
	r.must(200, "PUT", "/box", nil)
	data := random(6 << 20)
	r.must(200, "PUT", "/box/src", data)
	id := uploadID(t, r.must(200, "POST", "/box/dst?uploads", nil, "X-Amz-Checksum-Algorithm", "CRC64NVME"))
	target := "/box/dst?uploadId=" + id + "&partNumber="
	etag := regexp.MustCompile("<ETag>&quot;(.*)&quot;</ETag>")
	one := r.must(200, "PUT", target+"1", nil, "X-Amz-Copy-Source", "box/src")
	two := r.must(200, "PUT", target+"2", nil, "X-Amz-Copy-Source", "box/src", "X-Amz-Copy-Source-Range", "bytes=100-199")
	r.must(400, "PUT", target+"3", nil, "X-Amz-Copy-Source", "box/src", "X-Amz-Copy-Source-Range", fmt.Sprintf("bytes=0-%d", len(data)))
	r.must(400, "PUT", target+"3", nil, "X-Amz-Copy-Source", "box/src", "X-Amz-Copy-Source-Range", "bytes=5-")
	doc := "<CompleteMultipartUpload>"
	for i, a := range []answer{one, two} {
		doc += fmt.Sprintf("<Part><PartNumber>%d</PartNumber><ETag>%s</ETag></Part>", i+1, etag.FindStringSubmatch(a.body)[1])
	}
	doc += "</CompleteMultipartUpload>"
	r.must(200, "POST", "/box/dst?uploadId="+id, []byte(doc))
	again := r.must(200, "POST", "/box/dst?uploadId="+id, []byte(doc))
	want := append(bytes.Clone(data), data[100:200]...)
	got := r.must(200, "GET", "/box/dst", nil, "X-Amz-Checksum-Mode", "ENABLED")
	if got.body != string(want) || !strings.Contains(again.body, strings.Trim(got.head.Get("Etag"), `"`)) {
		t.Errorf("%d bytes, %s", len(got.body), again.body)
	}
	h := checksum.New(mds.ChecksumCRC64NVME)
	h.Write(want)
	if got.head.Get("X-Amz-Checksum-Crc64nvme") != checksum.Encode(h.Sum()) || got.head.Get("X-Amz-Checksum-Type") != "FULL_OBJECT" {
		t.Errorf("checksum %v", got.head)
	}
	attrs := r.must(200, "GET", "/box/dst?attributes", nil, "X-Amz-Object-Attributes", "ETag,ObjectParts,ObjectSize,Checksum,StorageClass")
	for _, want := range []string{"<PartsCount>2</PartsCount>", "<ObjectSize>6291556</ObjectSize>", "<StorageClass>STANDARD</StorageClass>", "<Size>100</Size>"} {
		if !strings.Contains(attrs.body, want) {
			t.Errorf("attributes lack %s: %s", want, attrs.body)
		}
	}
}

func TestListUploads(t *testing.T) {
	r := newRig(t, nil)
	r.must(200, "PUT", "/box", nil)
	var ids []string
	for _, k := range []string{"a", "a", "b/1", "b/2", "c"} {
		ids = append(ids, uploadID(t, r.must(200, "POST", "/box/"+k+"?uploads", nil)))
	}
	var seen []string
	key, id := "", ""
	for n := 0; n < 10; n++ {
		a := r.must(200, "GET", "/box?uploads&delimiter=/&max-uploads=1&key-marker="+url.QueryEscape(key)+"&upload-id-marker="+id, nil)
		var l struct {
			IsTruncated                       bool
			NextKeyMarker, NextUploadIdMarker string
			Upload                            []struct{ Key, UploadId string }
			CommonPrefixes                    []struct{ Prefix string }
		}
		if err := xml.Unmarshal([]byte(a.body), &l); err != nil {
			t.Fatal(err)
		}
		for _, u := range l.Upload {
			seen = append(seen, u.Key+":"+u.UploadId)
		}
		for _, c := range l.CommonPrefixes {
			seen = append(seen, c.Prefix)
		}
		if !l.IsTruncated {
			break
		}
		key, id = l.NextKeyMarker, l.NextUploadIdMarker
	}
	if want := []string{"a:" + ids[0], "a:" + ids[1], "b/", "c:" + ids[4]}; fmt.Sprint(seen) != fmt.Sprint(want) {
		t.Errorf("%v, want %v", seen, want)
	}
	r.must(204, "DELETE", "/box/c?uploadId="+ids[4], nil)
	r.must(404, "GET", "/box/c?uploadId="+ids[4], nil)
}

func TestListBucketsInPages(t *testing.T) {
	r := newRig(t, nil)
	for _, b := range []string{"aaa", "bbb", "bbc", "ccc"} {
		r.must(200, "PUT", "/"+b, nil)
	}
	if a := r.do(r.signedAs("AKBOB", "PUT", "/bbd", nil)); a.code != 200 {
		t.Fatal(a.body)
	}
	type page struct {
		Buckets           struct{ Bucket []struct{ Name string } }
		ContinuationToken string
	}
	for _, tc := range []struct{ query, want string }{
		{"", "[aaa bbb bbc ccc]"}, {"?prefix=bb", "[bbb bbc]"}, {"?max-buckets=1", "[aaa bbb bbc ccc]"},
		{"?max-buckets=1&prefix=bb", "[bbb bbc]"}, {"?max-buckets=2&prefix=bb", "[bbb bbc]"}, {"?prefix=ccc", "[ccc]"}, {"?prefix=x", "[]"},
	} {
		var got []string
		token := ""
		for n := 0; n < 10; n++ {
			q := tc.query
			if token != "" {
				q += "&continuation-token=" + token
			}
			var p page
			if err := xml.Unmarshal([]byte(r.must(200, "GET", "/"+q, nil).body), &p); err != nil {
				t.Fatal(err)
			}
			for _, b := range p.Buckets.Bucket {
				got = append(got, b.Name)
			}
			if token = p.ContinuationToken; token == "" {
				break
			}
		}
		if fmt.Sprint(got) != tc.want {
			t.Errorf("%q: %v, want %s", tc.query, got, tc.want)
		}
	}
}

func TestBucketNames(t *testing.T) {
	for name, ok := range map[string]bool{"abc": true, "a.b-c9": true, "9ab": true, strings.Repeat("a", 63): true, "ab": false, strings.Repeat("a", 64): false,
		"Abc": false, "a_b": false, "-abc": false, "abc-": false, ".abc": false, "abc.": false, "a..b": false, "a.-b": false, "a-.b": false, "192.168.5.4": false,
		"xn--abc": false, "sthree-abc": false, "abc-s3alias": false, "abc--ol-s3": false, "ab c": false, "äbc": false} {
		if ValidBucketName(name) != ok {
			t.Errorf("%q: %v", name, !ok)
		}
	}
}

func TestSubresourcesThatAreEmpty(t *testing.T) {
	r := newRig(t, nil)
	r.must(200, "PUT", "/box", nil)
	r.must(200, "PUT", "/box/k", []byte("x"))
	for target, want := range map[string]string{"/box?versioning": "<VersioningConfiguration", "/box?acl": "FULL_CONTROL", "/box/k?acl": "FULL_CONTROL",
		"/box?location": "<LocationConstraint", "/box?logging": "<BucketLoggingStatus", "/box/k?tagging": "<TagSet></TagSet>", "/box?versions": "<VersionId>null</VersionId>",
		"/box?requestPayment": "BucketOwner"} {
		if a := r.must(200, "GET", target, nil); !strings.Contains(a.body, want) {
			t.Errorf("%s: %s", target, a.body)
		}
	}
	r.must(204, "DELETE", "/box?lifecycle", nil)
	r.must(200, "PUT", "/box/k?acl", nil, "X-Amz-Acl", "private")
	r.must(404, "PUT", "/box/none?acl", nil, "X-Amz-Acl", "private")
	for _, target := range []string{"/box?acl", "/box/k?acl"} {
		own := r.must(200, "GET", target, nil).body
		r.must(200, "PUT", target, []byte(own))
		r.must(400, "PUT", target, []byte(strings.Replace(own, "FULL_CONTROL", "READ", 1)))
		r.must(400, "PUT", target, []byte(strings.ReplaceAll(own, "alice", "bob")))
		r.must(400, "PUT", target, []byte("<AccessControlPolicy>"))
		r.must(400, "PUT", target, nil)
	}
	if a := r.do(r.signed("HEAD", "/box", nil)); a.head.Get("X-Amz-Bucket-Region") != "us-east-1" {
		t.Errorf("%v", a.head)
	}
}
