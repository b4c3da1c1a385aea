package mds

import (
	"github.com/spirula/spirula/mds/internal/inode"
	"github.com/spirula/spirula/mds/internal/tree"
	"github.com/spirula/spirula/rados/wire"
)

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
	if c.Ino != RootIno {
		t.totalUp(c.Dir.Parent, d)
	}
	return c, nil
}

// upItem is what the totals of a directory, and of those above it, still
// have to be changed by.
type upItem struct {
	dir Ino
	d   delta
}

// totalUp notes a change of the totals of dir and of those above it, up to
// the bucket.
func (t *txn) totalUp(dir Ino, d delta) {
	if dir < firstNumber {
		return
	}
	for i := len(t.ups) - 1; i >= 0; i-- {
		if u := &t.ups[i]; u.dir == dir {
			u.d.bytes += d.bytes
			u.d.files += d.files
			u.d.dirs += d.dirs
			return
		}
	}
	t.ups = append(t.ups, upItem{dir, delta{bytes: d.bytes, files: d.files, dirs: d.dirs}})
}

// settleTotals stages the totals that were noted, each directory once. It
// comes before a directory that they may be of is moved or removed.
func (t *txn) settleTotals() error {
	for len(t.ups) > 0 {
		u := t.ups[len(t.ups)-1]
		t.ups = t.ups[:len(t.ups)-1]
		in, err := t.inode(u.dir)
		if err != nil {
			return err
		}
		c := clone(in)
		addTotals(&c.Dir.Totals, u.d, t.now)
		if err := t.putInode(c); err != nil {
			return err
		}
		t.totalUp(c.Dir.Parent, u.d)
	}
	return nil
}

func addTotals(t *inode.Totals, d delta, now wire.Time) {
	t.Bytes = uint64(int64(t.Bytes) + d.bytes)
	t.Files = uint64(int64(t.Files) + d.files)
	t.Dirs = uint64(int64(t.Dirs) + d.dirs)
	t.Mtime = now
}

// settleSizes notes the totals above open files whose records are staged: the
// record that the journal has and the totals must tell of the same size.
func (t *txn) settleSizes() {
	if len(t.fs.open) == 0 {
		return
	}
	for i := range t.puts {
		if d := t.puts[i].d; d != nil && d.Inode != nil && t.puts[i].at.dir != strayIno {
			t.settleSize(d.Inode, t.puts[i].at.dir)
		}
	}
	for i := range t.rows {
		if r := t.rows[i].row; r != nil && r.Inode != nil && len(r.Links) > 0 {
			t.settleSize(r.Inode, r.Links[0].Parent)
		}
	}
}

func (t *txn) settleSize(in *inode.Inode, dir Ino) {
	of := t.fs.open[in.Ino]
	if of == nil || of.counted == in.Size {
		return
	}
	size := in.Size
	t.totalUp(dir, delta{bytes: int64(size) - int64(of.counted)})
	t.apply = append(t.apply, func(tree.Pos) { of.counted = size })
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
