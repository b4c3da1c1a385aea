package store

import (
	"bytes"
	"encoding/hex"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"

	"github.com/spirula/spirula/rados/wire"
)

// randomObject makes identifiers that share prefixes and have awkward bytes.
func randomObject(rng *rand.Rand) ObjectID {
	word := func() string {
		b := make([]byte, rng.IntN(4))
		for i := range b {
			b[i] = []byte{0, 1, 0xFE, 0xFF, 'a'}[rng.IntN(5)]
		}
		return string(b)
	}
	o := ObjectID{Shard: int8(rng.IntN(3) - 1), Gen: []uint64{0, 7, NoGen}[rng.IntN(3)]}
	o.Pool = int64(rng.IntN(5) - 2)
	o.Hash = []uint32{0, 1, 0x80000000, 0xFFFFFFFF}[rng.IntN(4)]
	o.Namespace, o.Key, o.Name = word(), word(), word()
	if o.Key == o.Name {
		o.Key = ""
	}
	o.Snap = []wire.SnapID{0, 5, wire.NoSnap, wire.SnapDir}[rng.IntN(4)]
	return o
}

// TestObjectKeys compares the order of keys with that of hobjects, and takes
// each apart again.
func TestObjectKeys(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	for range 20000 {
		a, b := randomObject(rng), randomObject(rng)
		ka, kb := appendObjectKey(nil, a), appendObjectKey(nil, b)
		if back, ok := parseObjectKey(ka); !ok || back != a {
			t.Fatalf("%+v comes back as %+v", a, back)
		}
		want := a.HObject.Compare(b.HObject)
		if a.Shard != b.Shard {
			want = int(a.Shard) - int(b.Shard)
		} else if want == 0 && a.Gen != b.Gen {
			want = 1
			if a.Gen < b.Gen {
				want = -1
			}
		}
		if got := bytes.Compare(ka, kb); (got < 0) != (want < 0) || (got > 0) != (want > 0) {
			t.Fatalf("%+v and %+v: keys %d, objects %d", a, b, got, want)
		}
	}
	max := appendHObject(nil, 0, wire.MaxHObject)
	o := ObjectID{Gen: NoGen}
	o.Pool = 1<<63 - 1
	if bytes.Compare(appendObjectKey(nil, o), max) >= 0 {
		t.Error("an object is behind MaxHObject")
	}
	if bytes.Compare(appendHObject(nil, 0, wire.MinHObject), appendObjectKey(nil, ObjectID{})) > 0 {
		t.Error("an object is before MinHObject")
	}
}

func TestMetaKeys(t *testing.T) {
	for _, pg := range []wire.SPGID{{}, {PGID: wire.PGID{Pool: -3, Seed: 0xFFFFFFFF}, Shard: -1}, {PGID: wire.PGID{Pool: 7, Seed: 0xFFFFFFFF}, Shard: 127}} {
		k := appendMetaKey(nil, pg, "row")
		if back, key, ok := parseMetaKey(k); !ok || back != pg || key != "row" {
			t.Errorf("%v comes back as %v %q", pg, back, key)
		}
		if end := appendMetaEnd(nil, pg); bytes.Compare(appendMetaKey(nil, pg, "\xff\xff\xff"), end) >= 0 {
			t.Errorf("%v: rows behind the end %x", pg, end)
		}
	}
}

// sample structures, as they are on the disk for ever.
func sampleShard() *shard {
	s := &shard{}
	for i := range 3 {
		s.cell[i], s.crc[i] = uint64(100+i), uint32(i+1)
	}
	s.cell[10], s.crc[10] = 7|cellShared, 0xAABBCCDD
	s.cell[11], s.crc[11] = 8|cellShared, 0
	s.cell[63], s.crc[63] = 1<<40, 9
	return s
}

func sampleOnode() *onode {
	return &onode{nid: 5, size: 1 << 20, omap: 6, family: 300, shards: []*shard{{}, nil, {}},
		xattrs: []wire.KV{{Key: "_", Value: []byte("oi")}, {Key: "ss", Value: make([]byte, 600)}}}
}

// TestGolden holds the formats still.
func TestGolden(t *testing.T) {
	r := &region{}
	eachWord(5, 200, func(w int, m uint64) { r.committed[w] |= m })
	h := groupHeader{pos: 8192, tail: 4096, seq: 77, count: 2, length: 100, bodyCRC: 0x12345678}
	head := make([]byte, groupHead)
	h.encode(head, [16]byte{1, 2, 3})
	var rec []byte
	rec = appendPut(rec, []byte("key"), []byte("value"))
	rec = appendDelete(rec, []byte("key"))
	rec = appendRange(rec, []byte("a"), []byte("b"))
	for _, op := range []recordOp{recDropOmap, recImage, recObjects} {
		rec = appendNumbers(rec, op, 300)
	}
	for _, op := range []recordOp{recCopyOmap, recAlloc, recFree} {
		rec = appendNumbers(rec, op, 300, 4)
	}
	rec = append(rec, byte(recCheckpoint))
	sb := superblock{fsid: wire.FSID{1}, uuid: [16]byte{2}, osd: 3, walSize: 1 << 20, formatted: 5 << 16, clean: true, gen: 4}
	for _, g := range []struct {
		name string
		got  []byte
		want string
	}{
		{"object key", appendObjectKey(nil, ObjectID{HObject: wire.HObject{Pool: 2, Hash: 0x10, Name: "n\x00", Snap: 4}, Shard: -1, Gen: NoGen}),
			"4f7f80000000000000020800000000016e00ff00016e00ff00010000000000000004ffffffffffffffff"},
		{"shard", appendShard(nil, sampleShard()), goldenShard},
		{"onode", appendOnode(nil, sampleOnode()), goldenOnode},
		{"inline onode", appendOnode(nil, &onode{nid: 1, size: 3, inline: []byte("abc")}), goldenInline},
		{"counts of owners", appendRefs(nil, []unitRefs{{5, 2}, {6, 2}, {7, 3}, {100, 2}}), goldenRefs},
		{"region", appendRegion(nil, r, 12), goldenRegion},
		{"counts", appendCounts(nil, []uint32{0, 32768}), goldenCounts},
		{"group header", head, goldenGroup},
		{"record", rec, goldenRecord},
		{"superblock", sb.encode()[:superLen], goldenSuper},
	} {
		if got := hex.EncodeToString(g.got); got != g.want {
			t.Errorf("%s is\n%s, want\n%s", g.name, got, g.want)
		}
	}
}

// TestRoundTrips encodes and decodes random structures.
func TestRoundTrips(t *testing.T) {
	rng := rand.New(rand.NewPCG(2, 2))
	for range 500 {
		s := &shard{}
		for i := 0; i < shardUnits; i++ {
			switch rng.IntN(3) {
			case 0:
				s.cell[i] = 1 + rng.Uint64N(1<<40)
			case 1:
				if i > 0 && s.cell[i-1] != 0 {
					s.cell[i] = s.cell[i-1] + 1
				}
			}
			if s.cell[i] != 0 {
				s.crc[i] = rng.Uint32()
				if rng.IntN(8) == 0 {
					s.cell[i] |= cellShared
				}
			}
		}
		if back, ok := decodeShard(appendShard(nil, s)); !ok || *back != *s {
			t.Fatalf("shard %s comes back as %v", s.text(), back)
		}
		r := &region{seq: rng.Uint64()}
		dense := rng.IntN(2) == 0
		for range rng.IntN(2000) {
			n := uint64(1)
			if !dense {
				n = 1 + rng.Uint64N(300)
			}
			i := rng.Uint64N(regionUnits - n)
			eachWord(i, n, func(w int, m uint64) { r.committed[w] |= m })
		}
		if dense && rng.IntN(2) == 0 {
			for i := range r.committed {
				r.committed[i] = rng.Uint64()
			}
		}
		b := appendRegion(nil, r, r.seq)
		if back, ok := decodeRegion(b); !ok || *back != *r || len(b) > regionUnits/8+20 {
			t.Fatalf("region with %d units comes back wrong, %d bytes", r.committed.used(), len(b))
		}
		var refs []unitRefs
		for u := uint64(rng.IntN(5)); len(refs) < rng.IntN(60); u += 1 + uint64(rng.IntN(3)) {
			refs = append(refs, unitRefs{u, 2 + uint32(rng.IntN(2))})
		}
		if back, ok := decodeRefs(appendRefs(nil, refs)); !ok || !slices.Equal(back, refs) {
			t.Fatalf("%v come back as %v", refs, back)
		}
	}
	n := sampleOnode()
	back, shards, large, ok := decodeOnode(appendOnode(nil, n))
	if !ok || !large || !slices.Equal(shards, []uint32{0, 2}) || back.size != n.size || len(back.xattrs) != 1 ||
		!reflect.DeepEqual(back.xattrs[0], n.xattrs[0]) {
		t.Errorf("onode comes back as %+v %v", back, shards)
	}
}

// fuzz runs a decoder over damaged forms of good values: it may refuse, but
// nothing else.
func fuzz(f *testing.F, decode func([]byte) bool, good ...[]byte) {
	for _, b := range good {
		if !decode(b) {
			f.Fatalf("good value %x refused", b)
		}
		f.Add(b)
		for i := 0; i < len(b); i += 1 + len(b)/20 {
			bad := bytes.Clone(b)
			bad[i] ^= 0x41
			f.Add(bad)
			f.Add(b[:i])
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		decode(b)
		// Behind a good checksum, too: a fuzzer doesn't guess those.
		sum := wire.CRC32C(b)
		decode(append(bytes.Clone(b), byte(sum), byte(sum>>8), byte(sum>>16), byte(sum>>24)))
	})
}

func FuzzOnode(f *testing.F) {
	fuzz(f, func(b []byte) bool {
		n, shards, _, ok := decodeOnode(b)
		if ok && n.text(shards, false) == "" {
			f.Error("no text")
		}
		return ok
	}, appendOnode(nil, sampleOnode()), appendOnode(nil, &onode{nid: 1, size: 3, inline: []byte("abc")}))
}

func FuzzShard(f *testing.F) {
	fuzz(f, func(b []byte) bool {
		s, ok := decodeShard(b)
		if ok {
			again, ok := decodeShard(appendShard(nil, s))
			if !ok || *again != *s {
				f.Errorf("%x is not the same again", b)
			}
		}
		return ok
	}, appendShard(nil, sampleShard()))
}

func FuzzRefs(f *testing.F) {
	fuzz(f, func(b []byte) bool { _, ok := decodeRefs(b); return ok }, appendRefs(nil, []unitRefs{{5, 2}, {9, 3}}))
}

func FuzzRegion(f *testing.F) {
	r := &region{}
	r.committed[3] = 0xF0F
	fuzz(f, func(b []byte) bool { _, ok := decodeRegion(b); return ok }, appendRegion(nil, r, 3))
}

func FuzzCounts(f *testing.F) {
	fuzz(f, func(b []byte) bool { _, ok := decodeCounts(b); return ok }, appendCounts(nil, []uint32{1, 2}))
}

func FuzzSuperblock(f *testing.F) {
	sb := superblock{uuid: [16]byte{2}, walSize: 1 << 20}
	fuzz(f, func(b []byte) bool { _, err := decodeSuperblock(b); return err == nil }, sb.encode())
}

func FuzzRecord(f *testing.F) {
	t := &txn{stream: appendPut(nil, []byte("k"), []byte("v")), images: []*image{{buf: wire.NewBuf(unitSize)}}}
	t.stream = appendNumbers(t.stream, recImage, 7)
	b := make([]byte, t.recordSize())
	t.encode(b, 0)
	fuzz(f, func(b []byte) bool {
		stream, _, _, ok := cutRecord(b)
		for ok && len(stream) > 0 {
			_, stream, ok = nextChange(stream)
		}
		return ok
	}, b)
}

func FuzzGroup(f *testing.F) {
	b := make([]byte, groupHead)
	(&groupHeader{pos: 4096, seq: 1, count: 1}).encode(b, [16]byte{1})
	fuzz(f, func(b []byte) bool { return new(groupHeader).decode(b, [16]byte{1}) }, b)
}

func FuzzKeys(f *testing.F) {
	fuzz(f, func(b []byte) bool {
		o, ok := parseObjectKey(b)
		if ok && o.Key != "" {
			if back, ok := parseObjectKey(appendObjectKey(nil, o)); !ok || back != o {
				f.Errorf("%x is not the same again", b)
			}
		}
		parseMetaKey(b)
		_ = keyText(b)
		_ = valueText(b, b)
		return ok
	}, appendObjectKey(nil, ObjectID{HObject: wire.HObject{Pool: 2, Name: "n\x00", Key: "k"}}))
}
