package kv

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"hash/crc32"
	"math/rand/v2"
	"testing"
)

// frames builds a frame file; synced are the marks to write, by frame.
func frames(payloads []string, synced []int64) []byte {
	file := make([]byte, fileHeader)
	putFileHeader(file)
	for i, p := range payloads {
		at := int64(len(file))
		b := append(make([]byte, frameHeader), p...)
		putFrameHeader(b, at, synced[i])
		file = append(file, b...)
	}
	return file
}

func TestFrameGolden(t *testing.T) {
	want := "53504b564c4f4700010000003753479a" + "5346524d" + "03000000" +
		"1000000000000000" + "0000000000000000" + "be587b7d" + "616263"
	if got := hex.EncodeToString(frames([]string{"abc"}, []int64{0})); got != want {
		t.Fatalf("file is\n%s, want\n%s", got, want)
	}
}

// TestFrameEnds: a file cut anywhere, or with zeros behind, gives whole frames
// from the start.
func TestFrameEnds(t *testing.T) {
	file := frames([]string{"one", "two", "three"}, []int64{0, 16, 47})
	ends := map[int]string{16: "", 47: "one", 78: "onetwo", 111: "onetwothree"}
	want := ""
	for n := 0; n <= len(file); n++ {
		if s, ok := ends[n]; ok {
			want = s
		}
		for _, zeros := range []int{0, 1, 500} {
			got, err := decodeFrames(append(bytes.Clone(file[:n]), make([]byte, zeros)...))
			if err != nil || string(got) != want {
				t.Fatalf("cut at %d with %d zeros: %q, %v; want %q", n, zeros, got, err, want)
			}
		}
	}
}

// TestFrameDamage: any turned bit ends the stream there if nothing says that
// the place had been synced, and is rot otherwise.
func TestFrameDamage(t *testing.T) {
	payloads := []string{"one", "two", "three"}
	for _, c := range []struct {
		synced []int64
		rot    int // a turned bit before this place is rot
	}{
		{[]int64{0, 0, 0}, 0},
		{[]int64{0, 0, 47}, 47},
		{[]int64{0, 47, 78}, 78},
	} {
		file := frames(payloads, c.synced)
		for bit := range len(file) * 8 {
			at := bit / 8
			bad := bytes.Clone(file)
			bad[at] ^= 1 << (bit % 8)
			got, err := decodeFrames(bad)
			if at < c.rot && at < 78 {
				// The frame that knows must be a later one.
				knows := c.synced[2] > int64(at) || at < 47 && c.synced[1] > int64(at)
				if knows && !errors.Is(err, errRot) {
					t.Fatalf("bit %d of %v: %q, %v; want rot", bit, c.synced, got, err)
				}
				continue
			}
			if err != nil || !bytes.HasPrefix([]byte("onetwothree"), got) || len(got) == 11 {
				t.Fatalf("bit %d of %v: %q, %v", bit, c.synced, got, err)
			}
		}
	}
}

// TestFrameVersion: a later version isn't read as an empty file.
func TestFrameVersion(t *testing.T) {
	file := frames([]string{"one"}, []int64{0})
	file[8] = 2
	binary.LittleEndian.PutUint32(file[12:], crc32.Checksum(file[:12], castagnoli))
	if _, err := decodeFrames(file); !errors.Is(err, errVersion) {
		t.Fatalf("version 2: %v", err)
	}
}

func FuzzFrames(f *testing.F) {
	f.Add(frames([]string{"one", "two"}, []int64{0, 16}))
	f.Add(frames([]string{"one"}, []int64{0})[:30])
	f.Add([]byte{})
	rng := rand.New(rand.NewPCG(1, 1))
	big := frames([]string{"a", string(make([]byte, 300)), "c"}, []int64{0, 45, 0})
	big[rng.IntN(len(big))] ^= 4
	f.Add(big)
	f.Fuzz(func(t *testing.T, file []byte) {
		got, err := decodeFrames(file)
		if len(got) > len(file) {
			t.Fatalf("%d bytes out of %d", len(got), len(file))
		}
		if err == nil && len(file) > fileHeader {
			// What ends the stream stays an end when zeros follow.
			again, err := decodeFrames(append(bytes.Clone(file), make([]byte, 64)...))
			if err == nil && !bytes.HasPrefix(again, got) {
				t.Fatalf("%q, with zeros behind %q", got, again)
			}
		}
	})
}
