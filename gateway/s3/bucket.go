package s3

import (
	"encoding/base64"
	"net"
	"net/http"
	"strconv"
	"strings"

	"github.com/spirula/spirula/mds"
	"github.com/spirula/spirula/rados/wire"
)

const (
	maxBucketPage = 10000    // of ListBuckets, as S3 has it
	bucketBatch   = 1000     // asked of the namespace at once
	maxConfigXML  = 64 << 10 // bytes of CreateBucketConfiguration
)

// ValidBucketName reports whether a bucket may be made under the name: 3 to
// 63 lower-case letters, digits, dots and hyphens, each label between dots
// beginning and ending with a letter or digit, not an IPv4 address, and none
// of the prefixes and suffixes that S3 keeps for itself.
func ValidBucketName(name string) bool {
	if len(name) < 3 || len(name) > 63 {
		return false
	}
	alnum := func(c byte) bool { return 'a' <= c && c <= 'z' || '0' <= c && c <= '9' }
	for i := 0; i < len(name); i++ {
		c := name[i]
		switch {
		case alnum(c):
		case c != '-' && c != '.':
			return false
		case i == 0 || i == len(name)-1:
			return false
		case c == '.' && (!alnum(name[i-1]) || !alnum(name[i+1])):
			return false
		}
	}
	if ip := net.ParseIP(name); ip != nil && ip.To4() != nil {
		return false
	}
	for _, p := range [...]string{"xn--", "sthree-", "amzn-s3-demo-"} {
		if strings.HasPrefix(name, p) {
			return false
		}
	}
	for _, s := range [...]string{"-s3alias", "--ol-s3", ".mrap", "--x-s3", "--table-s3"} {
		if strings.HasSuffix(name, s) {
			return false
		}
	}
	return true
}

// addressable is the wider rule for names of buckets that may be there: NFS
// can make top-level directories that CreateBucket would refuse.
func addressable(name string) bool {
	return name != "" && len(name) <= mds.MaxName && name != "." && name != ".." && strings.IndexByte(name, 0) < 0
}

func (rq *request) createBucket() error {
	if !ValidBucketName(rq.bucket) {
		return fault("InvalidBucketName")
	}
	if err := rq.checkACL(); err != nil {
		return err
	}
	if v := rq.header("X-Amz-Bucket-Object-Lock-Enabled"); strings.EqualFold(v, "true") {
		return fault("NotImplemented").with("Header", "x-amz-bucket-object-lock-enabled")
	}
	var conf struct {
		LocationConstraint string
	}
	doc, err := rq.readDocument(maxConfigXML, false)
	if err != nil {
		return err
	}
	if len(doc) > 0 {
		if err := decodeXML(doc, "CreateBucketConfiguration", &conf); err != nil {
			return err
		}
	}
	if len(conf.LocationConstraint) > 64 || strings.ContainsAny(conf.LocationConstraint, "<>&\"'\r\n\t /") {
		return fault("IllegalLocationConstraintException")
	}
	b, err := rq.g.o.FS.CreateBucket(rq.ctx(), rq.cred(), mds.Bucket{
		Name: rq.bucket, Owner: rq.user.Name, UID: rq.user.UID, Region: conf.LocationConstraint,
	})
	if wire.ErrnoOf(err) == wire.EEXIST {
		if b.Owner == rq.user.Name || b.Owner == "" && b.UID == rq.user.UID {
			return fault("BucketAlreadyOwnedByYou")
		}
		return fault("BucketAlreadyExists")
	}
	if err != nil {
		return err
	}
	rq.w.Header().Set("Location", "/"+rq.bucket)
	rq.w.Header()["Content-Length"] = contentLength(0)
	rq.status(http.StatusOK)
	return nil
}

func (rq *request) headBucket() error {
	h := rq.w.Header()
	h.Set("X-Amz-Bucket-Region", rq.bucketRegion())
	h["Content-Type"] = xmlType
	rq.status(http.StatusOK)
	return nil
}

func (rq *request) bucketRegion() string {
	if rq.b.Region != "" {
		return rq.b.Region
	}
	return rq.g.region()
}

func (rq *request) deleteBucket() error {
	err := rq.g.o.FS.DeleteBucket(rq.ctx(), rq.cred(), rq.bucket)
	if wire.ErrnoOf(err) == wire.ENOENT {
		return fault("NoSuchBucket")
	}
	if err != nil {
		return err
	}
	return rq.noContent()
}

// bucketLocation tells the region; for us-east-1 the element is empty, as
// S3's first region had no name.
func (rq *request) bucketLocation() error {
	region := rq.bucketRegion()
	if region == "us-east-1" {
		region = ""
	}
	x := newXML()
	defer x.free()
	x.root("LocationConstraint")
	x.b = appendText(x.b, region)
	x.close("LocationConstraint")
	rq.sendXML(http.StatusOK, x)
	return nil
}

// bucketPage is what a ListBuckets asks for, and what was found.
type bucketPage struct {
	prefix, region, after string
	limit                 int
	found                 []mds.Bucket
	more                  bool
}

func (rq *request) parseBucketPage() (*bucketPage, error) {
	p := &bucketPage{limit: maxBucketPage, prefix: rq.q.Value("prefix"), region: rq.q.Value("bucket-region")}
	if v, ok := rq.q.Get("max-buckets"); ok {
		n, err := strconv.Atoi(v)
		if err != nil || n < 1 || n > maxBucketPage {
			return nil, invalid("max-buckets", v, "Argument max-buckets must be an integer between 1 and 10000")
		}
		p.limit = n
	}
	if v := rq.q.Value("continuation-token"); v != "" {
		raw, err := base64.RawURLEncoding.DecodeString(v)
		if err != nil || len(raw) > mds.MaxName {
			return nil, invalid("continuation-token", v, "The continuation token provided is incorrect")
		}
		p.after = string(raw)
	}
	if p.prefix != "" && p.after < p.prefix {
		// The namespace gives names after one, and a bucket may be called as
		// the prefix itself; its front part sorts before all that fit.
		p.after = p.prefix[:len(p.prefix)-1]
	}
	return p, nil
}

// collect finds the sender's own buckets among all. The namespace is asked
// in batches, as there is no index by owner.
func (p *bucketPage) collect(rq *request) error {
	for {
		batch, more, err := rq.g.o.FS.Buckets(rq.ctx(), p.after, bucketBatch)
		if err != nil {
			return err
		}
		for i := range batch {
			b := &batch[i]
			p.after = b.Name
			if !strings.HasPrefix(b.Name, p.prefix) {
				if b.Name > p.prefix {
					return nil
				}
				continue
			}
			mine := b.Owner == rq.user.Name || b.Owner == "" && b.UID == rq.user.UID
			if !mine || p.region != "" && p.region != rq.g.region() && p.region != b.Region {
				continue
			}
			if len(p.found) == p.limit {
				p.more = true
				return nil
			}
			p.found = append(p.found, *b)
		}
		if !more || len(batch) == 0 {
			return nil
		}
	}
}

// listBuckets gives the sender's own buckets in order of name. The
// continuation token is the last name, in base64.
func (rq *request) listBuckets() error {
	p, err := rq.parseBucketPage()
	if err != nil {
		return err
	}
	if err := p.collect(rq); err != nil {
		return err
	}
	x := newXML()
	defer x.free()
	x.root("ListAllMyBucketsResult")
	x.owner(rq.user.Name)
	x.open("Buckets")
	for i := range p.found {
		x.open("Bucket")
		x.elem("Name", p.found[i].Name)
		x.time("CreationDate", p.found[i].Created)
		if rq.q.Has("max-buckets") || p.region != "" {
			x.elem("BucketRegion", rq.g.region())
		}
		x.close("Bucket")
	}
	x.close("Buckets")
	if p.more {
		x.elem("ContinuationToken", base64.RawURLEncoding.EncodeToString([]byte(p.found[len(p.found)-1].Name)))
	}
	x.optional("Prefix", p.prefix)
	x.close("ListAllMyBucketsResult")
	rq.sendXML(http.StatusOK, x)
	return nil
}
