package clustermap

import (
	"math"

	"github.com/spirula/spirula/crush"
	"github.com/spirula/spirula/rados/wire"
)

// Flag is a bit of OSDMap.Flags (Ceph's values).
type Flag uint32

// The map flags.
const (
	FlagNearFull         Flag  = 1 << 0
	FlagFull             Flag  = 1 << 1
	FlagPauseRead        Flag  = 1 << 2
	FlagPauseWrite       Flag  = 1 << 3
	FlagPauseRecovery    Flag  = 1 << 4
	FlagNoUp             Flag  = 1 << 5
	FlagNoDown           Flag  = 1 << 6
	FlagNoOut            Flag  = 1 << 7
	FlagNoIn             Flag  = 1 << 8
	FlagNoBackfill       Flag  = 1 << 9
	FlagNoRecover        Flag  = 1 << 10
	FlagNoScrub          Flag  = 1 << 11
	FlagNoDeepScrub      Flag  = 1 << 12
	FlagNoTierAgent      Flag  = 1 << 13
	FlagNoRebalance      Flag  = 1 << 14
	FlagSortBitwise      Flag  = 1 << 15
	FlagRecoveryDeletes  Flag  = 1 << 19
	FlagPurgedSnapDirs   Flag  = 1 << 20
	FlagNoSnapTrim       Flag  = 1 << 21
	FlagPGLogHardLimit   Flag  = 1 << 22
	FlagsAlways                = FlagSortBitwise | FlagRecoveryDeletes | FlagPurgedSnapDirs | FlagPGLogHardLimit
	RequireRelease16     uint8 = 16 // require_osd_release: Pacific
	MinCompatLuminous    uint8 = 12 // require_min_compat_client
	releaseLuminous      uint8 = 12
	defaultEncodeFeature       = 0x0f00088010212a04
)

// State is the state of an OSD, bits (Ceph's values).
type State uint32

// The state bits.
const (
	StateExists       State = 1 << 0
	StateUp           State = 1 << 1
	StateAutoOut      State = 1 << 2 // marked out by the mon, not by a person
	StateNew          State = 1 << 3
	StateFull         State = 1 << 4
	StateNearFull     State = 1 << 5
	StateBackfillFull State = 1 << 6
	StateDestroyed    State = 1 << 7
	StateNoUp         State = 1 << 8
	StateNoDown       State = 1 << 9
	StateNoIn         State = 1 << 10
	StateNoOut        State = 1 << 11
	StateStop         State = 1 << 12
)

// WeightIn is the reweight of an OSD that takes all its PGs; 0 is out. It is
// also the primary affinity of an OSD that is primary as often as any.
const WeightIn uint32 = 0x10000

// None stands in a mapping where no OSD was found (erasure-coded pools).
const None = crush.None

// MaxPGs bounds pg_num of one pool. Ceph's own limit is 65536.
const MaxPGs = 1 << 20

// MaxOSDs bounds max_osd.
const MaxOSDs = 1 << 20

// OSDInfo is an OSD's history in epochs, 0 where there is none.
type OSDInfo struct {
	LastCleanBegin, LastCleanEnd wire.Epoch // the last interval that ended cleanly
	UpFrom                       wire.Epoch // when it last came up
	UpThru                       wire.Epoch // until when it is known to have served
	DownAt                       wire.Epoch // when it last went down
	LostAt                       wire.Epoch // when its data was given up
}

// OSDXInfo is what else is kept about an OSD.
type OSDXInfo struct {
	DownStamp       wire.Time
	LaggyProb       uint32 // fraction of 0xffffffff
	LaggyInterval   uint32 // seconds
	Features        uint64
	OldWeight       uint32 // before it was marked out automatically
	LastPurgedSnaps wire.Time
	DeadEpoch       wire.Epoch
}

// OSD is all the map says of one OSD.
type OSD struct {
	State    State
	Weight   uint32 // reweight, 16.16
	Affinity uint32 // primary affinity, 16.16

	Client, Cluster, HBBack, HBFront []wire.Addr

	Info  OSDInfo
	XInfo OSDXInfo
	UUID  wire.FSID
}

// Pair is one replacement of pg_upmap_items.
type Pair struct{ From, To int32 }

// OSDMap is one epoch of the cluster's state. Fields are read freely and
// changed by nobody; New and Decode make maps, Apply the next one.
type OSDMap struct {
	FSID              wire.FSID
	Epoch             wire.Epoch
	Created, Modified wire.Time

	Pools     map[int64]*Pool
	PoolNames map[int64]string
	PoolMax   int32 // highest pool id ever given out
	Flags     Flag

	OSDs []OSD // by id; max_osd is the length
	// HasAffinity is false while every OSD has the default affinity and the
	// encoded list is empty.
	HasAffinity bool

	PGTemp      map[wire.PGID][]int32
	PrimaryTemp map[wire.PGID]int32
	Upmap       map[wire.PGID][]int32
	UpmapItems  map[wire.PGID][]Pair

	Crush        *crush.Map
	CrushVersion uint32

	ECProfiles map[string]map[string]string

	NewRemovedSnaps   map[int64]SnapSet // removed in this epoch
	NewPurgedSnaps    map[int64]SnapSet // trimmed everywhere, as of this epoch
	RemovedSnapsQueue map[int64]SnapSet // removed and not yet purged

	LastUpChange, LastInChange wire.Time

	Blocklist            map[wire.Addr]wire.Time // until when
	SnapshotEpoch        wire.Epoch
	Snapshot             string
	NearFullRatio        float32
	FullRatio            float32
	BackfillFullRatio    float32
	RequireMinCompat     uint8
	RequireRelease       uint8
	CrushNodeFlags       map[int32]uint32
	DeviceClassFlags     map[int32]uint32
	placement            *placement
	weights              []uint32
	poolByName           map[string]int64
	affinityBelowDefault bool
}

// seal computes what the read side wants, after the fields are final.
func (m *OSDMap) seal(old *OSDMap, inc *Incremental) {
	m.weights = make([]uint32, len(m.OSDs))
	for i := range m.OSDs {
		m.weights[i] = m.OSDs[i].Weight
		if m.OSDs[i].Affinity != WeightIn {
			m.affinityBelowDefault = true
		}
	}
	m.poolByName = make(map[string]int64, len(m.PoolNames))
	for id, name := range m.PoolNames {
		m.poolByName[name] = id
	}
	m.placement = newPlacement(m, old, inc)
}

// PoolByName gives the id of the pool of that name.
func (m *OSDMap) PoolByName(name string) (int64, bool) {
	id, ok := m.poolByName[name]
	return id, ok
}

// Pool gives a pool, or nil.
func (m *OSDMap) Pool(id int64) *Pool { return m.Pools[id] }

// MaxOSD is one above the highest OSD id.
func (m *OSDMap) MaxOSD() int32 { return int32(len(m.OSDs)) }

// state gives an OSD's state, 0 for one outside the map.
func (m *OSDMap) state(osd int32) State {
	if osd < 0 || int(osd) >= len(m.OSDs) {
		return 0
	}
	return m.OSDs[osd].State
}

// Exists reports whether the OSD is in the map.
func (m *OSDMap) Exists(osd int32) bool { return m.state(osd)&StateExists != 0 }

// IsUp reports whether the OSD exists and is up.
func (m *OSDMap) IsUp(osd int32) bool {
	return m.state(osd)&(StateExists|StateUp) == StateExists|StateUp
}

// IsDown reports whether the OSD is not up, existing or not.
func (m *OSDMap) IsDown(osd int32) bool { return !m.IsUp(osd) }

// IsIn reports whether the OSD exists and takes data.
func (m *OSDMap) IsIn(osd int32) bool { return m.Exists(osd) && m.OSDs[osd].Weight > 0 }

// IsOut reports whether the OSD takes no data.
func (m *OSDMap) IsOut(osd int32) bool { return !m.IsIn(osd) }

// Addr is where clients reach the OSD: its msgr2 address. It is the zero Addr
// for an OSD that has none.
func (m *OSDMap) Addr(osd int32) wire.Addr {
	if !m.Exists(osd) {
		return wire.Addr{}
	}
	return msgr2(m.OSDs[osd].Client)
}

// ClusterAddr is where other OSDs reach it; the client address where the OSD
// has no other.
func (m *OSDMap) ClusterAddr(osd int32) wire.Addr {
	if !m.Exists(osd) {
		return wire.Addr{}
	}
	if a := msgr2(m.OSDs[osd].Cluster); a.Type != wire.AddrNone {
		return a
	}
	return m.Addr(osd)
}

func msgr2(v []wire.Addr) wire.Addr {
	for _, a := range v {
		if a.Type == wire.AddrMsgr2 {
			return a
		}
	}
	return wire.Addr{}
}

// Info is the OSD's history; zero for one outside the map.
func (m *OSDMap) Info(osd int32) OSDInfo {
	if !m.Exists(osd) {
		return OSDInfo{}
	}
	return m.OSDs[osd].Info
}

// IsBlocklisted reports whether the address is on the blocklist at now. An
// entry with nonce 0 and port 0 stands for the whole host.
func (m *OSDMap) IsBlocklisted(a wire.Addr, now wire.Time) bool {
	if len(m.Blocklist) == 0 {
		return false
	}
	for _, t := range [...]wire.AddrType{a.Type, wire.AddrAny, wire.AddrMsgr2, wire.AddrLegacy} {
		a.Type = t
		if until, ok := m.Blocklist[a]; ok && now < until {
			return true
		}
	}
	for _, t := range [...]wire.AddrType{wire.AddrAny, wire.AddrMsgr2, wire.AddrLegacy} {
		host := wire.Addr{Type: t, IP: hostOnly(a.IP)}
		if until, ok := m.Blocklist[host]; ok && now < until {
			return true
		}
	}
	return false
}

// NumUp counts the OSDs that are up, NumIn those that take data.
func (m *OSDMap) NumUp() (n int) {
	for i := range m.OSDs {
		if m.IsUp(int32(i)) {
			n++
		}
	}
	return n
}

// NumIn counts the OSDs that take data.
func (m *OSDMap) NumIn() (n int) {
	for i := range m.OSDs {
		if m.IsIn(int32(i)) {
			n++
		}
	}
	return n
}

// laggyUnit converts LaggyProb to a probability.
const laggyUnit = 1 / float64(math.MaxUint32)

// LaggyProbability is the share of times the OSD, once marked down, was only
// slow: 0 to 1.
func (x OSDXInfo) LaggyProbability() float64 { return float64(x.LaggyProb) * laggyUnit }
