package tree

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"sort"
	"strings"
	"testing"

	"github.com/spirula/spirula/mds/internal/inode"
)

// memDirs is a namespace in plain maps, as a ListSource. With miss it makes
// now and then as if something had to be loaded.
type memDirs struct {
	dirs  map[inode.Ino]*memDir
	miss  *rand.Rand
	nexts int
}

type memDir struct {
	in     *inode.Inode
	tokens []string
	byName map[string]*inode.Dentry
}

func newMemDirs() *memDirs {
	m := &memDirs{dirs: make(map[inode.Ino]*memDir)}
	m.mkdir(1, true)
	return m
}

func (m *memDirs) mkdir(ino inode.Ino, explicit bool) *memDir {
	d := &memDir{in: &inode.Inode{Ino: ino, Type: inode.Dir, Dir: NewDirPart(1, explicit)}, byName: make(map[string]*inode.Dentry)}
	m.dirs[ino] = d
	return d
}

func (m *memDirs) root() *inode.Inode { return m.dirs[1].in }

// add makes key, with the directories it needs; a key ending in '/' with
// typ Dir makes an explicit directory.
func (m *memDirs) add(key string, typ inode.Type) {
	d := m.dirs[1]
	for {
		token, rest, last := SplitToken(key)
		if last && typ == inode.Dir {
			d.in.Dir.Explicit = true
			return
		}
		e := d.byName[token]
		if e == nil {
			e = &inode.Dentry{Type: typ, Ino: inode.Ino(1000 + len(m.dirs))}
			if !last {
				e.Type = inode.Dir
				m.mkdir(e.Ino, false)
			}
			d.byName[token] = e
			i := sort.SearchStrings(d.tokens, token)
			d.tokens = slices.Insert(d.tokens, i, token)
		}
		if last {
			return
		}
		d, key = m.dirs[e.Ino], rest
	}
}

func (m *memDirs) Next(dir *inode.Inode, from string, incl bool) (string, *inode.Dentry, error) {
	m.nexts++
	if m.miss != nil && m.miss.IntN(20) == 0 {
		return "", nil, fmt.Errorf("wrapped: %w", &Miss{wants: []want{{}}})
	}
	d := m.dirs[dir.Ino]
	i := sort.SearchStrings(d.tokens, from)
	if !incl && i < len(d.tokens) && d.tokens[i] == from {
		i++
	}
	if i == len(d.tokens) {
		return "", nil, nil
	}
	return d.tokens[i], d.byName[d.tokens[i]], nil
}

func (m *memDirs) Child(d *inode.Dentry) (*inode.Inode, error) {
	if m.miss != nil && m.miss.IntN(20) == 0 {
		return nil, &Miss{wants: []want{{}}}
	}
	return m.dirs[d.Ino].in, nil
}

// listNaive is a listing by definition: keys sorted, those not after after
// left out, the rest rolled up.
func listNaive(keys []string, prefix, delim, after string) []string {
	var out []string
	for _, k := range keys {
		if !strings.HasPrefix(k, prefix) || k <= after {
			continue
		}
		if delim != "" {
			if i := strings.Index(k[len(prefix):], delim); i >= 0 {
				c := k[:len(prefix)+i+len(delim)]
				if c != after && (len(out) == 0 || out[len(out)-1] != "P"+c) {
					out = append(out, "P"+c)
				}
				continue
			}
		}
		out = append(out, "K"+k)
	}
	return out
}

// listAll pages through a listing.
func listAll(t *testing.T, src ListSource, root *inode.Inode, prefix, delim, after string, max, look int) []string {
	t.Helper()
	var out []string
	for pages := 0; ; pages++ {
		l := &Lister{Prefix: prefix, Delimiter: delim, After: after, Max: max, Look: look}
		for try := 0; ; try++ {
			err := l.Run(src, root)
			if err == nil {
				break
			}
			if _, ok := AsMiss(err); !ok || try > 100000 {
				t.Fatalf("P=%q D=%q A=%q: %v", prefix, delim, after, err)
			}
		}
		for _, it := range l.Items {
			kind := "K"
			if it.Prefix {
				kind = "P"
			} else if it.Dentry == nil {
				t.Fatalf("an item without a dentry: %q", it.Key)
			}
			out = append(out, kind+it.Key)
		}
		if !l.Truncated {
			return out
		}
		if l.Next == after || pages > 100000 {
			t.Fatalf("P=%q D=%q A=%q: a page goes on at %q", prefix, delim, after, l.Next)
		}
		after = l.Next
	}
}

var listAlphabet = []string{"\x00", "!", ".", "/", "0", "a", "\xff"}

func randomKey(r *rand.Rand, n int) string {
	var b strings.Builder
	for range 1 + r.IntN(n) {
		b.WriteString(listAlphabet[r.IntN(len(listAlphabet))])
	}
	return b.String()
}

// TestListOrder: a walk of tokens is the order of keys, with every prefix,
// delimiter and marker.
func TestListOrder(t *testing.T) {
	for seed := range uint64(150) {
		r := rand.New(rand.NewPCG(seed, 11))
		m := newMemDirs()
		set := make(map[string]bool)
		for range 1 + r.IntN(150) {
			k := randomKey(r, 7)
			switch r.IntN(12) {
			case 0: // an explicit directory
				k = strings.TrimSuffix(k, "/") + "/"
				m.add(k, inode.Dir)
				set[k] = true
			case 1: // something that S3 doesn't show, in an explicit directory
				m.add("hid/"+strings.ReplaceAll(k, "/", "_"), inode.FIFO)
				m.add("hid/", inode.Dir)
				set["hid/"] = true
			default:
				m.add(k, inode.Reg)
				set[k] = true
			}
		}
		keys := make([]string, 0, len(set))
		for k := range set {
			keys = append(keys, k)
		}
		sort.Strings(keys)
		if r.IntN(2) == 0 {
			m.miss = r
		}
		for range 60 {
			var prefix, delim, after string
			if k := keys[r.IntN(len(keys))]; r.IntN(3) > 0 {
				prefix = k[:r.IntN(len(k)+1)]
			}
			if r.IntN(4) > 0 {
				delim = randomKey(r, 2)
			}
			if r.IntN(3) == 0 {
				delim = "/"
			}
			switch r.IntN(3) {
			case 0:
				after = keys[r.IntN(len(keys))]
				after = after[:r.IntN(len(after)+1)]
			case 1:
				after = randomKey(r, 7)
			}
			want := listNaive(keys, prefix, delim, after)
			got := listAll(t, m, m.root(), prefix, delim, after, 1+r.IntN(8), 0)
			if !slices.Equal(want, got) {
				t.Fatalf("seed %d P=%q D=%q A=%q:\nwant %q\ngot  %q", seed, prefix, delim, after, want, got)
			}
			if got = listAll(t, m, m.root(), prefix, delim, after, 1000, 20); !slices.Equal(want, got) {
				t.Fatalf("seed %d P=%q D=%q A=%q, few looked at:\nwant %q\ngot  %q", seed, prefix, delim, after, want, got)
			}
		}
	}
}

// TestListTable has the listings of the specification.
func TestListTable(t *testing.T) {
	m := newMemDirs()
	for _, k := range []string{"a", "a!", "a/b", "a/c/d", "ab/x", "b"} {
		m.add(k, inode.Reg)
	}
	for _, c := range []struct {
		prefix, delim, after string
		want                 string
	}{
		{"", "/", "", "Ka Ka! Pa/ Pab/ Kb"},
		{"a/", "/", "", "Ka/b Pa/c/"},
		{"a", "", "", "Ka Ka! Ka/b Ka/c/d Kab/x"},
		{"", "", "a/bz", "Ka/c/d Kab/x Kb"},
		{"", "/", "a/", "Pab/ Kb"},
		{"", "b", "", "Ka Ka! Pa/b Ka/c/d Pab Pb"},
		{"zz", "/", "", ""},
		{"a/c/d", "/", "", "Ka/c/d"},
		{"a/c", "/", "", "Pa/c/"},
	} {
		if got := strings.Join(listAll(t, m, m.root(), c.prefix, c.delim, c.after, 2, 0), " "); got != c.want {
			t.Errorf("P=%q D=%q A=%q: %s, want %s", c.prefix, c.delim, c.after, got, c.want)
		}
	}
}

// TestListSkips: with delimiter '/' nothing below a common prefix is looked
// at.
func TestListSkips(t *testing.T) {
	m := newMemDirs()
	for i := range 100 {
		for j := range 100 {
			m.add(fmt.Sprintf("%02d/%02d", i, j), inode.Reg)
		}
	}
	if got := listAll(t, m, m.root(), "", "/", "", 1000, 0); len(got) != 100 {
		t.Fatalf("%d prefixes, want 100", len(got))
	}
	if m.nexts > 110 {
		t.Errorf("%d steps for 100 prefixes", m.nexts)
	}
}
