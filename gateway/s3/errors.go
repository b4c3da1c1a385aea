package s3

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"

	"github.com/spirula/spirula/gateway/s3/internal/body"
	"github.com/spirula/spirula/gateway/s3/internal/sig"
	"github.com/spirula/spirula/mds"
	"github.com/spirula/spirula/rados/wire"
)

// apiError is an error as S3's clients see it.
type apiError struct {
	code    string
	status  int
	message string
	extra   []field // further elements of the error document
	cause   error   // for the log; never shown
}

type field struct{ name, value string }

// Error implements error.
func (e *apiError) Error() string {
	if e.cause != nil {
		return e.code + ": " + e.message + ": " + e.cause.Error()
	}
	return e.code + ": " + e.message
}

// with adds an element to the error document.
func (e *apiError) with(name, value string) *apiError {
	e.extra = append(e.extra, field{name, value})
	return e
}

type codeInfo struct {
	status  int
	message string
}

// codes is every error code the gateway answers with, its HTTP status, and
// the message where none is given.
var codes = map[string]codeInfo{
	"AccessControlListNotSupported":         {400, "The bucket does not allow ACLs"},
	"AccessDenied":                          {403, "Access Denied"},
	"AccessForbidden":                       {403, "CORSResponse: CORS is not enabled for this bucket."},
	"AuthorizationHeaderMalformed":          {400, "The authorization header that you provided is not valid."},
	"AuthorizationQueryParametersError":     {400, "The authorization query parameters that you provided are not valid."},
	"BadDigest":                             {400, "The Content-MD5 or checksum value that you specified did not match what the server received."},
	"BadRequest":                            {400, "Bad Request"},
	"BucketAlreadyExists":                   {409, "The requested bucket name is not available. The bucket namespace is shared by all users of the system. Specify a different name and try again."},
	"BucketAlreadyOwnedByYou":               {409, "The bucket that you tried to create already exists, and you own it."},
	"BucketNotEmpty":                        {409, "The bucket that you tried to delete is not empty."},
	"ConditionalRequestConflict":            {409, "A conflicting operation occurred during processing. Please try again."},
	"EntityTooLarge":                        {400, "Your proposed upload exceeds the maximum allowed object size."},
	"EntityTooSmall":                        {400, "Your proposed upload is smaller than the minimum allowed object size."},
	"IllegalLocationConstraintException":    {400, "The specified location-constraint is not valid"},
	"IncompleteBody":                        {400, "You did not provide the number of bytes specified by the Content-Length HTTP header."},
	"InsufficientStorage":                   {507, "There is not enough space left to store this."},
	"InternalError":                         {500, "We encountered an internal error. Please try again."},
	"InvalidAccessKeyId":                    {403, "The AWS access key ID that you provided does not exist in our records."},
	"InvalidArgument":                       {400, "Invalid Argument"},
	"InvalidBucketName":                     {400, "The specified bucket is not valid."},
	"InvalidDigest":                         {400, "The Content-MD5 you specified was invalid."},
	"InvalidPart":                           {400, "One or more of the specified parts could not be found. The part may not have been uploaded, or the specified entity tag may not match the part's entity tag."},
	"InvalidPartNumber":                     {416, "The requested partnumber is not satisfiable"},
	"InvalidPartOrder":                      {400, "The list of parts was not in ascending order. Parts must be ordered by part number."},
	"InvalidRange":                          {416, "The requested range is not satisfiable"},
	"InvalidRequest":                        {400, "The request is not valid."},
	"InvalidStorageClass":                   {400, "The storage class you specified is not valid"},
	"InvalidToken":                          {400, "The provided token is malformed or otherwise not valid."},
	"InvalidURI":                            {400, "Couldn't parse the specified URI."},
	"KeyTooLongError":                       {400, "Your key is too long"},
	"MalformedTrailerError":                 {400, "The request contained trailing data that was not well-formed or did not conform to our published schema."},
	"MalformedXML":                          {400, "The XML you provided was not well-formed or did not validate against our published schema"},
	"MaxMessageLengthExceeded":              {400, "Your request was too big."},
	"MetadataTooLarge":                      {400, "Your metadata headers exceed the maximum allowed metadata size"},
	"MethodNotAllowed":                      {405, "The specified method is not allowed against this resource."},
	"MissingContentLength":                  {411, "You must provide the Content-Length HTTP header."},
	"NoSuchBucket":                          {404, "The specified bucket does not exist"},
	"NoSuchBucketPolicy":                    {404, "The bucket policy does not exist"},
	"NoSuchConfiguration":                   {404, "The specified configuration does not exist."},
	"NoSuchCORSConfiguration":               {404, "The CORS configuration does not exist"},
	"NoSuchKey":                             {404, "The specified key does not exist."},
	"NoSuchLifecycleConfiguration":          {404, "The lifecycle configuration does not exist"},
	"NoSuchPublicAccessBlockConfiguration":  {404, "The public access block configuration was not found"},
	"NoSuchTagSet":                          {404, "The TagSet does not exist"},
	"NoSuchUpload":                          {404, "The specified upload does not exist. The upload ID may be invalid, or the upload may have been aborted or completed."},
	"NoSuchVersion":                         {404, "The specified version does not exist."},
	"NoSuchWebsiteConfiguration":            {404, "The specified bucket does not have a website configuration"},
	"NotImplemented":                        {501, "A header or query you provided implies functionality that is not implemented"},
	"NotModified":                           {304, "Not Modified"},
	"ObjectLockConfigurationNotFoundError":  {404, "Object Lock configuration does not exist for this bucket"},
	"OperationAborted":                      {409, "A conflicting conditional operation is currently in progress against this resource. Try again."},
	"OwnershipControlsNotFoundError":        {404, "The bucket ownership controls were not found"},
	"PreconditionFailed":                    {412, "At least one of the pre-conditions you specified did not hold"},
	"QuotaExceeded":                         {403, "The quota is used up."},
	"ReplicationConfigurationNotFoundError": {404, "The replication configuration was not found"},
	"RequestTimeout":                        {400, "Your socket connection to the server was not read from or written to within the timeout period."},
	"RequestTimeTooSkewed":                  {403, "The difference between the request time and the current time is too large."},
	"ServerSideEncryptionConfigurationNotFoundError": {404, "The server side encryption configuration was not found"},
	"ServiceUnavailable":                             {503, "Service is unable to handle request."},
	"SignatureDoesNotMatch":                          {403, "The request signature we calculated does not match the signature you provided. Check your key and signing method."},
	"SlowDown":                                       {503, "Please reduce your request rate."},
	"TooManyParts":                                   {400, "You have attempted to upload more parts than are allowed"},
	"XAmzContentSHA256Mismatch":                      {400, "The provided 'x-amz-content-sha256' header does not match what was computed."},
}

// fault makes an error with the code's usual message.
func fault(code string) *apiError { return faultf(code, "") }

// faultf makes an error with a message of its own.
func faultf(code, message string) *apiError {
	info, ok := codes[code]
	if !ok {
		panic("s3: error code without a row in the table: " + code)
	}
	if message == "" {
		message = info.message
	}
	return &apiError{code: code, status: info.status, message: message}
}

// invalid is InvalidArgument about a named argument.
func invalid(name, value, message string) *apiError {
	if len(value) > 256 {
		value = value[:256]
	}
	return faultf("InvalidArgument", message).with("ArgumentName", name).with("ArgumentValue", value)
}

// kinds maps error kinds to codes, where nothing more particular is known.
var kinds = map[wire.Errno]string{
	wire.EPERM: "AccessDenied", wire.EACCES: "AccessDenied", wire.EROFS: "AccessDenied",
	wire.ENOENT: "NoSuchKey", wire.ENAMETOOLONG: "KeyTooLongError",
	wire.EEXIST: "OperationAborted", wire.ESTALE: "OperationAborted", wire.ECANCELED: "OperationAborted",
	wire.ENOTEMPTY: "BucketNotEmpty", wire.EFBIG: "EntityTooLarge",
	wire.ENOSPC: "InsufficientStorage", wire.EDQUOT: "QuotaExceeded",
	wire.EAGAIN: "SlowDown", wire.EBUSY: "SlowDown", wire.ENOMEM: "SlowDown",
	wire.ETIMEDOUT: "ServiceUnavailable", wire.ESHUTDOWN: "ServiceUnavailable", wire.ENOTCONN: "ServiceUnavailable",
	wire.EINVAL: "InvalidRequest", wire.EISDIR: "InvalidRequest", wire.ENOTDIR: "InvalidRequest",
	wire.EMSGSIZE: "MaxMessageLengthExceeded",
	wire.ENOSYS:   "NotImplemented", wire.EOPNOTSUPP: "NotImplemented",
}

// toAPI turns any error into S3's. It is the only place where errors of the
// namespace, of signatures and of bodies become codes.
func toAPI(err error) *apiError {
	var e *apiError
	if errors.As(err, &e) {
		return e
	}
	e = fault(codeOf(err))
	e.cause = err
	var s *sig.Error
	if errors.As(err, &s) {
		e.message = s.Message
		if s.Region != "" {
			e.with("Region", s.Region)
		}
	}
	return e
}

func codeOf(err error) string {
	var s *sig.Error
	if errors.As(err, &s) {
		return s.Code
	}
	var timeout net.Error
	switch {
	case errors.Is(err, mds.ErrPrecondition):
		return "PreconditionFailed"
	case errors.Is(err, mds.ErrNoBucket):
		return "NoSuchBucket"
	case errors.Is(err, mds.ErrNoUpload):
		return "NoSuchUpload"
	case errors.Is(err, mds.ErrInvalidPart):
		return "InvalidPart"
	case errors.Is(err, mds.ErrPartOrder):
		return "InvalidPartOrder"
	case errors.Is(err, mds.ErrPartTooSmall):
		return "EntityTooSmall"
	case errors.Is(err, mds.ErrBadChecksum):
		return "BadDigest"
	case errors.Is(err, body.ErrLength), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, errBodyRead):
		if errors.As(err, &timeout) && timeout.Timeout() {
			return "RequestTimeout"
		}
		return "IncompleteBody"
	case errors.Is(err, body.ErrFraming):
		return "InvalidRequest"
	case errors.Is(err, body.ErrTrailer):
		return "MalformedTrailerError"
	case errors.Is(err, context.DeadlineExceeded):
		return "ServiceUnavailable"
	case errors.Is(err, context.Canceled):
		return "RequestTimeout"
	}
	if code, ok := kinds[wire.ErrnoOf(err)]; ok {
		return code
	}
	return "InternalError"
}

// errBodyRead marks errors of reading the request's body.
var errBodyRead = errors.New("read of the request's body")

// writeError answers with err. Once the answer's head is out, the only way
// to tell is to cut the connection.
func (rq *request) writeError(err error) {
	e := toAPI(err)
	rq.g.count(e)
	rq.logError(e)
	if rq.sent {
		panic(http.ErrAbortHandler)
	}
	h := rq.w.Header()
	for _, name := range [...]string{"Etag", "Last-Modified", "Accept-Ranges", "Content-Range", "Content-Disposition", "Content-Encoding", "Content-Language", "Cache-Control", "Expires"} {
		if e.status != http.StatusNotModified && (name != "Content-Range" || e.status != 416) {
			delete(h, name)
		}
	}
	if e.code == "SlowDown" || e.code == "ServiceUnavailable" {
		h.Set("Retry-After", "1")
	}
	if e.code == "RequestTimeout" || e.code == "IncompleteBody" {
		h.Set("Connection", "close")
	}
	if e.status == http.StatusNotModified {
		rq.status(e.status)
		return
	}
	x := newXML()
	defer x.free()
	x.open("Error")
	x.elem("Code", e.code)
	x.elem("Message", e.message)
	for _, f := range e.extra {
		x.elem(f.name, f.value)
	}
	if rq.bucket != "" {
		x.elem("BucketName", rq.bucket)
	}
	if rq.key != "" {
		x.elem("Key", rq.key)
	}
	x.elem("Resource", rq.r.URL.Path)
	x.elem("RequestId", rq.id)
	x.elem("HostId", rq.g.hostID)
	x.close("Error")
	rq.sendXML(e.status, x)
}
