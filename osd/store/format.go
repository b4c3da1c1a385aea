package store

import (
	"time"

	"github.com/spirula/spirula/osd/disk"
	"github.com/spirula/spirula/rados/wire"
)

// A log that was never written costs a commit of the file system's journal
// per sync, so it is filled with zeros once. Mkfs does the beginning, for it
// has to be quick; the rest follows here, ahead of the writer. After one lap
// of the writer nothing is left to do.
const (
	formatPiece = 1 << 20
	// formatLead is how far ahead of the writer zeros are written, in bytes.
	formatLead = 8 << 20
	// formatPause leaves the disk to others between pieces.
	formatPause = 20 * time.Millisecond
)

// overFormat reports whether a group of n bytes would be put where zeros are
// being written. s.mu is held, by the log goroutine.
func (s *Store) overFormat(n uint64) bool {
	n = roundUp(n, unitSize)
	at := s.wal.place(n) % s.wal.size
	f := s.formatting
	return f.n > 0 && at < f.unit+f.n && f.unit < at+n
}

// formatLoop fills the rest of the log with zeros.
func (s *Store) formatLoop() {
	defer s.wg.Done()
	at := s.super.formatted
	if at >= s.wal.size {
		return
	}
	zeros := disk.Aligned(formatPiece)
	for at < s.wal.size {
		select {
		case <-s.stop:
			return
		case <-time.After(formatPause):
		}
		s.mu.Lock()
		if s.dead != nil || s.logHead >= s.wal.size {
			s.mu.Unlock()
			break
		}
		at = max(at, roundUp(s.logHead, unitSize)+min(formatLead, s.wal.size/4))
		if at >= s.wal.size {
			s.mu.Unlock()
			break
		}
		n := min(formatPiece, s.wal.size-at)
		s.formatting = run{at, n}
		s.mu.Unlock()
		_, err := s.wal.f.WriteAt(zeros[:n], int64(at))
		s.mu.Lock()
		s.formatting = run{}
		s.logGo.Signal()
		s.mu.Unlock()
		if err != nil {
			s.fail(wire.Wrap("store.format", "log", err))
			return
		}
		at += n
	}
	s.mu.Lock()
	s.formatted = s.dead == nil
	s.mu.Unlock()
}
