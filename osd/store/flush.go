package store

import (
	"cmp"
	"slices"
	"time"

	"github.com/spirula/spirula/osd/disk"
	"github.com/spirula/spirula/osd/kv"
	"github.com/spirula/spirula/rados/wire"
)

// flushAtOnce bounds the images put in place in one turn, in bytes.
const flushAtOnce = 4 << 20

// flushLoop puts images in place when there are many, and lets the block file
// grow before it is full.
func (s *Store) flushLoop() {
	defer s.wg.Done()
	buf := disk.Aligned(writePiece)
	for {
		s.mu.Lock()
		for !s.stopped && s.dead == nil && !s.growSoon() && !(s.flushWanted && s.flushable()) {
			s.flushGo.Wait()
		}
		if s.stopped || s.dead != nil {
			s.mu.Unlock()
			return
		}
		grow := s.growSoon()
		s.mu.Unlock()
		if grow {
			if err := s.grow(); err != nil && wire.ErrnoOf(err) != wire.ENOSPC {
				s.fail(err)
				return
			}
		}
		if _, err := s.flush(buf); err != nil {
			s.fail(wire.Wrap("store.flush", "block", err))
			return
		}
		s.mu.Lock()
		if s.overlayMem < s.o.imageMem()/4 {
			s.flushWanted = false
		}
		s.mu.Unlock()
	}
}

// flushable reports whether an image may go in place. s.mu is held.
func (s *Store) flushable() bool {
	for _, im := range s.overlay {
		if im.synced && s.seen(im.epoch) {
			return true
		}
	}
	return false
}

// flush puts up to flushAtOnce bytes of images in place, in physical order,
// and gives how many there were. Only those go whose record is synced, and
// whose unit no reader looks at who should see what was there before. The
// bytes are durable after the next sync of block.
func (s *Store) flush(buf []byte) (int, error) {
	s.flushTurn.Lock()
	defer s.flushTurn.Unlock()
	s.mu.Lock()
	var ims []*image
	for _, im := range s.overlay {
		if im.synced && s.seen(im.epoch) {
			if ims = append(ims, im); len(ims) == flushAtOnce/unitSize {
				break
			}
		}
	}
	if len(ims) == 0 {
		s.mu.Unlock()
		return 0, nil
	}
	for _, im := range ims {
		im.buf.Retain()
	}
	// As long as this pin holds, no unit of these is given to anybody else.
	pin := s.pinNow()
	s.mu.Unlock()
	sortImages(ims)
	err := s.writeImages(ims, buf)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.unpin(pin)
	for _, im := range ims {
		if err == nil && s.overlay[im.unit] == im {
			s.dropImage(im)
		}
		im.buf.Release()
	}
	s.m.Flushed.Add(int64(len(ims)))
	s.admit.Broadcast()
	return len(ims), err
}

func sortImages(ims []*image) {
	slices.SortFunc(ims, func(a, b *image) int { return cmp.Compare(a.unit, b.unit) })
}

// writeImages writes images, neighbours together.
func (s *Store) writeImages(ims []*image, buf []byte) error {
	for len(ims) > 0 {
		n := 1
		for n < len(ims) && n < len(buf)/unitSize && ims[n].unit == ims[0].unit+uint64(n) {
			n++
		}
		for i, im := range ims[:n] {
			copy(buf[i*unitSize:], im.buf.Bytes()[:unitSize])
		}
		off := int64(ims[0].unit * unitSize)
		if _, err := s.block.WriteAt(buf[:n*unitSize], off); err != nil {
			return err
		}
		ims = ims[n:]
	}
	return nil
}

// checkLoop makes room in the log when somebody asks.
func (s *Store) checkLoop() {
	defer s.wg.Done()
	buf := disk.Aligned(writePiece)
	for {
		s.mu.Lock()
		for !s.checkWanted && !s.stopped && s.dead == nil {
			s.checkGo.Wait()
		}
		if s.stopped || s.dead != nil {
			s.mu.Unlock()
			return
		}
		// Whoever asks from here on asks for the next one.
		s.checkWanted, s.checking = false, true
		s.mu.Unlock()
		if err := s.checkpoint(buf); err != nil {
			s.fail(wire.Wrap("store.checkpoint", "", err))
			return
		}
		s.mu.Lock()
		s.checking = false
		s.checkDone++
		s.applied.Broadcast()
		s.mu.Unlock()
	}
}

// checkpoint moves the log's tail: a record puts the allocation down, the
// index is made durable up to it, older images are put in place and synced.
// What is left to keep the tail back are images that a reader still holds up
// or that are not synced themselves.
func (s *Store) checkpoint(buf []byte) error {
	mark := &txn{stream: []byte{byte(recCheckpoint)}, charge: unitSize}
	s.mu.Lock()
	s.submit(mark, false)
	for !mark.applied && s.dead == nil && !s.stopped {
		s.applied.Wait()
	}
	if !mark.applied {
		s.mu.Unlock()
		return nil
	}
	s.mu.Unlock()
	for tries := 1; ; tries++ {
		err := s.db.ForceFlush()
		if err == nil {
			break
		}
		if wire.ErrnoOf(err) == wire.ENOSPC {
			err = s.waitSpace(tries)
		}
		if err != nil {
			return err
		}
	}
	for {
		n, err := s.flush(buf)
		if err != nil {
			return err
		}
		if n < flushAtOnce/unitSize {
			break
		}
	}
	s.mu.Lock()
	tail := mark.pos
	for _, im := range s.overlay {
		if im.pos != 0 {
			tail = min(tail, im.pos)
		}
	}
	for _, t := range s.inflight {
		if !t.synced {
			for _, im := range t.holds {
				if im.pos != 0 {
					tail = min(tail, im.pos)
				}
			}
		}
	}
	s.mu.Unlock()
	// What isn't in the overlay any more was written before this sync.
	if err := s.block.Sync(); err != nil {
		return err
	}
	s.m.DataSyncs.Add(1)
	s.m.Checkpoints.Add(1)
	if err := s.measureAgain(); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.logTail = max(s.logTail, tail)
	// The room may be used once a synced group says so.
	note := &txn{charge: unitSize}
	s.submit(note, false)
	for !note.synced && s.dead == nil && !s.stopped {
		s.applied.Wait()
	}
	return nil
}

// putRegions adds the regions that changed to a batch: the allocation after
// the records before seq.
func (s *Store) putRegions(b *kv.Batch, seq uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	a := s.alloc
	groups := map[uint32]bool{}
	var key, value []byte
	for n, r := range a.loaded {
		if !r.dirty {
			continue
		}
		r.dirty, r.seq = false, seq
		key = appendRegionKey(key[:0], keyRegion, n)
		value = appendRegion(value[:0], r, seq)
		b.Put(key, value)
		groups[n/countsGroup] = true
	}
	for g := range groups {
		used := make([]uint32, 0, countsGroup)
		for n := g * countsGroup; n < min((g+1)*countsGroup, uint32(len(a.counts))); n++ {
			used = append(used, a.used(n))
		}
		key = appendRegionKey(key[:0], keyCounts, g)
		value = appendCounts(value[:0], used)
		b.Put(key, value)
	}
}

// used is how many units of a region are committed.
func (a *allocator) used(n uint32) uint32 {
	if r := a.loaded[n]; r != nil {
		return uint32(r.committed.used())
	}
	return uint32(min(regionUnits, a.units-uint64(n)*regionUnits)) - a.counts[n]
}

// loadRegion brings a region into memory. Without s.mu.
func (s *Store) loadRegion(n uint32) error {
	s.regionTurn.Lock()
	defer s.regionTurn.Unlock()
	s.mu.Lock()
	have := s.alloc.loaded[n] != nil
	s.mu.Unlock()
	if have {
		return nil
	}
	r, err := s.readRegion(n)
	if err != nil {
		return err
	}
	s.mu.Lock()
	s.alloc.load(n, r)
	s.mu.Unlock()
	return nil
}

func (s *Store) readRegion(n uint32) (*region, error) {
	var kb [8]byte
	v, err := s.db.Get(appendRegionKey(kb[:0], keyRegion, n), nil)
	if wire.ErrnoOf(err) == wire.ENOENT {
		return &region{}, nil
	} else if err != nil {
		return nil, wire.Wrap("store.load", "region", err)
	}
	r, ok := decodeRegion(v)
	if !ok {
		return nil, damaged("allocation region")
	}
	return r, nil
}

// growSoon reports whether the block file should grow before somebody has to
// wait for it. s.mu is held.
func (s *Store) growSoon() bool {
	step := uint64(s.o.GrowBytes) / unitSize
	return s.alloc.free < step/4 && s.growable >= step
}

// growSlack is what growth leaves of a step that doesn't fit whole: it is cut
// to a multiple of this, in bytes.
const growSlack = 1 << 20

// grow makes the block file longer by a step, or by what the disk still has.
// ENOSPC if that is nothing. Without s.mu.
func (s *Store) grow() error {
	s.mu.Lock()
	before := s.alloc.units
	s.mu.Unlock()
	s.growTurn.Lock()
	defer s.growTurn.Unlock()
	s.mu.Lock()
	units := s.alloc.units
	s.mu.Unlock()
	if units != before {
		return nil // somebody else did
	}
	growable, err := s.measure(units)
	if err != nil {
		return err
	}
	step := min(uint64(s.o.GrowBytes)/unitSize, growable)
	if step == 0 {
		return s.noSpace()
	}
	units += step
	if err := s.block.Grow(int64(units * unitSize)); err != nil {
		if wire.ErrnoOf(err) == wire.ENOSPC {
			s.mu.Lock()
			s.growable = 0
			s.mu.Unlock()
			return s.noSpace()
		}
		return wire.Wrap("store.grow", "block", err)
	}
	if err := s.block.Sync(); err != nil {
		s.fail(wire.Wrap("store.grow", "block", err))
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.alloc.grow(units)
	s.growable -= min(s.growable, step)
	s.admit.Broadcast()
	return nil
}

// measure asks the disk how many units the block file may gain, and sets the
// reserve accordingly.
func (s *Store) measure(units uint64) (uint64, error) {
	total, free, err := s.d.Space()
	if err != nil {
		return 0, wire.Wrap("store.space", "", err)
	}
	index := s.o.IndexBytes
	if index == 0 {
		index = min(max(256<<20, total/100*3), total/8)
	}
	gain := max(0, free-index)
	if s.o.MaxBytes > 0 {
		gain = min(gain, max(0, s.o.MaxBytes-int64(units*unitSize)))
	}
	gain = gain / growSlack * growSlack
	size := int64(units*unitSize) + gain
	reserve := s.o.ReserveBytes
	if reserve == 0 {
		reserve = min(max(64<<20, size/100), size/8)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.indexLow = free < index/2
	s.growable = uint64(gain) / unitSize
	s.reserve = uint64(reserve) / unitSize
	return s.growable, nil
}

// measureAgain looks at the disk's space while nobody grows block.
func (s *Store) measureAgain() error {
	s.growTurn.Lock()
	defer s.growTurn.Unlock()
	s.mu.Lock()
	units := s.alloc.units
	s.mu.Unlock()
	_, err := s.measure(units)
	return err
}

// spacePause is how long the index waits before it tries a full disk again.
const spacePause = time.Second

// spaceTries is how often a store that is being closed tries again. What the
// index lacks then is in the log.
const spaceTries = 3

// waitSpace waits a moment for a full disk. ENOSPC when the store is being
// closed and waited often enough.
func (s *Store) waitSpace(tries int) error {
	s.mu.Lock()
	ended := s.stopped || s.dead != nil || s.closing && tries >= spaceTries
	s.indexLow = true
	s.mu.Unlock()
	if ended {
		return wire.Errorf("store.apply", "index", wire.ENOSPC)
	}
	s.o.Log.Warn("disk full: the index waits", "pause", spacePause)
	select {
	case <-s.stop:
	case <-time.After(spacePause):
	}
	return nil
}
