package mds

import (
	"encoding/binary"
	"fmt"

	"github.com/spirula/spirula/mds/internal/inode"
	"github.com/spirula/spirula/mds/internal/tree"
	"github.com/spirula/spirula/rados/wire"
)

// An event is what one transaction changed: a version byte, then items until
// its end. Integers are little-endian; a string or record is a u32 length and
// its bytes. The journal adds length and checksum.
//
//	1 put         u64 dir, token, dentry record with its inline bytes
//	2 delete      u64 dir, token
//	3 row         u64 ino, row record
//	4 row gone    u64 ino
//	5 numbers     u64 next, u64 limit, u32 n, n x u64 stream in flight
//	6 unconfirmed u64 stream, u64 dir, token, u8 had, dentry record
//	7 confirmed   u64 stream
//	8 born        u64 dir
//	9 forgotten   u64 dir
//	10 split       u8 ended, u64 dir, u32 from, u32 to, at, u8 in table, u32 n, n x (u32 fragment, first)
//	11 undone      u64 stream
//
// A put of an inode with links (Nlink > 0) implies its row. Items 8 come before the puts into the new
// directory.
//
// An item 6 follows the put whose content it speaks of, and holds what was
// under that name before.
const eventVersion = 1

const (
	itemPut         = 1
	itemDelete      = 2
	itemRow         = 3
	itemRowGone     = 4
	itemNumbers     = 5
	itemUnconfirmed = 6
	itemConfirmed   = 7
	itemBorn        = 8
	itemForgotten   = 9
	itemSplit       = 10
	itemUndone      = 11
)

// place names a dentry.
type place struct {
	dir   Ino
	token string
}

// eventItem is a decoded item; which fields count depends on kind.
type eventItem struct {
	kind     uint8
	at       place
	dentry   *inode.Dentry
	ino      Ino
	row      *inode.TableRow
	next     uint64
	limit    uint64
	inFlight []uint64
	stream   uint64
	ended    bool
	split    tree.Split
}

func appendString[T string | []byte](b []byte, s T) []byte {
	b = binary.LittleEndian.AppendUint32(b, uint32(len(s)))
	return append(b, s...)
}

// appendSized appends what f appends, behind its length.
func appendSized(b []byte, f func([]byte) []byte) []byte {
	at := len(b)
	b = append(b, 0, 0, 0, 0)
	b = f(b)
	binary.LittleEndian.PutUint32(b[at:], uint32(len(b)-at-4))
	return b
}

func appendDentry(b []byte, d *inode.Dentry) []byte {
	return appendSized(b, func(b []byte) []byte { return inode.AppendDentry(b, d, true) })
}

func appendPut(b []byte, at place, d *inode.Dentry) []byte {
	b = append(b, itemPut)
	b = binary.LittleEndian.AppendUint64(b, uint64(at.dir))
	b = appendString(b, at.token)
	return appendDentry(b, d)
}

func appendDelete(b []byte, at place) []byte {
	b = append(b, itemDelete)
	b = binary.LittleEndian.AppendUint64(b, uint64(at.dir))
	return appendString(b, at.token)
}

func appendRow(b []byte, ino Ino, row *inode.TableRow) []byte {
	if row == nil {
		return binary.LittleEndian.AppendUint64(append(b, itemRowGone), uint64(ino))
	}
	b = binary.LittleEndian.AppendUint64(append(b, itemRow), uint64(ino))
	return appendSized(b, func(b []byte) []byte { return inode.AppendRow(b, row) })
}

func appendNumbers(b []byte, next, limit uint64, inFlight []uint64) []byte {
	b = append(b, itemNumbers)
	b = binary.LittleEndian.AppendUint64(b, next)
	b = binary.LittleEndian.AppendUint64(b, limit)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(inFlight)))
	for _, n := range inFlight {
		b = binary.LittleEndian.AppendUint64(b, n)
	}
	return b
}

func appendUnconfirmed(b []byte, stream uint64, at place, old *inode.Dentry) []byte {
	b = binary.LittleEndian.AppendUint64(append(b, itemUnconfirmed), stream)
	b = binary.LittleEndian.AppendUint64(b, uint64(at.dir))
	b = appendString(b, at.token)
	if old == nil {
		return append(b, 0)
	}
	return appendDentry(append(b, 1), old)
}

// appendConfirmed ends an unconfirmed publish: kept, or undone.
func appendConfirmed(b []byte, stream uint64, kept bool) []byte {
	kind := byte(itemUndone)
	if kept {
		kind = itemConfirmed
	}
	return binary.LittleEndian.AppendUint64(append(b, kind), stream)
}

func appendIno(b []byte, kind uint8, ino Ino) []byte {
	return binary.LittleEndian.AppendUint64(append(b, kind), uint64(ino))
}

func appendBool(b []byte, v bool) []byte {
	if v {
		return append(b, 1)
	}
	return append(b, 0)
}

func appendSplit(b []byte, ended bool, s tree.Split) []byte {
	b = appendBool(append(b, itemSplit), ended)
	b = binary.LittleEndian.AppendUint64(b, uint64(s.Dir))
	b = binary.LittleEndian.AppendUint32(b, s.From)
	b = binary.LittleEndian.AppendUint32(b, s.To)
	b = appendString(b, s.At)
	b = appendBool(b, s.InTable)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(s.Table)))
	for _, f := range s.Table {
		b = binary.LittleEndian.AppendUint32(b, f.Num)
		b = appendString(b, f.First)
	}
	return b
}

func (r *eventReader) split() tree.Split {
	s := tree.Split{Dir: Ino(r.u64()), From: r.u32(), To: r.u32(), At: string(r.bytes()), InTable: r.u8() == 1}
	for range r.u32() {
		if r.err != nil {
			break
		}
		s.Table = append(s.Table, inode.Frag{Num: r.u32(), First: string(r.bytes())})
	}
	return s
}

// eventReader takes an event apart; err stays at its first error.
type eventReader struct {
	b   []byte
	err error
}

func (r *eventReader) fail(what string) {
	if r.err == nil {
		r.err = wire.Wrap("mds event", what, fmt.Errorf("cut short: %w", wire.EIO))
	}
	r.b = nil
}

func (r *eventReader) u8() uint8 {
	if len(r.b) < 1 {
		r.fail("u8")
		return 0
	}
	v := r.b[0]
	r.b = r.b[1:]
	return v
}

func (r *eventReader) u32() uint32 {
	if len(r.b) < 4 {
		r.fail("u32")
		return 0
	}
	v := binary.LittleEndian.Uint32(r.b)
	r.b = r.b[4:]
	return v
}

func (r *eventReader) u64() uint64 {
	if len(r.b) < 8 {
		r.fail("u64")
		return 0
	}
	v := binary.LittleEndian.Uint64(r.b)
	r.b = r.b[8:]
	return v
}

func (r *eventReader) bytes() []byte {
	n := r.u32()
	if uint64(n) > uint64(len(r.b)) {
		r.fail("bytes")
		return nil
	}
	v := r.b[:n:n]
	r.b = r.b[n:]
	return v
}

func (r *eventReader) place() place {
	return place{Ino(r.u64()), string(r.bytes())}
}

func (r *eventReader) dentry() *inode.Dentry {
	rec := r.bytes()
	if r.err != nil {
		return nil
	}
	d, err := inode.DecodeDentry(rec)
	r.err = err
	return d
}

func (r *eventReader) tableRow() *inode.TableRow {
	rec := r.bytes()
	if r.err != nil {
		return nil
	}
	row, err := inode.DecodeRow(rec)
	r.err = err
	return row
}

// decodeEvent calls fn with each item of an event.
func decodeEvent(b []byte, fn func(*eventItem) error) error {
	r := &eventReader{b: b}
	if v := r.u8(); r.err == nil && v != eventVersion {
		return wire.Wrap("mds event", "", fmt.Errorf("version %d is newer than this program: %w", v, wire.EIO))
	}
	for r.err == nil && len(r.b) > 0 {
		it := eventItem{kind: r.u8()}
		switch it.kind {
		case itemPut:
			it.at, it.dentry = r.place(), r.dentry()
		case itemDelete:
			it.at = r.place()
		case itemRow:
			it.ino, it.row = Ino(r.u64()), r.tableRow()
		case itemRowGone:
			it.ino = Ino(r.u64())
		case itemNumbers:
			it.next, it.limit = r.u64(), r.u64()
			n := r.u32()
			if uint64(n)*8 > uint64(len(r.b)) {
				r.fail("numbers")
			}
			for range n {
				if r.err != nil {
					break
				}
				it.inFlight = append(it.inFlight, r.u64())
			}
		case itemUnconfirmed:
			it.stream, it.at = r.u64(), r.place()
			if r.u8() == 1 {
				it.dentry = r.dentry()
			}
		case itemConfirmed, itemUndone:
			it.stream = r.u64()
		case itemBorn, itemForgotten:
			it.ino = Ino(r.u64())
		case itemSplit:
			it.ended, it.split = r.u8() == 1, r.split()
		default:
			return wire.Wrap("mds event", "", fmt.Errorf("unknown item %d: %w", it.kind, wire.EIO))
		}
		if r.err != nil {
			break
		}
		if err := fn(&it); err != nil {
			return err
		}
	}
	return r.err
}
