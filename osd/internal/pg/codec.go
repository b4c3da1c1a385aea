package pg

import (
	"github.com/spirula/spirula/osd/internal/record"
	"github.com/spirula/spirula/osd/store"
	"github.com/spirula/spirula/rados/wire"
)

// Priorities as Ceph's daemons use them: recovery gives way to clients.
const (
	prioWrite    = 127
	prioPeering  = 196
	prioRecovery = 63
)

// codecVersion is that of every message here.
const codecVersion = 1

// coder writes a message's fields, or reads them: which one decides d. So
// both directions are one list.
type coder struct {
	e    *wire.Encoder
	d    *wire.Decoder
	data *wire.Data // encoding: what is sent; decoding: what came
	off  int
}

// codec makes the Codec of a message type from the list of its fields.
func codec[M any, P interface {
	*M
	Message
}](priority uint16, fields func(*coder, P)) wire.Codec {
	return wire.Codec{Version: codecVersion, Compat: codecVersion, Priority: priority,
		Encode: func(e *wire.Encoder, out *wire.Parts, m wire.Message) {
			// A message is never changed after it was sent: the fields of
			// a copy go through the list.
			v := *(m.(P))
			c := coder{e: e, data: &out.Data}
			b := e.Begin(codecVersion, codecVersion)
			c.head(P(&v).About())
			fields(&c, &v)
			e.End(b)
		},
		Decode: func(d *wire.Decoder, in *wire.Parts) wire.Message {
			m := P(new(M))
			c := coder{d: d, data: &in.Data}
			b := d.Begin(codecVersion)
			c.head(m.About())
			fields(&c, m)
			d.End(b)
			if d.Err() != nil {
				if r, ok := any(m).(interface{ Release() }); ok {
					r.Release()
				}
			}
			return m
		}}
}

// Codecs are the messages of this package for wire.NewRegistry.
func Codecs() map[wire.MsgType]wire.Codec {
	return map[wire.MsgType]wire.Codec{
		TypeRepOp: codec(prioWrite, func(c *coder, m *RepOp) {
			c.entry(&m.Entry)
			c.txn(&m.Txn)
			c.int(&m.Trim)
		}),
		TypeRepAck: codec(prioWrite, func(c *coder, m *RepAck) { c.version(&m.Version) }),
		TypeQuery:  codec(prioPeering, func(*coder, *Query) {}),
		TypeNotify: codec(prioPeering, func(c *coder, m *Notify) { c.info(&m.Info) }),
		TypeGetLog: codec(prioPeering, func(c *coder, m *GetLog) { c.version(&m.Last) }),
		TypeLog: codec(prioPeering, func(c *coder, m *Log) {
			c.info(&m.Info)
			c.version(&m.Since)
			c.entries(&m.Entries)
		}),
		TypeActivate: codec(prioWrite, func(c *coder, m *Activate) {
			c.info(&m.Info)
			c.version(&m.Since)
			c.bool(&m.Reset)
			c.entries(&m.Entries)
		}),
		TypeActivated: codec(prioWrite, func(c *coder, m *Activated) {
			c.missing(&m.Missing)
			c.object(&m.Backfilled)
			c.bool(&m.Refused)
		}),
		TypePull: codec(prioRecovery, func(c *coder, m *Pull) {
			c.object(&m.Object)
			c.version(&m.Need)
		}),
		TypePush: codec(prioRecovery, push),
		TypePushAck: codec(prioRecovery, func(c *coder, m *PushAck) {
			c.object(&m.Object)
			c.u32(&m.Piece)
			c.bool(&m.Last)
		}),
		TypeScan: codec(prioRecovery, func(c *coder, m *Scan) {
			c.object(&m.First)
			c.object(&m.End)
		}),
		TypeScanned: codec(prioRecovery, func(c *coder, m *Scanned) {
			c.object(&m.First)
			c.object(&m.End)
			c.missing(&m.Objects)
		}),
		TypeProgress:   codec(prioRecovery, func(c *coder, m *Progress) { c.object(&m.Backfilled) }),
		TypeProgressed: codec(prioRecovery, func(c *coder, m *Progressed) { c.object(&m.Backfilled) }),
		TypeUpdate:     codec(prioWrite, func(c *coder, m *Update) { c.history(&m.History) }),
		TypeRemove:     codec(prioRecovery, func(*coder, *Remove) {}),
	}
}

func push(c *coder, m *Push) {
	c.object(&m.Object)
	c.version(&m.Version)
	c.u32(&m.Piece)
	c.bool(&m.Last)
	c.snaps(&m.Parts)
	c.snaps(&m.Snaps)
	c.txn(&m.Txn)
	c.bool(&m.Pull)
	c.bool(&m.Failed)
	c.bool(&m.Knows)
}

func (c *coder) head(h *Head) {
	if c.e != nil {
		c.e.SPGID(h.PG)
		c.e.I32(h.From)
		c.e.U32(uint32(h.Epoch))
		c.e.U32(uint32(h.At))
		return
	}
	h.PG, h.From = c.d.SPGID(), c.d.I32()
	h.Epoch, h.At = wire.Epoch(c.d.U32()), wire.Epoch(c.d.U32())
}

func (c *coder) bool(v *bool) {
	if c.e != nil {
		c.e.Bool(*v)
	} else {
		*v = c.d.Bool()
	}
}

func (c *coder) u32(v *uint32) {
	if c.e != nil {
		c.e.U32(*v)
	} else {
		*v = c.d.U32()
	}
}

func (c *coder) int(v *int) {
	if c.e != nil {
		c.e.I32(int32(*v))
	} else {
		*v = int(c.d.I32())
	}
}

func (c *coder) version(v *wire.EVersion) {
	if c.e != nil {
		c.e.EVersion(*v)
	} else {
		*v = c.d.EVersion()
	}
}

func (c *coder) object(v *wire.HObject) {
	if c.e != nil {
		c.e.HObject(*v)
	} else {
		*v = c.d.HObject()
	}
}

// list codes the elements of a slice, each at least min bytes long.
func list[T any](c *coder, v *[]T, min int, element func(*T)) {
	if c.e != nil {
		c.e.Count(len(*v))
		for i := range *v {
			element(&(*v)[i])
		}
		return
	}
	for n := c.d.Count(min); n > 0 && c.d.Err() == nil; n-- {
		var x T
		element(&x)
		*v = append(*v, x)
	}
}

func (c *coder) snaps(v *[]wire.SnapID) {
	list(c, v, 8, func(s *wire.SnapID) {
		if c.e != nil {
			c.e.U64(uint64(*s))
		} else {
			*s = wire.SnapID(c.d.U64())
		}
	})
}

func (c *coder) missing(v *[]Missing) {
	list(c, v, 13, func(m *Missing) {
		c.object(&m.Object)
		c.version(&m.Need)
		c.bool(&m.Gone)
	})
}

func (c *coder) entry(v *Entry) {
	if c.e != nil {
		c.e.Bytes(v.Encode())
		return
	}
	e, err := DecodeEntry(c.d.Bytes())
	if err != nil {
		c.d.Fail(err)
	}
	*v = e
}

func (c *coder) entries(v *[]Entry) { list(c, v, 4, c.entry) }

func (c *coder) txn(v *store.Txn) {
	if c.e != nil {
		v.Encode(c.e, c.data)
	} else {
		*v = store.DecodeTxn(c.d, *c.data, &c.off)
	}
}

// record codes what has a form on disk in that form.
func (c *coder) record(encode func(*record.Encoder), decode func(*record.Decoder)) {
	if c.e != nil {
		r := record.Begin(1, 64)
		encode(r)
		c.e.Bytes(r.Seal())
		return
	}
	d, _ := record.Open("pg info", c.d.Bytes(), 1)
	decode(d)
	if err := d.End(); err != nil {
		c.d.Fail(err)
	}
}

func (c *coder) info(v *Info)       { c.record(v.encode, v.decode) }
func (c *coder) history(v *History) { c.record(v.encode, v.decode) }
