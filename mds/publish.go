package mds

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/spirula/spirula/mds/internal/filer"
	"github.com/spirula/spirula/mds/internal/inode"
	"github.com/spirula/spirula/mds/internal/tree"
	"github.com/spirula/spirula/rados/wire"
)

// emptyETag is the MD5 of no bytes: the ETag of the key `dir/` of a directory
// that nobody put there.
const emptyETag = "d41d8cd98f00b204e9800998ecf8427e"

// etagOf gives an inode's ETag: S3's where S3 wrote the content, otherwise
// one of inode number and data version, which is never that of other content.
func etagOf(in *inode.Inode) string {
	if in.S3 != nil && in.S3.Data == in.Data {
		return in.S3.ETag
	}
	if in.Type == inode.Dir {
		return emptyETag
	}
	b := make([]byte, 0, 40)
	b = strconv.AppendUint(b, uint64(in.Ino), 16)
	b = append(b, '.')
	b = strconv.AppendUint(b, in.Data, 16)
	return string(append(b, '-', '0'))
}

// object is what S3 sees of an inode.
func object(key string, in *inode.Inode) *Object {
	o := &Object{Key: key, Attr: attrOf(in), ETag: etagOf(in)}
	if in.Type == inode.Dir {
		o.Attr.Size = 0
	}
	if in.S3 != nil {
		o.Meta = in.S3.Meta
		if in.S3.Data == in.Data {
			o.Checksum, o.Parts = in.S3.Checksum, in.S3.Parts
		}
	}
	return o
}

// found is where a key leads.
type found struct {
	dir    *inode.Inode // the deepest directory there is
	missed []string     // directory tokens below it that are not there
	token  string       // the last token
	d      *inode.Dentry
	in     *inode.Inode // what S3 sees under the key; nil: nothing
}

// find walks a key. Links, devices and the like are entries that S3 doesn't
// see.
func (t *txn) find(bucket Ino, key string) (f found, err error) {
	if f.dir, err = t.bucketInode(bucket); err != nil {
		return f, err
	}
	dirs, last := parentToken(key)
	f.token = last
	for i, token := range dirs {
		d, err := t.get(f.dir, token)
		if err != nil {
			return f, err
		}
		if d == nil {
			f.missed = dirs[i:]
			return f, nil
		}
		t.know(knownDir{d.Inode, place{f.dir.Ino, token}, d})
		f.dir = d.Inode
	}
	if f.d, err = t.get(f.dir, last); err != nil {
		return f, err
	}
	if f.d == nil {
		if last == "" && f.dir.Dir.Explicit && f.dir.Dir.Parent != RootIno {
			f.in = f.dir
		}
		return f, nil
	}
	in, err := t.target(f.d)
	if err == nil && in.Type == inode.Reg {
		f.in = in
	}
	return f, err
}

// check holds the conditions of a change against the current object.
func (c *Conditions) check(key string, in *inode.Inode) error {
	if in == nil {
		switch {
		case c.IfMatch != "":
			return wire.Errorf("condition", key, wire.ENOENT)
		case c.IfSize != nil, c.IfModified != nil:
			return wire.Wrap("condition", key, ErrPrecondition)
		}
		return nil
	}
	bad := c.IfMatch != "" && c.IfMatch != "*" && c.IfMatch != etagOf(in) ||
		c.IfNoneMatch == "*" || c.IfNoneMatch != "" && c.IfNoneMatch == etagOf(in) ||
		c.IfSize != nil && *c.IfSize != in.Size ||
		c.IfModified != nil && *c.IfModified/1e9 != in.Mtime/1e9
	if bad {
		return wire.Wrap("condition", key, ErrPrecondition)
	}
	return nil
}

// content is what a publish puts under a key.
type content struct {
	content inode.Content
	size    uint64
	s3      inode.S3Part
	mtime   wire.Time
	cond    Conditions
	// stream, when set, is the one object of the content, which is still on
	// its way: the entry is published unconfirmed.
	stream uint64
	// prepare runs first, in the same transaction.
	prepare func(t *txn) error
}

// errDataFirst says that this content can only be published once its data is
// stored: what it replaces can't be put back.
var errDataFirst = errors.New("mds: the data has to be stored before it is published")

// publish stages that c is what key leads to, with the directories on the
// way. It gives the new record.
func (t *txn) publish(cred *Cred, bucket Ino, key string, c *content) (*inode.Inode, error) {
	f, err := t.find(bucket, key)
	if err != nil {
		return nil, err
	}
	if err := c.cond.check(key, f.in); err != nil {
		return nil, err
	}
	if c.prepare != nil {
		if err := c.prepare(t); err != nil {
			return nil, err
		}
	}
	dir, err := t.makeDirs(cred, bucket, &f)
	if err != nil {
		return nil, err
	}
	in := &inode.Inode{
		Ino: Ino(t.number()), Gen: 1, Type: inode.Reg, Mode: 0o644, UID: cred.UID, GID: cred.GID, Nlink: 1,
		Size: c.size, Atime: t.now, Mtime: t.now, Ctime: t.now, Btime: t.now, Change: 1, Data: 1, Content: c.content,
	}
	if c.mtime != 0 {
		in.Mtime = c.mtime
	}
	s3 := c.s3
	s3.Data = in.Data
	in.S3 = &s3
	nd := &inode.Dentry{Inode: in, Ino: in.Ino, Type: in.Type, Unconfirmed: c.stream != 0}
	if nd.Unconfirmed && f.d != nil {
		if f.d, err = t.withInline(dir, f.token, f.d); err != nil {
			return nil, err
		}
	}
	if f.d == nil {
		err = t.addEntry(dir, f.token, nd)
	} else {
		err = t.cover(dir, f.token, f.d, nd)
	}
	if err != nil {
		return nil, err
	}
	if c.stream != 0 {
		t.publishPending(place{dir, f.token}, c.stream, f.d)
	}
	return in, nil
}

// withInline gives a dentry that could be put back when its inline bytes are
// gone from beside it.
func (t *txn) withInline(dir Ino, token string, d *inode.Dentry) (*inode.Dentry, error) {
	if d.Inode == nil || d.Inode.Content.Kind != inode.Inline || d.Inode.Content.Inline != nil {
		return d, nil
	}
	b, err := t.inline(d.Inode)
	if err != nil {
		return nil, err
	}
	in := clone(d.Inode)
	in.Content.Inline = b
	nd := *d
	nd.Inode = in
	return &nd, nil
}

// makeDirs stages the directories that a key needs and that are not there.
func (t *txn) makeDirs(cred *Cred, bucket Ino, f *found) (Ino, error) {
	dir := f.dir
	if len(f.missed) > 0 {
		b, err := t.inode(bucket)
		if err != nil {
			return 0, err
		}
		mode := uint32(implicitMode)
		if b.Bucket != nil && b.Bucket.DirMode != 0 {
			mode = b.Bucket.DirMode
		}
		for i, token := range f.missed {
			explicit := f.token == "" && i == len(f.missed)-1
			in := t.newDir(cred, dir, mode, explicit)
			if err := t.addEntry(dir.Ino, token, &inode.Dentry{Inode: in, Ino: in.Ino, Type: in.Type}); err != nil {
				return 0, err
			}
			dir = in
		}
		return dir.Ino, nil
	}
	if f.token == "" && dir.Dir.Parent != RootIno {
		return dir.Ino, t.makeExplicit(dir.Ino)
	}
	return dir.Ino, nil
}

// cover stages that nd takes the place of the entry old, with its birth
// number. The old content goes when nd is confirmed.
func (t *txn) cover(dir Ino, token string, old, nd *inode.Dentry) error {
	nd.Seq, nd.First = old.Seq, old.First
	if old.Inode == nil {
		if nd.Unconfirmed {
			return errDataFirst
		}
		row, err := t.row(old.Ino)
		if err != nil {
			return err
		}
		if row == nil || row.Kind != inode.RowHere {
			return wire.Errorf("publish", inoName(old.Ino), wire.EIO)
		}
		if err := t.unlinkShared(dir, token, row); err != nil {
			return err
		}
		return t.addEntry(dir, token, nd)
	}
	oldIn := t.current(old.Inode)
	if nd.Unconfirmed && t.fs.open[oldIn.Ino] != nil {
		return errDataFirst
	}
	bytes := int64(nd.Inode.Size) - int64(t.fs.countedLocked(oldIn))
	if _, err := t.account(dir, delta{bytes: bytes}); err != nil {
		return err
	}
	t.put(dir, token, nd)
	t.putRow(nd.Inode.Ino, &inode.TableRow{Kind: inode.RowAt, Parent: dir, Token: token})
	t.putRow(oldIn.Ino, nil)
	if nd.Unconfirmed {
		return nil
	}
	return t.dropInode(oldIn)
}

// pendingPublish is a publish whose data and event are on their way.
type pendingPublish struct {
	at     place
	stream uint64
	old    *inode.Dentry
	pos    tree.Pos // of the publish's event; the journal keeps it
	done   chan struct{}
}

// publishPending stages that the entry at a place is unconfirmed.
func (t *txn) publishPending(at place, stream uint64, old *inode.Dentry) {
	t.extra = appendUnconfirmed(t.extra, stream, at, old)
	p := &pendingPublish{at: at, stream: stream, old: old, done: make(chan struct{})}
	t.apply = append(t.apply, func(pos tree.Pos) {
		p.pos = pos
		t.fs.pending[at] = p
	})
}

// unconfirmedLocked is for whoever met an unconfirmed entry: wait.
func (fs *FS) unconfirmedLocked(at place, d *inode.Dentry) error {
	p := fs.pending[at]
	if p == nil {
		panic(fmt.Sprintf("mds: entry %x %q is unconfirmed but nobody publishes it (inode %x)", at.dir, at.token, d.Ino))
	}
	return &waitFor{p.done}
}

// concludePause lies between attempts to conclude a publish.
const concludePause = time.Second

// confirm ends a pending publish: its data is stored, or (keep false) never
// will be. Nobody waits for its event: until that is durable a restart would
// find out the same.
func (fs *FS) confirm(ctx context.Context, at place, keep bool) error {
	fs.mu.Lock()
	p := fs.pending[at]
	fs.mu.Unlock()
	_, err := fs.run(ctx, func(t *txn) error {
		dir, err := t.inode(at.dir)
		if err != nil {
			return err
		}
		d, err := t.getRaw(dir, at.token)
		if err != nil {
			return err
		}
		if d == nil || !d.Unconfirmed {
			return wire.Errorf("confirm", at.token, wire.EIO)
		}
		if keep {
			nd := *d
			nd.Unconfirmed = false
			t.put(at.dir, at.token, &nd)
			if p.old != nil {
				old := t.current(p.old.Inode)
				if err := t.dropInode(old); err != nil {
					return err
				}
			}
		} else if err := t.undo(p, d); err != nil {
			return err
		}
		t.extra = appendConfirmed(t.extra, p.stream, keep)
		t.apply = append(t.apply, func(tree.Pos) {
			delete(fs.pending, at)
			close(p.done)
		})
		return nil
	})
	return err
}

// undo stages what was there before a publish whose data never came.
func (t *txn) undo(p *pendingPublish, d *inode.Dentry) error {
	t.putRow(d.Inode.Ino, nil)
	if p.old == nil {
		if err := t.dropEntry(p.at.dir, p.at.token, d.Inode); err != nil {
			return err
		}
		return t.dropImplicit(p.at.dir)
	}
	if _, err := t.account(p.at.dir, delta{bytes: int64(p.old.Inode.Size) - int64(d.Inode.Size)}); err != nil {
		return err
	}
	t.put(p.at.dir, p.at.token, p.old)
	t.putRow(p.old.Inode.Ino, &inode.TableRow{Kind: inode.RowAt, Parent: p.at.dir, Token: p.at.token})
	return nil
}

// writer is a Writer. It is used by one goroutine.
type writer struct {
	fs     *FS
	cred   Cred
	bucket Ino
	sid    uint64
	s      *filer.Stream
	small  wire.Data // content so far while there is no stream
	ended  bool
}

// NewWriter starts content that nobody can see until Publish.
func (fs *FS) NewWriter(ctx context.Context, cred Cred, bucket Ino, sizeHint int64) (Writer, error) {
	w := &writer{fs: fs, cred: cred, bucket: bucket}
	if sizeHint >= 0 && sizeHint <= MaxInline {
		return w, nil
	}
	return w, w.begin(ctx)
}

func (w *writer) begin(ctx context.Context) (err error) {
	if w.sid, err = w.fs.newStream(ctx); err != nil {
		return err
	}
	w.s = w.fs.filer.NewStream(w.sid)
	if w.small.Len() > 0 {
		err = w.s.Write(ctx, w.small)
		w.small.Release()
		w.small = wire.Data{}
	}
	return err
}

// Write appends d.
func (w *writer) Write(ctx context.Context, d wire.Data) error {
	if w.ended {
		return wire.Errorf("write", "ended writer", wire.EINVAL)
	}
	if w.s == nil {
		if w.small.Len()+d.Len() <= MaxInline {
			w.small.AppendData(d.Retain())
			return nil
		}
		if err := w.begin(ctx); err != nil {
			return err
		}
	}
	return w.s.Write(ctx, d)
}

// Abort drops the content.
func (w *writer) Abort() {
	if w.ended {
		return
	}
	w.ended = true
	w.drop()
}

// drop ends a writer whose content nothing names.
func (w *writer) drop() {
	w.small.Release()
	w.small = wire.Data{}
	if w.s == nil {
		return
	}
	size := w.s.Size()
	if _, held := w.s.Held(); held {
		w.s.Abort()
		w.fs.settle(w.sid)
		return
	}
	w.s.Abort()
	w.fs.dropStream(w.sid, size)
}

// held gives small content as bytes of its own, for keeping it inline.
func (w *writer) held() ([]byte, bool) {
	d := w.small
	if w.s != nil {
		var ok bool
		if d, ok = w.s.Held(); !ok || d.Len() > MaxInline {
			return nil, false
		}
	}
	return d.AppendTo(make([]byte, 0, d.Len())), true
}

// Publish makes the content the object key.
func (w *writer) Publish(ctx context.Context, key string, p Publish) (*Object, error) {
	if w.ended {
		return nil, wire.Errorf("publish", key, wire.EINVAL)
	}
	w.ended = true
	c := &content{
		s3:    inode.S3Part{ETag: p.ETag, Checksum: p.Checksum, Meta: p.Meta},
		mtime: p.Mtime, cond: p.Cond,
	}
	if b, ok := w.held(); ok {
		c.size = uint64(len(b))
		if len(b) > 0 {
			c.content = inode.Content{Kind: inode.Inline, Inline: b}
		}
		in, err := w.fs.publish(ctx, &w.cred, w.bucket, key, c)
		w.drop()
		if err != nil {
			return nil, err
		}
		return object(key, in), nil
	}
	c.size = w.s.Size()
	c.content = inode.Content{Kind: inode.Plain, Stream: w.sid}
	in, err := w.publishStream(ctx, key, c)
	if err != nil {
		return nil, err
	}
	return object(key, in), nil
}

// publish runs a publish whose data, if any, is stored.
func (fs *FS) publish(ctx context.Context, cred *Cred, bucket Ino, key string, c *content) (in *inode.Inode, err error) {
	err = fs.update(ctx, func(t *txn) (err error) {
		in, err = t.publish(cred, bucket, key, c)
		return err
	})
	return in, wrapKey("publish", key, err)
}

func wrapKey(op, key string, err error) error {
	if err == nil {
		return nil
	}
	return wire.Wrap(op, strconv.Quote(key), err)
}

func (w *writer) publishStream(ctx context.Context, key string, c *content) (*inode.Inode, error) {
	if _, held := w.s.Held(); held {
		in, err := w.publishParallel(ctx, key, c)
		if err != errDataFirst {
			return in, err
		}
		c.stream = 0
	}
	if err := w.s.Finish(ctx); err != nil {
		w.drop()
		return nil, wrapKey("publish", key, err)
	}
	in, err := w.fs.publish(ctx, &w.cred, w.bucket, key, c)
	if err != nil {
		w.fs.dropStream(w.sid, w.s.Size())
		return nil, err
	}
	return in, nil
}

// publishParallel sends the data and the event together and answers when
// both are durable: the latency of one commit.
func (w *writer) publishParallel(ctx context.Context, key string, c *content) (in *inode.Inode, err error) {
	fs := w.fs
	if err := fs.admit(ctx); err != nil {
		w.drop()
		return nil, wrapKey("publish", key, err)
	}
	// Once anything was sent it is seen to its end, whoever gave up waiting.
	ctx = context.WithoutCancel(ctx)
	var at place
	c.stream = w.sid
	pos, err := fs.run(ctx, func(t *txn) error {
		if in, err = t.publish(&w.cred, w.bucket, key, c); err != nil {
			return err
		}
		at = t.placeOf(in)
		return nil
	})
	if err == errDataFirst {
		return nil, errDataFirst
	}
	if err != nil {
		w.drop()
		if werr := fs.settled(ctx, pos); werr != nil {
			return nil, werr
		}
		return nil, wrapKey("publish", key, err)
	}
	_, derr := w.s.StartSingle(ctx).Wait(ctx)
	jerr := fs.settled(ctx, pos)
	if jerr != nil {
		return nil, wrapKey("publish", key, jerr)
	}
	w.s.Abort()
	fs.conclude(ctx, at, derr == nil)
	if derr != nil {
		fs.dropStream(w.sid, c.size)
		return nil, wrapKey("publish", key, derr)
	}
	return in, nil
}

// conclude is confirm that tries again, in the background, until it is done
// or the next start finds out: others wait for it.
func (fs *FS) conclude(ctx context.Context, at place, keep bool) {
	err := fs.confirm(ctx, at, keep)
	if err == nil {
		return
	}
	fs.background(func(ctx context.Context) {
		for err != nil {
			fs.log.Warn("a publish could not be concluded, trying again", "directory", inoName(at.dir), "token", at.token, "err", err)
			select {
			case <-ctx.Done():
				return
			case <-time.After(concludePause):
			}
			err = fs.confirm(ctx, at, keep)
		}
	})
}

// placeOf gives where this transaction staged a new inode.
func (t *txn) placeOf(in *inode.Inode) place {
	for i := range t.rows {
		if t.rows[i].ino == in.Ino {
			return place{t.rows[i].row.Parent, t.rows[i].row.Token}
		}
	}
	panic(fmt.Sprintf("mds: inode %x was published without a row", in.Ino))
}
