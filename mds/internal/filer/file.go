package filer

import (
	"container/list"
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/spirula/spirula/mds/internal/inode"
	"github.com/spirula/spirula/rados/wire"
)

// File is the content of one inode that is written in place, with the data
// not yet written back. Its methods may be called from many goroutines.
type File struct {
	f    *Filer
	ino  inode.Ino
	refs int // Filer.mu guards it
	// Where the file is among those with unwritten data, and since when;
	// Filer.mu guards them.
	age      *list.Element
	dirtyAge time.Time
	gate     gate

	mu       sync.Mutex
	c        *inode.Content
	snaps    wire.SnapContext
	size     uint64
	seq      uint64 // number of the last write
	objects  map[uint64]*object
	maps     map[uint64]blockMap // overlay: what is known of objects
	inFlight int
	frozen   bool          // no write-back begins
	gone     bool          // discarded
	err      error         // the first write-back that failed since the last Flush
	changed  chan struct{} // closed when a write-back ended; nil: nobody waits
}

// maxMaps bounds File.maps; over it everything is forgotten.
const maxMaps = 4096

// writable says why c can't be the content of a File.
func writable(c *inode.Content) error {
	if (c.Kind == inode.Plain || c.Kind == inode.Overlay) && !c.Sealed && (c.Snap == 0 || c.Snap == wire.NoSnap) {
		return nil
	}
	return fmt.Errorf("content of kind %d (sealed %v, snap %d) can't be written in place: %w", c.Kind, c.Sealed, c.Snap, wire.EINVAL)
}

// Open gives the File of an inode; the first Open makes it of content c
// (Plain or Overlay, head, not sealed: else EINVAL), size, and the snap
// context of its writes; later ones find it and ignore those. Each Open needs
// one Release; the File stays known until it is released and clean.
func (f *Filer) Open(ino inode.Ino, c *inode.Content, size uint64, snaps wire.SnapContext) (*File, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if fl := f.files[ino]; fl != nil {
		fl.refs++
		return fl, nil
	}
	if err := writable(c); err != nil {
		return nil, wire.Wrap("filer.open", fmt.Sprintf("inode %x", uint64(ino)), err)
	}
	fl := &File{f: f, ino: ino, refs: 1, c: c, size: size, snaps: snaps, objects: make(map[uint64]*object)}
	f.files[ino] = fl
	return fl, nil
}

// Lookup is Open for an inode whose File is known; nil otherwise.
func (f *Filer) Lookup(ino inode.Ino) *File {
	f.mu.Lock()
	defer f.mu.Unlock()
	fl := f.files[ino]
	if fl != nil {
		fl.refs++
	}
	return fl
}

// Release gives one Open or Lookup back.
func (fl *File) Release() {
	fl.mu.Lock()
	defer fl.mu.Unlock()
	fl.f.mu.Lock()
	defer fl.f.mu.Unlock()
	if fl.refs--; fl.refs < 0 {
		panic(fmt.Sprintf("filer: File of inode %x was released once too often", uint64(fl.ino)))
	}
	fl.forget()
}

// Detach takes a clean file from the Filer, so that the next Open makes
// another one, of other content perhaps. Who holds this one reads on; nobody
// writes to it any more. false: it isn't clean, and nothing was done.
func (fl *File) Detach() bool {
	fl.mu.Lock()
	defer fl.mu.Unlock()
	if len(fl.objects) > 0 {
		return false
	}
	fl.f.mu.Lock()
	defer fl.f.mu.Unlock()
	if fl.f.files[fl.ino] == fl {
		delete(fl.f.files, fl.ino)
	}
	return true
}

// forget takes a file nobody needs from the Filer; with both mutexes held. A
// loss that no Flush has told of goes with it: the Verifier has told.
func (fl *File) forget() {
	if fl.refs == 0 && len(fl.objects) == 0 && fl.f.files[fl.ino] == fl {
		delete(fl.f.files, fl.ino)
	}
}

// Ino is the inode that the file was opened as.
func (fl *File) Ino() inode.Ino { return fl.ino }

// Size is the file's size in bytes, unwritten data included.
func (fl *File) Size() uint64 {
	fl.mu.Lock()
	defer fl.mu.Unlock()
	return fl.size
}

// Dirty reports whether there is data not yet written back.
func (fl *File) Dirty() bool {
	fl.mu.Lock()
	defer fl.mu.Unlock()
	return len(fl.objects) > 0
}

// Content is the content that writes go to.
func (fl *File) Content() *inode.Content {
	fl.mu.Lock()
	defer fl.mu.Unlock()
	return fl.c
}

func (fl *File) subject() string { return fmt.Sprintf("inode %x", uint64(fl.ino)) }

// Write puts d at off, taking references of its own; it waits for room while
// too much is unwritten. stable waits until it is durable, with the error
// that Flush would give; otherwise Flush does. EFBIG: it would end over
// MaxFile. ESTALE: the file was discarded.
func (fl *File) Write(ctx context.Context, off uint64, d wire.Data, stable bool) error {
	n := uint64(d.Len())
	if n == 0 {
		return nil
	}
	if off > MaxFile || n > MaxFile-off {
		return wire.Errorf("filer.write", fl.subject(), wire.EFBIG)
	}
	reserved := pinned(d)
	if err := fl.f.reserve(ctx, reserved); err != nil {
		return err
	}
	if err := fl.gate.enter(ctx); err != nil {
		fl.f.settle(-reserved)
		return err
	}
	err := fl.put(off, d, reserved)
	fl.gate.leave()
	if err != nil {
		return err
	}
	fl.f.Metrics.WriteBytes.Add(n)
	if !stable {
		return nil
	}
	return fl.Flush(ctx, off, n)
}

// put takes d into memory, settles what was reserved for it, and sees to
// write-backs that are due.
func (fl *File) put(off uint64, d wire.Data, reserved int64) error {
	fl.mu.Lock()
	defer fl.mu.Unlock()
	cost := int64(0)
	// Before mu is let go: a write-back gives back what was counted.
	defer func() { fl.f.settle(cost - reserved) }()
	if fl.gone {
		return wire.Errorf("filer.write", fl.subject(), wire.ESTALE)
	}
	if len(fl.objects) == 0 {
		fl.f.noteDirty(fl)
	}
	fl.seq++
	for at := 0; at < d.Len(); {
		n, in := off/ObjectSize, int(off%ObjectSize)
		k := min(d.Len()-at, ObjectSize-in)
		o := fl.objects[n]
		if o == nil {
			o = &object{n: n, done: fl.seq - 1}
			fl.objects[n] = o
		}
		if len(o.dirty) == 0 {
			o.since = time.Now()
		}
		cost += o.insert(in, d.Slice(at, k))
		o.last = fl.seq
		if o.full() {
			fl.kick(o)
		}
		at, off = at+k, off+uint64(k)
	}
	fl.size = max(fl.size, off)
	return nil
}

// Read gives the bytes [off, off+n), fewer only at the end of the file or
// where MaxRead ends them.
func (fl *File) Read(ctx context.Context, off uint64, n int) (wire.Data, error) {
	if err := fl.gate.enter(ctx); err != nil {
		return wire.Data{}, err
	}
	defer fl.gate.leave()
	fl.mu.Lock()
	c := fl.c
	if off >= fl.size || n <= 0 {
		fl.mu.Unlock()
		return wire.Data{}, nil
	}
	n = int(min(uint64(n), fl.size-off, MaxRead))
	ps := fl.patches(off, n)
	fl.mu.Unlock()
	d, err := fl.f.merge(ctx, c, off, n, ps)
	if err == nil {
		fl.f.Metrics.ReadBytes.Add(uint64(n))
	}
	return d, err
}

// patches gives what of the range is in memory, offsets counted from off;
// with mu held.
func (fl *File) patches(off uint64, n int) (ps []run) {
	if len(fl.objects) == 0 {
		return nil
	}
	for end := off + uint64(n); off < end; {
		in := int(off % ObjectSize)
		k := min(int(end-off), ObjectSize-in)
		if o := fl.objects[off/ObjectSize]; o != nil {
			for _, p := range o.patches(in, in+k) {
				ps = append(ps, run{p.off - in + n - int(end-off), p.d})
			}
		}
		off += uint64(k)
	}
	return ps
}

// merge reads what patches, whose references it takes, leave open of the
// range, and chains all in order.
func (f *Filer) merge(ctx context.Context, c *inode.Content, off uint64, n int, patches []run) (out wire.Data, err error) {
	gaps := gapsOf(patches, 0, n)
	if len(gaps) == 0 && len(patches) == 1 {
		return patches[0].d, nil
	}
	var stored wire.Data
	lo := 0
	if len(gaps) > 0 {
		lo = gaps[0][0]
		stored, err = f.fetch(ctx, c, off+uint64(lo), gaps[len(gaps)-1][1]-lo)
	}
	if err == nil && len(patches) == 0 {
		return stored, nil
	}
	for _, p := range patches {
		if err != nil {
			p.d.Release()
			continue
		}
		if p.off > out.Len() {
			out.AppendData(stored.Slice(out.Len()-lo, p.off-out.Len()))
		}
		out.AppendData(p.d)
	}
	if err == nil && out.Len() < n {
		out.AppendData(stored.Slice(out.Len()-lo, n-out.Len()))
	}
	stored.Release()
	return out, err
}

// Truncate sets the size: data beyond is dropped and its objects cut, so
// that it reads as zeros when the file grows again. c is the content from
// now on: Truncated of the old one, or the same when the file grows. On an
// error the objects may be cut in part, and it is to be repeated.
func (fl *File) Truncate(ctx context.Context, size uint64, c *inode.Content) error {
	if size > MaxFile {
		return wire.Errorf("filer.truncate", fl.subject(), wire.EFBIG)
	}
	if err := writable(c); err != nil {
		return wire.Wrap("filer.truncate", fl.subject(), err)
	}
	if err := fl.gate.enterAlone(ctx); err != nil {
		return err
	}
	defer fl.gate.leaveAlone()
	if err := fl.freeze(ctx); err != nil {
		return err
	}
	defer fl.thaw()
	old, snaps := fl.size, fl.snaps // nobody else changes them now
	if err := fl.f.Truncate(ctx, c, snaps, old, size); err != nil {
		return err
	}
	fl.mu.Lock()
	freed := int64(0)
	for n, o := range fl.objects {
		switch begin := n * ObjectSize; {
		case begin >= size:
			freed += o.dropFrom(0)
		case begin+ObjectSize > size:
			freed += o.dropFrom(int(size - begin))
		}
		if len(o.dirty) == 0 {
			delete(fl.objects, n)
		}
	}
	fl.size, fl.c, fl.maps = size, c, nil
	fl.noteClean()
	fl.mu.Unlock()
	fl.f.settle(-freed)
	return nil
}

// Switch writes everything back under the old content and snap context and
// goes on with the new ones: a cut, a new bucket snapshot, a new overlay.
// Writes wait meanwhile. On an error (a write-back failed) nothing changes.
func (fl *File) Switch(ctx context.Context, c *inode.Content, snaps wire.SnapContext) error {
	if err := writable(c); err != nil {
		return wire.Wrap("filer.switch", fl.subject(), err)
	}
	if err := fl.gate.enterAlone(ctx); err != nil {
		return err
	}
	defer fl.gate.leaveAlone()
	if err := fl.Flush(ctx, 0, 0); err != nil {
		return err
	}
	fl.mu.Lock()
	defer fl.mu.Unlock()
	fl.c, fl.snaps, fl.maps = c, snaps, nil
	return nil
}

// Discard drops unwritten data, waits for what is in flight, and takes no
// more writes: the inode is gone and its stream will be purged.
func (fl *File) Discard(ctx context.Context) {
	if err := fl.gate.enterAlone(ctx); err != nil {
		return
	}
	defer fl.gate.leaveAlone()
	if err := fl.freeze(ctx); err != nil {
		return
	}
	fl.mu.Lock()
	freed := int64(0)
	for n, o := range fl.objects {
		freed += o.dropFrom(0)
		delete(fl.objects, n)
	}
	fl.gone, fl.frozen = true, false
	fl.noteClean()
	fl.wake()
	fl.mu.Unlock()
	fl.f.settle(-freed)
}
