package wire

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"os"
	"strings"
	"testing"
)

// vector is a message as captured.
type vector struct {
	name   string
	header []byte
	parts  Parts // with the header decoded
}

func (v *vector) data() []byte { return v.parts.Data.Bytes() }

// messageVectors reads testdata/messages.txt.
func messageVectors(t testing.TB) []vector {
	t.Helper()
	var out []vector
	for _, f := range vectorLines(t, "testdata/messages.txt") {
		if len(f) != 4 {
			t.Fatalf("vector %q has %d fields", f[0], len(f))
		}
		h, err := DecodeFrameHeader(unhex(t, f[1]))
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, vector{name: fmt.Sprint(f[0], "/", h.TID), header: unhex(t, f[1]),
			parts: Parts{Header: h.Header, Front: unhex(t, f[2]), Data: DataOf(unhex(t, f[3]))}})
	}
	return out
}

func vectorLines(t testing.TB, name string) (lines [][]string) {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	for l := range strings.Lines(string(b)) {
		if !strings.HasPrefix(l, "#") {
			lines = append(lines, strings.Fields(l))
		}
	}
	return lines
}

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	if s == "-" {
		return nil
	}
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestMessageVectors decodes every captured message and encodes it again, to
// the same bytes.
func TestMessageVectors(t *testing.T) {
	vectors := messageVectors(t)
	if len(vectors) < 90 {
		t.Fatalf("%d vectors only", len(vectors))
	}
	for _, v := range vectors {
		t.Run(v.name, func(t *testing.T) {
			h, _ := DecodeFrameHeader(v.header)
			if got := h.Append(nil); !bytes.Equal(got, v.header) || len(got) != FrameHeaderSize {
				t.Errorf("header\n got %x\nwant %x", got, v.header)
			}
			m, err := DecodeMessage(v.parts)
			if err != nil {
				t.Fatal(err)
			}
			if m.MsgType() != v.parts.Type {
				t.Errorf("type %d", m.MsgType())
			}
			if n, ok := m.(*MWatchNotify); ok && n.Event == EventNotifyComplete {
				return // made with the result within; clients want it behind
			}
			got, err := EncodeMessage(m)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got.Front, v.parts.Front) {
				t.Errorf("front\n got %x\nwant %x\n%+v", got.Front, v.parts.Front, m)
			}
			if b := got.Data.Bytes(); !bytes.Equal(b, v.data()) {
				t.Errorf("data\n got %x\nwant %x\n%+v", b, v.data(), m)
			}
			want := v.parts.Header
			want.Priority, got.Priority = 0, 0 // daemons differ in it
			if got.Header != want {
				t.Errorf("header %+v, want %+v", got.Header, want)
			}
		})
	}
}

// TestTruncatedVectors cuts every message at every byte: an error, or a
// message that old peers may send shorter.
func TestTruncatedVectors(t *testing.T) {
	for _, v := range messageVectors(t) {
		if len(v.parts.Front) > 400 {
			continue
		}
		ok := 0
		for n := range v.parts.Front {
			cut := v.parts
			cut.Front = cut.Front[:n]
			if _, err := DecodeMessage(cut); err == nil {
				ok++
			} else if ErrnoOf(err) != EINVAL {
				t.Errorf("%s cut to %d: %v", v.name, n, err)
			}
		}
		// MOSDOpReply's trace may be missing, and the ignored end of an MOSDMap.
		limit := 0
		if v.parts.Type == TypeMOSDOpReply {
			limit = traceSize
		}
		if ok > limit {
			t.Errorf("%s: %d of %d truncations decode", v.name, ok, len(v.parts.Front))
		}
		if n := v.parts.Data.Len(); n > 0 && (v.parts.Type == TypeMOSDOp || v.parts.Type == TypeMOSDOpReply) {
			cut := v.parts
			cut.Data = DataOf(v.data()[:n-1])
			if _, err := DecodeMessage(cut); ErrnoOf(err) != EINVAL {
				t.Errorf("%s without its last byte of data: %v", v.name, err)
			}
		}
	}
}

// TestFrameVectors is TestMessageVectors for control frames.
func TestFrameVectors(t *testing.T) {
	lines := vectorLines(t, "testdata/frames.txt")
	if len(lines) < 5 {
		t.Fatalf("%d vectors only", len(lines))
	}
	for _, f := range lines {
		want := unhex(t, f[1])
		var got []byte
		var err error
		switch f[0] {
		case "HELLO":
			var h Hello
			h, err = DecodeHello(want)
			got = h.Append(nil)
		case "CLIENT_IDENT":
			var i Ident
			i, err = DecodeClientIdent(want)
			got = i.AppendClient(nil)
		case "SERVER_IDENT":
			var i Ident
			i, err = DecodeServerIdent(want)
			got = i.AppendServer(nil)
		case "ACK":
			var e Encoder
			d := NewDecoder(want)
			e.U64(d.U64())
			got, err = e.B, d.Err()
		case "KEEPALIVE2", "KEEPALIVE2_ACK":
			var e Encoder
			d := NewDecoder(want)
			e.Time(d.Time())
			got, err = e.B, d.Err()
		default:
			t.Fatalf("vector of a %s", f[0])
		}
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: %v\n got %x\nwant %x", f[0], err, got, want)
		}
	}
}
