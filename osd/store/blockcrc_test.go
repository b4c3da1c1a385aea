package store_test

import (
	"testing"

	"github.com/spirula/spirula/osd/disk"
	"github.com/spirula/spirula/osd/store"
	"github.com/spirula/spirula/rados/wire"
)

// TestBlockChecksums writes data whose blocks' checksums are known, in part or
// all, at several places, and wants them to go along with what is read, where
// it is unchanged.
func TestBlockChecksums(t *testing.T) {
	s := newStore(t, disk.NewMem(), small())
	defer s.Close()
	for _, known := range []int{0, 1, 50, 1000} {
		for _, at := range []uint64{0, 4096, 4 << 10 * 3, 100} {
			data := content(600_000, byte(known)+byte(at))
			summed := 0
			for i := range data.NumSegs() {
				buf := data.Seg(i).Buf
				for p := data.Seg(i).Bytes(); len(p) >= wire.BlockSize && summed < known; p = p[wire.BlockSize:] {
					buf.AddBlockCRC(wire.CRC32C(p[:wire.BlockSize]))
					summed++
				}
			}
			o := benchObject(7)
			write(t, s, func(tx *store.Txn) {
				tx.Remove(o)
				tx.Write(o, at, data)
			})
			s.Checkpoint()
			got, err := s.Read(o, at, 600_000)
			if err != nil {
				t.Fatal(err)
			}
			if got.CRC32C() != data.CRC32C() {
				t.Errorf("known %d, at %d: other bytes came back", known, at)
			}
			if n := checkBlocks(t, got); at == 0 && n < 146 {
				t.Errorf("known %d, at %d: %d checksums came with what was read", known, at, n)
			}
			got.Release()
			data.Release()
		}
	}
}

// checkBlocks compares the checksums that came with d, and counts them.
func checkBlocks(t *testing.T, d wire.Data) (n int) {
	for i := range d.NumSegs() {
		buf := d.Seg(i).Buf
		for block := range buf.Cap() / wire.BlockSize {
			crc, ok := buf.BlockCRC(block)
			if !ok {
				break
			}
			if want := wire.CRC32C(buf.Bytes()[block*wire.BlockSize : (block+1)*wire.BlockSize]); crc != want {
				t.Fatalf("segment %d, block %d: checksum %08x, want %08x", i, block, crc, want)
			}
			n++
		}
	}
	return n
}
