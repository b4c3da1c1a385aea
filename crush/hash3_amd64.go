package crush

import "golang.org/x/sys/cpu"

// hash3AVX2 sets dst[i] = Hash3(x, ids[i], r) for i below n, which is a
// multiple of 8 and not 0. Eight hashes take little longer than one: a hash
// is a chain of 90 dependent operations.
//
//go:noescape
func hash3AVX2(dst *uint32, ids *int32, n int, x, r uint32)

// hash3Block sets dst[i] = Hash3(x, ids[i], r) for all ids; there are at most
// blockSize of them.
func hash3Block(dst *[blockSize]uint32, ids []int32, x, r uint32) {
	if !cpu.X86.HasAVX2 {
		hash3BlockGo(dst, ids, x, r)
		return
	}
	whole := len(ids) &^ 7
	if whole > 0 {
		hash3AVX2(&dst[0], &ids[0], whole, x, r)
	}
	if rest := ids[whole:]; len(rest) > 2 {
		var in [8]int32
		copy(in[:], rest)
		hash3AVX2(&dst[whole], &in[0], 8, x, r)
	} else {
		for i, id := range rest {
			dst[whole+i] = Hash3(x, uint32(id), r)
		}
	}
}
