package mds

import (
	"sort"
	"strings"

	"github.com/spirula/spirula/mds/internal/tree"
)

// tNode is an inode of the naive twin: everything in plain maps.
type tNode struct {
	typ      FileType
	data     []byte
	links    int
	target   string
	h        Handle // zero: not known yet
	s3       bool   // written by S3 and not since
	dead     bool
	entries  map[string]*tEntry // by token
	parent   *tNode
	token    string
	explicit bool
	nextSeq  uint64
}

type tEntry struct {
	node *tNode
	seq  uint64
}

func newTDir(parent *tNode, token string, explicit bool) *tNode {
	return &tNode{typ: TypeDir, links: 1, entries: map[string]*tEntry{}, parent: parent, token: token, explicit: explicit, nextSeq: 3}
}

// add gives node a new entry.
func (d *tNode) add(token string, n *tNode) {
	d.entries[token] = &tEntry{n, d.nextSeq}
	d.nextSeq++
	if n.typ == TypeDir {
		n.parent, n.token = d, token
	}
}

// drop takes an entry away.
func (d *tNode) drop(token string) {
	n := d.entries[token].node
	delete(d.entries, token)
	if n.links--; n.links == 0 {
		n.dead = true
	}
}

// dropImplicit removes what S3 implied and is empty now, up to the bucket.
func (d *tNode) dropImplicit(bucket *tNode) {
	for d != bucket && !d.explicit && len(d.entries) == 0 {
		d.parent.drop(d.token)
		d = d.parent
	}
}

// walk finds the directory of a key; made says to make what is missing.
func (b *tNode) walk(key string, made bool) (dir *tNode, last string) {
	tokens := tree.Tokens(key)
	dir, last = b, tokens[len(tokens)-1]
	for i, token := range tokens[:len(tokens)-1] {
		e := dir.entries[token]
		if e == nil {
			if !made {
				return nil, last
			}
			n := newTDir(dir, token, last == "" && i == len(tokens)-2)
			dir.add(token, n)
			dir = n
			continue
		}
		dir = e.node
	}
	return dir, last
}

// find gives what S3 sees under a key; nil: nothing.
func (b *tNode) find(key string) *tNode {
	dir, last := b.walk(key, false)
	if dir == nil {
		return nil
	}
	if e := dir.entries[last]; e != nil {
		if e.node.typ == TypeReg {
			return e.node
		}
		return nil
	}
	if last == "" && dir.explicit && dir != b {
		return dir
	}
	return nil
}

// put makes data the object key.
func (b *tNode) put(key string, data []byte) {
	dir, last := b.walk(key, true)
	if last == "" && dir != b {
		dir.explicit = true
	}
	n := &tNode{typ: TypeReg, data: data, links: 1, s3: true}
	if e := dir.entries[last]; e != nil {
		seq := e.seq
		dir.drop(last)
		dir.entries[last] = &tEntry{n, seq}
		return
	}
	dir.add(last, n)
}

// remove is S3's DELETE; false: there is no such object.
func (b *tNode) remove(key string) bool {
	n := b.find(key)
	if n == nil {
		return false
	}
	dir, last := b.walk(key, false)
	if dir.entries[last] != nil {
		dir.drop(last)
	}
	if last == "" && dir != b {
		dir.explicit = false
		for _, e := range dir.entries {
			if e.node.typ != TypeReg && e.node.typ != TypeDir {
				dir.explicit = true
			}
		}
	}
	dir.dropImplicit(b)
	return true
}

// keys gives every key that S3 sees.
func (b *tNode) keys() []string {
	var out []string
	var walk func(d *tNode, prefix string)
	walk = func(d *tNode, prefix string) {
		if m := d.entries[""]; d != b && d.explicit && (m == nil || m.node.typ != TypeReg) {
			out = append(out, prefix)
		}
		for token, e := range d.entries {
			switch e.node.typ {
			case TypeDir:
				walk(e.node, prefix+token)
			case TypeReg:
				out = append(out, prefix+token)
			}
		}
	}
	walk(b, "")
	sort.Strings(out)
	return out
}

// list is the naive listing: keys, and common prefixes. A directory that
// shows no key is a common prefix for the delimiter "/" all the same.
func (b *tNode) list(prefix, delimiter string) []string {
	keys := b.keys()
	if delimiter == "/" {
		var walk func(d *tNode, prefix string)
		walk = func(d *tNode, prefix string) {
			for token, e := range d.entries {
				if e.node.typ == TypeDir {
					keys = append(keys, prefix+token+"\x00") // as if something were in it
					walk(e.node, prefix+token)
				}
			}
		}
		walk(b, "")
		sort.Strings(keys)
	}
	var out []string
	for _, k := range keys {
		if !strings.HasPrefix(k, prefix) {
			continue
		}
		item := k
		if delimiter != "" {
			if i := strings.Index(k[len(prefix):], delimiter); i >= 0 {
				item = k[:len(prefix)+i+len(delimiter)]
			}
		}
		if strings.HasSuffix(item, "\x00") {
			continue
		}
		if len(out) == 0 || out[len(out)-1] != item {
			out = append(out, item)
		}
	}
	return out
}

// shown gives the name under which NFS shows a token.
func (d *tNode) shown(token string) string {
	twin := !tree.IsDirToken(token) && d.entries[token+"/"] != nil
	return tree.NameOf(token, twin)
}

// lookup finds the token that NFS shows as a plain name.
func (d *tNode) lookup(name string) (string, *tNode) {
	for _, token := range []string{name + "/", name} {
		if e := d.entries[token]; e != nil {
			return token, e.node
		}
	}
	return "", nil
}

// hidden reports whether NFS doesn't show a token.
func (d *tNode) hidden(token string) bool {
	return token == "" && len(d.entries[""].node.data) == 0 && d.entries[""].node.links == 1
}

// empty reports whether rmdir would find nothing.
func (d *tNode) empty() bool {
	for token := range d.entries {
		if !d.hidden(token) {
			return false
		}
	}
	return true
}

// keep marks a directory that NFS took the last entry from.
func (d *tNode) keep() {
	if len(d.entries) == 0 {
		d.explicit = true
	}
}

// dirs gives all directories below, itself first.
func (d *tNode) dirs() []*tNode {
	out := []*tNode{d}
	var tokens []string
	for token, e := range d.entries {
		if e.node.typ == TypeDir {
			tokens = append(tokens, token)
		}
	}
	sort.Strings(tokens)
	for _, token := range tokens {
		out = append(out, d.entries[token].node.dirs()...)
	}
	return out
}

// above reports whether d is n or lies above it.
func (d *tNode) above(n *tNode) bool {
	for ; n != nil; n = n.parent {
		if n == d {
			return true
		}
	}
	return false
}
