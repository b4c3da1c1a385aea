package tree

import (
	"context"
	"encoding/binary"
	"strconv"

	"github.com/spirula/spirula/mds/internal/inode"
	"github.com/spirula/spirula/rados"
	"github.com/spirula/spirula/rados/wire"
)

const (
	classDentry = "d"
	classInline = "i"
	epochXattr  = "epoch"
	pageKeys    = 1024 // an OSD gives no more in one omap read
	rowShift    = 12   // rows in one i.B, as a power of two
	logShift    = 14   // birth numbers in one c.INO.N, as a power of two
)

func fragObject(ino inode.Ino, frag uint32) string {
	return "d." + hexKey(uint64(ino)) + "." + hexKey(uint64(frag))[8:]
}
func tableObject(ino inode.Ino) string { return "t." + hexKey(uint64(ino)) }
func rowObject(n inode.Ino) string     { return "i." + hexKey(uint64(n)>>rowShift) }
func rowKey(n inode.Ino) string        { return hexKey(uint64(n)) }
func logObject(ino inode.Ino, seg uint64) string {
	return "c." + hexKey(uint64(ino)) + "." + hexKey(seg)
}

// hexKey writes a number so that byte order is its order.
func hexKey(n uint64) string {
	const digits = "0123456789abcdef"
	var b [16]byte
	for i := range b {
		b[i] = digits[n>>(60-4*i)&15]
	}
	return string(b[:])
}

// objectInfo is what is known of one object in RADOS. It belongs to whoever
// holds the write token.
type objectInfo struct {
	state   presence
	counted bool // entries and bytes are known, from the header
	// entries and bytes may be too large, never too small, by keys of which
	// it wasn't known that they were there already.
	entries, bytes int64
}

// header is a fragment's omap header: the position up to which it is
// written, and how much it holds.
func (i *objectInfo) header(pos Pos) []byte {
	b := make([]byte, 24)
	binary.LittleEndian.PutUint64(b, uint64(pos))
	binary.LittleEndian.PutUint64(b[8:], uint64(max(i.entries, 0)))
	binary.LittleEndian.PutUint64(b[16:], uint64(max(i.bytes, 0)))
	return inode.AppendInline(nil, b)
}

func decodeHeader(b []byte) (pos Pos, entries, bytes int64, err error) {
	p, err := inode.DecodeInline(b)
	if err != nil {
		return 0, 0, 0, err
	}
	if len(p) < 24 {
		return 0, 0, 0, wire.Errorf("decode fragment header", "cut short", wire.EINVAL)
	}
	n, m := binary.LittleEndian.Uint64(p[8:]), binary.LittleEndian.Uint64(p[16:])
	if n>>62 != 0 || m>>62 != 0 {
		return 0, 0, 0, wire.Errorf("decode fragment header", "impossible counts", wire.EINVAL)
	}
	return Pos(binary.LittleEndian.Uint64(p)), int64(n), int64(m), nil
}

// vector is one write to one object.
type vector struct {
	object string
	sets   []wire.KV // ascending
	rms    []string  // ascending
	ranges [][2]string
	header []byte
}

func (v *vector) ops(head ...wire.Op) []wire.Op {
	if len(v.sets) > 0 {
		head = append(head, wire.Op{Code: wire.OpOmapSetVals, KVs: v.sets})
	}
	if len(v.rms) > 0 {
		head = append(head, wire.Op{Code: wire.OpOmapRmKeys, Keys: v.rms})
	}
	for _, r := range v.ranges {
		head = append(head, wire.Op{Code: wire.OpOmapRmKeyRange, Name: r[0], Name2: r[1]})
	}
	if v.header != nil {
		head = append(head, wire.Op{Code: wire.OpOmapSetHeader, Value: v.header})
	}
	return head
}

func (t *Tree) raise() (check, set wire.Op) {
	return wire.Op{Code: wire.OpCmpXattr, Name: epochXattr, CmpOp: wire.CmpGTE, CmpMode: wire.CmpU64, Num: t.o.Epoch},
		wire.Op{Code: wire.OpSetXattr, Name: epochXattr, Value: strconv.AppendUint(nil, t.o.Epoch, 10)}
}

// apply writes v, raising the object's epoch in the same step; the object is
// made if it is missing (even by removals alone: it must bear the epoch).
func (t *Tree) apply(ctx context.Context, v *vector, info *objectInfo) error {
	check, set := t.raise()
	create := info.state == presentNo
	for try := 0; ; try++ {
		var op rados.Op
		if create {
			v := *v
			v.rms, v.ranges = nil, nil
			op = rados.Op{Object: v.object, Ops: v.ops(wire.Op{Code: wire.OpCreate, Flags: wire.OpExcl}, set)}
		} else {
			op = rados.Op{Object: v.object, Ops: v.ops(check, set)}
		}
		_, err := t.meta.Do(ctx, &op)
		kind := wire.ErrnoOf(err)
		switch {
		case err == nil:
			info.state = presentYes
			t.m.Writes.Add(1)
			t.m.KeysWrit.Add(int64(len(v.sets) + len(v.rms)))
			return nil
		case kind == wire.ECANCELED:
			return t.depose()
		case kind == wire.ENOENT && !create && try < 4:
			create = true
		case kind == wire.EEXIST && create && try < 4:
			create = false
		default:
			return wire.Wrap("tree.write", v.object, err)
		}
	}
}

// remove deletes an object that we may write; one that is missing is fine.
func (t *Tree) remove(ctx context.Context, object string) error {
	check, _ := t.raise()
	_, err := t.meta.Do(ctx, &rados.Op{Object: object, Ops: []wire.Op{check, {Code: wire.OpDelete}}})
	switch kind := wire.ErrnoOf(err); {
	case err == nil || kind == wire.ENOENT:
		t.m.Writes.Add(1)
		return nil
	case kind == wire.ECANCELED:
		return t.depose()
	}
	return wire.Wrap("tree.remove", object, err)
}

func (t *Tree) depose() error {
	t.o.Mu.Lock()
	t.deposed = true
	t.o.Mu.Unlock()
	return ErrDeposed
}

// page reads up to pageKeys keys of a class from start on, start included,
// and says whether there are more. Keys come with their class byte cut off. A
// missing object is an empty one.
func (t *Tree) page(ctx context.Context, object, class, start string) (kvs []wire.KV, more bool, err error) {
	ops := []wire.Op{
		{Code: wire.OpOmapGetValsByKeys, Keys: []string{class + start}},
		{Code: wire.OpOmapGetVals, Name: class + start, Name2: class, Num: pageKeys},
	}
	if class+start == "" {
		ops[0].Keys = nil // the empty key is none; "after" it is from the start
	}
	t.m.Loads.Add(1)
	r, err := t.meta.Do(ctx, &rados.Op{Object: object, Ops: ops})
	if wire.ErrnoOf(err) == wire.ENOENT {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, wire.Wrap("tree.read", object, err)
	}
	if len(r.Results) != 2 {
		return nil, false, wire.Errorf("tree.read", object, wire.EIO)
	}
	kvs = append(r.Results[0].KVs, r.Results[1].KVs...)
	for i := range kvs {
		if len(kvs[i].Key) < len(class) || (i > 0 && kvs[i].Key <= kvs[i-1].Key) {
			return nil, false, wire.Wrap("tree.read", object+": keys out of order", wire.EIO)
		}
	}
	if class != "" {
		out := make([]wire.KV, len(kvs))
		for i := range kvs {
			out[i] = wire.KV{Key: kvs[i].Key[len(class):], Value: kvs[i].Value}
		}
		kvs = out
	}
	return kvs, r.Results[1].More && len(kvs) > 0, nil
}

// values reads single keys, which carry their class byte.
func (t *Tree) values(ctx context.Context, object string, keys []string) (map[string][]byte, error) {
	t.m.Loads.Add(1)
	r, err := t.meta.Do(ctx, &rados.Op{Object: object, Ops: []wire.Op{{Code: wire.OpOmapGetValsByKeys, Keys: keys}}})
	if wire.ErrnoOf(err) == wire.ENOENT {
		return nil, nil
	}
	if err != nil {
		return nil, wire.Wrap("tree.read", object, err)
	}
	if len(r.Results) != 1 {
		return nil, wire.Errorf("tree.read", object, wire.EIO)
	}
	out := make(map[string][]byte, len(r.Results[0].KVs))
	for _, kv := range r.Results[0].KVs {
		out[kv.Key] = kv.Value
	}
	return out, nil
}
