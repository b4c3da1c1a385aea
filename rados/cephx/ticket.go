package cephx

import (
	"crypto/hmac"
	"crypto/sha256"
	"fmt"
	"time"

	"github.com/spirula/spirula/rados/wire"
)

// maxTickets bounds the tickets of one reply: one for each kind of daemon.
const maxTickets = 32

// AuthTicket is what a ticket says of its owner.
type AuthTicket struct {
	Name     wire.AuthName
	GlobalID uint64
	Created  wire.Time // by the mon's clock
	Expires  wire.Time
	// AllowAll means that Caps don't count; Caps is the text for the kind
	// of daemon that the ticket is for.
	AllowAll bool
	Caps     string
	// Flags travel and mean nothing here.
	Flags uint32
}

// ServiceTicketInfo is the half of a ticket that its daemon reads.
type ServiceTicketInfo struct {
	Ticket     AuthTicket
	SessionKey CryptoKey
}

// Encode gives the bytes that are sealed.
func (t *ServiceTicketInfo) Encode() []byte {
	var e wire.Encoder
	e.U8(1)
	t.Ticket.append(&e)
	t.SessionKey.append(&e)
	return e.B
}

// DecodeServiceTicketInfo reads what Encode wrote. The error's kind is EINVAL.
func DecodeServiceTicketInfo(b []byte) (*ServiceTicketInfo, error) {
	d := wire.NewDecoder(b)
	version(d, 1)
	t := &ServiceTicketInfo{Ticket: decodeAuthTicket(d), SessionKey: decodeKey(d)}
	if err := d.Err(); err != nil {
		return nil, wire.Wrap("cephx.decode ticket", "", err)
	}
	return t, nil
}

// ownerless is the old numeric owner of a ticket, which nothing has any more.
const ownerless = 1<<64 - 1

func (t *AuthTicket) append(e *wire.Encoder) {
	e.U8(2)
	appendName(e, t.Name)
	e.U64(t.GlobalID)
	e.U64(ownerless)
	e.Time(t.Created)
	e.Time(t.Expires)
	e.U8(1)
	e.Bool(t.AllowAll)
	if t.Caps == "" {
		e.U32(0)
	} else {
		e.Count(4 + len(t.Caps))
		e.Str(t.Caps)
	}
	e.U32(t.Flags)
}

func decodeAuthTicket(d *wire.Decoder) (t AuthTicket) {
	v := version(d, 1)
	t.Name = decodeName(d)
	t.GlobalID = d.U64()
	d.U64()
	t.Created, t.Expires = d.Time(), d.Time()
	version(d, 1)
	t.AllowAll = d.Bool()
	if caps := d.Bytes(); len(caps) > 0 {
		c := wire.NewDecoder(caps)
		t.Caps = c.Str()
		if c.Err() != nil {
			d.Fail(fmt.Errorf("%w: caps of a ticket", wire.ErrFormat))
		}
	}
	if v >= 2 {
		t.Flags = d.U32()
	}
	return t
}

// version reads the version byte of a structure and refuses one below least.
func version(d *wire.Decoder, least uint8) uint8 {
	v := d.U8()
	if v < least && d.Err() == nil {
		d.Fail(fmt.Errorf("%w: structure of version %d", wire.ErrFormat, v))
	}
	return v
}

func appendName(e *wire.Encoder, n wire.AuthName) {
	e.U32(uint32(n.Type))
	e.Str(n.ID)
}

func decodeName(d *wire.Decoder) wire.AuthName {
	t := d.U32()
	if t > 255 {
		d.Fail(fmt.Errorf("%w: entity type %d", wire.ErrFormat, t))
	}
	return wire.AuthName{Type: wire.EntityType(t), ID: d.Str()}
}

// blob is the daemon's half of a ticket as it travels: which secret it is
// sealed with, and the sealed ServiceTicketInfo.
type blob struct {
	SecretID uint64
	Sealed   []byte
}

func (b blob) append(e *wire.Encoder) {
	e.U8(1)
	e.U64(b.SecretID)
	e.Bytes(b.Sealed)
}

func decodeBlob(d *wire.Decoder) blob {
	version(d, 1)
	return blob{SecretID: d.U64(), Sealed: append([]byte(nil), d.Bytes()...)}
}

// Encryption alone would let an owner change what his ticket says: bits
// flipped in one block come out flipped in the next one, and of the block
// itself no more than its random remains is read. So tickets have a MAC of
// what they say behind it, in the envelope, with the same secret. Ceph's own
// daemons read no further than the session key and don't mind.

// sealTicket makes the daemon's half of a ticket.
func sealTicket(t *ServiceTicketInfo, secret ServiceSecret) (blob, error) {
	bx, err := secret.Key.box()
	if err != nil {
		return blob{}, err
	}
	body := t.Encode()
	return blob{SecretID: secret.ID, Sealed: bx.seal(append(body, ticketMAC(body, secret.Key)...))}, nil
}

func ticketMAC(body []byte, secret CryptoKey) []byte {
	h := hmac.New(sha256.New, secret.Secret)
	h.Write(body)
	return h.Sum(nil)
}

// openTicket opens the daemon's half of a ticket. Whatever is wrong with it,
// its age included, is EACCES.
func openTicket(b blob, secret CryptoKey, now time.Time) (*ServiceTicketInfo, error) {
	bx, err := secret.box()
	if err != nil {
		return nil, err
	}
	body, err := bx.open(b.Sealed)
	if err != nil {
		return nil, err
	}
	end := len(body) - sha256.Size
	if end < 0 || !hmac.Equal(body[end:], ticketMAC(body[:end], secret)) {
		return nil, errRefused("a ticket that was tampered with")
	}
	t, err := DecodeServiceTicketInfo(body[:end])
	if err != nil {
		return nil, errRefused("a ticket that can't be read")
	}
	if t.Ticket.Expires < wire.TimeOf(now) {
		return nil, errRefused("a ticket that has expired")
	}
	return t, nil
}

// grant is a ticket with both halves, on its way from a mon to its owner.
type grant struct {
	Service  wire.EntityType
	Key      CryptoKey // the session key
	Validity time.Duration
	Blob     blob
}

// appendGrants appends tickets for an owner that has the key principal. With
// old, the daemons' halves are sealed once more with it.
func appendGrants(e *wire.Encoder, grants []grant, principal box, old *box) {
	e.U8(1)
	e.Count(len(grants))
	for _, g := range grants {
		e.U32(uint32(g.Service))
		e.U8(1)
		var half, b, whole wire.Encoder
		half.U8(1)
		g.Key.append(&half)
		half.Time(wire.Time(g.Validity))
		principal.appendSealed(e, half.B)
		g.Blob.append(&b)
		e.Bool(old != nil)
		if old == nil {
			e.Bytes(b.B)
			continue
		}
		whole.Bytes(b.B)
		old.appendSealed(e, whole.B)
	}
}

// decodeGrants reads what appendGrants wrote; old opens what was sealed
// twice, and may be nil.
func decodeGrants(d *wire.Decoder, principal box, old *box) ([]grant, error) {
	version(d, 1)
	n := d.Count(10)
	if n > maxTickets {
		return nil, wire.Errorf("cephx.decode: too many tickets", "", wire.EINVAL)
	}
	var out []grant
	for range n {
		g := grant{Service: wire.EntityType(d.U32())}
		version(d, 1)
		half, err := principal.openNext(d)
		if err != nil {
			return nil, err
		}
		h := wire.NewDecoder(half)
		version(h, 1)
		g.Key, g.Validity = decodeKey(h), time.Duration(h.Time())
		if err := h.Err(); err != nil {
			return nil, err
		}
		if g.Blob, err = decodeGrantBlob(d, old); err != nil {
			return nil, err
		}
		out = append(out, g)
	}
	return out, d.Err()
}

func decodeGrantBlob(d *wire.Decoder, old *box) (blob, error) {
	var inner []byte
	if again := d.Bool(); !again {
		inner = d.Bytes()
	} else {
		if old == nil {
			return blob{}, errRefused("a ticket sealed with one that was not shown")
		}
		whole, err := old.openNext(d)
		if err != nil {
			return blob{}, err
		}
		w := wire.NewDecoder(whole)
		inner = w.Bytes()
		if err := w.Err(); err != nil {
			return blob{}, err
		}
	}
	if err := d.Err(); err != nil {
		return blob{}, err
	}
	b := wire.NewDecoder(inner)
	out := decodeBlob(b)
	return out, b.Err()
}
