package tree

import "github.com/spirula/spirula/mds/internal/inode"

// What things take in memory, in bytes, about: for the bounds only.
const (
	costSpace  = 512
	costEntry  = 208
	costDentry = 64
	costInode  = 400
	costS3     = 400
	costDir    = 200
	costRow    = 120
	costKV     = 64
)

func entrySize(e *entry) int32 {
	n := costEntry + len(e.key) + len(e.inline)
	switch v := e.val.(type) {
	case *inode.Dentry:
		n += costDentry + inodeSize(v.Inode)
	case *inode.TableRow:
		n += costRow + len(v.Token) + inodeSize(v.Inode)
		for i := range v.Links {
			n += 24 + len(v.Links[i].Token)
		}
	case []byte:
		n += 24 + len(v)
	}
	return int32(min(n, 1<<30))
}

func inodeSize(in *inode.Inode) int {
	if in == nil {
		return 0
	}
	n := costInode + len(in.Target) + len(in.Content.Inline) + 32*len(in.Content.Rows) + costKV*len(in.Xattrs)
	if in.Dir != nil {
		n += costDir + costKV*len(in.Dir.Frags)
	}
	if s := in.S3; s != nil {
		n += costS3 + len(s.ETag) + costKV*len(s.Parts)
		for i := range s.Meta.User {
			n += costKV + len(s.Meta.User[i].Key) + len(s.Meta.User[i].Value)
		}
	}
	return n
}

// space gives the space of that id, made if it isn't in memory.
func (t *Tree) space(id spaceID) *space {
	if sp := t.spaces[id]; sp != nil {
		return sp
	}
	sp := newSpace(id)
	t.spaces[id] = sp
	if id.kind == kindLog {
		if t.logs[id.ino] == nil {
			t.logs[id.ino] = make(map[*space]struct{})
		}
		t.logs[id.ino][sp] = struct{}{}
	}
	t.bytes += costSpace
	if t.hand == nil {
		sp.prev, sp.next, t.hand = sp, sp, sp
	} else {
		sp.prev, sp.next = t.hand.prev, t.hand
		sp.prev.next, sp.next.prev = sp, sp
	}
	return sp
}

func (t *Tree) dirSpace(ino inode.Ino) *space { return t.space(spaceID{kind: kindDir, ino: ino}) }

// removeSpace forgets a space with all its entries, dirty ones included.
func (t *Tree) removeSpace(sp *space) {
	if sp.gone {
		return
	}
	sp.gone = true
	oldest := Pos(0)
	sp.tab.Scan(func(e *entry) bool {
		if e.first != 0 {
			if oldest == 0 || e.first < oldest {
				oldest = e.first
			}
			t.unlist(e)
		}
		if e.flight {
			t.dirtyBytes -= int64(e.size) // its write ends without it
			if oldest == 0 || t.flightOldest < oldest {
				oldest = t.flightOldest
			}
		}
		e.dead = true
		delete(t.replaced, e)
		t.bytes -= int64(e.size)
		return true
	})
	if oldest != 0 {
		t.forgotten = append(t.forgotten, forgotten{first: oldest, until: t.newest})
	}
	delete(t.spaces, sp.id)
	if logs := t.logs[sp.id.ino]; logs != nil && sp.id.kind == kindLog {
		if delete(logs, sp); len(logs) == 0 {
			delete(t.logs, sp.id.ino)
		}
	}
	t.bytes -= costSpace
	if sp.next == sp {
		t.hand = nil
	} else {
		sp.prev.next, sp.next.prev = sp.next, sp.prev
		if t.hand == sp {
			t.hand = sp.next
		}
	}
}

// forgotten stands for changes that need not be written any more because
// their directory was removed, by an event at until or before: as long as that
// isn't durable, theirs must stay in the journal.
type forgotten struct{ first, until Pos }

// durable drops what is forgotten for good now that the journal is durable up
// to pos.
func (t *Tree) durable(pos Pos) {
	n := 0
	for n < len(t.forgotten) && t.forgotten[n].until <= pos {
		n++
	}
	t.forgotten = t.forgotten[n:]
}

// The dirty list is in order of first. An entry is in it exactly when first
// is not 0. dirtyBytes counts entries that are in it or in flight.

// markDirty notes a change at pos.
func (t *Tree) markDirty(e *entry, pos Pos) {
	if pos == 0 {
		panic("tree: a change at journal position 0: " + e.key)
	}
	e.pos = pos
	t.newest = max(t.newest, pos)
	if e.first != 0 {
		return
	}
	e.first = pos
	at := t.dirtyTail
	for at != nil && at.first > pos {
		at = at.prev
	}
	t.listAfter(at, e)
}

// listAfter puts e, whose first is set, into the dirty list behind at; nil:
// at the front.
func (t *Tree) listAfter(at, e *entry) {
	e.prev = at
	if at != nil {
		e.next, at.next = at.next, e
	} else {
		e.next, t.dirtyHead = t.dirtyHead, e
	}
	if e.next != nil {
		e.next.prev = e
	} else {
		t.dirtyTail = e
	}
	if !e.flight {
		t.dirtyBytes += int64(e.size)
		e.sp.dirty++
	}
	if e.sp.id.kind == kindLog {
		if e.sp.dirtySet == nil {
			e.sp.dirtySet = make(map[*entry]struct{})
		}
		e.sp.dirtySet[e] = struct{}{}
	}
}

// unlist takes e out of the dirty list; it is then clean or in flight.
func (t *Tree) unlist(e *entry) {
	if e.prev != nil {
		e.prev.next = e.next
	} else {
		t.dirtyHead = e.next
	}
	if e.next != nil {
		e.next.prev = e.prev
	} else {
		t.dirtyTail = e.prev
	}
	e.prev, e.next, e.first = nil, nil, 0
	if !e.flight {
		t.dirtyBytes -= int64(e.size)
		e.sp.dirty--
	}
	delete(e.sp.dirtySet, e)
}

// OldestDirty is the position of the oldest change not yet written back; the
// journal may be trimmed up to it (exclusive). false: nothing is dirty.
func (t *Tree) OldestDirty() (Pos, bool) {
	oldest := t.flightOldest
	if h := t.dirtyHead; h != nil && (oldest == 0 || h.first < oldest) {
		oldest = h.first
	}
	for i := range t.trims {
		if oldest == 0 || t.trims[i].pos < oldest {
			oldest = t.trims[i].pos
		}
	}
	for i := range t.forgotten {
		if oldest == 0 || t.forgotten[i].first < oldest {
			oldest = t.forgotten[i].first
		}
	}
	return oldest, oldest != 0
}

// Pressure reports that changes take more memory than DirtyBytes: Flush.
func (t *Tree) Pressure() bool { return t.dirtyBytes > t.o.DirtyBytes }

// The sweep: a clock over all spaces and their entries. What was not used
// since it last came by is dropped.
const (
	sweepRun  = 128  // entries looked at together
	sweepMost = 8192 // entries looked at in one call
)

// evict drops clean entries until they take no more than CacheBytes. It goes
// round once, which spares what was used since the last time; only when the
// bound is passed by a quarter it goes on until it is met. So what a Load just
// brought is still there when its caller asks again. One call looks at
// sweepMost entries at most.
func (t *Tree) evict() {
	rounds := 1
	if t.bytes-t.dirtyBytes > t.o.CacheBytes+t.o.CacheBytes/4 {
		rounds = 3
	}
	spaces := rounds * len(t.spaces)
	for looked := 0; spaces > 0 && t.hand != nil && looked < sweepMost && t.bytes-t.dirtyBytes > t.o.CacheBytes; {
		sp := t.hand
		n, atEnd := t.sweepRun(sp)
		looked += n + 1
		if atEnd {
			sp.hand = ""
			spaces--
			if t.hand == sp {
				t.hand = sp.next
			}
		}
	}
}

// sweepRun looks at the next entries of sp and drops them if few were used.
func (t *Tree) sweepRun(sp *space) (looked int, atEnd bool) {
	if sp.loading > 0 || sp.touched {
		sp.touched = false
		return 0, true
	}
	run, used, more := t.run[:0], 0, false
	t.pivot.key = sp.hand
	sp.tab.Ascend(&t.pivot, func(e *entry) bool {
		if len(run) == sweepRun {
			sp.hand, more = e.key, true
			return false
		}
		run = append(run, e)
		if e.ref {
			used++
			e.ref = false
		}
		return true
	})
	if used*4 < len(run) {
		for _, e := range run {
			if e.first == 0 && !e.flight {
				t.drop(e)
				t.m.Evicted.Add(1)
			}
		}
		sp.seqs, sp.seqsOK, sp.frags = nil, false, nil
	}
	if !more && sp.tab.Len() == 0 && sp.dirty == 0 {
		t.removeSpace(sp)
	}
	looked = len(run)
	clear(run)
	return looked, !more
}
