package wire

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
)

// takeData copies a message's data segment, where it is not file data.
func (p *Parts) takeData() []byte {
	if p.Data.Len() == 0 {
		return nil
	}
	return p.Data.AppendTo(make([]byte, 0, p.Data.Len()))
}

// copyBytes reads a length and bytes, and copies them; nil when there are none.
func (d *Decoder) copyBytes() []byte { return append([]byte(nil), d.Bytes()...) }

func encodeMPing(*Encoder, *Parts, *MPing) {}
func decodeMPing(*Decoder, *Parts, *MPing) {}

func encodeMOSDMap(e *Encoder, _ *Parts, m *MOSDMap) {
	e.FSID(m.FSID)
	e.maps(m.Incrementals)
	e.maps(m.Fulls)
	e.U32(uint32(m.Oldest))
	e.U32(uint32(m.Newest))
	e.Count(len(m.GapRemovedSnaps))
	for _, pool := range slices.Sorted(maps.Keys(m.GapRemovedSnaps)) {
		e.I64(pool)
		runs := m.GapRemovedSnaps[pool]
		e.Count(len(runs))
		for _, r := range runs {
			e.U64(uint64(r.Start))
			e.U64(r.Len)
		}
	}
}

func (e *Encoder) maps(m map[Epoch][]byte) {
	e.Count(len(m))
	for _, epoch := range slices.Sorted(maps.Keys(m)) {
		e.U32(uint32(epoch))
		e.Bytes(m[epoch])
	}
}

func decodeMOSDMap(d *Decoder, in *Parts, m *MOSDMap) {
	m.FSID = d.FSID()
	m.Incrementals = d.maps()
	m.Fulls = d.maps()
	if in.Version >= 2 {
		m.Oldest = Epoch(d.U32())
		m.Newest = Epoch(d.U32())
	}
	if in.Version < 4 {
		return
	}
	for n := d.Count(12); n > 0 && d.err == nil; n-- {
		if m.GapRemovedSnaps == nil {
			m.GapRemovedSnaps = make(map[int64][]SnapInterval)
		}
		pool := d.I64()
		var runs []SnapInterval
		for k := d.Count(16); k > 0; k-- {
			runs = append(runs, SnapInterval{Start: SnapID(d.U64()), Len: d.U64()})
		}
		m.GapRemovedSnaps[pool] = runs
	}
}

func (d *Decoder) maps() map[Epoch][]byte {
	n := d.Count(8)
	if n == 0 {
		return nil
	}
	m := make(map[Epoch][]byte)
	for ; n > 0 && d.err == nil; n-- {
		epoch := Epoch(d.U32())
		m[epoch] = d.copyBytes()
	}
	return m
}

// encodeMWatchNotify puts the result of a notify where clients look for it,
// behind the message; what a watcher gets is within.
func encodeMWatchNotify(e *Encoder, out *Parts, m *MWatchNotify) {
	payload := m.Payload
	if m.Event == EventNotifyComplete {
		out.Data, payload = DataOf(payload), nil
	}
	e.U8(1)
	e.U8(uint8(m.Event))
	e.U64(m.Cookie)
	e.U64(m.Version)
	e.U64(m.NotifyID)
	e.Bytes(payload)
	e.I32(m.Result)
	e.U64(m.Notifier)
}

func decodeMWatchNotify(d *Decoder, in *Parts, m *MWatchNotify) {
	v := d.U8()
	m.Event = WatchEvent(d.U8())
	m.Cookie = d.U64()
	m.Version = d.U64()
	m.NotifyID = d.U64()
	if v >= 1 {
		m.Payload = d.copyBytes()
	}
	if m.Event == EventNotifyComplete && len(m.Payload) == 0 {
		m.Payload = in.takeData()
	}
	if in.Version >= 2 {
		m.Result = d.I32()
	}
	if in.Version >= 3 {
		m.Notifier = d.U64()
	}
}

// Append appends the input of NOTIFY.
func (n NotifyInput) Append(b []byte) []byte {
	e := Encoder{B: b}
	e.U32(1)
	e.U32(n.Timeout)
	e.Bytes(n.Payload)
	return e.B
}

// DecodeNotifyInput reads the input of NOTIFY, from Op.Value. The payload is
// part of b.
func DecodeNotifyInput(b []byte) (NotifyInput, error) {
	d := Decoder{b: b, all: b}
	d.U32() // the format's version, always 1
	n := NotifyInput{Timeout: d.U32(), Payload: d.Bytes()}
	return n, d.err
}

// Append appends the input of NOTIFY_ACK.
func (n NotifyAckInput) Append(b []byte) []byte {
	e := Encoder{B: b}
	e.U64(n.NotifyID)
	e.U64(n.Cookie)
	e.Bytes(n.Payload)
	return e.B
}

// DecodeNotifyAckInput reads the input of NOTIFY_ACK, from Op.Value. The
// payload, which old clients leave out, is part of b.
func DecodeNotifyAckInput(b []byte) (NotifyAckInput, error) {
	d := Decoder{b: b, all: b}
	n := NotifyAckInput{NotifyID: d.U64(), Cookie: d.U64()}
	if d.Len() > 0 {
		n.Payload = d.Bytes()
	}
	return n, d.err
}

// Append appends the payload of EventNotifyComplete.
func (r NotifyResult) Append(b []byte) []byte {
	e := Encoder{B: b}
	e.Count(len(r.Replies))
	for i := range r.Replies {
		e.U64(r.Replies[i].GlobalID)
		e.U64(r.Replies[i].Cookie)
		e.Bytes(r.Replies[i].Payload)
	}
	e.Count(len(r.Missed))
	for _, w := range r.Missed {
		e.U64(w.GlobalID)
		e.U64(w.Cookie)
	}
	return e.B
}

// DecodeNotifyResult reads the payload of EventNotifyComplete. The replies'
// payloads are parts of b.
func DecodeNotifyResult(b []byte) (r NotifyResult, err error) {
	d := Decoder{b: b, all: b}
	for n := d.Count(20); n > 0 && d.err == nil; n-- {
		id := WatcherID{GlobalID: d.U64(), Cookie: d.U64()}
		r.Replies = append(r.Replies, NotifyReply{id, d.Bytes()})
	}
	for n := d.Count(16); n > 0; n-- {
		r.Missed = append(r.Missed, WatcherID{GlobalID: d.U64(), Cookie: d.U64()})
	}
	return r, d.err
}

func encodeMOSDBackoff(e *Encoder, _ *Parts, m *MOSDBackoff) {
	e.SPGID(m.PG)
	e.U32(uint32(m.Epoch))
	e.U8(uint8(m.Op))
	e.U64(m.ID)
	e.HObject(m.Begin)
	e.HObject(m.End)
}

func decodeMOSDBackoff(d *Decoder, _ *Parts, m *MOSDBackoff) {
	m.PG = d.SPGID()
	m.Epoch = Epoch(d.U32())
	m.Op = BackoffOp(d.U8())
	m.ID = d.U64()
	m.Begin = d.HObject()
	m.End = d.HObject()
	if m.Op < BackoffBlock || m.Op > BackoffUnblock {
		d.Fail(fmt.Errorf("%w: backoff operation %d", ErrFormat, m.Op))
	}
}

func encodeMCommand(e *Encoder, out *Parts, m *MCommand) {
	out.TID = m.TID
	e.FSID(m.FSID)
	e.Strs(m.Cmd)
	out.Data = DataOf(m.Input)
}

func decodeMCommand(d *Decoder, in *Parts, m *MCommand) {
	m.TID = in.TID
	m.FSID = d.FSID()
	m.Cmd = d.Strs()
	m.Input = in.takeData()
}

func encodeMCommandReply(e *Encoder, out *Parts, m *MCommandReply) {
	out.TID = m.TID
	e.I32(m.Result)
	e.Str(m.Status)
	out.Data = DataOf(m.Output)
}

func decodeMCommandReply(d *Decoder, in *Parts, m *MCommandReply) {
	m.TID = in.TID
	m.Result = d.I32()
	m.Status = d.Str()
	m.Output = in.takeData()
}

func encodeMMgrCommand(e *Encoder, out *Parts, m *MMgrCommand) {
	encodeMCommand(e, out, (*MCommand)(m))
}

func decodeMMgrCommand(d *Decoder, in *Parts, m *MMgrCommand) {
	decodeMCommand(d, in, (*MCommand)(m))
}

func encodeMMgrCommandReply(e *Encoder, out *Parts, m *MMgrCommandReply) {
	encodeMCommandReply(e, out, (*MCommandReply)(m))
}

func decodeMMgrCommandReply(d *Decoder, in *Parts, m *MMgrCommandReply) {
	decodeMCommandReply(d, in, (*MCommandReply)(m))
}

func encodeMMgrMap(e *Encoder, _ *Parts, msg *MMgrMap) {
	m := &msg.Map
	b := e.Begin(12, 6)
	e.U32(uint32(m.Epoch))
	e.AddrVec(m.Active)
	e.U64(m.GlobalID)
	e.Bool(m.Available)
	e.Str(m.Name)
	e.Count(len(m.Standbys))
	for _, id := range slices.Sorted(maps.Keys(m.Standbys)) {
		e.U64(id)
		e.rawBlock(m.Standbys[id])
	}
	e.Strs(m.Modules)
	e.strMap(m.Services)
	e.Count(len(m.AvailableModules))
	for _, b := range m.AvailableModules {
		e.rawBlock(b)
	}
	e.Time(m.ActiveSince)
	e.Count(len(m.AlwaysOn))
	for _, release := range slices.Sorted(maps.Keys(m.AlwaysOn)) {
		e.U32(release)
		e.Strs(m.AlwaysOn[release])
	}
	e.U64(m.MgrFeatures)
	e.U32(uint32(m.LastFailure))
	e.Count(len(m.Clients))
	for _, c := range m.Clients {
		e.AddrVec(c)
	}
	e.Strs(m.ClientNames)
	e.End(b)
}

// decodeMMgrMap reads the map as Octopus and later have it; what an older one
// lacks stays empty.
func decodeMMgrMap(d *Decoder, _ *Parts, msg *MMgrMap) {
	m := &msg.Map
	b := d.Begin(12)
	m.Epoch = Epoch(d.U32())
	m.Active = d.AddrVec()
	m.GlobalID = d.U64()
	m.Available = d.Bool()
	m.Name = d.Str()
	for n := d.Count(14); n > 0 && d.err == nil; n-- {
		if m.Standbys == nil {
			m.Standbys = make(map[uint64]RawBlock)
		}
		id := d.U64()
		m.Standbys[id] = d.rawBlock()
	}
	m.Modules = d.Strs()
	m.Services = d.strMap()
	for n := d.Count(6); n > 0 && d.err == nil; n-- {
		m.AvailableModules = append(m.AvailableModules, d.rawBlock())
	}
	m.ActiveSince = d.Time()
	if b.Version >= 7 {
		for n := d.Count(8); n > 0 && d.err == nil; n-- {
			if m.AlwaysOn == nil {
				m.AlwaysOn = make(map[uint32][]string)
			}
			release := d.U32()
			m.AlwaysOn[release] = d.Strs()
		}
	}
	if b.Version >= 8 {
		m.MgrFeatures = d.U64()
	}
	if b.Version >= 9 {
		m.LastFailure = Epoch(d.U32())
	}
	if b.Version >= 11 {
		for n := d.Count(5); n > 0 && d.err == nil; n-- {
			m.Clients = append(m.Clients, d.AddrVec())
		}
	}
	if b.Version >= 12 {
		m.ClientNames = d.Strs()
	}
	d.End(b)
}

func (e *Encoder) rawBlock(r RawBlock) {
	b := e.Begin(r.Version, r.Compat)
	e.Raw(r.Body)
	e.End(b)
}

func (d *Decoder) rawBlock() RawBlock {
	r := RawBlock{Version: d.U8(), Compat: d.U8()}
	r.Body = bytes.Clone(d.Bytes())
	return r
}

// strMap appends map<string, string>.
func (e *Encoder) strMap(m map[string]string) {
	e.Count(len(m))
	for _, k := range slices.Sorted(maps.Keys(m)) {
		e.Str(k)
		e.Str(m[k])
	}
}

func (d *Decoder) strMap() map[string]string {
	n := d.Count(8)
	if n == 0 {
		return nil
	}
	m := make(map[string]string)
	for ; n > 0 && d.err == nil; n-- {
		k := d.Str()
		m[k] = d.Str()
	}
	return m
}
