package filer

import (
	"context"
	"encoding/binary"

	"github.com/spirula/spirula/mds/internal/inode"
	"github.com/spirula/spirula/rados"
	"github.com/spirula/spirula/rados/wire"
)

const (
	// blockSize is what one bit of an overlay object's map stands for.
	blockSize = 64 << 10
	blocks    = ObjectSize / blockSize
	attrBlock = "b"
	// mapTries bounds how often a write-back meets a map other than it saw.
	mapTries = 8
)

// blockMap is what is known of an overlay object.
type blockMap struct {
	known bool   // the rest is true as far as this process knows
	there bool   // the object exists
	bits  uint64 // own blocks
}

func (m blockMap) value() []byte {
	if m.bits == 0 {
		return nil
	}
	return binary.LittleEndian.AppendUint64(nil, m.bits)
}

func mapOf(value []byte) blockMap {
	m := blockMap{known: true, there: true}
	if len(value) == 8 {
		m.bits = binary.LittleEndian.Uint64(value)
	}
	return m
}

// baseEnd is how far the base shows within [off, off+n), counted from off.
func baseEnd(c *inode.Content, off uint64, n int) int {
	if c.Base == nil || c.BaseLimit <= off {
		return 0
	}
	return int(min(uint64(n), c.BaseLimit-off))
}

// fetchBase gives n bytes from off of what c rests on.
func (f *Filer) fetchBase(ctx context.Context, c *inode.Content, off uint64, n int) (d wire.Data, err error) {
	if k := baseEnd(c, off, n); k > 0 {
		if d, err = f.fetch(ctx, c.Base, off, k); err != nil {
			return wire.Data{}, err
		}
	}
	appendZeros(&d, n-d.Len())
	return d, nil
}

// fetchOverlay reads the objects' own blocks side by side, then what of the
// base shows between them.
func (f *Filer) fetchOverlay(ctx context.Context, c *inode.Content, off uint64, n int) (out wire.Data, err error) {
	ps := cutPieces(make([]piece, 0, 3), c.Stream, c.Snap, off, uint64(n))
	err = f.each(ctx, 0, uint64(len(ps)-1),
		func(i uint64) *rados.Op {
			return &rados.Op{Object: objectName(c.Stream, ps[i].n), Snap: c.Snap, Ops: []wire.Op{
				{Code: wire.OpGetXattr, Name: attrBlock, Flags: wire.OpFailOK},
				{Code: wire.OpRead, Off: ps[i].off, Len: ps[i].len},
			}}
		},
		func(i uint64, reply *rados.Reply, err error) (bool, error) {
			p := ps[i]
			own, m := wire.Data{}, blockMap{}
			switch {
			case err == nil:
				own = reply.Results[1].Data
				if reply.Results[0].Rval >= 0 {
					m = mapOf(reply.Results[0].Value)
				}
			case !kindIs(err, wire.ENOENT):
				return false, wire.Wrap("filer.read", objectName(c.Stream, p.n), err)
			}
			if uint64(own.Len()) > p.len {
				return false, wire.Errorf("filer.read", objectName(c.Stream, p.n), wire.EIO)
			}
			return true, f.mergeBlocks(ctx, c, p, m, own, &out)
		})
	if err != nil {
		out.Release()
		return wire.Data{}, err
	}
	return out, nil
}

// mergeBlocks appends the bytes of p: own where the map says so, else base.
func (f *Filer) mergeBlocks(ctx context.Context, c *inode.Content, p piece, m blockMap, own wire.Data, out *wire.Data) error {
	for at, end := p.off, p.off+p.len; at < end; {
		isOwn := m.bits>>(at/blockSize)&1 == 1
		to := at/blockSize*blockSize + blockSize
		for to < end && m.bits>>(to/blockSize)&1 == 1 == isOwn {
			to += blockSize
		}
		to = min(to, end)
		if !isOwn {
			d, err := f.fetchBase(ctx, c, p.n*ObjectSize+at, int(to-at))
			if err != nil {
				return err
			}
			out.AppendData(d)
		} else {
			lo, hi := min(int(at-p.off), own.Len()), min(int(to-p.off), own.Len())
			out.AppendData(own.Slice(lo, hi-lo))
			appendZeros(out, int(to-at)-(hi-lo))
		}
		at = to
	}
	return nil
}

// storeOverlay writes runs to an object of an overlay, and with them the
// rest of the blocks that become its own. m is what the caller remembers of
// the object; the result is what to remember next time.
func (f *Filer) storeOverlay(ctx context.Context, c *inode.Content, snaps wire.SnapContext, n uint64, runs []run, m blockMap) (blockMap, error) {
	name := objectName(c.Stream, n)
	for range mapTries {
		if !m.known {
			var err error
			if m, err = f.readMap(ctx, name); err != nil {
				return blockMap{}, err
			}
		}
		next := blockMap{known: true, there: true, bits: m.bits}
		for _, r := range runs {
			for b := r.off / blockSize; b <= (r.off+r.d.Len()-1)/blockSize; b++ {
				next.bits |= 1 << b
			}
		}
		fills, err := f.fillBlocks(ctx, c, n, runs, next.bits&^m.bits)
		if err != nil {
			return blockMap{}, err
		}
		ops := make([]wire.Op, 0, len(runs)+len(fills)+2)
		if m.there {
			ops = append(ops, wire.Op{Code: wire.OpCmpXattr, Name: attrBlock, CmpOp: wire.CmpEQ, CmpMode: wire.CmpString, Value: m.value()})
		} else {
			ops = append(ops, wire.Op{Code: wire.OpCreate, Flags: wire.OpExcl})
		}
		ops = appendWrites(appendWrites(ops, fills), runs)
		if next.bits != m.bits {
			ops = append(ops, wire.Op{Code: wire.OpSetXattr, Name: attrBlock, Value: next.value()})
		}
		_, err = f.data.Do(ctx, &rados.Op{Object: name, SnapC: snaps, Ops: ops})
		for _, r := range fills {
			r.d.Release()
		}
		switch wire.ErrnoOf(err) {
		case 0:
			return next, nil
		case wire.ECANCELED, wire.EEXIST, wire.ENOENT:
			m = blockMap{}
		default:
			return blockMap{}, wire.Wrap("filer.store", name, err)
		}
	}
	return blockMap{}, wire.Errorf("filer.store", name, wire.EBUSY)
}

func (f *Filer) readMap(ctx context.Context, name string) (blockMap, error) {
	reply, err := f.data.Do(ctx, &rados.Op{Object: name, Ops: []wire.Op{{Code: wire.OpGetXattr, Name: attrBlock}}})
	switch wire.ErrnoOf(err) {
	case 0:
		return mapOf(reply.Results[0].Value), nil
	case wire.ENODATA:
		return mapOf(nil), nil
	case wire.ENOENT:
		return blockMap{known: true}, nil
	}
	return blockMap{}, wire.Wrap("filer.store", name, err)
}

// fillBlocks reads from the base what runs leave open of the blocks in bits.
func (f *Filer) fillBlocks(ctx context.Context, c *inode.Content, n uint64, runs []run, bits uint64) (fills []run, err error) {
	for b := 0; b < blocks; b++ {
		if bits>>b&1 == 0 {
			continue
		}
		lo := b * blockSize
		hi := lo + baseEnd(c, n*ObjectSize+uint64(lo), blockSize)
		var base wire.Data
		for _, g := range gapsOf(runs, lo, hi) {
			if base.Len() == 0 {
				if base, err = f.fetchBase(ctx, c, n*ObjectSize+uint64(lo), hi-lo); err != nil {
					for _, r := range fills {
						r.d.Release()
					}
					return nil, err
				}
			}
			fills = append(fills, run{g[0], base.Slice(g[0]-lo, g[1]-g[0])})
		}
		base.Release()
	}
	return fills, nil
}

// gapsOf gives the ranges of [lo, hi) that runs, ascending, don't cover.
func gapsOf(runs []run, lo, hi int) (gaps [][2]int) {
	for _, r := range runs {
		if r.off+r.d.Len() <= lo {
			continue
		}
		if r.off >= hi {
			break
		}
		if r.off > lo {
			gaps = append(gaps, [2]int{lo, r.off})
		}
		lo = r.off + r.d.Len()
	}
	if lo < hi {
		gaps = append(gaps, [2]int{lo, hi})
	}
	return gaps
}
