package journal

import (
	"context"
	"fmt"
	"io"

	"github.com/spirula/spirula/rados"
	"github.com/spirula/spirula/rados/wire"
)

// Dump prints a rank's lease, header and records as text, whoever holds it.
// Of a damaged object it prints the records before the damage, and goes on
// with the next object.
func Dump(ctx context.Context, meta rados.Doer, rank int, w io.Writer) error {
	return DumpEvents(ctx, meta, rank, w, func(io.Writer, []byte) error { return nil })
}

// DumpEvents is Dump that has print called behind each record's line, with
// its event, which print must not keep. Its error ends the dump.
func DumpEvents(ctx context.Context, meta rados.Doer, rank int, w io.Writer, print func(w io.Writer, event []byte) error) error {
	n := namesOf(rank)
	l, err := readLease(ctx, meta, n.lease)
	if err != nil {
		return wire.Wrap("journal.dump", n.lease, err)
	}
	fmt.Fprintf(w, "%s epoch=%d holder=%q counter=%d\n", n.lease, l.epoch, l.holder, l.counter)
	h, err := readHeader(ctx, meta, n.header)
	if err != nil {
		return wire.Wrap("journal.dump", n.header, err)
	}
	fmt.Fprintf(w, "%s trimmed=%d deleted=%d limit=%d extra=%d bytes\n", n.header, h.trimmed, h.deleted, h.limit, len(h.extra))
	buf := make([]byte, 0, objectSize)
	for i := h.trimmed / objectSize; i <= h.limit; i++ {
		if err := dumpObject(ctx, meta, n.object(i), i, h.trimmed, buf, w, print); err != nil {
			return wire.Wrap("journal.dump", n.object(i), err)
		}
	}
	return nil
}

func dumpObject(ctx context.Context, meta rados.Doer, object string, n, trimmed uint64, buf []byte, w io.Writer, print func(io.Writer, []byte) error) error {
	a, err := readAttrs(ctx, meta, object)
	if wire.ErrnoOf(err) == wire.ENOENT {
		_, err = fmt.Fprintf(w, "%s not made\n", object)
		return err
	}
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintf(w, "%s epoch=%d end=%d done=%d\n", object, a.num(attrEpoch), a.num(attrEnd), a.num(attrDone)); err != nil {
		return err
	}
	e := extent{n: n, to: int(min(a.num(attrEnd), objectSize))}
	if n == trimmed/objectSize {
		e.from = min(int(trimmed%objectSize), e.to)
	}
	if e.from == e.to {
		return nil
	}
	p, err := finishRead(ctx, meta.Start(ctx, readOp(object, e)), e, buf)
	if err != nil {
		_, err = fmt.Fprintf(w, "  %v\n", err)
		return err
	}
	// Each record's own word for where the one before it ended is printed,
	// not checked: at an object's front it is not known here.
	begin := n*objectSize + uint64(e.from)
	for len(p) > 0 {
		prev := begin
		if len(p) >= recordHead {
			prev = leU64(p[16:])
		}
		r, size, err := parseRecord(p, begin, prev)
		if err != nil {
			_, err = fmt.Fprintf(w, "  %v\n", err)
			return err
		}
		if _, err := fmt.Fprintf(w, "  %d after %d epoch=%d %d bytes\n", r.pos, prev, r.epoch, len(r.event)); err != nil {
			return err
		}
		if err := print(w, r.event); err != nil {
			return err
		}
		p, begin = p[size:], begin+uint64(size)
	}
	return nil
}
