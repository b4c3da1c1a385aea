package s3

import (
	"context"
	"crypto/md5"
	"encoding/hex"
	"net/http"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/spirula/spirula/gateway/s3/internal/checksum"
	"github.com/spirula/spirula/gateway/s3/internal/sig"
	"github.com/spirula/spirula/mds"
	"github.com/spirula/spirula/rados/wire"
)

// source is the object that x-amz-copy-source names, pinned.
type source struct {
	bucket, key string
	r           mds.Reader
}

// openSource finds the source of a copy, checks that the sender may read it,
// and its conditions.
func (rq *request) openSource() (*source, error) {
	text := rq.header("X-Amz-Copy-Source")
	path, version, _ := strings.Cut(text, "?versionId=")
	q, err := sig.ParseQuery("p=" + strings.ReplaceAll(strings.ReplaceAll(path, "+", "%2B"), "&", "%26"))
	if err != nil || len(q) == 0 {
		return nil, invalid("x-amz-copy-source", text, "Invalid copy source encoding.")
	}
	s := &source{}
	ok := false
	if s.bucket, s.key, ok = strings.Cut(strings.TrimPrefix(q[0].Value, "/"), "/"); !ok || s.bucket == "" || s.key == "" {
		return nil, invalid("x-amz-copy-source", text, "Copy Source must mention the source bucket and key: sourcebucket/sourcekey")
	}
	switch {
	case len(s.key) > mds.MaxKey:
		return nil, fault("KeyTooLongError")
	case !utf8.ValidString(s.key):
		return nil, invalid("x-amz-copy-source", "", "The key is not valid UTF-8.")
	case version != "" && version != "null":
		return nil, fault("NoSuchVersion")
	}
	b := rq.b
	if s.bucket != rq.bucket {
		if b, err = rq.g.bucket(rq.ctx(), s.bucket); err != nil {
			return nil, err
		}
		if !owns(rq.user, &b) {
			return nil, fault("AccessDenied")
		}
	}
	if s.r, err = rq.g.o.FS.OpenObject(rq.ctx(), b.Ino, s.key); err != nil {
		if wire.ErrnoOf(err) == wire.ENOENT {
			return nil, fault("NoSuchKey").with("Key", s.key)
		}
		return nil, err
	}
	o := s.r.Object()
	if err := rq.sourceReading().check(o.ETag, o.Attr.Mtime); err != nil {
		s.r.Close()
		return nil, err
	}
	return s, nil
}

// copyObject makes another object of the source's content. No bytes move;
// they are read only if a checksum is wanted that the source doesn't have.
func (rq *request) copyObject() error {
	spec, alg, err := rq.copySpec()
	if err != nil {
		return err
	}
	s, err := rq.openSource()
	if err != nil {
		return err
	}
	defer s.r.Close()
	from := s.r.Object()
	if s.bucket == rq.bucket && s.key == rq.key && !spec.Replace && rq.header("X-Amz-Storage-Class") == "" && rq.header("X-Amz-Website-Redirect-Location") == "" {
		return faultf("InvalidRequest", "This copy request is illegal because it is trying to copy an object to itself without changing the object's metadata, storage class, website redirect location or encryption attributes.")
	}
	if !spec.Replace && (rq.header("X-Amz-Storage-Class") != "" || rq.header("X-Amz-Website-Redirect-Location") != "" || from.Meta.WebsiteRedirect != "") {
		// These two follow the request, whatever the directive says.
		m := from.Meta
		m.StorageClass, m.WebsiteRedirect = spec.Meta.StorageClass, spec.Meta.WebsiteRedirect
		spec.Meta, spec.Replace = m, true
	}
	spec.Meta.Owner = rq.user.Name
	ctx := rq.ctx()
	if alg != mds.ChecksumNone && (from.Checksum.Algorithm != alg || from.Checksum.Composite) {
		d, err := rq.digest(ctx, s.r, span{0, from.Attr.Size}, alg)
		if err != nil {
			return err
		}
		spec.Checksum = &mds.Checksum{Algorithm: alg, Value: d.sum}
	}
	o, err := rq.g.o.FS.Copy(ctx, rq.cred(), s.r, rq.b.Ino, rq.key, spec)
	if err != nil {
		return err
	}
	x := newXML()
	defer x.free()
	x.root("CopyObjectResult")
	x.time("LastModified", o.Attr.Mtime)
	x.etag(o.ETag)
	if c := o.Checksum; c.Algorithm != mds.ChecksumNone {
		x.elem(checksum.Element(c.Algorithm), checksumText(c, len(o.Parts)))
		x.elem("ChecksumType", checksumType(c.Composite))
	}
	x.close("CopyObjectResult")
	rq.sendXML(http.StatusOK, x)
	return nil
}

// copySpec reads what a copy's headers say of the destination.
func (rq *request) copySpec() (spec mds.CopySpec, alg checksum.Algorithm, err error) {
	if spec.Cond, err = rq.writing(); err != nil {
		return
	}
	if spec.Meta, err = rq.readMeta(); err != nil {
		return
	}
	switch v := rq.header("X-Amz-Metadata-Directive"); v {
	case "", "COPY":
	case "REPLACE":
		spec.Replace = true
	default:
		return spec, 0, invalid("x-amz-metadata-directive", v, "Unknown metadata directive.")
	}
	switch v := rq.header("X-Amz-Tagging-Directive"); v {
	case "", "COPY", "REPLACE":
	default:
		return spec, 0, invalid("x-amz-tagging-directive", v, "Unknown tagging directive.")
	}
	if v := rq.header("X-Amz-Checksum-Algorithm"); v != "" {
		ok := false
		if alg, ok = checksum.Parse(v); !ok {
			return spec, 0, faultf("InvalidRequest", "Checksum algorithm provided is unsupported. Please try again with any of the valid types: [CRC32, CRC32C, CRC64NVME, SHA1, SHA256]")
		}
	}
	return spec, alg, rq.checkUnsupported()
}

// digest reads a span of an object and computes its MD5 and a checksum.
func (rq *request) digest(ctx context.Context, r mds.Reader, s span, alg checksum.Algorithm) (*digests, error) {
	n, err := rq.g.reads.acquire(ctx, min(int64(s.n), 2*readPiece), rq.g.o.AdmitTimeout)
	if err != nil {
		return nil, err
	}
	defer rq.g.reads.release(n)
	m, c := md5.New(), checksum.New(alg)
	ahead := prefetch(ctx, r, s, readPiece)
	defer ahead.stop()
	for p := range ahead.pieces {
		if p.err != nil {
			return nil, p.err
		}
		for i := range p.d.NumSegs() {
			m.Write(p.d.Seg(i).Bytes())
			c.Write(p.d.Seg(i).Bytes())
		}
		p.d.Release()
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	d := &digests{sum: c.Sum()}
	m.Sum(d.md5[:0])
	return d, nil
}

// uploadPartCopy makes a range of another object a part. No bytes move; they
// are read only if the upload wants a checksum that is not known of them.
func (rq *request) uploadPartCopy() error {
	id, number, err := rq.partOf()
	if err != nil {
		return err
	}
	ctx := rq.ctx()
	up, err := rq.g.o.FS.StatUpload(ctx, rq.b.Ino, rq.key, id)
	if err != nil {
		return err
	}
	s, err := rq.openSource()
	if err != nil {
		return err
	}
	defer s.r.Close()
	o := s.r.Object()
	sp := span{0, o.Attr.Size}
	if v := rq.header("X-Amz-Copy-Source-Range"); v != "" {
		if sp, err = parseCopyRange(v, o.Attr.Size); err != nil {
			return err
		}
	}
	if sp.n > MaxPut {
		return faultf("InvalidRequest", "The specified copy source is larger than the maximum allowable size for a copy source: "+strconv.FormatInt(MaxPut, 10))
	}
	p := mds.Part{Number: number, Size: sp.n}
	if p.ETag, p.Checksum, err = rq.partDigest(ctx, s.r, sp, up.Spec.Algorithm); err != nil {
		return err
	}
	done, err := rq.g.o.FS.CopyPart(ctx, s.r, sp.off, sp.n, rq.b.Ino, rq.key, id, p)
	if err != nil {
		return err
	}
	x := newXML()
	defer x.free()
	x.root("CopyPartResult")
	x.time("LastModified", done.Mtime)
	x.etag(done.ETag)
	if c := done.Checksum; c.Algorithm != mds.ChecksumNone {
		x.elem(checksum.Element(c.Algorithm), checksum.Encode(c.Value))
	}
	x.close("CopyPartResult")
	rq.sendXML(http.StatusOK, x)
	return nil
}

// partDigest finds ETag and checksum of a copied part. If the bytes must be
// read for the checksum, the ETag is their MD5; if they are all of an object
// whose ETag is its MD5, it is that one; otherwise it is a digest of what
// names the bytes (the source's ETag and the range), which no other content
// has either.
func (rq *request) partDigest(ctx context.Context, r mds.Reader, s span, alg checksum.Algorithm) (string, mds.Checksum, error) {
	o := r.Object()
	whole := s == span{0, o.Attr.Size}
	sum := mds.Checksum{}
	if alg != mds.ChecksumNone {
		if whole && o.Checksum.Algorithm == alg && !o.Checksum.Composite {
			sum = o.Checksum
		} else {
			d, err := rq.digest(ctx, r, s, alg)
			if err != nil {
				return "", sum, err
			}
			return d.etag(), mds.Checksum{Algorithm: alg, Value: d.sum}, nil
		}
	}
	if whole && len(o.ETag) == 2*md5.Size && strings.IndexByte(o.ETag, '-') < 0 {
		return o.ETag, sum, nil
	}
	b := append([]byte("part of "), o.ETag...)
	b = strconv.AppendUint(append(b, ' '), s.off, 10)
	b = strconv.AppendUint(append(b, ' '), s.n, 10)
	h := md5.Sum(b)
	return hex.EncodeToString(h[:]), sum, nil
}
