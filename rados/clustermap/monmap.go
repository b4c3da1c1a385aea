package clustermap

import "github.com/spirula/spirula/rados/wire"

// MonInfo describes one monitor.
type MonInfo struct {
	Name             string
	Addrs            []wire.Addr // nonce 0
	Priority, Weight uint16
	CrushLoc         map[string]string
}

// MonMap lists the monitors. Their order in Mons is their rank.
type MonMap struct {
	FSID                wire.FSID
	Epoch               wire.Epoch
	LastChange, Created wire.Time
	Mons                []MonInfo

	Persistent, Optional uint64 // feature words; 0xff, 0
	MinRelease           uint8  // 16: Pacific
	RemovedRanks         []uint32
	Strategy             uint8 // 1: classic
	DisallowedLeaders    []string
	StretchMode          bool
	Tiebreaker           string
	StretchMarkedDown    []string
}

// NewMonMap makes a map of epoch 1 of these monitors.
func NewMonMap(fsid wire.FSID, now wire.Time, mons []MonInfo) *MonMap {
	return &MonMap{FSID: fsid, Epoch: 1, LastChange: now, Created: now, Mons: mons,
		Persistent: 0xff, MinRelease: RequireRelease16, Strategy: 1}
}

// Mon gives the monitor of that name, or nil.
func (m *MonMap) Mon(name string) *MonInfo {
	for i := range m.Mons {
		if m.Mons[i].Name == name {
			return &m.Mons[i]
		}
	}
	return nil
}

const monMapVersion = 9

// Encode gives the map in Ceph's encoding.
func (m *MonMap) Encode() []byte {
	e := &wire.Encoder{}
	block := e.Begin(monMapVersion, 6)
	e.FSID(m.FSID)
	e.U32(uint32(m.Epoch))
	e.Time(m.LastChange)
	e.Time(m.Created)
	for _, f := range [...]uint64{m.Persistent, m.Optional} {
		b := e.Begin(1, 1)
		e.U64(f)
		e.End(b)
	}
	byName := make(map[string]MonInfo, len(m.Mons))
	for _, mon := range m.Mons {
		byName[mon.Name] = mon
	}
	encodeMap(e, byName, e.Str, func(mon MonInfo) { mon.encode(e) })
	encodeSlice(e, m.Mons, func(mon MonInfo) { e.Str(mon.Name) })
	e.U8(m.MinRelease)
	encodeSlice(e, m.RemovedRanks, e.U32)
	e.U8(m.Strategy)
	encodeSlice(e, m.DisallowedLeaders, e.Str)
	e.Bool(m.StretchMode)
	e.Str(m.Tiebreaker)
	encodeSlice(e, m.StretchMarkedDown, e.Str)
	e.End(block)
	return e.B
}

func (mon MonInfo) encode(e *wire.Encoder) {
	b := e.Begin(5, 1)
	e.Str(mon.Name)
	e.AddrVec(mon.Addrs)
	e.U16(mon.Priority)
	e.U16(mon.Weight)
	encodeStrings(e, mon.CrushLoc)
	e.End(b)
}

// DecodeMonMap reads a monitors' map of Pacific or newer.
func DecodeMonMap(b []byte) (*MonMap, error) {
	d := wire.NewDecoder(b)
	m := &MonMap{}
	block := d.Begin(monMapVersion)
	if d.Err() == nil && block.Version < 6 {
		d.Fail(wire.ErrFormat)
	}
	m.FSID = d.FSID()
	m.Epoch = wire.Epoch(d.U32())
	m.LastChange = d.Time()
	m.Created = d.Time()
	for _, f := range [...]*uint64{&m.Persistent, &m.Optional} {
		b := d.Begin(1)
		*f = d.U64()
		d.End(b)
	}
	byName := decodeMap(d, 30, d.Str, func() MonInfo { return decodeMonInfo(d) })
	for _, name := range decodeSlice(d, 4, d.Str) {
		mon, ok := byName[name]
		if !ok {
			d.Fail(wire.ErrFormat)
			break
		}
		m.Mons = append(m.Mons, mon)
	}
	if block.Version >= 7 {
		m.MinRelease = d.U8()
	}
	if block.Version >= 8 {
		m.RemovedRanks = decodeSlice(d, 4, d.U32)
	}
	if block.Version >= 9 {
		m.Strategy = d.U8()
		m.DisallowedLeaders = decodeSlice(d, 4, d.Str)
		m.StretchMode = d.Bool()
		m.Tiebreaker = d.Str()
		m.StretchMarkedDown = decodeSlice(d, 4, d.Str)
	}
	d.End(block)
	if err := d.Err(); err != nil {
		return nil, wire.Wrap("monmap.decode", "", err)
	}
	return m, nil
}

func decodeMonInfo(d *wire.Decoder) (mon MonInfo) {
	b := d.Begin(5)
	mon.Name = d.Str()
	mon.Addrs = d.AddrVec()
	mon.Priority = d.U16()
	if b.Version >= 4 {
		mon.Weight = d.U16()
	}
	if b.Version >= 5 {
		mon.CrushLoc = decodeStrings(d)
	}
	d.End(b)
	return mon
}
