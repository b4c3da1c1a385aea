package pg

import (
	"github.com/spirula/spirula/osd/store"
	"github.com/spirula/spirula/rados/wire"
)

// The messages between the OSDs of a PG; ours, above Ceph's numbers.
const (
	TypeRepOp  wire.MsgType = 0x8101
	TypeRepAck wire.MsgType = 0x8102
	TypeQuery  wire.MsgType = 0x8103
	TypeNotify wire.MsgType = 0x8104
)

// RepOp asks a replica to apply a write.
type RepOp struct {
	PG    wire.SPGID
	From  int32
	Epoch wire.Epoch // first of the primary's interval
	Entry Entry
	Txn   store.Txn // objects and snap index; the log rows are the replica's own
	Trim  int       // oldest log entries to trim
}

// MsgType implements wire.Message.
func (*RepOp) MsgType() wire.MsgType { return TypeRepOp }

// RepAck says that a replica has a RepOp on stable storage.
type RepAck struct {
	PG      wire.SPGID
	From    int32
	Epoch   wire.Epoch
	Version wire.EVersion
}

// MsgType implements wire.Message.
func (*RepAck) MsgType() wire.MsgType { return TypeRepAck }

// Query asks an acting OSD where its log ends.
type Query struct {
	PG    wire.SPGID
	Epoch wire.Epoch // first of the primary's interval
	From  int32
}

// MsgType implements wire.Message.
func (*Query) MsgType() wire.MsgType { return TypeQuery }

// Notify answers Query.
type Notify struct {
	PG         wire.SPGID
	From       int32
	Since      wire.Epoch // the Query's Epoch
	LastUpdate wire.EVersion
}

// MsgType implements wire.Message.
func (*Notify) MsgType() wire.MsgType { return TypeNotify }

// HandleRepOp takes a primary's write into a replica's log. It fills t, the
// transaction to queue; when that is committed the OSD calls
// ReplicaCommitted. False: the message belongs to another interval, or does
// not follow our log; it is dropped.
func (c *Core) HandleRepOp(m *RepOp, t *store.Txn) bool {
	if m.Epoch != c.since || m.From != c.interval.Primary || c.Primary() || m.PG != c.id {
		return false
	}
	head := c.log.head()
	if !head.Less(m.Entry.Version) || m.Entry.Version.Version != head.Version+1 {
		return false
	}
	t.Append(&m.Txn)
	trim := 0
	if m.Trim > 0 && m.Trim < c.log.len() && c.trimmable(m.Trim) {
		trim = m.Trim
	}
	c.addRows(&m.Entry, trim, t)
	c.log.append(&m.Entry)
	c.doTrim(trim)
	c.replica = append(c.replica, m.Entry.Version)
	return true
}

// ReplicaCommitted acknowledges a RepOp that is on stable storage here.
func (c *Core) ReplicaCommitted(m *RepOp, f *Effects) {
	if len(c.replica) > 0 && c.replica[0] == m.Entry.Version {
		c.replica = c.replica[1:]
	}
	if c.committed.Less(m.Entry.Version) {
		c.committed = m.Entry.Version
	}
	f.Send = append(f.Send, PeerMsg{m.From, &RepAck{PG: c.id, From: c.me, Epoch: m.Epoch, Version: m.Entry.Version}})
}
