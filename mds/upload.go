package mds

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"github.com/spirula/spirula/mds/internal/inode"
	"github.com/spirula/spirula/mds/internal/tree"
	"github.com/spirula/spirula/rados/wire"
)

// An upload in progress is a directory among the hidden ones: its record's S3
// part has what CreateMultipartUpload fixed, its entries are the parts. A
// completed one is a plain record with the answer, kept for a day.

// maxPart is the highest part number (S3's limit).
const maxPart = 10000

// maxKeptParts is the most bytes that the sizes and checksums of an object's
// parts may take in its record; objects of more know only their number.
const maxKeptParts = 6 << 10

// uploadToken names an upload: key ‖ 00 01 ‖ id, with 00 in the key doubled
// to 00 FF, so that byte order is order of key, then of id.
func uploadToken(key, id string) string {
	return strings.ReplaceAll(key, "\x00", "\x00\xff") + "\x00\x01" + id
}

func splitUploadToken(token string) (key, id string) {
	i := strings.LastIndex(token, "\x00\x01")
	if i < 0 {
		return token, ""
	}
	return strings.ReplaceAll(token[:i], "\x00\xff", "\x00"), token[i+2:]
}

func partToken(n int) string { return fmt.Sprintf("%05d", n) }

// hiddenDir stages a new directory among the hidden ones.
func (t *txn) hiddenDir(parent Ino, token string) *inode.Inode {
	in := &inode.Inode{
		Ino: Ino(t.number()), Gen: 1, Type: inode.Dir, Mode: 0o700, Nlink: 1,
		Atime: t.now, Mtime: t.now, Ctime: t.now, Btime: t.now, Dir: tree.NewDirPart(parent, true),
	}
	t.born = append(t.born, in.Ino)
	t.putHidden(parent, token, in)
	return in
}

// putHidden stages an entry of a hidden directory, with its row.
func (t *txn) putHidden(parent Ino, token string, in *inode.Inode) {
	t.put(parent, token, &inode.Dentry{Inode: in, Ino: in.Ino, Type: in.Type})
	t.putRow(in.Ino, &inode.TableRow{Kind: inode.RowAt, Parent: parent, Token: token})
}

// uploadsOf finds the directory of a bucket's uploads; nil: it has none.
func (t *txn) uploadsOf(bucket Ino) (*inode.Inode, error) {
	all, err := t.inode(uploadsIno)
	if err != nil {
		return nil, err
	}
	d, err := t.get(all, strayToken('b', uint64(bucket)))
	if err != nil || d == nil {
		return nil, err
	}
	return d.Inode, nil
}

// CreateUpload starts a multipart upload.
func (fs *FS) CreateUpload(ctx context.Context, cred Cred, bucket Ino, key string, spec UploadSpec) (id string, err error) {
	var random [8]byte
	if _, err := rand.Read(random[:]); err != nil {
		return "", wrapKey("create upload", key, err)
	}
	err = fs.update(ctx, func(t *txn) error {
		if _, err := t.bucketInode(bucket); err != nil {
			return err
		}
		dir, err := t.uploadsOf(bucket)
		if err != nil {
			return err
		}
		if dir == nil {
			dir = t.hiddenDir(uploadsIno, strayToken('b', uint64(bucket)))
		}
		id = strayToken('u', t.fs.next+t.taken)[1:] + hex.EncodeToString(random[:])
		in := t.hiddenDir(dir.Ino, uploadToken(key, id))
		in.UID, in.GID = cred.UID, cred.GID
		in.S3 = &inode.S3Part{Meta: spec.Meta, Checksum: inode.Checksum{Algorithm: spec.Algorithm, Composite: !spec.FullObject}}
		return nil
	})
	return id, wrapKey("create upload", key, err)
}

// upload finds an upload's record, which is a directory while it is in
// progress; ErrNoUpload.
func (t *txn) upload(bucket Ino, key, id string) (dir, in *inode.Inode, err error) {
	if _, err := t.bucketInode(bucket); err != nil {
		return nil, nil, err
	}
	dir, err = t.uploadsOf(bucket)
	if err != nil {
		return nil, nil, err
	}
	if dir == nil || strings.Contains(id, "\x00") {
		return nil, nil, wire.Wrap("upload", id, ErrNoUpload)
	}
	d, err := t.get(dir, uploadToken(key, id))
	if err != nil {
		return nil, nil, err
	}
	if d == nil || d.Inode == nil {
		return nil, nil, wire.Wrap("upload", id, ErrNoUpload)
	}
	return dir, d.Inode, nil
}

// running is upload for one that must still be in progress.
func (t *txn) running(bucket Ino, key, id string) (dir, in *inode.Inode, err error) {
	dir, in, err = t.upload(bucket, key, id)
	if err == nil && in.Dir == nil {
		err = wire.Wrap("upload", id, ErrNoUpload)
	}
	return dir, in, err
}

func uploadSpec(in *inode.Inode) UploadSpec {
	return UploadSpec{Meta: in.S3.Meta, Algorithm: in.S3.Checksum.Algorithm, FullObject: !in.S3.Checksum.Composite}
}

func uploadOf(key, id string, in *inode.Inode) Upload {
	return Upload{Key: key, ID: id, Spec: uploadSpec(in), Started: in.Btime, Owner: in.S3.Meta.Owner}
}

// StatUpload gives an upload's settings; ErrNoUpload.
func (fs *FS) StatUpload(ctx context.Context, bucket Ino, key, id string) (u *Upload, err error) {
	err = fs.view(ctx, func(t *txn) error {
		_, in, err := t.running(bucket, key, id)
		if err == nil {
			up := uploadOf(key, id, in)
			u = &up
		}
		return err
	})
	return u, wrapKey("stat upload", key, err)
}

// PutPart makes a Writer's content a part, in place of an earlier one.
func (fs *FS) PutPart(ctx context.Context, bucket Ino, key, id string, wr Writer, p Part) (Part, error) {
	w, ok := wr.(*writer)
	if !ok || w.ended || p.Number < 1 || p.Number > maxPart {
		return Part{}, wrapKey("put part", key, wire.EINVAL)
	}
	c := inode.Content{}
	if w.s == nil && w.small.Len() > 0 {
		// A part is joined with others, so it is never kept inline.
		if err := w.begin(ctx); err != nil {
			return Part{}, wrapKey("put part", key, err)
		}
	}
	w.ended = true
	if w.s != nil {
		if err := w.s.Finish(ctx); err != nil {
			w.drop()
			return Part{}, wrapKey("put part", key, err)
		}
		p.Size = w.s.Size()
		if p.Size > 0 {
			c = inode.Content{Kind: inode.Plain, Stream: w.sid}
		}
	}
	part, err := fs.putPart(ctx, bucket, key, id, p, func(*txn) (inode.Content, error) { return c, nil })
	if err != nil {
		if w.s != nil {
			fs.dropStream(w.sid, p.Size)
		}
		return Part{}, err
	}
	if w.s != nil && p.Size == 0 {
		fs.settle(w.sid)
	}
	return part, nil
}

// putPart stages and waits for a part whose bytes are stored; makeContent is
// called in the transaction.
func (fs *FS) putPart(ctx context.Context, bucket Ino, key, id string, p Part, makeContent func(t *txn) (inode.Content, error)) (Part, error) {
	err := fs.update(ctx, func(t *txn) error {
		_, up, err := t.running(bucket, key, id)
		if err != nil {
			return err
		}
		c, err := makeContent(t)
		if err != nil {
			return err
		}
		old, err := t.get(up, partToken(p.Number))
		if err != nil {
			return err
		}
		if old != nil {
			if err := t.dropContent(&old.Inode.Content, old.Inode.Size); err != nil {
				return err
			}
		}
		p.Mtime = t.now
		in := &inode.Inode{
			Ino: Ino(t.number()), Gen: 1, Type: inode.Reg, Size: p.Size, Mtime: t.now, Content: c,
			S3: &inode.S3Part{ETag: p.ETag, Checksum: p.Checksum},
		}
		t.put(up.Ino, partToken(p.Number), &inode.Dentry{Inode: in, Ino: in.Ino, Type: in.Type})
		return nil
	})
	return p, wrapKey("put part", key, err)
}

func partOf(token string, in *inode.Inode) Part {
	n := 0
	for i := range len(token) {
		n = n*10 + int(token[i]-'0')
	}
	return Part{Number: n, Size: in.Size, ETag: in.S3.ETag, Checksum: in.S3.Checksum, Mtime: in.Mtime}
}

// CopyPart makes a range of the pinned source a part. Where the source's
// objects can be shared no bytes move.
func (fs *FS) CopyPart(ctx context.Context, src Reader, off, n uint64, bucket Ino, key, id string, p Part) (Part, error) {
	r, ok := src.(*reader)
	if !ok || p.Number < 1 || p.Number > maxPart || off > r.obj.Attr.Size || n > r.obj.Attr.Size-off {
		return Part{}, wrapKey("copy part", key, wire.EINVAL)
	}
	p.Size = n
	if k := r.src.in.Content.Kind; n > 0 && (k == inode.Joined || k == inode.Plain) {
		part, shared, err := fs.sharePart(ctx, r, off, bucket, key, id, p)
		if err != nil || shared {
			return part, err
		}
	}
	w := &writer{fs: fs, bucket: bucket}
	if err := w.begin(ctx); err != nil {
		return Part{}, wrapKey("copy part", key, err)
	}
	for end := off + n; off < end; {
		d, err := r.ReadAt(ctx, off, int(min(end-off, ObjectSize/4)))
		if err == nil && d.Len() == 0 {
			err = wire.Errorf("copy part", key, wire.EIO)
		}
		if err == nil {
			err = w.s.Write(ctx, d)
			off += uint64(d.Len())
			d.Release()
		}
		if err != nil {
			w.Abort()
			return Part{}, wrapKey("copy part", key, err)
		}
	}
	return fs.PutPart(ctx, bucket, key, id, w, p)
}

// sharePart makes p.Size bytes of the source from off a part that refers to
// the source's streams. shared is false when their bytes have to be copied:
// the source is gone or being written to, or it is of too many pieces.
func (fs *FS) sharePart(ctx context.Context, r *reader, off uint64, bucket Ino, key, id string, p Part) (part Part, shared bool, err error) {
	rows, ok, err := fs.filer.Rows(ctx, &r.src.in.Content, r.obj.Attr.Size, off, p.Size)
	if err != nil {
		return Part{}, false, wrapKey("copy part", key, err)
	}
	if !ok || len(rows) > inode.MaxRows {
		return Part{}, false, nil
	}
	part, err = fs.putPart(ctx, bucket, key, id, p, func(t *txn) (inode.Content, error) {
		source := &content{}
		ok, err := t.share(r, source)
		if err != nil {
			return inode.Content{}, err
		}
		if !ok {
			return inode.Content{}, errDataFirst
		}
		if r.src.in.Content.Kind == inode.Plain {
			err = source.prepare(t) // seals it and counts this row
		} else {
			for i := range rows {
				if err = t.addRef(rows[i].Stream); err != nil {
					break
				}
			}
		}
		return inode.Content{Kind: inode.Joined, Stream: t.number(), Rows: rows, NumRow: uint32(len(rows))}, err
	})
	if errors.Is(err, errDataFirst) {
		return Part{}, false, nil
	}
	return part, err == nil, err
}

// ListParts gives up to max parts in order of number, after a number.
func (fs *FS) ListParts(ctx context.Context, bucket Ino, key, id string, after, max int) (parts []Part, more bool, err error) {
	err = fs.view(ctx, func(t *txn) error {
		parts, more = nil, false
		_, up, err := t.running(bucket, key, id)
		if err != nil {
			return err
		}
		t.sawAll()
		return t.fs.tree.Scan(up, partToken(after), false, func(token string, d *inode.Dentry) bool {
			if len(parts) == max {
				more = true
				return false
			}
			parts = append(parts, partOf(token, d.Inode))
			return true
		})
	})
	return parts, more, wrapKey("list parts", key, err)
}

// ListUploads gives up to max uploads in progress whose key has the prefix,
// in order of key, then id, after (afterKey, afterID).
func (fs *FS) ListUploads(ctx context.Context, bucket Ino, prefix, afterKey, afterID string, max int) (ups []Upload, more bool, err error) {
	from := ""
	switch {
	case afterKey != "" && afterID != "":
		from = uploadToken(afterKey, afterID)
	case afterKey != "":
		from = uploadToken(afterKey, "\xff")
	}
	err = fs.view(ctx, func(t *txn) error {
		ups, more = nil, false
		if _, err := t.bucketInode(bucket); err != nil {
			return err
		}
		dir, err := t.uploadsOf(bucket)
		if err != nil || dir == nil {
			return err
		}
		t.sawAll()
		return t.fs.tree.Scan(dir, from, false, func(token string, d *inode.Dentry) bool {
			key, id := splitUploadToken(token)
			if d.Inode.Dir == nil || !strings.HasPrefix(key, prefix) {
				return key < prefix || strings.HasPrefix(key, prefix)
			}
			if len(ups) == max {
				more = true
				return false
			}
			ups = append(ups, uploadOf(key, id, d.Inode))
			return true
		})
	})
	return ups, more, err
}

// AbortUpload drops an upload and its parts; ErrNoUpload.
func (fs *FS) AbortUpload(ctx context.Context, bucket Ino, key, id string) error {
	err := fs.update(ctx, func(t *txn) error {
		dir, up, err := t.running(bucket, key, id)
		if err != nil {
			return err
		}
		t.put(dir.Ino, uploadToken(key, id), nil)
		t.strayUpload(up)
		return nil
	})
	return wrapKey("abort upload", key, err)
}

// strayUpload stages that an upload's directory, with the parts that are left
// in it, waits for the purge.
func (t *txn) strayUpload(up *inode.Inode) {
	c := clone(up)
	c.Dir.Parent = strayIno
	t.putHidden(strayIno, strayToken(strayUploadKind, uint64(up.Ino)), c)
	t.apply = append(t.apply, func(tree.Pos) { wake(t.fs.strays) })
}

// dropUploads stages that all uploads of a removed bucket go.
func (t *txn) dropUploads(bucket Ino) error {
	dir, err := t.uploadsOf(bucket)
	if err != nil || dir == nil {
		return err
	}
	t.put(uploadsIno, strayToken('b', uint64(bucket)), nil)
	c := clone(dir)
	c.Dir.Parent = strayIno
	t.putHidden(strayIno, strayToken(strayUploadsKind, uint64(dir.Ino)), c)
	t.apply = append(t.apply, func(tree.Pos) { wake(t.fs.strays) })
	return nil
}

// CompleteUpload makes the listed parts one object: ErrNoUpload,
// ErrInvalidPart, ErrPartOrder, ErrPartTooSmall, ErrPrecondition, or
// Finish's error. Asked again within a day the answer is the same.
func (fs *FS) CompleteUpload(ctx context.Context, cred Cred, bucket Ino, key, id string, c Complete) (o *Object, err error) {
	done, parts, spec, err := fs.collect(ctx, bucket, key, id, &c)
	if err != nil {
		return nil, wrapKey("complete upload", key, err)
	}
	if done != nil {
		return object(key, done), nil
	}
	list := make([]Part, len(parts))
	for i, in := range parts {
		list[i] = partOf(partToken(c.Parts[i].Number), in)
	}
	etag, sum, err := c.Finish(spec, list)
	if err != nil {
		return nil, err
	}
	pub := &content{cond: c.Cond, s3: inode.S3Part{ETag: etag, Checksum: sum, Meta: spec.Meta}}
	kept := 0
	for i := range list {
		pub.size += list[i].Size
		if kept += 16 + len(list[i].Checksum.Value); kept <= maxKeptParts {
			pub.s3.Parts = append(pub.s3.Parts, PartSize{Number: list[i].Number, Size: list[i].Size, Checksum: list[i].Checksum.Value})
		}
	}
	if kept > maxKeptParts {
		pub.s3.Parts = nil
	}
	sid, err := fs.join(ctx, parts, pub)
	if err != nil {
		return nil, wrapKey("complete upload", key, err)
	}
	in, err := fs.publishParts(ctx, &cred, bucket, key, id, &c, parts, pub)
	if sid != 0 {
		fs.dropStream(sid, 0) // unless the object has it now
	}
	if err != nil {
		return nil, err
	}
	return object(key, in), nil
}

// collect finds the listed parts and checks the list. done is the answer of
// an upload that was completed before.
func (fs *FS) collect(ctx context.Context, bucket Ino, key, id string, c *Complete) (done *inode.Inode, parts []*inode.Inode, spec UploadSpec, err error) {
	err = fs.view(ctx, func(t *txn) error {
		done, parts = nil, nil
		_, up, err := t.upload(bucket, key, id)
		if err != nil {
			return err
		}
		if up.Dir == nil {
			done = up
			return nil
		}
		spec = uploadSpec(up)
		parts, err = t.listedParts(up, c)
		return err
	})
	return done, parts, spec, err
}

func (t *txn) listedParts(up *inode.Inode, c *Complete) ([]*inode.Inode, error) {
	if len(c.Parts) == 0 || len(c.Parts) > maxPart {
		return nil, ErrInvalidPart
	}
	tokens := make([]string, len(c.Parts))
	for i := range c.Parts {
		n := c.Parts[i].Number
		if i > 0 && n <= c.Parts[i-1].Number {
			return nil, ErrPartOrder
		}
		if n < 1 || n > maxPart {
			return nil, ErrInvalidPart
		}
		tokens[i] = partToken(n)
	}
	if err := t.fs.tree.Want(up, tokens); err != nil {
		return nil, err
	}
	parts := make([]*inode.Inode, len(c.Parts))
	for i := range c.Parts {
		d, err := t.get(up, tokens[i])
		if err != nil {
			return nil, err
		}
		p := &c.Parts[i]
		if d == nil || d.Inode.S3.ETag != p.ETag || p.Checksum != nil && string(p.Checksum) != string(d.Inode.S3.Checksum.Value) {
			return nil, ErrInvalidPart
		}
		if i < len(c.Parts)-1 && d.Inode.Size < c.MinPart {
			return nil, ErrPartTooSmall
		}
		parts[i] = d.Inode
	}
	return parts, nil
}

// join makes the content of the parts together. sid is the number of a part
// list that was written, still in flight; 0: none was needed.
func (fs *FS) join(ctx context.Context, parts []*inode.Inode, pub *content) (sid uint64, err error) {
	if len(parts) == 1 {
		pub.content = parts[0].Content
		return 0, nil
	}
	var rows []inode.Row
	end := uint64(0)
	for _, in := range parts {
		r, ok, err := fs.filer.Rows(ctx, &in.Content, in.Size, 0, in.Size)
		if err != nil || !ok {
			return 0, wire.Wrap("join", inoName(in.Ino), err)
		}
		for _, row := range r {
			row.End += end
			rows = append(rows, row)
		}
		end += in.Size
	}
	if end == 0 {
		return 0, nil
	}
	if sid, err = fs.newStream(ctx); err != nil {
		return 0, err
	}
	pub.content = inode.Content{Kind: inode.Joined, Stream: sid, NumRow: uint32(len(rows))}
	if len(rows) <= inode.MaxRows {
		pub.content.Rows = rows
		return sid, nil
	}
	if err := fs.filer.WriteParts(ctx, sid, rows); err != nil {
		fs.dropStream(sid, 0)
		return 0, err
	}
	return sid, nil
}

// publishParts is the one event of CompleteUpload: the object appears, the
// listed parts have gone over to it, the upload is answered, and what is left
// of it waits for the purge.
func (fs *FS) publishParts(ctx context.Context, cred *Cred, bucket Ino, key, id string, c *Complete, parts []*inode.Inode, pub *content) (in *inode.Inode, err error) {
	err = fs.update(ctx, func(t *txn) error {
		dir, up, err := t.upload(bucket, key, id)
		if err != nil {
			return err
		}
		if up.Dir == nil {
			in = up // somebody was faster; the same answer
			return nil
		}
		now, err := t.listedParts(up, c)
		if err != nil {
			return err
		}
		for i := range now {
			if now[i].Ino != parts[i].Ino {
				return ErrInvalidPart
			}
		}
		owner := Cred{UID: up.UID, GID: up.GID, Trusted: cred.Trusted}
		if in, err = t.publish(&owner, bucket, key, pub); err != nil {
			return err
		}
		for i := range c.Parts {
			t.put(up.Ino, partToken(c.Parts[i].Number), nil)
		}
		t.strayUpload(up)
		answer := clone(in)
		answer.Ino, answer.Content = Ino(t.number()), inode.Content{}
		answer.Btime, answer.Nlink = t.now, 0
		t.put(dir.Ino, uploadToken(key, id), &inode.Dentry{Inode: answer, Ino: answer.Ino, Type: answer.Type})
		return nil
	})
	return in, wrapKey("complete upload", key, err)
}
