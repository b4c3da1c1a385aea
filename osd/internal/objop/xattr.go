package objop

import (
	"bytes"
	"errors"
	"math"
	"slices"
	"strings"

	"github.com/spirula/spirula/rados/wire"
)

// storedXattr reads a client's xattr as it was before the vector; found says
// whether it was there.
func (v *vector) storedXattr(name string) (value []byte, found bool, e wire.Errno) {
	value, err := v.view.Xattr(v.src, userPrefix+name)
	switch {
	case err == nil:
		return value, true, 0
	case errors.Is(err, wire.ENODATA), errors.Is(err, wire.ENOENT):
		return nil, false, 0
	}
	return nil, false, wire.EIO
}

func checkXattrName(name string) wire.Errno {
	switch {
	case name == "":
		return wire.EINVAL
	case len(name) > MaxXattrName:
		return wire.ENAMETOOLONG
	}
	return 0
}

func (v *vector) getXattr(op *wire.Op, res *wire.OpResult) wire.Errno {
	if !v.srcStored {
		return wire.ENOENT
	}
	if op.Name == "" {
		return wire.ENODATA
	}
	value, found, e := v.storedXattr(op.Name)
	if e == 0 && !found {
		e = wire.ENODATA
	}
	res.Value = value
	return e
}

func (v *vector) getXattrs(res *wire.OpResult) wire.Errno {
	if !v.srcStored {
		return wire.ENOENT
	}
	all, err := v.view.Xattrs(v.src)
	if err != nil {
		return wire.EIO
	}
	for _, kv := range all {
		if name, ok := strings.CutPrefix(kv.Key, userPrefix); ok && name != "" {
			res.KVs = append(res.KVs, wire.KV{Key: name, Value: kv.Value})
		}
	}
	slices.SortFunc(res.KVs, func(a, b wire.KV) int { return strings.Compare(a.Key, b.Key) })
	return 0
}

// cmpXattr compares given OP stored. A match is 1. A missing xattr counts as
// empty, or 0; a missing object is ENOENT even behind a CREATE, but a whiteout
// is only an object without xattrs.
func (v *vector) cmpXattr(op *wire.Op) (int32, wire.Errno) {
	if !v.srcStored {
		return 0, wire.ENOENT
	}
	var stored []byte
	if op.Name != "" {
		var e wire.Errno
		if stored, _, e = v.storedXattr(op.Name); e != 0 {
			return 0, e
		}
	}
	var order int
	switch op.CmpMode {
	case wire.CmpString:
		order = bytes.Compare(op.Value, stored)
	case wire.CmpU64:
		given, have := op.Num, parseU64(stored)
		switch {
		case given < have:
			order = -1
		case given > have:
			order = 1
		}
	default:
		return 0, wire.EINVAL
	}
	ok, e := holds(order, op.CmpOp)
	if e == 0 && !ok {
		e = wire.ECANCELED
	}
	return 1, e
}

// holds says whether an order (negative, 0, positive) satisfies op.
func holds(order int, op wire.CmpOp) (bool, wire.Errno) {
	switch op {
	case wire.CmpEQ:
		return order == 0, 0
	case wire.CmpNE:
		return order != 0, 0
	case wire.CmpGT:
		return order > 0, 0
	case wire.CmpGTE:
		return order >= 0, 0
	case wire.CmpLT:
		return order < 0, 0
	case wire.CmpLTE:
		return order <= 0, 0
	}
	return false, wire.EINVAL
}

// parseU64 reads decimal text as C's strtoull does: white space and a sign
// before the digits, anything after them; no digits are 0, too many the
// largest number.
func parseU64(p []byte) uint64 {
	i := 0
	for i < len(p) && (p[i] == ' ' || p[i] >= '\t' && p[i] <= '\r') {
		i++
	}
	negative := false
	if i < len(p) && (p[i] == '-' || p[i] == '+') {
		negative = p[i] == '-'
		i++
	}
	n := uint64(0)
	for ; i < len(p) && p[i] >= '0' && p[i] <= '9'; i++ {
		d := uint64(p[i] - '0')
		if n > (math.MaxUint64-d)/10 {
			return math.MaxUint64
		}
		n = n*10 + d
	}
	if negative {
		return -n
	}
	return n
}

func (v *vector) setXattr(op *wire.Op) wire.Errno {
	if e := checkXattrName(op.Name); e != 0 {
		return e
	}
	if len(op.Value) > MaxXattrValue {
		return e2big
	}
	v.touch()
	v.Txn.SetXattrs(v.Object.id(wire.NoSnap), wire.KV{Key: userPrefix + op.Name, Value: op.Value})
	return 0
}

// removeXattr does not mind if the xattr is not there.
func (v *vector) removeXattr(op *wire.Op) wire.Errno {
	if e := checkXattrName(op.Name); e != 0 {
		return e
	}
	if !v.live {
		return wire.ENOENT
	}
	v.modify()
	v.Txn.RmXattr(v.Object.id(wire.NoSnap), userPrefix+op.Name)
	return 0
}
