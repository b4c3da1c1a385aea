package wire

import "fmt"

// Features is the feature word that goes with the encodings here: exactly
// Pacific's. A newer peer that is offered it falls back to them.
const Features uint64 = 0x3f01cfbdfffdffff

// Header is what a message's frame says about it.
type Header struct {
	Type     MsgType
	Priority uint16 // higher goes first
	// Version is the writer's; Compat the oldest reader that understands it.
	Version, Compat uint16
	// TID is the sender's transaction number; an answer repeats it. 0 for
	// messages that are no question.
	TID uint64
}

// Parts is a message as it travels: a header and three byte strings. Middle
// is empty in every message known so far.
type Parts struct {
	Header
	Front, Middle []byte
	Data          Data
}

// Priorities that Ceph's daemons and clients use.
const (
	prioLow     = 63
	prioDefault = 127
	prioHigh    = 196
)

// Codec writes and reads the messages of one type. A package with messages of
// its own gives them to NewRegistry in this form.
type Codec struct {
	Version, Compat, Priority uint16
	// Encode appends the front to e and puts TID and Data (with references
	// of its own) into out.
	Encode func(e *Encoder, out *Parts, m Message)
	// Decode reads the front from d, the rest from in. It keeps nothing of
	// Front and Middle, and takes references on what it keeps of Data. What
	// it returns counts only when d has no error.
	Decode func(d *Decoder, in *Parts) Message
}

// Registry knows the codecs of message types. The zero Registry knows those of
// this package.
type Registry struct{ more map[MsgType]Codec }

// NewRegistry makes a Registry that also knows more, which must not change any
// longer. This package's own types can't be replaced.
func NewRegistry(more map[MsgType]Codec) Registry { return Registry{more} }

func (r Registry) codec(t MsgType) (Codec, bool) {
	if c, ok := codecs[t]; ok {
		return c, true
	}
	c, ok := r.more[t]
	return c, ok
}

// EncodeMessage encodes a message of this package; see Registry.Encode.
func EncodeMessage(m Message) (Parts, error) { return Registry{}.Encode(nil, m) }

// DecodeMessage decodes a message of this package; see Registry.Decode.
func DecodeMessage(in Parts) (Message, error) { return Registry{}.Decode(in) }

// Encode encodes m, the front behind what is in buf (usually buf[:0] of an
// earlier front). The parts' Data refers to m's bytes without copying them and
// has references of its own, which the caller releases when they are sent. The
// error is EOPNOTSUPP for a type without a codec and EINVAL for a message that
// has no encoding.
func (r Registry) Encode(buf []byte, m Message) (Parts, error) {
	switch m := m.(type) {
	case *MOSDOp:
		return m.encode(buf)
	case *MOSDOpReply:
		return m.encode(buf)
	}
	c, ok := r.codec(m.MsgType())
	if !ok {
		return Parts{}, Errorf("encode message", fmt.Sprintf("%T", m), EOPNOTSUPP)
	}
	e := &Encoder{B: buf}
	out := Parts{Header: Header{Type: m.MsgType(), Priority: c.Priority, Version: c.Version, Compat: c.Compat}}
	c.Encode(e, &out, m)
	out.Front = e.B
	return out, nil
}

// Decode decodes a message. The result keeps nothing of Front and Middle; of
// Data it keeps parts with references of their own, so the caller still has to
// release what it owns. Unknown types are EOPNOTSUPP, bytes that are no such
// message EINVAL.
func (r Registry) Decode(in Parts) (Message, error) {
	var m Message
	var err error
	switch in.Type {
	case TypeMOSDOp:
		m, err = decodeMOSDOp(&in)
	case TypeMOSDOpReply:
		m, err = decodeMOSDOpReply(&in)
	default:
		m, err = r.decodeByTable(in)
	}
	if err != nil {
		return nil, Wrap("decode message", fmt.Sprintf("type %d version %d", in.Type, in.Version), err)
	}
	return m, nil
}

// decodeByTable is apart so that the parts of the frequent messages stay on
// the stack.
func (r Registry) decodeByTable(in Parts) (Message, error) {
	c, ok := r.codec(in.Type)
	if !ok {
		return nil, EOPNOTSUPP
	}
	d := NewDecoder(in.Front)
	if in.Compat > c.Version {
		d.Fail(tooNew(in.Header, c.Version))
	}
	m := c.Decode(d, &in)
	return m, d.Err()
}

func tooNew(h Header, known uint16) error {
	return fmt.Errorf("%w: message needs a reader of version %d, this one has %d", ErrFormat, h.Compat, known)
}

func malformed(subject string, cause error) error {
	return &Error{Op: "decode", Subject: subject, Kind: EINVAL, Cause: cause}
}

// message is a pointer to a message struct.
type message[M any] interface {
	*M
	Message
}

// codecOf makes the table's entry from functions for one message type.
func codecOf[M any, P message[M]](version, compat, priority uint16,
	encode func(*Encoder, *Parts, P), decode func(*Decoder, *Parts, P)) Codec {
	return Codec{
		Version: version, Compat: compat, Priority: priority,
		Encode: func(e *Encoder, out *Parts, m Message) { encode(e, out, m.(P)) },
		Decode: func(d *Decoder, in *Parts) Message {
			m := P(new(M))
			decode(d, in, m)
			return m
		},
	}
}

// codecs are the types whose encodings are here, but for MOSDOp and
// MOSDOpReply, which go without the table.
var codecs = map[MsgType]Codec{
	TypeMPing:               codecOf(1, 1, prioDefault, encodeMPing, decodeMPing),
	TypeMMonMap:             codecOf(1, 1, prioHigh, encodeMMonMap, decodeMMonMap),
	TypeMMonGetMap:          codecOf(1, 1, prioDefault, encodeMMonGetMap, decodeMMonGetMap),
	TypeMStatfs:             codecOf(2, 1, prioDefault, encodeMStatfs, decodeMStatfs),
	TypeMStatfsReply:        codecOf(1, 1, prioHigh, encodeMStatfsReply, decodeMStatfsReply),
	TypeMMonSubscribe:       codecOf(3, 1, prioDefault, encodeMMonSubscribe, decodeMMonSubscribe),
	TypeMAuth:               codecOf(1, 1, prioDefault, encodeMAuth, decodeMAuth),
	TypeMAuthReply:          codecOf(1, 1, prioHigh, encodeMAuthReply, decodeMAuthReply),
	TypeMMonGetVersion:      codecOf(1, 1, prioDefault, encodeMMonGetVersion, decodeMMonGetVersion),
	TypeMMonGetVersionReply: codecOf(2, 2, prioHigh, encodeMMonGetVersionReply, decodeMMonGetVersionReply),
	TypeMOSDMap:             codecOf(4, 3, prioDefault, encodeMOSDMap, decodeMOSDMap),
	TypeMWatchNotify:        codecOf(3, 1, prioDefault, encodeMWatchNotify, decodeMWatchNotify),
	TypeMPoolOpReply:        codecOf(1, 1, prioHigh, encodeMPoolOpReply, decodeMPoolOpReply),
	TypeMPoolOp:             codecOf(4, 2, prioDefault, encodeMPoolOp, decodeMPoolOp),
	TypeMMonCommand:         codecOf(1, 1, prioDefault, encodeMMonCommand, decodeMMonCommand),
	TypeMMonCommandAck:      codecOf(1, 1, prioHigh, encodeMMonCommandAck, decodeMMonCommandAck),
	TypeMLog:                codecOf(1, 1, prioDefault, encodeMLog, decodeMLog),
	TypeMLogAck:             codecOf(1, 1, prioDefault, encodeMLogAck, decodeMLogAck),
	TypeMGetPoolStats:       codecOf(1, 1, prioDefault, encodeMGetPoolStats, decodeMGetPoolStats),
	TypeMGetPoolStatsReply:  codecOf(2, 1, prioHigh, encodeMGetPoolStatsReply, decodeMGetPoolStatsReply),
	TypeMOSDBackoff:         codecOf(1, 1, prioDefault, encodeMOSDBackoff, decodeMOSDBackoff),
	TypeMConfig:             codecOf(1, 1, prioHigh, encodeMConfig, decodeMConfig),
	TypeMRemoveSnaps:        codecOf(1, 1, prioDefault, encodeMRemoveSnaps, decodeMRemoveSnaps),
	TypeMCommand:            codecOf(1, 1, prioDefault, encodeMCommand, decodeMCommand),
	TypeMCommandReply:       codecOf(1, 1, prioDefault, encodeMCommandReply, decodeMCommandReply),
	TypeMMgrMap:             codecOf(1, 1, prioDefault, encodeMMgrMap, decodeMMgrMap),
	TypeMMgrCommand:         codecOf(1, 1, prioDefault, encodeMMgrCommand, decodeMMgrCommand),
	TypeMMgrCommandReply:    codecOf(1, 1, prioDefault, encodeMMgrCommandReply, decodeMMgrCommandReply),

	TypeMOSDBoot:     codecOf(1, 1, prioHigh, encodeMOSDBoot, decodeMOSDBoot),
	TypeMOSDAlive:    codecOf(1, 1, prioHigh, encodeMOSDAlive, decodeMOSDAlive),
	TypeMOSDMarkDown: codecOf(1, 1, prioHigh, encodeMOSDMarkDown, decodeMOSDMarkDown),
	TypeMOSDFailure:  codecOf(1, 1, prioHigh, encodeMOSDFailure, decodeMOSDFailure),
	TypeMOSDPGTemp:   codecOf(1, 1, prioHigh, encodeMOSDPGTemp, decodeMOSDPGTemp),
	TypeMOSDStats:    codecOf(1, 1, prioDefault, encodeMOSDStats, decodeMOSDStats),
	TypeMOSDPurged:   codecOf(1, 1, prioDefault, encodeMOSDPurged, decodeMOSDPurged),
}
