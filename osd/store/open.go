package store

import (
	"encoding/binary"
	"fmt"

	"github.com/spirula/spirula/osd/disk"
	"github.com/spirula/spirula/osd/kv"
	"github.com/spirula/spirula/rados/wire"
)

// The names on the disk.
const (
	nameBlock = "block"
	nameWal   = "wal"
	nameIndex = "kv"
	nameLock  = "lock"
)

// firstGrowth is the size that Mkfs gives the block file.
const firstGrowth = 1 << 20

// Mkfs makes an empty store on d. EEXIST if there is one. After a crash in
// the middle it can be called again: the superblock comes last.
func Mkfs(d disk.Disk, o Options) error {
	o.settle()
	if err := o.validate(); err != nil {
		return err
	}
	if o.UUID == ([16]byte{}) {
		return wire.Errorf("store.mkfs", "no uuid", wire.EINVAL)
	}
	lock, err := d.Lock(nameLock)
	if err != nil {
		return wire.Wrap("store.mkfs", "", err)
	}
	defer lock.Close()
	if f, err := d.Open(nameBlock, disk.ReadOnly); err == nil {
		_, err := readSuperblock(f)
		f.Close()
		if err == nil {
			return wire.Errorf("store.mkfs", d.Describe(), wire.EEXIST)
		}
	}
	if err := clearIndex(d); err != nil {
		return wire.Wrap("store.mkfs", "index", err)
	}
	if err := makeWal(d, o.WalBytes, o.formatBytes); err != nil {
		return wire.Wrap("store.mkfs", "log", err)
	}
	block, err := d.Open(nameBlock, disk.Create|disk.Trunc)
	if err != nil {
		return wire.Wrap("store.mkfs", "block", err)
	}
	defer block.Close()
	if err := block.Grow(min(firstGrowth, o.GrowBytes)); err != nil {
		return wire.Wrap("store.mkfs", "block", err)
	}
	if err := block.Sync(); err != nil {
		return wire.Wrap("store.mkfs", "block", err)
	}
	if err := d.SyncDir("."); err != nil {
		return wire.Wrap("store.mkfs", "", err)
	}
	sb := superblock{fsid: o.FSID, uuid: o.UUID, osd: o.OSD, walSize: uint64(o.WalBytes),
		formatted: uint64(min(o.WalBytes, o.formatBytes)), clean: true}
	return sb.write(block)
}

// clearIndex removes what a Mkfs that didn't finish may have left.
func clearIndex(d disk.Disk) error {
	names, err := d.List(nameIndex)
	if wire.ErrnoOf(err) == wire.ENOENT {
		return nil
	} else if err != nil {
		return err
	}
	for _, n := range names {
		if err := d.Remove(nameIndex + "/" + n); err != nil {
			return err
		}
	}
	return d.SyncDir(nameIndex)
}

func makeWal(d disk.Disk, size, format int64) error {
	f, err := d.Open(nameWal, disk.Create|disk.Trunc|disk.Direct)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := f.Grow(size); err != nil {
		return err
	}
	if err := zeroFile(f, 0, min(size, format)); err != nil {
		return err
	}
	return f.Sync()
}

func zeroFile(f disk.File, off, end int64) error {
	zeros := disk.Aligned(1 << 20)
	for ; off < end; off += int64(len(zeros)) {
		if _, err := f.WriteAt(zeros[:min(int64(len(zeros)), end-off)], off); err != nil {
			return err
		}
	}
	return nil
}

// Open opens the store on d and brings it to the state of its log. Errors:
// EBUSY if it is open already, ENOENT or EINVAL if there is none, EIO when
// something acknowledged is lost.
func Open(d disk.Disk, o Options) (_ *Store, err error) {
	o.settle()
	if err := o.validate(); err != nil {
		return nil, err
	}
	s := &Store{o: o, d: d, objects: map[ObjectID]*object{}, families: map[uint64]*family{},
		meta: map[wire.SPGID]*txn{}, overlay: map[uint64]*image{}, alloc: newAllocator(), stop: make(chan struct{})}
	s.lru.next, s.lru.prev = &s.lru, &s.lru
	s.pins.next, s.pins.prev = &s.pins, &s.pins
	s.admit.L, s.applied.L, s.dataGo.L, s.logGo.L = &s.mu, &s.mu, &s.mu, &s.mu
	s.applyGo.L, s.doneGo.L, s.flushGo.L, s.checkGo.L = &s.mu, &s.mu, &s.mu, &s.mu
	defer func() {
		if err != nil {
			s.closeFiles()
		}
	}()
	if err := s.openFiles(); err != nil {
		return nil, err
	}
	if err := s.openIndex(); err != nil {
		return nil, err
	}
	if err := s.replay(); err != nil {
		return nil, err
	}
	if err := s.start(); err != nil {
		return nil, err
	}
	return s, nil
}

func (s *Store) openFiles() (err error) {
	if s.lock, err = s.d.Lock(nameLock); err != nil {
		return wire.Wrap("store.open", "", err)
	}
	if s.block, err = s.d.Open(nameBlock, 0); err != nil {
		return wire.Wrap("store.open", "block", err)
	}
	if s.blockDirect, err = s.d.Open(nameBlock, disk.Direct); err != nil {
		return wire.Wrap("store.open", "block", err)
	}
	if s.super, err = readSuperblock(s.block); err != nil {
		return err
	}
	if s.o.FSID != (wire.FSID{}) && s.o.FSID != s.super.fsid {
		return wire.Errorf("store.open", fmt.Sprintf("fsid is %s, not %s", s.super.fsid, s.o.FSID), wire.EINVAL)
	}
	if s.wal.f, err = s.d.Open(nameWal, disk.Direct); err != nil {
		return wire.Wrap("store.open", "log", err)
	}
	s.wal.uuid, s.wal.size = s.super.uuid, s.super.walSize
	n, err := s.wal.f.Size()
	if err == nil && uint64(n) < s.wal.size {
		err = wire.Errorf("store.open", "log is too short", wire.EIO)
	}
	return wire.Wrap("store.open", "log", err)
}

// ballast is how much the index is to hold back: its largest compaction
// writes 32 tables.
func (s *Store) ballast() (int64, error) {
	if n := s.o.BallastBytes; n != 0 {
		return max(0, n), nil
	}
	total, _, err := s.d.Space()
	return min(256<<20, total/16), wire.Wrap("store.space", "", err)
}

func (s *Store) openIndex() (err error) {
	ballast, err := s.ballast()
	if err != nil {
		return err
	}
	s.db, err = kv.Open(s.d, nameIndex, kv.Options{
		BlockCache: s.o.blockCache(), WriteBuffer: s.o.writeBuffer(), Ballast: ballast,
		Fatal: func(err error) { s.fail(wire.Wrap("store.index", "", err)) }, Log: s.o.Log})
	if err != nil {
		return err
	}
	v, err := s.db.Get([]byte(markApplied), nil)
	switch {
	case err == nil && len(v) == 16:
		s.appliedSeq = binary.LittleEndian.Uint64(v)
		s.numObjects = int64(binary.LittleEndian.Uint64(v[8:]))
	case err == nil:
		return damaged(markApplied)
	case wire.ErrnoOf(err) != wire.ENOENT:
		return wire.Wrap("store.open", markApplied, err)
	}
	s.db.Start(s.appliedSeq)
	return nil
}

// mark gives one of the store's own numbers, 0 if it was never set.
func (s *Store) mark(key string) (uint64, error) {
	v, err := s.db.Get([]byte(key), nil)
	switch {
	case wire.ErrnoOf(err) == wire.ENOENT:
		return 0, nil
	case err != nil:
		return 0, wire.Wrap("store.open", key, err)
	case len(v) < 8:
		return 0, damaged(key)
	}
	return binary.LittleEndian.Uint64(v), nil
}

// partial gives how far the index has come into the record after the last
// that it has in whole.
func (s *Store) partial() (int, error) {
	v, err := s.db.Get([]byte(markPartial), nil)
	switch {
	case wire.ErrnoOf(err) == wire.ENOENT:
		return 0, nil
	case err != nil:
		return 0, wire.Wrap("store.open", markPartial, err)
	case len(v) != 12:
		return 0, damaged(markPartial)
	case binary.LittleEndian.Uint64(v) != s.appliedSeq+1:
		return 0, nil
	}
	return int(binary.LittleEndian.Uint32(v[8:])), nil
}

// loadCounts sets the free counts of all regions from the index.
func (s *Store) loadCounts() error {
	size, err := s.block.Size()
	if err != nil {
		return wire.Wrap("store.open", "block", err)
	}
	s.alloc.grow(uint64(size) / unitSize)
	it := s.db.NewIter([]byte{keyCounts}, []byte{keyCounts + 1})
	defer it.Close()
	for it.Next() {
		used, ok := decodeCounts(it.Value())
		if !ok || len(it.Key()) != 5 {
			return damaged("counts of regions")
		}
		for i, u := range used {
			n := binary.BigEndian.Uint32(it.Key()[1:])*countsGroup + uint32(i)
			if int(n) >= len(s.alloc.counts) {
				if u > 0 {
					return damaged("counts of regions: block is too short")
				}
				continue
			}
			limit := uint32(min(regionUnits, s.alloc.units-uint64(n)*regionUnits))
			free := limit - min(limit, u)
			s.alloc.free += uint64(free) - uint64(s.alloc.counts[n])
			s.alloc.counts[n] = free
		}
	}
	return it.Err()
}

// replay brings index, allocation and block to the end of the log.
//
// Images that a later record frees are dropped: their unit may have been
// reused by a large write that is on the disk already.
func (s *Store) replay() error {
	found, err := s.wal.scan()
	if err != nil {
		return err
	}
	if found.seq <= s.appliedSeq {
		return wire.Errorf("store.replay", fmt.Sprintf("log ends at record %d, the index has %d", found.seq-1, s.appliedSeq), wire.EIO)
	}
	if len(found.groups) > 0 && found.groups[0].seq > s.appliedSeq+1 {
		return wire.Errorf("store.replay", fmt.Sprintf("log begins at record %d, the index has %d", found.groups[0].seq, s.appliedSeq), wire.EIO)
	}
	s.wal.head, s.wal.seq = found.head, found.seq
	if err := s.loadCounts(); err != nil {
		return err
	}
	r := replayer{s: s, a: applier{s: s, db: s.db, applied: s.appliedSeq, objects: s.numObjects, replay: true}, images: map[uint64][]byte{}}
	if r.part, err = s.partial(); err != nil {
		return err
	}
	for i := range found.groups {
		if err := r.group(&found.groups[i]); err != nil {
			return err
		}
	}
	if err := r.finish(); err != nil {
		return err
	}
	s.logHead, s.logTail, s.durableTail = found.head, found.head, found.head
	if len(found.groups) > 0 {
		s.logTail = found.groups[0].pos
		s.durableTail = s.logTail
	}
	s.o.Log.Info("log replayed", "groups", len(found.groups), "records", r.records, "images", r.written)
	return nil
}

type replayer struct {
	s       *Store
	a       applier
	part    int               // changes of the first record that the index has
	images  map[uint64][]byte // newest by unit
	records int
	written int
}

func (r *replayer) group(h *groupHeader) error {
	body, err := r.s.wal.body(h)
	if err != nil {
		return err
	}
	for i := range h.count {
		stream, images, rest, ok := cutRecord(body)
		if !ok {
			return damaged("group in the log")
		}
		body = rest
		if err := r.record(h.seq+uint64(i), stream, images); err != nil {
			return err
		}
	}
	if len(body) != 0 {
		return damaged("group in the log")
	}
	return nil
}

func (r *replayer) record(seq uint64, stream, images []byte) error {
	r.records++
	for b := stream; len(b) > 0; {
		c, rest, ok := nextChange(b)
		if !ok {
			return damaged("record in the log")
		}
		b = rest
		switch c.op {
		case recImage:
			if len(images) < unitSize {
				return damaged("record in the log")
			}
			r.images[c.a], images = images[:unitSize:unitSize], images[unitSize:]
		case recAlloc, recFree:
			if err := r.allocation(c, seq); err != nil {
				return err
			}
		}
	}
	if seq <= r.s.appliedSeq {
		return nil
	}
	from := 0
	if seq == r.s.appliedSeq+1 {
		from = r.part
	}
	return r.a.record(seq, stream, from)
}

func (r *replayer) allocation(c change, seq uint64) error {
	rs := []run{{c.a, c.b}}
	if c.a+c.b > r.s.alloc.units {
		return damaged("record in the log: a unit beyond the end of block")
	}
	for _, n := range r.s.alloc.missing(rs, nil) {
		reg, err := r.s.readRegion(n)
		if err != nil {
			return err
		}
		r.s.alloc.load(n, reg)
	}
	r.s.alloc.replay(rs, seq, c.op == recAlloc)
	if c.op == recFree {
		for u := c.a; u < c.a+c.b; u++ {
			delete(r.images, u)
		}
	}
	return nil
}

// finish puts the images in place and completes the index.
func (r *replayer) finish() error {
	s := r.s
	ims := make([]*image, 0, len(r.images))
	for u, b := range r.images {
		if u >= s.alloc.units || u < superUnits {
			return damaged("image in the log: a unit beyond block")
		}
		buf := wire.NewBuf(unitSize)
		copy(buf.Bytes(), b)
		ims = append(ims, &image{unit: u, buf: buf})
	}
	sortImages(ims)
	if err := s.writeImages(ims, disk.Aligned(writePiece)); err != nil {
		return wire.Wrap("store.replay", "block", err)
	}
	for _, im := range ims {
		im.buf.Release()
	}
	r.written = len(ims)
	if err := s.block.Sync(); err != nil {
		return wire.Wrap("store.replay", "block", err)
	}
	if err := r.a.flush(0, 0); err != nil {
		return err
	}
	s.appliedSeq, s.numObjects = r.a.applied, r.a.objects
	for n, reg := range s.alloc.loaded {
		s.alloc.recount(n, reg)
	}
	return nil
}

// start begins the goroutines and takes the first ids.
func (s *Store) start() error {
	var err error
	if s.nextID, err = s.mark(markIDs); err != nil {
		return err
	}
	s.nextID = max(s.nextID, 1)
	s.idLimit = s.nextID
	s.super.clean = false
	if err := s.super.write(s.block); err != nil {
		return err
	}
	if _, err := s.measure(s.alloc.units); err != nil {
		return err
	}
	s.trimWanted = true
	s.checkWanted = s.logHead != s.durableTail
	s.wg.Add(7)
	go s.formatLoop()
	go s.dataLoop()
	go s.logLoop()
	go s.applyLoop(s.numObjects)
	go s.doneLoop()
	go s.flushLoop()
	go s.checkLoop()
	// No id may be used before the log says that it might be.
	s.mu.Lock()
	s.idLimit += idStep
	t := &txn{charge: unitSize, ready: true,
		stream: appendPut(nil, []byte(markIDs), binary.LittleEndian.AppendUint64(nil, s.idLimit))}
	s.submit(t, false)
	for !t.synced && s.dead == nil {
		s.applied.Wait()
	}
	err = s.dead
	s.mu.Unlock()
	return err
}

// Close waits for what was queued, puts everything down so that the next Open
// has nothing to replay, and gives the disk up. It may be called twice.
func (s *Store) Close() error {
	s.mu.Lock()
	if s.closing {
		s.mu.Unlock()
		s.wg.Wait()
		return nil
	}
	s.closing = true
	s.wakeAll()
	for len(s.inflight) > 0 && s.dead == nil {
		s.applied.Wait()
	}
	want := s.checkDone + 1
	s.checkWanted = true
	s.checkGo.Signal()
	for s.checkDone < want && s.dead == nil {
		s.applied.Wait()
	}
	for len(s.inflight) > 0 && s.dead == nil {
		s.applied.Wait()
	}
	s.stopped = true
	close(s.stop)
	dead := s.dead
	s.wakeAll()
	s.mu.Unlock()
	s.wg.Wait()
	if dead == nil {
		if s.formatted || s.wal.head >= s.wal.size {
			s.super.formatted = s.wal.size
		}
		s.super.clean = true
		dead = s.super.write(s.block)
	}
	if err := s.closeFiles(); dead == nil {
		dead = err
	}
	return dead
}

func (s *Store) closeFiles() error {
	var first error
	keep := func(err error) {
		if first == nil {
			first = err
		}
	}
	if s.db != nil {
		keep(s.db.Close())
	}
	if s.wal.f != nil {
		keep(s.wal.f.Close())
	}
	if s.blockDirect != nil {
		keep(s.blockDirect.Close())
	}
	if s.block != nil {
		keep(s.block.Close())
	}
	if s.lock != nil {
		keep(s.lock.Close())
	}
	return wire.Wrap("store.close", "", first)
}
