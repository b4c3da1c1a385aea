package pg

import (
	"encoding/binary"
	"fmt"
	"io"

	"github.com/spirula/spirula/osd/internal/record"
	"github.com/spirula/spirula/rados/wire"
)

// EntryKind says what a log entry did to its object.
type EntryKind uint8

// The kinds.
const (
	KindModify EntryKind = 1 // made or changed the head
	KindDelete EntryKind = 2 // removed the head
	KindResult EntryKind = 3 // changed nothing; a write's result to be remembered
	KindTrim   EntryKind = 4 // removed a snapshot's clone
)

// String names the kind.
func (k EntryKind) String() string {
	switch k {
	case KindModify:
		return "modify"
	case KindDelete:
		return "delete"
	case KindResult:
		return "result"
	case KindTrim:
		return "trim"
	}
	return fmt.Sprintf("kind%d", uint8(k))
}

// Stats counts what a PG holds, as of a log entry.
type Stats struct {
	Objects int64 // heads that clients see
	Clones  int64
	Bytes   int64 // in heads and clones, by their sizes
}

// Add gives the sum.
func (s Stats) Add(d Stats) Stats {
	return Stats{s.Objects + d.Objects, s.Clones + d.Clones, s.Bytes + d.Bytes}
}

// Entry is one element of the PG log. It is not changed once it is in the
// log.
type Entry struct {
	Kind        EntryKind
	Object      wire.HObject // the head
	Version     wire.EVersion
	Prior       wire.EVersion // the object's version before
	UserVersion uint64
	ReqID       wire.ReqID // zero unless a client asked
	MTime       wire.Time
	Result      int32
	Rvals       []int32         // per operation; nil when all are 0
	Replies     []wire.OpResult // per operation; nil unless the client asked for them (FlagReturnVec)
	Stats       Stats           // of the PG after this entry
}

const entryVersion = 1

// Encode gives the entry's row.
func (e *Entry) Encode() []byte {
	r := record.Begin(entryVersion, 112+len(e.Object.Name)+len(e.Object.Namespace))
	r.U8(uint8(e.Kind))
	r.HObject(e.Object)
	r.EVersion(e.Version)
	r.EVersion(e.Prior)
	r.U64(e.UserVersion)
	r.ReqID(e.ReqID)
	r.I64(int64(e.MTime))
	encodeResult(r, e.Result, e.Rvals, e.Replies)
	r.I64(e.Stats.Objects)
	r.I64(e.Stats.Clones)
	r.I64(e.Stats.Bytes)
	return r.Seal()
}

// DecodeEntry reads what Encode wrote; EIO if it is anything else.
func DecodeEntry(p []byte) (Entry, error) {
	d, _ := record.Open("pg log entry", p, entryVersion)
	var e Entry
	e.Kind = EntryKind(d.U8())
	e.Object = d.HObject()
	e.Version = d.EVersion()
	e.Prior = d.EVersion()
	e.UserVersion = d.U64()
	e.ReqID = d.ReqID()
	e.MTime = wire.Time(d.I64())
	e.Result, e.Rvals, e.Replies = decodeResult(d)
	e.Stats.Objects = d.I64()
	e.Stats.Clones = d.I64()
	e.Stats.Bytes = d.I64()
	return e, d.End()
}

func encodeResult(r *record.Encoder, result int32, rvals []int32, replies []wire.OpResult) {
	r.I64(int64(result))
	r.U64(uint64(len(rvals)))
	for _, v := range rvals {
		r.I64(int64(v))
	}
	r.U64(uint64(len(replies)))
	for i := range replies {
		encodeReply(r, &replies[i])
	}
}

func decodeResult(d *record.Decoder) (result int32, rvals []int32, replies []wire.OpResult) {
	result = d.I32()
	for range d.Count() {
		rvals = append(rvals, d.I32())
	}
	for range d.Count() {
		replies = append(replies, decodeReply(d))
	}
	return result, rvals, replies
}

// encodeReply writes the answers that a write vector can have.
func encodeReply(r *record.Encoder, o *wire.OpResult) {
	r.I64(int64(o.Rval))
	r.Bytes(o.Data.Bytes())
	r.Bytes(o.Value)
	r.U64(uint64(len(o.KVs)))
	for _, kv := range o.KVs {
		r.Str(kv.Key)
		r.Bytes(kv.Value)
	}
	r.U64(uint64(len(o.Keys)))
	for _, k := range o.Keys {
		r.Str(k)
	}
	r.Bool(o.More)
	r.U64(o.Size)
	r.I64(int64(o.MTime))
}

func decodeReply(d *record.Decoder) wire.OpResult {
	var o wire.OpResult
	o.Rval = d.I32()
	o.Data = wire.DataOf(d.Bytes())
	o.Value = d.Bytes()
	for range d.Count() {
		k := d.Str()
		o.KVs = append(o.KVs, wire.KV{Key: k, Value: d.Bytes()})
	}
	for range d.Count() {
		o.Keys = append(o.Keys, d.Str())
	}
	o.More = d.Bool()
	o.Size = d.U64()
	o.MTime = wire.Time(d.I64())
	return o
}

// The rows of a PG: a letter, then numbers whose bytewise order is their
// order.
const (
	RowInfo    = "i"
	RowHistory = "h"
	rowLog     = "l"
	rowMissing = "m"
	rowSnap    = "s"
)

// rowEnd is above every row of a letter.
func rowEnd(letter string) string { return string([]byte{letter[0] + 1}) }

// LogRow is the key of the row of the log entry with a version.
func LogRow(v wire.EVersion) string {
	var b [13]byte
	b[0] = rowLog[0]
	binary.BigEndian.PutUint32(b[1:], uint32(v.Epoch))
	binary.BigEndian.PutUint64(b[5:], v.Version)
	return string(b[:])
}

// SnapRow is the key of the index row that says: a clone of head shows snap.
// Its value is SnapRowValue.
func SnapRow(snap wire.SnapID, head wire.HObject) string {
	return SnapRowPrefix(snap) + string(SnapRowValue(head))
}

// SnapRowPrefix is what the keys of all index rows of a snapshot begin with.
func SnapRowPrefix(snap wire.SnapID) string {
	b := append(make([]byte, 0, 9), rowSnap...)
	return string(binary.BigEndian.AppendUint64(b, uint64(snap)))
}

// SnapRowValue is the head as an index row holds it.
func SnapRowValue(head wire.HObject) []byte {
	r := record.Begin(1, 32+len(head.Name))
	r.HObject(head)
	return r.Seal()
}

// DecodeSnapRow reads an index row's value; EIO if it is damaged.
func DecodeSnapRow(p []byte) (wire.HObject, error) {
	d, _ := record.Open("snap index", p, 1)
	h := d.HObject()
	return h, d.End()
}

// DumpRow prints one row of a PG as text.
func DumpRow(w io.Writer, key string, value []byte) error {
	var err error
	switch {
	case key == RowInfo:
		created, tail, e := decodeInfo(value)
		if err = e; err == nil {
			_, err = fmt.Fprintf(w, "info created %d log tail %v\n", created, tail)
		}
	case key == RowHistory:
		var s standing
		if s, err = decodeStanding(value); err == nil {
			_, err = fmt.Fprintf(w, "history started %d clean %d past %v from %d, last started %d, backfilled %v, interval %d %+v at map %d\n",
				s.history.Started, s.history.Clean, s.history.Past, s.history.PastFrom, s.lastStarted, s.backfilled, s.since, s.interval, s.epoch)
		}
	case key[:min(1, len(key))] == rowMissing:
		var m Missing
		if m, err = decodeMissing(value); err == nil {
			_, err = fmt.Fprintf(w, "missing %v at %v gone %v\n", m.Object, m.Need, m.Gone)
		}
	case key[:min(1, len(key))] == rowLog:
		var e Entry
		if e, err = DecodeEntry(value); err == nil {
			_, err = fmt.Fprintf(w, "log %v %v %v prior %v user %d req %v result %d objects %d clones %d bytes %d\n",
				e.Version, e.Kind, e.Object, e.Prior, e.UserVersion, e.ReqID, e.Result, e.Stats.Objects, e.Stats.Clones, e.Stats.Bytes)
		}
	case key[:min(1, len(key))] == rowSnap:
		var h wire.HObject
		if h, err = DecodeSnapRow(value); err == nil {
			_, err = fmt.Fprintf(w, "snap %d %v\n", binary.BigEndian.Uint64([]byte(key[1:9])), h)
		}
	default:
		_, err = fmt.Fprintf(w, "row %q %d bytes\n", key, len(value))
	}
	return err
}
