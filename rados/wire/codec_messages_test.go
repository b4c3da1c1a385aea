package wire

import (
	"bytes"
	"errors"
	"net/netip"
	"reflect"
	"runtime"
	"slices"
	"testing"
)

func testAddr(port uint16) Addr {
	return Addr{Type: AddrMsgr2, Nonce: 7, IP: netip.AddrPortFrom(netip.MustParseAddr("10.1.2.3"), port)}
}

// everyMessage has one message of each type in the table, no field empty.
func everyMessage() []Message {
	fsid := FSID{1, 2, 3}
	h := HObject{Pool: 3, Hash: 0x1234, Namespace: "n", Key: "k", Name: "o", Snap: NoSnap}
	det := &PoolDetail{LogSize: 5, OnDiskLogSize: 6, Up: 7, Acting: 8, StoresCounted: 9}
	det.Sums.Copies, det.Sums.FlushLow, det.Sums.Repaired, det.Store.Allocated = 11, 12, 13, 14
	return []Message{
		&MPing{},
		&MMonMap{Map: []byte("map")},
		&MMonGetMap{},
		&MStatfs{TID: 1, Seen: 2, FSID: fsid, HasPool: true, Pool: 4},
		&MStatfsReply{TID: 1, FSID: fsid, Version: 2, KB: 3, KBUsed: 4, KBAvail: 5, Objects: 6},
		&MMonSubscribe{What: map[string]Subscription{SubConfig: {}, SubOSDMap: {Start: 5, Once: true}}, Hostname: "h"},
		&MAuth{TID: 1, Seen: 2, Protocol: 2, Payload: []byte("ticket"), MonMapEpoch: 3},
		&MAuthReply{TID: 1, Result: -13, GlobalID: 4121, Protocol: 2, Payload: []byte("p"), Status: "no"},
		&MMonGetVersion{TID: 9, What: SubOSDMap},
		&MMonGetVersionReply{TID: 9, Newest: 8, Oldest: 7},
		&MOSDMap{FSID: fsid, Incrementals: map[Epoch][]byte{4: []byte("i4"), 5: []byte("i5")},
			Fulls: map[Epoch][]byte{3: []byte("f3")}, Oldest: 1, Newest: 5,
			GapRemovedSnaps: map[int64][]SnapInterval{2: {{5, 1}, {8, 3}}}},
		&MWatchNotify{Event: EventNotifyComplete, Cookie: 1, Version: 2, NotifyID: 3, Payload: []byte("x"), Result: -110, Notifier: 4},
		&MPoolOp{TID: 1, Seen: 2, FSID: fsid, Pool: 3, Op: PoolCreateSnap, Snap: 4, Name: "s", CrushRule: -1},
		&MPoolOpReply{TID: 1, Seen: 2, FSID: fsid, Result: -17, Epoch: 5, Snap: 6},
		&MMonCommand{TID: 1, Seen: 2, FSID: fsid, Cmd: []string{"{}"}, Input: []byte("in")},
		&MMonCommandAck{TID: 1, Seen: 2, Result: -22, Status: "no", Cmd: []string{"{}"}, Output: []byte("out")},
		&MLog{Seen: 1, FSID: fsid, Entries: []LogEntry{{Name: AuthName{EntityClient, "admin"},
			Rank: EntityName{EntityClient, 5}, Addrs: []Addr{testAddr(0)}, Time: 5e9, Seq: 6, Level: 3, Text: "t", Channel: "cluster"}}},
		&MLogAck{FSID: fsid, Last: 6, Channel: "cluster"},
		&MGetPoolStats{TID: 1, Seen: 2, FSID: fsid, Pools: []string{"a", "b"}},
		&MGetPoolStatsReply{TID: 1, Seen: 2, FSID: fsid, PerPool: true,
			Pools: map[string]PoolStat{"a": {Objects: 4, Clones: 1, Bytes: 99, OmapBytes: 3, Detail: det}}},
		&MOSDBackoff{PG: SPGID{PGID{3, 1}, NoShard}, Epoch: 5, Op: BackoffBlock, ID: 77, Begin: h, End: MaxHObject},
		&MConfig{Values: map[string]string{"a": "b", "c": "d"}},
		&MRemoveSnaps{TID: 1, Seen: 2, Snaps: map[int64][]SnapID{2: {3, 4}, 5: {6}}},
		&MCommand{TID: 1, FSID: fsid, Cmd: []string{"x"}, Input: []byte("in")},
		&MCommandReply{TID: 1, Result: -22, Status: "s", Output: []byte("out")},
		&MMgrMap{Map: MgrMap{Epoch: 3, Active: []Addr{testAddr(6800)}, GlobalID: 5, Available: true, Name: "x",
			Standbys: map[uint64]RawBlock{7: {4, 1, []byte("body")}}, Modules: []string{"m"},
			Services: map[string]string{"s": "u"}, AvailableModules: []RawBlock{{1, 1, []byte("mod")}}, ActiveSince: 6e9,
			AlwaysOn: map[uint32][]string{16: {"b"}}, MgrFeatures: 8, LastFailure: 9,
			Clients: [][]Addr{{testAddr(1)}}, ClientNames: []string{"c"}}},
		&MMgrCommand{TID: 1, FSID: fsid, Cmd: []string{"x"}, Input: []byte("in")},
		&MMgrCommandReply{TID: 1, Result: -22, Status: "s", Output: []byte("out")},
		&MOSDBoot{OSD: 1, UUID: fsid, Public: testAddr(1), Cluster: testAddr(2), Epoch: 3, Host: "h", Weight: 0x10000},
		&MOSDAlive{OSD: 1, Want: 2},
		&MOSDMarkDown{OSD: 1},
		&MOSDFailure{Reporter: 1, Target: 2, TargetAddr: testAddr(3), FailedFor: 4, Epoch: 5},
		&MOSDPGTemp{OSD: 1, Epoch: 2, Temp: map[PGID][]int32{{1, 2}: {3, 4}, {1, 1}: nil, {0, 9}: {-1}}},
		&MOSDStats{OSD: 1, Total: 2, Used: 3, Avail: 4, PGs: map[PGID]PGStat{{1, 2}: {State: "active+clean",
			Stat: PoolStat{Objects: 1, Clones: 2, Bytes: 3, OmapBytes: 4}, LastEpochClean: 5, Missing: 6, Up: []int32{1},
			Acting: []int32{1, 2}, LastDeepScrub: 7, ReportedVersion: EVersion{8, 9}}}},
		&MOSDPurged{OSD: 1, PG: PGID{2, 3}, Snaps: []SnapID{4, 5}},
	}
}

func TestEveryMessage(t *testing.T) {
	seen := make(map[MsgType]bool)
	for _, m := range everyMessage() {
		seen[m.MsgType()] = true
		p, err := EncodeMessage(m)
		if err != nil {
			t.Fatalf("%T: %v", m, err)
		}
		got, err := DecodeMessage(p)
		if err != nil {
			t.Errorf("%T: %v", m, err)
		} else if !reflect.DeepEqual(got, m) {
			t.Errorf("decoded\n got %+v\nwant %+v", got, m)
		}
		for n := range p.Front {
			cut := p
			cut.Front = cut.Front[:n]
			if _, err := DecodeMessage(cut); err == nil && m.MsgType() != TypeMAuth {
				t.Errorf("%T cut to %d of %d bytes decodes", m, n, len(p.Front))
			}
		}
	}
	for typ := range codecs {
		if !seen[typ] {
			t.Errorf("no message of type %d", typ)
		}
	}
}

// TestKeepsNothing checks that a decoded message does not refer to the front.
func TestKeepsNothing(t *testing.T) {
	for _, m := range append(everyMessage(), testOSDOp()) {
		p, err := EncodeMessage(m)
		if err != nil {
			t.Fatal(err)
		}
		got, err := DecodeMessage(p)
		if err != nil {
			t.Fatal(err)
		}
		before, _ := EncodeMessage(got)
		for i := range p.Front {
			p.Front[i] = 0xDB
		}
		after, _ := EncodeMessage(got)
		if !bytes.Equal(before.Front, after.Front) {
			t.Errorf("%T changes with its front", m)
		}
	}
}

func TestRegistry(t *testing.T) {
	const mine MsgType = 0x9001
	if _, err := EncodeMessage(ownMessage{}); ErrnoOf(err) != EOPNOTSUPP {
		t.Errorf("encoding an unknown type: %v", err)
	}
	if _, err := DecodeMessage(Parts{Header: Header{Type: mine}}); ErrnoOf(err) != EOPNOTSUPP {
		t.Errorf("decoding an unknown type: %v", err)
	}
	r := NewRegistry(map[MsgType]Codec{mine: {Version: 2, Compat: 1, Priority: 5,
		Encode: func(e *Encoder, out *Parts, m Message) { e.U32(m.(ownMessage).n); out.TID = 6 },
		Decode: func(d *Decoder, _ *Parts) Message { return ownMessage{d.U32()} }}})
	p, err := r.Encode([]byte("front of another")[:0], ownMessage{4})
	if err != nil || p.Header != (Header{mine, 5, 2, 1, 6}) || len(p.Front) != 4 {
		t.Fatalf("%+v, %v", p, err)
	}
	if m, err := r.Decode(p); err != nil || m != (ownMessage{4}) {
		t.Errorf("%+v, %v", m, err)
	}
	p.Compat = 3
	if _, err := r.Decode(p); !errors.Is(err, ErrFormat) || ErrnoOf(err) != EINVAL {
		t.Errorf("a message for newer readers: %v", err)
	}
}

type ownMessage struct{ n uint32 }

func (ownMessage) MsgType() MsgType { return 0x9001 }

// TestHostileCounts puts huge numbers at every place of each front: an error
// or a message, no panic, and memory in proportion to the bytes at hand.
func TestHostileCounts(t *testing.T) {
	for _, m := range append(everyMessage(), testOSDOp(), testReply()) {
		p, err := EncodeMessage(m)
		if err != nil {
			t.Fatal(err)
		}
		front := slices.Clone(p.Front)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		tries := 0
		for _, v := range [][]byte{{255, 255, 255, 255}, {0, 0, 0, 0x80}, {0, 0, 0, 0x10}, {255, 255, 255, 0x7f}, {9, 0, 0, 0}} {
			for at := 0; at+4 <= len(front); at++ {
				copy(p.Front[at:], v)
				if m, err := DecodeMessage(p); err == nil {
					if _, err := EncodeMessage(m); err != nil {
						t.Errorf("%T can be decoded but not encoded: %v", m, err)
					}
				} else if ErrnoOf(err) != EINVAL {
					t.Errorf("%T with %x at %d: %v", m, v, at, err)
				}
				copy(p.Front, front)
				tries++
			}
		}
		runtime.ReadMemStats(&after)
		limit := uint64(8<<10 + 64*(len(front)+p.Data.Len()))
		if n := after.TotalAlloc - before.TotalAlloc; tries > 0 && n/uint64(tries) > limit {
			t.Errorf("%T of %d bytes takes %d bytes of memory", m, len(front)+p.Data.Len(), n/uint64(tries))
		}
	}
}

func TestFrames(t *testing.T) {
	q := AuthRequest{Method: 2, Modes: []uint32{2, 1}, Payload: []byte("p")}
	if g, err := DecodeAuthRequest(q.Append(nil)); err != nil || !reflect.DeepEqual(g, q) {
		t.Errorf("%+v, %v", g, err)
	}
	b := AuthBadMethod{Method: 2, Result: -95, Methods: []uint32{1}, Modes: []uint32{1, 2}}
	if g, err := DecodeAuthBadMethod(b.Append(nil)); err != nil || !reflect.DeepEqual(g, b) {
		t.Errorf("%+v, %v", g, err)
	}
	d := AuthDone{GlobalID: 5, Mode: 2, Payload: []byte("p")}
	if g, err := DecodeAuthDone(d.Append(nil)); err != nil || !reflect.DeepEqual(g, d) {
		t.Errorf("%+v, %v", g, err)
	}
	s := SessionReconnect{Addrs: []Addr{testAddr(1)}, ClientCookie: 1, ServerCookie: 2, GlobalSeq: 3, ConnectSeq: 4, Received: 5}
	if g, err := DecodeSessionReconnect(s.Append(nil)); err != nil || !reflect.DeepEqual(g, s) {
		t.Errorf("%+v, %v", g, err)
	}
	for n := range s.Append(nil) {
		if _, err := DecodeSessionReconnect(s.Append(nil)[:n]); !errors.Is(err, ErrTruncated) {
			t.Errorf("cut to %d: %v", n, err)
		}
	}
}

func TestNotifyPayloads(t *testing.T) {
	in := NotifyInput{Timeout: 5, Payload: []byte("msg")}
	if g, err := DecodeNotifyInput(in.Append(nil)); err != nil || !reflect.DeepEqual(g, in) {
		t.Errorf("%+v, %v", g, err)
	}
	ack := NotifyAckInput{NotifyID: 101, Cookie: 7, Payload: []byte("a")}
	if g, err := DecodeNotifyAckInput(ack.Append(nil)); err != nil || !reflect.DeepEqual(g, ack) {
		t.Errorf("%+v, %v", g, err)
	}
	res := NotifyResult{Replies: []NotifyReply{{WatcherID{1, 2}, []byte("r")}}, Missed: []WatcherID{{3, 4}}}
	if g, err := DecodeNotifyResult(res.Append(nil)); err != nil || !reflect.DeepEqual(g, res) {
		t.Errorf("%+v, %v", g, err)
	}
	if _, err := DecodeNotifyResult([]byte{255, 255, 255, 255, 0}); !errors.Is(err, ErrTruncated) {
		t.Errorf("hostile count: %v", err)
	}
	// What a real OSD and client sent.
	for _, v := range messageVectors(t) {
		if v.parts.Type != TypeMWatchNotify {
			continue
		}
		m, err := DecodeMessage(v.parts)
		if err != nil {
			t.Fatal(err)
		}
		if n := m.(*MWatchNotify); n.Event == EventNotifyComplete {
			r, err := DecodeNotifyResult(n.Payload)
			if err != nil || len(r.Replies) != 1 || string(r.Replies[0].Payload) != "ackdata" || !bytes.Equal(r.Append(nil), n.Payload) {
				t.Errorf("%+v, %v", r, err)
			}
		}
	}
}
