package wire

// Types of the messages in this file.
const (
	TypeMPing         MsgType = 2
	TypeMCommand      MsgType = 97
	TypeMCommandReply MsgType = 98
)

// MPing keeps a connection with a watch on it alive; it has no answer.
type MPing struct{}

// WatchEvent says what an MWatchNotify brings (Ceph's values).
type WatchEvent uint8

// The watch events.
const (
	EventNotify         WatchEvent = 1 // to a watcher: somebody notifies
	EventNotifyComplete WatchEvent = 2 // to the notifier: all have answered, or the time is over
	EventDisconnect     WatchEvent = 3 // to a watcher: the watch is gone
)

// MWatchNotify goes from an OSD to a client that watches an object or waits
// for the end of its notify.
type MWatchNotify struct {
	Event    WatchEvent
	Cookie   uint64 // the watcher's, or for EventNotifyComplete the notifier's
	Version  uint64 // not used: 0
	NotifyID uint64
	Payload  []byte // the notifier's, or an encoded NotifyResult, which travels as data
	Result   int32  // EventNotifyComplete: 0 or -ETIMEDOUT
	Notifier uint64 // EventNotify: the notifier's global id
}

// WatcherID identifies a watch of an object: a client's global id and the
// cookie it chose.
type WatcherID struct{ GlobalID, Cookie uint64 }

// NotifyReply is what one watcher answered.
type NotifyReply struct {
	WatcherID
	Payload []byte
}

// NotifyResult is the payload of EventNotifyComplete.
type NotifyResult struct {
	Replies []NotifyReply // ascending by id
	Missed  []WatcherID   // those that did not answer in time
}

// NotifyInput is the input of NOTIFY.
type NotifyInput struct {
	Timeout uint32 // seconds
	Payload []byte
}

// NotifyAckInput is the input of NOTIFY_ACK.
type NotifyAckInput struct {
	NotifyID, Cookie uint64
	Payload          []byte
}

// Watcher is one entry in the answer to LIST_WATCHERS.
type Watcher struct {
	Client  EntityName
	Cookie  uint64
	Timeout uint32 // seconds
	Addr    Addr
}

// BackoffOp says what an MOSDBackoff does (Ceph's values).
type BackoffOp uint8

// The backoff operations.
const (
	BackoffBlock    BackoffOp = 1 // to the client: hold operations on the range
	BackoffAckBlock BackoffOp = 2 // to the OSD: done
	BackoffUnblock  BackoffOp = 3 // to the client: send them again
)

// MOSDBackoff asks a client to hold, or to resend, its operations on objects
// from Begin to End: [Begin, End), or Begin alone when both are equal.
type MOSDBackoff struct {
	PG         SPGID
	Epoch      Epoch
	Op         BackoffOp
	ID         uint64 // pairs block, its acknowledgement and unblock
	Begin, End HObject
}

// MCommand is a command to the daemon at the other end ("ceph tell"): one JSON
// object with a "prefix".
type MCommand struct {
	TID   uint64
	FSID  FSID
	Cmd   []string
	Input []byte
}

// MCommandReply answers MCommand; see MMonCommandAck for the fields.
type MCommandReply struct {
	TID    uint64
	Result int32
	Status string
	Output []byte
}

// MsgType implements Message.
func (*MPing) MsgType() MsgType { return TypeMPing }

// MsgType implements Message.
func (*MWatchNotify) MsgType() MsgType { return TypeMWatchNotify }

// MsgType implements Message.
func (*MOSDBackoff) MsgType() MsgType { return TypeMOSDBackoff }

// MsgType implements Message.
func (*MCommand) MsgType() MsgType { return TypeMCommand }

// MsgType implements Message.
func (*MCommandReply) MsgType() MsgType { return TypeMCommandReply }
