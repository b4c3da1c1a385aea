package pg

import (
	"github.com/spirula/spirula/osd/store"
	"github.com/spirula/spirula/rados/wire"
)

// The messages between the OSDs of a PG; ours, above Ceph's numbers.
const (
	TypeRepOp      wire.MsgType = 0x8101
	TypeRepAck     wire.MsgType = 0x8102
	TypeQuery      wire.MsgType = 0x8103
	TypeNotify     wire.MsgType = 0x8104
	TypeGetLog     wire.MsgType = 0x8105
	TypeLog        wire.MsgType = 0x8106
	TypeActivate   wire.MsgType = 0x8107
	TypeActivated  wire.MsgType = 0x8108
	TypePull       wire.MsgType = 0x8109
	TypePush       wire.MsgType = 0x810a
	TypePushAck    wire.MsgType = 0x810b
	TypeScan       wire.MsgType = 0x810c
	TypeScanned    wire.MsgType = 0x810d
	TypeProgress   wire.MsgType = 0x810e
	TypeProgressed wire.MsgType = 0x810f
	TypeUpdate     wire.MsgType = 0x8110
	TypeRemove     wire.MsgType = 0x8111
)

// Head begins every message between OSDs of a PG.
type Head struct {
	PG   wire.SPGID
	From int32
	// Epoch is the first of the interval that the message belongs to, as
	// the sender knows it; At is the sender's map. A receiver whose map is
	// older than At waits for it; one whose interval began after At drops
	// the message. Who skipped maps may know another Epoch for the same
	// interval; the primary's counts.
	Epoch, At wire.Epoch
}

// About gives the head; every message has it.
func (h *Head) About() *Head { return h }

// Message is a message between OSDs of a PG.
type Message interface {
	wire.Message
	About() *Head
}

// RepOp asks a replica to apply a write.
type RepOp struct {
	Head
	Entry Entry
	Txn   store.Txn // objects and snap index; the log rows are the replica's own
	Trim  int       // oldest log entries to trim
}

// RepAck says that a replica has a RepOp on stable storage.
type RepAck struct {
	Head
	Version wire.EVersion
}

// Query asks an OSD what it has of the PG.
type Query struct{ Head }

// Notify answers Query. An OSD outside the acting set that has the PG sends
// it to the primary without being asked.
type Notify struct {
	Head
	Info Info
}

// GetLog asks for the log, as far as it may differ from ours, whose newest
// entry is Last.
type GetLog struct {
	Head
	Last wire.EVersion
}

// Log answers GetLog: the entries after Since, the sender's newest that is
// not above Last. If the asker's log does not have it, nothing connects them.
type Log struct {
	Head
	Info    Info
	Since   wire.EVersion
	Entries []Entry
}

// Activate makes a replica's log that of the primary: its entries after Since
// are replaced by Entries.
type Activate struct {
	Head
	Info  Info // the primary's, with LastStarted as the replica is to note it
	Since wire.EVersion
	// Reset: the replica's copy is too old. Its log begins anew at Since,
	// and its objects will be compared one by one.
	Reset   bool
	Entries []Entry
}

// Activated says that Activate is on stable storage: these objects are not as
// the log has them. Refused: the replica's log does not have Since.
type Activated struct {
	Head
	Missing    []Missing
	Backfilled wire.HObject
	Refused    bool
}

// Pull asks for an object.
type Pull struct {
	Head
	Object wire.HObject // the head
	Need   wire.EVersion
}

// Push brings an object, head and clones and all, in one or more pieces. Its
// steps are Touch, Write, Truncate, SetXattrs, OmapSet and OmapHeader of
// objects that do not exist before.
type Push struct {
	Head
	Object  wire.HObject // the head
	Version wire.EVersion
	Piece   uint32
	Last    bool
	Parts   []wire.SnapID // with Last: the head (NoSnap) and clones there are; none: the object is gone
	// Snaps has the snapshots that the object's clones show; with Last.
	Snaps  []wire.SnapID
	Txn    store.Txn
	Pull   bool // answers a Pull
	Failed bool // answers a Pull: the sender does not have it
	// Knows: the sender's log has the version that the Pull asked for, or
	// begins after it. So if it has no object, that is the object's state.
	// (What was trimmed was on stable storage everywhere.)
	Knows bool
}

// PushAck says that a piece is taken; the last piece's is sent when the
// object is on stable storage.
type PushAck struct {
	Head
	Object wire.HObject
	Piece  uint32
	Last   bool
}

// Scan asks a backfill target what it has after First, up to End if that is
// not the zero object, at most Max heads.
type Scan struct {
	Head
	First, End wire.HObject
}

// Scanned answers Scan: every head after First up to End, clones without a
// head included.
type Scanned struct {
	Head
	First, End wire.HObject
	Objects    []Missing // versions in Need; zero where there is none
}

// Progress has a backfill target note how far its copy is whole.
type Progress struct {
	Head
	Backfilled wire.HObject
}

// Progressed says that it is on stable storage.
type Progressed struct {
	Head
	Backfilled wire.HObject
}

// Update tells the other OSDs of an interval what the primary knows of the
// PG's past by now.
type Update struct {
	Head
	History History
}

// Remove tells an OSD that its copy is no longer needed: the PG is clean
// without it.
type Remove struct{ Head }

// MsgType implements wire.Message.
func (*RepOp) MsgType() wire.MsgType { return TypeRepOp }

// MsgType implements wire.Message.
func (*RepAck) MsgType() wire.MsgType { return TypeRepAck }

// MsgType implements wire.Message.
func (*Query) MsgType() wire.MsgType { return TypeQuery }

// MsgType implements wire.Message.
func (*Notify) MsgType() wire.MsgType { return TypeNotify }

// MsgType implements wire.Message.
func (*GetLog) MsgType() wire.MsgType { return TypeGetLog }

// MsgType implements wire.Message.
func (*Log) MsgType() wire.MsgType { return TypeLog }

// MsgType implements wire.Message.
func (*Activate) MsgType() wire.MsgType { return TypeActivate }

// MsgType implements wire.Message.
func (*Activated) MsgType() wire.MsgType { return TypeActivated }

// MsgType implements wire.Message.
func (*Pull) MsgType() wire.MsgType { return TypePull }

// MsgType implements wire.Message.
func (*Push) MsgType() wire.MsgType { return TypePush }

// MsgType implements wire.Message.
func (*PushAck) MsgType() wire.MsgType { return TypePushAck }

// MsgType implements wire.Message.
func (*Scan) MsgType() wire.MsgType { return TypeScan }

// MsgType implements wire.Message.
func (*Scanned) MsgType() wire.MsgType { return TypeScanned }

// MsgType implements wire.Message.
func (*Progress) MsgType() wire.MsgType { return TypeProgress }

// MsgType implements wire.Message.
func (*Progressed) MsgType() wire.MsgType { return TypeProgressed }

// MsgType implements wire.Message.
func (*Update) MsgType() wire.MsgType { return TypeUpdate }

// MsgType implements wire.Message.
func (*Remove) MsgType() wire.MsgType { return TypeRemove }

// Release gives back the references that decoding took. Whoever decoded the
// message calls it once, after the Dispatcher returned.
func (m *RepOp) Release() { m.Txn.Release() }

// Release gives back the references that decoding took. Whoever decoded the
// message calls it once, after the Dispatcher returned.
func (m *Push) Release() { m.Txn.Release() }
