package disk

import (
	"io"
	"sync"

	"github.com/spirula/spirula/rados/wire"
)

const (
	pageSize   = 4096
	sectorSize = 512
	// maxVersions is how many contents of a page, and how many sizes of a
	// file, Crash chooses from: the synced one and the latest.
	maxVersions = 4
)

// page is the content of one page. It is never changed once it is in an
// inode: a write makes a new one. nil stands for zeros.
type page []byte

// zeroPage is what Discard leaves.
var zeroPage [pageSize]byte

// memInode is a file's content.
type memInode struct {
	mu    sync.RWMutex
	pages map[int64]page
	size  int64
	grown int64 // pages below this number are reserved whether written or not

	// What a power cut may leave of what was written since the last Sync:
	// for each page written, the contents it had, the durable one first;
	// for the size the same.
	dirty map[int64][]page
	sizes []int64
	// Pages and size whose Sync failed: users see the new content, the
	// disk has this one, and no later Sync brings it over.
	lost     map[int64]page
	lostSize int64 // -1 when none

	links, opens int   // under Mem.mu
	charged      int64 // bytes counted in Mem.used; under Mem.mu and mu
}

func newInode() *memInode {
	return &memInode{
		pages: map[int64]page{}, dirty: map[int64][]page{},
		sizes: []int64{0}, lost: map[int64]page{}, lostSize: -1,
	}
}

// setPage replaces a page and remembers what it was.
func (in *memInode) setPage(n int64, p page) {
	old := in.pages[n]
	if p == nil {
		delete(in.pages, n)
	} else {
		in.pages[n] = p
	}
	versions := in.dirty[n]
	if l, ok := in.lost[n]; ok {
		versions, old = []page{l}, nil
		delete(in.lost, n)
	} else if versions == nil {
		in.dirty[n] = []page{old}
		return
	} else {
		versions = append(versions, old)
	}
	if len(versions) > maxVersions {
		versions = append(versions[:1], versions[2:]...)
	}
	in.dirty[n] = versions
}

// setSize changes the size and remembers what it was.
func (in *memInode) setSize(n int64) {
	if n == in.size {
		return
	}
	if in.lostSize >= 0 {
		in.sizes, in.lostSize = []int64{in.lostSize}, -1
	} else if in.sizes = append(in.sizes, in.size); len(in.sizes) > maxVersions {
		in.sizes = append(in.sizes[:1], in.sizes[2:]...)
	}
	in.size = n
}

// write copies b in at off.
func (in *memInode) write(b []byte, off int64) {
	end := off + int64(len(b))
	for len(b) > 0 {
		n, skip := off/pageSize, off%pageSize
		p := make(page, pageSize)
		k := pageSize - skip
		if skip != 0 || int64(len(b)) < pageSize {
			copy(p, in.pages[n])
		}
		k = int64(copy(p[skip:], b[:min(k, int64(len(b)))]))
		in.setPage(n, p)
		b, off = b[k:], off+k
	}
	if end > in.size {
		in.setSize(end)
	}
}

// read copies out up to the size and says how much.
func (in *memInode) read(b []byte, off int64) int {
	if off >= in.size {
		return 0
	}
	b = b[:min(int64(len(b)), in.size-off)]
	for done := 0; done < len(b); {
		at := off + int64(done)
		part := b[done:min(len(b), done+int(pageSize-at%pageSize))]
		if p := in.pages[at/pageSize]; p == nil {
			clear(part)
		} else {
			copy(part, p[at%pageSize:])
		}
		done += len(part)
	}
	return len(b)
}

// truncate cuts or lengthens; what is cut reads as zeros if it comes back.
func (in *memInode) truncate(n int64) {
	if n < in.size {
		in.zero(n, (in.size+pageSize-1)/pageSize*pageSize)
		in.grown = min(in.grown, (n+pageSize-1)/pageSize)
	}
	in.setSize(n)
}

// zero makes [from, to) zeros, dropping whole pages.
func (in *memInode) zero(from, to int64) {
	for off := from; off < to; {
		n := off / pageSize
		end := min(to, (n+1)*pageSize)
		if old := in.pages[n]; old != nil {
			if end-off == pageSize {
				in.setPage(n, nil)
			} else {
				p := make(page, pageSize)
				copy(p, old)
				clear(p[off%pageSize : off%pageSize+end-off])
				in.setPage(n, p)
			}
		}
		off = end
	}
}

// sync makes all of it durable but what a failed sync lost.
func (in *memInode) sync() {
	clear(in.dirty)
	in.sizes = in.sizes[:0]
	if in.lostSize < 0 {
		in.sizes = append(in.sizes, in.size)
	}
}

// lose is a failed sync: the dirty pages count as clean but never reached the
// disk.
func (in *memInode) lose() {
	for n, versions := range in.dirty {
		in.lost[n] = versions[0]
	}
	clear(in.dirty)
	if in.lostSize < 0 && in.sizes[0] != in.size {
		in.lostSize = in.sizes[0]
	}
	in.sizes = in.sizes[:0]
	if in.lostSize < 0 {
		in.sizes = append(in.sizes, in.size)
	}
}

// space is how many bytes the file takes up.
func (in *memInode) space() int64 {
	n := in.grown
	for i := range in.pages {
		if i >= in.grown {
			n++
		}
	}
	return n * pageSize
}

// charge brings the disk's account of a file up to date.
func (m *Mem) charge(in *memInode) {
	now := in.space()
	m.used += now - in.charged
	in.charged = now
}

// memFile is an open file.
type memFile struct {
	m     *Mem
	in    *memInode
	name  string
	flags Flag
	done  bool // closed; under Mem.mu
}

// enter checks that the call may happen. m.mu is held.
func (f *memFile) enter(op string, off, n int64) error {
	if f.done {
		return wire.Errorf("disk."+op, f.name+" is closed", wire.EINVAL)
	}
	if err := f.m.enter(op, f.name, off, n); err != nil {
		return err
	}
	if off < 0 {
		return wire.Errorf("disk."+op, f.name, wire.EINVAL)
	}
	if f.flags&ReadOnly != 0 && op != "read" && op != "size" && op != "sync" {
		return wire.Errorf("disk."+op, f.name, wire.EACCES)
	}
	return nil
}

// ReadAt implements io.ReaderAt.
func (f *memFile) ReadAt(p []byte, off int64) (int, error) {
	f.m.mu.Lock()
	err := f.enter("read", off, int64(len(p)))
	f.m.mu.Unlock()
	if err != nil {
		return 0, err
	}
	if f.Direct() && !IsAligned(p, off) {
		return 0, wire.Errorf("disk.read", f.name, wire.EINVAL)
	}
	f.in.mu.RLock()
	defer f.in.mu.RUnlock()
	if n := f.in.read(p, off); n < len(p) {
		return n, io.EOF
	}
	return len(p), nil
}

// WriteAt implements io.WriterAt. On a full disk it writes nothing.
func (f *memFile) WriteAt(p []byte, off int64) (int, error) {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	if err := f.enter("write", off, int64(len(p))); err != nil {
		return 0, err
	}
	if f.Direct() && !IsAligned(p, off) {
		return 0, wire.Errorf("disk.write", f.name, wire.EINVAL)
	}
	if len(p) == 0 {
		return 0, nil
	}
	f.in.mu.Lock()
	defer f.in.mu.Unlock()
	need := f.missing(off, off+int64(len(p)))
	if f.m.cap > 0 && f.m.used+need > f.m.cap {
		return 0, wire.Errorf("disk.write", f.name, wire.ENOSPC)
	}
	f.in.write(p, off)
	f.m.used += need
	f.in.charged += need
	return len(p), nil
}

// missing is how many bytes writing [from, to) would newly take up.
func (f *memFile) missing(from, to int64) int64 {
	var n int64
	for i := max(from/pageSize, f.in.grown); i*pageSize < to; i++ {
		if f.in.pages[i] == nil {
			n += pageSize
		}
	}
	return n
}

// Close implements io.Closer.
func (f *memFile) Close() error {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	if f.done {
		return wire.Errorf("disk.close", f.name+" is closed", wire.EINVAL)
	}
	f.done = true
	f.in.opens--
	f.m.reclaim(f.in)
	return nil
}

// Sync implements File.
func (f *memFile) Sync() error {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	if err := f.enter("sync", 0, 0); err != nil {
		return err
	}
	f.in.mu.Lock()
	defer f.in.mu.Unlock()
	f.in.sync()
	return nil
}

// LoseUnsynced does to the file what a failed Sync does on a real disk: its
// unsynced bytes are still read but will be gone after a power cut, whatever
// is synced later.
func (f *memFile) LoseUnsynced() {
	f.in.mu.Lock()
	defer f.in.mu.Unlock()
	f.in.lose()
}

// Resident implements File: every other stretch of 64 pages is.
func (f *memFile) Resident(off, _ int64) (all, known bool) { return off/(64*pageSize)%2 == 1, true }

// StartWrite implements File; memory has nothing to start.
func (f *memFile) StartWrite(off, n int64) {}

// Grow implements File.
func (f *memFile) Grow(n int64) error {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	if err := f.enter("grow", 0, n); err != nil {
		return err
	}
	f.in.mu.Lock()
	defer f.in.mu.Unlock()
	if n <= f.in.size {
		return nil
	}
	need := f.missing(f.in.size, n)
	if f.m.cap > 0 && f.m.used+need > f.m.cap {
		return wire.Errorf("disk.grow", f.name, wire.ENOSPC)
	}
	f.in.grown = max(f.in.grown, (n+pageSize-1)/pageSize)
	f.in.setSize(n)
	f.m.charge(f.in)
	return nil
}

// Truncate implements File.
func (f *memFile) Truncate(n int64) error {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	if err := f.enter("truncate", n, 0); err != nil {
		return err
	}
	f.in.mu.Lock()
	defer f.in.mu.Unlock()
	f.in.truncate(n)
	f.m.charge(f.in)
	return nil
}

// Discard implements File. The range reads as zeros from then on and stays
// reserved.
func (f *memFile) Discard(off, n int64) error {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	if err := f.enter("discard", off, n); err != nil {
		return err
	}
	f.in.mu.Lock()
	defer f.in.mu.Unlock()
	for off < min(off+n, f.in.size) {
		k := min(n, pageSize-off%pageSize, f.in.size-off)
		if f.in.pages[off/pageSize] != nil {
			f.in.write(zeroPage[:k], off)
		}
		off, n = off+k, n-k
	}
	return nil
}

// Size implements File.
func (f *memFile) Size() (int64, error) {
	f.m.mu.Lock()
	err := f.enter("size", 0, 0)
	f.m.mu.Unlock()
	if err != nil {
		return 0, err
	}
	f.in.mu.RLock()
	defer f.in.mu.RUnlock()
	return f.in.size, nil
}

// Direct implements File.
func (f *memFile) Direct() bool { return f.flags&Direct != 0 }
