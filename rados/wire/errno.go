package wire

import (
	"errors"
	"strconv"
)

// Errno is an error kind. It has Linux's numbers on every system, because it
// travels: in the result fields of Ceph's replies (negated), and through the
// gateways' tables to S3 codes and NFS status. The zero Errno is no error and
// is never returned as one.
type Errno int32

// The kinds in use. The names are Linux's.
const (
	EPERM        Errno = 1   // the operation is never allowed to this caller
	ENOENT       Errno = 2   // no such object, file, pool, user
	EIO          Errno = 5   // stored data could not be read or failed its checksum
	EAGAIN       Errno = 11  // try again elsewhere or later
	ENOMEM       Errno = 12  // a bound on memory was met
	EACCES       Errno = 13  // mode bits or ownership forbid it
	EBUSY        Errno = 16  // in use
	EEXIST       Errno = 17  // exists already
	EXDEV        Errno = 18  // across buckets
	ENODEV       Errno = 19  // no such device or OSD
	ENOTDIR      Errno = 20  // not a directory
	EISDIR       Errno = 21  // is a directory
	EINVAL       Errno = 22  // an argument makes no sense
	EFBIG        Errno = 27  // larger than a file or object may be
	ENOSPC       Errno = 28  // the store is full
	EROFS        Errno = 30  // a snapshot can't be changed
	EMLINK       Errno = 31  // more hard links than one inode may have
	ERANGE       Errno = 34  // ASSERT_VER: the object is newer
	ENAMETOOLONG Errno = 36  // a name over its limit
	ENOSYS       Errno = 38  // not implemented
	ENOTEMPTY    Errno = 39  // directory or bucket with entries
	ELOOP        Errno = 40  // too many symbolic links
	ENODATA      Errno = 61  // no such xattr
	EOVERFLOW    Errno = 75  // ASSERT_VER: the object is older; an answer over its limit
	EOLDSNAPC    Errno = 85  // ORDERSNAP and an older snap context
	EMSGSIZE     Errno = 90  // a request over its size limit
	EOPNOTSUPP   Errno = 95  // this operation is not supported here
	ENOTCONN     Errno = 107 // no such watch, no session
	ESHUTDOWN    Errno = 108 // blocklisted, or shutting down
	ETIMEDOUT    Errno = 110 // no answer in time
	ESTALE       Errno = 116 // a file handle whose inode is gone
	EDQUOT       Errno = 122 // over quota
	ECANCELED    Errno = 125 // a compare in the vector failed
)

// errnoText has a few words for each kind; it is what Error prints.
var errnoText = map[Errno]string{
	EPERM: "operation not permitted", ENOENT: "not found", EIO: "input/output error",
	EAGAIN: "try again", ENOMEM: "out of memory", EACCES: "permission denied",
	EBUSY: "busy", EEXIST: "exists already", EXDEV: "crosses buckets", ENODEV: "no such device",
	ENOTDIR: "not a directory", EISDIR: "is a directory", EINVAL: "invalid argument",
	EFBIG: "too large", ENOSPC: "no space left", EROFS: "read-only", EMLINK: "too many links",
	ERANGE: "version out of range", ENAMETOOLONG: "name too long", ENOSYS: "not implemented",
	ENOTEMPTY: "not empty", ELOOP: "too many symbolic links", ENODATA: "no such attribute",
	EOVERFLOW: "value too large", EOLDSNAPC: "snap context too old", EMSGSIZE: "request too large",
	EOPNOTSUPP: "not supported", ENOTCONN: "not connected", ESHUTDOWN: "shut down or blocklisted",
	ETIMEDOUT: "timed out", ESTALE: "stale file handle", EDQUOT: "over quota", ECANCELED: "comparison failed",
}

// Error gives the kind in words.
func (e Errno) Error() string {
	if s, ok := errnoText[e]; ok {
		return s
	}
	return "errno " + strconv.Itoa(int(e))
}

// ErrnoOf finds the kind of err through any wrapping. It is 0 for a nil
// error and EIO for an error without a kind, so that no failure is ever
// mistaken for success.
func ErrnoOf(err error) Errno {
	if err == nil {
		return 0
	}
	var e Errno
	if errors.As(err, &e) {
		return e
	}
	return EIO
}

// Error is an error with its circumstances: the operation, what it was done
// to, the kind, and the cause underneath if there is one. errors.As finds
// both Kind and Cause.
type Error struct {
	Op      string // the operation: "publish", "store.read"
	Subject string // what it was done to: an object, a path, a PG
	Kind    Errno
	Cause   error // nil when the kind says it all
}

// Errorf makes an *Error without a cause.
func Errorf(op, subject string, kind Errno) *Error {
	return &Error{Op: op, Subject: subject, Kind: kind}
}

// Wrap gives err an operation and a subject and keeps its kind.
// Wrap(nil) is nil.
func Wrap(op, subject string, err error) error {
	if err == nil {
		return nil
	}
	return &Error{Op: op, Subject: subject, Kind: ErrnoOf(err), Cause: err}
}

// Error prints operation, subject, and the cause or the kind.
func (e *Error) Error() string {
	s := e.Op
	if e.Subject != "" {
		s += " " + e.Subject
	}
	if e.Cause != nil {
		return s + ": " + e.Cause.Error()
	}
	return s + ": " + e.Kind.Error()
}

// Unwrap gives errors.Is and errors.As the kind and the cause.
func (e *Error) Unwrap() []error {
	if e.Cause == nil {
		return []error{e.Kind}
	}
	return []error{e.Kind, e.Cause}
}
