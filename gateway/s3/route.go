package s3

import (
	"net/http"
	"strconv"
)

func itoa(n int) string { return strconv.Itoa(n) }

// route is one operation: chosen by method, by whether the path names a
// bucket or an object, and by the first sub-resource of the table that the
// query has. Query keys that no row knows don't matter (they are signed all
// the same).
type route struct {
	sub    string // the query key; "" matches always and stands last
	header string // a header that must be there as well
	name   string // in S3's documentation, and in the log
	handle func(*request) error
	// makesBucket routes don't need their bucket to be there.
	makesBucket bool
}

// table is the routes of one kind of resource by method.
type table map[string][]route

var serviceTable = table{
	http.MethodGet: {{name: "ListBuckets", handle: (*request).listBuckets}},
}

var bucketTable = table{
	http.MethodGet: {
		{sub: "list-type", name: "ListObjectsV2", handle: (*request).listObjectsV2},
		{sub: "location", name: "GetBucketLocation", handle: (*request).bucketLocation},
		{sub: "uploads", name: "ListMultipartUploads", handle: (*request).listUploads},
		{sub: "versions", name: "ListObjectVersions", handle: (*request).listVersions},
		{sub: "versioning", name: "GetBucketVersioning", handle: empty("VersioningConfiguration")},
		{sub: "acl", name: "GetBucketAcl", handle: (*request).getACL},
		{sub: "logging", name: "GetBucketLogging", handle: empty("BucketLoggingStatus")},
		{sub: "notification", name: "GetBucketNotificationConfiguration", handle: empty("NotificationConfiguration")},
		{sub: "accelerate", name: "GetBucketAccelerateConfiguration", handle: empty("AccelerateConfiguration")},
		{sub: "requestPayment", name: "GetBucketRequestPayment", handle: (*request).requestPayment},
		{sub: "tagging", name: "GetBucketTagging", handle: none("NoSuchTagSet")},
		{sub: "lifecycle", name: "GetBucketLifecycleConfiguration", handle: none("NoSuchLifecycleConfiguration")},
		{sub: "policy", name: "GetBucketPolicy", handle: none("NoSuchBucketPolicy")},
		{sub: "policyStatus", name: "GetBucketPolicyStatus", handle: none("NoSuchBucketPolicy")},
		{sub: "cors", name: "GetBucketCors", handle: none("NoSuchCORSConfiguration")},
		{sub: "encryption", name: "GetBucketEncryption", handle: none("ServerSideEncryptionConfigurationNotFoundError")},
		{sub: "object-lock", name: "GetObjectLockConfiguration", handle: none("ObjectLockConfigurationNotFoundError")},
		{sub: "website", name: "GetBucketWebsite", handle: none("NoSuchWebsiteConfiguration")},
		{sub: "replication", name: "GetBucketReplication", handle: none("ReplicationConfigurationNotFoundError")},
		{sub: "ownershipControls", name: "GetBucketOwnershipControls", handle: none("OwnershipControlsNotFoundError")},
		{sub: "publicAccessBlock", name: "GetPublicAccessBlock", handle: none("NoSuchPublicAccessBlockConfiguration")},
		{sub: "analytics", name: "GetBucketAnalyticsConfiguration", handle: none("NoSuchConfiguration")},
		{sub: "inventory", name: "GetBucketInventoryConfiguration", handle: none("NoSuchConfiguration")},
		{sub: "metrics", name: "GetBucketMetricsConfiguration", handle: none("NoSuchConfiguration")},
		{sub: "intelligent-tiering", name: "GetBucketIntelligentTieringConfiguration", handle: none("NoSuchConfiguration")},
		{sub: "session", name: "CreateSession", handle: none("NotImplemented")},
		{name: "ListObjects", handle: (*request).listObjects},
	},
	http.MethodHead: {{name: "HeadBucket", handle: (*request).headBucket}},
	http.MethodPut: append(unsupported("acl", "versioning", "tagging", "lifecycle", "policy", "cors", "encryption", "object-lock", "website",
		"replication", "ownershipControls", "publicAccessBlock", "logging", "notification", "accelerate", "requestPayment",
		"analytics", "inventory", "metrics", "intelligent-tiering"),
		route{name: "CreateBucket", handle: (*request).createBucket, makesBucket: true}),
	http.MethodDelete: append(nothingThere("tagging", "lifecycle", "policy", "cors", "encryption", "website", "replication",
		"ownershipControls", "publicAccessBlock", "analytics", "inventory", "metrics", "intelligent-tiering"),
		route{name: "DeleteBucket", handle: (*request).deleteBucket}),
	http.MethodPost: {
		{sub: "delete", name: "DeleteObjects", handle: (*request).deleteObjects},
		{name: "PostObject", handle: none("NotImplemented")},
	},
	http.MethodOptions: {{name: "Preflight", handle: none("AccessForbidden"), makesBucket: true}},
}

var objectTable = table{
	http.MethodGet: {
		{sub: "uploadId", name: "ListParts", handle: (*request).listParts},
		{sub: "attributes", name: "GetObjectAttributes", handle: (*request).objectAttributes},
		{sub: "acl", name: "GetObjectAcl", handle: (*request).getObjectACL},
		{sub: "tagging", name: "GetObjectTagging", handle: (*request).getObjectTagging},
		{sub: "retention", name: "GetObjectRetention", handle: (*request).noObjectLock},
		{sub: "legal-hold", name: "GetObjectLegalHold", handle: (*request).noObjectLock},
		{sub: "torrent", name: "GetObjectTorrent", handle: none("NotImplemented")},
		{name: "GetObject", handle: (*request).getObject},
	},
	http.MethodHead: {{name: "HeadObject", handle: (*request).headObject}},
	http.MethodPut: append([]route{
		{sub: "uploadId", header: "X-Amz-Copy-Source", name: "UploadPartCopy", handle: (*request).uploadPartCopy},
		{sub: "uploadId", name: "UploadPart", handle: (*request).uploadPart},
	}, append(unsupported("acl", "tagging", "retention", "legal-hold", "renameObject", "encryption"),
		route{header: "X-Amz-Copy-Source", name: "CopyObject", handle: (*request).copyObject},
		route{name: "PutObject", handle: (*request).putObject})...),
	http.MethodDelete: append([]route{
		{sub: "uploadId", name: "AbortMultipartUpload", handle: (*request).abortUpload},
	}, append(nothingThere("tagging"), route{name: "DeleteObject", handle: (*request).deleteObject})...),
	http.MethodPost: {
		{sub: "uploads", name: "CreateMultipartUpload", handle: (*request).createUpload},
		{sub: "uploadId", name: "CompleteMultipartUpload", handle: (*request).completeUpload},
		{sub: "restore", name: "RestoreObject", handle: none("NotImplemented")},
		{sub: "select", name: "SelectObjectContent", handle: none("NotImplemented")},
		{name: "Post", handle: none("MethodNotAllowed")},
	},
	http.MethodOptions: {{name: "Preflight", handle: none("AccessForbidden"), makesBucket: true}},
}

// unsupported are sub-resources that can't be set yet.
func unsupported(subs ...string) (rows []route) {
	for _, s := range subs {
		h := none("NotImplemented")
		if s == "acl" {
			h = (*request).putACL
		}
		rows = append(rows, route{sub: s, name: "Put?" + s, handle: h})
	}
	return rows
}

// nothingThere are sub-resources that are never set, so deleting one does
// nothing and succeeds.
func nothingThere(subs ...string) (rows []route) {
	for _, s := range subs {
		rows = append(rows, route{sub: s, name: "Delete?" + s, handle: (*request).noContent})
	}
	return rows
}

// none answers with an error.
func none(code string) func(*request) error {
	return func(*request) error { return fault(code) }
}

// empty answers with a document of nothing but its root.
func empty(root string) func(*request) error {
	return func(rq *request) error {
		x := newXML()
		defer x.free()
		x.root(root)
		x.close(root)
		rq.sendXML(http.StatusOK, x)
		return nil
	}
}

func (rq *request) noContent() error {
	rq.status(http.StatusNoContent)
	return nil
}

// route finds the request's row.
func (rq *request) route() (*route, error) {
	t := objectTable
	switch {
	case rq.bucket == "" && rq.key != "":
		return nil, fault("InvalidBucketName")
	case rq.bucket == "":
		t = serviceTable
	case rq.key == "":
		t = bucketTable
	}
	rows := t[rq.r.Method]
	for i := range rows {
		if (rows[i].sub == "" || rq.q.Has(rows[i].sub)) && (rows[i].header == "" || rq.r.Header[rows[i].header] != nil) {
			return &rows[i], nil
		}
	}
	return nil, fault("MethodNotAllowed").with("Method", rq.r.Method)
}
