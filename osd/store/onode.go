package store

import (
	"encoding/binary"
	"math/bits"
	"slices"

	"github.com/spirula/spirula/rados/wire"
)

const (
	// unitSize is the unit of allocation and of checksums, in bytes.
	unitSize = wire.BlockSize
	// shardUnits is how many units' extents one shard describes: 256 KiB.
	shardUnits = 64
	shardSize  = shardUnits * unitSize
	maxShards  = MaxObject / shardSize
	// maxInline is the largest object kept inside its onode, in bytes.
	maxInline = 2 << 10
	// maxOnodeXattr and maxOnodeXattrs bound the xattr, and all of them,
	// that stay in the onode; others have rows of their own.
	maxOnodeXattr  = 512
	maxOnodeXattrs = 2 << 10
)

// cellShared marks a cell whose unit may belong to other objects of the
// family as well: the family's reference counts decide.
const cellShared = 1 << 63

// shard is where the data of one 256 KiB of an object lies. Once its
// transaction is planned it is never changed: readers hold on to it without a
// lock.
type shard struct {
	owner uint64             // the plan that may still write to it
	cell  [shardUnits]uint64 // physical unit | cellShared; 0 reads as zeros
	crc   [shardUnits]uint32 // CRC-32C of the unit
}

// shardMem is what a shard costs the cache, in bytes.
const shardMem = shardUnits*12 + 16

func (s *shard) empty() bool {
	for _, c := range s.cell {
		if c != 0 {
			return false
		}
	}
	return true
}

// onode is one state of an object. Like its shards it is never changed once
// its transaction is planned.
type onode struct {
	owner  uint64 // the plan that may still write to it
	nid    uint64 // names its shards and xattr rows
	size   uint64
	omap   uint64 // names its omap rows; 0: none
	family uint64 // names the reference counts shared with its clones; 0: never cloned
	xattrs []wire.KV
	// inline is the whole content, of length size, when it is not nil;
	// there are no shards then.
	inline []byte
	shards []*shard // by position; nil is a hole, short at the end
}

// shardAt gives a shard or nil for a hole.
func (n *onode) shardAt(i uint32) *shard {
	if int(i) < len(n.shards) {
		return n.shards[i]
	}
	return nil
}

// cellAt gives the cell and checksum of a logical unit.
func (n *onode) cellAt(u uint64) (cell uint64, crc uint32) {
	if s := n.shardAt(uint32(u / shardUnits)); s != nil {
		return s.cell[u%shardUnits], s.crc[u%shardUnits]
	}
	return 0, 0
}

// mem is what the onode costs the cache, in bytes.
func (n *onode) mem() int {
	if n == nil {
		return 0
	}
	m := 160 + len(n.inline) + 8*len(n.shards)
	for _, kv := range n.xattrs {
		m += 40 + len(kv.Key) + len(kv.Value)
	}
	for _, s := range n.shards {
		if s != nil {
			m += shardMem
		}
	}
	return m
}

func (n *onode) xattr(name string) (int, bool) {
	return slices.BinarySearchFunc(n.xattrs, name, func(kv wire.KV, name string) int {
		if kv.Key < name {
			return -1
		} else if kv.Key > name {
			return 1
		}
		return 0
	})
}

// largeXattr gives a test, to be asked in order, for the xattrs that have rows of their
// own. It depends on nothing but the xattrs, so it is not stored.
func (n *onode) largeXattr() func(wire.KV) bool {
	total := 0
	return func(kv wire.KV) bool {
		size := len(kv.Key) + len(kv.Value)
		if len(kv.Value) > maxOnodeXattr || total+size > maxOnodeXattrs {
			return true
		}
		total += size
		return false
	}
}

const onodeVersion = 1

// Flags of a stored onode.
const (
	onodeInline      = 1 << iota // has inline content
	onodeLargeXattrs             // some xattrs have rows of their own
)

// appendOnode encodes the onode:
//
//	u8 version, u8 flags, uvarint nid, size, omap, family,
//	uvarint count {uvarint length, name, uvarint length, value},
//	inline content (flag; its length is the size),
//	uvarint n, n bytes: bitmap of the shards that exist, lowest bit first,
//	u32 CRC-32C of all before
func appendOnode(b []byte, n *onode) []byte {
	start := len(b)
	b = append(b, onodeVersion, 0)
	b = binary.AppendUvarint(b, n.nid)
	b = binary.AppendUvarint(b, n.size)
	b = binary.AppendUvarint(b, n.omap)
	b = binary.AppendUvarint(b, n.family)
	small, large := 0, n.largeXattr()
	for _, kv := range n.xattrs {
		if large(kv) {
			b[start+1] |= onodeLargeXattrs
		} else {
			small++
		}
	}
	b = binary.AppendUvarint(b, uint64(small))
	large = n.largeXattr()
	for _, kv := range n.xattrs {
		if !large(kv) {
			b = appendBytes(b, kv.Key)
			b = appendBytes(b, kv.Value)
		}
	}
	if n.inline != nil {
		b[start+1] |= onodeInline
		b = append(b, n.inline...)
	}
	b = appendShardMap(b, n)
	return binary.LittleEndian.AppendUint32(b, wire.CRC32C(b[start:]))
}

func appendShardMap(b []byte, n *onode) []byte {
	size := 0
	for i, s := range n.shards {
		if s != nil {
			size = i/8 + 1
		}
	}
	b = binary.AppendUvarint(b, uint64(size))
	at := len(b)
	b = append(b, make([]byte, size)...)
	for i, s := range n.shards {
		if s != nil {
			b[at+i/8] |= 1 << (i % 8)
		}
	}
	return b
}

func appendBytes[T string | []byte](b []byte, s T) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// checked cuts the CRC-32C off the end of a stored value and checks it and
// the version in front.
func checked(b []byte, version byte) ([]byte, bool) {
	if len(b) < 5 || b[0] != version {
		return nil, false
	}
	body := b[:len(b)-4]
	return body, wire.CRC32C(body) == binary.LittleEndian.Uint32(b[len(body):])
}

// reader takes apart a value that may be damaged. After the first thing that
// doesn't fit everything reads as zero and ok is false.
type reader struct {
	b   []byte
	bad bool
}

func (r *reader) uvarint() uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 {
		r.b, r.bad = nil, true
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *reader) take(n uint64) []byte {
	if n > uint64(len(r.b)) {
		r.b, r.bad = nil, true
		return nil
	}
	b := r.b[:n:n]
	r.b = r.b[n:]
	return b
}

func (r *reader) bytes() []byte { return r.take(r.uvarint()) }

func (r *reader) u8() byte {
	if b := r.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (r *reader) u32() uint32 {
	if b := r.take(4); b != nil {
		return binary.LittleEndian.Uint32(b)
	}
	return 0
}

func (r *reader) u64() uint64 {
	if b := r.take(8); b != nil {
		return binary.LittleEndian.Uint64(b)
	}
	return 0
}

// done reports whether everything fitted and nothing is left.
func (r *reader) done() bool { return !r.bad && len(r.b) == 0 }

// decodeOnode gives the onode, the positions of the shards to be loaded, and
// whether xattr rows are to be loaded. The onode refers to b's memory.
func decodeOnode(b []byte) (n *onode, shards []uint32, largeXattrs, ok bool) {
	body, ok := checked(b, onodeVersion)
	if !ok {
		return nil, nil, false, false
	}
	r := reader{b: body[1:]}
	flags := r.u8()
	n = &onode{nid: r.uvarint(), size: r.uvarint(), omap: r.uvarint(), family: r.uvarint()}
	count := r.uvarint()
	if count > maxOnodeXattrs || n.size > MaxObject {
		return nil, nil, false, false
	}
	for range count {
		k, v := r.bytes(), r.bytes()
		if m := len(n.xattrs); m > 0 && n.xattrs[m-1].Key >= string(k) {
			return nil, nil, false, false
		}
		n.xattrs = append(n.xattrs, wire.KV{Key: string(k), Value: v})
	}
	if flags&onodeInline != 0 {
		if n.size > maxInline {
			return nil, nil, false, false
		}
		if n.inline = r.take(n.size); n.inline == nil {
			n.inline = []byte{}
		}
	}
	bitmap := r.bytes()
	if !r.done() || len(bitmap) > maxShards/8 {
		return nil, nil, false, false
	}
	for i, m := range bitmap {
		for ; m != 0; m &= m - 1 {
			shards = append(shards, uint32(i*8+bits.TrailingZeros8(m)))
		}
	}
	if len(shards) > 0 && (n.inline != nil || uint64(shards[len(shards)-1]) > (n.size-1)/shardSize) {
		return nil, nil, false, false
	}
	return n, shards, flags&onodeLargeXattrs != 0, true
}

const shardVersion = 1

// crcShift is log2 of the bytes that one checksum covers.
const crcShift = 12

// Flags of a run in a stored shard.
const runShared = 1

// appendShard encodes a shard:
//
//	u8 version, u8 log2 of the bytes under one checksum, uvarint runs,
//	{uvarint gap to the run before, uvarint length, u8 flags, uvarint physical unit},
//	u32 CRC-32C per unit of the runs, u32 CRC-32C of all before
func appendShard(b []byte, s *shard) []byte {
	start := len(b)
	b = append(b, shardVersion, crcShift)
	runs := 0
	for i := 0; i < shardUnits; runs++ {
		if i = s.next(i); i == shardUnits {
			break
		}
		i = s.runEnd(i)
	}
	b = binary.AppendUvarint(b, uint64(runs))
	for i, last := 0, 0; ; {
		if i = s.next(i); i == shardUnits {
			break
		}
		end := s.runEnd(i)
		b = binary.AppendUvarint(b, uint64(i-last))
		b = binary.AppendUvarint(b, uint64(end-i))
		b = append(b, byte(s.cell[i]>>63)*runShared)
		b = binary.AppendUvarint(b, s.cell[i]&^cellShared)
		i, last = end, end
	}
	for i, c := range s.cell {
		if c != 0 {
			b = binary.LittleEndian.AppendUint32(b, s.crc[i])
		}
	}
	return binary.LittleEndian.AppendUint32(b, wire.CRC32C(b[start:]))
}

// next is the first used cell from i on, or shardUnits.
func (s *shard) next(i int) int {
	for i < shardUnits && s.cell[i] == 0 {
		i++
	}
	return i
}

// runEnd is the end of the physically contiguous run that begins at i.
func (s *shard) runEnd(i int) int {
	for i++; i < shardUnits && s.cell[i] == s.cell[i-1]+1; i++ {
	}
	return i
}

func decodeShard(b []byte) (*shard, bool) {
	body, ok := checked(b, shardVersion)
	if !ok {
		return nil, false
	}
	r := reader{b: body[1:]}
	if r.u8() != crcShift {
		return nil, false
	}
	s := &shard{}
	at := uint64(0)
	for range min(r.uvarint(), shardUnits+1) {
		gap, n, flags, unit := r.uvarint(), r.uvarint(), r.u8(), r.uvarint()
		if r.bad || n == 0 || gap > shardUnits || n > shardUnits || at+gap+n > shardUnits ||
			flags > runShared || unit == 0 || unit > maxUnit-n {
			return nil, false
		}
		at += gap
		for i := range n {
			s.cell[at+i] = unit + i | uint64(flags)<<63
		}
		at += n
	}
	for i, c := range s.cell {
		if c != 0 {
			s.crc[i] = r.u32()
		}
	}
	return s, r.done()
}

// maxUnit bounds physical units: 2^48 units are an exabyte.
const maxUnit = 1 << 48

// unitRefs is the number of owners of a shared unit, at least 2.
type unitRefs struct {
	unit  uint64
	count uint32
}

const refsVersion = 1

// appendRefs encodes the counts of one logical shard of a family:
//
//	u8 version, uvarint runs, {uvarint gap to the run before, uvarint length, uvarint count},
//	u32 CRC-32C of all before
func appendRefs(b []byte, refs []unitRefs) []byte {
	start := len(b)
	b = append(b, refsVersion)
	runs := 0
	for i := 0; i < len(refs); i = refsRunEnd(refs, i) {
		runs++
	}
	b = binary.AppendUvarint(b, uint64(runs))
	last := uint64(0)
	for i := 0; i < len(refs); {
		end := refsRunEnd(refs, i)
		b = binary.AppendUvarint(b, refs[i].unit-last)
		b = binary.AppendUvarint(b, uint64(end-i))
		b = binary.AppendUvarint(b, uint64(refs[i].count))
		last = refs[end-1].unit + 1
		i = end
	}
	return binary.LittleEndian.AppendUint32(b, wire.CRC32C(b[start:]))
}

func refsRunEnd(refs []unitRefs, i int) int {
	for i++; i < len(refs) && refs[i].unit == refs[i-1].unit+1 && refs[i].count == refs[i-1].count; i++ {
	}
	return i
}

// maxRefs bounds the shared units of one logical shard of a family: every
// clone has at most 64 of its own.
const maxRefs = 1 << 20

func decodeRefs(b []byte) ([]unitRefs, bool) {
	body, ok := checked(b, refsVersion)
	if !ok {
		return nil, false
	}
	r := reader{b: body[1:]}
	var refs []unitRefs
	at := uint64(0)
	for range min(r.uvarint(), maxRefs) {
		gap, n, count := r.uvarint(), r.uvarint(), r.uvarint()
		if r.bad || gap > maxUnit || n == 0 || n > maxRefs || len(refs)+int(n) > maxRefs ||
			count < 2 || count > 1<<31 || at+gap+n > maxUnit {
			return nil, false
		}
		at += gap
		for i := range n {
			refs = append(refs, unitRefs{at + i, uint32(count)})
		}
		at += n
	}
	return refs, r.done()
}
