package disk

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// discardDevice tells a raw device that a range is unused. A device that
// can't discard is left as it is.
func discardDevice(fd int, off, n int64) error {
	r := [2]uint64{uint64(off), uint64(n)}
	_, _, e := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.BLKDISCARD, uintptr(unsafe.Pointer(&r)))
	if e == 0 || e == unix.EOPNOTSUPP || e == unix.ENOTTY {
		return nil
	}
	return e
}
