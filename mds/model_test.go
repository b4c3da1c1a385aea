package mds

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"sort"
	"strconv"
	"testing"

	"github.com/spirula/spirula/mds/internal/tree"
	"github.com/spirula/spirula/rados/wire"
)

// model runs random histories on a file system and its naive twin.
type model struct {
	*testFS
	r      *rand.Rand
	b      Bucket
	bucket *tNode
	nodes  []*tNode // whose handles are known
	dirty  map[*tNode]bool
	ups    []*modelUpload
	log    []string
}

type modelUpload struct {
	key, id string
	parts   map[int][]byte
	done    bool
	etag    string
}

var (
	modelNames = []string{"a", "b", "c!", "d.e"}
	modelRoot  = Cred{UID: 0, GID: 0, Trusted: true}
)

func (m *model) fatalf(format string, args ...any) {
	m.t.Helper()
	from := max(0, len(m.log)-40)
	for i, l := range m.log[from:] {
		m.t.Logf("%d: %s", from+i, l)
	}
	m.t.Fatalf(format, args...)
}

func (m *model) note(format string, args ...any) { m.log = append(m.log, fmt.Sprintf(format, args...)) }

// key gives a random S3 key.
func (m *model) key() string {
	k := ""
	for range m.r.IntN(4) {
		if m.r.IntN(12) == 0 {
			k += "/"
			continue
		}
		k += modelNames[m.r.IntN(len(modelNames))] + "/"
	}
	if m.r.IntN(10) > 0 || k == "" {
		k += modelNames[m.r.IntN(len(modelNames))]
	}
	return k
}

// some gives a key that is there, if any is.
func (m *model) some() string {
	if keys := m.bucket.keys(); len(keys) > 0 && m.r.IntN(8) > 0 {
		return keys[m.r.IntN(len(keys))]
	}
	return m.key()
}

func (m *model) bytes() []byte {
	sizes := []int{0, 1, 100, 2047, 2048, 2049, 5000, 70000}
	n := sizes[m.r.IntN(len(sizes))]
	if m.r.IntN(40) == 0 {
		n = []int{1 << 20, 1<<20 + 1, 4 << 20, 4<<20 + 1, 5 << 20}[m.r.IntN(5)]
	}
	return randomBytes(m.r.Uint64(), n)
}

// dir gives a random directory, with its handle.
func (m *model) dir() *tNode {
	dirs := m.bucket.dirs()
	d := dirs[m.r.IntN(len(dirs))]
	m.handle(d)
	return d
}

// handle finds a directory's handle, or a known one.
func (m *model) handle(n *tNode) Handle {
	if n.h.Ino != 0 {
		return n.h
	}
	up := m.handle(n.parent)
	a, _, err := m.Lookup(context.Background(), modelRoot, up, n.parent.shown(n.token))
	if err != nil {
		m.fatalf("lookup of directory %q: %v", n.token, err)
	}
	m.learn(n, a)
	return n.h
}

func (m *model) learn(n *tNode, a Attr) {
	if n.h.Ino == 0 {
		n.h = a.Handle()
		m.nodes = append(m.nodes, n)
	}
}

// file gives a regular file with a known handle.
func (m *model) file() *tNode {
	for range 20 {
		if len(m.nodes) == 0 {
			break
		}
		if n := m.nodes[m.r.IntN(len(m.nodes))]; n.typ == TypeReg && !n.dead {
			return n
		}
	}
	return nil
}

func (m *model) name() string { return modelNames[m.r.IntN(len(modelNames))] }

// want compares an error's kind.
func (m *model) want(err error, kind wire.Errno) bool {
	m.t.Helper()
	if wire.ErrnoOf(err) != kind {
		m.fatalf("got error %v, want %v", err, kind)
	}
	return kind == 0
}

func (m *model) step() {
	ops := []func(){m.opPut, m.opPut, m.opPut, m.opDelete, m.opDelete, m.opCopy, m.opUpload, m.opUpload, m.opPart, m.opPart, m.opPart,
		m.opComplete, m.opComplete, m.opAbort, m.opCreate, m.opCreate, m.opWrite, m.opWrite, m.opWrite, m.opTruncate, m.opCommit,
		m.opRename, m.opRename, m.opRename, m.opLink, m.opSymlink, m.opMkdir, m.opRmdir, m.opRemove, m.opRemove, m.opSetAttr, m.opLookup}
	ops[m.r.IntN(len(ops))]()
}

func (m *model) opPut() {
	k, d := m.key(), m.bytes()
	if m.r.IntN(3) == 0 {
		k = m.some()
	}
	c := Conditions{}
	kind := wire.Errno(0)
	old := m.bucket.find(k)
	if m.r.IntN(6) == 0 {
		c.IfNoneMatch = "*"
		if old != nil {
			kind = wire.ECANCELED
		}
	}
	m.note("put %q %d bytes %+v", k, len(d), c)
	_, err := m.tryPut(m.b.Ino, k, d, c)
	if m.want(err, kind) {
		m.bucket.put(k, d)
	}
}

func (m *model) opDelete() {
	k := m.some()
	m.note("delete %q", k)
	err := m.DeleteObject(context.Background(), owner, m.b.Ino, k, Conditions{})
	if m.bucket.remove(k) {
		m.want(err, 0)
	} else {
		m.want(err, wire.ENOENT)
	}
}

func (m *model) opCopy() {
	from, to := m.some(), m.key()
	if m.r.IntN(4) == 0 {
		to = from
	}
	m.note("copy %q to %q", from, to)
	src := m.bucket.find(from)
	r, err := m.OpenObject(context.Background(), m.b.Ino, from)
	if src == nil {
		m.want(err, wire.ENOENT)
		return
	}
	m.want(err, 0)
	defer r.Close()
	o, err := m.Copy(context.Background(), owner, r, m.b.Ino, to, CopySpec{})
	m.want(err, 0)
	if o.ETag != r.Object().ETag {
		m.fatalf("copy has the ETag %q, its source %q", o.ETag, r.Object().ETag)
	}
	m.bucket.put(to, bytes.Clone(src.data))
}

func (m *model) opUpload() {
	if len(m.ups) > 5 {
		return
	}
	k := m.key()
	m.note("create upload of %q", k)
	id, err := m.CreateUpload(context.Background(), owner, m.b.Ino, k, UploadSpec{})
	m.want(err, 0)
	m.ups = append(m.ups, &modelUpload{key: k, id: id, parts: map[int][]byte{}})
}

func (m *model) upload() *modelUpload {
	if len(m.ups) == 0 {
		return nil
	}
	return m.ups[m.r.IntN(len(m.ups))]
}

func (m *model) opPart() {
	u := m.upload()
	if u == nil {
		return
	}
	kind := wire.Errno(0)
	if u.done {
		kind = wire.ENOENT
	}
	n, ctx := 1+m.r.IntN(20), context.Background()
	if m.r.IntN(3) > 0 {
		d := m.bytes()
		m.note("part %d of %q: %d bytes", n, u.key, len(d))
		w, err := m.NewWriter(ctx, owner, m.b.Ino, int64(len(d)))
		m.want(err, 0)
		data := wire.CopyData(d)
		m.want(w.Write(ctx, data), 0)
		data.Release()
		_, err = m.PutPart(ctx, m.b.Ino, u.key, u.id, w, Part{Number: n, ETag: etagFor(d)})
		if m.want(err, kind) {
			u.parts[n] = d
		}
		return
	}
	from := m.some()
	src := m.bucket.find(from)
	if src == nil {
		return
	}
	r, err := m.OpenObject(ctx, m.b.Ino, from)
	m.want(err, 0)
	defer r.Close()
	lo := m.r.IntN(len(src.data) + 1)
	size := m.r.IntN(len(src.data) - lo + 1)
	d := bytes.Clone(src.data[lo : lo+size])
	m.note("part %d of %q: %d bytes of %q from %d", n, u.key, size, from, lo)
	_, err = m.CopyPart(ctx, r, uint64(lo), uint64(size), m.b.Ino, u.key, u.id, Part{Number: n, ETag: etagFor(d)})
	if m.want(err, kind) {
		u.parts[n] = d
	}
}

func etagFor(d []byte) string { return fmt.Sprintf("%x", wire.CRC32C(d)) }

func (m *model) opComplete() {
	u := m.upload()
	if u == nil || len(u.parts) == 0 {
		return
	}
	var c Complete
	var numbers []int
	var whole []byte
	for n := range u.parts {
		if m.r.IntN(5) > 0 {
			numbers = append(numbers, n)
		}
	}
	sort.Ints(numbers)
	for _, n := range numbers {
		c.Parts = append(c.Parts, CompletedPart{Number: n, ETag: etagFor(u.parts[n])})
		whole = append(whole, u.parts[n]...)
	}
	c.Finish = func(UploadSpec, []Part) (string, Checksum, error) {
		return fmt.Sprintf("%s-%d", etagFor(whole), len(numbers)), Checksum{}, nil
	}
	m.note("complete %q with %v", u.key, numbers)
	o, err := m.CompleteUpload(context.Background(), owner, m.b.Ino, u.key, u.id, c)
	switch {
	case u.done:
		m.want(err, 0)
		if o.ETag != u.etag {
			m.fatalf("completed again: ETag %q, want %q", o.ETag, u.etag)
		}
	case len(numbers) == 0:
		m.want(err, wire.EINVAL)
	default:
		m.want(err, 0)
		u.done, u.etag = true, o.ETag
		m.bucket.put(u.key, whole)
	}
}

func (m *model) opAbort() {
	u := m.upload()
	if u == nil || m.r.IntN(2) == 0 {
		return
	}
	m.note("abort %q", u.key)
	err := m.AbortUpload(context.Background(), m.b.Ino, u.key, u.id)
	if u.done {
		m.want(err, wire.ENOENT)
	} else {
		m.want(err, 0)
	}
	m.ups = slices.DeleteFunc(m.ups, func(x *modelUpload) bool { return x == u })
}

func (m *model) opCreate() {
	d, name := m.dir(), m.name()
	args := CreateArgs{Mode: CreateMode(m.r.IntN(3)), Verifier: [8]byte{1, byte(m.r.IntN(2))}}
	m.note("create %q in %x, mode %d", name, d.h.Ino, args.Mode)
	a, _, err := m.Create(context.Background(), modelRoot, d.h, name, args)
	_, old := d.lookup(name)
	switch {
	case old == nil:
		m.want(err, 0)
		n := &tNode{typ: TypeReg, links: 1}
		m.learn(n, a)
		d.add(name, n)
	case args.Mode == CreateUnchecked && old.typ == TypeReg:
		m.want(err, 0)
		m.learn(old, a)
	case args.Mode == CreateUnchecked && old.typ == TypeDir:
		m.want(err, wire.EISDIR)
	case args.Mode == CreateExclusive && err == nil:
		m.learn(old, a) // made with the same verifier
	default:
		m.want(err, wire.EEXIST)
	}
}

func (m *model) opWrite() {
	n := m.file()
	if n == nil {
		return
	}
	off := m.r.IntN(len(n.data) + 1)
	if m.r.IntN(6) == 0 {
		off += m.r.IntN(200000)
	}
	if m.r.IntN(40) == 0 {
		off = 4<<20 - 50
	}
	d := randomBytes(m.r.Uint64(), 1+m.r.IntN(9000))
	stable := m.r.IntN(3) == 0
	m.note("write %x at %d, %d bytes, stable %v", n.h.Ino, off, len(d), stable)
	data := wire.CopyData(d)
	_, err := m.Write(context.Background(), modelRoot, n.h, uint64(off), data, stable)
	data.Release()
	m.want(err, 0)
	if len(n.data) < off+len(d) {
		n.data = append(n.data, make([]byte, off+len(d)-len(n.data))...)
	}
	copy(n.data[off:], d)
	n.s3 = false
	m.dirty[n] = true
}

func (m *model) opTruncate() {
	n := m.file()
	if n == nil {
		return
	}
	size := m.r.IntN(len(n.data) + 1)
	if m.r.IntN(3) == 0 {
		size = len(n.data) + m.r.IntN(100000)
	}
	m.note("truncate %x to %d", n.h.Ino, size)
	s := uint64(size)
	_, err := m.SetAttr(context.Background(), modelRoot, n.h, SetAttr{Size: &s})
	m.want(err, 0)
	if size <= len(n.data) {
		n.data = n.data[:size:size]
	} else {
		n.data = append(n.data, make([]byte, size-len(n.data))...)
	}
	n.s3 = false
}

func (m *model) opCommit() {
	if n := m.file(); n != nil {
		m.commit(n)
	}
}

func (m *model) commit(n *tNode) {
	m.note("commit %x", n.h.Ino)
	_, err := m.Commit(context.Background(), modelRoot, n.h, 0, 0)
	m.want(err, 0)
	delete(m.dirty, n)
}

func (m *model) opRemove() {
	d, name := m.dir(), m.name()
	m.note("remove %q in %x", name, d.h.Ino)
	_, err := m.Remove(context.Background(), modelRoot, d.h, name)
	token, n := d.lookup(name)
	switch {
	case n == nil:
		m.want(err, wire.ENOENT)
	case n.typ == TypeDir:
		m.want(err, wire.EISDIR)
	default:
		m.want(err, 0)
		d.drop(token)
		d.keep()
	}
}

func (m *model) opRmdir() {
	d, name := m.dir(), m.name()
	m.note("rmdir %q in %x", name, d.h.Ino)
	_, err := m.Rmdir(context.Background(), modelRoot, d.h, name)
	token, n := d.lookup(name)
	switch {
	case n == nil:
		m.want(err, wire.ENOENT)
	case n.typ != TypeDir:
		m.want(err, wire.ENOTDIR)
	case !n.empty():
		m.want(err, wire.ENOTEMPTY)
	default:
		m.want(err, 0)
		n.clear()
		d.drop(token)
		d.keep()
	}
}

// clear drops the hidden marker of a directory that goes.
func (d *tNode) clear() {
	for token := range d.entries {
		d.drop(token)
	}
}

func (m *model) opMkdir() {
	d, name := m.dir(), m.name()
	m.note("mkdir %q in %x", name, d.h.Ino)
	a, _, err := m.Mkdir(context.Background(), modelRoot, d.h, name, SetAttr{})
	if _, old := d.lookup(name); old != nil {
		m.want(err, wire.EEXIST)
		return
	}
	m.want(err, 0)
	n := newTDir(d, name+"/", true)
	d.add(name+"/", n)
	m.learn(n, a)
}

func (m *model) opSymlink() {
	d, name := m.dir(), m.name()
	target := string(bytes.Repeat([]byte("t"), 1+m.r.IntN(600)))
	m.note("symlink %q in %x", name, d.h.Ino)
	a, _, err := m.Symlink(context.Background(), modelRoot, d.h, name, target, SetAttr{})
	if _, old := d.lookup(name); old != nil {
		m.want(err, wire.EEXIST)
		return
	}
	m.want(err, 0)
	n := &tNode{typ: TypeSymlink, links: 1, target: target}
	d.add(name, n)
	d.explicit = true
	m.learn(n, a)
}

func (m *model) opLink() {
	n, d, name := m.file(), m.dir(), m.name()
	if n == nil {
		return
	}
	m.note("link %x as %q in %x", n.h.Ino, name, d.h.Ino)
	_, _, err := m.Link(context.Background(), modelRoot, n.h, d.h, name)
	if _, old := d.lookup(name); old != nil {
		m.want(err, wire.EEXIST)
		return
	}
	m.want(err, 0)
	n.links++
	d.add(name, n)
}

func (m *model) opRename() {
	from, to, fname, tname := m.dir(), m.dir(), m.name(), m.name()
	m.note("rename %q in %x to %q in %x", fname, from.h.Ino, tname, to.h.Ino)
	_, _, err := m.Rename(context.Background(), modelRoot, from.h, fname, to.h, tname)
	ftoken, n := from.lookup(fname)
	if n == nil {
		m.want(err, wire.ENOENT)
		return
	}
	if n.typ == TypeDir && n.above(to) {
		m.want(err, wire.EINVAL)
		return
	}
	ttoken, old := to.lookup(tname)
	seq := uint64(0)
	switch {
	case old == n:
		m.want(err, 0)
		return
	case old == nil:
		ttoken = tname
		if n.typ == TypeDir {
			ttoken += "/"
		}
	case n.typ == TypeDir && old.typ != TypeDir:
		m.want(err, wire.ENOTDIR)
		return
	case n.typ != TypeDir && old.typ == TypeDir:
		m.want(err, wire.EISDIR)
		return
	case old.typ == TypeDir && !old.empty():
		m.want(err, wire.ENOTEMPTY)
		return
	}
	m.want(err, 0)
	if old != nil {
		if old.typ == TypeDir {
			old.clear()
		}
		to.drop(ttoken)
	}
	if from == to {
		seq = from.entries[ftoken].seq
	}
	delete(from.entries, ftoken)
	to.add(ttoken, n)
	if seq != 0 {
		to.nextSeq--
		to.entries[ttoken].seq = seq
	}
	from.keep()
	if n.typ == TypeSymlink {
		to.explicit = true
	}
}

func (m *model) opSetAttr() {
	if len(m.nodes) == 0 {
		return
	}
	n := m.nodes[m.r.IntN(len(m.nodes))]
	mode := uint32(m.r.IntN(0o1000))
	m.note("chmod %x", n.h.Ino)
	_, err := m.SetAttr(context.Background(), modelRoot, n.h, SetAttr{Mode: &mode})
	if n.dead {
		m.want(err, wire.ESTALE)
		return
	}
	m.want(err, 0)
}

func (m *model) opLookup() {
	d := m.dir()
	for token, e := range d.entries {
		if d.hidden(token) {
			continue
		}
		a, _, err := m.Lookup(context.Background(), modelRoot, d.h, d.shown(token))
		m.want(err, 0)
		if e.node.h.Ino != 0 && e.node.h != a.Handle() {
			m.fatalf("%q in %x has become %x, was %x", token, d.h.Ino, a.Ino, e.node.h.Ino)
		}
		m.learn(e.node, a)
	}
}

// check compares everything.
func (m *model) check() {
	m.t.Helper()
	for _, delimiter := range []string{"", "/", "b", "!/"} {
		for _, prefix := range []string{"", "a", "a/", "a/b", "b/", "c", "/", "a/b/c!", "zz"} {
			if got, want := m.keys(m.b.Ino, prefix, delimiter), m.bucket.list(prefix, delimiter); !slices.Equal(got, want) {
				m.fatalf("list %q by %q:\n got %q\nwant %q", prefix, delimiter, got, want)
			}
		}
	}
	for _, k := range m.bucket.keys() {
		n := m.bucket.find(k)
		got, o, err := m.tryGet(m.b.Ino, k)
		if err != nil {
			m.fatalf("get %q: %v", k, err)
		}
		if n.typ == TypeReg && !bytes.Equal(got, n.data) {
			m.fatalf("get %q (inode %x): %d bytes, want %d; differ from %d on", k, o.Attr.Ino, len(got), len(n.data), differ(got, n.data))
		}
		if n.typ == TypeReg && n.links != int(o.Attr.Nlink) {
			m.fatalf("%q has %d links, want %d", k, o.Attr.Nlink, n.links)
		}
	}
	for _, d := range m.bucket.dirs() {
		m.checkDir(d)
	}
	for _, n := range m.nodes {
		a, err := m.GetAttr(context.Background(), n.h)
		if n.dead {
			m.want(err, wire.ESTALE)
			continue
		}
		if err != nil || a.Type != n.typ {
			m.fatalf("attributes of %x: %+v, %v", n.h.Ino, a, err)
		}
		if n.typ == TypeSymlink {
			if target, _, err := m.Readlink(context.Background(), modelRoot, n.h); err != nil || target != n.target {
				m.fatalf("readlink of %x: %q, %v", n.h.Ino, target, err)
			}
		}
	}
	var got []string
	ups, _, err := m.ListUploads(context.Background(), m.b.Ino, "", "", "", 1000)
	m.want(err, 0)
	for _, u := range ups {
		got = append(got, u.Key+u.ID)
		m.checkParts(u)
	}
	var want []string
	for _, u := range m.ups {
		if !u.done {
			want = append(want, u.key+u.id)
		}
	}
	sort.Strings(got)
	sort.Strings(want)
	if !slices.Equal(got, want) {
		m.fatalf("uploads %q, want %q", got, want)
	}
}

func (m *model) checkParts(u Upload) {
	for _, x := range m.ups {
		if x.id != u.ID {
			continue
		}
		parts, _, err := m.ListParts(context.Background(), m.b.Ino, u.Key, u.ID, 0, 100)
		m.want(err, 0)
		if len(parts) != len(x.parts) {
			m.fatalf("%d parts of %q, want %d", len(parts), u.Key, len(x.parts))
		}
		for _, p := range parts {
			if uint64(len(x.parts[p.Number])) != p.Size || etagFor(x.parts[p.Number]) != p.ETag {
				m.fatalf("part %d of %q: %+v", p.Number, u.Key, p)
			}
		}
	}
}

func differ(a, b []byte) int {
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return i
		}
	}
	return min(len(a), len(b))
}

func (m *model) checkDir(d *tNode) {
	m.t.Helper()
	var want, got []string
	subdirs := uint32(0)
	var tokens []string
	for token, e := range d.entries {
		if e.node.typ == TypeDir {
			subdirs++
		}
		if !d.hidden(token) {
			tokens = append(tokens, token)
		}
	}
	sort.Slice(tokens, func(i, j int) bool { return d.entries[tokens[i]].seq < d.entries[tokens[j]].seq })
	for _, token := range tokens {
		want = append(want, d.shown(token)+" "+strconv.FormatUint(d.entries[token].seq, 10))
	}
	cookie := uint64(2)
	for eof := false; !eof; {
		left := 1 + m.r.IntN(5)
		a, end, err := m.ReadDir(context.Background(), modelRoot, m.handle(d), cookie, true, func(e *DirEntry) bool {
			if left == 0 {
				return false
			}
			left--
			got = append(got, e.Name+" "+strconv.FormatUint(e.Cookie, 10))
			cookie = e.Cookie
			if n := d.byShown(e.Name); n != nil {
				if n.h.Ino != 0 && n.h != e.Attr.Handle() {
					m.fatalf("readdir: %q is %x, want %x", e.Name, e.Ino, n.h.Ino)
				}
				if n.typ == TypeReg && (e.Attr.Size != uint64(len(n.data)) || int(e.Attr.Nlink) != n.links) {
					m.fatalf("readdir: %q (inode %x) has size %d, nlink %d, want %d, %d", e.Name, e.Ino, e.Attr.Size, e.Attr.Nlink, len(n.data), n.links)
				}
			}
			return true
		})
		if err != nil {
			m.fatalf("readdir: %v", err)
		}
		if eof = end; eof && (a.Size != uint64(len(d.entries)) || a.Nlink != 2+subdirs) {
			m.fatalf("directory %x: size %d, nlink %d, want %d, %d", a.Ino, a.Size, a.Nlink, len(d.entries), 2+subdirs)
		}
	}
	if !slices.Equal(got, want) {
		m.fatalf("readdir of %x (%q):\n got %q\nwant %q", m.handle(d).Ino, d.token, got, want)
	}
}

func (d *tNode) byShown(name string) *tNode {
	for token, e := range d.entries {
		if d.shown(token) == name {
			return e.node
		}
	}
	return nil
}

// scrub waits for the purge and looks for what doesn't fit together.
func (f *testFS) scrub() {
	f.t.Helper()
	if err := f.Purged(context.Background()); err != nil {
		f.t.Fatal(err)
	}
	if err := f.writeBack(context.Background()); err != nil {
		f.t.Fatal(err)
	}
	if err := f.Scrub(context.Background(), func(problem string) { f.t.Errorf("scrub: %s", problem) }); err != nil {
		f.t.Fatal(err)
	}
}

func modelRun(t *testing.T, seed uint64, steps int, tiny bool) {
	m := &model{testFS: newFS(t), r: rand.New(rand.NewPCG(seed, 7)), dirty: map[*tNode]bool{}}
	if tiny {
		m.tiny()
	}
	m.b = m.testFS.bucket("bucket")
	m.bucket = newTDir(nil, "", true)
	a, _, err := m.Lookup(context.Background(), modelRoot, Handle{Ino: RootIno, Gen: 1}, "bucket")
	m.want(err, 0)
	m.learn(m.bucket, a)
	defer func() {
		if t.Failed() {
			t.Logf("seed %d", seed)
		}
	}()
	for i := range steps {
		m.step()
		switch m.r.IntN(60) {
		case 0:
			m.check()
		case 1:
			m.note("reopen")
			m.reopen()
		case 2:
			for n := range m.dirty {
				if !n.dead {
					m.commit(n)
				}
			}
			clear(m.dirty)
			m.note("crash")
			old := m.FS
			m.crash()
			old.Close(context.Background())
		case 3:
			if m.r.IntN(4) == 0 {
				m.note("scrub")
				m.scrub()
			}
		case 4:
			m.note("write back")
			if err := m.writeBack(context.Background()); err != nil {
				t.Fatal(err)
			}
		case 5:
			m.note("close files")
			if err := m.closeFiles(context.Background(), 0); err != nil {
				t.Fatal(err)
			}
		}
		if t.Failed() {
			m.fatalf("failed at step %d", i)
		}
	}
	m.check()
	m.reopen()
	m.check()
	m.scrub()
	if t.Failed() {
		m.fatalf("failed at the end")
	}
}

func TestModel(t *testing.T) {
	seeds := 12
	if s := os.Getenv("SPIRULA_MDS_SOAK"); s != "" {
		seeds, _ = strconv.Atoi(s)
	}
	for i := range seeds {
		seed := uint64(i + 1)
		t.Run(strconv.FormatUint(seed, 10), func(t *testing.T) { modelRun(t, seed, 250, i%2 == 1) })
	}
}

var _ = tree.IsDirToken
