package store

import "github.com/spirula/spirula/osd/kv"

// WithRowsAtOnce makes ranges, copies and drops of omaps go in small steps.
func (o Options) WithRowsAtOnce(n int) Options {
	o.rowsAtOnce = n
	return o
}

// Index is the store's index, for tests that damage it.
func (s *Store) Index() *kv.DB { return s.db }

// AppliedSeq is the record up to which the index is.
func (s *Store) AppliedSeq() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.appliedSeq
}

// Checkpoint makes everything durable and moves the log's tail.
func (s *Store) Checkpoint() {
	s.mu.Lock()
	defer s.mu.Unlock()
	want := s.checkDone + 1
	if s.checking {
		want++
	}
	s.checkWanted = true
	s.checkGo.Signal()
	for s.checkDone < want && s.dead == nil {
		s.applied.Wait()
	}
}

// WithFormatBytes makes Mkfs write only the beginning of the log.
func (o Options) WithFormatBytes(n int64) Options {
	o.formatBytes = n
	return o
}

// Formatted reports whether the whole log was written once.
func (s *Store) Formatted() bool { return s.super.formatted == s.wal.size }
