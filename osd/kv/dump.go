package kv

import (
	"bufio"
	"fmt"
	"io"
	"path"

	"github.com/syndtr/goleveldb/leveldb/storage"

	"github.com/spirula/spirula/osd/disk"
	"github.com/spirula/spirula/rados/wire"
)

// dumpStep is how many keys Dump takes from one iterator.
const dumpStep = 1000

// Dump writes the keys first <= key < end, one a line, in order, as format
// gives them; nil prints key and value quoted. nil as first or end is no
// bound. What writers do meanwhile may be in it or not.
func (db *DB) Dump(w io.Writer, first, end []byte, format func(key, value []byte) string) error {
	if format == nil {
		format = func(key, value []byte) string { return fmt.Sprintf("%q = %q", key, value) }
	}
	out := bufio.NewWriter(w)
	for more := true; more; {
		it := db.NewIter(first, end)
		n := 0
		for more = it.Next(); more && n < dumpStep; more = it.Next() {
			if _, err := fmt.Fprintln(out, format(it.Key(), it.Value())); err != nil {
				_ = it.Close() // the writer's error is the one to give
				return wire.Wrap("kv.dump", db.files.dir, err)
			}
			n++
		}
		if more {
			first = append([]byte(nil), it.Key()...)
		}
		if err := it.Close(); err != nil {
			return err
		}
	}
	return wire.Wrap("kv.dump", db.files.dir, out.Flush())
}

// DumpFiles lists the files of the store in dir, which need not be one that
// can be opened: tables with their size, manifests and journals with their
// frames and how they end.
func DumpFiles(d disk.Disk, dir string, w io.Writer) error {
	names, err := d.List(dir)
	if err != nil {
		return wire.Wrap("kv.dump", dir, err)
	}
	out := bufio.NewWriter(w)
	for _, n := range names {
		p := path.Join(dir, n)
		size, err := d.Size(p)
		if err != nil {
			return wire.Wrap("kv.dump", p, err)
		}
		fmt.Fprintf(out, "%s %d bytes\n", n, size)
		fd, ok := parseName(n)
		switch {
		case ok && (fd.Type == storage.TypeManifest || fd.Type == storage.TypeJournal):
			b, err := readAll(d, p, maxFrameFile)
			if err != nil {
				return wire.Wrap("kv.dump", p, err)
			}
			dumpFrames(out, b)
		case n == "CURRENT":
			b, err := readAll(d, p, 256)
			if err != nil {
				return wire.Wrap("kv.dump", p, err)
			}
			fmt.Fprintf(out, "  reads %q\n", b)
		}
	}
	return wire.Wrap("kv.dump", dir, out.Flush())
}

func dumpFrames(w io.Writer, file []byte) {
	stream, err := decodeFrames(file)
	if err != nil {
		fmt.Fprintf(w, "  %v\n", err)
	}
	end := fileHeader
	for {
		payload, synced := frameAt(file, end)
		if payload == nil {
			break
		}
		fmt.Fprintf(w, "  frame at %d, %d bytes, synced before %d\n", end, len(payload), synced)
		end += frameHeader + len(payload)
	}
	fmt.Fprintf(w, "  stream of %d bytes, ends at %d\n", len(stream), end)
}
