package clustermap

import (
	"github.com/spirula/spirula/crush"
	"github.com/spirula/spirula/rados/wire"
)

// New makes the first map of a cluster, epoch 1: no pools, OSDs 0 to
// numOSDs-1 expected but not yet existing (an increment brings them up),
// placed by c, which the map takes over.
func New(fsid wire.FSID, now wire.Time, c *crush.Map, numOSDs int32) *OSDMap {
	m := &OSDMap{
		FSID: fsid, Epoch: 1, Created: now, Modified: now,
		Flags: FlagsAlways, OSDs: make([]OSD, numOSDs), Crush: c, CrushVersion: 1,
		Pools: map[int64]*Pool{}, PoolNames: map[int64]string{},
		PGTemp: map[wire.PGID][]int32{}, PrimaryTemp: map[wire.PGID]int32{},
		Upmap: map[wire.PGID][]int32{}, UpmapItems: map[wire.PGID][]Pair{},
		ECProfiles:      map[string]map[string]string{},
		NewRemovedSnaps: map[int64]SnapSet{}, NewPurgedSnaps: map[int64]SnapSet{},
		RemovedSnapsQueue: map[int64]SnapSet{}, Blocklist: map[wire.Addr]wire.Time{},
		LastUpChange: now, LastInChange: now,
		NearFullRatio: 0.85, FullRatio: 0.95, BackfillFullRatio: 0.90,
		RequireMinCompat: MinCompatLuminous, RequireRelease: RequireRelease16,
		CrushNodeFlags: map[int32]uint32{}, DeviceClassFlags: map[int32]uint32{},
	}
	for i := range m.OSDs {
		m.OSDs[i].Affinity = WeightIn
	}
	m.seal(nil, nil)
	return m
}

// AddPool adds a new pool to inc under the next free id of m and gives the
// id. Several pools may be added to one increment.
func (i *Incremental) AddPool(m *OSDMap, name string, p *Pool) int64 {
	id := max(int64(m.PoolMax), i.NewPoolMax) + 1
	i.NewPoolMax = id
	i.NewPools[id] = p
	i.NewPoolNames[id] = name
	return id
}

// PoolSeq is the last id given out; the next pool has one more.
func (m *OSDMap) PoolSeq() int64 { return int64(m.PoolMax) }
