package nfs

import (
	"context"
	"errors"

	nfs "github.com/willscott/go-nfs"

	"github.com/spirula/spirula/mds"
	"github.com/spirula/spirula/rados/wire"
)

// statusOf is the one table from error kinds to NFS status (RFC 1813, 2.6).
// What will pass by itself is JUKEBOX, which makes the client try again.
var statusOf = map[wire.Errno]nfs.NFSStatus{
	wire.EPERM:        nfs.NFSStatusPerm,
	wire.ENOENT:       nfs.NFSStatusNoEnt,
	wire.EIO:          nfs.NFSStatusIO,
	wire.EAGAIN:       nfs.NFSStatusJukebox,
	wire.ENOMEM:       nfs.NFSStatusJukebox,
	wire.EBUSY:        nfs.NFSStatusJukebox,
	wire.EACCES:       nfs.NFSStatusAccess,
	wire.EEXIST:       nfs.NFSStatusExist,
	wire.EXDEV:        nfs.NFSStatusXDev,
	wire.ENODEV:       nfs.NFSStatusNoDev,
	wire.ENOTDIR:      nfs.NFSStatusNotDir,
	wire.EISDIR:       nfs.NFSStatusIsDir,
	wire.EINVAL:       nfs.NFSStatusInval,
	wire.EFBIG:        nfs.NFSStatusFBig,
	wire.ENOSPC:       nfs.NFSStatusNoSPC,
	wire.EROFS:        nfs.NFSStatusROFS,
	wire.EMLINK:       nfs.NFSStatusMlink,
	wire.ENAMETOOLONG: nfs.NFSStatusNameTooLong,
	wire.ENOSYS:       nfs.NFSStatusNotSupp,
	wire.EOPNOTSUPP:   nfs.NFSStatusNotSupp,
	wire.ENOTEMPTY:    nfs.NFSStatusNotEmpty,
	wire.ESTALE:       nfs.NFSStatusStale,
	wire.EDQUOT:       nfs.NFSStatusDQuot,
	wire.ESHUTDOWN:    nfs.NFSStatusJukebox,
	wire.ENOTCONN:     nfs.NFSStatusJukebox,
	wire.ETIMEDOUT:    nfs.NFSStatusJukebox,
}

// errHandle is a file handle that this gateway never gave out.
var errHandle = errors.New("nfs: not a file handle of ours")

// errBadType is a MKNOD of something that is no node.
var errBadType = errors.New("nfs: no such file type")

// errTooSmall is a READDIR whose reply has room for not even one entry.
var errTooSmall = errors.New("nfs: no room for an entry")

// errCookie is a READDIR that wants to go on where no entry ever was.
var errCookie = errors.New("nfs: no such cookie")

func statusFor(err error) nfs.NFSStatus {
	switch {
	case err == nil:
		return nfs.NFSStatusOk
	case errors.Is(err, errHandle):
		return nfs.NFSStatusBadHandle
	case errors.Is(err, errBadType):
		return nfs.NFSStatusBadType
	case errors.Is(err, errTooSmall):
		return nfs.NFSStatusTooSmall
	case errors.Is(err, errCookie):
		return nfs.NFSStatusBadCookie
	case errors.Is(err, mds.ErrGuard):
		return nfs.NFSStatusNotSync
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return nfs.NFSStatusJukebox
	}
	if s, ok := statusOf[wire.ErrnoOf(err)]; ok {
		return s
	}
	return nfs.NFSStatusServerFault
}
