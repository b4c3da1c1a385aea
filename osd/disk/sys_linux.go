package disk

import (
	"os"

	"golang.org/x/sys/unix"
)

const (
	directFlag = unix.O_DIRECT
	flushName  = "fdatasync"
)

func flock(f *os.File) error { return unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) }

func statfs(path string) (total, free int64, err error) {
	var st unix.Statfs_t
	if err := unix.Statfs(path, &st); err != nil {
		return 0, 0, err
	}
	unit := int64(st.Frsize)
	if unit == 0 {
		unit = int64(st.Bsize)
	}
	return int64(st.Blocks) * unit, int64(st.Bavail) * unit, nil
}

func (f *dirFile) sync() error { return f.control("sync", unix.Fdatasync) }

// resident asks cachestat(2), which Linux has since 6.5.
func (f *dirFile) resident(off, n int64) (all, known bool) {
	var count unix.Cachestat_t
	err := f.control("cachestat", func(fd int) error {
		return unix.Cachestat(uint(fd), &unix.CachestatRange{Off: uint64(off), Len: uint64(n)}, &count, 0)
	})
	page := int64(os.Getpagesize())
	return err == nil && count.Cache >= uint64((off+n+page-1)/page-off/page), err == nil
}

// startWrite's error is dropped: the next Sync meets the same one, and only
// that counts.
func (f *dirFile) startWrite(off, n int64) {
	_ = f.control("startwrite", func(fd int) error {
		return unix.SyncFileRange(fd, off, n, unix.SYNC_FILE_RANGE_WRITE)
	})
}

func (f *dirFile) allocate(from, to int64) error {
	unsupported := false
	err := f.control("grow", func(fd int) error {
		err := unix.Fallocate(fd, 0, from, to-from)
		unsupported = err == unix.EOPNOTSUPP || err == unix.ENOSYS
		return err
	})
	if unsupported {
		return f.growByWriting(from, to)
	}
	return err
}

// discard punches the range out and allocates it anew, so that a later write
// still can't meet ENOSPC. File systems that can't punch keep their bytes.
func (f *dirFile) discard(off, n int64) error {
	if f.device {
		return f.control("discard", func(fd int) error { return discardDevice(fd, off, n) })
	}
	return f.control("discard", func(fd int) error {
		err := unix.Fallocate(fd, unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, off, n)
		if err == unix.EOPNOTSUPP || err == unix.ENOSYS {
			return nil
		}
		if err != nil {
			return err
		}
		return unix.Fallocate(fd, unix.FALLOC_FL_KEEP_SIZE, off, n)
	})
}
