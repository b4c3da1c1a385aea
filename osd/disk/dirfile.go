package disk

import (
	"io"
	"os"
	"sync"
	"syscall"

	"github.com/spirula/spirula/rados/wire"
)

// dirFile is an open file of a dirDisk.
type dirFile struct {
	f      *os.File
	name   string
	direct bool
	device bool // a raw device, reached through a link in the folder
	// turn lets one buffered write at a time into the kernel, which would
	// take the inode's lock for it anyway: writers that wait there spin, and
	// on few cores that is the time that others need to get on.
	turn sync.Mutex
}

// ReadAt implements io.ReaderAt. The end of the file is the bare io.EOF.
func (f *dirFile) ReadAt(p []byte, off int64) (int, error) {
	n, err := f.f.ReadAt(p, off)
	if err == nil || err == io.EOF {
		return n, err
	}
	return n, fail("read", f.name, err)
}

// Resident implements File.
func (f *dirFile) Resident(off, n int64) (all, known bool) { return f.resident(off, n) }

// WriteAt implements io.WriterAt.
func (f *dirFile) WriteAt(p []byte, off int64) (int, error) {
	if !f.direct {
		f.turn.Lock()
		defer f.turn.Unlock()
	}
	n, err := f.f.WriteAt(p, off)
	return n, fail("write", f.name, err)
}

// Close implements io.Closer.
func (f *dirFile) Close() error { return fail("close", f.name, f.f.Close()) }

// control runs call with the descriptor, which stays open meanwhile, and
// again as long as a signal interrupts it.
func (f *dirFile) control(op string, call func(fd int) error) error {
	rc, err := f.f.SyscallConn()
	if err != nil {
		return fail(op, f.name, err)
	}
	var cerr error
	err = rc.Control(func(fd uintptr) {
		for {
			if cerr = call(int(fd)); cerr != syscall.EINTR {
				return
			}
		}
	})
	if err == nil {
		err = cerr
	}
	return fail(op, f.name, err)
}

// Sync implements File.
func (f *dirFile) Sync() error { return f.sync() }

// StartWrite implements File.
func (f *dirFile) StartWrite(off, n int64) {
	if !f.direct && n > 0 {
		f.startWrite(off, n)
	}
}

// Grow implements File.
func (f *dirFile) Grow(n int64) error {
	size, err := f.Size()
	if err != nil || n <= size {
		return err
	}
	if f.device {
		return wire.Errorf("disk.grow", f.name, wire.ENOSPC)
	}
	return f.allocate(size, n)
}

// growPiece is how many zero bytes growByWriting writes at once.
const growPiece = 1 << 20

// growByWriting allocates [from, to) by writing zeros, where the system has no
// call for it. After an error the file is as long as before.
func (f *dirFile) growByWriting(from, to int64) error {
	// A direct file takes whole aligned blocks only, so the last bytes up
	// to a size that isn't one are left to Truncate.
	zeros := Aligned(growPiece)
	for off := from; off < to; {
		n := min(to-off, growPiece)
		if f.direct {
			off = off / Align * Align
			n = min((to-off+Align-1)/Align*Align, growPiece)
		}
		if _, err := f.f.WriteAt(zeros[:n], off); err != nil {
			_ = f.f.Truncate(from) // the space shortage is the error to report
			return fail("grow", f.name, err)
		}
		off += n
	}
	return fail("grow", f.name, f.f.Truncate(to))
}

// Truncate implements File. A device keeps its size: EINVAL for any other.
func (f *dirFile) Truncate(n int64) error {
	if f.device {
		if size, err := f.Size(); err != nil || size == n {
			return err
		}
		return wire.Errorf("disk.truncate", f.name, wire.EINVAL)
	}
	return fail("truncate", f.name, f.f.Truncate(n))
}

// Discard implements File.
func (f *dirFile) Discard(off, n int64) error {
	if n <= 0 {
		return nil
	}
	return f.discard(off, n)
}

// Size implements File.
func (f *dirFile) Size() (int64, error) {
	if f.device {
		n, err := f.f.Seek(0, io.SeekEnd)
		return n, fail("size", f.name, err)
	}
	st, err := f.f.Stat()
	if err != nil {
		return 0, fail("size", f.name, err)
	}
	return st.Size(), nil
}

// Direct implements File.
func (f *dirFile) Direct() bool { return f.direct }
