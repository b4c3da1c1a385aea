package wire

import "strings"

// Types of the messages around the mgr, and of the cluster log.
const (
	TypeMLog             MsgType = 52
	TypeMLogAck          MsgType = 53
	TypeMMgrMap          MsgType = 0x704
	TypeMMgrCommand      MsgType = 0x709
	TypeMMgrCommandReply MsgType = 0x70a
)

// MMgrMap says which mgr is active. A cluster without one sends the map with
// only Epoch set.
type MMgrMap struct{ Map MgrMap }

// MgrMap is the mgr's place in the cluster.
type MgrMap struct {
	Epoch     Epoch
	Active    []Addr // none: no mgr
	GlobalID  uint64
	Available bool
	Name      string

	Standbys         map[uint64]RawBlock
	Modules          []string // enabled, ascending
	Services         map[string]string
	AvailableModules []RawBlock
	ActiveSince      Time
	AlwaysOn         map[uint32][]string // by release
	MgrFeatures      uint64
	LastFailure      Epoch // of the OSDMap
	Clients          [][]Addr
	ClientNames      []string
}

// RawBlock is a versioned block whose content is carried, not understood.
type RawBlock struct {
	Version, Compat uint8
	Body            []byte
}

// MMgrCommand is a command to the mgr; see MCommand.
type MMgrCommand MCommand

// MMgrCommandReply answers MMgrCommand.
type MMgrCommandReply MCommandReply

// LogEntry is one line of the cluster log.
type LogEntry struct {
	Name    AuthName // who wrote it, as authenticated
	Rank    EntityName
	Addrs   []Addr
	Time    Time
	Seq     uint64
	Level   uint16 // 0 debug, 1 info, 2 security, 3 warning, 4 error
	Text    string
	Channel string // "cluster", "audit"
}

// AuthName is an entity as authentication knows it: client.admin.
type AuthName struct {
	Type EntityType
	ID   string // without the type: "admin"
}

// String prints type.id.
func (n AuthName) String() string {
	return EntityName{Type: n.Type}.Kind() + "." + n.ID
}

// ParseAuthName reads what String prints. EINVAL: there is no dot in it, or the
// type is unknown. The id may be empty ("mon.") and may have dots in it.
func ParseAuthName(s string) (AuthName, error) {
	kind, id, ok := strings.Cut(s, ".")
	for _, t := range []EntityType{EntityMon, EntityOSD, EntityMDS, EntityMgr, EntityClient} {
		if ok && kind == (EntityName{Type: t}).Kind() {
			return AuthName{Type: t, ID: id}, nil
		}
	}
	return AuthName{}, Errorf("entity name", s, EINVAL)
}

// MLog brings lines for the cluster log.
type MLog struct {
	Seen    uint64
	FSID    FSID
	Entries []LogEntry
}

// MLogAck says up to which line of a channel the log has them.
type MLogAck struct {
	FSID    FSID
	Last    uint64
	Channel string
}

// MsgType implements Message.
func (*MMgrMap) MsgType() MsgType { return TypeMMgrMap }

// MsgType implements Message.
func (*MMgrCommand) MsgType() MsgType { return TypeMMgrCommand }

// MsgType implements Message.
func (*MMgrCommandReply) MsgType() MsgType { return TypeMMgrCommandReply }

// MsgType implements Message.
func (*MLog) MsgType() MsgType { return TypeMLog }

// MsgType implements Message.
func (*MLogAck) MsgType() MsgType { return TypeMLogAck }
