package store

import (
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/spirula/spirula/osd/disk"
	"github.com/spirula/spirula/rados/wire"
)

// The log is a ring of 4 KiB blocks. Positions count bytes since the store
// was made and never repeat; a position lies in the file at position modulo
// size. Records are written in groups, one write and one sync each, and only
// one group is under way at a time.
//
//	group: header 64 bytes | records | zeros up to a whole block
//
//	header: u32 magic, u32 version, 16 bytes uuid of the store,
//	        u64 position, u64 tail, u64 sequence of the first record,
//	        u32 number of records, u32 length of the records,
//	        u32 CRC-32C of the records, u32 CRC-32C of the header before
//
// A group never crosses the end of the file: one that doesn't fit begins at
// the front again. tail is the position of the oldest group still needed when
// this one was written.
//
// Since a group is begun only when the one before is synced, the good group
// with the highest position is the end of the log, and every group from its
// tail to it must be there, each following the one before. If one isn't,
// the disk has lost something that it had acknowledged, and the log is not
// opened.
const (
	groupHead  = 64
	walMagic   = 0x4c415753 // SWAL
	walVersion = 1
)

type groupHeader struct {
	pos, tail uint64
	seq       uint64 // of the first record
	count     uint32
	length    uint32
	bodyCRC   uint32
}

func (h *groupHeader) encode(b []byte, uuid [16]byte) {
	le := binary.LittleEndian
	le.PutUint32(b, walMagic)
	le.PutUint32(b[4:], walVersion)
	copy(b[8:], uuid[:])
	le.PutUint64(b[24:], h.pos)
	le.PutUint64(b[32:], h.tail)
	le.PutUint64(b[40:], h.seq)
	le.PutUint32(b[48:], h.count)
	le.PutUint32(b[52:], h.length)
	le.PutUint32(b[56:], h.bodyCRC)
	le.PutUint32(b[60:], wire.CRC32C(b[:60]))
}

// decode reports whether b begins with a header of this store.
func (h *groupHeader) decode(b []byte, uuid [16]byte) bool {
	le := binary.LittleEndian
	if len(b) < groupHead || le.Uint32(b) != walMagic || le.Uint32(b[4:]) != walVersion ||
		[16]byte(b[8:24]) != uuid || wire.CRC32C(b[:60]) != le.Uint32(b[60:]) {
		return false
	}
	*h = groupHeader{pos: le.Uint64(b[24:]), tail: le.Uint64(b[32:]), seq: le.Uint64(b[40:]),
		count: le.Uint32(b[48:]), length: le.Uint32(b[52:]), bodyCRC: le.Uint32(b[56:])}
	return h.pos%unitSize == 0 && h.tail <= h.pos && h.count > 0
}

// end is the position behind the group's last block.
func (h *groupHeader) end() uint64 { return h.pos + roundUp(groupHead+uint64(h.length), unitSize) }

func roundUp(n, to uint64) uint64 { return (n + to - 1) / to * to }

// wal is the log's file and where its writer is. It belongs to the log
// goroutine once the store is open.
type wal struct {
	f    disk.File
	uuid [16]byte
	size uint64
	head uint64 // position of the next group
	seq  uint64 // of the next record
}

// place is where a group of n bytes would begin.
func (w *wal) place(n uint64) uint64 {
	if left := w.size - w.head%w.size; n > left {
		return w.head + left
	}
	return w.head
}

// write puts a group, assembled in buf with groupHead bytes left free in
// front, into the log and syncs it. buf has room for whole blocks.
func (w *wal) write(buf []byte, n int, count uint32, tail uint64) (pos uint64, err error) {
	total := roundUp(uint64(n), unitSize)
	clear(buf[n:total])
	pos = w.place(total)
	if tail > pos {
		panic(fmt.Sprintf("store: log tail %d beyond head %d", tail, pos))
	}
	h := groupHeader{pos: pos, tail: tail, seq: w.seq, count: count,
		length: uint32(n - groupHead), bodyCRC: wire.CRC32C(buf[groupHead:n])}
	h.encode(buf, w.uuid)
	if _, err := w.f.WriteAt(buf[:total], int64(pos%w.size)); err != nil {
		return 0, err
	}
	if err := w.f.Sync(); err != nil {
		return 0, err
	}
	w.head = pos + total
	w.seq += uint64(count)
	return pos, nil
}

// scanned is what recovery found in the log.
type scanned struct {
	groups []groupHeader // from the tail to the end, each following the one before
	head   uint64        // where to go on
	seq    uint64        // with which sequence
}

// scan finds the groups that are still needed. EIO when one is missing or
// damaged that had been acknowledged.
func (w *wal) scan() (scanned, error) {
	found, err := w.headers()
	if err != nil {
		return scanned{}, err
	}
	// The newest whose records are whole is the end.
	last := -1
	for i := len(found) - 1; i >= 0 && last < 0; i-- {
		_, err := w.body(&found[i])
		switch {
		case err == nil:
			last = i
		case err != error(errTorn):
			return scanned{}, err
		}
	}
	if last < 0 {
		return scanned{seq: 1}, nil
	}
	end := found[last]
	s := scanned{head: end.end(), seq: end.seq + uint64(end.count)}
	for i := range found[:last+1] {
		if g := found[i]; g.pos >= end.tail && g.seq <= end.seq {
			s.groups = append(s.groups, g)
		}
	}
	return s, s.check(w, end.tail)
}

// check makes sure that the groups run from the tail without a hole.
func (s *scanned) check(w *wal, tail uint64) error {
	if s.groups[0].pos != tail {
		return wire.Errorf("store.replay", fmt.Sprintf("log: group at %d is missing, acknowledged before", tail), wire.EIO)
	}
	for i := 1; i < len(s.groups); i++ {
		a, b := &s.groups[i-1], &s.groups[i]
		follows := b.pos == a.end() || (b.pos%w.size == 0 && b.pos == roundUp(a.end(), w.size))
		if !follows || b.seq != a.seq+uint64(a.count) {
			return wire.Errorf("store.replay", fmt.Sprintf("log: group after %d (records %d..%d) is missing, acknowledged before",
				a.pos, a.seq, a.seq+uint64(a.count)-1), wire.EIO)
		}
	}
	return nil
}

// scanPiece is how much of the log is read at once, in bytes.
const scanPiece = 1 << 20

// headers gives every good header in the file, by position.
func (w *wal) headers() ([]groupHeader, error) {
	var found []groupHeader
	buf := disk.Aligned(int(min(scanPiece, w.size)))
	for off := uint64(0); off < w.size; off += uint64(len(buf)) {
		p := buf[:min(uint64(len(buf)), w.size-off)]
		if _, err := w.f.ReadAt(p, int64(off)); err != nil {
			return nil, wire.Wrap("store.replay", "log", err)
		}
		for i := 0; i < len(p); i += unitSize {
			var h groupHeader
			// The position says where a header belongs: one that came
			// here as somebody's data is none.
			if h.decode(p[i:], w.uuid) && h.pos%w.size == off+uint64(i) {
				found = append(found, h)
			}
		}
	}
	slices.SortFunc(found, func(a, b groupHeader) int {
		if a.pos < b.pos {
			return -1
		}
		return 1
	})
	return found, nil
}

// errTorn says that a group's records are not what its header says.
var errTorn = wire.Errorf("store.replay", "log: torn group", wire.EIO)

// body reads and checks a group's records.
func (w *wal) body(h *groupHeader) ([]byte, error) {
	n := h.end() - h.pos
	if n > w.size-h.pos%w.size {
		return nil, errTorn
	}
	buf := disk.Aligned(int(n))
	if _, err := w.f.ReadAt(buf, int64(h.pos%w.size)); err != nil {
		return nil, wire.Wrap("store.replay", "log", err)
	}
	body := buf[groupHead : groupHead+uint64(h.length)]
	if wire.CRC32C(body) != h.bodyCRC {
		return nil, errTorn
	}
	return body, nil
}
