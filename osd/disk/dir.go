package disk

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"unsafe"

	"github.com/spirula/spirula/rados/wire"
)

// Align is the unit of direct I/O in bytes: with Direct in force offsets,
// lengths and memory are multiples of it.
const Align = 4096

// Aligned returns n zero bytes whose address is a multiple of Align, as
// direct I/O wants it. Their capacity is n.
func Aligned(n int) []byte {
	b := make([]byte, n+Align)
	skip := 0
	if r := int(uintptr(unsafe.Pointer(unsafe.SliceData(b))) % Align); r != 0 {
		skip = Align - r
	}
	return b[skip : skip+n : skip+n]
}

// IsAligned says whether a direct transfer of p at off is allowed.
func IsAligned(p []byte, off int64) bool {
	return off%Align == 0 && len(p)%Align == 0 &&
		(len(p) == 0 || uintptr(unsafe.Pointer(unsafe.SliceData(p)))%Align == 0)
}

// dirDisk is a folder of the host's file system.
type dirDisk struct {
	root   string
	direct bool // the file system takes direct I/O
}

// OpenDir gives the folder at path, which must exist. It tries once whether
// the file system takes direct I/O and writes and removes a small file for
// that; a folder that can't be written is opened nevertheless, its files
// then being buffered. Errors: ENOENT, ENOTDIR, EACCES.
func OpenDir(root string) (Disk, error) {
	st, err := os.Stat(root)
	if err != nil {
		return nil, fail("open", root, err)
	}
	if !st.IsDir() {
		return nil, wire.Errorf("disk.open", root, wire.ENOTDIR)
	}
	d := &dirDisk{root: root}
	d.direct = d.probeDirect()
	return d, nil
}

// probeName is the file with which OpenDir tries direct I/O. One that a crash
// left behind is overwritten and removed by the next OpenDir.
const probeName = ".direct-probe"

// probeDirect writes a block past the page cache and reads it back: some file
// systems accept the flag at open and refuse the transfer.
func (d *dirDisk) probeDirect() bool {
	p := filepath.Join(d.root, probeName)
	f, err := os.OpenFile(p, os.O_RDWR|os.O_CREATE|directFlag, 0o600)
	if err != nil {
		_ = os.Remove(p) // some systems make the file before they refuse
		return false
	}
	b := Aligned(Align)
	_, werr := f.WriteAt(b, 0)
	_, rerr := f.ReadAt(b, 0)
	cerr := f.Close()
	return os.Remove(p) == nil && werr == nil && rerr == nil && cerr == nil && directFlag != 0
}

// fail wraps an error of the operating system with its kind.
func fail(op, name string, err error) error {
	if err == nil {
		return nil
	}
	return &wire.Error{Op: "disk." + op, Subject: name, Kind: kindOf(err), Cause: err}
}

// kinds orders the system's numbers into ours; the numbers differ from one
// system to the next, the names don't.
var kinds = map[syscall.Errno]wire.Errno{
	syscall.ENOENT: wire.ENOENT, syscall.EEXIST: wire.EEXIST, syscall.ENOSPC: wire.ENOSPC,
	syscall.EDQUOT: wire.ENOSPC, syscall.EACCES: wire.EACCES, syscall.EPERM: wire.EACCES,
	syscall.EROFS: wire.EROFS, syscall.EISDIR: wire.EISDIR, syscall.ENOTDIR: wire.ENOTDIR,
	syscall.ENOTEMPTY: wire.ENOTEMPTY, syscall.ENAMETOOLONG: wire.ENAMETOOLONG,
	syscall.EINVAL: wire.EINVAL, syscall.EFBIG: wire.EFBIG, syscall.ENODEV: wire.ENODEV,
	syscall.EBUSY: wire.EBUSY, syscall.ENOMEM: wire.ENOMEM,
}

func kindOf(err error) wire.Errno {
	var n syscall.Errno
	if errors.As(err, &n) {
		if k, ok := kinds[n]; ok {
			return k
		}
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return wire.ENOENT
	case errors.Is(err, fs.ErrExist):
		return wire.EEXIST
	case errors.Is(err, fs.ErrPermission):
		return wire.EACCES
	}
	return wire.ErrnoOf(err)
}

// checkName refuses names that leave the folder.
func checkName(op, name string) error {
	if !fs.ValidPath(name) {
		return wire.Errorf("disk."+op, name, wire.EINVAL)
	}
	return nil
}

func (d *dirDisk) path(op, name string) (string, error) {
	if err := checkName(op, name); err != nil {
		return "", err
	}
	return filepath.Join(d.root, filepath.FromSlash(name)), nil
}

// Open implements Disk.
func (d *dirDisk) Open(name string, flags Flag) (File, error) {
	p, err := d.path("open", name)
	if err != nil {
		return nil, err
	}
	mode := os.O_RDWR
	if flags&ReadOnly != 0 {
		mode = os.O_RDONLY
	}
	if flags&Create != 0 {
		mode |= os.O_CREATE
		if flags&Excl != 0 {
			mode |= os.O_EXCL
		}
	}
	if flags&Trunc != 0 {
		mode |= os.O_TRUNC
	}
	direct := flags&Direct != 0 && d.direct
	if direct {
		mode |= directFlag
	}
	f, err := os.OpenFile(p, mode, 0o640)
	if err != nil {
		return nil, fail("open", name, err)
	}
	st, err := f.Stat()
	if err == nil && st.IsDir() {
		err = syscall.EISDIR
	}
	if err != nil {
		_ = f.Close() // the error at hand says more
		return nil, fail("open", name, err)
	}
	return &dirFile{f: f, name: name, direct: direct, device: st.Mode()&fs.ModeDevice != 0}, nil
}

// Remove implements Disk.
func (d *dirDisk) Remove(name string) error {
	p, err := d.path("remove", name)
	if err != nil {
		return err
	}
	return fail("remove", name, os.Remove(p))
}

// Rename implements Disk.
func (d *dirDisk) Rename(from, to string) error {
	a, err := d.path("rename", from)
	if err != nil {
		return err
	}
	b, err := d.path("rename", to)
	if err != nil {
		return err
	}
	return fail("rename", from+" to "+to, os.Rename(a, b))
}

// Link implements Disk.
func (d *dirDisk) Link(from, to string) error {
	a, err := d.path("link", from)
	if err != nil {
		return err
	}
	b, err := d.path("link", to)
	if err != nil {
		return err
	}
	return fail("link", from+" to "+to, os.Link(a, b))
}

// Mkdir implements Disk.
func (d *dirDisk) Mkdir(name string) error {
	p, err := d.path("mkdir", name)
	if err != nil {
		return err
	}
	err = os.Mkdir(p, 0o750)
	if errors.Is(err, fs.ErrExist) {
		if st, serr := os.Stat(p); serr == nil && st.IsDir() {
			return nil
		}
	}
	return fail("mkdir", name, err)
}

// List implements Disk.
func (d *dirDisk) List(dir string) ([]string, error) {
	p, err := d.path("list", dir)
	if err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(p)
	if err != nil {
		return nil, fail("list", dir, err)
	}
	names := make([]string, len(entries))
	for i, e := range entries {
		names[i] = e.Name()
	}
	return names, nil
}

// Size implements Disk.
func (d *dirDisk) Size(name string) (int64, error) {
	p, err := d.path("size", name)
	if err != nil {
		return 0, err
	}
	st, err := os.Stat(p)
	if err != nil {
		return 0, fail("size", name, err)
	}
	if st.Mode()&fs.ModeDevice != 0 {
		f, err := d.Open(name, ReadOnly)
		if err != nil {
			return 0, err
		}
		n, err := f.Size()
		return n, errors.Join(err, f.Close())
	}
	return st.Size(), nil
}

// SyncDir implements Disk.
func (d *dirDisk) SyncDir(dir string) error {
	p, err := d.path("syncdir", dir)
	if err != nil {
		return err
	}
	f, err := os.Open(p)
	if err != nil {
		return fail("syncdir", dir, err)
	}
	err = f.Sync()
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	return fail("syncdir", dir, err)
}

// Lock implements Disk.
func (d *dirDisk) Lock(name string) (io.Closer, error) {
	p, err := d.path("lock", name)
	if err != nil {
		return nil, err
	}
	f, err := os.OpenFile(p, os.O_RDWR|os.O_CREATE, 0o640)
	if err != nil {
		return nil, fail("lock", name, err)
	}
	if err := flock(f); err != nil {
		_ = f.Close() // nothing was written
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, wire.Errorf("disk.lock", name, wire.EBUSY)
		}
		return nil, fail("lock", name, err)
	}
	return f, nil
}

// Space implements Disk.
func (d *dirDisk) Space() (total, free int64, err error) {
	total, free, err = statfs(d.root)
	return total, free, fail("space", d.root, err)
}

// Describe implements Disk.
func (d *dirDisk) Describe() string {
	io := "buffered I/O"
	if d.direct {
		io = "direct I/O"
	}
	return "folder " + d.root + ", " + io + ", " + flushName
}
