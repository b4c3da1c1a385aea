package osd

import (
	"context"
	"sync"
	"time"

	"github.com/spirula/spirula/rados/msgr"
	"github.com/spirula/spirula/rados/wire"
)

const (
	beatEvery  = 2 * time.Second
	beatGrace  = 20 * time.Second // Options.HeartbeatGrace
	typePing   = wire.MsgType(0x8120)
	maxBeatGap = 3 // of our own beats missed: we were stopped, not they
)

// ping asks an OSD whether it is there, or answers. Stamp is the asker's
// clock and comes back as it was.
type ping struct {
	From  int32
	Epoch wire.Epoch // the sender's map
	Stamp int64
	Reply bool
}

// MsgType implements wire.Message.
func (*ping) MsgType() wire.MsgType { return typePing }

var pingCodec = wire.Codec{Version: 1, Compat: 1, Priority: 196,
	Encode: func(e *wire.Encoder, _ *wire.Parts, m wire.Message) {
		p := m.(*ping)
		b := e.Begin(1, 1)
		e.I32(p.From)
		e.U32(uint32(p.Epoch))
		e.I64(p.Stamp)
		e.Bool(p.Reply)
		e.End(b)
	},
	Decode: func(d *wire.Decoder, _ *wire.Parts) wire.Message {
		b := d.Begin(1)
		p := &ping{From: d.I32(), Epoch: wire.Epoch(d.U32()), Stamp: d.I64(), Reply: d.Bool()}
		d.End(b)
		return p
	}}

// beats is when the OSDs that we share PGs with were last heard.
type beats struct {
	mu    sync.Mutex
	peers map[int32]*beat
	last  time.Time // our own last round
}

type beat struct {
	addr     wire.Addr // a new one is a new life
	heard    time.Time
	reported bool
}

// beatLoop asks the peers whether they are there, and reports those that do
// not answer to the mon, who weighs it.
func (d *OSD) beatLoop(ctx context.Context) {
	grace := d.opts.HeartbeatGrace
	if grace <= 0 {
		grace = beatGrace
	}
	every := min(beatEvery, max(grace/5, time.Millisecond))
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			d.beat(grace, every)
		}
	}
}

// beat is one round.
func (d *OSD) beat(grace, every time.Duration) {
	cur := d.current.Load()
	if cur == nil || !d.serving.Load() {
		return
	}
	now := time.Now()
	peers := d.sortedPeers()
	var late []*wire.MOSDFailure
	d.beats.mu.Lock()
	// Who was not running can't tell who was.
	stopped := now.Sub(d.beats.last) > maxBeatGap*every+grace/4
	d.beats.last = now
	old := d.beats.peers
	d.beats.peers = make(map[int32]*beat, len(peers))
	for _, o := range peers {
		if !cur.IsUp(o) {
			continue
		}
		b := old[o]
		if b == nil || b.addr != cur.ClusterAddr(o) {
			b = &beat{addr: cur.ClusterAddr(o), heard: now}
		}
		if stopped {
			b.heard = now
		}
		d.beats.peers[o] = b
		if silent := now.Sub(b.heard); silent > grace {
			b.reported = true
			late = append(late, d.failure(o, b, silent))
		}
	}
	d.beats.mu.Unlock()
	for _, m := range late {
		d.log.Warn("osd does not answer", "osd", m.Target, "for", time.Duration(m.FailedFor))
		if err := d.opts.Mon.Send(m); err != nil {
			d.log.Debug("failure not reported", "osd", m.Target, "err", err)
		}
	}
	for _, o := range peers {
		d.peers.send(d, o, &ping{From: d.opts.ID, Epoch: cur.Epoch, Stamp: now.UnixNano()})
	}
}

func (d *OSD) failure(osd int32, b *beat, silent time.Duration) *wire.MOSDFailure {
	cur := d.current.Load()
	return &wire.MOSDFailure{Reporter: d.opts.ID, Target: osd, TargetAddr: cur.Addr(osd), FailedFor: wire.Time(silent),
		Epoch: cur.Epoch}
}

// handlePing answers a peer, or notes its answer. A peer that was reported
// and answers is taken back.
func (d *OSD) handlePing(c msgr.Conn, m *ping) {
	if c.Peer() != (wire.EntityName{Type: wire.EntityOSD, Num: int64(m.From)}) {
		return
	}
	if !m.Reply {
		d.peers.send(d, m.From, &ping{From: d.opts.ID, Epoch: d.epoch(), Stamp: m.Stamp, Reply: true})
		return
	}
	var back *wire.MOSDFailure
	d.beats.mu.Lock()
	if b := d.beats.peers[m.From]; b != nil {
		if sent := time.Unix(0, m.Stamp); sent.After(b.heard) {
			b.heard = sent
		}
		if b.reported {
			b.reported = false
			back = d.failure(m.From, b, 0)
		}
	}
	d.beats.mu.Unlock()
	if back != nil {
		if err := d.opts.Mon.Send(back); err != nil {
			d.log.Debug("report not taken back", "osd", m.From, "err", err)
		}
	}
}
