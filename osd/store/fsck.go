package store

import (
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/spirula/spirula/rados/wire"
)

// FsckOptions says how thorough Fsck is.
type FsckOptions struct {
	// Deep reads all data and checks its checksums.
	Deep bool
	// Max bounds the problems reported; 0 means 100.
	Max int
}

// FsckReport is what Fsck found.
type FsckReport struct {
	Objects  int64
	Units    int64    // allocation units in use
	Problems []string // one line each, in the order found
	More     bool     // there were more problems than asked for
}

// owned is what one object says belongs to it.
type owned struct {
	shards int
	large  int
}

// refKey names a shared unit of a family's logical shard.
type refKey struct {
	family uint64
	shard  uint32
	unit   uint64
}

// checker is a Fsck under way. Its memory grows with the number of objects
// and with the disk: 32 MiB per TiB.
type checker struct {
	s      *Store
	o      FsckOptions
	rep    FsckReport
	nodes  map[uint64]owned
	omaps  map[uint64]bool
	refs   map[refKey]uint32
	used   map[uint32]*bitmap
	deep   []ObjectID
	shards map[uint64]int // rows seen, by nid
	large  map[uint64]int
}

// Fsck checks every structure against the others and reports what doesn't
// fit. Transactions wait meanwhile. The error is that the check itself could
// not go on.
func (s *Store) Fsck(o FsckOptions) (FsckReport, error) {
	if o.Max == 0 {
		o.Max = 100
	}
	if err := s.freeze(); err != nil {
		return FsckReport{}, err
	}
	defer s.thaw()
	// Block doesn't grow meanwhile.
	s.growTurn.Lock()
	defer s.growTurn.Unlock()
	c := &checker{s: s, o: o, nodes: map[uint64]owned{}, omaps: map[uint64]bool{}, refs: map[refKey]uint32{},
		used: map[uint32]*bitmap{}, shards: map[uint64]int{}, large: map[uint64]int{}}
	c.markUsed(0, superUnits, "superblock")
	for _, step := range []func() error{c.objects, c.rows, c.refCounts, c.allocation, c.log} {
		if err := step(); err != nil {
			return c.rep, wire.Wrap("store.fsck", "", err)
		}
	}
	if o.Deep {
		c.readAll()
	}
	return c.rep, nil
}

// freeze makes transactions wait and those under way finish.
func (s *Store) freeze() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.frozen && !s.closing && s.dead == nil {
		s.admit.Wait()
	}
	s.frozen = true
	for (len(s.inflight) > 0 || s.trimWanted || s.checkWanted || s.checking) && s.dead == nil && !s.stopped {
		s.applied.Wait()
	}
	if s.dead != nil || s.stopped {
		s.frozen = false
		return wire.Errorf("store.fsck", "", wire.ESHUTDOWN)
	}
	return nil
}

func (s *Store) thaw() {
	s.mu.Lock()
	s.frozen = false
	s.admit.Broadcast()
	s.mu.Unlock()
}

func (c *checker) problem(format string, args ...any) {
	if len(c.rep.Problems) == c.o.Max {
		c.rep.More = true
		return
	}
	c.rep.Problems = append(c.rep.Problems, fmt.Sprintf(format, args...))
}

// markUsed notes that units have an owner.
func (c *checker) markUsed(unit, n uint64, who string) {
	if unit+n > c.s.alloc.units {
		c.problem("%s: unit %d is beyond the end of block", who, unit)
		return
	}
	split([]run{{unit, n}}, func(r uint32, first, n uint64) {
		b := c.used[r]
		if b == nil {
			b = &bitmap{}
			c.used[r] = b
		}
		for i := first; i < first+n; i++ {
			if b.get(i) {
				c.problem("%s: unit %d has another owner", who, uint64(r)*regionUnits+i)
			}
			b[i/64] |= 1 << (i % 64)
		}
	})
	c.rep.Units += int64(n)
}

// objects goes through all onodes and what they point to.
func (c *checker) objects() error {
	it := c.s.db.NewIter([]byte{keyObject}, []byte{keyObject + 1})
	defer it.Close()
	for it.Next() {
		o, ok := parseObjectKey(it.Key())
		if !ok {
			c.problem("object key %x can't be read", it.Key())
			continue
		}
		c.rep.Objects++
		n, shards, large, ok := decodeOnode(it.Value())
		if !ok {
			c.problem("object %v: onode is damaged", o)
			continue
		}
		c.object(o, n, shards, large)
	}
	if c.s.numObjects != c.rep.Objects {
		c.problem("there are %d objects, %d are counted", c.rep.Objects, c.s.numObjects)
	}
	return it.Err()
}

func (c *checker) object(o ObjectID, n *onode, shards []uint32, large bool) {
	if _, ok := c.nodes[n.nid]; ok {
		c.problem("object %v: nid %d has another owner", o, n.nid)
		return
	}
	if n.nid >= c.s.idLimit || n.omap >= c.s.idLimit || n.family >= c.s.idLimit {
		c.problem("object %v: an id is beyond %d", o, c.s.idLimit)
	}
	own := owned{shards: len(shards)}
	if n.omap != 0 {
		if c.omaps[n.omap] {
			c.problem("object %v: omap %d has another owner", o, n.omap)
		}
		c.omaps[n.omap] = true
	}
	if err := c.s.loadShards(n, shards); err != nil {
		c.problem("object %v: %v", o, err)
	}
	if large {
		small := len(n.xattrs)
		if err := c.s.loadXattrs(n); err != nil {
			c.problem("object %v: %v", o, err)
		}
		if own.large = len(n.xattrs) - small; own.large == 0 {
			c.problem("object %v: rows of large xattrs are missing", o)
		}
	}
	c.nodes[n.nid] = own
	if c.o.Deep {
		c.deep = append(c.deep, o)
	}
	if n.inline == nil && len(shards) == 0 && n.size <= maxInline {
		c.problem("object %v: %d bytes are neither inline nor in units", o, n.size)
	}
	c.extents(o, n)
}

func (c *checker) extents(o ObjectID, n *onode) {
	for i, sh := range n.shards {
		if sh == nil {
			continue
		}
		if sh.empty() {
			c.problem("object %v: extent shard %d is empty", o, i)
		}
		for j, cell := range sh.cell {
			switch {
			case cell == 0:
			case (uint64(i)*shardUnits+uint64(j))*unitSize >= n.size:
				c.problem("object %v: a unit at %d is behind its end at %d", o, (i*shardUnits+j)*unitSize, n.size)
				c.markUsed(cell&^cellShared, 1, "object "+o.String())
			case cell&cellShared == 0:
				c.markUsed(cell, 1, "object "+o.String())
			case n.family == 0:
				c.problem("object %v: unit %d is shared, but the object has no family", o, cell&^cellShared)
			default:
				c.refs[refKey{n.family, uint32(i), cell &^ cellShared}]++
			}
		}
	}
}

// rows looks for rows without an owner.
func (c *checker) rows() error {
	known := string([]byte{keyMark, keyObject, keyShard, keyXattr, keyOmap, keyRefs, keyRegion, keyCounts, keyGarbage, keyMeta})
	it := c.s.db.NewIter(nil, nil)
	defer it.Close()
	for ok := it.Next(); ok; {
		k := it.Key()
		switch k[0] {
		case keyShard:
			c.shardRow(k, it.Value())
		case keyXattr:
			if len(k) < 9 {
				c.problem("xattr row %x: key", k)
			} else {
				c.large[binary.BigEndian.Uint64(k[1:])]++
			}
		case keyOmap:
			// One look per omap is enough.
			if len(k) < omapPrefixLen || k[9] != 'h' && k[9] != 'k' {
				c.problem("omap row %x: key", k)
				break
			}
			id := binary.BigEndian.Uint64(k[1:])
			if !c.omaps[id] && !c.isGarbage(id) {
				c.problem("omap %d has no owner", id)
			}
			ok = it.Seek(appendOmapEnd(nil, id))
			continue
		case keyMeta:
			if _, _, ok := parseMetaKey(k); !ok {
				c.problem("PG row %x: key", k)
			}
		case keyObject:
			ok = it.Seek([]byte{keyObject + 1})
			continue
		default:
			if !slices.Contains([]byte(known), k[0]) {
				c.problem("row %x is of no known kind", k)
			}
		}
		ok = it.Next()
	}
	for nid, n := range c.shards {
		if own, ok := c.nodes[nid]; !ok {
			c.problem("extent shards of nid %d have no owner", nid)
		} else if own.shards != n {
			c.problem("nid %d has %d extent shards, its onode says %d", nid, n, own.shards)
		}
	}
	for nid, n := range c.large {
		if own, ok := c.nodes[nid]; !ok {
			c.problem("xattrs of nid %d have no owner", nid)
		} else if own.large != n {
			c.problem("nid %d has %d xattr rows, its onode says %d", nid, n, own.large)
		}
	}
	return it.Err()
}

func (c *checker) shardRow(k, v []byte) {
	nid, i, ok := parseKey12(k, keyShard)
	if !ok {
		c.problem("extent shard %x: key", k)
		return
	}
	if _, ok := decodeShard(v); !ok {
		c.problem("extent shard %d of nid %d is damaged", i, nid)
	}
	c.shards[nid]++
}

func (c *checker) isGarbage(id uint64) bool {
	ok, err := c.s.db.Has(appendKey8(nil, keyGarbage, id))
	return err == nil && ok
}

// refCounts compares the counts of shared units with the owners found.
func (c *checker) refCounts() error {
	stored := map[refKey]bool{}
	it := c.s.db.NewIter([]byte{keyRefs}, []byte{keyRefs + 1})
	defer it.Close()
	for it.Next() {
		fam, shard, ok := parseKey12(it.Key(), keyRefs)
		refs, good := decodeRefs(it.Value())
		if !ok || !good {
			c.problem("reference counts %x are damaged", it.Key())
			continue
		}
		for _, r := range refs {
			k := refKey{fam, shard, r.unit}
			stored[k] = true
			if c.refs[k] != r.count {
				c.problem("unit %d of family %d has %d owners, %d are counted", r.unit, fam, c.refs[k], r.count)
			}
		}
	}
	for k, n := range c.refs {
		if n > 1 && !stored[k] {
			c.problem("unit %d of family %d has %d owners, none are counted", k.unit, k.family, n)
		}
		c.markUsed(k.unit, 1, fmt.Sprintf("family %d", k.family))
	}
	return it.Err()
}

// allocation compares the allocation with the units that have owners.
func (c *checker) allocation() error {
	s := c.s
	for n := range uint32(len(s.alloc.counts)) {
		s.mu.Lock()
		r := s.alloc.loaded[n]
		free := s.alloc.counts[n]
		s.mu.Unlock()
		if r == nil {
			var err error
			if r, err = s.readRegion(n); err != nil {
				c.problem("allocation region %d: %v", n, err)
				continue
			}
			if n == 0 {
				r.committed[0] |= 1<<superUnits - 1
			}
			limit := uint32(min(regionUnits, s.alloc.units-uint64(n)*regionUnits))
			if used := uint32(r.committed.used()); limit-free != used {
				c.problem("allocation region %d: %d units are in use, %d are counted", n, used, limit-free)
			}
		}
		c.region(n, r)
	}
	for n := range c.used {
		if int(n) >= len(s.alloc.counts) {
			c.problem("allocation region %d is in use, but beyond the end", n)
		}
	}
	return nil
}

func (c *checker) region(n uint32, r *region) {
	have := c.used[n]
	if have == nil {
		have = &bitmap{}
	}
	for w := range have {
		switch lost, extra := have[w]&^r.committed[w], r.committed[w]&^have[w]; {
		case lost != 0:
			c.problem("allocation region %d: units from %d on are in use, but free (%x)", n, uint64(n)*regionUnits+uint64(w)*64, lost)
			return
		case extra != 0:
			c.problem("allocation region %d: units from %d on are allocated, but nobody's (%x)", n, uint64(n)*regionUnits+uint64(w)*64, extra)
			return
		}
	}
}

// log looks whether all groups that a replay would need are there.
func (c *checker) log() error {
	if _, err := c.s.wal.scan(); err != nil {
		c.problem("%v", err)
	}
	if c.s.super.walSize != c.s.wal.size {
		c.problem("superblock and log differ in size")
	}
	if _, err := readSuperblock(c.s.block); err != nil {
		c.problem("%v", err)
	}
	return nil
}

// readAll reads all data; what can't be read is a problem.
func (c *checker) readAll() {
	for _, o := range c.deep {
		for off := uint64(0); ; off += wire.MaxBuf {
			d, err := c.s.Read(o, off, wire.MaxBuf)
			if err != nil {
				c.problem("object %v: data from %d on: %v", o, off, err)
				if wire.ErrnoOf(err) != wire.EIO || off > MaxObject {
					break
				}
				continue
			}
			n := d.Len()
			d.Release()
			if n < wire.MaxBuf {
				break
			}
		}
	}
}
