package wire

import (
	"bytes"
	"math/rand/v2"
	"testing"
)

// TestFrameCRCData compares checksums that are put together from blocks with
// those of the bytes.
func TestFrameCRCData(t *testing.T) {
	seed := rand.Uint64()
	rng := rand.New(rand.NewPCG(seed, 0))
	for range 200 {
		var d Data
		for range 1 + rng.IntN(4) {
			b := NewBuf(1 + rng.IntN(64<<10))
			for i := range b.Bytes() {
				b.Bytes()[i] = byte(rng.Uint32())
			}
			for i := range rng.IntN(b.Cap()/BlockSize + 1) {
				b.AddBlockCRC(CRC32C(b.Bytes()[i*BlockSize : (i+1)*BlockSize]))
			}
			off := rng.IntN(b.Cap())
			if rng.IntN(3) > 0 {
				off &^= BlockSize - 1
			}
			d.Append(b, off, 1+rng.IntN(b.Cap()-off))
		}
		start := rng.Uint32()
		if got, want := FrameCRCData(start, d), FrameCRC(start, d.Bytes()); got != want {
			t.Fatalf("seed %#x: checksum %08x, want %08x", seed, got, want)
		}
		d.Release()
	}
}

// TestBlockCRCForgotten wants a Buf's checksums to end with its use.
func TestBlockCRCForgotten(t *testing.T) {
	for range 10 {
		b := NewBuf(BlockSize)
		if _, ok := b.BlockCRC(0); ok {
			t.Fatal("a new Buf has a checksum")
		}
		copy(b.Bytes(), bytes.Repeat([]byte{1}, BlockSize))
		b.AddBlockCRC(1)
		if crc, ok := b.BlockCRC(0); !ok || crc != 1 {
			t.Fatal("a checksum is lost")
		}
		b.Release()
	}
}
