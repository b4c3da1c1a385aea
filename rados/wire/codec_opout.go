package wire

// opOutput appends an operation's output but for its Data.
func (e *Encoder) opOutput(code OpCode, r *OpResult) {
	if r.Rval < 0 {
		e.Raw(r.Value)
		return
	}
	switch code {
	case OpStat:
		e.U64(r.Size)
		e.Time(r.MTime)
	case OpSparseRead:
		e.extents(r.Extents)
		e.Count(r.Data.Len())
	case OpGetXattrs, OpOmapGetValsByKeys:
		e.kvs(r.KVs)
	case OpOmapGetVals:
		e.kvs(r.KVs)
		e.Bool(r.More)
	case OpOmapGetKeys:
		e.Strs(r.Keys)
		e.Bool(r.More)
	case OpListSnaps:
		e.cloneSnaps(r)
	case OpListWatchers:
		e.watchers(r.Watchers)
	case OpPGNLS, OpPGNLSFilter:
		e.listing(r)
	default:
		e.Raw(r.Value)
	}
}

func (e *Encoder) extents(x []Extent) {
	e.Count(len(x))
	for _, x := range x {
		e.U64(x.Off)
		e.U64(x.Len)
	}
}

// cloneSnaps appends obj_list_snap_response_t.
func (e *Encoder) cloneSnaps(r *OpResult) {
	m := e.Begin(2, 1)
	e.Count(len(r.Clones))
	for i := range r.Clones {
		c := &r.Clones[i]
		cm := e.Begin(1, 1)
		e.U64(uint64(c.Clone))
		e.Count(len(c.Snaps))
		for _, s := range c.Snaps {
			e.U64(uint64(s))
		}
		e.extents(c.Overlap)
		e.U64(c.Size)
		e.End(cm)
	}
	e.U64(uint64(r.SnapSeq))
	e.End(m)
}

// watchers appends obj_list_watch_response_t.
func (e *Encoder) watchers(ws []Watcher) {
	m := e.Begin(1, 1)
	e.Count(len(ws))
	for _, w := range ws {
		wm := e.Begin(2, 1)
		e.EntityName(w.Client)
		e.U64(w.Cookie)
		e.U32(w.Timeout)
		e.Addr(w.Addr)
		e.End(wm)
	}
	e.End(m)
}

// listing appends pg_nls_response_t.
func (e *Encoder) listing(r *OpResult) {
	m := e.Begin(1, 1)
	c := MaxHObject
	if r.Cursor != nil {
		c = *r.Cursor
	}
	e.HObject(c)
	e.Count(len(r.List))
	for _, l := range r.List {
		e.Str(l.Namespace)
		e.Str(l.Name)
		e.Str(l.Key)
	}
	e.End(m)
}

// decodeOutput reads n bytes at off of data, the output of an operation, and
// reports whether they are one. An operation that failed or was not reached
// has none.
func decodeOutput(code OpCode, r *OpResult, data Data, off, n int) bool {
	if n == 0 {
		return true
	}
	switch code {
	case OpRead, OpSyncRead:
		r.Data = sliceData(data, off, n)
		return true
	case OpSparseRead:
		return decodeSparse(r, data, off, n)
	}
	p := make([]byte, n)
	data.CopyTo(p, off)
	if r.Rval < 0 {
		r.Value = p
		return true
	}
	d := Decoder{b: p, all: p}
	switch code {
	case OpStat:
		r.Size = d.U64()
		r.MTime = d.Time()
	case OpGetXattrs, OpOmapGetValsByKeys:
		r.KVs = d.kvs()
	case OpOmapGetVals:
		r.KVs = d.kvs()
		r.More = d.Bool()
	case OpOmapGetKeys:
		r.Keys = d.Strs()
		r.More = d.Bool()
	case OpListSnaps:
		d.cloneSnaps(r)
	case OpListWatchers:
		r.Watchers = d.watchers()
	case OpPGNLS, OpPGNLSFilter:
		d.listing(r)
	default:
		r.Value = p
	}
	return d.err == nil
}

// decodeSparse copies the extents and takes the bytes by reference.
func decodeSparse(r *OpResult, data Data, off, n int) bool {
	var head [4]byte
	if data.CopyTo(head[:min(n, 4)], off) < 4 {
		return false
	}
	h := Decoder{b: head[:], all: head[:]}
	count := uint64(h.U32())
	size := 4 + count*16 + 4
	if size > uint64(n) {
		return false
	}
	p := make([]byte, size)
	data.CopyTo(p, off)
	d := Decoder{b: p, all: p}
	r.Extents = d.extents()
	bytes := uint64(d.U32())
	if d.err != nil || bytes > uint64(n)-size {
		return false
	}
	r.Data = sliceData(data, off+int(size), int(bytes))
	return true
}

func (d *Decoder) extents() []Extent {
	n := d.Count(16)
	if n == 0 {
		return nil
	}
	x := make([]Extent, n)
	for i := range x {
		x[i] = Extent{Off: d.U64(), Len: d.U64()}
	}
	return x
}

func (d *Decoder) cloneSnaps(r *OpResult) {
	b := d.Begin(2)
	for n := d.Count(6 + 8 + 4 + 4 + 8); n > 0 && d.err == nil; n-- {
		cb := d.Begin(1)
		c := CloneSnap{Clone: SnapID(d.U64())}
		for k := d.Count(8); k > 0; k-- {
			c.Snaps = append(c.Snaps, SnapID(d.U64()))
		}
		c.Overlap = d.extents()
		c.Size = d.U64()
		d.End(cb)
		r.Clones = append(r.Clones, c)
	}
	if b.Version >= 2 {
		r.SnapSeq = SnapID(d.U64())
	}
	d.End(b)
}

func (d *Decoder) watchers() (ws []Watcher) {
	b := d.Begin(1)
	for n := d.Count(6 + 9 + 8 + 4); n > 0 && d.err == nil; n-- {
		wb := d.Begin(2)
		w := Watcher{Client: d.EntityName(), Cookie: d.U64(), Timeout: d.U32()}
		if wb.Version >= 2 {
			w.Addr = d.Addr()
		}
		d.End(wb)
		ws = append(ws, w)
	}
	d.End(b)
	return ws
}

func (d *Decoder) listing(r *OpResult) {
	b := d.Begin(1)
	c := d.HObject()
	r.Cursor = &c
	for n := d.Count(12); n > 0 && d.err == nil; n-- {
		r.List = append(r.List, ListEntry{Namespace: d.Str(), Name: d.Str(), Key: d.Str()})
	}
	d.End(b)
}
