package s3

import (
	"bytes"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"hash"
	"hash/crc32"
	"io"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
)

// nvme is CRC-64/NVME bit by bit: reflected polynomial 0x9a6c9329ac4bc9b5.
func nvme(b []byte) []byte {
	crc := ^uint64(0)
	for _, x := range b {
		crc ^= uint64(x)
		for range 8 {
			crc = crc>>1 ^ 0x9a6c9329ac4bc9b5*(crc&1)
		}
	}
	return binary.BigEndian.AppendUint64(nil, ^crc)
}

func hashed(h hash.Hash) func([]byte) []byte {
	return func(b []byte) []byte {
		h.Reset()
		h.Write(b)
		return h.Sum(nil)
	}
}

// algorithms computes every checksum that S3 knows, in its base64.
var algorithms = map[types.ChecksumAlgorithm]func([]byte) []byte{
	types.ChecksumAlgorithmCrc32:     hashed(crc32.NewIEEE()),
	types.ChecksumAlgorithmCrc32c:    hashed(crc32.New(crc32.MakeTable(crc32.Castagnoli))),
	types.ChecksumAlgorithmSha1:      hashed(sha1.New()),
	types.ChecksumAlgorithmSha256:    hashed(sha256.New()),
	types.ChecksumAlgorithmCrc64nvme: nvme,
}

func b64(b []byte) string { return base64.StdEncoding.EncodeToString(b) }

// setSum puts a value into the field of its algorithm.
func setSum(in *s3.PutObjectInput, alg types.ChecksumAlgorithm, v string) {
	switch alg {
	case types.ChecksumAlgorithmCrc32:
		in.ChecksumCRC32 = &v
	case types.ChecksumAlgorithmCrc32c:
		in.ChecksumCRC32C = &v
	case types.ChecksumAlgorithmSha1:
		in.ChecksumSHA1 = &v
	case types.ChecksumAlgorithmSha256:
		in.ChecksumSHA256 = &v
	case types.ChecksumAlgorithmCrc64nvme:
		in.ChecksumCRC64NVME = &v
	}
}

func (w *world) headSum(key string, alg types.ChecksumAlgorithm) (string, types.ChecksumType) {
	w.Helper()
	h, err := w.c.HeadObject(ctx, &s3.HeadObjectInput{Bucket: w.b, Key: &key, ChecksumMode: types.ChecksumModeEnabled})
	ok(w.T, "head", err)
	return aws.ToString(map[types.ChecksumAlgorithm]*string{types.ChecksumAlgorithmCrc32: h.ChecksumCRC32, types.ChecksumAlgorithmCrc32c: h.ChecksumCRC32C,
		types.ChecksumAlgorithmSha1: h.ChecksumSHA1, types.ChecksumAlgorithmSha256: h.ChecksumSHA256, types.ChecksumAlgorithmCrc64nvme: h.ChecksumCRC64NVME}[alg]), h.ChecksumType
}

// TestChecksumHeaders: the right value is kept, a wrong one refused with
// nothing stored.
func TestChecksumHeaders(t *testing.T) {
	w := newWorld(t)
	for alg, f := range algorithms {
		for _, n := range []int{0, 9, 5000, 2 << 20} {
			key, content := strings.ToLower(string(alg)), noise(n)
			in := &s3.PutObjectInput{Bucket: w.b, Key: &key, Body: bytes.NewReader(content)}
			want := b64(f(content))
			setSum(in, alg, want)
			_, err := w.c.PutObject(ctx, in)
			ok(t, "put with "+key, err)
			if got, typ := w.headSum(key, alg); got != want || typ != types.ChecksumTypeFullObject {
				t.Errorf("%s of %d bytes: %q %s, want %q", alg, n, got, typ, want)
			}
			in.Body, in.Key = bytes.NewReader(content), p("wrong")
			setSum(in, alg, b64(f([]byte("something else"))))
			_, err = w.c.PutObject(ctx, in)
			wantCode(t, "put with a wrong "+key, err, "BadDigest", 400)
			_, err = w.get("wrong")
			wantCode(t, "get", err, "NoSuchKey", 404)
		}
		in := &s3.PutObjectInput{Bucket: w.b, Key: p("bad")}
		setSum(in, alg, "!")
		_, err := w.c.PutObject(ctx, in)
		wantCode(t, string(alg)+" of no base64", err, "InvalidRequest", 400)
	}
}

// TestDefaultChecksums: what LoadDefaultConfig makes clients do: CRC32 with
// each upload, and a check of each download.
func TestDefaultChecksums(t *testing.T) {
	w := newWorld(t)
	o := w.c.Options()
	o.RequestChecksumCalculation, o.ResponseChecksumValidation = aws.RequestChecksumCalculationWhenSupported, aws.ResponseChecksumValidationWhenSupported
	w.c = s3.New(o)
	content := noise(100_000)
	out := w.put("k", content)
	want := b64(algorithms[types.ChecksumAlgorithmCrc32](content))
	if aws.ToString(out.ChecksumCRC32) != want {
		t.Errorf("the answer has CRC32 %q, want %q", aws.ToString(out.ChecksumCRC32), want)
	}
	g, err := w.c.GetObject(ctx, &s3.GetObjectInput{Bucket: w.b, Key: p("k")})
	ok(t, "get", err)
	b, err := io.ReadAll(g.Body)
	if err != nil || !bytes.Equal(b, content) || aws.ToString(g.ChecksumCRC32) != want {
		t.Errorf("%d bytes, %v, CRC32 %q", len(b), err, aws.ToString(g.ChecksumCRC32))
	}
	a, err := w.c.GetObjectAttributes(ctx, &s3.GetObjectAttributesInput{Bucket: w.b, Key: p("k"),
		ObjectAttributes: []types.ObjectAttributes{types.ObjectAttributesChecksum, types.ObjectAttributesObjectSize, types.ObjectAttributesEtag}})
	if err != nil {
		t.Logf("GetObjectAttributes: %v", err)
	} else if *a.ObjectSize != 100_000 || a.Checksum == nil || aws.ToString(a.Checksum.ChecksumCRC32) != want {
		t.Errorf("GetObjectAttributes: %+v", a)
	}
}

// TestMultipartChecksums: composite values over the parts', and values of the
// whole object.
func TestMultipartChecksums(t *testing.T) {
	w := newWorld(t)
	parts := [][]byte{noise(minPart), noise(minPart + 1), noise(10)}
	for _, c := range []struct {
		alg types.ChecksumAlgorithm
		typ types.ChecksumType
	}{
		{types.ChecksumAlgorithmCrc32, types.ChecksumTypeComposite}, {types.ChecksumAlgorithmCrc32c, types.ChecksumTypeComposite},
		{types.ChecksumAlgorithmSha1, types.ChecksumTypeComposite}, {types.ChecksumAlgorithmSha256, types.ChecksumTypeComposite},
		{types.ChecksumAlgorithmCrc32, types.ChecksumTypeFullObject}, {types.ChecksumAlgorithmCrc32c, types.ChecksumTypeFullObject},
		{types.ChecksumAlgorithmCrc64nvme, types.ChecksumTypeFullObject},
	} {
		f := algorithms[c.alg]
		up, err := w.c.CreateMultipartUpload(ctx, &s3.CreateMultipartUploadInput{Bucket: w.b, Key: p("k"), ChecksumAlgorithm: c.alg, ChecksumType: c.typ})
		ok(t, "create", err)
		var done []types.CompletedPart
		var sums, all []byte
		for i, b := range parts {
			out, err := w.c.UploadPart(ctx, &s3.UploadPartInput{Bucket: w.b, Key: p("k"), UploadId: up.UploadId, PartNumber: p(int32(i + 1)), Body: bytes.NewReader(b), ChecksumAlgorithm: c.alg})
			ok(t, "part", err)
			done = append(done, types.CompletedPart{PartNumber: p(int32(i + 1)), ETag: out.ETag, ChecksumCRC32: out.ChecksumCRC32, ChecksumCRC32C: out.ChecksumCRC32C,
				ChecksumSHA1: out.ChecksumSHA1, ChecksumSHA256: out.ChecksumSHA256, ChecksumCRC64NVME: out.ChecksumCRC64NVME})
			sums, all = append(sums, f(b)...), append(all, b...)
		}
		_, err = w.c.CompleteMultipartUpload(ctx, &s3.CompleteMultipartUploadInput{Bucket: w.b, Key: p("k"), UploadId: up.UploadId, ChecksumType: c.typ,
			MultipartUpload: &types.CompletedMultipartUpload{Parts: done}})
		ok(t, "complete", err)
		want := b64(f(all))
		if c.typ == types.ChecksumTypeComposite {
			want = b64(f(sums)) + "-3"
		}
		if got, typ := w.headSum("k", c.alg); got != want || typ != c.typ {
			t.Errorf("%s %s: %q %s, want %q", c.alg, c.typ, got, typ, want)
		}
		w.wantContent("k", all)
	}
	_, err := w.c.CreateMultipartUpload(ctx, &s3.CreateMultipartUploadInput{Bucket: w.b, Key: p("k"), ChecksumAlgorithm: types.ChecksumAlgorithmSha256, ChecksumType: types.ChecksumTypeFullObject})
	wantCode(t, "SHA256 of the full object", err, "InvalidRequest", 400)
}
