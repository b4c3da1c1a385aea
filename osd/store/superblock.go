package store

import (
	"encoding/binary"
	"fmt"

	"github.com/spirula/spirula/osd/disk"
	"github.com/spirula/spirula/rados/wire"
)

// superUnits is the number of units at the front of block that the superblock
// takes: two copies, written in turn.
const superUnits = 2

const (
	superMagic   = "spirula store\n\x00\x01"
	superVersion = 1
)

// superblock says whose store this is and how it is laid out. The copy with
// the higher generation and a good checksum counts.
//
//	16 bytes magic, u32 version, u32 oldest version whose readers cope,
//	16 bytes fsid, 16 bytes uuid of the store, i32 osd, u32 unit size,
//	u64 size of the log, u64 bytes of it ever written, u8 clean, u64 generation, u32 CRC-32C of all before
type superblock struct {
	fsid    wire.FSID
	uuid    [16]byte
	osd     int32
	walSize uint64
	// formatted is how much of the log was written at least once.
	formatted uint64
	clean     bool // closed, not crashed; only a hint
	gen       uint64
}

func (s *superblock) encode() []byte {
	b := make([]byte, 0, unitSize)
	b = append(b, superMagic...)
	b = binary.LittleEndian.AppendUint32(b, superVersion)
	b = binary.LittleEndian.AppendUint32(b, superVersion)
	b = append(b, s.fsid[:]...)
	b = append(b, s.uuid[:]...)
	b = binary.LittleEndian.AppendUint32(b, uint32(s.osd))
	b = binary.LittleEndian.AppendUint32(b, unitSize)
	b = binary.LittleEndian.AppendUint64(b, s.walSize)
	b = binary.LittleEndian.AppendUint64(b, s.formatted)
	clean := byte(0)
	if s.clean {
		clean = 1
	}
	b = append(b, clean)
	b = binary.LittleEndian.AppendUint64(b, s.gen)
	b = binary.LittleEndian.AppendUint32(b, wire.CRC32C(b))
	return b[:unitSize]
}

const superLen = 16 + 4 + 4 + 16 + 16 + 4 + 4 + 8 + 8 + 1 + 8 + 4

// decodeSuperblock gives EINVAL for something else than a superblock, EIO for
// a damaged one and EOPNOTSUPP for one of a later format.
func decodeSuperblock(b []byte) (s superblock, err error) {
	if len(b) < superLen || string(b[:16]) != superMagic {
		return s, wire.Errorf("store.open", "superblock", wire.EINVAL)
	}
	if wire.CRC32C(b[:superLen-4]) != binary.LittleEndian.Uint32(b[superLen-4:]) {
		return s, wire.Errorf("store.open", "superblock", wire.EIO)
	}
	r := reader{b: b[16:superLen]}
	version, oldest := r.u32(), r.u32()
	if oldest > superVersion {
		return s, wire.Errorf("store.open", fmt.Sprintf("superblock: format %d, this program knows %d", version, superVersion), wire.EOPNOTSUPP)
	}
	s.fsid = wire.FSID(r.take(16))
	s.uuid = [16]byte(r.take(16))
	s.osd = int32(r.u32())
	unit := r.u32()
	s.walSize = r.u64()
	s.formatted = r.u64()
	s.clean = r.u8() == 1
	s.gen = r.u64()
	if unit != unitSize || s.walSize < minWal || s.walSize > maxWal || s.walSize%unitSize != 0 {
		return s, wire.Errorf("store.open", "superblock: layout", wire.EINVAL)
	}
	return s, nil
}

// readSuperblock gives the newer good copy.
func readSuperblock(f disk.File) (superblock, error) {
	var best superblock
	var bad error
	good := false
	buf := disk.Aligned(unitSize)
	for i := range int64(superUnits) {
		if _, err := f.ReadAt(buf, i*unitSize); err != nil {
			bad = wire.Wrap("store.open", "superblock", err)
			continue
		}
		s, err := decodeSuperblock(buf)
		if err != nil {
			bad = err
		} else if !good || s.gen > best.gen {
			best, good = s, true
		}
	}
	if !good {
		return best, bad
	}
	return best, nil
}

// write puts the superblock over the older copy and syncs it.
func (s *superblock) write(f disk.File) error {
	s.gen++
	buf := disk.Aligned(unitSize)
	copy(buf, s.encode())
	if _, err := f.WriteAt(buf, int64(s.gen%superUnits)*unitSize); err != nil {
		return wire.Wrap("store.superblock", "", err)
	}
	return wire.Wrap("store.superblock", "", f.Sync())
}
