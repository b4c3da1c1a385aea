package disk

import (
	"fmt"
	"io"
	"slices"
	"sort"
	"strings"
	"sync"

	"github.com/spirula/spirula/rados/wire"
)

// Mem is a disk in memory that loses at a power cut what a real one may lose:
// see the package comment. It is for tests: simulation, crash tests.
//
// It keeps what is surely on the disk beside what its users see, as pages of
// 4 KiB shared copy-on-write, so that Crash can mix the two. A direct file
// checks alignment as the kernel would.
//
// Lock order: Mem.mu, then memInode.mu.
type Mem struct {
	mu    sync.Mutex
	root  *memNode
	ops   []dirOp // changes of directories not yet synced, oldest first
	locks map[string]bool
	cap   int64 // bytes; 0 = unlimited
	used  int64 // pages in use or reserved, in bytes
	next  uint64
	hook  func(Event) error
	off   error // not nil once the power is off: what every call returns
	calls map[string]int64

	cutOps  []string // the calls that count toward a cut of power
	cutLeft int64    // how many more of them happen; see PowerOffAt
}

// NewMem gives an empty disk in memory without a bound on its size.
func NewMem() *Mem {
	return &Mem{root: newDir(0), next: 1, locks: map[string]bool{}, calls: map[string]int64{}}
}

// Event is a call about to happen, as Mem's hook sees it.
type Event struct {
	Op   string // "open", "write", "sync", "syncdir", "remove", "rename", ... as in the errors
	Name string
	Off  int64 // read, write, discard
	Len  int64
	N    int64 // how many calls of this Op came before it on this disk
}

// SetHook has f called before every operation; an error it returns is the
// operation's, which then doesn't happen. f must not call the disk. nil
// removes the hook.
func (m *Mem) SetHook(f func(Event) error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.hook = f
}

// SetCapacity bounds the disk to n bytes of content, counted in pages of
// 4 KiB; 0 is no bound. Writes beyond it get ENOSPC.
func (m *Mem) SetCapacity(n int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.cap = n
}

// PowerOff makes every later call fail with EIO, as it is for a process that
// outlives its machine. What Crash sees is the state at this moment.
func (m *Mem) PowerOff() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.powerOff()
}

// PowerOffAt cuts the power at the nth call from now (1 is the next) of any of
// ops, named as in Event; no names mean all calls. That call doesn't happen
// any more. 0 takes the order back.
func (m *Mem) PowerOffAt(n int64, ops ...string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.cutLeft, m.cutOps = n, ops
}

func (m *Mem) powerOff() {
	if m.off == nil {
		m.off = wire.Errorf("disk", "power is off", wire.EIO)
	}
}

// Calls says how often an operation was asked for, by its name in Event.
func (m *Mem) Calls(op string) int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.calls[op]
}

// enter checks power and hook. m.mu is held.
func (m *Mem) enter(op, name string, off, n int64) error {
	if m.off != nil {
		return m.off
	}
	if m.cutLeft > 0 && (len(m.cutOps) == 0 || slices.Contains(m.cutOps, op)) {
		if m.cutLeft--; m.cutLeft == 0 {
			m.powerOff()
			return m.off
		}
	}
	count := m.calls[op]
	m.calls[op] = count + 1
	if m.hook == nil {
		return nil
	}
	return m.hook(Event{Op: op, Name: name, Off: off, Len: n, N: count})
}

// memNode is a directory or a file, by which of its two parts is there.
type memNode struct {
	id      uint64
	entries map[string]*memNode // a directory's, as seen now
	durable map[string]*memNode // the same as surely on disk
	file    *memInode
}

func newDir(id uint64) *memNode {
	return &memNode{id: id, entries: map[string]*memNode{}, durable: map[string]*memNode{}}
}

// edit sets a name of a directory, or removes it when node is nil.
type edit struct {
	dir  *memNode
	name string
	node *memNode
}

// dirOp is what one call did to directories: all its edits survive or none.
type dirOp []edit

func (o dirOp) touches(dirs map[*memNode]bool) bool {
	for _, e := range o {
		if dirs[e.dir] {
			return true
		}
	}
	return false
}

// change makes edits visible and remembers them as not yet durable.
func (m *Mem) change(op dirOp) {
	for _, e := range op {
		old := e.dir.entries[e.name]
		if e.node == nil {
			delete(e.dir.entries, e.name)
		} else {
			e.dir.entries[e.name] = e.node
			if e.node.file != nil {
				e.node.file.links++
			}
		}
		if old != nil && old.file != nil {
			old.file.links--
			m.reclaim(old.file)
		}
	}
	m.ops = append(m.ops, op)
}

// reclaim gives back the space of a file without names and handles.
func (m *Mem) reclaim(f *memInode) {
	if f.links == 0 && f.opens == 0 {
		f.mu.Lock()
		m.used -= f.charged
		f.charged = 0
		f.mu.Unlock()
	}
}

// find walks to name's directory and gives it with the last element.
func (m *Mem) find(op, name string) (*memNode, string, error) {
	if err := checkName(op, name); err != nil {
		return nil, "", err
	}
	parts := strings.Split(name, "/")
	dir := m.root
	for _, p := range parts[:len(parts)-1] {
		next := dir.entries[p]
		if next == nil {
			return nil, "", wire.Errorf("disk."+op, name, wire.ENOENT)
		}
		if next.entries == nil {
			return nil, "", wire.Errorf("disk."+op, name, wire.ENOTDIR)
		}
		dir = next
	}
	return dir, parts[len(parts)-1], nil
}

// lookup finds what name names, the root for ".".
func (m *Mem) lookup(op, name string) (*memNode, error) {
	if name == "." {
		return m.root, nil
	}
	dir, last, err := m.find(op, name)
	if err != nil {
		return nil, err
	}
	if n := dir.entries[last]; n != nil {
		return n, nil
	}
	return nil, wire.Errorf("disk."+op, name, wire.ENOENT)
}

// Open implements Disk.
func (m *Mem) Open(name string, flags Flag) (File, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.enter("open", name, 0, 0); err != nil {
		return nil, err
	}
	dir, last, err := m.find("open", name)
	if err != nil {
		return nil, err
	}
	n := dir.entries[last]
	switch {
	case n == nil && flags&Create == 0:
		return nil, wire.Errorf("disk.open", name, wire.ENOENT)
	case n == nil:
		n = &memNode{id: m.next, file: newInode()}
		m.next++
		m.change(dirOp{{dir, last, n}})
	case n.file == nil:
		return nil, wire.Errorf("disk.open", name, wire.EISDIR)
	case flags&Create != 0 && flags&Excl != 0:
		return nil, wire.Errorf("disk.open", name, wire.EEXIST)
	}
	if flags&Trunc != 0 {
		n.file.mu.Lock()
		n.file.truncate(0)
		m.charge(n.file)
		n.file.mu.Unlock()
	}
	n.file.opens++
	return &memFile{m: m, in: n.file, name: name, flags: flags}, nil
}

// Remove implements Disk.
func (m *Mem) Remove(name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.enter("remove", name, 0, 0); err != nil {
		return err
	}
	dir, last, err := m.find("remove", name)
	if err != nil {
		return err
	}
	n := dir.entries[last]
	if n == nil {
		return wire.Errorf("disk.remove", name, wire.ENOENT)
	}
	if len(n.entries) > 0 {
		return wire.Errorf("disk.remove", name, wire.ENOTEMPTY)
	}
	m.change(dirOp{{dir, last, nil}})
	return nil
}

// Rename implements Disk. After a power cut either both names are as before
// or both as after.
func (m *Mem) Rename(from, to string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.enter("rename", from, 0, 0); err != nil {
		return err
	}
	fd, fl, err := m.find("rename", from)
	if err != nil {
		return err
	}
	td, tl, err := m.find("rename", to)
	if err != nil {
		return err
	}
	n, old := fd.entries[fl], td.entries[tl]
	switch {
	case n == nil:
		return wire.Errorf("disk.rename", from, wire.ENOENT)
	case n == old:
		return nil
	case old != nil && len(old.entries) > 0:
		return wire.Errorf("disk.rename", to, wire.ENOTEMPTY)
	case old != nil && old.file == nil && n.file != nil:
		return wire.Errorf("disk.rename", to, wire.EISDIR)
	case old != nil && old.file != nil && n.file == nil:
		return wire.Errorf("disk.rename", to, wire.ENOTDIR)
	case n.file == nil && strings.HasPrefix(to, from+"/"):
		return wire.Errorf("disk.rename", to, wire.EINVAL)
	}
	m.change(dirOp{{td, tl, n}, {fd, fl, nil}})
	return nil
}

// Link implements Disk.
func (m *Mem) Link(from, to string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.enter("link", from, 0, 0); err != nil {
		return err
	}
	n, err := m.lookup("link", from)
	if err != nil {
		return err
	}
	if n.file == nil {
		return wire.Errorf("disk.link", from, wire.EACCES)
	}
	dir, last, err := m.find("link", to)
	if err != nil {
		return err
	}
	if dir.entries[last] != nil {
		return wire.Errorf("disk.link", to, wire.EEXIST)
	}
	m.change(dirOp{{dir, last, n}})
	return nil
}

// Mkdir implements Disk.
func (m *Mem) Mkdir(name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.enter("mkdir", name, 0, 0); err != nil {
		return err
	}
	if name == "." {
		return nil
	}
	dir, last, err := m.find("mkdir", name)
	if err != nil {
		return err
	}
	if n := dir.entries[last]; n != nil {
		if n.entries == nil {
			return wire.Errorf("disk.mkdir", name, wire.EEXIST)
		}
		return nil
	}
	m.change(dirOp{{dir, last, newDir(m.next)}})
	m.next++
	return nil
}

// List implements Disk.
func (m *Mem) List(dir string) ([]string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.enter("list", dir, 0, 0); err != nil {
		return nil, err
	}
	n, err := m.lookup("list", dir)
	if err != nil {
		return nil, err
	}
	if n.entries == nil {
		return nil, wire.Errorf("disk.list", dir, wire.ENOTDIR)
	}
	return sortedNames(n.entries), nil
}

func sortedNames(entries map[string]*memNode) []string {
	names := make([]string, 0, len(entries))
	for name := range entries {
		names = append(names, name)
	}
	sort.Strings(names)
	return names
}

// Size implements Disk.
func (m *Mem) Size(name string) (int64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.enter("size", name, 0, 0); err != nil {
		return 0, err
	}
	n, err := m.lookup("size", name)
	if err != nil || n.file == nil {
		return 0, err
	}
	n.file.mu.RLock()
	defer n.file.mu.RUnlock()
	return n.file.size, nil
}

// SyncDir implements Disk.
func (m *Mem) SyncDir(dir string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.enter("syncdir", dir, 0, 0); err != nil {
		return err
	}
	n, err := m.lookup("syncdir", dir)
	if err != nil {
		return err
	}
	if n.entries == nil {
		return wire.Errorf("disk.syncdir", dir, wire.ENOTDIR)
	}
	// A rename between two directories is one change: it takes along what
	// went before it in both, or older edits would later undo it.
	dirs := map[*memNode]bool{n: true}
	sync := make([]bool, len(m.ops))
	for i := len(m.ops) - 1; i >= 0; i-- {
		if m.ops[i].touches(dirs) {
			sync[i] = true
			for _, e := range m.ops[i] {
				dirs[e.dir] = true
			}
		}
	}
	rest := m.ops[:0]
	for i, op := range m.ops {
		if sync[i] {
			op.applyTo(func(d *memNode) map[string]*memNode { return d.durable })
		} else {
			rest = append(rest, op)
		}
	}
	clear(m.ops[len(rest):])
	m.ops = rest
	return nil
}

// applyTo does the edits on the view of each directory that pick gives.
func (o dirOp) applyTo(pick func(*memNode) map[string]*memNode) {
	for _, e := range o {
		if e.node == nil {
			delete(pick(e.dir), e.name)
		} else {
			pick(e.dir)[e.name] = e.node
		}
	}
}

// memLock is a lock that is held; closing it twice is one release.
type memLock struct {
	m    *Mem
	name string
	once sync.Once
}

func (l *memLock) Close() error {
	l.once.Do(func() {
		l.m.mu.Lock()
		defer l.m.mu.Unlock()
		delete(l.m.locks, l.name)
	})
	return nil
}

// Lock implements Disk.
func (m *Mem) Lock(name string) (io.Closer, error) {
	f, err := m.Open(name, Create)
	if err != nil {
		return nil, err
	}
	if err := f.Close(); err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.locks[name] {
		return nil, wire.Errorf("disk.lock", name, wire.EBUSY)
	}
	m.locks[name] = true
	return &memLock{m: m, name: name}, nil
}

// memTotal is the size that Space reports for a disk without a bound.
const memTotal = 1 << 44

// Space implements Disk.
func (m *Mem) Space() (total, free int64, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.enter("space", ".", 0, 0); err != nil {
		return 0, 0, err
	}
	total = m.cap
	if total == 0 {
		total = memTotal
	}
	return total, max(0, total-m.used), nil
}

// Describe implements Disk.
func (m *Mem) Describe() string {
	total, free, err := m.Space()
	if err != nil {
		return "memory, " + err.Error()
	}
	return fmt.Sprintf("memory, %d of %d bytes free", free, total)
}
