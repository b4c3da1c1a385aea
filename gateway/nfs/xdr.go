package nfs

import (
	"encoding/binary"
)

// reader takes XDR (RFC 4506) apart: big-endian units of four bytes. After
// its first failure everything it gives is zero and ok is false. What it
// gives refers to the record.
type reader struct {
	b   []byte
	bad bool
}

func (r *reader) ok() bool { return !r.bad }

func (r *reader) u32() uint32 {
	if r.bad || len(r.b) < 4 {
		r.bad = true
		return 0
	}
	v := binary.BigEndian.Uint32(r.b)
	r.b = r.b[4:]
	return v
}

func (r *reader) u64() uint64 { return uint64(r.u32())<<32 | uint64(r.u32()) }

// boolean is strict: anything but 0 and 1 is bad.
func (r *reader) boolean() bool {
	v := r.u32()
	if v > 1 {
		r.bad = true
	}
	return v == 1
}

// fixed gives n bytes and skips the padding.
func (r *reader) fixed(n int) []byte {
	padded := (n + 3) &^ 3
	if r.bad || n < 0 || padded < n || padded > len(r.b) {
		r.bad = true
		return nil
	}
	v := r.b[:n:n]
	r.b = r.b[padded:]
	return v
}

// opaque gives variable-length bytes of at most max.
func (r *reader) opaque(max uint32) []byte {
	n := r.u32()
	if n > max {
		r.bad = true
		return nil
	}
	return r.fixed(int(n))
}

// maxString bounds names and paths as they come; longer names are the file
// system's to refuse, with NAMETOOLONG.
const maxString = 8192

func (r *reader) str() string { return string(r.opaque(maxString)) }

func appendU32(b []byte, v uint32) []byte { return binary.BigEndian.AppendUint32(b, v) }
func appendU64(b []byte, v uint64) []byte { return binary.BigEndian.AppendUint64(b, v) }

func appendBool(b []byte, v bool) []byte {
	if v {
		return appendU32(b, 1)
	}
	return appendU32(b, 0)
}

func appendOpaque[T string | []byte](b []byte, v T) []byte {
	b = appendU32(b, uint32(len(v)))
	b = append(b, v...)
	return appendPadding(b, len(v))
}

func appendPadding(b []byte, n int) []byte {
	for ; n&3 != 0; n++ {
		b = append(b, 0)
	}
	return b
}
