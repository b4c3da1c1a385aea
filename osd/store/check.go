package store

import (
	"fmt"

	"github.com/spirula/spirula/rados/wire"
)

// Bounds on what a transaction may ask for.
const (
	// MaxObject is the largest size of an object, in bytes.
	MaxObject = 128 << 20
	// MaxName bounds an object's namespace, key and name, each, in bytes.
	MaxName = 2048
	// MaxRowKey bounds the name of an xattr, an omap key and a PG row's
	// key, in bytes.
	MaxRowKey = 4096
	// MaxXattr bounds the value of an xattr, in bytes.
	MaxXattr = 64 << 10
	// MaxXattrs bounds the names and values of all xattrs of an object.
	MaxXattrs = 1 << 20
	// MaxValue bounds an omap value, an omap header and a PG row, in bytes.
	MaxValue = 16 << 20
)

// String prints the object, and shard and generation when it has them.
func (o ObjectID) String() string {
	s := o.HObject.String()
	if o.Shard != wire.NoShard {
		s += fmt.Sprintf(" s%d", o.Shard)
	}
	if o.Gen != NoGen {
		s += fmt.Sprintf(" g%d", o.Gen)
	}
	return s
}

// CheckOp refuses a step that no store could do: EINVAL, EFBIG for what is
// over a bound, ENAMETOOLONG for names. Every implementation of the store's
// methods calls it first, so they refuse the same.
func CheckOp(op *Op) error {
	switch op.Kind {
	case OpMetaSet, OpMetaRm, OpMetaRmRange:
		return checkRows(op)
	case OpClone:
		if err := checkObject(op.Dst); err != nil {
			return err
		}
		if op.Dst == op.Object {
			return wire.Errorf("store.clone", op.Object.String()+" onto itself", wire.EINVAL)
		}
	case OpWrite:
		if op.Len != uint64(op.Data.Len()) {
			return wire.Errorf("store.write", op.Object.String()+": length differs from the data's", wire.EINVAL)
		}
		if op.Off > MaxObject || op.Len > MaxObject-op.Off {
			return wire.Errorf("store.write", op.Object.String(), wire.EFBIG)
		}
	case OpTruncate:
		if op.Off > MaxObject {
			return wire.Errorf("store.truncate", op.Object.String(), wire.EFBIG)
		}
	case OpZero:
		if op.Off+op.Len < op.Off {
			return wire.Errorf("store.zero", op.Object.String(), wire.EINVAL)
		}
	case OpSetXattrs:
		for _, kv := range op.KVs {
			if len(kv.Value) > MaxXattr {
				return wire.Errorf("store.setxattr", op.Object.String()+" "+kv.Key, wire.EFBIG)
			}
		}
	case OpTouch, OpRemove, OpRmXattr, OpOmapSet, OpOmapRm, OpOmapRmRange, OpOmapClear, OpOmapHeader:
	default:
		return wire.Errorf("store.queue", fmt.Sprintf("step of kind %d", op.Kind), wire.EINVAL)
	}
	if err := checkObject(op.Object); err != nil {
		return err
	}
	return checkRows(op)
}

func checkObject(o ObjectID) error {
	if o.Max {
		return wire.Errorf("store.queue", o.String(), wire.EINVAL)
	}
	if len(o.Namespace) > MaxName || len(o.Key) > MaxName || len(o.Name) > MaxName {
		return wire.Errorf("store.queue", "object in pool "+fmt.Sprint(o.Pool), wire.ENAMETOOLONG)
	}
	return nil
}

func checkRows(op *Op) error {
	for _, kv := range op.KVs {
		if len(kv.Key) > MaxRowKey {
			return wire.Errorf("store.queue", "row key", wire.ENAMETOOLONG)
		}
		if len(kv.Value) > MaxValue {
			return wire.Errorf("store.queue", "row "+kv.Key, wire.EFBIG)
		}
	}
	if len(op.Value) > MaxValue {
		return wire.Errorf("store.queue", "omap header", wire.EFBIG)
	}
	if len(op.Name) > MaxRowKey || len(op.Name2) > MaxRowKey {
		return wire.Errorf("store.queue", "row key", wire.ENAMETOOLONG)
	}
	return nil
}
