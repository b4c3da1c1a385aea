package wire

import (
	"encoding/binary"
	"maps"
	"slices"
)

// paxosPrefix appends what starts the messages of the mon's services: the
// version seen, and two fields that only mons use among themselves.
func (e *Encoder) paxosPrefix(seen uint64) {
	e.U64(seen)
	e.U16(0xffff)
	e.U64(0)
}

func (d *Decoder) paxosPrefix() uint64 {
	seen := d.U64()
	d.Skip(2 + 8)
	return seen
}

func encodeMMonGetMap(*Encoder, *Parts, *MMonGetMap) {}
func decodeMMonGetMap(*Decoder, *Parts, *MMonGetMap) {}

func encodeMMonMap(e *Encoder, _ *Parts, m *MMonMap) { e.Bytes(m.Map) }
func decodeMMonMap(d *Decoder, _ *Parts, m *MMonMap) { m.Map = d.copyBytes() }

func encodeMConfig(e *Encoder, _ *Parts, m *MConfig) { e.strMap(m.Values) }
func decodeMConfig(d *Decoder, _ *Parts, m *MConfig) { m.Values = d.strMap() }

func encodeMAuth(e *Encoder, out *Parts, m *MAuth) {
	out.TID = m.TID
	e.paxosPrefix(m.Seen)
	e.U32(m.Protocol)
	e.Bytes(m.Payload)
	e.U32(uint32(m.MonMapEpoch))
}

func decodeMAuth(d *Decoder, in *Parts, m *MAuth) {
	m.TID = in.TID
	m.Seen = d.paxosPrefix()
	m.Protocol = d.U32()
	m.Payload = d.copyBytes()
	if d.Len() > 0 {
		m.MonMapEpoch = Epoch(d.U32())
	}
}

func encodeMAuthReply(e *Encoder, out *Parts, m *MAuthReply) {
	out.TID = m.TID
	e.U32(m.Protocol)
	e.I32(m.Result)
	e.I64(m.GlobalID)
	e.Bytes(m.Payload)
	e.Str(m.Status)
}

func decodeMAuthReply(d *Decoder, in *Parts, m *MAuthReply) {
	m.TID = in.TID
	m.Protocol = d.U32()
	m.Result = d.I32()
	m.GlobalID = d.I64()
	m.Payload = d.copyBytes()
	m.Status = d.Str()
}

const subscribeOnce = 1

func encodeMMonSubscribe(e *Encoder, _ *Parts, m *MMonSubscribe) {
	e.Count(len(m.What))
	for _, what := range slices.Sorted(maps.Keys(m.What)) {
		s := m.What[what]
		e.Str(what)
		e.U64(s.Start)
		if s.Once {
			e.U8(subscribeOnce)
		} else {
			e.U8(0)
		}
	}
	e.Str(m.Hostname)
}

func decodeMMonSubscribe(d *Decoder, in *Parts, m *MMonSubscribe) {
	m.What = make(map[string]Subscription)
	for n := d.Count(13); n > 0 && d.err == nil; n-- {
		what := d.Str()
		m.What[what] = Subscription{Start: d.U64(), Once: d.U8()&subscribeOnce != 0}
	}
	if in.Version >= 3 {
		m.Hostname = d.Str()
	}
}

// The question about versions and its answer are paired by a handle of their
// own; the header's tid is 0.

func encodeMMonGetVersion(e *Encoder, _ *Parts, m *MMonGetVersion) {
	e.U64(m.TID)
	e.Str(m.What)
}

func decodeMMonGetVersion(d *Decoder, _ *Parts, m *MMonGetVersion) {
	m.TID = d.U64()
	m.What = d.Str()
}

func encodeMMonGetVersionReply(e *Encoder, _ *Parts, m *MMonGetVersionReply) {
	e.U64(m.TID)
	e.U64(m.Newest)
	e.U64(m.Oldest)
}

func decodeMMonGetVersionReply(d *Decoder, in *Parts, m *MMonGetVersionReply) {
	m.TID = d.U64()
	m.Newest = d.U64()
	if in.Version >= 2 {
		m.Oldest = d.U64()
	}
}

func encodeMMonCommand(e *Encoder, out *Parts, m *MMonCommand) {
	out.TID = m.TID
	e.paxosPrefix(m.Seen)
	e.FSID(m.FSID)
	e.Strs(m.Cmd)
	out.Data = DataOf(m.Input)
}

func decodeMMonCommand(d *Decoder, in *Parts, m *MMonCommand) {
	m.TID = in.TID
	m.Seen = d.paxosPrefix()
	m.FSID = d.FSID()
	m.Cmd = d.Strs()
	m.Input = in.takeData()
}

func encodeMMonCommandAck(e *Encoder, out *Parts, m *MMonCommandAck) {
	out.TID = m.TID
	e.paxosPrefix(m.Seen)
	e.I32(m.Result)
	e.Str(m.Status)
	e.Strs(m.Cmd)
	out.Data = DataOf(m.Output)
}

func decodeMMonCommandAck(d *Decoder, in *Parts, m *MMonCommandAck) {
	m.TID = in.TID
	m.Seen = d.paxosPrefix()
	m.Result = d.I32()
	m.Status = d.Str()
	m.Cmd = d.Strs()
	m.Output = in.takeData()
}

func encodeMPoolOp(e *Encoder, out *Parts, m *MPoolOp) {
	out.TID = m.TID
	e.paxosPrefix(m.Seen)
	e.FSID(m.FSID)
	e.U32(uint32(m.Pool))
	e.U32(uint32(m.Op))
	e.U64(0) // owner: no longer in use
	e.U64(uint64(m.Snap))
	e.Str(m.Name)
	e.U8(0)
	e.U16(uint16(m.CrushRule))
}

func decodeMPoolOp(d *Decoder, in *Parts, m *MPoolOp) {
	m.TID = in.TID
	m.Seen = d.paxosPrefix()
	m.FSID = d.FSID()
	m.Pool = int64(d.U32())
	m.Op = PoolOp(d.U32())
	d.Skip(8)
	m.Snap = SnapID(d.U64())
	m.Name = d.Str()
	d.Skip(1)
	m.CrushRule = -1
	if in.Version >= 4 {
		m.CrushRule = int16(d.U16())
	}
}

func encodeMPoolOpReply(e *Encoder, out *Parts, m *MPoolOpReply) {
	out.TID = m.TID
	e.paxosPrefix(m.Seen)
	e.FSID(m.FSID)
	e.I32(m.Result)
	e.U32(uint32(m.Epoch))
	e.Bool(m.Snap != 0)
	if m.Snap != 0 {
		e.Count(8)
		e.U64(uint64(m.Snap))
	}
}

func decodeMPoolOpReply(d *Decoder, in *Parts, m *MPoolOpReply) {
	m.TID = in.TID
	m.Seen = d.paxosPrefix()
	m.FSID = d.FSID()
	m.Result = d.I32()
	m.Epoch = Epoch(d.U32())
	if d.Bool() {
		if p := d.Bytes(); len(p) >= 8 {
			m.Snap = SnapID(binary.LittleEndian.Uint64(p))
		}
	}
}

func encodeMRemoveSnaps(e *Encoder, out *Parts, m *MRemoveSnaps) {
	out.TID = m.TID
	e.paxosPrefix(m.Seen)
	e.Count(len(m.Snaps))
	for _, pool := range slices.Sorted(maps.Keys(m.Snaps)) {
		e.I32(int32(pool))
		e.snaps(m.Snaps[pool])
	}
}

func decodeMRemoveSnaps(d *Decoder, in *Parts, m *MRemoveSnaps) {
	m.TID = in.TID
	m.Seen = d.paxosPrefix()
	m.Snaps = make(map[int64][]SnapID)
	for n := d.Count(8); n > 0 && d.err == nil; n-- {
		pool := int64(d.I32())
		m.Snaps[pool] = d.snaps()
	}
}

func (e *Encoder) snaps(v []SnapID) {
	e.Count(len(v))
	for _, s := range v {
		e.U64(uint64(s))
	}
}

func (d *Decoder) snaps() []SnapID {
	n := d.Count(8)
	if n == 0 {
		return nil
	}
	v := make([]SnapID, n)
	for i := range v {
		v[i] = SnapID(d.U64())
	}
	return v
}

func encodeMLog(e *Encoder, _ *Parts, m *MLog) {
	e.paxosPrefix(m.Seen)
	e.FSID(m.FSID)
	e.Count(len(m.Entries))
	for i := range m.Entries {
		l := &m.Entries[i]
		b := e.Begin(5, 5)
		e.U32(uint32(l.Name.Type))
		e.Str(l.Name.ID)
		e.EntityName(l.Rank)
		e.AddrVec(l.Addrs)
		e.Time(l.Time)
		e.U64(l.Seq)
		e.U16(l.Level)
		e.Str(l.Text)
		e.Str(l.Channel)
		e.End(b)
	}
}

func decodeMLog(d *Decoder, _ *Parts, m *MLog) {
	m.Seen = d.paxosPrefix()
	m.FSID = d.FSID()
	for n := d.Count(6 + 8 + 9 + 5 + 8 + 8 + 2 + 8); n > 0 && d.err == nil; n-- {
		b := d.Begin(5)
		var l LogEntry
		l.Name = AuthName{Type: EntityType(d.U32()), ID: d.Str()}
		l.Rank = d.EntityName()
		l.Addrs = d.AddrVec()
		l.Time = d.Time()
		l.Seq = d.U64()
		l.Level = d.U16()
		l.Text = d.Str()
		l.Channel = d.Str()
		d.End(b)
		m.Entries = append(m.Entries, l)
	}
}

func encodeMLogAck(e *Encoder, _ *Parts, m *MLogAck) {
	e.FSID(m.FSID)
	e.U64(m.Last)
	e.Str(m.Channel)
}

func decodeMLogAck(d *Decoder, _ *Parts, m *MLogAck) {
	m.FSID = d.FSID()
	m.Last = d.U64()
	m.Channel = d.Str()
}
