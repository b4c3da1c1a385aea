package store

import (
	"fmt"
	"slices"

	"github.com/spirula/spirula/rados/wire"
)

// A transaction on the wire is one block: u32 number of steps, then each
// step: u8 kind, then the fields that its kind uses, in the order of Op. The
// bytes of OpWrite do not lie in it but in the message's data, one after the
// other in the order of the steps; the step has their length.
const txnVersion = 1

// Encode appends the transaction to e, and the data of its writes to data,
// with references of its own.
func (t *Txn) Encode(e *wire.Encoder, data *wire.Data) {
	b := e.Begin(txnVersion, txnVersion)
	e.Count(len(t.Ops))
	for i := range t.Ops {
		encodeOp(e, data, &t.Ops[i])
	}
	e.End(b)
}

// DecodeTxn reads what Encode wrote. The writes refer to data, from *off on,
// with references of their own (Txn.Release); *off moves behind them. A step
// that no store could do makes d fail.
func DecodeTxn(d *wire.Decoder, data wire.Data, off *int) Txn {
	var t Txn
	b := d.Begin(txnVersion)
	n := d.Count(minOp)
	t.Ops = make([]Op, 0, min(n, 256))
	for ; n > 0 && d.Err() == nil; n-- {
		t.Ops = append(t.Ops, decodeOp(d, data, off))
	}
	d.End(b)
	for i := range t.Ops {
		if d.Err() != nil {
			break
		}
		if err := CheckOp(&t.Ops[i]); err != nil {
			d.Fail(err)
		}
	}
	if d.Err() != nil {
		t.Release()
		return Txn{}
	}
	return t
}

// Retain takes a reference on all data of t.
func (t *Txn) Retain() {
	for i := range t.Ops {
		t.Ops[i].Data.Retain()
	}
}

// Release gives a reference on all data of t back.
func (t *Txn) Release() {
	for i := range t.Ops {
		t.Ops[i].Data.Release()
	}
}

// minOp is the least length of a step: kind, and the rows of a PG, which
// takes less than an object.
const minOp = 1 + 24

func encodeOp(e *wire.Encoder, data *wire.Data, op *Op) {
	e.U8(uint8(op.Kind))
	switch op.Kind {
	case OpMetaSet, OpMetaRm, OpMetaRmRange:
		e.SPGID(op.PG)
	default:
		encodeObject(e, op.Object)
	}
	switch op.Kind {
	case OpWrite:
		e.U64(op.Off)
		e.U32(uint32(op.Data.Len()))
		data.AppendData(op.Data.Retain())
	case OpZero:
		e.U64(op.Off)
		e.U64(op.Len)
	case OpTruncate:
		e.U64(op.Off)
	case OpClone:
		encodeObject(e, op.Dst)
	case OpSetXattrs, OpOmapSet, OpMetaSet:
		e.Count(len(op.KVs))
		for _, kv := range op.KVs {
			e.Str(kv.Key)
			e.Bytes(kv.Value)
		}
	case OpRmXattr:
		e.Str(op.Name)
	case OpOmapRm, OpMetaRm:
		e.Strs(op.Keys)
	case OpOmapRmRange, OpMetaRmRange:
		e.Str(op.Name)
		e.Str(op.Name2)
	case OpOmapHeader:
		e.Bytes(op.Value)
	}
}

func decodeOp(d *wire.Decoder, data wire.Data, off *int) Op {
	op := Op{Kind: OpKind(d.U8())}
	switch op.Kind {
	case OpMetaSet, OpMetaRm, OpMetaRmRange:
		op.PG = d.SPGID()
	default:
		op.Object = decodeObject(d)
	}
	switch op.Kind {
	case OpTouch, OpRemove, OpOmapClear:
	case OpWrite:
		op.Off = d.U64()
		n := int(d.U32())
		op.Len = uint64(n)
		if n > data.Len()-*off {
			d.Fail(wire.ErrTruncated)
			break
		}
		op.Data = data.Slice(*off, n)
		*off += n
	case OpZero:
		op.Off, op.Len = d.U64(), d.U64()
	case OpTruncate:
		op.Off = d.U64()
	case OpClone:
		op.Dst = decodeObject(d)
	case OpSetXattrs, OpOmapSet, OpMetaSet:
		for n := d.Count(8); n > 0 && d.Err() == nil; n-- {
			op.KVs = append(op.KVs, wire.KV{Key: d.Str(), Value: slices.Clone(d.Bytes())})
		}
	case OpRmXattr:
		op.Name = d.Str()
	case OpOmapRm, OpMetaRm:
		op.Keys = d.Strs()
	case OpOmapRmRange, OpMetaRmRange:
		op.Name, op.Name2 = d.Str(), d.Str()
	case OpOmapHeader:
		op.Value = slices.Clone(d.Bytes())
	default:
		d.Fail(fmt.Errorf("%w: step of kind %d", wire.ErrFormat, op.Kind))
	}
	return op
}

func encodeObject(e *wire.Encoder, o ObjectID) {
	e.HObject(o.HObject)
	e.U8(uint8(o.Shard))
	e.U64(o.Gen)
}

func decodeObject(d *wire.Decoder) ObjectID {
	return ObjectID{HObject: d.HObject(), Shard: int8(d.U8()), Gen: d.U64()}
}
