package filer

import (
	"context"
	"encoding/binary"
	"fmt"
	"sync"

	"github.com/spirula/spirula/mds/internal/inode"
	"github.com/spirula/spirula/rados"
	"github.com/spirula/spirula/rados/wire"
)

// x.SID is a head and the rows, all integers little-endian:
//
//	magic u32, version u8, oldest reader u8, zero u16, rows u32,
//	CRC-32C u32 of the rows, zeros to 32 bytes
//	each row: end u64, stream u64, snap u64, start u64
const (
	partsMagic   = 0x4c505053 // "SPPL"
	partsVersion = 1
	partsHead    = 32
	rowSize      = 32
	// maxParts is how many rows a part list has at most: 10 000 parts, of
	// which one copied from elsewhere may bring several.
	maxParts = 1 << 18
	// cachedRows is how many rows are kept in memory: 2 MiB.
	cachedRows = 1 << 16
)

func partsName(sid uint64) string { return "x." + objectName(sid, 0)[:16] }

func encodeParts(rows []inode.Row) []byte {
	le := binary.LittleEndian
	p := make([]byte, partsHead, partsHead+len(rows)*rowSize)
	for _, r := range rows {
		p = le.AppendUint64(p, r.End)
		p = le.AppendUint64(p, r.Stream)
		p = le.AppendUint64(p, uint64(r.Snap))
		p = le.AppendUint64(p, r.Start)
	}
	le.PutUint32(p, partsMagic)
	p[4], p[5] = partsVersion, partsVersion
	le.PutUint32(p[8:], uint32(len(rows)))
	le.PutUint32(p[12:], wire.CRC32C(p[partsHead:]))
	return p
}

func decodeParts(p []byte) ([]inode.Row, error) {
	le := binary.LittleEndian
	if len(p) < partsHead || le.Uint32(p) != partsMagic {
		return nil, fmt.Errorf("no part list: %w", wire.EIO)
	}
	if p[5] > partsVersion {
		return nil, fmt.Errorf("part list is of version %d, readable from version %d on: %w", p[4], p[5], wire.EOPNOTSUPP)
	}
	n, body := uint64(le.Uint32(p[8:])), p[partsHead:]
	if uint64(len(body)) != n*rowSize || le.Uint32(p[12:]) != wire.CRC32C(body) {
		return nil, fmt.Errorf("part list is damaged: %w", wire.EIO)
	}
	rows := make([]inode.Row, n)
	last := uint64(0)
	for i := range rows {
		q := body[i*rowSize:]
		rows[i] = inode.Row{End: le.Uint64(q), Stream: le.Uint64(q[8:]), Snap: wire.SnapID(le.Uint64(q[16:])), Start: le.Uint64(q[24:])}
		if rows[i].End <= last {
			return nil, fmt.Errorf("part list is not ascending: %w", wire.EIO)
		}
		last = rows[i].End
	}
	return rows, nil
}

// partCache keeps part lists that were read, which never change.
type partCache struct {
	mu    sync.Mutex
	lists map[uint64][]inode.Row
	order []uint64 // oldest first
	rows  int
}

func (c *partCache) get(sid uint64) []inode.Row {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.lists[sid]
}

func (c *partCache) put(sid uint64, rows []inode.Row) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.lists[sid] != nil {
		return
	}
	if c.lists == nil {
		c.lists = make(map[uint64][]inode.Row)
	}
	c.lists[sid] = rows
	c.order = append(c.order, sid)
	c.rows += len(rows)
	for c.rows > cachedRows && len(c.order) > 1 {
		c.rows -= len(c.lists[c.order[0]])
		delete(c.lists, c.order[0])
		c.order = c.order[1:]
	}
}

// WriteParts stores the part list of joined stream sid, as x.SID; rows are
// ascending by End. Repeating it is harmless.
func (f *Filer) WriteParts(ctx context.Context, sid uint64, rows []inode.Row) error {
	if len(rows) > maxParts {
		return wire.Errorf("filer.writeparts", partsName(sid), wire.EFBIG)
	}
	_, err := f.data.Do(ctx, &rados.Op{Object: partsName(sid), Ops: []wire.Op{{Code: wire.OpWriteFull, Data: wire.DataOf(encodeParts(rows))}}})
	return wire.Wrap("filer.writeparts", partsName(sid), err)
}

// removeParts deletes x.SID; no error if it isn't there.
func (f *Filer) removeParts(ctx context.Context, sid uint64) error {
	_, err := f.data.Do(ctx, &rados.Op{Object: partsName(sid), Ops: []wire.Op{{Code: wire.OpStat}}})
	if err == nil {
		_, err = f.data.Do(ctx, &rados.Op{Object: partsName(sid), Ops: []wire.Op{{Code: wire.OpDelete}}})
	}
	if kindIs(err, wire.ENOENT) {
		return nil
	}
	return wire.Wrap("filer.removeparts", partsName(sid), err)
}

// rowsOf gives all rows of a joined content.
func (f *Filer) rowsOf(ctx context.Context, c *inode.Content) ([]inode.Row, error) {
	if c.Rows != nil {
		return c.Rows, nil
	}
	if rows := f.parts.get(c.Stream); rows != nil {
		return rows, nil
	}
	name := partsName(c.Stream)
	reply, err := f.data.Do(ctx, &rados.Op{Object: name, Ops: []wire.Op{{Code: wire.OpRead, Len: partsHead + (maxParts+1)*rowSize}}})
	if err != nil {
		if kindIs(err, wire.ENOENT) {
			err = fmt.Errorf("the part list is gone: %w", wire.EIO)
		}
		return nil, wire.Wrap("filer.parts", name, err)
	}
	defer reply.Release()
	rows, err := decodeParts(reply.Results[0].Data.Bytes())
	if err == nil && (len(rows) == 0 || uint32(len(rows)) != c.NumRow) {
		err = fmt.Errorf("%d rows where %d belong: %w", len(rows), c.NumRow, wire.EIO)
	}
	if err != nil {
		return nil, wire.Wrap("filer.parts", name, err)
	}
	f.parts.put(c.Stream, rows)
	return rows, nil
}

// Rows gives the range [off, off+n) of c, cut to size, as rows of plain
// streams, their Ends counted from 0. ok is false for content that has none
// (empty, inline, overlay): it is copied instead.
func (f *Filer) Rows(ctx context.Context, c *inode.Content, size, off, n uint64) (rows []inode.Row, ok bool, err error) {
	if off >= size {
		return nil, true, nil
	}
	n = min(n, size-off)
	switch c.Kind {
	case inode.Plain:
		return []inode.Row{{End: n, Stream: c.Stream, Snap: c.Snap, Start: off}}, true, nil
	case inode.Joined:
		all, err := f.rowsOf(ctx, c)
		if err != nil {
			return nil, false, err
		}
		begin, end := uint64(0), off+n
		for _, r := range all {
			if r.End > off && begin < end {
				lo, hi := max(begin, off), min(r.End, end)
				rows = append(rows, inode.Row{End: hi - off, Stream: r.Stream, Snap: r.Snap, Start: r.Start + lo - begin})
			}
			begin = r.End
		}
		return rows, true, nil
	}
	return nil, false, nil
}

// Copy appends the range [off, off+n) of c, cut to size, to dst.
func (f *Filer) Copy(ctx context.Context, c *inode.Content, size, off, n uint64, dst *Stream) error {
	for end := off + n; off < end; {
		d, err := f.Read(ctx, c, size, off, int(min(end-off, pieceSize)))
		if err != nil {
			return err
		}
		if d.Len() == 0 {
			return nil
		}
		off += uint64(d.Len())
		err = dst.Write(ctx, d)
		d.Release()
		if err != nil {
			return err
		}
	}
	return nil
}
