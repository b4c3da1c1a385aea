package rados

import (
	"cmp"
	"context"
	"slices"

	"github.com/spirula/spirula/rados/wire"
)

// omapPage is how many entries one request of ListOmap asks for.
const omapPage = 1000

// GetXattr gives an attribute of an object. ENODATA: it has none of that name.
func (x *IOCtx) GetXattr(ctx context.Context, object, name string) ([]byte, error) {
	_, r, err := x.read(ctx, "getxattr", object, wire.Op{Code: wire.OpGetXattr, Name: name})
	if err != nil {
		return nil, err
	}
	return r.Value, nil
}

// GetXattrs gives all attributes of an object.
func (x *IOCtx) GetXattrs(ctx context.Context, object string) (map[string][]byte, error) {
	_, r, err := x.read(ctx, "getxattrs", object, wire.Op{Code: wire.OpGetXattrs})
	if err != nil {
		return nil, err
	}
	return mapOf(r.KVs), nil
}

// SetXattr sets an attribute of an object, which is made if need be. Names
// have at most 256 bytes, values 64 KiB.
func (x *IOCtx) SetXattr(ctx context.Context, object, name string, value []byte) error {
	return x.write(ctx, "setxattr", object, wire.Op{Code: wire.OpSetXattr, Name: name, Value: slices.Clone(value)})
}

// RmXattr removes an attribute. ENODATA: there is none of that name.
func (x *IOCtx) RmXattr(ctx context.Context, object, name string) error {
	return x.write(ctx, "rmxattr", object, wire.Op{Code: wire.OpRmXattr, Name: name})
}

// SetOmap sets entries of an object's omap; the object is made if need be.
func (x *IOCtx) SetOmap(ctx context.Context, object string, entries map[string][]byte) error {
	kvs := make([]wire.KV, 0, len(entries))
	for k, v := range entries {
		kvs = append(kvs, wire.KV{Key: k, Value: slices.Clone(v)})
	}
	slices.SortFunc(kvs, func(a, b wire.KV) int { return cmp.Compare(a.Key, b.Key) })
	return x.write(ctx, "setomap", object, wire.Op{Code: wire.OpOmapSetVals, KVs: kvs})
}

// GetOmapValues gives at most max entries of an object's omap in the order of
// their keys: those after a key that begin with prefix. more: there are others.
func (x *IOCtx) GetOmapValues(ctx context.Context, object, after, prefix string, max uint64) (entries []wire.KV, more bool, err error) {
	_, r, err := x.read(ctx, "getomap", object, wire.Op{Code: wire.OpOmapGetVals, Name: after, Name2: prefix, Num: max})
	if err != nil {
		return nil, false, err
	}
	return r.KVs, r.More, nil
}

// GetOmapKeys gives at most max keys of an object's omap after a key. more:
// there are others.
func (x *IOCtx) GetOmapKeys(ctx context.Context, object, after string, max uint64) (keys []string, more bool, err error) {
	_, r, err := x.read(ctx, "getomapkeys", object, wire.Op{Code: wire.OpOmapGetKeys, Name: after, Num: max})
	if err != nil {
		return nil, false, err
	}
	return r.Keys, r.More, nil
}

// GetOmapValuesByKeys gives the entries of an object's omap that have one of
// the keys.
func (x *IOCtx) GetOmapValuesByKeys(ctx context.Context, object string, keys []string) (map[string][]byte, error) {
	_, r, err := x.read(ctx, "getomapbykeys", object, wire.Op{Code: wire.OpOmapGetValsByKeys, Keys: sorted(keys)})
	if err != nil {
		return nil, err
	}
	return mapOf(r.KVs), nil
}

// ListOmap calls fn for every entry of an object's omap whose key begins with
// prefix, in order. It asks in pages, between which others may write. An error
// of fn ends it and is returned.
func (x *IOCtx) ListOmap(ctx context.Context, object, prefix string, fn func(wire.KV) error) error {
	after := ""
	for {
		kvs, more, err := x.GetOmapValues(ctx, object, after, prefix, omapPage)
		if err != nil {
			return err
		}
		for _, kv := range kvs {
			if err := fn(kv); err != nil {
				return err
			}
			after = kv.Key
		}
		if !more || len(kvs) == 0 {
			return nil
		}
	}
}

// RmOmapKeys removes entries; those that are not there don't matter. ENOENT:
// there is no such object.
func (x *IOCtx) RmOmapKeys(ctx context.Context, object string, keys []string) error {
	return x.write(ctx, "rmomapkeys", object, wire.Op{Code: wire.OpOmapRmKeys, Keys: sorted(keys)})
}

// RmOmapRange removes the entries with keys from begin on, before end.
func (x *IOCtx) RmOmapRange(ctx context.Context, object, begin, end string) error {
	return x.write(ctx, "rmomaprange", object, wire.Op{Code: wire.OpOmapRmKeyRange, Name: begin, Name2: end})
}

// ClearOmap removes all entries and the header.
func (x *IOCtx) ClearOmap(ctx context.Context, object string) error {
	return x.write(ctx, "clearomap", object, wire.Op{Code: wire.OpOmapClear})
}

// GetOmapHeader gives the header of an object's omap, empty if never set.
func (x *IOCtx) GetOmapHeader(ctx context.Context, object string) ([]byte, error) {
	_, r, err := x.read(ctx, "getomapheader", object, wire.Op{Code: wire.OpOmapGetHeader})
	if err != nil {
		return nil, err
	}
	return r.Value, nil
}

// SetOmapHeader sets the header of an object's omap; the object is made if
// need be.
func (x *IOCtx) SetOmapHeader(ctx context.Context, object string, header []byte) error {
	return x.write(ctx, "setomapheader", object, wire.Op{Code: wire.OpOmapSetHeader, Value: slices.Clone(header)})
}

func sorted(keys []string) []string {
	return slices.Compact(slices.Sorted(slices.Values(keys)))
}

func mapOf(kvs []wire.KV) map[string][]byte {
	m := make(map[string][]byte, len(kvs))
	for _, kv := range kvs {
		m[kv.Key] = kv.Value
	}
	return m
}
