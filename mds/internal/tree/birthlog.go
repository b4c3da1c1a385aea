package tree

import (
	"context"
	"slices"
	"strconv"

	"github.com/spirula/spirula/mds/internal/inode"
	"github.com/spirula/spirula/rados/wire"
)

// A directory's order for READDIR is that of its entries' birth numbers.
// Small directories are loaded whole and sorted. A large one has a birth log:
// for each birth number its number, type and token, in c.INO.N by number. Put
// keeps it up: a log record changes at the same position as the dentry, and
// is written before it. After replay, which doesn't know what RADOS held
// under the tokens it changed, adoptLog finds the numbers that went away.

func (t *Tree) logSpace(ino inode.Ino, seq uint64) *space {
	return t.space(spaceID{kind: kindLog, ino: ino, object: logObject(ino, seq>>logShift)})
}

// seqReplaced notes that, by a change at pos, e's token no longer leads to
// birth number seq, as it did in memory until now.
func (t *Tree) seqReplaced(pos Pos, e *entry, seq uint64) {
	if d := dentryOf(e); d != nil && d.Seq == seq {
		return
	}
	if e.sp.log {
		t.logGone(pos, e, seq)
	} else if e.base != 0 {
		t.replaced[e] = append(t.replaced[e], seq)
	}
}

// logGone removes seq from the birth log, unless the log has it for another
// token: a rename within the directory has given the number on.
func (t *Tree) logGone(pos Pos, e *entry, seq uint64) {
	sp := t.logSpace(e.sp.id.ino, seq)
	if l := t.find(sp, hexKey(seq)); l != nil && l.val != nil {
		if b, err := inode.DecodeBirth(l.val.([]byte)); err == nil && b.Token != e.key {
			return
		}
	}
	t.mapPut(pos, sp, hexKey(seq), nil)
}

// seqGiven notes that, by a change at pos, e's token leads to d.
func (t *Tree) seqGiven(pos Pos, e *entry, old, d *inode.Dentry) {
	sp := e.sp
	if sp.seqsOK && (old == nil || old.Seq != d.Seq) {
		if n := len(sp.seqs); n == 0 || sp.seqs[n-1].seq < d.Seq {
			sp.seqs = append(sp.seqs, seqRef{d.Seq, e})
		} else {
			sp.seqs, sp.seqsOK = nil, false
		}
	}
	if !sp.log || (old != nil && old.Seq == d.Seq && old.Ino == d.Ino && old.Type == d.Type) {
		return
	}
	b := inode.AppendBirth(nil, inode.Birth{Ino: d.Ino, Type: d.Type, Token: e.key})
	t.mapPut(pos, t.logSpace(sp.id.ino, d.Seq), hexKey(d.Seq), b)
}

// ReadDir gives up to max entries with Seq > afterSeq, in order of Seq; eof
// says that none come after them. A page that isn't the last may be short but
// not empty.
func (t *Tree) ReadDir(dir *inode.Inode, afterSeq uint64, max int) (page []Entry, eof bool, err error) {
	if dir.Dir.BirthLog {
		return t.readLog(dir, afterSeq, max)
	}
	sp := t.open(dir)
	if !sp.seqsOK {
		if err := t.sortSeqs(dir, sp); err != nil {
			return nil, false, err
		}
	}
	i, _ := slices.BinarySearchFunc(sp.seqs, afterSeq+1, func(r seqRef, seq uint64) int {
		if r.seq < seq {
			return -1
		}
		return 1
	})
	for ; i < len(sp.seqs); i++ {
		r := sp.seqs[i]
		d := dentryOf(r.e)
		if r.e.dead || d == nil || d.Seq != r.seq {
			continue
		}
		if len(page) >= max {
			return page, false, nil
		}
		page = append(page, Entry{Seq: r.seq, Token: r.e.key, Ino: d.Ino, Type: d.Type, Dentry: d})
	}
	return page, true, nil
}

func (t *Tree) sortSeqs(dir *inode.Inode, sp *space) error {
	var seqs []seqRef
	load, done := t.scan(sp, "", true, func(e *entry) bool {
		seqs = append(seqs, seqRef{e.val.(*inode.Dentry).Seq, e})
		return true
	})
	if !done {
		return t.dirMiss(dir, want{how: wantAll, from: load})
	}
	slices.SortFunc(seqs, func(a, b seqRef) int {
		switch {
		case a.seq < b.seq:
			return -1
		case a.seq > b.seq:
			return 1
		}
		return 0
	})
	sp.seqs, sp.seqsOK = seqs, true
	return nil
}

// readLog is ReadDir by the birth log.
func (t *Tree) readLog(dir *inode.Inode, afterSeq uint64, max int) (page []Entry, eof bool, err error) {
	sp := t.open(dir)
	if !sp.log {
		frags, err := t.fragsOf(dir)
		if err != nil {
			return nil, false, err
		}
		return nil, false, t.logMiss(dir, frags)
	}
	var bad error
	last := lastSeg(dir)
	for seg := (afterSeq + 1) >> logShift; seg <= last; seg++ {
		ls := t.space(spaceID{kind: kindLog, ino: dir.Ino, object: logObject(dir.Ino, seg)})
		full := false
		load, done := t.scan(ls, hexKey(afterSeq), false, func(e *entry) bool {
			if full = len(page) >= max; full {
				return false
			}
			var x Entry
			if x, bad = t.logEntry(sp, e); bad != nil {
				return false
			}
			if x.Token != "" || x.Ino != 0 {
				page = append(page, x)
			}
			return true
		})
		switch {
		case bad != nil:
			return nil, false, wire.Wrap("tree.readdir", ls.id.object, bad)
		case full, !done && len(page) > 0:
			return page, false, nil
		case !done:
			return nil, false, t.miss(want{id: ls.id, how: wantRange, from: load})
		}
	}
	return page, true, nil
}

func lastSeg(dir *inode.Inode) uint64 { return (max(dir.Dir.NextSeq, 1) - 1) >> logShift }

// logEntry gives the line for a log record; the zero Entry if memory knows the
// number to be gone.
func (t *Tree) logEntry(sp *space, e *entry) (Entry, error) {
	seq, err := strconv.ParseUint(e.key, 16, 64)
	if err != nil {
		return Entry{}, wire.Errorf("decode birth log key", e.key, wire.EIO)
	}
	b, err := inode.DecodeBirth(e.val.([]byte))
	if err != nil {
		return Entry{}, err
	}
	x := Entry{Seq: seq, Token: b.Token, Ino: b.Ino, Type: b.Type}
	if e := t.find(sp, b.Token); e != nil {
		d := dentryOf(e)
		if d == nil || d.Seq != seq {
			return Entry{}, nil // what the log has yet to be told
		}
		x.Dentry, x.Ino, x.Type = d, d.Ino, d.Type
	}
	return x, nil
}

// logMiss asks for the birth log to be told what replay changed.
func (t *Tree) logMiss(dir *inode.Inode, frags []inode.Frag) *Miss {
	m, _ := AsMiss(t.miss(want{id: spaceID{kind: kindDir, ino: dir.Ino}, how: wantLog, frags: frags}))
	return m
}

// adoptLog makes the birth log of a directory follow changes that were made
// before it was known that there is one, or over dentries that weren't in
// memory: it finds out which birth numbers RADOS has under the tokens changed,
// and what the log says of them.
func (t *Tree) adoptLog(ctx context.Context, w *want, sp *space) error {
	for {
		t.o.Mu.Lock()
		if sp.gone || t.splits != w.splits {
			t.o.Mu.Unlock()
			return nil
		}
		m := &Miss{}
		if keys := unknownBases(sp); keys != nil {
			m.wants = append(m.wants, want{id: w.id, how: wantKeys, keys: keys, frags: w.frags, splits: w.splits})
		} else {
			t.unknownLog(sp, m)
		}
		if len(m.wants) == 0 {
			t.logOn(sp, true)
			t.o.Mu.Unlock()
			return nil
		}
		t.o.Mu.Unlock()
		if err := t.Load(ctx, m); err != nil {
			return err
		}
	}
}

// unknownBases gives the keys of changed entries of which it isn't known what
// RADOS holds under them.
func unknownBases(sp *space) (keys []string) {
	sp.tab.Scan(func(e *entry) bool {
		if e.base < 0 && e.first != 0 {
			keys = append(keys, e.key)
		}
		return true
	})
	return keys
}

// unknownLog adds to m the log records of birth numbers that went away.
func (t *Tree) unknownLog(sp *space, m *Miss) {
	bySeg := make(map[spaceID][]string)
	for e, seqs := range t.replaced {
		if e.sp != sp {
			continue
		}
		for _, seq := range seqs {
			ls := t.logSpace(sp.id.ino, seq)
			if _, known := t.lookup(ls, hexKey(seq)); !known {
				bySeg[ls.id] = append(bySeg[ls.id], hexKey(seq))
			}
		}
	}
	for id, keys := range bySeg {
		m.wants = append(m.wants, want{id: id, how: wantKeys, keys: keys, splits: t.splits})
	}
}

// logOn begins to keep the birth log up, with the changes made so far: first
// the numbers given, then, where there is a log already, those gone.
func (t *Tree) logOn(sp *space, exists bool) {
	sp.log = true
	var changed []*entry
	sp.tab.Scan(func(e *entry) bool {
		if e.first != 0 {
			changed = append(changed, e)
		}
		return true
	})
	for _, e := range changed {
		if d := dentryOf(e); d != nil {
			t.seqGiven(e.first, e, nil, d)
		}
	}
	for _, e := range changed {
		for _, seq := range t.replaced[e] {
			if d := dentryOf(e); exists && (d == nil || d.Seq != seq) {
				t.logGone(e.first, e, seq)
			}
		}
		delete(t.replaced, e)
	}
	sp.seqs, sp.seqsOK = nil, false
}

// takeLog adds all changes of dir's birth log to a round that writes dentries
// of it.
func (t *Tree) takeLog(r *round, ino inode.Ino) {
	if !t.dirSpace(ino).log {
		return
	}
	for sp := range t.logs[ino] {
		for e := range sp.dirtySet {
			t.takeOff(r, e)
		}
	}
}

// buildLog writes a large directory's birth log from its dentries. The write
// token is held, so what RADOS has of the directory stands still.
func (t *Tree) buildLog(ctx context.Context, ino inode.Ino) (err error) {
	dir, frags, err := t.dirNow(ctx, ino)
	if err != nil || dir == nil || dir.Dir.BirthLog {
		return err
	}
	t.log.Info("building a birth log", "dir", uint64(ino), "entries", dir.Dir.Entries)
	for seg := uint64(0); seg <= lastSeg(dir); seg++ {
		if err := t.remove(ctx, logObject(ino, seg)); err != nil {
			return err
		}
	}
	sp, err := t.beginLog(ctx, ino, frags)
	if err != nil {
		return err
	}
	defer func() {
		t.o.Mu.Lock()
		sp.loading--
		sp.log = sp.log && err == nil
		t.o.Mu.Unlock()
	}()
	infos := make(map[string]*objectInfo)
	for i := range frags {
		if err := t.copyToLog(ctx, ino, frags, i, infos); err != nil {
			return err
		}
	}
	if err := t.o.BirthLogged(ctx, ino); err != nil {
		return err
	}
	t.m.BirthLogs.Add(1)
	return nil
}

// beginLog makes Put keep a birth log from here on, and gives the directory's
// space, held in memory.
func (t *Tree) beginLog(ctx context.Context, ino inode.Ino, frags []inode.Frag) (*space, error) {
	for {
		t.o.Mu.Lock()
		sp := t.dirSpace(ino)
		keys := unknownBases(sp)
		splits := t.splits
		if keys == nil {
			for s := range t.logs[ino] {
				t.removeSpace(s)
			}
			t.logOn(sp, false)
			sp.loading++ // it must not forget that it keeps a log
		}
		t.o.Mu.Unlock()
		if keys == nil {
			return sp, nil
		}
		m := &Miss{wants: []want{{id: sp.id, how: wantKeys, keys: keys, frags: frags, splits: splits}}}
		if err := t.Load(ctx, m); err != nil {
			return nil, err
		}
	}
}

// copyToLog writes the log records of what one fragment holds in RADOS,
// except what memory knows to be gone: that is noted already.
func (t *Tree) copyToLog(ctx context.Context, ino inode.Ino, frags []inode.Frag, i int, infos map[string]*objectInfo) error {
	w := want{id: spaceID{kind: kindDir, ino: ino}, frags: frags[i : i+1]}
	from := frags[i].First
	for skip := false; ; skip = true {
		items, complete, err := t.readFrom(ctx, &w, from)
		if err != nil {
			return err
		}
		bySeg := make(map[string][]wire.KV)
		end := fragEnd(frags, i)
		t.o.Mu.Lock()
		sp := t.dirSpace(ino)
		for _, it := range items {
			if skip && it.key == from || end != "" && it.key >= end {
				continue
			}
			d := it.val.(*inode.Dentry)
			if e := t.find(sp, it.key); e != nil && (e.val == nil || dentryOf(e).Seq != d.Seq) {
				continue
			}
			object := logObject(ino, d.Seq>>logShift)
			b := inode.AppendBirth(nil, inode.Birth{Ino: d.Ino, Type: d.Type, Token: it.key})
			bySeg[object] = append(bySeg[object], wire.KV{Key: hexKey(d.Seq), Value: b})
		}
		t.o.Mu.Unlock()
		for object, sets := range bySeg {
			slices.SortFunc(sets, func(a, b wire.KV) int { return cmpString(a.Key, b.Key) })
			if infos[object] == nil {
				infos[object] = &objectInfo{}
			}
			if err := t.apply(ctx, &vector{object: object, sets: sets}, infos[object]); err != nil {
				return err
			}
		}
		if complete {
			return nil
		}
		from = items[len(items)-1].key
	}
}
