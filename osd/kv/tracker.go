package kv

import "sync"

// tracker finds out what is durable without a journal. goleveldb makes a new
// journal when it freezes the table in memory, and removes the old one after
// the frozen table's file and the manifest naming it are synced. So what was
// in memory when the new journal was made is durable when the old one goes.
type tracker struct {
	mu      sync.Mutex
	batch   uint64           // the batch that Apply is handing over, or handed over last
	inMem   uint64           // the last batch surely in the table in memory
	journal int64            // the number of the journal made last
	note    uint64           // inMem when it was made
	after   map[int64]uint64 // for a journal replaced: the note of the next
	durable uint64
}

// start says that the content found at open is that of seq, durable.
func (t *tracker) start(seq uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.batch, t.inMem, t.note, t.durable = seq, seq, seq, seq
}

// apply announces a batch. It panics when numbers go backward: the caller's
// log would be cut off in the wrong place.
func (t *tracker) apply(seq uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if seq < t.batch {
		panic("kv: batch " + utoa(seq) + " after batch " + utoa(t.batch))
	}
	t.batch = seq
}

// created is a journal made: the table in memory is about to be frozen, or,
// if one is frozen already, soon.
func (t *tracker) created(num int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.journal, t.note = num, t.inMem
}

// written is a batch on its way to the current table in memory. When a journal
// is replaced goleveldb flushes the old one; that is no batch.
func (t *tracker) written(num int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if num == t.journal {
		t.inMem = t.batch
	}
}

// replaced is a journal closed because the one made last takes its place.
func (t *tracker) replaced(num int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if num != t.journal {
		t.after[num] = t.note
	}
}

// removed is a journal removed: what was in memory with it is in tables.
func (t *tracker) removed(num int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if seq, ok := t.after[num]; ok {
		t.durable = max(t.durable, seq)
		delete(t.after, num)
	}
}

// synced is a journal synced up to seq.
func (t *tracker) synced(seq uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.durable = max(t.durable, seq)
}

// points gives the last batch handed over and the last durable one.
func (t *tracker) points() (applied, durable uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.batch, t.durable
}
