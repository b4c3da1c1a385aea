package s3

import (
	"context"
	"crypto/md5"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/spirula/spirula/gateway/s3/internal/body"
	"github.com/spirula/spirula/gateway/s3/internal/checksum"
	"github.com/spirula/spirula/gateway/s3/internal/sig"
	"github.com/spirula/spirula/mds"
	"github.com/spirula/spirula/rados/wire"
)

const (
	// MaxPut is the largest body of one PutObject or UploadPart, in bytes.
	MaxPut = 5 << 30
	// pieceSize is how much of a large body is read at once: one Buf.
	pieceSize = wire.MaxBuf
	// firstPiece is less, so that hashing and writing begin early.
	firstPiece = 256 << 10
	// hashAside is the size from which MD5 has a goroutine of its own.
	hashAside = 256 << 10
	// hashQueue is how many pieces may wait for that goroutine.
	hashQueue = 2
	// stallStep is how much of a body must come, or go, within
	// Options.StallTimeout.
	stallStep = 256 << 10
	// admission is what a large upload is charged: what it fills and what
	// its writer has not yet stored, about.
	admission = 4 << 20
)

// upload is a body about to be read, and everything its headers say that it
// must fit.
type upload struct {
	size    int64
	src     io.Reader
	chunked *body.Chunked // nil: plain

	sha256  []byte // of the body; nil: not told
	md5     []byte // Content-MD5; nil: not told
	alg     checksum.Algorithm
	value   []byte // told in a header; nil: in the trailer, or not told
	trailer bool   // alg's value comes in the trailer
}

// digests is what was computed of a body.
type digests struct {
	md5 [md5.Size]byte
	sum []byte // of upload.alg; nil for none
}

func (d *digests) etag() string { return hex.EncodeToString(d.md5[:]) }

// upload looks at all headers that describe the body, without reading it.
func (rq *request) upload() (*upload, error) {
	u := &upload{size: rq.r.ContentLength, src: rq.r.Body}
	if v := rq.header("Content-Md5"); v != "" {
		raw, err := base64.StdEncoding.DecodeString(v)
		if err != nil || len(raw) != md5.Size {
			return nil, fault("InvalidDigest").with("Content-MD5", v)
		}
		u.md5 = raw
	}
	if err := rq.readChecksumHeaders(u); err != nil {
		return nil, err
	}
	streamed := body.Options{}
	switch p := rq.auth.Payload; p {
	case sig.Unsigned:
	case sig.StreamUnsignedTrailer:
		streamed.Trailer = true
	case sig.StreamSigned, sig.StreamSignedTrailer:
		chunks := rq.auth.Chunks()
		if chunks == nil {
			return nil, faultf("InvalidRequest", "Signed streaming needs a Signature Version 4 authorization")
		}
		streamed.Signer, streamed.Trailer = chunks, p == sig.StreamSignedTrailer
	default:
		raw, err := hex.DecodeString(p)
		if err != nil || len(raw) != sha256.Size {
			return nil, invalid("x-amz-content-sha256", p, "x-amz-content-sha256 must be UNSIGNED-PAYLOAD, STREAMING-UNSIGNED-PAYLOAD-TRAILER, STREAMING-AWS4-HMAC-SHA256-PAYLOAD, STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER or a valid sha256 value.")
		}
		u.sha256 = raw
	}
	if streamed.Trailer || streamed.Signer != nil {
		v := rq.header("X-Amz-Decoded-Content-Length")
		n, err := strconv.ParseInt(v, 10, 64)
		if v == "" {
			return nil, fault("MissingContentLength")
		}
		if err != nil || n < 0 {
			return nil, invalid("x-amz-decoded-content-length", v, "")
		}
		u.size, streamed.Length = n, n
	}
	if u.trailer && !streamed.Trailer {
		return nil, faultf("InvalidRequest", "x-amz-trailer was given, but the payload has no trailer")
	}
	if u.size < 0 {
		return nil, fault("MissingContentLength")
	}
	if u.size > MaxPut {
		return nil, fault("EntityTooLarge").with("ProposedSize", strconv.FormatInt(u.size, 10)).with("MaxSizeAllowed", strconv.FormatInt(MaxPut, 10))
	}
	if streamed.Trailer || streamed.Signer != nil {
		u.chunked = body.NewChunked(rq.r.Body, streamed)
		u.src = u.chunked
	}
	return u, nil
}

// readChecksumHeaders finds the one checksum that came, or is announced for
// the trailer.
func (rq *request) readChecksumHeaders(u *upload) error {
	const prefix = "X-Amz-Checksum-"
	h := rq.r.Header
	for name := range h {
		if !strings.HasPrefix(name, prefix) {
			continue
		}
		switch name {
		case prefix + "Algorithm", prefix + "Type", prefix + "Mode":
			continue
		}
		alg, ok := checksum.Parse(name[len(prefix):])
		if !ok {
			return faultf("InvalidRequest", "The algorithm type you specified in "+strings.ToLower(name)+" header is invalid.")
		}
		if u.alg != mds.ChecksumNone {
			return faultf("InvalidRequest", "Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed.")
		}
		if u.value, ok = checksum.Decode(alg, h[name][0]); !ok {
			return faultf("InvalidRequest", "Value for "+strings.ToLower(name)+" header is invalid.")
		}
		u.alg = alg
	}
	for list := range strings.SplitSeq(rq.header("X-Amz-Trailer"), ",") {
		name := strings.ToLower(strings.TrimSpace(list))
		if name == "" {
			continue
		}
		alg, ok := checksum.Parse(strings.TrimPrefix(name, "x-amz-checksum-"))
		if !ok || !strings.HasPrefix(name, "x-amz-checksum-") {
			return faultf("InvalidRequest", "The value specified in the x-amz-trailer header is not supported")
		}
		if u.alg != mds.ChecksumNone {
			return faultf("InvalidRequest", "Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed.")
		}
		u.alg, u.trailer = alg, true
	}
	if v := rq.header("X-Amz-Sdk-Checksum-Algorithm"); v != "" {
		alg, ok := checksum.Parse(v)
		if !ok || u.alg != mds.ChecksumNone && u.alg != alg {
			return faultf("InvalidRequest", "Value for x-amz-sdk-checksum-algorithm header is invalid.")
		}
		if u.alg == mds.ChecksumNone {
			return faultf("InvalidRequest", "x-amz-sdk-checksum-algorithm specified, but no corresponding x-amz-checksum-* or x-amz-trailer headers were found.")
		}
	}
	return nil
}

// hasher computes a body's digests as its pieces come.
type hasher struct {
	md5 hash.Hash
	sha hash.Hash // nil: not asked
	sum checksum.Hash
	// feed takes pieces to the goroutine that computes MD5; nil: computed
	// in place.
	feed chan wire.Data
	done chan struct{}
}

func (u *upload) hasher() *hasher {
	h := &hasher{md5: md5.New(), sum: checksum.New(u.alg)}
	if u.sha256 != nil && u.alg != mds.ChecksumSHA256 {
		h.sha = sha256.New()
	}
	if u.size > hashAside {
		h.feed, h.done = make(chan wire.Data, hashQueue), make(chan struct{})
		go func() {
			defer close(h.done)
			for d := range h.feed {
				h.md5.Write(d.Seg(0).Bytes())
				d.Release()
			}
		}()
	}
	return h
}

// write takes one piece, of one segment.
func (h *hasher) write(d wire.Data) {
	p := d.Seg(0).Bytes()
	if h.feed != nil {
		h.feed <- d.Retain()
	} else {
		h.md5.Write(p)
	}
	if h.sha != nil {
		h.sha.Write(p)
	}
	h.sum.Write(p)
}

// end waits for the goroutine; it may be called twice.
func (h *hasher) end() {
	if h.feed != nil {
		close(h.feed)
		<-h.done
		h.feed = nil
	}
}

// check compares what came with what was told, and gives the digests.
func (u *upload) check(h *hasher) (*digests, error) {
	h.end()
	d := &digests{sum: h.sum.Sum()}
	h.md5.Sum(d.md5[:0])
	if u.md5 != nil && string(u.md5) != string(d.md5[:]) {
		return nil, faultf("BadDigest", "The Content-MD5 you specified did not match what we received.").
			with("ExpectedDigest", hex.EncodeToString(u.md5)).with("CalculatedDigest", d.etag())
	}
	if u.sha256 != nil {
		got := d.sum
		if h.sha != nil {
			got = h.sha.Sum(nil)
		}
		if string(got) != string(u.sha256) {
			return nil, fault("XAmzContentSHA256Mismatch").
				with("ClientComputedContentSHA256", hex.EncodeToString(u.sha256)).with("S3ComputedContentSHA256", hex.EncodeToString(got))
		}
	}
	want := u.value
	if u.trailer {
		var err error
		if want, err = u.trailerValue(); err != nil {
			return nil, err
		}
	}
	if want != nil && string(want) != string(d.sum) {
		return nil, faultf("BadDigest", "The "+checksum.Name(u.alg)+" you specified did not match the calculated checksum.")
	}
	return d, nil
}

func (u *upload) trailerValue() ([]byte, error) {
	name := strings.ToLower(checksum.Header(u.alg))
	for _, f := range u.chunked.Trailer() {
		if f.Name != name {
			continue
		}
		raw, ok := checksum.Decode(u.alg, f.Value)
		if !ok {
			return nil, faultf("InvalidRequest", "Value for "+name+" trailing header is invalid.")
		}
		return raw, nil
	}
	return nil, fault("MalformedTrailerError")
}

// receive reads the body into w and gives its digests: everything was
// checked. The caller ends w, with Abort after an error. Room for the bytes
// must have been admitted.
func (rq *request) receive(ctx context.Context, u *upload, w mds.Writer) (*digests, error) {
	h := u.hasher()
	defer h.end()
	rc := http.NewResponseController(rq.w)
	// net/http watches the connection for its end while a handler runs, and a
	// deadline that passes then would cancel the request.
	defer rc.SetReadDeadline(time.Time{})
	for at := int64(0); at < u.size; {
		want := pieceSize - at%pieceSize
		if at == 0 && u.size > firstPiece {
			want = firstPiece
		}
		d, err := rq.piece(rc, u, min(want, u.size-at))
		if err != nil {
			return nil, err
		}
		at += int64(d.Len())
		h.write(d)
		if at == u.size {
			// What is said of the body is checked before the last piece is
			// handed on: a refused small object then never reaches a disk.
			if err := u.finish(); err != nil {
				d.Release()
				return nil, err
			}
			dg, err := u.check(h)
			if err == nil {
				err = w.Write(ctx, d)
			}
			d.Release()
			return dg, err
		}
		err = w.Write(ctx, d)
		d.Release()
		if err != nil {
			return nil, err
		}
	}
	if err := u.finish(); err != nil {
		return nil, err
	}
	return u.check(h)
}

// piece reads the next n bytes of the body into a Buf.
func (rq *request) piece(rc *http.ResponseController, u *upload, n int64) (wire.Data, error) {
	var d wire.Data
	buf := wire.NewBuf(int(n))
	for at := int64(0); at < n; {
		step := min(n-at, stallStep)
		rc.SetReadDeadline(time.Now().Add(rq.g.o.StallTimeout))
		if _, err := io.ReadFull(u.src, buf.Bytes()[at:at+step]); err != nil {
			buf.Release()
			return d, bodyError(err)
		}
		at += step
	}
	rq.g.Metrics.BytesReceived.Add(n)
	d.Append(buf, 0, int(n))
	return d, nil
}

// finish reads past the last byte: framing, signatures and trailer of a
// streamed body end there.
func (u *upload) finish() error {
	if u.chunked == nil {
		return nil
	}
	var b [1]byte
	n, err := u.chunked.Read(b[:])
	if n > 0 {
		return bodyError(body.ErrLength)
	}
	if err != io.EOF {
		return bodyError(err)
	}
	return nil
}

// bodyError marks a failure of reading the body, unless it says itself what
// was wrong with it.
func bodyError(err error) error {
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	var s *sig.Error
	if errors.As(err, &s) || errors.Is(err, body.ErrFraming) || errors.Is(err, body.ErrTrailer) {
		return err
	}
	return fmt.Errorf("%w: %w", errBodyRead, err)
}

// admit waits for room for the body. What it gives is to be called once.
func (rq *request) admit(size int64) (release func(), err error) {
	t := rq.g.uploads
	if size <= firstPiece {
		t = rq.g.small
	}
	n, err := t.acquire(rq.ctx(), charge(size), rq.g.o.AdmitTimeout)
	if err != nil {
		return nil, err
	}
	return func() { t.release(n) }, nil
}

// charge is what an upload of so many bytes holds in memory: Bufs come in
// classes.
func charge(size int64) int64 {
	switch {
	case size == 0:
		return 0
	case size <= 4<<10:
		return 4 << 10
	case size <= 64<<10:
		return 64 << 10
	case size <= 256<<10:
		return 256 << 10
	}
	return min(size+(256<<10), admission)
}

// readDocument reads a small body, an XML document, whole. must says that
// there has to be a digest over it besides the signature's.
func (rq *request) readDocument(limit int64, must bool) ([]byte, error) {
	u, err := rq.upload()
	if err != nil {
		return nil, err
	}
	if u.size > limit {
		return nil, fault("MaxMessageLengthExceeded").with("MaxMessageLengthBytes", strconv.FormatInt(limit, 10))
	}
	if must && u.md5 == nil && u.sha256 == nil && u.alg == mds.ChecksumNone {
		return nil, faultf("InvalidRequest", "Missing required header for this request: Content-MD5 OR x-amz-checksum-*")
	}
	release, err := rq.admit(u.size)
	if err != nil {
		return nil, err
	}
	defer release()
	rc := http.NewResponseController(rq.w)
	rc.SetReadDeadline(time.Now().Add(rq.g.o.StallTimeout))
	defer rc.SetReadDeadline(time.Time{})
	doc := make([]byte, u.size)
	if _, err := io.ReadFull(u.src, doc); err != nil {
		return nil, bodyError(err)
	}
	if err := u.finish(); err != nil {
		return nil, err
	}
	h := &hasher{md5: md5.New(), sum: checksum.New(u.alg)}
	h.md5.Write(doc)
	h.sum.Write(doc)
	if u.sha256 != nil {
		h.sha = sha256.New()
		h.sha.Write(doc)
	}
	_, err = u.check(h)
	return doc, err
}
