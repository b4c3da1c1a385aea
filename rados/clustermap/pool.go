package clustermap

import (
	"math/bits"
	"slices"

	"github.com/spirula/spirula/crush"
	"github.com/spirula/spirula/rados/wire"
)

// PoolFlag is a bit of Pool.Flags (Ceph's values).
type PoolFlag uint64

// The pool flags in use.
const (
	PoolHashPSPool       PoolFlag = 1 << 0 // pools do not overlap on the same OSDs
	PoolFull             PoolFlag = 1 << 1
	PoolECOverwrites     PoolFlag = 1 << 2
	PoolNoDelete         PoolFlag = 1 << 4
	PoolNoPGChange       PoolFlag = 1 << 5
	PoolNoSizeChange     PoolFlag = 1 << 6
	PoolFadviseDontNeed  PoolFlag = 1 << 7
	PoolNoScrub          PoolFlag = 1 << 8
	PoolNoDeepScrub      PoolFlag = 1 << 9
	PoolFullQuota        PoolFlag = 1 << 10
	PoolNearFull         PoolFlag = 1 << 11
	PoolBackfillFull     PoolFlag = 1 << 12
	PoolSelfManagedSnaps PoolFlag = 1 << 13
	PoolPoolSnaps        PoolFlag = 1 << 14
	PoolCreating         PoolFlag = 1 << 15
	PoolEIO              PoolFlag = 1 << 16 // every operation fails with EIO
	PoolBulk             PoolFlag = 1 << 17
)

// The kinds of pool and of object hash.
const (
	PoolReplicated uint8 = 1
	PoolErasure    uint8 = 3

	HashLinux    uint8 = 1
	HashRjenkins uint8 = 2
)

// PoolSnap is a snapshot of a whole pool.
type PoolSnap struct {
	ID    wire.SnapID
	Stamp wire.Time
	Name  string
}

// PoolOpt is one entry of the pool's open list of options. Which of the
// values counts is Kind's: 0 Str, 1 Int, 2 Float.
type PoolOpt struct {
	Kind  int32
	Str   string
	Int   int64
	Float float64
}

// MergeMeta describes the pool's last PG merge.
type MergeMeta struct {
	Source                                       wire.PGID
	ReadyEpoch, LastEpochStarted, LastEpochClean wire.Epoch
	SourceVersion, TargetVersion                 wire.EVersion
}

// Pool is a pool's settings (pg_pool_t). Fields that Spirula gives no meaning
// to are carried, so that a map of a Ceph cluster survives the trip.
type Pool struct {
	Type       uint8 // PoolReplicated, PoolErasure
	Size       uint8 // replicas, or shards
	MinSize    uint8 // below it a PG does not serve
	CrushRule  uint8
	ObjectHash uint8
	PGNum      uint32 // at most MaxPGs
	PGPNum     uint32 // PGs that are placed apart

	LastChange wire.Epoch
	SnapSeq    wire.SnapID
	SnapEpoch  wire.Epoch
	Snaps      map[wire.SnapID]PoolSnap
	// RemovedSnaps is what releases before Octopus used.
	RemovedSnaps SnapSet
	Flags        PoolFlag

	QuotaMaxBytes   uint64 // 0: none
	QuotaMaxObjects uint64

	StripeWidth  uint32
	ECProfile    string
	Opts         map[int32]PoolOpt
	Applications map[string]map[string]string // name -> key -> value
	CreateTime   wire.Time

	PGNumTarget, PGPNumTarget, PGNumPending uint32
	LastForceResend                         wire.Epoch // clients resend operations of older maps
	LastForceResendPreNautilus              wire.Epoch
	LastForceResendPreLuminous              wire.Epoch
	AutoscaleMode                           uint8
	Merge                                   MergeMeta
	ExpectedObjects                         uint64
	FastRead                                bool

	// Cache tiers. Clients send what they read to ReadTier and what they
	// write to WriteTier, if those are not -1. TierOf is -1 for a pool that
	// is no tier of another one.
	Tiers                       []uint64
	TierOf, ReadTier, WriteTier int64
	CacheMode                   CacheMode

	carried carriedPool
}

// CacheMode says what a tier does with what it is asked for (Ceph's values).
type CacheMode uint8

// The modes that Ceph 16 lets one set.
const (
	CacheNone      CacheMode = 0
	CacheWriteback CacheMode = 1
	CacheReadOnly  CacheMode = 3
	CacheReadProxy CacheMode = 5
	CacheProxy     CacheMode = 6
)

// carriedPool is fields of features Spirula does not have (hit sets, flushing
// of cache tiers, the oldest authentication); encoded as they were decoded.
type carriedPool struct {
	lpgNum, lpgpNum         uint32
	auid                    uint64
	crashReplay             uint32
	properties              map[string]string
	hitSet                  []byte // body of the block
	hitSetPeriod, hitSetN   uint32
	targetBytes, targetObjs uint64
	dirty, full, dirtyHigh  uint32
	minFlush, minEvict      uint32
	minReadRec, minWriteRec int32
	useGMT                  bool
	gradeDecay, searchLast  int32
	decStarted, decClean    wire.Epoch
}

// NewPool gives the settings of a new pool: replicated size times (min_size
// as Ceph chooses it), pgNum PGs, placed by crushRule, with the application
// "rados".
func NewPool(size uint8, pgNum uint32, crushRule uint8, created wire.Time) *Pool {
	return &Pool{
		Type: PoolReplicated, Size: size, MinSize: size - size/2, CrushRule: crushRule,
		ObjectHash: HashRjenkins, PGNum: pgNum, PGPNum: pgNum, Flags: PoolHashPSPool,
		Applications: map[string]map[string]string{"rados": {}}, CreateTime: created,
		PGNumTarget: pgNum, PGPNumTarget: pgNum, PGNumPending: pgNum,
		TierOf: -1, ReadTier: -1, WriteTier: -1,
		carried: carriedPool{hitSet: []byte{0}, dirty: 400000, full: 800000, dirtyHigh: 600000, useGMT: true},
	}
}

// Clone gives a copy to change.
func (p *Pool) Clone() *Pool {
	c := *p
	c.Snaps = cloneMap(p.Snaps)
	c.Opts = cloneMap(p.Opts)
	c.Tiers = slices.Clone(p.Tiers)
	c.Applications = make(map[string]map[string]string, len(p.Applications))
	for k, v := range p.Applications {
		c.Applications[k] = cloneMap(v)
	}
	return &c
}

func cloneMap[K comparable, V any](m map[K]V) map[K]V {
	c := make(map[K]V, len(m))
	for k, v := range m {
		c[k] = v
	}
	return c
}

// IsReplicated reports whether PGs are ordered lists without holes.
func (p *Pool) IsReplicated() bool { return p.Type == PoolReplicated }

// SnapContext is what writers of a pool with pool snaps send.
func (p *Pool) SnapContext() wire.SnapContext {
	c := wire.SnapContext{Seq: p.SnapSeq}
	ids := sortedKeys(p.Snaps)
	for i := len(ids) - 1; i >= 0; i-- {
		c.Snaps = append(c.Snaps, ids[i])
	}
	return c
}

// Seed gives the seed of the PG a hash belongs to.
func (p *Pool) Seed(hash uint32) uint32 { return stableMod(hash, p.PGNum) }

// HashName gives an object's hash: of the locator key if there is one, else
// of the name, in its namespace.
func (p *Pool) HashName(namespace, key, name string) uint32 {
	if key == "" {
		key = name
	}
	if namespace == "" {
		if p.ObjectHash == HashLinux {
			return crush.StrHashLinux(key)
		}
		return crush.StrHash(key)
	}
	var buf [256]byte
	b := append(buf[:0], namespace...)
	b = append(b, 0x1f)
	b = append(b, key...)
	if p.ObjectHash == HashLinux {
		return crush.StrHashLinux(b)
	}
	return crush.StrHash(b)
}

// placementSeed is the number that CRUSH maps for a PG.
func (p *Pool) placementSeed(pg wire.PGID) uint32 {
	s := stableMod(pg.Seed, p.PGPNum)
	if p.Flags&PoolHashPSPool != 0 {
		return crush.Hash2(s, uint32(pg.Pool))
	}
	return s + uint32(pg.Pool)
}

// stableMod folds x to 0..n-1 so that growing n by one moves only what goes
// to the new value.
func stableMod(x, n uint32) uint32 {
	if n == 0 {
		return 0
	}
	mask := uint32(1)<<bits.Len32(n-1) - 1
	if x&mask < n {
		return x & mask
	}
	return x & (mask >> 1)
}

// SplitBits is the number of low bits of a hash that decide membership of the
// PG: all hashes with these bits are in it, and no others. A listing in
// bit-reversed order walks the PG as one range because of it.
func (p *Pool) SplitBits(seed uint32) int {
	if p.PGNum <= 1 {
		return 0
	}
	b := bits.Len32(p.PGNum - 1)
	half := uint32(1) << (b - 1)
	if p.PGNum&(p.PGNum-1) != 0 && seed&(half-1) >= p.PGNum-half {
		return b - 1
	}
	return b
}
