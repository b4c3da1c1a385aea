package storetest

import (
	"cmp"
	"slices"
	"sort"
	"strings"
	"sync"

	"github.com/spirula/spirula/osd/store"
	"github.com/spirula/spirula/rados/wire"
)

// ModelOptions says how a Model behaves.
type ModelOptions struct {
	// Inline calls done from within Queue, before it returns. Otherwise
	// one goroutine calls the done functions, in the order of Queue.
	Inline bool
	// Fail, when not nil, is asked before a transaction is applied; its
	// error is what Queue returns.
	Fail func(*store.Txn) error
	// FailRead, when not nil, is asked before an object's data is read.
	FailRead func(store.ObjectID) error
}

type modelObject struct {
	data   []byte
	xattrs map[string][]byte
	omap   map[string][]byte
	header []byte
}

func (o *modelObject) clone() *modelObject {
	c := &modelObject{data: slices.Clone(o.data), header: slices.Clone(o.header),
		xattrs: map[string][]byte{}, omap: map[string][]byte{}}
	for k, v := range o.xattrs {
		c.xattrs[k] = v
	}
	for k, v := range o.omap {
		c.omap[k] = v
	}
	return c
}

// Model is a store in memory, without any cleverness. Nothing survives it.
type Model struct {
	opts ModelOptions

	mu      sync.Mutex
	objects map[store.ObjectID]*modelObject
	meta    map[wire.SPGID]map[string][]byte
	dones   []func(error)
	closed  bool
	wake    *sync.Cond
	idle    sync.WaitGroup
}

// NewModel makes an empty Model.
func NewModel(o ModelOptions) *Model {
	m := &Model{opts: o, objects: map[store.ObjectID]*modelObject{}, meta: map[wire.SPGID]map[string][]byte{}}
	m.wake = sync.NewCond(&m.mu)
	if !o.Inline {
		m.idle.Add(1)
		go m.complete()
	}
	return m
}

// Clone gives a Model with a copy of the content: the state to compare with
// after a crash.
func (m *Model) Clone() *Model {
	m.mu.Lock()
	defer m.mu.Unlock()
	c := NewModel(ModelOptions{Inline: true})
	for id, o := range m.objects {
		c.objects[id] = o.clone()
	}
	for pg, rows := range m.meta {
		c.meta[pg] = map[string][]byte{}
		for k, v := range rows {
			c.meta[pg][k] = v
		}
	}
	return c
}

func (m *Model) complete() {
	defer m.idle.Done()
	for {
		m.mu.Lock()
		for len(m.dones) == 0 && !m.closed {
			m.wake.Wait()
		}
		ds := m.dones
		m.dones = nil
		m.mu.Unlock()
		if len(ds) == 0 {
			return
		}
		for _, d := range ds {
			d(nil)
		}
	}
}

// NewSequencer gives a Sequencer; Model keeps the order of all anyway.
func (m *Model) NewSequencer() *store.Sequencer { return new(store.Sequencer) }

// Queue applies t at once, all or nothing.
func (m *Model) Queue(_ *store.Sequencer, t *store.Txn, done func(error)) error {
	if m.opts.Fail != nil {
		if err := m.opts.Fail(t); err != nil {
			return err
		}
	}
	m.mu.Lock()
	if m.closed {
		m.mu.Unlock()
		return wire.Errorf("store.queue", "", wire.ESHUTDOWN)
	}
	w := working{m: m, objects: map[store.ObjectID]*modelObject{}, meta: map[wire.SPGID]map[string][]byte{}}
	for i := range t.Ops {
		if err := w.step(&t.Ops[i]); err != nil {
			m.mu.Unlock()
			return err
		}
	}
	for id, o := range w.objects {
		if o == nil {
			delete(m.objects, id)
		} else {
			m.objects[id] = o
		}
	}
	for pg, rows := range w.meta {
		m.meta[pg] = rows
	}
	if !m.opts.Inline && done != nil {
		m.dones = append(m.dones, done)
		m.wake.Signal()
	}
	m.mu.Unlock()
	if m.opts.Inline && done != nil {
		done(nil)
	}
	return nil
}

// working is a transaction under way: copies of what it touched, nil for
// what it removed.
type working struct {
	m       *Model
	objects map[store.ObjectID]*modelObject
	meta    map[wire.SPGID]map[string][]byte
}

func (w *working) get(id store.ObjectID) *modelObject {
	if o, ok := w.objects[id]; ok {
		return o
	}
	o := w.m.objects[id]
	if o != nil {
		o = o.clone()
	}
	w.objects[id] = o
	return o
}

func (w *working) make(id store.ObjectID) *modelObject {
	o := w.get(id)
	if o == nil {
		o = &modelObject{xattrs: map[string][]byte{}, omap: map[string][]byte{}}
		w.objects[id] = o
	}
	return o
}

func (w *working) rows(pg wire.SPGID) map[string][]byte {
	if r, ok := w.meta[pg]; ok {
		return r
	}
	r := map[string][]byte{}
	for k, v := range w.m.meta[pg] {
		r[k] = v
	}
	w.meta[pg] = r
	return r
}

func (w *working) step(op *store.Op) error {
	if err := store.CheckOp(op); err != nil {
		return err
	}
	switch op.Kind {
	case store.OpMetaSet:
		put(w.rows(op.PG), op.KVs)
	case store.OpMetaRm:
		remove(w.rows(op.PG), op.Keys)
	case store.OpMetaRmRange:
		removeRange(w.rows(op.PG), op.Name, op.Name2)
	case store.OpTouch:
		w.make(op.Object)
	case store.OpWrite:
		o := w.make(op.Object)
		if op.Len > 0 {
			o.data = resize(o.data, max(len(o.data), int(op.Off)+op.Data.Len()))
			op.Data.CopyTo(o.data[op.Off:], 0)
		}
	case store.OpTruncate:
		o := w.make(op.Object)
		o.data = resize(o.data, int(op.Off))
	case store.OpSetXattrs:
		put(w.make(op.Object).xattrs, op.KVs)
	case store.OpOmapSet:
		put(w.make(op.Object).omap, op.KVs)
	case store.OpOmapHeader:
		w.make(op.Object).header = slices.Clone(op.Value)
	case store.OpRemove:
		w.objects[op.Object] = nil
	case store.OpClone:
		src := w.get(op.Object)
		if src == nil {
			return wire.Errorf("store.clone", op.Object.String(), wire.ENOENT)
		}
		w.objects[op.Dst] = src.clone()
	default:
		if o := w.get(op.Object); o != nil {
			w.stepExisting(o, op)
		}
	}
	return nil
}

// stepExisting does the steps that have no effect on an absent object.
func (w *working) stepExisting(o *modelObject, op *store.Op) {
	switch op.Kind {
	case store.OpZero:
		if op.Off < uint64(len(o.data)) {
			clear(o.data[op.Off:min(uint64(len(o.data)), op.Off+op.Len)])
		}
	case store.OpRmXattr:
		delete(o.xattrs, op.Name)
	case store.OpOmapRm:
		remove(o.omap, op.Keys)
	case store.OpOmapRmRange:
		removeRange(o.omap, op.Name, op.Name2)
	case store.OpOmapClear:
		clear(o.omap)
		o.header = nil
	}
}

func resize(b []byte, n int) []byte {
	if n <= len(b) {
		return b[:n:n]
	}
	return append(b[:len(b):len(b)], make([]byte, n-len(b))...)
}

func put(m map[string][]byte, kvs []wire.KV) {
	for _, kv := range kvs {
		m[kv.Key] = slices.Clone(kv.Value)
	}
}

func remove(m map[string][]byte, keys []string) {
	for _, k := range keys {
		delete(m, k)
	}
}

func removeRange(m map[string][]byte, first, end string) {
	for k := range m {
		if k >= first && k < end {
			delete(m, k)
		}
	}
}

func (m *Model) find(op string, o store.ObjectID) (*modelObject, error) {
	obj := m.objects[o]
	if obj == nil {
		return nil, wire.Errorf(op, o.String(), wire.ENOENT)
	}
	return obj, nil
}

// Read gives the bytes of [off, off+n) that the object has; ENOENT.
func (m *Model) Read(o store.ObjectID, off, n uint64) (wire.Data, error) {
	if m.opts.FailRead != nil {
		if err := m.opts.FailRead(o); err != nil {
			return wire.Data{}, err
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	obj, err := m.find("store.read", o)
	if err != nil {
		return wire.Data{}, err
	}
	size := uint64(len(obj.data))
	if off >= size {
		return wire.Data{}, nil
	}
	return wire.CopyData(obj.data[off : off+min(n, size-off)]), nil
}

// Pin is a Read at once.
func (m *Model) Pin(o store.ObjectID, off, n uint64) (*store.Pinned, error) {
	d, err := m.Read(o, off, n)
	if err != nil {
		return nil, err
	}
	return store.PinnedData(d), nil
}

// Stat gives size and whether there is an omap; ENOENT.
func (m *Model) Stat(o store.ObjectID) (store.Stat, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	obj, err := m.find("store.stat", o)
	if err != nil {
		return store.Stat{}, err
	}
	return store.Stat{Size: uint64(len(obj.data)), HasOmap: len(obj.omap) > 0 || len(obj.header) > 0}, nil
}

// Xattr gives one xattr; ENOENT, ENODATA.
func (m *Model) Xattr(o store.ObjectID, name string) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	obj, err := m.find("store.xattr", o)
	if err != nil {
		return nil, err
	}
	v, ok := obj.xattrs[name]
	if !ok {
		return nil, wire.Errorf("store.xattr", o.String()+" "+name, wire.ENODATA)
	}
	return slices.Clone(v), nil
}

// Xattrs gives all xattrs by name; ENOENT.
func (m *Model) Xattrs(o store.ObjectID) ([]wire.KV, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	obj, err := m.find("store.xattrs", o)
	if err != nil {
		return nil, err
	}
	kvs, _ := rangeOf(obj.xattrs, func(string) bool { return true }, -1, true)
	return kvs, nil
}

// rangeOf gives the rows that ok lets through, in order, at most max of them
// unless max is negative.
func rangeOf(rows map[string][]byte, ok func(string) bool, max int, values bool) (kvs []wire.KV, more bool) {
	var keys []string
	for k := range rows {
		if ok(k) {
			keys = append(keys, k)
		}
	}
	sort.Strings(keys)
	if max >= 0 && len(keys) > max {
		keys, more = keys[:max], true
	}
	for _, k := range keys {
		kv := wire.KV{Key: k}
		if values {
			kv.Value = slices.Clone(rows[k])
		}
		kvs = append(kvs, kv)
	}
	return kvs, more
}

// OmapHeader gives the header, empty when never set; ENOENT.
func (m *Model) OmapHeader(o store.ObjectID) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	obj, err := m.find("store.omapheader", o)
	if err != nil {
		return nil, err
	}
	return slices.Clone(obj.header), nil
}

// OmapGet gives those of keys that exist, in the order asked; ENOENT.
func (m *Model) OmapGet(o store.ObjectID, keys []string) ([]wire.KV, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	obj, err := m.find("store.omapget", o)
	if err != nil {
		return nil, err
	}
	var kvs []wire.KV
	for _, k := range keys {
		if v, ok := obj.omap[k]; ok {
			kvs = append(kvs, wire.KV{Key: k, Value: slices.Clone(v)})
		}
	}
	return kvs, nil
}

// OmapList gives the entries after a key, with a prefix; ENOENT.
func (m *Model) OmapList(o store.ObjectID, after, prefix string, max int, withValues bool) ([]wire.KV, bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	obj, err := m.find("store.omaplist", o)
	if err != nil {
		return nil, false, err
	}
	kvs, more := rangeOf(obj.omap, func(k string) bool {
		return (after == "" || k > after) && strings.HasPrefix(k, prefix)
	}, max, withValues)
	return kvs, more, nil
}

// MetaGet gives one of the PG's own rows; ENOENT.
func (m *Model) MetaGet(pg wire.SPGID, key string) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	v, ok := m.meta[pg][key]
	if !ok {
		return nil, wire.Errorf("store.metaget", pg.String()+" "+key, wire.ENOENT)
	}
	return slices.Clone(v), nil
}

// MetaList gives the PG's own rows with first <= key < end; an empty end is
// no bound.
func (m *Model) MetaList(pg wire.SPGID, first, end string, max int) ([]wire.KV, bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	kvs, more := rangeOf(m.meta[pg], func(k string) bool {
		return k >= first && (end == "" || k < end)
	}, max, true)
	return kvs, more, nil
}

// List gives the objects with first <= object < end in listing order.
func (m *Model) List(shard int8, first, end wire.HObject, max int) ([]store.ObjectID, bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var ids []store.ObjectID
	for id := range m.objects {
		if id.Shard == shard && id.HObject.Compare(first) >= 0 && id.HObject.Compare(end) < 0 {
			ids = append(ids, id)
		}
	}
	slices.SortFunc(ids, func(a, b store.ObjectID) int {
		return cmp.Or(a.HObject.Compare(b.HObject), cmp.Compare(a.Gen, b.Gen))
	})
	if len(ids) > max {
		return ids[:max:max], true, nil
	}
	return ids, false, nil
}

// Extents gives the whole object as one extent; ENOENT.
func (m *Model) Extents(o store.ObjectID) ([]wire.Extent, error) {
	st, err := m.Stat(o)
	if err != nil || st.Size == 0 {
		return nil, err
	}
	return []wire.Extent{{Len: st.Size}}, nil
}

// Statfs tells of a disk that never fills.
func (m *Model) Statfs() store.Statfs {
	m.mu.Lock()
	defer m.mu.Unlock()
	st := store.Statfs{Total: 1 << 40, Objects: int64(len(m.objects))}
	for _, o := range m.objects {
		st.Data += int64(len(o.data))
	}
	st.Free = st.Total - st.Data
	return st
}

// Fsck finds nothing.
func (m *Model) Fsck(store.FsckOptions) (store.FsckReport, error) {
	return store.FsckReport{Objects: m.Statfs().Objects}, nil
}

// Close waits for the done functions. It may be called twice.
func (m *Model) Close() error {
	m.mu.Lock()
	m.closed = true
	m.wake.Broadcast()
	m.mu.Unlock()
	m.idle.Wait()
	return nil
}
