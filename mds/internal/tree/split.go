package tree

import (
	"context"
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/spirula/spirula/mds/internal/inode"
	"github.com/spirula/spirula/rados/wire"
)

// maxInodeFrags is how many fragments are listed in a directory's inode.
const maxInodeFrags = 32

// trim is what a split that has ended leaves to do: remove from fragment frag
// what is at or above token at.
type trim struct {
	dir  inode.Ino
	frag uint32
	at   string
	pos  Pos
	left *objectInfo // what the fragment holds then, where it is known
}

// The fragment table: key 'f' and the first token, value the number.
const tableClass = "f"

func tableValue(num uint32) []byte {
	return inode.AppendInline(nil, binary.LittleEndian.AppendUint32(nil, num))
}

// fragTable gives a directory's list of fragments from t.INO.
func (t *Tree) fragTable(ino inode.Ino) ([]inode.Frag, error) {
	id := spaceID{kind: kindMap, object: tableObject(ino)}
	sp := t.space(id)
	if sp.frags != nil {
		return sp.frags, nil
	}
	var frags []inode.Frag
	var bad error
	load, done := t.scan(sp, tableClass, true, func(e *entry) bool {
		p, err := inode.DecodeInline(e.val.([]byte))
		if err == nil && len(p) < 4 {
			err = wire.Errorf("decode fragment number", "cut short", wire.EIO)
		}
		if err != nil {
			bad = wire.Wrap("tree.read", fmt.Sprintf("%s key %q", id.object, e.key), err)
			return false
		}
		frags = append(frags, inode.Frag{Num: binary.LittleEndian.Uint32(p), First: e.key[len(tableClass):]})
		return true
	})
	switch {
	case bad != nil:
		return nil, bad
	case !done:
		return nil, t.miss(want{id: id, how: wantAll, from: load})
	case len(frags) == 0 || frags[0].First != "":
		return nil, wire.Errorf("tree.read", id.object+": the fragment table has no beginning", wire.EIO)
	}
	sp.frags = frags
	return frags, nil
}

// withFrag gives frags with one more, in order.
func withFrag(frags []inode.Frag, f inode.Frag) []inode.Frag {
	i := fragAt(frags, f.First)
	if i >= 0 && frags[i].First == f.First {
		return frags
	}
	return slices.Insert(slices.Clone(frags), i+1, f)
}

// ApplySplit makes the split's end known: see Split. It gives the directory's
// DirPart after it, made from dir's.
func (t *Tree) ApplySplit(pos Pos, dir *inode.DirPart, s Split) *inode.DirPart {
	t.splits++
	out := *dir
	out.NextFrag = max(out.NextFrag, s.To+1)
	if s.InTable {
		object := tableObject(s.Dir)
		if s.Table != nil {
			t.MapBorn(object)
			for _, f := range s.Table {
				t.MapPut(pos, object, tableClass+f.First, tableValue(f.Num))
			}
		} else {
			t.MapPut(pos, object, tableClass+s.At, tableValue(s.To))
		}
		out.Frags, out.FragTable = nil, true
	} else {
		frags := dir.Frags
		if len(frags) == 0 {
			frags = wholeDir
		}
		out.Frags = withFrag(frags, inode.Frag{Num: s.To, First: s.At})
	}
	t.trims = append(t.trims, trim{dir: s.Dir, frag: s.From, at: s.At, pos: pos})
	return &out
}

// runTrims does what ended splits left to do.
func (t *Tree) runTrims(ctx context.Context) error {
	for {
		t.o.Mu.Lock()
		if len(t.trims) == 0 {
			t.o.Mu.Unlock()
			return nil
		}
		tr := t.trims[0]
		info := t.dirSpace(tr.dir).info(tr.frag)
		t.o.Mu.Unlock()
		if t.o.Durable != nil {
			if err := t.o.Durable(ctx, tr.pos); err != nil {
				return wire.Wrap("tree.split", "waiting for the journal", err)
			}
		}
		object := fragObject(tr.dir, tr.frag)
		if err := t.count(ctx, object, info); err != nil {
			return err
		}
		after := *info
		if tr.left != nil {
			after.entries, after.bytes = tr.left.entries, tr.left.bytes
		}
		v := &vector{object: object, header: after.header(tr.pos), ranges: [][2]string{
			{classDentry + tr.at, "e"}, {classInline + tr.at, "j"}}}
		if err := t.apply(ctx, v, info); err != nil {
			return err
		}
		info.entries, info.bytes = after.entries, after.bytes
		t.o.Mu.Lock()
		t.trims = slices.DeleteFunc(t.trims, func(x trim) bool {
			return x.dir == tr.dir && x.frag == tr.frag && x.at == tr.at
		})
		t.o.Mu.Unlock()
	}
}

// dirNow gives a directory's inode and fragments as they are; nil if it is
// gone.
func (t *Tree) dirNow(ctx context.Context, ino inode.Ino) (dir *inode.Inode, frags []inode.Frag, err error) {
	for {
		t.o.Mu.Lock()
		dir, err = t.o.Dir(ino)
		if err == nil && dir != nil {
			frags, err = t.fragsOf(dir)
		}
		t.o.Mu.Unlock()
		m, miss := AsMiss(err)
		if !miss {
			return dir, frags, err
		}
		if err := t.Load(ctx, m); err != nil {
			return nil, nil, err
		}
	}
}

// grow splits what a round made too large, and builds birth logs.
func (t *Tree) grow(ctx context.Context, r *round) error {
	var over []*objectWrite
	dirs := make(map[inode.Ino]bool)
	for _, w := range r.writes {
		if w.kind != kindDir {
			continue
		}
		if t.overLimit(w.info) && t.o.SplitBegin != nil {
			over = append(over, w)
		}
		dirs[w.dir] = true
	}
	slices.SortFunc(over, func(a, b *objectWrite) int { return cmpString(a.object, b.object) })
	for _, w := range over {
		if err := t.splitFragment(ctx, w.dir, w.frag, w.info); err != nil {
			return err
		}
	}
	for ino := range dirs {
		if d := r.dirs[ino]; t.o.BirthLogged == nil || d.in.Dir.BirthLog || d.in.Dir.Entries <= uint64(t.o.BirthLogEntries) {
			continue
		}
		if err := t.buildLog(ctx, ino); err != nil {
			return err
		}
	}
	return nil
}

func (t *Tree) overLimit(i *objectInfo) bool {
	return i.entries > int64(t.o.SplitEntries) || i.bytes > int64(t.o.SplitBytes)
}

// splitFragment splits a fragment until no piece of it is over the limit.
func (t *Tree) splitFragment(ctx context.Context, ino inode.Ino, num uint32, info *objectInfo) error {
	for t.overLimit(info) {
		dir, frags, err := t.dirNow(ctx, ino)
		if err != nil || dir == nil {
			return err
		}
		i := slices.IndexFunc(frags, func(f inode.Frag) bool { return f.Num == num })
		if i < 0 {
			return nil
		}
		at, err := t.findMiddle(ctx, ino, frags, i, info)
		if err != nil || at == "" {
			return err
		}
		s := Split{Dir: ino, From: num, To: max(dir.Dir.NextFrag, 1), At: at}
		if err := t.o.SplitBegin(ctx, s); err != nil {
			return err
		}
		upper := &objectInfo{state: presentNo, counted: true}
		if err := t.copyUpper(ctx, s, fragEnd(frags, i), upper); err != nil {
			return err
		}
		if s.InTable = dir.Dir.FragTable; !s.InTable && len(frags) >= maxInodeFrags {
			s.InTable, s.Table = true, withFrag(frags, inode.Frag{Num: s.To, First: s.At})
		}
		if err := t.endSplit(ctx, s, info, upper); err != nil {
			return err
		}
		if err := t.splitFragment(ctx, ino, s.To, upper); err != nil {
			return err
		}
	}
	return nil
}

func (t *Tree) endSplit(ctx context.Context, s Split, lower, upper *objectInfo) error {
	if err := t.o.SplitEnd(ctx, s); err != nil {
		return err
	}
	t.m.Splits.Add(1)
	t.log.Info("split a fragment", "dir", uint64(s.Dir), "from", s.From, "to", s.To, "at", s.At)
	t.o.Mu.Lock()
	t.dirSpace(s.Dir).info(s.To)
	t.dirSpace(s.Dir).objects[s.To] = upper
	found := false
	for i := range t.trims {
		if x := &t.trims[i]; x.dir == s.Dir && x.frag == s.From && x.at == s.At {
			x.left = &objectInfo{entries: lower.entries - upper.entries, bytes: lower.bytes - upper.bytes}
			found = true
		}
	}
	t.o.Mu.Unlock()
	if !found {
		panic(fmt.Sprintf("tree: SplitEnd returned without ApplySplit of %+v", s))
	}
	return t.runTrims(ctx)
}

// findMiddle counts fragment i exactly and gives the token where to split it:
// "" if that isn't needed, or not possible.
func (t *Tree) findMiddle(ctx context.Context, ino inode.Ino, frags []inode.Frag, i int, info *objectInfo) (string, error) {
	var keys []string
	var sums []int64 // bytes up to and including keys[n]
	sum, end := int64(0), fragEnd(frags, i)
	object := fragObject(ino, frags[i].Num)
	err := t.walk(ctx, object, classDentry, frags[i].First, end, func(kvs []wire.KV) error {
		for _, kv := range kvs {
			sum += int64(len(kv.Value))
			keys, sums = append(keys, kv.Key), append(sums, sum)
		}
		return nil
	})
	if err != nil {
		return "", err
	}
	inline := int64(0)
	err = t.walk(ctx, object, classInline, frags[i].First, end, func(kvs []wire.KV) error {
		for _, kv := range kvs {
			inline += int64(len(kv.Value))
		}
		return nil
	})
	if err != nil {
		return "", err
	}
	info.entries, info.bytes, info.counted = int64(len(keys)), sum+inline, true
	if !t.overLimit(info) || len(keys) < 2 {
		return "", nil
	}
	if info.entries > int64(t.o.SplitEntries) {
		return keys[len(keys)/2], nil
	}
	n, _ := slices.BinarySearch(sums, sum/2)
	return keys[max(1, min(n, len(keys)-1))], nil
}

// walk calls f with a class's keys of an object from token from on, below
// end, page by page.
func (t *Tree) walk(ctx context.Context, object, class, from, end string, f func([]wire.KV) error) error {
	for skip := false; ; skip = true {
		kvs, more, err := t.page(ctx, object, class, from)
		if err != nil {
			return err
		}
		if skip && len(kvs) > 0 && kvs[0].Key == from {
			kvs = kvs[1:]
		}
		if end != "" {
			n, _ := slices.BinarySearchFunc(kvs, end, func(kv wire.KV, end string) int { return cmpString(kv.Key, end) })
			if n < len(kvs) {
				kvs, more = kvs[:n], false
			}
		}
		if len(kvs) > 0 {
			if err := f(kvs); err != nil {
				return err
			}
			from = kvs[len(kvs)-1].Key
		} else if more {
			return wire.Wrap("tree.read", object+": no progress", wire.EIO)
		}
		if !more {
			return nil
		}
	}
}

// copyUpper makes the new fragment out of what s.From holds from s.At up to
// end.
func (t *Tree) copyUpper(ctx context.Context, s Split, end string, upper *objectInfo) error {
	from, to := fragObject(s.Dir, s.From), fragObject(s.Dir, s.To)
	for _, class := range [...]string{classDentry, classInline} {
		err := t.walk(ctx, from, class, s.At, end, func(kvs []wire.KV) error {
			v := &vector{object: to, sets: make([]wire.KV, len(kvs))}
			for i, kv := range kvs {
				v.sets[i] = wire.KV{Key: class + kv.Key, Value: kv.Value}
				upper.bytes += int64(len(kv.Value))
			}
			if class == classDentry {
				upper.entries += int64(len(kvs))
			}
			v.header = upper.header(0)
			return t.apply(ctx, v, upper)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// AbortSplit removes what a split without an end left: call it after replay.
func (t *Tree) AbortSplit(ctx context.Context, s Split) error {
	if err := t.acquire(ctx); err != nil {
		return err
	}
	defer t.release()
	return t.remove(ctx, fragObject(s.Dir, s.To))
}

// PurgeDir deletes all objects of a removed directory. It may be repeated.
func (t *Tree) PurgeDir(ctx context.Context, dir *inode.Inode) error {
	if err := t.acquire(ctx); err != nil {
		return err
	}
	defer t.release()
	for f := uint32(0); f < max(dir.Dir.NextFrag, 1); f++ {
		if err := t.remove(ctx, fragObject(dir.Ino, f)); err != nil {
			return err
		}
	}
	if dir.Dir.FragTable {
		if err := t.remove(ctx, tableObject(dir.Ino)); err != nil {
			return err
		}
	}
	// The objects of a birth log whose building was cut short are there
	// without BirthLog being set.
	if dir.Dir.BirthLog || dir.Dir.NextSeq > uint64(t.o.BirthLogEntries) {
		for seg := uint64(0); seg <= lastSeg(dir); seg++ {
			if err := t.remove(ctx, logObject(dir.Ino, seg)); err != nil {
				return err
			}
		}
	}
	return nil
}

// PurgeMap deletes a plain omap object. It may be repeated.
func (t *Tree) PurgeMap(ctx context.Context, object string) error {
	if err := t.acquire(ctx); err != nil {
		return err
	}
	defer t.release()
	return t.remove(ctx, object)
}
