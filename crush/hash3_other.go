//go:build !amd64

package crush

// hash3Block sets dst[i] = Hash3(x, ids[i], r) for all ids; there are at most
// blockSize of them.
func hash3Block(dst *[blockSize]uint32, ids []int32, x, r uint32) {
	hash3BlockGo(dst, ids, x, r)
}
