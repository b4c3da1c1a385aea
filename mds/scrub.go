package mds

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spirula/spirula/mds/internal/filer"
	"github.com/spirula/spirula/mds/internal/inode"
	"github.com/spirula/spirula/mds/internal/tree"
	"github.com/spirula/spirula/rados/wire"
)

// objectLister is a pool that can tell its objects (rados.IOCtx can).
type objectLister interface {
	ListObjects(ctx context.Context, namespace string, fn func(wire.ListEntry) error) error
}

// scrub is one Scrub: what was found so far.
type scrub struct {
	fs      *FS
	ctx     context.Context
	fn      func(problem string)
	dirs    map[Ino]*inode.Inode // live and stray, with what their objects are called by
	shared  map[Ino]*scrubShared
	streams map[uint64]*scrubStream
	rows    map[Ino]bool // rows that belong to something
}

// scrubShared is an inode with a row of its own.
type scrubShared struct {
	row   *inode.TableRow
	found int // names met
}

// scrubStream is what the walk found of a stream.
type scrubStream struct {
	holders uint64
	size    uint64 // the furthest that a holder's content reaches
	beyond  bool   // it may have objects past size
	whole   bool   // every object up to size must be there
	list    bool   // x.SID belongs to it
	stray   bool
}

// Scrub walks the whole namespace and the objects of both pools and tells fn
// of everything that does not fit together: entries against rows, counts and
// totals against what is there, holders against reference counts, objects
// against what should hold them. Nothing may change meanwhile, and what was
// removed should have been purged (Purged). It needs memory for every
// directory, stream and row.
func (fs *FS) Scrub(ctx context.Context, fn func(problem string)) error {
	s := &scrub{fs: fs, ctx: ctx, fn: fn, dirs: map[Ino]*inode.Inode{}, shared: map[Ino]*scrubShared{},
		streams: map[uint64]*scrubStream{}, rows: map[Ino]bool{}}
	for _, ino := range []Ino{RootIno, uploadsIno, strayIno} {
		in, err := s.inode(ino)
		if err != nil {
			return err
		}
		s.rows[ino] = true
		if _, err := s.dir(in); err != nil {
			return err
		}
	}
	for ino, sh := range s.shared {
		if sh.found != len(sh.row.Links) || int(sh.row.Inode.Nlink) != len(sh.row.Links) {
			s.bad("%s: %d names in its row, nlink %d, %d found", inoName(ino), len(sh.row.Links), sh.row.Inode.Nlink, sh.found)
		}
	}
	if err := s.references(); err != nil {
		return err
	}
	if err := s.strayRows(); err != nil {
		return err
	}
	return s.objects()
}

func (s *scrub) bad(format string, args ...any) { s.fn(fmt.Sprintf(format, args...)) }

func (s *scrub) inode(ino Ino) (in *inode.Inode, err error) {
	return in, s.fs.view(s.ctx, func(t *txn) error {
		in, err = t.inode(ino)
		return err
	})
}

func (s *scrub) row(ino Ino) (row *inode.TableRow, err error) {
	return row, s.fs.view(s.ctx, func(t *txn) error {
		row, err = t.row(ino)
		return err
	})
}

// scrubPage is how many entries are read together.
const scrubPage = 1000

type scrubEntry struct {
	token string
	d     *inode.Dentry
}

// entries gives the page of entries after a token.
func (s *scrub) entries(dir *inode.Inode, from string, inclusive bool) (list []scrubEntry, err error) {
	return list, s.fs.view(s.ctx, func(t *txn) error {
		list = list[:0]
		t.sawAll()
		return s.fs.tree.Scan(dir, from, inclusive, func(token string, d *inode.Dentry) bool {
			list = append(list, scrubEntry{token, d})
			return len(list) < scrubPage
		})
	})
}

// dir walks a directory and gives the totals of what is below it.
func (s *scrub) dir(in *inode.Inode) (sum inode.Totals, err error) {
	s.dirs[in.Ino] = in
	hidden := s.hidden(in)
	entries, subdirs := uint64(0), uint32(0)
	seqs := map[uint64]string{}
	for from, first := "", true; ; first = false {
		page, err := s.entries(in, from, first)
		if err != nil {
			return sum, err
		}
		for _, e := range page {
			from = e.token
			entries++
			if hidden {
				err = s.hiddenEntry(in, e)
			} else {
				err = s.entry(in, e, seqs, &sum, &subdirs)
			}
			if err != nil {
				return sum, err
			}
		}
		if len(page) < scrubPage {
			break
		}
	}
	if hidden {
		return sum, nil
	}
	if in.Dir.Entries != entries || in.Dir.Subdirs != subdirs {
		s.bad("directory %x says %d entries, %d directories; it has %d, %d", in.Ino, in.Dir.Entries, in.Dir.Subdirs, entries, subdirs)
	}
	t := in.Dir.Totals
	if in.Ino != RootIno && (t.Bytes != sum.Bytes || t.Files != sum.Files || t.Dirs != sum.Dirs) {
		s.bad("directory %x has totals of %d bytes, %d files, %d directories; there are %d, %d, %d", in.Ino, t.Bytes, t.Files, t.Dirs, sum.Bytes, sum.Files, sum.Dirs)
	}
	if entries == 0 && !in.Dir.Explicit {
		s.bad("directory %x is implied by nothing", in.Ino)
	}
	return sum, nil
}

// hidden reports whether a directory lies below one of the hidden ones.
func (s *scrub) hidden(in *inode.Inode) bool {
	for in.Ino != RootIno {
		if in.Ino == strayIno || in.Ino == uploadsIno {
			return true
		}
		if in = s.dirs[in.Dir.Parent]; in == nil {
			return false
		}
	}
	return false
}

func (s *scrub) entry(dir *inode.Inode, e scrubEntry, seqs map[uint64]string, sum *inode.Totals, subdirs *uint32) error {
	where := fmt.Sprintf("entry %q of %x", e.token, dir.Ino)
	if other, twice := seqs[e.d.Seq]; twice || e.d.Seq < 3 || e.d.Seq >= dir.Dir.NextSeq {
		s.bad("%s: birth number %d, of %q too; the next is %d", where, e.d.Seq, other, dir.Dir.NextSeq)
	}
	seqs[e.d.Seq] = e.token
	if e.d.Unconfirmed {
		s.bad("%s is unconfirmed", where)
	}
	if tree.IsDirToken(e.token) != (e.d.Type == inode.Dir) {
		s.bad("%s is of type %d", where, e.d.Type)
	}
	row, err := s.row(e.d.Ino)
	if err != nil {
		return err
	}
	s.rows[e.d.Ino] = true
	if e.d.Inode == nil {
		sum.Files++
		return s.sharedEntry(dir, e, row, where, sum)
	}
	in := e.d.Inode
	if in.Ino != e.d.Ino || in.Type != e.d.Type {
		s.bad("%s: its record is of inode %x, type %d", where, in.Ino, in.Type)
	}
	if row == nil || row.Kind != inode.RowAt || row.Parent != dir.Ino || row.Token != e.token {
		s.bad("%s: inode %x has the row %+v", where, in.Ino, row)
	}
	if in.Dir == nil {
		sum.Files++
		s.fs.mu.Lock()
		sum.Bytes += s.fs.countedLocked(in)
		cur := s.fs.currentLocked(in)
		s.fs.mu.Unlock()
		return s.content(cur)
	}
	*subdirs++
	if in.Dir.Parent != dir.Ino {
		s.bad("%s: its parent is %x", where, in.Dir.Parent)
	}
	below, err := s.dir(in)
	sum.Dirs += 1 + below.Dirs
	sum.Files += below.Files
	sum.Bytes += below.Bytes
	return err
}

func (s *scrub) sharedEntry(dir *inode.Inode, e scrubEntry, row *inode.TableRow, where string, sum *inode.Totals) error {
	if row == nil || row.Kind != inode.RowHere {
		s.bad("%s names inode %x, which has the row %+v", where, e.d.Ino, row)
		return nil
	}
	link := inode.Link{Parent: dir.Ino, Token: e.token}
	at := slices.Index(row.Links, link)
	if at < 0 {
		s.bad("%s is not among the names of inode %x: %v", where, e.d.Ino, row.Links)
	}
	sh := s.shared[e.d.Ino]
	if sh == nil {
		sh = &scrubShared{row: row}
		s.shared[e.d.Ino] = sh
	}
	sh.found++
	s.fs.mu.Lock()
	cur := s.fs.currentLocked(row.Inode)
	if at == 0 {
		sum.Bytes += s.fs.countedLocked(row.Inode)
	}
	s.fs.mu.Unlock()
	if sh.found > 1 {
		return nil
	}
	return s.content(cur)
}

// hiddenEntry takes account of a stray, an upload, or a part.
func (s *scrub) hiddenEntry(dir *inode.Inode, e scrubEntry) error {
	in := e.d.Inode
	if in == nil {
		s.bad("hidden entry %q of %x has no record", e.token, dir.Ino)
		return nil
	}
	if in.Dir == nil {
		before := s.streams[in.Content.Stream]
		if dir.Ino == strayIno && before != nil {
			s.bad("stray %q is still held", e.token)
		}
		err := s.content(in)
		if st := s.streams[in.Content.Stream]; st != nil && dir.Ino == strayIno {
			st.stray, st.beyond, st.whole = true, true, false
		}
		return err
	}
	if dir.Ino == strayIno && e.token[0] == strayDir {
		s.dirs[in.Ino] = in // empty, gone from memory; its objects wait for the purge
		return nil
	}
	s.rows[in.Ino] = true
	row, err := s.row(in.Ino)
	if err == nil && (row == nil || row.Kind != inode.RowAt || row.Parent != dir.Ino || row.Token != e.token) {
		s.bad("hidden entry %q of %x: inode %x has the row %+v", e.token, dir.Ino, in.Ino, row)
	}
	if err == nil {
		_, err = s.dir(in)
	}
	return err
}

// content counts a holder of what an inode's bytes are in.
func (s *scrub) content(in *inode.Inode) error {
	s.fs.mu.Lock()
	open := s.fs.open[in.Ino] != nil
	s.fs.mu.Unlock()
	byS3 := in.S3 != nil && in.S3.Data == in.Data
	return s.hold(&in.Content, max(in.Size, in.Truncating), open || in.OpenEpoch != 0, byS3 && !open)
}

func (s *scrub) hold(c *inode.Content, size uint64, beyond, whole bool) error {
	switch c.Kind {
	case inode.Empty, inode.Inline:
		return nil
	}
	st := s.streams[c.Stream]
	first := st == nil
	if first {
		st = &scrubStream{}
		s.streams[c.Stream] = st
	}
	st.holders++
	st.size = max(st.size, size)
	st.beyond = st.beyond || beyond || c.Sealed
	st.whole = st.whole || whole && c.Kind == inode.Plain && !c.Sealed
	if !first {
		return nil
	}
	switch c.Kind {
	case inode.Joined:
		st.list = c.NumRow > inode.MaxRows
		rows, _, err := s.fs.filer.Rows(s.ctx, c, 1<<62, 0, 1<<62) // all, however little shows
		if err != nil {
			return err
		}
		begin := uint64(0)
		for _, r := range rows {
			err := s.hold(&inode.Content{Kind: inode.Plain, Stream: r.Stream, Sealed: true}, r.Start+r.End-begin, true, false)
			if err != nil {
				return err
			}
			begin = r.End
		}
	case inode.Overlay:
		if c.Base != nil {
			return s.hold(c.Base, c.BaseLimit, true, false)
		}
	}
	return nil
}

// references compares the holders found with the counts kept.
func (s *scrub) references() error {
	for sid, st := range s.streams {
		row, err := s.row(Ino(sid))
		if err != nil {
			return err
		}
		refs := uint64(1)
		if row != nil && row.Kind == inode.RowRefs {
			refs = row.Refs
			s.rows[Ino(sid)] = true
		}
		if refs != st.holders {
			s.bad("stream %x has %d holders; its count says %d", sid, st.holders, refs)
		}
	}
	return nil
}

// strayRows looks for rows of numbers that nothing has.
func (s *scrub) strayRows() error {
	s.fs.mu.Lock()
	limit := s.fs.limit
	s.fs.mu.Unlock()
	for n := Ino(1); n < Ino(limit); n++ {
		if s.rows[n] {
			continue
		}
		row, err := s.row(n)
		if err != nil {
			return err
		}
		if row != nil {
			s.bad("the row of %x belongs to nothing: %+v", n, row)
		}
	}
	return nil
}

// objects compares the objects of both pools with what the walk found.
func (s *scrub) objects() error {
	data, ok := s.fs.o.Data.(objectLister)
	meta, also := s.fs.o.Meta.(objectLister)
	if !ok || !also {
		return nil
	}
	there := map[uint64]map[uint64]bool{}
	err := data.ListObjects(s.ctx, "", func(e wire.ListEntry) error {
		s.dataObject(e.Name, there)
		return nil
	})
	if err != nil {
		return err
	}
	for sid, st := range s.streams {
		for n := uint64(0); st.whole && n*filer.ObjectSize < st.size; n++ {
			if !there[sid][n] {
				s.bad("stream %x of %d bytes has no object %d", sid, st.size, n)
			}
		}
	}
	return meta.ListObjects(s.ctx, "", func(e wire.ListEntry) error {
		s.metaObject(e.Name)
		return nil
	})
}

func (s *scrub) dataObject(name string, there map[uint64]map[uint64]bool) {
	list := strings.HasPrefix(name, "x.")
	a, b, _ := strings.Cut(strings.TrimPrefix(name, "x."), ".")
	sid, err := strconv.ParseUint(a, 16, 64)
	n := uint64(0)
	if err == nil && !list {
		n, err = strconv.ParseUint(b, 16, 64)
	}
	if err != nil {
		s.bad("data object %q is none of ours", name)
		return
	}
	st := s.streams[sid]
	s.fs.mu.Lock()
	_, inFlight := s.fs.inFlight[sid]
	s.fs.mu.Unlock()
	switch {
	case st == nil && inFlight:
	case st == nil:
		s.bad("data object %q belongs to nothing", name)
	case list:
		if !st.list && !st.stray {
			s.bad("part list %q belongs to nothing", name)
		}
	default:
		if n*filer.ObjectSize >= st.size && !st.beyond {
			s.bad("data object %q lies beyond the %d bytes of its stream", name, st.size)
		}
		if there[sid] == nil {
			there[sid] = map[uint64]bool{}
		}
		there[sid][n] = true
	}
}

func (s *scrub) metaObject(name string) {
	part := strings.Split(name, ".")
	if len(part) < 2 {
		s.bad("metadata object %q is none of ours", name)
		return
	}
	switch part[0] {
	case "j", "lease", "i":
		return
	case "d", "t", "c":
		ino, err := strconv.ParseUint(part[1], 16, 64)
		in := s.dirs[Ino(ino)]
		if err != nil || in == nil {
			s.bad("metadata object %q belongs to no directory", name)
			return
		}
		if part[0] == "d" && len(part) == 3 && !in.Dir.FragTable && in.Nlink != 0 {
			frag, err := strconv.ParseUint(part[2], 16, 32)
			known := slices.ContainsFunc(in.Dir.Frags, func(f inode.Frag) bool { return uint64(f.Num) == frag })
			if err != nil || !known && (len(in.Dir.Frags) > 0 || frag != 0) {
				s.bad("metadata object %q is no fragment of its directory", name)
			}
		}
		return
	}
	s.bad("metadata object %q is none of ours", name)
}

// Purged waits until nothing that was removed is left to purge but what
// readers hold, and what unfinished writes left was looked for.
func (fs *FS) Purged(ctx context.Context) error {
	for {
		left := 0
		err := fs.view(ctx, func(t *txn) error {
			left = len(fs.inFlight) + len(fs.pending)
			dir, err := t.inode(strayIno)
			if err != nil {
				return err
			}
			return fs.tree.Scan(dir, "", true, func(_ string, d *inode.Dentry) bool {
				if fs.pins[d.Inode.Content.Stream] == nil || d.Inode.Content.Kind == inode.Empty {
					left++
				}
				return true
			})
		})
		if err != nil || left == 0 {
			return err
		}
		wake(fs.strays)
		select {
		case <-ctx.Done():
			return gaveUp(ctx)
		case <-fs.ctx.Done():
			return wire.Errorf("mds", "closed", wire.ESHUTDOWN)
		case <-time.After(purgedLook):
		}
	}
}

// purgedLook lies between looks at what is left to purge.
const purgedLook = 2 * time.Millisecond
