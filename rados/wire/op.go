package wire

// OpCode is the code of one operation of a vector (Ceph's CEPH_OSD_OP_*
// values: mode, class, number).
type OpCode uint16

// The operations. Their meaning is Ceph's.
const (
	OpInvalid           OpCode = 0 // see Op.Raw
	OpRead              OpCode = 0x1201
	OpStat              OpCode = 0x1202
	OpSparseRead        OpCode = 0x1205
	OpNotify            OpCode = 0x1206
	OpNotifyAck         OpCode = 0x1207
	OpAssertVer         OpCode = 0x1208
	OpListWatchers      OpCode = 0x1209
	OpListSnaps         OpCode = 0x120a
	OpSyncRead          OpCode = 0x120b
	OpOmapGetKeys       OpCode = 0x1211
	OpOmapGetVals       OpCode = 0x1212
	OpOmapGetHeader     OpCode = 0x1213
	OpOmapGetValsByKeys OpCode = 0x1214
	OpOmapCmp           OpCode = 0x1219
	OpChecksum          OpCode = 0x121f
	OpCmpExt            OpCode = 0x1220
	OpGetXattr          OpCode = 0x1301
	OpGetXattrs         OpCode = 0x1302
	OpCmpXattr          OpCode = 0x1303
	OpCall              OpCode = 0x1401
	OpPGNLS             OpCode = 0x1505
	OpPGNLSFilter       OpCode = 0x1506
	OpWrite             OpCode = 0x2201
	OpWriteFull         OpCode = 0x2202
	OpTruncate          OpCode = 0x2203
	OpZero              OpCode = 0x2204
	OpDelete            OpCode = 0x2205
	OpAppend            OpCode = 0x2206
	OpCreate            OpCode = 0x220d
	OpRollback          OpCode = 0x220e
	OpWatch             OpCode = 0x220f
	OpTrimTrunc         OpCode = 0x2213
	OpOmapSetVals       OpCode = 0x2215
	OpOmapSetHeader     OpCode = 0x2216
	OpOmapClear         OpCode = 0x2217
	OpOmapRmKeys        OpCode = 0x2218
	OpCopyFrom          OpCode = 0x221a
	OpUndirty           OpCode = 0x221c
	OpSetAllocHint      OpCode = 0x2223
	OpWriteSame         OpCode = 0x2226
	OpOmapRmKeyRange    OpCode = 0x222c
	OpCopyFrom2         OpCode = 0x222d
	OpSetXattr          OpCode = 0x2301
	OpRmXattr           OpCode = 0x2304
)

// Writes reports whether the code's mode changes the object. CALL is decided
// by the class method, not here.
func (c OpCode) Writes() bool { return c&0x2000 != 0 }

// Reads reports whether the code's mode reads the object. CALL is decided by
// the class method, not here.
func (c OpCode) Reads() bool { return c&0x1000 != 0 }

// OpFlag modifies one operation of a vector.
type OpFlag uint32

// The operation flags in use (Ceph's values).
const (
	OpExcl       OpFlag = 1 // CREATE: fail with EEXIST if the object is there
	OpFailOK     OpFlag = 2 // the vector goes on if this operation fails
	OpSequential OpFlag = 8
	OpWillNeed   OpFlag = 16 // WRITE and its kin: keep the data in the OSD's cache
	OpDontNeed   OpFlag = 32
)

// CmpOp is the operator of a comparison. The operand given in the operation
// stands on the left: GTE with operand E passes when E >= stored. (OMAP_CMP
// is the other way round: stored OP given, and knows EQ, LT, GT only.)
type CmpOp uint8

// The operators (Ceph's values).
const (
	CmpEQ  CmpOp = 1
	CmpNE  CmpOp = 2
	CmpGT  CmpOp = 3
	CmpGTE CmpOp = 4
	CmpLT  CmpOp = 5
	CmpLTE CmpOp = 6
)

// CmpMode says how CMPXATTR reads its operands.
type CmpMode uint8

// The modes (Ceph's values).
const (
	CmpString CmpMode = 1 // bytes, unsigned; the operand is Op.Value
	CmpU64    CmpMode = 2 // the stored value is decimal text; the operand is Op.Num
)

// WatchOp says what a WATCH operation does (Ceph's values).
type WatchOp uint8

// The watch operations.
const (
	WatchUnwatch   WatchOp = 0
	WatchLegacy    WatchOp = 1
	WatchRegister  WatchOp = 3
	WatchReconnect WatchOp = 5
	WatchPing      WatchOp = 7
)

// KV is one omap entry or xattr. Key holds any bytes.
type KV struct {
	Key   string
	Value []byte
}

// OmapCmp is one assertion of OMAP_CMP: the value stored under Key, a missing
// one counting as empty, is compared with Value.
type OmapCmp struct {
	Key   string
	Value []byte
	Op    CmpOp // EQ, LT, GT
}

// Op is one operation of a vector. Which fields count depends on Code:
//
//	READ, SPARSE_READ, ZERO          Off, Len (Len 0 in READ: to the end), Num (truncate_size), Gen
//	WRITE, CMPEXT                    Off, Data, Num (truncate_size), Gen
//	WRITEFULL, APPEND                Data
//	WRITESAME                        Off, Len (total), Data (the pattern)
//	TRUNCATE, TRIMTRUNC              Off (the new size), Num (truncate_size), Gen
//	CHECKSUM                         Off, Len, Num (chunk), Value (type byte, initial value)
//	CREATE                           Flags & OpExcl
//	SETXATTR                         Name, Value
//	GETXATTR, RMXATTR                Name
//	CMPXATTR                         Name, CmpOp, CmpMode, Value or Num
//	OMAPSETVALS                      KVs, ascending by key
//	OMAPSETHEADER                    Value
//	OMAPRMKEYS, OMAPGETVALSBYKEYS    Keys, ascending
//	OMAPRMKEYRANGE                   Name (begin), Name2 (end, exclusive)
//	OMAPGETKEYS, OMAPGETVALS         Name (after, exclusive), Name2 (prefix; VALS only), Num (max)
//	OMAP_CMP                         OmapCmps
//	ROLLBACK                         Num (snap id)
//	ASSERT_VER                       Num
//	WATCH                            Num (cookie), Watch, Len (timeout, seconds), Gen
//	NOTIFY, NOTIFY_ACK               Num (cookie), Value (input as on the wire)
//	CALL                             Name (class), Name2 (method), Value (input)
//	PGNLS                            Num (max), Gen, Cursor, Namespace in the locator
//	PGNLS_FILTER                     the same without Cursor, Name, Name2, Value (the filter and the cursor)
//	SETALLOCHINT                     Off (size of the object), Len (of a write), Num (flags)
//	COPY_FROM, COPY_FROM2            Source
//
// An operation that this package does not know came over the wire with Raw and
// Value (its input). One that it knows, but whose input is no encoding of it,
// has Code OpInvalid, its own code in Num, and Raw and Value; an OSD answers
// EINVAL to it.
type Op struct {
	Code    OpCode
	Flags   OpFlag
	CmpOp   CmpOp
	CmpMode CmpMode
	Watch   WatchOp
	// Gen is the registration's generation of a WATCH, the epoch in which
	// the listing of a PGNLS began, the truncate_seq of reads and writes
	// (only CephFS's clients set it, together with truncate_size in Num).
	Gen uint32

	Off, Len uint64
	Num      uint64

	Name, Name2 string
	Value       []byte
	Data        Data

	KVs      []KV
	Keys     []string
	OmapCmps []OmapCmp
	Cursor   *HObject
	Source   *CopySource
	Raw      *[unionSize]byte
}

// unionSize is the length of the part of an operation's record whose layout
// depends on its code.
const unionSize = 28

// CopySource is what COPY_FROM copies.
type CopySource struct {
	Object  string
	Locator ObjectLocator
	Snap    SnapID
	Version uint64 // the source must have it; 0: any
	Flags   uint8
	Advice  uint32 // operation flags for the read
	// TruncateSeq and TruncateSize are in COPY_FROM2 only.
	TruncateSeq  uint32
	TruncateSize uint64
}

// CloneSnap describes one clone in the answer to LIST_SNAPS; the head comes
// last with Clone = NoSnap.
type CloneSnap struct {
	Clone   SnapID
	Snaps   []SnapID // ascending
	Overlap []Extent // what it still shares with the next newer
	Size    uint64
}

// Extent is a range of bytes of an object.
type Extent struct{ Off, Len uint64 }

// ListEntry is one object in the answer to PGNLS.
type ListEntry struct{ Namespace, Name, Key string }

// OpResult is what one operation of a vector gave.
type OpResult struct {
	Rval int32 // negative Errno, or the operation's own non-negative result

	Data  Data   // READ, SPARSE_READ: one reference, owned by the reply's receiver
	Value []byte // GETXATTR, OMAPGETHEADER, CALL, CHECKSUM, NOTIFY
	KVs   []KV   // GETXATTRS, OMAPGETVALS, OMAPGETVALSBYKEYS
	Keys  []string
	More  bool // OMAPGET*: entries are left

	Size  uint64 // STAT
	MTime Time   // STAT

	Extents []Extent    // SPARSE_READ
	Clones  []CloneSnap // LIST_SNAPS
	SnapSeq SnapID      // LIST_SNAPS
	List    []ListEntry // PGNLS
	Cursor  *HObject    // PGNLS: where to go on

	Watchers []Watcher // LIST_WATCHERS
}
