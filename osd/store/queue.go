package store

import (
	"slices"
	"sync"

	"github.com/spirula/spirula/rados/wire"
)

// maxFetches bounds how often a plan is run again because it needs something
// read: once per object, family and block of the largest transaction.
const maxFetches = 100_000

// planPool keeps plans' memory.
var planPool = sync.Pool{New: func() any { return new(plan) }}

// Queue carries t out: when it returns nil the change is visible to reads,
// and done will be called from another goroutine when it is durable, in the
// order of seq. done must not wait for the store. An error means that nothing
// happened: ENOENT for a clone's absent source, ENOSPC, EFBIG and
// ENAMETOOLONG for what is over a bound, EIO if a block that is to be changed
// in part can't be read, ESHUTDOWN, EINVAL.
//
// Queue writes large data to the disk itself, and waits while the log or the
// memory for block images is full.
func (s *Store) Queue(seq *Sequencer, t *Txn, done func(error)) error {
	for i := range t.Ops {
		if err := CheckOp(&t.Ops[i]); err != nil {
			return err
		}
	}
	if seq == nil {
		seq = new(Sequencer)
	}
	p := planPool.Get().(*plan)
	p.s, p.t, p.force = s, t, frees(t)
	err := s.writeLarge(p)
	if err == nil {
		err = s.plan(p, seq, done)
	}
	s.mu.Lock()
	if err != nil {
		for i := range p.large {
			s.alloc.giveBack(p.large[i].runs)
		}
	}
	s.mu.Unlock()
	p.release()
	return err
}

// frees reports whether a full store takes the transaction: it makes room, or
// is a PG's bookkeeping.
func frees(t *Txn) bool {
	room, rows := false, true
	for i := range t.Ops {
		switch t.Ops[i].Kind {
		case OpWrite, OpClone:
			return false
		case OpRemove, OpTruncate, OpZero, OpOmapRm, OpOmapRmRange, OpOmapClear, OpRmXattr:
			room = true
			rows = false
		case OpMetaSet, OpMetaRm, OpMetaRmRange:
		default:
			rows = false
		}
	}
	return room || rows
}

// release gives up what the plan held on to and returns it to the pool.
func (p *plan) release() {
	s := p.s
	s.mu.Lock()
	for i := range p.objs {
		s.leave(p.objs[i].o)
	}
	for i := range p.fams {
		s.leaveFamily(p.fams[i].f)
	}
	s.mu.Unlock()
	for _, b := range p.blocks {
		b.buf.Release()
	}
	clear(p.objs)
	clear(p.fams)
	clear(p.images)
	if cap(p.stream) > 1<<20 {
		p.stream = nil // an unusually large record
	}
	*p = plan{objs: p.objs[:0], fams: p.fams[:0], images: p.images[:0], metaPGs: p.metaPGs[:0],
		key: p.key[:0], value: p.value[:0], stream: p.stream[:0], allocs: p.allocs[:0], frees: p.frees[:0]}
	planPool.Put(p)
}

// plan runs p until it needs nothing more, then makes it visible.
func (s *Store) plan(p *plan, seq *Sequencer, done func(error)) error {
	waited := false
	for range maxFetches {
		s.mu.Lock()
		for s.frozen && !s.closing && s.dead == nil {
			s.admit.Wait()
		}
		if err := s.refuse(p); err != nil {
			s.mu.Unlock()
			return err
		}
		err := p.run()
		if err == nil {
			if s.hasRoom(p) {
				s.publish(p, seq, done)
				s.mu.Unlock()
				return nil
			}
			if !waited {
				waited = true
				s.m.AdmitWaits.Add(1)
			}
			p.undo()
			s.makeRoom()
			s.admit.Wait()
			s.mu.Unlock()
			continue
		}
		p.undo()
		s.mu.Unlock()
		if err != errNeeds {
			return err
		}
		if err := s.fetch(p); err != nil {
			return err
		}
	}
	panic("store: a plan never has what it needs: " + p.String())
}

// refuse gives the reason why nothing can be queued. s.mu is held.
func (s *Store) refuse(p *plan) error {
	switch {
	case s.dead != nil:
		return wire.Wrap("store.queue", "stopped", s.dead)
	case s.closing:
		return wire.Errorf("store.queue", "", wire.ESHUTDOWN)
	case !p.force && (s.indexLow || s.db.Full()):
		return s.noSpace()
	}
	return nil
}

func (s *Store) noSpace() error {
	s.m.NoSpace.Add(1)
	return wire.Errorf("store.queue", "", wire.ENOSPC)
}

// room says whether n units may be taken. s.mu is held.
func (s *Store) room(n uint64, force bool) error {
	have := s.alloc.free + s.growable
	if !force {
		have -= min(have, s.reserve)
	}
	if n > have {
		return s.noSpace()
	}
	return nil
}

// maxUnapplied bounds the bytes of changes on their way to the index.
const maxUnapplied = 16 << 20

// logSpare is kept in the log for the store's own records, in bytes.
const logSpare = 64 << 10

// maxRecord is the largest record, in bytes.
func (s *Store) maxRecord() uint64 { return s.wal.size / 4 }

// maxGroup is the size up to which records are put together, in bytes.
func (s *Store) maxGroup() uint64 { return min(4<<20, s.wal.size/4) }

// logCap is how much of the log transactions may fill: at the ring's end
// nearly a group may remain unused.
func (s *Store) logCap() uint64 { return s.wal.size - s.maxRecord() - logSpare }

// logUsed is what is written and needed, or about to be. s.mu is held.
func (s *Store) logUsed() uint64 { return s.logHead - s.durableTail + s.logReserved }

// hasRoom says whether log and memory take the plan's record now. A single
// transaction larger than a bound on memory goes when nothing else is there.
// s.mu is held.
func (s *Store) hasRoom(p *plan) bool {
	switch {
	case s.logUsed()+p.size() > s.logCap():
		return false
	case len(p.images) > 0 && s.overlayMem > 0 && s.overlayMem+len(p.images)*unitSize > s.o.imageMem():
		return false
	}
	return s.unapplied == 0 || s.unapplied+len(p.stream) <= maxUnapplied
}

// makeRoom sets those going who can. s.mu is held.
func (s *Store) makeRoom() {
	if s.overlayMem > 0 {
		s.flushWanted = true
		s.flushGo.Signal()
	}
	if s.logUsed() > s.logCap()/4 {
		s.checkWanted = true
		s.checkGo.Signal()
	}
}

// fetch gets what the plan needs. Without s.mu.
func (s *Store) fetch(p *plan) error {
	switch p.need.what {
	case needObject:
		return s.load(p.need.object, p.need.mine)
	case needFamily:
		return s.loadFamily(p.need.family, p.need.mine)
	case needRegion:
		return s.loadRegion(p.need.region)
	case needGrowth:
		return s.grow()
	case needBlock:
		return s.fetchBlock(p)
	}
	panic("store: unknown need of " + p.String())
}

// fetchBlock reads a unit whole so that a part of it can be changed.
func (s *Store) fetchBlock(p *plan) error {
	b := p.need.block
	s.mu.Lock()
	pin := s.pinNow()
	s.mu.Unlock()
	b.buf = wire.NewBuf(unitSize)
	err := s.readUnits(b.buf.Bytes()[:unitSize], b.unit, []uint32{b.crc})
	s.mu.Lock()
	s.unpin(pin)
	s.mu.Unlock()
	if err == nil {
		p.blocks = append(p.blocks, b)
		return nil
	}
	b.buf.Release()
	// The plan may be out of date by now. If it asks for the same again, the
	// block is believed to be damaged.
	if again := p.failed.unit == b.unit && p.failed.crc == b.crc; again {
		return err
	}
	p.failed = b
	return nil
}

// writeLarge puts the whole blocks of large writes into free units. They are
// not in use before the plan is published.
func (s *Store) writeLarge(p *plan) error {
	for i := range p.t.Ops {
		op := &p.t.Ops[i]
		if op.Kind != OpWrite || op.Len <= maxSmall*unitSize {
			continue
		}
		first := (op.Off + unitSize - 1) / unitSize
		end := (op.Off + op.Len) / unitSize
		if end-first <= maxSmall {
			continue
		}
		lw := largeWrite{op: i, first: first, crcs: make([]uint32, end-first)}
		var err error
		if lw.runs, err = s.takeLarge(end-first, p.force); err != nil {
			return err
		}
		p.large = append(p.large, lw)
		if err := s.writeRuns(&lw, op.Data, int(first*unitSize-op.Off), op.Cached); err != nil {
			s.fail(err)
			return err
		}
	}
	return nil
}

// takeLarge reserves units for a large write.
func (s *Store) takeLarge(n uint64, force bool) ([]run, error) {
	for range maxFetches {
		s.mu.Lock()
		err := s.room(n, force)
		if err != nil || s.dead != nil || s.closing {
			if err == nil {
				err = s.refuse(&plan{force: true})
			}
			s.mu.Unlock()
			return nil, err
		}
		if n > s.alloc.free {
			s.mu.Unlock()
			if err := s.grow(); err != nil {
				return nil, err
			}
			continue
		}
		out, region, needs, ok := s.alloc.take(&s.alloc.large, &s.alloc.small, n, nil)
		s.mu.Unlock()
		if ok {
			return out, nil
		}
		if needs {
			if err := s.loadRegion(region); err != nil {
				return nil, err
			}
		}
	}
	panic("store: units counted free can't be taken")
}

// writePiece is how many bytes are checksummed and written in one go: the
// second finds them in the processor's cache.
//
// Write-out is left to the group's fdatasync. Starting it after each piece
// (sync_file_range) makes ext4 turn unwritten extents into written ones piece
// by piece, under locks that all writers share: with eight writers 0.6 to
// 0.9 ms of CPU for a MiB instead of 0.4 to 0.6, and 1240 MiB/s instead of
// 1600.
const writePiece = 256 << 10

// writeRuns writes data from its offset at to the runs, and notes the
// checksum of each unit. What is not worth a place in the page cache goes past
// it where it can.
func (s *Store) writeRuns(lw *largeWrite, d wire.Data, at int, cached bool) error {
	crc := unitCRC{out: lw.crcs[:0]}
	seg, skip := 0, at
	for skip >= d.Seg(seg).Len {
		skip -= d.Seg(seg).Len
		seg++
	}
	for _, r := range lw.runs {
		off, left := int64(r.unit*unitSize), int(r.n*unitSize)
		for left > 0 {
			b := d.Seg(seg).Bytes()[skip:]
			b = b[:min(len(b), left)]
			f := s.block
			if !cached && s.directly(b, off) {
				f = s.blockDirect
			} else {
				b = b[:min(len(b), writePiece)]
			}
			crc.addFrom(d.Seg(seg).Buf, d.Seg(seg).Off+skip, b)
			if _, err := f.WriteAt(b, off); err != nil {
				return wire.Wrap("store.write", "block", err)
			}
			off, left = off+int64(len(b)), left-len(b)
			if skip += len(b); skip == d.Seg(seg).Len {
				seg, skip = seg+1, 0
			}
		}
		s.m.LargeBytes.Add(int64(r.n * unitSize))
	}
	return nil
}

// publish makes a plan visible and sends it on its way. s.mu is held.
func (s *Store) publish(p *plan, seq *Sequencer, done func(error)) {
	s.epoch++
	s.idLimit = p.idLimit
	t := &txn{sq: seq, done: done, stream: p.stream, epoch: s.epoch, charge: p.size(),
		images: slices.Clone(p.images), frees: slices.Clone(p.frees), allocs: slices.Clone(p.allocs),
		metas: slices.Clone(p.metaPGs), omaps: slices.Clone(p.omaps)}
	p.stream = s.takeStream() // the old one is the txn's now
	for i := range p.large {
		t.allocs = append(t.allocs, p.large[i].runs...)
	}
	s.publishObjects(p, t)
	s.publishImages(t)
	p.images = p.images[:0]
	for _, pg := range t.metas {
		s.meta[pg] = t
	}
	s.m.Txns.Add(1)
	s.submit(t, len(p.large) > 0)
}

const (
	// spareStreams bounds the memory of applied records kept for new ones.
	spareStreams = 64
	// maxSpareStream is the largest kept, in bytes.
	maxSpareStream = 16 << 10
)

// takeStream gives memory for a record. s.mu is held.
func (s *Store) takeStream() []byte {
	n := len(s.streams)
	if n == 0 {
		return nil
	}
	b := s.streams[n-1]
	s.streams = s.streams[:n-1]
	return b
}

// giveStream takes the memory of a record back. s.mu is held.
func (s *Store) giveStream(b []byte) {
	if len(s.streams) < spareStreams && cap(b) <= maxSpareStream && cap(b) > 0 {
		s.streams = append(s.streams, b[:0])
	}
}

func (s *Store) publishObjects(p *plan, t *txn) {
	s.numObjects += p.objects
	t.objs = make([]*object, 0, len(p.objs))
	for i := range p.objs {
		po := &p.objs[i]
		if !po.changed {
			continue
		}
		po.o.cur, po.o.last = po.cur, t
		s.charge(po.o)
		t.objs = append(t.objs, po.o)
	}
	for _, o := range t.omaps {
		o.omap, o.last = t, t
		t.objs = append(t.objs, o)
	}
	for i := range p.fams {
		pf := &p.fams[i]
		for shard, refs := range pf.refs {
			if len(refs) == 0 {
				delete(pf.f.refs, shard)
			} else {
				pf.f.refs[shard] = refs
			}
		}
		pf.refs, pf.created = nil, false
		pf.f.last = t
		t.fams = append(t.fams, pf.f)
	}
}

func (s *Store) publishImages(t *txn) {
	if len(s.overlay) > 0 {
		for _, r := range t.frees {
			for u := r.unit; u < r.unit+r.n; u++ {
				if im := s.overlay[u]; im != nil {
					t.holds = append(t.holds, im)
					s.dropImage(im)
				}
			}
		}
	}
	for _, im := range t.images {
		im.epoch = t.epoch
		im.buf.Retain() // one for the log, one for the overlay
		if old := s.overlay[im.unit]; old != nil {
			im.pos = old.pos
			old.next = im
			s.dropImage(old)
		}
		s.overlay[im.unit] = im
		s.overlayMem += unitSize
	}
	s.m.Images.Add(int64(len(t.images)))
	if s.overlayMem > s.o.imageMem()/2 {
		s.flushWanted = true
		s.flushGo.Signal()
	}
}

// dropImage takes an image out of the overlay. s.mu is held.
func (s *Store) dropImage(im *image) {
	delete(s.overlay, im.unit)
	s.overlayMem -= unitSize
	im.buf.Release()
}

// submit hands a transaction to its sequencer, the data goroutine or the log.
// s.mu is held.
func (s *Store) submit(t *txn, large bool) {
	s.logReserved += t.charge
	s.unapplied += len(t.stream)
	s.inflight = append(s.inflight, t)
	t.ready = !large
	if large {
		s.dataQ = append(s.dataQ, t)
		s.dataGo.Signal()
	}
	if t.sq != nil {
		t.sq.q = append(t.sq.q, t)
		s.advance(t.sq)
	} else {
		s.logQ = append(s.logQ, t)
		s.logGo.Signal()
	}
	if s.logUsed() > s.logCap()/2 && !s.checkWanted && !s.checking {
		s.checkWanted = true
		s.checkGo.Signal()
	}
}

// advance hands the log what is ready at the front of a sequencer. s.mu is
// held.
func (s *Store) advance(sq *Sequencer) {
	n := 0
	for ; n < len(sq.q) && sq.q[n].ready; n++ {
		s.logQ = append(s.logQ, sq.q[n])
	}
	if n == 0 {
		return
	}
	m := copy(sq.q, sq.q[n:])
	clear(sq.q[m:])
	sq.q = sq.q[:m]
	s.logGo.Signal()
}
