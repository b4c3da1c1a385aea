package wire

import (
	"bytes"
	"testing"
)

// FuzzMessage decodes anything as a message of any type. What decodes must
// encode again, to bytes that decode to the same encoding.
func FuzzMessage(f *testing.F) {
	for _, v := range messageVectors(f) {
		f.Add(uint16(v.parts.Type), v.parts.Version, v.parts.Front, v.data())
	}
	for _, m := range append(everyMessage(), testOSDOp(), testReply()) {
		p, err := EncodeMessage(m)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(uint16(p.Type), p.Version, p.Front, p.Data.Bytes())
	}
	f.Fuzz(func(t *testing.T, typ, version uint16, front, data []byte) {
		in := Parts{Header: Header{Type: MsgType(typ), Version: version, Compat: 1, TID: 5}, Front: front, Data: DataOf(data)}
		m, err := DecodeMessage(in)
		if err != nil {
			if e := ErrnoOf(err); e != EINVAL && e != EOPNOTSUPP {
				t.Fatalf("kind %d: %v", e, err)
			}
			return
		}
		first, err := EncodeMessage(m)
		if err != nil {
			t.Fatalf("%+v: %v", m, err)
		}
		again, err := DecodeMessage(first)
		if err != nil {
			t.Fatalf("decoding what was encoded from %+v: %v", m, err)
		}
		second, err := EncodeMessage(again)
		if err != nil || !bytes.Equal(first.Front, second.Front) || !bytes.Equal(first.Data.Bytes(), second.Data.Bytes()) {
			t.Fatalf("not stable, %v\n%+v\n%+v", err, m, again)
		}
	})
}

// FuzzOp decodes anything as one operation's record and input.
func FuzzOp(f *testing.F) {
	for _, op := range testOps() {
		p, err := EncodeMessage(testOSDOp(op))
		if err != nil {
			f.Fatal(err)
		}
		m, err := DecodeMessage(p)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(m.(*MOSDOp).Records, p.Data.Bytes())
	}
	f.Fuzz(func(t *testing.T, record, input []byte) {
		if len(record) != recordSize {
			return
		}
		var op Op
		decodeOp(&op, record, DataOf(input), 0, len(input))
		var rec, in Encoder
		in.opInput(&op)
		in.B = op.payload().AppendTo(in.B)
		rec.opRecord(&op, len(in.B))
		if op.Code == OpInvalid && (!bytes.Equal(in.B, input) || !bytes.Equal(rec.B[:recordSize-4], record[:recordSize-4])) {
			t.Fatalf("%+v lost bytes of %x %x", op, record, input)
		}
		var again Op
		decodeOp(&again, rec.B, DataOf(in.B), 0, len(in.B))
		if again.Code != op.Code {
			t.Fatalf("%+v became %+v", op, again)
		}
	})
}

// FuzzFrame decodes anything as a frame header, as every control frame, and as
// the payloads of notify.
func FuzzFrame(f *testing.F) {
	for _, l := range vectorLines(f, "testdata/frames.txt") {
		f.Add(unhex(f, l[1]))
	}
	for _, v := range messageVectors(f)[:10] {
		f.Add(v.header)
	}
	f.Add((&AuthRequest{Method: 2, Modes: []uint32{2, 1}, Payload: []byte("p")}).Append(nil))
	f.Add((&AuthBadMethod{Method: 2, Methods: []uint32{1}, Modes: []uint32{1}}).Append(nil))
	f.Add((&SessionReconnect{Addrs: []Addr{testAddr(1)}}).Append(nil))
	f.Add(NotifyResult{Replies: []NotifyReply{{WatcherID{1, 2}, []byte("r")}}, Missed: []WatcherID{{3, 4}}}.Append(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		check := func(what string, err error, again func() ([]byte, error)) {
			if err != nil {
				if ErrnoOf(err) != EINVAL {
					t.Errorf("%s: %v", what, err)
				}
				return
			}
			if p, err := again(); err != nil {
				t.Errorf("%s: %x: %v", what, p, err)
			}
		}
		h, err := DecodeFrameHeader(b)
		check("header", err, func() ([]byte, error) { p := h.Append(nil); _, err := DecodeFrameHeader(p); return p, err })
		hello, err := DecodeHello(b)
		check("hello", err, func() ([]byte, error) { p := hello.Append(nil); _, err := DecodeHello(p); return p, err })
		req, err := DecodeAuthRequest(b)
		check("request", err, func() ([]byte, error) { p := req.Append(nil); _, err := DecodeAuthRequest(p); return p, err })
		bad, err := DecodeAuthBadMethod(b)
		check("bad method", err, func() ([]byte, error) { p := bad.Append(nil); _, err := DecodeAuthBadMethod(p); return p, err })
		done, err := DecodeAuthDone(b)
		check("done", err, func() ([]byte, error) { p := done.Append(nil); _, err := DecodeAuthDone(p); return p, err })
		c, err := DecodeClientIdent(b)
		check("client", err, func() ([]byte, error) { p := c.AppendClient(nil); _, err := DecodeClientIdent(p); return p, err })
		s, err := DecodeServerIdent(b)
		check("server", err, func() ([]byte, error) { p := s.AppendServer(nil); _, err := DecodeServerIdent(p); return p, err })
		r, err := DecodeSessionReconnect(b)
		check("reconnect", err, func() ([]byte, error) { p := r.Append(nil); _, err := DecodeSessionReconnect(p); return p, err })
		n, err := DecodeNotifyResult(b)
		check("notify result", err, func() ([]byte, error) { p := n.Append(nil); _, err := DecodeNotifyResult(p); return p, err })
		in, err := DecodeNotifyInput(b)
		check("notify", err, func() ([]byte, error) { p := in.Append(nil); _, err := DecodeNotifyInput(p); return p, err })
		ack, err := DecodeNotifyAckInput(b)
		check("notify ack", err, func() ([]byte, error) { p := ack.Append(nil); _, err := DecodeNotifyAckInput(p); return p, err })
	})
}
