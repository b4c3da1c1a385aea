package nfs

import (
	"encoding/binary"

	"github.com/spirula/spirula/mds"
	"github.com/spirula/spirula/rados/wire"
)

// handleSize is the length of our file handles, in bytes.
const handleSize = 32

// handleVersion is the first byte of a handle.
const handleVersion = 1

// appendHandle writes a handle as opaque: version, 3 zero bytes, file system
// id, inode, generation, snapshot, 0 meaning the live tree.
func (g *Gateway) appendHandle(b []byte, h mds.Handle) []byte {
	b = appendU32(b, handleSize)
	b = append(b, handleVersion, 0, 0, 0)
	b = appendU64(b, g.o.FSID)
	b = appendU64(b, uint64(h.Ino))
	b = appendU32(b, h.Gen)
	return appendU64(b, uint64(h.Snap))
}

// handle reads a file handle.
func (g *Gateway) handle(r *reader) (mds.Handle, error) {
	b := r.opaque(64)
	if !r.ok() {
		return mds.Handle{}, nil
	}
	if len(b) != handleSize || b[0] != handleVersion || b[1]|b[2]|b[3] != 0 || binary.BigEndian.Uint64(b[4:]) != g.o.FSID {
		return mds.Handle{}, errHandle
	}
	return mds.Handle{
		Ino:  mds.Ino(binary.BigEndian.Uint64(b[12:])),
		Gen:  binary.BigEndian.Uint32(b[20:]),
		Snap: wire.SnapID(binary.BigEndian.Uint64(b[24:])),
	}, nil
}

// appendTime writes nfstime3, which ends in 2106: later times stay there.
func appendTime(b []byte, t wire.Time) []byte {
	s, ns := int64(t)/1e9, int64(t)%1e9
	if ns < 0 {
		s, ns = s-1, ns+1e9
	}
	s = min(max(s, 0), 1<<32-1)
	return appendU32(appendU32(b, uint32(s)), uint32(ns))
}

// attrSize is the length of an encoded fattr3.
const attrSize = 84

// appendAttr writes fattr3.
func (g *Gateway) appendAttr(b []byte, a *mds.Attr) []byte {
	b = appendU32(b, uint32(a.Type))
	b = appendU32(b, a.Mode)
	b = appendU32(b, a.Nlink)
	b = appendU32(b, a.UID)
	b = appendU32(b, a.GID)
	b = appendU64(b, a.Size)
	b = appendU64(b, a.Used)
	b = appendU32(b, a.Major)
	b = appendU32(b, a.Minor)
	b = appendU64(b, g.o.FSID)
	b = appendU64(b, uint64(a.Ino))
	b = appendTime(b, a.Atime)
	b = appendTime(b, a.Mtime)
	return appendTime(b, a.Ctime)
}

// appendPostAttr writes post_op_attr; a zero Ino means that there is none.
func (g *Gateway) appendPostAttr(b []byte, a *mds.Attr) []byte {
	if a.Ino == 0 {
		return appendBool(b, false)
	}
	return g.appendAttr(appendBool(b, true), a)
}

// appendWCC writes wcc_data.
func (g *Gateway) appendWCC(b []byte, w *mds.WCC) []byte {
	if w.Before.Ino == 0 {
		b = appendBool(b, false)
	} else {
		b = appendU64(appendBool(b, true), w.Before.Size)
		b = appendTime(b, w.Before.Mtime)
		b = appendTime(b, w.Before.Ctime)
	}
	return g.appendPostAttr(b, &w.After)
}

func (r *reader) time() wire.Time {
	s := r.u32()
	return wire.Time(int64(s)*1e9 + int64(min(r.u32(), 999999999)))
}

func (r *reader) optU32() *uint32 {
	if !r.boolean() {
		return nil
	}
	v := r.u32()
	return &v
}

// setAttr reads sattr3.
func (r *reader) setAttr() (s mds.SetAttr) {
	s.Mode, s.UID, s.GID = r.optU32(), r.optU32(), r.optU32()
	if r.boolean() {
		v := r.u64()
		s.Size = &v
	}
	if s.AtimeHow = mds.TimeSet(r.u32()); s.AtimeHow == mds.TimeClient {
		s.Atime = r.time()
	}
	if s.MtimeHow = mds.TimeSet(r.u32()); s.MtimeHow == mds.TimeClient {
		s.Mtime = r.time()
	}
	if s.AtimeHow > mds.TimeClient || s.MtimeHow > mds.TimeClient {
		r.bad = true
	}
	return s
}
