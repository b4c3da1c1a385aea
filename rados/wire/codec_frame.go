package wire

import "hash/crc32"

// What messenger v2.1 puts into its frames: the header before a message's
// front, and the payloads of control frames. Whether a frame's length and
// checksum are right is the messenger's business.

// FrameCRC is the checksum of frames: Castagnoli's without the inversion at the
// end, going on from seed (that of the bytes before p, or 0 for a preamble and
// 0xffffffff for a segment). Of no bytes it is the seed.
func FrameCRC(seed uint32, p []byte) uint32 { return ^crc32.Update(^seed, castagnoli, p) }

// FrameCRCBlock is FrameCRC for a block of BlockSize bytes whose CRC32C is
// known.
func FrameCRCBlock(seed, block uint32) uint32 {
	s := ^seed
	return crcShift[0][s&0xff] ^ crcShift[1][s>>8&0xff] ^ crcShift[2][s>>16&0xff] ^ crcShift[3][s>>24] ^ ^block
}

// crcShift gives what a block of zeros makes of each byte of a checksum. The
// checksum of a block is that of its bytes alone, and this of what was before.
var crcShift = func() (t [4][256]uint32) {
	zeros := make([]byte, BlockSize)
	for i := range t {
		for v := range t[i] {
			if v&(v-1) == 0 {
				t[i][v] = FrameCRC(uint32(v)<<(8*i), zeros)
			} else {
				t[i][v] = t[i][v&(v-1)] ^ t[i][v&-v]
			}
		}
	}
	return t
}()

// FrameCRCData is FrameCRC of all bytes of d. It does not look at blocks whose
// checksums are known.
func FrameCRCData(seed uint32, d Data) uint32 {
	for i := range d.NumSegs() {
		s := d.Seg(i)
		p := s.Bytes()
		if s.Off%BlockSize == 0 {
			for block := s.Off / BlockSize; len(p) >= BlockSize; block++ {
				crc, ok := s.Buf.BlockCRC(block)
				if !ok {
					break
				}
				seed, p = FrameCRCBlock(seed, crc), p[BlockSize:]
			}
		}
		seed = FrameCRC(seed, p)
	}
	return seed
}

// FrameHeaderSize is the length of an encoded FrameHeader in bytes.
const FrameHeaderSize = 41

// FrameHeader is the first segment of a MESSAGE frame.
type FrameHeader struct {
	Header
	Seq, Ack uint64 // the sender's counter from 1, and the last one it has received
	Flags    uint8
	DataOff  uint16 // low bits of the data's place in its file: a hint
}

// Flags of a FrameHeader that Ceph's peers set; receivers ignore them.
const (
	FrameComplete  uint8 = 1
	FrameNoDataCRC uint8 = 2
)

// Append appends the header.
func (h *FrameHeader) Append(b []byte) []byte {
	e := Encoder{B: b}
	e.U64(h.Seq)
	e.U64(h.TID)
	e.U16(uint16(h.Type))
	e.U16(h.Priority)
	e.U16(h.Version)
	e.U32(0) // padding before the data: never used
	e.U16(h.DataOff)
	e.U64(h.Ack)
	e.U8(h.Flags)
	e.U16(h.Compat)
	e.U16(0)
	return e.B
}

// DecodeFrameHeader reads the header.
func DecodeFrameHeader(b []byte) (FrameHeader, error) {
	d := Decoder{b: b, all: b}
	var h FrameHeader
	h.Seq = d.U64()
	h.TID = d.U64()
	h.Type = MsgType(d.U16())
	h.Priority = d.U16()
	h.Version = d.U16()
	d.Skip(4)
	h.DataOff = d.U16()
	h.Ack = d.U64()
	h.Flags = d.U8()
	h.Compat = d.U16()
	d.Skip(2)
	return h, d.err
}

// Hello is the payload of HELLO: what the sender is, and at which address it
// sees the receiver.
type Hello struct {
	Type EntityType
	Peer Addr
}

// Append appends the payload.
func (f *Hello) Append(b []byte) []byte {
	e := Encoder{B: b}
	e.U8(uint8(f.Type))
	e.Addr(f.Peer)
	return e.B
}

// DecodeHello reads the payload.
func DecodeHello(b []byte) (f Hello, err error) {
	d := Decoder{b: b, all: b}
	f.Type = EntityType(d.U8())
	f.Peer = d.Addr()
	return f, d.err
}

// AuthRequest is the payload of AUTH_REQUEST. Payload is part of the decoded
// bytes, here and below.
type AuthRequest struct {
	Method  uint32
	Modes   []uint32 // of the connection, as wanted, best first
	Payload []byte
}

// Append appends the payload.
func (f *AuthRequest) Append(b []byte) []byte {
	e := Encoder{B: b}
	e.U32(f.Method)
	e.u32s(f.Modes)
	e.Bytes(f.Payload)
	return e.B
}

// DecodeAuthRequest reads the payload.
func DecodeAuthRequest(b []byte) (f AuthRequest, err error) {
	d := Decoder{b: b, all: b}
	f.Method = d.U32()
	f.Modes = d.u32s()
	f.Payload = d.Bytes()
	return f, d.err
}

// AuthBadMethod is the payload of AUTH_BAD_METHOD.
type AuthBadMethod struct {
	Method  uint32
	Result  int32 // negative Errno
	Methods []uint32
	Modes   []uint32
}

// Append appends the payload.
func (f *AuthBadMethod) Append(b []byte) []byte {
	e := Encoder{B: b}
	e.U32(f.Method)
	e.I32(f.Result)
	e.u32s(f.Methods)
	e.u32s(f.Modes)
	return e.B
}

// DecodeAuthBadMethod reads the payload.
func DecodeAuthBadMethod(b []byte) (f AuthBadMethod, err error) {
	d := Decoder{b: b, all: b}
	f.Method = d.U32()
	f.Result = d.I32()
	f.Methods = d.u32s()
	f.Modes = d.u32s()
	return f, d.err
}

// AuthDone is the payload of AUTH_DONE.
type AuthDone struct {
	GlobalID uint64
	Mode     uint32
	Payload  []byte
}

// Append appends the payload.
func (f *AuthDone) Append(b []byte) []byte {
	e := Encoder{B: b}
	e.U64(f.GlobalID)
	e.U32(f.Mode)
	e.Bytes(f.Payload)
	return e.B
}

// DecodeAuthDone reads the payload.
func DecodeAuthDone(b []byte) (f AuthDone, err error) {
	d := Decoder{b: b, all: b}
	f.GlobalID = d.U64()
	f.Mode = d.U32()
	f.Payload = d.Bytes()
	return f, d.err
}

// Ident is the payload of CLIENT_IDENT and of SERVER_IDENT; Target is in the
// former only.
type Ident struct {
	Addrs               []Addr // the sender's
	Target              Addr   // where the client believes the server to be
	GlobalID            int64  // a client's; a mon's rank; an OSD's number
	GlobalSeq           uint64
	Supported, Required uint64 // features
	Flags               uint64
	Cookie              uint64
}

// IdentLossy in Ident.Flags: the session ends with its connection.
const IdentLossy uint64 = 1

// AppendClient appends the payload of CLIENT_IDENT.
func (f *Ident) AppendClient(b []byte) []byte { return f.append(b, true) }

// AppendServer appends the payload of SERVER_IDENT.
func (f *Ident) AppendServer(b []byte) []byte { return f.append(b, false) }

func (f *Ident) append(b []byte, client bool) []byte {
	e := Encoder{B: b}
	e.AddrVec(f.Addrs)
	if client {
		e.Addr(f.Target)
	}
	e.I64(f.GlobalID)
	e.U64(f.GlobalSeq)
	e.U64(f.Supported)
	e.U64(f.Required)
	e.U64(f.Flags)
	e.U64(f.Cookie)
	return e.B
}

// DecodeClientIdent reads the payload of CLIENT_IDENT.
func DecodeClientIdent(b []byte) (Ident, error) { return decodeIdent(b, true) }

// DecodeServerIdent reads the payload of SERVER_IDENT.
func DecodeServerIdent(b []byte) (Ident, error) { return decodeIdent(b, false) }

func decodeIdent(b []byte, client bool) (f Ident, err error) {
	d := Decoder{b: b, all: b}
	f.Addrs = d.AddrVec()
	if client {
		f.Target = d.Addr()
	}
	f.GlobalID = d.I64()
	f.GlobalSeq = d.U64()
	f.Supported = d.U64()
	f.Required = d.U64()
	f.Flags = d.U64()
	f.Cookie = d.U64()
	return f, d.err
}

// SessionReconnect is the payload of SESSION_RECONNECT.
type SessionReconnect struct {
	Addrs                      []Addr // the sender's
	ClientCookie, ServerCookie uint64
	GlobalSeq, ConnectSeq      uint64
	Received                   uint64 // the last message's Seq
}

// Append appends the payload.
func (f *SessionReconnect) Append(b []byte) []byte {
	e := Encoder{B: b}
	e.AddrVec(f.Addrs)
	e.U64(f.ClientCookie)
	e.U64(f.ServerCookie)
	e.U64(f.GlobalSeq)
	e.U64(f.ConnectSeq)
	e.U64(f.Received)
	return e.B
}

// DecodeSessionReconnect reads the payload.
func DecodeSessionReconnect(b []byte) (f SessionReconnect, err error) {
	d := Decoder{b: b, all: b}
	f.Addrs = d.AddrVec()
	f.ClientCookie = d.U64()
	f.ServerCookie = d.U64()
	f.GlobalSeq = d.U64()
	f.ConnectSeq = d.U64()
	f.Received = d.U64()
	return f, d.err
}

func (e *Encoder) u32s(v []uint32) {
	e.Count(len(v))
	for _, n := range v {
		e.U32(n)
	}
}

func (d *Decoder) u32s() []uint32 {
	n := d.Count(4)
	if n == 0 {
		return nil
	}
	v := make([]uint32, n)
	for i := range v {
		v[i] = d.U32()
	}
	return v
}
