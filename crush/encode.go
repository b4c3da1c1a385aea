package crush

import (
	"cmp"
	"encoding/binary"
	"maps"
	"slices"
)

// Encode gives the map in Ceph's binary form as 16.2 writes it (and the MSR
// group when the map has one). For a map of one of those releases decoding
// and encoding give the same bytes.
func (m *Map) Encode() []byte { return m.AppendTo(nil) }

// AppendTo appends the encoded map to b.
func (m *Map) AppendTo(b []byte) []byte {
	e := &encoder{b}
	e.u32(mapMagic)
	e.u32(uint32(len(m.Buckets)))
	e.u32(uint32(len(m.Rules)))
	e.i32(m.MaxDevices)
	for _, bucket := range m.Buckets {
		e.bucket(bucket)
	}
	for _, r := range m.Rules {
		e.rule(r)
	}
	e.names(m.Types)
	e.names(m.Names)
	e.names(m.RuleNames)

	t := m.Tunables
	e.u32(t.ChooseLocalTries)
	e.u32(t.ChooseLocalFallbackTries)
	e.u32(t.ChooseTotalTries)
	e.u32(t.ChooseLeafDescendOnce)
	e.b = append(e.b, t.ChooseLeafVaryR, t.StrawCalcVersion)
	e.u32(t.AllowedBucketAlgs)
	e.b = append(e.b, t.ChooseLeafStable)

	e.intMap(m.ItemClass)
	e.names(m.ClassNames)
	e.u32(uint32(len(m.ClassBucket)))
	for _, k := range sortedKeys(m.ClassBucket) {
		e.i32(k)
		e.intMap(m.ClassBucket[k])
	}
	e.u32(uint32(len(m.ChooseArgs)))
	for _, k := range sortedKeys(m.ChooseArgs) {
		e.b = binary.LittleEndian.AppendUint64(e.b, uint64(k))
		e.chooseArgs(m.ChooseArgs[k])
	}
	if m.MSR != nil {
		e.u32(m.MSR.Descents)
		e.u32(m.MSR.CollisionTries)
	}
	return e.b
}

type encoder struct{ b []byte }

func (e *encoder) u32(v uint32) { e.b = binary.LittleEndian.AppendUint32(e.b, v) }
func (e *encoder) i32(v int32)  { e.u32(uint32(v)) }

func (e *encoder) bucket(b *Bucket) {
	if b == nil {
		e.u32(0)
		return
	}
	e.u32(uint32(b.Alg))
	e.i32(b.ID)
	e.b = binary.LittleEndian.AppendUint16(e.b, b.Type)
	e.b = append(e.b, uint8(b.Alg), b.Hash)
	e.u32(b.Weight)
	e.u32(uint32(len(b.Items)))
	for _, i := range b.Items {
		e.i32(i)
	}
	switch b.Alg {
	case Uniform:
		e.u32(b.ItemWeight)
	case List:
		e.pairs(b.Weights, b.SumWeights)
	case Tree:
		e.b = append(e.b, uint8(len(b.NodeWeights)))
		e.u32s(b.NodeWeights)
	case Straw:
		e.pairs(b.Weights, b.Straws)
	case Straw2:
		e.u32s(b.Weights)
	}
}

func (e *encoder) rule(r *Rule) {
	if r == nil {
		e.u32(0)
		return
	}
	e.u32(1)
	e.u32(uint32(len(r.Steps)))
	e.b = append(e.b, r.ID, r.Type, r.MinSize, r.MaxSize)
	for _, s := range r.Steps {
		e.u32(uint32(s.Op))
		e.i32(s.Arg1)
		e.i32(s.Arg2)
	}
}

func (e *encoder) chooseArgs(args ChooseArgs) {
	n := uint32(0)
	for _, a := range args {
		if a != nil {
			n++
		}
	}
	e.u32(n)
	for slot, a := range args {
		if a == nil {
			continue
		}
		e.u32(uint32(slot))
		e.u32(uint32(len(a.WeightSet)))
		for _, ws := range a.WeightSet {
			e.u32(uint32(len(ws)))
			e.u32s(ws)
		}
		e.u32(uint32(len(a.IDs)))
		for _, id := range a.IDs {
			e.i32(id)
		}
	}
}

func (e *encoder) u32s(v []uint32) {
	for _, x := range v {
		e.u32(x)
	}
}

func (e *encoder) pairs(a, b []uint32) {
	for i := range a {
		e.u32(a[i])
		e.u32(b[i])
	}
}

func (e *encoder) names(m map[int32]string) {
	e.u32(uint32(len(m)))
	for _, k := range sortedKeys(m) {
		e.i32(k)
		e.u32(uint32(len(m[k])))
		e.b = append(e.b, m[k]...)
	}
}

func (e *encoder) intMap(m map[int32]int32) {
	e.u32(uint32(len(m)))
	for _, k := range sortedKeys(m) {
		e.i32(k)
		e.i32(m[k])
	}
}

func sortedKeys[K cmp.Ordered, V any](m map[K]V) []K {
	return slices.Sorted(maps.Keys(m))
}
