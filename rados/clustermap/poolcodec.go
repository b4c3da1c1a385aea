package clustermap

import (
	"fmt"

	"github.com/spirula/spirula/rados/wire"
)

// poolVersion is the version of pg_pool_t we write and know; what newer
// writers append is skipped.
const poolVersion = 29

func encodePool(e *wire.Encoder, p *Pool) {
	c := &p.carried
	block := e.Begin(poolVersion, 5)
	e.U8(p.Type)
	e.U8(p.Size)
	e.U8(p.CrushRule)
	e.U8(p.ObjectHash)
	e.U32(p.PGNum)
	e.U32(p.PGPNum)
	e.U32(c.lpgNum)
	e.U32(c.lpgpNum)
	e.U32(uint32(p.LastChange))
	e.U64(uint64(p.SnapSeq))
	e.U32(uint32(p.SnapEpoch))
	encodeMap(e, p.Snaps, func(k wire.SnapID) { e.U64(uint64(k)) }, func(s PoolSnap) {
		b := e.Begin(2, 2)
		e.U64(uint64(s.ID))
		e.Time(s.Stamp)
		e.Str(s.Name)
		e.End(b)
	})
	encodeSnapSet(e, p.RemovedSnaps)
	e.U64(c.auid)
	e.U64(uint64(p.Flags))
	e.U32(c.crashReplay)
	e.U8(p.MinSize)
	e.U64(p.QuotaMaxBytes)
	e.U64(p.QuotaMaxObjects)
	encodeSlice(e, p.Tiers, e.U64)
	e.I64(p.TierOf)
	e.U8(uint8(p.CacheMode))
	e.I64(p.ReadTier)
	e.I64(p.WriteTier)
	encodeStrings(e, c.properties)
	b := e.Begin(1, 1)
	e.Raw(c.hitSet)
	e.End(b)
	e.U32(c.hitSetPeriod)
	e.U32(c.hitSetN)
	e.U32(p.StripeWidth)
	e.U64(c.targetBytes)
	e.U64(c.targetObjs)
	e.U32(c.dirty)
	e.U32(c.full)
	e.U32(c.minFlush)
	e.U32(c.minEvict)
	e.Str(p.ECProfile)
	e.U32(uint32(p.LastForceResendPreLuminous))
	e.I32(c.minReadRec)
	e.U64(p.ExpectedObjects)
	encodePoolSince19(e, p)
	e.End(block)
}

// encodePoolSince19 writes what versions 19 to 29 appended.
func encodePoolSince19(e *wire.Encoder, p *Pool) {
	c := &p.carried
	e.U32(c.dirtyHigh)
	e.I32(c.minWriteRec)
	e.Bool(c.useGMT)
	e.Bool(p.FastRead)
	e.I32(c.gradeDecay)
	e.I32(c.searchLast)
	b := e.Begin(2, 1)
	encodeMap(e, p.Opts, e.I32, func(o PoolOpt) {
		e.I32(o.Kind)
		switch o.Kind {
		case 0:
			e.Str(o.Str)
		case 1:
			e.I64(o.Int)
		case 2:
			e.F64(o.Float)
		}
	})
	e.End(b)
	e.U32(uint32(p.LastForceResendPreNautilus))
	encodeNested(e, p.Applications)
	e.Time(p.CreateTime)
	e.U32(p.PGNumTarget)
	e.U32(p.PGPNumTarget)
	e.U32(p.PGNumPending)
	e.U32(uint32(c.decStarted))
	e.U32(uint32(c.decClean))
	e.U32(uint32(p.LastForceResend))
	e.U8(p.AutoscaleMode)
	b = e.Begin(1, 1)
	e.PGID(p.Merge.Source)
	e.U32(uint32(p.Merge.ReadyEpoch))
	e.U32(uint32(p.Merge.LastEpochStarted))
	e.U32(uint32(p.Merge.LastEpochClean))
	e.EVersion(p.Merge.SourceVersion)
	e.EVersion(p.Merge.TargetVersion)
	e.End(b)
}

// decodePool reads a pg_pool_t of Pacific or newer.
func decodePool(d *wire.Decoder) *Pool {
	p := &Pool{}
	c := &p.carried
	block := d.Begin(poolVersion)
	if d.Err() == nil && block.Version < poolVersion {
		d.Fail(fmt.Errorf("%w: pool settings of version %d, Pacific has %d", wire.ErrFormat, block.Version, poolVersion))
		return p
	}
	p.Type, p.Size, p.CrushRule, p.ObjectHash = d.U8(), d.U8(), d.U8(), d.U8()
	p.PGNum, p.PGPNum = d.U32(), d.U32()
	c.lpgNum, c.lpgpNum = d.U32(), d.U32()
	p.LastChange = wire.Epoch(d.U32())
	p.SnapSeq = wire.SnapID(d.U64())
	p.SnapEpoch = wire.Epoch(d.U32())
	p.Snaps = decodeMap(d, 30, func() wire.SnapID { return wire.SnapID(d.U64()) }, func() (s PoolSnap) {
		b := d.Begin(2)
		s.ID = wire.SnapID(d.U64())
		s.Stamp = d.Time()
		s.Name = d.Str()
		d.End(b)
		return s
	})
	p.RemovedSnaps = decodeSnapSet(d)
	c.auid = d.U64()
	p.Flags = PoolFlag(d.U64())
	c.crashReplay = d.U32()
	p.MinSize = d.U8()
	p.QuotaMaxBytes, p.QuotaMaxObjects = d.U64(), d.U64()
	p.Tiers = decodeSlice(d, 8, d.U64)
	p.TierOf, p.CacheMode, p.ReadTier, p.WriteTier = d.I64(), CacheMode(d.U8()), d.I64(), d.I64()
	c.properties = decodeStrings(d)
	b := d.Begin(1)
	c.hitSet = append([]byte(nil), d.Raw(d.Len())...)
	d.End(b)
	c.hitSetPeriod, c.hitSetN, p.StripeWidth = d.U32(), d.U32(), d.U32()
	c.targetBytes, c.targetObjs = d.U64(), d.U64()
	c.dirty, c.full, c.minFlush, c.minEvict = d.U32(), d.U32(), d.U32(), d.U32()
	p.ECProfile = d.Str()
	p.LastForceResendPreLuminous = wire.Epoch(d.U32())
	c.minReadRec = d.I32()
	p.ExpectedObjects = d.U64()
	decodePoolSince19(d, p)
	d.End(block)
	if d.Err() == nil && (p.PGNum == 0 || p.PGNum > MaxPGs || p.PGPNum == 0 || p.PGPNum > p.PGNum) {
		d.Fail(fmt.Errorf("%w: pool of %d PGs, %d placed apart", wire.ErrFormat, p.PGNum, p.PGPNum))
	}
	return p
}

func decodePoolSince19(d *wire.Decoder, p *Pool) {
	c := &p.carried
	c.dirtyHigh, c.minWriteRec = d.U32(), d.I32()
	c.useGMT, p.FastRead = d.Bool(), d.Bool()
	c.gradeDecay, c.searchLast = d.I32(), d.I32()
	b := d.Begin(2)
	p.Opts = decodeMap(d, 12, d.I32, func() PoolOpt {
		o := PoolOpt{Kind: d.I32()}
		switch o.Kind {
		case 0:
			o.Str = d.Str()
		case 1:
			o.Int = d.I64()
		case 2:
			o.Float = d.F64()
		default:
			d.Fail(fmt.Errorf("%w: pool option of type %d", wire.ErrFormat, o.Kind))
		}
		return o
	})
	d.End(b)
	p.LastForceResendPreNautilus = wire.Epoch(d.U32())
	p.Applications = decodeNested(d)
	p.CreateTime = d.Time()
	p.PGNumTarget, p.PGPNumTarget, p.PGNumPending = d.U32(), d.U32(), d.U32()
	c.decStarted, c.decClean = wire.Epoch(d.U32()), wire.Epoch(d.U32())
	p.LastForceResend = wire.Epoch(d.U32())
	p.AutoscaleMode = d.U8()
	b = d.Begin(1)
	p.Merge.Source = d.PGID()
	p.Merge.ReadyEpoch = wire.Epoch(d.U32())
	p.Merge.LastEpochStarted = wire.Epoch(d.U32())
	p.Merge.LastEpochClean = wire.Epoch(d.U32())
	p.Merge.SourceVersion = d.EVersion()
	p.Merge.TargetVersion = d.EVersion()
	d.End(b)
}
