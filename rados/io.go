package rados

import (
	"context"
	"encoding/binary"
	"io"
	"time"

	"github.com/spirula/spirula/rados/wire"
)

// write runs a vector of operations that change an object and waits until they
// are on stable storage.
func (x *IOCtx) write(ctx context.Context, what, object string, ops ...wire.Op) error {
	_, err := x.Do(ctx, &Op{Object: object, Ops: ops, Flags: wire.FlagWrite})
	return wire.Wrap("rados."+what, object, err)
}

// read runs one operation that gives something, and what it gave.
func (x *IOCtx) read(ctx context.Context, what, object string, op wire.Op) (*Reply, *wire.OpResult, error) {
	r, err := x.Do(ctx, &Op{Object: object, Ops: []wire.Op{op}})
	if err != nil {
		return nil, nil, wire.Wrap("rados."+what, object, err)
	}
	if len(r.Results) != 1 {
		r.Release()
		return nil, nil, wire.Errorf("rados."+what+": malformed answer", object, wire.EIO)
	}
	return r, &r.Results[0], nil
}

// Stat gives an object's size in bytes and when it was last written. ENOENT:
// there is none.
func (x *IOCtx) Stat(ctx context.Context, object string) (size uint64, mtime time.Time, err error) {
	_, r, err := x.read(ctx, "stat", object, wire.Op{Code: wire.OpStat})
	if err != nil {
		return 0, time.Time{}, err
	}
	return r.Size, r.MTime.Std(), nil
}

// Read reads len(p) bytes from off on into p, and gives how many there were:
// fewer than asked for only at the end of the object, with io.EOF. ENOENT:
// there is no such object.
func (x *IOCtx) Read(ctx context.Context, object string, p []byte, off uint64) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	reply, r, err := x.read(ctx, "read", object, wire.Op{Code: wire.OpRead, Off: off, Len: uint64(len(p))})
	if err != nil {
		return 0, err
	}
	defer reply.Release()
	n := r.Data.CopyTo(p, 0)
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// ReadAll gives a whole object. ENOENT: there is none.
func (x *IOCtx) ReadAll(ctx context.Context, object string) ([]byte, error) {
	reply, r, err := x.read(ctx, "read", object, wire.Op{Code: wire.OpRead})
	if err != nil {
		return nil, err
	}
	defer reply.Release()
	return r.Data.AppendTo(make([]byte, 0, r.Data.Len())), nil
}

// SparseRead reads like Read, but gives only what is written: runs of an object
// that hold bytes, and the bytes one after the other.
func (x *IOCtx) SparseRead(ctx context.Context, object string, off, n uint64) ([]wire.Extent, []byte, error) {
	reply, r, err := x.read(ctx, "sparseread", object, wire.Op{Code: wire.OpSparseRead, Off: off, Len: n})
	if err != nil {
		return nil, nil, err
	}
	defer reply.Release()
	return r.Extents, r.Data.AppendTo(make([]byte, 0, r.Data.Len())), nil
}

// Create makes an object, or, unless it is exclusive, leaves an existing one as
// it is. EEXIST: there is one, and exclusive was asked for.
func (x *IOCtx) Create(ctx context.Context, object string, exclusive bool) error {
	op := wire.Op{Code: wire.OpCreate}
	if exclusive {
		op.Flags = wire.OpExcl
	}
	return x.write(ctx, "create", object, op)
}

// Write writes p at off, making the object if need be; what lies between its
// end and off is zeros. EFBIG, EMSGSIZE: more than an object, a request may
// have. p is the caller's again when Write returns.
func (x *IOCtx) Write(ctx context.Context, object string, p []byte, off uint64) error {
	return x.writeData(ctx, "write", object, wire.Op{Code: wire.OpWrite, Off: off}, p)
}

// WriteFull makes p an object's whole data; its attributes and omap stay.
func (x *IOCtx) WriteFull(ctx context.Context, object string, p []byte) error {
	return x.writeData(ctx, "writefull", object, wire.Op{Code: wire.OpWriteFull}, p)
}

// Append writes p at the end of an object, making it if need be.
func (x *IOCtx) Append(ctx context.Context, object string, p []byte) error {
	return x.writeData(ctx, "append", object, wire.Op{Code: wire.OpAppend}, p)
}

// WriteSame writes p again and again from off on, n bytes in all. EINVAL: n is
// no multiple of len(p).
func (x *IOCtx) WriteSame(ctx context.Context, object string, p []byte, off, n uint64) error {
	return x.writeData(ctx, "writesame", object, wire.Op{Code: wire.OpWriteSame, Off: off, Len: n}, p)
}

// writeData runs one operation with a copy of p: a message that is given up
// may still be on its way when the caller has p back.
func (x *IOCtx) writeData(ctx context.Context, what, object string, op wire.Op, p []byte) error {
	op.Data = wire.CopyData(p)
	defer op.Data.Release()
	return x.write(ctx, what, object, op)
}

// Truncate cuts an object at size or extends it with zeros; nothing happens to
// one that is not there.
func (x *IOCtx) Truncate(ctx context.Context, object string, size uint64) error {
	return x.write(ctx, "truncate", object, wire.Op{Code: wire.OpTruncate, Off: size})
}

// Zero makes n bytes from off on read as zeros; it does not extend the object.
func (x *IOCtx) Zero(ctx context.Context, object string, off, n uint64) error {
	return x.write(ctx, "zero", object, wire.Op{Code: wire.OpZero, Off: off, Len: n})
}

// Remove deletes an object. ENOENT: there is none.
func (x *IOCtx) Remove(ctx context.Context, object string) error {
	return x.write(ctx, "remove", object, wire.Op{Code: wire.OpDelete})
}

// SetAllocHint tells how large an object and the writes to it will be, in
// bytes; it makes the object if need be.
func (x *IOCtx) SetAllocHint(ctx context.Context, object string, size, writeSize uint64) error {
	return x.write(ctx, "setallochint", object, wire.Op{Code: wire.OpSetAllocHint, Off: size, Len: writeSize})
}

// MismatchError is where CmpExt found a difference.
type MismatchError struct{ Off uint64 }

// Error implements error.
func (e *MismatchError) Error() string { return wire.ECANCELED.Error() }

// Unwrap gives ECANCELED.
func (e *MismatchError) Unwrap() error { return wire.ECANCELED }

// cmpExtBase is where the results of CMPEXT for a difference begin: -4095 is
// one in the first byte.
const cmpExtBase = 4095

// CmpExt compares p with what an object has at off; beyond its end are zeros.
// The error for a difference is a *MismatchError with the place of the first.
func (x *IOCtx) CmpExt(ctx context.Context, object string, p []byte, off uint64) error {
	data := wire.CopyData(p)
	defer data.Release()
	reply, err := x.Do(ctx, &Op{Object: object, Ops: []wire.Op{{Code: wire.OpCmpExt, Off: off, Data: data}}})
	if reply != nil && reply.Result <= -cmpExtBase {
		err = &MismatchError{Off: off + uint64(-cmpExtBase-int64(reply.Result))}
		return &wire.Error{Op: "rados.cmpext", Subject: object, Kind: wire.ECANCELED, Cause: err}
	}
	return wire.Wrap("rados.cmpext", object, err)
}

// ChecksumType is an algorithm of Checksum (Ceph's values).
type ChecksumType uint8

// The checksums.
const (
	XXHash32 ChecksumType = 0
	XXHash64 ChecksumType = 1
	CRC32C   ChecksumType = 2
)

// Checksum gives the checksums of chunks of an object: of n bytes from off on,
// 0 for all to its end, chunk bytes each, or in one if chunk is 0. They begin
// with seed. EINVAL: n is no multiple of chunk.
func (x *IOCtx) Checksum(ctx context.Context, object string, t ChecksumType, seed uint64, off, n uint64, chunk uint32) ([]uint64, error) {
	width := 4
	e := wire.Encoder{B: []byte{byte(t)}}
	if t == XXHash64 {
		width = 8
		e.U64(seed)
	} else {
		e.U32(uint32(seed))
	}
	_, r, err := x.read(ctx, "checksum", object, wire.Op{Code: wire.OpChecksum, Off: off, Len: n, Num: uint64(chunk), Value: e.B})
	if err != nil {
		return nil, err
	}
	d := wire.NewDecoder(r.Value)
	sums := make([]uint64, d.Count(width))
	for i := range sums {
		b := d.Raw(width)
		if d.Err() != nil {
			return nil, wire.Wrap("rados.checksum", object, d.Err())
		}
		if width == 8 {
			sums[i] = binary.LittleEndian.Uint64(b)
		} else {
			sums[i] = uint64(binary.LittleEndian.Uint32(b))
		}
	}
	return sums, wire.Wrap("rados.checksum", object, d.Err())
}

// Exec runs a method of an object class on an object, and gives what it
// returns. EOPNOTSUPP: there is no such class or method. Of a method that
// writes nothing is returned but errors.
func (x *IOCtx) Exec(ctx context.Context, object, class, method string, input []byte) ([]byte, error) {
	_, r, err := x.read(ctx, "exec", object, wire.Op{Code: wire.OpCall, Name: class, Name2: method, Value: input})
	if err != nil {
		return nil, err
	}
	return r.Value, nil
}

// CopyFrom makes object a copy of src, which may be in another pool of the
// cluster: data, attributes and omap. version is what the source must have, 0
// for any. ENOENT: there is no source.
func (x *IOCtx) CopyFrom(ctx context.Context, object string, from *IOCtx, src string, version uint64) error {
	snap := wire.NoSnap
	if from.snap != 0 {
		snap = from.snap
	}
	return x.write(ctx, "copyfrom", object, wire.Op{Code: wire.OpCopyFrom, Source: &wire.CopySource{Object: src, Snap: snap, Version: version,
		Locator: wire.ObjectLocator{Pool: from.pool, Key: from.key, Namespace: from.namespace, Hash: -1}}})
}
