package tree

import (
	"errors"
	"strings"

	"github.com/spirula/spirula/mds/internal/inode"
)

// ListSource is what a Lister walks. Its errors end a Run; the Lister stands
// where it was, so after loading what a *Miss asked for Run goes on.
type ListSource interface {
	// Next is Tree.Next, on what the listing is to see.
	Next(dir *inode.Inode, from string, inclusive bool) (token string, d *inode.Dentry, err error)
	// Child gives the directory that a dentry with a directory token leads to.
	Child(d *inode.Dentry) (*inode.Inode, error)
}

// ListItem is one line of a listing.
type ListItem struct {
	Key string
	// Prefix: Key is a common prefix; there is nothing else.
	Prefix bool
	// Dir is set for the key of an explicit directory without an object of
	// its own: Dentry is then the directory's. Else Dentry is a file's.
	Dir    *inode.Inode
	Dentry *inode.Dentry
}

// DefaultListLook is how many entries one page looks at, at most.
const DefaultListLook = 10000

// listAhead is how many directories that come next are asked for together
// with one that isn't in memory.
const listAhead = 16

// Lister makes one page of keys in byte order out of a tree of directories.
// Fill the request, call Run until it returns nil (or an error that isn't a
// *Miss), and take Items, Truncated and Next.
type Lister struct {
	// The request. After is exclusive: a key, or a common prefix already
	// given. Max counts keys and common prefixes together.
	Prefix, Delimiter, After string
	Max                      int
	// Look bounds the entries looked at; 0: DefaultListLook. A page may be
	// short because of it.
	Look int

	// The page. Next, as After of the next request, goes on.
	Items     []ListItem
	Truncated bool
	Next      string

	started bool
	looked  int
	at      string // go on from this key
	incl    bool   // … itself included
	last    string // what a next page has to come after
}

// frame is a directory the walk is in: its key prefix, and where it stands.
type frame struct {
	dir    *inode.Inode
	dentry *inode.Dentry
	prefix string
	from   string
	incl   bool
	// own: the directory's own key, prefix, comes first if it has one.
	own bool
}

// Succ gives the smallest string greater than every string that starts with
// p; "" if there is none.
func Succ(p string) string {
	for i := len(p) - 1; i >= 0; i-- {
		if p[i] != 0xff {
			return p[:i] + string([]byte{p[i] + 1})
		}
	}
	return ""
}

// Run walks on, from the directory root.
func (l *Lister) Run(src ListSource, root *inode.Inode) error {
	if !l.started {
		l.start()
	}
	if l.Max <= 0 || l.Truncated {
		return nil
	}
	for {
		again, err := l.pass(src, root)
		if err != nil || !again {
			return err
		}
	}
}

func (l *Lister) start() {
	l.started = true
	if l.Look == 0 {
		l.Look = DefaultListLook
	}
	l.at, l.incl, l.last = l.Prefix, true, l.After
	if l.After < l.Prefix {
		return
	}
	l.at, l.incl = l.After, false
	// A common prefix given before is not given again.
	if c := l.common(l.After); c == l.After && c != "" {
		l.at, l.incl = Succ(c), true
		if l.at == "" {
			l.at = l.After + "\xff" // after everything; nothing has the prefix
			l.Max = 0
		}
	}
}

// common gives the common prefix that key is rolled up into; "" if none.
func (l *Lister) common(key string) string {
	if l.Delimiter == "" || !strings.HasPrefix(key, l.Prefix) {
		return ""
	}
	i := strings.Index(key[len(l.Prefix):], l.Delimiter)
	if i < 0 {
		return ""
	}
	return key[:len(l.Prefix)+i+len(l.Delimiter)]
}

// pass seeks to l.at and walks until the page is full, the keys end, or a
// common prefix makes another seek necessary (again).
func (l *Lister) pass(src ListSource, root *inode.Inode) (again bool, err error) {
	stack, err := l.seek(src, root)
	if err != nil {
		return false, err
	}
	for len(stack) > 0 {
		f := &stack[len(stack)-1]
		token, d, err := src.Next(f.dir, f.from, f.incl)
		if err != nil {
			return false, l.ahead(src, stack, err)
		}
		if f.own {
			f.own = false
			if f.dir.Dir.Explicit && (token != "" || d == nil || d.Type != inode.Reg) {
				if done, skip := l.emit(f.prefix, f.dentry, f.dir); done || skip {
					return skip, nil
				}
				l.stand(f.prefix, false)
			}
		}
		if d == nil {
			stack = stack[:len(stack)-1]
			continue
		}
		key := f.prefix + token
		f.from, f.incl = token, false
		if !strings.HasPrefix(key, l.Prefix) && !strings.HasPrefix(l.Prefix, key) {
			if key > l.Prefix {
				return false, nil
			}
			continue
		}
		if l.looked++; l.looked > l.Look {
			l.cut()
			return false, nil
		}
		if !IsDirToken(token) {
			if d.Type != inode.Reg || len(key) < len(l.Prefix) {
				l.stand(key, false)
				continue
			}
			if done, skip := l.emit(key, d, nil); done || skip {
				return skip, nil
			}
			l.stand(key, false)
			continue
		}
		if c := l.common(key); c == key {
			// Nothing below the directory is read.
			if l.add(ListItem{Key: c, Prefix: true}) {
				return false, nil
			}
			l.last = c
			l.at, l.incl = Succ(c), true
			continue
		} else if c != "" {
			_, skip := l.emit(key, d, nil)
			return skip, nil
		}
		child, err := src.Child(d)
		if err != nil {
			return false, l.ahead(src, stack, err)
		}
		l.stand(key, true)
		stack = append(stack, frame{dir: child, dentry: d, prefix: key, incl: true, own: true})
	}
	return false, nil
}

// stand notes how far the walk came: behind key, or with own before key, a
// directory's own.
func (l *Lister) stand(key string, own bool) {
	l.at, l.incl = key, own
	if !own {
		l.last = key
	}
}

// emit gives key, or the common prefix it is rolled up into. done says that
// the page ends here, skip that the walk has to seek anew.
func (l *Lister) emit(key string, d *inode.Dentry, dir *inode.Inode) (done, skip bool) {
	c := l.common(key)
	if c == "" {
		if strings.HasPrefix(key, l.Prefix) {
			done = l.add(ListItem{Key: key, Dentry: d, Dir: dir})
		}
		return done, false
	}
	if l.add(ListItem{Key: c, Prefix: true}) {
		return true, false
	}
	l.last = c
	l.at, l.incl = Succ(c), true
	return l.at == "", l.at != ""
}

// add puts an item on the page; true if the page was full already.
func (l *Lister) add(it ListItem) (full bool) {
	if len(l.Items) >= l.Max {
		l.cut()
		return true
	}
	l.Items = append(l.Items, it)
	return false
}

// cut ends the page before the keys end.
func (l *Lister) cut() { l.Truncated, l.Next = true, l.last }

// seek makes the stack of directories on the way to l.at, each standing
// behind what leads on.
func (l *Lister) seek(src ListSource, root *inode.Inode) ([]frame, error) {
	stack := []frame{{dir: root}}
	rest := l.at
	for {
		f := &stack[len(stack)-1]
		token, more, last := SplitToken(rest)
		f.from, f.incl = token, true
		if last {
			f.incl = l.incl
			// The directory's own key is f.prefix itself.
			f.own = token == "" && l.incl && len(stack) > 1
			if token == "" && !l.incl && len(stack) > 1 {
				f.incl = false
			}
			return stack, nil
		}
		got, d, err := src.Next(f.dir, token, true)
		if err != nil {
			return nil, err
		}
		if d == nil || got != token {
			return stack, nil
		}
		child, err := src.Child(d)
		if err != nil {
			return nil, err
		}
		f.incl = false
		stack = append(stack, frame{dir: child, dentry: d, prefix: f.prefix + token})
		rest = more
	}
}

// ahead adds to a *Miss what the directories that come next will need.
func (l *Lister) ahead(src ListSource, stack []frame, err error) error {
	var m *Miss
	if !errors.As(err, &m) || len(stack) == 0 {
		return err
	}
	// The one that is missing is the top one's, or its child.
	for i := len(stack) - 1; i >= max(len(stack)-2, 0) && len(m.wants) < listAhead; i-- {
		f := stack[i]
		for looked := 0; looked < 4*listAhead && len(m.wants) < listAhead; looked++ {
			token, d, err := src.Next(f.dir, f.from, f.incl)
			if err != nil || d == nil {
				break
			}
			f.from, f.incl = token, false
			if !IsDirToken(token) {
				continue
			}
			if l.common(f.prefix+token) != "" {
				break
			}
			child, err := src.Child(d)
			if err == nil {
				_, _, err = src.Next(child, "", true)
			}
			if more, ok := AsMiss(err); ok {
				m.Add(more)
			}
		}
	}
	return m
}
