package crush

// hashSeed and the two constants below are those of the rjenkins1 hash as
// CRUSH uses it.
const (
	hashSeed uint32 = 1315423911
	hashX    uint32 = 231232
	hashY    uint32 = 1232
)

// mix3 is a third of Bob Jenkins' 96-bit mix: three lines with their shifts.
// It is small enough for the compiler to expand in place.
func mix3(a, b, c uint32, s1, s2, s3 uint) (uint32, uint32, uint32) {
	a = (a - b - c) ^ c>>s1
	b = (b - c - a) ^ a<<s2
	c = (c - a - b) ^ b>>s3
	return a, b, c
}

// mix is Bob Jenkins' 96-bit mix (public domain, 1996).
func mix(a, b, c uint32) (uint32, uint32, uint32) {
	a, b, c = mix3(a, b, c, 13, 8, 13)
	a, b, c = mix3(a, b, c, 12, 16, 5)
	return mix3(a, b, c, 3, 10, 15)
}

// Hash1 hashes one number.
func Hash1(a uint32) uint32 {
	h := hashSeed ^ a
	b, x, y := a, hashX, hashY
	b, _, h = mix(b, x, h)
	_, _, h = mix(y, a, h)
	_ = b
	return h
}

// Hash2 hashes two numbers; the out test, the primary affinity and the
// placement seed of a PG are made with it.
func Hash2(a, b uint32) uint32 {
	h := hashSeed ^ a ^ b
	x, y := hashX, hashY
	a, b, h = mix(a, b, h)
	_, _, h = mix(x, a, h)
	_, _, h = mix(b, y, h)
	return h
}

// Hash3 hashes three numbers. Straw and straw2 buckets call it once for each
// item, so the mixes are spelled out for the compiler to keep in registers.
func Hash3(a, b, c uint32) uint32 {
	h := hashSeed ^ a ^ b ^ c
	x, y := hashX, hashY

	a, b, h = mix3(a, b, h, 13, 8, 13)
	a, b, h = mix3(a, b, h, 12, 16, 5)
	a, b, h = mix3(a, b, h, 3, 10, 15)

	c, x, h = mix3(c, x, h, 13, 8, 13)
	c, x, h = mix3(c, x, h, 12, 16, 5)
	c, x, h = mix3(c, x, h, 3, 10, 15)

	y, a, h = mix3(y, a, h, 13, 8, 13)
	y, a, h = mix3(y, a, h, 12, 16, 5)
	y, _, h = mix3(y, a, h, 3, 10, 15)

	b, x, h = mix3(b, x, h, 13, 8, 13)
	b, x, h = mix3(b, x, h, 12, 16, 5)
	_, _, h = mix3(b, x, h, 3, 10, 15)

	y, c, h = mix3(y, c, h, 13, 8, 13)
	y, c, h = mix3(y, c, h, 12, 16, 5)
	_, _, h = mix3(y, c, h, 3, 10, 15)
	return h
}

// Hash4 hashes four numbers; list and tree buckets use it.
func Hash4(a, b, c, d uint32) uint32 {
	h := hashSeed ^ a ^ b ^ c ^ d
	x, y := hashX, hashY
	a, b, h = mix(a, b, h)
	c, d, h = mix(c, d, h)
	_, x, h = mix(a, x, h)
	y, _, h = mix(y, b, h)
	_, _, h = mix(c, x, h)
	_, _, h = mix(y, d, h)
	return h
}

// StrHash is the hash of an object's name (rjenkins on strings): Bob Jenkins'
// 1996 lookup function with both initial values 0x9e3779b9 and 0. It is not
// the same function as Hash1 to Hash4.
func StrHash[T string | []byte](s T) uint32 {
	const golden = 0x9e3779b9
	var a, b, c uint32 = golden, golden, 0
	i := 0
	for ; len(s)-i >= 12; i += 12 {
		a += word(s, i)
		b += word(s, i+4)
		c += word(s, i+8)
		a, b, c = mix(a, b, c)
	}
	c += uint32(len(s))
	// The low byte of c holds the length, so the tail's bytes 8 to 10 go one
	// place up.
	for j := i; j < len(s); j++ {
		v := uint32(s[j])
		switch k := uint(j - i); {
		case k < 4:
			a += v << (8 * k)
		case k < 8:
			b += v << (8 * (k - 4))
		default:
			c += v << (8 * (k - 7))
		}
	}
	_, _, c = mix(a, b, c)
	return c
}

func word[T string | []byte](s T, i int) uint32 {
	return uint32(s[i]) | uint32(s[i+1])<<8 | uint32(s[i+2])<<16 | uint32(s[i+3])<<24
}

// StrHashLinux is the other string hash a pool can name (object_hash 1), that
// of Linux's directory cache in its oldest form. No pool of the last decade
// has it.
func StrHashLinux[T string | []byte](s T) uint32 {
	var h uint32
	for i := 0; i < len(s); i++ {
		c := uint32(s[i])
		h = (h + c<<4 + c>>4) * 11
	}
	return h
}

// blockSize is how many items of a bucket are hashed at a time. A multiple of
// 8.
const blockSize = 64

// hash3BlockGo is hash3Block for every machine. Two hashes at once let the
// processor work on one while the other waits for its own last result.
func hash3BlockGo(dst *[blockSize]uint32, ids []int32, x, r uint32) {
	i := 0
	for ; i+2 <= len(ids) && i+2 <= blockSize; i += 2 {
		dst[i], dst[i+1] = hash3Two(x, uint32(ids[i]), uint32(ids[i+1]), r)
	}
	if i < len(ids) {
		dst[i] = Hash3(x, uint32(ids[i]), r)
	}
}

// hash3Two is Hash3(a, b, c) and Hash3(a, d, c), line by line in turn.
func hash3Two(a, b, d, c uint32) (uint32, uint32) {
	h := hashSeed ^ a ^ b ^ c
	k := hashSeed ^ a ^ d ^ c
	x, y := hashX, hashY
	e, f, u, v := a, c, x, y

	a, b, h = mix3(a, b, h, 13, 8, 13)
	e, d, k = mix3(e, d, k, 13, 8, 13)
	a, b, h = mix3(a, b, h, 12, 16, 5)
	e, d, k = mix3(e, d, k, 12, 16, 5)
	a, b, h = mix3(a, b, h, 3, 10, 15)
	e, d, k = mix3(e, d, k, 3, 10, 15)

	c, x, h = mix3(c, x, h, 13, 8, 13)
	f, u, k = mix3(f, u, k, 13, 8, 13)
	c, x, h = mix3(c, x, h, 12, 16, 5)
	f, u, k = mix3(f, u, k, 12, 16, 5)
	c, x, h = mix3(c, x, h, 3, 10, 15)
	f, u, k = mix3(f, u, k, 3, 10, 15)

	y, a, h = mix3(y, a, h, 13, 8, 13)
	v, e, k = mix3(v, e, k, 13, 8, 13)
	y, a, h = mix3(y, a, h, 12, 16, 5)
	v, e, k = mix3(v, e, k, 12, 16, 5)
	y, _, h = mix3(y, a, h, 3, 10, 15)
	v, _, k = mix3(v, e, k, 3, 10, 15)

	b, x, h = mix3(b, x, h, 13, 8, 13)
	d, u, k = mix3(d, u, k, 13, 8, 13)
	b, x, h = mix3(b, x, h, 12, 16, 5)
	d, u, k = mix3(d, u, k, 12, 16, 5)
	_, _, h = mix3(b, x, h, 3, 10, 15)
	_, _, k = mix3(d, u, k, 3, 10, 15)

	y, c, h = mix3(y, c, h, 13, 8, 13)
	v, f, k = mix3(v, f, k, 13, 8, 13)
	y, c, h = mix3(y, c, h, 12, 16, 5)
	v, f, k = mix3(v, f, k, 12, 16, 5)
	_, _, h = mix3(y, c, h, 3, 10, 15)
	_, _, k = mix3(v, f, k, 3, 10, 15)
	return h, k
}
