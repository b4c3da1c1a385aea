package filer

import (
	"context"
	"errors"
	"time"

	"github.com/spirula/spirula/mds/internal/inode"
	"github.com/spirula/spirula/rados"
	"github.com/spirula/spirula/rados/wire"
)

const (
	// earlyBytes unwritten in one object are written back at once: a long
	// sequential write is then mostly on disk when its COMMIT comes.
	earlyBytes = 1 << 20
	// earlyExtents do the same, whatever their size.
	earlyExtents = 1024
)

// backTask is one object that a background goroutine is to write back.
type backTask struct {
	fl *File
	o  *object
}

func (o *object) full() bool { return o.bytes >= earlyBytes || len(o.dirty) >= earlyExtents }

// kick has an object written back in the background; with File.mu held.
func (fl *File) kick(o *object) {
	if o.busy || fl.frozen {
		return
	}
	o.busy = true
	f := fl.f
	f.mu.Lock()
	f.queue = append(f.queue, backTask{fl, o})
	f.mu.Unlock()
	f.work.Signal()
}

// writeBack writes queued objects back until the Filer is closed.
func (f *Filer) writeBack() {
	defer f.done.Done()
	for {
		f.mu.Lock()
		for len(f.queue) == 0 && !f.closed {
			f.work.Wait()
		}
		if f.closed {
			f.mu.Unlock()
			return
		}
		t := f.queue[0]
		f.queue[0] = backTask{}
		f.queue = f.queue[1:]
		f.mu.Unlock()
		if t.fl.writeObject(t.o) && f.o.Cleaned != nil {
			f.o.Cleaned(t.fl.ino)
		}
	}
}

// writeObject writes back what is unwritten of an object that the caller has
// marked busy. cleaned tells that the file has nothing unwritten any more.
func (fl *File) writeObject(o *object) (cleaned bool) {
	f := fl.f
	fl.mu.Lock()
	if fl.frozen || len(o.dirty) == 0 {
		o.busy = false
		fl.wake()
		fl.mu.Unlock()
		return false
	}
	runs, taken := runsOf(o.dirty)
	o.flying = o.dirty[:taken:taken]
	o.dirty = append([]extent(nil), o.dirty[taken:]...)
	o.mark = o.done
	if len(o.dirty) == 0 {
		o.mark = o.last
	}
	size, freed := 0, int64(0)
	for _, e := range o.flying {
		size += e.d.Len()
		freed += e.cost
	}
	o.bytes -= size
	fl.inFlight++
	c, snaps, m := fl.c, fl.snaps, fl.maps[o.n]
	fl.mu.Unlock()

	m, err := f.store(c, snaps, o.n, runs, m)
	for _, r := range runs {
		r.d.Release()
	}
	f.Metrics.BackOps.Add(1)
	f.Metrics.BackBytes.Add(uint64(size))
	if err != nil {
		f.lost(fl, size, err)
	}

	fl.mu.Lock()
	for _, e := range o.flying {
		e.d.Release()
	}
	o.flying, o.done, o.busy = nil, o.mark, false
	fl.inFlight--
	if err != nil && fl.err == nil {
		fl.err = err
	}
	fl.remember(o.n, c, m)
	if len(o.dirty) == 0 {
		delete(fl.objects, o.n)
		cleaned = fl.noteClean()
	} else if o.urgent || o.full() {
		fl.kick(o)
	}
	o.urgent = false
	fl.wake()
	fl.mu.Unlock()
	f.settle(-freed)
	return cleaned
}

// remember keeps an overlay object's map; with mu held.
func (fl *File) remember(n uint64, c *inode.Content, m blockMap) {
	if c.Kind != inode.Overlay || c != fl.c {
		return
	}
	if fl.maps == nil || len(fl.maps) >= maxMaps {
		fl.maps = make(map[uint64]blockMap)
	}
	fl.maps[n] = m
}

// lost notes that unwritten data can't be written: whoever relies on it must
// send it again.
func (f *Filer) lost(fl *File, size int, err error) {
	f.newVerifier()
	f.Metrics.BackErrors.Add(1)
	f.log.Error("write-back failed, data is lost", "inode", uint64(fl.ino), "bytes", size, "err", err)
}

// store writes runs to object n of c. It goes on when a caller gives up: only
// the Filer's end stops it.
func (f *Filer) store(c *inode.Content, snaps wire.SnapContext, n uint64, runs []run, m blockMap) (blockMap, error) {
	if c.Kind == inode.Overlay {
		return f.storeOverlay(f.ctx, c, snaps, n, runs, m)
	}
	name := objectName(c.Stream, n)
	_, err := f.data.Do(f.ctx, &rados.Op{Object: name, SnapC: snaps, Ops: appendWrites(make([]wire.Op, 0, len(runs)), runs)})
	return blockMap{}, wire.Wrap("filer.store", name, err)
}

// wake wakes who waits for write-backs; with mu held.
func (fl *File) wake() {
	if fl.changed != nil {
		close(fl.changed)
		fl.changed = nil
	}
}

// wait lets mu go until a write-back has ended.
func (fl *File) wait(ctx context.Context) error {
	if fl.changed == nil {
		fl.changed = make(chan struct{})
	}
	c := fl.changed
	fl.mu.Unlock()
	defer fl.mu.Lock()
	select {
	case <-c:
		return nil
	case <-ctx.Done():
		return gaveUp("filer.wait", fl.subject(), ctx)
	}
}

// freeze stops new write-backs and waits for those in flight.
func (fl *File) freeze(ctx context.Context) error {
	fl.mu.Lock()
	defer fl.mu.Unlock()
	fl.frozen = true
	for fl.inFlight > 0 {
		if err := fl.wait(ctx); err != nil {
			fl.frozen = false
			fl.wake()
			return err
		}
	}
	return nil
}

// thaw lets write-backs begin again.
func (fl *File) thaw() {
	fl.mu.Lock()
	defer fl.mu.Unlock()
	fl.frozen = false
	for _, o := range fl.objects {
		if o.full() {
			fl.kick(o)
		}
	}
	fl.wake()
}

// Flush makes writes to [off, off+n) durable (n 0: to the end) that were
// there when it was called. Its error is the first write-back that failed
// since the last Flush told of one, its own included: that data is lost, and
// the Verifier has changed.
func (fl *File) Flush(ctx context.Context, off, n uint64) error {
	first, last := off/ObjectSize, uint64(MaxFile/ObjectSize)
	if n > 0 && n <= MaxFile && off <= MaxFile-n {
		last = (off + n - 1) / ObjectSize
	}
	fl.mu.Lock()
	defer fl.mu.Unlock()
	upTo := fl.seq
	for {
		own, left := fl.flushStep(first, last, upTo)
		if !left {
			break
		}
		if own == nil {
			if err := fl.wait(ctx); err != nil {
				return err
			}
			continue
		}
		// One object is written by the caller itself: a small COMMIT needs
		// no other goroutine.
		fl.mu.Unlock()
		fl.writeObject(own)
		fl.mu.Lock()
	}
	err := fl.err
	fl.err = nil
	return err
}

// flushStep sets going what a Flush still needs: own is for the caller to
// write; left tells whether anything isn't done yet. With mu held.
func (fl *File) flushStep(first, last, upTo uint64) (own *object, left bool) {
	for n, o := range fl.objects {
		if n < first || n > last || o.done >= upTo {
			continue
		}
		left = true
		switch {
		case o.busy:
			o.urgent = true
		case fl.frozen:
		case own == nil:
			own, o.busy = o, true
		default:
			fl.kick(o)
		}
	}
	return own, left
}

// noteDirty puts a file among those with unwritten data; with File.mu held.
func (f *Filer) noteDirty(fl *File) {
	f.mu.Lock()
	fl.age, fl.dirtyAge = f.aged.PushBack(fl), time.Now()
	first := f.aged.Len() == 1
	f.mu.Unlock()
	if first {
		f.press()
	}
}

// noteClean takes a file without unwritten data from among them, and reports
// whether it is one; with File.mu held.
func (fl *File) noteClean() bool {
	if len(fl.objects) > 0 {
		return false
	}
	fl.f.mu.Lock()
	if fl.age != nil {
		fl.f.aged.Remove(fl.age)
		fl.age = nil
	}
	fl.forget()
	fl.f.mu.Unlock()
	return true
}

// dirtyFiles lists files with unwritten data, the longest so first: those
// since due, and all when all is set.
func (f *Filer) dirtyFiles(due time.Time, all bool) (list []*File) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for e := f.aged.Front(); e != nil; e = e.Next() {
		fl := e.Value.(*File)
		if !all && fl.dirtyAge.After(due) {
			break
		}
		list = append(list, fl)
	}
	return list
}

// press has the scan look now.
func (f *Filer) press() {
	select {
	case f.pressure <- struct{}{}:
	default:
	}
}

// reserve waits until n more bytes may be unwritten.
func (f *Filer) reserve(ctx context.Context, n int64) error {
	for waited := false; ; waited = true {
		f.mu.Lock()
		if f.closed {
			f.mu.Unlock()
			return wire.Errorf("filer.write", "", wire.ESHUTDOWN)
		}
		if f.dirty == 0 || f.dirty+n <= f.o.DirtyBytes {
			f.dirty += n
			short := f.dirty > f.o.DirtyBytes/2
			f.mu.Unlock()
			if short {
				f.press()
			}
			return nil
		}
		if f.room == nil {
			f.room = make(chan struct{})
		}
		room := f.room
		f.mu.Unlock()
		if !waited {
			f.Metrics.Throttled.Add(1)
		}
		f.press()
		select {
		case <-room:
		case <-ctx.Done():
			return gaveUp("filer.write", "", ctx)
		case <-f.ctx.Done():
		}
	}
}

// settle adds n to the memory of unwritten data.
func (f *Filer) settle(n int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.dirty += n
	if f.dirty < 0 {
		panic("filer: memory of unwritten data is counted below zero")
	}
	if n < 0 && f.room != nil {
		close(f.room)
		f.room = nil
	}
}

// scan sets write-backs going: of what is old, and, when memory is short, of
// the files that have been dirty longest.
func (f *Filer) scan() {
	defer f.done.Done()
	timer := time.NewTimer(f.o.WriteBack)
	defer timer.Stop()
	for {
		select {
		case <-f.ctx.Done():
			return
		case <-f.pressure:
		case <-timer.C:
		}
		f.mu.Lock()
		short, idle := f.dirty-f.o.DirtyBytes/2, f.aged.Len() == 0
		f.mu.Unlock()
		due := time.Now().Add(-f.o.WriteBack)
		for _, fl := range f.dirtyFiles(due, false) {
			short -= fl.kickDue(due, false)
		}
		if short > 0 {
			for _, fl := range f.dirtyFiles(due, true) {
				if short -= fl.kickDue(due, true); short <= 0 {
					break
				}
			}
		}
		if !idle {
			timer.Reset(f.o.WriteBack / 4)
		}
	}
}

// kickDue sets write-backs going of objects unwritten since due, or of all,
// and gives the memory that comes free with those under way.
func (fl *File) kickDue(due time.Time, all bool) (under int64) {
	fl.mu.Lock()
	defer fl.mu.Unlock()
	for _, o := range fl.objects {
		if all || !o.since.After(due) {
			fl.kick(o)
		}
		if o.busy {
			under += costOf(o.dirty) + costOf(o.flying)
		}
	}
	return under
}

func costOf(es []extent) (n int64) {
	for i := range es {
		n += es[i].cost
	}
	return n
}

// Flush makes all unwritten data of all files durable, and gives the first
// errors of write-backs, joined.
func (f *Filer) Flush(ctx context.Context) error {
	var all error
	for _, fl := range f.dirtyFiles(time.Time{}, true) {
		all = errors.Join(all, fl.Flush(ctx, 0, 0))
	}
	return all
}
