package kv

import (
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"log/slog"
	"os"
	"path"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	lerrors "github.com/syndtr/goleveldb/leveldb/errors"
	"github.com/syndtr/goleveldb/leveldb/storage"

	"github.com/spirula/spirula/osd/disk"
	"github.com/spirula/spirula/rados/wire"
)

// files is goleveldb's storage.Storage on a disk.Disk. It outlives the
// leveldb.DB it serves.
type files struct {
	d       disk.Disk
	dir     string
	journal bool
	log     *slog.Logger
	fatal   func(error)
	ballast *ballast
	track   *tracker
	m       *Metrics

	mu      sync.Mutex
	lock    io.Closer    // not nil while goleveldb has the lock
	current *frameWriter // the journal in use; guarded by DB.turn instead

	failed atomic.Pointer[error] // the first error, once there is one
	once   sync.Once
}

var _ storage.Storage = (*files)(nil)

// fail makes err the error of every later write and reports it once.
func (s *files) fail(err error) error {
	s.once.Do(func() {
		err = wire.Wrap("kv", s.dir, err)
		s.failed.Store(&err)
		s.fatal(err)
	})
	return s.err()
}

// err is the error that ended all writing, or nil.
func (s *files) err() error {
	if p := s.failed.Load(); p != nil {
		return *p
	}
	return nil
}

// wrote judges the outcome of a step of writing: a full disk may be tried
// again, anything else is final.
func (s *files) wrote(err error) error {
	if prior := s.err(); prior != nil {
		return prior
	}
	if err == nil || wire.ErrnoOf(err) == wire.ENOSPC {
		return err
	}
	return s.fail(err)
}

// create makes or empties a file, drawing on the ballast.
func (s *files) create(name string, flags disk.Flag) (f disk.File, err error) {
	err = s.ballast.retry(func() error {
		f, err = s.d.Open(name, disk.Create|flags)
		return err
	})
	return f, err
}

// writeAt writes all of b, drawing on the ballast.
func (s *files) writeAt(f disk.File, b []byte, off int64) error {
	if err := s.err(); err != nil {
		return err
	}
	return s.ballast.retry(func() error {
		_, err := f.WriteAt(b, off)
		return err
	})
}

// admit refuses a batch of n bytes on a disk without room for it in the
// journal. It has to be done before goleveldb has the batch: afterwards the
// journal's stream can't be taken back, so that ENOSPC is final there.
func (s *files) admit(n int64) error {
	if !s.ballast.full.Load() || s.ballast.bytes() > 0 {
		return nil
	}
	_, free, err := s.d.Space()
	if err == nil && free < n+4*journalStep {
		err = wire.ENOSPC
	}
	return err
}

// name is the path of a file of goleveldb's.
func (s *files) name(fd storage.FileDesc) string { return path.Join(s.dir, fd.String()) }

// parseName is the inverse of storage.FileDesc's String.
func parseName(name string) (storage.FileDesc, bool) {
	var fd storage.FileDesc
	digits, suffix, _ := strings.Cut(name, ".")
	switch {
	case strings.HasPrefix(name, "MANIFEST-"):
		digits, fd.Type = name[len("MANIFEST-"):], storage.TypeManifest
	case suffix == "log":
		fd.Type = storage.TypeJournal
	case suffix == "ldb":
		fd.Type = storage.TypeTable
	case suffix == "tmp":
		fd.Type = storage.TypeTemp
	default:
		return fd, false
	}
	n, err := strconv.ParseUint(digits, 10, 62)
	fd.Num = int64(n)
	return fd, err == nil && fd.String() == name
}

// storageLock is goleveldb's lock on the directory.
type storageLock struct{ s *files }

func (l storageLock) Unlock() {
	l.s.mu.Lock()
	held := l.s.lock
	l.s.lock = nil
	l.s.mu.Unlock()
	if held != nil {
		if err := held.Close(); err != nil {
			l.s.log.Warn("unlocking", "dir", l.s.dir, "err", err)
		}
	}
}

// Lock implements storage.Storage.
func (s *files) Lock() (storage.Locker, error) {
	held, err := s.d.Lock(path.Join(s.dir, "LOCK"))
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lock = held
	return storageLock{s}, nil
}

// Log implements storage.Storage.
func (s *files) Log(str string) { s.log.Debug(str, "dir", s.dir) }

// currentLine is the content of CURRENT: the manifest's name and its CRC-32C.
func currentLine(manifest string) string {
	return fmt.Sprintf("%s %08x\n", manifest, crc32.Checksum([]byte(manifest), castagnoli))
}

// SetMeta implements storage.Storage: it moves CURRENT to another manifest,
// which is synced and named already.
func (s *files) SetMeta(fd storage.FileDesc) error {
	tmp, final := path.Join(s.dir, "CURRENT.tmp"), path.Join(s.dir, "CURRENT")
	f, err := s.create(tmp, disk.Trunc)
	if err != nil {
		return s.wrote(err)
	}
	err = s.writeAt(f, []byte(currentLine(fd.String())), 0)
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = s.ballast.retry(func() error { return s.d.Rename(tmp, final) })
	}
	if err == nil {
		err = s.d.SyncDir(s.dir)
	}
	return s.wrote(err)
}

// GetMeta implements storage.Storage.
func (s *files) GetMeta() (storage.FileDesc, error) {
	b, err := readAll(s.d, path.Join(s.dir, "CURRENT"), 256)
	if wire.ErrnoOf(err) == wire.ENOENT {
		return storage.FileDesc{}, os.ErrNotExist
	}
	if err != nil {
		return storage.FileDesc{}, err
	}
	name, _, _ := strings.Cut(string(b), " ")
	fd, ok := parseName(name)
	if !ok || fd.Type != storage.TypeManifest || string(b) != currentLine(name) {
		return fd, corrupt(storage.FileDesc{}, fmt.Errorf("CURRENT reads %q", b))
	}
	if _, err := s.d.Size(s.name(fd)); err != nil {
		if wire.ErrnoOf(err) == wire.ENOENT {
			return fd, corrupt(fd, errors.New("the manifest that CURRENT names is missing"))
		}
		return fd, err
	}
	return fd, nil
}

func corrupt(fd storage.FileDesc, err error) error {
	return &storage.ErrCorrupted{Fd: fd, Err: err}
}

// readAll reads a small file whole; a longer one than limit is EFBIG.
func readAll(d disk.Disk, name string, limit int64) ([]byte, error) {
	f, err := d.Open(name, disk.ReadOnly)
	if err != nil {
		return nil, err
	}
	defer f.Close() // opened for reading: nothing to lose
	n, err := f.Size()
	if err != nil {
		return nil, err
	}
	if n > limit {
		return nil, wire.Errorf("kv.read", name, wire.EFBIG)
	}
	b := make([]byte, n)
	if k, err := f.ReadAt(b, 0); err != nil && err != io.EOF {
		return nil, err
	} else if int64(k) < n {
		b = b[:k]
	}
	return b, nil
}

// List implements storage.Storage.
func (s *files) List(ft storage.FileType) ([]storage.FileDesc, error) {
	names, err := s.d.List(s.dir)
	if err != nil {
		return nil, err
	}
	var fds []storage.FileDesc
	for _, n := range names {
		if fd, ok := parseName(n); ok && fd.Type&ft != 0 {
			fds = append(fds, fd)
		}
	}
	return fds, nil
}

// tableReader reads a table. A read that fails twice is final: a part of the
// index is gone.
type tableReader struct {
	*io.SectionReader
	f disk.File
}

func (r tableReader) Close() error { return r.f.Close() }

// stubborn repeats a read that failed, once.
type stubborn struct {
	s *files
	f disk.File
}

func (r stubborn) ReadAt(p []byte, off int64) (int, error) {
	n, err := r.f.ReadAt(p, off)
	if err == nil || err == io.EOF {
		return n, err
	}
	r.s.m.ReadErrors.Add(1)
	if n, err = r.f.ReadAt(p, off); err == nil || err == io.EOF {
		return n, err
	}
	return n, r.s.fail(err)
}

// memReader reads a stream that lies in memory.
type memReader struct{ *bytes.Reader }

func (memReader) Close() error { return nil }

// Open implements storage.Storage.
func (s *files) Open(fd storage.FileDesc) (storage.Reader, error) {
	name := s.name(fd)
	if fd.Type == storage.TypeManifest || fd.Type == storage.TypeJournal {
		b, err := readAll(s.d, name, maxFrameFile)
		if err != nil {
			return nil, absent(err)
		}
		stream, err := decodeFrames(b)
		if err != nil {
			return nil, corrupt(fd, err)
		}
		return memReader{bytes.NewReader(stream)}, nil
	}
	f, err := s.d.Open(name, disk.ReadOnly)
	if err != nil {
		return nil, absent(err)
	}
	n, err := f.Size()
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return tableReader{io.NewSectionReader(stubborn{s, f}, 0, n), f}, nil
}

// absent gives goleveldb the error by which it knows that a file is missing.
func absent(err error) error {
	if wire.ErrnoOf(err) == wire.ENOENT {
		return os.ErrNotExist
	}
	return err
}

// Create implements storage.Storage.
func (s *files) Create(fd storage.FileDesc) (storage.Writer, error) {
	if err := s.err(); err != nil {
		return nil, err
	}
	switch {
	case fd.Type == storage.TypeJournal && !s.journal:
		s.track.created(fd.Num)
		return &dropWriter{s.track, fd.Num}, nil
	case fd.Type == storage.TypeJournal:
		s.current = s.newFrames(s.name(fd), journalStep)
		s.current.last = true
		return s.current, nil
	case fd.Type == storage.TypeManifest:
		return s.newFrames(s.name(fd), manifestStep), nil
	}
	return s.newTable(s.name(fd))
}

// Remove implements storage.Storage.
func (s *files) Remove(fd storage.FileDesc) error {
	err := s.d.Remove(s.name(fd))
	if fd.Type == storage.TypeJournal && !s.journal {
		s.track.removed(fd.Num)
	}
	if wire.ErrnoOf(err) == wire.ENOENT && fd.Type != storage.TypeTable {
		return nil // journals and manifests come to be with their first flush
	}
	return absent(err)
}

// Rename implements storage.Storage.
func (s *files) Rename(from, to storage.FileDesc) error {
	err := s.d.Rename(s.name(from), s.name(to))
	if err == nil {
		err = s.d.SyncDir(s.dir)
	}
	return s.wrote(absent(err))
}

// Close implements storage.Storage. DB.Close does the work.
func (s *files) Close() error { return nil }

// isCorrupt says whether goleveldb found damage.
func isCorrupt(err error) bool { return lerrors.IsCorrupted(err) }

// dropHalfMade removes what a crash left of a first Open: manifests that no
// CURRENT ever named. Nothing was stored yet then, so there is neither a table
// nor a journal; else it is damage, and goleveldb says so.
func (s *files) dropHalfMade() error {
	if _, err := s.d.Size(path.Join(s.dir, "CURRENT")); wire.ErrnoOf(err) != wire.ENOENT {
		return err
	}
	fds, err := s.List(storage.TypeAll)
	if err != nil {
		return err
	}
	for _, fd := range fds {
		if fd.Type != storage.TypeManifest && fd.Type != storage.TypeTemp {
			return nil
		}
	}
	for _, fd := range fds {
		if err := s.Remove(fd); err != nil {
			return err
		}
	}
	return nil
}
