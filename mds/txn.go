package mds

import (
	"context"
	"fmt"
	"slices"
	"strconv"

	"github.com/spirula/spirula/mds/internal/inode"
	"github.com/spirula/spirula/mds/internal/journal"
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
	index map[place]int // into puts, when they are many
	rows  []rowItem
	known []knownDir // directories met, as they are after what was staged
	ups   []upItem   // totals still to be staged, see settleTotals
	born  []Ino      // directories made here
	gone  []Ino      // directories removed here
	extra []byte     // further event items, encoded

	taken   uint64   // numbers taken, see number
	streams []uint64 // those of them that are streams

	// apply is run with the event's position once the transaction is
	// certain, after the tree has the new values.
	apply []func(pos tree.Pos)
	// splitDone, of a split's second event, fills in the directory's list of
	// fragments before the tree gets it.
	splitDone func(pos tree.Pos)
}

// beginLocked gives an empty transaction; endLocked takes it back, for the
// next one to use its memory.
func (fs *FS) beginLocked() *txn {
	t := fs.spare
	if fs.spare = nil; t == nil {
		t = &txn{fs: fs}
	}
	t.now = fs.now()
	return t
}

func (t *txn) endLocked() {
	clear(t.puts)
	clear(t.rows)
	clear(t.known)
	clear(t.apply)
	*t = txn{fs: t.fs, puts: t.puts[:0], rows: t.rows[:0], known: t.known[:0], ups: t.ups[:0], born: t.born[:0],
		gone: t.gone[:0], extra: t.extra[:0], streams: t.streams[:0], apply: t.apply[:0]}
	if cap(t.puts) <= maxSpare {
		t.fs.spare = t
	}
}

// maxSpare is the most puts whose memory is kept for the next transaction.
const maxSpare = 64

// knownDir is a directory that a transaction has met. at and d are the entry
// it lies in; d is nil for those that have a row of their own.
type knownDir struct {
	in *inode.Inode
	at place
	d  *inode.Dentry
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
		pos, err := fs.runOnce(fn)
		if err == nil {
			return pos, nil
		}
		switch e := err.(type) {
		case *tree.Miss:
			if err := fs.tree.Load(ctx, e); err != nil {
				return 0, err
			}
		case *waitFor:
			select {
			case <-e.ch:
			case <-ctx.Done():
				return 0, gaveUp(ctx)
			}
		default:
			return pos, err
		}
	}
	return 0, wire.Wrap("mds", "", fmt.Errorf("an operation needed more than %d loads, give the mds a larger cache: %w", maxRetries, wire.EAGAIN))
}

// gaveUp is the error of a wait that ctx ended.
func gaveUp(ctx context.Context) error {
	return &wire.Error{Op: "mds", Subject: "wait for another operation", Kind: wire.ETIMEDOUT, Cause: ctx.Err()}
}

func (fs *FS) runOnce(fn func(t *txn) error) (pos tree.Pos, err error) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	t := fs.beginLocked()
	defer t.endLocked()
	if err = fn(t); err == nil {
		t.settleSizes()
		err = t.settleTotals()
	}
	if err == nil {
		err = t.commitLocked()
	}
	return t.seen, err
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

// commitLocked gives the staged changes to journal and tree; seen is then
// the event's position. EFBIG: they are too large, and nothing was done.
func (t *txn) commitLocked() error {
	fs := t.fs
	if len(t.puts)+len(t.rows)+len(t.extra) > 0 {
		b, err := t.event(fs.event[:0])
		if err != nil {
			return err
		}
		if len(b)+len(t.extra)+len(fs.inFlight)*8+grantSize > journal.MaxEvent {
			return wire.Errorf("mds", "changes of one operation", wire.EFBIG)
		}
		t.takeNumbersLocked()
		b = append(b, t.extra...)
		t.publishLocked(tree.Pos(fs.journal.Append(b)))
		if cap(b) <= maxSpareEvent {
			fs.event = b
		}
		if fs.tree.Pressure() {
			wake(fs.kick)
		}
	} else if t.takeNumbersLocked(); len(t.extra) > 0 {
		t.publishLocked(tree.Pos(fs.journal.Append(append([]byte{eventVersion}, t.extra...))))
	}
	for _, f := range t.apply {
		f(t.seen)
	}
	return nil
}

// maxSpareEvent is the largest event whose memory is kept for the next, in
// bytes.
const maxSpareEvent = 64 << 10

// publishLocked gives the staged values to the tree, changed by the event at
// pos.
func (t *txn) publishLocked(pos tree.Pos) {
	fs := t.fs
	t.seen = pos
	if t.splitDone != nil {
		t.splitDone(pos)
	}
	for _, ino := range t.born {
		fs.tree.Born(ino)
	}
	for i := range t.puts {
		d := t.puts[i].d
		fs.tree.Put(pos, t.puts[i].at.dir, t.puts[i].at.token, d)
		if d == nil || d.Inode == nil {
			continue
		}
		if t.puts[i].at.dir != strayIno {
			fs.inodeChangedLocked(d.Inode)
		}
		if !d.Unconfirmed {
			fs.namedLocked(d.Inode)
		}
	}
	for i := range t.rows {
		fs.tree.PutRow(pos, t.rows[i].ino, t.rows[i].row)
		if r := t.rows[i].row; r != nil && r.Inode != nil {
			fs.inodeChangedLocked(r.Inode)
			fs.namedLocked(r.Inode)
		}
	}
	for _, ino := range t.gone {
		fs.tree.Forget(ino)
	}
}

// event appends the event of what was staged, but for extra, to b. EFBIG: a
// record that a client has filled is over MaxRecord.
func (t *txn) event(b []byte) ([]byte, error) {
	b = append(b, eventVersion)
	for _, ino := range t.born {
		b = appendIno(b, itemBorn, ino)
	}
	for i := range t.puts {
		d := t.puts[i].d
		if d == nil {
			b = appendDelete(b, t.puts[i].at)
			continue
		}
		at := len(b)
		b = appendPut(b, t.puts[i].at, d)
		if len(b)-at > MaxRecord && d.Inode != nil && d.Inode.S3 != nil &&
			len(b)-at-len(t.puts[i].at.token)-len(d.Inode.Content.Inline) > MaxRecord {
			return nil, wire.Errorf("mds", "record of "+inoName(d.Ino), wire.EFBIG)
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
	return b, nil
}

// implied reports whether a row follows from a put of the same event.
func (t *txn) implied(r *rowItem) bool {
	if r.row == nil || r.row.Kind != inode.RowAt {
		return false
	}
	i, ok := t.staged(place{r.row.Parent, r.row.Token})
	return ok && t.puts[i].d != nil && t.puts[i].d.Inode != nil && t.puts[i].d.Inode.Ino == r.ino && t.puts[i].d.Inode.Nlink > 0
}

func (t *txn) saw(pos tree.Pos) {
	if pos > t.seen {
		t.seen = pos
	}
}

// sawAll is for reads that don't tell which changes they have seen.
func (t *txn) sawAll() { t.saw(tree.Pos(t.fs.journal.Head())) }

// manyPuts is from how many puts on they are found by a map.
const manyPuts = 16

// staged gives the index of the put staged for a place.
func (t *txn) staged(at place) (int, bool) {
	if t.index != nil {
		i, ok := t.index[at]
		return i, ok
	}
	for i := range t.puts {
		if t.puts[i].at == at {
			return i, true
		}
	}
	return 0, false
}

// getRaw reads a dentry, its unconfirmed state left alone.
func (t *txn) getRaw(dir *inode.Inode, token string) (*inode.Dentry, error) {
	if i, ok := t.staged(place{dir.Ino, token}); ok {
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
	if d != nil && d.Inode != nil && d.Inode.Dir != nil {
		t.know(knownDir{d.Inode, at, d})
	}
	if i, ok := t.staged(at); ok {
		t.puts[i].d = d
		return
	}
	t.puts = append(t.puts, putItem{at, d})
	switch n := len(t.puts); {
	case n < manyPuts:
	case t.index != nil:
		t.index[at] = n - 1
	default:
		t.index = make(map[place]int, 4*manyPuts)
		for i := range t.puts {
			t.index[t.puts[i].at] = i
		}
	}
}

// know remembers a directory as it is now.
func (t *txn) know(k knownDir) {
	for i := range t.known {
		if t.known[i].in.Ino == k.in.Ino {
			t.known[i] = k
			return
		}
	}
	t.known = append(t.known, k)
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
	for i := range t.known {
		if t.known[i].in.Ino != ino {
			continue
		}
		if row == nil || row.Kind != inode.RowAt {
			t.known = slices.Delete(t.known, i, i+1)
		}
		break
	}
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
	for i := range t.known {
		if t.known[i].in.Ino == ino {
			return t.known[i].in, nil
		}
	}
	row, err := t.row(ino)
	if err != nil {
		return nil, err
	}
	if row == nil {
		return nil, wire.Errorf("mds", inoName(ino), wire.ESTALE)
	}
	switch row.Kind {
	case inode.RowHere:
		return t.current(row.Inode), nil
	case inode.RowAt:
		dir, err := t.inode(row.Parent)
		if err != nil {
			return nil, err
		}
		d, err := t.get(dir, row.Token)
		if err != nil {
			return nil, err
		}
		if d == nil || d.Inode == nil || d.Inode.Ino != ino {
			break
		}
		if d.Inode.Dir != nil {
			t.know(knownDir{d.Inode, place{row.Parent, row.Token}, d})
		}
		return t.current(d.Inode), nil
	}
	return nil, wire.Errorf("mds", inoName(ino), wire.ESTALE)
}

// current gives the newest record of an inode that a dentry or row has as in:
// that of the open file, unless in was staged here, which is newer still.
func (t *txn) current(in *inode.Inode) *inode.Inode {
	if t.fs.open[in.Ino] != nil {
		for i := range t.puts {
			if d := t.puts[i].d; d != nil && d.Inode == in {
				return in
			}
		}
		for i := range t.rows {
			if r := t.rows[i].row; r != nil && r.Inode == in {
				return in
			}
		}
	}
	return t.fs.currentLocked(in)
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
		return t.current(d.Inode), nil
	}
	return t.inode(d.Ino)
}

// putInode stages a changed record at the place where its inode lives now.
func (t *txn) putInode(in *inode.Inode) error {
	for i := range t.known {
		if k := &t.known[i]; k.in.Ino == in.Ino && k.d != nil {
			nd := *k.d
			nd.Inode = in
			t.put(k.at.dir, k.at.token, &nd)
			return nil
		}
	}
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
