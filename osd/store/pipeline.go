package store

import (
	"encoding/binary"
	"slices"

	"github.com/spirula/spirula/osd/disk"
	"github.com/spirula/spirula/osd/kv"
	"github.com/spirula/spirula/rados/wire"
)

// dataLoop syncs block for the large writes that wait for it, all at once.
func (s *Store) dataLoop() {
	defer s.wg.Done()
	for {
		s.mu.Lock()
		for len(s.dataQ) == 0 && !s.stopped && s.dead == nil {
			s.dataGo.Wait()
		}
		if s.stopped || s.dead != nil {
			s.mu.Unlock()
			return
		}
		q := s.dataQ
		s.dataQ = nil
		s.mu.Unlock()
		if err := s.block.Sync(); err != nil {
			s.fail(wire.Wrap("store.sync", "block", err))
			return
		}
		s.m.DataSyncs.Add(1)
		s.mu.Lock()
		for _, t := range q {
			t.ready = true
			s.advance(t.sq)
		}
		s.mu.Unlock()
	}
}

// logLoop puts records into the log: as many as are there, one write, one
// sync.
func (s *Store) logLoop() {
	defer s.wg.Done()
	buf := disk.Aligned(int(s.maxGroup()))
	for {
		s.mu.Lock()
		for len(s.logQ) == 0 && !s.stopped && s.dead == nil {
			s.logGo.Wait()
		}
		if s.stopped || s.dead != nil {
			s.mu.Unlock()
			return
		}
		n, size := 0, uint64(groupHead)
		for _, t := range s.logQ {
			if more := t.recordSize(); n == 0 || size+more <= s.maxGroup() {
				n, size = n+1, size+more
			} else {
				break
			}
		}
		q := s.logQ[:n:n]
		s.logQ = s.logQ[n:]
		for s.overFormat(size) && s.dead == nil {
			s.logGo.Wait()
		}
		tail := s.logTail
		s.mu.Unlock()

		b := buf
		if need := roundUp(size, unitSize); need > uint64(len(b)) {
			b = disk.Aligned(int(need))
		}
		at := groupHead
		for _, t := range q {
			at = t.encode(b, at)
		}
		pos, err := s.wal.write(b, at, uint32(n), tail)
		if err != nil {
			s.fail(wire.Wrap("store.log", "", err))
			return
		}
		s.m.Groups.Add(1)
		s.m.GroupBytes.Add(int64(at))
		s.logged(q, pos, tail)
	}
}

// recordSize is what the record takes in a group, in bytes.
func (t *txn) recordSize() uint64 {
	return recordHead + uint64(len(t.stream)+len(t.images)*unitSize)
}

// encode puts the record into a group at an offset and gives its end.
func (t *txn) encode(b []byte, at int) int {
	binary.LittleEndian.PutUint32(b[at:], uint32(len(t.stream)))
	binary.LittleEndian.PutUint32(b[at+4:], uint32(len(t.images)))
	at += recordHead
	at += copy(b[at:], t.stream)
	for _, im := range t.images {
		at += copy(b[at:], im.buf.Bytes()[:unitSize])
	}
	return at
}

// logged notes that a group is synced and sends its transactions on.
func (s *Store) logged(q []*txn, pos, tail uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	first := s.wal.seq - uint64(len(q))
	for i, t := range q {
		t.seq, t.pos, t.synced = first+uint64(i), pos, true
		t.holds = nil
		for _, im := range t.images {
			im.synced = true
			for later := im; later != nil; later = later.next {
				if later.pos == 0 {
					later.pos = pos
				}
			}
			im.next = nil
			im.buf.Release()
		}
		t.images = nil
		s.logReserved -= t.charge
	}
	s.logHead, s.durableTail = s.wal.head, tail
	s.applyQ = append(s.applyQ, q...)
	s.doneQ = append(s.doneQ, q...)
	s.applyGo.Signal()
	s.doneGo.Signal()
	s.admit.Broadcast()
	if s.flushWanted {
		s.flushGo.Signal()
	}
}

// doneLoop calls the done functions. It is apart from the others so that
// neither log nor index waits for what those do.
func (s *Store) doneLoop() {
	defer s.wg.Done()
	for {
		s.mu.Lock()
		for len(s.doneQ) == 0 && !s.stopped && s.dead == nil {
			s.doneGo.Wait()
		}
		q, dead := s.doneQ, s.dead
		s.doneQ = nil
		end := len(q) == 0
		var lost []*txn
		if end && dead != nil {
			lost = s.unsynced()
		}
		s.mu.Unlock()
		for _, t := range q {
			if t.done != nil {
				t.done(nil)
			}
		}
		for _, t := range lost {
			if t.done != nil {
				t.done(dead)
			}
		}
		if end {
			return
		}
	}
}

// unsynced gives the transactions that will never be durable, now that the
// store is dead. s.mu is held.
func (s *Store) unsynced() []*txn {
	var q []*txn
	for _, t := range s.inflight {
		if !t.synced {
			q = append(q, t)
		}
	}
	return q
}

// applyBatch is up to how many bytes changes are put together for the index.
const applyBatch = 1 << 20

// applyLoop brings the index up to the log.
func (s *Store) applyLoop(objects int64) {
	defer s.wg.Done()
	a := applier{s: s, db: s.db, applied: s.appliedSeq, objects: objects}
	for {
		s.mu.Lock()
		for len(s.applyQ) == 0 && !s.trimWanted && !s.stopped && s.dead == nil {
			s.applyGo.Wait()
		}
		if s.stopped || s.dead != nil {
			s.mu.Unlock()
			return
		}
		q := s.applyQ
		for i, size := 0, 0; i < len(q); i++ {
			if size += len(q[i].stream); size > applyBatch {
				q = q[: i+1 : i+1]
			}
		}
		s.applyQ = s.applyQ[len(q):]
		s.mu.Unlock()
		var err error
		if len(q) == 0 {
			err = s.trim(&a)
		} else {
			err = s.apply(&a, q)
		}
		if err != nil {
			s.fail(wire.Wrap("store.apply", "index", err))
			return
		}
	}
}

// apply brings a batch of transactions into the index.
func (s *Store) apply(a *applier, q []*txn) error {
	// The allocation goes along transaction by transaction: a checkpoint
	// among them puts down what is true before it.
	for _, t := range q {
		if err := a.record(t.seq, t.stream, 0); err != nil {
			return err
		}
		var missing []uint32
		s.mu.Lock()
		missing = s.alloc.missing(t.frees, missing)
		s.mu.Unlock()
		for {
			for _, r := range missing {
				if err := s.loadRegion(r); err != nil {
					return err
				}
			}
			s.mu.Lock()
			if missing = s.alloc.missing(t.frees, missing[:0]); len(missing) == 0 {
				break
			}
			s.mu.Unlock()
		}
		s.alloc.commit(t.allocs, t.frees)
		s.mu.Unlock()
	}
	if err := a.flush(0, 0); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.appliedSeq = a.applied
	if a.garbage {
		s.trimWanted = true
	}
	for _, t := range q {
		s.finish(t)
	}
	n := 0
	for n < len(s.inflight) && s.inflight[n].applied {
		n++
	}
	m := copy(s.inflight, s.inflight[n:])
	clear(s.inflight[m:])
	s.inflight = s.inflight[:m]
	s.settle()
	s.shrink()
	s.applied.Broadcast()
	s.admit.Broadcast()
	return nil
}

// finish unties a transaction that is in the index. s.mu is held.
func (s *Store) finish(t *txn) {
	t.applied = true
	for _, o := range t.objs {
		if o.last == t {
			o.last = nil
		}
		if o.omap == t {
			o.omap = nil
		}
	}
	for _, f := range t.fams {
		if f.last == t {
			f.last = nil
		}
	}
	for _, pg := range t.metas {
		if s.meta[pg] == t {
			delete(s.meta, pg)
		}
	}
	s.unapplied -= len(t.stream)
	s.giveStream(t.stream)
	if len(t.frees) > 0 {
		s.leaving = append(s.leaving, leaving{t.epoch, t.frees})
	}
	t.stream, t.objs, t.omaps, t.fams = nil, nil, nil, nil
}

// applier turns records into batches of the index. It belongs to the apply
// goroutine, or to Open's replay.
type applier struct {
	s       *Store
	db      *kv.DB
	batch   kv.Batch
	applied uint64 // newest record in batch or index
	garbage bool   // an omap was left to be deleted in the background
	objects int64  // that exist, in batch or index
	replay  bool   // at Open
	key     []byte
}

// record adds a record, from one of its changes on. Records come in order;
// after a crash the first may be one of which the index has a part.
//
// A change that has to look at the index (a range, a whole omap) needs what
// came before it there. Then the batch goes ahead with the mark that says how
// far into which record the index is.
func (a *applier) record(seq uint64, stream []byte, from int) error {
	for n := 0; len(stream) > 0; n++ {
		c, rest, ok := nextChange(stream)
		if !ok {
			return damaged("record in the log")
		}
		stream = rest
		if n < from {
			continue
		}
		switch c.op {
		case recPut:
			a.batch.Put(c.key, c.value)
			if a.batch.Size() > applyBatch {
				if err := a.flush(seq, n+1); err != nil {
					return err
				}
			}
		case recDelete:
			a.batch.Delete(c.key)
		case recRange:
			if err := a.flush(seq, n); err != nil {
				return err
			}
			if err := a.deleteRange(seq, n, c.key, c.value); err != nil {
				return err
			}
		case recDropOmap:
			if err := a.flush(seq, n); err != nil {
				return err
			}
			if err := a.dropOmap(c.a); err != nil {
				return err
			}
		case recCopyOmap:
			if err := a.flush(seq, n); err != nil {
				return err
			}
			if err := a.copyOmap(seq, n, c.a, c.b); err != nil {
				return err
			}
		case recObjects:
			a.objects += unzigzag(c.a)
		case recCheckpoint:
			// A replay still has to find out what that was.
			if !a.replay {
				a.s.putRegions(&a.batch, seq)
			}
		}
	}
	a.applied = seq
	if a.batch.Size() > applyBatch {
		return a.flush(0, 0)
	}
	return nil
}

// markApplied is the row that says up to which record the index is.
// and how many objects there are: u64, u64.
const markApplied = "Sapplied"

// flush gives the batch to the index. part and change say that the record
// part is in it up to before that change; 0 none.
func (a *applier) flush(part uint64, change int) error {
	if a.batch.Len() == 0 && part != 0 {
		return nil
	}
	v := binary.LittleEndian.AppendUint64(a.key[:0], a.applied)
	a.key = binary.LittleEndian.AppendUint64(v, uint64(a.objects))
	a.batch.Put([]byte(markApplied), a.key)
	if part != 0 {
		v := binary.LittleEndian.AppendUint64(nil, part)
		a.batch.Put([]byte(markPartial), binary.LittleEndian.AppendUint32(v, uint32(change)))
	}
	for tries := 1; ; tries++ {
		err := a.db.Apply(&a.batch, a.applied)
		if wire.ErrnoOf(err) != wire.ENOSPC {
			a.batch.Reset()
			return err
		}
		if err := a.s.waitSpace(tries); err != nil {
			return err
		}
	}
}

// deleteRange deletes rows of a range, a bounded number at a time.
func (a *applier) deleteRange(seq uint64, change int, first, end []byte) error {
	for {
		n := 0
		it := a.db.NewIter(first, end)
		for n < a.s.o.rowsAtOnce && it.Next() {
			a.batch.Delete(it.Key())
			if n++; n == a.s.o.rowsAtOnce {
				first = slices.Clone(it.Key())
			}
		}
		if err := it.Close(); err != nil {
			return err
		}
		if n < a.s.o.rowsAtOnce {
			return nil
		}
		if err := a.flush(seq, change); err != nil {
			return err
		}
	}
}

// dropOmap deletes an omap's rows, or the first of them and leaves a mark
// for the rest.
func (a *applier) dropOmap(id uint64) error {
	it := a.db.NewIter(appendOmapHeader(nil, id), appendOmapEnd(nil, id))
	n := 0
	for n < a.s.o.rowsAtOnce && it.Next() {
		a.batch.Delete(it.Key())
		n++
	}
	if n == a.s.o.rowsAtOnce {
		a.batch.Put(appendKey8(nil, keyGarbage, id), []byte{1})
		a.garbage = true
	}
	return it.Close()
}

// copyOmap copies all rows of an omap. The source doesn't change meanwhile,
// so doing it again from the start is right.
func (a *applier) copyOmap(seq uint64, change int, from, to uint64) error {
	first, end := appendOmapHeader(nil, from), appendOmapEnd(nil, from)
	for {
		n := 0
		it := a.db.NewIter(first, end)
		for n < a.s.o.rowsAtOnce && a.batch.Size() < applyBatch && it.Next() {
			a.key = append(appendKey8(a.key[:0], keyOmap, to), it.Key()[9:]...)
			a.batch.Put(a.key, it.Value())
			first = append(append(first[:0], it.Key()...), 0)
			n++
		}
		if err := it.Close(); err != nil {
			return err
		}
		if n == 0 {
			return nil
		}
		if err := a.flush(seq, change); err != nil {
			return err
		}
	}
}

// trim deletes a bounded number of rows of dropped omaps. It needs no record:
// the mark stays until nothing is left, and after a crash it is all done
// again.
func (s *Store) trim(a *applier) error {
	it := s.db.NewIter([]byte{keyGarbage}, []byte{keyGarbage + 1})
	if !it.Next() {
		s.mu.Lock()
		s.trimWanted, a.garbage = false, false
		s.applied.Broadcast()
		s.mu.Unlock()
		return it.Close()
	}
	key := append([]byte(nil), it.Key()...)
	if err := it.Close(); err != nil {
		return err
	}
	if len(key) != 9 {
		return damaged("mark of a dropped omap")
	}
	id := binary.BigEndian.Uint64(key[1:])
	rows := s.db.NewIter(appendOmapHeader(nil, id), appendOmapEnd(nil, id))
	n := 0
	for n < a.s.o.rowsAtOnce && rows.Next() {
		a.batch.Delete(rows.Key())
		n++
	}
	if err := rows.Close(); err != nil {
		return err
	}
	if n < a.s.o.rowsAtOnce {
		a.batch.Delete(key)
		s.m.OmapsDropped.Add(1)
	}
	return a.flush(0, 0)
}
