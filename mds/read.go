package mds

import (
	"context"

	"github.com/spirula/spirula/mds/internal/inode"
	"github.com/spirula/spirula/rados/wire"
)

// StatObject gives what S3 knows of a key; ENOENT, ErrNoBucket.
func (fs *FS) StatObject(ctx context.Context, bucket Ino, key string) (o *Object, err error) {
	err = fs.view(ctx, func(t *txn) error {
		f, err := t.find(bucket, key)
		if err != nil {
			return err
		}
		if f.in == nil {
			return wire.Errorf("stat", key, wire.ENOENT)
		}
		o = object(key, f.in)
		return nil
	})
	return o, err
}

// reader is a Reader.
type reader struct {
	fs  *FS
	obj *Object
	src source
}

// OpenObject finds an object and pins its content.
func (fs *FS) OpenObject(ctx context.Context, bucket Ino, key string) (Reader, error) {
	r := &reader{fs: fs}
	err := fs.view(ctx, func(t *txn) error {
		r.src.unpin(fs)
		f, err := t.find(bucket, key)
		if err != nil {
			return err
		}
		if f.in == nil {
			return wire.Errorf("open", key, wire.ENOENT)
		}
		r.obj = object(key, f.in)
		if f.in.Type == inode.Dir {
			r.src = source{in: &inode.Inode{Ino: f.in.Ino}}
			return nil
		}
		return t.pin(f.in, &r.src)
	})
	if err != nil {
		r.src.release(fs)
		return nil, err
	}
	return r, nil
}

// Object is what was found.
func (r *reader) Object() *Object { return r.obj }

// ReadAt gives up to n bytes from off. ESTALE: the content was written to
// over NFS since it was opened, so the rest would not fit what was read.
func (r *reader) ReadAt(ctx context.Context, off uint64, n int) (wire.Data, error) {
	d, err := r.src.read(ctx, r.fs, off, n)
	if err != nil {
		return d, wire.Wrap("read", r.obj.Key, err)
	}
	if r.src.pinned != nil {
		r.fs.mu.Lock()
		changed := r.src.changedLocked()
		r.fs.mu.Unlock()
		if changed {
			d.Release()
			return wire.Data{}, wire.Errorf("read", r.obj.Key, wire.ESTALE)
		}
	}
	return d, nil
}

// Close ends the pin. It may be called twice.
func (r *reader) Close() { r.src.release(r.fs) }

// DeleteObject removes what S3 sees under a key, and the directories that S3
// implied and that are empty then. ENOENT, ErrPrecondition.
func (fs *FS) DeleteObject(ctx context.Context, _ Cred, bucket Ino, key string, cond Conditions) error {
	err := fs.update(ctx, func(t *txn) error {
		f, err := t.find(bucket, key)
		if err != nil {
			return err
		}
		if err := cond.check(key, f.in); err != nil {
			return err
		}
		if f.in == nil {
			return wire.Errorf("delete", key, wire.ENOENT)
		}
		if f.d != nil {
			if err := t.unlink(f.dir.Ino, f.token, f.in); err != nil {
				return err
			}
		}
		if f.token == "" && f.dir.Dir.Parent != RootIno {
			in, err := t.inode(f.dir.Ino)
			if err != nil {
				return err
			}
			if odd, err := t.holdsOdd(in); err != nil || odd {
				return err
			}
			c := clone(in)
			c.Dir.Explicit = false
			if err := t.putInode(c); err != nil {
				return err
			}
		}
		return t.dropImplicit(f.dir.Ino)
	})
	return err
}

// oddLook is how many entries holdsOdd looks at.
const oddLook = 10000

// holdsOdd reports whether a directory has an entry that S3 doesn't show: it
// stays explicit then, or a common prefix would have nothing in it.
func (t *txn) holdsOdd(dir *inode.Inode) (bool, error) {
	from, inclusive := "", true
	for range oddLook {
		token, d, err := t.next(dir, from, inclusive)
		if err != nil || d == nil {
			return false, err
		}
		if d.Type != inode.Reg && d.Type != inode.Dir {
			return true, nil
		}
		from, inclusive = token, false
	}
	return false, nil
}

// Copy makes the pinned source's content an object too. Where the content
// can be shared no bytes move.
func (fs *FS) Copy(ctx context.Context, cred Cred, src Reader, bucket Ino, key string, spec CopySpec) (*Object, error) {
	r, ok := src.(*reader)
	if !ok {
		return nil, wire.Errorf("copy", key, wire.EINVAL)
	}
	c := &content{size: r.obj.Attr.Size, cond: spec.Cond, s3: inode.S3Part{
		ETag: r.obj.ETag, Checksum: r.obj.Checksum, Parts: r.obj.Parts, Meta: r.obj.Meta,
	}}
	if spec.Replace {
		c.s3.Meta = spec.Meta
	} else {
		c.s3.Meta.Owner = spec.Meta.Owner
	}
	if spec.ETag != "" {
		c.s3.ETag = spec.ETag
	}
	if spec.Checksum != nil {
		c.s3.Checksum = *spec.Checksum
	}
	if f := r.src.file; f != nil && f.Dirty() {
		if err := f.Flush(ctx, 0, 0); err != nil {
			return nil, wrapKey("copy", key, err)
		}
	}
	shared := false
	var in *inode.Inode
	err := fs.update(ctx, func(t *txn) (err error) {
		shared, err = t.share(r, c)
		if err != nil || !shared {
			return err
		}
		in, err = t.publish(&cred, bucket, key, c)
		return err
	})
	if err != nil {
		return nil, wrapKey("copy", key, err)
	}
	if shared {
		return object(key, in), nil
	}
	return fs.copyBytes(ctx, &cred, r, bucket, key, c)
}

// share prepares that the source's content gets one more holder. ok is false
// when its bytes have to be copied.
func (t *txn) share(r *reader, c *content) (ok bool, err error) {
	switch r.src.in.Content.Kind {
	case inode.Empty:
		return true, nil
	case inode.Inline:
		c.content = inode.Content{Kind: inode.Inline, Inline: append([]byte(nil), r.src.inline...)}
		return true, nil
	}
	now, err := t.inode(r.src.in.Ino)
	if wire.ErrnoOf(err) == wire.ESTALE {
		return false, nil // gone since it was pinned: its content is a stray
	}
	if err != nil {
		return false, err
	}
	if now.Data != r.src.in.Data || now.Content.Stream != r.src.in.Content.Stream {
		return false, nil
	}
	if of := t.fs.open[now.Ino]; of != nil && (of.writers > 0 || of.file.Dirty()) {
		return false, nil
	}
	if r.obj.Attr.Size == 0 {
		return true, nil
	}
	c.content = now.Content
	c.content.Sealed = true
	c.prepare = func(t *txn) error {
		if !now.Content.Sealed {
			s := clone(now)
			s.Content.Sealed = true
			if err := t.putInode(s); err != nil {
				return err
			}
		}
		return t.addRef(now.Content.Stream)
	}
	return true, nil
}

// copyBytes is Copy where the content can't be shared.
func (fs *FS) copyBytes(ctx context.Context, cred *Cred, r *reader, bucket Ino, key string, c *content) (*Object, error) {
	w := &writer{fs: fs, cred: *cred, bucket: bucket}
	if err := w.begin(ctx); err != nil {
		return nil, wrapKey("copy", key, err)
	}
	for off := uint64(0); off < c.size; {
		d, err := r.ReadAt(ctx, off, ObjectSize/4)
		if err == nil && d.Len() == 0 {
			err = wire.Errorf("copy", key, wire.EIO)
		}
		if err == nil {
			err = w.s.Write(ctx, d)
			off += uint64(d.Len())
			d.Release()
		}
		if err != nil {
			w.Abort()
			return nil, wrapKey("copy", key, err)
		}
	}
	w.ended = true
	c.content, c.prepare = inode.Content{Kind: inode.Plain, Stream: w.sid}, nil
	if err := w.s.Finish(ctx); err != nil {
		w.drop()
		return nil, wrapKey("copy", key, err)
	}
	in, err := fs.publish(ctx, cred, bucket, key, c)
	if err != nil {
		fs.dropStream(w.sid, c.size)
		return nil, err
	}
	return object(key, in), nil
}
