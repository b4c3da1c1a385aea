package crush

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// ErrMap is the cause of every error about a map's content: bytes that are
// not a map, a hierarchy with a cycle or a dangling id, weights that do not
// fit their bucket.
var ErrMap = errors.New("invalid CRUSH map")

func badMap(format string, args ...any) error {
	return fmt.Errorf("crush: %w: %s", ErrMap, fmt.Sprintf(format, args...))
}

const mapMagic = 0x00010000

// DecodeMap reads a map in Ceph's binary form, of any release. Groups that an
// old map lacks get the values such a map means; what a newer release may
// append is not read. The input may be hostile: memory stays within a small
// multiple of its length, and the map is checked as Validate does.
func DecodeMap(b []byte) (*Map, error) {
	d := &decoder{b: b}
	m := New()
	m.Tunables = TunablesLegacy()
	if magic := d.u32(); d.err == nil && magic != mapMagic {
		return nil, badMap("magic number %#x, not %#x", magic, mapMagic)
	}
	maxBuckets := d.i32()
	maxRules := d.u32()
	m.MaxDevices = d.i32()
	if d.err == nil && m.MaxDevices < 0 {
		return nil, badMap("max_devices %d", m.MaxDevices)
	}
	m.Buckets = make([]*Bucket, d.fits(uint32(maxBuckets), 4))
	for i := range m.Buckets {
		m.Buckets[i] = d.bucket(i)
	}
	m.Rules = make([]*Rule, d.fits(maxRules, 4))
	for i := range m.Rules {
		m.Rules[i] = d.rule()
	}
	m.Types = d.names()
	m.Names = d.names()
	m.RuleNames = d.names()
	d.tail(m)
	if d.err != nil {
		return nil, d.err
	}
	if err := m.Validate(); err != nil {
		return nil, err
	}
	return m, nil
}

// tail reads what releases have appended over time; the data may end before
// any of its groups.
func (d *decoder) tail(m *Map) {
	t := &m.Tunables
	if d.more() {
		t.ChooseLocalTries, t.ChooseLocalFallbackTries, t.ChooseTotalTries = d.u32(), d.u32(), d.u32()
	}
	if d.more() {
		t.ChooseLeafDescendOnce = d.u32()
	}
	if d.more() {
		t.ChooseLeafVaryR = d.u8()
	}
	if d.more() {
		t.StrawCalcVersion = d.u8()
	}
	if d.more() {
		t.AllowedBucketAlgs = d.u32()
	}
	if d.more() {
		t.ChooseLeafStable = d.u8()
	}
	if d.more() {
		m.ItemClass = d.intMap()
		m.ClassNames = d.names()
		n := d.count(8)
		for range n {
			k := d.i32()
			m.ClassBucket[k] = d.intMap()
		}
	}
	if d.more() {
		n := d.count(12)
		for range n {
			k := int64(d.u64())
			m.ChooseArgs[k] = d.chooseArgs(m)
		}
	}
	if d.more() {
		m.MSR = &MSRTunables{Descents: d.u32(), CollisionTries: d.u32()}
	}
}

func (d *decoder) bucket(slot int) *Bucket {
	alg := d.u32()
	if alg == 0 {
		return nil
	}
	b := &Bucket{ID: d.i32(), Type: d.u16(), Alg: Alg(d.u8()), Hash: d.u8(), Weight: d.u32()}
	n := d.count(4)
	if d.err != nil {
		return nil
	}
	if int64(b.ID) != -1-int64(slot) {
		d.fail("bucket %d in slot %d", b.ID, slot)
		return nil
	}
	b.Items = make([]int32, n)
	for i := range b.Items {
		b.Items[i] = d.i32()
	}
	switch b.Alg {
	case Uniform:
		b.ItemWeight = d.u32()
	case List:
		b.Weights, b.SumWeights = d.pairs(n)
	case Tree:
		b.NodeWeights = d.u32s(int(d.u8()))
	case Straw:
		b.Weights, b.Straws = d.pairs(n)
	case Straw2:
		b.Weights = d.u32s(n)
	default:
		// The length of an unknown kind's body is not known either.
		d.fail("bucket %d of unknown kind %d", b.ID, b.Alg)
	}
	return b
}

func (d *decoder) rule() *Rule {
	if d.u32() == 0 {
		return nil
	}
	n := d.u32()
	r := &Rule{ID: d.u8(), Type: d.u8(), MinSize: d.u8(), MaxSize: d.u8()}
	r.Steps = make([]Step, d.fits(n, 12))
	for i := range r.Steps {
		r.Steps[i] = Step{Op: StepOp(d.u32()), Arg1: d.i32(), Arg2: d.i32()}
	}
	return r
}

// chooseArgs reads one set. What does not belong to a straw2 bucket of the
// map is dropped, as Ceph does.
func (d *decoder) chooseArgs(m *Map) ChooseArgs {
	args := make(ChooseArgs, len(m.Buckets))
	for range d.count(12) {
		slot := d.u32()
		arg := &ChooseArg{}
		for range d.count(4) {
			arg.WeightSet = append(arg.WeightSet, d.u32s(d.count(4)))
		}
		if n := d.count(4); n > 0 {
			arg.IDs = make([]int32, n)
			for i := range arg.IDs {
				arg.IDs[i] = d.i32()
			}
		}
		if d.err != nil {
			return nil
		}
		if uint64(slot) >= uint64(len(args)) || m.Buckets[slot] == nil || m.Buckets[slot].Alg != Straw2 {
			continue
		}
		if len(arg.WeightSet) > 0 || len(arg.IDs) > 0 {
			args[slot] = arg
		}
	}
	return args
}

// decoder reads little-endian values, bounds counts by the bytes left and
// keeps its first error.
type decoder struct {
	b   []byte
	off int
	err error
}

func (d *decoder) fail(format string, args ...any) {
	if d.err == nil {
		d.err = badMap(format+fmt.Sprintf(" (at byte %d)", d.off), args...)
	}
}

func (d *decoder) more() bool { return d.err == nil && d.off < len(d.b) }

func (d *decoder) take(n int) []byte {
	if d.err == nil && n > len(d.b)-d.off {
		d.fail("truncated")
	}
	if d.err != nil {
		return nil
	}
	p := d.b[d.off : d.off+n]
	d.off += n
	return p
}

// fits gives n if that many elements of size bytes can still follow.
func (d *decoder) fits(n uint32, size int) int {
	if d.err == nil && uint64(n)*uint64(size) > uint64(len(d.b)-d.off) {
		d.fail("count %d exceeds the data", n)
	}
	if d.err != nil {
		return 0
	}
	return int(n)
}

func (d *decoder) count(size int) int { return d.fits(d.u32(), size) }

func (d *decoder) u8() uint8 {
	if p := d.take(1); p != nil {
		return p[0]
	}
	return 0
}

func (d *decoder) u16() uint16 {
	if p := d.take(2); p != nil {
		return binary.LittleEndian.Uint16(p)
	}
	return 0
}

func (d *decoder) u32() uint32 {
	if p := d.take(4); p != nil {
		return binary.LittleEndian.Uint32(p)
	}
	return 0
}

func (d *decoder) u64() uint64 {
	if p := d.take(8); p != nil {
		return binary.LittleEndian.Uint64(p)
	}
	return 0
}

func (d *decoder) i32() int32 { return int32(d.u32()) }

func (d *decoder) u32s(n int) []uint32 {
	p := d.take(4 * n)
	if p == nil {
		return nil
	}
	v := make([]uint32, n)
	for i := range v {
		v[i] = binary.LittleEndian.Uint32(p[4*i:])
	}
	return v
}

func (d *decoder) pairs(n int) (a, b []uint32) {
	v := d.u32s(2 * n)
	if v == nil {
		return nil, nil
	}
	a, b = make([]uint32, n), make([]uint32, n)
	for i := range a {
		a[i], b[i] = v[2*i], v[2*i+1]
	}
	return a, b
}

// names reads a map of strings. Some old releases wrote 64-bit keys: then the
// upper half reads as a length of 0, and the length follows.
func (d *decoder) names() map[int32]string {
	n := d.count(8)
	m := make(map[int32]string, n)
	for range n {
		k := d.i32()
		size := d.u32()
		if size == 0 {
			size = d.u32()
		}
		m[k] = string(d.take(d.fits(size, 1)))
		if d.err != nil {
			break
		}
	}
	return m
}

func (d *decoder) intMap() map[int32]int32 {
	n := d.count(8)
	m := make(map[int32]int32, n)
	for range n {
		k := d.i32()
		m[k] = d.i32()
	}
	return m
}
