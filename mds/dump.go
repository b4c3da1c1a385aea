package mds

import (
	"context"
	"fmt"
	"io"

	"github.com/spirula/spirula/mds/internal/journal"
	"github.com/spirula/spirula/mds/internal/tree"
	"github.com/spirula/spirula/rados"
	"github.com/spirula/spirula/rados/wire"
)

// Dump prints a rank's journal as text, whoever holds it: lease, header,
// records, and the items of each event. It changes nothing. Of an event that
// does not decode it prints why, and goes on.
func Dump(ctx context.Context, meta rados.Doer, rank int, w io.Writer) error {
	return journal.DumpEvents(ctx, meta, rank, w, func(w io.Writer, event []byte) error {
		if err := dumpEvent(w, event); err != nil {
			_, err = fmt.Fprintf(w, "    %v\n", err)
			return err
		}
		return nil
	})
}

// DumpTree prints the metadata objects as they are written back: directories'
// fragments, fragment tables, birth logs and the inode table. It needs a pool
// that lists its objects; EOPNOTSUPP otherwise.
func DumpTree(ctx context.Context, meta rados.Doer, w io.Writer) error {
	l, ok := meta.(objectLister)
	if !ok {
		return wire.Errorf("mds dump", "a pool that cannot list", wire.EOPNOTSUPP)
	}
	return l.ListObjects(ctx, "", func(e wire.ListEntry) error {
		switch e.Name[:min(2, len(e.Name))] {
		case "d.", "t.", "c.", "i.":
			return tree.Dump(ctx, meta, e.Name, w)
		}
		return nil
	})
}

// dumpEvent prints one event, an item a line.
func dumpEvent(w io.Writer, event []byte) error {
	return decodeEvent(event, func(it *eventItem) error {
		switch it.kind {
		case itemPut:
			fmt.Fprintf(w, "  put %x %q seq %d unconfirmed %v\n", it.at.dir, it.at.token, it.dentry.Seq, it.dentry.Unconfirmed)
			if in := it.dentry.Inode; in != nil {
				fmt.Fprintf(w, "    inode %x type %d mode %o size %d data %d content %d stream %x\n",
					in.Ino, in.Type, in.Mode, in.Size, in.Data, in.Content.Kind, in.Content.Stream)
			}
		case itemDelete:
			fmt.Fprintf(w, "  delete %x %q\n", it.at.dir, it.at.token)
		case itemRow:
			fmt.Fprintf(w, "  row %x kind %d refs %d links %d\n", it.ino, it.row.Kind, it.row.Refs, len(it.row.Links))
		case itemRowGone:
			fmt.Fprintf(w, "  row %x gone\n", it.ino)
		case itemNumbers:
			fmt.Fprintf(w, "  numbers next %x limit %x in flight %x\n", it.next, it.limit, it.inFlight)
		case itemUnconfirmed:
			fmt.Fprintf(w, "  unconfirmed %x at %x %q\n", it.stream, it.at.dir, it.at.token)
		case itemConfirmed:
			fmt.Fprintf(w, "  confirmed %x\n", it.stream)
		case itemUndone:
			fmt.Fprintf(w, "  undone %x\n", it.stream)
		case itemBorn:
			fmt.Fprintf(w, "  born %x\n", it.ino)
		case itemForgotten:
			fmt.Fprintf(w, "  forgotten %x\n", it.ino)
		case itemSplit:
			fmt.Fprintf(w, "  split of %x: %d to %d at %q, ended %v\n", it.split.Dir, it.split.From, it.split.To, it.split.At, it.ended)
		}
		return nil
	})
}
