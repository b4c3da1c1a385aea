package crush

import (
	"math/big"
	"math/bits"
	"sync"
)

// lnTable holds the fixed-point logarithm's three tables. Their values are
// part of the placement standard, with the errors of the program that once
// made them: see newLnTable.
type lnTable struct {
	// recip[k] = ceil(2^55 / (128+k)); the logarithm of the leading bits.
	recip, high [129]uint64
	low         [256]uint64
}

// lnOne is the value a logarithm is subtracted from before the division by
// the weight: 2^48, the logarithm of 2^16.
const lnOne = 1 << 48

// lnTables gives the tables, computed at the first call: 513 values from
// their definition, a few milliseconds once in a process.
var lnTables = sync.OnceValue(newLnTable)

// lowOffset was added to most entries of the low table by the program that
// made the original; lowExact lists the entries it spared, lowIrregular those
// that follow no rule. Placement everywhere depends on all three.
const lowOffset = 0x147700000

var lowExact = []int{0, 1, 203, 216, 222, 233, 237, 238, 239, 243, 244, 245, 246,
	248, 249, 250, 251, 252, 253, 254, 255}

var lowIrregular = map[int]uint64{
	56: 0xa2b07f3458, 127: 0x16df6ca19bd, 134: 0x182b07f3458, 181: 0x209c06e6212,
	184: 0x212b07f3458, 188: 0x21d6a73a78f, 193: 0x22c23679b4e, 198: 0x23a2c3b0ea4,
	199: 0x23d13ee805b, 200: 0x24035e9221f, 207: 0x25492644d65, 210: 0x25d13ee805b,
	212: 0x26296453882, 225: 0x287bdbf5255, 227: 0x28d13ee805b, 228: 0x29035e9221f,
	229: 0x29296453882, 231: 0x29902a37aab, 235: 0x2a4c7605d61, 236: 0x2a7bdbf5255,
	240: 0x2b296453882, 241: 0x2b5d022d80f, 247: 0x2c61a5e8f4c,
}

func newLnTable() *lnTable {
	t := new(lnTable)
	for k := range t.recip {
		d := uint64(128 + k)
		t.recip[k] = (1<<55 + d - 1) / d
	}
	for k := range t.high {
		t.high[k] = log2Fixed(uint64(k), 7)
	}
	t.high[128] = 0xffff00000000 // the definition would give 2^48
	for k := range t.low {
		t.low[k] = log2Fixed(uint64(k), 15) + lowOffset
	}
	for _, k := range lowExact {
		t.low[k] -= lowOffset
	}
	for k, v := range lowIrregular {
		t.low[k] = v
	}
	return t
}

// log2Fixed is floor(2^48 * log2(1 + k/2^shift)) for 0 <= k <= 2^shift,
// exactly: the number is squared 48 times, each time its integer part gives
// one bit. float64 has too few bits for it.
func log2Fixed(k uint64, shift uint) uint64 {
	if k == 1<<shift {
		return lnOne
	}
	const prec = 400 // bits; 48 squarings lose far fewer
	two := big.NewFloat(2)
	x := new(big.Float).SetPrec(prec).SetUint64(1<<shift + k)
	x.SetMantExp(x, -int(shift))
	var result uint64
	for range 48 {
		x.Mul(x, x)
		result <<= 1
		if x.Cmp(two) >= 0 {
			result |= 1
			x.SetMantExp(x, -1)
		}
	}
	return result
}

// lnSlack is how far the logarithm is from monotone: u+lnSlack < v means
// lnDistance(u) >= lnDistance(v). A test tries all.
const lnSlack = 1

// lnDistance is 2^48 - ln(u) for u in 0..0xffff, where ln is the standard's
// approximation of 2^44 * log2(u+1). It is at least 0x10000000.
func (t *lnTable) lnDistance(u uint32) uint64 {
	x := u + 1
	e := uint64(15)
	// Shift x up until bit 15 or 16 is set.
	if x&0x18000 == 0 {
		n := uint(16 - bits.Len32(x))
		x <<= n
		e -= uint64(n)
	}
	k := x>>8 - 128
	low := uint64(x) * t.recip[k] >> 48
	return lnOne - (e<<44 + (t.high[k]+t.low[low&0xff])>>4)
}
