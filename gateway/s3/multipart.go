package s3

import (
	"crypto/md5"
	"encoding/hex"
	"net/http"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/spirula/spirula/gateway/s3/internal/checksum"
	"github.com/spirula/spirula/mds"
)

const (
	maxPartNumber  = 10000
	minPartSize    = 5 << 20  // bytes of all parts but the last
	maxCompleteXML = 4 << 20  // bytes: 10000 parts with checksums
	maxUploads     = 1000     // in one page
	maxObject      = 50 << 40 // bytes of one object
)

func (rq *request) createUpload() error {
	meta, err := rq.readMeta()
	if err != nil {
		return err
	}
	if err := rq.checkUnsupported(); err != nil {
		return err
	}
	spec := mds.UploadSpec{Meta: meta}
	if v := rq.header("X-Amz-Checksum-Algorithm"); v != "" {
		ok := false
		if spec.Algorithm, ok = checksum.Parse(v); !ok {
			return faultf("InvalidRequest", "Checksum algorithm provided is unsupported. Please try again with any of the valid types: [CRC32, CRC32C, CRC64NVME, SHA1, SHA256]")
		}
	}
	kind := strings.ToUpper(rq.header("X-Amz-Checksum-Type"))
	switch {
	case kind != "" && kind != "COMPOSITE" && kind != "FULL_OBJECT":
		return faultf("InvalidRequest", "Value for x-amz-checksum-type header is invalid.")
	case kind != "" && spec.Algorithm == mds.ChecksumNone:
		return faultf("InvalidRequest", "The x-amz-checksum-type header can only be used with the x-amz-checksum-algorithm header.")
	case kind == "FULL_OBJECT" && !checksum.IsCRC(spec.Algorithm):
		return faultf("InvalidRequest", "The FULL_OBJECT checksum type cannot be used with the "+strings.ToLower(checksum.Name(spec.Algorithm))+" checksum algorithm.")
	case kind == "COMPOSITE" && spec.Algorithm == mds.ChecksumCRC64NVME:
		return faultf("InvalidRequest", "The COMPOSITE checksum type cannot be used with the crc64nvme checksum algorithm.")
	}
	spec.FullObject = kind == "FULL_OBJECT" || spec.Algorithm == mds.ChecksumCRC64NVME
	id, err := rq.g.o.FS.CreateUpload(rq.ctx(), rq.cred(), rq.b.Ino, rq.key, spec)
	if err != nil {
		return err
	}
	if spec.Algorithm != mds.ChecksumNone {
		rq.w.Header().Set("X-Amz-Checksum-Algorithm", checksum.Name(spec.Algorithm))
		rq.w.Header().Set("X-Amz-Checksum-Type", checksumType(!spec.FullObject))
	}
	x := newXML()
	defer x.free()
	x.root("InitiateMultipartUploadResult")
	x.elem("Bucket", rq.bucket)
	x.elem("Key", rq.key)
	x.elem("UploadId", id)
	x.close("InitiateMultipartUploadResult")
	rq.sendXML(http.StatusOK, x)
	return nil
}

// partOf reads uploadId and partNumber.
func (rq *request) partOf() (id string, number int, err error) {
	id = rq.q.Value("uploadId")
	v, ok := rq.q.Get("partNumber")
	if !ok {
		return "", 0, faultf("InvalidRequest", "Missing query parameter for this request: partNumber")
	}
	number, convErr := strconv.Atoi(v)
	if convErr != nil || number < 1 || number > maxPartNumber {
		return "", 0, invalid("partNumber", v, "Part number must be an integer between 1 and 10000, inclusive")
	}
	if id == "" || len(id) > 256 {
		return "", 0, fault("NoSuchUpload").with("UploadId", "")
	}
	return id, number, nil
}

// uploadPart stores one part. The upload is looked up first: for one that
// isn't there, no byte is taken.
func (rq *request) uploadPart() error {
	id, number, err := rq.partOf()
	if err != nil {
		return err
	}
	if err := rq.checkUnsupported(); err != nil {
		return err
	}
	u, err := rq.upload()
	if err != nil {
		return err
	}
	ctx := rq.ctx()
	up, err := rq.g.o.FS.StatUpload(ctx, rq.b.Ino, rq.key, id)
	if err != nil {
		return err
	}
	want := up.Spec.Algorithm
	switch {
	case want == mds.ChecksumNone, want == u.alg:
	case u.alg == mds.ChecksumNone:
		u.alg = want // computed here for clients who leave it to us
	default:
		return faultf("InvalidRequest", "Checksum Type mismatch occurred, expected checksum Type: "+
			strings.ToLower(checksum.Name(want))+", actual checksum Type: "+strings.ToLower(checksum.Name(u.alg)))
	}
	release, err := rq.admit(u.size)
	if err != nil {
		return err
	}
	defer release()
	w, err := rq.g.o.FS.NewWriter(ctx, rq.cred(), rq.b.Ino, u.size)
	if err != nil {
		return err
	}
	defer w.Abort()
	d, err := rq.receive(ctx, u, w)
	if err != nil {
		return err
	}
	p := mds.Part{Number: number, Size: uint64(u.size), ETag: d.etag()}
	if u.alg != mds.ChecksumNone {
		p.Checksum = mds.Checksum{Algorithm: u.alg, Value: d.sum}
	}
	if _, err = rq.g.o.FS.PutPart(ctx, rq.b.Ino, rq.key, id, w, p); err != nil {
		return err
	}
	rq.writeETag(p.ETag)
	if p.Checksum.Algorithm != mds.ChecksumNone {
		rq.w.Header()[checksum.Header(u.alg)] = []string{checksum.Encode(d.sum)}
	}
	rq.w.Header()["Content-Length"] = zeroLength
	rq.status(http.StatusOK)
	return nil
}

type completeXML struct {
	Parts []struct {
		PartNumber        *int
		ETag              string
		ChecksumCRC32     string
		ChecksumCRC32C    string
		ChecksumCRC64NVME string
		ChecksumSHA1      string
		ChecksumSHA256    string
	} `xml:"Part"`
}

// completion is what a CompleteMultipartUpload asks for.
type completion struct {
	parts []mds.CompletedPart
	alg   []checksum.Algorithm // of each part's checksum; none where it gave none
	want  []byte               // the object's checksum, if told
	wantA checksum.Algorithm
	kind  string // checksum type as told; may be empty
	size  int64  // x-amz-mp-object-size; -1 when not told
}

func (rq *request) readCompletion() (*completion, error) {
	c := &completion{size: -1, kind: strings.ToUpper(rq.header("X-Amz-Checksum-Type"))}
	// Here the checksum headers speak of the object, not of this document.
	for _, a := range checksum.All {
		v := rq.header(checksum.Header(a))
		if v == "" {
			continue
		}
		value, _, _ := strings.Cut(v, "-")
		raw, ok := checksum.Decode(a, value)
		if !ok || c.wantA != mds.ChecksumNone {
			return nil, faultf("InvalidRequest", "Value for "+strings.ToLower(checksum.Header(a))+" header is invalid.")
		}
		c.want, c.wantA = raw, a
		rq.r.Header.Del(checksum.Header(a))
	}
	rq.r.Header.Del("X-Amz-Sdk-Checksum-Algorithm")
	if v := rq.header("X-Amz-Mp-Object-Size"); v != "" {
		n, err := strconv.ParseInt(v, 10, 64)
		if err != nil || n < 0 {
			return nil, invalid("x-amz-mp-object-size", v, "")
		}
		c.size = n
	}
	doc, err := rq.readDocument(maxCompleteXML, false)
	if err != nil {
		return nil, err
	}
	return c, c.readParts(doc)
}

// readParts takes the list of parts from the document.
func (c *completion) readParts(doc []byte) error {
	var m completeXML
	if err := decodeXML(doc, "CompleteMultipartUpload", &m); err != nil {
		return err
	}
	if len(m.Parts) == 0 || len(m.Parts) > maxPartNumber {
		return fault("MalformedXML")
	}
	last := 0
	for i := range m.Parts {
		p := &m.Parts[i]
		if p.PartNumber == nil || p.ETag == "" {
			return fault("MalformedXML")
		}
		if *p.PartNumber < 1 || *p.PartNumber > maxPartNumber {
			return invalid("PartNumber", itoa(*p.PartNumber), "Part number must be an integer between 1 and 10000, inclusive")
		}
		if *p.PartNumber <= last {
			return fault("InvalidPartOrder")
		}
		last = *p.PartNumber
		done := mds.CompletedPart{Number: last, ETag: bareETag(p.ETag)}
		alg := mds.ChecksumNone
		for _, s := range [...]struct {
			alg  checksum.Algorithm
			text string
		}{
			{mds.ChecksumCRC32, p.ChecksumCRC32}, {mds.ChecksumCRC32C, p.ChecksumCRC32C}, {mds.ChecksumCRC64NVME, p.ChecksumCRC64NVME},
			{mds.ChecksumSHA1, p.ChecksumSHA1}, {mds.ChecksumSHA256, p.ChecksumSHA256},
		} {
			if s.text == "" {
				continue
			}
			raw, ok := checksum.Decode(s.alg, s.text)
			if !ok || alg != mds.ChecksumNone {
				return fault("InvalidPart")
			}
			alg, done.Checksum = s.alg, raw
		}
		c.parts, c.alg = append(c.parts, done), append(c.alg, alg)
	}
	return nil
}

// finish computes the object's ETag and checksum from its parts and checks
// what was told about them. It runs inside the namespace's step, once the
// stored parts are known.
func (c *completion) finish(spec mds.UploadSpec, parts []mds.Part) (string, mds.Checksum, error) {
	var none mds.Checksum
	if len(parts) != len(c.parts) {
		return "", none, mds.ErrInvalidPart
	}
	h := md5.New()
	total := int64(0)
	sums := make([][]byte, len(parts))
	for i := range parts {
		p := &parts[i]
		raw, err := hex.DecodeString(p.ETag)
		if err != nil || len(raw) != md5.Size {
			return "", none, mds.ErrInvalidPart
		}
		h.Write(raw)
		total += int64(p.Size)
		sums[i] = p.Checksum.Value
		if want := c.parts[i].Checksum; want != nil && p.Checksum.Algorithm == c.alg[i] && string(want) != string(p.Checksum.Value) {
			return "", none, mds.ErrInvalidPart
		}
	}
	if c.size >= 0 && c.size != total {
		return "", none, faultf("InvalidRequest", "The provided 'x-amz-mp-object-size' header value "+strconv.FormatInt(c.size, 10)+
			" does not match what was computed: "+strconv.FormatInt(total, 10))
	}
	if total > maxObject {
		return "", none, fault("EntityTooLarge")
	}
	etag := hex.EncodeToString(h.Sum(nil)) + "-" + itoa(len(parts))
	if spec.Algorithm == mds.ChecksumNone {
		return etag, none, nil
	}
	sum, err := c.combine(spec, parts, sums)
	return etag, sum, err
}

func (c *completion) combine(spec mds.UploadSpec, parts []mds.Part, sums [][]byte) (mds.Checksum, error) {
	sum := mds.Checksum{Algorithm: spec.Algorithm, Composite: !spec.FullObject}
	for i := range parts {
		if parts[i].Checksum.Algorithm != spec.Algorithm || len(sums[i]) != checksum.Size(spec.Algorithm) {
			return sum, faultf("InvalidRequest", "The upload was created using a "+strings.ToLower(checksum.Name(spec.Algorithm))+
				" checksum. The complete request must include the checksum for each part. It was missing for part "+itoa(parts[i].Number)+" in the request.")
		}
	}
	if c.kind != "" && c.kind != checksumType(sum.Composite) {
		return sum, faultf("InvalidRequest", "The upload was created using the "+checksumType(sum.Composite)+" checksum mode. The complete request must use the same checksum mode.")
	}
	if sum.Composite {
		sum.Value = checksum.Composite(spec.Algorithm, sums)
	} else {
		sum.Value = sums[0]
		for i := 1; i < len(parts); i++ {
			sum.Value = checksum.Combine(spec.Algorithm, sum.Value, sums[i], parts[i].Size)
		}
	}
	if c.want != nil && (c.wantA != spec.Algorithm || string(c.want) != string(sum.Value)) {
		return sum, faultf("BadDigest", "The "+checksum.Name(c.wantA)+" you specified did not match the calculated checksum.")
	}
	return sum, nil
}

func (rq *request) completeUpload() error {
	cond, err := rq.writing()
	if err != nil {
		return err
	}
	id := rq.q.Value("uploadId")
	c, err := rq.readCompletion()
	if err != nil {
		return err
	}
	o, err := rq.g.o.FS.CompleteUpload(rq.ctx(), rq.cred(), rq.b.Ino, rq.key, id, mds.Complete{
		Cond: cond, Parts: c.parts, MinPart: minPartSize, Finish: c.finish,
	})
	if err != nil {
		return err
	}
	x := newXML()
	defer x.free()
	x.root("CompleteMultipartUploadResult")
	x.elem("Location", rq.location())
	x.elem("Bucket", rq.bucket)
	x.elem("Key", rq.key)
	x.etag(o.ETag)
	if s := o.Checksum; s.Algorithm != mds.ChecksumNone && len(s.Value) > 0 {
		x.elem(checksum.Element(s.Algorithm), checksumText(s, len(c.parts)))
		x.elem("ChecksumType", checksumType(s.Composite))
	}
	x.close("CompleteMultipartUploadResult")
	rq.sendXML(http.StatusOK, x)
	return nil
}

// location is the object's address as the client sees it.
func (rq *request) location() string {
	scheme := "http://"
	if rq.r.TLS != nil {
		scheme = "https://"
	}
	return scheme + rq.r.Host + rq.r.URL.EscapedPath()
}

func (rq *request) abortUpload() error {
	if err := rq.g.o.FS.AbortUpload(rq.ctx(), rq.b.Ino, rq.key, rq.q.Value("uploadId")); err != nil {
		return err
	}
	return rq.noContent()
}

func (rq *request) listParts() error {
	id := rq.q.Value("uploadId")
	l, err := rq.parseListing("max-parts")
	if err != nil {
		return err
	}
	after := 0
	if v := rq.q.Value("part-number-marker"); v != "" {
		if after, err = strconv.Atoi(v); err != nil || after < 0 {
			return invalid("part-number-marker", v, "Provided part-number-marker not an integer or within integer range")
		}
	}
	up, err := rq.g.o.FS.StatUpload(rq.ctx(), rq.b.Ino, rq.key, id)
	if err != nil {
		return err
	}
	var parts []mds.Part
	more := false
	if l.max > 0 {
		if parts, more, err = rq.g.o.FS.ListParts(rq.ctx(), rq.b.Ino, rq.key, id, after, l.max); err != nil {
			return err
		}
	}
	x := newXML()
	defer x.free()
	x.root("ListPartsResult")
	x.elem("Bucket", rq.bucket)
	l.name(x, "Key", rq.key)
	x.elem("UploadId", id)
	x.person("Initiator", rq.ownerName(up.Owner))
	x.owner(rq.ownerName(up.Owner))
	x.elem("StorageClass", "STANDARD")
	x.number("PartNumberMarker", int64(after))
	if len(parts) > 0 {
		x.number("NextPartNumberMarker", int64(parts[len(parts)-1].Number))
	}
	x.number("MaxParts", int64(l.max))
	x.boolean("IsTruncated", more)
	if a := up.Spec.Algorithm; a != mds.ChecksumNone {
		x.elem("ChecksumAlgorithm", checksum.Name(a))
		x.elem("ChecksumType", checksumType(!up.Spec.FullObject))
	}
	for i := range parts {
		p := &parts[i]
		x.open("Part")
		x.number("PartNumber", int64(p.Number))
		x.time("LastModified", p.Mtime)
		x.etag(p.ETag)
		x.number("Size", int64(p.Size))
		if a := p.Checksum.Algorithm; a != mds.ChecksumNone {
			x.elem(checksum.Element(a), checksum.Encode(p.Checksum.Value))
		}
		x.close("Part")
	}
	x.close("ListPartsResult")
	rq.sendXML(http.StatusOK, x)
	return nil
}

// uploadPage collects uploads and, with a delimiter, their common prefixes.
type uploadPage struct {
	uploads         []mds.Upload
	prefixes        []string
	nextKey, nextID string
	truncated       bool
}

// collectUploads fills one page. After a common prefix it goes on behind all
// that starts with it, rather than walking through.
func (rq *request) collectUploads(l *listing, key, id string) (*uploadPage, error) {
	p := &uploadPage{}
	prefix, delim := l.req.Prefix, l.req.Delimiter
	if delim != "" && strings.HasSuffix(key, delim) && strings.HasPrefix(key, prefix) && id == "" {
		key = after(key)
	}
	for n := 0; l.max > 0; {
		ups, more, err := rq.g.o.FS.ListUploads(rq.ctx(), rq.b.Ino, prefix, key, id, l.max-n+1)
		if err != nil {
			return nil, err
		}
		skipped := false
		for i := range ups {
			u := &ups[i]
			if n == l.max {
				p.truncated = true
				return p, nil
			}
			n++
			if at := strings.Index(u.Key[len(prefix):], delim); delim != "" && at >= 0 {
				c := u.Key[:len(prefix)+at+len(delim)]
				p.prefixes = append(p.prefixes, c)
				p.nextKey, p.nextID = c, ""
				key, id, skipped = after(c), "", true
				break
			}
			p.uploads = append(p.uploads, *u)
			p.nextKey, p.nextID = u.Key, u.ID
			key, id = u.Key, u.ID
		}
		if !skipped && (!more || len(ups) == 0) {
			return p, nil
		}
	}
	return p, nil
}

// after is the greatest string that can begin with a prefix, as far as keys
// go: nothing in UTF-8 has a byte FF.
func after(prefix string) string { return prefix + "\xff" }

func (rq *request) listUploads() error {
	l, err := rq.parseListing("max-uploads")
	if err != nil {
		return err
	}
	key, id := rq.q.Value("key-marker"), rq.q.Value("upload-id-marker")
	if len(key) > mds.MaxKey || !utf8.ValidString(key) {
		return invalid("key-marker", key, "")
	}
	if key == "" {
		id = ""
	}
	p, err := rq.collectUploads(l, key, id)
	if err != nil {
		return err
	}
	x := newXML()
	defer x.free()
	x.root("ListMultipartUploadsResult")
	x.elem("Bucket", rq.bucket)
	l.name(x, "KeyMarker", key)
	x.elem("UploadIdMarker", id)
	if p.truncated {
		l.name(x, "NextKeyMarker", p.nextKey)
		x.elem("NextUploadIdMarker", p.nextID)
	}
	l.name(x, "Prefix", l.req.Prefix)
	l.optional(x, "Delimiter", l.req.Delimiter)
	if l.url {
		x.elem("EncodingType", "url")
	}
	x.number("MaxUploads", int64(l.max))
	x.boolean("IsTruncated", p.truncated)
	for i := range p.uploads {
		u := &p.uploads[i]
		x.open("Upload")
		l.name(x, "Key", u.Key)
		x.elem("UploadId", u.ID)
		x.person("Initiator", rq.ownerName(u.Owner))
		x.owner(rq.ownerName(u.Owner))
		x.elem("StorageClass", "STANDARD")
		x.time("Initiated", u.Started)
		if a := u.Spec.Algorithm; a != mds.ChecksumNone {
			x.elem("ChecksumAlgorithm", checksum.Name(a))
			x.elem("ChecksumType", checksumType(!u.Spec.FullObject))
		}
		x.close("Upload")
	}
	for _, c := range p.prefixes {
		x.open("CommonPrefixes")
		l.name(x, "Prefix", c)
		x.close("CommonPrefixes")
	}
	x.close("ListMultipartUploadsResult")
	rq.sendXML(http.StatusOK, x)
	return nil
}
