package wire

// Messages between a mon and those it serves. Those below 0x8000 are Ceph's;
// the others are between our own daemons.
const (
	TypeMMonMap             MsgType = 4
	TypeMMonGetMap          MsgType = 5
	TypeMStatfs             MsgType = 13
	TypeMStatfsReply        MsgType = 14
	TypeMMonSubscribe       MsgType = 15
	TypeMAuth               MsgType = 17
	TypeMAuthReply          MsgType = 18
	TypeMMonGetVersion      MsgType = 19
	TypeMMonGetVersionReply MsgType = 20
	TypeMPoolOpReply        MsgType = 48
	TypeMPoolOp             MsgType = 49
	TypeMMonCommand         MsgType = 50
	TypeMMonCommandAck      MsgType = 51
	TypeMGetPoolStats       MsgType = 58
	TypeMGetPoolStatsReply  MsgType = 59
	TypeMConfig             MsgType = 62
	TypeMRemoveSnaps        MsgType = 90

	TypeMOSDBoot     MsgType = 0x8001
	TypeMOSDAlive    MsgType = 0x8002
	TypeMOSDMarkDown MsgType = 0x8003
	TypeMOSDFailure  MsgType = 0x8004
	TypeMOSDPGTemp   MsgType = 0x8005
	TypeMOSDStats    MsgType = 0x8006
	TypeMOSDPurged   MsgType = 0x8007
)

// MAuth opens a session with a mon: the answer gives a client its number. It
// stands for the handshake that the TCP transport does before any message.
//
// On the wire it is Ceph's MAuth, by which a session renews its tickets:
// Protocol, Payload and MonMapEpoch; Name does not travel.
type MAuth struct {
	TID         uint64
	Name        string // "client.admin"
	Seen        uint64 // version of the state asked about that the sender knows, or 0
	Protocol    uint32 // the authentication method; 0: not decided yet
	Payload     []byte // as that method wants it
	MonMapEpoch Epoch  // the sender's
}

// MAuthReply answers MAuth. FSID does not travel on the wire: there a client
// has it from the MonMap.
type MAuthReply struct {
	TID      uint64
	Result   int32
	GlobalID int64 // unique for ever in this cluster
	FSID     FSID
	Protocol uint32
	Payload  []byte
	Status   string // for the eyes of a person
}

// MMonGetMap asks for the MonMap.
type MMonGetMap struct{}

// MMonMap brings the encoded MonMap.
type MMonMap struct{ Map []byte }

// MConfig brings the settings that apply to the receiver.
type MConfig struct{ Values map[string]string }

// What can be subscribed to.
const (
	SubOSDMap = "osdmap"
	SubMonMap = "monmap"
	SubMgrMap = "mgrmap"
	SubConfig = "config"
)

// Subscription asks for the versions of a map from Start on; 0 means the
// newest only. Once ends it after one delivery.
type Subscription struct {
	Start uint64
	Once  bool
}

// MMonSubscribe adds subscriptions to a session, or replaces those of the
// same name.
type MMonSubscribe struct {
	What     map[string]Subscription
	Hostname string
}

// MMonGetVersion asks for the newest version of a map.
type MMonGetVersion struct {
	TID  uint64
	What string
}

// MMonGetVersionReply answers MMonGetVersion.
type MMonGetVersionReply struct {
	TID            uint64
	Newest, Oldest uint64
}

// MMonCommand is a command: one JSON object with a "prefix".
type MMonCommand struct {
	TID   uint64
	Seen  uint64 // version of the state asked about that the sender knows, or 0
	FSID  FSID
	Cmd   []string
	Input []byte
}

// MMonCommandAck answers a command: Result is 0 or a negative Errno, Status
// is for the eyes of a person, Output is what was asked for.
type MMonCommandAck struct {
	TID    uint64
	Seen   uint64 // version of the state asked about that the sender knows, or 0
	Result int32
	Status string
	Cmd    []string
	Output []byte
}

// MStatfs asks for the use of the cluster or of one pool.
type MStatfs struct {
	TID     uint64
	Seen    uint64 // version of the state asked about that the sender knows, or 0
	FSID    FSID
	HasPool bool
	Pool    int64
}

// MStatfsReply answers MStatfs. Sizes are in KiB.
type MStatfsReply struct {
	TID                 uint64
	FSID                FSID
	Version             uint64
	KB, KBUsed, KBAvail uint64
	Objects             uint64
}

// PoolStat is the use of one pool.
type PoolStat struct {
	Objects, Clones uint64 // clones included in Objects
	Bytes           uint64 // of data, before replication
	OmapBytes       uint64
	Detail          *PoolDetail // nil: nothing more is known
}

// MGetPoolStats asks for the use of pools by name.
type MGetPoolStats struct {
	TID   uint64
	Seen  uint64 // version of the state asked about that the sender knows, or 0
	FSID  FSID
	Pools []string
}

// MGetPoolStatsReply answers MGetPoolStats; unknown names are left out.
type MGetPoolStatsReply struct {
	TID   uint64
	Seen  uint64 // version of the state asked about that the sender knows, or 0
	FSID  FSID
	Pools map[string]PoolStat
	// PerPool says that the space counters of PoolDetail are each pool's own.
	PerPool bool
}

// PoolOp says what an MPoolOp does (Ceph's values).
type PoolOp uint32

// The pool operations.
const (
	PoolCreate        PoolOp = 1
	PoolDelete        PoolOp = 2
	PoolCreateSnap    PoolOp = 0x11
	PoolDeleteSnap    PoolOp = 0x12
	PoolCreateOwnSnap PoolOp = 0x21 // a self-managed snapshot; the answer's Snap is its id
	PoolDeleteOwnSnap PoolOp = 0x22
)

// MPoolOp changes pools and their snapshots.
type MPoolOp struct {
	TID       uint64
	Seen      uint64 // version of the state asked about that the sender knows, or 0
	FSID      FSID
	Pool      int64
	Op        PoolOp
	Snap      SnapID
	Name      string
	CrushRule int16 // -1: the default
}

// MPoolOpReply answers MPoolOp. The change is in the OSDMap of Epoch.
type MPoolOpReply struct {
	TID    uint64
	Seen   uint64 // version of the state asked about that the sender knows, or 0
	FSID   FSID
	Result int32
	Epoch  Epoch
	Snap   SnapID // PoolCreateOwnSnap
}

// MRemoveSnaps removes snapshots by pool, ids that were never given out
// included. The mon answers with the same message once it is agreed on.
type MRemoveSnaps struct {
	TID   uint64 // ours alone; on Ceph's wire the answer has none
	Seen  uint64 // version of the state asked about that the sender knows, or 0
	Snaps map[int64][]SnapID
}

// MOSDBoot says that an OSD has started and wants to be marked up.
type MOSDBoot struct {
	OSD     int32
	UUID    FSID  // of its store; a number belongs to one store for ever
	Public  Addr  // where clients reach it
	Cluster Addr  // where OSDs reach it
	Epoch   Epoch // the newest map it has
	Host    string
	// Weight is the size of the store in TiB as 16.16 fixed point; 0 keeps
	// what the CRUSH map has.
	Weight uint32
}

// MOSDAlive asks for up_thru to be at least Want: the OSD is about to take
// writes as a primary in an interval that began at Want.
type MOSDAlive struct {
	OSD  int32
	Want Epoch
}

// MOSDMarkDown says goodbye: the OSD stops.
type MOSDMarkDown struct{ OSD int32 }

// MOSDFailure reports that an OSD does not answer another one. FailedFor is
// in nanoseconds; 0 takes an earlier report back.
type MOSDFailure struct {
	Reporter, Target int32
	TargetAddr       Addr
	FailedFor        Time
	Epoch            Epoch
}

// MOSDPGTemp asks that other OSDs than CRUSH's serve placement groups for a
// while; an empty list ends it.
type MOSDPGTemp struct {
	OSD   int32
	Epoch Epoch
	Temp  map[PGID][]int32
}

// PGStat is what the primary of a placement group tells about it.
type PGStat struct {
	State           string // as Ceph names it: "active+clean"
	Stat            PoolStat
	LastEpochClean  Epoch
	Missing         uint64 // objects to be recovered
	Up, Acting      []int32
	LastDeepScrub   Time
	ReportedVersion EVersion
}

// MOSDStats reports the use of an OSD's store, in bytes, and the state of the
// placement groups it leads.
type MOSDStats struct {
	OSD                int32
	Total, Used, Avail uint64
	PGs                map[PGID]PGStat
}

// MOSDPurged says that no clone of these snapshots is left in the placement
// groups of a pool that the OSD leads.
type MOSDPurged struct {
	OSD   int32
	PG    PGID
	Snaps []SnapID
}

// MsgType implements Message.
func (*MAuth) MsgType() MsgType { return TypeMAuth }

// MsgType implements Message.
func (*MAuthReply) MsgType() MsgType { return TypeMAuthReply }

// MsgType implements Message.
func (*MMonGetMap) MsgType() MsgType { return TypeMMonGetMap }

// MsgType implements Message.
func (*MMonMap) MsgType() MsgType { return TypeMMonMap }

// MsgType implements Message.
func (*MConfig) MsgType() MsgType { return TypeMConfig }

// MsgType implements Message.
func (*MMonSubscribe) MsgType() MsgType { return TypeMMonSubscribe }

// MsgType implements Message.
func (*MMonGetVersion) MsgType() MsgType { return TypeMMonGetVersion }

// MsgType implements Message.
func (*MMonGetVersionReply) MsgType() MsgType { return TypeMMonGetVersionReply }

// MsgType implements Message.
func (*MMonCommand) MsgType() MsgType { return TypeMMonCommand }

// MsgType implements Message.
func (*MMonCommandAck) MsgType() MsgType { return TypeMMonCommandAck }

// MsgType implements Message.
func (*MStatfs) MsgType() MsgType { return TypeMStatfs }

// MsgType implements Message.
func (*MStatfsReply) MsgType() MsgType { return TypeMStatfsReply }

// MsgType implements Message.
func (*MGetPoolStats) MsgType() MsgType { return TypeMGetPoolStats }

// MsgType implements Message.
func (*MGetPoolStatsReply) MsgType() MsgType { return TypeMGetPoolStatsReply }

// MsgType implements Message.
func (*MPoolOp) MsgType() MsgType { return TypeMPoolOp }

// MsgType implements Message.
func (*MPoolOpReply) MsgType() MsgType { return TypeMPoolOpReply }

// MsgType implements Message.
func (*MRemoveSnaps) MsgType() MsgType { return TypeMRemoveSnaps }

// MsgType implements Message.
func (*MOSDBoot) MsgType() MsgType { return TypeMOSDBoot }

// MsgType implements Message.
func (*MOSDAlive) MsgType() MsgType { return TypeMOSDAlive }

// MsgType implements Message.
func (*MOSDMarkDown) MsgType() MsgType { return TypeMOSDMarkDown }

// MsgType implements Message.
func (*MOSDFailure) MsgType() MsgType { return TypeMOSDFailure }

// MsgType implements Message.
func (*MOSDPGTemp) MsgType() MsgType { return TypeMOSDPGTemp }

// MsgType implements Message.
func (*MOSDStats) MsgType() MsgType { return TypeMOSDStats }

// MsgType implements Message.
func (*MOSDPurged) MsgType() MsgType { return TypeMOSDPurged }
