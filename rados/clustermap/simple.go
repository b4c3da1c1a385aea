package clustermap

import (
	"maps"
	"slices"
	"strconv"

	"github.com/spirula/spirula/crush"
	"github.com/spirula/spirula/rados/wire"
)

// SimpleOptions says what Simple makes besides OSDs.
type SimpleOptions struct {
	Pool bool // a replicated pool rbd
	// PGBits and PGPBits: the pool has OSDs << PGBits PGs, OSDs << PGPBits of
	// them placed apart, at most all; 0 stands for 6.
	PGBits, PGPBits int
}

// Simple makes the map of osdmaptool --createsimple: OSDs that do not exist
// yet, all on one host localhost in one rack localrack, epoch 1, with none of
// the flags and limits that New sets.
func Simple(osds int32, now wire.Time, o SimpleOptions) (*OSDMap, error) {
	c := crush.New()
	for i, name := range crush.DefaultTypes {
		c.Types[int32(i)] = name
	}
	c.MaxDevices = osds
	items, weights := make([]int32, osds), make([]uint32, osds)
	for i := range items {
		items[i], weights[i] = int32(i), WeightIn
		c.Names[int32(i)] = "osd." + strconv.Itoa(i)
	}
	c.Buckets = make([]*crush.Bucket, 8)
	weight := uint32(osds) * WeightIn
	for _, b := range []struct {
		id   int32
		kind uint16
		name string
	}{{-2, 1, "localhost"}, {-3, 3, "localrack"}, {-1, 11, "default"}} {
		c.Buckets[-1-b.id] = &crush.Bucket{ID: b.id, Type: b.kind, Alg: crush.Straw2, Weight: weight, Items: items, Weights: weights}
		c.Names[b.id] = b.name
		items, weights = []int32{b.id}, []uint32{weight}
	}
	c.AddSimpleRule("replicated_rule", -1, 1, crush.RuleReplicated, true)
	if err := c.Validate(); err != nil {
		return nil, wire.Wrap("osdmap", "simple map", err)
	}
	m := New(wire.FSID{}, now, c, osds)
	return m.Edited(func(m *OSDMap) {
		m.Flags, m.NearFullRatio, m.FullRatio, m.BackfillFullRatio = 0, 0, 0, 0
		m.RequireMinCompat, m.RequireRelease, m.LastUpChange, m.LastInChange = 0, 0, 0, 0
		m.ECProfiles = map[string]map[string]string{"default": {"k": "2", "m": "2", "plugin": "jerasure",
			"technique": "reed_sol_van"}}
		if !o.Pool {
			return
		}
		p := NewPool(3, 0, 0, 0)
		p.PGNum, p.PGPNum = pgCount(osds, o.PGBits), min(pgCount(osds, o.PGBits), pgCount(osds, o.PGPBits))
		p.PGNumTarget, p.PGPNumTarget, p.PGNumPending = p.PGNum, p.PGPNum, p.PGNum
		p.AutoscaleMode = uint8(slices.Index(autoscaleNames, "on"))
		p.Applications = map[string]map[string]string{"rbd": {}}
		p.carried.dirty, p.carried.full, p.carried.dirtyHigh = 0, 0, 0
		m.PoolMax = 1
		m.Pools, m.PoolNames = map[int64]*Pool{1: p}, map[int64]string{1: "rbd"}
	}), nil
}

func pgCount(osds int32, bits int) uint32 {
	if bits <= 0 {
		bits = 6
	}
	return uint32(min(int64(osds)<<min(bits, 20), MaxPGs))
}

// Edited gives a copy of the map as change leaves it: for tools that try
// something out, not for a cluster's maps, which Apply makes. change may set
// fields and OSDs; maps it must replace, except pools and upmaps, which are
// copies.
func (m *OSDMap) Edited(change func(n *OSDMap)) *OSDMap {
	n := *m
	n.OSDs = slices.Clone(m.OSDs)
	n.Pools, n.PoolNames = maps.Clone(m.Pools), maps.Clone(m.PoolNames)
	n.Upmap, n.UpmapItems = maps.Clone(m.Upmap), maps.Clone(m.UpmapItems)
	n.affinityBelowDefault = false
	change(&n)
	n.seal(nil, nil)
	return &n
}
