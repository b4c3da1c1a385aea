package wire

import (
	"fmt"
	"math/bits"
	"strconv"
	"strings"
	"time"
)

// Epoch numbers the versions of a cluster map; 0 is before the first.
type Epoch uint32

// Time is nanoseconds since 1970 UTC; on the wire u32 seconds and u32
// nanoseconds (utime_t), so years 1970 to 2106 survive the trip.
type Time int64

// TimeOf converts from the standard library's time.
func TimeOf(t time.Time) Time { return Time(t.UnixNano()) }

// Std converts to the standard library's time, in UTC.
func (t Time) Std() time.Time { return time.Unix(0, int64(t)).UTC() }

// FSID identifies a cluster; made once, random.
type FSID [16]byte

// String prints the FSID as a UUID.
func (f FSID) String() string {
	return fmt.Sprintf("%x-%x-%x-%x-%x", f[:4], f[4:6], f[6:8], f[8:10], f[10:])
}

// SnapID names a snapshot of objects. Readers and writers of the newest
// state use NoSnap.
type SnapID uint64

// Snap ids with a meaning of their own (Ceph's values).
const (
	NoSnap  SnapID = 1<<64 - 2 // the head: the newest state
	SnapDir SnapID = 1<<64 - 1 // "all of them", in LIST_SNAPS
	MaxSnap SnapID = 1<<64 - 3 // the largest usable id
)

// SnapContext goes with every write: the newest snapshot and the existing
// ones, newest first, that the writer knows. Valid means strictly descending
// and Seq not below the first.
type SnapContext struct {
	Seq   SnapID
	Snaps []SnapID
}

// Valid reports whether the context obeys its own rule.
func (c SnapContext) Valid() bool {
	prev := c.Seq
	for i, s := range c.Snaps {
		if s > prev || (i > 0 && s == prev) || s == 0 {
			return false
		}
		prev = s
	}
	return true
}

// EntityType is the kind of a party to a conversation (Ceph's values).
type EntityType uint8

// The entity types.
const (
	EntityMon    EntityType = 1
	EntityMDS    EntityType = 2
	EntityOSD    EntityType = 4
	EntityClient EntityType = 8
	EntityMgr    EntityType = 16
	EntityAuth   EntityType = 32
)

// EntityName names a party: osd.0, client.4121.
type EntityName struct {
	Type EntityType
	Num  int64
}

// String prints the name as Ceph's tools do.
func (n EntityName) String() string {
	return n.Kind() + "." + strconv.FormatInt(n.Num, 10)
}

// AuthName is the name as authentication writes it.
func (n EntityName) AuthName() AuthName {
	return AuthName{Type: n.Type, ID: strconv.FormatInt(n.Num, 10)}
}

// Kind is the name of the entity's type: "osd".
func (n EntityName) Kind() string {
	switch n.Type {
	case EntityMon:
		return "mon"
	case EntityMDS:
		return "mds"
	case EntityOSD:
		return "osd"
	case EntityClient:
		return "client"
	case EntityMgr:
		return "mgr"
	case EntityAuth:
		return "auth"
	}
	return "entity" + strconv.Itoa(int(n.Type))
}

// ReqID identifies a client's request for ever: a resend has the same one.
type ReqID struct {
	Client EntityName
	TID    uint64 // the client's transaction number
	Inc    uint32 // the client's incarnation
}

// String prints client, incarnation and tid.
func (r ReqID) String() string { return fmt.Sprintf("%s.%d:%d", r.Client, r.Inc, r.TID) }

// EVersion orders the writes of a placement group: by epoch, then by counter.
// (On the wire the counter comes first.)
type EVersion struct {
	Epoch   Epoch
	Version uint64
}

// Compare orders by epoch, then by counter.
func (v EVersion) Compare(w EVersion) int {
	switch {
	case v.Epoch != w.Epoch:
		if v.Epoch < w.Epoch {
			return -1
		}
		return 1
	case v.Version < w.Version:
		return -1
	case v.Version > w.Version:
		return 1
	}
	return 0
}

// Less reports whether v is older than w.
func (v EVersion) Less(w EVersion) bool { return v.Compare(w) < 0 }

// String prints epoch'counter, as Ceph's tools do.
func (v EVersion) String() string { return fmt.Sprintf("%d'%d", v.Epoch, v.Version) }

// PGID names a placement group: a pool and a seed below its pg_num.
type PGID struct {
	Pool int64
	Seed uint32
}

// String prints pool.seed with the seed in hex, as Ceph's tools do.
func (p PGID) String() string { return fmt.Sprintf("%d.%x", p.Pool, p.Seed) }

// NoShard is the shard of a replicated placement group.
const NoShard int8 = -1

// SPGID is a placement group's shard as one OSD holds it; replicated pools
// have NoShard.
type SPGID struct {
	PGID
	Shard int8
}

// String prints the PG, and the shard when there is one.
func (p SPGID) String() string {
	if p.Shard == NoShard {
		return p.PGID.String()
	}
	return fmt.Sprintf("%ss%d", p.PGID, p.Shard)
}

// ObjectLocator says where an object's name is to be looked up.
type ObjectLocator struct {
	Pool      int64
	Key       string // hashed instead of the name when not empty
	Namespace string
	Hash      int64 // -1: computed; otherwise used as it is
}

// HObject identifies one object or clone in the order in which OSDs list
// them: max flag, pool, bit-reversed hash, namespace, key or name, name,
// snap.
type HObject struct {
	Pool      int64
	Hash      uint32
	Namespace string
	Key       string // locator key; empty when it equals the name
	Name      string
	Snap      SnapID
	Max       bool // sorts after everything
}

// MinHObject sorts before every object.
var MinHObject = HObject{Pool: -1 << 63}

// MaxHObject sorts after every object.
var MaxHObject = HObject{Max: true}

// SortKey is what decides between equal hashes and namespaces: the locator
// key, or the name where there is none.
func (h HObject) SortKey() string {
	if h.Key != "" {
		return h.Key
	}
	return h.Name
}

// Compare gives the listing order.
func (h HObject) Compare(g HObject) int {
	if h.Max != g.Max {
		if g.Max {
			return -1
		}
		return 1
	}
	if h.Max {
		return 0
	}
	if h.Pool != g.Pool {
		if h.Pool < g.Pool {
			return -1
		}
		return 1
	}
	if a, b := bits.Reverse32(h.Hash), bits.Reverse32(g.Hash); a != b {
		if a < b {
			return -1
		}
		return 1
	}
	if c := strings.Compare(h.Namespace, g.Namespace); c != 0 {
		return c
	}
	if c := strings.Compare(h.SortKey(), g.SortKey()); c != 0 {
		return c
	}
	if c := strings.Compare(h.Name, g.Name); c != 0 {
		return c
	}
	switch {
	case h.Snap < g.Snap:
		return -1
	case h.Snap > g.Snap:
		return 1
	}
	return 0
}

// Head is the object's newest state: the same names with NoSnap.
func (h HObject) Head() HObject { h.Snap = NoSnap; return h }

// String prints the object for messages.
func (h HObject) String() string {
	if h.Max {
		return "MAX"
	}
	s := fmt.Sprintf("%d:%08x:%s:%s:%s", h.Pool, bits.Reverse32(h.Hash), h.Namespace, h.Key, h.Name)
	if h.Snap == NoSnap {
		return s + ":head"
	}
	return s + ":" + strconv.FormatUint(uint64(h.Snap), 16)
}
