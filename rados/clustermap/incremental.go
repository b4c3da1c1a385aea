package clustermap

import (
	"encoding/binary"
	"fmt"

	"github.com/spirula/spirula/rados/wire"
)

// Interval is a range of epochs, [Begin, End).
type Interval struct{ Begin, End wire.Epoch }

// Incremental is the difference from one epoch to the next. NewIncremental
// makes one that changes nothing; only the fields that are set count. Field
// comments tell the values that mean "no change" or "remove".
type Incremental struct {
	FSID     wire.FSID
	Epoch    wire.Epoch // of the map that results
	Modified wire.Time

	NewPoolMax int64 // -1: same
	NewFlags   int32 // -1: same
	FullMap    []byte
	Crush      []byte // encoded; empty: same
	NewMaxOSD  int32  // -1: same

	NewPools     map[int64]*Pool // added or changed; LastChange becomes Epoch
	NewPoolNames map[int64]string
	OldPools     []int64

	NewUpClient  map[int32][]wire.Addr // OSDs that come up
	NewState     map[int32]State       // XOR; 0 means StateUp. See MarkDown
	NewWeight    map[int32]uint32
	NewAffinity  map[int32]uint32
	NewPGTemp    map[wire.PGID][]int32 // empty: remove
	NewPrimTemp  map[wire.PGID]int32   // -1: remove
	NewECProfile map[string]map[string]string
	OldECProfile []string

	NewUpmap      map[wire.PGID][]int32
	OldUpmap      []wire.PGID
	NewUpmapItems map[wire.PGID][]Pair
	OldUpmapItems []wire.PGID

	NewRemovedSnaps map[int64]SnapSet
	NewPurgedSnaps  map[int64]SnapSet

	NewLastUp, NewLastIn wire.Time // 0: same

	NewHBBack, NewHBFront map[int32][]wire.Addr // for the OSDs of NewUpClient
	NewUpCluster          map[int32][]wire.Addr
	NewUpThru             map[int32]wire.Epoch
	NewLastClean          map[int32]Interval
	NewLost               map[int32]wire.Epoch
	NewBlocklist          map[wire.Addr]wire.Time
	OldBlocklist          []wire.Addr
	Snapshot              string
	NewUUID               map[int32]wire.FSID
	NewXInfo              map[int32]OSDXInfo
	EncodeFeatures        uint64

	NewNearFull, NewFull, NewBackfillFull float32 // below 0: same
	NewMinCompat, NewRequireRelease       uint8   // 255: same
	NewCrushNodeFlags                     map[int32]uint32
	NewDeviceClassFlags                   map[int32]uint32

	// FullCRC is the checksum of the resulting full map; 0 while it is not
	// known. Set by Seal, checked by Apply.
	FullCRC uint32
}

// NewIncremental gives the increment from m to the next epoch that changes
// nothing yet.
func (m *OSDMap) NewIncremental(now wire.Time) *Incremental {
	return &Incremental{
		FSID: m.FSID, Epoch: m.Epoch + 1, Modified: now,
		NewPoolMax: -1, NewFlags: -1, NewMaxOSD: -1,
		NewPools: map[int64]*Pool{}, NewPoolNames: map[int64]string{},
		NewUpClient: map[int32][]wire.Addr{}, NewState: map[int32]State{},
		NewWeight: map[int32]uint32{}, NewAffinity: map[int32]uint32{},
		NewPGTemp: map[wire.PGID][]int32{}, NewPrimTemp: map[wire.PGID]int32{},
		NewECProfile: map[string]map[string]string{},
		NewUpmap:     map[wire.PGID][]int32{}, NewUpmapItems: map[wire.PGID][]Pair{},
		NewRemovedSnaps: map[int64]SnapSet{}, NewPurgedSnaps: map[int64]SnapSet{},
		NewHBBack: map[int32][]wire.Addr{}, NewHBFront: map[int32][]wire.Addr{},
		NewUpCluster: map[int32][]wire.Addr{}, NewUpThru: map[int32]wire.Epoch{},
		NewLastClean: map[int32]Interval{}, NewLost: map[int32]wire.Epoch{},
		NewBlocklist: map[wire.Addr]wire.Time{}, NewUUID: map[int32]wire.FSID{},
		NewXInfo: map[int32]OSDXInfo{}, EncodeFeatures: defaultEncodeFeature,
		NewNearFull: -1, NewFull: -1, NewBackfillFull: -1, NewMinCompat: 255, NewRequireRelease: 255,
		NewCrushNodeFlags: map[int32]uint32{}, NewDeviceClassFlags: map[int32]uint32{},
	}
}

// movesAll reports whether the increment may move PGs of any pool.
func (i *Incremental) movesAll() bool {
	return len(i.FullMap) > 0 || len(i.Crush) > 0 || i.NewMaxOSD >= 0 || len(i.NewState) > 0 ||
		len(i.NewUpClient) > 0 || len(i.NewWeight) > 0 || len(i.NewAffinity) > 0
}

// movedPools calls f with the pools of single PGs whose mapping the increment
// names; a pool may come more than once.
func (i *Incremental) movedPools(f func(pool int64)) {
	for pg := range i.NewPGTemp {
		f(pg.Pool)
	}
	for pg := range i.NewPrimTemp {
		f(pg.Pool)
	}
	for pg := range i.NewUpmap {
		f(pg.Pool)
	}
	for pg := range i.NewUpmapItems {
		f(pg.Pool)
	}
	for _, pgs := range [...][]wire.PGID{i.OldUpmap, i.OldUpmapItems} {
		for _, pg := range pgs {
			f(pg.Pool)
		}
	}
}

// Versions of the increment's blocks.
const (
	incClientVersion = 8
	incOSDVersion    = 9
)

// Encode gives the increment in Ceph's encoding, with its own checksum and
// FullCRC.
func (i *Incremental) Encode() []byte {
	e := &wire.Encoder{B: make([]byte, 0, 1024)}
	outer := e.Begin(fullVersion, fullCompat)
	b := e.Begin(incClientVersion, 1)
	i.encodeClient(e)
	e.End(b)
	b = e.Begin(incOSDVersion, 1)
	i.encodeOSD(e)
	e.End(b)
	hole := len(e.B)
	e.U32(0)
	e.U32(i.FullCRC)
	e.End(outer)
	binary.LittleEndian.PutUint32(e.B[hole:], mapCRC(e.B, hole))
	return e.B
}

func (i *Incremental) encodeClient(e *wire.Encoder) {
	items := func(v []int32) { encodeItems(e, v) }
	e.FSID(i.FSID)
	e.U32(uint32(i.Epoch))
	e.Time(i.Modified)
	e.I64(i.NewPoolMax)
	e.I32(i.NewFlags)
	e.Bytes(i.FullMap)
	e.Bytes(i.Crush)
	e.I32(i.NewMaxOSD)
	encodeMap(e, i.NewPools, e.I64, func(p *Pool) { encodePool(e, p) })
	encodeMap(e, i.NewPoolNames, e.I64, e.Str)
	encodeSlice(e, i.OldPools, e.I64)
	encodeMap(e, i.NewUpClient, e.I32, e.AddrVec)
	encodeMap(e, i.NewState, e.I32, func(s State) { e.U32(uint32(s)) })
	encodeMap(e, i.NewWeight, e.I32, e.U32)
	encodePGMap(e, i.NewPGTemp, items)
	encodePGMap(e, i.NewPrimTemp, e.I32)
	encodeMap(e, i.NewAffinity, e.I32, e.U32)
	encodeNested(e, i.NewECProfile)
	encodeSlice(e, i.OldECProfile, e.Str)
	encodePGMap(e, i.NewUpmap, items)
	encodeSlice(e, i.OldUpmap, e.PGID)
	encodePGMap(e, i.NewUpmapItems, func(v []Pair) { encodePairs(e, v) })
	encodeSlice(e, i.OldUpmapItems, e.PGID)
	encodeSnapSets(e, i.NewRemovedSnaps)
	encodeSnapSets(e, i.NewPurgedSnaps)
	e.Time(i.NewLastUp)
	e.Time(i.NewLastIn)
}

func (i *Incremental) encodeOSD(e *wire.Encoder) {
	epoch := func(v wire.Epoch) { e.U32(uint32(v)) }
	encodeMap(e, i.NewHBBack, e.I32, e.AddrVec)
	encodeMap(e, i.NewUpThru, e.I32, epoch)
	encodeMap(e, i.NewLastClean, e.I32, func(v Interval) { epoch(v.Begin); epoch(v.End) })
	encodeMap(e, i.NewLost, e.I32, epoch)
	encodeBlocklist(e, i.NewBlocklist)
	encodeSlice(e, i.OldBlocklist, e.Addr)
	encodeMap(e, i.NewUpCluster, e.I32, e.AddrVec)
	e.Str(i.Snapshot)
	encodeMap(e, i.NewUUID, e.I32, e.FSID)
	encodeMap(e, i.NewXInfo, e.I32, func(x OSDXInfo) { encodeXInfo(e, x) })
	encodeMap(e, i.NewHBFront, e.I32, e.AddrVec)
	e.U64(i.EncodeFeatures)
	e.F32(i.NewNearFull)
	e.F32(i.NewFull)
	e.F32(i.NewBackfillFull)
	e.U8(i.NewMinCompat)
	e.U8(i.NewRequireRelease)
	encodeMap(e, i.NewCrushNodeFlags, e.I32, e.U32)
	encodeMap(e, i.NewDeviceClassFlags, e.I32, e.U32)
}

// DecodeIncremental reads an increment and verifies its checksum. The result
// does not keep b.
func DecodeIncremental(b []byte) (*Incremental, error) {
	d := wire.NewDecoder(b)
	i := &Incremental{}
	outer := d.Begin(fullVersion)
	block := d.Begin(incClientVersion)
	if d.Err() == nil && (outer.Version < fullCompat || block.Version < incClientVersion) {
		d.Fail(fmt.Errorf("%w: increment of version %d.%d", wire.ErrFormat, outer.Version, block.Version))
	}
	i.decodeClient(d)
	d.End(block)
	block = d.Begin(incOSDVersion)
	if d.Err() == nil && block.Version < incOSDVersion {
		d.Fail(fmt.Errorf("%w: OSD part of version %d", wire.ErrFormat, block.Version))
	}
	i.decodeOSD(d)
	d.End(block)
	hole := d.Off()
	crc := d.U32()
	i.FullCRC = d.U32()
	d.End(outer)
	err := d.Err()
	if err == nil {
		if want := mapCRC(b[:d.Off()], hole); crc != want {
			err = errnoInvalid(errChecksum(crc, want))
		}
	}
	if err != nil {
		return nil, wire.Wrap("osdmap.decode", "increment", err)
	}
	return i, nil
}

func (i *Incremental) decodeClient(d *wire.Decoder) {
	items := func() []int32 { return decodeItems(d) }
	i.FSID = d.FSID()
	i.Epoch = wire.Epoch(d.U32())
	i.Modified = d.Time()
	i.NewPoolMax = d.I64()
	i.NewFlags = d.I32()
	i.FullMap = append([]byte(nil), d.Bytes()...)
	i.Crush = append([]byte(nil), d.Bytes()...)
	i.NewMaxOSD = d.I32()
	i.NewPools = decodeMap(d, 200, d.I64, func() *Pool { return decodePool(d) })
	i.NewPoolNames = decodeMap(d, 12, d.I64, d.Str)
	i.OldPools = decodeSlice(d, 8, d.I64)
	i.NewUpClient = decodeMap(d, 9, d.I32, d.AddrVec)
	i.NewState = decodeMap(d, 8, d.I32, func() State { return State(d.U32()) })
	i.NewWeight = decodeMap(d, 8, d.I32, d.U32)
	i.NewPGTemp = decodePGMap(d, 4, items)
	i.NewPrimTemp = decodePGMap(d, 4, d.I32)
	i.NewAffinity = decodeMap(d, 8, d.I32, d.U32)
	i.NewECProfile = decodeNested(d)
	i.OldECProfile = decodeSlice(d, 4, d.Str)
	i.NewUpmap = decodePGMap(d, 4, items)
	i.OldUpmap = decodeSlice(d, wire.PGIDSize, d.PGID)
	i.NewUpmapItems = decodePGMap(d, 4, func() []Pair { return decodePairs(d) })
	i.OldUpmapItems = decodeSlice(d, wire.PGIDSize, d.PGID)
	i.NewRemovedSnaps = decodeSnapSets(d)
	i.NewPurgedSnaps = decodeSnapSets(d)
	i.NewLastUp = d.Time()
	i.NewLastIn = d.Time()
}

func (i *Incremental) decodeOSD(d *wire.Decoder) {
	epoch := func() wire.Epoch { return wire.Epoch(d.U32()) }
	i.NewHBBack = decodeMap(d, 9, d.I32, d.AddrVec)
	i.NewUpThru = decodeMap(d, 8, d.I32, epoch)
	i.NewLastClean = decodeMap(d, 12, d.I32, func() Interval { return Interval{epoch(), epoch()} })
	i.NewLost = decodeMap(d, 8, d.I32, epoch)
	i.NewBlocklist = decodeBlocklist(d)
	i.OldBlocklist = decodeSlice(d, 19, d.Addr)
	i.NewUpCluster = decodeMap(d, 9, d.I32, d.AddrVec)
	i.Snapshot = d.Str()
	i.NewUUID = decodeMap(d, 20, d.I32, d.FSID)
	i.NewXInfo = decodeMap(d, 10, d.I32, func() OSDXInfo { return decodeXInfo(d) })
	i.NewHBFront = decodeMap(d, 9, d.I32, d.AddrVec)
	i.EncodeFeatures = d.U64()
	i.NewNearFull, i.NewFull, i.NewBackfillFull = d.F32(), d.F32(), d.F32()
	i.NewMinCompat, i.NewRequireRelease = d.U8(), d.U8()
	i.NewCrushNodeFlags = decodeMap(d, 8, d.I32, d.U32)
	i.NewDeviceClassFlags = decodeMap(d, 8, d.I32, d.U32)
}
