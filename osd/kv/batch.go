package kv

import (
	"encoding/binary"
	"strconv"

	"github.com/syndtr/goleveldb/leveldb"

	"github.com/spirula/spirula/rados/wire"
)

// MaxBatch is the largest batch that Apply takes, in bytes of Size. Batches
// are better kept under 2 MiB: a batch is one entry of the journal and has to
// fit in memory beside the others.
const MaxBatch = 32 << 20

// batchEntry is what each change takes beside key and value: goleveldb's tag
// and sequence number, and lengths.
const batchEntry = 16

// Batch is a list of changes that Apply does all or not at all. The zero Batch
// is empty. Not for several goroutines at once.
type Batch struct {
	b     leveldb.Batch
	size  int
	empty bool // an empty key was given, which Apply refuses
}

// Put sets a key. Key and value are copied. Keys are 1 byte or longer.
func (b *Batch) Put(key, value []byte) {
	b.b.Put(key, value)
	b.size += len(key) + len(value) + batchEntry
	b.empty = b.empty || len(key) == 0
}

// Delete removes a key; no error if it isn't there. The key is copied.
func (b *Batch) Delete(key []byte) {
	b.b.Delete(key)
	b.size += len(key) + batchEntry
	b.empty = b.empty || len(key) == 0
}

// Len is the number of changes.
func (b *Batch) Len() int { return b.b.Len() }

// Size is about how many bytes the batch takes in memory and journal.
func (b *Batch) Size() int { return b.size }

// Reset empties the batch and keeps its memory.
func (b *Batch) Reset() {
	b.b.Reset()
	b.size, b.empty = 0, false
}

// Encode gives the batch as bytes, for a log. They are the batch's own and
// valid until it is changed.
func (b *Batch) Encode() []byte { return b.b.Dump() }

// Decode replaces the batch by what Encode gave. It keeps p. EIO means that p
// isn't what Encode gave; the batch is then empty.
func (b *Batch) Decode(p []byte) error {
	b.Reset()
	size, empty, ok := measure(p)
	if !ok {
		return wire.Errorf("kv.batch", "decode", wire.EIO)
	}
	if err := b.b.Load(p); err != nil {
		b.b = leveldb.Batch{}
		return wire.Errorf("kv.batch", "decode", wire.EIO)
	}
	b.size, b.empty = size, empty
	return nil
}

// The tags of an encoded change; they are goleveldb's.
const (
	tagDelete = 0
	tagPut    = 1
)

// measure checks an encoded batch and gives what Put and Delete would have
// counted. goleveldb's own check lets lengths through that overflow.
func measure(p []byte) (size int, empty, ok bool) {
	for len(p) > 0 {
		tag := p[0]
		key, rest, good := cutString(p[1:])
		if !good || tag > tagPut {
			return 0, false, false
		}
		size += key + batchEntry
		empty = empty || key == 0
		if tag == tagPut {
			var value int
			if value, rest, good = cutString(rest); !good {
				return 0, false, false
			}
			size += value
		}
		p = rest
	}
	return size, empty, true
}

// cutString cuts a string with its length before it off p.
func cutString(p []byte) (n int, rest []byte, ok bool) {
	u, k := binary.Uvarint(p)
	if k <= 0 || u > uint64(len(p)-k) {
		return 0, nil, false
	}
	return int(u), p[k+int(u):], true
}

// Replay calls put and del for each change in order, with the batch's own
// memory.
func (b *Batch) Replay(put func(key, value []byte), del func(key []byte)) {
	_ = b.b.Replay(replayer{put, del}) // it has no error of its own
}

type replayer struct {
	put func(key, value []byte)
	del func(key []byte)
}

func (r replayer) Put(key, value []byte) { r.put(key, value) }
func (r replayer) Delete(key []byte)     { r.del(key) }

func utoa(n uint64) string { return strconv.FormatUint(n, 10) }
