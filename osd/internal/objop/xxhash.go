package objop

import (
	"encoding/binary"
	"math/bits"
)

const (
	xx32p1 = 2654435761
	xx32p2 = 2246822519
	xx32p3 = 3266489917
	xx32p4 = 668265263
	xx32p5 = 374761393

	xx64p1 = 11400714785074694791
	xx64p2 = 14029467366897019727
	xx64p3 = 1609587929392839161
	xx64p4 = 9650029242287828579
	xx64p5 = 2870177450012600261
)

func xx32Round(acc, in uint32) uint32 { return bits.RotateLeft32(acc+in*xx32p2, 13) * xx32p1 }

// xxHash32 is the XXH32 hash of p.
func xxHash32(seed uint32, p []byte) uint32 {
	n := len(p)
	h := seed + xx32p5
	if n >= 16 {
		a, b, c, d := seed+xx32p1, seed, seed, seed
		a += xx32p2
		b += xx32p2
		d -= xx32p1
		for ; len(p) >= 16; p = p[16:] {
			a = xx32Round(a, binary.LittleEndian.Uint32(p))
			b = xx32Round(b, binary.LittleEndian.Uint32(p[4:]))
			c = xx32Round(c, binary.LittleEndian.Uint32(p[8:]))
			d = xx32Round(d, binary.LittleEndian.Uint32(p[12:]))
		}
		h = bits.RotateLeft32(a, 1) + bits.RotateLeft32(b, 7) + bits.RotateLeft32(c, 12) + bits.RotateLeft32(d, 18)
	}
	h += uint32(n)
	for ; len(p) >= 4; p = p[4:] {
		h = bits.RotateLeft32(h+binary.LittleEndian.Uint32(p)*xx32p3, 17) * xx32p4
	}
	for _, c := range p {
		h = bits.RotateLeft32(h+uint32(c)*xx32p5, 11) * xx32p1
	}
	h = (h ^ h>>15) * xx32p2
	h = (h ^ h>>13) * xx32p3
	return h ^ h>>16
}

func xx64Round(acc, in uint64) uint64 { return bits.RotateLeft64(acc+in*xx64p2, 31) * xx64p1 }

func xx64Merge(h, acc uint64) uint64 { return (h^xx64Round(0, acc))*xx64p1 + xx64p4 }

// xxHash64 is the XXH64 hash of p.
func xxHash64(seed uint64, p []byte) uint64 {
	n := len(p)
	h := seed + xx64p5
	if n >= 32 {
		a, b, c, d := seed+xx64p1, seed, seed, seed
		a += xx64p2
		b += xx64p2
		d -= xx64p1
		for ; len(p) >= 32; p = p[32:] {
			a = xx64Round(a, binary.LittleEndian.Uint64(p))
			b = xx64Round(b, binary.LittleEndian.Uint64(p[8:]))
			c = xx64Round(c, binary.LittleEndian.Uint64(p[16:]))
			d = xx64Round(d, binary.LittleEndian.Uint64(p[24:]))
		}
		h = bits.RotateLeft64(a, 1) + bits.RotateLeft64(b, 7) + bits.RotateLeft64(c, 12) + bits.RotateLeft64(d, 18)
		h = xx64Merge(xx64Merge(xx64Merge(xx64Merge(h, a), b), c), d)
	}
	h += uint64(n)
	for ; len(p) >= 8; p = p[8:] {
		h = bits.RotateLeft64(h^xx64Round(0, binary.LittleEndian.Uint64(p)), 27)*xx64p1 + xx64p4
	}
	if len(p) >= 4 {
		h = bits.RotateLeft64(h^uint64(binary.LittleEndian.Uint32(p))*xx64p1, 23)*xx64p2 + xx64p3
		p = p[4:]
	}
	for _, c := range p {
		h = bits.RotateLeft64(h^uint64(c)*xx64p5, 11) * xx64p1
	}
	h = (h ^ h>>33) * xx64p2
	h = (h ^ h>>29) * xx64p3
	return h ^ h>>32
}
