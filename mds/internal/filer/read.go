package filer

import (
	"context"
	"sort"

	"github.com/spirula/spirula/mds/internal/inode"
	"github.com/spirula/spirula/rados"
	"github.com/spirula/spirula/rados/wire"
)

// Read gives the bytes [off, off+n) of content c, fewer only where size or
// MaxRead ends them. The Data belongs to the caller. For a file that is
// written in place, File.Read instead. EIO: a part list that c needs is
// damaged or gone, or the store could not read.
func (f *Filer) Read(ctx context.Context, c *inode.Content, size, off uint64, n int) (wire.Data, error) {
	if off >= size || n <= 0 {
		return wire.Data{}, nil
	}
	n = int(min(uint64(n), size-off, MaxRead))
	d, err := f.fetch(ctx, c, off, n)
	if err == nil {
		f.Metrics.ReadBytes.Add(uint64(n))
	}
	return d, err
}

// fetch gives exactly n bytes of c; where nothing is stored they are zeros.
func (f *Filer) fetch(ctx context.Context, c *inode.Content, off uint64, n int) (wire.Data, error) {
	switch c.Kind {
	case inode.Plain:
		return f.fetchPieces(ctx, cutPieces(make([]piece, 0, 3), c.Stream, c.Snap, off, uint64(n)))
	case inode.Overlay:
		return f.fetchOverlay(ctx, c, off, n)
	case inode.Joined:
		rows, err := f.rowsOf(ctx, c)
		if err != nil {
			return wire.Data{}, err
		}
		return f.fetchPieces(ctx, joinedPieces(rows, off, uint64(n)))
	}
	var d wire.Data
	if c.Kind == inode.Inline && off < uint64(len(c.Inline)) {
		d = wire.DataOf(c.Inline[off:min(off+uint64(n), uint64(len(c.Inline)))])
	}
	appendZeros(&d, n-d.Len())
	return d, nil
}

// piece is a range of one object, or of nothing (zeros) when stream is 0.
type piece struct {
	stream, n, off, len uint64
	snap                wire.SnapID
}

// cutPieces cuts a range of a stream at its objects' borders.
func cutPieces(ps []piece, stream uint64, snap wire.SnapID, off, n uint64) []piece {
	for n > 0 {
		at := off % ObjectSize
		k := min(n, ObjectSize-at)
		ps = append(ps, piece{stream, off / ObjectSize, at, k, snap})
		off, n = off+k, n-k
	}
	return ps
}

// joinedPieces finds the objects behind a range of a joined stream.
func joinedPieces(rows []inode.Row, off, n uint64) []piece {
	var ps []piece
	i := sort.Search(len(rows), func(i int) bool { return rows[i].End > off })
	for ; n > 0 && i < len(rows); i++ {
		begin := uint64(0)
		if i > 0 {
			begin = rows[i-1].End
		}
		k := min(n, rows[i].End-off)
		ps = cutPieces(ps, rows[i].Stream, rows[i].Snap, rows[i].Start+off-begin, k)
		off, n = off+k, n-k
	}
	if n > 0 {
		ps = append(ps, piece{len: n})
	}
	return ps
}

// readCall is a read under way, with its operation beside it.
type readCall struct {
	op   rados.Op
	ops  [2]wire.Op
	call *rados.Call
}

func (f *Filer) startPiece(ctx context.Context, p piece) *readCall {
	r := &readCall{}
	r.ops[0] = wire.Op{Code: wire.OpRead, Off: p.off, Len: p.len}
	r.op = rados.Op{Object: objectName(p.stream, p.n), Snap: p.snap, Ops: r.ops[:1]}
	r.call = f.data.Start(ctx, &r.op)
	return r
}

// fetchPieces reads pieces side by side and chains their bytes.
func (f *Filer) fetchPieces(ctx context.Context, ps []piece) (out wire.Data, err error) {
	var calls [window]*readCall
	started := 0
	for i, p := range ps {
		for ; err == nil && started < len(ps) && started < i+window; started++ {
			if q := ps[started]; q.stream != 0 {
				calls[started%window] = f.startPiece(ctx, q)
			}
		}
		if i >= started {
			break
		}
		if p.stream == 0 {
			appendZeros(&out, int(p.len))
			continue
		}
		reply, e := calls[i%window].call.Wait(ctx)
		switch {
		case e == nil && err == nil:
			d := reply.Results[0].Data
			if uint64(d.Len()) > p.len {
				reply.Release()
				err = wire.Errorf("filer.read", objectName(p.stream, p.n), wire.EIO)
				continue
			}
			out.AppendData(d)
			appendZeros(&out, int(p.len)-d.Len())
		case e == nil:
			reply.Release()
		case kindIs(e, wire.ENOENT):
			appendZeros(&out, int(p.len))
		case err == nil:
			err = wire.Wrap("filer.read", objectName(p.stream, p.n), e)
		}
	}
	if err != nil {
		out.Release()
		return wire.Data{}, err
	}
	return out, nil
}
