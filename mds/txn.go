package mds

import (
	"context"
	"fmt"
	"slices"
	"strconv"

	"github.com/spirula/spirula/mds/internal/inode"
	"github.com/spirula/spirula/mds/internal/tree"
	"github.com/spirula/spirula/rados/wire"
)

// maxRetries bounds how often one operation is run again because something
// had to be loaded or waited for. Each run makes progress (a deeper level of
// the path is in memory), so only a cache far too small for its load meets it.
const maxRetries = 4096

func inoName(ino Ino) string { return "inode " + strconv.FormatUint(uint64(ino), 16) }

// waitFor is returned by a transaction that met something another operation
// is about to settle: run again once ch is closed.
type waitFor struct{ ch <-chan struct{} }

func (*waitFor) Error() string { return "wait for another operation" }

// txn is one transaction: what it has read and what it wants to change. All
// its methods need FS.mu. Errors of kind *tree.Miss and *waitFor must be
// passed on as they are.
type txn struct {
	fs   *FS
	now  wire.Time
	seen tree.Pos // the newest change among what was read

	puts  []putItem
	index map[place]int // into puts
	rows  []rowItem
	born  []Ino  // directories made here
	gone  []Ino  // directories removed here
	extra []byte // further event items, encoded

	taken   uint64   // numbers taken, see number
	streams []uint64 // those of them that are streams

	// apply is run with the event's position once the transaction is
	// certain, after the tree has the new values.
	apply []func(pos tree.Pos)
	// splitDone, of a split's second event, fills in the directory's list of
	// fragments before the tree gets it.
	splitDone func(pos tree.Pos)
}

type putItem struct {
	at place
	d  *inode.Dentry // nil: delete
}

type rowItem struct {
	ino Ino
	row *inode.TableRow // nil: gone
}

// run executes fn under FS.mu until it neither misses nor waits. When fn
// succeeds and staged anything, the event is in the journal's hands and pos
// is its position; otherwise pos is what was seen.
func (fs *FS) run(ctx context.Context, fn func(t *txn) error) (pos tree.Pos, err error) {
	for range maxRetries {
		if err := fs.usable(); err != nil {
			return 0, err
		}
		fs.mu.Lock()
		t := &txn{fs: fs, now: fs.now()}
		err := fn(t)
		if err == nil {
			pos = t.commitLocked()
			fs.mu.Unlock()
			return pos, nil
		}
		fs.mu.Unlock()
		switch e := err.(type) {
		case *tree.Miss:
			if err := fs.tree.Load(ctx, e); err != nil {
				return 0, err
			}
		case *waitFor:
			select {
			case <-e.ch:
			case <-ctx.Done():
				return 0, ctx.Err()
			}
		default:
			return t.seen, err
		}
	}
	return 0, wire.Wrap("mds", "", fmt.Errorf("an operation needed more than %d loads, give the mds a larger cache: %w", maxRetries, wire.EAGAIN))
}

// view runs a transaction that only reads, and returns when what it has seen
// is durable.
func (fs *FS) view(ctx context.Context, fn func(t *txn) error) error {
	seen, err := fs.run(ctx, fn)
	if werr := fs.settled(ctx, seen); werr != nil {
		return werr
	}
	return err
}

// update runs a transaction and returns when its event is durable. A refusal
// too is answered only when the state that caused it is durable.
func (fs *FS) update(ctx context.Context, fn func(t *txn) error) error {
	if err := fs.admit(ctx); err != nil {
		return err
	}
	return fs.view(ctx, fn)
}

// settled waits until the journal is durable up to pos, and refuses when this
// mds may no longer answer.
func (fs *FS) settled(ctx context.Context, pos tree.Pos) error {
	if pos > tree.Pos(fs.journal.Durable()) {
		if err := fs.journal.Wait(ctx, uint64(pos)); err != nil {
			return err
		}
	}
	return fs.usable()
}

// commitLocked gives the staged changes to journal and tree. It returns the
// event's position, or the newest seen when nothing was staged.
func (t *txn) commitLocked() tree.Pos {
	t.takeNumbersLocked()
	pos := t.seen
	if len(t.puts)+len(t.rows)+len(t.extra) > 0 {
		pos = tree.Pos(t.fs.journal.Append(t.event()))
		if t.splitDone != nil {
			t.splitDone(pos)
		}
		for _, ino := range t.born {
			t.fs.tree.Born(ino)
		}
		for i := range t.puts {
			d := t.puts[i].d
			t.fs.tree.Put(pos, t.puts[i].at.dir, t.puts[i].at.token, d)
			if d == nil || d.Inode == nil {
				continue
			}
			if t.puts[i].at.dir != strayIno {
				t.fs.inodeChangedLocked(d.Inode)
			}
			if !d.Unconfirmed {
				t.fs.namedLocked(d.Inode)
			}
		}
		for i := range t.rows {
			t.fs.tree.PutRow(pos, t.rows[i].ino, t.rows[i].row)
			if r := t.rows[i].row; r != nil && r.Inode != nil {
				t.fs.inodeChangedLocked(r.Inode)
				t.fs.namedLocked(r.Inode)
			}
		}
	}
	for _, ino := range t.gone {
		t.fs.tree.Forget(ino)
	}
	for _, f := range t.apply {
		f(pos)
	}
	return pos
}

func (t *txn) event() []byte {
	b := make([]byte, 1, 512)
	b[0] = eventVersion
	for _, ino := range t.born {
		b = appendIno(b, itemBorn, ino)
	}
	for i := range t.puts {
		if t.puts[i].d == nil {
			b = appendDelete(b, t.puts[i].at)
		} else {
			b = appendPut(b, t.puts[i].at, t.puts[i].d)
		}
	}
	for i := range t.rows {
		if !t.implied(&t.rows[i]) {
			b = appendRow(b, t.rows[i].ino, t.rows[i].row)
		}
	}
	for _, ino := range t.gone {
		b = appendIno(b, itemForgotten, ino)
	}
	return append(b, t.extra...)
}

// implied reports whether a row follows from a put of the same event.
func (t *txn) implied(r *rowItem) bool {
	if r.row == nil || r.row.Kind != inode.RowAt {
		return false
	}
	i, ok := t.index[place{r.row.Parent, r.row.Token}]
	return ok && t.puts[i].d != nil && t.puts[i].d.Inode != nil && t.puts[i].d.Inode.Ino == r.ino && t.puts[i].d.Inode.Nlink > 0
}

func (t *txn) saw(pos tree.Pos) {
	if pos > t.seen {
		t.seen = pos
	}
}

// sawAll is for reads that don't tell which changes they have seen.
func (t *txn) sawAll() { t.saw(tree.Pos(t.fs.journal.Head())) }

// getRaw reads a dentry, its unconfirmed state left alone.
func (t *txn) getRaw(dir *inode.Inode, token string) (*inode.Dentry, error) {
	if i, ok := t.index[place{dir.Ino, token}]; ok {
		return t.puts[i].d, nil
	}
	if slices.Contains(t.born, dir.Ino) {
		return nil, nil
	}
	d, pos, err := t.fs.tree.Get(dir, token)
	t.saw(pos)
	return d, err
}

// get reads the dentry of token in dir; nil when there is none.
func (t *txn) get(dir *inode.Inode, token string) (*inode.Dentry, error) {
	d, err := t.getRaw(dir, token)
	if err != nil || d == nil || !d.Unconfirmed {
		return d, err
	}
	return nil, t.fs.unconfirmedLocked(place{dir.Ino, token}, d)
}

// put stages a dentry; nil deletes it.
func (t *txn) put(dir Ino, token string, d *inode.Dentry) {
	at := place{dir, token}
	if i, ok := t.index[at]; ok {
		t.puts[i].d = d
		return
	}
	if t.index == nil {
		t.index = make(map[place]int, 4)
	}
	t.index[at] = len(t.puts)
	t.puts = append(t.puts, putItem{at, d})
}

func (t *txn) row(ino Ino) (*inode.TableRow, error) {
	for i := len(t.rows) - 1; i >= 0; i-- {
		if t.rows[i].ino == ino {
			return t.rows[i].row, nil
		}
	}
	r, pos, err := t.fs.tree.Row(ino)
	t.saw(pos)
	return r, err
}

func (t *txn) putRow(ino Ino, row *inode.TableRow) {
	for i := range t.rows {
		if t.rows[i].ino == ino {
			t.rows[i].row = row
			return
		}
	}
	t.rows = append(t.rows, rowItem{ino, row})
}

// inode finds the current record of ino; ESTALE when there is none.
func (t *txn) inode(ino Ino) (*inode.Inode, error) {
	row, err := t.row(ino)
	if err != nil {
		return nil, err
	}
	if row == nil {
		return nil, wire.Errorf("mds", inoName(ino), wire.ESTALE)
	}
	switch row.Kind {
	case inode.RowHere:
		return t.fs.currentLocked(row.Inode), nil
	case inode.RowAt:
		dir, err := t.inode(row.Parent)
		if err != nil {
			return nil, err
		}
		d, err := t.get(dir, row.Token)
		if err != nil {
			return nil, err
		}
		if d != nil && d.Inode != nil && d.Inode.Ino == ino {
			return t.fs.currentLocked(d.Inode), nil
		}
	}
	return nil, wire.Errorf("mds", inoName(ino), wire.ESTALE)
}

// handle finds the inode a handle names.
func (t *txn) handle(h Handle) (*inode.Inode, error) {
	if h.Snap != 0 && h.Snap != wire.NoSnap {
		return nil, wire.Errorf("mds", inoName(h.Ino), wire.ESTALE)
	}
	if h.Ino < firstNumber && h.Ino != RootIno {
		return nil, wire.Errorf("mds", inoName(h.Ino), wire.ESTALE)
	}
	in, err := t.inode(h.Ino)
	if err != nil {
		return nil, err
	}
	if in.Gen != h.Gen {
		return nil, wire.Errorf("mds", inoName(h.Ino), wire.ESTALE)
	}
	return in, nil
}

// dirHandle finds the directory a handle names; ENOTDIR when it is none.
func (t *txn) dirHandle(op string, h Handle) (*inode.Inode, error) {
	in, err := t.handle(h)
	if err != nil {
		return nil, err
	}
	if in.Type != inode.Dir {
		return nil, wire.Errorf(op, inoName(h.Ino), wire.ENOTDIR)
	}
	return in, nil
}

// target gives the inode that a dentry leads to.
func (t *txn) target(d *inode.Dentry) (*inode.Inode, error) {
	if d.Inode != nil {
		return t.fs.currentLocked(d.Inode), nil
	}
	return t.inode(d.Ino)
}

// putInode stages a changed record at the place where its inode lives now.
func (t *txn) putInode(in *inode.Inode) error {
	row, err := t.row(in.Ino)
	if err != nil {
		return err
	}
	if row == nil {
		return wire.Errorf("mds", inoName(in.Ino), wire.ESTALE)
	}
	if row.Kind == inode.RowHere {
		r := *row
		r.Inode = in
		t.putRow(in.Ino, &r)
		return nil
	}
	dir, err := t.inode(row.Parent)
	if err != nil {
		return err
	}
	d, err := t.get(dir, row.Token)
	if err != nil {
		return err
	}
	if d == nil || d.Inode == nil || d.Inode.Ino != in.Ino {
		return wire.Errorf("mds", inoName(in.Ino), wire.ESTALE)
	}
	nd := *d
	nd.Inode = in
	t.put(row.Parent, row.Token, &nd)
	return nil
}

// clone copies an inode's record for a change. Lists are shared: whoever
// changes one makes a new list.
func clone(in *inode.Inode) *inode.Inode {
	c := *in
	if in.Dir != nil {
		d := *in.Dir
		c.Dir = &d
	}
	if in.Bucket != nil {
		b := *in.Bucket
		c.Bucket = &b
	}
	if in.S3 != nil {
		s := *in.S3
		c.S3 = &s
	}
	return &c
}

// touched clones in with its change counter and ctime moved.
func (t *txn) touched(in *inode.Inode) *inode.Inode {
	c := clone(in)
	c.Change++
	c.Ctime = t.now
	return c
}

// delta is what a change of an entry does to its directory's figures.
type delta struct {
	entries int64 // of the directory itself
	subdirs int32
	bytes   int64 // of it and all above, up to the bucket
	files   int64
	dirs    int64
}

// account stages the changed figures of dir and of every directory above it
// up to the bucket; dir's own times and counter move too. It returns dir's
// new record.
func (t *txn) account(dir Ino, d delta) (*inode.Inode, error) {
	in, err := t.inode(dir)
	if err != nil {
		return nil, err
	}
	c := t.touched(in)
	c.Mtime = t.now
	c.Dir.Entries = uint64(int64(c.Dir.Entries) + d.entries)
	c.Dir.Subdirs = uint32(int32(c.Dir.Subdirs) + d.subdirs)
	addTotals(&c.Dir.Totals, d, t.now)
	if err := t.putInode(c); err != nil {
		return nil, err
	}
	for up := c; up.Dir.Parent != RootIno && up.Ino != RootIno; {
		in, err := t.inode(up.Dir.Parent)
		if err != nil {
			return nil, err
		}
		n := clone(in)
		addTotals(&n.Dir.Totals, d, t.now)
		if err := t.putInode(n); err != nil {
			return nil, err
		}
		up = n
	}
	return c, nil
}

func addTotals(t *inode.Totals, d delta, now wire.Time) {
	t.Bytes = uint64(int64(t.Bytes) + d.bytes)
	t.Files = uint64(int64(t.Files) + d.files)
	t.Dirs = uint64(int64(t.Dirs) + d.dirs)
	t.Mtime = now
}

// accountBytes stages the totals above a file whose size changed in place.
func (t *txn) accountBytes(ino Ino, bytes int64) error {
	if bytes == 0 {
		return nil
	}
	row, err := t.row(ino)
	if err != nil || row == nil {
		return err
	}
	if row.Kind == inode.RowAt {
		return t.accountUp(row.Parent, bytes)
	}
	if len(row.Links) == 0 {
		return nil
	}
	return t.accountUp(row.Links[0].Parent, bytes)
}

// accountUp adds bytes to the totals of dir and of those above it, up to the
// bucket.
func (t *txn) accountUp(dir Ino, bytes int64) error {
	for dir != RootIno && dir >= firstNumber {
		in, err := t.inode(dir)
		if err != nil {
			return err
		}
		n := clone(in)
		addTotals(&n.Dir.Totals, delta{bytes: bytes}, t.now)
		if err := t.putInode(n); err != nil {
			return err
		}
		dir = n.Dir.Parent
	}
	return nil
}

// addEntry stages a new dentry for a new inode under a token that is free,
// with its row and the directory's figures. A zero Seq takes the directory's
// next birth number.
func (t *txn) addEntry(dir Ino, token string, d *inode.Dentry) error {
	dl := t.entryDelta(d.Inode, +1)
	in, err := t.account(dir, dl)
	if err != nil {
		return err
	}
	if d.Seq == 0 {
		d.Seq = in.Dir.NextSeq
		in.Dir.NextSeq++
	}
	t.put(dir, token, d)
	if d.Inode != nil {
		t.putRow(d.Inode.Ino, &inode.TableRow{Kind: inode.RowAt, Parent: dir, Token: token})
	}
	return nil
}

// dropEntry stages a dentry's end. The inode's own row is the caller's
// matter.
func (t *txn) dropEntry(dir Ino, token string, in *inode.Inode) error {
	if _, err := t.account(dir, t.entryDelta(in, -1)); err != nil {
		return err
	}
	t.put(dir, token, nil)
	return nil
}

// entryDelta is what one more (or less, sign -1) entry for in means.
func (t *txn) entryDelta(in *inode.Inode, sign int64) delta {
	d := delta{entries: sign}
	switch {
	case in == nil:
		d.files = sign
	case in.Type == inode.Dir:
		d.subdirs = int32(sign)
		d.dirs = sign * int64(1+in.Dir.Totals.Dirs)
		d.files = sign * int64(in.Dir.Totals.Files)
		d.bytes = sign * int64(in.Dir.Totals.Bytes)
	default:
		d.files = sign
		d.bytes = sign * int64(t.fs.countedLocked(in))
	}
	return d
}
