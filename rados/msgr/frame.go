package msgr

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/spirula/spirula/rados/wire"
)

// tag says what a frame is (Ceph's values).
type tag uint8

const (
	tagHello              tag = 1
	tagAuthRequest        tag = 2
	tagAuthBadMethod      tag = 3
	tagAuthReplyMore      tag = 4
	tagAuthRequestMore    tag = 5
	tagAuthDone           tag = 6
	tagAuthSignature      tag = 7
	tagClientIdent        tag = 8
	tagServerIdent        tag = 9
	tagMissingFeatures    tag = 10
	tagSessionReconnect   tag = 11
	tagSessionReset       tag = 12
	tagSessionRetry       tag = 13
	tagSessionRetryGlobal tag = 14
	tagReconnectOK        tag = 15
	tagWait               tag = 16
	tagMessage            tag = 17
	tagKeepalive          tag = 18
	tagKeepaliveAck       tag = 19
	tagAck                tag = 20
	tagEnd                tag = 21
)

// Sizes of a frame's parts, in bytes.
const (
	preambleSize  = 32
	crcSize       = 4
	epilogueSize  = 13
	maxSegments   = 4
	frontOffset   = preambleSize + wire.FrameHeaderSize + crcSize // of a message
	signatureSize = 32
)

// Bounds of what a peer may send in one segment, in bytes.
const (
	maxControl = 16 << 10
	maxFront   = 16 << 20
	maxData    = 100 << 20
)

// Values of an epilogue's first byte.
const (
	lateMask     = 0xf
	lateComplete = 0xe
	lateAborted  = 0x1
)

// emptyCRC is the checksum of a segment without bytes.
const emptyCRC = 0xffffffff

// errProtocol is the cause of every error that only a peer that is broken or
// hostile can bring about.
var errProtocol = errors.New("protocol error")

func protocolError(format string, args ...any) error {
	return fmt.Errorf("%w: %s", errProtocol, fmt.Sprintf(format, args...))
}

// segAlign are the hints at alignment that go with segments.
var segAlign = [maxSegments]uint16{8, 8, 8, 4096}

// preamble is the head of a frame.
type preamble struct {
	tag  tag
	nseg int
	lens [maxSegments]int
}

// put writes the preamble to p, which has room for it.
func (h *preamble) put(p []byte) {
	p[0], p[1] = byte(h.tag), byte(h.nseg)
	for i := range maxSegments {
		n, align := uint32(0), uint16(0)
		if i < h.nseg {
			n, align = uint32(h.lens[i]), segAlign[i]
		}
		binary.LittleEndian.PutUint32(p[2+6*i:], n)
		binary.LittleEndian.PutUint16(p[6+6*i:], align)
	}
	p[26], p[27] = 0, 0
	binary.LittleEndian.PutUint32(p[28:], wire.FrameCRC(0, p[:28]))
}

// parsePreamble reads the head of a frame, and refuses what no frame may be.
func parsePreamble(p []byte) (h preamble, err error) {
	if binary.LittleEndian.Uint32(p[28:]) != wire.FrameCRC(0, p[:28]) {
		return h, protocolError("checksum of a frame's preamble")
	}
	h.tag, h.nseg = tag(p[0]), int(p[1])
	if h.tag == 0 || h.tag >= tagEnd || h.nseg < 1 || h.nseg > maxSegments || p[26] != 0 {
		return h, protocolError("frame of tag %d, %d segments, flags %d", p[0], p[1], p[26])
	}
	for i := range h.nseg {
		n := binary.LittleEndian.Uint32(p[2+6*i:])
		if n > segLimit(h.tag, i) {
			return h, protocolError("frame of tag %d, segment %d of %d bytes", h.tag, i, n)
		}
		h.lens[i] = int(n)
	}
	switch {
	case h.nseg > 1 && h.lens[h.nseg-1] == 0:
		return h, protocolError("frame of tag %d ends in an empty segment", h.tag)
	case h.tag == tagMessage && h.lens[0] != wire.FrameHeaderSize:
		return h, protocolError("message header of %d bytes", h.lens[0])
	case h.tag != tagMessage && h.nseg > 1:
		return h, protocolError("control frame of tag %d with %d segments", h.tag, h.nseg)
	}
	return h, nil
}

func segLimit(t tag, seg int) uint32 {
	switch {
	case t != tagMessage || seg == 0:
		return maxControl
	case seg == 3:
		return maxData
	}
	return maxFront
}

// appendControl appends a control frame in crc mode.
func appendControl(b []byte, t tag, payload []byte) []byte {
	h := preamble{tag: t, nseg: 1, lens: [maxSegments]int{len(payload)}}
	at := len(b)
	b = append(b, make([]byte, preambleSize)...)
	h.put(b[at:])
	if len(payload) == 0 {
		return b
	}
	b = append(b, payload...)
	return binary.LittleEndian.AppendUint32(b, wire.FrameCRC(emptyCRC, payload))
}

// outFrame is a message that waits to be sent, or to be acknowledged. Its
// buffer has, in crc mode, all of the frame but the data: room for preamble
// and header, the front, the epilogue.
type outFrame struct {
	buf    []byte
	front  int // where the front ends in buf
	header wire.FrameHeader
	data   wire.Data
	// refs counts the queue of unacknowledged messages and a write under
	// way; under the session's mutex.
	refs int
}

// size is what the frame counts against the bound of its queue, in bytes.
func (f *outFrame) size() int { return f.front + f.data.Len() }

// preamble gives the head of the frame.
func (f *outFrame) preamble() preamble {
	h := preamble{tag: tagMessage, nseg: 1, lens: [maxSegments]int{wire.FrameHeaderSize, f.front - frontOffset, 0, f.data.Len()}}
	switch {
	case h.lens[3] > 0:
		h.nseg = 4
	case h.lens[1] > 0:
		h.nseg = 2
	}
	return h
}

// finish writes what surrounds the front in crc mode. ack is the last message
// received.
func (f *outFrame) finish(ack uint64) {
	h := f.preamble()
	h.put(f.buf)
	f.header.Ack = ack
	f.header.Append(f.buf[:preambleSize])
	seg0 := f.buf[preambleSize : preambleSize+wire.FrameHeaderSize]
	binary.LittleEndian.PutUint32(f.buf[frontOffset-crcSize:], wire.FrameCRC(emptyCRC, seg0))
	f.buf = f.buf[:f.front]
	if h.nseg == 1 {
		return
	}
	f.buf = append(f.buf, lateComplete)
	f.buf = binary.LittleEndian.AppendUint32(f.buf, wire.FrameCRC(emptyCRC, f.buf[frontOffset:f.front]))
	if h.nseg == 2 {
		f.buf = append(f.buf, 0, 0, 0, 0, 0, 0, 0, 0)
		return
	}
	f.buf = binary.LittleEndian.AppendUint32(f.buf, emptyCRC)
	f.buf = binary.LittleEndian.AppendUint32(f.buf, wire.FrameCRCData(emptyCRC, f.data))
}

// appendTo appends the pieces of a finished frame to v.
func (f *outFrame) appendTo(v [][]byte) [][]byte {
	if f.data.Len() == 0 {
		return append(v, f.buf)
	}
	v = append(v, f.buf[:f.front])
	for i := range f.data.NumSegs() {
		v = append(v, f.data.Seg(i).Bytes())
	}
	return append(v, f.buf[f.front:])
}
