package s3

import (
	"net/http"

	"github.com/spirula/spirula/gateway/s3/internal/checksum"
	"github.com/spirula/spirula/mds"
)

// putObject stores a body under a key. Everything that can refuse it without
// its bytes comes before the first read.
func (rq *request) putObject() error {
	meta, err := rq.readMeta()
	if err != nil {
		return err
	}
	if err := rq.checkUnsupported(); err != nil {
		return err
	}
	cond, err := rq.writing()
	if err != nil {
		return err
	}
	u, err := rq.upload()
	if err != nil {
		return err
	}
	if err := rq.refuseEarly(cond); err != nil {
		return err
	}
	release, err := rq.admit(u.size)
	if err != nil {
		return err
	}
	defer release()
	ctx := rq.ctx()
	w, err := rq.g.o.FS.NewWriter(ctx, rq.cred(), rq.b.Ino, u.size)
	if err != nil {
		return err
	}
	defer w.Abort()
	d, err := rq.receive(ctx, u, w)
	if err != nil {
		return err
	}
	p := mds.Publish{Cond: cond, Meta: meta, ETag: d.etag()}
	if u.alg != mds.ChecksumNone {
		p.Checksum = mds.Checksum{Algorithm: u.alg, Value: d.sum}
	}
	o, err := w.Publish(ctx, rq.key, p)
	if err != nil {
		return err
	}
	rq.writeETag(o.ETag)
	rq.writeChecksum(p.Checksum)
	rq.w.Header()["Content-Length"] = zeroLength
	rq.status(http.StatusOK)
	return nil
}

var zeroLength = []string{"0"}

func (rq *request) writeETag(etag string) {
	rq.w.Header()["Etag"] = []string{`"` + etag + `"`}
}

func checksumType(composite bool) string {
	if composite {
		return "COMPOSITE"
	}
	return "FULL_OBJECT"
}

// writeChecksum sets the header of a checksum and of its type.
func (rq *request) writeChecksum(c mds.Checksum) {
	if c.Algorithm == mds.ChecksumNone || len(c.Value) == 0 {
		return
	}
	h := rq.w.Header()
	h[checksum.Header(c.Algorithm)] = []string{checksum.Encode(c.Value)}
	h["X-Amz-Checksum-Type"] = []string{checksumType(c.Composite)}
}
