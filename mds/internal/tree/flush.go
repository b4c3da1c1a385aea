package tree

import (
	"cmp"
	"context"
	"slices"
	"sync"

	"github.com/spirula/spirula/mds/internal/inode"
	"github.com/spirula/spirula/rados"
	"github.com/spirula/spirula/rados/wire"
)

// The bounds of write-back.
const (
	batchItems  = 8192    // entries of one round
	vectorKeys  = 1000    // keys of one vector
	vectorBytes = 1 << 20 // bytes of one vector, about
	roundLoads  = 64      // loads for one round; then it is what is at hand
)

// item is one entry's value as it is being written.
type item struct {
	e          *entry
	val        any
	inline     []byte // to be written under class 'i'
	setInline  bool
	rmInline   bool
	base       int32 // what the entry's base was
	pos, first Pos

	size int32 // of the record written
	done bool
}

// objectWrite is what a round writes to one object.
type objectWrite struct {
	object string
	kind   spaceKind
	dir    inode.Ino
	frag   uint32
	info   *objectInfo
	items  []*item
}

// round is one batch of entries on their way to RADOS.
type round struct {
	items  []*item
	writes map[string]*objectWrite
	newest Pos
	dirs   map[inode.Ino]*dirTarget
}

// dirTarget is where a directory's entries go.
type dirTarget struct {
	in    *inode.Inode
	frags []inode.Frag
}

// Flush writes back all changes made at positions up to upTo (and what else
// changed the same entries since), then splits fragments that grew over their
// limit. One Flush runs at a time; others wait. On an error what wasn't
// written stays dirty. ErrDeposed is final.
func (t *Tree) Flush(ctx context.Context, upTo Pos) error {
	if err := t.acquire(ctx); err != nil {
		return err
	}
	defer t.release()
	if err := t.runTrims(ctx); err != nil {
		return err
	}
	for {
		r, err := t.take(ctx, upTo)
		if err != nil || r == nil {
			return err
		}
		err = t.writeRound(ctx, r)
		t.o.Mu.Lock()
		t.finish(r)
		t.evict()
		t.o.Mu.Unlock()
		if err != nil {
			return err
		}
		if err := t.grow(ctx, r); err != nil {
			return err
		}
	}
}

// take picks the next round; nil when nothing up to upTo is left. What it
// needs to know and isn't in memory it loads.
func (t *Tree) take(ctx context.Context, upTo Pos) (*round, error) {
	for loads := 0; ; loads++ {
		t.o.Mu.Lock()
		r, need, err := t.pick(upTo, loads >= roundLoads)
		t.o.Mu.Unlock()
		if err != nil {
			return nil, err
		}
		if need == nil {
			return r, nil
		}
		if err := t.Load(ctx, need); err != nil {
			return nil, err
		}
	}
}

// pick takes entries off the dirty list; or tells what must be loaded first,
// and takes none. With atHand it stops before the first entry that needs
// something, unless that is the very first: a cache too small for what a whole
// round needs must not load the same things for ever.
func (t *Tree) pick(upTo Pos, atHand bool) (r *round, need *Miss, err error) {
	r = &round{writes: make(map[string]*objectWrite), dirs: make(map[inode.Ino]*dirTarget)}
	var entries []*entry
	for e := t.dirtyHead; e != nil && e.first <= upTo && len(entries) < batchItems; {
		next := e.next
		if e.sp.id.kind == kindDir || e.sp.id.kind == kindLog {
			gone, m, err := t.target(r, e)
			switch {
			case err != nil:
				return nil, nil, err
			case m != nil && (!atHand || len(entries) == 0):
				return nil, m, nil
			case gone:
				t.Forget(e.sp.id.ino)
				return t.pick(upTo, atHand)
			}
			if m != nil {
				break
			}
		}
		entries = append(entries, e)
		e = next
	}
	if len(entries) == 0 {
		return nil, nil, nil
	}
	for _, e := range entries {
		t.takeOff(r, e)
	}
	for ino := range r.dirs {
		t.takeLog(r, ino)
	}
	return r, nil, nil
}

// target finds out where e, of a directory, is to be written.
func (t *Tree) target(r *round, e *entry) (gone bool, need *Miss, err error) {
	sp := e.sp
	d := r.dirs[sp.id.ino]
	if d == nil {
		in, err := t.o.Dir(sp.id.ino)
		if m, ok := AsMiss(err); ok {
			return false, m, nil
		}
		if err != nil {
			return false, nil, wire.Wrap("tree.flush: directory", hexKey(uint64(sp.id.ino)), err)
		}
		if in == nil {
			return true, nil, nil
		}
		frags, err := t.fragsOf(in)
		if m, ok := AsMiss(err); ok {
			return false, m, nil
		}
		if err != nil {
			return false, nil, err
		}
		d = &dirTarget{in: in, frags: frags}
		r.dirs[sp.id.ino] = d
	}
	if sp.id.kind == kindDir && d.in.Dir.BirthLog && (!sp.log || e.base < 0 || len(t.replaced[e]) > 0) {
		return false, t.logMiss(d.in, d.frags), nil
	}
	return false, nil, nil
}

// takeOff moves e from the dirty list into the round.
func (t *Tree) takeOff(r *round, e *entry) {
	sp := e.sp
	it := &item{e: e, val: e.val, base: e.base, pos: e.pos, first: e.first}
	w := t.writeFor(r, e)
	if sp.id.kind == kindDir {
		switch {
		case !hasInline(dentryOf(e)):
			it.rmInline = e.inlineBase != presentNo
		case e.inlineIs == inlineDirty:
			it.inline, it.setInline = e.inline, true
		}
	}
	e.flight = true
	t.unlist(e)
	if t.flightOldest == 0 || it.first < t.flightOldest {
		t.flightOldest = it.first
	}
	r.newest = max(r.newest, it.pos)
	r.items = append(r.items, it)
	w.items = append(w.items, it)
}

// writeFor gives the write to the object that e belongs to.
func (t *Tree) writeFor(r *round, e *entry) *objectWrite {
	id := e.sp.id
	object, frag := id.object, uint32(0)
	if id.kind == kindDir {
		frags := r.dirs[id.ino].frags
		frag = frags[fragAt(frags, e.key)].Num
		object = fragObject(id.ino, frag)
	}
	w := r.writes[object]
	if w == nil {
		w = &objectWrite{object: object, kind: id.kind, dir: id.ino, frag: frag, info: e.sp.info(frag)}
		r.writes[object] = w
	}
	return w
}

func (sp *space) info(frag uint32) *objectInfo {
	if sp.objects == nil {
		sp.objects = make(map[uint32]*objectInfo)
	}
	i := sp.objects[frag]
	if i == nil {
		i = &objectInfo{}
		sp.objects[frag] = i
	}
	return i
}

// writeRound waits until the round's events are durable and writes it: birth
// logs first, since a dentry that is gone can't be found there any more.
func (t *Tree) writeRound(ctx context.Context, r *round) error {
	if t.o.Durable != nil {
		if err := t.o.Durable(ctx, r.newest); err != nil {
			return wire.Wrap("tree.flush", "waiting for the journal", err)
		}
	}
	t.o.Mu.Lock()
	t.durable(r.newest)
	t.o.Mu.Unlock()
	var logs, rest []*objectWrite
	for _, w := range r.writes {
		slices.SortFunc(w.items, func(a, b *item) int { return cmp.Compare(a.e.key, b.e.key) })
		if w.kind == kindLog {
			logs = append(logs, w)
		} else {
			rest = append(rest, w)
		}
	}
	if err := t.writeAll(ctx, logs, r.newest); err != nil {
		return err
	}
	return t.writeAll(ctx, rest, r.newest)
}

func (t *Tree) writeAll(ctx context.Context, ws []*objectWrite, pos Pos) error {
	slices.SortFunc(ws, func(a, b *objectWrite) int { return cmp.Compare(a.object, b.object) })
	var wg sync.WaitGroup
	var mu sync.Mutex
	var failed error
	room := make(chan struct{}, t.o.Parallel)
	for _, w := range ws {
		room <- struct{}{}
		mu.Lock()
		stop := failed != nil
		mu.Unlock()
		if stop {
			break
		}
		wg.Go(func() {
			defer func() { <-room }()
			if err := t.writeObject(ctx, w, pos); err != nil {
				mu.Lock()
				if failed == nil || err == error(ErrDeposed) {
					failed = err
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	return failed
}

// count makes a fragment's counts known, from its header.
func (t *Tree) count(ctx context.Context, object string, info *objectInfo) error {
	if info.counted {
		return nil
	}
	t.m.Loads.Add(1)
	r, err := t.meta.Do(ctx, &rados.Op{Object: object, Ops: []wire.Op{{Code: wire.OpOmapGetHeader}}})
	switch {
	case wire.ErrnoOf(err) == wire.ENOENT:
		info.state = presentNo
	case err != nil:
		return wire.Wrap("tree.read", object, err)
	case len(r.Results) != 1:
		return wire.Errorf("tree.read", object, wire.EIO)
	default:
		info.state = presentYes
		if _, info.entries, info.bytes, err = decodeHeader(r.Results[0].Value); err != nil {
			// Counts only tell when to split; a split counts anew.
			t.log.Warn("a fragment's header can't be read; it is counted again", "object", object, "err", err)
			info.entries, info.bytes = int64(t.o.SplitEntries), int64(t.o.SplitBytes)
		}
	}
	info.counted = true
	return nil
}

// writeObject writes a round's part for one object, vector by vector.
func (t *Tree) writeObject(ctx context.Context, w *objectWrite, pos Pos) error {
	if w.kind == kindDir {
		if err := t.count(ctx, w.object, w.info); err != nil {
			return err
		}
	}
	for from := 0; from < len(w.items); {
		v := &vector{object: w.object}
		var inlines []wire.KV
		var inlineRms []string
		bytes, entries, sum, n := 0, w.info.entries, w.info.bytes, from
		for ; n < len(w.items) && n-from < vectorKeys && bytes < vectorBytes; n++ {
			it := w.items[n]
			rec := encodeValue(it.val)
			it.size = int32(len(rec))
			key := it.e.key
			if w.kind == kindDir {
				key = classDentry + key
			}
			switch {
			case it.val != nil:
				v.sets = append(v.sets, wire.KV{Key: key, Value: rec})
			case it.base != 0:
				v.rms = append(v.rms, key)
			}
			if it.setInline {
				b := inode.AppendInline(nil, it.inline)
				inlines = append(inlines, wire.KV{Key: classInline + it.e.key, Value: b})
				bytes, sum = bytes+len(b), sum+int64(len(b))
			}
			if it.rmInline {
				inlineRms = append(inlineRms, classInline+it.e.key)
			}
			if it.base <= 0 && it.val != nil {
				entries++
			} else if it.base > 0 && it.val == nil {
				entries--
			}
			sum += int64(it.size) - int64(max(it.base, 0))
			bytes += len(rec) + len(key)
		}
		v.sets, v.rms = append(v.sets, inlines...), append(v.rms, inlineRms...)
		if len(v.sets)+len(v.rms) > 0 {
			next := objectInfo{entries: entries, bytes: sum}
			if w.kind == kindDir {
				v.header = next.header(pos)
			}
			if err := t.apply(ctx, v, w.info); err != nil {
				return err
			}
			w.info.entries, w.info.bytes = max(entries, 0), max(sum, 0)
		}
		for _, it := range w.items[from:n] {
			it.done = true
		}
		from = n
	}
	return nil
}

func encodeValue(v any) []byte {
	switch v := v.(type) {
	case nil:
		return nil
	case *inode.Dentry:
		return inode.AppendDentry(make([]byte, 0, 320), v, false)
	case *inode.TableRow:
		return inode.AppendRow(make([]byte, 0, 64), v)
	case []byte:
		return v
	}
	panic("tree: a value of no known type")
}

// finish takes what was written as clean, and puts the rest back.
func (t *Tree) finish(r *round) {
	t.flightOldest = 0
	for i := len(r.items) - 1; i >= 0; i-- {
		it := r.items[i]
		e := it.e
		if e.dead {
			continue
		}
		if !it.done {
			t.putBack(it)
			continue
		}
		e.base = it.size
		switch {
		case it.setInline:
			e.inlineBase = presentYes
		case it.rmInline || it.val == nil:
			e.inlineBase = presentNo
		}
		e.flight = false
		if e.first != 0 {
			continue
		}
		t.dirtyBytes -= int64(e.size)
		e.sp.dirty--
		if e.inlineIs == inlineDirty {
			e.inlineIs = inlineClean
		}
		delete(t.replaced, e)
		if e.val == nil && e.sp.loading == 0 {
			t.drop(e)
		}
	}
}

// putBack returns an entry that could not be written to the dirty list.
func (t *Tree) putBack(it *item) {
	e := it.e
	if e.first != 0 {
		t.unlist(e)
	}
	e.first = it.first
	var at *entry
	for n := t.dirtyHead; n != nil && n.first < e.first; n = n.next {
		at = n
	}
	t.listAfter(at, e)
	e.flight = false
}
