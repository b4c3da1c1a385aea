package journal

import (
	"encoding/binary"
	"fmt"
	"strconv"

	"github.com/spirula/spirula/rados/wire"
)

// names are the objects of one rank.
type names struct {
	rank          int
	lease, header string
}

func namesOf(rank int) names {
	return names{rank: rank, lease: fmt.Sprintf("lease.%04x", rank), header: fmt.Sprintf("j.%04x", rank)}
}

func (n names) object(i uint64) string { return fmt.Sprintf("%s.%016x", n.header, i) }

// The xattrs of the objects.
const (
	attrEpoch   = "epoch"
	attrHolder  = "holder"
	attrCounter = "counter"
	attrEnd     = "end"
	attrDone    = "done"
)

// A record is a head and the event:
//
//	magic u32, length of the event u32,
//	where the record begins u64, where the one before it ended u64,
//	epoch of its writer u64,
//	CRC-32C u32 of the head before this field and the event
const (
	recordMagic = 0x314a5053 // "SPJ1"
	recordHead  = 36
)

type record struct {
	pos   uint64 // where it ends
	epoch uint64
	event []byte
}

// putHead fills p, recordHead bytes, for an event.
func putHead(p []byte, begin, prev, epoch uint64, event []byte) {
	le := binary.LittleEndian
	le.PutUint32(p, recordMagic)
	le.PutUint32(p[4:], uint32(len(event)))
	le.PutUint64(p[8:], begin)
	le.PutUint64(p[16:], prev)
	le.PutUint64(p[24:], epoch)
	le.PutUint32(p[32:], crcOf(p[:32], event))
}

// parseRecord reads the record at the front of p, which begins at position
// begin where prev was the end of the one before. The event is part of p.
func parseRecord(p []byte, begin, prev uint64) (r record, n int, err error) {
	bad := func(format string, args ...any) (record, int, error) {
		return record{}, 0, &wire.Error{Op: "journal.record", Subject: "at " + strconv.FormatUint(begin, 10),
			Kind: wire.EIO, Cause: fmt.Errorf(format+": %w", append(args, wire.EIO)...)}
	}
	le := binary.LittleEndian
	if len(p) < recordHead {
		return bad("only %d bytes left for a record", len(p))
	}
	if m := le.Uint32(p); m != recordMagic {
		return bad("no record begins here (%08x)", m)
	}
	size := uint64(le.Uint32(p[4:]))
	if size > MaxEvent || size > uint64(len(p)-recordHead) {
		return bad("length %d is over what is there", size)
	}
	event := p[recordHead : recordHead+int(size) : recordHead+int(size)]
	if crcOf(p[:32], event) != le.Uint32(p[32:]) {
		return bad("checksum is wrong")
	}
	if b := le.Uint64(p[8:]); b != begin {
		return bad("the record belongs at %d", b)
	}
	if b := le.Uint64(p[16:]); b != prev {
		return bad("the record before it ended at %d, not %d: part of the journal is missing", b, prev)
	}
	n = recordHead + int(size)
	return record{pos: begin + uint64(n), epoch: le.Uint64(p[24:]), event: event}, n, nil
}

func leU64(p []byte) uint64 { return binary.LittleEndian.Uint64(p) }

// decimal is a number as RADOS compares it.
func decimal(v uint64) []byte { return strconv.AppendUint(nil, v, 10) }

// attrs are the numbers kept as xattrs of one object. A missing or unreadable
// one is 0, as in RADOS's own comparison.
type attrs map[string]string

func (a attrs) num(name string) uint64 {
	v, err := strconv.ParseUint(a[name], 10, 64)
	if err != nil {
		return 0
	}
	return v
}

// cmpEpoch is the comparison of the epoch, the operand on the left.
func cmpEpoch(op wire.CmpOp, epoch uint64) wire.Op {
	return wire.Op{Code: wire.OpCmpXattr, Name: attrEpoch, CmpOp: op, CmpMode: wire.CmpU64, Num: epoch}
}

func setAttr(name string, value []byte) wire.Op {
	return wire.Op{Code: wire.OpSetXattr, Name: name, Value: value}
}
