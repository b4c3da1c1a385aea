package tree

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"

	"github.com/spirula/spirula/mds/internal/inode"
	"github.com/spirula/spirula/rados"
	"github.com/spirula/spirula/rados/wire"
)

// Dump prints what one object of the metadata pool holds, a line for each key,
// as text for people. Values that don't decode are printed with the reason.
// It changes nothing and needs no Tree.
func Dump(ctx context.Context, meta rados.Doer, object string, w io.Writer) error {
	t := &Tree{meta: meta}
	r, err := meta.Do(ctx, &rados.Op{Object: object, Ops: []wire.Op{
		{Code: wire.OpGetXattr, Name: epochXattr, Flags: wire.OpFailOK}, {Code: wire.OpOmapGetHeader}}})
	if err != nil {
		return wire.Wrap("tree.dump", object, err)
	}
	if len(r.Results) != 2 {
		return wire.Errorf("tree.dump", object, wire.EIO)
	}
	fmt.Fprintf(w, "%s epoch=%s", object, r.Results[0].Value)
	if h := r.Results[1].Value; len(h) > 0 {
		pos, entries, bytes, err := decodeHeader(h)
		fmt.Fprintf(w, " pos=%d entries<=%d bytes<=%d err=%v", pos, entries, bytes, err)
	}
	fmt.Fprintln(w)
	return t.walk(ctx, object, "", "", "", func(kvs []wire.KV) error {
		for _, kv := range kvs {
			if _, err := fmt.Fprintf(w, "  %q %s\n", kv.Key, dumpValue(object, kv)); err != nil {
				return err
			}
		}
		return nil
	})
}

// dumpValue prints a value by the kind of object it is in.
func dumpValue(object string, kv wire.KV) string {
	var v any
	var err error
	switch {
	case len(object) < 2 || len(kv.Key) == 0:
		return fmt.Sprintf("%x", kv.Value)
	case object[:2] == "d." && kv.Key[:1] == classDentry:
		var d *inode.Dentry
		if d, err = inode.DecodeDentry(kv.Value); err == nil {
			return dumpDentry(d)
		}
	case object[:2] == "d." && kv.Key[:1] == classInline:
		if v, err = inode.DecodeInline(kv.Value); err == nil {
			return fmt.Sprintf("%q", v)
		}
	case object[:2] == "i.":
		v, err = inode.DecodeRow(kv.Value)
	case object[:2] == "c.":
		v, err = inode.DecodeBirth(kv.Value)
	case object[:2] == "t.":
		var p []byte
		if p, err = inode.DecodeInline(kv.Value); err == nil && len(p) >= 4 {
			return fmt.Sprintf("fragment %08x", binary.LittleEndian.Uint32(p))
		}
	default:
		return fmt.Sprintf("%x", kv.Value)
	}
	if err != nil {
		return "damaged: " + err.Error()
	}
	return fmt.Sprintf("%+v", v)
}

func dumpDentry(d *inode.Dentry) string {
	s := fmt.Sprintf("seq=%d type=%d ino=%d vseq=%d unconfirmed=%v", d.Seq, d.Type, d.Ino, d.VSeq, d.Unconfirmed)
	if in := d.Inode; in != nil {
		s += fmt.Sprintf(" mode=%o uid=%d gid=%d size=%d mtime=%s change=%d data=%d content=%+v", in.Mode, in.UID, in.GID,
			in.Size, in.Mtime.Std().Format("2006-01-02T15:04:05.000000000Z"), in.Change, in.Data, in.Content)
		if in.Dir != nil {
			s += fmt.Sprintf(" dir=%+v", *in.Dir)
		}
		if in.S3 != nil {
			s += fmt.Sprintf(" s3=%+v", *in.S3)
		}
	}
	return s
}
