package tree

import (
	"context"
	"log/slog"
	"sync/atomic"

	"github.com/spirula/spirula/mds/internal/inode"
	"github.com/spirula/spirula/rados"
	"github.com/spirula/spirula/rados/wire"
)

// The defaults of Options.
const (
	defaultCacheBytes   = 256 << 20
	defaultSplitEntries = 20000
	defaultSplitBytes   = 8 << 20
	defaultBirthLog     = 32768
	defaultParallel     = 16
)

// Metrics counts what a Tree did since it was made.
type Metrics struct {
	Misses     atomic.Int64 // questions that memory could not answer
	Loads      atomic.Int64 // read vectors sent
	Writes     atomic.Int64 // write vectors acknowledged
	KeysWrit   atomic.Int64 // keys set or removed by them
	Evicted    atomic.Int64 // entries dropped from memory
	Splits     atomic.Int64 // fragments split
	BirthLogs  atomic.Int64 // birth logs built
	StaleLoads atomic.Int64 // reads thrown away since fragments changed meanwhile
}

// Tree is the cache. See the package comment for who calls what, when.
type Tree struct {
	meta rados.Doer
	o    Options
	log  *slog.Logger
	m    Metrics

	// write serialises what writes: Flush, AbortSplit, purges. It holds
	// one token; who has it does I/O, so it is not a mutex. Taken before Mu.
	write chan struct{}

	// Under Mu.
	spaces       map[spaceID]*space
	hand         *space // where the sweep goes on
	dirtyHead    *entry
	dirtyTail    *entry
	flightOldest Pos // oldest first among what is being written; 0: nothing is
	bytes        int64
	dirtyBytes   int64
	replaying    bool
	deposed      bool
	splits       uint64 // splits ended: loads that overlap one are void
	trims        []trim
	forgotten    []forgotten              // ascending by until
	newest       Pos                      // of all changes
	inFlight     map[string]chan struct{} // loads under way
	// replaced has the birth numbers that changed entries had before, where
	// no birth log is known to be kept.
	replaced map[*entry][]uint64
	logs     map[inode.Ino]map[*space]struct{} // birth log segments in memory
	pivot    entry                             // scratch
	run      [sweepRun]*entry                  // scratch
}

// New makes a tree over the metadata pool meta, with nothing in memory.
func New(meta rados.Doer, o Options) *Tree {
	if o.Mu == nil || o.Dir == nil {
		panic("tree: Options without Mu or Dir")
	}
	setDefault(&o.CacheBytes, defaultCacheBytes)
	setDefault(&o.DirtyBytes, o.CacheBytes/4)
	setDefault(&o.SplitEntries, defaultSplitEntries)
	setDefault(&o.SplitBytes, defaultSplitBytes)
	setDefault(&o.BirthLogEntries, defaultBirthLog)
	setDefault(&o.Parallel, defaultParallel)
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	t := &Tree{meta: meta, o: o, log: o.Log, write: make(chan struct{}, 1),
		spaces: make(map[spaceID]*space), inFlight: make(map[string]chan struct{}),
		replaced: make(map[*entry][]uint64), logs: make(map[inode.Ino]map[*space]struct{})}
	t.write <- struct{}{}
	return t
}

func setDefault[T int | int64](v *T, d T) {
	if *v == 0 {
		*v = d
	}
}

// Metrics gives the counters.
func (t *Tree) Metrics() *Metrics { return &t.m }

// acquire takes the token to write.
func (t *Tree) acquire(ctx context.Context) error {
	select {
	case <-t.write:
	case <-ctx.Done():
		return wire.Wrap("tree.flush", "", ctx.Err())
	}
	t.o.Mu.Lock()
	deposed := t.deposed
	t.o.Mu.Unlock()
	if deposed {
		t.release()
		return ErrDeposed
	}
	return nil
}

func (t *Tree) release() { t.write <- struct{}{} }

// SetReplaying tells that Puts come from the journal's replay: nothing may be
// assumed of what RADOS holds under their keys.
func (t *Tree) SetReplaying(on bool) { t.replaying = on }

// Born tells that dir was made by the event being applied: it is known to be
// empty, so nothing of it is ever read. Call it before the first Put into it,
// in replay as well.
func (t *Tree) Born(dir inode.Ino) { t.born(t.dirSpace(dir)) }

// MapBorn is Born of a plain omap.
func (t *Tree) MapBorn(object string) { t.born(t.space(spaceID{kind: kindMap, object: object})) }

func (t *Tree) born(sp *space) {
	if sp.tab.Len() == 0 {
		sp.headGap = false
	}
	sp.touched = true
	if !t.replaying && sp.objects == nil {
		sp.objects = map[uint32]*objectInfo{0: {state: presentNo, counted: true}}
	}
}

// Forget drops all of dir from memory, changes not written included: the
// directory was removed, empty. Its objects are left for PurgeDir.
func (t *Tree) Forget(dir inode.Ino) {
	if sp := t.spaces[spaceID{kind: kindDir, ino: dir}]; sp != nil {
		t.removeSpace(sp)
	}
	for sp := range t.logs[dir] {
		t.removeSpace(sp)
	}
	t.MapForget(tableObject(dir))
	for i := len(t.trims) - 1; i >= 0; i-- {
		if t.trims[i].dir == dir {
			t.trims = append(t.trims[:i], t.trims[i+1:]...)
		}
	}
}

// MapForget is Forget of a plain omap.
func (t *Tree) MapForget(object string) {
	if sp := t.spaces[spaceID{kind: kindMap, object: object}]; sp != nil {
		t.removeSpace(sp)
	}
}

// put sets key's value. The entry keeps its inline bytes; the caller decides
// on them.
func (t *Tree) put(pos Pos, sp *space, key string, val any) *entry {
	e := t.find(sp, key)
	if e == nil {
		gap := t.gapAt(sp, key)
		e = t.insert(sp, key, val, gap)
		if !gap && !t.replaying {
			e.base, e.inlineBase = 0, presentNo
		}
	}
	e.val, e.ref = val, true
	sp.touched = true
	t.markDirty(e, pos)
	t.resize(e)
	return e
}

// Row gives the inode table's row of number n, and the position of its last
// change. A nil row with a nil error: there is none.
func (t *Tree) Row(n inode.Ino) (*inode.TableRow, Pos, error) {
	id := spaceID{kind: kindRows, object: rowObject(n)}
	e, known := t.lookup(t.space(id), rowKey(n))
	if !known {
		return nil, 0, t.miss(want{id: id, how: wantKeys, keys: []string{rowKey(n)}})
	}
	if e == nil || e.val == nil {
		return nil, posOf(e), nil
	}
	return e.val.(*inode.TableRow), e.pos, nil
}

func posOf(e *entry) Pos {
	if e == nil {
		return 0
	}
	return e.pos
}

// PutRow sets the row of number n; nil deletes it.
func (t *Tree) PutRow(pos Pos, n inode.Ino, row *inode.TableRow) {
	var val any
	if row != nil {
		val = row
	}
	t.put(pos, t.space(spaceID{kind: kindRows, object: rowObject(n)}), rowKey(n), val)
}

// MapGet gives the value under key in the plain omap object; nil: none.
// Plain omaps are not fragmented; keep them under some 100000 keys.
func (t *Tree) MapGet(object, key string) ([]byte, error) {
	id := spaceID{kind: kindMap, object: object}
	e, known := t.lookup(t.space(id), key)
	if !known {
		return nil, t.miss(want{id: id, how: wantKeys, keys: []string{key}})
	}
	if e == nil || e.val == nil {
		return nil, nil
	}
	return e.val.([]byte), nil
}

// MapPut sets the value under key, which is not empty, in a plain omap; nil
// deletes it.
func (t *Tree) MapPut(pos Pos, object, key string, value []byte) {
	t.mapPut(pos, t.space(spaceID{kind: kindMap, object: object}), key, value)
}

func (t *Tree) mapPut(pos Pos, sp *space, key string, value []byte) {
	var val any
	if value != nil {
		val = value
	}
	sp.frags = nil
	t.put(pos, sp, key, val)
}

// MapNext gives the first key > from, or >= from if inclusive, with its value
// (nil at the end), as Next does.
func (t *Tree) MapNext(object, from string, inclusive bool) (key string, value []byte, err error) {
	id := spaceID{kind: kindMap, object: object}
	load, done := t.scan(t.space(id), from, inclusive, func(e *entry) bool {
		key, value = e.key, e.val.([]byte)
		return false
	})
	if !done {
		return "", nil, t.miss(want{id: id, how: wantRange, from: load})
	}
	return key, value, nil
}

// miss makes the error for something that isn't in memory.
func (t *Tree) miss(w want) error {
	t.m.Misses.Add(1)
	w.splits = t.splits
	return &Miss{wants: []want{w}}
}
