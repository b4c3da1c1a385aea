package s3

import (
	"net/http"
)

// getACL answers GET ?acl of a bucket: the owner may do all, nobody else
// anything.
func (rq *request) getACL() error { return rq.sendACL(rq.ownerName("")) }

func (rq *request) getObjectACL() error {
	o, err := rq.g.o.FS.StatObject(rq.ctx(), rq.b.Ino, rq.key)
	if err != nil {
		return err
	}
	return rq.sendACL(rq.ownerName(o.Meta.Owner))
}

func (rq *request) sendACL(owner string) error {
	x := newXML()
	defer x.free()
	x.root("AccessControlPolicy")
	x.owner(owner)
	x.open("AccessControlList")
	x.open("Grant")
	x.b = append(x.b, `<Grantee xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:type="CanonicalUser">`...)
	x.elem("ID", owner)
	x.elem("DisplayName", owner)
	x.close("Grantee")
	x.elem("Permission", "FULL_CONTROL")
	x.close("Grant")
	x.close("AccessControlList")
	x.close("AccessControlPolicy")
	rq.sendXML(http.StatusOK, x)
	return nil
}

// maxACLXML bounds the document of PUT ?acl, in bytes.
const maxACLXML = 64 << 10

// aclXML is the document of PUT ?acl, as far as it is looked at.
type aclXML struct {
	Grants []struct {
		ID         string `xml:"Grantee>ID"`
		Permission string
	} `xml:"AccessControlList>Grant"`
}

// putACL accepts what says no more than what is so anyway, as a header or as
// the document that getACL gives: s3cmd copies that one along.
func (rq *request) putACL() error {
	if err := rq.checkACL(); err != nil {
		return err
	}
	doc, err := rq.readDocument(maxACLXML, false)
	if err != nil {
		return err
	}
	owner := rq.ownerName("")
	if rq.key != "" {
		o, err := rq.g.o.FS.StatObject(rq.ctx(), rq.b.Ino, rq.key)
		if err != nil {
			return err
		}
		owner = rq.ownerName(o.Meta.Owner)
	}
	if rq.header("X-Amz-Acl") == "" {
		var acl aclXML
		if err := decodeXML(doc, "AccessControlPolicy", &acl); err != nil {
			return err
		}
		if len(acl.Grants) != 1 || acl.Grants[0].ID != owner || acl.Grants[0].Permission != "FULL_CONTROL" {
			return fault("AccessControlListNotSupported")
		}
	}
	rq.status(http.StatusOK)
	return nil
}

// checkACL refuses canned ACLs and grants that would open something to
// others, like S3 for buckets whose owner owns everything in them.
func (rq *request) checkACL() error {
	for name := range rq.r.Header {
		if len(name) > len("X-Amz-Grant-") && name[:len("X-Amz-Grant-")] == "X-Amz-Grant-" {
			return fault("AccessControlListNotSupported")
		}
	}
	switch rq.header("X-Amz-Acl") {
	case "", "private", "bucket-owner-full-control", "bucket-owner-read":
		return nil
	case "public-read", "public-read-write", "authenticated-read", "aws-exec-read", "log-delivery-write":
		return fault("AccessControlListNotSupported")
	}
	return invalid("x-amz-acl", rq.header("X-Amz-Acl"), "")
}

// checkUnsupported refuses headers whose promise could not be kept: storing
// in the clear what was to be encrypted, or without the lock that was asked
// for.
func (rq *request) checkUnsupported() error {
	h := rq.r.Header
	for _, name := range [...]string{
		"X-Amz-Server-Side-Encryption", "X-Amz-Server-Side-Encryption-Customer-Algorithm",
		"X-Amz-Server-Side-Encryption-Customer-Key", "X-Amz-Copy-Source-Server-Side-Encryption-Customer-Algorithm",
		"X-Amz-Tagging", "X-Amz-Write-Offset-Bytes",
	} {
		if v := h[name]; v != nil && v[0] != "" {
			return faultf("NotImplemented", "").with("Header", name)
		}
	}
	for _, name := range [...]string{"X-Amz-Object-Lock-Mode", "X-Amz-Object-Lock-Retain-Until-Date", "X-Amz-Object-Lock-Legal-Hold"} {
		if h[name] != nil {
			return faultf("InvalidRequest", "Bucket is missing Object Lock Configuration")
		}
	}
	return rq.checkACL()
}

func (rq *request) requestPayment() error {
	x := newXML()
	defer x.free()
	x.root("RequestPaymentConfiguration")
	x.elem("Payer", "BucketOwner")
	x.close("RequestPaymentConfiguration")
	rq.sendXML(http.StatusOK, x)
	return nil
}

func (rq *request) getObjectTagging() error {
	if _, err := rq.g.o.FS.StatObject(rq.ctx(), rq.b.Ino, rq.key); err != nil {
		return err
	}
	x := newXML()
	defer x.free()
	x.root("Tagging")
	x.b = append(x.b, "<TagSet></TagSet>"...)
	x.close("Tagging")
	rq.sendXML(http.StatusOK, x)
	return nil
}

func (rq *request) noObjectLock() error {
	return faultf("InvalidRequest", "Bucket is missing Object Lock Configuration")
}
