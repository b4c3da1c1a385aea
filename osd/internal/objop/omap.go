package objop

import (
	"bytes"

	"github.com/spirula/spirula/rados/wire"
)

// omapReadable reports whether there can be an omap to read. Where a missing
// object does not end the vector, its omap reads as empty.
func (v *vector) omapReadable() bool { return v.live && v.srcStored }

func (v *vector) omapList(op *wire.Op, res *wire.OpResult) wire.Errno {
	if !v.omapReadable() {
		return 0
	}
	limit := int(min(op.Num, MaxOmapList))
	values, prefix := op.Code == wire.OpOmapGetVals, op.Name2
	if !values {
		prefix = ""
	}
	kvs, more, err := v.view.OmapList(v.src, op.Name, prefix, limit, values)
	if err != nil {
		return wire.EIO
	}
	res.More = more
	if values {
		res.KVs = kvs
		return 0
	}
	res.Keys = make([]string, len(kvs))
	for i := range kvs {
		res.Keys[i] = kvs[i].Key
	}
	return 0
}

func (v *vector) omapHeader(res *wire.OpResult) wire.Errno {
	if !v.omapReadable() {
		return 0
	}
	h, err := v.view.OmapHeader(v.src)
	res.Value = h
	return kind(err)
}

func (v *vector) omapByKeys(op *wire.Op, res *wire.OpResult) wire.Errno {
	if !v.omapReadable() {
		return 0
	}
	kvs, err := v.view.OmapGet(v.src, op.Keys)
	res.KVs = kvs
	return kind(err)
}

// omapCmp asserts stored OP given; a missing key counts as empty. An object
// made earlier in the vector has no keys.
func (v *vector) omapCmp(op *wire.Op) wire.Errno {
	if !v.live {
		return wire.ENOENT
	}
	have := map[string][]byte{}
	if v.srcStored {
		keys := make([]string, len(op.OmapCmps))
		for i := range op.OmapCmps {
			keys[i] = op.OmapCmps[i].Key
		}
		kvs, err := v.view.OmapGet(v.src, keys)
		if err != nil {
			return wire.EIO
		}
		for _, kv := range kvs {
			have[kv.Key] = kv.Value
		}
	}
	for i := range op.OmapCmps {
		c := &op.OmapCmps[i]
		order, ok := bytes.Compare(have[c.Key], c.Value), false
		switch c.Op {
		case wire.CmpEQ:
			ok = order == 0
		case wire.CmpLT:
			ok = order < 0
		case wire.CmpGT:
			ok = order > 0
		default:
			return wire.EINVAL
		}
		if !ok {
			return wire.ECANCELED
		}
	}
	return 0
}

func (v *vector) changeOmap(op *wire.Op) wire.Errno {
	id := v.Object.id(wire.NoSnap)
	switch op.Code {
	case wire.OpOmapSetVals:
		v.touch()
		if len(op.KVs) > 0 {
			v.Txn.OmapSet(id, op.KVs)
		}
		return 0
	case wire.OpOmapSetHeader:
		v.touch()
		v.Txn.OmapHeader(id, op.Value)
		return 0
	}
	if !v.live {
		return wire.ENOENT
	}
	v.modify()
	switch op.Code {
	case wire.OpOmapClear:
		v.Txn.OmapClear(id)
	case wire.OpOmapRmKeys:
		v.Txn.OmapRm(id, op.Keys)
	case wire.OpOmapRmKeyRange:
		if op.Name < op.Name2 {
			v.Txn.OmapRmRange(id, op.Name, op.Name2)
		}
	}
	return 0
}
