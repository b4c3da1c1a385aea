package store

import "github.com/spirula/spirula/osd/disk"

// Large data are written past the page cache. A page that is not in it yet costs the
// kernel 0.5 to 2.5 us, and up to 10 us in a virtual machine that never
// touched it before: 1 to 3 ms of CPU for a MiB, against 0.1 ms without.
//
// The same file is open twice, buffered and direct. The kernel keeps both
// views equal: a direct transfer first writes out what the page cache has of
// its range, and a direct write then drops it. Nobody writes a unit's pages by
// one way while it is written by the other: units are written directly only
// before they are published, and by their one writer.

// directMin is the least length of a direct transfer, in bytes: shorter ones
// cost more by their latency than they save.
const directMin = 128 << 10

// directly says whether a transfer of b is to go past the page cache.
func (s *Store) directly(b []byte, off int64) bool {
	return len(b) >= directMin && s.blockDirect.Direct() && disk.IsAligned(b, off)
}

// readBlock reads from the block file, through the page cache, whose readahead
// is worth more than what it costs. fresh reads what the disk itself has.
func (s *Store) readBlock(b []byte, off int64, fresh bool) error {
	f := s.block
	if fresh && s.directly(b, off) {
		f = s.blockDirect
	}
	_, err := f.ReadAt(b, off)
	return err
}
