package checksum

import (
	"bytes"
	"encoding/hex"
	"math/rand"
	"testing"

	"github.com/spirula/spirula/mds"
)

func sum(a Algorithm, p []byte) []byte {
	h := New(a)
	h.Write(p)
	return h.Sum()
}

// The catalogue's check values: the checksum of "123456789".
func TestCheckValues(t *testing.T) {
	for a, want := range map[Algorithm]string{
		mds.ChecksumCRC32:     "cbf43926",
		mds.ChecksumCRC32C:    "e3069283",
		mds.ChecksumCRC64NVME: "ae8b14860a799888",
		mds.ChecksumSHA1:      "f7c3bc1d808e04732adf679965ccc34ca7ae3441",
		mds.ChecksumSHA256:    "15e2b0d3c33891ebb0f1ef609ec419420c20e320ce94c65fbc8c3312448eb225",
	} {
		if got := hex.EncodeToString(sum(a, []byte("123456789"))); got != want {
			t.Errorf("%s: %s, want %s", Name(a), got, want)
		}
	}
}

func TestCombineIsTheCRCOfTheWhole(t *testing.T) {
	seed := rand.Int63()
	rng := rand.New(rand.NewSource(seed))
	sizes := []int{0, 1, 2, 3, 7, 8, 255, 256, 4096, 100_003}
	for range 100 {
		x := make([]byte, sizes[rng.Intn(len(sizes))])
		y := make([]byte, sizes[rng.Intn(len(sizes))])
		rng.Read(x)
		rng.Read(y)
		for _, a := range All {
			if !IsCRC(a) {
				continue
			}
			want := sum(a, append(append([]byte{}, x...), y...))
			if got := Combine(a, sum(a, x), sum(a, y), uint64(len(y))); !bytes.Equal(got, want) {
				t.Fatalf("seed %d: %s of %d+%d bytes: %x, want %x", seed, Name(a), len(x), len(y), got, want)
			}
		}
	}
}

func TestNames(t *testing.T) {
	for _, a := range All {
		got, ok := Parse(Name(a))
		if !ok || got != a {
			t.Errorf("Parse(%q) = %v, %v", Name(a), got, ok)
		}
		v := sum(a, []byte("x"))
		if len(v) != Size(a) {
			t.Errorf("%s: size %d, Size says %d", Name(a), len(v), Size(a))
		}
		if raw, ok := Decode(a, Encode(v)); !ok || !bytes.Equal(raw, v) {
			t.Errorf("%s: Decode(Encode) = %x, %v", Name(a), raw, ok)
		}
		if _, ok := Decode(a, Encode(v[:len(v)-1])); ok {
			t.Errorf("%s: a short value was accepted", Name(a))
		}
	}
	for _, bad := range []string{"", "MD5", "CRC3", "CRC32CC"} {
		if _, ok := Parse(bad); ok {
			t.Errorf("Parse(%q) was accepted", bad)
		}
	}
	if _, ok := Parse("crc64nvme"); !ok {
		t.Error("lower case was refused")
	}
}
