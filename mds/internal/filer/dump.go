package filer

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/spirula/spirula/mds/internal/inode"
	"github.com/spirula/spirula/rados"
	"github.com/spirula/spirula/rados/wire"
)

// Dump prints what content c of a size rests on as text: the objects that
// are there, the block maps of an overlay (o own, . base), the rows of a
// joined stream, and the base below it.
func (f *Filer) Dump(ctx context.Context, c *inode.Content, size uint64, w io.Writer) error {
	return f.dump(ctx, c, size, "", w)
}

func (f *Filer) dump(ctx context.Context, c *inode.Content, size uint64, indent string, w io.Writer) error {
	fmt.Fprintf(w, "%skind=%d stream=%x snap=%d sealed=%v size=%d\n", indent, c.Kind, c.Stream, c.Snap, c.Sealed, size)
	switch c.Kind {
	case inode.Inline:
		fmt.Fprintf(w, "%s  %d bytes\n", indent, len(c.Inline))
	case inode.Joined:
		rows, err := f.rowsOf(ctx, c)
		if err != nil {
			return err
		}
		for _, r := range rows {
			fmt.Fprintf(w, "%s  up to %d: stream=%x snap=%d from %d\n", indent, r.End, r.Stream, r.Snap, r.Start)
		}
	case inode.Plain, inode.Overlay:
		if err := f.dumpObjects(ctx, c, size, indent, w); err != nil {
			return err
		}
	}
	if c.Base == nil {
		return nil
	}
	fmt.Fprintf(w, "%s  base up to %d:\n", indent, c.BaseLimit)
	return f.dump(ctx, c.Base, c.BaseLimit, indent+"    ", w)
}

func (f *Filer) dumpObjects(ctx context.Context, c *inode.Content, size uint64, indent string, w io.Writer) error {
	if size == 0 {
		return nil
	}
	return f.each(ctx, 0, (size-1)/ObjectSize,
		func(n uint64) *rados.Op {
			return &rados.Op{Object: objectName(c.Stream, n), Snap: c.Snap, Ops: []wire.Op{
				{Code: wire.OpGetXattr, Name: attrBlock, Flags: wire.OpFailOK},
				{Code: wire.OpStat},
			}}
		},
		func(n uint64, reply *rados.Reply, err error) (bool, error) {
			if kindIs(err, wire.ENOENT) {
				return true, nil
			}
			if err != nil {
				return false, wire.Wrap("filer.dump", objectName(c.Stream, n), err)
			}
			line := fmt.Sprintf("%s  %s size=%d", indent, objectName(c.Stream, n), reply.Results[1].Size)
			if c.Kind == inode.Overlay {
				line += " " + drawMap(mapOf(reply.Results[0].Value).bits)
			}
			_, err = fmt.Fprintln(w, line)
			return true, err
		})
}

// drawMap prints a block map, the first block first.
func drawMap(bits uint64) string {
	var s strings.Builder
	for i := range blocks {
		s.WriteByte(".o"[bits>>i&1])
	}
	return s.String()
}
