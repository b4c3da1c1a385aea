//go:build !linux

package disk

import (
	"os"

	"golang.org/x/sys/unix"
)

// Without Linux's calls everything is buffered, and os.File.Sync gives the
// strongest flush there is (F_FULLFSYNC on darwin).
const (
	directFlag = 0
	flushName  = "full fsync"
)

func flock(f *os.File) error { return unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) }

func statfs(path string) (total, free int64, err error) {
	var st unix.Statfs_t
	if err := unix.Statfs(path, &st); err != nil {
		return 0, 0, err
	}
	unit := int64(st.Bsize)
	return int64(st.Blocks) * unit, int64(st.Bavail) * unit, nil
}

func (f *dirFile) sync() error { return fail("sync", f.name, f.f.Sync()) }

func (f *dirFile) startWrite(off, n int64) {}

func (f *dirFile) allocate(from, to int64) error { return f.growByWriting(from, to) }

func (f *dirFile) discard(off, n int64) error { return nil }

func (f *dirFile) resident(_, _ int64) (all, known bool) { return false, false }
