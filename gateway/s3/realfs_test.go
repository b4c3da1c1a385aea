package s3

import (
	"context"
	"testing"

	"github.com/spirula/spirula/mds"
	"github.com/spirula/spirula/rados/radostest"
)

var _ FS = (*mds.FS)(nil)

// newMDS is the real namespace over pools in memory.
func newMDS(t testing.TB) *mds.FS {
	t.Helper()
	fs, err := mds.Open(context.Background(), mds.Options{
		Meta: radostest.NewPool(), Data: radostest.NewPool(), Exclusive: true,
		Fatal: func(err error) { t.Errorf("fatal: %v", err) },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { fs.Close(context.Background()) })
	return fs
}

// The stories that are told over memFS hold over the real namespace too.
func TestOverTheNamespace(t *testing.T) {
	overMDS = true
	defer func() { overMDS = false }()
	for name, test := range map[string]func(*testing.T){
		"errors": TestErrorsOfRequests, "HEAD": TestHeadErrorsHaveNoBody, "reading": TestReadConditions, "writing": TestWriteAndDeleteConditions,
		"ranges": TestRangesOfAnswers, "headers": TestHeadersComeBack, "listings": TestListings, "awkward keys": TestListingOfAwkwardKeys,
		"host style": TestVirtualHostStyle, "copies": TestCopies, "part copies": TestUploadPartCopy, "uploads": TestListUploads,
		"buckets": TestListBucketsInPages, "sub-resources": TestSubresourcesThatAreEmpty, "cut uploads": TestCutUploads,
		"trailers": TestChunkedTransferWithTrailer, "SDK": TestSDKPutGetListDelete, "multipart": TestSDKMultipart, "TLS": TestSDKOverTLS, "minio-go": TestMinioClient,
	} {
		t.Run(name, test)
	}
}
