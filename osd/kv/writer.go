package kv

import (
	"errors"

	"github.com/spirula/spirula/osd/disk"
	"github.com/spirula/spirula/rados/wire"
)

const (
	// tablePiece is how many bytes of a table are gathered for one write.
	tablePiece = 256 << 10
	// journalStep and manifestStep are how much room a frame file reserves
	// at once: then an append changes no size, and meets a full disk
	// before it wrote anything.
	journalStep  = 1 << 20
	manifestStep = 128 << 10
	// looseJournal is how many unsynced bytes the journal gathers.
	looseJournal = 256 << 10
)

// tableWriter writes a table, or the copy that a salvage makes of one.
type tableWriter struct {
	s     *files
	name  string
	f     disk.File
	buf   []byte
	off   int64
	named bool // the directory entry is synced
}

func (s *files) newTable(name string) (*tableWriter, error) {
	f, err := s.create(name, disk.Trunc)
	if err != nil {
		return nil, s.wrote(err)
	}
	return &tableWriter{s: s, name: name, f: f, buf: make([]byte, 0, tablePiece)}, nil
}

// Write implements io.Writer.
func (w *tableWriter) Write(p []byte) (int, error) {
	n := len(p)
	for len(p) > 0 {
		k := min(len(p), tablePiece-len(w.buf))
		w.buf, p = append(w.buf, p[:k]...), p[k:]
		if len(w.buf) == tablePiece {
			if err := w.flush(); err != nil {
				return 0, err
			}
		}
	}
	return n, nil
}

func (w *tableWriter) flush() error {
	if len(w.buf) == 0 {
		return nil
	}
	if err := w.s.writeAt(w.f, w.buf, w.off); err != nil {
		return w.s.wrote(err)
	}
	w.f.StartWrite(w.off, int64(len(w.buf)))
	w.s.m.TableBytes.Add(int64(len(w.buf)))
	w.off += int64(len(w.buf))
	w.buf = w.buf[:0]
	return nil
}

// Sync makes the table and its name durable.
func (w *tableWriter) Sync() error {
	err := w.flush()
	if err == nil {
		err = w.s.wrote(w.f.Sync())
	}
	if err == nil && !w.named {
		if err = w.s.wrote(w.s.d.SyncDir(w.s.dir)); err == nil {
			w.named = true
		}
	}
	if wire.ErrnoOf(err) == wire.ENOSPC {
		w.s.ballast.release() // goleveldb writes the table anew
	}
	return err
}

// Close gives up the file. A table that wasn't synced is abandoned anyway.
func (w *tableWriter) Close() error { return w.f.Close() }

// frameWriter writes a manifest or a journal: what was written between two
// flushes becomes one frame.
type frameWriter struct {
	s      *files
	name   string
	step   int64
	last   bool      // no ENOSPC can be made good: see admit
	f      disk.File // nil until the first flush: goleveldb drops some unused
	buf    []byte    // room for a frame header, then what wasn't flushed
	off    int64     // where the next frame goes
	synced int64     // below here all is synced
	room   int64     // reserved bytes
	named  bool      // the directory entry is synced
}

func (s *files) newFrames(name string, step int64) *frameWriter {
	return &frameWriter{s: s, name: name, step: step, buf: make([]byte, frameHeader)}
}

// Write implements io.Writer. It only gathers.
func (w *frameWriter) Write(p []byte) (int, error) {
	w.buf = append(w.buf, p...)
	return len(p), nil
}

// open makes the file, anew if a crash left one of that name: old frames in it
// could otherwise pass for new ones.
func (w *frameWriter) open() error {
	f, err := w.s.create(w.name, disk.Excl)
	if wire.ErrnoOf(err) == wire.EEXIST {
		if err = w.s.d.Remove(w.name); err == nil {
			err = w.s.d.SyncDir(w.s.dir)
		}
		if err == nil {
			f, err = w.s.create(w.name, disk.Excl)
		}
	}
	if err != nil {
		return err
	}
	w.f = f
	return nil
}

// flush writes the gathered bytes as one frame. After ENOSPC they are kept.
func (w *frameWriter) flush() error {
	if len(w.buf) == frameHeader {
		return nil
	}
	if w.f == nil {
		if err := w.open(); err != nil && w.last {
			return w.s.fail(err)
		} else if err != nil {
			return w.s.wrote(err)
		}
	}
	if w.off == 0 {
		if err := w.reserve(fileHeader); err != nil {
			return err
		}
		var h [fileHeader]byte
		putFileHeader(h[:])
		if err := w.s.writeAt(w.f, h[:], 0); err != nil {
			return w.s.wrote(err)
		}
		w.off = fileHeader
	}
	if err := w.reserve(w.off + int64(len(w.buf))); err != nil {
		return err
	}
	putFrameHeader(w.buf, w.off, w.synced)
	if err := w.s.writeAt(w.f, w.buf, w.off); err != nil {
		return w.s.wrote(err)
	}
	w.off += int64(len(w.buf))
	w.buf = w.buf[:frameHeader]
	if cap(w.buf) > 4*looseJournal {
		w.buf = make([]byte, frameHeader)
	}
	return nil
}

// reserve makes sure of room up to end.
func (w *frameWriter) reserve(end int64) error {
	if end <= w.room {
		return nil
	}
	room := (end + w.step - 1) / w.step * w.step
	err := w.s.ballast.retry(func() error { return w.f.Grow(room) })
	if err != nil && w.last {
		return w.s.fail(err)
	}
	if err != nil {
		return w.s.wrote(err)
	}
	w.room = room
	return nil
}

// Sync makes all that was written, and the file's name, durable. Space was
// reserved, so any failure here is final, a full disk as well.
func (w *frameWriter) Sync() error {
	if err := w.flush(); err != nil || w.f == nil {
		return err
	}
	if err := w.f.Sync(); err != nil {
		return w.s.fail(err)
	}
	if !w.named {
		if err := w.s.d.SyncDir(w.s.dir); err != nil {
			return w.s.fail(err)
		}
		w.named = true
	}
	w.synced = w.off
	w.s.m.Syncs.Add(1)
	return nil
}

// Close syncs what is not yet synced: the next journal's batches must not
// outlive this one's.
func (w *frameWriter) Close() error {
	var err error
	if len(w.buf) > frameHeader || w.synced < w.off {
		err = w.Sync()
	}
	if w.f != nil {
		err = errors.Join(err, w.f.Close())
		w.f = nil
	}
	return err
}

// dropWriter is the journal of a DB without one. The bytes go nowhere; that
// they come tells the tracker that a batch is about to be in memory.
type dropWriter struct {
	t   *tracker
	num int64
}

func (w *dropWriter) Write(p []byte) (int, error) {
	w.t.written(w.num)
	return len(p), nil
}

func (w *dropWriter) Sync() error { return nil }

func (w *dropWriter) Close() error {
	w.t.replaced(w.num)
	return nil
}
