package mon

import (
	"bytes"
	"slices"
	"sync"

	"github.com/spirula/spirula/rados/wire"
	"github.com/tidwall/btree"
)

// KV is what a mon keeps its state in. Its methods are called by one
// goroutine.
type KV interface {
	// Get gives the value of key, nil when there is none. The value is the
	// caller's.
	Get(key []byte) ([]byte, error)
	// Range calls fn in ascending order for the keys in [lo, hi), a nil hi
	// meaning all from lo on. Keys and values are valid during the call. An
	// error of fn ends it and is returned.
	Range(lo, hi []byte, fn func(key, value []byte) error) error
	// Apply makes all changes of b, in their order, or none; they are on
	// stable storage when it returns.
	Apply(b *Batch) error
}

// Change is one change of a Batch: Value replaces what Key has, or Key goes.
type Change struct {
	Key, Value []byte
	Delete     bool
}

// Batch is a list of changes.
type Batch struct{ Changes []Change }

// Put adds a change. The slices must not be written to afterwards.
func (b *Batch) Put(key, value []byte) {
	b.Changes = append(b.Changes, Change{Key: key, Value: value})
}

// Delete adds the removal of a key, which need not be there.
func (b *Batch) Delete(key []byte) {
	b.Changes = append(b.Changes, Change{Key: key, Delete: true})
}

// MemKV is a KV in memory, for tests and for clusters that need not outlive
// their process.
type MemKV struct {
	mu     sync.Mutex
	m      btree.Map[string, []byte]
	syncs  int
	budget int
}

var _ KV = (*MemKV)(nil)

// NewMemKV makes an empty one.
func NewMemKV() *MemKV { return &MemKV{budget: -1} }

// CrashAfter makes every Apply after the next n fail with EIO and change
// nothing: what is kept then is what a crash at that moment leaves.
func (k *MemKV) CrashAfter(n int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.budget = n
}

// Syncs is the number of batches applied.
func (k *MemKV) Syncs() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.syncs
}

// Clone copies the content; the copy does not crash.
func (k *MemKV) Clone() *MemKV {
	k.mu.Lock()
	defer k.mu.Unlock()
	c := NewMemKV()
	c.m = *k.m.Copy()
	return c
}

// Get implements KV.
func (k *MemKV) Get(key []byte) ([]byte, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	v, ok := k.m.Get(string(key))
	if !ok {
		return nil, nil
	}
	return append([]byte{}, v...), nil
}

// Range implements KV.
func (k *MemKV) Range(lo, hi []byte, fn func(key, value []byte) error) error {
	k.mu.Lock()
	snap := k.m.Copy()
	k.mu.Unlock()
	var err error
	snap.Ascend(string(lo), func(key string, v []byte) bool {
		if hi != nil && key >= string(hi) {
			return false
		}
		err = fn([]byte(key), slices.Clone(v))
		return err == nil
	})
	return err
}

// Apply implements KV.
func (k *MemKV) Apply(b *Batch) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.budget == 0 {
		return wire.Errorf("memkv.apply", "", wire.EIO)
	}
	if k.budget > 0 {
		k.budget--
	}
	k.syncs++
	for _, c := range b.Changes {
		if c.Delete {
			k.m.Delete(string(c.Key))
		} else {
			k.m.Set(string(c.Key), bytes.Clone(c.Value))
		}
	}
	return nil
}

// prefixEnd is the first key after all that begin with p.
func prefixEnd(p []byte) []byte {
	end := bytes.Clone(p)
	for i := len(end) - 1; i >= 0; i-- {
		end[i]++
		if end[i] != 0 {
			return end[:i+1]
		}
	}
	return nil
}
