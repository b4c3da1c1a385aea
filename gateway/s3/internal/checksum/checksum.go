// Package checksum computes S3's object checksums and puts those of parts
// together.
//
// A composite checksum is the checksum of the parts' raw checksums, one after
// the other. A full-object checksum is that of all bytes; for the CRCs it
// follows from the parts' values and lengths alone (Combine), because a CRC
// is linear: appending n bytes multiplies it by x^(8n) in the field of
// polynomials modulo the CRC's own.
package checksum

import (
	"crypto/sha1"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"hash"
	"hash/crc32"

	"github.com/minio/crc64nvme"

	"github.com/spirula/spirula/mds"
)

// Algorithm is the kind of a checksum.
type Algorithm = mds.ChecksumAlgorithm

// All lists the algorithms with a value, in the order in which they are
// looked for.
var All = [...]Algorithm{mds.ChecksumCRC32, mds.ChecksumCRC32C, mds.ChecksumCRC64NVME, mds.ChecksumSHA1, mds.ChecksumSHA256}

var names = [...]struct{ name, header, element string }{
	mds.ChecksumNone:      {},
	mds.ChecksumCRC32:     {"CRC32", "X-Amz-Checksum-Crc32", "ChecksumCRC32"},
	mds.ChecksumCRC32C:    {"CRC32C", "X-Amz-Checksum-Crc32c", "ChecksumCRC32C"},
	mds.ChecksumSHA1:      {"SHA1", "X-Amz-Checksum-Sha1", "ChecksumSHA1"},
	mds.ChecksumSHA256:    {"SHA256", "X-Amz-Checksum-Sha256", "ChecksumSHA256"},
	mds.ChecksumCRC64NVME: {"CRC64NVME", "X-Amz-Checksum-Crc64nvme", "ChecksumCRC64NVME"},
}

// Name is the algorithm's name in headers and XML; empty for none.
func Name(a Algorithm) string {
	if int(a) >= len(names) {
		return ""
	}
	return names[a].name
}

// Header is the header that carries a's value, in net/http's spelling.
func Header(a Algorithm) string { return names[a].header }

// Element is the XML element that carries a's value.
func Element(a Algorithm) string { return names[a].element }

// Parse finds an algorithm by its name, in any case.
func Parse(name string) (Algorithm, bool) {
	for _, a := range All {
		if equalFold(names[a].name, name) {
			return a, true
		}
	}
	return mds.ChecksumNone, false
}

func equalFold(upper, s string) bool {
	if len(upper) != len(s) {
		return false
	}
	for i := 0; i < len(s); i++ {
		c := s[i]
		if 'a' <= c && c <= 'z' {
			c -= 'a' - 'A'
		}
		if c != upper[i] {
			return false
		}
	}
	return true
}

// Size is the length of a's raw value in bytes.
func Size(a Algorithm) int {
	switch a {
	case mds.ChecksumCRC32, mds.ChecksumCRC32C:
		return 4
	case mds.ChecksumCRC64NVME:
		return 8
	case mds.ChecksumSHA1:
		return sha1.Size
	case mds.ChecksumSHA256:
		return sha256.Size
	}
	return 0
}

// IsCRC reports whether a can be combined into full-object values.
func IsCRC(a Algorithm) bool {
	return a == mds.ChecksumCRC32 || a == mds.ChecksumCRC32C || a == mds.ChecksumCRC64NVME
}

// Decode reads a base64 value and checks its length.
func Decode(a Algorithm, text string) ([]byte, bool) {
	if len(text) > 64 {
		return nil, false
	}
	raw, err := base64.StdEncoding.DecodeString(text)
	return raw, err == nil && len(raw) == Size(a)
}

// Encode gives a raw value in base64.
func Encode(raw []byte) string { return base64.StdEncoding.EncodeToString(raw) }

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Hash computes one checksum as bytes come. The zero Hash computes nothing.
type Hash struct {
	alg   Algorithm
	crc32 uint32
	crc64 uint64
	h     hash.Hash
}

// New starts a checksum.
func New(a Algorithm) Hash {
	h := Hash{alg: a}
	switch a {
	case mds.ChecksumSHA1:
		h.h = sha1.New()
	case mds.ChecksumSHA256:
		h.h = sha256.New()
	}
	return h
}

// Algorithm tells what is computed; ChecksumNone for the zero Hash.
func (h *Hash) Algorithm() Algorithm { return h.alg }

// Write takes more bytes; it never fails.
func (h *Hash) Write(p []byte) (int, error) {
	switch h.alg {
	case mds.ChecksumCRC32:
		h.crc32 = crc32.Update(h.crc32, crc32.IEEETable, p)
	case mds.ChecksumCRC32C:
		h.crc32 = crc32.Update(h.crc32, castagnoli, p)
	case mds.ChecksumCRC64NVME:
		h.crc64 = crc64nvme.Update(h.crc64, p)
	case mds.ChecksumSHA1, mds.ChecksumSHA256:
		h.h.Write(p)
	}
	return len(p), nil
}

// Sum gives the raw value of the bytes so far; nil for the zero Hash.
func (h *Hash) Sum() []byte {
	switch h.alg {
	case mds.ChecksumCRC32, mds.ChecksumCRC32C:
		return binary.BigEndian.AppendUint32(make([]byte, 0, 4), h.crc32)
	case mds.ChecksumCRC64NVME:
		return binary.BigEndian.AppendUint64(make([]byte, 0, 8), h.crc64)
	case mds.ChecksumSHA1, mds.ChecksumSHA256:
		return h.h.Sum(nil)
	}
	return nil
}

// The polynomials with their bits reversed and without the leading term: the
// highest bit is the coefficient of x^0.
const (
	polyCRC32     = 0xEDB88320
	polyCRC32C    = 0x82F63B78
	polyCRC64NVME = 0x9A6C9329AC4BC9B5
)

// Combine gives the CRC of two pieces of data from the CRC of each, the
// second being n bytes long. a must be one of the CRCs, the values raw and of
// its size.
func Combine(a Algorithm, first, second []byte, n uint64) []byte {
	if a == mds.ChecksumCRC64NVME {
		x, y := binary.BigEndian.Uint64(first), binary.BigEndian.Uint64(second)
		return binary.BigEndian.AppendUint64(nil, shift(x, n, polyCRC64NVME, 64)^y)
	}
	poly := uint64(polyCRC32)
	if a == mds.ChecksumCRC32C {
		poly = polyCRC32C
	}
	x, y := binary.BigEndian.Uint32(first), binary.BigEndian.Uint32(second)
	return binary.BigEndian.AppendUint32(nil, uint32(shift(uint64(x), n, poly, 32))^y)
}

// shift is crc times x^(8n) modulo poly, by repeated squaring of x^8. Any
// start and end value of the CRC cancel out, as both halves have them.
func shift(crc, n, poly uint64, width int) uint64 {
	power := uint64(1) << (width - 1 - 8) // x^8
	for ; n > 0; n >>= 1 {
		if n&1 != 0 {
			crc = mul(crc, power, poly, width)
		}
		power = mul(power, power, poly, width)
	}
	return crc
}

// mul multiplies two polynomials of reversed bits modulo poly.
func mul(a, b, poly uint64, width int) uint64 {
	var p uint64
	for bit := uint64(1) << (width - 1); bit != 0 && a != 0; bit >>= 1 {
		if a&bit != 0 {
			p ^= b
			a ^= bit
		}
		if b&1 != 0 {
			b = b>>1 ^ poly
		} else {
			b >>= 1
		}
	}
	return p
}

// Composite is the checksum of the parts' raw values.
func Composite(a Algorithm, parts [][]byte) []byte {
	h := New(a)
	for _, p := range parts {
		h.Write(p)
	}
	return h.Sum()
}
