package s3

import (
	"context"
	"fmt"
	"slices"
	"sort"
	"strings"
	"sync"

	"github.com/spirula/spirula/mds"
	"github.com/spirula/spirula/rados/wire"
)

// memFS is a namespace in memory: naive, with one lock, sorted anew for each
// listing. It keeps copies of what it is given, so a Buf that is used after
// its release shows.
type memFS struct {
	mu      sync.Mutex
	buckets map[string]*memBucket
	next    uint64
	clock   wire.Time // 0: advances by a second for each change
	writers int       // begun and not ended

	// failRead, when set, is what ReadAt at or behind the offset gives.
	failRead error
	failAt   uint64
}

type memBucket struct {
	mds.Bucket
	objects map[string]*memObject
	uploads map[string]*memUpload // by id
}

type memObject struct {
	mds.Object
	data []byte
}

type memUpload struct {
	mds.Upload
	parts map[int]memPart
	done  *mds.Object
}

type memPart struct {
	mds.Part
	data []byte
}

func newMemFS() *memFS {
	return &memFS{buckets: map[string]*memBucket{}, next: 100, clock: wire.Time(1_700_000_000e9)}
}

// failFrom makes reads at or behind an offset fail.
func (f *memFS) failFrom(off uint64, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.failRead, f.failAt = err, off
}

func (f *memFS) tick() wire.Time { f.clock += 1e9; return f.clock }

func (f *memFS) byIno(ino mds.Ino) *memBucket {
	for _, b := range f.buckets {
		if b.Ino == ino {
			return b
		}
	}
	return nil
}

func (f *memFS) CreateBucket(_ context.Context, _ mds.Cred, b mds.Bucket) (mds.Bucket, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if old, ok := f.buckets[b.Name]; ok {
		return old.Bucket, wire.Errorf("mem.bucket", b.Name, wire.EEXIST)
	}
	f.next++
	b.Ino, b.Created = mds.Ino(f.next), f.tick()
	f.buckets[b.Name] = &memBucket{b, map[string]*memObject{}, map[string]*memUpload{}}
	return b, nil
}

func (f *memFS) Bucket(_ context.Context, name string) (mds.Bucket, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if b, ok := f.buckets[name]; ok {
		return b.Bucket, nil
	}
	return mds.Bucket{}, fmt.Errorf("mem.bucket %s: %w", name, mds.ErrNoBucket)
}

func (f *memFS) Buckets(_ context.Context, after string, max int) (page []mds.Bucket, more bool, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, b := range f.buckets {
		if b.Name > after {
			page = append(page, b.Bucket)
		}
	}
	sort.Slice(page, func(i, j int) bool { return page[i].Name < page[j].Name })
	if len(page) > max {
		return page[:max], true, nil
	}
	return page, false, nil
}

func (f *memFS) DeleteBucket(_ context.Context, _ mds.Cred, name string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	b, ok := f.buckets[name]
	if !ok {
		return mds.ErrNoBucket
	}
	if len(b.objects) > 0 {
		return wire.Errorf("mem.bucket", name, wire.ENOTEMPTY)
	}
	delete(f.buckets, name)
	return nil
}

type memWriter struct {
	f     *memFS
	b     mds.Ino
	cred  mds.Cred
	data  []byte
	ended bool
}

func (f *memFS) NewWriter(_ context.Context, cred mds.Cred, b mds.Ino, hint int64) (mds.Writer, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.writers++
	return &memWriter{f: f, b: b, cred: cred}, nil
}

func (w *memWriter) Write(_ context.Context, d wire.Data) error {
	if w.ended {
		return wire.Errorf("mem.write", "", wire.EINVAL)
	}
	w.data = d.AppendTo(w.data)
	return nil
}

func (w *memWriter) end() {
	if !w.ended {
		w.ended = true
		w.f.writers--
	}
}

func (w *memWriter) Abort() {
	w.f.mu.Lock()
	defer w.f.mu.Unlock()
	w.end()
}

func (w *memWriter) Publish(_ context.Context, key string, p mds.Publish) (*mds.Object, error) {
	w.f.mu.Lock()
	defer w.f.mu.Unlock()
	w.end()
	return w.f.publish(w.b, key, p, w.data, nil, w.cred)
}

func (f *memFS) check(b *memBucket, key string, c mds.Conditions) error {
	o := b.objects[key]
	demands := c.IfMatch != "" || c.IfSize != nil || c.IfModified != nil
	switch {
	case o == nil && demands:
		return wire.Errorf("mem.check", key, wire.ENOENT)
	case o == nil:
		return nil
	case c.IfMatch != "" && c.IfMatch != "*" && c.IfMatch != o.ETag,
		c.IfNoneMatch == "*", c.IfNoneMatch != "" && c.IfNoneMatch == o.ETag,
		c.IfSize != nil && *c.IfSize != o.Attr.Size,
		c.IfModified != nil && *c.IfModified/1e9 != o.Attr.Mtime/1e9:
		return mds.ErrPrecondition
	}
	return nil
}

func (f *memFS) publish(ino mds.Ino, key string, p mds.Publish, data []byte, parts []mds.PartSize, cred mds.Cred) (*mds.Object, error) {
	b := f.byIno(ino)
	if b == nil {
		return nil, mds.ErrNoBucket
	}
	if err := f.check(b, key, p.Cond); err != nil {
		return nil, err
	}
	f.next++
	o := &memObject{data: data}
	o.Key, o.ETag, o.Checksum, o.Meta, o.Parts = key, p.ETag, p.Checksum, p.Meta, parts
	o.Attr = mds.Attr{Ino: mds.Ino(f.next), Type: mds.TypeReg, Size: uint64(len(data)), Mtime: f.tick(), UID: cred.UID, GID: cred.GID}
	b.objects[key] = o
	return &o.Object, nil
}

type memReader struct {
	f *memFS
	o *memObject
}

func (r *memReader) Object() *mds.Object { return &r.o.Object }
func (r *memReader) Close()              { r.o = nil }
func (r *memReader) ReadAt(_ context.Context, off uint64, n int) (wire.Data, error) {
	r.f.mu.Lock()
	fails, at := r.f.failRead, r.f.failAt
	r.f.mu.Unlock()
	if fails != nil && off+uint64(n) > at {
		return wire.Data{}, fails
	}
	end := min(off+uint64(n), uint64(len(r.o.data)))
	if off >= end {
		return wire.Data{}, nil
	}
	return wire.CopyData(r.o.data[off:end]), nil
}

func (f *memFS) find(ino mds.Ino, key string) (*memObject, error) {
	b := f.byIno(ino)
	if b == nil {
		return nil, mds.ErrNoBucket
	}
	if o := b.objects[key]; o != nil {
		return o, nil
	}
	return nil, wire.Errorf("mem.object", key, wire.ENOENT)
}

func (f *memFS) OpenObject(_ context.Context, b mds.Ino, key string) (mds.Reader, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	o, err := f.find(b, key)
	if err != nil {
		return nil, err
	}
	return &memReader{f, o}, nil
}

func (f *memFS) StatObject(_ context.Context, b mds.Ino, key string) (*mds.Object, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	o, err := f.find(b, key)
	if err != nil {
		return nil, err
	}
	return &o.Object, nil
}

func (f *memFS) DeleteObject(_ context.Context, _ mds.Cred, ino mds.Ino, key string, c mds.Conditions) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	b := f.byIno(ino)
	if _, err := f.find(ino, key); err != nil {
		return err
	}
	if err := f.check(b, key, c); err != nil {
		return err
	}
	delete(b.objects, key)
	return nil
}

func (f *memFS) Copy(_ context.Context, cred mds.Cred, src mds.Reader, ino mds.Ino, key string, spec mds.CopySpec) (*mds.Object, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	o := src.(*memReader).o
	p := mds.Publish{Cond: spec.Cond, Meta: o.Meta, ETag: o.ETag, Checksum: o.Checksum}
	if spec.Replace {
		p.Meta = spec.Meta
	}
	if spec.ETag != "" {
		p.ETag = spec.ETag
	}
	if spec.Checksum != nil {
		p.Checksum = *spec.Checksum
	}
	return f.publish(ino, key, p, o.data, o.Parts, cred)
}

func (f *memFS) List(_ context.Context, ino mds.Ino, r mds.ListRequest) (*mds.ListPage, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	b := f.byIno(ino)
	if b == nil {
		return nil, mds.ErrNoBucket
	}
	var keys []string
	for k := range b.objects {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	page := &mds.ListPage{}
	last := ""
	for _, k := range keys {
		if !strings.HasPrefix(k, r.Prefix) || k <= r.After {
			continue
		}
		e := mds.ListEntry{Key: k}
		if at := strings.Index(k[len(r.Prefix):], r.Delimiter); r.Delimiter != "" && at >= 0 {
			e = mds.ListEntry{Key: k[:len(r.Prefix)+at+len(r.Delimiter)], Prefix: true}
			if e.Key == last || strings.HasPrefix(r.After, e.Key) && r.After == e.Key {
				continue
			}
		} else {
			o := b.objects[k]
			e.Size, e.Mtime, e.ETag, e.Owner = o.Attr.Size, o.Attr.Mtime, o.ETag, o.Meta.Owner
			e.Checksum, e.FullObject = o.Checksum.Algorithm, !o.Checksum.Composite
		}
		if len(page.Entries) == r.Max {
			page.Truncated, page.Next = true, page.Entries[r.Max-1].Key
			return page, nil
		}
		page.Entries = append(page.Entries, e)
		last = e.Key
	}
	return page, nil
}

func (f *memFS) CreateUpload(_ context.Context, cred mds.Cred, ino mds.Ino, key string, spec mds.UploadSpec) (string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	b := f.byIno(ino)
	if b == nil {
		return "", mds.ErrNoBucket
	}
	f.next++
	id := fmt.Sprintf("up%08d", f.next)
	b.uploads[id] = &memUpload{Upload: mds.Upload{Key: key, ID: id, Spec: spec, Started: f.tick(), Owner: spec.Meta.Owner}, parts: map[int]memPart{}}
	return id, nil
}

func (f *memFS) upload(ino mds.Ino, key, id string) (*memUpload, error) {
	b := f.byIno(ino)
	if b == nil {
		return nil, mds.ErrNoBucket
	}
	u := b.uploads[id]
	if u == nil || u.Key != key {
		return nil, mds.ErrNoUpload
	}
	return u, nil
}

func (f *memFS) StatUpload(_ context.Context, ino mds.Ino, key, id string) (*mds.Upload, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	u, err := f.upload(ino, key, id)
	if err != nil || u.done != nil {
		return nil, mds.ErrNoUpload
	}
	return &u.Upload, nil
}

func (f *memFS) putPart(ino mds.Ino, key, id string, p mds.Part, data []byte) (mds.Part, error) {
	u, err := f.upload(ino, key, id)
	if err != nil || u.done != nil {
		return p, mds.ErrNoUpload
	}
	p.Mtime = f.tick()
	u.parts[p.Number] = memPart{p, data}
	return p, nil
}

func (f *memFS) PutPart(_ context.Context, ino mds.Ino, key, id string, w mds.Writer, p mds.Part) (mds.Part, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	w.(*memWriter).end()
	return f.putPart(ino, key, id, p, w.(*memWriter).data)
}

func (f *memFS) CopyPart(_ context.Context, src mds.Reader, off, n uint64, ino mds.Ino, key, id string, p mds.Part) (mds.Part, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.putPart(ino, key, id, p, slices.Clone(src.(*memReader).o.data[off:off+n]))
}

func (f *memFS) ListParts(_ context.Context, ino mds.Ino, key, id string, after, max int) (parts []mds.Part, more bool, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	u, err := f.upload(ino, key, id)
	if err != nil {
		return nil, false, err
	}
	for n, p := range u.parts {
		if n > after {
			parts = append(parts, p.Part)
		}
	}
	sort.Slice(parts, func(i, j int) bool { return parts[i].Number < parts[j].Number })
	if len(parts) > max {
		return parts[:max], true, nil
	}
	return parts, false, nil
}

func (f *memFS) ListUploads(_ context.Context, ino mds.Ino, prefix, afterKey, afterID string, max int) (ups []mds.Upload, more bool, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, u := range f.byIno(ino).uploads {
		if u.done != nil || !strings.HasPrefix(u.Key, prefix) || u.Key < afterKey {
			continue
		}
		if u.Key == afterKey && (afterID == "" || u.ID <= afterID) {
			continue
		}
		ups = append(ups, u.Upload)
	}
	sort.Slice(ups, func(i, j int) bool {
		if ups[i].Key != ups[j].Key {
			return ups[i].Key < ups[j].Key
		}
		return ups[i].ID < ups[j].ID
	})
	if len(ups) > max {
		return ups[:max], true, nil
	}
	return ups, false, nil
}

func (f *memFS) CompleteUpload(_ context.Context, cred mds.Cred, ino mds.Ino, key, id string, c mds.Complete) (*mds.Object, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	u, err := f.upload(ino, key, id)
	if err != nil {
		return nil, err
	}
	if u.done != nil {
		return u.done, nil
	}
	var parts []mds.Part
	var sizes []mds.PartSize
	var data []byte
	for i, cp := range c.Parts {
		p, ok := u.parts[cp.Number]
		if !ok || p.ETag != cp.ETag {
			return nil, mds.ErrInvalidPart
		}
		if i < len(c.Parts)-1 && p.Size < c.MinPart {
			return nil, mds.ErrPartTooSmall
		}
		parts = append(parts, p.Part)
		sizes = append(sizes, mds.PartSize{Number: p.Number, Size: p.Size, Checksum: p.Checksum.Value})
		data = append(data, p.data...)
	}
	etag, sum, err := c.Finish(u.Spec, parts)
	if err != nil {
		return nil, err
	}
	o, err := f.publish(ino, key, mds.Publish{Cond: c.Cond, Meta: u.Spec.Meta, ETag: etag, Checksum: sum}, data, sizes, cred)
	if err != nil {
		return nil, err
	}
	u.done, u.parts = o, nil
	return o, nil
}

func (f *memFS) AbortUpload(_ context.Context, ino mds.Ino, key, id string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	u, err := f.upload(ino, key, id)
	if err != nil || u.done != nil {
		return mds.ErrNoUpload
	}
	delete(f.byIno(ino).uploads, id)
	return nil
}
