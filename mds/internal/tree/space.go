package tree

import (
	"github.com/tidwall/btree"

	"github.com/spirula/spirula/mds/internal/inode"
)

// spaceKind says what a space's values are and where it is stored.
type spaceKind uint8

const (
	kindDir  spaceKind = iota // *inode.Dentry, in d.INO.F by fragment
	kindRows                  // *inode.TableRow, in i.B
	kindMap                   // []byte, in an object of its own (also t.INO)
	kindLog                   // []byte, in c.INO.N; written before the directory's fragments
)

// spaceID names a space: a directory by number, everything else by object.
type spaceID struct {
	kind   spaceKind
	ino    inode.Ino // kindDir; kindLog: whose
	object string
}

// space is what is known in memory of one ordered set of keys.
//
// Entries are in key order. An entry's gap says that the range between it and
// the next entry is not known; headGap says so of the range before the first.
// Where there is no gap, a key without an entry doesn't exist. An entry with a
// nil value is a key known not to exist.
type space struct {
	id      spaceID
	tab     *btree.BTreeG[*entry]
	headGap bool
	loading int // loads under way: until they end, nothing is dropped
	dirty   int // entries changed and not written, or being written
	touched bool
	gone    bool // no longer in Tree.spaces
	hand    string
	prev    *space // ring of all spaces, for eviction
	next    *space

	objects map[uint32]*objectInfo // by fragment; 0 where there are none

	// Directories.
	seqs   []seqRef // in order of seq; valid only if seqsOK
	seqsOK bool
	log    bool // changes go into the birth log as well

	frags []inode.Frag // a fragment table's decoded list; nil: to be made

	// dirtySet has the dirty entries of a birth log segment.
	dirtySet map[*entry]struct{}
}

type seqRef struct {
	seq uint64
	e   *entry
}

// inlineState is what is known of an entry's inline bytes.
type inlineState uint8

const (
	inlineUnknown inlineState = iota // ask RADOS, if the dentry says there are any
	inlineClean                      // entry.inline is what RADOS has
	inlineDirty                      // entry.inline is to be written
)

// presence is what is known of a key in RADOS.
type presence uint8

const (
	presentUnknown presence = iota
	presentNo
	presentYes
)

// entry is one key of a space.
type entry struct {
	sp     *space
	key    string
	val    any // *inode.Dentry, *inode.TableRow, []byte; nil: does not exist
	inline []byte

	pos   Pos // of the last change; 0: only read
	first Pos // of the first change not written; 0: not in the dirty list
	prev  *entry
	next  *entry

	size int32 // estimated bytes of memory
	// base is the length of the record in RADOS; 0: there is none; -1: not
	// known.
	base       int32
	inlineBase presence // of class 'i' in RADOS
	inlineIs   inlineState
	gap        bool
	flight     bool // a value of it is being written
	ref        bool // used since the sweep last came by
	dead       bool // no longer in the space
}

func lessEntry(a, b *entry) bool { return a.key < b.key }

func newSpace(id spaceID) *space {
	return &space{id: id, headGap: true, touched: true,
		tab: btree.NewBTreeGOptions(lessEntry, btree.Options{NoLocks: true, Degree: 16})}
}

// find gives key's entry, nil if there is none.
func (t *Tree) find(sp *space, key string) *entry {
	t.pivot.key = key
	e, _ := sp.tab.Get(&t.pivot)
	return e
}

// gapAt reports whether the range that key lies in, key having no entry, is
// unknown.
func (t *Tree) gapAt(sp *space, key string) bool {
	gap := sp.headGap
	t.pivot.key = key
	sp.tab.Descend(&t.pivot, func(e *entry) bool {
		gap = e.gap
		return false
	})
	return gap
}

// lookup gives key's entry; known is false if RADOS has to be asked. A nil
// entry that is known doesn't exist.
func (t *Tree) lookup(sp *space, key string) (e *entry, known bool) {
	if e = t.find(sp, key); e != nil {
		e.ref = true
		return e, true
	}
	return nil, !t.gapAt(sp, key)
}

// insert makes an entry for a key that has none. It doesn't change what is
// known of the range around it.
func (t *Tree) insert(sp *space, key string, val any, gap bool) *entry {
	e := &entry{sp: sp, key: key, val: val, gap: gap, base: -1, ref: true}
	sp.tab.Set(e)
	e.size = entrySize(e)
	t.bytes += int64(e.size)
	return e
}

// drop takes a clean entry out of memory. Of an existing key, its range is
// unknown afterwards.
func (t *Tree) drop(e *entry) {
	sp := e.sp
	if e.first != 0 || e.flight {
		panic("tree: dropping an entry with changes not written: " + e.key)
	}
	sp.tab.Delete(e)
	e.dead = true
	t.bytes -= int64(e.size)
	gap := e.gap || e.val != nil
	if !gap {
		return
	}
	marked := false
	sp.tab.Descend(e, func(p *entry) bool {
		p.gap, marked = true, true
		return false
	})
	if !marked {
		sp.headGap = true
	}
}

// resize accounts for an entry whose value changed.
func (t *Tree) resize(e *entry) {
	n := entrySize(e)
	d := int64(n - e.size)
	t.bytes += d
	if e.first != 0 || e.flight {
		t.dirtyBytes += d
	}
	e.size = n
}

// scan calls f with the existing keys from from on, in order, until f returns
// false. Where the next key isn't known it stops and gives the key to load
// from. done is true when f ended it or the space ended.
func (t *Tree) scan(sp *space, from string, inclusive bool, f func(e *entry) bool) (load string, done bool) {
	done, first := true, true
	gap := false
	at := from
	t.pivot.key = from
	sp.tab.Ascend(&t.pivot, func(e *entry) bool {
		if first {
			first = false
			if e.key == from {
				if e.val != nil && inclusive {
					e.ref = true
					if !f(e) {
						gap = false
						return false
					}
				}
				gap, at = e.gap, e.key
				return true
			}
			gap = t.gapAt(sp, from)
		}
		if gap {
			done = false
			return false
		}
		e.ref = true
		if e.val != nil && !f(e) {
			gap = false
			return false
		}
		gap, at = e.gap, e.key
		return true
	})
	if first {
		gap = t.gapAt(sp, from)
	}
	if gap {
		return at, false
	}
	return "", done
}

// loaded is one key as RADOS has it.
type loaded struct {
	key   string
	val   any // nil: not there
	size  int32
	class presence // whether class 'i' is there
}

// installKeys makes what was read of single keys known.
func (t *Tree) installKeys(sp *space, items []loaded) {
	for i := range items {
		t.installOne(sp, &items[i])
	}
}

// installOne gives the entry, nil if memory knows better.
func (t *Tree) installOne(sp *space, it *loaded) *entry {
	e := t.find(sp, it.key)
	if e == nil {
		gap := t.gapAt(sp, it.key)
		if !gap {
			return nil
		}
		e = t.insert(sp, it.key, it.val, true)
		e.base, e.inlineBase = it.size, it.class
		if it.val != nil && sp.id.kind == kindDir {
			sp.seqsOK = false
		}
	}
	if e.base < 0 {
		e.base, e.inlineBase = it.size, it.class
		if old, ok := it.val.(*inode.Dentry); ok && e.first != 0 {
			if d := dentryOf(e); d == nil || d.Seq != old.Seq {
				t.replaced[e] = append(t.replaced[e], old.Seq)
			}
		}
	}
	return e
}

// installRange makes [from, last item] known, or with complete everything
// from from on. items are ascending, none below from; without complete there
// is at least one.
func (t *Tree) installRange(sp *space, from string, items []loaded, complete bool) {
	if from != "" && (len(items) == 0 || items[0].key != from) {
		t.installOne(sp, &loaded{key: from, class: presentNo})
	}
	t.installKeys(sp, items)
	if from == "" {
		sp.headGap = false
	}
	t.pivot.key = from
	sp.tab.Ascend(&t.pivot, func(e *entry) bool {
		if !complete && e.key >= items[len(items)-1].key {
			return false
		}
		e.gap = false
		return true
	})
}
