package clustermap

import (
	"fmt"
	"maps"
	"slices"

	"github.com/spirula/spirula/crush"
	"github.com/spirula/spirula/rados/wire"
)

// Apply gives the map of the next epoch. m stays as it is; both share what
// inc does not change. An increment of another cluster or for another epoch,
// or one that names an OSD outside the map, is EINVAL, and nothing is applied.
//
// Apply does not verify inc.FullCRC, which costs an encoding: a mon's member
// does so with VerifyFull, clients need not.
func (m *OSDMap) Apply(inc *Incremental) (*OSDMap, error) {
	n, err := m.apply(inc)
	if err != nil {
		return nil, &wire.Error{Op: "osdmap.apply", Subject: fmt.Sprintf("epoch %d", inc.Epoch),
			Kind: wire.EINVAL, Cause: err}
	}
	n.seal(m, inc)
	return n, nil
}

// VerifyFull encodes m and compares the checksum with what the increment that
// made it promises. A difference means that two parties disagree about the
// cluster's state.
func (m *OSDMap) VerifyFull(inc *Incremental) error {
	if got := FullCRC(m.Encode()); got != inc.FullCRC {
		return &wire.Error{Op: "osdmap.verify", Subject: fmt.Sprintf("epoch %d", m.Epoch),
			Kind: wire.EIO, Cause: errChecksum(inc.FullCRC, got)}
	}
	return nil
}

func (m *OSDMap) apply(inc *Incremental) (*OSDMap, error) {
	if inc.FSID != m.FSID {
		return nil, fmt.Errorf("increment of cluster %s, this is %s", inc.FSID, m.FSID)
	}
	if inc.Epoch != m.Epoch+1 {
		return nil, fmt.Errorf("increment to epoch %d, the map is of %d", inc.Epoch, m.Epoch)
	}
	if len(inc.FullMap) > 0 {
		n, err := decodeFull(inc.FullMap)
		if err == nil && (n.FSID != m.FSID || n.Epoch != inc.Epoch) {
			err = fmt.Errorf("it brings the full map of epoch %d of cluster %s", n.Epoch, n.FSID)
		}
		return n, err
	}
	n := *m
	n.affinityBelowDefault = false
	n.Epoch, n.Modified = inc.Epoch, inc.Modified
	if inc.NewFlags >= 0 {
		n.Flags = Flag(inc.NewFlags)
	}
	n.applyPools(inc)
	if err := n.applyOSDs(inc); err != nil {
		return nil, err
	}
	n.applyPGs(inc)
	n.applySnaps(inc)
	n.applyRest(inc)
	if len(inc.Crush) > 0 {
		c, err := crush.DecodeMap(inc.Crush)
		if err != nil {
			return nil, err
		}
		n.Crush = c
		if n.RequireRelease >= releaseLuminous {
			n.CrushVersion++
		}
	}
	return &n, nil
}

// edit gives a copy of m to change when there is anything to change, so that
// maps of different epochs never share what one of them writes.
func edit[K comparable, V any](m map[K]V, changes int) map[K]V {
	if changes == 0 {
		return m
	}
	c := make(map[K]V, len(m)+changes)
	maps.Copy(c, m)
	return c
}

// put sets the entries of changes; those that remove refuses to keep go.
func put[K comparable, V any](m, changes map[K]V, remove func(V) bool) map[K]V {
	m = edit(m, len(changes))
	for k, v := range changes {
		if remove != nil && remove(v) {
			delete(m, k)
		} else {
			m[k] = v
		}
	}
	return m
}

func drop[K comparable, V any](m map[K]V, keys []K) map[K]V {
	m = edit(m, len(keys))
	for _, k := range keys {
		delete(m, k)
	}
	return m
}

func (m *OSDMap) applyPools(inc *Incremental) {
	if inc.NewPoolMax != -1 {
		m.PoolMax = int32(inc.NewPoolMax)
	}
	m.Pools = edit(m.Pools, len(inc.NewPools))
	for id, p := range inc.NewPools {
		p = p.Clone()
		p.LastChange = inc.Epoch
		m.Pools[id] = p
	}
	m.PoolNames = put(m.PoolNames, inc.NewPoolNames, nil)
	m.Pools = drop(m.Pools, inc.OldPools)
	m.PoolNames = drop(m.PoolNames, inc.OldPools)
	m.ECProfiles = drop(m.ECProfiles, inc.OldECProfile)
	m.ECProfiles = put(m.ECProfiles, inc.NewECProfile, nil)
}

// applyOSDs changes the list of OSDs, in the order Ceph's daemons do.
func (m *OSDMap) applyOSDs(inc *Incremental) error {
	if !inc.touchesOSDs() {
		return nil
	}
	size := len(m.OSDs)
	if inc.NewMaxOSD >= 0 {
		size = int(inc.NewMaxOSD)
	}
	if size > MaxOSDs {
		return fmt.Errorf("max_osd %d", size)
	}
	if err := inc.checkIDs(size); err != nil {
		return err
	}
	osds := make([]OSD, size)
	for i := copy(osds, m.OSDs); i < size; i++ {
		osds[i].Affinity = WeightIn
	}
	m.OSDs = osds
	for id, w := range inc.NewWeight {
		o := &osds[id]
		o.Weight = w
		if w > 0 {
			o.State &^= StateAutoOut | StateNew
			o.XInfo.OldWeight = 0
		}
	}
	for id, a := range inc.NewAffinity {
		osds[id].Affinity = a
		m.HasAffinity = true
	}
	for id, s := range inc.NewState {
		if osds[id].toggle(s, inc) {
			m.HasAffinity = true
		}
	}
	for id, addrs := range inc.NewUpClient {
		o := &osds[id]
		o.State = (o.State | StateExists | StateUp) &^ StateStop
		o.Client, o.HBBack, o.HBFront = addrs, inc.NewHBBack[id], inc.NewHBFront[id]
		o.Info.UpFrom = inc.Epoch
	}
	for id, addrs := range inc.NewUpCluster {
		osds[id].Cluster = addrs
	}
	for id, e := range inc.NewUpThru {
		osds[id].Info.UpThru = e
	}
	for id, v := range inc.NewLastClean {
		osds[id].Info.LastCleanBegin, osds[id].Info.LastCleanEnd = v.Begin, v.End
	}
	for id, e := range inc.NewLost {
		osds[id].Info.LostAt = e
	}
	for id, x := range inc.NewXInfo {
		osds[id].XInfo = x
	}
	for id, u := range inc.NewUUID {
		osds[id].UUID = u
	}
	return nil
}

// toggle flips state bits. An OSD that stops existing leaves nothing behind;
// it is reported, because Ceph then writes the list of affinities out.
func (o *OSD) toggle(s State, inc *Incremental) (removed bool) {
	if s == 0 {
		s = StateUp
	}
	if o.State&s&StateUp != 0 {
		o.Info.DownAt = inc.Epoch
		o.XInfo.DownStamp = inc.Modified
	}
	if o.State&s&StateExists != 0 {
		*o = OSD{Weight: o.Weight, Affinity: WeightIn}
		return true
	}
	o.State ^= s
	return false
}

func (i *Incremental) touchesOSDs() bool {
	return i.NewMaxOSD >= 0 || len(i.NewWeight)+len(i.NewAffinity)+len(i.NewState)+len(i.NewUpClient)+
		len(i.NewUpCluster)+len(i.NewUpThru)+len(i.NewLastClean)+len(i.NewLost)+len(i.NewXInfo)+len(i.NewUUID) > 0
}

// checkIDs verifies that all OSDs named are below size.
func (i *Incremental) checkIDs(size int) error {
	for _, err := range [...]error{
		checkKeys(i.NewWeight, size), checkKeys(i.NewAffinity, size), checkKeys(i.NewState, size),
		checkKeys(i.NewUpClient, size), checkKeys(i.NewUpCluster, size), checkKeys(i.NewUpThru, size),
		checkKeys(i.NewLastClean, size), checkKeys(i.NewLost, size), checkKeys(i.NewXInfo, size),
		checkKeys(i.NewUUID, size),
	} {
		if err != nil {
			return err
		}
	}
	return nil
}

func checkKeys[V any](m map[int32]V, size int) error {
	for id := range m {
		if id < 0 || int(id) >= size {
			return fmt.Errorf("osd.%d with max_osd %d", id, size)
		}
	}
	return nil
}

func (m *OSDMap) applyPGs(inc *Incremental) {
	m.PGTemp = put(m.PGTemp, inc.NewPGTemp, func(v []int32) bool { return len(v) == 0 })
	m.PrimaryTemp = put(m.PrimaryTemp, inc.NewPrimTemp, func(v int32) bool { return v == -1 })
	m.Upmap = drop(put(m.Upmap, inc.NewUpmap, nil), inc.OldUpmap)
	m.UpmapItems = drop(put(m.UpmapItems, inc.NewUpmapItems, nil), inc.OldUpmapItems)
}

func (m *OSDMap) applySnaps(inc *Incremental) {
	m.NewRemovedSnaps, m.NewPurgedSnaps = inc.NewRemovedSnaps, inc.NewPurgedSnaps
	m.RemovedSnapsQueue = edit(m.RemovedSnapsQueue, len(inc.NewRemovedSnaps)+len(inc.NewPurgedSnaps))
	for pool, s := range inc.NewRemovedSnaps {
		m.RemovedSnapsQueue[pool] = m.RemovedSnapsQueue[pool].Union(s)
	}
	for pool, s := range inc.NewPurgedSnaps {
		if left := m.RemovedSnapsQueue[pool].Subtract(s); len(left) > 0 {
			m.RemovedSnapsQueue[pool] = left
		} else {
			delete(m.RemovedSnapsQueue, pool)
		}
	}
}

func (m *OSDMap) applyRest(inc *Incremental) {
	if inc.NewLastUp != 0 {
		m.LastUpChange = inc.NewLastUp
	}
	if inc.NewLastIn != 0 {
		m.LastInChange = inc.NewLastIn
	}
	m.Blocklist = drop(put(m.Blocklist, inc.NewBlocklist, nil), inc.OldBlocklist)
	m.Snapshot, m.SnapshotEpoch = inc.Snapshot, 0
	if inc.Snapshot != "" {
		m.SnapshotEpoch = inc.Epoch
	}
	for _, r := range [...]struct {
		to *float32
		v  float32
	}{{&m.NearFullRatio, inc.NewNearFull}, {&m.FullRatio, inc.NewFull}, {&m.BackfillFullRatio, inc.NewBackfillFull}} {
		if r.v >= 0 {
			*r.to = r.v
		}
	}
	if inc.NewMinCompat != 255 && inc.NewMinCompat > 0 {
		m.RequireMinCompat = inc.NewMinCompat
	}
	if inc.NewRequireRelease != 255 {
		m.RequireRelease = inc.NewRequireRelease
	}
	zero := func(v uint32) bool { return v == 0 }
	m.CrushNodeFlags = put(m.CrushNodeFlags, inc.NewCrushNodeFlags, zero)
	m.DeviceClassFlags = put(m.DeviceClassFlags, inc.NewDeviceClassFlags, zero)
}

// Seal computes the map that inc leads to and notes its checksum in inc: what
// the mon's leader does before it proposes.
func (m *OSDMap) Seal(inc *Incremental) (*OSDMap, error) {
	n, err := m.Apply(inc)
	if err != nil {
		return nil, err
	}
	inc.FullCRC = FullCRC(n.Encode())
	return n, nil
}

// MarkDown adds to inc that the OSD goes down, if it is up in m.
func (i *Incremental) MarkDown(m *OSDMap, osd int32) {
	if m.IsUp(osd) {
		i.NewState[osd] ^= StateUp
	}
}

// BringUp adds to inc that the OSD comes up at addrs, creating it if it does
// not exist: it takes data (weight in) when it is new.
func (i *Incremental) BringUp(m *OSDMap, osd int32, uuid wire.FSID, client, cluster, hbBack, hbFront []wire.Addr) {
	if int(osd) >= len(m.OSDs) {
		i.NewMaxOSD = max(i.NewMaxOSD, osd+1)
	}
	i.NewUpClient[osd] = slices.Clone(client)
	i.NewUpCluster[osd] = slices.Clone(cluster)
	i.NewHBBack[osd] = slices.Clone(hbBack)
	i.NewHBFront[osd] = slices.Clone(hbFront)
	if !m.Exists(osd) {
		i.NewUUID[osd] = uuid
		i.NewWeight[osd] = WeightIn
	}
}
