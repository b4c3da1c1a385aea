package clustermap

import (
	"encoding/binary"
	"fmt"

	"github.com/spirula/spirula/crush"
	"github.com/spirula/spirula/rados/wire"
)

// Versions of the full map's blocks: outer, client part, OSD part.
const (
	fullVersion, fullCompat = 8, 7
	clientVersion           = 9
	osdVersion              = 9
)

// Encode gives the map in Ceph's encoding. The last four bytes are the
// checksum that increments call full_crc.
func (m *OSDMap) Encode() []byte {
	e := &wire.Encoder{B: make([]byte, 0, 2048+len(m.OSDs)*512+len(m.Pools)*512)}
	outer := e.Begin(fullVersion, fullCompat)
	b := e.Begin(clientVersion, 1)
	m.encodeClient(e)
	e.End(b)
	b = e.Begin(osdVersion, 1)
	m.encodeOSD(e)
	e.End(b)
	hole := len(e.B)
	e.U32(0)
	e.End(outer)
	binary.LittleEndian.PutUint32(e.B[hole:], mapCRC(e.B, hole))
	return e.B
}

// FullCRC is the checksum at the end of an encoded full map.
func FullCRC(encoded []byte) uint32 {
	if len(encoded) < 4 {
		return 0
	}
	return binary.LittleEndian.Uint32(encoded[len(encoded)-4:])
}

func (m *OSDMap) encodeClient(e *wire.Encoder) {
	e.FSID(m.FSID)
	e.U32(uint32(m.Epoch))
	e.Time(m.Created)
	e.Time(m.Modified)
	encodeMap(e, m.Pools, e.I64, func(p *Pool) { encodePool(e, p) })
	encodeMap(e, m.PoolNames, e.I64, e.Str)
	e.I32(m.PoolMax)
	e.U32(uint32(m.Flags))
	e.I32(m.MaxOSD())
	m.eachOSD(e, func(o *OSD) { e.U32(uint32(o.State)) })
	m.eachOSD(e, func(o *OSD) { e.U32(o.Weight) })
	m.eachOSD(e, func(o *OSD) { e.AddrVec(o.Client) })
	encodePGMap(e, m.PGTemp, func(v []int32) { encodeItems(e, v) })
	encodePGMap(e, m.PrimaryTemp, e.I32)
	if m.HasAffinity {
		m.eachOSD(e, func(o *OSD) { e.U32(o.Affinity) })
	} else {
		e.Count(0)
	}
	e.Bytes(m.Crush.Encode())
	encodeNested(e, m.ECProfiles)
	encodePGMap(e, m.Upmap, func(v []int32) { encodeItems(e, v) })
	encodePGMap(e, m.UpmapItems, func(v []Pair) { encodePairs(e, v) })
	e.U32(m.CrushVersion)
	encodeSnapSets(e, m.NewRemovedSnaps)
	encodeSnapSets(e, m.NewPurgedSnaps)
	e.Time(m.LastUpChange)
	e.Time(m.LastInChange)
}

func (m *OSDMap) encodeOSD(e *wire.Encoder) {
	m.eachOSD(e, func(o *OSD) { e.AddrVec(o.HBBack) })
	m.eachOSD(e, func(o *OSD) { encodeInfo(e, o.Info) })
	encodeBlocklist(e, m.Blocklist)
	m.eachOSD(e, func(o *OSD) { e.AddrVec(o.Cluster) })
	e.U32(uint32(m.SnapshotEpoch))
	e.Str(m.Snapshot)
	m.eachOSD(e, func(o *OSD) { e.FSID(o.UUID) })
	m.eachOSD(e, func(o *OSD) { encodeXInfo(e, o.XInfo) })
	m.eachOSD(e, func(o *OSD) { e.AddrVec(o.HBFront) })
	e.F32(m.NearFullRatio)
	e.F32(m.FullRatio)
	e.F32(m.BackfillFullRatio)
	e.U8(m.RequireMinCompat)
	e.U8(m.RequireRelease)
	encodeSnapSets(e, m.RemovedSnapsQueue)
	encodeMap(e, m.CrushNodeFlags, e.I32, e.U32)
	encodeMap(e, m.DeviceClassFlags, e.I32, e.U32)
}

func (m *OSDMap) eachOSD(e *wire.Encoder, f func(*OSD)) {
	e.Count(len(m.OSDs))
	for i := range m.OSDs {
		f(&m.OSDs[i])
	}
}

func encodeBlocklist(e *wire.Encoder, m map[wire.Addr]wire.Time) {
	e.Count(len(m))
	addrs := make([]wire.Addr, 0, len(m))
	for a := range m {
		addrs = append(addrs, a)
	}
	for _, a := range sortedAddrs(addrs) {
		e.Addr(a)
		e.Time(m[a])
	}
}

func decodeBlocklist(d *wire.Decoder) map[wire.Addr]wire.Time {
	return decodeMap(d, 27, d.Addr, d.Time)
}

// DecodeOSDMap reads a full map as Pacific or a newer release writes it for a
// client of Pacific, and verifies its checksum. The map does not keep b.
func DecodeOSDMap(b []byte) (*OSDMap, error) {
	m, err := decodeFull(b)
	if err != nil {
		return nil, wire.Wrap("osdmap.decode", "", err)
	}
	m.seal(nil, nil)
	return m, nil
}

func decodeFull(b []byte) (*OSDMap, error) {
	d := wire.NewDecoder(b)
	m := &OSDMap{}
	outer := d.Begin(fullVersion)
	if d.Err() == nil && outer.Version < fullCompat {
		d.Fail(fmt.Errorf("%w: map of version %d", wire.ErrFormat, outer.Version))
	}
	block := d.Begin(clientVersion)
	if d.Err() == nil && block.Version < clientVersion {
		d.Fail(fmt.Errorf("%w: client part of version %d", wire.ErrFormat, block.Version))
	}
	m.decodeClient(d)
	d.End(block)
	block = d.Begin(osdVersion)
	if d.Err() == nil && block.Version < osdVersion {
		d.Fail(fmt.Errorf("%w: OSD part of version %d", wire.ErrFormat, block.Version))
	}
	m.decodeOSD(d)
	d.End(block)
	hole := d.Off()
	crc := d.U32()
	d.End(outer)
	if d.Err() != nil {
		return nil, d.Err()
	}
	if want := mapCRC(b[:d.Off()], hole); crc != want {
		return nil, wire.Wrap("decode", "", errnoInvalid(errChecksum(crc, want)))
	}
	return m, nil
}

// errnoInvalid gives err the kind EINVAL.
func errnoInvalid(err error) error {
	return &wire.Error{Op: "check", Kind: wire.EINVAL, Cause: err}
}

func (m *OSDMap) decodeClient(d *wire.Decoder) {
	m.FSID = d.FSID()
	m.Epoch = wire.Epoch(d.U32())
	m.Created = d.Time()
	m.Modified = d.Time()
	m.Pools = decodeMap(d, 200, d.I64, func() *Pool { return decodePool(d) })
	m.PoolNames = decodeMap(d, 12, d.I64, d.Str)
	m.PoolMax = d.I32()
	m.Flags = Flag(d.U32())
	n := int(d.I32())
	// The OSDs' states, weights, and addresses follow, 13 bytes or more each:
	// memory for max_osd is taken only if they can be there.
	if d.Err() == nil && (n < 0 || n > MaxOSDs || n > d.Len()/13) {
		d.Fail(fmt.Errorf("%w: max_osd %d", wire.ErrFormat, n))
	}
	if d.Err() != nil {
		return
	}
	m.OSDs = make([]OSD, n)
	m.eachDecoded(d, func(o *OSD) { o.State = State(d.U32()) })
	m.eachDecoded(d, func(o *OSD) { o.Weight = d.U32() })
	m.eachDecoded(d, func(o *OSD) { o.Client = d.AddrVec() })
	m.PGTemp = decodePGMap(d, 4, func() []int32 { return decodeItems(d) })
	m.PrimaryTemp = decodePGMap(d, 4, d.I32)
	m.decodeAffinity(d)
	m.Crush = decodeCrush(d, d.Bytes())
	m.ECProfiles = decodeNested(d)
	m.Upmap = decodePGMap(d, 4, func() []int32 { return decodeItems(d) })
	m.UpmapItems = decodePGMap(d, 4, func() []Pair { return decodePairs(d) })
	m.CrushVersion = d.U32()
	m.NewRemovedSnaps = decodeSnapSets(d)
	m.NewPurgedSnaps = decodeSnapSets(d)
	m.LastUpChange = d.Time()
	m.LastInChange = d.Time()
}

func (m *OSDMap) decodeAffinity(d *wire.Decoder) {
	v := decodeSlice(d, 4, d.U32)
	m.HasAffinity = len(v) > 0
	if m.HasAffinity && len(v) != len(m.OSDs) {
		d.Fail(fmt.Errorf("%w: %d affinities for %d OSDs", wire.ErrFormat, len(v), len(m.OSDs)))
		return
	}
	for i := range m.OSDs {
		m.OSDs[i].Affinity = WeightIn
		if m.HasAffinity {
			m.OSDs[i].Affinity = v[i]
		}
	}
}

// decodeCrush reads the CRUSH map within a map; never nil.
func decodeCrush(d *wire.Decoder, b []byte) *crush.Map {
	if d.Err() == nil {
		m, err := crush.DecodeMap(b)
		if err == nil {
			return m
		}
		d.Fail(err)
	}
	return crush.New()
}

func (m *OSDMap) decodeOSD(d *wire.Decoder) {
	m.eachDecoded(d, func(o *OSD) { o.HBBack = d.AddrVec() })
	m.eachDecoded(d, func(o *OSD) { o.Info = decodeInfo(d) })
	m.Blocklist = decodeBlocklist(d)
	m.eachDecoded(d, func(o *OSD) { o.Cluster = d.AddrVec() })
	m.SnapshotEpoch = wire.Epoch(d.U32())
	m.Snapshot = d.Str()
	m.eachDecoded(d, func(o *OSD) { o.UUID = d.FSID() })
	m.eachDecoded(d, func(o *OSD) { o.XInfo = decodeXInfo(d) })
	m.eachDecoded(d, func(o *OSD) { o.HBFront = d.AddrVec() })
	m.NearFullRatio, m.FullRatio, m.BackfillFullRatio = d.F32(), d.F32(), d.F32()
	m.RequireMinCompat, m.RequireRelease = d.U8(), d.U8()
	m.RemovedSnapsQueue = decodeSnapSets(d)
	m.CrushNodeFlags = decodeMap(d, 8, d.I32, d.U32)
	m.DeviceClassFlags = decodeMap(d, 8, d.I32, d.U32)
}

// eachDecoded reads a vector with one element for every OSD.
func (m *OSDMap) eachDecoded(d *wire.Decoder, f func(*OSD)) {
	n := d.Count(4)
	if d.Err() == nil && n != len(m.OSDs) {
		d.Fail(fmt.Errorf("%w: %d elements for %d OSDs", wire.ErrFormat, n, len(m.OSDs)))
	}
	if d.Err() != nil {
		return
	}
	for i := range m.OSDs {
		f(&m.OSDs[i])
	}
}
