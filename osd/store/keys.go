package store

import (
	"encoding/binary"
	"math/bits"

	"github.com/spirula/spirula/rados/wire"
)

// The first byte of a key in the index says what the row is.
const (
	keyMark    = 'S' // marks of the store's own
	keyObject  = 'O' // shard, hobject, generation: an onode
	keyShard   = 'E' // nid, logical shard: an extent shard
	keyXattr   = 'a' // nid, name: an xattr too large for the onode
	keyOmap    = 'M' // omap id, 'h': the header; omap id, 'k', key: an entry
	keyRefs    = 'X' // family, logical shard: reference counts of shared units
	keyRegion  = 'A' // region: its allocation bitmap
	keyCounts  = 'B' // group of 1024 regions: their units in use
	keyGarbage = 'G' // omap id: an omap to be deleted in the background
	keyMeta    = 'P' // PG, key: a row of the PG's own
)

// The store's own marks.
const (
	markFormat  = "Sformat"  // format version of the index, u32
	markIDs     = "Snid"     // ids below it may be in use, u64
	markPartial = "Spartial" // how far into a record the index has come
)

// appendEsc appends a string so that the order of the encodings is the order
// of the strings and no encoding is a prefix of another: 00 becomes 00 FF,
// the end is 00 01.
func appendEsc(k []byte, s string) []byte {
	for i := 0; i < len(s); i++ {
		if s[i] == 0 {
			k = append(k, 0, 0xFF)
			continue
		}
		k = append(k, s[i])
	}
	return append(k, 0, 1)
}

// cutEsc is the inverse: it gives the string and what follows it.
func cutEsc(k []byte) (s string, rest []byte, ok bool) {
	var out []byte
	for i := 0; i < len(k); i++ {
		if k[i] != 0 {
			continue
		}
		if i+1 == len(k) {
			return "", nil, false
		}
		out = append(out, k[:i]...)
		switch k[i+1] {
		case 1:
			return string(out), k[i+2:], true
		case 0xFF:
			out = append(out, 0)
		default:
			return "", nil, false
		}
		k = k[i+2:]
		i = -1
	}
	return "", nil, false
}

// flip makes the unsigned order of the result the signed order of v.
func flip(v int64) uint64 { return uint64(v) ^ 1<<63 }

// appendHObject appends shard and hobject without a generation: the place in
// the listing order.
func appendHObject(k []byte, shard int8, h wire.HObject) []byte {
	k = append(k, keyObject, byte(int(shard)+128))
	if h.Max {
		// No object has the largest pool, so this is behind all.
		return append(k, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF)
	}
	k = binary.BigEndian.AppendUint64(k, flip(h.Pool))
	k = binary.BigEndian.AppendUint32(k, bits.Reverse32(h.Hash))
	k = appendEsc(k, h.Namespace)
	k = appendEsc(k, h.SortKey())
	k = appendEsc(k, h.Name)
	return binary.BigEndian.AppendUint64(k, uint64(h.Snap))
}

// appendObjectKey appends the key of o's onode.
func appendObjectKey(k []byte, o ObjectID) []byte {
	return binary.BigEndian.AppendUint64(appendHObject(k, o.Shard, o.HObject), o.Gen)
}

// parseObjectKey is the inverse of appendObjectKey.
func parseObjectKey(k []byte) (o ObjectID, ok bool) {
	if len(k) < 2+8+4 || k[0] != keyObject {
		return o, false
	}
	o.Shard = int8(int(k[1]) - 128)
	o.Pool = int64(binary.BigEndian.Uint64(k[2:]) ^ 1<<63)
	o.Hash = bits.Reverse32(binary.BigEndian.Uint32(k[10:]))
	k = k[14:]
	if o.Namespace, k, ok = cutEsc(k); !ok {
		return o, false
	}
	if o.Key, k, ok = cutEsc(k); !ok {
		return o, false
	}
	if o.Name, k, ok = cutEsc(k); !ok || len(k) != 16 {
		return o, false
	}
	if o.Key == o.Name {
		o.Key = ""
	}
	o.Snap = wire.SnapID(binary.BigEndian.Uint64(k))
	o.Gen = binary.BigEndian.Uint64(k[8:])
	return o, true
}

// appendKey8 appends a kind and a number.
func appendKey8(k []byte, kind byte, id uint64) []byte {
	return binary.BigEndian.AppendUint64(append(k, kind), id)
}

// appendKey12 appends a kind, a number and a logical shard.
func appendKey12(k []byte, kind byte, id uint64, shard uint32) []byte {
	return binary.BigEndian.AppendUint32(appendKey8(k, kind, id), shard)
}

func parseKey12(k []byte, kind byte) (id uint64, shard uint32, ok bool) {
	if len(k) != 13 || k[0] != kind {
		return 0, 0, false
	}
	return binary.BigEndian.Uint64(k[1:]), binary.BigEndian.Uint32(k[9:]), true
}

func appendXattrKey(k []byte, nid uint64, name string) []byte {
	return append(appendKey8(k, keyXattr, nid), name...)
}

// omapPrefixLen is the length of what comes before an omap key.
const omapPrefixLen = 10

func appendOmapKey(k []byte, id uint64, key string) []byte {
	return append(append(appendKey8(k, keyOmap, id), 'k'), key...)
}

// appendOmapEnd appends what is behind all entries of an omap.
func appendOmapEnd(k []byte, id uint64) []byte { return append(appendKey8(k, keyOmap, id), 'k'+1) }

func appendOmapHeader(k []byte, id uint64) []byte { return append(appendKey8(k, keyOmap, id), 'h') }

func appendRegionKey(k []byte, kind byte, n uint32) []byte {
	return binary.BigEndian.AppendUint32(append(k, kind), n)
}

// metaPrefixLen is the length of what comes before a PG row's own key.
const metaPrefixLen = 14

func appendMetaPrefix(k []byte, pg wire.SPGID) []byte {
	k = binary.BigEndian.AppendUint64(append(k, keyMeta), flip(pg.Pool))
	k = binary.BigEndian.AppendUint32(k, pg.Seed)
	return append(k, byte(int(pg.Shard)+128))
}

func appendMetaKey(k []byte, pg wire.SPGID, key string) []byte {
	return append(appendMetaPrefix(k, pg), key...)
}

// appendMetaEnd appends what is behind all rows of the PG.
func appendMetaEnd(k []byte, pg wire.SPGID) []byte {
	k = appendMetaPrefix(k, pg)
	for i := len(k) - 1; ; i-- {
		if k[i]++; k[i] != 0 {
			return k
		}
	}
}

func parseMetaKey(k []byte) (pg wire.SPGID, key string, ok bool) {
	if len(k) < metaPrefixLen || k[0] != keyMeta {
		return pg, "", false
	}
	pg.Pool = int64(binary.BigEndian.Uint64(k[1:]) ^ 1<<63)
	pg.Seed = binary.BigEndian.Uint32(k[9:])
	pg.Shard = int8(int(k[13]) - 128)
	return pg, string(k[metaPrefixLen:]), true
}
