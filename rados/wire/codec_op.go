package wire

import (
	"cmp"
	"encoding/binary"
	"slices"
)

// recordSize is the length of one operation's record (ceph_osd_op): u16 code,
// u32 flags, the union, u32 length of its input (in a reply: of its output).
const recordSize = 2 + 4 + unionSize + 4

// opForm is a layout of the union.
type opForm uint8

const (
	formRaw      opForm = iota // an operation not known here
	formNone                   // zeros
	formRead                   // u64 off, u64 len, u64 truncate_size, u32 truncate_seq
	formWrite                  // the same; len is that of the input
	formPayload                // the same; only len counts, that of the input
	formXattr                  // u32 name_len, u32 value_len, u8 cmp_op, u8 cmp_mode
	formCall                   // u8 class_len, u8 method_len, u8 argc, u32 input_len
	formList                   // u64 max, u32 epoch
	formNum                    // u64 snap id or cookie
	formVersion                // u64 unused, u64 version
	formWatch                  // u64 cookie, u64 version, u8 op, u32 gen, u32 timeout
	formHint                   // u64 object size, u64 write size, u32 flags
	formSame                   // u64 off, u64 len, u64 input_len
	formChecksum               // u64 off, u64 len, u32 chunk, u8 type
	formCopy                   // u64 snap id, u64 version, u8 flags, u32 advice
)

func (c OpCode) form() opForm {
	switch c {
	case OpStat, OpListWatchers, OpListSnaps, OpGetXattrs, OpDelete, OpCreate, OpOmapClear, OpUndirty:
		return formNone
	case OpRead, OpSparseRead, OpSyncRead, OpTruncate, OpTrimTrunc, OpZero:
		return formRead
	case OpWrite, OpWriteFull, OpAppend, OpCmpExt:
		return formWrite
	case OpOmapGetKeys, OpOmapGetVals, OpOmapGetHeader, OpOmapGetValsByKeys, OpOmapCmp,
		OpOmapSetVals, OpOmapSetHeader, OpOmapRmKeys, OpOmapRmKeyRange:
		return formPayload
	case OpGetXattr, OpSetXattr, OpRmXattr, OpCmpXattr:
		return formXattr
	case OpCall:
		return formCall
	case OpPGNLS, OpPGNLSFilter:
		return formList
	case OpRollback, OpNotify, OpNotifyAck:
		return formNum
	case OpAssertVer:
		return formVersion
	case OpWatch:
		return formWatch
	case OpSetAllocHint:
		return formHint
	case OpWriteSame:
		return formSame
	case OpChecksum:
		return formChecksum
	case OpCopyFrom, OpCopyFrom2:
		return formCopy
	}
	return formRaw
}

// payload is the part of the input that goes by reference.
func (op *Op) payload() Data {
	switch op.Code.form() {
	case formWrite, formSame:
		return op.Data
	}
	return Data{}
}

// opRecord appends op's record; input is the length of its input.
func (e *Encoder) opRecord(op *Op, input int) {
	code := op.Code
	if code == OpInvalid {
		code = OpCode(op.Num)
	}
	e.U16(uint16(code))
	e.U32(uint32(op.Flags))
	e.union(op, input)
	e.Count(input)
}

var zeroUnion [unionSize]byte

func (e *Encoder) union(op *Op, input int) {
	end := len(e.B) + unionSize
	switch op.Code.form() {
	case formRead:
		e.extent(op, op.Len)
	case formWrite:
		e.extent(op, uint64(input))
	case formPayload:
		e.U64(0)
		e.U64(uint64(input))
	case formXattr:
		e.Count(len(op.Name))
		e.Count(input - len(op.Name))
		e.U8(uint8(op.CmpOp))
		e.U8(uint8(op.CmpMode))
	case formCall:
		e.U8(uint8(len(op.Name)))
		e.U8(uint8(len(op.Name2)))
		e.U8(0)
		e.Count(len(op.Value))
	case formList:
		e.U64(op.Num)
		e.U32(op.Gen)
	case formNum:
		e.U64(op.Num)
	case formVersion:
		e.U64(0)
		e.U64(op.Num)
	case formWatch:
		e.U64(op.Num)
		e.U64(0)
		e.U8(uint8(op.Watch))
		e.U32(op.Gen)
		e.U32(uint32(op.Len))
	case formHint:
		e.U64(op.Off)
		e.U64(op.Len)
		e.U32(uint32(op.Num))
	case formSame:
		e.U64(op.Off)
		e.U64(op.Len)
		e.U64(uint64(input))
	case formChecksum:
		e.U64(op.Off)
		e.U64(op.Len)
		e.U32(uint32(op.Num))
		e.U8(first(op.Value))
	case formCopy:
		if s := op.Source; s != nil {
			e.U64(uint64(s.Snap))
			e.U64(s.Version)
			e.U8(s.Flags)
			e.U32(s.Advice)
		}
	case formRaw:
		if op.Raw != nil {
			e.Raw(op.Raw[:])
		}
	}
	e.Raw(zeroUnion[:end-len(e.B)])
}

func (e *Encoder) extent(op *Op, n uint64) {
	e.U64(op.Off)
	e.U64(n)
	e.U64(op.Num)
	e.U32(op.Gen)
}

func first(p []byte) byte {
	if len(p) == 0 {
		return 0
	}
	return p[0]
}

// opInput appends op's input but for its payload.
func (e *Encoder) opInput(op *Op) {
	switch op.Code {
	case OpGetXattr, OpRmXattr:
		e.B = append(e.B, op.Name...)
	case OpSetXattr, OpCmpXattr:
		e.B = append(e.B, op.Name...)
		if op.Code == OpCmpXattr && op.CmpMode == CmpU64 {
			e.U64(op.Num)
		} else {
			e.Raw(op.Value)
		}
	case OpCall:
		e.B = append(e.B, op.Name...)
		e.B = append(e.B, op.Name2...)
		e.Raw(op.Value)
	case OpOmapSetVals:
		e.kvs(op.KVs)
	case OpOmapRmKeys, OpOmapGetValsByKeys:
		e.Strs(op.Keys)
	case OpOmapRmKeyRange:
		e.Str(op.Name)
		e.Str(op.Name2)
	case OpOmapGetKeys, OpOmapGetVals:
		e.Str(op.Name)
		e.U64(op.Num)
		if op.Code == OpOmapGetVals {
			e.Str(op.Name2)
		}
	case OpOmapCmp:
		e.Count(len(op.OmapCmps))
		for i := range op.OmapCmps {
			c := &op.OmapCmps[i]
			e.Str(c.Key)
			e.Bytes(c.Value)
			e.I32(int32(c.Op))
		}
	case OpPGNLS:
		c := MinHObject
		if op.Cursor != nil {
			c = *op.Cursor
		}
		e.HObject(c)
	case OpPGNLSFilter:
		e.Str(op.Name)
		e.Str(op.Name2)
		e.Raw(op.Value)
	case OpChecksum:
		e.Raw(op.Value[min(1, len(op.Value)):])
	case OpCopyFrom, OpCopyFrom2:
		e.copySource(op)
	case OpOmapSetHeader, OpNotify, OpNotifyAck:
		e.Raw(op.Value)
	default:
		if op.Code.form() == formRaw {
			e.Raw(op.Value)
		}
	}
}

func (e *Encoder) copySource(op *Op) {
	s := op.Source
	if s == nil {
		s = &CopySource{}
	}
	e.Str(s.Object)
	e.Locator(s.Locator)
	if op.Code == OpCopyFrom2 {
		e.U32(s.TruncateSeq)
		e.U64(s.TruncateSize)
	}
}

func (e *Encoder) kvs(kvs []KV) {
	e.Count(len(kvs))
	for i := range kvs {
		e.Str(kvs[i].Key)
		e.Bytes(kvs[i].Value)
	}
}

// decodeOp reads one record and the input of n bytes that belongs to it, at
// off of data.
func decodeOp(op *Op, record []byte, data Data, off, n int) {
	op.Code = OpCode(binary.LittleEndian.Uint16(record))
	op.Flags = OpFlag(binary.LittleEndian.Uint32(record[2:]))
	union := (*[unionSize]byte)(record[6:])
	form := op.Code.form()
	if op.union(form, union, n) {
		switch {
		case form == formWrite || form == formSame:
			op.Data = sliceData(data, off, n)
			return
		case form == formNone || n == 0 && form == formRead:
			return
		}
		input := make([]byte, n)
		data.CopyTo(input, off)
		if op.input(form, union, input) {
			return
		}
	}
	raw := make([]byte, n)
	data.CopyTo(raw, off)
	*op = Op{Code: OpInvalid, Num: uint64(op.Code), Flags: op.Flags, Value: raw, Raw: clonePtr(union)}
}

func clonePtr[T any](p *T) *T {
	v := *p
	return &v
}

func sliceData(d Data, off, n int) Data {
	if n == 0 {
		return Data{}
	}
	return d.Slice(off, n)
}

// union reads what the union says, and whether it fits an input of n bytes.
func (op *Op) union(form opForm, u *[unionSize]byte, n int) bool {
	le := binary.LittleEndian
	a, b, c := le.Uint64(u[:]), le.Uint64(u[8:]), le.Uint64(u[16:])
	switch form {
	case formRead:
		op.Off, op.Len, op.Num, op.Gen = a, b, c, le.Uint32(u[24:])
	case formWrite:
		op.Off, op.Num, op.Gen = a, c, le.Uint32(u[24:])
		return b == uint64(n)
	case formXattr:
		op.CmpOp, op.CmpMode = CmpOp(u[8]), CmpMode(u[9])
	case formList:
		op.Num, op.Gen = a, uint32(b)
	case formNum:
		op.Num = a
	case formVersion:
		op.Num = b
	case formWatch:
		op.Num, op.Watch = a, WatchOp(u[16])
		op.Gen, op.Len = le.Uint32(u[17:]), uint64(le.Uint32(u[21:]))
	case formHint:
		op.Off, op.Len, op.Num = a, b, uint64(uint32(c))
	case formSame:
		op.Off, op.Len = a, b
		return c == uint64(n)
	case formChecksum:
		op.Off, op.Len, op.Num = a, b, uint64(uint32(c))
	case formCopy:
		op.Source = &CopySource{Snap: SnapID(a), Version: b, Flags: u[16], Advice: le.Uint32(u[17:])}
	case formRaw:
		op.Raw = clonePtr(u)
	}
	return true
}

// input reads the input p, which the operation may keep, and reports whether
// it is one. Bytes behind it don't matter.
func (op *Op) input(form opForm, u *[unionSize]byte, p []byte) bool {
	le := binary.LittleEndian
	d := Decoder{b: p, all: p}
	switch form {
	case formXattr:
		op.Name = string(d.Raw(length(le.Uint32(u[:]))))
		value := d.Raw(length(le.Uint32(u[4:])))
		if len(value) > 0 {
			op.Value = value
		}
		if op.Code == OpCmpXattr && op.CmpMode == CmpU64 {
			v := Decoder{b: op.Value, all: op.Value}
			op.Num, op.Value = v.U64(), nil
			return d.err == nil && v.err == nil
		}
	case formCall:
		op.Name = string(d.Raw(int(u[0])))
		op.Name2 = string(d.Raw(int(u[1])))
		op.Value = d.Raw(length(le.Uint32(u[3:])))
	case formList:
		if op.Code == OpPGNLSFilter {
			op.Name, op.Name2 = d.Str(), d.Str()
			op.Value = d.Raw(d.Len())
			break
		}
		c := d.HObject()
		op.Cursor = &c
	case formChecksum:
		op.Value = append([]byte{u[20]}, p...)
	case formCopy:
		op.Source.Object = d.Str()
		op.Source.Locator = d.Locator()
		if op.Code == OpCopyFrom2 {
			op.Source.TruncateSeq = d.U32()
			op.Source.TruncateSize = d.U64()
		}
	case formPayload:
		op.omapInput(&d, p)
	case formRaw:
		op.Value = p
	case formNum:
		if op.Code != OpRollback {
			op.Value = p
		}
	}
	return d.err == nil
}

// length turns a u32 into an int that is negative, and so refused, where it
// would overflow.
func length(n uint32) int { return int(int32(n)) }

func (op *Op) omapInput(d *Decoder, p []byte) {
	switch op.Code {
	case OpOmapSetHeader:
		op.Value = p
	case OpOmapSetVals:
		op.KVs = d.kvs()
		if !slices.IsSortedFunc(op.KVs, compareKV) {
			slices.SortStableFunc(op.KVs, compareKV)
		}
		op.KVs = lastOfEach(op.KVs, func(kv *KV) string { return kv.Key })
	case OpOmapRmKeys, OpOmapGetValsByKeys:
		op.Keys = d.Strs()
		slices.Sort(op.Keys)
		op.Keys = slices.Compact(op.Keys)
	case OpOmapRmKeyRange:
		op.Name, op.Name2 = d.Str(), d.Str()
	case OpOmapGetKeys, OpOmapGetVals:
		op.Name, op.Num = d.Str(), d.U64()
		if op.Code == OpOmapGetVals {
			op.Name2 = d.Str()
		}
	case OpOmapCmp:
		n := d.Count(12)
		op.OmapCmps = make([]OmapCmp, 0, n)
		for i := 0; i < n && d.err == nil; i++ {
			c := OmapCmp{Key: d.Str(), Value: d.Bytes()}
			// An operator beyond a byte is as unknown as 255 is.
			c.Op = CmpOp(min(d.U32(), 255))
			op.OmapCmps = append(op.OmapCmps, c)
		}
		slices.SortStableFunc(op.OmapCmps, func(a, b OmapCmp) int { return cmp.Compare(a.Key, b.Key) })
		op.OmapCmps = lastOfEach(op.OmapCmps, func(c *OmapCmp) string { return c.Key })
	}
}

func compareKV(a, b KV) int { return cmp.Compare(a.Key, b.Key) }

// lastOfEach keeps of neighbours with the same key the last, as inserting them
// into a map one after the other does.
func lastOfEach[T any](s []T, key func(*T) string) []T {
	out := s[:0]
	for i := range s {
		if i+1 == len(s) || key(&s[i]) != key(&s[i+1]) {
			out = append(out, s[i])
		}
	}
	return out
}

// kvs reads map<string, bytes> in the order it comes. The values are parts of
// the decoder's bytes.
func (d *Decoder) kvs() []KV {
	n := d.Count(8)
	if n == 0 {
		return nil
	}
	kvs := make([]KV, 0, n)
	for i := 0; i < n && d.err == nil; i++ {
		kvs = append(kvs, KV{Key: d.Str(), Value: d.Bytes()})
	}
	return kvs
}
