package objop

import (
	"github.com/spirula/spirula/osd/internal/record"
	"github.com/spirula/spirula/rados/wire"
)

// The store xattrs that are the OSD's own, and what comes before the names
// of the client's.
const (
	infoXattr    = "_"
	snapSetXattr = "ss"
	userPrefix   = "_"
)

// Info is what an OSD keeps with each head and clone.
type Info struct {
	Version     wire.EVersion // of the PG log entry that made this state
	Prior       wire.EVersion // the one before it; zero for a new object
	UserVersion uint64        // the PG's counter at the last client write
	LastReq     wire.ReqID    // the client request that made this state
	MTime       wire.Time     // of the last write, by the client's clock
	Size        uint64        // bytes; the store's size of the object is the same
	// TruncateSeq and TruncateSize are of the newest truncation that a
	// client numbered (CephFS's do): a write numbered lower came late.
	TruncateSeq  uint32
	TruncateSize uint64
	Whiteout     bool    // deleted, and here only for its SnapSet
	HasSnapSet   bool    // the xattr "ss" is there
	Watches      []Watch // of a head, ascending by Cookie and Client; replaced, never changed
}

// infoVersion is the version of Info's records. 2 added the truncation and
// the watches.
const infoVersion = 2

const (
	infoWhiteout = 1 << iota
	infoHasSnapSet
)

// Encode gives the record stored in the xattr "_".
func (i *Info) Encode() []byte {
	e := record.Begin(infoVersion, 64)
	var flags uint8
	if i.Whiteout {
		flags |= infoWhiteout
	}
	if i.HasSnapSet {
		flags |= infoHasSnapSet
	}
	e.U8(flags)
	e.EVersion(i.Version)
	e.EVersion(i.Prior)
	e.U64(i.UserVersion)
	e.ReqID(i.LastReq)
	e.I64(int64(i.MTime))
	e.U64(i.Size)
	e.U64(uint64(i.TruncateSeq))
	e.U64(i.TruncateSize)
	e.U64(uint64(len(i.Watches)))
	for w := range i.Watches {
		i.Watches[w].encode(e)
	}
	return e.Seal()
}

// DecodeInfo reads what Encode wrote; EIO if it is anything else.
func DecodeInfo(p []byte) (Info, error) {
	d, version := record.Open("object info", p, infoVersion)
	var i Info
	flags := d.U8()
	i.Whiteout = flags&infoWhiteout != 0
	i.HasSnapSet = flags&infoHasSnapSet != 0
	i.Version = d.EVersion()
	i.Prior = d.EVersion()
	i.UserVersion = d.U64()
	i.LastReq = d.ReqID()
	i.MTime = wire.Time(d.I64())
	i.Size = d.U64()
	if version >= 2 {
		i.TruncateSeq = uint32(d.U64())
		i.TruncateSize = d.U64()
		for range d.Count() {
			i.Watches = append(i.Watches, decodeWatch(d))
		}
	}
	return i, d.End()
}

// Clone is one clone of an object: the state that the snapshots in Snaps
// show.
type Clone struct {
	ID      wire.SnapID   // the snap context's Seq when it was made
	Snaps   []wire.SnapID // descending, never empty
	Size    uint64
	Overlap []wire.Extent // shared with the next newer clone, or the head; ascending, apart
}

// SnapSet is an object's history. It lies with the head. A SnapSet is
// changed by replacing its slices, so that a copy of the struct stays what
// it was.
type SnapSet struct {
	Seq    wire.SnapID // the newest snap context that a write brought
	Clones []Clone     // ascending by ID
}

func (s *SnapSet) empty() bool { return s.Seq == 0 && len(s.Clones) == 0 }

const snapSetVersion = 1

// Encode gives the record stored in the xattr "ss".
func (s *SnapSet) Encode() []byte {
	e := record.Begin(snapSetVersion, 16+32*len(s.Clones))
	e.U64(uint64(s.Seq))
	e.U64(uint64(len(s.Clones)))
	for _, c := range s.Clones {
		e.U64(uint64(c.ID))
		e.U64(c.Size)
		e.U64(uint64(len(c.Snaps)))
		for _, sn := range c.Snaps {
			e.U64(uint64(sn))
		}
		e.U64(uint64(len(c.Overlap)))
		for _, x := range c.Overlap {
			e.U64(x.Off)
			e.U64(x.Len)
		}
	}
	return e.Seal()
}

// DecodeSnapSet reads what Encode wrote; EIO if it is anything else.
func DecodeSnapSet(p []byte) (SnapSet, error) {
	d, _ := record.Open("snap set", p, snapSetVersion)
	var s SnapSet
	s.Seq = wire.SnapID(d.U64())
	for range d.Count() {
		var c Clone
		c.ID = wire.SnapID(d.U64())
		c.Size = d.U64()
		for range d.Count() {
			c.Snaps = append(c.Snaps, wire.SnapID(d.U64()))
		}
		for range d.Count() {
			off := d.U64()
			c.Overlap = append(c.Overlap, wire.Extent{Off: off, Len: d.U64()})
		}
		s.Clones = append(s.Clones, c)
	}
	return s, d.End()
}
