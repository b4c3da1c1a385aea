package wire

// MsgType is a message's type number (Ceph's values below 0x8000; ours, which
// no client sees, above).
type MsgType uint16

// Message is anything a messenger carries. A message is never changed after
// it was sent.
type Message interface {
	MsgType() MsgType
}

// The message types in use.
const (
	TypeMOSDMap      MsgType = 41
	TypeMOSDOp       MsgType = 42
	TypeMOSDOpReply  MsgType = 43
	TypeMWatchNotify MsgType = 44
	TypeMOSDBackoff  MsgType = 61
)

// OSDFlag qualifies a whole MOSDOp (Ceph's values). The READ and WRITE bits
// are a hint: an OSD derives the truth from the operation codes.
type OSDFlag uint32

// The flags in use.
const (
	FlagAck           OSDFlag = 0x1
	FlagOnDisk        OSDFlag = 0x4
	FlagRetry         OSDFlag = 0x8
	FlagRead          OSDFlag = 0x10
	FlagWrite         OSDFlag = 0x20
	FlagOrderSnap     OSDFlag = 0x40
	FlagBalanceReads  OSDFlag = 0x100 // any replica may serve the read
	FlagPGOp          OSDFlag = 0x400
	FlagLocalizeReads OSDFlag = 0x2000 // the nearest replica may serve the read
	FlagEnforceSnapC  OSDFlag = 0x100000
	FlagKnownRedir    OSDFlag = 0x400000
	FlagFullTry       OSDFlag = 0x800000
	FlagFullForce     OSDFlag = 0x1000000
	FlagReturnVec     OSDFlag = 0x4000000
	FlagKnowsPoolEIO  OSDFlag = 0x8000000 // the client itself fails requests to a pool with the flag EIO
)

// MOSDOp asks an OSD to run one vector of operations on one object,
// atomically.
type MOSDOp struct {
	TID     uint64 // answers carry it
	PG      SPGID  // the actual PG, after stable_mod
	Hash    uint32 // the object's full hash
	Epoch   Epoch  // of the map the client computed PG from
	Flags   OSDFlag
	ReqID   ReqID // the same for every resend
	MTime   Time
	Locator ObjectLocator
	Object  string
	Ops     []Op
	Snap    SnapID // reads: which state; NoSnap in writes
	SnapC   SnapContext
	Attempt int32 // 0 first, then 1, 2, …
	// Records are the operations' records as they came over the wire, 38
	// bytes each; nil in a message that was made here. The reply repeats
	// them.
	Records []byte
}

// MsgType implements Message.
func (*MOSDOp) MsgType() MsgType { return TypeMOSDOp }

// Release gives back the references that decoding took. Whoever decoded the
// message calls it once, after the Dispatcher returned.
func (m *MOSDOp) Release() {
	for i := range m.Ops {
		m.Ops[i].Data.Release()
	}
}

// MOSDOpReply answers one MOSDOp. Result is the vector's: negative Errno, or
// what the last operation gave.
type MOSDOpReply struct {
	TID         uint64
	Object      string
	PG          PGID
	Flags       OSDFlag
	Result      int32
	Epoch       Epoch
	Attempt     int32
	Results     []OpResult // one for each operation
	Version     EVersion   // writes: of the PG log entry
	UserVersion uint64     // of the object
	// Records are the request's, for the wire; the results are encoded by
	// the operations' codes in them. nil when the request had none.
	Records []byte
}

// MsgType implements Message.
func (*MOSDOpReply) MsgType() MsgType { return TypeMOSDOpReply }

// Release gives the reply's Data back. Call it once, when nothing of the
// results is needed any more; the Data are cleared.
func (m *MOSDOpReply) Release() {
	for i := range m.Results {
		m.Results[i].Data.Release()
		m.Results[i].Data = Data{}
	}
}

// MOSDMap brings maps to OSDs and clients: encoded incrementals and full
// maps by epoch, in Ceph's encoding (rados/clustermap).
type MOSDMap struct {
	FSID           FSID
	Incrementals   map[Epoch][]byte
	Fulls          map[Epoch][]byte
	Oldest, Newest Epoch // what the sender could give
	// GapRemovedSnaps has, by pool, snapshots removed in epochs that the
	// message skips.
	GapRemovedSnaps map[int64][]SnapInterval
}

// SnapInterval is a run of snapshot ids.
type SnapInterval struct {
	Start SnapID
	Len   uint64
}

// MsgType implements Message.
func (*MOSDMap) MsgType() MsgType { return TypeMOSDMap }
