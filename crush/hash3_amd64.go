package crush

import "golang.org/x/sys/cpu"

// hash3AVX2 sets dst[i] = Hash3(x, ids[i], r) for i below n, which is a
// multiple of 8 and not 0. Eight hashes take little longer than one: a hash
// is a chain of 90 dependent operations.
//
//go:noescape
func hash3AVX2(dst *uint32, ids *int32, n int, x, r uint32)

// hash3SSE2 is hash3AVX2 for processors without AVX2, which all have SSE2.
//
//go:noescape
func hash3SSE2(dst *uint32, ids *int32, n int, x, r uint32)

// hash3Block sets dst[i] = Hash3(x, ids[i], r) for all ids; there are at most
// blockSize of them.
func hash3Block(dst *[blockSize]uint32, ids []int32, x, r uint32) {
	hash3Lanes(dst, ids, x, r, cpu.X86.HasAVX2)
}

func hash3Lanes(dst *[blockSize]uint32, ids []int32, x, r uint32, avx2 bool) {
	whole := len(ids) &^ 7
	if whole > 0 {
		if avx2 {
			hash3AVX2(&dst[0], &ids[0], whole, x, r)
		} else {
			hash3SSE2(&dst[0], &ids[0], whole, x, r)
		}
	}
	rest := ids[whole:]
	if len(rest) <= 2 {
		for i, id := range rest {
			dst[whole+i] = Hash3(x, uint32(id), r)
		}
		return
	}
	// dst has room for whole lanes: blockSize is a multiple of eight.
	var in [8]int32
	copy(in[:], rest)
	if avx2 {
		hash3AVX2(&dst[whole], &in[0], 8, x, r)
	} else {
		hash3SSE2(&dst[whole], &in[0], 8, x, r)
	}
}
