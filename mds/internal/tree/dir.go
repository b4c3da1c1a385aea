package tree

import (
	"sort"

	"github.com/spirula/spirula/mds/internal/inode"
)

// wholeDir is the list of fragments of a directory that never split.
var wholeDir = []inode.Frag{{Num: 0, First: ""}}

// fragsOf gives dir's fragments in order; the caller doesn't change them.
func (t *Tree) fragsOf(dir *inode.Inode) ([]inode.Frag, error) {
	if dir.Dir == nil {
		panic("tree: not a directory")
	}
	switch {
	case dir.Dir.FragTable:
		return t.fragTable(dir.Ino)
	case len(dir.Dir.Frags) == 0:
		return wholeDir, nil
	}
	return dir.Dir.Frags, nil
}

// fragAt gives the index of the fragment that token belongs to.
func fragAt(frags []inode.Frag, token string) int {
	return sort.Search(len(frags), func(i int) bool { return frags[i].First > token }) - 1
}

// fragEnd is the first token past fragment i; "" if it is the last.
func fragEnd(frags []inode.Frag, i int) string {
	if i+1 < len(frags) {
		return frags[i+1].First
	}
	return ""
}

// dirMiss makes the error for something missing in dir.
func (t *Tree) dirMiss(dir *inode.Inode, w want) error {
	frags, err := t.fragsOf(dir)
	if err != nil {
		return err
	}
	w.id, w.frags = spaceID{kind: kindDir, ino: dir.Ino}, frags
	return t.miss(w)
}

// open gives dir's space.
func (t *Tree) open(dir *inode.Inode) *space {
	sp := t.dirSpace(dir.Ino)
	if dir.Dir.BirthLog && !sp.log && sp.dirty == 0 {
		sp.log = true
	}
	return sp
}

// Get gives the dentry under token in dir, and the position of its last
// change (0 if it was only read). A nil dentry with a nil error: there is
// none. Content.Inline of the inode in it may or may not be filled: ask Inline.
// The error may be a *Miss.
func (t *Tree) Get(dir *inode.Inode, token string) (*inode.Dentry, Pos, error) {
	e, known := t.lookup(t.open(dir), token)
	if !known {
		return nil, 0, t.dirMiss(dir, want{how: wantKeys, keys: []string{token}})
	}
	return dentryOf(e), posOf(e), nil
}

// dentryOf gives an entry's dentry, nil if it doesn't exist.
func dentryOf(e *entry) *inode.Dentry {
	if e == nil || e.val == nil {
		return nil
	}
	return e.val.(*inode.Dentry)
}

// Want asks for many tokens at once: nil if all of them can be answered by
// Get, else one *Miss for all that can't.
func (t *Tree) Want(dir *inode.Inode, tokens []string) error {
	sp := t.open(dir)
	var missing []string
	for _, k := range tokens {
		if _, known := t.lookup(sp, k); !known {
			missing = append(missing, k)
		}
	}
	if missing == nil {
		return nil
	}
	return t.dirMiss(dir, want{how: wantKeys, keys: missing})
}

// hasInline reports whether d's inode keeps bytes under class 'i'.
func hasInline(d *inode.Dentry) bool {
	return d != nil && d.Inode != nil && d.Inode.Content.Kind == inode.Inline
}

// Put sets the dentry under token in dir; nil deletes it. It takes d as it is
// and never changes it. If d's inode has Content.Kind Inline (or is a symlink
// with it), non-nil Content.Inline is kept apart under class 'i'; nil
// Content.Inline means the bytes under this token stay as they were. So a
// rename has to take the bytes (Inline) along.
func (t *Tree) Put(pos Pos, dir inode.Ino, token string, d *inode.Dentry) {
	sp := t.dirSpace(dir)
	old := dentryOf(t.find(sp, token))
	var val any
	if d != nil {
		val = d
	}
	e := t.put(pos, sp, token, val)
	switch {
	case !hasInline(d):
		e.inline, e.inlineIs = nil, inlineClean
	case d.Inode.Content.Inline != nil:
		e.inline, e.inlineIs = d.Inode.Content.Inline, inlineDirty
	case !hasInline(old):
		e.inline, e.inlineIs = nil, inlineUnknown
	}
	t.resize(e)
	if old != nil && (d == nil || d.Seq != old.Seq) {
		t.seqReplaced(pos, e, old.Seq)
	}
	if d != nil {
		t.seqGiven(pos, e, old, d)
	}
}

// Inline gives the inline bytes under token; nil if there are none. The error
// may be a *Miss. The caller doesn't change them.
func (t *Tree) Inline(dir *inode.Inode, token string) ([]byte, error) {
	e, known := t.lookup(t.open(dir), token)
	if !known {
		return nil, t.dirMiss(dir, want{how: wantKeys, keys: []string{token}})
	}
	if !hasInline(dentryOf(e)) {
		return nil, nil
	}
	if e.inlineIs == inlineUnknown {
		return nil, t.dirMiss(dir, want{how: wantInline, keys: []string{token}})
	}
	return e.inline, nil
}

// Next gives the first token > from, or >= from if inclusive, and its dentry;
// d is nil at the end. Changes in memory are merged over what the fragments
// hold. A Miss brings the following 1024 entries.
func (t *Tree) Next(dir *inode.Inode, from string, inclusive bool) (token string, d *inode.Dentry, err error) {
	err = t.Scan(dir, from, inclusive, func(k string, e *inode.Dentry) bool {
		token, d = k, e
		return false
	})
	return token, d, err
}

// Scan calls f with the tokens from from on, in order, until f returns false,
// the directory ends, or something isn't in memory (a *Miss; f may have been
// called before that: go on from the last token it saw).
func (t *Tree) Scan(dir *inode.Inode, from string, inclusive bool, f func(token string, d *inode.Dentry) bool) error {
	load, done := t.scan(t.open(dir), from, inclusive, func(e *entry) bool {
		return f(e.key, e.val.(*inode.Dentry))
	})
	if !done {
		return t.dirMiss(dir, want{how: wantRange, from: load})
	}
	return nil
}
