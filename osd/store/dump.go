package store

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"strings"

	"github.com/spirula/spirula/rados/wire"
)

// Dump prints everything the store has on the disk but the data itself, one
// line per row, for people and for comparison: superblock, log, index. It
// takes what is there at the moment; transactions go on.
func (s *Store) Dump(w io.Writer) error {
	b := bufio.NewWriter(w)
	fmt.Fprintf(b, "superblock fsid=%s uuid=%x osd=%d wal=%d generation=%d\n",
		s.super.fsid, s.super.uuid, s.super.osd, s.super.walSize, s.super.gen)
	s.mu.Lock()
	fmt.Fprintf(b, "state applied=%d objects=%d units=%d free=%d growable=%d reserve=%d overlay=%d log=[%d,%d) ids=[..%d) inflight=%d\n",
		s.appliedSeq, s.numObjects, s.alloc.units, s.alloc.free, s.growable, s.reserve, len(s.overlay),
		s.durableTail, s.logHead, s.idLimit, len(s.inflight))
	s.mu.Unlock()
	if err := s.dumpLog(b); err != nil {
		return err
	}
	it := s.db.NewIter(nil, nil)
	defer it.Close()
	for it.Next() {
		dumpRow(b, it.Key(), it.Value())
	}
	if err := it.Err(); err != nil {
		return err
	}
	return b.Flush()
}

// dumpLog prints every group found in the log, those no longer needed too.
func (s *Store) dumpLog(w io.Writer) error {
	found, err := s.wal.headers()
	if err != nil {
		return err
	}
	for i := range found {
		g := &found[i]
		body, err := s.wal.body(g)
		fmt.Fprintf(w, "group pos=%d tail=%d records=%d..%d length=%d", g.pos, g.tail, g.seq, g.seq+uint64(g.count)-1, g.length)
		if err != nil {
			fmt.Fprintf(w, " %v\n", err)
			continue
		}
		fmt.Fprintln(w)
		for n := range uint64(g.count) {
			stream, images, rest, ok := cutRecord(body)
			if !ok {
				fmt.Fprintln(w, "  damaged")
				break
			}
			fmt.Fprintf(w, "  record %d images=%d\n", g.seq+n, len(images)/unitSize)
			dumpStream(w, stream)
			body = rest
		}
	}
	return nil
}

func dumpStream(w io.Writer, stream []byte) {
	for len(stream) > 0 {
		c, rest, ok := nextChange(stream)
		if !ok {
			fmt.Fprintln(w, "    damaged")
			return
		}
		stream = rest
		switch c.op {
		case recPut:
			fmt.Fprint(w, "    put ")
			dumpRow(w, c.key, c.value)
		case recDelete:
			fmt.Fprintf(w, "    delete %s\n", keyText(c.key))
		case recRange:
			fmt.Fprintf(w, "    range %s to %s\n", keyText(c.key), keyText(c.value))
		case recObjects:
			fmt.Fprintf(w, "    objects %+d\n", unzigzag(c.a))
		default:
			fmt.Fprintf(w, "    %s %d %d\n", c.op, c.a, c.b)
		}
	}
}

// keyText prints a key of the index.
func keyText(k []byte) string {
	if len(k) == 0 {
		return "-"
	}
	switch {
	case k[0] == keyObject:
		if o, ok := parseObjectKey(k); ok {
			return "object " + o.String()
		}
	case k[0] == keyMeta:
		if pg, key, ok := parseMetaKey(k); ok {
			return fmt.Sprintf("row %s %q", pg, key)
		}
	case k[0] == keyMark:
		return string(k)
	case k[0] == keyOmap && len(k) >= omapPrefixLen:
		return fmt.Sprintf("omap %d %c %q", binary.BigEndian.Uint64(k[1:]), k[9], k[omapPrefixLen:])
	case k[0] == keyXattr && len(k) >= 9:
		return fmt.Sprintf("xattr %d %q", binary.BigEndian.Uint64(k[1:]), k[9:])
	case len(k) == 13:
		return fmt.Sprintf("%c %d/%d", k[0], binary.BigEndian.Uint64(k[1:]), binary.BigEndian.Uint32(k[9:]))
	case len(k) == 5:
		return fmt.Sprintf("%c %d", k[0], binary.BigEndian.Uint32(k[1:]))
	}
	return fmt.Sprintf("%q", k)
}

func dumpRow(w io.Writer, k, v []byte) {
	fmt.Fprintf(w, "%s: %s\n", keyText(k), valueText(k, v))
}

// valueText prints what a row says; rows of others by their length alone.
func valueText(k, v []byte) string {
	if len(k) == 0 {
		return "?"
	}
	switch k[0] {
	case keyObject:
		n, shards, large, ok := decodeOnode(v)
		if !ok {
			return "damaged"
		}
		return n.text(shards, large)
	case keyShard:
		s, ok := decodeShard(v)
		if !ok {
			return "damaged"
		}
		return s.text()
	case keyRefs:
		refs, ok := decodeRefs(v)
		if !ok {
			return "damaged"
		}
		var b strings.Builder
		for i := 0; i < len(refs); {
			end := refsRunEnd(refs, i)
			fmt.Fprintf(&b, " %d+%d×%d", refs[i].unit, end-i, refs[i].count)
			i = end
		}
		return "units" + b.String()
	case keyRegion:
		r, ok := decodeRegion(v)
		if !ok {
			return "damaged"
		}
		return fmt.Sprintf("true at %d, %d units in use", r.seq, r.committed.used())
	case keyCounts:
		used, ok := decodeCounts(v)
		if !ok {
			return "damaged"
		}
		return fmt.Sprint(used)
	case keyMark:
		return fmt.Sprintf("%x", v)
	}
	return fmt.Sprintf("%d bytes crc=%08x", len(v), wire.CRC32C(v))
}

func (n *onode) text(shards []uint32, large bool) string {
	var b strings.Builder
	fmt.Fprintf(&b, "nid=%d size=%d omap=%d family=%d", n.nid, n.size, n.omap, n.family)
	if n.inline != nil {
		fmt.Fprintf(&b, " inline")
	}
	if len(shards) > 0 {
		fmt.Fprintf(&b, " shards=%v", shards)
	}
	for _, kv := range n.xattrs {
		fmt.Fprintf(&b, " %q=%d", kv.Key, len(kv.Value))
	}
	if large {
		b.WriteString(" +large")
	}
	return b.String()
}

// text prints the runs: logical unit, length, physical unit, * for shared.
func (s *shard) text() string {
	var b strings.Builder
	for i := s.next(0); i < shardUnits; {
		end := s.runEnd(i)
		mark := ""
		if s.cell[i]&cellShared != 0 {
			mark = "*"
		}
		fmt.Fprintf(&b, " %d+%d@%d%s", i, end-i, s.cell[i]&^cellShared, mark)
		i = s.next(end)
	}
	return "runs" + b.String()
}
