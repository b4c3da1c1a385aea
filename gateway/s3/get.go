package s3

import (
	"context"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/spirula/spirula/gateway/s3/internal/checksum"
	"github.com/spirula/spirula/mds"
	"github.com/spirula/spirula/rados/wire"
)

const (
	// readPiece is how much a download reads at once; with readPiece in the
	// socket and one fetched ahead, it holds two.
	readPiece = 256 << 10
	// wideReadPiece is used while there is room for it.
	wideReadPiece = 1 << 20
)

func (rq *request) headObject() error {
	o, err := rq.g.o.FS.StatObject(rq.ctx(), rq.b.Ino, rq.key)
	if err != nil {
		return err
	}
	_, code, err := rq.describe(o)
	if err != nil {
		return err
	}
	rq.status(code)
	return nil
}

// describe checks the conditions of a GET or HEAD, finds the bytes that are
// asked for, and sets the answer's headers.
func (rq *request) describe(o *mds.Object) (span, int, error) {
	h := rq.w.Header()
	rq.writeETag(o.ETag)
	h["Last-Modified"] = []string{httpTime(o.Attr.Mtime)}
	h["Accept-Ranges"] = acceptRanges
	if err := rq.reading().check(o.ETag, o.Attr.Mtime); err != nil {
		return span{}, 0, err
	}
	s, sum, code := span{0, o.Attr.Size}, o.Checksum, http.StatusOK
	rangeHeader := rq.header("Range")
	if v, ok := rq.q.Get("partNumber"); ok {
		if rangeHeader != "" {
			return s, 0, faultf("InvalidRequest", "Cannot specify both Range header and partNumber query parameter")
		}
		part, partSum, err := findPart(o, v)
		if err != nil {
			return s, 0, err
		}
		s, sum, code = part, partSum, http.StatusPartialContent
		if o.Parts != nil {
			h["X-Amz-Mp-Parts-Count"] = []string{itoa(len(o.Parts))}
		}
	} else if rangeHeader != "" && rq.rangeStands(o) {
		part, ok, err := parseRange(rangeHeader, o.Attr.Size)
		if err != nil {
			h["Content-Range"] = []string{"bytes */" + strconv.FormatUint(o.Attr.Size, 10)}
			return s, 0, err
		}
		if ok {
			s, sum, code = part, mds.Checksum{}, http.StatusPartialContent
		}
	}
	rq.writeMeta(o)
	if err := rq.writeOverrides(); err != nil {
		return s, 0, err
	}
	if strings.EqualFold(rq.header("X-Amz-Checksum-Mode"), "ENABLED") {
		rq.writeObjectChecksum(sum, len(o.Parts))
	}
	if code == http.StatusPartialContent && s.n > 0 {
		h["Content-Range"] = []string{contentRange(s, o.Attr.Size)}
	}
	h["Content-Length"] = contentLength(int64(s.n))
	return s, code, nil
}

var acceptRanges = []string{"bytes"}

func contentRange(s span, size uint64) string {
	b := append(make([]byte, 0, 64), "bytes "...)
	b = strconv.AppendUint(b, s.off, 10)
	b = append(b, '-')
	b = strconv.AppendUint(b, s.off+s.n-1, 10)
	b = append(b, '/')
	return string(strconv.AppendUint(b, size, 10))
}

// rangeStands is the If-Range rule: the range counts only while the object
// is the one that the client has the rest of.
func (rq *request) rangeStands(o *mds.Object) bool {
	v := rq.header("If-Range")
	if v == "" {
		return true
	}
	if t, ok := parseHTTPTime(v); ok {
		return o.Attr.Mtime.Std().Truncate(time.Second).Equal(t)
	}
	return !strings.HasPrefix(v, "W/") && bareETag(v) == o.ETag
}

// writeObjectChecksum is writeChecksum with the number of parts that
// composite values are shown with.
func (rq *request) writeObjectChecksum(c mds.Checksum, parts int) {
	if c.Algorithm == mds.ChecksumNone || len(c.Value) == 0 {
		return
	}
	rq.writeChecksum(c)
	rq.w.Header()[checksum.Header(c.Algorithm)] = []string{checksumText(c, parts)}
}

func checksumText(c mds.Checksum, parts int) string {
	v := checksum.Encode(c.Value)
	if c.Composite {
		v += "-" + itoa(parts)
	}
	return v
}

// findPart is the range of one part, and its checksum. An object that was
// not uploaded in parts has one.
func findPart(o *mds.Object, text string) (span, mds.Checksum, error) {
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 || n > maxPartNumber {
		return span{}, mds.Checksum{}, invalid("partNumber", text, "Part number must be an integer between 1 and 10000, inclusive")
	}
	if o.Parts == nil {
		if n != 1 {
			return span{}, mds.Checksum{}, fault("InvalidPartNumber").with("PartNumberRequested", text).with("ActualPartCount", "1")
		}
		return span{0, o.Attr.Size}, o.Checksum, nil
	}
	// S3 counts the parts of a finished object 1, 2, 3, whatever the numbers
	// were under which they were uploaded.
	if n > len(o.Parts) {
		return span{}, mds.Checksum{}, fault("InvalidPartNumber").with("PartNumberRequested", text).with("ActualPartCount", itoa(len(o.Parts)))
	}
	s := span{}
	for _, p := range o.Parts[:n-1] {
		s.off += p.Size
	}
	p := o.Parts[n-1]
	s.n = p.Size
	return s, mds.Checksum{Algorithm: o.Checksum.Algorithm, Value: p.Checksum}, nil
}

func (rq *request) getObject() error {
	r, err := rq.g.o.FS.OpenObject(rq.ctx(), rq.b.Ino, rq.key)
	if err != nil {
		return err
	}
	defer r.Close()
	s, code, err := rq.describe(r.Object())
	if err != nil {
		return err
	}
	if s.n == 0 {
		rq.status(code)
		return nil
	}
	return rq.send(r, s, code)
}

// send writes the span. The first piece is read before the head goes out, so
// that an object that can't be read is an error and not a cut connection;
// afterwards there is no other way to say it. A short body never ends well.
func (rq *request) send(r mds.Reader, s span, code int) error {
	ctx, g := rq.ctx(), rq.g
	piece := int64(readPiece)
	hold := min(int64(s.n), 2*piece)
	n, err := g.reads.acquire(ctx, hold, g.o.AdmitTimeout)
	if err != nil {
		return err
	}
	defer func() { g.reads.release(n) }()
	if more := 2*int64(wideReadPiece) - n; s.n > 2*readPiece && g.reads.try(more) {
		n += more
		piece = wideReadPiece
	}
	d, err := readFull(ctx, r, s.off, int(min(uint64(piece), s.n)))
	if err != nil {
		return err
	}
	rc := http.NewResponseController(rq.w)
	defer rc.SetWriteDeadline(time.Time{})
	rq.status(code)
	if uint64(d.Len()) == s.n {
		rq.sendPiece(rc, d)
		return nil
	}
	ahead := prefetch(ctx, r, span{s.off + uint64(d.Len()), s.n - uint64(d.Len())}, int(piece))
	defer ahead.stop()
	for {
		rq.sendPiece(rc, d)
		next, ok := <-ahead.pieces
		if !ok {
			return nil
		}
		if next.err != nil {
			return next.err
		}
		d = next.d
	}
}

// sendPiece writes a piece to the socket and gives it back.
func (rq *request) sendPiece(rc *http.ResponseController, d wire.Data) {
	defer d.Release()
	for i := range d.NumSegs() {
		for p := d.Seg(i).Bytes(); len(p) > 0; {
			rc.SetWriteDeadline(time.Now().Add(rq.g.o.StallTimeout))
			n, err := rq.w.Write(p[:min(len(p), stallStep)])
			rq.g.Metrics.BytesSent.Add(int64(n))
			if err != nil {
				panic(http.ErrAbortHandler) // the client is gone: nobody to tell
			}
			p = p[n:]
		}
	}
}

// readFull is ReadAt that treats fewer bytes as the failure it is: the
// object is pinned, so all of them are there.
func readFull(ctx context.Context, r mds.Reader, off uint64, n int) (wire.Data, error) {
	d, err := r.ReadAt(ctx, off, n)
	if err != nil {
		return wire.Data{}, err
	}
	if d.Len() != n {
		got := d.Len()
		d.Release()
		return wire.Data{}, wire.Errorf("s3.get", "asked for "+itoa(n)+" bytes, read "+itoa(got), wire.EIO)
	}
	return d, nil
}

type readAhead struct {
	pieces chan readResult
	cancel context.CancelFunc
}

type readResult struct {
	d   wire.Data
	err error
}

// prefetch reads s piece by piece in a goroutine, one ahead of the receiver.
func prefetch(ctx context.Context, r mds.Reader, s span, piece int) *readAhead {
	ctx, cancel := context.WithCancel(ctx)
	a := &readAhead{pieces: make(chan readResult), cancel: cancel}
	go func() {
		defer close(a.pieces)
		for s.n > 0 {
			n := min(uint64(piece), s.n)
			d, err := readFull(ctx, r, s.off, int(n))
			select {
			case a.pieces <- readResult{d, err}:
			case <-ctx.Done():
				d.Release()
				return
			}
			if err != nil {
				return
			}
			s.off, s.n = s.off+n, s.n-n
		}
	}()
	return a
}

// stop ends the reading and waits for it: the Reader must not be closed
// under it.
func (a *readAhead) stop() {
	a.cancel()
	for p := range a.pieces {
		p.d.Release()
	}
}

// objectAttributes is GetObjectAttributes: the parts of a HEAD that were
// asked for, as XML.
func (rq *request) objectAttributes() error {
	o, err := rq.g.o.FS.StatObject(rq.ctx(), rq.b.Ino, rq.key)
	if err != nil {
		return err
	}
	if err := rq.reading().check(o.ETag, o.Attr.Mtime); err != nil {
		return err
	}
	want := map[string]bool{}
	for _, v := range rq.r.Header["X-Amz-Object-Attributes"] {
		for name := range strings.SplitSeq(v, ",") {
			switch name = strings.TrimSpace(name); name {
			case "ETag", "Checksum", "ObjectParts", "StorageClass", "ObjectSize":
				want[name] = true
			default:
				return invalid("x-amz-object-attributes", name, "Invalid attribute name specified.")
			}
		}
	}
	if len(want) == 0 {
		return faultf("InvalidRequest", "The x-amz-object-attributes header specifying the attributes to be retrieved is either missing or empty")
	}
	x := newXML()
	defer x.free()
	x.root("GetObjectAttributesResponse")
	if want["ETag"] {
		x.elem("ETag", o.ETag)
	}
	if c := o.Checksum; want["Checksum"] && c.Algorithm != mds.ChecksumNone {
		x.open("Checksum")
		x.elem(checksum.Element(c.Algorithm), checksumText(c, len(o.Parts)))
		x.elem("ChecksumType", checksumType(c.Composite))
		x.close("Checksum")
	}
	if want["ObjectParts"] && o.Parts != nil {
		if err := rq.attributeParts(x, o); err != nil {
			return err
		}
	}
	if want["StorageClass"] {
		class := o.Meta.StorageClass
		if class == "" {
			class = "STANDARD"
		}
		x.elem("StorageClass", class)
	}
	if want["ObjectSize"] {
		x.number("ObjectSize", int64(o.Attr.Size))
	}
	x.close("GetObjectAttributesResponse")
	rq.w.Header()["Last-Modified"] = []string{httpTime(o.Attr.Mtime)}
	rq.sendXML(http.StatusOK, x)
	return nil
}

func (rq *request) attributeParts(x *xmlBuf, o *mds.Object) error {
	limit, marker := maxListKeys, 0
	for name, to := range map[string]*int{"X-Amz-Max-Parts": &limit, "X-Amz-Part-Number-Marker": &marker} {
		if v := rq.header(name); v != "" {
			n, err := strconv.Atoi(v)
			if err != nil || n < 0 {
				return invalid(name, v, "")
			}
			*to = n
		}
	}
	limit = min(limit, maxListKeys)
	x.open("ObjectParts")
	x.number("PartsCount", int64(len(o.Parts)))
	x.number("PartNumberMarker", int64(marker))
	end := min(len(o.Parts), marker+limit)
	if marker < end {
		x.number("NextPartNumberMarker", int64(end))
	}
	x.number("MaxParts", int64(limit))
	x.boolean("IsTruncated", end < len(o.Parts) && limit > 0)
	for i := marker; i < end; i++ {
		p := o.Parts[i]
		x.open("Part")
		x.number("PartNumber", int64(i+1))
		x.number("Size", int64(p.Size))
		if len(p.Checksum) > 0 && o.Checksum.Algorithm != mds.ChecksumNone {
			x.elem(checksum.Element(o.Checksum.Algorithm), checksum.Encode(p.Checksum))
		}
		x.close("Part")
	}
	x.close("ObjectParts")
	return nil
}
