package store

import (
	"hash/crc32"
	"sync/atomic"

	"github.com/spirula/spirula/rados/wire"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// unitCRC makes the checksums of units from bytes that come in pieces.
type unitCRC struct {
	out []uint32
	crc uint32
	n   int // bytes of the unit under way
}

func (c *unitCRC) add(b []byte) {
	for len(b) > 0 {
		take := min(unitSize-c.n, len(b))
		c.crc = crc32.Update(c.crc, castagnoli, b[:take])
		if c.n += take; c.n == unitSize {
			c.out = append(c.out, c.crc)
			c.crc, c.n = 0, 0
		}
		b = b[take:]
	}
}

// addFrom is add for b, which lies at offset off of buf. Units whose checksums
// came with the Buf are not looked at.
func (c *unitCRC) addFrom(buf *wire.Buf, off int, b []byte) {
	for c.n == 0 && off%unitSize == 0 && len(b) >= unitSize {
		crc, ok := buf.BlockCRC(off / unitSize)
		if !ok {
			break
		}
		c.out = append(c.out, crc)
		off, b = off+unitSize, b[unitSize:]
	}
	c.add(b)
}

// piece is a run of logical units of a pinned read: a hole, units that lie
// one behind the other on the disk, or one image on its way there.
type piece struct {
	unit  uint64   // physical; 0 with buf nil: a hole
	n     int      // units
	crcs  []uint32 // of the units
	image *wire.Buf
}

// Pinned is a read that was admitted: it answers from the state its object
// had when Pin was called, however long Read is put off and whatever is
// written meanwhile. It holds disk space that may be free already, so it is
// to be closed soon. Read is called at most once.
type Pinned struct {
	n      int // bytes that Read gives
	skip   int // bytes before them in the first unit
	ready  wire.Data
	inline []byte
	s      *Store // nil: everything is in ready
	o      ObjectID
	pieces []piece
	first  [4]piece // the usual reads need no more
	pin    *pin
	closed atomic.Bool
}

// PinnedData makes a Pinned that gives d; d's references go over to it. It is
// for implementations that hold the bytes in memory.
func PinnedData(d wire.Data) *Pinned { return &Pinned{n: d.Len(), ready: d} }

// Len is the number of bytes Read will give: less than asked for at the end
// of the object.
func (p *Pinned) Len() int { return p.n }

// Close gives up what Pin held. It may be called twice.
func (p *Pinned) Close() {
	if p.closed.Swap(true) {
		return
	}
	p.ready.Release()
	p.ready = wire.Data{}
	for i := range p.pieces {
		if b := p.pieces[i].image; b != nil {
			b.Release()
		}
	}
	p.pieces = nil
	if p.pin != nil {
		p.s.mu.Lock()
		p.s.unpin(p.pin)
		p.s.mu.Unlock()
	}
}

// Pin admits a read of [off, off+n). ENOENT; EIO when the object's index
// entry is damaged. The Pinned must be closed.
func (s *Store) Pin(o ObjectID, off, n uint64) (*Pinned, error) {
	obj, err := s.hold(o)
	if err != nil {
		return nil, err
	}
	defer s.unhold(obj)
	s.mu.Lock()
	defer s.mu.Unlock()
	node := obj.cur
	if node == nil {
		return nil, &absentError{"store.read", o}
	}
	p := &Pinned{s: s, o: o}
	if off >= node.size {
		return p, nil
	}
	n = min(n, node.size-off)
	p.n = int(n)
	if node.inline != nil {
		p.inline = node.inline[off : off+n]
		return p, nil
	}
	p.skip = int(off % unitSize)
	p.pieces = p.first[:0]
	s.lookUp(p, node, off/unitSize, (off+n+unitSize-1)/unitSize)
	p.pin = s.pinNow()
	return p, nil
}

// hold gives an object's entry, loaded, with a use on it.
func (s *Store) hold(o ObjectID) (*object, error) {
	s.mu.Lock()
	obj, mine := s.entry(o)
	ready := obj.loaded == nil && obj.err == nil
	s.mu.Unlock()
	if ready {
		return obj, nil
	}
	if err := s.load(obj, mine); err != nil {
		s.unhold(obj)
		return nil, err
	}
	return obj, nil
}

func (s *Store) unhold(o *object) {
	s.mu.Lock()
	s.leave(o)
	s.mu.Unlock()
}

// lookUp finds out where units lie. s.mu is held.
func (s *Store) lookUp(p *Pinned, n *onode, u, end uint64) {
	for u < end {
		sh := n.shardAt(uint32(u / shardUnits))
		i, last := int(u%shardUnits), int(min(shardUnits, end-u/shardUnits*shardUnits))
		u += uint64(last - i)
		if sh == nil {
			p.pieces = append(p.pieces, piece{n: last - i})
			continue
		}
		for i < last {
			j := i + 1
			unit := sh.cell[i] &^ cellShared
			if unit == 0 {
				for j < last && sh.cell[j] == 0 {
					j++
				}
				p.pieces = append(p.pieces, piece{n: j - i})
			} else if im := s.imageAt(unit); im != nil {
				im.buf.Retain()
				p.pieces = append(p.pieces, piece{n: 1, image: im.buf})
			} else {
				for j < last && sh.cell[j]&^cellShared == unit+uint64(j-i) && s.imageAt(unit+uint64(j-i)) == nil {
					j++
				}
				p.pieces = append(p.pieces, piece{unit: unit, n: j - i, crcs: sh.crc[i:j]})
			}
			i = j
		}
	}
}

func (s *Store) imageAt(unit uint64) *image {
	if len(s.overlay) == 0 {
		return nil
	}
	return s.overlay[unit]
}

// Read gives the bytes; the caller releases them. EIO: what is stored there
// is not what was written.
func (p *Pinned) Read() (wire.Data, error) {
	if p.s == nil {
		d := p.ready
		p.ready = wire.Data{}
		return d, nil
	}
	p.s.m.Reads.Add(1)
	p.s.m.ReadBytes.Add(int64(p.n))
	if p.inline != nil {
		return wire.CopyData(p.inline), nil
	}
	var d wire.Data
	at, skip := 0, p.skip // the piece, units of it done
	done := 0
	for left := p.n; left > 0; {
		buf := wire.NewBuf(bufFor(skip + left))
		units := (skip + left + unitSize - 1) / unitSize
		units = min(units, buf.Cap()/unitSize)
		noted := 0 // units whose checksums go along with buf
		for i := 0; i < units; {
			pc := &p.pieces[at]
			k := min(pc.n-done, units-i)
			if err := p.s.readPiece(buf.Bytes()[i*unitSize:(i+k)*unitSize], pc, done, k); err != nil {
				buf.Release()
				d.Release()
				return wire.Data{}, wire.Wrap("store.read", p.o.String(), err)
			}
			if noted == i && len(pc.crcs) > 0 {
				for _, crc := range pc.crcs[done : done+k] {
					buf.AddBlockCRC(crc)
				}
				noted += k
			}
			i += k
			if done += k; done == pc.n {
				at, done = at+1, 0
			}
		}
		n := min(left, units*unitSize-skip)
		d.Append(buf, skip, n)
		left -= n
		skip = 0
	}
	return d, nil
}

// bufFor is the size of the buffer to take when n bytes are still to come:
// none is more than four times too large.
func bufFor(n int) int {
	switch {
	case n >= 512<<10:
		return 1 << 20
	case n > 128<<10:
		return 256 << 10
	case n > 16<<10:
		return 64 << 10
	}
	return unitSize
}

func (s *Store) readPiece(b []byte, pc *piece, from, n int) error {
	switch {
	case pc.image != nil:
		copy(b, pc.image.Bytes()[:unitSize])
	case pc.unit == 0:
		clear(b)
	default:
		return s.readUnits(b, pc.unit+uint64(from), pc.crcs[from:from+n])
	}
	return nil
}

// readUnits reads units that lie one behind the other and checks them. What
// fails is read once more before it is believed.
func (s *Store) readUnits(b []byte, unit uint64, crcs []uint32) error {
	for try := 0; ; try++ {
		err := s.readBlock(b, int64(unit*unitSize), try > 0)
		bad := -1
		if err == nil {
			for i, c := range crcs {
				if wire.CRC32C(b[i*unitSize:(i+1)*unitSize]) != c {
					bad = i
					break
				}
			}
			if bad < 0 {
				return nil
			}
		}
		if try > 0 {
			s.m.ReadErrors.Add(1)
			if err != nil {
				return wire.Wrap("store.read", "block", err)
			}
			s.o.Log.Error("data damaged", "unit", unit+uint64(bad))
			return wire.Errorf("store.read", "checksum of unit "+utoa(unit+uint64(bad)), wire.EIO)
		}
	}
}

// Read gives the bytes of [off, off+n) that the object has; the caller
// releases them. ENOENT; EIO for bytes that are not what was written.
func (s *Store) Read(o ObjectID, off, n uint64) (wire.Data, error) {
	p, err := s.Pin(o, off, n)
	if err != nil {
		return wire.Data{}, err
	}
	defer p.Close()
	return p.Read()
}

// snapshot gives the newest state of an object; ENOENT.
func (s *Store) snapshot(op string, o ObjectID) (*onode, error) {
	obj, err := s.hold(o)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	n := obj.cur
	s.leave(obj)
	s.mu.Unlock()
	if n == nil {
		return nil, &absentError{op, o}
	}
	return n, nil
}

// Stat gives size and whether there is an omap; ENOENT.
func (s *Store) Stat(o ObjectID) (Stat, error) {
	n, err := s.snapshot("store.stat", o)
	if err != nil {
		return Stat{}, err
	}
	return Stat{Size: n.size, HasOmap: n.omap != 0}, nil
}

// Xattr gives one xattr; the caller must not change it. ENOENT, ENODATA.
func (s *Store) Xattr(o ObjectID, name string) ([]byte, error) {
	n, err := s.snapshot("store.xattr", o)
	if err != nil {
		return nil, err
	}
	i, ok := n.xattr(name)
	if !ok {
		return nil, wire.Errorf("store.xattr", o.String()+" "+name, wire.ENODATA)
	}
	return n.xattrs[i].Value, nil
}

// Xattrs gives all xattrs by name; the caller must not change them. ENOENT.
func (s *Store) Xattrs(o ObjectID) ([]wire.KV, error) {
	n, err := s.snapshot("store.xattrs", o)
	if err != nil {
		return nil, err
	}
	return n.xattrs, nil
}

// Extents gives the ranges that hold data, in order, those that touch joined;
// the rest reads as zeros. ENOENT.
func (s *Store) Extents(o ObjectID) ([]wire.Extent, error) {
	n, err := s.snapshot("store.extents", o)
	if err != nil {
		return nil, err
	}
	if n.inline != nil {
		if n.size == 0 {
			return nil, nil
		}
		return []wire.Extent{{Len: n.size}}, nil
	}
	var out []wire.Extent
	for i, sh := range n.shards {
		if sh == nil {
			continue
		}
		for j, c := range sh.cell {
			if c == 0 {
				continue
			}
			at := uint64(i)*shardSize + uint64(j)*unitSize
			size := min(unitSize, n.size-at)
			if m := len(out); m > 0 && out[m-1].Off+out[m-1].Len == at {
				out[m-1].Len += size
			} else {
				out = append(out, wire.Extent{Off: at, Len: size})
			}
		}
	}
	return out, nil
}

// absentError says that an object isn't there. Every creation of an object
// meets one, so its text is made only when somebody prints it.
type absentError struct {
	op string
	o  ObjectID
}

// Error prints operation and object.
func (e *absentError) Error() string { return e.op + " " + e.o.String() + ": " + wire.ENOENT.Error() }

// Unwrap gives the kind.
func (e *absentError) Unwrap() error { return wire.ENOENT }
